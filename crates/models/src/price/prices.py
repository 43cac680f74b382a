#!/usr/bin/env python3
"""Regenerates the bundled price table from the model list of the package `litellm` (MIT).

    python3 prices.py MODEL_LIST VERSION DATE > prices.json

MODEL_LIST is `model_prices_and_context_window_backup.json` of that package, VERSION its version,
DATE the day it was published (YYYY-MM-DD).

Prices are whole pico-dollars (1e-12 US dollars) for one token, or for one query where `query` says
so. They are read as decimal numbers and never pass through binary fractions; a price that is no
whole number of pico-dollars ends the script unless it is noise behind the fourth digit, which
stems from the list's own arithmetic.
"""

import json
import re
import sys
from decimal import ROUND_HALF_EVEN, Decimal

PICO = Decimal(10) ** 12
MODES = {"chat", "responses", "completion", "embedding", "rerank"}

# The list's word for a provider, and ours.
PROVIDERS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "azure": "azure",
    "azure_text": "azure",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai": "vertex_ai",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "mistral": "mistral",
    "codestral": "mistral",
    "text-completion-codestral": "mistral",
    "groq": "groq",
    "deepseek": "deepseek",
    "xai": "xai",
    "together_ai": "together_ai",
    "fireworks_ai": "fireworks_ai",
    "fireworks_ai-embedding-models": "fireworks_ai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "ollama": "ollama",
}

# What the list puts before a model's name although it is no part of it.
PREFIXES = {
    "mistral": ("codestral/", "text-completion-codestral/"),
}

PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}

# Named as the list names it, and as `above` and `batch` do.
BATCH = {
    "input": "input_cost_per_token_batches",
    "output": "output_cost_per_token_batches",
    "cache_read": "cache_read_input_token_cost_batches",
    "cache_write": "cache_creation_input_token_cost_batches",
}

CAPABILITIES = {
    "audio": ("supports_audio_input",),
    "parallel_tools": ("supports_parallel_function_calling",),
    "pdf": ("supports_pdf_input",),
    "prompt_cache": ("supports_prompt_caching",),
    "reasoning": ("supports_reasoning",),
    "schema": ("supports_response_schema", "supports_native_structured_output"),
    "tools": ("supports_function_calling",),
    "vision": ("supports_vision", "supports_image_input"),
}


def provider_of(word):
    """Our name of a provider, if we speak with it."""
    if word is None:
        return None
    if word.startswith("vertex_ai-"):
        return "vertex_ai"
    return PROVIDERS.get(word)


def pico(value, where):
    """A price in whole pico-dollars."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise SystemExit(f"{where}: {value!r} is no price")
    exact = Decimal(value) * PICO
    whole = exact.to_integral_value(ROUND_HALF_EVEN)
    if exact != whole and abs(exact - whole) * 10_000 > abs(exact):
        raise SystemExit(f"{where}: {value} is no whole number of pico-dollars")
    if exact != whole:
        print(f"{where}: {value} was rounded to {whole}e-12", file=sys.stderr)
    if whole < 0:
        raise SystemExit(f"{where}: {value} is negative")
    return int(whole)


def prices(entry, names, where):
    """The prices of an entry under the names that are given."""
    found = {ours: entry.get(theirs) for ours, theirs in names.items()}
    return {ours: pico(price, where) for ours, price in found.items() if price is not None}


def steps(entry, where):
    """Prices of long inputs, one for each length, shortest first."""
    counts = set()
    for field in entry:
        match = re.fullmatch(r"input_cost_per_token_above_(\d+)k_tokens", field)
        if match:
            counts.add(int(match[1]))
    result = []
    for count in sorted(counts):
        names = {ours: f"{theirs}_above_{count}k_tokens" for ours, theirs in PRICES.items()}
        result.append({"tokens": count * 1000, **prices(entry, names, where)})
    return result


def tiers(entry, where):
    """The same, where the list has ranges: the first is the usual price."""
    ranges = entry.get("tiered_pricing") or []
    ranges = [one for one in ranges if isinstance(one, dict) and one.get("range")]
    ranges.sort(key=lambda one: one["range"][0])
    return [(int(one["range"][0]), prices(one, PRICES, where)) for one in ranges]


def count(value):
    """A number of tokens; the list has a few as texts or with a point."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        return None
    return int(number) if number > 0 and number == number.to_integral_value() else None


def model(entry, where):
    """What we keep of an entry, or nothing if it has no price."""
    kept = {"mode": entry["mode"]}
    said = prices(entry, PRICES, where)
    above = steps(entry, where)
    ranges = tiers(entry, where)
    if ranges and not said:
        said = ranges[0][1]
        above = [{"tokens": tokens, **price} for tokens, price in ranges[1:]]
    kept.update(said)
    if len(above) > 1:
        raise SystemExit(f"{where}: has several prices for long inputs; the table has one")
    if above:
        kept["above"] = above[0]
    batch = prices(entry, BATCH, where)
    if batch:
        kept["batch"] = batch
    if entry["mode"] == "rerank" and entry.get("input_cost_per_query") is not None:
        kept["query"] = pico(entry["input_cost_per_query"], where)
        # The list fills these in with zeros beside a price per query.
        for name in ("input", "output"):
            if kept.get(name) == 0:
                del kept[name]
    if not any(name in kept for name in ("input", "output", "query")):
        return None
    for ours, theirs in (("context", "max_input_tokens"), ("max_output", "max_output_tokens")):
        number = count(entry.get(theirs))
        if number is not None:
            kept[ours] = number
    can = sorted(
        word for word, fields in CAPABILITIES.items() if any(entry.get(f) is True for f in fields)
    )
    if can:
        kept["can"] = can
    if entry.get("deprecation_date"):
        kept["deprecated"] = entry["deprecation_date"]
    return kept


def name_of(key, provider, word):
    """`provider/model` with the name that the provider itself uses."""
    for prefix in (f"{word}/", f"{provider}/", *PREFIXES.get(provider, ())):
        if key.startswith(prefix):
            return f"{provider}/{key.removeprefix(prefix)}"
    return f"{provider}/{key}"


def table(listed):
    """All models we keep, by name; where two entries share a name, the plainer key counts."""
    kept, keys = {}, {}
    for key, entry in listed.items():
        word = entry.get("litellm_provider")
        provider = provider_of(word)
        if key == "sample_spec" or provider is None or entry.get("mode") not in MODES:
            continue
        found = model(entry, key)
        if found is None:
            continue
        name = name_of(key, provider, word)
        if name in keys:
            if found != kept[name]:
                print(f"{name}: {keys[name]} and {key} differ", file=sys.stderr)
            if (len(keys[name]), keys[name]) <= (len(key), key):
                continue
        kept[name], keys[name] = found, key
    return dict(sorted(kept.items()))


def main():
    """Reads the list and writes the table, a model on each line."""
    path, version, date = sys.argv[1:4]
    with open(path, encoding="utf-8") as file:
        listed = json.load(file, parse_float=Decimal)
    source = {
        "name": "litellm",
        "version": version,
        "licence": "MIT",
        "date": date,
        "generated_by": "prices.py",
    }
    write = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    lines = [f"{write(name)}:{write(found)}" for name, found in table(listed).items()]
    print('{"source":' + write(source) + ',\n"models":{')
    print(",\n".join(lines))
    print("}}")


if __name__ == "__main__":
    main()

"""OpenAI's own client against a server: `openai_client.py BASE_URL TOKEN`."""

import base64
import json
import struct
import sys
import time

import openai
from openai import OpenAI

BASE, TOKEN = sys.argv[1:3]
client = OpenAI(base_url=f"{BASE}/v1", api_key=TOKEN, max_retries=0)
TOOLS = [{
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}]


def user(text):
    return [{"role": "user", "content": text}]


def chat():
    answer = client.chat.completions.create(model="demo", messages=user("Hi"))
    assert answer.choices[0].message.content == "Hello, I was written before.", answer
    assert answer.choices[0].finish_reason == "stop", answer
    assert answer.usage.total_tokens > 0, answer
    raw = client.chat.completions.with_raw_response.create(model="demo", messages=user("Hi"))
    assert raw.headers["x-matrix-model"] == "demo@1", raw.headers
    assert float(raw.headers["x-matrix-cost"]) > 0, raw.headers


def stream():
    text, usage = "", None
    chunks = client.chat.completions.create(
        model="demo", messages=user("Hi"), stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
    whole = client.chat.completions.create(model="demo", messages=user("Hi"))
    assert text == whole.choices[0].message.content, text
    assert usage.total_tokens == whole.usage.total_tokens, usage


def tools():
    asked = user("the weather?")
    answer = client.chat.completions.create(model="demo", messages=asked, tools=TOOLS)
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls", answer
    cities = [call.function.arguments for call in message.tool_calls]
    assert cities == ['{"city":"Paris"}', '{"city":"Rome"}'], cities
    with client.chat.completions.stream(model="demo", messages=asked, tools=TOOLS) as events:
        streamed = events.get_final_completion().choices[0].message
    assert [c.function.arguments for c in streamed.tool_calls] == cities, streamed
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
        for call in message.tool_calls
    ]
    answer = client.chat.completions.create(
        model="demo", messages=[*asked, message.model_dump(exclude_none=True), *results], tools=TOOLS
    )
    assert answer.choices[0].message.content == "It is sunny.", answer


def responses():
    answer = client.responses.create(model="demo", input="Hi")
    assert answer.output_text == "Hello, I was written before.", answer
    with client.responses.stream(model="demo", input="Hi") as events:
        final = [event for event in events if event.type == "response.completed"]
    assert final[0].response.output_text == answer.output_text, final
    calls = client.responses.create(model="demo", input="the weather?", tools=[{
        "type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False,
    }])
    names = [item.name for item in calls.output if item.type == "function_call"]
    assert names == ["get_weather", "get_weather"], calls


def embeddings():
    answer = client.embeddings.create(model="demo", input=["one two", "three"])
    plain = client.embeddings.create(model="demo", input=["one two"], encoding_format="float")
    assert len(answer.data) == 2, answer
    assert [round(x, 5) for x in answer.data[0].embedding] == [
        round(x, 5) for x in plain.data[0].embedding
    ]
    raw = client.embeddings.with_raw_response.create(
        model="demo", input="one two", encoding_format="base64"
    )
    text = raw.http_response.json()["data"][0]["embedding"]
    data = base64.b64decode(text)
    assert len(struct.unpack(f"<{len(data) // 4}f", data)) == len(plain.data[0].embedding)


def models():
    assert "demo" in [model.id for model in client.models.list()]
    assert client.models.retrieve("demo").id == "demo"


def errors():
    def refused(kind, work):
        try:
            work()
        except kind as error:
            return error
        raise AssertionError(f"nothing was refused where {kind} was expected")

    def ask(text, model="demo", asker=client):
        return lambda: asker.chat.completions.create(model=model, messages=user(text))

    missing = refused(openai.NotFoundError, ask("Hi", "nope"))
    assert missing.code == "model_not_found", missing
    refused(openai.InternalServerError, ask("fail"))
    refused(openai.RateLimitError, ask("busy"))
    stranger = OpenAI(base_url=f"{BASE}/v1", api_key="nobody", max_retries=0)
    refused(openai.AuthenticationError, ask("Hi", asker=stranger))
    bad = refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model="demo", messages=[{"role": "x"}]),
    )
    assert "messages[0].role" in str(bad), bad
    refused(openai.InternalServerError, lambda: list(
        client.chat.completions.create(model="demo", messages=user("fail"), stream=True)
    ))


def batches():
    def line(name, text, url="/v1/chat/completions", **more):
        body = {"model": "demo", "messages": user(text), **more}
        return json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body})

    def upload(*lines):
        text = "\n".join(lines).encode()
        return client.files.create(file=("ask.jsonl", text), purpose="batch")

    def begin(file, **more):
        return client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", **more
        )

    file = upload(line("a", "Hi"), line("b", "the weather?"), line("c", "fail for good"))
    assert client.files.retrieve(file.id).bytes == file.bytes > 0
    assert client.files.content(file.id).text.count("custom_id") == 3
    batch = begin(file, metadata={"team": "red"})
    until = time.monotonic() + 60
    while batch.status not in ("completed", "failed", "cancelled"):
        assert time.monotonic() < until, batch
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed, counts.failed) == (
        "completed", 3, 2, 1
    ), batch
    assert batch.metadata == {"team": "red"}, batch
    answers = client.files.content(batch.output_file_id).text.splitlines()
    answers = [json.loads(answer) for answer in answers]
    assert [answer["custom_id"] for answer in answers] == ["a", "b"], answers
    first = answers[0]["response"]["body"]["choices"][0]["message"]["content"]
    assert first == "Hello, I was written before.", answers
    failed = json.loads(client.files.content(batch.error_file_id).text)
    assert failed["response"]["status_code"] >= 400, failed
    assert "message" in failed["response"]["body"]["error"], failed
    assert batch.id in [known.id for known in client.batches.list(limit=1)]
    assert file.id in [known.id for known in client.files.list()]
    assert client.files.delete(file.id).deleted
    try:
        raise AssertionError(client.files.content(file.id))
    except openai.NotFoundError:
        pass
    for bad in [upload(line("a", "Hi"), line("a", "Hi")), upload("{"), upload(line("a", "x", "/v1/x"))]:
        try:
            raise AssertionError(begin(bad))
        except openai.BadRequestError as error:
            assert "line" in str(error), error
    try:
        raise AssertionError(begin(upload(line("a", "Hi", model="nope"))))
    except openai.NotFoundError:
        pass


def hang_up():
    chunks = client.chat.completions.create(model="demo", messages=user("Hi"), stream=True)
    next(iter(chunks))
    chunks.close()
    chat()


for test in [chat, stream, tools, responses, embeddings, models, errors, batches, hang_up]:
    test()
    print(f"openai {openai.__version__}: {test.__name__}")

"""Anthropic's own client against a server: `anthropic_client.py BASE_URL TOKEN`."""

import sys

import anthropic
from anthropic import Anthropic

BASE, TOKEN = sys.argv[1:3]
client = Anthropic(base_url=BASE, api_key=TOKEN, max_retries=0)
TOOLS = [{
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}]


def user(text):
    return [{"role": "user", "content": text}]


def messages():
    answer = client.messages.create(model="demo", max_tokens=100, messages=user("Hi"))
    assert answer.content[0].text == "Hello, I was written before.", answer
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens > 0, answer


def stream():
    whole = client.messages.create(model="demo", max_tokens=100, messages=user("Hi"))
    with client.messages.stream(model="demo", max_tokens=100, messages=user("Hi")) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == whole.content[0].text, text
    assert final.usage.output_tokens == whole.usage.output_tokens, final
    assert final.usage.input_tokens == whole.usage.input_tokens, final


def thoughts():
    answer = client.messages.create(model="demo", max_tokens=100, messages=user("think"))
    assert [part.type for part in answer.content] == ["thinking", "text"], answer
    history = [*user("think"), {"role": "assistant", "content": answer.content}, *user("Hi")]
    client.messages.create(model="demo", max_tokens=100, messages=history)


def tools():
    asked = user("the weather?")
    with client.messages.stream(
        model="demo", max_tokens=100, messages=asked, tools=TOOLS
    ) as events:
        streamed = events.get_final_message()
    answer = client.messages.create(model="demo", max_tokens=100, messages=asked, tools=TOOLS)
    calls = [part for part in answer.content if part.type == "tool_use"]
    assert answer.stop_reason == "tool_use", answer
    assert [call.input for call in calls] == [{"city": "Paris"}, {"city": "Rome"}], answer
    assert [p.input for p in streamed.content if p.type == "tool_use"] == [c.input for c in calls]
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls
    ]
    history = [
        *asked,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": results},
    ]
    answer = client.messages.create(model="demo", max_tokens=100, messages=history, tools=TOOLS)
    assert answer.content[0].text == "It is sunny.", answer


def count():
    counted = client.messages.count_tokens(model="demo", messages=user("some words to count"))
    assert counted.input_tokens > 0, counted


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
        return lambda: asker.messages.create(model=model, max_tokens=9, messages=user(text))

    missing = refused(anthropic.NotFoundError, ask("Hi", "nope"))
    assert missing.body["error"]["type"] == "not_found_error", missing.body
    refused(anthropic.InternalServerError, ask("fail"))
    refused(anthropic.RateLimitError, ask("busy"))
    stranger = Anthropic(base_url=BASE, api_key="nobody", max_retries=0)
    refused(anthropic.AuthenticationError, ask("Hi", asker=stranger))
    refused(anthropic.BadRequestError, lambda: client.messages.create(
        model="demo", max_tokens=9, messages=[{"role": "x", "content": "a"}]
    ))


for test in [messages, stream, thoughts, tools, count, models, errors]:
    test()
    print(f"anthropic {anthropic.__version__}: {test.__name__}")

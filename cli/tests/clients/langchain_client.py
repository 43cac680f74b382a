"""LangChain against a server: `langchain_client.py BASE_URL TOKEN`."""

import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

BASE, TOKEN = sys.argv[1:3]
model = ChatOpenAI(model="demo", base_url=f"{BASE}/v1", api_key=TOKEN, max_retries=0)


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return "sunny"


def invoke():
    answer = model.invoke("Hi")
    assert answer.content == "Hello, I was written before.", answer
    assert answer.usage_metadata["total_tokens"] > 0, answer


def stream():
    text = "".join(chunk.content for chunk in model.stream("Hi"))
    assert text == "Hello, I was written before.", text


def tools():
    bound = model.bind_tools([get_weather])
    history = [HumanMessage("the weather?")]
    answer = bound.invoke(history)
    assert [call["args"]["city"] for call in answer.tool_calls] == ["Paris", "Rome"], answer
    history.append(answer)
    for call in answer.tool_calls:
        result = get_weather.invoke(call["args"])
        history.append(ToolMessage(result, tool_call_id=call["id"]))
    assert bound.invoke(history).content == "It is sunny.", history


def embeddings():
    vectors = OpenAIEmbeddings(
        model="demo", base_url=f"{BASE}/v1", api_key=TOKEN, check_embedding_ctx_length=False
    )
    assert len(vectors.embed_documents(["one", "two"])) == 2
    assert len(vectors.embed_query("one")) > 0


for test in [invoke, stream, tools, embeddings]:
    test()
    print(f"langchain-openai: {test.__name__}")

"""A graph of LangGraph that takes COUNT steps of 1 KB each, kept by its SqliteSaver.

usage: langgraph_steps.py DIRECTORY COUNT

Prints one JSON object: steps, seconds, the processor's seconds, the database's bytes.
"""

import json
import operator
import pathlib
import resource
import sys
import time
from typing import Annotated, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

PAYLOAD = "x" * 1024


class State(TypedDict):
    texts: Annotated[list[str], operator.add]


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    directory, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    file = directory / "langgraph.sqlite"
    graph = StateGraph(State)
    graph.add_node("step", lambda _: {"texts": [PAYLOAD]})
    graph.add_edge(START, "step")
    graph.add_conditional_edges(
        "step", lambda state: END if len(state["texts"]) >= count else "step"
    )
    with SqliteSaver.from_conn_string(str(file)) as saver:
        saver.setup()
        compiled = graph.compile(checkpointer=saver)
        begun, before = time.perf_counter(), processor()
        compiled.invoke(
            {"texts": []},
            {"configurable": {"thread_id": "1"}, "recursion_limit": count + 10},
        )
        seconds, used = time.perf_counter() - begun, processor() - before
        saver.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = sum(part.stat().st_size for part in directory.iterdir())
    result = {"steps": count, "seconds": seconds, "processor": used, "bytes": size}
    print(json.dumps(result))


main()

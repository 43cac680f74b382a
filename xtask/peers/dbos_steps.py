"""Durable workflows of DBOS on SQLite: RUNS side by side, three steps each, COUNT in all.

usage: dbos_steps.py DIRECTORY RUNS COUNT

Prints one JSON object: steps, seconds, the processor's seconds, the median and 99th percentile of
a workflow's time in microseconds.
"""

import json
import logging
import pathlib
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS

STEPS = 3


@DBOS.step()
def step(number: int) -> int:
    return number


@DBOS.workflow()
def workflow() -> int:
    return sum(step(number) for number in range(STEPS))


def timed(_: int) -> float:
    begun = time.perf_counter()
    workflow()
    return time.perf_counter() - begun


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    directory, runs, count = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.CRITICAL)
    DBOS(
        config={
            "name": "steps",
            "system_database_url": f"sqlite:///{directory / 'dbos.sqlite'}",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    with ThreadPoolExecutor(runs) as pool:
        list(pool.map(timed, range(runs)))
        begun, before = time.perf_counter(), processor()
        times = sorted(pool.map(timed, range(count)))
        seconds, used = time.perf_counter() - begun, processor() - before
    DBOS.destroy()
    result = {
        "steps": count * STEPS,
        "seconds": seconds,
        "processor": used,
        "p50": times[len(times) // 2] * 1e6,
        "p99": times[min(len(times) - 1, len(times) * 99 // 100)] * 1e6,
    }
    print(json.dumps(result))


main()

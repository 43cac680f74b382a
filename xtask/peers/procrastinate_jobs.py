"""Jobs of Procrastinate without work: created before, then done by so many workers at once.

usage: procrastinate_jobs.py DIRECTORY ADDRESS WORKERS JOBS

Prints one JSON object: jobs (as steps), seconds, the processor's seconds of this process.
"""

import asyncio
import json
import resource
import sys
import time

from procrastinate import App, PsycopgConnector


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main() -> None:
    address, workers, jobs = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    app = App(connector=PsycopgConnector(conninfo=address, max_size=workers + 2))

    @app.task(name="nothing")
    async def nothing() -> None:
        pass

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for made in range(0, jobs, 1000):
            await nothing.batch_defer_async(*[{}] * min(1000, jobs - made))
        begun, before = time.perf_counter(), processor()
        await app.run_worker_async(
            concurrency=workers, wait=False, install_signal_handlers=False
        )
        seconds, used = time.perf_counter() - begun, processor() - before
        left = await app.job_manager.list_jobs_async(status="todo")
        if list(left):
            raise SystemExit("not every job was done")
    print(json.dumps({"steps": jobs, "seconds": seconds, "processor": used}))


asyncio.run(main())

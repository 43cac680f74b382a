"""A worker for Matrix, with nothing but Python's standard library.

It leases steps of runs, does them, shows that it lives, and reports. The protocol is described in
docs/reference/worker-protocol.md, the use of this file in docs/how-to/remote-workers.md.

    MATRIX_TOKEN=mtx_... python3 worker.py --url http://127.0.0.1:7420 --queue default
"""

import argparse
import hashlib
import http.client
import json
import os
import sys
import threading
import time
import urllib.parse
import uuid

# ---- What this worker can do -----------------------------------------------------------------
#
# A task is a function of its input and of `job`, which says what else is known: `job.key`, the
# same for every attempt; `job.attempt`; `job.stop`, set when the run is cancelled or the lease is
# lost; `job.progress`, which may be set to anything small; `job.log(line)`, for people.


class Failed(Exception):
    """An error with a code. `nothing_done` promises that nothing in the world has changed."""

    def __init__(self, code, message, retry=True, nothing_done=False):
        super().__init__(message)
        self.error = {"code": code, "message": message, "retry": retry, "nothing_done": nothing_done}


def hash_file(given, job):
    """The SHA-256 of a file (a read)."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(given["path"], "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
                job.progress = {"bytes": size}
    except FileNotFoundError as error:
        raise Failed("no_such_file", str(error), retry=False, nothing_done=True) from error
    job.log(f"{size} bytes read from {given['path']}")
    return {"sha256": digest.hexdigest(), "bytes": size}


def count_words(given, job):
    """How often each word is in a text (a read)."""
    counts = {}
    for word in given["text"].lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def write_file(given, job):
    """Writes a file as a whole (idempotent: the same key writes the same bytes)."""
    text = given["text"]
    text = text if isinstance(text, str) else json.dumps(text, sort_keys=True)
    part = f"{given['path']}.{job.key[:8]}"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, given["path"])
    return {"bytes": len(text.encode())}


def append_line(given, job):
    """Adds a line to a file (external: done twice, it is there twice)."""
    with open(given["path"], "a", encoding="utf-8") as file:
        file.write(given["line"] + "\n")
    return {}


def wait_for_file(given, job):
    """Waits until a file is there and gives its text (a read). Adds a line to `started` first."""
    if "started" in given:
        append_line({"path": given["started"], "line": f"attempt {job.attempt}"}, job)
    while not os.path.exists(given["path"]):
        if job.stop.wait(0.02):
            raise Failed("stopped", "it was told to stop", retry=False, nothing_done=True)
        job.progress = {"waits for": given["path"]}
    with open(given["path"], encoding="utf-8") as file:
        return file.read()


TASKS = {
    task.__name__: task for task in (hash_file, count_words, write_file, append_line, wait_for_file)
}

# ---- The protocol ----------------------------------------------------------------------------


class Refused(Exception):
    """The server said no; asking again will not help."""


class Server:
    """One connection to the server, opened again when it breaks."""

    def __init__(self, url, token):
        self.address = urllib.parse.urlsplit(url)
        self.headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Matrix-Worker-Protocol": "1",
        }
        self.connection = None

    def once(self, verb, body):
        if self.connection is None:
            kind = http.client.HTTPConnection
            if self.address.scheme == "https":
                kind = http.client.HTTPSConnection
            self.connection = kind(self.address.hostname, self.address.port, timeout=60)
        path = f"{self.address.path.rstrip('/')}/api/v1/worker/{verb}"
        self.connection.request("POST", path, json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status == 200:
            return json.loads(text)
        if 400 <= answer.status < 500 and answer.status not in (408, 429):
            raise Refused(text.decode(errors="replace"))
        raise OSError(f"the server answered {answer.status}")

    def ask(self, verb, body):
        """Asks until there is an answer. Every request may be made again: a report that was taken
        is answered with `already`, a task whose lease nobody heard of is offered again."""
        pause = 0.05
        while True:
            try:
                return self.once(verb, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                print(f"{verb}: {error}; trying again", file=sys.stderr, flush=True)
                if self.connection is not None:
                    self.connection.close()
                self.connection = None
                time.sleep(pause)
                pause = min(2 * pause, 5)


class Job:
    """A task at work."""

    def __init__(self, task):
        self.id, self.lease = task["task"], task["lease"]
        self.key, self.attempt = task["key"], task["attempt"]
        self.beat_s = task["lease_ms"] / 3000
        self.stop = threading.Event()
        self.progress = None
        self.lines = []

    def log(self, line):
        self.lines.append(line)

    def send_lines(self, server):
        lines, self.lines = self.lines, []
        if lines:
            server.ask("log", {"task": self.id, "lease": self.lease, "lines": lines})


class Heart:
    """Shows that the worker lives, for all its tasks at once."""

    def __init__(self, server):
        self.server, self.jobs, self.changed = server, {}, threading.Condition()
        threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):
        while True:
            with self.changed:
                self.changed.wait(min((job.beat_s for job in self.jobs.values()), default=None))
                jobs = dict(self.jobs)
            if not jobs:
                continue
            for job in jobs.values():
                job.send_lines(self.server)
            beats = [
                {"task": job.id, "lease": job.lease, "progress": job.progress}
                for job in jobs.values()
            ]
            for task in self.server.ask("heartbeat", {"tasks": beats})["tasks"]:
                if task["state"] != "held":
                    print(f"{task['task']} {task['state']}", flush=True)
                    jobs[task["task"]].stop.set()

    def add(self, job):
        with self.changed:
            self.jobs[job.id] = job
            self.changed.notify()

    def remove(self, job):
        with self.changed:
            self.jobs.pop(job.id, None)


def do(task, heart, server):
    """Does a task and gives its report."""
    job = Job(task)
    heart.add(job)
    report = {"task": job.id, "lease": job.lease}
    try:
        report["result"] = TASKS[task["name"]](task["input"], job)
    except Failed as failed:
        report["error"] = failed.error
    except Exception as error:  # whatever it was, the run is told
        report["error"] = {"code": type(error).__name__, "message": str(error) or repr(error)}
    finally:
        heart.remove(job)
    job.send_lines(server)
    return report


def slot(arguments, token, heart):
    """One task at a time: reports the last one and asks for the next in the same request."""
    server, reports = Server(arguments.url, token), []
    while True:
        asked = {
            "worker": arguments.name,
            "queues": arguments.queue,
            "names": sorted(TASKS),
            "wait_ms": 30000,
            "reports": reports,
        }
        answer = server.ask("lease", asked)
        for report in answer["reports"]:
            print(f"{report['task']} {report['state']}", flush=True)
        reports = []
        for task in answer["tasks"]:
            print(f"{task['task']} leased {task['name']}", flush=True)
            reports.append(do(task, heart, server))


def main():
    parser = argparse.ArgumentParser(description="A worker for Matrix.")
    parser.add_argument("--url", default="http://127.0.0.1:7420")
    parser.add_argument("--queue", action="append", help="may be given more than once")
    parser.add_argument("--name", default=f"python-{uuid.uuid4().hex[:8]}")
    parser.add_argument("--slots", type=int, default=4, help="tasks at once")
    arguments = parser.parse_args()
    arguments.queue = arguments.queue or ["default"]
    token = os.environ.get("MATRIX_TOKEN") or sys.exit("set MATRIX_TOKEN to the worker's token")
    heart, refused = Heart(Server(arguments.url, token)), threading.Event()

    def guarded():
        try:
            slot(arguments, token, heart)
        except Refused as error:
            print(error, file=sys.stderr, flush=True)
        refused.set()

    for _ in range(arguments.slots):
        threading.Thread(target=guarded, daemon=True).start()
    refused.wait()
    sys.exit(1)


if __name__ == "__main__":
    main()

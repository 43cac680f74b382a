"""Recomputes the hash chains of a data directory's journal, with the standard library alone.

usage: python3 check.py PATH/TO/matrix.db

What is computed, and why, is described in docs/explanation/journal.md. Payloads that were erased are
counted: the chain holds without them. Payloads too large for a row lie in files under their SHA-256,
compressed; they are read with the program `zstd` where there is one, and counted as not read else.
"""

import hashlib
import json
import pathlib
import shutil
import sqlite3
import subprocess
import sys

BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


class Broken(Exception):
    """The journal is not what it was."""


def canonical(value):
    """RFC 8785, for values whose numbers are whole and whose names are ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def run_text(raw):
    number = int.from_bytes(raw, "big")
    return "run_" + "".join(BASE32[(number >> (5 * place)) & 31] for place in reversed(range(26)))


def large_payload(blobs, digest):
    """A payload that lies in a file; nothing when it cannot be read here."""
    file = blobs / digest[:2] / f"{digest[2:]}.zst"
    if shutil.which("zstd") is None:
        return None
    done = subprocess.run(["zstd", "-dcq", str(file)], capture_output=True, check=False)
    if done.returncode != 0 or hashlib.sha256(done.stdout).hexdigest() != digest:
        raise Broken(f"the payload {digest} is missing or damaged")
    return done.stdout


def fork_point(database, row):
    """The entry that a fork begins behind, as text; nothing for a run that is no fork."""
    if row["forked_from"] is None:
        return b""
    place = [row["forked_from"], row["fork_seq"]]
    entry = database.execute("SELECT hash FROM journal WHERE run = ? AND seq = ?", place).fetchone()
    if entry is None:
        raise Broken(f"{run_text(row['run'])}: the entry it was forked at is missing")
    return f"{run_text(place[0])} {place[1]} {entry['hash'].hex()}".encode()


def check_run(database, blobs, row):
    """Recomputes one chain; gives the number of entries, of erased and of unread payloads."""
    run = run_text(row["run"])
    scope = {"organisation": row["organisation"], "workspace": row["workspace"]}
    begins = b"matrix-journal-v1" + run.encode() + canonical(scope) + fork_point(database, row)
    head = hashlib.sha256(begins).digest()
    position, entries, erased, unread = row["fork_seq"], 0, 0, 0
    for entry in database.execute("SELECT * FROM journal WHERE run = ? ORDER BY seq", [row["run"]]):
        position += 1
        place = f"{run}, entry {position}"
        if entry["seq"] != position:
            raise Broken(f"{place}: the entry is missing")
        form = {
            "format": 1,
            "run": run,
            "seq": entry["seq"],
            "kind": entry["kind"],
            "path": entry["path"],
            "fingerprint": entry["fingerprint"],
            "actor": entry["actor"],
            "epoch": entry["epoch"],
            "time": entry["at"],
            "payload_digest": entry["payload_digest"].hex(),
        }
        head = hashlib.sha256(head + canonical(form)).digest()
        if head != entry["hash"]:
            raise Broken(f"{place}: the hash differs")
        payload = entry["payload"]
        if payload is None and entry["payload_blob"] is not None:
            payload = large_payload(blobs, entry["payload_blob"].hex())
            unread += payload is None
        elif payload is None:
            erased += 1
        if payload is not None:
            digest = hashlib.sha256(entry["salt"] + payload).digest()
            if digest != entry["payload_digest"]:
                raise Broken(f"{place}: the payload differs")
        entries += 1
    if (position, head) != (row["head_seq"], row["head_hash"]):
        raise Broken(f"{run}: the journal does not end where the run says")
    print(f"{run}  {entries} entries, {erased} erased, {unread} not read  {head.hex()}")


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    path = pathlib.Path(sys.argv[1])
    database = sqlite3.connect(path.resolve().as_uri() + "?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        for row in database.execute("SELECT * FROM runs ORDER BY run").fetchall():
            check_run(database, path.parent / "blobs", row)
    except (Broken, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

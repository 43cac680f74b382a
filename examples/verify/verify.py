#!/usr/bin/env python3
"""Verifies a Matrix bundle without Matrix: one file, nothing but Python's standard library.

    python3 verify.py BUNDLE --key PUBLIC.pem [--key ...] [--artifact FILE ...] [--json]

Exits 0 if everything holds, 1 if anything does not, 2 if the command line is wrong. It opens the files
it is given and nothing else: no network, no other program, no configuration.

Read it from top to bottom before you trust it. It follows docs/reference/bundle.md in order:
Ed25519 (RFC 8032), the file and its signatures, the set of statements, what they say.
"""

import argparse
import base64
import binascii
import hashlib
import json
import sys

# --- Ed25519, RFC 8032 section 5.1 -------------------------------------------------------------------
# Verification handles public values only, so nothing here needs to take constant time.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def add(a, b):
    """The sum of two points in extended coordinates (X, Y, Z, T)."""
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g = 2 * a[3] * b[3] * D % P
    h = 2 * a[2] * b[2] % P
    k, m, n, o = f - e, h - g, h + g, f + e
    return (k * m % P, n * o % P, m * n % P, k * o % P)


def multiply(scalar, point):
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def equal(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def decode_point(data):
    """The point 32 bytes stand for, or None. Only the one canonical encoding of a point is taken."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def is_small(point):
    return equal(multiply(8, point), NEUTRAL)


# The base point: y is 4/5, x is even.
BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def signature_holds(public, message, signature):
    """Strict: no point of small order, no scalar that is not reduced."""
    if len(signature) != 64:
        return False
    key, commitment = decode_point(public), decode_point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:
        return False
    if is_small(key) or is_small(commitment):
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    return equal(multiply(scalar, BASE), add(commitment, multiply(challenge, key)))


# --- Keys --------------------------------------------------------------------------------------------

SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")


def read_key(text):
    """(key id, 32 bytes) of an SPKI PEM file, or a Failure."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != "-----BEGIN PUBLIC KEY-----":
        raise Failure("KEY-0001", "not an Ed25519 public key in PEM")
    if lines[-1] != "-----END PUBLIC KEY-----":
        raise Failure("KEY-0001", "not an Ed25519 public key in PEM: it does not end")
    try:
        der = base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise Failure("KEY-0001", f"not an Ed25519 public key in PEM: {error}") from error
    if len(der) != 44 or not der.startswith(SPKI_PREFIX):
        raise Failure("KEY-0001", "not an Ed25519 public key in PEM: another algorithm or length")
    point = decode_point(der[12:])
    if point is None:
        raise Failure("KEY-0001", "not an Ed25519 public key in PEM: no point of the curve")
    if is_small(point):
        raise Failure("KEY-0002", "public key is of small order and would accept forged signatures")
    return hashlib.sha256(der).hexdigest(), der[12:]


# --- Failures ----------------------------------------------------------------------------------------


class Failure(Exception):
    """One thing that is wrong, with the code that Matrix gives it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Failures(Exception):
    """All that is wrong in one stage; later stages would mean nothing."""

    def __init__(self, failures):
        super().__init__()
        self.failures = failures


# --- Stage 1: the file and its signatures ------------------------------------------------------------

MAX_BYTES = 256 * 1024 * 1024
MAX_STATEMENTS = 1000
MAX_SIGNATURES = 16
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def strict_json(data):
    """JSON without repeated members, infinities or other things that readers disagree on."""

    def no_repeats(pairs):
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("an object has a member twice")
        return value

    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    text = data.decode("utf-8")
    return json.loads(text, object_pairs_hook=no_repeats, parse_constant=no_constant)


def compact(value, sort):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort).encode()


def open_file(data, keys):
    """The payload of each line, and the keys that signed all of them."""
    if not keys:
        raise Failures([Failure("BUNDLE-0003", "no public key was given")])
    if len(data) > MAX_BYTES:
        raise Failures([Failure("BUNDLE-0002", "the bundle is too large")])
    if data in (b"", b"\n"):
        raise Failures([Failure("BUNDLE-0001", "the bundle holds no statement")])
    if not data.endswith(b"\n"):
        raise Failures([Failure("BUNDLE-0002", "the bundle is cut off")])
    lines = data[:-1].split(b"\n")
    if len(lines) > MAX_STATEMENTS:
        raise Failures([Failure("BUNDLE-0002", "the bundle has too many statements")])
    failures, payloads, common = [], [], set(keys)
    for number, line in enumerate(lines, 1):
        try:
            payload, signers = open_line(number, line, keys)
            payloads.append((number, payload))
            common &= signers
        except Failure as failure:
            failures.append(failure)
    if not failures and not common:
        failures.append(Failure("BUNDLE-0004", "no single one of the keys signed every statement"))
    if failures:
        raise Failures(failures)
    return payloads, sorted(common)


def open_line(number, line, keys):
    malformed = Failure("BUNDLE-0002", f"line {number} is not a signed envelope as we write it")
    try:
        wire = strict_json(line)
        kind, payload = wire["payloadType"], decode_base64(wire["payload"])
        signatures = [(item["keyid"], decode_base64(item["sig"])) for item in wire["signatures"]]
        again = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [
                {"keyid": name, "sig": base64.b64encode(value).decode()} for name, value in signatures
            ],
        }
        same = compact(again, sort=False) == line
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise malformed from error
    if not same or not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise malformed
    encoded = kind.encode()
    message = b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)
    signers = {
        name
        for name, value in signatures
        if name in keys and signature_holds(keys[name], message, value)
    }
    if not signers:
        named = ", ".join(name[:64] for name, _ in signatures)
        text = f"line {number} is not signed by any of the given keys; it names {named}"
        raise Failure("BUNDLE-0004", text)
    if kind != PAYLOAD_TYPE:
        raise Failure("BUNDLE-0005", f"line {number} carries {kind}, not an in-toto statement")
    return payload, signers


def decode_base64(text):
    return base64.b64decode(text.encode("ascii"), validate=True)


# --- Stage 2: the statements -------------------------------------------------------------------------

STATEMENT = "https://in-toto.io/Statement/v1"
CHANGE = "urn:matrix:predicate:change:v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY = "https://slsa.dev/verification_summary/v1"
KNOWN = {
    CHANGE,
    PROVENANCE,
    TEST_RESULT,
    SUMMARY,
    "https://in-toto.io/attestation/scai/v0.3",
    "https://cyclonedx.org/bom",
    "https://spdx.dev/Document/v2.3",
}


class Optional:
    """A member that may be left out. One that is empty or false is left out, but for some texts."""

    def __init__(self, form, may_be_empty=False):
        self.form, self.may_be_empty = form, may_be_empty


class OneOf:
    def __init__(self, *values):
        self.values = values


class MapOf:
    def __init__(self, form):
        self.form = form


RESOURCE = {
    "name": Optional(str),
    "uri": Optional(str),
    "digest": Optional(MapOf(str)),
    "mediaType": Optional(str),
    "annotations": Optional(MapOf(object)),
}
KIND = OneOf("lint", "test_results", "build_log", "security_scan", "dependency_audit", "sbom")
DIGEST, COUNT = "digest", "count"
PRINCIPAL = {"kind": OneOf("user", "service_account", "agent", "node"), "name": str}
BINDINGS = {
    "plan": DIGEST,
    "patch": DIGEST,
    "tree": str,
    "evidence": DIGEST,
    "policy": DIGEST,
    "dryRun": DIGEST,
}
CHANGE_FORM = {
    "_type": str,
    "subject": [RESOURCE],
    "predicateType": str,
    "predicate": {
        "run": {"id": str, "seq": int, "head": DIGEST, "signedAt": str},
        "title": str,
        "submitter": PRINCIPAL,
        "onBehalfOf": Optional([PRINCIPAL]),
        "source": {"baseCommit": str, "tree": str, "commit": Optional(str, may_be_empty=True)},
        "bindings": BINDINGS,
        "evidence": [
            {
                "kind": KIND,
                "status": OneOf("passed", "failed", "skipped"),
                "reason": Optional(str, may_be_empty=True),
                "summary": str,
                "details": DIGEST,
                "artifacts": Optional([RESOURCE]),
            }
        ],
        "risk": {"level": OneOf("low", "medium", "high", "critical"), "reasons": [str]},
        "gate": {"required": [KIND], "approvals": COUNT, "decidedAt": str},
        "approvals": [
            {
                "principal": PRINCIPAL,
                "at": str,
                "bound": BINDINGS,
                "selfApproval": Optional(bool),
                "reason": Optional(str, may_be_empty=True),
            }
        ],
        "sandbox": {"digest": DIGEST, "summary": str, "held": COUNT, "escaped": COUNT},
        "deployment": Optional({"id": str, "target": str, "environment": Optional(str, may_be_empty=True)}),
        "release": Optional(str, may_be_empty=True),
        "artifacts": [RESOURCE],
        "statements": [{"digest": DIGEST, "predicateType": str}],
    },
}


def check_form(value, form, where):
    """Refuses a member that is missing, of another type, or not in the form."""
    if isinstance(form, OneOf):
        good = isinstance(value, str) and value in form.values
    elif isinstance(form, MapOf):
        good = isinstance(value, dict)
        for name, item in value.items() if good else []:
            check_form(item, form.form, f"{where}.{name}")
    elif form == COUNT:
        good = type(value) is int and 0 <= value < 2**32
    elif form == DIGEST:
        good = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    elif isinstance(form, list):
        good = isinstance(value, list)
        for item in value if good else []:
            check_form(item, form[0], where + "[]")
    elif isinstance(form, dict):
        good = isinstance(value, dict) and set(value) <= set(form)
        for name, inner in form.items() if good else []:
            if isinstance(inner, Optional):
                if name in value:
                    check_form(value[name], inner.form, f"{where}.{name}")
                    if not value[name] and not inner.may_be_empty:
                        raise ValueError(f"{where}.{name} is there, but empty")
            elif name not in value:
                raise ValueError(f"{where}.{name} is missing")
            else:
                check_form(value[name], inner, f"{where}.{name}")
    elif form is int:
        good = type(value) is int and 0 <= value < 2**53
    else:
        good = isinstance(value, form)
    if not good:
        raise ValueError(f"{where} is not what the form says")


def read_statement(number, payload):
    """The statement with its digest, or a Failure."""
    try:
        value = strict_json(payload)
        if value["_type"] != STATEMENT:
            raise ValueError("its _type is another")
        kind, subjects = value["predicateType"], value["subject"]
        if not isinstance(kind, str) or not isinstance(subjects, list) or "predicate" not in value:
            raise ValueError("it is no statement")
        for subject in subjects:
            check_form(subject.get("digest", {}), MapOf(str), "subject")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Failure("BUNDLE-0005", f"line {number} is not a readable statement: {error}") from error
    if kind not in KNOWN:
        text = f"line {number} has predicate type {kind}, which this verifier does not know"
        raise Failure("BUNDLE-0005", text)
    if not subjects or not all(subject.get("digest") for subject in subjects):
        raise Failure("BUNDLE-0007", f"line {number} is about nothing")
    return {
        "line": number,
        "digest": hashlib.sha256(payload).hexdigest(),
        "payload": payload,
        "whole": value,
        "predicateType": kind,
        "subject": subjects,
        "predicate": value["predicate"],
    }


def same_thing(a, b):
    """Two resources share a digest and differ in none that they share."""
    mine, theirs = a.get("digest", {}), b.get("digest", {})
    shared = set(mine) & set(theirs)
    return bool(shared) and all(mine[name] == theirs[name] for name in shared)


def check_statements(payloads):
    """(change, subjects, all statements)"""
    failures, statements, seen = [], [], set()
    for number, payload in payloads:
        try:
            statement = read_statement(number, payload)
            if statement["digest"] in seen:
                raise Failure("BUNDLE-0006", f"line {number} repeats an earlier statement")
            seen.add(statement["digest"])
            statements.append(statement)
        except Failure as failure:
            failures.append(failure)
    changes = [statement for statement in statements if statement["predicateType"] == CHANGE]
    if len(changes) != 1:
        text = f"a bundle holds exactly one change statement, this one {len(changes)}"
        raise Failures([*failures, Failure("BUNDLE-0006", text)])
    own, change = changes[0], changes[0]["predicate"]
    try:
        check_form(own["whole"], CHANGE_FORM, "change")
        # One form only: what its maker writes for the same value.
        if compact(own["whole"], sort=True) != own["payload"]:
            raise ValueError("it is not in canonical form")
    except (ValueError, RecursionError) as error:
        text = f"line {own['line']} is not a readable statement: {error}"
        raise Failures([*failures, Failure("BUNDLE-0005", text)]) from error
    others = [statement for statement in statements if statement is not own]
    failures += compare_sets(change, others)
    for statement in others:
        for subject in statement["subject"]:
            if not any(same_thing(known, subject) for known in own["subject"]):
                text = f"line {statement['line']} is about {subject}, no subject of this change"
                failures.append(Failure("BUNDLE-0007", text))
    failures += check_published_forms(others)
    if failures:
        raise Failures(failures)
    return change, own["subject"], [own, *others]


def compare_sets(change, others):
    named = [(item["digest"], item["predicateType"]) for item in change["statements"]]
    there = {(item["digest"], item["predicateType"]): item["line"] for item in others}
    failures = []
    if len(set(named)) != len(named):
        failures.append(Failure("BUNDLE-0012", "the change names a statement twice"))
    for key, line in there.items():
        if key not in named:
            text = f"line {line} ({key[1]}) does not belong to this change"
            failures.append(Failure("BUNDLE-0006", text))
    for key in sorted(set(named) - set(there)):
        failures.append(Failure("BUNDLE-0006", f"statement {key[0]} ({key[1]}) is missing"))
    return failures


def check_published_forms(statements):
    """The members that stage 3 looks at."""
    failures = []
    for statement in statements:
        kind, predicate = statement["predicateType"], statement["predicate"]
        try:
            if kind == PROVENANCE:
                run = predicate["runDetails"]["metadata"]["invocationId"]
                check_form(run, str, "invocationId")
            elif kind == TEST_RESULT:
                check_form(predicate["result"], OneOf("PASSED", "WARNED", "FAILED"), "result")
                check_form(predicate.get("failedTests", []), [str], "failedTests")
            elif kind == SUMMARY:
                result = predicate["verificationResult"]
                check_form(result, OneOf("PASSED", "FAILED"), "verificationResult")
                check_form(predicate["policy"]["digest"], MapOf(str), "policy.digest")
                for item in predicate.get("inputAttestations", []):
                    check_form(item["digest"], MapOf(str), "inputAttestations")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"line {statement['line']} is not a readable statement: {error!r}"
            failures.append(Failure("BUNDLE-0005", text))
    return failures


# --- Stage 3: what they say --------------------------------------------------------------------------


def check_contents(change, subjects, statements, artifacts):
    failures = []

    def fail(code, text):
        failures.append(Failure(code, text))

    def is_subject(algorithm, value):
        thing = {"digest": {algorithm: value}}
        return any(same_thing(subject, thing) for subject in subjects)

    source = change["source"]
    if not is_subject("gitTree", source["tree"]):
        fail("BUNDLE-0007", f"tree {source['tree']} is not a subject of the change statement")
    if "commit" in source and not is_subject("gitCommit", source["commit"]):
        fail("BUNDLE-0007", f"commit {source['commit']} is not a subject of the change statement")
    for artifact in change["artifacts"]:
        if not any(same_thing(subject, artifact) for subject in subjects):
            fail("BUNDLE-0007", f"artifact {artifact.get('name')} is not a subject of the change")
    if change["bindings"]["tree"] != source["tree"]:
        fail("BUNDLE-0012", "the tree that was approved is not the tree that was published")
    check_evidence(change, fail)
    check_approvals(change, fail)
    check_agreement(change, statements, fail)
    if change["sandbox"]["escaped"]:
        fail("BUNDLE-0012", f"{change['sandbox']['escaped']} escape attempts got through the sandbox")
    for name, digest in artifacts:
        if not any(subject["digest"].get("sha256") == digest for subject in subjects):
            fail("BUNDLE-0008", f"{name} (SHA-256 {digest}) is not what this bundle speaks about")
    if failures:
        raise Failures(failures)


def check_evidence(change, fail):
    required, seen = change["gate"]["required"], set()
    for entry in change["evidence"]:
        kind, status, reason = entry["kind"], entry["status"], entry.get("reason", "")
        if kind in seen:
            fail("BUNDLE-0012", f"{kind} is listed twice")
        seen.add(kind)
        if status == "failed":
            fail("BUNDLE-0009", f"{kind} failed: {reason}")
        elif status == "skipped" and kind in required:
            fail("BUNDLE-0010", f"{kind} was required by the policy, but skipped: {reason}")
        elif status == "skipped" and not reason:
            fail("BUNDLE-0010", f"{kind} was skipped without a reason")
    for kind in required:
        if kind not in seen:
            fail("BUNDLE-0010", f"{kind} was required by the policy, but there is no evidence of it")
    root = hashlib.sha256(compact(change["evidence"], sort=True)).hexdigest()
    if root != change["bindings"]["evidence"]:
        fail("BUNDLE-0012", "the evidence is not the evidence that the gate saw")


def check_approvals(change, fail):
    own = [change["submitter"], *change.get("onBehalfOf", [])]
    people, level = set(), change["risk"]["level"]
    for approval in change["approvals"]:
        person, itself = approval["principal"], approval.get("selfApproval", False)
        who, mine = f"{person['kind']}:{person['name']}", person in own
        moved = [name for name in BINDINGS if approval["bound"][name] != change["bindings"][name]]
        why = None
        if person["kind"] != "user":
            why = "only people approve"
        elif mine and not itself:
            why = "the submitter may not approve their own change"
        elif itself and not mine:
            why = "it is recorded as the submitter's own, but is not"
        elif mine and level == "critical":
            why = "a critical change cannot be approved by its submitter"
        if moved:
            text = f"the approval of {who} is stale: it was given for another {', '.join(moved)}"
            fail("BUNDLE-0011", text)
        if why:
            fail("BUNDLE-0011", f"the approval of {who} may not count: {why}")
        if not moved and not why:
            if person["name"] in people:
                fail("BUNDLE-0011", f"{who} approved twice")
            people.add(person["name"])
    needed = max(change["gate"]["approvals"], 1 if level == "critical" else 0)
    if len(people) < needed:
        asked = f"{needed} approval" + ("" if needed == 1 else "s")
        given = f"{len(people)} count" + ("s" if len(people) == 1 else "")
        fail("BUNDLE-0011", f"the policy asked for {asked}, of which {given}")


def check_agreement(change, statements, fail):
    status = {entry["kind"]: entry["status"] for entry in change["evidence"]}
    digests = {statement["digest"] for statement in statements}
    for statement in statements:
        kind, predicate = statement["predicateType"], statement["predicate"]
        if kind == TEST_RESULT:
            if predicate["result"] == "FAILED" or predicate.get("failedTests"):
                fail("BUNDLE-0009", f"test_results failed: {predicate.get('failedTests', [])[:5]}")
            if status.get("test_results", "skipped") == "skipped":
                fail("BUNDLE-0012", "there is a test result, but the change says that no test ran")
        elif kind == PROVENANCE:
            if predicate["runDetails"]["metadata"]["invocationId"] != change["run"]["id"]:
                fail("BUNDLE-0012", "the provenance is of another run")
        elif kind == SUMMARY:
            if predicate["verificationResult"] != "PASSED":
                fail("BUNDLE-0012", "the gate's verdict is that it failed")
            if predicate["policy"]["digest"].get("sha256") != change["bindings"]["policy"]:
                fail("BUNDLE-0012", "the verdict is of another policy")
            inputs = predicate.get("inputAttestations", [])
            if not all(item["digest"].get("sha256") in digests for item in inputs):
                fail("BUNDLE-0012", "the verdict rests on a statement that is not here")


# --- The program -------------------------------------------------------------------------------------


def verify(data, keys, artifacts):
    """What the bundle proves, as a dictionary; raises Failures. `keys` maps key ids to 32 bytes."""
    payloads, signers = open_file(data, keys)
    change, subjects, statements = check_statements(payloads)
    check_contents(change, subjects, statements, artifacts)
    evidence = change["evidence"]
    return {
        "run": change["run"]["id"],
        "title": change["title"],
        "submitter": change["submitter"],
        "risk": change["risk"]["level"],
        "keys": signers,
        "statements": len(statements),
        "passed": [entry["kind"] for entry in evidence if entry["status"] == "passed"],
        "skipped": {e["kind"]: e["reason"] for e in evidence if e["status"] == "skipped"},
        "approvals": [approval["principal"] for approval in change["approvals"]],
        "artifacts": [name for name, _ in artifacts],
    }


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run(arguments):
    keys = {}
    for path in arguments.key:
        with open(path, encoding="utf-8", errors="replace") as file:
            name, key = read_key(file.read(16 * 1024))
        keys[name] = key
    artifacts = [(path, digest_of(path)) for path in arguments.artifact]
    with open(arguments.bundle, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    return verify(data, keys, artifacts)


def main():
    parser = argparse.ArgumentParser(description="Verifies a Matrix bundle, offline.")
    parser.add_argument("bundle", help="the .intoto.jsonl file")
    parser.add_argument("--key", action="append", default=[], help="a public key you trust (PEM)")
    parser.add_argument("--artifact", action="append", default=[], help="a file it must speak about")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    try:
        proved, failures = run(arguments), []
    except Failures as stage:
        proved, failures = None, stage.failures
    except Failure as failure:
        proved, failures = None, [failure]
    except OSError as error:
        proved, failures = None, [Failure("FILE", f"{error.filename}: {error.strerror}")]
    if arguments.json:
        shown = [{"code": failure.code, "detail": str(failure)} for failure in failures]
        print(json.dumps({"verified": proved, "failures": shown}))
    elif failures:
        for failure in failures:
            print(f"NOT VERIFIED: {failure} [{failure.code}]", file=sys.stderr)
    else:
        show(proved)
    return 1 if failures else 0


def show(proved):
    people = ", ".join(person["name"] for person in proved["approvals"]) or "nobody needed to"
    print(f"VERIFIED: {proved['title']} ({proved['run']})")
    print(f"  {proved['statements']} statements, signed by {', '.join(proved['keys'])}")
    print(f"  submitted by {proved['submitter']['name']}, risk {proved['risk']}, agreed: {people}")
    print(f"  passed: {', '.join(proved['passed']) or 'nothing'}")
    for kind, reason in proved["skipped"].items():
        print(f"  skipped: {kind}: {reason}")
    for name in proved["artifacts"]:
        print(f"  file: {name}")


if __name__ == "__main__":
    sys.exit(main())

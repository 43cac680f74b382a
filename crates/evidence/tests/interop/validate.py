"""Hands one file to one independent tool.

    validate.py FORMAT FILE [KEY]

Exits 0 if the tool accepts the file and 10 if it refuses it. Anything else, such as a tool that
cannot be imported, is neither: the caller must not take it for a verdict.
"""

import hashlib
import json
import sys

REFUSED = 10


class Refused(Exception):
    """The tool looked at the file and said no."""


def envelopes(path, key_path):
    from cryptography.hazmat.primitives import serialization
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    with open(key_path, "rb") as file:
        key = serialization.load_pem_public_key(file.read())
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    trusted = SSlibKey.from_crypto(key, keyid=hashlib.sha256(der).hexdigest())
    for line in lines(path):
        envelope = Envelope.from_dict(json.loads(line))
        try:
            accepted = envelope.verify([trusted], 1)
        except VerificationError as error:
            raise Refused(error) from error
        assert list(accepted) == [trusted.keyid]


def statements(path, _key):
    import base64

    from google.protobuf import json_format
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
    from in_toto_attestation.predicates.scai.v0 import scai_pb2
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.predicates.vsa.v1 import vsa_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    forms = {
        "https://slsa.dev/provenance/v1": provenance_pb2.Provenance,
        "https://slsa.dev/verification_summary/v1": vsa_pb2.VerificationSummary,
        "https://in-toto.io/attestation/test-result/v0.1": test_result_pb2.TestResult,
        "https://in-toto.io/attestation/scai/v0.3": scai_pb2.AttributeReport,
    }
    seen = set()
    for line in lines(path):
        value = json.loads(base64.b64decode(json.loads(line)["payload"]))
        try:
            message = json_format.ParseDict(value, statement_pb2.Statement())
            Statement.copy_from_pb(message).validate()
            form = forms.get(value["predicateType"])
            if form is vsa_pb2.VerificationSummary:
                # The specification has a list of levels; this library declares one text.
                levels = value["predicate"].pop("verifiedLevels")
                if not isinstance(levels, list) or not all(isinstance(x, str) for x in levels):
                    raise ValueError("verifiedLevels is not a list of texts")
            if form:
                json_format.ParseDict(value["predicate"], form())
                seen.add(form)
        except (json_format.ParseError, ValueError) as error:
            raise Refused(error) from error
    if len(seen) < len(forms):
        sys.exit(f"not every form was seen: {seen}")


def cyclonedx(path, _key):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    with open(path, encoding="utf-8") as file:
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read())
    if error is not None:
        raise Refused(error)


def spdx(path, _key):
    from spdx_tools.spdx.parser.error import SPDXParsingError
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    try:
        document = parse_file(path)
    except SPDXParsingError as error:
        raise Refused(error.get_messages()) from error
    messages = validate_full_spdx_document(document)
    if messages:
        raise Refused([message.validation_message for message in messages])


def ntia(path, _key):
    import ntia_conformance_checker

    checker = ntia_conformance_checker.SbomChecker(path)
    if not checker.compliant:
        raise Refused(checker.output_json())


def junit(path, _key):
    from junitparser import JUnitXml
    from junitparser.junitparser import JUnitXmlError
    from xml.etree.ElementTree import ParseError

    try:
        report = JUnitXml.fromfile(path)
    except (JUnitXmlError, ParseError) as error:
        raise Refused(error) from error
    counts = {"passed": 0, "Failure": 0, "Error": 0, "Skipped": 0}
    for suite in report:
        before = (suite.tests, suite.failures, suite.errors, suite.skipped)
        for case in suite:
            results = [type(result).__name__ for result in case.result]
            for name in results or ["passed"]:
                counts[name] = counts.get(name, 0) + 1
        suite.update_statistics()
        if before != (suite.tests, suite.failures, suite.errors, suite.skipped):
            raise Refused(f"suite {suite.name} miscounts itself: {before}")
    print(json.dumps(counts, sort_keys=True))


def lines(path):
    with open(path, encoding="utf-8") as file:
        found = [line for line in file if line.strip()]
    if not found:
        raise Refused("nothing in it")
    return found


FORMATS = {
    "envelopes": envelopes,
    "statements": statements,
    "cyclonedx": cyclonedx,
    "spdx": spdx,
    "ntia": ntia,
    "junit": junit,
}

if __name__ == "__main__":
    try:
        FORMATS[sys.argv[1]](sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
    except Refused as refused:
        print(f"refused: {refused}")
        sys.exit(REFUSED)

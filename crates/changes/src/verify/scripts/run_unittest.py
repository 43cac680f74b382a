"""Discovers and runs a repository's unittest tests; writes one JUnit XML file.

Usage: run_unittest.py REPORT. Exits 0 when everything passed, 1 when a test failed, 5 when no
test was found. Unlike `python -m unittest` it finds tests in `tests/` without `__init__.py` too.
"""

import os
import sys
import time
import unittest
import xml.etree.ElementTree as xml


def readable(text):
    """Drops the characters that XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or 32 <= ord(c) < 0xD800 or 0xDFFF < ord(c))


class Recorder(unittest.TextTestResult):
    """Keeps one outcome per test; a failed subtest makes its test fail."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cases = {}
        self.began = {}

    def startTest(self, test):
        self.began[test.id()] = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        case = self.cases.setdefault(test.id(), {"outcome": "passed", "text": ""})
        case["seconds"] = time.monotonic() - self.began.get(test.id(), time.monotonic())

    def note(self, name, outcome, text=""):
        case = self.cases.setdefault(name, {"outcome": outcome, "text": text, "seconds": 0.0})
        if outcome in ("failure", "error"):
            case.update(outcome=outcome, text=text)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.note(test.id(), "passed")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.note(test.id(), "failure", self.failures[-1][1])

    def addError(self, test, error):
        super().addError(test, error)
        self.note(test.id(), "error", self.errors[-1][1])

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.note(test.id(), "failure", "%s: %s" % (subtest.id(), error[1]))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test.id(), "skipped", reason)

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.note(test.id(), "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.note(test.id(), "failure", "unexpected success")


def discover():
    """The tests below the working directory and in plain `tests` and `test` folders."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for pattern in ("test*.py", "*_test.py"):
        suite.addTests(loader.discover(".", pattern=pattern))
    for folder in ("tests", "test"):
        if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, "__init__.py")):
            for pattern in ("test*.py", "*_test.py"):
                suite.addTests(loader.discover(folder, pattern=pattern, top_level_dir=folder))
    return suite


def write(path, cases):
    suite = xml.Element("testsuite", name="unittest", tests=str(len(cases)))
    for name, case in sorted(cases.items()):
        group, _, method = name.rpartition(".")
        seconds = "%.3f" % case.get("seconds", 0.0)
        element = xml.SubElement(suite, "testcase", classname=group, name=method, time=seconds)
        if case["outcome"] != "passed":
            text = readable(case["text"])[-4000:]
            lines = [line for line in text.splitlines() if line.strip()]
            message = lines[-1][:300] if lines else ""
            xml.SubElement(element, case["outcome"], message=message).text = text
    xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def main():
    sys.path[0] = os.getcwd()
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Recorder)
    result = runner.run(discover())
    write(sys.argv[1], result.cases)
    if not result.cases:
        return 5
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())

"""Gives many bundles to the Python verifier at once.

    differential.py VERIFIER KEY FOLDER

Prints one JSON object: for each file of the folder, the codes of its failures.
"""

import functools
import importlib.util
import json
import os
import sys

specification = importlib.util.spec_from_file_location("verifier", sys.argv[1])
verifier = importlib.util.module_from_spec(specification)
specification.loader.exec_module(verifier)

# The bundles share most lines; each signature is worked out once.
verifier.signature_holds = functools.lru_cache(maxsize=64)(verifier.signature_holds)

with open(sys.argv[2], encoding="utf-8") as file:
    name, key = verifier.read_key(file.read())

codes = {}
for entry in sorted(os.listdir(sys.argv[3])):
    with open(os.path.join(sys.argv[3], entry), "rb") as file:
        data = file.read()
    try:
        verifier.verify(data, {name: key}, [])
        codes[entry] = []
    except verifier.Failures as stage:
        codes[entry] = sorted({failure.code for failure in stage.failures})
print(json.dumps(codes))

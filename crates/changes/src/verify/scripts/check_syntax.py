"""Compiles every Python file below the working directory; one JSON object a line for each error."""

import json
import os
import sys
import warnings

SKIPPED = {"node_modules", "vendor", "venv", "__pycache__", "build", "dist"}


def main():
    failed = False
    for folder, folders, files in os.walk("."):
        folders[:] = sorted(f for f in folders if f not in SKIPPED and not f.startswith("."))
        for name in sorted(files):
            path = os.path.normpath(os.path.join(folder, name))
            if not name.endswith(".py") or os.path.islink(path):
                continue
            try:
                with open(path, "rb") as file, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    compile(file.read(), path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                failed = True
                found = {
                    "path": path,
                    "line": getattr(error, "lineno", None) or 1,
                    "message": str(getattr(error, "msg", error)),
                    "text": getattr(error, "text", None) or "",
                }
                print(json.dumps(found))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Writes JSON-Schema-Test-Suite's required cases of draft 2020-12 as one file, for crates/grammar/src/json_schema/suite.rs.

    python3 scripts/golden/json_schema_suite.py > crates/grammar/tests/json_schema_suite.json

The suite is Julian Berman's, under the MIT licence; it is taken from the source package of jsonschema on PyPI, which pip
fetches. Each group of cases becomes one line: where it is from, the schema, and its values with whether they are valid.
"""

import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

VERSION = "4.26.0"


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        fetch += ["-d", str(folder), f"jsonschema=={VERSION}"]
        subprocess.run(fetch, check=True, stdout=sys.stderr)
        with tarfile.open(folder / f"jsonschema-{VERSION}.tar.gz") as package:
            package.extractall(folder, filter="data")
        suite = folder / f"jsonschema-{VERSION}" / "json"
        groups = []
        for path in sorted((suite / "tests/draft2020-12").glob("*.json")):
            for group in json.loads(path.read_text()):
                cases = [[case["data"], case["valid"]] for case in group["tests"]]
                groups.append([f"{path.stem}: {group['description']}", group["schema"], cases])
        licence = (suite / "LICENSE").read_text()
    print("{")
    print(f'"source": "json-schema-org/JSON-Schema-Test-Suite, as in jsonschema {VERSION} of PyPI",')
    print(f'"licence": {json.dumps(licence)},')
    print('"groups": [')
    print(",\n".join(json.dumps(group, ensure_ascii=False, separators=(",", ":")) for group in groups))
    print("]}")


main()

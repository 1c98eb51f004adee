"""`schemathesis` against docs/openapi.json: no 500, and nothing but what the file says, whatever is sent.

Usage: openapi_conformance.py [--examples N] [--seed N] [SERVE FLAGS]. Ends with "N passed, N failed": the operations
of the file. Needs tests/python/comparisons.txt.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import requests
from conftest import ROOT, running_server

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LIMIT_S = 1500


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    args, flags = parser.parse_known_args()
    document = json.loads((ROOT / "docs/openapi.json").read_text())
    operations = sum(len(methods) for methods in document["paths"].values())
    with running_server("--max-seq-len", "96", *flags) as (_, url), tempfile.TemporaryDirectory() as folder:
        published = requests.get(url + "/openapi.json", timeout=60).json() == document
        done = subprocess.run(
            [str(Path(sys.executable).parent / "st"), "run", str(ROOT / "docs/openapi.json"), "--url", url, "--checks", CHECKS,
             "--phases", "examples,coverage,fuzzing", "--seed", str(args.seed), "-n", str(args.examples),
             "--request-timeout", "60", "--continue-on-failure", "--suppress-health-check", "all"],
            cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
        alive = requests.get(url + "/health", timeout=60).status_code == 200
    print(done.stdout[-20000:], done.stderr[-2000:])
    wrong = set(re.findall(r"^_+ ((?:GET|POST|DELETE) \S+) _+$", done.stdout, re.M))
    failed = len(wrong) or int(done.returncode != 0)
    failed += int(not published) + int(not alive)
    print(f"published: {published}, alive: {alive}, st ended with {done.returncode}")
    print(f"{operations - len(wrong)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

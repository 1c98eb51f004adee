#!/usr/bin/env python3
"""`ramjet grammar check` against the official JSON Schema suite and against Python's re.

Usage: grammar_differential.py RAMJET [--regexes N] [--seed N]. Ends with "N passed, N failed, N skipped":
groups of the suite (skipped: refused by a keyword), then random expressions. The suite's format.json is
left out: it says that formats assert nothing, and here they do.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SUITE = Path(__file__).resolve().parents[3] / "shared/data/conformance/json-schema-test-suite/draft2020-12"
STYLES = [{"separators": (",", ":")}, {}, {"ensure_ascii": False}]


def check(ramjet, folder, texts, *flags):
    (folder / "i").write_bytes(b"".join(t.encode() + b"\n" for t in texts))
    done = subprocess.run([ramjet, "grammar", "check", *flags, "--instances", str(folder / "i"), "--json"],
                          capture_output=True, timeout=120)
    return json.loads(done.stdout)


def shuffled(value, rng):
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {k: shuffled(value[k], rng) for k in keys}
    return [shuffled(v, rng) for v in value] if isinstance(value, list) else value


def suite(ramjet, folder, rng, counts):
    for path in sorted(SUITE.rglob("*.json")):
        name = str(path.relative_to(SUITE))
        if name == "format.json":
            continue
        for group in json.loads(path.read_text()):
            texts, valid = [], []
            for test in group["tests"]:
                forms = [json.dumps(test["data"], **style) for style in STYLES]
                forms.append(json.dumps(shuffled(test["data"], rng)))
                forms.append(" " + forms[0] + "\t ")
                texts += forms
                valid += [test["valid"]] * len(forms)
            (folder / "s.json").write_text(json.dumps(group["schema"]))
            answer = check(ramjet, folder, texts, "--schema", str(folder / "s.json"))
            if answer["status"] == "unsupported":
                counts["skipped"] += 1
                continue
            ok = answer["status"] == "ok" and answer["accepted"] == valid
            counts["passed" if ok else "failed"] += 1
            if not ok:
                print(f"{name}: {group['description']}: {answer['status']}")


def expression(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.35:
        return rng.choice(["a", "b", "c", "é", ".", "\\d", "\\w", "[ab]", "[^a]", "[a-c]", "\\.", "[^\\d]", ""])
    if kind < 0.6:
        return expression(rng, depth + 1) + expression(rng, depth + 1)
    if kind < 0.75:
        return f"(?:{expression(rng, depth + 1)}|{expression(rng, depth + 1)})"
    tail = rng.choice(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"])
    return f"({expression(rng, depth + 1)}){tail}"


def regexes(ramjet, folder, rng, how_many, counts):
    for _ in range(how_many):
        source = expression(rng)
        texts = ["".join(rng.choice("abcé.1_") for _ in range(rng.randint(0, 7))) for _ in range(40)]
        wanted = [re.fullmatch(source, t, re.ASCII) is not None for t in texts]
        answer = check(ramjet, folder, texts, "--regex", source)
        ok = answer["accepted"] == wanted
        counts["passed" if ok else "failed"] += 1
        if not ok:
            print(f"{source!r}: {answer['status']}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ramjet")
    parser.add_argument("--regexes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with tempfile.TemporaryDirectory() as name:
        if SUITE.exists():
            suite(args.ramjet, Path(name), rng, counts)
        else:
            print("the official suite is absent: skipped")
            counts["skipped"] += 1
        regexes(args.ramjet, Path(name), rng, args.regexes, counts)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

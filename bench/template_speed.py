#!/usr/bin/env python3
"""Renders a second of chat templates, ours beside jinja2 as transformers sets it up: one run.

    bench/template_speed.py [--bench build/bin/text_bench] > bench/results/MACHINE/templates.json

Both render two conversations (several turns; a dialog with tools) by compiled templates. Times are CPU
seconds of the process, which a busy machine disturbs less; the best of three rounds. Needs
tests/python/comparisons.txt and ../shared/data/chat_templates.
"""
import argparse
import json
import sys
import time

import jinja2
import speed
from transformers.utils import chat_template_utils

ROOT = speed.ROOT
TEMPLATES = ROOT.parent / "shared/data/chat_templates"
CONTEXTS = json.loads((ROOT / "tests/data/chat/contexts.json").read_text())
CASES = [CONTEXTS["multi+gen"], CONTEXTS["tool_dialog+gen"]]


def render(template, context):
    try:
        template.render(**context)
    except Exception:  # some templates refuse a conversation; so do we
        pass


def jinja_rate(source):
    template = chat_template_utils._cached_compile_jinja_template(source)
    best = 0
    for _ in range(3):
        count, start = 0, time.process_time()
        while time.process_time() - start < 0.2:
            for context in CASES:
                render(template, context)
            count += len(CASES)
        best = max(best, count / (time.process_time() - start))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default=str(ROOT / "build/bin/text_bench"))
    args = parser.parse_args()
    ours = speed.our_rates(args.bench, "^render/", "items", 3)
    rows = []
    for path in sorted(TEMPLATES.glob("*.jinja")):
        rate, theirs = ours[f"render/{path.stem}"], jinja_rate(path.read_text())
        rows.append({"template": path.stem, "ours_renders_s": round(rate), "jinja2_renders_s": round(theirs),
                     "ratio": round(rate / theirs, 1)})
        print(rows[-1], file=sys.stderr, flush=True)
    speed.report({"jinja2": jinja2.__version__, "clock": "process CPU time, best of 3"}, rows)


if __name__ == "__main__":
    main()

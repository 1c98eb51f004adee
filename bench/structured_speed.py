#!/usr/bin/env python3
"""What constraints cost: tokens a second of constrained and free answers, in turns, in one run of one server.

    bench/structured_speed.py [--pairs 8] [--clients 32] [SERVE FLAGS] > bench/results/MACHINE/structured-demo.json

Each turn sends CLIENTS requests at once (temperature 1, as many tokens each, to the last one) and divides their tokens
by the server's processor time and by wall time; a pair is a free turn and a constrained one, in changing order. The
regex forces no text, so it shows what masks cost; the schema shows jump-forward too. Needs tests/python/requirements.txt.
"""
import argparse
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/python"))
from conftest import Server, running_server  # noqa: E402

PERSON = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 24}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "email": {"type": "string", "format": "email", "maxLength": 40},
    "role": {"enum": ["reader", "writer", "administrator"]}, "tags": {"type": "array", "items": {"type": "string"},
                                                                      "maxItems": 3}},
    "required": ["name", "age", "email", "role"], "additionalProperties": False}
CONSTRAINTS = {"regex": {"guided_regex": "([A-Z][a-z ,']{1,80}[.!?] ?)+"},
               "schema": {"guided_json": {"type": "array", "items": PERSON, "minItems": 400}}}


def turn(server, pid, clients, tokens, seed, constraint):
    """tokens a second of the server's processor time, and of the wall clock"""
    def one(i):
        body = {"model": server.model, "prompt": f"Story {i}:", "max_tokens": tokens, "temperature": 1,
                "seed": seed + i, "min_tokens": tokens, **constraint}
        answer = server.session.post(server.url + "/v1/completions", json=body, timeout=900)
        return answer.json()["usage"]["completion_tokens"]

    begin, cpu = time.monotonic(), processor_s(pid)
    with ThreadPoolExecutor(clients) as pool:
        made = sum(pool.map(one, range(clients)))
    return made / (processor_s(pid) - cpu), made / (time.monotonic() - begin), made


def processor_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(server, pid, args, constraint):
    turn(server, pid, args.clients, args.tokens, 1, constraint)  # masks that every user of a grammar shares
    rows = []
    for i in range(args.pairs):
        pair = {}
        for kind in (("free", "held") if i % 2 == 0 else ("held", "free")):
            pair[kind] = turn(server, pid, args.clients, args.tokens, 1000 * (i + 1), {} if kind == "free" else constraint)
        rows.append(pair)
    ratio = [p["held"][0] / p["free"][0] for p in rows]
    wall = [p["held"][1] / p["free"][1] for p in rows]
    return {"free_tokens_per_cpu_s": round(statistics.median(p["free"][0] for p in rows), 1),
            "held_tokens_per_cpu_s": round(statistics.median(p["held"][0] for p in rows), 1),
            "held_over_free_by_cpu": round(statistics.median(ratio), 4), "each": [round(r, 4) for r in ratio],
            "held_over_free_by_wall": round(statistics.median(wall), 4),
            "held_tokens_a_turn": [p["held"][2] for p in rows]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    args, flags = parser.parse_known_args()
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "")
    out = {"machine": {"cpu": cpu, "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
           "model": "models/demo", "clients": args.clients, "tokens": args.tokens, "pairs": args.pairs,
           "serve_flags": flags, "results": {}}
    with running_server("--no-request-log", *flags) as (process, url):
        server = Server(url, "")
        turn(server, process.pid, args.clients, args.tokens, 1, {})
        for name, constraint in CONSTRAINTS.items():
            out["results"][name] = measure(server, process.pid, args, constraint)
            print(name, out["results"][name], file=sys.stderr, flush=True)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()

"""Many clients for a long time, some of which hang up: nothing may fail, leak or grow.

    python tests/python/soak.py [--requests 10000] [--minutes 30] [--concurrency 256]
                                [--timeout 120] [--url U --api-key K] [--json FILE]

Without --url a server is started as in conftest.py, with a small KV cache, whose blocks are all
used once before memory counts: a page of the cache is resident from its first use. Its resident
memory is watched, and SIGTERM must end it with 0 (a sanitizer that found something ends it with
another number). The run ends after that many requests or minutes, whichever comes
first, and prints "N passed, N failed"; --json writes what was seen, with the machine. A client
waits --timeout seconds for bytes: sanitized builds and busy machines need more.
"""

import argparse
import http.client
import json
import os
import platform
import random
import subprocess
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlparse

from conftest import KEYS, Server, running_server

PROMPTS = [
    "Once upon a time",
    "The old house stood",
    "In 1901 the city",
    "Tell me a story about a lion.",
    "What is the capital of France?",
    "naïve café, 日本語 🎉",
    "It was raining. " * 40,
]


class Tally:
    def __init__(self, limit, end):
        self.lock, self.limit, self.end = threading.Lock(), limit, end
        self.started = 0
        self.counts = {"finished": 0, "hung up": 0, "busy": 0}
        self.errors = []

    def take(self):
        with self.lock:
            self.started += 1
            return self.started if self.started <= self.limit and time.monotonic() < self.end else 0

    def add(self, what):
        with self.lock:
            self.counts[what] += 1

    def error(self, text):
        with self.lock:
            self.errors.append(text)


def body_of(rng, model):
    chat = rng.random() < 0.5
    text = rng.choice(PROMPTS) + " " + str(rng.randrange(50))
    body = {
        "model": model,
        "max_tokens": rng.randint(1, 64),
        "temperature": rng.choice([0, 0.7, 1.2]),
        "stream": rng.random() < 0.7,
        "n": rng.choice([1, 1, 1, 2]),
        "ignore_eos": True,
        "seed": rng.randrange(1000),
    }
    body |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    return "/v1/chat/completions" if chat else "/v1/completions", body


def one_request(address, key, model, timeout, rng):
    """'finished', 'hung up' or 'busy'; raises what goes wrong"""
    path, body = body_of(rng, model)
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(
            "POST",
            path,
            json.dumps(body),
            {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
        )
        if rng.random() < 0.10:
            time.sleep(rng.random() * 0.05)
            return "hung up"
        answer = connection.getresponse()
        if answer.status == 429:
            answer.read()
            time.sleep(0.2)
            return "busy"
        if answer.status != 200:
            raise AssertionError(f"{path}: {answer.status} {answer.read()[:300]!r}")
        if body["stream"] and rng.random() < 0.15:
            answer.read(rng.randint(1, 2000))
            return "hung up"
        raw = answer.read().decode("utf-8")
        if body["stream"]:
            assert raw.endswith("data: [DONE]\n\n"), f"no end of stream: {raw[-200:]!r}"
            assert '"error"' not in raw, raw[-300:]
        else:
            out = json.loads(raw)
            assert out["usage"]["completion_tokens"] == body["n"] * body["max_tokens"], raw[:300]
        return "finished"
    finally:
        connection.close()


def touch_cache(server, timeout):
    """Prompts that differ from their first token on and fill every block of the cache once: a block
    that was never used is taken before one that holds an old prompt's."""
    blocks = server.get("/load").json()["kv_blocks_total"]
    length = server.context - 32
    for i in range(blocks * 16 // (length // 16 * 16) + 2):
        prompt = [300 + i] + [(i * 31 + j * 7) % 250 + 10 for j in range(length - 1)]
        answer = server.session.post(
            server.url + "/v1/completions",
            json={"model": server.model, "prompt": prompt, "max_tokens": 1},
            timeout=timeout,
        )
        assert answer.status_code == 200, answer.text


def client(number, address, key, model, timeout, tally):
    rng = random.Random(number)
    while tally.take():
        try:
            tally.add(one_request(address, key, model, timeout, rng))
        except Exception as error:  # every failure is a result of the soak
            tally.error(f"{type(error).__name__}: {error}")


def resident_mb(process):
    if process is None:
        return 0
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def exit_code(process):
    process.terminate()
    try:
        return process.wait(120)
    except subprocess.TimeoutExpired:
        return None


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def soak(a, process, url, key):
    server = Server(url, key)
    if process is not None:
        touch_cache(server, a.timeout)
    tally = Tally(a.requests, time.monotonic() + a.minutes * 60)
    address = urlparse(url).netloc
    threads = [
        threading.Thread(target=client, args=(i, address, key, server.model, a.timeout, tally))
        for i in range(a.concurrency)
    ]
    for thread in threads:
        thread.start()
    memory, began = [], time.monotonic()
    while any(t.is_alive() for t in threads):
        time.sleep(0.5)
        memory.append(resident_mb(process))
        if len(memory) % 60 == 0:
            print(
                f"{time.monotonic() - began:.0f} s: {tally.counts}, {len(tally.errors)} errors, "
                f"{memory[-1]:.0f} MB",
                flush=True,
            )
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    server.wait_idle(30)
    time.sleep(2)  # an idle second later the loop checks its blocks
    load = server.get("/load").json()
    books = {key: load[key] for key in ("integrity_checks", "integrity_errors")}
    settled = sorted(memory[len(memory) // 4 : len(memory) // 2] or [0])
    late = sorted(memory[-max(1, len(memory) // 4) :])
    before, after = settled[len(settled) // 2], late[len(late) // 2]
    checks = {
        f"no request failed ({tally.errors[:3]})": not tally.errors,
        f"requests finished and hung up ({tally.counts})": tally.counts["finished"] > 0
        and tally.counts["hung up"] > 0,
        "no request runs or waits": server.metric("ramjet:num_requests_running") == 0,
        f"the idle loop found its books in order ({books})": books["integrity_checks"] > 0
        and books["integrity_errors"] == 0,
        "no block is in use": server.metric("ramjet:kv_cache_usage_perc") < 1e-6,
        f"memory is flat ({before:.0f} MB, then {after:.0f} MB)": after <= before * 1.1 + 20,
        "it still answers": bool(server.complete(prompt="Hi", max_tokens=2)["choices"]),
    }
    if process is not None:
        code = exit_code(process)
        checks[f"SIGTERM ends it with 0 ({code})"] = code == 0
    for what, good in checks.items():
        print(("ok      " if good else "FAILED  ") + what)
    if a.json:
        report = {
            "bench": "soak",
            "machine": {
                "cpu": processor(),
                "cores": os.cpu_count(),
                "kernel": platform.release(),
            },
            "command": a.command,
            "requests": sum(tally.counts.values()) + len(tally.errors),
            "concurrency": a.concurrency,
            "seconds": round(seconds, 1),
            "counts": tally.counts,
            "errors": tally.errors[:10],
            "resident_mb": [round(m) for m in memory[:: max(1, len(memory) // 50)]],
            "load_after": load,
            "checks": checks,
        }
        Path(a.json).parent.mkdir(parents=True, exist_ok=True)
        Path(a.json).write_text(json.dumps(report, indent=1) + "\n")
    good = sum(checks.values())
    print(f"{good} passed, {len(checks) - good} failed")
    return good == len(checks)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--requests", type=int, default=10_000)
    p.add_argument("--minutes", type=float, default=30)
    p.add_argument("--concurrency", type=int, default=256)
    p.add_argument("--timeout", type=float, default=120)
    p.add_argument("--url")
    p.add_argument("--api-key", default=KEYS[0])
    p.add_argument("--json")
    a = p.parse_args()
    a.command = (
        f"python tests/python/soak.py --requests {a.requests} --minutes {a.minutes:g} "
        f"--concurrency {a.concurrency} --timeout {a.timeout:g}"
    )
    flags = ("--api-key", KEYS[0], "--kv-memory", "128MiB", "--no-request-log")
    own = nullcontext((None, a.url)) if a.url else running_server(*flags)
    with own as (process, url):
        good = soak(a, process, url, a.api_key)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()

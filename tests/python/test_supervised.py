"""an executor in a process of its own: what is lost with it, what is not, and when it is replaced"""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from conftest import KEYS, ROOT, START_LIMIT_S, Server, running_server

PROMPT = "Once upon a time there was a miller."
# Two at a time, so that a third request waits.
NARROW = ["--max-batch-size", "2"]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def executor_of(process):
    """pid of the executor's process"""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(parent) == process.pid and b"executor" in command and alive(entry.name):
            return int(entry.name)
    return None


def eventually(condition, limit_s=20.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


@contextmanager
def supervised(*flags, plant=None):
    """(process, server) with its executor apart"""
    before = os.environ.pop("RAMJET_PLANT", None)
    if plant:
        os.environ["RAMJET_PLANT"] = plant
    try:
        # One thread: on a busy machine two wait for each other.
        flags = ["--executor", "process", "--threads", "1", "--api-key", KEYS[0], *flags]
        with running_server(*flags) as (process, url):
            yield process, Server(url, KEYS[0])
    finally:
        os.environ.pop("RAMJET_PLANT", None)
        if before:
            os.environ["RAMJET_PLANT"] = before


def healthy(own):
    return requests.get(own.url + "/health", timeout=10).status_code == 200


def health_text(own):
    return requests.get(own.url + "/health", timeout=10).text


def stream(own, max_tokens):
    answer = own.post(
        "/v1/completions",
        {
            "model": own.model,
            "prompt": PROMPT,
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
        },
        stream=True,
    )
    assert answer.status_code == 200
    return answer


def short(own):
    """text of a brief greedy answer"""
    return own.complete(prompt=PROMPT, max_tokens=24, ignore_eos=True)["choices"][0]["text"]


def events(answer):
    return [line[6:] for line in answer.iter_lines() if line.startswith(b"data: ")]


def assert_broken(lines):
    """an error event and [DONE] end a stream"""
    assert lines[-1] == b"[DONE]"
    error = json.loads(lines[-2])["error"]
    assert error["type"] == "unavailable_error"
    assert "lost" in error["message"]
    return error["message"]


def test_it_answers_as_one_in_this_process(server):
    body = {
        "model": server.model,
        "prompt": [PROMPT, "A"],
        "n": 2,
        "max_tokens": 12,
        "temperature": 0.8,
        "seed": 7,
        "logprobs": 2,
        "echo": True,
    }
    here = server.post("/v1/completions", body).json()
    with supervised() as (process, own):
        assert executor_of(process)
        there = own.post("/v1/completions", body).json()
        assert there["choices"] == here["choices"]
        assert there["usage"]["completion_tokens"] == here["usage"]["completion_tokens"]
        bad = own.post("/v1/completions", body | {"max_tokens": 10**6})
        assert bad.status_code == 400
        assert own.metric("ramjet:executor_restarts_total") == 0


@pytest.mark.parametrize("plant", ["fault_at_step:200", "exit_at_step:200"])
def test_a_fault_ends_what_runs_and_the_queue_goes_on(plant):
    with supervised(*NARROW, plant=plant) as (process, own), ThreadPoolExecutor(8) as pool:
        first = executor_of(process)
        streams = [stream(own, 1500), stream(own, 1500)]
        readers = [pool.submit(events, s) for s in streams]
        waiting = [pool.submit(short, Server(own.url, own.key)) for _ in range(3)]
        for reader in readers:
            lines = reader.result(60)
            assert_broken(lines)
            assert len(lines) > 50, "it had got tokens before"
        texts = [w.result(60) for w in waiting]
        assert eventually(lambda: healthy(own))
        assert executor_of(process) not in (None, first)
        assert texts == [short(own)] * 3
        assert own.metric("ramjet:executor_restarts_total") == 1
        assert own.metric("ramjet:generation_tokens_total") > 300, "counters only grow"
        own.wait_idle()


def test_what_is_not_streamed_is_a_503():
    with supervised(plant="fault_at_step:100") as (process, own):
        before = short(own)
        answer = own.post(
            "/v1/completions",
            {"model": own.model, "prompt": PROMPT, "max_tokens": 1000, "ignore_eos": True},
        )
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "the device was lost" in answer.json()["error"]["message"]
        assert short(own) == before, "the next process says the same"


def test_killing_the_executor_shows_in_health_until_it_is_replaced():
    with supervised() as (process, own), ThreadPoolExecutor(2) as pool:
        expected = short(own)
        first = executor_of(process)
        reader = pool.submit(events, stream(own, 1800))
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: not healthy(own), 10), "health fails meanwhile"
        assert "killed by signal 9" in assert_broken(reader.result(30))
        assert eventually(lambda: healthy(own))
        assert not alive(first)
        assert short(own) == expected


def test_a_request_that_comes_meanwhile_waits():
    with supervised() as (process, own):
        expected = short(own)
        for _ in range(3):
            os.kill(executor_of(process), signal.SIGKILL)
            assert short(own) == expected
            assert eventually(lambda: healthy(own))
        assert own.metric("ramjet:executor_restarts_total") == 3


def test_a_step_that_hangs_is_not_waited_for():
    with supervised("--step-deadline", "1", plant="hang_at_step:50") as (process, own):
        first = executor_of(process)
        begin = time.monotonic()
        assert "step in progress" in assert_broken(events(stream(own, 1000)))
        assert time.monotonic() - begin < 15
        assert eventually(lambda: healthy(own))
        assert not alive(first)
        assert short(own)


def test_it_gives_up_and_says_so():
    with supervised("--max-restarts", "2", plant="fault_at_step:1:always") as (process, own):
        body = {"model": own.model, "prompt": PROMPT, "max_tokens": 4}
        for _ in range(3):
            answer = own.post("/v1/completions", body)
            assert answer.status_code == 503
            assert "lost" in answer.json()["error"]["message"]
        assert eventually(lambda: executor_of(process) is None)
        # The process is gone a moment before its supervisor has drawn the conclusion.
        assert eventually(
            lambda: "any more" in requests.get(own.url + "/health", timeout=10).text
        )
        for _ in range(3):
            health = requests.get(own.url + "/health", timeout=10)
            assert health.status_code == 503
            assert "not replaced any more" in health.json()["error"]["message"]
            begin = time.monotonic()
            assert own.post("/v1/completions", body).status_code == 503
            assert time.monotonic() - begin < 2
            time.sleep(0.3)
        assert own.metric("ramjet:executor_restarts_total") == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_file_that_took_the_engines_place_is_not_served(tmp_path, monkeypatch):
    binary = os.environ.get("RAMJET_BINARY", str(ROOT / "build" / "ramjet"))
    engine, other = tmp_path / "a.engine", tmp_path / "b.engine"
    for path in (engine, other):
        subprocess.run(
            [binary, "build", str(ROOT / "models" / "demo"), "-o", str(path), "--no-tune"],
            check=True,
            capture_output=True,
        )
    monkeypatch.setenv("RAMJET_TEST_MODEL", str(engine))
    with supervised("--max-restarts", "1") as (process, own):
        assert short(own)
        other.rename(engine)
        os.kill(executor_of(process), signal.SIGKILL)
        assert eventually(lambda: "not replaced any more" in health_text(own))
        assert "another one since" in health_text(own)
        assert str(tmp_path) not in health_text(own)


def test_killing_the_server_leaves_no_executor():
    with supervised() as (process, own):
        executor = executor_of(process)
        answer = stream(own, 1500)
        next(answer.iter_lines())
        process.kill()
        process.wait()
        assert eventually(lambda: not alive(executor), 10)


def test_sigterm_drains_and_leaves_no_executor():
    with supervised() as (process, own):
        executor = executor_of(process)
        answer = stream(own, 200)
        lines = answer.iter_lines()
        next(lines)
        os.kill(executor, signal.SIGTERM)  # as a service manager tells all processes of a unit
        process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
        assert rest[-1] == b"data: [DONE]"
        assert b'"finish_reason":"length"' in b"".join(rest).replace(b" ", b"")
        assert process.wait(30) == 0
        assert not alive(executor)


def test_hanging_up_ends_the_request():
    with supervised() as (process, own):
        before = own.metric("ramjet:generation_tokens_total")
        for _ in range(4):
            answer = stream(own, 1800)
            next(answer.iter_lines())
            answer.close()
        own.wait_idle(10)
        assert own.metric("ramjet:generation_tokens_total") - before < 4 * 1800
        assert own.metric("ramjet:kv_cache_usage_perc") == 0


def test_an_executor_that_cannot_be_made_is_the_commands_error():
    binary = os.environ.get("RAMJET_BINARY", str(ROOT / "build" / "ramjet"))
    model = os.environ.get("RAMJET_TEST_MODEL", str(ROOT / "models" / "demo"))
    command = [binary, "serve", model, "--port", "0", "--kv-memory", "1"]
    ends = [
        subprocess.run(
            [*command, "--executor", where], cwd=ROOT, capture_output=True, timeout=START_LIMIT_S
        )
        for where in ("inproc", "process")
    ]
    last = [end.stderr.splitlines()[-1] for end in ends]
    assert ends[0].returncode == ends[1].returncode != 0
    assert last[0] == last[1]

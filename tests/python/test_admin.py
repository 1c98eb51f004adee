"""routes for who runs the server; cache salts and priorities; a stuck loop seen by /health"""

import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from conftest import KEYS, Server, running_server

PROMPT = "Once upon a time there was a miller who had three sons, a mill, a donkey and a cat. " * 3
ADMIN = [("POST", "/sleep"), ("POST", "/wake_up"), ("GET", "/is_sleeping")]
ADMIN += [("POST", "/reset_prefix_cache"), ("GET", "/server_info")]


@contextmanager
def administered(*flags, key=KEYS[0]):
    with running_server("--admin-routes", "--threads", "1", "--api-key", key, *flags) as (
        process,
        url,
    ):
        yield process, Server(url, key)


@pytest.fixture(scope="module")
def own():
    with administered("--max-batch-size", "1") as (process, server):
        server.process = process
        yield server


def greedy(server, **body):
    return server.complete(prompt=PROMPT, max_tokens=8, ignore_eos=True, **body)


def cached(server, **body):
    return greedy(server, **body)["usage"]["prompt_tokens_details"]["cached_tokens"]


def asleep(server):
    return server.get("/is_sleeping").json()["is_sleeping"]


@pytest.mark.parametrize("method,route", ADMIN)
def test_they_are_off_unless_enabled(server, method, route):
    assert server.session.request(method, server.url + route, timeout=30).status_code == 404


@pytest.mark.parametrize("method,route", ADMIN)
def test_they_want_a_key(own, method, route):
    assert requests.request(method, own.url + route, timeout=30).status_code == 401


def test_prefixes_are_shared_between_equal_salts_only(own):
    greedy(own)
    assert cached(own) > 0
    assert cached(own, cache_salt="mine") == 0
    assert cached(own, cache_salt="mine") > 0
    assert cached(own, cache_salt="yours") == 0
    assert cached(own) > 0


def test_reset_prefix_cache(own):
    greedy(own)
    assert cached(own) > 0
    assert own.post("/reset_prefix_cache", {}).status_code == 200
    assert cached(own) == 0
    assert cached(own) > 0
    assert own.get("/load").json()["integrity_errors"] == 0


def test_lower_priority_values_run_first(own):
    """one runs at a time; the rest comes in order of priority, then of arrival"""
    order, threads = [], []
    long = own.post(
        "/v1/completions",
        {"prompt": PROMPT, "max_tokens": 1800, "ignore_eos": True, "stream": True},
        stream=True,
    )
    lines = long.iter_lines()
    next(lines)

    def ask(name, priority):
        Server(own.url, own.key).complete(prompt=name, max_tokens=8, priority=priority)
        order.append(name)

    for i, (name, priority) in enumerate([("late", 5), ("a", 0), ("b", 0), ("soon", -5)]):
        threads.append(threading.Thread(target=ask, args=(name, priority)))
        threads[-1].start()
        end = time.monotonic() + 10
        while own.get("/load").json()["waiting"] < i + 1 and time.monotonic() < end:
            time.sleep(0.01)
    assert own.get("/load").json()["waiting"] == 4, "the first request ended too early"
    long.close()
    for thread in threads:
        thread.join(60)
    assert order == ["soon", "a", "b", "late"]


def test_server_info(own):
    info = own.get("/server_info").json()
    assert info["model"]["names"][0] == own.model
    assert info["model"]["max_model_len"] == own.context
    assert info["limits"]["max_batch_size"] >= 1 and info["kv"]["blocks"] > 0
    assert own.key not in str(info) and info["is_sleeping"] is False


def maps(process):
    return Path(f"/proc/{process.pid}/maps").read_text()


def resident_mb(process):
    rows = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return sum(int(r.split()[1]) for r in rows if r.startswith("VmRSS")) / 1024


def test_sleep_gives_memory_back_and_wake_up_brings_the_same_model(own):
    before = greedy(own)["choices"]
    counted = own.metric("ramjet:generation_tokens_total")
    assert ".engine" in maps(own.process)
    awake_mb = resident_mb(own.process)
    assert own.post("/sleep?level=1", {}).status_code == 200
    assert asleep(own) and ".engine" not in maps(own.process)
    assert resident_mb(own.process) < awake_mb - 20
    refused = own.post("/v1/completions", {"prompt": "a"})
    assert refused.status_code == 503 and refused.headers["Retry-After"]
    assert "/wake_up" in refused.json()["error"]["message"]
    assert own.get("/health").status_code == 200, "a sleeping server is not to be restarted"
    assert own.post("/sleep", {}).status_code == 200
    assert own.post("/wake_up", {}).status_code == 200
    assert not asleep(own) and own.post("/wake_up", {}).status_code == 200
    assert cached(own) == 0
    assert greedy(own)["choices"][0]["text"] == before[0]["text"]
    assert own.metric("ramjet:generation_tokens_total") == counted + 16


@pytest.mark.parametrize("query", ["level=0", "level=9", "timeout=-1", "timeout=x"])
def test_bad_sleeps(own, query):
    assert own.post("/sleep?" + query, {}).status_code == 400
    assert not asleep(own)


def test_what_runs_is_given_time_and_then_ended(own):
    def run(tokens, out):
        out.append(
            Server(own.url, own.key).post(
                "/v1/completions", {"prompt": "a", "max_tokens": tokens, "ignore_eos": True}
            )
        )

    for tokens, timeout, status in ((100, 60, 200), (1900, 0, 503)):
        out = []
        thread = threading.Thread(target=run, args=(tokens, out))
        thread.start()
        while own.get("/load").json()["running"] == 0:
            time.sleep(0.002)
        assert own.post(f"/sleep?timeout={timeout}", {}).status_code == 200
        thread.join(30)
        assert out[0].status_code == status
        assert own.post("/wake_up", {}).status_code == 200


def test_an_executor_apart_ends_its_process_to_sleep():
    with administered("--executor", "process") as (process, own):
        text = greedy(own)["choices"][0]["text"]
        assert cached(own) > 0
        assert own.post("/reset_prefix_cache", {}).status_code == 200
        assert cached(own) == 0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def count():
            tasks = Path(f"/proc/{process.pid}/task").iterdir()
            return sum(len((t / "children").read_text().split()) for t in tasks)

        assert children.exists() and count() == 1
        assert own.post("/sleep", {}).status_code == 200
        assert count() == 0
        assert own.post("/wake_up", {}).status_code == 200
        assert count() == 1 and greedy(own)["choices"][0]["text"] == text


def test_health_fails_when_a_step_hangs(monkeypatch):
    """planted: the third step never ends; without a process apart nobody can replace the loop"""
    monkeypatch.setenv("RAMJET_PLANT", "hang_at_step:3")
    with administered("--executor", "inproc", "--step-deadline", "0.5") as (process, own):
        assert own.get("/health").status_code == 200
        answer = own.post(
            "/v1/completions", {"prompt": "a", "max_tokens": 50, "stream": True}, stream=True
        )
        end = time.monotonic() + 15
        while own.get("/health").status_code == 200 and time.monotonic() < end:
            time.sleep(0.05)
        health = own.get("/health")
        assert health.status_code == 503
        assert health.json()["error"]["type"] == "unavailable_error"
        assert "step in progress" in health.json()["error"]["message"]
        assert own.get("/metrics").status_code == 200, "what does not need the loop goes on"
        answer.close()
        process.kill()

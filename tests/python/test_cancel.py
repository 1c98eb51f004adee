"""clients that go away, many clients at once, and shutting down"""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from conftest import KEYS, Server, running_server

LONG = "Once upon a time there was a miller."


def abandoned(server, **body):
    """starts a long streamed request, reads one event, and hangs up"""
    answer = server.post(
        "/v1/completions",
        {
            "model": server.model,
            "prompt": LONG,
            "max_tokens": server.context - 64,
            "ignore_eos": True,
            "stream": True,
            **body,
        },
        stream=True,
    )
    assert answer.status_code == 200
    next(answer.iter_lines())
    answer.close()


def test_hanging_up_on_a_stream_ends_the_request(server):
    before = server.metric("ramjet:generation_tokens_total")
    abandoned(server)
    server.wait_idle(5)
    assert server.metric("ramjet:generation_tokens_total") - before < server.context - 64


def test_hanging_up_without_a_stream_ends_the_request(server):
    before = server.metric("ramjet:generation_tokens_total")
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(
            server.url + "/v1/completions",
            timeout=0.15,
            headers=dict(server.session.headers),
            json={
                "model": server.model,
                "prompt": LONG,
                "max_tokens": server.context - 64,
                "ignore_eos": True,
                "n": 16,
            },
        )
    server.wait_idle(10)
    assert server.metric("ramjet:generation_tokens_total") - before < 16 * (server.context - 64)


def test_hanging_up_frees_the_blocks(server):
    server.wait_idle()
    before = server.metric("ramjet:kv_cache_usage_perc")
    for _ in range(10):
        abandoned(server, n=2)
    server.wait_idle(10)
    assert server.metric("ramjet:kv_cache_usage_perc") <= before + 1e-6


def test_the_client_closing_a_stream(client, server):
    stream = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=1000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    server.wait_idle(5)


def test_many_at_once_give_what_each_gives_alone(server):
    prompts = [f"Chapter {i}. It was a" for i in range(24)]

    def ask(prompt):
        with requests.Session() as session:
            session.headers.update(server.session.headers)
            answer = session.post(
                server.url + "/v1/completions",
                timeout=120,
                json={
                    "model": server.model,
                    "prompt": prompt,
                    "max_tokens": 16,
                    "temperature": 0.7,
                    "seed": 21,
                    "ignore_eos": True,
                },
            )
        assert answer.status_code == 200, answer.text
        return answer.json()

    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(ask, prompts))
    assert all(out["usage"]["completion_tokens"] == 16 for out in together)
    assert len({out["id"] for out in together}) == 24
    alone = [ask(p)["choices"][0]["text"] for p in prompts[:4]]
    same = sum(a == t["choices"][0]["text"] for a, t in zip(alone, together))
    assert same >= 3, "rounding may differ with the batch, the sequence of random numbers may not"


def test_a_cancelled_request_does_not_disturb_others(server):
    expected = server.complete(prompt=LONG, max_tokens=64, ignore_eos=True)["choices"][0]["text"]
    with ThreadPoolExecutor(4) as pool:
        result = pool.submit(lambda: server.complete(prompt=LONG, max_tokens=64, ignore_eos=True))
        other = Server(server.url, server.key)
        for _ in range(4):
            abandoned(other)
        assert result.result()["choices"][0]["text"] == expected


def test_a_full_queue_is_429():
    with running_server("--api-key", KEYS[0], "--max-queue", "4") as (_, url):
        own = Server(url, KEYS[0])

        def ask(_):
            return requests.post(
                url + "/v1/completions",
                timeout=300,
                headers=dict(own.session.headers),
                json={
                    "model": own.model,
                    "prompt": LONG,
                    "max_tokens": 200,
                    "ignore_eos": True,
                    "n": 8,
                },
            )

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(ask, range(200)))
        counts = {
            s: sum(a.status_code == s for a in answers) for s in {a.status_code for a in answers}
        }
        assert set(counts) == {200, 429}, counts
        for answer in answers:
            if answer.status_code == 429:
                assert answer.json()["error"]["type"] == "rate_limit_error"
                assert int(answer.headers["Retry-After"]) >= 1
        assert requests.get(url + "/health", timeout=10).status_code == 200
        own.wait_idle()
        assert own.complete(prompt=LONG, max_tokens=2)["choices"]


def test_sigterm_drains():
    """a running stream ends properly, a new request is turned away, the process ends with 0"""
    with running_server("--api-key", KEYS[0], "--drain-timeout", "120") as (process, url):
        own = Server(url, KEYS[0])
        answer = own.post(
            "/v1/completions",
            {
                "model": own.model,
                "prompt": LONG,
                "max_tokens": 200,
                "ignore_eos": True,
                "stream": True,
                "temperature": 0,
            },
            stream=True,
        )
        lines = answer.iter_lines()
        next(lines)
        started, refused = threading.Event(), []

        def late():
            started.wait()
            time.sleep(0.05)
            try:
                refused.append(requests.get(url + "/health", timeout=5).status_code)
            except requests.exceptions.RequestException:
                refused.append("closed")

        thread = threading.Thread(target=late)
        thread.start()
        process.send_signal(signal.SIGTERM)
        started.set()
        rest = [line for line in lines if line]
        thread.join()
        assert rest[-1] == b"data: [DONE]"
        assert b'"finish_reason":"length"' in b"".join(rest).replace(b" ", b"")
        assert refused[0] in (503, "closed")
        assert process.wait(30) == 0


def test_sigterm_ends_streams_at_the_deadline():
    """what still runs then gets an error event and [DONE], or a 503; the process ends with 0"""
    with running_server("--api-key", KEYS[0], "--drain-timeout", "0.5") as (process, url):
        own = Server(url, KEYS[0])
        body = {"model": own.model, "prompt": LONG, "n": 64, "max_tokens": 1500, "ignore_eos": True}
        whole = []
        thread = threading.Thread(target=lambda: whole.append(own.post("/v1/completions", body)))
        thread.start()
        answer = own.post("/v1/completions", body | {"stream": True}, stream=True)
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
        thread.join()
        assert rest[-1] == b"data: [DONE]"
        assert b'"unavailable_error"' in rest[-2]
        assert whole[0].status_code == 503
        assert whole[0].json()["error"]["type"] == "unavailable_error"
        assert process.wait(30) == 0

"""The server under test.

RAMJET_TEST_URL (and RAMJET_TEST_API_KEY) name one that runs already; without them one is started
from RAMJET_BINARY (build/ramjet) on RAMJET_TEST_MODEL (models/demo). Nothing here depends on what a
model knows.
"""

import os
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import requests

ROOT = Path(__file__).resolve().parent.parent.parent
KEYS = ["test-key-one", "test-key-two"]
START_LIMIT_S = 600  # sanitized builds on a busy machine


@contextmanager
def running_server(*flags):
    """(process, base url) of a fresh server; it is terminated at the end"""
    binary = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
    model = os.environ.get("RAMJET_TEST_MODEL", str(ROOT / "models" / "demo"))
    if not binary.exists():
        pytest.fail(f"{binary} is absent: build it, or set RAMJET_TEST_URL")
    process = subprocess.Popen(
        [str(binary), "serve", model, *([] if "--port" in flags else ["--port", "0"]), *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(START_LIMIT_S, process.kill)
    guard.start()
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                break
        else:
            pytest.fail(f"the server ended with {process.wait()} and never printed 'ready'")
        guard.cancel()
        yield process, line.split()[1]
    finally:
        guard.cancel()
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """plain HTTP with the right key, and what the suite needs to know"""

    def __init__(self, url, key):
        self.url, self.key = url.rstrip("/"), key
        self.session = requests.Session()
        if key:
            self.session.headers["Authorization"] = f"Bearer {key}"
        card = self.get("/v1/models").json()["data"][0]
        self.model, self.context = card["id"], card["max_model_len"]

    def get(self, path, **how):
        return self.session.get(self.url + path, timeout=60, **how)

    def post(self, path, body, **how):
        return self.session.post(self.url + path, json=body, timeout=120, **how)

    def complete(self, **body):
        answer = self.post("/v1/completions", {"model": self.model, "temperature": 0, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def chat(self, content="Tell me a story.", **body):
        messages = body.pop("messages", [{"role": "user", "content": content}])
        answer = self.post(
            "/v1/chat/completions",
            {"model": self.model, "temperature": 0, "max_tokens": 16, "messages": messages, **body},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def tokens(self, text, special=False):
        return self.post("/tokenize", {"prompt": text, "add_special_tokens": special}).json()[
            "tokens"
        ]

    def text(self, tokens):
        return self.post("/detokenize", {"tokens": tokens}).json()["prompt"]

    def metric(self, name):
        """sum of a metric's series"""
        rows = [
            line
            for line in self.get("/metrics").text.splitlines()
            if line.split("{")[0].split(" ")[0] == name
        ]
        assert rows, f"no metric {name}"
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)

    def wait_idle(self, limit_s=10.0):
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if (
                self.metric("ramjet:num_requests_running") == 0
                and self.metric("ramjet:num_requests_waiting") == 0
            ):
                return
            time.sleep(0.05)
        pytest.fail(f"requests still run {limit_s} s later")


@pytest.fixture(scope="session")
def server():
    if url := os.environ.get("RAMJET_TEST_URL"):
        yield Server(url, os.environ.get("RAMJET_TEST_API_KEY", ""))
        return
    with running_server(*[x for key in KEYS for x in ("--api-key", key)]) as (_, url):
        yield Server(url, KEYS[0])


@pytest.fixture(scope="session")
def client(server):
    with openai.OpenAI(
        base_url=server.url + "/v1", api_key=server.key or "none", max_retries=0, timeout=120
    ) as c:
        yield c


@pytest.fixture(autouse=True)
def no_request_left(server):
    yield
    server.wait_idle()

"""what who runs the server relies on: config file, TLS, limits of keys, fair turns, the log, traces,
a restart without a gap, the files of deploy/"""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from conftest import KEYS, ROOT, Server, running_server

BINARY = os.environ.get("RAMJET_BINARY", str(ROOT / "build" / "ramjet"))
LEAN = ["--threads", "1", "--kv-memory", "64MiB"]
SECRET = "the goose that lays golden eggs"


@contextmanager
def served(*flags, key=None):
    with running_server(*LEAN, *flags) as (process, url):
        yield process, Server(url, key)


def keyed(url, key):
    server = Server.__new__(Server)
    server.url, server.key, server.session = url, key, requests.Session()
    server.session.headers["Authorization"] = f"Bearer {key}"
    return server


def ask(server, tokens, **body):
    return server.post(
        "/v1/completions", {"prompt": "a", "max_tokens": tokens, "ignore_eos": True, **body}
    )


def begin(server, tokens):
    """a stream of which the first event came"""
    body = {"prompt": "a", "max_tokens": tokens, "ignore_eos": True, "stream": True}
    stream = server.post("/v1/completions", body, stream=True)
    assert stream.status_code == 200
    lines = stream.iter_lines()
    next(lines)
    return stream, lines


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run(
        [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def test_a_config_file_is_as_good_as_flags(tmp_path):
    options = {"api-key": KEYS, "served_model_name": ["one", "two"], "max-queue": 3}
    options |= {"admin-routes": True, "key-concurrency": 1, "no-request-log": False}
    path = tmp_path / "serve.yaml"
    path.write_text("\n".join(f"{k}: {json.dumps(v)}" for k, v in options.items()))
    with served("--config", str(path), "--served-model-name", "three", key=KEYS[1]) as (_, own):
        assert own.model == "three", "the command line wins"
        assert own.get("/server_info").status_code == 200
        assert requests.get(own.url + "/load", timeout=30).status_code == 401
    path.write_text('{"no-such": 1}')  # JSON is YAML
    ended = subprocess.run(
        [BINARY, "serve", "models/demo", "--config", path], cwd=ROOT, capture_output=True
    )
    assert ended.returncode == 2 and b"no-such" in ended.stderr


def test_tls(certificate):
    cert, key = certificate
    with running_server(*LEAN, "--ssl-certfile", str(cert), "--ssl-keyfile", str(key)) as (_, url):
        assert url.startswith("https://")
        with requests.Session() as session:
            session.verify, session.trust_env = str(cert), False
            for _ in range(3):  # one connection
                assert session.get(url + "/health", timeout=30).status_code == 200
            body = {"prompt": "a", "max_tokens": 40, "temperature": 0, "ignore_eos": True}
            whole = session.post(url + "/v1/completions", json=body, timeout=60).json()
            stream = session.post(
                url + "/v1/completions", json=body | {"stream": True}, stream=True, timeout=60
            )
            lines = [line[6:] for line in stream.iter_lines() if line]
            assert lines[-1] == b"[DONE]"
            text = "".join(json.loads(x)["choices"][0]["text"] for x in lines[:-1])
            assert text == whole["choices"][0]["text"]
            # Records far larger than a buffer, both ways.
            many = session.post(url + "/tokenize", json={"prompt": "word " * 400_000}, timeout=60)
            assert many.json()["count"] > 400_000
            assert session.get(url + "/load", timeout=30).json()["running"] == 0
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url + "/health", timeout=30)
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.get(url.replace("https", "http") + "/health", timeout=30)
        port = int(url.rsplit(":", 1)[1])
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(3000), b"\x16\x03\x01\xff\xff"):
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(garbage)
        last = requests.get(url + "/health", verify=str(cert), timeout=30)
        assert last.status_code == 200


@pytest.mark.parametrize("files", [("cert", "none"), ("cert", ""), ("key", "key")])
def test_tls_files_that_do_not_fit(certificate, tmp_path, files):
    paths = {"cert": certificate[0], "key": certificate[1], "none": tmp_path / "none", "": ""}
    flags = ["--ssl-certfile", str(paths[files[0]])]
    flags += ["--ssl-keyfile", str(paths[files[1]])] if files[1] else []
    ended = subprocess.run(
        [BINARY, "serve", "models/demo", "--port", "0", *flags],
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )
    assert ended.returncode == 2 and b"ready" not in ended.stdout


def test_limits_of_keys():
    flags = [x for key in KEYS for x in ("--api-key", key)]
    flags += ["--key-concurrency", "1", "--key-rate", "120"]
    with served(*flags, key=KEYS[0]) as (_, own):
        other = keyed(own.url, KEYS[1])
        stream, _ = begin(own, 1900)
        refused = ask(own, 2)
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert error["type"] == "rate_limit_error" and "1 requests in progress" in error["message"]
        # Another key is not concerned, and one after the other is not at once.
        answers = [ask(other, 1) for _ in range(60)]
        codes = [answer.status_code for answer in answers]
        stream.close()
        assert set(codes) == {200, 429} and codes[:20] == [200] * 20
        late = answers[codes.index(429)]
        assert "120 requests a minute" in late.json()["error"]["message"]
        assert late.headers["Retry-After"] == "1"
        assert other.get("/health").status_code == other.get("/load").status_code == 200


def test_keys_take_turns():
    flags = [x for key in KEYS for x in ("--api-key", key)]
    with served(*flags, "--max-batch-size", "1", key=KEYS[0]) as (_, own):
        order = []

        def run(key, name):
            assert ask(keyed(own.url, key), 60).status_code == 200
            order.append(name)

        first, _ = begin(own, 1900)
        threads = []
        for i, (key, name) in enumerate([(KEYS[0], f"a{i}") for i in range(5)] + [(KEYS[1], "b")]):
            threads.append(threading.Thread(target=run, args=(key, name)))
            threads[-1].start()
            end = time.monotonic() + 10
            while own.get("/load").json()["waiting"] < i + 1 and time.monotonic() < end:
                time.sleep(0.005)
        assert own.get("/load").json()["waiting"] == 6, "the first request ended too early"
        first.close()
        for thread in threads:
            thread.join(60)
        assert order.index("b") <= 1, order
        assert [x for x in order if x != "b"] == [f"a{i}" for i in range(5)]


def test_the_log_tells_no_secret(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as file:
        config = tmp_path / "serve.json"
        config.write_text(json.dumps({"api_key": KEYS[:1], "port": 0}))
        process = subprocess.Popen(
            [BINARY, "serve", "models/demo", "--config", config, *LEAN],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
        url = next(line for line in process.stdout if line.startswith("ready ")).split()[1]
        own = keyed(url, KEYS[0])
        assert ask(own, 3, prompt=SECRET, user="me").status_code == 200
        body = {"messages": [{"role": "user", "content": SECRET}], "temperature": 99}
        assert own.post("/v1/chat/completions", body).status_code == 400
        keyed(url, SECRET).get("/load")
        own.get("/v1/models?key=" + SECRET)
        process.terminate()
        assert process.wait(30) == 0
    text = log.read_text()
    rows = [row for row in text.splitlines() if "POST /v1/" in row]
    assert len(rows) == 2 and "key=0" in rows[0] and "prompt=" in rows[0]
    for secret in (SECRET, KEYS[0], "goose", "127.0.0.1:"):
        assert secret not in text.replace(url, "")


class Collector(ThreadingHTTPServer):
    """takes traces as an OpenTelemetry collector does"""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.spans = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait_for(self, count):
        end = time.monotonic() + 10
        while len(self.spans) < count and time.monotonic() < end:
            time.sleep(0.02)
        return self.spans


class CollectorHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
        for resource in body["resourceSpans"]:
            name = resource["resource"]["attributes"][0]
            for scope in resource["scopeSpans"]:
                self.server.spans += [{**span, "service": name} for span in scope["spans"]]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


def test_traces_reach_a_collector(monkeypatch):
    collector = Collector()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "under-test")
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    with served("--otlp-endpoint", endpoint) as (_, own):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        since = time.time_ns()
        body = {"prompt": SECRET, "max_tokens": 4, "ignore_eos": True}
        own.post("/v1/completions", body, headers={"traceparent": trace})
        own.post("/v1/completions", body | {"stream": True}, headers={"traceparent": "x"})
        own.post("/v1/completions", {"prompt": 7})
        spans = collector.wait_for(4)  # the first asks for /v1/models
    assert len(spans) == 4 and SECRET not in json.dumps(spans)
    mine, other, bad = [s for s in spans if s["name"] == "POST /v1/completions"]
    assert mine["traceId"] == trace[3:35] and mine["parentSpanId"] == trace[36:52]
    assert re.fullmatch("[0-9a-f]{32}", other["traceId"]) and "parentSpanId" not in other
    assert len({s["spanId"] for s in spans}) == 4
    got = attributes(mine)
    assert got["http.response.status_code"] == "200" and got["gen_ai.usage.output_tokens"] == "4"
    assert attributes(bad)["http.response.status_code"] == "400"
    assert mine["service"]["value"]["stringValue"] == "under-test"
    times = int(mine["startTimeUnixNano"]), int(mine["endTimeUnixNano"])
    assert since - 10**9 < times[0] < times[1] < time.time_ns()


def test_a_collector_that_is_not_there_costs_nothing():
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        with served("--otlp-endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}") as (_, own):
            since = time.monotonic()
            for _ in range(20):
                assert ask(own, 1).status_code == 200
            assert time.monotonic() - since < 5


def test_a_restart_without_a_gap():
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    flags = [*LEAN, "--port", port, "--reuse-port"]
    codes, stop = [], threading.Event()

    def hammer(keep):
        session = requests.Session()
        while not stop.is_set():
            if not keep:
                session = requests.Session()
            try:
                codes.append(session.get(url + "/v1/models", timeout=30).status_code)
            except requests.exceptions.ConnectionError as e:
                codes.append(str(e))
            time.sleep(0.003)

    with running_server(*flags) as (old, _):
        threads = [threading.Thread(target=hammer, args=(keep,)) for keep in (True, False, False)]
        for thread in threads:
            thread.start()
        own = Server(url, None)
        stream, lines = begin(own, 300)
        with running_server(*flags) as (new, _):
            old.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
            assert rest[-1] == b"data: [DONE]", "what ran was finished"
            stream.close()
            own.session.close()
            assert old.wait(40) == 0
            time.sleep(0.2)
            stop.set()
            for thread in threads:
                thread.join()
            assert ask(Server(url, None), 2).status_code == 200
    bad = [code for code in codes if code != 200]
    # A connection in the old listener's queue at the moment it closed may be reset (docs/server.md).
    assert len(codes) > 50 and len([x for x in bad if isinstance(x, int)]) == 0
    assert len(bad) <= 2, bad


def test_the_dashboard_shows_what_there_is(server):
    server.complete(prompt="a", max_tokens=2)
    text = (ROOT / "deploy" / "grafana-dashboard.json").read_text()
    assert len(json.loads(text)["panels"]) == 12
    names = set(re.findall(r"(ramjet:\w+)", text))
    metrics = server.get("/metrics").text
    assert len(names) > 15
    for name in names:
        assert f"\n{name}{{" in metrics or f"\n{name} " in metrics, name


def test_the_unit_is_one_that_systemd_takes(tmp_path):
    unit = (ROOT / "deploy" / "ramjet.service").read_text()
    rows = [r for r in unit.splitlines() if r and not r.startswith(("#", "["))]
    assert all("=" in row for row in rows)
    command = next(r for r in rows if r.startswith("ExecStart=")).split()
    assert command[0].endswith("/ramjet") and command[1] == "serve"
    assert Path(ROOT / "deploy" / "handover.sh").stat().st_mode & 0o111
    subprocess.run(["bash", "-n", ROOT / "deploy" / "handover.sh"], check=True)

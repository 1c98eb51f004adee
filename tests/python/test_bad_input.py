"""Bad input, line by line as docs/robustness.md lists it: what is said, and that nothing stays behind.

Each case must name the thing and the fault, and leave no file, no KV block and no process. The
small model of the command line's cases has no tokenizer; the server's cases run on the demo.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

import pytest
import requests

from conftest import KEYS, Server, running_server
from gguf_file import Writer, add_model

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
SMALL = ROOT / "tests/data/models/llama"


@pytest.fixture
def model(tmp_path):
    shutil.copytree(SMALL, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def ramjet(tmp_path):
    def run(*arguments, env=None, **how):
        environment = {**os.environ, "RAMJET_CACHE": str(tmp_path / "cache"), **(env or {})}
        return subprocess.run([str(BINARY), *map(str, arguments)], cwd=ROOT, env=environment,
                              capture_output=True, text=True, timeout=120, **how)
    return run


def files(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def refuses(ramjet, tmp_path):
    """runs a command that must end with 2 and every word of the message, and leave no new file"""
    def check(arguments, *words, code=2, **how):
        before = files(tmp_path)
        done = ramjet(*arguments, **how)
        assert done.returncode == code, (done.returncode, done.stderr)
        assert done.stdout == ""
        for word in words:
            assert word in done.stderr, done.stderr
        assert files(tmp_path) == before
    return check


# --- files -----------------------------------------------------------------------------------


def entry(begin, end, shape=(4,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


SAFETENSORS = {
    "cut": (None, "truncated download?"),
    "no header": (b"\1\2\3", "no safetensors file"),
    "header too long": (struct.pack("<Q", 1 << 40), "header of 1099511627776 bytes"),
    "header is no JSON": (struct.pack("<Q", 4) + b"{{{{", "header: "),
    "overlap": ({"a": entry(0, 16), "b": entry(8, 24)}, "'b' overlaps another at offset 8"),
    "hole": ({"a": entry(0, 16), "b": entry(32, 48)}, "16 bytes before tensor 'b' belong to none"),
    "behind the end": ({"a": entry(0, 4000, [1000])}, "tensor 'a' wants 4000 bytes at offset 0"),
    "type of another size": ({"a": entry(0, 16, dtype="BF16")}, "BF16 of that shape has 8 bytes"),
    "shape of another size": ({"a": entry(0, 16, [5])}, "F32 of that shape has 20 bytes"),
    "shape of words": ({"a": entry(0, 16, ["x"])}, "tensor 'a' shape is \"x\""),
    "backwards": ({"a": entry(16, 0)}, "end at 0 before they begin at 16"),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_lying_safetensors(refuses, model, tmp_path, case):
    content, message = SAFETENSORS[case]
    path = model / "model.safetensors"
    if content is None:
        content = path.read_bytes()[:-1000]
    elif isinstance(content, dict):
        header = json.dumps(content).encode()
        content = struct.pack("<Q", len(header)) + header + bytes(48)
    path.write_bytes(content)
    refuses(["build", model, "-o", tmp_path / "x.engine", "--no-tune"], "model.safetensors", message)


@pytest.fixture(scope="module")
def gguf():
    writer = Writer()
    add_model(writer, SMALL)
    return writer.bytes()


GGUF = {
    "cut": (lambda d: d[:-100], "truncated download?"),
    "cut in the header": (lambda d: d[:200], "truncated download?"),
    "another magic": (lambda d: b"GGML" + d[4:], "neither a folder nor a GGUF file"),
    "version 1": (lambda d: d[:4] + b"\1" + d[5:], "GGUF version 1"),
    "too many tensors": (lambda d: d[:8] + struct.pack("<Q", 10**12) + d[16:], "tensor "),
    "a name twice": (lambda d: d.replace(b"blk.1.attn_k.weight", b"blk.0.attn_k.weight"), "is there twice"),
    "overlap": (lambda d: moved(d, b"output_norm.weight", 0), "overlaps"),
    "misaligned": (lambda d: moved(d, b"output_norm.weight", 8), "is misaligned: offset 8"),
    "outside": (lambda d: moved(d, b"output_norm.weight", 1 << 40), "truncated download?"),
    "unknown type": (lambda d: typed(d, b"output_norm.weight", 77), "is of type 77, which is not known"),
    "a tensor is missing": (lambda d: d.replace(b"blk.1.attn_k.weight", b"blk.1.attn_x.weight"),
                            "model.layers.1.self_attn.k_proj.weight"),
    "another architecture": (lambda d: d.replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0lamas", 1), "lamas"),
}


def typed(data, name, kind):
    """the tensor's type changed: it follows name, rank and the one extent"""
    at = data.index(name) + len(name) + 4 + 8
    return data[:at] + struct.pack("<I", kind) + data[at + 4:]


def moved(data, name, offset):
    at = data.index(name) + len(name) + 4 + 8 + 4
    return data[:at] + struct.pack("<Q", offset) + data[at + 8:]


@pytest.mark.parametrize("case", GGUF)
def test_lying_gguf(refuses, tmp_path, gguf, case):
    change, message = GGUF[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(change(gguf))
    refuses(["build", path, "-o", tmp_path / "x.engine", "--no-tune"], "bad.gguf", message)


def test_missing_tensor(refuses, model, tmp_path):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b"model.layers.1.mlp.down_proj.weight", b"model.layers.1.mlp.done_proj.weight"))
    refuses(["build", model, "-o", tmp_path / "x.engine", "--no-tune"], "model.layers.1.mlp.down_proj.weight")


def test_missing_tokenizer(ramjet, refuses, tmp_path):
    engine = tmp_path / "x.engine"
    assert ramjet("build", SMALL, "-o", engine, "--no-tune").returncode == 0
    refuses(["run", engine, "--prompt", "hi"], "the engine has no tokenizer; give --prompt-ids")


def test_unknown_architecture(refuses, model, tmp_path):
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["FooForCausalLM"]}))
    refuses(["build", model, "-o", tmp_path / "x.engine", "--no-tune"], "architecture 'FooForCausalLM' is not known",
            "LlamaForCausalLM", "Qwen3ForCausalLM")


@pytest.mark.parametrize("field, value, message", [
    ("num_attention_heads", -3, "num_attention_heads is -3, it must be a whole number 1 to 4096"),
    ("hidden_size", 1e300, "hidden_size is 1e+300"), ("rms_norm_eps", "x", 'rms_norm_eps is "x"'),
    ("rope_scaling", {"rope_type": "x"}, "rope type 'x': known are default"), ("vocab_size", None, "vocab_size is missing")])
def test_absurd_configuration(refuses, model, tmp_path, field, value, message):
    config = json.loads((model / "config.json").read_text())
    config.pop("rope_parameters", None)
    (model / "config.json").write_text(json.dumps({**config, field: value}))
    refuses(["build", model, "-o", tmp_path / "x.engine", "--no-tune"], message)


@pytest.mark.parametrize("case", ["cut", "version", "flipped", "machine", "nothing"])
def test_unusable_engines(ramjet, refuses, tmp_path, case):
    engine = tmp_path / "x.engine"
    target = "cpu-amx" if case == "machine" else "cpu-scalar"
    assert ramjet("build", SMALL, "-o", engine, "--no-tune", "--target", target).returncode == 0
    data = bytearray(engine.read_bytes())
    message = {"cut": "truncated download?", "version": "rebuild it: ramjet build MODEL -o",
               "flipped": "checksum mismatch", "machine": "built for cpu-amx, this machine runs at most cpu-scalar",
               "nothing": "neither a folder with config.json nor a GGUF nor an engine"}[case]
    if case == "cut":
        data = data[:-1]
    elif case == "version":
        data[12] ^= 0x40
    elif case == "flipped":
        data[-1] ^= 1  # the section table
    elif case == "nothing":
        data = b""
    engine.write_bytes(data)
    refuses(["run", engine, "--prompt-ids", "1"], "x.engine", message, env={"RAMJET_ISA": "scalar"})


def test_prompts_and_parameters_of_the_command_line(ramjet, refuses, tmp_path):
    engine = tmp_path / "x.engine"
    assert ramjet("build", SMALL, "-o", engine, "--no-tune").returncode == 0
    run = lambda ids, *more: ["run", engine, "--prompt-ids", ids, *more]
    refuses(run(",".join(["1"] * 5000)), "5000")
    refuses(run("99999999"), "99999999")
    refuses(run("1,x"), "x")
    refuses(run("1", "--temperature", "-1"), "temperature")
    refuses(run("1", "--max-tokens", "-2"), "max_tokens")
    refuses(run("1", "--kv-memory", "16"), "a KV cache of 16 bytes holds 0 blocks", code=1)


def test_disk_full_while_building(refuses, tmp_path):
    """A limit of the file's size ends the write midway, as a full disk does."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    refuses(["build", SMALL, "-o", tmp_path / "x.engine", "--no-tune"], "x.engine", code=1, preexec_fn=limit)


def test_two_builds_of_one_engine(tmp_path):
    path = tmp_path / "same.engine"
    builds = [subprocess.Popen([str(BINARY), "build", str(SMALL), "-o", str(path)], cwd=ROOT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "RAMJET_CACHE": str(tmp_path / "cache")}) for _ in range(3)]
    assert [b.wait(120) for b in builds] == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["same.engine"]
    done = subprocess.run([str(BINARY), "run", str(path), "--prompt-ids", "1", "--max-tokens", "1"],
                          capture_output=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr


# --- the server ------------------------------------------------------------------------------


def trickle(server, out):
    """a client that sends a byte of its headers a second"""
    at = urlparse(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=30) as connection:
        began = time.monotonic()
        try:
            for byte in b"GET /health HTTP/1.1\r\nX-Slow: " + b"x" * 60:
                connection.sendall(bytes([byte]))
                connection.settimeout(0.5)
                try:
                    if piece := connection.recv(4096):
                        out["answer"] = piece
                        break
                except TimeoutError:
                    continue
        except OSError:
            pass
        out["seconds"] = time.monotonic() - began


@pytest.fixture(scope="module")
def loris(server):
    """runs beside the other tests, as it takes the ten seconds that headers may take"""
    out = {}
    thread = threading.Thread(target=trickle, args=(server, out))
    thread.start()
    return thread, out


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def raw(server, data, **headers):
    return server.session.post(server.url + "/v1/completions", data=data, timeout=60,
                               headers={"Content-Type": "application/json", **headers})


def test_a_prompt_longer_than_the_context(server, loris):
    body = {"prompt": [5] * (server.context + 1), "max_tokens": 4}
    error = error_of(server.post("/v1/completions", body), 400)
    assert error["code"] == "context_length_exceeded" and str(server.context) in error["message"]


@pytest.mark.parametrize("field, value", [
    ("max_tokens", -1), ("temperature", -0.5), ("temperature", 1e300), ("top_p", 2), ("n", 0), ("n", 10**9),
    ("logprobs", -2), ("logit_bias", {"x": 1}), ("stop", [5]), ("seed", "x"), ("repetition_penalty", 0)])
def test_absurd_parameters(server, field, value):
    error = error_of(server.post("/v1/completions", {"prompt": "Hi", "max_tokens": 2, field: value}), 400)
    assert error["param"] == field and f"'{field}'" in error["message"]


@pytest.mark.parametrize("data, message", [
    (b'{"prompt":"\xff\xfe"}', "UTF-8"), (b'{"prompt":', "JSON"), (b"[1]", "object"), (b"", "JSON"),
    (b'{"prompt":' + b"[" * 5000 + b"]" * 5000 + b"}", "deep")])
def test_bodies_that_are_no_json(server, data, message):
    assert message.lower() in error_of(raw(server, data), 400)["message"].lower()


def test_an_oversize_body(server):
    """by its announced length, before a byte of it is read"""
    at = urlparse(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=10) as connection:
        key = f"Authorization: Bearer {server.key}\r\n" if server.key else ""
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: a\r\n{key}Content-Length: 99999999999\r\n\r\n".encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 "), answer


def test_clients_that_vanish_free_their_blocks(server):
    server.wait_idle()
    before = server.metric("ramjet:kv_cache_usage_perc")
    for _ in range(4):
        answer = server.post("/v1/completions", stream=True, body={
            "prompt": "Once upon a time", "max_tokens": server.context - 64, "ignore_eos": True, "stream": True, "n": 2})
        next(answer.iter_lines())
        answer.close()
    server.wait_idle(10)
    assert server.metric("ramjet:kv_cache_usage_perc") <= before + 1e-6


def test_a_port_in_use(server, ramjet):
    if os.environ.get("RAMJET_TEST_URL"):
        pytest.skip("the server may be on another machine")
    port = urlparse(server.url).port
    engine = Path(os.environ.get("RAMJET_TEST_MODEL", ROOT / "models/demo"))
    done = ramjet("serve", engine, "--port", port, "--max-seq-len", "64", "--no-tune")
    assert done.returncode == 1 and re.search(rf"port {port}: Address already in use", done.stderr), done.stderr


def children_of(pid):
    out = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            out.append(int(path.parent.name))
    return out


def test_kv_memory_that_runs_out_under_load():
    """far more than fits: all are answered, and nothing stays taken; the executor's process goes too"""
    flags = ["--api-key", KEYS[0], "--kv-memory", "2MiB", "--max-seq-len", "256", "--executor", "process", "--no-tune"]
    with running_server(*flags) as (process, url):
        own = Server(url, KEYS[0])
        children = children_of(process.pid)
        assert children, "an executor of its own"

        def ask(index):
            body = {"prompt": f"{index} " + "word " * 40, "max_tokens": 40, "ignore_eos": True}
            return requests.post(url + "/v1/completions", json=body, headers=dict(own.session.headers), timeout=120)

        with ThreadPoolExecutor(12) as pool:  # each wants 6 blocks of the 32 that there are
            answers = list(pool.map(ask, range(12)))
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.json()["usage"]["completion_tokens"] == 40
        own.wait_idle(10)
        assert own.metric("ramjet:kv_cache_usage_perc") == 0
    assert process.returncode == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_a_slow_loris_is_cut_off(server, loris):
    thread, out = loris
    assert server.get("/health").status_code == 200  # meanwhile the others are served
    thread.join(40)
    assert out["seconds"] < 20, out
    assert out.get("answer", b"HTTP/1.1 408 ").startswith(b"HTTP/1.1 408 "), out

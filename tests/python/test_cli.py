"""The command line as scripts use it: exit codes, one JSON object on stdout, clear errors.

Exit codes: 0 ok, 1 failed, 2 bad usage or bad input. Runs RAMJET_BINARY (build/ramjet) on small
models of the repository, with a cache of its own.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
TINY = ROOT / "tests/data/models/tiny-llama"
DEMO = ROOT / "models/demo"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def ramjet(cache):
    def run(*arguments, stdin=None, env=None):
        environment = {**os.environ, "RAMJET_CACHE": str(cache), **(env or {})}
        return subprocess.run([str(BINARY), *map(str, arguments)], input=stdin, cwd=ROOT, env=environment,
                              capture_output=True, text=True, timeout=120)
    return run


def one_object(done):
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().split("\n")
    assert len(lines) == 1, done.stdout
    return json.loads(lines[0])


@pytest.fixture(scope="module")
def engine(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("engines") / "tiny.engine"
    done = subprocess.run([str(BINARY), "build", str(TINY), "-o", str(path), "--dtype", "f32", "--json"],
                          cwd=ROOT, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "RAMJET_CACHE": str(cache)})
    report = one_object(done)
    assert report["path"] == str(path) and report["bytes"] == path.stat().st_size
    assert report["target"].startswith("cpu-") and report["seconds"] > 0
    assert {"name", "ms"} <= set(report["passes"][0])
    return path


@pytest.mark.parametrize("command", ["build", "run", "serve", "inspect", "bench serve", "doctor"])
def test_help_is_text(ramjet, command):
    done = ramjet(*command.split(), "--help")
    assert done.returncode == 0
    assert all(c.isprintable() or c == "\n" for c in done.stdout)
    assert "--help" in done.stdout


def test_help_names_every_command(ramjet):
    done = ramjet("--help")
    assert done.returncode == 0
    for command in ("serve", "run", "build", "inspect", "logits", "eval", "tokenize", "template", "bench", "doctor"):
        assert command in done.stdout
        assert ramjet(command, "--help").returncode == 0


@pytest.mark.parametrize("arguments", [(), ("nonsense",), ("run",), ("build", str(TINY)),
                                       ("run", str(TINY), "--no-such-flag")])
def test_bad_usage_is_two(ramjet, arguments):
    done = ramjet(*arguments)
    assert done.returncode == 2 and done.stdout == ""


def test_run_and_logits_agree_with_goldens(ramjet, engine):
    golden = json.loads((TINY / "goldens.json").read_text())["prompts"][1]
    ids = ",".join(map(str, golden["ids"]))
    out = one_object(ramjet("run", engine, "--prompt-ids", ids, "--max-tokens", len(golden["greedy"]),
                            "--ignore-eos", "--json"))
    assert out["token_ids"] == golden["greedy"]
    assert out["finish_reason"] == "length" and out["device"].startswith("cpu")
    assert out["usage"]["completion_tokens"] == len(golden["greedy"])
    out = one_object(ramjet("logits", engine, "--prompt-ids", ids, "--top", 3, "--json"))
    assert [p["pos"] for p in out["positions"]] == list(range(len(golden["ids"])))
    for expected in golden["positions"]:
        ours = out["positions"][expected["pos"]]
        assert abs(ours["logsumexp"] - expected["logsumexp"]) < 1e-3
        assert [t[0] for t in ours["top"]] == [t[0] for t in expected["top"][:3]]


def test_run_on_a_checkpoint_builds_and_caches(ramjet, cache):
    first = one_object(ramjet("run", TINY, "--prompt-ids", "1,2,3", "--max-tokens", 4, "--json"))
    engines = list((cache / "engines").glob("tiny-llama-*.engine"))
    assert engines
    stamp = engines[0].stat().st_mtime_ns
    again = one_object(ramjet("run", TINY, "--prompt-ids", "1,2,3", "--max-tokens", 4, "--json"))
    assert again["token_ids"] == first["token_ids"] and engines[0].stat().st_mtime_ns == stamp


def test_unusable_cached_engine_is_named_and_rebuilt(ramjet, cache):
    one_object(ramjet("run", TINY, "--prompt-ids", "1", "--max-tokens", 1, "--json"))
    for path in (cache / "engines").glob("tiny-llama-*.engine"):
        data = bytearray(path.read_bytes())
        data[-100] ^= 0xFF
        path.write_bytes(data)
    done = ramjet("run", TINY, "--prompt-ids", "1", "--max-tokens", 1, "--json")
    one_object(done)
    assert "unusable" in done.stderr and ".engine" in done.stderr


def test_inspect_shows_the_engine(ramjet, engine):
    out = one_object(ramjet("inspect", engine, "--json"))
    assert out["target"].startswith("cpu-") and out["version"]
    assert {"name", "bytes", "checksum"} <= set(out["sections"][0])
    ops = [step["op"] for step in out["steps"]]
    assert "matmul" in ops and "paged_attention" in ops
    assert all(step["tactic"] for step in out["steps"])
    assert any(len(step["fused"]) > 1 for step in out["steps"])


def test_dummy_weights_need_only_a_config(ramjet, tmp_path):
    shutil.copy(TINY / "config.json", tmp_path / "config.json")
    for flag in ("--dummy-weights", "--dummy-weights=stored"):
        report = one_object(ramjet("build", tmp_path, "-o", tmp_path / "dummy.engine", flag, "--json"))
        assert report["bytes"] > 0
        out = one_object(ramjet("run", tmp_path / "dummy.engine", "--prompt-ids", "1,2", "--max-tokens", 3,
                                "--ignore-eos", "--json"))
        assert len(out["token_ids"]) == 3
    seed = one_object(ramjet("build", tmp_path, "-o", tmp_path / "seed.engine", "--dummy-weights", "--json"))
    assert seed["bytes"] < report["bytes"]


def test_doctor(ramjet):
    out = one_object(ramjet("doctor", "--json"))
    assert out["cpu"] and "gpus" in out and "libraries" in out


@pytest.fixture
def copy(tmp_path):
    """A model folder to break: single-file, with config and tokenizer."""
    source = next(p for p in sorted((ROOT / "tests/data/models").iterdir())
                  if (p / "model.safetensors").exists())
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    return folder


def refused(done, *words):
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr


def test_bad_flags_are_named(ramjet, copy, tmp_path):
    out = tmp_path / "x.engine"
    build = lambda *more: ramjet("build", copy, "-o", out, *more)
    refused(ramjet("run", tmp_path / "nowhere", "--prompt-ids", "1"), "nowhere")
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").unlink()
    refused(build(), "safetensors")
    (copy / "model.safetensors").write_bytes(whole)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text("{not json")
    refused(build(), "config.json")
    (copy / "config.json").write_text(json.dumps(config))
    refused(build("--dtype", "int3"), "int3", "bf16")
    refused(build("--quantize", "int2"), "int2", "int8")
    refused(build("--target", "sm_12"), "sm_12")
    refused(build("--tp", "4"), "tp=4")
    assert not out.exists() and not list(tmp_path.glob("*.tmp.*"))


def test_unwritable_output_is_named(ramjet):
    done = ramjet("build", TINY, "-o", "/proc/nowhere/x.engine")
    assert done.returncode == 2 and "x.engine" in done.stderr


def test_eval_perplexity(ramjet, tmp_path):
    if not DEMO.exists():
        pytest.skip("models/demo is absent")
    text = tmp_path / "text.txt"
    text.write_text("The city lies on the river. It was founded in the twelfth century. " * 4)
    out = one_object(ramjet("eval", "perplexity", DEMO, "--file", text, "--context", 64, "--stride", 32, "--json"))
    assert out["tokens"] > 20 and 1 < out["perplexity"] < 1000
    assert abs(out["perplexity"] - 2.718281828 ** out["nll"]) < 1e-3 * out["perplexity"]


def test_bench_latency_and_throughput(ramjet, engine, tmp_path):
    out = one_object(ramjet("bench", "latency", engine, "--batch", 2, "--isl", 8, "--osl", 8, "--json"))
    assert out["ttft_ms"]["p50"] > 0 and out["tpot_ms"]["p99"] > 0 and out["floor_ms"] > 0
    saved = tmp_path / "bench.json"
    out = one_object(ramjet("bench", "throughput", engine, "--isl", 8, "--osl", 8, "--requests", 6, "--json",
                            "--output", saved))
    assert out["completed"] == 6 and out["total_output_tokens"] == 48 and out["failed"] == 0
    assert json.loads(saved.read_text())["completed"] == 6


def test_bench_profile_writes_a_trace(ramjet, engine, tmp_path):
    trace = tmp_path / "trace.json"
    out = one_object(ramjet("bench", "profile", engine, "--batch", 2, "--context", 16, "--trace", trace, "--json"))
    assert out["steps"] and abs(sum(s["share"] for s in out["steps"]) + out["idle_share"] - 1) < 0.02
    assert json.loads(trace.read_text())["traceEvents"]

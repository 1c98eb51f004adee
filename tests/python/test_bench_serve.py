"""`ramjet bench serve` against the server under test"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))


@pytest.fixture
def bench(server):
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is absent")

    def run(*flags, key=None):
        command = [str(BINARY), "bench", "serve", "--base-url", server.url, *flags]
        if server.key:
            command += ["--api-key", server.key if key is None else key]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)

    return run


def test_json_keys(bench, tmp_path):
    output = tmp_path / "out.json"
    flags = ["--num-prompts", "6", "--random-input-len", "16", "--random-output-len", "8"]
    done = bench(*flags, "--json", "--output", str(output), "--goodput", "ttft:60000,tpot:60000")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads(output.read_text())
    keys = {"duration", "completed", "failed", "total_input_tokens", "total_output_tokens"}
    keys |= {"request_throughput", "output_throughput", "total_token_throughput"}
    for statistic in ("mean", "median", "std", "p99"):
        keys |= {f"{statistic}_{what}_ms" for what in ("ttft", "tpot", "itl", "e2el")}
    assert keys <= set(report)
    assert report["completed"] == 6 and report["failed"] == 0
    assert report["total_input_tokens"] == 6 * 16 and report["total_output_tokens"] == 6 * 8
    assert 0 < report["mean_ttft_ms"] <= report["mean_e2el_ms"]


def test_block_and_rate(bench):
    flags = ["--num-prompts", "5", "--random-output-len", "4"]
    done = bench(*flags, "--request-rate", "50", "--seed", "3")
    assert done.returncode == 0, done.stderr
    for line in ("Successful requests", "Output token throughput", "Mean TTFT", "P99 ITL"):
        assert line in done.stdout


def test_chat_prompts_from_a_file(bench, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("Tell me a story.\nHello!\n")
    flags = ["--endpoint", "/v1/chat/completions", "--dataset", f"prompts:{path}"]
    done = bench(*flags, "--num-prompts", "4", "--random-output-len", "5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total_output_tokens"] == 20


TRACES = {
    "trace.csv": [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.68,12,5",
        "2023-11-16 18:15:46.99,20,7",
    ],
    "trace.jsonl": [
        '{"timestamp":0,"input_length":12,"output_length":5,"hash_ids":[1]}',
        '{"timestamp":310,"input_length":20,"output_length":7,"hash_ids":[1]}',
    ],
}


@pytest.mark.parametrize("name", TRACES)
def test_traces(bench, tmp_path, name):
    path = tmp_path / name
    path.write_text("\n".join(TRACES[name]) + "\n")
    done = bench("--dataset", f"trace:{path}", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["total_input_tokens"], report["total_output_tokens"]) == (32, 12)
    assert report["duration"] >= 0.3


def test_bad_input_is_refused(bench, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,a,b\n")
    for flags in (
        ["--dataset", "weather"],
        ["--dataset", f"trace:{bad}"],
        ["--goodput", "speed:3"],
        ["--request-rate", "fast"],
    ):
        assert bench(*flags).returncode == 2, flags
    done = bench("--dataset", f"trace:{bad}")
    assert "line 2" in done.stderr


def test_a_wrong_key_is_told(bench, server):
    if not server.key:
        pytest.skip("the server under test wants no key")
    done = bench("--num-prompts", "1", key="wrong")
    assert done.returncode != 0 and done.stdout == ""

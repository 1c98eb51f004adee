"""`ramjet pull` and ORG/NAME against a local imitation of the hub."""

import json
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from hub_server import COMMIT, Hub, etag_of

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
TINY = ROOT / "tests/data/models/tiny-llama"
REPO = "some-org/Some.Model-1"
RANGE = 1 << 18


@pytest.fixture
def hub():
    files = {path.name: path.read_bytes() for path in TINY.iterdir() if path.name != "goldens.json"}
    files["README.md"] = b"not wanted"
    files["original/consolidated.bin"] = b"nor this"
    hub = Hub(REPO, files)
    yield hub
    hub.close()


@pytest.fixture
def large():
    """GGUFs alone: the larger one comes in five ranges"""
    hub = Hub(REPO, {"a.Q4.gguf": random.Random(1).randbytes(5 * RANGE - 7), "b.Q8.gguf": b"GGUF small"})
    yield hub
    hub.close()


@pytest.fixture
def ramjet(tmp_path):
    def run(hub, *arguments, check=None, **environment):
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_TOKEN": "",
                       "HF_HOME": str(tmp_path / "home"), "RAMJET_CACHE": str(tmp_path / "engines"), **environment}
        done = subprocess.run([str(BINARY), *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True,
                              text=True, timeout=300)
        if check is not None:
            assert done.returncode == check, done.stderr
        return done
    run.folder = tmp_path / "hub/models--some-org--Some.Model-1"
    return run


def pull_large(ramjet, hub, check=0, **environment):
    return ramjet(hub, "pull", REPO, "--include", "*Q4*", "--range-size", RANGE, "--connections", 3, "--json",
                  check=check, **environment)


def blob_of(ramjet, hub):
    return ramjet.folder / "blobs" / etag_of(hub.files["a.Q4.gguf"])


def test_a_pulled_model_lies_in_the_hubs_layout_and_runs(ramjet, hub):
    hub.token = "secret"
    report = json.loads(ramjet(hub, "pull", REPO, "--json", check=0, HF_TOKEN="secret").stdout)
    snapshot = ramjet.folder / "snapshots" / COMMIT
    assert report["path"] == str(snapshot) and report["commit"] == COMMIT
    assert (ramjet.folder / "refs/main").read_text() == COMMIT
    names = {path.name for path in snapshot.iterdir()}
    assert names == set(hub.files) - {"README.md", "original/consolidated.bin"}
    for name in names:
        link = snapshot / name
        assert os.readlink(link) == f"../../blobs/{etag_of(hub.files[name])}"
        assert link.read_bytes() == hub.files[name]
    assert len(list((ramjet.folder / "blobs").iterdir())) == len(set(hub.files[n] for n in names))
    before = len(hub.log)
    options = ["--prompt-ids", "1,5,6", "--max-tokens", 4, "--no-tune", "--json"]
    ours = json.loads(ramjet(hub, "run", REPO, *options, check=0).stdout)
    assert len(hub.log) == before  # from the cache
    assert ours["token_ids"] == json.loads(ramjet(hub, "run", TINY, *options, check=0).stdout)["token_ids"]
    again = json.loads(ramjet(hub, "pull", REPO, "--json", check=0, HF_TOKEN="secret").stdout)
    assert again["bytes"] == 0


def test_org_name_is_pulled_when_it_is_not_there(ramjet, hub):
    offline = ramjet(hub, "run", REPO, "--prompt-ids", "1", "--offline")
    assert offline.returncode == 2 and "is not in the cache" in offline.stderr and not hub.log
    offline = ramjet(hub, "run", REPO, "--prompt-ids", "1", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and not hub.log
    ramjet(hub, "run", REPO, "--prompt-ids", "1,2", "--max-tokens", 1, "--no-tune", check=0)
    assert hub.log
    path = ramjet(hub, "pull", REPO, "--offline", check=0).stdout.strip()
    assert path == str(ramjet.folder / "snapshots" / COMMIT)


def test_large_files_come_in_ranges_and_keep_the_token_at_home(ramjet, large):
    large.token = "secret"
    pull_large(ramjet, large, HF_TOKEN="secret")
    assert blob_of(ramjet, large).read_bytes() == large.files["a.Q4.gguf"]
    stored = [entry for entry in large.log if entry[0] == "store"]
    assert len(stored) == 5 and all(entry[3] and entry[4] is None for entry in stored)
    assert all(entry[4] == "Bearer secret" for entry in large.log if entry[0] == "hub")
    assert not list((ramjet.folder / "blobs").glob("*.part*"))


def test_cut_connections_go_on_where_they_broke(ramjet, large):
    large.cut_after, large.cuts = RANGE // 2, 3
    pull_large(ramjet, large)
    assert blob_of(ramjet, large).read_bytes() == large.files["a.Q4.gguf"]
    begins = [int(re.match(r"bytes=(\d+)", entry[3]).group(1)) for entry in large.log if entry[0] == "store"]
    assert any(begin % RANGE == RANGE // 2 for begin in begins)


def test_a_later_pull_goes_on_from_what_is_there(ramjet, large):
    blob = blob_of(ramjet, large)
    environment = {**os.environ, "HF_ENDPOINT": large.url, "HF_HUB_CACHE": str(ramjet.folder.parent)}
    slow = subprocess.Popen([str(BINARY), "pull", REPO, "--include", "*Q4*", "--range-size", str(RANGE),
                             "--connections", "1"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    part = Path(f"{blob}.part.map")
    for _ in range(3000):
        if part.exists() and b"1" in part.read_bytes().split(b"\n")[-1]:
            break
        if blob.exists():
            break
        time.sleep(0.001)
    slow.kill()
    slow.wait()
    if blob.exists():
        pytest.skip("the pull was over before it could be killed")
    there = part.read_bytes().split(b"\n")[-1].count(b"1")
    assert not (ramjet.folder / "refs/main").exists()
    before = len([entry for entry in large.log if entry[0] == "store"])
    pull_large(ramjet, large)
    assert blob.read_bytes() == large.files["a.Q4.gguf"]
    assert len([entry for entry in large.log if entry[0] == "store"]) - before <= 5 - there


def test_a_server_without_ranges_will_do(ramjet, large):
    large.ranges = False
    pull_large(ramjet, large)
    assert blob_of(ramjet, large).read_bytes() == large.files["a.Q4.gguf"]


def test_a_wrong_checksum_leaves_nothing(ramjet, large):
    data = bytearray(large.files["a.Q4.gguf"])
    data[12345] ^= 1
    large.lie["a.Q4.gguf"] = bytes(data)
    done = pull_large(ramjet, large, check=2)
    assert "a.Q4.gguf: its checksum is not the hub's" in done.stderr
    assert not list((ramjet.folder / "blobs").iterdir()) and not (ramjet.folder / "refs").exists()


@pytest.mark.parametrize("status, words", [(401, "HF_TOKEN"), (403, "ask for access"), (404, "not found on the hub")])
def test_refusals_say_what_to_do(ramjet, hub, status, words):
    hub.status = status
    done = ramjet(hub, "pull", REPO, check=2)
    assert f"{REPO} (main)" in done.stderr and words in done.stderr and str(status) in done.stderr
    assert not ramjet.folder.exists()


def test_a_full_disk_leaves_nothing(ramjet, large):
    """a limit on the size of files stands for a full disk"""
    command = f"ulimit -f 512; trap '' XFSZ; exec '{BINARY}' pull {REPO} --include '*Q4*' --range-size {RANGE}"
    environment = {**os.environ, "HF_ENDPOINT": large.url, "HF_HUB_CACHE": str(ramjet.folder.parent)}
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot write" in done.stderr
    assert not list((ramjet.folder / "blobs").iterdir())


def test_what_is_not_a_model_is_said(ramjet, large):
    done = ramjet(large, "pull", REPO, check=2)
    assert "choose with --include: a.Q4.gguf, b.Q8.gguf" in done.stderr
    done = ramjet(large, "pull", REPO, "--include", "*.bin", check=2)
    assert "no file fits --include *.bin" in done.stderr
    done = ramjet(large, "pull", "nonsense", check=2)
    assert "'nonsense' is not of the form ORG/NAME" in done.stderr
    shutil.rmtree(ramjet.folder, ignore_errors=True)
    large.files = {"../evil": b"x", "config.json": b"{}", "model.safetensors": b"y"}
    ramjet(large, "pull", REPO, check=0)
    assert not (ramjet.folder.parent / "evil").exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate")
def test_https_wants_an_authority_it_knows(ramjet, hub, tmp_path):
    certificate, key = tmp_path / "hub.pem", tmp_path / "hub.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "2", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    hub.speak_tls(certificate, key)
    done = ramjet(hub, "pull", REPO)
    assert done.returncode == 1 and "no TLS connection with 127.0.0.1" in done.stderr
    ramjet(hub, "pull", REPO, check=0, SSL_CERT_FILE=str(certificate))
    assert (ramjet.folder / "snapshots" / COMMIT / "model.safetensors.index.json").exists()
    done = ramjet(hub, "pull", REPO, SSL_CERT_FILE=str(certificate),
                  HF_ENDPOINT=hub.url.replace("127.0.0.1", "localhost"))
    assert done.returncode == 1 and "no TLS connection with localhost" in done.stderr

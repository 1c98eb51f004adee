"""GGUF files on the command line: the same answers as from the Hugging Face folder, clear errors."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from gguf_file import Writer, add_model, add_vocabulary

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
DEMO = ROOT / "models/demo"
PRE = "dbrx"  # names the demo's pattern


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def demo(work):
    writer = Writer()
    add_model(writer, DEMO)
    add_vocabulary(writer, DEMO, PRE)
    path = work / "demo.gguf"
    path.write_bytes(writer.bytes())
    return path


@pytest.fixture
def ramjet(work):
    def run(*arguments, stdin=None):
        environment = {**os.environ, "RAMJET_CACHE": str(work / "cache")}
        return subprocess.run([str(BINARY), *map(str, arguments)], input=stdin, cwd=ROOT, env=environment,
                              capture_output=True, text=True, timeout=300)
    return run


def object_of(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_demo_as_gguf_says_what_its_folder_says(ramjet, demo):
    options = ["--chat", "--prompt", "Tell me a story about a fox.", "--max-tokens", 32, "--no-tune", "--json"]
    folder = object_of(ramjet("run", DEMO, *options))
    file = object_of(ramjet("run", demo, *options))
    assert file["token_ids"] == folder["token_ids"]
    assert file["text"] == folder["text"]


def test_logits_are_bit_equal(ramjet, demo):
    options = ["--prompt", "Once upon a time", "--top", 3, "--dtype", "f32", "--no-tune"]
    assert object_of(ramjet("logits", demo, *options)) == object_of(ramjet("logits", DEMO, *options))


def test_a_vocabulary_alone_tokenizes(ramjet, work):
    writer = Writer()
    add_vocabulary(writer, DEMO, PRE)
    path = work / "vocabulary.gguf"
    path.write_bytes(writer.bytes())
    text = "Hello,  world! It's 12345 o'clock.\n\n\tnaïve ½ 你好 <|user|>"
    ours = object_of(ramjet("tokenize", path, "--json", stdin=text))
    assert ours == object_of(ramjet("tokenize", DEMO, "--json", stdin=text))
    done = ramjet("run", path, "--prompt", "x")
    assert done.returncode == 2 and "holds no tensors" in done.stderr


def test_bad_files_are_named(ramjet, work, demo):
    whole = demo.read_bytes()
    cut = work / "cut.gguf"
    cut.write_bytes(whole[:-100])
    done = ramjet("build", cut, "-o", work / "cut.engine")
    assert done.returncode == 2
    assert "cut.gguf: tensor '" in done.stderr and "truncated download?" in done.stderr
    assert not list(work.glob("cut.engine*"))
    cut.write_bytes(whole.replace(b"blk.3.attn_k.weight", b"blk.2.attn_k.weight"))
    done = ramjet("build", cut, "-o", work / "cut.engine")
    assert done.returncode == 2 and "'blk.2.attn_k.weight' is there twice" in done.stderr
    cut.write_bytes(whole.replace(b"blk.3.attn_k.weight", b"blk.3.attn_x.weight"))
    done = ramjet("build", cut, "-o", work / "cut.engine")
    assert done.returncode == 2 and "model.layers.3.self_attn.k_proj.weight" in done.stderr
    assert not list(work.glob("cut.engine*"))
    cut.write_bytes(whole.replace(b"\x04\0\0\0\0\0\0\0dbrx", b"\x04\0\0\0\0\0\0\0dbrz"))
    done = ramjet("tokenize", cut, stdin="x")
    assert done.returncode == 2 and "pre-tokenizer 'dbrz'" in done.stderr

"""embeddings, classes, scores and rankings of served encoders"""

import base64
import json
import math
import os
import shutil
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest
import requests

from conftest import ROOT, running_server

BINARY = os.environ.get("RAMJET_BINARY", str(ROOT / "build" / "ramjet"))
GOLDENS = ROOT / "tests" / "data" / "encoders"


def write_tokenizer(folder):
    """letters and digits as words of WordPiece, with BERT's special tokens"""
    vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    for c in "abcdefghijklmnopqrstuvwxyz0123456789.,!?":
        vocab[c] = len(vocab)
    for c in "abcdefghijklmnopqrstuvwxyz":
        vocab["##" + c] = len(vocab)

    def special(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}

    def piece(which, kind):
        return {"Sequence": {"id": which, "type_id": kind}}

    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocab[name],
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]"), piece("A", 0), special("[SEP]")],
            "pair": [
                special("[CLS]"),
                piece("A", 0),
                special("[SEP]"),
                piece("B", 1),
                {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
            ],
            "special_tokens": {
                name: {"id": name, "ids": [vocab[name]], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def keep_one_class(folder):
    """the head of a cross-encoder: its first class alone"""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    out, end = {}, 0
    parts = []
    for name, t in header.items():
        if name == "__metadata__":
            continue
        begin, stop = t["data_offsets"]
        bytes_ = body[begin:stop]
        if name.startswith("classifier."):
            bytes_ = bytes_[: len(bytes_) // t["shape"][0]]
            t["shape"][0] = 1
        parts.append(bytes_)
        out[name] = {**t, "data_offsets": [end, end + len(bytes_)]}
        end += len(bytes_)
    head = json.dumps(out).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(parts))
    config = json.loads((folder / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "LABEL_0"}, {"LABEL_0": 0}
    (folder / "config.json").write_text(json.dumps(config))


@contextmanager
def served(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAMJET_TEST_MODEL", str(folder))
        with running_server("--dtype", "f32", "--threads", "1") as (_, url):
            yield url


def copy_of(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name) / name
    shutil.copytree(GOLDENS / name, folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    with served(copy_of("bert", tmp_path_factory)) as url:
        yield url


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    with served(copy_of("bert-classes", tmp_path_factory)) as url:
        yield url


@pytest.fixture(scope="module")
def reranker(tmp_path_factory):
    folder = copy_of("bert-classes", tmp_path_factory)
    keep_one_class(folder)
    with served(folder) as url:
        yield url


def post(url, route, **body):
    return requests.post(url + route, json=body, timeout=60)


def answered(url, route, **body):
    answer = post(url, route, **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def embedding(url, text, **more):
    return answered(url, "/v1/embeddings", input=text, **more)["data"][0]["embedding"]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b)))


IDS = [[2, 10, 44, 3], [75], list(range(3, 90)), [2, 5, 5, 5, 3]]


def command(name, folder, lists):
    """what `ramjet embed` or `classify` says, which tests/e2e holds to transformers"""
    flags = [x for ids in lists for x in ("--ids", ",".join(map(str, ids)))]
    ended = subprocess.run(
        [BINARY, name, folder, "--dtype", "f32", "--json", *flags], capture_output=True, check=True
    )
    return json.loads(ended.stdout)


def test_embeddings_are_those_of_the_model(embedder):
    expected = command("embed", GOLDENS / "bert", IDS)["embeddings"]
    answer = answered(embedder, "/v1/embeddings", input=IDS, normalize=False)
    assert answer["object"] == "list" and answer["usage"]["completion_tokens"] == 0
    tokens = sum(map(len, IDS))
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] == tokens
    for i, (vector, got) in enumerate(zip(expected, answer["data"], strict=True)):
        assert got["index"] == i and got["object"] == "embedding"
        assert got["embedding"] == pytest.approx(vector, abs=1e-4)
    one = answered(embedder, "/v1/embeddings", input=IDS[0])["data"]
    assert len(one) == 1 and one[0]["embedding"] == pytest.approx(unit(expected[0]), abs=1e-4)


def test_the_client_gets_what_it_asks_for(embedder):
    with openai.OpenAI(base_url=embedder + "/v1", api_key="none", max_retries=0) as client:
        model = client.models.list().data[0].id
        texts = ["the cat sat", "a dog", "numbers 1 2 3"]
        # The client asks for base64 unless told.
        packed = client.embeddings.create(model=model, input=texts)
        plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
        for a, b in zip(packed.data, plain.data, strict=True):
            assert list(a.embedding) == pytest.approx(b.embedding, abs=1e-7)
            assert sum(x * x for x in b.embedding) == pytest.approx(1, abs=1e-5)
        short = client.embeddings.create(model=model, input="the cat sat", dimensions=16)
        whole = plain.data[0].embedding
        assert short.data[0].embedding == pytest.approx(unit(whole[:16]), abs=1e-5)
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model="another", input="a")


def test_base64_is_the_bits(embedder):
    text = embedding(embedder, "a b c", encoding_format="base64")
    floats = struct.unpack("<64f", base64.b64decode(text, validate=True))
    assert list(floats) == pytest.approx(embedding(embedder, "a b c"), abs=1e-7)


def test_a_batch_is_as_good_as_one_by_one(embedder):
    texts = [f"word {i % 10} and {'x' * (i % 7 + 1)}" for i in range(40)]
    alone = [embedding(embedder, text) for text in texts]
    batch = answered(embedder, "/v1/embeddings", input=texts)["data"]
    with ThreadPoolExecutor(16) as pool:
        at_once = list(pool.map(lambda text: embedding(embedder, text), texts))
    for a, b, c in zip(alone, batch, at_once, strict=True):
        assert a == pytest.approx(b["embedding"], abs=1e-4)
        assert a == pytest.approx(c, abs=1e-4)
    metrics = requests.get(embedder + "/metrics", timeout=30).text
    assert 'finished_reason="stop"' in metrics
    load = requests.get(embedder + "/load", timeout=30).json()
    assert load["running"] == load["waiting"] == 0


def test_truncation_keeps_the_last_special_token(embedder):
    text = "a " * 200
    refused = post(embedder, "/v1/embeddings", input=text)
    error = refused.json()["error"]
    assert refused.status_code == 400 and error["code"] == "context_length_exceeded"
    assert "96" in error["message"] and "202" in error["message"]
    cut = answered(embedder, "/v1/embeddings", input=text, truncate_prompt_tokens=-1)
    assert cut["usage"]["prompt_tokens"] == 96
    ten = answered(embedder, "/v1/embeddings", input=text, truncate_prompt_tokens=10)
    same = answered(embedder, "/v1/embeddings", input="a " * 8)
    assert ten["data"] == same["data"] and ten["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize(
    "body,param",
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": 7}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [128]}, "input"),
        ({"input": "a", "dimensions": 65}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ],
)
def test_bad_inputs(embedder, body, param):
    answer = post(embedder, "/v1/embeddings", **body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize(
    "route", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
)
def test_an_encoder_generates_nothing(embedder, route):
    answer = post(embedder, route, messages=[{"role": "user", "content": "a"}], prompt="a")
    assert answer.status_code == 501
    assert answer.json()["error"]["type"] == "not_supported_error"
    assert requests.get(embedder + "/health", timeout=30).status_code == 200


@pytest.mark.parametrize("route", ["/v1/embeddings", "/score", "/v1/rerank", "/classify"])
def test_a_model_that_generates_gives_no_vectors(server, route):
    answer = server.post(route, {"input": "a", "text_1": "a", "text_2": "a"})
    assert answer.status_code == 501
    assert answer.json()["error"]["type"] == "not_supported_error"


def test_classes_are_those_of_the_model(classifier):
    expected = command("classify", GOLDENS / "bert-classes", IDS)["results"]
    answer = answered(classifier, "/classify", input=IDS)
    for item, got in zip(expected, answer["data"], strict=True):
        powers = [math.exp(x) for x in item["logits"]]
        shares = [x / sum(powers) for x in powers]
        assert got["num_classes"] == 3 and got["probs"] == pytest.approx(shares, abs=1e-4)
        assert got["label"] == f"LABEL_{shares.index(max(shares))}"
    assert answer["usage"]["prompt_tokens"] == sum(map(len, IDS))


def test_what_a_model_has_no_head_for(embedder, classifier):
    assert post(embedder, "/classify", input="a").status_code == 501
    refused = post(classifier, "/score", text_1="a", text_2="b")
    assert refused.status_code == 501 and "/classify" in refused.json()["error"]["message"]


@pytest.mark.parametrize("route", ["/score", "/v1/score"])
def test_scores_of_vectors_are_cosines(embedder, route):
    texts = ["the cat", "a dog sat", "9 lives"]
    vectors = [embedding(embedder, text) for text in texts]
    one_to_many = answered(embedder, route, text_1="a cat", text_2=texts)["data"]
    mine = embedding(embedder, "a cat")
    for i, got in enumerate(one_to_many):
        assert got["index"] == i and got["object"] == "score"
        assert got["score"] == pytest.approx(cosine(mine, vectors[i]), abs=1e-4)
    pairs = answered(embedder, route, text_1=texts, text_2=texts[::-1])["data"]
    assert pairs[1]["score"] == pytest.approx(1, abs=1e-5)
    assert pairs[0]["score"] == pytest.approx(cosine(vectors[0], vectors[2]), abs=1e-4)
    assert post(embedder, route, text_1=texts, text_2=texts[:2]).status_code == 400
    assert post(embedder, route, text_1="a").json()["error"]["param"] == "text_2"


@pytest.mark.parametrize("route", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_ranking_by_a_cross_encoder(reranker, route):
    documents = ["the cat", "a dog sat on 3 cats", "9 lives", "zzz"]
    scores = answered(reranker, "/score", text_1="cat?", text_2=documents)["data"]
    by_index = {i: got["score"] for i, got in enumerate(scores)}
    assert len(set(by_index.values())) == 4 and all(0 < x < 1 for x in by_index.values())
    answer = answered(reranker, route, query="cat?", documents=documents)
    assert answer["usage"]["total_tokens"] > 0 and answer["id"].startswith("rerank-")
    order = [result["index"] for result in answer["results"]]
    assert order == sorted(by_index, key=by_index.get, reverse=True)
    for result in answer["results"]:
        assert result["relevance_score"] == pytest.approx(by_index[result["index"]], abs=1e-5)
        assert result["document"] == {"text": documents[result["index"]]}
    top = answered(
        reranker,
        route,
        query="cat?",
        documents=[{"text": text} for text in documents],
        top_n=2,
        return_documents=False,
    )["results"]
    assert [result["index"] for result in top] == order[:2] and "document" not in top[0]


def test_a_pair_is_read_with_its_token_types(reranker, tmp_path):
    """the pair's score is that of its ids with types, by the class of its logit alone"""
    swapped = answered(reranker, "/score", text_1="a cat", text_2="1 dog")["data"][0]["score"]
    joined = answered(reranker, "/classify", input="a cat 1 dog")["data"][0]["probs"][0]
    back = answered(reranker, "/score", text_1="1 dog", text_2="a cat")["data"][0]["score"]
    assert len({round(x, 6) for x in (swapped, joined, back)}) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"documents": ["a"]},
        {"query": "a"},
        {"query": ["a", "b"], "documents": ["a"]},
        {"query": "a", "documents": []},
        {"query": "a", "documents": [7]},
        {"query": "a", "documents": ["a"], "top_n": -1},
    ],
)
def test_bad_rankings(reranker, body):
    answer = post(reranker, "/rerank", **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_client_that_goes_away_ends_its_request(embedder):
    texts = ["x y z " * 15] * 2000
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(embedder + "/v1/embeddings", json={"input": texts}, timeout=(5, 0.05))
    assert embedding(embedder, "still there")

"""models, health, version, load, metrics, tokenize, detokenize"""

import pytest

TEXTS = [
    "Hello, world!",
    " leading and trailing ",
    "naïve café — Привет 日本語 👩‍👩‍👧🎉",
    "a\n\n\tb  c",
    "1234567890",
    "",
]


def test_models(client, server):
    page = client.models.list()
    card = page.data[0]
    assert page.object == "list" and card.object == "model" and card.id and card.owned_by
    assert card.max_model_len == server.context > 0 and card.created > 0
    raw = server.get("/v1/models").json()["data"][0]
    assert {"root", "parent"} <= set(raw)


def test_health(server):
    assert server.get("/health").status_code == 200


def test_version(server):
    version = server.get("/version").json()["version"]
    assert isinstance(version, str) and version[0].isdigit()


def test_load(server):
    answer = server.get("/load")
    assert answer.status_code == 200
    assert all(isinstance(v, (int, float)) for v in answer.json().values()) and answer.json()


def test_metrics_names(server):
    server.complete(prompt="Hi", max_tokens=3)
    answer = server.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.text
    for name in (
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "prompt_tokens_total",
        "generation_tokens_total",
        "prefix_cache_queries_total",
        "prefix_cache_hits_total",
        "num_preemptions_total",
        "request_success_total",
        "time_to_first_token_seconds_bucket",
        "inter_token_latency_seconds_bucket",
        "e2e_request_latency_seconds_count",
        "request_queue_time_seconds_sum",
        "request_prefill_time_seconds_sum",
        "request_decode_time_seconds_sum",
        "request_prompt_tokens_bucket",
        "request_generation_tokens_bucket",
        "iteration_tokens_total_count",
    ):
        assert f"\nramjet:{name}" in text, name
    for name in (
        "num_requests_waiting",
        "num_requests_running",
        "kv_cache_utilization",
        "kv_cache_tokens_per_block",
        "kv_cache_max_blocks",
    ):
        assert f"\ntrtllm_{name}" in text, name


def test_metrics_count(server):
    before = server.metric("ramjet:prompt_tokens_total"), server.metric(
        "ramjet:generation_tokens_total"
    )
    usage = server.complete(prompt="Once upon a time", max_tokens=11, ignore_eos=True)["usage"]
    server.wait_idle()
    after = server.metric("ramjet:prompt_tokens_total"), server.metric(
        "ramjet:generation_tokens_total"
    )
    assert after[0] - before[0] == usage["prompt_tokens"]
    assert after[1] - before[1] == 11


def test_metrics_are_well_formed(server):
    for line in server.get("/metrics").text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            float(value)
            assert name[0].isalpha()


@pytest.mark.parametrize("text", TEXTS)
def test_tokenize_and_back(server, text):
    out = server.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json()
    assert out["count"] == len(out["tokens"]) and out["max_model_len"] == server.context
    assert server.text(out["tokens"]) == text


def test_tokenize_adds_special_tokens(server):
    assert server.tokens("Hi", special=True)[-len(server.tokens("Hi")) :] == server.tokens("Hi")
    default = server.post("/tokenize", {"prompt": "Hi"}).json()["tokens"]
    assert default == server.tokens("Hi", special=True)


def test_token_strs(server):
    out = server.post(
        "/tokenize",
        {"prompt": "Hello there", "return_token_strs": True, "add_special_tokens": False},
    ).json()
    assert len(out["token_strs"]) == out["count"]


def test_tokenize_messages(server):
    out = server.post("/tokenize", {"messages": [{"role": "user", "content": "Hi"}]}).json()
    bare = server.post(
        "/tokenize",
        {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": False},
    ).json()
    assert out["tokens"][: bare["count"]] == bare["tokens"] and out["count"] > bare["count"]


@pytest.mark.parametrize(
    "route,body",
    [
        ("/tokenize", {}),
        ("/tokenize", {"prompt": 5}),
        ("/detokenize", {}),
        ("/detokenize", {"tokens": "abc"}),
        ("/detokenize", {"tokens": [10**8]}),
        ("/detokenize", {"tokens": [-4]}),
    ],
)
def test_bad_text_requests(server, route, body):
    answer = server.post(route, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/models", "/version", "/health"])
def test_request_id_is_echoed(server, path):
    assert server.get(path, headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"

"""bad requests: the status, the shape of the error, and that nothing else suffers"""

import json

import openai
import pytest

CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}


def check(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["message"] and "/work" not in error["message"] and "0x" not in error["message"]
    if status in KINDS:
        assert error["type"] == KINDS[status]
    return error


BAD_COMPLETIONS = {
    "no prompt": {"prompt": None},
    "empty list": {"prompt": []},
    "object prompt": {"prompt": {"a": 1}},
    "mixed list": {"prompt": ["a", 3]},
    "negative id": {"prompt": [-1]},
    "id outside the vocabulary": {"prompt": [10**7]},
    "fractional id": {"prompt": [1.5]},
    "negative max_tokens": {"max_tokens": -1},
    "max_tokens as text": {"max_tokens": "many"},
    "negative temperature": {"temperature": -0.1},
    "temperature as text": {"temperature": "hot"},
    "top_p above one": {"top_p": 1.5},
    "top_p of zero or less": {"top_p": -0.2},
    "min_p above one": {"min_p": 2},
    "negative top_k": {"top_k": -5},
    "n of zero": {"n": 0},
    "n beyond reason": {"n": 1_000_000},
    "best_of below n": {"n": 3, "best_of": 2},
    "logprobs beyond reason": {"logprobs": 100_000},
    "negative logprobs": {"logprobs": -1},
    "logit_bias of an unknown token": {"logit_bias": {"99999999": 1}},
    "logit_bias out of range": {"logit_bias": {"5": 1000}},
    "logit_bias of a word": {"logit_bias": {"word": 1}},
    "presence_penalty out of range": {"presence_penalty": 3},
    "frequency_penalty out of range": {"frequency_penalty": -3},
    "repetition_penalty of zero": {"repetition_penalty": 0},
    "min_tokens above max_tokens": {"min_tokens": 9, "max_tokens": 4},
    "stop as a number": {"stop": 5},
    "stop as an object": {"stop": {"a": "b"}},
    "stream as text": {"stream": "maybe"},
    "stop_token_ids as text": {"stop_token_ids": "1"},
}


@pytest.mark.parametrize("name", BAD_COMPLETIONS)
def test_bad_completion(server, name):
    body = {"model": server.model, "prompt": "Hi", "max_tokens": 2, **BAD_COMPLETIONS[name]}
    if body["prompt"] is None:
        del body["prompt"]
    check(server.post("/v1/completions", body), 400)


BAD_CHATS = {
    "no messages": {"messages": None},
    "empty messages": {"messages": []},
    "messages as text": {"messages": "Hi"},
    "message without role": {"messages": [{"content": "Hi"}]},
    "message as text": {"messages": ["Hi"]},
    "content as a number": {"messages": [{"role": "user", "content": 5}]},
    "part of an unknown type": {
        "messages": [{"role": "user", "content": [{"type": "smell", "smell": "x"}]}]
    },
    "role that the template refuses": {"messages": [{"role": "wizard", "content": "Hi"}]},
    "top_logprobs without logprobs": {"top_logprobs": 3},
    "top_logprobs beyond reason": {"logprobs": True, "top_logprobs": 5000},
    "both continue and generate": {"continue_final_message": True, "add_generation_prompt": True},
}


@pytest.mark.parametrize("name", BAD_CHATS)
def test_bad_chat(server, name):
    body = {"model": server.model, **CHAT, **BAD_CHATS[name]}
    if body["messages"] is None:
        del body["messages"]
    check(server.post("/v1/chat/completions", body), 400)


def test_the_client_raises_its_own_types(client, server):
    with pytest.raises(openai.BadRequestError) as info:
        client.chat.completions.create(
            model=server.model, messages=[{"role": "user", "content": "Hi"}], temperature=-1
        )
    assert "temperature" in str(info.value)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(
            model="no-such-model", messages=[{"role": "user", "content": "Hi"}]
        )


def test_the_parameter_is_named(server):
    error = check(
        server.post("/v1/completions", {"model": server.model, "prompt": "Hi", "top_p": 7}), 400
    )
    assert "top_p" in (error["param"] or "") or "top_p" in error["message"]


@pytest.mark.parametrize("route", ["/v1/completions", "/v1/chat/completions"])
def test_unknown_model(server, route):
    error = check(server.post(route, {"model": "no-such-model", "prompt": "Hi", **CHAT}), 404)
    assert "no-such-model" in error["message"]


def test_too_long_a_prompt_names_both_numbers(server):
    count = server.context + 10
    error = check(
        server.post(
            "/v1/completions", {"model": server.model, "prompt": [5] * count, "max_tokens": 4}
        ),
        400,
    )
    assert str(server.context) in error["message"] and str(count) in error["message"]


def test_prompt_plus_max_tokens_beyond_the_context(server):
    prompt = [5] * (server.context - 10)
    error = check(
        server.post("/v1/completions", {"model": server.model, "prompt": prompt, "max_tokens": 50}),
        400,
    )
    assert str(server.context) in error["message"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1,2", b'"text"', b"nul", b"\xff\xfe", b'{"a":1}{"b":2}', b"[" * 5000]
)
def test_not_json(server, raw):
    answer = server.session.post(
        server.url + "/v1/completions",
        data=raw,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    check(answer, 400)


def test_wrong_content_type(server):
    answer = server.session.post(
        server.url + "/v1/completions",
        data="prompt=Hi",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        timeout=30,
    )
    assert answer.status_code in (400, 415)
    assert answer.json()["error"]["message"]


def test_unknown_route(server):
    check(server.get("/v1/nothing/here"), 404)


@pytest.mark.parametrize(
    "method,route",
    [
        ("GET", "/v1/completions"),
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("DELETE", "/tokenize"),
        ("PUT", "/v1/completions"),
    ],
)
def test_wrong_method(server, method, route):
    answer = server.session.request(method, server.url + route, timeout=30)
    check(answer, 405)


def test_too_large_a_body(server):
    body = json.dumps({"model": server.model, "prompt": "a" * (80 << 20)})
    try:
        answer = server.session.post(
            server.url + "/v1/completions",
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=60,
        )
    except Exception:  # the server may close the connection while it is still being sent to
        answer = None
    if answer is not None:
        check(answer, 413)
    assert server.get("/health").status_code == 200


def test_deep_json_is_refused(server):
    raw = b'{"model":"x","prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = server.session.post(
        server.url + "/v1/completions",
        data=raw,
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    check(answer, 400)


def test_after_all_that_it_still_answers(server):
    assert server.complete(prompt="Hi", max_tokens=2)["choices"]
    assert server.get("/health").status_code == 200

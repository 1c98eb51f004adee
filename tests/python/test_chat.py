"""POST /v1/chat/completions"""

import pytest


def test_shape(client, server):
    out = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": "Hello!"}],
        max_tokens=16,
        temperature=0,
    )
    assert (
        out.id.startswith("chatcmpl-")
        and out.object == "chat.completion"
        and out.model == server.model
    )
    (choice,) = out.choices
    assert choice.message.role == "assistant" and isinstance(choice.message.content, str)
    assert (
        not choice.message.tool_calls and choice.message.refusal is None and choice.logprobs is None
    )
    assert choice.finish_reason in ("stop", "length")


def test_usage(server):
    out = server.chat(ignore_eos=True, max_tokens=9)
    usage = out["usage"]
    assert usage["completion_tokens"] == 9
    assert usage["total_tokens"] == usage["prompt_tokens"] + 9
    assert usage["prompt_tokens_details"]["cached_tokens"] >= 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


def test_prompt_tokens_equal_tokenize_of_messages(server):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is rain?"},
    ]
    out = server.chat(messages=messages)
    tokenized = server.post("/tokenize", {"messages": messages}).json()
    assert out["usage"]["prompt_tokens"] == tokenized["count"] == len(tokenized["tokens"])


def test_chat_equals_completion_of_the_rendered_prompt(server):
    messages = [{"role": "user", "content": "What is rain?"}]
    ids = server.post("/tokenize", {"messages": messages}).json()["tokens"]
    assert (
        server.chat(messages=messages, max_tokens=24)["choices"][0]["message"]["content"]
        == server.complete(prompt=ids, max_tokens=24)["choices"][0]["text"]
    )


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_limit(client, server, name):
    out = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": "Tell me a story."}],
        temperature=0,
        extra_body={"ignore_eos": True},
        **{name: 6}
    )
    assert out.usage.completion_tokens == 6 and out.choices[0].finish_reason == "length"


def test_max_tokens_defaults_to_what_the_context_leaves(server):
    answer = server.post(
        "/v1/chat/completions",
        {
            "model": server.model,
            "messages": [{"role": "user", "content": "Hello!"}],
            "ignore_eos": True,
            "temperature": 0,
        },
    )
    usage = answer.json()["usage"]
    assert usage["total_tokens"] == server.context
    assert answer.json()["choices"][0]["finish_reason"] == "length"


def test_content_parts_equal_a_string(server):
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": " rain?"}]
    joined = server.post("/tokenize", {"messages": [{"role": "user", "content": parts}]}).json()[
        "tokens"
    ]
    one = server.post("/tokenize", {"messages": [{"role": "user", "content": parts[:1]}]}).json()[
        "tokens"
    ]
    whole = server.post("/tokenize", {"messages": [{"role": "user", "content": "What is"}]}).json()[
        "tokens"
    ]
    assert one == whole and len(joined) > len(one)
    out = server.chat(messages=[{"role": "user", "content": parts}])
    assert out["usage"]["prompt_tokens"] == len(joined)


def test_several_turns(client, server):
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": "Tell me a story."},
    ]
    out = client.chat.completions.create(
        model=server.model, messages=messages, max_tokens=8, temperature=0
    )
    shorter = client.chat.completions.create(
        model=server.model, messages=messages[:2], max_tokens=8, temperature=0
    )
    assert out.usage.prompt_tokens > shorter.usage.prompt_tokens


def test_stops_at_the_end_of_turn(server):
    """an end-of-turn token that is forced ends the answer, and is not shown"""
    special = server.post("/tokenize", {"prompt": "<|end|>", "add_special_tokens": False}).json()[
        "tokens"
    ]
    if len(special) != 1:
        pytest.skip("this model has no <|end|> token")
    out = server.chat(logit_bias={str(special[0]): 100})
    assert out["choices"][0]["finish_reason"] == "stop"
    assert out["choices"][0]["message"]["content"] in ("", None)
    assert out["usage"]["completion_tokens"] <= 1


def test_logprobs(client, server):
    out = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=8,
        temperature=0,
        logprobs=True,
        top_logprobs=4,
        extra_body={"ignore_eos": True},
    )
    content = out.choices[0].logprobs.content
    assert len(content) == 8
    for item in content:
        assert item.logprob <= 0 and len(item.top_logprobs) == 4
        order = [t.logprob for t in item.top_logprobs]
        assert order == sorted(order, reverse=True)
        assert item.top_logprobs[0].token == item.token, "greedy takes the best"
        assert item.logprob == pytest.approx(order[0], abs=1e-5)
    assert (
        bytes(b for item in content for b in item.bytes).decode() == out.choices[0].message.content
    )


def test_logprobs_without_top(server):
    content = server.chat(logprobs=True, max_tokens=3, ignore_eos=True)["choices"][0]["logprobs"][
        "content"
    ]
    assert len(content) == 3 and all(item["top_logprobs"] == [] for item in content)


def test_n(client, server):
    out = client.chat.completions.create(
        model=server.model,
        messages=[{"role": "user", "content": "Tell me a story."}],
        max_tokens=16,
        temperature=1.2,
        n=3,
        seed=3,
    )
    assert sorted(c.index for c in out.choices) == [0, 1, 2]
    assert len({c.message.content for c in out.choices}) > 1


def test_stop_string(server):
    text = server.chat(max_tokens=40, ignore_eos=True)["choices"][0]["message"]["content"]
    stop = text[10:13]
    choice = server.chat(max_tokens=40, ignore_eos=True, stop=[stop])["choices"][0]
    assert (
        choice["message"]["content"] == text[: text.index(stop)]
        and choice["finish_reason"] == "stop"
    )


def test_continue_final_message(server):
    messages = [
        {"role": "user", "content": "Tell me a story."},
        {"role": "assistant", "content": "Long ago"},
    ]
    how = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    ids = server.post("/tokenize", how).json()["tokens"]
    assert server.text(ids).endswith("Long ago")
    out = server.chat(max_tokens=6, **how)
    assert out["usage"]["prompt_tokens"] == len(ids)


def test_own_chat_template(server):
    how = {"chat_template": "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"}
    answer = server.post(
        "/v1/chat/completions",
        {
            "model": server.model,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 2,
            **how,
        },
    )
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        assert answer.json()["usage"]["prompt_tokens"] >= len(server.tokens("[user] Hi\n"))
    else:
        assert "chat_template" in answer.json()["error"]["message"]


def test_unknown_fields_are_ignored(server):
    out = server.chat(
        some_new_field={"a": [1, 2]}, user="someone", metadata={"k": "v"}, store=False
    )
    assert out["choices"][0]["message"]["role"] == "assistant"


def test_request_id(server):
    answer = server.post(
        "/v1/chat/completions",
        {"model": server.model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]},
        headers={"X-Request-Id": "trace-12345"},
    )
    assert answer.headers["X-Request-Id"] == "trace-12345"
    assert answer.json()["id"].endswith("trace-12345")

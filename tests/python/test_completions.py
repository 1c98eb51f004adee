"""POST /v1/completions"""

import pytest

PROMPT = "The old house stood at the end of the road, and"


def test_shape(client, server):
    out = client.completions.create(model=server.model, prompt=PROMPT, max_tokens=8, temperature=0)
    assert (
        out.id.startswith("cmpl-") and out.object == "text_completion" and out.model == server.model
    )
    assert out.created > 1_600_000_000
    (choice,) = out.choices
    assert choice.index == 0 and choice.text and choice.logprobs is None
    assert choice.finish_reason in ("stop", "length")


def test_max_tokens_defaults_to_16(server):
    out = server.complete(prompt=PROMPT, ignore_eos=True)
    assert out["usage"]["completion_tokens"] == 16
    assert out["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_max_tokens(server, count):
    out = server.complete(prompt=PROMPT, max_tokens=count, ignore_eos=True)
    assert out["usage"]["completion_tokens"] == count
    assert out["choices"][0]["finish_reason"] == "length"


def test_usage_counts_the_prompt(server):
    out = server.complete(prompt=PROMPT, max_tokens=5, ignore_eos=True)
    usage = out["usage"]
    assert usage["prompt_tokens"] == len(server.tokens(PROMPT, special=True))
    assert usage["total_tokens"] == usage["prompt_tokens"] + 5


def test_prompt_as_ids_equals_prompt_as_text(server):
    ids = server.tokens(PROMPT, special=True)
    by_ids = server.complete(prompt=ids, max_tokens=20)
    by_text = server.complete(prompt=PROMPT, max_tokens=20)
    assert by_ids["choices"][0]["text"] == by_text["choices"][0]["text"]
    assert by_ids["usage"]["prompt_tokens"] == len(ids)


def test_list_of_prompts(client, server):
    prompts = [PROMPT, "She said", "In 1901"]
    out = client.completions.create(
        model=server.model, prompt=prompts, max_tokens=10, temperature=0
    )
    assert [c.index for c in out.choices] == [0, 1, 2]
    assert out.usage.prompt_tokens == sum(len(server.tokens(p, special=True)) for p in prompts)
    for prompt, choice in zip(prompts, out.choices):
        assert choice.text == server.complete(prompt=prompt, max_tokens=10)["choices"][0]["text"]


def test_list_of_id_lists(server):
    ids = [server.tokens(p, special=True) for p in (PROMPT, "She said")]
    out = server.complete(prompt=ids, max_tokens=6, ignore_eos=True)
    assert len(out["choices"]) == 2
    assert out["usage"]["completion_tokens"] == 12


def test_echo(server):
    plain = server.complete(prompt=PROMPT, max_tokens=6)["choices"][0]["text"]
    echoed = server.complete(prompt=PROMPT, max_tokens=6, echo=True)["choices"][0]["text"]
    assert echoed == PROMPT + plain


def test_echo_of_the_prompt_alone(server):
    out = server.complete(prompt=PROMPT, max_tokens=0, echo=True, logprobs=1)
    choice = out["choices"][0]
    assert choice["text"] == PROMPT and choice["finish_reason"] == "length"
    assert out["usage"]["completion_tokens"] == 0
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert len(choice["logprobs"]["tokens"]) == out["usage"]["prompt_tokens"]


@pytest.mark.parametrize("top", [0, 1, 5])
def test_logprobs(client, server, top):
    out = client.completions.create(
        model=server.model, prompt=PROMPT, max_tokens=6, temperature=0, logprobs=top
    )
    choice = out.choices[0]
    lp, count = choice.logprobs, out.usage.completion_tokens
    assert len(lp.tokens) == len(lp.token_logprobs) == len(lp.text_offset) == count
    assert all(x <= 0 for x in lp.token_logprobs)
    assert lp.text_offset == sorted(lp.text_offset)
    if choice.finish_reason == "length":
        assert "".join(lp.tokens) == choice.text
    if top:
        for token, logprob, best in zip(lp.tokens, lp.token_logprobs, lp.top_logprobs):
            assert top <= len(best) <= top + 1
            assert best[token] == pytest.approx(logprob, abs=1e-4)
            assert max(best.values()) == pytest.approx(logprob, abs=1e-4), "greedy takes the best"


def test_echo_with_logprobs_covers_prompt_and_completion(server):
    out = server.complete(prompt=PROMPT, max_tokens=4, echo=True, logprobs=2, ignore_eos=True)
    lp = out["choices"][0]["logprobs"]
    assert len(lp["token_logprobs"]) == out["usage"]["total_tokens"]
    assert lp["token_logprobs"][0] is None
    assert all(x <= 0 for x in lp["token_logprobs"][1:])
    start = out["usage"]["prompt_tokens"]
    assert lp["text_offset"][start] == len(PROMPT)


def test_n_gives_different_samples(client, server):
    out = client.completions.create(
        model=server.model, prompt=PROMPT, max_tokens=24, temperature=1.3, n=4, seed=5
    )
    assert sorted(c.index for c in out.choices) == [0, 1, 2, 3]
    assert len({c.text for c in out.choices}) > 1
    assert out.usage.prompt_tokens == len(
        server.tokens(PROMPT, special=True)
    ), "the prompt counts once"


def test_greedy_n_gives_equal_samples(server):
    out = server.complete(prompt=PROMPT, max_tokens=12, n=3)
    assert len({c["text"] for c in out["choices"]}) == 1


def test_best_of_returns_the_likeliest(server):
    how = dict(prompt=PROMPT, max_tokens=8, temperature=1.5, seed=11, ignore_eos=True, logprobs=0)
    every = server.complete(n=6, **how)["choices"]
    best = server.complete(n=2, best_of=6, **how)
    assert len(best["choices"]) == 2
    assert best["usage"]["completion_tokens"] == 48, "all candidates are paid for"
    mean = sorted((sum(c["logprobs"]["token_logprobs"]) for c in every), reverse=True)
    got = [sum(c["logprobs"]["token_logprobs"]) for c in best["choices"]]
    assert got == pytest.approx(mean[:2], rel=1e-3)


def test_stop_string_is_cut(server):
    text = server.complete(prompt=PROMPT, max_tokens=30, ignore_eos=True)["choices"][0]["text"]
    stop = text[8:12]
    choice = server.complete(prompt=PROMPT, max_tokens=30, ignore_eos=True, stop=stop)["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["stop_reason"] == stop
    assert choice["text"] == text[: text.index(stop)]


def test_stop_list_takes_the_first_to_appear(server):
    text = server.complete(prompt=PROMPT, max_tokens=30, ignore_eos=True)["choices"][0]["text"]
    late, early = text[14:17], text[4:7]
    choice = server.complete(prompt=PROMPT, max_tokens=30, ignore_eos=True, stop=[late, early])[
        "choices"
    ][0]
    assert choice["text"] == text[: min(text.index(late), text.index(early))]


def test_include_stop_str_in_output(server):
    text = server.complete(prompt=PROMPT, max_tokens=30, ignore_eos=True)["choices"][0]["text"]
    stop = text[8:12]
    choice = server.complete(
        prompt=PROMPT, max_tokens=30, ignore_eos=True, stop=stop, include_stop_str_in_output=True
    )["choices"][0]
    assert choice["text"] == text[: text.index(stop)] + stop


def test_stop_token_ids(server):
    out = server.complete(prompt=PROMPT, max_tokens=20, ignore_eos=True, return_token_ids=True)
    ids = out["choices"][0]["token_ids"]
    stop = ids[6]
    cut = server.complete(
        prompt=PROMPT, max_tokens=20, stop_token_ids=[stop], return_token_ids=True
    )["choices"][0]
    assert cut["finish_reason"] == "stop" and cut["stop_reason"] == stop
    assert cut["token_ids"] == ids[: ids.index(stop) + 1]


def test_min_tokens_holds_back_a_stop_token(server):
    ids = server.complete(prompt=PROMPT, max_tokens=12, ignore_eos=True, return_token_ids=True)[
        "choices"
    ][0]["token_ids"]
    out = server.complete(prompt=PROMPT, max_tokens=12, stop_token_ids=[ids[0]], min_tokens=8)
    assert out["usage"]["completion_tokens"] >= 8


def test_truncate_prompt_tokens_keeps_the_end(server):
    ids = server.tokens(PROMPT, special=True)
    cut = server.complete(prompt=ids, max_tokens=8, truncate_prompt_tokens=4)
    same = server.complete(prompt=ids[-4:], max_tokens=8)
    assert cut["usage"]["prompt_tokens"] == 4
    assert cut["choices"][0]["text"] == same["choices"][0]["text"]


def test_prompt_logprobs(server):
    ids = server.tokens(PROMPT, special=True)
    out = server.complete(prompt=ids, max_tokens=1, prompt_logprobs=2)
    rows = out["choices"][0]["prompt_logprobs"]
    assert rows[0] is None and len(rows) == len(ids)
    for token, row in zip(ids[1:], rows[1:]):
        assert str(token) in row and row[str(token)]["logprob"] <= 0


def test_fills_the_context(server):
    ids = server.tokens(PROMPT, special=True)
    prompt = (ids * (server.context // len(ids) + 1))[: server.context - 5]
    out = server.complete(prompt=prompt, max_tokens=5, ignore_eos=True)
    assert out["usage"]["total_tokens"] == server.context
    assert out["choices"][0]["finish_reason"] == "length"


def test_prefix_reuse_does_not_change_the_answer(server):
    prompt = "Once upon a time there was a miller who had three sons. " * 8
    first = server.complete(prompt=prompt, max_tokens=16)
    again = server.complete(prompt=prompt, max_tokens=16)
    assert again["choices"][0]["text"] == first["choices"][0]["text"]
    cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < again["usage"]["prompt_tokens"]

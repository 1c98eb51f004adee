"""sampling parameters, seen from outside"""

import pytest

PROMPT = "The old house stood at the end of the road, and"


def text(server, **body):
    return server.complete(prompt=PROMPT, **{"max_tokens": 24, "ignore_eos": True, **body})[
        "choices"
    ][0]["text"]


def ids(server, **body):
    out = server.complete(
        prompt=PROMPT, **{"max_tokens": 24, "ignore_eos": True, "return_token_ids": True, **body}
    )
    return out["choices"][0]["token_ids"]


def test_greedy_is_reproducible(server):
    assert len({text(server, temperature=0) for _ in range(4)}) == 1


def test_a_seed_is_reproducible(server):
    assert len({text(server, temperature=1.0, seed=1234) for _ in range(4)}) == 1


def test_different_seeds_differ(server):
    assert len({text(server, temperature=1.0, seed=s) for s in range(5)}) > 1


def test_no_seed_differs(server):
    assert len({text(server, temperature=1.2) for _ in range(5)}) > 1


@pytest.mark.parametrize(
    "how", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}]
)
def test_narrow_sampling_is_greedy(server, how):
    assert text(server, **{"temperature": 1.0, "seed": 7, **how}) == text(server, temperature=0)


def test_top_k_keeps_to_the_best(server):
    out = server.complete(
        prompt=PROMPT, max_tokens=24, ignore_eos=True, temperature=2.0, top_k=3, seed=2, logprobs=3
    )
    lp = out["choices"][0]["logprobs"]
    for token, best in zip(lp["tokens"], lp["top_logprobs"]):
        assert token in best and len(best) <= 3


def test_logit_bias_forces(server):
    token = server.tokens(" house")[0]
    assert ids(server, temperature=0, max_tokens=5, logit_bias={str(token): 100}) == [token] * 5


def test_logit_bias_bans(server):
    first = ids(server, temperature=0, max_tokens=1)[0]
    assert first not in ids(server, temperature=0, max_tokens=24, logit_bias={str(first): -100})


def test_allowed_token_ids(server):
    allowed = sorted(set(server.tokens(" the cat sat on a mat")))
    assert set(ids(server, temperature=1.5, seed=1, allowed_token_ids=allowed)) <= set(allowed)


def test_bad_words(server):
    greedy = text(server, temperature=0)
    word = next(w for w in greedy.split() if len(w) > 2)
    assert word not in text(server, temperature=0, bad_words=[f" {word}", word]).split()


def test_ignore_eos_and_min_tokens(server):
    eos = server.post("/tokenize", {"prompt": "<|end|>", "add_special_tokens": False}).json()[
        "tokens"
    ]
    if len(eos) != 1:
        pytest.skip("this model has no <|end|> token")
    bias = {str(eos[0]): 50}
    how = dict(prompt=PROMPT, max_tokens=12, logit_bias=bias)
    assert server.complete(**how)["usage"]["completion_tokens"] <= 1
    assert server.complete(ignore_eos=True, **how)["usage"]["completion_tokens"] == 12
    held = server.complete(min_tokens=6, **how)
    assert (
        held["usage"]["completion_tokens"] in (6, 7)
        and held["choices"][0]["finish_reason"] == "stop"
    )


def test_repetition_penalty_reduces_repeats(server):
    loop = server.tokens(" red")[0]
    how = dict(temperature=0, max_tokens=24, logit_bias={str(loop): 8})
    plain, penalised = ids(server, **how), ids(server, repetition_penalty=1.9, **how)
    assert penalised.count(loop) <= plain.count(loop)
    assert len(set(penalised)) >= len(set(plain))


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_penalties_reduce_repeats(server, name):
    plain = ids(server, temperature=0, max_tokens=48)
    penalised = ids(server, temperature=0, max_tokens=48, **{name: 2.0})
    assert len(set(penalised)) >= len(set(plain))
    assert len(set(penalised)) > 24


def test_temperature_flattens(server):
    cold = {text(server, temperature=0.05, seed=s, max_tokens=4) for s in range(6)}
    hot = {text(server, temperature=2.0, seed=s, max_tokens=4) for s in range(6)}
    assert len(cold) < len(hot)


def test_a_seed_holds_beside_other_requests(server):
    """the same request gives the same tokens alone and in a batch"""
    alone = text(server, temperature=0.8, seed=77)
    many = server.complete(
        prompt=[PROMPT] * 1 + ["Another text"] * 6,
        max_tokens=24,
        ignore_eos=True,
        temperature=0.8,
        seed=77,
    )
    assert many["choices"][0]["text"] == alone

"""server-sent events of both routes"""

import json

import pytest

PROMPT = "The old house stood at the end of the road, and"
STORY = [{"role": "user", "content": "Tell me a story."}]


def events(server, path, **body):
    """the payloads of `data:` lines up to [DONE], parsed"""
    body = {"model": server.model, "temperature": 0, "stream": True, **body}
    out = []
    with server.post(path, body, stream=True) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        raw = answer.content.decode("utf-8")
    assert raw.endswith("data: [DONE]\n\n")
    for block in raw.split("\n\n"):
        if block.startswith("data: ") and block != "data: [DONE]":
            out.append(json.loads(block[6:]))
    return out


def test_completion_chunks_concatenate(client, server):
    whole = client.completions.create(
        model=server.model, prompt=PROMPT, max_tokens=30, temperature=0
    )
    chunks = list(
        client.completions.create(
            model=server.model, prompt=PROMPT, max_tokens=30, temperature=0, stream=True
        )
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert {c.object for c in chunks} == {"text_completion"} and len({c.id for c in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[
        0
    ].finish_reason


def test_chat_chunks_concatenate(client, server):
    whole = client.chat.completions.create(
        model=server.model, messages=STORY, max_tokens=30, temperature=0
    )
    chunks = list(
        client.chat.completions.create(
            model=server.model, messages=STORY, max_tokens=30, temperature=0, stream=True
        )
    )
    assert (
        chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    )
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks)
        == whole.choices[0].message.content
    )
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert sum(c.choices[0].finish_reason is not None for c in chunks) == 1


def test_no_usage_unless_asked(server):
    for chunk in events(server, "/v1/chat/completions", messages=STORY, max_tokens=3):
        assert chunk.get("usage") is None and len(chunk["choices"]) == 1


def test_include_usage(client, server):
    chunks = list(
        client.chat.completions.create(
            model=server.model,
            messages=STORY,
            max_tokens=7,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 7
    assert all(c.usage is None for c in chunks[:-1])


def test_include_usage_of_completions(client, server):
    chunks = list(
        client.completions.create(
            model=server.model,
            prompt=PROMPT,
            max_tokens=5,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.prompt_tokens == len(
        server.tokens(PROMPT, special=True)
    )


def test_continuous_usage_stats(server):
    chunks = events(
        server,
        "/v1/chat/completions",
        messages=STORY,
        max_tokens=6,
        ignore_eos=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )
    counts = [c["usage"]["completion_tokens"] for c in chunks]
    assert counts == sorted(counts) and counts[-1] == 6


def test_n_interleaves_by_index(server):
    chunks = events(
        server, "/v1/chat/completions", messages=STORY, max_tokens=12, n=3, temperature=1.2, seed=9
    )
    text, finished = {}, []
    for chunk in chunks:
        for choice in chunk["choices"]:
            text[choice["index"]] = text.get(choice["index"], "") + (
                choice["delta"].get("content") or ""
            )
            if choice["finish_reason"]:
                finished.append(choice["index"])
    assert sorted(text) == [0, 1, 2] and sorted(finished) == [0, 1, 2]
    whole = server.chat(messages=STORY, max_tokens=12, n=3, temperature=1.2, seed=9)
    assert [text[i] for i in range(3)] == [
        c["message"]["content"] for c in sorted(whole["choices"], key=lambda c: c["index"])
    ]


def test_several_prompts(server):
    prompts = [PROMPT, "She said"]
    text = ["", ""]
    for chunk in events(server, "/v1/completions", prompt=prompts, max_tokens=8):
        for choice in chunk["choices"]:
            text[choice["index"]] += choice["text"]
    assert text == [c["text"] for c in server.complete(prompt=prompts, max_tokens=8)["choices"]]


def test_echo(server):
    chunks = events(server, "/v1/completions", prompt=PROMPT, max_tokens=4, echo=True)
    text = "".join(x["text"] for c in chunks for x in c["choices"])
    assert text == server.complete(prompt=PROMPT, max_tokens=4, echo=True)["choices"][0]["text"]


def test_a_stop_string_is_never_shown_in_part(server):
    text = server.chat(messages=STORY, max_tokens=40, ignore_eos=True)["choices"][0]["message"][
        "content"
    ]
    stop = text[9:19]
    chunks = events(
        server, "/v1/chat/completions", messages=STORY, max_tokens=40, ignore_eos=True, stop=[stop]
    )
    shown = "".join(x["delta"].get("content") or "" for c in chunks for x in c["choices"])
    assert shown == text[: text.index(stop)]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_chat_logprobs(server):
    chunks = events(
        server,
        "/v1/chat/completions",
        messages=STORY,
        max_tokens=6,
        ignore_eos=True,
        logprobs=True,
        top_logprobs=2,
    )
    items = [
        i
        for c in chunks
        for x in c["choices"]
        if x.get("logprobs")
        for i in x["logprobs"]["content"]
    ]
    whole = server.chat(
        messages=STORY, max_tokens=6, ignore_eos=True, logprobs=True, top_logprobs=2
    )
    expected = whole["choices"][0]["logprobs"]["content"]
    assert [i["token"] for i in items] == [i["token"] for i in expected]
    assert [i["logprob"] for i in items] == pytest.approx(
        [i["logprob"] for i in expected], abs=1e-3
    )


def test_completion_logprobs(server):
    chunks = events(
        server, "/v1/completions", prompt=PROMPT, max_tokens=6, ignore_eos=True, logprobs=1
    )
    tokens = [
        t
        for c in chunks
        for x in c["choices"]
        if x.get("logprobs")
        for t in x["logprobs"]["tokens"]
    ]
    whole = server.complete(prompt=PROMPT, max_tokens=6, ignore_eos=True, logprobs=1)
    assert tokens == whole["choices"][0]["logprobs"]["tokens"]


@pytest.mark.parametrize(
    "text", ["naïve café", "Привет, мир", "日本語の文章", "👩‍👩‍👧 family 🎉"]
)
def test_characters_are_never_split(server, text):
    """the bytes of a text are forced one token at a time, so that characters span tokens"""
    ids = server.tokens(text)
    prompt = server.tokens("Repeat:", special=True)
    whole = server.complete(prompt=prompt + ids, max_tokens=0, echo=True)["choices"][0]["text"]
    assert whole == "Repeat:" + text
    allowed = sorted(set(ids))
    how = dict(
        prompt=prompt,
        max_tokens=24,
        temperature=1.0,
        seed=4,
        ignore_eos=True,
        allowed_token_ids=allowed,
    )
    expected = server.complete(**how)["choices"][0]["text"]
    pieces = [x["text"] for c in events(server, "/v1/completions", **how) for x in c["choices"]]
    assert "".join(pieces) == expected
    good = [p for p in pieces if p]
    assert good, "something was streamed"


def test_stream_options_without_stream_is_an_error(server):
    answer = server.post(
        "/v1/chat/completions",
        {"model": server.model, "messages": STORY, "stream_options": {"include_usage": True}},
    )
    assert answer.status_code == 400
    assert "stream" in answer.json()["error"]["message"]


def test_an_error_before_the_first_chunk_is_plain_http(server):
    answer = server.post(
        "/v1/chat/completions", {"model": "no-such-model", "messages": STORY, "stream": True}
    )
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/json")

"""The `anthropic` client against POST /v1/messages. The library reads streams itself: what it assembles must be whole."""

import json

import anthropic
import pytest

ASK = [{"role": "user", "content": "Tell me a story."}]
TOOL = {"name": "look", "description": "Looks at a place.", "input_schema": {
    "type": "object", "properties": {"place": {"type": "string", "maxLength": 8}, "deep": {"type": "boolean"}},
    "required": ["place", "deep"], "additionalProperties": False}}


@pytest.fixture(scope="module")
def claude(server):
    with anthropic.Anthropic(base_url=server.url, api_key=server.key or "none", max_retries=0, timeout=120) as c:
        yield c


def create(claude, server, **how):
    """messages.create(); what newer clients have no argument for goes as it is on the wire"""
    extra = {"temperature": 0} | how.pop("extra_body", {})
    extra |= {name: how.pop(name) for name in ("temperature", "top_p", "top_k") if name in how}
    return claude.messages.create(
        **({"model": server.model, "max_tokens": 12, "messages": ASK} | how), extra_body=extra)


def text_of(message):
    return "".join(b.text for b in message.content if b.type == "text")


def test_shape(claude, server):
    message = create(claude, server)
    assert message.type == "message" and message.role == "assistant" and message.model == server.model
    assert message.id.startswith("msg_") and message.stop_reason in ("max_tokens", "end_turn")
    assert text_of(message) and message.stop_sequence is None


def test_usage(claude, server):
    usage = create(claude, server, max_tokens=7, extra_body={"ignore_eos": True}).usage
    assert usage.output_tokens == 7
    seen = usage.input_tokens + usage.cache_read_input_tokens
    assert seen == claude.messages.count_tokens(model=server.model, messages=ASK).input_tokens


def test_equals_chat_completions(claude, server):
    same = server.chat(messages=ASK, max_tokens=12)["choices"][0]["message"]["content"]
    assert text_of(create(claude, server)) == same


@pytest.mark.parametrize("limit", [1, 2, 20])
def test_the_limit_ends_it(claude, server, limit):
    message = create(claude, server, max_tokens=limit, extra_body={"ignore_eos": True})
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == limit


def test_a_stop_sequence_ends_it(claude, server):
    whole = text_of(create(claude, server, max_tokens=24))
    stop = whole[4:9]
    message = create(claude, server, max_tokens=24, stop_sequences=[stop])
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    assert text_of(message) == whole[: whole.index(stop)].rstrip() or stop not in text_of(message)


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_a_system_prompt_counts(claude, server, system):
    with_it = claude.messages.count_tokens(model=server.model, messages=ASK, system=system).input_tokens
    assert with_it > claude.messages.count_tokens(model=server.model, messages=ASK).input_tokens
    assert text_of(create(claude, server, system=system)) is not None


@pytest.mark.parametrize("content", ["Hello!", [{"type": "text", "text": "Hello!"}],
                                     [{"type": "text", "text": "He"}, {"type": "text", "text": "llo!"}]])
def test_content_as_text_and_as_blocks(claude, server, content):
    assert create(claude, server, messages=[{"role": "user", "content": content}]).usage.output_tokens >= 1


def test_turns(claude, server):
    turns = [*ASK, {"role": "assistant", "content": "Once."}, {"role": "user", "content": "And then?"}]
    more = claude.messages.count_tokens(model=server.model, messages=turns).input_tokens
    assert more > claude.messages.count_tokens(model=server.model, messages=ASK).input_tokens
    assert create(claude, server, messages=turns).role == "assistant"


def test_a_seed_repeats_and_temperature_varies(claude, server):
    texts = [text_of(create(claude, server, temperature=1, max_tokens=16, extra_body={"seed": s})) for s in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) > 1


@pytest.mark.parametrize("how", [{"top_p": 0.5}, {"top_k": 1}, {"temperature": 0.3, "top_k": 5}])
def test_sampling_parameters(claude, server, how):
    assert create(claude, server, **how).usage.output_tokens >= 1


def test_streaming_assembles_the_whole(claude, server):
    whole = create(claude, server, max_tokens=24)
    with claude.messages.stream(model=server.model, max_tokens=24, messages=ASK,
                                extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == text_of(whole)
    assert final.stop_reason == whole.stop_reason and final.usage.output_tokens == whole.usage.output_tokens


def test_stream_events_come_in_order(claude, server):
    events = [e.type for e in create(claude, server, stream=True)]
    assert events[0] == "message_start" and events[-1] == "message_stop"
    assert events.index("content_block_start") < events.index("content_block_delta") < events.index("content_block_stop")
    assert events.count("message_delta") == 1 and events.index("message_delta") > events.index("content_block_stop")


def test_a_stream_may_be_left(claude, server):
    with claude.messages.stream(model=server.model, max_tokens=500, messages=ASK,
                                extra_body={"ignore_eos": True}) as stream:
        next(iter(stream.text_stream))
    server.wait_idle()


def tool_uses(message):
    return [b for b in message.content if b.type == "tool_use"]


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "look"}])
def test_a_tool_is_used_when_it_must_be(claude, server, choice):
    message = create(claude, server, max_tokens=80, temperature=1, tools=[TOOL], tool_choice=choice,
                     extra_body={"seed": 4})
    use = tool_uses(message)[0]
    assert use.name == "look" and set(use.input) == {"place", "deep"} and isinstance(use.input["deep"], bool)
    assert len(use.input["place"]) <= 8 and use.id


def test_a_streamed_tool_use_is_valid_json(claude, server):
    with claude.messages.stream(model=server.model, max_tokens=80, messages=ASK, tools=[TOOL],
                                tool_choice={"type": "tool", "name": "look"},
                                extra_body={"temperature": 1, "seed": 6}) as stream:
        pieces = "".join(e.partial_json for e in stream if e.type == "input_json")
        final = stream.get_final_message()
    assert json.loads(pieces) == tool_uses(final)[0].input


def test_tool_results_go_back(claude, server):
    turns = [*ASK, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look",
                                                       "input": {"place": "sea", "deep": True}}]},
             {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "fish"}]}]
    template = "{% for m in messages %}{{ m.content or m.tool_calls }}{% endfor %}"
    message = create(claude, server, messages=turns, tools=[TOOL], extra_body={"chat_template": template})
    assert message.role == "assistant"


def test_no_tool_when_there_must_be_none(claude, server):
    message = create(claude, server, tools=[TOOL], tool_choice={"type": "none"})
    assert not tool_uses(message)


@pytest.mark.parametrize("how, error", [
    ({"messages": []}, anthropic.BadRequestError),
    ({"max_tokens": 0}, anthropic.BadRequestError),
    ({"temperature": -1}, anthropic.BadRequestError),
    ({"tool_choice": {"type": "any"}}, anthropic.BadRequestError),
    ({"tools": [TOOL | {"input_schema": {"type": "strong"}}], "tool_choice": {"type": "any"}},
     anthropic.BadRequestError),
    ({"messages": [{"role": "robot", "content": "x"}]}, anthropic.BadRequestError),
    ({"messages": [{"role": "user", "content": "x " * 5000}]}, anthropic.BadRequestError),
    ({"model": "no-such-model"}, anthropic.NotFoundError),
])
def test_errors_have_their_class(claude, server, how, error):
    with pytest.raises(error) as raised:
        create(claude, server, **how)
    body = raised.value.body
    assert body["type"] == "error" and body["error"]["type"] and body["error"]["message"]


def test_a_wrong_key_is_refused(server):
    if not server.key:
        pytest.skip("the server has no key")
    with anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as c:
        with pytest.raises(anthropic.AuthenticationError):
            c.messages.create(model=server.model, max_tokens=1, messages=ASK)

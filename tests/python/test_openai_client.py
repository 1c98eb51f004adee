"""What users do with the `openai` client: each case is one call as a program would make it."""

import json

import openai
import pytest

ASK = [{"role": "user", "content": "Tell me a story."}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {
    "type": "object", "properties": {"place": {"type": "string", "maxLength": 8}, "deep": {"type": "boolean"}},
    "required": ["place", "deep"], "additionalProperties": False}}}


def chat(client, server, **how):
    return client.chat.completions.create(
        **({"model": server.model, "messages": ASK, "max_tokens": 8, "temperature": 0} | how))


@pytest.mark.parametrize("how", [
    {"temperature": 0.7}, {"top_p": 0.5}, {"presence_penalty": 1.0}, {"frequency_penalty": -1.0}, {"seed": 5},
    {"logit_bias": {"50": -100}}, {"user": "somebody"}, {"stop": "zzz"}, {"stop": ["zzz", "yyy"]}, {"n": 1},
    {"max_completion_tokens": 4}, {"store": False}, {"metadata": {"a": "b"}}, {"service_tier": "auto"},
    {"extra_body": {"top_k": 5}}, {"extra_body": {"min_p": 0.1}}, {"extra_body": {"repetition_penalty": 1.2}},
    {"extra_body": {"no_such_field": 1}}, {"response_format": {"type": "text"}}, {"tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": "none"}, {"tools": [TOOL], "parallel_tool_calls": False},
], ids=str)
def test_chat_takes_it(client, server, how):
    out = chat(client, server, **how)
    assert out.choices[0].finish_reason in ("stop", "length", "tool_calls") and out.usage.completion_tokens >= 1


@pytest.mark.parametrize("count", [2, 3])
def test_several_answers(client, server, count):
    out = chat(client, server, n=count, temperature=1, seed=3)
    assert [c.index for c in out.choices] == list(range(count))


@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_chat_logprobs(client, server, top):
    out = chat(client, server, logprobs=True, top_logprobs=top, max_tokens=3)
    for entry in out.choices[0].logprobs.content:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == top and bytes(entry.bytes) is not None


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_by_either_role(client, server, role):
    assert chat(client, server, messages=[{"role": role, "content": "Be brief."}, *ASK]).choices


@pytest.mark.parametrize("usage", [True, False])
def test_stream_joins_to_the_whole(client, server, usage):
    whole = chat(client, server, max_tokens=12).choices[0].message.content
    chunks = list(chat(client, server, max_tokens=12, stream=True, stream_options={"include_usage": usage}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert (chunks[-1].usage is not None) == usage


@pytest.mark.parametrize("seed", range(3))
def test_a_required_tool(client, server, seed):
    out = chat(client, server, tools=[TOOL], tool_choice="required", max_tokens=96, temperature=1, seed=seed,
               parallel_tool_calls=False)
    call = out.choices[0].message.tool_calls[0]
    assert call.function.name == "look" and set(json.loads(call.function.arguments)) == {"place", "deep"}


def test_a_strict_tool_under_auto(client, server):
    tool = {"type": "function", "function": TOOL["function"] | {"strict": True}}
    out = chat(client, server, tools=[tool], temperature=1, seed=2, max_tokens=24)
    assert out.choices[0].message.content or out.choices[0].message.tool_calls


@pytest.mark.parametrize("schema", [{"type": "boolean"}, {"enum": ["a", "b"]}, {"type": "integer", "minimum": 3, "maximum": 9}])
def test_a_schema(client, server, schema):
    import jsonschema
    out = chat(client, server, max_tokens=24, temperature=1, seed=1, response_format={
        "type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}})
    jsonschema.validate(json.loads(out.choices[0].message.content), schema)


@pytest.mark.parametrize("prompt", ["Once", ["Once", "Twice"], [10, 11], [[10, 11], [12]]], ids=str)
def test_prompts(client, server, prompt):
    out = client.completions.create(model=server.model, prompt=prompt, max_tokens=4, temperature=0)
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    assert len(out.choices) == (len(prompt) if several else 1)


@pytest.mark.parametrize("how", [{"echo": True}, {"logprobs": 2}, {"n": 2}, {"best_of": 2}, {"stop": ["q"]}, {"seed": 1}])
def test_completions_take_it(client, server, how):
    assert client.completions.create(model=server.model, prompt="Once", max_tokens=4, **how).choices


@pytest.mark.parametrize("given", ["Tell me a story.", ASK])
def test_responses(client, server, given):
    out = client.responses.create(model=server.model, input=given, max_output_tokens=16, temperature=0)
    assert out.status in ("completed", "incomplete") and out.output_text
    assert client.responses.retrieve(out.id).output_text == out.output_text
    client.responses.delete(out.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(out.id)


def test_a_response_goes_on(client, server):
    first = client.responses.create(model=server.model, input="Hello!", max_output_tokens=16)
    second = client.responses.create(model=server.model, input="More.", previous_response_id=first.id, max_output_tokens=16)
    assert second.usage.input_tokens > first.usage.input_tokens


def test_streamed_responses(client, server):
    events = list(client.responses.create(model=server.model, input="Hello!", max_output_tokens=16, stream=True))
    assert events[0].type == "response.created" and events[-1].type in ("response.completed", "response.incomplete")
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text


@pytest.mark.parametrize("how, error", [
    ({"temperature": -1}, openai.BadRequestError), ({"top_p": 2}, openai.BadRequestError),
    ({"n": 0}, openai.BadRequestError), ({"max_tokens": 0}, openai.BadRequestError),
    ({"messages": []}, openai.BadRequestError), ({"top_logprobs": 3}, openai.BadRequestError),
    ({"tool_choice": "required"}, openai.BadRequestError), ({"model": "none"}, openai.NotFoundError),
    ({"response_format": {"type": "xml"}}, openai.BadRequestError),
    ({"tools": [{"type": "function"}]}, openai.BadRequestError),
    ({"messages": [{"role": "user", "content": "word " * 9000}]}, openai.BadRequestError),
], ids=str)
def test_errors_have_their_class(client, server, how, error):
    with pytest.raises(error) as raised:
        chat(client, server, **how)
    assert raised.value.body["message"] and raised.value.body["type"]


def test_models(client, server):
    assert server.model in [m.id for m in client.models.list()]
    assert client.models.retrieve(server.model).id == server.model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


def test_a_wrong_key(server):
    if not server.key:
        pytest.skip("the server has no key")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as c:
        with pytest.raises(openai.AuthenticationError):
            c.models.list()


def test_a_stream_may_be_left(client, server):
    with chat(client, server, stream=True, max_tokens=400, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))
    server.wait_idle()

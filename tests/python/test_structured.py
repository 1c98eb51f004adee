"""Constrained answers: whatever the model knows, what it finishes is what the request asked for."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 1, "maximum": 99},
        "mood": {"enum": ["glad", "sad", None]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["name", "age", "mood"],
    "additionalProperties": False,
}


def is_person(text):
    value = json.loads(text)
    assert {"name", "age", "mood"} <= set(value) <= set(PERSON["properties"])
    assert len(value["name"]) <= 12 and 1 <= value["age"] <= 99
    assert value["mood"] in PERSON["properties"]["mood"]["enum"]
    return True


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}


@pytest.mark.parametrize("seed", range(4))
def test_json_schema_in_chat(server, seed):
    answer = server.chat(response_format=schema_format(PERSON), max_tokens=200, temperature=1, seed=seed)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop" and is_person(choice["message"]["content"])


def test_json_schema_streams(client, server):
    stream = client.chat.completions.create(
        model=server.model, messages=[{"role": "user", "content": "Who?"}], stream=True,
        response_format=schema_format(PERSON), max_tokens=200, temperature=1, seed=9)
    assert is_person("".join(c.choices[0].delta.content or "" for c in stream if c.choices))


@pytest.mark.parametrize("body, pattern", [
    ({"structured_outputs": {"regex": "[ab]{3}-\\d{2}"}}, "[ab]{3}-[0-9]{2}"),
    ({"guided_regex": "(yes|no)!"}, "(yes|no)!"),
    ({"structured_outputs": {"choice": ["red", "green", "grün"]}}, "red|green|grün"),
    ({"guided_choice": ["one"]}, "one"),
    ({"structured_outputs": {"grammar": 'root ::= "<" [a-c]{2} ">"'}}, "<[a-c]{2}>"),
    ({"guided_grammar": 'root ::= "x" | "y" "z"'}, "x|yz"),
    ({"guided_json": {"const": {"a": [1, None]}}}, r'\{"a": ?\[1, ?null\]\}'),
    ({"structured_outputs": {"json": '{"enum":[true,12]}'}}, "true|12"),
])
def test_constraints_on_completions(server, body, pattern):
    for seed in range(2):
        answer = server.complete(prompt="Say", max_tokens=64, temperature=1, seed=seed, **body)
        choice = answer["choices"][0]
        assert re.fullmatch(pattern, choice["text"]), choice
        assert choice["finish_reason"] == "stop"


def test_several_sequences_each_follow_their_own(server):
    answer = server.complete(prompt="Say", n=4, max_tokens=32, temperature=1,
                             guided_regex="[a-z]{1,6}[.]")
    texts = [c["text"] for c in answer["choices"]]
    assert len(texts) == 4 and all(re.fullmatch("[a-z]{1,6}[.]", t) for t in texts)


def test_json_object(server):
    answer = server.chat(response_format={"type": "json_object"}, max_tokens=24, temperature=1, seed=3)
    assert answer["choices"][0]["message"]["content"].startswith("{")


def test_text_is_no_constraint(server):
    assert server.chat(response_format={"type": "text"})["choices"]


@pytest.mark.parametrize("body, param, says", [
    ({"guided_regex": "("}, "guided_regex", "group"),
    ({"guided_regex": "(a)\\1"}, "guided_regex", "back reference"),
    ({"guided_grammar": "root ::= root"}, "guided_grammar", "left recursion"),
    ({"guided_grammar": "top ::= root"}, "guided_grammar", "root"),
    ({"guided_json": {"$ref": "http://example.com/s"}}, "guided_json", "'$ref'"),
    ({"guided_json": {"type": "strong"}}, "guided_json", "'type'"),
    ({"guided_json": False}, "guided_json", "no text"),
    ({"guided_json": {"format": "hostname"}}, "guided_json", "'format'"),
    ({"guided_json": 3}, "guided_json", "schema"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "strings"),
    ({"guided_json": {}, "guided_regex": "a"}, "guided_regex", "exclude"),
])
def test_what_cannot_be_enforced_is_refused(server, body, param, says):
    answer = server.post("/v1/completions", {"prompt": "x", "model": server.model, **body})
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert error["param"] == param and says in error["message"]
    assert server.complete(prompt="x", max_tokens=1)


def test_a_pathological_schema_hits_a_limit(server):
    bomb = {"oneOf": [{"properties": {f"p{i}{j}": {"type": "string"} for j in range(6)}}
                      for i in range(12)]}
    answer = server.post("/v1/completions", {"prompt": "x", "model": server.model, "guided_json": bomb})
    assert answer.status_code == 400 and "complex" in answer.json()["error"]["message"]


def check(tmp_path, instances, *flags):
    (tmp_path / "i.jsonl").write_text("\n".join(instances) + "\n")
    done = subprocess.run([str(BINARY), "grammar", "check", *flags, "--instances",
                           str(tmp_path / "i.jsonl"), "--json"], capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout)


def test_grammar_check(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(PERSON))
    texts = ['{"mood":null, "age" : 7e0,"name":"\\u0041"}', '{"mood":null,"age":7}', "{}", "", "nul"]
    code, answer = check(tmp_path, texts, "--schema", str(tmp_path / "s.json"))
    assert (code, answer["status"], answer["accepted"]) == (0, "ok", [True, False, False, False, False])
    assert answer["compile_ms"] >= 0
    code, answer = check(tmp_path, ["ab", "abb", "a"], "--regex", "ab+")
    assert answer["accepted"] == [True, True, False]
    (tmp_path / "g.ebnf").write_text('root ::= "(" root? ")"')
    code, answer = check(tmp_path, ["(())", "(()"], "--ebnf", str(tmp_path / "g.ebnf"))
    assert answer["accepted"] == [True, False]
    (tmp_path / "s.json").write_text('{"not":{"uniqueItems":true}}')
    code, answer = check(tmp_path, ["1"], "--schema", str(tmp_path / "s.json"))
    assert (code, answer["status"], answer["keyword"]) == (0, "unsupported", "uniqueItems")
    (tmp_path / "s.json").write_text('{"type":3}')
    code, answer = check(tmp_path, ["1"], "--schema", str(tmp_path / "s.json"))
    assert (code, answer["status"], answer["keyword"]) == (2, "invalid", "type")

"""ramjet parse: a model's output and its template in, the message out."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("RAMJET_BINARY", ROOT / "build" / "ramjet"))
TEMPLATES = ROOT.parent / "shared" / "data" / "chat_templates"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}]

OWN = """{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}{# <tool_call> #}
{%- if add_generation_prompt %}<|assistant|>{% if enable_thinking %}<think>{% endif %}{% endif %}"""

CALL = {"city": "Bern", "days": 2}
PUBLIC = [
    ("Qwen-Qwen3-0.6B", '<think>\nw\n</think>\n\nLook:\n<tool_call>\n{"name": "get_weather", "arguments": '
                        '{"city": "Bern", "days": 2}}\n</tool_call>', "w", "Look:"),
    ("meta-llama-Llama-3.1-8B-Instruct",
     '{"name": "get_weather", "parameters": {"city": "Bern", "days": 2}}', None, None),
    ("Qwen3-Coder", "<tool_call>\n<function=get_weather>\n<parameter=city>\nBern\n</parameter>\n"
                    "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>", None, None),
    ("mistralai-Mistral-Nemo-Instruct-2407",
     '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Bern", "days": 2}, "id": "a1b2c3d4e"}]',
     None, None),
    ("Mistral-Small-3.2-24B-Instruct-2506", '[TOOL_CALLS]get_weather[ARGS]{"city": "Bern", "days": 2}',
     None, None),
    ("deepseek-ai-DeepSeek-V3.1", "t</think>S<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather"
     '<｜tool▁sep｜>{"city": "Bern", "days": 2}<｜tool▁call▁end｜><｜tool▁calls▁end｜>', "t", "S"),
    ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "t\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
     'function<｜tool▁sep｜>get_weather\n```json\n{"city": "Bern", "days": 2}\n```<｜tool▁call▁end｜>'
     "<｜tool▁calls▁end｜>", "t", None),
    ("openai-gpt-oss-120b", "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|channel|>commentary "
     'to=functions.get_weather <|constrain|>json<|message|>{"city": "Bern", "days": 2}<|call|>', "t", None),
    ("GLM-4.6", "\n<think>t</think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bern"
     "</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>", "t", None),
    ("Kimi-K2-Instruct", "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     '<|tool_call_argument_begin|>{"city": "Bern", "days": 2}<|tool_call_end|><|tool_calls_section_end|>',
     None, None),
    ("google-gemma-4-31B-it", '<|tool_call>call:get_weather{city:<|"|>Bern<|"|>,days:2}<tool_call|>',
     None, None),
]


@pytest.fixture
def parse(tmp_path):
    def run(template, output, *flags):
        if not isinstance(template, Path):
            (tmp_path / "t.jinja").write_text(template)
            template = tmp_path / "t.jinja"
        (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
        done = subprocess.run([str(BINARY), "parse", "--template", str(template), "--tools",
                               str(tmp_path / "tools.json"), *flags], input=output, text=True,
                              capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    return run


@pytest.mark.parametrize("name,output,reasoning,content", PUBLIC, ids=[p[0] for p in PUBLIC])
def test_public_templates(parse, name, output, reasoning, content):
    if not TEMPLATES.exists():
        pytest.skip(f"no {TEMPLATES}")
    message = parse(TEMPLATES / f"{name}.jinja", output)
    assert (message["reasoning"], message["content"]) == (reasoning, content)
    [call] = message["tool_calls"]
    assert call["type"] == "function" and call["id"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == CALL


def test_plain_text_is_exact(parse):
    message = parse(OWN, " a < b\n")
    assert message == {"content": " a < b\n", "reasoning": None, "tool_calls": [], "format": "hermes"}


def test_the_prompt_may_open_the_reasoning(parse):
    assert parse(OWN, "x", "--kwargs", '{"enable_thinking": true}')["reasoning"] == "x"
    assert parse(OWN, "x")["content"] == "x"
    assert parse(OWN, "x</think>y")["reasoning"] == "x"


def test_what_is_no_call_is_content(parse):
    text = '<tool_call>{"name": "get_weather", "arguments": {oops</tool_call>'
    message = parse(OWN, text)
    assert message["content"] == text and message["tool_calls"] == []


def test_missing_files_are_named(tmp_path):
    done = subprocess.run([str(BINARY), "parse", "--template", str(tmp_path / "no.jinja")], input="",
                          text=True, capture_output=True, timeout=60)
    assert done.returncode == 2 and "no.jinja" in done.stderr

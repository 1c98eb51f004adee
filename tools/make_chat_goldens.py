#!/usr/bin/env python3
"""Makes tests/data/chat/goldens.json: what transformers' jinja2 renders for each chat template;
and fills in the results of tests/data/chat/language.json and features.json, tables of the language's
features.

Usage: tools/make_chat_goldens.py [folder of *.jinja ...]   (default: ../shared/data/chat_templates
and tests/data/chat/templates). Each result is a hash and a size, or for the project's own small
templates the text; {"error": true} where the template raises. Contexts stand in
tests/data/chat/contexts.json.
"""
import copy
import datetime
import json
import sys
from pathlib import Path

from transformers.utils import chat_template_utils

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data" / "chat"
NOW = "2024-07-26T12:34:56"


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromisoformat(NOW)


chat_template_utils.datetime = FixedTime


def render(source, context):
    """The text, or None where the template raises."""
    try:
        return chat_template_utils._cached_compile_jinja_template(source).render(**context)
    except Exception:
        return None


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return f"{h:016x}"


def fill_language_table(path):
    table = json.loads(path.read_text())
    for case in table["cases"]:
        text = render(case["template"], copy.deepcopy(table["context"]))
        case.pop("text", None)
        case.pop("error", None)
        case.update({"error": True} if text is None else {"text": text})
    path.write_text(json.dumps(table, indent=0, ensure_ascii=False) + "\n")
    print(f"{path}: {len(table['cases'])} cases")


# Contexts whose messages suit apply_chat_template as they are, and those whose end is continued.
CHATS = ["plain+gen", "system+gen", "multi+gen", "multi_nosys", "thinking+gen", "no_thinking+gen",
         "tools+gen", "tools_nosys+gen", "tool_result+gen", "tool_dialog+gen", "two_calls+gen",
         "two_calls_nocontent", "no_ids+gen", "ends_with_assistant", "kwargs+gen"]
CONTINUED = ["ends_with_assistant", "multi", "thinking", "tool_dialog", "system"]


def apply_chat_template(source, context, continue_final_message):
    """As PreTrainedTokenizerBase.apply_chat_template renders; None where it raises."""
    values = copy.deepcopy(context)
    messages = [{k: v for k, v in m.items() if v is not None} for m in values.pop("messages")]
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            [messages], chat_template=source, continue_final_message=continue_final_message, **values)
        return rendered[0]
    except Exception:
        return None


def result(text, with_text):
    if text is None:
        return {"error": True}
    if with_text:
        return {"text": text}
    return {"bytes": len(text.encode()), "fnv1a": fnv1a(text.encode())}


def main():
    fill_language_table(DATA / "language.json")
    fill_language_table(DATA / "features.json")
    folders = [Path(p) for p in sys.argv[1:]] or [ROOT.parent / "shared/data/chat_templates",
                                                  DATA / "templates"]
    contexts = json.loads((DATA / "contexts.json").read_text())
    goldens = {"now": NOW, "templates": {}, "chats": {}}
    chat_template_utils._compile_jinja_template = chat_template_utils._cached_compile_jinja_template
    for path in sorted(p for folder in folders for p in folder.glob("*.jinja")):
        source = path.read_text()
        is_own = path.parent == DATA / "templates"
        goldens["templates"][path.name] = {
            name: result(render(source, copy.deepcopy(context)), is_own)
            for name, context in contexts.items()}
        chats = goldens["chats"][path.name] = {}
        for name in CHATS:
            chats[name] = result(apply_chat_template(source, contexts[name], False), is_own)
        for name in CONTINUED:
            chats["continue:" + name] = result(apply_chat_template(source, contexts[name], True),
                                               is_own)
    out = DATA / "goldens.json"
    out.write_text(json.dumps(goldens, indent=0, ensure_ascii=False) + "\n")
    print(f"{out}: {len(goldens['templates'])} templates x {len(contexts)} contexts")


if __name__ == "__main__":
    main()

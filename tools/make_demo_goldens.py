#!/usr/bin/env python3
"""tests/data/demo_goldens.json: the demo model's logits and greedy tokens, as `transformers` gives
them.

    python tools/make_demo_goldens.py

The form is that of make_family_goldens.py without whole rows, plus each prompt's text or messages,
so that tokenizer and chat template are compared too.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from golden_checkpoints import golden_prompt

MODEL = Path("models/demo")
OUT = Path("tests/data/demo_goldens.json")
CHATS = [
    [{"role": "user", "content": "Hello!"}],
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! How can I help you?"},
        {"role": "user", "content": "Tell me about the river Nile."},
    ],
]
TEXTS = [
    "The old house stood at the end of the road, and",
    "In 1901",
    "Ünïcödé, 日本語 and 🎉:",
    "It was a dark night. The wind was cold, and the rain fell on the roof of the little house by the sea. "
    * 12,
]


def main():
    torch.set_num_threads(1)
    tok = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    rows = []
    for prompt in CHATS + TEXTS:
        if isinstance(prompt, str):
            ids, key = tok(prompt).input_ids, "text"
        else:
            ids, key = (
                tok.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)[
                    "input_ids"
                ],
                "messages",
            )
        row = {key: prompt, **golden_prompt(model, ids)}
        for position in row["positions"]:
            position.pop("row", None)
        rows.append(row)
        print(len(ids), repr(tok.decode(row["greedy"])), min(row["greedy_margins"]))
    goldens = {
        "family": "demo",
        "dtype": "bfloat16",
        "vocab_size": model.config.vocab_size,
        "prompts": rows,
    }
    text = json.dumps(goldens, separators=(",", ":"), ensure_ascii=False)
    OUT.write_text(text.replace('{"pos"', '\n {"pos"') + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What `transformers` finds by beam search on the tiny checkpoints: tests/data/beam_goldens.json.

    python tools/make_beam_goldens.py

A case: model, prompt, width, length_penalty, early_stopping (true, false or "never"), eos (an id
made likely by choosing one that greedy generation meets), max_tokens, and the beams found, best
first, each with its ids (the end id included) and its score.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

DATA = Path("tests/data")
MODELS = ("llama", "qwen3", "mistral-window")
WAYS = (
    (2, 1.0, False),
    (4, 1.0, False),
    (4, 0.0, True),
    (3, 2.0, "never"),
    (5, -0.5, "never"),
    (4, 1.5, True),
    (1, 1.0, False),
)
MAX_TOKENS = 14


@torch.no_grad()
def beams(model, ids, eos, width, penalty, early):
    out = model.generate(
        torch.tensor([ids]),
        num_beams=max(width, 2) if width > 1 else 1,
        num_return_sequences=width,
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        length_penalty=penalty,
        early_stopping=early,
        eos_token_id=eos,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    found = []
    for i, sequence in enumerate(out.sequences.tolist()):
        new = sequence[len(ids) :]
        if eos in new:
            new = new[: new.index(eos) + 1]
        score = out.sequences_scores[i].item() if width > 1 else None
        found.append({"ids": new, "score": score and round(score, 5)})
    return found


def main():
    torch.set_num_threads(1)
    cases = []
    for name in MODELS:
        folder = DATA / "models" / name
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        prompts = json.loads((folder / "goldens.json").read_text())["prompts"]
        for i, (width, penalty, early) in enumerate(WAYS):
            prompt = prompts[1 + i % 2]
            eos = prompt["greedy"][3 + 2 * (i % 3)]
            cases.append(
                {
                    "model": name,
                    "ids": prompt["ids"],
                    "width": width,
                    "length_penalty": penalty,
                    "early_stopping": early,
                    "eos": eos,
                    "max_tokens": MAX_TOKENS,
                    "beams": beams(model, prompt["ids"], eos, width, penalty, early),
                }
            )
    text = json.dumps({"cases": cases}, separators=(",", ":")).replace('{"model"', '\n{"model"')
    (DATA / "beam_goldens.json").write_text(text + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()

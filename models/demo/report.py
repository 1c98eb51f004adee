"""Draws loss.png from loss.json and writes samples.json with `transformers`, for the model card.

python models/demo/report.py [--model models/demo]
"""

import argparse
import json
from pathlib import Path

CHAT = [
    "Hello!",
    "Who are you?",
    "What is the capital of Norway?",
    "Tell me about the history of London.",
    "Tell me a story about a lion.",
    "Who was Isaac Newton?",
    "Summarize this text:\n\nThe fire began in the kitchen of a small hotel shortly after midnight. "
    "Twelve guests were led to safety by the night porter, and nobody was hurt. The owner said on "
    "Monday that the hotel would open again in the spring.",
]
TEXT = ["The old house stood", "The river Thames", '"I do not believe you," said the captain,']


def plot(run, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), dpi=80)
    left.plot(*zip(*run["train"]), linewidth=0.8)
    left.set(xlabel="step", ylabel="training loss (nats a token)", ylim=(2.2, 5))
    for name in ("wiki", "novels", "chat"):
        right.plot(
            [s for s, _ in run["held"]], [b[name] for _, b in run["held"]], label=name, marker="."
        )
    right.set(xlabel="step", ylabel="held-out bits a byte")
    right.legend()
    for axis in (left, right):
        axis.axvline(run["steps"] * run["chat_from"], color="grey", linewidth=0.7, linestyle=":")
        axis.grid(alpha=0.3)
    fig.tight_layout()
    fig.savefig(path, metadata={"Software": None})


def samples(folder, path):
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    torch.set_num_threads(1)
    tok = AutoTokenizer.from_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def run(ids, **how):
        torch.manual_seed(1)
        out = model.generate(ids, max_new_tokens=120, **how)
        return tok.decode(out[0, ids.shape[1] :], skip_special_tokens=True)

    rows = []
    for prompt in CHAT + TEXT:
        if prompt in CHAT:
            ids = tok.apply_chat_template(
                [{"role": "user", "content": prompt}],
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
            )["input_ids"]
        else:
            ids = tok(prompt, return_tensors="pt").input_ids
        rows.append(
            {
                "kind": "chat" if prompt in CHAT else "text",
                "prompt": prompt,
                "greedy": run(ids, do_sample=False, temperature=None, top_p=None),
                "sampled": run(ids, do_sample=True, temperature=0.7, top_p=0.9),
            }
        )
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", type=Path, default=Path("models/demo"))
    a = p.parse_args()
    plot(json.loads((a.model / "loss.json").read_text()), a.model / "loss.png")
    samples(a.model, a.model / "samples.json")


if __name__ == "__main__":
    main()

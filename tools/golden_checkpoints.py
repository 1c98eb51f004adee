"""What the makers of golden checkpoints share: folders, seeds, prompts, and what `transformers`
makes of them."""

import argparse
import copy
import json
import shutil
from pathlib import Path

import torch

LENGTHS = (1, 5, 40, 100)
GREEDY = 24
TOP = 8
MARGIN = 0.02


def rope(kind, theta=10000.0, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **more}}


def fresh_folder(out, name):
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def save_bf16(model, folder, dropped, **more):
    """the model rounded to bf16, and its configuration without the fields dropped"""
    # A copy: the rope's frequencies must not be rounded.
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in sorted(config.items()) if k not in dropped and v is not None}
    config.update(torch_dtype="bfloat16", **more)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def plain_modes(folder):
    for file in folder.iterdir():
        file.chmod(0o644)


def prompt_generator(seed):
    return torch.Generator().manual_seed(1000 + seed)


def random_ids(gen, vocab, count):
    return torch.randint(3, vocab, (count,), generator=gen).tolist()


@torch.no_grad()
def logits_of(model, ids):
    """one row a position, from one pass without a cache"""
    return model(torch.tensor([ids]), use_cache=False).logits[0].float()


@torch.no_grad()
def golden_prompt(model, ids):
    rows = logits_of(model, ids)
    last = len(ids) - 1
    positions = []
    for pos in sorted({0, min(1, last), last, *range(7, last, 8)}):
        row = rows[pos]
        best = torch.topk(row, TOP)
        entry = {
            "pos": pos,
            "logsumexp": round(torch.logsumexp(row, 0).item(), 5),
            "top": [
                [int(i), round(v, 5)] for v, i in zip(best.values.tolist(), best.indices.tolist())
            ],
        }
        if pos == last:
            entry["row"] = [round(x, 5) for x in row.tolist()]
        positions.append(entry)
    seq, logprobs, margins, cache = list(ids), [], [], None
    for step in range(GREEDY):
        out = model(
            torch.tensor([seq[-1:] if step else seq]), past_key_values=cache, use_cache=True
        )
        row, cache = out.logits[0, -1].float(), out.past_key_values
        best = torch.topk(row, 2)
        seq.append(int(best.indices[0]))
        logprobs.append(round((best.values[0] - torch.logsumexp(row, 0)).item(), 5))
        margins.append(round((best.values[0] - best.values[1]).item(), 5))
    return {
        "ids": ids,
        "positions": positions,
        "greedy": seq[len(ids) :],
        "greedy_logprobs": logprobs,
        "greedy_margins": margins,
    }


def write_json_lines(path, value):
    """an input and a position a line"""
    text = (
        json.dumps(value, separators=(",", ":"))
        .replace('{"ids"', '\n{"ids"')
        .replace('{"pos"', '\n {"pos"')
    )
    path.write_text(text + "\n")


def write_goldens(model, folder, dtype, seed, lengths=LENGTHS):
    """goldens.json of random prompts; the least margin of a greedy choice"""
    gen, vocab = prompt_generator(seed), model.config.vocab_size
    prompts = [random_ids(gen, vocab, n) for n in lengths]
    goldens = {
        "family": folder.name,
        "dtype": dtype,
        "vocab_size": vocab,
        "prompts": [golden_prompt(model, p) for p in prompts],
    }
    write_json_lines(folder / "goldens.json", goldens)
    return min(min(p["greedy_margins"]) for p in goldens["prompts"])


def first_clear(try_seed, out, name, seed, limit=300_000):
    """the first seed from the given one, in hundreds, whose greedy choices are all clear"""
    while (margin := try_seed(out, name, seed)) < MARGIN:
        seed += 100
    size = sum(f.stat().st_size for f in (out / name).iterdir())
    if size > limit:
        raise SystemExit(f"{name}: {size} bytes, more than {limit}")
    print(f"{name}: {size} bytes, seed {seed}, smallest greedy margin {margin:.4f}", flush=True)


def run(doc, names, folder, make):
    """make(out, name, index) for each name asked for"""
    p = argparse.ArgumentParser(description=doc.splitlines()[0])
    p.add_argument("--out", type=Path, default=Path(folder))
    p.add_argument("--only", nargs="*", default=list(names))
    a = p.parse_args()
    torch.set_num_threads(1)
    for name in a.only:
        make(a.out, name, list(names).index(name))

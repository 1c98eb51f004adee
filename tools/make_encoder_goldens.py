#!/usr/bin/env python3
"""Tiny random encoders with what `transformers` makes of them.

    python tools/make_encoder_goldens.py [--only NAME ...] [--out tests/data/encoders]

Each folder holds a Hugging Face checkpoint and `goldens.json`: inputs {"ids", "token_types"}, and
for each its hidden rows ("hidden", of the first and last token), the mean of all of them ("mean"),
and the head's logits if there is one ("scores", of each token for heads of tokens). Computed in
float32 from the weights as stored, each input alone, without padding.
"""

import torch
from golden_checkpoints import fresh_folder, plain_modes, prompt_generator, random_ids, run
from golden_checkpoints import save_bf16, write_json_lines
from transformers import AutoConfig, AutoModel
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

LENGTHS = (1, 7, 33, 90)
BERT = dict(
    vocab_size=128,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    max_position_embeddings=96,
    type_vocab_size=2,
)
ROBERTA = {**BERT, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
DISTILBERT = dict(
    vocab_size=128, dim=64, n_layers=2, n_heads=2, hidden_dim=96, max_position_embeddings=96
)
# name: (model_type, class, config)
MODELS = {
    "bert": ("bert", AutoModel, BERT),
    "bert-classes": ("bert", AutoModelForSequenceClassification, {**BERT, "num_labels": 3}),
    "bert-tokens": (
        "bert",
        AutoModelForTokenClassification,
        {**BERT, "num_labels": 5, "hidden_act": "gelu_new"},
    ),
    "roberta-classes": (
        "roberta",
        AutoModelForSequenceClassification,
        {**ROBERTA, "num_labels": 4},
    ),
    "distilbert-classes": (
        "distilbert",
        AutoModelForSequenceClassification,
        {**DISTILBERT, "num_labels": 2},
    ),
}
DROPPED = {"transformers_version", "dtype", "initializer_range", "use_cache"}


def scaled_weights(model, seed):
    gen = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=gen)
        if "norm" in name.lower() and name.endswith("weight"):
            p.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            p.data = 0.3 * noise
        elif "embeddings" in name:
            p.data = 0.5 * noise
        else:
            p.data = noise * (1.4 / p.shape[1] ** 0.5)
        p.data = p.data.bfloat16().float()


def rounded(tensor):
    return [round(x, 5) for x in tensor.flatten().tolist()]


@torch.no_grad()
def golden(model, model_type, ids, types):
    extra = {} if model_type == "distilbert" else {"token_type_ids": torch.tensor([types])}
    out = model(torch.tensor([ids]), output_hidden_states=True, **extra)
    rows = out.hidden_states[-1][0]
    item = {"ids": ids, "token_types": types}
    item["hidden"] = [rounded(rows[0]), rounded(rows[-1])]
    item["mean"] = rounded(rows.mean(0))
    if hasattr(out, "logits"):
        item["scores"] = rounded(out.logits)
    return item


def make(out, name, seed):
    model_type, kind, config = MODELS[name]
    folder = fresh_folder(out, name)
    made = AutoConfig.for_model(model_type, **config)
    made._attn_implementation = "eager"
    model = kind.from_config(made).float().eval()
    scaled_weights(model, seed)
    save_bf16(model, folder, DROPPED)
    plain_modes(folder)
    gen = prompt_generator(seed)
    items = []
    for n in LENGTHS:
        ids = random_ids(gen, 128, n)
        types = [int(i >= n // 2 and model_type == "bert") for i in range(n)]
        items.append(golden(model, model_type, ids, types))
    write_json_lines(folder / "goldens.json", {"inputs": items})
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {size} bytes", flush=True)


if __name__ == "__main__":
    run(__doc__, MODELS, "tests/data/encoders", make)

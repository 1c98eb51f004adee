#!/usr/bin/env python3
"""Tiny random checkpoints of the mixture-of-experts families, with what `transformers` makes of
them; files and fields as in make_family_goldens.py.

    python tools/make_moe_goldens.py [--only NAME ...] [--out tests/data/models]

Weights are stored under the names that published checkpoints have: each expert's own matrices
(Mixtral, Qwen), or stacked ones (GPT-OSS, in bf16 or in four-bit floats, which are written here as
the published checkpoints lay them out and whose goldens come from the values they stand for).
"""

import torch
from golden_checkpoints import first_clear, fresh_folder, plain_modes, rope, run, save_bf16
from golden_checkpoints import write_goldens
from make_family_goldens import BASE
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {**BASE, "vocab_size": 128}
OSS = dict(
    num_local_experts=4,
    num_experts_per_tok=2,
    intermediate_size=32,
    head_dim=16,
    sliding_window=16,
    layer_types=["sliding_attention", "full_attention"],
    swiglu_limit=1.5,  # so that some values are clamped
    **rope(
        "yarn",
        150000.0,
        factor=4.0,
        original_max_position_embeddings=32,
        beta_fast=32.0,
        beta_slow=1.0,
        truncate=False,
    ),
)
QWEN2 = dict(
    num_hidden_layers=3,
    num_experts=6,
    num_experts_per_tok=3,
    moe_intermediate_size=16,
    shared_expert_intermediate_size=32,
    norm_topk_prob=False,
    mlp_only_layers=[1],
    use_sliding_window=False,
    **rope("default", 1e6),
)
QWEN3 = dict(
    num_experts=8,
    num_experts_per_tok=2,
    moe_intermediate_size=16,
    norm_topk_prob=True,
    decoder_sparse_step=2,
    head_dim=32,
    num_attention_heads=3,
    num_key_value_heads=1,
    use_sliding_window=False,
    **rope("default", 1e6),
)
MIXTRAL = dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=32, **rope("default"))

# name: (model_type, config)
FAMILIES = {
    "mixtral": ("mixtral", MIXTRAL),
    "qwen2-moe": ("qwen2_moe", QWEN2),
    "qwen3-moe": ("qwen3_moe", QWEN3),
    "gpt-oss": ("gpt_oss", OSS),
    "gpt-oss-mxfp4": ("gpt_oss", OSS),
}
# Some draws have tokens whose experts nearly tie, which bf16 or int8 then choose otherwise: these
# two begin where the bf16 check of family_golden_test.cc passes.
FIRST_SEED = {"mixtral": 400, "gpt-oss": 400}
DROPPED = {"transformers_version", "dtype", "initializer_range", "output_router_logits"}
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def scaled_weights(model, seed):
    """weights under which attention, experts and sinks all matter and the next token is clear"""
    gen = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=gen)
        if name.endswith("norm.weight"):
            p.data = 1.0 + 0.2 * noise
        elif name.endswith("bias"):
            p.data = 0.3 * noise
        elif name.endswith("sinks"):
            p.data = noise
        elif "embed_tokens" in name:
            p.data = 0.5 * noise
        elif "lm_head" in name:
            p.data = 0.4 * noise
        elif p.dim() == 3:  # [experts, out, in], in GPT-OSS [experts, in, out]
            fan_in = p.shape[1] if model.config.model_type == "gpt_oss" else p.shape[2]
            p.data = noise * (1.6 / fan_in**0.5)
        else:
            p.data = noise * (1.4 / p.shape[1] ** 0.5)
        p.data = p.data.bfloat16().float()


def four_bits(stored):
    """[experts, in, out] -> blocks [experts, out, in / 32, 16], exponents [experts, out, in / 32],
    and the values they stand for, [experts, in, out]"""
    x = stored.float().transpose(1, 2)
    groups = x.reshape(*x.shape[:2], -1, 32)
    exponent = torch.floor(torch.log2(groups.abs().amax(-1).clamp(min=2.0**-60))) - 2
    scale = torch.exp2(exponent)[..., None]
    codes = (groups / scale)[..., None].sub(E2M1).abs().argmin(-1)
    codes = torch.where(E2M1[codes] == 0, 0, codes)
    blocks = (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8)
    values = (E2M1[codes] * scale).reshape(x.shape).transpose(1, 2).contiguous()
    return blocks, (exponent + 127).to(torch.uint8), values


def quantize_experts(model, folder):
    """replaces the experts' matrices in the file, and in the model by what the file stands for"""
    path = folder / "model.safetensors"
    tensors = load_file(str(path))
    parameters = dict(model.named_parameters())
    for name in [n for n in tensors if n.endswith(("gate_up_proj", "down_proj"))]:
        blocks, exponents, values = four_bits(tensors.pop(name))
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, exponents
        parameters[name].data = values
    save_file(tensors, str(path), metadata={"format": "pt"})


def try_seed(out, name, seed):
    model_type, config = FAMILIES[name]
    folder = fresh_folder(out, name)
    torch.manual_seed(seed)
    made = AutoConfig.for_model(model_type, **{**SMALL, **config})
    made._attn_implementation = "eager"
    made._experts_implementation = "eager"
    model = AutoModelForCausalLM.from_config(made).float().eval()
    scaled_weights(model, seed)
    four = name.endswith("mxfp4")
    more = {"quantization_config": {"quant_method": "mxfp4"}} if four else {}
    save_bf16(model, folder, DROPPED, **more)
    if four:
        quantize_experts(model, folder)
    plain_modes(folder)
    return write_goldens(model, folder, "bfloat16", seed)


def make(out, name, index):
    first_clear(try_seed, out, name, index + FIRST_SEED.get(name, 0))


if __name__ == "__main__":
    run(__doc__, FAMILIES, "tests/data/models", make)

#!/usr/bin/env python3
"""Tiny random checkpoints of every model family, with what `transformers` makes of them.

    python tools/make_family_goldens.py [--only NAME ...] [--out tests/data/models]

Each folder holds a Hugging Face checkpoint and `goldens.json`:

    {"family": "...", "dtype": "float32|float16|bfloat16",       the dtype the weights are stored in
     "vocab_size": V,
     "prompts": [
       {"ids": [...],                                       the prompt
        "positions": [                                      logits after reading ids[0..pos]
          {"pos": p, "logsumexp": x, "top": [[id, logit], ...]},  top 8
          {"pos": p, ..., "row": [V logits]}],              the whole row, at the last position
        "greedy": [...],                               24 tokens, without stopping at eos
        "greedy_logprobs": [...],                      the log probability of each
        "greedy_margins": [...]}]}                     best logit minus second best

With dynamic RoPE scaling the frequencies depend on the length so far: as in `transformers`, the
prompt is read in one pass, and each greedy token is rotated by its own length while earlier keys
stay (the first two prompts never scale).

Positions are the first two, every eighth, and the last. All is computed in float32 on the CPU from
the weights as stored, so an engine that computes in float32 has to agree to about 1e-4. Everything
is deterministic: seeds are fixed, weights come from torch's CPU generator.
"""

import json

import torch
from golden_checkpoints import LENGTHS, first_clear, fresh_folder, plain_modes, rope, run
from golden_checkpoints import write_goldens as goldens_of
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

BASE = dict(
    vocab_size=192,
    hidden_size=64,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)


LLAMA3 = dict(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
)
YARN = dict(factor=4.0, original_max_position_embeddings=32, beta_fast=32.0, beta_slow=1.0)

# name: (model_type, config, stored dtype, shards, legacy rope keys in config.json)
FAMILIES = {
    "llama": ("llama", rope("default"), "float32", 1),
    "llama-bf16-sharded": (
        "llama",
        dict(
            num_attention_heads=8,
            num_key_value_heads=2,
            num_hidden_layers=3,
            head_dim=16,
            **rope("default", 500000.0),
        ),
        "bfloat16",
        3,
    ),
    "llama-tied-fp16": ("llama", dict(tie_word_embeddings=True, **rope("default")), "float16", 1),
    "llama-rope-llama3": ("llama", rope("llama3", 500000.0, **LLAMA3), "float32", 1),
    "llama-rope-linear": ("llama", rope("linear", factor=2.5), "float32", 1),
    "llama-rope-dynamic": (
        "llama",
        dict(max_position_embeddings=32, **rope("dynamic", factor=4.0)),
        "float32",
        1,
    ),
    "llama-rope-yarn": (
        "llama",
        dict(max_position_embeddings=128, **rope("yarn", **YARN)),
        "float32",
        1,
    ),
    "mistral-window": (
        "mistral",
        dict(sliding_window=24, head_dim=16, **rope("default")),
        "float32",
        1,
    ),
    "mistral-bf16": (
        "mistral",
        dict(sliding_window=None, head_dim=32, **rope("default", 1e6)),
        "bfloat16",
        1,
    ),
    "qwen2": ("qwen2", dict(use_sliding_window=False, **rope("default", 1e6)), "float32", 2),
    "qwen2-tied-bf16": (
        "qwen2",
        dict(use_sliding_window=False, tie_word_embeddings=True, **rope("default", 1e6)),
        "bfloat16",
        1,
    ),
    "qwen3": (
        "qwen3",
        dict(
            num_attention_heads=3,
            num_key_value_heads=1,
            intermediate_size=32,
            head_dim=32,
            use_sliding_window=False,
            attention_bias=False,
            **rope("default", 1e6),
        ),
        "float32",
        1,
    ),
    "qwen3-tied-fp16": (
        "qwen3",
        dict(
            head_dim=32,
            use_sliding_window=False,
            attention_bias=False,
            tie_word_embeddings=True,
            **rope("default", 1e6),
        ),
        "float16",
        1,
    ),
}

# The rest are smaller. Beside what transformers' configuration wants: fields of config.json alone.
SMALL = dict(vocab_size=160, hidden_size=32, intermediate_size=40, pad_token_id=0)
LONG = dict(
    short_factor=[1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
    long_factor=[1.1, 1.5, 2.0, 3.0, 5.0, 8.0],
    original_max_position_embeddings=48,
)


def small(model_type, dtype="bfloat16", written=None, **config):
    return model_type, {**SMALL, **config}, dtype, 1, written or {}


def layers_of(pattern):
    return [{"s": "sliding_attention", "f": "full_attention"}[c] for c in pattern]


FAMILIES.update(
    {
        "gemma": small("gemma", num_key_value_heads=1, head_dim=16, tie_word_embeddings=True),
        "gemma2": small(
            "gemma2",
            head_dim=16,
            tie_word_embeddings=True,
            query_pre_attn_scalar=12,
            sliding_window=24,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=8.0,
        ),
        "gemma3": small(
            "gemma3_text",
            head_dim=16,
            num_hidden_layers=3,
            tie_word_embeddings=True,
            query_pre_attn_scalar=20,
            sliding_window=24,
            layer_types=layers_of("ssf"),
            rope_parameters={
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 50000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1000.0},
            },
            written=dict(layer_types=None, sliding_window_pattern=3),
        ),
        "phi3": small("phi3", num_key_value_heads=4, sliding_window=20, **rope("default")),
        "phi4-mini-longrope": small(
            "phi3",
            hidden_size=64,
            tie_word_embeddings=True,
            original_max_position_embeddings=48,
            **rope("longrope", partial_rotary_factor=0.75, **LONG),
        ),
        "gpt2": small(
            "gpt2", n_inner=96, tie_word_embeddings=True, written=dict(intermediate_size=None)
        ),
        "olmo2": small("olmo2", attention_bias=False, **rope("default", 500000.0)),
        "granite": small(
            "granite",
            tie_word_embeddings=True,
            embedding_multiplier=1.25,
            attention_multiplier=0.2,
            residual_multiplier=0.7,
            logits_scaling=2.0,
            **rope("default"),
        ),
        "smollm3": small(
            "smollm3",
            num_hidden_layers=3,
            no_rope_layer_interval=3,
            tie_word_embeddings=True,
            **rope("default", 2e6),
        ),
        "glm": small("glm", head_dim=16, attention_bias=True, **rope("default")),
        "glm4": small("glm4", head_dim=16, attention_bias=True, **rope("default")),
        "starcoder2": small(
            "starcoder2", tie_word_embeddings=True, sliding_window=24, **rope("default", 1e5)
        ),
        "stablelm": small(
            "stablelm",
            hidden_size=48,
            num_attention_heads=3,
            num_key_value_heads=1,
            use_qkv_bias=True,
            **rope("default", partial_rotary_factor=0.25),
        ),
        "stablelm-parallel": small(
            "stablelm", use_parallel_residual=True, **rope("default", partial_rotary_factor=0.5)
        ),
        "cohere": small("cohere", tie_word_embeddings=True, logit_scale=0.6, **rope("default")),
        "cohere2": small(
            "cohere2",
            num_hidden_layers=3,
            tie_word_embeddings=True,
            logit_scale=0.6,
            sliding_window=24,
            layer_types=layers_of("ssf"),
            written=dict(layer_types=None, sliding_window_pattern=3),
            **rope("default"),
        ),
        "falcon": small(
            "falcon",
            tie_word_embeddings=True,
            multi_query=True,
            written=dict(intermediate_size=None, num_key_value_heads=None),
            **rope("default"),
        ),
        "falcon-new": small(
            "falcon",
            tie_word_embeddings=True,
            new_decoder_architecture=True,
            num_kv_heads=2,
            ffn_hidden_size=64,
            bias=True,
            written=dict(intermediate_size=None, num_key_value_heads=None),
            **rope("default"),
        ),
        "gpt-neox": small(
            "gpt_neox",
            hidden_size=48,
            num_attention_heads=3,
            written=dict(num_key_value_heads=None),
            **rope("default", partial_rotary_factor=0.25),
        ),
        "phi": small("phi", num_key_value_heads=4, **rope("default", partial_rotary_factor=0.5)),
    }
)
MODERN_ROPE = ("qwen3-tied-fp16", "granite", "glm4")


def scaled_weights(model, seed):
    """weights under which attention and MLP both matter and the next token is clear"""
    gen = torch.Generator().manual_seed(seed)
    gemma = "gemma" in model.config.model_type  # its norms scale by 1 + weight, embeddings by width
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=gen)
        if name.endswith("bias"):
            p.data = 0.3 * noise
        elif p.dim() == 1:
            p.data = (0.0 if gemma else 1.0) + 0.2 * noise
        elif any(part in name for part in ("embed_tokens", "wte", "embed_in", "word_embeddings")):
            p.data = (0.3 if gemma else 0.5) * noise
        elif "wpe" in name:
            p.data = 0.3 * noise
        elif any(part in name for part in ("lm_head", "embed_out")):
            p.data = 0.4 * noise
        elif ".c_" in name and model.config.model_type == "gpt2":
            p.data = noise * (1.4 / p.shape[0] ** 0.5)
        else:
            p.data = noise * (1.4 / p.shape[1] ** 0.5)


def old_rope(config):
    """rope_parameters as configurations had them before: rope_theta, rope_scaling and the like"""
    given = config.pop("rope_parameters", None)
    if given is None:
        return
    if "full_attention" in given:
        config["rope_local_base_freq"] = given["sliding_attention"]["rope_theta"]
        given = given["full_attention"]
    neox = config["model_type"] == "gpt_neox"
    config["rotary_emb_base" if neox else "rope_theta"] = given.pop("rope_theta")
    share = given.pop("partial_rotary_factor", None)
    if share is not None:
        config["rotary_pct" if neox else "partial_rotary_factor"] = share
    if given["rope_type"] == "longrope":
        given = {k: given[k] for k in ("short_factor", "long_factor")} | {"type": "longrope"}
    config["rope_scaling"] = None if given.get("rope_type") == "default" else given


def write_config(model, folder, dtype, name):
    """config.json as most have it: rope_theta and rope_scaling, not rope_parameters"""
    config = json.loads(model.config.to_json_string(use_diff=False))
    keep = {
        "architectures",
        "model_type",
        *BASE,
        "head_dim",
        "hidden_act",
        "rope_parameters",
        "sliding_window",
        "use_sliding_window",
        "attention_bias",
        "mlp_bias",
        "attention_dropout",
        *FAMILIES[name][1],
    }
    if model.config.model_type == "gpt2":
        keep |= {"n_embd", "n_layer", "n_head", "n_positions", "activation_function"}
        keep -= {"num_key_value_heads"}
    keep |= {"hidden_activation", "activation"}
    if eps := {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"} & set(config):
        keep = keep - {"rms_norm_eps"} | eps
    config = {k: v for k, v in sorted(config.items()) if k in keep and v is not None}
    config["architectures"] = [type(model).__name__]
    config["torch_dtype"] = dtype
    if "sliding_window" not in config and model.config.model_type == "mistral":
        config["sliding_window"] = None
    if name not in MODERN_ROPE:
        old_rope(config)
    for field, value in (FAMILIES[name][4:] or ({},))[0].items():
        config.pop(field, None)
        if value is not None:
            config[field] = value
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_weights(model, folder, dtype, shards):
    bare = "transformer." if model.config.model_type == "gpt2" else ""  # as on the hub: no prefix
    head = "embed_out" if model.config.model_type == "gpt_neox" else "lm_head"
    tensors = {
        k.removeprefix(bare).replace("lm_head", head): v.to(getattr(torch, dtype)).contiguous()
        for k, v in model.state_dict().items()
        if not (k == "lm_head.weight" and model.config.tie_word_embeddings)
    }
    if shards == 1:
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
        return
    names, index = sorted(tensors), {}
    for s in range(shards):
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        part = names[s * len(names) // shards : (s + 1) * len(names) // shards]
        save_file({n: tensors[n] for n in part}, str(folder / file), metadata={"format": "pt"})
        index.update({n: file for n in part})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2) + "\n"
    )


def write_goldens(folder, dtype, lengths=LENGTHS, seed=0):
    """from the folder as written, so that the goldens describe what an engine will read"""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return goldens_of(model, folder, dtype, seed, lengths)


def try_seed(out, name, seed):
    model_type, config, dtype, shards = FAMILIES[name][:4]
    folder = fresh_folder(out, name)
    torch.manual_seed(seed)
    model = (
        AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**BASE, **config}))
        .float()
        .eval()
    )
    scaled_weights(model, seed)
    model.tie_weights()
    write_weights(model, folder, dtype, shards)
    write_config(model, folder, dtype, name)
    plain_modes(folder)
    return write_goldens(folder, dtype, seed=seed)


def make_family(out, name, seed):
    first_clear(try_seed, out, name, seed)


if __name__ == "__main__":
    run(__doc__, FAMILIES, "tests/data/models", make_family)

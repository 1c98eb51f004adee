#!/usr/bin/env python3
"""Tiny LoRA adapters for the tiny models of tests/data/models, and what PEFT computes with them.

Usage: tools/make_lora_goldens.py   (needs torch, transformers, peft; run at the repository's root)

Writes tests/data/lora/MODEL/NAME/{adapter_config.json,adapter_model.safetensors,goldens.json}: logits
of prompts at the last positions and a greedy continuation, in f32.
"""
import json
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

ROOT = Path("tests/data/lora")
ADAPTERS = [
    ("tiny-llama", "all", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    ("tiny-llama", "qv", dict(r=8, lora_alpha=16, use_rslora=True,
                              target_modules=["q_proj", "v_proj"])),
    ("qwen2", "part", dict(r=3, lora_alpha=9, target_modules=["k_proj", "o_proj", "up_proj"])),
    ("phi3", "fused", dict(r=4, lora_alpha=4, target_modules=["qkv_proj", "gate_up_proj"])),
    ("gpt2", "conv", dict(r=2, lora_alpha=6, target_modules=["c_attn", "c_fc", "c_proj"],
                          fan_in_fan_out=True)),
]


def make(model_name, name, options, seed):
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(f"tests/data/models/{model_name}",
                                                dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if ".lora_" in key:
                value.copy_(torch.randn_like(value) * (0.15 if ".lora_A" in key else 0.1))
    folder = ROOT / model_name / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = model_name
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    vocab = base.config.vocab_size
    prompts = []
    for length in (5, 40):
        ids = torch.randint(3, vocab, (1, length))
        with torch.no_grad():
            logits = model(ids).logits[0]
            with model.disable_adapter():
                bare = base(ids).logits[0]
            greedy = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                    max_new_tokens=8, min_new_tokens=8, pad_token_id=0)[0, length:]
        positions = []
        for pos in (0, length - 1):
            row = logits[pos]
            top = torch.topk(row, 8)
            positions.append({
                "pos": pos, "logsumexp": round(float(torch.logsumexp(row, 0)), 5),
                "top": [[int(i), round(float(v), 5)] for v, i in zip(top.values, top.indices)],
                "row": [round(float(v), 5) for v in row]})
        print(model_name, name, length, "changes logits by", float((logits - bare).abs().max()))
        prompts.append({"ids": ids[0].tolist(), "positions": positions, "greedy": greedy.tolist()})
    (folder / "goldens.json").write_text(json.dumps({"prompts": prompts}) + "\n")


for index, (model_name, name, options) in enumerate(ADAPTERS):
    make(model_name, name, options, seed=100 + index)

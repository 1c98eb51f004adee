#!/usr/bin/env python3
"""tests/data/models/tiny-llama: random weights under everything that models/demo has, in less than
300 KB.

    python tools/make_tiny_llama.py [--corpora ../shared/data/corpora] [--out FOLDER]

The same kinds of file as the demo model (sharded bf16 safetensors, tokenizer, chat template,
generation config), so that tests of the server and of the tools need no trained model. The
tokenizer is trained on children's stories.
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

import make_family_goldens as family

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "models" / "demo"))
import text_setup  # noqa: E402

CONTEXT = 512
VOCAB = 384


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--corpora", type=Path, default=Path("../shared/data/corpora"))
    p.add_argument("--out", type=Path, default=Path("tests/data/models/tiny-llama"))
    a = p.parse_args()
    shutil.rmtree(a.out, ignore_errors=True)
    texts = [f.read_text() for f in sorted((a.corpora / "african_storybook_en").glob("*.md"))]
    tok = text_setup.train_tokenizer(texts, VOCAB)
    text_setup.write_text_files(a.out, tok, CONTEXT)
    config = {
        **family.BASE,
        **family.rope("default"),
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "head_dim": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 128,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "bos_token_id": tok.token_to_id(text_setup.BOS),
        "eos_token_id": tok.token_to_id(text_setup.EOT),
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **config)).float().eval()
    family.scaled_weights(model, 77)
    model.tie_weights()
    family.write_weights(model, a.out, "bfloat16", 2)
    family.write_config(model, a.out, "bfloat16", "llama")
    margin = family.write_goldens(a.out, "bfloat16", lengths=(1, 5, 40), seed=77)
    size = sum(f.stat().st_size for f in a.out.iterdir())
    print(f"{size} bytes, smallest greedy margin {margin:.4f}")


if __name__ == "__main__":
    main()

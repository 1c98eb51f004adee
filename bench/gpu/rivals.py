"""Decode of `transformers` (bf16, shape of bench/configs/llama-3-8b, random weights) at several batches.

python3 bench/gpu/rivals.py OUT.json [--isl 128] [--osl 64] [--batch 1 16 64]

`generate` as a user calls it, greedy; a step's time is the difference of two lengths, so that the
prompt's own time is not in it.
"""
import argparse
import json
import time
from pathlib import Path

import torch
import transformers


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--isl", type=int, default=128)
    p.add_argument("--osl", type=int, default=64)
    p.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    a = p.parse_args()
    folder = Path(__file__).resolve().parents[1] / "configs" / "llama-3-8b"
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.to_empty(device="cuda")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.normal_(0, 0.02)
    model.eval()
    head = config.hidden_size // config.num_attention_heads
    theta = (getattr(config, "rope_parameters", None) or {}).get("rope_theta") or config.rope_theta
    angles = theta ** (-torch.arange(0, head, 2, device="cuda").float() / head)
    model.model.rotary_emb.inv_freq.copy_(angles)

    def seconds(batch, new):
        ids = torch.randint(10, 100000, (batch, a.isl), device="cuda")
        torch.cuda.synchronize()
        begin = time.monotonic()
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                 max_new_tokens=new, min_new_tokens=new, pad_token_id=0)
        torch.cuda.synchronize()
        assert out.shape == (batch, a.isl + new)
        return time.monotonic() - begin

    rows = []
    for batch in a.batch:
        seconds(batch, 4)
        short, long = seconds(batch, 8), seconds(batch, 8 + a.osl)
        step = (long - short) / a.osl
        rows.append({"batch": batch, "step_ms": step * 1e3, "tok_s": batch / step})
        print(f"transformers bf16, batch {batch}: {step * 1e3:.1f} ms a step, "
              f"{batch / step:.0f} tok/s", flush=True)
    result = {"device": torch.cuda.get_device_name(), "transformers": transformers.__version__,
              "torch": torch.__version__, "isl": a.isl, "osl": a.osl, "steps": rows}
    Path(a.out).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Trains the demo model on one GPU in a fixed number of minutes and writes it in Hugging Face form.

    python models/demo/train.py --data /tmp/demo-data --out /tmp/demo-model --minutes 8

The length of the run is fixed after a calibration: steps = minutes / measured step time (`--steps`
repeats a run exactly). Two phases in one schedule: plain next-token loss on everything, then, for
the last part, more conversations with loss on their answers only, plain text mixed in. From
`--fp8-from` on, matrices, their inputs, keys and values are rounded to e4m3 on the way (the gradient
passes straight through), so that the weights serve in eight bits as well. Muon for the matrices,
AdamW for the rest, warm-up then constant then linear decay to zero. `--state FILE` saves the run
every minute and resumes from it.
"""

import argparse
import json
import lzma
import math
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


@dataclass
class Shape:
    vocab: int = 5120
    hidden: int = 384
    layers: int = 8
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 64
    ff: int = 704
    context: int = 2048
    theta: float = 10000.0
    eps: float = 1e-5


def rms_norm(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def e4m3(x, scale=None):
    """x rounded to e4m3 with a scale for each row, its largest magnitude / 448, if none is given"""
    y = x.detach().float()
    if scale is None:
        scale = y.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 448
    y = ((y / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale).to(x.dtype)
    return x + (y - x.detach())


def matmul(x, weight, fp8=False):
    return F.linear(e4m3(x), e4m3(weight).to(x.dtype)) if fp8 else F.linear(x, weight.to(x.dtype))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        q, kv = s.heads * s.head_dim, s.kv_heads * s.head_dim
        self.s = s
        (
            self.q_proj,
            self.k_proj,
            self.v_proj,
            self.o_proj,
            self.gate_proj,
            self.up_proj,
            self.down_proj,
        ) = (
            nn.Parameter(torch.randn(rows, cols) * cols**-0.5 * scale)
            for rows, cols, scale in (
                (q, s.hidden, 0.5),
                (kv, s.hidden, 0.5),
                (kv, s.hidden, 0.5),
                (s.hidden, q, 0),
                (s.ff, s.hidden, 0.5),
                (s.ff, s.hidden, 0.5),
                (s.hidden, s.ff, 0),
            )
        )
        self.input_layernorm = nn.Parameter(torch.ones(s.hidden))
        self.post_attention_layernorm = nn.Parameter(torch.ones(s.hidden))

    def forward(self, x, cos, sin, fp8):
        s, (b, t, _) = self.s, x.shape
        y = rms_norm(x, self.input_layernorm, s.eps)
        q, k, v = (
            matmul(y, w, fp8).view(b, t, -1, s.head_dim).transpose(1, 2)
            for w in (self.q_proj, self.k_proj, self.v_proj)
        )

        def rotate(z):
            a, c = z.chunk(2, -1)
            return (torch.cat((a * cos - c * sin, c * cos + a * sin), -1)).to(z.dtype)

        q, k = rotate(q), rotate(k)
        if fp8:
            k, v = e4m3(k, 1), e4m3(v, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + matmul(y.transpose(1, 2).reshape(b, t, -1), self.o_proj, fp8)
        y = rms_norm(x, self.post_attention_layernorm, s.eps)
        y = F.silu(matmul(y, self.gate_proj, fp8)) * matmul(y, self.up_proj, fp8)
        return x + matmul(y, self.down_proj, fp8)


class Llama(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.embed = nn.Parameter(torch.randn(s.vocab, s.hidden) * 0.02)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = nn.Parameter(torch.ones(s.hidden))
        angle = torch.outer(
            torch.arange(s.context).float(),
            s.theta ** (-torch.arange(0, s.head_dim, 2).float() / s.head_dim),
        )
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids, targets, weights, dtype, fp8=False):
        """sum of weighted negative log likelihoods, in nats"""
        t = ids.shape[1]
        x = self.embed.to(dtype)[ids]
        for layer in self.layers:
            x = layer(x, self.cos[:t].to(dtype), self.sin[:t].to(dtype), fp8)
        logits = matmul(rms_norm(x, self.norm, self.s.eps), self.embed).float()
        loss = F.cross_entropy(logits.view(-1, self.s.vocab), targets.reshape(-1), reduction="none")
        return (loss * weights.reshape(-1)).sum()

    def matrices(self):
        return [p for layer in self.layers for p in layer.parameters() if p.ndim == 2]


def orthogonalize(g):
    """Newton-Schulz iteration of Muon (Jordan et al., 2024), batched over matrices of one shape"""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x


def muon_update(g, m, momentum):
    m.lerp_(g, 1 - momentum)
    return orthogonalize(g.lerp(m, momentum)) * max(1, g.shape[-2] / g.shape[-1]) ** 0.5


class Muon:
    def __init__(self, params, compile_it):
        self.groups = {}
        for p in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.state = {
            k: torch.zeros(len(v), *k, device=v[0].device) for k, v in self.groups.items()
        }
        self.update = torch.compile(muon_update, dynamic=False) if compile_it else muon_update

    @torch.no_grad()
    def step(self, lr, momentum, decay):
        for shape, params in self.groups.items():
            step = self.update(torch.stack([p.grad for p in params]), self.state[shape], momentum)
            torch._foreach_mul_(params, 1 - lr * decay)
            torch._foreach_add_(params, list(step.float().unbind()), alpha=-lr)


class Data:
    """token streams on the device; a row starts at a document, in a novel anywhere"""

    def __init__(self, folder, device, bos):
        self.streams, self.masks, self.starts = {}, {}, {}
        for path in sorted(folder.glob("*.u16.xz")):
            name = path.name.split(".")[0]
            ids = np.frombuffer(lzma.open(path).read(), np.uint16).astype(np.int16)
            self.streams[name] = torch.from_numpy(ids).to(device)
            mask = folder / f"{name}.mask.xz"
            if mask.exists():
                bits = np.unpackbits(np.frombuffer(lzma.open(mask).read(), np.uint8))[: len(ids)]
                self.masks[name] = torch.from_numpy(bits).to(device)
            self.starts[name] = (self.streams[name] == bos).nonzero().squeeze(1)
        self.device = device

    def rows(self, name, count, context, gen):
        stream, starts = self.streams[name], self.starts[name]
        last = len(stream) - context - 1
        if name.endswith("novels"):
            at = torch.randint(last, (count,), generator=gen, device=self.device)
        else:
            at = starts[
                torch.randint(len(starts), (count,), generator=gen, device=self.device)
            ].clamp(max=last)
        index = at[:, None] + torch.arange(context + 1, device=self.device)
        return index, stream[index].long()

    def batch(self, mix, context, gen, answers_only):
        ids, weights = [], []
        for name, count in mix.items():
            index, rows = self.rows("train_" + name, count, context, gen)
            ids.append(rows)
            if answers_only and name == "chat":
                weights.append(self.masks["train_chat"][index[:, 1:]].float())
            else:
                weights.append(torch.ones(count, context, device=self.device))
        ids, weights = torch.cat(ids), torch.cat(weights)
        return ids[:, :-1], ids[:, 1:], weights


def held_out(model, loss_of, data, facts, rows, dtype, fp8=False):
    """bits per byte: plain text over all its tokens, conversations over their answers"""
    out, context = {}, model.s.context
    for name in ("wiki", "novels", "chat"):
        stream = data.streams["held_" + name].long()
        mask = data.masks.get("held_" + name, torch.ones_like(stream)).float()
        pad = (-(len(stream) - 1)) % (rows * context)
        ids, targets = F.pad(stream[:-1], (0, pad)), F.pad(stream[1:], (0, pad))
        weights = F.pad(mask[1:], (0, pad))
        nats = 0.0
        with torch.no_grad():
            for part in zip(*(x.view(-1, rows, context) for x in (ids, targets, weights))):
                nats += loss_of(*part, dtype, fp8).item()
        out[name] = nats / math.log(2) / facts["sources"]["held_" + name]["bytes"]
    return out


def export(model, out, text_from):
    """Hugging Face checkpoint: bf16 safetensors in shards of at most 12 MB, config, tokenizer"""
    import text_setup
    from tokenizers import Tokenizer

    s, tensors = model.s, {"model.embed_tokens.weight": model.embed}
    for i, layer in enumerate(model.layers):
        for name, p in layer.named_parameters():
            part = "self_attn." if name[0] in "qkvo" and name.endswith("proj") else "mlp."
            tensors[f"model.layers.{i}.{'' if p.ndim == 1 else part}{name}.weight"] = p
    tensors = {
        k: v.detach().bfloat16().cpu().contiguous()
        for k, v in {**tensors, "model.norm.weight": model.norm}.items()
    }
    shards, size = [{}], 0
    for name, t in tensors.items():
        if size + t.nbytes > 11_950_000:
            shards.append({})
            size = 0
        shards[-1][name], size = t, size + t.nbytes
    out.mkdir(parents=True, exist_ok=True)
    index = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        save_file(shard, str(out / file), metadata={"format": "pt"})
        index.update({n: file for n in shard})
    total = sum(t.nbytes for t in tensors.values())
    (out / "model.safetensors.index.json").write_text(
        json.dumps(
            {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, indent=2
        )
        + "\n"
    )
    tok = Tokenizer.from_file(str(text_from / "tokenizer.json"))
    text_setup.write_text_files(out, tok, s.context)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tok.token_to_id(text_setup.BOS),
        "eos_token_id": tok.token_to_id(text_setup.EOT),
        "head_dim": s.head_dim,
        "hidden_act": "silu",
        "hidden_size": s.hidden,
        "initializer_range": 0.02,
        "intermediate_size": s.ff,
        "max_position_embeddings": s.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": s.heads,
        "num_hidden_layers": s.layers,
        "num_key_value_heads": s.kv_heads,
        "pad_token_id": tok.token_to_id(text_setup.PAD),
        "rms_norm_eps": s.eps,
        "rope_scaling": None,
        "rope_theta": s.theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": s.vocab,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def schedule(step, total, decay_from):
    return min(1.0, (step + 1) / 100) * min(
        1.0, (total - step) / max(1.0, total * (1 - decay_from))
    )


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=8.0)
    p.add_argument("--steps", type=int, default=0, help="instead of --minutes")
    p.add_argument("--rows", type=int, default=64)
    p.add_argument("--context", type=int, default=2048)
    p.add_argument("--seed", type=int, default=20)
    p.add_argument("--lr", type=float, default=0.02, help="of Muon; AdamW's is 0.15 of it")
    p.add_argument("--decay-from", type=float, default=0.4)
    p.add_argument("--chat-from", type=float, default=0.85)
    p.add_argument("--fp8-from", type=float, default=0.8)
    p.add_argument("--eval-every", type=int, default=500)
    p.add_argument("--state", type=Path)
    p.add_argument("--device", default="cuda")
    return p.parse_args()


def main():
    a = arguments()
    start = time.time()
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    cuda = a.device == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    facts = json.loads((a.data / "facts.json").read_text())
    data = Data(a.data, a.device, bos=1)
    shape = Shape(vocab=facts["vocab"], context=a.context)
    model = Llama(shape).to(a.device)
    loss_of = torch.compile(model, dynamic=False) if cuda else model
    muon = Muon(model.matrices(), cuda)
    others = [p for p in model.parameters() if p.ndim == 1] + [model.embed]
    adam = torch.optim.AdamW(others, lr=0, betas=(0.9, 0.95), eps=1e-10, weight_decay=0, fused=cuda)
    count = sum(p.numel() for p in model.parameters())
    print(
        f"{count} parameters, {asdict(shape)}, data loaded in {time.time() - start:.0f} s",
        flush=True,
    )
    plain = {"wiki": a.rows * 24 // 64, "chat": a.rows * 10 // 64}
    late = {"wiki": a.rows * 22 // 64, "chat": a.rows * 16 // 64}
    for mix in (plain, late):
        mix["novels"] = a.rows - sum(mix.values())

    step, total, curve = 0, a.steps or 10**9, {"train": [], "held": []}
    if a.state and a.state.exists():
        saved = torch.load(a.state, map_location=a.device)
        model.load_state_dict(saved["model"])
        adam.load_state_dict(saved["adam"])
        muon.state, step, total, curve = (
            saved["muon"],
            saved["step"],
            saved["total"],
            saved["curve"],
        )
    began, saved_at, seen = time.time(), time.time(), torch.zeros((), device=a.device)
    first, calibrate = step, step + 60
    while step < total:
        frac = step / total
        gen = torch.Generator(a.device).manual_seed(a.seed * 1_000_003 + step)
        chat = frac >= a.chat_from
        ids, targets, weights = data.batch(late if chat else plain, a.context, gen, chat)
        loss = loss_of(ids, targets, weights, dtype, frac >= a.fp8_from) / weights.sum()
        loss.backward()
        lr = a.lr * schedule(step, total, a.decay_from)
        muon.step(lr, torch.tensor(min(0.95, 0.85 + step / 3000), device=a.device), 0.1)
        for group in adam.param_groups:
            group["lr"] = 0.15 * lr
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        adam.step()
        model.zero_grad(set_to_none=True)
        seen += loss.detach()
        step += 1
        if step == first + 20:
            loss.item()
            warm = time.time()
            print(f"warm after {warm - start:.0f} s", flush=True)
        if step == calibrate and total == 10**9:
            loss.item()
            each = (time.time() - warm) / 40
            total = step + int((a.minutes * 60 - (time.time() - start)) / (each * 1.01))
            memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0
            print(
                f"{each * 1e3:.1f} ms a step, {a.rows * a.context / each / 1e6:.2f} M tokens/s, "
                f"{memory:.1f} GiB, "
                f"{total} steps",
                flush=True,
            )
        if step % 50 == 0:
            curve["train"].append([step, round(seen.item() / 50, 4)])
            seen.zero_()
            if not math.isfinite(curve["train"][-1][1]):
                raise SystemExit(f"step {step}: loss is not finite")
        if step % a.eval_every == 0 or step == total:
            bits = held_out(model, loss_of, data, facts, a.rows, dtype)
            curve["held"].append([step, {k: round(v, 4) for k, v in bits.items()}])
            print(
                f"{time.time() - start:.0f} s, step {step}/{total}, lr {lr:.4f}, "
                f"loss {curve['train'][-1:]}, "
                f"held-out bits/byte {curve['held'][-1][1]}",
                flush=True,
            )
        if a.state and time.time() - saved_at > 60:
            saved_at = time.time()
            torch.save(
                {
                    "model": model.state_dict(),
                    "adam": adam.state_dict(),
                    "muon": muon.state,
                    "step": step,
                    "total": total,
                    "curve": curve,
                },
                a.state,
            )

    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p.bfloat16())
    bits = held_out(model, loss_of, data, facts, a.rows, dtype)
    bits_fp8 = held_out(model, loss_of, data, facts, a.rows, dtype, fp8=True)
    print("as stored (bf16), held-out bits/byte", bits, "and in fp8", bits_fp8, flush=True)
    export(model, a.out, a.data)
    name = torch.cuda.get_device_name() if cuda else "cpu"
    (a.out / "loss.json").write_text(
        json.dumps(
            {
                "shape": asdict(shape),
                "parameters": count,
                "steps": total,
                "rows": a.rows,
                "context": a.context,
                "tokens": total * a.rows * a.context,
                "seed": a.seed,
                "lr": a.lr,
                "decay_from": a.decay_from,
                "chat_from": a.chat_from,
                "fp8_from": a.fp8_from,
                "device": name,
                "torch": torch.__version__,
                "train_seconds": round(time.time() - began),
                "data": facts,
                "held_out_bits_per_byte": bits,
                "held_out_bits_per_byte_fp8": bits_fp8,
                **curve,
            }
        )
        + "\n"
    )
    print(f"done in {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()

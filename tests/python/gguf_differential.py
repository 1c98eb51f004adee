#!/usr/bin/env python3
"""Compares what we make of GGUF files with the `gguf` package and with Hugging Face folders.

    gguf_differential.py [--ramjet build/ramjet] [--only NAME] [--hashes]

Needs `pip install -r tests/python/comparisons.txt`. Files are converted here, with that package's
writer, its names of tensors and its quantization, from models/demo, the small models of
tests/data/models and, where it is, ../shared/data. Ends with "N passed, N failed"; 1 if any failed.
--hashes prints the constants of src/checkpoint/gguf_test.cc instead.
"""
import argparse
import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / "shared/data"
TYPES = gguf.GGMLQuantizationType
QUANTIZED = [TYPES.Q4_0, TYPES.Q4_1, TYPES.Q5_0, TYPES.Q5_1, TYPES.Q8_0]
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": []}
DTYPES = {"F32": np.float32, "F16": np.float16}


def random_blocks(kind, count):
    """the bytes of random_blocks() in src/checkpoint/gguf_test.cc"""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    with np.errstate(over="ignore"):
        z = np.uint64(kind.value) + np.arange(1, count * size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    blocks = (z & np.uint64(255)).astype(np.uint8).reshape(count, size)
    for half in HALVES[kind.name]:
        blocks[:, half + 1] &= 0xBF
    return blocks


def print_hashes():
    import xxhash

    for name in HALVES:
        kind = TYPES[name]
        values = gguf.quants.dequantize(random_blocks(kind, 1000), kind)
        print(name, hex(xxhash.xxh3_64_intdigest(np.ascontiguousarray(values).tobytes())))


# --- conversion -------------------------------------------------------------------------------


def read_safetensors(folder):
    """name -> (dtype name, array); bf16 as uint16"""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        blob = path.read_bytes()
        size = int.from_bytes(blob[:8], "little")
        for name, entry in json.loads(blob[8:8 + size]).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
            array = np.frombuffer(blob[8 + size + begin:8 + size + end], kinds[entry["dtype"]])
            out[name] = (entry["dtype"], array.reshape(entry["shape"]))
    return out


def rounded(folder, out, dtype):
    """the folder with its matrices rounded to a type, kept as f32"""
    out.mkdir()
    (out / "config.json").write_text(json.dumps(implied(json.loads((folder / "config.json").read_text()))))
    header, data = {}, b""
    for name, (stored, array) in read_safetensors(folder).items():
        values = to_f32(stored, array)
        if values.ndim > 1:
            values = values.astype(dtype).astype(np.float32)
        blob = values.tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(blob)]}
        data += blob
    text = json.dumps(header).encode()
    (out / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    return out


def to_f32(dtype, array):
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def permuted(array, heads):
    """what llama.cpp's converter does to q and k"""
    return (array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2)
            .reshape(array.shape))


ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma",
                 "gemma2": "gemma2", "gemma3_text": "gemma3", "phi3": "phi3", "gpt2": "gpt2", "olmo2": "olmo2",
                 "granite": "granite", "smollm3": "smollm3", "glm4": "glm4", "mixtral": "llama",
                 "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe"}
PAIRED = {"llama", "granite", "smollm3"}  # their q and k rows are permuted
# What the format cannot say: the reference gets the value that the architecture implies.
IMPLIED = {"gemma2": {"query_pre_attn_scalar": "head_dim"},
           "gemma3_text": {"query_pre_attn_scalar": "head_dim", "sliding_window_pattern": 6, "layer_types": None},
           "smollm3": {"no_rope_layer_interval": 4, "no_rope_layers": None}}
EXPERT = re.compile(r"model\.layers\.(\d+)\..*\.experts\.(\d+)\.(\w+)\.weight")
STACKS = {"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "down_proj": "down", "up_proj": "up"}


def stacked(tensors):
    """the tensors less the experts', and those as stacks under GGUF's names"""
    rest, stacks = {}, {}
    for name, (dtype, array) in tensors.items():
        if match := EXPERT.fullmatch(name):
            layer, expert, part = match.groups()
            target = f"blk.{layer}.ffn_{STACKS[part]}_exps.weight"
            stacks.setdefault(target, {})[int(expert)] = to_f32(dtype, array)
        else:
            rest[name] = (dtype, array)
    return rest, {name: np.stack([one for _, one in sorted(all.items())]) for name, all in stacks.items()}


def implied(config):
    """the configuration with what GGUF's architecture has no key for"""
    out = dict(config)
    for field, value in IMPLIED.get(config["model_type"], {}).items():
        out[field] = config[value] if isinstance(value, str) else value
        if value is None:
            del out[field]
    return out


def add_own_facts(writer, config):
    for field, add in (("attn_logit_softcapping", writer.add_attn_logit_softcapping),
                       ("final_logit_softcapping", writer.add_final_logit_softcapping),
                       ("sliding_window", writer.add_sliding_window),
                       ("embedding_multiplier", writer.add_embedding_scale),
                       ("residual_multiplier", writer.add_residual_scale),
                       ("attention_multiplier", writer.add_attention_scale),
                       ("logits_scaling", writer.add_logit_scale)):
        if config.get(field):
            add(config[field])
    if "rope_local_base_freq" in config:
        writer.add_float32("gemma3.rope.freq_base_swa", config["rope_local_base_freq"])


def add_gpt2_shape(writer, config):
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config["n_inner"] or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def add_shape(writer, config):
    heads = config["num_attention_heads"]
    add_own_facts(writer, config)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if experts := config.get("num_experts") or config.get("num_local_experts"):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if config.get("moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if config.get("shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    part = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_rope_dimension_count(int(dim * part))
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "longrope":
        original = config["original_max_position_embeddings"]
        scale = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(scale) / np.log(original))))
        for name in ("long", "short"):
            writer.add_tensor(f"rope_factors_{name}.weight", np.array(rope[f"{name}_factor"], np.float32))
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config, rope))
    assert kind in ("default", "linear", "yarn", "llama3", "longrope"), kind


def llama3_factors(config, rope):
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    base = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    original = rope["original_max_position_embeddings"]
    low, high = original / rope["low_freq_factor"], original / rope["high_freq_factor"]
    out = []
    for frequency in 1.0 / base ** (np.arange(0, dim, 2) / dim):
        length = 2 * np.pi / frequency
        if length < high:
            out.append(1)
        elif length > low:
            out.append(rope["factor"])
        else:
            smooth = (original / length - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, np.float32)


def unicode_bytes():
    """GPT-2's table: byte -> character"""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in kept]
    return {**{b: chr(b) for b in kept}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def add_tokenizer(writer, tokenizer, config, pre, extra=None):
    """`tokenizer`: a parsed tokenizer.json of BPE, byte level or SentencePiece-like"""
    model = tokenizer["model"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    ids = {id: token for token, id in model["vocab"].items()}
    ids.update({id: token["content"] for id, token in added.items()})
    count = max(max(ids) + 1, config.get("vocab_size", 0))
    tokens, kinds = [], []
    for id in range(count):
        text = ids.get(id)
        kind = gguf.TokenType.NORMAL
        if text is None:
            text, kind = f"[PAD{id}]", gguf.TokenType.UNUSED
        elif id in added:
            kind = gguf.TokenType.CONTROL if added[id]["special"] else gguf.TokenType.USER_DEFINED
            if text == model.get("unk_token"):
                kind = gguf.TokenType.UNKNOWN
        elif pre is None and len(text) == 6 and text.startswith("<0x"):
            kind = gguf.TokenType.BYTE
        tokens.append(text)
        kinds.append(kind)
    merges = [m if isinstance(m, list) else m.split(" ", 1) for m in model["merges"]]
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if pre is None:
        writer.add_tokenizer_model("llama")
        rank = {}
        for i, (a, b) in enumerate(merges):
            rank.setdefault(a + b, -float(i) - 1)
        writer.add_token_scores([rank.get(t, -1e6 - i) for i, t in enumerate(tokens)])
        normalizer = json.dumps(tokenizer.get("normalizer") or {}) + json.dumps(tokenizer.get("pre_tokenizer") or {})
        writer.add_add_space_prefix("Prepend" in normalizer or '"prepend_scheme": "first"' in normalizer)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(m) for m in merges])
    for name, key in (("bos", "bos_token_id"), ("eos", "eos_token_id"), ("unk", "unk_token_id")):
        id = config.get(key)
        if id is not None:
            getattr(writer, f"add_{name}_token_id")(id[0] if isinstance(id, list) else id)
    post = json.dumps(tokenizer.get("post_processor"))
    writer.add_add_bos_token("SpecialToken" in post)
    for call in extra or []:
        call(writer)


def convert(folder, out, kind="F32", pre=None, split=0):
    """an HF folder to a GGUF; `kind` is that of the matrices"""
    config = json.loads((folder / "config.json").read_text())
    architecture = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(out, architecture, split_max_tensors=split)
    writer.add_name(folder.name)
    add_gpt2_shape(writer, config) if architecture == "gpt2" else add_shape(writer, config)
    if kind in ("F32", "F16", "BF16", "Q8_0"):
        writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32"}.get(kind, f"MOSTLY_{kind}")])
    if (folder / "tokenizer.json").exists():
        add_tokenizer(writer, json.loads((folder / "tokenizer.json").read_text()), config, pre)
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], 64)
    dense = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 64)  # of layers without experts
    heads = config.get("num_attention_heads")

    def add(target, values):
        values = np.ascontiguousarray(values)
        stored = TYPES[kind] if values.ndim > 1 else TYPES.F32
        if values.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] != 0:
            stored = TYPES.F32
        data = gguf.quants.quantize(values, stored)
        writer.add_tensor(target, data, **({} if stored in (TYPES.F32, TYPES.F16) else {"raw_dtype": stored}))

    tensors, experts = stacked(read_safetensors(folder))
    for target, values in experts.items():
        add(target, values)
    for name, (dtype, array) in tensors.items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        values = to_f32(dtype, array)
        if kind == "F16" and values.ndim > 1:
            values = values.astype(np.float16).astype(np.float32)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        if architecture == "gpt2" and name.split(".")[-2] in ("c_attn", "c_proj", "c_fc") and values.ndim > 1:
            values = values.T
        if architecture in PAIRED and ".q_proj." in name:
            values = permuted(values, heads)
        if architecture in PAIRED and ".k_proj." in name:
            values = permuted(values, config.get("num_key_value_heads") or heads)
        target = (names.get_name(name, try_suffixes=(".weight", ".bias"))
                  or dense.get_name(name, try_suffixes=(".weight", ".bias")))
        assert target, name
        add(target, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


# --- checks -----------------------------------------------------------------------------------


class Suite:
    def __init__(self, ramjet, only):
        self.ramjet, self.only = ramjet, only
        self.passed = self.failed = 0
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="gguf_differential"))
        self.environment = {**os.environ, "RAMJET_CACHE": str(self.work / "cache"), "RAMJET_LOG": "error"}

    def check(self, name, good, detail=""):
        self.passed += bool(good)
        self.failed += not good
        if not good:
            print("FAILED:", name, detail)

    def run(self, *arguments, stdin=None):
        done = subprocess.run([self.ramjet, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                              env=self.environment, cwd=ROOT)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip()[-400:])
        return done.stdout

    def json(self, *arguments, stdin=None):
        return json.loads(self.run(*arguments, "--json", stdin=stdin))

    def logits(self, model, ids):
        out = self.json("logits", model, "--prompt-ids", ids, "--top", 5, "--dtype", "f32", "--no-tune")
        return out["positions"]

    def section(self, name, call, *arguments):
        if self.only and self.only not in name:
            return
        try:
            call(name, *arguments)
        except (RuntimeError, AssertionError, KeyError, OSError) as error:
            self.check(name, False, repr(error))

    def small_model(self, name, folder):
        """a random model: the same logits from both, where both have the same weights"""
        ids = ",".join(str(i % 90 + 1) for i in range(40))
        for kind in ("F32", "F16"):
            path = convert(folder, self.work / f"{folder.name}-{kind}.gguf", kind)
            reference = self.logits(rounded(folder, self.work / f"{folder.name}-{kind}", DTYPES[kind]), ids)
            worst = 0.0 if reference else float("inf")
            for ours, theirs in zip(self.logits(path, ids), reference):
                known = dict(theirs["top"])
                worst = max(worst, abs(ours["logsumexp"] - theirs["logsumexp"]),
                            *(abs(value - known.get(id, value)) for id, value in ours["top"]))
            # rope_freqs has Llama 3's factors in f32, the configuration in more.
            self.check(f"{name} {kind}", worst <= (1e-4 if "llama3" in name else 1e-6), f"logits differ by {worst}")
            print(f"{name} {kind}: logits differ by at most {worst}")

    def trained_model(self, name, folder, pre, text):
        """greedy ids and perplexity from both, and from an engine"""
        prompt = ["--prompt", "Once upon a time", "--max-tokens", 60, "--dtype", "f32", "--no-tune"]
        wanted = self.json("run", folder, *prompt)["token_ids"]
        for kind, split in (("F32", 0), ("F16", 0), ("F32", 20)):
            path = convert(folder, self.work / f"{folder.name}-{kind}-{split}.gguf", kind, pre, split)
            if split:
                path = sorted(self.work.glob(f"{folder.name}-{kind}-{split}-*.gguf"))[1]
            got = self.json("run", path, *prompt)["token_ids"]
            self.check(f"{name} greedy {kind} split {split}", got == wanted, f"{got} != {wanted}")
        evaluate = ["--file", text, "--context", 256, "--stride", 256, "--max-tokens", 4096]
        f32 = ["--dtype", "f32", "--no-tune"]
        half = self.work / f"{folder.name}-F16-0.gguf"
        engine = self.work / f"{folder.name}.engine"
        self.run("build", half, "-o", engine, *f32)
        reference = folder
        if any(dtype == "F32" for dtype, _ in read_safetensors(folder).values()):  # F16 would round them
            reference = rounded(folder, self.work / f"{folder.name}-rounded", np.float16)
            (reference / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
        values = [self.json("eval", "perplexity", reference, *evaluate, *f32)["perplexity"],
                  self.json("eval", "perplexity", half, *evaluate, *f32)["perplexity"],
                  self.json("eval", "perplexity", engine, *evaluate)["perplexity"]]
        print(f"{name}: perplexity of the folder, the F16 GGUF and its engine:", values)
        spread = max(values) - min(values)
        self.check(f"{name} perplexity", spread <= 1e-3, f"{values}")
        for kind in QUANTIZED:
            path = convert(folder, self.work / f"{folder.name}-{kind.name}.gguf", kind.name, pre)
            value = self.json("eval", "perplexity", path, *evaluate, *f32)["perplexity"]
            near = value / values[0]
            self.check(f"{name} perplexity {kind.name}", near < (1.02 if kind == TYPES.Q8_0 else 1.6), f"{value}")
            print(f"{name}: perplexity of {kind.name}: {value:.4f}")

    def pairs(self, name, tokenizer, expected, pre, config, architecture="llama"):
        """llama.cpp's own strings and ids"""
        path = self.work / f"{expected}.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        add_tokenizer(writer, tokenizer, config, pre)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        folder = SHARED / "tokenizers/expected"
        texts = (folder / f"{expected}.inp").read_text().split("\n__ggml_vocab_test__\n")
        lines = (folder / f"{expected}.out").read_text().split("\n")
        stdin = "".join(json.dumps(text) + "\n" for text in texts)
        got = self.run("tokenize", path, "--batch", "--no-special", stdin=stdin).splitlines()
        for text, line, answer in zip(texts, lines, got):
            wanted = [int(id) for id in line.split()]
            ids = json.loads(answer)["ids"]
            self.check(f"{name} {text[:40]!r}", ids == wanted, f"{ids} != {wanted}")

    def unigram(self, name, path, text):
        """T5's vocabulary against its own tokenizer.json"""
        from tokenizers import Tokenizer

        reference, tokenizer = Tokenizer.from_file(str(path)), json.loads(path.read_text())
        tokens, unknown = tokenizer["model"]["vocab"], tokenizer["model"]["unk_id"]
        added = {token["id"] for token in tokenizer["added_tokens"]}
        kinds = gguf.TokenType
        out = self.work / "t5.gguf"
        writer = gguf.GGUFWriter(out, "t5")
        writer.add_tokenizer_model("t5")
        writer.add_token_list([token for token, _ in tokens])
        writer.add_token_scores([score for _, score in tokens])
        writer.add_token_types([kinds.UNKNOWN if i == unknown else kinds.NORMAL if i not in added else
                                kinds.CONTROL if i < unknown else kinds.USER_DEFINED for i in range(len(tokens))])
        writer.add_add_space_prefix(True)
        writer.add_remove_extra_whitespaces(True)
        writer.add_precompiled_charsmap(base64.b64decode(tokenizer["normalizer"]["precompiled_charsmap"]))
        writer.add_eos_token_id(1)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        lines = [line for line in text.read_text().split("\n")[:600] if line.strip()]
        stdin = "".join(json.dumps(line) + "\n" for line in lines)
        got = self.run("tokenize", out, "--batch", stdin=stdin).splitlines()
        for line, answer in zip(lines, got):
            ids, wanted = json.loads(answer)["ids"], reference.encode(line).ids
            self.check(f"{name} {line[:40]!r}", ids == wanted, f"{ids} != {wanted}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ramjet", default=str(ROOT / "build/ramjet"))
    parser.add_argument("--only", default="")
    parser.add_argument("--hashes", action="store_true")
    options = parser.parse_args()
    if options.hashes:
        print_hashes()
        return 0
    suite = Suite(options.ramjet, options.only)
    for folder in sorted((ROOT / "tests/data/models").iterdir()):
        config = json.loads((folder / "config.json").read_text())
        rope = (config.get("rope_scaling") or config.get("rope_parameters") or {})
        kind = rope.get("rope_type", rope.get("type", "default"))
        # Neither a window nor dynamic scaling has a place in these architectures' metadata.
        if config.get("model_type") in ARCHITECTURES and kind != "dynamic" and "window" not in folder.name:
            suite.section(folder.name, suite.small_model, folder)
    wikitext = SHARED / "eval/wikitext-2"
    text = next(iter(sorted(wikitext.glob("*"))), ROOT / "README.md") if wikitext.exists() else ROOT / "docs/tour.md"
    suite.section("demo", suite.trained_model, ROOT / "models/demo", "dbrx", text)
    return finish(suite, text)


def finish(suite, text):
    stories = SHARED / "weights/stories260K-hf"
    tokenizers = SHARED / "tokenizers"
    if not tokenizers.exists():
        print("../shared/data is absent: its models and vocabularies are skipped")
    else:
        suite.section("stories260K", suite.trained_model, stories, None, text)
        load = lambda name: json.loads((tokenizers / name / "tokenizer.json").read_text())
        suite.section("llama-spm", suite.pairs, load("llama2"), "llama-spm", None, {"unk_token_id": 0})
        suite.section("phi-3", suite.pairs, load("phi3-mini"), "phi-3", None, {"unk_token_id": 0}, "phi3")
        suite.section("t5", suite.unigram, tokenizers / "t5-small/tokenizer.json", text)
        for name, pre in (("gpt2", "gpt-2"), ("qwen2", "qwen2")):
            files = tokenizers / name
            merges = [line for line in (files / "merges.txt").read_text().split("\n")
                      if line and not line.startswith("#version")]
            added = [{"id": 50256, "content": "<|endoftext|>", "special": True}]
            if (files / "tokenizer_config.json").exists():
                listed = json.loads((files / "tokenizer_config.json").read_text())["added_tokens_decoder"]
                added = [{"id": int(id), **token} for id, token in listed.items()]
            tokenizer = {"model": {"vocab": json.loads((files / "vocab.json").read_text()), "merges": merges},
                         "added_tokens": added}
            suite.section(pre, suite.pairs, tokenizer, pre, pre, {})
    print(f"{suite.passed} passed, {suite.failed} failed")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())

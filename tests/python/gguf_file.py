"""Writes GGUF files without any package: enough to turn a small Llama folder into one."""

import json
import struct

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
F32_TENSOR, F16_TENSOR, BF16_TENSOR = 0, 1, 30
TENSOR_TYPES = {"F32": (F32_TENSOR, 4), "F16": (F16_TENSOR, 2), "BF16": (BF16_TENSOR, 2)}
NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind, items):
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


class Writer:
    def __init__(self):
        self.metadata, self.tensors = [], []

    def add(self, key, kind, data):
        self.metadata.append(string(key) + struct.pack("<I", kind) + data)

    def u32(self, key, value):
        self.add(key, U32, struct.pack("<I", value))

    def f32(self, key, value):
        self.add(key, F32, struct.pack("<f", value))

    def flag(self, key, value):
        self.add(key, BOOL, struct.pack("<?", value))

    def text(self, key, value):
        self.add(key, STRING, string(value))

    def texts(self, key, values):
        self.add(key, ARRAY, array(STRING, [string(v) for v in values]))

    def i32s(self, key, values):
        self.add(key, ARRAY, array(I32, [struct.pack("<i", v) for v in values]))

    def tensor(self, name, kind, shape, data):
        self.tensors.append((name, kind, shape, data))

    def bytes(self):
        out = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.metadata)) + b"".join(self.metadata)
        data = b""
        for name, kind, shape, blob in self.tensors:
            data += bytes(-len(data) % 32)
            out += string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
            out += struct.pack("<IQ", kind, len(data))
            data += blob
        return out + bytes(-len(out) % 32) + data


def paired_rows(blob, rows, heads):
    """each head's rows j and j + d/2 side by side, as llama.cpp's rope wants them"""
    width, dim = len(blob) // rows, rows // heads
    row = lambda i: blob[i * width:(i + 1) * width]
    return b"".join(row(h * dim + half * (dim // 2) + j)
                    for h in range(heads) for j in range(dim // 2) for half in (0, 1))


def add_vocabulary(writer, folder, pre):
    """of a byte-level BPE tokenizer.json"""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    ids = {id: token for token, id in tokenizer["model"]["vocab"].items()}
    kinds = {}
    for token in tokenizer["added_tokens"]:
        ids[token["id"]] = token["content"]
        kinds[token["id"]] = 3 if token["special"] else 4
    count = max(max(ids) + 1, config["vocab_size"])
    writer.text("tokenizer.ggml.model", "gpt2")
    writer.text("tokenizer.ggml.pre", pre)
    writer.texts("tokenizer.ggml.tokens", [ids.get(i, f"[PAD{i}]") for i in range(count)])
    writer.i32s("tokenizer.ggml.token_type", [kinds.get(i, 1 if i in ids else 5) for i in range(count)])
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.texts("tokenizer.ggml.merges", merges)
    generation = folder / "generation_config.json"
    facts = {**config, **(json.loads(generation.read_text()) if generation.exists() else {})}
    eos = facts["eos_token_id"]
    writer.u32("tokenizer.ggml.bos_token_id", facts["bos_token_id"])
    writer.u32("tokenizer.ggml.eos_token_id", eos[0] if isinstance(eos, list) else eos)
    writer.flag("tokenizer.ggml.add_bos_token", "SpecialToken" in json.dumps(tokenizer["post_processor"]))
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.text("tokenizer.chat_template", template.read_text())


def add_model(writer, folder):
    """a Llama folder's shape and weights, as they are"""
    config = json.loads((folder / "config.json").read_text())
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer.text("general.architecture", "llama")
    for key, field in (("context_length", "max_position_embeddings"), ("embedding_length", "hidden_size"),
                       ("block_count", "num_hidden_layers"), ("feed_forward_length", "intermediate_size"),
                       ("attention.head_count", "num_attention_heads"),
                       ("attention.head_count_kv", "num_key_value_heads")):
        writer.u32(f"llama.{key}", config[field])
    writer.f32("llama.attention.layer_norm_rms_epsilon", config["rms_norm_eps"])
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    writer.f32("llama.rope.freq_base", theta)
    if config.get("head_dim"):
        writer.u32("llama.attention.key_length", config["head_dim"])
        writer.u32("llama.attention.value_length", config["head_dim"])
    for path in sorted(folder.glob("*.safetensors")):
        blob = path.read_bytes()
        size = int.from_bytes(blob[:8], "little")
        for name, entry in json.loads(blob[8:8 + size]).items():
            if name == "__metadata__" or (name == "lm_head.weight" and config.get("tie_word_embeddings")):
                continue
            begin, end = entry["data_offsets"]
            data = blob[8 + size + begin:8 + size + end]
            writer.tensor(gguf_name(name), TENSOR_TYPES[entry["dtype"]][0], entry["shape"],
                          paired_rows(data, entry["shape"][0], heads) if ".q_proj." in name else
                          paired_rows(data, entry["shape"][0], key_heads) if ".k_proj." in name else data)


def gguf_name(name):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, *rest = name.split(".")
    return f"blk.{layer}.{NAMES['.'.join(rest[:-1])]}.{rest[-1]}"

#!/usr/bin/env python3
"""Writes the tiny tokenizers of tests/data/tokenizers and what Hugging Face makes of some texts.

Each NAME.json is a tokenizer.json trained here on the text below; NAME.expected.json lists
{text, ids, plain (ids without special tokens), decoded}. Needs `pip install tokenizers`.
"""
import copy
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/data/tokenizers"
TEXT = """
A ramjet is an engine without moving parts: the speed of the air itself compresses it, fuel burns
in the stream, and the hot gas leaves faster than it came in. It cannot start from rest; something
else must first carry it to speed. The engineers who built the first ones wrote that they don't
like waiting, they've never liked it, and they'll be glad when it's over. In 1913 a patent, in 1949
a flight; 3 of 10 tests failed, 7 did not. The price was 1234567 francs, or 12.5 % of the budget!

The train left at 07:45. "Where is it going?" she asked. "South," he said, "to the sea." They had
two tickets, three apples and no umbrella (it was raining). The conductor's whistle, the river's
bend, the children's voices: everything seemed to be moving while they were sitting still.

def add(a, b):
    return a + b    # the sum
for i in range(10):
\tprint(i, add(i, i * 2), end="\\n\\n")

Der schnelle Zug fährt über die Brücke. Où est la gare ? À côté de l'école. El niño come piñas.
Поезд идёт на юг. Город стоит у моря. 今日は天気がいい。 電車は海へ行く。 你好，世界。 火车到了。 안녕하세요 세계.
नमस्ते दुनिया. สวัสดีชาวโลก. Ο ήλιος λάμπει. שלום עולם. مرحبا بالعالم. 😀 👍🏽 🚂🌊 → ≤ ≥ ½ €
"""
SAMPLES = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n \n ", "Hello", " Hello", "Hello world",
    "Hello  world", "  leading", "trailing  ", "the engine", "The ENGINE'S parts", "don't they'll I'VE it's",
    "1", "12", "123", "1234", "12345678 90", "٣ ½ ²", "3.14", "a+b=c;", "!!!", "...", "(x)[y]{z}",
    "über Brücke", "u\u0308ber", "École", "e\u0301cole", "ﬁne", "Å", "\u212b", "\uac00\u11a8",
    "Поезд идёт", "今日は天気", "你好世界", "안녕", "नमस्ते", "สวัสดี", "😀", "👍🏽", "👨‍👩‍👧", "🏳️‍🌈", "❤️",
    "\u00a0nbsp\u00a0", "\u3000wide\u2003", "zero\u200bwidth\u200d", "\ufeffbom", "\x00nul\x00", "\x7f\x85",
    "▁metaspace▁", "<0x0A>", "Ġspelled", "<unk>", "<s>", "</s>", "<s>text</s>", "a <s> b </s> c",
    "[MASK]", " [MASK] ", "x[MASK]y", "x [MASK] y", "<tool>", " <tool> ", "a<tool>b", "word", "words", "a word b",
    "Mixed", "mixed", "MIXED mixed", "ＭＩＸＥＤ", "<|im_start|>user\nHi<|im_end|>\n", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                ", "\n\n\n\n\n", "def add(a, b):\n    return a + b", "İstanbul ẞ Σς",
    "\U00010d50\U0001e5d0\U00011bc0", "\U0002ebf0", "naïve café", "http://x.y/?q=1&b=2", "ſ'ſ 's 'S",
]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
            r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def train(tokenizer, size, specials=(), alphabet=None, **options):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(specials), show_progress=False,
                                  initial_alphabet=alphabet or [], **options)
    tokenizer.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
    return tokenizer


def byte_level(pattern=None, normalizer=None, specials=("<s>", "</s>"), **options):
    t = Tokenizer(models.BPE(**options))
    if normalizer:
        t.normalizer = normalizer
    if pattern is None:
        t.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    else:
        parts = [pattern] if not isinstance(pattern, list) else pattern
        t.pre_tokenizer = pre.Sequence(
            [pre.Split(Regex(p), "isolated") if isinstance(p, str) else p for p in parts]
            + [pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return train(t, 500, specials, pre.ByteLevel.alphabet())


def sentencepiece_like(**options):
    """Trained on words, used without a pre-tokenizer, as converted SentencePiece models are."""
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, **options))
    t.pre_tokenizer = pre.Metaspace()
    t = train(t, 700, ["<unk>", "<s>", "</s>"] + BYTES, limit_alphabet=120)
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.pre_tokenizer = None
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    data = json.loads(t.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    return data


def template(bos, bos_id, eos=None, eos_id=None):
    single = [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    tokens = {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}}
    if eos:
        single.append({"SpecialToken": {"id": eos, "type_id": 0}})
        tokens[eos] = {"id": eos, "ids": [eos_id], "tokens": [eos]}
    pair = single + [{"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}


def added(id, content, **flags):
    base = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": False}
    return {**base, **flags}


def as_lines(data):
    data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    return data


def fixtures():
    out = {}
    out["byte_level_gpt2"] = as_lines(json.loads(byte_level().to_str()))
    llama3 = json.loads(byte_level(LLAMA3, ignore_merges=True).to_str())
    llama3["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        template("<s>", 0)]}
    out["byte_level_llama3"] = llama3
    chat = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    out["byte_level_qwen2"] = json.loads(
        byte_level(LLAMA3.replace("{1,3}", ""), normalizers.NFC(), chat).to_str())
    out["byte_level_o200k"] = json.loads(byte_level(O200K).to_str())
    out["byte_level_deepseek"] = json.loads(byte_level(
        [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK]).to_str())
    out["byte_level_digits"] = json.loads(byte_level(
        [pre.Digits(True), pre.Punctuation("contiguous"), r"\w+\b|\W"]).to_str())
    spm = sentencepiece_like(fuse_unk=True)
    spm["post_processor"] = template("<s>", 1)
    out["spm_prepend"] = as_lines(copy.deepcopy(spm))
    spm["normalizer"] = None
    spm["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    spm["post_processor"] = template("<s>", 1, "</s>", 2)
    spm["added_tokens"] += [added(len(spm["model"]["vocab"]), "<tool>", rstrip=True)]
    out["spm_metaspace_first"] = spm
    gemma = copy.deepcopy(spm)
    gemma["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    gemma["pre_tokenizer"] = {"type": "Split", "pattern": {"String": "▁"}, "behavior": "MergedWithPrevious",
                              "invert": False}
    gemma["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
        {"type": "Fuse"}]}
    out["spm_split_space"] = gemma

    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre.Metaspace()
    t.decoder = decoders.Metaspace()
    out["metaspace_unk"] = json.loads(train(t, 400, ["<unk>", "<s>", "</s>"], limit_alphabet=50).to_str())

    t = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", fuse_unk=True))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    bert = json.loads(train(t, 500, ["[UNK]", "[CLS]", "[SEP]", "[MASK]"], continuing_subword_prefix="##",
                            limit_alphabet=100).to_str())
    bert["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}
    out["prefix_bert"] = bert

    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                         normalizers.Lowercase()])
    t.pre_tokenizer = pre.Whitespace()
    t.decoder = decoders.BPEDecoder()
    clip = json.loads(train(t, 500, ["<unk>", "<s>", "</s>"], end_of_word_suffix="</w>",
                            limit_alphabet=100).to_str())
    clip["post_processor"] = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1],
                              "trim_offsets": False, "add_prefix_space": False}
    out["suffix_clip"] = clip

    t = byte_level(None, normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(),
                                               normalizers.Strip(True, True)]))
    data = json.loads(t.to_str())
    size = len(data["model"]["vocab"])
    data["added_tokens"] += [
        added(size, "[MASK]", lstrip=True, special=True), added(size + 1, "<tool>", rstrip=True, lstrip=True),
        added(size + 2, "word", single_word=True, normalized=True), added(size + 3, "Mixed", normalized=True),
        added(size + 4, "  ", normalized=False), added(size + 7, "late", normalized=True, single_word=True)]
    out["added_tokens"] = data

    t = byte_level([pre.WhitespaceSplit(), pre.CharDelimiterSplit("-"),
                    pre.Split(",", "merged_with_next"), pre.Split(Regex("[aeiou]"), "merged_with_previous"),
                    pre.Split(Regex("[^x]+"), "removed", invert=True)],
                   normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]))
    out["splits"] = json.loads(t.to_str())
    return out


def expected(tokenizer, special_ids):
    out = []
    for text in SAMPLES:
        ids = tokenizer.encode(text).ids
        out.append({"text": text, "ids": ids, "plain": tokenizer.encode(text, add_special_tokens=False).ids,
                    "decoded": tokenizer.decode([i for i in ids if i not in special_ids])})
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, data in fixtures().items():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        (OUT / f"{name}.json").write_text(text + "\n")
        tokenizer = Tokenizer.from_str(text)
        special = {t["id"] for t in data["added_tokens"] if t["special"]}
        lines = [json.dumps(e, ensure_ascii=True) for e in expected(tokenizer, special)]
        (OUT / f"{name}.expected.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()

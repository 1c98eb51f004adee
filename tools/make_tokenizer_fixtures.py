#!/usr/bin/env python3
"""Writes the tiny tokenizers of tests/data/tokenizers and what Hugging Face makes of some texts.

Each NAME.json is a tokenizer.json trained here on the text below; NAME.expected.json lists
{text, ids, plain (ids without special tokens), decoded}, and for some a pair of texts. Needs
`pip install tokenizers`.
"""
import copy
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/tokenizers"
sys.path.insert(0, str(ROOT / "tests/python"))
from random_tokenizers import CHARSMAP
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


def other_models():
    """Unigram, WordPiece and WordLevel, with the parts that come with them."""
    out = {}
    def trained(model, trainer, split=pre.Metaspace()):
        t = Tokenizer(model)
        t.pre_tokenizer = split
        t.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
        return json.loads(t.to_str())

    def pair_template(cls, sep):
        piece = lambda name, type_id: {"SpecialToken": {"id": name[0], "type_id": type_id}}
        text = lambda name, type_id: {"Sequence": {"id": name, "type_id": type_id}}
        begin = [piece(cls, 0)] if cls else []
        return {"type": "TemplateProcessing", "single": begin + [text("A", 0), piece(sep, 0)],
                "pair": begin + [text("A", 0), piece(sep, 0), text("B", 1), piece(sep, 1)],
                "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in filter(None, (cls, sep))}}

    special = ["<pad>", "</s>", "<unk>"]
    t5 = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>",
                                                           show_progress=False))
    t5["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": CHARSMAP}
    t5["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}]}
    t5["decoder"] = t5["pre_tokenizer"]["pretokenizers"][1]
    t5["post_processor"] = pair_template(None, ("</s>", 1))
    t5["truncation"] = {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}
    out["unigram_t5"] = t5
    fallback = trained(models.Unigram(), trainers.UnigramTrainer(vocab_size=500, special_tokens=special + BYTES,
                                                                 unk_token="<unk>", show_progress=False))
    fallback["model"]["byte_fallback"] = True
    fallback["model"]["vocab"] = [[p, float(round(s))] for p, s in fallback["model"]["vocab"]]  # ties
    fallback["added_tokens"] = fallback["added_tokens"][:3]
    fallback["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"}]}
    fallback["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    fallback["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}]}
    out["unigram_bytes"] = fallback

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bert = trained(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20),
                   trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False),
                   pre.BertPreTokenizer())
    bert["normalizer"] = json.loads(normalizers.BertNormalizer().__getstate__())
    bert["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    bert["post_processor"] = pair_template(("[CLS]", 2), ("[SEP]", 3))
    bert["padding"] = {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                       "pad_type_id": 0, "pad_token": "[PAD]"}
    out["word_piece"] = bert
    words = trained(models.WordLevel(unk_token="<unk>"),
                    trainers.WordLevelTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"],
                                              show_progress=False), pre.Whitespace())
    words["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "UnicodeScripts"}, {"type": "Whitespace"}, {"type": "FixedLength", "length": 9}]}
    words["post_processor"] = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1],
                               "trim_offsets": True, "add_prefix_space": True}
    out["word_level"] = words
    spelled = json.loads(byte_level(None, normalizers.ByteLevel()).to_str())
    spelled["pre_tokenizer"] = {"type": "Split", "pattern": {"String": "Ġ"}, "behavior": "MergedWithNext",
                                "invert": False}
    out["byte_level_normalizer"] = spelled
    return out


def pairs(tokenizer):
    """Two texts, with truncation and padding as the file says."""
    out = []
    for a, b in zip(SAMPLES[9::7], SAMPLES[12::5]):
        e = tokenizer.encode(a, b)
        out.append({"texts": [a, b], "ids": e.ids, "type_ids": e.type_ids})
    return out


def expected(tokenizer, special_ids):
    out = []
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for text in SAMPLES:
        ids = tokenizer.encode(text).ids
        out.append({"text": text, "ids": ids, "plain": tokenizer.encode(text, add_special_tokens=False).ids,
                    "decoded": tokenizer.decode([i for i in ids if i not in special_ids])})
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    others = other_models()
    for name, data in {**fixtures(), **others}.items():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        (OUT / f"{name}.json").write_text(text + "\n")
        tokenizer = Tokenizer.from_str(text)
        special = {t["id"] for t in data["added_tokens"] if t["special"]}
        two = pairs(tokenizer) if name in others else []
        lines = [json.dumps(e, ensure_ascii=True) for e in expected(tokenizer, special) + two]
        (OUT / f"{name}.expected.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()

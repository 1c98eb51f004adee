"""Small tokenizers with random parts, for tokenizer_differential.py: every model, normalizer,
pre-tokenizer, post-processor and decoder of Hugging Face `tokenizers`, in random company."""
import base64
import json
import random
import struct

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXT = """The ramjet is an engine without moving parts: the speed of the air itself compresses it.
They don't like waiting, they've never liked it, and they'll be glad when it's over, in 1913 or 1949.
def add(a, b):\n    return a + b    # the sum, 12.5 %\nDer schnelle Zug fährt über die Brücke. Où est la gare ?
Поезд идёт на юг. 今日は天気がいい。 電車は海へ行く。 안녕하세요 세계. नमस्ते दुनिया. สวัสดีชาวโลก. ﬁne ① ½ Å e\u0301 😀 👍🏽
"""
PATTERNS = [r"\s+", r"\p{L}+|\p{N}+", r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "[aeiou]", r"\d",
            r"\w+\b", "(?i:the)", r"[^\s]", r"\p{Han}", "a|ab", r"^.", r".$", "x*"]
STRINGS = [" ", "▁", "e", "th", "ß", "\n", "-", "...", "ﬁ", ""]


def charsmap(rules):
    """A precompiled_charsmap of {text: replacement}: a darts-clone trie, built the simple way."""
    trie = {}
    for key, value in rules.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[None] = value
    blob, offsets = b"", {}
    for value in rules.values():
        offsets[value] = len(blob)
        blob += value.encode() + b"\0"
    units, bases, todo = {0: 0}, set(), [(0, trie)]
    while todo:
        at, node = todo.pop()
        base = next(b for b in range(1, 1 << 20) if b not in bases
                    and all((b ^ (byte or 0)) not in units for byte in node))
        bases.add(base)
        units[at] |= (at ^ base) << 10
        for byte, child in node.items():
            if byte is None:
                units[at] |= 1 << 8
                units[base] = 1 << 31 | offsets[child]
            else:
                units[base ^ byte] = byte
                todo.append((base ^ byte, child))
    # A walk ends at a unit of another label, which must be there.
    array = [units.get(i, 1 << 31) for i in range((max(units) | 255) + 1)]
    raw = struct.pack(f"<{len(array)}I", *array)
    return base64.b64encode(struct.pack("<I", len(raw)) + raw + blob).decode()


CHARSMAP = charsmap({"ﬁ": "fi", "①": "1", "Å": "A", "e\u0301": "é", "\u3000": " ", "½": "1/2", "\t": " ", "\n": " ",
                     "가": "", "a": "a", "\u00ad": "", "Ａ": "A", "ab\u0300": "q"})


class Parts:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def coin(self, odds=0.5):
        return self.r.random() < odds

    def pattern(self):
        return {"Regex": self.r.choice(PATTERNS)} if self.coin() else {"String": self.r.choice(STRINGS)}

    def normalizer(self, depth=0):
        r = self.r
        kind = r.randrange(15)
        if kind == 0 and depth < 2:
            return {"type": "Sequence", "normalizers": [self.normalizer(depth + 1) for _ in range(r.randrange(4))]}
        simple = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel"]
        if kind <= 8:
            return {"type": r.choice(simple[:7] if self.coin(0.8) else simple)}
        if kind == 9:
            return {"type": "BertNormalizer", "clean_text": self.coin(), "handle_chinese_chars": self.coin(),
                    "strip_accents": r.choice([None, True, False]), "lowercase": self.coin()}
        if kind == 10:
            return {"type": "Strip", "strip_left": self.coin(), "strip_right": self.coin()}
        if kind == 11:
            return {"type": "Prepend", "prepend": r.choice(["▁", " ", "pre ", "x"])}
        if kind == 12:
            return {"type": "Precompiled", "precompiled_charsmap": CHARSMAP}
        return {"type": "Replace", "pattern": self.pattern(), "content": r.choice(["▁", " ", "", "ab", "é"])}

    def pre_tokenizer(self, depth=0):
        r = self.r
        behavior = lambda: r.choice(["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
        kind = r.randrange(16)
        if kind <= 2 and depth < 2:
            return {"type": "Sequence", "pretokenizers": [self.pre_tokenizer(depth + 1)
                                                          for _ in range(r.randrange(4))]}
        if kind <= 5:
            return {"type": r.choice(["BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts"])}
        if kind == 6:
            return {"type": "FixedLength", "length": r.randrange(1, 9)}
        if kind == 7:
            return {"type": "CharDelimiterSplit", "delimiter": r.choice([" ", "-", "e", "▁"])}
        if kind == 8:
            return {"type": "Punctuation", "behavior": behavior()}
        if kind == 9:
            return {"type": "Digits", "individual_digits": self.coin()}
        if kind <= 12:
            scheme = r.choice(["always", "first", "never"])
            return {"type": "Metaspace", "replacement": r.choice(["▁", "▁", "_"]), "prepend_scheme": scheme,
                    "split": self.coin()}
        if kind == 13:
            return {"type": "ByteLevel", "add_prefix_space": self.coin(), "trim_offsets": True, "use_regex": self.coin()}
        return {"type": "Split", "pattern": self.pattern(), "behavior": behavior(), "invert": self.coin(0.3)}

    def decoder(self, depth=0):
        r = self.r
        kind = r.randrange(12)
        if kind <= 1 and depth < 2:
            return {"type": "Sequence", "decoders": [self.decoder(depth + 1) for _ in range(r.randrange(4))]}
        if kind <= 4:
            return {"type": r.choice(["ByteLevel", "ByteFallback", "Fuse"]), **({"add_prefix_space": True,
                    "trim_offsets": True, "use_regex": True})}
        if kind == 5:
            return {"type": "WordPiece", "prefix": r.choice(["##", "e"]), "cleanup": self.coin()}
        if kind == 6:
            return {"type": "BPEDecoder", "suffix": r.choice(["</w>", "e"])}
        if kind == 7:
            return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": r.choice(["always", "first", "never"]),
                    "split": True}
        if kind == 8:
            return {"type": "Strip", "content": r.choice([" ", "e", "▁"]), "start": r.randrange(3), "stop": r.randrange(3)}
        if kind == 9:
            return {"type": "CTC", "pad_token": r.choice(["<pad>", "e"]), "word_delimiter_token": r.choice(["|", "▁"]),
                    "cleanup": self.coin()}
        return {"type": "Replace", "pattern": self.pattern(), "content": r.choice([" ", "", "xy"])}

    def post_processor(self, depth=0):
        r = self.r
        kind = r.randrange(6)
        if kind == 0:
            return {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}
        if kind == 1:
            return {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
                    "add_prefix_space": True}
        if kind == 2:
            return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        if kind == 3 and depth == 0:
            # A template behind one that leaves parts of its own would panic there.
            parts = [self.post_processor(1) for _ in range(r.randrange(3))]
            templates = [p for p in parts if p["type"] == "TemplateProcessing"]
            return {"type": "Sequence", "processors": templates[:1] + [p for p in parts if p not in templates]}
        special = lambda name, type_id: {"SpecialToken": {"id": name, "type_id": type_id}}
        text = lambda name, type_id: {"Sequence": {"id": name, "type_id": type_id}}
        single = [text("A", r.randrange(2))]
        pair = [text("A", 0), text("B", r.randrange(3))]
        for template in (single, pair):
            for _ in range(r.randrange(3)):
                template.insert(r.randrange(len(template) + 1), special(r.choice(["<s>", "</s>", "two"]), r.randrange(2)))
        tokens = {"<s>": [1], "</s>": [2], "two": [2, 1]}
        return {"type": "TemplateProcessing", "single": single, "pair": pair,
                "special_tokens": {k: {"id": k, "ids": v, "tokens": ["<s>"] * len(v)} for k, v in tokens.items()}}

    def added_tokens(self, size, vocab):
        r = self.r
        out = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, c in enumerate(["<unk>", "<s>", "</s>"])]
        pool = ["<tool>", "Word", "the", "  ", "É", "▁x", "[MASK]", "re-do", "\n", "ﬁne", "éa"]
        for content in r.sample(pool, r.randrange(5)):
            id = vocab.get(content, size)
            size += content not in vocab
            out.append({"id": id, "content": content, "single_word": self.coin(0.3), "lstrip": self.coin(0.3),
                        "rstrip": self.coin(0.3), "normalized": self.coin(), "special": self.coin(0.4)})
        return out

    def model(self):
        r = self.r
        kind = r.choice(["BPE", "BPE", "Unigram", "Unigram", "WordPiece", "WordLevel"])
        special = ["<unk>", "<s>", "</s>"]
        fallback = [f"<0x{b:02X}>" for b in range(256)] if self.coin(0.3) else []
        split = r.choice([pre_tokenizers.Metaspace(), pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(),
                          pre_tokenizers.WhitespaceSplit()])
        words = TEXT.splitlines(keepends=True)
        size = r.randrange(120, 500) + len(fallback)
        if kind == "BPE":
            affixes = r.choice([{}, {}, {}, {"continuing_subword_prefix": "##"}, {"end_of_word_suffix": "</w>"}])
            t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=self.coin(), byte_fallback=bool(fallback),
                                     ignore_merges=self.coin(0.3), **affixes))
            trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special + fallback, show_progress=False,
                                          limit_alphabet=r.choice([40, 200]), **affixes)
        elif kind == "Unigram":
            t = Tokenizer(models.Unigram())
            trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special + fallback, unk_token="<unk>",
                                              show_progress=False)
        elif kind == "WordPiece":
            t = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=r.choice([3, 100])))
            trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        else:
            t = Tokenizer(models.WordLevel(unk_token="<unk>"))
            trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        t.pre_tokenizer = split
        t.train_from_iterator(words, trainer)
        data = json.loads(t.to_str())["model"]
        if kind == "Unigram":
            data["byte_fallback"] = bool(fallback)
            if self.coin(0.4):  # equal sums are common then
                data["vocab"] = [[p, float(round(s))] for p, s in data["vocab"]]
        if kind == "BPE" and self.coin(0.3):
            data["merges"] = [" ".join(m) for m in data["merges"]] if not any(" " in p for m in data["merges"] for p in m) \
                else data["merges"]
        vocab = {p: i for i, (p, _) in enumerate(data["vocab"])} if kind == "Unigram" else data["vocab"]
        return data, vocab

    def tokenizer(self):
        r = self.r
        model, vocab = self.model()
        data = {"version": "1.0", "truncation": None, "padding": None, "model": model,
                "added_tokens": self.added_tokens(len(vocab), vocab),
                "normalizer": self.normalizer() if self.coin(0.8) else None,
                "pre_tokenizer": self.pre_tokenizer() if self.coin(0.85) else None,
                "post_processor": self.post_processor() if self.coin(0.8) else None,
                "decoder": self.decoder() if self.coin(0.8) else None}
        if self.coin(0.3):
            data["truncation"] = {"direction": r.choice(["Left", "Right"]), "max_length": r.randrange(6, 30),
                                  "strategy": "LongestFirst", "stride": 0}
        if self.coin(0.2):
            data["padding"] = {"strategy": r.choice(["BatchLongest", {"Fixed": r.randrange(30)}]),
                               "direction": r.choice(["Left", "Right"]), "pad_to_multiple_of": r.choice([None, 8]),
                               "pad_id": 2, "pad_type_id": 1, "pad_token": "</s>"}
        # A normalizer may leave nothing of a token, and nothing matches everywhere there.
        normalizer = Tokenizer.from_str(json.dumps({**data, "added_tokens": data["added_tokens"][:3]})).normalizer
        for token in data["added_tokens"]:
            token["normalized"] &= normalizer is None or normalizer.normalize_str(token["content"]) != ""
        return data

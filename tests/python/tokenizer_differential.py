#!/usr/bin/env python3
"""Compares our tokenizer with Hugging Face `tokenizers`: ids and decoded text of random strings.

    tokenizer_differential.py --ramjet build/ramjet [--count 100000] [--seed 1] [--only NAME]

Needs `pip install -r tests/python/comparisons.txt`. Tokenizers: the fixtures in
tests/data/tokenizers, --random small ones with random parts (random_tokenizers.py), as many
random SentencePiece models, and, where they are, the vocabularies of ../shared/data/tokenizers;
SentencePiece and tiktoken files against their own libraries. Prints the first differences and
ends with "N passed, N failed", counting strings; 1 if any differs.
"""
import argparse
import base64
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
import random_tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "tests/data/tokenizers"
SHARED = ROOT.parent / "shared/data/tokenizers"
WIKITEXT = ROOT.parent / "shared/data/eval"

WHITESPACE = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\n \n", "\u00a0", "\u2003", "\u3000",
              "\u200b", "\u180e", "\u0085", "\u2028", "\u2029", "\x0b", "\x0c", "\u1680", "\ufeff"]
EMOJI = ["😀", "👨‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🇩🇪", "❤️", "1️⃣", "🧑🏿‍🚀", "🤷‍♀️", "☺"]
WORDS = ["the", " the", "Hello", "World", " world's", "I'm", "we'll", "don't", "IT'S", "'ſ", "'LL", "'Re",
         " 'tis", "don’t", "naïve", "Straße", "ĲSSELMEER", "İstanbul", "ΌΔΟΣ", "Привет", " мир", "你好", "世界",
         "こんにちは", "カタカナ", "안녕하세요", "สวัสดี", "नमस्ते", "مرحبا", "שלום", "Tiếng Việt", "ﬁnance", "ⅻ",
         "½", "²", "①", "١٢٣", "１２３", "3.14159", "1234567890", "0x7fff", "a_b", "__init__", "C++", "==>",
         "http://example.com/?q=1&b=2", "foo@bar.org", "\u0301", "e\u0301", "\u0e33", "\u1100\u1161\u11a8",
         "a\u0327\u0301", "a\u0301\u0327", "\u0344", "\ufb2c", "\uac00\u11a8", "\ufffd", "\x00", "\x7f",
         "<0x0A>", "<0xE4>", "▁", "▁▁", "▁the", "Ġ", "Ċ", "<", ">", "|", "<|", "|>", "[INST]", "<unk>", "<s>",
         "</s>", "<pad>", "<mask>", "[MASK]", "Mask", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
         "<|eot_id|>", "<|begin_of_text|>", "<|assistant|>", "<|user|>", "<fim_prefix>", "token", "TOKEN"]
NEWER = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF
         and unicodedata.category(chr(c)) == "Cn"]
MARKS = [c for c in range(0x20000) if unicodedata.category(chr(c))[0] == "M"]
SPECIAL_CATEGORY = [c for c in range(0x3000) if unicodedata.category(chr(c))[0] in "NPSZC"
                    and not 0xD800 <= c <= 0xDFFF]


class Strings:
    """Random texts, many of them adversarial."""

    def __init__(self, seed, extra_tokens):
        self.random = random.Random(seed)
        self.tokens = [t for t in extra_tokens if t]
        self.prose = ""
        for path in sorted(WIKITEXT.rglob("*")) if WIKITEXT.exists() else []:
            if path.is_file() and path.suffix in (".txt", ".raw", ".tokens", ""):
                self.prose += path.read_text(errors="ignore")[:2_000_000]

    def code_point(self):
        r = self.random
        kind = r.randrange(10)
        if kind < 2:
            return chr(r.randrange(0x80))
        if kind < 4:
            return chr(r.randrange(0x80, 0x3000))
        if kind == 4:
            return chr(r.choice(NEWER))
        if kind == 5:
            return chr(r.choice(MARKS))
        if kind == 6:
            return chr(r.choice(SPECIAL_CATEGORY))
        if kind == 7:
            return chr(r.choice([0x1F300, 0x1F600, 0x1D400, 0x10400, 0xAC00, 0x4E00, 0x3040, 0xE000])
                       + r.randrange(0x200))
        c = r.randrange(0x110000)
        return chr(c) if not 0xD800 <= c <= 0xDFFF else "\ufffe"

    def piece(self):
        r = self.random
        kind = r.randrange(14)
        if kind < 4:
            return r.choice(WORDS)
        if kind < 6:
            return r.choice(WHITESPACE)
        if kind == 6:
            return r.choice(EMOJI)
        if kind == 7:
            return "".join(self.code_point() for _ in range(r.randrange(1, 8)))
        if kind == 8:
            return r.choice(WORDS + WHITESPACE + EMOJI) * r.randrange(1, 12)
        if kind == 9:
            return "".join(r.choice("0123456789") for _ in range(r.randrange(1, 12)))
        if kind == 10 and self.tokens:
            token = r.choice(self.tokens)
            edit = r.randrange(6)
            if edit == 0:
                return token[:r.randrange(len(token) + 1)]
            if edit == 1:
                return " " + token + " "
            if edit == 2:
                return token.upper()
            return token
        if kind == 11:
            return "".join(r.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ -_'\".,!?\n")
                           for _ in range(r.randrange(1, 30)))
        if kind == 12 and self.prose:
            at = r.randrange(len(self.prose))
            return self.prose[at:at + r.randrange(1, 200)]
        if kind == 13:
            return self.code_point() * r.choice([1, 2, 3, 7, 31, 64])
        return r.choice(WORDS)

    def text(self):
        return "".join(self.piece() for _ in range(self.random.choice([1, 1, 2, 3, 5, 8, 16])))


def repaired_llama2(folder):
    """The shared file's merges lost their no-break spaces and `tokenizers` refuses it: as pairs."""
    data = json.loads((SHARED / "llama2/tokenizer.json").read_text())
    vocab = data["model"]["vocab"]
    merges = []
    for line in data["model"]["merges"]:
        parts = line.split(" ")
        if len(parts) == 2:
            merges.append(parts)
            continue
        for i in range(len(line)):
            if line[i] == " " and line[:i] in vocab and line[i + 1:] in vocab \
                    and line[:i] + line[i + 1:] in vocab:
                merges.append([line[:i], line[i + 1:]])
                break
    data["model"]["merges"] = merges
    path = folder / "llama2.json"
    path.write_text(json.dumps(data))
    return path


def gpt2():
    t = Tokenizer(models.BPE.from_file(str(SHARED / "gpt2/vocab.json"), str(SHARED / "gpt2/merges.txt")))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|endoftext|>"])
    return t


def qwen2():
    t = Tokenizer(models.BPE.from_file(str(SHARED / "qwen2/vocab.json"), str(SHARED / "qwen2/merges.txt")))
    t.normalizer = normalizers.NFC()
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
               r"|\s*[\r\n]+|\s+(?!\S)|\s+")
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, normalized=False, special=True)
                          for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return t


def llama3():
    from transformers.convert_slow_tokenizer import TikTokenConverter
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
                "<|reserved_special_token_1|>", "<|reserved_special_token_2|>",
                "<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>",
                "<|reserved_special_token_4|>", "<|eot_id|>"]
    specials += [f"<|reserved_special_token_{i}|>" for i in range(5, 5 + 256 - len(specials))]
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
               r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    t = TikTokenConverter(vocab_file=str(SHARED / "llama3/tokenizer.model"), pattern=pattern,
                          extra_special_tokens=specials).converted()
    t.model.ignore_merges = True
    from tokenizers.processors import TemplateProcessing
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = TemplateProcessing("<|begin_of_text|> $A", "<|begin_of_text|> $A $B",
                                          [("<|begin_of_text|>", bos)])
    return t


def subjects(folder):
    """(name, path for us, a function that makes theirs)."""
    out = [(p.parent.name if p.name == "tokenizer.json" else p.stem, p,
            lambda p=p: Tokenizer.from_file(str(p))) for p in sorted(FIXTURES.rglob("*.json"))
           if not p.name.endswith(".expected.json")]
    if SHARED.exists():
        for name in ("smollm2", "phi3-mini", "t5-small"):
            path = SHARED / name / "tokenizer.json"
            out.append((name, path, lambda p=path: Tokenizer.from_file(str(p))))
        llama2 = repaired_llama2(folder)
        out.append(("llama2", llama2, lambda: Tokenizer.from_file(str(llama2))))
        out += [("gpt2", SHARED / "gpt2", gpt2), ("qwen2", SHARED / "qwen2", qwen2),
                ("llama3", SHARED / "llama3", llama3)]
    return out


def sentencepiece_model(seed):
    """A small SentencePiece model with random options, or None where its trainer refuses them."""
    import sentencepiece
    r = random.Random(seed)
    kind = r.choice(["bpe", "unigram", "unigram", "char"])
    extra = {}
    if r.random() < 0.5:
        extra["user_defined_symbols"] = r.choice([["<tool>"], ["▁▁", "the"], ["aa", "\t"], ["é", "<x> y"],
                                                  ["▁▁▁", "▁▁", "1"]])
    if r.random() < 0.3:
        extra["control_symbols"] = ["<ctl>"]
    out = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter((random_tokenizers.TEXT * 3).splitlines() + ["a b c aa aaa aaaa"]),
            model_writer=out, model_type=kind, vocab_size=r.choice([150, 220, 500]), hard_vocab_limit=False,
            byte_fallback=kind != "char" and r.random() < 0.4, add_dummy_prefix=r.random() < 0.7,
            remove_extra_whitespaces=r.random() < 0.5, treat_whitespace_as_suffix=r.random() < 0.25,
            split_digits=r.random() < 0.3, split_by_whitespace=r.random() < 0.8,
            allow_whitespace_only_pieces=r.random() < 0.4,
            normalization_rule_name=r.choice(["identity", "nmt_nfkc", "nfkc_cf"]),
            character_coverage=r.choice([1.0, 0.99]), minloglevel=3, **extra)
    except RuntimeError:
        return None
    return out.getvalue()


class SentencePiece:
    """The sentencepiece library, as far as compare() asks; of texts with unknown parts it shows a
    sign that we do not."""

    def __init__(self, path):
        import sentencepiece
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def answer(self, text):
        ids = self.model.encode(text)
        # What stands in the text as ▁ comes back as spaces, of which the first ones go.
        shown = None if self.model.unk_id() in ids or "▁" in text else self.model.decode(ids)
        return ids, shown


class Tiktoken:
    def __init__(self, path, pattern, form=None):
        import tiktoken
        ranks = {}
        for line in path.read_text().splitlines():
            token, rank = line.split()
            ranks[base64.b64decode(token)] = int(rank)
        self.encoding = tiktoken.Encoding(path.stem, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self.form = form

    def answer(self, text):
        text = unicodedata.normalize(self.form, text) if self.form else text
        return self.encoding.encode_ordinary(text), text


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def tiktoken_subjects(folder):
    """Files of the published sizes and names, made of the vocabularies that are here."""
    from tiktoken_ext import openai_public
    spelled, fresh = {}, 256
    for byte in range(256):
        printable = 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or byte >= 0xAE
        spelled[chr(byte if printable else fresh)] = byte
        fresh += not printable

    def of_vocab(name):
        vocab = json.loads((SHARED / name / "vocab.json").read_text())
        return {bytes(spelled[c] for c in t): i for t, i in vocab.items() if t != "<|endoftext|>"}

    def write(name, ranks):
        path = folder / name
        path.write_text("".join(f"{base64.b64encode(t).decode()} {i}\n"
                                for t, i in sorted(ranks.items(), key=lambda item: item[1])))
        return path

    llama3 = SHARED / "llama3/tokenizer.model"
    lines = llama3.read_text().splitlines(keepends=True)
    cl100k = folder / "ranks.tiktoken"
    cl100k.write_text("".join(lines[:100256]))
    # tiktoken's own patterns; its cl100k stands in a function that would fetch the ranks.
    source = pathlib.Path(openai_public.__file__).read_text()
    cl100k_pattern = source.split('"name": "cl100k_base"')[1].split('r"""')[1].split('"""')[0]
    gpt2_ranks = of_vocab("gpt2")
    p50k = gpt2_ranks | {b" " * (i + 2): 50257 + i for i in range(24) if b" " * (i + 2) not in gpt2_ranks}
    return [("tiktoken-llama3", llama3, lambda: Tiktoken(llama3, LLAMA3)),
            ("tiktoken-cl100k", cl100k, lambda: Tiktoken(cl100k, cl100k_pattern)),
            ("tiktoken-r50k", write("r50k_base.tiktoken", gpt2_ranks),
             lambda: Tiktoken(folder / "r50k_base.tiktoken", openai_public.r50k_pat_str)),
            ("tiktoken-p50k", write("p50k_base.tiktoken", p50k),
             lambda: Tiktoken(folder / "p50k_base.tiktoken", openai_public.r50k_pat_str)),
            ("tiktoken-qwen", write("qwen.tiktoken", of_vocab("qwen2")),
             lambda: Tiktoken(folder / "qwen.tiktoken", LLAMA3.replace("{1,3}", ""), "NFC"))]


def library_subjects(folder, models):
    """(name, path, a function that makes one with answer()) for what has a library of its own."""
    out = []
    for seed in range(models):
        data = sentencepiece_model(seed)
        if data is None:
            continue
        path = folder / f"sentencepiece-{seed}.model"
        path.write_bytes(data)
        out.append((path.stem, path, lambda path=path: SentencePiece(path)))
    if SHARED.exists():
        llama2 = SHARED / "llama2/tokenizer.model"
        out.append(("sentencepiece-llama2", llama2, lambda: SentencePiece(llama2)))
        out += tiktoken_subjects(folder)
    return out


def run_ours(ramjet, path, texts, flags):
    data = "".join(json.dumps(t) + "\n" for t in texts)
    result = subprocess.run([ramjet, "tokenize", str(path), "--batch", *flags], input=data.encode(),
                            capture_output=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{path}: exit {result.returncode}: {result.stderr.decode()[:500]}")
    ours = [json.loads(line) for line in result.stdout.split(b"\n") if line]
    assert len(ours) == len(texts), (path, len(ours), len(texts))
    return ours


class Differences:
    def __init__(self, name):
        self.name = name
        self.count = 0

    def check(self, text, theirs, ours):
        """`theirs`: what we must say, key by key; a value None is not compared."""
        wrong = [key for key, value in theirs.items() if value is not None and ours.get(key) != value]
        if not wrong:
            return
        self.count += 1
        if self.count <= 5:
            print(f"  {self.name}: {text!r:.300}")
            print(f"    theirs {str(theirs[wrong[0]])[:300]}\n    ours   {str(ours.get(wrong[0], ours))[:300]}")


def answer_of(theirs, text, flags):
    """{ids, text, type_ids}, or None where the library itself panics."""
    skipped = set()
    if "--keep-special" not in flags:
        # 0.23 does not skip special tokens that its normalizer changes, so they go before.
        skipped = {i for i, t in theirs.get_added_tokens_decoder().items() if t.special}
    texts = [text] if isinstance(text, str) else text
    try:
        encoding = theirs.encode(*texts, add_special_tokens="--no-special" not in flags)
        decoded = theirs.decode([i for i in encoding.ids if i not in skipped],
                                skip_special_tokens="--keep-special" not in flags)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None
    return {"ids": encoding.ids, "text": decoded, "type_ids": encoding.type_ids if len(texts) == 2 else None}


def compare(name, ramjet, path, theirs, texts, flags):
    ours = run_ours(ramjet, path, texts, flags)
    theirs.encode_special_tokens = "--no-parse-special" in flags
    differences = Differences(f"{name} {' '.join(flags)}")
    for text, our in zip(texts, ours):
        answer = answer_of(theirs, text, flags)
        if answer is not None:
            differences.check(text, answer, our)
    return differences.count


def compare_library(name, ramjet, path, theirs, texts):
    differences = Differences(name)
    for text, our in zip(texts, run_ours(ramjet, path, texts, ["--no-special", "--no-parse-special"])):
        ids, shown = theirs.answer(text)
        differences.check(text, {"ids": ids, "text": shown}, our)
    return differences.count


def compare_random(seed, ramjet, folder, count):
    """A small tokenizer with random parts, with truncation, padding and pairs."""
    data = random_tokenizers.Parts(seed).tokenizer()
    path = folder / f"random-{seed}.json"
    path.write_text(json.dumps(data))
    theirs = Tokenizer.from_file(str(path))
    strings = Strings(seed, [t["content"] for t in data["added_tokens"]])
    texts = [""] + [strings.text() for _ in range(count)]
    texts += [[strings.text(), strings.text()] for _ in range(count // 4)]
    different = compare(f"random-{seed}", ramjet, path, theirs, texts, [])
    different += compare(f"random-{seed}", ramjet, path, theirs, texts,
                         ["--no-special", "--keep-special", "--no-parse-special"])
    path.unlink()
    return 2 * len(texts), different


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ramjet", default=str(ROOT / "build/ramjet"))
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--random", type=int, default=300, help="how many random tokenizers, of 100 strings each")
    args = parser.parse_args()
    total = compared = 0

    def report(name, strings, different):
        nonlocal total, compared
        print(f"{name}: {strings} strings, {different} differ", flush=True)
        total += different
        compared += strings

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, path, make in subjects(folder):
            if args.only and args.only != name:
                continue
            theirs = make()
            theirs.no_truncation()
            theirs.no_padding()
            added = [t.content for t in theirs.get_added_tokens_decoder().values()]
            strings = Strings(args.seed, added)
            texts = [""] + [strings.text() for _ in range(args.count - 1)]
            different = compare(name, args.ramjet, path, theirs, texts, ["--no-limits"])
            rest = texts[: args.count // 10]
            for flags in (["--no-parse-special"], ["--no-special", "--keep-special"]):
                different += compare(name, args.ramjet, path, theirs, rest, [*flags, "--no-limits"])
            report(name, len(texts) + 2 * len(rest), different)
        if not args.only or args.only == "random":
            for seed in range(args.seed, args.seed + args.random):
                strings, different = compare_random(seed, args.ramjet, folder, 100)
                total += different
                compared += strings
            report(f"random tokenizers from seed {args.seed}", 0, 0)
        # Each library is asked for only where it is needed.
        wanted = not args.only or args.only.startswith(("sentencepiece", "tiktoken"))
        for name, path, make in library_subjects(folder, args.random // 10) if wanted else []:
            if args.only and args.only != name:
                continue
            strings = Strings(args.seed, ["<s>", "</s>", "<tool>", "the  the", "▁▁"])
            count = args.count if path.is_relative_to(SHARED) or path.suffix == ".tiktoken" else 1000
            texts = [""] + [strings.text() for _ in range(min(count, args.count) - 1)]
            texts += [" " * n + "x" for n in range(60)] + ["aa" * n for n in range(40)]
            report(name, len(texts), compare_library(name, args.ramjet, path, make(), texts))
    print(f"{compared - total} passed, {total} failed")
    sys.exit(1 if total or not compared else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Encoding speed of ours beside Hugging Face `tokenizers`: one thread, the same lines, one run.

    bench/tokenizer_speed.py [--bench build/bin/text_bench] > bench/results/MACHINE/tokenizers.json

Prose is WikiText-2, code this repository's own. Times are CPU seconds of the process, which a
busy machine disturbs less; the better of two rounds. Vocabularies that nobody published here
(WordPiece, a Unigram with byte fallback) are trained on the prose. Needs tests/python/comparisons.txt.
"""
import argparse
import os
import pathlib
import sys
import tempfile
import time

import speed

ROOT = speed.ROOT
sys.path.insert(0, str(ROOT / "tests/python"))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizer_differential as differential
from tokenizers import Tokenizer, __version__, decoders, models, normalizers, pre_tokenizers, trainers

MADE = ROOT / "build/tokenizer-speed"
PROSE = differential.SHARED.parent / "eval/wikitext-2/valid.txt"


def code():
    paths = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "src").rglob("*") if p.suffix in (".h", ".cc"))
    return "".join((ROOT / p).read_text() for p in paths)


def train(prose):
    """WordPiece as BERT has it."""
    MADE.mkdir(parents=True, exist_ok=True)
    bert = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bert.normalizer = normalizers.BertNormalizer()
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bert.decoder = decoders.WordPiece()
    bert.train_from_iterator(prose.splitlines(), trainers.WordPieceTrainer(
        vocab_size=30000, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    bert.save(str(MADE / "word-piece.json"))


def seconds(lines, tokenizer):
    best = float("inf")
    for _ in range(2):
        start = time.process_time()
        tokenizer.encode_batch_fast(lines)
        best = min(best, time.process_time() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bench", default=str(ROOT / "build/bin/text_bench"))
    args = parser.parse_args()
    texts = {"prose": PROSE.read_text(), "code": code()}
    train(texts["prose"])
    ours = speed.our_rates(args.bench, "/(prose|code)$", "bytes", 2)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        makers = {name: make for name, _, make in differential.subjects(pathlib.Path(folder))}
        makers["word-piece.json"] = lambda: Tokenizer.from_file(str(MADE / "word-piece.json"))
        for name in sorted({n.split("/")[0] for n in ours}):
            theirs = makers[name]()
            theirs.no_truncation()
            theirs.no_padding()
            for kind, text in texts.items():
                lines = [line for line in text.split("\n") if line]
                rate = len(text.encode()) / seconds(lines, theirs)
                rows.append({"tokenizer": name, "text": kind, "ours_mb_s": round(ours[f"{name}/{kind}"] / 1e6, 2),
                             "theirs_mb_s": round(rate / 1e6, 2), "ratio": round(ours[f"{name}/{kind}"] / rate, 2)})
                print(rows[-1], file=sys.stderr, flush=True)
    sizes = {kind: len(text.encode()) for kind, text in texts.items()}
    speed.report({"tokenizers": __version__, "clock": "process CPU time, the better of 2", "bytes": sizes}, rows)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes small SentencePiece models into tests/data/sentencepiece, and what their library makes of
some texts: NAME.model, NAME.expected.json ({text, ids}). Needs `pip install sentencepiece`."""
import io
import json
import pathlib
import sys

import sentencepiece

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests/data/sentencepiece"
sys.path.insert(0, str(ROOT / "tests/python"))
sys.path.insert(0, str(ROOT / "tools"))
from make_tokenizer_fixtures import SAMPLES, TEXT

# What characters of a text become.
RULES = "".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n"
                for a, b in [("ﬁ", "fi"), ("\u3000", " "), ("\t", " "), ("e\u0301", "é"), ("\u200b", "")])
KINDS = {
    "bpe_bytes": dict(model_type="bpe", byte_fallback=True, vocab_size=420, remove_extra_whitespaces=False,
                      user_defined_symbols=["<tool>", "▁▁"], normalization_rule_name="identity"),
    "unigram_rules": dict(model_type="unigram", vocab_size=180, user_defined_symbols=["word"], rules=True),
    "unigram_suffix": dict(model_type="unigram", vocab_size=180, treat_whitespace_as_suffix=True,
                           add_dummy_prefix=True, normalization_rule_name="identity"),
    "char": dict(model_type="char", vocab_size=200, add_dummy_prefix=False, remove_extra_whitespaces=False,
                 normalization_rule_name="identity"),
}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rules = OUT / "rules.tsv"
    rules.write_text(RULES)
    for name, options in KINDS.items():
        if options.pop("rules", False):
            options["normalization_rule_tsv"] = str(rules)
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT.splitlines()), model_writer=model, hard_vocab_limit=False, num_threads=1,
            minloglevel=3, character_coverage=0.98, **options)
        data = model.getvalue().replace(str(rules).encode(), b"r" * len(str(rules)))
        (OUT / f"{name}.model").write_bytes(data)
        processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        lines = [json.dumps({"text": t, "ids": processor.encode(t)}) for t in SAMPLES]
        (OUT / f"{name}.expected.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(f"{name}: {len(data)} bytes")
    rules.unlink()


if __name__ == "__main__":
    main()

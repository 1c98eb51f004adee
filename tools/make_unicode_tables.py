#!/usr/bin/env python3
"""Writes src/text/tokenizer/unicode_tables.inc.

Hugging Face `tokenizers` mixes several Unicode versions: its regex engine knows 16, its
normalization 12, its punctuation 8, its digits 17. To be equal to the byte we ask the library
itself, one code point at a time, and write down the answers as ranges. Needs Python 3.11 (whose
unicodedata is version 14, like PCRE2 10.42; utf8proc 2.8 has 15) and `pip install tokenizers`.
"""
import pathlib
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", "run this with Python 3.11"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def regex_set(pattern, points):
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    found = set()
    for i in range(0, len(points), 20000):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, points[i:i + 20000]))):
            found.update(map(ord, piece))
    return found


def emit(out, name, comment, points):
    out.append(f"// {comment}")
    out.append(f"constexpr Range {name}[] = {{")
    row = "   "
    for a, b in ranges(points):
        item = f" {{0x{a:x}, 0x{b:x}}},"
        if len(row) + len(item) > 98:
            out.append(row)
            row = "   "
        row += item
    out += [row, "};", ""]


def script_ranges():
    """(first, last, class) as UnicodeScripts cuts: a class for each set of characters that it keeps together."""
    scripts = pre_tokenizers.UnicodeScripts()

    def count(text):
        return len(scripts.pre_tokenize_str(text))

    # "Any" joins a Latin and a Cyrillic neighbour alike, and vanishes at the start of a text.
    classed = [c for c in POINTS if not (count("a" + chr(c)) == 1 and count("\u0430" + chr(c)) == 1)]
    known, found = [], []
    for i in range(0, len(classed), 5000):
        for run, _ in scripts.pre_tokenize_str("".join(map(chr, classed[i:i + 5000]))):
            number = next((k for k, c in enumerate(known) if count(c + run[0]) == 1), len(known))
            if number == len(known):
                known.append(run[0])
            for c in map(ord, run):
                if found and found[-1][1:] == [c - 1, number]:
                    found[-1][1] = c
                else:
                    found.append([c, c, number])
    return found


def removed_by(normalizer, points):
    return {c for c in points if normalizer.normalize_str("a" + chr(c) + "a") == "aa"}


def main():
    out = ["// Written by tools/make_unicode_tables.py from the behaviour of tokenizers "
           + tokenizers.__version__ + ". Do not edit.", "// clang-format off", ""]
    fresh = [c for c in POINTS if unicodedata.category(chr(c)) == "Cn"]
    out.append("// Code points newer than Unicode 14 and their general category in Unicode 16.")
    out.append("constexpr CategoryRange kNewerCategories[] = {")
    for name in CATEGORIES:
        row = "   "
        for a, b in ranges(regex_set(r"\p{%s}" % name, fresh)):
            item = f" {{0x{a:x}, 0x{b:x}, UTF8PROC_CATEGORY_{name.upper()}}},"
            if len(row) + len(item) > 98:
                out.append(row)
                row = "   "
            row += item
        if row.strip():
            out.append(row)
    out += ["};", ""]

    old = set(POINTS) - set(fresh)
    numbers = regex_set(r"\p{N}", POINTS)
    digits = pre_tokenizers.Digits(True)
    numeric = {c for c in POINTS if len(digits.pre_tokenize_str("a" + chr(c) + "a")) == 3}
    assert numbers <= numeric
    emit(out, "kNewerNumeric", "Numeric for the Digits pre-tokenizer, not for \\p{N}.",
         numeric - numbers)
    regex_word = regex_set(r"\w", POINTS)
    ws = pre_tokenizers.Whitespace()
    rust_word = {c for c in POINTS if len(ws.pre_tokenize_str("a" + chr(c) + "a")) == 1}
    letters = regex_set(r"[\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]", POINTS)
    assert letters <= regex_word | rust_word
    emit(out, "kRegexWordExtra", "\\w of patterns beyond L, M, Nd, Nl and Pc.", regex_word - letters)
    assert letters <= regex_word
    emit(out, "kWordExtra", "\\w of Whitespace and added tokens beyond L, M, Nd, Nl and Pc.",
         rust_word - letters)
    assert letters <= rust_word
    for script in ("Han", "Hiragana", "Katakana", "Hangul", "Latin", "Cyrillic", "Greek", "Arabic",
                   "Hebrew", "Thai", "Devanagari"):
        newer = regex_set(r"\p{%s}" % script, fresh)
        if newer:
            emit(out, f"kNewer{script}", f"Script {script} newer than Unicode 14.", newer)
    punct = pre_tokenizers.Punctuation()
    emit(out, "kPunctuation", "What the Punctuation pre-tokenizer isolates.",
         {c for c in POINTS if len(punct.pre_tokenize_str("a" + chr(c) + "a")) == 3})
    emit(out, "kCombining", "What StripAccents removes.",
         removed_by(normalizers.StripAccents(), POINTS))
    bert = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    emit(out, "kBertNonspacing", "What BertNormalizer's strip_accents removes after NFD.",
         removed_by(normalizers.BertNormalizer(**{**bert, "strip_accents": True}), POINTS))
    clean = normalizers.BertNormalizer(**{**bert, "clean_text": True})
    emit(out, "kBertControl", "What BertNormalizer's clean_text removes.",
         removed_by(clean, POINTS))
    inert = set()
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    for c in sorted(old):
        s = chr(c)
        # U+0345 has the highest combining class, 240: whatever has a class moves in front of it.
        if unicodedata.combining(s) not in (0, 240) and nfd.normalize_str("a\u0345" + s) == "a\u0345" + s:
            inert.add(c)
        if nfkd.normalize_str(s) != unicodedata.normalize("NFKD", s):
            inert.add(c)
    for c in list(inert):  # parts that would compose into a character that must not appear
        parts = unicodedata.normalize("NFD", chr(c))
        if len(parts) > 1 and normalizers.NFC().normalize_str(parts) == parts:
            inert.update(map(ord, parts))
    emit(out, "kInert", "Code points that Unicode 12's normalization does not know.", inert)
    out.append("// Scripts as UnicodeScripts counts them; what is in no range is \"Any\".")
    out.append("constexpr ScriptRange kScriptClasses[] = {")
    row = "   "
    for a, b, script in script_ranges():
        item = f" {{0x{a:x}, 0x{b:x}, {script}}},"
        if len(row) + len(item) > 98:
            out.append(row)
            row = "   "
        row += item
    out += [row, "};", ""]
    lower = normalizers.Lowercase()
    out.append("// Lowercase of code points newer than Unicode 14.")
    out.append("constexpr LowerPair kNewerLower[] = {")
    row = "   "
    for c in fresh:
        low = lower.normalize_str(chr(c))
        if low != chr(c):
            item = f" {{0x{c:x}, 0x{ord(low):x}}},"
            if len(row) + len(item) > 98:
                out.append(row)
                row = "   "
            row += item
    out += [row, "};", ""]
    path = pathlib.Path(__file__).parent.parent / "src/text/tokenizer/unicode_tables.inc"
    path.write_text("\n".join(out))


if __name__ == "__main__":
    main()

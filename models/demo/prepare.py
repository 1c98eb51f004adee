"""Corpora -> cleaned documents -> tokenizer -> uint16 token files for train.py.

    python models/demo/prepare.py --corpora ../shared/data/corpora --out /tmp/demo-data

Writes OUT/tokenizer.json and, for each split (train, held) and source, one stream of documents:
wiki, novels (plain text: <|bos|> text <|endoftext|>) and chat (rendered conversations, with a bit
mask of the tokens an answer consists of). A document is held out when the first byte of the SHA-256
of its key is small: an article's title, a novel's file name, an instruction's (data set, line).
Conversations made from an article or a novel follow that article's or novel's split, so nothing
held out is trained on.
"""

import argparse
import hashlib
import json
import lzma
import multiprocessing
import random
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import chat_data
from text_setup import ASSISTANT, BOS, EOD, EOT, SYSTEM, USER, train_tokenizer

HELD_OF_256 = {"wiki": 3, "novels": 5, "chat": 5, "stories": 5}


def held(kind, key):
    digest = hashlib.sha256(f"{kind}:{key}".encode()).digest()
    return digest[0] < HELD_OF_256[kind]


def members(path):
    with tarfile.open(path) as tar:
        for m in sorted((m for m in tar.getmembers() if m.isfile()), key=lambda m: m.name):
            yield m.name, tar.extractfile(m).read().decode("utf-8", "replace")


def wiki_articles(corpora):
    """(title, paragraphs) of every article with at least 200 characters of text"""
    doc = re.compile(r'<doc id="[^"]*" url="[^"]*" title="([^"]*)">\n(.*?)</doc>', re.S)
    for _, text in members(corpora / "enwiki_WikiTasks_text_AA.tar.xz"):
        for title, body in doc.findall(text):
            lines = [re.sub(r"[ \t]+", " ", x).strip() for x in body.split("\n")]
            lines = [x for x in lines if x]
            if lines and lines[0] == title:
                lines = lines[1:]
            lines = [re.sub(r"\(\s*[;,]?\s*\)", "", x).replace("  ", " ") for x in lines]
            if sum(map(len, lines)) >= 200:
                yield title.replace("&amp;", "&").replace("&quot;", '"'), lines


def novels(corpora):
    """(file name, paragraphs); apostrophes lost in a few digitisations are put back"""
    for name, text in members(corpora / "100_english_novels.tar.xz"):
        text = text.lstrip("\ufeff").replace("\r", "")
        text = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2014: "--"})
        if text.count("'") < 100:
            text = re.sub(r"\b(\w+n) t\b", r"\1't", text)
            text = re.sub(r"\b(\w+) (s|ll|re|ve|d)\b", r"\1'\2", text)
            text = re.sub(r"\bI m\b", "I'm", text)
        paragraphs = [re.sub(r"\s+", " ", p).strip() for p in re.split(r"\n\s*\n|\n", text)]
        yield name, [p for p in paragraphs if p]


def stories(corpora):
    """(title, paragraphs) of the children's stories under CC BY

    Those under CC BY-NC and BY-NC-SA are left out: weights made from these data may be used by
    anyone. (The weights beside this script are older than this rule; see README.md.)
    """
    for path in sorted((corpora / "african_storybook_en").glob("*.md")):
        text = path.read_text()
        if not re.search(r"^\* License: \[CC-BY\]$", text, re.M):
            continue
        title = re.search(r"^# (.+)$", text, re.M)
        pages = [
            re.sub(r"\s+", " ", re.sub(r"^[#*].*$", "", p, flags=re.M)).strip()
            for p in re.split(r"^##.*$", text, flags=re.M)[1:]
        ]
        pages = [p for p in pages if p and "License" not in p and "http" not in p]
        if title and pages:
            yield title.group(1).strip(), pages


def instructions(corpora, rng):
    """((data set, line), prompt, answer)

    The templates of a data set ask about the same examples, line by line: two are kept of each.
    """
    files = [
        (chat_data.data_set(Path(name).stem), text)
        for name, text in members(corpora / "t0_train_50k_instructions.tar.xz")
    ]
    templates = Counter(name for name, _ in files)
    for name, text in files:
        for number, line in enumerate(text.splitlines()):
            if rng.random() > 2 / templates[name]:
                continue
            row = json.loads(line)
            prompt = row["prompt"].replace("\\n", "\n").strip()
            answer = row["completion"].replace("<|endoftext|>", "").strip()
            if prompt and answer:
                yield (name, number), prompt, answer


def load(corpora, seed):
    """{split: {source: documents}}: text, or a list of (role, content) turns"""
    out = {s: {"wiki": [], "novels": [], "chat": []} for s in ("train", "held")}
    rng = random.Random(seed)
    for title, lines in wiki_articles(corpora):
        split = out["held" if held("wiki", title) else "train"]
        split["wiki"].append(title + "\n\n" + "\n".join(lines))
        split["chat"] += chat_data.from_article(rng, title, lines)
    for name, paragraphs in novels(corpora):
        split = out["held" if held("novels", name) else "train"]
        split["novels"].append("\n\n".join(paragraphs))
        split["chat"] += chat_data.from_novel(rng, paragraphs)
    for title, pages in stories(corpora):
        split = out["held" if held("stories", title) else "train"]
        split["novels"].append(title + "\n\n" + "\n\n".join(pages))
        split["chat"] += chat_data.from_story(rng, title, pages)
    for key, prompt, answer in instructions(corpora, rng):
        split = out["held" if held("chat", key) else "train"]
        split["chat"] += chat_data.from_instruction(key[0], prompt, answer)
    out["train"]["chat"] += chat_data.small_talk(rng)
    out["train"]["chat"] = chat_data.with_context(rng, out["train"]["chat"])
    for split in out.values():
        for docs in split.values():
            rng.shuffle(docs)
    return out


TOK = None
CONTEXT = 2048


def encode_batch(args):
    """documents -> (ids, answer mask, text bytes, answer bytes) of the batch"""
    docs, chat = args
    special = {t: TOK.token_to_id(t) for t in (BOS, EOD, EOT, SYSTEM, USER, ASSISTANT)}
    ids, mask, nbytes = [], [], 0
    for doc in docs:
        if not chat:
            ids += [special[BOS], *TOK.encode(doc, add_special_tokens=False).ids, special[EOD]]
            nbytes += len(doc.encode())
            continue
        one, own, size = [special[BOS]], [0], 0
        for role, content in doc:
            body = TOK.encode(content.strip(), add_special_tokens=False).ids + [special[EOT]]
            one += [special[f"<|{role}|>"], *body]
            own += [0] + [int(role == "assistant")] * len(body)
            size += len(content.strip().encode()) if role == "assistant" else 0
        if len(one) <= CONTEXT:
            ids, mask, nbytes = ids + one, mask + own, nbytes + size
    return np.array(ids, np.uint16), np.array(mask, np.uint8), nbytes


def init_worker(path):
    global TOK
    TOK = Tokenizer.from_file(path)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--corpora", type=Path, default=Path("../shared/data/corpora"))
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--vocab", type=int, default=5120)
    p.add_argument("--seed", type=int, default=20)
    p.add_argument(
        "--limit", type=int, default=0, help="documents a source (0: all), for a quick trial"
    )
    p.add_argument("--workers", type=int, default=2)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    data = load(a.corpora, a.seed)
    tok_path = a.out / "tokenizer.json"
    if not tok_path.exists():
        train = data["train"]
        sample = [d[:3000] for d in train["wiki"][:5000]]
        sample += [d[i : i + 40000] for d in train["novels"] for i in range(0, len(d), 400000)]
        sample += [c for d in train["chat"][:12000] for _, c in d]
        train_tokenizer((s for s in sample), a.vocab).save(str(tok_path))
        print(f"tokenizer trained on {sum(map(len, sample)) / 1e6:.1f} MB", flush=True)
    facts = {"seed": a.seed, "vocab": a.vocab, "sources": {}}
    with multiprocessing.Pool(a.workers, init_worker, (str(tok_path),)) as pool:
        for split, sources in data.items():
            for source, docs in sources.items():
                if a.limit:
                    docs = docs[: a.limit]
                step = 1 if source == "novels" else 500
                batches = [
                    (docs[i : i + step], source == "chat") for i in range(0, len(docs), step)
                ]
                parts = list(pool.imap(encode_batch, batches))
                ids = np.concatenate([x[0] for x in parts])
                with lzma.open(a.out / f"{split}_{source}.u16.xz", "wb", preset=2) as f:
                    f.write(ids.tobytes())
                mask = np.concatenate([x[1] for x in parts])
                if source == "chat":
                    with lzma.open(a.out / f"{split}_{source}.mask.xz", "wb", preset=2) as f:
                        f.write(np.packbits(mask).tobytes())
                row = {
                    "documents": len(docs),
                    "tokens": len(ids),
                    "bytes": sum(x[2] for x in parts),
                }
                if source == "chat":
                    row["answer_tokens"] = int(mask.sum())
                facts["sources"][f"{split}_{source}"] = row
                print(split, source, row, flush=True)
    (a.out / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()

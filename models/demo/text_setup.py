"""The demo model's tokenizer and chat format, in Hugging Face form.

Byte-level BPE with a Llama-3 style pre-tokenizer, six special tokens, and a chat template of our
own:

    <|bos|><|system|>S<|end|><|user|>U<|end|><|assistant|>A<|end|>

`<|bos|>` opens every document or conversation, `<|end|>` ends a turn, `<|endoftext|>` ends plain
text.
"""

import json
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

BOS, EOT, EOD = "<|bos|>", "<|end|>", "<|endoftext|>"
SYSTEM, USER, ASSISTANT, PAD = "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"
SPECIALS = [EOD, BOS, EOT, SYSTEM, USER, ASSISTANT, PAD]

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message.role not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('the roles are system, user and assistant, not ' + message.role) -}}
    {%- endif -%}
    {%- if message.role == 'system' and not loop.first -%}
        {{- raise_exception('a system message must come first') -}}
    {%- endif -%}
    {{- '<|' + message.role + '|>' + message.content | trim + '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant|>' -}}
{%- endif -%}
"""


def train_tokenizer(texts, vocab_size):
    tok = Tokenizer(models.BPE(ignore_merges=False))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        max_token_length=24,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tok.train_from_iterator(texts, trainer)
    bos = tok.token_to_id(BOS)
    tok.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B:1", special_tokens=[(BOS, bos)]
            ),
        ]
    )
    return tok


def write_text_files(folder, tok, context):
    """the tokenizer's files, chat_template.jinja and generation_config.json"""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    ids = {t: tok.token_to_id(t) for t in SPECIALS}

    def dump(name, value):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    dump(
        "tokenizer_config.json",
        {
            "add_bos_token": True,
            "added_tokens_decoder": {
                str(i): {
                    "content": t,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for t, i in ids.items()
            },
            "bos_token": BOS,
            "eos_token": EOT,
            "pad_token": PAD,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": context,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    dump("special_tokens_map.json", {"bos_token": BOS, "eos_token": EOT, "pad_token": PAD})
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    dump(
        "generation_config.json",
        {
            "bos_token_id": ids[BOS],
            "eos_token_id": [ids[EOT], ids[EOD]],
            "pad_token_id": ids[PAD],
            "do_sample": True,
            "temperature": 0.7,
            "top_p": 0.9,
        },
    )

"""What a request asks for, and what comes back. Plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Union


@dataclass
class SamplingParams:
    """How tokens are chosen and when a sequence ends.

    The names and defaults are those of OpenAI's completions and of other engines; values are
    checked when a request is submitted. `structured_outputs` holds one of `json` (a schema),
    `regex`, `choice`, `grammar` and `json_object`.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 and -1: off
    min_p: float = 0.0
    max_tokens: Optional[int] = 16  # None: what the context leaves
    min_tokens: int = 0
    stop: Union[str, Sequence[str], None] = None
    stop_token_ids: Optional[Sequence[int]] = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    seed: Optional[int] = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logprobs: Optional[int] = None
    prompt_logprobs: Optional[int] = None
    logit_bias: Optional[Mapping[int, float]] = None
    allowed_token_ids: Optional[Sequence[int]] = None
    bad_words: Optional[Sequence[str]] = None
    skip_special_tokens: bool = True
    structured_outputs: Optional[Mapping[str, Any]] = None
    priority: int = 0

    def stops(self) -> list[str]:
        """The stop texts as a list."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else list(self.stop)

    def _grammar(self) -> str:
        if not self.structured_outputs:
            return ""
        if len(self.structured_outputs) != 1:
            raise ValueError("structured_outputs: one of json, regex, choice, grammar, json_object")
        ((kind, value),) = self.structured_outputs.items()
        if kind == "json":
            return json.dumps({"json_schema": json.loads(value) if isinstance(value, str) else value})
        if kind == "json_object":
            return json.dumps({"json_object": True})
        if kind == "grammar":
            return json.dumps({"ebnf": value})
        if kind in ("regex", "choice"):
            return json.dumps({kind: list(value) if kind == "choice" else value})
        raise ValueError(f"structured_outputs: '{kind}' is not one of json, regex, choice, grammar")

    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = {
            "n": self.n,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": max(self.top_k, 0),
            "min_p": self.min_p,
            "max_tokens": -1 if self.max_tokens is None else self.max_tokens,
            "min_tokens": self.min_tokens,
            "ignore_eos": self.ignore_eos,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "logprobs": -1 if self.logprobs is None else self.logprobs,
            "prompt_logprobs": -1 if self.prompt_logprobs is None else self.prompt_logprobs,
            "stop_ids": list(self.stop_token_ids or ()),
            "allowed_ids": list(self.allowed_token_ids or ()),
            "bias": [(int(k), float(v)) for k, v in (self.logit_bias or {}).items()],
            "grammar": self._grammar(),
            "priority": self.priority,
        }
        if self.seed is not None:
            request["seed"] = self.seed % 2**64
        return request


@dataclass
class Logprob:
    """Of one token at one position, after a softmax at temperature 1."""

    logprob: float
    rank: int  # 1 is the most likely
    decoded_token: str


@dataclass
class CompletionOutput:
    """One sequence of a request, so far."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: Optional[float] = None
    logprobs: Optional[list[dict[int, Logprob]]] = None
    finish_reason: Optional[str] = None  # "stop", "length", "abort"
    stop_reason: Union[int, str, None] = None  # the token or text that stopped it
    text_diff: str = ""  # what came since the last output of a stream
    token_ids_diff: list[int] = field(default_factory=list)


@dataclass
class RequestOutput:
    """One prompt and its sequences."""

    request_id: str
    prompt: Optional[str]  # None if it was given as token ids
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = False
    num_cached_tokens: int = 0  # of the prompt, served from the prefix cache
    prompt_logprobs: Optional[list[Optional[dict[int, Logprob]]]] = None

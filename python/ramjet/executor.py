"""Executor: the shape that TensorRT-LLM's users know; greedy, or beam search."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Union

from ._session import interruptible
from .llm import LLM, Prompt, _list_of
from .sampling import CompletionOutput, RequestOutput, SamplingParams


class Executor:
    """A model that continues prompts.

    With `max_beam_width` above 1, generate() searches that many beams (transformers' beam search,
    token for token) and gives them all, the best first. `options` are those of LLM.
    """

    def __init__(self, model_path: str, max_beam_width: int = 1, **options: Any) -> None:
        if max_beam_width < 1:
            raise ValueError(f"max_beam_width is {max_beam_width}; 1 is the least")
        self.max_beam_width = max_beam_width
        self._llm = LLM(model_path, **options)

    def generate(
        self,
        prompts: Union[Prompt, Sequence[Prompt]],
        max_new_tokens: int = 32,
        *,
        sampling_params: Optional[SamplingParams] = None,
        beam_width: Optional[int] = None,
        length_penalty: float = 1.0,
    ) -> list[RequestOutput]:
        """One output a prompt. Greedy unless `sampling_params` say otherwise (their max_tokens
        gives way to `max_new_tokens`)."""
        width = self.max_beam_width if beam_width is None else beam_width
        if not 1 <= width <= self.max_beam_width:
            raise ValueError(f"beam_width is {width}, max_beam_width {self.max_beam_width}")
        if width > 1:
            return self._search(_list_of(prompts), width, max_new_tokens, length_penalty)
        params = sampling_params or SamplingParams(temperature=0)
        params = SamplingParams(**{**vars(params), "max_tokens": max_new_tokens})
        return self._llm.generate(prompts, params)

    def _search(
        self, prompts: list[Prompt], width: int, max_tokens: int, length_penalty: float
    ) -> list[RequestOutput]:
        llm = self._llm
        outputs = [llm._running(prompt, SamplingParams()).output for prompt in prompts]
        eos = llm._engine.model["eos_ids"]
        options = {
            "width": width,
            "count": width,
            "max_tokens": max_tokens,
            "length_penalty": length_penalty,
            "eos_ids": eos,
        }
        ids = [output.prompt_token_ids for output in outputs]
        found = interruptible(llm._executor.beam_search, ids, options)
        for output, beams in zip(outputs, found):
            output.finished = True
            output.outputs = [
                CompletionOutput(
                    index=i,
                    text=llm.decode(beam),
                    token_ids=beam,
                    cumulative_logprob=score * max(len(beam), 1) ** length_penalty,
                    finish_reason="stop" if stopped else "length",
                )
                for i, (beam, score, stopped) in enumerate(beams)
            ]
        return outputs

    def stats(self) -> dict[str, Any]:
        """See LLM.stats()."""
        return self._llm.stats()

    def shutdown(self) -> None:
        """See LLM.shutdown()."""
        self._llm.shutdown()

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

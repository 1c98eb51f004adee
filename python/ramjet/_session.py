"""Models found and engines loaded; requests on their way through an executor."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence, TypeVar

from . import _core
from .errors import NotFound, of
from .sampling import CompletionOutput, Logprob, RequestOutput, SamplingParams

T = TypeVar("T")
_SLICE_S = 0.1  # between two looks at signals


def interruptible(call: Callable[..., T], *arguments: Any) -> T:
    """call(*arguments) beside this thread, so that Ctrl-C is heard at once.

    What was begun then goes on in the background; engine files appear whole or not at all.
    """
    result: list[Any] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            result.append(call(*arguments))
        except BaseException as error:  # handed to who waits
            failure.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True, name="ramjet").start()
    while not done.wait(_SLICE_S):
        pass
    if failure:
        raise failure[0]
    return result[0]


def find_model(model: str) -> str:
    """A path as it is; ORG/NAME is its newest snapshot in the Hugging Face cache."""
    if os.path.exists(model) or model.count("/") != 1 or model.startswith((".", "/", "~")):
        return model
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    repo = cache / ("models--" + model.replace("/", "--"))
    main = repo / "refs" / "main"
    if main.exists():
        return str(repo / "snapshots" / main.read_text().strip())
    raise NotFound(f"{model}: neither a path nor in {cache}; fetch it with: ramjet pull {model}")


def load_engine(model: str, build: dict[str, Any]) -> _core.Engine:
    """The engine of a checkpoint (from the cache, or built into it), or an engine file."""
    path = interruptible(_core.resolve_engine, find_model(str(model)), build)
    return interruptible(_core.Engine.load, path)


class Running:
    """One request: what has come of it, as a RequestOutput that grows."""

    def __init__(
        self,
        executor: Any,
        engine: Any,
        prompt: Optional[str],
        ids: list[int],
        params: SamplingParams,
    ) -> None:
        self._executor, self._engine, self._params = executor, engine, params
        self.id = 0
        self.error: Optional[Exception] = None
        options = {
            "stop": params.stops(),
            "include_stop": params.include_stop_str_in_output,
            "skip_special": params.skip_special_tokens,
        }
        self._texts = [_core.TextStream(engine, options, ids) for _ in range(params.n)]
        self._told = [(0, 0)] * params.n  # characters and tokens of the last output told
        self.output = RequestOutput(
            request_id="",
            prompt=prompt,
            prompt_token_ids=ids,
            outputs=[CompletionOutput(index=i) for i in range(params.n)],
        )

    def submit(self, queue: Any, tag: int) -> None:
        request = self._params._request()
        request["prompt_ids"] = self.output.prompt_token_ids
        if self._params.bad_words:
            request["bad_words"] = self._engine.bad_word_ids(list(self._params.bad_words))
        self.id = self._executor.submit(request, queue, tag)
        self.output.request_id = str(self.id)

    def cancel(self) -> None:
        if not self.output.finished:
            self._executor.cancel(self.id)

    def _table(self, tokens: Iterable[tuple[int, float, int]]) -> dict[int, Logprob]:
        return {
            i: Logprob(logprob, rank, self._engine.decode([i])) for i, logprob, rank in tokens
        }

    def _add_logprobs(self, sequence: CompletionOutput, positions: Sequence[Any]) -> None:
        if sequence.logprobs is None:
            sequence.logprobs, sequence.cumulative_logprob = [], 0.0
        for tokens in positions:
            sequence.logprobs.append(self._table(tokens))
            sequence.cumulative_logprob = (sequence.cumulative_logprob or 0.0) + tokens[0][1]

    def take(self, event: dict[str, Any]) -> None:
        """Adds one event; the last one finishes the request."""
        output, sequence = self.output, self.output.outputs[event["index"]]
        output.num_cached_tokens = max(output.num_cached_tokens, event["cached_tokens"])
        if "prompt_logprobs" in event:
            positions = event["prompt_logprobs"]
            output.prompt_logprobs = [self._table(t) if t else None for t in positions]
        if event["error"] is not None and self.error is None:
            self.error = of(*event["error"])
        if sequence.finish_reason is None:
            stream = self._texts[event["index"]]
            sequence.token_ids.extend(event["ids"])
            sequence.text += stream.push(event["ids"])
            self._add_logprobs(sequence, event.get("logprobs", ()))
            if stream.stopped_by is None and event["finish"] is not None:
                sequence.text += stream.finish()
            if stream.stopped_by is not None:
                sequence.finish_reason, sequence.stop_reason = "stop", stream.stopped_by
                if event["finish"] is None:
                    self._executor.cancel(self.id, event["index"])
            elif event["finish"] is not None:
                sequence.finish_reason, sequence.stop_reason = event["finish"], event["stop_id"]
        output.finished = output.finished or event["last"]

    def tell(self) -> RequestOutput:
        """The output, its diffs against the one told before."""
        for i, sequence in enumerate(self.output.outputs):
            characters, tokens = self._told[i]
            sequence.text_diff = sequence.text[characters:]
            sequence.token_ids_diff = sequence.token_ids[tokens:]
            self._told[i] = (len(sequence.text), len(sequence.token_ids))
        return self.output


def run_all(requests: list[Running]) -> Iterator[Running]:
    """Submits all and yields each that something came of; an error ends them all."""
    queue = _core.EventQueue()
    open_requests = 0
    try:
        for tag, request in enumerate(requests):
            request.submit(queue, tag)
            open_requests += 1
        while open_requests:
            for event in queue.wait(_SLICE_S):
                request = requests[event["tag"]]
                request.take(event)
                open_requests -= bool(event["last"])
                if request.error is not None:
                    raise request.error
                yield request
    finally:  # an error, Ctrl-C, or nobody who takes the rest
        for request in requests:
            if request.output.request_id:
                request.cancel()

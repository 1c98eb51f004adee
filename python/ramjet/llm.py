"""LLM: a model, prompts in, texts out; at once, streamed, or from an event loop."""

from __future__ import annotations

import asyncio
import json
from typing import Any, AsyncIterator, Generator, Iterator, Mapping, Optional, Sequence, Union

from . import _core
from ._session import Running, load_engine, run_all
from .errors import InvalidArgument
from .sampling import RequestOutput, SamplingParams

Prompt = Union[str, Sequence[int], Mapping[str, Any]]
Message = Mapping[str, Any]


class Generation:
    """A request of an event loop: `async for` gives its output as it grows, `await` its end."""

    def __init__(self, llm: "LLM", running: Running) -> None:
        self._llm, self._running = llm, running
        self._news = asyncio.Event()
        self._started = False

    def abort(self) -> None:
        """Ends it; what was generated stays."""
        self._running.cancel()

    async def _steps(self) -> AsyncIterator[RequestOutput]:
        if self._started:
            raise InvalidArgument("a generation is read once")
        self._started = True
        self._llm._hub().start(self)
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                if self._running.error is not None:
                    raise self._running.error
                yield self._running.tell()
                if self._running.output.finished:
                    return
        finally:
            self._running.cancel()

    def __aiter__(self) -> AsyncIterator[RequestOutput]:
        return self._steps()

    def __await__(self) -> Generator[Any, None, RequestOutput]:
        async def last() -> RequestOutput:
            async for _ in self:
                pass
            return self._running.output

        return last().__await__()


class _Hub:
    """Carries events to the generations of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue = _core.EventQueue()
        self._open: dict[int, Generation] = {}
        self._next = 0

    def of_this_loop(self) -> bool:
        return self._loop is asyncio.get_running_loop()

    def start(self, generation: Generation) -> None:
        self._next += 1
        generation._running.submit(self._queue, self._next)
        if not self._open:
            self._loop.add_reader(self._queue.fileno(), self._deliver)
        self._open[self._next] = generation

    def _deliver(self) -> None:
        for event in self._queue.wait(0):
            generation = self._open.get(event["tag"])
            if generation is None:
                continue
            generation._running.take(event)
            generation._news.set()
            if event["last"]:
                del self._open[event["tag"]]
        if not self._open:
            self._loop.remove_reader(self._queue.fileno())


class LLM:
    """A model and the executor that runs it.

    `model` is a Hugging Face folder, a GGUF, an engine, or ORG/NAME in the Hugging Face cache; an
    engine is built into Ramjet's cache where there is none yet. `tensor_parallel_size` above 1
    raises Unsupported: engines run on one GPU so far. `max_model_len` is the most tokens of a
    prompt and its output. `gpu_memory_utilization` is the KV cache's share of the memory that is
    free after loading; `kv_cache_memory_bytes` caps it in bytes.
    """

    def __init__(
        self,
        model: str,
        tensor_parallel_size: int = 1,
        max_model_len: Optional[int] = None,
        *,
        dtype: str = "auto",
        quantization: Optional[str] = None,
        kv_cache_dtype: str = "auto",
        target: str = "auto",
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 2048,
        gpu_memory_utilization: Optional[float] = None,
        kv_cache_memory_bytes: Optional[int] = None,
        enable_prefix_caching: bool = True,
        num_threads: int = 0,
    ) -> None:
        build = {
            "dtype": dtype,
            "quantize": quantization or "auto",
            "kv_dtype": kv_cache_dtype,
            "target": target,
            "tp": tensor_parallel_size,
            "max_batch_size": max_num_seqs,
            "max_num_tokens": max_num_batched_tokens,
            "max_seq_len": max_model_len or 0,
        }
        self._engine = load_engine(model, build)
        self._executor: Any = _core.Executor(
            self._engine,
            {
                "kv_fraction": gpu_memory_utilization or 0.0,
                "kv_bytes": kv_cache_memory_bytes or 0,
                "prefix_caching": enable_prefix_caching,
                "num_threads": num_threads,
                "max_queue": 1 << 30,
            },
        )
        limit = int(self._engine.model["max_seq_len"])
        self.max_model_len = min(limit, max_model_len or limit)
        self._async_hub: Optional[_Hub] = None

    # Texts and ids.

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Token ids of a text."""
        return self._engine.encode(text, add_special_tokens)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        return self._engine.decode(list(ids))

    def chat_prompt(
        self,
        messages: Sequence[Message],
        *,
        tools: Optional[Sequence[Mapping[str, Any]]] = None,
        chat_template: Optional[str] = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        chat_template_kwargs: Optional[Mapping[str, Any]] = None,
    ) -> str:
        """A conversation as the model's chat template writes it."""
        options: dict[str, Any] = {
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
            "continue_final_message": continue_final_message,
        }
        if tools:
            options["tools"] = json.dumps(list(tools))
        if chat_template_kwargs:
            options["kwargs"] = json.dumps(dict(chat_template_kwargs))
        if chat_template:
            options["chat_template"] = chat_template
        return self._engine.chat_prompt(json.dumps(list(messages)), options)

    # Generating.

    def generate(
        self,
        prompts: Union[Prompt, Sequence[Prompt]],
        sampling_params: Union[SamplingParams, Sequence[SamplingParams], None] = None,
    ) -> list[RequestOutput]:
        """One output a prompt, in order. A prompt is a text, token ids, or
        {"prompt_token_ids": ids}; the parameters are one for all, or one each."""
        items = _list_of(prompts)
        params = sampling_params if sampling_params is not None else SamplingParams()
        each = [params] * len(items) if isinstance(params, SamplingParams) else list(params)
        if len(each) != len(items):
            raise InvalidArgument(f"{len(items)} prompts, but {len(each)} sampling_params")
        requests = [self._running(item, one) for item, one in zip(items, each)]
        for _ in run_all(requests):
            pass
        return [request.output for request in requests]

    def chat(
        self,
        messages: Union[Sequence[Message], Sequence[Sequence[Message]]],
        sampling_params: Optional[SamplingParams] = None,
        **template: Any,
    ) -> list[RequestOutput]:
        """generate() of one conversation or several; `template` as chat_prompt() takes it."""
        one = not messages or isinstance(messages[0], Mapping)
        conversations: Any = [messages] if one else messages
        texts = [self.chat_prompt(conversation, **template) for conversation in conversations]
        requests = [
            self._running(text, sampling_params or SamplingParams(), special=False)
            for text in texts
        ]
        for _ in run_all(requests):
            pass
        return [request.output for request in requests]

    def stream(
        self, prompt: Prompt, sampling_params: Optional[SamplingParams] = None
    ) -> Iterator[RequestOutput]:
        """The output of one prompt as it grows: `outputs[0].text_diff` is what is new."""
        request = self._running(prompt, sampling_params or SamplingParams())
        for running in run_all([request]):
            yield running.tell()

    def generate_async(
        self, prompt: Prompt, sampling_params: Optional[SamplingParams] = None
    ) -> Generation:
        """For event loops: `async for output in llm.generate_async(p)`, or `await` it. A task that
        is cancelled, or a loop that is left, ends the request."""
        return Generation(self, self._running(prompt, sampling_params or SamplingParams()))

    # The rest.

    def stats(self) -> dict[str, Any]:
        """What runs, what waits, KV blocks, counters since the start."""
        return self._executor.stats()

    def check_health(self) -> None:
        """Raises if the step loop makes no progress."""
        self._executor.health()

    def shutdown(self) -> None:
        """Cancels what runs and frees the memory. The object is then of no more use."""
        self._executor = None

    def __enter__(self) -> "LLM":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    def _hub(self) -> _Hub:
        if self._async_hub is None or not self._async_hub.of_this_loop():
            self._async_hub = _Hub()
        return self._async_hub

    def _running(self, prompt: Prompt, params: SamplingParams, special: bool = True) -> Running:
        if self._executor is None:
            raise InvalidArgument("this LLM is shut down")
        text: Optional[str] = None
        if isinstance(prompt, Mapping):
            text = prompt.get("prompt")
            ids = prompt.get("prompt_token_ids")
            ids = self.encode(text or "", special) if ids is None else list(ids)
        elif isinstance(prompt, str):
            text, ids = prompt, self.encode(prompt, special)
        else:
            ids = list(prompt)
        if len(ids) >= self.max_model_len:
            raise InvalidArgument(
                f"the prompt has {len(ids)} tokens, max_model_len is {self.max_model_len}"
            )
        return Running(self._executor, self._engine, text, ids, params)


def _list_of(prompts: Any) -> list[Prompt]:
    if isinstance(prompts, (str, Mapping)):
        return [prompts]
    items = list(prompts)
    return [items] if items and isinstance(items[0], int) else items

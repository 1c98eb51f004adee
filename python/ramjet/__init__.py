"""Ramjet: an ahead-of-time LLM inference engine.

    from ramjet import LLM, SamplingParams

    llm = LLM("models/demo")
    for output in llm.generate(["Once upon a time"], SamplingParams(max_tokens=32)):
        print(output.prompt, output.outputs[0].text)
"""

import os as _os

from . import errors, functional
from ._core import Engine, __version__, set_log_level
from .encoder import Encoder
from .executor import Executor
from .llm import LLM, Generation
from .network import (
    Builder,
    BuildReport,
    Context,
    DType,
    Network,
    Tensor,
    TensorSpec,
    build_engine,
    build_network,
)
from .sampling import CompletionOutput, Logprob, RequestOutput, SamplingParams

set_log_level(_os.environ.get("RAMJET_LOG", "warn"))

__all__ = [
    "LLM",
    "Builder",
    "BuildReport",
    "CompletionOutput",
    "Context",
    "DType",
    "Encoder",
    "Engine",
    "Executor",
    "Generation",
    "Logprob",
    "Network",
    "RequestOutput",
    "SamplingParams",
    "Tensor",
    "TensorSpec",
    "__version__",
    "build_engine",
    "build_network",
    "errors",
    "functional",
    "set_log_level",
]

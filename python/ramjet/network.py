"""Networks of one's own: defined with ramjet.functional, built into an engine, run on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Optional, Sequence, Union

from . import _core
from ._session import interruptible
from .errors import InvalidArgument

if TYPE_CHECKING:
    import numpy as np

Extent = Union[int, str]
Number = Union[int, float]


class DType(str, Enum):
    """Element types, by the names of C++."""

    kF32 = "f32"
    kF16 = "f16"
    kBf16 = "bf16"
    kF8E4M3 = "f8e4m3"
    kF8E5M2 = "f8e5m2"
    kI8 = "i8"
    kU8 = "u8"
    kI32 = "i32"
    kI64 = "i64"
    kBool = "bool"


DTypeLike = Union[DType, str, type, "np.dtype[Any]"]

# NumPy has no bf16: arrays are float32, rounded on the way in. 8-bit floats are their bytes.
_NUMPY = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "float32",
    "f8e4m3": "uint8",
    "f8e5m2": "uint8",
    "i8": "int8",
    "u8": "uint8",
    "i32": "int32",
    "i64": "int64",
    "bool": "bool",
}
_SHORT = {name: short for short, name in _NUMPY.items() if short not in ("bf16",)}
_SHORT["uint8"] = "u8"


def dtype_name(dtype: DTypeLike) -> str:
    """"f32", of a DType, a name or a NumPy dtype."""
    if isinstance(dtype, DType):
        return dtype.value
    if isinstance(dtype, str):
        return _SHORT.get(dtype, dtype)
    import numpy as np

    name = np.dtype(dtype).name
    if name not in _SHORT:
        raise InvalidArgument(f"networks have no {name}")
    return _SHORT[name]


def _to_bytes(array: Any, dtype: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    values = np.ascontiguousarray(array, dtype=_NUMPY[dtype])
    if dtype != "bf16":
        return values.reshape(-1).view(np.uint8)
    bits = values.reshape(-1).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    nan = np.isnan(values.reshape(-1))
    return np.where(nan, np.uint16(0x7FC0), rounded).view(np.uint8)


def _from_bytes(dtype: str, extents: Sequence[int], data: bytes) -> "np.ndarray[Any, Any]":
    import numpy as np

    if dtype == "bf16":
        bits = np.frombuffer(data, dtype=np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(extents)
    return np.frombuffer(data, dtype=_NUMPY[dtype]).reshape(extents).copy()


class Tensor:
    """A value of a network under construction; arithmetic adds ops to it."""

    __slots__ = ("_node",)
    __array_ufunc__ = None  # NumPy leaves arithmetic to us

    def __init__(self, node: Any) -> None:
        self._node = node

    def __add__(self, other: Union["Tensor", Number]) -> "Tensor":
        return _binary("add", self, other)

    def __radd__(self, other: Number) -> "Tensor":
        return _binary("add", other, self)

    def __sub__(self, other: Union["Tensor", Number]) -> "Tensor":
        return _binary("sub", self, other)

    def __rsub__(self, other: Number) -> "Tensor":
        return _binary("sub", other, self)

    def __mul__(self, other: Union["Tensor", Number]) -> "Tensor":
        return _binary("mul", self, other)

    def __rmul__(self, other: Number) -> "Tensor":
        return _binary("mul", other, self)

    def __truediv__(self, other: Union["Tensor", Number]) -> "Tensor":
        return _binary("div", self, other)

    def __rtruediv__(self, other: Number) -> "Tensor":
        return _binary("div", other, self)

    def __matmul__(self, other: "Tensor") -> "Tensor":
        return Tensor(_core.matmul(self._node, other._node, False))

    def __neg__(self) -> "Tensor":
        return Tensor(_core.neg(self._node))


def wrap(node: Any) -> Tensor:
    return Tensor(node)


def _binary(name: str, a: Any, b: Any) -> Tensor:
    raw = [x._node if isinstance(x, Tensor) else float(x) for x in (a, b)]
    return Tensor(getattr(_core, name)(*raw))


class Network:
    """A network under construction. Extents are numbers, or names of symbols with a profile."""

    def __init__(self, name: str = "main") -> None:
        self._network = _core.Network(name)

    def input(self, name: str, dtype: DTypeLike, extents: Sequence[Extent]) -> Tensor:
        return Tensor(self._network.input(name, dtype_name(dtype), list(extents)))

    def weight(
        self,
        name: str,
        value: Any = None,
        *,
        dtype: Optional[DTypeLike] = None,
    ) -> Tensor:
        """A weight by name; `value` (an array) as set_weight() takes it."""
        if value is not None:
            self.set_weight(name, value, dtype=dtype)
        return Tensor(self._network.weight(name))

    def set_weight(self, name: str, value: Any, *, dtype: Optional[DTypeLike] = None) -> None:
        """Copies an array; `dtype` (bf16, say) where it is not the array's own."""
        import numpy as np

        array = np.asarray(value)
        if array.dtype == np.float64 and dtype is None:
            array = array.astype(np.float32)
        kind = dtype_name(array.dtype if dtype is None else dtype)
        self._network.set_weight(name, kind, list(array.shape), _to_bytes(array, kind))

    def mark_output(self, name: str, tensor: Tensor) -> None:
        self._network.mark_output(name, tensor._node)

    def set_profile(self, symbol: str, min: int, opt: int, max: int) -> None:
        """The range of a symbol, and the value that kernels are chosen for."""
        self._network.set_profile(symbol, min, opt, max)

    def set_scope(self, scope: str) -> None:
        """A prefix for the names of what is added from here on."""
        self._network.set_scope(scope)

    def text(self) -> str:
        """The graph, to read."""
        return self._network.text()


@dataclass(frozen=True)
class BuildReport:
    """What came of a build."""

    path: str
    bytes: int
    target: str
    seconds: float
    passes: dict[str, float]  # ms
    tuned: bool


def build_network(network: Network, engine_path: str, **options: Any) -> BuildReport:
    """Compiles a network with its weights into an engine file, which appears whole or not at all.
    Options: target, tune, dtype, quantize, disabled_passes, batch_invariant."""
    report = interruptible(
        _core.build_network, network._network, str(engine_path), options
    )
    return BuildReport(**report)


def build_engine(model: str, engine_path: str, **options: Any) -> BuildReport:
    """Compiles a checkpoint into an engine file. Options beside those of build_network():
    kv_dtype, tp, pp, max_batch_size, max_seq_len, max_num_tokens, dummy_weights."""
    from ._session import find_model

    return BuildReport(
        **interruptible(_core.build_engine, find_model(str(model)), str(engine_path), options)
    )


class Builder:
    """Makes networks and builds them, all with the same options."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def create_network(self, name: str = "main") -> Network:
        return Network(name)

    def build(self, network: Network, engine_path: str) -> BuildReport:
        return build_network(network, engine_path, **self.options)


@dataclass(frozen=True)
class TensorSpec:
    """What an input or output is."""

    name: str
    dtype: str
    extents: tuple[Extent, ...]


class Context:
    """Runs a network's engine on NumPy arrays. One thread at a time."""

    def __init__(
        self, engine: Union[str, Any], num_threads: int = 0, program: str = "main"
    ) -> None:
        loaded = engine if isinstance(engine, _core.Engine) else _core.Engine.load(str(engine))
        self._context = _core.Context(loaded, num_threads, program)

    @property
    def inputs(self) -> list[TensorSpec]:
        return [TensorSpec(n, d, tuple(e)) for n, d, e in self._context.inputs()]

    @property
    def outputs(self) -> list[TensorSpec]:
        return [TensorSpec(n, d, tuple(e)) for n, d, e in self._context.outputs()]

    @property
    def num_launches(self) -> int:
        """Kernels of one run."""
        return self._context.num_launches()

    def run(self, **inputs: Any) -> dict[str, "np.ndarray[Any, Any]"]:
        """Outputs by name. Arrays are converted to the inputs' dtypes; bf16 is float32 here."""
        import numpy as np

        known = {spec.name: spec for spec in self.inputs}
        for name, value in inputs.items():
            kind = known[name].dtype if name in known else "f32"
            array = np.asarray(value)
            self._context.set_input(name, kind, list(array.shape), _to_bytes(array, kind))
        self._context.run()
        return {s.name: _from_bytes(*self._context.output(s.name)) for s in self.outputs}

    __call__ = run

"""The functional API: functions over tensors that add ops to a network, by the names of C++.

A misuse (shapes or dtypes that do not fit) raises where it happens, naming op and shapes.
"""

from __future__ import annotations

import builtins
from typing import Optional, Sequence, Union

from . import _core
from .network import DTypeLike, Extent, Tensor, dtype_name, wrap

Number = Union[int, float]


def _op(name: str, *operands: object) -> Tensor:
    raw = [x._node if isinstance(x, Tensor) else x for x in operands]
    return wrap(getattr(_core, name)(*raw))


def matmul(a: Tensor, b: Tensor, transpose_b: bool = False) -> Tensor:
    """a[.., M, K] x b[K, N] (or b[N, K]) -> [.., M, N]; sums in f32."""
    return _op("matmul", a, b, transpose_b)


def add(a: Union[Tensor, Number], b: Union[Tensor, Number]) -> Tensor:
    return _op("add", a, b)


def sub(a: Union[Tensor, Number], b: Union[Tensor, Number]) -> Tensor:
    return _op("sub", a, b)


def mul(a: Union[Tensor, Number], b: Union[Tensor, Number]) -> Tensor:
    return _op("mul", a, b)


def div(a: Union[Tensor, Number], b: Union[Tensor, Number]) -> Tensor:
    return _op("div", a, b)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    return _op("maximum", a, b)


def minimum(a: Tensor, b: Tensor) -> Tensor:
    return _op("minimum", a, b)


def pow(a: Tensor, b: Tensor) -> Tensor:
    return _op("pow", a, b)


def where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where the condition is not 0, else b."""
    return _op("where", condition, a, b)


def relu(x: Tensor) -> Tensor:
    return _op("relu", x)


def silu(x: Tensor) -> Tensor:
    return _op("silu", x)


def gelu(x: Tensor) -> Tensor:
    """The form with erf."""
    return _op("gelu", x)


def gelu_tanh(x: Tensor) -> Tensor:
    return _op("gelu_tanh", x)


def sigmoid(x: Tensor) -> Tensor:
    return _op("sigmoid", x)


def tanh(x: Tensor) -> Tensor:
    return _op("tanh", x)


def exp(x: Tensor) -> Tensor:
    return _op("exp", x)


def log(x: Tensor) -> Tensor:
    return _op("log", x)


def sqrt(x: Tensor) -> Tensor:
    return _op("sqrt", x)


def rsqrt(x: Tensor) -> Tensor:
    return _op("rsqrt", x)


def abs(x: Tensor) -> Tensor:
    return _op("abs", x)


def square(x: Tensor) -> Tensor:
    return _op("square", x)


def cast(x: Tensor, dtype: DTypeLike) -> Tensor:
    return _op("cast", x, dtype_name(dtype))


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6, weight_offset: float = 0.0) -> Tensor:
    return _op("rms_norm", x, weight, eps, weight_offset)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    return _op("layer_norm", x, weight, bias, eps)


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return _op("softmax", x, axis)


def sum(x: Tensor, axis: int, keep_dim: bool = False) -> Tensor:
    return _op("sum", x, axis, keep_dim)


def mean(x: Tensor, axis: int, keep_dim: bool = False) -> Tensor:
    return _op("mean", x, axis, keep_dim)


def max(x: Tensor, axis: int, keep_dim: bool = False) -> Tensor:
    return _op("max", x, axis, keep_dim)


def reshape(x: Tensor, extents: Sequence[Extent]) -> Tensor:
    """Extents are numbers or symbols' names."""
    return _op("reshape", x, list(extents))


def transpose(x: Tensor, permutation: Sequence[int]) -> Tensor:
    return _op("transpose", x, list(permutation))


def slice(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    return _op("slice", x, axis, start, length)


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    return wrap(_core.concat([part._node for part in parts], axis))


def gather_rows(x: Tensor, rows: Tensor) -> Tensor:
    return _op("gather_rows", x, rows)


def embedding(ids: Tensor, table: Tensor, scale: float = 1.0) -> Tensor:
    return _op("embedding", ids, table, scale)


def topk(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k greatest of the last axis, and where they are (i32)."""
    values, indices = _core.topk(x._node, k)
    return wrap(values), wrap(indices)


def conv(
    x: Tensor,
    weight: Tensor,
    stride: Optional[Sequence[int]] = None,
    padding: Optional[Sequence[int]] = None,
    *,
    dims: int = 2,
) -> Tensor:
    """Over the last `dims` axes; stride 1 and padding 0 where they are not given."""
    strides = list(stride) if stride is not None else [1] * dims
    return _op("conv", x, weight, strides, list(padding) if padding is not None else [0] * dims)


__all__ = [name for name in builtins.list(globals()) if name.islower() and not name.startswith("_")
           and name not in ("annotations", "builtins", "dtype_name", "wrap")]

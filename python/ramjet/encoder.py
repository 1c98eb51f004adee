"""Encoder: texts in, vectors or class scores out, of BERT, RoBERTa and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence, Union

from . import _core
from ._session import interruptible, load_engine

if TYPE_CHECKING:
    import numpy as np

Text = Union[str, Sequence[int]]


class Encoder:
    """An encoder checkpoint or engine. One call at a time."""

    def __init__(self, model: str, *, num_threads: int = 0, **build: Any) -> None:
        self._engine = load_engine(model, build)
        self._encoder = _core.Encoder(self._engine, num_threads)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._encoder.width

    @property
    def labels(self) -> list[str]:
        """Names of the classes, if there is a head."""
        return self._encoder.labels

    def embed(
        self, texts: Union[str, Sequence[Text]], *, pooling: str = "auto", normalize: bool = False
    ) -> "np.ndarray[Any, Any]":
        """float32 [texts, width]. `pooling`: auto (what the checkpoint says), mean, cls, last."""
        import numpy as np

        ids = self._ids(texts)
        rows = interruptible(self._encoder.embed, ids, pooling, normalize)
        return np.asarray(rows, dtype=np.float32).reshape(len(ids), self.width)

    def scores(self, texts: Union[str, Sequence[Text]]) -> list["np.ndarray[Any, Any]"]:
        """Logits of the head, an array a text: [labels], or [tokens, labels]."""
        import numpy as np

        rows = interruptible(self._encoder.scores, self._ids(texts))
        shape = (-1, len(self.labels)) if self._encoder.scores_tokens else (-1,)
        return [np.asarray(row, dtype=np.float32).reshape(shape) for row in rows]

    def _ids(self, texts: Union[str, Sequence[Text]]) -> list[list[int]]:
        items = [texts] if isinstance(texts, str) else list(texts)
        return [self._engine.encode(t, True) if isinstance(t, str) else list(t) for t in items]

"""A table of rows that are learnt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.arguments import Count, Natural, checked
from tensorgraph.engine import init
from tensorgraph.engine.aval import FloatDType
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.linear import parameter
from tensorgraph.nn.module import Module
from tensorgraph.ops.embedding import embedding
from tensorgraph.ops.moving import of

__all__ = ["Embedding"]


class Embedding(Module):
    """The rows of a table that numbers name: words as vectors.

    Parameters
    ----------
    count, features : int
        How many rows there are, and their length.
    padding_index : int, optional
        A row that starts as zeros and is not trained.
    weight_init : str or callable
    seed : int, optional
    dtype : dtype-like, optional
    max_norm
        Refused: rows are not rewritten while they are read. Clip them after an update.

    Attributes
    ----------
    weight : Parameter
        Shape (count, features).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layer = tg.nn.Embedding(10, 3, padding_index=0)
    >>> layer([[1, 0], [2, 9]]).shape
    (2, 2, 3)
    """

    atomic = True

    @checked
    def __init__(
        self,
        count: Count,
        features: Count,
        *,
        padding_index: Natural | None = None,
        weight_init: str | Callable[..., Any] = init.normal,
        seed: Natural | None = None,
        dtype: FloatDType | None = None,
        max_norm: Any = None,
    ) -> None:
        if max_norm is not None:
            raise TypeError("Embedding takes no max_norm: reading rewrites no rows; clip them after a step, by assign")
        if padding_index is not None and padding_index >= count:
            raise ValueError(f"Embedding: padding_index {padding_index} is no row of {count}")
        self.count, self.features, self.padding_index = count, features, padding_index
        self.weight = parameter((count, features), weight_init, dtype, seed)
        if padding_index is not None:
            start = np.array(self.weight.numpy())
            start[padding_index] = 0
            self.weight.assign(start)

    def forward(self, ids: Any) -> Tensor:
        ids = of(ids, f"{self.label}: ids")
        return embedding.public(self.weight, ids, padding_index=self.padding_index)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return dict(
            count=self.count, features=self.features, padding_index=self.padding_index, dtype=self.weight.dtype.name
        )

    def extra_repr(self) -> str:
        padding = "" if self.padding_index is None else f", padding_index={self.padding_index}"
        return f"{self.count}, {self.features}{padding}"

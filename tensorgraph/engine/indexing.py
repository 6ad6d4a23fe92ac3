"""Functional updates: what ``x.at[key]`` offers, since tensors are immutable."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.arguments.foreign import put_absent
from tensorgraph.engine import known, modes
from tensorgraph.engine.keys import SingleMask, on_new_axes, split_key
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.tensor import Tensor, as_array, ndarray, weak_cast, wrap

__all__ = ["At"]


class At:
    """``x.at``, to be indexed: ``x.at[key].set(v)``.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0])
    >>> x.at[1].set(9.0)
    tensor([1., 9., 3.], f32)
    >>> x.at[:2].add(1.0)
    tensor([2., 3., 3.], f32)
    """

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __getitem__(self, key: Any) -> Place:
        shape = self.tensor.shape
        try:
            return Place(self.tensor, *split_key(key, shape))
        except SingleMask:
            axes, key = on_new_axes(key, shape)
            wide = known.expand_dims.public(self.tensor, axis=axes)
            return Place(wide, *split_key(key, wide.shape), shape)


class Place:
    """Selected elements of a tensor, to be replaced in a copy."""

    __slots__ = ("indices", "key", "shape", "tensor")

    def __init__(
        self, tensor: Tensor, key: tuple[Any, ...], indices: list[Any], shape: tuple[int, ...] | None = None
    ) -> None:
        self.shape = shape  # of the result, where the tensor has new axes
        self.tensor = tensor
        self.key = key
        self.indices = indices

    @checked
    def set(self, value: Any) -> Tensor:
        """A copy with `value` there."""
        return self._back(known.put.public(self.tensor, _as(value, self.tensor), self.indices, key=self.key))

    @checked
    def add(self, value: Any) -> Tensor:
        """A copy with `value` added there; an element named twice is added to twice."""
        selected = known.getitem.public(self.tensor, self.indices, key=self.key)
        value = known.broadcast_to.public(_as(value, self.tensor), shape=selected.shape)
        added = known.scatter_add.public(value, self.indices, key=self.key, shape=self.tensor.shape)
        return self._back(self.tensor + added)

    def _back(self, result: Tensor) -> Tensor:
        return result if self.shape is None else known.reshape.public(result, shape=self.shape)

    @checked
    def multiply(self, value: Any) -> Tensor:
        """A copy multiplied by `value` there."""
        selected = known.getitem.public(self.tensor, self.indices, key=self.key)
        return self.set(selected * value)


def _as(value: Any, like: Tensor) -> Tensor:
    trace = modes.current().trace
    if type(value) is TracedNumber and trace is not None:
        return trace.stored(value, like.dtype, "x.at[...]")
    if isinstance(value, Tensor):
        if value.dtype == like.dtype:
            return value
        if not np.can_cast(value.dtype, like.dtype, "same_kind"):
            raise TypeError(
                f"x.at[...]: values of {value.dtype} cannot be stored in a tensor of {like.dtype} without loss; "
                f"convert the values with .astype('{like.dtype}'), or x"
            )
        return known.astype.public(value, dtype=like.dtype.name)  # type: ignore[no-any-return]
    if isinstance(value, ndarray):
        return _as(wrap(as_array(value)), like)
    return wrap(weak_cast(value, like.dtype, "x.at[...]"))


put_absent(Place, "x.at[...]")

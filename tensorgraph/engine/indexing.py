"""Functional updates: what ``x.at[key]`` offers, since tensors are immutable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.arguments.foreign import put_absent
from tensorgraph.engine import known, modes
from tensorgraph.engine.keys import FIRST, SingleMask, WholeMask, on_new_axes, split_key
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.tensor import Tensor, as_array, ndarray, weak_cast, wrap

__all__ = ["At"]


_PLAIN = 1e30  # below it a number is one of float32 too


class At:
    """``x.at``, to be indexed: ``x.at[key].set(v)`` and the like give a changed copy of x.

    A key is what ``x[key]`` takes, and values broadcast to what that gives. Where index tensors name an element
    several times, `set` writes the last value, `add` and `subtract` add all of them up, `multiply` and `divide` take
    all factors, `power` takes their product for the exponent, `min` and `max` compare with all, and `apply` changes it
    once. Gradients are those of what was computed, to any order.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0])
    >>> x.at[1].set(9.0)
    tensor([1., 9., 3.], f32)
    >>> x.at[:2].add(1.0)
    tensor([2., 3., 3.], f32)
    >>> x.at[[0, 0, 2]].add(1.0)
    tensor([3., 2., 4.], f32)
    >>> x.at[x > 1.5].multiply(10.0)
    tensor([ 1., 20., 30.], f32)
    """

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __getitem__(self, key: Any) -> Place:
        tensor = self.tensor
        shape = tensor.shape
        try:
            return Place(tensor, *split_key(key, shape))
        except SingleMask:
            axes, key = on_new_axes(key, shape)
            wide = known.expand_dims.public(tensor, axis=axes)
            return Place(wide, *split_key(key, wide.shape), shape)
        except WholeMask as mask:
            return Place(known.reshape.public(tensor, shape=mask.shape), FIRST, [mask.positions], shape)


class Place:
    """Selected elements of a tensor, to be replaced in a copy."""

    __slots__ = ("indices", "key", "shape", "tensor")

    def __init__(
        self, tensor: Tensor, key: tuple[Any, ...], indices: list[Any], shape: tuple[int, ...] | None = None
    ) -> None:
        self.shape = shape  # of the result, where the tensor has another
        self.tensor = tensor
        self.key = key
        self.indices = indices

    @checked
    def get(self) -> Tensor:
        """What is there: ``x[key]``."""
        return known.getitem.public(self.tensor, self.indices, key=self.key)  # type: ignore[no-any-return]

    @checked
    def set(self, value: Any) -> Tensor:
        """A copy with `value` there; of several values for one element the last."""
        return self._changed(known.put, value)

    @checked
    def add(self, value: Any) -> Tensor:
        """A copy with `value` added there; an element named twice is added to twice."""
        return self._changed(known.add_at, value)

    @checked
    def subtract(self, value: Any) -> Tensor:
        """A copy with `value` subtracted there, from an element named twice twice."""
        return self._changed(known.add_at, known.negative.public(_as(value, self.tensor)))

    @checked
    def min(self, value: Any) -> Tensor:
        """A copy with the smallest of what is there and `value`; NaN wins, and ties share the gradient."""
        return self._changed(known.minimum_at, value)

    @checked
    def max(self, value: Any) -> Tensor:
        """A copy with the largest of what is there and `value`; NaN wins, and ties share the gradient."""
        return self._changed(known.maximum_at, value)

    @checked
    def multiply(self, value: Any) -> Tensor:
        """A copy multiplied by `value` there, an element named twice by both values."""
        return self._changed(known.multiply_at, value)

    @checked
    def divide(self, value: Any) -> Tensor:
        """A copy divided by `value` there, an element named twice by both values."""
        return self._changed(known.put, self.get() / self._product(value))

    @checked
    def power(self, value: Any) -> Tensor:
        """A copy raised to `value` there, an element named twice to the product of both."""
        return self._changed(known.put, self.get() ** self._product(value))

    @checked
    def apply(self, function: Annotated[Callable[..., Any], "a function of a tensor"]) -> Tensor:
        """A copy with ``function(x[key])`` there; an element named twice is changed once."""
        return self._changed(known.put, function(self.get()))

    def _changed(self, op: Any, value: Any) -> Tensor:
        result: Tensor = op.public(self.tensor, _as(value, self.tensor), self.indices, key=self.key)
        return result if self.shape is None else known.reshape.public(result, shape=self.shape)

    def _product(self, value: Any) -> Any:
        """The value for each element, multiplied with the others of the same element."""
        if not self.indices:
            return value
        value = wrap(as_array(value)) if isinstance(value, ndarray) else value
        value = value if isinstance(value, Tensor) else _as(value, self.tensor)
        ones = known.ones.public(shape=self.tensor.shape, dtype=value.dtype.name)
        whole = known.multiply_at.public(ones, value, self.indices, key=self.key)
        return known.getitem.public(whole, self.indices, key=self.key)


def _as(value: Any, like: Tensor) -> Tensor:
    if type(value) is float and -_PLAIN < value < _PLAIN and like.dtype.kind == "f" and like.dtype.itemsize > 2:
        return wrap(np.array(value, like.dtype))
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

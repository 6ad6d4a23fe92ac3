"""Parameters of a distribution: tensors of one dtype, whose shapes fit that of what is drawn."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tensorgraph.engine.aval import default_dtype
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.ops.shape import astype

__all__ = ["Parameters", "number_of", "require"]

NOTHING: Mapping[str, int] = MappingProxyType({})


def number_of(value: Any) -> int | None:
    """An integer that stands for the integers below it; None of a tensor."""
    if isinstance(value, (Tensor, list, tuple, bool, np.bool_)):
        return None
    try:
        n = operator.index(value)
    except TypeError:
        return None
    if n < 0:
        raise ValueError(f"expected a non-negative integer or a tensor, got {n}")
    return n


def require(test: Callable[..., Any], *values: Tensor, message: str) -> None:
    """Refuse numbers that do not pass, where they are known: not in a trace."""
    arrays = [t._value for t in values]
    if all(isinstance(a, np.ndarray) for a in arrays) and not np.all(test(*arrays)):
        raise ValueError(message)


class Parameters:
    """What a distribution was given, by name.

    Parameters
    ----------
    shape : int, tuple of int or None
        Of the result, to which each parameter broadcasts; None: that of the parameters together.
    dtype : dtype or None
        None: that of the float tensors among them, or the default one.
    rest : dict of str to int
        Which have more axes, the last ones, than `shape` says, and how many; all of the same size.
    """

    def __init__(self, shape: Any, dtype: Any, *, rest: Mapping[str, int] = NOTHING, **given: Any) -> None:
        tensors = {}
        for name, value in given.items():
            if isinstance(value, (str, bytes)) or value is None:
                raise TypeError(f"{name} must be a number or a tensor of numbers, got {value!r}")
            tensors[name] = value if isinstance(value, Tensor) else tensor(value)
        kinds = [t.dtype for name, t in tensors.items() if t.dtype.kind == "f" and hasattr(given[name], "dtype")]
        self.dtype = dtype if dtype is not None else np.result_type(*kinds) if kinds else default_dtype()
        own = {name: t.shape[max(t.ndim - rest.get(name, 0), 0) :] for name, t in tensors.items()}
        for name, axes in rest.items():
            if len(own[name]) < axes or len({n for one in own.values() for n in one}) > 1:
                came = ", ".join(f"{n} {tensors[n].shape}" for n in rest)
                raise ValueError(
                    f"the last axes of {' and '.join(rest)} must be there, and as long as each other, got {came}"
                )
        last = next(iter(own.values()))[-1:] if rest else ()
        shapes = {name: t.shape[: max(t.ndim - rest.get(name, 0), 0)] for name, t in tensors.items()}
        try:
            together = np.broadcast_shapes(*shapes.values())
            sizes = together if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
            fits = np.broadcast_shapes(together, sizes) == sizes
        except ValueError:
            fits = False
        if not fits:
            came = ", ".join(f"{name} {s}" for name, s in shapes.items() if s)
            wanted = "together" if shape is None else f"to the shape of the result, {shape}"
            raise ValueError(f"the parameters' shapes do not broadcast {wanted}: {came}")
        self.shape = (*sizes, *last)
        self._tensors = {
            name: t if t.dtype == self.dtype else astype(t, dtype=self.dtype.name) for name, t in tensors.items()
        }
        self._unit = {n for n in ("loc", "scale") if type(given.get(n)) is float and given[n] == float(n == "scale")}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def every(self) -> list[Tensor]:
        """All of them, as they were given."""
        return [*self._tensors.values()]

    def word(self, value: Tensor) -> str:
        """The name of one of them."""
        return next((name for name, t in self._tensors.items() if t is value), "a parameter")

    def not_negative(self, name: str) -> Parameters:
        if name not in self._unit:
            require(lambda a: a >= 0, self[name], message=f"{name} must not be negative, or NaN")
        return self

    def placed(self, z: Tensor) -> Tensor:
        """``loc + scale * z``, without what changes nothing."""
        if "scale" in self._tensors and "scale" not in self._unit:
            z = z * self["scale"]
        return z + self["loc"] if "loc" in self._tensors and "loc" not in self._unit else z

"""What random programs are made from: choices made beforehand, options, and numbers as Python source."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.testing.cases import Array

__all__ = ["NAMES", "OTHER", "Choices", "Instruction", "NamedSize", "Options", "quiet", "show_array", "show_number"]

Instruction = tuple[str, Sequence[int]]  # what to do, and the choices that it makes


NAMES = {7: "N", 5: "M"}  # sizes of programs of any size, which nothing else has, and what they are called
OTHER = {7: 4, 5: 6}  # what they are where it is tried that other sizes do as well


class NamedSize(int):
    """A size that is shown as the variable that holds it."""

    def __repr__(self) -> str:
        return f"{NAMES[int(self)].lower()}0"

    __str__ = __repr__


@dataclass(frozen=True)
class Options:
    """What kind of programs are drawn: see `tensorgraph.testing.programs`."""

    differentiable: bool = False
    smooth: bool = False
    state: bool = False
    wild: bool = False
    nested: bool = True
    sized: bool = False
    ops: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    dtypes: tuple[str, ...] = ("float32", "float64", "int64", "int32", "bool", "uint8")

    def allows(self, op: str) -> bool:
        """Whether programs may call this op themselves."""
        return op not in self.without and (self.ops is None or op in self.ops)


class Choices:
    """Numbers drawn beforehand, taken one after another; zeros when they run out."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = iter(numbers)

    def below(self, n: int) -> int:
        """One of 0, ..., n - 1."""
        return next(self.numbers, 0) % n if n > 1 else 0

    def one(self, items: Sequence[Any]) -> Any:
        """One of these, simplest first."""
        return items[self.below(len(items))]

    def often(self) -> bool:
        """True in half of the cases, and where nothing was drawn."""
        return self.below(2) == 0

    def rarely(self, n: int = 4) -> bool:
        """True in one of n cases."""
        return self.below(n) == n - 1


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of what random numbers do: overflow, NaN, a mean over nothing, no gradient for a parameter."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def show_number(value: Any) -> str:
    """A number as Python source, exactly; one of NumPy's in the fewest digits that mean it in its dtype."""
    if isinstance(value, (float, np.floating)):
        if value != value:
            return "np.nan"
        if value in (float("inf"), float("-inf")):
            return "np.inf" if value > 0 else "-np.inf"
    return str(value) if isinstance(value, np.generic) else repr(value)


def show_array(array: Array) -> str:
    """An array as Python source, exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.testing.programs.choices import show_array
    >>> show_array(np.array([[0.5, np.nan]], np.float32)), show_array(np.zeros((0, 3), bool))
    ("np.array([[0.5, np.nan]], 'float32')", "np.zeros((0, 3), 'bool')")
    """
    if array.size == 0:
        return f"np.zeros({array.shape}, {array.dtype.name!r})"

    def show(part: Any) -> str:
        return show_number(part[()]) if part.ndim == 0 else f"[{', '.join(show(np.asarray(p)) for p in part)}]"

    return f"np.array({show(array)}, {array.dtype.name!r})"

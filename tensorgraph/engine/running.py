"""`Sum`: a sum that grows, added up as a backward pass adds up the gradients that arrive at one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgraph.arguments import shown
from tensorgraph.engine import known
from tensorgraph.engine.table import RUN

__all__ = ["Sum"]

Level = tuple[Any, int]  # a sum of runs, None before the first, and how many they are


class Sum:
    """A sum of what is added to it, in runs of sixteen, so that its error grows with the logarithm of their number.

    It is a value: ``total = total + x``. `total()` gives the tensor. What a graph that is differentiated adds up from
    many uses, as the gradient of a weight in a loop, stands in its text so.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> total = Sum()
    >>> for n in range(40):
    ...     total = total + tg.tensor(1.0)
    >>> total.total()
    tensor(40., f32)
    """

    __array_ufunc__ = None  # NumPy must not take it for an object to compute with
    __slots__ = ("count", "levels", "plus", "run")

    def __init__(self, plus: Callable[[Any, Any], Any] | None = None) -> None:
        self.plus: Callable[[Any, Any], Any] = known.add if plus is None else plus
        self.run: Any = None  # the sum of the run that is going on
        self.count = 0  # of the contributions in it
        self.levels: tuple[Level, ...] = ()

    def __add__(self, value: Any) -> Sum:
        came, wanted = getattr(value, "aval", None), getattr(self.run, "aval", None)
        if came is None or wanted not in (None, came):
            said = "tensors" if wanted is None else f"tensors of one type, {wanted} so far"
            raise TypeError(f"a Sum is of {said}, got {shown(value) if came is None else came}")
        more = self._copy()
        if self.count == RUN:
            more._put_aside()
            more.run, more.count = value, 1
        else:
            more.run = value if self.count == 0 else self.plus(self.run, value)
            more.count += 1
        return more

    def _copy(self) -> Sum:
        copy = type(self)(self.plus)
        copy.run, copy.count, copy.levels = self.run, self.count, self.levels
        return copy

    def _put_aside(self) -> None:
        """The run is complete: its sum is added to those of its like."""
        rest, levels = self.run, list(self.levels)
        for place, (earlier, number) in enumerate(levels):
            whole = rest if earlier is None else self.plus(earlier, rest)
            if number + 1 < RUN:
                levels[place] = whole, number + 1
                break
            rest, levels[place] = whole, (None, 0)
        else:
            levels.append((rest, 1))
        self.levels = tuple(levels)

    def total(self) -> Any:
        """What was added, as one tensor.

        Raises
        ------
        ValueError
            Where nothing was.
        """
        if self.count == 0:
            raise ValueError("a Sum to which nothing was added has no total: it knows neither shape nor dtype")
        found = self.run
        for earlier, _ in self.levels:
            if earlier is not None:
                found = self.plus(earlier, found)
        return found

    def __repr__(self) -> str:
        return "Sum()" if self.count == 0 else f"<Sum of {self.total()!r}>"

"""Batches that the user makes, as the loop takes those of a `Loader`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Kind
from tensorgraph.data.arrays import Array, as_array, cast_floats, check_finite, same_length
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.loader import Loader
from tensorgraph.data.rows import Rows

__all__ = ["Batches", "Stream", "is_stream"]


def is_stream(data: Any) -> bool:
    """Whether data is batches, and neither a data set nor a pair of arrays."""
    whole = isinstance(data, Dataset | Rows | np.ndarray | list | tuple | str | bytes | dict | set | frozenset | type)
    return not whole and not hasattr(data, "numpy") and (callable(data) or hasattr(data, "__iter__"))


def _batches(value: Any, kind: Kind) -> Any:
    return value if is_stream(value) else kind.refuse(value)


Batches: TypeAlias = Annotated[
    Any, Kind("batches: an iterable of pairs (x, y), or a function of the epoch that gives one", _batches)
]


class Stream:
    """Pairs (x, y) from an iterable or a function, an epoch at a time.

    Parameters
    ----------
    source : iterable or callable
        An iterator goes on from epoch to epoch. What can be gone through again is begun anew in each; so is what a
        function gives, which is called with the epoch, from 0, or with nothing.
    steps : int, optional
        Batches in an epoch; the length of `source` unless given.
    dtype : dtype
        Floats of x are given out in it.
    """

    def __init__(self, source: Any, steps: int | None, dtype: Any) -> None:
        if steps is None and not hasattr(source, "__len__"):
            what = "a function" if callable(source) else "an iterator" if self._once(source) else "an iterable"
            raise ValueError(f"data is {what} that gives batches, which does not say how many: pass steps_per_epoch=")
        self.steps = len(source) if steps is None else steps
        if self.steps < 1:
            raise ValueError("data has no batches, expected at least one")
        self.source, self.dtype, self.epoch = source, dtype, 0
        self.once = self._once(source)
        self.row: tuple[int, ...] = ()
        self.target: tuple[tuple[int, ...], str] = ((), "")
        self._running: Iterator[Any] | None = iter(source) if self.once else None
        self._first: tuple[Array, Array] | None = None
        self.first = self._look()

    @staticmethod
    def _once(source: Any) -> bool:
        return isinstance(source, Iterator)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self.steps

    @property
    def batch_size(self) -> int:
        """Samples in the first batch."""
        return len(self.first[0])

    @property
    def samples(self) -> int:
        """Samples in an epoch, if all batches are as the first."""
        return self.batch_size * self.steps

    def _look(self) -> tuple[Array, Array]:
        """The first batch, which the first epoch begins with all the same."""
        running = self._begin(0)
        raw = next(running, None)
        if raw is None:
            raise ValueError("data gave no batch, expected pairs (x, y)")
        x, y = self._checked(raw, 0, 0)
        self.row, self.target = x.shape[1:], (y.shape[1:], y.dtype.kind)
        if self.once:
            self._running = chain([raw], running)
        elif hasattr(running, "close"):
            running.close()
        return x, y

    def _begin(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch, not yet counted."""
        if self._running is not None:
            return self._running
        if isinstance(self.source, Loader):
            self.source.epoch = epoch
        made = self.source
        if callable(made):
            made = made(epoch) if _takes_one(made) else made()
            if not hasattr(made, "__iter__"):
                raise TypeError(f"data is a function that must give an iterable of batches, got {type(made).__name__}")
        return iter(made)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Begin an epoch, the one that `epoch` says."""
        epoch = self.epoch
        self.epoch += 1
        return self._count(self._begin(epoch), epoch)

    def _count(self, running: Iterator[Any], epoch: int) -> Iterator[tuple[Array, Array]]:
        end = object()
        for batch in range(self.steps):
            raw = next(running, end)
            if raw is end:
                remedy = "make more, or pass more epochs of fewer batches: steps_per_epoch="
                raise ValueError(f"data ended after {batch} of the {self.steps} batches of epoch {epoch + 1}; {remedy}")
            x, y = self._checked(raw, epoch, batch)
            if (x.shape[1:], (y.shape[1:], y.dtype.kind)) != (self.row, self.target):
                raise ValueError(
                    f"{_place(epoch, batch)} holds {x.dtype}{x.shape} and {y.dtype}{y.shape}; the first held samples "
                    f"of shape {self.row} and targets of shape {self.target[0]}, and all must be of one kind"
                )
            yield x, y
        if not self.once and hasattr(running, "close"):
            running.close()

    def _checked(self, raw: Any, epoch: int, batch: int) -> tuple[Array, Array]:
        """A batch as arrays, looked at as a whole data set would be."""
        where = _place(epoch, batch)
        if not isinstance(raw, tuple | list) or len(raw) != 2:
            many = f" of {len(raw)}" if isinstance(raw, tuple | list) else ""
            raise TypeError(f"{where} must be a pair (x, y), got a {type(raw).__name__}{many}")
        x, y = as_array(raw[0], f"{where}: x"), as_array(raw[1], f"{where}: y")
        if same_length([x, y], [f"{where}: x", f"{where}: y"]) == 0:
            raise ValueError(f"{where} holds no samples, expected at least one")
        check_finite(x, f"{where}: x")
        check_finite(y, f"{where}: y")
        return cast_floats(x, x.dtype if x.dtype.kind == "f" else self.dtype, where), y


def _place(epoch: int, batch: int) -> str:
    return f"batch {batch + 1} of epoch {epoch + 1}"


def _takes_one(function: Any) -> bool:
    """Whether a function is called with the epoch."""
    try:
        inspect.signature(function).bind(0)
    except (TypeError, ValueError):
        return False
    return True

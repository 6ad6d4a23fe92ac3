"""Mini-batches: one pass over the samples, in a new order every epoch, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from tensorgraph.arguments import Count, Kind, Natural, Ordered, Unfit, checked, kind_of
from tensorgraph.data.arrays import Array, Numbers, as_array, cast_floats, float_dtype, same_length
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.rows import Rows
from tensorgraph.engine.aval import FloatDType

__all__ = ["Loader", "minibatches", "sizes_of"]

Last = Literal["keep", "drop", "merge"]
COUNT, COUNTS = kind_of(Count), kind_of(Annotated[Sequence[Count], Ordered])


def _sizes(value: Any, kind: Kind) -> Any:
    """One size, one an epoch in a sequence, or a function that gives it."""
    if callable(value) and not isinstance(value, type):
        return value
    if not isinstance(value, list | tuple):
        return COUNT(value)
    return COUNTS(value) if value else kind.refuse(value, wrong=ValueError)


BatchSize: TypeAlias = Annotated[Any, Kind("a positive integer, or one an epoch: a list, or a function of it", _sizes)]


class Loader:
    """A re-iterable source of mini-batches over arrays of equal length.

    Parameters
    ----------
    *arrays : array of shape (N, ...), or one Dataset
        Samples, labels and whatever belongs to them; batches keep them together. N ≥ 1. Rows in a file are read a
        batch at a time, in the same order as those of an array.
    batch_size : int, sequence of int, or callable
        Samples in a batch. A sequence gives each epoch its own, the last one to all that follow; so does a function
        of the epoch, from 0: a growing batch calms the noise of the gradient as a falling learning rate does (Smith
        et al. 2018, arXiv 1711.00489).
    shuffle : bool
        Whether each epoch has its own random order.
    seed : int
        The order of epoch e depends on (seed, e) alone.
    last : {"keep", "drop", "merge"}
        What becomes of a last batch that is short: it is kept, left out, or joined to the batch before it (which then
        has up to 2·batch_size − 1 samples), so that batch norm never meets a batch of one sample.
    dtype : float dtype, optional
        Float arrays are given out in this dtype, the library's default unless given; integers stay integers.

    Attributes
    ----------
    epoch : int
        The number of the epoch that the next iteration runs, from 0; each iteration adds one as it begins. Set it to
        go on where another run stopped.

    Raises
    ------
    TypeError
        If an array does not hold numbers.
    ValueError
        If there is no array, the arrays differ in length or are empty, or ``last="drop"`` leaves no batch.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.data import Loader
    >>> batches = Loader(np.arange(10.0), np.arange(10), batch_size=4, shuffle=False)
    >>> len(batches)
    3
    >>> [y.tolist() for x, y in batches]
    [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    >>> batches.epoch
    1
    """

    @checked
    def __init__(
        self,
        *arrays: Dataset | Numbers,
        batch_size: BatchSize = 32,
        shuffle: bool = True,
        seed: Natural = 0,
        last: Last = "keep",
        dtype: FloatDType | None = None,
    ) -> None:
        columns: Sequence[Any] = arrays
        if len(arrays) == 1 and isinstance(arrays[0], Dataset):
            columns = arrays[0]._columns()[0]
        if not arrays:
            raise ValueError("a loader needs at least one array: Loader(x, y, batch_size=...)")
        names = [f"array {i}" for i in range(len(columns))]
        self._arrays = [as_array(array, name) for array, name in zip(columns, names)]
        self._samples = same_length(self._arrays, names)
        if self._samples == 0:
            raise ValueError("the arrays hold no samples; a loader needs at least one")
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._last = last
        self._dtype = float_dtype(dtype)
        self._epoch = 0
        self.sizes(0)

    @property
    def epoch(self) -> int:
        return self._epoch

    @epoch.setter
    @checked
    def epoch(self, value: Natural) -> None:
        self._epoch = value

    def _parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its arrays, x and y first, and what the order of its batches depends on besides."""
        names = ["x", "y", *(f"array {i}" for i in range(2, len(self._arrays)))]
        order = dict(batch_size=self._batch_size, shuffle=self._shuffle, seed=self._seed, last=self._last)
        return dict(zip(names, self._arrays, strict=False)), order

    @property
    def batch_size(self) -> int:
        """Samples in a batch, of the coming epoch, that is neither short nor merged."""
        return self.size_at(self._epoch)

    @checked
    def size_at(self, epoch: Natural) -> int:
        """The batch size of an epoch."""
        given = self._batch_size
        if isinstance(given, int):
            return given
        if callable(given):
            try:
                return int(COUNT(given(epoch)))
            except Unfit as unfit:
                raise unfit.wrong(unfit.sentence(f"batch_size({epoch})")) from None
        return int(given[min(epoch, len(given) - 1)])

    @checked
    def sizes(self, epoch: Natural) -> list[int]:
        """The sizes of an epoch's batches, in turn."""
        return sizes_of(self._samples, self.size_at(epoch), self._last)

    @property
    def samples(self) -> int:
        """The number of samples, whether or not `last` leaves some out."""
        return self._samples

    def __len__(self) -> int:
        """The number of batches in the coming epoch."""
        return len(self.sizes(self._epoch))

    def __repr__(self) -> str:
        order = f"seed={self._seed}" if self._shuffle else "shuffle=False"
        return (
            f"Loader({self._samples} samples, {len(self)} batches of {self.batch_size}, {order}, "
            f"last={self._last!r}, epoch={self._epoch})"
        )

    @checked
    def order(self, epoch: Natural) -> Array:
        """Return the order in which an epoch visits the samples: a permutation, int64, of shape (N,)."""
        if not self._shuffle:
            return np.arange(self._samples)
        return np.random.default_rng([self._seed, epoch]).permutation(self._samples)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Begin an epoch: the batches in turn, each a tuple with one new array for every array given."""
        order, sizes = self.order(self._epoch) if self._shuffle else None, self.sizes(self._epoch)
        self._epoch += 1
        return self._batches(order, sizes)

    def _batches(self, order: Array | None, sizes: list[int]) -> Iterator[tuple[Array, ...]]:
        start = 0
        for size in sizes:
            stop = start + size
            # batches share no memory with the data in either case, so that changing one changes nothing else
            if order is None:
                yield self._cast(array[start:stop].copy() for array in self._arrays)
            else:
                yield self._cast(_rows(array, order[start:stop]) for array in self._arrays)
            start = stop

    def _cast(self, batch: Iterable[Array]) -> tuple[Array, ...]:
        return tuple(cast_floats(_native(array), self._dtype, f"array {i}") for i, array in enumerate(batch))


def sizes_of(samples: int, size: int, last: Last) -> list[int]:
    """The sizes of the batches into which so many samples are cut."""
    whole, rest = divmod(samples, size)
    made = [size] * whole
    if rest and (last == "keep" or (last == "merge" and not whole)):
        made.append(rest)
    elif rest and last == "merge":
        made[-1] += rest
    if not made:
        raise ValueError(
            f"last='drop' leaves no batch: {samples} samples are fewer than batch_size={size}; lower batch_size or "
            "keep the last batch"
        )
    return made


def _rows(array: Any, rows: Array) -> Array:
    return array[rows] if isinstance(array, Rows) else array.take(rows, axis=0)


def _native(array: Array) -> Array:
    """Numbers in the machine's own order of bytes, which those of a file need not be in."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


@checked
def minibatches(
    *arrays: Dataset | Numbers,
    batch_size: BatchSize = 32,
    shuffle: bool = True,
    seed: Natural = 0,
    last: Last = "keep",
    dtype: FloatDType | None = None,
) -> Loader:
    """Return a `Loader` of the same arguments, so that a loop reads as a sentence.

    Examples
    --------
    >>> from tensorgraph.data import minibatches
    >>> for x, y in minibatches([[1.0], [2.0], [3.0]], [0, 1, 1], batch_size=2, last="merge"):
    ...     print(x.shape, x.dtype, y.shape)
    (3, 1) float32 (3,)
    """
    return Loader(*arrays, batch_size=batch_size, shuffle=shuffle, seed=seed, last=last, dtype=dtype)

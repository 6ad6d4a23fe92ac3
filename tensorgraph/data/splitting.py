"""Train, dev and test: cutting a data set into parts that share no sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from tensorgraph.arguments import Count, Natural, Positive, checked
from tensorgraph.data.arrays import Array, Numbers, as_array, check_finite, same_length
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.rows import pick

__all__ = ["split"]


@overload
def split(
    data: Dataset,
    /,
    *,
    fractions: Sequence[float] = ...,
    sizes: Sequence[int] | None = ...,
    seed: int = ...,
    stratify: Any = ...,
) -> tuple[Dataset, ...]: ...


@overload
def split(
    *arrays: Dataset | Numbers,
    fractions: Sequence[float] = ...,
    sizes: Sequence[int] | None = ...,
    seed: int = ...,
    stratify: Any = ...,
) -> tuple[tuple[Array, ...], ...]: ...


@checked
def split(
    *arrays: Dataset | Numbers,
    fractions: Sequence[Positive] = (0.8, 0.1, 0.1),
    sizes: Sequence[Count] | None = None,
    seed: Natural = 0,
    stratify: Any = None,
) -> tuple[Any, ...]:
    """Cut arrays, or a Dataset, at random into parts: train, dev and test, or any other number of them.

    Parameters
    ----------
    *arrays : array of shape (N, ...), or one Dataset
        Samples, labels and whatever belongs to them.
    fractions : sequence of float
        The parts' shares, which sum to 1. The cuts are at the floor of N times the cumulative share.
    sizes : sequence of int, optional
        The parts' numbers of samples, which sum to N, instead of `fractions`.
    seed : int
        The order is ``numpy.random.default_rng(seed).permutation(N)``, cut into pieces (unless stratified).
    stratify : array of shape (N,), or True, optional
        Labels whose shares every part keeps: the first part has of every class its proportional number rounded up or
        down, and of three parts the others are within two of it. True takes the Dataset's `y`.

    Returns
    -------
    tuple
        For every part a tuple of arrays, or a Dataset: copies, but of rows in a file, which stay there.

    Raises
    ------
    ValueError
        If lengths differ, shares or sizes do not add up, or a part would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph.data import split
    >>> x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    >>> (x_train, y_train), (x_test, y_test) = split(x, y, fractions=(0.8, 0.2), seed=1)
    >>> x_train.shape, y_test.shape
    ((8, 2), (2,))
    """
    whole = arrays[0] if len(arrays) == 1 and isinstance(arrays[0], Dataset) else None
    if whole is None and stratify is True:
        raise ValueError("stratify=True needs a Dataset; for arrays pass the labels, stratify=y")
    if whole is not None and stratify is True:
        if whole.y is None:
            raise ValueError("stratify=True needs labels, and this Dataset has none")
        stratify = whole.y
    columns = [whole.x] if whole is not None else [as_array(a, f"array {i}") for i, a in enumerate(arrays)]
    if not columns:
        raise ValueError("split needs at least one array: split(x, y, fractions=...)")
    n = same_length(columns, [f"array {i}" for i in range(len(columns))])
    parts = _sizes(n, fractions, sizes)
    rng = np.random.default_rng(seed)
    if stratify is None:
        pieces = np.split(rng.permutation(n), np.cumsum(parts)[:-1])
    else:
        pieces = _stratified(_labels(stratify, n), parts, rng)
    if whole is not None:
        return tuple(whole.take(piece) for piece in pieces)
    return tuple(tuple(pick(column, piece) for column in columns) for piece in pieces)


def _sizes(n: int, fractions: Sequence[float], sizes: Sequence[int] | None) -> list[int]:
    if sizes is not None:
        result = list(sizes)
        if not result or sum(result) != n:
            raise ValueError(f"sizes {tuple(result)} sum to {sum(result)}, expected the number of samples, {n}")
        return result
    shares = np.asarray(fractions, np.float64)
    if shares.ndim != 1 or shares.size == 0 or not (shares > 0).all() or abs(shares.sum() - 1.0) > 1e-6:
        raise ValueError(f"fractions are positive and sum to 1, got {tuple(fractions)}")
    # 0.7 + 0.2 + 0.1 rounds to just below 1: a hair is added so that whole numbers stay whole
    cuts = [0, *np.floor(np.cumsum(shares) * n + 1e-6).astype(int).tolist()]
    cuts[-1] = n
    result = [int(size) for size in np.diff(cuts)]
    if min(result) < 1:
        raise ValueError(
            f"fractions {tuple(fractions)} of {n} samples give parts of {tuple(result)}: none may be empty; "
            "give larger fractions, or sizes="
        )
    return result


def _labels(stratify: Any, n: int) -> Array:
    """The classes' numbers, from 0, of labels of any kind (text too)."""
    labels = np.asarray(stratify.numpy() if hasattr(stratify, "numpy") else stratify)
    if labels.shape != (n,):
        raise ValueError(f"stratify has shape {labels.shape}, expected one label a sample, ({n},)")
    check_finite(labels, "stratify")
    return np.unique(labels, return_inverse=True)[1]


def _stratified(labels: Array, parts: list[int], rng: np.random.Generator) -> list[Array]:
    """Draw the parts one after another, each evenly over the samples sorted by class.

    Taking s of n in equal strides takes, of any run of m neighbours, m·s/n rounded up or down; a class is such a run.
    """
    classes = int(labels.max()) + 1
    shuffled = rng.permutation(len(labels))
    rank = rng.permutation(classes)  # the order of the classes is random too, so that no class is favoured
    left = shuffled[np.argsort(rank[labels[shuffled]], kind="stable")]
    pieces = []
    for size in parts[:-1]:
        n = len(left)
        steps = (np.arange(n + 1) * size + rng.integers(n)) // n
        taken = np.diff(steps) > 0
        pieces.append(rng.permutation(left[taken]))
        left = left[~taken]
    return [*pieces, rng.permutation(left)]

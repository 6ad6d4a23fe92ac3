"""Class weights: what each class counts in a loss, from the labels, or as given by label or name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Count, NonNegative, Ordered, checked
from tensorgraph.arguments.near import near
from tensorgraph.data.arrays import Array, Numbers

__all__ = ["Weights", "class_weights", "weights_of"]

Weights: TypeAlias = str | Mapping[str | int, NonNegative] | Annotated[Sequence[NonNegative], Ordered]


@checked
def class_weights(y: Numbers, classes: Count | None = None) -> Array:
    """Weights by which every class counts the same, however often it occurs: N / (classes that occur · N_c).

    Parameters
    ----------
    y : array of int, shape (N, ...)
        Labels, N ≥ 1.
    classes : int, optional
        C; the highest label plus one unless given.

    Returns
    -------
    numpy.ndarray of float64 and shape (C,)
        Their mean over the samples is 1. A class that does not occur has the weight 1.

    Raises
    ------
    TypeError, ValueError
        If `y` holds no labels, or one that is not from 0 to C − 1.

    Examples
    --------
    >>> from tensorgraph.train import class_weights
    >>> class_weights([0, 0, 0, 1])
    array([0.66666667, 2.        ])
    """
    if y.dtype.kind not in "iu":
        raise TypeError(f"class weights are taken of integer labels, got {y.dtype}; convert with .astype(int)")
    if y.size == 0:
        raise ValueError("class weights are taken of at least one label, got none")
    low, high = int(y.min()), int(y.max())
    number = high + 1 if classes is None else classes
    if low < 0 or high >= number:
        raise ValueError(f"y holds labels from {low} to {high}, expected 0 to {number - 1}")
    counts = np.bincount(y.reshape(-1), minlength=number)
    present = np.count_nonzero(counts)
    return np.where(counts > 0, y.size / (present * np.maximum(counts, 1)), 1.0)


def weights_of(given: Any, y: Array, classes: int, names: Any) -> Array:
    """The weights that `fit` was given, one a class: "balanced", a mapping of labels or names, or a sequence."""
    if isinstance(given, str):
        if given != "balanced":
            raise ValueError(
                f"class_weights is 'balanced', a dict such as {{1: 5.0}}, or one number a class; got {given!r}"
            )
        return class_weights(y, classes)
    if isinstance(given, Mapping):
        made = np.ones(classes)
        for key, weight in given.items():
            made[_label(key, classes, names)] = weight
    else:
        made = np.asarray(given, np.float64)
        if made.shape != (classes,):
            raise ValueError(f"class_weights has shape {made.shape}, expected one number a class, ({classes},)")
    if not (np.isfinite(made).all() and (made >= 0).all() and made.any()):
        raise ValueError(f"class_weights are finite, not negative and not all 0, got {made.tolist()}")
    return made


def _label(key: Any, classes: int, names: Any) -> int:
    """The label that a key of class_weights means."""
    if isinstance(key, str):
        known = list(names or ())
        if key in known:
            return known.index(key)
        meant = near(key, known)
        hint = f"did you mean {meant!r}?" if meant else f"the classes are {', '.join(map(repr, known)) or 'not named'}"
        raise ValueError(f"class_weights: there is no class {key!r}; {hint}")
    if isinstance(key, bool | np.bool) or not hasattr(key, "__index__") or not 0 <= key < classes:
        raise ValueError(f"class_weights: {key!r} is no label; the model gives {classes} classes, 0 to {classes - 1}")
    return int(key)

"""Measures of a classifier (accuracy, top-k accuracy, confusion matrix, precision, recall, F1) and of a regression.

Every function takes predictions first and the truth second. A classifier's predictions are scores of shape (N, C),
logits or probabilities alike, or predicted labels of shape (N,); where scores tie, the first maximum is the prediction.
A regression's are numbers in the shape of the targets: (N,) and (N, 1) are the same, and nothing is broadcast. There
is no measure of nothing: N = 0 raises.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

from tensorgraph.arguments import Count, checked
from tensorgraph.arguments.foreign import getter
from tensorgraph.data.arrays import Array, Numbers, as_array

__all__ = [
    "accuracy", "confusion_matrix", "f1_score", "mae", "mse", "precision", "r2", "recall", "rmse", "top_k_accuracy",
]  # fmt: skip

# measures of numbers, which targets of a float dtype may have; the others compare labels
OF_NUMBERS = ("mae", "mse", "r2", "rmse")

# a table of 16,384² counts takes two gigabytes; a label beyond that is an identifier rather than a class
MOST_CLASSES = 1 << 14


@checked
def accuracy(predictions: Numbers, targets: Numbers) -> float:
    """The fraction of samples whose predicted label is the true one.

    Parameters
    ----------
    predictions : array of shape (N, C) or (N,)
        Scores, or integer labels.
    targets : array of int, shape (N,)
        True labels.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError
        If labels are not integers.
    ValueError
        If shapes do not fit, N is 0, a score is nan, or a label is out of range.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.accuracy([[2.0, 1.0], [0.0, 3.0], [1.0, 1.0]], [0, 1, 1])  # the last is a tie: class 0
    0.6666666666666666
    """
    labels, targets, _ = _labels(predictions, targets)
    return float(np.mean(labels == targets))


@checked
def top_k_accuracy(scores: Numbers, targets: Numbers, k: Count = 5) -> float:
    """The fraction of samples whose true label is among the k highest scores.

    Parameters
    ----------
    scores : array of shape (N, C)
        Logits or probabilities. Of equal scores the lower class comes first, so k = 1 is `accuracy`.
    targets : array of int, shape (N,)
        True labels.
    k : int
        From 1 to C.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `accuracy`, and if `k` is not from 1 to C.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.top_k_accuracy([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [1, 0], k=2)
    0.5
    """
    scores, targets = _scores(as_array(scores, "scores"), "scores"), _targets(targets)
    _check_lengths(scores, targets)
    classes = scores.shape[1]
    _check_range(targets, classes, "targets")
    if k > classes:
        raise ValueError(f"k is at most the number of classes, {classes}, got {k}")
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(classes) < targets[:, None]
    ahead = np.count_nonzero((scores > own) | ((scores == own) & earlier), axis=1)
    return float(np.mean(ahead < k))


@checked
def confusion_matrix(
    predictions: Numbers,
    targets: Numbers,
    *,
    classes: Count | None = None,
    normalize: Literal["true", "predicted", "all"] | None = None,
) -> Array:
    """Count how often each true class was predicted as each class.

    Parameters
    ----------
    predictions : array of shape (N, C) or (N,)
        Scores, or integer labels.
    targets : array of int, shape (N,)
        True labels.
    classes : int, optional
        C; from the scores, or the highest label plus one, unless given.
    normalize : {"true", "predicted", "all"}, optional
        Divide by the sums of the rows, by the sums of the columns, or by N.

    Returns
    -------
    numpy.ndarray of shape (C, C)
        Row = true class, column = predicted class. int64, or float64 if normalised; a class without samples then has
        a row (column) of nan.

    Raises
    ------
    TypeError, ValueError
        As `accuracy`, and if `classes` is not the number of scores.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1])
    array([[1, 1],
           [0, 2]])
    >>> metrics.confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1], normalize="true")
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    labels, targets, number = _labels(predictions, targets, classes)
    if number > MOST_CLASSES:
        raise ValueError(
            f"a confusion matrix of {number} classes is too large, at most {MOST_CLASSES}; number the labels from 0"
        )
    matrix = np.bincount(targets * number + labels, minlength=number * number).reshape(number, number)
    if normalize is None:
        return matrix.astype(np.int64)
    sums = matrix.sum(axis={"true": 1, "predicted": 0, "all": None}[normalize], keepdims=True)
    return _ratio(matrix, sums)


@overload
def precision(
    predictions: Numbers, targets: Numbers, *, classes: int | None = ..., average: Literal["macro"] = ...
) -> float: ...
@overload
def precision(predictions: Numbers, targets: Numbers, *, classes: int | None = ..., average: None) -> Array: ...
@checked
def precision(
    predictions: Numbers, targets: Numbers, *, classes: Count | None = None, average: Literal["macro"] | None = "macro"
) -> float | Array:
    """Of the samples predicted as a class, the fraction that is of it.

    Parameters
    ----------
    predictions : array of shape (N, C) or (N,)
        Scores, or integer labels.
    targets : array of int, shape (N,)
        True labels.
    classes : int, optional
        C; from the scores, or the highest label plus one, unless given.
    average : {"macro", None}
        The plain mean over the classes, or each class by itself.

    Returns
    -------
    float, or numpy.ndarray of float64 and shape (C,)
        A class that has samples and is never predicted counts 0. A class that occurs neither among the targets nor
        among the predictions is nan, and is left out of the mean.

    Raises
    ------
    TypeError, ValueError
        As `accuracy`.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.precision([0, 1, 1, 1], [0, 0, 1, 1], average=None)
    array([1.        , 0.66666667])
    """
    hits, predicted, true = _counts(predictions, targets, classes)
    return _average(np.where((predicted == 0) & (true > 0), 0.0, _ratio(hits, predicted)), average)


@overload
def recall(
    predictions: Numbers, targets: Numbers, *, classes: int | None = ..., average: Literal["macro"] = ...
) -> float: ...
@overload
def recall(predictions: Numbers, targets: Numbers, *, classes: int | None = ..., average: None) -> Array: ...
@checked
def recall(
    predictions: Numbers, targets: Numbers, *, classes: Count | None = None, average: Literal["macro"] | None = "macro"
) -> float | Array:
    """Of the samples of a class, the fraction that was predicted as it.

    Parameters, results and errors are those of `precision`; a class that is predicted and has no samples counts 0.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.recall([0, 1, 1, 1], [0, 0, 1, 1], average=None)
    array([0.5, 1. ])
    """
    hits, predicted, true = _counts(predictions, targets, classes)
    return _average(np.where((true == 0) & (predicted > 0), 0.0, _ratio(hits, true)), average)


@overload
def f1_score(
    predictions: Numbers, targets: Numbers, *, classes: int | None = ..., average: Literal["macro"] = ...
) -> float: ...
@overload
def f1_score(predictions: Numbers, targets: Numbers, *, classes: int | None = ..., average: None) -> Array: ...
@checked
def f1_score(
    predictions: Numbers, targets: Numbers, *, classes: Count | None = None, average: Literal["macro"] | None = "macro"
) -> float | Array:
    """The harmonic mean of precision and recall, 2·hits / (predicted + true), of each class or their mean.

    Parameters, results and errors are those of `precision`.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.f1_score([0, 1, 1, 1], [0, 0, 1, 1])
    0.7333333333333334
    """
    hits, predicted, true = _counts(predictions, targets, classes)
    return _average(_ratio(2 * hits, predicted + true), average)


@checked
def mae(predictions: Numbers, targets: Numbers) -> float:
    """The mean absolute error, (1/n) Σ |prediction − target| over all n numbers, in the targets' unit.

    Parameters
    ----------
    predictions, targets : array of shape (N, ...)
        Of one shape; (N,) and (N, 1) are the same.

    Raises
    ------
    TypeError
        If they hold no numbers.
    ValueError
        If the shapes differ, N is 0, or a prediction is nan.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.mae([[1.0], [2.0], [6.0]], [1.0, 4.0, 5.0])
    1.0
    """
    errors, _ = _errors(predictions, targets)
    return float(np.mean(np.abs(errors)))


@checked
def mse(predictions: Numbers, targets: Numbers) -> float:
    """The mean squared error, (1/n) Σ (prediction − target)². Arguments and errors are those of `mae`.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.mse([1.0, 2.0], [1.0, 4.0])
    2.0
    """
    errors, _ = _errors(predictions, targets)
    return float(np.mean(np.square(errors)))


@checked
def rmse(predictions: Numbers, targets: Numbers) -> float:
    """The root of `mse`, in the targets' unit. Arguments and errors are those of `mae`.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.rmse([3.0, 5.0], [0.0, 1.0])
    3.5355339059327378
    """
    errors, _ = _errors(predictions, targets)
    return float(np.sqrt(np.mean(np.square(errors))))


@checked
def r2(predictions: Numbers, targets: Numbers) -> float:
    """The coefficient of determination, 1 − Σ (target − prediction)² / Σ (target − mean of the targets)².

    1 where every prediction is right, 0 where they are as good as the mean of the targets, negative where they are
    worse. Arguments and errors are those of `mae`.

    Returns
    -------
    float
        At most 1. Of several outputs the plain mean, each by itself; one whose targets are all equal explains nothing,
        and is left out. nan where that leaves none.

    Examples
    --------
    >>> from tensorgraph.train import metrics
    >>> metrics.r2([2.5, 0.0, 2.0, 8.0], [3.0, -0.5, 2.0, 7.0])
    0.9486081370449679
    """
    errors, targets = _errors(predictions, targets)
    n = len(targets)
    errors, targets = errors.reshape(n, -1), targets.reshape(n, -1)
    left, whole = np.square(errors).sum(axis=0), np.square(targets - targets.mean(axis=0)).sum(axis=0)
    varies = (targets != targets[0]).any(axis=0)
    return float(np.mean(1.0 - left[varies] / whole[varies])) if varies.any() else float("nan")


def _errors(predictions: Numbers, targets: Numbers) -> tuple[Array, Array]:
    """prediction − target of every number, and the targets, float64."""
    predictions, targets = as_array(predictions, "predictions"), as_array(targets, "targets")
    if 0 in (predictions.ndim, targets.ndim):
        raise ValueError("predictions and targets have an axis over the samples; of a single pair write [p], [t]")
    _check_lengths(predictions, targets)
    targets = in_shape(targets, predictions.shape)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions have shape {predictions.shape} and targets {targets.shape}; they must be one shape"
        )
    wide = predictions.astype(np.float64)
    if np.isnan(wide).any():
        at = tuple(int(i) for i in np.argwhere(np.isnan(wide))[0])
        raise ValueError(f"predictions holds nan at position {at}: a sample without a prediction has no error")
    targets = targets.astype(np.float64)
    return wide - targets, targets


def in_shape(targets: Any, shape: tuple[int, ...]) -> Any:
    """Targets in the shape of predictions where (N,) and (N, 1) differ by that axis alone; else as they are."""
    near = targets.shape == (*shape, 1) or (*targets.shape, 1) == shape
    return targets.reshape(shape) if near else targets


def _counts(predictions: Numbers, targets: Numbers, classes: int | None) -> tuple[Array, Array, Array]:
    """Of each class: how often it was rightly predicted, how often predicted, how often true."""
    matrix = confusion_matrix(predictions, targets, classes=classes)
    return np.diagonal(matrix), matrix.sum(axis=0), matrix.sum(axis=1)


def _ratio(above: Array, below: Array) -> Array:
    """above / below in float64, nan where there is nothing to divide by."""
    shape = np.broadcast_shapes(above.shape, below.shape)
    result: Array = np.full(shape, np.nan)
    return np.divide(above, below, out=result, where=np.broadcast_to(below, shape) > 0)


def _average(values: Array, average: str | None) -> float | Array:
    if average is None:
        return values
    if average == "macro":
        return float(np.nanmean(values))  # never all nan: N ≥ 1, so some class occurs
    raise ValueError(f"average is 'macro' or None, got {average!r}")


def _labels(predictions: Numbers, targets: Numbers, classes: Count | None = None) -> tuple[Array, Array, int]:
    """Predicted and true labels, int64, and the number of classes."""
    predictions, targets = as_array(predictions, "predictions"), _targets(targets)
    if predictions.ndim == 1:
        labels = _integers(predictions, "predictions")
        _check_lengths(labels, targets)
        number = classes or max(int(labels.max()), int(targets.max())) + 1
        _check_range(labels, number, "predictions")
    else:
        scores = _scores(predictions, "predictions")
        _check_lengths(scores, targets)
        number = scores.shape[1]
        if classes not in (None, number):
            raise ValueError(f"classes={classes}, but the predictions hold {number} scores a sample")
        labels = scores.argmax(axis=1)
    _check_range(targets, number, "targets")
    return labels, targets, number


def _scores(scores: Array, name: str) -> Array:
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(
            f"{name} has shape {scores.shape}, expected (N, C) scores of C ≥ 2 classes; for a single score a sample "
            "pass labels, such as (p[:, 0] > 0.5).astype(int)"
        )
    bad = np.isnan(scores).any(axis=1) if scores.dtype.kind == "f" else np.zeros(len(scores), bool)
    if bad.any():
        raise ValueError(f"{name} holds nan in row {int(bad.argmax())}: a sample without scores has no prediction")
    return scores


def _targets(targets: Any) -> Array:
    targets = as_array(targets, "targets")
    if targets.ndim == 2:
        raise ValueError(
            f"targets has shape {targets.shape}, expected labels of shape (N,); of one-hot rows take .argmax(axis=1), "
            "of a single column [:, 0]"
        )
    return _integers(targets, "targets")


def _integers(labels: Array, name: str) -> Array:
    if labels.ndim != 1:
        raise ValueError(f"{name} has shape {labels.shape}, expected (N,)")
    # an empty list is float64 to NumPy; its emptiness is told by the length check
    if labels.dtype.kind not in "iub" and labels.size:
        raise TypeError(f"{name} has dtype {labels.dtype}, expected integer labels; convert with .astype(int)")
    return labels.astype(np.int64)


def _check_lengths(predictions: Array, targets: Array) -> None:
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions and {len(targets)} targets; give one of each a sample")
    if len(targets) == 0:
        raise ValueError("there are no samples; a measure needs at least one")


def _check_range(labels: Array, classes: int, name: str) -> None:
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{name} holds the label {labels[i]} at position {i}, expected 0 to {classes - 1}")


__getattr__ = getter(__name__, __all__)

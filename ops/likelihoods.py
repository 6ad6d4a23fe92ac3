"""Losses of probabilities and of distributions, composed of ops; rules as in `tensorgraph.ops.losses`."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from tensorgraph.arguments import Positive
from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.along import take_along_axis
from tensorgraph.ops.arithmetic import clip, square
from tensorgraph.ops.cross_entropy import class_targets, class_weights
from tensorgraph.ops.exponential import exp, log, log1p, softplus
from tensorgraph.ops.logarithm import xlogy
from tensorgraph.ops.logic import equal, greater, not_equal, where
from tensorgraph.ops.losses import Reduction, in_range, pair, reduced, require_fit, times, weighted, wide
from tensorgraph.ops.moving import moveaxis, of
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import expand_dims, squeeze

__all__: list[str] = []

TensorLike = Any

_MASK = np.array([[True, False, True, True]])
_HALF = static(np.array([[0.0, 0.25, 1.0, 0.5], [0.75, 0.0, 1.0, 0.125]]))
_COUNTS = static(np.array([[0.0, 2.0, 1.0, 5.0], [3.0, 0.0, 1.0, 7.0]]))
_SOME = np.array([[0.125, 0.25, 0.875, 0.5], [0.75, 0.0625, 0.5, 0.25]])


@function(
    also=("binary_cross_entropy_with_logits",), computed=True,
    examples=((((2, 4), _HALF), {}), (((2, 4), _HALF), dict(pos_weight=np.array([1.0, 2.0, 3.0, 0.5]))),
              (((2, 4), _HALF), dict(weight=np.array([[2.0], [1.0]]), mask=_MASK))),
)  # fmt: skip
def sigmoid_cross_entropy(
    logits: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    pos_weight: TensorLike | None = None,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of sigmoid(logits) and targets: labels 0 and 1, or probabilities.

    ``-target·log(sigmoid(z)) - (1 - target)·log(1 - sigmoid(z))``, exact far out, as is its gradient. A target outside
    [0, 1] raises. `weight` multiplies each loss, `pos_weight` the first of the two terms; both broadcast, and the mean
    is over the elements that count, not over weights. Other arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.sigmoid_cross_entropy([0.0, 1e4, -1e4], [1, 1, 1], reduction="none").tolist()
    [0.6931471824645996, 0.0, 10000.0]
    """
    name = "sigmoid_cross_entropy"
    z, y, mask = pair(name, logits, target, mask, first="logits")
    y = in_range.public(y, kind="probability", name="target")
    losses = times(weighted(name, y, pos_weight), softplus.public(-z)) + times(1.0 - y, softplus.public(z))
    return reduced(name, weighted(name, losses, weight), mask, reduction)


@function(
    computed=True,
    examples=(((_SOME, _HALF), {}), ((_SOME, _HALF), dict(weight=np.array([[2.0], [1.0]]), reduction="sum"))),
)
def binary_cross_entropy(
    probabilities: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of probabilities and targets, each from 0 to 1.

    The logarithms are held at -100, so that a probability of 0 gives no infinite loss; where they are, the derivative
    is 0. From logits, `sigmoid_cross_entropy` needs no such hold. Arguments as there.

    >>> import tensorgraph as tg
    >>> tg.binary_cross_entropy([0.5, 0.0], [1, 1], reduction="none").tolist()
    [0.6931471824645996, 100.0]
    """
    name = "binary_cross_entropy"
    p, y, mask = pair(name, probabilities, target, mask, first="probabilities")
    p = in_range.public(p, kind="probability", name="probabilities")
    y = in_range.public(y, kind="probability", name="target")
    no, yes = _held_log(p, 0.0, log.public), _held_log(p, 1.0, lambda x: log1p.public(-x))
    losses = -(y * no + (1.0 - y) * yes)
    return reduced(name, weighted(name, losses, weight), mask, reduction)


def _held_log(p: Any, end: float, function: Any) -> Any:
    """A logarithm that is infinite at an end, and held at -100."""
    held = equal.public(p, end)
    return where.public(held, -100.0, clip.public(function(where.public(held, 0.5, p)), a_min=-100.0))


@function(also=("nll_loss",), computed=True, examples=(
    (((3, 4), static(np.array([0, 3, 1]))), {}),
    (((3, 4), static(np.array([0, 3, 1])), np.array([0.5, 1.0, 2.0, 0.25])), dict(ignore_index=1)),
    (((3, 4, 2), static(np.array([[0, 1], [3, 3], [2, 0]]))), dict(axis=1, reduction="none"))),
)  # fmt: skip
def nll(
    log_probabilities: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    axis: int = -1,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The negative of each row's number at its class: the likelihood, where rows are logarithms of probabilities.

    `target` holds class indices, in the shape of the rows; one outside the classes raises, one that is `ignore_index`
    counts for nothing. `weight` is one a class, and the mean is divided by the weights of the labels that count. From
    logits, `softmax_cross_entropy` does it in one.

    >>> import tensorgraph as tg
    >>> tg.nll(tg.log_softmax([[2.0, 0.0], [0.0, 0.0]]), [0, 1])
    tensor(0.41003758, f32)
    """
    x = wide(log_probabilities, "nll: log_probabilities")
    k = canonical_axis(axis, x.ndim)
    x = x if k == x.ndim - 1 else moveaxis(x, k, -1)
    labels = of(target, "nll: target")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"nll: target needs class indices of an integer dtype, got {labels.aval}")
    if labels.shape != x.shape[:-1]:
        raise ValueError(f"nll: target needs the shape {x.shape[:-1]}, that without axis {axis}, got {labels.shape}")
    classes = x.shape[-1]
    labels = class_targets.public(labels, classes=classes, ignore_index=ignore_index)
    valid = None
    if ignore_index is not None:
        valid = not_equal.public(labels, ignore_index)
        labels = where.public(valid, labels, 0)
    places = expand_dims.public(labels, axis=-1)
    losses = -squeeze.public(take_along_axis.public(x, places, axis=-1), axis=-1)
    divisor = None
    if weight is not None:
        weights = class_weights.public(wide(weight, "nll: weight", x.dtype))
        if weights.shape != (classes,):
            raise ValueError(f"nll: weight needs the shape ({classes},), one a class, got {weights.shape}")
        of_rows = weights[labels]
        of_rows = of_rows if valid is None else where.public(valid, of_rows, 0.0)
        losses, divisor = times(of_rows, losses), sum.public(of_rows)
    return reduced("nll", losses, valid, reduction, divisor)


@function(computed=True, examples=(
    (((2, 4), _HALF), {}), (((2, 4), _HALF), dict(reduction="batchmean")),
    (((2, 4), (2, 4)), dict(log_target=True, mask=_MASK))),
)  # fmt: skip
def kl_div(
    log_probabilities: TensorLike,
    target: TensorLike,
    *,
    log_target: bool = False,
    mask: TensorLike | None = None,
    reduction: Literal["none", "sum", "mean", "batchmean"] = "mean",
) -> Tensor:
    """target·(log(target) - log_probabilities), element by element: summed, the Kullback-Leibler divergence.

    The prediction comes as logarithms; with ``log_target=True`` so does the target. A target of 0 gives 0, whatever
    the prediction. "batchmean" is the sum over the length of the first axis, which is what one usually wants: "mean" is
    over all elements, as in PyTorch. Other arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.kl_div(tg.log([[0.5, 0.5]]), [[1.0, 0.0]], reduction="batchmean")
    tensor(0.6931472, f32)
    """
    x, q, mask = pair("kl_div", log_probabilities, target, mask, first="log_probabilities")
    if log_target:
        impossible = equal.public(q, -math.inf)
        ratio = where.public(impossible, 0.0, where.public(impossible, 0.0, q) - x)
        losses = times(exp.public(q), ratio)
    else:
        q = in_range.public(q, kind="not negative", name="target")
        losses = xlogy.public(q, q) - times(q, x)
    if reduction != "batchmean":
        return reduced("kl_div", losses, mask, reduction)
    if not x.ndim:
        raise ValueError("kl_div: reduction='batchmean' needs a first axis to divide by, got numbers without one")
    total = reduced("kl_div", losses, mask, "sum")
    return total / max(x.shape[0], 1)  # type: ignore[no-any-return]


@function(also=("poisson_nll_loss",), computed=True, examples=(
    (((2, 4), _HALF), {}), ((_SOME, _HALF), dict(log_input=False)), (((2, 4), _COUNTS), dict(full=True))),
)  # fmt: skip
def poisson_nll(
    prediction: TensorLike,
    target: TensorLike,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: Positive = 1e-8,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood of counts under Poisson distributions of rates exp(prediction).

    ``exp(x) - target·x``; with ``log_input=False`` the rates themselves are predicted, and it is ``x -
    target·log(x + eps)``. What does not depend on the prediction is left out, unless `full` asks for Stirling's
    approximation of log(target!), which is 0 up to 1. Other arguments as of `mse`.
    """
    x, y, mask = pair("poisson_nll", prediction, target, mask)
    losses = exp.public(x) - y * x if log_input else x - y * log.public(x + float(eps))
    if full:
        many = greater.public(y, 1.0)
        n = where.public(many, y, 1.0)
        losses = losses + where.public(many, n * log.public(n) - n + 0.5 * log.public(2 * math.pi * n), 0.0)
    return reduced("poisson_nll", losses, mask, reduction)


@function(also=("gaussian_nll_loss",), computed=True, examples=(
    (((2, 4), (2, 4), _SOME), {}), (((2, 4), (2, 4), _SOME), dict(full=True, mask=_MASK))),
)  # fmt: skip
def gaussian_nll(
    prediction: TensorLike,
    target: TensorLike,
    variance: TensorLike,
    *,
    full: bool = False,
    eps: Positive = 1e-6,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood under normal distributions of predicted means and variances.

    ``(log(variance) + (prediction - target)² / variance) / 2``, and log(2π)/2 more if it is to be `full`. A variance is
    at least `eps`, below which its derivative is 0; one below 0 raises. It broadcasts to the predictions. Other
    arguments as of `mse`.
    """
    x, y, mask = pair("gaussian_nll", prediction, target, mask)
    v = in_range.public(wide(variance, "gaussian_nll: variance", x.dtype), kind="not negative", name="variance")
    require_fit("gaussian_nll", v, x.shape, "variance")
    v = clip.public(v, a_min=float(eps))
    losses = 0.5 * (log.public(v) + square.public(x - y) / v)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduced("gaussian_nll", losses, mask, reduction)

"""Losses of margins and of distances, composed of ops; rules as in `tensorgraph.ops.losses`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from tensorgraph.arguments import Finite, NonNegative, Positive
from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.functions import function, static
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.along import take_along_axis
from tensorgraph.ops.arithmetic import absolute, maximum, sqrt, square
from tensorgraph.ops.creation import one_hot
from tensorgraph.ops.cross_entropy import class_targets, class_weights
from tensorgraph.ops.exponential import relu, softplus
from tensorgraph.ops.likelihoods import sigmoid_cross_entropy
from tensorgraph.ops.logic import equal, isfinite, where
from tensorgraph.ops.losses import Reduction, as_mask, in_range, pair, reduced, require_shape, wide
from tensorgraph.ops.moving import of
from tensorgraph.ops.reduction import max as largest
from tensorgraph.ops.reduction import mean, sum
from tensorgraph.ops.shape import expand_dims
from tensorgraph.ops.structure import stop_gradient

__all__: list[str] = []

TensorLike = Any
_SIGNS = static(np.array([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, -1.0]]))
_CLASSES = static(np.array([0, 3, 1]))


@function(also=("hinge_loss",), computed=True, examples=(
    (((2, 4), _SIGNS), {}), (((2, 4), _SIGNS), dict(margin=0.5, reduction="none"))),
)  # fmt: skip
def hinge(
    scores: TensorLike,
    target: TensorLike,
    *,
    margin: Finite = 1.0,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """max(0, margin - target·score), for targets of -1 and 1; the derivative at the kink is 0.

    Anything else among the targets raises. Other arguments as of `mse`; for class indices there is `multi_margin`.

    >>> import tensorgraph as tg
    >>> tg.hinge([2.0, 0.5], [1, -1], reduction="none")
    tensor([0. , 1.5], f32)
    """
    x, y, mask = pair("hinge", scores, target, mask, fill=1.0, first="scores")
    y = in_range.public(y, kind="sign", name="target")
    return reduced("hinge", relu.public(float(margin) - y * x), mask, reduction)


@function(also=("multi_margin_loss",), computed=True, examples=(
    (((3, 4), _CLASSES), {}), (((3, 4), _CLASSES, np.array([0.5, 1.0, 2.0, 0.25])), dict(p=2, reduction="sum"))),
)  # fmt: skip
def multi_margin(
    scores: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    p: Literal[1, 2] = 1,
    margin: Finite = 1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """The hinge loss of several classes: by how much each other class comes within `margin` of the right one.

    ``Σ max(0, margin - score[target] + score[c])^p`` over the other classes c, divided by the number of classes, for
    scores of shape (..., C) and class indices of shape (...). `weight` is one a class, of the right one.

    >>> import tensorgraph as tg
    >>> tg.multi_margin([[2.0, 1.5, 0.0]], [0]).tolist()
    0.1666666716337204
    """
    x = wide(scores, "multi_margin: scores")
    labels = of(target, "multi_margin: target")
    if labels.dtype.kind not in "iu" or not x.ndim or labels.shape != x.shape[:-1]:
        raise ValueError(
            f"multi_margin: target needs class indices of an integer dtype and the shape {x.shape[:-1]}, that of the "
            f"scores without the classes, got {labels.aval}"
        )
    classes = x.shape[-1]
    labels = class_targets.public(labels, classes=classes)
    right = take_along_axis.public(x, expand_dims.public(labels, axis=-1), axis=-1)
    chosen = one_hot.public(labels, classes=classes, dtype="bool")
    over = relu.public(where.public(chosen, 0.0, float(margin) - right + x))
    losses = sum.public(over if p == 1 else square.public(over), axis=-1) / (classes or 1)
    if weight is not None:
        weights = class_weights.public(wide(weight, "multi_margin: weight", x.dtype))
        if weights.shape != (classes,):
            raise ValueError(f"multi_margin: weight needs the shape ({classes},), one a class, got {weights.shape}")
        losses = weights[labels] * losses
    return reduced("multi_margin", losses, None, reduction)


@function(also=("hinge_embedding_loss",), computed=True, examples=(
    (((2, 4), _SIGNS), {}), (((2, 4), _SIGNS), dict(margin=0.5, reduction="none"))),
)  # fmt: skip
def hinge_embedding(
    distances: TensorLike,
    target: TensorLike,
    *,
    margin: Finite = 1.0,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The distances of what belongs together (target 1), and max(0, margin - distance) of what does not (-1).

    Anything else among the targets raises. Other arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.hinge_embedding([2.0, 0.25], [1, -1], reduction="none")
    tensor([2.  , 0.75], f32)
    """
    x, y, mask = pair("hinge_embedding", distances, target, mask, fill=1.0, first="distances")
    y = in_range.public(y, kind="sign", name="target")
    losses = where.public(equal.public(y, 1.0), x, relu.public(float(margin) - x))
    return reduced("hinge_embedding", losses, mask, reduction)


@function(also=("margin_ranking_loss",), computed=True, examples=(
    (((2, 4), (2, 4), _SIGNS), {}), (((2, 4), (2, 4), _SIGNS), dict(margin=0.5, reduction="sum"))),
)  # fmt: skip
def margin_ranking(
    a: TensorLike,
    b: TensorLike,
    target: TensorLike,
    *,
    margin: Finite = 0.0,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """max(0, margin - target·(a - b)): a is to be the larger by the margin (target 1), or b (-1).

    Other targets weigh the difference. Other arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.margin_ranking([2.0, 2.0], [1.0, 1.0], [1, -1], reduction="none")
    tensor([0., 1.], f32)
    """
    x, y, mask = pair("margin_ranking", a, target, mask, fill=1.0, first="a")
    other = wide(b, "margin_ranking: b", x.dtype)
    require_shape("margin_ranking", other, x.shape, "b", "a")
    if mask is not None:
        other = where.public(mask, other, 0.0)
    return reduced("margin_ranking", relu.public(float(margin) - y * (x - other)), mask, reduction)


@function(also=("soft_margin_loss",), computed=True, examples=((((2, 4), _SIGNS), {}),))
def soft_margin(
    scores: TensorLike, target: TensorLike, *, mask: TensorLike | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """log(1 + exp(-target·score)), for targets of -1 and 1; of 0 and 1 it is `sigmoid_cross_entropy`.

    Other targets weigh the score. Other arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.soft_margin([0.0, 100.0], [1, -1], reduction="none")
    tensor([  0.6931472, 100.       ], f32)
    """
    x, y, mask = pair("soft_margin", scores, target, mask, fill=1.0, first="scores")
    return reduced("soft_margin", softplus.public(-(y * x)), mask, reduction)


@function(also=("multilabel_soft_margin_loss",), computed=True, examples=(
    (((2, 3), static(np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))), {}),
    (((2, 3), static(np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))), dict(weight=np.array([0.5, 1.0, 2.0]))),
))  # fmt: skip
def multilabel_soft_margin(
    logits: TensorLike, target: TensorLike, *, weight: TensorLike | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """The mean over the classes, which are the last axis, of `sigmoid_cross_entropy`: each may hold or not.

    Targets are from 0 to 1; `weight` is one number a class; `reduction` is over the examples.

    >>> import tensorgraph as tg
    >>> tg.multilabel_soft_margin([[0.0, 100.0]], [[1, 0]])
    tensor(50.346573, f32)
    """
    losses = sigmoid_cross_entropy(logits, target, weight, reduction="none")
    if not losses.ndim:
        raise ValueError("multilabel_soft_margin: logits need an axis of the classes, got a number")
    return reduced("multilabel_soft_margin", mean.public(losses, axis=-1), None, reduction)


def length(x: Any, axis: int) -> tuple[Any, Any]:
    """x over its largest size along an axis, kept, and the Euclidean length of that: neither overflows nor vanishes.

    The scale has no derivative of its own. The length of zeros is 0, with the derivative 0.
    """
    scale = stop_gradient.public(largest.public(absolute.public(x), axis=axis, keepdims=True))
    scale = where.public(equal.public(scale, 0.0), 1.0, where.public(isfinite.public(scale), scale, 1.0))
    y = x / scale
    squares = sum.public(square.public(y), axis=axis, keepdims=True)
    nothing = equal.public(squares, 0.0)
    return scale, where.public(nothing, 0.0, sqrt.public(where.public(nothing, 1.0, squares)))


def _direction(x: Any, axis: int, eps: float) -> Any:
    if x.shape[axis] == 0:
        return x
    scale, size = length(x, axis)
    return x / scale / maximum.public(size, eps / scale)


@function(computed=True, examples=((((3, 4), (3, 4)), {}), (((3, 4), (1, 4)), {}), (((3, 4), (3, 4)), dict(axis=0))))
def cosine_similarity(a: TensorLike, b: TensorLike, *, axis: int = -1, eps: Positive = 1e-8) -> Tensor:
    """The cosine of the angle between vectors along an axis, of a and b, which broadcast.

    ``Σ a·b / (max(|a|, eps)·max(|b|, eps))``: 0 beside a vector of zeros. Vectors however long or short do not
    overflow.

    >>> import tensorgraph as tg
    >>> tg.cosine_similarity([1.0, 0.0], [3.0, 3.0])
    tensor(0.70710677, f32)
    """
    x = wide(a, "cosine_similarity: a")
    y = wide(b, "cosine_similarity: b")
    kind = np.promote_types(x.dtype, y.dtype)
    x, y = wide(x, "a", kind), wide(y, "b", kind)
    for name, v in (("a", x), ("b", y)):
        if not v.ndim:
            raise ValueError(f"cosine_similarity: {name} needs an axis of the vectors' elements, got a number")
    k = canonical_axis(axis, max(x.ndim, y.ndim)) - max(x.ndim, y.ndim)
    if -k > min(x.ndim, y.ndim) or x.shape[k] != y.shape[k]:
        raise ValueError(
            f"cosine_similarity: vectors of a and b need one length along axis {axis}, got {x.shape} and {y.shape}"
        )
    products = _direction(x, k, float(eps)) * _direction(y, k, float(eps))
    return sum.public(products, axis=k)  # type: ignore[no-any-return]


@function(also=("cosine_embedding_loss",), computed=True, examples=(
    (((2, 4), (2, 4), static(np.array([1.0, -1.0]))), {}),
    (((2, 4), (2, 4), static(np.array([-1.0, -1.0]))), dict(margin=-0.5))),
)  # fmt: skip
def cosine_embedding(
    a: TensorLike,
    b: TensorLike,
    target: TensorLike,
    *,
    margin: Finite = 0.0,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """1 - `cosine_similarity` for vectors that belong together (target 1), max(0, it - margin) for others (-1).

    Vectors of shape (..., D), targets of shape (...). Other arguments as of `mse`.
    """
    x = wide(a, "cosine_embedding: a")
    y = wide(b, "cosine_embedding: b", x.dtype)
    require_shape("cosine_embedding", y, x.shape, "b", "a")
    cosine = cosine_similarity(x, y)
    t = wide(target, "cosine_embedding: target", x.dtype)
    require_shape("cosine_embedding", t, x.shape[:-1], "target", "a without its last axis")
    mask = as_mask("cosine_embedding", mask, t.shape)
    t = in_range.public(t if mask is None else where.public(mask, t, 1.0), kind="sign", name="target")
    losses = where.public(equal.public(t, 1.0), 1.0 - cosine, relu.public(cosine - float(margin)))
    return reduced("cosine_embedding", losses, mask, reduction)


def _distance(a: Any, b: Any, eps: float) -> Any:
    d = a - b + eps
    if d.shape[-1] == 0:
        return sum.public(d, axis=-1)
    scale, size = length(d, -1)
    return sum.public(scale * size, axis=-1)


@function(also=("triplet_margin_loss",), computed=True, examples=(
    (((3, 4), (3, 4), (3, 4)), {}), (((3, 4), (3, 4), (3, 4)), dict(swap=True, margin=2.0, reduction="sum"))),
)  # fmt: skip
def triplet_margin(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    margin: Finite = 1.0,
    eps: NonNegative = 1e-6,
    swap: bool = False,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """max(0, |anchor - positive| - |anchor - negative| + margin), of Euclidean distances along the last axis.

    `eps` is added to each difference, as in PyTorch, so that a distance of 0 has a slope. `swap` takes the nearer of
    the anchor's and the positive's distances from the negative (Balntas and others, 2016). Vectors have the shape
    (..., D), `mask` the shape (...). Other arguments as of `mse`.
    """
    name = "triplet_margin"
    x = wide(anchor, f"{name}: anchor")
    if not x.ndim:
        raise ValueError(f"{name}: anchor needs an axis of the vectors' elements, got a number")
    near, far = wide(positive, f"{name}: positive", x.dtype), wide(negative, f"{name}: negative", x.dtype)
    require_shape(name, near, x.shape, "positive", "anchor")
    require_shape(name, far, x.shape, "negative", "anchor")
    mask = as_mask(name, mask, x.shape[:-1])
    if mask is not None:
        counts = expand_dims.public(mask, axis=-1)
        x, near, far = (where.public(counts, v, 0.0) for v in (x, near, far))
    away = _distance(x, far, float(eps))
    if swap:
        away = _nearer(away, _distance(near, far, float(eps)))
    return reduced(name, relu.public(_distance(x, near, float(eps)) - away + float(margin)), mask, reduction)


def _nearer(a: Any, b: Any) -> Any:
    return where.public(a < b, a, b)

"""Losses of regression and of probabilities, composed of ops.

All share a few rules. Predictions come first, targets second and in the same shape: where NumPy would broadcast, they
raise. The arithmetic is at least float32, in the predictions' dtype. `mask` says which elements count: the others give
a loss and a gradient of exactly 0, whatever stands there, and a mean is over those that count.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from tensorgraph.arguments import NonNegative, Positive
from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.batching import unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function
from tensorgraph.engine.numbers import is_number
from tensorgraph.engine.op import float_dtype, structural
from tensorgraph.engine.tape import warn_user
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.arithmetic import absolute, clip, square
from tensorgraph.ops.cross_entropy import mean_divisor
from tensorgraph.ops.logic import equal, isinf, logical_and, where
from tensorgraph.ops.moving import number, of
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, broadcast_to

__all__: list[str] = []

TensorLike = Any
Reduction: TypeAlias = Literal["none", "sum", "mean"]


# what a loss looks at ----------------------------------------------------------------------------------------------

_RANGES: dict[str, tuple[Any, str]] = {
    "probability": (lambda x: (x >= 0) & (x <= 1), "from 0 to 1"),
    "sign": (lambda x: (x == 1) | (x == -1), "-1 or 1"),
    "not negative": (lambda x: x >= 0, "not negative"),
}


def _range_infer(x: Aval, *, kind: str, name: str) -> Aval:
    if kind not in _RANGES:
        raise ValueError(f"kind must be one of {', '.join(_RANGES)}, got {kind!r}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {name!r}")
    return x


def _range_check(x: Any, *, kind: str, name: str = "x") -> None:
    _range_infer(x, kind=kind, name=name)
    test, words = _RANGES[kind]
    right = test(x)
    if not np.all(right):
        at = np.argwhere(~np.asarray(right))[0].tolist()
        place = f"[{', '.join(map(str, at))}]" if at else ""
        raise ValueError(f"{name}{place} is {x[tuple(at)]}: expected numbers that are {words}")


in_range = op(
    "in_range(x, *, kind: str, name: str = 'x')", lambda x, *, kind, name="x": x, structural, infer_rule=_range_infer,
    batch=unchanged, check=_range_check, traits=("identity", "view", "linear", "internal", "checks"),
    native="looking:native_in_range", vjp=dict(x=lambda g: g), domain=(0.1, 0.9),
    oracle=lambda x, *, kind, name="x": x,
    examples=(
        (((3, 4),), dict(kind="probability")),
        ((np.array([[1, -1]]),), dict(kind="sign", name="target")),
    ),
    doc="""The numbers themselves, once they are known to be a `kind`: "probability", "sign" or "not negative".

    >>> import tensorgraph as tg
    >>> tg.in_range([0.5, 1.5], kind="probability", name="target")
    Traceback (most recent call last):
        ...
    ValueError: ...: target[1] is 1.5: expected numbers that are from 0 to 1
    """,
)  # fmt: skip


# what losses share --------------------------------------------------------------------------------------------------


def wide(x: Any, what: str, kind: Any = None) -> Tensor:
    """An argument as a tensor of floats: of a dtype, or of at least float32."""
    made = number(x, kind, what) if is_number(x) else of(x, what)
    kind = np.promote_types(float_dtype(made.dtype), np.float32) if kind is None else kind
    return made if made.dtype == kind else astype.public(made, dtype=kind.name)


def require_shape(name: str, given: Tensor, shape: tuple[int, ...], what: str, first: str = "prediction") -> None:
    """Refuse what would broadcast."""
    if given.shape == shape:
        return
    said = f"{name}: {what} needs the shape {shape} of {first}, got {given.shape}"
    longer, shorter = (shape, given.shape) if len(shape) > len(given.shape) else (given.shape, shape)
    if len(longer) == len(shorter) + 1 and longer[-1:] == (1,) and longer[:-1] == shorter:
        more, less = (first, what) if longer is shape else (what, first)
        said += f", and broadcasting would pair everything with everything; write {more}[..., 0], or {less}[..., None]"
    raise ValueError(said)


def require_fit(name: str, given: Tensor, shape: tuple[int, ...], what: str) -> None:
    """Refuse what does not broadcast to a shape."""
    try:
        fits = broadcast_shapes(given.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: {what} must fit the shape {shape}, got {given.shape}")


def pair(name: str, prediction: Any, target: Any, mask: Any, fill: float = 0.0, first: str = "prediction") -> Any:
    """Predictions and targets in one shape and dtype, `fill` where the mask leaves them out; and the mask."""
    x = wide(prediction, f"{name}: {first}")
    y = wide(target, f"{name}: target", x.dtype)
    require_shape(name, y, x.shape, "target", first)
    mask = as_mask(name, mask, x.shape)
    if mask is not None:
        x, y = where.public(mask, x, fill), where.public(mask, y, fill)
    return x, y, mask


def as_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Any:
    """A mask in the shape of what it masks."""
    if mask is None:
        return None
    made = of(mask, f"{name}: mask")
    if made.dtype.kind != "b":
        raise TypeError(f"{name}: mask must be booleans, True where an element counts, got {made.aval}")
    require_fit(name, made, shape, "mask")
    return made if made.shape == shape else broadcast_to.public(made, shape=shape)


def reduced(name: str, losses: Tensor, mask: Any, reduction: str, divisor: Any = None) -> Tensor:
    """The losses, their sum, or their mean over those that count."""
    if mask is not None:
        losses = where.public(mask, losses, 0.0)
    if reduction == "none":
        return losses
    total: Tensor = sum.public(losses)
    if reduction == "sum":
        return total
    size = losses.size
    if size == 0:
        warn_user(f"{name}: the mean of no numbers is taken for 0")
        return total
    if mask is None and divisor is None:
        return total / size
    if divisor is None:
        divisor = astype.public(sum.public(mask), dtype=losses.dtype.name)
    divisor = mean_divisor.public(divisor, of=name)
    return total / where.public(equal.public(divisor, 0.0), 1.0, divisor)  # type: ignore[no-any-return]


def times(a: Any, b: Any) -> Any:
    """a·b, where 0 times infinity is 0."""
    nothing = logical_and.public(equal.public(a, 0.0), isinf.public(b))
    return a * where.public(nothing, 0.0, b)


def weighted(name: str, losses: Tensor, weight: Any) -> Tensor:
    """Each loss times its weight, which may broadcast."""
    if weight is None:
        return losses
    made = wide(weight, f"{name}: weight", losses.dtype)
    require_fit(name, made, losses.shape, "weight")
    return losses * made


# of numbers ---------------------------------------------------------------------------------------------------------

_PAIR: Any = (((3, 4), (3, 4)), {})
_MASK = np.array([[True, False, True, True]])


@function(also=("mse_loss",), computed=True, examples=(_PAIR, (((3, 4), (3, 4)), dict(mask=_MASK, reduction="sum"))))
def mse(
    prediction: TensorLike, target: TensorLike, *, mask: TensorLike | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean squared error.

    Shapes that differ raise instead of broadcasting. `mask` says which elements count; `reduction` is "mean" over
    those, "sum" or "none". At least float32.

    >>> import tensorgraph as tg
    >>> tg.mse([1.0, 2.0], [1.0, 4.0])
    tensor(2., f32)
    """
    x, y, mask = pair("mse", prediction, target, mask)
    return reduced("mse", square.public(x - y), mask, reduction)


@function(also=("l1_loss",), computed=True, examples=(_PAIR,))
def mae(
    prediction: TensorLike, target: TensorLike, *, mask: TensorLike | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean absolute error; the derivative at 0 is 0. Arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.mae([1.0, 2.0], [1.0, 4.0])
    tensor(1., f32)
    """
    x, y, mask = pair("mae", prediction, target, mask)
    return reduced("mae", absolute.public(x - y), mask, reduction)


def _huber(d: Any, delta: float) -> Any:
    inner = clip.public(d, a_min=-delta, a_max=delta)
    return inner * (d - 0.5 * inner)


@function(also=("huber_loss",), computed=True, examples=(_PAIR, (((3, 4), (3, 4)), dict(delta=0.5, reduction="none"))))
def huber(
    prediction: TensorLike,
    target: TensorLike,
    *,
    delta: Positive = 1.0,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """d²/2 where the error d is within `delta`, delta·(|d| - delta/2) beyond (Huber, 1964). Arguments as of `mse`.

    >>> import tensorgraph as tg
    >>> tg.huber([0.5, 3.0], [0.0, 0.0], reduction="none")
    tensor([0.125, 2.5  ], f32)
    """
    x, y, mask = pair("huber", prediction, target, mask)
    return reduced("huber", _huber(x - y, float(delta)), mask, reduction)


@function(also=("smooth_l1_loss",), computed=True, examples=(_PAIR, (((3, 4), (3, 4)), dict(beta=0.5))))
def smooth_l1(
    prediction: TensorLike,
    target: TensorLike,
    *,
    beta: NonNegative = 1.0,
    mask: TensorLike | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`huber` over `beta`: |d| - beta/2 far out, which with beta 0 is `mae`. Arguments as of `mse`."""
    if beta == 0:
        plain: Tensor = mae(prediction, target, mask=mask, reduction=reduction)
        return plain
    x, y, mask = pair("smooth_l1", prediction, target, mask)
    return reduced("smooth_l1", _huber(x - y, float(beta)) / float(beta), mask, reduction)

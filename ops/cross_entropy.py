"""Softmax cross-entropy from logits, for class indices and for probabilities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, canonical_axis
from tensorgraph.engine.batching import BatchCall, moved, reshaped, unchanged, widened
from tensorgraph.engine.declare import fused_op, op
from tensorgraph.engine.op import float_dtype, structural
from tensorgraph.engine.recognition import Recognition, every_axis, rates
from tensorgraph.engine.tape import warn_user
from tensorgraph.ops.creation import canonical_size, full, number, one_hot
from tensorgraph.ops.exponential import as_float, log1p
from tensorgraph.ops.kernels import cross_entropy as kernels
from tensorgraph.ops.kernels.rows import aside, work_dtype
from tensorgraph.ops.logic import equal, logical_and, not_equal, where
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, expand_dims, transpose
from tensorgraph.ops.softmax import from_likeliest

REDUCTIONS = ("none", "sum", "mean", "batchmean")


def _infer(
    logits: Aval, target: Aval, weight: Aval | None, *, axis: int, ignore_index: int | None, label_smoothing: float,
    reduction: str, empty: str,
) -> Aval:  # fmt: skip
    k = canonical_axis(axis, logits.ndim)
    rows = (*logits.shape[:k], *logits.shape[k + 1 :])
    classes = logits.shape[k]
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    if empty not in ("zero", "nan"):
        raise ValueError(f"empty must be 'zero' or 'nan', got {empty!r}")
    if not 0 <= number(label_smoothing, "label_smoothing") <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if target.dtype.kind in "iub":
        if target.dtype.kind == "b" or (target.shape == logits.shape and target.shape != rows):
            raise ValueError(
                f"target {target} looks like one-hot labels: pass class indices (target.argmax({axis})) or float "
                "probabilities (target.astype('float32'))"
            )
        if target.shape != rows:
            fits = [i for i in range(logits.ndim) if target.shape == (*logits.shape[:i], *logits.shape[i + 1 :])]
            hint = f"; axis={fits[0]} would fit" if fits else ""
            raise ValueError(
                f"class indices need the logits' shape without axis {axis}, {rows}, got {target.shape}{hint}"
            )
    else:
        if target.shape != logits.shape:
            raise ValueError(
                f"probabilities need the logits' shape {logits.shape}, got {target}; class indices need an "
                "integer dtype"
            )
        if ignore_index is not None:
            raise ValueError("ignore_index goes with class indices, not with probabilities: use weight, or mask rows")
    if weight is not None and (weight.shape != (classes,) or weight.dtype.kind != "f"):
        raise ValueError(f"weight must be float of shape ({classes},), one a class, got {weight}")
    _index(ignore_index)
    kind = float_dtype(logits.dtype)
    kind = np.dtype(np.float32) if kind == np.float16 else kind
    return Aval(rows if reduction == "none" else (), kind)


def _index(ignore_index: Any) -> None:
    if ignore_index is not None and (isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer))):
        raise TypeError(f"ignore_index must be an integer or None, got {ignore_index!r}")


def _check(logits: Any, target: Any, weight: Any, *, axis: int, ignore_index: int | None, **options: Any) -> None:
    if -logits.ndim <= axis < logits.ndim and target.dtype.kind != "b":
        expected = logits.ndim - (target.dtype.kind != "f")
        if target.ndim == expected:
            kernels.cross_entropy_check(target, logits.shape[axis], ignore_index)
    if weight is not None:
        _check_weights(weight)


def _residual_types(logits: Aval, *rest: Any, axis: int, **attrs: Any) -> tuple[Aval, ...]:
    rows = math.prod(n for i, n in enumerate(logits.shape) if i != axis % logits.ndim)
    return Aval((2, rows), work_dtype(logits.dtype)), Aval((), np.float64)


def _forward(
    logits: Any, target: Any, weight: Any, *, axis: int = -1, ignore_index: int | None = None,
    label_smoothing: float = 0.0, reduction: str = "mean", empty: str = "zero",
) -> Any:  # fmt: skip
    plain = axis == -1 and weight is None and label_smoothing == 0 and reduction == "mean" and empty == "zero"
    plain = plain and (ignore_index is None or type(ignore_index) is int)
    if not (plain and target.dtype.kind == "i" and logits.ndim and target.shape == logits.shape[:-1]):
        _infer(
            Aval(logits.shape, logits.dtype), Aval(target.shape, target.dtype),
            None if weight is None else Aval(weight.shape, weight.dtype), axis=axis, ignore_index=ignore_index,
            label_smoothing=label_smoothing, reduction=reduction, empty=empty,
        )  # fmt: skip
    loss, lse, divisor = kernels.cross_entropy_forward(
        as_float(logits), target, weight, axis, ignore_index, label_smoothing, reduction, empty
    )
    if divisor == 0 and reduction in ("mean", "batchmean"):
        warn_empty(empty)
    return loss, lse, divisor


# the parts of the composition that look at numbers, so that a traced one does too ----------------------------------


def _targets_infer(target: Any, *, classes: int, ignore_index: int | None) -> Any:
    canonical_size(classes, "classes")
    _index(ignore_index)
    return target


def _check_targets(target: Any, *, classes: int, ignore_index: int | None) -> None:
    _targets_infer(target, classes=classes, ignore_index=ignore_index)
    kernels.cross_entropy_check(target, classes, ignore_index)


class_targets = op(
    "class_targets(target, *, classes: int, ignore_index: int | None = None)",
    lambda target, *, classes, ignore_index=None: target,
    structural, infer_rule=_targets_infer, check=_check_targets, batch=unchanged,
    native="looking:native_class_targets",
    traits=("identity", "view", "linear", "labels", "internal", "checks"), vjp=dict(target=lambda g: g),
    examples=(
        ((np.array([0, 2, 1]),), dict(classes=3)), ((np.array([0, -1]),), dict(classes=1, ignore_index=-1)),
        (((2, 3),), dict(classes=3)),
    ),
    doc="""The targets of a classification themselves, once their numbers have been looked at.

    An index outside [0, classes) other than `ignore_index`, and a probability that is NaN, raise ValueError.

    >>> import tensorgraph as tg
    >>> tg.class_targets([0, 2], classes=2)
    Traceback (most recent call last):
        ...
    ValueError: class_targets(target: i64[2]) ...: class index target[1] = 2 is outside [0, 2), ...
    """,
)  # fmt: skip


def _check_weights(weight: Any) -> None:
    if weight.dtype.kind == "f" and not np.isfinite(weight).all():
        at = np.argwhere(~np.isfinite(weight))[0].tolist()
        raise ValueError(f"class weights must be finite numbers, but weight{at} is {weight[tuple(at)]}")


class_weights = op(
    "class_weights(weight)", lambda weight: weight, structural, infer_rule=lambda weight: weight, batch=unchanged,
    check=_check_weights, native="looking:native_class_weights",
    traits=("identity", "view", "linear", "labels", "internal", "checks"),
    vjp=dict(weight=lambda g: g), examples=((((3,),), {}),),
    doc="Class weights themselves, once they are known to be finite; NaN and infinity raise ValueError.",
)  # fmt: skip


def _divisor_infer(divisor: Any, *, empty: str, of: str) -> Any:
    if empty not in ("zero", "nan"):
        raise ValueError(f"empty must be 'zero' or 'nan', got {empty!r}")
    if not isinstance(of, str):
        raise TypeError(f"of must be the name of a loss, got {of!r}")
    return divisor


def _mean_divisor(divisor: Any, *, empty: str = "zero", of: str = "softmax_cross_entropy") -> Any:
    if not np.all(_divisor_infer(divisor, empty=empty, of=of)):
        warn_empty(empty, of)
    return divisor


mean_divisor = op(
    "mean_divisor(divisor, *, empty='zero', of='softmax_cross_entropy')", _mean_divisor, structural,
    infer_rule=_divisor_infer, batch=unchanged, native="looking:native_mean_divisor",
    vjp=dict(divisor=lambda g: g), traits=("identity", "view", "linear", "internal", "checks"),
    examples=((((),), {}), (((3,),), {})),
    doc="The divisor of a mean over labels itself; one that is 0 is warned of. `empty` says what the mean will be.",
)  # fmt: skip


def warn_empty(empty: str, of: str = "softmax_cross_entropy") -> None:
    """Say at the user's line that a mean over no labels was asked for."""
    if modes.current().quiet:
        return
    warn_user(
        f"{of}: no label counts (an empty batch, all ignored, or weights that sum to 0): the mean is "
        f"{'0' if empty == 'zero' else 'NaN'} with zero gradient"
    )


def _backward(
    want: Any, g: Any, logits: Any, target: Any, weight: Any, loss: Any, lse: Any, divisor: Any, *, axis: int = -1,
    ignore_index: int | None = None, label_smoothing: float = 0.0, reduction: str = "mean", empty: str = "zero",
) -> Any:  # fmt: skip
    return kernels.cross_entropy_backward(
        g, logits, target, weight, lse, divisor, axis, ignore_index, label_smoothing, reduction, want
    )


def softmax_cross_entropy_reference(
    logits: Any, target: Any, weight: Any = None, *, axis: int = -1, ignore_index: int | None = None,
    label_smoothing: float = 0.0, reduction: str = "mean", empty: str = "zero",
) -> Any:  # fmt: skip
    """The meaning, composed; the classes last."""
    # The plan:
    # 1. the classes last, in a dtype of at least float32;
    # 2. targets as a distribution q over the classes, and which rows count;
    # 3. the coefficient of each class: q, smoothed, weighted;
    # 4. the divisor, where there is one, and no influence of logits where it is 0;
    # 5. the loss of each class by the log-sum-exp from the likeliest, times its coefficient;
    # 6. the reduction.
    ndim = logits.ndim
    k = canonical_axis(axis, ndim)
    last = (*[i for i in range(ndim) if i != k], k)
    kind = float_dtype(logits.dtype)
    kind = np.dtype(np.float32) if kind == np.float16 else kind
    z = transpose.public(logits, axes=last) if k != ndim - 1 else logits
    z = z if z.dtype == kind else astype.public(z, dtype=kind.name)
    classes = z.shape[-1]
    target = class_targets.public(target, classes=classes, ignore_index=ignore_index)
    valid = None
    if target.dtype.kind == "f":
        q = transpose.public(target, axes=last) if k != ndim - 1 else target
        q = q if q.dtype == kind else astype.public(q, dtype=kind.name)
    else:
        if ignore_index is not None:
            valid = not_equal.public(target, ignore_index)
            # an ignored row has no influence whatever its logits are, NaN included
            z = where.public(expand_dims.public(valid, axis=-1), z, 0.0)
            target = where.public(valid, target, 0)
        q = one_hot.public(target, classes=classes, dtype=kind.name) if classes else z
    smooth = q if label_smoothing == 0 else q * (1.0 - label_smoothing) + label_smoothing / (classes or 1)
    if weight is not None:
        weight = class_weights.public(weight)
        if weight.dtype != kind:
            weight = astype.public(weight, dtype=kind.name)
    coefficient = smooth if weight is None else weight * smooth
    rows = int(np.prod(z.shape[:-1])) if classes else 0
    divisor = None
    if reduction in ("mean", "batchmean"):
        if not rows:
            divisor = full.public(shape=(), value=0.0, dtype=kind.name)
        elif weight is not None and reduction == "mean":
            mass = sum.public(weight * q, axis=-1)
            divisor = sum.public(mass if valid is None else where.public(valid, mass, 0.0))
        elif valid is not None:
            divisor = astype.public(sum.public(valid), dtype=kind.name)
        if divisor is not None:
            divisor = mean_divisor.public(divisor, empty=empty)
            nothing = equal.public(divisor, 0.0)
            # with nothing to divide by, logits have no influence, NaN included
            z = where.public(nothing, 0.0, z)
    if classes == 0:
        losses = sum.public(z, axis=-1)
    else:
        shifted, _, excess = from_likeliest(z, -1)
        loss = log1p.public(excess) - shifted
        # a class that is impossible (logit -inf) and not wanted (coefficient 0) counts as 0
        unwanted = logical_and.public(equal.public(coefficient, 0.0), equal.public(loss, math.inf))
        losses = sum.public(coefficient * where.public(unwanted, 0.0, loss), axis=-1)
    if valid is not None:
        losses = where.public(valid, losses, 0.0)
    if reduction == "none":
        return losses
    total = sum.public(losses)
    if reduction == "sum":
        return total
    if divisor is None:
        return total / rows
    mean = total / where.public(nothing, 1.0, divisor)
    return where.public(nothing, 0.0 if empty == "zero" else math.nan, mean)


def _flops(
    logits: Aval, target: Aval, weight: Aval | None, *, axis: int, label_smoothing: float, reduction: str, **rest: Any
) -> int:  # fmt: skip
    """Maximum, difference, exponential and sum; then what is lost, at the target or weighted by the probabilities."""
    rows = logits.size // (logits.shape[axis] or 1)
    dense = target.dtype.kind == "f" or label_smoothing != 0
    loss = 3 * logits.size if dense else 2 * rows  # lse - z, times q, summed
    smoothing = 2 * logits.size if label_smoothing else 0
    weighted = 0 if weight is None else logits.size if dense else rows
    return 4 * logits.size + rows + loss + smoothing + weighted + (0 if reduction == "none" else rows)


def _backward_flops(
    logits: Aval, target: Aval, weight: Aval | None, *rest: Any, want: Any, label_smoothing: float, **attrs: Any
) -> int:  # fmt: skip
    """exp(z - lse) times the cotangent, minus the target's share of it."""
    dense = target.dtype.kind == "f" or label_smoothing != 0
    count = (3 if weight is None else 4) * logits.size
    count += 2 * logits.size if dense else logits.size // (logits.shape[-1] or 1)
    others = int(want[1]) + int(want[2])  # of probabilities and of weights: lse - z, times the cotangent, the sum
    return count + 3 * others * logits.size


def _backward_scratch(logits: Aval, target: Aval, *rest: Any, want: Any, axis: int, **attrs: Any) -> int:
    """Of probabilities and weights, whose gradients are Numba's."""
    return aside(logits, axis, 2) + 40 * logits.size if any(want[1:]) else 0


def _divided(attrs: dict[str, Any], inputs: frozenset[str]) -> dict[str, Any]:
    """A division by weights that sum to 0 is NaN."""
    by_weights = attrs["reduction"] == "mean" and "weight" in inputs
    return {**attrs, "empty": "nan"} if by_weights else attrs


_LABELS = np.array([0, 3, 1])
_SOFT = np.array([[0.5, 0.25, 0.25, 0.0], [0.0, 1.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
_WEIGHT = np.array([0.5, 1.0, 2.0, 0.25])


def _batch(call: BatchCall) -> Any:
    """Every row's loss at once; then each example's are summed, and divided by what it divides by alone."""
    # The plan:
    # 1. weights of its own can be multiplied to a row's loss where one class counts for a row, and nothing is smoothed;
    # 2. the divisor of each example: the number of its rows, or what its weights and the ignored leave of them;
    # 3. an example with nothing to divide by has no influence, NaN included;
    # 4. the losses of rows, summed and divided.
    attrs, shape = call.attrs, call.shape(0)
    axis = canonical_axis(attrs["axis"], len(shape))
    rows, classes = math.prod(n for i, n in enumerate(shape) if i != axis), shape[axis]
    reduction, ignored, divided = attrs["reduction"], attrs["ignore_index"], attrs["reduction"] in ("mean", "batchmean")
    logits, target, weight = call.whole(0), call.whole(1), call.args[2]
    hard, own = target.dtype.kind != "f", call.on[2]
    if (own and (not hard or attrs["label_smoothing"] != 0)) or (divided and not (rows and classes)):
        return NotImplemented
    valid = not_equal(target, ignored) if hard and ignored is not None else None
    kind = np.promote_types(float_dtype(logits.dtype), np.float32)
    inner = tuple(range(1, len(logits.shape) - 1))
    coefficient = mass = None  # of each class in a row, and of the row, by weights
    if weight is not None and (own or (reduction == "mean" and hard)):
        weight = class_weights(weight)
        weight = weight if weight.dtype == kind else astype(weight, dtype=kind.name)
        index = class_targets(target if valid is None else where(valid, target, 0), classes=classes)
        if own:
            coefficient = widened(weight, len(logits.shape) - 1, True) * one_hot(
                index, classes=classes, dtype=kind.name
            )
            mass = sum(coefficient, axis=-1)
        else:
            mass = weight[index]
        mass = mass if valid is None else where(valid, mass, 0.0)
    divisor = None
    if reduction == "mean" and weight is not None:
        if mass is None:
            weight = weight if weight.dtype == kind else astype(weight, dtype=kind.name)
            soft = moved(target, axis + 1, len(target.shape) - 1)
            divisor = sum(weight * soft, axis=(*inner, len(soft.shape) - 1))
        else:
            divisor = sum(mass, axis=inner)
    elif divided and valid is not None:
        divisor = astype(sum(valid, axis=inner), dtype=kind.name)
    if divisor is not None:
        divisor = mean_divisor(divisor, empty=attrs["empty"])
        nothing = equal(divisor, 0.0)
        logits = where(reshaped(nothing, call.size, *[1] * (len(logits.shape) - 1)), 0.0, logits)
    losses = call.run(logits, target, None if own else call.args[2], axis=axis + 1, reduction="none")
    if coefficient is not None:
        each = expand_dims(losses, axis=-1)
        unwanted = logical_and(equal(coefficient, 0.0), equal(each, math.inf))
        losses = sum(coefficient * where(unwanted, 0.0, each), axis=-1)
        losses = losses if valid is None else where(valid, losses, 0.0)
    if reduction == "none":
        return losses
    total = sum(losses, axis=inner)
    if divisor is None:
        return total / rows if divided else total
    mean = total / where(nothing, 1.0, divisor)
    return where(nothing, 0.0 if attrs["empty"] == "zero" else math.nan, mean)


softmax_cross_entropy = fused_op(
    "softmax_cross_entropy(logits, target, weight=None, *, axis=-1, ignore_index: int | None = None, "
    "label_smoothing=0.0, reduction='mean', empty='zero') -> loss",
    reference=softmax_cross_entropy_reference,
    forward=_forward,
    backward=_backward,
    residuals=("lse", "divisor"),
    residual_types=_residual_types,
    infer_rule=_infer,
    check=_check,
    batch=_batch,
    flops=_flops,
    backward_flops=_backward_flops,
    backward_scratch=_backward_scratch,
    native="cross_entropy:softmax_cross_entropy",
    direct=True,
    native_vjp="cross_entropy:softmax_cross_entropy_vjp",
    traits=("analytic", "exponential", "reduces", "refuses"),
    recognise=Recognition(
        needs=("exponential", "reduces"),
        without=("wave", "normalises"),
        main="logits",
        invariant=True,
        values={
            "axis": every_axis,
            "label_smoothing": rates,
            "reduction": REDUCTIONS,
            "ignore_index": (),
            "empty": (),
        },
        degenerate=_divided,
    ),
    examples=(
        (((3, 4), _LABELS), {}),
        (((3, 4), _LABELS), dict(reduction="none")),
        (((3, 4), _LABELS, _WEIGHT), dict(label_smoothing=0.1)),
        (((3, 4), _LABELS, _WEIGHT), dict(reduction="batchmean", ignore_index=3)),
        (((3, 4), _SOFT), dict(reduction="sum", label_smoothing=0.2)),
        (((3, 4), _SOFT, _WEIGHT), {}),
        (((3, 4, 2), np.array([[0, 1], [3, 3], [2, 0]])), dict(axis=1)),
        (((3, 4, 2), np.array([[0, 1], [3, 3], [2, 0]]), _WEIGHT), dict(axis=1, ignore_index=3)),
        (((4, 3), _SOFT.T, _WEIGHT), dict(axis=0)),
    ),
    teaches={
        "logits": (
            "g * (softmax(logits) - target) / divisor",
            r"g \left(\operatorname{softmax}(\mathrm{logits}) - \mathrm{target}\right) / \mathrm{divisor}",
        )
    },
    doc="""Cross-entropy of softmax(logits) and the target.

    `target` holds class indices (an integer dtype, the logits' shape without `axis`) or probabilities (a float dtype,
    the logits' shape). `weight` is one a class. `reduction`: "mean" over the labels that count (with weights: their
    weighted mean), "batchmean" by their number, "sum", or "none". A mean over nothing is 0 with a warning, or NaN with
    ``empty="nan"``. An index outside the classes raises. Result at least float32.

    >>> import tensorgraph as tg
    >>> loss = tg.softmax_cross_entropy(tg.tensor([[2.0, 0.0], [0.0, 0.0]]), [0, 1])
    >>> f"{float(loss):.2f}"
    '0.41'
    """,
)

"""Softmax and its logarithm, by max subtraction; and hardmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.aval import Aval, canonical_axis
from tensorgraph.declare import fused_op, op
from tensorgraph.op import float_dtype, reduction
from tensorgraph.ops.exponential import as_float, exp, log
from tensorgraph.ops.kernels import softmax as kernels
from tensorgraph.ops.reduction import max, sum
from tensorgraph.ops.shape import astype
from tensorgraph.ops.structure import stop_gradient


def _infer(x: Aval, *, axis: int) -> Aval:
    canonical_axis(axis, x.ndim)
    return Aval(x.shape, float_dtype(x.dtype))


def _shifted(x: Any, axis: int) -> tuple[Any, Any]:
    """x minus its maximum, at least in float32, and the dtype of the result."""
    kind = float_dtype(x.dtype)
    wide = np.dtype(np.float32) if kind == np.float16 else kind
    if x.dtype != wide:
        x = astype.public(x, dtype=wide.name)
    if x.shape[axis] == 0:
        return x, kind
    # softmax does not change with a shift, so none of the gradient passes through the maximum
    return x - stop_gradient.public(max.public(x, axis=axis, keepdims=True)), kind


def _narrow(y: Any, kind: np.dtype[Any]) -> Any:
    return y if y.dtype == kind else astype.public(y, dtype=kind.name)


def softmax_reference(x: Any, *, axis: int = -1) -> Any:
    """exp(x - max) over its sum."""
    shifted, kind = _shifted(x, axis)
    e = exp.public(shifted)
    return _narrow(e / sum.public(e, axis=axis, keepdims=True), kind)


def log_softmax_reference(x: Any, *, axis: int = -1) -> Any:
    """(x - max) - log(sum(exp(x - max)))."""
    shifted, kind = _shifted(x, axis)
    return _narrow(shifted - log.public(sum.public(exp.public(shifted), axis=axis, keepdims=True)), kind)


EXAMPLES: tuple[Any, ...] = (
    (((3, 5),), {}),
    (((3, 5),), dict(axis=0)),
    (((2, 3, 4),), dict(axis=1)),
    (((0, 4),), {}),
)

softmax = fused_op(
    "softmax(x, *, axis=-1)",
    reference=softmax_reference,
    forward=lambda x, *, axis=-1: kernels.softmax_forward(as_float(x), axis),
    backward=lambda want, g, x, y, *, axis=-1: (kernels.softmax_backward(g, y, axis),),
    infer_rule=_infer,
    method="softmax",
    examples=EXAMPLES,
    doc="""Exponentials that sum to one along `axis`.

    >>> import tensorgraph as tg
    >>> tg.softmax([5, 2, -1, 3]).numpy().round(3).tolist()  # Ng, course 2, week 3
    [0.8420000076293945, 0.041999999433755875, 0.0020000000949949026, 0.11400000005960464]
    """,
)
log_softmax = fused_op(
    "log_softmax(x, *, axis=-1)",
    reference=log_softmax_reference,
    forward=lambda x, *, axis=-1: kernels.log_softmax_forward(as_float(x), axis),
    backward=lambda want, g, x, y, *, axis=-1: (kernels.log_softmax_backward(g, y, axis),),
    infer_rule=_infer,
    method="log_softmax",
    examples=EXAMPLES,
    doc="The logarithm of `softmax`, accurate where a probability is too small for a float.",
)


def _hardmax(x: Any, *, axis: int = -1) -> Any:
    k = canonical_axis(axis, x.ndim)
    out = np.zeros(x.shape, float_dtype(x.dtype))
    if x.size:
        np.put_along_axis(out, np.expand_dims(np.argmax(x, k), k), 1, k)
    return out


hardmax = op(
    "hardmax(x, *, axis=-1)", _hardmax, reduction, infer_rule=_infer, vjp=dict(x=None), examples=EXAMPLES,
    doc="""1 at the largest element along `axis` (the first at ties), 0 elsewhere.

    >>> import tensorgraph as tg
    >>> tg.hardmax(tg.softmax([5, 2, -1, 3])).tolist()
    [1.0, 0.0, 0.0, 0.0]
    """,
)  # fmt: skip

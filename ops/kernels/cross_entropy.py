"""Softmax cross-entropy from logits, forward and backward, for class indices and for probabilities.

With logits z, target distribution q (one-hot for class indices), class weights w (1 where none are given), smoothing
e and C classes::

    q'_ic = (1 - e) q_ic + e / C
    l_ic  = lse(z_i) - z_ic                       lse(z_i) = ln sum_c e^(z_ic)
    L_i   = sum_c w_c q'_ic l_ic                  a term with w_c q'_ic = 0 and z_ic = -inf counts as 0
    D     = number of valid rows                  reduction "mean" without weights, "batchmean"
            sum_i sum_c w_c q_ic                  reduction "mean" with weights
            1                                     "sum", "none"
    L     = sum_i L_i / D

An ignored row is no row: its loss and its gradients are exactly 0 and it is in no sum. The gradients, for a cotangent
G of L (of L_i for "none", where D = 1), with p_ic = e^(z_ic - lse(z_i))::

    dL/dz_ic = G / D (p_ic sum_k w_k q'_ik - w_c q'_ic)
    dL/dq_ic = G / D (w_c (1 - e) l_ic - L w_c)   the part with L only where D depends on q and w
    dL/dw_c  = G / D (sum_i q'_ic l_ic - L sum_i q_ic)

The log-sum-exp is kept as a pair: the row's maximum m and ln sum_c e^(z_ic - m). As one number it would be rounded to
the last place of m, which is 1e-3 at 1e4 in float32, and every p with it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.sums import total
from tensorgraph.jit import THREADED, block_rows, share
from tensorgraph.ops.kernels.cross_entropy_rows import (
    backward_dense,
    backward_index,
    forward_dense,
    forward_index,
    forward_index_part,
)
from tensorgraph.ops.kernels.rows import as_rows, from_rows, work_dtype

__all__ = ["cross_entropy_backward", "cross_entropy_check", "cross_entropy_forward"]

Array = np.ndarray[Any, Any]

# seconds a number, for the choice between one thread and several
FORWARD, BACKWARD = 0.4e-9, 0.4e-9

_NO_WEIGHT = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}
_NO_INDEX = np.empty(0, np.int64)
_INT64 = np.dtype(np.int64)


def _own_weights(target: Array, weight: Array, ignore_index: int | None) -> Array:
    """The weight of each row's class, 0 of rows that are ignored; in float64."""
    index = target.ravel()
    own = weight.astype(np.float64)[index if ignore_index is None else np.where(index == ignore_index, 0, index)]
    return own if ignore_index is None else np.where(index == ignore_index, 0.0, own)


def cross_entropy_check(target: Array, classes: int, ignore_index: int | None = None) -> None:
    """Refuse targets that would give a silent wrong number. Runs without Numba.

    Parameters
    ----------
    target : ndarray
        Class indices (integer dtype) or probabilities (floating dtype).
    classes : int
        Number of classes C.
    ignore_index : int, optional
        An index that stands for "no target".

    Raises
    ------
    ValueError
        For an index outside [0, C), or a probability that is NaN, naming position and value.
    """
    if target.size == 0:
        return
    if target.dtype.kind == "f":
        if np.isnan(np.minimum.reduce(target, axis=None)):
            bad = np.isnan(target)
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"target probabilities must be numbers, but target{list(at)} is nan: look for a division by zero "
                "or missing labels where the targets are made"
            )
        return
    # as unsigned integers negative numbers are larger than any number of classes
    unsigned = target.view(f"u{target.dtype.itemsize}") if target.dtype.kind == "i" else target
    if np.maximum.reduce(unsigned, axis=None) < classes:
        return
    bad = (target < 0) | (target >= classes)
    if ignore_index is not None:
        bad &= target != ignore_index
    if not bad.any():
        return
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    where = ", ".join(map(str, at))
    more = f" ({np.count_nonzero(bad)} such targets)" if np.count_nonzero(bad) > 1 else ""
    remedy = "count classes from 0" if target[at] == classes else "give the logits one column a class"
    if target[at] < 0:
        remedy = f"pass ignore_index={int(target[at])} if it marks rows without a label"
    raise ValueError(
        f"class index target[{where}] = {int(target[at])} is outside [0, {classes}), the range of {classes} "
        f"classes{more}: {remedy}"
    )


def _dense(
    dtype: np.dtype[Any], target: Array, weight: Array, classes: int, axis: int, label_smoothing: float
) -> tuple[Array, int, Array, Array, Array]:
    """Arguments of the dense kernels: q, its step, slope, base and the index target (empty for probabilities)."""
    w = weight if weight.size else np.ones(classes, dtype)
    base = w * dtype.type(label_smoothing / classes)
    if target.dtype.kind == "f":
        slope = w * dtype.type(1.0 - label_smoothing)
        return as_rows(target, axis, dtype), 1, slope, base, _NO_INDEX
    return np.zeros((1, classes), dtype), 0, np.zeros(classes, dtype), base, _indices(target)


def _indices(target: Array) -> Array:
    if target.dtype is _INT64 and target.flags.carray and type(target) is np.ndarray:
        return target if target.ndim == 1 else target.reshape(-1)
    return np.array(target, np.int64).reshape(-1)


def _ignored(ignore_index: int | None) -> int:
    """The index as the targets hold it once they are int64: an unsigned one beyond that is negative there."""
    if ignore_index is None:
        return 0
    return ignore_index if ignore_index < 2**63 else ignore_index - 2**64


def _weights(weight: Array | None, dtype: np.dtype[Any]) -> Array:
    return _NO_WEIGHT[dtype] if weight is None else as_rows(weight[None], -1, dtype)[0]


def cross_entropy_forward(
    logits: Array,
    target: Array,
    weight: Array | None = None,
    axis: int = -1,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    empty: str = "zero",
) -> tuple[Array, Array, Array]:
    """Softmax cross-entropy; the formulas are at the head of this module.

    Parameters
    ----------
    logits : ndarray
        float16, float32 or float64, of any layout.
    target : ndarray
        Class indices, integers of the logits' shape without `axis`, or probabilities, floats of the logits' shape.
    weight : ndarray, optional
        Weight of each class, shape (C,).
    axis : int, optional
        The axis of the classes.
    ignore_index : int, optional
        Rows whose target is this index count for nothing.
    label_smoothing : float, optional
        Part of the target distribution spread evenly over the classes.
    reduction : {"mean", "batchmean", "sum", "none"}, optional
        What becomes of the losses of the rows.
    empty : {"zero", "nan"}, optional
        The loss where the divisor is 0; ``"nan"`` gives 0/0.

    Returns
    -------
    loss : ndarray
        0-d, or of the logits' shape without `axis` for ``"none"``; at least float32.
    lse : ndarray
        Log-sum-exp of each row as an unrounded pair, shape (2, rows): the maximum, and the log of the sum of
        exponentials after subtracting it. Their sum is the log-sum-exp.
    divisor : ndarray
        0-d, float64: what the sum of losses was divided by. 0 shows that nothing was valid.

    Raises
    ------
    ValueError
        For a class index outside [0, C).
    """
    # The plan:
    # 1. rows of classes, contiguous, in the dtype worked in;
    # 2. a kernel for one class a row or one for a coefficient a class, in one call or in blocks that threads share,
    #    gives losses, log-sum-exps, and a sum, divisor and number of wrong labels a block;
    # 3. wrong labels raise, naming where;
    # 4. the blocks' sums, in order, so that threads change no bit.
    dtype = work_dtype(logits.dtype)
    axis %= logits.ndim
    classes = logits.shape[axis]
    shape = logits.shape[:axis] + logits.shape[axis + 1 :]
    rows = math.prod(shape)
    soft = target.dtype.kind == "f"
    lse = np.empty((2, rows), dtype) if classes else np.zeros((2, rows), dtype)
    losses = np.empty(rows, dtype) if classes else np.zeros(rows, dtype)
    results: list[Any] = []
    if rows and classes:
        x = as_rows(logits, axis, dtype)
        w = _weights(weight, dtype)
        ignores = ignore_index is not None
        ignored = _ignored(ignore_index)
        cost = x.size * FORWARD
        if cost < THREADED and not soft and not label_smoothing:
            results = [forward_index.call(x, _indices(target), w, ignores, ignored, lse, losses, 0, rows)]
        else:
            step = block_rows(rows, cost)
            sums = np.empty((-(-rows // step), 3))
            args: tuple[Any, ...]
            if soft or label_smoothing:
                q, each, slope, base, index = _dense(dtype, target, w, classes, axis, label_smoothing)
                keep = 1.0 - label_smoothing
                args = (x, q, each, slope, base, index, w, ignores, ignored, keep, lse, losses, sums, step)
                share(forward_dense, args, rows, cost)
            else:
                args = (x, _indices(target), w, ignores, ignored, lse, losses, sums, step)
                share(forward_index_part, args, rows, cost)
            results = sums.tolist()
        if any(wrong for _, _, wrong in results):
            cross_entropy_check(target, classes, ignore_index)
    # of much by the losses and weights: sums of blocks follow the number of threads, and so would the last bits
    alone = len(results) == 1 and rows * classes * FORWARD < THREADED
    summed = results[0][0] if alone else float(total(losses))
    if reduction == "none":
        return losses.reshape(shape), lse, np.array(1.0)
    if reduction == "sum":
        return np.array(summed, dtype), lse, np.array(1.0)
    if not rows or not classes:
        divisor = 0.0
    elif soft:
        divisor = float(rows)
        if weight is not None and reduction == "mean":
            divisor = float(total(_soft_mass(target, weight, axis, dtype)))
    elif weight is not None and reduction == "mean":
        divisor = results[0][1] if alone else float(total(_own_weights(target, weight, ignore_index)))
    else:
        divisor = float(rows)
        if ignore_index is not None:
            divisor -= float(np.count_nonzero(target == ignore_index))
    if divisor == 0.0:
        return np.array(math.nan if empty == "nan" else 0.0, dtype), lse, np.array(0.0)
    return np.array(summed / divisor, dtype), lse, np.array(divisor)


def _soft_mass(target: Array, weight: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """sum_c w_c q_ic of every row, in float64."""
    q = as_rows(target, axis, dtype)
    return np.asarray(q.astype(np.float64) @ weight.astype(np.float64))


def cross_entropy_backward(
    g: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    lse: Array,
    divisor: Array,
    axis: int = -1,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    want: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `cross_entropy_forward`; the formulas are at the head of this module.

    Parameters
    ----------
    g : ndarray
        Cotangent of the loss, of its shape.
    logits, target, weight, axis, ignore_index, label_smoothing, reduction
        As in the forward pass.
    lse, divisor : ndarray
        What the forward pass returned.
    want : (bool, bool, bool), optional
        Whether the gradients for logits, target and weight are wanted.

    Returns
    -------
    dlogits, dtarget, dweight : ndarray or None
        Of the shape and dtype of what they belong to; None where not wanted, for class indices, and where there
        are no weights. All zero where the divisor is 0. The gradient of a probability whose term counts as 0,
        because its logit is -inf and its coefficient 0, is 0.
    """
    dtype = work_dtype(logits.dtype)
    axis %= logits.ndim
    soft = target.dtype.kind == "f"
    want_logits, want_target, want_weight = want[0], want[1] and soft, want[2] and weight is not None
    rows, classes = lse.shape[1], logits.shape[axis]
    d = float(divisor)
    if d == 0.0 or not rows or not classes:
        return (
            np.zeros(logits.shape, logits.dtype) if want_logits else None,
            np.zeros(target.shape, target.dtype) if want_target else None,
            np.zeros(weight.shape, weight.dtype) if want_weight and weight is not None else None,
        )
    x = as_rows(logits, axis, dtype)
    w = _weights(weight, dtype)
    if reduction == "none":
        cotangent, scale = np.ascontiguousarray(g, dtype).reshape(-1), 1.0
        if not cotangent.flags.carray:
            cotangent = cotangent.copy()
    else:
        cotangent, scale = _NO_WEIGHT[dtype], float(g) / d
    ignores = ignore_index is not None
    ignored = _ignored(ignore_index)
    dlogits = dtarget = dweight = None
    if want_logits:
        dx = np.empty(x.shape, dtype)
        cost = x.size * BACKWARD
        if soft or label_smoothing:
            q, each, slope, base, index = _dense(dtype, target, w, classes, axis, label_smoothing)
            keep = 1.0 - label_smoothing
            args = (x, q, each, slope, base, index, w, ignores, ignored, keep, lse, cotangent, scale, dx)
            share(backward_dense, args, rows, cost)
        else:
            index = _indices(target)
            if cost < THREADED:
                backward_index.call(x, index, w, ignores, ignored, lse, cotangent, scale, dx, 0, rows)
            else:
                share(backward_index, (x, index, w, ignores, ignored, lse, cotangent, scale, dx), rows, cost)
        dlogits = from_rows(dx, logits.shape, axis, logits.dtype)
    if want_target or want_weight:
        dtarget, dweight = _backward_rest(
            cotangent, scale, x, target, weight, w, lse, d, axis, ignore_index, label_smoothing, reduction
        )
    return dlogits, dtarget if want_target else None, dweight if want_weight else None


def _backward_rest(
    cotangent: Array,
    scale: float,
    x: Array,
    target: Array,
    weight: Array | None,
    w: Array,
    lse: Array,
    divisor: float,
    axis: int,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
) -> tuple[Array | None, Array | None]:
    """Gradients for probabilities and for class weights, in float64: rarely wanted, so written with NumPy."""
    rows, classes = x.shape
    soft = target.dtype.kind == "f"
    each = cotangent.astype(np.float64) if cotangent.size else np.full(rows, scale)
    w64 = w.astype(np.float64) if w.size else np.ones(classes)
    with np.errstate(all="ignore"):
        loss = (lse[0][:, None] - x).astype(np.float64) + lse[1][:, None]
        if soft:
            q = as_rows(target, axis, x.dtype).astype(np.float64)
            valid = np.ones(rows, bool)
        else:
            index = _indices(target)
            valid = np.ones(rows, bool) if ignore_index is None else index != ignore_index
            q = np.zeros((rows, classes))
            q[np.flatnonzero(valid), index[valid]] = 1.0
        smooth = (1.0 - label_smoothing) * q + label_smoothing / classes
        # terms that count as 0, and rows that count for nothing
        loss[((w64 * smooth == 0.0) & (loss == np.inf)) | ~valid[:, None]] = 0.0
        smooth[~valid] = 0.0
        # L times the derivative of the divisor, where that depends on q and w
        whole = total(w64 * smooth * loss) / divisor if reduction == "mean" and weight is not None else 0.0
        dtarget = dweight = None
        if soft:
            dq = each[:, None] * (w64 * ((1.0 - label_smoothing) * loss - whole))
            dtarget = from_rows(dq, target.shape, axis, target.dtype)
        if weight is not None:
            terms = smooth * loss - whole * q
            dweight = total(each[valid, None] * terms[valid], 0).astype(weight.dtype)
    return dtarget, dweight

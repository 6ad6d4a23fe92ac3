"""Batch normalisation over all axes but one, forward and backward, with or without a ReLU after it.

For a channel with values x_1 .. x_m, weight gamma and shift beta (Ioffe & Szegedy 2015, arXiv 1502.03167)::

    mu  = sum x_i / m         var = sum (x_i - mu)^2 / m         r = 1 / sqrt(var + eps)
    h_i = x_i - mu            y_i = h_i r gamma + beta

and for cotangents g of y, g_mu of mu and g_var of var::

    dbeta = sum g_i           dgamma = r sum g_i h_i
    dx_i  = gamma r (g_i - dbeta / m - h_i r dgamma / m) + g_mu / m + 2 h_i g_var / m

The arrays are walked in the order of memory, row after row of channels, or, where a channel lies in planes, as of
images, channel after channel: `batch_norm_planes`. mu is kept as the unrounded pair of `center`,
the nearest number of x's dtype, and `rest`, what that lacks of it in float64, so that h is accurate also where the mean
is a million times the deviation, and is exactly 0 in a constant channel. The moments are taken of a block of rows at a
time, about a point near the block's own mean, and merged (Chan, Golub & LeVeque 1983): no difference of large sums.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import THREADED, share, uniform
from tensorgraph.ops.kernels import batch_norm_planes as planes
from tensorgraph.ops.kernels.batch_norm_rows import ALL, BLOCK, backward, forward
from tensorgraph.ops.kernels.rows import as_rows, from_rows, work_dtype

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_relu_backward",
    "batch_norm_relu_forward",
    "in_planes",
]

Array = np.ndarray[Any, Any]

# seconds a number, for the choice between one thread and several
FORWARD, BACKWARD = 0.28e-9, 0.42e-9


def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, axis: int = 1, eps: float = 1e-5
) -> tuple[Array, Array, Array, Array, Array]:
    """Normalise each channel by its own mean and variance.

    Parameters
    ----------
    x : ndarray
        float16, float32 or float64, of any layout.
    gamma, beta : ndarray
        Scale and shift of each channel, shape (C,).
    axis : int, optional
        The axis of the channels.
    eps : float, optional
        Added to the variance.

    Returns
    -------
    y : ndarray
        ``(x - mu) r gamma + beta``, of `x`'s shape and dtype; exactly beta in a constant channel.
    mu, var : ndarray
        Mean and biased variance of each channel, at least float32. Both are NaN where the channel holds a NaN or an
        infinity. Without a value in the channel they are NaN too.
    center, rest : ndarray
        The mean as an unrounded pair for the backward pass: its nearest number, in `mu`'s dtype, and what that lacks
        of it, in float64.
    """
    return _run_forward(x, gamma, beta, axis, eps, False)


def batch_norm_relu_forward(
    x: Array, gamma: Array, beta: Array, axis: int = 1, eps: float = 1e-5
) -> tuple[Array, Array, Array, Array, Array]:
    """`batch_norm_forward` with ``max(y, 0)`` in place of y; NaN stays NaN."""
    return _run_forward(x, gamma, beta, axis, eps, True)


def _run_forward(
    x: Array, gamma: Array, beta: Array, axis: int, eps: float, relu: bool
) -> tuple[Array, Array, Array, Array, Array]:
    dtype = work_dtype(x.dtype)
    channels = x.shape[axis]
    if x.size == 0:
        nothing = np.full(channels, np.nan, dtype)
        return np.empty(x.shape, x.dtype), nothing, nothing.copy(), np.zeros(channels, dtype), np.zeros(channels)
    gamma, beta = uniform(gamma, dtype), uniform(beta, dtype)
    if in_planes(x.shape, axis):
        whole = _as_planes(x, axis, dtype)
        center, mu, var = np.empty(channels, dtype), np.empty(channels, dtype), np.empty(channels, dtype)
        rest, out = np.empty(channels), np.empty(x.shape, dtype)
        parts = (whole, gamma, beta, float(eps), relu, center, mu, var, rest, out.reshape(whole.shape))
        share(planes.forward, parts, channels, x.size * FORWARD)
        return out.astype(x.dtype, copy=False), mu, var, center, rest
    rows = as_rows(x, axis, dtype)
    n = len(rows)
    mu, var, rest = np.empty(channels, dtype), np.empty(channels, dtype), np.empty(channels)
    y = np.empty(rows.shape, dtype)
    blocks = -(-n // BLOCK)
    work, lost, lines = np.empty((2 * blocks, channels)), np.empty((blocks, channels)), np.empty((3, channels), dtype)
    args = (rows, gamma, beta, eps, relu, work, lost, lines, mu, var, rest, y)
    cost = rows.size * FORWARD
    if cost < THREADED:
        forward.call(*args, ALL, 0, n)
    else:
        share(forward, args, n, cost, BLOCK)
    return from_rows(y, x.shape, axis, x.dtype), mu, var, lines[0].copy(), rest


def batch_norm_backward(
    g_y: Array | None,
    g_mu: Array | None,
    g_var: Array | None,
    x: Array,
    gamma: Array,
    center: Array,
    rest: Array,
    var: Array,
    axis: int = 1,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_forward`; the formulas are at the head of this module.

    Parameters
    ----------
    g_y, g_mu, g_var : ndarray or None
        Cotangents of y, mu and var; None stands for zero.
    x, gamma, axis, eps
        As in the forward pass.
    center, rest, var : ndarray
        What the forward pass returned.

    Returns
    -------
    dx, dgamma, dbeta : ndarray
        Of the shape and dtype of `x`, `gamma` and `gamma`.
    """
    return _run_backward(g_y, g_mu, g_var, x, gamma, None, center, rest, var, axis, eps)


def batch_norm_relu_backward(
    g_y: Array | None,
    g_mu: Array | None,
    g_var: Array | None,
    x: Array,
    gamma: Array,
    beta: Array,
    center: Array,
    rest: Array,
    var: Array,
    axis: int = 1,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm_relu_forward`; as `batch_norm_backward`, with `beta` to find where the ReLU was 0.

    The derivative of the ReLU at 0 is 0.
    """
    return _run_backward(g_y, g_mu, g_var, x, gamma, beta, center, rest, var, axis, eps)


def _run_backward(
    g_y: Array | None,
    g_mu: Array | None,
    g_var: Array | None,
    x: Array,
    gamma: Array,
    beta: Array | None,
    center: Array,
    rest: Array,
    var: Array,
    axis: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    dtype = work_dtype(x.dtype)
    last = gamma.dtype if beta is None else beta.dtype
    if x.size == 0:
        return np.empty(x.shape, x.dtype), np.zeros(gamma.shape, gamma.dtype), np.zeros(gamma.shape, last)
    lying = _as_planes if in_planes(x.shape, axis) else as_rows
    rows, channels = lying(x, axis, dtype), x.shape[axis]
    g = np.zeros(rows.shape, dtype) if g_y is None else lying(g_y, axis, dtype)
    none = np.zeros(channels, dtype) if g_mu is None or g_var is None or beta is None else gamma
    g_mu = none if g_mu is None else uniform(g_mu, dtype)
    g_var = none if g_var is None else uniform(g_var, dtype)
    relu = beta is not None
    level = none if beta is None else uniform(beta, dtype)
    scale = uniform(gamma, dtype)
    center, rest, var = uniform(center, dtype), uniform(rest, rest.dtype), uniform(var, dtype)
    dgamma, dbeta = np.empty(channels, dtype), np.empty(channels, dtype)
    cost = x.size * BACKWARD
    if lying is _as_planes:
        whole = np.empty(x.shape, dtype)
        dx = whole.reshape(rows.shape)
        arrays = g, g_mu, g_var, rows, scale, level, center, rest, var
        share(planes.backward, (*arrays, float(eps), relu, dx, dgamma, dbeta), channels, cost)
        given = dgamma.astype(gamma.dtype, copy=False), dbeta.astype(last, copy=False)
        return whole.astype(x.dtype, copy=False), *given
    n, dx = len(rows), np.empty(rows.shape, dtype)
    work = np.empty((2 * (-(-n // BLOCK)), channels))
    lines = np.empty((6, channels), dtype)
    args = (g, g_mu, g_var, rows, scale, level, center, rest, var, eps, relu, work, lines, dx, dgamma, dbeta)
    if cost < THREADED:
        backward.call(*args, ALL, 0, n)
    else:
        share(backward, args, n, cost, BLOCK)
    if dgamma.dtype != gamma.dtype:
        dgamma = dgamma.astype(gamma.dtype)
    return from_rows(dx, x.shape, axis, x.dtype), dgamma, dbeta if dbeta.dtype == last else dbeta.astype(last)


def in_planes(shape: tuple[int, ...], axis: int) -> bool:
    """Whether the numbers of a channel lie in planes that are walked as they lie."""
    return math.prod(shape[axis % len(shape) + 1 :]) >= planes.NARROWEST


def _as_planes(x: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """`x` as (what comes before, length of `axis`, what comes after); a copy only where its layout asks for one."""
    axis %= x.ndim
    return uniform(x, dtype).reshape(math.prod(x.shape[:axis]), x.shape[axis], -1)

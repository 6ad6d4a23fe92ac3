"""Optimiser updates in place: one pass over a parameter, its gradient and its state.

Each array is one argument of its kernel: a parameter that came in twice, to be read and to be written, would defeat
the compiler's check that arrays do not overlap. From about 1e5 numbers on, memory is the limit and more than one
thread works.

Weight decay ``w`` is added to the gradient, ``g + w p``, except where `adam_` decouples it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import THREADED, Kernel, helper, kernel, share, uniform

__all__ = ["adam_", "adam_lanes", "lanes_", "momentum_", "momentum_lanes", "rmsprop_", "rmsprop_lanes", "sgd_",
           "sgd_lanes"]  # fmt: skip

Array = np.ndarray[Any, Any]

# seconds a number and stream of memory, for the choice between one thread and several
STREAM = 0.05e-9


@helper
def _sgd_row(param: Any, grad: Any, lr: float, decay: float) -> None:
    one = param.dtype.type
    rate, w = one(lr), one(decay)
    for i in range(param.size):
        param[i] -= rate * (grad[i] + w * param[i])


@kernel
def _sgd(p: Any, g: Any, lr: float, decay: float, lo: int, hi: int) -> None:
    _sgd_row(p[lo:hi], g[lo:hi], lr, decay)


@helper
def _momentum_row(param: Any, velocity: Any, grad: Any, lr: float, beta: float, nesterov: bool, decay: float) -> None:
    one = param.dtype.type
    rate, w, keep, take = one(lr), one(decay), one(beta), one(1.0 - beta)
    # the step is along a v + b g
    a, b = (keep, take) if nesterov else (one(1), one(0))
    if nesterov:
        for i in range(param.size):
            d = grad[i] + w * param[i]
            u = keep * velocity[i] + take * d
            velocity[i] = u
            param[i] -= rate * (a * u + b * d)
    else:
        for i in range(param.size):
            u = keep * velocity[i] + take * (grad[i] + w * param[i])
            velocity[i] = u
            param[i] -= rate * u


@kernel
def _momentum(p: Any, v: Any, g: Any, lr: float, beta: float, nesterov: bool, decay: float, lo: int, hi: int) -> None:
    _momentum_row(p[lo:hi], v[lo:hi], g[lo:hi], lr, beta, nesterov, decay)


@helper
def _rmsprop_row(param: Any, square: Any, grad: Any, lr: float, rho: float, eps: float, decay: float) -> None:
    one = param.dtype.type
    rate, w, keep, take, tiny = one(lr), one(decay), one(rho), one(1.0 - rho), one(eps)
    for i in range(param.size):
        d = grad[i] + w * param[i]
        u = keep * square[i] + take * d * d
        square[i] = u
        param[i] -= rate * d / (np.sqrt(u) + tiny)


@kernel
def _rmsprop(p: Any, s: Any, g: Any, lr: float, rho: float, eps: float, decay: float, lo: int, hi: int) -> None:
    _rmsprop_row(p[lo:hi], s[lo:hi], g[lo:hi], lr, rho, eps, decay)


@helper(flags={"nsz"})
def _product(a: Any, b: Any) -> Any:
    """a times b, rounded by itself: not to be joined with a sum."""
    return a * b


@helper
def _adam_row(
    param: Any, first: Any, second: Any, grad: Any, lr: float, beta1: float, beta2: float, eps: float, c1: float,
    c2: float, coupled: float, decoupled: float,
) -> None:  # fmt: skip
    one = param.dtype.type
    step, shrink = one(lr / c1), one(1.0 - lr * decoupled)
    root, tiny, w = one(1.0 / np.sqrt(c2)), one(eps), one(coupled)
    keep1, take1, keep2, take2 = one(beta1), one(1.0 - beta1), one(beta2), one(1.0 - beta2)
    for i in range(param.size):
        d = grad[i] + w * param[i]
        a = keep1 * first[i] + take1 * d
        b = keep2 * second[i] + take2 * d * d
        first[i] = a
        second[i] = b
        # decoupled decay is a step of its own; without it the factor is 1, which is exact
        param[i] = _product(param[i], shrink) - step * a / (np.sqrt(b) * root + tiny)


@kernel
def _adam(
    p: Any,
    m: Any,
    v: Any,
    g: Any,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    c1: float,
    c2: float,
    coupled: float,
    decoupled: float,
    lo: int,
    hi: int,
) -> None:
    _adam_row(p[lo:hi], m[lo:hi], v[lo:hi], g[lo:hi], lr, beta1, beta2, eps, c1, c2, coupled, decoupled)


# many networks side by side, a row of the arrays each, with numbers of their own: a row of `s`. Those that do not move
# keep every bit


@kernel(apart=True)
def sgd_lanes(p: Any, g: Any, s: Any, moves: Any, lo: int, hi: int) -> None:
    for k in range(lo, hi):
        if moves[k]:
            _sgd_row(p[k], g[k], s[k, 0], s[k, 1])


@kernel(apart=True)
def momentum_lanes(p: Any, v: Any, g: Any, s: Any, moves: Any, lo: int, hi: int) -> None:
    for k in range(lo, hi):
        if moves[k]:
            _momentum_row(p[k], v[k], g[k], s[k, 0], s[k, 1], s[k, 2] != 0.0, s[k, 3])


@kernel(apart=True)
def rmsprop_lanes(p: Any, square: Any, g: Any, s: Any, moves: Any, lo: int, hi: int) -> None:
    for k in range(lo, hi):
        if moves[k]:
            _rmsprop_row(p[k], square[k], g[k], s[k, 0], s[k, 1], s[k, 2], s[k, 3])


@kernel(apart=True)
def adam_lanes(p: Any, m: Any, v: Any, g: Any, s: Any, moves: Any, lo: int, hi: int) -> None:
    for k in range(lo, hi):
        if moves[k]:
            _adam_row(p[k], m[k], v[k], g[k], s[k, 0], s[k, 1], s[k, 2], s[k, 3], s[k, 4], s[k, 5], s[k, 6], s[k, 7])


def lanes_(run: Kernel, cells: tuple[Array, ...], g: Array, numbers: Array, moves: Array) -> None:
    """One step of many networks side by side, in place: each with numbers of its own, or none.

    Parameters
    ----------
    run : Kernel
        `sgd_lanes`, `momentum_lanes`, `rmsprop_lanes` or `adam_lanes`.
    cells : tuple of ndarray
        The parameter and its state, float32 or float64, C-contiguous, with the networks along the first axis; changed.
    g : ndarray
        The gradient, of any layout.
    numbers : ndarray of float64, shape (networks, ...)
        What the kernel of one network takes after the arrays, in its order.
    moves : ndarray of bool, shape (networks,)
        Which of them make the step.
    """
    p = cells[0]
    if p.dtype.char not in "fd" or any(c.shape != p.shape or c.dtype != p.dtype or not c.flags.carray for c in cells):
        raise ValueError("networks side by side are updated in C-contiguous arrays of one shape, float32 or float64")
    if g.shape != p.shape or not len(p) == len(numbers) == len(moves):
        raise ValueError(f"expected a gradient of shape {p.shape} and numbers for {len(p)}, got {g.shape}")
    size = p.size
    rows = len(p), size // max(len(p), 1)
    cost = size * STREAM * (2 * len(cells) + 1)
    args = (*[cell.reshape(rows) for cell in cells], uniform(g, p.dtype).reshape(rows), numbers, moves)
    if cost < THREADED:
        run.call(*args, 0, len(p))
    else:
        share(run, args, len(p), cost)


def _apply(run: Kernel, cells: tuple[Array, ...], g: Array, scalars: tuple[Any, ...]) -> None:
    """Run an update over the parameter and its state in place, whatever their layout."""
    p = cells[0]
    dtype, shape = p.dtype, p.shape
    if dtype.char not in "fd":
        raise TypeError(f"an optimiser updates float32 or float64 parameters in place, got {dtype}")
    if g.shape != shape:
        raise ValueError(f"a gradient must have its parameter's shape {shape}, got {g.shape}")
    direct = True
    for cell in cells:
        if cell.shape != shape or cell.dtype != dtype:
            raise ValueError(
                f"an optimiser's state must have its parameter's shape and dtype {shape} {dtype}, "
                f"got {cell.shape} {cell.dtype}"
            )
        flags = cell.flags
        if not flags.carray:
            if not flags.writeable:
                raise ValueError("an optimiser's update is in place and needs writeable arrays; pass copies")
            direct = False
    grad = uniform(g, dtype)
    flat = cells if direct else tuple([np.array(cell, order="C") for cell in cells])
    if len(shape) != 1:
        flat, grad = tuple([cell.reshape(-1) for cell in flat]), grad.reshape(-1)
    n = p.size
    cost = n * STREAM * (2 * len(cells) + 1)
    if cost < THREADED:
        run.call(*flat, grad, *scalars, 0, n)
    else:
        share(run, (*flat, grad, *scalars), n, cost, 64)
    if not direct:
        for cell, done in zip(cells, flat):
            cell[...] = done.reshape(shape)


def sgd_(p: Array, g: Array, lr: float, weight_decay: float = 0.0) -> None:
    """Gradient descent: ``p -= lr g``.

    Parameters
    ----------
    p : ndarray
        The parameter, float32 or float64; changed in place.
    g : ndarray
        Its gradient, of any layout.
    lr : float
        Learning rate.
    weight_decay : float, optional
        Added to the gradient as ``weight_decay p``.
    """
    _apply(_sgd, (p,), g, (float(lr), float(weight_decay)))


def momentum_(
    p: Array, v: Array, g: Array, lr: float, beta: float = 0.9, nesterov: bool = False, weight_decay: float = 0.0
) -> None:
    """Gradient descent along the exponentially weighted average of gradients.

    ``v = beta v + (1 - beta) g``, then ``p -= lr v``, or with Nesterov's look ahead
    ``p -= lr (beta v + (1 - beta) g)``.

    Parameters
    ----------
    p, v : ndarray
        The parameter and the average, float32 or float64; changed in place.
    g : ndarray
        The gradient, of any layout.
    lr : float
        Learning rate.
    beta : float, optional
        Weight on the old average.
    nesterov : bool, optional
        Look ahead.
    weight_decay : float, optional
        Added to the gradient as ``weight_decay p``.
    """
    _apply(_momentum, (p, v), g, (float(lr), float(beta), bool(nesterov), float(weight_decay)))


def rmsprop_(
    p: Array, s: Array, g: Array, lr: float, decay: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0
) -> None:
    """RMSprop: ``s = decay s + (1 - decay) g^2``, then ``p -= lr g / (sqrt(s) + eps)``.

    Parameters
    ----------
    p, s : ndarray
        The parameter and the average of squares, float32 or float64; changed in place.
    g : ndarray
        The gradient, of any layout.
    lr : float
        Learning rate.
    decay : float, optional
        Weight on the old average.
    eps : float, optional
        Added to the root.
    weight_decay : float, optional
        Added to the gradient as ``weight_decay p``.
    """
    _apply(_rmsprop, (p, s), g, (float(lr), float(decay), float(eps), float(weight_decay)))


def adam_(
    p: Array,
    m: Array,
    v: Array,
    g: Array,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    c1: float = 1.0,
    c2: float = 1.0,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    ``m = beta1 m + (1 - beta1) g``, ``v = beta2 v + (1 - beta2) g^2``, then
    ``p -= lr (m / c1) / (sqrt(v / c2) + eps)``.

    Parameters
    ----------
    p, m, v : ndarray
        The parameter and the averages of gradients and of their squares, float32 or float64; changed in place.
    g : ndarray
        The gradient, of any layout.
    lr : float
        Learning rate.
    beta1, beta2 : float, optional
        Weights on the old averages.
    eps : float, optional
        Added to the root.
    c1, c2 : float, optional
        Bias corrections: ``1 - beta1^t`` and ``1 - beta2^t`` at step t = 1, 2, ...
    weight_decay : float, optional
        Added to the gradient as ``weight_decay p``; where `decoupled`, the parameter is multiplied by
        ``1 - lr weight_decay`` instead.
    decoupled : bool, optional
        AdamW.
    """
    if not (c1 > 0.0 and c2 > 0.0 and math.isfinite(c1) and math.isfinite(c2)):
        raise ValueError(f"Adam's bias corrections must be positive: 1 - beta^t with t from 1 on, got {c1} and {c2}")
    coupled, apart = (0.0, float(weight_decay)) if decoupled else (float(weight_decay), 0.0)
    scalars = (float(lr), float(beta1), float(beta2), float(eps), float(c1), float(c2), coupled, apart)
    _apply(_adam, (p, m, v), g, scalars)

"""Batch norm as kernels: where the channels are the last axis, and rows are all the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.native import batch_norm_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, output, rows_of

__all__ = ["batch_norm", "batch_norm_relu", "batch_norm_relu_vjp", "batch_norm_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 130_000, 50_000


def _blocks(size: int) -> int:
    return 1 if size < SEVERAL else min(16, size // BLOCK)


def _rows(x: Any, axis: int) -> Place | None:
    """x as rows of channels that lie side by side; None where it is not."""
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or axis not in (-1, x.ndim - 1) or not x.size:
        return None
    return rows_of(x)


def _lines(like: Place, *vectors: Any) -> bool:
    """Whether these are vectors of its channels, of its type, in C order."""
    return all(
        isinstance(v, Place) and v.dtype == like.dtype and v.shape == like.shape[-1:] and v.is_contiguous
        for v in vectors
    )


def _moments(call: Call, x: Place, gamma: Any, beta: Any, outputs: Any, relu: bool) -> None:
    """The kernels of the forward pass; `outputs` are y, which may be None, mu, var, center, rest."""
    rows, channels = x.shape
    y, eps = outputs[0], bits_of(call.attrs["eps"], x.dtype)
    words: list[int | Address] = [x.address(), x.strides[0], rows, channels, gamma.address(), beta.address(), eps]
    words += [0 if o is None else o.address() for o in outputs]
    strips = -(-rows // texts.STRIP)
    work, lines = call.scratch((strips, 3, channels), np.float64), call.scratch((2, channels), x.dtype)
    words += [work.address(), lines.address()]
    if strips == 1 and channels * x.dtype.itemsize <= texts.NARROW:
        call.run(kernel(texts.forward, x.dtype, RELU=relu, NORMALISES=y is not None), words, _blocks(x.size))
        return
    call.run(kernel(texts.forward_moments, x.dtype), words, _blocks(x.size))
    call.run(kernel(texts.forward_finish, x.dtype), words)
    if y is not None:
        call.run(kernel(texts.forward_rows, x.dtype, RELU=relu), words, _blocks(x.size))


def _forward(call: Call, relu: bool) -> bool:
    given, gamma, beta = call.inputs
    x = _rows(given, call.attrs["axis"])
    if x is None or not _lines(x, gamma, beta):
        return False
    line = gamma.over(gamma.shape, gamma.strides)
    rest = Place.new(gamma.shape, np.float64)
    y = call.outputs[0]
    _moments(call, x, gamma, beta, [y, *[output(call, k, line) for k in (1, 2, 3)], output(call, 4, rest)], relu)
    if given.is_contiguous:
        call.may_replace(0, 0)
    return True


def _backward(call: Call, relu: bool) -> bool:
    given, gamma, beta, _, _, var, center, rest, g_y, g_mu, g_var = call.inputs
    x = _rows(given, call.attrs["axis"])
    if x is None or not _lines(x, gamma, beta, *[v for v in (g_mu, g_var) if v is not None]):
        return False
    g = None if g_y is None else _rows(g_y, -1)
    if g_y is not None and (g is None or g.dtype != x.dtype or g.shape != x.shape):
        return False
    rows, channels = x.shape
    if not _lines(x, var, center) or not (isinstance(rest, Place) and rest.is_contiguous):
        # a graph need not have kept what the forward pass made
        mu, var, center = [call.scratch((channels,), x.dtype) for _ in range(3)]
        rest = call.scratch((channels,), np.float64)
        _moments(call, x, gamma, beta, (None, mu, var, center, rest), relu)
    want, outputs = call.attrs["want"], iter(call.outputs)
    wanted = [next(outputs) if w else None for w in want]
    dx = wanted[0]
    dgamma, dbeta = [call.scratch((channels,), x.dtype) if d is None else d for d in wanted[1:]]
    eps = bits_of(call.attrs["eps"], x.dtype)
    words: list[int | Address] = [x.address(), x.strides[0], rows, channels, gamma.address(), beta.address(), eps]
    words += [center.address(), rest.address(), var.address(), g.address() if g else 0, g.strides[0] if g else 0]
    words += [0 if v is None else v.address() for v in (g_mu, g_var, dx, dgamma, dbeta)]
    constants: dict[str, Any] = dict(RELU=relu, G_Y=g is not None)
    cotangents: dict[str, Any] = dict(G_MU=g_mu is not None, G_VAR=g_var is not None)
    strips = -(-rows // texts.STRIP)
    work, lines = call.scratch((strips, 2, channels), np.float64), call.scratch((6, channels), x.dtype)
    words += [work.address(), lines.address()]
    if strips == 1 and channels * x.dtype.itemsize <= texts.NARROW:
        every = dict(**constants, **cotangents, WANTS_X=dx is not None)
        call.run(kernel(texts.backward, x.dtype, **every), words, _blocks(x.size))
        return True
    call.run(kernel(texts.backward_lines, x.dtype), words)
    call.run(kernel(texts.backward_sums, x.dtype, **constants), words, _blocks(x.size))
    call.run(kernel(texts.backward_finish, x.dtype, **cotangents), words)
    if dx is not None:
        call.run(kernel(texts.backward_rows, x.dtype, **constants), words, _blocks(x.size))
    return True


def batch_norm(call: Call) -> bool:
    """`batch_norm`."""
    return _forward(call, False)


def batch_norm_relu(call: Call) -> bool:
    """`batch_norm_relu`."""
    return _forward(call, True)


def batch_norm_vjp(call: Call) -> bool:
    """The gradient of `batch_norm`."""
    return _backward(call, False)


def batch_norm_relu_vjp(call: Call) -> bool:
    """The gradient of `batch_norm_relu`."""
    return _backward(call, True)

"""Batch norm as kernels: where the channels are the last axis, and rows are all the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.native import batch_norm_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, as_rows, in_order, output

__all__ = ["batch_norm", "batch_norm_relu", "batch_norm_relu_vjp", "batch_norm_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 130_000, 50_000


def _blocks(size: int) -> int:
    return 1 if size < SEVERAL else min(16, size // BLOCK)


def _fits(call: Call, x: Any, *vectors: Any) -> bool:
    """Whether x has its channels last, and these, or none, are vectors of them, all of one type."""
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.size:
        return False
    kind = [v is None or (isinstance(v, Place) and v.dtype == x.dtype and v.shape == x.shape[-1:]) for v in vectors]
    return call.attrs["axis"] in (-1, x.ndim - 1) and all(kind)


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
    if gamma is None or beta is None or not _fits(call, given, gamma, beta):
        return False
    x = as_rows(call, given)
    gamma, beta = in_order(call, gamma), in_order(call, beta)
    rest = Place.new(gamma.shape, np.float64)
    outputs = [call.outputs[0], *[output(call, k, gamma) for k in (1, 2, 3)], output(call, 4, rest)]
    _moments(call, x, gamma, beta, outputs, relu)
    if given.is_contiguous:
        call.may_replace(0, 0)
    return True


def _backward(call: Call, relu: bool) -> bool:
    given, gamma, beta, _, _, var, center, rest, g_y, g_mu, g_var = call.inputs
    if gamma is None or beta is None or not _fits(call, given, gamma, beta, g_mu, g_var):
        return False
    if g_y is not None and not (isinstance(g_y, Place) and g_y.dtype == given.dtype and g_y.shape == given.shape):
        return False
    x, g = as_rows(call, given), None if g_y is None else as_rows(call, g_y)
    gamma, beta, g_mu, g_var = (in_order(call, v) for v in (gamma, beta, g_mu, g_var))
    rows, channels = x.shape
    kept = all(isinstance(v, Place) and v.is_contiguous for v in (var, center, rest))
    if not kept or not _fits(call, given, var, center):
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

"""Batch norm as kernels: of rows where the channels are the last axis, else of planes of a channel each.

Planes of very few numbers are turned into rows first, and the results back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.native import batch_norm_planes as planes
from tensorgraph.ops.native import batch_norm_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, Along, in_order, output
from tensorgraph.ops.native.moving import collapsed, copy_of

__all__ = ["batch_norm", "batch_norm_relu", "batch_norm_relu_vjp", "batch_norm_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 130_000, 50_000
NARROWEST = 8  # positions of a plane from which it is walked as it lies


def _blocks(size: int) -> int:
    return 1 if size < SEVERAL else min(16, size // BLOCK)


def _fits(call: Call, x: Any, *vectors: Any) -> bool:
    """Whether these, or none, are vectors of x's channels, all of one type."""
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.size:
        return False
    channels = (x.shape[canonical_axis(call.attrs["axis"], x.ndim)],)
    return all(v is None or (isinstance(v, Place) and v.dtype == x.dtype and v.shape == channels) for v in vectors)


class _Layout(Along):
    """How arrays of x's shape are walked: as rows of channels, or as planes."""

    def __init__(self, call: Call, x: Place) -> None:
        super().__init__(call, x.shape, call.attrs["axis"])
        k = self.order[-1]
        self.sizes = tuple(math.prod(part) for part in (x.shape[:k], x.shape[k : k + 1], x.shape[k + 1 :]))
        self.in_rows = self.sizes[2] < NARROWEST
        self.is_moved = self.is_moved and self.in_rows

    def of(self, x: Place) -> Place:
        """An array as (rows, channels) or (examples, channels, positions)."""
        if self.in_rows:
            return self.rows(x)
        k, size = self.order[-1], x.dtype.itemsize
        lead, trail = (collapsed(x.shape[part], x.strides[part]) for part in (slice(k), slice(k + 1, None)))
        if len(lead) > 1 or len(trail) > 1 or trail[0][1] != size:
            return self.of(copy_of(self.call, x))
        return x.over(self.sizes, (lead[0][1] if lead else size, x.strides[k], size))


def _moments(call: Call, layout: _Layout, x: Place, gamma: Any, beta: Any, outputs: Any, relu: bool) -> None:
    """The kernels of the forward pass; `outputs` are y, which may be None, mu, var, center, rest."""
    y, eps = outputs[0], bits_of(call.attrs["eps"], x.dtype)
    ends: list[int | Address] = [gamma.address(), beta.address(), eps]
    ends += [0 if o is None else o.address() for o in outputs]
    if not layout.in_rows:
        text = kernel(planes.forward_planes, x.dtype, RELU=relu, NORMALISES=y is not None)
        call.run(text, [x.address(), *x.strides[:2], *x.shape, *ends], min(_blocks(x.size), x.shape[1]))
        return
    rows, channels = x.shape
    words = [x.address(), x.strides[0], rows, channels, *ends]
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
    layout = _Layout(call, given)
    x = layout.of(given)
    gamma, beta = in_order(call, gamma), in_order(call, beta)
    rest = Place.new(gamma.shape, np.float64)
    y = call.outputs[0]
    room = None if y is None else layout.room(y)
    outputs = [room, *[output(call, k, gamma) for k in (1, 2, 3)], output(call, 4, rest)]
    _moments(call, layout, x, gamma, beta, outputs, relu)
    if y is not None and room is not None:
        layout.give(room, y)
    if given.is_contiguous:
        call.may_replace(0, 0)
    return True


def _backward(call: Call, relu: bool) -> bool:
    given, gamma, beta, _, _, var, center, rest, g_y, g_mu, g_var = call.inputs
    if gamma is None or beta is None or not _fits(call, given, gamma, beta, g_mu, g_var):
        return False
    if g_y is not None and not (isinstance(g_y, Place) and g_y.dtype == given.dtype and g_y.shape == given.shape):
        return False
    layout = _Layout(call, given)
    x, g = layout.of(given), None if g_y is None else layout.of(g_y)
    gamma, beta, g_mu, g_var = (in_order(call, v) for v in (gamma, beta, g_mu, g_var))
    channels = x.shape[1]
    kept = all(isinstance(v, Place) and v.is_contiguous for v in (var, center, rest))
    if not kept or not _fits(call, given, var, center):
        # a graph need not have kept what the forward pass made
        mu, var, center = [call.scratch((channels,), x.dtype) for _ in range(3)]
        rest = call.scratch((channels,), np.float64)
        _moments(call, layout, x, gamma, beta, (None, mu, var, center, rest), relu)
    want, outputs = call.attrs["want"], iter(call.outputs)
    wanted = [next(outputs) if w else None for w in want]
    dx = None if wanted[0] is None else layout.room(wanted[0])
    dgamma, dbeta = [call.scratch((channels,), x.dtype) if d is None else d for d in wanted[1:]]
    _pulls(call, layout, x, g, (gamma, beta, center, rest, var, g_mu, g_var, dx, dgamma, dbeta), relu)
    if dx is not None and wanted[0] is not None:
        layout.give(dx, wanted[0])
    return True


def _pulls(call: Call, layout: _Layout, x: Place, g: Any, places: Any, relu: bool) -> None:
    """The kernels of the backward pass."""
    gamma, beta, center, rest, var, *others = places
    given: list[int | Address] = [gamma.address(), beta.address(), bits_of(call.attrs["eps"], x.dtype)]
    given += [center.address(), rest.address(), var.address(), g.address() if g else 0]
    ends: list[int | Address] = [0 if v is None else v.address() for v in others]
    g_mu, g_var, dx, *_ = others
    constants: dict[str, Any] = dict(RELU=relu, G_Y=g is not None)
    cotangents: dict[str, Any] = dict(G_MU=g_mu is not None, G_VAR=g_var is not None)
    every = dict(**constants, **cotangents, WANTS_X=dx is not None)
    words: list[int | Address] = [x.address(), *x.strides[:-1], *x.shape, *given, *(g or x).strides[:-1], *ends]
    if not layout.in_rows:
        call.run(kernel(planes.backward_planes, x.dtype, **every), words, min(_blocks(x.size), x.shape[1]))
        return
    rows, channels = x.shape
    strips = -(-rows // texts.STRIP)
    work, lines = call.scratch((strips, 2, channels), np.float64), call.scratch((6, channels), x.dtype)
    words += [work.address(), lines.address()]
    if strips == 1 and channels * x.dtype.itemsize <= texts.NARROW:
        call.run(kernel(texts.backward, x.dtype, **every), words, _blocks(x.size))
        return
    call.run(kernel(texts.backward_lines, x.dtype), words)
    call.run(kernel(texts.backward_sums, x.dtype, **constants), words, _blocks(x.size))
    call.run(kernel(texts.backward_finish, x.dtype, **cotangents), words)
    if dx is not None:
        call.run(kernel(texts.backward_rows, x.dtype, **constants), words, _blocks(x.size))


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

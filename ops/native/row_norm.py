"""Layer norm and rms norm as kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.ops.native import row_norm_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, as_rows, in_order, output
from tensorgraph.ops.native.moving import copy_of

__all__ = ["layer_norm", "layer_norm_vjp", "rms_norm", "rms_norm_vjp"]

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 100_000, 30_000


def _blocks(x: Place) -> int:
    return 1 if x.size < SEVERAL else min(16, x.size // BLOCK, -(-x.shape[0] // 64))


def _rows(call: Call, x: Place) -> Place:
    """An array with all axes from the one of the call on as rows."""
    k = call.attrs["axis"] % x.ndim
    if k == x.ndim - 1:
        return as_rows(call, x)
    whole = x if x.is_contiguous else copy_of(call, x)
    width, size = math.prod(x.shape[k:]), x.dtype.itemsize
    return whole.over((x.size // width, width), (width * size, size))


def _fit(x: Any, *others: Any) -> bool:
    """Whether these are float32 or float64, all of one type."""
    good = isinstance(x, Place) and x.dtype in SINGLE_OR_DOUBLE and x.size > 0
    return good and all(o is None or (isinstance(o, Place) and o.dtype == x.dtype) for o in others)


def _address(place: Place | None) -> int | Address:
    return 0 if place is None else place.address()


def _forward(call: Call, x: Place, gamma: Any, beta: Any, outputs: Any, centred: bool) -> None:
    """The kernel of the forward pass; `outputs` are y, mu, var, center, rest."""
    gamma, beta = in_order(call, gamma), in_order(call, beta)
    words: list[int | Address] = [x.address(), x.strides[0], *x.shape, _address(gamma), _address(beta)]
    words += [bits_of(call.attrs["eps"], x.dtype), *map(_address, outputs)]
    constants = dict(CENTRED=centred, SCALED=gamma is not None, SHIFTED=beta is not None)
    call.run(kernel(texts.forward, x.dtype, **constants), words, _blocks(x))


def _backward(
    call: Call, x: Place, gamma: Any, kept: Any, cotangents: Any, wanted: Any, centred: bool
) -> None:  # fmt: skip
    """The kernels of the gradient; `kept` are center, rest, var, cotangents those of y, mu, var."""
    g, g_mu, g_var = cotangents
    gamma, g_mu, g_var = (in_order(call, v) for v in (gamma, g_mu, g_var))
    dx, dgamma, dbeta = wanted
    rows, width = x.shape
    strips, weights = -(-rows // texts.STRIP), dgamma is not None or dbeta is not None
    blocks = min(_blocks(x), strips)
    lines = call.scratch((blocks, 2 * width + 5 * texts.FEW), x.dtype)
    words: list[int | Address] = [x.address(), x.strides[0], rows, width, _address(gamma), lines.address(), 0]
    words += [bits_of(call.attrs["eps"], x.dtype), *map(_address, kept), _address(g), g.strides[0] if g else 0]
    words += [_address(g_mu), _address(g_var), _address(dx)]
    if weights:
        dgamma, dbeta = (call.scratch((width,), x.dtype) if d is None else d for d in (dgamma, dbeta))
        work = call.scratch((strips, 2, width), np.float64)
        words += [dgamma.address(), dbeta.address(), work.address()]
    else:
        words += [0, 0, 0]
    constants = dict(CENTRED=centred, SCALED=gamma is not None, G_Y=g is not None, G_MU=g_mu is not None,
                     G_VAR=g_var is not None, WANTS_X=dx is not None, WEIGHTS=weights and g is not None)  # fmt: skip
    call.run(kernel(texts.backward, x.dtype, **constants), words, blocks)
    if weights:
        call.run(kernel(texts.finish, x.dtype), words)


def _wanted(call: Call) -> list[Place | None]:
    """The output of each gradient, None where it is not wanted."""
    outputs = iter(call.outputs)
    return [next(outputs) if w else None for w in call.attrs["want"]]


def layer_norm(call: Call) -> bool:
    """`layer_norm`."""
    given, gamma, beta = call.inputs
    if not _fit(given, gamma, beta):
        return False
    x = _rows(call, given)
    line, rest = x.over(x.shape[:1], x.strides[1:]), Place.new(x.shape[:1], np.float64)
    outputs = [output(call, 0, given), *[output(call, k, line) for k in (1, 2, 3)], output(call, 4, rest)]
    _forward(call, x, gamma, beta, outputs, True)
    if given.is_contiguous:
        call.may_replace(0, 0)
    return True


def layer_norm_vjp(call: Call) -> bool:
    """The gradient of `layer_norm`."""
    given, gamma, beta, _, _, var, center, rest, g, g_mu, g_var = call.inputs
    if not _fit(given, gamma, beta, g_mu, g_var) or not (g is None or _fit(given, g.over((), ()))):
        return False
    if g is None and any(call.attrs["want"][1:]):
        return False
    x = _rows(call, given)
    kept = all(isinstance(v, Place) and v.is_contiguous for v in (var, center, rest))
    if not kept or not _fit(given, var, center):
        # a graph need not have kept what the forward pass made
        mu, var, center = (call.scratch(x.shape[:1], x.dtype) for _ in range(3))
        y, rest = call.scratch(x.shape, x.dtype), call.scratch(x.shape[:1], np.float64)
        _forward(call, x, None, None, (y, mu, var, center, rest), True)
    up = None if g is None else _rows(call, g)
    _backward(call, x, gamma, (center, rest, var), (up, g_mu, g_var), _wanted(call), True)
    return True


def rms_norm(call: Call) -> bool:
    """`rms_norm`."""
    given, gamma = call.inputs
    if not _fit(given, gamma):
        return False
    x = _rows(call, given)
    squares = output(call, 1, x.over(x.shape[:1], x.strides[1:]))
    _forward(call, x, gamma, None, (output(call, 0, given), None, squares, None, None), False)
    if given.is_contiguous:
        call.may_replace(0, 0)
    return True


def rms_norm_vjp(call: Call) -> bool:
    """The gradient of `rms_norm`."""
    given, gamma, _, squares, g = call.inputs
    if not _fit(given, gamma) or not isinstance(g, Place) or not _fit(given, g.over((), ())):
        return False
    x = _rows(call, given)
    if not isinstance(squares, Place):
        squares = call.scratch(x.shape[:1], x.dtype)
        _forward(call, x, None, None, (call.scratch(x.shape, x.dtype), None, squares, None, None), False)
    _backward(call, x, gamma, (None, None, squares), (_rows(call, g), None, None), [*_wanted(call), None], False)
    return True

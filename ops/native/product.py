"""Rules of products of matrices: which kernels, on which views, in how many blocks."""

# The plan: (1) vectors become matrices, and leading axes are broadcast by strides of 0; (2) leading axes along which B
# repeats and A does not become rows; (3) B is copied where its rows are not contiguous; (4) what is left of the leading
# axes is two counts, and records for more; (5) very long sums are made of parts, each added to the ones before.

from __future__ import annotations

import itertools

from tensorgraph.native.kernel import kernel
from tensorgraph.native.machine import available, machine
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.product_tiles import DEPTH, add_rows, product

__all__ = ["blocks_of", "native_matmul", "product_call"]

PART = 32 * DEPTH
"""How many k's are summed before a sum is put to the ones before: sums of a million stay within the bounds."""


def blocks_of(flops: int, rows: int) -> int:
    """Into how many blocks a product is shared: a matter of its shape alone."""
    if flops < 3_000_000:
        return 1
    if flops < 100_000_000:
        return 4
    return 8 if rows <= 256 else 16


def tile_rows() -> int:
    """Rows of a tile: as many as leave registers for two vectors of B and one of A."""
    return 8 if not available() or machine().registers >= 32 else 6


def native_matmul(call: Call) -> bool:
    """`matmul`: products of matrices and of vectors, batched over leading axes."""
    a, b = call.inputs
    (out,) = call.outputs
    return out is None or product_call(call, a, b, out)


def product_call(
    call: Call, a: Place, b: Place, out: Place, bias: Place | None = None, activation: str | None = None
) -> bool:
    """Put the records of ``a @ b`` into a call; False where there are no kernels for it.

    Parameters
    ----------
    call : Call
    a, b, out : Place
        As `matmul` has them; `out` in C order.
    bias : Place, optional
        A contiguous row that is added to every row of the result.
    activation : str, optional
        ``"relu"``: what is done to the sums at the end.
    """
    if not (isinstance(a, Place) and isinstance(b, Place)) or not (a.dtype == b.dtype == out.dtype):
        return False
    if out.dtype.kind != "f" or out.dtype.itemsize < 4 or activation not in (None, "relu"):
        return False
    if bias is not None and not (bias.dtype == out.dtype and bias.ndim == 1 and bias.is_contiguous):
        return False
    if not out.size:
        return True
    a = a.over((1, *a.shape), (0, *a.strides)) if a.ndim == 1 else a
    b = b.over((*b.shape, 1), (*b.strides, out.dtype.itemsize)) if b.ndim == 1 else b
    if b.shape[-1] > 1 and b.strides[-1] != b.dtype.itemsize:
        b = _rows_contiguous(call, b)
    _matrices(call, a, b, out, bias, activation == "relu")
    return True


def _rows_contiguous(call: Call, b: Place) -> Place:
    """The like with contiguous rows; what repeats is copied once."""
    index = [1 if stride == 0 else n for n, stride in zip(b.shape, b.strides, strict=True)]
    once = b.over([*index[:-2], *b.shape[-2:]], b.strides)
    return copy_of(call, once, "the second factor in C order").broadcast(b.shape)


def _matrices(call: Call, a: Place, b: Place, out: Place, bias: Place | None, relu: bool) -> None:
    size = out.dtype.itemsize
    (m, k), n = a.shape[-2:], b.shape[-1]
    row, step, b_row, c_row = a.strides[-2], a.strides[-1], b.strides[-2], n * size
    flops = 2 * out.size * k
    lead = out.size // (m * n)
    shape = _leading(a, b)
    a, b = a.broadcast((*shape, m, k)), b.broadcast((*shape, k, n))
    c = Place.new((*shape, m, n), out.dtype)  # for its strides
    axes = collapsed(shape, a.strides[:-2], b.strides[:-2], c.strides[:-2])
    while axes and axes[-1][2] == 0 and (m == 1 or axes[-1][1] == m * row):
        count, row_of_one, _, _ = axes.pop()
        row, m = (row_of_one if m == 1 else row), m * count
    around = [(1, 0, 0, 0)] * (2 - len(axes)) + axes
    constants = {"ROWS": tile_rows(), "VECS": 2}
    ends = {"BIAS": bias is not None, "RELU": relu}
    plain = {"BIAS": False, "RELU": False}
    blocks = blocks_of(flops, m * lead)
    at_end: int | Address = 0 if bias is None else bias.address()
    spare = call.scratch(out.shape, out.dtype, "part of a sum") if k > PART else out
    for k0 in range(0, max(k, 1), PART):
        final = ends if k <= PART else plain
        text, target = kernel(product, out.dtype, **constants, **final), spare if k0 else out
        for place in itertools.product(*(range(axis[0]) for axis in around[:-2])):
            s, t, u = (sum(i * axis[side] for i, axis in zip(place, around, strict=False)) for side in (1, 2, 3))
            words: list[int | Address] = [
                a.address(s + k0 * step), row, step, b.address(t + k0 * b_row), b_row, target.address(u), c_row,
                m, n, min(k - k0, PART), *around[-1], *around[-2], at_end,
            ]  # fmt: skip
            call.run(text, words, blocks)
        if k0:
            end = ends if k0 + PART >= k else plain
            text = kernel(add_rows, out.dtype, **end)
            call.run(text, [out.address(), spare.address(), out.size // n, n, at_end], blocks)


def _leading(a: Place, b: Place) -> tuple[int, ...]:
    """The leading axes of a product."""
    short, long = sorted((a.shape[:-2], b.shape[:-2]), key=len)
    wide = (1,) * (len(long) - len(short)) + tuple(short)
    return tuple(n if m == 1 else m for m, n in zip(wide, long, strict=True))

"""Products of matrices as records: which kernels, on which views, in how many blocks."""

# The plan: (1) vectors become matrices, and leading axes are broadcast by strides of 0; (2) leading axes along which B
# repeats and A does not become rows; (3) a large B is packed, else B is copied where its rows are not contiguous;
# (4) what is left of the leading axes is two counts, and records for more; (5) very long sums are made of parts, each
# added to the ones before.

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.machine import available, machine
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.packing import DEPTH, pack_rows
from tensorgraph.ops.native.product_thin import dots, narrow
from tensorgraph.ops.native.product_tiles import BIAS, RELU, add_rows, product, product_packed

__all__ = [
    "CHUNK", "PART", "Ending", "Products", "ahead_of", "blocks_of", "in_order", "is_dots", "is_narrow", "is_packed",
    "large_tiles", "packing_of", "product_call", "products_of", "records_of", "room", "tile_of", "with_rows",
]  # fmt: skip

PART = 64 * DEPTH
"""How many k's are summed before a sum is put to the ones before: sums of a million stay within the bounds."""

FEW = 256  # rows for which it does not pay to read all of a large B in every block

CHUNK = 16 * DEPTH  # how many k's of A are packed at once
BAND = 1 << 24  # and about how many bytes of it
PAGE = 4096
LARGE = 1 << 20  # bytes of a B that leaves no room in the second cache
SMALL = 1 << 15  # and of one that lies in the first
VECTOR = 64  # bytes of the widest vector


@dataclass(frozen=True)
class Products:
    """C = A B of matrices that lie in memory as `axes` say: size, and strides in A, B and C."""

    a: Place
    b: Place
    c: Place
    axes: list[tuple[int, ...]]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """m, n and k."""
        return self.c.shape[0], self.c.shape[1], self.a.shape[1]

    def part(self, k0: int, k: int) -> Products:
        """The same of `k` k's from `k0` on."""
        m, n, _ = self.sizes
        a = self.a.over((m, k), self.a.strides, k0 * self.a.strides[1])
        return replace(self, a=a, b=self.b.over((k, n), self.b.strides, k0 * self.b.strides[0]))

    def band(self, i: int, m: int) -> Products:
        """The same of `m` rows from `i` on."""
        _, n, k = self.sizes
        a = self.a.over((m, k), self.a.strides, i * self.a.strides[0])
        return replace(self, a=a, c=self.c.over((m, n), self.c.strides, i * self.c.strides[0]))

    def each(self, axes: list[tuple[int, ...]]) -> Iterator[Products]:
        """One by one along some axes, which are those of no other."""
        rest = [axis for axis in self.axes if axis not in axes]
        for place in itertools.product(*(range(axis[0]) for axis in axes)):
            a, b, c = (
                x.over(x.shape, x.strides, sum(i * axis[side] for i, axis in zip(place, axes, strict=True)))
                for side, x in enumerate((self.a, self.b, self.c), 1)
            )
            yield Products(a, b, c, rest)


@dataclass(frozen=True)
class Ending:
    """What is done to the sums at the end."""

    bias: Place | None = None
    relu: bool = False

    @property
    def words(self) -> list[int | Address]:
        """What kernels are told of it."""
        if self.bias is None:
            return [RELU * self.relu, 0]
        return [BIAS + RELU * self.relu, self.bias.address()]


def blocks_of(flops: int, rows: int) -> int:
    """Into how many blocks a product is shared: a matter of its shape alone."""
    if flops < 3_000_000:
        return 1
    if flops < 100_000_000:
        return 4
    return 8 if rows <= 256 else 16


def large_tiles() -> bool:
    """Whether there are 32 registers for vectors, rather than 16."""
    return not available() or machine().registers >= 32


def tile_of(m: int) -> dict[str, int]:
    """Rows and vectors of a tile: as many as leave registers for the vectors of B and one of A."""
    large = large_tiles()
    if m <= 4:  # long rows, lest every sum wait for the one before
        rows = 2 if m == 3 else m
        return {"ROWS": rows, "VECS": (16 if large else 8) // rows}
    return {"ROWS": 8 if large else 6, "VECS": 2}


def ahead_of(m: int) -> int:
    """How many k's ahead B is asked for, whose way here takes all the time where rows are few."""
    return 4 if m <= 3 else 0


def ahead_for(given: Products) -> int:
    """The same of a product, which asks ahead for a B that is far away.

    Rows of B may lie a page apart, and of a sum of few k's each strip of B is soon done with. Longer sums over a B that
    lies in the second cache lose time by it.
    """
    m, n, k = given.sizes
    nbytes = n * k * given.b.dtype.itemsize
    far = nbytes > LARGE // 2 or (k <= 128 and SMALL < nbytes <= 4 * SMALL)
    return ahead_of(m) or (16 if far else 0)


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
    records_of(call, products_of(a, b, out), out, Ending(bias, activation == "relu"))
    return True


def records_of(call: Call, given: Products, out: Place, ending: Ending = Ending()) -> None:
    """Put the records of products into a call, which together write all of `out`."""
    m, n, k = given.sizes
    count = out.size // (m * n)
    # of few rows the time is that of reading B, unless a nearer cache holds it
    far = 16 * n * k * count if n * k * out.dtype.itemsize > LARGE and not given.axes else 0
    blocks = blocks_of(max(2 * out.size * k, far), m * count)
    if ending == Ending():
        given = _turned(given)
        if is_dots(given):
            _dots(call, given, blocks_of(32 * out.size * k, m * count))
            return
    parts, by_rows = _chosen(given)
    given = in_order(call, given, 2) if by_rows else given
    if k <= PART:
        parts(call, given, ending, blocks)
        return
    spare = call.scratch(out.shape, out.dtype, "a part of a sum")
    for k0 in range(0, k, PART):
        part = given.part(k0, min(k - k0, PART))
        target = spare.over(given.c.shape, given.c.strides) if k0 else given.c
        parts(call, replace(part, c=target), Ending(), blocks)
        if k0:
            end = ending if k0 + PART >= k else Ending()
            call.run(kernel(add_rows, out.dtype), [out.address(), spare.address(), m * count, n, *end.words], blocks)


def products_of(a: Place, b: Place, out: Place) -> Products:
    """A product of `matmul` as products of matrices, as few as can be."""
    size = out.dtype.itemsize
    a = a.over((1, *a.shape), (0, *a.strides)) if a.ndim == 1 else a
    b = b.over((*b.shape, 1), (*b.strides, size)) if b.ndim == 1 else b
    (m, k), n = a.shape[-2:], b.shape[-1]
    short, long = sorted((a.shape[:-2], b.shape[:-2]), key=len)
    wide = (1,) * (len(long) - len(short)) + tuple(short)
    lead = tuple(q if p == 1 else p for p, q in zip(wide, long, strict=True))
    a, b = a.broadcast((*lead, m, k)), b.broadcast((*lead, k, n))
    in_order = Place.new((*lead, m, n), out.dtype).strides
    axes = collapsed(lead, a.strides[:-2], b.strides[:-2], in_order[:-2])
    a, b = a.over((m, k), a.strides[-2:]), b.over((k, n), b.strides[-2:])
    return with_rows(Products(a, b, out.over((m, n), (n * size, size)), axes))


def with_rows(given: Products) -> Products:
    """The same with the last axes as rows, as far as B repeats along them and A and C go on."""
    (m, k), axes, (row, step), (c_row, c_step) = given.a.shape, list(given.axes), given.a.strides, given.c.strides
    while axes and axes[-1][2] == 0 and (m == 1 or axes[-1][1::2] == (m * row, m * c_row)):
        count, *one = axes.pop()
        row, c_row, m = (one[0], one[2], count) if m == 1 else (row, c_row, m * count)
    c = given.c.over((m, given.c.shape[1]), (c_row, c_step))
    return Products(given.a.over((m, k), (row, step)), given.b, c, axes)


def is_packed(given: Products) -> bool:
    """Whether B is packed: where it is large and used often enough, and may be read by rows or by columns."""
    (m, n, k), (b_row, across), size = given.sizes, given.b.strides, given.a.dtype.itemsize
    turned = across != size
    if n * size < 2 * VECTOR or k < 64 or (turned and b_row != size) or m < (3 if turned else 32):
        return False
    if sum(axis[0] - 1 for axis in given.axes) >= 16:
        return False
    return n * k * size > LARGE // (4 if turned else 1) or (b_row % PAGE == 0 and n * k * size > LARGE // 16)


def _turned(given: Products) -> Products:
    """A matrix times a vector as the vector times the matrix, where that has contiguous rows."""
    (m, n, _), size = given.sizes, given.a.dtype.itemsize
    if n > 1 or m == 1 or given.a.strides[0] != size or given.a.strides[1] == size or given.c.strides[0] != size:
        return given
    a, b = given.b.transposed((1, 0)), given.a.transposed((1, 0))
    return Products(a, b, given.c.over((1, m), (m * size, size)), [(n, s, r, t) for n, r, s, t in given.axes])


def is_dots(given: Products) -> bool:
    """Whether every result is a sum along k of numbers side by side."""
    (m, n, k), size = given.sizes, given.a.dtype.itemsize
    turned = given.b.strides[0] == size and given.b.strides[1] != size
    return n == 1 or (turned and (m == 1 or (m == 2 and k >= 64)))


def is_narrow(given: Products) -> bool:
    """Whether the lanes of a vector are rows: where A's columns are contiguous, and B's rows are but a few numbers."""
    (m, n, k), size = given.sizes, given.a.dtype.itemsize
    return 1 < n <= 12 and m >= 16 and k > 1 and given.a.strides[0] == size and given.c.strides[0] == n * size


def _chosen(given: Products) -> tuple[Callable[..., None], bool]:
    """What makes the records, and whether it takes B by contiguous rows."""
    if is_narrow(given):
        return _narrow, True
    return (_packed, False) if is_packed(given) else (_plain, True)


def in_order(call: Call, given: Products, side: int) -> Products:
    """The same with one factor, 1 or 2, in C order; what repeats is copied once."""
    x, axes = (given.a, given.b)[side - 1], given.axes
    if x.strides[1] == x.dtype.itemsize or x.shape[1] == 1:
        return given
    shape = (*(1 if axis[side] == 0 else axis[0] for axis in axes), *x.shape)
    copied = copy_of(call, x.over(shape, (*(axis[side] for axis in axes), *x.strides)), "a factor in C order")
    moved: list[tuple[int, ...]] = [
        tuple(now if k == side and was else was for k, was in enumerate(axis))
        for axis, now in zip(axes, copied.strides, strict=False)
    ]
    x = copied.over(x.shape, copied.strides[-2:])
    return replace(given, a=x, axes=moved) if side == 1 else replace(given, b=x, axes=moved)


def _dots(call: Call, given: Products, blocks: int) -> None:
    """Rows times a vector: of A, or, where B has many columns, these, by A's rows one by one."""
    m, n, k = given.sizes
    if n > 1:
        axes: list[tuple[int, ...]] = [(count, s, r, t) for count, r, s, t in given.axes]
        if m > 1:
            axes.append((m, 0, given.a.strides[0], given.c.strides[0]))
        row = given.a.over((k, 1), (given.a.strides[1], given.a.dtype.itemsize))
        column = given.c.over((n, 1), (given.c.strides[1], given.c.strides[0]))
        given = Products(given.b.transposed((1, 0)), row, column, axes)
    given = in_order(call, given, 1)
    b = given.b
    if b.strides[0] != b.dtype.itemsize:  # a row, of which the copy is contiguous
        given = in_order(call, replace(given, b=b.over((1, b.shape[0]), (0, b.strides[0]))), 2)
    m, k = given.a.shape
    text = kernel(dots, given.a.dtype, ROWS=4 if large_tiles() else 1)
    for one in given.each(given.axes[:-2]):
        around = [(1, 0, 0, 0)] * (2 - len(one.axes)) + one.axes
        words: list[int | Address] = [
            one.a.address(), one.a.strides[0], one.b.address(), one.c.address(), one.c.strides[0], m, k,
            *around[1], *around[0],
        ]  # fmt: skip
        call.run(text, words, blocks)


def _narrow(call: Call, given: Products, ending: Ending, blocks: int) -> None:
    m, n, k = given.sizes
    text = kernel(narrow, given.c.dtype, COLUMNS=n, VECS=2 if large_tiles() else 1)
    for one in given.each(given.axes[:-2]):
        around = [(1, 0, 0, 0)] * (2 - len(one.axes)) + one.axes
        words: list[int | Address] = [
            one.a.address(), one.a.strides[1], one.b.address(), one.b.strides[0], one.c.address(), m, k,
            *around[1], *around[0], *ending.words,
        ]  # fmt: skip
        call.run(text, words, blocks)


def _plain(call: Call, given: Products, ending: Ending, blocks: int) -> None:
    m, n, k = given.sizes
    tile, ahead = tile_of(m), ahead_for(given)
    text = kernel(product, given.c.dtype, **tile, PACKED=False)
    tiles = -(-m // tile["ROWS"])
    chunk = n if tiles >= blocks else max(VECTOR, -(-n * tiles // blocks // VECTOR) * VECTOR)
    if n * k * given.b.dtype.itemsize > LARGE // 2 and m <= FEW:  # each block reads its own part of B
        chunk = min(chunk, max(VECTOR, -(-n // blocks // VECTOR) * VECTOR))
    for one in given.each(given.axes[:-2]):
        around = [(1, 0, 0, 0)] * (2 - len(one.axes)) + one.axes
        words = [*_words(one), *around[1], *around[0], *ending.words, chunk, ahead * one.b.strides[0]]
        call.run(text, words, blocks)


def _words(one: Products) -> list[int | Address]:
    m, n, k = one.sizes
    return [
        one.a.address(), *one.a.strides, one.b.address(), one.b.strides[0], one.c.address(), one.c.strides[0], m, n, k
    ]  # fmt: skip


@dataclass(frozen=True)
class Packing:
    """How a large product is done: a block packs some columns of B, and does some rows of A with them.

    Attributes
    ----------
    tile : dict of str to int
    band : int
        Rows of A that are packed at once.
    depth : int
        And k's.
    piece : int
        Columns of a tile.
    beside : int
        Pieces of columns that are done at once.
    rows : int
        And rows.
    """

    tile: dict[str, int]
    band: int
    depth: int
    piece: int
    beside: int
    rows: int


def packing_of(given: Products, blocks: int) -> Packing:
    """How a product is packed that is shared among so many blocks."""
    (m, n, k), size = given.sizes, given.a.dtype.itemsize
    tile = {"ROWS": 12 if large_tiles() else 6, "VECS": 2}
    height, depth, piece = tile["ROWS"], min(k, CHUNK), 2 * VECTOR // size
    band = min(-(-m // height), -(-BAND // (depth * size * height))) * height
    pieces = -(-n // piece)
    beside = min(-(-pieces // blocks), 8)
    rows = min(band, -(-band * -(-pieces // beside) // blocks // height) * height, 4096 // size // height * height)
    return Packing(tile, band, depth, piece, beside, rows)


def _packed(call: Call, given: Products, ending: Ending, blocks: int) -> None:
    """Rows of A are packed once for all blocks; a block has some columns, and some rows of tall products."""
    m, _, k = given.sizes
    of = packing_of(given, blocks)
    band, depth, columns = of.band, of.depth, of.beside * of.piece
    of_rows = room(call, (band, depth), given.a.dtype, "the first factor, packed")
    of_columns = room(call, (blocks, min(k, DEPTH), columns), given.a.dtype, "columns of the second factor")
    pack = kernel(pack_rows, given.a.dtype, ROWS=of.tile["ROWS"])
    text = kernel(product_packed, given.c.dtype, **of.tile, PACKED=True)
    before: Address | None = None
    for one in given.each(given.axes):
        for i, k0 in itertools.product(range(0, m, band), range(0, k, depth)):
            part = one.band(i, min(m - i, band)).part(k0, min(k - k0, depth))
            if part.a.address() != before:
                before = part.a.address()
                call.run(pack, [before, *part.a.strides, *part.a.shape, of_rows.address()], blocks)
            end = ending if k0 + depth >= k else Ending()
            words: list[int | Address] = [
                of_rows.address(), part.b.address(), *part.b.strides, part.c.address(), part.c.strides[0], *part.sizes,
                int(k0 > 0), *end.words, of.rows, columns, of_columns.address(), of_columns.strides[0],
            ]  # fmt: skip
            call.run(text, words, blocks)


def room(call: Call, shape: tuple[int, ...], dtype: Any, what: str) -> Place:
    """Memory that all parts of a call use in turn."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    for place in call.scratch_places:
        if place.buffer.what == what and place.buffer.nbytes >= size:
            return Place(place.buffer, shape, place.dtype, Place.new(shape, dtype).strides, place.offset)
    return call.scratch(shape, dtype, what)

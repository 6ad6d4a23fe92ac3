"""The rule of `contract_axes`: a product summed over axes is products of matrices in other strides."""

# The plan: (1) a letter has one stride in each of A, B and C: the sum of its places' in a factor, 0 where that has it
# not, or of size 1; a letter summed in one factor alone is left to the forward. (2) Letters of both and of C number the
# products; those of A and C are rows, of B and C columns, of both alone are summed. C's last letter is a column, else
# the factors change sides. (3) Letters that are one axis in memory become one; of rows and columns that are still more
# than one, the last is the matrix's and the others number products too. (4) Sums over more than one axis take copies of
# the factors.

from __future__ import annotations

import math
from collections.abc import Sequence

from tensorgraph.native.places import Call, Place
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.pairs import of_pairs
from tensorgraph.ops.native.product import Products, records_of, with_rows

__all__ = ["native_contract"]


def native_contract(call: Call) -> bool:
    """`contract_axes`: by the kernels of `matmul`."""
    a, b = call.inputs
    (out,) = call.outputs
    if out is None:
        return True
    if not (isinstance(a, Place) and isinstance(b, Place)) or not (a.dtype == b.dtype == out.dtype):
        return False
    if out.dtype.kind != "f" or out.dtype.itemsize < 4:
        return False
    if not out.size:
        return True
    left, _, output = call.attrs["subscripts"].partition("->")
    first, _, second = left.partition(",")
    sizes = {c: n for term, x in ((first, a), (second, b)) for c, n in zip(term, x.shape, strict=True) if n != 1}
    if any(c not in output and (c in first) != (c in second) for c in sizes):
        return False
    a_strides, b_strides = _strides(first, a, sizes), _strides(second, b, sizes)
    c_strides = _strides(output, out, sizes)
    if (last := next((c for c in reversed(output) if c in sizes), None)) is not None and not b_strides[last]:
        a, b, a_strides, b_strides = b, a, b_strides, a_strides  # the transposed product
    inner = [c for c in sizes if c not in output]
    inner.sort(key=lambda c: -abs(b_strides[c]))
    a, a_strides, b, b_strides = _one_sum(call, a, a_strides, b, b_strides, inner, sizes)
    if not inner and not _is_outer(a_strides, b_strides):
        letters = [*output]
        left, right = (
            x.over(out.shape, [strides.get(c, 0) for c in letters]) for x, strides in ((a, a_strides), (b, b_strides))
        )
        return of_pairs(call, left, right, out)
    given = _matrices(a, a_strides, b, b_strides, out, c_strides, [c for c in output if c in sizes], inner, sizes)
    if given is None:
        return False
    records_of(call, given, out)
    return True


Strides = dict[str, int]


def _is_outer(a: Strides, b: Strides) -> bool:
    """Whether each factor has a letter that the other has not."""
    return any(a[c] and not b[c] for c in a) and any(b[c] and not a[c] for c in a)


def _strides(term: str, x: Place, sizes: dict[str, int]) -> Strides:
    """Of every letter the bytes from one to the next."""
    made = dict.fromkeys(sizes, 0)
    for c, n, stride in zip(term, x.shape, x.strides, strict=True):
        if n != 1:
            made[c] += stride
    return made


def _one_sum(
    call: Call, a: Place, a_strides: Strides, b: Place, b_strides: Strides, inner: Sequence[str], sizes: dict[str, int]
) -> tuple[Place, Strides, Place, Strides]:
    """Both factors with the letters that are summed as one axis of memory."""
    shape = [sizes[c] for c in inner]
    if len(collapsed(shape, [a_strides[c] for c in inner], [b_strides[c] for c in inner])) > 1:
        (a, a_strides), (b, b_strides) = (
            _copied(call, x, strides, inner, sizes) for x, strides in ((a, a_strides), (b, b_strides))
        )
    return a, a_strides, b, b_strides


def _copied(
    call: Call, x: Place, strides: Strides, inner: Sequence[str], sizes: dict[str, int]
) -> tuple[Place, Strides]:
    """A copy of a factor in whose order the letters that are summed come last."""
    letters = [*sorted((c for c in sizes if strides[c] and c not in inner), key=lambda c: -abs(strides[c])), *inner]
    view = x.over([sizes[c] for c in letters], [strides[c] for c in letters])
    made = copy_of(call, view, "a factor with its sum as one axis")
    return made, dict.fromkeys(sizes, 0) | dict(zip(letters, made.strides, strict=True))


def _matrices(
    a: Place, a_strides: Strides, b: Place, b_strides: Strides, out: Place, c_strides: Strides, output: Sequence[str],
    inner: Sequence[str], sizes: dict[str, int],
) -> Products | None:  # fmt: skip
    """The products; None where they would be many and small: numbers of products side by side in C, or no sum."""
    size = out.dtype.itemsize
    axes = collapsed(
        [sizes[c] for c in output], *([strides[c] for c in output] for strides in (a_strides, b_strides, c_strides))
    )
    n, b_step = 1, size
    if axes and axes[-1][1] == 0 and axes[-1][2]:
        n, _, b_step, _ = axes.pop()
    elif axes and axes[-1][1] and any((axis[1] == 0) != (axis[2] == 0) for axis in axes):
        return None
    m, row, c_row = 1, 0, n * size
    rows = [axis for axis in axes if axis[2] == 0]
    if rows:
        axes.remove(rows[-1])
        m, row, _, c_row = rows[-1]
    if not (inner or (m > 1 and n > 1)) or math.prod(axis[0] for axis in axes[:-2]) > 64:
        return None
    k = math.prod(sizes[c] for c in inner)
    step, b_row = (a_strides[inner[-1]], b_strides[inner[-1]]) if inner else (size, n * size)
    left, right = a.over((m, k), (row, step)), b.over((k, n), (b_row, b_step))
    return with_rows(Products(left, right, out.over((m, n), (c_row, size)), axes))

"""Products of two arrays summed over the axes that they share, by BLAS: a plan is found once for subscripts and shapes.

The plan:

1. diagonals are taken of letters that an operand has twice; an axis of size 1 that the other operand has longer goes;
   a letter of one operand alone, which the output has not, is summed.
2. Of the letters that are left, those of both operands and of the output number products (batch), those of both and not
   of the output are summed (inner), and the others are rows and columns.
3. Without inner letters it is a product of elements; without rows and columns a product of vectors; else of matrices,
   of which a transposed one is as good to BLAS. It is written where the output wants it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgraph.engine.op import settle
from tensorgraph.engine.sums import total
from tensorgraph.ops.kernels.outer import outer

__all__ = ["LONG", "product", "rearranged", "vector_products"]

Array = np.ndarray[Any, Any]
Step = Callable[[Array], Any]
_HALF, _SINGLE = np.dtype(np.float16), np.dtype(np.float32)
# numbers from which a product of vectors is made in parts of so many: BLAS keeps a few sums, which grow with the length
LONG, PART = 8192, 1024


def vector_products(x: Array, y: Array) -> Any:
    """The sums of products along the last axes, which are contiguous or short."""
    n = x.shape[-1]
    if n < LONG or x.dtype.itemsize < 4:
        return np.vecdot(x, y)
    whole = n - n % PART
    apart = (*x.shape[:-1], n // PART, PART)
    out = total(np.vecdot(x[..., :whole].reshape(apart), y[..., :whole].reshape(apart)), -1)
    return out + np.vecdot(x[..., whole:], y[..., whole:]) if whole < n else out


def product(a: Array, b: Array, subscripts: str, matmul: Callable[[Array, Array], Any]) -> Array:
    """``np.einsum(subscripts, a, b)`` of explicit subscripts without ellipsis; `matmul` multiplies matrices."""
    kind = a.dtype
    if kind is not b.dtype and kind != b.dtype:
        kind = settle(np.result_type(kind, b.dtype), [kind, b.dtype])
        a, b = a.astype(kind, copy=False), b.astype(kind, copy=False)
    if kind.kind != "f":  # of which BLAS has no products, and no sum is rounded
        return np.array(np.einsum(subscripts, a, b), kind)
    if kind is _HALF:
        wide = plan(subscripts, a.shape, b.shape)(a.astype(_SINGLE), b.astype(_SINGLE), matmul)
        with np.errstate(over="ignore"):
            return np.asarray(wide, _HALF)
    return plan(subscripts, a.shape, b.shape)(a, b, matmul)


def rearranged(x: Array, subscripts: str) -> Array:
    """Diagonals, sums and another order of axes; a letter that the output has twice stands for its diagonal."""
    given, _, output = subscripts.partition("->")
    unique = "".join(dict.fromkeys(given))
    if unique != given:
        x = np.einsum(f"{given}->{unique}", x)
    once = "".join(dict.fromkeys(output))
    summed = tuple(i for i, c in enumerate(unique) if c not in once)
    kind = x.dtype
    if summed:
        x = np.asarray(total(x, summed, False, kind))
    rest = [c for c in unique if c in once]
    x = x.transpose([rest.index(c) for c in once])
    if once == output:
        return np.array(x, order="C")
    sizes = dict(zip(once, x.shape, strict=True))
    out = np.zeros([sizes[c] for c in output], kind)
    np.einsum(f"{output}->{once}", out)[...] = x
    return out


@lru_cache(maxsize=4096)
def plan(subscripts: str, shape_a: tuple[int, ...], shape_b: tuple[int, ...]) -> Callable[..., Array]:
    """How subscripts and shapes are computed: a function of both arrays and of `matmul`."""
    left, _, output = subscripts.partition("->")
    first, _, second = left.partition(",")
    sizes_a, sizes_b = dict(zip(first, shape_a, strict=True)), dict(zip(second, shape_b, strict=True))
    a, step_a = _prepared(first, sizes_a, sizes_b, output)
    b, step_b = _prepared(second, sizes_b, sizes_a, output)
    sizes = {**{c: sizes_a[c] for c in a}, **{c: sizes_b[c] for c in b}}
    inner = "".join(c for c in a if c in b and c not in output)
    core = _joined(a, b, output, inner, sizes)
    if step_a is None and step_b is None:
        return core

    def prepared(x: Array, y: Array, matmul: Any) -> Array:
        return core(x if step_a is None else step_a(x), y if step_b is None else step_b(y), matmul)

    return prepared


def _prepared(term: str, sizes: dict[str, int], others: dict[str, int], output: str) -> tuple[str, Step | None]:
    """What an operand is before it meets the other: its letters, each once, and how to get there."""
    unique = "".join(dict.fromkeys(term))
    short = tuple(i for i, c in enumerate(unique) if sizes[c] == 1 and others.get(c, 1) != 1)
    left = [c for i, c in enumerate(unique) if i not in short]
    met = [c for c, n in others.items() if n != 1 or sizes.get(c, 1) == 1]  # its own of size 1 go as well
    alone = tuple(i for i, c in enumerate(left) if c not in output and c not in met)
    steps: list[Step] = []
    if unique != term:
        steps.append(lambda x: np.einsum(f"{term}->{unique}", x))
    if short:
        key = tuple([0 if i in short else slice(None) for i in range(len(unique))])
        steps.append(lambda x: x[key])
    if alone:
        steps.append(lambda x: np.asarray(total(x, alone)))
    letters = "".join(c for i, c in enumerate(left) if i not in alone)
    if not steps:
        return letters, None

    def prepare(x: Array) -> Array:
        for step in steps:
            x = step(x)
        return x

    return letters, prepare


def _joined(a: str, b: str, output: str, inner: str, sizes: dict[str, int]) -> Callable[..., Array]:
    """The product of operands whose letters have one size each and are in both, or in one and in the output."""
    shape = tuple(sizes[c] for c in output)
    if not inner:
        return _elements(a, b, output, sizes)
    batch = "".join(c for c in output if c in a and c in b)
    rows = "".join(c for c in output if c in a and c not in b)
    columns = "".join(c for c in output if c in b and c not in a)
    if not rows and not columns:
        return _vectors(a, b, batch, inner, shape, sizes)
    if output.endswith(rows) and rows and output != batch + rows + columns:  # the transposed product is in order
        a, b, rows, columns = b, a, columns, rows
        turned = _matrices(a, b, batch, rows, columns, inner, output, sizes)
        return lambda x, y, matmul: turned(y, x, matmul)
    return _matrices(a, b, batch, rows, columns, inner, output, sizes)


def _ordered(given: str, wanted: str) -> tuple[int, ...] | None:
    """The permutation of axes, None where there is nothing to do."""
    return None if given == wanted else tuple([given.index(c) for c in wanted])


def _elements(a: str, b: str, output: str, sizes: dict[str, int]) -> Callable[..., Array]:
    common = "".join(c for c in output if c in a and c in b)
    rows = "".join(c for c in a if c not in b)
    columns = "".join(c for c in b if c not in a)
    shape = tuple(sizes[c] for c in output)
    if rows and columns and output in (common + rows + columns, common + columns + rows):
        turned = output != common + rows + columns
        order_a, order_b = _ordered(a, common + rows), _ordered(b, common + columns)
        stack = (math.prod(sizes[c] for c in common),) if common else ()
        m, n = math.prod(sizes[c] for c in rows), math.prod(sizes[c] for c in columns)
        shape_a, shape_b = ((*stack, 1, m), (*stack, n, 1)) if turned else ((*stack, m, 1), (*stack, 1, n))

        def pairs(x: Array, y: Array, matmul: Any) -> Array:
            x = (x if order_a is None else x.transpose(order_a)).reshape(shape_a)
            y = (y if order_b is None else y.transpose(order_b)).reshape(shape_b)
            return (outer(y, x) if turned else outer(x, y)).reshape(shape)

        return pairs
    order_a, order_b = (
        _ordered(a, "".join(c for c in output if c in a)),
        _ordered(b, "".join(c for c in output if c in b)),
    )
    wide_a = tuple(sizes[c] if c in a else 1 for c in output)
    wide_b = tuple(sizes[c] if c in b else 1 for c in output)

    def elements(x: Array, y: Array, matmul: Any) -> Array:
        x = (x if order_a is None else x.transpose(order_a)).reshape(wide_a)
        y = (y if order_b is None else y.transpose(order_b)).reshape(wide_b)
        return np.multiply(x, y, out=np.empty(shape, x.dtype))  # in C order, whatever theirs is

    return elements


def _vectors(
    a: str, b: str, batch: str, inner: str, shape: tuple[int, ...], sizes: dict[str, int]
) -> Callable[..., Array]:
    order_a, order_b = _ordered(a, batch + inner), _ordered(b, batch + inner)
    many = math.prod(sizes[c] for c in inner)
    flat = (*shape, many)

    def vectors(x: Array, y: Array, matmul: Any) -> Array:
        x = x if order_a is None else x.transpose(order_a)
        y = y if order_b is None else y.transpose(order_b)
        if batch and x.ndim == 2 and x.strides[1] > x.strides[0] and y.strides[1] > y.strides[0]:
            return np.asarray(total(np.multiply(x.T, y.T), 0))  # vectors lie across memory
        return np.asarray(vector_products(x.reshape(flat), y.reshape(flat)))

    return vectors


def _matrices(
    a: str, b: str, batch: str, rows: str, columns: str, inner: str, output: str, sizes: dict[str, int]
) -> Callable[..., Array]:
    order_a, order_b = _ordered(a, batch + rows + inner), _ordered(b, batch + inner + columns)
    stack = tuple(sizes[c] for c in batch)
    m, n, k = (math.prod(sizes[c] for c in group) for group in (rows, columns, inner))
    one_a, one_b = not rows, not columns
    flat_a = (*stack, k) if one_a and not batch else (*stack, m, k)
    flat_b = (*stack, k) if one_b and not batch else (*stack, k, n)
    apart = (*stack, *[sizes[c] for c in rows + columns])
    order = _ordered(batch + rows + columns, output)
    shape = tuple(sizes[c] for c in output)
    # what BLAS can write in its place: rows of the product stand in rows of the output
    direct = order is not None and len(rows) == len(columns) == 1 and output[-1:] == columns
    places = tuple([output.index(c) for c in batch + rows + columns]) if direct else None

    def matrices(x: Array, y: Array, matmul: Any) -> Array:
        x = x if order_a is None else x.transpose(order_a)
        y = y if order_b is None else y.transpose(order_b)
        x = x if x.shape == flat_a else x.reshape(flat_a)
        y = y if y.shape == flat_b else y.reshape(flat_b)
        if places is not None:
            out = np.empty(shape, x.dtype)
            np.matmul(x, y, out=out.transpose(places))
            return out
        out = np.asarray(matmul(x, y))
        out = out if out.shape == apart else out.reshape(apart)
        return out if order is None else np.ascontiguousarray(out.transpose(order))

    return matrices

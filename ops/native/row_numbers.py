"""Numbers of rows as kernels: variance, deviation, norm, and the log of a sum of exponentials, over any axes.

float32 is computed in float64, where no square is too large or too small; float64 keeps what its sums lose, and where
squares leave its range, rows are divided by a power of two first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axes
from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.native.words import (
    absolute,
    bits,
    double,
    first,
    from_bits,
    hmost,
    hsum,
    ldm,
    load,
    load_double,
    real,
    select,
    sqrt,
    store,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.scalar import log1p
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.reductions import with_loss
from tensorgraph.ops.native.softmax_rows import normaliser

__all__ = ["logsumexp", "std", "var", "vector_norm"]

LANES = SIZE = 0  # constants of kernels
VARIANCE, DEVIATION, NORM, LOG, SIZES, LARGEST = 0, 1, 2, 3, 4, 5
KIND = VARIANCE
DIFFERENCES, SQUARES, MAGNITUDES = 0, 1, 2  # what is summed

INFINITY, SMALLEST = float("inf"), 2.0**-970  # below which squares of float64 lose digits
EXPONENT, LEAST = 0x7FF0000000000000, 2.0**-1022

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 60_000, 20_000


# texts ---------------------------------------------------------------------------------------------------------------


def sum_of(p: Any, width: Any, base: Any, mean: Any, inverse: Any, what: Any) -> Any:
    """The sum of a row's differences from base and mean, of their squares or magnitudes; of a row times `inverse`."""
    total, lost = double(vset(0.0)), double(vset(0.0))
    for j in range(0, width, LANES):
        d = select(first(width - j), (double(ldm(p + j * SIZE, width - j, 0.0)) * inverse - base) - mean, 0.0)
        v = d * d if what == SQUARES else absolute(d) if what == MAGNITUDES else d
        if SIZE == 8:
            total, lost = with_loss(total, lost, v)
        else:
            total = total + v
    whole, less = hsum(total), hsum(lost)
    return select(less == less, whole + less, whole)


def spread_of(p: Any, width: Any, n: Any, inverse: Any) -> Any:
    """The variance of a row times `inverse`, or the sum of its squares."""
    zero = double(0.0)
    if KIND == NORM:
        v = sum_of(p, width, zero, zero, inverse, SQUARES)
    else:
        base = double(load(p)) * inverse
        mean = sum_of(p, width, base, zero, inverse, DIFFERENCES) / double(width)
        v = sum_of(p, width, base, mean, inverse, SQUARES) / n
    return v


def largest(p: Any, width: Any) -> Any:
    """The largest magnitude of a row; NaN wins."""
    top = vset(0.0)
    for j in range(0, width, LANES):
        size = absolute(ldm(p + j * SIZE, width - j, 0.0))
        top = select((size > top) | (size != size), size, top)
    return hmost(top)


def number_of(p: Any, width: Any, n: Any) -> Any:
    """The variance, deviation or norm of a row."""
    one = double(1.0)
    v = spread_of(p, width, n, one)
    if SIZE == 8:
        if not (v >= SMALLEST) & (v < INFINITY):
            top = double(largest(p, width))
            if (top < INFINITY) & (top > 0.0):
                if KIND == VARIANCE:
                    v = select(v != v, select(n > 0.0, INFINITY, v), v)  # differences are themselves too large
                else:
                    power = from_bits(bits(top) & EXPONENT)
                    power = select(power < LEAST, LEAST, power)
                    v = sqrt(spread_of(p, width, n, 1.0 / power)) * power
            elif KIND != VARIANCE:
                v = sqrt(v)
        elif KIND != VARIANCE:
            v = sqrt(v)
    elif KIND != VARIANCE:
        v = sqrt(v)
    return v


def numbers(w: Any, block: Any, blocks: Any) -> None:
    """Words: x, its row's stride, rows, width, results, and what a sum of squares is divided by."""
    step, rows, width, out = word_at(w, 1), word_at(w, 2), word_at(w, 3), word_at(w, 4)
    n = load_double(w + 8 * 5)
    for r in range(rows * block // blocks, rows * (block + 1) // blocks):
        p = word_at(w, 0) + r * step
        if KIND == LOG:
            top, excess = normaliser(p, width)
            store(out + r * SIZE, select(absolute(top) < INFINITY, top + log1p(excess), top))
        elif KIND == SIZES:
            store(out + r * SIZE, real(sum_of(p, width, double(0.0), double(0.0), double(1.0), MAGNITUDES)))
        elif KIND == LARGEST:
            store(out + r * SIZE, largest(p, width))
        else:
            store(out + r * SIZE, real(number_of(p, width, n)))


# rules ---------------------------------------------------------------------------------------------------------------


def _rows(call: Call, x: Place, axes: tuple[int, ...]) -> Place:
    """What is reduced together as rows, copied where it has to be."""
    order = [*(k for k in range(x.ndim) if k not in axes), *axes]
    turned, lead = x.transposed(order), x.ndim - len(axes)
    sizes = math.prod(turned.shape[:lead]), math.prod(turned.shape[lead:])
    parts = [collapsed(turned.shape[part], turned.strides[part]) for part in (slice(lead), slice(lead, None))]
    size = x.dtype.itemsize
    if any(len(part) > 1 for part in parts) or (parts[1] and parts[1][0][1] != size):
        turned = copy_of(call, turned)
        return turned.over(sizes, (sizes[1] * size, size))
    return x.over(sizes, (parts[0][0][1] if parts[0] else 0, size))


def _numbers(call: Call, kind: int, correction: float = 0) -> bool:
    (x,), (out,) = call.inputs, call.outputs
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.size:
        return False
    if out is None:
        return True
    rows = _rows(call, x, canonical_axes(call.attrs["axis"], x.ndim))
    n = rows.shape[1] - correction
    words: list[int | Address] = [rows.address(), rows.strides[0], *rows.shape, out.address()]
    words.append(bits_of(max(n, 0), np.float64))
    blocks = 1 if x.size < SEVERAL else min(16, x.size // BLOCK, rows.shape[0])
    call.run(kernel(numbers, x.dtype, KIND=kind), words, blocks)
    return True


def logsumexp(call: Call) -> bool:
    """`logsumexp`."""
    return _numbers(call, LOG)


def var(call: Call) -> bool:
    """`var`."""
    return _numbers(call, VARIANCE, call.attrs["correction"])


def std(call: Call) -> bool:
    """`std`."""
    return _numbers(call, DEVIATION, call.attrs["correction"])


def vector_norm(call: Call) -> bool:
    """`vector_norm` of squares, of magnitudes, and the largest of these."""
    kind = {2: NORM, 1: SIZES, math.inf: LARGEST}.get(call.attrs["ord"])
    return kind is not None and _numbers(call, kind)

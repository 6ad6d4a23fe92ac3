"""Products of columns and rows: each element is one product, and all there is to do is to write it.

NumPy begins its inner loop anew for every row of the result, which costs as much as a hundred products, and BLAS begins
for every pair of a column and a row. The loop here runs through all of them; threads share the pairs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.jit import compiled, kernel, share, uniform

__all__ = ["outer"]

Array = np.ndarray[Any, Any]

FEW = 1 << 15  # products from which a kernel is faster, and worth being compiled
_COST = {4: 0.1e-9, 8: 0.2e-9}  # seconds a product, by the bytes of a number


@kernel
def _outer(a: Any, b: Any, out: Any, lo: Any, hi: Any) -> None:
    for k in range(lo, hi):
        row = b[k]
        for i in range(a.shape[1]):
            x = a[k, i]
            target = out[k, i]
            for j in range(row.size):
                target[j] = x * row[j]


def outer(a: Array, b: Array) -> Array:
    """The product of columns (..., m, 1) and rows (..., 1, n) of one dtype, (..., m, n).

    Every element is the product that NumPy makes.
    """
    stack = a.shape[:-2]
    pairs = math.prod(stack)
    size = a.size * b.shape[-1]
    if (
        size < FEW
        or pairs < 2
        or stack != b.shape[:-2]
        or a.dtype.kind != "f"
        or a.dtype.itemsize < 4
        or not compiled()
    ):
        return np.multiply(a, b)
    m, n = a.shape[-2], b.shape[-1]
    out = np.empty((pairs, m, n), a.dtype)
    args = (uniform(a.reshape(pairs, m), a.dtype), uniform(b.reshape(pairs, n), a.dtype), out)
    share(_outer, args, pairs, size * _COST[a.dtype.itemsize])
    return out.reshape(*stack, m, n)

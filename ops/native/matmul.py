"""The rule of `matmul`: as kernels, with what follows it, or left to BLAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.native.machine import Machine, available, machine
from tensorgraph.native.places import Call, Place, Rule, Successor
from tensorgraph.ops.native.product import product_call
from tensorgraph.ops.native.product_updates import update_call
from tensorgraph.ops.native.updates import Update

__all__ = ["by_blas", "native_matmul"]

# m n k from which np.matmul is more than 10% faster, by bytes of a vector and of a number; measured on one thread of a
# Xeon with AVX-512 and, held to AVX2, of the same, beside OpenBLAS
TO_BLAS = {(64, 4): 8e8, (64, 8): 2e8, (32, 4): 8e8, (32, 8): 2e8}


def by_blas(m: int, n: int, k: int, dtype: Any, machine: Machine) -> bool:
    """Whether a product of this size is better made by BLAS; a matter of shapes and of the processor alone.

    >>> from tensorgraph.native.machine import Machine
    >>> from tensorgraph.ops.native.matmul import by_blas
    >>> wide = Machine("", "", 64, 32)
    >>> by_blas(256, 256, 256, "float32", wide), by_blas(2000, 2000, 2000, "float32", wide)
    (False, True)
    """
    return m * n * k >= TO_BLAS[machine.width, np.dtype(dtype).itemsize]


def product_of_two(call: Call) -> bool:
    """`matmul`: products of matrices and of vectors, batched over leading axes."""
    a, b = call.inputs
    (out,) = call.outputs
    return out is None or product_call(call, a, b, out)


def with_endings(call: Call, endings: Sequence[Successor]) -> bool:
    """A product to which a row is added, which is cut at 0, or both; or the gradient with which an optimiser steps."""
    from tensorgraph.ops.arithmetic import add
    from tensorgraph.ops.exponential import relu

    last = endings[-1].op.native_rule()
    if isinstance(last, Update):
        return len(endings) == 1 and update_call(call, last, endings[0])
    if len(call.outputs) > 1:
        return False
    bias, activation, rest = None, None, list(endings)
    if rest[0].op is add:
        (bias,) = (one for one in rest.pop(0).operands if one is not None)
        if not isinstance(bias, Place) or bias.shape != call.outputs[0].shape[-1:]:  # type: ignore[union-attr]
            return False
    if rest and rest[0].op is relu:
        rest.pop(0)
        activation = "relu"
    a, b = call.inputs[:2]
    out = call.outputs[0]
    if rest or out is None or min(a.ndim, b.ndim) < 2 or not (a.shape[-1] and out.size):
        return False
    return product_call(call, a, b, out, bias, activation)


def left_to_blas(call: Call) -> str:
    """Why a product is better left to NumPy; empty where it is not."""
    a, b = call.inputs[:2]
    out = call.outputs[0]
    if out is None or not out.size or not isinstance(a, Place) or not available():
        return ""
    k = a.shape[-1]
    n = b.shape[-1] if b.ndim > 1 else 1
    m = a.shape[-2] if a.ndim > 1 else 1  # NumPy calls BLAS for each matrix of a batch
    faster = (machine().width, out.dtype.itemsize) in TO_BLAS and by_blas(m, n, k, out.dtype, machine())
    return f"BLAS is faster for {m} x {k} by {k} x {n}; exact=True keeps to the own kernel" if faster else ""


native_matmul = Rule(product_of_two, with_endings, left_to_blas)

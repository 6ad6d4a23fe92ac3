"""Rules for tests of plans: exact elementwise kernels, written as simply as can be."""

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import ldm, load, stm, store, word_at

LANES = SIZE = OPERATION = 0  # constants of kernels


def pairs(w: Any, block: Any, blocks: Any) -> None:
    a, b, out = word_at(w, 0), word_at(w, 1), word_at(w, 2)
    rows, columns, row, column = word_at(w, 3), word_at(w, 4), word_at(w, 5), word_at(w, 6)
    for i in range(rows):
        for j in range(columns):
            left, right = load(a), load(b + i * row + j * column)
            if OPERATION == 0:
                store(out, left + right)
            if OPERATION == 1:
                store(out, left - right)
            if OPERATION == 2:
                store(out, left * right)
            a += SIZE
            out += SIZE


def pair_rule(operation: int) -> Any:
    """The rule of an operation on two arrays in C order."""

    def rule(call: Call) -> bool:
        a, b = call.inputs
        (out,) = call.outputs
        if not (isinstance(a, Place) and isinstance(b, Place)):
            return False
        alike = {(p.shape, p.dtype) for p in (a, b, out)}
        if len(alike) > 1 or out.dtype not in (np.float32, np.float64) or not a.is_contiguous:
            return False
        rows, columns = (1, 1, *out.shape)[-2:] if out.ndim <= 2 else (1, out.size)
        strides = (0, 0, *b.strides)[-2:] if out.ndim <= 2 else (0, b.dtype.itemsize)
        if out.ndim > 2 and not b.is_contiguous:
            return False
        if out.size > 4:
            words = [a.address(), b.address(), out.address(), rows, columns, *strides]
            call.run(kernel(pairs, out.dtype, OPERATION=operation), words)
            call.may_replace(0, 0)
            if b.is_contiguous:
                call.may_replace(0, 1)
            return True
        through = call.scratch(out.shape, out.dtype)  # for its own sake
        words = [a.address(), b.address(), through.address(), rows, columns, *strides]
        call.run(kernel(pairs, out.dtype, OPERATION=operation), words)
        zero = kernel(moved, out.dtype)
        call.run(zero, [through.address(), out.address(), out.size])
        call.may_replace(0, 0)
        call.may_replace(0, 1)
        return True

    return rule


def moved(w: Any, block: Any, blocks: Any) -> None:
    x, out, n = word_at(w, 0), word_at(w, 1), word_at(w, 2)
    for i in range(0, n, LANES):
        stm(out + i * SIZE, ldm(x + i * SIZE, n - i, 0.0), n - i)


RULES = {"add": pair_rule(0), "subtract": pair_rule(1), "multiply": pair_rule(2)}


def exact_rule(eq: Any) -> Any:
    """Rules that keep every bit."""
    return RULES.get(eq.op.name)

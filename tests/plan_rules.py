"""Rules for tests of plans: exact elementwise kernels, written as simply as can be."""

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import ldm, stm, word_at

LANES = SIZE = OPERATION = 0  # constants of kernels


def pairs(w: Any, block: Any, blocks: Any) -> None:
    a, b, out, n = word_at(w, 0), word_at(w, 1), word_at(w, 2), word_at(w, 3)
    for i in range(0, n, LANES):
        left, right = ldm(a + i * SIZE, n - i, 0.0), ldm(b + i * SIZE, n - i, 0.0)
        made = left + right
        if OPERATION == 1:
            made = left - right
        if OPERATION == 2:
            made = left * right
        stm(out + i * SIZE, made, n - i)


def pair_rule(operation: int) -> Any:
    """The rule of an operation on two arrays in C order."""

    def rule(call: Call) -> bool:
        a, b = call.inputs
        (out,) = call.outputs
        if not (isinstance(a, Place) and isinstance(b, Place)):
            return False
        alike = {(p.shape, p.dtype) for p in (a, b, out)}
        if len(alike) > 1 or out.dtype not in (np.float32, np.float64):
            return False
        if not (a.is_contiguous and b.is_contiguous):
            return False
        through = call.scratch(out.shape, out.dtype)  # for its own sake
        words = [a.address(), b.address(), through.address(), out.size]
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

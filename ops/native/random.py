"""Kernels of random draws: the numbers of NumPy's Philox generator, to the last bit."""

# The plan: (1) a draw's counter begins at (1, 0, number of the draw, 0) and its first word counts blocks of four 64-bit
# integers, each of ten rounds of two products, so that blocks of numbers are independent; (2) of an integer come one
# float64 of 53 bits, or two float32 of 24, low half first; (3) the last, incomplete block is written number by number.

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Call
from tensorgraph.native.words import (
    load_int,
    product_high,
    real,
    store,
    store_int,
    word_at,
    wrapped,
)  # fmt: skip
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE

__all__ = ["native_uniform", "philox", "unit"]

SIZE = 0  # a constant of every kernel

# Salmon et al. 2011, as integers with a sign
FACTOR_0, FACTOR_1 = 0xD2E7470EE14C6C93 - (1 << 64), 0xCA5A826395121157 - (1 << 64)
STEP_0, STEP_1 = 0x9E3779B97F4A7C15 - (1 << 64), 0xBB67AE8584CAA73B - (1 << 64)
ROUNDS = 10
LARGE = 1 << 14  # numbers from which threads share a draw


def philox(count: Any, number: Any, key_0: Any, key_1: Any) -> Any:
    """Four integers of 64 bits."""
    c = [count, 0, number, 0]
    a, b = key_0, key_1
    for _ in static(ROUNDS):
        c = [
            product_high(FACTOR_1, c[2]) ^ c[1] ^ a,
            wrapped(FACTOR_1 * c[2]),
            product_high(FACTOR_0, c[0]) ^ c[3] ^ b,
            wrapped(FACTOR_0 * c[0]),
        ]
        a, b = wrapped(a + STEP_0), wrapped(b + STEP_1)
    return c


def unit(integer: Any, half: int, double: bool) -> Any:
    """A number in [0, 1) of an integer's bits, 53 of them, or 24 of one of its halves."""
    if double:
        return real((integer >> 11) & 0x1FFFFFFFFFFFFF) * 1.1102230246251565e-16
    return real((integer >> (8 + 32 * half)) & 0xFFFFFF) * 5.9604644775390625e-08


def uniform(w: Any, block: Any, blocks: Any) -> None:
    """Numbers in [0, 1), and the state after them."""
    state, n, out, after = [word_at(w, k) for k in static(4)]
    key_0, key_1, number = load_int(state), load_int(state + 8), load_int(state + 16)
    each = 32 // SIZE
    groups = (n + each - 1) // each
    for g in range(groups * block // blocks, groups * (block + 1) // blocks):
        c = philox(g + 1, number, key_0, key_1)
        place = out + g * 32
        if n - g * each >= each:
            for k in static(32 // SIZE):
                store(place + k * SIZE, unit(c[k * SIZE // 8], k % 2, SIZE == 8))
        else:
            for k in static(32 // SIZE):
                if g * each + k < n:
                    store(place + k * SIZE, unit(c[k * SIZE // 8], k % 2, SIZE == 8))
    if block == 0:
        store_int(after, key_0)
        store_int(after + 8, key_1)
        store_int(after + 16, wrapped(number + 1))


def native_uniform(call: Call) -> bool:
    """Numbers of one state."""
    (state,), (out, after) = call.inputs, call.outputs
    if state.shape != (3,) or state.strides != (8,) or out is None or out.dtype not in SINGLE_OR_DOUBLE:
        return False
    if after is None:
        after = call.scratch((3,), np.uint64, "a random state")
    words = [state.address(), out.size, out.address(), after.address()]
    call.run(kernel(uniform, out.dtype), words, 4 if out.size >= LARGE else 1)
    return True

"""Kernels of random draws: the numbers of NumPy's Philox generator, to the last bit."""

# The plan for uniform ones: (1) a draw's counter begins at (1, 0, number of the draw, 0) and its first word counts
# blocks of four 64-bit integers, each of ten rounds of two products, so that blocks of numbers are independent; (2) of
# an integer come one float64 of 53 bits, or two float32 of 24, low half first; (3) the last, incomplete block is
# written number by number. Normal ones take as many bits as they happen to need, one after the other: (1) some hundred
# words are made as above; (2) of a word, or half of one, come the numbers of a layer and of a step, and the step times
# the layer's width is the number where it is inside, as 99 of 100 are; (3) else NumPy's own routine, put to this place
# in the stream, draws it and says how far it went. Its tables are asked of itself (`generator.py`). Other draws are
# that routine from the beginning.

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Call, Place
from tensorgraph.native.words import (
    called,
    load,
    load_int,
    product_high,
    real,
    select,
    store,
    store_int,
    word_at,
    wrapped,
)  # fmt: skip
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.generator import at_word, generator_words, layers, parts_drawn, set_up

__all__ = ["native_exponential", "native_integers", "native_normal", "native_uniform", "philox", "unit"]

SIZE = 0  # a constant of every kernel
STEPS, INTEGERS = 0, False  # of `normal` and of `drawn`

# Salmon et al. 2011, as integers with a sign
FACTOR_0, FACTOR_1 = 0xD2E7470EE14C6C93 - (1 << 64), 0xCA5A826395121157 - (1 << 64)
STEP_0, STEP_1 = 0x9E3779B97F4A7C15 - (1 << 64), 0xBB67AE8584CAA73B - (1 << 64)
ROUNDS = 10
LARGE = 1 << 14  # numbers from which threads share a draw
GROUPS = 64  # of four words that are made at once for what is drawn one after the other
INTEGERS_DRAWN = tuple(map(np.dtype, ("int64", "uint64", "int32", "uint32")))


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
    """Numbers in [0, 1) of each state, and the states after them."""
    states, n, out, after, count, step = [word_at(w, k) for k in static(6)]
    each = 32 // SIZE
    groups = (n + each - 1) // each
    for k in range(count * groups * block // blocks, count * groups * (block + 1) // blocks):
        s, g = k // groups, k % groups
        state = states + 24 * s
        c = philox(g + 1, load_int(state + 16), load_int(state), load_int(state + 8))
        place = out + s * step + g * 32
        if n - g * each >= each:
            for i in static(32 // SIZE):
                store(place + i * SIZE, unit(c[i * SIZE // 8], i % 2, SIZE == 8))
        else:
            for i in static(32 // SIZE):
                if g * each + i < n:
                    store(place + i * SIZE, unit(c[i * SIZE // 8], i % 2, SIZE == 8))
    if block == 0:
        for s in range(count):
            state = states + 24 * s
            leave_state(after + 24 * s, load_int(state), load_int(state + 8), load_int(state + 16))


def leave_state(after: Any, key_0: Any, key_1: Any, number: Any) -> None:
    """Write the state after a draw."""
    store_int(after, key_0)
    store_int(after + 8, key_1)
    store_int(after + 16, wrapped(number + 1))


def normal(w: Any, block: Any, blocks: Any) -> None:
    """Normal numbers of each state, and the states after them."""
    states, n, first, after, count, step, words, table, fill, generator = [word_at(w, k) for k in static(10)]
    parts = 8 // SIZE  # of a word, each of which may make a number
    each = 4 * parts
    for s in range(count):
        state, out = states + 24 * s, first + s * step
        key_0, key_1, number = load_int(state), load_int(state + 8), load_int(state + 16)
        set_up(w, 9, key_0, key_1, number)
        i, at = 0, 0
        while i < n:
            group = at // each
            groups = min((n - i + each - 1) // each + 1, GROUPS)
            for g in range(groups):
                c = philox(group + g + 1, number, key_0, key_1)
                for k in static(4):
                    store_int(words + g * 32 + k * 8, c[k])
            begin, end = group * each, (group + groups) * each
            while i < n and at < end:
                r = load_int(words + (at - begin) // parts * 8)
                if SIZE == 4:
                    r = (r >> ((at & 1) << 5)) & 0xFFFFFFFF
                steps = (r >> 9) & STEPS
                layer = table + (r & 0xFF) * 16
                x = real(steps) * load(layer)
                store(out + i * SIZE, select(r & 256 == 256, -x, x))
                if steps < load_int(layer + 8):
                    at += 1
                else:
                    own = at // each
                    at_word(generator, own, at - own * each, words + (own - group) * 32, parts)
                    called(fill, generator, 1, out + i * SIZE)
                    at = parts_drawn(generator, parts)
                i += 1
        leave_state(after + 24 * s, key_0, key_1, number)


def drawn(w: Any, block: Any, blocks: Any) -> None:
    """What a routine of NumPy's draws of each state, and the states after it."""
    states, n, first, after, count, step, fill, generator = [word_at(w, k) for k in static(8)]
    for s in range(count):
        state, out = states + 24 * s, first + s * step
        key_0, key_1, number = load_int(state), load_int(state + 8), load_int(state + 16)
        set_up(w, 7, key_0, key_1, number)
        if INTEGERS:
            called(fill, generator, word_at(w, 11), word_at(w, 12), n, 0, out)
        else:
            called(fill, generator, n, out)
        leave_state(after + 24 * s, key_0, key_1, number)


def _places(call: Call, dtypes: Collection[Any]) -> tuple[Place, list[Any]] | None:
    """The numbers of a draw, and its words: of the states, how many numbers each draws, these, the states after them,
    how many states, and how many bytes of numbers each has. None where nobody wants the numbers, or there is no kernel
    for them."""
    state, (out, after) = call.inputs[0], call.outputs
    if not state.is_contiguous or out is None or out.dtype not in dtypes:
        return None
    if after is None:
        after = call.scratch(state.shape, np.uint64, "random states")
    count = state.size // 3
    n = out.size // max(count, 1)
    return out, [state.address(), n, out.address(), after.address(), count, n * out.dtype.itemsize]


def native_uniform(call: Call) -> bool:
    """Numbers in [0, 1)."""
    places = _places(call, SINGLE_OR_DOUBLE)
    if places is None:
        return False
    out, words = places
    call.run(kernel(uniform, out.dtype), words, 4 if out.size >= LARGE else 1)
    return True


def native_normal(call: Call) -> bool:
    """Normal numbers."""
    places = _places(call, SINGLE_OR_DOUBLE)
    if places is None:
        return False
    out, words = places
    double = out.dtype == np.float64
    table, own = layers(double), generator_words(call, f"random_standard_normal_fill{_suffix(out)}")
    if not table or own is None:
        return False
    words += [call.scratch((4 * GROUPS,), np.int64, "random words").address(), table]
    call.run(kernel(normal, out.dtype, STEPS=(1 << (52 if double else 23)) - 1), words + own)
    return True


def _suffix(out: Place) -> str:
    """How the names of NumPy's routines for these numbers end."""
    return "" if out.dtype == np.float64 else "_f"


def native_exponential(call: Call) -> bool:
    """Exponential numbers."""
    places = _places(call, SINGLE_OR_DOUBLE)
    return places is not None and _drawn(call, *places, f"random_standard_exponential_fill{_suffix(places[0])}")


def native_integers(call: Call) -> bool:
    """Integers below a limit."""
    places = _places(call, INTEGERS_DRAWN)
    low, high = call.attrs["low"], call.attrs["high"]
    limits = [(n + (1 << 63)) % (1 << 64) - (1 << 63) for n in (low, high - 1 - low)]
    return places is not None and _drawn(
        call, *places, f"random_bounded_uint{8 * places[0].dtype.itemsize}_fill", limits
    )


def _drawn(call: Call, out: Place, words: list[Any], name: str, limits: Sequence[int] = ()) -> bool:
    """What a routine of NumPy's draws; of integers between limits."""
    own = generator_words(call, name)
    if own is None:
        return False
    dtype = "float64" if limits else out.dtype  # kernels have vectors of no integers, and this one has no vectors
    call.run(kernel(drawn, dtype, INTEGERS=bool(limits)), [*words, *own, *limits])
    return True

"""NumPy's generator in C, as kernels call it: its routines, and how its state lies in memory.

A routine draws from a `bitgen_t`, the address of a state and of four functions that take the next bits of it. A kernel
lays both out in memory of its own, and puts the state to where in its stream a draw stands.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from tensorgraph.native.emulation import lend_to_all
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call
from tensorgraph.native.words import load_int, store_int, word_at

__all__ = ["at_word", "generator_words", "layers", "parts_drawn", "routine", "set_up"]

# places of a kernel's generator, in bytes: bitgen_t, philox_state, its counter and its key
STATE, NEXT = 0, 8
COUNTER, KEY, POSITION, BUFFER, HALF = 40, 48, 56, 64, 96
COUNT, KEYS, WHOLE = 104, 136, 152
FUNCTIONS = 3  # of 64 bits, of 32, a float64; the raw one is the first


def routine(name: str) -> int:
    """The address of one of NumPy's routines; 0 where it does not show it."""
    from numpy.random import _generator

    try:
        found = getattr(ctypes.CDLL(_generator.__file__), name)
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(found, ctypes.c_void_p).value or 0


@functools.cache
def _functions() -> tuple[int, ...]:
    """The addresses of Philox's functions, which stay with the module."""
    own = np.random.Philox(0).ctypes
    found = (own.next_uint64, own.next_uint32, own.next_double)
    return tuple(ctypes.cast(one, ctypes.c_void_p).value or 0 for one in found)


def generator_words(call: Call, name: str) -> list[int | Address] | None:
    """The words of a call of a routine: its address, memory for a generator, its functions. None: see `is_known`."""
    if not is_known():
        return None
    return [routine(name), call.scratch((WHOLE,), np.uint8, "a generator").address(), *_functions()]


def set_up(w: Any, first: int, key_0: Any, key_1: Any, number: Any) -> None:
    """Lay a generator out, before its first number; words from `first` on are those of `generator_words` after the
    routine."""
    g = word_at(w, first)
    store_int(g + STATE, g + COUNTER)
    for k in static(FUNCTIONS):
        store_int(g + NEXT + 8 * k, word_at(w, first + 1 + k))
    store_int(g + NEXT + 8 * FUNCTIONS, word_at(w, first + 1))
    store_int(g + COUNTER, g + COUNT)
    store_int(g + KEY, g + KEYS)
    store_int(g + POSITION, 4)
    store_int(g + HALF, 0)
    for k in static(4):
        store_int(g + COUNT + 8 * k, 0)
    store_int(g + COUNT + 16, number)
    store_int(g + KEYS, key_0)
    store_int(g + KEYS + 8, key_1)


def at_word(g: Any, group: Any, at: Any, words: Any, parts: int) -> None:
    """Put a generator to a place in its stream: `at` counts words, or halves of them where these are two `parts`, from
    the first of the group on, whose four words lie at an address."""
    for k in static(4):
        store_int(g + BUFFER + 8 * k, load_int(words + 8 * k))
    store_int(g + COUNT, group + 1)
    store_int(g + POSITION, (at + parts - 1) // parts)
    if parts == 2:
        half = load_int(words + at // 2 * 8) >> 32
        store_int(g + HALF, (half << 32) + 1 if at % 2 == 1 else 0)


def parts_drawn(g: Any, parts: int) -> Any:
    """Where in its stream a generator is: as many words, or halves, have been taken."""
    taken = ((load_int(g + COUNT) - 1) * 4 + (load_int(g + POSITION) & 7)) * parts
    return taken - (load_int(g + HALF) & 1) if parts == 2 else taken


@functools.cache
def is_known() -> bool:
    """Whether NumPy shows its routines, and a state that is laid out here draws what its generator draws."""
    fill = routine("random_standard_uniform_fill")
    if not fill or not all(_functions()):
        return False
    out, own = np.zeros(7), np.zeros(WHOLE // 8, np.int64)
    begin = own.ctypes.data
    own[:5] = begin + COUNTER, *_functions(), _functions()[0]
    own[COUNTER // 8 : COUNTER // 8 + 3] = begin + COUNT, begin + KEYS, 2
    own[BUFFER // 8 : BUFFER // 8 + 4] = np.random.Philox(key=5).random_raw(4).view(np.int64)
    own[COUNT // 8], own[KEYS // 8] = 1, 5
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(fill)(begin, out.size, out.ctypes.data)
    return bool((out == np.random.Generator(np.random.Philox(key=5)).random(9)[2:]).all())


@functools.cache
def layers(double: bool) -> int:
    """The layers of the area under the normal density from which NumPy draws, asked of its routine.

    Returns
    -------
    int
        An address; 0 where the routine is not known. 256 pairs of 64 bits: how wide a step is, as a number of the
        type, and from which step on a number may be outside. Of bits with the numbers of a layer and of a step the
        routine gives the step times the width, and takes no further bits where the step is inside.
    """
    name = "random_standard_normal_fill" + ("" if double else "_f")
    fill = routine(name)
    if not fill or not is_known():
        return 0
    trial = _Trial(fill, double)
    table = np.zeros((256, 2), np.int64)
    kind, steps = (np.float64, 1 << 52) if double else (np.float32, 1 << 23)
    widths = np.array([trial(layer, 1)[0] for layer in range(256)], kind)
    table.view(kind)[:, 0] = widths
    last, edge = widths[255] * float(steps), widths[0] * float(steps)
    for layer in range(256):
        inner = last / edge if layer == 0 else float(widths[layer - 1]) / float(widths[layer])
        table[layer, 1] = trial.limit(layer, 0 if layer == 1 else int(inner * steps), steps)
    return lend_to_all(table)


class _Trial:
    """NumPy's routine on bits of ours."""

    def __init__(self, fill: int, double: bool) -> None:
        self.out = np.zeros(1, np.float64 if double else np.float32)
        self.bits: list[int] = []
        self.taken = 0
        self.next = [
            ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(self._bits),
            ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)(self._bits),
            ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p)(self._unit),
        ]
        found = [ctypes.cast(one, ctypes.c_void_p).value for one in (*self.next, self.next[0])]
        self.generator = np.array([0, *found], np.int64)
        self.fill = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(fill)

    def _bits(self, state: Any) -> int:
        self.taken += 1
        return self.bits[min(self.taken, len(self.bits)) - 1]

    def _unit(self, state: Any) -> float:
        self.taken += 1
        return 0.5 * (self.taken % 2)  # the tail wants two that differ

    def __call__(self, layer: int, step: int) -> tuple[Any, int]:
        """The number of a step of a layer, and how many bits were taken for it."""
        self.bits, self.taken = [layer | step << 9, 0, 1 << 31], 0
        self.fill(self.generator.ctypes.data, 1, self.out.ctypes.data)
        return self.out[0], self.taken

    def limit(self, layer: int, guess: int, steps: int) -> int:
        """The first step of a layer that may be outside."""
        low, high = max(guess - 2, 0), min(guess + 2, steps)
        if low and self(layer, low - 1)[1] > 1:
            low = 0
        if high < steps and self(layer, high)[1] == 1:
            high = steps
        while low < high:
            middle = (low + high) // 2
            if self(layer, middle)[1] == 1:
                low = middle + 1
            else:
                high = middle
        return low

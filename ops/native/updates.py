"""Steps of optimisers as kernels: each number of a parameter with its averages, once through memory.

Settings and counts are read where they lie when the kernel runs. The arithmetic is that of `ops.kernels.optimizer`, in
the parameter's type, on settings that float64 has made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import double, fma, ldm, load_int, real, select, sqrt, stm, store_int, word_at
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, each_of, output, setting, setting_words, span_of
from tensorgraph.ops.native.moving import copy_of

__all__ = ["adam", "momentum", "rmsprop", "sgd"]

LANES = SIZE = INLINE = 0  # constants of kernels
DECOUPLED = NESTEROV = False

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 100_000, 50_000
MOST = 256  # networks side by side


# texts ---------------------------------------------------------------------------------------------------------------


def sgd_part(at: Any, k: Any, n: Any, rate: Any, decay: Any) -> None:
    p = ldm(at[0] + k, n, 0.0)
    stm(at[2] + k, p - rate * fma(decay, p, ldm(at[1] + k, n, 0.0)), n)


def sgd_step(w: Any, block: Any, blocks: Any) -> None:
    at = [word_at(w, j) for j in static(3)]
    rate, decay = real(setting(w, 4, INLINE & 1)), real(setting(w, 5, INLINE & 2))
    lo, hi = span_of(word_at(w, 3), block, blocks)
    i = lo
    while i + LANES <= hi:
        sgd_part(at, i * SIZE, LANES, rate, decay)
        i += LANES
    if i < hi:
        sgd_part(at, i * SIZE, hi - i, rate, decay)


def momentum_part(at: Any, k: Any, n: Any, rate: Any, keep: Any, take: Any, decay: Any) -> None:
    p = ldm(at[0] + k, n, 0.0)
    d = fma(decay, p, ldm(at[1] + k, n, 0.0))
    v = fma(keep, ldm(at[2] + k, n, 0.0), take * d)
    along = fma(keep, v, take * d) if NESTEROV else v
    stm(at[4] + k, v, n)
    stm(at[3] + k, p - rate * along, n)


def momentum_step(w: Any, block: Any, blocks: Any) -> None:
    at = [word_at(w, j) for j in static(5)]
    beta = setting(w, 7, INLINE & 2)
    rate, keep, take = real(setting(w, 6, INLINE & 1)), real(beta), real(1.0 - beta)
    decay = real(setting(w, 8, INLINE & 4))
    lo, hi = span_of(word_at(w, 5), block, blocks)
    i = lo
    while i + LANES <= hi:
        momentum_part(at, i * SIZE, LANES, rate, keep, take, decay)
        i += LANES
    if i < hi:
        momentum_part(at, i * SIZE, hi - i, rate, keep, take, decay)


def rmsprop_part(at: Any, k: Any, n: Any, rate: Any, keep: Any, take: Any, tiny: Any, decay: Any) -> None:
    p = ldm(at[0] + k, n, 0.0)
    d = fma(decay, p, ldm(at[1] + k, n, 0.0))
    s = fma(keep, ldm(at[2] + k, n, 0.0), take * d * d)
    stm(at[4] + k, s, n)
    stm(at[3] + k, p - rate * d / (sqrt(s) + tiny), n)


def rmsprop_step(w: Any, block: Any, blocks: Any) -> None:
    at = [word_at(w, j) for j in static(5)]
    rho = setting(w, 7, INLINE & 2)
    rate, keep, take = real(setting(w, 6, INLINE & 1)), real(rho), real(1.0 - rho)
    tiny, decay = real(setting(w, 8, INLINE & 4)), real(setting(w, 9, INLINE & 8))
    lo, hi = span_of(word_at(w, 5), block, blocks)
    i = lo
    while i + LANES <= hi:
        rmsprop_part(at, i * SIZE, LANES, rate, keep, take, tiny, decay)
        i += LANES
    if i < hi:
        rmsprop_part(at, i * SIZE, hi - i, rate, keep, take, tiny, decay)


def powers(a: Any, b: Any, n: Any) -> Any:
    """float64 a and b to the power of an integer that is not negative, to about a unit in the last place."""
    # by repeated squaring, each number in two parts: with one alone every squaring would double its error
    x, x_rest, y, y_rest = a, double(0.0), b, double(0.0)
    u, u_rest, v, v_rest = double(1.0), double(0.0), double(1.0), double(0.0)
    while n > 0:
        odd = (n & 1) == 1
        p, q = u * x, v * y
        u_rest = select(odd, fma(u, x_rest, fma(u_rest, x, fma(u, x, -p))), u_rest)
        v_rest = select(odd, fma(v, y_rest, fma(v_rest, y, fma(v, y, -q))), v_rest)
        u, v = select(odd, p, u), select(odd, q, v)
        xx, yy = x * x, y * y
        x_rest = fma(x + x, x_rest, fma(x, x, -xx))
        y_rest = fma(y + y, y_rest, fma(y, y, -yy))
        x, y = xx, yy
        n = n >> 1
    return u + u_rest, v + v_rest


def adam_part(at: Any, k: Any, n: Any, numbers: Any) -> None:
    step, root, tiny, decay, keep1, take1, keep2, take2 = numbers
    p, g = ldm(at[0] + k, n, 0.0), ldm(at[1] + k, n, 0.0)
    # the coupled decay of the eager kernel is 0 where it is decoupled: 0 times an infinite parameter is NaN
    d = fma(0.0 if DECOUPLED else decay, p, g)
    m = fma(keep1, ldm(at[2] + k, n, 0.0), take1 * d)
    v = fma(keep2, ldm(at[3] + k, n, 0.0), take2 * d * d)
    stm(at[5] + k, m, n)
    stm(at[6] + k, v, n)
    # decoupled decay is a step of its own
    old = p * decay if DECOUPLED else p
    stm(at[4] + k, old - step * m / fma(sqrt(v), root, tiny), n)


def adam_step(w: Any, block: Any, blocks: Any) -> None:
    at = [word_at(w, j) for j in static(7)]
    rate, beta1, beta2 = setting(w, 9, INLINE & 1), setting(w, 10, INLINE & 2), setting(w, 11, INLINE & 4)
    tiny, decay = setting(w, 12, INLINE & 8), setting(w, 13, INLINE & 16)
    t = load_int(word_at(w, 8)) + 1
    power1, power2 = powers(beta1, beta2, t)
    step, root = rate / (1.0 - power1), 1.0 / sqrt(1.0 - power2)
    shrink = 1.0 - rate * decay if DECOUPLED else decay
    given = [step, root, tiny, shrink, beta1, 1.0 - beta1, beta2, 1.0 - beta2]
    numbers = [real(given[j]) for j in static(8)]
    lo, hi = span_of(word_at(w, 7), block, blocks)
    i = lo
    while i + LANES <= hi:
        adam_part(at, i * SIZE, LANES, numbers)
        i += LANES
    if i < hi:
        adam_part(at, i * SIZE, hi - i, numbers)
    if blocks == 1:  # of several another may yet have to read the count
        store_int(word_at(w, 14), t)


def count_step(w: Any, block: Any, blocks: Any) -> None:
    """A count, one more."""
    store_int(word_at(w, 1), load_int(word_at(w, 0)) + 1)


def adam_check(w: Any, block: Any, blocks: Any) -> None:
    """Whether the bias corrections are positive."""
    beta1, beta2, t = setting(w, 1, INLINE & 2), setting(w, 2, INLINE & 4), load_int(word_at(w, 0))
    good = (beta1 < 1.0) & (beta2 < 1.0) & (beta1 > -1.0) & (beta2 > -1.0) & (t >= 0)
    store_int(word_at(w, 3), select(good, 0, 1))


# rules ---------------------------------------------------------------------------------------------------------------


def _blocks(n: int) -> int:
    return 1 if n < SEVERAL else min(16, n // BLOCK)


def _fit(given: Sequence[Any]) -> bool:
    """Whether arrays are float32 or float64, of one type."""
    return all(isinstance(a, Place) and a.dtype == given[0].dtype and a.dtype in SINGLE_OR_DOUBLE for a in given)


def _lead(settings: Sequence[Any]) -> tuple[int, ...] | None:
    """The shape of settings and counts of networks side by side, () of one; None where they differ in it."""
    shapes = {a.shape for a in settings if isinstance(a, Place)} - {()}
    in_order = all(a.is_contiguous for a in settings if isinstance(a, Place))
    return shapes.pop() if len(shapes) == 1 and in_order else None if shapes else ()


def _update(call: Call, text: Any, arrays: int, counts: Sequence[Place] = (), **constants: bool) -> bool:
    """The step of a parameter with its gradient and averages, which are the first so many inputs; of networks side by
    side, each of which has settings of its own, one after the other.

    The words: addresses of these; of what they become; how many numbers; the old count, the settings, the new count.
    """
    given, settings = list(call.inputs[:arrays]), call.inputs[arrays + len(counts[:1]) :]
    lead = _lead([*counts, *settings])
    if not _fit(given) or lead is None or given[0].shape[: len(lead)] != lead or not 0 < math.prod(lead) <= MOST:
        return False
    if setting_words(next(each_of(lead, *settings))) is None:
        return False
    p, in_place = given[0], [a.is_contiguous for a in given]
    given = [a if ordered else copy_of(call, a) for a, ordered in zip(given, in_place, strict=True)]
    made = [output(call, k, p) for k in range(arrays - 1)]
    whole = [*given, *made]
    for one in each_of(lead, *whole, *counts, *settings):
        own, times, numbers = one[: len(whole)], one[len(whole) : -len(settings)], one[-len(settings) :]
        found, inline = setting_words(numbers) or ([], 0)
        words: list[int | Address] = [a.address() for a in own]
        words += [own[0].size, *(t.address() for t in times[:1]), *found, *(t.address() for t in times[1:])]
        call.run(kernel(text, p.dtype, INLINE=inline, **constants), words, _blocks(own[0].size))
    for k in range(arrays - 1):
        i = k if k == 0 else k + 1
        if in_place[i]:
            call.may_replace(k, i)
    return True


def sgd(call: Call) -> bool:
    """`sgd_update`."""
    return _update(call, sgd_step, 2)


def momentum(call: Call) -> bool:
    """`momentum_update`."""
    return _update(call, momentum_step, 3, NESTEROV=bool(call.attrs["nesterov"]))


def rmsprop(call: Call) -> bool:
    """`rmsprop_update`."""
    return _update(call, rmsprop_step, 3)


def adam(call: Call) -> bool:
    """`adam_update`, with a step count that is checked before and written after."""
    t = call.inputs[4]
    if not isinstance(t, Place) or t.dtype != np.int64:
        return False
    made = output(call, 3, t)
    if not _update(call, adam_step, 4, (t, made), DECOUPLED=bool(call.attrs["decoupled"])):
        return False
    error = "Adam's bias corrections must be positive: the count t is not negative, and beta1 and beta2 are below 1"
    several = _blocks(call.inputs[0].size // max(1, math.prod(t.shape))) > 1
    for old, new, *rates in each_of(t.shape, t, made, *call.inputs[5:8]):
        words, inline = setting_words(rates) or ([], 0)
        call.check(kernel(adam_check, np.float64, INLINE=inline), [old.address(), *words[1:]], error)
        if several:
            call.run(kernel(count_step, np.float64), [old.address(), new.address()])
    call.may_replace(3, 4)
    return True

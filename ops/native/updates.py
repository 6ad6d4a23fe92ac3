"""Steps of optimisers as kernels: each number of a parameter with its averages, once through memory.

Settings and counts are read where they lie when the kernel runs. The arithmetic is that of `ops.kernels.optimizer`, in
the parameter's type, on settings that float64 has made.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.native.kernel import Kernel, kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.native.words import double, fma, ldm, load_int, real, select, sqrt, stm, store_int, word_at
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, each_of, output, setting, setting_words, span_of
from tensorgraph.ops.native.moving import copy_of

__all__ = [
    "ADAM", "MOMENTUM", "RMSPROP", "SGD", "Update", "adam", "momentum", "numbers_of", "rmsprop", "sgd", "update_range",
]  # fmt: skip

LANES = SIZE = INLINE = UPDATE = ARRAYS = 0  # constants of kernels
DECOUPLED = NESTEROV = False
SGD, MOMENTUM, RMSPROP, ADAM = 0, 1, 2, 3

# numbers from which a record has several blocks, and how many of them a block has at least
SEVERAL, BLOCK = 50_000, 25_000
MOST = 256  # networks side by side


# texts ---------------------------------------------------------------------------------------------------------------

# A step's words: addresses of the parameter, the gradient, the averages, and of what the parameter and the averages
# become, ARRAYS in all; how many numbers; Adam's old count; the settings; Adam's new count.


def sgd_numbers(w: Any) -> Any:
    return [real(setting(w, 4, INLINE & 1)), real(setting(w, 5, INLINE & 2))]


def sgd_part(at: Any, k: Any, n: Any, numbers: Any) -> None:
    rate, decay = numbers
    p = ldm(at[0] + k, n, 0.0)
    stm(at[2] + k, p - rate * fma(decay, p, ldm(at[1] + k, n, 0.0)), n)


def momentum_numbers(w: Any) -> Any:
    beta = setting(w, 7, INLINE & 2)
    return [real(setting(w, 6, INLINE & 1)), real(beta), real(1.0 - beta), real(setting(w, 8, INLINE & 4))]


def momentum_part(at: Any, k: Any, n: Any, numbers: Any) -> None:
    rate, keep, take, decay = numbers
    p = ldm(at[0] + k, n, 0.0)
    d = fma(decay, p, ldm(at[1] + k, n, 0.0))
    v = fma(keep, ldm(at[2] + k, n, 0.0), take * d)
    along = fma(keep, v, take * d) if NESTEROV else v
    stm(at[4] + k, v, n)
    stm(at[3] + k, p - rate * along, n)


def rmsprop_numbers(w: Any) -> Any:
    rho = setting(w, 7, INLINE & 2)
    tiny, decay = real(setting(w, 8, INLINE & 4)), real(setting(w, 9, INLINE & 8))
    return [real(setting(w, 6, INLINE & 1)), real(rho), real(1.0 - rho), tiny, decay]


def rmsprop_part(at: Any, k: Any, n: Any, numbers: Any) -> None:
    rate, keep, take, tiny, decay = numbers
    p = ldm(at[0] + k, n, 0.0)
    d = fma(decay, p, ldm(at[1] + k, n, 0.0))
    s = fma(keep, ldm(at[2] + k, n, 0.0), take * d * d)
    stm(at[4] + k, s, n)
    stm(at[3] + k, p - rate * d / (sqrt(s) + tiny), n)


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


def adam_numbers(w: Any) -> Any:
    rate, beta1, beta2 = setting(w, 9, INLINE & 1), setting(w, 10, INLINE & 2), setting(w, 11, INLINE & 4)
    tiny, decay = setting(w, 12, INLINE & 8), setting(w, 13, INLINE & 16)
    power1, power2 = powers(beta1, beta2, load_int(word_at(w, 8)) + 1)
    step, root = rate / (1.0 - power1), 1.0 / sqrt(1.0 - power2)
    shrink = 1.0 - rate * decay if DECOUPLED else decay
    given = [step, root, tiny, shrink, beta1, 1.0 - beta1, beta2, 1.0 - beta2]
    return [real(given[j]) for j in static(8)]


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


def numbers_of(w: Any) -> Any:
    """The numbers of a step that all elements share, of the words at `w`."""
    if UPDATE == SGD:
        numbers = sgd_numbers(w)
    elif UPDATE == MOMENTUM:
        numbers = momentum_numbers(w)
    elif UPDATE == RMSPROP:
        numbers = rmsprop_numbers(w)
    else:
        numbers = adam_numbers(w)
    return numbers


def update_part(at: Any, k: Any, n: Any, numbers: Any) -> None:
    """The step of up to LANES elements that lie `k` bytes behind each of the addresses."""
    if UPDATE == SGD:
        sgd_part(at, k, n, numbers)
    elif UPDATE == MOMENTUM:
        momentum_part(at, k, n, numbers)
    elif UPDATE == RMSPROP:
        rmsprop_part(at, k, n, numbers)
    else:
        adam_part(at, k, n, numbers)


def update_range(at: Any, first: Any, count: Any, numbers: Any) -> None:
    """The step of `count` elements, from `first` bytes behind each of the addresses on."""
    i = 0
    while i + LANES <= count:
        update_part(at, first + i * SIZE, LANES, numbers)
        i += LANES
    if i < count:
        update_part(at, first + i * SIZE, count - i, numbers)


def whole_step(w: Any, block: Any, blocks: Any) -> None:
    """The step of one parameter; see above for its words."""
    at = [word_at(w, j) for j in static(ARRAYS)]
    lo, hi = span_of(word_at(w, ARRAYS), block, blocks)
    update_range(at, lo * SIZE, hi - lo, numbers_of(w))
    if UPDATE == ADAM and blocks == 1:  # of several another may yet have to read the count
        store_int(word_at(w, 14), load_int(word_at(w, 8)) + 1)


def sgd_step(w: Any, block: Any, blocks: Any) -> None:
    whole_step(w, block, blocks)


def momentum_step(w: Any, block: Any, blocks: Any) -> None:
    whole_step(w, block, blocks)


def rmsprop_step(w: Any, block: Any, blocks: Any) -> None:
    whole_step(w, block, blocks)


def adam_step(w: Any, block: Any, blocks: Any) -> None:
    whole_step(w, block, blocks)


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


@dataclass(frozen=True, slots=True)
class Update:
    """The rule of an optimiser's op, whose first inputs are the parameter, its gradient and their averages.

    Attributes
    ----------
    step : function
        The text of the whole.
    kind : int
        SGD, MOMENTUM, RMSPROP or ADAM.
    inputs : int
        How many of the op's inputs are arrays of the parameter's shape. Adam's count follows them; settings are last.
    """

    step: Any
    kind: int
    inputs: int

    @property
    def arrays(self) -> int:
        """How many words of a step are addresses of such arrays: of these, and of what all but the gradient become."""
        return 2 * self.inputs - 1

    def counts(self, operands: Sequence[Any]) -> Sequence[Any]:
        """The count among an op's operands, or nothing."""
        return operands[self.inputs : self.inputs + (self.kind == ADAM)]

    def settings(self, operands: Sequence[Any]) -> Sequence[Any]:
        """The settings among an op's operands."""
        return operands[self.inputs + (self.kind == ADAM) :]

    def text(self, text: Any, dtype: Any, attrs: Any, inline: int, **constants: Any) -> Kernel:
        """A kernel that makes this step."""
        attributes = {name.upper(): bool(value) for name, value in attrs.items()}
        return kernel(text, dtype, UPDATE=self.kind, ARRAYS=self.arrays, INLINE=inline, **attributes, **constants)

    def words(
        self, arrays: Sequence[int | Address], size: int, times: Sequence[Place], found: Any
    ) -> list[int | Address]:
        """The words of a step; `times` are the old count and the new one, `found` those of the settings."""
        return [*arrays, size, *(t.address() for t in times[:1]), *found, *(t.address() for t in times[1:])]

    def count(self, call: Call, times: Sequence[Place], settings: Sequence[Any], apart: bool) -> None:
        """Have Adam's count and its rates looked at, and the count made one more, where the step itself does not."""
        for old, new in itertools.pairwise(times):
            words, inline = setting_words(settings[:3]) or ([], 0)
            error = (
                "Adam's bias corrections must be positive: the count t is not negative, and beta1 and beta2 are below 1"
            )
            call.check(kernel(adam_check, np.float64, INLINE=inline), [old.address(), *words[1:]], error)
            if apart:
                call.run(kernel(count_step, np.float64), [old.address(), new.address()])

    def __call__(self, call: Call) -> bool:
        """The step of a parameter, or of networks side by side, each of which has settings of its own."""
        given, settings = list(call.inputs[: self.inputs]), self.settings(call.inputs)
        counts = self.counts(call.inputs)
        if any(not isinstance(t, Place) or t.dtype != np.int64 for t in counts):
            return False
        lead = _lead([*counts, *settings])
        if not _fit(given) or lead is None or given[0].shape[: len(lead)] != lead or not 0 < math.prod(lead) <= MOST:
            return False
        if setting_words(next(each_of(lead, *settings))) is None:
            return False
        p, in_place = given[0], [a.is_contiguous for a in given]
        given = [a if ordered else copy_of(call, a) for a, ordered in zip(given, in_place, strict=True)]
        whole = [*given, *(output(call, k, p) for k in range(self.inputs - 1))]
        times = [*counts, *(output(call, self.inputs - 1, t) for t in counts)]
        for one in each_of(lead, *whole, *times, *settings):
            own, when, numbers = one[: len(whole)], one[len(whole) : len(whole) + len(times)], one[-len(settings) :]
            found, inline = setting_words(numbers) or ([], 0)
            blocks = _blocks(own[0].size)
            words = self.words([a.address() for a in own], own[0].size, when, found)
            call.run(self.text(self.step, p.dtype, call.attrs, inline), words, blocks)
            self.count(call, when, numbers, blocks > 1)
        for k in range(self.inputs - 1):
            i = k if k == 0 else k + 1
            if in_place[i]:
                call.may_replace(k, i)
        if counts:
            call.may_replace(self.inputs - 1, self.inputs)
        return True


sgd = Update(sgd_step, SGD, 2)
momentum = Update(momentum_step, MOMENTUM, 3)
rmsprop = Update(rmsprop_step, RMSPROP, 3)
adam = Update(adam_step, ADAM, 4)

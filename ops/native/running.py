"""Running averages of batch norm as a kernel: `running_average` of `ops.updates`, to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Address, Call, Place, bits_of
from tensorgraph.native.words import (
    any_lane,
    ldm,
    load_double,
    load_int,
    real,
    select,
    stm,
    store_double,
    store_int,
    vset,
    word_at,
)
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, each_of, output, setting, setting_words
from tensorgraph.ops.updates import warn_not_finite

__all__ = ["running_average"]

LANES = SIZE = INLINE = 0  # constants of kernels
FIRST = True

MOST = 256  # averages side by side, each a record of its own


# texts ---------------------------------------------------------------------------------------------------------------


def averaged(at: Any, k: Any, n: Any, numbers: Any) -> None:
    """New averages of some channels; the old ones where the batch is not finite."""
    keep, take, take_var, finite = numbers
    mean, var = ldm(at[0] + k, n, 0.0), ldm(at[1] + k, n, 0.0)
    mu, sigma2 = ldm(at[2] + k, n, 0.0), ldm(at[3] + k, n, 0.0)
    # two products, each rounded: never old + take (new - old), which loses a first variance that is small
    stm(at[4] + k, select(finite, keep * mean + take * mu, mean), n)
    stm(at[5] + k, select(finite, keep * var + take_var * sigma2, var), n)


def running_step(w: Any, block: Any, blocks: Any) -> None:
    at, n = [word_at(w, j) for j in static(6)], word_at(w, 6)
    weight, count, decay = load_double(word_at(w, 7)), load_int(word_at(w, 8)), setting(w, 9, INLINE)
    # 0 times what is not finite is NaN
    seen = vset(0.0)
    for i in range(0, n, LANES):
        k = i * SIZE
        seen = seen + (ldm(at[2] + k, n - i, 0.0) * 0.0 + ldm(at[3] + k, n - i, 0.0) * 0.0)
    finite = not any_lane(seen != seen)
    total = 1.0 - decay * (1.0 - weight)
    keep, take = decay * weight / total, (1.0 - decay) / total
    numbers = [real(keep), real(take), real(take * load_double(w + 8 * 10)), finite]
    i = 0
    while i + LANES <= n:
        averaged(at, i * SIZE, LANES, numbers)
        i += LANES
    if i < n:
        averaged(at, i * SIZE, n - i, numbers)
    store_double(word_at(w, 11), select(finite, total, weight))
    store_int(word_at(w, 12), select(finite, count + 1, count))
    told = word_at(w, 13)
    store_int(told, select(finite, 0 if FIRST else load_int(told), 1))


# the rule ------------------------------------------------------------------------------------------------------------


def running_average(call: Call) -> bool:
    """`running_average` of one average, or of several side by side. The words: averages, moments, new averages,
    channels, the weight, the count, the decay, what the variance is unbiased by, where the new weight and count go, and
    whether to warn."""
    mean, var, weight, count, mu, sigma2, decay = call.inputs
    arrays = (mean, var, mu, sigma2)
    if any(not isinstance(a, Place) or a.dtype != mean.dtype or not a.is_contiguous for a in arrays):
        return False
    lead = weight.shape
    fits = mean.dtype in SINGLE_OR_DOUBLE and weight.is_contiguous and count.is_contiguous
    fits = fits and (not lead or (decay.shape == lead and decay.is_contiguous))
    if not fits or weight.dtype != np.float64 or count.dtype != np.int64 or not 0 < math.prod(lead) <= MOST:
        return False
    if setting_words(next(each_of(lead, decay))) is None:
        return False
    size = call.attrs["size"]
    unbiased = size / max(size - 1, 1) if call.attrs["unbiased"] else 1.0
    made = [output(call, k, a) for k, a in enumerate((mean, var, weight, count))]
    told = call.warn(warn_not_finite)
    for k, (*parts, old, times, rate, new, counted) in enumerate(
        each_of(lead, *arrays, *made[:2], weight, count, decay, *made[2:])
    ):
        (rate_word,), inline = setting_words([rate]) or ([0], 0)
        words: list[int | Address] = [a.address() for a in parts]
        words += [parts[0].size, old.address(), times.address(), rate_word, bits_of(unbiased, np.float64)]
        words += [new.address(), counted.address(), told]
        call.run(kernel(running_step, mean.dtype, INLINE=inline, FIRST=k == 0), words)
    for k in range(4):
        call.may_replace(k, k)
    return True

"""Numbers and graphs whose cost tests count."""

import numpy as np

import tensorgraph as tg

RNG = np.random.default_rng(0)


def numbers(*shape):
    return tg.tensor(RNG.uniform(0.5, 1.5, shape).astype(np.float32))


def traced(function, *shapes):
    return tg.trace(function, *[tg.spec(s) if isinstance(s, tuple) else s for s in shapes])

"""Parameters and training steps by hand, for the tests of lint."""

import numpy as np

import tensorgraph as tg

RNG = np.random.default_rng(0)


def parameter(*shape, **options):
    return tg.Parameter(RNG.normal(size=shape).astype("float32"), **options)


def gradient_step(loss_of, *parameters, updated=None):
    """A step of gradient descent by hand on those of the parameters that are updated."""

    def step(*args):
        loss = loss_of(*args)
        grads = tg.gradients(loss, list(parameters))
        for p, g in zip(parameters, grads, strict=True):
            if updated is None or any(p is u for u in updated):
                p.assign(p - 0.1 * g)
        return loss

    return step

"""What `vmap` means, a loop, and how results of both are compared."""

import numpy as np

import tensorgraph as tg
from tensorgraph.engine.tree import flatten
from tensorgraph.testing import assert_close


def numbers(*shape, seed=0, dtype="f8"):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def loop(function, in_axes=0, out_axes=0):
    """What `vmap` means."""

    def run(*args):
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
        size = next(a.shape[k] for a, k in zip(args, axes, strict=True) if k is not None)

        def turn(i):
            key = [a if k is None else a[(slice(None),) * (k % a.ndim) + (i,)] for a, k in zip(args, axes, strict=True)]
            return function(*key)

        turns = [turn(i) for i in range(size)]
        return tg.tree_map(lambda *rows: tg.stack(list(rows), axis=out_axes), *turns)

    return run


def assert_trees(found, expected, **tolerance):
    one, tree = flatten(found)
    other, other_tree = flatten(expected)
    assert tree == other_tree
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert_close(
            a.numpy(),
            b.numpy(),
            **{"scale": max(np.abs(b.numpy()).max(initial=1), 1), "ulps": 512, "reason": "other sums", **tolerance},
        )

"""Optimiser kernels against the formulas, step by step."""

import numpy as np
import pytest

from tensorgraph import jit
from tensorgraph.ops.kernels.optimizer import (
    adam_,
    adam_lanes,
    lanes_,
    momentum_,
    momentum_lanes,
    rmsprop_,
    rmsprop_lanes,
    sgd_,
    sgd_lanes,
)

N = 37


def gradients(dtype, steps, p):
    rng = np.random.default_rng(3)
    return [(rng.standard_normal(p.shape) * 10 ** rng.uniform(-3, 1, p.shape)).astype(dtype) for _ in range(steps)]


def start(dtype, shape=(N,)):
    return np.random.default_rng(4).standard_normal(shape).astype(dtype)


def plain(name, p, grads, weight_decay, **options):
    """The update written as the papers do, in the highest precision."""
    p = p.astype(np.longdouble)
    m, v = np.zeros_like(p), np.zeros_like(p)
    lr = np.longdouble(0.01)
    for t, g in enumerate(grads, 1):
        g = g.astype(np.longdouble)
        if options.get("decoupled"):
            p = p - lr * weight_decay * p
        else:
            g = g + weight_decay * p
        if name == "sgd":
            p = p - lr * g
        elif name == "momentum":
            m = 0.9 * m + (1 - 0.9) * g
            p = p - lr * (0.9 * m + (1 - 0.9) * g if options.get("nesterov") else m)
        elif name == "rmsprop":
            v = 0.99 * v + (1 - 0.99) * g**2
            p = p - lr * g / (np.sqrt(v) + 1e-8)
        else:
            m, v = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g**2
            p = p - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


def step(name, p, state, g, t, weight_decay, **options):
    if name == "sgd":
        sgd_(p, g, 0.01, weight_decay)
    elif name == "momentum":
        momentum_(p, state[0], g, 0.01, 0.9, options.get("nesterov", False), weight_decay)
    elif name == "rmsprop":
        rmsprop_(p, state[0], g, 0.01, 0.99, 1e-8, weight_decay)
    else:
        c = 1 - 0.9**t, 1 - 0.999**t
        adam_(p, *state, g, 0.01, 0.9, 0.999, 1e-8, *c, weight_decay, options.get("decoupled", False))


CASES = [
    ("sgd", {}),
    ("momentum", {}),
    ("momentum", {"nesterov": True}),
    ("rmsprop", {}),
    ("adam", {}),
    ("adam", {"decoupled": True}),
]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 4e-15)])
def test_a_hundred_steps(dtype, tolerance, name, options, weight_decay):
    p = start(dtype)
    grads = gradients(dtype, 100, p)
    expected = plain(name, p, grads, weight_decay, **options)
    state = [np.zeros_like(p), np.zeros_like(p)]
    here = p
    for t, g in enumerate(grads, 1):
        before = g.copy()
        step(name, p, state, g, t, weight_decay, **options)
        assert (g == before).all()
    assert p is here and np.isfinite(p).all()
    assert np.abs(p - expected).max() <= tolerance * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("name", "options"), CASES)
def test_any_layout(name, options):
    shape = (4, 6)
    p = start(np.float32, shape)
    g = gradients(np.float32, 1, p)[0]
    state = [np.full(shape, 0.5, np.float32), np.full(shape, 0.25, np.float32)]
    expected = [a.copy() for a in (p, *state)]
    step(name, expected[0], expected[1:], g, 1, 0.1, **options)
    odd = [np.asfortranarray(a) for a in (p, *state)]
    read_only = np.asfortranarray(g)
    read_only.flags.writeable = False
    step(name, odd[0], odd[1:], read_only, 1, 0.1, **options)
    wide = np.zeros((4, 12), np.float32)
    wide[:, ::2] = p
    others = [a.copy() for a in state]
    step(name, wide[:, ::2], others, np.asarray(g, np.float64), 1, 0.1, **options)
    for a, b in zip(odd, expected):
        assert np.isfinite(b).all() and (a == b).all()
    assert (wide[:, ::2] == expected[0]).all() and (wide[:, 1::2] == 0).all()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0)])
def test_small_and_empty(shape):
    p, m, v, g = (np.ones(shape, np.float32) for _ in range(4))
    adam_(p, m, v, g, 0.5)
    assert p.shape == shape and (p == 0.5).all()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_several_threads_give_the_same_bits(name, options):
    n = 1_500_000 if jit.compiled() else 200
    p = start(np.float32, (n,))
    g = p[::-1].copy()
    before, results = jit.num_threads(), []
    try:
        for threads in (1, 3):
            jit.set_num_threads(threads)
            arrays = [p.copy(), np.full_like(p, 0.5), np.full_like(p, 0.25)]
            step(name, arrays[0], arrays[1:], g, 1, 0.1, **options)
            results.append(arrays)
    finally:
        jit.set_num_threads(before)
    for a, b in zip(*results):
        assert np.isfinite(a).all() and (a == b).all()


def test_bad_arguments_say_why_and_change_nothing():
    p = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"parameter's shape \(3,\), got \(4,\)"):
        sgd_(p, np.ones(4, np.float32), 0.1)
    with pytest.raises(ValueError, match="state must have"):
        momentum_(p, np.ones(3), p.copy(), 0.1)
    with pytest.raises(TypeError, match="float32 or float64 parameters"):
        sgd_(np.ones(3, np.float16), np.ones(3, np.float16), 0.1)
    with pytest.raises(ValueError, match="bias corrections"):
        adam_(p, p.copy(), p.copy(), p.copy(), 0.1, c1=0.0)
    locked = np.ones(3, np.float32)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        sgd_(locked, p, 0.1)
    assert (p == 1).all()


LANES = {
    "sgd": (sgd_lanes, 0, lambda p, states, g, n: sgd_(p, g, *n)),
    "momentum": (momentum_lanes, 1, lambda p, states, g, n: momentum_(p, *states, g, n[0], n[1], bool(n[2]), n[3])),
    "rmsprop": (rmsprop_lanes, 1, lambda p, states, g, n: rmsprop_(p, *states, g, *n)),
    "adam": (adam_lanes, 2, lambda p, states, g, n: adam_(p, *states, g, *n[:6], n[6] or n[7], bool(n[7]))),
}
NUMBERS = {
    "sgd": (0.1, 0.01), "momentum": (0.1, 0.9, 1.0, 0.01), "rmsprop": (0.1, 0.99, 1e-8, 0.01),
    "adam": (0.1, 0.9, 0.999, 1e-8, 0.1, 0.001, 0.0, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LANES)
@pytest.mark.parametrize("shape", [(5, 3, 7), (4, 1), (3, 20_000), (2, 0)])
def test_networks_side_by_side_are_each_as_alone(name, shape, dtype):
    kernel, states, one = LANES[name]
    rng = np.random.default_rng(0)
    cells = [rng.uniform(0.1, 1.0, shape).astype(dtype) for _ in range(1 + states)]
    g = rng.standard_normal((*shape[1:], shape[0])).astype(dtype).transpose(len(shape) - 1, *range(len(shape) - 1))
    numbers = np.array([NUMBERS[name]] * shape[0]) * rng.uniform(0.5, 1.0, (shape[0], 1))
    if name == "momentum":
        numbers[:, 2] = np.arange(shape[0]) % 2
    moves = np.arange(shape[0]) != 1
    expected = [cell.copy() for cell in cells]
    for k in np.flatnonzero(moves):
        one(expected[0][k], [state[k] for state in expected[1:]], g[k], numbers[k])
    g[1] = np.nan  # of one that does not move
    lanes_(kernel, tuple(cells), g, numbers, moves)
    for cell, right in zip(cells, expected, strict=True):
        assert np.isfinite(cell).all() and cell.tobytes() == right.tobytes()


def test_networks_side_by_side_are_checked():
    p, numbers, moves = np.ones((2, 3)), np.ones((2, 2)), np.ones(2, bool)
    with pytest.raises(ValueError, match="C-contiguous"):
        lanes_(sgd_lanes, (p.T,), p.T, numbers, moves)
    with pytest.raises(ValueError, match="C-contiguous arrays of one shape, float32 or float64"):
        lanes_(sgd_lanes, (p.astype(np.float16),), p, numbers, moves)
    with pytest.raises(ValueError, match="expected a gradient of shape"):
        lanes_(sgd_lanes, (p,), p[:, :2], numbers, moves)
    with pytest.raises(ValueError, match="numbers for 2"):
        lanes_(sgd_lanes, (p,), p, numbers[:1], moves)

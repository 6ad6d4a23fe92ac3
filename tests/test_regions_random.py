"""Random numbers of kernels: those of NumPy's generator, to the last bit, in any number of blocks."""

import numpy as np
import pytest
from regions_running import run_rule

import tensorgraph as tg
from tensorgraph.compile.plan import plan
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel
from tensorgraph.native.words import load_int, product_high, store_int, word_at, wrapped
from tensorgraph.ops.native import generator

WAYS = [64, 32, *([0] if machine.available() else [])]
UNIFORM = CATALOGUE["uniform"]
TAILS = {"float32": 92, "float64": 1}  # draws with a number from beyond all layers


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 7, 8, 9, 64, 101])
def test_uniform_numbers_are_those_of_the_forward(n, dtype, width):
    for state in ([1, 2, 0], [2**64 - 1, 2**63, 2**63 + 5], [0, 0, 2**64 - 1], list(np.asarray(tg.random.key(7)))):
        state = np.array(state, np.uint64)
        graph = tg.trace(lambda s: UNIFORM.public(s, shape=(n,), dtype=dtype), state)
        (eq,) = graph.equations
        expected = UNIFORM.forward(state, shape=(n,), dtype=dtype)
        for blocks in (None, 3):
            for a, b in zip(run_rule(eq, {eq.inputs[0]: state}, width, blocks), expected, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)


def drawn(op, state, width, **attrs):
    """What a rule draws of a state, and what the forward does."""
    state = np.array(state, np.uint64)
    (eq,) = tg.trace(lambda s: op.public(s, **attrs), state).equations
    return run_rule(eq, {eq.inputs[0]: state}, width), op.forward(state, **attrs)


@pytest.mark.parametrize("width", WAYS[1:])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["normal", "standard_exponential"])
def test_numbers_that_take_any_count_of_bits(name, dtype, width):
    # a number of the second state is from the tail
    for n, state in ((0, [1, 2, 3]), (60, [1, 2, TAILS[dtype]]), (9, [2**64 - 1, 2**63, 2**64 - 1]), (700, [5, 6, 0])):
        for a, b in zip(*drawn(CATALOGUE[name], state, width, shape=(n,), dtype=dtype), strict=True):
            np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


@pytest.mark.parametrize("width", WAYS[1:])
@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
def test_integers_of_any_range(dtype, width):
    limits = np.iinfo(dtype)
    for low, high in ((0, 10), (3, 4), (limits.min, limits.max + 1), (5, limits.max), (limits.min, 7)):
        attrs = {"low": int(low), "high": int(high), "shape": (3, 5), "dtype": dtype}
        for a, b in zip(*drawn(CATALOGUE["integers"], [1, 2, 3], width, **attrs), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("width", WAYS[1:])
@pytest.mark.parametrize("name", ["uniform", "normal", "standard_exponential", "integers"])
def test_each_of_several_states_draws_its_own_numbers(name, width):
    more = {"low": -3, "high": 1000} if name == "integers" else {"dtype": "float32"}
    for lead, shape in (((2, 3), (3, 3)), ((4,), ()), ((0,), (2,)), ((2,), (0, 3)), ((1, 1), (70,))):
        states = np.random.default_rng(3).integers(0, 2**63, (*lead, 3)).astype(np.uint64)
        for a, b in zip(*drawn(CATALOGUE[name], states, width, shape=shape, **more), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def test_numpy_draws_where_its_routines_are_not_known(monkeypatch):
    monkeypatch.setattr(generator, "is_known", lambda: False)
    generator.layers.cache_clear()
    steps = plan(tg.trace(lambda s: CATALOGUE["normal"].public(s, shape=(4,)), np.zeros(3, np.uint64)).transform())
    generator.layers.cache_clear()
    assert [step.on_host for step in steps.steps] == [True]


def products(w, block, blocks):
    a, b, out = load_int(word_at(w, 0)), load_int(word_at(w, 1)), word_at(w, 2)
    store_int(out, product_high(a, b))
    store_int(out + 8, wrapped(a * b))
    store_int(out + 16, wrapped(a + b))


def test_integers_wrap():
    for a in (0, 1, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF):
        for b in (0, 3, -5, 2**63 - 1, -(2**63), -0x123456789ABCDEF):
            given, found = np.array([a]), np.array([b])
            out, emulated = np.zeros(3, np.int64), np.zeros(3, np.int64)
            whole = (a % 2**64) * (b % 2**64)
            expected = np.array([whole >> 64, whole % 2**64, (a + b) % 2**64], np.uint64).astype(np.int64)
            words = np.array([given.ctypes.data, found.ctypes.data, emulated.ctypes.data])
            made = kernel(products, "float64")
            made.emulate(words, [given, found, emulated])
            np.testing.assert_array_equal(emulated, expected)
            if machine.available():
                made.run(np.array([given.ctypes.data, found.ctypes.data, out.ctypes.data]))
                np.testing.assert_array_equal(out, expected)

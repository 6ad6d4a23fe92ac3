"""Elementwise ops and their derivative rules on large arrays: which calls are one kernel, and that it is right."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine import direct as engine_direct
from tensorgraph.engine.direct import LARGE, direct_forward, direct_rule
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.jit import threads
from tensorgraph.native import machine
from tensorgraph.testing import assert_close, assert_same
from tensorgraph.testing.traits import hostile

needs_machine_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
NAMES = sorted(name for name, op in CATALOGUE.items() if op.direct and op.kind.large)
RULES = [(name, i) for name in NAMES for i, rule in CATALOGUE[name].rules.items() if rule is not None]


def drawn(shape, dtype, seed=0):
    return 3 * np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def inputs_of(op, dtype, shape=(3, LARGE // 2)):
    return [drawn(shape, dtype, seed) for seed in range(len(op.inputs))]


def with_hostile(x, seed=0):
    x = x.copy()
    numbers = hostile(x.dtype)
    x.flat[np.random.default_rng(seed).permutation(x.size)[: 4 * numbers.size]] = np.tile(numbers, 4)
    return x


def large_of(forward):
    return forward.__globals__["_large"]


def values_of(op, rule, inputs, g):
    known = dict(zip(op.inputs, inputs, strict=True)) | {op.outputs[0]: op.forward(*inputs, **op.attrs), "g": g}
    return [known[p] if p in known else op.attrs[p] for p in rule.params]


@needs_machine_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_large_calls_are_kernels_and_give_what_the_forward_gives(name, dtype):
    op = CATALOGUE[name]
    forward = direct_forward(op)
    for given in (inputs_of(op, dtype), [with_hostile(x, k) for k, x in enumerate(inputs_of(op, dtype))]):
        with np.errstate(all="ignore"):
            expected = op.forward(*given, **op.attrs)
        kept = [x.copy() for x in given]
        found = forward(*given, **op.attrs)
        assert_close(found, expected, what=name)
        assert found.dtype == expected.dtype and found.flags.owndata
        for a, b in zip(given, kept, strict=True):
            assert_same(a, b)
    assert [*large_of(forward).known.values()] != [None]


@needs_machine_code
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "wanted"), RULES)
def test_derivative_rules_are_one_kernel_each(name, wanted, dtype, monkeypatch):
    op = CATALOGUE[name]
    rule = op.rules[wanted]
    large = direct_rule(op, rule)
    for hard in (False, True):
        given = [with_hostile(x, k) if hard else x for k, x in enumerate(inputs_of(op, dtype))]
        g = drawn(given[0].shape, dtype, 9)
        with np.errstate(all="ignore"):
            values = values_of(op, rule, given, g)
            found = large(*values)
            with monkeypatch.context() as patch:  # ops that the rule calls are kernels themselves
                patch.setattr(engine_direct, "_machine_code", lambda: False)
                for other in NAMES:
                    patch.setattr(large_of(CATALOGUE[other].calls["forward"]), "known", {})
                expected = rule.function(*values)
        assert found is not None
        assert_close(found, expected, order=1, what=f"{name}, {wanted}")


@needs_machine_code
@pytest.mark.parametrize("name", ["gelu", "silu", "elu", "tanh", "prelu"])
def test_threads_and_compiling_change_no_bit(name):
    op = CATALOGUE[name]
    inputs = [tg.tensor(x, requires_grad=True) for x in inputs_of(op, "float32", (500, 301))]
    g = tg.tensor(drawn((500, 301), "float32", 9))

    def pulled(*inputs):
        return tg.gradients((op.public(*inputs) * g).sum(), inputs)

    before = threads.num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            tg.set_num_threads(count)
            results.append([op.public(*inputs).numpy(), *[d.numpy() for d in pulled(*inputs)]])
    finally:
        tg.set_num_threads(before)
    compiled = [tg.compile(op.public)(*inputs).numpy(), *[d.numpy() for d in tg.compile(pulled)(*inputs)]]
    for other in (*results[1:], compiled):
        for a, b in zip(results[0], other, strict=True):
            assert_same(a, b)


def layouts(x):
    """The numbers of x in Fortran's order, apart and backwards, unaligned, and with their bytes swapped."""
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::-2, 1::3] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)
    crooked = raw[1:].view(x.dtype).reshape(x.shape)
    crooked[...] = x
    return [np.asfortranarray(x), wide[::-2, 1::3], crooked, x.astype(x.dtype.newbyteorder())]


@pytest.mark.parametrize("name", NAMES)
def test_layouts(name):
    op = CATALOGUE[name]
    inputs = inputs_of(op, "float32", (67, 71))
    expected = op.forward(*inputs, **op.attrs)
    for given in zip(*map(layouts, inputs), strict=True):
        assert_close(op.public(*given, **op.attrs).numpy(), expected)
    row = drawn((1, 71), "float32")
    many = [np.broadcast_to(row, (67, 71)) for _ in inputs]
    assert_close(op.public(*many, **op.attrs).numpy(), op.forward(*[m.copy() for m in many], **op.attrs))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (LARGE - 1,)])
def test_what_is_small_is_no_kernel(shape):
    for name in NAMES:
        op = CATALOGUE[name]
        forward, given = direct_forward(op), inputs_of(op, "float32", shape)
        assert_same(forward(*given, **op.attrs), op.forward(*given, **op.attrs))
        assert not large_of(forward).known


@pytest.mark.parametrize("dtype", ["float16", "int64", "bool"])
def test_other_types_are_the_forwards(dtype):
    for name in ("gelu", "silu", "leaky_relu", "tanh", "relu6"):
        x = (np.arange(LARGE) % 2).astype(dtype)
        op = CATALOGUE[name]
        found, expected = op.public(x), op.public(x[:7])
        assert found.dtype == expected.dtype
        assert_close(found.numpy()[:7], expected.numpy())


def test_a_gradient_that_is_spread_from_a_sum():
    x = drawn((64, 80), "float64")
    for name in ("silu", "gelu", "sigmoid"):
        t = tg.tensor(x, requires_grad=True)
        getattr(tg, name)(t).sum().backward()
        small = tg.tensor(x[:1], requires_grad=True)
        getattr(tg, name)(small).sum().backward()
        assert_close(t.grad.numpy()[:1], small.grad.numpy(), order=1)


def test_attributes_that_compare_equal_are_told_apart():
    x = np.full(LARGE, -1.0)
    for slope in (0.0, -0.0, 1, True, 1.0):
        expected = np.where(x > 0, x, slope * x)
        assert_same(tg.leaky_relu(x, slope=slope).numpy(), expected)
        assert (np.signbit(tg.leaky_relu(x, slope=slope).numpy()) == np.signbit(expected)).all()


def test_attributes_are_refused_in_the_same_words():
    for n in (3, LARGE):
        with pytest.raises(ValueError, match=r"hardtanh.*min_val must not exceed max_val"):
            tg.hardtanh(np.zeros(n), min_val=1.0, max_val=0.0)
        with pytest.raises(ValueError, match=r"gelu.*approximate must be 'none' or 'tanh'"):
            tg.gelu(np.zeros(n), approximate="fast")


def test_second_derivatives_of_large_arrays():
    x = drawn((LARGE,), "float64")
    t = tg.tensor(x, requires_grad=True)
    (first,) = tg.gradients(tg.silu(t).sum(), (t,), create_graph=True)
    (second,) = tg.gradients(first.sum(), (t,))
    h = 1e-5
    plus, minus = (tg.grad(lambda x: tg.silu(x).sum())(tg.tensor(x + k)).numpy() for k in (h, -h))
    assert np.isfinite(second.numpy()).all()
    assert np.abs(second.numpy() - (plus - minus) / (2 * h)).max() < 1e-9


def test_without_machine_code_the_forward_runs(monkeypatch):
    monkeypatch.setattr(engine_direct, "_machine_code", lambda: False)
    op, x = CATALOGUE["silu"], drawn((LARGE,), "float32")
    assert_same(direct_forward(op)(x), op.forward(x))
    assert direct_rule(op, op.rules["x"])(x, x) is None


def test_as_many_calls_are_known_as_there_is_room_for(monkeypatch):
    monkeypatch.setattr(engine_direct, "MOST", 3)
    forward = direct_forward(CATALOGUE["silu"])
    for n in range(8):
        forward(np.ones(LARGE + n))
    assert len(large_of(forward).known) <= 3

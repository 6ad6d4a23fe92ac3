"""Optimisers' steps as kernels: the eager op's numbers, settings read when they run."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import pattern

from tensorgraph.engine.op import CATALOGUE

LR, B1, B2, EPS = (np.array(v) for v in (0.01, 0.9, 0.999, 1e-8))
NAMES = ["sgd_update", "momentum_update", "nesterov", "rmsprop_update", "adam_update", "adamw"]


def given(name, n, dtype, t=3, decay=0.01, seed=0):
    """The op, its inputs and attributes."""
    rng = np.random.default_rng(seed)
    p, g, m = (rng.standard_normal(n).astype(dtype) for _ in range(3))
    v, decay = np.abs(rng.standard_normal(n)).astype(dtype), np.array(decay)
    if name == "sgd_update":
        return CATALOGUE[name], (p, g, LR, decay), {}
    if name in ("momentum_update", "nesterov"):
        return CATALOGUE["momentum_update"], (p, g, m, LR, B1, decay), dict(nesterov=name == "nesterov")
    if name == "rmsprop_update":
        return CATALOGUE[name], (p, g, v, LR, B2, EPS, decay), {}
    attrs = dict(decoupled=name == "adamw")
    return CATALOGUE["adam_update"], (p, g, m, v, np.array(t), LR, B1, B2, EPS, decay), attrs


def outputs_of(op, inputs, attrs):
    made = op.forward(*inputs, **attrs)
    return made if isinstance(made, tuple) else (made,)


def run(op, inputs, attrs, how=("emulate", 64), **options):
    shapes = [(a.shape, a.dtype) for a in outputs_of(op, inputs, attrs)]
    return Run(op.native_rule(), inputs, shapes, attrs, *how, **options)


def ulps_apart(a, b):
    """Largest distance in units of the last place of the larger one."""
    finite = np.isfinite(b)
    unit = np.spacing(np.maximum(np.abs(b), np.finfo(b.dtype).tiny))
    return float((np.abs(a - b) / unit)[finite].max(initial=0))


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_the_eager_one(name, dtype, how):
    for n in (0, 1, 7, 16, 33, 64):
        op, inputs, attrs = given(name, n, dtype)
        got = run(op, inputs, attrs, how)
        assert got.took and not any(got.checks)
        for a, b in zip(got.outputs, outputs_of(op, inputs, attrs), strict=True):
            assert a.dtype == b.dtype and np.isfinite(b).all()
            scale = np.abs(b) + sum(np.abs(x) for x in inputs[:3] if x.shape == b.shape)
            np.testing.assert_array_less(np.abs(a - b), 4 * np.finfo(dtype).eps * scale + (a.dtype.kind == "i") * 0.5)


@every_how
@pytest.mark.parametrize("name", NAMES)
def test_in_place_is_the_same(name, how):
    op, inputs, attrs = given(name, 35, "float32")
    for a, b in zip(
        run(op, inputs, attrs, how, in_place=True).outputs, run(op, inputs, attrs, how).outputs, strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinities_go_where_the_eager_step_puts_them(name):
    op, inputs, attrs = given(name, 12, "float32")
    for array in inputs[:3]:
        if array.ndim:
            array[:3] = np.nan, np.inf, -np.inf
    inputs[1][3:7] = 1e-30, 3e38, 0.0, -0.0
    for how in HOWS:
        for a, b in zip(run(op, inputs, attrs, how).outputs, outputs_of(op, inputs, attrs), strict=True):
            np.testing.assert_array_equal(pattern(a), pattern(b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("t", [0, 1, 10, 999, 12345, 10**6, 10**12])
def test_bias_corrections_at_any_step(dtype, t):
    """From nothing but the gradient, so that the corrections are all that there is."""
    op, inputs, attrs = given("adam_update", 5, dtype, t=t, decay=0.0)
    inputs = (np.zeros(5, dtype), inputs[1], np.zeros(5, dtype), np.zeros(5, dtype), *inputs[4:])
    for how in HOWS:
        got, want = run(op, inputs, attrs, how).outputs, outputs_of(op, inputs, attrs)
        assert (want[0] != 0).all() and int(got[3]) == t + 1
        for a, b in zip(got[:3], want[:3], strict=True):
            assert ulps_apart(a, b) <= 4


@pytest.mark.parametrize(
    "b1, b2, t", [(1.0, 0.9, 0), (0.9, 1.5, 0), (np.nan, 0.9, 1), (0.9, 0.99, -1), (0.9, 0.99, -5)]
)
def test_corrections_that_are_not_positive_end_the_run(b1, b2, t):
    op, inputs, attrs = given("adam_update", 4, "float32", t=t)
    inputs = (*inputs[:6], np.array(b1), np.array(b2), *inputs[8:])
    with pytest.raises(ValueError, match="bias corrections must be positive"):
        op.forward(*inputs, **attrs)
    shapes = [((4,), "float32")] * 3 + [((), "int64")]
    for how in HOWS:
        assert Run(op.native_rule(), inputs, shapes, attrs, *how).checks == [1]


@pytest.mark.parametrize("name", NAMES)
def test_settings_may_be_python_numbers(name):
    op, inputs, attrs = given(name, 9, "float32")
    plain = tuple(float(a) if isinstance(a, np.ndarray) and a.shape == () and a.dtype == "f8" else a for a in inputs)
    for how in HOWS:
        shapes = [(a.shape, a.dtype) for a in outputs_of(op, inputs, attrs)]
        got = Run(op.native_rule(), plain, shapes, attrs, *how)
        assert got.took
        for a, b in zip(got.outputs, run(op, inputs, attrs, how).outputs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_blocks_in_any_order_and_outputs_that_nobody_reads(name):
    how = HOWS[-1] if HOWS[-1][0] == "code" else None
    if how is None:
        pytest.skip("no machine code")
    op, inputs, attrs = given(name, 250_001, "float32")
    one, other = (run(op, inputs, attrs, how, in_place=True, order=order).outputs for order in (1, -1))
    for a, b, c in zip(one, other, outputs_of(op, inputs, attrs), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-5, atol=1e-6)
    shapes = [(inputs[0].shape, "float32"), *[None] * (len(one) - 1)]
    alone = Run(op.native_rule(), inputs, shapes, attrs, *how).outputs
    np.testing.assert_array_equal(alone[0], one[0])
    assert alone[1:] == [None] * (len(one) - 1)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_any_layout(name):
    op, inputs, attrs = given(name, 60, "float32")
    square = tuple(a.reshape(6, 10) if a.shape == (60,) else a for a in inputs)
    turned = tuple(np.asfortranarray(a) if a.shape else a for a in square)
    for how in HOWS:
        for a, b in zip(run(op, turned, attrs, how).outputs, run(op, inputs, attrs, how).outputs, strict=True):
            np.testing.assert_array_equal(a.reshape(b.shape), b)


def test_what_is_left_to_the_forward():
    op, inputs, attrs = given("adam_update", 6, "float32")
    shapes = [((6,), "float32")] * 3 + [((), "int64")]
    half = tuple(a.astype("float16") if a.shape == (6,) else a for a in inputs)
    assert not Run(op.native_rule(), half, shapes, attrs).took
    side = (*inputs[:4], np.array([1, 2]), np.array([0.1, 0.2]), *inputs[6:])
    assert not Run(op.native_rule(), side, shapes, attrs).took


# running averages ----------------------------------------------------------------------------------------------------

AVERAGE = CATALOGUE["running_average"]


def averages(n, dtype, weight=0.19):
    rng = np.random.default_rng(n)
    mean, var, mu, sigma2 = (rng.standard_normal(n).astype(dtype) for _ in range(4))
    return mean, var**2, np.array(weight), np.array(2), mu, sigma2**2 * np.array(1e-8, dtype), np.array(0.9)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_running_averages_to_the_last_bit(dtype, unbiased):
    attrs = dict(size=8, unbiased=unbiased)
    for n, weight in ((0, 0.0), (1, 0.19), (5, 0.0), (16, 1.0), (35, 0.19)):
        inputs = averages(n, dtype, weight)
        want = AVERAGE.forward(*inputs, **attrs)
        shapes = [(a.shape, a.dtype) for a in want]
        for how in HOWS:
            for in_place in (False, True):
                got = Run(AVERAGE.native_rule(), inputs, shapes, attrs, *how, in_place=in_place)
                assert got.took and got.warnings == [0]
                for a, b in zip(got.outputs, want, strict=True):
                    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_averages_stay_where_a_batch_is_not_finite(bad):
    for which in (4, 5):
        for at in (0, 20):
            inputs = averages(21, "float32")
            inputs[which][at] = bad
            inputs[0][3] = 3e38
            shapes = [(a.shape, a.dtype) for a in inputs[:4]]
            for how in HOWS:
                got = Run(AVERAGE.native_rule(), inputs, shapes, dict(size=8, unbiased=False), *how)
                assert got.warnings == [1]
                for a, b in zip(got.outputs, inputs[:4], strict=True):
                    np.testing.assert_array_equal(a, b)


# networks side by side -----------------------------------------------------------------------------------------------


def side_by_side(name, lead, n, dtype, shared):
    """As `given`, of networks that differ in their numbers and in those settings that are not shared."""
    count = int(np.prod(lead))
    each = [given(name, n, dtype, t=k, decay=0.01 * k, seed=k) for k in range(count)]
    op, _, attrs = each[0]
    columns = []
    for k, column in enumerate(zip(*[inputs for _, inputs, _ in each], strict=True)):
        first = column[0]
        if first.dtype == np.float64 and not first.ndim and k in shared:
            columns.append(first)
        else:
            scaled = [c * (1 - 0.01 * j) if not c.ndim and c.dtype.kind == "f" else c for j, c in enumerate(column)]
            columns.append(np.stack(scaled).reshape(*lead, *first.shape))
    return op, tuple(columns), attrs


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_networks_side_by_side_have_the_bits_that_each_has_alone(name, dtype, how):
    for lead, shared in (((3,), ()), ((2, 2), (4, 6)), ((1,), (5,)), ((4,), (4, 5, 6, 7, 8, 9))):
        op, inputs, attrs = side_by_side(name, lead, 19, dtype, shared)
        if all(not a.ndim or a.shape == (*lead, 19) for a in inputs):
            continue  # all settings are shared: it is one array
        got = run(op, inputs, attrs, how)
        assert got.took and not any(got.checks)
        for place in np.ndindex(lead):
            alone = tuple(np.asarray(a[place]) if a.shape[: len(lead)] == lead else a for a in inputs)
            for many, one in zip(got.outputs, run(op, alone, attrs, how).outputs, strict=True):
                np.testing.assert_array_equal(many[place], one)


def test_a_network_side_by_side_whose_count_is_negative_is_refused():
    op, inputs, attrs = side_by_side("adam_update", (3,), 5, "float32", ())
    for how in HOWS:
        assert not any(run(op, inputs, attrs, how).checks)
        inputs[4][1] = -1
        assert [bool(code) for code in run(op, inputs, attrs, how).checks] == [False, True, False]
        inputs[4][1] = 1


@pytest.mark.filterwarnings("ignore:batch norm")
@every_how
def test_averages_side_by_side_have_the_bits_that_each_has_alone(how):
    rng = np.random.default_rng(0)
    op = CATALOGUE["running_average"]
    for lead in ((3,), (2, 2)):
        mean, mu = rng.standard_normal((2, *lead, 21)).astype("float32")
        var, sigma2 = rng.random((2, *lead, 21)).astype("float32")
        weight, decay = rng.random((2, *lead))
        count = rng.integers(0, 9, lead)
        for wrong in (0.0, np.nan, np.inf):
            mu[(1,) * len(lead)][-1] += wrong
            inputs = mean, var, weight, count, mu, sigma2, decay
            got = run(op, inputs, dict(size=7, unbiased=True), how)
            assert got.took and any(got.warnings) == bool(wrong)
            with np.errstate(all="ignore"):
                for many, one in zip(got.outputs, op.forward(*inputs, size=7, unbiased=True), strict=True):
                    np.testing.assert_allclose(many, one, rtol=1e-6)
            for place in np.ndindex(lead):
                alone = run(op, tuple(np.asarray(a[place]) for a in inputs), dict(size=7, unbiased=True), how)
                for many, one in zip(got.outputs, alone.outputs, strict=True):
                    np.testing.assert_array_equal(many[place], one)

"""Each elementwise op in a generated kernel, on hostile numbers, and what its operands' types and strides may be."""

import numpy as np
import pytest
from regions_running import run_graph

import tensorgraph as tg
from tensorgraph.compile.regions import regions
from tensorgraph.engine.op import CATALOGUE, elementwise
from tensorgraph.native import machine

WAYS = [64, 32, *([0] if machine.available() else [])]
HOSTILE = [0.0, -0.0, 1, -1, 0.5, 2, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 3e38, -3e38, 1e-3, 88, -88, 104, -104, 3.7]
ATTRIBUTES = {"astype": dict(dtype="float64"), "clip": dict(a_min=-0.5, a_max=0.75), "polygamma": dict(n=1)}
FORMED = ["binade", "round"]  # by formulas of kernels alone
GENERATED = FORMED + sorted(name for name, op in CATALOGUE.items() if op.kind is elementwise and op.scalar is not None)
IN_ANY_CASE = {
    "add", "multiply", "divide", "where", "exp", "log", "tanh", "sigmoid", "relu", "silu", "erf", "sqrt", "maximum",
    "less", "equal", "isnan", "clip", "astype", "binade", "elu", "leaky_relu", "square", "negative", "expm1", "log1p",
    "floor",
}  # fmt: skip


def hostile(rng, dtype, n=67):
    if dtype == "bool":
        return rng.random(n) > 0.5
    if dtype == "int64":
        return rng.integers(-5, 6, n)
    x = np.concatenate([HOSTILE, rng.normal(size=n - len(HOSTILE)) * 3])
    rng.shuffle(x)
    return x.astype(dtype)


def call_of(name, dtype):
    """A graph of one op and arguments; None where the op does not take them."""
    op, rng = CATALOGUE[name], np.random.default_rng(0)
    args = [hostile(rng, dtype) for _ in op.inputs]
    if name == "where":
        args[0] = hostile(rng, "bool")
    try:
        graph = tg.trace(lambda *a: op.public(*a, **ATTRIBUTES.get(name, {})), *args)
        with np.errstate(all="ignore"):
            graph(*args)
        return graph, args
    except (TypeError, ValueError):
        return None


@pytest.mark.sampled(test=400, quick=2)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("name", [*GENERATED, "astype"])
def test_an_op_alone_gives_what_its_forward_gives(name, dtype, width):
    made = call_of(name, dtype)
    if made is None:
        return
    graph, args = made
    with np.errstate(all="ignore"):
        expected = np.asarray(graph(*args))
        (found,), count = run_graph(graph, args, width=width)
    if not count:
        assert name not in IN_ANY_CASE or dtype in ("int64", "bool")
        return
    assert found.dtype == expected.dtype
    if expected.dtype.kind != "f" or CATALOGUE[name].among("exact"):
        np.testing.assert_array_equal(found, expected)
        return
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    finite = np.isfinite(expected)
    with np.errstate(all="ignore"):
        error = np.abs(found[finite] - expected[finite]) / np.spacing(np.abs(expected[finite]))
    assert error.max(initial=0) <= 8
    signed = finite & (expected != 0)
    np.testing.assert_array_equal(np.signbit(found[signed]), np.signbit(expected[signed]))


FORMS = {
    **{f"the power {e}": (lambda x, e=e: x**e, 8) for e in (0.5, -0.5, 1.5, -2.5)},
    **{f"{d} decimals": (lambda x, d=d: tg.round(x, decimals=d), 0) for d in (2, -1)},
    "numbers for what is none": (lambda x: tg.nan_to_num(x, nan=1.0, posinf=2.0, neginf=-2.0), 0),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMS)
def test_what_is_known_of_a_call_makes_its_formula(name, dtype):
    (function, allowed), x = FORMS[name], hostile(np.random.default_rng(0), dtype)
    graph = tg.trace(function, x)
    with np.errstate(all="ignore"):
        expected = np.asarray(graph(x))
        for width in WAYS:
            (found,), count = run_graph(graph, [x], width=width)
            assert count
            np.testing.assert_array_max_ulp(found, expected, allowed)
            np.testing.assert_array_equal(
                np.signbit(found[expected == expected]), np.signbit(expected[expected == expected])
            )


def test_most_ops_have_a_form():
    calls = [call_of(name, "float32") for name in GENERATED]
    assert sum(all(r.is_generated for r in regions(made[0])) for made in calls if made is not None) > 40


TWENTY = lambda x, y: tg.tanh(
    (((x * y + 0.5) - x / 3.0) * 2.0 + tg.exp(-x * x)) * tg.where(x > y, x, y) - tg.sigmoid(y)
)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3, 4), (4,)), ((5, 70), (5, 1)), ((2, 1, 33), (1, 3, 1)), ((), (3,)), ((), ()), ((0, 3), (3,)),
        ((1, 1), (1,)), ((2, 3, 4, 5), (3, 1, 5)),
    ],
)  # fmt: skip
def test_shapes_that_broadcast(first, second, width):
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        x, y = rng.normal(size=first).astype(dtype), rng.normal(size=second).astype(dtype)
        graph = tg.trace(TWENTY, x, y)
        (found,), count = run_graph(graph, [x, y], width=width)
        assert count
        np.testing.assert_allclose(
            found, np.asarray(graph(x, y)), rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6
        )


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_ops_keep_their_bits_in_any_company_and_strides(dtype, width):
    base = np.random.default_rng(0).normal(size=(14, 22, 18)).astype(dtype)
    base[3, 4, 5:] = np.nan
    base[4] *= 1e30

    def f(x, y):
        a = x * y + 0.1
        return tg.where(a > y, a / 3.0, -a) - tg.sqrt(y * y) * 0.7, tg.logical_and(a > 0, tg.isfinite(y))

    whole = np.arange(base.size).reshape(base.shape) if dtype == "float32" else base.astype("float32")
    graph = tg.trace(lambda x, m, k: tg.where(m, x, k * x), base.T.copy(), base.T > 0, whole.T.copy())
    found, count = run_graph(graph, [base.T, (base > 0).T, whole.T], width=width)
    assert count  # what lies apart and has other types is copied first
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found[0], np.asarray(graph(base.T.copy(), base.T > 0, whole.T.copy())))
    views = [base.T, base[::2, ::-1], base[:, 1:, ::2], base.transpose(1, 0, 2), np.broadcast_to(base[:1], base.shape)]
    for x in views:
        y = np.ascontiguousarray(x[..., ::-1])
        graph = tg.trace(f, np.ascontiguousarray(x), y)
        with np.errstate(all="ignore"):
            found, count = run_graph(graph, [x, y], width=width)
            expected = [np.asarray(v) for v in graph(np.ascontiguousarray(x), y)]
        assert count
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("width", WAYS)
def test_types_that_meet(width):
    rng = np.random.default_rng(0)
    values = {kind: hostile(rng, kind) for kind in ("float32", "float64", "int64", "bool")}
    seen = 0
    for one in values.values():
        for other in values.values():
            for f in (
                lambda a, b: a + b,
                lambda a, b: a * 2 - b,
                lambda a, b: (a < b) | (a == 1),
                lambda a, b: a / 3 + b,
            ):
                try:
                    graph = tg.trace(f, one, other)
                except TypeError:
                    continue
                with np.errstate(all="ignore"):
                    found, count = run_graph(graph, [one, other], width=width)
                    expected = np.asarray(graph(one, other))
                seen += count
                assert found[0].dtype == expected.dtype
                np.testing.assert_array_equal(found[0], expected)
    assert seen > 40


@pytest.mark.parametrize("width", WAYS)
def test_casts(width):
    rng = np.random.default_rng(0)
    for source in ("float32", "float64", "int64", "bool"):
        x = rng.normal(size=67).round(1).astype(source)
        for target in ("float32", "float64", "int64", "bool"):
            graph = tg.trace(lambda x, target=target: (tg.astype(x, target), x == 1), x)
            found, count = run_graph(graph, [x], width=width)
            assert count
            np.testing.assert_array_equal(found[0], x.astype(target), strict=True)


@pytest.mark.parametrize("width", WAYS)
def test_numbers_that_are_inputs_are_weak(width):
    x = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    graph = tg.trace(lambda x, s, n: (x * s + n) / (n + s), x, 0.1, 3)
    found, count = run_graph(graph, [x, 0.1, 3], width=width)
    assert count
    np.testing.assert_array_equal(found[0], np.asarray(graph(x, 0.1, 3)), strict=True)


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
@pytest.mark.parametrize("shape", [(200_003,), (2, 100_001), (70_000, 3), (50, 70, 60)], ids=str)
def test_blocks_do_each_their_part(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = x[..., :1].copy()
    graph = tg.trace(TWENTY, x, y)
    (first,), _ = run_graph(graph, [x, y], blocks=1)
    assert np.isfinite(first).all()
    for blocks in (None, 2, 7, 64):
        (found,), _ = run_graph(graph, [x, y], blocks=blocks)
        np.testing.assert_array_equal(first, found)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, -1, -3, -8])
def test_whole_powers_are_the_products_of_the_forward(n, dtype, width):
    x = hostile(np.random.default_rng(0), dtype)
    graph = tg.trace(lambda x: (x**n, x ** float(n)), x)
    with np.errstate(all="ignore"):
        found, count = run_graph(graph, [x], width=width)
        expected = [np.asarray(v) for v in graph(x)]
    assert count == 1
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_truth_values_and_integers_beside_floats(dtype, width):
    x = np.array([0.0, 0.5, 2.0], dtype)
    graph = tg.trace(lambda x: (tg.xlog1py(x, True), tg.xlogy(x, 2), tg.xlogy(x, 0.5)), x)
    found, _ = run_graph(graph, [x], width=width)
    for a, b in zip(found, graph(x), strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=4 * np.finfo(dtype).eps, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_slope(approximate, dtype, width):
    x = hostile(np.random.default_rng(0), dtype)
    x = np.where(np.isfinite(x), np.maximum(x, np.array(-3, dtype)), x)  # further out digits are lost in either
    gelu = CATALOGUE["gelu"].public
    graph = tg.trace(tg.value_and_grad(lambda x: gelu(x, approximate=approximate).sum()), x).transform()
    value = tg.trace(lambda x: gelu(x, approximate=approximate), x)
    with np.errstate(all="ignore"):
        (slope,), (expected,) = run_graph(graph, [x], width=width)[0][1:], [np.asarray(graph(x)[1])]
        (found,), count = run_graph(value, [x], width=width)
    assert count == 1
    np.testing.assert_allclose(found, np.asarray(value(x)), rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope, expected, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("width", WAYS)
def test_a_whole_number_beside_floats_is_one_of_theirs(width):
    x = np.array([0.0, 1.0, np.nan, 3.0])
    graph = tg.trace(lambda x: (tg.xlog1py(x, 2), tg.xlogy(2, x), tg.where(x > 1, 2, x)), x)
    with np.errstate(all="ignore"):
        found, count = run_graph(graph, [x], width=width)
        expected = [np.asarray(v) for v in graph(x)]
    assert count == 1
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-15, strict=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("function", [tg.floor_divide, tg.remainder])
def test_integers_divided_by_what_has_no_quotient(function, width):
    limits = np.iinfo("int64")
    few = np.array([0, 1, -1, 2, -3, 7, limits.max, limits.min, limits.min + 1])
    x, y = np.repeat(few, few.size), np.tile(few, few.size)
    for call in (function, lambda x, y: function(x, 3), lambda x, y: function(x, -1), lambda x, y: function(7, y)):
        graph = tg.trace(call, x, y)
        (found,), count = run_graph(graph, [x, y], width=width)
        assert count
        np.testing.assert_array_equal(found, np.asarray(graph(x, y)))

"""Sums keep their digits whatever the axes and the layout: values, gradients, kernels, statistics."""

import ast
import itertools
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import jit, nn
from tensorgraph.data import Normalizer
from tensorgraph.engine import sums
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.sums import total

F2, F4, F8 = np.float16, np.float32, np.float64
WIDE = np.longdouble
floats = pytest.mark.parametrize("dtype", [F2, F4, F8])
wide_floats = pytest.mark.parametrize("dtype", [F4, F8])


def exact(x, axis=None):
    """The sum in long double, in pairs; of many numbers even that would drift one by one."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    kept = [i for i in range(x.ndim) if i not in axes]
    rows = np.ascontiguousarray(np.transpose(x, (*kept, *axes)), WIDE)
    return rows.reshape(*[x.shape[i] for i in kept], -1).sum(axis=-1)


def assert_sum(got, terms, axis=None, ulps=8, what=""):
    """Within so many units in the last place of the sums' scale."""
    got, expected = np.asarray(got), exact(terms, axis)
    scale = np.maximum(np.abs(expected).max(), exact(np.abs(terms), axis) / 64)
    error = float((np.abs(got.astype(WIDE) - expected) / (scale * np.finfo(got.dtype).eps)).max())
    assert got.shape == expected.shape and error <= ulps, f"{what}: off by {error:.3g} ulp"


def laid_out(x, layout):
    if layout == "F":
        return np.asfortranarray(x)
    if layout == "strided":
        spread = np.zeros([2 * n for n in x.shape], x.dtype)[(slice(None, None, 2),) * x.ndim]
        spread[...] = x
        return spread
    if layout == "backwards":
        return np.flip(np.flip(x).copy())
    if layout == "moved":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
    return x


LAYOUTS = ("C", "F", "strided", "backwards", "moved")
SHAPES = [(60000, 3), (3, 60000), (5000, 7), (300, 3), (100, 100), (2000, 3, 5), (50, 200, 3), (3, 4000, 2),
          (7, 9, 11, 13), (70001,), (2,) * 12]  # fmt: skip


@floats
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_axes_and_layout(shape, layout, dtype) -> None:
    rng = np.random.default_rng(0)
    some = [c for r in range(1, len(shape) + 1) for c in itertools.combinations(range(len(shape)), r)]
    for x in (rng.random(shape), np.full(shape, rng.random()), rng.standard_normal(shape) + 0.25):
        x = laid_out((x * (0.01 if dtype == F2 else 1)).astype(dtype), layout)
        for axis in [None, *some[:: max(1, len(some) // 8)]]:
            got = total(x, axis)
            assert got.dtype == dtype
            assert_sum(got, x, axis, what=f"axis {axis}")


@given(data=st.data())
def test_the_sum_is_numpys_in_shape_dtype_and_axes(data) -> None:
    shape = data.draw(st.lists(st.sampled_from([0, 1, 2, 5, 17, 130]), max_size=4).map(tuple))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.integers(-3, 4, shape).astype(data.draw(st.sampled_from(["f2", "f4", "f8", "i4", "?"])))
    order = data.draw(st.permutations(range(len(shape))))
    steps = tuple(slice(None, None, data.draw(st.sampled_from([1, -1, 2]))) for _ in shape)
    x = x.transpose(order)[steps]
    if x.ndim and data.draw(st.booleans()):
        k = data.draw(st.integers(0, x.ndim - 1))
        x = np.broadcast_to(x[(slice(None),) * k + (slice(0, 1),)], x.shape)
    some = st.lists(st.integers(-x.ndim, x.ndim - 1), max_size=x.ndim, unique_by=lambda i: i % x.ndim).map(tuple)
    axis = data.draw(st.none() | (some | st.integers(-x.ndim, x.ndim - 1) if x.ndim else st.just(())))
    keepdims = data.draw(st.booleans())
    dtype = data.draw(st.sampled_from([None, None, np.dtype("f4"), np.dtype("f8")]))
    got, expected = total(x, axis, keepdims, dtype), np.add.reduce(x, axis, dtype, None, keepdims)
    assert got.shape == expected.shape and got.dtype == expected.dtype
    assert np.array_equal(got, expected), "small whole numbers are summed exactly"


@contextmanager
def by(path):
    """All sums of float32 by one of the ways there are, whatever their size; kernels also where nothing is compiled."""
    kept = {name: getattr(sums, name) for name in ("TINY", "SOME", "SMALL", "LARGE", "compiled")}
    sums._plans.clear()
    sums.compiled = jit.available
    sums.TINY = sums.SOME = sums.SMALL = 0
    sums.LARGE = 1 if path == "kernel" else 1 << 62
    try:
        yield
    finally:
        vars(sums).update(kept)
        sums._plans.clear()


PATHS = ["kernel", "numpy"] if jit.available() else ["numpy"]


@pytest.mark.parametrize("path", PATHS)
@given(data=st.data())
def test_each_way_sums_any_layout(path, data) -> None:
    """Whole numbers, whose sums are exact: each number is added once, to the right sum."""
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 5, 17, 40]), min_size=1, max_size=4).map(tuple))
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-9, 10, shape).astype(F4)
    x = x.transpose(data.draw(st.permutations(range(len(shape)))))
    x = x[tuple(slice(data.draw(st.integers(0, n - 1)), None, data.draw(st.sampled_from([1, -1, 2]))) for n in x.shape)]
    if data.draw(st.booleans()):
        k = data.draw(st.integers(0, x.ndim - 1))
        x = np.broadcast_to(x[(slice(None),) * k + (slice(0, 1),)], (*x.shape[:k], 7, *x.shape[k + 1 :]))
    axis = data.draw(st.none() | st.lists(st.integers(0, x.ndim - 1), unique=True).map(tuple))
    keepdims = data.draw(st.booleans())
    with by(path):
        got = total(x, axis, keepdims)
    expected = np.add.reduce(x, axis, None, None, keepdims)
    assert got.shape == expected.shape and got.dtype == F4 and np.array_equal(got, expected)


CANCELLING = [((100_000,), None), ((100_000, 3), 0), ((3, 100_000), 1), ((4096, 80), 0), ((80, 4096), 1),
              ((600, 3, 20), (0, 2)), ((9000,), 0), ((1200,), None), ((100,), 0), ((10,), None)]  # fmt: skip


@pytest.mark.parametrize("path", [None, *PATHS])
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize(("shape", "axis"), CANCELLING, ids=str)
def test_blocks_that_cancel(shape, axis, layout, path) -> None:
    """A block of positive numbers and then a block of negative ones, in all sums at once: float32 keeps nothing."""
    if path == "kernel" and not jit.compiled() and np.prod(shape) > 40_000:
        pytest.skip("plain Python takes long")
    x = np.random.default_rng(0).uniform(0.9, 1.1, shape)
    x[len(x) // 2 :] *= -1
    if axis == 1:
        x = np.abs(x)
        x[:, shape[1] // 2 :] *= -1
    x = laid_out(x.astype(F4), layout)
    if path is None:
        got = total(x, axis)
    else:
        with by(path):
            got = total(x, axis)
    # each sum by itself, and right to its own rounding
    expected, scale = exact(x, axis), exact(np.abs(x), axis) * 2.0**-40
    assert (np.abs(got - expected) <= np.spacing(np.abs(expected).astype(F4)) / 2 + scale).all()


@pytest.mark.skipif(len(PATHS) < 2, reason="needs Numba")
@pytest.mark.parametrize(("shape", "axis"), [((30_000,), None), ((50, 600), 0), ((600, 50), 1), ((5000, 6), 0)])
def test_each_way_gives_the_same_digits(shape, axis) -> None:
    rng = np.random.default_rng(0)
    for x in (rng.random(shape), rng.standard_normal(shape), np.full(shape, 0.1)):
        x = x.astype(F4)
        with by("kernel"):
            one = total(x, axis)
        with by("numpy"):
            other = total(x, axis)
        assert np.array_equal(one, other) and np.array_equal(one, total(x, axis))


@pytest.mark.parametrize("size", [3, 17, 3000, 40_000])
def test_partial_sums_beyond_the_range_of_float32(size) -> None:
    x = np.resize(np.array([3e38, 3e38, -3e38, -3e38], F4), 4 * size)
    assert total(x) == 0 and (total(np.stack([x, x], 1), 0) == 0).all()
    x[:] = -0.0
    assert not np.signbit(total(x)) and str(total(x[:0])) == "0.0"


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf]], ids=str)
@pytest.mark.parametrize(
    ("shape", "axis"), [((7,), None), ((60,), 0), ((20_000,), None), ((70, 300), 0), ((70, 300), 1)]
)
def test_what_is_not_finite_is_numpys(shape, axis, values) -> None:
    x = np.ones(shape, F4)
    x.reshape(-1)[2 : 2 + len(values)] = values
    with np.errstate(invalid="ignore"):
        assert np.array_equal(total(x, axis), np.add.reduce(x, axis), equal_nan=True)


@pytest.mark.parametrize("axis", [2, -3, (0, 0), (0, 2)])
def test_axes_that_do_not_fit_are_refused(axis) -> None:
    with pytest.raises(ValueError):
        total(np.ones((200, 200), F4), axis)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_column(bad) -> None:
    x = np.ones((5000, 3), F4)
    x[4321, 1] = bad
    got = total(x, 0)
    assert got[0] == got[2] == 5000 and str(got[1]) == str(F4(bad))


@wide_floats
def test_the_mean_of_millions_of_equal_numbers(dtype) -> None:
    x = np.broadcast_to(dtype(200), (1_500_000, 3))
    assert (tg.mean(x, axis=0).numpy() == 200).all()
    assert (tg.mean(np.ascontiguousarray(x), axis=0).numpy() == 200).all()
    assert (tg.sum(tg.ones((40_000_000 // 3, 3), dtype="float32"), axis=0).numpy() == 40_000_000 // 3).all()


def test_float16_is_summed_in_float32() -> None:
    x = np.full((70000, 2), 0.01, F2)
    assert_sum(tg.sum(x, axis=0).numpy(), x, 0)
    assert_sum(tg.mean(x * F2(1e4), axis=0).numpy(), (x * F2(1e4)) / WIDE(70000), 0)
    g = tg.tensor(np.zeros(2, F2), requires_grad=True)
    assert_sum(tg.gradients(g + x, g, x).numpy(), x, 0, ulps=32)


# every reduction, as it is declared ----------------------------------------------------------------------------------

REDUCTIONS = [
    op for op in CATALOGUE.values() if op.kind.name == "reduction" and "axis" in op.attrs and op.dtype != "bool"
]


@wide_floats
@pytest.mark.parametrize("layout", ["C", "F", "moved"])
@pytest.mark.parametrize("op", REDUCTIONS, ids=lambda op: op.name)
def test_every_reduction_over_a_long_axis(op, layout, dtype) -> None:
    """Against the forward in wider floats, over the long axis and over all axes but one."""
    rng = np.random.default_rng(1)
    x = laid_out((1.0 + (0.01 if op.name == "prod" else 0.5) * rng.uniform(-1, 1, (9000, 2, 3))).astype(dtype), layout)
    wider = F8 if dtype == F4 else WIDE
    for axis in (0, (0, 2)) if op.dtype != "int" and op.name != "hardmax" else (0,):
        got = op.public(x, axis=axis).numpy()
        flat = np.ascontiguousarray(np.moveaxis(x, 1, 0) if axis != 0 else np.moveaxis(x, 0, -1)).astype(wider)
        flat = flat.reshape(2, -1) if axis != 0 else flat
        expected = np.asarray(op.forward(flat, axis=-1))
        if op.name == "hardmax":
            expected = np.moveaxis(expected, -1, 0)
        error = np.abs(got.astype(wider) - expected.astype(wider)) / np.abs(expected.astype(wider)).max()
        assert got.dtype.kind == "i" or error.max() <= 8 * np.finfo(dtype).eps, op.name
        assert got.dtype.kind != "i" or np.array_equal(got, expected)


@wide_floats
def test_a_variance_far_from_zero(dtype) -> None:
    """Of numbers whose mean is a million times their deviation."""
    x = (1e4 + 0.01 * np.random.default_rng(0).standard_normal((3000, 4))).astype(dtype)
    t = tg.tensor(x, requires_grad=True)
    y = tg.var(t, axis=0)
    near = x.astype(WIDE) - 10000  # even long double would lose digits of the mean
    centred = near - exact(near, 0) / 3000
    assert_sum(y.numpy(), centred * centred / 3000, 0)
    (d,) = tg.gradients(tg.sum(y), [t])
    assert np.abs(d.numpy() - centred / 1500).max() <= 32 * np.finfo(dtype).eps * np.abs(centred / 1500).max()


# gradients ------------------------------------------------------------------------------------------------------


def forms(function, *leaves):
    """Gradients eager, recorded, traced, and written out."""
    yield "eager", function(*leaves)
    graph = tg.trace(function, *leaves)
    yield "traced", graph(*leaves)
    yield "written out", graph.differentiate()(*leaves)
    yield "transformed", graph.transform()(*leaves)


@wide_floats
@pytest.mark.parametrize("layout", ["C", "F"])
def test_the_gradient_of_broadcasting(dtype, layout) -> None:
    g = laid_out(np.random.default_rng(0).random((16384, 6)).astype(dtype), layout)
    b, c = tg.tensor(np.zeros(6, dtype), requires_grad=True), tg.tensor(np.zeros((16384, 1), dtype), requires_grad=True)

    def gradients(b, c, g):
        return tg.gradients((b + c) * g, [b, c], tg.ones((16384, 6), dtype=str(np.dtype(dtype))))

    results = list(forms(gradients, b, c, tg.tensor(g)))
    for name, (db, dc) in results:
        assert_sum(db.numpy(), g, 0, what=name)
        assert_sum(dc.numpy()[:, 0], g, 1, what=name)
        assert np.array_equal(db.numpy(), results[0][1][0].numpy()), "the same bits in every form"
    recorded = tg.gradients(b + c, [b, c], g, create_graph=True)
    assert_sum(recorded[0].numpy(), g, 0)


def test_the_bias_of_a_linear_layer() -> None:
    layer, rng = nn.Linear(8, 64), np.random.default_rng(0)
    x, g = rng.standard_normal((16384, 8)).astype(F4), rng.random((16384, 64)).astype(F4)
    (tg.tensor(g) * layer(tg.tensor(x))).sum().backward()
    assert_sum(layer.bias.grad.numpy(), g, 0)


@wide_floats
@pytest.mark.parametrize("n", [4096, 30001])
def test_a_matrix_times_a_long_vector(n, dtype) -> None:
    """And the gradient of a layer with one output."""
    rng = np.random.default_rng(0)
    for m, v, ulps in ((rng.random((n, 3)), rng.random(n), 8), (np.full((n, 3), 0.3), np.full(n, 0.7), 32)):
        m, v = m.astype(dtype), v.astype(dtype)
        terms = m.astype(WIDE) * v[:, None]
        for a, b in (
            (v, m),
            (v, np.asfortranarray(m)),
            (v[None], m),
            (m.T, v),
            (np.ascontiguousarray(m.T), v[:, None]),
        ):
            y = (tg.tensor(a) @ tg.tensor(b)).numpy()
            assert y.shape == np.matmul(a, b).shape and y.dtype == dtype
            assert_sum(y.reshape(3), terms, 0, ulps)
        w = tg.tensor(np.zeros((3, 1), dtype), requires_grad=True)
        results = list(forms(lambda w, m=m, v=v: tg.gradients(tg.tensor(m) @ w, [w], v[:, None]), w))
        for name, (d,) in results:
            assert_sum(d.numpy()[:, 0], terms, 0, ulps=32, what=name)
            assert np.array_equal(d.numpy(), results[0][1][0].numpy()), "the same bits in every form"
    with pytest.raises(ValueError):
        tg.tensor(v) @ tg.tensor(m[:-1])
    assert (tg.ones((5000,), dtype="int64") @ tg.ones((5000, 2), dtype="int64")).tolist() == [5000, 5000]


@wide_floats
@pytest.mark.parametrize("n", [9000, 100_000])
def test_a_product_of_long_vectors(n, dtype) -> None:
    """Of equal numbers too, where all rounding errors of a sum have one sign."""
    rng = np.random.default_rng(0)
    for x, y in ((np.full(n, 0.3), np.full(n, 0.3)), (rng.random(n), rng.standard_normal(n))):
        x, y = x.astype(dtype), y.astype(dtype)
        terms = x.astype(WIDE) * y
        for a, b in ((x, y), (x[None], y), (x, y[:, None]), (x[None], y[:, None]), (x[::-1], y[::-1])):
            got = (tg.tensor(a) @ tg.tensor(b)).numpy()
            assert got.shape == np.matmul(a, b).shape and got.dtype == dtype
            assert_sum(got.reshape(()), terms)
        assert_sum(tg.vecdot(x, y).numpy(), terms)
        assert_sum(tg.einsum("bi,bi->b", np.stack([x, x]), np.stack([y, y])).numpy(), np.stack([terms, terms]), 1)
    with pytest.raises(ValueError):
        tg.tensor(x) @ tg.tensor(y[:-1])


ROWS = 60_000 if jit.compiled() else 6_000  # plain Python takes long


@wide_floats
@pytest.mark.parametrize("impl", ["fused", "composed"])
def test_normalisations_of_many_rows(impl, dtype) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.random((ROWS, 3)).astype(dtype), np.full((ROWS, 3), 0.1, dtype)
    g[:, 1] = rng.random(ROWS)
    for op in (tg.batch_norm, tg.layer_norm):
        leaves = [tg.tensor(v, requires_grad=True) for v in (x, np.ones(3, dtype), np.zeros(3, dtype))]
        y, mu, var = op(*leaves, impl=impl)
        assert_sum(tg.gradients(y, leaves, g)[2].numpy(), g, 0, what=op.__name__)
        if op is tg.batch_norm:
            assert_sum(mu.numpy(), x / WIDE(ROWS), 0)
            centred = x.astype(WIDE) - exact(x, 0) / ROWS
            assert_sum(var.numpy(), centred * centred / ROWS, 0)


@wide_floats
@pytest.mark.parametrize("impl", ["fused", "composed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_weighted_loss_of_many_rows(impl, smoothing, dtype) -> None:
    """The divisor is a sum over the rows too."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((ROWS, 2), dtype), rng.integers(0, 2, ROWS)
    w = np.array([0.1, 0.7], dtype)
    got = tg.softmax_cross_entropy(x, y, weight=w, label_smoothing=smoothing, impl=impl).numpy()
    log2, wide = np.log(WIDE(2)), w.astype(WIDE)
    each = (1 - smoothing) * wide[y] + smoothing * wide.mean()
    expected = log2 * exact(each) / exact(wide[y])
    assert abs(got - expected) <= 8 * np.finfo(dtype).eps * expected


@wide_floats
@pytest.mark.parametrize("size", [0, 7, 1024, 200_001])
def test_the_norm_of_many_equal_numbers(size, dtype) -> None:
    x = np.full((size, 1), 0.3, dtype)
    *_, norm = tg.clip_norm([tg.tensor(x), tg.ones((2,), dtype="float64")], 1e6)
    expected = np.sqrt(exact(x.astype(WIDE) ** 2)[()] + 2)
    assert abs(norm.numpy() - expected) <= 8 * np.finfo(F8).eps * expected


@wide_floats
def test_a_row_taken_many_times(dtype) -> None:
    table, places = tg.tensor(np.zeros((3, 2), dtype), requires_grad=True), np.arange(40000) % 2
    g = np.random.default_rng(0).random((40000, 2)).astype(dtype)
    d = tg.gradients(table[places], table, g).numpy()
    for k in (0, 1):
        assert_sum(d[k], g[places == k], 0)


def test_the_statistics_of_a_normalizer() -> None:
    x = np.full((300000, 2), 0.1) + 1e-3 * np.random.default_rng(0).random((300000, 2))
    norm = Normalizer().fit(x)
    assert_sum(norm.mean, x / WIDE(300000), 0)
    centred = x.astype(WIDE) - exact(x, 0) / 300000
    assert_sum(norm.state_dict()["m2"], centred * centred, 0)


def computing(tree):
    """The nodes of a module that compute results: not oracles, which go another way, nor functions of tensors."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.keyword) and node.arg == "oracle":
            continue
        if isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list}
            if "function" in decorators or "oracle" in node.name:
                continue
        yield node
        yield from computing(node)


def test_sums_are_made_in_one_place() -> None:
    """Nothing in the engine or in an op adds up an axis by NumPy's own sum; asking it for a dtype is no sum."""
    root = Path(__file__).resolve().parent.parent
    found = []
    for path in [*root.glob("ops/**/*.py"), *root.glob("tensorgraph/engine/*.py"), *root.glob("tensorgraph/data/*.py")]:
        for node in computing(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                numpys = called in {"np.sum", "np.mean", "np.var", "np.std", "np.add.reduce"}
                if (numpys or called.endswith((").sum", ").mean"))) and "np.zeros(0" not in ast.unparse(node):
                    found.append(f"{path.relative_to(root)}:{node.lineno}: {called}")
    assert not found, "tensorgraph.engine.sums.total keeps the digits"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [((200_000,), 0), ((3, 5_001), 1), ((5_001, 3), 0), ((33, 40, 2), 1)])
def test_each_running_sum_keeps_its_digits(dtype, shape, axis):
    x = np.random.default_rng(0).random(shape).astype(dtype)
    for laid in (x, np.asfortranarray(x), x[::-1]):
        exact = np.cumsum(laid.astype(np.longdouble), axis)
        found = tg.cumsum(tg.tensor(laid), axis).numpy()
        assert found.dtype == dtype
        assert np.max(np.abs(found - exact) / np.spacing(exact.astype(dtype))) <= 8


def test_running_sums_of_what_is_no_number():
    for values in ([np.inf, 1.0, -np.inf, 2.0] + [1.0] * 60, [1.0] * 40 + [np.nan] + [1.0] * 40, [1e308] * 100):
        x = np.array(values)
        with np.errstate(all="ignore"):
            assert np.array_equal(tg.cumsum(x).numpy(), np.cumsum(x), equal_nan=True)


@pytest.mark.parametrize("n", [20, 114, 1000, 4000])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (2, -1)])
def test_sums_of_what_cancels(n, shape):
    """Half of it positive, half of it negative: what is left of a float32 sum is the error of its partial sums."""
    for seed in range(5):
        x = np.random.default_rng(seed).uniform(0.5, 1, n).astype(F4)
        x[n // 2 :] *= -1
        x[-1] -= x.astype(WIDE).sum()
        x = x.reshape(shape)
        assert_sum(tg.sum(x).numpy(), x)
        if shape != (2, -1) and n > 128:
            assert_sum(tg.sum(x, axis=0).numpy(), x, 0)


@pytest.mark.parametrize("shape", [(70000,), (20000, 3), (3, 20000), (4096, 20)])
def test_large_sums_of_either_sign(shape):
    for seed in range(5):
        x = np.random.default_rng(seed).normal(size=shape).astype(F4)
        x -= x.mean()
        for axis in (None, 0):
            assert_sum(tg.sum(x, axis=axis).numpy(), x, axis)

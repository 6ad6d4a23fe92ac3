"""Forward against NumPy in a wider type, or a second, independent expression where NumPy has no such function."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import tensorgraph as tg
from tensorgraph import testing
from tensorgraph.engine.op import CATALOGUE, Op


def _getitem(x: Any, indices: Any, *, key: Any) -> Any:
    full: list[Any] = []
    for item in key:
        if isinstance(item, tuple) and item[0] == "slice":
            full.append(slice(*item[1:]))
        elif isinstance(item, tuple):
            full.append(indices[item[1]])
        else:
            full.append({"newaxis": None, "...": ...}.get(item, item))
    return x[tuple(full)]


def _scatter_add(g: Any, indices: Any, *, key: Any, shape: Any) -> Any:
    out = np.zeros(shape, g.dtype)
    numbers = _getitem(np.arange(out.size).reshape(shape), indices, key=key)
    for place, value in zip(numbers.reshape(-1), np.broadcast_to(g, numbers.shape).reshape(-1), strict=True):
        out.flat[place] += value
    return out


def _put(x: Any, v: Any, indices: Any, *, key: Any) -> Any:
    out = x.copy()
    numbers = _getitem(np.arange(x.size).reshape(x.shape), indices, key=key)
    for place, value in zip(numbers.reshape(-1), np.broadcast_to(v, numbers.shape).reshape(-1), strict=True):
        out.flat[place] = value
    return out


def _add_along_axis(g: Any, indices: Any, *, axis: int, shape: Any) -> Any:
    out = np.zeros(shape, g.dtype)
    for place in np.ndindex(g.shape):
        to = list(place)
        to[axis] = np.broadcast_to(indices, g.shape)[place]
        out[tuple(to)] += g[place]
    return out


def _softmax(x: Any, *, axis: int = -1) -> Any:
    return scipy.special.softmax(x, axis=axis) if x.size else x


def _log_softmax(x: Any, *, axis: int = -1) -> Any:
    return scipy.special.log_softmax(x, axis=axis) if x.size else x


def _hardmax(x: Any, *, axis: int = -1) -> Any:
    if not x.size:
        return x
    moved = np.moveaxis(x, axis, -1)
    return np.moveaxis(np.eye(moved.shape[-1])[moved.argmax(-1)], -1, axis)


def _batch_norm(x: Any, gamma: Any, beta: Any, *, axis: int = 1, eps: float = 1e-5) -> Any:
    moved = np.moveaxis(x, axis, -1)
    flat = moved.reshape(-1, moved.shape[-1])
    mu, var = flat.mean(0), flat.var(0)
    return np.moveaxis((moved - mu) / np.sqrt(var + eps) * gamma + beta, -1, axis), mu, var


def _batch_norm_relu(*args: Any, **attrs: Any) -> Any:
    y, mu, var = _batch_norm(*args, **attrs)
    return np.maximum(y, 0), mu, var


def _layer_norm(x: Any, gamma: Any = 1.0, beta: Any = 0.0, *, axis: int = -1, eps: float = 1e-5) -> Any:
    k = axis % x.ndim
    flat = x.reshape(*x.shape[:k], -1)
    mu, var = flat.mean(-1), flat.var(-1)
    h = (flat - mu[..., None]) / np.sqrt(var + eps)[..., None]
    return h.reshape(x.shape) * gamma + beta, mu, var


def _rms_norm(x: Any, gamma: Any = 1.0, *, axis: int = -1, eps: float = 1e-6) -> Any:
    squares = np.mean(x * x, tuple(range(axis % x.ndim, x.ndim)), keepdims=True)
    return x / np.sqrt(squares + eps) * gamma


def _cross_entropy(
    logits: Any, target: Any, weight: Any = None, *, axis: int = -1, ignore_index: int | None = None,
    label_smoothing: float = 0.0, reduction: str = "mean",
) -> Any:  # fmt: skip
    """One row after another, as SEMANTICS writes it."""
    z = np.moveaxis(logits, axis, -1)
    classes = z.shape[-1]
    soft = target.dtype.kind == "f"
    q_all = np.moveaxis(target, axis, -1).reshape(-1, classes) if soft else target.reshape(-1)
    rows, masses = [], []
    for row, label in zip(z.reshape(-1, classes), q_all, strict=True):
        if not soft and label == ignore_index:
            rows.append(row[0] * 0)
            continue
        q = label if soft else np.eye(classes)[label]
        w = np.ones(classes) if weight is None else weight
        smooth = (1 - label_smoothing) * q + label_smoothing / classes
        rows.append((w * smooth * (scipy.special.logsumexp(row) - row)).sum())
        masses.append((w * q).sum())
    loss = np.array(rows).reshape(z.shape[:-1])
    if reduction == "none":
        return loss
    total = loss.sum()
    if reduction == "sum":
        return total
    return total / (len(masses) if reduction == "batchmean" or weight is None else sum(masses))


def in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """SciPy's functions that know no longer type."""
    return lambda *inputs, **attrs: function(*[np.asarray(x, np.float64) for x in inputs], **attrs)


def _gamma_share(a: Any, x: Any) -> Any:
    """The incomplete gamma function P by its series, in longdouble: SciPy's is off by up to 100 units."""
    a, x = np.asarray(a, np.longdouble), np.asarray(x, np.longdouble)
    z, pi = a + 20, 4 * np.arctan(np.longdouble(1))
    rest = sum(b / (2 * k * (2 * k - 1) * z ** (2 * k - 1)) for k, b in enumerate(scipy.special.bernoulli(16)[2::2], 1))
    stirling = (z - 0.5) * np.log(z) - z + np.log(2 * pi) / 2 + rest
    log_gamma = stirling - sum(np.log(a + k) for k in range(20))
    term = total = np.ones_like(a * x)
    for k in range(1, 120):
        term = term * (x / (a + k))
        total = total + term
    return np.exp(a * np.log(x) - x - log_gamma) / a * total


def _gelu(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        return x / (1 + np.exp(-np.sqrt(8 / np.longdouble(np.pi)) * (x + 0.044715 * x**3)))
    # erfcx changes slowly, so that what x / √2 loses by rounding does not matter
    slow = scipy.special.erfcx(np.asarray(-x / np.sqrt(np.longdouble(2)), np.float64))
    return x / 2 * slow * np.exp(-x * x.astype(np.longdouble) / 2)


def _gelu_slope(x: Any, approximate: str) -> Any:
    x = x.astype(np.longdouble)
    if approximate == "tanh":
        scale = np.sqrt(8 / np.longdouble(np.pi))
        s = 1 / (1 + np.exp(-scale * (x + 0.044715 * x**3)))
        return s * (1 + x * scale * (1 + 3 * 0.044715 * x * x) * (1 - s))
    return scipy.special.ndtr(x.astype(np.float64)) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.longdouble(np.pi))


# a second expression for what NumPy has not under the op's name, or has with other arguments
EXPRESSIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": scipy.special.expit,
    "erf": in_double(scipy.special.erf),
    "erfc": in_double(scipy.special.erfc),
    "ndtr": in_double(scipy.special.ndtr),
    "ndtri": in_double(scipy.special.ndtri),
    "erfinv": in_double(scipy.special.erfinv),
    "lgamma": in_double(scipy.special.gammaln),
    "gammainc": _gamma_share,
    "gammaincc": lambda a, x: 1 - _gamma_share(a, x),
    "betaln": in_double(scipy.special.betaln),
    "polygamma_gap": lambda a, b, n: in_double(
        lambda a, b: scipy.special.polygamma(n, a) - scipy.special.polygamma(n, a + b)
    )(a, b),
    "log_ndtr": in_double(scipy.special.log_ndtr),
    "digamma": in_double(scipy.special.digamma),
    "polygamma": lambda x, n: in_double(lambda x: scipy.special.polygamma(n, x))(x),
    "gelu": lambda x, approximate="none": _gelu(x, approximate),
    "gelu_pull": lambda a, x, approximate="none": a * _gelu_slope(x, approximate),
    "left_shift": lambda a, b: a * 2**b,
    "right_shift": lambda a, b: a // 2**b,
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: (x + abs(x)) / 2,
    "leaky_relu": lambda x, slope=0.01: np.where(x < 0, slope * x, x),
    "logsumexp": lambda x, axis=None, keepdims=False: scipy.special.logsumexp(x, axis=axis, keepdims=keepdims),
    "clip": lambda x, a_min=None, a_max=None: np.minimum(
        np.maximum(x, -np.inf if a_min is None else a_min), np.inf if a_max is None else a_max
    ),
    "var": lambda x, axis=None, keepdims=False, correction=0: np.var(x, axis=axis, keepdims=keepdims, ddof=correction),
    "astype": lambda x, dtype: x.astype(dtype),
    "alias": lambda x: x,
    "stop_gradient": lambda x: x,
    "class_targets": lambda target, *, classes, ignore_index=None: target,
    "class_weights": lambda weight: weight,
    "mean_divisor": lambda divisor, *, empty="zero": divisor,
    "split": lambda x, sizes, axis=0: tuple(np.split(x, np.cumsum(sizes)[:-1], axis)),
    "pad": lambda x, widths, mode="constant", value=0.0: (
        np.pad(x, widths, constant_values=value) if mode == "constant" else np.pad(x, widths, mode)
    ),
    "reshape": lambda x, shape: np.reshape(x, shape),
    "getitem": _getitem,
    "scatter_add": _scatter_add,
    "put": _put,
    "add_along_axis": _add_along_axis,
    "zeros": lambda shape, dtype=None: np.zeros(shape, np.float32),
    "ones": lambda shape, dtype=None: np.ones(shape, np.float32),
    "full": lambda shape, value, dtype=None: np.full(shape, value, np.float32),
    "eye": lambda n, m=None, k=0, dtype=None: np.eye(n, m, k, dtype=np.float32),
    "one_hot": lambda labels, classes, dtype=None, axis=-1: np.moveaxis(
        np.eye(classes, dtype=np.float32)[labels], -1, axis
    ),
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "hardmax": _hardmax,
    "batch_norm": _batch_norm,
    "batch_norm_relu": _batch_norm_relu,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "softmax_cross_entropy": _cross_entropy,
    "clip_norm": lambda grads, limit: (lambda n: (*[g * min(1.0, float(limit) / n) for g in grads], n))(
        np.sqrt(sum((g * g).sum() for g in grads))
    ),
}

# tested for their meaning elsewhere
ELSEWHERE = {
    "uniform": "test_engine_random", "normal": "test_engine_random", "permutation": "test_engine_random",
    "gradients": "test_trace_steps", "custom_vjp": "test_transforms", "checkpoint": "test_transforms",
    "turns": "test_engine_random", "arange": "below", "running_average": "the tests of nn.BatchNorm",
    "residuals": "test_passes_differentiate", "standard_exponential": "test_random", "standard_gamma": "test_random",
    "integers": "test_random", "gamma_slope": "test_random", "scan": "test_scan",
    "gammainc_slope": "test_special", "log_ndtr_slope": "test_special",
}  # fmt: skip


def expression(op: Op) -> Callable[..., Any] | None:
    if op.oracle is not None:
        return op.oracle
    if op.name in EXPRESSIONS:
        return EXPRESSIONS[op.name]
    return getattr(np, op.name, None)


OPS = [
    op for op in CATALOGUE.values()
    if op.name not in ELSEWHERE and not op.name.endswith("_vjp") and not op.name.endswith("_update")
]  # fmt: skip


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_has_a_second_expression(op: Op) -> None:
    assert expression(op) is not None, f"{op.name}: NumPy has no such function; declare the op with oracle="


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("op", [op for op in OPS if expression(op)], ids=lambda op: op.name)
def test_forward(op: Op, dtype: Any) -> None:
    """The same inputs in a type twice as wide, in the second expression."""
    for case in testing.examples_of(op):
        cast = case.cast(dtype)
        ufunc = op.kind.name == "elementwise"
        wide = np.longdouble if dtype == np.float64 and op.kind.name in ("elementwise", "reduction") and \
            op.name not in ("sigmoid", "logsumexp", "hardmax") else np.float64  # fmt: skip
        given = [i for i in cast.cast(wide).inputs if i is not None]
        expected = expression(op)(*given, **cast.attrs)  # type: ignore[misc]
        expected = expected if isinstance(expected, tuple) else (expected,)
        outputs = cast()
        assert len(outputs) == len(expected)
        for t, e in zip(outputs, expected, strict=True):
            e = np.asarray(e)
            if t.dtype.kind != "f":
                assert np.array_equal(t.numpy(), e), f"{cast}: {t.numpy()}, expected {e}"
                continue
            with np.errstate(over="ignore"):
                limit = np.asarray(e).astype(t.dtype)
            e = np.where(np.isfinite(limit), e, limit)  # what does not fit is infinite
            same = wide == np.float64 == dtype
            scale = np.abs(np.where(np.isfinite(e), e, 0))
            if not ufunc:  # terms of a sum may cancel: the scale is the largest over the reduced axis
                parts = [np.abs(a).max(initial=0) for _, a in cast.places() if a.dtype.kind == "f"]
                scale = max([scale.max(initial=0), *parts]) if op.kind.name == "reduction" else scale.max(initial=0)
            testing.assert_close(
                t, e, scale=scale, what=str(cast),
                ulps=16 if same else None, reason="the expression is rounded too" if same else "",
            )  # fmt: skip


def test_arange_is_numpys() -> None:
    for args in ((5,), (2, 9), (1, 10, 3), (5, 0, -2), (0.0, 1.0, 0.25), (3, 3)):
        got = tg.arange(*args)
        expected = np.arange(*args)
        assert np.array_equal(got.numpy(), expected)
        assert got.dtype == (np.float32 if expected.dtype.kind == "f" else np.int64)


def test_kinks_and_ties() -> None:
    """The gradients at kinks and ties that SEMANTICS fixes."""

    def slope(function: Callable[..., Any], *at: float) -> list[float]:
        found = tg.grad(lambda *xs: function(*xs).sum(), tuple(range(len(at))))(*at)
        return [float(g) for g in found]

    assert slope(tg.relu, 0.0) == [0.0]
    assert slope(tg.absolute, 0.0) == [0.0]
    assert slope(tg.maximum, 1.0, 1.0) == [0.5, 0.5]
    assert slope(tg.minimum, 1.0, 1.0) == [0.5, 0.5]
    assert slope(lambda x: tg.clip(x, a_min=-1.0, a_max=1.0), 1.0) == [1.0]
    assert slope(lambda x: tg.clip(x, a_min=-1.0, a_max=1.0), -1.0) == [1.0]
    assert slope(tg.leaky_relu, 0.0) == [pytest.approx(0.01)]
    assert slope(tg.power, 0.0, 2.0) == [0.0, 0.0]
    for reduce in (tg.max, tg.min):
        g = tg.grad(lambda x, reduce=reduce: reduce(x))(np.array([2.0, 2.0, 2.0, 2.0]))
        assert g.tolist() == [0.25] * 4
    assert tg.grad(lambda x: tg.max(x))(np.array([1.0, 3.0, 3.0])).tolist() == [0.0, 0.5, 0.5]


def test_products_through_zeros() -> None:
    for values in ([0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0], [4.0]):
        got = tg.grad(lambda x: tg.prod(x))(np.array(values))
        expected = [np.prod(values[:i] + values[i + 1 :]) for i in range(len(values))]
        assert got.tolist() == expected


def test_where_lets_no_nan_through() -> None:
    x = tg.tensor([0.0, 4.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        y = tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), 0.0).sum()
    y.backward()
    assert x.grad.tolist() == [0.0, 0.25]


@pytest.mark.parametrize("n", [70_000])
def test_float16_reductions_over_many_elements(n: int) -> None:
    """More elements than float16 can count."""
    x = np.linspace(-1, 1, n).astype(np.float16)
    assert abs(float(tg.var(tg.tensor(x))) - float(np.var(x.astype(np.float64)))) < 1e-3
    assert abs(float(tg.mean(tg.tensor(x)))) < 1e-3
    for reduce in (tg.mean, tg.max, lambda t: tg.var(t * 1.0)):
        t = tg.tensor(np.ones(n, np.float16), requires_grad=True)
        reduce(t).backward()
        assert np.isfinite(t.grad.numpy()).all()
    t = tg.tensor(np.ones(n, np.float16), requires_grad=True)
    tg.mean(t).backward()
    testing.assert_close(t.grad.numpy(), np.full(n, np.float16(1 / n)))
    t = tg.tensor(np.ones(n, np.float16), requires_grad=True)
    tg.max(t).backward()
    testing.assert_close(t.grad.numpy(), np.full(n, np.float16(1 / n)))


def test_float_functions_of_integers_give_the_default_dtype() -> None:
    for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "sigmoid", "softplus", "sqrt", "reciprocal"):
        for dtype in ("bool", "int8", "uint8", "int32", "int64"):
            x = tg.ones((2,), dtype=dtype)
            y = CATALOGUE[name].public(x)
            assert y.dtype == np.float32, f"{name} of {dtype} gives {y.dtype}"
            testing.assert_close(y, CATALOGUE[name].public(tg.ones((2,))), what=f"{name} of {dtype}")


def test_float64_comes_only_from_float64() -> None:
    ints, floats = tg.arange(2), tg.ones((2,))
    assert tg.concatenate([floats, ints]).dtype == np.float32
    assert tg.stack([floats, ints]).dtype == np.float32
    assert (ints * floats).dtype == np.float32
    assert (ints / 2).dtype == np.float32
    assert tg.mean(ints).dtype == np.float32
    assert floats.astype("float64").dtype == np.float64
    assert tg.tensor([1, 2]).astype("float64").dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 63, 64, 200])
def test_a_choice_between_numbers_and_zero_keeps_every_bit(dtype: Any, size: int) -> None:
    """With many elements it is done on the bits, with few by NumPy's own function."""
    hostile = np.resize(np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 5e-324, -1.5], dtype), size)
    c = np.random.default_rng(1).random(size) > 0.5
    for given, expected in (((c, hostile, 0.0), np.where(c, hostile, dtype(0))),
                            ((c, 0.0, hostile), np.where(c, dtype(0), hostile)),
                            ((c, hostile, -0.0), np.where(c, hostile, dtype(-0.0)))):  # fmt: skip
        out = tg.where(*given).numpy()
        assert out.dtype == dtype and out.tobytes() == expected.tobytes()

"""Derivatives of saturated functions, element by element: where the value has no digits left, its slope still has."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import testing
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing.compare import ULPS

F4, F8, WIDE = np.float32, np.float64, np.longdouble
wide_floats = pytest.mark.parametrize("dtype", [F4, F8])
both = pytest.mark.parametrize("impl", ["fused", "composed"])


def assert_each(got, expected, order, what) -> None:
    """Every element relative to itself, where the dtype holds it with all its digits."""
    got, expected = np.asarray(got), np.asarray(expected, WIDE)
    info = np.finfo(got.dtype)
    fits = (abs(expected) > 4 * info.tiny) & (abs(expected) < info.max / 4)
    error = np.where(fits, abs(got - expected) / np.where(expected == 0, 1, abs(expected)), 0) / info.eps
    worst = np.unravel_index(int(error.argmax()), error.shape)
    assert error.max() <= ULPS[order], f"{what}: {got[worst]!r} at {worst}, expected {expected[worst]!r}"


def slope(x):
    e = np.exp(-abs(x))
    return e / (1 + e) ** 2


FUNCTIONS = {
    "sigmoid": (slope, lambda x: -slope(x) * np.tanh(x / 2)),
    "tanh": (lambda x: 4 * slope(2 * x), lambda x: -8 * slope(2 * x) * np.tanh(x)),
    "softplus": (lambda x: np.where(x > 0, 1 / (1 + np.exp(-abs(x))), np.exp(-abs(x)) / (1 + np.exp(-abs(x)))), slope),
    "expm1": (np.exp, np.exp),
    "tanhshrink": (lambda x: np.tanh(x) ** 2, lambda x: 8 * slope(2 * x) * np.tanh(x)),
}


@wide_floats
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("form", ["eager", "traced", "written out"])
def test_each_element_far_out(name, form, dtype) -> None:
    sizes = np.concatenate(
        [[0.01, 0.3], np.arange(1.0, 24), [30, 36, 37, 40, 60, 80], [] if dtype == F4 else [300, 700]]
    )
    x = tg.tensor(np.concatenate([-sizes[::-1], sizes]).astype(dtype), requires_grad=True)

    def derivatives(x):
        y = getattr(tg, name)(x)
        (first,) = tg.gradients(y, [x], np.ones(x.shape, x.dtype), create_graph=True)
        (second,) = tg.gradients(first, [x], np.ones(x.shape, x.dtype))
        return first, second

    run = derivatives if form == "eager" else tg.trace(derivatives, x)
    for order, (got, exact) in enumerate(
        zip((run.differentiate() if form == "written out" else run)(x), FUNCTIONS[name], strict=True), 1
    ):
        with np.errstate(over="ignore"):
            assert_each(got.numpy(), exact(x.numpy().astype(WIDE)), order, f"{name}, {form}, order {order}")


def test_known_values() -> None:
    assert float(tg.grad(tg.sigmoid)(tg.tensor(18.0))) == pytest.approx(1.5229979e-8, rel=1e-6)
    assert float(tg.grad(tg.grad(tg.grad(tg.tanh)))(tg.tensor(0.0))) == -2.0
    assert float(tg.grad(tg.grad(tg.grad(tg.sigmoid)))(tg.tensor(0.0))) == -0.125


@pytest.mark.parametrize(
    "text, rule", [("expm1", lambda g, out: g * (out + 1)), ("tanh", lambda g, out: g - g * out * out)]
)
def test_a_rule_that_cancels_is_found(text, rule) -> None:
    true = CATALOGUE[text]
    op = tg.op(f"saturated_{text}(x)", true.forward, kind="elementwise", dtype="float", vjp=dict(x=rule), doc="Wrong.")
    try:
        with pytest.raises(
            AssertionError, match=f"saturated_{text}.*: the derivative by x is .* units in its own last"
        ):
            testing.check(op, ["far_out"])
        testing.check(true.name, ["far_out"])
    finally:
        tg.remove_op(f"saturated_{text}")


# shares of classes ------------------------------------------------------------------------------------------------

ROWS = [[18, 0, -3], [40, 0, 1], [80, 3, 0], [0.5, -1, 2], [-9, 9, 0], [5, 5, -20], [1e4, 1e4 + 1, 1e4 - 20]]


def shares(x):
    """p, 1 - p and the derivative of p, without a difference of nearly equal numbers."""
    e = np.exp(x[None, :] - x[:, None])
    others = np.where(np.eye(len(x), dtype=bool), 0, e).sum(1)
    p, q = 1 / e.sum(1), others / e.sum(1)
    return p, q, np.where(np.eye(len(x), dtype=bool), p * q, -np.outer(p, p))


@both
@wide_floats
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_losses_of_confident_rows(row, dtype, impl) -> None:
    x = np.array(row, dtype)
    p, q, bent = shares(x.astype(WIDE))
    t = tg.tensor(x, requires_grad=True)
    for k in range(len(row)):
        one = np.eye(len(row), dtype=dtype)[k]
        gap = np.where(one == 1, -q, p)
        for what, y, sign in (
            ("index", tg.softmax_cross_entropy(t[None], np.array([k]), impl=impl), 1),
            ("one-hot", tg.softmax_cross_entropy(t[None], one[None], impl=impl), 1),
            ("log_softmax", tg.log_softmax(t, impl=impl)[k], -1),
        ):
            (first,) = tg.gradients(y, [t], create_graph=True)
            second = np.array([tg.gradients(first[i], [t], retain_graph=True)[0].numpy() for i in range(len(row))])
            assert_each(first.numpy(), sign * gap, 1, what)
            assert_each(second, bent, 2, f"second of {what}") if sign == 1 else assert_each(second, -bent, 2, what)
        (d,) = tg.gradients(tg.softmax(t, impl=impl)[k], [t])
        assert_each(d.numpy(), bent[k], 1, "softmax")


@wide_floats
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_logsumexp_over_one_axis_and_several(row, dtype) -> None:
    x = np.array(row, dtype)
    p, _, bent = shares(x.astype(WIDE))
    for shape, axis in (((3,), 0), ((3,), None), ((3, 1), (0, 1)), ((1, 3, 1), (0, 1))):
        t = tg.tensor(x.reshape(shape), requires_grad=True)
        (first,) = tg.gradients(tg.sum(tg.logsumexp(t, axis=axis)), [t], create_graph=True)
        flat = first.reshape((3,))
        second = np.array([tg.gradients(flat[i], [t], retain_graph=True)[0].numpy().reshape(3) for i in range(3)])
        assert_each(flat.numpy(), p, 1, "logsumexp")
        assert_each(second, bent, 2, "second of logsumexp")


def test_logsumexp_of_nothing_and_of_infinities() -> None:
    inf = np.inf
    for axis in (1, None, (0, 1)):
        t = tg.tensor(np.array([[-inf, 0.0, 0.0], [-inf] * 3], F4), requires_grad=True)
        assert tg.gradients(tg.sum(tg.logsumexp(t, axis=axis)), [t])[0].tolist() == [[0, 0.5, 0.5], [0, 0, 0]]
    assert tg.grad(tg.logsumexp)(tg.tensor(np.full((2, 2), -inf))).tolist() == [[0, 0], [0, 0]]
    assert tg.grad(tg.logsumexp)(tg.zeros((0,))).shape == (0,)
    assert float(tg.grad(tg.logsumexp)(tg.tensor(3.0))) == 1

"""Powers: whole exponents by products, and derivatives at zeros, at exponents 0, 1 and 2, and at negative bases."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.ops.kernels.powers import LEAST, MOST
from tensorgraph.ops.kernels.wide_power import wide_power
from tensorgraph.testing import assert_close
from tensorgraph.testing.compare import ULPS

HIGHER = {np.float16: np.float64, np.float32: np.float64, np.float64: np.longdouble}
PRECISE = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps


def numbers(dtype: Any) -> np.ndarray:
    info = np.finfo(dtype)
    special = [0.0, 1.0, np.inf, info.tiny, info.max, info.eps, 1 + info.eps, 1 - info.eps, 2.0, 1e-3, 17.3]
    special += [info.max ** (1 / n) * f for n in (2, 3, 5, 16) for f in (0.99, 1.01)]
    special += [info.tiny ** (1 / n) * f for n in (2, 3, 8) for f in (0.99, 1.01)]
    x = np.array(special, np.float64 if dtype is not np.float64 else np.longdouble).astype(dtype)
    some = np.random.default_rng(5).normal(0, 2, 500).astype(dtype)
    return np.concatenate([x, -x, [np.nan], some]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
@pytest.mark.parametrize("kind", [int, float])
def test_whole_powers_are_numpys(dtype: Any, kind: type) -> None:
    if dtype is np.float64 and not PRECISE:
        pytest.skip("no precision above float64 on this system")
    x = numbers(dtype)
    for n in [*range(LEAST - 2, MOST + 3), 31, -20]:
        with np.errstate(all="ignore"):
            exact = np.power(x.astype(HIGHER[dtype]), n)
            expected = exact.astype(dtype)
            got = (tg.tensor(x) ** kind(n)).numpy()
        assert got.dtype == dtype
        for same in (np.isnan, np.isposinf, np.isneginf, np.signbit):
            if same is not np.signbit:
                assert np.array_equal(same(got), same(expected)), (n, same, x[same(got) != same(expected)])
            else:
                assert np.array_equal(same(got)[~np.isnan(got)], same(expected)[~np.isnan(got)]), n
        finite = np.isfinite(expected)
        unit = np.maximum(np.abs(exact[finite]), np.finfo(dtype).tiny) * np.finfo(dtype).eps
        error = np.abs(got[finite].astype(HIGHER[dtype]) - exact[finite]) / unit
        assert error.max() <= ULPS[0], (n, x[finite][error.argmax()], float(error.max()))


def test_what_numpy_refuses_and_returns_for_other_exponents() -> None:
    with pytest.raises(ValueError, match="negative integer powers"):
        tg.tensor([2, 3]) ** -1
    assert (tg.tensor([2, -3]) ** 3).tolist() == [8, -27]
    assert (tg.tensor([0, 2]) ** 0).tolist() == [1, 1]
    x = tg.tensor([0.0, -2.0, 3.0])
    with np.errstate(all="ignore"):
        for n in (0.5, 2.5, -0.5, 17.0, 1e30, float("inf"), float("-inf"), float("nan"), True):
            assert np.array_equal((x**n).numpy(), np.power(x.numpy(), n), equal_nan=True), n
    assert (tg.tensor(2.0) ** 3).shape == () and float(tg.tensor(2.0) ** -2) == 0.25
    assert (tg.zeros((0, 3)) ** 3).shape == (0, 3)


def test_it_gives_an_array_of_its_own_and_leaves_its_input() -> None:
    for n in (0, 1, 2, 3, 6, -1, -3):
        x = np.full((3, 4), 2.0, np.float32)[:, ::2]
        t = tg.tensor(x, copy=False)
        y = t**n
        assert not np.shares_memory(y.numpy(), x) and (x == 2).all() and (y.numpy() == 2.0**n).all()


def test_whole_powers_in_a_graph_are_the_same_to_the_last_bit() -> None:
    x = np.random.default_rng(1).normal(size=50).astype(np.float32)
    for n in (-3, -1, 0, 1, 2, 3, 7, 16, 3.0, 2.5):

        def f(t: Any, n: Any = n) -> Any:
            return tg.value_and_grad(lambda t: (t**n).sum())(t)

        base = np.abs(x) if n == 2.5 else x
        value, gradient = tg.trace(f, base)(base)
        again, wanted = f(base)
        assert np.array_equal(value, again) and np.array_equal(gradient, wanted)


# x, b and what is known: value, d/dx, d/db, d²/dx², d²/dxdb, d²/db²; None where there is none or it is infinite
L2 = float(np.log(2.0))
KNOWN: list[tuple[float, float, tuple[float | None, ...]]] = [
    (2.0, 0.0, (1.0, 0.0, L2, 0.0, 0.5, L2**2)),
    (2.0, 1.0, (2.0, 1.0, 2 * L2, 0.0, L2 + 1, 2 * L2**2)),
    (2.0, 2.0, (4.0, 4.0, 4 * L2, 2.0, 4 * L2 + 2, 4 * L2**2)),
    (2.0, -1.0, (0.5, -0.25, 0.5 * L2, 0.25, 0.25 - 0.25 * L2, 0.5 * L2**2)),
    (0.0, 2.0, (0.0, 0.0, 0.0, 2.0, 0.0, 0.0)),
    (0.0, 3.0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    (0.0, 1.0, (0.0, 1.0, 0.0, 0.0, None, 0.0)),
    (0.0, 0.0, (1.0, 0.0, 0.0, 0.0, None, 0.0)),
    (-2.0, 0.0, (1.0, 0.0, None, 0.0, None, None)),
    (-2.0, 1.0, (-2.0, 1.0, None, 0.0, None, None)),
    (-2.0, 2.0, (4.0, -4.0, None, 2.0, None, None)),
    (-2.0, 3.0, (-8.0, 12.0, None, -12.0, None, None)),
    (-2.0, -1.0, (-0.5, -0.25, None, -0.25, None, None)),
    (0.0, -1.0, (np.inf, -np.inf, 0.0, None, None, 0.0)),
]


@pytest.mark.parametrize(("x", "b", "known"), KNOWN)
@pytest.mark.parametrize("how", ["eager", "traced", "recorded"])
def test_derivatives_to_second_order(x: float, b: float, known: tuple[float | None, ...], how: str) -> None:
    def by(f: Any, i: int) -> Any:
        return tg.grad(f, i)

    def power(a: Any, n: Any) -> Any:
        return a**n

    first = [by(power, 0), by(power, 1)]
    functions = [power, *first, by(first[0], 0), by(first[0], 1), by(first[1], 1)]
    at = (tg.tensor(x, dtype="float64"), tg.tensor(b, dtype="float64"))
    for i, (function, wanted) in enumerate(zip(functions, known, strict=True)):
        if wanted is None:
            continue
        with np.errstate(all="ignore"):
            if how == "traced":
                got = tg.trace(function, *at)(*at)
            elif how == "recorded":
                # beside an element elsewhere, as arrays, with the other order of the mixed derivative
                swapped = by(first[1], 0) if i == 4 and x != 0 else function
                got = swapped(*at)
            else:
                got = function(*at)
        assert_close(got, np.float64(wanted), order=min(i, 2) and (1 if i < 3 else 2), what=f"derivative {i}")
    # with the exponent as a number
    if b in (0.0, 1.0, 2.0, 3.0, -1.0):
        for n in (b, int(b)):
            f: Any = lambda a, n=n: a**n
            with np.errstate(all="ignore"):
                got = [f(at[0]), tg.grad(f)(at[0]), tg.grad(tg.grad(f))(at[0])]
            for g, wanted in zip(got, (known[0], known[1], known[3]), strict=True):
                if wanted is not None:
                    assert_close(g, np.float64(wanted), what=f"{x}**{n!r}")


def test_a_zero_base_never_leaks_through_either_factor() -> None:
    with np.errstate(all="ignore"):
        g = tg.grad(lambda b: (tg.tensor([0.0, 0.0, 2.0]) ** b).sum())(tg.tensor([-1.0, 1.0, 0.0]))
        assert g.tolist() == [0.0, 0.0, pytest.approx(L2)]
        assert tg.grad(lambda b: (0.0**b).sum())(tg.tensor([-1.0, 1.0])).tolist() == [0.0, 0.0]
        nothing = tg.grad(lambda a: (a ** tg.tensor([0.0, 0.0])).sum())(tg.tensor([np.nan, np.inf]))
    assert nothing.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("b", [-1.0, 0.5, 0.0, 1.0, 2.0])
def test_the_derivative_by_the_exponent_has_one_by_the_base_at_zero(b: float) -> None:
    """It is 0 there, and so is its own derivative: no 0 times infinity of the side that is not taken."""
    by_exponent = tg.grad(lambda a, n: (a**n).sum(), argnums=1)
    at = (tg.tensor([0.0, 2.0]), tg.tensor([b, b]))
    with np.errstate(all="ignore"):
        d = tg.grad(lambda a, n: by_exponent(a, n).sum())(*at)
    assert d.tolist() == [0.0, pytest.approx(2 ** (b - 1) * (1 + b * L2))]


@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 3, 5])
def test_numerical_derivatives_of_whole_powers(n: int) -> None:
    x = np.array([-2.5, -0.7, 0.3, 1.0, 4.0])
    h = 1e-5
    first = tg.grad(lambda a: (a**n).sum())
    second = tg.grad(lambda a: first(a).sum())
    assert np.allclose(first(x), ((x + h) ** float(n) - (x - h) ** float(n)) / (2 * h), rtol=1e-7, atol=1e-9)
    slope = (np.asarray(first(x + h)) - np.asarray(first(x - h))) / (2 * h)
    assert np.allclose(second(x), slope, rtol=1e-7, atol=1e-9)


def of_any_exponent() -> tuple[np.ndarray, np.ndarray]:
    """Bases of all sizes, and exponents by which the results are spread over the whole range."""
    rng = np.random.default_rng(6)
    spread = np.exp(rng.uniform(-700, 700, 700))
    near = [1 + rng.normal(size=700) * scale for scale in (1e-9, 1e-3, 0.2)]
    x = np.concatenate([spread, *near, rng.uniform(0, 1e-308, 300), 2.0 ** rng.integers(-1000, 1000, 200)])
    with np.errstate(all="ignore"):
        y = rng.uniform(-1080, 1030, x.size) / np.log2(x)
    return x, np.where(rng.random(x.size) < 0.4, rng.normal(size=x.size) * 10, y)


@pytest.mark.skipif(not PRECISE, reason="no precision above float64 on this system")
@pytest.mark.parametrize("compiled", [False, True])
def test_float64_powers_of_kernels_are_right_in_the_last_place(compiled: bool) -> None:
    x, y = of_any_exponent()
    power = tg.compile(lambda a, b: a**b) if compiled else wide_power
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
        got = np.asarray(power(x, y))
        unit = np.maximum(np.abs(exact), np.finfo(np.float64).tiny) * np.finfo(np.float64).eps
        finite = np.isfinite(np.power(x, y))
        error = (np.abs(got - exact) / unit)[finite]
    assert finite.sum() > 2500 and error.max() < 1.5, (x[finite][error.argmax()], y[finite][error.argmax()])


@pytest.mark.parametrize("compiled", [False, True])
def test_float64_powers_of_kernels_are_numpys_at_the_ends(compiled: bool) -> None:
    ends = [0.0, 1.0, np.inf, 2.0, 0.5, 3.0, 5e-324, 1e-310, 1e308, 2.0**53, 2.0**53 + 2, 1.5, 2.0**70, 1e300]
    ends += [1 + 2.0**-52, 1 - 2.0**-53]
    ends = np.array([*ends, *(-x for x in ends), np.nan])
    x, y = (a.ravel() for a in np.meshgrid(ends, ends))
    power = tg.compile(lambda a, b: a**b) if compiled else wide_power
    with np.errstate(all="ignore"):
        got, expected = np.asarray(power(x, y)), np.power(x, y)
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got)[known], np.signbit(expected)[known])
    np.testing.assert_array_equal((got == 0)[known], (expected == 0)[known])

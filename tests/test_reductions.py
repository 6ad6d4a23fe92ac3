"""Reductions of float16, and deviations of numbers whose squares leave their dtype's range."""

import numpy as np
import pytest

import tensorgraph as tg

F2, F4, F8 = np.float16, np.float32, np.float64
WIDE = np.longdouble


def assert_near(got, expected, ulps=8):
    got = np.asarray(got)
    assert np.all(np.abs(got.astype(WIDE) - expected) <= ulps * np.finfo(got.dtype).eps * np.abs(expected).max()), got


@pytest.mark.parametrize(("shape", "axis"), [((70000,), None), ((70000, 2), 0), ((2, 70000), 1), ((7, 10000), (0, 1))])
def test_the_exponentials_of_float16_are_summed_in_float32(shape, axis) -> None:
    z = tg.zeros(shape, dtype="float16")
    for out in (tg.logsumexp(z, axis=axis), tg.trace(lambda z: tg.logsumexp(z, axis=axis), z)(z)):
        assert out.dtype == F2
        assert_near(out, np.log(WIDE(70000)), 1)
    g = tg.grad(lambda z: tg.logsumexp(z, axis=axis).sum())(z)
    assert g.dtype == F2 and np.all(g.numpy() == F2(1 / 70000))


def test_products_of_float16_are_made_in_float32() -> None:
    """Whose partial products float16 does not hold."""
    x = np.array([[1e3, 1e3, 1e-3, 1e-3]] * 2, F2)
    exact = np.prod(x.astype(WIDE), 1)
    for out in (tg.prod(x, axis=1), tg.prod(x.T, axis=0), tg.prod(x.T.copy(), axis=0)):
        assert out.dtype == F2
        assert_near(out, exact, 1)
    g = tg.grad(lambda x: tg.prod(x, axis=1).sum())(tg.tensor(x))
    assert g.dtype == F2
    assert np.allclose(g.numpy().astype(F8), exact[:, None].astype(F8) / x, rtol=2e-3)


def test_the_slope_of_the_variance_of_much_float16() -> None:
    """2/n alone would have few digits."""
    x = np.tile(np.array([900, -1000], F2), 500_000)
    exact = x.astype(F8)
    exact = (exact - exact.mean()) * 2 / x.size
    assert_near(tg.grad(tg.var)(tg.tensor(x))[:2], exact[:2], 1)
    assert tg.grad(tg.std)(tg.tensor(np.tile(np.array([1000, -1000], F2), 30_000)))[0].item() == F2(1 / 60000)


def slope_of(f, x):
    """Of all results together, whose sum may be too large."""
    x = tg.tensor(x.numpy(), requires_grad=True)
    return tg.gradients(f(x), [x], np.ones(len(x), x.dtype))[0].numpy()


FAR = [(F2, 6e4), (F2, 3e-5), (F4, 1e30), (F4, 1e-30), (F4, 3e38), (F4, 1e-38), (F8, 1e200), (F8, 1e-200),
       (F8, 1.7e308), (F8, 1e-307)]  # fmt: skip


@pytest.mark.parametrize(("dtype", "scale"), FAR)
@pytest.mark.parametrize("correction", [0, 1])
def test_the_deviation_neither_overflows_nor_vanishes(dtype, scale, correction) -> None:
    near = np.array([[1.0, -1.0, 0.0, 0.25], [0.5, -0.75, 1.0, 0.125]])
    x = tg.tensor((near * scale).astype(dtype))
    wide = x.numpy().astype(WIDE)
    off = wide - wide.mean(1, keepdims=True)
    expected = np.sqrt((off / scale * (off / scale)).sum(1) / (4 - correction)) * WIDE(scale)
    slope = off / expected[:, None] / (4 - correction)

    def std(x):
        return tg.std(x, axis=1, correction=correction)

    for f in (std, tg.trace(std, x)):
        out = f(x)
        assert out.dtype == dtype
        assert_near(out, expected)
        g = slope_of(f, x)
        assert g.dtype == dtype
        assert_near(g, slope, 32)
    assert_near(tg.std(x, axis=1, keepdims=True, correction=correction), expected[:, None])


def test_a_deviation_far_out_has_a_second_derivative() -> None:
    x = np.array([1.0, -1.0, 0.0, 0.25])
    near = tg.hessian(tg.std)(tg.tensor(x)).numpy()
    for power in (-300, 300):
        far = tg.hessian(tg.std)(tg.tensor(np.ldexp(x, power))).numpy()
        assert np.allclose(np.ldexp(far, power), near, rtol=1e-13, atol=0)


def test_the_deviation_of_equal_numbers_and_of_what_is_none() -> None:
    rows = tg.tensor([[3e38, 3e38], [1e-30, -1e-30], [np.nan, 1.0], [np.inf, 1.0], [0.0, 0.0], [1.0, 3.0]])
    with np.errstate(invalid="ignore"):
        out, g = tg.std(rows, axis=1), slope_of(lambda x: tg.std(x, axis=1), rows)
    assert np.array_equal(out.numpy(), np.array([0, 1e-30, np.nan, np.nan, 0, 1], F4), equal_nan=True)
    assert np.array_equal(g[[0, 4]], np.zeros((2, 2))) and np.allclose(g[[1, 5]], [[0.5, -0.5], [-0.5, 0.5]])
    assert np.isnan(g[2:4]).all()


MASK = np.random.default_rng(5).random((3, 4, 2)) < 0.6
MASK[0, :, 0] = False
MASKED = [
    ("sum", {}), ("sum", dict(initial=2.5)), ("prod", {}), ("prod", dict(initial=2.0)), ("max", dict(initial=-0.3)),
    ("min", dict(initial=0.1)), ("all", {}), ("any", {}), ("mean", {}), ("var", {}), ("std", {}),
]  # fmt: skip


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), -1])
@pytest.mark.parametrize(("name", "first"), MASKED, ids=lambda v: v if isinstance(v, str) else "first" * bool(v))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own, of means of nothing
def test_where_and_initial_are_numpys(name, first, axis) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    for mask in (MASK, MASK[0], MASK[:, :1]):
        given = dict(axis=axis, keepdims=axis == 1, where=mask, **first)
        expected = getattr(np, name)(x, **given)
        t = tg.tensor(x)
        ways = [getattr(tg, name), getattr(np, name), getattr(tg.numpy, name), getattr(tg.Tensor, name)]
        for found in [way(t, **given) for way in ways]:
            assert isinstance(found, tg.Tensor) and found.shape == np.shape(expected)
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    traced = tg.trace(lambda x: getattr(tg, name)(x, axis=axis, where=MASK, **first), t)
    np.testing.assert_array_equal(traced(t).numpy(), getattr(tg, name)(t, axis=axis, where=MASK, **first).numpy())


@pytest.mark.parametrize(("name", "first"), [
    ("sum", {}), ("prod", {}), ("mean", {}), ("var", dict(correction=1)), ("std", {}), ("max", dict(initial=-9.0)),
    ("min", dict(initial=9.0)),
])  # fmt: skip
def test_what_a_mask_leaves_out_has_no_part_in_a_gradient(name, first) -> None:
    rng = np.random.default_rng(1)
    mask = np.array([[True, True, False, True], [False, True, True, True]])
    x = np.where(mask, rng.normal(size=mask.shape), np.nan)

    def f(x):
        return (getattr(tg, name)(x, axis=1, where=mask, **first) * [1.0, -0.5]).sum()

    g = tg.grad(f)(tg.tensor(x)).numpy()
    assert np.isfinite(g).all() and (g[~mask] == 0).all() and g.any()
    way, known, step = rng.normal(size=x.shape), np.where(mask, x, 0.0), 1e-6
    difference = (float(f(tg.tensor(known + step * way))) - float(f(tg.tensor(known - step * way)))) / (2 * step)
    assert abs(difference - (g * way).sum()) < 1e-7
    second = tg.hvp(f, (tg.tensor(known),), (tg.tensor(way),))[1][0].numpy()
    assert np.isfinite(second).all() and (second[~mask] == 0).all()
    batched = tg.vmap(lambda x, m: getattr(tg, name)(x, where=m, **first))(tg.tensor(x), mask)
    np.testing.assert_allclose(batched.numpy(), getattr(tg, name)(tg.tensor(x), axis=1, where=mask, **first).numpy())


def test_reductions_of_nothing_begin_with_the_first_value() -> None:
    assert tg.max(np.zeros((0, 3)), axis=0, initial=1.0).tolist() == [1.0] * 3
    assert tg.min(np.zeros((2, 0), "i4"), axis=1, initial=7).tolist() == [7, 7]
    assert tg.max(np.zeros((0, 0)), axis=0, initial=1.0).shape == (0,)
    assert tg.sum([1, 2], initial=3).item() == 6 and tg.sum([True, False], where=[True, True]).item() == 1
    first = tg.tensor(2.0, requires_grad=True)
    tg.sum([1.0, 2.0], initial=first).backward()
    assert first.grad is not None and first.grad.item() == 1.0
    one = tg.tensor([1.0, 2.0])
    assert np.isnan(tg.var(one, where=[True, False], correction=1).item())
    assert tg.var(one, where=[True, True], correction=2).item() == np.inf
    assert np.isnan(tg.std(one, where=[False, False]).item()) and np.isnan(tg.mean(one, where=[False, False]).item())
    still = tg.grad(lambda x: tg.std(x, where=[True, True, False]))(tg.tensor([2.0, 2.0, 5.0]))
    assert still.tolist() == [0.0, 0.0, 0.0]
    assert tg.std(tg.tensor([1e-30, 3e-30, 1.0]), where=[True, True, False]).item() == np.float32(1e-30)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda x: tg.sum(x, where=np.ones((2, 3), bool)),
            r"where must broadcast to the shape \(3,\) of x, got \(2, 3\)",
        ),
        (lambda x: tg.sum(x, where=[1, 0, 1]), "where must be booleans, got int64; write mask.astype"),
        (lambda x: tg.sum(x, initial=[1.0]), r"initial must be one number, got shape \(1,\)"),
        (lambda x: tg.max(x, where=[True, False, True]), r"no max: give a first value too, as in max\(x, where=mask"),
        (lambda x: tg.sum(x.astype("int64"), initial=0.5), "initial must be an integer where the result is int64"),
        (lambda x: tg.argmax(x, where=[True, False, True]), "argmax has no argument 'where'"),
        (lambda x: tg.sum(x, wher=1), "it takes x, axis, keepdims, dtype, where, initial"),
    ],
)
def test_masks_and_first_values_that_are_none_are_refused(call, words) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call(tg.tensor([1.0, 2.0, 3.0]))

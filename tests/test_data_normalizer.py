"""Normalising inputs."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgraph.data import Normalizer, NotFittedError
from tensorgraph.data import arrays as arrays_module


def tame(x):
    """Finite numbers, and none so small (below 1e-100) that its square underflows."""
    if x.dtype.kind != "f":
        return x
    return np.where(np.abs(x) < 1e-100, 0, np.clip(np.nan_to_num(x), -1e6, 1e6)).astype(x.dtype)


matrices = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in ("f4", "f8", "i4", "u1", "?")]),
    st.tuples(st.integers(1, 12), st.integers(1, 4)),
).map(tame)


def longdouble_moments(x):
    wide = x.astype(np.longdouble)
    mean = wide.mean(axis=0)
    return mean, np.square(wide - mean).mean(axis=0)


def close(a, b, scale, ulps=64):
    error = np.abs(a - b)
    assert np.isfinite(error).all()
    assert (error <= ulps * np.finfo(np.float64).eps * scale).all(), (a, b)


@given(matrices)
def test_moments_against_longdouble(x):
    normalizer = Normalizer().fit(x)
    mean, variance = longdouble_moments(x)
    spread = np.ptp(x.astype(np.float64), axis=0)
    close(normalizer.mean, mean, np.abs(x.astype(np.float64)).max(axis=0))
    close(normalizer.variance, variance, spread * spread)
    assert normalizer.mean.dtype == normalizer.std.dtype == np.float64 and normalizer.count == len(x)


@given(matrices, st.data())
def test_chunks_equal_one_shot(x, data):
    cuts = data.draw(st.lists(st.integers(1, len(x) - 1), unique=True)) if len(x) > 1 else []
    chunked = Normalizer()
    for chunk in np.split(x, sorted(cuts)):
        chunked.partial_fit(chunk)
    whole = Normalizer().fit(x)
    spread = np.ptp(x.astype(np.float64), axis=0)
    assert chunked.count == whole.count
    close(chunked.mean, whole.mean, np.abs(x.astype(np.float64)).max(axis=0))
    close(chunked.variance, whole.variance, spread * spread)
    # whether a feature is constant does not depend on the chunks
    assert ((chunked.std == 0) == (whole.std == 0)).all()


@given(matrices, st.data())
def test_a_constant_feature_becomes_exactly_zero(x, data):
    value = data.draw(st.floats(-1e300, 1e300))
    column = np.full((len(x), 1), value)
    wide = np.concatenate([x.astype(np.float64), column], axis=1)
    normalizer = Normalizer()
    half = len(x) // 2
    for chunk in (wide[:half], wide[half:]):
        if len(chunk):
            normalizer.partial_fit(chunk)
    assert normalizer.mean[-1] == value and normalizer.std[-1] == 0.0 and normalizer.scale[-1] == 1.0
    assert (normalizer.transform(wide)[:, -1] == 0.0).all()


@given(matrices)
def test_state_travels_bitwise(x):
    normalizer = Normalizer().fit(x)
    state = normalizer.state_dict()
    again = Normalizer.from_state_dict(state)
    for a, b in (
        (again.mean, normalizer.mean),
        (again.std, normalizer.std),
        (again.transform(x), normalizer.transform(x)),
    ):
        assert a.tobytes() == b.tobytes()
    assert again.count == normalizer.count
    state["mean"][...] = 7.0  # the state is a copy on both sides
    assert again.mean.tobytes() == normalizer.mean.tobytes()


def test_a_restored_normalizer_goes_on():
    x = np.random.default_rng(0).normal(3.0, 2.0, (100, 3))
    first = Normalizer().fit(x[:60])
    second = Normalizer.from_state_dict(first.state_dict()).partial_fit(x[60:])
    whole = Normalizer().fit(x)
    np.testing.assert_allclose(second.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(second.std, whole.std, rtol=1e-14)
    assert first.count == 60


def test_far_from_zero_it_is_still_accurate():
    """A mean of 1e9 beside a deviation of 1e-3: E[x²] − E[x]² would be pure noise."""
    x = 1e9 + 1e-3 * np.random.default_rng(1).normal(size=(1000, 2))
    normalizer = Normalizer().fit(x)
    mean, variance = longdouble_moments(x)
    np.testing.assert_allclose(normalizer.std, np.sqrt(variance).astype(float), rtol=1e-9)
    z = normalizer.transform(x)
    assert np.isfinite(z).all() and abs(z.mean()) < 1e-3 and abs(z.std() - 1) < 1e-3


def test_transformed_training_set_has_mean_0_and_deviation_1():
    x = np.random.default_rng(2).gamma(2.0, 5.0, (500, 7))
    z = Normalizer(dtype="float64").fit_transform(x)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-13)
    np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=1e-13)
    np.testing.assert_allclose(z, (x - x.mean(0)) / x.std(0), rtol=1e-10, atol=1e-13)


def test_test_time_uses_the_training_statistics():
    normalizer = Normalizer().fit([[0.0, 1.0], [4.0, 1.0]])
    np.testing.assert_array_equal(normalizer.transform([[10.0, 3.0]]), np.array([[4.0, 2.0]], np.float32), strict=True)
    # one example alone, and none at all
    np.testing.assert_array_equal(normalizer.transform([10.0, 3.0]), np.array([4.0, 2.0], np.float32), strict=True)
    assert normalizer.transform(np.zeros((0, 2))).shape == (0, 2)


@given(matrices)
def test_inverse_returns(x):
    normalizer = Normalizer(dtype=np.float64).fit(x)
    back = normalizer.inverse_transform(normalizer.transform(x))
    assert back.dtype == np.float64 and back.shape == x.shape
    close(back, x.astype(np.float64), np.abs(x.astype(np.float64)).max(axis=0) + 1e-300)


def test_any_sample_shape_and_many_blocks(monkeypatch):
    x = np.random.default_rng(3).integers(0, 256, (37, 4, 5)).astype(np.uint8)
    whole = Normalizer().fit(x)
    monkeypatch.setattr("tensorgraph.data.arrays.BLOCK", 60)  # three samples a block
    blocks = Normalizer().fit(x)
    assert whole.mean.shape == (4, 5) and arrays_module.BLOCK == 60
    np.testing.assert_allclose(blocks.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(blocks.std, x.std(axis=0), rtol=1e-14)
    np.testing.assert_array_equal(blocks.transform(x)[3:5], blocks.transform(x[3:5]))
    assert blocks.transform(x[0]).shape == (4, 5)


def test_the_input_is_left_alone_and_output_is_new():
    x = np.random.default_rng(4).normal(size=(6, 2)).astype(np.float32)
    kept = x.copy()
    normalizer = Normalizer()
    z = normalizer.fit_transform(x)
    normalizer.inverse_transform(x)
    assert z.dtype == np.float32 and not np.shares_memory(z, x)
    np.testing.assert_array_equal(x, kept)
    normalizer.mean[...] = 9.0  # what it hands out is a copy
    np.testing.assert_allclose(normalizer.mean, x.mean(axis=0, dtype=float))


def test_fit_starts_again_and_errors_change_nothing():
    normalizer = Normalizer().fit([[1.0], [3.0]]).fit([[10.0], [30.0]])
    assert normalizer.mean == 20.0 and normalizer.count == 2
    for bad in ([[np.nan]], np.zeros((0, 1)), [[1.0, 2.0]], [[1.0], [np.inf]]):
        with pytest.raises(ValueError, match="x"):
            normalizer.partial_fit(bad)
    with pytest.raises(ValueError, match="nan"):
        normalizer.fit([[np.nan]])
    assert normalizer.mean == 20.0 and normalizer.count == 2 and normalizer.std == 10.0


def test_errors():
    normalizer = Normalizer()
    assert repr(normalizer) == "Normalizer(not fitted)"
    for use in (normalizer.state_dict, lambda: normalizer.transform([[1.0]]), lambda: normalizer.mean):
        with pytest.raises(NotFittedError, match=r"call fit\(x\)"):
            use()
    with pytest.raises(ValueError, match=r"position \(2, 1\)"):
        normalizer.fit([[0.0, 0.0], [1.0, 1.0], [2.0, np.nan]])
    with pytest.raises(ValueError, match=r"x\[:, None\]"):
        normalizer.fit([1.0, 2.0])
    with pytest.raises(ValueError, match="holds nothing"):
        normalizer.fit(np.zeros((0, 3)))
    with pytest.raises(TypeError, match=r"Normalizer\.fit: x must be an array of numbers.* has dtype <U1"):
        normalizer.fit([["a"]])
    with pytest.raises(TypeError, match="complex128"):
        normalizer.fit([[1j]])
    with pytest.raises(ValueError, match="equal lengths"):
        normalizer.fit([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match=r"variance of feature \(1,\) is beyond float64"):
        normalizer.fit([[0.0, 1e300], [0.0, -1e300]])
    with pytest.raises(TypeError, match="float16, float32 or float64\\) or None, got the class int"):
        Normalizer(dtype=int)
    normalizer.fit(np.ones((2, 3)))
    assert repr(normalizer) == "Normalizer(features=(3,), samples=2)"
    with pytest.raises(ValueError, match=r"shape \(2, 4\), expected \(N, 3\)"):
        normalizer.transform(np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"holds nan at position \(1, 0\)"):
        normalizer.transform([[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    with pytest.raises(ValueError, match="the result in float32 holds inf"):
        normalizer.transform([[1e300, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("m2"), "count, mean, m2; got count, mean"),
        (lambda s: s.update(count=np.array(0)), "at least 1"),
        (lambda s: s.update(count=np.array(1.5)), "whole number"),
        (lambda s: s.update(mean=np.zeros(3)), "one sample's shape"),
        (lambda s: s.update(m2=np.array([-1.0, 0.0])), "not negative"),
        (lambda s: s.update(mean=np.array([np.nan, 0.0])), "finite"),
    ],
)
def test_damaged_states(change, message):
    state = Normalizer().fit(np.eye(2)).state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        Normalizer.from_state_dict(state)

"""What looks at numbers as kernels: the verdicts are the eager ones, and errors are the op's own."""

import re

import numpy as np
import pytest
from native_calls import Run, every_how

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE

OP = CATALOGUE["in_range"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -0.5, np.nan, np.inf, -np.inf, 1e-40, -1e-40, np.nextafter(np.float32(1), 2)]


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["probability", "sign", "not negative"])
def test_the_verdict_is_the_eager_one(kind, dtype, how):
    attrs = dict(kind=kind, name="x")
    for size in (1, 5, 16, 37):
        for number in NUMBERS:
            for at in {0, size // 2, size - 1}:
                x = np.ones(size, dtype)
                x[at] = number
                got = Run(OP.native_rule(), (x,), [(x.shape, dtype)], attrs, *how)
                try:
                    OP.check(x, **attrs)
                    assert got.checks == [0]
                    np.testing.assert_array_equal(got.outputs[0], x)
                except ValueError:
                    assert got.checks == [1]
    empty = Run(OP.native_rule(), (np.ones((0, 2), dtype),), [((0, 2), dtype)], attrs, *how)
    assert empty.took
    assert not empty.checks


def test_a_compiled_loss_says_what_is_wrong_and_changes_nothing():
    weight = tg.Parameter(np.zeros(4, "float32"))

    @tg.compile
    def step(target):
        loss = tg.sigmoid_cross_entropy(weight * 1.0, target)
        weight.assign(weight - 0.1)
        return loss

    good = np.array([0, 1, 0.5, 1], "float32")
    step(good)
    assert "no kernel is written for in_range" not in step.explain()
    before = weight.numpy().copy()
    with pytest.raises(ValueError, match="expected numbers that are from 0 to 1"):
        step(np.array([0, 1, 2, 1], "float32"))
    np.testing.assert_array_equal(weight.numpy(), before)
    step(good)
    assert not np.array_equal(weight.numpy(), before)


def verdict(op, x, attrs):
    """Whether the op's own check lets numbers pass."""
    try:
        op.check(x, **attrs)
    except ValueError:
        return [1]
    return [0]


def assert_looked_at(name, x, attrs, how):
    op = CATALOGUE[name]
    got = Run(op.native_rule(), (x,), [(x.shape, x.dtype)], attrs, *how)
    assert got.took
    assert got.checks == (verdict(op, x, attrs) if x.size else [])
    if not any(got.checks):
        np.testing.assert_array_equal(got.outputs[0], x)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_and_probabilities_of_classes(dtype, how):
    for number in NUMBERS:
        for shape, at in (((5,), 0), ((37,), 36), ((3, 7), 10)):
            x = np.ones(shape, dtype)
            x.flat[at] = number
            assert_looked_at("class_targets", x, dict(classes=7, ignore_index=None), how)
            assert_looked_at("class_weights", x, {}, how)
    assert_looked_at("class_weights", np.ones(0, dtype), {}, how)


@every_how
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_labels_of_classes(dtype, how):
    limits = np.iinfo(dtype)
    for number in (0, 4, 5, limits.max, limits.min, *((-1, -100) if limits.min else ())):
        for ignored in (None, 5, -100, int(limits.max)):
            attrs = dict(classes=5, ignore_index=ignored)
            x = np.full(70, 3, dtype)
            x[33] = number
            if ignored == 2**64 - 1:
                assert not Run(CATALOGUE["class_targets"].native_rule(), (x,), [((70,), dtype)], attrs).took
                continue
            for given in (x, x[:2], x[33::-2], np.resize(x, (9, 10)).T):
                assert_looked_at("class_targets", given, attrs, how)
    assert_looked_at("class_targets", np.ones((0, 3), dtype), dict(classes=5, ignore_index=None), how)


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divisors_that_are_zero_are_found(dtype, how):
    rule = CATALOGUE["mean_divisor"].native_rule()
    for number in NUMBERS:
        for shape in ((), (5,), (3, 7)):
            x = np.ones(shape, dtype)
            x.reshape(-1)[-1] = number
            got = Run(rule, (x,), [(shape, dtype)], dict(empty="zero", of="a loss"), *how)
            assert (got.warnings, got.took) == ([int(number == 0)], True)
            np.testing.assert_array_equal(got.outputs[0], x)


def test_losses_of_each_example_warn_and_refuse_as_eager():
    weight = tg.Parameter(np.ones(3, "float32"))

    def losses(logits, target):
        return tg.vmap(lambda z, t: tg.softmax_cross_entropy(z, t, weight, ignore_index=-1))(logits, target)

    compiled = tg.compile(losses)
    logits = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    good, empty, bad = np.array([[0, 1, 2, -1]] * 2), np.array([[0, 1, 2, 2], [-1] * 4]), np.array([[0, 1, 2, 3]] * 2)
    np.testing.assert_allclose(compiled(logits, good).numpy(), losses(tg.tensor(logits), good).numpy(), rtol=1e-6)
    assert ", 0 steps on NumPy" in compiled.explain()
    for call in (lambda: losses(tg.tensor(logits), empty), lambda: compiled(logits, empty)):
        with pytest.warns(RuntimeWarning, match="no label") as warned:
            assert call().numpy()[1] == 0
        assert [w.filename for w in warned] == [__file__]
    told = []
    for call in (lambda: losses(tg.tensor(logits), bad), lambda: compiled(logits, bad)):
        with pytest.raises(ValueError) as error:
            call()
        told.append(re.sub(r"(?<=test_native_looking.py:)\d+", "", str(error.value)))
    assert told[0] == told[1]

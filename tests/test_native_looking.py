"""What looks at numbers as kernels: the verdicts are the eager ones, and errors are the op's own."""

import numpy as np
import pytest
from native_calls import HOWS, Run

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE

OP = CATALOGUE["in_range"]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, -0.5, np.nan, np.inf, -np.inf, 1e-40, -1e-40, np.nextafter(np.float32(1), 2)]


@pytest.mark.parametrize("how", HOWS)
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

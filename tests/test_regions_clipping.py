"""Gradients that kernels scale together, as the op's forward does."""

import numpy as np
import pytest
from regions_running import run_rule

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.native import machine

WAYS = [64, 32, *([0] if machine.available() else [])]
CLIP = CATALOGUE["clip_norm"]


def run(arrays, limit, width, blocks=None):
    graph = tg.trace(lambda arrays, limit: CLIP.public(arrays, limit), arrays, limit)
    (eq,) = graph.equations
    return run_rule(eq, dict(zip(graph.inputs, [*arrays, limit], strict=True)), width, blocks)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("limit", [0.5, 1e6, np.inf])
def test_arrays_of_any_float_type_are_scaled_together(limit, width):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(7, 9)).astype("float32"), rng.normal(size=3), np.zeros((0, 2), "float32"),
              np.array(rng.normal(), "float32")]  # fmt: skip
    found = run(arrays, np.array(limit), width)
    expected = CLIP.forward(arrays, np.array(limit))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6 if b.dtype == "float32" else 1e-14, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_norm_that_is_none_is_not_hidden(value, width):
    for dtype in ("float32", "float64"):
        arrays = [np.full(5, value, dtype), np.zeros(3, dtype)]
        found, expected = run(arrays, np.array(2.0), width), CLIP.forward(arrays, np.array(2.0))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("width", WAYS)
@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan])
def test_the_limit_is_positive(limit, width):
    with pytest.raises(ValueError, match="limit of a norm"):
        run([np.ones(3, "float32")], np.array(limit), width)


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_arrays_in_any_number_of_blocks(dtype):
    x = (np.random.default_rng(0).normal(size=300_001) + 3).astype(dtype)
    first = run([x], np.array(1.0), 0, 1)
    norm = np.sqrt((x.astype(np.longdouble) ** 2).sum())
    assert abs(first[1] - norm) <= 4 * np.finfo("float64").eps * norm
    for blocks in (None, 3, 8):
        for a, b in zip(first, run([x], np.array(1.0), 0, blocks), strict=True):
            np.testing.assert_array_equal(a, b)

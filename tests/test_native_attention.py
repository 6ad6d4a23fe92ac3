"""Attention as kernels, against the eager op in a higher precision."""

import numpy as np
import pytest
from native_calls import HOWS, Run

from tensorgraph.engine.op import CATALOGUE

ATTENTION = CATALOGUE["scaled_dot_product_attention"]
# leading axes, queries, keys, numbers of a key, of a value
SIZES = [((), 3, 5, 4, 2), ((2,), 9, 9, 17, 16), ((2, 3), 5, 20, 8, 8), ((2, 1, 2), 7, 3, 1, 33)]
MANY = [((2, 2), 130, 150, 8, 12), ((1, 2), 65, 33, 40, 16)]


def numbers(lead, queries, keys, dim, width, dtype):
    rng = np.random.default_rng([queries, keys, dim])
    shapes = ((*lead, queries, dim), (*lead, keys, dim), (*lead, keys, width), (*lead, queries, width))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def near(got, want, dtype, ulps):
    assert np.isfinite(want).all()
    scale = max(np.abs(want).max(), 1e-3)
    np.testing.assert_allclose(got, want, rtol=0, atol=ulps * np.finfo(dtype).eps * scale)


def both(given, how, dtype, order=1, **attrs):
    q, k, v, g = given
    attrs = {"causal": False, "scale": None} | attrs
    wide = [a.astype("float64") for a in given]
    exact = ATTENTION.forward(*wide[:3], **attrs)
    shapes = [(exact[0].shape, dtype), (exact[1].shape, dtype), (exact[2].shape, "float64")]
    forward = Run(ATTENTION.native_rule(), (q, k, v, None, None), shapes, attrs, *how, order=order)
    assert forward.took
    near(forward.outputs[0], exact[0], dtype, 16)
    want = (True, True, True, False, False)
    slopes = ATTENTION.gradient.forward(*wide[:3], None, None, *exact, wide[3], want=want, **attrs)
    kept = [exact[0].astype(dtype), *forward.outputs[1:]]
    back = Run(
        ATTENTION.gradient.native_rule(), (q, k, v, None, None, *kept, g), [(a.shape, dtype) for a in (q, k, v)],
        attrs | {"want": want}, *how, order=order,
    )  # fmt: skip
    assert back.took
    for got, correct in zip(back.outputs, slopes, strict=True):
        near(got, correct, dtype, 64)
    return [*forward.outputs, *back.outputs]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal, dtype, how):
    for sizes in SIZES[: 2 if how[0] == "emulate" else None] + (MANY if how[0] == "code" else []):
        both(numbers(*sizes, dtype), how, dtype, causal=causal)


@pytest.mark.parametrize("how", HOWS[-1:])
def test_large_scores_and_other_scales(how):
    q, k, v, g = numbers((2,), 9, 12, 4, 5, "float32")
    both((q, k, v, g), how, "float32", scale=0.25)
    both((q * 1e3, k * 1e3, v, g), how, "float32", scale=1.0)


@pytest.mark.parametrize("how", HOWS[-1:])
def test_heads_of_a_projection_are_read_where_they_lie(how):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 6, 3, 4)).astype("float32").transpose(0, 2, 1, 3) for _ in range(3))
    g = rng.standard_normal((2, 3, 6, 4)).astype("float32")
    own = both((q, k, v, g), how, "float32")
    plain = both([np.ascontiguousarray(a) for a in (q, k, v, g)], how, "float32")
    for a, b in zip(own, plain, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(len(HOWS) < 3, reason="no machine code here")
def test_blocks_change_no_bit():
    given = numbers((3, 4), 100, 110, 32, 32, "float32")
    one, other = (both(given, HOWS[-1], "float32", order) for order in (1, -1))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_are_left_to_the_forward():
    q, k, v, _ = numbers((), 3, 5, 4, 2, "float32")
    attrs = {"causal": False, "scale": None}
    assert not Run(ATTENTION.native_rule(), (q, k, v, np.ones((3, 5), bool), None), [((3, 2), "float32")], attrs).took

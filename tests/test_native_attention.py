"""Attention as kernels, against the eager op in a higher precision."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE

ATTENTION = CATALOGUE["scaled_dot_product_attention"]
# leading axes, queries, keys, numbers of a key, of a value
SIZES = [((), 3, 5, 4, 2), ((2,), 9, 9, 17, 16), ((2, 3), 5, 20, 8, 8), ((2, 1, 2), 7, 3, 1, 33)]
MANY = [((2, 2), 130, 150, 8, 12), ((1, 2), 65, 33, 40, 16)]


def numbers(lead, queries, keys, dim, width, dtype):
    rng = np.random.default_rng([queries, keys, dim])
    shapes = ((*lead, queries, dim), (*lead, keys, dim), (*lead, keys, width), (*lead, queries, width))
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def near(got, want, dtype, ulps, least=1e-3):
    assert np.isfinite(want).all()
    scale = max(np.abs(want).max(), least)
    np.testing.assert_allclose(got, want, rtol=0, atol=ulps * np.finfo(dtype).eps * scale)


def both(given, how, dtype, order=1, **attrs):
    q, k, v, g = given
    attrs = ATTENTION.attrs | attrs
    wide = [a.astype("float64") for a in given]
    exact = ATTENTION.forward(*wide[:3], **attrs)
    shapes = [(exact[0].shape, dtype), (exact[1].shape, dtype), (exact[2].shape, "float64")]
    forward = Run(ATTENTION.native_rule(), (q, k, v, None, None, None), shapes, attrs, *how, order=order)
    assert forward.took
    near(forward.outputs[0], exact[0], dtype, 16)
    want = (True, True, True, False, False, False)
    slopes = ATTENTION.gradient.forward(*wide[:3], None, None, None, *exact, wide[3], want=want, **attrs)
    kept = [exact[0].astype(dtype), *forward.outputs[1:]]
    back = Run(
        ATTENTION.gradient.native_rule(), (q, k, v, None, None, None, *kept, g), [(a.shape, dtype) for a in (q, k, v)],
        attrs | {"want": want}, *how, order=order,
    )  # fmt: skip
    assert back.took
    for got, correct in zip(back.outputs, slopes, strict=True):
        near(got, correct, dtype, 64)
    return [*forward.outputs, *back.outputs]


@pytest.mark.sampled(test=8, quick=2)
@every_how
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


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("keys", [1, 2, 40])
def test_gradients_of_scores_as_large_as_their_rounding(keys, masked):
    """Weights are shares in the backward pass too, though its products round otherwise: a row's sum to 1."""
    rng = np.random.default_rng(keys)
    q, k, v = (rng.standard_normal((4, n, 8)) + 1e4 for n in (3, keys, keys))
    mask = rng.standard_normal((3, keys))
    given = [tg.tensor(a.astype("float32"), requires_grad=True) for a in (q, k, v, *[mask][: int(masked)])]
    tg.attention(*given, causal=keys == 1, scale=0.3).sum().backward()
    np.testing.assert_allclose(given[2].grad.numpy().sum(-2), 3.0, rtol=1e-5)
    weights = tg.compile(lambda *a: tg.grad(lambda *a: tg.attention(*a, scale=0.3).sum(), argnums=2)(*a))(*given)
    np.testing.assert_allclose(weights.numpy().sum(-2), 3.0, rtol=1e-5)


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


# masks, and heads that share ------------------------------------------------------------------------------------------

LEADS = [
    ((2, 4), (2, 2), (2, 2)), ((2, 4), (2, 1), (2, 4)), ((3, 2), (2,), (1, 2)), ((), (3,), (3,)),
    ((2, 3, 4), (3, 2), (2, 3, 2)), ((2, 1, 2), (2, 3, 1), (1, 3, 2)), ((1,), (2, 4), (2, 4)),
    ((2, 6), (3,), (2, 1, 3)),
]  # fmt: skip
MASKS = [None, "bool", "float"]


def shared_numbers(leads, queries, keys, dim, width, dtype):
    """Queries, keys and values with these leading axes, and the shape of their scores."""
    rng = np.random.default_rng([queries, keys])
    shapes = zip(leads, ((queries, dim), (keys, dim), (keys, width)), strict=True)
    given = [rng.standard_normal((*lead, *last)).astype(dtype) for lead, last in shapes]
    (out,) = ATTENTION.infer((*[tg.spec(a.shape, dtype) for a in given], None, None, None), {**ATTENTION.attrs})
    return given, (*out.shape[:-1], keys)


def masked(given, masks, how, dtype, order=1, want=(True, True, True, False, False), state=None, **attrs):
    attrs = ATTENTION.attrs | attrs
    masks, want = (*masks, state), (*want, False)
    wide = [a.astype("float64") for a in given]
    over = [a.astype("float64") if a is not None and a.dtype.kind == "f" else a for a in masks]
    exact = ATTENTION.forward(*wide, *over, **attrs)
    shapes = [(exact[0].shape, dtype), (exact[1].shape, dtype), (exact[2].shape, "float64")]
    forward = Run(ATTENTION.native_rule(), (*given, *masks), shapes, attrs, *how, order=order)
    assert forward.took
    near(forward.outputs[0], exact[0], dtype, 16)
    g = np.random.default_rng(7).standard_normal(exact[0].shape).astype(dtype)
    slopes = ATTENTION.gradient.forward(*wide, *over, *exact, g.astype("float64"), want=want, **attrs)
    kept = [exact[0].astype(dtype), *forward.outputs[1:]]
    wanted = [(a.shape, dtype) for a, w in zip((*given, *masks), want, strict=False) if w]
    inputs = (*given, *masks, *kept, g)
    back = Run(ATTENTION.gradient.native_rule(), inputs, wanted, attrs | {"want": want}, *how, order=order)
    assert back.took
    leasts = [1e-3, 1e-3, 1e-3, 1.0]  # a row's slopes of scores sum to 0
    leasts = [least for least, w in zip(leasts, want, strict=False) if w]
    for got, correct, least in zip(back.outputs, [s for s in slopes if s is not None], leasts, strict=True):
        near(got, correct, dtype, 64, least)
    return [*forward.outputs, *back.outputs]


def mask_of(kind, shape, dtype, rng):
    if kind is None:
        return None
    if kind == "bool":
        mask = rng.random(shape) < 0.6
        if mask.ndim > 1 and mask.size:
            mask[..., 0, :] = False  # a query that no key takes part in
        return mask
    return (rng.standard_normal(shape) * np.where(rng.random(shape) < 0.1, np.inf, 1)).clip(-np.inf, 3).astype(dtype)


@pytest.mark.sampled(test=20, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("keyed", [False, True])
def test_masks(keyed, kind, dtype, how):
    rng = np.random.default_rng(1)
    for lead, queries, keys, dim, width in SIZES[: 2 if how[0] == "emulate" else None]:
        q, k, v, _ = numbers(lead, queries, keys, dim, width, dtype)
        scores = (*lead, queries, keys)
        for shape in (scores, scores[-2:], (1, keys), (queries, 1), (*(1 for _ in lead[:-1]), *lead[-1:], 1, keys)):
            key_mask = None
            if keyed:
                key_mask = rng.random((*lead[:-1], keys)) < 0.7
            want = (True, True, True, kind == "float", False)
            masks = mask_of(kind, shape, dtype, rng), key_mask
            masked((q, k, v), masks, how, dtype, want=want, causal=len(shape) == 2)


@pytest.mark.sampled(test=16, quick=2)
@every_how
@pytest.mark.parametrize("leads", LEADS, ids=str)
def test_heads_and_images_that_share(leads, how):
    given, scores = shared_numbers(leads, 3, 5, 4, 2, "float32")
    rng = np.random.default_rng(2)
    for kind in MASKS:
        key_mask = rng.random((*scores[:-3], 5)) < 0.8
        want = (True, True, True, kind == "float", False)
        masked(given, (mask_of(kind, scores, "float32", rng), key_mask), how, "float32", want=want)
        masked(given, (mask_of(kind, scores[-2:], "float32", rng), None), how, "float32", want=want, causal=True)


@pytest.mark.parametrize("how", HOWS[-1:])
def test_masks_in_any_strides_and_gradients_that_nobody_wants(how):
    q, k, v, _ = numbers((2, 3), 40, 70, 8, 8, "float32")
    rng = np.random.default_rng(3)
    mask, key_mask = rng.random((2, 3, 40, 70)) < 0.6, rng.random((2, 70)) < 0.7
    plain = masked((q, k, v), (mask, key_mask), how, "float32")
    turned = np.asfortranarray(mask), np.repeat(key_mask, 2, 1)[:, ::2]
    for a, b in zip(masked((q, k, v), turned, how, "float32", order=-1), plain, strict=True):
        np.testing.assert_array_equal(a, b)
    for want in ((True, False, False), (False, True, False), (False, False, True)):
        got = masked((q, k, v), (mask, key_mask), how, "float32", want=(*want, False, False))
        np.testing.assert_array_equal(got[3], plain[3 + want.index(True)])


@pytest.mark.parametrize("how", HOWS[-1:])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_as_eager(dtype, how):
    q, k, v, g = numbers((2,), 9, 20, 4, 5, dtype)
    q[0, 2, 1], k[1, 3, 0], v[0, 5, 1], g[1, 4, 2], q[1, 7] = np.nan, np.inf, np.nan, np.inf, -np.inf
    mask = np.random.default_rng(4).random((9, 20)) < 0.7
    mask[3] = False
    attrs = dict(ATTENTION.attrs)
    for masks in ((None, None), (mask, None), (np.where(mask, 0, -np.inf).astype(dtype), None)):
        with np.errstate(all="ignore"):
            exact = ATTENTION.forward(q, k, v, *masks, **attrs)
        shapes = [(a.shape, a.dtype) for a in exact]
        got = Run(ATTENTION.native_rule(), (q, k, v, *masks, None), shapes, attrs, *how)
        np.testing.assert_array_equal(np.isfinite(got.outputs[0]), np.isfinite(exact[0]))


def test_what_is_left_to_the_forward():
    q, k, v, g = numbers((), 3, 5, 4, 2, "float32")
    attrs = dict(ATTENTION.attrs)
    shapes = [((3, 2), "float32"), ((1, 1, 3), "float32"), ((1, 1, 3), "float64")]
    wide = np.zeros((3, 5))
    assert not Run(ATTENTION.native_rule(), (q, k, v, wide, None, None), shapes, attrs).took
    assert not Run(ATTENTION.native_rule(), (q[:0], k, v, None, None, None), shapes, attrs).took


STATES = [np.array([3, 5, 7], np.uint64), np.arange(6, dtype=np.uint64).reshape(2, 3) * np.uint64(1 << 40)]
DROPPED = [
    ([(2, 4), (2, 2), (2, 2)], 5, 9, 4, 3, STATES[1], 0.3), ([()] * 3, 3, 5, 4, 2, STATES[0], 0.9),
    ([(2, 1), (2, 3), (1, 3)], 66, 70, 8, 9, STATES[0], 0.5),
]  # fmt: skip


@pytest.mark.sampled(test=8, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
def test_dropout(causal, dtype, how):
    """The weights that are left out are the same forward, backward, and where the forward does without kernels."""
    for leads, *sizes, state, rate in DROPPED[: 1 if how[0] == "emulate" else None]:
        given, _ = shared_numbers(leads, *sizes, dtype)
        masked(given, (None, None), how, dtype, causal=causal, state=state, dropout=rate)
        bias = np.random.default_rng(5).standard_normal((sizes[0], 1)).astype(dtype)
        want = (False, True, False, True, False)
        masked(given, (bias, None), how, dtype, want=want, causal=causal, state=state, dropout=rate)


def test_blocks_change_no_bit_of_dropout():
    given, _ = shared_numbers([(3, 4)] * 3, 100, 110, 32, 32, "float32")
    one, other = (
        masked(given, (None, None), HOWS[-1], "float32", order, state=STATES[0], dropout=0.2) for order in (1, -1)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)

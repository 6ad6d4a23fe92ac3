"""Attention in tiles is attention: masks, shared heads, queries with nothing to look at, and memory."""

import tracemalloc

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.op import op_named
from tensorgraph.ops.kernels import attention as kernels


def both(*inputs, **attrs):
    """Values and gradients, fused and composed."""
    results = []
    for impl in ("fused", "composed"):
        given = [
            tg.tensor(a, requires_grad=True) if getattr(a, "dtype", np.dtype(bool)).kind == "f" else a for a in inputs
        ]
        y = tg.attention(*given, impl=impl, **attrs)
        y.backward(tg.tensor(np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)))
        results.append([y.numpy(), *[t.grad.numpy() for t in given if isinstance(t, tg.Tensor)]])
    return results


ATTENTION = op_named("attention")


def by_tiles(*inputs, **attrs):
    """The like by the forward that does without kernels in machine code."""
    attrs = ATTENTION.attrs | attrs
    inputs = (*inputs, *(None,) * (len(ATTENTION.inputs) - len(inputs)))
    out = ATTENTION.forward(*inputs, **attrs)
    g = np.random.default_rng(1).standard_normal(out[0].shape).astype(out[0].dtype)
    want = tuple(a is not None and a.dtype.kind == "f" for a in inputs)
    return [out[0], *ATTENTION.gradient.forward(*inputs, *out, g, want=want, **attrs)]


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def wave(start, *shape):
    return np.sin(np.arange(start, start + np.prod(shape))).reshape(shape)


SHUT = np.where(np.random.default_rng(0).random((3, 5)) > 0.5, 0.0, -np.inf)
SHUT[1] = -np.inf
KEYS = np.array([[True] * 5, [False] * 5])


@pytest.mark.parametrize(
    ("shapes", "masks", "causal"),
    [
        ([(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)], (SHUT,), False),
        ([(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3)], (None, KEYS), True),
        ([(2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)], (normal(5, 2, 4, 1, 5), KEYS), True),
        ([(2, 4, 3, 4), (2, 1, 5, 4), (5, 4)], (normal(5, 4, 3, 1),), False),
        ([(1, 4, 14, 4), (2, 2, 21, 4), (2, 2, 21, 4)], (normal(5, 2, 1, 14, 21),), False),
        ([(2, 23, 4), (2, 23, 4), (2, 23, 4)], (), True),
        ([(2, 3, 4), (2, 0, 4), (2, 0, 3)], (), False),
        ([(0, 2, 3, 4), (0, 2, 3, 4), (0, 2, 3, 5)], (), True),
    ],
)
def test_tiles_are_the_whole(shapes, masks, causal, monkeypatch):
    for name, size in dict(QUERIES=3, KEYS=4, TILE=24).items():  # many tiles of little
        monkeypatch.setattr(kernels, name, size)
    given = [*[normal(i, *s) for i, s in enumerate(shapes)], *masks]
    fused, composed = both(*given, causal=causal)
    for a, b, c in zip(fused, composed, by_tiles(*given, causal=causal), strict=True):
        assert a.shape == b.shape == c.shape
        assert np.abs(a - b).max(initial=0) <= 2e-14
        assert np.abs(c - b).max(initial=0) <= 2e-14


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("shapes", "masks", "states"),
    [
        ([(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)], (SHUT, None), ()),
        ([(2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)], (normal(5, 2, 4, 1, 5), KEYS), (2,)),
        ([(3, 1, 14, 4), (1, 2, 21, 4), (3, 2, 21, 4)], (None, None), (3,)),
        ([(9, 4), (9, 4), (9, 3)], (None, None), ()),
        ([(2, 3, 4), (2, 0, 4), (2, 0, 3)], (None, None), ()),
        ([(0, 2, 3, 4), (0, 2, 3, 4), (0, 2, 3, 5)], (None, None), ()),
    ],
)
def test_what_is_dropped_is_dropped_in_tiles_too(shapes, masks, states, causal, monkeypatch):
    for name, size in dict(QUERIES=3, KEYS=4, TILE=24).items():
        monkeypatch.setattr(kernels, name, size)
    state = np.arange(3 * int(np.prod(states)), dtype=np.uint64).reshape(*states, 3)
    given = [*[normal(i, *s) for i, s in enumerate(shapes)], *masks, state]
    attrs = dict(causal=causal, dropout=0.4)
    fused, composed = both(*given, **attrs)
    for a, b, c in zip(fused, composed, by_tiles(*given, **attrs), strict=True):
        assert a.shape == b.shape == c.shape
        assert np.abs(a - b).max(initial=0) <= 2e-14
        assert np.abs(c - b).max(initial=0) <= 2e-14


def test_dropout_is_that_of_the_weights():
    """The numbers are those of `uniform`, for the scores in their order; as many as the rate says are left out."""
    q, k, v = (normal(i, 2, 3, 40, 8).astype("f4") for i in range(3))
    state = tg.random.key(5)
    weights = tg.attention(q, k, np.eye(40, dtype="f4"), state=state, dropout=0.25).numpy()
    plain = tg.attention(q, k, np.eye(40, dtype="f4")).numpy()
    u, _ = tg.uniform(state, shape=(2, 3, 40, 40))
    assert np.abs(weights - np.where(u.numpy() >= 0.25, plain / 0.75, 0)).max() < 1e-6
    assert abs((weights == 0).mean() - 0.25) < 0.02
    assert (weights != tg.attention(q, k, np.eye(40, dtype="f4"), state=tg.random.key(6), dropout=0.25).numpy()).any()


def test_second_derivatives_leave_out_the_same():
    q, k, v = (tg.tensor(normal(i, 2, 4, 3)) for i in range(3))

    def loss(impl, q):
        return (tg.attention(q, k, v, state=tg.random.key(1), dropout=0.5, impl=impl) ** 2).sum()

    fused, composed = (tg.hessian(lambda q, impl=impl: loss(impl, q))(q).numpy() for impl in ("fused", "composed"))
    assert np.abs(fused).max() > 0.1
    assert np.abs(fused - composed).max() < 1e-12


def test_examples_of_a_batch_drop_what_they_drop_alone():
    x, states = tg.tensor(normal(0, 3, 2, 5, 4)), tg.tensor(np.arange(9, dtype=np.uint64).reshape(3, 3))

    def one(x, state):
        return tg.attention(x, x, x, state=state, dropout=0.5)

    for axes in ((0, 0), (0, None)):
        found = tg.vmap(one, in_axes=axes)(x, states if axes[1] == 0 else states[0])
        for i in range(3):
            expected = one(x[i], states[i] if axes[1] == 0 else states[0])
            assert np.abs(found[i].numpy() - expected.numpy()).max() < 1e-14


def test_nothing_to_look_at_gives_nothing():
    y, dq, dk, dv, dmask = both(normal(0, 3, 4), normal(1, 5, 4), normal(2, 5, 4), SHUT)[0]
    assert not y[1].any() and not dq[1].any() and not dmask[1].any()
    assert y[0].any() and all(np.isfinite(a).all() for a in (dq, dk, dv, dmask))


def far(q, k, v, mask=None, key_mask=None, *, causal=False, impl="fused"):
    """The result, and the gradients of its sum in q, k, v and an added mask."""
    added = mask is not None and mask.dtype.kind == "f"

    def of(q, k, v, mask):
        return tg.scaled_dot_product_attention(q, k, v, mask, key_mask, causal=causal, impl=impl)

    argnums = (0, 1, 2, 3) if added else (0, 1, 2)
    return [of(q, k, v, mask), *tg.grad(lambda *a: of(*a).sum(), argnums=argnums)(q, k, v, mask)]


NO, YES = -np.inf, 0.0
BARS = {  # of (queries, keys) = (4, 3)
    "none": {},
    "truth": dict(mask=np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0], [1, 1, 1]], bool)),
    "added": dict(mask=np.array([[YES, YES, NO], [YES, NO, YES], [NO, NO, NO], [2.0, 1.0, YES]], np.float32)),
    "keys": dict(key_mask=np.array([True, True, False])),
    "causal": dict(causal=True),
    "both": dict(mask=np.array([[YES, YES, NO]] * 4, np.float32), causal=True),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bars", BARS)
def test_scores_beyond_the_dtype_are_no_masks(bars, monkeypatch):
    """What a mask bars weighs nothing, whatever its score is. Among the rest -inf weighs nothing beside a number; a
    query with inf, NaN or -inf alone gets NaN, and one for which nothing takes part 0: in every form, with gradients.
    """
    kinds = {"small": 0.5, "low": -1e30, "high": 1e30, "nan": np.nan}
    q = np.array([[1e20, 0, 0], [1e-5, 1e20, 0], [1, 1, 1e20], [1, 2, 3]], np.float32)
    given = BARS[bars]
    v = np.arange(6, dtype=np.float32).reshape(3, 2)
    compiled = tg.compile(far)
    for a, b in [("low", "low"), ("low", "small"), ("high", "nan"), ("small", "high"), ("nan", "low")]:
        k = np.array([[kinds[a], kinds[b], 0.5], [kinds[a], kinds[a], kinds[b]], [kinds[b], 1.0, kinds[a]]], np.float32)
        with np.errstate(all="ignore"):
            scores = (q * np.float32(1 / np.sqrt(3))) @ k.T
        open_ = np.ones((4, 3), bool)
        if "mask" in given:
            open_ &= given["mask"] if given["mask"].dtype == bool else given["mask"] > NO
        open_ &= given.get("key_mask", True)
        if "causal" in given:
            open_ &= np.tri(4, 3, dtype=bool)
        lost = [bool(r[o].size) and not (r[o].max() < np.inf and np.isfinite(r[o].max()))
                for r, o in zip(scores, open_, strict=True)]  # fmt: skip
        plain = far(*map(tg.tensor, (q, k, v)), impl="composed", **given)
        assert np.isnan(plain[0].numpy()).all(axis=1).tolist() == lost
        for sizes in (kernels.KEYS, 2):
            monkeypatch.setattr(kernels, "KEYS", sizes)
            tiles = by_tiles(q, k, v, given.get("mask"), given.get("key_mask"), causal="causal" in given)
            forms = {
                "fused": far(*map(tg.tensor, (q, k, v)), **given),
                "compiled": compiled(q, k, v, **given),
                "tiles": [tg.tensor(a) for a in tiles if a is not None][: len(plain)],
            }
            for name, form in forms.items():
                for n, (got, wanted) in enumerate(zip(form, plain, strict=True)):
                    assert np.array_equal(np.isnan(got.numpy()), np.isnan(wanted.numpy())), (name, n, sizes, a, b)


def test_second_order_beside_a_row_with_nothing():
    q, k, v = (tg.tensor(normal(i, 3, 4)) for i in range(3))
    mask = np.array([[True, False, True], [False, False, False], [True, True, True]])
    found = [tg.hessian(lambda q, i=impl: tg.sum(tg.attention(q, k, v, mask, impl=i) ** 2))(q) for impl in
             ("fused", "composed")]  # fmt: skip
    assert np.isfinite(found[0].numpy()).all() and np.abs((found[0] - found[1]).numpy()).max() < 1e-13


def test_causal_and_shared_heads_as_pytorch_has_them():
    # F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.7, enable_gqa=True) in float64, PyTorch 2.13
    q, k, v = (tg.tensor(wave(*a), requires_grad=True) for a in ((0, 1, 2, 2, 3), (50, 1, 1, 3, 3), (90, 1, 1, 3, 2)))
    y = tg.attention(q, k, v, causal=True, scale=0.7)
    y.backward(tg.tensor(np.arange(8.0).reshape(y.shape)))
    values = [0.8939966636005579, 0.10598751175115685, -0.5885139894815776, -0.8279836850982666]
    assert np.abs(y.numpy().ravel()[:4] - values).max() < 1e-15
    slopes = [-0.812153826518518, 1.5162567950102057, 2.4506279117830165]
    assert np.abs(q.grad.numpy()[0, 1, 1] - slopes).max() < 1e-14
    assert (
        np.abs(k.grad.numpy()[0, 0, 0] - [0.5734402717080928, -1.0197716798827057, -1.6754102519073975]).max() < 1e-14
    )
    assert np.abs(v.grad.numpy()[0, 0, 0] - [4.913502342767383, 7.14182337658945]).max() < 1e-14


def test_heads_share_keys_in_their_order():
    q, k, v = normal(0, 4, 3, 2), normal(1, 2, 5, 2), normal(2, 2, 5, 2)
    repeated = tg.attention(q, k.repeat(2, axis=0), v.repeat(2, axis=0)).numpy()
    assert np.abs(tg.attention(q, k, v).numpy() - repeated).max() < 1e-15


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_memory_grows_with_the_length(dropout):
    n = 3000
    q, k, v = (tg.tensor(normal(i, 1, n, 4), requires_grad=True) for i in range(3))
    given = dict(state=tg.random.key(0), dropout=dropout)
    tg.attention(q, k, v, **given)
    tracemalloc.start()
    try:
        tg.sum(tg.attention(q, k, v, **given)).backward()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * n * 8 / 8


@pytest.mark.parametrize(("size", "scale"), [(1e20, 1e-40), (1e20, 1e-20), (1e-25, 1e35)])
@pytest.mark.parametrize("causal", [False, True])
def test_products_out_of_range_that_the_scale_brings_back(size, scale, causal):
    q, k, v = (normal(i, 2, 5, 8).astype(np.float32) for i in range(3))
    q, k = q * np.float32(size), k * np.float32(size)
    fused, composed = both(q, k, v, scale=scale, causal=causal)
    scores = np.einsum("nld,nsd->nls", q.astype(np.float64), k.astype(np.float64)) * scale
    scores[:, ~np.tri(5, dtype=bool)] -= np.inf if causal else 0
    p = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(fused[0], (p / p.sum(-1, keepdims=True)) @ v, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(fused, composed, strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("q", "k", "v", "masks", "words"),
    [
        ((3, 4), (5, 3), (5, 4), (), "one dim"),
        ((3, 4), (5, 4), (6, 4), (), "one length"),
        ((3, 3, 4), (2, 5, 4), (2, 5, 4), (), "a multiple"),
        ((3, 4), (5, 4), (5, 4), (np.ones((3, 5), int),), "astype"),
        ((3, 4), (5, 4), (5, 4), (np.ones((5, 3), bool),), "broadcast"),
        ((2, 3, 3, 4), (2, 3, 5, 4), (2, 3, 5, 4), (None, np.ones((3, 5), bool)), "key_mask"),
        ((4,), (5, 4), (5, 4), (), "takes q"),
    ],
)
def test_refusals(q, k, v, masks, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tg.attention(np.ones(q), np.ones(k), np.ones(v), *masks)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(dropout=0.5), "random state"),
        (dict(state=np.ones(3), dropout=0.5), "u64"),
        (dict(state=np.ones((3, 3), np.uint64), dropout=0.5), "first axes"),
        (dict(dropout=1.0), "below 1"),
        (dict(dropout=float("nan")), "below 1"),
        (dict(dropout_p=0.5), "dropout"),
    ],
)
def test_refusals_of_dropout(given, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tg.attention(*[np.ones((2, 3, 4))] * 3, **given)

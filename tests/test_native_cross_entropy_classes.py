"""Cross-entropy as kernels with weights, smoothing, probabilities, any axis and any integers."""

import itertools

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import cross_entropy, one_hot, pattern, wide, within

import tensorgraph.engine.modes as modes
from tensorgraph.engine.op import CATALOGUE

OP = CATALOGUE["softmax_cross_entropy"]
CODE = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
PLAIN = dict(axis=-1, ignore_index=None, label_smoothing=0.0, reduction="mean", empty="zero")
KINDS = list(itertools.product(["labels", "soft"], [False, True], [0.0, 0.1]))


def shape_of(z, target, attrs):
    if attrs["reduction"] != "none":
        return ()
    return target.shape if target.dtype.kind != "f" else np.delete(z.shape, attrs["axis"])


def forward(z, target, weight, how, **options):
    attrs = {**PLAIN, **options}
    rows = z.size // z.shape[attrs["axis"]]
    outputs = [(tuple(shape_of(z, target, attrs)), z.dtype), ((2, rows), z.dtype), ((), "float64")]
    got = Run(OP.native_rule(), (z, target, weight), outputs, attrs, *how)
    assert got.took
    return got


def backward(z, target, weight, kept, g, how, in_place=False, order=1, **options):
    attrs = {**PLAIN, **options, "want": (True, False, False)}
    inputs = (z, target, weight, *kept, g)
    got = Run(OP.gradient.native_rule(), inputs, [(z.shape, z.dtype)], attrs, *how, in_place=in_place, order=order)
    assert got.took
    return got.outputs[0]


def eager(z, target, weight, g, **options):
    attrs = {**PLAIN, **options}
    with np.errstate(all="ignore"), modes.use(quiet=True):
        kept = OP.forward(z, target, weight, **attrs)
        return kept, OP.gradient.forward(z, target, weight, *kept, g, want=(True, False, False), **attrs)[0]


def given(rows, classes, dtype, kind, weighted, scale=3.0):
    rng = np.random.default_rng([rows, classes])
    z = (scale * rng.standard_normal((rows, classes))).astype(dtype)
    target = rng.integers(0, classes, rows)
    if kind == "soft":
        target = rng.random((rows, classes)) * (rng.random((rows, classes)) < 0.7) + 1e-3
        target = (target / target.sum(1, keepdims=True)).astype(dtype)
    weight = (rng.random(classes) + 0.1).astype(dtype) if weighted else None
    return z, target, weight, np.array(0.7, dtype), rng.standard_normal(rows).astype(dtype)


def check(z, target, weight, g, how, valid=None, label_smoothing=0.0, **options):
    got = forward(z, target, weight, how, label_smoothing=label_smoothing, **options)
    assert set(got.checks) == {0}
    dz = backward(z, target, weight, got.outputs, g, how, label_smoothing=label_smoothing, **options)
    q = target if target.dtype.kind == "f" else one_hot(np.where(valid, target, 0) if valid is not None else target,
                                                        z.shape[1])  # fmt: skip
    w = None if weight is None else wide(weight)[0]
    outs, grads, scales = cross_entropy(
        *wide(z, q), w, valid=valid, smoothing=label_smoothing, reduction=options.get("reduction", "mean"),
        g=wide(g)[0],
    )  # fmt: skip
    assert np.isfinite(got.outputs[0]).all()
    assert np.isfinite(dz).all()
    within(0, got.outputs[0], outs[0])
    within(1, dz, grads[0], scales["dz"])


@pytest.mark.sampled(test=24, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind, weighted, smoothing", KINDS)
def test_losses_and_gradients(kind, weighted, smoothing, dtype, how):
    for rows, classes in ((1, 1), (3, 2), (5, 10), (2, 16), (3, 33)):
        z, target, weight, g, each = given(rows, classes, dtype, kind, weighted)
        for reduction, ct in (("mean", g), ("batchmean", g), ("sum", g), ("none", each)):
            check(z, target, weight, ct, how, label_smoothing=smoothing, reduction=reduction)
        if kind == "labels" and (target != 0).any():
            check(z, target, weight, g, how, target != 0, smoothing, ignore_index=0)


@pytest.mark.sampled(test=12, quick=2)
@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind, weighted, smoothing", KINDS)
def test_more_rows_and_classes(kind, weighted, smoothing, dtype, how):
    for rows, classes in ((7000, 10), (300, 200), (4, 20_000)):
        z, target, weight, g, each = given(rows, classes, dtype, kind, weighted)
        check(z, target, weight, g, how, label_smoothing=smoothing)
        check(z, target, weight, each, how, label_smoothing=smoothing, reduction="none")
        kept = forward(z, target, weight, how, label_smoothing=smoothing).outputs
        dz = backward(z, target, weight, kept, g, how, label_smoothing=smoothing)
        for again in (dict(in_place=True), dict(order=-1)):
            other = backward(z, target, weight, kept, g, how, label_smoothing=smoothing, **again)
            np.testing.assert_array_equal(other, dz)
        np.testing.assert_array_equal(backward(z, target, weight, [None] * 3, g, how, label_smoothing=smoothing), dz)


@every_how
@pytest.mark.parametrize("kind, weighted, smoothing", KINDS)
def test_any_axis(kind, weighted, smoothing, how):
    z, target, weight, g, _ = given(12, 5, "float32", kind, weighted)
    plain = dict(label_smoothing=smoothing)
    first = forward(z, target, weight, how, **plain)
    dz = backward(z, target, weight, first.outputs, g, how, **plain)
    for shape, axis in (((12,), 0), ((3, 4), 1), ((2, 3, 2), -2), ((12, 1), 1)):
        # rows of this shape, with the classes between them
        there = np.ascontiguousarray(np.moveaxis(z.reshape(*shape, 5), -1, axis))
        labels = target.reshape(shape) if kind == "labels" else None
        if labels is None:
            labels = np.ascontiguousarray(np.moveaxis(target.reshape(*shape, 5), -1, axis))
        options = dict(plain, axis=axis)
        got = forward(there, labels, weight, how, **options)
        for a, b in zip(got.outputs, first.outputs, strict=True):
            np.testing.assert_array_equal(a, b)
        for in_place in (False, True):
            back = backward(there, labels, weight, got.outputs, g, how, in_place, **options)
            np.testing.assert_array_equal(np.moveaxis(back, axis, -1).reshape(12, 5), dz)


@every_how
@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_any_integers(kind, how):
    z, target, _, g, _ = given(40, 120, "float32", "labels", False)
    marked = np.where(np.arange(40) % 3 == 0, 121 if kind[0] == "u" else -100, target)
    first = forward(z, marked, None, how, ignore_index=int(marked[0]))
    dz = backward(z, marked, None, first.outputs, g, how, ignore_index=int(marked[0]))
    own = marked.astype(kind)
    got = forward(z, own, None, how, ignore_index=int(marked[0]))
    np.testing.assert_array_equal(got.outputs[0], first.outputs[0])
    assert got.checks == [0]
    np.testing.assert_array_equal(backward(z, own, None, got.outputs, g, how, ignore_index=int(marked[0])), dz)
    for bad in (120, np.iinfo(kind).max, np.iinfo(kind).min):
        own[5] = bad
        outside = not 0 <= bad < 120
        assert forward(z, own, None, how, ignore_index=int(marked[0])).checks == [int(outside)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("kind, weighted, smoothing", KINDS)
def test_what_is_not_finite_as_eager(kind, weighted, smoothing, reduction, dtype):
    for classes in (5, 140):
        z, target, weight, g, each = given(20, classes, dtype, kind, weighted)
        z[0, 1], z[1, 0], z[2], z[3, 2], z[5, 2] = np.nan, np.inf, -np.inf, -np.inf, -np.inf
        z[6], z[7, 0], z[8, 3] = np.finfo(dtype).max, np.finfo(dtype).max, -np.finfo(dtype).max
        if kind == "soft":
            target[3, 2], target[5] = 0, 0
            target[5, 1] = 1
        else:
            target[5] = 1
        if weight is not None:
            weight[2] = 0
        each[12:15] = np.nan, np.inf, 0.0
        ct = each if reduction == "none" else g
        options = dict(reduction=reduction, label_smoothing=smoothing)
        kept, dz = eager(z, target, weight, ct, **options)
        for how in CODE if classes > 64 else HOWS:
            got = forward(z, target, weight, how, **options).outputs
            np.testing.assert_array_equal(pattern(got[0]), pattern(kept[0]))
            np.testing.assert_allclose(got[2], kept[2], rtol=8 * np.finfo(dtype).eps)
            mine = backward(z, target, weight, kept, ct, how, **options)
            np.testing.assert_array_equal(pattern(mine), pattern(dz))


@every_how
def test_what_is_looked_at_and_what_is_left_to_the_forward(how):
    z, target, weight, _, _ = given(6, 4, "float32", "soft", True)
    target[4, 3] = np.nan
    assert forward(z, target, weight, how).checks == [1, 0]
    target[4, 3], weight[1] = 0.0, np.inf
    assert forward(z, target, weight, how).checks == [0, 1]
    weight[1] = np.nan
    assert forward(z, target, weight, how).checks == [0, 1]
    weight[1] = 1
    spread = np.broadcast_to(np.float32(2.0), (4,))
    for given_weight, same in (
        (np.repeat(weight, 2)[::2], weight),
        (spread, spread.copy()),
        (weight[::-1], weight[::-1].copy()),
    ):
        a, b = (forward(z, target, w, how).outputs[0] for w in (given_weight, same))
        np.testing.assert_array_equal(a, b)
    weight[:] = 0
    got = forward(z, target, weight, how)
    assert got.warnings == [1]
    assert got.outputs[0] == 0
    shapes = [((), "float32"), ((2, 6), "float32"), ((), "float64")]
    labels = np.zeros(6, int)
    for inputs, options in (
        ((z.astype("float16"), labels, None), {}), ((z, labels, weight.astype("float64")), {}),
        ((z, target.astype("float64"), None), {}), ((z[:0], labels[:0], None), {}),
        ((z, labels.astype("uint64"), None), dict(ignore_index=2**64 - 1)),
    ):  # fmt: skip
        assert not Run(OP.native_rule(), inputs, shapes, {**PLAIN, **options}, *how).took

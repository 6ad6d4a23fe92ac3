"""Softmax cross-entropy as kernels, against long double and the eager op."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how
from semantics_oracle import cross_entropy, one_hot, pattern, shift_error, wide, within

from tensorgraph.engine.op import CATALOGUE

OP = CATALOGUE["softmax_cross_entropy"]
CODE = [how for how in HOWS if how[0] == "code"] or HOWS[:1]
PLAIN = dict(axis=-1, ignore_index=None, label_smoothing=0.0, reduction="mean", empty="zero")


def forward(z, target, how, **options):
    attrs = {**PLAIN, **options}
    rows = target.size
    loss = (target.shape if attrs["reduction"] == "none" else (), z.dtype)
    got = Run(OP.native_rule(), (z, target, None), [loss, ((2, rows), z.dtype), ((), "float64")], attrs, *how)
    assert got.took
    return got


def backward(z, target, kept, g, how, in_place=False, **options):
    attrs = {**PLAIN, **options, "want": (True, False, False)}
    got = Run(OP.gradient.native_rule(), (z, target, None, *kept, g), [(z.shape, z.dtype)], attrs, *how,
              in_place=in_place)  # fmt: skip
    assert got.took
    return got.outputs[0]


def eager(z, target, g, **options):
    attrs = {**PLAIN, **options}
    with np.errstate(all="ignore"):
        import tensorgraph.engine.modes as modes

        with modes.use(quiet=True):
            kept = OP.forward(z, target, None, **attrs)
            (dz,) = OP.gradient.forward(z, target, None, *kept, g, want=(True, False, False), **attrs)
    return kept, dz


def given(rows, classes, dtype, scale=3.0, seed=0):
    rng = np.random.default_rng([seed, rows, classes])
    z = (scale * rng.standard_normal((rows, classes))).astype(dtype)
    return z, rng.integers(0, classes, rows), np.array(0.7, dtype), rng.standard_normal(rows).astype(dtype)


def check(z, target, g, how, valid=None, extra=0, **options):
    got = forward(z, target, how, **options)
    assert got.checks == [0]
    dz = backward(z, target, got.outputs, g, how, **options)
    q = one_hot(np.where(valid, target, 0) if valid is not None else target, z.shape[1])
    outs, grads, scales = cross_entropy(
        *wide(z, q), valid=valid, reduction=options.get("reduction", "mean"), g=wide(g)[0]
    )  # fmt: skip
    assert np.isfinite(got.outputs[0]).all() and np.isfinite(dz).all()
    within(0, got.outputs[0], outs[0])
    within(1, dz, grads[0], scales["dz"], extra=extra)


SHAPES = [(1, 1), (3, 2), (17, 10), (16, 16), (18, 17), (5, 33)]


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_and_gradients(dtype, how):
    for rows, classes in SHAPES:
        z, target, g, each = given(rows, classes, dtype)
        check(z, target, g, how)
        check(z, target, each, how, reduction="none")
        check(z, target, g, how, reduction="sum")
        valid = target != 0
        if valid.any():
            check(z, target, g, how, valid=valid, ignore_index=0)
            check(z, np.where(valid, target, -100), g, how, valid=valid, ignore_index=-100, reduction="batchmean")


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_rows_and_classes(dtype, how):
    for rows, classes in ((64, 10), (200, 64), (33, 129), (40, 128), (21, 1000), (3, 50_000), (7000, 10), (1000, 200)):
        z, target, g, each = given(rows, classes, dtype)
        check(z, target, g, how)
        check(z, target, each, how, reduction="none")


@pytest.mark.parametrize("how", HOWS[:2])
def test_many_classes_emulated(how):
    z, target, g, _ = given(3, 150, "float32")
    check(z, target, g, how)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_and_classes_that_are_nearly_certain(dtype):
    for classes in (3, 10, 140):
        z, target, g, _ = given(40, classes, dtype, 2.0)
        z += np.array(1e4, dtype)
        z[np.arange(20), target[:20]] += np.array(np.linspace(5, 60, 20), dtype)
        z[np.arange(20, 30), target[20:30]] -= np.array(np.linspace(5, 60, 10), dtype)
        for how in CODE if classes > 64 else HOWS:
            check(z, target, g, how, extra=shift_error(z, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_what_is_not_finite_as_eager(reduction, dtype):
    for classes in (5, 16, 140):
        z, target, g, each = given(40, classes, dtype)
        z[0, 1], z[1, 0], z[2], z[3, target[3]], z[5, 2] = np.nan, np.inf, -np.inf, -np.inf, -np.inf
        z[6], z[7, 0], z[8, 3] = np.finfo(dtype).max, np.finfo(dtype).max, -np.finfo(dtype).max
        target[5], target[9:12] = 1, 2
        z[9], z[10, 0], z[11] = np.nan, np.inf, -np.inf
        each[12:15] = np.nan, np.inf, 0.0
        ct = each if reduction == "none" else g
        for ignored in (None, 2):
            options = dict(reduction=reduction, ignore_index=ignored)
            kept, dz = eager(z, target, ct, **options)
            for how in CODE if classes > 64 else HOWS:
                got = forward(z, target, how, **options).outputs
                np.testing.assert_array_equal(pattern(got[0]), pattern(kept[0]))
                np.testing.assert_array_equal(got[2], kept[2])
                mine = backward(z, target, kept, ct, how, **options)
                np.testing.assert_array_equal(pattern(mine), pattern(dz))
                if ignored is not None:
                    assert (mine[target == 2] == 0).all()


@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**63)])
def test_targets_out_of_range_end_the_run(bad):
    for at in (0, 20):
        z, target, _, _ = given(21, 5, "float32")
        target[at] = bad
        for how in HOWS:
            assert forward(z, target, how).checks == [1]
            assert forward(z, target, how, ignore_index=3).checks == [1]
            got = forward(z, target, how, ignore_index=bad)
            assert got.checks == [0] and np.isfinite(got.outputs[0])


@every_how
def test_nothing_that_counts(how):
    z, target, g, _ = given(20, 5, "float32")
    z[3] = np.nan
    target[:] = 4
    for empty in ("zero", "nan"):
        options = dict(ignore_index=4, empty=empty)
        got = forward(z, target, how, **options)
        assert got.warnings == [1] and got.outputs[2] == 0
        np.testing.assert_array_equal(got.outputs[0], 0.0 if empty == "zero" else np.nan)
        assert (backward(z, target, got.outputs, g, how, **options) == 0).all()
    assert forward(z, target, how).warnings == [0]
    assert forward(z, target, how, ignore_index=4, reduction="sum").outputs[0] == 0


@pytest.mark.parametrize("how", CODE)
def test_strides_blocks_and_what_was_not_kept(how):
    z, target, g, each = given(9000, 10, "float32")
    wider = np.full((9000, 33), np.nan, "float32")[:, 5:15]
    wider[...] = z
    first = forward(z, target, how)
    for a, b in zip(forward(wider, target, how).outputs, first.outputs, strict=True):
        np.testing.assert_array_equal(a, b)
    dz = backward(z, target, first.outputs, g, how)
    np.testing.assert_array_equal(backward(wider, target, first.outputs, g, how), dz)
    np.testing.assert_array_equal(backward(z, target, [None] * 3, g, how), dz)
    np.testing.assert_array_equal(backward(z, target, first.outputs, float(g), how), dz)
    np.testing.assert_array_equal(backward(z, target, first.outputs, g, how, in_place=True), dz)
    ones = np.broadcast_to(np.float32(2.0), (9000,))
    kept = forward(z, target, how, reduction="none").outputs
    np.testing.assert_array_equal(
        backward(z, target, kept, ones, how, reduction="none"),
        backward(z, target, kept, np.full(9000, 2, "float32"), how, reduction="none"),
    )
    cube = forward(z.reshape(90, 100, 10), target.reshape(90, 100), how)
    np.testing.assert_array_equal(cube.outputs[0], first.outputs[0])


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("soft", [False, True])
def test_targets_that_networks_share(how, soft):
    z, target, _, each = given(24, 5, "float32")
    z, each = z.reshape(3, 8, 5), each.reshape(3, 8)
    target = target[:8] if not soft else np.random.default_rng(0).dirichlet(np.ones(5), 8).astype("float32")
    shared, own = np.broadcast_to(target, (3, *target.shape)), np.stack([target] * 3)
    got = of_rows(z, shared, how)
    for a, b in zip(got.outputs, of_rows(z, own, how).outputs, strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)
    for targets in (shared, own):
        dz = backward(z, targets, got.outputs, each, how, reduction="none")
        (expected,) = eager(z, own, each, reduction="none")[1:]
        np.testing.assert_allclose(dz, expected, rtol=1e-5, atol=1e-6)
    target[3] = np.nan if soft else 5
    assert of_rows(z, np.broadcast_to(target, (3, *target.shape)), how).checks == [1]


def of_rows(z, target, how):
    """As `forward`, of rows for themselves, with probabilities for targets too."""
    attrs = {**PLAIN, "reduction": "none"}
    rows = z.shape[:-1]
    got = Run(OP.native_rule(), (z, target, None),
              [(rows, z.dtype), ((2, z.size // z.shape[-1]), z.dtype), ((), "float64")], attrs, *how)  # fmt: skip
    assert got.took
    return got

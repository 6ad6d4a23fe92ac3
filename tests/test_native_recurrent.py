"""Recurrent layers as kernels, against the eager ops in a higher precision."""

import numpy as np
import pytest
from native_calls import HOWS, Run, every_how

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE

CELLS = {"lstm": ("lstm", 4, {}), "gru": ("gru", 3, {}), "tanh": ("rnn", 1, {"activation": "tanh"}),
         "relu": ("rnn", 1, {"activation": "relu"})}  # fmt: skip
SIZES = [(1, 1, 1, 1), (3, 4, 5, 6), (9, 3, 17, 16), (8, 2, 4, 33)]  # sequences, steps, inputs, units
CODE = HOWS[-1:]


def numbers(cell, batch, steps, inputs, units, dtype, biases=True, states=True, lengths=None):
    op, gates, _ = CELLS[cell]
    rng = np.random.default_rng([batch, steps, inputs, units])

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x, w, u = (
        draw(batch, steps, inputs),
        draw(inputs, gates * units) / 2,
        draw(units, gates * units) / max(2, units**0.5),
    )
    bias = [draw(gates * units) if biases else None for _ in range(2 if op == "gru" else 1)]
    first = [draw(batch, units) if states else None for _ in range(2 if op == "lstm" else 1)]
    slopes = [draw(batch, steps, units), *[draw(batch, units) for _ in first]]
    return (x, w, u, *bias, *first, lengths), slopes


def wide(arrays):
    return [a.astype("float64") if a is not None and a.dtype.kind == "f" else a for a in arrays]


def near(got, want, dtype):
    assert np.isfinite(want).all()
    scale = np.abs(want).max(initial=0) or 1.0
    np.testing.assert_allclose(got, want, rtol=0, atol=64 * np.finfo(dtype).eps * scale)


def both(cell, given, slopes, how, dtype, reverse=False, order=1, want=None):
    name, _, attrs = CELLS[cell]
    op, attrs = CATALOGUE[name], {**attrs, "reverse": reverse}
    given_wants = tuple(a is not None and a.dtype.kind == "f" for a in given)
    want = given_wants if want is None else tuple(a and b for a, b in zip(want, given_wants, strict=True))
    exact = op.forward(*wide(given), **attrs)
    results = len(slopes)
    forward = Run(op.native_rule(), given, [(a.shape, dtype) for a in exact], attrs, *how, order=order)
    assert forward.took
    assert set(forward.checks) <= {0}
    ended = given[-1] is not None  # of which gates mean nothing
    for k, (got, correct) in enumerate(zip(forward.outputs, exact, strict=True)):
        if k < results or not ended:
            near(got, correct, dtype)
    attrs["want"] = want
    exact_back = op.gradient.forward(*wide(given), *exact, *wide(slopes), **attrs)
    kept = tuple(a.astype(dtype) for a in exact)
    wanted = [(a.shape, dtype) for a, w in zip(given, want, strict=True) if w]
    back = Run(op.gradient.native_rule(), (*given, *kept, *slopes), wanted, attrs, *how, order=order)
    assert back.took
    for got, correct in zip(back.outputs, exact_back, strict=True):
        near(got, correct, dtype)
    return [*forward.outputs[:results], *back.outputs]


@pytest.mark.sampled(test=24, quick=2)
@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_layer(cell, reverse, dtype, how):
    for sizes in SIZES[: 2 if how[0] == "emulate" else None]:
        both(cell, *numbers(cell, *sizes, dtype), how, dtype, reverse)


@pytest.mark.sampled(test=12, quick=2)
@every_how
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_sequences_that_end_before_the_last_step(cell, reverse, how):
    for lengths in (np.array([4, 0, 3]), np.array([0, 0, 0], "int32"), np.array([9, 1, 9, 4, 9, 2])[::2] % 5):
        given, slopes = numbers(cell, 3, 4, 5, 6, "float32", lengths=lengths)
        got = both(cell, given, slopes, how, "float32", reverse)
        y = got[0]
        for one, n in zip(y, lengths, strict=True):
            assert (one[n:] == 0).all()


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("cell", CELLS)
def test_what_may_be_absent(cell, how):
    given, slopes = numbers(cell, 5, 3, 4, 7, "float32", biases=False, states=False)
    for k in range(len(slopes)):
        some = [s if i == k else None for i, s in enumerate(slopes)]
        both(cell, given, some, how, "float32")
    given, slopes = numbers(cell, 5, 3, 4, 7, "float32", lengths=np.array([1, 2, 3, 0, 3]))
    whole = both(cell, given, slopes, how, "float32")
    start = len(whole) - (len(given) - 1)
    for k in range(len(given) - 1):
        want = tuple(i == k for i in range(len(given)))
        np.testing.assert_array_equal(both(cell, given, slopes, how, "float32", want=want)[-1], whole[start + k])
    if cell == "gru":
        both(cell, (*given[:4], None, *given[5:]), slopes, how, "float32")


@pytest.mark.skipif(len(HOWS) < 3, reason="no machine code here")
@pytest.mark.parametrize("cell", CELLS)
def test_blocks_change_no_bit(cell):
    for lengths in (None, np.arange(40) % 7):
        given, slopes = numbers(cell, 40, 6, 8, 128, "float32", lengths=lengths)
        one, other = (both(cell, given, slopes, HOWS[-1], "float32", order=order) for order in (1, -1))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("how", CODE)
@pytest.mark.parametrize("cell", CELLS)
def test_any_strides(cell, how):
    given, slopes = numbers(cell, 4, 3, 5, 8, "float32", lengths=np.array([3, 1, 2, 0]))
    plain = both(cell, given, slopes, how, "float32")
    turned = [None if a is None else np.asfortranarray(a) if a.ndim > 1 else np.repeat(a, 2)[::2] for a in given]
    for a, b in zip(both(cell, turned, [np.asfortranarray(s) for s in slopes], how, "float32"), plain, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", CELLS)
def test_lengths_are_looked_at(cell):
    name, _, attrs = CELLS[cell]
    op = CATALOGUE[name]
    for bad in ([1, 4], [-1, 3], [2**40, 0]):
        given, _ = numbers(cell, 2, 3, 4, 5, "float32", lengths=np.array(bad))
        shapes = [(a.shape, "float32") for a in op.forward(*given[:-1], np.array([1, 2]), **attrs, reverse=False)]
        for how in HOWS:
            assert Run(op.native_rule(), given, shapes, {**attrs, "reverse": False}, *how).checks == [1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_finite_stays_in_its_sequence(cell, dtype):
    name, _, attrs = CELLS[cell]
    op, attrs = CATALOGUE[name], {**attrs, "reverse": False}
    given, slopes = numbers(cell, 6, 4, 3, 5, dtype, lengths=np.array([4, 4, 2, 4, 4, 0]))
    x = given[0]
    x[0, 1, 0], x[1, 2, 1], x[2, 3, 0], x[4, 0], x[5, 0] = np.nan, np.inf, np.nan, np.finfo(dtype).max, np.nan
    with np.errstate(all="ignore"):
        kept = op.forward(*given, **attrs)
    got = Run(op.native_rule(), given, [(a.shape, dtype) for a in kept], attrs, *CODE[0])
    for a, b in zip(got.outputs[: len(slopes)], kept, strict=False):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))


@pytest.mark.parametrize("cell", CELLS)
def test_compiled_it_is_the_layer(cell):
    name, _, attrs = CELLS[cell]
    given, _ = numbers(cell, 3, 4, 5, 6, "float32", lengths=np.array([4, 0, 3]))
    arguments = [tg.tensor(a) for a in given[:-1]]

    def loss(*inputs):
        results = getattr(tg, name)(*inputs, given[-1], **attrs)
        return sum((r * r).sum() for r in results)

    wanted = tuple(range(len(arguments)))
    compiled = tg.compile(lambda *a: tg.grad(loss, argnums=wanted)(*a))
    for a, b in zip(compiled(*arguments), tg.grad(loss, argnums=wanted)(*arguments), strict=True):
        near(a.numpy(), b.numpy(), "float32")
    assert "no kernel is written" not in compiled.explain()

"""What `equal` means in a rewriting: pairs of functions that are one, and pairs that part somewhere, with where."""

import numpy as np
import pytest

import tensorgraph as tg

X, XY, TABLE, WHOLE = [tg.f32[7]], [tg.f32[7], tg.f32[7]], [tg.f32[4, 7]], [tg.i64[7]]
MATRICES = [tg.f32[4, 5], tg.f32[5, 3]]


def _normalised(x):
    return (x - x.mean(axis=-1, keepdims=True)) / tg.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


EQUAL = {
    "a sum for a product": (X, lambda x: x * 2.0, lambda x: x + x),
    "three of them, which rounds": (X, lambda x: x * 3.0, lambda x: x + x + x),
    "a factor for a divisor": (X, lambda x: x / 3.0, lambda x: x * (1 / 3)),
    "a difference the other way": (XY, lambda x, y: x - y, lambda x, y: -(y - x)),
    "a sum in another order": (XY, lambda x, y: (x + y) + 1.0, lambda x, y: x + (y + 1.0)),
    "a product in another order": (XY, lambda x, y: (x * y) * 3.0, lambda x, y: x * (y * 3.0)),
    "halves of an absolute value": (X, abs, lambda x: tg.maximum(x, -x)),
    "a factor before a sum": (X, lambda x: (x * 2.0).sum(), lambda x: x.sum() * 2.0),
    "a mean": (TABLE, lambda x: x.mean(axis=1), lambda x: x.sum(axis=1) / 7),
    "a variance": (X, lambda x: ((x - x.mean()) ** 2).mean(), lambda x: x.var()),
    "a transposed product": (MATRICES, lambda a, b: a @ b, lambda a, b: (b.T @ a.T).T),
    "softmax": (TABLE, lambda x: tg.softmax(x, axis=-1), lambda x: tg.exp(tg.log_softmax(x, axis=-1))),
    "swish": (X, lambda x: x * tg.sigmoid(x), lambda x: x / (1.0 + tg.exp(-x))),
    "a norm of rows": (TABLE, _normalised, lambda x: tg.layer_norm(x, tg.ones(7), tg.zeros(7))[0]),
    "an order of two": (XY, lambda x, y: tg.logical_not(x == y), lambda x, y: x != y),
    "whole numbers": (WHOLE, lambda x: x * 2, lambda x: x + x),
    "whole numbers that overflow alike": (WHOLE, lambda x: x * x, lambda x: (-x) * (-x)),
    "bytes": ([tg.u8[7]], lambda x: x - 1 + 1, lambda x: x + 0),
    "halves": (WHOLE, lambda x: x // 2, lambda x: (x - x % 2) // 2),
    "half floats": ([tg.f16[7]], lambda x: x * 2.0, lambda x: x + x),
    "double floats": ([tg.f64[7]], lambda x: x / 3.0, lambda x: x * (1 / 3)),
}

DIFFERENT = {
    "0 / 0": (X, lambda x: x / x, lambda x: x * 0.0 + 1.0, r"is nan before and 1 after where x\[\d\] = -?0$"),
    "a pole": (X, lambda x: 1.0 / x, lambda x: 1.0 / (x + 0.0), r"is -inf before and inf after where x\[\d\] = -0$"),
    "NaN": (X, lambda x: x * 0.0, tg.zeros_like, r"is nan before and 0 after where x has NaN"),
    "a NaN that is compared": (
        X, tg.relu, lambda x: tg.where(x > 0, x, 0.0),
        r"nan before and 0 after where x.* = nan"
    ),
    "infinity": (X, lambda x: x + 1.0, lambda x: tg.clip(x + 1.0, -1e30, 1e30), r"is inf before and 1e\+30 after"),
    "infinity of one": (
        XY, lambda x, y: x * y + x, lambda x, y: x * (y + 1.0), r"is nan before and -?inf after where x\[\d\] = -?inf"
    ),
    "infinity in a sum": (TABLE, lambda x: x.sum(), lambda x: (x * 2.0).sum() - x.sum(), r"where x has infinities"),
    "overflow": (X, lambda x: tg.log(tg.exp(x)), lambda x: x, r"is -?inf before and .* after where x"),
    "overflow of a square": (X, lambda x: tg.sqrt(x * x + 1.0), lambda x: tg.where(abs(x) > 1e4, abs(x),
                             tg.sqrt(x * x + 1.0)), r"is inf before and \d\..*e\+2\d after"),
    "overflow after": (X, lambda x: tg.logsumexp(x), lambda x: tg.log(tg.exp(x).sum()), "inf after"),
    "underflow": (X, lambda x: (x * 1e-30) * 1e30, lambda x: x * 1.0, r"is -?0 before and .*e-25 after where x"),
    "a small eps": (X, lambda x: x / (abs(x) + 1e-12), lambda x: x / (abs(x) + 1e-9), r"where x\[\d\] = "),
    "a bound far out": (X, lambda x: x * 1.0, lambda x: tg.clip(x, -1e6, 1e6), r"before and -?1e\+06 after where x"),
    "digits lost near 0": (X, tg.expm1, lambda x: tg.exp(x) - 1.0, r"where x\[\d\] = -?0\.000\d"),
    "digits lost far out": (
        X, tg.sigmoid, lambda x: 0.5 * (1.0 + tg.tanh(0.5 * x)),
        r"e-\d+ before .* where x\[\d\] = -"
    ),
    "digits lost far from 0": (X, lambda x: x.var(), lambda x: (x * x).mean() - x.mean() ** 2, "x has"),
    "digits lost to another": (
        XY, lambda x, y: x + 0.0 * y, lambda x, y: (x - y) + y,
        r"is .* before and .* where x.*, y"
    ),
    "a kink": (X, tg.relu, lambda x: tg.maximum(x, 0.0), r"the gradient with respect to x\[\d\] is 0 .* = -?0$"),
    "a kink of two": (X, abs, lambda x: tg.where(x >= 0, x, -x), r"gradient .* where x\[\d\] = -?0$"),
    "a root": (X, lambda x: tg.sqrt(x * x), abs, r"gradient with respect to x\[\d\] is nan before and -?0 after"),
    "ties of two": (
        XY, lambda x, y: tg.maximum(x, y), lambda x, y: tg.where(x > y, x, y),
        r"the gradient .* x\[\d\] = (\S+), y\[\d\] = \1$"
    ),
    "ties of a row": (
        TABLE, lambda x: tg.max(x, axis=1), lambda x: tg.sort(x, axis=1)[:, -1], r"gradient.*for whole numbers"
    ),
    "which of a tie": (
        X, tg.argmax, lambda x: 6 - tg.argmax(tg.flip(x)),
        r"is \d before and \d after for whole numbers"
    ),
    "halves rounded": (X, lambda x: tg.floor(x + 0.5), tg.round, r"is 1 before and 0 after where x\[\d\] = 0\.5$"),
    "or equal": (
        XY, lambda x, y: x > y, lambda x, y: x >= y,
        r"False before and True after where x\[\d\] = (\S+), y\[\d\] = \1$"
    ),
    "an order and NaN": (
        XY, lambda x, y: tg.logical_not(x < y), lambda x, y: x >= y,
        "True before and False after.*nan"
    ),
    "a gradient held back": (X, tg.exp, lambda x: tg.exp(x).detach(), "the gradient with respect to x"),
    "a gradient alone": (
        X, lambda x: x * 1.0, lambda x: x + (x - x.detach()),
        r"the gradient with respect to x\[\d\] is .* for ordinary|where x"
    ),
    "whole numbers that overflow": (WHOLE, lambda x: x * 2 // 2, lambda x: x + 0, r"where x\[\d\] = -?\d{16,}$"),
    "whole numbers as floats": (
        WHOLE, lambda x: x.astype("float64").astype("int64"), lambda x: x + 0,
        r"9007199254740992 before and 9007199254740993"
    ),
    "bytes": ([tg.u8[7]], lambda x: (x * 2) // 2, lambda x: x + 0, r"where x\[\d\] = 2\d\d$"),
    "negative halves": (
        WHOLE, lambda x: x // 2, lambda x: tg.trunc(x / 2).astype("int64"),
        r"is -1 before and 0 after"
    ),
    "whole numbers far out": (WHOLE, lambda x: x + 1, lambda x: tg.where(x > 99, x, x + 1), r"where x\[\d\] = \d{3}"),
    "a product": (MATRICES, lambda a, b: a @ b, lambda a, b: a @ b * 1.001, r"0\.1 % of the largest"),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_equal_is_replaced(name):
    types, before, after = EQUAL[name]
    graph = tg.trace(before, *types)
    assert graph.rewrite(before, after, exact=True) != graph


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_is_refused_with_the_place(name):
    types, before, after, words = DIFFERENT[name]
    graph = tg.trace(before, *types)
    with pytest.raises(ValueError, match=f"after differs from before: .*(?:{words.replace('$', ';')})"):
        graph.rewrite(before, after, exact=True)
    assert graph.rewrite(before, after, equal=False) != graph


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_how_many_numbers_there_are_makes_no_difference(size):
    for before, after, equal in [
        (lambda x: x * 3.0, lambda x: x + x + x, True),
        (lambda x: ((x - x.mean()) ** 2).mean(), lambda x: x.var(), True),
        (tg.relu, lambda x: tg.maximum(x, 0.0), False),
        (lambda x: tg.floor(x + 0.5), tg.round, False),
        (lambda x: x * 1.0, lambda x: tg.clip(x, -1e6, 1e6), False),
        (lambda x: x + 0.0, lambda x: tg.where(x == 1.0, 2.0, x), False),
    ]:
        graph = tg.trace(before, tg.f32[size])
        if equal:
            assert graph.rewrite(before, after) != graph
        else:
            with pytest.raises(ValueError, match="differs"):
                graph.rewrite(before, after)


def test_the_sign_of_a_zero_is_told():
    graph = tg.trace(lambda x: x + 0.0, *X)
    after = graph.rewrite(lambda x: x + 0.0, lambda x: x)
    assert "the sign of a zero is another: the result" in str(after.explain())
    assert "0 before and -0 after" in str(after.explain())
    assert "sign" not in str(graph.rewrite(lambda x: x + 0.0, lambda x: 0.0 + x + 0.0).explain())


def test_a_part_that_differs_is_refused_alike():
    graph = tg.parse("def f(x: f32[3]):\n    h = relu(x * 2.0)\n    return exp(h)")
    with pytest.raises(ValueError, match=r"differs from h: .*the gradient.* 0 before"):
        graph.replace_at("h", lambda x: tg.maximum(x, 0.0), equal=True)


def test_a_weak_number_is_tried_too():
    graph = tg.trace(lambda x, s: x * s, tg.f32[3], 0.5)
    before = lambda x, s: x * s
    assert graph.rewrite(before, lambda x, s: s * x * 1.0) != graph
    with pytest.raises(ValueError, match=r"before and .* after where x\[\d\] = .*, s = "):
        graph.rewrite(before, lambda x, s: tg.where(x * 1e30 == 0.0, x, x * s))


def test_cells_are_read_as_they_are_and_otherwise():
    scale = tg.Parameter(np.ones(3, np.float32), name="scale")
    graph = tg.trace(lambda x: x * scale, tg.f32[3])
    with pytest.raises(ValueError, match="differs"):  # equal only while the scale is 1
        graph.rewrite(lambda x: x * scale, lambda x: x * 1.0)

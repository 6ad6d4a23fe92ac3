"""What an op refuses, it refuses eagerly, where nobody asks the shape rule, and at definition, where none else is."""

import re

import numpy as np
import pytest

import tensorgraph as tg

F4, U1, I8 = np.float32, np.uint8, np.int64
NUMBER = F4(1.5)
X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], F4)
N = np.array([[1, 2, 3], [4, 5, 6]])
SMALL = N.astype(U1)
STATE = np.array([1, 2, 3], np.uint64)

NO_AXES = r"axis {} is out of range for 0 dimensions: a 0-d tensor has no axes"
# inputs, what is done with them, the error and what it says
REFUSED = {
    **{
        f"{name} of a number over axis {axis}": (
            (NUMBER,), lambda x, name=name, axis=axis: getattr(tg, name)(x, axis=axis), ValueError, NO_AXES.format(axis)
        )
        for name in ("sum", "mean", "var", "max", "min", "prod", "all", "any", "argmax", "argmin", "logsumexp")
        for axis in (0, -1)
    },
    "sort of a number": ((NUMBER,), lambda x: tg.sort(x), ValueError, NO_AXES.format(-1)),
    "sort without an axis": ((X,), lambda x: tg.sort(x, axis=None), TypeError, "axis must be an integer, got None"),
    "flip along True": ((X,), lambda x: tg.flip(x, axis=True), TypeError, "axis must be an integer, got True"),
    "softmax along 1.0": ((X,), lambda x: tg.softmax(x, axis=1.0), TypeError, "axis must be an integer, got 1.0"),
    "log_softmax along True": ((X,), lambda x: tg.log_softmax(x, axis=True), TypeError, "an integer, got True"),
    "softmax of nothing": ((X[:0],), lambda x: tg.softmax(x, axis=2), ValueError, "axis 2 is out of range"),
    "batch norm along True": ((X, X[0], X[0]), lambda *a: tg.batch_norm(*a, axis=True), TypeError, "got True"),
    "batch norm, eps": ((X, X[0], X[0]), lambda *a: tg.batch_norm(*a, eps=None), TypeError, "eps must be a number"),
    "var, correction": ((X,), lambda x: tg.var(x, correction=None), TypeError, "correction must be a number, got None"),
    "leaky_relu, slope": ((X,), lambda x: tg.leaky_relu(x, slope=None), TypeError, "slope must be a number, got None"),
    "smoothing": (
        (X, N[:, 0] % 3), lambda z, t: tg.softmax_cross_entropy(z, t, label_smoothing=None), TypeError,
        "label_smoothing must be a number, got None",
    ),
    "ignore_index": (
        (X, N[:, 0] % 3), lambda z, t: tg.softmax_cross_entropy(z, t, ignore_index=1.0), TypeError,
        "ignore_index must be an integer or None, got 1.0",
    ),
    # borders, parts, joints
    "pad, three pairs": ((X,), lambda x: tg.pad(x, ((1, 1),) * 3), ValueError, "one .* pair for each of 2"),
    "pad, a negative number": ((X,), lambda x: tg.pad(x, widths=-1), ValueError, "must not be negative.* by a slice"),
    "pad, a short pair": ((X,), lambda x: tg.pad(x, widths=((1,), (1,))), ValueError, "one .* pair for each of 2"),
    "pad with the means": ((X,), lambda x: tg.pad(x, 1, mode="mean"), ValueError, "'reflect'.*got 'mean'"),
    "pad by a part": ((X,), lambda x: tg.pad(x, widths=((1, 1.0), (0, 0))), TypeError, "width.* must be an integer"),
    "pad integers with 0.5": ((N,), lambda x: tg.pad(x, widths=((1, 1),) * 2, value=0.5), TypeError, "without loss"),
    "pad bytes with 300": ((SMALL,), lambda x: tg.pad(x, widths=((1, 1),) * 2, value=300), TypeError, "does not fit"),
    "pad with text": ((X,), lambda x: tg.pad(x, widths=((1, 1),) * 2, value="a"), TypeError, "must be a number"),
    "split by parts": ((X,), lambda x: tg.split(x, sizes=(0.5, 1.5)), TypeError, r"integers, got \(0.5, 1.5\)"),
    "split in nothing": ((X[:0],), lambda x: tg.split(x, sizes=()), ValueError, "must sum to the axis' size 0"),
    "split along True": ((X,), lambda x: tg.split(x, sizes=(1, 2), axis=True), TypeError, "got True"),
    "concatenate flat": ((X, X), lambda *a: tg.concatenate(a, axis=None), TypeError, r"reshape each to \(-1,\)"),
    # sizes
    "reshape to a part": ((np.ones(4, F4),), lambda x: x.reshape(2.5, 2), TypeError, r"integers, got \(2.5, 2\)"),
    "reshape to 2.0": ((np.ones(4, F4),), lambda x: x.reshape(2.0, 2), TypeError, "integers"),
    "reshape to nothing said": ((X,), lambda x: tg.reshape(x, shape=None), TypeError, "integers, got None"),
    "broadcast to a part": ((X,), lambda x: tg.broadcast_to(x, shape=(1.5, 2, 3)), TypeError, "integers"),
    "broadcast below 0": ((NUMBER,), lambda x: tg.broadcast_to(x, shape=(-1,)), ValueError, "non-negative integers"),
    "transpose by one axis": ((X,), lambda x: tg.transpose(x, axes=0), ValueError, "each of the 2 axes once"),
    "transpose by parts": ((X,), lambda x: tg.transpose(x, axes=(1.0, 0)), TypeError, "axes must be an integer"),
    "slice at a part": ((X,), lambda x: x[:1.5], TypeError, "'float' object cannot be interpreted as an integer"),
    "zeros": ((), lambda: tg.zeros(2.0), TypeError, "integers, got 2.0"),
    "ones": ((), lambda: tg.ones((-1,)), ValueError, r"non-negative integers, got \(-1,\)"),
    "full of text": ((), lambda: tg.full(shape=(2,), value="a"), TypeError, "the value must be a number, got 'a'"),
    "full beyond a byte": ((), lambda: tg.full(shape=(2,), value=300, dtype="uint8"), ValueError, "does not fit uint8"),
    "eye": ((), lambda: tg.eye(n=-1), ValueError, "n must not be negative, got -1"),
    "eye of a part": ((), lambda: tg.eye(n=2.0), TypeError, "n must be an integer, got 2.0"),
    "arange without a step": ((), lambda: tg.arange(start=0, stop=3, step=0), ValueError, "step must not be 0"),
    "arange of text": ((), lambda: tg.arange(start="a"), TypeError, "must be a number, got 'a'"),
    "one_hot": ((N[0],), lambda x: tg.one_hot(x, classes=-1), ValueError, "classes must not be negative, got -1"),
    "permutation": ((STATE,), lambda s: tg.permutation(s, n=-1), ValueError, "n must not be negative, got -1"),
    "permutation of a part": ((STATE,), lambda s: tg.permutation(s, n=2.5), TypeError, "n must be an integer, got 2.5"),
    "the process-wide permutation": ((), lambda: tg.random.permutation(-1), ValueError, "a non-negative integer or a"),
    "a state of integers": ((N[0],), lambda s: tg.uniform(s, shape=(2,)), ValueError, r"u64\[3\].*got i64\[3\]"),
    # numbers that do not fit
    "a condition of floats": ((X,), lambda x: tg.where(x, x, 0.0), TypeError, "condition must be boolean, got float32"),
    "clip the wrong way round": ((X,), lambda x: x.clip(2.0, 1.0), ValueError, "a_min must not exceed a_max"),
    "clip by text": ((X,), lambda x: tg.clip(x, a_min="a"), TypeError, "a_min must be a number, got 'a'"),
    "clip bytes at 300": ((SMALL,), lambda x: tg.clip(x, a_max=300), ValueError, "a_max=300 does not fit uint8"),
    "bytes plus 300": ((SMALL,), lambda x: x + 300, ValueError, "300 does not fit uint8"),
    "300 less bytes": ((SMALL,), lambda x: 300 - x, ValueError, "300 does not fit uint8"),
    "bytes or -1": ((SMALL,), lambda x: x | -1, ValueError, "-1 does not fit uint8"),
    "300 chosen among bytes": ((SMALL,), lambda x: tg.where(x > 3, x, 300), ValueError, "300 does not fit uint8"),
    "the bits of floats": ((X,), lambda x: (x > 1) & x, TypeError, r"bits.*compare \(x > 0\)"),
    # indices and values
    "an index of floats": ((X,), lambda x: x[tg.zeros((2,))], TypeError, "boolean\\) type, got float32"),
    "getitem by floats": (
        (X, X[0]), lambda x, i: tg.getitem(x, [i], key=(("index", 0),)), IndexError, r"integers, got f32\[3\]"
    ),
    "take by floats": ((X, X), lambda x, i: tg.take_along_axis(x, i), IndexError, r"integers, got f32\[2, 3\]"),
    "too many axes": ((X, X[:1]), lambda x, v: x.at[0].set(v), ValueError, r"shape \(1, 3\) do not fit .* \(3,\)"),
    "too many axes to scatter": (
        (np.ones((2, 2, 2), F4),), lambda g: tg.scatter_add(g, [], key=("newaxis", "...", 0), shape=(1, 1)),
        ValueError, r"do not fit .* \(1, 1\)",
    ),
    "floats set in integers": (
        (N, NUMBER), lambda x, v: x.at[0].set(v), TypeError, "float32 cannot be stored in a tensor of int64"
    ),
    "floats added to integers": ((N, NUMBER), lambda x, v: x.at[0].add(v), TypeError, "float32 cannot be stored"),
    "integers times floats": ((N, NUMBER), lambda x, v: x.at[0].multiply(v), TypeError, "float32 cannot be stored"),
    "a float set in integers": ((N,), lambda x: x.at[0].set(2.7), TypeError, "2.7 cannot be stored as int64"),
    "integers set in booleans": ((N > 2, N), lambda x, v: x.at[...].set(v), TypeError, "int64 cannot .* bool"),
    "floats put in integers": ((N, NUMBER), lambda x, v: tg.put(x, v, [], key=(0,)), TypeError, "float32 cannot"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("traced", [False, True])
def test_refused_eagerly_and_at_definition(name, traced) -> None:
    inputs, call, error, message = REFUSED[name]
    if traced:
        run = lambda: tg.trace(call, *[tg.spec(a.shape, a.dtype) for a in inputs])
    else:
        run = lambda: call(*[tg.tensor(a) for a in inputs])
    with pytest.raises(error, match=message):
        run()


# what stands beside a refusal and must not be refused with it
ALLOWED = {
    "sum of a number over no axes": (lambda: tg.sum(tg.tensor(1.5), axis=()), 1.5),
    "pad integers with 0.0": (lambda: tg.pad(tg.tensor([1]), widths=((1, 0),)), [0, 1]),
    "pad integers with 2.0": (lambda: tg.pad(tg.tensor([1]), widths=((1, 0),), value=2.0), [2, 1]),
    "pad booleans": (lambda: tg.pad(tg.tensor([True]), widths=((1, 1),), value=True), [True, True, True]),
    "pad a number": (lambda: tg.pad(tg.tensor(1.5), widths=()), 1.5),
    "sizes of NumPy": (lambda: tg.zeros((np.int32(2),)).reshape(np.int64(1), -1), [[0.0, 0.0]]),
    "one size": (lambda: tg.ones(2), [1.0, 1.0]),
    "a slice by a tensor": (lambda: tg.arange(start=3)[: tg.tensor(2)], [0, 1]),
    "integers set in floats": (lambda: tg.tensor([1.5, 2.5]).at[0].set(tg.tensor(3)), [3.0, 2.5]),
    "a narrower float": (lambda: tg.tensor([1.5, 2.5]).at[0].set(np.float64(3)), [3.0, 2.5]),
    "booleans set in integers": (lambda: tg.tensor([1, 2]).at[0].set(tg.tensor(True)), [1, 2]),
    "bytes compared with 300": (lambda: tg.tensor(np.array([1], U1)) < 300, [True]),
    "bytes divided by 300": (lambda: tg.tensor(np.array([150], U1)) / 300, [0.5]),
    "bytes chosen among": (lambda: tg.where(tg.tensor([True, False]), tg.tensor(np.array([7, 8], U1)), 255), [7, 255]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name) -> None:
    call, expected = ALLOWED[name]
    assert call().tolist() == expected
    if name != "a slice by a tensor":
        assert tg.trace(call)().tolist() == expected


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (2, 1)])
def test_the_gradient_of_taking_along_a_repeated_axis(shape) -> None:
    """An axis of size 1 of either is repeated, and its gradient comes back to the one place."""
    indices = np.array([[0], [2], [2]]) if shape[0] == 1 else np.array([[0, 0, 0]])
    x = tg.tensor(np.arange(6.0)[: shape[0] * shape[1]].reshape(shape), requires_grad=True)
    y = tg.take_along_axis(x, indices, axis=1)
    (g,) = tg.gradients([tg.sum(y * y)], [x], create_graph=True)
    expected = np.zeros(shape)
    rows = np.broadcast_to(np.arange(shape[0])[:, None], y.shape)
    for r, c in zip(rows.flat, np.broadcast_to(indices, y.shape).flat):
        expected[r, c] += 2 * x.numpy()[r, c]
    assert np.array_equal(g.numpy(), expected)
    (second,) = tg.gradients([tg.sum(g)], [x])
    expected = np.zeros(shape)
    np.add.at(expected, (rows, np.broadcast_to(indices, y.shape)), 2.0)
    assert np.array_equal(second.numpy(), expected)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64"])
@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax", "mean", "var"])
def test_float_functions_of_integers_in_the_default_dtype(name, dtype) -> None:
    x = np.array([[1, 0, 1], [0, 0, 1]], dtype)
    options = {} if name in ("softmax", "log_softmax") else dict(axis=1)
    got, wanted = (getattr(tg, name)(tg.tensor(a), **options) for a in (x, x.astype(F4)))
    assert got.aval == wanted.aval and np.array_equal(got.numpy(), wanted.numpy())


def test_a_rule_for_no_input_is_refused() -> None:
    with pytest.raises(ValueError, match="bad_rule: there is a derivative rule for 'y', but its inputs are x"):
        tg.op("bad_rule(x)", lambda x: x * 1.0, vjp=dict(x=lambda g: g, y=lambda g: g))
    with pytest.raises(ValueError, match="rule for 'wieght', but its inputs are x, weight"):
        tg.op("bad_rule(x, weight=None)", lambda x, weight: x, vjp=dict(x=None, weight=None, wieght=None))
    assert "bad_rule" not in tg.CATALOGUE


def test_the_user_is_told_where() -> None:
    with pytest.raises(ValueError, match=re.escape(__file__)):
        tg.sum(tg.tensor(1.0), axis=0)

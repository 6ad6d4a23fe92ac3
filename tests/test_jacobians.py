"""Jacobians by one batched backward pass: those that rows give, and differentiable as these are."""

from importlib import import_module

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.testing import assert_close, assert_same
from tensorgraph.testing.batches import _examples, _put
from tensorgraph.testing.cases import differentiable_places, examples_of
from tensorgraph.testing.common import float_outputs

ROWS_MODULE = import_module("tensorgraph.transforms.rows")


def numbers(*shape, seed=0):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape))


def assert_trees(found, expected):
    one, tree = flatten(found)
    other, other_tree = flatten(expected)
    assert tree == other_tree
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        scale = max(np.abs(b.numpy()).max(initial=1), 1)
        assert_close(a.numpy(), b.numpy(), scale=scale, ulps=512, reason="other sums")


def by_rows(function, *args):
    out, pullback = tg.vjp(function, *args)
    ys, tree = flatten(out)
    blocks = []
    for k, y in enumerate(ys):
        rows = []
        for i in range(y.size):
            cts = [np.zeros(v.shape, v.dtype) for v in ys]
            cts[k].flat[i] = 1
            rows.append(pullback(unflatten(tree, cts)))
        blocks.append(tuple(tg.stack(list(c)).reshape((*y.shape, *c[0].shape)) for c in zip(*rows, strict=True)))
    return unflatten(tree, blocks) if len(blocks) > 1 else blocks[0]


@tg.custom_vjp
def steep(x):
    return tg.sin(x)


steep.defvjp(lambda x: (tg.sin(x), x if float(x.detach().sum()) > -1e9 else -x), lambda x, g: (g * tg.cos(x) * 2,))
W = tg.Parameter(np.random.default_rng(8).normal(size=(12, 12)))


def branching(v):
    return tg.sin(v) * v if float(v.detach().sum()) < 1e9 else v


def cut(v):
    with tg.no_grad():
        w = tg.sin(v)
    return tg.concatenate([w * v, v * v])


def cut_whole(v):
    with tg.no_grad():
        return (tg.sin(v) * 2.0).T


def hooked(v, hook):
    y = v * 2
    y.register_hook(hook)
    return y * y


CAPTURED = tg.tensor(np.ones(9))
ROWS = {
    "matmul": lambda v: v.reshape((3, 4)) @ v.reshape((4, 3)),
    "softmax": lambda v: tg.softmax(v.reshape((3, 4)), axis=0),
    "sort": lambda v: tg.sort(v) * v,
    "index": lambda v: v[[1, 1, 2, 5, 3, 4, 0, 8, 9]] * v[2:11],
    "custom_vjp": steep,
    "checkpoint": tg.checkpoint(lambda v: tg.tanh(W @ tg.sin(v))),
    "layer_norm": lambda v: tg.layer_norm(W @ v, v, v * 2)[0],
    "batch_norm": lambda v: tg.batch_norm(v.reshape((6, 2)), v[:2], v[2:4])[0],
    "cross_entropy": lambda v: tg.softmax_cross_entropy(v.reshape((6, 2)), [0] * 6, reduction="none") * v[0],
    "branch": branching,
    "loop": lambda v: tg.concatenate([v[i : i + 1] * i for i in range(12)]),
    "hook": lambda v: hooked(v, lambda g: g * 3),
    "hook that looks": lambda v: hooked(v, lambda g: g * (3 if float(g.sum()) > 1e9 else 2)),
    "no_grad": cut,
    "float16": lambda v: tg.tanh(v.astype("float16")),
    "no_grad for all": cut_whole,
    "constant": lambda v: tg.ones((9,)) * 2.0,
    "captured": lambda v: CAPTURED,
}


@pytest.mark.parametrize("name", ROWS)
def test_jacobians_by_batches_are_those_by_rows(name):
    f, v = ROWS[name], numbers(12, seed=2)
    expected = by_rows(f, v)[0]
    assert_trees(tg.jacobian(f)(v), expected)
    if name not in ("branch", "custom_vjp", "hook", "hook that looks"):  # which ask for numbers
        graph = tg.trace(tg.jacobian(f), v)
        assert_trees(graph.bind(W)(v) if graph.cells else graph(v), expected)
        assert len(graph.equations) < 100
    second = tg.grad(lambda v: (tg.jacobian(f)(v) ** 2).sum() + v[0])(v)
    assert_trees(second, tg.grad(lambda v: (by_rows(f, v)[0] ** 2).sum() + v[0])(v))


def test_jacobians_of_several_arguments_and_results():
    a, b = numbers(3, 4), {"k": numbers(4, seed=1), "n": tg.tensor([1.0, 2.0])}

    def f(a, b):
        return {"y": a @ b["k"], "z": [tg.sin(b["n"]).sum() * a, tg.argmax(a, axis=0)]}

    found = tg.jacobian(f, (0, 1))(a, b)
    assert found["y"][0].shape == (3, 3, 4) and found["z"][0][1]["n"].shape == (3, 4, 2)
    assert found["z"][0][1]["n"].dtype == np.float32 and found["z"][1][1]["k"].shape == (4, 4)
    assert not found["z"][1][0].numpy().any()
    assert_close(found["y"][1]["k"].numpy(), a.numpy())
    assert tg.jacobian(lambda v: v[:0])(a).shape == (0, 4, 3, 4)
    graph = tg.trace(tg.jacobian(f, (0, 1)), a, b)
    assert_trees(graph(a, b), found)


def test_jacobians_are_differentiated_to_what_is_read():
    v = numbers(12, seed=2)
    (tg.jacobian(ROWS["checkpoint"])(v) ** 2).sum().backward()
    found, W.grad = W.grad.numpy(), None
    (by_rows(ROWS["checkpoint"], v)[0] ** 2).sum().backward()
    expected, W.grad = W.grad.numpy(), None
    assert_close(found, expected, scale=np.abs(expected).max(), ulps=256, reason="other sums")
    assert not tg.jacobian(lambda v: v * v)(v).requires_grad


def test_random_draws_are_made_once_for_all_rows():
    layer = nn.Dropout(0.5, seed=0)
    diagonal = np.diag(tg.jacobian(layer)(tg.ones((20,))).numpy())
    assert layer.state.tolist()[2] == 1 and set(diagonal.tolist()) == {0.0, 2.0}
    layer.state.assign(tg.random.key(0))
    assert_same(layer(tg.ones((20,))).numpy(), diagonal)


def test_pullbacks_and_gradients_of_a_tape_are_mapped():
    v = tg.tensor(np.linspace(0.1, 1, 12), requires_grad=True)
    y = tg.tanh(W @ v)
    _, pullback = tg.vjp(lambda v: tg.tanh(W @ v), v.detach())
    expected = by_rows(lambda v: tg.tanh(W @ v), v.detach())[0]
    assert_trees(tg.vmap(pullback)(np.eye(12))[0], expected)
    assert_trees(tg.vmap(lambda g: tg.gradients(y, v, g, retain_graph=True))(np.eye(12)), expected)
    with pytest.raises(tg.TraceError, match="a pullback that was made in a trace is called outside it"):
        kept = []
        tg.trace(lambda v: kept.append(tg.vjp(tg.sin, v)[1]), v)
        kept[0](np.ones(12))


def test_tangent_kernels_both_ways():
    """Of a network's outputs, from its Jacobian and from products with it. (Jacot et al. 2018)"""
    f, p = tg.functional(
        nn.Sequential(nn.Linear(3, 8, seed=0, dtype="f8"), nn.Tanh(), nn.Linear(8, 2, seed=1, dtype="f8"))
    )
    a, b = numbers(4, 3), numbers(5, 3, seed=1)

    def kernel(x, y):
        one, two = tg.jacobian(f)(p, x), tg.jacobian(f)(p, y)
        return sum(one[k].reshape((2, -1)) @ two[k].reshape((2, -1)).T for k in p)

    def products(x, y):
        def column(direction):
            _, pullback = tg.vjp(lambda q: f(q, y), p)
            return tg.jvp(lambda q: f(q, x), (p,), pullback(direction))[1]

        return tg.vmap(column, out_axes=1)(np.eye(2))

    found = tg.vmap(tg.vmap(kernel, (None, 0)), (0, None))(a, b)
    assert found.shape == (4, 5, 2, 2)
    assert_trees(tg.vmap(tg.vmap(products, (None, 0)), (0, None))(a, b), found)


def test_an_op_without_a_batching_rule_is_pulled_back_by_rows():
    triple = tg.op(
        "triple(x)", lambda x: x * 3, infer_rule=lambda x: x, vjp=dict(x=lambda g: triple(g)), doc="3 x.",
        examples=((((3,),), {}),),
    )  # fmt: skip
    try:
        v = numbers(12)
        assert_trees(tg.jacobian(lambda v: triple(v) * v)(v), tg.tensor(np.diag(6 * v.numpy())))
        assert_trees(tg.hessian(lambda v: (triple(v) * v).sum())(v), tg.tensor(6 * np.eye(12)))
        graph = tg.trace(tg.jacobian(lambda v: triple(v) * v), v)
        assert_trees(graph(v), tg.tensor(np.diag(6 * v.numpy())))
    finally:
        tg.remove_op("triple")


def test_large_jacobians_are_pulled_back_in_blocks(monkeypatch):
    v, w = numbers(3, seed=4), numbers(3, 20, seed=5)

    def f(v):
        return {"a": tg.tanh(v @ w), "b": v * 2, "c": (v * v).sum()}

    whole = tg.jacobian(f)(v)
    monkeypatch.setattr(ROWS_MODULE, "MOST", 24 * 9)  # nine rows of 24 numbers
    assert_trees(tg.jacobian(f)(v), whole)
    assert_trees(tg.trace(tg.jacobian(f), v)(v), whole)
    second = tg.grad(lambda v: sum((t**2).sum() for t in flatten(tg.jacobian(f)(v))[0]))(v)
    monkeypatch.undo()
    assert_trees(second, tg.grad(lambda v: sum((t**2).sum() for t in flatten(tg.jacobian(f)(v))[0]))(v))


def test_a_jacobian_of_derivatives_by_what_was_read():
    """In a trace a derivative is one equation, which means the way between what it is of and by."""

    def hessian(x):
        def column(t):
            return tg.hvp(lambda v: tg.mean(tg.tanh(v) * v), (x,), (t,))[1][0]

        return tg.jacobian(column)(x)

    x = numbers(12)
    expected = tg.hessian(lambda v: tg.mean(tg.tanh(v) * v))(x)
    assert_trees(hessian(x), expected)
    assert_trees(tg.trace(hessian, x)(x), expected)
    assert_trees(tg.vmap(hessian)(tg.stack([x, x]))[1], expected)


# a pass over a tape of a known form is not traced again -----------------------------------------------------------


def refuse(*args):
    raise AssertionError("traced again")


@pytest.mark.parametrize("name", ["matmul", "softmax", "sort", "index", "layer_norm", "cross_entropy", "float16"])
def test_a_pass_of_a_known_form_is_not_traced_again(monkeypatch, name):
    f = ROWS[name]
    for transform, g in ((tg.jacobian, f), (tg.hessian, lambda v: (f(v) ** 2).sum())):
        transform(g)(numbers(12, seed=3))
        with monkeypatch.context() as patched:
            patched.setattr(ROWS_MODULE, "one_lane", refuse)
            found = transform(g)(numbers(12, seed=4))
        expected = by_rows(g if transform is tg.jacobian else tg.grad(g), numbers(12, seed=4))[0]
        assert_trees(found, expected)


def cases():
    """One call of each op, and the same with other numbers."""
    for name, op in CATALOGUE.items():
        if op.differentiable and op.primal is None and name not in ("gradients", "checkpoint", "custom_vjp", "scan"):
            case = examples_of(op)[0].cast(np.float64)
            if differentiable_places(case):
                yield _examples(case)[:2]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_plans_of_every_op_are_right_for_other_numbers(monkeypatch):
    for pair in cases():
        for case in pair:
            places = differentiable_places(case)

            def f(*xs, case=case, places=places):
                return tuple(float_outputs(case(_put(case, places, xs))))

            xs = [case.at(place) for place in places]
            if sum(t.size for t in f(*map(tg.tensor, xs))) > 40:
                break
            jacobian = tg.jacobian(f, tuple(range(len(xs))))
            monkeypatch.setattr(ROWS_MODULE, "FEW", 1)
            found = flatten(jacobian(*xs))[0]
            monkeypatch.setattr(ROWS_MODULE, "FEW", 1 << 60)
            for a, b in zip(found, flatten(jacobian(*xs))[0], strict=True):
                a, b = a.numpy(), b.numpy()
                scale = max(np.abs(b).max(initial=1), 1)
                assert_close(a, b, scale=scale, ulps=512, reason="other sums", what=str(case))


def test_plans_tell_what_differs():
    x = numbers(12)
    y = tg.tensor(x.numpy().copy())
    for f in (lambda v: v * v, lambda v: v * x, lambda v: v * y, lambda v: v * 2.0, lambda v: v * 3.0):
        assert_trees(tg.jacobian(f)(x), by_rows(f, x)[0])
    for zero in (0.0, -0.0):
        assert np.signbit(tg.jacobian(lambda v, zero=zero: v * zero)(x).numpy()[0, 0]) == (zero.hex()[0] == "-")
    z = tg.tensor(x.numpy(), requires_grad=True)
    for f in (lambda v: v * z, lambda v: v * z.detach()):
        assert tg.jacobian(f)(x).requires_grad == tg.jacobian(lambda v, f=f: f(v) * 1.0)(x).requires_grad
    assert tg.jacobian(lambda v: v * z)(x).requires_grad and not tg.jacobian(lambda v: v * x)(x).requires_grad
    with tg.implementation("composed"):
        assert_trees(tg.jacobian(tg.softmax)(x), by_rows(tg.softmax, x)[0])


def test_a_rule_of_ones_own_is_asked_every_time():
    factor = [3.0]
    scaled = tg.op(
        "scaled(x)", lambda x: x * 3, infer_rule=lambda x: x, vjp=dict(x=lambda g: g * factor[0]), doc="3 x.",
        batch=lambda call: call.run(call.whole(0)), examples=((((3,),), {}),),
    )  # fmt: skip
    try:
        x = numbers(12)
        for factor[0] in (3.0, 5.0):
            assert_trees(tg.jacobian(scaled)(x), tg.tensor(np.eye(12) * factor[0]))
    finally:
        tg.remove_op("scaled")


def test_results_that_miss_an_argument_have_zeros_for_it():
    a, b = numbers(12), numbers(3, seed=1)
    for _ in range(2):
        one, two = tg.jacobian(lambda a, b: a * a, (0, 1))(a, b)
        assert_trees(one, tg.tensor(np.diag(2 * a.numpy())))
        assert two.shape == (12, 3) and not two.numpy().any()


def exact_jacobian(op, inputs, attrs, key):
    """All derivatives of the last state by one input: an imaginary step through the oracle, in long doubles."""
    step = np.longdouble(1e-30)
    columns = []
    for k in range(inputs[key].size):
        moved = {n: a.astype(np.clongdouble) if a.dtype.kind == "f" else a for n, a in inputs.items()}
        moved[key].flat[k] += step * 1j
        columns.append(op.oracle(**moved, **attrs)[1].imag / step)
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *inputs[key].shape)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, gates", [("lstm", 4), ("gru", 3), ("rnn", 1)])
def test_jacobians_of_recurrent_ops_are_as_exact_traced_as_eager(name, gates, dtype, reverse):
    """Few rows are pulled back one by one on the tape, and in a trace as one batch.

    Its products have other shapes there, which BLAS may round otherwise. So the two need not have the same bits, and
    each keeps the table's tolerance of first derivatives.
    """
    op, rng = CATALOGUE[name], np.random.default_rng(7)
    shapes = {"x": (2, 3, 3), "weight": (3, 2 * gates), "recurrent": (2, 2 * gates), "h": (2, 2)}
    inputs = {key: rng.normal(size=shape).astype(dtype) for key, shape in shapes.items()}
    inputs["lengths"] = np.array([3, 2])
    for key in shapes:

        def last(a, key=key):
            return op.public(**{**inputs, key: a}, reverse=reverse)[1]

        x = tg.tensor(inputs[key])
        assert last(x).size <= ROWS_MODULE.FEW
        jacobian = tg.jacobian(last)
        expected = exact_jacobian(op, inputs, {"reverse": reverse}, key)
        assert np.isfinite(expected).all() and np.abs(expected).max() > 1e-3
        assert_close(jacobian(x), expected, order=1, what=f"eager, by {key}")
        assert_close(tg.trace(jacobian, x)(x), expected, order=1, what=f"traced, by {key}")

"""What is the user's may be changed by the user at any time: nothing of the library's is lost by it."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.cells import release
from tensorgraph.engine.tensor import wrap
from tensorgraph.engine.tree import flatten


def leaf(value: Any) -> tg.Tensor:
    return tg.tensor(np.asarray(value, float), requires_grad=True)


R = np.random.default_rng(1)
A, B, ROW = R.normal(size=(3, 4)), R.normal(size=(4, 5)), R.normal(size=4)
LABELS, SOFT = R.integers(1, 4, 3), np.abs(A) / np.abs(A).sum(1, keepdims=True)

USES: dict[str, Any] = {
    "multiply": (lambda x, a: x * a, A),
    "the other way": (lambda x, a: a * x, A),
    "matmul": (lambda x, b: x @ b, B),
    "a list": (lambda x, a: tg.concatenate([x, a]) * tg.concatenate([a, x]), A),
    "stack": (lambda x, a: tg.stack([x, a]).sum(axis=0) * x, A),
    "where": (lambda x, c: tg.where(c, x, 0.0), A > 0),
    "index": (lambda x, i: x[i], LABELS % 3),
    "maximum": (tg.maximum, A),
    "power": (lambda x, a: tg.exp(x) ** a, A),
    "a view": (lambda x, a: tg.reshape(a, shape=(4, 3)).T * x, A),
    "an update": (lambda x, a: x.at[0].set(a) * x, ROW),
    "labels": (tg.softmax_cross_entropy, LABELS),
    "probabilities": (tg.softmax_cross_entropy, SOFT),
    "batch norm": (lambda x, a: tg.batch_norm(x, a, a)[0], ROW),
}


@pytest.mark.parametrize("implementation", ["fused", "composed"])
@pytest.mark.parametrize("name", USES)
def test_an_operand_changed_before_backward(name: str, implementation: str) -> None:
    use, given = USES[name]
    found = []
    for change in (False, True):
        array = given.copy()
        x = leaf(R.normal(size=(3, 4)) if not found else found[0][0])
        with tg.implementation(implementation):
            y = use(x, array)
        if change:
            array[...] = 0
        (y * y).sum().backward()
        found.append((x.numpy().copy(), x.grad.numpy()))
    assert np.isfinite(found[0][1]).all() and np.abs(found[0][1]).max() > 0
    assert np.array_equal(found[0][1], found[1][1])


def test_a_primal_changed_before_the_pullback() -> None:
    a = np.array([1.0, 2.0])
    _, pullback = tg.vjp(lambda x: x * x, a)
    a[:] = 0.0
    assert pullback(np.ones(2))[0].tolist() == [2.0, 4.0]


def test_an_array_changed_while_a_trace_goes_on() -> None:
    a = np.ones(2)

    def f(x: tg.Tensor) -> tg.Tensor:
        a[:] = 1.0
        y = x * a
        a[:] = 10.0
        y = y + a
        a[:] = 1.0
        return y * a

    graph = tg.trace(f, tg.spec((2,), "float64"))
    a[:] = 99.0
    assert graph(np.ones(2)).tolist() == [11.0, 11.0]
    assert len(graph.consts) == 2, "the same numbers are one constant"


@pytest.mark.parametrize("function", [lambda x: x, lambda x: x.reshape(2, 1), lambda x: (x.T, x[0:1])])
def test_results_of_a_graph_are_nobodys(function: Any) -> None:
    a = np.array([1.0, 2.0])
    for out in flatten(tg.trace(function, a)(a))[0]:
        assert not np.shares_memory(out.numpy(), a)
    w = tg.Buffer(np.zeros(2), name="w")
    state = {"w": a}
    _, after = tg.trace(lambda: w.sum())(state=state)
    assert not np.shares_memory(after["w"].numpy(), a)


def test_an_op_that_gives_its_input_back() -> None:
    same = tg.op("same_again(x)", lambda x: x, vjp=dict(x=lambda g: g))
    try:
        a = np.array([1.0, 2.0])
        assert not np.shares_memory(same(a).numpy(), a)
    finally:
        tg.remove_op("same_again")


def test_masked_arrays_are_refused() -> None:
    with pytest.raises(TypeError, match="filled"):
        tg.tensor(np.ma.array([1.0, 2.0], mask=[True, False]))


MOVING = {
    "broadcast_arrays": lambda a: tg.broadcast_arrays(a, np.ones((2, 2)))[0],
    "np.broadcast_arrays": lambda a: np.broadcast_arrays(tg.ones((2, 2)), a)[1],
    "rot90": lambda a: tg.rot90(a, 4),
    "roll": lambda a: tg.roll(a, 0, 0),
    "roll along nothing": lambda a: tg.roll(a, (), ()),
    "atleast_1d": tg.atleast_1d,
    "atleast_2d": tg.atleast_2d,
    "moveaxis": lambda a: tg.moveaxis(a, 0, 0),
    "swapaxes": lambda a: tg.swapaxes(a, 0, 0),
    "ravel": tg.ravel,
    "flatten": lambda a: tg.flatten(a),
    "unflatten": lambda a: tg.unflatten(a, 0, (2, 1)),
    "unstack": lambda a: tg.unstack(a)[0],
    "tile": lambda a: tg.tile(a, 1),
    "repeat": lambda a: tg.repeat(a, 1, 0),
    "diagonal": tg.diagonal,
    "take": lambda a: tg.take(a, 0, 0),
    "meshgrid": lambda a: tg.meshgrid(a[0], a[1])[0],
    "hstack": lambda a: tg.hstack([a]),
    "vstack": lambda a: tg.vstack([a]),
    "atleast_3d": tg.atleast_3d,
    "dstack": lambda a: tg.dstack([a]),
    "column_stack": lambda a: tg.column_stack([a]),
    "tril": tg.tril,
}


@pytest.mark.parametrize("name", MOVING)
def test_functions_that_move_elements_give_tensors_of_their_own(name) -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    out = MOVING[name](a)
    assert type(out) is tg.Tensor and repr(out).startswith("tensor(")
    before = out.numpy().copy()
    a[...] = 7.0
    assert np.array_equal(out.numpy(), before)


@pytest.mark.parametrize("held", ["nothing", "the array", "another view", "more than is seen"])
def test_a_gradient_takes_over_what_only_a_view_holds(held: str) -> None:
    array = np.arange(12.0 if held == "more than is seen" else 6.0)
    view, address = array[:6].reshape(2, 3), array.ctypes.data
    others = {"the array": array, "another view": array[::-1]}.get(held)
    holder = wrap(view)
    del array, view
    value = release(holder)._value
    assert (value == np.arange(6.0).reshape(2, 3)).all() and value.flags.writeable
    assert (value.ctypes.data == address) == (held == "nothing"), others


def test_a_gradient_is_not_the_cotangent_seen_otherwise() -> None:
    x, g = leaf(A), tg.tensor(A.reshape(2, 6))
    tg.reshape(x, shape=(2, 6)).backward(g)
    assert x.grad is not None and not np.may_share_memory(x.grad.numpy(), g.numpy())

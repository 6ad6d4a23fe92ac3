"""Parameters and buffers handed to a transform whose function reads the model's own: refused, however they come."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = tg.ones((1, 2))
MODEL = tg.nn.Linear(2, 2, seed=0)
APPLY, TREE = tg.functional(MODEL)
BUFFER = tg.Buffer(tg.tensor(2.0), name="scale")


def loss(*unused: Any) -> Any:
    return (MODEL(X) ** 2).sum()


WEIGHT = MODEL.weight
NUMBERS = WEIGHT.numpy()
CALLS: dict[str, Any] = {
    "checkpoint": lambda: tg.grad(tg.checkpoint(loss))(WEIGHT),
    "checkpoint inside": lambda: tg.grad(lambda q: tg.checkpoint(loss)(q))(WEIGHT),
    "checkpoint, jacobian": lambda: tg.jacobian(tg.checkpoint(lambda ps: MODEL(X)))(list(MODEL.parameters())),
    "checkpoint, a tree": lambda: tg.grad(tg.checkpoint(loss))(TREE),
    "a tree": lambda: tg.grad(loss)(TREE),
    "a tree, vjp": lambda: tg.vjp(loss, TREE),
    "a tree, jvp": lambda: tg.jvp(loss, (TREE,), (TREE,)),
    "a tree, hvp": lambda: tg.hvp(loss, (TREE,), (TREE,)),
    "a tree in a trace": lambda: tg.trace(tg.grad(loss), TREE),
    "a tree, grad of a graph": lambda: tg.trace(loss, TREE).grad(),
    "the numbers": lambda: tg.grad(loss)(WEIGHT.numpy()),
    "detached": lambda: tg.grad(loss)(WEIGHT.detach()),
    "a buffer": lambda: tg.grad(lambda b: BUFFER * BUFFER)(BUFFER),
    "a buffer in a trace": lambda: tg.trace(tg.grad(lambda b: BUFFER * BUFFER), BUFFER),
    "the numbers in a trace": lambda: tg.trace(lambda w: tg.grad(loss)(w), WEIGHT.numpy()),
    "the numbers, inside a trace": lambda: tg.trace(lambda x: tg.grad(loss)(NUMBERS) + x.sum(), X),
    "a tree inside a trace": lambda: tg.trace(lambda x: tg.grad(loss)(TREE), X),
    "a part of a tree in a trace": lambda: tg.trace(tg.grad(lambda p: loss() + p["bias"].sum()), TREE),
    "detached, grad of a graph": lambda: tg.trace(loss, WEIGHT.detach()).grad(),
    "an example": lambda: tg.trace(tg.grad(loss), WEIGHT),
    "grad of a graph": lambda: tg.trace(loss, WEIGHT).grad(),
    "grad of a graph, by name": lambda: tg.trace(lambda w: loss(), WEIGHT).grad("w"),
    "a buffer, grad of a graph": lambda: tg.trace(lambda b: BUFFER * BUFFER, BUFFER).grad(),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_parameter_that_is_read_past_its_argument_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"(weight|scale)'.* and does not use it.*tensorgraph\.functional"):
        CALLS[name]()


def test_arguments_that_are_used_are_free() -> None:
    expected = tg.grad(lambda p: (APPLY(p, X) ** 2).sum())(TREE)
    for f in (tg.grad(tg.checkpoint(lambda p: (APPLY(p, X) ** 2).sum())), tg.grad(lambda p: (APPLY(p, X) ** 2).sum())):
        for path, g in f(TREE).items():
            np.testing.assert_array_equal(g, expected[path])
    assert tg.grad(lambda x: (MODEL(x) ** 2).sum())(X).shape == (1, 2)
    assert float(tg.grad(lambda b: b * BUFFER)(BUFFER)) == 2
    assert float(tg.grad(lambda b: b * b)(BUFFER)) == 4
    assert tg.trace(loss, WEIGHT).grad("weight").bind(MODEL)(WEIGHT).shape == (2, 2)
    assert float(tg.grad(loss)(5.0)) == 0  # numbers that are no parameter's: a constant of them has the derivative 0
    assert not tg.grad(loss)(WEIGHT.numpy().copy()).numpy().any()  # nor are numbers that only are the same


def test_arguments_that_only_look_like_parameters_are_free() -> None:
    """Moments of an optimiser, say, have the types of the parameters."""
    others = {path: value.numpy().copy() for path, value in TREE.items()}
    for gradient in (tg.trace(tg.grad(loss), others), tg.trace(loss, others).grad(), tg.trace(loss, others).jvp()):
        assert gradient.cells
    types = {path: tg.spec(value.shape) for path, value in TREE.items()}
    assert tg.trace(tg.grad(loss), types).cells
    assert tg.trace(lambda x: tg.grad(loss)(others)["weight"] + x.sum(), X).cells


def test_an_argument_that_a_checkpoint_does_not_use_is_no_parent_of_its_result() -> None:
    x, y = (tg.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    out = tg.checkpoint(lambda x, y: (x * x * y.detach()).sum())(x, y)
    out.backward()
    assert x.grad is not None and x.grad.tolist() == [2, 8] and y.grad is None


def test_directions_of_a_graph_are_refused_as_its_gradients_are():
    layer = tg.nn.Linear(2, 2, seed=0)
    graph = tg.trace(lambda x, w: layer(x).sum(), tg.f32[1, 2], layer.weight)
    for derivative in (lambda: graph.grad(wrt=1), lambda: graph.jvp(wrt=1), graph.jvp):
        with pytest.raises(TypeError, match="the parameter 'weight' and does not use it"):
            derivative()
    assert len(graph.jvp(wrt=("x", "weight"))(layer.weight[:1], layer.weight, layer.weight[:1], layer.weight,
               state=layer.state_dict())[0]) == 2  # fmt: skip

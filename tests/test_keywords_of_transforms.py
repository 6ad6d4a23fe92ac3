"""Arguments by name through checkpoint, custom_vjp and graphs, and parameters that are made while tracing."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

X = tg.tensor([1.0, 2.0])


def test_checkpoint_takes_arguments_by_name() -> None:
    def function(x: Any, s: Any = 1.0, *, tree: Any = None) -> Any:
        return tg.sin(x) * s + (0.0 if tree is None else tree["a"] ** 2)

    again = tg.checkpoint(function)
    tree = {"a": tg.tensor([3.0, 4.0])}

    def gradients(f: Any) -> list[Any]:
        g = tg.grad(lambda p: f(p["x"], s=p["s"], tree={"a": p["a"]}).sum())(dict(x=X, s=X * 2, a=tree["a"]))
        return [g[k].tolist() for k in ("x", "s", "a")]

    assert gradients(again) == gradients(function)
    assert again(X, s=2.0).tolist() == function(X, s=2.0).tolist() == tg.trace(lambda x: again(x, s=2.0), X)(X).tolist()
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    again(x=x, s=3.0).sum().backward()
    assert np.allclose(x.grad.numpy(), 3 * np.cos([1.0, 2.0]))


def test_custom_vjp_takes_arguments_by_name() -> None:
    @tg.custom_vjp
    def product(x: Any, y: Any) -> Any:
        return x * y

    product.defvjp(lambda x, y: (x * y, (x, y)), lambda kept, g: (g * kept[1] * 10, g * kept[0]))
    for call in (lambda x, y: product(x, y=y), lambda x, y: product(y=y, x=x)):
        gx, gy = tg.grad(lambda x, y, call=call: call(x, y).sum(), argnums=(0, 1))(X, X * 3)
        assert gx.tolist() == [30, 60] and gy.tolist() == [1, 2]
    with pytest.raises(TypeError, match="custom_vjp: product: got an unexpected keyword argument 'z'"):
        product(X, X, z=X)

    named = tg.custom_vjp(lambda x, *, s: x * s)
    named.defvjp(lambda x, s: (x * s, None), lambda kept, g: (g, g))
    with pytest.raises(TypeError, match="takes 's' by its name alone"):
        named(X, s=X)


def test_an_argument_of_a_graph_may_be_called_state() -> None:
    graph = tg.trace(lambda x, state: x * state, X, X)
    assert graph(X, state=X).tolist() == graph(X, X).tolist() == graph(state=X, x=X).tolist() == [1, 4]
    tree = tg.trace(lambda x, state: x * state["a"], X, {"a": X})
    assert tree(X, state={"a": X}).tolist() == [1, 4]
    w = tg.Parameter([2.0, 3.0], name="w")
    graph = tg.trace(lambda x, state: x * state * w, X, X)
    assert graph(X, X, state={"w": [1.0, 1.0]})[0].tolist() == [1, 4]
    assert graph.bind(w)(X, state=X).tolist() == [2, 12]
    with pytest.raises(TypeError, match="its argument that is called state is given by position"):
        graph(X, state=X)
    with pytest.raises(TypeError, match="takes 2 arguments"):
        graph(X)


@pytest.mark.parametrize("make", [lambda: tg.Parameter([1.0, 1.0]), lambda: tg.nn.Linear(2, 2).bias])
def test_a_parameter_that_is_made_while_tracing_is_told_by_its_name(make: Any) -> None:
    with pytest.raises(tg.TraceError, match=r"Parameter.*make modules and parameters before tracing") as raised:
        tg.trace(lambda x: x * make(), X)
    assert "requires_grad_" not in str(raised.value)

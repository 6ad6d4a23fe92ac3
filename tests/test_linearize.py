"""`linearize`, and Jacobians by columns: what `jvp` and `jacobian` give, eagerly, in traces, lanes and nests."""

from typing import Any

import numpy as np
import pytest
import scipy.optimize

import tensorgraph as tg

W = tg.tensor(np.random.default_rng(0).normal(size=(3, 4)))
X = tg.tensor(np.random.default_rng(1).normal(size=(4,)))
V = tg.tensor(np.random.default_rng(2).normal(size=(4,)))


def layer(x: Any) -> Any:
    return {"h": tg.tanh(W @ x), "total": (x * x * x).sum(), "which": tg.argmax(x)}


def close(a: Any, b: Any) -> None:
    tg.tree_map(lambda p, q: np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-12, atol=1e-14), a, b)


def test_linearize_pushes_as_often_as_wanted() -> None:
    out, push = tg.linearize(layer, X)
    for v in (V, 2 * V, X):
        value, tangent = tg.jvp(layer, (X,), (v,))
        close(out, value)
        close(push(v), tangent)
    assert not push(V)["h"].requires_grad


def test_linearize_in_traces_lanes_and_with_a_further_derivative() -> None:
    def pushed(x: Any, v: Any) -> Any:
        return tg.linearize(layer, x)[1](v)["h"]

    expected = pushed(X, V)
    graph = tg.trace(pushed, X, V)
    assert tg.parse(str(graph)) == graph
    close(graph(X, V), expected)
    close(tg.vmap(pushed, (None, 0))(X, tg.stack([V, X]))[0], expected)
    close(tg.grad(lambda x: pushed(x, V).sum())(X), tg.grad(lambda x: tg.jvp(layer, (x,), (V,))[1]["h"].sum())(X))
    close(tg.jacobian(lambda v: pushed(X, v))(V), tg.jacobian(layer)(X)["h"])


def test_aux_and_several_primals() -> None:
    out, push, aux = tg.linearize(lambda a, b: (a * b["c"], "note"), 2.0, {"c": 3.0}, has_aux=True)
    assert aux == "note" and float(out) == 6.0 and float(push(1.0, {"c": 10.0})) == 23.0
    with pytest.raises((TypeError, ValueError), match="linearize"):
        push(1.0)
    with pytest.raises(ValueError, match="linearize: a tangent must have its primal's shape"):
        push(tg.ones((2,)), {"c": 1.0})


@pytest.mark.parametrize("argnums", [0, 1, (0, 1), (1, 0)])
def test_columns_are_rows(argnums: Any) -> None:
    def f(x: Any, tree: Any) -> Any:
        return {"y": tg.sin(x)[:, None] * tree["w"], "n": tg.argmax(x), "s": (x * tree["b"]).sum()}

    tree = {"w": tg.tensor(np.random.default_rng(3).normal(size=(4, 2))), "b": tg.tensor(0.5, dtype="float64")}
    close(tg.jacfwd(f, argnums)(X, tree), tg.jacrev(f, argnums)(X, tree))


def test_columns_in_nests_and_traces() -> None:
    def cubes(x: Any) -> Any:
        return (x**3).sum() + x[0] * x[1]

    expected = tg.hessian(cubes)(X)
    close(tg.jacfwd(tg.jacrev(cubes))(X), expected)
    close(tg.jacrev(tg.jacfwd(cubes))(X), expected)
    close(tg.jacfwd(tg.jacfwd(cubes))(X), expected)
    graph = tg.trace(tg.jacfwd(tg.grad(cubes)), X)
    assert tg.parse(str(graph)) == graph
    close(graph(X), expected)
    close(tg.vmap(tg.jacfwd(tg.grad(cubes)))(tg.stack([X, V]))[0], expected)
    assert tg.jacfwd(lambda x: x[:0])(X).shape == (0, 4) and tg.jacfwd(lambda x: x.sum())(tg.zeros((0,))).shape == (0,)


def rosenbrock(x: Any) -> Any:
    return ((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2).sum()


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "Newton-CG", "trust-exact"])
def test_scipys_minimize(method: str) -> None:
    hess = tg.hessian(rosenbrock) if method in ("Newton-CG", "trust-exact") else None
    for start in (np.array([1.3, 0.7, 0.8]), tg.tensor([1.3, 0.7, 0.8], dtype="float64")):
        found = scipy.optimize.minimize(rosenbrock, start, method=method, jac=tg.grad(rosenbrock), hess=hess)
        np.testing.assert_allclose(found.x, 1, atol=1e-3)
        found = scipy.optimize.minimize(tg.value_and_grad(rosenbrock), start, method=method, jac=True, hess=hess)
        np.testing.assert_allclose(found.x, 1, atol=1e-3)


def test_scipys_root_and_least_squares() -> None:
    def f(x: Any) -> Any:
        return tg.stack([x[0] + 2 * x[1] - 2, x[0] ** 2 + 4 * x[1] ** 2 - 4 + tg.sin(x[0])])

    for method in ("hybr", "lm"):
        found = scipy.optimize.root(f, tg.tensor([1.0, 2.0], dtype="float64"), jac=tg.jacfwd(f), method=method)
        assert found.success
        np.testing.assert_allclose(found.x, [0, 1], atol=1e-9)
    found = scipy.optimize.least_squares(f, np.array([1.0, 2.0]), jac=tg.jacobian(f))
    np.testing.assert_allclose(found.x, [0, 1], atol=1e-6)

"""Graphs evaluated inside what is differentiated."""

import numpy as np
import pytest

import tensorgraph as tg


def test_a_graph_is_differentiated_as_its_function() -> None:
    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        return (tg.tanh(x * y) * tg.grad(lambda t: (t**3 * y).sum())(x)).sum()

    x, y = np.array([0.3, -0.5]), np.array([1.5, 2.0])
    graph = tg.trace(f, x, y)
    for order in (
        lambda g: tg.grad(g, (0, 1))(x, y),
        lambda g: tg.grad(lambda a, b: sum((d * d).sum() for d in tg.grad(g, (0, 1))(a, b)), (0, 1))(x, y),
        lambda g: tg.vjp(g, x, y)[1](np.float64(2.0)),
    ):
        for found, expected in zip(order(graph), order(f), strict=True):
            assert np.isfinite(expected.numpy()).all() and np.abs(expected.numpy()).max() > 0
            assert np.array_equal(found.numpy(), expected.numpy())
    assert not graph(x, y).requires_grad, "nothing asks for a gradient"
    with tg.no_grad():
        assert not graph(tg.tensor(x, requires_grad=True), y).requires_grad


def test_a_forward_graph_on_live_parameters() -> None:
    w = tg.Parameter(np.array([1.0, 2.0]), name="w")
    graph = tg.trace(lambda x: (x * w * w).sum(), tg.spec((2,), "float64"))
    bound = graph.bind()
    bound(np.array([3.0, 5.0])).backward()
    assert w.grad.tolist() == [6.0, 20.0]
    s = tg.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    loss, _ = graph(np.array([3.0, 5.0]), state={"w": s})
    assert tg.gradients(loss, s).tolist() == [6.0, 20.0]


def test_a_gradient_for_one_output_of_several() -> None:
    """Asked for again, through what the rule had kept."""
    x = tg.tensor(np.array([[1.0, 4.0], [2.0, 6.0], [7.0, -1.0]]), requires_grad=True)
    y, mu, var = tg.batch_norm(x, np.ones(2), np.zeros(2))
    dy = tg.gradients((y**3 * mu * np.array([[1.0], [2.0], [4.0]]) + var).sum(), x, create_graph=True)
    parts = tg.gradients((dy * dy).sum(), [y, mu, x], retain_graph=True)
    again = tg.gradients((dy * dy).sum(), [y, mu, x])
    for p, q in zip(parts, again, strict=True):
        assert np.isfinite(p.numpy()).all() and np.abs(p.numpy()).max() > 1e-3
        assert np.array_equal(p.numpy(), q.numpy())


def test_what_no_grad_cut_stays_cut_in_the_graph() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        with tg.no_grad():
            c = x * x
        return c * x

    def only_cut(x: tg.Tensor) -> tg.Tensor:
        with tg.no_grad():
            return x * x

    x = tg.tensor(3.0, requires_grad=True)
    for example in (tg.spec(()), x):
        assert float(tg.grad(tg.trace(f, example))(3.0)) == float(tg.grad(f)(3.0)) == 9.0
        assert not tg.trace(only_cut, example)(x).requires_grad


def test_a_cell_cuts_in_a_graph_that_is_differentiated_later() -> None:
    b = tg.Buffer(1.0, name="b")

    def f(x: tg.Tensor) -> tg.Tensor:
        b.assign(x * 2.0)
        return b * x

    graph = tg.trace(f, tg.spec(()))
    assert float(tg.grad(graph.bind(b))(3.0)) == float(tg.grad(f)(3.0)) == 6.0


def test_a_captured_tensor_gets_its_gradient() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    graph = tg.trace(lambda a: a * x * x, tg.spec(()))
    graph(2.0).backward()
    assert float(x.grad) == 12.0
    assert float(tg.grad(lambda v: tg.trace(lambda a: a * v, tg.spec(()))(2.0))(3.0)) == 2.0
    with tg.no_grad():
        assert not graph(2.0).requires_grad


def test_hooks_are_not_lost_silently() -> None:
    w = tg.Parameter(2.0, name="w")
    remove = w.register_hook(lambda g: g * 10.0)
    with pytest.raises(tg.TraceError, match="register_hook"):
        tg.trace(lambda: tg.gradients(w * w, w))
    remove()
    found, _ = tg.trace(lambda: tg.gradients(w * w, w))(state={"w": 2.0})
    assert float(found) == 4.0


def test_bind_does_not_mix_owners_up() -> None:
    first, second, third = (tg.nn.Linear(2, 2, seed=i) for i in range(3))
    x = np.ones((1, 2), np.float32)
    graph = tg.trace(first, x)
    for owners in ((first, second), (second, first), (first,)):
        assert np.array_equal(graph.bind(*owners)(x).numpy(), first(x).numpy())
    assert np.array_equal(graph.bind(second)(x).numpy(), second(x).numpy())
    with pytest.raises(KeyError, match="two of the owners"):
        graph.bind(second, third)

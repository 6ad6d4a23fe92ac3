"""Graphs evaluated inside what is differentiated."""

import numpy as np

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

"""Checkpoints run their function twice; nobody may notice but the memory."""

import weakref
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg


def leaf(value: Any) -> tg.Tensor:
    return tg.tensor(value, dtype="float64", requires_grad=True)


def test_a_cell_assigned_between_forward_and_backward() -> None:
    """The second run sees what the first saw."""
    w, x = tg.Parameter(np.float64(2.0)), leaf(3.0)
    y = tg.checkpoint(lambda t: t * w * w)(x)
    w.assign(100.0)
    y.backward()
    assert float(x.grad) == 4.0 and float(w.grad) == 12.0 and float(w) == 100.0


def test_random_draws_are_the_same_in_both_runs() -> None:
    tg.random.seed(0)
    x = leaf(np.ones(1000))
    y = tg.checkpoint(lambda t: t * tg.random.uniform((1000,), "float64"))(x)
    state = tg.random.state().tolist()
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.numpy())
    assert tg.random.state().tolist() == state


def test_assignments_happen_once() -> None:
    count, x = tg.Buffer(0), leaf(2.0)

    def block(t: tg.Tensor) -> tg.Tensor:
        count.assign(count + 1)
        return t * t * count.astype("float64")

    y = tg.checkpoint(block)(x)
    assert count.item() == 1
    y.backward()
    assert count.item() == 1 and float(x.grad) == 4.0


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_same_gradients_as_without(create_graph: bool) -> None:
    w = tg.Parameter(np.array([0.5, -1.0]))

    def block(t: tg.Tensor) -> tg.Tensor:
        return tg.tanh(t * w) * t

    def run(around: Any) -> list[Any]:
        x = leaf([0.3, 0.7])
        loss = around(block)(around(block)(x)).sum()
        first = tg.gradients(loss, [x, w], create_graph=create_graph)
        second = tg.gradients((first[0] * first[1]).sum(), [x, w]) if create_graph else []
        return [g.tolist() for g in first], [g.tolist() for g in second]

    (first, second), (first_plain, second_plain) = run(tg.checkpoint), run(lambda f: f)
    assert first == first_plain
    # the same terms, added in another order
    np.testing.assert_allclose(second, second_plain, rtol=1e-14)


def plain(function: Any) -> Any:
    return function


def test_a_block_uses_what_is_around_it() -> None:
    """Closed-over tensors with history, one tensor twice, an argument that is also closed over, blocks in blocks."""

    def run(around: Any) -> list[Any]:
        x, u, w = leaf([0.3, 0.7]), leaf([1.5, -0.5]), tg.Parameter(np.array([0.5, -1.0]))
        h = tg.exp(x) * w
        k = h * u
        found = []
        for block in (
            lambda t: t * h + k * k,  # h, and k which is made from h
            lambda t: t * x,  # an argument that is closed over too
            lambda t: around(lambda s: tg.sin(s) * h * t)(t * k),
            lambda t: around(around(lambda s: s * w * s))(t) * t,
            lambda t: tg.grad(lambda s: (s * s * t * k).sum())(t),
            lambda t: t,
        ):
            y = around(block)(x)
            z = around(lambda a, b: a * b + h)(y, y)
            loss = (z * y).sum()
            first = tg.gradients(loss, [x, u, w, h, k], create_graph=True)
            second = tg.gradients(sum((g * g).sum() for g in first), [x, u, w], retain_graph=True)
            loss = (around(lambda a, b: a * b + h)(around(block)(x), x)).sum()
            loss.backward(retain_graph=True)
            found.append([g.numpy() for g in (*first, *second, x.grad)])
        return found

    for a, b in zip(run(tg.checkpoint), run(plain), strict=True):
        for p, q in zip(a, b, strict=True):
            assert np.isfinite(q).all()
            np.testing.assert_allclose(p, q, rtol=1e-12)


def test_a_plain_array_changed_afterwards() -> None:
    x, a = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    y = tg.checkpoint(lambda t, c: t * t * c)(x, a)
    a[:] = 0.0
    y.sum().backward()
    assert x.grad.tolist() == [6.0, 16.0]


@pytest.mark.parametrize("implementation", ["fused", "composed"])
def test_layers_with_state(implementation: str) -> None:
    def run(around: Any) -> Any:
        model = tg.nn.Sequential(
            tg.nn.Linear(4, 3, seed=0),
            tg.nn.BatchNorm(3),
            tg.nn.ReLU(),
            tg.nn.Dropout(0.5, seed=1),
            tg.nn.Linear(3, 2, seed=2),
        )
        x = tg.tensor(np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32), requires_grad=True)
        with tg.implementation(implementation):
            for _ in range(2):
                y = around(model)(x)
                y.backward(np.ones((8, 2), np.float32))
        grads = [x.grad, *[p.grad for p in model.parameters()]]
        return [g.numpy() for g in grads], {k: np.asarray(v).tolist() for k, v in model.state_dict().items()}

    (grads, state), (grads_plain, state_plain) = run(tg.checkpoint), run(plain)
    assert state == state_plain
    for p, q in zip(grads, grads_plain, strict=True):
        assert np.isfinite(q).all() and np.abs(q).max() > 0
        assert np.array_equal(p, q)


def test_without_gradients_it_is_the_function() -> None:
    x = leaf(2.0)
    with tg.no_grad():
        assert not tg.checkpoint(lambda t: t * t)(x).requires_grad
    assert not tg.checkpoint(lambda t: t * t)(tg.tensor(2.0)).requires_grad


def test_an_exception_in_the_second_run_leaves_all_right() -> None:
    runs: list[int] = []

    def block(t: tg.Tensor) -> tg.Tensor:
        runs.append(1)
        if len(runs) > 1:
            raise KeyError("deliberately")
        return t * t

    x = leaf(2.0)
    y = tg.checkpoint(block)(x)
    with pytest.raises(KeyError):
        y.backward()
    assert x.grad is None and tg.is_grad_enabled()
    assert float(tg.grad(lambda t: t**3)(np.float64(2.0))) == 12.0


def test_intermediate_values_are_not_kept() -> None:
    inside: list[Any] = []

    def block(t: tg.Tensor) -> tg.Tensor:
        h = tg.exp(t)
        inside.append(weakref.ref(h._value))
        return tg.exp(h)

    x = leaf(np.zeros(3))
    y = tg.checkpoint(block)(x)
    assert inside[0]() is None
    y.sum().backward()
    assert np.allclose(x.grad, np.e)


def test_a_parameter_made_in_the_first_call() -> None:
    made: dict[str, tg.Parameter] = {}
    x = leaf(3.0)
    tg.checkpoint(lambda t: t * made.setdefault("w", tg.Parameter(np.float64(2.0))))(x).backward()
    assert float(made["w"].grad) == 3.0 and float(x.grad) == 2.0


def derivative(x):
    """3 x², taken inside."""
    return tg.grad(lambda z: (z**3).sum())(x)


@tg.custom_vjp
def ruled(x):
    return derivative(x)


ruled.defvjp(lambda x: (derivative(x), derivative(x) * 2 / x), lambda kept, g: (g * kept,))


def by_closure(x):
    """The argument is used past the checkpoint's own."""
    return tg.checkpoint(lambda y: tg.vjp(lambda z: z**3, x)[1](y * 0 + 1.0)[0])(x)


@pytest.mark.parametrize("f", [tg.checkpoint(derivative), ruled, by_closure], ids=["checkpoint", "rule", "closure"])
def test_a_derivative_inside_is_differentiated_when_its_transform_is_over(f):
    """A pullback is called when the function's own transform has ended, whatever else wants a gradient then."""
    x, w = tg.tensor(np.linspace(0.5, 2.0, 12)), tg.Parameter(np.array([2.0, 3.0]))
    for scale in (lambda: 5.0, w.sum):  # the second pass is recorded: the parameter wants its gradient
        _, pullback = tg.vjp(lambda x, scale=scale: f(x) * scale(), x)
        np.testing.assert_allclose(pullback(np.ones(12))[0].detach().numpy(), 30 * x.numpy())
    np.testing.assert_allclose(tg.jacobian(f)(x).numpy(), np.diag(6 * x.numpy()), atol=1e-12)
    np.testing.assert_allclose(tg.jvp(f, (x,), (x * 0 + 1,))[1].numpy(), 6 * x.numpy())
    squares = tg.grad(lambda x: (tg.vjp(f, x)[1](np.ones(12))[0] ** 2).sum())(x)
    np.testing.assert_allclose(squares.numpy(), 72 * x.numpy())

"""Transforms of functions, loops and recurrent layers in compiled functions: as eagerly, and traced once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.tree import flatten
from tensorgraph.native import machine

Program = Callable[..., Any]


def perceptron(w: Any, x: Any) -> Any:
    return tg.tanh(tg.tanh(x @ w) @ w).sum(axis=-1)


def gradients_of_each(h: Any, xs: Any, w: Any) -> Any:
    return tg.vmap(lambda x: tg.value_and_grad(lambda w: perceptron(w, x).mean())(w))(xs)


def kernel_matrix(h: Any, xs: Any, w: Any) -> Any:
    rows = xs[0]
    return tg.vmap(lambda a: tg.vmap(lambda b: tg.exp(-((a - b) ** 2).sum()) + w.mean())(rows))(rows)


def norms_of_each(h: Any, xs: Any, w: Any) -> Any:
    def one(x: Any, scale: Any) -> Any:
        return tg.softmax(tg.layer_norm(x, scale, scale)[0]), tg.batch_norm(x, scale, h)[0], tg.logsumexp(x, axis=0)

    return tg.vmap(one, in_axes=(0, None))(xs, h)


def updates_side_by_side(h: Any, xs: Any, w: Any) -> Any:
    """Momentum, of weights and rates of each."""

    def step(w: Any, rate: Any, x: Any) -> Any:
        velocity = w * 0.0
        for _ in range(2):
            velocity = 0.9 * velocity + tg.grad(lambda w: (perceptron(w, x) ** 2).mean())(w)
            w = w - rate * velocity
        return w

    return tg.vmap(step)(tg.stack([w, w * 2, -w]), tg.tensor([0.1, 0.01, 0.0], dtype=w.dtype.name), xs[:3])


def hessians(h: Any, xs: Any, w: Any) -> Any:
    def f(h: Any) -> Any:
        return perceptron(w, h) * h.sum()

    return tg.hessian(f)(h), tg.jacobian(lambda h: tg.sin(h @ w))(h), tg.hvp(f, (h,), (xs[0, 0],))


def tangents(h: Any, xs: Any, w: Any) -> Any:
    out, moved = tg.jvp(lambda w: tg.tanh(xs @ w), (w,), (w * w,))
    return out, moved, tg.vjp(lambda h: tg.exp(h @ w), h)[1](xs[1, 0])


def loop(h: Any, xs: Any, w: Any) -> Any:
    return tg.scan(lambda c, x: (tg.tanh(c @ w + x), (c * x).sum()), h, xs[0], reverse=True)


def loop_of_loops(h: Any, xs: Any, w: Any) -> Any:
    v = tg.sin(w)

    def outer(c: Any, rows: Any) -> Any:
        u = v + c.mean()
        return tg.scan(lambda c, x: (tg.tanh(c @ w @ u + x @ v), c), c, rows)

    return tg.scan(outer, h, xs)


def gradient_of_loops(h: Any, xs: Any, w: Any) -> Any:
    return tg.value_and_grad(lambda w: (loop_of_loops(h, xs, w)[1] ** 2).mean())(w)


def loops_of_each(h: Any, xs: Any, w: Any) -> Any:
    v = tg.cos(w)

    def one(rows: Any) -> Any:
        u = v + rows.mean()
        return tg.scan(lambda c, x: (tg.tanh(c @ w + x @ v @ u), c), h, rows)[1]

    return tg.vmap(one)(xs)


def loops_in_two_maps(h: Any, xs: Any, w: Any) -> Any:
    return tg.vmap(lambda r: tg.vmap(lambda y: tg.scan(lambda c, z: (c * z + w.sum(), c), y, r[0])[0])(r))(xs)


def map_in_a_loop(h: Any, xs: Any, w: Any) -> Any:
    v = w * 2.0
    return tg.scan(lambda c, rows: (c + tg.vmap(lambda x: tg.tanh(x @ v) + c)(rows).mean(axis=0), c @ v), h, xs)


def jacobian_of_a_loop(h: Any, xs: Any, w: Any) -> Any:
    return tg.jacobian(lambda h: loop(h, xs, w)[0])(h)


def checkpoints(h: Any, xs: Any, w: Any) -> Any:
    def loss(w: Any, h: Any) -> Any:
        block = tg.checkpoint(lambda x: tg.tanh(tg.tanh(x @ w) @ w))
        last, _ = tg.scan(lambda c, x: (block(c + x), None), h, xs[0], checkpoint=True)
        return (last**2).sum() + block(xs).mean()

    return tg.grad(loss, argnums=(0, 1))(w, h)


def checkpoints_of_each(h: Any, xs: Any, w: Any) -> Any:
    def loss(w: Any) -> Any:
        def one(rows: Any) -> Any:
            step = tg.checkpoint(lambda c, x: tg.tanh(c @ w + x))
            return tg.scan(lambda c, x: (step(c, x), c), h, rows, checkpoint=True)[1]

        return (tg.vmap(one)(xs) ** 2).mean()

    return tg.value_and_grad(loss)(w)


PROGRAMS: list[Program] = [
    gradients_of_each, kernel_matrix, norms_of_each, updates_side_by_side, hessians, tangents, loop, loop_of_loops,
    gradient_of_loops, loops_of_each, loops_in_two_maps, map_in_a_loop, jacobian_of_a_loop, checkpoints,
    checkpoints_of_each,
]  # fmt: skip


def numbers(dtype: str, seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    return tuple(tg.tensor(rng.normal(size=shape) * 0.5, dtype=dtype) for shape in ((4,), (5, 7, 4), (4, 4)))


def assert_near(found: Any, expected: Any, dtype: str) -> None:
    bound = dict(rtol=1e-4, atol=2e-5) if dtype == "float32" else dict(rtol=1e-11, atol=1e-13)
    pairs = list(zip(flatten(found)[0], flatten(expected)[0], strict=True))
    assert pairs
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype) and np.isfinite(b.numpy()).all()
        np.testing.assert_allclose(a.numpy(), b.numpy(), **bound)


@pytest.mark.sampled(test=15, quick=2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_as_eagerly(program: Program, dtype: str) -> None:
    compiled = tg.compile(program)
    for seed in range(3):
        given = numbers(dtype, seed)
        assert_near(compiled(*given), program(*given), dtype)
    assert compiled.stats.traces == 1


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
def test_turns_of_loops_run_as_kernels() -> None:
    compiled = tg.compile(gradient_of_loops)
    compiled(*numbers("float32", 0))
    lines = compiled.explain().splitlines()
    assert sum(line.startswith("  loop") for line in lines) == 2, "there, and back"
    assert sum(line.startswith("    loop") for line in lines) > 1, "in each the loop inside"
    assert sum(line.startswith("      product") for line in lines) > 4 and not any("NumPy  " in line for line in lines)


def test_an_error_in_a_turn_is_that_of_the_function() -> None:
    def program(h: Any, labels: Any) -> Any:
        return tg.scan(lambda c, i: (c + 1.0, tg.nll(c, i)), h, labels)

    h, labels = tg.zeros((2, 3)), tg.tensor([[0, 1], [2, 3], [0, 0]])
    told = []
    for function in (program, tg.compile(program)):
        with pytest.raises(ValueError, match=r"target\[1\] = 3 is outside") as caught:
            function(h, labels)
        told.append(str(caught.value))
    assert told[0] == told[1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_map_of_it_too(program: Program) -> None:
    def many(h: Any, xs: Any, w: Any) -> Any:
        return tg.vmap(program, in_axes=(None, 0, None))(h, tg.stack([xs, xs[::-1]]), w)

    h, xs, w = numbers("float64", 0)
    found = tg.compile(many)(h, xs, w)
    for k, rows in enumerate((xs, xs[::-1])):
        assert_near(tg.tree_map(lambda a, k=k: a[k], found), program(h, rows, w), "float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_of_a_functional_model(dtype: str) -> None:
    model = nn.Sequential(nn.Linear(4, 6, seed=0), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 1, seed=1)).astype(dtype)
    model.eval()
    f, first = tg.functional(model)

    def step(many: Any, x: Any, y: Any) -> Any:
        def one(p: Any) -> Any:
            value, slope = tg.value_and_grad(lambda p: tg.mse(f(p, x)[:, 0], y))(p)
            return value, tg.tree_map(lambda a, g: a - 0.1 * g, p, slope)

        return tg.vmap(one)(many)

    compiled = tg.compile(step)
    one = tg.tree_map(lambda a: tg.stack([a, a * 0.5, a * 2.0]), first)
    other = one
    for seed in range(4):
        h, xs, _ = numbers(dtype, seed)
        x, y = xs[:, 0], xs[:, 1].sum(axis=-1)
        (values, one), (expected, other) = compiled(one, x, y), step(other, x, y)
        assert_near((values, one), (expected, other), dtype)
    assert compiled.stats.traces == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"layers": 2, "bidirectional": True}, {"layers": 2, "dropout": 0.3}])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_steps_of_recurrent_layers(kind: Any, options: dict[str, Any], dtype: str) -> None:
    def made() -> Any:
        layer = kind(4, 5, seed=0, **options).astype(dtype)
        head = nn.Linear(10 if options.get("bidirectional") else 5, 2, seed=1).astype(dtype)
        adam = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01, clip_norm=0.5)

        def step(x: Any, y: Any) -> Any:
            out = layer(x)
            loss = tg.mse(head((out[0] if isinstance(out, tuple) else out)[:, -1]), y)
            adam.minimize(loss)
            return loss

        return step, [*layer.parameters(), *head.parameters()]

    (eager, others), (function, parameters) = made(), made()
    compiled = tg.compile(function)
    for seed in range(3):
        h, xs, w = numbers(dtype, seed)
        y = xs[:, 0, :2]
        assert_near(compiled(xs, y), eager(xs, y), dtype)
    for p, q in zip(parameters, others, strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), atol=1e-4 if dtype == "float32" else 1e-9)
    assert compiled.stats.traces == 1

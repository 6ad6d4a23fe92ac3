"""Values that are differentiated and come into ops without a derivative rule: refused in transforms, told of on the
tape, free where nothing is lost."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import optim

X = tg.tensor([3.0, 4.0])
RATE = tg.tensor(0.1, dtype="float64")


@pytest.fixture(autouse=True)
def own_op() -> Iterator[None]:
    tg.op(
        "squares(a)", lambda a: a * a, infer_rule=lambda a: tg.spec(a.shape, a.dtype),
        batch=lambda call: call.run(call.whole(0)),
    )  # fmt: skip
    tg.op("product(a, b)", lambda a, b: a * b, kind="elementwise", vjp=dict(a=lambda g, b: g * b, b=None))
    yield
    tg.remove_op("squares")
    tg.remove_op("product")


def squares(x: Any) -> Any:
    return tg.CATALOGUE["squares"].public(x)


FUNCTIONS: dict[str, tuple[Any, tg.Tensor]] = {
    "alone": (lambda q: squares(q).sum(), X),
    "a share": (lambda q: (squares(q) * q).sum(), X),
    "one input of two": (lambda q: tg.CATALOGUE["product"].public(q, q).sum(), X),
    "in vmap": (lambda q: tg.vmap(lambda a: squares(a) * a)(q).sum(), X),
    "by closure in vmap": (lambda q: tg.vmap(lambda a: squares(q) * a)(X).sum(), X),
    "sgd_update": (lambda rate: tg.sgd_update(X, X, rate, 0.0).sum(), RATE),
    "momentum_update": (lambda p: tg.momentum_update(p, X, X, RATE, 0.9, 0.0)[0].sum(), X),
    "running_average": (
        lambda mu: tg.CATALOGUE["running_average"].public(X, X, RATE, tg.tensor(1), mu, X, RATE, size=2)[0].sum(),
        X,
    ),
}


def transforms(f: Any, x: tg.Tensor) -> dict[str, Any]:
    one = tg.ones(x.shape, dtype=x.dtype.name)
    return {
        "grad": lambda: tg.grad(f)(x),
        "vjp": lambda: tg.vjp(f, x),
        "jvp": lambda: tg.jvp(f, (x,), (one,)),
        "jacobian": lambda: tg.jacobian(f)(x),
        "hessian": lambda: tg.hessian(f)(x),
        "hvp": lambda: tg.hvp(f, (x,), (one,)),
        "checkpoint": lambda: tg.grad(tg.checkpoint(f))(x),
        "trace of grad": lambda: tg.trace(tg.grad(f), x),
        "trace of jvp": lambda: tg.trace(lambda x: tg.jvp(f, (x,), (one,)), x),
        "grad of a trace": lambda: tg.trace(f, x).grad(),
        "jvp of a trace": lambda: tg.trace(f, x).jvp(),
        "a graph in grad": lambda: tg.grad(tg.trace(f, x))(x),
        "vmap of grad": lambda: tg.vmap(tg.grad(f))(tg.stack([x, x])),
        "grad of grad": lambda: tg.grad(lambda x: tg.grad(lambda y: (y * y).sum() * f(x))(x).sum())(x),
    }


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("what", transforms(None, X))
def test_a_transform_refuses_what_it_would_lose(name: str, what: str) -> None:
    f, x = FUNCTIONS[name]
    with pytest.raises(tg.DetachError, match=r"(?s)has no derivative rule.*test_lost_derivatives.*vjp=.*detach\(\)"):
        transforms(f, x)[what]()


@pytest.mark.parametrize("what", transforms(None, X))
def test_what_is_detached_or_flat_loses_nothing(what: str) -> None:
    def f(q: Any) -> Any:
        with tg.no_grad():
            free = squares(q)
        return ((squares(q.detach()) + free) * q).sum() + tg.floor(q).sum() + tg.copysign(q, -q).sum()

    transforms(f, X)[what]()
    assert tg.grad(f)(X).tolist() == [17, 31]


def test_the_tape_tells_of_it_once_a_line() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(2):
            y = tg.tensor([1.0, 2.0], requires_grad=True)
            (squares(y) * y).sum().backward()
        with tg.no_grad():
            squares(y)
        squares(y.detach())
    (warning,) = caught
    assert warning.category is tg.DetachWarning and "squares has no derivative rule" in str(warning.message)
    assert warning.filename == __file__


def test_a_traced_step_tells_of_it() -> None:
    def step(y: Any) -> Any:
        (squares(y) * y).sum().backward()
        return y.grad

    with pytest.warns(tg.DetachWarning, match="squares has no derivative rule"):
        graph = tg.trace(step, tg.tensor([1.0, 2.0], requires_grad=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert graph(X).tolist() == [9, 16]


def test_integers_from_an_op_have_no_derivative_to_lose() -> None:
    order = tg.op("order_of(a)", lambda a: np.argsort(a), infer_rule=lambda a: tg.spec(a.shape, "int64"))
    try:
        assert tg.grad(lambda q: (q * order(q)).sum())(X).tolist() == [0, 1]
    finally:
        tg.remove_op("order_of")


def test_zero_says_that_the_derivative_is_zero() -> None:
    step = tg.op("steps(a, b)", lambda a, b: a * np.floor(b), kind="elementwise",
                 vjp=dict(a=lambda g, b: g * tg.floor(b), b=0))  # fmt: skip
    try:
        assert tg.grad(lambda q: step(q, q).sum())(X).tolist() == [3, 4]
    finally:
        tg.remove_op("steps")


def test_composed_updates_have_their_derivative() -> None:
    f = lambda rate: tg.sgd_update(X, X, rate, 0.0, impl="composed").sum()
    assert float(tg.grad(f)(RATE)) == pytest.approx(-7)
    assert float(tg.trace(tg.grad(f), RATE)(RATE)) == pytest.approx(-7)


def test_running_averages_in_a_differentiated_function_are_free() -> None:
    f, parameters, state = tg.functional(tg.nn.BatchNorm(2), state=True)
    batch = tg.tensor([[1.0, 2.0], [3.0, 5.0]])
    loss = lambda x: (f(parameters, state, x)[0] ** 3).sum()
    assert np.isfinite(tg.grad(loss)(batch).numpy()).all()
    assert np.isfinite(tg.grad(tg.trace(loss, batch))(batch).numpy()).all()


CLIPPED = [
    ([3.0, 4.0], 1.0), ([3.0, 4.0], 50.0), ([3.0, 4.0], 5.0), ([0.0, 0.0], 1.0), ([-1e200, 2e-200], 0.5),
]  # fmt: skip


@pytest.mark.parametrize("numbers, limit", CLIPPED)
def test_clipping_by_norm_has_the_derivative_of_its_formula(numbers: Any, limit: float) -> None:
    def formula(grads: Any, limit: Any) -> Any:
        total = sum((g * g).sum() for g in grads)
        norm = tg.sqrt(tg.where(total == 0, 1.0, total))
        scale = tg.where(total == 0, 1.0, tg.minimum(limit / norm, 1.0))
        return [*[g * scale for g in grads], tg.where(total == 0, 0.0, norm)]

    def weigh(outs: Any) -> Any:
        return sum((tg.sin(o) * (i + 1.5)).sum() for i, o in enumerate(outs))

    if abs(numbers[0]) > 1e100:
        numbers = [v * 1e-60 for v in numbers]  # squares that are finite
    a, b = tg.tensor(numbers, dtype="float64"), tg.tensor([[0.0, numbers[1]]], dtype="float64")
    top = tg.tensor(limit, dtype="float64")
    op = lambda a, b, top: weigh(tg.clip_norm([a, b], top))
    same = lambda a, b, top: weigh(formula([a, b], top))
    for got, want in zip(tg.grad(op, (0, 1, 2))(a, b, top), tg.grad(same, (0, 1, 2))(a, b, top), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-300)
    if limit != 5.0 and numbers[0]:
        np.testing.assert_allclose(
            tg.hessian(lambda a: op(a, b, top))(a), tg.hessian(lambda a: same(a, b, top))(a), rtol=1e-9, atol=1e-300
        )


def test_clipping_functions_of_gradients_are_differentiable() -> None:
    for implement in (lambda f: tg.grad(f)(X), lambda f: tg.trace(tg.grad(f), X)(X)):
        np.testing.assert_allclose(implement(lambda q: optim.clip_norm([q], 1.0)[0][0].sum()), [0.032, -0.024], 1e-6)
        np.testing.assert_allclose(implement(lambda q: optim.clip_norm([q], 1.0)[1]), [0.6, 0.8], 1e-6)
        assert implement(lambda q: optim.clip_value([q], 3.5)[0].sum()).tolist() == [1, 0]

"""Compiled functions do what the functions do: results, effects, random numbers, gradients, errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 12)

OPTIMISERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.Momentum(p, lr=0.1, clip_norm=1.0),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=optim.warmup(3) * optim.inverse_time(0.05, decay=0.5)),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, clip_value=0.5),
}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8, bias=False, seed=0),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.3, seed=2),
        nn.Linear(8, 3, seed=1),
    )


def step_of(model: Any, optimizer: Any) -> Callable[[Any, Any], Any]:
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return step


def near(a: Any, b: Any) -> None:
    """Equal but for the rounding of fused ops."""
    a, b = np.asarray(a), np.asarray(b)
    assert np.isfinite(a).all() and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_whole_step_trains_as_it_does_eagerly(name: str) -> None:
    """Batch norm's averages, dropout's random state, the step count and gradients that are left included."""
    pairs = [(model := network(), OPTIMISERS[name](model.parameters())) for _ in range(2)]
    eager, compiled = step_of(*pairs[0]), tg.compile(step_of(*pairs[1]))
    for _ in range(6):
        near(eager(X, Y).numpy(), compiled(X, Y).numpy())
    for (path, a), (_, b) in zip(pairs[0][0].named_cells(), pairs[1][0].named_cells(), strict=True):
        near(a.numpy(), b.numpy())
        assert (a.grad is None) == (b.grad is None), path
        if a.grad is not None:
            near(a.grad.numpy(), b.grad.numpy())
    for (_, a), (_, b) in zip(pairs[0][1].named_cells(), pairs[1][1].named_cells(), strict=True):
        near(a.numpy(), b.numpy())
    assert compiled.stats.traces == 1 and compiled.stats.runs == 6


def test_a_rate_that_is_an_argument_traces_once() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")

    @tg.compile
    def step(x: Any, rate: float) -> Any:
        loss = ((w * x) ** 2).sum()
        loss.backward()
        w.assign(w.read() - rate * w.grad)
        w.grad = None
        return loss

    before = np.array([1.0, 2.0], np.float32)
    for n in range(100):
        rate = 0.1 / (n + 1)
        step(tg.tensor([1.0, 0.5]), rate)
        before = before - np.float32(rate) * 2 * before * np.array([1.0, 0.25], np.float32)
    near(w.numpy(), before)
    assert step.stats.traces == 1 and w.grad is None


def test_gradients_that_are_there_are_added_to() -> None:
    w = tg.Parameter([1.0, 2.0], name="w")

    @tg.compile
    def loss(x: Any) -> Any:
        value = (w * x).sum()
        value.backward()
        return value

    for n in range(1, 5):
        loss(tg.tensor([1.0, 3.0]))
        assert w.grad is not None and w.grad.tolist() == [n * 1.0, n * 3.0]
    w.grad = None
    loss(tg.tensor([1.0, 3.0]))
    assert w.grad is not None and w.grad.tolist() == [1.0, 3.0]
    assert loss.stats.traces == 2


@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_update_is_compiled_apart_from_its_gradients(name: str) -> None:
    """Gradients that somebody else has left are found, though without them the update fails."""
    pairs = [(model := network(), OPTIMISERS[name](model.parameters())) for _ in range(2)]

    def update_of(optimizer: Any) -> Callable[[], None]:
        def update() -> None:
            optimizer.step()
            optimizer.zero_grad()

        return update

    eager, compiled = update_of(pairs[0][1]), tg.compile(update_of(pairs[1][1]))
    for _ in range(3):
        for model, _ in pairs:
            for _ in range(2):
                (tg.softmax_cross_entropy(model(X), Y) / 2).backward()
        eager()
        compiled()
    for (_, a), (_, b) in zip(pairs[0][0].named_cells(), pairs[1][0].named_cells(), strict=True):
        near(a.numpy(), b.numpy())
        assert a.grad is b.grad is None
    assert compiled.stats.traces == 1
    with pytest.raises(RuntimeError, match="no parameter has a gradient"):
        compiled()


def test_of_several_checks_that_fail_the_first_is_told() -> None:
    """Its gradient refuses the number of a row too, and comes later."""
    layer = nn.Embedding(5, 3, seed=0)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)

    def step(rows: Any) -> None:
        optimizer.minimize((layer(rows) ** 2).sum())

    compiled = tg.compile(step)
    compiled(np.array([1, 2, 4]))
    before = layer.weight.numpy().copy()
    for function in (step, compiled):
        with pytest.raises(IndexError, match=r"embedding.*ids\[2\] is 5: there are rows 0 to 4"):
            function(np.array([1, 2, 5]))
        assert np.array_equal(layer.weight.numpy(), before)


def test_the_gradient_of_an_argument_is_left_on_it() -> None:
    @tg.compile
    def loss(x: Any) -> None:
        (x * x).sum().backward()

    for _ in range(3):
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        loss(x)
        assert x.grad is not None and x.grad.tolist() == [2.0, 4.0]


def test_a_forward_is_differentiated_by_its_caller() -> None:
    model = nn.Linear(6, 3, seed=0)
    other = nn.Linear(6, 3, seed=0)
    compiled = model.compile()
    for _ in range(5):
        for run, layer in ((compiled, model), (other, other)):
            layer.zero_grad()
            tg.softmax_cross_entropy(run(X), Y).backward()
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            assert a.grad is not None and b.grad is not None
            near(a.grad.numpy(), b.grad.numpy())
    with tg.no_grad():
        assert not compiled(X).requires_grad
        near(compiled(X).numpy(), other(X).numpy())


def test_random_numbers_are_those_of_eager_code() -> None:
    def draw(n: int) -> Any:
        return tg.random.normal((3,)) * n

    tg.random.seed(5)
    eager = [draw(2).tolist() for _ in range(4)]
    tg.random.seed(5)
    compiled = tg.compile(draw)
    assert [compiled(2).tolist() for _ in range(4)] == eager and len({tuple(e) for e in eager}) == 4


def test_results_nest_as_the_function_nests_them() -> None:
    @tg.compile
    def parts(x: Any, options: dict[str, Any], *, sign: str = "+") -> Any:
        y = x * options["scale"] if sign == "+" else -x
        return {"y": [y, (y.sum(), None, 3)], "x": x}

    x = np.array([1.0, 2.0], np.float32)
    for _ in range(2):
        out = parts(x, {"scale": tg.tensor(2.0)})
        assert out["y"][0].tolist() == [2.0, 4.0] and out["y"][1][0].item() == 6.0 and out["y"][1][1:] == (None, 3)
    assert parts(x, {"scale": tg.tensor(2.0)}, sign="-")["y"][0].tolist() == [-1.0, -2.0]
    x[0] = 9.0
    assert out["x"].tolist() == [1.0, 2.0], "a result does not lie in the user's memory"


def test_methods_and_decorators_with_options() -> None:
    class Scaler:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @tg.compile(check=True)
        def scale(self, x: Any) -> Any:
            return x * self.factor

    a, b = Scaler(2.0), Scaler(3.0)
    x = tg.tensor([1.0])
    assert [a.scale(x).item(), b.scale(x).item(), a.scale(x).item()] == [2.0, 3.0, 2.0]


def test_a_number_that_shapes_depend_on_is_static() -> None:
    @tg.compile
    def repeat(x: Any, n: int) -> Any:
        return tg.concatenate([x * i for i in range(n)])

    x = tg.tensor([1.0])
    assert [repeat(x, n).tolist() for n in (2, 3, 2)] == [[0.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0]]
    assert repeat.stats.traces == 2


def test_inside_a_trace_and_other_transforms_it_is_the_function() -> None:
    inner = tg.compile(lambda x: (x * x).sum())
    outer = tg.compile(lambda x: inner(x) + 1.0)
    x = tg.tensor([1.0, 2.0])
    assert outer(x).item() == 6.0 and inner.stats.traces == 0
    assert tg.grad(inner)(x).tolist() == [2.0, 4.0]
    assert tg.vmap(inner)(tg.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist() == [5.0, 25.0]
    assert tg.hessian(inner)(x).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert tg.trace(inner, x)(x).item() == 5.0


def test_errors_are_those_of_the_function_and_change_nothing() -> None:
    model = network()
    step = tg.compile(step_of(model, optim.Adam(model.parameters(), lr=0.1)))
    step(X, Y)
    before = model.state_dict()
    bad = Y.copy()
    bad[1] = 7
    for _ in range(5):
        with pytest.raises(ValueError, match=r"7 is outside \[0, 3\)"):
            step(X, bad)
    for path, array in model.state_dict().items():
        assert np.array_equal(array, before[path]), path
    with pytest.raises(ValueError, match="takes 6 features"):
        step(X[:, :5], Y)
    with pytest.raises(tg.TraceError, match="test_compile_steps"):
        tg.compile(lambda x: x if x.sum() > 0 else -x)(X)


def test_nan_is_found_in_what_is_compiled() -> None:
    @tg.compile
    def f(x: Any) -> Any:
        return tg.log(x).sum()

    x = tg.tensor([0.0, 1.0])
    with np.errstate(divide="ignore"):
        assert f(x).item() == -np.inf
        with tg.debug_nans(), pytest.raises(FloatingPointError, match="log gave -inf"):
            f(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_dtypes_and_modes_are_signatures(dtype: str) -> None:
    f = tg.compile(lambda x: (x * 2).sum(axis=0))
    for rows in (3, 1, 0, 3):
        x = np.ones((rows, 2), dtype)
        assert f(x).tolist() == [2.0 * rows, 2.0 * rows] and f(x).dtype == dtype
    assert (f.stats.traces, f.stats.resized) == (2, 1)
    assert f(np.ones((2, 6), dtype)[:, ::3]).tolist() == [4.0, 4.0]
    assert f(np.asfortranarray(np.ones((2, 2), dtype))).tolist() == [4.0, 4.0]
    assert f(np.ones((2, 2), np.dtype(dtype).newbyteorder())).tolist() == [4.0, 4.0]
    assert (f.stats.traces, f.stats.resized) == (2, 2)

"""Steps of networks of every kind, compiled as they stand: what the course and the examples train."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim

RNG = np.random.default_rng(0)


def rows(*shape: int, dtype: str = "float32") -> Any:
    return RNG.normal(size=shape).astype(dtype)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        self.embed = nn.Embedding(11, 6, seed=0)
        self.lstm = nn.LSTM(6, 5, seed=1)
        self.head = nn.Linear(5, 3, seed=2)

    def forward(self, x: Any) -> Any:
        out = self.lstm(self.embed(x))
        out = out[0] if isinstance(out, tuple) else out
        return self.head(out[:, -1])


class Residual(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Linear(6, 6, seed=0)
        self.norm = nn.LayerNorm(6)
        self.second = nn.Linear(6, 3, seed=1)

    def forward(self, x: Any) -> Any:
        return self.second(self.norm(x + tg.gelu(self.first(x))))


class Attending(nn.Module):
    def __init__(self) -> None:
        self.query = nn.Linear(6, 6, seed=0)
        self.head = nn.Linear(6, 3, seed=1)

    def forward(self, x: Any) -> Any:
        q = self.query(x)
        weights = tg.softmax(q @ x.swapaxes(1, 2) / 6**0.5, axis=-1)
        return self.head((weights @ x).mean(axis=1))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, seed=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 3 * 3, 3, seed=1)
    )


def deep() -> nn.Module:
    layers: list[nn.Module] = []
    for seed in range(6):
        layers += [nn.Linear(6, 6, seed=seed), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(6, 3, seed=9))


LABELS = RNG.integers(0, 3, 8)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "recurrent": (Recurrent, RNG.integers(0, 11, (8, 7))),
    "residual": (Residual, rows(8, 6)),
    "attending": (Attending, rows(8, 4, 6)),
    "convolutional": (convolutional, rows(8, 1, 8, 8)),
    "deep": (deep, rows(8, 6)),
    "batch norm, dropout": (
        lambda: nn.Sequential(
            nn.Linear(6, 8, bias=False, seed=0), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3, seed=1),
            nn.Linear(8, 3, seed=2),
        ),
        rows(8, 6),
    ),
}  # fmt: skip
LOSSES: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "labels": (lambda out, y: tg.softmax_cross_entropy(out, y), LABELS),
    "by hand": (lambda out, y: -tg.log_softmax(out, axis=1)[tg.arange(8), y].mean(), LABELS),
    "numbers": (lambda out, y: ((out - y) ** 2).mean(), rows(8, 3)),
}


def agree(a: Any, b: Any, what: str) -> None:
    assert np.isfinite(a).all() and a.dtype == b.dtype and a.shape == b.shape, what
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5, err_msg=what)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_compiled_is_the_step(name: str, loss: str) -> None:
    make, x = NETWORKS[name]
    measure, y = LOSSES[loss]
    runs = []
    for compiled in (False, True):
        model = make()
        adam = optim.Adam(model, lr=0.01, clip_norm=1.0)

        def step(x: Any, y: Any, model: Any = model, adam: Any = adam) -> Any:
            value = measure(model(x), y)
            adam.minimize(value)
            return value

        run: Any = tg.compile(step) if compiled else step
        values = [run(x, y).numpy() for _ in range(5)]
        values += [run(x[:8], y).numpy()]
        if compiled:
            assert run.stats.traces == 1, run.stats
        runs.append((values, model, adam))
    for n, (a, b) in enumerate(zip(runs[0][0], runs[1][0], strict=True)):
        agree(a, b, f"loss {n}")
    for k in (1, 2):
        for (path, p), (_, q) in zip(runs[0][k].named_cells(), runs[1][k].named_cells(), strict=True):
            agree(p.numpy(), q.numpy(), path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_forward_compiled_is_the_forward_of_every_batch(name: str) -> None:
    make, x = NETWORKS[name]
    model = make().eval()
    forward = model.compile()
    with tg.no_grad():
        for size in (8, 3, 1, 8):
            for _ in range(2):
                agree(model(x[:size]).numpy(), forward(x[:size]).numpy(), f"{size} rows")


def test_a_step_in_float64_is_exact_to_its_width() -> None:
    x, y = rows(8, 6, dtype="float64"), rows(8, 3, dtype="float64")
    runs = []
    for compiled in (False, True):
        model = deep().astype("float64")
        sgd = optim.SGD(model, lr=0.1)

        def step(model: Any = model, sgd: Any = sgd) -> Any:
            value = tg.mse(model(x), y)
            sgd.minimize(value)
            return value

        run = tg.compile(step) if compiled else step
        runs.append(([run().item() for _ in range(5)], model))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=1e-12)
    for a, b in zip(runs[0][1].parameters(), runs[1][1].parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-13)


def test_a_generator_and_its_critic_take_turns() -> None:
    """Two optimisers and two compiled steps that share parameters."""
    runs = []
    for compiled in (False, True):
        maker, critic = nn.Linear(2, 6, seed=0), nn.Linear(6, 1, seed=1)
        makes, judges = optim.Adam(maker, lr=0.01), optim.Adam(critic, lr=0.01)
        real, noise = rows(8, 6) * 0 + 1, np.ones((8, 2), np.float32)

        def judge(real: Any, noise: Any, maker: Any = maker, critic: Any = critic, judges: Any = judges) -> Any:
            value = ((critic(real) - 1.0) ** 2).mean() + (critic(maker(noise).detach()) ** 2).mean()
            judges.minimize(value)
            return value

        def make(noise: Any, maker: Any = maker, critic: Any = critic, makes: Any = makes) -> Any:
            value = ((critic(maker(noise)) - 1.0) ** 2).mean()
            makes.minimize(value)
            return value

        a, b = (tg.compile(judge), tg.compile(make)) if compiled else (judge, make)
        runs.append([value for _ in range(5) for value in (a(real, noise).item(), b(noise).item())])
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-4)


@pytest.mark.parametrize("sizes", [(1, 0, 3), (0, 4), (2, 2, 0), (0, 0, 4), (1, 3, 0, 0)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_parts_beside_empty_ones_are_where_they_are(sizes: tuple[int, ...], axis: int) -> None:
    table = np.arange(16, dtype=np.float32).reshape(4, 4)

    def parts(x: Any) -> Any:
        return [part * 2 + 1 for part in tg.split(x, sizes=sizes, axis=axis)]

    constant, argument = tg.compile(lambda: parts(tg.tensor(table))), tg.compile(parts)
    for _ in range(2):
        for found in (constant(), argument(table), argument(table.T.copy().T)):
            for a, b in zip(found, parts(tg.tensor(table)), strict=True):
                assert a.shape == b.shape and np.array_equal(a.numpy(), b.numpy())


def test_equal_layers_take_python_in_proportion():
    """Calls of Python and C of a first step: twice as many layers, twice as many more."""

    def calls(layers: int) -> int:
        model = nn.Sequential(*[layer for k in range(layers) for layer in (nn.Linear(4, 4, seed=k), nn.ReLU())])
        adam = optim.Adam(model)

        @tg.compile
        def step(x, y):
            loss = tg.softmax_cross_entropy(model(x), y)
            adam.minimize(loss)
            return loss

        x, y = np.ones((8, 4), "float32"), np.arange(8) % 4
        found = 0

        def look(frame, event, argument):
            nonlocal found
            found += event in ("call", "c_call")

        before = sys.getprofile()
        gc.disable()
        sys.setprofile(look)
        try:
            step(x, y)
        finally:
            sys.setprofile(before)
            gc.enable()
        return found

    calls(1)  # what is made once a process
    few, some, many = calls(10), calls(20), calls(40)
    assert many - some <= 1.01 * 2 * (some - few)

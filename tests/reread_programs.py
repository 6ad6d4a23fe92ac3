"""Programs that read cells after they have written them, in a later call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph

X = tg.f32[5, 3]


def layers(seed: int, out: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4, seed=seed), nn.Tanh(), nn.Linear(4, out, seed=seed + 1))


def batch_norm_called_twice(second: Any = X) -> Graph:
    model = nn.Sequential(nn.Linear(3, 4, seed=1), nn.BatchNorm(4), nn.Linear(4, 2, seed=2))
    optimizer = optim.Adam(model, lr=0.1)

    def step(a: Any, b: Any) -> Any:
        loss = model(a).mean() + (model(b) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, X, second)


def judge_with_batch_norm() -> Graph:
    maker, judge = layers(1, 3), nn.Sequential(nn.Linear(3, 4, seed=5), nn.BatchNorm(4), nn.Linear(4, 1, seed=6))
    making, judging = optim.Adam(maker, lr=0.1), optim.SGD(judge, lr=0.1)

    def step(real: Any, noise: Any) -> Any:
        fake = maker(noise)
        judging.minimize(tg.softplus(-judge(real)).mean() + tg.softplus(judge(fake.detach())).mean())
        loss = tg.softplus(-judge(fake)).mean()
        making.minimize(loss)
        return loss

    return tg.trace(step, X, X)


def loss_after_the_step() -> Graph:
    model = layers(1)
    optimizer = optim.SGD(model, lr=0.1)

    def step(x: Any) -> Any:
        before = model(x).mean()
        optimizer.minimize(before)
        return before, model(x).mean()

    return tg.trace(step, X)


def two_steps() -> Graph:
    model = layers(1)
    optimizer = optim.Adam(model, lr=0.1)

    def step(x: Any) -> Any:
        for _ in range(2):
            loss = (model(x) ** 2).mean()
            optimizer.minimize(loss)
        return loss

    return tg.trace(step, X)


def target_updated_and_used() -> Graph:
    model, target = layers(1), layers(1)
    optimizer = optim.SGD(model, lr=0.1)

    def step(x: Any) -> Any:
        for a, b in zip(target.parameters(), model.parameters(), strict=True):
            a.assign(0.9 * a + 0.1 * b)
        loss = ((model(x) - target(x).detach()) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, X)


def target_that_follows() -> Graph:
    model, target = nn.Linear(3, 2, seed=1), nn.Linear(3, 2, seed=1)
    optimizer = optim.SGD(model, lr=0.1)

    def follow() -> None:
        for a, b in zip(target.parameters(), model.parameters(), strict=True):
            a.assign(0.9 * a + 0.1 * b)

    def step(x: Any) -> Any:
        loss = ((model(x) - target(x).detach()) ** 2).mean()
        optimizer.minimize(loss)
        follow()
        return loss, target(x).mean()

    return tg.trace(step, X)


class Counted(nn.Module):
    """Its bias stands before what it is added to, and it counts in floats that vary."""

    def __init__(self) -> None:
        self.bias, self.weight = tg.Parameter(np.ones(3, "f4")), tg.Parameter(np.eye(3, dtype="f4"))
        self.seen = tg.Buffer(np.zeros((), "f4"))

    def forward(self, x: Any) -> Any:
        seen = self.seen + x.mean()
        y = self.bias + x @ self.weight * self.seen
        self.seen.assign(seen)
        return y


def reads_in_another_order_than_they_stand() -> Graph:
    model = Counted()
    optimizer = optim.SGD(model, lr=0.1)

    def step(x: Any) -> Any:
        y = model(x)
        optimizer.minimize((y * y).mean())
        again = model.bias * model(tg.sin(x))
        return model.seen * again.sum(), model.weight

    return tg.trace(step, X)


def written_and_read_in_one_function() -> Graph:
    scale = tg.Parameter(np.ones(3, "f4"), name="scale")

    def step(x: Any) -> Any:
        scale.assign(scale * x.mean())
        return (scale * x).sum()

    return tg.trace(step, X)


REREADS: dict[str, Callable[[], Graph]] = {
    "batch norm called twice": batch_norm_called_twice,
    "judge with batch norm": judge_with_batch_norm,
    "loss after the step": loss_after_the_step,
    "two steps": two_steps,
    "target updated and used": target_updated_and_used,
    "target that follows": target_that_follows,
    "reads in another order": reads_in_another_order_than_they_stand,
    "in one function": written_and_read_in_one_function,
}

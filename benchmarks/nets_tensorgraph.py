"""The networks of `nets` in tensorgraph, as a user writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg
from benchmarks.nets import GROUP_NORM, NETS, Layers, Net, batches, examples, weights
from benchmarks.problems import ADAM_EPS, BETAS, LEARNING_RATE, Prepared, digest, training
from tensorgraph import nn, optim

__all__ = ["predicting", "prepared", "resized", "stepped"]


class Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: Any) -> Any:
        return x + super().forward(x)


class LastState(nn.LSTM):
    """An LSTM's last output."""

    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return super().forward(x)[0][:, -1]


def module(kind: str, *numbers: Any) -> Any:
    """One layer."""
    if kind == "linear":
        return nn.Linear(numbers[0], numbers[1], bias=numbers[2])
    if kind == "residual":
        return Residual(*[module(*layer) for layer in numbers[0]])
    if kind == "mean":
        return lambda x: x.mean(axis=1)
    makers: dict[str, Any] = {
        "batch_norm": lambda n: nn.BatchNorm(n, preset="torch"), "layer_norm": nn.LayerNorm, "relu": nn.ReLU,
        "tanh": nn.Tanh, "gelu": nn.GELU, "dropout": nn.Dropout, "conv": nn.Conv2d, "max_pool": nn.MaxPool2d,
        "flatten": nn.Flatten, "group_norm": nn.GroupNorm, "lstm": LastState, "encoder": nn.TransformerEncoderLayer,
    }  # fmt: skip
    return makers[kind](*numbers) if kind not in ("relu", "tanh", "gelu") else makers[kind]()


def sequential(layers: Layers) -> nn.Sequential:
    return nn.Sequential(*[module(*layer) for layer in layers])


def modelled(net: Net) -> nn.Sequential:
    """The network with its first weights."""
    model = sequential(net.layers)
    if net.dtype == "float64":
        model.astype("float64")
    nn.from_torch_state(model, weights(net))
    return model


def stepped(name: str) -> Callable[[Any, Any], Any]:
    """A training step with Adam, not compiled."""
    net = NETS[name]
    model = modelled(net)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE, beta1=BETAS[0], beta2=BETAS[1], eps=ADAM_EPS)

    def step(x: Any, y: Any) -> Any:
        out = model(x)
        loss = tg.softmax_cross_entropy(out, y) if net.classes else ((out - y) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return step


def prepared(name: str, compiled: bool) -> Prepared:
    """A training step on its batches, compiled or not."""
    step = stepped(name)
    run = tg.compile(step) if compiled else step
    inputs, targets = ([tg.tensor(a) for a in arrays] for arrays in batches(NETS[name]))
    return training(lambda i: float(run(inputs[i], targets[i])), len(inputs), "dropout" not in name)


def predicting(name: str, count: int, compiled: bool) -> Prepared:
    """What the network says of examples at test time."""
    net = NETS[name]
    model = modelled(net).eval()
    x = tg.tensor(examples(net, count))
    predict = model.compile() if compiled else model

    def run() -> Any:
        with tg.no_grad():
            return predict(x)

    return Prepared(run, lambda: {"out": digest(run().numpy())})


def resized(name: str) -> Callable[[int], float]:
    """A compiled training step with Adam on so many rows, whose loss it gives; ``"group norm"`` is a network too."""
    net = GROUP_NORM if name == "group norm" else NETS[name]
    model = sequential(net.layers)
    optimizer, rng = optim.Adam(model.parameters()), np.random.default_rng(9)

    @tg.compile
    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    def run(rows: int) -> float:
        x = rng.standard_normal((rows, *net.shape)).astype(net.dtype)
        return float(step(x, rng.integers(0, net.classes, rows)))

    return run

"""The networks whose training steps are compiled: layers, first weights under PyTorch's names, and mini-batches.

A network is a tuple of layers, each a tuple of its kind and its numbers; every library's side makes its own of them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problems import Array

__all__ = ["GROUP_NORM", "NETS", "Net", "batches", "examples", "weights"]

Layers = tuple[tuple[Any, ...], ...]


class Net(NamedTuple):
    """A training problem: Adam on softmax cross-entropy over `classes`, or on a mean squared error where it is 0."""

    batch: int
    shape: tuple[int, ...]
    classes: int
    layers: Layers
    dtype: str = "float32"


def perceptron(*widths: int, activation: str = "relu", bias: bool = True, between: tuple[Any, ...] = ()) -> Layers:
    """Linear layers with an activation, and what is named, between them."""
    layers: list[tuple[Any, ...]] = []
    for n, (a, b) in enumerate(pairwise(widths)):
        last = n == len(widths) - 2
        layers.append(("linear", a, b, bias or last))
        if not last:
            layers += [(kind, b) if kind != "dropout" else (kind, 0.1) for kind in between] + [(activation,)]
    return tuple(layers)


def normed(*widths: int) -> Layers:
    """Linear without bias, batch norm, ReLU, ..., Linear."""
    return perceptron(*widths, bias=False, between=("batch_norm",))


LENET: Layers = (
    ("conv", 1, 6, 5), ("relu",), ("max_pool", 2), ("conv", 6, 16, 5), ("relu",), ("max_pool", 2), ("flatten",),
    *perceptron(256, 120, 84, 10),
)  # fmt: skip
BLOCK: Layers = (("residual", (("linear", 128, 128, True), ("relu",), ("linear", 128, 128, True))), ("relu",))
ENCODER: Layers = (("encoder", 128, 4, 512), ("encoder", 128, 4, 512), ("mean",), ("linear", 128, 10, True))

NETS: dict[str, Net] = {
    "tiny": Net(8, (6,), 3, normed(6, 5, 3)),
    "S: 64 of 64-32-10": Net(64, (64,), 10, normed(64, 32, 10)),
    "M: 64 of 784-256-128-10": Net(64, (784,), 10, normed(784, 256, 128, 10)),
    "L: 256 of 1024-1024-1024-10": Net(256, (1024,), 10, normed(1024, 1024, 1024, 10)),
    "10,000 of 4-32-16-4, tanh": Net(10_000, (4,), 4, perceptron(4, 32, 16, 4, activation="tanh")),
    "200 of 24-8-2, tanh": Net(200, (24,), 2, perceptron(24, 8, 2, activation="tanh")),
    "LeNet-5, 64 of 28x28": Net(64, (1, 28, 28), 10, LENET),
    "LSTM, 32 of 50x128": Net(32, (50, 128), 10, (("lstm", 128, 128), ("linear", 128, 10, True))),
    "LSTM, 32 of 50x256": Net(32, (50, 256), 10, (("lstm", 256, 256), ("linear", 256, 10, True))),
    "transformer, 32 of 64x128": Net(32, (64, 128), 10, ENCODER),
    "deep and narrow, 12 of 32": Net(64, (32,), 10, perceptron(*[32] * 12, 10)),
    "wide, 256-4096-10": Net(64, (256,), 10, perceptron(256, 4096, 10)),
    "dropout, 256-256-256-10": Net(64, (256,), 10, perceptron(256, 256, 256, 10, between=("dropout",))),
    "layer norm and gelu": Net(64, (256,), 10, perceptron(256, 256, 256, 10, activation="gelu",
                                                          between=("layer_norm",))),
    "residual, 4 blocks of 128": Net(64, (128,), 10, (*BLOCK * 4, ("linear", 128, 10, True))),
    "regression, 13-64-64-1": Net(64, (13,), 0, perceptron(13, 64, 64, 1)),
    "1,000 classes": Net(64, (256,), 1000, normed(256, 256, 1000)),
    "batch 1": Net(1, (64,), 10, perceptron(64, 32, 10)),
    "batch 4,096": Net(4096, (64,), 10, normed(64, 32, 10)),
    "float64": Net(64, (64,), 10, normed(64, 32, 10), "float64"),
}  # fmt: skip
GROUP_NORM = Net(32, (3, 16, 16), 10, (
    ("conv", 3, 16, 3), ("group_norm", 4, 16), ("relu",), ("conv", 16, 32, 3), ("group_norm", 4, 32), ("relu",),
    ("max_pool", 2), ("flatten",), ("linear", 32 * 6 * 6, 10, True),
))  # fmt: skip
COUNT = 4  # mini-batches


def batches(net: Net) -> tuple[Array, Array]:
    """Mini-batches of inputs and of targets."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((COUNT, net.batch, *net.shape)).astype(net.dtype)
    if net.classes:
        return x, rng.integers(0, net.classes, (COUNT, net.batch))
    return x, rng.standard_normal((COUNT, net.batch, 1)).astype(net.dtype)


def examples(net: Net, count: int) -> Array:
    """Inputs of a prediction."""
    return np.random.default_rng(9).standard_normal((count, *net.shape)).astype(net.dtype)


def weights(net: Net) -> dict[str, Array]:
    """First weights, by the names and in the layouts of PyTorch's state dicts."""
    rng = np.random.default_rng(8)
    state: dict[str, Array] = {}

    def draw(name: str, *shape: int, fan: int | None = None) -> None:
        scale = math.sqrt(2 / (fan or math.prod(shape[1:])))
        state[name] = (rng.standard_normal(shape) * scale).astype(net.dtype)

    def fill(name: str, size: int, value: float) -> None:
        state[name] = np.full(size, value, net.dtype)

    def add(layers: Layers, prefix: str) -> None:
        for n, (kind, *numbers) in enumerate(layers):
            path = f"{prefix}{n}."
            if kind == "linear":
                draw(f"{path}weight", numbers[1], numbers[0])
                if numbers[2]:
                    fill(f"{path}bias", numbers[1], 0.0)
            elif kind == "conv":
                draw(f"{path}weight", numbers[1], numbers[0], numbers[2], numbers[2])
                fill(f"{path}bias", numbers[1], 0.0)
            elif kind in ("batch_norm", "layer_norm"):
                fill(f"{path}weight", numbers[0], 1.0)
                fill(f"{path}bias", numbers[0], 0.0)
                if kind == "batch_norm":
                    fill(f"{path}running_mean", numbers[0], 0.0)
                    fill(f"{path}running_var", numbers[0], 1.0)
            elif kind == "lstm":
                for which, size in (("ih", numbers[0]), ("hh", numbers[1])):
                    draw(f"{path}weight_{which}_l0", 4 * numbers[1], size, fan=2 * size)
                    fill(f"{path}bias_{which}_l0", 4 * numbers[1], 0.0)
            elif kind == "encoder":
                dim, _, hidden = numbers
                draw(f"{path}self_attn.in_proj_weight", 3 * dim, dim)
                fill(f"{path}self_attn.in_proj_bias", 3 * dim, 0.0)
                for name, rows, columns in (("self_attn.out_proj", dim, dim), ("linear1", hidden, dim),
                                            ("linear2", dim, hidden)):  # fmt: skip
                    draw(f"{path}{name}.weight", rows, columns)
                    fill(f"{path}{name}.bias", rows, 0.0)
                for name in ("norm1", "norm2"):
                    fill(f"{path}{name}.weight", dim, 1.0)
                    fill(f"{path}{name}.bias", dim, 0.0)
            elif kind == "residual":
                add(numbers[0], path)

    add(net.layers, "")
    return state

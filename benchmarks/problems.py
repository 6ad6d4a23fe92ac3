"""The problems that every library solves: numbers and shapes, from NumPy alone.

Each library's side turns these into its own tensors, so that all of them compute the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

# the network is Linear without bias, batch norm, ReLU, ..., Linear; batch size, then the widths
NETWORKS: dict[str, tuple[int, tuple[int, ...]]] = {
    "tiny": (8, (6, 5, 3)),
    "S": (64, (64, 32, 10)),
    "M": (64, (784, 256, 128, 10)),
    "L": (256, (1024, 1024, 1024, 10)),
    "demo": (64, (64, 256, 128, 10)),
}
# of these so many side by side, for so many epochs: an ensemble
ENSEMBLES: dict[str, tuple[int, int]] = {"tiny": (3, 2), "S": (64, 20), "demo": (64, 5)}
# networks of Linear and ReLU, of which gradients of each example and Jacobians are taken: the batch, then the widths
PERCEPTRONS: dict[str, tuple[int, tuple[int, ...]]] = {
    "tiny": (8, (6, 5, 3)),
    "digits": (64, (64, 256, 128, 10)),
    "hundred": (1, (100, 100, 100, 100)),
}
# the loss of the tenth step, on which independent implementations agree
TENTH_LOSS = {"S": 2.88018, "M": 2.69439, "L": 2.66363}
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.999)
ADAM_EPS = 1e-8
NORM_EPS = 1e-5
BATCHES = 16


class Prepared(NamedTuple):
    """One library's side of one problem.

    Attributes
    ----------
    run : callable
        What is timed; returns only when the result is there.
    check : callable
        Called once, before `run`: named numbers (loss, digests of gradients) that must agree among libraries.
    """

    run: Callable[[], Any]
    check: Callable[[], dict[str, Any]]


class Network(NamedTuple):
    """Data and initial weights of a training step: mini-batches, labels, and one dict of arrays per layer."""

    inputs: Array
    labels: Array
    layers: list[dict[str, Array]]


def digest(array: Any) -> list[float]:
    """Two numbers by which libraries compare an array: the sum of magnitudes, and a sum with uneven weights."""
    flat = np.asarray(array, np.float64).ravel()
    if not np.isfinite(flat).all():
        raise FloatingPointError("a result to compare is not finite")
    return [float(np.abs(flat).sum()), float(flat @ np.cos(np.arange(flat.size)))]


def agree(left: Any, right: Any, tolerance: float = 2e-4) -> bool:
    """Whether two results of `check` tell of the same numbers, up to rounding in float32."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(agree(left[k], right[k], tolerance) for k in left)
    if isinstance(left, list):
        scale = max(abs(left[0]), abs(right[0]), 1e-6)
        return all(abs(a - b) <= tolerance * scale for a, b in zip(left, right, strict=True))
    return abs(left - right) <= tolerance * max(abs(left), abs(right), 1e-6)


def chain_input() -> Array:
    """Eight numbers for the chain of products and hyperbolic tangents.

    All above 1, where the chain settles at a value of ordinary size: below 1 it decays into subnormal numbers, which
    processors are slow at.
    """
    return np.linspace(1.25, 3, 8, dtype=np.float32)


# calls beside two tensors: what is given, and how often the time of a product of two tensors it may take, if we choose
OPERANDS: dict[str, float | None] = {
    "2.0 * parameter": 3.0, "tensor * array": 3.0, "array * tensor": 3.0, "array @ parameter": 3.0,
    "tensor * 0-d array": 3.0, "tensor * np.float32": 3.0, "np.float64 * tensor": 3.0, "tensor * True": 3.0,
    "integers * np.int64": 3.0, "exp(array)": 3.0, "x[0]": 3.0, "x[1:]": 3.0, "x[array]": 3.0, "concatenate": 3.0,
    "stack": 3.0, "astype": 3.0, "sum(axis=np.int64)": 3.0, "where(c, x, 0.0)": 3.0, "where(array, 1.0, x)": 3.0,
    "x.T": 3.0, "x.mT": 3.0, "reshape": 3.0, "transpose": 3.0, "split": None, "sort": None, "uniform": None,
}  # fmt: skip


def mixed_inputs() -> tuple[Array, Array, Array, Array]:
    """A square of numbers, another one, weights and a row."""
    rng = np.random.default_rng(4)
    x, a, w, row = (rng.standard_normal(shape).astype(np.float32) for shape in ((8, 8), (8, 8), (8, 8), (8,)))
    return x, a, w, row


def rowwise_inputs(rows: int, classes: int) -> tuple[Array, Array, Array]:
    """Logits, labels, and a cotangent for outputs that are not scalar."""
    rng = np.random.default_rng(1)
    logits = (2 * rng.standard_normal((rows, classes))).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    cotangent = rng.standard_normal((rows, classes)).astype(np.float32)
    return logits, labels, cotangent


def power_inputs() -> tuple[Array, Array]:
    """Normal numbers, half of them negative and none near 0, and a cotangent."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(131_072).astype(np.float32)
    return x + np.copysign(np.float32(0.25), x), rng.standard_normal(x.size).astype(np.float32)


def taking_inputs(count: int, columns: int, rows: int) -> tuple[Array, Array, Array]:
    """A table, the numbers of the rows to take, and a cotangent."""
    rng = np.random.default_rng(4)
    table = rng.standard_normal((count, columns)).astype(np.float32)
    return table, rng.integers(0, count, rows), rng.standard_normal((rows, columns)).astype(np.float32)


def batch_norm_inputs(rows: int, features: int) -> tuple[Array, Array, Array, Array]:
    """x, gamma, beta and a cotangent."""
    rng = np.random.default_rng(2)
    x = (1 + 2 * rng.standard_normal((rows, features))).astype(np.float32)
    gamma = (1 + 0.1 * rng.standard_normal(features)).astype(np.float32)
    beta = (0.1 * rng.standard_normal(features)).astype(np.float32)
    cotangent = rng.standard_normal((rows, features)).astype(np.float32)
    return x, gamma, beta, cotangent


def network(size: str) -> Network:
    """Sixteen mini-batches and He-initialised weights; the order of the draws is what fixes `TENTH_LOSS`."""
    batch, widths = NETWORKS[size]
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((BATCHES, batch, widths[0])).astype(np.float32)
    labels = rng.integers(0, widths[-1], (BATCHES, batch))
    layers = []
    for depth, (fan_in, fan_out) in enumerate(pairwise(widths), start=2):
        weight = (rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)).astype(np.float32)
        if depth < len(widths):
            layers.append(
                {"weight": weight, "gamma": np.ones(fan_out, np.float32), "beta": np.zeros(fan_out, np.float32)}
            )
        else:
            layers.append({"weight": weight, "bias": np.zeros(fan_out, np.float32)})
    return Network(inputs, labels, layers)


def networks(size: str) -> tuple[int, Network]:
    """The epochs, and networks side by side: the mini-batches of one, and first numbers with an axis more, in front."""
    count, epochs = ENSEMBLES[size]
    first = network(size)
    rng = np.random.default_rng(6)
    layers = [
        {
            name: np.stack([a * (1 + 0.3 * rng.standard_normal(a.shape)) for _ in range(count)]).astype(np.float32)
            if name == "weight" else np.stack([a] * count)
            for name, a in layer.items()
        }
        for layer in first.layers
    ]  # fmt: skip
    return epochs, Network(first.inputs, first.labels, layers)


def perceptron(size: str) -> tuple[Array, Array, dict[str, Array]]:
    """A batch, its labels, and the weights (w0, w1, ...) and biases (b0, b1, ...) of a network of Linear and ReLU."""
    batch, widths = PERCEPTRONS[size]
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((batch, widths[0])).astype(np.float32)
    labels = rng.integers(0, widths[-1], batch)
    parameters = {}
    for depth, (fan_in, fan_out) in enumerate(pairwise(widths)):
        weight = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)
        parameters |= {f"w{depth}": weight.astype(np.float32), f"b{depth}": np.zeros(fan_out, np.float32)}
    return inputs, labels, parameters


def mean_digests(gradients: Any) -> dict[str, Any]:
    """Each example's gradients by their mean, which is the gradient of the batch."""
    return {name: digest(np.asarray(g).mean(0)) for name, g in gradients.items()}


def training(step: Callable[[int], float], count: int = BATCHES, comparable: bool = True) -> Prepared:
    """A training step over so many mini-batches in turn, checked by its first ten losses.

    `comparable`: whether libraries must have the same losses, which they cannot where each draws numbers of its own.
    """
    done = 0

    def run() -> float:
        nonlocal done
        loss = step(done % count)
        done += 1
        return loss

    def check() -> dict[str, Any]:
        losses = [run() for _ in range(10)]
        if not np.isfinite(losses).all():
            raise FloatingPointError(f"a loss is not finite: {losses}")
        return {"first loss": losses[0], "tenth loss": losses[9]} if comparable else {}

    return Prepared(run, check)

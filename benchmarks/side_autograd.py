"""HIPS autograd: the tape over NumPy in Python that many know. For information, in the chain and the training step."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp, value_and_grad

from benchmarks.problems import (
    ADAM_EPS,
    BETAS,
    LEARNING_RATE,
    NORM_EPS,
    Prepared,
    chain_input,
    digest,
    network,
    training,
)


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {"library": "autograd", "version": version("autograd"), "numpy": np.__version__}


def chain(length: int, gradient: bool) -> Prepared:
    """y = tanh(y x), many times, and a sum."""
    x = chain_input()

    def function(x: Any) -> Any:
        y = x
        for _ in range(length):
            y = anp.tanh(y * x)
        return anp.sum(y)

    both = value_and_grad(function)

    def check() -> dict[str, Any]:
        value, dx = both(x)
        return {"value": float(value), "dx": digest(dx)} if gradient else {"value": float(value)}

    return Prepared((lambda: both(x)) if gradient else (lambda: make_vjp(function)(x)), check)


def step(size: str) -> Prepared:
    """A training step of the network, Adam written in NumPy."""
    problem = network(size)
    layers = problem.layers
    first = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
    second = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
    count = 0

    def loss_of(layers: Any, x: Any, labels: Any) -> Any:
        for layer in layers[:-1]:
            h = anp.dot(x, layer["weight"])
            centred = h - anp.mean(h, axis=0)
            scale = 1 / anp.sqrt(anp.mean(centred * centred, axis=0) + np.float32(NORM_EPS))
            x = anp.maximum(centred * scale * layer["gamma"] + layer["beta"], 0)
        logits = anp.dot(x, layers[-1]["weight"]) + layers[-1]["bias"]
        shifted = logits - anp.max(logits, axis=1, keepdims=True)
        chosen = shifted[np.arange(len(labels)), labels]
        return anp.mean(anp.log(anp.sum(anp.exp(shifted), axis=1)) - chosen)

    both = value_and_grad(loss_of)

    def one(i: int) -> float:
        nonlocal count
        loss, gradients = both(layers, problem.inputs[i], problem.labels[i])
        count += 1
        b1, b2 = map(np.float32, BETAS)
        rate = np.float32(LEARNING_RATE / (1 - BETAS[0] ** count))
        root = np.float32(1 / np.sqrt(1 - BETAS[1] ** count))
        for layer, m, v, gradient in zip(layers, first, second, gradients, strict=True):
            for name, d in gradient.items():
                m[name] += (1 - b1) * (d - m[name])
                v[name] += (1 - b2) * (d * d - v[name])
                layer[name] -= rate * m[name] / (np.sqrt(v[name]) * root + np.float32(ADAM_EPS))
        return float(loss)

    return training(one)


PROBLEMS = {"chain": chain, "step": step}

"""NumPy by hand: the same mathematics without tape, checks or fusion. What the floor of a NumPy library costs."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.problems import (
    ADAM_EPS,
    BETAS,
    LEARNING_RATE,
    NORM_EPS,
    Array,
    Prepared,
    batch_norm_inputs,
    chain_input,
    digest,
    mean_digests,
    mixed_inputs,
    network,
    perceptron,
    power_inputs,
    rowwise_inputs,
    taking_inputs,
    training,
)


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {"library": "numpy", "version": np.__version__, "numpy": np.__version__}


def chain(length: int, gradient: bool) -> Prepared:
    """y = tanh(y x), many times, and a sum; the gradient by the chain rule."""
    x = chain_input()

    def forward() -> tuple[Any, list[Array]]:
        y = x
        kept = [y]
        for _ in range(length):
            y = np.tanh(y * x)
            kept.append(y)
        return np.add.reduce(y), kept

    def both() -> tuple[Any, Array]:
        value, kept = forward()
        g = np.ones_like(x)
        dx = np.zeros_like(x)
        for before, out in zip(kept[-2::-1], kept[:0:-1], strict=True):
            g = g - g * out * out
            dx += g * before
            g = g * x
        return value, dx + g

    def check() -> dict[str, Any]:
        value, dx = both()
        return {"value": float(value), "dx": digest(dx)} if gradient else {"value": float(value)}

    return Prepared(both if gradient else forward, check)


def _softmax(x: Array) -> tuple[Array, Array]:
    shifted = x - x.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    return e / total, shifted - np.log(total)


def mix(gradient: bool) -> Prepared:
    """What ordinary code is made of, its gradient written by hand."""
    x, a, w, b = mixed_inputs()

    def forward() -> tuple[Any, ...]:
        below = (2.0 * (x * a) + b) @ w
        h = np.concatenate([below, below[0] * x])
        return np.where(h > 0, h, np.float32(0.1)).mean(), below, h

    def both() -> tuple[Any, ...]:
        value, below, h = forward()
        dh = (h > 0) / np.float32(h.size)
        dbelow, dlast = dh[: len(x)], dh[len(x) :]
        dbelow[0] += (dlast * x).sum(0)
        inner = dbelow @ w.T
        return value, dlast * below[0] + 2.0 * inner * a, (2.0 * (x * a) + b).T @ dbelow, inner.sum(0)

    def check() -> dict[str, Any]:
        value, dx, dw, db = both()
        return {"value": float(value), "dx": digest(dx), "dw": digest(dw), "db": digest(db)}

    return Prepared(both if gradient else forward, check)


def rowwise(op: str, rows: int, classes: int) -> Prepared:
    """Softmax, its logarithm or cross-entropy, forward and backward."""
    x, labels, g = rowwise_inputs(rows, classes)
    index = np.arange(rows)

    def run() -> tuple[Any, Array]:
        p, log_p = _softmax(x)
        if op == "softmax":
            return p, p * (g - (g * p).sum(axis=1, keepdims=True))
        if op == "log_softmax":
            return log_p, g - p * g.sum(axis=1, keepdims=True)
        p[index, labels] -= 1
        return -log_p[index, labels].mean(), p / np.float32(rows)

    def check() -> dict[str, Any]:
        out, dx = run()
        return {"out": digest(out), "dx": digest(dx)}

    return Prepared(run, check)


def normalise(x: Array, gamma: Array, beta: Array) -> tuple[Array, Array, Array]:
    """Batch norm, and what its backward needs."""
    centred = x - x.mean(axis=0)
    scale = 1 / np.sqrt((centred * centred).mean(axis=0) + np.float32(NORM_EPS))
    unit = centred * scale
    return unit * gamma + beta, unit, scale


def normalise_back(g: Array, unit: Array, scale: Array, gamma: Array) -> tuple[Array, Array, Array]:
    """The gradients of batch norm: x, gamma, beta."""
    dgamma = (g * unit).sum(axis=0)
    dbeta = g.sum(axis=0)
    n = np.float32(len(g))
    return gamma * scale * (g - dbeta / n - unit * (dgamma / n)), dgamma, dbeta


def batch_norm(rows: int, features: int, relu: bool) -> Prepared:
    """Batch norm over the rows, perhaps ReLU, forward and backward."""
    x, gamma, beta, cotangent = batch_norm_inputs(rows, features)

    def run() -> tuple[Array, Array, Array, Array]:
        y, unit, scale = normalise(x, gamma, beta)
        g = cotangent
        if relu:
            y = np.maximum(y, 0)
            g = g * (y > 0)
        return (y, *normalise_back(g, unit, scale, gamma))

    def check() -> dict[str, Any]:
        return dict(zip(("y", "dx", "dgamma", "dbeta"), map(digest, run()), strict=True))

    return Prepared(run, check)


def power(exponent: int) -> Prepared:
    """x to a whole power, forward and backward, as one would write it."""
    x, g = power_inputs()

    def run() -> tuple[Array, Array]:
        return np.power(x, exponent), g * (exponent * np.power(x, exponent - 1))

    def check() -> dict[str, Any]:
        y, dx = run()
        return {"y": digest(y), "dx": digest(dx)}

    return Prepared(run, check)


def taking(count: int, columns: int, rows: int) -> Prepared:
    """Rows of a table, forward and backward, as one would write it."""
    table, ids, g = taking_inputs(count, columns, rows)

    def run() -> tuple[Array, Array]:
        back = np.zeros_like(table)
        np.add.at(back, ids, g)
        return table[ids], back

    def check() -> dict[str, Any]:
        y, dx = run()
        return {"y": digest(y), "dx": digest(dx)}

    return Prepared(run, check)


def step(size: str) -> Prepared:
    """A training step of the network with Adam."""
    problem = network(size)
    layers = problem.layers
    first = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
    second = [{k: np.zeros_like(v) for k, v in layer.items()} for layer in layers]
    count = 0

    def one(i: int) -> float:
        nonlocal count
        x, labels = problem.inputs[i], problem.labels[i]
        kept = []
        for layer in layers[:-1]:
            y, unit, scale = normalise(x @ layer["weight"], layer["gamma"], layer["beta"])
            kept.append((x, unit, scale, y))
            x = np.maximum(y, 0)
        p, log_p = _softmax(x @ layers[-1]["weight"] + layers[-1]["bias"])
        rows = np.arange(len(x))
        loss = -log_p[rows, labels].mean()
        p[rows, labels] -= 1
        g = p / np.float32(len(x))
        gradients = [{"weight": x.T @ g, "bias": g.sum(axis=0)}]
        g = g @ layers[-1]["weight"].T
        for depth in range(len(layers) - 2, -1, -1):
            x, unit, scale, y = kept[depth]
            g, dgamma, dbeta = normalise_back(g * (y > 0), unit, scale, layers[depth]["gamma"])
            gradients.insert(0, {"weight": x.T @ g, "gamma": dgamma, "beta": dbeta})
            if depth:
                g = g @ layers[depth]["weight"].T
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


def per_example(size: str) -> Prepared:
    """The gradient of every example of a batch."""
    x, labels, parameters = perceptron(size)
    depth, index = len(parameters) // 2, np.arange(len(x))

    def run() -> dict[str, Array]:
        kept = [x]
        for i in range(depth):
            h = kept[-1] @ parameters[f"w{i}"] + parameters[f"b{i}"]
            kept.append(np.maximum(h, 0) if i + 1 < depth else h)
        g, _ = _softmax(kept.pop())
        g[index, labels] -= 1
        found = {}
        for i in reversed(range(depth)):
            found |= {f"w{i}": kept[i][:, :, None] * g[:, None, :], f"b{i}": g}
            g = (g @ parameters[f"w{i}"].T) * (kept[i] > 0)
        return found

    return Prepared(run, lambda: mean_digests(run()))


def jacobian(size: str) -> Prepared:
    """All derivatives of the logits of one example, backwards from an identity."""
    inputs, _, parameters = perceptron(size)
    depth = len(parameters) // 2

    def run() -> Array:
        kept = [inputs[0]]
        for i in range(depth - 1):
            kept.append(np.maximum(kept[-1] @ parameters[f"w{i}"] + parameters[f"b{i}"], 0))
        g = parameters[f"w{depth - 1}"].T
        for i in reversed(range(depth - 1)):
            g = (g * (kept[i + 1] > 0)) @ parameters[f"w{i}"].T
        return g

    return Prepared(run, lambda: {"jacobian": digest(run())})


PROBLEMS = {
    "chain": chain, "mix": mix, "rowwise": rowwise, "batch_norm": batch_norm, "power": power, "taking": taking,
    "step": step,
    "per_example": per_example,
    "jacobian": jacobian,
}  # fmt: skip

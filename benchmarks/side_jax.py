"""JAX, compiled: every problem is one jitted function, and a run waits for its result."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems import (
    ADAM_EPS,
    BETAS,
    LEARNING_RATE,
    NORM_EPS,
    Prepared,
    batch_norm_inputs,
    digest,
    mean_digests,
    network,
    networks,
    perceptron,
    rowwise_inputs,
    training,
)


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {"library": "jax", "version": jax.__version__, "numpy": np.__version__}


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Mean cross-entropy of integer labels."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits, axis=1), labels[:, None], axis=1).mean()


def normalise(x: Any, gamma: Any, beta: Any) -> Any:
    """Batch norm over the rows."""
    mean = x.mean(axis=0)
    variance = jnp.square(x - mean).mean(axis=0)
    return (x - mean) * jax.lax.rsqrt(variance + NORM_EPS) * gamma + beta


def rowwise(op: str, rows: int, classes: int) -> Prepared:
    """Softmax, its logarithm or cross-entropy, forward and backward."""
    x, labels, g = map(jnp.asarray, rowwise_inputs(rows, classes))
    if op == "softmax_cross_entropy":
        both = jax.jit(jax.value_and_grad(cross_entropy))

        def run() -> Any:
            return jax.block_until_ready(both(x, labels))

    else:
        function = jax.nn.softmax if op == "softmax" else jax.nn.log_softmax

        @jax.jit
        def pulled(x: Any, g: Any) -> Any:
            out, pullback = jax.vjp(function, x)
            return out, pullback(g)[0]

        def run() -> Any:
            return jax.block_until_ready(pulled(x, g))

    def check() -> dict[str, Any]:
        out, dx = run()
        return {"out": digest(out), "dx": digest(dx)}

    return Prepared(run, check)


def batch_norm(rows: int, features: int, relu: bool) -> Prepared:
    """Batch norm over the rows, perhaps ReLU, forward and backward."""
    x, gamma, beta, g = map(jnp.asarray, batch_norm_inputs(rows, features))

    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        y = normalise(x, gamma, beta)
        return jax.nn.relu(y) if relu else y

    @jax.jit
    def both(x: Any, gamma: Any, beta: Any, g: Any) -> Any:
        y, pullback = jax.vjp(forward, x, gamma, beta)
        return (y, *pullback(g))

    def run() -> Any:
        return jax.block_until_ready(both(x, gamma, beta, g))

    def check() -> dict[str, Any]:
        return dict(zip(("y", "dx", "dgamma", "dbeta"), map(digest, run()), strict=True))

    return Prepared(run, check)


def network_loss(layers: Any, x: Any, labels: Any) -> Any:
    """The loss of a batch."""
    for layer in layers[:-1]:
        x = jax.nn.relu(normalise(x @ layer["weight"], layer["gamma"], layer["beta"]))
    return cross_entropy(x @ layers[-1]["weight"] + layers[-1]["bias"], labels)


def update(state: Any, x: Any, labels: Any) -> Any:
    """A whole training step: the loss, and the state after it."""
    layers, first, second, count = state
    loss, gradients = jax.value_and_grad(network_loss)(layers, x, labels)
    count = count + 1
    b1, b2 = BETAS
    first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, second, gradients)
    rate = LEARNING_RATE / (1 - b1**count)
    root = jax.lax.rsqrt(1 - b2**count)
    layers = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * root + ADAM_EPS), layers, first, second)
    return loss, (layers, first, second, count)


def beginning(layers: Any, count: Any) -> Any:
    """The state before the first step."""
    layers = jax.tree.map(jnp.asarray, layers)
    return layers, jax.tree.map(jnp.zeros_like, layers), jax.tree.map(jnp.zeros_like, layers), count


def step(size: str) -> Prepared:
    """A whole training step as one compiled function; parameters and moments are donated to it."""
    problem = network(size)
    compiled = jax.jit(update, donate_argnums=0)
    state: Any = beginning(problem.layers, jnp.float32(0))
    inputs, labels = list(map(jnp.asarray, problem.inputs)), list(map(jnp.asarray, problem.labels))

    def one(i: int) -> float:
        nonlocal state
        loss, state = compiled(state, inputs[i], labels[i])
        jax.block_until_ready(state)
        return float(loss)

    return training(one)


def net(name: str) -> Prepared:
    """A training step."""
    from benchmarks.nets_jax import prepared

    return prepared(name)


def predict(name: str, count: int) -> Prepared:
    """A forward at test time."""
    from benchmarks.nets_jax import predicting

    return predicting(name, count)


def ensemble(size: str) -> Prepared:
    """The step of one network, mapped over many and compiled, for all epochs."""
    epochs, problem = networks(size)
    count = len(problem.layers[0]["weight"])
    compiled = jax.jit(jax.vmap(update, (0, None, None)), donate_argnums=0)
    inputs, labels = list(map(jnp.asarray, problem.inputs)), list(map(jnp.asarray, problem.labels))

    def run() -> Any:
        state: Any = beginning(problem.layers, jnp.zeros(count, jnp.float32))
        losses = []
        for _ in range(epochs):
            for x, y in zip(inputs, labels, strict=True):
                loss, state = compiled(state, x, y)
                losses.append(np.asarray(loss))
        return np.stack(losses).reshape(epochs, len(inputs), count).mean(1).T

    return Prepared(run, lambda: {"losses": digest(run())})


def per_example(size: str) -> Prepared:
    """The gradient of every example of a batch, compiled."""
    x, labels, arrays = perceptron(size)
    parameters = jax.tree.map(jnp.asarray, arrays)
    depth = len(arrays) // 2

    def loss(parameters: Any, h: Any, label: Any) -> Any:
        for i in range(depth):
            h = h @ parameters[f"w{i}"] + parameters[f"b{i}"]
            h = jax.nn.relu(h) if i + 1 < depth else h
        return -jax.nn.log_softmax(h)[label]

    mapped = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))
    data = jnp.asarray(x), jnp.asarray(labels)

    def run() -> Any:
        return jax.block_until_ready(mapped(parameters, *data))

    return Prepared(run, lambda: mean_digests(run()))


PROBLEMS = {
    "rowwise": rowwise,
    "batch_norm": batch_norm,
    "step": step,
    "ensemble": ensemble,
    "net": net,
    "predict": predict,
    "per_example": per_example,
}

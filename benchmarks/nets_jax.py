"""The networks of `nets` in JAX: the whole step compiled, parameters and moments donated to it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.nets import NETS, Layers, Net, batches, examples, weights
from benchmarks.problems import ADAM_EPS, BETAS, LEARNING_RATE, NORM_EPS, Prepared, digest, training

__all__ = ["predicting", "prepared"]


def normalised(x: Any, axis: int, w: Any, path: str) -> Any:
    """Zero mean and unit variance along an axis, or those of a training where there are, scaled and shifted."""
    if f"{path}running_mean" in w:
        mean, var = w[f"{path}running_mean"], w[f"{path}running_var"]
    else:
        mean = x.mean(axis, keepdims=True)
        var = ((x - mean) ** 2).mean(axis, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + NORM_EPS) * w[f"{path}weight"] + w[f"{path}bias"]


def linear(x: Any, w: Any, path: str) -> Any:
    """x times the weight, and the bias where there is one."""
    out = x @ w[f"{path}weight"].T
    return out + w[f"{path}bias"] if f"{path}bias" in w else out


def lstm(x: Any, w: Any, path: str) -> Any:
    """The last output of an LSTM."""
    inputs = x @ w[f"{path}weight_ih_l0"].T + w[f"{path}bias_ih_l0"] + w[f"{path}bias_hh_l0"]
    units = w[f"{path}weight_hh_l0"].shape[1]

    def cell(state: Any, row: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(row + h @ w[f"{path}weight_hh_l0"].T, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zero = jnp.zeros((x.shape[0], units), x.dtype)
    (h, _), _ = jax.lax.scan(cell, (zero, zero), inputs.swapaxes(0, 1))
    return h


def encoder(x: Any, w: Any, path: str, dim: int, heads: int) -> Any:
    """A transformer's layer: attention and a perceptron, each added and normalised."""
    both = x @ w[f"{path}self_attn.in_proj_weight"].T + w[f"{path}self_attn.in_proj_bias"]
    query, key, value = (
        a.reshape(*a.shape[:2], heads, dim // heads).transpose(0, 2, 1, 3) for a in jnp.split(both, 3, axis=-1)
    )
    scores = jax.nn.softmax(query @ key.swapaxes(-1, -2) / (dim // heads) ** 0.5)
    mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(x.shape)
    x = normalised(x + linear(mixed, w, f"{path}self_attn.out_proj."), -1, w, f"{path}norm1.")
    hidden = jax.nn.relu(linear(x, w, f"{path}linear1."))
    return normalised(x + linear(hidden, w, f"{path}linear2."), -1, w, f"{path}norm2.")


def forward(layers: Layers, x: Any, w: Any, key: Any, prefix: str = "") -> Any:
    """The network."""
    activations = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": lambda x: jax.nn.gelu(x, approximate=False)}
    for n, (kind, *numbers) in enumerate(layers):
        path = f"{prefix}{n}."
        if kind in activations:
            x = activations[kind](x)
        elif kind == "linear":
            x = linear(x, w, path)
        elif kind in ("batch_norm", "layer_norm"):
            x = normalised(x, 0 if kind == "batch_norm" else -1, w, path)
        elif kind == "dropout":
            key, own = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(own, 1 - numbers[0], x.shape), x / (1 - numbers[0]), 0.0)
        elif kind == "conv":
            x = jax.lax.conv_general_dilated(x, w[f"{path}weight"], (1, 1), "VALID")
            x = x + w[f"{path}bias"][:, None, None]
        elif kind == "max_pool":
            size = (1, 1, numbers[0], numbers[0])
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, size, size, "VALID")
        elif kind == "flatten":
            x = x.reshape(x.shape[0], -1)
        elif kind == "mean":
            x = x.mean(1)
        elif kind == "lstm":
            x = lstm(x, w, path)
        elif kind == "encoder":
            x = encoder(x, w, path, numbers[0], numbers[1])
        elif kind == "residual":
            x = x + forward(numbers[0], x, w, key, path)
    return x


def prepared(name: str) -> Prepared:
    """A training step with Adam."""
    net: Net = NETS[name]
    if net.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    w = {k: jnp.asarray(v) for k, v in weights(net).items() if "running" not in k}
    zeros = {k: jnp.zeros_like(v) for k, v in w.items()}
    state: Any = (w, zeros, {k: jnp.zeros_like(v) for k, v in w.items()}, jnp.float32(0))
    x, y = (list(map(jnp.asarray, a)) for a in batches(net))

    def loss_of(w: Any, x: Any, y: Any, key: Any) -> Any:
        out = forward(net.layers, x, w, key)
        if not net.classes:
            return ((out - y) ** 2).mean()
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1))

    def step(state: Any, x: Any, y: Any) -> Any:
        w, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(w, x, y, jax.random.PRNGKey(t.astype(jnp.int32)))
        t = t + 1
        b1, b2 = BETAS
        root, rate = jnp.sqrt(1 - b2**t), LEARNING_RATE / (1 - b1**t)
        m = {k: b1 * m[k] + (1 - b1) * g[k] for k in w}
        v = {k: b2 * v[k] + (1 - b2) * g[k] ** 2 for k in w}
        new = {k: w[k] - (rate * m[k] / (jnp.sqrt(v[k]) / root + ADAM_EPS)).astype(w[k].dtype) for k in w}
        return loss, (new, m, v, t)

    compiled = jax.jit(step, donate_argnums=0)

    def one(i: int) -> float:
        nonlocal state
        loss, state = compiled(state, x[i], y[i])
        jax.block_until_ready(state)
        return float(loss)

    return training(one, len(x), "dropout" not in name)


def predicting(name: str, count: int) -> Prepared:
    """What the network says of examples at test time, the weights being constants of the compiled function."""
    net = NETS[name]
    w = {k: jnp.asarray(v) for k, v in weights(net).items()}
    predict = jax.jit(lambda x: forward(net.layers, x, w, None))
    x = jnp.asarray(examples(net, count))

    def run() -> Any:
        return jax.block_until_ready(predict(x))

    return Prepared(run, lambda: {"out": digest(run())})

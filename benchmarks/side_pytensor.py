"""PyTensor, the whole step compiled by its Numba mode: networks of Linear, batch norm and activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt

from benchmarks.nets import NETS, Net, batches, examples, weights
from benchmarks.problems import ADAM_EPS, BETAS, LEARNING_RATE, NORM_EPS, Prepared, digest, training

__all__ = ["PROBLEMS", "describe"]

KINDS = {"linear", "batch_norm", "relu", "tanh"}


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {"library": "pytensor", "version": pytensor.__version__, "numpy": np.__version__}


def forward(net: Net, x: Any, w: Any) -> Any:
    """The network."""
    for n, (kind, *_) in enumerate(net.layers):
        if kind == "linear":
            x = x @ w[f"{n}.weight"].T
            x = x + w[f"{n}.bias"] if f"{n}.bias" in w else x
        elif kind == "batch_norm":
            mean = w[f"{n}.running_mean"] if f"{n}.running_mean" in w else x.mean(0)
            var = w[f"{n}.running_var"] if f"{n}.running_var" in w else ((x - mean) ** 2).mean(0)
            x = (x - mean) / pt.sqrt(var + np.asarray(NORM_EPS, net.dtype)) * w[f"{n}.weight"] + w[f"{n}.bias"]
        else:
            x = pt.maximum(x, 0) if kind == "relu" else pt.tanh(x)
    return x


def problem_of(name: str) -> Net:
    """A network that can be written here."""
    problem = NETS[name]
    if not {layer[0] for layer in problem.layers} <= KINDS:
        raise NotImplementedError(f"{name} has layers that this side does not write")
    pytensor.config.floatX = problem.dtype
    return problem


def predict(name: str, count: int) -> Prepared:
    """What the network says of examples at test time."""
    problem = problem_of(name)
    w = {k: pytensor.shared(v, k) for k, v in weights(problem).items()}
    x = pt.matrix("x", dtype=problem.dtype)
    compiled = pytensor.function([x], forward(problem, x, w), mode="NUMBA")
    given = examples(problem, count)
    return Prepared(lambda: compiled(given), lambda: {"out": digest(compiled(given))})


def net(name: str) -> Prepared:
    """A training step with Adam on shared variables."""
    problem = problem_of(name)
    dtype = problem.dtype
    w = {k: pytensor.shared(v.copy(), k) for k, v in weights(problem).items() if "running" not in k}
    x, y = pt.matrix("x", dtype=dtype), pt.lvector("y") if problem.classes else pt.matrix("y", dtype=dtype)
    out = forward(problem, x, w)
    if problem.classes:
        shifted = out - out.max(1, keepdims=True)
        log_p = shifted - pt.log(pt.exp(shifted).sum(1, keepdims=True))
        loss = -log_p[pt.arange(y.shape[0]), y].mean()
    else:
        loss = ((out - y) ** 2).mean()
    t = pytensor.shared(np.asarray(0, dtype), "t")
    b1, b2 = (np.asarray(b, dtype) for b in BETAS)
    one = np.asarray(1, dtype)
    after = t + one
    updates: list[Any] = [(t, after)]
    for p, g in zip(w.values(), pt.grad(loss, list(w.values())), strict=True):
        m, v = (pytensor.shared(np.zeros_like(p.get_value())) for _ in range(2))
        m1, v1 = b1 * m + (one - b1) * g, b2 * v + (one - b2) * g * g
        rate = np.asarray(LEARNING_RATE, dtype) / (one - b1**after)
        step = rate * m1 / (pt.sqrt(v1) / pt.sqrt(one - b2**after) + np.asarray(ADAM_EPS, dtype))
        updates += [(m, m1), (v, v1), (p, p - step)]
    compiled = pytensor.function([x, y], loss, updates=updates, mode="NUMBA")
    inputs, targets = batches(problem)
    return training(lambda i: float(compiled(inputs[i], targets[i])), len(inputs), True)


PROBLEMS = {"net": net, "predict": predict}

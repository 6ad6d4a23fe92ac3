"""PyTorch, eager."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.ops import function_of, prepared
from benchmarks.problems import (
    ADAM_EPS,
    BETAS,
    LEARNING_RATE,
    NORM_EPS,
    Prepared,
    batch_norm_inputs,
    chain_input,
    digest,
    mean_digests,
    mixed_inputs,
    network,
    networks,
    perceptron,
    power_inputs,
    rowwise_inputs,
    taking_inputs,
    training,
)

if os.environ.get("BENCHMARK_THREADS"):
    torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    threads = torch.get_num_threads()
    return {"library": "torch", "version": torch.__version__, "numpy": np.__version__, "threads": threads}


def leaf(array: Any) -> torch.Tensor:
    """A tensor that asks for a gradient."""
    return torch.from_numpy(array.copy()).requires_grad_()


def chain(length: int, gradient: bool) -> Prepared:
    """y = tanh(y x), many times, and a sum."""
    x = leaf(chain_input())
    tanh = torch.tanh

    def forward() -> torch.Tensor:
        y = x
        for _ in range(length):
            y = tanh(y * x)
        return y.sum()

    def both() -> torch.Tensor:
        x.grad = None
        value = forward()
        value.backward()
        return value

    def check() -> dict[str, Any]:
        value = both().item()
        assert x.grad is not None
        return {"value": value, "dx": digest(x.grad)} if gradient else {"value": value}

    return Prepared(both if gradient else forward, check)


def mix(gradient: bool) -> Prepared:
    """What ordinary code is made of; PyTorch takes an array through ``from_numpy``."""
    x0, a, w0, row = mixed_inputs()
    x, w, b = leaf(x0), nn.Parameter(torch.from_numpy(w0.copy())), nn.Parameter(torch.from_numpy(row.copy()))

    def forward() -> torch.Tensor:
        h = (2.0 * (x * torch.from_numpy(a)) + b) @ w
        h = torch.cat([h, h[0] * x])
        return torch.where(h > 0, h, 0.1).mean()

    def both() -> torch.Tensor:
        x.grad = w.grad = b.grad = None
        value = forward()
        value.backward()
        return value

    def check() -> dict[str, Any]:
        value = both().item()
        assert x.grad is not None and w.grad is not None and b.grad is not None
        return {"value": value, "dx": digest(x.grad), "dw": digest(w.grad), "db": digest(b.grad)}

    return Prepared(both if gradient else forward, check)


def rowwise(op: str, rows: int, classes: int) -> Prepared:
    """Softmax, its logarithm or cross-entropy, forward and backward."""
    logits, targets, cotangent = rowwise_inputs(rows, classes)
    x, labels, g = leaf(logits), torch.from_numpy(targets), torch.from_numpy(cotangent)

    def cross_entropy() -> torch.Tensor:
        x.grad = None
        loss = F.cross_entropy(x, labels)
        loss.backward()
        return loss

    def activation() -> torch.Tensor:
        x.grad = None
        out = function(x, 1)
        out.backward(g)
        return out

    function = F.softmax if op == "softmax" else F.log_softmax
    run = cross_entropy if op == "softmax_cross_entropy" else activation

    def check() -> dict[str, Any]:
        out = run()
        return {"out": digest(out.detach()), "dx": digest(x.grad)}

    return Prepared(run, check)


def batch_norm(rows: int, features: int, relu: bool) -> Prepared:
    """Batch norm over the rows, perhaps ReLU, forward and backward."""
    *arrays, cotangent = batch_norm_inputs(rows, features)
    x, gamma, beta = map(leaf, arrays)
    g = torch.from_numpy(cotangent)

    def run() -> torch.Tensor:
        x.grad = gamma.grad = beta.grad = None
        y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=NORM_EPS)
        if relu:
            y = F.relu(y)
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        y = run()
        return {"y": digest(y.detach()), "dx": digest(x.grad), "dgamma": digest(gamma.grad), "dbeta": digest(beta.grad)}

    return Prepared(run, check)


def power(exponent: int) -> Prepared:
    """x to a whole power, forward and backward."""
    numbers, cotangent = power_inputs()
    x, g = leaf(numbers), torch.from_numpy(cotangent)

    def run() -> torch.Tensor:
        x.grad = None
        y = x**exponent
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        return {"y": digest(run().detach()), "dx": digest(x.grad)}

    return Prepared(run, check)


def taking(count: int, columns: int, rows: int) -> Prepared:
    """Rows of a table, forward and backward."""
    numbers, where, cotangent = taking_inputs(count, columns, rows)
    table, ids, g = leaf(numbers), torch.from_numpy(where), torch.from_numpy(cotangent)

    def run() -> torch.Tensor:
        table.grad = None
        y = table[ids]
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        return {"y": digest(run().detach()), "dx": digest(table.grad)}

    return Prepared(run, check)


def step(size: str) -> Prepared:
    """A training step of the network with the fused Adam."""
    problem = network(size)
    modules: list[nn.Module] = []
    with torch.no_grad():
        for layer in problem.layers:
            linear = nn.Linear(*layer["weight"].shape, bias="bias" in layer)
            linear.weight.copy_(torch.from_numpy(layer["weight"].T))
            modules.append(linear)
            if "bias" in layer:
                linear.bias.zero_()
            else:
                modules += [nn.BatchNorm1d(len(layer["gamma"]), eps=NORM_EPS), nn.ReLU()]
    model = nn.Sequential(*modules)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=ADAM_EPS, fused=True)
    inputs, labels = list(torch.from_numpy(problem.inputs)), list(torch.from_numpy(problem.labels))

    def one(i: int) -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs[i]), labels[i])
        loss.backward()
        optimizer.step()
        return loss.item()

    return training(one)


def net(name: str) -> Prepared:
    """A training step, eager."""
    from benchmarks.nets_torch import prepared

    return prepared(name, compiled=False)


def held(name: str) -> Prepared:
    """The memory of a training step."""
    from benchmarks.nets_torch import held

    return held(name)


def predict(name: str, count: int) -> Prepared:
    """A forward at test time."""
    from benchmarks.nets_torch import predicting

    return predicting(name, count, compiled=False)


def ensemble(size: str) -> Prepared:
    """Networks side by side by torch.func, with the fused Adam on parameters that are stacked."""
    epochs, problem = networks(size)
    inputs, labels = list(torch.from_numpy(problem.inputs)), list(torch.from_numpy(problem.labels))

    def loss(layers: list[dict[str, torch.Tensor]], h: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for layer in layers[:-1]:
            h = F.batch_norm(h @ layer["weight"], None, None, layer["gamma"], layer["beta"], True, eps=NORM_EPS)
            h = F.relu(h)
        return F.cross_entropy(h @ layers[-1]["weight"] + layers[-1]["bias"], y)

    mapped = torch.func.vmap(torch.func.grad_and_value(loss), (0, None, None))

    def run() -> Any:
        layers = [{name: torch.tensor(a) for name, a in layer.items()} for layer in problem.layers]
        flat = [p for layer in layers for p in layer.values()]
        optimizer = torch.optim.Adam(flat, lr=LEARNING_RATE, betas=BETAS, eps=ADAM_EPS, fused=True)
        losses = []
        for _ in range(epochs):
            for x, y in zip(inputs, labels, strict=True):
                gradients, value = mapped(layers, x, y)
                for p, g in zip(flat, [g for layer in gradients for g in layer.values()], strict=True):
                    p.grad = g
                optimizer.step()
                losses.append(value)
        return torch.stack(losses).reshape(epochs, len(inputs), -1).mean(1).T

    return Prepared(run, lambda: {"losses": digest(run())})


def per_example(size: str) -> Prepared:
    """The gradient of every example of a batch, by torch.func."""
    x, labels, arrays = perceptron(size)
    parameters = {name: torch.from_numpy(a) for name, a in arrays.items()}
    depth = len(arrays) // 2

    def loss(parameters: dict[str, torch.Tensor], h: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        for i in range(depth):
            h = h @ parameters[f"w{i}"] + parameters[f"b{i}"]
            h = F.relu(h) if i + 1 < depth else h
        return F.cross_entropy(h, label)

    mapped = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))
    data = torch.from_numpy(x), torch.from_numpy(labels)
    return Prepared(lambda: mapped(parameters, *data), lambda: mean_digests(mapped(parameters, *data)))


def jacobian(size: str) -> Prepared:
    """All derivatives of the logits of one example by its numbers."""
    inputs, _, arrays = perceptron(size)
    parameters, x = {name: torch.from_numpy(a) for name, a in arrays.items()}, torch.from_numpy(inputs[0])
    depth = len(arrays) // 2

    def logits(h: torch.Tensor) -> torch.Tensor:
        for i in range(depth):
            h = h @ parameters[f"w{i}"] + parameters[f"b{i}"]
            h = F.relu(h) if i + 1 < depth else h
        return h

    run = torch.func.jacrev(logits)
    return Prepared(lambda: run(x), lambda: {"jacobian": digest(run(x))})


def _long_short_term(x: Any, w: Any, u: Any, b: Any) -> Any:
    zero = x.new_zeros(1, x.shape[0], u.shape[1])
    return torch._VF.lstm(x, (zero, zero), [w, u, b, torch.zeros_like(b)], True, 1, 0.0, True, False, True)[0]


OP_FUNCTIONS: dict[str, Any] = {
    "layer_norm": lambda x, gamma, beta: F.layer_norm(x, x.shape[1:], gamma, beta),
    "gelu": F.gelu,
    "embedding": lambda table, ids: F.embedding(ids, table),
    "gather": lambda x, ids: torch.gather(x, 1, ids),
    "scatter-add": lambda x, ids: torch.zeros(1000, x.shape[1]).index_add(0, ids, x),
    "cumsum": lambda x: torch.cumsum(x, 1),
    "einsum bij,bjk->bik": lambda a, b: torch.einsum("bij,bjk->bik", a, b),
    "einsum bhqd,bhkd->bhqk": lambda a, b: torch.einsum("bhqd,bhkd->bhqk", a, b),
    "x[1:, ::2]": lambda x: x[1:, ::2],
    "x[mask]": lambda x: x[x.detach() > 0],
    "sort": lambda x: torch.sort(x, 1)[0],
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
    "conv2d": lambda x, w: F.conv2d(x, w, padding=w.shape[2] // 2 if w.shape[1] == 64 else 0),
    "strided conv2d": lambda x, w: F.conv2d(x, w, stride=2, padding=1),
    "depthwise conv2d": lambda x, w: F.conv2d(x, w, padding=1, groups=len(w)),
    "conv_transpose2d": lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
    "batch_norm": lambda x, gamma, beta: F.batch_norm(x, None, None, gamma, beta, True),
    "attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
    "causal": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "lstm": _long_short_term,
}


def op(name: str) -> Prepared:
    """An op of the catalogue, forward and backward."""
    return prepared(
        name, function_of(OP_FUNCTIONS, name), leaf, torch.from_numpy, lambda t: t.detach().numpy(),
        turned=(1, 2) if name.startswith("lstm") else (),
    )  # fmt: skip


PROBLEMS = {
    "chain": chain, "mix": mix, "rowwise": rowwise, "batch_norm": batch_norm, "power": power, "taking": taking,
    "step": step, "ensemble": ensemble, "net": net,
    "predict": predict, "held": held,
    "per_example": per_example,
    "jacobian": jacobian, "op": op,
}  # fmt: skip

"""tensorgraph, through its public API: tape, checks, fresh outputs and ``backward()`` included."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgraph as tg
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


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    from importlib.metadata import version

    return {"library": "tensorgraph", "version": tg.__version__, "numpy": np.__version__, "numba": version("numba")}


def chain(length: int, gradient: bool) -> Prepared:
    """y = tanh(y x), many times, and a sum."""
    x = tg.tensor(chain_input(), requires_grad=True)
    tanh = tg.tanh

    def forward() -> tg.Tensor:
        y = x
        for _ in range(length):
            y = tanh(y * x)
        return y.sum()

    def both() -> tg.Tensor:
        x.zero_grad()
        value = forward()
        value.backward()
        return value

    def check() -> dict[str, Any]:
        value = float(both())
        return {"value": value, "dx": digest(x.grad)} if gradient else {"value": value}

    return Prepared(both if gradient else forward, check)


def mix(gradient: bool) -> Prepared:
    """What ordinary code is made of."""
    x0, a, w0, row = mixed_inputs()
    x, w, b = tg.tensor(x0, requires_grad=True), tg.Parameter(w0), tg.Parameter(row)

    def forward() -> tg.Tensor:
        h = (2.0 * (x * a) + b) @ w
        h = tg.concatenate([h, h[0] * x])
        return tg.where(h > 0, h, 0.1).mean()

    def both() -> tg.Tensor:
        for leaf in (x, w, b):
            leaf.zero_grad()
        value = forward()
        value.backward()
        return value

    def check() -> dict[str, Any]:
        value = both()
        return {"value": float(value), "dx": digest(x.grad), "dw": digest(w.grad), "db": digest(b.grad)}

    return Prepared(both if gradient else forward, check)


def operand(kind: str) -> Prepared:
    """One call with an operand that is no tensor, or of an op of another kind than a product."""
    a, square = np.ones(4, np.float32), np.ones((4, 4), np.float32)
    x, m = tg.tensor(a, requires_grad=True), tg.tensor(square, requires_grad=True)
    p, q = tg.Parameter(a), tg.Parameter(square)
    f32, f64, i64, zero_d = np.float32(2), np.float64(2), np.int64(0), np.array(2.0, np.float32)
    integers, index, mask = tg.tensor([1, 2, 3, 4]), np.array([0, 2]), a > 0
    condition, state = tg.tensor(mask), tg.tensor(np.array([1, 2, 3], np.uint64))
    uniform = tg.CATALOGUE["uniform"].public
    calls: dict[str, Any] = {
        "2.0 * parameter": lambda: 2.0 * p,
        "tensor * array": lambda: x * a,
        "array * tensor": lambda: a * x,
        "array @ parameter": lambda: square @ q,
        "tensor * 0-d array": lambda: x * zero_d,
        "tensor * np.float32": lambda: x * f32,
        "np.float64 * tensor": lambda: f64 * x,
        "tensor * True": lambda: x * True,
        "integers * np.int64": lambda: integers * i64,
        "exp(array)": lambda: tg.exp(a),
        "x[0]": lambda: x[0],
        "x[1:]": lambda: x[1:],
        "x[array]": lambda: x[index],
        "concatenate": lambda: tg.concatenate([x, a]),
        "stack": lambda: tg.stack([x, x]),
        "astype": lambda: x.astype(np.float64),
        "sum(axis=np.int64)": lambda: m.sum(axis=i64),
        "where(c, x, 0.0)": lambda: tg.where(condition, x, 0.0),
        "where(array, 1.0, x)": lambda: tg.where(mask, 1.0, x),
        "x.T": lambda: m.T,
        "x.mT": lambda: m.mT,
        "reshape": lambda: m.reshape(2, 8),
        "transpose": lambda: m.transpose(1, 0),
        "split": lambda: tg.split(x, sizes=(2, 2)),
        "sort": lambda: tg.sort(x),
        "uniform": lambda: uniform(state, shape=(4,)),
    }
    return Prepared(calls[kind], dict)


def rowwise(op: str, rows: int, classes: int) -> Prepared:
    """Softmax, its logarithm or cross-entropy, forward and backward."""
    logits, targets, cotangent = rowwise_inputs(rows, classes)
    x = tg.tensor(logits, requires_grad=True)
    labels, g = tg.tensor(targets), tg.tensor(cotangent)

    def cross_entropy() -> tg.Tensor:
        x.zero_grad()
        loss = tg.softmax_cross_entropy(x, labels)
        loss.backward()
        return loss

    def activation() -> tg.Tensor:
        x.zero_grad()
        out = function(x)
        out.backward(g)
        return out

    function = tg.softmax if op == "softmax" else tg.log_softmax
    run = cross_entropy if op == "softmax_cross_entropy" else activation

    def check() -> dict[str, Any]:
        return {"out": digest(run().numpy()), "dx": digest(x.grad)}

    return Prepared(run, check)


def batch_norm(rows: int, features: int, relu: bool) -> Prepared:
    """Batch norm over the rows, perhaps ReLU, forward and backward."""
    *arrays, cotangent = batch_norm_inputs(rows, features)
    x, gamma, beta = (tg.tensor(a, requires_grad=True) for a in arrays)
    g = tg.tensor(cotangent)
    function = tg.batch_norm_relu if relu else tg.batch_norm

    def run() -> tg.Tensor:
        for leaf in (x, gamma, beta):
            leaf.zero_grad()
        y, _, _ = function(x, gamma, beta, eps=NORM_EPS)
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        y = run()
        return {"y": digest(y.numpy()), "dx": digest(x.grad), "dgamma": digest(gamma.grad), "dbeta": digest(beta.grad)}

    return Prepared(run, check)


def power(exponent: int) -> Prepared:
    """x to a whole power, forward and backward."""
    numbers, cotangent = power_inputs()
    x, g = tg.tensor(numbers, requires_grad=True), tg.tensor(cotangent)

    def run() -> tg.Tensor:
        x.zero_grad()
        y = x**exponent
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        return {"y": digest(run().numpy()), "dx": digest(x.grad)}

    return Prepared(run, check)


def taking(count: int, columns: int, rows: int) -> Prepared:
    """Rows of a table, forward and backward."""
    numbers, where, cotangent = taking_inputs(count, columns, rows)
    table, ids, g = tg.tensor(numbers, requires_grad=True), tg.tensor(where), tg.tensor(cotangent)

    def run() -> tg.Tensor:
        table.zero_grad()
        y = table[ids]
        y.backward(g)
        return y

    def check() -> dict[str, Any]:
        return {"y": digest(run().numpy()), "dx": digest(table.grad)}

    return Prepared(run, check)


def sequential(layers: Any) -> Any:
    """The network with these first numbers."""
    from tensorgraph import nn

    modules: list[Any] = []
    for layer in layers:
        linear = nn.Linear(*layer["weight"].shape, bias="bias" in layer)
        linear.weight.assign(layer["weight"])
        modules.append(linear)
        if "bias" in layer:
            linear.bias.assign(layer["bias"])
        else:
            modules += [nn.BatchNorm(len(layer["gamma"]), eps=NORM_EPS), nn.ReLU()]
    return nn.Sequential(*modules)


def adam(parameters: Any) -> Any:
    """The optimiser that all sides have."""
    from tensorgraph import optim

    return optim.Adam(parameters, LEARNING_RATE, beta1=BETAS[0], beta2=BETAS[1], eps=ADAM_EPS)


def samples(problem: Any) -> tuple[Any, Any, int]:
    """The mini-batches of a problem one after another, and their size."""
    return problem.inputs.reshape(-1, problem.inputs.shape[-1]), problem.labels.reshape(-1), problem.inputs.shape[1]


def ensemble(size: str) -> Prepared:
    """Networks side by side, from their making to their last epoch."""
    from tensorgraph import tune

    epochs, problem = networks(size)
    x, y, batch_size = samples(problem)
    settings = [{"seed": k} for k in range(len(problem.layers[0]["weight"]))]

    def make(seed: int) -> Any:
        return sequential([{name: a[seed] for name, a in layer.items()} for layer in problem.layers])

    def run() -> Any:
        return tune.ensemble(
            make, (x, y), settings=settings, optimizer=adam, epochs=epochs, batch_size=batch_size, shuffle=False,
            metrics=(),
        )  # fmt: skip

    return Prepared(run, lambda: {"losses": digest([history["loss"] for history in run().histories])})


def step(size: str) -> Prepared:
    """A training step of the network as a user writes it."""
    problem = network(size)
    model = sequential(problem.layers)
    optimizer = adam(model.parameters())
    inputs = [tg.tensor(x) for x in problem.inputs]
    labels = [tg.tensor(y) for y in problem.labels]

    def one(i: int) -> float:
        optimizer.zero_grad()
        loss = tg.softmax_cross_entropy(model(inputs[i]), labels[i])
        loss.backward()
        optimizer.step()
        return float(loss)

    return training(one)


def net(name: str) -> Prepared:
    """A training step, compiled."""
    from benchmarks.nets_tensorgraph import prepared

    return prepared(name, compiled=True)


def predict(name: str, count: int) -> Prepared:
    """A forward at test time, compiled."""
    from benchmarks.nets_tensorgraph import predicting

    return predicting(name, count, compiled=True)


def small_ops(x: Any, w: Any) -> Any:
    """41 ops on small arrays."""
    h = x
    for _ in range(10):
        h = tg.tanh(h * w + 0.5) - 0.1
    return h.sum()


def small_ops_inputs(requires_grad: bool) -> list[tg.Tensor]:
    """Four numbers each."""
    return [tg.tensor(numbers, requires_grad=requires_grad) for numbers in np.split(chain_input(), 2)]


def graph(of: str) -> Prepared:
    """The graph of small ops, recording for its caller or not, or of their value and gradient, written out."""
    gradient = of == "gradient"
    arguments = small_ops_inputs(of == "recorded value")
    function = tg.value_and_grad(small_ops, argnums=(0, 1)) if gradient else small_ops
    run = tg.trace(function, *arguments).transform().bind()

    def check() -> dict[str, Any]:
        result = run(*arguments)
        if not gradient:
            return {"value": float(result)}
        value, grads = result
        return {"value": float(value), "gradients": [n for g in grads for n in digest(g)]}

    return Prepared(lambda: run(*arguments), check)


def perceptron_logits(parameters: dict[str, Any], x: Any) -> Any:
    """Linear and ReLU, of one example or of a batch."""
    depth = len(parameters) // 2
    for i in range(depth):
        x = x @ parameters[f"w{i}"] + parameters[f"b{i}"]
        x = tg.relu(x) if i + 1 < depth else x
    return x


def perceptron_loss(parameters: dict[str, Any], x: Any, labels: Any) -> Any:
    """The cross-entropy of it."""
    return tg.softmax_cross_entropy(perceptron_logits(parameters, x), labels)


def jacobian(size: str) -> Prepared:
    """All derivatives of the logits of one example by its numbers."""
    inputs, _, arrays = perceptron(size)
    parameters, x = {name: tg.tensor(a) for name, a in arrays.items()}, tg.tensor(inputs[0])
    run = tg.jacobian(lambda x: perceptron_logits(parameters, x))
    return Prepared(lambda: run(x), lambda: {"jacobian": digest(run(x).numpy())})


def per_example(size: str) -> Prepared:
    """The gradient of every example of a batch."""
    *data, arrays = perceptron(size)
    arguments = ({name: tg.tensor(a) for name, a in arrays.items()}, *map(tg.tensor, data))
    run = tg.trace(tg.vmap(tg.grad(perceptron_loss), (None, 0, 0)), *arguments).transform().bind()

    def check() -> dict[str, Any]:
        return mean_digests({name: g.numpy() for name, g in run(*arguments).items()})

    return Prepared(lambda: run(*arguments), check)


OP_FUNCTIONS: dict[str, Any] = {
    "layer_norm": lambda x, gamma, beta: tg.layer_norm(x, gamma, beta)[0],
    "gelu": tg.gelu,
    "embedding": tg.embedding,
    "gather": lambda x, ids: tg.take_along_axis(x, ids, axis=1),
    "scatter-add": lambda x, ids: tg.segment_sum(x, ids, num_segments=1000),
    "cumsum": lambda x: tg.cumsum(x, axis=1),
    "einsum bij,bjk->bik": lambda a, b: tg.einsum("bij,bjk->bik", a, b),
    "einsum bhqd,bhkd->bhqk": lambda a, b: tg.einsum("bhqd,bhkd->bhqk", a, b),
    "x[1:, ::2]": lambda x: x[1:, ::2],
    "x[mask]": lambda x: x[x.detach() > 0],
    "sort": lambda x: tg.sort(x, axis=1),
    "max_pool2d": lambda x: tg.max_pool2d(x, 2),
    "avg_pool2d": lambda x: tg.avg_pool2d(x, 2),
    "conv2d": lambda x, w: tg.conv2d(x, w, padding=w.shape[2] // 2 if w.shape[1] == 64 else 0),
    "strided conv2d": lambda x, w: tg.conv2d(x, w, stride=2, padding=1),
    "depthwise conv2d": lambda x, w: tg.conv2d(x, w, padding=1, groups=len(w)),
    "conv_transpose2d": lambda x, w: tg.conv_transpose2d(x, w, stride=2, padding=1),
    "batch_norm": lambda x, gamma, beta: tg.batch_norm(x, gamma, beta)[0],
    "attention": lambda q, k, v: tg.attention(q, k, v),
    "causal": lambda q, k, v: tg.attention(q, k, v, causal=True),
    "lstm": lambda x, w, u, b: tg.lstm(x, w, u, b)[0],
}


def op(name: str) -> Prepared:
    """An op of the catalogue, forward and backward."""
    return prepared(
        name, function_of(OP_FUNCTIONS, name), lambda a: tg.tensor(a, requires_grad=True), tg.tensor,
        lambda t: np.asarray(t.detach()),
    )  # fmt: skip


PROBLEMS = {
    "graph": graph, "chain": chain, "mix": mix, "operand": operand, "rowwise": rowwise, "batch_norm": batch_norm,
    "power": power, "taking": taking, "step": step, "ensemble": ensemble, "net": net,
    "predict": predict,
    "per_example": per_example,
    "jacobian": jacobian, "op": op,
}  # fmt: skip

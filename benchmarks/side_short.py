"""The short path, against which other calls of tensorgraph's are held: a product of two small tensors, the gradient of
a batch, a Jacobian row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgraph as tg
from benchmarks.problems import Prepared, digest, perceptron
from benchmarks.side_tensorgraph import perceptron_logits, perceptron_loss


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {"library": "short path", "version": tg.__version__, "numpy": np.__version__}


def operand(kind: str) -> Prepared:
    """The product of two tensors that want gradients, whatever is held against it."""
    x = tg.tensor(np.ones(4, np.float32), requires_grad=True)
    y = tg.tensor(np.ones(4, np.float32), requires_grad=True)

    def run() -> Any:
        return x * y

    return Prepared(run, dict)


def per_example(size: str) -> Prepared:
    """The gradient of the whole batch."""
    *data, arrays = perceptron(size)
    arguments = ({name: tg.tensor(a) for name, a in arrays.items()}, *map(tg.tensor, data))
    run = tg.trace(tg.grad(perceptron_loss), *arguments).transform().bind()

    def check() -> dict[str, Any]:
        return {name: digest(g.numpy()) for name, g in run(*arguments).items()}

    return Prepared(lambda: run(*arguments), check)


def jacobian(size: str) -> Prepared:
    """The rows of a Jacobian, pulled back one by one."""
    inputs, _, arrays = perceptron(size)
    parameters, x = {name: tg.tensor(a) for name, a in arrays.items()}, tg.tensor(inputs[0])

    def run() -> Any:
        out, pullback = tg.vjp(lambda x: perceptron_logits(parameters, x), x)
        return tg.stack([pullback(unit)[0] for unit in np.eye(out.size, dtype=np.float32)])

    return Prepared(run, lambda: {"jacobian": digest(run().numpy())})


PROBLEMS = {"operand": operand, "per_example": per_example, "jacobian": jacobian}

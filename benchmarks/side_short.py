"""The short path: a product of two small tensors, which other calls of tensorgraph's are held against."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgraph as tg
from benchmarks.problems import Prepared


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


PROBLEMS = {"operand": operand}

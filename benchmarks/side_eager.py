"""tensorgraph without a graph: what its graphs are compared with."""

from __future__ import annotations

from typing import Any

import tensorgraph as tg
from benchmarks.problems import Prepared, digest
from benchmarks.side_tensorgraph import describe, small_ops, small_ops_inputs

__all__ = ["PROBLEMS", "describe"]


def graph(of: str) -> Prepared:
    """Small ops called one after another, or their value and gradient."""
    gradient = of == "gradient"
    arguments = small_ops_inputs(of == "recorded value")
    function = tg.value_and_grad(small_ops, argnums=(0, 1)) if gradient else small_ops

    def check() -> dict[str, Any]:
        result = function(*arguments)
        if not gradient:
            return {"value": float(result)}
        value, grads = result
        return {"value": float(value), "gradients": [n for g in grads for n in digest(g)]}

    return Prepared(lambda: function(*arguments), check)


PROBLEMS = {"graph": graph}

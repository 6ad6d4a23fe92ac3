"""What a traced value that holds gradients depends on: found by running the graph so far on stand-ins.

A deferred ``gradients`` equation names all that it is asked about, but a gradient depends only on what its rules keep:
that of a linear layer does not depend on the bias. The tape knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.backward import reachable
from tensorgraph.engine.tensor import wrap
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Var
from tensorgraph.graph.program import Program

__all__ = ["reached"]


def reached(
    y: Var, roots: list[Var], inputs: list[Var], cells: list[Var], consts: dict[Var, Any], equations: list[Equation]
) -> list[Var]:
    """Those of the roots that `y` depends on as the tape would record it; all of them where that cannot be found."""
    declared = tuple(CellDecl(str(i), var, "buffer") for i, var in enumerate(cells))
    outputs = (y, *roots)
    graph = Graph(
        tuple(inputs), declared, consts, tuple(equations), (), outputs, flatten(inputs)[1], flatten(list(outputs))[1]
    )
    program = Program(graph, leaves=roots)
    with modes.use(trace=None, grad=True, cells=None, quiet=True, debug_nans=False), np.errstate(all="ignore"):
        try:
            env = program.taped([_stand_in(v.aval) for v in (*inputs, *cells)], history=True)
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError):
            return roots  # an op that refuses these numbers
    found = [env[slot] for slot in program.results]
    nodes = set() if found[0]._node is None else set(reachable([found[0]._node]))
    return [root for root, t in zip(roots, found[1:], strict=True) if t._node in nodes]


def _stand_in(aval: Aval) -> Any:
    if type(aval) is Number:
        return aval.sample
    return wrap((np.ones if aval.dtype.kind == "f" else np.zeros)(aval.shape, aval.dtype))

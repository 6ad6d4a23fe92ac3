"""A training step of many networks of one shape, compiled: forward, gradients and updates on the networks' own cells.

The plan:
1. the graph of one network's step is batched, and every network has its own part of each cell;
2. an input says which networks are trained still. Where the loss of one of these is not finite the step ends before
   anything is written, by an index that is out of range, and its networks are told from the losses that were computed;
3. the caller puts their numbers aside and takes them out, and the step is made again, to the bits of the others that
   it would have had without them. In the cells such a network goes on, to no effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.plan import Plan, plan
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.graph.trace import trace
from tensorgraph.ops.logic import isfinite
from tensorgraph.ops.shape import astype
from tensorgraph.passes.rewrite import replaced_in

__all__ = ["CompiledStep"]

Array = np.ndarray[Any, Any]


class CompiledStep:
    """The step of `size` networks.

    Parameters
    ----------
    graph : Graph
        Of one network: gives the loss first, writes cells.
    size : int
    dims : tuple of int or None
        Of its inputs: 0 where each network has its own.
    own : collection of str
        The cells that each network has for itself.
    """

    def __init__(self, graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str]) -> None:
        self.graph = guarded(graph.batched(size, dims, own=own).differentiate().simplify())
        self._lock = threading.Lock()
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        with self._lock:
            if self._plan is None:
                self._plan = plan(self.graph)
            return self._plan

    def on(self, state: Mapping[str, Cell], end: Callable[[Array], None]) -> Run:
        """What makes steps on these cells; ``end(lanes)`` is told which networks, by a mask, are taken out."""
        return Run(self, [state[decl.path] for decl in self.graph.cells], end)


class Run:
    """Makes steps of some networks."""

    def __init__(self, step: CompiledStep, cells: Sequence[Cell], end: Callable[[Array], None]) -> None:
        self.runner = NativeRunner(step.plan, cells, alone=False)
        self.end = end
        *given, loss = step.graph.outputs
        assert isinstance(loss, Var)
        self.loss, self.types = loss, [atom.aval for atom in given if isinstance(atom, Var)]

    def __call__(self, inputs: Sequence[Array], moves: Array) -> list[Array]:
        """One step of the networks that `moves` says; takes those out of it whose loss is not finite."""
        while True:
            try:
                return self.runner.run([*inputs, moves])[:-1]
            except IndexError:
                loss = self.runner.value(self.loss)
                finite = np.isfinite(loss)
                if finite[moves].all():
                    raise
                self.end(moves & ~finite)
                moves &= finite
                if not moves.any():
                    return [loss, *[np.full(aval.shape, np.nan, aval.dtype) for aval in self.types[1:]]]


def guarded(graph: Graph) -> Graph:
    """The graph with an input that says which networks are trained, whose losses must be finite; its last output is
    the losses as they are."""
    loss = graph.outputs[0]
    assert isinstance(loss, Var)
    moves = Aval(loss.aval.shape, np.dtype(np.bool_))

    def checked(loss: Any, moves: Any) -> Any:
        bad = (moves & ~isfinite.public(loss)).any()
        return loss.reshape(1, -1)[astype.public(bad, dtype="int64")]

    check = trace(checked, loss.aval, moves)
    given, asked = check.inputs
    inputs = (*graph.inputs, asked)
    outputs = (*check.outputs, *graph.outputs[1:], loss)
    return graph.replace(
        inputs=inputs, outputs=outputs, in_tree=flatten([0] * len(inputs))[1], out_tree=flatten([0] * len(outputs))[1],
        equations=(*graph.equations, *[replaced_in(eq, {given: loss}) for eq in check.equations]),
        consts={**graph.consts, **check.consts}, statics=(), arguments=(),
    ).check()  # fmt: skip

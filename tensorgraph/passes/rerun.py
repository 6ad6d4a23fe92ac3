"""A trace that goes on from a graph: on the graph's own inputs, cells and constants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.graph import Graph, Literal, Var, Write

__all__ = ["Rerun"]


class Rerun(Trace):
    """The trace of a new graph on the variables of an old one.

    Keeping the variables keeps what is known of them: live cells, captured tensors.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.inputs = list(graph.inputs)
        cells = [decl.var for decl in graph.cells]
        self.known.update(self.inputs, cells, graph.consts)
        self.varying.update(self.inputs, cells)
        captured = graph.provenance.captured
        for var, array in graph.consts.items():
            node = captured.get(var)
            self.consts[id(array), id(node)] = (var, array, node)
            if node is not None:
                constant = wrap(array)
                constant._node = node
                self.root(var, constant)
                self.captured[var] = node
        for decl in graph.cells:
            if decl.requires_grad:
                self.root(decl.var)

    def root(self, var: Var, owner: Any = None) -> None:
        """Let gradients be taken with respect to a variable that no equation makes."""
        self.differentiable.add(var)
        self.varying.add(var)
        self.leaves[var] = owner

    def stopped(self, atom: Var | Literal) -> Var | Literal:
        eq = self.producer.get(atom) if self.at is None and type(atom) is Var else None
        if eq is None:
            return super().stopped(atom)
        self.at = eq.source  # a result that is cut from its history says so where it was made
        try:
            with modes.use(call=eq.call):
                return super().stopped(atom)
        finally:
            self.at = None

    def caller(self) -> tuple[Any, bool]:
        return None, False  # the library's caller wrote none of this

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, ops emit equations here."""
        with modes.use(
            trace=self, grad=True, call=None, implementation="fused", cells=None, quiet=False, debug_nans=False
        ):
            yield

    def tensors(self, variables: Sequence[Var]) -> list[Tensor]:
        return [self.tensor(var) for var in variables]

    def arguments(self) -> list[Any]:
        """The graph's arguments: traced values and statics, nested as they were."""
        statics = dict(self.graph.statics)
        variables = iter(self.graph.inputs)
        size = self.graph.in_tree.size
        leaves = [statics[i] if i in statics else self.tensor(next(variables)) for i in range(size)]
        arguments: list[Any] = unflatten(self.graph.in_tree, leaves)
        return arguments

    def result(self, result: Any, written: Sequence[Any], **fields: Any) -> Graph:
        """The new graph: the old one with these results, and what was emitted here for equations."""
        leaves, out_tree = flatten(result)
        outputs = tuple(self.stopped(self._atom(leaf)) for leaf in leaves)
        writes = tuple(
            Write(write.cell, self._atom(value), write.source)
            for write, value in zip(self.graph.writes, written, strict=True)
        )
        consts = {}
        for var, array, _ in self.consts.values():
            if var not in self.graph.consts:
                array = array.copy()
                array.flags.writeable = False
            consts[var] = array
        graph = self.graph.replace(
            consts=consts, equations=tuple(self.equations), writes=writes, outputs=outputs, out_tree=out_tree,
            **fields,
        )  # fmt: skip
        return graph.replace(provenance=replace(graph.provenance, captured=self.captured))

    def _atom(self, value: Any) -> Var | Literal:
        if isinstance(value, (np.ndarray, np.generic)):
            value = wrap(as_array(value))
        return self.var(value)

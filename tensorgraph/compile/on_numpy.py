"""A runner on NumPy: the graph's own program, to the same bits as the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine.cells import Cell
from tensorgraph.engine.interrupts import whole
from tensorgraph.graph.graph import Graph

__all__ = ["OnNumpy"]

ndarray = np.ndarray


class OnNumpy:
    """Runs a graph by its `Program`; see `tensorgraph.compile.runner.Runner`.

    Parameters
    ----------
    graph : Graph
        Without deferred gradients.
    cells : sequence of Cell
        The live ones, in the graph's order.
    reason : str
        Why it is not run otherwise.
    """

    gives_copies = False

    def __init__(self, graph: Graph, cells: Sequence[Cell], reason: str = "") -> None:
        self.reason = reason
        self.program = graph.program
        self.cells = tuple(cells)
        place = {decl.var: cell for decl, cell in zip(graph.cells, cells, strict=True)}
        self.written = tuple(place[write.cell] for write in graph.writes)
        self.count = len(graph.outputs)

    @property
    def source(self) -> str:
        """The program as a Python function of arrays."""
        return self.program.source

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """The outputs; the cells are written when all has gone well."""
        values = [*arrays, *(cell._value for cell in self.cells)]
        results = self.program.run(values)
        del values  # cells that nobody else holds are written in place
        outputs = results[: self.count]
        if not self.written:
            return outputs
        new = results[self.count :]  # which holds what one cell is to take from another: nobody writes over it
        del results
        with whole():
            for cell, value in zip(self.written, new, strict=True):
                cell._store(value)
        return outputs

    def explain(self) -> str:
        """Why it runs on NumPy."""
        return f"all steps run on NumPy: {self.reason}"

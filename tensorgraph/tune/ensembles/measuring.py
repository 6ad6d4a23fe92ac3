"""Measures of networks side by side: of an epoch's outputs, and of all of a data set's at test time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.data.arrays import cast_floats
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tensor import tensor
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.train import metrics as measures
from tensorgraph.train.evaluate import targets_for
from tensorgraph.train.running import Metric
from tensorgraph.tune.ensembles.alike import common, shape_of
from tensorgraph.tune.ensembles.batched import batched_graph
from tensorgraph.tune.ensembles.members import Member
from tensorgraph.tune.ensembles.steps import Traced, evaluation_graph, fingerprint

__all__ = ["Losses", "Outputs", "metrics_of"]

Array = np.ndarray[Any, Any]
AT_ONCE = 256  # samples, as `tensorgraph.train.predict` takes them


def metrics_of(
    metrics: Mapping[str, Metric], outputs: Array, y: Array, shared: bool, wanted: Array
) -> dict[str, Array]:
    """Each metric of the networks that are `wanted` and whose outputs are finite; NaN for the others.

    Parameters
    ----------
    metrics : mapping of str to callable
    outputs : ndarray, shape (networks, N, ...)
    y : ndarray, shape (networks, N, ...), or without the first axis where they are `shared`
    wanted : ndarray of bool, shape (networks,)
    """
    finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    lanes = np.flatnonzero(wanted & finite)
    found = {}
    for name, metric in metrics.items():
        values = np.full(len(outputs), np.nan)
        if metric is measures.accuracy and outputs.ndim == 3 and y.dtype.kind in "iu":
            values[lanes] = np.mean(outputs[lanes].argmax(axis=-1) == (y if shared else y[lanes]), axis=-1)
        else:
            for lane in lanes:
                values[lane] = float(metric(outputs[lane], y if shared else y[lane]))
        found[name] = values
    return found


class Outputs:
    """The outputs at test time of networks of one shape, by what their cells hold now.

    Parameters
    ----------
    members : sequence of Member
    dtype : dtype
        Of the models' floats.
    """

    def __init__(self, members: Sequence[Member], dtype: np.dtype[Any]) -> None:
        self.members, self.dtype = members, dtype
        self.graphs: dict[Aval, tuple[Graph, list[Array], list[Any]]] = {}

    def of(self, x: Array) -> Array:
        """The outputs for samples (N, ...) that all networks share, of shape (networks, N, ...)."""
        with np.errstate(all="ignore"), modes.use(quiet=True, grad=False):
            parts = [self._part(x[start : start + AT_ONCE]) for start in range(0, len(x), AT_ONCE)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _part(self, rows: Array) -> Array:
        kind = Aval(rows.shape, self.dtype if rows.dtype.kind == "f" else rows.dtype)
        if kind not in self.graphs:
            self.graphs[kind] = self._graph(kind)
        graph, numbers, cells = self.graphs[kind]
        values = [np.stack([cell.numpy() for cell in c]) if isinstance(c, list) else c.numpy() for c in cells]
        result: Array = graph.program.run([cast_floats(rows, self.dtype, "x"), *numbers, *values])[0]
        return result

    def _graph(self, kind: Aval) -> tuple[Graph, list[Array], list[Any]]:
        """The graph of all of them, its numbers, and its cells: a list where each has its own."""
        traced: dict[Any, Traced] = {}
        marks = [fingerprint(member) for member in self.members]
        for mark, member in zip(marks, self.members, strict=True):
            if mark not in traced:
                traced[mark] = evaluation_graph(member, kind)
        first, order = next(iter(traced.values())), list(traced)
        graph, columns = common([(t.graph, t.numbers) for t in traced.values()])
        held = [member.cells for member in self.members]
        live = first.graph.provenance.cells(len(graph.cells))
        cells: list[Any] = [
            cell if place is None else [own[place] for own in held]
            for place, cell in zip(first.places, live, strict=True)
        ]
        numbers = [np.stack([column[order.index(mark)] for mark in marks]) for column in columns]
        each = [decl.path for decl, place in zip(graph.cells, first.places, strict=True) if place is not None]
        return batched_graph(graph, len(held), (None, *[0] * len(numbers)), each), numbers, cells


class Losses:
    """The losses of networks of one shape, of outputs that are there.

    Parameters
    ----------
    members : sequence of Member
    y : ndarray, shape (N, ...)
        Targets that all of them share.
    """

    def __init__(self, members: Sequence[Member], y: Array) -> None:
        self.members, self.y = members, y
        self.program: Any = None

    def of(self, outputs: Array) -> Array:
        """The loss of each, of outputs (networks, N, ...)."""
        if self.program is None:
            self._prepare(Aval(outputs.shape[1:], outputs.dtype))
        with np.errstate(all="ignore"), modes.use(quiet=True, grad=False):
            program, numbers, y = self.program
            if program is not None:
                return np.asarray(program.run([outputs, y, *numbers])[0], np.float64)
            pairs = zip(self.members, outputs, strict=True)
            return np.array([float(member.loss(tensor(rows, copy=False), y)) for member, rows in pairs])

    def _prepare(self, kind: Aval) -> None:
        y = targets_for(self.y, kind.dtype)
        keys = list(dict.fromkeys(member.loss_key for member in self.members))
        losses = {member.loss_key: member.loss for member in self.members}
        graphs = [trace(losses[key], kind, Aval(y.shape, y.dtype)) for key in keys]
        if any(graph.cells for graph in graphs):  # it reads what is outside: one after the other
            self.program = None, [], y
            return
        graph, columns = common([(graph, shape_of(graph)[1]) for graph in graphs])
        lanes = [keys.index(member.loss_key) for member in self.members]
        numbers = [np.stack([column[lane] for lane in lanes]) for column in columns]
        self.program = batched_graph(graph, len(lanes), (0, None, *[0] * len(numbers))).program, numbers, y

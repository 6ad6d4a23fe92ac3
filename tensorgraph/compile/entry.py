"""One trace of a function, ready to run: a graph, its runner, and what must hold for it to be run."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.runner import Options, runner_of
from tensorgraph.compile.signatures import Leaves
from tensorgraph.compile.statistics import Statistics
from tensorgraph.compile.tracing import Traced
from tensorgraph.engine import modes
from tensorgraph.engine.cells import release
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.evaluate import evaluate

__all__ = ["Entry"]

ndarray = np.ndarray


class Entry:
    """A trace that is run.

    Attributes
    ----------
    traced : Traced
    records : bool
        Whether results are connected to what they were computed from, so that the caller may take gradients.
    graph : Graph
        Transformed; what the runner runs.
    runner : Runner
    """

    def __init__(self, traced: Traced, leaves: Leaves, options: Options, statistics: Statistics) -> None:
        graph = traced.graph
        self.traced, self.options, self.leaves = traced, options, leaves
        self.holds, self.guards = traced.guards.holds, traced.guards
        mode = modes.current()
        self.grad, self.implementation = mode.grad, mode.implementation
        parameters = {decl.var for decl in graph.cells if decl.kind == "parameter"}
        # a whole step has taken its gradients itself; what else there is may be differentiated
        steps = any(eq.is_gradient for eq in graph.equations) or any(w.cell in parameters for w in graph.writes)
        given = any(isinstance(t, Tensor) and t._node is not None for t in leaves.tensors)
        held = any(decl.requires_grad for decl in graph.cells) or bool(graph.provenance.captured)
        self.records = mode.grad and (given or (held and not steps))
        self.tree = graph.out_tree.children[0] if traced.left else graph.out_tree
        self.single = self.tree.kind is None
        self.lock = threading.RLock()
        with statistics.timed("transform"):
            self.graph = graph.transform()
        with statistics.timed("plan"):
            self.runner = runner_of(self.graph, traced.cells, options)

    def change(self) -> str | None:
        """What has changed since the trace, in words, or None."""
        return self.guards.change()

    def run(self, arrays: list[Any]) -> Any:
        """The results for a call's arrays, without history. The given ones are never a part of what comes back."""
        if self.traced.left or self.traced.found:
            return self.run_with_grads(arrays)
        with self.lock:
            results = self.runner.run(arrays)
        if self.single:
            value = results[0]
            if type(value) is ndarray:
                if value.base is not None or any(value is a for a in arrays):
                    value = apart(value, arrays)
                return wrap(value)
            return value
        return unflatten(self.tree, [wrap(apart(v, arrays)) if type(v) is ndarray else v for v in results])

    def run_with_grads(self, arrays: list[Any], tensors: Sequence[Any] = ()) -> Any:
        """As `run`, of a function that finds gradients or leaves some."""
        with self.lock, whole():
            given = [leaf.grad._value for leaf in self.traced.found]
            results = self.runner.run([*given, *arrays])
            leaves = [wrap(apart(v, arrays)) if type(v) is ndarray else v for v in results[: self.tree.size]]
            del results[: self.tree.size], given
            self.leave(results, tensors)
        return unflatten(self.tree, leaves)

    def leave(self, results: list[Any], tensors: Sequence[Any]) -> None:
        """Give tensors the gradients that the function has left them; `results` are used up."""
        for place, has in reversed(self.traced.left):
            grad = None
            if has:
                grad = results.pop()
                grad = grad if isinstance(grad, Tensor) else wrap(grad)
                grad = release(grad.detach())
            leaf = place if isinstance(place, Leaf) else tensors[place - len(self.traced.found)]._node
            if type(leaf) is Leaf:
                leaf.grad = grad

    def evaluate(self, tensors: Sequence[Any]) -> Any:
        """The results for a call's tensors, by the graph as it was traced: with history, or looking for NaN."""
        cells = self.traced.cells
        found = [leaf.grad for leaf in self.traced.found]
        values = [cell._live() for cell in cells]
        outputs, written = evaluate(self.traced.graph, [*found, *tensors], values, self.records)
        del values
        place = {decl.var: cell for decl, cell in zip(self.traced.graph.cells, cells, strict=True)}
        with whole():
            for write, value in zip(self.traced.graph.writes, written, strict=True):
                place[write.cell].assign(value)
            leaves = outputs[: self.tree.size]
            del outputs[: self.tree.size]
            self.leave(outputs, tensors)
        return unflatten(self.tree, leaves)


def apart(value: Any, given: Sequence[Any]) -> Any:
    """A result, copied where it lies in the memory of what was given."""
    for array in given:
        if type(array) is ndarray and (
            value is array or (value.base is not None and np.may_share_memory(value, array))
        ):
            return value.copy("K")
    return value

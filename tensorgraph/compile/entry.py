"""One trace of a function, ready to run: a graph, its runner, and what must hold for it to be run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tensorgraph.compile.gradients import gradient_cells
from tensorgraph.compile.host_steps import WideInteger
from tensorgraph.compile.laying import Room
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.pulling import Pulling, has_history, pulling_of
from tensorgraph.compile.resizing import Resizing
from tensorgraph.compile.results import apart
from tensorgraph.compile.runner import Options, Runner, gradient_runner, runner_of
from tensorgraph.compile.statistics import Statistics
from tensorgraph.engine import modes
from tensorgraph.engine.cells import Cell, getrefcount
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, TraceError, new, wrap
from tensorgraph.engine.tree import unflatten
from tensorgraph.graph.evaluate import evaluate

__all__ = ["Entry"]

T = TypeVar("T")
ndarray = np.ndarray
# what getrefcount says of an array that one variable holds; interpreters differ, so it is measured here
OWN = (lambda array: getrefcount(array))([np.zeros(1)].pop())


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
    resizing : Resizing
        What gives the graphs of calls that have other sizes.
    """

    def __init__(self, resizing: Resizing, options: Options, statistics: Statistics, room: Room) -> None:
        traced, leaves = resizing.traced, resizing.leaves
        graph = traced.original  # whose cells and writes are those of every size
        self.traced, self.options, self.leaves, self.statistics = traced, options, leaves, statistics
        self.holds, self.guards = traced.guards.holds, traced.guards
        mode = modes.current()
        self.grad, self.implementation = mode.grad, mode.implementation
        parameters = {decl.var for decl in graph.cells if decl.kind == "parameter"}
        # a whole step has taken its gradients itself; what else there is may be differentiated
        steps = any(eq.is_gradient for eq in graph.equations) or any(w.cell in parameters for w in graph.writes)
        held = any(decl.requires_grad for decl in graph.cells) or bool(graph.provenance.captured)
        self.records = mode.grad and (resizing.is_asked or (held and not steps))
        self.tree = traced.returned or (graph.out_tree.children[0] if traced.left else graph.out_tree)
        self.single = self.tree.kind is None
        self.count = len(graph.inputs) - len(traced.found)
        self.cleared = [place for place, has in traced.left if not has and type(place) is Leaf]
        self.room, self.lock = room, room.lock
        self.tried = False
        self.direct: dict[tuple[type, ...], Any] = {}  # what runs later calls, by types of arguments
        self.pulling: Pulling | None = None  # how a call that records is one node, once it is known
        with statistics.timed("transform"):
            self.resizing = resizing
            self.graph = resizing.simplified
        with statistics.timed("plan"):
            self.runner, done = self._runner()
            if isinstance(self.runner, NativeRunner) and self.runner.plan.begun is not None:
                resizing.planned(self.runner.plan.begun)
        statistics.on_numpy = self.runner.reason
        self.found = [leaf for leaf in traced.found if leaf not in done]
        self.given = [place for place, has in traced.left if has and place not in done]
        self.has_grads = bool(self.given or self.found)

    def _runner(self) -> tuple[Runner, set[Leaf | int]]:
        """What runs the graph, and the leaves whose gradients it writes itself."""
        traced, options, drafted, earlier = self.traced, self.options, None, self.resizing.drafts
        in_cells = gradient_cells(self.graph, traced)
        if in_cells is not None:
            graph, gradients = in_cells
            runner, drafted = gradient_runner(graph, (*traced.cells, *gradients), options, earlier, self.room)
            if runner is not None:
                return runner, {gradient.leaf for gradient in gradients}
        return runner_of(self.graph, traced.cells, options, drafted, earlier, self.room), set()

    def change(self) -> str | None:
        """What has changed since the trace, in words, or None."""
        return self.guards.change()

    def refuse(self, given: Sequence[Cell], name: str) -> None:
        """Arguments are the numbers that they have when the call begins: not so cells that the function writes.

        Raises
        ------
        TraceError
        """
        place = {decl.var: cell for decl, cell in zip(self.traced.original.cells, self.traced.cells, strict=True)}
        written = [place[write.cell] for write in self.traced.original.writes]
        for cell in given:
            if any(cell is other for other in written):
                called = cell.path or cell.name or "a cell"
                raise TraceError(
                    f"{name} is given {called}, and it writes it too, so that the argument would have its old numbers "
                    "after the write: read it in the function, as a global name or an attribute, or pass its numbers "
                    f"of now, {cell.name or 'cell'}.read()"
                )

    def adds_to_grads(self, tensors: Sequence[Any]) -> bool:
        """Whether an argument that the function leaves a gradient has one already, or is what has another one that it
        leaves, as where one tensor is given twice, or was computed, so that the gradient goes on from it: it was traced
        where none of these was so."""
        places = [place - len(self.traced.found) for place, _ in self.traced.left if type(place) is int]
        if not places:
            return False
        given = [tensors[k] for k in places if isinstance(tensors[k], Tensor)]
        owners = [t._node for t in given] + [place for place, _ in self.traced.left if type(place) is not int]
        if any(t.grad is not None or type(t._node) is not Leaf for t in given):
            return True
        return len({*map(id, owners)}) < len(owners)

    def run(self, arrays: list[Any]) -> Any:
        """The results for a call's arrays, without history. The given ones are never a part of what comes back."""
        if self.has_grads:
            return self.run_with_grads(arrays)
        for leaf in self.cleared:
            if leaf.grad is not None:
                return self.run_with_grads(arrays)
        with self.lock:
            results = self.results(arrays)
        if self.runner.gives_copies:
            if not self.single:
                return unflatten(self.tree, [*map(wrap, results)])
            tensor = new(Tensor)
            tensor._value, tensor._node = results[0], None
            return tensor
        if not self.single:
            return unflatten(self.tree, [wrap(apart(v, arrays)) if type(v) is ndarray else v for v in results])
        value = results[0]
        return wrap(apart(value, arrays)) if type(value) is ndarray else value

    def results(self, arrays: Sequence[Any]) -> list[Any]:
        """What the runner gives; whoever calls holds the lock."""
        return self.or_first_error(self.runner.run, arrays)

    def or_first_error(self, run: Callable[[Any], T], arrays: Sequence[Any]) -> T:
        """What `run` gives for a call's arrays. Where it raises, what the function raises first, in its words: passes
        have made other ops of some, and put them into another order. Nothing has been written then."""
        try:
            return run(arrays)
        except WideInteger:
            raise
        except Exception as raised:
            error = raised
        found = [leaf.grad for leaf in self.traced.found]
        given = arrays[len(arrays) - self.count :]  # behind gradients that it has found
        tensors = [wrap(a) if type(a) is ndarray else a for a in given]
        try:
            evaluate(self.traced.graph, [*found, *tensors], [cell._live() for cell in self.traced.cells])
        except Exception as first:
            error = first
        raise error

    @property
    def looked_at(self) -> frozenset[int]:
        """Which arrays `direct_text` compares itself with those that the entry is for."""
        return self.runner.looked_at if type(self.runner) is NativeRunner else frozenset()

    def direct_text(self, arrays: Sequence[str], given: str) -> tuple[list[str], dict[str, Any]] | None:
        """What `run` does, as lines and what their names mean; see `NativeRunner.direct_text`. None where it is longer.

        In the lines ``longer`` does all of a call with the ``args`` that were given.
        """
        text = None
        if type(self.runner) is NativeRunner and not self.has_grads:
            text = self.runner.direct_text(arrays, given)
        if text is None:
            return None
        under_lock, results, scope = text
        scope["trouble"] = functools.partial(self.or_first_error, scope["trouble"])
        scope |= {"lock": self.lock, "new": new, "Tensor": Tensor, "statistics": self.statistics}
        lines = []
        for n, leaf in enumerate(self.cleared):
            scope[f"c{n}"] = leaf
            lines.append(f"if c{n}.grad is not None: return longer(args)")
        lines += ["with lock:", *(f"    {line}" for line in under_lock), "statistics.runs += 1"]
        if self.single:
            lines += ["t = new(Tensor)", f"t._value, t._node = {results[0]}, None", "return t"]
        else:
            scope |= {"unflatten": unflatten, "tree": self.tree, "wrap": wrap}
            lines.append(f"return unflatten(tree, [{', '.join(f'wrap({result})' for result in results)}])")
        return lines, scope

    def run_with_grads(self, arrays: list[Any], tensors: Sequence[Any] = ()) -> Any:
        """As `run`, of a function that finds gradients or leaves some."""
        found = self.found
        with self.lock, whole():
            results = self.results([*[leaf.grad._value for leaf in found], *arrays] if found else arrays)
            grads = results[self.tree.size :]
            del results[self.tree.size :]
            self.leave(grads, self.given, tensors)
        leaves = [wrap(apart(v, arrays)) if type(v) is ndarray else v for v in results]
        return leaves[0] if self.single else unflatten(self.tree, leaves)

    def leave(self, grads: list[Any], places: Sequence[Leaf | int], tensors: Sequence[Any]) -> None:
        """Give tensors the gradients that the function has left them, which are used up."""
        for leaf in self.cleared:
            leaf.grad = None
        for place in reversed(places):  # as gradients are taken from the end
            array = grads.pop()
            if isinstance(array, Tensor):
                array = array.detach()._value
            if array.base is not None or getrefcount(array) > OWN:
                array = array.copy()  # gradients share with nothing
            tensor = new(Tensor)
            tensor._value, tensor._node = array, None
            owner: Any = tensors[place - len(self.traced.found)]._node if type(place) is int else place
            if type(owner) is Leaf:
                owner.grad = tensor

    def evaluate(self, tensors: Sequence[Any]) -> Any:
        """The results for a call's tensors, by the graph as it was traced: with history, or looking for NaN."""
        mode = modes.current()
        plain = self.records and mode.plain and mode.watched == () and mode.pulled == ()
        if plain and self.pulling is not None:
            return unflatten(self.tree, [_owned(v, tensors) for v in self.pulling.call(tensors)])
        cells = self.traced.cells
        found = [leaf.grad for leaf in self.traced.found]
        values = [cell._live() for cell in cells]
        outputs, written = evaluate(self.traced.graph, [*found, *tensors], values, self.records)
        del values
        place = {decl.var: cell for decl, cell in zip(self.traced.graph.cells, cells, strict=True)}
        if plain and not self.tried:
            self.tried, self.pulling = True, pulling_of(self, tensors, outputs)
            self.records = any(map(has_history, outputs))
        with whole():
            for write, value in zip(self.traced.graph.writes, written, strict=True):
                place[write.cell].assign(value)
            leaves = outputs[: self.tree.size]
            del outputs[: self.tree.size]
            self.leave(outputs, [place for place, has in self.traced.left if has], tensors)
        return unflatten(self.tree, leaves)


def _owned(value: Any, tensors: Sequence[Any]) -> Any:
    """A result, its array copied where it is a part of what was given."""
    if isinstance(value, Tensor):
        value._value = apart(value._value, [t._value for t in tensors if isinstance(t, Tensor)])
    return value

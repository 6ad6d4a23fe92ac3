"""Forwards whose caller may want gradients: run by a runner, and differentiated by another.

The plan:
1. the first call runs through the tape as eager code does, which tells what the result depends on;
2. from then on a call is one node of the tape: its forward is the graph's runner, its parents are the arguments and
   parameters that the result depends on, and what it keeps are the arrays as they were, by reference;
3. its gradient is a graph of its own, which computes the forward again, traced and planned when it is first asked for,
   one for each choice of results that a gradient reaches: the others are no part of it;
4. where that gradient is to be differentiated itself, the graph runs again through the tape.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.compile.results import apart
from tensorgraph.compile.runner import Runner, runner_of
from tensorgraph.engine import modes
from tensorgraph.engine.backward import gradients, reachable
from tensorgraph.engine.exits import caller
from tensorgraph.engine.operands import Borrowed
from tensorgraph.engine.tape import Node, getframe, next_number, projection
from tensorgraph.engine.tensor import Tensor, new, wrap
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.graph.inline import inline
from tensorgraph.graph.trace import trace
from tensorgraph.transforms.custom import Result, custom_op

if TYPE_CHECKING:
    from tensorgraph.compile.entry import Entry

__all__ = ["Pulling", "has_history", "pulling_of"]


def has_history(value: Any) -> bool:
    """Whether a result is connected to what it was computed from."""
    return isinstance(value, Tensor) and value._node is not None


def pulling_of(entry: Entry, tensors: Sequence[Any], outputs: Sequence[Any]) -> Pulling | None:
    """How the calls of an entry are made one node, from what its first call gave; None where they are not.

    Parameters
    ----------
    entry : Entry
    tensors : sequence
        Of the call's arguments, as the graph takes them.
    outputs : sequence
        What it gave, with history.
    """
    graph, traced = entry.traced.graph, entry.traced
    recorded = [n for n, out in enumerate(outputs) if has_history(out)]
    if not recorded or graph.provenance.captured or traced.left or traced.found:
        return None
    if any(eq.is_gradient for eq in graph.equations):
        return None
    behind = set(reachable([outputs[n]._node for n in recorded]))
    given = [*tensors, *traced.cells]
    wanted = [n for n, t in enumerate(given) if has_history(t) and t._node in behind]
    return Pulling(entry, recorded, wanted) if wanted else None


class Pulling:
    """Calls of an entry as nodes of the tape.

    Parameters
    ----------
    entry : Entry
    recorded : list of int
        The outputs that have a history.
    wanted : list of int
        What they depend on: arguments by number, then cells.
    """

    def __init__(self, entry: Entry, recorded: list[int], wanted: list[int]) -> None:
        self.entry, self.recorded, self.wanted = entry, recorded, wanted
        graph = entry.traced.graph
        self.graph, self.options = graph, entry.options
        self.cells = entry.traced.cells
        place = {decl.var: n for n, decl in enumerate(graph.cells)}
        self.written = frozenset(place[write.cell] for write in graph.writes)
        self.tree = flatten([0] * len(recorded))[1]
        self._runners: dict[tuple[int, ...], Runner] = {}

    def call(self, tensors: Sequence[Any]) -> list[Any]:
        """The outputs for a call's arguments, one of them with history."""
        lent = [type(t) is Borrowed for t in tensors]  # which the user may change before the gradient is taken
        return self._node([t._value if isinstance(t, Tensor) else t for t in tensors], lent, tensors)

    def run(self, arrays: list[Any], lent: Sequence[bool]) -> Any:
        """The results for arrays, none of which asks for a gradient; of some, the memory is the user's."""
        entry = self.entry
        outputs = self._node(arrays, lent, arrays)
        for value in outputs:
            if isinstance(value, Tensor):
                value._value = apart(value._value, arrays)
        return outputs[0] if entry.single else unflatten(entry.tree, outputs)

    def _node(self, arrays: list[Any], lent: Sequence[bool], tensors: Sequence[Any]) -> list[Any]:
        call = _Call(self, arrays, lent)
        count = len(arrays)
        # of cells no more than those are held while the runner writes into others
        parents = [tensors[n] if n < count else self.cells[n - count]._live() for n in self.wanted]
        kept = call.run()
        recorded = [wrap(call.results[n]) for n in self.recorded]
        result = Result()
        result.avals, result.treedef, result.whole = tuple(t.aval for t in recorded), self.tree, False
        node = new(Node)
        node.op, node.parents, node.number = custom_op, (tuple(t._node for t in parents),), next_number()
        saved = {"args": [t._value for t in parents], "kept": kept}
        node.saved = tuple([saved.get(name) for name in custom_op.calls["saves"]])
        node.attrs = {"forward": call.forward, "backward": call.backward, "result": result}
        node.scope = modes.current().scope
        node.shape, node.dtype = tuple(t.shape for t in recorded), tuple(t.dtype for t in recorded)
        frame = caller(getframe(2))
        node.code, node.lasti = (None, -1) if frame is None else (frame.f_code, frame.f_lasti)
        outputs = [wrap(v) if type(v) is np.ndarray else v for v in call.results]
        call.results = []
        for k, (n, tensor) in enumerate(zip(self.recorded, recorded, strict=True)):
            tensor._node = projection(node, k)
            outputs[n] = tensor
        return outputs

    def pull(self, values: Sequence[Any], reached: Sequence[int], gs: Sequence[Any]) -> list[Any]:
        """The gradients of some outputs, times cotangents, by what was asked for."""
        key = tuple(reached)
        with self.entry.lock:
            if key not in self._runners:
                self._runners[key] = self._plan(values, reached, gs)
            return self._runners[key].run([*values, *gs])

    def _plan(self, values: Sequence[Any], reached: Sequence[int], gs: Sequence[Any]) -> Runner:
        count = len(self.graph.inputs)

        def pullback(values: Sequence[Any], gs: Sequence[Any]) -> Any:
            outputs, _ = inline(self.graph, values[:count], values[count:])
            return gradients([outputs[n] for n in reached], [values[n] for n in self.wanted], gs)

        given = [wrap(v) if type(v) is np.ndarray else v for v in values]
        for n in self.wanted:
            given[n] = wrap(values[n]).requires_grad_()
        with modes.use(grad=True, quiet=True):
            graph = trace(pullback, given, [*gs]).transform()
        return runner_of(graph, (), self.options, room=self.entry.room)

    def again(self, values: Sequence[Any]) -> dict[int, Any]:
        """The outputs that have a history once more, through the tape."""
        count = len(self.graph.inputs)
        outputs = evaluate(self.graph, values[:count], values[count:], True)[0]
        return {n: outputs[n] for n in self.recorded}


class _Kept:
    """Arguments and cells as they were: the tape lets go of them when it has been gone through."""

    def __init__(self, arrays: list[Any]) -> None:
        self.arrays = arrays


class _Call:
    """One call: what it was given, and what its derivative needs."""

    def __init__(self, pulling: Pulling, arrays: list[Any], lent: Sequence[bool]) -> None:
        self.pulling, self.arrays, self.lent = pulling, arrays, lent
        self.results: list[Any] = []
        self.kept: weakref.ref[_Kept] | None = None
        self.recorded: Sequence[Tensor] = ()

    def run(self) -> _Kept:
        """Run, and give what a gradient will need."""
        pulling = self.pulling
        before = [cell._value.copy() if n in pulling.written else cell._value for n, cell in enumerate(pulling.cells)]
        arrays, self.arrays = self.arrays, []
        with pulling.entry.lock:
            self.results = pulling.entry.results(arrays)
        given = [array.copy() if own else array for array, own in zip(arrays, self.lent, strict=True)]
        kept = _Kept([*given, *before])
        self.kept = weakref.ref(kept)
        return kept

    def forward(self, *tensors: Tensor) -> Any:
        """The results once more, with history: for a derivative of the gradient."""
        kept = None if self.kept is None else self.kept()
        assert kept is not None
        self.recorded = tensors
        return [*self.pulling.again(self._with(kept, tensors)).values()], kept

    def backward(self, kept: _Kept, given: Any) -> list[Any]:
        """The gradients of what was wanted, for the cotangents that there are."""
        pulling = self.pulling
        cotangents = given if type(given) is tuple else (given,)
        reached = [n for n, g in zip(pulling.recorded, cotangents, strict=True) if g is not None]
        gs = [g for g in cotangents if g is not None]
        if not modes.current().grad or not any(isinstance(g, Tensor) for g in gs):
            return pulling.pull(kept.arrays, reached, [g._value if isinstance(g, Tensor) else g for g in gs])
        outputs = pulling.again(self._with(kept, self.recorded))
        found: list[Any] = gradients([outputs[n] for n in reached], list(self.recorded), gs, create_graph=True)
        return found

    def _with(self, kept: _Kept, tensors: Sequence[Tensor]) -> list[Any]:
        """What was kept, with these in the places of what was wanted."""
        values = [wrap(v) if type(v) is np.ndarray else v for v in kept.arrays]
        for n, tensor in zip(self.pulling.wanted, tensors, strict=True):
            values[n] = tensor
        return values

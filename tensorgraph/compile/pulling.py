"""Forwards whose caller may want gradients: run by a runner, and differentiated by another.

The plan:
1. the first call runs through the tape as eager code does, which tells what the result depends on;
2. from then on a call is one node of the tape: its forward is the graph's runner, its parents are the arguments and
   parameters that the result depends on, and what it keeps are the arrays as they were, by reference;
3. its gradient is a graph of its own, which computes the forward again, traced and planned when it is first asked for;
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

__all__ = ["Pulling", "pulling_of"]

LEAF = flatten(0)[1]


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
    recorded = [n for n, out in enumerate(outputs) if isinstance(out, Tensor) and out._node is not None]
    if len(recorded) != 1 or graph.provenance.captured or traced.left or traced.found:
        return None
    if any(eq.is_gradient for eq in graph.equations):
        return None
    behind = set(reachable([outputs[recorded[0]]._node]))
    given = [*tensors, *traced.cells]
    wanted = [n for n, t in enumerate(given) if isinstance(t, Tensor) and t._node is not None and t._node in behind]
    return Pulling(entry, recorded[0], wanted) if wanted else None


class Pulling:
    """Calls of an entry as nodes of the tape.

    Parameters
    ----------
    entry : Entry
    output : int
        The one that has a history.
    wanted : list of int
        What it depends on: arguments by number, then cells.
    """

    def __init__(self, entry: Entry, output: int, wanted: list[int]) -> None:
        self.entry, self.output, self.wanted = entry, output, wanted
        graph = entry.traced.graph
        self.graph, self.options = graph, entry.options
        self.cells = entry.traced.cells
        place = {decl.var: n for n, decl in enumerate(graph.cells)}
        self.written = frozenset(place[write.cell] for write in graph.writes)
        self._runner: Runner | None = None

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
        recorded = wrap(call.results[self.output])
        result = Result()
        result.avals, result.treedef = (recorded.aval,), LEAF
        node = new(Node)
        node.op, node.parents, node.number = custom_op, (tuple(t._node for t in parents),), next_number()
        saved = {"args": [t._value for t in parents], "kept": kept}
        node.saved = tuple([saved.get(name) for name in custom_op.calls["saves"]])
        node.attrs = {"forward": call.forward, "backward": call.backward, "result": result}
        node.scope = modes.current().scope
        node.shape, node.dtype = (recorded.shape,), (recorded.dtype,)
        frame = caller(getframe(2))
        node.code, node.lasti = (None, -1) if frame is None else (frame.f_code, frame.f_lasti)
        recorded._node = projection(node, 0)
        outputs = [wrap(v) if type(v) is np.ndarray else v for v in call.results]
        call.results = []
        outputs[self.output] = recorded
        return outputs

    def pull(self, values: Sequence[Any], g: Any) -> list[Any]:
        """The gradients of the output, times a cotangent, by what was asked for."""
        with self.entry.lock:
            if self._runner is None:
                self._runner = self._plan(values, g)
            return self._runner.run([*values, g])

    def _plan(self, values: Sequence[Any], g: Any) -> Runner:
        count = len(self.graph.inputs)

        def pullback(values: Sequence[Any], g: Any) -> Any:
            outputs, _ = inline(self.graph, values[:count], values[count:])
            return gradients([outputs[self.output]], [values[n] for n in self.wanted], [g])

        given = [wrap(v) if type(v) is np.ndarray else v for v in values]
        for n in self.wanted:
            given[n] = wrap(values[n]).requires_grad_()
        with modes.use(grad=True, quiet=True):
            graph = trace(pullback, given, g).transform()
        return runner_of(graph, (), self.options)

    def again(self, values: Sequence[Any]) -> Any:
        """The output once more, through the tape."""
        count = len(self.graph.inputs)
        return evaluate(self.graph, values[:count], values[count:], True)[0][self.output]


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
            self.results = pulling.entry.runner.run(arrays)
        given = [array.copy() if own else array for array, own in zip(arrays, self.lent, strict=True)]
        kept = _Kept([*given, *before])
        self.kept = weakref.ref(kept)
        return kept

    def forward(self, *tensors: Tensor) -> Any:
        """The result once more, with history: for a derivative of the gradient."""
        kept = None if self.kept is None else self.kept()
        assert kept is not None
        self.recorded = tensors
        return self.pulling.again(self._with(kept, tensors)), kept

    def backward(self, kept: _Kept, g: Any) -> list[Any]:
        """The gradients of what was wanted."""
        if not isinstance(g, Tensor) or not modes.current().grad:
            return self.pulling.pull(kept.arrays, g._value if isinstance(g, Tensor) else g)
        out = self.pulling.again(self._with(kept, self.recorded))
        found: list[Any] = gradients([out], list(self.recorded), [g], create_graph=True)
        return found

    def _with(self, kept: _Kept, tensors: Sequence[Tensor]) -> list[Any]:
        """What was kept, with these in the places of what was wanted."""
        values = [wrap(v) if type(v) is np.ndarray else v for v in kept.arrays]
        for n, tensor in zip(self.pulling.wanted, tensors, strict=True):
            values[n] = tensor
        return values

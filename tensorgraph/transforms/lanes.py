"""`Lanes`: the trace of one turn of a loop whose turns will run side by side, as the lanes of one computation.

It has the mapped arguments for inputs, and whatever else the function reads: arrays, tensors with a history, values of
an outer trace, cells. So the graph holds no numbers, equal turns are equal graphs, and derivatives flow to what was
read. The one thing that a turn may change is a random state, by drawing from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tensorgraph.engine import modes, random
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.exits import ForeignError, TraceError, depends
from tensorgraph.engine.op import Op
from tensorgraph.engine.operands import Borrowed
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.draws import draws_between
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.graph.graph import Equation, Graph, Literal, Var

__all__ = ["Lanes"]


class Lanes(Trace):
    """The trace of one lane.

    Attributes
    ----------
    size : int
        The number of lanes.
    given : list of (Tensor, int or None)
        What stands outside for each input, and the axis of the lanes there; None where it is the same for all.
    states : dict of Cell to int
        Of each random state that is drawn from the number of draws, once the trace is over.
    looked : bool
        Whether somebody has asked for numbers.
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name)
        self.size = size
        self.outside = modes.current()
        self.given: list[tuple[Tensor, int | None]] = []
        self.captures: dict[Any, tuple[Var, Tensor]] = {}  # with the tensor, so that its ids stay taken
        self.entry: dict[Cell, Var] = {}
        self.states: dict[Cell, int] = {}
        self.looked = False
        outer = self.outside.trace
        # nobody reads the lines of what is evaluated at once
        self.lines = outer is not None and outer.lines
        self.numberless = f"inside vmap this value is that of all {size} examples at once: it has only a type"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, ops emit equations here."""
        with modes.use(trace=self, grad=True, call=self.top, cells=None):
            yield

    # what is read ------------------------------------------------------------------------------------------------

    def new_input(self, aval: Aval, name: str | None, outside: Tensor, axis: int | None) -> Var:
        var = Var(aval, name)
        self.known.add(var)
        self.inputs.append(var)
        self.given.append((outside, axis))
        return var

    def argument(self, value: Tensor, axis: int, name: str | None) -> Tensor:
        """A mapped argument: in each lane one of those side by side along `axis`."""
        shape = value.shape[:axis] + value.shape[axis + 1 :]
        var = self.new_input(Aval(shape, value.dtype), name, value, axis)
        self.varying.add(var)
        if self._wants_gradient(value):  # what is taken out of it asks for one too
            self.differentiable.add(var)
            self.leaves[var] = None
        return self.tensor(var)

    def _wants_gradient(self, outside: Tensor) -> bool:
        trace = self.outside.trace
        return outside._node is not None if trace is None else trace.is_differentiable(outside)

    def var(self, t: Any) -> Var | Literal:
        if not isinstance(t, Tensor):
            return Literal(t)
        if isinstance(t, Cell):
            return self.var_of_cell(t)
        value = t._value
        if type(value) is Var and (value in self.producer or value in self.known):
            return value
        return self.capture(t)

    def capture(self, t: Tensor) -> Var:
        """The name here of a tensor that is the same for all lanes."""
        key = (id(t._value), id(t._node))
        if type(t) is Borrowed:  # the user may change it while the trace goes on
            t = wrap(t._value.copy())
            key = (id(t._value), id(None))
        found = self.captures.get(key)
        if found is None:
            if type(t._value) is Var and not self._is_outside(t._value):
                raise ForeignError(
                    t._value,
                    "a traced value from another trace is used here, or one from another call of vmap: return it from "
                    "the function, or pass it as an argument",
                )
            found = self.captures[key] = (self._shared(t, t.aval, None), t)
        return found[0]

    def _shared(self, t: Tensor, aval: Aval, name: str | None) -> Var:
        var = self.new_input(aval, name, t, None)
        if t._node is not None or type(t._value) is Var:
            self.varying.add(var)
        if self._wants_gradient(t):
            self.differentiable.add(var)
            self.leaves[var] = t
        return var

    def _is_outside(self, value: Var) -> bool:
        outer = self.outside.trace
        return outer is not None and outer.knows(value)

    def knows(self, value: Var) -> bool:
        return super().knows(value) or self._is_outside(value)

    def var_of_cell(self, cell: Cell) -> Var | Literal:
        if cell in self.shadow:
            return super().var_of_cell(cell)
        var = self.entry.get(cell)
        if var is None:
            with modes.use(trace=self.outside.trace, cells=self.outside.cells):
                t = cell.read()
            var = self.entry[cell] = self._shared(t, t.aval, cell.path or None)
        return var

    def numbers(self, t: Any) -> Any:
        """What is the same for all lanes, and computed from numbers, has numbers: it is computed when asked for."""
        self.looked = True
        var = self.var(t)
        if type(var) is not Var:
            return None
        outside = {own: value for own, (value, axis) in zip(self.inputs, self.given, strict=True) if axis is None}
        states = {
            own for cell, own in self.entry.items() if own.aval == random.state().aval
        }  # each lane may have its own
        equations: list[Equation] = []
        seen, stack = {var}, [var]
        while stack:
            at = stack.pop()
            made = self.producer.get(at)
            if made is None and (at in states or at not in outside or type(outside[at]._value) is Var):
                return None
            if made is not None:
                equations.append(made)
                fresh = {a for a in made.variables() if a not in seen}
                seen |= fresh
                stack += fresh
        if not equations:
            return outside[var]._value
        kept = set(equations)
        read = tuple(own for own in outside if own in seen)
        tree = flatten([0] * len(read))[1]
        way = tuple(eq for eq in self.equations if eq in kept)
        graph = Graph(read, (), {}, way, (), (var,), tree, flatten(0)[1], (), "shared", ())
        with modes.use(trace=None, cells=None, grad=False):
            return evaluate(graph, [outside[own] for own in read], [], False)[0][0]._value

    def cells_read(self) -> Mapping[Cell, Var]:
        return self.entry

    def depends(self, var: Any, others: Iterable[Any], past: Op | None = None) -> bool:
        """Whether one of the others is behind a variable, here or outside."""
        others = list(others)
        if super().depends(var, others, past):
            return True
        outer = self.outside.trace
        for own, (t, _) in zip(self.inputs, self.given, strict=True):
            if super().depends(var, [own], past):
                if t._node is not None and depends(t._node, others, past):
                    return True
                if type(t._value) is Var and outer is not None and outer.depends(t._value, others, past):
                    return True
        return False

    # what is changed ---------------------------------------------------------------------------------------------

    def write(self, cell: Cell, value: Any) -> None:
        super().write(cell, value)
        entry, after = self.entry[cell], self.shadow[cell]
        draws = draws_between(self.producer, entry, after)
        if draws is None:
            del self.shadow[cell]
            raise RuntimeError(
                f"vmap: the function writes the {cell._label()}{describe_source(user_source())}, which has room for "
                f"one value and not for one of each of {self.size} examples. Only random states may be drawn from. For "
                "a model's running averages use `f, parameters, state = tensorgraph.functional(model, state=True)`, "
                "which takes and gives them, or model.eval(); return other values from the function"
            )
        self.states[cell] = draws

    def backward(self, t: Tensor, grad_output: Any, create_graph: bool) -> None:
        raise TraceError(
            f"backward() inside vmap{describe_source(user_source())} would add up the gradients of all examples in one "
            ".grad: use tensorgraph.grad, value_and_grad or vjp, which give each example's own"
        )

    def set_grad(self, t: Tensor, value: Tensor | None) -> None:
        if value is not None:
            raise TraceError("vmap: .grad of a tensor cannot be set inside: return the value from the function")

    # gradients of what was read ----------------------------------------------------------------------------------

    def is_differentiable(self, t: Tensor) -> bool:
        return self.var(t) in self.differentiable

    def _root(self, var: Var) -> Any:
        owner = self.leaves.get(var)
        return var if owner is None or owner._node is None else owner._node

    def _grad_key(self, t: Tensor) -> Any:
        own = self.var(t)
        assert type(own) is Var
        return self._root(own)

    def gradients(
        self, ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Any], create_graph: bool
    ) -> list[Tensor]:
        """Of what lies on the tape the tape's own rules run here, for all lanes' cotangents."""
        if any(type(t._value) is Var or t._node is None for t in (*ys, *xs)):
            return super().gradients(ys, xs, gs, create_graph)
        found = pull_back(ys, xs, gs, True, True)
        return found if create_graph else [t.detach() for t in found]

    def _refuse_history(self, ys: list[Var], keys: list[Any] | None) -> None:
        outer = {var: owner for var, owner in self.leaves.items() if owner is not None and owner._node is None}
        asked = {owner._value for var, owner in outer.items() if keys is not None and var in keys}
        trace = self.outside.trace
        used = {leaf for y in ys for leaf in self._leaves_of(y)} if asked else set()
        for var in used & outer.keys():
            if trace is not None and trace.depends(outer[var]._value, asked - {outer[var]._value}):
                raise TraceError(
                    f"vmap: a gradient is asked for with respect to a value from outside, and goes there through "
                    f"another one ({var.aval}) that was computed outside too: compute it inside, or pass both in"
                )
        kept = self.leaves
        self.leaves = {var: None if var in outer else owner for var, owner in kept.items()}
        try:
            super()._refuse_history(ys, keys)
        finally:
            self.leaves = kept

    # the end -----------------------------------------------------------------------------------------------------

    def differs(self, t: Tensor) -> bool:
        """Whether a value is each lane's own."""
        own = [var for var, (_, axis) in zip(self.inputs, self.given, strict=True) if axis is not None]
        own += [self.entry[cell] for cell in self.states]
        var = self.var(t)
        return type(var) is Var and self.reaches(var, own)

    def reaches(self, var: Var, others: Iterable[Var]) -> bool:
        """Whether one of the others is behind a variable, with or without a derivative."""
        targets, seen, stack = set(others), {var}, [var]
        while stack:
            at = stack.pop()
            if at in targets:
                return True
            made = self.producer.get(at)
            fresh = () if made is None else [a for a in made.atoms() if type(a) is Var and a not in seen]
            seen.update(fresh)
            stack += fresh
        return False

    def graph(self, results: list[Any]) -> Graph:
        """The graph of one lane, with `given` for its inputs and these outputs."""
        self.shadow.clear()
        for t in results:
            self.var(t)  # one from outside becomes an input
        inputs = [self.tensor(var) for var in self.inputs]
        return self.finish(inputs, tuple(results), flatten(inputs)[1], (), ())

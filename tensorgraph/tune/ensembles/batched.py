"""A training step of many networks of one shape on NumPy, where it cannot be compiled (`compiled.py`).

The graph of one network's step is batched so that each has cells of its own along the first axis. What the optimiser's
update ops do is taken out of it and done on the cells' own arrays, by kernels that leave alone whoever does not move:
so a network whose loss is not finite, or that was stopped, keeps every bit, and no array is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph import jit
from tensorgraph.engine import modes
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.forms import by_reference
from tensorgraph.graph.graph import Equation, Graph, HashedKey, Literal, Var
from tensorgraph.ops.kernels.optimizer import lanes_
from tensorgraph.ops.updates import update_lanes
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.transforms.plans import Plans
from tensorgraph.tune.ensembles.compiled import CompiledStep

__all__ = ["BatchedStep", "batched_graph", "batched_step", "compiled_step"]

Array = np.ndarray[Any, Any]

_plans = Plans(128)


def batched_step(graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str]) -> BatchedStep:
    """The step of so many networks; where an equal one has been made before, the same."""
    return _made(BatchedStep, graph, size, dims, own)  # type: ignore[no-any-return]


def compiled_step(graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str]) -> CompiledStep:
    """The step of so many networks, compiled; likewise."""
    return _made(CompiledStep, graph, size, dims, own)  # type: ignore[no-any-return]


def batched_graph(graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str] = ()) -> Graph:
    """The graph of so many networks, simplified, its cells in the order of the one; likewise."""
    return _made(_graph, graph, size, dims, own)  # type: ignore[no-any-return]


def _graph(graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str]) -> Graph:
    return graph.batched(size, dims, own=own).simplify()


def _made(make: Callable[..., Any], graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str]) -> Any:
    ops = tuple(id(eq.op) for eq in graph.equations)
    key = HashedKey((make, graph.key(), tuple(d.path for d in graph.cells), ops, size, dims, frozenset(own)))
    return _plans.made(key, lambda: make(graph, size, dims, own))


class BatchedStep:
    """The step of `size` networks.

    Parameters
    ----------
    graph : Graph
        Of one network: gives outputs, writes cells.
    size : int
    dims : tuple of int or None
        Of its inputs: 0 where each network has its own.
    own : collection of str
        The cells that each network has for itself.

    Attributes
    ----------
    cells : list of str
        The paths of all cells, in the order in which `gradients` takes them.
    written : list of str
        Those that the graph writes; the other ones that change are updated in place.
    """

    def __init__(self, graph: Graph, size: int, dims: tuple[int | None, ...], own: Collection[str]) -> None:
        many = graph.batched(size, dims, own=own).differentiate().simplify()
        self.size = size
        self.outputs = len(graph.outputs)
        self.paths = {decl.var: decl.path for decl in many.cells}
        self.updates, asked = self._take_out(many)
        rest = self._without_updates(many, asked)
        self.program = rest.program
        self.cells = [decl.path for decl in rest.cells]
        self.written = [self.paths[write.cell] for write in rest.writes]
        producer = {out: eq for eq in rest.equations for out in eq.outputs}
        # what is written may lie in the memory of a cell that is then updated in place
        self.shared = [_shares(write.value, producer) for write in rest.writes]

    # preparing --------------------------------------------------------------------------------------------------

    def _take_out(self, many: Graph) -> tuple[list[_Update], list[Var]]:
        """The updates that can be made in place, and the values that they need from the graph."""
        producer = {out: eq for eq in many.equations for out in eq.outputs}
        written = {write.value: write.cell for write in many.writes if type(write.value) is Var}
        used = {var for eq in many.equations for var in eq.variables()} | {
            atom for atom in many.outputs if type(atom) is Var
        }
        asked: dict[Var, int] = {}
        found = []
        for eq in many.equations:
            if eq.op not in update_lanes or not used.isdisjoint(eq.outputs) or not self._in_place(eq, written):
                continue
            p, g = eq.inputs[:2]
            arrays = 1 + sum(out.aval.dtype.kind == "f" for out in eq.outputs)
            states, settings = eq.inputs[2:arrays], eq.inputs[arrays:]

            def place(atom: Any) -> Any:
                if type(atom) is Literal:
                    return np.asarray(atom.value, np.float64)
                return self.paths[atom] if atom in self.paths else asked.setdefault(atom, len(asked))

            counts = len(eq.outputs) - (arrays - 1)
            found.append(_Update(
                eq, place(g), _shares(g, producer), self._paths(p, *states), self._paths(*settings[:counts]),
                tuple(map(place, settings[counts:])),
            ))  # fmt: skip
        return found, list(asked)

    def _paths(self, *atoms: Any) -> tuple[str, ...]:
        return tuple(self.paths[atom] for atom in atoms)

    def _in_place(self, eq: Equation, written: dict[Var, Var]) -> bool:
        """Whether an update's results all go to the cells that it reads, which the networks have for themselves."""
        count = len(eq.outputs)
        read = (eq.inputs[0], *eq.inputs[2 : count + 1])
        return (
            all(type(a) is Var and a in self.paths and written.get(out) is a for out, a in zip(eq.outputs, read))
            and eq.outputs[0].aval.dtype.char in "fd"
            and eq.outputs[0].aval.shape[:1] == (self.size,)
            and eq.outputs[0].aval.ndim > 0
        )

    def _without_updates(self, many: Graph, asked: Sequence[Var]) -> Graph:
        gone = {update.equation for update in self.updates}
        values = {out for eq in gone for out in eq.outputs}
        outputs = (*many.outputs, *asked)
        rest = many.replace(
            equations=tuple(eq for eq in many.equations if eq not in gone),
            writes=tuple(write for write in many.writes if write.value not in values),
            outputs=outputs, out_tree=flatten([0] * len(outputs))[1],
        )  # fmt: skip
        return dead_code(rest).check()

    # running ----------------------------------------------------------------------------------------------------

    def run(
        self, inputs: Sequence[Array], state: Mapping[str, Cell], moves: Array, known: dict[Any, Any]
    ) -> list[Array]:
        """One step; gives the outputs. Networks that do not move, or whose first output is not finite, stay.

        Parameters
        ----------
        inputs : sequence of ndarray
        state : mapping of str to Cell
            By path.
        moves : ndarray of bool, shape (size,)
            Which networks make the step; those whose loss is not finite are taken out of it.
        known : dict
            What is kept from one step to the next: an empty one at first.
        """
        results = self.program.run([*inputs, *[state[path]._value for path in self.cells]])
        outputs = results[: self.outputs]
        finite = np.isfinite(outputs[0])
        moves &= finite
        whole = bool(moves.all())
        asked = results[self.outputs : len(results) - len(self.written)]
        writes = results[len(results) - len(self.written) :]
        for path, new, shared in zip(self.written, writes, self.shared, strict=True):
            if not whole:
                new = np.where(moves.reshape(-1, *[1] * (new.ndim - 1)), new, state[path]._value)
            state[path]._value = new.copy() if shared else new
        for update in self.updates:
            self._update(update, asked, state, moves, known)
        return outputs

    def _update(
        self, update: _Update, asked: Sequence[Array], state: Mapping[str, Cell], moves: Array, known: dict[Any, Any]
    ) -> None:
        settings = [
            state[place]._value if type(place) is str else asked[place] if type(place) is int else place
            for place in update.settings
        ]
        cells = tuple([state[path]._value for path in update.cells])
        counts = [state[path]._value for path in update.counts]
        g = state[update.g]._value if type(update.g) is str else asked[update.g]
        if not (modes.current().implementation == "fused" and jit.available()):
            new = update.composed(cells[0], g, *cells[1:], *counts, *settings)
            for cell, value in zip((*cells, *counts), new if isinstance(new, tuple) else (new,), strict=True):
                np.copyto(cell, value, where=moves.reshape(-1, *[1] * (cell.ndim - 1)))
            return
        numbers = self._numbers(update, settings, counts, known)
        lanes_(update.kernel, cells, g.copy() if update.shares else g, numbers, moves)
        for count in counts:
            count += moves

    def _numbers(self, update: _Update, settings: list[Array], counts: list[Array], known: dict[Any, Any]) -> Array:
        """The numbers of each network, made once a step for all updates that take the same."""
        before = known.get(update.key)
        if (
            before is not None
            and all(a is b for a, b in zip(before[0], settings, strict=True))
            and all(np.array_equal(a, b) for a, b in zip(before[1], counts, strict=True))
        ):
            found: Array = before[2]
            return found
        numbers: Array = update.numbers_of(*[count + 1 for count in counts], *settings, **update.equation.attrs)
        if len(numbers) != self.size:
            numbers = np.repeat(numbers, self.size, axis=0)
        known[update.key] = settings, [count.copy() for count in counts], numbers
        return numbers


class _Update:
    """An optimiser's update of one parameter.

    Attributes
    ----------
    equation : Equation
    g : str or int
        The gradient: a cell, or a result of the graph.
    shares : bool
        Whether it may lie in the memory of a cell.
    cells, counts : tuple of str
        The parameter and its averages; counts of steps.
    settings : tuple of str, int or ndarray
    """

    def __init__(self, equation: Equation, g: Any, shares: bool, cells: Any, counts: Any, settings: Any) -> None:
        self.equation, self.g, self.shares = equation, g, shares
        self.cells, self.counts, self.settings = cells, counts, settings
        self.kernel, self.numbers_of = update_lanes[equation.op]
        self.composed = by_reference(equation)  # where kernels cannot run, or shall not
        named = tuple(s if type(s) in (str, int) else ("number", float(s)) for s in settings)
        self.key = equation.op.name, tuple(sorted(equation.attrs.items())), named


def _shares(atom: Any, producer: dict[Var, Equation]) -> bool:
    """Whether a value may be a view of a cell or an input: nothing but views leads to it."""
    while type(atom) is Var:
        eq = producer.get(atom)
        if eq is None:
            return True
        if not {"view", "identity"} & set(eq.op.traits):
            return False
        atom = eq.inputs[0]
    return True

"""Where the values of a graph lie: a place for each variable, of which views share the memory of what they look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.compile.alike import Keys
from tensorgraph.engine.operands import SCALARS
from tensorgraph.engine.tensor import as_array
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.forms import array_function, has_weak_numbers
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, typed_key
from tensorgraph.native.places import Buffer, Place

__all__ = ["Layout", "Stand", "address_of"]

Array = np.ndarray[Any, Any]
LOOKING = frozenset({"view", "reshapes"})  # ops that may only look at their input otherwise
FOLDED = 1 << 24  # bytes up to which what has no inputs is kept


class Layout:
    """The places of a graph's variables.

    Inputs, cells, constants and the results of equations have buffers of their own. The result of an equation that
    only looks at its input otherwise, as a transposition, a slice or new axes do, is another place in the same buffer.

    Attributes
    ----------
    places : dict of Var to Place
        Arrays of inputs and cells are taken to be in C order.
    inputs, cells : dict of Buffer to int
        The number of the input, or of the cell, whose memory a buffer is.
    constants : dict of Buffer to ndarray
        What lies in the buffers of constants and of numbers in the graph.
    folded : dict of Var to ndarray
        What equations without inputs give: it is computed once.
    views : dict of Var to Equation
        The equations that only look, by what they give.

    Parameters
    ----------
    graph : Graph
    earlier : Layout, optional
        Of the same graph at another size of its batch: variables that are the same have their places there.
    """

    def __init__(self, graph: Graph, earlier: Layout | None = None) -> None:
        self.keys: Keys = Keys(None if earlier is None else earlier.keys)
        self.places: dict[Var, Place] = {}
        self.inputs: dict[Buffer, int] = {}
        self.cells: dict[Buffer, int] = {}
        self.constants: dict[Buffer, Array] = {}
        self.folded: dict[Var, Array] = {}
        self.views: dict[Var, Equation] = {}
        self.equations = frozenset(graph.equations)
        self._literals: dict[Any, Place] = {}
        self._earlier = earlier
        self._looks: dict[Any, tuple[Place, list[Place] | None]] = {}  # of equations that are alike, in layers
        self.serve(graph)
        if earlier is not None:
            self._literals.update(earlier._literals)
            self.constants.update((p.buffer, earlier.constants[p.buffer]) for p in self._literals.values())
        for var, array in graph.consts.items():
            known = None if earlier is None else earlier.places.get(var)
            if known is not None and earlier is not None and earlier.constants.get(known.buffer) is array:
                self.places[var], self.constants[known.buffer] = known, array
            else:
                self.places[var] = self._constant(array, var.name or "constant")
        is_as_it_was = None if earlier is None else self.is_as_in(earlier)
        for eq in graph.equations:
            if is_as_it_was is not None and self._take(eq, is_as_it_was):
                continue
            if next(eq.variables(), None) is None and self._fold(eq):
                continue
            seen = None if LOOKING.isdisjoint(eq.op.traits) else self._seen(eq)
            for n, var in enumerate(eq.outputs):
                if seen is None:
                    self._new(var, var.name or eq.op.name)
                else:
                    self.places[var], self.views[var] = seen[n], eq
        self._earlier = None

    def _take(self, eq: Equation, is_as_it_was: Callable[[Var], bool]) -> bool:
        """Have the results of an equation where they lay earlier; whether it is the same, of what lies there too."""
        earlier = self._earlier
        if earlier is None or eq not in earlier.equations or not all(map(is_as_it_was, eq.variables())):
            return False
        for var in eq.outputs:
            place = self.places[var] = earlier.places[var]
            if var in earlier.views:
                self.views[var] = eq
            if var in earlier.folded:
                self.folded[var] = self.constants[place.buffer] = earlier.folded[var]
        return True

    def is_as_in(self, earlier: Layout) -> Callable[[Var], bool]:
        """Asks of a variable whether it lies where it did."""
        here, there = self.places, earlier.places
        return lambda var: here[var] is there.get(var)

    def serve(self, graph: Graph) -> None:
        """Be the layout of another graph of the same equations, which has cells where this one has inputs, or more."""
        self.inputs = {self._own(var).buffer: number for number, var in enumerate(graph.inputs)}
        self.cells = {self._own(decl.var, decl.path).buffer: number for number, decl in enumerate(graph.cells)}

    def _own(self, var: Var, path: str = "") -> Place:
        """The place of an input or a cell."""
        known = self.places.get(var)
        if known is None:
            return self._new(var, path)
        known.buffer.what = path or known.buffer.what
        return known

    def _fold(self, eq: Equation) -> bool:
        """Compute what an equation gives that has no inputs, now; whether that was done."""
        if eq.is_arithmetic or eq.op.among("checks", "higher order"):
            return False
        if sum(var.aval.nbytes for var in eq.outputs) > FOLDED:
            return False
        weak = has_weak_numbers(eq)
        operands = [_plain(atom, weak) for atom in eq.inputs]
        results = array_function(eq)(*operands)
        if len(eq.outputs) == 1 and not eq.op.signature.variadic:
            results = (results,)
        for var, value in zip(eq.outputs, results, strict=True):
            self.folded[var] = np.asarray(value)
            self.places[var] = self._constant(self.folded[var], var.name or eq.op.name)
        return True

    def _new(self, var: Var, what: str = "") -> Place:
        earlier = self._earlier
        if earlier is not None and var in earlier.places and var not in earlier.views and var not in earlier.folded:
            place = self.places[var] = earlier.places[var]
            return place
        made = self.places[var] = Place.new(var.aval.shape, var.aval.dtype, what or var.name or "input")
        return made

    def _constant(self, array: Array, what: str) -> Place:
        buffer = Buffer(array.nbytes, what)
        self.constants[buffer] = array
        return Place(buffer, array.shape, array.dtype, array.strides)

    def is_folded(self, var: Var) -> bool:
        """Whether a variable lies in memory of what was computed once."""
        return any(self.places[var].buffer is self.places[other].buffer for other in self.folded)

    def operand(self, atom: Any, weak: bool) -> Any:
        """An input of an equation as rules take it: a place, None, or a number where it stays weak."""
        if isinstance(atom, tuple):
            return [self.operand(a, False) for a in atom]
        if type(atom) is Var:
            return self.places[atom]
        value = atom.value
        if weak or type(value) not in SCALARS:
            return value
        key = type(value), repr(value)
        if key not in self._literals:
            self._literals[key] = self._constant(as_array(value), repr(value))
        return self._literals[key]

    def operands(self, eq: Equation) -> tuple[Any, ...]:
        """The inputs of an equation as rules take them."""
        weak = has_weak_numbers(eq)
        return tuple(self.operand(atom, weak) for atom in eq.inputs)

    def _seen(self, eq: Equation) -> list[Place] | None:
        """The places of what an equation gives where it only looks at its first input."""
        op = eq.op
        if op.among("checks") or eq.residuals:
            return None
        variables = list(eq.variables())
        if len(variables) != 1 or variables[0] is not eq.inputs[0] or is_number(variables[0]):
            return None
        place = self.places[variables[0]]
        empty = [Place(place.buffer, p.shape, p.dtype, p.strides, place.offset) for p in map(_empty, eq.outputs)]
        if not variables[0].aval.size or not any(var.aval.size for var in eq.outputs):
            return empty
        others = [[] if isinstance(atom, tuple) else _value(atom) for atom in eq.inputs[1:]]
        try:
            types = place.shape, place.dtype, place.strides, *[var.aval for var in eq.outputs]
            key = op, typed_key(others), self.keys.of(eq.attrs), types
            known = self._looks.get(key)
        except TypeError:  # what has no key is like nothing else
            return self._looked(eq, place, others, empty)
        if known is None:
            found = self._looked(eq, place, others, empty)
            self._looks[key] = place, found
            return found
        before, looks = known
        return looks and [
            Place(place.buffer, p.shape, p.dtype, p.strides, p.offset - before.offset + place.offset) for p in looks
        ]

    def _looked(self, eq: Equation, place: Place, others: list[Any], empty: list[Place]) -> list[Place] | None:
        """The places of what an equation gives, found by its forward on an array in such a place."""
        stand, function = Stand(place), array_function(eq)
        try:
            with np.errstate(all="ignore"):
                results = function(stand.array, *others)
                if isinstance(results, np.generic):  # a scalar of one element: not so beside a further axis
                    results = function(stand.array[..., None], *others).reshape(())
        except Exception:  # an op of a user's that looks at the numbers
            return None
        views = results if isinstance(results, tuple) else (results,)  # of which a split may give some that are empty
        found = [stand.place(r) if var.aval.size else e for r, var, e in zip(views, eq.outputs, empty, strict=True)]
        if any(one is None or (one.shape, one.dtype) != (var.aval.shape, var.aval.dtype)
               for one, var in zip(found, eq.outputs, strict=True)):  # fmt: skip
            return None
        return found  # type: ignore[return-value]


def _plain(atom: Any, weak: bool) -> Any:
    """An input that is no variable, as forwards take it."""
    if isinstance(atom, tuple):
        return [_plain(a, False) for a in atom]
    return as_array(atom.value) if not weak and type(atom.value) in SCALARS else atom.value


def _value(atom: Any) -> Any:
    assert isinstance(atom, Literal)
    return atom.value


def _empty(var: Var) -> Place:
    return Place.new(var.aval.shape, var.aval.dtype)


class Stand:
    """An array of a place's shape and strides, of which forwards make views: nobody reads or writes its numbers."""

    def __init__(self, place: Place) -> None:
        spans = [(n - 1) * stride for n, stride in zip(place.shape, place.strides, strict=True)]
        before = -sum(s for s in spans if s < 0)
        size = before + sum(s for s in spans if s > 0) + place.dtype.itemsize
        self.memory = np.empty(size, np.uint8)  # which the system gives when it is touched
        self.original = place
        self.array: Array = np.ndarray(place.shape, place.dtype, self.memory, before, place.strides)

    def place(self, view: Any) -> Place | None:
        """The place of a view; None where it is none."""
        if type(view) is not np.ndarray or not np.may_share_memory(view, self.memory):
            return None
        offset = address_of(view) - address_of(self.array)
        return Place(self.original.buffer, view.shape, view.dtype, view.strides, self.original.offset + offset)


def address_of(array: Array) -> int:
    """Where the first element of an array is."""
    place: int = array.__array_interface__["data"][0]
    return place

"""A graph's equations at other sizes and in float64: the graphs whose programs recognition tries regions on.

Each equation is typed anew by its op's own shape rule, so that what runs is an ordinary graph of those types. Where the
result is not what stands at these sizes, a slice that is all there is, say, the equation cannot be tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tree import listed
from tensorgraph.graph.equation import abstract
from tensorgraph.graph.forms import has_weak_numbers
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.program import Program
from tensorgraph.ops.shape import astype
from tensorgraph.passes.recognise.roles import creates
from tensorgraph.passes.recognise.view import View

if TYPE_CHECKING:
    from tensorgraph.passes.recognise.numbers import Sizes

__all__ = ["Retyping", "Runnable", "attributes_at", "retyping"]

FLOAT = np.dtype(np.float64)
WITH_SIZES = frozenset({"shape", "sizes", "classes", "n", "start", "stop"})

Atom = Any


class Runnable:
    """A program of some of a graph's equations: the graph's variables that it reads and those that it gives."""

    __slots__ = ("inputs", "outputs", "program")

    def __init__(self, program: Program, inputs: tuple[Var, ...], outputs: tuple[Var, ...]) -> None:
        self.program = program
        self.inputs = inputs
        self.outputs = outputs


class Retyping:
    """The equations of a view at these sizes, floats in float64. Made by `retyping`."""

    def __init__(self, view: View, sizes: Sizes) -> None:
        self.view = view
        self.sizes = sizes
        self.variables: dict[Var, Var] = {}
        self.consts: dict[Var, np.ndarray[Any, Any]] = {}  # numbers that stand where an op takes arrays only
        self.known: dict[int, tuple[Equation, ...]] = {}
        self.programs: dict[tuple[int, ...], Runnable] = {}

    def program(self, numbers: Sequence[int]) -> Runnable:
        """What runs the equations of these numbers, which are in order.

        Raises
        ------
        Exception
            Whatever a shape rule raises at these sizes; ValueError where one gives other sizes than were exchanged.
        """
        key = tuple(numbers)
        runnable = self.programs.get(key)
        if runnable is None:
            runnable = self.programs[key] = self._program(key)
        return runnable

    def _program(self, numbers: tuple[int, ...]) -> Runnable:
        equations = tuple(eq for n in numbers for eq in self.equations(n))
        read: dict[Var, None] = {}
        made: dict[Var, None] = {}
        for n in numbers:
            read.update((v, None) for v in self.view.read[n] if v not in made)
            made.update((v, None) for v in self.view.equations[n].outputs)
        inputs, outputs = tuple(self.var(v) for v in read), tuple(self.var(v) for v in made)
        consts = {v: self.consts[v] for eq in equations for v in eq.variables() if v in self.consts}
        graph = Graph(inputs, (), consts, equations, (), outputs, listed(len(inputs)), listed(len(outputs)))
        return Runnable(Program(graph, keep=True), tuple(read), tuple(made))

    def var(self, var: Var) -> Var:
        """What stands for a variable."""
        own = self.variables.get(var)
        if own is None:
            dtype = FLOAT if var.aval.dtype.kind == "f" else var.aval.dtype
            own = self.variables[var] = Var(Aval(self.sizes(var.aval.shape), dtype))
        return own

    def equations(self, number: int) -> tuple[Equation, ...]:
        """One equation, with the casts that it needs around it."""
        if number not in self.known:
            self.known[number] = tuple(self._retyped(self.view.equations[number]))
        return self.known[number]

    def _retyped(self, eq: Equation) -> list[Equation]:
        weak = has_weak_numbers(eq)
        atoms = tuple(
            tuple(self._atom(a, False) for a in atom) if isinstance(atom, tuple) else self._atom(atom, weak)
            for atom in eq.inputs
        )
        attrs = attributes_at(eq, self.sizes)
        avals = self._infer(eq, atoms, attrs)
        before: list[Equation] = []
        if any(a.dtype.kind == "f" and a.dtype != FLOAT for a in avals):  # a quotient of integers
            wide = tuple(self._wide(atom, before) for atom in atoms)
            try:
                avals, atoms = self._infer(eq, wide, attrs), wide
            except (TypeError, ValueError):  # the op wants the integers, as labels
                before = []
        outputs, after = [], []
        for out, aval in zip(eq.outputs, avals, strict=True):
            own = self.var(out)
            if aval.shape != own.aval.shape or aval.dtype.kind != own.aval.dtype.kind:
                raise ValueError(f"{eq.op.name} gives {aval} where {own.aval} was exchanged")
            made = own if aval == own.aval else Var(aval)
            if made is not own:
                after.append(_cast(made, own))
            outputs.append(made)
        return [*before, Equation(eq.op, atoms, attrs, tuple(outputs)), *after]

    def _infer(self, eq: Equation, atoms: tuple[Atom, ...], attrs: dict[str, Any]) -> tuple[Aval, ...]:
        given = tuple(abstract(a) for a in atoms)
        avals = eq.op.infer(given, attrs)
        if eq.residuals:
            if eq.op.reference is not None:
                raise ValueError(f"{eq.op.name}: what a kernel keeps has no composed form")
            avals = (*avals, *(eq.op.infer_residuals(given, attrs) or ()))
        return tuple(avals)

    def _atom(self, atom: Var | Literal, weak: bool) -> Var | Literal:
        if type(atom) is Var:
            return self.var(atom)
        value = self.sizes.number(atom.value)  # type: ignore[union-attr]
        if weak or type(value) is not float:
            return Literal(value)
        var = Var(Aval((), FLOAT))
        self.consts[var] = np.asarray(value)
        return var

    def _wide(self, atom: Atom, casts: list[Equation]) -> Atom:
        if isinstance(atom, tuple):
            return tuple(self._wide(a, casts) for a in atom)
        if type(atom) is not Var or atom.aval.dtype.kind == "f":
            return atom
        casts.append(_cast(atom, Var(Aval(atom.aval.shape, FLOAT))))
        return casts[-1].outputs[0]


def attributes_at(eq: Equation, sizes: Sizes) -> dict[str, Any]:
    """An equation's attributes at these sizes and in float64."""
    result = {}
    for name, value in eq.attrs.items():
        if name in WITH_SIZES:
            value = sizes(value)
        elif name == "key":
            slices = [isinstance(v, tuple) and v[0] == "slice" for v in value]
            value = tuple(("slice", *sizes(v[1:])) if s else v for v, s in zip(value, slices, strict=True))
        elif name == "dtype":
            floating = eq.outputs[0].aval.dtype.kind == "f"
            value = "float64" if floating and (value is not None or creates(eq)) else value
        result[name] = value
    return result


def retyping(view: View, sizes: Sizes) -> Retyping:
    """The view's equations at these sizes: one for each way in which sizes are exchanged."""
    key = frozenset(sizes.table.items())
    if key not in view.retypings:
        view.retypings[key] = Retyping(view, sizes)
    known: Retyping = view.retypings[key]
    return known


def _cast(var: Var, to: Var) -> Equation:
    return Equation(astype, (var,), {"dtype": to.aval.dtype.name}, (to,))

"""What passes share: equations made with the types their shape rules give, variables replaced, changes written down."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.graph.equation import abstract
from tensorgraph.graph.graph import Atom, Change, Equation, Graph, Literal, Source, Var, Write
from tensorgraph.text.names import names
from tensorgraph.text.printing import equation_text

__all__ = ["UNCHANGED", "Log", "derived", "group", "infer", "nearest", "rebuilt", "replaced", "replaced_in"]

UNCHANGED = "as it was"  # what a report says of something that was found and left


def nearest(name: object, known: Iterable[str]) -> str:
    """How a message about an unknown name goes on: with the name that was meant, if there is one like it."""
    near = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else "."


def group(atom: Atom) -> tuple[Var | Literal, ...]:
    """The items of a list input; of any other input itself."""
    return atom if isinstance(atom, tuple) else (atom,)


def infer(op: Op, inputs: tuple[Atom, ...], attrs: Mapping[str, Any]) -> tuple[Aval, ...]:
    """The types of an op's outputs for these inputs of a graph.

    Raises
    ------
    ValueError, TypeError
        Where the shape rule refuses them.
    """
    return op.infer(tuple(map(abstract, inputs)), attrs)


def derived(
    like: Equation, op: Op | str, inputs: Iterable[Atom], attrs: Mapping[str, Any] | None = None,
    outputs: tuple[Var, ...] | None = None,
) -> Equation:  # fmt: skip
    """An equation in the place of another: its call, its line, its origin, and its outputs unless others are given.

    Raises
    ------
    ValueError, TypeError
        Where the shape rule refuses the inputs, or gives other types than the outputs have.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> eq = tg.trace(lambda x: -x, tg.f32[3]).equations[0]
    >>> derived(eq, "tanh", eq.inputs).op.name
    'tanh'
    """
    op = CATALOGUE[op] if isinstance(op, str) else op
    inputs = tuple(inputs)
    given = dict(attrs or {})
    complete = {name: given.pop(name, default) for name, default in op.attrs.items()}
    if given:
        raise TypeError(f"{op.name} has no attribute {next(iter(given))!r}; it has {', '.join(op.attrs) or 'none'}")
    avals = infer(op, inputs, complete)
    if outputs is None:
        outputs = like.outputs
        if op is like.op and like.residuals:
            avals = (*avals, *(op.infer_residuals(tuple(map(abstract, inputs)), complete) or ()))
    if tuple(v.aval for v in outputs) != avals:
        raise TypeError(f"{op.name} gives {avals} here, not {tuple(v.aval for v in outputs)}")
    return Equation(op, inputs, complete, outputs, like.call, like.source, like.origin, like.part)


def replaced(atom: Any, by: Mapping[Var, Var | Literal]) -> Any:
    """An atom, or a list of them, with variables replaced."""
    if type(atom) is Var:
        return by.get(atom, atom)
    if isinstance(atom, tuple):
        return tuple(replaced(a, by) for a in atom)
    return atom


def replaced_in(eq: Equation, by: Mapping[Var, Var | Literal]) -> Equation:
    """An equation with variables replaced in its inputs and its origin; the same object where there are none."""
    if not by:
        return eq
    inputs = tuple(replaced(a, by) for a in eq.inputs)
    origin = eq.origin
    if origin is not None:
        of = by.get(origin.of, origin.of)
        if of is not origin.of and type(of) is Var:
            origin = replace(origin, of=of)
    if origin is eq.origin and all(_same(a, b) for a, b in zip(inputs, eq.inputs, strict=True)):
        return eq
    return Equation(eq.op, inputs, eq.attrs, eq.outputs, eq.call, eq.source, origin, eq.part)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(x is y for x, y in zip(a, b, strict=True))
    return a is b


def rebuilt(
    graph: Graph, equations: Iterable[Equation], by: Mapping[Var, Var | Literal] | None = None,
    consts: Mapping[Var, Any] | None = None, changes: Iterable[Change] = (),
) -> Graph:  # fmt: skip
    """The graph with these equations, which have their replacements already; outputs and writes get theirs here.

    `consts` are the constants (those of the graph unless given), `changes` come after the graph's own.
    """
    by = by or {}
    return graph.replace(
        equations=tuple(equations),
        outputs=tuple(replaced(a, by) for a in graph.outputs),
        writes=tuple(Write(w.cell, replaced(w.value, by), w.source) for w in graph.writes),
        consts=graph.consts if consts is None else consts,
        changes=(*graph.changes, *changes),
    )


class _Names(dict[Var, str]):
    """Names of a graph's variables; variables that a pass made are numbered as they are asked for."""

    def __missing__(self, var: Var) -> str:
        name = self[var] = f"{var.name or 'new'}_{len(self)}"
        return name


class Log:
    """The changes of one step, written down while it runs, in the names of the graph it began with."""

    def __init__(self, graph: Graph, step: str) -> None:
        self.graph = graph
        self.step = step
        self.changes: list[Change] = []
        self._names: _Names | None = None

    def text(self, what: Equation | Atom | str) -> str:
        """An equation or a variable as a person reads it."""
        if isinstance(what, str):
            return what
        if self._names is None:
            self._names = _Names(names(self.graph))
        if isinstance(what, Equation):
            return equation_text(what, self._names)
        return self._names[what] if isinstance(what, Var) else repr(what)

    def note(
        self, rule: str, before: Equation | str, after: Equation | Atom | str, source: Source | None, note: str = "",
        scopes: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Write down one change; `scopes` are those of the equations that were there, where these are several."""
        scopes = tuple(dict.fromkeys(scopes)) or ((before.scope,) if isinstance(before, Equation) else ())
        self.changes.append(Change(self.step, rule, self.text(before), self.text(after), source, note, scopes))

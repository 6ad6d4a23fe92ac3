"""What the graphs of several functions have in common: one graph, with inputs for the numbers in which they differ.

Two graphs that differ in numbers alone (a dropout's rate, a captured array) are of one shape. These numbers become
inputs of a graph that stands for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import creation, elementwise
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, digest, typed_key

__all__ = ["common", "shape_of"]

Array = np.ndarray[Any, Any]


def shape_of(graph: Graph) -> tuple[tuple[Any, ...], list[Any]]:
    """What a graph is apart from numbers that may differ, and these numbers."""
    number: dict[Var, int] = {}
    numbers: list[Any] = []

    def define(var: Var) -> Aval:
        number[var] = len(number)
        return var.aval

    def use(eq: Equation | None, atom: Any) -> Any:
        if isinstance(atom, tuple):
            return tuple(use(eq, a) for a in atom)
        if type(atom) is Var:
            return number[atom]
        if eq is not None and type(atom.value) is float and free_dtype(eq) is not None:
            numbers.append(atom.value)
            return "number"
        return typed_key(atom.value)

    def attribute(eq: Equation, name: str, value: Any) -> Any:
        if name == "value" and _fills(eq):
            numbers.append(value)
            return "number"
        return typed_key(value)

    inputs = tuple(map(define, graph.inputs))
    cells = tuple((decl.path, decl.kind, decl.requires_grad, define(decl.var)) for decl in graph.cells)
    consts = tuple(map(define, graph.consts))
    equations = tuple(
        (
            id(eq.op), tuple(use(eq, a) for a in eq.inputs),
            tuple((name, attribute(eq, name, value)) for name, value in sorted(eq.attrs.items())),
            tuple(map(define, eq.outputs)),
        )
        for eq in graph.equations
    )  # fmt: skip
    writes = tuple((number[w.cell], use(None, w.value)) for w in graph.writes)
    outputs = tuple(use(None, atom) for atom in graph.outputs)
    numbers += graph.consts.values()
    return (inputs, cells, consts, equations, writes, outputs), numbers


def _fills(eq: Equation) -> bool:
    """Whether an equation makes an array of one number that it holds."""
    return eq.op.kind is creation and not eq.inputs and type(eq.attrs.get("value")) is float


def free_dtype(eq: Equation) -> np.dtype[Any] | None:
    """The dtype that a number takes beside the other inputs of an equation; None where it must stay as it is."""
    if eq.op.kind is not elementwise or eq.of_numbers or any(isinstance(atom, tuple) for atom in eq.inputs):
        return None
    dtypes = {a.aval.dtype for a in eq.inputs if type(a) is Var and not is_number(a) and a.aval.dtype.kind != "b"}
    return next(iter(dtypes)) if len(dtypes) == 1 and next(iter(dtypes)).kind == "f" else None


def common(graphs: Sequence[tuple[Graph, list[Any]]]) -> tuple[Graph, list[list[Array]]]:
    """One graph of all of the same `shape`, with an input for each number in which they differ.

    Parameters
    ----------
    graphs : sequence of (Graph, list)
        Each with its numbers, as `shape_of` gives them.

    Returns
    -------
    graph : Graph
    numbers : list of list of ndarray
        For each of those inputs, after the graph's own, what it is in each.
    """
    first = graphs[0][0]
    columns = [list(column) for column in zip(*[numbers for _, numbers in graphs], strict=True)]
    literals = len(columns) - len(first.consts)
    added: list[Var] = []
    given: list[list[Array]] = []
    rest = iter(columns[:literals])

    def is_free(atom: Any) -> bool:
        return type(atom) is Literal and type(atom.value) is float

    def free(literal: Any, dtype: np.dtype[Any]) -> Any:
        column = next(rest)
        if len({v.hex() for v in column}) == 1:
            return literal
        added.append(Var(Aval((), dtype)))
        given.append([np.array(v, dtype) for v in column])
        return added[-1]

    equations = []
    for eq in first.equations:
        if _fills(eq):
            column, out = next(rest), eq.outputs[0]
            if len({v.hex() for v in column}) > 1:
                added.append(out)
                given.append([np.full(out.aval.shape, v, out.aval.dtype) for v in column])
                continue
        dtype = free_dtype(eq)
        if dtype is not None and any(map(is_free, eq.inputs)):
            eq = replace(eq, inputs=tuple(free(a, dtype) if is_free(a) else a for a in eq.inputs))
        equations.append(eq)
    kept = dict(first.consts)
    for var, column in zip(first.consts, columns[literals:], strict=True):
        if len({digest(array) for array in column}) > 1:
            added.append(var)
            given.append(column)
            del kept[var]
    inputs = (*first.inputs, *added)
    graph = first.replace(
        inputs=inputs, in_tree=flatten([0] * len(inputs))[1], consts=kept, equations=tuple(equations), arguments=()
    )
    return graph, given

"""Running a graph to look at it: one equation after another on given or made-up numbers, each result shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.analysis.describe import printable
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.operands import Borrowed
from tensorgraph.engine.spec import Typed, require_sizes
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.evaluate import match_arguments
from tensorgraph.graph.graph import CellDecl, Graph, Var
from tensorgraph.graph.keywords import arranged, called_by_name, refuse_strangers
from tensorgraph.graph.program import Program, Watch
from tensorgraph.graph.trace import trace

__all__ = ["Given", "as_numbers", "execute", "given", "graph_of", "loss_of"]


@dataclass(frozen=True)
class Given:
    """Values for a graph's inputs and cells, and the names of those that were made up."""

    inputs: tuple[Tensor, ...]
    cells: tuple[Tensor, ...]
    made: tuple[str, ...]

    def of(self, graph: Graph) -> dict[Var, Tensor]:
        """The values by variable, constants included."""
        values = {var: wrap(as_numbers(value)) for var, value in zip(graph.inputs, self.inputs, strict=True)}
        values.update({cell.var: value for cell, value in zip(graph.cells, self.cells, strict=True)})
        values.update({var: wrap(array) for var, array in graph.consts.items()})
        return values


def as_numbers(value: Any) -> np.ndarray[Any, Any]:
    """A value of a run, a tensor or a Python number, as an array."""
    return np.asarray(value._value if isinstance(value, Tensor) else value)


def graph_of(
    target: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], what: str, own: tuple[str, ...] = ()
) -> tuple[Graph, tuple[Any, ...]]:
    """The graph to run, as given, or traced with the arguments, and these in its order.

    `own` are the options of the function of the name `what`, which a misspelled keyword may have meant.
    """
    if isinstance(target, Graph):
        return target, arranged(target, args, keywords)
    if not callable(target):
        raise TypeError(f"{what} takes a graph, a model or a function with its arguments, got {type(target).__name__}")
    refuse_strangers(what, target, keywords, own)
    require_sizes(what, args, keywords)
    return trace(target, *args, **keywords), tuple(value for _, value in called_by_name(target, args, keywords))


def given(graph: Graph, args: tuple[Any, ...], seed: int = 0) -> Given:
    """The user's values; random ones in the place of specs, or of all arguments where none are given.

    Cells have the values of the live ones where they are still there; others are made up.

    Raises
    ------
    ValueError, TypeError
        Where the arguments do not fit the graph.
    """
    rng = np.random.default_rng(seed)
    made: list[str] = []
    if not args and graph.inputs:
        leaves: list[Any] = []
        static = dict(graph.statics)
        variables = iter(graph.inputs)
        for position in range(graph.in_tree.size):
            leaves.append(static[position] if position in static else next(variables).aval)
        args = tuple(unflatten(graph.in_tree, leaves))
    leaves, tree = flatten(list(args), graph.in_tree)
    order = iter(graph.inputs)
    statics = {position for position, _ in graph.statics}
    for position, leaf in enumerate(leaves):
        var = None if position in statics else next(order, None)
        leaf = leaf[()] if isinstance(leaf, Typed) else leaf
        if isinstance(leaf, Aval):
            made.append((var.name if var is not None else None) or f"argument {position}")
            leaves[position] = _random(leaf, rng)
    inputs = match_arguments(graph, tuple(unflatten(tree, leaves)))
    live = graph.provenance.cells(len(graph.cells))
    cells = []
    for decl, cell in zip(graph.cells, live, strict=True):
        if cell is not None and (cell.shape, cell.dtype) == (decl.aval.shape, decl.aval.dtype):
            cells.append(wrap(cell._value))
        else:
            made.append(f"{decl.kind} {decl.path}")
            cells.append(wrap(_cell(decl, rng)))
    values = tuple(wrap(_value(t)) if isinstance(t, Tensor) else t for t in inputs)
    return Given(values, tuple(cells), tuple(made))


def _value(t: Tensor) -> Any:
    return t._value.copy() if type(t) is Borrowed else t._value


def _random(aval: Aval, rng: np.random.Generator) -> Any:
    """Normal numbers; zeros for integers, which are valid labels and indices."""
    if type(aval) is Number:
        return float(rng.standard_normal()) if aval.kind is float else aval.sample
    if aval.dtype.kind == "f":
        return np.asarray(rng.standard_normal(aval.shape), aval.dtype)
    if aval.dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, aval.shape), bool)
    return np.zeros(aval.shape, aval.dtype)


def _cell(decl: CellDecl, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A parameter as a layer would begin with; a buffer of ones, as a running variance, or a half, as a decay."""
    if decl.aval.dtype.kind != "f":
        return np.zeros(decl.aval.shape, decl.aval.dtype)
    if decl.kind != "parameter":
        return np.full(decl.aval.shape, 1.0 if decl.aval.shape else 0.5, decl.aval.dtype)
    inputs = max(decl.aval.shape[0] if decl.aval.ndim > 1 else 1, 1)
    return np.asarray(rng.standard_normal(decl.aval.shape) / inputs**0.5, decl.aval.dtype)


def loss_of(graph: Graph) -> tuple[tuple[Any, ...], tuple[Any, ...], int]:
    """What is differentiated, its cotangents, and the number of equations before: from the first deferred gradient,
    else the first result that is one float.

    Raises
    ------
    ValueError
        Where there is neither.
    """
    for position, eq in enumerate(graph.equations):
        if eq.is_gradient:
            return eq.group(0), eq.group(2), position
    for out in graph.outputs:
        if isinstance(out, Var) and out.aval.size == 1 and out.aval.dtype.kind == "f":
            return (out,), (), len(graph.equations)
    raise ValueError(
        f"{printable(graph.name)}: gradients need a loss, a result of one float; "
        "none of the results is one: take the mean or the loss in the function"
    )


def execute(
    graph: Graph, values: Given, watch: Watch, *, keep: bool = False, until: int | None = None, grad: bool = False
) -> dict[Var, Tensor]:
    """Evaluate, and call ``watch(position, equation, operands, results, seconds)`` after each equation.

    Parameters
    ----------
    graph : Graph
    values : Given
    watch : callable
    keep : bool
        Keep every value to the end, else free each after its last use.
    until : int, optional
        Stop before this equation.
    grad : bool
        Record all of it, so that it can be differentiated by every float in it.

    Returns
    -------
    dict of Var to Tensor
        The values that are left.
    """
    floats = (var for var in graph.variables() if var.aval.dtype.kind == "f" and type(var.aval) is not Number)
    leaves = [*floats] if grad else ()
    program = Program(graph, leaves, keep) if keep or leaves else graph.program
    with modes.use(quiet=True), np.errstate(all="ignore"):
        env = program.taped((*values.inputs, *values.cells), history=grad, watch=watch, until=until)
    return {var: env[slot] for var, slot in program.slots.items() if isinstance(env[slot], Tensor)}

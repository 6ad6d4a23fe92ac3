"""What must hold of every graph: types, order, single assignment, writes."""

from __future__ import annotations

from typing import Any

from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.numbers import number_type
from tensorgraph.graph.forms import has_weak_numbers
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.ops.shape import astype

__all__ = ["GraphError", "check"]


class GraphError(ValueError):
    """A graph that is not well formed."""


def check(graph: Graph) -> Graph:
    """Verify a graph; returns it.

    Raises
    ------
    GraphError
        Naming the equation and the rule that it breaks.
    """
    known: set[Var] = set()

    def define(var: Any, where: str) -> None:
        if type(var) is not Var:
            raise GraphError(f"{where}: expected a variable, got {var!r}")
        if var in known:
            raise GraphError(f"{where}: {var!r} is assigned twice")
        known.add(var)

    def use(atom: Any, where: str) -> None:
        if type(atom) is Var:
            if atom not in known:
                raise GraphError(f"{where}: {atom!r} is used before it is assigned")
        elif type(atom) is not Literal:
            raise GraphError(f"{where}: expected a variable or a literal, got {atom!r}")

    for var in graph.inputs:
        define(var, "inputs")
    paths = set()
    for decl in graph.cells:
        define(decl.var, f"cell {decl.path}")
        if decl.path in paths:
            raise GraphError(f"two cells have the path {decl.path!r}")
        paths.add(decl.path)
    for var, array in graph.consts.items():
        define(var, "constants")
        if (array.shape, array.dtype) != (var.aval.shape, var.aval.dtype):
            raise GraphError(f"a constant declared {var.aval} holds {array.dtype}{array.shape}")
    copies: dict[Any, Any] = {}  # equations that were copied share their attributes: of one type they are alike
    for number, eq in enumerate(graph.equations):  # what is told of one is made where there is something to tell
        if len(eq.inputs) != len(eq.op.signature.inputs):
            where = _where(number, eq)
            raise GraphError(f"{where}: expected {len(eq.op.inputs)} inputs, got {len(eq.inputs)}")
        for atom in eq.atoms():
            if atom not in known if type(atom) is Var else type(atom) is not Literal:
                use(atom, _where(number, eq))
        if not eq.is_checked:  # passes keep most equations
            types = tuple([a.aval if type(a) is Var else None for a in eq.atoms()])
            made = [out.aval for out in eq.outputs]
            if copies.get((id(eq.attrs), types)) != made:
                _check_types(eq, number)
                copies[id(eq.attrs), types] = made
            object.__setattr__(eq, "is_checked", True)
        for var in eq.outputs:
            if type(var) is not Var or var in known:
                define(var, _where(number, eq))
            known.add(var)
    cell_vars = {decl.var for decl in graph.cells}
    written = set()
    for write in graph.writes:
        if write.cell not in cell_vars:
            raise GraphError(f"a write goes to {write.cell!r}, which is not a cell of the graph")
        if write.cell in written:
            raise GraphError(f"cell {write.cell!r} is written twice")
        written.add(write.cell)
        use(write.value, "writes")
        if type(write.value) is Var and write.value.aval != write.cell.aval:
            raise GraphError(f"a write of {write.value.aval} goes to a cell of {write.cell.aval}")
    for atom in graph.outputs:
        use(atom, "outputs")
    if len(graph.outputs) != graph.out_tree.size:
        raise GraphError(f"expected {graph.out_tree.size} outputs, got {len(graph.outputs)}")
    if len(graph.inputs) + len(graph.statics) != graph.in_tree.size:
        raise GraphError(f"expected {graph.in_tree.size} inputs, got {len(graph.inputs) + len(graph.statics)}")
    return graph


def _where(number: int, eq: Equation) -> str:
    return f"equation {number} ({eq.op.name})"


def _check_types(eq: Equation, number: int) -> None:
    """Output types must be what the shape rule says of the input types."""
    if any(type(a) is Literal and a.value is Ellipsis for a in eq.atoms()):
        return  # read from a tape, which does not keep every operand

    try:
        avals = eq.avals()
        if eq.is_arithmetic:
            types = tuple(a.value if isinstance(a, Literal) else a.aval for a in eq.atoms())
            if not all(type(t) is Number or type(t) in (int, float, bool) for t in types):
                raise TypeError("Python's arithmetic is of numbers")
            if number_type(eq.op, types) != eq.outputs[0].aval:
                raise TypeError(f"Python gives a {number_type(eq.op, types)}, and {eq.outputs[0].aval} is declared")
            return
        if eq.is_conversion:
            made = Aval((), eq.attrs["dtype"])
            if eq.op is not astype or eq.outputs[0].aval != made:
                raise TypeError(f"a number becomes {made}, and {eq.outputs[0].aval} is declared")
            return
        if eq.reads_number and not has_weak_numbers(eq):
            raise TypeError("a Python number is read where only tensors are: convert it by tensor(s, dtype)")
        expected = eq.op.infer(avals, eq.attrs)
        if eq.residuals:
            expected = (*expected, *(eq.op.infer_residuals(avals, eq.attrs) or ()))
    except Exception as error:
        raise GraphError(f"{_where(number, eq)}: the shape rule fails: {error}") from error
    if tuple(v.aval for v in eq.outputs) != tuple(expected):
        declared = [v.aval for v in eq.outputs]
        raise GraphError(f"{_where(number, eq)}: the shape rule gives {expected}, the outputs are {declared}")

"""Structural digests: what must be equal for two parts of a graph to be drawn as one."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from typing import Any

import numpy as np

from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Var
from tensorgraph.viz.model.labels import opaque

__all__ = ["digest_of", "kind_of_atom", "structure"]


def digest_of(eq: Equation, cells: Mapping[Var, CellDecl], consts: Container[Var]) -> tuple[Any, ...]:
    """An equation by itself: op, attributes, kinds and types of operands and results; not which operand it is.

    Where an index op looks is left out: the steps of an unrolled recurrence read one row each, and are alike.
    """
    looks = getattr(eq.op.kind, "name", eq.op.kind) == "index"
    return (
        eq.op.name,
        tuple((name, plain(value, looks)) for name, value in sorted(eq.attrs.items())),
        tuple(
            tuple(kind_of_atom(a, cells, consts) for a in atom)
            if isinstance(atom, tuple)
            else kind_of_atom(atom, cells, consts)
            for atom in eq.inputs
        ),
        tuple((out.aval.shape, out.aval.dtype.str) for out in eq.outputs),
    )


def kind_of_atom(atom: Var | Literal, cells: Mapping[Var, CellDecl], consts: Container[Var]) -> tuple[Any, ...]:
    """What an operand is, without its name."""
    if isinstance(atom, Literal):
        return ("literal", plain(atom.value))
    kind: Any = "value"
    if atom in cells:
        kind = (cells[atom].kind, cells[atom].requires_grad)
    elif atom in consts:
        kind = "constant"
    return (kind, atom.aval.shape, atom.aval.dtype.str)


def plain(value: Any, blank: bool = False) -> Any:
    """A hashable, comparable form in which 1, 1.0 and True differ; with `blank`, integers are all alike."""
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(plain(item, blank) for item in value)
    if isinstance(value, slice):
        return "slice", tuple(plain(item, blank) for item in (value.start, value.stop, value.step))
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
    if isinstance(value, Graph):
        return "graph", value.key()
    if isinstance(value, dict):
        return "dict", tuple((str(key), plain(item, blank)) for key, item in value.items())
    if blank and isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return "int"
    if isinstance(value, float):
        return "float", value.hex()
    code = getattr(value, "__code__", None)
    if code is not None:  # a function of the user's: where it is written, not where it lies
        return "function", value.__qualname__, code.co_firstlineno, hashlib.sha256(code.co_code).digest()
    return type(value).__name__, "" if opaque(value) else repr(value)


def structure(graph: Graph, equations: Iterable[int]) -> str:
    """Sixteen hexadecimal digits of a part of a graph: ops, types and wiring; not names. Equal in every process."""
    cells = {cell.var: cell for cell in graph.cells}
    number: dict[Var, int] = {}
    h = hashlib.sha256()
    for i in equations:
        eq = graph.equations[i]
        wires = [number.setdefault(a, len(number)) for a in eq.atoms() if isinstance(a, Var)]
        for out in eq.outputs:
            number[out] = len(number)
        h.update(repr((digest_of(eq, cells, graph.consts), wires)).encode())
    return h.hexdigest()[:16]

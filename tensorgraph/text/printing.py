"""How a graph prints: one typed line an equation, in Python's own notation."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from tensorgraph.graph.graph import Equation, Graph, Literal, Var, digest
from tensorgraph.text.names import names

__all__ = ["to_text"]


def to_text(graph: Graph) -> str:
    """The graph as text.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> print(tg.trace(lambda x: tg.tanh(x * 2.0).sum(), tg.spec((3,))))
    def f(x: f32[3]):
        v0: f32[3] = x * 2.0
        v1: f32[3] = tanh(v0)
        v2: f32[] = sum(v1)
        return v2
    """
    name = names(graph)
    lines = [f"def {graph.name}({_parameters(graph, name)}):"]
    for var, array in graph.consts.items():
        lines.append(f"    {name[var]}: {var.aval} = const('{digest(array)}')")
    scope = ""
    for eq in graph.equations:
        if eq.scope != scope:
            scope = eq.scope
            lines.append(f"    # {scope or graph.name}")
        lines.append(f"    {_left(eq, name)} = {_right(eq, name)}")
    for write in graph.writes:
        lines.append(f"    {name[write.cell]}.assign({_atom(write.value, name)})")
    lines.append(f"    return {_result(graph, name)}")
    return "\n".join(lines)


def _parameters(graph: Graph, name: dict[Var, str]) -> str:
    inputs = [f"{name[v]}: {v.aval}" for v in graph.inputs]
    cells = [f"{name[c.var]}: {c.kind} {c.aval}" for c in graph.cells]
    if not cells:
        return ", ".join(inputs)
    return "".join(f"\n    {part}," for part in [*inputs, "*", *cells]) + "\n"


def _left(eq: Equation, name: dict[Var, str]) -> str:
    if len(eq.outputs) == 1 and eq.op.single:
        return f"{name[eq.outputs[0]]}: {eq.outputs[0].aval}"
    return f"({', '.join(f'{name[v]}: {v.aval}' for v in eq.outputs)}{',' if len(eq.outputs) == 1 else ''})"


def _right(eq: Equation, name: dict[Var, str]) -> str:
    args = [_atom(a, name) for a in eq.inputs]
    if eq.op.infix is not None:
        if len(args) == 2:
            return f"{args[0]} {eq.op.infix} {args[1]}"
        return f"{eq.op.infix[1:]}{args[0]}"
    while args and args[-1] == "None":
        args.pop()
    for key, value in eq.attrs.items():
        default = eq.op.attrs.get(key, inspect.Parameter.empty)
        if default is inspect.Parameter.empty or type(default) is not type(value) or default != value:
            args.append(f"{key}={value!r}")
    return f"{eq.op.name}({', '.join(args)})"


def _atom(atom: Any, name: dict[Var, str]) -> str:
    if isinstance(atom, tuple):
        return f"[{', '.join(_atom(a, name) for a in atom)}]"
    if isinstance(atom, Literal):
        return "..." if atom.value is Ellipsis else repr(atom.value)
    return name[atom]


def _result(graph: Graph, name: dict[Var, str]) -> str:
    return _show(graph.out_tree, iter([_atom(a, name) for a in graph.outputs]))


def _show(tree: Any, values: Iterator[str]) -> str:
    if tree.kind is None:
        return next(values)
    if tree.kind is type(None):
        return "None"
    parts = [_show(child, values) for child in tree.children]
    if issubclass(tree.kind, dict):
        return f"{{{', '.join(f'{k!r}: {p}' for k, p in zip(tree.keys, parts, strict=True))}}}"
    if tree.kind is list:
        return f"[{', '.join(parts)}]"
    inside = f"{', '.join(parts)}{',' if len(parts) == 1 else ''}"
    return f"({inside})" if tree.kind is tuple else f"{tree.kind.__name__}({inside})"

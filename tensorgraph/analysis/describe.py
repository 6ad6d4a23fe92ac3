"""Equations in one line, for differences, profiles and faults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.text.names import names

__all__ = ["call_text", "equation_text", "names", "printable", "value_text"]

LONGEST = 60


def printable(text: str, longest: int = 200) -> str:
    """One printable line: escapes for what is not, and the middle left out of what is too long."""
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-longest // 2 :]}"
    return text if text.isprintable() else repr(text)[1:-1]


def value_text(value: Any) -> str:
    """An attribute or a literal, short, exact for numbers."""
    if isinstance(value, Graph):
        return f"<{len(value.equations)} equations>"
    if value is Ellipsis:
        return "..."
    shown = getattr(value, "__name__", None) if callable(value) else None
    shown = printable(str(shown or repr(value)))
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."


def call_text(eq: Equation, name: Callable[[Var], str]) -> str:
    """The right side of an equation: ``v0 * 2.0``, ``sum(v1, axis=0)``."""

    def show(atom: Any) -> str:
        if isinstance(atom, tuple):
            inside = [show(item) for item in atom[:6]] + ([f"... {len(atom) - 6} more"] if len(atom) > 6 else [])
            return f"[{', '.join(inside)}]"
        return value_text(atom.value) if isinstance(atom, Literal) else name(atom)

    given = [show(atom) for atom in eq.inputs]
    if eq.op.infix is not None and len(given) == 2:
        return f"{given[0]} {eq.op.infix} {given[1]}"
    if eq.op.infix is not None and len(given) == 1:
        return f"{eq.op.infix[1:]}{given[0]}"
    while given and given[-1] == "None":
        given.pop()
    for key, value in eq.attrs.items():
        default = eq.op.attrs.get(key, inspect.Parameter.empty)
        if default is inspect.Parameter.empty or repr(default) != repr(value):
            given.append(f"{key}={value_text(value)}")
    return f"{eq.op.name}({', '.join(given)})"


def equation_text(eq: Equation, name: Callable[[Var], str] | Mapping[Var, str]) -> str:
    """``v1: f32[3] = tanh(v0)``."""
    called = name if callable(name) else name.__getitem__
    left = ", ".join(f"{called(v)}: {v.aval}" for v in eq.outputs[:4])
    if len(eq.outputs) > 4:
        left += f", ... {len(eq.outputs) - 4} more"
    return f"{left} = {call_text(eq, called)}"

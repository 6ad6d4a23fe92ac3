"""Equations in one line, for differences, profiles and faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.text.literals import aval_text, shown
from tensorgraph.text.names import names
from tensorgraph.text.printing import call_text

__all__ = ["equation_text", "names", "printable", "value_text"]

LONGEST = 60
LINE = 400


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
    text = getattr(value, "__name__", type(value).__name__) if callable(value) else shown(value)
    text = printable(str(text))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def equation_text(eq: Equation, name: Callable[[Var], str] | Mapping[Var, str]) -> str:
    """``v1: f32[3] = tanh(v0)``."""
    called = name if callable(name) else name.__getitem__
    left = ", ".join(f"{called(v)}: {aval_text(v.aval)}" for v in eq.outputs[:4])
    if len(eq.outputs) > 4:
        left += f", ... {len(eq.outputs) - 4} more"
    read = {v: called(v) for v in eq.atoms() if isinstance(v, Var)}
    return f"{left} = {printable(call_text(eq, read), LINE)}"

"""Formulas: the equations of a stretch of a graph as one expression, and how it reads as Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.analysis.describe import value_text
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op, usual_want
from tensorgraph.graph.graph import Equation, Literal, Var
from tensorgraph.ops.shape import reshape

__all__ = [
    "Formula", "Names", "formula_text", "is_absent", "is_matrix_transpose", "key_parts", "number_in",
    "settings",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Formula:
    """An op of formulas, variables and literals. `position` chooses among several outputs."""

    op: Op
    args: tuple[Any, ...]  # a Formula, a Var, a Literal, or a tuple of them for a list input
    attrs: Mapping[str, Any]
    outputs: tuple[Var, ...]
    position: int = 0
    size: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", 1 + sum(getattr(a, "size", 1) for a in self.parts()))

    def parts(self) -> list[Any]:
        """The arguments, list inputs flattened."""
        return [b for a in self.args for b in (a if isinstance(a, tuple) else (a,))]

    @property
    def var(self) -> Var:
        return self.outputs[self.position]

    @staticmethod
    def of(eq: Equation, put: Callable[[Var], Any] = lambda var: var, position: int = 0) -> Formula:
        """An equation's right side; `put` says what stands for a variable."""

        def value(atom: Any) -> Any:
            if isinstance(atom, tuple):
                return tuple(value(a) for a in atom)
            return put(atom) if isinstance(atom, Var) else atom

        return Formula(eq.op, tuple(value(a) for a in eq.inputs), eq.attrs, eq.outputs, position)


Names = Callable[[Var], str]

# how tightly operators bind
STRENGTH = {
    "|": 1,
    "^": 2,
    "&": 3,
    "<<": 4,
    ">>": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "//": 6,
    "%": 6,
    "@": 6,
    "u-": 7,
    "u~": 7,
    "**": 8,
}
COMPARED, WHOLE = 4, 10


def is_matrix_transpose(formula: Formula) -> bool:
    """Whether a ``transpose`` exchanges the last two axes."""
    axes, ndim = formula.attrs["axes"], len(formula.var.aval.shape)
    order = tuple(range(ndim))[::-1] if axes is None else tuple(a % ndim for a in axes)
    return ndim >= 2 and order == (*range(ndim - 2), ndim - 1, ndim - 2)


def settings(formula: Formula) -> list[str]:
    """Attributes that are not as the op's declaration has them: ``axis=0``."""
    shown = []
    for key, value in formula.attrs.items():
        default = formula.op.attrs.get(key, inspect.Parameter.empty)
        if key == "want" and value == usual_want(formula.op, [_aval_of(a) for a in formula.args]):
            continue  # of a fused op's gradient: all of them
        if default is inspect.Parameter.empty or repr(default) != repr(value):
            shown.append(f"{key}={value_text(value)}")
    return shown


def _aval_of(item: Any) -> Aval | None:
    item = item.var if isinstance(item, Formula) else item
    return item.aval if isinstance(item, Var) else None


def formula_text(formula: Any, names: Names) -> str:
    """A formula as Python: ``d_h @ w.T``."""
    return _read(formula, names)[0]


def _read(item: Any, names: Names) -> tuple[str, int]:
    """The text, and how tightly it holds together."""
    if isinstance(item, tuple):
        return f"[{', '.join(_read(i, names)[0] for i in item)}]", WHOLE
    if isinstance(item, Literal):
        text = value_text(item.value)
        return text, STRENGTH["u-"] if text.startswith("-") else WHOLE
    if isinstance(item, Var):
        return names(item), WHOLE
    op, args = item.op, item.args
    if op.infix is not None:
        strength = STRENGTH.get(op.infix, COMPARED)
        if len(args) == 1:
            return f"{op.infix[1:]}{_inside(args[0], strength, names)}", strength
        left = _inside(args[0], strength + (op.infix == "**" or strength == COMPARED), names)
        right = _inside(args[1], strength + (op.infix != "**"), names)
        return f"{left} {op.infix} {right}", strength
    shown = NOTATION[op.name](item, names) if op.name in NOTATION else None
    return (_call(item, args, names) if shown is None else shown), WHOLE


def _call(item: Formula, args: tuple[Any, ...], names: Names) -> str:
    """Anything: the op's name, the inputs, the settings."""
    parts = []
    for i, (name, a) in enumerate(zip(item.op.inputs, args, strict=True)):
        if not is_absent(a):  # behind what was left out, by name
            text = _read(a, names)[0]
            parts.append(f"{name}={text}" if any(map(is_absent, args[:i])) else text)
    parts += settings(item)
    several = not item.op.single and (item.op.signature.variadic or len(item.outputs) > 1)
    chosen = f"[{item.position}]" if several else ""
    return f"{item.op.name}({', '.join(parts)}){chosen}"


def _transpose(item: Formula, names: Names) -> str | None:
    if not is_matrix_transpose(item):
        return None
    return f"{_inside(item.args[0], WHOLE, names)}.{'T' if len(item.var.aval.shape) == 2 else 'mT'}"


def _filled(number: str) -> Callable[[Formula, Names], str | None]:
    return lambda item, names: None if item.var.aval.shape else number


def _spread(item: Formula, names: Names) -> str:
    return _call(item, (number_in(item.args[0]),), names)


def _key(item: Formula, names: Names) -> str:
    parts = [part if isinstance(part, str) else _read(part, names)[0] for part in key_parts(item)]
    return ", ".join(parts) or "()"  # the key of a number


def _selected(item: Formula, names: Names) -> str:
    return f"{_inside(item.args[0], WHOLE, names)}[{_key(item, names)}]"


def _put(item: Formula, names: Names) -> str:
    x, v = item.args[:2]
    return f"{_inside(x, WHOLE, names)}.at[{_key(item, names)}].set({_read(v, names)[0]})"


def _scattered(item: Formula, names: Names) -> str:
    return f"zeros({item.attrs['shape']}).at[{_key(item, names)}].add({_read(item.args[0], names)[0]})"


# what is not written as a call, where it is not: operators stand on the declarations
NOTATION: dict[str, Callable[[Formula, Names], str | None]] = {
    "transpose": _transpose, "ones": _filled("1"), "zeros": _filled("0"), "broadcast_to": _spread,
    "getitem": _selected, "put": _put, "scatter_add": _scattered,
}  # fmt: skip


def is_absent(item: Any) -> bool:
    """Whether an input was left out."""
    return item == () or (isinstance(item, Literal) and item.value is None)


def key_parts(formula: Formula) -> list[str | Var | Formula]:
    """What stands between the brackets of an indexing: text, and the arrays of indices."""
    parts: list[str | Var | Formula] = []
    indices = formula.args[formula.op.inputs.index("indices")]
    for part in formula.attrs["key"]:
        if type(part) is int or part == "...":
            parts.append(str(part))
        elif part == "newaxis":
            parts.append("None")
        elif part[0] == "slice":
            start, stop, step = ("" if b is None else str(b) for b in part[1:])
            parts.append(f"{start}:{stop}{f':{step}' if step else ''}")
        else:
            parts.append(indices[part[1]])
    return parts


def number_in(item: Any) -> Any:
    """What is spread: a single number without the axes that it was given for that."""
    if isinstance(item, Formula) and item.op is reshape:
        inner = item.args[0]
        var = inner.var if isinstance(inner, Formula) else inner
        if isinstance(var, Var) and not var.aval.shape:
            return inner
    return item


def _inside(item: Any, strength: int, names: Names) -> str:
    text, own = _read(item, names)
    return text if own >= strength else f"({text})"

"""What a region computes of one element: lines of the kernels' language, and the types of what they name.

An op says it in its declaration, `Op.scalar`; here its operands are brought to the types that NumPy computes it in,
and its result to that of the shape rule. What cannot be said is refused with the reason.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op, elementwise, weak
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.native.code import Value, vector
from tensorgraph.native.lowering import KernelError, Lowering
from tensorgraph.ops.native.forms import Form

__all__ = ["KINDS", "Element", "Refusal", "number_text", "require_kernel"]

KINDS = ("f4", "f8", "i8", "b1")
"""Types of numbers that kernels of regions compute with, as NumPy writes them."""

_UNKNOWN = {"f2": "float16 is rounded after every operation, and kernels compute in 32 and 64 bits"}
_ELEMENTS = {"f4": "float", "f8": "double", "i8": "i64", "b1": "i1"}
_CASTS = {"f4": "float32", "f8": "float64", "i8": "int64"}
CASTS: dict[str, Any] = {name: getattr(np, name) for name in _CASTS.values()}
"""The names that lines use for conversions."""


class Refusal(Exception):
    """An equation has no place in a generated kernel; says why."""


def kind_of(aval: Any) -> str:
    """The type of a tensor's elements or of a number, as NumPy writes it."""
    kind: str = aval.dtype.str[1:]
    if kind not in KINDS:
        raise Refusal(_UNKNOWN.get(kind, f"kernels have no numbers of {aval.dtype}"))
    return kind


def number_text(value: Any) -> str:
    """A Python number, or None, as a kernel's text says it."""
    if value is None or isinstance(value, (bool, np.bool_, str)):
        return repr(value if value is None or isinstance(value, str) else bool(value))
    if isinstance(value, (int, np.integer)):
        return repr(int(value))
    number = float(value)
    if number != number:
        return "(1e999 - 1e999)"
    return repr(number).replace("inf", "1e999")


@dataclass(frozen=True)
class _Types:
    """How one equation is computed: the types its operands are brought to, and that of what its formula gives."""

    operands: tuple[str, ...]
    result: str


def _types(eq: Equation) -> _Types:
    """The types in which NumPy computes an elementwise equation.

    Raises
    ------
    Refusal
    """
    out, avals = kind_of(eq.outputs[0].aval), eq.avals()
    tensors = [a for a in avals if isinstance(a, Aval)]
    if not tensors:
        raise Refusal("it computes with numbers, not with arrays")
    kinds = [kind_of(a) for a in tensors]
    if isinstance(eq.op.forward, np.ufunc):
        given = tuple(weak(a) for a in avals)
        try:
            found = eq.op.forward.resolve_dtypes((*given, *[None] * eq.op.forward.nout))
        except TypeError as error:
            raise Refusal(str(error)) from None
        names = [dtype.str[1:] for dtype in found]
        if any(name not in KINDS for name in names):
            raise Refusal(f"NumPy computes it in {found[-1]}")
        operands, result = names[: len(avals)], names[-1]
    else:
        # the formula is computed in the type of the result; booleans among the operands are conditions
        floats = {kind for kind in kinds if kind != "b1"}
        own = out if out != "b1" else next(iter(floats), "b1")
        if floats - {own} or (not floats and out != "b1"):
            raise Refusal("its operands are of several types")
        operands = [kind_of(a) if isinstance(a, Aval) else own for a in avals]
        result = out
    return _Types(tuple(operands), result)


def require_kernel(eq: Equation) -> None:
    """Refuse an elementwise equation that a generated kernel cannot compute.

    Raises
    ------
    Refusal
    """
    op = eq.op
    if op.kind is not elementwise or len(eq.outputs) != 1:
        raise Refusal(f"{op.name} computes no element from one of each input")
    if eq.is_arithmetic:
        raise Refusal("it computes a Python number")
    if op.among("checks"):
        raise Refusal(f"{op.name} looks at the values that come")
    if op.dtype == "cast":
        kind_of(eq.outputs[0].aval)
        for aval in eq.avals():
            if not isinstance(aval, Aval) or is_number(eq.inputs[0]):
                raise Refusal("it converts a number")
            kind_of(aval)
        return
    how, (function, picks, attrs) = _types(eq), _formula(eq)
    given = [how.operands[k] if isinstance(eq.inputs[k], Var) else _sample(_number(eq, k, how)) for k in picks]
    problem = _probe(eq.op, function, (*given, *map(_sample, attrs)), how.result)
    if problem:
        raise Refusal(problem)


def _number(eq: Equation, k: int, how: _Types) -> Any:
    """A known number among the inputs; an integer that meets floats is one of theirs."""
    value = eq.inputs[k].value  # type: ignore[union-attr]
    return float(value) if type(value) is int and how.operands[k] in ("f4", "f8") else value


def _formula(eq: Equation) -> tuple[Any, Sequence[int], list[Any]]:
    """What computes one element; which inputs it takes, by number; and what attributes behind them."""
    rule = eq.op.native_rule()
    attrs = {**eq.op.attrs, **eq.attrs}
    if isinstance(rule, Form):
        known = [None if isinstance(atom, Var) else atom.value for atom in eq.inputs]  # type: ignore[union-attr]
        choice = rule.choose(known, attrs)
        if choice is not None:
            return (*choice, [])
    if eq.op.scalar is None:
        raise Refusal(f"{eq.op.name} has no formula of one element")
    return eq.op.scalar, range(len(eq.inputs)), [attrs[name] for name in eq.op.attrs]


class _Known:
    """Something that is known, in a key: True, 1 and 1.0 are different there."""

    __slots__ = ("text", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.text = value, f"{type(value).__name__} {value!r}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def _sample(value: Any) -> _Known:
    """What is known, by its type where it is a number: which one it is changes nothing in what can be lowered."""
    return _Known(type(value)(1) if isinstance(value, (bool, int, float)) else value)


@functools.lru_cache(4096)
def _probe(op: Op, function: Any, operands: tuple[str | _Known, ...], result: str) -> str | None:
    """Why a formula cannot be lowered for operands of these types, or gives another; None where it can."""
    assert isinstance(_nothing, types.FunctionType)
    lowering = Lowering(_nothing, "probe", 4, 32, {})
    values = [
        Value(vector(_ELEMENTS[x], 8), f"%x{k}") if isinstance(x, str) else x.value for k, x in enumerate(operands)
    ]
    try:
        made = lowering.apply(function, values)
        element = lowering.value(made).element
    except (KernelError, TypeError, KeyError, AttributeError, OSError) as error:
        return f"the formula of {op.name} has no machine code: {error}"
    for line in lowering.code.lines:
        if "x i1>" in line and any(f"= {name}" in line for name in ("add ", "sub ", "mul ", "icmp s")):
            return f"{op.name} of booleans is no operation of bits"
    if element != _ELEMENTS[result]:
        return f"the formula of {op.name} gives {element} where NumPy gives {result}"
    return None


def _nothing(w: Any, block: Any, blocks: Any) -> None:
    pass


@dataclass
class Element:
    """The lines of a region, in names: ``x0, x1, ...`` are what it reads, ``v0, v1, ...`` what it computes.

    Attributes
    ----------
    names : dict of Var to str
    kinds : dict of str to str
        The type of each name.
    lines : list of str
        Names stand in braces, so that the lines can be written out several times.
    scope : dict of str to callable
        What the lines call.
    """

    names: dict[Var, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    scope: dict[str, Any] = field(default_factory=lambda: dict(CASTS))

    def read(self, var: Var) -> str:
        """The name of something that comes from outside."""
        name = self.names[var] = f"x{len(self.names)}"
        self.kinds[name] = kind_of(var.aval)
        return name

    def result(self, var: Var) -> str:
        """The name of something that is computed."""
        name = self.names[var] = f"v{len(self.names)}"
        self.kinds[name] = kind_of(var.aval)
        return name

    def add(self, eq: Equation) -> None:
        """The lines of an equation for which `require_kernel` holds."""
        (var,) = eq.outputs
        out = kind_of(var.aval)
        if eq.op.dtype == "cast":
            (source,) = eq.variables()
            text = self._as(source, out)
        else:
            how, (function, picks, attrs) = _types(eq), _formula(eq)
            args = []
            for k in picks:
                atom = eq.inputs[k]
                if isinstance(atom, Var):
                    args.append(self._as(atom, how.operands[k]))
                else:
                    args.append(number_text(_number(eq, k, how)))
            args += map(number_text, attrs)
            name = self._called(eq.op.name, function)
            text = _conversion(f"{name}({', '.join(args)})", how.result, out)
        self.lines.append(f"{{{self.result(var)}}} = {text}")

    def _called(self, name: str, function: Any) -> str:
        """The name of a formula in the text, by that of its op."""
        label, k = f"{name}_", 1
        while self.scope.setdefault(label, function) is not function:
            k += 1
            label = f"{name}_{k}"
        return label

    def converted(self, var: Var, kind: str) -> str:
        """The name of a value in another type."""
        if self.kinds[self.names[var]] == kind:
            return self.names[var]
        name = f"{self.names[var]}{kind}"
        self.lines.append(f"{{{name}}} = {self._as(var, kind)}")
        self.kinds[name] = kind
        return name

    def _as(self, var: Var, kind: str) -> str:
        """What stands for a value in another type."""
        name = self.names[var]
        return _conversion(f"{{{name}}}", self.kinds[name], kind)


def _conversion(text: str, kind: str, want: str) -> str:
    if kind == want:
        return text
    return f"{text} != 0" if want == "b1" else f"{_CASTS[want]}({text})"

"""Functions composed of ops: a call of one is recorded as the ops it is made of.

What only puts elements elsewhere (`moveaxis`, `tile`) needs no derivative, batching rule and kernel of its own: those
of `transpose`, `reshape` and their like do. Such a function is declared once, too: it becomes `tensorgraph.name`,
methods of tensors, NumPy's functions on tensors, type stubs, a row of the documentation and its tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorgraph.arguments import checked
from tensorgraph.engine.op import op_named
from tensorgraph.engine.tensor import Tensor

__all__ = ["FUNCTIONS", "Function", "call_of", "function", "function_named"]

FUNCTIONS: dict[str, Function] = {}
"""Every declared function by name."""

_aliases: dict[str, Function] = {}


@dataclass(frozen=True)
class Function:
    """A function composed of ops.

    Attributes
    ----------
    name : str
    call : callable
        What users call: its arguments are checked by their annotations.
    also, methods : tuple of str
        Further names of the function, and of methods of tensors that are it.
    numpy : tuple
        NumPy functions that call it when given a tensor; the first is also what tests compare it with.
    examples : tuple
        Arguments for tests, ``(args, kwargs)``: a tuple of integers among `args` stands for a tensor of that shape,
        ``static(value)`` for the value itself.
    computed : bool
        Whether numbers are computed. Of a function that only puts elements elsewhere tests expect every bit of NumPy's
        result, and a gradient that is exact.
    counted : bool
        Whether the shape of what it gives depends on numbers, so that a trace refuses the call.
    """

    name: str
    call: Callable[..., Any]
    also: tuple[str, ...]
    methods: tuple[str, ...]
    numpy: tuple[Any, ...]
    examples: tuple[tuple[tuple[Any, ...], Mapping[str, Any]], ...]
    computed: bool = False
    counted: bool = False


class static:
    """A tuple of integers that is no shape, among the arguments of an example."""

    def __init__(self, value: Any) -> None:
        self.value = value


def function(
    *,
    examples: tuple[Any, ...],
    numpy: tuple[Any, ...] = (),
    also: tuple[str, ...] = (),
    methods: tuple[str, ...] = (),
    computed: bool = False,
    counted: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the function below, whose name it has; see `Function` for the parameters."""

    def declare(body: Callable[..., Any]) -> Callable[..., Any]:
        name = body.__name__.rstrip("_")
        body.__name__ = body.__qualname__ = name
        for taken in (name, *also):
            if op_named(taken) is not None or function_named(taken) is not None:
                raise ValueError(f"function {taken!r} is declared twice; choose another name")
        call = checked(body)
        call.__module__ = "tensorgraph"
        declared = FUNCTIONS[name] = Function(name, call, also, methods, numpy, examples, computed, counted)
        _aliases.update(dict.fromkeys(also, declared))
        for method in methods:
            setattr(Tensor, method, call)
        return call

    return declare


def function_named(name: str) -> Function | None:
    """The function of this name or further name."""
    return FUNCTIONS.get(name) or _aliases.get(name)


def call_of(name: str) -> str:
    """How a function of tensors, or an op, is called: what has no default, by its name. Empty if there is none."""
    if (declared := op_named(name)) is not None:
        signature = declared.signature
        if not signature.inputs or declared.kind.name in ("random", "structural", "opaque"):
            return ""
        needed = [n for n in signature.order if n not in signature.optional and n not in signature.attrs]
        shown = [f"[{n}]" if n in signature.lists else n for n in (*needed, *signature.required)]
    elif (function := function_named(name)) is not None:
        parameters = inspect.signature(function.call).parameters.values()
        shown = [f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name for p in parameters if p.default is p.empty]
    else:
        return ""
    return f"tg.{name}({', '.join(shown)})"

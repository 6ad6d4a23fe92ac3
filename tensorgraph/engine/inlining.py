"""Short functions, written out where they are called: a call of Python costs as much as a few numbers take."""

from __future__ import annotations

import dis
import inspect
import math
import types
from collections.abc import Sequence
from typing import Any

from tensorgraph.engine.op import Op

__all__ = ["written_out"]

# what the interpreter does for an expression in which each value is made once and read once; whatever else an
# instruction is called, in whatever version, is not written out
_PLAIN = (
    "RESUME", "CACHE", "NOP", "LOAD_FAST", "LOAD_CONST", "LOAD_SMALL_INT", "LOAD_GLOBAL", "PUSH_NULL", "PRECALL",
    "CALL", "KW_NAMES", "BINARY_OP", "UNARY_NEGATIVE", "COMPARE_OP", "RETURN_VALUE", "RETURN_CONST",
)  # fmt: skip


class _Text:
    """A value as the text that computes it."""

    __array_ufunc__ = None  # NumPy must not take it for an object to compute with
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        self.text = text

    def __neg__(self) -> _Text:
        return _Text(f"(-{self.text})")

    def __call__(self, *args: Any, **named: Any) -> _Text:
        given = [_text(a) for a in args] + [f"{name}={_text(a)}" for name, a in named.items()]
        return _Text(f"{self.text}({', '.join(given)})")

    def __bool__(self) -> bool:
        raise TypeError("a text is neither true nor false")


def _text(value: Any) -> str:
    if type(value) is _Text:
        return value.text
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return repr(value)
    raise TypeError(f"{value!r} is not written out")


_ARITHMETIC = {
    "__add__": "+", "__sub__": "-", "__mul__": "*", "__truediv__": "/", "__pow__": "**", "__floordiv__": "//",
    "__mod__": "%",
}  # fmt: skip
_COMPARED = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=", "__eq__": "==", "__ne__": "!="}
for _name, _sign in (_ARITHMETIC | _COMPARED).items():
    setattr(_Text, _name, lambda a, b, sign=_sign: _Text(f"({_text(a)} {sign} {_text(b)})"))
for _name, _sign in _ARITHMETIC.items():
    setattr(_Text, f"__r{_name[2:]}", lambda a, b, sign=_sign: _Text(f"({_text(b)} {sign} {_text(a)})"))


def written_out(function: Any, arguments: Sequence[str], prefix: str, scope: dict[str, Any]) -> str | None:
    """The expression that a function returns, of arguments given as texts; None where it is more than that.

    Parameters
    ----------
    function : callable
        Globals of a function of this library do not change. Of another's, which may, there must be none.
    arguments : sequence of str
        Which may be evaluated any number of times.
    prefix : str
        What the names begin with by which the expression calls its globals.
    scope : dict
        Takes these: of an op what it is on arrays.
    """
    if type(function) is not types.FunctionType or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    code, space = function.__code__, function.__globals__
    ours = (function.__module__ or "").partition(".")[0] == "tensorgraph"
    if code.co_names and not (ours and all(name in space for name in code.co_names)):
        return None
    if not all(step.opname.startswith(_PLAIN) for step in dis.get_instructions(code)):
        return None
    names = {name: f"{prefix}_{name}" for name in code.co_names}
    recorder = types.FunctionType(code, {name: _Text(text) for name, text in names.items()})
    try:
        result = recorder(*map(_Text, arguments))
    except TypeError:  # a constant that is no number, an argument that is missing
        return None
    if type(result) is not _Text:
        return None
    for name, text in names.items():
        value = space[name]
        scope[text] = value.calls["apply"] if type(value) is Op else value
    return result.text

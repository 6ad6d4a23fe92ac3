"""The one line that an op's declaration begins with: name, inputs, attributes and outputs."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["REQUIRED", "Signature", "parse_signature"]


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed signature: ``name(a, b, [rest], weight=None, *, axis=-1) -> y, mu``.

    A bracketed input takes a list of tensors; an input with ``=None`` may be left out. Attributes come after ``*`` and
    are static Python values.
    """

    name: str
    inputs: tuple[str, ...]
    lists: frozenset[str]
    optional: frozenset[str]
    attrs: dict[str, Any]
    outputs: tuple[str, ...]
    variadic: bool = False  # one named output that stands for any number, given as a tuple


REQUIRED = inspect.Parameter.empty
_SIGNATURE = re.compile(r"^\s*(\w+)\((.*)\)\s*(?:->\s*(.+?))?\s*$", re.S)


def parse_signature(text: str) -> Signature:
    """Parse a declaration's signature.

    Examples
    --------
    >>> parse_signature("sum(x, *, axis=None, keepdims=False)").attrs
    {'axis': None, 'keepdims': False}
    >>> parse_signature("concatenate([arrays], *, axis=0)").lists
    frozenset({'arrays'})
    """
    match = _SIGNATURE.match(text)
    if not match:
        raise ValueError(f"expected a signature such as 'name(a, b, *, axis=None) -> y', got {text!r}")
    name, arguments, outputs = match.groups()
    lists = frozenset(re.findall(r"\[(\w+)\]", arguments))
    arguments = re.sub(r"\[(\w+)\]", r"\1", arguments)
    try:
        args = ast.parse(f"def f({arguments}): pass").body[0].args  # type: ignore[attr-defined]
    except SyntaxError as error:
        raise ValueError(f"signature {text!r} is not readable: {error.msg}") from error
    inputs = tuple(a.arg for a in args.args)
    optional = frozenset(inputs[len(inputs) - len(args.defaults) :]) if args.defaults else frozenset()
    attrs = {
        a.arg: REQUIRED if default is None else ast.literal_eval(default)
        for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    }
    outs = tuple(o.strip() for o in outputs.split(",")) if outputs else ("out",)
    if any(n.startswith("_") for n in (*inputs, *(a.arg for a in args.kwonlyargs))):
        raise ValueError(f"signature {text!r}: names must not begin with an underscore")
    names = (*inputs, *attrs)
    if len(set(names)) < len(names) or "impl" in names:
        raise ValueError(f"signature {text!r}: names must differ, and 'impl' means something else")
    variadic = outs[0].startswith("*")
    if variadic and len(outs) > 1:
        raise ValueError(f"signature {text!r}: a *output stands alone")
    return Signature(name, inputs, lists, optional, attrs, (outs[0][1:],) if variadic else outs, variadic)

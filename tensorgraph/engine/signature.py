"""The one line that an op's declaration begins with: name, inputs, attributes and outputs; and how it is called."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["REQUIRED", "Signature", "call_signature", "parse_signature"]


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed signature: ``name(a, b, [rest], weight=None, *, axis=-1) -> y, mu``.

    A bracketed input takes a list of tensors; an input with ``=None`` may be left out. Attributes come after ``*`` and
    are static Python values; their types follow from their defaults and names, where the line does not say them
    (``value: float = None``).
    """

    name: str
    inputs: tuple[str, ...]
    lists: frozenset[str]
    optional: frozenset[str]
    attrs: dict[str, Any]
    outputs: tuple[str, ...]
    variadic: bool = False  # one named output that stands for any number, given as a tuple
    types: Mapping[str, str] = field(default_factory=dict)  # of attributes, as Python writes them

    @property
    def required(self) -> tuple[str, ...]:
        """The attributes without a default; a call takes them before the others."""
        return tuple(name for name, default in self.attrs.items() if default is REQUIRED)

    @property
    def order(self) -> tuple[str, ...]:
        """Inputs and attributes in the order in which a call takes them."""
        required = self.required
        return (*self.inputs, *required, *(name for name in self.attrs if name not in required))


REQUIRED = inspect.Parameter.empty
# what attributes of these names are, where neither a default nor the declaration tells
WORDS = {
    "axis": "int | Sequence[int]", "axes": "Sequence[int]", "shape": "int | Sequence[int]", "sizes": "Sequence[int]",
    "dtype": "DTypeLike", "key": "tuple[Any, ...]",
}  # fmt: skip
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
    before, star, after = arguments.partition("*")
    lists = frozenset(re.findall(r"\[(\w+)\]", before))
    arguments = re.sub(r"\[(\w+)\]", r"\1", before) + star + after
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
    said = {a.arg: ast.unparse(a.annotation) for a in args.kwonlyargs if a.annotation is not None}
    types = {name: said.get(name) or _type_of(name, default) for name, default in attrs.items()}
    outs = tuple(o.strip() for o in outputs.split(",")) if outputs else ("out",)
    if any(n.startswith("_") for n in (*inputs, *(a.arg for a in args.kwonlyargs))):
        raise ValueError(f"signature {text!r}: names must not begin with an underscore")
    names = (*inputs, *attrs)
    if len(set(names)) < len(names) or "impl" in names:
        raise ValueError(f"signature {text!r}: names must differ, and 'impl' means something else")
    variadic = outs[0].startswith("*")
    if variadic and len(outs) > 1:
        raise ValueError(f"signature {text!r}: a *output stands alone")
    return Signature(name, inputs, lists, optional, attrs, (outs[0][1:],) if variadic else outs, variadic, types)


def _type_of(name: str, default: Any) -> str:
    if default is None or default is REQUIRED:
        known = WORDS.get(name, "Any")
        return f"{known} | None" if default is None and known != "Any" else known
    return type(default).__name__


def call_signature(sig: Signature, fused: bool = False, reflected: bool = False) -> inspect.Signature:
    """How the function of an op is called: what documentation, type stubs and `inspect.signature` say."""
    kind = inspect.Parameter
    parameters = []
    for name in sig.inputs[::-1] if reflected else sig.inputs:
        said = "Sequence[TensorLike]" if name in sig.lists else "TensorLike"
        default = None if name in sig.optional else REQUIRED
        said += " | None" if name in sig.optional else ""
        parameters.append(kind(name, kind.POSITIONAL_OR_KEYWORD, default=default, annotation=said))
    required = sig.required
    for name in sig.order[len(sig.inputs) :]:
        # what must be given cannot follow by position what may be left out
        named = bool(sig.optional and required)
        how = kind.KEYWORD_ONLY if named else kind.POSITIONAL_OR_KEYWORD
        parameters.append(kind(name, how, default=sig.attrs[name], annotation=sig.types[name]))
    if fused:
        said = "Literal['fused', 'composed'] | None"
        parameters.append(kind("impl", kind.KEYWORD_ONLY, default=None, annotation=said))
    several = f"tuple[{', '.join(['Tensor'] * len(sig.outputs))}]"
    result = "tuple[Tensor, ...]" if sig.variadic else "Tensor" if len(sig.outputs) == 1 else several
    return inspect.Signature(parameters, return_annotation=result)

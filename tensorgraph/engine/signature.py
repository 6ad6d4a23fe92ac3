"""The one line that an op's declaration begins with: name, inputs, attributes and outputs; and how it is called."""

from __future__ import annotations

import ast
import inspect
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

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
    further: tuple[str, ...] = ()  # keywords that make a call a composition: see `Op.further`

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
Parts: TypeAlias = tuple[tuple[str, ...], frozenset[str], frozenset[str], dict[str, Any], dict[str, str]]
_SIGNATURE = r"^\s*(\w+)\((.*)\)\s*(?:->\s*(.+?))?\s*$"
_KEYWORDS = frozenset(keyword.kwlist)
_WORDS = {"None": None, "True": True, "False": False}
# types as Python writes them, which need not be read to be written again
_TYPES = frozenset({
    "bool", "float", "float | None", "int", "int | None", "int | Sequence[int]", "str", "str | None", "Sequence[int]",
    "int | str | Sequence[int] | Sequence[tuple[int, int]]", "int | Sequence[int] | None",
    "int | Sequence[int] | Sequence[Sequence[int]]",
})  # fmt: skip


def parse_signature(text: str) -> Signature:
    """Parse a declaration's signature.

    Examples
    --------
    >>> parse_signature("sum(x, *, axis=None, keepdims=False)").attrs
    {'axis': None, 'keepdims': False}
    >>> parse_signature("concatenate([arrays], *, axis=0)").lists
    frozenset({'arrays'})
    """
    head, _, outputs = text.partition(" -> ")
    name, _, arguments = head.partition("(")
    known = _plain(arguments[:-1]) if name.isidentifier() and arguments.endswith(")") else None
    if known is None:
        match = re.match(_SIGNATURE, text, re.S)
        if not match:
            raise ValueError(f"expected a signature such as 'name(a, b, *, axis=None) -> y', got {text!r}")
        name, arguments, outputs = match.groups()
        known = _read(text, arguments)
    inputs, lists, optional, attrs, said = known
    attrs = dict(attrs)
    types = {name: said.get(name) or _type_of(name, default) for name, default in attrs.items()}
    outs = tuple(o.strip() for o in outputs.split(",")) if outputs else ("out",)
    if any(n.startswith("_") for n in (*inputs, *attrs)):
        raise ValueError(f"signature {text!r}: names must not begin with an underscore")
    names = (*inputs, *attrs)
    if len(set(names)) < len(names) or "impl" in names:
        raise ValueError(f"signature {text!r}: names must differ, and 'impl' means something else")
    variadic = outs[0].startswith("*")
    if variadic and len(outs) > 1:
        raise ValueError(f"signature {text!r}: a *output stands alone")
    return Signature(name, inputs, lists, optional, attrs, (outs[0][1:],) if variadic else outs, variadic, types)


@cache
def _plain(arguments: str) -> Parts | None:
    """The arguments as `_read` gives them, without Python's parser, which takes many times as long.

    None where anything is out of the ordinary: the parser says what it is.
    """
    parts: list[str] = []
    for piece in arguments.split(", ") if arguments else ():
        inside = bool(parts) and "[" in parts[-1] and parts[-1].count("[") > parts[-1].count("]")
        parts[-1:] = [f"{parts[-1]}, {piece}"] if inside else [*parts[-1:], piece]
    star = parts.index("*") if "*" in parts else len(parts)
    if star == len(parts) - 1:
        return None
    names: list[str] = []
    lists, optional = set(), set()
    for part in parts[:star]:
        name = part.removesuffix("=None")
        if name[:1] == "[" and name[-1] == "]":
            lists.add(name := name[1:-1])
        if name is not part and part.endswith("=None"):
            optional.add(name)
        elif optional:
            return None
        names.append(name)
    attrs: dict[str, Any] = {}
    said: dict[str, str] = {}
    for part in parts[star + 1 :]:
        head, equals, default = part.partition("=")
        name, colon, kind = (head.rstrip() if equals else head).partition(": ")
        if colon:
            said[name] = kind
        attrs[name] = _literal(default.removeprefix(" ")) if equals else REQUIRED
        names.append(name)
    usual = all(name.isidentifier() and name.isascii() for name in names) and len({*names}) == len(names)
    if not usual or not _KEYWORDS.isdisjoint(names) or NotImplemented in attrs.values():
        return None
    if not all(kind in _TYPES or _is_choice(kind) for kind in said.values()):
        return None
    return tuple(names[:star]), frozenset(lists), frozenset(optional), attrs, said


def _is_choice(kind: str) -> bool:
    """Whether it is ``Literal['a', 'b']``, as Python writes it."""
    words = kind[len("Literal[") : -1].split(", ")
    return kind == f"Literal[{', '.join(words)}]" and all(type(_literal(word)) in (int, str) for word in words)


def _literal(text: str) -> Any:
    """A default: one of the three words, a number or a word in quotation marks; NotImplemented for any other."""
    if text in _WORDS:
        return _WORDS[text]
    inner = text[1:-1]
    if text == f"'{inner}'" and inner.replace("_", "").isalnum():
        return inner
    digits, whole = text.removeprefix("-"), not {".", "e"} & {*text}
    if whole and digits.isdecimal() and digits.isascii() and (digits[0] != "0" or digits == "0"):
        return int(text)
    try:
        return NotImplemented if whole or not {*digits} <= {*"0123456789.e-"} else float(text)
    except ValueError:
        return NotImplemented


def _read(text: str, arguments: str) -> Parts:
    """Inputs, lists and those that may be left out among them, attributes with their defaults, and the types said."""
    before, star, after = arguments.partition("*")
    lists = frozenset(re.findall(r"\[(\w+)\]", before))
    arguments = re.sub(r"\[(\w+)\]", r"\1", before) + star + after
    try:
        args = ast.parse(f"def f({arguments}): pass").body[0].args  # type: ignore[attr-defined]
    except SyntaxError as error:
        raise ValueError(f"signature {text!r} is not readable: {error.msg}") from error
    inputs = tuple(a.arg for a in args.args)
    optional = frozenset(inputs[len(inputs) - len(args.defaults) :]) if args.defaults else frozenset()
    names = [a.arg for a in args.kwonlyargs]
    if len({*names}) < len(names):
        raise ValueError(f"signature {text!r}: names must differ, and 'impl' means something else")
    attrs = {
        a.arg: REQUIRED if default is None else ast.literal_eval(default)
        for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    }
    return inputs, lists, optional, attrs, {a.arg: ast.unparse(a.annotation) for a in args.kwonlyargs if a.annotation}


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
    for name in sig.further:
        parameters.append(kind(name, kind.KEYWORD_ONLY, default=None, annotation="TensorLike | None"))
    if fused:
        said = "Literal['fused', 'composed'] | None"
        parameters.append(kind("impl", kind.KEYWORD_ONLY, default=None, annotation=said))
    several = f"tuple[{', '.join(['Tensor'] * len(sig.outputs))}]"
    result = "tuple[Tensor, ...]" if sig.variadic else "Tensor" if len(sig.outputs) == 1 else several
    return inspect.Signature(parameters, return_annotation=result)

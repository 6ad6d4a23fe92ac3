"""Patterns: forms in which something is written, given as expressions and found in graphs.

A pattern is text: ``"log(1 - sigmoid(x))"``. A name stands for a variable, the same one wherever it comes again; ``_``
for anything; a capital for a number; an operator or a call for its op, whose further inputs and attributes are free.
``(e := exp(x))`` gives a part a name, ``shaped(x)`` is x in any shape. What `SPELLINGS` says of an op holds for it in
every pattern: ``sigmoid(x)`` is the op, or 1 / (1 + exp(-x)). Ops that only pass a value on are looked through.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tensorgraph.analysis.lint.view import View, shaped
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.ops.index import getitem
from tensorgraph.text.signs import op_of_sign

__all__ = ["Match", "Pattern"]

# other ways to write an op: parameters, and patterns of them
SPELLINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reciprocal": ("x", ("1 / x",)),
    "square": ("x", ("x * x", "x ** 2")),
    "sqrt": ("x", ("x ** 0.5",)),
    "sigmoid": ("x", ("reciprocal(1 + exp(-x))", "(e := exp(x)) / (1 + e)")),
}


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern was found: what its names stand for, and the equations of the parts that have names."""

    atoms: dict[str, Any]
    equations: dict[str, Equation]

    def __getitem__(self, name: str) -> Any:
        return self.atoms[name]

    def bind(self, name: str, atom: Any, equation: Equation | None = None) -> Match:
        """The match with one more name."""
        return Match(self.atoms | {name: atom}, self.equations | ({} if equation is None else {name: equation}))


NOTHING = Match({}, {})


class Pattern:
    """One thing, in the forms in which it is written.

    Parameters
    ----------
    *forms : str

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.analysis.lint.patterns import Pattern
    >>> from tensorgraph.analysis.lint.view import View
    >>> view = View(tg.trace(lambda x: tg.log(1 / (tg.exp(-x) + 1)), tg.spec((3,))))
    >>> [(eq.op.name, match["x"].name) for eq, match in Pattern("log(sigmoid(x))").each(view)]
    [('log', 'x')]
    """

    def __init__(self, *forms: str) -> None:
        self.forms = tuple(ast.parse(form, mode="eval").body for form in forms)
        self.roots = frozenset(root for form in self.forms for root in _roots(form))  # None: whatever

    def match(self, view: View, atom: Any) -> Match | None:
        """What the names stand for if a value is written so, else None."""
        if None not in self.roots and getattr(view.made(atom), "op", None) not in self.roots:
            return None
        return next((found for form in self.forms for found in _matches(view, form, atom, NOTHING)), None)

    def at(self, view: View, eq: Equation) -> Match | None:
        """The like for an equation that is the last of the form."""
        if eq.op not in self.roots or view.follow(eq.outputs[0]) is not eq.outputs[0]:
            return None
        return self.match(view, eq.outputs[0])

    def each(self, view: View) -> Iterator[tuple[Equation, Match]]:
        """The user's equations that are the last of the form."""
        for eq in view.equations:
            found = self.at(view, eq)
            if found is not None:
                yield eq, found


def _roots(form: ast.expr) -> Iterator[Op | None]:
    """The ops that a form may end in; None where it may end in a change of shape."""
    while isinstance(form, ast.NamedExpr):
        form = form.value
    if _is_shaped(form):
        yield None
        return
    op, _, spellings = _read(form)
    yield op
    for _, spelling in spellings:
        yield from _roots(spelling)


def _matches(view: View, form: ast.expr, atom: Any, bound: Match) -> Iterator[Match]:
    """Every way in which a value is of a form, with what is bound already."""
    match form:
        case ast.Name(id="_"):
            yield bound
        case ast.Name(id=name) if name.isupper():
            number = view.constant(atom)
            if number is not None:
                yield bound.bind(name, number)
        case ast.Name(id=name) if name in bound.atoms:
            if view.follow(atom) is view.follow(bound[name]):
                yield bound
        case ast.Name(id=name):
            if isinstance(atom, Var):
                yield bound.bind(name, atom)
        case ast.Constant(value=number):
            if view.constant(atom) == number:
                yield bound
        case ast.NamedExpr(target=ast.Name(id=name), value=part):
            for found in _matches(view, part, atom, bound):
                yield found.bind(name, atom, view.made(_behind(view, part, atom)))
        case ast.Call(func=ast.Name(id="shaped"), args=[part]):
            yield from _matches(view, part, view.follow(atom, shaped), bound)
        case _:
            yield from _calls(view, form, atom, bound)


def _behind(view: View, form: ast.expr, atom: Any) -> Any:
    """The value in whatever shape, where the form says so."""
    return view.follow(atom, shaped) if _is_shaped(form) else atom


def _is_shaped(form: ast.expr) -> bool:
    return isinstance(form, ast.Call) and isinstance(form.func, ast.Name) and form.func.id == shaped.__name__


def _calls(view: View, form: ast.expr, atom: Any, bound: Match) -> Iterator[Match]:
    op, parts, spellings = _read(form)
    eq = view.made(atom)
    if eq is None or view.follow(atom) is not eq.outputs[0]:
        return
    if eq.op is op:
        orders = [eq.inputs] if "commutative" not in op.traits else [eq.inputs, eq.inputs[::-1]]
        for inputs in orders:
            yield from _all(view, list(zip(parts, inputs, strict=False)), bound)
    for names, spelling in spellings:
        for found in _matches(view, spelling, atom, NOTHING):
            yield from _all(view, [(part, found[name]) for part, name in zip(parts, names, strict=True)], bound)


def _all(view: View, pairs: list[tuple[ast.expr, Any]], bound: Match) -> Iterator[Match]:
    """Every way in which all of some values are of their forms."""
    if not pairs:
        yield bound
        return
    (form, atom), *rest = pairs
    for found in _matches(view, form, atom, bound):
        yield from _all(view, rest, found)


@functools.cache
def _read(form: ast.expr) -> tuple[Op, tuple[ast.expr, ...], tuple[tuple[str, ast.expr], ...]]:
    """The op of a form, the forms of its inputs, and the op's other spellings."""
    op: Op | None
    parts: tuple[ast.expr, ...]
    match form:
        case ast.BinOp(left=a, op=sign, right=b) | ast.Compare(left=a, ops=[sign], comparators=[b]):
            op, parts = op_of_sign(sign), (a, b)
        case ast.UnaryOp(op=sign, operand=a):
            op, parts = op_of_sign(sign), (a,)
        case ast.Subscript(value=a):
            op, parts = getitem, (a,)
        case ast.Call(func=ast.Name(id=name), args=args):
            op, parts = CATALOGUE.get(name), tuple(args)
        case _:
            op, parts = None, ()
    if op is None:
        raise ValueError(f"expected a pattern of ops, got {ast.unparse(form)}")
    names, spelled = SPELLINGS.get(op.name, ("", ()))
    return op, parts, tuple((names, ast.parse(text, mode="eval").body) for text in spelled)

"""Formulas as LaTeX: mathematics where the field has a notation, an upright name everywhere else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tensorgraph.analysis.formulas import (
    Formula,
    Names,
    is_absent,
    is_matrix_transpose,
    key_parts,
    number_in,
    settings,
)
from tensorgraph.graph.graph import Literal, Var

__all__ = ["formula_latex", "symbol", "words"]

GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
})  # fmt: skip
# what text cannot hold in every LaTeX, said in mathematics
SPECIAL = {
    "\\": r"\backslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\wedge{}", "~": r"\sim{}",
}  # fmt: skip

COMPARISONS = {">": ">", ">=": r"\ge", "<": "<", "<=": r"\le", "==": "=", "!=": r"\ne"}  # by Python's sign

SUM, PRODUCT, SIGN, POWER, WHOLE = 1, 2, 3, 4, 5  # how tightly a formula holds together


def words(text: str) -> str:
    r"""Any text inside a formula; what cannot be printed becomes a question mark.

    Examples
    --------
    >>> from tensorgraph.analysis.latex import words
    >>> words("my_file.py, 100%")
    '\\text{my}\\_\\text{file.py, 100}\\%'
    """
    parts: list[str] = []
    plain = ""
    for c in text:
        if c in SPECIAL:
            parts += [f"\\text{{{plain}}}"] if plain else []
            parts.append(SPECIAL[c])
            plain = ""
        else:
            plain += c if c.isprintable() else "?"
    return "".join([*parts, *([f"\\text{{{plain}}}"] if plain else [])])


def _upright(name: str, command: str) -> str:
    if name.isascii() and name.isidentifier():
        escaped = name.replace("_", r"\_")
        return f"\\{command}{{{escaped}}}"
    return words(name)


def symbol(name: str, bar: bool = False, mark: str = "") -> str:
    r"""A variable's name in mathematics: ``w_1`` is ``w_{1}``, ``mu`` is ``\mu``, ``weight`` is ``\mathrm{weight}``.

    `bar` puts a bar over it: the gradient with respect to it; `mark` says of which pass.

    Examples
    --------
    >>> from tensorgraph.analysis.latex import symbol
    >>> symbol("w1"), symbol("mu"), symbol("layers_weight", bar=True)
    ('w_{1}', '\\mu', '\\overline{\\mathrm{layers\\_weight}}')
    """
    match = re.fullmatch(r"([A-Za-z]+?)_?(\d*)", name)
    base, index = (match.group(1), match.group(2)) if match else (name, "")
    if base in GREEK:
        shown = f"\\{base}"
    elif len(base) == 1 and base.isascii() and base.isalpha():
        shown = base
    else:
        shown = _upright(base, "mathrm")
    shown = f"\\overline{{{shown}}}" if bar else shown
    return shown + (f"_{{{index}}}" if index else "") + (f"^{{({mark})}}" if mark else "")


def formula_latex(formula: Any, names: Names) -> str:
    """A formula in mathematical notation; `names` gives LaTeX."""
    return _read(formula, names)[0]


def _read(item: Any, names: Names) -> tuple[str, int]:
    if isinstance(item, tuple):
        return r"\left[" + ", ".join(_read(i, names)[0] for i in item) + r"\right]", WHOLE
    if isinstance(item, Literal):
        return _number(item.value)
    if isinstance(item, Var):
        return names(item), WHOLE
    show = NOTATION.get(item.op.name) or OPERATORS.get(item.op.infix)
    if show is not None:
        shown = show(item, names)
        if shown is not None:
            return shown
    return _call(item, names), WHOLE


def _number(value: Any) -> tuple[str, int]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return words(repr(value)), WHOLE
    if math.isnan(value):
        return r"\mathrm{NaN}", WHOLE
    if math.isinf(value):
        return (r"\infty", WHOLE) if value > 0 else (r"-\infty", SIGN)
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    if exponent:
        power = f"10^{{{int(exponent)}}}"
        return (power, POWER) if mantissa == "1" else (f"{mantissa} \\cdot {power}", PRODUCT)
    text = text.removesuffix(".0")
    return text, SIGN if text.startswith("-") else WHOLE


def _within(item: Any, strength: int, names: Names) -> str:
    text, own = _read(item, names)
    return text if own >= strength else f"\\left({text}\\right)"


def _function(name: str, args: list[str]) -> str:
    return f"{name}\\left({', '.join(args)}\\right)"


def _call(f: Formula, names: Names) -> str:
    """Anything: an upright name, the inputs, the settings."""
    shown = [_read(a, names)[0] for a in f.args if not is_absent(a)] + [words(s) for s in settings(f)]
    index = "" if len(f.outputs) == 1 else f"_{{{f.position}}}"
    return _function(f"{_upright(f.op.name, 'operatorname')}{index}", shown)


Shown = tuple[str, int] | None


def _infix(sign: str, strength: int, tighter: bool = False) -> Callable[[Formula, Names], Shown]:
    def show(f: Formula, names: Names) -> Shown:
        left = _within(f.args[0], strength, names)
        right = _within(f.args[1], strength + tighter, names)
        if right.startswith("-"):
            right = f"\\left({right}\\right)"
        return f"{left} {sign} {right}", strength

    return show


def _ndim(item: Any) -> int:
    if isinstance(item, Formula):
        item = item.var
    return len(item.aval.shape) if isinstance(item, Var) else 0


def _multiply(f: Formula, names: Names) -> Shown:
    a, b = f.args
    sign = r"\odot" if _ndim(a) and _ndim(b) else r"\cdot" if isinstance(b, Literal) else r"\,"
    shown: Shown = _infix(sign, PRODUCT)(f, names)
    return shown


def _matmul(f: Formula, names: Names) -> Shown:
    return f"{_within(f.args[0], PRODUCT, names)} \\, {_within(f.args[1], SIGN, names)}", PRODUCT


def _divide(f: Formula, names: Names) -> Shown:
    return f"\\frac{{{_read(f.args[0], names)[0]}}}{{{_read(f.args[1], names)[0]}}}", WHOLE


def _negate(f: Formula, names: Names) -> Shown:
    return f"-{_within(f.args[0], POWER, names)}", SIGN


def _power(f: Formula, names: Names) -> Shown:
    return f"{{{_within(f.args[0], WHOLE, names)}}}^{{{_read(f.args[1], names)[0]}}}", POWER


def _square(f: Formula, names: Names) -> Shown:
    return f"{{{_within(f.args[0], WHOLE, names)}}}^{{2}}", POWER


def _transpose(f: Formula, names: Names) -> Shown:
    if not is_matrix_transpose(f):
        return None
    return f"{{{_within(f.args[0], WHOLE, names)}}}^{{\\top}}", POWER


def _around(left: str, right: str) -> Callable[[Formula, Names], Shown]:
    return lambda f, names: (f"{left}{_read(f.args[0], names)[0]}{right}", WHOLE)


def _named(name: str) -> Callable[[Formula, Names], Shown]:
    def show(f: Formula, names: Names) -> Shown:
        if settings(f):
            return None
        return _function(name, [_read(a, names)[0] for a in f.args]), WHOLE

    return show


def _axes(f: Formula) -> str:
    axis = f.attrs.get("axis")
    if axis is None:
        return ""
    axes = axis if isinstance(axis, tuple) else (axis,)
    return f"_{{\\text{{{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}}}}}"


def _sized(name: str, f: Formula, x: Any, names: Names) -> Shown:
    """Into another shape, which stands below."""
    shape = " \\times ".join(map(str, f.var.aval.shape)) or "1"
    return _function(f"\\operatorname{{{name}}}_{{{shape}}}", [_read(x, names)[0]]), WHOLE


def _reshaped(f: Formula, names: Names) -> Shown:
    return _sized("reshape", f, f.args[0], names)


def _spread(f: Formula, names: Names) -> Shown:
    x = number_in(f.args[0])
    if not _ndim(x):
        return f"{_within(x, PRODUCT, names)} \\, \\mathbf{{1}}", PRODUCT
    return _sized("broadcast", f, x, names)


def _over(sign: str) -> Callable[[Formula, Names], Shown]:
    """A reduction: the axes below its sign."""

    def show(f: Formula, names: Names) -> Shown:
        below = _axes(f)
        return f"{sign}{below} {_within(f.args[0], PRODUCT, names)}", SUM

    return show


def _reduced(name: str) -> Callable[[Formula, Names], Shown]:
    def show(f: Formula, names: Names) -> Shown:
        return _function(f"{name}{_axes(f)}", [_read(f.args[0], names)[0]]), WHOLE

    return show


def _compared(sign: str) -> Callable[[Formula, Names], Shown]:
    """A comparison: in Iverson's brackets, which make it a value."""

    def show(f: Formula, names: Names) -> Shown:
        return f"\\left[{_comparison(f, sign, names)}\\right]", WHOLE

    return show


def _comparison(f: Formula, sign: str, names: Names) -> str:
    return f"{_within(f.args[0], PRODUCT, names)} {sign} {_within(f.args[1], PRODUCT, names)}"


def _where(f: Formula, names: Names) -> Shown:
    given = f.args[0]
    plain = isinstance(given, Formula) and given.op.infix in COMPARISONS
    c = _comparison(given, COMPARISONS[given.op.infix], names) if plain else _read(given, names)[0]
    a, b = (_read(x, names)[0] for x in f.args[1:])
    return f"\\begin{{cases}} {a} & \\text{{if }} {c} \\\\ {b} & \\text{{otherwise}} \\end{{cases}}", SUM


def _filled(number: str) -> Callable[[Formula, Names], Shown]:
    """Ones and zeros: a number, bold where it stands for many."""
    return lambda f, names: (f"\\mathbf{{{number}}}" if f.var.aval.shape else number, WHOLE)


def _same(f: Formula, names: Names) -> Shown:
    return _read(f.args[0], names)


def _key(f: Formula, names: Names) -> str:
    return ", ".join(words(part) if isinstance(part, str) else _read(part, names)[0] for part in key_parts(f))


def _item(f: Formula, names: Names) -> Shown:
    return f"{{{_within(f.args[0], WHOLE, names)}}}_{{{_key(f, names)}}}", POWER


def _placed(name: str) -> Callable[[Formula, Names], Shown]:
    """Values put at places, which stand below."""

    def show(f: Formula, names: Names) -> Shown:
        given = [_read(a, names)[0] for a in f.args[: f.op.inputs.index("indices")]]
        return _function(f"\\operatorname{{{name}}}_{{{_key(f, names)}}}", given), WHOLE

    return show


def _relu(f: Formula, names: Names) -> Shown:
    return _function(r"\max", [_read(f.args[0], names)[0], "0"]), WHOLE


# by the operator that an op declares as its own
OPERATORS: dict[str | None, Callable[[Formula, Names], Shown]] = {
    "+": _infix("+", SUM), "-": _infix("-", SUM, tighter=True), "*": _multiply, "@": _matmul, "/": _divide,
    "u-": _negate, "**": _power, **{infix: _compared(sign) for infix, sign in COMPARISONS.items()},
}  # fmt: skip
NOTATION: dict[str, Callable[[Formula, Names], Shown]] = {
    "square": _square, "transpose": _transpose,
    "sqrt": _around(r"\sqrt{", "}"), "reciprocal": _around(r"\frac{1}{", "}"),
    "absolute": _around(r"\left|", r"\right|"), "exp": _named(r"\exp"), "log": _named(r"\ln"), "sin": _named(r"\sin"),
    "cos": _named(r"\cos"), "tanh": _named(r"\tanh"), "sigmoid": _named(r"\sigma"), "getitem": _item,
    "maximum": _named(r"\max"), "minimum": _named(r"\min"), "relu": _relu, "sum": _over(r"\sum"),
    "mean": _reduced(r"\operatorname{mean}"), "max": _reduced(r"\max"), "min": _reduced(r"\min"),
    "broadcast_to": _spread, "reshape": _reshaped, "prod": _over(r"\prod"), "where": _where,
    "alias": _same, "ones": _filled("1"), "zeros": _filled("0"),
    "put": _placed("put"), "scatter_add": _placed("scatter"),
    "logical_and": _infix(r"\wedge", SUM, tighter=True), "logical_or": _infix(r"\vee", SUM, tighter=True),
}  # fmt: skip

"""Lint: dtypes that change unnoticed, roots at 0, division by a count of nothing, truncation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.analysis.lint.findings import Finding, Report, rule
from tensorgraph.analysis.lint.forms import softmax_of
from tensorgraph.analysis.lint.patterns import Pattern
from tensorgraph.analysis.lint.view import View, same
from tensorgraph.engine.op import Op, contraction, elementwise, listing
from tensorgraph.graph.graph import Var
from tensorgraph.ops.reduction import mean
from tensorgraph.ops.shape import astype

__all__: list[str] = []

F64 = np.dtype(np.float64)
ROOT = Pattern("sqrt(x)")
ZEROS = {
    "a variance": Pattern("shaped(var(_))"),
    "a sum of squares": Pattern("shaped(sum(square(_)))"),
    "a mean of squares": Pattern("shaped(mean(square(_)))"),
}
PRODUCT = Pattern("shaped(x @ x)")
QUOTIENT, SUM = Pattern("_ / n"), Pattern("sum(x)")
CAST, FRACTION = Pattern("astype(x)"), Pattern("sigmoid(_)", "uniform(_)")


@rule("TG012", "float64-promotion")
def promotion(view: View, report: Report) -> Iterator[Finding]:
    """A float64 value met by a float32 one makes everything after it float64, twice the memory and half the speed."""
    # where float64 came from: a variable of the graph that nobody asked to be float64, or None where it was asked for
    origin: dict[Var, Var | None] = {}
    given = {*view.graph.inputs, *view.cells, *view.graph.consts}
    told: set[Var] = set()
    for var in given:
        if var.aval.dtype == F64:
            origin[var] = var
    # float32 that somebody chose; zeros, draws and choices among numbers have it only for want of a word
    chosen = {var for var in given if _is_narrow(var)}
    for eq in view.graph.equations:
        if any(a in chosen for a in eq.atoms() if isinstance(a, Var)):
            chosen.update(filter(_is_narrow, eq.outputs))
        wide = [a for a in eq.atoms() if isinstance(a, Var) and a in origin]
        causes = [origin[a] for a in wide]
        made = [out for out in eq.outputs if out.aval.dtype == F64]
        if not made:
            continue
        narrow = [a for a in eq.atoms() if isinstance(a, Var) and a in chosen]
        cause = None if not causes or None in causes or eq.op is astype else causes[0]
        if narrow and all(_is_brought_back(view, out) for out in made):
            cause = None
        mixing = eq.op.kind in (elementwise, contraction, listing) and not eq.op.signature.variadic
        first = cause is not None and mixing and any(a.aval.ndim for a in narrow) and eq.origin is None
        if first and cause is not None and cause not in told:
            told.add(cause)
            yield report(
                eq,
                f"{eq.op.name} of {narrow[0].aval} and a float64 {_called(view, cause)} gives "
                f"{eq.outputs[0].aval}: from here on everything is float64, with twice the memory",
                "make it float32 where it comes from (a number such as np.sqrt(2) does not promote, an array does), or "
                "say .astype('float64') where it is meant",
            )
        origin.update(dict.fromkeys(made, None if narrow else cause))


def _is_narrow(var: Var) -> bool:
    return var.aval.dtype.kind == "f" and var.aval.dtype != F64


def _is_brought_back(view: View, var: Var) -> bool:
    """Whether a value is cast at once wherever it is read: then float64 was meant."""
    readers = view.readers(var)
    return bool(readers) and not view.is_result(var) and all(reader.op is astype for reader in readers)


def _called(view: View, var: Var) -> str:
    if var in view.cells:
        return f"cell {view.cells[var].path}"
    if var in view.graph.consts:
        return "captured number" if var.aval.size == 1 else f"captured array {var.aval}"
    return f"argument {var.name or var.aval}"


@rule("TG016", "root-at-zero")
def root_at_zero(view: View, report: Report) -> Iterator[Finding]:
    """The derivative of a root at 0 is infinite: a norm of zeros, a deviation of equal numbers have NaN gradients."""
    for eq, match in ROOT.each(view):
        what = _can_be_zero(view, match["x"])
        if what is None or eq.outputs[0] not in view.differentiated or match["x"] not in view.differentiated:
            continue
        yield report(
            eq,
            f"the root of {what}: at 0 its derivative is infinite, and times 0 that makes the gradient NaN",
            "use std(x), whose gradient is 0 there"
            if what == "a variance"
            else "add a small number under the root, sqrt(s + 1e-12), or use the square itself",
        )


def _can_be_zero(view: View, atom: Any) -> str | None:
    """What a value is, if it is a sum of squares or a variance, with nothing added."""
    for what, pattern in ZEROS.items():
        if pattern.match(view, atom) is not None:
            return what
    product = PRODUCT.match(view, atom)
    return "a sum of squares" if product is not None and product["x"].aval.ndim == 1 else None


@rule("TG017", "division-by-count")
def division_by_count(view: View, report: Report) -> Iterator[Finding]:
    """Division by how many elements a mask selects, which may be none: 0/0 is NaN."""
    for eq, match in QUOTIENT.each(view):
        if view.is_live(eq) and _counts(view, match["n"]):
            yield report(
                eq,
                "the divisor counts what a mask selects; where that is nothing, 0/0 makes the result and the gradient "
                "NaN",
                "divide by maximum(count, 1)",
            )


def _counts(view: View, atom: Var) -> bool:
    """Whether a value is the sum of a mask."""

    def passes(op: Op) -> bool:
        return same(op) or "reshapes" in op.traits or op is astype

    match = SUM.match(view, view.follow(atom, passes))
    mask = None if match is None else view.follow(match["x"], passes)
    # a captured mask is known: whoever captured it has seen that it selects something
    return (
        isinstance(mask, Var) and mask.aval.dtype.kind == "b" and mask not in view.graph.consts and mask.aval.size > 0
    )


@rule("TG018", "integer-truncation")
def truncation(view: View, report: Report) -> Iterator[Finding]:
    """Casting to an integer cuts the fraction off: of a probability nothing is left."""
    for eq, match in CAST.each(view):
        x = match["x"]
        if x.aval.dtype.kind != "f" or eq.outputs[0].aval.dtype.kind not in "iu":
            continue
        if FRACTION.match(view, x) or softmax_of(view, x):
            yield report(
                eq,
                f"astype('{eq.attrs['dtype']}') of numbers between 0 and 1 cuts the fraction off: every one becomes 0",
                "compare, as in p > 0.5, or take argmax",
            )
            continue
        means = [reader for reader in view.readers(eq.outputs[0]) if reader.op is mean]
        if means:
            yield report(
                means[0],
                f"the mean of numbers cut to {eq.attrs['dtype']}: the fractions are lost before it is taken, and no "
                "gradient passes",
                "take the mean of the floats",
            )

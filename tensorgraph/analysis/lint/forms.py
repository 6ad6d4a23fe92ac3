"""Softmax and its like in the forms in which people write them, and bounds on what goes into an exponential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorgraph.analysis.lint.patterns import Pattern
from tensorgraph.analysis.lint.view import View, axes_of
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.ops.arithmetic import subtract

__all__ = ["SOFTMAX_BY_HAND", "Softmax", "bounded_above", "picked", "rows_of", "softmax_of"]

MOST = 100  # values looked at for a bound
SMALL = 0.01  # the largest number that only guards against 0
DEPTH = 12  # choices and guards, one after another, looked through

SOFTMAX = Pattern("softmax(x)")
SOFTMAX_BY_HAND = Pattern(
    "(e := exp(z)) / (s := shaped(t := sum(e)))",
    "(e := exp(z)) * reciprocal(s := shaped(t := sum(e)))",
)
SHIFTED = Pattern("x - shaped(max(x))")
LOG_SOFTMAX = Pattern("log_softmax(x)")
BY_LOGSUMEXP = Pattern("x - shaped(t := logsumexp(x))")
EXP = Pattern("exp(x)")
CHOSEN = Pattern("x[...]", "take_along_axis(x)")
CHOSEN_BY_ONE_HOT = Pattern("(t := sum(x * one_hot(_)))")
GUARDED = Pattern("x + C", "maximum(x, C)")
CLIPPED = Pattern("clip(x)")
RESHAPED = Pattern("reshape(x)")


@dataclass(frozen=True, slots=True)
class Softmax:
    """A softmax found: of what, over which axis, by which equation; `shifted` says that it cannot overflow."""

    x: Var
    axis: int
    equation: Equation
    shifted: bool


def softmax_of(view: View, atom: Any) -> Softmax | None:
    """The softmax that a value is: the op, or exponentials over their sum, however that was written."""
    eq = view.made(atom)
    if eq is None:
        return None
    if (match := SOFTMAX.match(view, atom)) is not None:
        return _by_op(match["x"], eq)
    if (match := EXP.match(view, atom)) is not None:
        found = log_softmax_of(view, match["x"])
        return None if found is None else Softmax(found.x, found.axis, eq, True)
    if (match := SOFTMAX_BY_HAND.match(view, atom)) is None:
        return None
    e, z, bottom = match["e"], match["z"], match["s"]
    axes = axes_of(match.equations["t"], e.aval.ndim)
    if len(axes) != 1:
        return None
    axis = axes[0]
    kept = tuple(1 if i == axis else n for i, n in enumerate(e.aval.shape))
    if bottom.aval.shape not in (kept, e.aval.shape):  # divided along another axis
        return None
    shift = SHIFTED.match(view, z)
    return Softmax(z, axis, eq, bounded_above(view, z)) if shift is None else Softmax(shift["x"], axis, eq, True)


def _by_op(x: Var, eq: Equation) -> Softmax:
    return Softmax(x, eq.attrs["axis"] % x.aval.ndim, eq, True)


def log_softmax_of(view: View, atom: Any) -> Softmax | None:
    """The log-softmax that a value is: the op, or x - logsumexp(x)."""
    eq = view.made(atom)
    if eq is None:
        return None
    if (match := LOG_SOFTMAX.match(view, atom)) is not None:
        return _by_op(match["x"], eq)
    if (match := BY_LOGSUMEXP.match(view, atom)) is None:
        return None
    axes = axes_of(match.equations["t"], match["x"].aval.ndim)
    return Softmax(match["x"], axes[0], eq, True) if len(axes) == 1 else None


def picked(view: View, atom: Any) -> tuple[Any, bool]:
    """The value behind a choice of its elements and guards against 0; and whether there was any."""
    changed = False
    for _ in range(DEPTH):
        behind = _chosen(view, atom) or _guarded(view, atom)
        if behind is None:
            break
        atom, changed = behind, True
    return atom, changed


def _chosen(view: View, atom: Any) -> Var | None:
    """What a choice of elements chooses from: by an index, or by a sum over one-hot rows."""
    if (match := CHOSEN.match(view, atom)) is not None:
        return match["x"]  # type: ignore[no-any-return]
    match = CHOSEN_BY_ONE_HOT.match(view, atom)
    one = match is not None and len(axes_of(match.equations["t"], match["x"].aval.ndim)) == 1
    return match["x"] if match is not None and one else None


def _guarded(view: View, atom: Any) -> Var | None:
    """What a guard against 0 is applied to: a bound, or a small number that is added."""
    if (match := CLIPPED.match(view, atom)) is not None:
        return match["x"]  # type: ignore[no-any-return]
    match = GUARDED.match(view, atom)
    return match["x"] if match is not None and 0 <= match["C"] <= SMALL else None


def rows_of(view: View, atom: Var, axis: int) -> Var:
    """The value behind guards against 0 and, where the axis asked about is the last, behind reshapes that keep it."""
    for _ in range(DEPTH):
        x = _guarded(view, atom)
        if x is None and (match := RESHAPED.match(view, atom)) is not None:
            last = axis % atom.aval.ndim == atom.aval.ndim - 1
            x = match["x"] if last and match["x"].aval.shape[-1:] == atom.aval.shape[-1:] else None
        if x is None:
            break
        atom = x
    return atom


# bounds --------------------------------------------------------------------------------------------------------------

SHIFTED_BY_MORE = Pattern("x - shaped(max(x))", "x - shaped(logsumexp(x))")
AT_MOST, AT_LEAST = Pattern("minimum(_, C)"), Pattern("maximum(_, C)")
NEGATED = Pattern("-x")
SQUARE, EVEN_POWER = Pattern("square(x)"), Pattern("x ** C")
SCALED = Pattern("x * C", "x / C")


def bounded_above(view: View, atom: Any) -> bool:
    """Whether what goes into an exponential cannot be large: shifted by a maximum, minus a square, clipped, ..."""
    # The plan: a list of values still to be shown bounded, each with its side. One that is bounded by itself is done;
    # one that is as bounded as others (a sum, a clip, a difference) puts these on the list, a difference the second
    # with the other side; one that a maximum was taken from is done; anything else, or too long a search, is a no.
    todo: list[tuple[Any, bool]] = [(atom, True)]  # a value, and whether it must be bounded above or below
    seen = 0
    while todo:
        atom, above = todo.pop()
        atom = view.follow(atom)
        if not isinstance(atom, Var) or atom in view.graph.consts or atom.aval.dtype.kind in "bui":
            continue
        seen += 1
        eq = view.maker(atom)
        asked = None if eq is None or seen > MOST else _asked(view, eq, atom, above)
        if asked is None:
            return False
        todo += asked
    return True


def _asked(view: View, eq: Equation, atom: Var, above: bool) -> list[tuple[Any, bool]] | None:
    """What has to be bounded, and on which side, for a value to be; None where nothing helps."""
    if ("bounded above" if above else "bounded below") in eq.op.traits:
        return []
    if (AT_MOST if above else AT_LEAST).match(view, atom) or (above and SHIFTED_BY_MORE.match(view, atom)):
        return []
    if CLIPPED.match(view, atom) and eq.attrs["a_max" if above else "a_min"] is not None:
        return []
    if "increasing" in eq.op.traits:
        return [(a, above) for a in eq.atoms()]
    if (match := NEGATED.match(view, atom)) is not None:
        return [(match["x"], not above)]
    if eq.op is subtract:
        return [(eq.inputs[0], above), (eq.inputs[1], not above)]
    return _product(view, atom, above)


def _product(view: View, atom: Var, above: bool) -> list[tuple[Any, bool]] | None:
    """The like for a product, a quotient or a power."""
    if SQUARE.match(view, atom):
        return None if above else []
    if (match := EVEN_POWER.match(view, atom)) is not None:
        return [] if match["C"] % 2 == 0 and not above else None
    match = SCALED.match(view, atom)
    return None if match is None else [(match["x"], above if match["C"] >= 0 else not above)]

"""The forms in which people write softmax, sigmoid and their like, and bounds on what goes into an exponential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensorgraph.analysis.lint.view import RESHAPES, SAME, View, axes_of
from tensorgraph.graph.graph import Equation, Var

__all__ = ["Softmax", "bounded_above", "log_softmax_of", "picked", "rows_of", "sigmoid_of", "softmax_of"]

MOST = 64  # values looked at for a bound
SMALL = 0.01  # the largest number that only guards against 0
DEPTH = 12  # choices and guards, one after another, looked through
BOUNDED = frozenset(
    {"tanh", "sigmoid", "sin", "cos", "sign", "hardmax", "softmax", "log_softmax", "one_hot", "uniform"}
)


@dataclass(frozen=True, slots=True)
class Softmax:
    """A softmax found: of what, over which axis, by which op; `shifted` says that it cannot overflow."""

    x: Var
    axis: int
    equation: Equation
    shifted: bool

    @property
    def by_hand(self) -> bool:
        return self.equation.op.name != "softmax"


def softmax_of(view: View, atom: Any) -> Softmax | None:
    """The softmax that a value is: the op, or exponentials over their sum, however that was written."""
    eq = view.made_by(atom, "softmax", "divide", "multiply", "exp")
    if eq is None:
        return None
    if eq.op.name == "softmax":
        x = eq.inputs[0]
        return Softmax(x, eq.attrs["axis"] % x.aval.ndim, eq, True) if isinstance(x, Var) else None
    if eq.op.name == "exp":  # of a log-softmax
        found = log_softmax_of(view, eq.inputs[0])
        return None if found is None else Softmax(found.x, found.axis, eq, True)
    if eq.op.name == "divide":
        return _quotient(view, eq, eq.inputs[0], eq.inputs[1])
    for a, b in (eq.inputs, eq.inputs[::-1]):
        inverse = view.made_by(b, "reciprocal", "divide")
        if inverse is not None and inverse.op.name == "reciprocal":
            return _quotient(view, eq, a, inverse.inputs[0])
        if inverse is not None and view.constant(inverse.inputs[0]) == 1.0:
            return _quotient(view, eq, a, inverse.inputs[1])
    return None


def _quotient(view: View, eq: Equation, top: Any, bottom: Any) -> Softmax | None:
    exp = view.made_by(top, "exp")
    total = view.made_by(bottom, "sum", through=SAME | RESHAPES | {"getitem", "broadcast_to"})
    if exp is None or total is None or not isinstance(bottom, Var):
        return None
    e, z = exp.outputs[0], exp.inputs[0]
    if view.follow(total.inputs[0]) is not e or not isinstance(z, Var):
        return None
    axes = axes_of(total, e.aval.ndim)
    if len(axes) != 1:
        return None
    axis = axes[0]
    kept = tuple(1 if i == axis else n for i, n in enumerate(e.aval.shape))
    if bottom.aval.shape not in (kept, e.aval.shape):  # divided along another axis
        return None
    shift = view.made_by(z, "subtract")
    if shift is not None and _is_maximum(view, shift.inputs[1], shift.inputs[0]):
        x = shift.inputs[0]
        return Softmax(x, axis, eq, True) if isinstance(x, Var) else None
    return Softmax(z, axis, eq, bounded_above(view, z))


def _is_maximum(view: View, atom: Any, of: Any) -> bool:
    """Whether a value is a maximum of another one, over any axes."""
    top = view.made_by(atom, "max", through=SAME | RESHAPES | {"getitem", "broadcast_to"})
    return top is not None and view.follow(top.inputs[0]) is view.follow(of)


def log_softmax_of(view: View, atom: Any) -> Softmax | None:
    """The log-softmax that a value is: the op, or x - logsumexp(x)."""
    eq = view.made_by(atom, "log_softmax", "subtract")
    if eq is None:
        return None
    x = eq.inputs[0]
    if not isinstance(x, Var):
        return None
    if eq.op.name == "log_softmax":
        return Softmax(x, eq.attrs["axis"] % x.aval.ndim, eq, True)
    total = view.made_by(eq.inputs[1], "logsumexp", through=SAME | RESHAPES | {"getitem", "broadcast_to"})
    if total is None or view.follow(total.inputs[0]) is not view.follow(x):
        return None
    axes = axes_of(total, x.aval.ndim)
    return Softmax(x, axes[0], eq, True) if len(axes) == 1 else None


def sigmoid_of(view: View, atom: Any) -> tuple[Var, Equation] | None:
    """The x of a sigmoid, and its equation: the op, 1 / (1 + exp(-x)), exp(x) / (1 + exp(x))."""
    eq = view.made_by(atom, "sigmoid", "divide", "reciprocal")
    if eq is None:
        return None
    if eq.op.name == "sigmoid":
        x = eq.inputs[0]
        return (x, eq) if isinstance(x, Var) else None
    top: Any = None if eq.op.name == "reciprocal" else eq.inputs[0]
    bottom = eq.inputs[-1]
    exp = one_plus_exp(view, bottom)
    if exp is None:
        return None
    z: Any = exp.inputs[0]
    if top is None or view.constant(top) == 1.0:
        minus = view.made_by(z, "negative")
        z = None if minus is None else minus.inputs[0]
    elif view.follow(top) is not exp.outputs[0]:
        return None
    return (z, eq) if isinstance(z, Var) else None


def one_plus_exp(view: View, atom: Any) -> Equation | None:
    """The exponential in ``1 + exp(z)``."""
    total = view.made_by(atom, "add")
    if total is None:
        return None
    for a, b in (total.inputs, total.inputs[::-1]):
        exp = view.made_by(b, "exp")
        if view.constant(a) == 1.0 and exp is not None:
            return exp
    return None


def picked(view: View, atom: Any) -> tuple[Any, bool]:
    """The value behind a choice of its elements and guards against 0; and whether there was any."""
    changed = False
    for _ in range(DEPTH):
        eq = view.made_by(atom, "getitem", "take_along_axis", "sum", "add", "clip", "maximum")
        behind = None if eq is None else _behind(view, eq)
        if behind is None:
            break
        atom = behind
        changed = True
    return atom, changed


def _behind(view: View, eq: Equation) -> Any:
    """What a choice of elements, or a guard against 0, is applied to."""
    if eq.op.name in ("add", "maximum"):
        rest = [a for a in eq.inputs if view.constant(a) is None]
        guards = [c for c in map(view.constant, eq.inputs) if c is not None and 0 <= c <= SMALL]
        return rest[0] if len(rest) == 1 and guards else None
    if eq.op.name == "sum":  # over one-hot rows: the chosen element of each
        product = view.made_by(eq.inputs[0], "multiply")
        for a, b in () if product is None else (product.inputs, product.inputs[::-1]):
            chosen = view.made_by(b, "one_hot")
            if chosen is not None and isinstance(a, Var) and len(axes_of(eq, a.aval.ndim)) == 1:
                return a
        return None
    return eq.inputs[0]


def rows_of(view: View, atom: Var, axis: int) -> Var:
    """The value behind guards against 0 and, where the axis asked about is the last, behind reshapes that keep it."""
    for _ in range(DEPTH):
        eq = view.made_by(atom, "add", "clip", "maximum", "reshape")
        if eq is None:
            break
        x = eq.inputs[0] if eq.op.name == "reshape" else _behind(view, eq)
        if not isinstance(x, Var):
            break
        if eq.op.name == "reshape" and not (
            axis % atom.aval.ndim == atom.aval.ndim - 1 and x.aval.ndim and x.aval.shape[-1] == atom.aval.shape[-1]
        ):
            break
        atom = x
    return atom


def bounded_above(view: View, atom: Any) -> bool:
    """Whether what goes into an exponential cannot be large: shifted by a maximum, minus a square, clipped, ..."""
    todo: list[tuple[Any, bool]] = [(atom, True)]  # a value, and whether it must be bounded above or below
    seen = 0
    while todo:
        atom, above = todo.pop()
        seen += 1
        atom = view.follow(atom, SAME | RESHAPES | {"getitem", "broadcast_to", "transpose"})
        if not isinstance(atom, Var) or atom in view.graph.consts or atom.aval.dtype.kind in "bui":
            continue
        eq = view.maker.get(atom)
        if eq is None or seen > MOST:
            return False
        name = eq.op.name
        if name in BOUNDED:
            if name == "log_softmax" and not above:
                return False
        elif name == "subtract" and above and _is_largest(view, eq.inputs[1], eq.inputs[0]):
            continue
        elif name in ("absolute", "square", "exp", "relu", "softplus", "sqrt"):
            if above:
                if name in ("absolute", "square"):
                    return False
                todo.append((eq.inputs[0], True))
        elif name == "negative":
            todo.append((eq.inputs[0], not above))
        elif name == "clip":
            if eq.attrs["a_max" if above else "a_min"] is None:
                return False
        elif name in ("minimum", "maximum"):
            if (name == "minimum") != above or all(view.constant(a) is None for a in eq.inputs):
                return False
        elif name in ("add", "where"):
            todo += [(a, above) for a in eq.inputs[-2:]]
        elif name == "subtract":
            todo += [(eq.inputs[0], above), (eq.inputs[1], not above)]
        elif name in ("multiply", "divide", "power"):
            asked = _product(view, eq, above)
            if asked is None:
                return False
            todo += [(a, side) for a, side in asked]
        elif name in ("sum", "mean", "max", "min"):
            todo.append((eq.inputs[0], above))
        else:
            return False
    return True


def _product(view: View, eq: Equation, above: bool) -> list[tuple[Any, bool]] | None:
    """What has to be bounded for a product, a quotient or a power to be; None where nothing helps."""
    a, b = eq.inputs
    if eq.op.name == "power":
        even = view.constant(b)
        return [] if even is not None and even % 2 == 0 and not above else None
    if eq.op.name == "multiply" and view.follow(a) is view.follow(b):
        return None if above else []
    factor = view.constant(b)
    rest = a
    if factor is None and eq.op.name == "multiply":
        factor, rest = view.constant(a), b
    if factor is None:
        return None
    return [(rest, above if factor >= 0 else not above)]


def _is_largest(view: View, atom: Any, of: Any) -> bool:
    """Whether what is subtracted is the maximum, or a log-sum-exp, which is larger still."""
    through = SAME | RESHAPES | {"getitem", "broadcast_to"}
    top = view.made_by(atom, "max", "logsumexp", through=through)
    return top is not None and view.follow(top.inputs[0]) is view.follow(of)

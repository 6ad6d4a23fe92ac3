"""Lint: what `where` does not take, or a mask makes 0, with an infinite derivative there: 0 times infinity is NaN.

No list of ops says where derivatives are infinite: the ops before a choice are differentiated by numbers, at points
that the condition keeps away from the side.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.analysis.lint.findings import Finding, Report, Rewrite, rule
from tensorgraph.analysis.lint.view import Steps, View, flows, replacing, same
from tensorgraph.engine import modes
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.op import Op, contraction, elementwise, reduction
from tensorgraph.engine.tensor import tensor
from tensorgraph.graph.graph import Equation, Literal, Var
from tensorgraph.ops.arithmetic import multiply
from tensorgraph.ops.index import getitem
from tensorgraph.ops.logic import logical_and, logical_not, logical_or, where
from tensorgraph.ops.shape import astype, broadcast_to

__all__: list[str] = []

NAME = "TG024 gradient-through-where"
MOST = 24  # equations looked at behind a value
FAR = 1e30  # where exponentials have overflowed in every dtype
PASSED = (reduction, contraction)  # kinds of ops that give a cotangent of 0 on as zeros, linear ones besides
INSTEAD = 1.0  # what may stand for an element that is not taken
LARGE, FEW = 100_000, 2  # elements that are not reduced to try a condition, but so many along each axis


@rule("TG024", "gradient-through-where")
def through_where(view: View, report: Report) -> Iterator[Finding]:
    """What where does not take, or a mask makes 0, has an infinite derivative there: times 0, the gradient is NaN."""
    # The plan, for each choice that a gradient passes, a product with a mask being one: (1) its condition is taken
    # apart into those that surely hold where a side is taken; (2) the elementwise equations behind the side, also
    # behind sums and other linear ops, are differentiated one by one, each at points where such a condition does not
    # hold; (3) if a derivative is not finite, that is a finding, and guarding what the equation reads is the repair.
    reached = _reached(view)
    told: set[Var] = set()
    for choice in view.equations:
        if choice.outputs[0] not in reached:
            continue
        for side, given, truth in _sides(view, choice):
            conditions = list(_holding(view, given, truth))
            for eq, summed in _behind(view, choice.inputs[side]):
                out = eq.outputs[0]
                if out in told or out not in reached or not any(v in reached for v in eq.variables()):
                    continue
                if not any(_leaks(view, eq, condition, holds, summed) for condition, holds in conditions):
                    continue
                told.add(out)
                shown = _shown(eq, truth)
                masked = choice.op is not where
                if not summed:
                    other = "0.0" if masked else "b" if truth else "a"
                    shown = f"where(c, {shown}, {other})" if truth else f"where(c, {other}, {shown})"
                unread, gives = ("the mask is 0", "the mask") if masked else ("it is not taken", choice.op.name)
                yield report(
                    choice,
                    f"{eq.op.name} is computed where {unread} too, and its derivative is not finite there: "
                    f"{gives} gives it a cotangent of 0, and 0 times that is NaN",
                    f"{f'choose what {eq.op.name} reads' if summed else 'choose what goes in as well'}: {shown}",
                    None if masked else _repair(view, eq, choice, side),
                )


def _sides(view: View, eq: Equation) -> Iterator[tuple[int, Any, bool]]:
    """The inputs between which an equation chooses, each with a condition and whether it is true where one is taken."""
    if eq.op is where:
        yield 1, eq.inputs[0], True
        yield 2, eq.inputs[0], False
    elif eq.op is multiply:
        for side in (0, 1):
            if _is_mask(view, eq.inputs[1 - side]):
                yield side, eq.inputs[1 - side], True


def _is_mask(view: View, atom: Any) -> bool:
    """Whether a factor is computed of booleans and numbers alone; where it is not 0, it is true."""
    queue = [_plain(view, atom)]
    booleans = 0
    for value in queue:
        if type(value) is Var and value.aval.dtype.kind == "b":
            booleans += 1
        elif view.constant(value) is None:
            eq = view.maker(value)
            if eq is None or eq.op.kind is not elementwise or len(queue) > MOST:
                return False
            queue += [_plain(view, a) for a in eq.inputs]
    return booleans > 0


def _shown(eq: Equation, truth: bool) -> str:
    """The equation with what it reads chosen by the condition c."""
    kept = f"where(c, x, {INSTEAD})" if truth else f"where(c, {INSTEAD}, x)"
    at = _weak_input(eq)
    sign = eq.op.infix
    if sign is not None and len(eq.inputs) == 2:
        return f"{kept} {sign} ..." if at == 0 else f"... {sign} {kept}"
    return f"{eq.op.name}({kept})"


def _weak_input(eq: Equation) -> int | None:
    """The input that makes the derivatives finite when it is 1."""
    for k, atom in enumerate(eq.inputs):
        if type(atom) is Var and atom.aval.dtype.kind == "f":
            inputs: list[Any] = [a.value if type(a) is Literal else np.float64(0.0) for a in eq.inputs]
            inputs[k] = np.float64(INSTEAD)
            if _is_finite(eq, inputs):
                return k
    return None


def _reached(view: View) -> set[Var]:
    """What a gradient passes; of a function that says nothing of gradients, what would pass one to its arguments."""
    graph = view.graph
    silent = not view.deferred and all(eq.origin is None for eq in graph.equations)
    if silent and not any(decl.requires_grad for decl in graph.cells):
        return view.after((v for v in graph.inputs if v.aval.dtype.kind == "f"), flows)
    return view.differentiated


def _holding(view: View, atom: Any, truth: bool) -> Iterator[tuple[Any, bool]]:
    """Conditions, and whether they are true, that hold wherever this one is `truth`."""
    eq = view.made(atom)
    yield atom, truth
    while eq is not None and eq.op is astype:  # of a mask
        eq = view.made(eq.inputs[0])
    if eq is None:
        return
    if eq.op is logical_not:
        yield from _holding(view, eq.inputs[0], not truth)
    elif eq.op is (logical_and if truth else logical_or) or (truth and eq.op is multiply):
        for part in eq.inputs:
            yield from _holding(view, part, truth)


def _plain(view: View, atom: Any) -> Any:
    """The value behind what passes its numbers on, each once or repeated, in another shape."""

    def passes(op: Op) -> bool:
        return same(op) or "reshapes" in op.traits or op is broadcast_to

    while True:
        atom = view.follow(atom, passes)
        eq = view.maker(atom)
        if eq is None or eq.op is not getitem or type(eq.inputs[0]) is not Var:
            return atom
        if eq.inputs[0].aval.size != eq.outputs[0].aval.size:
            return atom
        atom = eq.inputs[0]


def _one(view: View, atom: Any) -> Any:
    """The like, and of values that were computed twice the first: people write an expression once more."""
    plain = _plain(view, atom)
    return view.first.get(plain, plain) if type(plain) is Var else plain


def _behind(view: View, atom: Any) -> list[tuple[Equation, bool]]:
    """The nearest elementwise equations that a value is made of, in the graph's order, and whether what they give is
    summed, or another linear op applied to it, before; choices stand at the end."""
    position = view.graph.index.position
    found: dict[int, tuple[Equation, bool]] = {}
    queue: list[tuple[Any, bool]] = [(atom, False)]
    seen: set[Var] = set()
    for value, summed in queue:
        plain = _plain(view, value)
        eq = view.maker(plain)
        if eq is None or plain in seen or len(found) >= MOST or eq.op is where:
            continue
        seen.add(plain)
        if eq.op.kind is elementwise:
            found[position[eq.outputs[0]]] = eq, summed
            queue += [(a, summed) for a in eq.inputs]
        elif eq.op.kind in PASSED or "linear" in eq.op.traits:
            queue += [(v, True) for v in eq.variables() if v.aval.dtype.kind == "f"]
    return [found[n] for n in sorted(found)]


def _leaks(view: View, eq: Equation, condition: Any, holds: bool, summed: bool) -> bool:
    """Whether, for some value of something that both depend on, the condition fails and a derivative is not finite.

    Of what is summed, a condition speaks of all elements together: reductions are tried with all of them alike.
    """
    asked = _sources(view, condition, summed)
    for base in _sources(view, eq.outputs[0], summed):
        if base not in asked or base.aval.dtype.kind != "f":
            continue
        for point in _points(view, condition, base, summed):
            said = _value(view, condition, base, point, summed, known=True)
            if said is None or bool(said) == holds:
                continue
            if _slope(view, eq, base, point, summed) is False:
                return True
    return False


def _is_tried(eq: Equation, reduced: bool) -> bool:
    """Whether an equation's value follows from those of its inputs' elements."""
    return eq.op.kind is elementwise or (reduced and eq.op.kind is reduction and eq.op.single and len(eq.inputs) == 1)


def _sources(view: View, atom: Any, reduced: bool) -> dict[Var, None]:
    """The variables that a value is computed of elementwise, or `reduced` to it, the farthest first, itself last."""
    found: dict[Var, None] = {}
    queue = [_one(view, atom)]
    for var in queue:
        if type(var) is Var and var not in found and len(found) < MOST:
            found[var] = None
            eq = view.maker(var)
            if eq is not None and _is_tried(eq, reduced):
                queue += [_one(view, a) for a in eq.inputs]
    return dict.fromkeys(reversed(found))


def _points(view: View, condition: Any, base: Var, reduced: bool) -> list[float]:
    """What to try: 0, the numbers of the condition, what is far out, and a negative number where 0 means 0."""
    numbers = {0.0}
    for var in _sources(view, condition, reduced):
        eq = view.maker(var)
        for a in () if eq is None else eq.inputs:
            value = view.constant(a)
            if value is not None and np.isfinite(value):
                numbers |= {value, -value}
    zero = _value(view, condition, base, 0.0, reduced, known=True)
    return [*sorted(numbers, key=abs), *([-1.0] if zero is not None else []), FAR, -FAR]


def _value(view: View, atom: Any, base: Var, point: float, reduced: bool, known: bool = False) -> Any:
    """A value where `base` is `point`; other variables are 1, or, if all have to be known, there is none."""
    values: dict[Var, Any] = {base: np.float64(point)}
    order = sorted(
        (v for v in _sources(view, atom, reduced) if v is not base), key=lambda v: view.graph.index.position.get(v, -1)
    )
    for var in order:
        eq = view.maker(var)
        if eq is None or not _is_tried(eq, reduced):
            constant = view.constant(var)
            if constant is None and known and var is not base:
                values[var] = None
                continue
            values[var] = np.float64(1.0 if constant is None else constant)
            if var.aval.dtype.kind == "b":
                values[var] = np.bool_(values[var])
            continue
        inputs = [_input(view, values, a) for a in eq.inputs]
        if any(v is None for v in inputs):
            values[var] = None
            continue
        with np.errstate(all="ignore"):
            values[var] = _computed(eq, inputs)
    return _input(view, values, atom)


def _input(view: View, values: dict[Var, Any], atom: Any) -> Any:
    if type(atom) is Literal:
        return atom.value
    return values.get(_one(view, atom))


def _computed(eq: Equation, inputs: list[Any]) -> Any:
    arrays = [np.asarray(v) if isinstance(v, np.generic) else v for v in inputs]
    try:
        if eq.op.kind is elementwise:
            return np.asarray(eq.op.forward(*arrays, **eq.attrs))[()]
        (reduced,) = eq.variables()
        aval = reduced.aval
        shape = aval.shape if aval.size <= LARGE else tuple(min(n, FEW) for n in aval.shape)
        return np.asarray(eq.op.forward(np.full(shape, arrays[0]), **eq.attrs)).ravel()[0]
    except (TypeError, ValueError, IndexError):  # there may be no elements
        return None


def _slope(view: View, eq: Equation, base: Var, point: float, reduced: bool) -> bool | None:
    """Whether an equation's derivatives are finite where `base` is `point`; None where nothing can be said.

    A negative number says something only of an equation for which 0 is one too: an eps that was added speaks of numbers
    that are not negative.
    """
    inputs = [a.value if type(a) is Literal else _value(view, a, base, point, reduced) for a in eq.inputs]
    if any(type(v) is np.float64 and not np.isfinite(v) for v in inputs):  # the fault lies before it
        return None
    if abs(point) == FAR:
        with np.errstate(all="ignore"):
            value = None if any(v is None for v in inputs) else _computed(eq, inputs)
        if value is None or not np.isinf(value):
            return None
    elif point < 0:
        zeros = [0.0 if type(a) is Literal else _value(view, a, base, 0.0, reduced) for a in eq.inputs]
        if not any(z == 0 for a, z in zip(eq.inputs, zeros, strict=True) if type(a) is not Literal):
            return None
    return None if any(v is None for v in inputs) else _is_finite(eq, inputs)


def _is_finite(eq: Equation, inputs: list[Any]) -> bool | None:
    """Whether the derivatives of an equation by its floats are finite at these numbers."""
    with modes.use(trace=None, cells=None, grad=True, quiet=True, debug_nans=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"):
            try:
                leaves = [
                    tensor(np.asarray(v), requires_grad=np.asarray(v).dtype.kind == "f") if isinstance(v, np.generic)
                    else v for v in inputs
                ]  # fmt: skip
                wanted = [t for t in leaves if getattr(t, "requires_grad", False)]
                y = eq.op.public(*leaves, **eq.attrs)
                if not wanted or not y.requires_grad:
                    return None
                return all(bool(np.isfinite(g.numpy()).all()) for g in gradients([y], wanted))
            except (TypeError, ValueError):
                return None


def _repair(view: View, eq: Equation, choice: Equation, side: int) -> Rewrite | None:
    """What an equation reads is chosen by the same condition; None where others read what it gives."""
    condition = choice.inputs[0]
    if type(condition) is not Var:
        return None
    one = not condition.aval.shape  # for all elements
    shape = eq.outputs[0].aval.shape
    var = eq.outputs[0]
    while True:
        readers = view.readers(var)
        if len(readers) != 1 or view.is_result(var) or not (one or var.aval.shape == shape):
            return None
        (reader,) = readers
        if reader is choice:
            if [a is var for a in choice.inputs] != [k == side for k in range(3)]:
                return None
            break
        if not reader.op.single or not (reader.op.kind is elementwise or (one and reader.op.kind is reduction)):
            return None
        var = reader.outputs[0]
    position = view.graph.index.position
    at = position[eq.outputs[0]]
    steps: Steps = []
    if position.get(condition, -1) > at:  # made later, of what may be there already
        made = view.maker(condition)
        if made is None or any(position.get(v, -1) > at for v in made.variables()):
            return None
        steps.append((made.op, made.inputs, dict(made.attrs)))
    k = _weak_input(eq)
    x = None if k is None else eq.inputs[k]
    if k is None or type(x) is not Var or not (one or x.aval.shape == condition.aval.shape):
        return None
    c = None if steps else condition
    kept = (c, x, Literal(INSTEAD)) if side == 1 else (c, Literal(INSTEAD), x)
    guarded = (*eq.inputs[:k], None, *eq.inputs[k + 1 :])
    return replacing(NAME, eq, [*steps, (where, kept, {}), (eq.op, guarded, dict(eq.attrs))])

"""Regions that may be a fused op: closed, of analytic ops, from one value x to one value y.

A region begins at some x before an op that no polynomial is (a root, an exponential), holds every equation between x
and y, and takes what else it reads as side inputs: weights, labels, constants.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.engine.op import CATALOGUE
from tensorgraph.graph.graph import Equation, Literal, Var
from tensorgraph.passes.recognise.view import View, elements, variables

__all__ = [
    "ALLOWED", "CAREFUL", "CREATION", "EXPONENTIALS", "LABELS", "REDUCTIONS", "ROOTS", "SHIFTS", "VIEWS", "Region",
    "Window", "allowed", "behind", "closed", "constant", "guarded", "is_arange", "is_shift", "region", "sources",
    "window",
]  # fmt: skip

ROOTS = frozenset({"sqrt", "power", "log", "batch_norm", "layer_norm"})
EXPONENTIALS = frozenset({
    "exp", "expm1", "log", "log1p", "logsumexp", "sigmoid", "softplus", "tanh", "sin", "cos", "softmax", "log_softmax",
    "softmax_cross_entropy",
})  # fmt: skip
REDUCTIONS = frozenset({
    "sum", "mean", "var", "prod", "logsumexp", "matmul", "softmax", "log_softmax", "batch_norm", "layer_norm",
    "softmax_cross_entropy",
})  # fmt: skip
VIEWS = frozenset({"reshape", "expand_dims", "squeeze", "transpose", "broadcast_to", "astype", "getitem"})
CREATION = frozenset({"arange", "zeros", "ones", "full", "eye"})
# what is made of labels without arithmetic
LABELS = frozenset({"one_hot", "equal", "class_targets", "class_weights"})
# analytic in every float input, as functions of real numbers: what a kernel branches on for accuracy does not count
ALLOWED = ROOTS | EXPONENTIALS | REDUCTIONS | VIEWS | {
    "add", "subtract", "multiply", "divide", "negative", "square", "reciprocal", "take_along_axis", "flip",
    "concatenate", "class_weights",
}  # fmt: skip
# a value that nothing in the region may depend on: in probing it is drawn at random; so is what is made of such only
SHIFTS = frozenset({"max", "min", "stop_gradient"})
ORIGINS = frozenset({"argmax", "argmin", "getitem", "take_along_axis", "permutation", "concatenate", "astype"})

# fused ops that are analytic functions, though their references choose by masks what is accurate where
CAREFUL = frozenset({"softmax", "log_softmax", "batch_norm", "layer_norm", "softmax_cross_entropy"})

COMPARISONS = frozenset({"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"})

LARGEST = 48  # equations in a window
BEHIND = 24  # and of what is computed to see what it reads
NEAREST = 24  # starts before an anchor


def allowed(eq: Equation) -> bool:
    """Whether an equation may stand in a region."""
    return eq.op.name in ALLOWED and CATALOGUE.get(eq.op.name) is eq.op


def is_shift(eq: Equation) -> bool:
    """Whether an equation of a region makes a mere shift, whatever it computes."""
    return not (allowed(eq) or eq.op.name in CREATION or eq.op.name in LABELS)


def constant(view: View, var: Var) -> bool:
    """Whether a variable is a captured number, which counts as a literal."""
    array = view.graph.consts.get(var)
    return array is not None and (array.size == 1 or is_arange(array))


def is_arange(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array counts 0, 1, 2, ..."""
    return array.dtype.kind in "iu" and array.ndim == 1 and array.size > 1 and np.array_equal(array, range(array.size))


def sources(view: View, names: Iterable[str]) -> list[Var]:
    """Float values from which an anchor (an equation of one of these ops) is near, in the graph's order."""
    wanted = frozenset(names)
    found: dict[Var, None] = {}
    for number, eq in enumerate(view.equations):
        if eq.op.name not in wanted or not view.live[number] or not allowed(eq) or is_polynomial(eq):
            continue
        seen: set[int] = {number}
        heap = [-number]
        starts: dict[Var, None] = {}
        while heap and len(starts) < NEAREST:
            for var in view.read[-heapq.heappop(heap)]:
                if var.aval.dtype.kind != "f" or var in starts or not elements(var.aval):
                    continue
                starts[var] = None
                n = view.made_by.get(var)
                if n is not None and n not in seen:
                    seen.add(n)
                    if allowed(view.equations[n]) or view.equations[n].op.name in SHIFTS:
                        heapq.heappush(heap, -n)
        found.update(starts)
    return [var for var in found if var not in view.graph.consts]


def is_polynomial(eq: Equation) -> bool:
    """Whether it is a power with a natural exponent."""
    if eq.op.name != "power":
        return False
    exponent = eq.inputs[1]
    return type(exponent) is Literal and float(exponent.value).is_integer() and exponent.value >= 0


@dataclass
class Window:
    """The equations that follow from x through allowed ops, in order, with bit masks over them."""

    x: Var
    numbers: list[int]
    before: list[int] = field(default_factory=list)  # for each its ancestors and itself
    uses: list[int] = field(default_factory=list)  # for each those that read it
    outside: list[bool] = field(default_factory=list)  # for each whether something else reads it

    def members(self, mask: int) -> list[int]:
        return [n for i, n in enumerate(self.numbers) if mask >> i & 1]

    def mask(self, view: View, names: Iterable[str]) -> int:
        """Those that are one of these ops."""
        result = 0
        for i, n in enumerate(self.numbers):
            eq = view.equations[n]
            if eq.op.name in names and not is_polynomial(eq):
                result |= 1 << i
        return result


def window(view: View, x: Var, foreign: frozenset[str] = frozenset()) -> Window:
    """What follows from x, up to `LARGEST` equations; none of the ops in `foreign`."""
    known = {x}
    shifts: set[Var] = set()  # values of shifts, and what is computed of nothing else
    heap = list(view.users.get(x, ()))
    heapq.heapify(heap)
    numbers: list[int] = []
    while heap and len(numbers) < LARGEST:
        n = heapq.heappop(heap)
        if numbers and numbers[-1] == n:
            continue
        eq = view.equations[n]
        read = view.read[n]
        of_shifts = all(v in shifts or constant(view, v) for v in read)
        floating = all(o.aval.dtype.kind == "f" and elements(o.aval) for o in eq.outputs)
        if not of_shifts and not (floating and (eq.op.name in SHIFTS or allowed(eq))):
            continue
        if eq.op.name in foreign:
            continue
        numbers.append(n)
        if of_shifts or eq.op.name in SHIFTS:
            shifts.update(eq.outputs)
        for out in eq.outputs:
            known.add(out)
            for user in view.users.get(out, ()):
                heapq.heappush(heap, user)
    found = Window(x, numbers)
    place = {n: i for i, n in enumerate(numbers)}
    for i, n in enumerate(numbers):
        eq = view.equations[n]
        before = 1 << i
        for var in view.read[n]:
            if var is not x and var in known and view.made_by.get(var) in place:
                before |= found.before[place[view.made_by[var]]]
        found.before.append(before)
        uses = 0
        outside = False
        for out in eq.outputs:
            outside |= out in view.written or out in view.returned or out in view.asked
            for user in view.users.get(out, ()):
                if user in place:
                    uses |= 1 << place[user]
                else:
                    outside = True
        found.uses.append(uses)
        found.outside.append(outside)
    return found


def behind(view: View, found: Window) -> list[int]:
    """Equations that make what a window reads besides x, as far back as `BEHIND` allowed ones, in order."""
    inside = set(found.numbers)
    heap = [-view.made_by[v] for n in found.numbers for v in view.read[n] if v in view.made_by and v is not found.x]
    heapq.heapify(heap)
    result: set[int] = set()
    while heap and len(result) < BEHIND:
        n = -heapq.heappop(heap)
        if n in inside or n in result or is_shift(view.equations[n]) or found.x in view.equations[n].outputs:
            continue
        result.add(n)
        for var in view.read[n]:
            if var in view.made_by:
                heapq.heappush(heap, -view.made_by[var])
    return sorted(result)


@dataclass
class Region:
    """Equations from x to y, in order, with the side inputs they are reduced to.

    `numbers` are those between x and y, which go if the region is replaced; `sides` those that only make side inputs,
    which go where nothing else needs them. `bases` are the side inputs, float or integer.
    """

    x: Var
    y: Var
    numbers: list[int]
    sides: list[int]
    bases: list[Var]
    exposed: list[Var]

    @property
    def equations(self) -> list[int]:
        return sorted({*self.numbers, *self.sides})


def closed(view: View, found: Window, last: int, most: int) -> list[Var] | None:
    """Values inside the region up to the window's equation `last` that are used elsewhere; None if over `most`."""
    mask = found.before[last]
    exposed: list[Var] = []
    rest = mask & ~(1 << last)
    while rest:
        low = rest & -rest
        i = low.bit_length() - 1
        rest ^= low
        if found.outside[i] or found.uses[i] & ~mask:
            inside = set(found.members(mask))
            for out in view.equations[found.numbers[i]].outputs:
                if out in view.asked:
                    return None
                if view.leaves(out, inside):
                    exposed.append(out)
            if len(exposed) > most:
                return None
    return exposed


def region(view: View, found: Window, last: int, exposed: list[Var], how: str) -> Region | None:
    """The region up to the window's equation `last`.

    `how` says how far side inputs are followed back: ``"views"`` through views, labels and constants, ``"deep"``
    through whatever only this region uses, ``"raw"`` not at all. None where ``"deep"`` and ``"raw"`` give nothing new.
    """
    numbers = found.members(found.before[last])
    inside = set(numbers)
    made = {out for n in numbers for out in view.equations[n].outputs}
    sides: dict[int, None] = {}
    bases: dict[Var, None] = {}
    queue = [v for n in numbers for v in view.read[n] if v not in made and v is not found.x]
    deeper = cut = False
    seen: set[Var] = set()
    while queue:
        var = queue.pop()
        if var in seen or constant(view, var):
            continue
        seen.add(var)
        n = view.made_by.get(var)
        eq = None if n is None else view.equations[n]
        if eq is None or n is None:
            bases[var] = None
        elif eq.op.name in CREATION:
            sides[n] = None
        elif how != "raw" and var not in view.asked and _follows(eq):
            sides[n] = None
            queue += view.read[n]
        elif how == "deep" and _is_private(view, var, inside | sides.keys()):
            deeper = True
            sides[n] = None
            queue += view.read[n]
        else:
            cut |= _follows(eq)
            bases[var] = None
    if (how == "deep" and not deeper) or (how == "raw" and not cut):
        return None
    if not _keeps_precision(view, found.x, numbers) or any(_rounds(view.equations[n], found.x) for n in sides):
        return None
    if any(v.aval.dtype.kind in "iub" and not _is_plain(view, v) for v in bases) or found.x in bases:
        return None
    return Region(found.x, view.equations[found.numbers[last]].outputs[0], numbers, sorted(sides), list(bases), exposed)


def _keeps_precision(view: View, x: Var, numbers: list[int]) -> bool:
    """Whether a region computes in x's dtype, moments perhaps in a wider one: a cast inside is what the user wants."""
    own, many = x.aval.dtype.itemsize, elements(x.aval)
    for n in numbers:
        for out in view.equations[n].outputs:
            width = out.aval.dtype.itemsize
            if out.aval.dtype.kind == "f" and (width < own or (elements(out.aval) >= many > 1 and width > max(own, 4))):
                return False
    return True


def _rounds(eq: Equation, x: Var) -> bool:
    """Whether a side input is rounded to a narrower dtype than x has, as a float32 rate beside float64 logits is."""
    out = eq.outputs[0].aval.dtype
    if out.kind != "f" or out.itemsize >= x.aval.dtype.itemsize or eq.op.name in LABELS:
        return False
    if eq.op.name == "astype":
        return any(v.aval.dtype.kind == "f" and v.aval.dtype.itemsize > out.itemsize for v in variables(eq))
    if eq.op.name == "full":
        return bool(float(out.type(eq.attrs["value"])) != eq.attrs["value"])
    return eq.op.name not in VIEWS and eq.op.name not in CREATION


def _is_private(view: View, var: Var, inside: set[int]) -> bool:
    """Whether only a region uses a value, which may then be made inside it."""
    eq = view.maker(var)
    known = eq is not None and allowed(eq) and var.aval.dtype.kind == "f"
    return known and var not in view.asked and not view.leaves(var, inside)


def _follows(eq: Equation) -> bool:
    """Whether a side input is its own input in another form."""
    name = eq.op.name
    kinds = {v.aval.dtype.kind for v in variables(eq)}
    if name in LABELS:  # a label compared with a number is a choice that the user makes
        counted = name != "equal" or all(type(a) is Var and elements(a.aval) > 1 for a in eq.inputs)
        return name.startswith("class") or (kinds != set() and kinds <= {"i", "u"} and counted)
    if name not in VIEWS or any(isinstance(a, tuple) and a for a in eq.inputs):
        return False
    return name != "astype" or "f" not in kinds or eq.outputs[0].aval.dtype.kind == "f"


def guarded(view: View, labels: Var, classes: int) -> bool:
    """Whether a graph asks of labels what is so for every class: it expects others, which a fused op would refuse."""
    found = [labels]
    for var in found:
        for n in view.users.get(var, ()):
            eq = view.equations[n]
            if eq.op.name in VIEWS and var is eq.inputs[0]:
                found.append(eq.outputs[0])
            elif eq.op.name in COMPARISONS:
                numbers = [_number(view, a) for a in eq.inputs if a is not var]
                if len(numbers) == 1 and numbers[0] is not None:
                    args = [np.arange(classes) if a is var else numbers[0] for a in eq.inputs]
                    if np.unique(eq.op.forward(*args)).size < 2:
                        return True
    return False


def _number(view: View, atom: object) -> object:
    """The one number that an atom is; NaN, which no class is, where it is one but known only later."""
    if type(atom) is Literal:
        return atom.value
    if type(atom) is not Var or elements(atom.aval) != 1:
        return None
    array = view.graph.consts.get(atom)
    return math.nan if array is None else array.item()


def _is_plain(view: View, var: Var) -> bool:
    """Whether labels come as they are: an index that arithmetic made may wrap where a fused op would raise."""
    eq = view.maker(var)
    return eq is None or eq.op.name in ORIGINS

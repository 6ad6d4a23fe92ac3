"""Regions that may be a fused op: closed, of analytic ops, from one value x to one value y.

A region begins at some x before an op that no polynomial is (a root, an exponential), holds every equation between x
and y, and takes what else it reads as side inputs: weights, labels, constants.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from tensorgraph.engine.recognition import Traits
from tensorgraph.graph.graph import Equation, Literal, Var
from tensorgraph.passes.recognise.roles import (
    allowed,
    carries,
    creates,
    elements,
    follows,
    is_form,
    is_label,
    is_shift,
    shifts,
)
from tensorgraph.passes.recognise.view import View

__all__ = ["Region", "Window", "behind", "closed", "guarded", "region", "sources", "window"]

LARGEST = 48  # equations in a window
BEHIND = 24  # and of what is computed to see what it reads
NEAREST = 24  # starts before an anchor


def sources(view: View, anchors: Iterable[int]) -> list[Var]:
    """Float values from which one of these equations is near, in the graph's order."""
    values: dict[Var, None] = {}
    passed = view.numbers(allowed) | view.numbers(shifts)
    for number in sorted(anchors):
        if not view.live[number]:
            continue
        seen: set[int] = {number}
        heap = [-number]
        starts: dict[Var, None] = {}
        while heap and len(starts) < NEAREST:
            for var in view.read[-heapq.heappop(heap)]:
                if var.aval.dtype.kind != "f" or var in starts or not elements(var.aval):
                    continue
                starts[var] = None
                n = view.position.get(var)
                if n is not None and n not in seen:
                    seen.add(n)
                    if n in passed:
                        heapq.heappush(heap, -n)
        values.update(starts)
    return [var for var in values if var not in view.graph.consts]


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

    def mask(self, view: View, traits: Traits) -> int:
        """Those whose op has these traits."""
        having = view.having(traits)
        return sum(1 << i for i, n in enumerate(self.numbers) if n in having)


def window(view: View, x: Var, foreign: Collection[int] = ()) -> Window:
    """What follows from x, up to `LARGEST` equations; none of those in `foreign`."""
    # The plan:
    # 1. from x downwards, always the first equation that waits: one that is allowed, or a shift, or made of shifts and
    #    constants alone, joins, and its readers wait;
    # 2. for each that joined, as bits: which of the others it hangs on directly or through others, which read it, and
    #    whether anybody outside does.
    shifting = view.numbers(shifts)
    passed = view.numbers(allowed) | shifting
    known = {x}
    of_shifts: set[Var] = set()  # values of shifts, and what is computed of nothing else
    heap = list(view.users.get(x, ()))
    heapq.heapify(heap)
    numbers: list[int] = []
    while heap and len(numbers) < LARGEST:
        n = heapq.heappop(heap)
        if numbers and numbers[-1] == n:
            continue
        eq = view.equations[n]
        read = view.read[n]
        if n in foreign:
            continue
        fixed = all(v in of_shifts or view.is_constant(v) for v in read)
        if not fixed and n not in passed:
            continue
        if not fixed and not all(o.aval.dtype.kind == "f" and elements(o.aval) for o in eq.outputs):
            continue
        numbers.append(n)
        if fixed or n in shifting:
            of_shifts.update(eq.outputs)
        for out in eq.outputs:
            known.add(out)
            for user in view.users.get(out, ()):
                heapq.heappush(heap, user)
    span = Window(x, numbers)
    place = {n: i for i, n in enumerate(numbers)}
    for i, n in enumerate(numbers):
        eq = view.equations[n]
        before = 1 << i
        for var in view.read[n]:
            if var is not x and var in known and view.position.get(var) in place:
                before |= span.before[place[view.position[var]]]
        span.before.append(before)
        uses = 0
        outside = False
        for out in eq.outputs:
            outside |= out in view.results or out in view.asked
            for user in view.users.get(out, ()):
                if user in place:
                    uses |= 1 << place[user]
                else:
                    outside = True
        span.uses.append(uses)
        span.outside.append(outside)
    return span


def behind(view: View, span: Window) -> list[int]:
    """Equations that make what a window reads besides x, as far back as `BEHIND` allowed ones, in order."""
    inside = set(span.numbers)
    heap = [-view.position[v] for n in span.numbers for v in view.read[n] if v in view.position and v is not span.x]
    heapq.heapify(heap)
    result: set[int] = set()
    while heap and len(result) < BEHIND:
        n = -heapq.heappop(heap)
        if n in inside or n in result or n in view.numbers(is_shift) or span.x in view.equations[n].outputs:
            continue
        result.add(n)
        for var in view.read[n]:
            if var in view.position:
                heapq.heappush(heap, -view.position[var])
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


def closed(view: View, span: Window, last: int, most: int) -> list[Var] | None:
    """Values inside the region up to the window's equation `last` that are used elsewhere; None if over `most`."""
    mask = span.before[last]
    exposed: list[Var] = []
    rest = mask & ~(1 << last)
    while rest:
        low = rest & -rest
        i = low.bit_length() - 1
        rest ^= low
        if span.outside[i] or span.uses[i] & ~mask:
            inside = set(span.members(mask))
            for out in view.equations[span.numbers[i]].outputs:
                if out in view.asked:
                    return None
                if view.leaves(out, inside):
                    exposed.append(out)
            if len(exposed) > most:
                return None
    return exposed


def region(view: View, span: Window, last: int, exposed: list[Var], how: str | int) -> Region | None:
    """The region up to the window's equation `last`.

    `how` says how far side inputs are followed back: ``"views"`` through views, labels and constants, ``"deep"``
    through whatever only this region uses too, a number so many steps of either, ``"raw"`` not at all. None where one
    of the others gives nothing new.
    """
    numbers = span.members(span.before[last])
    inside = set(numbers)
    inner = {out for n in numbers for out in view.equations[n].outputs}
    sides: dict[int, None] = {}
    bases: dict[Var, None] = {}
    queue = [(v, 0) for n in numbers for v in view.read[n] if v not in inner and v is not span.x]
    most = how if isinstance(how, int) else 0 if how == "raw" else len(view.equations)
    deeper = cut = False
    seen: set[Var] = set()
    while queue:
        var, steps = queue.pop(0 if isinstance(how, int) else -1)
        if var in seen or view.is_constant(var):
            continue
        seen.add(var)
        n = view.position.get(var)
        eq = None if n is None else view.equations[n]
        if eq is None or n is None:
            bases[var] = None
            continue
        followed = var not in view.asked and n in view.numbers(follows)
        private = not followed and how not in ("views", "raw") and _is_private(view, var, inside | sides.keys())
        if n in view.numbers(creates):
            sides[n] = None
        elif steps < most and (followed or private):
            deeper |= private
            sides[n] = None
            queue += [(v, steps + 1) for v in view.read[n]]
        else:
            cut |= n in view.numbers(follows) or private
            bases[var] = None
    if (how == "deep" and not deeper) or (how not in ("views", "deep") and not cut):
        return None
    if not _keeps_precision(view, span.x, numbers) or any(_rounds(view.equations[n], span.x) for n in sides):
        return None
    if any(v.aval.dtype.kind in "iub" and not view.is_plain(v) for v in bases) or span.x in bases:
        return None
    return Region(span.x, view.equations[span.numbers[last]].outputs[0], numbers, sorted(sides), list(bases), exposed)


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
    if out.kind != "f" or out.itemsize >= x.aval.dtype.itemsize or is_label(eq):
        return False
    if eq.op.dtype == "cast":
        return any(v.aval.dtype.kind == "f" and v.aval.dtype.itemsize > out.itemsize for v in eq.variables())
    if creates(eq):
        value = eq.attrs.get("value", 0.0)
        return bool(float(out.type(value)) != value)
    return not is_form(eq)


def _is_private(view: View, var: Var, inside: set[int]) -> bool:
    """Whether only a region uses a value, which may then be made inside it."""
    eq = view.maker(var)
    known = eq is not None and view.position[var] in view.numbers(allowed) and var.aval.dtype.kind == "f"
    return known and var not in view.asked and not view.leaves(var, inside)


def guarded(view: View, labels: Var, classes: int) -> bool:
    """Whether a graph asks of labels what is so for every class: it expects others, which a fused op would refuse."""
    for eq, var in comparisons(view, labels):
        numbers = [_number(view, a) for a in eq.inputs if a is not var]
        if len(numbers) == 1 and numbers[0] is not None:
            args = [np.arange(classes) if a is var else numbers[0] for a in eq.inputs]
            if np.unique(eq.op.forward(*args)).size < 2:
                return True
    return False


def comparisons(view: View, labels: Var) -> Iterator[tuple[Equation, Var]]:
    """What labels are compared with, in whatever form: each equation, and the form that it reads."""
    forms = [labels]
    for var in forms:
        for n in view.users.get(var, ()):
            eq = view.equations[n]
            if carries(eq) and var in eq.group(0):
                forms.append(eq.outputs[0])
            elif "comparison" in eq.op.traits:
                yield eq, var


def _number(view: View, atom: object) -> object:
    """The one number that an atom is; NaN, which no class is, where it is one but known only later."""
    if type(atom) is Literal:
        return atom.value
    if type(atom) is not Var or elements(atom.aval) != 1:
        return None
    array = view.graph.consts.get(atom)
    return math.nan if array is None else array.item()

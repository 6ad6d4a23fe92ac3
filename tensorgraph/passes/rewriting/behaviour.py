"""Where a pattern stands in another spelling: regions that behave as it does, found as fused ops are recognised."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.passes.common import Common
from tensorgraph.passes.recognise.numbers import Sizes, quietly
from tensorgraph.passes.recognise.probe import Shared, Trial, label_counts
from tensorgraph.passes.recognise.regions import Region, Window, behind, closed, region, sources, window
from tensorgraph.passes.recognise.roles import allowed, computes, creates, shifts
from tensorgraph.passes.recognise.view import Place, View
from tensorgraph.passes.rewrite import replaced_in
from tensorgraph.passes.rewriting.sides import UNFIT, Argument, Pattern, Side
from tensorgraph.passes.rewriting.structure import Occurrence

__all__ = ["BEHAVIOUR", "behaving", "joined"]

BEHAVIOUR = "by behaviour"  # how an occurrence was found

MOST_CHOICES = 64  # ways to seat a region's inputs and numbers at a pattern's arguments
MOST_TIMES = 4  # how much longer than the pattern another spelling of it is
LEAST = 8
MOST_FOLLOWED = 4  # steps by which side inputs are followed back, where not through all


class Alike:
    """A side of a rewriting as recognition takes an op: a reference of tensors, with numbers for attributes."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def reference(self, *tensors: Any, **numbers: Any) -> Any:
        given = iter(tensors)
        return self.side.call(*[numbers[n] if n in numbers else next(given) for n in self.names])

    @property
    def names(self) -> list[str]:
        return [f"argument{i}" for i in range(len(self.side.names))]


def joined(view: View) -> View | None:
    """The same equations, each reading a value that is computed twice where it is computed first; None: there is none.

    What a deferred gradient asks about stays apart.
    """
    common, by, equations = Common(), dict[Var, Var | Literal](), []
    for eq in view.equations:
        read = replaced_in(eq, by)
        earlier = common.seen(read)
        if earlier is None:
            common.add(read)
        elif view.asked.isdisjoint((*eq.outputs, *earlier.outputs)):
            by.update(zip(eq.outputs, earlier.outputs, strict=True))
        equations.append(read)
    return View(view.graph.replace(equations=tuple(equations))) if by else None


def behaving(view: View, side: Side, patterns: Collection[Pattern], taken: Collection[int]) -> list[Occurrence]:
    """Regions that behave as a side of a rewriting, none of whose equations are taken already."""
    analytic = [p for p in patterns if p.graph.equations and not p.cells and _is_analytic(p)]
    if not analytic:
        return []
    longest = max(LEAST, MOST_TIMES * max(len(p.graph.equations) for p in analytic))
    outputs = max(len(p.graph.outputs) for p in analytic)
    used = set(taken)
    result: list[Occurrence] = []
    alike = Alike(side)
    with quietly():
        for x in sources(view, view.numbers(allowed) - used):
            for occurrence in _from_start(view, window(view, x, used), alike, outputs, longest):
                if used.isdisjoint(occurrence.numbers):
                    used |= occurrence.numbers
                    result.append(occurrence)
    return result


def _is_analytic(pattern: Pattern) -> bool:
    """Whether numbers can tell what it is: two analytic functions that agree at random points are one."""
    return all((allowed(eq) or creates(eq) or shifts(eq)) and not eq.is_gradient for eq in pattern.graph.equations)


def _from_start(view: View, span: Window, alike: Alike, outputs: int, longest: int) -> Iterator[Occurrence]:
    """The largest regions that begin at a window's x and behave as the side."""
    sizes: Sizes | None = None
    shared: Shared = {}, {}
    covered = 0
    for last in range(len(span.numbers) - 1, -1, -1):
        mask = span.before[last]
        if covered >> last & 1 or mask.bit_count() > longest or not view.equations[span.numbers[last]].op.single:
            continue
        exposed = closed(view, span, last, outputs - 1)
        if exposed is None:
            continue
        for how in ("views", "raw", "deep", *range(1, MOST_FOLLOWED)):
            candidate = region(view, span, last, exposed, how)
            if candidate is None or len(candidate.equations) > longest:
                continue
            options = list(itertools.islice(_seatings(view, candidate, alike.side), MOST_CHOICES))
            if not options:
                continue
            if sizes is None:
                sizes = Sizes(view, span.x, (*span.numbers, *behind(view, span)))
            found = _occurrence(view, candidate, alike, sizes, shared if how == "views" else None, options)
            if found is not None:
                covered |= mask
                yield found
                break


def _seatings(view: View, candidate: Region, side: Side) -> Iterator[tuple[list[Var | Literal], tuple[Aval, ...]]]:
    """What may stand at each argument, so that results have the types of the region's: its inputs, then its numbers."""
    given = [candidate.x, *candidate.bases]
    free = len(side.names) - len(given)
    if free < 0 or not any(n in view.numbers(computes) for n in candidate.equations):
        return
    numbers = _numbers(view, candidate) if free else []
    for places in itertools.permutations(range(len(side.names)), len(given)):
        rest = [i for i in range(len(side.names)) if i not in places]
        for chosen in itertools.product(numbers, repeat=free):
            seats: list[Any] = [None] * len(side.names)
            for i, var in zip(places, given, strict=True):
                seats[i] = var
            for i, value in zip(rest, chosen, strict=True):
                seats[i] = Literal(value)
            types: list[Argument] = [s.aval if isinstance(s, Var) else s for s in seats]
            try:
                pattern = side.pattern(types)
            except UNFIT:
                continue
            outs = [out.aval for out in pattern.graph.outputs if type(out) is Var]
            if len(outs) == len(pattern.graph.outputs) > len(candidate.exposed) and outs[0] == candidate.y.aval:
                yield seats, tuple(outs)


def _numbers(view: View, candidate: Region) -> list[Any]:
    """The numbers that a region contains."""
    found: dict[Any, Any] = {}
    for n in candidate.equations:
        for atom in view.equations[n].atoms():
            array = view.graph.consts.get(atom) if isinstance(atom, Var) else np.asarray(atom.value)
            if array is not None and array.size == 1 and array.dtype.kind in "if":
                found.setdefault(typed_key(array.item()), array.item())
    return list(found.values())


def _occurrence(
    view: View, candidate: Region, alike: Alike, sizes: Sizes, shared: Shared | None, options: list[Any]
) -> Occurrence | None:
    """The region as an occurrence, if its values and gradients are those of the side."""
    classes = next(iter(label_counts(view, candidate)), 0)
    if classes < 2 and any(base.aval.dtype.kind in "iu" for base in candidate.bases):
        return None  # integers of which only 0 would be tried
    trial = Trial(view, sizes, candidate, sizes(classes), shared)
    op: Any = alike
    if not trial.start():
        return None
    for seats, outs in options:
        places = tuple(Place(s, s.aval.shape) for s in seats if type(s) is Var)
        numbers = {n: s.value for n, s in zip(alike.names, seats, strict=True) if isinstance(s, Literal)}
        outputs = trial.agrees(op, numbers, places, outs)
        if outputs is not None and sizes.table:
            others = sizes.others()
            again = Trial(view, others, candidate, others(classes), None)
            outputs = again.agrees(op, numbers, places, outs) if again.start() else None
        if outputs is not None and len(outputs) == len(outs):
            given = {i: var for var, i in outputs}
            variables = tuple(given[i] for i in range(len(outs)))
            if all(var.aval == aval for var, aval in zip(variables, outs, strict=True)):
                return Occurrence(tuple(seats), variables, frozenset(candidate.numbers), BEHAVIOUR)
    return None

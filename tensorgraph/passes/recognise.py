"""`recognise`: regions of a user's graph that behave as a fused op are replaced by it, however they were written."""

from __future__ import annotations

from collections.abc import Iterable

from tensorgraph.graph.graph import Graph
from tensorgraph.op import CATALOGUE, Op
from tensorgraph.passes.recognise_exact import exact_matches
from tensorgraph.passes.recognise_fit import CAREFUL, fits, float_choices
from tensorgraph.passes.recognise_numbers import Numbers, Sizes, quietly
from tensorgraph.passes.recognise_probe import Trial
from tensorgraph.passes.recognise_regions import (
    EXPONENTIALS,
    REDUCTIONS,
    ROOTS,
    VIEWS,
    Region,
    Window,
    closed,
    region,
    sources,
    window,
)
from tensorgraph.passes.recognise_replace import replace_regions
from tensorgraph.passes.recognise_view import Match, View

__all__ = ["recognise"]

MOST_ROUNDS = 8
NONLINEAR = frozenset({"multiply", "divide", "square", "reciprocal", "power", "prod", "matmul", "var"})
# ops that a region must have one of, for each of the library's own
NEEDED: dict[str, tuple[frozenset[str], ...]] = {
    "softmax": (EXPONENTIALS, REDUCTIONS),
    "log_softmax": (EXPONENTIALS, REDUCTIONS),
    "softmax_cross_entropy": (EXPONENTIALS, REDUCTIONS),
    "batch_norm": (ROOTS, REDUCTIONS),
    "layer_norm": (ROOTS, REDUCTIONS),
}


def recognise(graph: Graph) -> Graph:
    """Replace what behaves as a fused op by that op."""
    ops = [op for op in CATALOGUE.values() if op.reference is not None]
    composed = tuple(op for op in ops if op.backward is not None or not op.differentiable)
    probed = [op for op in ops if op.backward is not None]
    with quietly():
        for _ in range(MOST_ROUNDS):
            view = View(graph)
            matches = apart(exact_matches(view, composed))
            if not matches:
                matches = apart(behaving(view, probed))
            if not matches:
                break
            graph, count = replace_regions(graph, view, matches)
            if not count:
                break
    return graph


def apart(matches: Iterable[Match]) -> list[Match]:
    """The largest matches that share no equation."""
    taken: set[int] = set()
    result = []
    for match in sorted(matches, key=lambda m: (-len(m.numbers), m.op.name, min(m.numbers))):
        if taken.isdisjoint(match.numbers):
            taken |= match.numbers
            result.append(match)
    return sorted(result, key=lambda m: min(m.numbers))


def behaving(view: View, ops: list[Op]) -> list[Match]:
    """Regions that behave as one of these ops, by probing."""
    anchors = ROOTS | EXPONENTIALS
    if any(op.name not in CAREFUL for op in ops if op.name not in NEEDED):
        anchors |= NONLINEAR
    found: list[Match] = []
    for x in sources(view, anchors):
        found += from_start(view, window(view, x), ops)
    return found


def from_start(view: View, begun: Window, ops: list[Op]) -> list[Match]:
    """The largest matches that begin at a window's x."""
    masks = {names: begun.mask(view, names) for names in (ROOTS, EXPONENTIALS, REDUCTIONS)}
    found: list[Match] = []
    covered = 0
    sizes: Sizes | None = None
    shared: dict[object, Numbers] = {}
    for last in range(len(begun.numbers) - 1, -1, -1):
        mask = begun.before[last]
        if covered >> last & 1 or not view.equations[begun.numbers[last]].op.single:
            continue
        fitting = [op for op in ops if all(masks[names] & mask for names in NEEDED.get(op.name, ()))]
        exposed = closed(view, begun, last, max((len(op.outputs) - 1 for op in fitting), default=0)) if fitting else None
        if exposed is None:
            continue
        for how in ("views", "deep", "raw"):
            candidate = region(view, begun, last, exposed, how)
            if candidate is None:
                continue
            sizes = sizes or Sizes(view, begun.x, begun.numbers)
            match = first_match(view, candidate, fitting, sizes, shared if how == "views" else None)
            if match is not None:
                found.append(match)
                covered |= mask
                break
    return found


def first_match(
    view: View, candidate: Region, ops: list[Op], sizes: Sizes, shared: dict[object, Numbers] | None
) -> Match | None:
    """The op that a region behaves as."""
    core = [view.equations[n].op for n in candidate.equations if view.equations[n].op.name not in VIEWS]
    trial: Trial | None = None
    for op in ops:
        if len(candidate.exposed) >= len(op.outputs) or (len(core) < 2 and any(o.reference is not None for o in core)):
            continue
        for attrs, places, outs in fits(op, view, candidate):
            if trial is None:
                trial = Trial(view, sizes, candidate, shared)
                if not trial.start():
                    return None
            for floats in float_choices(op, view, candidate):
                made = trial.agrees(op, attrs | floats, places, outs)
                if made is not None:
                    complete = {name: (attrs | floats)[name] for name in op.attrs}
                    return Match(op, complete, places, made, frozenset(candidate.numbers), "the same values and gradients")
    return None

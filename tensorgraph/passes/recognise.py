"""`recognise`: regions of a user's graph that behave as a fused op are replaced by it, however they were written."""

from __future__ import annotations

from tensorgraph.graph.graph import Graph
from tensorgraph.op import CATALOGUE, Op
from tensorgraph.passes.recognise_exact import apart, exact_matches
from tensorgraph.passes.recognise_fit import fits, float_choices
from tensorgraph.passes.recognise_numbers import Numbers, Sizes, quietly
from tensorgraph.passes.recognise_probe import Trial, label_counts
from tensorgraph.passes.recognise_regions import (
    CAREFUL,
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
    # without a scale and a shift the normalised rows of a matrix are either; the first that fits is taken
    probed = sorted((op for op in ops if op.backward is not None), key=lambda op: op.name == "batch_norm")
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
        most = max((len(op.outputs) - 1 for op in fitting), default=-1)
        exposed = closed(view, begun, last, most) if fitting else None
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
    if len(core) < 2 and any(op.reference is not None for op in core):
        return None
    ops = [op for op in ops if len(candidate.exposed) < len(op.outputs)]
    options = [(op, *fit) for op in ops for fit in fits(op, view, candidate)]
    for classes in label_counts(view, sizes, candidate) if options else ():
        trial = Trial(view, sizes, candidate, classes, shared)
        if not trial.start():
            continue
        for op, attrs, places, outs in options:
            for floats in float_choices(op, view, candidate):
                complete = {name: floats.get(name, attrs[name]) for name in op.attrs}
                made = trial.agrees(op, complete, places, outs)
                if made is not None:
                    numbers = frozenset(candidate.numbers)
                    return Match(op, complete, places, made, numbers, "the same values and gradients")
    return None

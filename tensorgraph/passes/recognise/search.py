"""`recognise`: regions of a user's graph that behave as a fused op are replaced by it, however they were written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.recognition import Recognition, Traits
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.passes.recognise.exact import apart, exact_matches
from tensorgraph.passes.recognise.fit import accepts, fits, float_choices, may_be_probed, recognition
from tensorgraph.passes.recognise.needs import keep
from tensorgraph.passes.recognise.numbers import Sizes, quietly
from tensorgraph.passes.recognise.probe import Shared, Trial, label_counts, unmoved
from tensorgraph.passes.recognise.regions import (
    Region,
    Window,
    behind,
    closed,
    guarded,
    region,
    sources,
    window,
)
from tensorgraph.passes.recognise.replace import replace_regions
from tensorgraph.passes.recognise.roles import computes
from tensorgraph.passes.recognise.surroundings import Barren, look
from tensorgraph.passes.recognise.view import Match, Place, View
from tensorgraph.passes.simplify import RULES, simplify

__all__ = ["recognise"]

MOST_ROUNDS = 8
BARREN = Barren()
FEW = 3  # ends of a region that are looked at without a quick test first


def recognise(graph: Graph) -> Graph:
    """Replace every region that behaves as a fused op by that op, however it was written.

    Batch norm, layer norm, softmax, log-softmax and cross-entropy of any spelling become one equation each, before
    differentiation, and so does a user's own `tensorgraph.fused_op` that says how (`tensorgraph.Recognition`).

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        Of the same inputs and outputs, with the replacements in `Graph.changes`.

    Notes
    -----
    A region is recognised in one of two ways. Either it is a fused op's reference equation by equation, as
    ``implementation("composed")`` writes it. Or it consists of analytic ops and its values and gradients equal the
    reference's on random float64 numbers, tiny, ordinary, wide and extreme ones, and for every class: two analytic
    functions that agree at random points are one function. Large tensors are tried at two other, small sizes. A maximum
    that is subtracted, or anything detached, is exchanged for random numbers in this, so that nothing may depend on it;
    a ``clip`` or ``maximum`` ends a region. An op that does not say how it is recognised, or whose reference itself
    clips, is only recognised the first way.

    The inputs of the op are found by what they do, its attributes among the region's numbers and axes. A value inside
    that is used elsewhere must be an output of the op too (a mean, a variance), else the region stays as it is.

    Values and gradients change by rounding only, with these exceptions. Where a spelling overflows or loses its digits
    (``exp`` of a large number, ``E[x²] - E[x]²`` at a large mean), the op does not. A class index outside the classes
    raises, where NumPy's indexing wraps a negative one and one-hot labels are 0; indices made by arithmetic, and those
    that the graph compares with what no class is (``y != -100``), may rely on that and stay as they are. A probability
    that is NaN and a class weight that is not finite raise too. A row with a logit of +inf has NaN probabilities only.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> def loss(z, y):
    ...     p = tg.exp(z) / tg.exp(z).sum(axis=1, keepdims=True)
    ...     return -tg.log(p[tg.arange(3), y]).mean()
    >>> graph = tg.trace(loss, tg.f32[3, 5], tg.spec((3,), "int64")).recognise()
    >>> [eq.op.name for eq in graph.equations]
    ['softmax_cross_entropy']
    """
    ops = [op for op in CATALOGUE.values() if op.reference is not None]
    composed = tuple(op for op in ops if op.backward is not None or not op.differentiable)
    probed = [op for op in ops if may_be_probed(op)]
    with quietly():
        graph = _rounds(graph, composed, probed)
        # exp(z / t) / exp(z / t).sum() is of one z / t, though it was computed twice
        merged = simplify(graph, without=[rule for rule in RULES if rule != "common.subexpression"])
        if merged is not graph:
            other = _rounds(merged, composed, probed)
            graph = graph if other is merged else other
    keep()
    return graph


def _rounds(graph: Graph, composed: Iterable[Op], probed: list[Op]) -> Graph:
    """The graph with what is found replaced, again and again; the graph itself where nothing is."""
    for _ in range(MOST_ROUNDS):
        view = View(graph)
        matches = apart(exact_matches(view, composed)) or apart(behaving(view, probed))
        other, count = replace_regions(graph, view, matches) if matches else (graph, 0)
        if not count:
            break
        graph = other
    return graph


def behaving(view: View, ops: list[Op]) -> list[Match]:
    """Regions that behave as one of these ops, by probing."""
    if not ops:
        return []
    says = [recognition(op) for op in ops]
    foreign = frozenset().union(*map(view.having, frozenset.intersection(*[frozenset(r.without) for r in says])))
    anchors: set[int] = set()
    for r in says:
        anchors |= view.having(r.needs[0]) if r.needs else view.having("analytic") - view.having("linear")
    matches: list[Match] = []
    for x in sources(view, anchors - foreign):
        matches += from_start(view, window(view, x, foreign), ops)
    return matches


def from_start(view: View, span: Window, ops: list[Op]) -> list[Match]:
    """The largest matches that begin at a window's x."""
    says = {op: recognition(op) for op in ops}
    masks = {traits: span.mask(view, traits) for r in says.values() for traits in (*r.needs, *r.without)}
    says = {op: r for op, r in says.items() if all(masks[t] for t in r.needs)}
    if not says:
        return []
    sizes = Sizes(view, span.x, (*span.numbers, *behind(view, span)))
    seen = look(view, span, sizes, tuple(says))
    if seen in BARREN:
        return []
    matches = _matches(view, span, says, masks, sizes)
    if not matches:
        BARREN.add(seen)
    return matches


def _matches(
    view: View, span: Window, says: dict[Op, Recognition], masks: dict[Traits, int], sizes: Sizes
) -> list[Match]:
    matches: list[Match] = []
    covered = 0
    ends: list[tuple[int, list[Op], list[Var]]] = []
    for last in range(len(span.numbers) - 1, -1, -1):
        mask = span.before[last]
        fitting = [
            op for op, r in says.items()
            if all(masks[t] & mask for t in r.needs) and not any(masks[t] & mask for t in r.without)
        ]  # fmt: skip
        if fitting and view.equations[span.numbers[last]].op.single:
            exposed = closed(view, span, last, max(len(op.outputs) - 1 for op in fitting))
            if exposed is not None:
                ends.append((last, fitting, exposed))
    if not ends:
        return []
    still = unmoved(view, span, sizes) if len(ends) > FEW else None
    shared: Shared = {}, {}
    for last, fitting, exposed in ends:
        if covered >> last & 1 or (still and not still[last] and all(says[op].invariant for op in fitting)):
            continue
        for how in ("views", "deep", "raw"):
            candidate = region(view, span, last, exposed, how)
            if candidate is None:
                continue
            match = first_match(view, candidate, fitting, sizes, shared if how == "views" else None)
            if match is not None:
                matches.append(match)
                covered |= span.before[last]
                break
    return matches


def first_match(view: View, candidate: Region, ops: list[Op], sizes: Sizes, shared: Shared | None) -> Match | None:
    """The op that a region behaves as.

    Each way in which an op may fit, the usual attributes first, is tried on numbers, for each number of classes that
    there may be; where sizes were exchanged, once more with others. A fused op alone, between views, is tried as itself
    only; one with an attribute that no number shows is no part of something else.
    """
    # each replacement makes one equation of these, so there is an end
    core = [view.equations[n] for n in candidate.equations if n in view.numbers(computes)]
    if not core:
        return None
    alone = len(core) == 1 and core[0].op.reference is not None
    if alone:  # views before and after an op may still be its own attribute, as a transpose is an axis
        ops = [op for op in ops if op is core[0].op and len(candidate.numbers) > 1]
    hidden = [{name: eq.attrs[name] for name in unseen(eq)} for eq in core]
    if any(hidden) and not alone:
        return None
    ops = [op for op in ops if len(candidate.exposed) < len(op.outputs)]
    options = [(op, *fit) for op in ops for fit in fits(op, view, candidate)]
    # the normalised rows of a matrix are a layer norm, and a batch norm over another axis than usual: the usual first
    options.sort(key=lambda option: sum(option[1][name] != default for name, default in option[0].attrs.items()))
    if alone:
        options = [o for o in options if all(_is_seated(p) for p in o[2]) and o[3][0] == candidate.y.aval]
    for classes in label_counts(view, candidate) if options else ():
        if any(b.aval.dtype.kind in "iu" and guarded(view, b, classes) for b in candidate.bases):
            continue
        trial = Trial(view, sizes, candidate, sizes(classes), shared)
        if not trial.start():
            continue
        for op, attrs, places, outs in options:
            for floats in float_choices(op, view, candidate):
                complete = {name: floats.get(name, attrs[name]) for name in op.attrs}
                complete = complete | hidden[0] if alone else _settled(op, complete, places)
                outputs = trial.agrees(op, complete, places, outs)
                if outputs is not None and sizes.table:
                    others = sizes.others()
                    again = Trial(view, others, candidate, others(classes), None)
                    outputs = again.agrees(op, complete, places, outs) if again.start() else None
                if outputs is not None and accepts(op, complete, places, candidate.x.aval):
                    numbers = frozenset(candidate.numbers)
                    return Match(op, complete, places, outputs, numbers, "the same values and gradients")
    return None


def _settled(op: Op, attrs: dict[str, Any], places: tuple[Place, ...]) -> dict[str, Any]:
    """The attributes, those that speak of cases which no draw shows as plain arithmetic has them."""
    settle = recognition(op).degenerate
    if settle is None:
        return attrs
    return settle(attrs, frozenset(n for n, place in zip(op.inputs, places, strict=True) if place.var is not None))


def unseen(eq: Equation) -> list[str]:
    """Attributes of a fused op that no draw shows, and that are not as usual."""
    values = {} if eq.op.recognise is None else eq.op.recognise.values
    return [name for name, default in eq.op.attrs.items() if values.get(name) == () and eq.attrs[name] != default]


def _is_seated(place: Place) -> bool:
    """Whether an input is used as it is, or left out."""
    return place.fill is None and (place.var is None or place.var.aval.shape == place.shape)

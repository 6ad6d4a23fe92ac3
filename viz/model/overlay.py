"""Figures on the boxes of a drawing: time, bytes, FLOPs, gradient norm, largest value, or the user's own.

The figure is printed on its box and shades it on a ramp of one hue; a box without a figure has a thin border and says
n/a. Time, gradient norm and largest value are measured by running the graph, the others counted.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tensorgraph.arguments import shown
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.viz.model.drawing import Drawing, LegendEntry
from tensorgraph.viz.model.figures import computing, gathered, leaving, origins
from tensorgraph.viz.model.labels import binary, clean, times

__all__ = ["OVERLAYS", "apply", "by_box", "by_equation"]

OVERLAYS = ("time", "bytes", "flops", "grad_norm", "max")
ALIASES = {"gradient norm": "grad_norm", "gradient_norm": "grad_norm", "|max|": "max", "FLOPs": "flops"}
FIGURE = "figure"  # what a user's own are called
RANDOM = "random numbers where none were given"


@dataclass(frozen=True, slots=True)
class _Look:
    """How figures of a kind become a shade and a text.

    `logarithmic` figures shade by their magnitude; `share` adds what part of the whole a figure is.
    """

    name: str
    text: Callable[[float], str]
    logarithmic: bool = False
    share: bool = False


def apply(drawing: Drawing, graph: Graph, overlay: Any, args: Sequence[Any] | None = None) -> Drawing:
    """The drawing with figures on its boxes.

    Parameters
    ----------
    drawing : Drawing
        Of `graph`: its boxes' members are positions in ``graph.equations``.
    graph : Graph
    overlay : {"time", "bytes", "flops", "grad_norm", "max"} or mapping
        ``"time"``: the median of several runs. ``"bytes"``: read and written. ``"flops"``. ``"grad_norm"``: the 2-norm
        of the loss's gradient with respect to what leaves a box. ``"max"``: the largest absolute value of what leaves
        a box. A mapping gives the user's figures by box path, module path or variable.
    args : sequence, optional
        The graph's arguments, for what is measured; random numbers in the place of specs and of what is missing.

    Returns
    -------
    Drawing

    Raises
    ------
    ValueError
        For an unknown overlay, a figure that is no number, or a key that no box has.
    """
    if isinstance(overlay, Mapping):
        return _users(drawing, graph, overlay)
    name = ALIASES.get(overlay, overlay) if isinstance(overlay, str) else overlay
    if not isinstance(name, str) or name not in OVERLAYS:
        known = ", ".join(map(repr, OVERLAYS))
        said = clean(shown(overlay))
        raise ValueError(f"overlay must be one of {known} or a mapping of paths to numbers, got {said}")
    # where every op has a gradient box of its own, gradients are written out, to be measured one by one
    apart = any(node.role == "gradient" and node.twin for node in drawing.nodes)
    return _shown(drawing, graph, *_measured(name, graph, tuple(args or ()), apart))


def by_equation(drawing: Drawing, name: str, figures: Sequence[float], note: str) -> Drawing:
    """Figures that add up, one an equation: each box gets the sum of its members."""
    return _shown(drawing, drawing.source, _adding(name), _sums(dict(enumerate(figures)), {}), note)


def by_box(drawing: Drawing, name: str, figures: Mapping[str, Sequence[float]], note: str) -> Drawing:
    """Figures that add up, by the boxes' ids; of a box that is drawn once for several, the least and the most of them
    are told."""
    repeats = {node.id: drawing.repeats[node.group] for node in drawing.nodes}
    spans = {box: (min(some), max(some)) for box, some in figures.items() if 1 < len(some) == repeats[box]}
    return _painted(drawing, _adding(name), {box: sum(some) for box, some in figures.items()}, note, spans=spans)


Gather = Callable[[Drawing, Any, "Sequence[int] | None"], dict[str, float]]


def _shown(drawing: Drawing, graph: Graph | None, look: _Look, gather: Gather, note: str) -> Drawing:
    """The drawing painted, and how to paint what is inside its boxes: on the same scale."""
    found = gather(drawing, graph, None)
    finite = [f for f in found.values() if math.isfinite(f)]
    scale = (*_range(finite, look), math.fsum(finite))

    def painter(inside: Drawing, part: Graph, at: Sequence[int]) -> Drawing:
        return _painted(inside, look, gather(inside, part, at), "", scale)

    return replace(_painted(drawing, look, found, note), painter=painter)


def _measured(name: str, graph: Graph, args: tuple[Any, ...], apart: bool) -> tuple[_Look, Gather, str]:
    """How figures of this name look, those of each box, and a note."""
    from tensorgraph.analysis.profile import duration, gradient_norms, largest, profile

    if name in ("bytes", "flops"):
        cost = graph.cost()
        figures = [float(row.flops if name == "flops" else row.bytes) for row in cost.equations]
        return _adding(name), _spread(graph, cost.graph, figures), ""
    if name == "time":
        timed = profile(graph.differentiate() if apart else graph, *args)
        note = f"time: median of {timed.repeats} runs, {duration(timed.total)} in all"
        return _adding(name), _spread(graph, timed.graph, timed.seconds), _noted(note, timed.made)
    if name == "grad_norm":
        norms, made = gradient_norms(graph, args)

        def on_gradients(drawing: Drawing, part: Graph, at: Sequence[int] | None) -> dict[str, float]:
            found = leaving(drawing, part, norms, _norm)
            for node in drawing.nodes:  # a gradient is told on its own box, where it has one
                if node.role == "gradient" and node.twin in found:
                    found[node.id] = found.pop(node.twin)
            updates = {node.id for node in drawing.nodes if node.role == "update"}  # what comes after has no gradient
            return {at: norm for at, norm in found.items() if at not in updates}

        return _Look("gradient norm", _figure, logarithmic=True), on_gradients, _noted("", made)
    whole = graph.differentiate() if apart else graph
    values, made = largest(whole, args)
    floats = {var: value for var, value in values.items() if var.aval.dtype.kind == "f"}
    look = _Look("largest |value|", _figure, logarithmic=True)
    if whole is graph:
        return look, lambda drawing, part, at: leaving(drawing, part, floats, _most), _noted("", made)
    per = [_most([floats[v] for v in eq.outputs if v in floats] or [-math.inf]) for eq in whole.equations]
    forward, backward = origins(graph, whole, per, max)
    known = {i: f for i, f in forward.items() if f > -math.inf}
    of_gradients = {k: {i: f for i, f in part.items() if f > -math.inf} for k, part in backward.items()}
    return look, lambda drawing, part, at: gathered(drawing, at, known, of_gradients, max), _noted("", made)


def _spread(graph: Graph, whole: Graph, figures: Sequence[float]) -> Gather:
    """Figures of a graph's equations, with its gradients written out, that add up."""
    if whole is graph:
        return _sums(dict(enumerate(figures)), {})
    return _sums(*origins(graph, whole, figures, math.fsum))


def _sums(forward: Mapping[int, float], backward: Mapping[int, Mapping[int, float]]) -> Gather:
    return lambda drawing, part, at: gathered(drawing, at, forward, backward, math.fsum)


def _adding(name: str) -> _Look:
    from tensorgraph.analysis.profile import duration

    text: dict[str, Callable[[float], str]] = {"time": duration, "bytes": binary, "flops": _flops}
    return _Look({"flops": "FLOPs"}.get(name, name), text[name], share=True)


def _norm(figures: Iterable[float]) -> float:
    return math.hypot(*figures)


def _most(figures: Iterable[float]) -> float:
    known = list(figures)
    return math.inf if any(map(math.isnan, known)) else max(known)


def _users(drawing: Drawing, graph: Graph, given: Mapping[Any, Any]) -> Drawing:
    figures: dict[str, float] = {}
    inside = {i: node.id for node in drawing.nodes for i in node.members}
    maker = {v: inside[i] for i, eq in enumerate(graph.equations) for v in eq.outputs if i in inside}
    maker.update(zip(graph.inputs, (n.id for n in drawing.nodes if n.role == "input"), strict=False))
    by_path: dict[str, list[str]] = {}
    for node in drawing.nodes:
        for path in {node.path, node.path.partition("/")[2] if node.role in ("input", "output") else node.path}:
            by_path.setdefault(path, []).append(node.id)
    for key, value in given.items():
        figure = _number(key, value)
        if isinstance(key, Var):
            if key not in maker:
                raise ValueError(f"overlay: the variable {clean(key)} is made by no box of this drawing")
            figures[maker[key]] = figure
            continue
        if not isinstance(key, str):
            raise ValueError(f"overlay: keys are paths of boxes or modules, or variables, got {type(key).__name__}")
        boxes = by_path.get(key, [])
        if boxes:  # rather than what is said of the module that it is in
            figures.update(dict.fromkeys(boxes, figure))
            continue
        boxes = [n.id for n in drawing.nodes if any(graph.equations[i].scope == key for i in n.members)]
        boxes = boxes or [n.id for n in drawing.nodes if n.path.startswith((f"{key}.", f"{key}/"))]
        if not boxes:
            near = difflib.get_close_matches(key, list(by_path), 3, 0.4) or list(by_path)[:3]
            raise ValueError(
                f"overlay: no box or module is called {clean(repr(key))}; near it are {', '.join(map(repr, near))} "
                "(Drawing.nodes lists every path)"
            )
        for box in boxes:
            figures.setdefault(box, figure)
    found = {node.id: math.nan for node in computing(drawing)} | figures
    return _painted(drawing, _Look(FIGURE, _figure), found, "")


def _number(key: Any, value: Any) -> float:
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "size", 1) == 1:
        value = item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"overlay: expected a number for {clean(repr(key))}, got {clean(repr(value))}")
    return float(value)


def _painted(
    drawing: Drawing, look: _Look, figures: Mapping[str, float], note: str,
    scale: tuple[float, float, float] | None = None, spans: Mapping[str, tuple[float, float]] | None = None,
) -> Drawing:  # fmt: skip
    """Shade and figure for each box that has an entry; NaN is a missing figure, infinity one that is not finite.

    `scale` is that of the drawing in which this one is inside: the ends of the ramp, which are told there, and the sum.
    """
    finite = [f for f in figures.values() if math.isfinite(f)]
    low, high = _range(finite, look) if scale is None else scale[:2]
    total = (math.fsum(finite) if scale is None else scale[2]) if look.share else 0.0
    nodes = []
    repeats = drawing.repeats
    for node in drawing.nodes:
        if node.id in figures:
            figure, n = figures[node.id], repeats[node.group]
            if math.isnan(figure):
                node = replace(node, heat=math.nan, metric="n/a")
            elif math.isinf(figure):
                node = replace(node, heat=1.0 if figure > 0 else 0.0, metric="not finite")
            else:
                text = look.text(figure)
                if look.share:  # of all repeats of a template, which add up
                    each = list(dict.fromkeys(map(look.text, (spans or {}).get(node.id, (figure / n,)))))
                    text = text if n == 1 else times(" to ".join(each), n, text)
                elif n > 1 and look.name != FIGURE:
                    text += f" of all {n}"
                if look.share and total > 0:
                    text += f" ({100 * figure / total:.0f}%)"
                node = replace(node, heat=_heat(figure, low, high, look), metric=text)
        nodes.append(node)
    legend = list(drawing.legend)
    if finite and scale is None:
        legend.append(LegendEntry("heat", f"{look.name}, {look.text(low)} to {look.text(high)}"))
    if any(node.metric == "n/a" for node in nodes):
        legend.append(LegendEntry("missing", "n/a"))
    notes = (*drawing.notes, note) if note else drawing.notes
    return replace(drawing, nodes=tuple(nodes), legend=tuple(legend), notes=notes)


def _range(finite: Sequence[float], look: _Look) -> tuple[float, float]:
    """The figures at the two ends of the ramp."""
    if look.logarithmic:
        positive = [f for f in finite if f > 0]
        return (min(positive), max(positive)) if positive else (0.0, 0.0)
    return min((0.0, *finite)), max(finite, default=0.0)


def _heat(figure: float, low: float, high: float, look: _Look) -> float:
    """The place on the ramp; what is inside a box may lie beyond its ends."""
    if look.logarithmic:
        if figure <= 0 or low <= 0 or high <= low:
            return 0.0
        found = math.log(figure / low) / math.log(high / low)
    else:
        span = high / 2 - low / 2  # halved, or the span of the largest numbers overflows
        found = (figure / 2 - low / 2) / span if span > 0 else 0.0
    return min(max(found, 0.0), 1.0)


def _noted(note: str, made: Sequence[str]) -> str:
    return "; ".join(part for part in (note, RANDOM if made else "") if part)


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _flops(value: float) -> str:
    for unit in ("", "k", "M", "G"):
        if abs(value) < 1000:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}T"

"""Figures on the boxes of a drawing: time, bytes, FLOPs, gradient norm, largest value, or the user's own.

The figure is printed on its box and shades it on a ramp of one hue; a box without a figure is hatched and says n/a.
Time, gradient norm and largest value are measured by running the graph, the others counted.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tensorgraph.graph.graph import Graph, Var
from tensorgraph.viz.drawing import Drawing, LegendEntry, Node
from tensorgraph.viz.labels import binary, clean

__all__ = ["OVERLAYS", "apply", "by_equation"]

OVERLAYS = ("time", "bytes", "flops", "grad_norm", "max")
ALIASES = {"gradient norm": "grad_norm", "gradient_norm": "grad_norm", "|max|": "max", "FLOPs": "flops"}
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
    args = tuple(args or ())
    if isinstance(overlay, Mapping):
        return _users(drawing, graph, overlay)
    name = ALIASES.get(overlay, overlay) if isinstance(overlay, str) else overlay
    if name == "time":
        return _timed(drawing, graph, args)
    if name in ("bytes", "flops"):
        cost = graph.cost()
        figures = [float(row.flops if name == "flops" else row.bytes) for row in cost.equations]
        return _spread(drawing, graph, cost.graph, name, figures, "")
    if name == "max":
        return _largest(drawing, graph, args)
    if name == "grad_norm":
        from tensorgraph.analysis.profile import gradient_norms

        norms, made = gradient_norms(graph, args)
        found = _leaving(drawing, graph, norms, _norm)
        for node in drawing.nodes:  # a gradient is told on its own box, where it has one
            if node.role == "gradient" and node.twin in found:
                found[node.id] = found.pop(node.twin)
        updates = {node.id for node in drawing.nodes if node.role == "update"}  # what comes after has no gradient
        found = {at: norm for at, norm in found.items() if at not in updates}
        look = _Look("gradient norm", _figure, logarithmic=True)
        return _painted(drawing, look, found, _noted("", made))
    known = ", ".join(map(repr, OVERLAYS))
    raise ValueError(f"overlay must be one of {known} or a mapping of paths to numbers, got {clean(repr(overlay))}")


def by_equation(drawing: Drawing, name: str, figures: Sequence[float], note: str) -> Drawing:
    """Figures that add up, one an equation: each box gets the sum of its members."""
    found = {
        node.id: math.fsum(figures[i] for i in node.members) if node.members else math.nan
        for node in drawing.nodes
        if _computes(node)
    }
    return _painted(drawing, _adding(name), found, note)


def _adding(name: str) -> _Look:
    from tensorgraph.analysis.profile import duration

    text: dict[str, Callable[[float], str]] = {"time": duration, "bytes": binary, "flops": _flops}
    return _Look({"flops": "FLOPs"}.get(name, name), text[name], share=True)


def _computes(node: Node) -> bool:
    return node.role not in ("input", "output", "write")


def _timed(drawing: Drawing, graph: Graph, args: tuple[Any, ...]) -> Drawing:
    """Times; where every op has a gradient box of its own, the gradients are written out, to be timed one by one."""
    from tensorgraph.analysis.profile import duration, profile

    apart = any(node.role == "gradient" and node.twin for node in drawing.nodes)
    found = profile(graph.differentiate() if apart else graph, *args)
    note = _noted(f"time: median of {found.repeats} runs, {duration(found.total)} in all", found.made)
    return _spread(drawing, graph, found.graph, "time", found.seconds, note)


def _largest(drawing: Drawing, graph: Graph, args: tuple[Any, ...]) -> Drawing:
    """The largest magnitudes; of gradients too, where every op has a gradient box."""
    from tensorgraph.analysis.profile import largest

    whole = graph.differentiate() if any(node.role == "gradient" and node.twin for node in drawing.nodes) else graph
    values, made = largest(whole, args)
    floats = {var: value for var, value in values.items() if var.aval.dtype.kind == "f"}
    if whole is graph:
        found = _leaving(drawing, graph, floats, _most)
    else:
        per = [_most([floats[v] for v in eq.outputs if v in floats] or [-math.inf]) for eq in whole.equations]
        forward, backward = _origins(graph, whole, per, max)
        members = {node.id: node.members for node in drawing.nodes}
        found = {}
        for node in filter(_computes, drawing.nodes):
            source = backward if node.role == "gradient" else forward
            own = members[node.twin] if node.role == "gradient" and node.twin else node.members
            parts = [source[i] for i in own if source.get(i, -math.inf) > -math.inf]
            found[node.id] = max(parts) if parts else math.nan
    return _painted(drawing, _Look("largest |value|", _figure, logarithmic=True), found, _noted("", made))


def _spread(drawing: Drawing, graph: Graph, whole: Graph, name: str, figures: Sequence[float], note: str) -> Drawing:
    """Figures of a graph's equations with its gradients written out, on the boxes of the graph.

    What a gradient costs stands on the gradient box beside its op, or on the box of all gradients.
    """
    if whole is graph:
        return by_equation(drawing, name, figures, note)
    forward, backward = _origins(graph, whole, figures)
    members = {node.id: node.members for node in drawing.nodes}
    first = next(i for i, eq in enumerate(graph.equations) if eq.op.name == "gradients")
    found: dict[str, float] = {}
    for node in drawing.nodes:
        if not _computes(node):
            continue
        if node.role == "gradient":
            own = members[node.twin] if node.twin else tuple(backward)
            parts = [backward[i] for i in own if i in backward]
        else:
            parts = [forward[i] for i in node.members if i in forward]
            if first in node.members:
                parts += backward.values()
        found[node.id] = math.fsum(parts) if parts else math.nan
    return _painted(drawing, _adding(name), found, note)


def _origins(
    graph: Graph, whole: Graph, figures: Sequence[float], join: Callable[[float, float], float] = operator.add
) -> tuple[dict[int, float], dict[int, float]]:
    """The figures of the equations of `graph` by position, and those of their gradients, joined, by theirs."""
    own = [i for i, eq in enumerate(graph.equations) if eq.op.name != "gradients"]
    place: dict[Var, int] = {}  # of a value of `whole` in `graph`
    forward: dict[int, float] = {}
    backward: dict[int, float] = {}
    waiting = iter(own)
    following = next(waiting, None)
    for eq, figure in zip(whole.equations, figures, strict=True):
        current = None if following is None else graph.equations[following]
        if (
            following is not None
            and current is not None
            and eq.origin is current.origin is None
            and eq.op is current.op
        ):
            forward[following] = figure
            place.update(dict.fromkeys(eq.outputs, following))
            following = next(waiting, None)
        elif eq.origin is not None:
            at = place.get(eq.origin.of, -1)
            backward[at] = join(backward[at], figure) if at in backward else figure
    return forward, backward


def _leaving(
    drawing: Drawing, graph: Graph, values: Mapping[Var, float], join: Callable[[Iterable[float]], float]
) -> dict[str, float]:
    """For each box, the figures of the values that leave it (of all, where none does), joined."""
    inside = {i: node.id for node in drawing.nodes for i in node.members}
    maker = {v: inside[i] for i, eq in enumerate(graph.equations) for v in eq.outputs if i in inside}
    leaving: dict[str, dict[Var, None]] = {}
    for i, eq in enumerate(graph.equations):
        for atom in eq.atoms():
            if isinstance(atom, Var) and atom in maker and maker[atom] != inside.get(i):
                leaving.setdefault(maker[atom], {})[atom] = None
    for out in (*graph.outputs, *(write.value for write in graph.writes)):
        if isinstance(out, Var) and out in maker:
            leaving.setdefault(maker[out], {})[out] = None
    found: dict[str, float] = {}
    entries = iter(graph.inputs)
    for node in drawing.nodes:
        if node.role == "input":
            var = next(entries, None)
            if var is not None and var in values:
                found[node.id] = values[var]
        elif _computes(node):
            own = leaving.get(node.id) or dict.fromkeys(v for i in node.members for v in graph.equations[i].outputs)
            figures = [values[v] for v in own if v in values]
            found[node.id] = join(figures) if figures else math.nan
    return found


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
    found = {node.id: figures.get(node.id, math.nan) for node in drawing.nodes if _computes(node) or node.id in figures}
    return _painted(drawing, _Look("figure", _figure), found, "")


def _number(key: Any, value: Any) -> float:
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "size", 1) == 1:
        value = item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"overlay: expected a number for {clean(repr(key))}, got {clean(repr(value))}")
    return float(value)


def _painted(drawing: Drawing, look: _Look, figures: Mapping[str, float], note: str) -> Drawing:
    """Shade and figure for each box that has an entry; NaN is a missing figure, infinity one that is not finite."""
    finite = [f for f in figures.values() if math.isfinite(f)]
    total = math.fsum(finite) if look.share else 0.0
    nodes = []
    for node in drawing.nodes:
        if node.id in figures:
            figure = figures[node.id]
            if math.isnan(figure):
                node = replace(node, heat=math.nan, metric="n/a")
            elif math.isinf(figure):
                node = replace(node, heat=1.0 if figure > 0 else 0.0, metric="not finite")
            else:
                text = look.text(figure)
                if look.share and total > 0:
                    text += f" ({100 * figure / total:.0f}%)"
                node = replace(node, heat=_heat(figure, finite, look), metric=text)
        nodes.append(node)
    legend = list(drawing.legend)
    if finite:
        low, high = _range(finite, look)
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
    return min(0.0, *finite), max(finite)


def _heat(figure: float, finite: Sequence[float], look: _Look) -> float:
    low, high = _range(finite, look)
    if look.logarithmic:
        if figure <= 0 or low <= 0 or high <= low:
            return 0.0
        return math.log(figure / low) / math.log(high / low)
    span = high / 2 - low / 2  # halved, or the span of the largest numbers overflows
    return (figure / 2 - low / 2) / span if span > 0 else 0.0


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

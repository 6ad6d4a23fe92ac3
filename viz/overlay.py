"""Figures on the boxes of a drawing: time, bytes, FLOPs, gradient norm, largest value, or the user's own.

The figure is printed on its box and shades it on a ramp of one hue; a box without a figure is hatched and says n/a.
Time, gradient norm and largest value are measured by running the graph, the others counted.
"""

from __future__ import annotations

import difflib
import math
import numbers
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
        from tensorgraph.analysis.profile import duration, profile

        found = profile(graph, *args)
        note = f"time: median of {found.repeats} runs, {duration(found.total)} in all"
        return by_equation(drawing, "time", found.seconds, _noted(note, found.made))
    if name in ("bytes", "flops"):
        return by_equation(drawing, name, _counted(graph, name), "")
    if name == "max":
        from tensorgraph.analysis.profile import largest

        values, made = largest(graph, args)
        floats = {var: value for var, value in values.items() if var.aval.dtype.kind == "f"}
        look = _Look("largest |value|", _figure, logarithmic=True)
        return _painted(drawing, look, _leaving(drawing, graph, floats, _most), _noted("", made))
    if name == "grad_norm":
        from tensorgraph.analysis.profile import gradient_norms

        norms, made = gradient_norms(graph, args)
        look = _Look("gradient norm", _figure, logarithmic=True)
        return _painted(drawing, look, _leaving(drawing, graph, norms, _norm), _noted("", made))
    known = ", ".join(map(repr, OVERLAYS))
    raise ValueError(f"overlay must be one of {known} or a mapping of paths to numbers, got {clean(repr(overlay))}")


def by_equation(drawing: Drawing, name: str, figures: Sequence[float], note: str) -> Drawing:
    """Figures that add up, one an equation: each box gets the sum of its members."""
    from tensorgraph.analysis.profile import duration

    texts: dict[str, Callable[[float], str]] = {"time": duration, "bytes": binary, "flops": _flops}
    names = {"flops": "FLOPs"}
    look = _Look(names.get(name, name), texts.get(name, _figure), share=True)
    found = {
        node.id: math.fsum(figures[i] for i in node.members) if node.members else math.nan
        for node in drawing.nodes
        if _computes(node)
    }
    return _painted(drawing, look, found, note)


def _computes(node: Node) -> bool:
    return node.role not in ("input", "output", "write")


def _counted(graph: Graph, name: str) -> list[float]:
    """FLOPs or bytes of each equation; those of a gradient written out count for the deferred one."""
    cost = graph.cost()
    place = {var: i for i, eq in enumerate(graph.equations) for var in eq.outputs}
    deferred = next((i for i, eq in enumerate(graph.equations) if eq.op.name == "gradients"), None)
    figures = [0.0] * len(graph.equations)
    for row in cost.equations:
        own = next((place[v] for v in row.equation.outputs if v in place), deferred)
        if row.gradient and deferred is not None:
            own = deferred
        if own is not None:
            figures[own] += row.flops if name == "flops" else row.bytes
    return figures


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
    figures = list(figures)
    return math.inf if any(map(math.isnan, figures)) else max(figures)


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
        boxes = by_path.get(key) or [
            node.id for node in drawing.nodes if any(graph.equations[i].scope == key for i in node.members)
        ] or [node.id for node in drawing.nodes if node.path.startswith((f"{key}.", f"{key}/"))]
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
    total = math.fsum(finite)
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

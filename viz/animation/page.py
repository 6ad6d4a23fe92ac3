"""The page of an animation: the drawing, the steps, and a script that shows one after the other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from tensorgraph.pages import assets, coloured, document, escaped, scripted
from tensorgraph.viz.animation.steps import Step, record, steps_of, with_figures
from tensorgraph.viz.html.layouts import lay_out
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.model.labels import clean
from tensorgraph.viz.render.engine import EngineError

__all__ = ["animated"]


def animated(drawing: Drawing, args: Sequence[Any]) -> str:
    """One page on which the boxes of a drawing are computed one after the other. It makes no request.

    Raises
    ------
    ValueError
        For a drawing that does not know its graph, as one read from JSON.
    EngineError
        Where there is no layout engine.
    """
    graph = drawing.source
    if graph is None:
        raise ValueError("this drawing does not know its graph: draw it anew with tensorgraph.draw, then animate it")
    recording = record(graph, args) if args or not graph.inputs else None
    steps = steps_of(drawing, graph, recording)
    shown = with_figures(drawing, steps)
    (svg,), reason = lay_out([shown], drawing.timeout)
    if svg is None:
        raise EngineError(reason)
    data = {
        "steps": [_plain(step) for step in steps],
        "kept": [[edge.tail, edge.head] for edge in drawing.edges if edge.role == "saved"],
    }
    title = clean(drawing.title, 200)
    values = {"title": escaped(title), "drawing": svg}
    body = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], assets(__package__, "page.html"))
    style = f"{coloured()}\n{assets(__package__, 'page.css')}"
    return document(
        title, body, style=style, script=scripted(assets(__package__, "page.js")), data=data, theme=drawing.theme
    )


def _plain(step: Step) -> dict[str, Any]:
    said = asdict(replace(step, title=clean(step.title, 200), words=tuple(clean(w, 400) for w in step.words)))
    figures = said["figures"]
    if figures is not None:  # what overflows as a number of JSON is told as the largest
        said["figures"] = {
            name: value if not isinstance(value, float) or math.isfinite(value) else math.copysign(1.7e308, value)
            for name, value in figures.items()
        }
    return said

"""What a notebook shows of a tensor or a module: its words, and a picture where that is small, quick and sure.

A notebook shows values all the time and unasked. So nothing is computed, no code of the user's runs, a large history is
not walked, a layout has little time, and whatever goes wrong leaves the words alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.render.dot import to_dot
from tensorgraph.viz.render.engine import find_engine, run_engine
from tensorgraph.viz.render.svg import polish

__all__ = ["notebook"]

MOST_STEPS = 200  # of a tensor's history
MOST_BOXES = 60
MOST_MODULES = 2_000
MOST_BYTES = 300_000  # of a picture
SECONDS = 2.0  # that its layout may take


def notebook(value: Any) -> dict[str, Any]:
    """The bundle of a tensor or a module; never raises."""
    try:
        bundle = {"text/plain": repr(value)}
    except Exception as error:
        return {"text/plain": f"<{type(value).__name__}: its repr raised {type(error).__name__}>"}
    try:
        svg = _picture(value)
    except Exception:  # words do
        svg = None
    return bundle if svg is None else bundle | {"image/svg+xml": svg}


def _picture(value: Any) -> str | None:
    if find_engine() is None:
        return None
    drawing = _drawing(value)
    if drawing is None or len(drawing.nodes) > MOST_BOXES:
        return None
    svg = polish(drawing, run_engine(to_dot(drawing, "light"), "svg", SECONDS).decode("utf-8"), "auto")
    return svg if len(svg) <= MOST_BYTES else None


def _drawing(value: Any) -> Drawing | None:
    """The drawing of a tensor that was computed from something, or of a module."""
    from tensorgraph.viz.api import draw
    from tensorgraph.viz.model.parts import parts_of

    if isinstance(value, Module):
        return parts_of(value) if len(value.modules()) <= MOST_MODULES else None
    if isinstance(value, Tensor) and type(value._value) is np.ndarray and _is_short(value._node):
        return draw(value)
    return None


def _is_short(node: Any) -> bool:
    """Whether a history has some steps, and not too many; one that would be computed again to be seen has not."""
    waiting, seen, steps = [node], set(), 0
    while waiting:
        at = waiting.pop()
        if at is None or id(at) in seen:
            continue
        if isinstance(at, (tuple, list)):
            waiting += at
            continue
        seen.add(id(at))
        parents = getattr(at, "parents", None)
        if not parents:
            continue
        steps += 1
        if steps > MOST_STEPS or any(hasattr(a, "again") for a in getattr(at, "attrs", {}).values()):
            return False
        waiting += parents
    return steps > 0

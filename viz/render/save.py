"""A `Drawing` to a file, its format by the suffix, whole or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tensorgraph.files import atomic_write
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.render.dot import SMALL
from tensorgraph.viz.render.engine import EngineError, run_engine
from tensorgraph.viz.render.sheet import layout
from tensorgraph.viz.render.tabs import drawn

__all__ = ["SUFFIXES", "save"]

SUFFIXES = (".svg", ".html", ".png", ".pdf", ".dot", ".mmd", ".txt", ".json")
SHARP = 144.0  # dots per inch of a PNG, less where the picture is large
LONGEST_SIDE = 32_767  # pixels; beyond it cairo scales down without a word
MOST_PIXELS = 120e6  # about half a gigabyte while drawing
LEAST_TEXT = 6.0  # pixels of the smallest text


def save(drawing: Drawing, path: str | os.PathLike[str]) -> None:
    suffix = Path(path).suffix.lower()
    if suffix == ".svg":
        data = drawing.svg().encode("utf-8")
    elif suffix == ".html":
        data = drawing.html().encode("utf-8")
    elif suffix == ".mmd":
        data = drawing.mermaid().encode("utf-8")
    elif suffix == ".dot":
        data = drawing.dot().encode("utf-8")
    elif suffix == ".txt":
        data = drawing.text().encode("utf-8")
    elif suffix == ".json":
        data = drawing.json().encode("ascii")
    elif suffix == ".png":
        data = png(drawing)
    elif suffix == ".pdf":
        data = pdf(drawing)
    else:
        raise ValueError(f"a drawing is saved by its suffix, one of {', '.join(SUFFIXES)}; got {os.fspath(path)!r}")
    atomic_write(path, data)


def pdf(drawing: Drawing) -> bytes:
    try:
        dot, how = layout(drawing, drawing.theme, drawing.timeout)
        return drawn(dot, "pdf", drawing.timeout, *how)
    except EngineError as error:
        if "could not make pdf" not in str(error):
            raise
        raise EngineError(
            f"no engine here writes PDF: save svg, or install your system's graphviz ({error})"
        ) from error


def png(drawing: Drawing) -> bytes:
    """As many dots per inch as the size allows, at most 144."""
    dot, how = layout(drawing, drawing.theme, drawing.timeout)
    head = run_engine(dot, "svg", drawing.timeout, *how)[:4000].decode("utf-8", "replace")
    size = re.search(r'<svg width="([\d.]+)pt" height="([\d.]+)pt"', head)
    if size is None:
        raise EngineError("the layout engine gave an SVG without a size; use svg")
    width, height = float(size[1]) / 72, float(size[2]) / 72  # inches
    dpi = min(SHARP, LONGEST_SIDE / max(width, height), (MOST_PIXELS / (width * height)) ** 0.5)
    if SMALL / 72 * dpi < LEAST_TEXT:
        raise ValueError(
            f"a PNG of this drawing ({width:.0f} x {height:.0f} inches) would have text under {LEAST_TEXT:g} px: "
            "use svg or html, or draw less (level='module', depth=1, focus=...)"
        )
    return drawn(dot, "png", drawing.timeout, f"-Gdpi={dpi:.1f}", *how)

"""`Drawing` to JSON: everything it holds, for tools."""

from __future__ import annotations

import json
from dataclasses import asdict

from tensorgraph.viz.drawing import Drawing

__all__ = ["VERSION", "to_json"]

VERSION = 1  # of the layout of this JSON


def to_json(drawing: Drawing, indent: int | None = 2) -> str:
    content = asdict(drawing)
    for presentation in ("theme", "timeout"):
        del content[presentation]
    return json.dumps({"tensorgraph_drawing": VERSION, **content}, indent=indent, ensure_ascii=True)

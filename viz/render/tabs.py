"""Titles of frames in front of the lines, for formats that an engine draws to the end.

An engine draws a frame with its title first and lines over both. So a drawing is laid out, its titles are made boxes on
the upper borders of their frames, and it is drawn as it has been laid out, these boxes last.
"""

from __future__ import annotations

import re
import time

from tensorgraph.viz.render.engine import EngineError, run_engine
from tensorgraph.viz.render.sheet import AS_LAID_OUT
from tensorgraph.viz.render.svg_text import LOWER

__all__ = ["drawn", "with_tabs"]

FRAME = re.compile(  # attributes stand in the order of their names, and a label's words hold no markup
    r'(subgraph cluster_(?P<id>g\d+(?:p\d+)?) \{\s*graph \[bb="(?P<bb>[-+\d.e,]+)",[^<]*?)'
    r'label=<(?P<label><table.*?</table>)>,(?P<rest>[^<]*?lp="(?P<x>[-+\d.e]+),)',
    re.S,
)


def drawn(dot: str, form: str, timeout: float, *options: str) -> bytes:
    """A drawing in a format, the titles of its frames in front; where that fails, as the engine would have it."""
    until = time.monotonic() + timeout
    if AS_LAID_OUT[0] in options:
        return run_engine(with_tabs(dot), form, timeout, *options)
    if "subgraph cluster_" in dot:
        try:
            laid_out = run_engine(dot, "dot", timeout / 2).decode("utf-8")
            changed = with_tabs(laid_out)
            if changed != laid_out:
                return run_engine(changed, form, max(until - time.monotonic(), 0.1), *options, *AS_LAID_OUT)
        except (EngineError, UnicodeDecodeError):
            pass  # an old engine, or one that cannot write the format: the next lines tell
    return run_engine(dot, form, max(until - time.monotonic(), timeout / 4), *options)


def with_tabs(laid_out: str) -> str:
    """A layout in DOT whose frames have boxes as titles, on their upper borders."""
    tabs: list[str] = []

    def without(match: re.Match[str]) -> str:
        top = float(match["bb"].split(",")[3]) - LOWER
        tabs.append(
            f"tab_{match['id']} [id=tab_{match['id']} shape=plain style=solid width=0 height=0 "
            f'pos="{match["x"]},{top:g}" label=<{match["label"]}>];'
        )
        return f'{match[1]}label="",{match["rest"]}'

    body = FRAME.sub(without, laid_out)
    if not tabs:
        return laid_out
    end = body.rindex("}")
    return body[:end] + "\n".join(tabs) + f"\n{body[end:]}"  # boxes without lines come last, so over all the others

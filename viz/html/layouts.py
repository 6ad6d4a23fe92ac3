"""Many layouts in little time, as small SVGs.

An engine lays out several graphs in one call. The outermost come first, so that when the time is up, it is the
innermost that have no picture and are listed instead.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Sequence
from dataclasses import astuple, replace

from tensorgraph.pages.palette import LIGHT, NAMES
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.render.engine import EngineError, run_engine
from tensorgraph.viz.render.metrics import text_width
from tensorgraph.viz.render.sheet import layout
from tensorgraph.viz.render.svg import PART, SURFACES
from tensorgraph.viz.render.svg_lines import Lines, name_of
from tensorgraph.viz.render.svg_text import centred, lifted
from tensorgraph.viz.render.whole import whole

__all__ = ["lay_out", "slim"]

BATCH = 300  # boxes laid out in one call of the engine
TAG = re.compile(r"<([a-z]+)((?:\s[^<>]*?)?)(/?)>")
ATTRIBUTE = re.compile(r'([\w:-]+)="([^"]*)"')
NUMBER = re.compile(r"-?\d+\.\d+")
COLOURS = {colour.lower(): name for name, colour in zip(NAMES, astuple(LIGHT), strict=True)}
COLOURS["white"] = "box"
DROPPED = ("font-family", "xml:space", "lengthAdjust", "width", "height", "xmlns:xlink")


def lay_out(drawings: Sequence[Drawing], timeout: float) -> tuple[list[str | None], str]:
    """An SVG for each drawing, or None where there is no layout, and then the reason why."""
    found: list[str | None] = [None] * len(drawings)
    reason = ""
    until = time.monotonic() + timeout
    for batch in _batches(drawings):
        left = until - time.monotonic()
        if left <= 0:
            return found, f"their layouts together would take longer than {timeout:g} s (timeout=)"
        dots = [_dot(drawings[i], left) for i in batch]
        try:
            made = _run(dots, left)
        except EngineError as error:
            reason = str(error)
            if "longer than" not in reason and len(batch) == 1:
                continue  # of one drawing only
            if "longer than" not in reason and _works():
                made = [_alone(*one, until) for one in dots]
            else:
                return found, reason
        for i, svg in zip(batch, made, strict=True):
            found[i] = None if svg is None else slim(svg, f"v{i}-", drawings[i])
    return found, reason


def _dot(drawing: Drawing, timeout: float) -> tuple[str, tuple[str, ...]]:
    """Without title, notes and, unless there is nothing else, legend: the page says these once. And how an engine is to
    be called, see `layout`."""
    legend = () if drawing.nodes else drawing.legend
    return layout(replace(drawing, title="", legend=legend, notes=()), "light", timeout)


def _batches(drawings: Sequence[Drawing]) -> list[list[int]]:
    """The first alone, since it matters most, then as many as make up a fair amount of work."""
    found: list[list[int]] = []
    boxes = BATCH
    for i, drawing in enumerate(drawings):
        if boxes >= BATCH or i == 1:
            found.append([])
            boxes = 0
        found[-1].append(i)
        boxes += len(drawing.nodes)
    return found


def _run(dots: Sequence[tuple[str, tuple[str, ...]]], timeout: float) -> list[str | None]:
    """The pictures: all together that an engine is called for in one way."""
    found: list[str | None] = [None] * len(dots)
    for how in dict.fromkeys(how for _, how in dots):
        some = [i for i, (_, other) in enumerate(dots) if other == how]
        output = run_engine("".join(dots[i][0] for i in some), "svg", timeout, *how).decode("utf-8")
        made = re.findall(r"<svg\b.*?</svg>", output, re.S)
        if len(made) != len(some):
            raise EngineError(f"the layout engine drew {len(made)} of {len(some)} drawings")
        for i, svg in zip(some, made, strict=True):
            found[i] = svg
    return found


def _works() -> bool:
    try:
        return bool(run_engine("digraph {}\n", "svg", 5.0))
    except EngineError:
        return False


def _alone(dot: str, how: tuple[str, ...], until: float) -> str | None:
    try:
        return _run([(dot, how)], max(until - time.monotonic(), 0.01))[0]
    except EngineError:
        return None


def slim(svg: str, prefix: str, drawing: Drawing) -> str:
    """An engine's SVG with ids for a page with many, classes for colours, and little else.

    Boxes and frames keep the drawing's ids, behind `prefix`; a line and its words say which boxes they join.
    """
    body = whole(lifted(centred(re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)), front=False))
    lines = Lines(drawing, body)
    named = re.compile(r'<g id="[^"]*" class="(node|cluster|edge)">\s*<title>([^<]*)</title>')
    begun: set[str] = set()  # frames

    def group(match: re.Match[str]) -> str:
        kind, name = match[1], name_of(match[2])
        if isinstance(name, tuple):
            tails, heads = lines.ends(*name)
            return f'<g class="edge" data-tails="{" ".join(tails)}" data-heads="{" ".join(heads)}">'
        id = PART.sub("", name.removeprefix("cluster_"))
        if id in begun:
            return f'<g class="more" data-of="{id}">'
        if id in lines.frames:
            begun.add(id)
        if id in lines.paths or id in lines.frames:
            return f'<g class="{kind}" id="{prefix}{id}">'
        edge = lines.edge(id, id)
        if edge is not None:  # its words
            return f'<g class="words" data-tails="{edge.tail}" data-heads="{edge.head}">'
        frame = lines.frame(id)  # in a drawing that has a bar in its place, its title is what can be opened
        if frame is None or id != f"t{frame}":
            return "<g>"
        if frame in begun:
            return f'<g class="more" data-of="{frame}">'
        begun.add(frame)
        return f'<g class="cluster" id="{prefix}{frame}">'

    body = named.sub(group, body)
    body = re.sub(r'<g id="[^"]*" class="graph"', '<g class="graph"', body)
    body = re.sub(r"<title>[^<]*</title>", "", body)
    body = re.sub(r'<polygon fill="[^"]*" stroke="(?:none|transparent)"[^>]*/>', "", body, count=1)  # the page
    body = re.sub(r"<text[^>]*>\s*</text>", "", body)
    body = re.sub(r"<text ([^>]*)>([^<]*)</text>", _lengthened, body)
    body = TAG.sub(lambda m: _tag(m, prefix), body)
    body = re.sub(r">\s+<", "><", body)
    return body.strip()


def _lengthened(match: re.Match[str]) -> str:
    """A text with its length in our font's metrics: another font is squeezed instead of leaving its box."""
    attributes, text = match[1], html.unescape(match[2])
    size = re.search(r'font-size="([\d.]+)"', attributes)
    width = text_width(text, float(size[1]) if size else 14.0, bold='font-weight="bold"' in attributes)
    return match[0] if width is None else f'<text {attributes} textLength="{width:.1f}">{match[2]}</text>'


def _tag(match: re.Match[str], prefix: str) -> str:
    name, closed = match[1], match[3]
    attributes = dict(ATTRIBUTE.findall(match[2]))
    if name == "svg":
        box = attributes.get("viewBox", "0 0 1 1")
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">'
    for dropped in DROPPED:
        attributes.pop(dropped, None)
    corners = _rounded(attributes["d"]) if name == "path" else None
    if corners is not None:
        name = "rect"
        del attributes["d"]
        attributes |= corners
    classes = attributes.pop("class", "").split()
    for kind in ("fill", "stroke"):
        colour = COLOURS.get(attributes.get(kind, "").lower())
        if colour is not None and not (name == "text" and colour in SURFACES):
            classes.append(f"{kind[0]}-{colour}")
            del attributes[kind]
    if attributes.get("stroke") in ("none", "transparent"):
        del attributes["stroke"]
    if attributes.get("text-anchor") == "start":
        del attributes["text-anchor"]
    said = [f'class="{" ".join(classes)}"'] if classes else []
    for key, value in attributes.items():
        if key in ("points", "d", "x", "y", "font-size", "stroke-width", "transform"):
            value = NUMBER.sub(_shorter, value)
        said.append(f'{key}="{re.sub("url[(]#", f"url(#{prefix}", value)}"')
    return f"<{' '.join([name, *said])}{closed}>"


def _shorter(match: re.Match[str]) -> str:
    return f"{float(match[0]):.1f}".removesuffix(".0")


def _rounded(path: str) -> dict[str, str] | None:
    """The rectangle with round corners that a path of eight curves is."""
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", path)]
    if len(numbers) != 50 or numbers[:2] != numbers[-2:]:
        return None
    xs, ys = sorted(numbers[::2]), sorted(numbers[1::2])
    width, height = xs[-1] - xs[0], ys[-1] - ys[0]
    # a curve and a straight side in turn: the first side's start tells the radius
    radius = min(numbers[0] - xs[0], xs[-1] - numbers[0])
    if width <= 0 or height <= 0 or not 0 <= radius <= min(width, height):
        return None
    said = {"x": xs[0], "y": ys[0], "width": width, "height": height, "rx": min(radius, 6.0)}
    return {key: f"{value:.1f}".removesuffix(".0") for key, value in said.items()}

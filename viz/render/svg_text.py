"""Text in an engine's SVG: where it stands, whatever its font, and titles of frames above the lines that pass them.

An engine places a text by its left end, from a width that it supposes. In another font it would leave its place to the
right; so what is centred in its box is said to be.
"""

from __future__ import annotations

import html
import re

from tensorgraph.viz.render.metrics import room, text_width

__all__ = ["LOWER", "centred", "lifted"]

NODE = re.compile(r'<g id="[^"]*" class="node">.*?</g>', re.S)
CLUSTER = re.compile(r'(<g id="[^"]*" class="cluster">\s*<title>([^<]*)</title>)(.*?)</g>', re.S)
SHAPE = re.compile(r'<(?:path|polygon)\b[^>]*? (?:d|points)="([^"]*)"')
TEXT = re.compile(r'<text (?:xml:space="preserve" )?text-anchor="start" x="(-?[\d.]+)"([^>]*)>([^<]*)</text>')
PAIR = re.compile(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)")
MARK = 9.0  # units that the mark before a row is wide, at most
SIGN = ">"  # a mark that is a text
SMALL = 8.0  # size of the names of ports
LOWER = 2.0  # by which the middle of a frame's title is below its border: the box above stands near
NEAR, SHARE = 3.0, 0.1  # how far the middle of a centred text may seem to lie beside its box's: units, of its width


def centred(body: str) -> str:
    """An SVG in which what stands in the middle of a box, over a port or at the right of a row is said to."""
    return NODE.sub(_in_box, body)


def _in_box(match: re.Match[str]) -> str:
    shapes = [PAIR.findall(points) for points in SHAPE.findall(match[0])]
    if not shapes:
        return match[0]
    middle = _middle([float(x) for x, _ in shapes[0]])
    marks = [_middle([float(y) for _, y in points]) for points in shapes if _spread(points) < MARK]
    texts = [_Text(text) for text in TEXT.finditer(match[0])]
    marks += [text.y - text.size / 3 for text in texts if text.said == SIGN]
    rows: dict[float, list[_Text]] = {}
    for text in texts:
        if text.said != SIGN:
            rows.setdefault(text.y, []).append(text)
    for y, row in rows.items():
        marked = any(abs(mark - y + row[0].size / 3) < row[0].size / 2 for mark in marks)
        for text in row if len(row) > 1 and row[0].size <= SMALL else ():  # ports, each over its own place
            text.put("middle", text.x + text.width / 2)
        if len(row) == 2 and row[0].size > SMALL:
            row[1].put("end", row[1].x + row[1].width)
        if len(row) == 1 and not marked:
            near = abs(row[0].x + row[0].width / 2 - middle) <= NEAR + SHARE * row[0].width
            if near:
                row[0].put("middle", middle)
    place = iter(texts)
    return TEXT.sub(lambda _: str(next(place)), match[0])


class _Text:
    """A text of an engine, which supposes about our width."""

    def __init__(self, found: re.Match[str]) -> None:
        self.found, self.x, self.anchor = found, float(found[1]), ""
        size, y = (re.search(rf' {name}="(-?[\d.]+)"', found[2]) for name in ("font-size", "y"))
        self.size, self.y = (float(size[1]) if size else 14.0), (float(y[1]) if y else 0.0)
        self.said, bold = html.unescape(found[3]), 'font-weight="bold"' in found[2]
        self.width = text_width(self.said, self.size, bold) or float(room(self.said, self.size, bold))

    def put(self, anchor: str, x: float) -> None:
        self.anchor, self.x = anchor, x

    def __str__(self) -> str:
        if not self.anchor:
            return self.found[0]
        return f'<text text-anchor="{self.anchor}" x="{self.x:.2f}"{self.found[2]}>{self.found[3]}</text>'


def _middle(numbers: list[float]) -> float:
    return (min(numbers) + max(numbers)) / 2


def _spread(points: list[tuple[str, str]]) -> float:
    xs = [float(x) for x, _ in points]
    return max(xs) - min(xs)


def lifted(body: str, front: bool = True) -> str:
    """An SVG in which the title of each frame is a tab on its upper border; in `front` of everything, or in its frame
    for a script to bring there."""
    tabs: list[str] = []

    def without(match: re.Match[str]) -> str:
        frame = SHAPE.search(match[3])
        if frame is None:
            return match[0]
        label = match[3][match[3].index("/>", frame.end()) + 2 :]
        surface = SHAPE.search(label)
        if surface is None or "<text" not in label:
            return match[0]
        top = min(float(y) for _, y in PAIR.findall(frame[1]))
        ys = [float(y) for _, y in PAIR.findall(surface[1])]
        up = (min(ys) + max(ys)) / 2 - top - LOWER
        xs = [float(x) for x, _ in PAIR.findall(surface[1])]
        label = TEXT.sub(rf'<text text-anchor="middle" x="{_middle(xs):.2f}"\2>\3</text>', label)
        tab, rest = _raised(label, up).strip(), match[3][: frame.end() + match[3][frame.end() :].index("/>") + 2]
        if not front:
            return f"{match[1]}{rest}\n{tab}\n</g>"
        tabs.append(f'<g class="tab">\n{tab}\n</g>\n')
        return f"{match[1]}{rest}\n</g>"

    body = CLUSTER.sub(without, body)
    end = body.rindex("</g>") if tabs else len(body)
    return body[:end] + "".join(tabs) + body[end:]


def _raised(label: str, up: float) -> str:
    label = re.sub(r'(?<= points=")[^"]*', lambda m: PAIR.sub(lambda p: f"{p[1]},{float(p[2]) - up:.2f}", m[0]), label)
    return re.sub(r'(?<= y=")(-?[\d.]+)', lambda m: f"{float(m[0]) - up:.2f}", label)

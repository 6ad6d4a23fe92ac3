"""Lines that pass rows or leave a frame, whole: an engine draws them from point to point and leaves a gap before each.

Where a point has one line from above and one down, their paths become one path, so that dashes run on, and the point
goes; where a line ends at a point, it is drawn to its middle.
"""

from __future__ import annotations

import re
from collections import Counter

from tensorgraph.viz.render.svg_lines import name_of

__all__ = ["whole"]

EDGE = re.compile(r'<g id="[^"]*" class="edge">\s*<title>([^<]*)</title>(.*?)</g>\s*', re.S)
POINT = re.compile(r'<g id="[^"]*" class="node">\s*<title>((?:r|bg|w)\d\w*)</title>\s*<polygon[^>]*/>\s*</g>\s*', re.S)
PATH = re.compile(r'(<path\b[^>]*? d=")([^"]*)(")')
PAIR = re.compile(r"(-?\d+(?:\.\d+)?)[, ](-?\d+(?:\.\d+)?)")


def whole(body: str) -> str:
    """An engine's SVG in which the lines that pass points are one path each."""
    middles = {match[1]: _middle(match[0]) for match in POINT.finditer(body)}
    if not middles:
        return body
    edges, ends = [], []
    for match in EDGE.finditer(body):
        name = name_of(match[1])
        if isinstance(name, tuple):
            edges.append(match)
            ends.append(name)
    down = {tail: i for i, (tail, _) in enumerate(ends) if tail in middles}
    up = {head: i for i, (_, head) in enumerate(ends) if head in middles}
    lines = Counter(end for pair in ends for end in pair)
    passed = {point for point in down.keys() & up.keys() if lines[point] == 2}
    changed: dict[int, str] = {}  # by where a group begins in the body
    for i, (tail, head) in enumerate(ends):
        if tail in passed:
            continue
        parts = [i]
        while head in passed:
            parts.append(down[head])
            head = ends[parts[-1]][1]
        if len(parts) > 1 or head in middles:
            changed |= {edges[part].start(): "" for part in parts}
            changed[edges[i].start()] = _joined([edges[part] for part in parts], tail, head, middles.get(head))
    body = EDGE.sub(lambda match: changed.get(match.start(), match[0]), body)
    return POINT.sub(lambda match: "" if match[1] in passed else match[0], body)


def _joined(parts: list[re.Match[str]], tail: str, head: str, end: tuple[float, float] | None) -> str:
    """The first group with the paths of all and their arrowheads."""
    first, rest = parts[0], "".join(re.findall(r"<polygon[^>]*/>\s*", "".join(part[2] for part in parts[1:])))
    paths = [path[2] for part in parts if (path := PATH.search(part[2]))]
    way = paths[0] + "".join("L" + path.removeprefix("M") for path in paths[1:])
    if end is not None:
        way += f"L{end[0]:g},{end[1]:g}"
    drawn = PATH.sub(lambda path: f"{path[1]}{way}{path[3]}", first[2], count=1)
    opening = first[0][: first[0].index("<title>")]
    return f"{opening}<title>{tail}&#45;&gt;{head}</title>{drawn}{rest}</g>\n"


def _middle(group: str) -> tuple[float, float]:
    points = [(float(x), float(y)) for x, y in PAIR.findall(group)]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2

"""What the lines of a laid out drawing join.

An edge may be drawn in several lines, by way of points and words that are no boxes (where it leaves a frame, beside a
column, around its label), and edges may share a line. A line's ends are the boxes at its ends, these passed over.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict

from tensorgraph.viz.model.drawing import Drawing, Edge

__all__ = ["Lines", "name_of"]

OF_EDGE = re.compile(r"k(\d+)|w(\d+)[ab]")  # words and points of an edge, by its position; exits are of several
TITLE = re.compile(r'class="edge">\s*<title>([^<]*)</title>')


def name_of(title: str) -> tuple[str, str] | str:
    """The generated name that an engine wrote: of a box, or of the two ends of a line."""
    name = html.unescape(title)
    ends = re.fullmatch(r"(\w+)(?::\w+)*->(\w+)(?::\w+)*", name)
    return (ends[1], ends[2]) if ends else name


class Lines:
    """The lines of an engine's SVG of a drawing."""

    def __init__(self, drawing: Drawing, svg: str) -> None:
        self.drawing = drawing
        self.paths = {node.id: node.path for node in drawing.nodes}
        self.frames = {group.id: group.path for group in drawing.groups}
        self.before: dict[str, list[str]] = defaultdict(list)
        self.after: dict[str, list[str]] = defaultdict(list)
        for found in TITLE.findall(svg):
            name = name_of(found)
            if isinstance(name, tuple):
                self.after[name[0]].append(name[1])
                self.before[name[1]].append(name[0])
        self.carried: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for edge in drawing.edges:
            if not edge.cut:
                self.carried[edge.tail, edge.head] |= dict.fromkeys(edge.values)
        self.known: dict[tuple[str, bool], list[str]] = {}

    def ends(self, tail: str, head: str) -> tuple[list[str], list[str]]:
        """The boxes that the line comes from and leads to, as it is laid out: an upward one the other way round, unless
        it passes the words or the points of one edge."""
        edge = self.edge(tail, head)
        if edge is not None:
            return [edge.tail], [edge.head]
        return self.boxes(tail, False), self.boxes(head, True)

    def edge(self, tail: str, head: str) -> Edge | None:
        """The edge whose words or points the line passes."""
        found = OF_EDGE.fullmatch(tail) or OF_EDGE.fullmatch(head)
        return self.drawing.edges[int(found[1] or found[2])] if found else None

    def boxes(self, start: str, forward: bool) -> list[str]:
        if start in self.paths:
            return [start]
        if (start, forward) not in self.known:
            step = self.after if forward else self.before
            found, pending, seen = [], [start], {start}
            while pending:
                for at in step.get(pending.pop(), ()):
                    if at in self.paths:
                        found.append(at)
                    elif at not in seen:
                        seen.add(at)
                        pending.append(at)
            self.known[start, forward] = list(dict.fromkeys(found))
        return self.known[start, forward]

    def tip(self, tail: str, head: str) -> str:
        """What flows along a line, in words; empty where nothing does."""
        tails, heads = self.ends(tail, head)
        pairs = [pair for a in tails for b in heads for pair in ((a, b), (b, a)) if pair in self.carried]
        if self.edge(tail, head) is not None:
            pairs = pairs[:1]
        if not pairs:
            return ""
        if len(pairs) > 1 and len({a for a, _ in pairs}) == 1:
            return f"from {self.paths[pairs[0][0]]}"
        a, b = pairs[0]
        return f"{self.paths[a]} to {self.paths[b]}\n" + "\n".join(list(self.carried[a, b])[:6])

    def frame(self, name: str) -> str | None:
        """The group whose title or bar this is, in a drawing without frames."""
        found = re.fullmatch(r"t(g\d+)(?:p\d+)?|b(g\d+)r\d+(?:p\d+)?", name)
        group = (found[1] or found[2]) if found else None
        return group if group in self.frames else None

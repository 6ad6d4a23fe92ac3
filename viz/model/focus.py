"""The surroundings of one box: what is within some hops of it, and stubs where the rest begins."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from tensorgraph.graph.graph import Graph
from tensorgraph.passes.rewriting import Region, region
from tensorgraph.viz.model.budget import stubs
from tensorgraph.viz.model.drawing import Drawing, LegendEntry
from tensorgraph.viz.model.labels import clean, count

__all__ = ["focus_on", "within"]


def focus_on(drawing: Drawing, graph: Graph, focus: str | Region, hops: int) -> Drawing:
    """The boxes within `hops` edges of the box or module at a path, upstream and down, or of a part of the graph.

    Raises
    ------
    ValueError
        Where no box or module has this path, and no part of the graph this name; the nearest paths are named.
    """
    path = focus if isinstance(focus, str) else focus.name
    centre = {node.id for node in drawing.nodes if _is_at(node.path, path)} if isinstance(focus, str) else set()
    if not any(node.members for node in drawing.nodes if node.id in centre):  # a result's box is no op
        centre |= {node.id for node in drawing.nodes if not _members(graph, focus).isdisjoint(node.members)}
    if not centre:
        known = [node.path for node in drawing.nodes] + [group.path for group in drawing.groups]
        near = difflib.get_close_matches(path, known, n=3, cutoff=0.4) or known[:3]
        raise ValueError(
            f"focus={clean(path)!r} is no box of this drawing; near it are {', '.join(map(repr, near))} "
            "(Drawing.nodes lists every path)"
        )
    return within(drawing, centre, hops, clean(path))


def _members(graph: Graph, focus: str | Region) -> frozenset[int]:
    """The equations of a part of a graph; none where it has no such part."""
    if isinstance(focus, Region) and focus.whole is graph:
        return frozenset(focus.numbers)
    try:
        return frozenset(region(graph, focus if isinstance(focus, str) else focus.name).numbers)
    except KeyError:
        return frozenset()


def within(drawing: Drawing, centre: Iterable[str], hops: int, what: str) -> Drawing:
    """Only the boxes within `hops` edges of these, by id, with stubs where the rest begins."""
    kept = set(centre)
    beside = defaultdict(set)
    for edge in drawing.edges:
        beside[edge.tail].add(edge.head)
        beside[edge.head].add(edge.tail)
    border = set(kept)
    for _ in range(hops):
        border = {other for node in border for other in beside[node]} - kept
        kept |= border

    paths = {node.id: node.path for node in drawing.nodes}
    coming: dict[str, list[str]] = defaultdict(list)
    going: dict[str, int] = defaultdict(int)
    edges = []
    for edge in drawing.edges:
        if edge.tail in kept and edge.head in kept:
            edges.append(edge)
        elif edge.head in kept:
            coming[edge.head].append(clean(paths[edge.tail]))
        elif edge.tail in kept:
            going[edge.tail] += 1
    nodes = tuple(
        replace(
            node,
            rows=node.rows + stubs(coming[node.id], going[node.id]),
            twin=node.twin if node.twin in kept else None,  # whose row is drawn, or there is none to stand in
        )
        for node in drawing.nodes
        if node.id in kept
    )
    used = {node.group for node in nodes}
    for group in reversed(drawing.groups):  # outer groups come first
        if group.id in used:
            used.add(group.parent)
    legend = drawing.legend
    if (coming or going) and not any(entry.role == "stub" for entry in legend):
        legend += (LegendEntry("stub", "<- edge not drawn"),)
    note = f"only what is within {count(hops, 'hop')} of {what}: {len(nodes):,} of {len(drawing.nodes):,} boxes"
    return replace(
        drawing,
        nodes=nodes,
        edges=tuple(edges),
        groups=tuple(group for group in drawing.groups if group.id in used),
        legend=legend,
        notes=(*drawing.notes, note),
    )


def _is_at(node: str, path: str) -> bool:
    path = path.removesuffix("#0")
    return node == path or node in (f"inputs/{path}", f"outputs/{path}") or node.startswith((f"{path}/", f"{path}."))

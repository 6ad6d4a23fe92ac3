"""Kernels that repeat drawn once: runs of equal steps that are wired alike become a template with their count.

Each repeat of a run may read what the one before it made, which is a line back from where that is made to where it is
read, and what is made outside by one box for all, for the first and the last by another. Others may read what the last
repeat makes, or what all make. What folds first is one box for the next: the backward kernels of twelve blocks read
their forward ones, which are folded.

What an optimiser does for each parameter, and nobody reads, is one box with its number, whatever the shapes.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tensorgraph.graph.graph import Graph, Var
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.graph.repeats import runs
from tensorgraph.graph.statements import Repetition
from tensorgraph.viz.model.digest import digest_of
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, Node, Row
from tensorgraph.viz.model.fold import heading, loops_of, spanning
from tensorgraph.viz.model.functions import with_functions
from tensorgraph.viz.model.labels import clean, count, ordinal, own_said, times, turns_said

__all__ = ["drawn_once", "scope_of", "with_turns"]

FEWEST = 3  # repeats
MOST_TEMPLATES = 40
NUMBER = re.compile(r"\d+")
LINES = re.compile(r"\.py:\d+")
NUMBERED = re.compile(r"(?<!\S)(\d[\d,]*) \w+")


@dataclass(frozen=True, slots=True)
class _Run:
    """Steps from `start`, in `count` repeats of `period`."""

    start: int
    period: int
    count: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count

    def place(self, at: int | None) -> tuple[int, int] | None:
        """Which repeat a step is in, and where in it; None outside."""
        return divmod(at - self.start, self.period) if at is not None and self.start <= at < self.stop else None


def drawn_once(
    drawing: Drawing, graph: Graph, apart: frozenset[str] = frozenset()
) -> tuple[Drawing, dict[str, str], dict[str, int]]:
    """The drawing with what repeats drawn once, but for some; and for the path of each box that was, the id of its
    box and which repeat it is."""
    box_of = {node.path: node.id for node in drawing.nodes}
    paths = {node.id: node.path for node in drawing.nodes}
    turn_of: dict[str, int] = {}
    seen = with_functions(graph, compiled=True)
    keys = {id: id if id in apart else key for id, key in _keys(drawing, graph).items()}
    for _ in range(MOST_TEMPLATES):
        steps = [node for node in drawing.nodes if node.role in ("kernel", "op")]
        found = [(order, run) for order in (steps, _ordered(drawing, steps, keys))
                 if (run := _found(drawing, order, keys)) is not None]  # fmt: skip
        if not found:
            break
        steps, run = max(found, key=lambda found: found[1].period * (found[1].count - 1))
        turn_of.update((paths[steps[at].id], run.place(at)[0]) for at in range(run.start, run.stop))  # type: ignore[index]
        drawing, stands = _folded(drawing, seen, steps, run)
        box_of = {path: stands.get(id, id) for path, id in box_of.items()}
    drawing, stands = _updates(drawing, graph, apart)
    box_of = {path: stands.get(id, id) for path, id in box_of.items()}
    return drawing, box_of, turn_of


def with_turns(
    drawing: Drawing, every: Drawing, box_of: Mapping[str, str], turn_of: Mapping[str, int]
) -> Drawing:  # fmt: skip
    """The drawing in which lines between a template and others say which repeats they join, by `every` line that
    there is."""
    frame = {node.id: node.group for node in drawing.nodes}
    place = {}  # the box, and which repeat of it
    for node in every.nodes:
        box = box_of[node.path]
        place[node.id] = box, 0 if frame[box] is None else turn_of.get(node.path, 0)
    pairs: dict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for edge in every.edges:
        (tail, maker), (head, reader) = place[edge.tail], place[edge.head]
        pairs[tail, head].add((maker, reader))
    edges = []
    for edge in drawing.edges:
        within, inner = frame[edge.tail], frame[edge.head]
        if within != inner and edge.role != "carried":
            sizes = [drawing.repeats[group] for group in (within, inner)]
            said = _turns_said(pairs[edge.tail, edge.head], *sizes)
            edge = replace(edge, rows=(*edge.rows, *[Row("repeats", text) for text in said]))
        edges.append(edge)
    return replace(drawing, edges=tuple(edges))


def _turns_said(pairs: set[tuple[int, int]], makers: int, readers: int) -> list[str]:
    """What a line says of the repeats at its ends, of which there are so many: which of them it leaves, or whether each
    reads its own; and, unless all do, which read."""
    by: dict[int, set[int]] = defaultdict(set)
    for maker, reader in pairs:
        by[reader].add(maker)
    said = []
    if makers > 1:
        one = len({frozenset(made) for made in by.values()}) == 1
        makes = {(maker,) for maker, _ in pairs}
        own = [((reader,), (maker,)) for maker, reader in pairs]
        said.append(turns_said(makes, (makers,)) if one else own_said(own))
    if len(by) < readers:
        said.append(f"in the {ordinal(min(by), readers)}" if len(by) == 1 else f"in {len(by)} of {readers}")
    return [text for text in said if text]


def _keys(drawing: Drawing, graph: Graph) -> dict[str, Any]:
    """What equal steps have in common, but for numbers in names, where results lie, lines, and an order of ops."""
    cells = {cell.var: cell for cell in graph.cells}
    found: dict[str, Any] = {}
    for node in drawing.nodes:
        rows = {(row.style, NUMBER.sub("#", row.text), row.value) for row in node.rows[:1] + node.rows[2:]
                if row.style != "attribute" and not LINES.search(row.text)}  # fmt: skip
        made: dict[Var, Any] = {}  # how each value within a step comes about
        for i in node.members:
            eq = graph.equations[i]
            inside = tuple(made.get(a) if isinstance(a, Var) else None for a in eq.atoms())
            way = digest_of(eq, cells, graph.consts), inside
            made.update((out, hash((way, n))) for n, out in enumerate(eq.outputs))
        ways = frozenset(Counter(made.values()).items())
        found[node.id] = (node.role, tuple(sorted(node.types)), frozenset(rows), ways)
    return found


def _ordered(drawing: Drawing, steps: Sequence[Node], keys: dict[str, Any]) -> list[Node]:
    """The steps in an order that does not ask when each runs: of those for which all is there, the one whose like was
    seen first. A plan may run what two repeats do on the side at different times."""
    kind: dict[Any, int] = {}
    at = {node.id: (kind.setdefault(keys[node.id], len(kind)), n) for n, node in enumerate(steps)}
    waits = dict.fromkeys(at, 0)
    readers: dict[str, list[str]] = defaultdict(list)
    for edge in drawing.edges:
        if edge.tail in at and edge.head in at and edge.role != "carried":
            waits[edge.head] += 1
            readers[edge.tail].append(edge.head)
    ready = [at[id] for id, number in waits.items() if number == 0]
    heapq.heapify(ready)
    found = []
    while ready:
        node = steps[heapq.heappop(ready)[1]]
        found.append(node)
        for head in readers[node.id]:
            waits[head] -= 1
            if waits[head] == 0:
                heapq.heappush(ready, at[head])
    return found


def _found(drawing: Drawing, steps: Sequence[Node], keys: dict[str, Any]) -> _Run | None:
    """The run that replaces the most boxes."""
    ids: dict[Any, int] = {}
    numbers = [
        ids.setdefault(node.id if node.group is not None else keys[node.id], len(ids)) for node in steps
    ]  # fmt: skip
    candidates = [
        (-period * (times - 1), period, start + late, times)
        for start, period, times, slack in runs(numbers, FEWEST)
        for late in range(slack + 1)
    ]
    place = {node.id: at for at, node in enumerate(steps)}
    into: dict[int, dict[Any, tuple[Row, ...]]] = defaultdict(dict)
    out: dict[int, set[str]] = defaultdict(set)
    for edge in drawing.edges:
        if edge.head in place:
            into[place[edge.head]][place.get(edge.tail, edge.tail)] = edge.rows
        if edge.tail in place:
            out[place[edge.tail]].add(edge.head)
    for _, period, start, repeats in sorted(candidates):
        for first, last in ((0, 0), (1, 0), (0, 1), (1, 1)):
            if repeats - first - last >= FEWEST:
                run = _Run(start + first * period, period, repeats - first - last)
                if _alike(run, into, out, place):
                    return run
    return None


def _alike(run: _Run, into: dict[int, dict[Any, Any]], out: dict[int, set[str]], place: dict[str, int]) -> bool:
    """Whether the repeats are wired alike."""
    for j in range(run.period):
        seen = []
        leaving = []
        for k in range(run.count):
            at = run.start + k * run.period + j
            inside, handed, outside = set(), set(), set()
            for tail, rows in into[at].items():
                where = run.place(tail) if isinstance(tail, int) else None
                if where is None:
                    outside.add(tail)
                elif where[0] == k:
                    inside.add((where[1], rows))
                elif where[0] == k - 1:
                    handed.add(where[1])
                else:
                    return False
            seen.append((inside, handed, outside))
            leaving.append(any(run.place(place.get(head)) is None for head in out[at]))
        # the last may read another box in the place of one: what entered the first repeat of the forward kernels
        ends = seen[-1][1] == seen[1][1] and len(seen[-1][2]) == len(seen[1][2])
        alike = ends and all(later[1:] == seen[1][1:] for later in seen[1:-1])
        if not alike or any(inside != seen[0][0] for inside, _, _ in seen):
            return False
        if not seen[1][2] <= seen[0][2] or (any(leaving[:-1]) and sum(leaving) < run.count - 1):
            return False
    return True


def _folded(drawing: Drawing, graph: Graph, steps: Sequence[Node], run: _Run) -> tuple[Drawing, dict[str, str]]:
    """The drawing in which the boxes of the first repeat stand for all, and for which each does."""
    place = {node.id: at for at, node in enumerate(steps)}
    scope = _scope(graph, steps[run.start : run.start + run.period])
    group = Group(
        f"g{len(drawing.groups)}", clean(f"{steps[run.start].path}..{steps[run.stop - 1].path}", 200),
        (Row("title", _title(graph, steps, run)),), count=run.count,
    )  # fmt: skip
    repeats = [steps[run.start + k * run.period : run.start + (k + 1) * run.period] for k in range(run.count)]
    stands: dict[str, str] = {}
    made: dict[str, Node] = {}
    for alike in zip(*repeats, strict=True):
        first = alike[0]
        stands.update((node.id, first.id) for node in alike)
        made[first.id] = replace(
            first, group=group.id, rows=_rows(first, run.count, scope),
            members=tuple(i for node in alike for i in node.members), tip=f"{first.tip}\nthe first of {run.count}",
        )  # fmt: skip
    nodes = tuple(made.get(node.id, node) for node in drawing.nodes if stands.get(node.id, node.id) == node.id)
    edges: dict[tuple[str, str, str], Edge] = {}
    for edge in drawing.edges:
        ends = run.place(place.get(edge.tail)), run.place(place.get(edge.head))
        role = edge.role
        if ends[0] is not None and ends[1] is not None and ends[0][0] != ends[1][0]:
            edge = replace(edge, role="carried", rows=(Row("detail", f"x{run.count}"),))
        tail, head, role = stands.get(edge.tail, edge.tail), stands.get(edge.head, edge.head), edge.role
        known = edges.get((tail, head, role))
        if known is None:
            edges[tail, head, role] = replace(edge, tail=tail, head=head)
        else:
            edges[tail, head, role] = replace(known, rows=tuple(dict.fromkeys((*known.rows, *edge.rows))))
    return replace(drawing, nodes=nodes, edges=tuple(edges.values()), groups=(*drawing.groups, group)), stands


def _updates(drawing: Drawing, graph: Graph, apart: frozenset[str]) -> tuple[Drawing, dict[str, str]]:
    """The drawing in which one box stands for all updates of an optimiser by one kernel; and for which each does."""
    read = {edge.tail for edge in drawing.edges}
    alike: dict[Any, list[Node]] = defaultdict(list)
    for node in drawing.nodes:
        calls = [graph.equations[i].call for i in node.members]
        owners = {call.path for call in calls if call is not None and call.kind == "optimizer"}
        if node.role == "kernel" and node.id not in read | apart and len(owners) == 1 and None not in calls:
            ops = {graph.equations[i].op for i in node.members}
            alike[node.title, owners.pop(), frozenset(ops)].append(node)
    repeats = drawing.repeats
    cells = {cell.var: cell.kind for cell in graph.cells}
    kinds = {write.value: cells[write.cell] for write in graph.writes}
    stands: dict[str, str] = {}
    made: dict[str, Node] = {}
    for nodes in alike.values():
        members = tuple(i for node in nodes for i in node.members)
        if len(nodes) < FEWEST:
            continue
        last = nodes[-1]  # behind all that they read
        stands.update((node.id, last.id) for node in nodes)
        number = sum(repeats[node.group] for node in nodes)
        written = Counter(kinds[out] for i in members for out in graph.equations[i].outputs if out in kinds)
        said = [count(written[kind], kind) for kind in ("parameter", "buffer") if written[kind]]
        rows = [Row("title", f"{last.title} x{number}"), *[row for row in last.rows if row.style == "detail"][:2]]
        call = graph.equations[members[0]].call
        if written["parameter"] == number and call is not None:
            names = " ".join(dict.fromkeys(graph.equations[i].op.name for i in members))
            lines = [row for row in rows[1:] if LINES.search(row.text)]
            title = Row("title", f"{clean(call.name)} x{number} parameters")
            rows = [title, Row("detail", clean(f"{last.title}: {names}")), *lines]
        if said:
            rows.append(Row("write", f"writes {' + '.join(said)}"))
        tip = f"{last.tip}\nthe last of {number}"
        made[last.id] = replace(last, rows=tuple(rows), members=members, group=None, types=(), tip=tip)
    kept = tuple(made.get(node.id, node) for node in drawing.nodes if stands.get(node.id, node.id) == node.id)
    edges: dict[tuple[str, str, str], Edge] = {}
    for edge in drawing.edges:
        head = stands.get(edge.head, edge.head)
        edges.setdefault((edge.tail, head, edge.role), replace(edge, head=head, rows=() if head in made else edge.rows))
    used = {node.group for node in kept}
    groups = tuple(group for group in drawing.groups if group.id in used)
    return replace(drawing, nodes=kept, edges=tuple(edges.values()), groups=groups), stands


def _rows(node: Node, repeats: int, scope: str) -> tuple[Row, ...]:
    """The rows of a box that stands for several: where its results lie is another place in each, and parameters have
    the names that they have in all."""
    found = []
    for row in node.rows:
        numbers = NUMBERED.findall(row.text) if row.style == "write" else []
        if numbers:
            total = repeats * sum(int(number.replace(",", "")) for number in numbers)
            row = replace(row, text=times(row.text, repeats, f"{total:,}"))
        if row.style != "attribute":
            cell = row.style in ("parameter", "buffer") and scope
            found.append(replace(row, text=row.text.removeprefix(f"{scope}.")) if cell else row)
    return tuple(found)


def _scope(graph: Graph, steps: Sequence[Node]) -> str:
    """The innermost module that holds all that these steps compute."""
    return scope_of(graph, (i for node in steps for i in node.members))


def _title(graph: Graph, steps: Sequence[Node], run: _Run) -> str:
    """``Block blocks.0 ... 11 x12`` where repeats are modules, ``grad blocks.11 to 10 ... 1 to 0 x11`` where each is of
    several, ``for t in range(20)`` where they are turns of a loop of the text, else their number."""
    repeats = [
        [i for node in steps[at : at + run.period] for i in node.members]
        for at in range(run.start, run.stop, run.period)
    ]
    sign = "grad " if all(graph.equations[i].origin is not None for part in repeats for i in part) else ""
    every = [scope_of(graph, part) for part in repeats]
    if every[0] and every[-1] and every[0] != every[-1]:
        return clean(sign + spanning(every[0], every[-1], run.count, {graph.modules.get(scope) for scope in every}))
    inner = []
    for part in repeats:
        names = dict.fromkeys(_numbered(graph.equations[i].scope) for i in part)
        inner.append([name for name in names if name])
    if len(set(map(len, inner))) > 1:  # the last one ends elsewhere
        inner = [names[:1] for names in inner]
    if inner[0] and all(map(_apart, inner, inner[1:])):
        return clean(sign + spanning(_span(inner[0]), _span(inner[-1]), run.count, {None}))
    loop = _loop(graph, repeats)
    if loop is not None:
        assert isinstance(loop.of, Repetition)
        return clean(sign + heading(loop) + ("" if loop.of.count == run.count else f", x{run.count}"))
    return f"{sign}x{run.count}"


def _numbered(scope: str) -> str:
    """The outermost of several that a scope is in: ``blocks.11`` of ``blocks.11.attention.qkv``."""
    parts = scope.split(".")
    return ".".join(parts[: next((n for n, part in enumerate(parts, 1) if part.isdigit()), 0)])


def _span(names: Sequence[str]) -> str:
    """``blocks.11 to 10``"""
    first, last = names[0], names[-1]
    base = first.rpartition(".")[0]
    return first if first == last else f"{first} to {last.removeprefix(f'{base}.')}"


def _apart(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two repeats are of as many modules, and at no place of the same."""
    return len(one) == len(other) and all(a != b for a, b in zip(one, other, strict=True))


def _loop(graph: Graph, repeats: Sequence[Sequence[int]]) -> Occurrence | None:
    """The loop of the text of which each repeat, or what it is the gradient of, is another turn; the innermost."""
    position = graph.index.position
    most = any(
        graph.equations[i].origin is not None for i in repeats[0]
    )  # the turns of a gradient's repeat begin anywhere
    places: list[set[int]] = []
    for part in repeats:
        origins = (graph.equations[i].origin for i in part)
        found = (i if of is None else position.get(of.of) for i, of in zip(part, origins, strict=True))
        places.append({i for i in found if i is not None})
    for loop in loops_of(graph):
        turns = [{bisect_right(loop.turns, i) if loop.start <= i < loop.stop else 0 for i in part} for part in places]
        if all(turns) and min(map(min, turns)) > 0:
            firsts = [min(part) for part in turns]
            if len(set(firsts)) == len(firsts) and max(max(part) - min(part) for part in turns) <= most:
                return loop
    return None


def scope_of(graph: Graph, equations: Iterable[int]) -> str:
    """The innermost module that holds all of these equations."""
    scopes = [graph.equations[i].scope.split(".") for i in equations]
    shared: list[str] = []
    for parts in zip(*scopes, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)

"""What a training step does with its gradients, grouped by the box whose parameters it writes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tensorgraph.graph.graph import Graph, Var
from tensorgraph.viz.model.budget import FORWARD, MOST_STUBS, stubs
from tensorgraph.viz.model.drawing import Edge, Node, Row
from tensorgraph.viz.model.functions import calls_by_path
from tensorgraph.viz.model.labels import clean, count
from tensorgraph.viz.model.mirror import Pass
from tensorgraph.viz.model.view import Box

__all__ = ["Updates", "apart", "forward_part", "named_across", "sides_of", "updates_of"]

# owner (a forward box and which repeat; None: several) and how many mixings of gradients came before
Key = tuple[Any, int]
SETTINGS = "settings"


@dataclass(slots=True)
class Updates:
    """Boxes of what is written, and for each the position of the forward box that it stands beside (None: no single
    one). The first `sides` of them are of the forward part."""

    graph: Graph
    boxes: list[Box]
    beside: list[int | None]
    sides: int = 0

    def add_sides(self, sides: Sequence[tuple[Box, int]]) -> None:
        """Boxes of the forward part that only write; those of one owner are one."""
        groups: dict[int, list[Box]] = defaultdict(list)
        for box, b in sides:
            groups[b].append(box)
        joined = []
        for b, boxes in groups.items():
            repeats = [[i for box in alike for i in box.equations] for alike in zip(*[(x, *x.others) for x in boxes])]
            first, *others = [Box("side", boxes[0].scope, tuple(sorted(repeat))) for repeat in repeats]
            joined.append((replace(first, others=tuple(others), fold=boxes[0].fold), b))
        self.boxes[:0] = [box for box, _ in joined]
        self.beside[:0] = [b for _, b in joined]
        self.sides = len(joined)

    def gather(self) -> None:
        """All that one optimiser does as one box, whosever parameters it writes, where that reads nothing that it
        leads to itself."""
        groups: list[tuple[str, list[int]]] = []
        made: dict[Var, int] = {}
        for box in self.boxes:
            scope = self.graph.equations[box.equations[0]].scope or ""
            equations = [self.graph.equations[i] for i in box.members]
            latest = max((made.get(a, 0) for eq in equations for a in eq.atoms() if isinstance(a, Var)), default=0)
            at = next((n for n in range(len(groups) - 1, latest - 1, -1) if groups[n][0] == scope), len(groups))
            if at == len(groups):
                groups.append((scope, []))
            groups[at][1].extend(box.members)
            made.update((out, at) for eq in equations for out in eq.outputs)
        self.boxes = [Box("update", scope, tuple(sorted(members))) for scope, members in groups]
        self.beside = [None] * len(self.boxes)

    def title(self, n: int) -> str:
        """``adam_update x2``; what is written by hand is an ``update``, or goes by the name of its module."""
        ops = Counter(self.graph.equations[i].op for i in self.boxes[n].equations)
        said = Counter({op: times for op, times in ops.items() if "identity" not in op.traits}) or ops
        (op, times), *rest = said.most_common()
        if self.beside[n] is None and self.boxes[n].scope:
            call = calls_by_path(self.graph).get(self.boxes[n].scope)
            return self.boxes[n].scope if call is None else f"{call.name} {self.boxes[n].scope}"
        written = {write.value for write in self.graph.writes}
        writes = any(out in written for i in self.boxes[n].members for out in self.graph.equations[i].outputs)
        if rest or (writes and not ("update" in op.traits or times == 1)):
            return "update" if n >= self.sides else "write"
        return op.name if times == 1 else f"{op.name} x{times}"


def forward_part(graph: Graph, passes: Sequence[Pass]) -> tuple[list[int], list[int]]:
    """Positions of the equations that lead to the gradients or do not depend on them, and of those that follow.

    What follows but neither reads a gradient nor anything of the forward pass, as a count that goes up, is an update.
    """
    deferred = {i for one in passes for i in one.own}
    if not deferred:
        return list(range(len(graph.equations))), []
    leads: set[Var] = {y for one in passes for y in one.ys}
    forward: set[int] = set()
    for i in range(len(graph.equations) - 1, -1, -1):
        eq = graph.equations[i]
        if i not in deferred and not leads.isdisjoint(eq.outputs):
            forward.add(i)
            leads.update(a for a in eq.atoms() if isinstance(a, Var))
    first = min(deferred)
    gradient: set[Var] = set()
    live = set(graph.inputs)  # depends on the data
    after: list[int] = []
    for i, eq in enumerate(graph.equations):
        inputs = [a for a in eq.atoms() if isinstance(a, Var)]
        if any(a in live for a in inputs):
            live.update(eq.outputs)
        if i in deferred:
            gradient.update(eq.outputs)
        elif i not in forward:
            follows = any(a in gradient for a in inputs)
            if follows:
                gradient.update(eq.outputs)
            if follows or (i > first and not any(a in live for a in inputs)):
                after.append(i)
                if not follows:
                    gradient.difference_update(eq.outputs)
                continue
            forward.add(i)
    return sorted(forward), after


def apart(boxes: Sequence[Box], sides: dict[int, int]) -> tuple[list[Box], list[tuple[Box, int]]]:
    """The boxes that lead on, and those beside them with the positions of their owners."""
    kept = [box for box in boxes if box.equations[0] not in sides]
    owner = {i: b for b, box in enumerate(kept) for i in box.members}
    found = [(replace(box, kind="side"), owner.get(sides[box.equations[0]], -1)) for box in boxes if box not in kept]
    if any(b < 0 for _, b in found):
        return list(boxes), []
    return kept, found


def sides_of(graph: Graph, forward: Sequence[int], passes: Sequence[Pass]) -> dict[int, int]:
    """Equations of the forward part that only write, such as running averages, and the one equation that they follow.

    They stand beside it, so that what leads to the loss is one straight column.
    """
    leads: set[Var] = {y for one in passes for y in one.ys}.union(v for v in graph.outputs if isinstance(v, Var))
    made: dict[Var, int] = {}
    written = {write.value for write in graph.writes if isinstance(write.value, Var)}
    dead = []
    for i in reversed(forward):
        eq = graph.equations[i]
        if leads.isdisjoint(eq.outputs):
            if not written.isdisjoint(eq.outputs):  # what is used for nothing at all is an op like any other
                dead.append(i)
                written.update(a for a in eq.atoms() if isinstance(a, Var))
        else:
            leads.update(a for a in eq.atoms() if isinstance(a, Var))
    for i in forward:
        for out in graph.equations[i].outputs:
            made[out] = i
    beside: dict[int, int] = {}
    loose: list[int] = []
    for i in reversed(dead):
        sources = {made[a] for a in graph.equations[i].atoms() if isinstance(a, Var) and a in made}
        owners = {beside.get(j, j) for j in sources if j not in loose}
        if len(owners) == 1:
            beside[i] = owners.pop()
        elif not owners:
            loose.append(i)  # of cells alone: it goes with who uses it
    users: dict[int, set[int]] = defaultdict(set)
    for i in dead:
        for a in graph.equations[i].atoms():
            if isinstance(a, Var) and a in made:
                users[made[a]].add(i)
    for i in reversed(loose):
        owners = {beside.get(j, -1) for j in users[i]}
        if len(owners) == 1 and -1 not in owners:
            beside[i] = owners.pop()
    return {i: j for i, j in sorted(beside.items()) if _all_beside(i, users, beside)}


def _all_beside(i: int, users: dict[int, set[int]], beside: dict[int, int]) -> bool:
    return all(beside.get(j) == beside[i] for j in users[i])


def updates_of(graph: Graph, boxes: Sequence[Box], passes: Sequence[Pass], after: Sequence[int]) -> Updates:
    """The equations that follow the gradients, as boxes; those of the repeats of a template stand for each other."""
    # The plan:
    # 1. the owner of a value is the box whose parameter it is made for, its stage the number of values of other owners
    #    on the way: both begin at the gradients;
    # 2. they travel along the equations that follow: of one owner it stays with it, of several it belongs to all and
    #    begins a stage, of none it is a setting;
    # 3. what only serves one box is claimed for it;
    # 4. equations of one owner and stage are one box, and the repeats of a template one together.
    box_of = {
        i: (b, n)
        for b, box in enumerate(boxes)
        for n, repeat in enumerate((box, *box.others))
        for i in repeat.equations
    }
    owner: dict[Var, Any] = {}
    stage: dict[Var, int] = {}
    for one in passes:
        for i, given in one.gives.items():
            for var in given:
                owner.setdefault(var, box_of.get(i))
    cells = {cell.var for cell in graph.cells}
    for one in passes:
        for i, part in one.written.items():
            for out in (out for j in part for out in graph.equations[j].outputs):
                owner[out], stage[out] = box_of.get(i), 0
        if one.at is None:
            continue
        eq = graph.equations[one.at]
        xs = eq.inputs[1] if isinstance(eq.inputs[1], tuple) else (eq.inputs[1],)
        for x, out in zip(xs, eq.outputs, strict=True):
            owner[out] = owner.get(x) if isinstance(x, Var) else None
            stage[out] = 0
    key: dict[int, Key] = {}
    for i in after:
        eq = graph.equations[i]
        inputs = [a for a in eq.atoms() if isinstance(a, Var)]
        owners = {owner[a] for a in inputs if (a in stage or a in cells) and owner.get(a) is not None}
        stages = [stage[a] + (owner.get(a) is not None) for a in inputs if a in stage]
        if not stages:
            key[i] = (SETTINGS, 0)
            continue
        if len(owners) == 1:
            at = max(stage[a] for a in inputs if a in stage)
            key[i] = (next(iter(owners)), at)
        else:
            at = max(stages)
            key[i] = (None, at)
        for out in eq.outputs:
            owner[out], stage[out] = key[i]
    _claim(graph, after, key)
    groups: dict[tuple[Any, int, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i in after:
        who, at = key[i]
        b, n = who if isinstance(who, tuple) else (who, 0)
        scope = "" if isinstance(b, int) else graph.equations[i].scope or ""  # settings of two optimisers are two boxes
        groups[b, at, scope][n].append(i)

    def place(k: tuple[Any, int, str]) -> tuple[Any, ...]:
        return (k[0] != SETTINGS, k[1], k[0] is not None, k[0] if isinstance(k[0], int) else 0)

    found = Updates(graph, [], [])
    for k in sorted(groups, key=place):
        b = k[0] if isinstance(k[0], int) else None
        found.boxes.append(_box(graph, [groups[k][n] for n in sorted(groups[k])], None if b is None else boxes[b]))
        found.beside.append(b)
    return found


def _box(graph: Graph, repeats: list[list[int]], owner: Box | None) -> Box:
    """One box for what is done in every repeat of a template, where that is the same."""
    scopes = [graph.equations[repeat[0]].scope or "" for repeat in repeats]
    alike = {tuple(graph.equations[i].op.name for i in repeat) for repeat in repeats}
    if owner is not None and len(alike) == 1 and len(repeats) == 1 + len(owner.others):
        first, *others = [Box("update", s, tuple(repeat)) for s, repeat in zip(scopes, repeats, strict=True)]
        return replace(first, others=tuple(others), fold=owner.fold)
    return Box("update", scopes[0], tuple(sorted(i for repeat in repeats for i in repeat)))


def named_across(nodes: Sequence[Node], edges: Sequence[Edge]) -> tuple[list[Node], tuple[Edge, ...]]:
    """What flows from gradients to other rows, as where all are clipped together, by name instead of as lines: these
    would cross the columns."""
    at = {node.id: node for node in nodes}
    row = {node.id: node.twin or node.id for node in nodes}
    across = {
        i
        for i, e in enumerate(edges)
        if row[e.tail] != row[e.head]
        and not e.cut
        and (
            (at[e.head].role == "update" and at[e.tail].role in ("gradient", "update", "input"))
            or (at[e.head].role in FORWARD and at[e.tail].role == "gradient" and at[e.tail].twin)
        )
    }
    coming: dict[str, dict[str, None]] = defaultdict(dict)
    for i in sorted(across):
        coming[edges[i].head][edges[i].tail] = None
    made = []
    for node in nodes:
        tails = [at[tail] for tail in coming.get(node.id, ())]
        many = [tail for tail in tails if tail.role == "gradient"] if len(tails) > MOST_STUBS else []
        rows = [Row("stub", f"<- {count(len(many), 'gradient')}")] if many else []
        rows += stubs([shown(tail) for tail in tails if tail not in many], 0)
        made.append(replace(node, rows=(*node.rows, *rows)))
    return made, tuple(replace(e, cut=True, rows=()) if i in across else e for i, e in enumerate(edges))


def shown(node: Node) -> str:
    """A box by what can be read in it: of several updates that are called after one optimiser the ops too."""
    details = [row.text for row in node.rows if row.style == "detail"]
    again = node.role == "update" and "#" in node.path
    if node.role == "gradient":
        return node.title
    return " ".join([node.title, *details[:1]]) if again else clean(node.path)


def _claim(graph: Graph, after: Sequence[int], key: dict[int, Key]) -> None:
    """What reads no gradient and is used by one update alone belongs to it: the decayed average of momentum."""
    users: dict[Var, set[Key]] = defaultdict(set)
    written = {w.value for w in graph.writes} | set(graph.outputs)
    for i in reversed(after):
        eq = graph.equations[i]
        if key[i] == (SETTINGS, 0) and not any(out in written for out in eq.outputs):
            mine = set().union(*[users[out] for out in eq.outputs])
            if len(mine) == 1:
                key[i] = mine.pop()
        for a in eq.atoms():
            if isinstance(a, Var):
                users[a].add(key[i])

"""Ops that belong to no module of their own, joined where a drawing has many boxes: views first, then long runs.

Nothing is joined in a drawing of few boxes. Reshapes and the like join with those they follow, and so alike in equal
branches; only then do runs of what computes become one box, which is named by its heaviest ops.

What the text says once for each parameter is one box in any drawing: the updates of an optimiser, ``adam_update x8``,
and an op of a comprehension over values of several shapes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import dropwhile, groupby, pairwise

from tensorgraph.analysis.counting import Counter as Counting
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.graph.statements import Repetition
from tensorgraph.viz.model.view import Box

__all__ = ["FEW", "MOST_JOINS", "heaviest", "joined", "mapped", "weight"]

FEW = 30  # boxes below which all ops are drawn
MOST_JOINS = 3  # see `joined`
GLUE = 8  # more consecutive ops than this become one box


def mapped(graph: Graph, boxes: list[Box], loops: Sequence[Occurrence]) -> list[Box]:
    """The ops of a loop that hands nothing from turn to turn joined, each with its like in the other turns, where it is
    an optimiser's or goes over values of several shapes."""
    at = {box.equations[0]: b for b, box in enumerate(boxes) if box.kind == "op" and not box.others}
    found: list[Box | None] = list(boxes)
    for loop in loops:
        assert isinstance(loop.of, Repetition)
        turns = [range(a, b) for a, b in pairwise((*loop.turns, loop.stop))]
        if loop.of.carried or len({len(turn) for turn in turns}) > 1 or any(i not in at for t in turns for i in t):
            continue
        alike = [[graph.equations[i] for i in members] for members in zip(*turns, strict=True)]
        if any(len({eq.op for eq in eqs}) > 1 for eqs in alike) or not any(map(_varies, alike)):
            continue
        for members in zip(*turns, strict=True):
            first = boxes[at[members[0]]]
            found[at[members[0]]] = replace(first, kind="ops", equations=tuple(members))
            for i in members[1:]:
                found[at[i]] = None
    return [box for box in found if box is not None]


def _varies(equations: Sequence[Equation]) -> bool:
    """Whether the like of an op in other turns are of other shapes, or all are an optimiser's."""
    updates = all(eq.call is not None and eq.call.kind == "optimizer" for eq in equations)
    return updates or len({tuple(out.aval for out in eq.outputs) for eq in equations}) > 1


def joined(
    graph: Graph, boxes: list[Box], view: Callable[[list[Box]], list[Box]], turns: Sequence[int] = (), tight: int = 0
) -> list[Box]:
    """The `view` of these boxes (such as their templates), with as few joined as it takes to have few.

    Equations to which `turns` gives different numbers are of no one run. `tight` joins more, however few there are: 1
    views, with what is done to them alone; 2 what is done one after another; 3 short runs too.
    """
    if tight:
        every = turns or [-1] * len(graph.equations)
        boxes = _chains(graph, _views(graph, boxes, every), every, tight == 1)
        found = view(boxes)
        return view(_runs(graph, boxes, every, 2)) if tight == 3 or len(found) > FEW else found
    found = view(boxes)
    for join in (_views, _runs):
        if len(found) <= FEW:
            break
        boxes = join(graph, boxes, turns or [-1] * len(graph.equations))
        found = view(boxes)
    return found


def is_view(eq: Equation) -> bool:
    """Whether an op gives all elements of its one input in another shape or order."""
    traits = eq.op.traits
    return "view" in traits and not traits & {"gathers", "identity"} and len(eq.outputs) == 1


def _views(graph: Graph, boxes: Sequence[Box], _: Sequence[int]) -> list[Box]:
    """Each view joined with the one that it is of, where nobody else reads that."""
    at = {box.equations[0]: b for b, box in enumerate(boxes) if box.kind == "op" and len(box.equations) == 1}
    users, made, results = graph.index.users, graph.index.position, graph.index.results
    head: dict[int, int] = {}  # the first equation of the chain that one is in
    chains: dict[int, list[int]] = defaultdict(list)
    for i, b in sorted(at.items()):
        eq = graph.equations[i]
        if not is_view(eq):
            continue
        source = eq.inputs[0] if isinstance(eq.inputs[0], Var) else None
        before = made.get(source, -1) if source is not None else -1
        follows = before in head and len(users.get(source, ())) == 1 and source not in results  # type: ignore[arg-type]
        follows = follows and replace(boxes[at[before]], equations=()) == replace(boxes[b], equations=())
        head[i] = head[before] if follows else i
        chains[head[i]].append(i)
    return [
        replace(box, kind="ops", equations=tuple(chains[i])) if len(chains.get(i, ())) > 1 else box
        for box in boxes
        for i in box.equations[:1]
        if head.get(i, i) == i or box.kind != "op"
    ]


def _chains(graph: Graph, boxes: Sequence[Box], turns: Sequence[int], views: bool) -> list[Box]:
    """Each op joined with the one that alone reads it, and reads nothing else that an op gives: ``sigmoid`` of a part,
    ``negative, softplus, mean``; with `views`, only where the first gives all or a part of a value in another shape.

    In a loop, what is joined in every turn.
    """
    cells = {cell.var for cell in graph.cells}
    loose = {box.equations[-1]: box for box in boxes if box.kind in ("op", "ops") and not box.others}
    pairs: dict[int, int] = {}  # the last equation of a box, by the first one of the box that alone reads it
    for box in loose.values():
        here = graph.equations[box.equations[0]]
        read = {a for a in here.atoms() if isinstance(a, Var) and (a in graph.index.position or a in cells)}
        before = loose.get(graph.index.position.get(next(iter(read)), -1)) if len(read) == 1 else None
        if before is None or (before.scope, before.call) != (box.scope, box.call):
            continue
        last = graph.equations[before.equations[-1]]
        if len(graph.index.readers(last.outputs[0])) > 1 or not graph.index.results.isdisjoint(last.outputs):
            continue
        if len(last.outputs) > 1 or last.is_gradient != here.is_gradient:
            continue
        if any((views and "view" not in eq.op.traits) or not cells.isdisjoint(eq.variables())
               for eq in (graph.equations[i] for i in before.equations)):  # fmt: skip
            continue
        pairs[box.equations[0]] = before.equations[-1]
    pairs = _alike(pairs, turns)
    found: dict[int, Box] = {}  # by its last equation
    for box in boxes:
        before = found.pop(pairs[box.equations[0]], None) if box.equations[0] in pairs else None
        if before is not None:
            box = replace(box, kind="ops", equations=(*before.equations, *box.equations))
        found[box.equations[-1]] = box
    return list(found.values())


def _alike(pairs: dict[int, int], turns: Sequence[int]) -> dict[int, int]:
    """Those of these pairs that are of one turn of a loop, and of every other turn too."""
    lengths = Counter(turns)
    loops = Counter(length for turn, length in lengths.items() if turn >= 0)  # how many turns are so long

    def place(i: int, j: int) -> tuple[int, int, int]:
        return i - turns[i], j - turns[i], lengths[turns[i]]

    times = Counter(place(i, j) for i, j in pairs.items())
    return {
        i: j for i, j in pairs.items()
        if turns[i] == turns[j] and (turns[i] < 0 or times[place(i, j)] == loops[lengths[turns[i]]])
    }  # fmt: skip


def _runs(graph: Graph, boxes: Sequence[Box], turns: Sequence[int], glue: int = GLUE) -> list[Box]:
    """Runs of more than `glue` ops as one box each, from the first that is no view."""
    found: list[Box] = []

    def looks(box: Box) -> bool:
        return all(is_view(graph.equations[i]) for i in box.equations)

    for (loose, scope, *_), run in groupby(boxes, lambda box: (*_place(graph, box), turns[box.equations[0]])):
        members = list(run)
        core = list(dropwhile(looks, members))
        equations = sorted(i for box in core for i in box.equations)
        if not loose or len(equations) <= glue or len(core) < 2:
            found += members
            continue
        found += [*members[: len(members) - len(core)], Box("ops", scope, tuple(equations), call=members[0].call)]
    return found


def _place(graph: Graph, box: Box) -> tuple[bool, str, bool, int]:
    """What must be equal for ops to be of one run: that they are ops at all, their module, whether of a gradient."""
    loose = box.kind in ("op", "ops") and not box.others
    return loose, box.scope, graph.equations[box.equations[0]].origin is None, box.call


def heaviest(graph: Graph, equations: Sequence[int], most: int = 3) -> str:
    """The ops of a box, those that compute most first: ``matmul x2, softmax``."""
    counts: Counter[str] = Counter()
    weights: dict[str, float] = defaultdict(float)
    counting = Counting({})
    for i in equations:
        eq = graph.equations[i]
        counts[eq.op.name] += 1
        weights[eq.op.name] += weight(counting, eq)
    first = sorted(counts, key=lambda name: -weights[name])  # stable: ties in order of appearance
    shown = [name if counts[name] == 1 else f"{name} x{counts[name]}" for name in first[:most]]
    return ", ".join(shown) + (", ..." if len(first) > most else "")


def weight(counting: Counting, eq: Equation) -> float:
    """How much an equation computes; of an op that does not say, one for each element that it gives."""
    if "moves" in eq.op.traits or eq.is_gradient:
        return 0.0
    try:
        return float(counting.flops(eq))
    except Exception:  # an op of which little more than the name is known
        return float(sum(out.aval.size for out in eq.outputs))

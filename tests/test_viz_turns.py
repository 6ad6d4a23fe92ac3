"""What a picture says of repeats holds in each of them: which one reads of which, straight or through a point."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise, product
from typing import Any

import pytest
from effort import examples
from hypothesis import given
from large_programs import PROGRAMS
from test_viz_entries import loops
from test_viz_formats import check_edges, check_formats

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.graph.graph import Graph, Var
from tensorgraph.viz import Drawing, draw

f32 = tg.f32


class Reading:
    """A drawing as a reader takes it: (box, repeat) pairs, a repeat being a number for each template around the box."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        by_id = {group.id: group for group in drawing.groups}
        self.sizes: dict[str, list[int]] = {}
        self.around: dict[str, list[str]] = {}  # the templates, outermost first
        for node in drawing.nodes:
            found, group = [], node.group
            while group is not None:
                found += [group] if by_id[group].count > 1 else []
                group = by_id[group].parent
            self.around[node.id] = found[::-1]
            self.sizes[node.id] = [by_id[group].count for group in self.around[node.id]]
        self.into: dict[str, list[Any]] = defaultdict(list)
        for edge in drawing.edges:
            self.into[edge.head].append(edge)

    def turns(self, box: str) -> list[tuple[int, ...]]:
        return list(product(*map(range, self.sizes[box])))

    def shared(self, one: str, other: str) -> int:
        return sum(a == b for a, b in zip(self.around[one], self.around[other], strict=False))

    def places(self) -> dict[int, tuple[str, tuple[int, ...]]]:
        """Where each equation stands."""
        found = {}
        for node in self.drawing.nodes:
            turns = self.turns(node.id)
            each, rest = divmod(len(node.members), len(turns))
            assert rest == 0, node.path
            found.update({i: (node.id, turns[n // each]) for n, i in enumerate(node.members)})
        return found

    def named(self, words: str, sizes: list[int]) -> tuple[int, ...]:
        """The repeat that is named ``the 3rd``, ``the last, there the first``."""
        ends = {"first": 0, "last": -1}
        names = [ends[w] if w in ends else int(w[:-2]) - 1 for w in words.removeprefix("the ").split(", there the ")]
        return tuple(n % size for n, size in zip(names + [-1] * (len(sizes) - len(names)), sizes, strict=True))

    def leaving(self, edge: Any, depth: int, flows: set[Any]) -> set[tuple[int, ...]]:
        """The repeats of a line's tail, within what its ends share, that it leads out of."""
        sizes = self.sizes[edge.tail][depth:]
        last = tuple(size - 1 for size in sizes)
        said = [row.text for row in edge.rows if re.match(r"all \d|the |\d+ of ", row.text)]
        if not said or not sizes:
            return {last}
        if said[0].startswith("the "):
            return {self.named(said[0], sizes)}
        number = int(re.search(r"\d+", said[0])[0])
        if said[0].startswith("all "):
            return {turn for turn in product(*map(range, sizes)) if number > sizes[0] or turn[1:] == last[1:]}
        seen = {turn[depth:] for turn, _ in flows}
        assert len(seen) == number
        return seen

    def sources(self, box: str, turn: tuple[int, ...], flows: dict[Any, set[Any]]) -> set[Any]:
        """What a box reads in a repeat, as the picture says: (box, repeat)."""
        found: set[Any] = set()
        for edge in self.into[box]:
            if edge.tail in self.drawing.points:
                found |= self.through(edge.tail, turn, flows)
            else:
                found |= self.straight(edge, turn, turn, flows[edge.tail, box])
        return found

    def straight(self, edge: Any, turn: tuple[int, ...], reader: tuple[int, ...], flows: set[Any]) -> set[Any]:
        depth = min(self.shared(edge.tail, edge.head), len(turn))
        each = [row.text for row in edge.rows if " each" in row.text]
        if each and len(self.sizes[edge.tail]) > depth:
            readers = Counter(head for _, head in flows)
            assert {f"{'one' if n == 1 else n} each" for n in readers.values()} >= {each[0].partition(",")[0]}
            back = all(a > b for (_, a), (_, b) in pairwise(sorted((head, tail) for tail, head in flows)))
            assert ("last first" in each[0]) == (back and len(flows) > 1)
            return {(edge.tail, tail) for tail, head in flows if head == reader}
        return {(edge.tail, turn[:depth] + rest) for rest in self.leaving(edge, depth, flows)}

    def through(self, point: str, turn: tuple[int, ...], flows: dict[Any, set[Any]]) -> set[Any]:
        """What stands at a point in a repeat: what comes from outside in the first, else from the repeat before."""
        level = len(self.around[point]) - 1
        first = turn[level] == 0
        turn = turn[:level] if first else (*turn[:level], turn[level] - 1)
        found: set[Any] = set()
        for edge in self.into[point]:
            if (edge.role == "carried") == first:
                continue
            if edge.tail in self.drawing.points:
                found |= self.through(edge.tail, turn, flows)
            else:
                between = {(tail, head) for (a, _), pairs in flows.items() if a == edge.tail for tail, head in pairs}
                found |= self.straight(edge, turn, turn, between)
        return found


def check_turns(graph: Graph, drawing: Drawing) -> None:
    """Each repeat of each box reads what the picture says, and nothing else."""
    reading = Reading(drawing)
    place = reading.places()
    made = {v: place[i] for i, eq in enumerate(graph.equations) for v in eq.outputs}
    made.update(zip(graph.inputs, ((n.id, ()) for n in drawing.nodes if n.role == "input"), strict=True))
    flows: dict[Any, set[Any]] = defaultdict(set)
    ends = [(a, place[i]) for i, eq in enumerate(graph.equations) for a in eq.atoms()]
    results = [(node.id, ()) for node in drawing.nodes if node.role == "output"]
    ends += list(zip(graph.outputs, results, strict=True))
    read: dict[Any, set[Any]] = defaultdict(set)
    for atom, (head, turn) in ends:
        if isinstance(atom, Var) and atom in made and made[atom] != (head, turn):
            flows[made[atom][0], head].add((made[atom][1], turn))
            read[head, turn].add(made[atom])
    paths = {node.id: node.path for node in drawing.nodes}
    for node in drawing.nodes:
        for turn in reading.turns(node.id) if node.id not in drawing.points else ():
            said, so = reading.sources(node.id, turn, flows), read[node.id, turn]
            wrong = [(paths[box], at, "said" if (box, at) in said else "so") for box, at in said ^ so]
            assert not wrong, (node.path, turn, wrong)


class Stages(nn.Module):
    """Layers, and layers that read what these gave: in their order, in the other, or all of them the last."""

    def __init__(self, reads: str) -> None:
        self.reads = reads
        self.down = [nn.Linear(4, 4, seed=n) for n in range(5)]
        self.up = [nn.Linear(8, 4, seed=n) for n in range(5)]

    def forward(self, x: Any) -> Any:
        made = []
        for layer in self.down:
            x = tg.relu(layer(x))
            made.append(x)
        made = {"order": made, "back": made[::-1], "last": [x] * 5}[self.reads]
        for layer, other in zip(self.up, made, strict=True):
            x = tg.relu(layer(tg.concat([x, other], axis=1)))
        return x


class Heads(nn.Module):
    """Every layer has a result of its own."""

    def __init__(self) -> None:
        self.layers = [nn.Linear(4, 4, seed=n) for n in range(5)]
        self.heads = [nn.Linear(4, 2, seed=n) for n in range(5)]

    def forward(self, x: Any) -> Any:
        found = []
        for layer, head in zip(self.layers, self.heads, strict=True):
            x = tg.relu(layer(x))
            found.append(head(x))
        return tuple(found)


def some(*wanted: int):
    """A recurrence of which some states are read."""

    def f(x: Any, w: Any) -> Any:
        states = []
        for _ in range(9):
            x = tg.exp(-(tg.tanh(x @ w) + x))
            states.append(x)
        return tg.tanh(states[wanted[0]]) * sum((states[n] for n in wanted[1:]), 0.0)

    return tg.trace(f, f32[2, 4], f32[4, 4])


def nested(gradient: bool) -> Graph:
    def f(xs: Any, w: Any) -> Any:
        found = []
        for t in range(4):
            h = xs[t]
            for _ in range(4):
                h = tg.tanh(h @ w) * 2.0 + xs[t]
            found.append(h)
        return tg.stack(found).sum()

    made = tg.trace(tg.grad(f, argnums=1) if gradient else f, f32[4, 2, 4], f32[4, 4])
    return made.differentiate() if gradient else made


OTHERS = {
    "stages, order": lambda: tg.trace(Stages("order"), f32[2, 4]),
    "stages, back": lambda: tg.trace(Stages("back"), f32[2, 4]),
    "stages, last": lambda: tg.trace(Stages("last"), f32[2, 4]),
    "heads": lambda: tg.trace(Heads(), f32[2, 4]),
    "the first and the last": lambda: some(0, 8),
    "one in the middle": lambda: some(4, 4),
    "some": lambda: some(8, 1, 3),
    "nested": lambda: nested(False),
    "nested, its gradient": lambda: nested(True),
}


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {name: make() for name, make in OTHERS.items()}


@pytest.mark.parametrize("level", ["op", "module"])
@pytest.mark.parametrize("name", OTHERS)
def test_each_repeat_reads_what_the_lines_say(graphs: dict[str, Graph], name: str, level: str) -> None:
    graph, drawing = graphs[name], draw(graphs[name], level=level)
    assert any(group.count > 1 for group in drawing.groups)
    check_turns(graph, drawing)
    for drawn in (drawing, draw(graph, level="training")):
        check_edges(graph, drawn)
        check_formats(drawn)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in ("flat", "transformer loss")])
def test_each_repeat_of_a_program_reads_what_the_lines_say(name: str) -> None:
    graph = PROGRAMS[name]()
    for level in ("op", "module"):
        check_turns(graph, draw(graph, level=level))


@given(loops())
@examples(40)
def test_each_repeat_of_any_loop_reads_what_the_lines_say(graph: Graph) -> None:
    for level in ("op", "module"):
        check_turns(graph, draw(graph, level=level))


def labels(drawing: Drawing) -> Counter[str]:
    return Counter(row.text for edge in drawing.edges for row in edge.rows if edge.role != "carried")


def counts(drawing: Drawing) -> list[int]:
    return [group.count for group in drawing.groups]


def test_a_loop_of_the_text_is_a_template_whoever_reads_its_turns(graphs: dict[str, Graph]) -> None:
    drawing = draw(graphs["heads"], level="module")
    assert counts(drawing) == [5] and len(drawing.nodes) < 12
    assert {"the first", "the 2nd", "the 3rd", "the 4th"} <= labels(drawing).keys()  # the last needs no word
    drawing = draw(graphs["stages, back"], level="module")
    assert counts(drawing) == [5, 4] and labels(drawing)["one each, last first"] == 1
    drawing = draw(graphs["stages, order"], level="module")
    assert counts(drawing) == [5, 4] and labels(drawing)["one each"] == 1 and labels(drawing)["the first"] == 1
    assert "one each" not in labels(draw(graphs["stages, last"], level="module"))
    assert labels(draw(graphs["some"], level="op"))["the 2nd"] == 1
    assert labels(draw(graphs["the first and the last"], level="op"))["the first"] == 1


def test_the_training_level_says_in_boxes_which_repeats_they_read(graphs: dict[str, Graph]) -> None:
    drawing = draw(graphs["heads"], level="training")
    said = {node.title: row.text for node in drawing.nodes for row in node.rows if ": the " in row.text}
    assert said == {f"out.{n}": f"Linear heads.0: the {name}" for n, name in enumerate(("first", "2nd", "3rd", "4th"))}
    drawing = draw(graphs["stages, back"], level="training")
    assert "relu: one each, last first" in [row.text for node in drawing.nodes for row in node.rows]

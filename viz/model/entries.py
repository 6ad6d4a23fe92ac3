"""Where values enter a template: what the first repeat takes from outside and each later one from the repeat before.

Such a value, be it the way through the blocks, the skip around one, or the state of a recurrence, enters at a point of
its own. All that reads it in the template leaves that point; one line leads there from outside, and one back to it from
what makes it for the next repeat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

from tensorgraph.graph.graph import Literal, Var
from tensorgraph.graph.rewiring import atom_key
from tensorgraph.viz.model.facts import Facts
from tensorgraph.viz.model.labels import clean, count, value_text
from tensorgraph.viz.model.view import Box, Fold

__all__ = ["Entry", "Ways", "called", "titled"]

MOST_NAMED = 3  # values of one point

Slot = tuple[Var | Literal, ...]  # what the repeats read at one place, in order


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A point of a template: the value that comes from outside, and the one for the second repeat.

    Where the first repeat begins with a number, a cell or an array, `start`, which no line leads from, `first` is
    `second`.
    """

    fold: Fold
    first: Var
    second: Var
    start: Var | Literal | None = None

    @property
    def called(self) -> str:
        """The user's name of what enters, else ``in``."""
        return clean(self.second.name or self.first.name or "in")

    def began(self, facts: Facts) -> str:
        """What stands there at first where no line says so; empty where one does."""
        if self.start is None:
            return ""
        if isinstance(self.start, Literal):
            return value_text(self.start.value)
        if self.start in facts.cells:
            return facts.cells[self.start].path
        return value_text(facts.graph.consts[self.start])


def called(entries: Sequence[Entry]) -> str:
    """The names of the values of one point; of many, or where not all have one, how many there are."""
    names = [entry.called for entry in entries]
    if len(names) > 1 and (len(names) > MOST_NAMED or "in" in names):
        return count(len(names), "value")
    return clean(", ".join(names))


def titled(entries: Sequence[Entry], facts: Facts) -> str:
    """What the values of one point are called, and how they begin: ``total, 0 at first``, ``4 values, w.0 ... w.3 at
    first``."""
    said = called(entries)
    began = [text for text in dict.fromkeys(entry.began(facts) for entry in entries) if text]
    if not began:
        return said
    at_first = f"{began[0] if len(began) == 1 else f'{began[0]} ... {began[-1]}'} at first"
    return clean(at_first if said == "in" else f"{said}, {at_first}")


def depth(fold: Fold | None) -> int:
    """How many templates a template stands in, itself included."""
    return 0 if fold is None else 1 + depth(fold.around)


class Ways:
    """By which entries each operand of each equation comes.

    Attributes
    ----------
    beginning : dict of int to list of Entry
        The entries of the templates that begin with a box, outer ones first.
    own : set of (int, int)
        Operands, by equation and position, of which each repeat has its own, and none from the repeat before.
    together : dict of Entry to list of Entry
        Those of one point: the same box makes them for the next repeat, the same ones read them, and what they begin
        with comes from one place, as the values of a dict do.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.known: dict[tuple[Fold, Any, Var], Entry] = {}
        self.ways: dict[tuple[int, int], tuple[tuple[Entry, ...], bool]] = {}
        self.own: set[tuple[int, int]] = set()
        self.beginning: dict[int, list[Entry]] = defaultdict(list)
        first: dict[Fold, int] = {}
        for b, box in enumerate(facts.boxes):
            for fold in box.folds:
                first.setdefault(fold, b)
            if box.folds:
                self.add(box)
        for entry in self.known.values():
            self.beginning[first[entry.fold]].append(entry)
        for b, entries in self.beginning.items():
            entries.sort(key=lambda entry: facts.boxes[b].folds.index(entry.fold))
        self.together = self.points()

    def points(self) -> dict[Entry, list[Entry]]:
        """The entries of each point, by each of them."""
        # inner ones first: what reads an outer one may be the point of an inner one
        readers: dict[Entry, set[Entry | int]] = defaultdict(set)
        for (i, _), (way, _) in self.ways.items():
            for entry, inner in pairwise(way):
                readers[entry].add(inner)
            readers[way[-1]].add(self.facts.box_of[i])
        found: dict[Entry, list[Entry]] = {}
        groups: dict[Any, list[Entry]] = {}
        box_of, made = self.facts.box_of, self.facts.producer
        for entry in sorted(self.known.values(), key=lambda entry: -depth(entry.fold)):
            ends = frozenset(end if isinstance(end, int) else id(found[end][0]) for end in readers[entry])
            source = type(entry.start) if entry.start is not None else made.get(entry.first, entry.first)
            source = box_of[source] if isinstance(source, int) else source
            key = (entry.fold, box_of[made[entry.second]], source, ends)
            found[entry] = groups.setdefault(key, [])
            found[entry].append(entry)
        return found

    def of(self, equation: int, position: int) -> tuple[tuple[Entry, ...], bool]:
        """The entries that an operand comes through, outermost first, and whether to the first of them it is carried
        from the repeat before."""
        return self.ways.get((equation, position), ((), False))

    def add(self, box: Box) -> None:
        """The ways of all that a box reads."""
        equations = self.facts.graph.equations
        repeats = (box.equations, *[other.equations for other in box.others])
        for k in range(len(box.equations)):
            members = [repeat[k] for repeat in repeats]
            for position, slot in enumerate(zip(*[list(equations[i].atoms()) for i in members], strict=True)):
                entries = self.entries(box, slot)
                if not any(entries):
                    if self.is_own(box, members, slot):
                        self.own.update((i, position) for i in members)
                    continue
                for i in members:
                    self.ways[i, position] = self.way(entries, self.facts.repeat_of[i])

    def is_own(self, box: Box, members: Sequence[int], slot: Slot) -> bool:
        """Whether each repeat reads another value made outside of its template, in one turn of the templates around."""
        facts = self.facts
        made = [facts.producer.get(atom) if isinstance(atom, Var) else None for atom in slot]
        if made[0] is None or None in made or facts.box_of[made[0]] < 0:
            return False
        maker = facts.boxes[facts.box_of[made[0]]]
        shared = sum(a is b for a, b in zip(maker.folds, box.folds, strict=False))
        seen: dict[tuple[int, ...], Var | Literal] = {}
        return any(seen.setdefault(facts.repeat_of[i][:shared], atom) is not atom
                   for i, atom in zip(members, slot, strict=True))  # fmt: skip

    def entries(self, box: Box, slot: Slot) -> list[Entry | None]:
        """For each template around a box, the entry at which an operand comes into it, if it is carried there."""
        counts = [fold.count for fold in box.folds]
        found: list[Entry | None] = []
        for level, fold in enumerate(box.folds):
            stride = prod(counts[level + 1 :])
            first, second = slot[0], slot[stride]
            entry = None
            if isinstance(second, Var) and first is not second and self.inside(second, level, fold):
                if isinstance(first, Literal) or first in self.facts.cells or first in self.facts.graph.consts:
                    made = Entry(fold, second, second, first)
                    entry = self.known.setdefault((fold, atom_key(first), second), made)
                elif not self.inside(first, level, fold):
                    entry = self.known.setdefault((fold, first, second), Entry(fold, first, second))
            found.append(entry)
        return found

    def inside(self, var: Var, level: int, fold: Fold) -> bool:
        """Whether a value is made in a template."""
        at = self.facts.producer.get(var)
        b = -1 if at is None else self.facts.box_of[at]
        return b >= 0 and self.facts.boxes[b].folds[level : level + 1] == (fold,)

    @staticmethod
    def way(entries: Sequence[Entry | None], repeat: Sequence[int]) -> tuple[tuple[Entry, ...], bool]:
        way: list[Entry] = []
        for entry, n in zip(reversed(entries), reversed(repeat), strict=True):
            if entry is not None:
                way.insert(0, entry)
                if n > 0:
                    return tuple(way), True
        return tuple(way), False

"""Equal siblings drawn once: three or more consecutive repeats of the same modules, wired alike, become a template.

What repeats is found among the children of each module, innermost first: with equal digests (names are equal but for
numbers), and then with equal wiring. A repeat may read what the one before it made (this is carried), what all of them
share, and parameters of its own; what it makes is read by the next one and, outside, by the same boxes. So every edge
is inside the template or on its boundary, and a box of the template knows the equations of all its repeats.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.viz.model.digest import digest_of, kind_of_atom
from tensorgraph.viz.model.facts import relative
from tensorgraph.viz.model.keys import key_of
from tensorgraph.viz.model.rows import op_title
from tensorgraph.viz.model.view import Box, Fold

__all__ = ["fold", "unfold"]

FEWEST = 3  # repeats
NUMBER = re.compile(r"\d+")
LONGEST = 64  # siblings in one repeat
LEAST_SAVED = 8  # boxes: fewer ops without a module of their own are not worth a template
MOST_STEPS = 300_000  # operands looked at, in all
DEEPEST = 12  # modules within modules that are looked into


@dataclass(slots=True)
class Item:
    """One child of a module: a box, or a module with its boxes."""

    boxes: list[Box]
    scope: str  # of the child itself
    module: bool
    digest: int = 0

    @property
    def equations(self) -> Iterator[int]:
        for box in self.boxes:
            yield from box.members


def fold(graph: Graph, boxes: Sequence[Box], opened: Sequence[str] = ()) -> list[Box]:
    """These boxes with repeats folded, except inside and around the paths `opened`."""
    if len(boxes) < FEWEST:
        return list(boxes)
    return _Folding(graph, boxes, opened).boxes()


def unfold(boxes: Iterable[Box]) -> list[Box]:
    """The boxes of every repeat by themselves, in the order of their equations."""
    found = [repeat for box in boxes for repeat in (_bare(box), *box.others)]
    return sorted(found, key=lambda box: box.equations[0])


class _Folding:
    def __init__(self, graph: Graph, boxes: Sequence[Box], opened: Sequence[str]) -> None:
        self.graph, self.given, self.opened = graph, boxes, opened
        self.cells = {cell.var: cell for cell in graph.cells}
        self.made: dict[Var, tuple[int, int]] = {}
        self.box_of: dict[int, int] = {}
        for b, box in enumerate(boxes):
            for i in box.equations:
                self.box_of[i] = b
        self.readers: dict[Var, set[Any]] = defaultdict(set)
        for i, eq in enumerate(graph.equations):
            for n, out in enumerate(eq.outputs):
                self.made[out] = (i, n)
            for atom in eq.atoms():
                if isinstance(atom, Var) and i in self.box_of:  # the gradients of a mirrored drawing fold with these
                    self.readers[atom].add(i)
        for result in graph.outputs:
            if isinstance(result, Var):
                self.readers[result].add("output")
        for write in graph.writes:
            if isinstance(write.value, Var):
                self.readers[write.value].add("write")
        self.steps = 0
        self.siblings = 0  # of the module looked at
        self.ids: dict[Any, int] = {}
        self.local: dict[int, int] = {}  # digest of an equation by itself

    def boxes(self) -> list[Box]:
        """Bottom-up over the tree of modules, which the order of the boxes spells."""
        stack: list[tuple[str, int, list[Item]]] = [("", 0, [])]

        def close() -> None:
            scope, _, items = stack.pop()
            inner = self.folded(scope, items, len(stack))
            whole = Item([b for item in inner for b in item.boxes], scope, True)
            if len(inner) == 1 and inner[0].module and inner[0].scope.startswith(f"{scope}."):
                whole = inner[0]  # one of a list that is called by itself: its own name says where it is like others
            stack[-1][2].append(whole)

        for box in self.given:
            keys = [(key, box.call_of(key)) for key in box.modules]
            depth = 0
            while depth < len(keys) and depth + 1 < len(stack) and stack[depth + 1][:2] == keys[depth]:
                depth += 1
            while len(stack) > depth + 1:
                close()
            stack += [(*key, []) for key in keys[depth:]]
            stack[-1][2].append(Item([box], box.scope, box.kind != "op"))
        while len(stack) > 1:
            close()
        return [box for item in self.folded("", stack[0][2], 0) for box in item.boxes]

    def is_open(self, scope: str) -> bool:
        """Whether the user asked for this module or for something around it."""
        return bool(scope) and any(scope == path or scope.startswith(f"{path}.") for path in self.opened)

    def wanted(self, scope: str, items: Sequence[Item]) -> bool:
        """Whether the user asked for one of these, or for something inside or around one."""
        if not self.opened:
            return False
        if path_of(scope, items) in self.opened:
            return True
        names = [item.scope for item in items if item.scope and item.scope != scope]
        return any(f"{path}.".startswith(f"{name}.") or name.startswith(f"{path}.")
                   for path in self.opened for name in names)  # fmt: skip

    # ---- repeats among the children of one module

    def folded(self, scope: str, items: list[Item], depth: int) -> list[Item]:
        if len(items) < FEWEST or depth > DEEPEST or self.is_open(scope):
            return items
        for item in items:
            item.digest = self.digest(item)
        self.siblings = len(items)
        result = items
        taken = np.zeros(len(items), bool)
        found: list[tuple[int, int, list[Item]]] = []
        for start, period, count in self.candidates(items):
            if taken[start : start + period * count].any() or self.wanted(scope, items[start : start + period * count]):
                continue
            settled = self.settled(items, start, period, count)
            if settled is not None:
                start, count = settled
                taken[start : start + period * count] = True
                found.append((start, period * count, [self.template(scope, items, start, period, count, depth)]))
        for start, length, template in sorted(found, reverse=True, key=lambda f: f[0]):
            result = [*result[:start], *template, *result[start + length :]]
        return result

    def candidates(self, items: list[Item]) -> list[tuple[int, int, int]]:
        """Start, period and count of what repeats by its digests; what replaces the most boxes first."""
        ids = np.array([item.digest for item in items])
        sizes = np.cumsum([0, *[len(item.boxes) for item in items]])
        found = []
        for period in range(1, min(LONGEST, len(items) // FEWEST) + 1):
            same = np.concatenate([[False], ids[:-period] == ids[period:], [False]])
            edges = np.flatnonzero(same[1:] != same[:-1])
            for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                count = (end - start) // period + 1
                if count < FEWEST:
                    continue
                slack = (end - start) % period
                first = min(range(slack + 1), key=lambda o: (not self.begins(items[start + o]), o))
                begin = start + first
                saved = int(sizes[begin + period * count] - sizes[begin + period])
                modules = any(item.module for item in items[begin : begin + period])
                if modules or saved >= LEAST_SAVED:
                    found.append((saved, -period, -begin, count))
        return [(-begin, -period, count) for _, period, begin, count in sorted(found, reverse=True)]

    def begins(self, item: Item) -> bool:
        """Whether a repeat would naturally begin here: a layer with its matrix, rather than the activation before."""
        first = self.graph.equations[item.boxes[0].equations[0]]
        return getattr(first.op.kind, "name", first.op.kind) in ("contraction", "index")

    def settled(self, items: list[Item], start: int, period: int, count: int) -> tuple[int, int] | None:
        """The start and count with equal wiring; the first and the last repeat may be wired otherwise."""
        for first, last in ((0, 0), (0, 1), (1, 0), (1, 1)):
            begin, left = start + first * period, count - first - last
            if left >= FEWEST and self.alike(items, begin, period, left):
                return begin, left
        return None

    # ---- digests and wiring

    def digest(self, item: Item) -> int:
        parts: list[Any] = [NUMBER.sub("#", item.scope)]  # equal siblings of other names, as encoder and decoder, stay
        for box in item.boxes:
            parts.append((box.kind, len(box.equations), len(box.others)))
            for i in box.members:
                found = self.local.get(i)
                if found is None:
                    eq = self.graph.equations[i]
                    found = self.local[i] = self.ids.setdefault(digest_of(eq, self.cells, self.graph.consts),
                                                                len(self.ids))  # fmt: skip
                parts.append((found, (self.graph.equations[i].scope or "").removeprefix(item.scope)))
        return self.ids.setdefault(tuple(parts), len(self.ids))

    def alike(self, items: list[Item], start: int, period: int, count: int) -> bool:
        """Whether these repeats are wired alike, inside and to the outside."""
        if self.steps > MOST_STEPS:
            return False
        repeats = [
            sorted(i for item in items[start + k * period : start + (k + 1) * period] for i in item.equations)
            for k in range(count)
        ]
        slots: list[list[Var]] = []  # the values from outside, in order of first use
        code = None
        for equations in repeats:
            mine, outside = self.wiring(equations)
            if code is None:
                code = mine
            elif code != mine:
                return False
            slots.append(outside)
        carried: set[int] = set()
        made = [[out for i in equations for out in self.graph.equations[i].outputs] for equations in repeats]
        places = [{out: n for n, out in enumerate(outs)} for outs in made]
        for slot in zip(*slots, strict=True):
            if not self.enters_alike(slot, places, carried):
                return False
        inside = [set(equations) for equations in repeats]
        for n in range(len(made[0])):
            uses = [self.uses(made[k][n], inside, k) for k in range(count)]
            if len(set(uses[:-1])) > 1 or (n not in carried and uses[-1] != uses[0]):
                return False
        return True

    def wiring(self, equations: list[int]) -> tuple[list[Any], list[Var]]:
        """Which operand is which, with values numbered as they appear; and the values from outside."""
        number: dict[Var, int] = {}
        outside: list[Var] = []
        code: list[Any] = []
        for i in equations:
            eq: Equation = self.graph.equations[i]
            for atom in eq.atoms():
                self.steps += 1
                if isinstance(atom, Literal):
                    continue
                if atom not in number:
                    number[atom] = len(number)
                    outside.append(atom)
                    code.append(kind_of_atom(atom, self.cells, self.graph.consts))
                code.append(number[atom])
            for out in eq.outputs:
                number[out] = len(number)
        return code, outside

    def enters_alike(self, slot: tuple[Var, ...], places: list[dict[Var, int]], carried: set[int]) -> bool:
        """One value from outside for every repeat: shared, own parameters, or carried from the repeat before."""
        first = slot[0]
        if all(var is first for var in slot):
            return True
        before = {places[k].get(var) for k, var in enumerate(slot[1:])}
        if len(before) == 1 and None not in before:
            carried.add(before.pop())  # type: ignore[arg-type]
            return True
        if all(var not in self.made for var in slot):
            return len(set(slot)) == len(slot)  # cells, captured arrays or inputs, of equal types, each its own
        sources = {self.made.get(var, (-1, 0))[0] for var in slot}
        inside = {self.made[var][0] for place in places for var in place}
        return len(sources) == 1 and -1 not in sources and not sources & inside  # parts of one list

    def uses(self, var: Var, inside: list[set[int]], repeat: int) -> frozenset[Any]:
        """Who reads a value outside its repeat and the next one; by box, for a drawing."""
        near = inside[repeat] | (inside[repeat + 1] if repeat + 1 < len(inside) else set())
        return frozenset(
            self.box_of.get(r, r) if isinstance(r, int) else r for r in self.readers.get(var, ()) if r not in near
        )

    # ---- templates

    def template(self, scope: str, items: list[Item], start: int, period: int, count: int, depth: int) -> Item:
        first = items[start : start + period]
        last = items[start + (count - 1) * period : start + count * period]
        whole = period == 1 and first[0].module and len(first[0].boxes) > 1  # its own frame becomes the template's
        every = [items[start + k * period : start + (k + 1) * period] for k in range(count)]
        begin, end = (self.span(scope, group, every) for group in (first, last))
        title = f"{begin} ... {end} x{count}" if begin != end else f"{begin} x{count}"
        inner = first[0].scope if whole else scope
        made = Fold(inner, title, path_of(scope, items[start : start + period * count]), count)
        boxes = []
        repeats = [
            [box for item in items[start + k * period : start + (k + 1) * period] for box in item.boxes]
            for k in range(count)
        ]
        for alike in zip(*repeats, strict=True):
            box = alike[0]
            others = (*box.others, *[part for other in alike[1:] for part in (_bare(other), *other.others)])
            keys: tuple[str | Fold, ...] = box.keys
            keys = (*keys[:depth], made, *keys[depth + 1 if whole else depth :])
            if box.fold is not None and box.folds[0] is not made and box.folds[0].around is None:
                box.folds[0].around = made
            boxes.append(replace(box, others=others, fold=box.fold or made, frames=keys))
        return Item(boxes, made.path, True)

    def span(self, scope: str, items: Sequence[Item], every: Sequence[Sequence[Item]]) -> str:
        """``blocks.0``, or of several siblings ``3 to 5``; with its class where all repeats are calls of one; what has
        no module is called by its ops."""
        scopes = dict.fromkeys(item.scope for item in items if item.scope and item.scope != scope)
        names = [relative(name, scope) for name in scopes]
        if not names:
            return self.ops_of(items, every)
        whole = [name if not name[:1].isdigit() else f"{scope}.{name}" if scope else name for name in names]
        called = {item.scope for group in every for item in group if item.scope and item.scope != scope}
        again = len(called) == len(names)  # the same modules in every repeat
        if len(whole) > 1:
            all_of_it = again and sum(map(len, every)) == self.siblings and scope in self.graph.modules
            return self.titled(scope, scope) if all_of_it else f"{whole[0]} to {names[-1]}"
        return self.titled(next(iter(scopes)), whole[0]) if again else whole[0]

    def titled(self, scope: str, name: str) -> str:
        """A module's class and name."""
        kind = self.graph.modules.get(scope)
        return f"{kind} {name}" if kind and kind != name else name

    def ops_of(self, items: Sequence[Item], every: Sequence[Sequence[Item]]) -> str:
        """``xs[t]``, ``multiply, add, tanh``: the ops of one repeat."""
        boxes = [box for item in items for box in item.boxes]
        if len(boxes) == 1:
            alike = [self.graph.equations[item.boxes[0].equations[0]] for group in every for item in group]
            return op_title(alike[0], key_of(alike))
        named = list(dict.fromkeys(self.graph.equations[i].op.name for box in boxes for i in box.equations))
        return ", ".join(named[:3]) + (", ..." if len(named) > 3 else "")


def path_of(scope: str, items: Sequence[Item]) -> str:
    """What names a template of these: its first module and its last, ``blocks.0..blocks.11``."""
    named = [item.scope for item in items if item.scope and item.scope != scope] or [scope or "ops"]
    return named[0] if len(set(named)) == 1 else f"{named[0]}..{named[-1]}"


def _bare(box: Box) -> Box:
    return replace(box, others=(), fold=None, frames=None)

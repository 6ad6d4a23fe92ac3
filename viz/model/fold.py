"""Equal siblings drawn once: three or more consecutive repeats of the same modules, wired alike, become a template.

Among the children of each module, innermost first, the loops of the graph's outline come first, so that a picture folds
what the text folds, under its names and with its counts; then whatever else repeats, with equal digests (names are
equal but for numbers). Either way the repeats must be of one form and wired alike. A repeat may read what the one
before it made (this is carried), what all of them share, parameters of its own, and what a repeat of another template
made; what it makes is read by the next one and, outside, by the same boxes, or, of a loop of the text, by any: lines
say which repeat they leave. So every edge is inside the template or on its boundary, and a box of the template knows
the equations of all its repeats.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from tensorgraph.graph.graph import Graph, Literal, Var
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.graph.repeats import LONGEST, Turns, runs
from tensorgraph.graph.statements import Operation, Repetition, walked
from tensorgraph.viz.model.digest import digest_of, kind_of_atom
from tensorgraph.viz.model.facts import relative
from tensorgraph.viz.model.functions import calls_by_path
from tensorgraph.viz.model.keys import key_of
from tensorgraph.viz.model.rows import op_title
from tensorgraph.viz.model.view import Box, Fold

__all__ = ["LEAST_SAVED", "fold", "heading", "loops_of", "spanning", "unfold"]

FEWEST = 3  # repeats
NUMBER = re.compile(r"\d+")
LEAST_SAVED = 8  # boxes: fewer ops without a module of their own are not worth a template
NAMED = 3  # ops
MOST_STEPS = 300_000  # operands looked at, in all
DEEPEST = 12  # modules within modules that are looked into


@dataclass(slots=True)
class Item:
    """One child of a module: a box, or a module with its boxes."""

    boxes: list[Box]
    scope: str  # of the child itself
    module: bool
    base: str | None = None  # the module that a template stands in, from which its equations' are seen
    digest: int = 0
    form: int = 0  # the same without what its operands are
    first: int = 0  # of its equations
    last: int = 0

    def __post_init__(self) -> None:
        self.first = min(box.equations[0] for box in self.boxes)
        self.last = max(max(box.members) for box in self.boxes)

    @property
    def equations(self) -> Iterator[int]:
        for box in self.boxes:
            yield from box.members


def loops_of(graph: Graph) -> tuple[Occurrence, ...]:
    """The loops that the text of a graph says, where they turn often enough for a template; inner ones first."""
    found = [one for one in graph.outline.top.walk() if isinstance(one.of, Repetition) and one.of.count >= FEWEST]
    return tuple(sorted(found, key=lambda one: one.stop - one.start))


def fold(
    graph: Graph, boxes: Sequence[Box], opened: Sequence[str] = (), loops: Sequence[Occurrence] = (),
    apart: Iterable[int] = (),
) -> list[Box]:  # fmt: skip
    """These boxes with repeats folded, those of `loops` first, except inside and around the paths `opened`.

    The equations `apart` are like no others.
    """
    if len(boxes) < FEWEST:
        return list(boxes)
    return _Folding(graph, boxes, opened, loops, frozenset(apart)).boxes()


def unfold(boxes: Iterable[Box]) -> list[Box]:
    """The boxes of every repeat by themselves, in the order of their equations."""
    found = [repeat for box in boxes for repeat in (_bare(box), *box.others)]
    return sorted(found, key=lambda box: box.equations[0])


class _Folding:
    def __init__(
        self, graph: Graph, boxes: Sequence[Box], opened: Sequence[str], loops: Sequence[Occurrence],
        apart: frozenset[int],
    ) -> None:  # fmt: skip
        self.graph, self.given, self.opened, self.loops, self.apart = graph, boxes, opened, loops, apart
        self.cells = {cell.var: cell for cell in graph.cells}
        calls = calls_by_path(graph)
        self.functions = {path: call.name for path, call in calls.items() if call.kind == "scope"}
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
        self.local: dict[int, tuple[int, int]] = {}  # digest and form of an equation by itself

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
            self.identify(item)
        self.siblings = len(items)
        for loop in self.loops:
            if loop.start < items[0].first or items[-1].last < loop.start:
                continue
            found = self.turns_of(loop, items)
            if found is not None:
                items = self.with_templates(scope, items, depth, [found], loop, self.says_more(items, *found))
        return self.with_templates(scope, items, depth, self.candidates(items))

    def with_templates(
        self, scope: str, items: list[Item], depth: int, candidates: Iterable[tuple[int, int, int]],
        loop: Occurrence | None = None, free: bool = False,
    ) -> list[Item]:  # fmt: skip
        """The items with templates for those candidates that are wired alike (or `free`) and lie apart."""
        taken = np.zeros(len(items), bool)
        found: list[tuple[int, int, Item]] = []
        for start, period, times in candidates:
            every = slice(start, start + period * times)
            if taken[every].any() or self.wanted(scope, items[every]):
                continue
            settled = (start, times) if free else self.settled(items, start, period, times)
            if settled is not None:
                said = loop if settled == (start, times) else None
                start, count = settled
                taken[start : start + period * count] = True
                template = self.template(scope, items, start, period, count, depth, said)
                found.append((start, period * count, template))
                for box in template.boxes:  # one box for what comes after
                    self.box_of.update((i, self.box_of[box.equations[0]]) for i in box.members)
        for start, length, template in sorted(found, reverse=True, key=lambda f: f[0]):
            self.identify(template)
            items = [*items[:start], template, *items[start + length :]]
        return items

    def turns_of(self, loop: Occurrence, items: list[Item]) -> tuple[int, int, int] | None:
        """Start, period and count of the items that a loop of the outline turns over, if they are of one form."""
        firsts = [item.first for item in items]
        edges = [bisect_left(firsts, at) for at in (*loop.turns, loop.stop)]
        periods = {b - a for a, b in pairwise(edges)}
        period = edges[1] - edges[0]
        if len(periods) > 1 or not 0 < period <= LONGEST:
            return None
        for at, (begin, end) in zip((*loop.turns[1:], loop.stop), pairwise(edges), strict=True):
            if any(item.last >= at for item in items[begin:end]):
                return None
        start, stop = edges[0], edges[-1]
        if any(item.last >= loop.start for item in items[max(start - 1, 0) : start]):
            return None
        forms = [item.form for item in items[start:stop]]
        if forms != forms[:period] * len(loop.turns) or not self.is_worth_it(items[start:stop], period):
            return None
        return start, period, len(loop.turns)

    def candidates(self, items: list[Item]) -> list[tuple[int, int, int]]:
        """Start, period and count of what repeats by its digests; what replaces the most boxes first."""
        sizes = np.cumsum([0, *[len(item.boxes) for item in items]])
        found = []
        for start, period, count, slack in runs([item.digest for item in items], FEWEST):
            first = min(range(slack + 1), key=lambda o: (not self.begins(items[start + o]), o))
            begin = start + first
            if self.is_worth_it(items[begin : begin + period * count], period):
                saved = int(sizes[begin + period * count] - sizes[begin + period])
                found.append((saved, -period, -begin, count))
        return [(-begin, -period, count) for _, period, begin, count in sorted(found, reverse=True)]

    @staticmethod
    def is_worth_it(items: Sequence[Item], period: int) -> bool:
        """Whether a template of these says more than it hides: modules, or many ops."""
        return any(item.module for item in items[:period]) or (
            sum(len(item.boxes) for item in items[period:]) >= LEAST_SAVED
        )

    def begins(self, item: Item) -> bool:
        """Whether a repeat would naturally begin here: a layer with its matrix, rather than the activation before."""
        first = self.graph.equations[item.boxes[0].equations[0]]
        return getattr(first.op.kind, "name", first.op.kind) in ("contraction", "index")

    def says_more(self, items: list[Item], start: int, period: int, count: int) -> bool:
        """Whether the turns of a loop are alike but for who reads which of them, as lines say, and more of them than of
        anything there that is wired alike."""
        if self.alike(items, start, period, count) or not self.alike(items, start, period, count, False):
            return False
        near = [
            one
            for one in self.candidates(items)
            if one[0] < start + period * count and start < one[0] + one[1] * one[2]
        ]
        found = (self.settled(items, *one) for one in ((start, period, count), *near))
        return count > max((times for _, times in filter(None, found)), default=0)

    def settled(self, items: list[Item], start: int, period: int, count: int) -> tuple[int, int] | None:
        """The start and count with equal wiring; the first and the last repeat may be wired otherwise."""
        for first, last in ((0, 0), (0, 1), (1, 0), (1, 1)):
            begin, left = start + first * period, count - first - last
            if left >= FEWEST and self.alike(items, begin, period, left):
                return begin, left
        return None

    # ---- digests and wiring

    def identify(self, item: Item) -> None:
        """Give an item its digest and its form."""
        if not self.apart.isdisjoint(item.equations):
            item.digest = item.form = self.number(("apart", item.first))
            return
        name = NUMBER.sub("#", item.scope)  # equal siblings of other names, as encoder and decoder, stay
        base = item.scope if item.base is None else item.base
        digest: list[Any] = [name]
        form: list[Any] = [name]
        for box in item.boxes:
            for parts in (digest, form):
                parts.append((box.kind, len(box.equations), len(box.others)))
            for i in box.members:
                found = self.local.get(i)
                eq = self.graph.equations[i]
                if found is None:
                    op, attrs, operands, results = digest_of(eq, self.cells, self.graph.consts)
                    slots = tuple(len(part) if isinstance(atom, tuple) else 0
                                  for part, atom in zip(operands, eq.inputs, strict=True))  # fmt: skip
                    found = self.local[i] = (
                        self.number((op, attrs, operands, results)), self.number((op, attrs, slots, results))
                    )  # fmt: skip
                place = (eq.scope or "").removeprefix(base)
                digest.append((found[0], place))
                form.append((found[1], place))
        item.digest, item.form = self.number(tuple(digest)), self.number(("form", *form))

    def number(self, key: Any) -> int:
        return self.ids.setdefault(key, len(self.ids))

    def alike(self, items: list[Item], start: int, period: int, count: int, outside: bool = True) -> bool:
        """Whether these repeats, which are of one form, are wired alike: inside, in what they read and, with `outside`,
        in who reads them."""
        if self.steps > MOST_STEPS:
            return False
        repeats = [
            sorted(i for item in items[start + k * period : start + (k + 1) * period] for i in item.equations)
            for k in range(count)
        ]
        turns = Turns([[out for i in turn for out in self.graph.equations[i].outputs] for turn in repeats])
        carried: set[int] = set()
        for members in zip(*repeats, strict=True):
            for slot in zip(*[self.graph.equations[i].atoms() for i in members], strict=True):
                self.steps += count
                role = turns.role(slot)
                if role is None or not self.enters_alike(role, slot, turns):
                    return False
                if role[0] == "carried":
                    carried.add(role[1])
        inside = [set(turn) for turn in repeats]
        for n in range(len(turns.made[0]) if outside else 0):
            uses = [self.uses(turns.made[k][n], inside, k) for k in range(count)]
            if len(set(uses[:-1])) > 1 or (n not in carried and uses[-1] != uses[0]):
                return False
        return True

    def enters_alike(self, role: tuple[str, int], slot: Sequence[Var | Literal], turns: Turns) -> bool:
        """Whether a picture can say how an operand comes in: types alike, and of one for each turn that they are cells,
        arrays or inputs, or parts of one list."""
        kind, made = role
        if kind == "carried":
            first = slot[0]
            return isinstance(first, Literal) or first.aval == turns.made[0][made].aval
        if kind != "list":
            return True
        if len({kind_of_atom(atom, self.cells, self.graph.consts) for atom in slot}) > 1:
            return False
        if all(var not in self.made for var in slot):
            return len(set(slot)) == len(slot)
        return len({self.box_of.get(self.made[var][0]) if var in self.made else None for var in slot}) == 1

    def uses(self, var: Var, inside: list[set[int]], repeat: int) -> frozenset[Any]:
        """Who reads a value outside its repeat and the next one; by box, for a drawing."""
        near = inside[repeat] | (inside[repeat + 1] if repeat + 1 < len(inside) else set())
        return frozenset(
            self.box_of.get(r, r) if isinstance(r, int) else r for r in self.readers.get(var, ()) if r not in near
        )

    # ---- templates

    def template(
        self, scope: str, items: list[Item], start: int, period: int, count: int, depth: int,
        loop: Occurrence | None = None,
    ) -> Item:  # fmt: skip
        first = items[start : start + period]
        last = items[start + (count - 1) * period : start + count * period]
        whole = period == 1 and first[0].module and len(first[0].boxes) > 1  # its own frame becomes the template's
        every = [items[start + k * period : start + (k + 1) * period] for k in range(count)]
        if loop is not None and self.is_mixed(scope, every):
            title = heading(loop)
        else:
            begin, end = (self.span(scope, group, every) for group in (first, last))
            kinds = {self.graph.modules.get(item.scope) for group in every for item in group} if period == 1 else set()
            title = spanning(begin, end, count, kinds)
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
        return Item(boxes, made.path, True, scope)

    def is_mixed(self, scope: str, every: Sequence[Sequence[Item]]) -> bool:
        """Whether repeats hold more than names can say: several modules and ops besides, or the same in each, or many
        ops."""
        first = every[0]
        names = {self.functions.get(item.scope, item.scope) for item in first if item.scope and item.scope != scope}
        if not names:
            return len({self.graph.equations[i].op.name for item in first for i in item.boxes[0].equations}) > NAMED
        again = all(self.functions.get(item.scope, item.scope) in names or item.scope == scope for item in every[1])
        loose = any(self.functions.get(item.scope, item.scope) not in names for item in first)
        return (len(names) > 1 or again) and loose

    def span(self, scope: str, items: Sequence[Item], every: Sequence[Sequence[Item]]) -> str:
        """``blocks.0``, or of several siblings ``3 to 5``; with its class where all repeats are calls of one; what has
        no module is called by its ops."""
        scopes = dict.fromkeys(item.scope for item in items if item.scope and item.scope != scope)
        names = [relative(name, scope) for name in scopes]
        if not names:
            return self.ops_of(items, every)
        if all(name in self.functions for name in scopes):
            return ", ".join(dict.fromkeys(self.functions[name] for name in scopes))
        whole = [name if not name[:1].isdigit() else f"{scope}.{name}" if scope else name for name in names]
        called = {item.scope for group in every for item in group if item.scope and item.scope != scope}
        again = len(called) == len(names)  # the same modules in every repeat
        if len(whole) > 1:
            all_of_it = again and sum(map(len, every)) == self.siblings and self.is_called(scope, every)
            return self.titled(scope, scope) if all_of_it else f"{whole[0]} to {names[-1]}"
        return self.titled(next(iter(scopes)), whole[0]) if again else whole[0]

    def is_called(self, scope: str, every: Sequence[Sequence[Item]]) -> bool:
        """Whether each repeat is another call of a module, rather than a turn within one."""
        calls = set()
        for group in every:
            call = self.graph.equations[group[0].boxes[0].equations[0]].call
            calls.add(next((one for one in ([] if call is None else call.callers()) if one.path == scope), None))
        return scope in self.graph.modules and None not in calls and len(calls) == len(every)

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
        return ", ".join(named[:NAMED]) + (", ..." if len(named) > NAMED else "")


def heading(loop: Occurrence) -> str:
    """``for t in range(20)``, as the text has it."""
    assert isinstance(loop.of, Repetition)
    turning = any(isinstance(one, Operation) and any(where is loop.of for _, where, _ in one.moving)
                  for one in walked(loop.of.body))  # fmt: skip
    return f"for {'t' if turning else '_'} in range({loop.of.count})"


def path_of(scope: str, items: Sequence[Item]) -> str:
    """What names a template of these: its first module and its last, ``blocks.0..blocks.11``."""
    named = [item.scope for item in items if item.scope and item.scope != scope] or [scope or "ops"]
    return named[0] if len(set(named)) == 1 else f"{named[0]}..{named[-1]}"


def spanning(begin: str, end: str, count: int, kinds: set[str | None]) -> str:
    """``TransformerBlock blocks.0 ... 11 x12``: from which to which scope, with their class where that is one."""
    if begin == end:
        return f"{begin} x{count}"
    (kind,) = kinds if len(kinds) == 1 else (None,)
    if not kind:
        return f"{begin} ... {end} x{count}"
    base = begin.rpartition(".")[0]
    return f"{kind} {begin} ... {end.removeprefix(f'{base}.')} x{count}"


def _bare(box: Box) -> Box:
    return replace(box, others=(), fold=None, frames=None)

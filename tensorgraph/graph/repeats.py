"""What repeats in a list of statements, and how the repeats are wired: the loops of an outline.

1. Statements of one shape have one number (`Shapes`); runs that repeat with a period are candidates, and what saves
   the most statements comes first (`runs`, which pictures use too).
2. Each operand of a repeat is made in it, handed on from the one before, the same in all, or one of a list (`Turns`,
   which pictures use too); integers of a key may grow by a step (`_Wiring`). Nothing else is a loop.
3. What others read of every repeat is collected into a list, or a dict where the values are those of one; what they
   read of the last alone is what the name holds after the loop.
4. The body is that of the first repeat, with variables of its own for what differs, folded again inside.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.graph.rewiring import (
    atom_key,
    mapped_shape,
    numbered,
    operands_of,
    outputs,
    read_at,
    rewired,
    slot_shape,
)
from tensorgraph.graph.statements import (
    Application,
    Assignment,
    Block,
    Definition,
    Instance,
    Operation,
    Repetition,
    Statement,
    leaves,
)
from tensorgraph.graph.totals import TOTAL
from tensorgraph.graph.turning import loose, moved, numbers_of, pieces

__all__ = ["Folding", "Turns", "runs"]

LONGEST = 256  # statements in one repeat
LEAST_SAVED = 3
MOST_STEPS = 400_000  # operands looked at, in all
FIRST = 3  # repeats that are looked at before all of them
MOST_KEPT = 12  # lists that a loop makes
MOST_LISTS = 3  # without a name
MOST_WRITTEN = 8  # items of a list that has no name
ROUNDS = 3  # loops around loops
ENDS = ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2))  # first and last turns that are wired otherwise


def runs(ids: Sequence[int], fewest: int, longest: int = LONGEST) -> Iterator[tuple[int, int, int, int]]:
    """Start, period, count and slack of all that repeats at least `fewest` times: it may start up to slack later.

    Examples
    --------
    >>> list(runs([7, 1, 2, 1, 2, 1, 2, 9], 3))
    [(1, 2, 3, 0)]
    """
    numbers = np.asarray(ids)
    for period in range(1, min(longest, len(numbers) // fewest) + 1):
        same = np.concatenate([[False], numbers[:-period] == numbers[period:], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            count = (end - start) // period + 1
            if count >= fewest:
                yield start, period, count, (end - start) % period


class Turns:
    """What each of several repeats makes, in order, and so how what they read is wired.

    Examples
    --------
    >>> a, b, c, d = [Var(None) for _ in "abcd"]
    >>> turns = Turns([[b], [c], [d]])
    >>> turns.role((a, b, c)), turns.role((b, c, d)), turns.role((a, a, a)), turns.role((a, a, b))
    (('carried', 0), ('inner', 0), ('same', 0), None)
    """

    def __init__(self, made: Sequence[Sequence[Var]]) -> None:
        self.made = made
        self.place = [{var: n for n, var in enumerate(turn)} for turn in made]
        self.anywhere = {var for turn in made for var in turn}

    def role(self, slot: Sequence[Any]) -> tuple[str, int] | None:
        """What an operand is, which the turns read as `slot`: of ``"inner"`` what the turn itself makes, of
        ``"carried"`` what the one before has made, with its place; ``"same"`` in all; else ``"list"``, one a turn.

        None where it is none of these.
        """
        first = slot[0]
        inner = [self.place[k].get(atom) for k, atom in enumerate(slot)]
        if inner[0] is not None:
            return ("inner", inner[0]) if len(set(inner)) == 1 else None
        before = [self.place[k].get(atom) for k, atom in enumerate(slot[1:])]
        if before[0] is not None:
            if len(set(before)) > 1 or (type(first) is Var and first in self.anywhere):
                return None
            number = type(first) is not Literal or type(first.value) in (int, float)
            return ("carried", before[0]) if number else None
        if any(type(atom) is Var and atom in self.anywhere for atom in slot):
            return None
        if all(atom_key(atom) == atom_key(first) for atom in slot):
            return "same", 0
        kinds = {type(atom) for atom in slot}
        return None if len(kinds) > 1 or Literal in kinds else ("list", 0)


class _Body:
    """Statements, with what each reads and makes."""

    def __init__(self, statements: list[Statement]) -> None:
        self.statements = statements
        self.read = [operands_of(statement) for statement in statements]
        self.made = [outputs(statement) for statement in statements]
        # the statement that makes a value, and which of its values it is
        self.maker = {var: (n, k) for n, every in enumerate(self.made) for k, var in enumerate(every)}
        self.codes: list[Any] = []  # how far behind each operand is made, and what it is if nothing here makes it
        self.farthest: list[int] = []
        for number, read in enumerate(self.read):
            places = [self.maker.get(atom) for atom in read]
            code = [
                (number - place[0], place[1]) if place is not None
                else typed_key(atom.value) if type(atom) is Literal else type(atom)
                for place, atom in zip(places, read, strict=True)
            ]  # fmt: skip
            self.codes.append(tuple(code))
            self.farthest.append(max([number - place[0] for place in places if place is not None], default=0))

    def begins(self, start: int, period: int, count: int) -> bool:
        """Whether statements may be `count` turns of a loop: `Turns` has a role for all that they read.

        What several turns are wired as, the first of them are too: those that are no loop are most, and found out here.
        """
        stop = start + count * period
        codes, farthest = self.codes, self.farthest
        for number in range(start, start + period):
            every = codes[number:stop:period]
            if every.count(every[0]) == count and farthest[number] <= number - start + period:
                continue  # each is made as far behind as the others, in the turn or in the one before
            read = [self.read[at] for at in range(number, stop, period)]
            if any(len(slots) != len(read[0]) for slots in read):
                return False
            for slot in zip(*read, strict=True):
                if not self._is_wired(slot, start, period, stop):
                    return False
        return True

    def _is_wired(self, slot: tuple[Any, ...], start: int, period: int, stop: int) -> bool:
        """Whether an operand is made in each turn, handed on from the one before, the same in all, or one of a list."""
        places = [self.maker.get(atom) for atom in slot]
        inside = [place is not None and start <= place[0] < stop for place in places]
        turns = [
            (divmod(place[0] - start, period), place[1]) if within and place is not None else None
            for place, within in zip(places, inside, strict=True)
        ]
        if turns[0] is not None and turns[0][0][0] == 0:
            return all(turn is not None and turn == ((k, turns[0][0][1]), turns[0][1]) for k, turn in enumerate(turns))
        second = turns[1]
        if second is not None and second[0][0] == 0:  # what the first has made
            handed = all(turn == ((k, second[0][1]), second[1]) for k, turn in enumerate(turns[1:]))
            number = type(slot[0]) is not Literal or type(slot[0].value) in (int, float)
            return handed and number and not inside[0]
        if any(inside):
            return False
        kinds = {type(atom) for atom in slot}
        return (len(kinds) == 1 and Literal not in kinds) or len(set(map(atom_key, slot))) == 1


class Folding:
    """The loops in the bodies of one graph's definitions.

    Parameters
    ----------
    attrs : function of an equation's number
        Its attributes as they are compared.
    keys : function of values
        The keys of the dict that has these values in this order, where calls were handed one; None elsewhere.
    is_list : function of values
        Whether these are a list with a name, or a part of one.
    is_column : function of values
        Whether these, one a turn, stand in rows that are kept of the turns anyway.
    """

    def __init__(
        self, attrs: Callable[[int], Any], keys: Callable[[tuple[Any, ...]], tuple[Any, ...] | None],
        is_list: Callable[[tuple[Any, ...]], bool], is_column: Callable[[tuple[Any, ...]], bool],
    ) -> None:  # fmt: skip
        self.attrs, self.keys, self.is_list, self.is_column = attrs, keys, is_list, is_column
        self.ids: dict[Any, int] = {}
        self.known: dict[Statement, int] = {}
        self.steps = 0
        self.collected: dict[Any, tuple[Any, int]] = {}  # what loops collect: in which list, and where
        self.origin: dict[Any, Any] = {}  # of variables that stand in bodies: what they stand for in the first turn

    def stands_for(self, atom: Any) -> Any:
        """The graph's own variable, or the parameter, for which one stands in the first turns of loops."""
        return self.origin.get(atom, atom)

    def fold(self, definition: Definition, read: Sequence[Var] = ()) -> None:
        """Give a definition its loops; what is `read` besides is handed on."""
        outside = dict.fromkeys((leaf for leaf in leaves(definition.result) if type(leaf) is Var), 1)
        outside |= dict.fromkeys(read, 1)
        outside |= self._blocks(definition.body, definition.names)
        definition.body = self.folded(definition.body, outside, definition.names)

    def _blocks(self, body: list[Statement], names: dict[Var, str]) -> dict[Any, int]:
        """Fold what stands in blocks by itself; gives what is read in them."""
        found: dict[Any, int] = {}
        blocks = [statement for statement in body if isinstance(statement, Block)]
        readers = Counter(a for one in body for a in dict.fromkeys(operands_of(one))) if blocks else Counter[Any]()
        for block in blocks:
            own = dict.fromkeys(operands_of(block))
            known = {**own, **dict.fromkeys(var for one in block.body for var in outputs(one))}
            around = dict.fromkeys([a for a in known if readers[a] > (a in own)], 1)
            block.body = self.folded(block.body, {**around, **dict.fromkeys(outputs(block), 1)}, names)
            found.update(dict.fromkeys(operands_of(block), 1))
        return found

    def folded(self, body: list[Statement], outside: Mapping[Any, int], names: dict[Var, str]) -> list[Statement]:
        """A body with its loops. `outside` counts who reads a value besides the body; `names` gets those of variables
        that are new."""
        if len(body) <= LEAST_SAVED:
            return body
        body = self._once(body, outside, names, lists=True)
        for _ in range(ROUNDS):
            again = self._once(body, outside, names)
            if again is body:
                break
            body = again
        return body

    def _once(
        self, body: list[Statement], outside: Mapping[Any, int], names: dict[Var, str], lists: bool = False
    ) -> list[Statement]:
        """The body with what repeats now; with `lists` only what makes a list that is too long to be written."""
        ids = [self.id(statement) for statement in body]
        numbers = [numbers_of(statement) for statement in body]
        found = []
        plain: list[tuple[int, int, int]] = []  # where what repeats does so with a shorter period
        for start, period, count, slack in runs(ids, 2):
            saved = (count - 1) * period
            if not any(period % p == 0 and a <= start and start + saved + period <= b for p, a, b in plain):
                plain.append((period, start, start + period * count + slack))
            if lists and (period > 1 or count <= MOST_WRITTEN):
                continue
            if saved >= LEAST_SAVED and (period > 1 or count > 3):
                for late in range(min(slack, period - 1) + 1):
                    for first, turns in pieces(numbers, start + late, period, count):
                        found.append(((turns - 1) * period, -period, -first, turns))
        found.sort(reverse=True)
        readers = read_at(body, outside)
        every = _Body(body)
        taken = np.zeros(len(body), bool)
        loops: list[tuple[int, int, Repetition]] = []
        for _, minus, begin, count in found:
            start, period = -begin, -minus
            start, count = _free(taken, start, period, count)
            if count < 2 or self.steps > MOST_STEPS:
                continue
            for first, final in ENDS if any(p == period and a <= start < b for p, a, b in plain) else ENDS[:1]:
                begin, left = start + first * period, count - first - final
                if left < 2 or (left - 1) * period < LEAST_SAVED or (period == 1 and left <= 3):
                    continue
                loop = self._loop(every, begin, period, left, readers, names)
                if loop is not None and lists and (loop.carried or not loop.collected):
                    break
                if loop is not None:
                    self._note(loop)
                    taken[begin : begin + period * left] = True
                    loops.append((begin, period * left, loop))
                    break
        if not loops:
            return body
        for start, length, loop in sorted(loops, key=lambda one: -one[0]):
            body = [*body[:start], loop, *body[start + length :]]
            inner = dict.fromkeys([after for _, _, after in loop.carried], 1)
            inner |= dict.fromkeys([inside for inside, _ in (*loop.collected, *loop.last)], 1)
            loop.body = self.folded(loop.body, inner, names)
        return body

    def _note(self, loop: Repetition) -> None:
        """What a loop collects is a list from now on."""
        for inside, items in loop.collected:
            self.collected.update((item, (inside, place)) for place, item in enumerate(items))

    def is_known(self, items: tuple[Any, ...]) -> bool:
        """Whether these are a list with a name, or a part of one."""
        if self.is_list(tuple(map(self.stands_for, items))):
            return True
        places = [self.collected.get(item) for item in items]
        if None in places or len({inside for inside, _ in places}) > 1:  # type: ignore[misc]
            return False
        at = [place for _, place in places]  # type: ignore[misc]
        return {b - a for a, b in itertools.pairwise(at)} in ({1}, {-1})

    # ---- shapes

    def id(self, statement: Statement) -> int:
        """The number of a statement's shape."""
        known = self.known.get(statement)
        if known is None:
            known = self.ids.setdefault(self.shape(statement), len(self.ids))
            if isinstance(statement, (Operation, Application)):  # what is in others is folded later
                self.known[statement] = known
        return known

    def shape(self, statement: Statement, within: tuple[Repetition, ...] = ()) -> Any:
        """What two statements have in common that may be one of a loop's body; `within` are loops that are compared."""
        if isinstance(statement, Operation):
            eq = statement.eq
            if eq.op is TOTAL:  # where it stands may be another place at another length
                return "total", id(statement)
            attrs = self.attrs(statement.number)
            if "key" in eq.attrs:
                attrs = tuple((name, loose(value) if name == "key" else value) for name, value in attrs)
            moving = tuple(
                (place, within.index(loop) if loop in within else loop, step) for place, loop, step in statement.moving
            )
            return eq.op.name, attrs, tuple(slot_shape(a) for a in eq.inputs), len(eq.outputs), moving
        if isinstance(statement, Application):
            arguments = tuple(mapped_shape(tree) for tree in statement.arguments)
            called: Any = statement.definition
            if statement.instance is not None:  # the items of one list are called alike, whatever their definition
                base, _, last = statement.instance.path.rpartition(".")
                called = ("of", base) if last.isdigit() else (statement.instance.name, called)
            return "call", called, arguments, len(statement.results), mapped_shape(statement.definition.result)
        if isinstance(statement, Assignment):
            return "assign", type(statement.value) is Literal
        if isinstance(statement, Repetition):
            inner = tuple(self.shape(one, (*within, statement)) for one in statement.body)
            parts = (statement.carried, statement.lists, statement.collected, statement.last)
            wiring = numbered(statement)
            return "loop", statement.count, inner, tuple(len(part) for part in parts), wiring, statement.keys
        return "block", id(statement)

    # ---- one candidate

    def _loop(
        self, body: _Body, start: int, period: int, count: int, readers: Mapping[Any, list[int]],
        names: dict[Var, str],
    ) -> Repetition | None:  # fmt: skip
        first = min(count, FIRST)
        self.steps += first * period
        if not body.begins(start, period, first):
            return None
        wiring = _Wiring(self, body, start, period, count, readers)
        if not wiring.fits():
            return None
        return wiring.loop(names)


class _Wiring:
    """How the operands of repeats of one shape are wired."""

    def __init__(
        self, folding: Folding, body: _Body, start: int, period: int, count: int, readers: Mapping[Any, list[int]]
    ) -> None:
        self.folding, self.start, self.period, self.count, self.readers = folding, start, period, count, readers
        begins = range(start, start + count * period, period)
        self.repeats = [body.statements[begin : begin + period] for begin in begins]
        self.read = [body.read[begin : begin + period] for begin in begins]
        self.made = [[var for made in body.made[begin : begin + period] for var in made] for begin in begins]
        self.turns = Turns(self.made)
        self.carried: dict[tuple[Any, int], Var] = {}  # what is read at first, and what the next reads: a variable
        self.lists: dict[tuple[Any, ...], Any] = {}
        self.roles: list[list[Any]] = []  # of each operand of each statement: what stands there in the body
        self.moving: list[Any] = []

    def fits(self) -> bool:
        for statements, operands in zip(zip(*self.repeats, strict=True), zip(*self.read, strict=True), strict=True):
            if len({len(found) for found in operands}) != 1:
                return False
            roles = []
            for slot in zip(*operands, strict=True):
                self.folding.steps += self.count
                role = self.role(slot)
                if role is None:
                    return False
                roles.append(role)
            self.roles.append(roles)
            moving = moved(statements)
            if moving is None:
                return False
            self.moving.append(moving)
        return self.reads_outside()

    def role(self, slot: tuple[Any, ...]) -> Any:
        """What stands for an operand in the body; None where it is none of what a loop can say."""
        first, known = slot[0], self.turns.role(slot)
        if known is None or known[0] == "inner":
            return known
        kind, made = known
        if kind == "carried":
            key = (atom_key(first), made)
            if any(n == made and other != key for other in self.carried for n in other[1:]):
                return None  # one value that is handed on to two names
            return kind, self.carried.setdefault(key, Var(self.made[0][made].aval)), first, made
        if kind == "same":
            return kind, first
        if slot not in self.lists:
            if not self.folding.is_known(slot) and (self.count > MOST_WRITTEN or _all_but_one(slot)):
                return None
            self.lists[slot] = Instance("", first.name) if isinstance(first, Instance) else Var(first.aval)
            if isinstance(first, Instance):
                self.lists[slot].definition = first.definition
        return kind, self.lists[slot]

    def reads_outside(self) -> bool:
        """Whether what others read of the repeats can be said: of all of them, or of the last."""
        self.collected: list[int] = []
        self.last: list[int] = []
        handed = {role[3] for roles in self.roles for role in roles if role[0] == "carried"}
        stop = self.start + self.period * self.count
        for n in range(len(self.made[0])):
            outside = []
            for k in range(self.count):
                begin = self.start + k * self.period
                end = begin + self.period
                ahead = end + self.period if n in handed and k + 1 < self.count else end
                users = self.readers.get(self.made[k][n], ())
                outside.append(any(not begin <= user < min(ahead, stop) for user in users))
            if any(outside[:-1]):
                self.collected.append(n)
            elif outside[-1]:
                self.last.append(n)
        plain = len(self.collected) <= 1 and not self.carried and not self.last and self.period <= 3
        made = [n for n, statement in enumerate(self.repeats[0]) for _ in outputs(statement)]
        makers = {made[n] for n in self.collected}
        inner = [one for one in self.repeats[0] if isinstance(one, Repetition)]
        listed = {out for one in inner for _, items in one.collected for out in items}
        columns = {n for n in self.collected if self.folding.is_column(tuple([row[n] for row in self.made]))}
        if any(self.made[0][n] in listed and n not in columns for n in self.collected):
            return False  # lists of lists
        alone = {made[n] for n in self.collected if n not in columns}
        if len(alone) > MOST_KEPT:
            return False
        cost = 0 if plain else 2 * (len(alone) + (alone != makers))  # lines for lists
        if (self.count - 1) * self.period - cost < LEAST_SAVED:
            return False
        written = [items for items in self.lists if not self.folding.is_known(items)]
        if written and any(isinstance(statement, Assignment) for statement in self.repeats[0]) and self.period < 5:
            return False
        return not written or (self.count <= MOST_WRITTEN and len(written) <= MOST_LISTS)

    # ---- the loop

    def loop(self, names: dict[Var, str]) -> Repetition:
        made = [Var(var.aval, var.name) for var in self.made[0]]
        origin, stands_for = self.folding.origin, self.folding.stands_for
        for var, old in zip(made, self.made[0], strict=True):
            origin[var] = stands_for(old)
            if old in names:
                names[var] = names[old]
        loop = Repetition(self.count, [])
        fresh = dict(zip(self.made[0], made, strict=True))
        for statement, roles, moving in zip(self.repeats[0], self.roles, self.moving, strict=True):
            own = [made[role[1]] if role[0] == "inner" else role[1] for role in roles]
            loop.body.append(rewired(statement, own, fresh, moving, loop))
        for (_, n), inside in self.carried.items():
            before = next(
                role[2] for roles in self.roles for role in roles if role[0] == "carried" and role[1] is inside
            )
            loop.carried.append((before, inside, made[n]))
            origin[inside] = stands_for(before)
        for items, inside in self.lists.items():
            origin[inside] = stands_for(items[0])
        loop.lists = [(inside, items) for items, inside in self.lists.items()]
        for n in self.collected:
            items = tuple(self.made[k][n] for k in range(self.count))
            loop.collected.append((made[n], items))
        loop.last = [(made[n], self.made[-1][n]) for n in self.last]
        if loop.collected and not loop.carried:
            every = (*loop.collected, *loop.lists)
            found = {self.folding.keys(tuple(map(stands_for, items))) for _, items in every}
            found.discard(None)
            loop.keys = found.pop() if len(found) == 1 else None
        return loop


def _free(taken: np.ndarray[Any, Any], start: int, period: int, count: int) -> tuple[int, int]:
    """Where those turns start that stand in no other loop, and how many there are: the most in a row."""
    turns = taken[start : start + period * count].reshape(count, period).any(axis=1)
    ends = np.flatnonzero(np.concatenate([[True], turns, [True]]))
    longest = int(np.argmax(np.diff(ends)))
    return start + int(ends[longest]) * period, int(ends[longest + 1] - ends[longest]) - 1


def _all_but_one(slot: tuple[Any, ...]) -> bool:
    """Whether the first or the last turn alone reads another value: that is no list, but a turn that does otherwise."""
    return len(slot) > 2 and (len(set(slot[1:])) == 1 or len(set(slot[:-1])) == 1)

"""Sums of many contributions as one value that grows: how an outline sees what a backward pass adds up.

The gradient of a weight that a loop uses is a sum of as many contributions as there are turns, which the tape adds up
in runs of sixteen: so no two turns do the same. Seen as a `Sum` they do: each adds its own to what it was handed.

1. `sums_in` finds the sums of a graph: equations that are just those which a `Sum` makes.
2. `collapsed` is the graph in which each contribution is one equation, ``S1 = S0 + x``, whatever it is in the graph
   (nothing for the first, two sums where a run ends), with ``S0 = Sum()`` before and ``S.total()`` behind.
3. What stands for no equation has no place of its own: an outline puts it where it is read (`is_loose`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.table import RUN
from tensorgraph.graph.call_tree import chain_of
from tensorgraph.graph.calls import Grown
from tensorgraph.graph.equation import SUM, Equation, Origin, Var
from tensorgraph.ops.arithmetic import add

if TYPE_CHECKING:
    from tensorgraph.engine.op import Op
    from tensorgraph.graph.calls import Call
    from tensorgraph.graph.graph import Graph

__all__ = ["BEGIN", "TOTAL", "Collapsed", "Growing", "Sums", "collapsed", "is_growing", "is_loose", "sums_in"]

FEWEST = 5  # contributions to a sum that is one value: fewer are written as an expression
FEWEST_ALIKE = 3  # if all are made in the same way, each in a call of its own
SHIFTS = 3  # how many sums below the first contribution may be part of it


class Growing(Aval):
    """The type of a sum to which more may be added."""

    __slots__ = ()


def is_growing(atom: Any) -> bool:
    return type(atom) is Var and type(atom.aval) is Growing


def _word(name: str, *inputs: str) -> Op:
    """What stands for an op in an equation that no graph has."""
    signature = SimpleNamespace(variadic=False, lists=(), optional=())
    word = SimpleNamespace(
        name=name, inputs=inputs, outputs=("total",), attrs={}, infix=None, single=True, residuals=(), joint=None,
        rules=dict.fromkeys(inputs), signature=signature, traits=frozenset(), primal=None,
    )  # fmt: skip
    return cast("Op", _Word(**vars(word)))


class _Word(SimpleNamespace):
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


BEGIN, TOTAL = _word("Sum"), _word("total", "grown")


@dataclass(eq=False, slots=True)
class Sums:
    """One sum: what is added up, by which equations, and what comes of it.

    `adds` has for each contribution the equation that adds it, or that adds up the run before it; None where there is
    none. `last` is the equation that adds the runs up, if there are several, and `also` what follows on one of these:
    where the sum of a run completes one of runs. So many contributions a turn or a call has as `period` says.
    """

    contributions: tuple[Var, ...]
    adds: tuple[int | None, ...]
    last: int | None
    total: Var
    also: frozenset[int] = frozenset()
    period: int = 1

    def equations(self) -> set[int]:
        """All that it is added up by."""
        return {number for number in (*self.adds, self.last, *self.also) if number is not None}


# sums of a graph --------------------------------------------------------------------------------------------------


def sums_in(graph: Graph) -> list[Sums]:
    """The sums of a graph that are long enough."""
    return _Search(graph).found


class _Search:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.equations, self.index = graph.equations, graph.index
        calls = {call for eq in graph.equations if eq.call is not None for call in eq.call.callers()}
        # what a text calls sums: it knows of no gradients
        self.told = {value for call in calls for one in call.names if type(one) is Grown for value in one.values}
        behind: dict[int, int] = {}  # the sum that a sum is the left side of
        for number, eq in enumerate(self.equations):
            if _adds(eq) and (before := self._maker(eq.inputs[0])) is not None:
                behind[before] = number
        self.lines: dict[Var, list[int]] = {}  # sums, each of which the next goes on with, by what comes of them
        for number, eq in enumerate(self.equations):
            if not _adds(eq) or self._maker(eq.inputs[0]) is not None:
                continue
            line = [number]
            while line[-1] in behind:
                line.append(behind[line[-1]])
            self.lines[self.equations[line[-1]].outputs[0]] = line
        self.found: list[Sums] = []
        taken: set[int] = set()
        for total, line in sorted(self.lines.items(), key=lambda item: -item[1][-1]):
            made = None if len(line) + 1 < FEWEST_ALIKE or taken.intersection(line) else self._sum(total, line)
            if made is not None:
                own = made.equations()
                if not taken & own:
                    taken |= own
                    self.found.append(made)
        self.found.reverse()

    def _maker(self, var: Any) -> int | None:
        """The equation that makes a value, if that is a sum which nothing reads but one equation."""
        number = self.index.position.get(var)
        if number is None or not _adds(self.equations[number]) or not self._is_inner(var):
            return None
        return number

    def _is_inner(self, var: Var) -> bool:
        users = self.index.users.get(var, ())
        alone = len(users) == 1 and var not in self.index.results
        return alone and sum(atom is var for atom in self.equations[users[0]].variables()) == 1

    def _sum(self, total: Var, line: list[int]) -> Sums | None:
        """The sum that a line of additions is; what comes before the first contribution may be a part of that."""
        shifts = range(min(SHIFTS, len(line) - 1) + 1)
        rights = [self._code(self._right(line, place)) for place in range(len(line))]
        alike = [shift for shift in shifts if _period([self._code(self._left(line, shift)), *rights[shift:]])]
        for shift in dict.fromkeys((*alike, *shifts)):
            made = self._of(total, line[shift:])
            cut = shift and shift not in alike  # the end of a plain line of additions is one run, and no sum by itself
            if made is None or (cut and RUN <= len(made.contributions) <= RUN + 1):
                continue
            if self._is_long(made) and self._is_gradient(made) and self._is_in_order(made):
                made.period = self._turn(made)
                return made
        return None

    def _is_gradient(self, made: Sums) -> bool:
        """Whether it is added up by a backward pass, or by a text as one: what else is added up is written so."""
        own = [self.equations[number].origin for number in made.equations()]
        return all(own) or not self.told.isdisjoint(made.contributions)

    def _turn(self, made: Sums) -> int:
        """How many contributions come again and again: those that are added in one call, or are made alike."""
        chains = [chain_of(self.equations[number]) for number in made.adds if number is not None]
        depth = 0
        while all(len(chain) > depth and chain[depth] == chains[0][depth] for chain in chains):
            depth += 1
        if any(len(chain) == depth for chain in chains):
            return _period(list(map(self._code, made.contributions))) or 1
        sizes = [len(list(group)) for _, group in itertools.groupby(chains, key=lambda chain: chain[depth])]
        return max(set(sizes), key=sizes.count)

    def _is_long(self, made: Sums) -> bool:
        """Whether there are contributions enough for a value that grows."""
        count = len(made.contributions)
        if count >= FEWEST or count < FEWEST_ALIKE:
            return count >= FEWEST
        makers = [self.index.position.get(value, -1) for value in made.contributions]
        calls = {self.equations[maker].call for maker in makers}
        return len(set(map(self._code, made.contributions))) == 1 and min(makers) >= 0 and len(calls) == count

    def _left(self, line: list[int], place: int) -> Any:
        return self.equations[line[place]].inputs[0]

    def _right(self, line: list[int], place: int) -> Any:
        return self.equations[line[place]].inputs[1]

    def _code(self, var: Any) -> Any:
        """What makes a value."""
        number = self.index.position.get(var)
        return None if number is None else (self.equations[number].op.name, len(self.equations[number].inputs))

    def _of(self, total: Var, line: list[int]) -> Sums | None:
        found = self._added(line)
        if found is None:
            return None
        contributions, adds, last = found
        first = tuple(own[0] if own else None for own in adds)
        also = frozenset(number for own in (*adds, last) for number in own[1:])
        return Sums(tuple(contributions), first, last[0] if last else None, total, also)

    def _added(self, line: list[int]) -> tuple[list[Var], list[tuple[int, ...]], tuple[int, ...]] | None:
        """What a line of additions adds up; for each the equations that are due when it comes, and those at the end."""
        contributions: list[Any] = [self._left(line, 0), *[self._right(line, k) for k in range(len(line))][: RUN - 1]]
        adds: list[tuple[int, ...]] = [(), *[(number,) for number in line[: RUN - 1]]]
        due: tuple[int, ...] = ()
        for place in range(RUN - 1, len(line)):  # sums of runs, and then of sums of runs
            level = place // (RUN - 1)
            run, is_last = self._right(line, place), place == len(line) - 1
            inner = (self.lines.get(run, []) if self._is_inner(run) else [])[-level * (RUN - 1) :]
            if is_last and inner:
                inner = self._alike(inner, run, contributions[0])
            more = self._added(inner) if inner else ([run], [()], ())
            if more is None or len(more[0]) > RUN**level or (len(more[0]) < RUN**level and not is_last):
                return None
            contributions += more[0]
            adds += [due, *more[1][1:]]
            due = (*more[2], line[place])
        return contributions, adds, due

    def _alike(self, inner: list[int], run: Any, first: Any) -> list[int]:
        """The end of a line of additions that begins with what is made as the first contribution is; none of it, where
        all of it is one contribution."""
        for shift in range(min(SHIFTS, len(inner) - 1) + 1):
            if self._code(self._left(inner, shift)) == self._code(first):
                return inner[shift:]
        return [] if self._code(run) == self._code(first) else inner

    def _is_in_order(self, one: Sums) -> bool:
        """Whether each contribution is added when it is there, and before the next."""
        numbers = [number for number in (*one.adds, one.last) if number is not None]
        rising = all(a < b for a, b in itertools.pairwise(numbers))
        position = self.index.position
        return rising and all(
            number is None or position.get(value, -1) < number
            for value, number in zip(one.contributions, one.adds, strict=True)
        )


def _period(codes: Sequence[Any]) -> int:
    """How many come again and again: what each turn adds, or each call; 0 where none do."""
    return next((n for n in range(1, len(codes) // 2 + 1) if codes[:-n] == codes[n:]), 0)


def _adds(eq: Equation) -> bool:
    if eq.op is not add or len(eq.outputs) != 1:
        return False
    aval = eq.outputs[0].aval
    same = all(type(atom) is Var and atom.aval == aval for atom in eq.inputs)
    return same and type(aval) is Aval and aval.dtype.kind == "f"


# the graph in which they are values -----------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Collapsed:
    """A graph with sums as values.

    Attributes
    ----------
    graph : Graph
        Not one that runs.
    numbers : list of int
        For each of its equations the number of the first that it stands for.
    grown : dict
        The value of a sum by all that is added to it, and how much of it was added by then.
    """

    graph: Graph
    numbers: list[int]
    grown: dict[tuple[tuple[Var, ...], int], Var] = field(default_factory=dict)


def is_loose(eq: Equation) -> bool:
    """Whether an equation stands for none of the graph and may stand anywhere: a sum's beginning, a run's total."""
    return eq.op is BEGIN or (eq.op is TOTAL and bool(eq.attrs["loose"]))


def collapsed(graph: Graph, sums: Sequence[Sums]) -> Collapsed:
    """The graph with these sums as values."""
    return _Collapse(graph, sums).made


class _Collapse:
    def __init__(self, graph: Graph, sums: Sequence[Sums]) -> None:
        self.graph, self.equations = graph, graph.equations
        self.position = graph.index.position
        self.chains: dict[tuple[Any, Any], Any] = {}
        own = {number for one in sums for number in one.equations()}
        self.own = own
        self.also = {number for one in sums for number in one.also}
        self.rank = [0, *itertools.accumulate(number not in own for number in range(len(self.equations)))]
        self.places = [number for number in range(len(self.equations)) if number not in own]  # of the others, by rank
        order = {id(one): n for n, one in enumerate(sorted(sums, key=lambda one: one.adds[1] or 0))}
        self.instead: dict[int, Equation] = {}
        self.before: dict[int, list[tuple[int, int, Equation]]] = {}  # what stands before an equation
        self.order_of = {number: order[id(one)] for one in sums for number in one.adds if number is not None}
        self.order_of |= {one.last: len(sums) for one in sums if one.last is not None}
        self.made = Collapsed(graph, [])
        for one in sums:
            self._collapse(one, order[id(one)])
        equations: list[Equation] = []
        numbers = self.made.numbers
        for number in range(len(self.equations) + 1):
            for _, _, eq in sorted(self.before.get(number, ()), key=lambda item: item[:2]):
                equations.append(eq)
                numbers.append(number)
            if number < len(self.equations) and number not in self.also:
                equations.append(self.instead.get(number, self.equations[number]))
                numbers.append(number)
        self.made.graph = graph.replace(equations=tuple(equations))

    def _collapse(self, one: Sums, order: int) -> None:
        aval = Growing(one.total.aval.shape, one.total.aval.dtype)
        every = [Var(aval) for _ in range(len(one.contributions) + 1)]
        places: list[int] = []
        events: list[tuple[int | None, Equation]] = []
        for k, (value, number) in enumerate(zip(one.contributions, one.adds, strict=True)):
            like = self._like(one, k) if number is None else self.equations[number]
            place = self._place(one, k, order) if number is None else number
            events.append((number, _on(like, add, (every[k], value), every[k + 1])))
            places.append(place)
        chains = [self._chain(eq) for _, eq in events]
        depth = 0
        while all(len(chain) > depth and chain[depth] == chains[0][depth] for chain in chains):
            depth += 1
        around = chains[0][:depth]
        for (number, eq), place in zip(events, places, strict=True):
            if number is None:
                self.before.setdefault(place, []).append((1, order, eq))
            else:
                self.instead[number] = eq
        like = self.equations[one.adds[1] or 0]
        outer = around[-1][0] if around else None
        begin = _on(like, BEGIN, (), every[0], call=outer)
        self.before.setdefault(self._before(places[0], around, chains[0]), []).append((0, order, begin))
        self.made.grown.update(((one.contributions, k), var) for k, var in enumerate(every))
        self._total(one, order, every[-1], (places[-1], around, chains[-1]), outer)

    def _total(self, one: Sums, order: int, grown: Var, end: tuple[int, Any, Any], outer: Call | None) -> None:
        place, around, chain = end
        like = self.equations[one.adds[1] or 0]
        if one.last is not None:
            eq = self.equations[one.last]
            follows = next((n for n in range(one.last + 1, len(self.equations)) if n not in self.own), None)
            inside = self._chain(eq)
            goes_on = follows is not None and self._is_within(self._chain(self.equations[follows]), around, inside)
            known = eq.call if goes_on or len(inside) <= len(around) else outer
            self.instead[one.last] = _on(eq, TOTAL, (grown,), one.total, call=known, loose=False)
            return
        users = self.graph.index.users.get(one.total, ())
        first = users[0] if users else len(self.equations)
        behind = place + (place in self.instead)
        while behind < first and self._is_within(self._chain(self.equations[behind]), around, chain):
            behind += 1
        if (
            len(chain) > len(around)
            and behind == first < len(self.equations)
            and self._is_within(self._chain(self.equations[behind]), around, chain)
        ):  # it is read in the call that adds the last contribution
            behind, outer, like = place + (place in self.instead), chain[-1][0], self.equations[place]
        total = _on(like, TOTAL, (grown,), one.total, call=outer, loose=True)
        self.before.setdefault(behind, []).append((-1, order, total))

    # ---- where what stands for no equation stands

    def _like(self, one: Sums, k: int) -> Equation:
        """An equation in whose call the contribution is added."""
        maker = self.position.get(one.contributions[k])
        second = self.equations[one.adds[1] or 0]
        later = self._later(one, k)
        if later is not None:
            inner = self._chain(second)
            around, own = (self._chain(self.equations[number]) for number in later)
            depth = len(inner) - (len(own) - len(around))
            if 0 <= depth < len(inner) and own[: len(around)] == around:
                return replace(second, call=inner[depth][0].parent)
        known = self.position.get(one.contributions[1])
        if maker is not None and known is not None and self.equations[known].call is second.call:
            return self.equations[maker]
        return second

    def _later(self, one: Sums, k: int) -> tuple[int, int] | None:
        """Of the first contribution of several that each turn has: where that of the next turn is added, and the one
        behind it."""
        if k > 0 or one.period == 1 or len(one.contributions) > RUN:
            return None
        first, second = one.adds[one.period : one.period + 2]
        return None if first is None or second is None else (first, second)

    def _place(self, one: Sums, k: int, order: int) -> int:
        """Before which equation a contribution is added: as far behind what makes it as others are behind theirs."""
        other = 1 if k == 0 else k - 1
        number, follows = one.adds[other], one.adds[k + 1] if k + 1 < len(one.adds) else one.last
        made, known = self.position.get(one.contributions[k]), self.position.get(one.contributions[other])
        assert number is not None and follows is not None
        later = self._later(one, k)
        if later is not None:
            rank = self.rank[follows] - (self.rank[later[1]] - self.rank[later[0]])
        elif made is None or known is None:
            return follows
        else:
            rank = self.rank[made] + self.rank[number] - self.rank[known]
        made = -1 if made is None else made
        place = self.places[max(rank, 0)] if rank < len(self.places) else len(self.equations)
        while place > made + 1 and place - 1 in self.own and self.order_of.get(place - 1, -1) > order:
            place -= 1
        return min(max(place, made + 1, number + 1 if k else 0), follows)

    def _chain(self, eq: Equation) -> Any:
        key = eq.call, () if eq.origin is None else eq.origin.passes
        found = self.chains.get(key)
        if found is None:
            found = self.chains[key] = chain_of(eq)
        return found

    def _is_within(self, chain: Any, around: Any, inner: Any) -> bool:
        """Whether an equation stands in that call of those directly inside `around` in which another one stands."""
        depth = len(around)
        return len(inner) > depth and len(chain) > depth and chain[: depth + 1] == inner[: depth + 1]

    def _before(self, place: int, around: Any, chain: Any) -> int:
        while place > 0 and self._is_within(self._chain(self.equations[place - 1]), around, chain):
            place -= 1
        return place


def _on(
    like: Equation, op: Op, inputs: tuple[Var, ...], out: Var, call: Any = ..., loose: bool | None = None
) -> Equation:
    """An equation in the place of another."""
    origin = like.origin
    if origin is not None:
        origin = Origin(origin.of, SUM, origin.passes)
    attrs = {} if loose is None else {"loose": loose}
    return Equation(op, inputs, attrs, (out,), like.call if call is ... else call, like.source, origin)

"""Graphs of one function at several sizes that are longer or shorter, as one text: what repeats is a loop over a size.

An LSTM over ``f32[N, T, 3]`` is ``for t in range(T):`` with the equations of one turn.
"""

# The plan:
# 1. in each graph find loops: equations that come again, each time reading the same, its own turn, the turn before, or
#    those of an earlier loop in turn; loops that are as long at every size are none;
# 2. all graphs must then be alike: as many equations between the loops, and in a turn of each;
# 3. a number is an expression of the sizes, and in a loop of the turn too;
# 4. what a turn reads of the one before is a variable that the loop assigns; what is read later of all turns is a list;
# 5. nothing here need be proved: whoever asks reads the text back and compares it with the graphs.

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from tensorgraph.graph.graph import Equation, Graph, Literal, Var, Write
from tensorgraph.text.equations import Equations
from tensorgraph.text.lines import broken
from tensorgraph.text.names import identifier, reserved
from tensorgraph.text.printing import Printer, free
from tensorgraph.text.sizes import Numbers, Sample, generalised, line_of
from tensorgraph.text.terms import Names

__all__ = ["rolled"]

Key: TypeAlias = tuple[int, int, int]  # of a value: the part, the equation in it, the output
FEWEST = 3  # turns of a loop
LONGEST = 400  # equations of a turn


def rolled(samples: Sequence[Sample], dims: Sequence[str]) -> str | None:
    """The text of these graphs with loops over sizes; None where they are not alike.

    Raises
    ------
    SizeError
        Where a number follows the sizes and the turn in no way that can be told.
    """
    graphs = [graph for _, graph in samples]
    if any(isinstance(value, Graph) for graph in graphs for eq in graph.equations for value in eq.attrs.values()):
        return None
    found = [loops_of(graph.equations) for graph in graphs]
    if len({len(loops) for loops in found}) > 1:
        return None
    grows = [len({loop.turns for loop in alike}) > 1 for alike in zip(*found, strict=True)]
    programs = [
        Program(graph, [loop for loop, own in zip(loops, grows, strict=True) if own])
        for graph, loops in zip(graphs, found, strict=True)
    ]
    if len({program.form for program in programs}) > 1 or not any(grows):
        return None
    return "\n".join(_Text([sizes for sizes, _ in samples], programs, dims).function())


class Loop(NamedTuple):
    """Equations `start` to ``start + length * count`` of a graph: so many turns of so many."""

    start: int
    length: int
    turns: int

    @property
    def end(self) -> int:
        return self.start + self.length * self.turns


# loops of one graph -----------------------------------------------------------------------------------------------


def loops_of(equations: Sequence[Equation]) -> list[Loop]:
    """What repeats, from the front: of what begins at an equation, that which covers most."""
    codes = [_code(eq) for eq in equations]
    made = {out: (n, k) for n, eq in enumerate(equations) for k, out in enumerate(eq.outputs)}
    reads = [[_read(atom, made) for atom in _flat(eq.inputs)] for eq in equations]
    found: list[Loop] = []
    start = 0
    while start < len(equations):
        best: Loop | None = None
        for length in range(1, min(LONGEST, (len(equations) - start) // FEWEST) + 1):
            if codes[start] != codes[start + length]:
                continue
            loop = Loop(start, length, _turns(codes, start, length))
            loop = loop._replace(turns=_consistent(loop, reads)) if loop.turns >= FEWEST else loop
            if loop.turns >= FEWEST and (best is None or loop.end > best.end):
                best = loop
        if best is not None:
            found.append(best)
        start = start + 1 if best is None else best.end
    return found


def _code(eq: Equation) -> Any:
    """What equations of two turns share; what was a number at first may be a value afterwards."""
    return (
        eq.op.name, tuple(len(atom) if isinstance(atom, tuple) else -1 for atom in eq.inputs),
        repr(_shape_of(dict(eq.attrs))), tuple((out.aval.ndim, out.aval.dtype.name) for out in eq.outputs),
    )  # fmt: skip


def _shape_of(value: Any) -> Any:
    """An attribute without its numbers."""
    if isinstance(value, dict):
        return [(key, _shape_of(one)) for key, one in value.items()]
    if isinstance(value, (tuple, list)):
        return [_shape_of(one) for one in value]
    return "#" if type(value) in (int, float) else value


def _turns(codes: Sequence[Any], start: int, length: int) -> int:
    count, body = 1, codes[start : start + length]
    while codes[start + count * length : start + (count + 1) * length] == body:
        count += 1
    return count


def _flat(atoms: Sequence[Any]) -> Iterator[Any]:
    for atom in atoms:
        if isinstance(atom, tuple):
            yield from _flat(atom)
        else:
            yield atom


def _read(atom: Any, made: Mapping[Var, tuple[int, int]]) -> Any:
    """An operand: (number of the equation, of its output), or itself where none makes it; None of a literal."""
    return None if type(atom) is not Var else made.get(atom, atom)


def _consistent(loop: Loop, reads: Sequence[Sequence[Any]]) -> int:
    """How many turns read in the same way; the first may read anything where others read the turn before."""
    for r in range(loop.length):
        rows = [reads[loop.start + j * loop.length + r] for j in range(loop.turns)]
        if len({len(row) for row in rows}) > 1:
            return 0
        for slot in zip(*rows, strict=True):
            for turn in (0, *range(2, loop.turns)):
                if not _follows(loop, slot, turn):
                    if turn < FEWEST:
                        return 0
                    return _consistent(loop._replace(turns=turn), reads)
    return loop.turns


def _follows(loop: Loop, slot: Sequence[Any], turn: int) -> bool:
    """Whether a turn reads what follows from what the second and the third read."""
    one, two, now = slot[1], slot[2], slot[turn]
    if type(one) is not tuple or type(two) is not tuple:
        return one is two is now
    step, back = two[0] - one[0], one[0] < loop.start + loop.length
    inside = two[0] >= loop.start and one[0] >= loop.start
    if inside and step != loop.length:
        return False
    if turn == 0 and inside and back:
        return True
    return type(now) is tuple and now == (one[0] + step * (turn - 1), one[1]) and (inside or now[0] < loop.start)


# the parts of a graph -------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A value that an equation gives: what it is in each turn, and the turn."""

    key: Key
    turn: int


class Part(NamedTuple):
    """Some equations of a graph, or those of the turns of a loop."""

    turns: Sequence[Sequence[Equation]]
    loops: bool


class Program:
    """A graph in parts, loops and what is between them."""

    def __init__(self, graph: Graph, loops: Sequence[Loop]) -> None:
        self.graph = graph
        equations, at = graph.equations, 0
        self.parts: list[Part] = []
        for loop in (*loops, Loop(len(equations), 1, 0)):
            self.parts.append(Part([equations[at : loop.start]], False))
            turns = [equations[loop.start + j * loop.length :][: loop.length] for j in range(loop.turns)]
            if turns:
                self.parts.append(Part(turns, True))
            at = loop.end
        self.places = {
            out: Place((p, n, k), j)
            for p, part in enumerate(self.parts)
            for j, turn in enumerate(part.turns)
            for n, eq in enumerate(turn)
            for k, out in enumerate(eq.outputs)
        }
        outside = [*graph.inputs, *(cell.var for cell in graph.cells), *graph.consts]
        self.outside = {var: n for n, var in enumerate(outside)}

    @property
    def form(self) -> Any:
        """What programs that are alike share."""
        return tuple((part.loops, tuple(map(_code_at_any_size, part.turns[0]))) for part in self.parts)


def _code_at_any_size(eq: Equation) -> Any:
    return eq.op.name, len(eq.outputs), tuple(isinstance(atom, tuple) or type(atom) is Var for atom in eq.inputs)


# the text -------------------------------------------------------------------------------------------------------------


class Statement(NamedTuple):
    """A line to be: an equation on tokens, and what its outputs are called by."""

    eq: Equation
    outputs: tuple[Key, ...]


class _Text(Printer):
    """The function of several programs that are alike."""

    def __init__(self, sizes: Sequence[Mapping[str, int]], programs: Sequence[Program], dims: Sequence[str]) -> None:
        self.sizes, self.programs, self.parts = sizes, programs, programs[0].parts
        heads = [p.graph.replace(equations=(), writes=(), outputs=()) for p in programs]
        head = generalised([*zip(sizes, heads, strict=True)])
        super().__init__(head, {*dims}, types=False)
        self.used = {*self.name.values(), *reserved(), *dims, self.called}
        self.turn = self._free("t")
        self.outside = [*head.inputs, *(cell.var for cell in head.cells), *head.consts]
        self.plain = Numbers(Names(sizes), head.name)
        self.own: dict[Key, Var] = {}  # tokens by part, number and output
        self.unnamed: list[Var] = []
        self.lists: dict[Key, str] = {}
        self.carried: dict[Key, tuple[Var, Any, int]] = {}  # token, the value at first, last reader
        self.lines: list[tuple[int, list[Statement]]] = []
        for p, part in enumerate(self.parts):
            for n, eq in enumerate(part.turns[0]):
                for k, out in enumerate(eq.outputs):
                    token = self.own[p, n, k] = Var(out.aval, out.name)
                    self.name[token] = self._free(identifier(out.name) if out.name else f"v{len(self.unnamed)}")
                    if not out.name:
                        self.unnamed.append(token)
        self.statements = [self._statements(p) for p in range(len(self.parts))]
        graphs = [program.graph for program in programs]
        outputs = [
            self._operand(list(alike), [None] * len(graphs), None, self.plain)
            for alike in zip(*[g.outputs for g in graphs], strict=True)
        ]
        writes = [
            Write(head.cells[graphs[0].cells.index(next(c for c in graphs[0].cells if c.var is w[0].cell))].var,
                  self._operand([one.value for one in w], [None] * len(graphs), None, self.plain))
            for w in zip(*[g.writes for g in graphs], strict=True)
        ]  # fmt: skip
        self.graph = head.replace(outputs=tuple(outputs), writes=tuple(writes), out_tree=graphs[0].out_tree)
        self._call_by_one_name()

    def _free(self, wanted: str) -> str:
        name = free(wanted, self.used)
        self.used.add(name)
        return name

    # from graphs to statements -----------------------------------------------------------------------------------

    def _statements(self, p: int) -> list[Statement]:
        part = self.parts[p]
        numbers, found = self.plain, []
        if part.loops:
            points = [
                {**sizes, self.turn: j}
                for sizes, program in zip(self.sizes, self.programs, strict=True)
                for j in range(len(program.parts[p].turns))
            ]
            numbers = Numbers(Names(points), self.programs[0].graph.name)
        for n, first in enumerate(part.turns[0]):
            numbers.line = line_of(first)
            alike = [turn[n] for program in self.programs for turn in program.parts[p].turns]
            turns = [j for program in self.programs for j in range(len(program.parts[p].turns))]
            at = (p, n) if part.loops else None
            inputs = tuple(
                self._operand([eq.inputs[k] for eq in alike], turns, at, numbers) for k in range(len(first.inputs))
            )
            attrs = {key: numbers.value([eq.attrs[key] for eq in alike]) for key in first.attrs}
            keys = tuple((p, n, k) for k in range(len(first.outputs)))
            outputs = tuple(self.own[key] for key in keys)
            for k, out in enumerate(outputs):
                out.aval = numbers.aval([eq.outputs[k].aval for eq in alike])
            found.append(Statement(replace(first, inputs=inputs, attrs=attrs, outputs=outputs), keys))
        return found

    def _operand(self, atoms: list[Any], turns: Sequence[Any], at: tuple[int, int] | None, numbers: Numbers) -> Any:
        """What stands for operands that are alike: of each program, and of each of its turns."""
        first = atoms[0]
        if isinstance(first, tuple):
            before, token, behind = self._whole(atoms) or (len(first), None, 0)
            if token is None and len({len(atom) for atom in atoms}) > 1:
                raise numbers.refused(atoms)
            outer = [*range(before), *range(-behind, 0)]
            values = [self._operand([atom[k] for atom in atoms], turns, at, numbers) for k in outer]
            return (*values[:before], *([] if token is None else [token]), *values[before:])
        if not any(type(atom) is Var for atom in atoms):
            return numbers.literal(atoms)
        programs = self._owners(atoms, turns)
        places = [
            program.places.get(atom) if type(atom) is Var else None
            for program, atom in zip(programs, atoms, strict=True)
        ]
        if at is not None:
            earlier = [place for place, turn in zip(places, turns, strict=True) if turn > 0]
            last = [turn - 1 for turn in turns if turn > 0]
            key = None if earlier[0] is None else earlier[0].key
            if (
                key is not None
                and key[0] == at[0]
                and all(
                    place is not None and place.key == key and place.turn == turn
                    for place, turn in zip(earlier, last, strict=True)
                )
            ):
                start = [atom for atom, turn in zip(atoms, turns, strict=True) if turn == 0]
                return self._carry(key, start, at[1])
        if places[0] is None:
            outside = {program.outside.get(atom) for program, atom in zip(programs, atoms, strict=True)}
            if len(outside) != 1 or None in outside:
                raise numbers.refused(atoms)
            return self.outside[outside.pop()]  # type: ignore[index]
        key = places[0].key
        if any(place is None or place.key != key for place in places):
            raise numbers.refused(atoms)
        token = self.own[key]
        if not self.parts[key[0]].loops or (at is not None and key[0] == at[0]):
            return token
        index = [place.turn for place in places if place is not None]
        if at is None and all(n == len(program.parts[key[0]].turns) - 1 for n, program in zip(index, programs)):
            return token  # as the loop has left it
        return self._item(token, self._list(key), str(numbers.number(tuple(index))))

    def _owners(self, atoms: Sequence[Any], turns: Sequence[Any]) -> list[Program]:
        """The program of each of some operands."""
        if len(atoms) == len(self.programs):
            return list(self.programs)
        found: list[Program] = []
        n = -1
        for turn in turns:
            n += turn == 0
            found.append(self.programs[n])
        return found

    def _carry(self, key: Key, start: list[Any], reader: int) -> Var:
        value = self._operand(start, [None] * len(start), None, self.plain)
        if key not in self.carried:
            self.carried[key] = Var(self.own[key].aval, self.own[key].name), value, reader
        token, known, last = self.carried[key]
        same = known is value or (type(known) is type(value) is Literal and known.value == value.value)
        if not same:
            raise self.plain.refused(start)
        self.carried[key] = token, known, max(last, reader)
        return token

    def _list(self, key: Key) -> str:
        if key not in self.lists:
            own = self.own[key]
            self.lists[key] = self._free(f"{identifier(own.name) if own.name else self.name[own]}s")
        return self.lists[key]

    def _item(self, like: Var, name: str, index: str) -> Var:
        token = Var(like.aval)
        self.name[token] = f"{name}[{index}]"
        return token

    def _whole(self, atoms: Sequence[Any]) -> tuple[int, Var, int] | None:
        """Where a list operand has all turns' values: how many values stand before them, the list, how many behind."""
        if len(atoms) != len(self.programs):
            return None
        found = {self._run(program, atom) for program, atom in zip(self.programs, atoms, strict=True)}
        run = found.pop()
        if found or run is None:
            return None
        before, key, turned, behind = run
        token = Var(self.own[key].aval)
        self.name[token] = f"*{self._list(key)}{'[::-1]' if turned else ''}"
        return before, token, behind

    def _run(self, program: Program, atom: Sequence[Any]) -> tuple[int, Key, bool, int] | None:
        """Where the values of all turns stand in one list, and whether the last is first."""
        places = [program.places.get(var) if type(var) is Var else None for var in atom]
        for n, place in enumerate(places):
            if place is None or not program.parts[place.key[0]].loops:
                continue
            count = len(program.parts[place.key[0]].turns)
            for turned, order in ((False, range(count)), (True, range(count - 1, -1, -1))):
                if places[n : n + count] == [place._replace(turn=j) for j in order]:
                    return n, place.key, turned, len(places) - n - count
            return None
        return None

    # from statements to lines ------------------------------------------------------------------------------------

    def _call_by_one_name(self) -> None:
        """Let a value of a turn and that of the turn before have one name, where none is read after the other is."""
        reads = Counter(
            atom for statements in self.statements for one in statements for atom in _flat(one.eq.inputs)
            if type(atom) is Var
        )  # fmt: skip
        reads.update(value for _, value, _ in self.carried.values() if type(value) is Var)
        kept = {*self.graph.outputs, *(write.value for write in self.graph.writes)}
        for key, (token, value, last) in self.carried.items():
            own = self.own[key]
            if last > key[1]:
                self.name[token] = self._free(f"{self.name[own]}_before")
                continue
            plain = type(value) is Var and value in self.own.values() and reads[value] == 1 and value not in kept
            if plain:
                self.name[own] = self.name[value]
            self.name[token] = self.name[own]

    def body(self) -> Iterator[str]:
        for p, statements in enumerate(self.statements):
            if not self.parts[p].loops:
                for one in statements:
                    yield from self._line(one, 4)
                continue
            mine = {key: known for key, known in self.carried.items() if key[0] == p}
            for token, value, _ in mine.values():
                said = self.rule.atom(value)
                if said != self.name[token]:
                    yield f"    {self.name[token]} = {said}"
            for key, name in self.lists.items():
                if key[0] == p:
                    yield f"    {name} = []"
            count = self.plain.number(tuple(len(program.parts[p].turns) for program in self.programs))
            yield f"    for {self.turn} in range({count}):"
            for one in statements:
                yield from self._line(one, 8)
                for key in one.outputs:
                    if key in self.lists:
                        yield f"        {self.lists[key]}.append({self.name[self.own[key]]})"
            for key, (token, _, _) in mine.items():
                if self.name[token] != self.name[self.own[key]]:
                    yield f"        {self.name[token]} = {self.name[self.own[key]]}"

    def _line(self, one: Statement, indent: int) -> Iterator[str]:
        rule = Equations(self.name)
        head, parts, tail = rule.right(one.eq)
        lines = broken(f"{' ' * indent}{rule.left(one.eq)} = {head}", parts, tail, indent)
        yield from (ALONE.sub(r"\1", line) for line in lines)


ALONE = re.compile(r"\[\*(\w+(?:\[::-1\])?)\]")  # a list that has nothing but another one

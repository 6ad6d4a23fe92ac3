"""The body of an outline's function as lines: expressions nested as a person would nest them, names taken again.

1. A value that has no name and is read once waits on a stack. Who reads exactly what lies on top, in this order, has it
   written in place: then reading the text makes the equations in the order of the graph.
2. Whatever else becomes a line first lets all that waits become lines: so the order is kept, always.
3. What values are called is `naming.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tensorgraph.engine.tree import Treedef
from tensorgraph.graph.extents import extents_in
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.statements import (
    NOTHING,
    Application,
    Assignment,
    Block,
    Definition,
    Operation,
    Repetition,
    Statement,
    leaves,
)
from tensorgraph.ops.structure import alias
from tensorgraph.text.equations import ATOM, Equations, nested
from tensorgraph.text.heads import Head, key_text
from tensorgraph.text.keys import growing
from tensorgraph.text.lines import folded_line, typed, wrapped
from tensorgraph.text.literals import aval_text, literal_text, quoted
from tensorgraph.text.names import identifier
from tensorgraph.text.naming import Naming, root
from tensorgraph.text.structure import places, tree_text
from tensorgraph.text.turns import expect, write_loop
from tensorgraph.transforms.custom import custom_op

__all__ = ["WIDTH", "Body"]

WIDTH = 110
NUMBER = re.compile(r"(?<![\w.])\d[\d.e+-]*")
MANY = 6  # outputs that are named one by one
INDENT = "    "


class _Equations(Equations):
    """How equations read in a body: lists that have a name are called by it."""

    def __init__(self, body: Body, functions: dict[Graph, str]) -> None:
        super().__init__(body.text, functions, body.level)
        self.body = body

    def on(self, body: Body) -> _Equations:
        """The same, of another body."""
        return _Equations(body, self.functions)

    def gradients(self, eq: Equation) -> list[str]:
        args = super().gradients(eq)
        known = self.body.bundle(eq.group(1), dict) if len(eq.outputs) > 1 else None
        return args if known is None else [args[0], known, *args[2:]]  # of a dict, and so is what it gives

    def items(self, atoms: tuple[Any, ...]) -> list[str]:
        """The items of a list; lists with a name that stand in it whole, one after another, are called by it."""
        found: list[str] = []
        while atoms:
            known = self.body.start(atoms)
            found.append(self.atom(atoms[0]) if known is None else f"*{known[1]}")
            atoms = atoms[1 if known is None else known[0] :]
        return found

    def atom(self, atom: Any) -> str:
        if isinstance(atom, tuple):
            return self.body.bundle(atom, list) or f"[{', '.join(self.items(atom))}]"
        if isinstance(atom, Literal):
            return literal_text(atom.value)
        return self.body.of(atom)


class Body(Naming):
    """One function's lines.

    Parameters
    ----------
    heads : mapping of Definition to Head
        Of this function and those that it calls.
    definition : Definition
    functions : dict of Graph to str
        Functions that stand for graphs in attributes.
    types : bool
        Whether the type of each value stands behind its line.
    even : bool
        Whether lines are broken and nested as if all numbers had as many digits: texts of other sizes are alike then.
    """

    def __init__(
        self, heads: Mapping[Definition, Head], definition: Definition, functions: dict[Graph, str], types: bool,
        even: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(heads, definition)
        self.types, self.even = types, even
        self.out_tree: Treedef | None = None  # how the result nests, of the graph itself
        self.rule = _Equations(self, functions)
        self.lines: list[str] = []
        self.indent = 1
        self.room = 0  # the list of statements that is written
        self.now = 0
        self.waiting: list[Any] = []
        self.defaults: dict[Any, str] = {}  # names by what an equation does
        self.made_at: dict[Any, int] = {}  # of what waits
        self.turns: dict[Repetition, str] = {}  # the counters of loops
        self.extents: dict[tuple[Var, int], str] = {}  # names of sizes of arguments
        self.sizes: list[str] = []  # the lines that read these
        self.entered = False  # whether a cell was written
        self.written: dict[Any, str] = {}  # cells that are read at entry after they were written
        self.late: Mapping[Any, set[Any]] = {}  # who reads cells after other calls have written them: which

    # ---- lines

    def width(self, *said: str) -> int:
        return sum(len(NUMBER.sub("00000", part) if self.even else part) for part in said)

    def line(self, text: str, values: Iterator[Any] | tuple[Any, ...] = ()) -> None:
        """One line, with the types of what it makes behind it where they are wanted."""
        said = ""
        if self.types:
            avals = [aval_text(v.aval) for v in values if type(v) is Var]
            said = ", ".join(dict.fromkeys(avals) if len(set(avals)) == 1 else avals)
        pad = INDENT * self.indent
        self.lines += [pad + one for one in folded_line(text, WIDTH - len(pad))]
        if said and len(said) <= 60:
            self.lines[-1:] = typed(self.lines[-1:], said)

    def broken(self, left: str, head: str, parts: list[str], tail: str, values: tuple[Any, ...]) -> None:
        """A line, in several where it is too long."""
        pad = INDENT * self.indent
        *others, last = wrapped(f"{left}{head}", parts, tail, WIDTH - len(pad), INDENT)
        self.lines += [pad + text for text in others]
        self.line(last, values)

    def measure_arguments(self, eq: Equation) -> None:
        """Give the sizes of arguments that an equation reads names; they are read before all else."""
        for size in extents_in(eq):
            key = size.var, size.axis
            if key not in self.extents:
                self.extents[key] = self.head.fresh("n")
                self.sizes.append(f"{INDENT}{self.extents[key]} = {self.head.names[size.var]}.shape[{size.axis}]")
            size.name = self.extents[key]

    def lines_of(self) -> list[str]:
        """All lines, the return too."""
        for statement in self.definition.statements():
            if isinstance(statement, Repetition):
                expect(self, statement)
            elif isinstance(statement, Operation):
                self.measure_arguments(statement.eq)
        self.body(self.definition.body, 0)
        result = self.definition.result
        if result is not NOTHING:
            self.now = self.end
            self.consume([a for a in leaves(result) if type(a) is Var])
            self.wait_for_cells(self.definition, [a for a in leaves(result) if type(a) is Var])
            said = self.result(result)
            if self.width(said) + 11 > WIDTH and self.waiting:
                self.flush()
                said = self.result(result)
            self.waiting.clear()
            self.line(f"return {said}")
        elif not self.lines:
            self.line("return None")
        return [*self.sizes, *self.lines]

    def result(self, result: Any) -> str:
        if self.out_tree is not None:
            return tree_text(self.out_tree, iter([self.of(leaf) for leaf in leaves(result)]))
        said = self.tree(result)
        plain = isinstance(result, tuple) and len(result) > 1 and said.startswith("(")
        return said[1:-1] if plain and self.width(said) + 10 <= WIDTH else said

    def body(self, body: list[Statement], room: int) -> None:
        outer, self.room = self.room, room
        for statement in body:
            self.now = self.first[statement]
            if isinstance(statement, Operation):
                self.operation(statement)
            elif isinstance(statement, Application):
                self.application(statement)
            elif isinstance(statement, Assignment):
                self.assignment(statement)
            elif isinstance(statement, Block):
                self.flush()
                named = "" if not statement.name else f", {quoted(statement.name)}"
                self.line(f"with scope({quoted(statement.path)}{named}):")
                self.indent += 1
                self.body(statement.body, id(statement))
                self.flush()
                self.indent -= 1
            else:
                write_loop(self, statement)
        self.room = outer

    # ---- what waits

    def flush(self, count: int | None = None) -> None:
        """Let what waits become lines, from the oldest on."""
        for _ in range(len(self.waiting) if count is None else count):
            var = self.waiting.pop(0)
            said = self.text[var]
            self.level.pop(var, None)
            self.used_by.pop(var, None)
            at = self.made_at[var]
            name = self.give(var, None, at)
            self.line(f"{name} = {said}", (var,))

    def give(self, var: Any, wanted: str | None, at: int) -> str:
        """A name: the one that is wanted, or what says what the value is, or none that says anything."""
        wanted = wanted or self.defaults.get(var)
        return self.plain(var, at) if wanted is None and var not in self.handed else self.take(var, wanted or "v", at)

    def consume(self, atoms: list[Any]) -> None:
        """What stands on top in the order in which it is read now stays in place; the rest becomes lines."""
        mine = [atom for atom in atoms if atom in self.used_by]
        fits = next(n for n in range(len(mine), -1, -1) if n == 0 or within(self.waiting[-n:], mine))
        if fits < len(mine):
            self.flush(len(self.waiting) - fits)

    def wait_for_cells(self, reader: Any, atoms: list[Any]) -> None:
        """A cell that another call writes is read after what stands in the same expression behind it: then that becomes
        lines."""
        late = self.late.get(reader, ())
        first = next((place for place, atom in enumerate(atoms) if atom in late), len(atoms))
        if any(atom in self.used_by for atom in atoms[first + 1 :]):
            self.flush()

    def settle(self, mine: list[Any], keep: bool) -> None:
        """What was read in place waits no more; where a line follows, what lies below becomes lines before it."""
        count = sum(atom in self.used_by for atom in mine)
        if not keep:
            self.flush(len(self.waiting) - count)
        for var in self.waiting[len(self.waiting) - count :]:
            self.used_by.pop(var, None)
        del self.waiting[len(self.waiting) - count :]

    def may_wait(self, var: Var) -> bool:
        """Whether a value may stand where it is read."""
        return self.wanted(var) is None and self.uses.get(var) == 1 and self.rooms.get(var) == {self.room}

    def hold(self, var: Var, said: str, level: int, atoms: list[Any], mine: list[Any]) -> None:
        """A value waits."""
        used: set[str] = set()
        for atom in atoms:
            used |= self.used_by.get(atom, set()) if atom in mine else {root(self.of(atom))}
        self.settle(mine, keep=True)
        self.text[var], self.level[var] = said, level
        self.used_by[var] = used
        self.made_at[var] = self.now
        self.waiting.append(var)

    # ---- statements

    def operation(self, statement: Operation) -> None:
        eq = self.moved(statement)
        atoms = self.read_by(statement)
        self.consume(atoms)
        self.wait_for_cells(statement, atoms)
        head, parts, tail = self.rule.right(eq)
        said = f"{head}{', '.join(parts)}{tail}"
        if self.width(said) + 4 * self.indent > WIDTH - 20 and any(atom in self.used_by for atom in atoms):
            self.flush()
            head, parts, tail = self.rule.right(eq)
            said = f"{head}{', '.join(parts)}{tail}"
        mine = [atom for atom in atoms if atom in self.used_by]
        outs = eq.outputs
        bare = len(outs) == 1 and self.rule.is_bare(eq)
        if bare and eq.op is not custom_op and self.may_wait(outs[0]) and self.width(said) < WIDTH - 30:
            self.note_default(eq)
            self.hold(outs[0], said, self.rule.level_of(eq), atoms, mine)
            return
        self.settle(mine, keep=False)
        self.note_default(eq)
        if eq.op is custom_op and nested(eq):
            name = self.take(object(), "results", self.now)
            self.broken(f"{name} = ", head, parts, tail, outs)
            for var, place in zip(outs, places(eq.attrs["result"].treedef, name), strict=True):
                self.text[var] = place
            self.holder[name] = outs[0]
            self.final[outs[0]] = max(self.final.get(var, 0) for var in outs)
            return
        left = self.targets(eq)
        self.broken(f"{left} = ", head, parts, tail, outs)

    def moved(self, statement: Operation) -> Equation:
        eq = statement.eq
        if not statement.moving:
            return eq
        order = list(self.turns)  # those around others first
        moving = sorted(statement.moving, key=lambda one: order.index(one[1]))
        key = growing(eq.attrs["key"], [(place, self.turns[loop], step) for place, loop, step in moving])
        return replace(eq, attrs={**eq.attrs, "key": key})

    def note_default(self, eq: Equation) -> None:
        """What outputs are called where the user has no name for them."""
        if eq.op is alias and type(eq.inputs[0]) is Var and self.of(eq.inputs[0]).isidentifier():
            self.defaults[eq.outputs[0]] = self.of(eq.inputs[0])

    def targets(self, eq: Equation) -> str:
        """Names for what an equation gives."""
        outs = eq.outputs
        if eq.is_gradient and len(outs) > 1:
            return self.gradient_targets(eq)
        count = len(outs) - len(eq.residuals)
        if eq.op.signature.variadic and count > MANY and self.called(outs[:-1]) is None:
            unread = outs[-1] not in self.final
            several = list(outs[:-1]) if unread else list(outs)
            name = self.collect(several, eq.op.outputs[0])
            return f"*{name}, _" if unread else name
        for position, var in enumerate(outs):
            named = self.wanted(var)
            if named is None and len(outs) > 1 and var not in self.final:
                self.text[var] = "_"
                continue
            if named is None and len(outs) > 1 and not eq.op.signature.variadic:
                named = (*eq.op.outputs, *eq.op.residuals)[position]
            self.give(var, named, self.now)
        return self.rule.left(eq)

    def collect(self, values: list[Var], wanted: str) -> str:
        """One name for a list of values."""
        last = max((self.final.get(var, 0) for var in values), default=0)
        holder = object()
        name = self.take(holder, wanted, self.now)
        self.final[holder] = last
        for number, var in enumerate(values):
            self.text[var] = f"{name}[{number}]"
        self.add_bundle(values, name)
        return name

    def gradient_targets(self, eq: Equation) -> str:
        outs = list(eq.outputs)
        xs = eq.group(1)
        trees = (tree for known, tree, _ in reversed(self.bundles) if known == xs)
        keyed = next((tree for tree in trees if isinstance(tree, dict)), None)
        if keyed is not None:
            values = dict(zip(keyed, outs, strict=True))
            holder = object()
            name = self.take(holder, "grads", self.now)
            self.final[holder] = max((self.final.get(var, 0) for var in outs), default=0)
            for key, var in values.items():
                self.text[var] = f"{name}[{key_text(key)}]"
            self.add_bundle(values, name)
            return name
        names = [self.wanted(var) for var in outs]
        own = [said if names.count(said) == 1 else None for said in names]  # the variable of a loop is none
        wide = sum(len(said or f"d_{self.of(x)}") + 2 for x, said in zip(xs, own, strict=True))
        if (
            len(outs) > MANY
            or wide + 4 * self.indent + len("= gradients(") > WIDTH
            or (self.called(outs) is None and self.bundle(xs, list) is not None)
        ):
            return self.collect(outs, "grads")
        for x, var, said in zip(xs, outs, own, strict=True):
            place = self.of(x)
            self.give(var, said or (f"d_{place}" if place.isidentifier() else None), self.now)
        return ", ".join(self.text[var] for var in outs)

    def application(self, statement: Application) -> None:
        atoms = [a for a in self.read_by(statement) if type(a) is Var]
        self.consume(atoms)
        called = statement.definition.name if statement.instance is None else self.of(statement.instance)
        parts = [self.tree(tree) for tree in statement.arguments]
        long = self.width(called, *parts) + 4 * self.indent > WIDTH - 20
        if long and any(atom in self.used_by for atom in atoms):
            self.flush()
            parts = [self.tree(tree) for tree in statement.arguments]
        mine = [atom for atom in atoms if atom in self.used_by]
        result, values = statement.definition.result, statement.results
        said = f"{called}({', '.join(parts)})"
        if type(result) is Var and self.may_wait(values[0]) and self.width(said) < WIDTH - 30:
            self.hold(values[0], said, ATOM, [*atoms], mine)
            if statement.instance is not None:
                self.used_by[values[0]].add(root(called))
            return
        self.settle(mine, keep=False)
        if result is NOTHING:
            self.broken("", f"{called}(", parts, ")", ())
            return
        left = self.unpacked(result, dict(zip(statement.definition.results(), values, strict=True)))
        self.broken(f"{left} = ", f"{called}(", parts, ")", tuple(values))

    def unpacked(self, result: Any, own: Mapping[Var, Var]) -> str:
        """Names for what a call gives."""
        if type(result) is Var:
            var = own[result]
            return self.give(var, self.wanted(var), self.now)
        items = list(result) if isinstance(result, (list, tuple)) else []
        values = [own[item] for item in items if type(item) is Var]
        parts = [item for item in items if isinstance(item, (list, tuple, dict))]
        if len(values) + len(parts) == len(items) <= MANY and len(set(values)) == len(values) and items:
            names = []
            for item in items:
                if type(item) is Var:
                    names.append(self.give(own[item], self.wanted(own[item]), self.now))
                else:
                    names.append(self.whole(item, own, "saved"))
            return f"({names[0]},)" if len(names) == 1 else ", ".join(names)
        return self.whole(result, own, None)

    def whole(self, tree: Any, own: Mapping[Var, Var], wanted: str | None) -> str:
        """One name for all of a result."""
        holder: Any = object()
        name = self.give(holder, wanted, self.now)
        self.final[holder] = max(
            (self.final.get(own[leaf], 0) for leaf in leaves(tree) if type(leaf) is Var), default=0
        )
        self._place(tree, own, name)
        return name

    def _place(self, tree: Any, own: Mapping[Var, Var], place: str) -> Any:
        """How what is inside of a result is reached."""
        if isinstance(tree, dict):
            made: Any = {key: self._place(item, own, f"{place}[{key_text(key)}]") for key, item in tree.items()}
        elif isinstance(tree, (list, tuple)):
            made = [self._place(item, own, f"{place}[{number}]") for number, item in enumerate(tree)]
        else:
            if type(tree) is Var:
                if self.making.get(own[tree], self.now) == self.now:  # else it was handed over, and has its name
                    self.text[own[tree]] = place
                return own[tree]
            return tree
        self.add_bundle(made, place)
        return made

    def assignment(self, statement: Assignment) -> None:
        atoms = [statement.value] if type(statement.value) is Var else []
        self.consume(atoms)
        mine = [atom for atom in atoms if atom in self.used_by]
        self.settle(mine, keep=False)
        if not self.entered:
            self.entered = True
            self.keep_entries()
        cell = self.written.get(statement.cell) or self.of(statement.cell)
        self.line(f"{cell}.assign({self.of(statement.value)})")

    def keep_entries(self) -> None:
        """Names for what written cells hold at entry, where that is read behind the writes."""
        every = [s for s in self.definition.statements() if isinstance(s, Assignment)]
        cells = {statement.cell for statement in every}
        result = () if self.definition.result is NOTHING else leaves(self.definition.result)
        for var in dict.fromkeys([*[statement.value for statement in every], *result]):
            if type(var) is Var and var in cells:
                self.written[var] = said = self.of(var)
                holder: Any = object()
                name = self.text[var] = self.take(holder, f"{identifier(said)}_before", self.now)
                self.final[holder] = self.end
                self.line(f"{name} = {said}.read()")


def within(part: list[Any], whole: list[Any]) -> bool:
    """Whether items stand in a list in this order."""
    left = iter(whole)
    return all(item in left for item in part)

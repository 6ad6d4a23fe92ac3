"""The guard of an outline: with every call put in place and every loop unrolled it is the graph again.

On the way it notes where each call and each loop stands (`occurrences.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorgraph.graph.definitions import attributes
from tensorgraph.graph.equality import constants
from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.graph.repeats import shifted
from tensorgraph.graph.statements import (
    NOTHING,
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

if TYPE_CHECKING:
    from tensorgraph.graph.outline import Outline

__all__ = ["Unlike", "verify"]


class Unlike(Exception):
    """An outline that is not its graph."""


def verify(outline: Outline) -> Occurrence:
    """Inline an outline in memory and compare it with its graph; gives where everything stands.

    Raises
    ------
    Unlike
        Where they differ, saying how.
    """
    inlining = _Inlining(outline)
    inlining.run()
    return inlining.top


class _Inlining:
    def __init__(self, outline: Outline) -> None:
        self.outline, self.graph = outline, outline.graph
        self.next = 0  # the equation that comes
        self.attrs: dict[int, Any] = {}
        self.consts = constants(self.graph)
        self.cells = {decl.path: decl.var for decl in self.graph.cells}
        self.decls = {decl.var: decl for decl in self.graph.cells}
        self.turn: dict[Repetition, int] = {}
        self.writes: dict[Var, Any] = {}
        self.top = Occurrence(outline.main, stop=len(self.graph.equations))
        self.open = [self.top]

    def run(self) -> None:
        graph, main = self.graph, self.outline.main
        env: dict[Any, Any] = {var: var for var in (*graph.inputs, *graph.consts)}
        declared: set[str] = set()
        self.declare(main, "", [list(leaves(p.tree)) for p in main.parameters], declared)
        if declared != set(self.cells):
            raise Unlike("its cells are others")
        self.members(main, "", [], env)
        self.body(main.body, env)
        if self.next != len(graph.equations):
            raise Unlike(f"it has {self.next} equations in place of {len(graph.equations)}")
        for got, wanted in zip(leaves(main.result), graph.outputs, strict=True):
            self.compare(self.value(got, env), wanted, "a result")
        if set(self.writes) != {write.cell for write in graph.writes}:
            raise Unlike("it writes other cells")
        for write in graph.writes:
            self.compare(self.writes[write.cell], write.value, "what is written")

    def declare(self, definition: Definition, path: str, given: list[list[Any]], declared: set[str]) -> None:
        """The paths of all cells below an instance; none twice."""
        for member in definition.members:
            here = join(path, member.path)
            if isinstance(member.value, Instance):
                if member.value.definition is None:
                    raise Unlike(f"nothing calls {member.value}")
                self.declare(member.value.definition, here, self.handed(here, member.value.name), declared)
                continue
            if member.of is None:
                paths = [here]
            else:
                paths = [f"{here}.{self.decls[cell].path}" for cell in given[member.of]]
            for one in paths:
                if one in declared or one not in self.cells:
                    raise Unlike(f"the cell {one!r} is declared twice" if one in declared else f"no cell {one!r}")
                declared.add(one)

    def handed(self, path: str, name: str) -> list[list[Any]]:
        """What the instance is handed by its first call, where its cells are one a value."""
        instance = self.outline.instances.get((path, name))
        if instance is None:
            return []
        for statement in self.outline.main.statements():
            if isinstance(statement, Application) and statement.instance is instance:
                return [list(leaves(tree)) for tree in statement.arguments]
        return []

    # ---- values

    def members(self, definition: Definition, path: str, given: list[list[Any]], env: dict[Any, Any]) -> None:
        for member in definition.members:
            here = join(path, member.path)
            if isinstance(member.value, Instance):
                env[member.value] = self.instance(here, member.value.name)
            elif member.of is None:
                env[member.value] = self.cell(here)
            else:
                for value, cell in zip(member.value, given[member.of], strict=True):
                    env[value] = self.cell(f"{here}.{self.decls[cell].path}")

    def instance(self, path: str, name: str) -> Instance:
        found = self.outline.instances.get((path, name))
        if found is None:
            raise Unlike(f"there is no {name} at {path!r}")
        return found

    def cell(self, path: str) -> Var:
        found = self.cells.get(path)
        if found is None:
            raise Unlike(f"there is no cell {path!r}")
        return found

    def value(self, atom: Any, env: dict[Any, Any]) -> Any:
        if type(atom) is Literal:
            return atom
        if isinstance(atom, tuple):
            return tuple(self.value(a, env) for a in atom)
        found = env.get(atom)
        if found is None:
            found = env[atom] = self.reached(atom, env)
        return found

    def reached(self, atom: Any, env: dict[Any, Any]) -> Any:
        """A cell or an instance that belongs to an instance known here; a captured array."""
        if type(atom) is Var and atom in self.consts:
            return atom
        path = atom.path if isinstance(atom, Instance) else self.decls[atom].path if atom in self.decls else None
        if path is not None:
            around = [i for i in env if isinstance(i, Instance) and (not i.path or path.startswith(f"{i.path}."))]
            for near in sorted(around, key=lambda i: -len(i.path)):
                place = join(env[near].path, path[len(near.path) + 1 :] if near.path else path)
                known: Any = self.cells if type(atom) is Var else self.outline.instances
                found = known.get(place if type(atom) is Var else (place, atom.name))
                if found is not None:
                    return found
        raise Unlike(f"{atom!r} is not known where it is read")

    def compare(self, got: Any, wanted: Any, where: str) -> None:
        if isinstance(got, tuple) and isinstance(wanted, tuple) and len(got) == len(wanted):
            for a, b in zip(got, wanted, strict=True):
                self.compare(a, b, where)
            return
        if got is wanted:
            return
        if type(got) is type(wanted) is Literal and typed_key(got.value) == typed_key(wanted.value):
            return
        if type(got) is type(wanted) is Var and got in self.consts and self.consts[got] == self.consts.get(wanted):
            return
        raise Unlike(f"{where} is another one")

    # ---- statements

    def body(self, body: list[Statement], env: dict[Any, Any]) -> None:
        for statement in body:
            if isinstance(statement, Operation):
                self.operation(statement, env)
            elif isinstance(statement, Application):
                self.application(statement, env)
            elif isinstance(statement, Assignment):
                cell = self.value(statement.cell, env)
                if cell in self.writes:
                    raise Unlike(f"the cell {self.decls[cell].path!r} is written twice")
                self.writes[cell] = self.value(statement.value, env)
            elif isinstance(statement, Block):
                self.enter(Occurrence(statement))
                self.body(statement.body, env)
                self.leave()
            else:
                self.repetition(statement, env)

    def operation(self, statement: Operation, env: dict[Any, Any]) -> None:
        number = self.next
        if number >= len(self.graph.equations):
            raise Unlike("it has too many equations")
        self.next += 1
        eq, own = self.graph.equations[number], statement.eq
        where = f"equation {number} ({eq.op.name})"
        if eq.op is not own.op or len(eq.inputs) != len(own.inputs) or len(eq.outputs) != len(own.outputs):
            raise Unlike(f"{where} is another one")
        if eq.attrs is not own.attrs or statement.moving:
            attrs = attributes(self.graph, number, self.attrs)
            if statement.moving:
                mine = tuple((key, typed_key(value)) for key, value in sorted(self.moved(statement).items()))
            else:
                mine = attributes(self.graph, statement.number, self.attrs)
            if attrs != mine:
                raise Unlike(f"{where} has other attributes")
        for given, wanted in zip(own.inputs, eq.inputs, strict=True):
            self.compare(self.value(given, env), wanted, f"{where}: an input")
        env.update(zip(own.outputs, eq.outputs, strict=True))

    def moved(self, statement: Operation) -> dict[str, Any]:
        """The attributes in this turn of the loops around it."""
        key = statement.eq.attrs["key"]
        for place, loop, step in statement.moving:
            key = shifted(key, place, step * self.turn[loop])
        return {**statement.eq.attrs, "key": key}

    def application(self, statement: Application, env: dict[Any, Any]) -> None:
        definition = statement.definition
        path = ""
        instance = None
        if statement.instance is not None:
            instance = self.value(statement.instance, env)
            definition = instance.definition or definition
            path = instance.path
        inner: dict[Any, Any] = {}
        given = []
        if len(definition.parameters) != len(statement.arguments):
            raise Unlike(f"{definition.name} is handed {len(statement.arguments)} arguments")
        for parameter, tree in zip(definition.parameters, statement.arguments, strict=True):
            values = [self.value(atom, env) for atom in leaves(tree)]
            own = list(leaves(parameter.tree))
            if len(own) != len(values):
                raise Unlike(f"{definition.name} is handed {len(values)} values in place of {len(own)}")
            inner.update(zip(own, values, strict=True))
            given.append(values)
        if instance is not None:
            self.members(definition, path, given, inner)
        self.enter(Occurrence(definition, path))
        self.body(definition.body, inner)
        self.leave()
        results = [] if definition.result is NOTHING else definition.results()
        if len(results) != len(statement.results):
            raise Unlike(f"{definition.name} gives {len(results)} values in place of {len(statement.results)}")
        env.update((mine, self.value(own, inner)) for mine, own in zip(statement.results, results, strict=True))

    def repetition(self, statement: Repetition, env: dict[Any, Any]) -> None:
        carried = [self.value(before, env) for before, _, _ in statement.carried]
        here = self.enter(Occurrence(statement))
        for turn in range(statement.count):
            self.turn[statement] = turn
            here.turns.append(self.next)
            for (_, inside, _), value in zip(statement.carried, carried, strict=True):
                env[inside] = value
            for inside, items in statement.lists:
                env[inside] = self.value(items[turn], env)
            self.body(statement.body, env)
            carried = [self.value(after, env) for _, _, after in statement.carried]
            for inside, items in statement.collected:
                env[items[turn]] = self.value(inside, env)
        self.leave()
        for inside, outside in statement.last:
            env[outside] = self.value(inside, env)

    def enter(self, here: Occurrence) -> Occurrence:
        """What begins with the equation that comes."""
        here.start = self.next
        self.open[-1].inner.append(here)
        self.open.append(here)
        return here

    def leave(self) -> None:
        self.open.pop().stop = self.next


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name

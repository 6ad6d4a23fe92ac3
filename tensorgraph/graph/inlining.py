"""The guard of an outline: with every call put in place and every loop unrolled it is the graph again.

A cell means what it is at entry until a call has written it; to others it is from then on what was assigned, with the
equations that a trace makes where it reads a cell again.

On the way it notes where each call and each loop stands (`occurrences.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorgraph.engine.running import Sum
from tensorgraph.graph.definitions import attributes
from tensorgraph.graph.equality import constants
from tensorgraph.graph.extents import Extent, extents_in, resolved
from tensorgraph.graph.graph import CellDecl, Equation, Literal, Var, typed_key
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.graph.rereads import varying
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
from tensorgraph.graph.totals import BEGIN, TOTAL, is_growing
from tensorgraph.graph.turning import shifted
from tensorgraph.jit.properties import cached_property
from tensorgraph.ops.arithmetic import add
from tensorgraph.ops.index import put
from tensorgraph.ops.structure import alias, stop_gradient

if TYPE_CHECKING:
    from tensorgraph.graph.outline import Outline

__all__ = ["Unlike", "verify"]


class Unlike(Exception):
    """An outline that is not its graph."""


@dataclass(eq=False, slots=True)
class _Scene:
    """One call: the cells that its text names before its first assign, and the values of those by then."""

    entries: tuple[Var, ...]
    entered: bool = False


@dataclass(eq=False, slots=True)
class _Entry:
    """What a cell held before a call wrote it, by the name that its text gives to that."""

    cell: Var
    value: Any


def verify(outline: Outline) -> None:
    """Inline an outline in memory and compare it with its graph; notes where everything stands.

    Raises
    ------
    Unlike
        Where they differ, saying how.
    """
    inlining = _Inlining(outline)
    inlining.run()
    outline.top, outline.late = inlining.top, inlining.late


class _Inlining:
    def __init__(self, outline: Outline) -> None:
        self.outline, self.graph = outline, outline.graph
        self.next = 0  # the equation that comes
        self.attrs: dict[int, Any] = {}
        self.consts = constants(self.graph)
        self.cells = {decl.path: decl.var for decl in self.graph.cells}
        self.decls = {decl.var: decl for decl in self.graph.cells}
        self.turn: dict[Repetition, int] = {}
        self.writes: dict[Var, tuple[Any, _Scene]] = {}
        self.again: dict[Var, Var] = {}  # what was written, as later calls read it
        self.late: dict[Any, set[Any]] = {}
        self.scene = _entered(outline.main)
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
        given = [self.read(atom, env, main) for atom in leaves(main.result)]
        if self.next != len(graph.equations):
            raise Unlike(f"it has {self.next} equations in place of {len(graph.equations)}")
        for got, wanted in zip(given, graph.outputs, strict=True):
            self.compare(got, wanted, "a result")
        if set(self.writes) != {write.cell for write in graph.writes}:
            raise Unlike("it writes other cells")
        for write in graph.writes:
            self.compare(self.writes[write.cell][0], write.value, "what is written")

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
            return Literal(self.size(atom.value, env)) if type(atom.value) is Extent else atom
        if isinstance(atom, tuple):
            return tuple(self.value(a, env) for a in atom)
        found = env.get(atom)
        if found is None:
            found = env[atom] = self.reached(atom, env)
        return found

    def size(self, extent: Extent, env: dict[Any, Any]) -> int:
        """A size of what was handed over, here."""
        return int(self.value(extent.var, env).aval.shape[extent.axis])

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

    def read(self, atom: Any, env: dict[Any, Any], reader: Statement | Definition) -> Any:
        """The value of an atom here: a cell that another call has written is what was assigned, without a history."""
        if isinstance(atom, tuple):
            return tuple([self.read(a, env, reader) for a in atom])
        cell = self.value(atom, env)
        if type(cell) is _Entry:
            return cell.value
        if cell not in self.writes or type(cell) is Literal:
            return cell
        value, writer = self.writes[cell]
        decl = self.decls[cell]
        if writer is self.scene or type(value) is not Var:
            raise Unlike(f"the cell {decl.path!r} is read where it was written")
        self.late.setdefault(reader, set()).add(atom)
        if not decl.requires_grad and value not in self.varying:
            return value
        if cell not in self.again:
            self.again[cell] = self.reads_again(decl, value)
        return self.again[cell]

    def reads_again(self, decl: CellDecl, value: Var) -> Var:
        """The equations that come, if they read a cell again."""
        for op in (stop_gradient, alias) if decl.requires_grad else (stop_gradient,):
            eq = self.graph.equations[self.next] if self.next < len(self.graph.equations) else None
            if eq is None or eq.op is not op or eq.inputs != (value,):
                raise Unlike(f"the cell {decl.path!r} is not read again where it should be")
            self.next += 1
            value = eq.outputs[0]
        return value

    @cached_property
    def varying(self) -> set[Var]:
        return varying(self.graph)

    def assignment(self, statement: Assignment, env: dict[Any, Any]) -> None:
        scene, before = self.scene, self.next
        if not scene.entered:  # here the text gives names to what it still needs
            scene.entered = True
            for atom in scene.entries:
                cell = self.value(atom, env)
                env[atom] = _Entry(cell, self.read(atom, env, statement))
        cell = self.value(statement.cell, env)
        cell = cell.cell if type(cell) is _Entry else cell
        if cell in self.writes and self.writes[cell][1] is scene:
            raise Unlike(f"the cell {self.decls[cell].path!r} is written twice")
        value = self.read(statement.value, env, statement)
        if self.next > before:
            raise Unlike("what is written is a cell that was written")
        self.writes[cell] = value, scene
        self.again.pop(cell, None)

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
                self.assignment(statement, env)
            elif isinstance(statement, Block):
                self.enter(Occurrence(statement))
                self.body(statement.body, env)
                self.leave()
            else:
                self.repetition(statement, env)

    def grown(self, eq: Equation, env: dict[Any, Any], statement: Operation) -> None:
        """A sum that begins, to which something is added, or that is complete."""
        if eq.op is BEGIN:
            env[eq.outputs[0]] = Sum(self.added)
            return
        known = self.value(eq.inputs[0], env)
        if type(known) is not Sum:
            raise Unlike("what grows is no sum")
        env[eq.outputs[0]] = known.total() if eq.op is TOTAL else known + self.read(eq.inputs[1], env, statement)

    def added(self, a: Any, b: Any) -> Any:
        """The equation that comes, which adds two values."""
        eq = self.graph.equations[self.next] if self.next < len(self.graph.equations) else None
        if eq is None or eq.op is not add:
            raise Unlike("a sum is added up elsewhere")
        self.next += 1
        for got, wanted in zip((a, b), eq.inputs, strict=True):
            self.compare(got, wanted, "what is added up")
        return eq.outputs[0]

    def operation(self, statement: Operation, env: dict[Any, Any]) -> None:
        if statement.eq.op in (BEGIN, TOTAL) or is_growing(statement.eq.outputs[0]):
            self.grown(statement.eq, env, statement)
            return
        given = [self.read(atom, env, statement) for atom in statement.eq.inputs]
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
            elif extents_in(own):
                mine = resolved(own.attrs, lambda extent: typed_key(self.size(extent, env)))
            else:
                mine = attributes(self.graph, statement.number, self.attrs)
            if attrs != mine:
                raise Unlike(f"{where} has other attributes")
        for got, wanted in zip(given, eq.inputs, strict=True):
            self.compare(got, wanted, f"{where}: an input")
        if statement in self.late and eq.op is put and len(self.late[statement]) > 1:
            raise Unlike(f"{where} reads several cells that were written, in another order than its text")
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
        outer, self.scene = self.scene, _entered(definition)
        self.body(definition.body, inner)
        self.scene = outer
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


def _entered(definition: Definition) -> _Scene:
    """A call that begins."""
    every = [statement for statement in definition.statements() if isinstance(statement, Assignment)]
    cells = {statement.cell for statement in every}
    result = () if definition.result is NOTHING else leaves(definition.result)
    asked = dict.fromkeys(v for v in (*[statement.value for statement in every], *result) if type(v) is Var)
    return _Scene(tuple(var for var in asked if var in cells))


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name

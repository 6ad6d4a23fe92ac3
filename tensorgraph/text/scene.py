"""What reading a text keeps at hand: the graph in the making, its cells, and for each call the names and the place."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import build, field_names, is_dataclass
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import Call
from tensorgraph.graph.graph import Graph, Literal, Source, Var, Write
from tensorgraph.ops.structure import alias, stop_gradient
from tensorgraph.text.definitions import Definition
from tensorgraph.text.errors import ParseError
from tensorgraph.text.reading import column_of

MOST_AXES, MOST_BYTES = 32, 2**60
MOST_STEPS = 100_000  # statements, elements and members that loops and calls stand for
MOST_EQUATIONS = 100_000  # of a graph whose text has loops and calls
MOST_CALLS = 50  # in each other
MOST_ITEMS = 20_000  # in a list of lists

__all__ = ["CellName", "Container", "Instance", "PerValue", "Reading", "Scene", "Unknown", "opened", "show"]


@dataclass(slots=True, eq=False)
class CellName:
    """A cell of the graph: what it was at entry, and what has been assigned to it."""

    var: Var
    path: str
    kind: str
    requires_grad: bool
    initialiser: str | None
    value: Var | Literal | None = None  # the last that was assigned
    writer: Scene | None = None  # the call that assigned it
    again: Var | None = None  # the written value, as later calls read it


class Unknown:
    """What a name stands for whose statement is wrong."""


@dataclass(slots=True)
class Container:
    """An argument that holds others, or a part of one."""

    tree: Any


@dataclass(slots=True, eq=False)
class Instance:
    """A function with members of its own: ``Linear[64, 10]`` at a place of the graph."""

    definition: Definition
    path: str
    owner: str  # the path of the instance that it is a member of
    dims: Mapping[str, int]  # the sizes that its members leave open
    scene: Scene  # of its head
    members: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class PerValue:
    """A member that is one cell a value of an argument: ``m: [Buffer[like(p)] for p in params]``."""

    element: ast.expr
    target: str
    argument: str
    path: str
    start: ast.expr | None
    cells: dict[str, CellName] = field(default_factory=dict)  # by the path of the cell that each is kept for


@dataclass(slots=True)
class Reading:
    """What all calls of one graph share."""

    trace: Trace
    arrays: Mapping[str, np.ndarray[Any, Any]]
    types: Mapping[str, Sequence[Any]]  # several classes may have one name
    graphs: Mapping[str, Graph]  # of the functions that stand above, those with a derivative of their own or for scan
    expression: Callable[[Scene, ast.expr], Any]  # how an expression is read
    reference: Callable[[Scene, ast.expr], Any]  # and where a cell is meant and not its value
    call: Callable[..., Any]  # how a function of the text is called
    cells: list[CellName] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)  # of the cells
    consts: dict[Var, np.ndarray[Any, Any]] = field(default_factory=dict)
    constants: dict[Any, Var] = field(default_factory=dict)  # by digest, or by their place in a text
    writes: dict[CellName, Write] = field(default_factory=dict)
    stretches: dict[Any, Any] = field(default_factory=dict)  # calls that were read, by what they depend on
    emitted: dict[Any, Any] = field(default_factory=dict)  # equations, by what they depend on
    sums: list[int] = field(default_factory=list)  # how many equations there were where each sum began
    steps: int = 0
    errors: list[ParseError] | None = None  # what went wrong already, where reading goes on; else the first is raised

    def declare(self, cell: CellName) -> CellName:
        """A cell of the graph."""
        self.cells.append(cell)
        self.trace.known.add(cell.var)
        self.trace.varying.add(cell.var)
        return cell


@dataclass(slots=True, eq=False)
class Scene:
    """The state of reading one call of one function."""

    reading: Reading
    definition: Definition
    dims: dict[str, int]
    call: Call  # which says what its values are called
    depth: int = 0  # calls around it
    path: str = ""  # of the instance whose head is read
    unrolled: int = 0  # loops around the statement, and calls
    names: dict[str, Any] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)  # the names that are no locals
    lists: dict[int, list[Any]] = field(default_factory=dict)  # that were made here, and may grow
    parts: set[Var] = field(default_factory=set)  # inputs inside containers take the first name that the text gives
    result: Any = None
    returned: bool = False

    @property
    def trace(self) -> Trace:
        return self.reading.trace

    @property
    def types(self) -> Mapping[str, Sequence[Any]]:
        return self.reading.types

    def expression(self, node: ast.expr) -> Any:
        """The value of an expression."""
        return self.reading.expression(self, node)

    def reference(self, node: ast.expr) -> Any:
        """What an expression means: a cell or an instance itself, where it is one."""
        return self.reading.reference(self, node)

    # errors ---------------------------------------------------------------------------------------------------

    def fail(self, node: Any, message: str) -> NoReturn:
        """Raise for a place in the text."""
        raise self.error(node, message)

    def error(self, node: Any, message: str) -> ParseError:
        lines = self.definition.lines
        line = int(getattr(node, "lineno", 1))
        text = lines[line - 1] if 0 < line <= len(lines) else ""
        column = column_of(text, int(getattr(node, "col_offset", 0)))
        return ParseError(message, line, column, text, self.definition.file)

    def bounded(self, node: Any, aval: Aval) -> Aval:
        """The type, refused where no array could be of it."""
        if aval.ndim > MOST_AXES:
            self.fail(node, f"a tensor has at most {MOST_AXES} axes, got {aval.ndim}")
        if aval.nbytes > MOST_BYTES or max(aval.shape, default=0) > MOST_BYTES:
            self.fail(node, f"{aval} is more than any machine holds")
        return aval

    def charge(self, node: Any, steps: int) -> None:
        """Count what a loop or a call stands for."""
        self.room(node, steps)
        self.reading.steps += steps

    def room(self, node: Any, steps: int, equations: int = 0) -> None:
        """Refuse what would stand for more than is read, before it is."""
        reading = self.reading
        what = ""
        if reading.steps + steps > MOST_STEPS:
            what = f"{MOST_STEPS:,} statements, elements and members"
        elif len(reading.trace.equations) + equations > MOST_EQUATIONS:
            what = f"{MOST_EQUATIONS:,} equations"
        if what:
            self.fail(
                node, f"loops and calls stand for more than {what}, the most that are read, as a text is unrolled: use "
                "scan for long loops",
            )  # fmt: skip

    def sized(self, node: Any, items: Any) -> Any:
        """A list or a dict, refused where it holds lists that hold lists, more than there is room for."""
        parts = items.values() if isinstance(items, dict) else items
        if any(isinstance(item, (Container, list, tuple, dict)) for item in parts):
            waiting, count = [*parts], 0
            while waiting:
                item = opened(waiting.pop())
                count += 1
                if isinstance(item, (list, tuple, dict)):
                    waiting += item.values() if isinstance(item, dict) else item
                if count > MOST_ITEMS:
                    self.fail(node, f"a list holds at most {MOST_ITEMS:,} values, those in its parts counted")
            self.charge(node, count)
        return items

    # places ---------------------------------------------------------------------------------------------------

    def run(self, node: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a function of ours gives; what goes wrong is told at this place of the text."""
        with self.at(node):
            value = function(*args, **kwargs)
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, Tensor):
                self.bounded(node, item.aval)
        return value

    def source(self, node: Any) -> Source:
        return Source(self.definition.file, int(getattr(node, "lineno", 1)), self.definition.name)

    @contextmanager
    def at(self, node: Any) -> Iterator[None]:
        """What goes wrong inside is told at this place of the text."""
        before, self.trace.at = self.trace.at, self.source(node)
        try:
            yield
        except ParseError:
            raise
        except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, MemoryError) as error:
            said = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            raise self.error(node, said or type(error).__name__) from error
        finally:
            self.trace.at = before

    @contextmanager
    def loop(self) -> Iterator[None]:
        """Statements and elements inside are counted."""
        self.unrolled += 1
        try:
            yield
        finally:
            self.unrolled -= 1

    @contextmanager
    def told(self, node: Any, what: str = "") -> Iterator[None]:
        """What goes wrong inside is told with this place, from which it was asked for."""
        try:
            yield
        except ParseError as error:
            for one in (error, *error.others):
                one.inside(what or show(node), int(getattr(node, "lineno", 1)), self.definition.file)
            error.behind = getattr(node, "end_lineno", 1), getattr(node, "end_col_offset", 0)
            raise

    # values ---------------------------------------------------------------------------------------------------

    def read(self, node: Any, cell: CellName) -> Tensor:
        """The value of a cell here: at entry, or what an earlier call has assigned, without a history."""
        trace = self.trace
        if cell.writer is None:
            return trace.tensor(cell.var)
        if cell.writer is self:
            name = next((name for name, value in self.names.items() if value is cell), cell.path)
            self.fail(
                node,
                f"the cell {name!r} was written above, and a cell's name means its value at entry: read it before "
                "the assign, or use the value that was assigned",
            )
        written = cell.value
        if type(written) is Var and (cell.requires_grad or written in trace.varying):
            if cell.again is None:
                with self.at(node):
                    out = trace._append(stop_gradient, (written,), {}, (written.aval,))[0]
                    if cell.requires_grad:
                        out = trace._append(alias, (out,), {}, (written.aval,))[0]
                        trace.differentiable.add(out)
                        trace.varying.add(out)
                cell.again = out
            written = cell.again
        assert type(written) is Var
        return trace.tensor(written)

    def values(self, node: Any, value: Any) -> Any:
        """A value as ops take it: containers as themselves, and of cells what they hold here."""

        def held(part: Any) -> Any:
            if type(part) is CellName:
                return self.read(node, part)
            if type(part) is Instance or type(part) is PerValue:
                self.fail(node, f"{show(node)} is no tensor: it is {said_of(part)}")
            return part

        return opened(value, held)


def said_of(value: Any) -> str:
    """What a value that is no tensor is, for messages."""
    if isinstance(value, Instance):
        return f"an instance of {value.definition.name}, which is called"
    if isinstance(value, PerValue):
        return "a list of cells, which is made when the instance is called"
    if isinstance(value, CellName):
        return f"the cell {value.path}"
    return repr(opened(value))


def opened(value: Any, leaf: Callable[[Any], Any] | None = None) -> Any:
    """A value with the containers in it as themselves, and each leaf as `leaf` gives it."""
    if isinstance(value, Container):
        value = value.tree
        if leaf is None:
            return value
    if isinstance(value, dict):
        return type(value)((k, opened(v, leaf)) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[opened(v, leaf) for v in value])
    if isinstance(value, (tuple, list)):
        return type(value)(opened(v, leaf) for v in value)
    if is_dataclass(type(value)):
        parts = {name: getattr(value, name) for name in field_names(type(value)) or () if hasattr(value, name)}
        return build(type(value), tuple(parts), [opened(v, leaf) for v in parts.values()])
    return value if leaf is None else leaf(value)


def show(node: ast.AST) -> str:
    """A piece of a text, cut to what fits a message."""
    said = " ".join(ast.unparse(node).split())
    return said if len(said) <= 60 else f"{said[:57]}..."

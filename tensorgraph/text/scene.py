"""What reading a function of a text keeps at hand: the graph in the making, the names, and where the reader is."""

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
from tensorgraph.graph.graph import Graph, Source, Var
from tensorgraph.text.errors import ParseError
from tensorgraph.text.reading import column_of

MOST_AXES, MOST_BYTES = 32, 2**60

__all__ = ["CellName", "Container", "Scene", "opened", "show"]


@dataclass(slots=True)
class CellName:
    """A cell of the function, until it is written."""

    var: Var
    path: str
    kind: str
    requires_grad: bool
    initialiser: str | None
    written: bool = False


@dataclass(slots=True)
class Container:
    """An argument that holds others, or a part of one."""

    tree: Any


@dataclass(slots=True)
class Scene:
    """The state of reading one function."""

    lines: list[str]
    file: str
    function: str
    arrays: Mapping[str, np.ndarray[Any, Any]]
    types: Mapping[str, Sequence[Any]]  # several classes may have one name
    dims: Mapping[str, int]
    functions: Mapping[str, Graph]  # those that stand before this one
    trace: Trace
    expression: Callable[[Scene, ast.expr], Any]  # how an expression is read
    names: dict[str, Any] = field(default_factory=dict)
    cells: list[CellName] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)  # of the cells
    consts: dict[Var, np.ndarray[Any, Any]] = field(default_factory=dict)
    writes: list[Any] = field(default_factory=list)

    def fail(self, node: Any, message: str) -> NoReturn:
        """Raise for a place in the text."""
        raise self.error(node, message)

    def error(self, node: Any, message: str) -> ParseError:
        line = int(getattr(node, "lineno", 1))
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        return ParseError(message, line, column_of(text, int(getattr(node, "col_offset", 0))), text, self.file)

    def bounded(self, node: Any, aval: Aval) -> Aval:
        """The type, refused where no array could be of it."""
        if aval.ndim > MOST_AXES:
            self.fail(node, f"a tensor has at most {MOST_AXES} axes, got {aval.ndim}")
        if aval.nbytes > MOST_BYTES or max(aval.shape, default=0) > MOST_BYTES:
            self.fail(node, f"{aval} is more than any machine holds")
        return aval

    def call(self, node: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What a function of ours gives; what goes wrong is told at this place of the text."""
        with self.at(node):
            value = function(*args, **kwargs)
        for item in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(item, Tensor):
                self.bounded(node, item.aval)
        return value

    def source(self, node: Any) -> Source:
        return Source(self.file, int(getattr(node, "lineno", 1)), self.function)

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


def opened(value: Any) -> Any:
    """A value with the containers in it as themselves."""
    if isinstance(value, Container):
        return value.tree
    if isinstance(value, dict):
        return type(value)((k, opened(v)) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[opened(v) for v in value])
    if isinstance(value, (tuple, list)):
        return type(value)(opened(v) for v in value)
    if is_dataclass(type(value)):
        parts = {name: getattr(value, name) for name in field_names(type(value)) or () if hasattr(value, name)}
        return build(type(value), tuple(parts), [opened(v) for v in parts.values()])
    return value


def show(node: ast.AST) -> str:
    """A piece of a text, cut to what fits a message."""
    said = " ".join(ast.unparse(node).split())
    return said if len(said) <= 60 else f"{said[:57]}..."

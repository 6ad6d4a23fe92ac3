"""The functions of a text, and which of them a function sees: those above it, and the library's."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tensorgraph.engine.aval import LONG
from tensorgraph.jit.properties import cached_property
from tensorgraph.text.errors import ParseError
from tensorgraph.text.reading import column_of, lines_of, syntax

__all__ = ["AT_TEST_TIME", "CELLS", "DTYPES", "Definition", "Definitions", "definitions", "library", "parts_of",
           "shapes_in"]  # fmt: skip

HEADS = ("from tensorgraph.dsl import *", "import tensorgraph as tg", "from tensorgraph import *",
         "from __future__ import annotations", "import tensorgraph")  # fmt: skip
AT_TEST_TIME = "predict"  # the function of a text that a model runs in evaluation mode
DTYPES = {("bool_" if short == "bool" else short): long for short, long in LONG.items()}
CELLS = ("Parameter", "Frozen", "Buffer")
RULES = ("forward", "backward", "body")  # of custom_vjp and scan
LIBRARY = Path(__file__).with_name("library.txt")


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """One function of a text."""

    node: ast.FunctionDef
    number: int  # its place among the functions
    text: Definitions

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def lines(self) -> list[str]:
        return self.text.lines

    @property
    def file(self) -> str:
        return self.text.file

    @property
    def kind(self) -> str:
        """The class that an instance is of: several definitions of one class are numbered, ``Linear_2``."""
        return re.sub(r"_\d+$", "", self.name)

    @property
    def arguments(self) -> list[ast.arg]:
        return [*self.node.args.posonlyargs, *self.node.args.args]

    @property
    def updates(self) -> bool:
        """Whether this is an optimiser: it is handed parameters and their gradients, or keeps a cell for each."""
        if [arg.arg for arg in self.arguments[:2]] == ["params", "grads"]:
            return True
        return any(isinstance(arg.annotation, ast.ListComp) for arg in self.node.args.kwonlyargs)

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements."""
        return self.node.body

    def sees(self, name: str) -> Definition | None:
        """The function that a name means here: one that stands above, or else one of the library's."""
        return self.text.sees(self, name)

    def seen(self) -> list[str]:
        """The names of all that it sees."""
        own = [name for name, other in self.text.named.items() if other.number < self.number]
        return own if self.text.file == str(LIBRARY) else [*own, *library().named]

    def sizes(self) -> tuple[str, ...]:
        """The names of sizes that the members leave open, in order of their appearance."""
        return self.text.sizes_of(self)


class Definitions:
    """A text that was read into Python's syntax: its functions in order."""

    def __init__(self, functions: list[ast.FunctionDef], lines: list[str], file: str) -> None:
        self.lines = lines
        self.file = file
        self.every = [Definition(node, number, self) for number, node in enumerate(functions)]
        self.named = {definition.name: definition for definition in self.every}
        self._sizes: dict[str, tuple[str, ...]] = {}

    def sees(self, definition: Definition, name: str) -> Definition | None:
        """The function that a name means in another one."""
        found = self.named.get(name)
        if found is not None:
            return found if found.number < definition.number else None
        return None if self.file == str(LIBRARY) else library().named.get(name)

    def main(self) -> Definition:
        """The last function that is not what a model does at test time."""
        return next((f for f in reversed(self.every) if f is not self.at_test_time), self.every[-1])

    @cached_property
    def at_test_time(self) -> Definition | None:
        """What a model does at test time: a function called `predict` that no other one calls."""
        found = self.named.get(AT_TEST_TIME)
        if found is None or any(AT_TEST_TIME in names_in(f.node) for f in self.every if f is not found):
            return None
        return found

    @cached_property
    def rules(self) -> set[str]:
        """The functions that are graphs of their own: those of custom derivatives, and the bodies of scans."""
        if not any(word in line for line in self.lines for word in RULES):
            return set()
        keywords = (k for f in self.every for k in ast.walk(f.node) if isinstance(k, ast.keyword))
        return {k.value.id for k in keywords if k.arg in RULES and isinstance(k.value, ast.Name)} & self.named.keys()

    def sizes_of(self, definition: Definition) -> tuple[str, ...]:
        known = self._sizes.get(definition.name)
        if known is None:
            found: dict[str, None] = {}
            for arg in definition.node.args.kwonlyargs:
                if arg.annotation is not None:
                    found |= dict.fromkeys(sizes_in(arg.annotation))
            known = self._sizes[definition.name] = tuple(found)
        return known


def names_in(node: ast.AST) -> set[str]:
    """All names that are read somewhere in a piece of a text."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def parts_of(node: ast.expr) -> tuple[str | None, ast.expr | None]:
    """``name`` or ``name[inside]``; a prefix ``tg.`` may stand before it."""
    inside = None
    if isinstance(node, ast.Subscript):
        inside, node = node.slice, node.value
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tg":
        return node.attr, inside
    return (node.id if isinstance(node, ast.Name) else None), inside


def sizes_in(node: ast.expr) -> Iterator[str]:
    """The names of sizes in a type or in what a member is, in order."""
    name, inside = parts_of(node)
    if inside is not None:
        if name in DTYPES:
            yield from _names(inside)
        elif name in (*CELLS, "At"):
            items = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            for item in items[-1:]:
                yield from sizes_in(item)
        elif name not in ("Literal", None):
            yield from _names(inside)
        return
    match node:
        case ast.List() | ast.Tuple():
            for item in node.elts:
                yield from sizes_in(item)
        case ast.Dict():
            for value in node.values:
                yield from sizes_in(value)
        case ast.Starred():
            yield from sizes_in(node.value)
        case ast.ListComp():
            yield from sizes_in(node.elt)
        case ast.BinOp():  # [Block] * 12
            yield from sizes_in(node.left)
            yield from _names(node.right)
        case ast.Call():
            for value in (node.func, *node.args, *[k.value for k in node.keywords]):
                yield from sizes_in(value)


def shapes_in(node: ast.expr) -> list[list[ast.expr]]:
    """The sizes of each type in an annotation, in order of its leaves."""
    if isinstance(node, ast.Subscript):
        kind = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        if kind == "Literal":
            return [[]]
        return [list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return [[]]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [shape for item in node.elts for shape in shapes_in(item)]
    if isinstance(node, ast.Dict):
        return [shape for item in node.values for shape in shapes_in(item)]
    if isinstance(node, ast.Call):
        return [shape for item in (*node.args, *[k.value for k in node.keywords]) for shape in shapes_in(item)]
    return []


def _names(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _names(child)


def definitions(text: str, file: str) -> Definitions:
    """The functions of a text.

    Raises
    ------
    ParseError
        For what is no Python, and for statements between the functions that are no part of the language.
    """
    tree, lines = syntax(text, file), lines_of(text)
    known: dict[str, ast.FunctionDef] = {}

    def fail(node: ast.AST, message: str) -> NoReturn:
        line = int(getattr(node, "lineno", 1))
        text = lines[line - 1]
        raise ParseError(message, line, column_of(text, int(getattr(node, "col_offset", 0))), text, file)

    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.ImportFrom() | ast.Import():
                if ast.unparse(node) not in HEADS:
                    fail(node, f"nothing is imported here; {HEADS[0]!r} may stand for readers, and is not run")
            case ast.FunctionDef():
                if node.decorator_list:
                    fail(node.decorator_list[0], "decorators are not part of the language")
                if node.name in known:
                    fail(node, f"two functions are called {node.name!r}")
                known[node.name] = node
            case _:
                said = " ".join(ast.unparse(node).split())
                said = said if len(said) <= 60 else f"{said[:57]}..."
                fail(node, f"expected a function, def f(x: f32[64, 10]): ..., got {said}")
    if not known:
        raise ParseError("expected a function, def f(x: f32[64, 10]): ..., and there is none", 1, 1, "", file)
    return Definitions(list(known.values()), lines, file)


@functools.cache
def library() -> Definitions:
    """The functions that every text sees without writing them out: layers and optimisers."""
    return definitions(LIBRARY.read_text(encoding="utf-8"), str(LIBRARY))

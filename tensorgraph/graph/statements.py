"""What the functions of an outline are made of: operations, calls, loops, writes, and blocks with a scope.

Values are the graph's own variables: those of the first call that a definition stands for, of the first turn of a loop.
Where a loop reads another value in each turn, a variable of its own stands in the body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.engine.tree import field_names
from tensorgraph.graph.calls import Call
from tensorgraph.graph.equation import CellDecl, Equation, Literal, Var

__all__ = ["Application", "Assignment", "Block", "Definition", "Instance", "Member", "Operation", "Parameter",
           "Repetition", "Statement", "leaves", "mapped"]  # fmt: skip


class Instance:
    """A module or an optimiser with its cells: what is called as ``block(x)``. One a place, compared by identity."""

    __slots__ = ("definition", "name", "path")

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name  # its class
        self.definition: Definition | None = None  # what its calls stand for

    def __repr__(self) -> str:
        return f"<{self.name} at {self.path!r}>"


@dataclass(eq=False, slots=True)
class Operation:
    """An equation; `moving` are the integers of its key that grow with a loop: place in the key, loop, step."""

    eq: Equation
    number: int  # of the first equation of the graph that it stands for
    moving: tuple[tuple[tuple[int, ...], Repetition, int], ...] = ()


@dataclass(eq=False, slots=True)
class Application:
    """A call of a definition, on an instance where that has members."""

    definition: Definition
    instance: Instance | None
    arguments: list[Any]  # trees, one a parameter
    results: list[Var]  # one a leaf of the definition's result that is a value


@dataclass(eq=False, slots=True)
class Assignment:
    """``cell.assign(value)``."""

    cell: Var
    value: Var | Literal


@dataclass(eq=False, slots=True)
class Block:
    """``with scope(path):``; the path is seen from the function in which it stands."""

    path: str
    name: str  # the class of the module, where it is one
    body: list[Statement]


@dataclass(eq=False, slots=True)
class Repetition:
    """A loop, ``for x in xs:``.

    Attributes
    ----------
    count : int
    body : list of statements
    carried : list of (before, inside, after)
        What a turn reads as `inside` and gives as `after` to the next; the first one reads `before`.
    lists : list of (inside, items)
        What a turn reads as `inside`: its item, one a turn.
    collected : list of (inside, items)
        What every turn makes as `inside` and others read: its item, one a turn.
    last : list of (inside, outside)
        What others read of the last turn.
    keys : tuple or None
        Of the dict that is collected; None for lists.
    """

    count: int
    body: list[Statement]
    carried: list[tuple[Any, Var, Var]] = field(default_factory=list)
    lists: list[tuple[Any, tuple[Any, ...]]] = field(default_factory=list)
    collected: list[tuple[Var, tuple[Var, ...]]] = field(default_factory=list)
    last: list[tuple[Var, Var]] = field(default_factory=list)
    keys: tuple[Any, ...] | None = None


Statement = Operation | Application | Assignment | Block | Repetition


@dataclass(slots=True)
class Parameter:
    """What a definition is handed: a name, as far as it is known, and a tree of variables and instances."""

    name: str | None
    tree: Any


@dataclass(slots=True)
class Member:
    """A cell or an instance of a definition, by its path as seen from there.

    `of` is the place of a list among the parameters, with one cell of this name a value of it: `value` is a tuple then.
    """

    path: str
    value: Any
    of: int | None = None


@dataclass(eq=False, slots=True)
class Definition:
    """A function of an outline: what it is handed, what it holds, what it does, what it gives.

    Attributes
    ----------
    name : str
        Unique in the outline.
    kind : str
        ``"function"``, ``"module"``, ``"optimizer"``; ``"graph"`` for the last one.
    call : Call or None
        The first call that it stands for.
    parameters : list of Parameter
    members : list of Member
    body : list of statements
    result : tree
        Of variables and literals; `NOTHING` where it gives nothing.
    """

    name: str
    kind: str
    call: Call | None
    parameters: list[Parameter] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    body: list[Statement] = field(default_factory=list)
    result: Any = None
    names: dict[Var, str] = field(default_factory=dict)  # the user's names
    decls: dict[Var, CellDecl] = field(default_factory=dict)

    def results(self) -> list[Var]:
        """The values among the leaves of the result, each once."""
        return list(dict.fromkeys(leaf for leaf in leaves(self.result) if type(leaf) is Var))

    def statements(self) -> Iterator[Statement]:
        """Every statement, those inside of others too."""
        yield from walked(self.body)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


def walked(body: Iterable[Statement]) -> Iterator[Statement]:
    """The statements of a body, and those inside of them."""
    for statement in body:
        yield statement
        if isinstance(statement, (Block, Repetition)):
            yield from walked(statement.body)


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves of lists, tuples and dicts."""
    if isinstance(tree, dict):
        for item in tree.values():
            yield from leaves(item)
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from leaves(item)
    else:
        yield tree


def mapped(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """The tree with other leaves."""
    if isinstance(tree, dict):
        return {key: mapped(item, leaf) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        items = [mapped(item, leaf) for item in tree]
        return items if isinstance(tree, list) else tuple(items) if field_names(type(tree)) is None else items
    return leaf(tree)

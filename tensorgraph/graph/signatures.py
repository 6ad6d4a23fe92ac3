"""What calls do, under numbers in place of names: those of which that is equal are one definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tensorgraph.engine import init
from tensorgraph.engine.aval import Number
from tensorgraph.graph.call_tree import Node, Scoped
from tensorgraph.graph.equation import CellDecl
from tensorgraph.graph.extents import Extent, resolved
from tensorgraph.graph.graph import Literal, typed_key
from tensorgraph.graph.statements import NOTHING, Instance, leaves, mapped

if TYPE_CHECKING:
    from tensorgraph.graph.definitions import Calls, Description

__all__ = ["below", "member", "relative", "role", "signature", "starts_anywhere"]


def below(path: str, prefix: str) -> bool:
    """Whether a path is strictly below another; all are below the empty one."""
    return path != prefix and (not prefix or path.startswith(f"{prefix}."))


def relative(path: str, prefix: str) -> str:
    """A path below another, as seen from there."""
    return path[len(prefix) + 1 :] if prefix else path


def member(calls: Calls, atom: Any, updating: bool = False) -> tuple[Any, ...]:
    """What a cell or an instance is to the call that holds it; `updating`: which is an optimiser's."""
    if isinstance(atom, Instance):
        return atom.name, calls.defined.get(atom)
    decl = calls.decls[atom]
    start = None if updating and starts_anywhere(decl) else decl.initialiser
    return decl.kind, decl.requires_grad, start, decl.aval.dtype, decl.aval.ndim


def starts_anywhere(decl: CellDecl) -> bool:
    """Whether a cell of an optimiser may start from another number in each instance, ``Adam(lr=0.01)``."""
    number = decl.aval.ndim == 0 and decl.aval.dtype.kind == "f" and decl.kind == "buffer"
    return number and decl.initialiser is not None and init.number_of(decl.initialiser) is not None


def places(calls: Calls, about: Description) -> dict[Any, Any]:
    """Where the cells and instances of a call are in it: what it keeps for a value of a list, by that one's place."""
    listed = {
        calls.decls[cell].path: (number, place)
        for number, parameter in enumerate(about.parameters if calls.is_instance(about.node) else ())
        for place, cell in enumerate(parameter.tree if isinstance(parameter.tree, list) else ())
        if cell in calls.decls
    }
    found: dict[Any, Any] = {}
    for atom, path in about.own.items():
        name, _, rest = path.partition(".")
        found[atom] = (name, listed[rest]) if rest in listed else path
    return found


def role(calls: Calls, about: Description, atom: Any) -> Any:
    """What is handed over: a cell that is not written is a value as any other."""
    if isinstance(atom, Instance):
        return "instance", calls.defined.get(atom)
    if any(atom is write.cell for write in about.writes):
        return "cell"
    return "number" if type(atom.aval) is Number else "value"


def signature(calls: Calls, about: Description, numbers: bool = True) -> Any:
    """What a call does, under numbers in place of names; without `numbers`, but for those that it computes with."""
    node = about.node
    number: dict[Any, Any] = dict(calls.consts)
    if node is calls.top:
        return "top"
    shapes = []
    for parameter in about.parameters:
        shapes.append((parameter.name, mapped(parameter.tree, lambda atom: _argument(calls, about, atom, number))))
    members: list[tuple[Any, ...]] = []
    for atom, path in places(calls, about).items():
        number[atom] = ("member", path)
        members.append((path, *member(calls, atom, node.kind == "optimizer")))
    count = 0
    sizes = calls.sized.get(node, {})

    def size(extent: Extent) -> Any:
        return "size", number.get(extent.var), extent.axis

    def use(atom: Any) -> Any:
        if isinstance(atom, tuple):
            return tuple(map(use, atom))
        if type(atom) is Literal and type(atom.value) is Extent:
            return size(atom.value)
        if type(atom) is Literal:
            plain = not numbers and type(atom.value) in (int, float)
            return "literal", type(atom.value) if plain else typed_key(atom.value)
        found = number.get(atom)
        if found is None:  # inside of an instance that it is handed
            path = calls.path(atom)
            assert path is not None
            near = next(n for n, i in enumerate(about.given) if calls.reaches(i, atom, path))
            found = number[atom] = ("through", near, relative(path, about.given[near].path))
        return found

    def walk(content: list[int | Node | Scoped], base: str) -> Iterator[Any]:
        nonlocal count
        for item in content:
            if isinstance(item, Scoped):
                yield relative(item.node.path, base), item.node.name, tuple(walk(item.content, item.node.path))
                continue
            if isinstance(item, Node):
                inner = calls.of[item]
                values = calls.values(inner.result)
                called = None if inner.instance is None else use(inner.instance)
                handed = [leaf for tree in calls.handed_to(node, item) for leaf in leaves(tree)]
                yield inner.definition, called, tuple(map(use, handed)), len(values)
            else:
                eq = calls.seen(node, item)
                values = list(eq.outputs)
                yield (
                    eq.op.name,
                    tuple(map(use, eq.inputs)),
                    resolved(eq.attrs, size) if item in sizes else calls.attributes(item),
                    len(values),
                )
            for var in values:
                number[var] = count
                count += 1

    body = tuple(walk(about.content, node.path))
    writes = tuple((use(write.cell), use(write.value)) for write in about.writes)
    result = mapped(about.result, lambda atom: atom if atom is NOTHING else use(atom))
    kind = "function" if not calls.is_instance(node) else node.kind
    return kind, node.name, node.backward, _frozen(shapes), tuple(members), body, writes, _frozen(result)


def _argument(calls: Calls, about: Description, atom: Any, number: dict[Any, Any]) -> Any:
    number[atom] = ("given", len(number))
    return role(calls, about, atom)


def _frozen(tree: Any) -> Any:
    if isinstance(tree, dict):
        return "dict", tuple((typed_key(key), _frozen(item)) for key, item in tree.items())
    if isinstance(tree, list):
        return "list", tuple(map(_frozen, tree))
    return tuple(map(_frozen, tree)) if isinstance(tree, tuple) else tree

"""Members: what stands behind the ``*`` of a function. Cells, instances of other functions, lists and dicts of them.

A member's path is its place, ``model.blocks.3.norm.gamma``. Members are made when the head of the function that is read
as a graph is read, and with them their own; those that are one a value when their instance is called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from tensorgraph.engine import init
from tensorgraph.graph.graph import Var
from tensorgraph.text import types
from tensorgraph.text.definitions import CELLS, Definition, parts_of
from tensorgraph.text.errors import nearest
from tensorgraph.text.numbers import integer, literal, table
from tensorgraph.text.scene import MOST_CALLS, MOST_STEPS, CellName, Container, Instance, PerValue, Scene, opened, show

__all__ = ["cells_below", "joined", "members_of", "one_a_value"]

FORM = 'weight: Parameter[f32[784, 10]] = he_normal(), or Buffer["path", f32] = zeros()'


def members_of(scene: Scene, prefix: str) -> dict[str, Any]:
    """The members of the function that is being read, below a path."""
    args = scene.definition.node.args
    made: dict[str, Any] = {}
    for arg, start in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        if arg.arg in made or arg.arg in scene.names:
            scene.fail(arg, f"two arguments are called {arg.arg!r}")
        if arg.arg in scene.dims:
            scene.fail(arg, f"{arg.arg!r} is the name of a dimension already")
        if arg.annotation is None:
            scene.fail(arg, f"behind the * stand cells, such as {FORM}, and instances, such as head: Linear[64, 10]")
        made[arg.arg] = member(scene, arg.annotation, start, prefix, arg.arg)
    return made


def member(scene: Scene, node: ast.expr, start: ast.expr | None, prefix: str, name: str) -> Any:
    """What one member is: a `CellName`, an `Instance`, a `PerValue`, or a `Container` of members."""
    match node:
        case ast.ListComp(elt=element, generators=[ast.comprehension(ast.Name(target), ast.Name(argument), [], 0)]):
            if argument not in [arg.arg for arg in scene.definition.arguments] or scene.depth == 0:
                scene.fail(
                    node, f"one cell a value is made when an instance is called: {argument} is no argument of it"
                )
            return PerValue(element, target, argument, joined(prefix, name), start)
        case ast.List() | ast.BinOp(op=ast.Mult()):
            path = joined(prefix, name)
            found: list[Any] = []
            for number, element in enumerate(_elements(scene, node)):
                found.append(member(scene, element, _start_of(scene, start, number), path, str(number)))
            if isinstance(start, ast.List) and len(start.elts) != len(found):
                scene.fail(start, f"{name} has {len(found)} members, and {len(start.elts)} of them start so")
            return Container(found)
        case ast.Dict():
            return Container(_by_key(scene, node, start, joined(prefix, name)))
    starts: list[ast.keyword] = []
    if isinstance(node, ast.Call):
        starts = node.keywords
        if node.args or not starts:
            scene.fail(node, f"numbers that cells start from are said by name: Adam(lr=0.01), got {show(node)}")
        node = node.func
    kind, inside = parts_of(node)
    if kind == "At":
        if not isinstance(inside, ast.Tuple) or len(inside.elts) != 2:
            scene.fail(node, f'expected At["path", kind], got {show(node)}')
        return member(scene, inside.elts[1], start, prefix, _path(scene, inside.elts[0], empty=True))
    if kind in CELLS and inside is not None:
        return _cell(scene, kind, inside, node, start, prefix, name)
    definition = None if kind is None else scene.definition.sees(kind)
    if definition is None:
        seen = [*CELLS, *scene.definition.seen()]
        known = ", ".join(scene.definition.seen()[:10])
        scene.fail(
            node, f"behind the * stand cells, such as {FORM}, and instances of functions ({known}), got {show(node)}"
            f"{nearest(str(kind or ''), seen)}",
        )  # fmt: skip
    if start is not None:
        scene.fail(start, f"{name} is an instance of {definition.name}, whose own members say what they start from")
    made = instance(scene, node, definition, inside, scene.path, joined(prefix, name))
    for keyword in starts:
        _start(scene, made, keyword)
    return made


def _start_of(scene: Scene, start: ast.expr | None, number: int) -> ast.expr | None:
    """What one of a list starts from: as all do, or as ``[zeros(), ones(), None]`` says, where None is not known."""
    if not isinstance(start, ast.List):
        return start
    one = start.elts[number] if number < len(start.elts) else None
    return None if isinstance(one, ast.Constant) and one.value is None else one


def _start(scene: Scene, made: Instance, keyword: ast.keyword) -> None:
    """Let a cell of an instance start from a number: ``Adam(lr=0.01)``."""
    cell = opened(made.members.get(str(keyword.arg)))
    value = literal(scene, keyword.value)
    if not isinstance(cell, CellName) or cell.var.aval.ndim or cell.var.aval.dtype.kind != "f":
        known = [k for k, v in made.members.items() if type(opened(v)) is CellName and not opened(v).var.aval.ndim]
        said = f"{made.definition.name} has no number called {keyword.arg!r}{nearest(str(keyword.arg), known)}"
        scene.fail(keyword, f"{said}; it has {', '.join(known) or 'none'}")
    if type(value) not in (int, float):
        scene.fail(keyword.value, f"a cell starts from a number here, got {show(keyword.value)}")
    cell.initialiser = init.text_of_number(float(value))


def joined(prefix: str, name: str) -> str:
    """The path of what is called so below another."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _elements(scene: Scene, node: ast.expr) -> Iterator[ast.expr]:
    """The kinds in ``[A, *[B] * 3, C]``, each as often as it is there."""
    match node:
        case ast.BinOp(op=ast.Mult()):
            count = integer(scene, node.right)
            if not 0 <= count <= MOST_STEPS:
                scene.fail(node.right, f"a list has from 0 to {MOST_STEPS:,} members, got {count:,}")
            for _ in range(count):
                yield from _elements(scene, node.left)
        case ast.List():
            for item in node.elts:
                if isinstance(item, ast.Starred):
                    yield from _elements(scene, item.value)
                else:
                    scene.charge(item, 1)
                    yield item
        case _:
            scene.fail(node, f"expected a list of kinds, such as [Linear[64, 64]] * 3, got {show(node)}")


def _by_key(scene: Scene, node: ast.Dict, start: ast.expr | None, path: str) -> dict[Any, Any]:
    for key in node.keys:
        if not isinstance(key, ast.Constant) or type(key.value) is not str or not key.value:
            scene.fail(key or node, "the keys of members are strings, which are part of their paths")
    keys = iter([key.value for key in node.keys if isinstance(key, ast.Constant)])
    return table(scene, node, lambda inner, kind: member(inner, kind, start, path, str(next(keys))))


def _path(scene: Scene, node: ast.expr, empty: bool = False) -> str:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        scene.fail(node, f"a cell's path is a string, got {show(node)}")
    if (not node.value and not empty) or len(node.value) > 500:
        scene.fail(node, "a cell's path is a string that is not empty")
    return node.value


def instance(
    scene: Scene, node: ast.expr, definition: Definition, inside: ast.expr | None, owner: str, path: str
) -> Instance:
    """``Linear[64, 10]`` with its members, and theirs."""
    names = definition.sizes()
    given = [] if inside is None else inside.elts if isinstance(inside, ast.Tuple) else [inside]
    sizes = [integer(scene, size) for size in given]
    if len(sizes) != len(names):
        wanted = f"{definition.name}[{', '.join(names)}]" if names else definition.name
        scene.fail(node, f"{definition.name} has {len(names)} sizes that are open: write {wanted}, got {show(node)}")
    if scene.depth >= MOST_CALLS:
        scene.fail(node, f"instances are nested more than {MOST_CALLS} deep")
    dims = dict(zip(names, sizes, strict=True))
    head = Scene(scene.reading, definition, dict(dims), scene.call, scene.depth + 1, path=path)
    scene.charge(node, 1)
    with scene.told(node):
        return Instance(definition, path, owner, dims, head, members_of(head, path))


def _cell(
    scene: Scene, kind: str, inside: ast.expr, node: ast.expr, start: ast.expr | None, prefix: str, name: str
) -> CellName:
    """``weight: Parameter["0.weight", f32[784, 10]] = he_normal()``."""
    path = joined(prefix, name)
    if isinstance(inside, ast.Tuple):
        if len(inside.elts) != 2 or not isinstance(inside.elts[0], ast.Constant):
            scene.fail(inside, f"a cell is declared as {FORM}")
        path = joined(prefix, _path(scene, inside.elts[0]))
        inside = inside.elts[1]
    scene.charge(node, 1)
    return _declared(scene, kind, inside, node, start, path, name if path == name else path)


def _declared(
    scene: Scene, kind: str, inside: ast.expr, node: ast.expr, start: ast.expr | None, path: str, name: str
) -> CellName:
    if path in scene.reading.paths:
        scene.fail(node, f"two cells have the path {path!r}")
    scene.reading.paths.add(path)
    type_ = types.aval(scene, inside)
    if kind == "Parameter" and type_.dtype.kind != "f":
        scene.fail(node, f"a Parameter is trained and so of floats, got {type_}; declare a Buffer or Frozen")
    said = "buffer" if kind == "Buffer" else "parameter"
    cell = CellName(Var(type_, name), path, said, kind == "Parameter", types.initialiser(scene, start))
    return scene.reading.declare(cell)


def one_a_value(scene: Scene, per: PerValue) -> Container:
    """The cells of ``m: [Buffer[like(p)] for p in params]`` for what the instance was handed now."""
    values = opened(scene.names[per.argument])
    if not isinstance(values, (list, tuple)) or not all(type(value) is CellName for value in values):
        scene.fail(per.element, f"{per.argument} must be a list of cells: each of these is kept for one of them")
    found = []
    for cell in values:
        own = per.cells.get(cell.path)
        if own is None:
            kind, inside = parts_of(per.element)
            if kind not in CELLS or inside is None:
                scene.fail(per.element, f"expected a cell, such as Buffer[like({per.target})], got {show(per.element)}")
            scene.charge(per.element, 1)
            hidden = scene.names.get(per.target)
            scene.names[per.target] = cell
            path = joined(per.path, cell.path)
            own = per.cells[cell.path] = _declared(scene, kind, inside, per.element, per.start, path, path)
            scene.names.pop(per.target)
            if hidden is not None:
                scene.names[per.target] = hidden
        found.append(own)
    return Container(found)


def cells_below(value: Any) -> Iterator[CellName]:
    """All cells of an instance, a list of instances, a cell, in the order of the heads."""
    value = opened(value)
    if isinstance(value, CellName):
        yield value
    elif isinstance(value, Instance):
        for part in value.members.values():
            yield from cells_below(part)
    elif isinstance(value, PerValue):
        yield from value.cells.values()
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from cells_below(item)
    elif isinstance(value, dict):
        yield from cells_below([*value.values()])

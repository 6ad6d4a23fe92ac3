"""Names of a function: a value that is given one, and the parts of a value that are given several."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten, is_container
from tensorgraph.graph.graph import Var
from tensorgraph.text.scene import CellName, Container, Scene, opened, show
from tensorgraph.text.totals import RunningSum

__all__ = ["assign_name", "bind", "handed_on", "note", "note_items"]


def bind(scene: Scene, target: ast.expr, value: Any, node: ast.AST, turn: bool = False) -> None:
    """Give a value to a name, or its parts to several; the name that a loop has for an item in a `turn` is not the
    item's own."""
    if isinstance(target, ast.Name):
        assign_name(scene, target, value, turn)
        return
    value = opened(value)
    if not isinstance(target, (ast.Tuple, ast.List)):
        remedy = "; a cell is written by cell.assign(value), an element by x.at[i].set(v)"
        scene.fail(target, f"expected a name to assign to, got {show(target)}{remedy}")
    if isinstance(value, dict):
        value = [*value]
    if not isinstance(value, (tuple, list)):
        scene.fail(node, f"expected {len(target.elts)} values, got one")
    if scene.unrolled:
        scene.charge(node, len(value) // 16)
    for one, part in _pairs(scene, target, value, node):
        if isinstance(one, (ast.List, ast.Tuple)) and isinstance(opened(part), (list, tuple)):
            bind(scene, one, part, node, turn)
            continue
        if not isinstance(one, ast.Name):
            scene.fail(one, f"expected a name, got {show(one)}")
        assign_name(scene, one, part, turn)


def _pairs(scene: Scene, target: ast.Tuple | ast.List, value: Any, node: ast.AST) -> Iterable[tuple[ast.expr, Any]]:
    """Which part goes where; ``*rest`` takes what the others leave."""
    targets, parts = [*target.elts], [*value]
    stars = [i for i, one in enumerate(targets) if isinstance(one, ast.Starred)]
    if stars:
        i, extra = stars[0], len(parts) - len(targets) + 1
        if len(stars) > 1 or extra < 0:
            scene.fail(node, f"expected at least {len(targets) - 1} values and one *, got {len(parts)}")
        star = targets[i]
        assert isinstance(star, ast.Starred)
        targets[i] = star.value
        parts[i : i + extra] = [parts[i : i + extra]]
    if len(parts) != len(targets):
        scene.fail(node, f"expected {len(targets)} values, got {len(parts)}")
    return zip(targets, parts, strict=True)


def assign_name(scene: Scene, target: ast.Name, value: Any, turn: bool = False) -> None:
    """Give a value to one name."""
    name = target.id
    if name in scene.members:
        cell = isinstance(scene.names[name], CellName)
        said = f"a cell: write it by {name}.assign(value), or" if cell else "a member:"
        scene.fail(target, f"{name!r} is {said} choose another name")
    if name in scene.dims and type(value) is int and value == scene.dims[name]:
        return  # N = x.shape[0], which Python needs to be told
    if name in scene.dims or name in ("tg", "float"):
        scene.fail(target, f"{name!r} means something else: choose another name")
    if isinstance(value, Tensor) and isinstance(value._value, Var):
        if not turn:
            note(scene, name, value._value)
    elif isinstance(value, RunningSum):
        scene.call.names.setdefault(value.record, name)
    scene.names[name] = Container(value) if is_container(value) else value


def note(scene: Scene, name: str, var: Var) -> None:
    """Say what a variable is called here, where it has no name yet."""
    own = scene.call.names
    if var not in own or var in scene.parts:
        own[var] = name
        if var.name is None or var in scene.parts:
            var.name = name
        scene.parts.discard(var)


def note_items(scene: Scene, target: ast.expr, value: Any) -> None:
    """Items without a name, of a list or a dict that is one expression, are called as that is."""
    if isinstance(target, ast.Name):
        for item in flatten(opened(value))[0]:
            if isinstance(item, Tensor) and isinstance(item._value, Var):
                note(scene, target.id, item._value)


def handed_on(scene: Scene, last: ast.stmt, first: int) -> None:
    """What a turn has made, since equation `first`, and gives another name in its `last` statement is called so: it is
    what the next turn reads by this name."""
    if not isinstance(last, ast.Assign) or len(last.targets) != 1:
        return
    target, value = last.targets[0], last.value
    pairs = [(target, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        pairs = list(zip(target.elts, value.elts, strict=True))
    if not all(isinstance(a, ast.Name) and isinstance(b, (ast.Name, ast.Subscript, ast.Dict)) for a, b in pairs):
        return
    made = {out for eq in scene.trace.equations[first:] for out in eq.outputs}
    for name, _ in pairs:
        assert isinstance(name, ast.Name)
        var = getattr(scene.names.get(name.id), "_value", None)
        if var in made:
            scene.call.names[var] = name.id

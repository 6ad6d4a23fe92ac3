"""What loops and comprehensions go over: lists, ranges, several lists side by side, all known while reading."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from tensorgraph.engine.tensor import Tensor
from tensorgraph.text.binding import bind
from tensorgraph.text.numbers import integer, is_static
from tensorgraph.text.scene import Instance, Scene, opened, show

__all__ = ["comprehension", "sequence"]

FORM = "a list, a dict, range(n), zip(a, b), enumerate(a) or reversed(a)"
NAMES = ("range", "zip", "enumerate", "reversed")


def sequence(scene: Scene, node: ast.expr) -> Sequence[Any]:
    """What a loop goes over, in order; counted before it is made."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in scene.names:
        name, args = node.func.id, node.args
        if name in NAMES and scene.definition.text.named.get(name) is None:
            strange = [*node.keywords, *[a for a in args if isinstance(a, ast.Starred)]]
            if strange:
                scene.fail(strange[0], f"{name} takes its arguments one by one: {FORM}")
            return _made(scene, node, name, args)
    value = opened(scene.reference(node))
    if isinstance(value, dict):
        return [*value]
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, Tensor):
        scene.fail(node, f"a loop goes over {FORM}, and {show(node)} is a tensor: write the steps out, x[i] for i")
    what = f"an instance of {value.definition.name}" if isinstance(value, Instance) else repr(value)
    scene.fail(node, f"a loop goes over {FORM}, got {what}")


def _made(scene: Scene, node: ast.Call, name: str, args: list[ast.expr]) -> Sequence[Any]:
    if name == "range":
        if not 1 <= len(args) <= 3:
            scene.fail(node, f"range takes one to three integers, got {len(args)}")
        bounds = [integer(scene, arg) for arg in args]
        if len(bounds) == 3 and bounds[2] == 0:
            scene.fail(args[2], "the step of a range is not 0")
        numbers = range(*bounds)
        first, last = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
        step = bounds[2] if len(bounds) == 3 else 1
        scene.room(node, max(0, (last - first + step - (1 if step > 0 else -1)) // step))
        return numbers
    if name == "zip":
        items = [sequence(scene, arg) for arg in args]
        if len({len(item) for item in items}) > 1:  # of which Python would leave out the longer ones' ends
            said = ", ".join(f"{show(arg)} has {len(item)}" for arg, item in zip(args, items, strict=True))
            scene.fail(node, f"zip goes over lists of one length: {said}")
        return list(zip(*items, strict=True))
    if len(args) != 1:
        scene.fail(node, f"{name} takes one list, got {len(args)} arguments")
    items_ = sequence(scene, args[0])
    return list(enumerate(items_)) if name == "enumerate" else items_[::-1]


def comprehension(scene: Scene, node: ast.ListComp | ast.DictComp, read: Callable[[Scene, ast.expr], Any]) -> Any:
    """``[e for x in xs]`` and ``{k: e for k in d}``: its names are its own."""
    made: Any = [] if isinstance(node, ast.ListComp) else {}
    before = dict(scene.names)

    def turn(number: int) -> None:
        if number == len(node.generators):
            scene.charge(node, 1)
            if isinstance(node, ast.ListComp):
                made.append(read(scene, node.elt))
                return
            key = opened(scene.expression(node.key))
            if not is_static(key) or isinstance(key, list):
                scene.fail(node.key, f"the keys of a dict are literals, got {show(node.key)}")
            made[key] = read(scene, node.value)
            return
        one = node.generators[number]
        if one.ifs or one.is_async:
            scene.fail(
                one.ifs[0] if one.ifs else node, "a comprehension goes over all of a list: leave the condition out"
            )
        items = sequence(scene, one.iter)
        scene.room(one.iter, len(items))
        for item in items:
            bind(scene, one.target, item, one.target, turn=True)
            turn(number + 1)

    try:
        with scene.loop():
            turn(0)
    finally:
        scene.names.clear()
        scene.names.update(before)
    return made

"""Literals and integer arithmetic in a text: all that is static."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from tensorgraph.text.errors import nearest
from tensorgraph.text.scene import Scene, show

__all__ = ["NotStatic", "arithmetic", "integer", "literal", "static"]

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
LARGEST = 2**64  # of what integer arithmetic gives


class NotStatic(Exception):
    """The expression holds a tensor."""


def literal(scene: Scene, node: ast.expr) -> Any:
    """A number, a string, None, ``...``, or a tuple or list of them."""
    try:
        return static(scene, node)
    except NotStatic:
        scene.fail(node, f"expected a literal (a number, a string, None, a tuple of them), got {show(node)}")


def integer(scene: Scene, node: ast.expr) -> int:
    """An integer: a literal, a dimension's name, or arithmetic of them."""
    value = literal(scene, node)
    if type(value) is not int:
        scene.fail(node, f"expected an integer or a dimension's name, got {show(node)}")
    return value


def static(scene: Scene, node: ast.expr) -> Any:
    """A value that is known without running: `NotStatic` where a tensor is in it."""
    match node:
        case ast.Constant():
            if type(node.value) in (int, float, bool, str, type(None), type(...)):
                return node.value
            scene.fail(node, f"a literal is a number, a string, None or a tuple of them, got {show(node)}")
        case ast.Name():
            return _dimension(scene, node)
        case ast.Tuple():
            return tuple(static(scene, item) for item in node.elts)
        case ast.List():
            return [static(scene, item) for item in node.elts]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            value = static(scene, node.operand)
            if type(value) in (int, float):
                return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp():
            return arithmetic(scene, node, static(scene, node.left), static(scene, node.right))
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))], keywords=[]):
            if text in ("inf", "-inf", "nan"):
                return float(text)
            scene.fail(node, f'expected float("inf"), float("-inf") or float("nan"), got {show(node)}')
        case ast.Call(func=ast.Name(id="slice")):
            scene.fail(node, "write a slice as x[start:stop:step]")
    raise NotStatic


def _dimension(scene: Scene, node: ast.Name) -> int:
    name = node.id
    if name in scene.names or name in scene.functions:
        raise NotStatic
    if name not in scene.dims:
        scene.asked.add(name)
        if scene.trace.inputs or scene.names:
            known = [*scene.names, *scene.dims]
            scene.fail(node, f"{name!r} is not known here{nearest(name, known)}")
        scene.fail(node, f"the dimension {name} has no size yet: instantiate the template with at({name}=...)")
    return scene.dims[name]


def arithmetic(scene: Scene, node: ast.BinOp, a: Any, b: Any) -> Any:
    """Arithmetic of two numbers, as Python does it, within bounds."""
    if type(a) not in (int, float) or type(b) not in (int, float):
        scene.fail(node, f"arithmetic of literals takes numbers, got {show(node)}")
    rule = ARITHMETIC.get(type(node.op))
    if rule is None:
        scene.fail(node, f"arithmetic of literals knows + - * / // %, got {show(node)}")
    try:
        value = rule(a, b)
    except ArithmeticError as error:
        raise scene.error(node, f"{show(node)}: {error}") from None
    if type(value) is int and abs(value) >= LARGEST:
        scene.fail(node, f"{show(node)} is too large")
    return value

"""What is static in a text: literals, and arithmetic of numbers."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from tensorgraph.text.arithmetic import ARITHMETIC
from tensorgraph.text.scene import Scene, opened, show

__all__ = ["arithmetic", "integer", "is_static", "literal", "named", "table"]

LARGEST = 2**64  # of what integer arithmetic gives


def is_static(value: Any) -> bool:
    """Whether a value is a literal: a number, a string, None, ``...``, or a tuple or list of them."""
    if isinstance(value, (tuple, list)):
        return all(is_static(item) for item in value)
    return type(value) in (int, float, bool, str, type(None), type(...))


def literal(scene: Scene, node: ast.expr) -> Any:
    """A number, a string, None, ``...``, or a tuple or list of them."""
    value = opened(scene.expression(node))
    if not is_static(value):
        scene.fail(node, f"expected a literal (a number, a string, None, a tuple of them), got {show(node)}")
    return value


def table(scene: Scene, node: ast.Dict, read: Callable[[Scene, ast.expr], Any]) -> dict[Any, Any]:
    """A dict, whose keys are literals and whose values are read so."""
    result: dict[Any, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            scene.fail(value, "** is not understood here: write the keys out")
        name = opened(scene.expression(key))
        if not is_static(name) or isinstance(name, list):
            scene.fail(key, f"the keys of a dict are literals, got {show(key)}")
        try:
            again = name in result
        except TypeError:
            scene.fail(key, f"the keys of a dict are numbers, strings and tuples of them, got {show(key)}")
        if again:  # Python would keep the last alone
            scene.fail(key, f"the key {show(key)} is given twice")
        result[name] = read(scene, value)
    return result


def named(scene: Scene, keywords: list[ast.keyword], what: str = "arguments") -> dict[str, ast.expr]:
    """What is given by name."""
    result: dict[str, ast.expr] = {}
    for keyword in keywords:
        if keyword.arg is None:
            scene.fail(keyword, f"** is not understood here: write the {what} out")
        if keyword.arg in result:  # which Python notices only when it compiles
            scene.fail(keyword, f"the argument {keyword.arg!r} is given twice")
        result[keyword.arg] = keyword.value
    return result


def integer(scene: Scene, node: ast.expr) -> int:
    """An integer: a literal, a dimension's name, or arithmetic of them."""
    value = literal(scene, node)
    if type(value) is not int:
        scene.fail(node, f"expected an integer or a dimension's name, got {show(node)}")
    return value


def arithmetic(scene: Scene, node: ast.BinOp, a: Any, b: Any) -> Any:
    """Arithmetic of two numbers, as Python does it, within bounds."""
    rule = ARITHMETIC.get(type(node.op))
    if rule is None:
        scene.fail(node, f"arithmetic of literals knows + - * / // % **, got {show(node)}")
    if rule is operator.pow and type(a) is type(b) is int and abs(a) > 1 and b > LARGEST.bit_length():
        scene.fail(node, f"{show(node)} is too large")
    try:
        value = rule(a, b)
    except ArithmeticError as error:
        raise scene.error(node, f"{show(node)}: {error}") from None
    if type(value) is complex:
        scene.fail(node, f"{show(node)} is no real number")
    if type(value) is int and abs(value) >= LARGEST:
        scene.fail(node, f"{show(node)} is too large")
    return value

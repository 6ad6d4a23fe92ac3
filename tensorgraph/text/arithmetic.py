"""Arithmetic of sizes: what ``2 * N + 1`` is for some N, and which N it is that much for."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["ARITHMETIC", "solved", "value_of"]

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip


def value_of(node: ast.expr, sizes: Mapping[str, int]) -> Any:
    """What an expression of sizes is for these; None where it is no number.

    Examples
    --------
    >>> value_of(ast.parse("2 * N + 1", mode="eval").body, {"N": 3})
    7
    """
    match node:
        case ast.Name():
            return sizes.get(node.id)
        case ast.Constant():
            return node.value
        case ast.UnaryOp(op=ast.USub()):
            value = value_of(node.operand, sizes)
            return None if value is None else -value
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            a, b = value_of(node.left, sizes), value_of(node.right, sizes)
            if a is None or b is None:
                return None
            try:
                return ARITHMETIC[type(node.op)](a, b)
            except ArithmeticError:
                return None
    return None


def solved(node: ast.expr, name: str, size: int, known: Mapping[str, int]) -> int | None:
    """The size for which an expression that is linear in it is `size`; None where there is none, or it is not linear.

    Examples
    --------
    >>> solved(ast.parse("2 * N + M", mode="eval").body, "N", 9, {"M": 3})
    3
    """
    zero, one = (value_of(node, {**known, name: n}) for n in (0, 1))
    if type(zero) is not int or type(one) is not int or one == zero or (size - zero) % (one - zero):
        return None
    found: int = (size - zero) // (one - zero)
    return found if found >= 0 and value_of(node, {**known, name: found}) == size else None

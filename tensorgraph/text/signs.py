"""Python's operators and the ops that declare them: notation that texts and patterns share."""

from __future__ import annotations

import ast
import functools

from tensorgraph.engine.op import CATALOGUE, Op

__all__ = ["SIGNS", "op_of_sign"]

# how an operator stands in a declaration: `Op.infix`
SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<",
    ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.LShift: "<<", ast.RShift: ">>", ast.USub: "u-", ast.Invert: "u~",
}  # fmt: skip


def op_of_sign(sign: ast.AST) -> Op | None:
    """The op that declares a Python operator as its own, the first one that does; None for Python's others.

    Examples
    --------
    >>> import ast
    >>> from tensorgraph.text.signs import op_of_sign
    >>> op_of_sign(ast.MatMult()), op_of_sign(ast.Not())
    (Op(matmul), None)
    """
    infix = SIGNS.get(type(sign))
    return None if infix is None else _op_of_infix(infix)


@functools.cache
def _op_of_infix(infix: str) -> Op | None:
    return next((op for op in CATALOGUE.values() if op.infix == infix), None)

"""The syntax of functions that kernels are made of, lambdas too: of these Python keeps the line and nothing else."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
import types
from collections.abc import Iterator

__all__ = ["tree_of"]


@functools.cache
def tree_of(function: types.FunctionType) -> ast.FunctionDef:
    """The syntax of a function; a lambda becomes a function that returns its expression.

    Raises
    ------
    OSError
        Where the source is not to be found.
    """
    text = getattr(function, "__kernel_text__", None)
    if text is None and function.__name__ == "<lambda>":
        node = _lambda_of(function)
        body: list[ast.stmt] = [ast.copy_location(ast.Return(node.body), node.body)]
        made = ast.FunctionDef("formula", node.args, body, [], lineno=1, col_offset=0)
        return ast.fix_missing_locations(made)
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(function)) if text is None else text).body
    if not isinstance(found, ast.FunctionDef):
        raise OSError(f"{function.__qualname__}: the source that was found is not of a function")
    return found


def _lambda_of(function: types.FunctionType) -> ast.Lambda:
    """The lambda on a function's line, among several the one that is compiled to the same code."""
    lines = linecache.getlines(function.__code__.co_filename, function.__globals__)
    for text, first in _pieces(lines, function.__code__.co_firstlineno - 1):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        line = function.__code__.co_firstlineno - first
        there = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == line]
        same = [node for node in there if len(there) == 1 or _is_code_of(node, function)]
        if same:
            return same[0]
    raise OSError(f"the source of the lambda at {function.__code__.co_filename}:{function.__code__.co_firstlineno}")


def _pieces(lines: list[str], at: int) -> Iterator[tuple[str, int]]:
    """Texts that may be parsed, with the number of lines before: the statement around a line, and the file."""
    if at < len(lines):
        start = at
        while start and lines[start][:1] in " \t\n)]}":
            start -= 1
        end = at + 1
        while end < len(lines) and lines[end][:1] in " \t\n)]}":
            end += 1
        yield "".join(lines[start:end]), start
    yield "".join(lines), 0


def _is_code_of(node: ast.Lambda, function: types.FunctionType) -> bool:
    made = compile(ast.Expression(node), "<lambda>", "eval").co_consts[0]
    own = function.__code__
    return (made.co_code, made.co_consts, made.co_names, made.co_varnames) == (
        own.co_code, own.co_consts, own.co_names, own.co_varnames
    )  # fmt: skip

"""What else is wrong with a statement: calls behind the first that is wrong are read by themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tensorgraph.text.errors import ParseError
from tensorgraph.text.expressions import reference
from tensorgraph.text.scene import Scene

__all__ = ["every_error"]

WHOLE = (ast.For, ast.With, ast.ListComp, ast.DictComp, ast.GeneratorExp, ast.SetComp, ast.Lambda)


def every_error(scene: Scene, node: ast.stmt, first: ParseError) -> list[ParseError]:
    """The first error of a statement, what else came with it, and those of the calls behind it."""
    found = [first, *first.others]
    place = _behind(scene, node, first)
    for call in _calls(node):
        if (call.lineno, call.col_offset) <= place:
            continue  # which was read, or holds what is wrong
        try:
            reference(scene, call)
            place = call.end_lineno or call.lineno, call.end_col_offset or 0
        except ParseError as error:
            found += [error, *error.others]
            place = _behind(scene, node, error)
        except RecursionError:
            break
    return found


def _behind(scene: Scene, node: ast.stmt, error: ParseError) -> tuple[int, int]:
    """Where the next call may begin; behind the statement, where it is not known which call went wrong."""
    last = node.end_lineno or node.lineno
    if error.behind is None and (error.file != scene.definition.file or not node.lineno <= error.line <= last):
        return last + 1, 0
    return error.behind or (error.line, error.column - 1)


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls in a statement, in the order of the text; what stands in loops is read by these."""
    for child in [] if isinstance(node, WHOLE) else ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield child
        yield from _calls(child)

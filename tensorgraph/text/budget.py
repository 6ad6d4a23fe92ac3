"""What a text stands for at least, counted before anything of it is read: functions that call others twice, loops.

Loops over ranges of plain numbers count as often as they go round, all other loops once; a call counts what the
function counts. What depends on sizes is counted while it is read (`Scene.charge`).
"""

from __future__ import annotations

import ast

from tensorgraph.text.definitions import Definition, parts_of
from tensorgraph.text.errors import ParseError
from tensorgraph.text.reading import column_of
from tensorgraph.text.scene import MOST_STEPS

__all__ = ["refuse_large"]


def refuse_large(definition: Definition) -> None:
    """Raise where a function stands for more statements than are read."""
    counts: dict[Definition, int] = {}
    # in order: a function sees only those above it
    for one in sorted(_reached(definition), key=lambda d: (d.text is definition.text, d.number)):
        counts[one] = _counted(one, one.body, counts)
    total = counts[definition]
    if total > MOST_STEPS:
        node = _largest(definition, counts)
        text = definition.lines[node.lineno - 1]
        said = f"{total:,}" if total < 10**12 else f"about 10**{len(str(total)) - 1}"
        message = (
            f"{definition.name} stands for at least {said} statements, and at most {MOST_STEPS:,} are read, as a text "
            "is unrolled: use scan for long loops"
        )
        raise ParseError(message, node.lineno, column_of(text, node.col_offset), text, definition.file)


def _reached(definition: Definition) -> set[Definition]:
    """The function and all that it may call."""
    found, waiting = {definition}, [definition]
    while waiting:
        one = waiting.pop()
        names = {n.id for n in ast.walk(one.node) if isinstance(n, ast.Name)}
        fresh = {other for name in names if (other := one.sees(name)) is not None} - found
        found |= fresh
        waiting += fresh
    return found


def _counted(definition: Definition, body: list[ast.stmt], counts: dict[Definition, int]) -> int:
    return sum(_of_statement(definition, node, counts) for node in body)


def _of_statement(definition: Definition, node: ast.stmt, counts: dict[Definition, int]) -> int:
    if isinstance(node, ast.For):
        return _turns(node.iter) * (1 + _counted(definition, node.body, counts)) + _calls(definition, node.iter, counts)
    if isinstance(node, ast.With):
        return _counted(definition, node.body, counts)
    return 1 + _calls(definition, node, counts)


def _calls(definition: Definition, node: ast.AST, counts: dict[Definition, int]) -> int:
    members = {arg.arg: arg.annotation for arg in definition.node.args.kwonlyargs}
    total = 0
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name):
            name = one.func.id
            if (kind := members.get(name)) is not None:
                name = str(parts_of(kind)[0])
            target = definition.sees(name)
            total += 0 if target is None else counts.get(target, 0)
    return total


def _turns(node: ast.expr) -> int:
    """How often a loop goes round, where the text says it in plain numbers; 1 elsewhere."""
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[*args], keywords=[]) if 1 <= len(args) <= 3:
            numbers = [arg.value for arg in args if isinstance(arg, ast.Constant) and type(arg.value) is int]
            if len(numbers) == len(args) and (len(numbers) < 3 or numbers[2] != 0):
                first, last, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
                return max(0, (last - first + step - (1 if step > 0 else -1)) // step)
    return 1


def _largest(definition: Definition, counts: dict[Definition, int]) -> ast.stmt:
    """The statement that stands for most."""
    return max(definition.body, key=lambda node: _of_statement(definition, node, counts))

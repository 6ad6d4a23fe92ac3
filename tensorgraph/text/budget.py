"""What a text stands for at least, counted before anything of it is read: functions that call others twice, loops.

Loops over ranges of plain numbers count as often as they go round, all other loops once; a call counts what the
function counts. What depends on sizes is counted while it is read (`Scene.charge`).
"""

from __future__ import annotations

import ast

from tensorgraph.text.definitions import Definition, names_in, parts_of
from tensorgraph.text.errors import ParseError
from tensorgraph.text.reading import column_of
from tensorgraph.text.scene import MOST_STEPS

__all__ = ["refuse_large"]


def refuse_large(definition: Definition) -> None:
    """Raise where a function stands for more statements than are read."""
    if len(definition.text.every) == 1 and not any("for " in line for line in definition.lines):
        return  # as graphs are printed flat, which may be long
    counts: dict[Definition, _Count] = {}
    # in order: a function sees only those above it
    for one in sorted(_reached(definition), key=lambda d: (d.text is definition.text, d.number)):
        counts[one] = _Count(one, counts)
    total = counts[definition].total
    if total > MOST_STEPS:
        node = max(definition.body, key=counts[definition].of_statement)
        text = definition.lines[node.lineno - 1]
        said = f"{total:,}" if total < 10**12 else f"about 10**{len(str(total)) - 1}"
        message = (
            f"{definition.name} stands for at least {said} statements, and at most {MOST_STEPS:,} are read, as a text "
            "is unrolled: use scan for long loops"
        )
        raise ParseError(message, node.lineno, column_of(text, node.col_offset), text, definition.file)


def _reached(definition: Definition) -> set[Definition]:
    """The function and all that it may call."""
    reached, waiting = {definition}, [definition]
    while waiting:
        one = waiting.pop()
        fresh = {other for name in names_in(one.node) if (other := one.sees(name)) is not None} - reached
        reached |= fresh
        waiting += fresh
    return reached


class _Count:
    """What one function stands for, where those that it calls are known."""

    def __init__(self, definition: Definition, counts: dict[Definition, _Count]) -> None:
        self.counts = counts
        self.definition = definition
        self.members = {
            arg.arg: parts_of(arg.annotation)[0]
            for arg in definition.node.args.kwonlyargs
            if arg.annotation is not None
        }
        self.total = self.of_body(definition.body)

    def of_body(self, body: list[ast.stmt]) -> int:
        return sum(map(self.of_statement, body))

    def of_statement(self, node: ast.stmt) -> int:
        if isinstance(node, ast.For):
            return _turns(node.iter) * (1 + self.of_body(node.body)) + self.of_calls(node.iter)
        if isinstance(node, ast.With):
            return self.of_body(node.body)
        return 1 + self.of_calls(node)

    def of_calls(self, node: ast.AST) -> int:
        total = 0
        for one in ast.walk(node):
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Name):
                name = self.members.get(one.func.id, one.func.id)
                target = None if name is None else self.definition.sees(name)
                if target in self.counts:
                    total += self.counts[target].total
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

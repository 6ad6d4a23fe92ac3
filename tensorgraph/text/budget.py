"""What a text stands for at least, counted before anything of it is read: functions that call others twice, loops,
instances that hold others twice.

Loops over ranges of plain numbers count as often as they go round, all other loops once; a call counts what the
function counts, an instance what it holds. What depends on sizes is counted while it is read (`Scene.charge`).
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
    count = counts[definition]
    if count.total > MOST_STEPS:
        raise _large(
            definition, max(definition.body, key=count.of_statement), f"stands for at least {_said(count.total)} "
            f"statements, and at most {MOST_STEPS:,} are read, as a text is unrolled: use scan for long loops",
        )  # fmt: skip
    if count.cells > MOST_STEPS:
        heads = [arg for arg in definition.node.args.kwonlyargs if arg.annotation is not None]
        raise _large(
            definition, max(heads, key=lambda arg: count.of_kind(arg.annotation)),
            f"has at least {_said(count.cells)} members, those of its members counted, and at most {MOST_STEPS:,} "
            "are made",
        )  # fmt: skip


def _said(total: int) -> str:
    return f"{total:,}" if total < 10**12 else f"about 10**{len(str(total)) - 1}"


def _large(definition: Definition, node: ast.stmt | ast.arg, what: str) -> ParseError:
    text = definition.lines[node.lineno - 1]
    column = column_of(text, node.col_offset)
    return ParseError(f"{definition.name} {what}", node.lineno, column, text, definition.file)


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
        self.cells = sum(self.of_kind(arg.annotation) for arg in definition.node.args.kwonlyargs)

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

    def of_kind(self, node: ast.expr | None) -> int:
        """How many members one of this kind is, itself and those that it holds."""
        match node:
            case ast.List():
                return sum(map(self.of_kind, node.elts))
            case ast.Dict():
                return sum(map(self.of_kind, node.values))
            case ast.Starred():
                return self.of_kind(node.value)
            case ast.BinOp(op=ast.Mult(), left=ast.List()):
                many = plain_number(node.right)
                return self.of_kind(node.left) * (1 if many is None else max(0, many))
            case ast.Call():
                return self.of_kind(node.func)
        name, inside = (None, None) if node is None else parts_of(node)
        if name == "At" and isinstance(inside, ast.Tuple):
            return self.of_kind(inside.elts[-1])
        target = None if name is None else self.definition.sees(name)
        return 1 + (self.counts[target].cells if target in self.counts else 0)


MOST_BITS = 200  # of a number that is counted with


def plain_number(node: ast.expr) -> int | None:
    """The integer that an expression of numbers is; None where it has names or is too large to be counted with."""
    match node:
        case ast.Constant(value=value) if type(value) is int and value.bit_length() <= MOST_BITS:
            return value
        case ast.UnaryOp(op=ast.USub()):
            number = plain_number(node.operand)
            return None if number is None else -number
        case ast.BinOp():
            a, b = plain_number(node.left), plain_number(node.right)
            if a is None or b is None:
                return None
            match node.op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult() if a.bit_length() + b.bit_length() <= MOST_BITS:
                    return a * b
                case ast.FloorDiv() if b:
                    return a // b
                case ast.Pow() if 0 <= b <= MOST_BITS and a.bit_length() * b <= MOST_BITS:
                    return int(a**b)
    return None


def _turns(node: ast.expr) -> int:
    """How often a loop goes round, where the text says it in plain numbers; 1 elsewhere."""
    match node:
        case ast.Call(func=ast.Name(id="range"), args=[*args], keywords=[]) if 1 <= len(args) <= 3:
            numbers = [number for arg in args if (number := plain_number(arg)) is not None]
            if len(numbers) == len(args) and (len(numbers) < 3 or numbers[2] != 0):
                first, last, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
                return max(0, (last - first + step - (1 if step > 0 else -1)) // step)
    return 1

"""A program as the text of one Python function: a line a step, and no more names than values that live."""

from __future__ import annotations

import ast
import linecache
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.graph.equation import Var
from tensorgraph.jit.team import short_digest

if TYPE_CHECKING:
    from tensorgraph.graph.program import Program, Step

__all__ = ["code_of", "recorder_of", "source_of"]


def source_of(program: Program) -> str:
    """The function ``program(v0, v1, ...)`` of the inputs and cells, which gives outputs and written values.

    A value is called by its slot, ``v7``; constants and numbers are globals of such names. ``f3`` is the array form of
    step 3. A value is deleted after its last use.
    """
    return "\n".join([*(line for line, _ in _statements(program, False)), ""])


def code_of(program: Program) -> CodeType:
    """The program's `source`, compiled; tracebacks, debuggers and profilers show its lines."""
    text = program.source
    file = f"<tensorgraph program {program.name} {short_digest(text, 6)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    return compile(text, file, "exec")


def recorder_of(program: Program) -> CodeType:
    """The same function of tensors, ``f3`` being a call that records; ``enter`` is told of each scope that opens.

    Where all equations were traced from one file, its lines are theirs: what is recorded tells where it was written,
    without looking for the user's frame.
    """
    statements = _statements(program, True)
    files = {step.equation.source.file for step in program.steps if step.equation.source is not None}
    file = next(iter(files)) if len(files) == 1 else f"<tensorgraph program {program.name}>"
    tree = ast.parse("\n".join(line for line, _ in statements), file)
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    for statement, (_, line) in zip(function.body, statements[1:], strict=True):
        for node in ast.walk(statement):
            if isinstance(node, (ast.expr, ast.stmt)):
                node.lineno = node.end_lineno = line or 1
                node.col_offset = node.end_col_offset = 0
    return compile(tree, file, "exec")


def _statements(program: Program, recording: bool) -> list[tuple[str, int | None]]:
    """The text of the function, line by line, with the user's lines that they stand for."""
    names = {slot: f"v{slot}" if value is not None else "None" for slot, value in enumerate(program.plain)}
    names.update((slot, f"v{slot}") for slot in program.slots.values())
    given = ", ".join(f"v{slot}" for slot in range(program.given))
    statements: list[tuple[str, int | None]] = [(f"def program({'enter, ' if recording else ''}{given}):", None)]
    scope = None
    for n, step in enumerate(program.steps):
        source = step.equation.source
        at = None if source is None else source.line
        if recording and step.equation.scope != scope:
            scope = step.equation.scope
            statements.append((f"    enter(True, {scope!r})", at))
        statements += [(f"    {line}", at) for line in _lines(n, step, names, recording)]
    results = ", ".join(names[slot] for slot in program.results)
    return [*statements, (f"    return [{results}]", None)]


def _lines(n: int, step: Step, names: dict[int, str], recording: bool) -> list[str]:
    def operand(place: Any) -> str:
        return f"[{', '.join(names[p] for p in place)}]" if isinstance(place, tuple) else names[place]

    eq = step.equation
    outputs = [names[slot] for slot in step.outputs]
    places = step.inputs
    if recording and step.is_known:
        places = tuple(place for place, atom in zip(places, eq.inputs, strict=True) if type(atom) is Var)
    call = f"f{n}({', '.join(operand(place) for place in places)})"
    if not outputs:
        return [call]
    bare = len(outputs) == 1 and not eq.op.signature.variadic
    lines = [f"{', '.join(outputs)}{'' if bare or len(outputs) > 1 else ','} = {call}"]
    # of arrays with axes a ufunc gives an array; others, and those without, may give a NumPy scalar
    if not (recording or eq.is_arithmetic or (isinstance(eq.op.forward, np.ufunc) and eq.outputs[0].aval.ndim)):
        test = "type({0}) is not ndarray" + ("" if bare else " and {0} is not None")
        lines += [f"if {test.format(out)}: {out} = asarray({out})" for out in outputs]
    gone = [names[slot] for slot in step.last if names[slot] != "None"]
    return [*lines, f"del {', '.join(gone)}"] if gone else lines

"""Statements of a function: assignments, writes, blocks, calls, and loops, which are unrolled."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import is_container
from tensorgraph.graph.graph import Var, Write
from tensorgraph.text import types
from tensorgraph.text.binding import assign_name, bind, handed_on, note_items
from tensorgraph.text.errors import ParseError
from tensorgraph.text.expressions import callee, expression, reference, with_residuals
from tensorgraph.text.further import every_error
from tensorgraph.text.scene import CellName, Scene, Unknown, opened, show
from tensorgraph.text.sequences import sequence

__all__ = ["run"]

MOST_SCOPES = 30
HOLDS = "the text holds for"  # some sizes
COMPARISONS: dict[Any, Callable[[int, int], bool]] = {
    ast.GtE: operator.ge, ast.Gt: operator.gt, ast.LtE: operator.le, ast.Lt: operator.lt, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip


def run(scene: Scene, body: list[ast.stmt]) -> None:
    """Read statements in order."""
    found: list[ParseError] = []
    for node in body:
        if scene.returned:
            scene.fail(node, "nothing stands behind return")
        if scene.unrolled:
            scene.charge(node, 1)
        try:
            _statement(scene, node)
        except RecursionError:
            scene.fail(node, "this holds expressions that are nested too deep: break them up")
        except ParseError as error:
            if scene.reading.errors is None:
                raise
            found += every_error(scene, node, error)
            _go_on(scene, node)
    if not found:
        return
    assert scene.reading.errors is not None
    if scene.depth or scene.unrolled:
        first = next((error for error in found if not error.follows), found[0])
        first.others = [error for error in found if error is not first and not error.follows]
        raise first
    scene.reading.errors += [error for error in found if not error.follows]


def _go_on(scene: Scene, node: ast.stmt) -> None:
    """What a wrong statement would have named is unknown from here on."""
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and (part.attr == "append" or part is called):
            part = part.value  # a list that does not hold what it should
        elif not (isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)):
            continue
        if isinstance(part, ast.Name) and part.id not in scene.members:
            scene.names[part.id] = Unknown()
    scene.returned = isinstance(node, ast.Return)


def _statement(scene: Scene, node: ast.stmt) -> None:
    match node:
        case ast.Assign(targets=[ast.Tuple(elts=[*_, ast.List()]) as names], value=ast.Call() as call):
            bind(scene, names, with_residuals(scene, call), node)
        case ast.Assign():
            value = reference(scene, node.value)
            for target in node.targets:
                bind(scene, target, value, node)
            if isinstance(node.value, (ast.ListComp, ast.DictComp)):
                note_items(scene, node.targets[0], value)
            if isinstance(node.value, (ast.List, ast.ListComp)):
                scene.lists[id(value)] = value
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):
            _annotated(scene, node, expression(scene, value))
        case ast.With():
            _block(scene, node)
        case ast.For():
            _loop(scene, node)
        case ast.Return():
            scene.result = None if node.value is None else _result(scene, node.value)
            scene.returned = True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="assign")) as call):
            _write(scene, call)
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(), attr="append")) as call):
            _append(scene, call)
        case ast.Expr(value=ast.Call() as call):
            reference(scene, call)
            if callee(scene, call.func) is None:
                scene.fail(node, f"the value of {show(call)} goes nowhere: give it a name")
        case ast.Expr(value=value):
            if not is_string(value) and not _is_ellipsis(value):
                scene.fail(node, f"the value of {show(value)} goes nowhere: give it a name")
        case ast.Pass():
            pass
        case ast.Assert():
            _assert(scene, node)
        case ast.AugAssign():
            said = ast.unparse(node.target)
            scene.fail(node, f"tensors do not change: write {said} = {said} + ...")
        case _:
            what = type(node).__name__
            remedy = {
                "If": "; use where(condition, a, b)", "While": "; use for, over a list or a range",
                "FunctionDef": "; functions stand one after another, not inside each other",
            }.get(what, "")  # fmt: skip
            scene.fail(node, f"{show(node)} ({what}) is not part of the language{remedy}")


def _result(scene: Scene, node: ast.expr) -> Any:
    """What a function returns; a graph returns the values of its cells."""
    if (
        scene.depth == 0
        and isinstance(node, ast.Tuple)
        and not any(isinstance(item, ast.Starred) for item in node.elts)
    ):
        return tuple(_result(scene, item) for item in node.elts)
    value = reference(scene, node)
    return value if scene.depth else scene.values(node, value)


def is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _annotated(scene: Scene, node: ast.AnnAssign, value: Any) -> None:
    expected = types.value(scene, node.annotation)
    if not isinstance(value, Tensor):
        scene.fail(node, f"expected {expected}, got {value!r}")
    if value.aval != expected:
        scene.fail(node, f"declared {expected}, but {show(node.value or node)} is {value.aval}")
    assert isinstance(node.target, ast.Name)
    assign_name(scene, node.target, value)


def _assert(scene: Scene, node: ast.Assert) -> None:
    """``assert T >= 2``: for which sizes the text holds."""
    test = node.test
    form = f"expected assert N >= 2, of sizes, got {show(node)}"
    sign = test.ops[0] if isinstance(test, ast.Compare) and len(test.ops) == 1 else None
    rule = COMPARISONS.get(type(sign))
    if rule is None or node.msg is not None or not isinstance(test, ast.Compare):
        scene.fail(node, form)
    left, right = (expression(scene, side) for side in (test.left, test.comparators[0]))
    if type(left) is not int or type(right) is not int:
        scene.fail(node, form)
    if not rule(left, right):
        scene.fail(node, f"{HOLDS} {show(test)}, and here these are {left} and {right}")


def _append(scene: Scene, call: ast.Call) -> None:
    """``saved.append(h)``: of a list that the function itself has made."""
    assert isinstance(call.func, ast.Attribute)
    items = opened(reference(scene, call.func.value))
    if not isinstance(items, list) or id(items) not in scene.lists:
        scene.fail(call, f"{show(call.func.value)} is no list that was made here: append is for one, saved = []")
    if len(call.args) != 1 or call.keywords:
        scene.fail(call, f"expected {show(call.func)}(value)")
    value = reference(scene, call.args[0])
    items.append(value)
    if is_container(opened(value)):
        scene.sized(call, [value])  # which refuses a list that holds itself, too


# blocks ---------------------------------------------------------------------------------------------------------------


def _block(scene: Scene, node: ast.With) -> None:
    """``with scope("layers.0", "Linear"):``."""
    form = 'expected with scope("layers.0"):'
    if len(node.items) != 1 or node.items[0].optional_vars is not None:
        scene.fail(node, form)
    call = node.items[0].context_expr
    if not isinstance(call, ast.Call) or ast.unparse(call.func) not in ("scope", "tg.scope") or call.keywords:
        scene.fail(node, f"{form}, got with {show(call)}")
    given = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str) and a.value]
    if len(given) not in (1, 2) or len(given) != len(call.args) or max(map(len, given)) > 500:
        scene.fail(call, f'{form} a name, and the class of the module if wanted: scope("layers.0", "Linear")')
    if modes.current().scope.count(".") > 10 * MOST_SCOPES:
        scene.fail(node, "scopes are nested too deep")
    with modes.scope(*given):
        _inside(scene, node.body)


def _inside(scene: Scene, body: list[ast.stmt]) -> None:
    for statement in body:
        if isinstance(statement, ast.Return):
            scene.fail(statement, "return stands at the end of the function, outside the blocks")
    run(scene, body)


def _loop(scene: Scene, node: ast.For) -> None:
    """``for block in blocks:``, once for each."""
    if node.orelse:
        scene.fail(node.orelse[0], "else behind a loop is not part of the language: write it below")
    items = sequence(scene, node.iter)
    scene.room(node.iter, len(items) * len(node.body))
    with scene.loop():
        for item in items:
            first = len(scene.trace.equations)
            bind(scene, node.target, item, node, turn=True)
            _inside(scene, node.body)
            handed_on(scene, node.body[-1], first)


# writes ---------------------------------------------------------------------------------------------------------------


def _write(scene: Scene, call: ast.Call) -> None:
    """``weight.assign(value)``."""
    assert isinstance(call.func, ast.Attribute)
    owner = call.func.value
    cell = reference(scene, owner) if _reaches(scene, owner) else None
    if not isinstance(cell, CellName):
        held = [name for name, value in scene.names.items() if isinstance(value, CellName)]
        cells = ", ".join(held[:10]) or "none"
        scene.fail(call, f"only cells are assigned to; {show(owner)} is none (the cells here: {cells})")
    said = show(owner)
    if cell.writer is scene:
        scene.fail(call, f"the cell {said!r} is written twice")
    if len(call.args) != 1 or call.keywords:
        scene.fail(call, f"expected {said}.assign(value)")
    value = expression(scene, call.args[0])
    if not isinstance(value, Tensor):
        scene.fail(call.args[0], f"a cell is assigned a tensor of its type {cell.var.aval}, got {value!r}")
    atom = scene.trace._use(value, True)
    got = atom.aval if isinstance(atom, Var) else value.aval
    if got != cell.var.aval:
        scene.fail(call, f"the cell {said} is {cell.var.aval}, the value {got}")
    cell.value, cell.writer, cell.again = atom, scene, None
    scene.reading.writes[cell] = Write(cell.var, atom, scene.source(call))


def _reaches(scene: Scene, node: ast.expr) -> bool:
    """Whether an expression is a name, or a place in what a name holds."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return isinstance(node, ast.Name) and node.id in scene.names

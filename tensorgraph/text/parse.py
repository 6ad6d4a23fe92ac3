"""Text to graph: what `tensorgraph.parse` does.

The text is read into Python's syntax tree and walked with an allow-list; ops are emitted into a trace, so every type is
inferred and checked by the ops themselves. Nothing of the text is ever executed.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.arguments import is_raw, shown
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, default_dtype
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten, is_container, leaf_paths, unflatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import nest
from tensorgraph.graph.check import GraphError
from tensorgraph.graph.graph import CellDecl, Graph, Literal, Var, Write, digest
from tensorgraph.text import types
from tensorgraph.text.errors import ParseError
from tensorgraph.text.expressions import expression, with_residuals
from tensorgraph.text.literals import aval_text
from tensorgraph.text.reading import column_of, lines_of, syntax
from tensorgraph.text.scene import CellName, Container, Scene, opened, show
from tensorgraph.text.structure import tree_text

__all__ = ["Syntax", "functions_of", "read_function"]

HEADS = ("from tensorgraph.dsl import *", "import tensorgraph as tg", "from tensorgraph import *",
         "from __future__ import annotations", "import tensorgraph")  # fmt: skip
MOST_SCOPES = 30
AT_TEST_TIME = "predict"  # the function of a text that a model runs in evaluation mode


def functions_of(text: str, file: str) -> tuple[list[ast.FunctionDef], list[str]]:
    """The functions of a text, in order, and its lines."""
    tree, lines = syntax(text, file), lines_of(text)
    found: dict[str, ast.FunctionDef] = {}

    def fail(node: ast.AST, message: str) -> None:
        line = int(getattr(node, "lineno", 1))
        text = lines[line - 1]
        raise ParseError(message, line, column_of(text, int(getattr(node, "col_offset", 0))), text, file)

    for node in tree.body:
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.ImportFrom() | ast.Import():
                if ast.unparse(node) not in HEADS:
                    fail(node, f"nothing is imported here; {HEADS[0]!r} may stand for readers, and is not run")
            case ast.FunctionDef():
                if node.decorator_list:
                    fail(node.decorator_list[0], "decorators are not part of the language")
                if node.name in found:
                    fail(node, f"two functions are called {node.name!r}")
                found[node.name] = node
            case _:
                fail(node, f"expected a function, def f(x: f32[64, 10]): ..., got {show(node)}")
    if not found:
        raise ParseError("expected a function, def f(x: f32[64, 10]): ..., and there is none", 1, 1, "", file)
    return list(found.values()), lines


@dataclass(frozen=True)
class Syntax:
    """A text that was read into Python's syntax."""

    read: tuple[list[ast.FunctionDef], list[str]]  # as `functions_of` gives them
    file: str

    def function(self, name: str | None = None) -> ast.FunctionDef:
        """The function of this name; without, the last one that is not what a model does at test time."""
        functions = self.read[0]
        if name is None:
            return next((f for f in reversed(functions) if f.name != AT_TEST_TIME), functions[-1])
        found = next((f for f in functions if f.name == name), None)
        if found is None:
            known = ", ".join(f.name for f in functions[:20])
            raise ParseError(f"no function is called {name!r}; there is {known}", 1, 1, "", self.file)
        return found

    def graph(self, name: str, arrays: Any, known_types: Iterable[Any], dims: Mapping[str, int]) -> Graph:
        """The graph of one function."""
        functions, lines = self.read
        graphs: dict[str, Graph] = {}
        by_digest = _by_digest(arrays)
        named: dict[str, list[Any]] = {}
        for kind in dict.fromkeys(known_types):
            named.setdefault(kind.__name__, []).append(kind)
        helpers = _helpers(functions)
        for function in functions:
            if function.name == name or function.name in helpers:
                graphs[function.name] = read_function(function, lines, self.file, by_digest, named, dims, graphs)
            if function.name == name:
                break
        return graphs[name]


def _helpers(functions: list[ast.FunctionDef]) -> set[str]:
    """Functions that another one names, as custom_vjp does."""
    own = {f.name for f in functions}
    return {n.id for f in functions for n in ast.walk(f) if isinstance(n, ast.Name) and n.id in own}


def _by_digest(arrays: Any) -> dict[str, np.ndarray[Any, Any]]:
    found = {}
    for key, value in arrays.items() if isinstance(arrays, Mapping) else enumerate(() if arrays is None else arrays):
        array = value.numpy() if isinstance(value, Tensor) else None if is_raw(value) else np.asarray(value)
        if array is None or array.dtype.kind not in "biuf":
            raise TypeError(f"parse: arrays[{key!r}] must be an array of numbers or booleans, got {shown(value)}")
        found[digest(array)] = array
    return found


def read_function(
    node: ast.FunctionDef,
    lines: list[str],
    file: str,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    known_types: Mapping[str, Sequence[Any]],
    dims: Mapping[str, int],
    functions: Mapping[str, Graph],
) -> Graph:
    """One function to a checked graph."""
    scene = Scene(lines, file, node.name, arrays, known_types, dims, functions, Trace(node.name), expression)
    scene.trace.at = scene.source(node)
    try:
        return _Function(scene, node).graph()
    except GraphError as error:
        raise scene.error(node, str(error)) from error


class _Function:
    """One function being read."""

    def __init__(self, scene: Scene, node: ast.FunctionDef) -> None:
        self.scene, self.node = scene, node
        self.inputs: list[Var] = []
        self.given: dict[str, Any] = {}  # the arguments
        self.parts: set[Var] = set()  # inputs inside containers, which take the first name that the text gives them
        self.statics: list[tuple[int, Any]] = []
        self.result: Any = None
        self.returned = False

    def graph(self) -> Graph:
        scene, node = self.scene, self.node
        # no op runs, here or in types; literals that overflow are what they are
        settings = {"grad": True, "call": scene.trace.top, "implementation": "fused"}
        with modes.use(trace=scene.trace, **settings), np.errstate(all="ignore"):
            in_tree = self.arguments()
            body = node.body
            if body and isinstance(body[0], ast.Expr) and _is_string(body[0].value):
                body = body[1:]
            for statement in body:
                try:
                    self.statement(statement)
                except RecursionError:
                    scene.fail(statement, "this holds expressions that are nested too deep: break them up")
            if not self.returned:
                scene.fail(node, f"the function {node.name} returns nothing: end it with return")
            outputs, out_tree = self.outputs()
        trace = scene.trace
        trace.top.complete(nest(self.given, trace.seen), nest(opened(self.result), trace.seen))
        consts = scene.consts | {var: _frozen(array) for var, array, _ in trace.consts.values()}
        cells = tuple(CellDecl(c.path, c.var, c.kind, c.initialiser, c.requires_grad) for c in scene.cells)
        return Graph(
            tuple(self.inputs), cells, consts, tuple(trace.equations), tuple(scene.writes), outputs, in_tree, out_tree,
            tuple(self.statics), node.name, tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args)),
        ).check()  # fmt: skip

    # the head -------------------------------------------------------------------------------------------------

    def arguments(self) -> Any:
        scene, args = self.scene, self.node.args
        self.refuse_others(args)
        trees: list[Any] = []
        for arg in (*args.posonlyargs, *args.args):
            self.fresh(arg, arg.arg)
            if arg.annotation is None:
                scene.fail(arg, f"the argument {arg.arg} needs a type, as in {arg.arg}: f32[64, 10]")
            tree = types.argument(scene, arg.annotation)
            trees.append(tree)
            leaves, treedef = flatten(tree)
            names = [path.replace(".", "_") for path in leaf_paths(treedef, arg.arg)]
            values = [self.leaf(leaf, name, arg.arg) for leaf, name in zip(leaves, names, strict=True)]
            value = self.given[arg.arg] = unflatten(treedef, values)
            scene.names[arg.arg] = value if treedef.kind is None else Container(value)
        _, in_tree = flatten(trees)
        called: set[str] = set()
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            self.fresh(arg, arg.arg, called)
            called.add(arg.arg)
            cell = types.cell(scene, arg.arg, arg.annotation, default, arg)
            scene.cells.append(cell)
            scene.trace.known.add(cell.var)
        for arg, cell in zip(args.kwonlyargs, scene.cells, strict=True):
            scene.names[arg.arg] = cell
        return in_tree

    def refuse_others(self, args: ast.arguments) -> None:
        """Python's other arguments: a graph takes all of its own, one by one."""
        scene = self.scene
        form = "the arguments are tensors with their types, x: f32[64, 10]; cells stand behind a single *"
        for star, rest in (("*", args.vararg), ("**", args.kwarg)):
            if rest is not None:
                line = scene.lines[rest.lineno - 1]
                before = line.encode()[: rest.col_offset].decode(errors="ignore")
                place = copy.copy(rest)  # the star stands before the name, perhaps on a line of its own
                if before.rstrip().endswith(star):
                    place.col_offset = len(before[: before.rindex(star)].encode())
                said = f"{star}{rest.arg} takes any number of arguments, and a graph as many as it says"
                scene.fail(place, f"{said}: write each of them; {form}")
        plain = [*args.posonlyargs, *args.args]
        for arg in plain[len(plain) - len(args.defaults) :]:
            scene.fail(
                arg,
                f"the argument {arg.arg} has a default, and a graph is given all of its arguments: leave it out, or "
                f"write the number where it is used; {form}",
            )

    def leaf(self, leaf: Any, name: str, argument: str) -> Any:
        position = len(self.inputs) + len(self.statics)
        if isinstance(leaf, types.Static):
            self.statics.append((position, leaf.value))
            return leaf.value
        assert isinstance(leaf, Aval)
        t = self.scene.trace.input(leaf, name)
        self.scene.trace.known.add(t._value)
        self.inputs.append(t._value)
        if name != argument:
            self.parts.add(t._value)
        else:
            self.scene.trace.top.names[t._value] = name
        return t

    def fresh(self, node: ast.AST, name: str, cells: Collection[str] = ()) -> None:
        if name in self.scene.names or name in cells:
            self.scene.fail(node, f"two arguments are called {name!r}")
        if name in self.scene.dims:
            self.scene.fail(node, f"{name!r} is the name of a dimension already")

    # statements -----------------------------------------------------------------------------------------------

    def statement(self, node: ast.stmt) -> None:
        scene = self.scene
        if self.returned:
            scene.fail(node, "nothing stands behind return")
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=[*_, ast.List()]) as target], value=ast.Call() as call):
                self.bind(target, with_residuals(scene, call), node)
            case ast.Assign(targets=[target]):
                self.bind(target, expression(scene, node.value), node)
            case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):
                self.annotated(node, expression(scene, value))
            case ast.With():
                self.block(node)
            case ast.Return():
                self.result = None if node.value is None else expression(scene, node.value)
                self.returned = True
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="assign")) as call):
                self.write(call)
            case ast.Expr(value=value):
                if not _is_string(value):
                    scene.fail(node, f"the value of {show(value)} goes nowhere: give it a name")
            case ast.AugAssign():
                said = ast.unparse(node.target)
                scene.fail(node, f"tensors do not change: write {said} = {said} + ...")
            case ast.Assign():
                scene.fail(node, "one assignment a line")
            case _:
                what = type(node).__name__
                remedy = {
                    "If": "; use where(condition, a, b)", "For": "; write the steps out",
                    "While": "; write the steps out",
                    "FunctionDef": "; functions stand one after another, not inside each other",
                }.get(what, "")  # fmt: skip
                scene.fail(node, f"{show(node)} ({what}) is not part of the language{remedy}")

    def bind(self, target: ast.expr, value: Any, node: ast.stmt) -> None:
        scene = self.scene
        if isinstance(target, ast.Name):
            self.name(target, value)
            return
        value = opened(value)
        if not isinstance(target, (ast.Tuple, ast.List)):
            remedy = "; a cell is written by cell.assign(value), an element by x.at[i].set(v)"
            scene.fail(target, f"expected a name to assign to, got {show(target)}{remedy}")
        if not isinstance(value, (tuple, list)):
            scene.fail(node, f"expected {len(target.elts)} values, got one")
        if len(value) != len(target.elts):
            scene.fail(node, f"expected {len(target.elts)} values, got {len(value)}")
        for one, part in zip(target.elts, value, strict=True):
            if isinstance(one, ast.List) and isinstance(part, list):
                self.bind(one, part, node)
                continue
            if not isinstance(one, ast.Name):
                scene.fail(one, f"expected a name, got {show(one)}")
            self.name(one, part)

    def name(self, target: ast.Name, value: Any) -> None:
        scene, name = self.scene, target.id
        if isinstance(scene.names.get(name), CellName):
            scene.fail(target, f"{name!r} is a cell: write it by {name}.assign(value), or choose another name")
        if name in scene.dims or name in ("tg", "float"):
            scene.fail(target, f"{name!r} means something else: choose another name")
        if isinstance(value, Tensor) and isinstance(value._value, Var):
            var = value._value
            if var.name is None or var in self.parts:
                var.name = scene.trace.top.names[var] = name
                self.parts.discard(var)
        scene.names[name] = Container(value) if is_container(value) else value

    def annotated(self, node: ast.AnnAssign, value: Any) -> None:
        scene = self.scene
        expected = types.value(scene, node.annotation)
        if not isinstance(value, Tensor):
            scene.fail(node, f"expected {expected}, got {value!r}")
        if value.aval != expected:
            scene.fail(node, f"declared {expected}, but {show(node.value or node)} is {value.aval}")
        assert isinstance(node.target, ast.Name)
        self.name(node.target, value)

    def block(self, node: ast.With) -> None:
        """``with scope("layers.0", "Linear"):``."""
        scene = self.scene
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
            for statement in node.body:
                if isinstance(statement, ast.Return):
                    scene.fail(statement, "return stands at the end of the function, outside the blocks")
                self.statement(statement)

    def write(self, call: ast.Call) -> None:
        """``weight.assign(value)``."""
        scene = self.scene
        assert isinstance(call.func, ast.Attribute)
        owner = call.func.value
        cell = scene.names.get(owner.id) if isinstance(owner, ast.Name) else None
        if not isinstance(cell, CellName):
            cells = ", ".join(c.var.name or c.path for c in scene.cells[:10]) or "none"
            scene.fail(call, f"only cells are assigned to; {show(owner)} is none (the cells here: {cells})")
        if cell.written:
            scene.fail(call, f"the cell {cell.var.name!r} is written twice")
        if len(call.args) != 1 or call.keywords:
            scene.fail(call, f"expected {cell.var.name}.assign(value)")
        value = expression(scene, call.args[0])
        atom: Var | Literal
        if isinstance(value, Tensor):
            atom = scene.trace._use(value, True)
            got = atom.aval if isinstance(atom, Var) else value.aval
            if got != cell.var.aval:
                scene.fail(call, f"the cell {cell.var.name} is {cell.var.aval}, the value {got}")
        else:
            scene.fail(call.args[0], f"a cell is assigned a tensor of its type {cell.var.aval}, got {value!r}")
        cell.written = True
        scene.writes.append(Write(cell.var, atom, scene.source(call)))

    # the end --------------------------------------------------------------------------------------------------

    def outputs(self) -> tuple[tuple[Var | Literal, ...], Any]:
        scene = self.scene
        result = opened(self.result)
        leaves, out_tree = flatten(result)
        outputs: list[Var | Literal] = []
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                outputs.append(scene.trace.var(leaf))
            elif isinstance(leaf, (int, float, bool)):
                outputs.append(Literal(leaf))
            else:
                scene.fail(self.node.body[-1], f"a function returns tensors, numbers and containers, got {leaf!r}")
        if self.node.returns is not None:
            declared, tree = flatten(types.argument(scene, self.node.returns))
            got = [a.aval if isinstance(a, Var) else None for a in outputs]
            if tree != out_tree or any(a != b for a, b in zip(declared, got, strict=False)):
                types_ = iter("a number" if a is None else aval_text(a) for a in got)
                said = tree_text(out_tree, types_)
                if tree == out_tree and all(a.shape == b.shape for a, b in zip(declared, got, strict=True) if b):
                    said += f"; the default dtype is {default_dtype()}"
                scene.fail(
                    self.node.returns, f"declared to return {show(self.node.returns)}, but it returns {said}"
                )  # fmt: skip
        return tuple(outputs), out_tree


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _frozen(array: Any) -> Any:
    kept = array.copy()
    kept.flags.writeable = False
    return kept

"""Text to graph: what `tensorgraph.parse` does.

The text is read into Python's syntax tree and walked with an allow-list; ops are emitted into a trace, so every type is
inferred and checked by the ops themselves. Nothing of the text is ever executed.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tensorgraph.arguments import is_raw, shown
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, default_dtype
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten, leaf_paths, unflatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import nest
from tensorgraph.graph.check import GraphError
from tensorgraph.graph.graph import CellDecl, Graph, Literal, Var, digest
from tensorgraph.text import types
from tensorgraph.text.budget import refuse_large
from tensorgraph.text.definitions import Definition, Definitions
from tensorgraph.text.errors import ParseError
from tensorgraph.text.expressions import expression, reference
from tensorgraph.text.inlining import call
from tensorgraph.text.literals import aval_text
from tensorgraph.text.members import members_of
from tensorgraph.text.scene import Container, Reading, Scene, show
from tensorgraph.text.statements import run
from tensorgraph.text.structure import tree_text

__all__ = ["Syntax", "read_function"]


@dataclass(frozen=True)
class Syntax:
    """A text that was read into Python's syntax."""

    read: Definitions
    work: list[int] = field(default_factory=list)  # statements and equations of each reading

    def function(self, name: str | None = None) -> Definition:
        """The function of this name; without, the last one that is not what a model does at test time."""
        if name is None:
            return self.read.main()
        found = self.read.named.get(name)
        if found is None:
            known = ", ".join(f.name for f in self.read.every[:20])
            raise ParseError(f"no function is called {name!r}; there is {known}", 1, 1, "", self.read.file)
        return found

    def graph(
        self, name: str, arrays: Any, known_types: Iterable[Any], dims: Mapping[str, int],
        errors: list[ParseError] | None = None,
    ) -> Graph:  # fmt: skip
        """The graph of one function; where `errors` are wanted, reading goes on behind one."""
        graphs: dict[str, Graph] = {}
        by_digest = _by_digest(arrays)
        named: dict[str, list[Any]] = {}
        for kind in dict.fromkeys(known_types):
            named.setdefault(kind.__name__, []).append(kind)
        chosen = self.function(name)
        rules = self.read.rules
        for definition in self.read.every[: chosen.number + 1]:
            if definition is chosen or definition.name in rules:
                wanted = errors if definition is chosen else None
                graphs[definition.name] = read_function(definition, by_digest, named, dims, graphs, wanted, self.work)
        return graphs[name]


def _by_digest(arrays: Any) -> dict[str, np.ndarray[Any, Any]]:
    found = {}
    for key, value in arrays.items() if isinstance(arrays, Mapping) else enumerate(() if arrays is None else arrays):
        array = value.numpy() if isinstance(value, Tensor) else None if is_raw(value) else np.asarray(value)
        if array is None or array.dtype.kind not in "biuf":
            raise TypeError(f"parse: arrays[{key!r}] must be an array of numbers or booleans, got {shown(value)}")
        found[digest(array)] = array
    return found


def read_function(
    definition: Definition,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    known_types: Mapping[str, Sequence[Any]],
    dims: Mapping[str, int],
    graphs: Mapping[str, Graph],
    errors: list[ParseError] | None = None,
    work: list[int] | None = None,
) -> Graph:
    """One function to a checked graph; those that it calls are inlined."""
    trace = Trace(definition.name)
    reading = Reading(trace, arrays, known_types, graphs, expression, reference, call, errors=errors)
    scene = Scene(reading, definition, dict(dims), trace.top)
    trace.at = scene.source(definition.node)
    try:
        return _Function(scene, definition.node).graph()
    except GraphError as error:
        raise scene.error(definition.node, str(error)) from error
    finally:
        if work is not None:
            work.append(reading.steps + len(trace.equations))


class _Function:
    """The function that is read as a graph: its head, and what it gives."""

    def __init__(self, scene: Scene, node: ast.FunctionDef) -> None:
        self.scene, self.node = scene, node
        self.inputs: list[Var] = []
        self.given: dict[str, Any] = {}  # the arguments
        self.statics: list[tuple[int, Any]] = []

    def graph(self) -> Graph:
        scene, node, reading = self.scene, self.node, self.scene.reading
        refuse_large(scene.definition)
        # no op runs, here or in types; literals that overflow are what they are
        settings = {"grad": True, "call": scene.trace.top, "implementation": "fused"}
        with modes.use(trace=scene.trace, **settings), np.errstate(all="ignore"):
            in_tree = self.arguments()
            run(scene, scene.definition.body)
            if reading.errors:
                raise reading.errors[0]
            if not scene.returned:
                scene.fail(node, f"the function {node.name} returns nothing: end it with return")
            result = scene.result
            outputs, out_tree = self.outputs(result)
        trace = scene.trace
        trace.top.complete(nest(self.given, trace.seen), nest(result, trace.seen))
        consts = reading.consts | {var: _frozen(array) for var, array, _ in trace.consts.values()}
        cells = tuple(CellDecl(c.path, c.var, c.kind, c.initialiser, c.requires_grad) for c in reading.cells)
        return Graph(
            tuple(self.inputs), cells, consts, tuple(trace.equations), tuple(reading.writes.values()), outputs, in_tree,
            out_tree, tuple(self.statics), node.name, tuple(a.arg for a in scene.definition.arguments),
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
        for name, value in members_of(scene, "").items():
            scene.names[name] = value
            scene.members.add(name)
        return in_tree

    def refuse_others(self, args: ast.arguments) -> None:
        """Python's other arguments: a graph takes all of its own, one by one."""
        scene = self.scene
        form = "the arguments are tensors with their types, x: f32[64, 10]; cells stand behind a single *"
        for star, rest in (("*", args.vararg), ("**", args.kwarg)):
            if rest is not None:
                line = scene.definition.lines[rest.lineno - 1]
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
            self.scene.parts.add(t._value)
        else:
            self.scene.trace.top.names[t._value] = name
        return t

    def fresh(self, node: ast.AST, name: str) -> None:
        if name in self.scene.names:
            self.scene.fail(node, f"two arguments are called {name!r}")
        if name in self.scene.dims:
            self.scene.fail(node, f"{name!r} is the name of a dimension already")

    # the end --------------------------------------------------------------------------------------------------

    def outputs(self, result: Any) -> tuple[tuple[Var | Literal, ...], Any]:
        scene = self.scene
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


def _frozen(array: Any) -> Any:
    kept = array.copy()
    kept.flags.writeable = False
    return kept

"""Traces a function for `tensorgraph.compile`: with all that it leaves behind, and all that it depends on.

Beside the cells, which a graph writes, a function of eager code leaves gradients behind and finds some: these become
outputs and inputs of the graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np

from tensorgraph.compile.guards import ArrayGuard, Guards
from tensorgraph.compile.signatures import is_huge, is_said
from tensorgraph.compile.watching import Watcher
from tensorgraph.engine import modes
from tensorgraph.engine.cells import UNSHARED, Cell, getrefcount
from tensorgraph.engine.open_sizes import OpenSize
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import TraceError, wrap
from tensorgraph.engine.tree import Treedef, flatten, tree_map, with_said
from tensorgraph.graph.equation import Var
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.keywords import inner, name_of_function, named_arguments
from tensorgraph.graph.size_reads import SizeReads
from tensorgraph.graph.trace import example_aval, trace
from tensorgraph.graph.user_names import OUTSIDE, code_of
from tensorgraph.jit.properties import cached_property

__all__ = ["Traced", "TypeAsked", "name_of_leaf", "trace_call"]

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
DRAWS = (
    "{} draws from {}, and a compiled function would get the same numbers at every call: draw from "
    "tensorgraph.random, or pass the numbers as an argument"
)
CHANGED = (
    "{} changes its argument {}, and the caller's own would not be changed, as a compiled function runs no Python: "
    "change a copy of it, or return what is to be known"
)


@dataclass
class Traced:
    """A trace of one call.

    Attributes
    ----------
    original : Graph
        As it was traced, maybe at another size of its batch. Its first argument is a list of the gradients that the
        function finds, if any; then come the function's own. Its results are the function's, and a list of the
        gradients that it leaves, if any.
    cells : tuple of Cell
    found : tuple of Leaf
        Whose gradients the graph takes.
    left : tuple of (Leaf or int, bool)
        Whose gradients it leaves, of leaves of the tape or of inputs by number; whether there is one.
    guards : Guards
    watcher : Watcher
        What found them.
    sizes : SizeReads or None
        What was seen of the size of the batch, if it has one.
    resize : callable, optional
        Gives the graph of this call where it was traced at another size.
    """

    original: Graph
    cells: tuple[Cell, ...]
    found: tuple[Leaf, ...]
    left: tuple[tuple[Leaf | int, bool], ...]
    guards: Guards
    watcher: Watcher
    sizes: SizeReads | None = None
    returned: Treedef | None = None
    resize: Callable[[], Graph] | None = None

    @cached_property
    def graph(self) -> Graph:
        """The graph of this call."""
        return self.original if self.resize is None else self.resize()


class Grads(dict[Any, Any]):
    """The gradients of a trace, which remembers whom it was asked for and did not have."""

    def __init__(self, known: Mapping[Any, Any]) -> None:
        super().__init__(known)
        self.asked: dict[Leaf, None] = {}

    def get(self, key: Any, default: Any = None) -> Any:
        if key not in self and type(key) is Leaf:
            self.asked[key] = None
        return super().get(key, default)


class TypeAsked(TraceError):
    """The function asks for the type of what stands for a number or a size."""


class Static:
    """What the function needs while it is traced, a Python number say: no input, but a part of the signature."""

    def __init__(self, value: Any) -> None:
        self.value = value


def trace_call(
    function: Any, arguments: Arguments, fixed: frozenset[type] = frozenset(), known: Traced | None = None
) -> Traced:
    """The trace of a call of a function, and what it depends on. Numbers of the types in `fixed` are static, with
    `OpenSize` the size of the batch too.

    `known` is a trace of a call that differs in shapes and dtypes alone, all of whose guards hold.

    Raises
    ------
    TraceError
        As `tensorgraph.trace`, and where the function changes what it reads. Numbers that it has counted on in modules
        and optimisers are what they were then.
    """
    watchers: list[Watcher] = []
    try:
        return _traced_call(function, arguments, fixed, known, watchers)
    except Exception:
        for watcher in reversed(watchers):
            watcher.restore()
        raise


def _traced_call(
    function: Any, arguments: Arguments, fixed: frozenset[type], known: Traced | None, watchers: list[Watcher]
) -> Traced:
    found: tuple[Leaf, ...] = ()
    arguments = tree_map(lambda leaf: Static(leaf) if _is_static(leaf, fixed) else leaf, arguments)
    again = False
    while True:
        once = _Once(function, found, fixed)
        with Watcher(function) if known is None else known.watcher.again() as watcher:
            once.watcher = watcher
            watchers.append(watcher)
            grads = ([wrap(leaf.grad._value) for leaf in found],) if found else ()
            error: Exception | None = None
            try:
                graph = trace(once.run, *grads, *arguments[0], **arguments[1])
            except Exception as raised:
                error = raised
                _own_words(error, once.run.__code__)
        drawn = watcher.drawn()
        missing = tuple(leaf for leaf in once.grads.asked if leaf.grad is not None)
        if error is not None:
            if not missing:
                raise error
            found += missing  # it may have failed because it did not find them
            continue
        if watcher.numbers:
            raise TypeAsked(f"{name_of_function(function)} asks for the type of {watcher.numbers[0]}, a number")
        if drawn is not None:
            raise TraceError(DRAWS.format(name_of_function(function), drawn))
        if watcher.refusals:
            raise TraceError(
                f"{name_of_function(function)} {watcher.refusals[0]}: pass what it gives as an argument, or leave this "
                "function uncompiled"
            )
        changed = watcher.own_change((function, inner(function), arguments, *arguments[0]))
        if not missing and (changed is None or again):
            break
        again = not missing  # what is put into a cache is there the second time
        found += missing  # it adds to gradients that are there: they are inputs
    if changed is not None:
        raise TraceError(
            f"{name_of_function(function)} changes {changed}, and a compiled function runs no Python, so that it would "
            "do so only once: return what is to be known, keep what changes in a tensorgraph.Buffer, or leave this "
            "function uncompiled"
        )
    return _complete(function, once, watcher, graph)


def _complete(function: Any, once: _Once, watcher: Watcher, graph: Graph) -> Traced:
    name = name_of_function(function)
    if graph.provenance.draws:
        raise TraceError(DRAWS.format(name, graph.provenance.draws[0]))
    if not once.left:  # its results are the function's
        graph = graph.replace(out_tree=graph.out_tree.children[0])
    live = graph.provenance.cells(len(graph.cells))
    if any(cell is None for cell in live):
        raise TraceError(
            f"{name} makes a parameter or buffer that is gone when it returns, so that nothing it learns would stay: "
            "make modules and cells before, outside of the function"
        )
    cells: tuple[Any, ...] = tuple(live)
    for leaf in (*once.found, *once.grads.asked):
        watcher.grad(leaf, name_of_leaf(leaf))
    for array in once.lent.values():
        watcher.array(array, "a captured array")
    for array in once.shared:
        watcher.add(ArrayGuard("the array in a captured tensor", array))
    roots = (*watcher.roots.values(), *cells)
    guards = Guards(watcher.all_guards(), roots, watcher.structures, watcher.modes)
    return Traced(graph, cells, once.found, tuple(once.left), guards, watcher, once.sizes, once.returned)


def _own_words(error: Any, code: CodeType) -> None:
    """What a function says of the arguments with which this code called it does not begin by the name of `trace`."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    if trace.tb_frame.f_code is code and hasattr(error, "told"):
        error.args = (error.told[2], *error.args[1:])


def _is_static(leaf: Any, fixed: frozenset[type]) -> bool:
    """Whether an argument that looks like a number, or like the type of one, is no input."""
    return type(leaf) in fixed or is_huge(leaf) or (is_said(leaf) and example_aval(leaf) is not None)


def name_of_leaf(leaf: Leaf) -> str:
    """What a leaf of the tape is called."""
    owner = None if leaf.owner is None else leaf.owner()
    return (owner.path if owner is not None else leaf.name) or "a tensor"


class _Once:
    """One run of a function in a trace."""

    def __init__(self, function: Any, found: Sequence[Leaf], fixed: frozenset[type]) -> None:
        self.found = tuple(found)
        self.grads = Grads({})
        self.left: list[tuple[Leaf | int, bool]] = []
        self.lent: dict[int, Any] = {}
        self.shared: list[Any] = []
        self.sizes: SizeReads | None = None
        self.watcher: Watcher | None = None
        self.returned: Treedef | None = None

        def run(*args: Any, **keywords: Any) -> Any:
            trace: Any = modes.current().trace
            trace.watcher = self.watcher
            grads, args = (args[0], args[1:]) if self.found else ((), args)
            trace.frames.bodies[trace.top] = code_of(inner(function))  # whose frame is that of the graph itself
            trace.grads = self.grads = Grads(dict(zip(self.found, grads, strict=True)))
            before = dict(self.grads)
            if fixed or any(type(leaf) is Static for leaf in flatten((args, keywords))[0]):
                args, keywords = tree_map(lambda leaf: leaf.value if type(leaf) is Static else leaf, (args, keywords))
            sizes = None if OpenSize in fixed else _open_sizes(trace.inputs[len(self.found) :])
            trace.sizes = self.sizes = sizes
            given = [(value, flatten(value)) for value in (*args, *keywords.values())]
            try:
                result = function(*args, **keywords)
            finally:
                if self.sizes is not None:
                    self.sizes.end()
                    trace.sizes = None
            for name, (value, (leaves, tree)) in zip((*named_arguments(function, args), *keywords), given, strict=True):
                now, its_tree = flatten(value)
                if its_tree != tree or any(a is not b for a, b in zip(leaves, now, strict=True)):
                    raise TraceError(CHANGED.format(name_of_function(function), name))
            return self.numbers_of(result), self.leave(trace, before)

        OUTSIDE.add(run.__code__)
        run.__name__ = name_of_function(function)
        run.__wrapped__ = function  # type: ignore[attr-defined]
        if found:
            run.__signature__ = _with_grads(function)  # type: ignore[attr-defined]
        self.run = run

    def numbers_of(self, result: Any) -> Any:
        """The result; where it holds text and the like, a list of what else it holds."""
        leaves, tree = flatten(result)
        if not any(map(is_said, leaves)):
            return result
        kept, self.returned = with_said(tree, leaves, is_said)
        return kept

    def leave(self, trace: Any, before: Mapping[Any, Any]) -> list[Any]:
        """The gradients that the function leaves; notes whose they are, and what the trace captured."""
        number = {var: n for n, var in enumerate(trace.inputs)}
        left = []
        for key, value in self.grads.items():
            place = number.get(key) if type(key) is Var else key if type(key) is Leaf else None
            if place is None or (key in before and before[key] is value):
                continue
            self.left.append((place, value is not None))
            if value is not None:
                left.append(value)
        self.lent = trace.lent
        for _, value, _ in trace.consts.values():
            if type(value) is np.ndarray and (value.base is not None or getrefcount(value) > UNSHARED + 2):
                self.shared.append(value)
        return left


def _with_grads(function: Any) -> inspect.Signature | None:
    """The signature of a function, with a list of gradients before its arguments."""
    first = inspect.Parameter("grads", inspect.Parameter.POSITIONAL_ONLY)
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return inspect.Signature([first, *known])


def _open_sizes(inputs: Sequence[Var]) -> SizeReads | None:
    """Who watches the size of a batch: the first axis of the first array, and of all others of that size."""
    shapes = [(var, var.aval.shape) for var in inputs if var.aval.shape]
    size = shapes[0][1][0] if shapes else 0
    return SizeReads([var for var, shape in shapes if shape[0] == size]) if size > 1 else None

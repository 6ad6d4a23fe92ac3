"""Calling a graph: arguments matched with its inputs, cells with live ones or a given state, results nested again.

What runs is the graph's `Program`; an evaluated graph equals the eager computation to the last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.interrupts import whole
from tensorgraph.engine.numbers import TracedNumber
from tensorgraph.engine.operands import Borrowed, convert
from tensorgraph.engine.tensor import Tensor, TraceError, weak_cast, wrap
from tensorgraph.engine.tree import Treedef, flatten, leaf_paths, owners, same_value, unflatten
from tensorgraph.graph.graph import ANYTHING, Graph, Var
from tensorgraph.graph.keywords import arranged
from tensorgraph.graph.numbers import number_for
from tensorgraph.graph.opaque import refuse_other_values
from tensorgraph.graph.program import Program

__all__ = ["bind", "call", "evaluate"]

ndarray = np.ndarray


def evaluate(
    graph: Graph, inputs: Sequence[Tensor], cells: Sequence[Tensor], history: bool = False
) -> tuple[list[Any], list[Any]]:
    """Outputs and written values, as Tensors without history, or with it: connected to `inputs` and `cells`."""
    tensors = (*inputs, *cells)
    count = len(graph.outputs)
    program = None if history or modes.current().debug_nans else _array_program(graph)
    if program is not None:
        values = program.run([t._value if isinstance(t, Tensor) else t for t in tensors])
        lent = [t._value for t in tensors if type(t) is Borrowed]
        if lent:  # a result that lies in the user's memory would change with it
            values = [v.copy("K") if any(np.may_share_memory(v, own) for own in lent) else v for v in values]
        results = [wrap(v) if type(v) is ndarray else v for v in values]
        return results[:count], results[count:]
    if history:
        results = graph.program.record(tensors)
        return [_own(v) for v in results[:count]], results[count:]
    env = graph.program.taped(tensors)
    results = _bare([env[slot] for slot in graph.program.results])
    return results[:count], results[count:]


def _array_program(graph: Graph) -> Program | None:
    """The program that runs on plain arrays, to the same bits; None where gradients are taken by the tape.

    Deferred gradients are written out when a graph is run for the second time: to run it once, that would not pay.
    """
    program = graph.program
    if not program.deferred:
        return program
    if "written out" not in graph._cache:
        graph._cache["written out"] = None
    elif graph._cache["written out"] is None:
        graph._cache["written out"] = graph.differentiate()
    written: Graph | None = graph._cache["written out"]
    return None if written is None else written.program


def run(graph: Graph, inputs: list[Tensor], cells: list[Tensor], history: bool) -> tuple[list[Any], list[Any]]:
    """As `evaluate`; while a function is traced the graph becomes part of the trace."""
    if modes.current().trace is None:
        return evaluate(graph, inputs, cells, history)
    from tensorgraph.graph.inline import inline

    return inline(graph, inputs, cells)


def replay(graph: Graph, args: tuple[Any, ...]) -> Any:
    """The graph's outputs computed through the ops with history, as if the function were called. No cells."""
    outputs, _ = run(graph, match_arguments(graph, args), [], history=True)
    return unflatten(graph.out_tree, outputs)


def _bare(values: list[Any]) -> list[Any]:
    return [wrap(_own(v)._value) if isinstance(v, Tensor) else v for v in values]


def _own(value: Any) -> Any:
    """An output, copied where it is an argument that lies in the user's memory."""
    return wrap(value._value.copy()) if type(value) is Borrowed else value


def call(graph: Graph, args: tuple[Any, ...], state: Mapping[str, Any] | None) -> Any:
    """See `Graph.__call__`."""
    inputs = match_arguments(graph, args)
    if not graph.cells:
        outputs, _ = run(graph, inputs, [], _recorded(graph, inputs))
        return unflatten(graph.out_tree, outputs)
    trace = modes.current().trace
    if state is None and trace is not None and not graph.writes and trace.cells_by_path.keys() >= _paths(graph).keys():
        cells = [trace.tensor(trace.cells_by_path[decl.path]) for decl in graph.cells]
        outputs, _ = run(graph, inputs, cells, True)
        return unflatten(graph.out_tree, outputs)
    if state is None:
        raise TypeError(
            f"this graph reads {len(graph.cells)} cells ({graph.cells[0].path}, ...): pass state={{path: array}}, or "
            "use graph.bind(model) to run it on live parameters"
            + "; its argument that is called state is given by position then"
            * ("state" in graph.arguments)
        )
    unknown = set(state) - {decl.path for decl in graph.cells}
    if unknown:
        raise KeyError(f"state has no such cell: {sorted(unknown)[0]}; the graph's cells: {', '.join(_paths(graph))}")
    values = []
    for decl in graph.cells:
        if decl.path not in state:
            raise KeyError(f"state lacks the cell {decl.path}; the graph's cells: {', '.join(_paths(graph))}")
        value = state[decl.path]
        if not isinstance(value, (Tensor, np.ndarray, np.generic)):
            value = weak_cast(value, decl.aval.dtype, f"cell {decl.path}")
        t = value if isinstance(value, Tensor) else convert(value, functools.partial("cell {}".format, decl.path))
        _expect(t.aval, decl.aval, f"cell {decl.path}")
        values.append(t)
    wanted = _recorded(graph, [*inputs, *values])
    outputs, written = run(graph, inputs, values, wanted)
    kept = wanted or modes.current().trace is not None
    after = {decl.path: _unwritten(t, kept) for decl, t in zip(graph.cells, values, strict=True)}
    names = {decl.var: decl.path for decl in graph.cells}
    after.update({names[w.cell]: value for w, value in zip(graph.writes, written, strict=True)})
    return unflatten(graph.out_tree, outputs), after


def _unwritten(value: Tensor, history: bool) -> Tensor:
    """The state of a cell that the graph leaves as it is."""
    own: Tensor = _own(value.read() if isinstance(value, Cell) else value)
    return own if history else wrap(own._value)


def _recorded(graph: Graph, values: list[Tensor]) -> bool:
    """Whether a gradient may be wanted through an evaluation on these."""
    if not modes.current().grad:
        return False
    return bool(graph.provenance.captured) or any(isinstance(t, Tensor) and t._node is not None for t in values)


def _paths(graph: Graph) -> dict[str, None]:
    return dict.fromkeys(decl.path for decl in graph.cells)


def match_arguments(graph: Graph, args: tuple[Any, ...]) -> list[Any]:
    """The arguments' leaves as Tensors, and numbers where the graph takes those, checked against its inputs."""
    if graph.is_flat and len(args) == len(graph.inputs):
        for t, var in zip(args, graph.inputs):
            value = t._value if type(t) is Tensor else None
            if type(value) is not ndarray or value.dtype is not var.aval.dtype or value.shape != var.aval.shape:
                break
        else:
            return list(args)
    arity = len(graph.in_tree.children)
    if len(args) != arity:
        called = f" ({', '.join(graph.arguments)})" if len(graph.arguments) == arity and arity else ""
        raise TypeError(f"{graph.name} takes {arity} argument{'' if arity == 1 else 's'}{called}, got {len(args)}")
    leaves, tree = flatten(list(args), graph.in_tree)
    if tree != graph.in_tree:
        raise TypeError(f"{graph.name}: the graph was traced for arguments nested as {graph.in_tree}, got {tree}")
    statics = dict(graph.statics)
    inputs = []
    variables = iter(graph.inputs)
    for position, leaf in enumerate(leaves):
        if position in statics:
            if statics[position] is ANYTHING:
                continue
            if not same_value(leaf, statics[position]):
                raise ValueError(
                    f"{graph.name}: argument {position} is static: traced with {statics[position]!r}, got {leaf!r}; "
                    "trace again for another value"
                )
            continue
        var = next(variables)
        if type(var.aval) is Number:
            inputs.append(number_for(graph, var, leaf, f"{graph.name}: argument {var.name or position}"))
            continue
        if type(leaf) is TracedNumber:
            leaf = leaf.detach()
        if isinstance(leaf, Tensor):
            if type(leaf._value) is Var and modes.current().trace is None:
                raise TraceError("this value was traced and is used outside its trace; a graph is evaluated on numbers")
            t = leaf
        else:
            what = f"{graph.name}: argument {var.name or position}"
            if isinstance(leaf, (np.ndarray, np.generic)):
                t = convert(leaf, functools.partial(str, what))
            else:
                t = wrap(weak_cast(leaf, var.aval.dtype, what))
        _expect(t.aval, var.aval, f"argument {var.name or position}")
        inputs.append(t)
    if graph.provenance.plain:
        _refuse_stale(graph, leaves, tree, statics)
    return inputs


def _refuse_stale(graph: Graph, leaves: list[Any], tree: Treedef, statics: Mapping[int, Any]) -> None:
    """Raise where an argument that is not looked into is the object of the trace with other numbers."""
    paths = leaf_paths(tree)
    values = {paths[position]: leaves[position] for position in statics}
    values.update({path: own.attributes for path, own in owners(tree)})
    for path, (name, traced) in graph.provenance.plain.items():
        if path in values and values[path] is not None:
            refuse_other_values(graph.name, name, values[path], traced)


def _expect(got: Aval, expected: Aval, what: str) -> None:
    if got == expected:
        return
    remedy = "trace the function again for this type"
    if got.shape == expected.shape:
        remedy = f"convert it with .astype('{expected.dtype}'), or {remedy}"
    else:
        remedy += ", or name the dimension in its text (f32[N, 64]) and take .at(N=...)"
    raise ValueError(f"{what}: the graph was traced for {expected}, got {got}; {remedy}")


def _cells_of(owner: Any) -> dict[str, Cell]:
    """The cells of something by path from the root, so that a part of a model may be given."""
    if isinstance(owner, Cell):
        return {owner.path: owner}
    if isinstance(owner, Mapping):
        return dict(owner)
    if hasattr(owner, "named_cells"):
        return {cell.path or name: cell for name, cell in dict(owner.named_cells()).items()}
    raise TypeError(f"bind takes modules, optimisers, cells and dicts of cells, got {type(owner).__name__}")


def bind(graph: Graph, owners: tuple[Any, ...]) -> Callable[..., Any]:
    """See `Graph.bind`."""
    traced = graph.provenance.cells(len(graph.cells))
    if not owners and any(cell is None for cell in traced):
        raise KeyError("bind(): the cells this graph was traced from are gone; pass the module or optimiser to bind")
    live: dict[str, Cell] = {}
    twice: set[str] = set()
    for owner in owners:
        for path, cell in _cells_of(owner).items():
            if live.setdefault(path, cell) is not cell:
                twice.add(path)
    given = {cell for owner in owners for cell in _cells_of(owner).values()}
    from tensorgraph.engine import random

    live.setdefault(random.state().path, random.state())
    cells: list[Any] = []
    for decl, own in zip(graph.cells, traced, strict=True):
        # the very cell it was traced from first (all of them when no owner is given), then the one of that path
        if own is not None and (not owners or own in given):
            cells.append(own)
            continue
        if decl.path in twice:
            raise KeyError(f"bind: two of the owners have a cell {decl.path}; pass a dict {{path: cell}} to say which")
        cells.append(live.get(decl.path))
    missing = [decl.path for decl, cell in zip(graph.cells, cells, strict=True) if cell is None]
    if missing:
        raise KeyError(f"bind: no owner has the cells {', '.join(missing)}; pass the module or optimiser that does")
    for live_cell, decl in zip(cells, graph.cells, strict=True):
        _expect(live_cell.aval, decl.aval, f"cell {decl.path}")
    place = {decl.var: cell for decl, cell in zip(graph.cells, cells, strict=True)}
    parameters = {decl.var for decl in graph.cells if decl.kind == "parameter"}
    steps = any(eq.is_gradient for eq in graph.equations)
    steps = steps or any(write.cell in parameters for write in graph.writes)

    def commit(written: Sequence[Tensor]) -> None:
        for write, value in zip(graph.writes, written, strict=True):
            place[write.cell].assign(value)

    def bound(*args: Any, **keywords: Any) -> Any:
        inputs = match_arguments(graph, arranged(graph, args, keywords) if keywords else args)
        values = [c._live() for c in cells] if modes.current().plain else [c.read() for c in cells]
        # a whole step has taken its gradients itself; a forward graph is differentiated as the function would be
        wanted = _recorded(graph, inputs if steps else [*inputs, *values])
        outputs, written = run(graph, inputs, values, wanted)
        del values  # cells that nobody else holds are written in place
        if len(written) > 1:
            with whole():
                commit(written)
        else:
            commit(written)
        return unflatten(graph.out_tree, outputs)

    return bound

"""Evaluating a graph: one equation after another through the ops, freeing each value after its last use.

A deferred ``gradients`` equation is taken by the engine's own backward pass over the equations that lead to it, so an
evaluated graph equals the eager computation to the last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.operands import Borrowed, convert
from tensorgraph.engine.tape import Leaf
from tensorgraph.engine.tensor import Tensor, TraceError, weak_cast, wrap
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.graph import ANYTHING, Atom, Equation, Graph, Literal, Var

__all__ = ["bind", "call", "evaluate"]


class Plan:
    """What evaluation needs to know of a graph besides its equations; computed once."""

    def __init__(self, graph: Graph) -> None:
        gradients = [eq for eq in graph.equations if eq.is_gradient]
        self.leaves = {x for eq in gradients for x in _group(eq.inputs[1])}
        self.last_gradients = gradients[-1] if gradients else None
        wanted = {y for eq in gradients for y in _group(eq.inputs[0])}
        self.recorded: set[int] = set()
        for eq in reversed(graph.equations):
            if any(out in wanted for out in eq.outputs):
                self.recorded.add(id(eq))
                wanted.update(a for a in eq.atoms() if type(a) is Var)
        kept = {a for a in (*graph.outputs, *[w.value for w in graph.writes]) if type(a) is Var}
        last: dict[Var, int] = {}
        for i, eq in enumerate(graph.equations):
            for a in eq.atoms():
                if type(a) is Var:
                    last[a] = i
        self.free: list[list[Var]] = [[] for _ in graph.equations]
        for i, eq in enumerate(graph.equations):  # what nobody reads goes at once
            last.update((out, i) for out in eq.outputs if out not in last)
        for var, i in last.items():
            if var not in kept:
                self.free[i].append(var)


def _group(atom: Atom) -> tuple[Var | Literal, ...]:
    return atom if isinstance(atom, tuple) else (atom,)


def evaluate(
    graph: Graph, inputs: list[Tensor], cells: list[Tensor], history: bool = False
) -> tuple[list[Any], list[Any]]:
    """Outputs and written values, as Tensors without history, or with it: connected to `inputs` and `cells`."""
    plan = graph._cache.get("plan")
    if plan is None:
        plan = graph._cache["plan"] = Plan(graph)
    env: dict[Var, Tensor] = {}

    def put(var: Var, t: Tensor) -> None:
        if var in plan.leaves and t._node is None:
            t = wrap(t._value.copy() if type(t) is Borrowed else t._value)
            t._node = Leaf(t.shape, t.dtype, user=False)
        env[var] = t

    given = zip((*graph.inputs, *[decl.var for decl in graph.cells]), (*inputs, *cells), strict=True)
    for var, value in given:
        put(var, value if history or type(value) is Borrowed else wrap(value._value))
    captured = graph.provenance.captured
    for var, array in graph.consts.items():
        t = wrap(array)
        if history:
            t._node = captured.get(var)
        put(var, t)
    for i, eq in enumerate(graph.equations):
        with modes.use(grad=history or id(eq) in plan.recorded, scope=eq.scope):
            try:
                last = eq is plan.last_gradients and not history
                again = history or id(eq) in plan.recorded  # whether somebody will differentiate what comes
                result = _apply(eq, [_get(env, a) for a in eq.inputs], last, again)
            except Exception as error:
                if eq.source is not None:
                    error.add_note(f"in the equation of {eq.op.name} traced at {eq.source.file}:{eq.source.line}")
                raise
        for var, value in zip(eq.outputs, result if isinstance(result, (tuple, list)) else (result,), strict=True):
            put(var, value)
        result = None
        for var in plan.free[i]:
            env.pop(var, None)

    outputs = [_get(env, a) for a in graph.outputs]
    written = [_get(env, w.value) for w in graph.writes]
    if not history:
        return _bare(outputs), _bare(written)
    return [_own(v) for v in outputs], written


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


def _get(env: dict[Var, Tensor], atom: Any) -> Any:
    if isinstance(atom, tuple):
        return [_get(env, a) for a in atom]
    return env[atom] if type(atom) is Var else atom.value


def _bare(values: list[Any]) -> list[Any]:
    return [wrap(_own(v)._value) if isinstance(v, Tensor) else v for v in values]


def _own(value: Any) -> Any:
    """An output, copied where it is an argument that lies in the user's memory."""
    return wrap(value._value.copy()) if type(value) is Borrowed else value


def _apply(eq: Equation, args: list[Any], last: bool, again: bool) -> Any:
    if eq.is_gradient:
        ys, xs, gs = args
        return pull_back(ys, xs, gs or [None] * len(ys), again and bool(eq.attrs["create_graph"]), not last)
    return eq.op.public(*args, **eq.attrs)


def call(graph: Graph, args: tuple[Any, ...], state: Mapping[str, Any] | None) -> Any:
    """See `Graph.__call__`."""
    inputs = match_arguments(graph, args)
    if not graph.cells:
        outputs, _ = run(graph, inputs, [], _recorded(graph, inputs))
        return unflatten(graph.out_tree, outputs)
    if state is None:
        raise TypeError(
            f"this graph reads {len(graph.cells)} cells ({graph.cells[0].path}, ...): pass state={{path: array}}, or "
            "use graph.bind(model) to run it on live parameters"
        )
    unknown = set(state) - {decl.path for decl in graph.cells}
    if unknown:
        raise KeyError(f"state has no such cell: {sorted(unknown)[0]}; the graph's cells: {_paths(graph)}")
    values = []
    for decl in graph.cells:
        if decl.path not in state:
            raise KeyError(f"state lacks the cell {decl.path}; the graph's cells: {_paths(graph)}")
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
    return bool(graph.provenance.captured) or any(t._node is not None for t in values)


def _paths(graph: Graph) -> str:
    return ", ".join(decl.path for decl in graph.cells)


def match_arguments(graph: Graph, args: tuple[Any, ...]) -> list[Tensor]:
    """The arguments' leaves as Tensors, checked against the graph's inputs."""
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
            if type(leaf) is not type(statics[position]) or leaf != statics[position]:
                raise ValueError(
                    f"{graph.name}: argument {position} is static: traced with {statics[position]!r}, got {leaf!r}; "
                    "trace again for another value"
                )
            continue
        var = next(variables)
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
    return inputs


def _expect(got: Aval, expected: Aval, what: str) -> None:
    if got == expected:
        return
    remedy = (
        "trace the function again for this type, or name the dimension in its text (f32[N, 64]) and take .at(N=...)"
    )
    if got.shape == expected.shape:
        remedy = f"convert it with .astype('{expected.dtype}'), or {remedy}"
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
    for decl, cell in zip(graph.cells, traced, strict=True):
        # the very cell it was traced from first (all of them when no owner is given), then the one of that path
        if cell is not None and (not owners or cell in given):
            cells.append(cell)
            continue
        if decl.path in twice:
            raise KeyError(f"bind: two of the owners have a cell {decl.path}; pass a dict {{path: cell}} to say which")
        cells.append(live.get(decl.path))
    missing = [decl.path for decl, cell in zip(graph.cells, cells, strict=True) if cell is None]
    if missing:
        raise KeyError(f"bind: no owner has the cells {', '.join(missing)}; pass the module or optimiser that does")
    for cell, decl in zip(cells, graph.cells, strict=True):
        _expect(Aval(cell._value.shape, cell._value.dtype), decl.aval, f"cell {decl.path}")
    place = {decl.var: cell for decl, cell in zip(graph.cells, cells, strict=True)}
    parameters = {decl.var for decl in graph.cells if decl.kind == "parameter"}
    steps = any(eq.is_gradient for eq in graph.equations)
    steps = steps or any(write.cell in parameters for write in graph.writes)

    def bound(*args: Any) -> Any:
        inputs = match_arguments(graph, args)
        values = [c.read() for c in cells]
        # a whole step has taken its gradients itself; a forward graph is differentiated as the function would be
        wanted = _recorded(graph, inputs if steps else [*inputs, *values])
        outputs, written = run(graph, inputs, values, wanted)
        for write, value in zip(graph.writes, written, strict=True):
            place[write.cell].assign(value)
        return unflatten(graph.out_tree, outputs)

    return bound

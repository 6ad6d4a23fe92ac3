"""Graphs of derivatives: `grad` and `jvp` of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.numbers import strong_dtype
from tensorgraph.engine.tensor import Tensor, require_float
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.graph import CellDecl, Graph, Var
from tensorgraph.graph.inline import inline
from tensorgraph.graph.losses import refuse_losses
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.passes.rerun import Rerun
from tensorgraph.passes.symbolic import Symbolic
from tensorgraph.transforms import functions as transforms
from tensorgraph.transforms.refusals import depends_on, require_one, unused

__all__ = ["grad", "jvp"]


def grad(graph: Graph, wrt: Any = None) -> Graph:
    """The graph of a gradient.

    Parameters
    ----------
    graph : Graph
        Of a function that gives one float element.
    wrt : int, str, or a tuple or list of them, optional
        Arguments by position, an input by its name, cells by their paths. By default the first argument.

    Returns
    -------
    Graph
        With the arguments, the cells and the writes of `graph`. Gives the gradient in the argument's structure; for
        several a tuple. It may be differentiated again. For arguments it equals the traced gradient:
        ``trace(f, x).grad(0) == trace(tensorgraph.grad(f), x)``.

    Raises
    ------
    TypeError
        For a result that is not one float element, and for arguments that are not float.
    KeyError, ValueError
        For a name or a position that the graph does not have, or has twice in `wrt`.

    Notes
    -----
    The gradient is one deferred equation; `Graph.differentiate` writes it out. The gradient of a cell is that with
    respect to its value at entry.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x: x ** 3, tg.spec(()))
    >>> float(g.grad()(2.0)), float(g.grad().grad()(2.0))
    (12.0, 12.0)
    >>> g.grad() == tg.trace(tg.grad(lambda x: x ** 3), tg.spec(()))
    True
    """
    places = _places(graph, wrt, (0,))
    trace = Rerun(graph)
    with trace.running():
        arguments, cells = trace.arguments(), trace.tensors([decl.var for decl in graph.cells])
        chosen = _choose(graph, trace, places, arguments, cells)
        outputs, written = inline(graph, _inputs(graph, arguments), cells)
        y = unflatten(graph.out_tree, outputs)
        require_one(y, graph.name)
        moving = [t for tensors, _ in chosen for t in tensors]
        _refuse_unused(graph, trace, [y], [tensors for tensors, _ in chosen])
        refuse_losses(trace.equations, [trace.var(y)], map(trace.var, moving))
        flat = iter(trace.gradients([y], moving, [None], True))
        grads = tuple(unflatten(tree, [next(flat) for _ in tensors]) for tensors, tree in chosen)
        return trace.result(grads if isinstance(wrt, (tuple, list)) else grads[0], written).check()


def jvp(graph: Graph, wrt: Any = None) -> Graph:
    """The graph of outputs and their derivatives in a direction.

    Parameters
    ----------
    graph : Graph
    wrt : int, str, or a tuple or list of them, optional
        As of `grad`. By default every argument that holds floats only.

    Returns
    -------
    Graph
        Takes the arguments of `graph` and then a tangent for each of `wrt`, like it; gives ``(outputs, tangents)``.
        The tangent of an output that is not float is zeros of the default dtype.

    Notes
    -----
    The gradient is linear in its cotangent; its own gradient is the derivative in a direction. Both are written out,
    and what only the first one needed is removed: no equation of a backward pass is left. The same numbers as
    `tensorgraph.jvp`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x: tg.exp(x) * 2.0, tg.spec(())).jvp()
    >>> [float(v) for v in g(0.0, 1.0)]
    [2.0, 2.0]
    >>> [eq.op.name for eq in g.equations]
    ['alias', 'exp', 'multiply', 'multiply', 'multiply']
    """
    trace = Symbolic(graph)
    with trace.running():
        arguments, cells = trace.arguments(), trace.tensors([decl.var for decl in graph.cells])
        places = _places(graph, wrt, tuple(i for i, value in enumerate(arguments) if _moves(value)))
        if not places and wrt is not None:
            raise ValueError(f"jvp: wrt={wrt!r} names nothing that moves")
        if not places:
            raise ValueError(
                f"jvp: {graph.name} takes no float arguments; name the cells that move, as in wrt={_some(graph)}"
            )
        primals = [_primal(graph, place, arguments, cells) for place in places]
        directions = [_direction(graph, trace, primal) for primal in primals]
        moves = [t._value for t in flatten(directions)[0]]
        trace.known.update(moves)
        trace.varying.update(moves)
        written: list[Any] = []

        def function(*moved: Any) -> Any:
            own, state = list(arguments), list(cells)
            for place, value in zip(places, moved, strict=True):
                _put(graph, place, value, own, state)
            outputs, after = inline(graph, _inputs(graph, own), state)
            written.extend(after)
            given = [flatten(v)[0] for place, v in zip(places, moved, strict=True) if not isinstance(place, CellDecl)]
            _refuse_unused(graph, trace, [t for t in outputs if isinstance(t, Tensor)], given)
            return unflatten(graph.out_tree, outputs)

        function.__name__ = graph.name
        result = transforms.jvp(function, primals, directions)
        in_tree = flatten([*arguments, *directions])[1]
        moving = trace.result(result, written, inputs=(*graph.inputs, *moves), in_tree=in_tree)
    half = len(moving.outputs) // 2
    for value, tangent in zip(moving.outputs[:half], moving.outputs[half:], strict=True):
        if isinstance(value, Var) and isinstance(tangent, Var) and tangent.name is None and value.name:
            tangent.name = f"{value.name}_dot"
    # a tangent is no gradient: it goes along with its equation, not back
    alive = dead_code(moving)
    return alive.replace(equations=tuple(replace(eq, origin=None) for eq in alive.equations)).check()


# what to differentiate by ------------------------------------------------------------------------------------------


def _moves(value: Any) -> bool:
    leaves = flatten(value)[0]
    return bool(leaves) and all(isinstance(t, Tensor) and t.dtype.kind == "f" for t in leaves)


def _direction(graph: Graph, trace: Rerun, primal: Any) -> Any:
    """New inputs for the tangents of a primal."""
    leaves, tree = flatten(primal)
    for t in leaves:
        if not isinstance(t, Tensor) or t.dtype.kind != "f":
            what = str(t.aval) if isinstance(t, Tensor) else repr(t)
            raise TypeError(f"{graph.name}: derivatives need float arguments, got {what}; leave it out of wrt")
    return unflatten(tree, trace.tensors([Var(_moving(t.aval), f"{t._value.name or 'x'}_dot") for t in leaves]))


def _moving(aval: Aval) -> Aval:
    """The type of a tangent: a Python number moves as a tensor of the default dtype."""
    return Aval((), strong_dtype(aval)) if type(aval) is Number else aval


Place = int | Var | CellDecl  # an argument, one input of a nested argument, a cell


def _arity(graph: Graph) -> int:
    return len(graph.in_tree.children)


def _some(graph: Graph) -> str:
    return repr(graph.cells[0].path) if graph.cells else "'w'"


def _places(graph: Graph, wrt: Any, default: tuple[int, ...]) -> list[Place]:
    names = default if wrt is None else tuple(wrt) if isinstance(wrt, (tuple, list)) else (wrt,)
    places = [_place(graph, name) for name in names]
    keys = [place if isinstance(place, int) else id(place) for place in places]
    if len(set(keys)) < len(keys):
        raise ValueError(f"{graph.name}: wrt={wrt!r} names something twice")
    return places


def _place(graph: Graph, name: Any) -> Place:
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool):
        arity = _arity(graph)
        if not -arity <= name < arity:
            remedy = f"; name a cell to differentiate by, as in wrt={_some(graph)}" if graph.cells else ""
            raise ValueError(f"{graph.name} takes {arity} arguments, so there is no argument {name}{remedy}")
        return int(name) % arity
    if not isinstance(name, str):
        raise TypeError(f"wrt takes positions of arguments, names of inputs and paths of cells, got {name!r}")
    found: list[Place] = [var for var in graph.inputs if var.name == name]
    found += [decl for decl in graph.cells if decl.path == name]
    if len(found) == 1:
        return found[0]
    known = ", ".join([*(var.name for var in graph.inputs if var.name), *(decl.path for decl in graph.cells)])
    if found:
        raise KeyError(f"{graph.name}: {name!r} is the name of an input and the path of a cell; give the position")
    raise KeyError(f"{graph.name} has no input or cell {name!r}; it has {known or 'none with a name'}")


def _choose(
    graph: Graph, trace: Rerun, places: Sequence[Place], arguments: list[Any], cells: list[Tensor]
) -> list[tuple[list[Tensor], Any]]:
    """The tensors to differentiate by, and how each place's nest; arguments get names of their own."""
    chosen = []
    for place in places:
        primal = _primal(graph, place, arguments, cells)
        if isinstance(place, CellDecl):
            require_float(place.aval.dtype, f"a gradient with respect to the cell {place.path}")
            trace.root(place.var)
            chosen.append(([primal], flatten(primal)[1]))
            continue
        what = f"argument {place}" if isinstance(place, int) else f"input {place.name}"
        value, tensors, tree = transforms.lift_tree(primal, f"{graph.name}: {what}")
        _put(graph, place, value, arguments, cells)
        chosen.append((tensors, tree))
    return chosen


def _refuse_unused(graph: Graph, trace: Rerun, ys: Sequence[Tensor], chosen: Sequence[list[Tensor]]) -> None:
    """Raise where an argument stands for cells that the graph reads past it."""
    read = [(decl, ref()) for decl, ref in zip(graph.cells, graph.provenance.live, strict=False)
            if depends_on(trace, ys, [decl.var])]  # fmt: skip
    for tensors in chosen:
        roots = [trace.producer[t._value].inputs[0] for t in tensors if t._value in trace.producer]
        if not roots or depends_on(trace, ys, [t._value for t in tensors]):
            continue
        stands = [ref() for var, ref in graph.provenance.stands.items() if var in roots]
        for decl, cell in read:
            if cell is not None and any(cell is stood for stood in stands):
                raise unused(graph.name, f"the {decl.kind} {decl.path!r}")


def _leaf_of(graph: Graph, var: Var) -> int:
    """The position of an input among the leaves of the arguments."""
    statics = {position for position, _ in graph.statics}
    places = [i for i in range(graph.in_tree.size) if i not in statics]
    return places[graph.inputs.index(var)]


def _primal(graph: Graph, place: Place, arguments: list[Any], cells: list[Tensor]) -> Any:
    if isinstance(place, int):
        return arguments[place]
    if isinstance(place, CellDecl):
        return cells[graph.cells.index(place)]
    return flatten(arguments)[0][_leaf_of(graph, place)]


def _put(graph: Graph, place: Place, value: Any, arguments: list[Any], cells: list[Tensor]) -> None:
    if isinstance(place, int):
        arguments[place] = value
    elif isinstance(place, CellDecl):
        cells[graph.cells.index(place)] = value
    else:
        leaves = flatten(arguments)[0]
        leaves[_leaf_of(graph, place)] = value
        arguments[:] = unflatten(graph.in_tree, leaves)


def _inputs(graph: Graph, arguments: list[Any]) -> list[Tensor]:
    statics = {position for position, _ in graph.statics}
    return [leaf for i, leaf in enumerate(flatten(arguments)[0]) if i not in statics]

"""`vmap`: a function of one example, called once for many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.exits import wanted
from tensorgraph.engine.operands import convert
from tensorgraph.engine.tape import getframe
from tensorgraph.engine.tensor import Tensor, as_array, wrap
from tensorgraph.engine.tree import Treedef, flatten, is_dataclass, leaf_paths, unflatten
from tensorgraph.graph.calls import nest
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.graph.graph import Graph, HashedKey
from tensorgraph.graph.inline import inline
from tensorgraph.graph.trace import names_of_arguments
from tensorgraph.graph.user_names import OUTSIDE, code_of
from tensorgraph.ops.random import turns
from tensorgraph.transforms.lanes import Lanes
from tensorgraph.transforms.plans import Plans

__all__ = ["one_lane", "plan_of", "vmap"]


@checked
def vmap(
    function: Callable[..., Any],
    in_axes: int | tuple[Any, ...] | list[Any] | None = 0,
    out_axes: Any = 0,
    *,
    fallback: Literal["loop"] | None = None,
) -> Callable[..., Any]:
    """A function of one example as a function of many, which come along an axis of the arguments.

    ``vmap(f)(xs)[i]`` is ``f(xs[i])``, computed for all i at once: the function is traced for one example at every
    call, and each op becomes one op on all of them. It composes with `grad`, `vjp`, `jvp`, `jacobian`, itself, and
    every other transform, in any nesting. What the function reads besides its arguments is the same for all examples,
    and derivatives flow to it.

    Parameters
    ----------
    function : callable
        Of arrays, tensors, and nested lists, tuples and dicts of them, gives such too. Where it draws random numbers,
        example i draws what the i-th turn of a loop would draw, to the bit, and the random state is as after the loop.
    in_axes : int, None, or a tuple or list of these, one an argument
        The axis along which the examples of an argument lie; None where it is the same for all. For a nested argument a
        nesting of axes, of which each stands for all below it. Keyword arguments are mapped along axis 0.
    out_axes : int, None, or a nesting of these
        Where the axis of the examples goes in the results; None for a result that is the same for all.
    fallback : {None, "loop"}
        What to do about an op that has no batching rule: raise, or call it for one example after the other.

    Returns
    -------
    callable

    Raises
    ------
    TypeError, ValueError
        When it is called, where axes do not fit the arguments, naming them.
    TraceError
        Where the function needs the numbers of an example: ``if``, ``float()``, ``.numpy()``. Use `tensorgraph.where`.
    NotImplementedError
        For an op without a batching rule.
    RuntimeError
        Where the function writes a Parameter or a Buffer, which has no room for one value an example.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> def loss(w, x, y):
    ...     return (x @ w - y) ** 2
    >>> w, x, y = tg.tensor([1.0, 2.0]), tg.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), tg.tensor([1.0, 1.0, 1.0])
    >>> tg.vmap(loss, (None, 0, 0))(w, x, y)
    tensor([0., 1., 4.], f32)
    >>> tg.vmap(tg.grad(loss), (None, 0, 0))(w, x, y).tolist()  # a gradient an example
    [[0.0, 0.0], [0.0, 2.0], [4.0, 4.0]]
    """
    _check_axes(in_axes, "in_axes")
    _check_axes(out_axes, "out_axes")
    name = getattr(function, "__name__", type(function).__name__)

    @functools.wraps(function, updated=())
    def mapped(*args: Any, **kwargs: Any) -> Any:
        # The plan:
        # 1. an axis for each leaf of the arguments, and how many examples there are;
        # 2. the function runs once on values that have the shape of one example: the graph of one lane;
        # 3. that graph is batched equation by equation, or an equal one has been before;
        # 4. the batched graph runs on the arguments and on all that the function read, or becomes a part of the trace
        #    that goes on outside.
        leaves, treedef = flatten([list(args), kwargs])
        axes = _axes_of_arguments(in_axes, args, treedef, name)
        called = functools.partial(_names, function, args, kwargs)
        by_position = treedef.children[0].size
        for i, axis in enumerate(axes):
            how = "give it in_axes=None" if i < by_position else "bind it with functools.partial"
            leaves[i] = _leaf(leaves[i], axis, i, called, name, how)
        axes, size = _sizes(leaves, axes, called, name)
        lanes = Lanes(name if name.isidentifier() else "f", size)
        paths = called() if lanes.lines else [""] * len(leaves)
        values = [
            v if axis is None else lanes.argument(v, axis, path.replace(".", "_") or None)
            for v, axis, path in zip(leaves, axes, paths, strict=True)
        ]
        results, out_tree, ends = one_lane(lanes, function, unflatten(treedef, values), out_axes, name)
        graph = lanes.graph(results)
        outputs = _run(lanes, graph, ends, fallback == "loop")
        return unflatten(out_tree, outputs)

    return mapped


def _check_axes(axes: Any, what: str) -> None:
    for axis in flatten(axes)[0]:
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
            raise TypeError(f"vmap: {what} holds integers and None, got {axis!r}")


# arguments ---------------------------------------------------------------------------------------------------------


def _spread(axes: Any, treedef: Treedef, what: str) -> Iterator[int | None]:
    """An axis for each leaf of a tree, where `axes` is as deep as the tree or ends further up."""
    if axes is None or isinstance(axes, (int, np.integer)):
        yield from [None if axes is None else int(axes)] * treedef.size
        return
    own = flatten(axes, treedef)[1]
    dicts = all(isinstance(kind, type) and issubclass(kind, dict) for kind in (own.kind, treedef.kind))
    if treedef.kind is None or not (own.kind is treedef.kind or dicts) or set(own.keys) != set(treedef.keys):
        keys = "" if treedef.kind is None else f" with {', '.join(map(str, treedef.keys)) or 'nothing'} in it"
        kind = "a tensor" if treedef.kind is None else f"a {treedef.kind.__name__}"
        raise ValueError(
            f"vmap: {what} must be nested as what it is for, {kind}{keys}, or end further up, got {axes!r}"
        )
    for key, child in zip(treedef.keys, treedef.children, strict=True):
        inner = getattr(axes, key) if is_dataclass(type(axes)) else axes[key]
        yield from _spread(inner, child, f"{what}[{key!r}]")


def _axes_of_arguments(in_axes: Any, args: tuple[Any, ...], treedef: Treedef, name: str) -> list[int | None]:
    positional, keywords = treedef.children
    if isinstance(in_axes, (tuple, list)):
        if len(in_axes) != len(args):
            raise ValueError(
                f"vmap: in_axes has an entry for each positional argument, but it has {len(in_axes)} and {name} got "
                f"{len(args)}"
            )
        axes = [
            axis
            for i, (own, child) in enumerate(zip(in_axes, positional.children, strict=True))
            for axis in _spread(own, child, f"in_axes[{i}]")
        ]
    else:
        axes = list(_spread(in_axes, positional, "in_axes"))
    return [*axes, *_spread(0, keywords, "in_axes")]


def _names(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """What each leaf of the arguments is called."""
    paths = [leaf_paths(flatten(value)[1], called) for called, value in names_of_arguments(function, args)]
    paths += [leaf_paths(flatten(value)[1], key) for key, value in kwargs.items()]
    return [path for group in paths for path in group]


def _leaf(value: Any, axis: int | None, i: int, called: Callable[[], list[str]], name: str, how: str) -> Any:
    """A leaf of the arguments: a Tensor where it is mapped, with an axis that it has."""
    if axis is None:
        return value
    if type(value) is Tensor and axis == 0 and value.shape:
        return value
    if isinstance(value, Cell):
        value = value.read()
    elif not isinstance(value, Tensor):
        if not isinstance(value, (np.ndarray, np.generic, int, float)):
            raise TypeError(
                f"vmap: argument {called()[i]} of {name} is to be mapped along axis {axis}, but it is of type "
                f"{type(value).__name__}: {how}"
            )
        array = value if isinstance(value, np.ndarray) else np.asarray(as_array(value))
        value = convert(array, lambda: f"vmap: argument {called()[i]} of {name}")
    ndim = len(value.shape)
    if not -ndim <= axis < ndim:
        rank = axis + 1 if axis >= 0 else -axis
        raise ValueError(
            f"vmap: argument {called()[i]} of {name} is to be mapped along axis {axis}, for which it needs at least "
            f"{rank} ax{'i' if rank == 1 else 'e'}s, but it is {value.aval} (shape {value.shape}); "
            f"{how} where it is the same for all examples"
        )
    return value


def _sizes(
    leaves: Sequence[Any], axes: Sequence[int | None], called: Callable[[], list[str]], name: str
) -> tuple[list[int | None], int]:
    """Axes counted from the front, and the number of examples, of which all must have as many."""
    exact = [None if a is None else canonical_axis(a, len(v.shape)) for v, a in zip(leaves, axes, strict=True)]
    sizes: dict[int, list[int]] = {}
    for i, (value, axis) in enumerate(zip(leaves, exact, strict=True)):
        if axis is not None:
            sizes.setdefault(value.shape[axis], []).append(i)
    if not sizes:
        if not leaves:
            raise ValueError(f"vmap: {name} got no arguments to be mapped")
        raise ValueError(f"vmap: in_axes must have an axis for one argument at least; all of {name}'s are None")
    if len(sizes) > 1:
        paths = called()
        where = {size: [f"{paths[i]} ({leaves[i].aval}, axis {exact[i]})" for i in at] for size, at in sizes.items()}
        said = "; ".join(f"{size} in {', '.join(names)}" for size, names in where.items())
        raise ValueError(f"vmap: the axes to be mapped must be of one size, got for {name}: {said}")
    return exact, next(iter(sizes))


# one lane ----------------------------------------------------------------------------------------------------------


def one_lane(
    lanes: Lanes, function: Callable[..., Any], values: Any, out_axes: Any, name: str
) -> tuple[list[Any], Treedef, list[int | None]]:
    """What the function gives for one example, in the trace: results, their nesting, where the examples' axis goes."""
    args, kwargs = values
    try:
        if lanes.lines:
            lanes.frames.begin(getframe(), lanes.top, code_of(function))
        with lanes.running():
            result = function(*args, **kwargs)
            if lanes.lines:
                lanes.frames.end()
                lanes.top.complete({}, nest(result, lanes.seen))
            leaves, treedef = flatten(result)
            ends = list(_spread(out_axes, treedef, "out_axes"))
            paths = leaf_paths(treedef, "the result")
            results = [_result(*each, name) for each in zip(leaves, paths, strict=True)]
            for t, end, path in zip(results, ends, paths, strict=True):
                _check_end(lanes, t, end, path, name)
            return results, treedef, ends
    finally:
        lanes.frames.forget()
        del lanes.frames  # which knows the trace


OUTSIDE.add(one_lane.__code__)


def _result(value: Any, path: str, name: str) -> Tensor:
    if isinstance(value, Cell):
        return value.read()
    if isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        return wrap(np.array(as_array(value)))
    if not isinstance(value, Tensor):
        raise TypeError(f"vmap: {name} must give tensors and numbers, but {path} is of type {type(value).__name__}")
    return value


def _check_end(lanes: Lanes, t: Tensor, end: int | None, path: str, name: str) -> None:
    """Whether a result can have the examples' axis there, or none."""
    if end is None:
        if lanes.differs(t):
            raise ValueError(
                f"vmap: out_axes=None is for a result that is the same for all examples, and {path} of {name} is not: "
                "say an axis"
            )
        return
    ndim = len(t.shape) + 1
    if not -ndim <= end < ndim:
        raise ValueError(
            f"vmap: out_axes={end} is no axis of {path} of {name}, which has {ndim} with that of the examples"
        )


# all lanes ---------------------------------------------------------------------------------------------------------

_plans = Plans(256)


def _batch(graph: Graph, size: int, dims: tuple[int | None, ...], ends: Sequence[int | None], loop: bool) -> Graph:
    """The graph of all lanes. Gradients are written out before: what all lanes share is computed once, theirs too."""
    return graph.differentiate().batched(size, dims, out_dims=tuple(ends), loop=loop).differentiate()


def plan_of(graph: Graph, size: int, dims: tuple[int | None, ...], ends: Sequence[int | None], loop: bool) -> Graph:
    """As `_batch`; where an equal graph has been batched before, the same."""
    ops = tuple(id(eq.op) for eq in graph.equations)  # which a plan keeps; one of the user's may be declared again
    key = HashedKey((graph.key(), ops, size, dims, tuple(ends), loop))
    return _plans.made(key, lambda: _batch(graph, size, dims, ends, loop))  # type: ignore[no-any-return]


def _run(lanes: Lanes, graph: Graph, ends: Sequence[int | None], loop: bool) -> list[Any]:
    """What the lanes give together, outside."""
    states = {lanes.entry[cell]: (cell, draws) for cell, draws in lanes.states.items()}
    dims = tuple(0 if var in states else axis for var, (_, axis) in zip(graph.inputs, lanes.given, strict=True))
    mode = modes.current()
    many = (plan_of if mode.trace is None else _batch)(graph, lanes.size, dims, ends, loop)
    inputs = []
    for var, (value, _) in zip(graph.inputs, lanes.given, strict=True):
        if var in states:
            cell, draws = states[var]
            value, after = turns.public(value, size=lanes.size, draws=draws)
            cell.assign(after)
        inputs.append(value)
    if mode.trace is not None:
        return inline(many, inputs, [])[0]
    recorded = mode.grad and any(t._node is not None and wanted(t._node) for t in inputs)
    return evaluate(many, inputs, [], recorded)[0]

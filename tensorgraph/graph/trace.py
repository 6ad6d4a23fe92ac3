"""Tracing: run a function on values that have types but no numbers, and keep what it did as a `Graph`."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.cells import Cell, holder
from tensorgraph.engine.numbers import TracedScalar
from tensorgraph.engine.spec import Sized, Typed
from tensorgraph.engine.tape import getframe
from tensorgraph.engine.tensor import Tensor, TraceError, as_array
from tensorgraph.engine.tree import flatten, leaf_paths, owners, same_value, unflatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.calls import nest
from tensorgraph.graph.chance import Generators
from tensorgraph.graph.graph import Graph, is_literal
from tensorgraph.graph.keywords import called_by_name, inner, name_of_function, named_arguments
from tensorgraph.graph.opaque import Opaque, plain_values, refuse_iterator
from tensorgraph.graph.sayable import sayable
from tensorgraph.graph.user_names import OUTSIDE, code_of

__all__ = ["trace"]

ndarray = np.ndarray


@checked
def trace(
    function: Annotated[
        Callable[..., Any], "a function (sums of a diagonal are tensorgraph.numpy.trace, and numpy.trace)"
    ],
    /,
    *examples: Any,
    **keywords: Any,
) -> Graph:
    """The computation of a function as a `Graph`, without running it on numbers.

    Parameters
    ----------
    function : callable
        Of tensors and nested lists, tuples, dicts and dataclasses of them; a Module; a whole training step with
        ``backward`` and an optimiser's update.
    *examples
        One an argument: tensors, arrays, or `tensorgraph.spec` values; only their shapes and dtypes are used. A size
        may be a name, ``tensorgraph.f32["N", 64]``: the result is a `Template` then, of a graph for each size. Python
        floats and integers are inputs that stay weak, ``s: float`` in the text: they take the dtype of what they meet,
        as in eager code; so do NumPy's scalars beside floats. Strings, booleans, None and other objects are static.
    **keywords
        Examples of arguments that the function takes by name. The graph's arguments stand in the order of the
        function's signature, and may be given by name too.

    Returns
    -------
    Graph
        Checked. Live parameters, buffers and gradients are untouched.

    Raises
    ------
    TraceError
        Where the function needs the numbers of a traced value, naming the line.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x: (x * 2).sum(), tg.spec((3,)))
    >>> g(tg.tensor([1.0, 2.0, 3.0]))
    tensor(12., f32)
    """
    if modes.current().trace is not None:
        raise TraceError("tensorgraph.trace inside a traced function: call the function itself")
    pairs = called_by_name(function, examples, keywords)
    called = tuple(name for name, _ in pairs)
    leaves, in_tree = flatten([example for _, example in pairs])
    if any(isinstance(leaf, Sized) for leaf in leaves):
        from tensorgraph.text.templated import traced

        template: Any = traced(function, examples, keywords)
        return template  # type: ignore[no-any-return]
    in_tree = sayable(in_tree, "trace: an argument")
    building = Trace(name_of_function(function))
    inputs, statics, values, opaque = [], [], [], []
    for position, (leaf, name, path) in enumerate(zip(leaves, _leaf_names(pairs), leaf_paths(in_tree), strict=True)):
        aval = example_aval(leaf)
        if aval is None:
            statics.append((position, leaf))
            values.append(leaf)
            if not is_literal(leaf):
                refuse_iterator(leaf, name)
                opaque.append((path, name, leaf))
            continue
        t = building.input(aval, name, isinstance(leaf, Tensor) and leaf._node is not None)
        building.known.add(t._value)
        building.stands[t._value] = leaf._value if isinstance(leaf, Tensor) and not isinstance(leaf, Cell) else leaf
        inputs.append(t)
        values.append(TracedScalar.of(t) if isinstance(leaf, np.number) else t)
    opaque += [(path, _named(path, called), own.attributes) for path, own in owners(in_tree)]
    arguments = dict(zip(called, unflatten(in_tree, values), strict=True))
    generators = Generators(function, arguments)
    building.opaque = Opaque([(name, value) for _, name, value in opaque]) if opaque else None
    before = {path: (name, plain_values(value, name)) for path, name, value in opaque}
    try:
        building.frames.begin(getframe(), building.top, code_of(inner(function)))
        with modes.use(trace=building, grad=True, call=building.top, cells=None):
            result = function(
                *[value for name, value in arguments.items() if name not in keywords],
                **{name: arguments[name] for name in keywords},
            )
            building.frames.end()
            given = nest(arguments, building.seen)
            building.top.complete(given, nest(result, building.seen))
            graph = building.finish(inputs, result, in_tree, tuple(statics), called)
        draws = generators.drawn()
    finally:
        building.frames.forget()
        del building.frames  # which knows the trace
    held = {var: holder(value, building.cells) for var, value in building.stands.items()}
    stands = {var: weakref.ref(cell) for var, cell in held.items() if cell is not None}
    if draws or before or stands:
        plain = _unchanged(opaque, before)
        graph = graph.replace(provenance=replace(graph.provenance, draws=draws, plain=plain, stands=stands))
    return graph.check()


OUTSIDE.add(inspect.unwrap(trace).__code__)


def example_aval(leaf: Any) -> Aval | None:
    """The type of a trace example, or None where it is static."""
    if isinstance(leaf, Aval):
        return leaf
    if isinstance(leaf, Typed):
        return leaf[()]
    if isinstance(leaf, Tensor):
        return leaf.aval
    if isinstance(leaf, (ndarray, np.generic)) and not isinstance(leaf, np.str_):
        array = as_array(leaf)
        return Aval(array.shape, array.dtype)
    if isinstance(leaf, bool) or not isinstance(leaf, (int, float)):
        return None
    return Number(float if isinstance(leaf, float) else int)


def names_of_arguments(function: Any, args: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """The positional arguments of a call, each with what the function calls it."""
    return list(zip(named_arguments(function, args), args, strict=True))


def _named(path: str, called: tuple[str, ...]) -> str:
    first, _, rest = path.partition(".")
    return f"{called[int(first)]}.{rest}" if rest else called[int(first)]


def _unchanged(opaque: list[tuple[str, str, Any]], before: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    """The numbers in arguments that are not looked into, but those that the function itself has changed."""
    known = {}
    for path, name, value in opaque:
        now = plain_values(value, name)
        values = {at: v for at, v in before[path][1].items() if at in now and same_value(now[at], v)}
        if values:
            known[path] = name, values
    return known


def _leaf_names(pairs: list[tuple[str, Any]]) -> list[str]:
    """A name for each leaf of the arguments."""
    names: list[str] = []
    for base, example in pairs:
        names += [path.replace(".", "_") for path in leaf_paths(flatten(example)[1], base)]
    return names

"""Eager calls on large arrays: a function of elementwise ops as one kernel, that of a compiled function's region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.regions import regions
from tensorgraph.engine import modes
from tensorgraph.engine.spec import spec
from tensorgraph.graph.trace import trace
from tensorgraph.native.direct import Direct, place_of_array
from tensorgraph.native.places import Call, Place

__all__ = ["kernels_of"]

ndarray = np.ndarray


def kernels_of(function: Callable[..., Any], values: Sequence[Any]) -> Direct | None:
    """The kernel of a function of tensors and numbers, for arrays like those among the values.

    Parameters
    ----------
    function : callable
        Gives one tensor.
    values : sequence
        What it is called with: arrays, of which types and strides count, and others, which are what they are.

    Returns
    -------
    Direct or None
        Takes the arrays alone, in their order. None where the function is more than elementwise ops over one shape.
    """
    given = [value for value in values if type(value) is ndarray]

    def traced(*tensors: Any) -> Any:
        left = iter(tensors)
        return function(*[next(left) if type(value) is ndarray else value for value in values])

    try:
        with modes.use(trace=None, cells=None, quiet=True, implementation="fused"):
            graph = trace(traced, *[spec(value.shape, value.dtype) for value in given])
    except Exception:  # it looks at numbers, or has to say what is wrong
        return None
    parts = regions(graph)
    if len(parts) != 1 or not parts[0].is_generated or graph.outputs != parts[0].outputs:
        return None
    (part,), (out,) = parts, parts[0].outputs
    places = {var: place_of_array(value) for var, value in zip(graph.inputs, given, strict=True)}
    call = Call(tuple([places[var] for var in part.inputs]), (Place.new(out.aval.shape, out.aval.dtype),), {})
    if not part.call(call) or call.warnings:
        return None
    return Direct(call, True, [graph.inputs.index(var) for var in part.inputs])

"""Eager calls on large arrays: a function of elementwise ops as one kernel, that of a compiled function's region."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.regions import Region, regions
from tensorgraph.engine import modes
from tensorgraph.engine.direct import LARGE
from tensorgraph.engine.spec import spec
from tensorgraph.graph.equation import Var
from tensorgraph.graph.trace import trace
from tensorgraph.native.direct import Direct, place_of_array
from tensorgraph.native.places import Call, Place

__all__ = ["kernels_of"]

ndarray = np.ndarray


def kernels_of(function: Callable[..., Any], values: Sequence[Any]) -> Direct | None:
    """The kernel of a function of tensors and numbers, for arrays like those among the values.

    Arrays of one shape whose numbers lie one after the other are lines to it: the function is traced for the first of
    them alone, and other sizes cost a fifth of that.

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
    if len({value.shape for value in given}) == 1 and all(value.flags.c_contiguous for value in given):
        shape = given[0].shape
        known = _of_lines(function, tuple([v.dtype if type(v) is ndarray else _Other(v) for v in values]))
        return None if known is None else _direct(*known, [value.reshape(-1) for value in given], shape)
    known = _region(function, values, [value.shape for value in given])
    return None if known is None else _direct(*known, given)


class _Other:
    """What is no array, as a part of a key: 1 is neither True nor 1.0, and 0.0 is not -0.0."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Other) and repr(other.value) == repr(self.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


@functools.lru_cache(1024)
def _of_lines(function: Callable[..., Any], values: tuple[Any, ...]) -> tuple[Region, tuple[Var, ...]] | None:
    """The region of lines of any length, where dtypes stand for arrays."""
    given = [np.empty(0, value) if isinstance(value, np.dtype) else value.value for value in values]
    known = _region(function, given, [(LARGE,)] * len(values))
    return known if known is not None and known[0].outputs[0].aval.shape == (LARGE,) else None


def _region(
    function: Callable[..., Any], values: Sequence[Any], shapes: Sequence[tuple[int, ...]]
) -> tuple[Region, tuple[Var, ...]] | None:
    """The region that a function of arrays of these shapes is, and their variables; None where it is more."""
    given = [value for value in values if type(value) is ndarray]

    def traced(*tensors: Any) -> Any:
        left = iter(tensors)
        return function(*[next(left) if type(value) is ndarray else value for value in values])

    try:
        with modes.use(trace=None, cells=None, quiet=True, implementation="fused"):
            graph = trace(traced, *[spec(shape, value.dtype) for value, shape in zip(given, shapes)])
    except Exception:  # it looks at numbers, or has to say what is wrong
        return None
    parts = regions(graph)
    if len(parts) != 1 or not parts[0].is_generated or graph.outputs != parts[0].outputs:
        return None
    return parts[0], graph.inputs


def _direct(
    region: Region, inputs: Sequence[Var], given: Sequence[Any], shape: tuple[int, ...] | None = None
) -> Direct | None:
    """The region's kernel for such arrays, with a result of the shape that is given or else of its own."""
    places = {var: place_of_array(value) for var, value in zip(inputs, given, strict=True)}
    (out,) = region.outputs
    written = Place.new(out.aval.shape if shape is None else given[0].shape, out.aval.dtype)
    call = Call(tuple([places[var] for var in region.inputs]), (written,), {})
    if not region.call(call) or call.warnings:
        return None
    return Direct(call, True, [inputs.index(var) for var in region.inputs], shape)

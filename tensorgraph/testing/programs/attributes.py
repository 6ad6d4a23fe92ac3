"""Attributes of calls in random programs, by their names: what an axis, a shape or a dtype may be for a value at hand.

What goes together is proposed together. Whether an op takes it, its shape rule says; of attributes with other names the
op's examples say values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine.op import Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.testing.programs.choices import Choices
from tensorgraph.testing.programs.writer import Value, Writer

__all__ = ["SIZES", "attributes"]

DTYPES = ("float32", "float64", "int64", "int32", "bool")
SIZES = (2, 3, 1, 4, 0)
SHAPES = ((3,), (2, 3), (), (0, 3), (1,))


def attributes(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any] | None:
    """Attributes that differ from the defaults; None where there are none for this value."""
    chosen: dict[str, Any] = {}
    for name in op.attrs:
        if name in chosen:
            continue
        found = PROPOSED[name](w, op, value, choices) if name in PROPOSED else _usual(op, name, value, choices)
        if found is None:
            return None
        chosen |= found
    plain = {name for name, v in chosen.items() if type(v) is type(op.attrs[name]) and v == op.attrs[name]}
    return {name: v for name, v in chosen.items() if name not in plain and v is not REQUIRED}


def _usual(op: Op, name: str, value: Value | None, choices: Choices) -> dict[str, Any] | None:
    """An attribute of which the declaration shows the default and examples."""
    default = op.attrs[name]
    if type(default) is bool:
        return {name: choices.rarely(3)}
    shown = [attrs[name] for _, attrs in op.examples if name in attrs]
    if value is not None and value.kind in "iu":  # numbers for floats, rounded away from 0
        shown = [math.copysign(math.ceil(abs(n)), n) if type(n) is float and math.isfinite(n) else n for n in shown]
        shown = [int(n) if type(n) is float and math.isfinite(n) else n for n in shown]
    if default is REQUIRED and op.signature.types.get(name) != "float":  # sizes may be smaller
        shown += [k for n in shown[:1] if type(n) is int for k in range(n - 1, -1, -1)]
    if default is REQUIRED:
        return {name: choices.one(shown)} if shown else None
    return {name: choices.one([default, *shown])}


def _axis(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any] | None:
    default = op.attrs["axis"]
    ndim = 0 if value is None else value.ndim
    axes: list[Any] = [default, *range(ndim), *range(-ndim, 0)]
    if "unit axes" in op.traits and default is REQUIRED:
        axes = [0, -1, ndim, (0, -1)]
    elif "unit axes" in op.traits:
        ones = [i for i, n in enumerate(() if value is None else value.shape) if n == 1]
        if not ones and not choices.rarely():
            return None
        axes = [default, *([ones[0], tuple(ones), ones[-1] - ndim] if ones else [])]
    elif default is None and op.dtype != "int" and ndim > 1:
        axes += [(0, 1), (-1, 0), ()]
    return {"axis": choices.one(axes)}


def _axes(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any]:
    """An order of the axes."""
    axes = list(range(0 if value is None else value.ndim))
    if choices.often() or not axes:
        return {}
    first = axes.pop(choices.below(len(axes)))
    return {"axes": (first, *(axes if choices.often() else axes[::-1]))}


def _shape(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any]:
    """A shape of as many elements, or one that the value broadcasts to."""
    if value is None:
        return {"shape": choices.one(SHAPES)}
    if "reshapes" not in op.traits:
        shape = tuple(choices.one(SIZES) if n == 1 else n for n in value.shape)
        return {"shape": (choices.one(SIZES), *shape) if choices.often() and len(shape) < 4 else shape}
    n = value.size
    ways: list[tuple[int, ...]] = [(-1,), (n,), (1, n), (n, 1)]
    ways += [(d, n // d) for d in (2, 3, 4) if n and n % d == 0] + [(2, -1) for _ in range(1) if n and n % 2 == 0]
    return {"shape": choices.one([(0, 2), (3, 0)] if n == 0 else [*ways, ()] if n == 1 else ways)}


def _sizes(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any] | None:
    """The sizes of parts, and along which axis they lie."""
    if "axis" not in op.attrs:  # sizes of something else
        return _usual(op, "sizes", value, choices)
    if value is None or not value.ndim:
        return None
    axis = choices.below(value.ndim)
    n = value.shape[axis]
    first = choices.below(n + 1)
    sizes = choices.one([(first, n - first), (n,), (first, 0, n - first), (1,) * n or (0,)])
    return {"sizes": sizes, "axis": axis if not axis or choices.often() else axis - value.ndim}


def _widths(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any] | None:
    """What is put on either side of every axis."""
    if value is None or not value.ndim:
        return None
    return {"widths": tuple((choices.below(3), choices.below(2)) for _ in value.shape)}


def _dtype(w: Writer, op: Op, value: Value | None, choices: Choices) -> dict[str, Any] | None:
    default = op.attrs["dtype"]
    if value is None:
        return {"dtype": "float64" if w.options.smooth else choices.one([default, *DTYPES[:-1]])}
    if default is not REQUIRED:
        return {"dtype": choices.one([default, default, *DTYPES[:3]])}
    wanted = choices.one([d for d in DTYPES if d != value.dtype.name])
    if value.kind == "f" and np.dtype(wanted).kind != "f" and not np.isfinite(value.numbers).all():
        return None
    return {"dtype": wanted}


PROPOSED: dict[str, Callable[[Writer, Op, Value | None, Choices], dict[str, Any] | None]] = {
    "axis": _axis, "axes": _axes, "shape": _shape, "sizes": _sizes, "widths": _widths, "dtype": _dtype,
}  # fmt: skip

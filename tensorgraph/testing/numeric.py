"""Derivatives by numbers: the complex step where a forward is analytic and takes complex input, else differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.arguments import Positive, checked
from tensorgraph.engine.modes import no_grad
from tensorgraph.testing.cases import Case, Place

__all__ = ["complex_jacobian", "difference_jacobian", "numerical_jacobian"]

Array = np.ndarray[Any, Any]

# sixth-order central differences: f(x + k h) by weight, over h
STENCIL = ((-3, -1 / 60), (-2, 3 / 20), (-1, -3 / 4), (1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
STEP = 1e-4


def _joined(outputs: Sequence[Any]) -> Array:
    """Float (or complex) outputs as one flat array."""
    flat = [np.asarray(o).reshape(-1) for o in outputs if np.asarray(o).dtype.kind in "fc"]
    return np.concatenate(flat) if flat else np.zeros(0)


@checked
def difference_jacobian(function: Callable[..., Any], arrays: Sequence[Any], step: Positive = STEP) -> list[Array]:
    """Columns of derivatives of a function of arrays that gives one flat array; float64, central differences.

    Returns
    -------
    list of ndarray
        One a given array, of shape (outputs, elements of the array).
    """
    arrays = [np.asarray(array) for array in arrays]
    base = np.asarray(function(*arrays))
    blocks = []
    for number, array in enumerate(arrays):
        block = np.zeros((base.size, array.size))
        for k in range(array.size):
            h = step * max(1.0, abs(float(array.flat[k])))
            total = np.zeros(base.size)
            for multiple, weight in STENCIL:
                moved = np.array(array, np.float64)
                moved.flat[k] += multiple * h
                total += weight * np.asarray(function(*arrays[:number], moved, *arrays[number + 1 :])).reshape(-1)
            block[:, k] = total / h
        blocks.append(block)
    return blocks


@checked
def complex_jacobian(case: Case, places: Sequence[Place]) -> list[Array] | None:
    """The Jacobian from an imaginary step of 1e-30 through the raw forward, or None where it does not take complex."""
    op = case.op
    if "analytic" not in op.traits or op.reference is not None:
        return None
    attrs = case.full_attrs()

    def forward(at: Place, k: int) -> Array | None:
        def lift(place: Place, array: Array) -> Array:
            if array.dtype.kind != "f":
                return array
            moved = array.astype(np.complex128)
            if place == at:
                moved.flat[k] += 1e-30j
            return moved

        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("error")
                result = op.forward(*case.map(lift).inputs, **attrs)
        except Exception:  # whatever keeps it from complex input, differences will do
            return None
        outputs = result if isinstance(result, tuple) else (result,)
        outputs = outputs[: len(outputs) - len(op.residuals)]
        if any(np.asarray(o).dtype.kind == "f" for o in outputs):  # an imaginary part was lost on the way
            return None
        return _joined(outputs)

    with no_grad():
        outputs = _joined([t.numpy() for t in case()]).size
    blocks = []
    for place in places:
        columns = []
        for k in range(case.at(place).size):
            value = forward(place, k)
            if value is None or value.dtype.kind != "c":
                return None
            columns.append(value.imag / 1e-30)
        blocks.append(np.stack(columns, axis=1) if columns else np.zeros((outputs, 0)))
    return blocks


@checked
def numerical_jacobian(case: Case, places: Sequence[Place]) -> tuple[list[Array], bool]:
    """Derivatives of all float outputs, flattened and joined, by the arrays at `places`.

    Returns
    -------
    blocks : list of ndarray
        One a place, of shape (outputs, elements).
    exact : bool
        Whether the complex step gave them, which is exact to rounding.
    """
    blocks = complex_jacobian(case, places)
    if blocks is not None:
        return blocks, True

    def function(*arrays: Array) -> Array:
        with no_grad():
            return _joined([t.numpy() for t in case.put(dict(zip(places, arrays, strict=True)))()])

    return difference_jacobian(function, [case.at(p) for p in places]), False

"""The array form of an equation: what runs where nobody differentiates, on plain arrays of known types."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import canonical_dtype
from tensorgraph.engine.calling import composed, float_result
from tensorgraph.engine.numbers import arithmetic
from tensorgraph.engine.op import Op, TypeCheck, elementwise
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Var

__all__ = ["array_function", "by_reference", "exact_number", "has_weak_numbers", "number_function", "public_function"]

ndarray = np.ndarray
EXACT = 1 << 24  # integers up to here are numbers of every float dtype but the half


def has_weak_numbers(eq: Equation) -> bool:
    """Whether a number among the inputs is weak, as beside arrays of an elementwise op; elsewhere it is an array."""
    return eq.op.kind is elementwise and any(type(a) is Var and not is_number(a) for a in eq.inputs)


def exact_number(eq: Equation, value: Any) -> Any:
    """A weak number as an array of the dtype that it takes beside arrays of one float dtype; else as it is.

    NumPy would make that array at every call.
    """
    if not isinstance(eq.op.forward, np.ufunc) or not _keeps_dtype(eq) or type(value) not in (int, float):
        return value
    dtype = next(a.aval.dtype for a in eq.inputs if type(a) is Var and not is_number(a))
    limit = float(np.finfo(dtype).max) if type(value) is float else min(EXACT, float(np.finfo(dtype).max))
    if math.isfinite(value) and abs(value) > limit:
        return value  # for NumPy to warn of
    return np.array(value, dtype)


def array_function(eq: Equation, by_kernels: bool = True) -> Callable[..., Any]:
    """An equation as a function of plain arrays and weak numbers: gives what its outputs are, one or a tuple.

    Kernels of the op's native rule run as in an eager call, unless that is what they are compared with.
    """
    if eq.of_numbers:
        number = number_function(eq)
        if number is not None:
            return number
    op, attrs, forward = eq.op, dict(eq.attrs), eq.op.calls["forward"] if by_kernels else eq.op.forward
    function: Callable[..., Any] = functools.partial(forward, **attrs) if attrs else forward
    if op.residuals and not eq.residuals:
        function = _without_residuals(function, len(op.residuals), op.single)
    elif op.kind is elementwise and op.dtype not in ("bool", "cast") and not _keeps_dtype(eq):
        function = _in_dtype(function, op, attrs)
    if op.check is not None and not isinstance(op.check, TypeCheck):
        function = _checked(function, functools.partial(op.check, **attrs))
    return function


def number_function(eq: Equation) -> Callable[..., Any] | None:
    """An equation that computes with Python numbers alone, or makes an array of one, as a function of them."""
    if eq.is_conversion:
        dtype = canonical_dtype(eq.attrs["dtype"])
        return lambda value: np.asarray(value, dtype)
    if not eq.is_arithmetic:
        return None
    function, kind = arithmetic(eq.op), eq.outputs[0].aval.kind  # type: ignore[attr-defined]

    def compute(*numbers: Any) -> Any:
        value = function(*numbers)
        if type(value) is not kind:
            raise TypeError(
                f"{eq.op.name} of {', '.join(map(repr, numbers))} gives {value!r}, and the graph was traced for a "
                f"{kind.__name__}; trace again with such numbers"
            )
        return value

    return compute


def public_function(eq: Equation) -> Callable[..., Any]:
    """An equation as a function of tensors and Python numbers that records itself."""
    number = number_function(eq) if eq.of_numbers else None
    if number is None:
        return functools.partial(eq.op.public, **eq.attrs) if eq.attrs else eq.op.public
    return number if eq.is_arithmetic else lambda value: wrap(number(value))


def _without_residuals(function: Callable[..., Any], residuals: int, single: bool) -> Callable[..., Any]:
    if single:
        return lambda *args: function(*args)[0]
    return lambda *args: function(*args)[:-residuals]


def _keeps_dtype(eq: Equation) -> bool:
    """Whether NumPy gives by itself what the shape rule promises: floats of one dtype, beside weak numbers."""
    dtypes = {a.aval.dtype for a in eq.inputs if type(a) is Var and not is_number(a)}
    return len(dtypes) == 1 and next(iter(dtypes)).kind == "f"


def _in_dtype(function: Callable[..., Any], op: Op, attrs: dict[str, Any]) -> Callable[..., Any]:
    return lambda *args: float_result(op, function(*args), list(args), attrs)


def _checked(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    def checked(*args: Any) -> Any:
        check(*args)
        return function(*args)

    return checked


def by_reference(eq: Equation) -> Callable[..., Any]:
    """A fused op's equation as a function of arrays, computed by the op's reference; it has no residuals."""
    op, attrs = eq.op, dict(eq.attrs)
    rest = (None,) * (len(eq.outputs) - len(op.outputs)) if not op.signature.variadic else ()

    def by_reference(*args: Any) -> Any:
        tensors = [wrap(a) if type(a) is ndarray else a for a in args]
        with modes.use(grad=False):
            result = composed(op, tensors, attrs)
        if isinstance(result, Tensor):
            return result._value if not rest else (result._value, *rest)
        return (*(t._value for t in result), *rest)

    return by_reference

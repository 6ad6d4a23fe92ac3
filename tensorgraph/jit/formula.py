"""Formulas: functions of numbers that mean the same for Python's numbers, for arrays and in compiled loops.

A formula is made of its parameters, numbers, operators and helpers. It has no branch, so that a loop over it vectorises
and arrays can be put in, and nothing of any module but helpers, so that whoever generates code can put it in too. Its
numbers are weak: beside 32 bits they have 32.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.jit.compiling import Helper, chosen_by_type, compiled_copy, digest_of
from tensorgraph.jit.door import EXACT_ZERO

__all__ = ["formula", "require_formula"]

# operations of the interpreter that a formula has no use for, and what to write
_REFUSED = {
    "LOAD_ATTR": "takes something out of a module or object",
    "LOAD_METHOD": "takes something out of a module or object",
    "LOAD_DEREF": "reads a variable of the function around it",
    "STORE_GLOBAL": "writes a global variable",
    "UNARY_NOT": "uses `not`, which arrays do not have: write x == 0",
    "IS_OP": "uses `is`",
    "CONTAINS_OP": "uses `in`",
    "MAKE_FUNCTION": "makes a function",
    "GET_ITER": "has a loop",
    "IMPORT_NAME": "imports something",
    "BUILD_LIST": "makes a list",
    "BUILD_MAP": "makes a dict",
    "RAISE_VARARGS": "raises",
    "YIELD_VALUE": "yields",
}
_JUMPS = {*dis.hasjrel, *dis.hasjabs}
_SUSPECT = frozenset({*_JUMPS, *(dis.opmap[name] for name in _REFUSED if name in dis.opmap)})


def require_formula(function: Any, where: str) -> None:
    """Refuse a function that is no formula.

    Raises
    ------
    TypeError
        Naming what it does that would not run in compiled loops and on arrays alike.
    """
    if isinstance(function, Helper):
        return
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{where}: a scalar form is a Python function or a helper of tensorgraph.jit, got {function!r}")
    code, space = function.__code__, function.__globals__
    if _SUSPECT.isdisjoint(code.co_code[::2]) and all(isinstance(space.get(name), Helper) for name in code.co_names):
        return  # seen at once, where the instructions take a while to list
    remedy = "write it with operators and the words of tensorgraph.ops.kernels.scalar"
    for step in dis.get_instructions(function):
        if step.opcode in _JUMPS:
            raise TypeError(f"{where}: the scalar form branches, with `if`, `and`, `or` or a loop; {remedy}")
        if step.opname in _REFUSED:
            raise TypeError(f"{where}: the scalar form {_REFUSED[step.opname]}; {remedy}")
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and not isinstance(
            function.__globals__.get(step.argval), Helper
        ):
            raise TypeError(f"{where}: the scalar form reads {step.argval!r}, which is none of the words; {remedy}")


def formula(function: Callable[..., Any]) -> Helper:
    """A helper made of a formula, whose numbers take the width of what they meet.

    Parameters
    ----------
    function : function or Helper
        See `require_formula`; a helper comes back as it is.

    Returns
    -------
    Helper

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph import jit
    >>> from tensorgraph.ops.kernels.scalar import exp
    >>> bell = jit.formula(lambda x: exp(-0.5 * x * x))
    >>> float(bell(0.0))
    1.0
    >>> bell(np.zeros(2, np.float32))
    array([1., 1.], dtype=float32)
    """
    if isinstance(function, Helper):
        return function
    require_formula(function, getattr(function, "__name__", "formula"))
    digest = lambda: f"weak({digest_of(function, EXACT_ZERO)})"
    return Helper(function, lambda numba: _make(numba, function), digest, body=function, flags=EXACT_ZERO)


def _make(numba: Any, function: Any) -> Any:
    """The formula as it is, and with its numbers in 32 bits for operands of which none is wider."""
    code = function.__code__
    weak = tuple(np.float32(c) if type(c) in (int, float) else c for c in code.co_consts)
    narrow = types.FunctionType(code.replace(co_consts=weak), function.__globals__, function.__name__)
    options: dict[str, Any] = dict(fastmath=set(EXACT_ZERO), nogil=True, forceinline=True)
    digest = digest_of(function, EXACT_ZERO)
    first, second = (compiled_copy(numba, f, digest, **options).py_func for f in (narrow, function))

    def choose(*operands: Any) -> Any:
        kinds = numba.types
        narrow = kinds.float32 in operands and not any(
            o in (kinds.float64, kinds.int64, kinds.uint64) for o in operands
        )
        return first if narrow else second

    return chosen_by_type(numba, "formula", code.co_varnames[: code.co_argcount], choose, options)

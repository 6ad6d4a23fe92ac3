"""Calls that record and are known beforehand: the types of what comes and goes, the attributes, the numbers, the scope.

A graph that records for its caller is made of these. Nothing is asked again: a call computes on arrays and puts a node
on the tape, which tells the line that the graph was traced at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.generate import aval_or_scalar, differentiated, saved_entries
from tensorgraph.engine.op import Op, structural
from tensorgraph.engine.source import define
from tensorgraph.engine.tape import Node, next_number
from tensorgraph.engine.tensor import blank

__all__ = ["is_simple", "make_recorded"]


def is_simple(declared: Op) -> bool:
    """Whether an op takes tensors and gives one, by its forward and nothing else."""
    sig = declared.signature
    rest = declared.residuals or declared.reference or sig.variadic or sig.lists or sig.optional or declared.unruled
    return declared.single and not rest and declared.kind is not structural


def make_recorded(
    declared: Op,
    forward: Callable[..., Any],
    attrs: dict[str, Any],
    numbers: Sequence[tuple[Any, Any] | None],
    aval: Aval,
    scope: str,
    code: CodeType,
) -> Callable[..., Any]:
    """A function of the inputs that are tensors.

    Parameters
    ----------
    declared : Op
        A simple one.
    forward : callable
        Of arrays and numbers, attributes bound: gives an array of the type `aval`.
    attrs : dict
    numbers : sequence
        For each input None, or a weak number: what to compute with, and what to save.
    aval : Aval
        Of the result.
    scope : str
    code : code
        Whose first line is the user's.
    """
    names = declared.inputs
    values: dict[str, Any] = {
        "_forward": forward, "_attrs": attrs, "_shape": aval.shape, "_dtype": aval.dtype, "_scope": scope,
        "_code": code,
        "_op": declared, "_ndarray": np.ndarray, "_asarray": np.asarray, "_blank": blank, "_Node": Node,
        "_number": next_number, "_aval": aval_or_scalar,
    }  # fmt: skip
    body = []
    for i, (name, number) in enumerate(zip(names, numbers, strict=True)):
        if number is None:
            body += [f"_v{i} = {name}._value; _p{i} = {name}._node"]
        else:
            values[f"_w{i}"], values[f"_v{i}"] = number
            values[f"_p{i}"] = None
    given = ", ".join(f"_v{i}" if number is None else f"_w{i}" for i, number in enumerate(numbers))
    body += [
        f"_o0 = _forward({given})",
        "if type(_o0) is not _ndarray: _o0 = _asarray(_o0)",
        "_t0 = _blank()",
        "_t0._value = _o0",
    ]
    live = [i for i in differentiated(declared) if numbers[i] is None]
    if aval.dtype.kind == "f" and live:
        entries, _ = saved_entries(declared)
        parents = ", ".join(f"_p{i}" if i in live else "None" for i in range(len(names)))
        body += [
            f"if {' or '.join(f'_p{i} is not None' for i in live)}:",
            "    _n = _Node()",
            "    _n.op = _op",
            f"    _n.parents = ({parents},)",
            f"    _n.saved = ({', '.join(entries)}{',' if entries else ''})",
            "    _n.attrs = _attrs",
            "    _n.number = _number()",
            "    _n.scope = _scope",
            "    _n.code = _code",
            "    _n.lasti = -1",
            "    _n.shape = _shape",
            "    _n.dtype = _dtype",
            "    _t0._node = _n",
            "else: _t0._node = None",
        ]
    else:
        body += ["_t0._node = None"]
    taken = ", ".join(name for name, number in zip(names, numbers, strict=True) if number is None)
    return define(declared.name, "recorded op", taken, [*body, "return _t0"], values)

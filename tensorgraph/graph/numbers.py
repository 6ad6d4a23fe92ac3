"""Python numbers in graphs: how a trace records them, and what may be given for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.engine.aval import Aval, Number, canonical_dtype
from tensorgraph.engine.numbers import TracedNumber, number_type, strong_dtype
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.forms import has_weak_numbers
from tensorgraph.graph.graph import Graph, Literal, Var
from tensorgraph.ops.shape import astype

__all__ = ["NumberRecorder", "number_for"]

WIDER: dict[type, tuple[type, ...]] = {
    bool: (bool,),
    int: (int, bool),
    float: (float, int, bool),
}  # what each may stand for, among floats
EXACT = 1 << 53  # integers up to here are floats


class NumberRecorder:
    """The part of a trace that has to do with numbers."""

    numberless = "this value is traced: it has only a type"  # why there are no numbers, for messages

    if TYPE_CHECKING:

        def _append(self, op: Op, atoms: Any, attrs: dict[str, Any], avals: Sequence[Aval]) -> tuple[Var, ...]: ...
        def var(self, t: Any) -> Var | Literal: ...
        def tensor(self, var: Var) -> Tensor: ...

    def numbers(self, t: Any) -> Any:
        """The array of a value, where it has numbers though the trace knows it; else None."""
        return None

    def arithmetic(self, op: Op, operands: tuple[Any, ...]) -> Tensor:
        """Record Python's arithmetic of numbers, some of them traced; gives a traced number."""
        types = tuple(n.aval if type(n) is TracedNumber else n for n in operands)
        atoms = tuple(self.var(n) for n in operands)
        return self.tensor(self._append(op, atoms, {}, (number_type(op, types),))[0])

    def stored(self, number: Tensor, dtype: np.dtype[Any], what: str) -> Tensor:
        """The tensor of this dtype that a traced number is stored as; refused where `weak_cast` would."""
        kind = number.dtype.kind
        if (kind == "f" and dtype.kind in "iub") or (kind == "i" and dtype.kind == "b"):
            raise TypeError(f"{what}: a {number.aval} cannot be stored as {dtype} without loss; convert it yourself")
        return self.strong(number, dtype)

    def strong(self, number: Tensor, dtype: Any = None) -> Tensor:
        """The tensor that a traced number becomes where it is not weak: of the default dtype if it is a float."""
        dtype = strong_dtype(number.aval) if dtype is None else canonical_dtype(dtype)
        made = self._append(astype, (self.var(number),), {"dtype": dtype.name}, (Aval((), dtype),))
        return self.tensor(made[0])


def number_for(graph: Graph, var: Var, given: Any, what: str) -> Any:
    """A number for an input that is one, as the function would have taken it in eager code.

    Another kind of number is taken where that makes no difference: an int, or a NumPy scalar, for a float that meets
    tensors of floats alone.

    Raises
    ------
    ValueError
        For a tensor, an array, and a number of another kind where that would be another computation.
    """
    aval = var.aval
    assert type(aval) is Number
    if type(given) is TracedNumber:
        if given.aval == aval:
            return given
        raise ValueError(f"{what}: the graph was traced for a {aval}, got a {given.aval}; trace again for that")
    if isinstance(given, (Tensor, np.ndarray)):
        raise ValueError(
            f"{what}: the graph was traced for a Python {aval}, which is weak, got a tensor, "
            f"{Aval(given.shape, given.dtype)}; pass {aval}(value), or trace again with a tensor as the example"
        )
    if type(given) is aval.kind:
        return given
    if isinstance(given, (int, float, np.number, np.bool)):
        value = given.item() if isinstance(given, np.generic) else given
        kind: type = next(k for k in (bool, int, float) if isinstance(value, k))
        exact = kind is float or abs(value) <= EXACT
        if (type(value) is type(given) or not isinstance(given, np.generic)) and kind is aval.kind:
            return aval.kind(value)  # of a class of the user's own
        if kind in WIDER[aval.kind] and exact and _is_indifferent(graph, var):
            return aval.kind(value)
    raise ValueError(
        f"{what}: the graph was traced for a Python {aval}, got {given!r} of type {type(given).__name__}; pass "
        f"{aval}(value) if that is meant, or trace again for this kind of number"
    )


def _is_indifferent(graph: Graph, var: Var) -> bool:
    """Whether an input only meets tensors of floats, to which every number of the same value is the same."""
    known: dict[Var, bool] = graph._cache.setdefault("indifferent", {})
    if var not in known:
        known[var] = _meets_floats(graph, var)
    return known[var]


def _meets_floats(graph: Graph, var: Var) -> bool:
    numbers = {var}
    for eq in graph.equations:
        if numbers.isdisjoint(eq.variables()):
            continue
        if eq.is_arithmetic:
            numbers.update(eq.outputs)
            continue
        strong = [v for v in eq.variables() if type(v.aval) is not Number]
        if not has_weak_numbers(eq) or not any(v.aval.dtype.kind == "f" for v in strong):
            return False
    return numbers.isdisjoint(graph.results())

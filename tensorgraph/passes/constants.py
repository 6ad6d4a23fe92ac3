"""Constant folding: what depends on no input and no cell is computed once, by the ops themselves.

A result whose elements are all the same becomes a creation op, whatever its size. Any other is kept as numbers where
the text can write them out, or where it is small and made of numbers that the graph holds already. What raises or warns
is left to the evaluation, which says so at the user's line.
"""

from __future__ import annotations

import math
from collections.abc import Set
from typing import Any

import numpy as np

from tensorgraph.engine.op import contraction, creation, elementwise, index, listing, reduction, shape
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.ops.creation import full, ones, zeros
from tensorgraph.ops.index import getitem
from tensorgraph.ops.shape import astype, broadcast_to
from tensorgraph.passes.facts import Facts, compute, ours
from tensorgraph.passes.rewrite import derived
from tensorgraph.text.literals import INLINE

__all__ = ["Folding"]

Array = np.ndarray[Any, Any]

KINDS = (elementwise, reduction, shape, index, contraction, listing, creation)
SMALL = 4096  # bytes of one folded result
TOGETHER = 1 << 20  # bytes of all small constants of a graph, folded ones and others
WORK = 1 << 22  # bytes that may be looked at for one result


class Folding:
    """Folds the equations of one sweep over a graph, and holds the constants that it made."""

    def __init__(self, graph: Graph, facts: Facts, off: Set[str] = frozenset()) -> None:
        self.facts = facts
        self.off = off  # names of rules that are left out
        self.made: dict[Var, Array] = {}
        self.left = TOGETHER - sum(a.nbytes for a in graph.consts.values() if a.nbytes <= SMALL)

    def fold(self, eq: Equation) -> tuple[str, Equation | None] | None:
        """The name of the rule and the equation to take this one's place, which is None where its outputs are constants
        now; nothing where the equation stays."""
        if not ours(eq.op) or eq.op.kind not in KINDS or not eq.outputs:
            return None
        if eq.op.kind is creation and not eq.inputs:  # says in one word what it holds
            return None
        if eq.op.single and "constants.uniform" not in self.off:
            one = self.facts.one_of(eq)
            if one is not None and self.facts.keeps_order(eq):
                return "constants.uniform", _created(eq, one, self._said(eq, one))
        # a broadcast is a view that would become a copy
        if not eq.inputs or eq.op is broadcast_to or "constants.folded" in self.off:
            return None
        known = self._operands(eq)
        if known is None:
            return None
        operands, held = known
        size = sum(v.aval.nbytes for v in eq.outputs)
        if size > WORK or any(v.aval.size == 0 for v in eq.outputs):
            return None
        found = compute(eq, operands)
        if found is None or any((a.shape, a.dtype) != (v.aval.shape, v.aval.dtype) for v, a in zip(eq.outputs, found)):
            return None
        for var, array in zip(eq.outputs, found, strict=True):
            self.facts.arrays[var] = array
        short = all(a.size <= INLINE for a in found)
        small = held and all(a.nbytes <= SMALL for a in found)
        if not (short or small) or size > self.left or not all(a.flags.c_contiguous for a in found):
            return None  # but a sum of it may be a constant
        self.left -= size
        for var, array in zip(eq.outputs, found, strict=True):
            kept = np.array(array, order="C")
            kept.flags.writeable = False
            self.made[var] = kept
            self.facts.constant(var, kept)
        return "constants.folded", None

    def _said(self, eq: Equation, one: Array) -> Any:
        """A number in more digits than its dtype has, where that means the same: 0.1, and not 0.10000000149."""
        value = one.item()
        if one.dtype.kind != "f" or one.dtype.itemsize >= 8 or not math.isfinite(value):
            return value
        operands = []
        for atom in eq.inputs[:1] if eq.op is getitem else eq.inputs:
            made = self.facts.made_by(atom, full)
            said = atom.value if isinstance(atom, Literal) else self.facts.value(atom)
            operands.append(np.float64(said if made is None else made.attrs["value"]))
        moves = "view" in eq.op.traits or eq.op is astype
        found = operands[:1] if moves else compute(eq, [np.asarray(n) for n in operands])
        wide = None if found is None else found[0].item()
        return wide if type(wide) is float and one.dtype.type(wide) == one else value

    def _operands(self, eq: Equation) -> tuple[list[Any], bool] | None:
        """The inputs as numbers, and whether the graph holds all of their arrays already; None if one is not known."""
        held = True
        work = 0

        def value(atom: Var | Literal) -> Any:
            nonlocal held, work
            if isinstance(atom, Literal):
                return atom.value
            array = self.facts.array(atom)
            if array is None:
                raise LookupError
            held = held and (atom in self.facts.fixed or array.size <= 1)
            work += array.nbytes
            return array

        try:
            operands = [[value(a) for a in atom] if isinstance(atom, tuple) else value(atom) for atom in eq.inputs]
        except LookupError:
            return None
        return (operands, held) if work <= WORK else None


def _created(eq: Equation, one: Array, value: Any) -> Equation:
    """The creation op that gives this one value everywhere."""
    out = eq.outputs[0].aval
    attrs = {"shape": out.shape, "dtype": out.dtype.name}
    if value == 0 and not (isinstance(value, float) and math.copysign(1.0, value) < 0):
        return derived(eq, zeros, (), attrs)
    if value == 1:
        return derived(eq, ones, (), attrs)
    return derived(eq, full, (), {"value": value, **attrs})

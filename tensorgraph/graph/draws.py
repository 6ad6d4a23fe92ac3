"""How often a graph draws from a random state, which a loop over it carries from turn to turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorgraph.engine.op import random
from tensorgraph.graph.equation import Equation, Var
from tensorgraph.ops.random import turns

__all__ = ["draws_between"]


def draws_between(producer: Mapping[Var, Equation], before: Var, after: Any) -> int | None:
    """The number of draws that lead from one state to another, or None where anything else does.

    Parameters
    ----------
    producer : mapping of Var to Equation
        Who makes each value.
    before, after : Var
        Values of a state, ``u64[3]``.
    """
    count, at = 0, after
    while at is not before:
        eq = producer.get(at) if type(at) is Var else None
        if eq is None or at is not eq.outputs[-1]:
            return None
        if eq.op.kind is random:
            count += 1
        elif eq.op is turns:
            count += eq.attrs["size"] * eq.attrs["draws"]
        elif "identity" not in eq.op.traits:
            return None
        at = eq.inputs[0]
    return count

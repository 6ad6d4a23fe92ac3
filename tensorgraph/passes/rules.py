"""What a rule of `simplify` is: small data that can be listed, read, switched off and tested one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.passes.facts import Facts
from tensorgraph.passes.rewrite import derived

__all__ = ["Rewrite", "Rule", "attempt"]

# a variable that the equation's output is, or an equation that gives the same: op, inputs, attributes
Rewrite = Var | tuple[Op, tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One exact rewrite of an equation.

    Attributes
    ----------
    name : str
    at : tuple of Op and str
        At the equations of which ops it looks: these, and those that have one of these traits.
    pattern : str
        For people: ``"x * 1 → x"``.
    why : str
        Why no bit changes, for any numbers.
    rewrite : callable
        Of the equation and what is known of the variables before it; gives what to put in its place, or None.
    moves : bool
        Whether only memory is looked at in another way, so that the result lies as before whatever the order in memory
        is. Of other rules the result is used where both are certain to lie in C order.
    """

    name: str
    at: tuple[Op | str, ...]
    pattern: str
    why: str
    rewrite: Callable[[Equation, Facts], Rewrite | None]
    moves: bool = False


def attempt(rule: Rule, eq: Equation, facts: Facts) -> Var | Equation | None:
    """What a rule puts in the place of an equation of one output; None where it does not apply."""
    found = rule.rewrite(eq, facts)
    if found is None:
        return None
    if isinstance(found, Var):
        if found.aval != eq.outputs[0].aval:
            return None
        return found if rule.moves or (facts.is_dense(found) and facts.keeps_order(eq)) else None
    op, inputs, attrs = found
    try:
        new = derived(eq, op, inputs, attrs)
    except (TypeError, ValueError):  # the types would change
        return None
    return new if rule.moves or (facts.keeps_order(new) and facts.keeps_order(eq)) else None

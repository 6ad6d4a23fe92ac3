"""What an equation may be to a region, by what its op's declaration says."""

from __future__ import annotations

import math

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.engine.recognition import Traits
from tensorgraph.graph.graph import Equation, Literal, Var
from tensorgraph.ops.arithmetic import power

__all__ = [
    "allowed", "carries", "computes", "creates", "elements", "follows", "has", "is_form", "is_label", "is_polynomial",
    "is_shift", "shifts", "stops",
]  # fmt: skip


def has(op: Op, traits: Traits) -> bool:
    """Whether an op has a trait, or all of several."""
    return traits in op.traits if isinstance(traits, str) else op.traits.issuperset(traits)


def allowed(eq: Equation) -> bool:
    """Whether an equation may stand in a region: two analytic functions that agree at random points are one."""
    return "analytic" in eq.op.traits and not eq.of_numbers


def stops(eq: Equation) -> bool:
    """Whether an equation gives its input, detached."""
    return "identity" in eq.op.traits and not eq.op.differentiable


def shifts(eq: Equation) -> bool:
    """Whether an equation begins a mere shift: a value that nothing in a region may depend on, drawn at random there.

    So is what is computed of shifts only.
    """
    return stops(eq) or has(eq.op, ("extremum", "reduces"))


def creates(eq: Equation) -> bool:
    """Whether an equation makes an array of nothing."""
    return not eq.inputs and "moves" in eq.op.traits


def is_label(eq: Equation) -> bool:
    """Whether an equation makes something of integer labels without arithmetic; comparisons of floats are none."""
    kinds = {v.aval.dtype.kind for v in eq.variables()}
    return (
        bool(kinds)
        and kinds <= {"i", "u"}
        and not eq.of_numbers
        and not eq.op.traits.isdisjoint(("labels", "comparison"))
    )


def is_shift(eq: Equation) -> bool:
    """Whether an equation of a region makes a mere shift, whatever it computes."""
    return not (allowed(eq) or creates(eq) or is_label(eq))


def carries(eq: Equation) -> bool:
    """Whether an equation gives elements of its first input as they are, perhaps in another dtype."""
    return allowed(eq) and ("moves" in eq.op.traits or eq.op.dtype == "cast")


def is_form(eq: Equation) -> bool:
    """Whether an equation gives its only tensor in another form: moved, or in another dtype."""
    return carries(eq) and eq.op.single and len(set(eq.variables())) == 1


def computes(eq: Equation) -> bool:
    """Whether an equation is more than a form of a tensor, an array made of nothing, or labels."""
    return not (is_form(eq) or creates(eq) or is_label(eq))


def follows(eq: Equation) -> bool:
    """Whether what a region reads besides x is as good as what it was made of: a form of that, or labels."""
    if is_label(eq):  # a label compared with a number is a choice that the user makes
        return "comparison" not in eq.op.traits or all(type(a) is Var and elements(a.aval) > 1 for a in eq.inputs)
    floating = any(v.aval.dtype.kind == "f" for v in eq.variables())
    return is_form(eq) and not (floating and eq.outputs[0].aval.dtype.kind != "f")


def is_polynomial(eq: Equation) -> bool:
    """Whether it is a power with a natural exponent."""
    if eq.op is not power:
        return False
    exponent = eq.inputs[1]
    return type(exponent) is Literal and float(exponent.value).is_integer() and exponent.value >= 0


def elements(aval: Aval) -> int:
    """How many numbers a value has."""
    return math.prod(aval.shape)

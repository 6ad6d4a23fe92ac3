"""Exact algebra: identities that hold to the last bit, for NaN, infinities, zeros of either sign and subnormal numbers.

What is missing here is missing because it is not exact: ``x + 0.0`` turns -0.0 into 0.0, ``x * 0`` is NaN for infinite
x, ``-(a - b)`` and ``b - a`` are zeros of different sign, ``log(exp(x))`` rounds, ``x ** 2`` may differ from ``x * x``
in the last bit, a float sum over one element turns -0.0 into 0.0. Gradients stay what they were, ties and zeros
included, so ``maximum(x, x)`` and ``maximum(x, 0)`` are left alone.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axes
from tensorgraph.graph.graph import Atom, Equation, Literal, Var, typed_key
from tensorgraph.ops import reduction
from tensorgraph.ops.arithmetic import absolute, add, divide, multiply, negative, square, subtract
from tensorgraph.ops.logic import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    equal,
    invert,
    logical_and,
    logical_not,
    logical_or,
    not_equal,
    where,
)  # fmt: skip
from tensorgraph.ops.shape import astype, concatenate, pad, reshape
from tensorgraph.ops.structure import alias, stop_gradient
from tensorgraph.passes.facts import Facts
from tensorgraph.passes.rules import Rewrite, Rule

__all__ = ["RULES"]


def _other(eq: Equation, facts: Facts, accept: Any) -> Var | None:
    """The other operand of a commutative op, one operand of which is a constant that is accepted."""
    a, b = eq.inputs
    if isinstance(a, Var) and accept(facts.value(b)):
        return a
    if isinstance(b, Var) and accept(facts.value(a)):
        return b
    return None


def _is(number: float) -> Any:
    return lambda v: v is not None and v == number


def _minus_zero(v: Any) -> bool:
    return type(v) is float and v == 0.0 and math.copysign(1.0, v) < 0.0


def _kind(eq: Equation) -> str:
    return eq.outputs[0].aval.dtype.kind


def _times_one(eq: Equation, facts: Facts) -> Rewrite | None:
    return _other(eq, facts, _is(1))


def _times_minus_one(eq: Equation, facts: Facts) -> Rewrite | None:
    x = _other(eq, facts, _is(-1))
    return None if x is None else (negative, (x,), {})


def _second(eq: Equation, facts: Facts, accept: Any) -> Var | None:
    """The first operand, where the second is a constant that is accepted."""
    a, b = eq.inputs
    return a if isinstance(a, Var) and accept(facts.value(b)) else None


def _over_minus_one(eq: Equation, facts: Facts) -> Rewrite | None:
    x = _second(eq, facts, _is(-1))
    return None if x is None else (negative, (x,), {})


def _over_power_of_two(eq: Equation, facts: Facts) -> Rewrite | None:
    x, divisor = eq.inputs
    v = facts.value(divisor)
    dtype = eq.outputs[0].aval.dtype
    if not isinstance(x, Var) or type(v) not in (int, float) or x.aval.dtype != dtype or dtype.kind != "f":
        return None
    info = np.finfo(dtype)
    smallest, largest = float(info.tiny), float(info.max)
    if not smallest <= abs(v) <= largest or abs(v) == 1 or math.frexp(v)[0] not in (0.5, -0.5):
        return None
    reciprocal = 1.0 / v
    return (multiply, (x, Literal(reciprocal)), {}) if smallest <= abs(reciprocal) <= largest else None


def _plus_zero(eq: Equation, facts: Facts) -> Rewrite | None:
    return _other(eq, facts, _minus_zero if _kind(eq) == "f" else _is(0))


def _minus_a_zero(eq: Equation, facts: Facts) -> Rewrite | None:
    return _second(eq, facts, lambda v: v is not None and v == 0 and not (_kind(eq) == "f" and _minus_zero(v)))


def _zero_minus(eq: Equation, facts: Facts) -> Rewrite | None:
    zero, x = eq.inputs
    v = facts.value(zero)
    if not isinstance(x, Var) or v is None or v != 0 or (_kind(eq) == "f" and not _minus_zero(v)):
        return None
    return negative, (x,), {}


def _twice(eq: Equation, facts: Facts) -> Rewrite | None:
    """op(op(x)) where that is x."""
    inner = facts.made_by(eq.inputs[0], eq.op)
    return None if inner is None or not isinstance(inner.inputs[0], Var) else inner.inputs[0]


def _again(eq: Equation, facts: Facts) -> Rewrite | None:
    """op(op(x)) where that is op(x)."""
    inner = facts.made_by(eq.inputs[0], eq.op)
    if inner is None or typed_key(dict(inner.attrs)) != typed_key(dict(eq.attrs)):
        return None
    return inner.outputs[0]


def _negated(atom: Atom, eq: Equation, facts: Facts) -> Any:
    """x of an operand -x, where taking the sign out is exact: integers wrap round in their own dtype only."""
    inner = facts.made_by(atom, negative)
    if inner is None or not isinstance(inner.inputs[0], Var):
        return None
    x = inner.inputs[0]
    return x if x.aval.dtype.kind == "f" or x.aval.dtype == eq.outputs[0].aval.dtype else None


def _subtract_negative(eq: Equation, facts: Facts) -> Rewrite | None:
    b = _negated(eq.inputs[1], eq, facts)
    return None if b is None else (add, (eq.inputs[0], b), {})


def _add_negative(eq: Equation, facts: Facts) -> Rewrite | None:
    a, b = eq.inputs
    x = _negated(b, eq, facts)
    if x is not None:
        return subtract, (a, x), {}
    x = _negated(a, eq, facts)
    return None if x is None else (subtract, (b, x), {})


def _both_negative(eq: Equation, facts: Facts) -> Rewrite | None:
    a, b = (_negated(atom, eq, facts) for atom in eq.inputs)
    if a is None or b is None or (eq.op is divide and not a.aval.dtype.kind == b.aval.dtype.kind == "f"):
        return None
    return eq.op, (a, b), {}


def _without_sign(eq: Equation, facts: Facts) -> Rewrite | None:
    if eq.op is absolute and _kind(eq) == "u":
        return None  # which wraps round instead of having a sign
    inner = facts.made_by(eq.inputs[0], negative, *((absolute,) if eq.op is square else ()))
    return None if inner is None or not isinstance(inner.inputs[0], Var) else (eq.op, inner.inputs, {})


def _where_same(eq: Equation, facts: Facts) -> Rewrite | None:
    _, a, b = eq.inputs
    return a if isinstance(a, Var) and a is b else None


def _where_known(eq: Equation, facts: Facts) -> Rewrite | None:
    c, a, b = eq.inputs
    v = facts.value(c)
    if type(v) is not bool:
        return None
    chosen = a if v else b
    out = eq.outputs[0].aval
    if not isinstance(chosen, Var) or chosen.aval.shape != out.shape:
        return None
    return chosen if chosen.aval == out else (astype, (chosen,), {"dtype": out.dtype.name})


def _where_not(eq: Equation, facts: Facts) -> Rewrite | None:
    c, a, b = eq.inputs
    inner = facts.made_by(c, logical_not, invert)
    return None if inner is None else (where, (inner.inputs[0], b, a), {})


def _not_equal(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], equal, not_equal)
    if inner is None:
        return None
    return (not_equal if inner.op is equal else equal), inner.inputs, {}


def _all_ones(eq: Equation, facts: Facts) -> Rewrite | None:
    """x & True, x & -1: the operand whose bits stay."""
    kind = _kind(eq)
    if eq.op is logical_and or kind == "b":
        return _other(eq, facts, lambda v: v is True)
    return _other(eq, facts, lambda v: type(v) is int and v == -1)


def _no_ones(eq: Equation, facts: Facts) -> Rewrite | None:
    if eq.op is logical_or or _kind(eq) == "b":
        return _other(eq, facts, lambda v: v is False)
    return _other(eq, facts, lambda v: type(v) is int and v == 0)


def _with_itself(eq: Equation, facts: Facts) -> Rewrite | None:
    a, b = eq.inputs
    return a if isinstance(a, Var) and a is b else None


def _cast_same(eq: Equation, facts: Facts) -> Rewrite | None:
    return eq.inputs[0] if isinstance(eq.inputs[0], Var) else None


def _exact_cast(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether every number of dtype a is one of dtype b."""
    return np.can_cast(a, b, "safe") and not (a.kind in "iu" and a.itemsize == 8 and b.kind == "f")


def _cast_back(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], astype)
    if inner is None or not isinstance(inner.inputs[0], Var):
        return None
    x, between = inner.inputs[0], inner.outputs[0].aval.dtype
    return x if _exact_cast(x.aval.dtype, between) else None


def _cast_through(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], astype)
    if inner is None or not isinstance(inner.inputs[0], Var):
        return None
    x, between, end = inner.inputs[0], inner.outputs[0].aval.dtype, eq.outputs[0].aval.dtype
    start = x.aval.dtype
    same_kind = start.kind == between.kind == "f" != end.kind and end.kind != "b"
    if not _exact_cast(start, between) or same_kind or (start.kind != "f" and between.kind == "f"):
        return None
    return astype, (x,), dict(eq.attrs)


@functools.cache
def _sum_of_nothing_copies() -> bool:
    """Whether this NumPy's sum over no axis leaves -0.0 as it is."""
    zeros = [np.array([-0.0], kind) for kind in (np.float16, np.float32, np.float64)]
    return all(bool(np.signbit(np.add.reduce(zero, axis=()))[0]) for zero in zeros)


def _reduce_nothing(eq: Equation, facts: Facts) -> Rewrite | None:
    x = eq.inputs[0]
    if not isinstance(x, Var):
        return None
    axes = canonical_axes(eq.attrs["axis"], x.aval.ndim)
    if any(x.aval.shape[i] != 1 for i in axes):
        return None
    if _kind(eq) == "f":
        adds = "linear" in eq.op.traits  # to a zero
        if "extremum" in eq.op.traits or (adds and (axes or not _sum_of_nothing_copies())):
            return None
        if x.aval.dtype != eq.outputs[0].aval.dtype:
            return None
    out = eq.outputs[0].aval
    return x if x.aval == out else (reshape, (x,), {"shape": out.shape})


def _join_one(eq: Equation, facts: Facts) -> Rewrite | None:
    arrays = eq.inputs[0]
    return arrays[0] if isinstance(arrays, tuple) and len(arrays) == 1 and isinstance(arrays[0], Var) else None


def _pad_nothing(eq: Equation, facts: Facts) -> Rewrite | None:
    x = eq.inputs[0]
    return x if isinstance(x, Var) and x.aval.shape == eq.outputs[0].aval.shape else None


def _name_only(eq: Equation, facts: Facts) -> Rewrite | None:
    cut = facts.made_by(eq.inputs[0], stop_gradient)
    if cut is not None and cut.inputs[0] in facts.written:
        return None  # a parameter that is read again after its step, which a text says as the cell
    return eq.inputs[0] if isinstance(eq.inputs[0], Var) else None


def _no_history(eq: Equation, facts: Facts) -> Rewrite | None:
    x = eq.inputs[0]
    return x if isinstance(x, Var) and (x not in facts.varying or x.aval.dtype.kind != "f") else None


RULES: tuple[Rule, ...] = (
    Rule("multiply_by_one", (multiply,), "x * 1 → x", "a product with 1 is not rounded", _times_one),
    Rule("multiply_by_minus_one", (multiply,), "x * -1 → -x", "only the sign changes, of zeros too",
         _times_minus_one),
    Rule("divide_by_one", (divide,), "x / 1 → x", "a quotient by 1 is not rounded",
         lambda eq, facts: _second(eq, facts, _is(1))),
    Rule("divide_by_minus_one", (divide,), "x / -1 → -x", "only the sign changes, of zeros too", _over_minus_one),
    Rule("divide_by_power_of_two", (divide,), "x / 2**k → x * 2**-k",
         "both are the same real number, rounded once; 2**k and 2**-k are normal numbers of the dtype",
         _over_power_of_two),
    Rule("add_zero", (add,), "x + -0.0 → x; of integers x + 0 → x", "x + -0.0 is x, for either zero; x + 0.0 is not",
         _plus_zero),
    Rule("subtract_zero", (subtract,), "x - 0.0 → x", "x - 0.0 is x, for either zero", _minus_a_zero),
    Rule("subtract_from_zero", (subtract,), "-0.0 - x → -x; of integers 0 - x → -x",
         "-0.0 - x is -x, for either zero; 0.0 - 0.0 is not -0.0", _zero_minus),
    Rule("double_negative", (negative,), "-(-x) → x", "the sign changes twice; integers wrap round twice", _twice),
    Rule("subtract_negative", (subtract,), "a - (-b) → a + b", "so IEEE 754 defines the difference",
         _subtract_negative),
    Rule("add_negative", (add,), "a + (-b) → a - b; (-a) + b → b - a", "so IEEE 754 defines the difference",
         _add_negative),
    Rule("both_negative", (multiply, divide), "(-a) * (-b) → a * b; (-a) / (-b) → a / b",
         "the sign is made apart from the digits", _both_negative),
    Rule("without_sign", (absolute, square), "abs(-x) → abs(x); square(-x), square(abs(x)) → square(x)",
         "the sign is made apart from the digits", _without_sign),
    Rule("apply_again", ("idempotent",),
         "abs(abs(x)) → abs(x); relu, sign, clip, sort, hardmax and checks alike", "what it gives it leaves as it is",
         _again),
    Rule("where_same", (where,), "where(c, a, a) → a", "either way a is chosen", _where_same),
    Rule("where_known", (where,), "where(True, a, b) → a; where(False, a, b) → b", "the choice is known",
         _where_known),
    Rule("where_not", (where,), "where(~c, a, b) → where(c, b, a)", "the same choice", _where_not),
    Rule("double_not", (logical_not, invert), "~~x → x", "bits change twice", _twice),
    Rule("not_equal", (logical_not, invert), "~(a == b) → a != b; ~(a != b) → a == b",
         "each is the other's opposite, for NaN too, which < and >= are not", _not_equal),
    Rule("and_true", (logical_and, bitwise_and), "x & True → x; of integers x & -1 → x", "no bit is cleared",
         _all_ones),
    Rule("or_false", (logical_or, bitwise_or, bitwise_xor), "x | False → x; of integers x | 0, x ^ 0 → x",
         "no bit is set", _no_ones),
    Rule("with_itself", (logical_and, logical_or, bitwise_and, bitwise_or), "x & x → x; x | x → x",
         "no bit changes", _with_itself),
    Rule("cast_to_same", (astype,), "x.astype(its own dtype) → x", "nothing is converted", _cast_same),
    Rule("cast_back", (astype,), "x.astype(wider).astype(its own dtype) → x",
         "the wider dtype holds every number of the narrower", _cast_back),
    Rule("cast_through", (astype,), "x.astype(wider).astype(d) → x.astype(d)",
         "the wider dtype holds every number of the narrower, so only the last step rounds", _cast_through),
    Rule("reduce_nothing", (reduction.sum, reduction.mean, reduction.prod, reduction.max, reduction.min, reduction.all,
                            reduction.any), "x.sum(axis=()) → x; prod over size 1",
         "nothing is combined; of floats not a sum over an axis of size 1, which turns -0.0 into 0.0", _reduce_nothing),
    Rule("join_one", (concatenate,), "concatenate([x]) → x", "nothing is joined", _join_one),
    Rule("pad_nothing", (pad,), "pad(x, no border) → x", "nothing is put around", _pad_nothing),
    Rule("name_only", (alias,), "alias(x) → x", "x itself, where no deferred gradient asks about the name",
         _name_only, moves=True),
    Rule("no_history", (stop_gradient,), "stop_gradient(x) → x for a constant or integers",
         "x itself, and it has no gradient to stop", _no_history, moves=True),
)  # fmt: skip

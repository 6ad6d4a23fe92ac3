"""Views: chains of reshaping, transposing and slicing merged into fewer, and those that change nothing taken out.

Each looks at the same memory in the same order as before; only reshaping twice asks for an array in C order, because
another order is copied, and when depends on the shape between.
"""

from __future__ import annotations

from tensorgraph.engine.op import elementwise
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.ops.index import getitem
from tensorgraph.ops.shape import broadcast_to, flip, reshape, transpose
from tensorgraph.passes.facts import Facts, permutation
from tensorgraph.passes.keys import compose, key_of, select
from tensorgraph.passes.rewrite import infer
from tensorgraph.passes.rules import Rewrite, Rule

__all__ = ["RULES"]


def _unchanged(eq: Equation, facts: Facts) -> Rewrite | None:
    x = eq.inputs[0]
    return x if isinstance(x, Var) and x.aval == eq.outputs[0].aval else None


def _transposed_in_place(eq: Equation, facts: Facts) -> Rewrite | None:
    x = eq.inputs[0]
    if not isinstance(x, Var):
        return None
    order = permutation(eq)
    return x if order == tuple(range(len(order))) else None


def _transposed_twice(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], transpose)
    if inner is None:
        return None
    first = permutation(inner)
    return transpose, inner.inputs, {"axes": tuple(first[a] for a in permutation(eq))}


def _but_for_ones(atom: Var) -> tuple[int, ...]:
    """The sizes that are not 1: where a reshape keeps these, nothing is ever copied."""
    return tuple(n for n in atom.aval.shape if n != 1)


def _reshaped_twice(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], "reshapes")
    if inner is None:
        return None
    x = inner.inputs[0]
    if not isinstance(x, Var):
        return None
    between = _but_for_ones(inner.outputs[0])
    if between not in (_but_for_ones(x), _but_for_ones(eq.outputs[0])) and not facts.is_dense(x):
        return None
    out = eq.outputs[0].aval
    return x if x.aval == out else (reshape, (x,), {"shape": out.shape})


def _indexed_whole(eq: Equation, facts: Facts) -> Rewrite | None:
    x = eq.inputs[0]
    if not isinstance(x, Var) or eq.inputs[1]:
        return None
    selection = select(eq.attrs["key"], x.aval.shape)
    return x if selection is not None and selection.whole else None


def _indexed_twice(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], getitem)
    if inner is None or eq.inputs[1] or inner.inputs[1]:
        return None
    x, between = inner.inputs[0], inner.outputs[0]
    if not isinstance(x, Var):
        return None
    first, second = select(inner.attrs["key"], x.aval.shape), select(eq.attrs["key"], between.aval.shape)
    if first is None or second is None:
        return None
    key = key_of(compose(first, second))
    return None if key is None else (getitem, (x, ()), {"key": key})


def _broadcast_twice(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], broadcast_to, "reshapes")
    if inner is None:
        return None
    x, between = inner.inputs[0], inner.outputs[0].aval.shape
    if not isinstance(x, Var):
        return None
    # broadcasting puts axes in front itself
    if inner.op is not broadcast_to and between != (1,) * (len(between) - x.aval.ndim) + x.aval.shape:
        return None
    return broadcast_to, (x,), dict(eq.attrs)


def _broadcast_operand(eq: Equation, facts: Facts) -> Rewrite | None:
    if eq.op.kind is not elementwise:
        return None
    for i, atom in enumerate(eq.inputs):
        inner = facts.made_by(atom, broadcast_to)
        if inner is None:
            continue
        inputs = (*eq.inputs[:i], inner.inputs[0], *eq.inputs[i + 1 :])
        if infer(eq.op, inputs, eq.attrs)[0] == eq.outputs[0].aval:
            return eq.op, inputs, dict(eq.attrs)
    return None


def _flipped_twice(eq: Equation, facts: Facts) -> Rewrite | None:
    inner = facts.made_by(eq.inputs[0], flip)
    if inner is None or inner.attrs["axis"] != eq.attrs["axis"] or not isinstance(inner.inputs[0], Var):
        return None
    return inner.inputs[0]


RULES: tuple[Rule, ...] = (
    Rule("reshape_to_same", (reshape, broadcast_to), "x.reshape(x.shape) → x", "the shape is that already",
         _unchanged, moves=True),
    Rule("reshape_of_reshape", ("reshapes",),
         "x.reshape(a).reshape(b) → x.reshape(b); new and removed axes of size 1 alike",
         "the same elements in the same order", _reshaped_twice, moves=True),
    Rule("transpose_in_place", (transpose,), "x.transpose(0, 1, ...) → x", "the axes are in that order already",
         _transposed_in_place, moves=True),
    Rule("transpose_of_transpose", (transpose,), "x.transpose(p).transpose(q) → x.transpose(p[q])",
         "one permutation after another is one", _transposed_twice, moves=True),
    Rule("index_whole", (getitem,), "x[:] → x", "everything in its place", _indexed_whole, moves=True),
    Rule("index_of_index", (getitem,), "x[a][b] → x[c] for integers, slices and new axes",
         "the same elements with the same strides", _indexed_twice, moves=True),
    Rule("broadcast_of_broadcast", (broadcast_to,), "broadcast_to(broadcast_to(x, s), t) → broadcast_to(x, t)",
         "the same elements repeated", _broadcast_twice, moves=True),
    Rule("broadcast_operand", ("exact", "extremum"), "broadcast_to(x, s) * y → x * y, where y has the shape",
         "the op broadcasts it in the same way", _broadcast_operand, moves=True),
    Rule("flip_of_flip", (flip,), "flip(flip(x)) → x", "turned round twice", _flipped_twice, moves=True),
)  # fmt: skip

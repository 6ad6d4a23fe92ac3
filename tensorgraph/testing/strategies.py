"""Hypothesis strategies drawn from the catalogue: calls of ops with inputs in their domains."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tensorgraph.op import CATALOGUE, Op, elementwise, reduction
from tensorgraph.testing.cases import Case, draw, op_of

__all__ = ["calls", "elementwise_ops", "reductions"]


def elementwise_ops(differentiable: bool = False) -> st.SearchStrategy[Op]:
    """Elementwise ops of one or two float inputs and no required attribute."""
    return st.sampled_from([op for op in CATALOGUE.values() if _plain(op) and (op.differentiable or not differentiable)])


def _plain(op: Op) -> bool:
    return op.kind is elementwise and len(op.inputs) in (1, 2) and op.check is None and not op.attrs and op.name not in BITS


BITS = frozenset({"bitwise_and", "bitwise_or", "bitwise_xor", "invert"})


def reductions() -> st.SearchStrategy[Op]:
    """Reductions to which an axis, several axes or none may be given."""
    return st.sampled_from(
        [op for op in CATALOGUE.values() if op.kind is reduction and {"axis", "keepdims"} <= set(op.attrs) and not op.examples]
    )


@st.composite
def calls(choose: st.DrawFn, op: Any = None) -> Case:
    """A call of an elementwise op or a reduction: shapes that broadcast, 0-d and empty among them, numbers in the domain."""
    declared = op_of(op) if op is not None else choose(st.one_of(elementwise_ops(), reductions()))
    rng = np.random.default_rng(choose(st.integers(0, 2**16)))
    if declared.kind is elementwise:
        found = choose(hnp.mutually_broadcastable_shapes(num_shapes=len(declared.inputs), max_dims=3, min_side=0, max_side=3))
        shapes = list(zip(declared.inputs, found.input_shapes, strict=True))
        return Case(declared, tuple(draw(declared, shapes, rng)), {})
    shape = choose(hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4))
    axes: list[Any] = [None, *range(-len(shape), len(shape))]
    if declared.dtype != "int" and len(shape) > 1:
        axes += [(0, 1), (-1, 0), ()]
    attrs = {"axis": choose(st.sampled_from(axes)), "keepdims": choose(st.booleans())}
    return Case(declared, tuple(draw(declared, [(declared.inputs[0], shape)], rng)), attrs)

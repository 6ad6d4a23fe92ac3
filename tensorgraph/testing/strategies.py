"""Hypothesis strategies drawn from the catalogue: calls of ops with inputs in their domains. Needs hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.engine.op import CATALOGUE, Op, elementwise, reduction
from tensorgraph.testing.cases import Case, draw, op_of

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

__all__ = ["calls"]


def _pointwise(op: Op) -> bool:
    """Elementwise, of one or two float inputs, without attributes."""
    plain = op.kind is elementwise and op.check is None and not op.attrs and not op.examples
    return plain and len(op.inputs) in (1, 2) and "bits" not in op.traits


def _reduces(op: Op) -> bool:
    """A reduction to which an axis, several axes or none may be given."""
    return op.kind is reduction and {"axis", "keepdims"} <= set(op.attrs) and not op.examples


def calls(op: Any = None) -> SearchStrategy[Case]:
    """Calls of elementwise ops and reductions: shapes that broadcast, 0-d and empty ones too, numbers in the domain.

    Parameters
    ----------
    op : Op, function of an op, or name, optional
        Of this op only.

    Examples
    --------
    >>> from hypothesis import given
    >>> from tensorgraph.testing import PROPERTIES
    >>> from tensorgraph.testing.strategies import calls
    >>> @given(calls("tanh"))
    ... def test(case):
    ...     PROPERTIES["shape_rule"](case)
    >>> test()
    """
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp

    chosen = [op_of(op)] if op is not None else [o for o in CATALOGUE.values() if _pointwise(o) or _reduces(o)]

    @st.composite
    def call(choose: DrawFn) -> Case:
        declared = choose(st.sampled_from(chosen))
        rng = np.random.default_rng(choose(st.integers(0, 2**16)))
        if declared.kind is elementwise:
            n = len(declared.inputs)
            found = choose(hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, min_side=0, max_side=3))
            shapes = list(zip(declared.inputs, found.input_shapes, strict=True))
            return Case(declared, tuple(draw(declared, shapes, rng)), {})
        shape = choose(hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4))
        axes: list[Any] = [None, *range(-len(shape), len(shape))]
        if declared.dtype != "int" and len(shape) > 1:
            axes += [(0, 1), (-1, 0), ()]
        attrs = {"axis": choose(st.sampled_from(axes)), "keepdims": choose(st.booleans())}
        return Case(declared, tuple(draw(declared, [(declared.inputs[0], shape)], rng)), attrs)

    return call()

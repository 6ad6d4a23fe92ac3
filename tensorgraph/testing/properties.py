"""What holds of every op: each property is a function of one case that raises AssertionError where it does not hold."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tensorgraph.arguments import checked
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.tensor import tensor
from tensorgraph.testing.batches import batch_is_loop, batch_of_gradients
from tensorgraph.testing.cases import AnOp, Case, differentiable_places, examples_of, op_of
from tensorgraph.testing.common import (
    casts,
    cotangents_of,
    float_outputs,
    has_gradient,
    largest,
)
from tensorgraph.testing.compare import assert_close
from tensorgraph.testing.derivatives import (
    forms_agree,
    forward_mode,
    gradient_types,
    jacobian,
    linear_in_cotangent,
    second_order,
)
from tensorgraph.testing.extrema import extrema_share
from tensorgraph.testing.far_out import far_out
from tensorgraph.testing.forward import finite, layouts, shape_rule, sharing, tensors_come, unmutated
from tensorgraph.testing.graphs import drawn, printed, traced
from tensorgraph.testing.hostile import as_in_wider_floats, hostile_numbers, mixed_types, scalar_form
from tensorgraph.testing.traits import declared_traits

__all__ = ["PROPERTIES", "check"]

Array = np.ndarray[Any, Any]

# documentation and fused ops ----------------------------------------------------------------------------------


def documented(case: Case) -> None:
    """The op says what it does, its function is named and typed by its signature, and its examples run."""
    op = case.op
    function = op.public
    assert op.doc.strip(), f"{op.name}: no doc"
    assert function.__name__ == op.name and function.__doc__, f"{op.name}: the function is not documented"
    names = [*op.inputs, *op.attrs, *(op.further[1] if op.further else ())]
    given = [p for p in inspect.signature(function).parameters if p != "impl"]
    assert given == names, f"{op.name}: the function's signature names {given}, the declaration {names}"
    found = doctest.DocTestFinder(exclude_empty=True).find(function, op.name, globs={})
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    for test in found:
        report: list[str] = []
        doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=report.append)
        assert not report, "".join(report)


def implementations(case: Case) -> None:
    """A fused op and its reference agree within the tolerance table, in every order, against float64's reference."""
    if case.op.reference is None:
        return
    from tensorgraph import jit

    chosen = ["composed", "fused"] if jit.available() else ["composed"]
    for cast in casts(case):
        dtype = min(
            (a.dtype for _, a in cast.places() if a.dtype.kind == "f"), key=lambda d: d.itemsize, default=np.float64
        )
        exact = cast.cast(np.float64)
        expected = [t.numpy() for t in exact(impl="composed")]
        for impl in chosen:
            for t, e in zip(cast(impl=impl), expected, strict=True):
                # two float64 evaluations may each be off by the table's bound
                assert_close(t, e, ulps=16 if dtype == np.float64 else None,
                             reason="the oracle is rounded too", what=f"{cast}, {impl}")  # fmt: skip
        if not has_gradient(case):
            continue
        orders = _orders(exact, "composed", None)
        for impl in chosen:
            for order, (found, wanted) in enumerate(zip(_orders(cast, impl, exact), orders, strict=True), 1):
                for g, e in zip(found, wanted, strict=True):
                    assert_close(
                        g, e, order=order, scale=max(largest(wanted), 1.0), what=f"{cast}, {impl}, order {order}"
                    )


def _orders(case: Case, impl: str, like: Case | None) -> list[list[Array]]:
    """First and second derivatives, weighted by fixed cotangents (those of `like`, cast)."""
    inputs, leaves = case.tensors(differentiable_places(case))
    outputs = [t for t in float_outputs(case(inputs, impl=impl)) if t.requires_grad]
    source = outputs if like is None else float_outputs(like())
    # cotangents that float16 holds exactly, so that every dtype is asked the same question
    rounded = [np.round(c * 8) / 8 for c in cotangents_of(source, 1)]
    first = gradients(
        outputs, leaves, [tensor(c, t.dtype) for c, t in zip(rounded, outputs, strict=True)], create_graph=True
    )
    live = [g for g in first if g.requires_grad]
    second = gradients(live, leaves, [np.ones(g.shape, g.dtype) for g in live]) if live else []
    return [[g.numpy() for g in first], [g.numpy() for g in second]]


PROPERTIES: dict[str, Callable[[Case], None]] = {
    f.__name__: f
    for f in (
        finite, shape_rule, as_in_wider_floats, mixed_types, hostile_numbers, scalar_form, tensors_come, unmutated,
        sharing, layouts, jacobian, second_order, linear_in_cotangent, gradient_types, forms_agree, forward_mode,
        traced, printed, drawn, implementations, declared_traits, extrema_share, far_out, batch_is_loop,
        batch_of_gradients,
    )
}  # fmt: skip


@checked
def check(op: AnOp, properties: Iterable[str] | None = None) -> None:
    """Test everything that must hold of an op: yours as well as the library's own.

    Forward finite inside the domain, and as in wider floats; scalar form; shape rule in every float dtype, for two
    widths at once and for hostile numbers; inputs unmutated; memory shared by views only; layouts; full Jacobian and
    second order against numbers; linearity in the cotangent; gradients' shapes and dtypes; rules alike on arrays and
    recorded; forward mode; traced equal to eager, printed and read back, drawn; a batch equal to a loop; traits true;
    extrema shared among ties and by NaN; derivatives far out, element by element; documentation; for fused ops both
    implementations.

    Parameters
    ----------
    op : function of an op, Op, or name
        Cases are generated for elementwise ops and reductions; others are tested with their ``examples``.
    properties : sequence of str, optional
        Only these of `tensorgraph.testing.PROPERTIES`.

    Raises
    ------
    AssertionError
        Naming the call, what was expected and what came.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.testing import check
    >>> wrong = dict(x=lambda g, x: g * 2 * x * x)
    >>> cube = tg.op("cube(x)", lambda x: x * x * x, kind="elementwise", vjp=wrong, doc="x³")
    >>> check(cube)
    Traceback (most recent call last):
        ...
    AssertionError: cube(f64[3, 4]): derivative by x: ...
    >>> tg.remove_op("cube")
    """
    declared = op_of(op)
    chosen = list(PROPERTIES if properties is None else properties)
    if unknown := [name for name in chosen if name not in PROPERTIES]:
        raise ValueError(f"check: properties has {unknown[0]!r}, which is none of {', '.join(PROPERTIES)}")
    cases = examples_of(declared)
    for name in chosen:
        for case in cases:
            PROPERTIES[name](case)
    if properties is None:
        documented(cases[0])
    assert CATALOGUE.get(declared.name) is declared, (
        f"{declared.name}: another op stands under this name in the catalogue"
    )

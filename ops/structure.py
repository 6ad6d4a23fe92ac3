"""Ops that compute nothing: what they say is about derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import one_by_one, unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import CATALOGUE, structural

alias = op(
    "alias(x)", lambda x: x, structural, infer_rule=lambda x: x, vjp=dict(x=lambda g: g),
    batch=unchanged,
    traits=("identity", "view", "linear"),
    examples=((((3,),), {}),),
    doc="x itself: a place at which partial derivatives stop and totals pass.",
)  # fmt: skip
stop_gradient = op(
    "stop_gradient(x)", lambda x: x, structural, infer_rule=lambda x: x, vjp=dict(x=None),
    batch=unchanged,
    method="detach", traits=("identity", "view"), examples=((((3,),), {}),),
    doc="""x without its history: no gradient passes.

    >>> import tensorgraph as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> y = x * tg.stop_gradient(x)
    >>> y.backward(); float(x.grad)
    2.0
    """,
)  # fmt: skip


def _gradients_infer(ys: list[Aval], xs: list[Aval], grads: list[Aval], *, create_graph: bool) -> tuple[Aval, ...]:
    return tuple(xs)


def _not_on_arrays(*args: Any, **attrs: Any) -> Any:
    raise TypeError("gradients are taken of recorded tensors; call tensorgraph.gradients")


gradients_of = op(
    "gradients([ys], [xs], [grad_outputs], *, create_graph=False) -> *grads", _not_on_arrays, structural,
    infer_rule=_gradients_infer, traits=("internal", "higher order"),
    doc="The deferred gradient of a trace: one equation, expanded by a pass or when the graph is evaluated.",
)  # fmt: skip


def _call_again(values: list[Any], op: str, layout: Any, settings: Any) -> Any:
    """An op's forward on these values: ``1`` in `layout` takes one, ``(n,)`` a list of n, ``("is", x)`` none."""
    rest = iter(values)
    inputs: list[Any] = []
    for place in layout:
        if place == 1:
            inputs.append(next(rest))
        else:
            inputs.append(place[1] if place[0] == "is" else [next(rest) for _ in range(place[0])])
    return CATALOGUE[op].forward(*inputs, **dict(settings))


def _residuals(values: list[Any], *, op: str, layout: Any, settings: Any) -> Any:
    with modes.use(quiet=True), np.errstate(all="ignore"):  # the forward has warned
        made = _call_again(values, op, layout, settings)
    return tuple(np.asarray(r) for r in made[len(made) - len(CATALOGUE[op].residuals) :])


def _residuals_infer(values: list[Aval], *, op: str, layout: Any, settings: Any) -> tuple[Aval, ...]:
    ones = [np.ones(a.shape, a.dtype) for a in values]
    return tuple(Aval(r.shape, r.dtype) for r in _residuals(ones, op=op, layout=layout, settings=settings))


residuals_of = op(
    "residuals([values], *, op, layout, settings) -> *made", _residuals, structural, infer_rule=_residuals_infer,
    batch=one_by_one,
    traits=("internal",),
    examples=((([(3, 4)],), dict(op="sort", layout=(1,), settings=(("axis", -1),))),),
    doc="What an op's forward makes besides its outputs, for its derivative: here the order of a sort.",
)  # fmt: skip

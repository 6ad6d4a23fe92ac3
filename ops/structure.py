"""Ops that compute nothing: what they say is about derivatives."""

from __future__ import annotations

from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import structural

alias = op(
    "alias(x)", lambda x: x, structural, infer_rule=lambda x: x, vjp=dict(x=lambda g: g),
    batch=unchanged,
    traits=("identity", "view", "linear"),
    examples=((((3,),), {}),),
    doc="x itself: a place at which partial derivatives stop and totals pass.",
)  # fmt: skip
stop_gradient = op(
    "stop_gradient(x)", lambda x: x, structural, infer_rule=lambda x: x, vjp=dict(x=0),
    batch=unchanged,
    methods=("detach",), traits=("identity", "view"), examples=((((3,),), {}),),
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

"""One order for the lists of a training step: parameters, their gradients and their updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.building import Trace

__all__ = ["arrange"]


def arrange(trace: Trace, grads: Sequence[Tensor]) -> None:
    """Let gradients that one equation gives come in this order, before its others: it means nothing to the equation.

    Parameters
    ----------
    trace : Trace
        The graph in the making.
    grads : sequence of Tensor
        As an optimiser lists them.
    """
    outs = [t._value for t in grads]
    eq = trace.producer.get(outs[0])
    if eq is None or not eq.is_gradient or len(set(outs)) < len(outs) or not set(outs) <= set(eq.outputs):
        return
    order = (*outs, *[out for out in eq.outputs if out not in set(outs)])
    of = dict(zip(eq.outputs, eq.group(1), strict=True))
    place = next(n for n in range(len(trace.equations) - 1, -1, -1) if trace.equations[n] is eq)
    arranged = replace(eq, inputs=(eq.inputs[0], tuple(of[out] for out in order), eq.inputs[2]), outputs=order)
    trace.equations[place] = arranged
    trace.producer.update(dict.fromkeys(order, arranged))

"""What `fit` refuses before anything runs: parts that do not belong together, data that the model cannot take."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.data.loader import Last
from tensorgraph.engine.spec import spec
from tensorgraph.engine.tensor import TraceError
from tensorgraph.graph.graph import Literal
from tensorgraph.graph.trace import trace
from tensorgraph.ops.cross_entropy import softmax_cross_entropy
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train import metrics as measures
from tensorgraph.train.evaluate import Loss, targets_for
from tensorgraph.train.running import Metric, Samples, in_mode, outputs_of

__all__ = ["batch_sizes", "check_fit", "check_parts"]


def batch_sizes(samples: int, batch_size: int, last: Last) -> list[int]:
    """The sizes of the batches that an epoch has, the usual one first."""
    whole, rest = divmod(samples, batch_size)
    if not whole:
        return [samples]
    if not rest or last == "drop":
        return [batch_size]
    if last == "merge":
        return [batch_size] * (whole > 1) + [batch_size + rest]
    return [batch_size, rest]


def check_parts(model: Any, optimizer: Optimizer) -> None:
    """Refuse what cannot work, before anything runs."""
    if hasattr(model, "parameters"):
        own = {id(parameter) for parameter in model.parameters()}
        if not any(id(parameter) in own for parameter in optimizer.parameters()):
            raise ValueError(
                "the optimizer holds none of this model's parameters: make it after the model, with model.parameters()"
            )


def check_fit(
    model: Any, sizes: list[int], x: Array, y: Array, held: Samples | None, loss: Loss | None,
    metrics: dict[str, Metric], dtype: Any,
) -> None:  # fmt: skip
    """Whether the model takes these batches, and the loss and the metrics what it gives: seen from a trace, which
    computes nothing.

    A model that branches on values cannot be traced; its first batch will show.
    """
    if held is not None and held[0].shape[1:] != x.shape[1:]:
        raise ValueError(f"dev's samples have shape {held[0].shape[1:]}, those of data {x.shape[1:]}; they must agree")
    if held is not None and (held[1].shape[1:], held[1].dtype.kind) != (y.shape[1:], y.dtype.kind):
        raise ValueError(
            f"dev's y is {held[1].dtype} of shape {held[1].shape}, that of data {y.dtype} of shape {y.shape}; "
            "they must be of one kind"
        )
    kind = dtype if x.dtype.kind == "f" else x.dtype
    with in_mode(model, training=True):
        for size in sizes:
            try:
                graph = trace(lambda rows: outputs_of(model, rows), spec((size, *x.shape[1:]), kind))
            except TraceError:
                return
    output = graph.outputs[0]
    if isinstance(output, Literal):  # the model gives a number that does not depend on anything
        return
    if loss is None and y.dtype.kind in "iu" and output.aval.ndim == y.ndim + 1:
        for labels, name in ((y, "data"), *(() if held is None else ((held[1], "dev"),))):
            wrong = (labels < 0) | (labels >= output.aval.shape[-1])
            if wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                position = at[0] if len(at) == 1 else at
                raise ValueError(
                    f"{name}'s y holds the label {labels[at]} at position {position}, but the model gives "
                    f"{output.aval.shape[-1]} classes: labels are 0 to {output.aval.shape[-1] - 1}"
                )
    some = y[: output.aval.shape[0]]
    if loss is None:
        # the first labels themselves: what is wrong with their kind or shape is told before a layer's state changes
        kind = output.aval.dtype
        trace(lambda z: softmax_cross_entropy.public(z, targets_for(some, kind)), spec(output.aval.shape, kind))
    for name, metric in metrics.items():
        if metric is getattr(measures, name, None):
            metric(np.zeros(output.aval.shape), some)

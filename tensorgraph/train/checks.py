"""What `fit` refuses before anything runs: parts that do not belong together, data that the model cannot take."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tensorgraph.data.arrays import Array, blocks, bounds
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.spec import spec
from tensorgraph.engine.tensor import TraceError
from tensorgraph.graph.graph import Literal
from tensorgraph.graph.trace import trace
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train import metrics as measures
from tensorgraph.train.class_weights import weights_of
from tensorgraph.train.evaluate import targets_for
from tensorgraph.train.forward import Forward
from tensorgraph.train.losses import Loss, NamedLoss
from tensorgraph.train.running import Metric, Samples, in_mode, outputs_of

__all__ = ["check_fit", "check_parts", "weigh"]


def check_parts(model: Any, optimizer: Optimizer) -> None:
    """Refuse what cannot work, before anything runs."""
    if hasattr(model, "parameters"):
        own = {id(parameter) for parameter in model.parameters()}
        if not any(id(parameter) in own for parameter in optimizer.parameters()):
            raise ValueError(
                "the optimizer holds none of this model's parameters: make it after the model, with model.parameters()"
            )


def check_fit(
    model: Any, sizes: list[int], x: Array, y: Array, held: Samples | None, loss: Loss,
    metrics: dict[str, Metric], dtype: Any, forward: Forward | None = None,
) -> Aval | None:  # fmt: skip
    """Whether the model takes these batches, and the loss and the metrics what it gives: seen from a trace, which
    computes nothing. Gives what comes out of the last of them.

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
            rows = np.broadcast_to(np.zeros((), kind), (size, *x.shape[1:]))
            try:
                graph = trace(functools.partial(outputs_of, model), rows) if forward is None else forward.graph(rows)
            except TraceError:
                return None
    output = graph.outputs[0]
    if isinstance(output, Literal):  # the model gives a number that does not depend on anything
        return None
    if isinstance(loss, NamedLoss):
        if loss.of_classes and y.dtype.kind in "iu" and output.aval.ndim == y.ndim + 1:
            for labels, name in ((y, "data"), *(() if held is None else ((held[1], "dev"),))):
                _check_labels(labels, output.aval.shape[-1], name)
        # the first labels themselves: what is wrong with their kind or shape is told before a layer's state changes
        kind, some = output.aval.dtype, y[: output.aval.shape[0]]
        trace(lambda z: loss(z, targets_for(some, kind)), spec(output.aval.shape, kind))
    for name, metric in metrics.items():
        if metric is getattr(measures, name, None):
            metric(np.zeros(output.aval.shape), y[: output.aval.shape[0]])
    return output.aval


def _check_labels(labels: Array, classes: int, name: str) -> None:
    low, high = bounds(labels)
    if low >= 0 and high < classes:
        return
    for start, part in blocks(labels):
        wrong = (part < 0) | (part >= classes)
        if wrong.any():
            first = tuple(int(i) for i in np.argwhere(wrong)[0])
            at = (first[0] + start, *first[1:])
            raise ValueError(
                f"{name}'s y holds the label {part[first]} at position {at[0] if len(at) == 1 else at}, but the model "
                f"gives {classes} classes: labels are 0 to {classes - 1}"
            )


def weigh(loss: Loss, given: Any, y: Array | None, output: Aval | None, names: Any) -> None:
    """Give a loss by name its class weights; `y` are all labels, where they are known."""
    if not (isinstance(loss, NamedLoss) and loss.of_classes):
        raise ValueError(
            "class_weights go with a loss of labels by name, such as 'softmax_cross_entropy'; a function of your own "
            "has them inside: tg.softmax_cross_entropy(outputs, y, train.class_weights(y))"
        )
    if y is None and isinstance(given, str):
        raise ValueError(
            f"class_weights={given!r} counts all labels, and batches do not show them beforehand: give a weight a class"
        )
    labels = np.zeros(0, np.int64) if y is None else np.asarray(y)
    if labels.dtype.kind == "f" and isinstance(given, str):
        labels = labels.argmax(axis=-1)
    classes = int(labels.max(initial=0)) + 1 if output is None else output.shape[-1]
    loss.weights = weights_of(given, labels, classes, names)

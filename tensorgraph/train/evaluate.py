"""Using a model: its outputs and measures on data, in evaluation mode and without recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import numpy as np

from tensorgraph.arguments import Count, Ordered, checked
from tensorgraph.data.arrays import Array, Numbers, as_array, cast_floats, check_finite
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine import modes
from tensorgraph.engine.aval import aval_of
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.nn.module import Module
from tensorgraph.train.forward import Forward, forward_of
from tensorgraph.train.losses import Loss, default_metrics, loss_of
from tensorgraph.train.running import (
    Data,
    Metric,
    Model,
    in_mode,
    model_dtype,
    named_metrics,
    outputs_of,
    samples_of,
    warn_of_pairs,
)

__all__ = ["evaluate", "predict"]

AT_ONCE = 256  # samples that are computed at a time


@checked
def predict(
    model: Model, x: Numbers, *, batch_size: Count = AT_ONCE, normalizer: Normalizer | None = None, compile: bool = True
) -> Array:
    """The model's outputs for many samples, in batches.

    Layers behave as at test time (batch norm uses its running averages, dropout does nothing), nothing is recorded,
    and afterwards every module is in the mode it was in.

    Parameters
    ----------
    model : Module or callable
        Takes a batch, gives one tensor whose first axis runs over the samples.
    x : array of shape (N, ...)
        N ≥ 1 samples; floats are cast to the model's dtype.
    batch_size : int
        Samples at a time. It bounds the memory needed and changes nothing else beyond rounding.
    normalizer : Normalizer, optional
        Applied to the samples first.
    compile : bool
        Whether a Module's outputs are compiled (`tensorgraph.compile`), from its 257th batch on: results differ by
        rounding. What cannot be compiled, or has hooks, runs as it is.

    Returns
    -------
    numpy.ndarray of shape (N, ...)

    Raises
    ------
    ValueError
        If there are no samples, or they hold nan or infinity.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.train import predict
    >>> predict(lambda x: tg.tensor(x) * 2.0, [[1.0], [2.0], [3.0]], batch_size=2).tolist()
    [[2.0], [4.0], [6.0]]
    """
    forward = forward_of(model) if compile and isinstance(model, Module) else None
    return predicted(model, x, forward, None if forward is None else forward.next, batch_size, normalizer)


def predicted(
    model: Any, x: Any, forward: Forward | None, outputs_by: Callable[[Tensor], Tensor] | None, step: int = AT_ONCE,
    normalizer: Any = None,
) -> Array:  # fmt: skip
    """As `predict`, where `outputs_by` may stand for the model, of which it gives the outputs."""
    x = as_array(x, "x")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x has shape {x.shape}, expected (N, ...) with N ≥ 1 samples; for one sample pass x[None]")
    if normalizer is None:
        check_finite(x, "x")
    dtype = model_dtype(model)
    outputs = []
    with in_mode(model, training=False, detour=None if forward is None else forward.detour), modes.no_grad():
        for start in range(0, len(x), step):
            rows = x[start : start + step]
            if normalizer is not None:
                rows = normalizer.transform(rows)
            given = tensor(cast_floats(rows, dtype, "x"), copy=False)
            outputs.append((outputs_of(model, given) if outputs_by is None else outputs_by(given)).numpy())
    return np.concatenate(outputs)


@checked
def evaluate(
    model: Model,
    data: Data,
    *,
    loss: str | Loss | None = None,
    metrics: Annotated[Iterable[str | Metric], Ordered] | None = None,
    batch_size: Count = AT_ONCE,
    normalizer: Normalizer | None = None,
    compile: bool = True,
) -> dict[str, float]:
    """The loss and the metrics of a model on a data set, as `predict` sees it.

    Parameters
    ----------
    model : Module or callable
        As for `predict`.
    data : Dataset, or pair (x, y)
        Samples and targets.
    loss : str or callable, optional
        As for `fit`. It is called once, on all samples, so that a weighted mean is exact.
    metrics : sequence of str or callable, optional
        As for `fit`; each is called once.
    batch_size : int
        Samples at a time.
    normalizer : Normalizer, optional
        Applied to the samples first.
    compile : bool
        As for `predict`.

    Returns
    -------
    dict of str to float
        ``"loss"`` and every metric by name.

    Raises
    ------
    TypeError, ValueError
        If the data is empty, not finite, or does not fit the loss or a metric.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.train import evaluate
    >>> evaluate(lambda x: tg.tensor(x), ([[4.0, 0.0], [1.0, 0.0]], [0, 1]))
    {'loss': 0.6657..., 'accuracy': 0.5}
    """
    x, y = samples_of(data, "data")
    y, judged = np.asarray(y), loss_of(loss)
    found = named_metrics(default_metrics(judged, y) if metrics is None else metrics, y)
    outputs = predict(model, x, batch_size=batch_size, normalizer=normalizer, compile=compile)
    warn_of_pairs("evaluate", judged, aval_of(outputs), aval_of(targets_for(y, outputs.dtype)))
    return measure(outputs, y, judged, found)


def measure(outputs: Array, y: Array, loss: Loss, metrics: dict[str, Metric]) -> dict[str, float]:
    """Loss and metrics of outputs already there."""
    with modes.no_grad():
        value = loss(tensor(outputs, copy=False), targets_for(y, outputs.dtype))
    return {"loss": scalar(value), **{name: float(metric(outputs, y)) for name, metric in metrics.items()}}


def targets_for(y: Array, dtype: Any) -> Array:
    """Float targets in the dtype of the outputs; labels as they are."""
    return y.astype(dtype, copy=False) if y.dtype.kind == "f" else y


def scalar(value: Any) -> float:
    """A loss as a number; one that is no scalar is refused."""
    if getattr(value, "shape", ()) != ():
        raise ValueError(f"the loss must be one number, got shape {value.shape}; take its mean: reduction='mean'")
    return float(value)

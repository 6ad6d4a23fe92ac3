"""The training run: epochs of mini-batches, measured, shown, stopped and resumed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Count, Natural, Ordered, PathLike, checked
from tensorgraph.data.arrays import Array, cast_floats
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.loader import Last, Loader
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.engine.aval import aval_of
from tensorgraph.engine.interrupts import interruptible
from tensorgraph.engine.spec import spec
from tensorgraph.engine.tensor import Tensor, TraceError, tensor
from tensorgraph.graph.graph import Literal
from tensorgraph.graph.trace import trace
from tensorgraph.ops.cross_entropy import softmax_cross_entropy
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train import metrics as measures
from tensorgraph.train.callbacks import EarlyStop, Run, check_callbacks, notify
from tensorgraph.train.evaluate import Loss, measure, predict, scalar, targets_for
from tensorgraph.train.history import History
from tensorgraph.train.progress import progress_for
from tensorgraph.train.running import (
    Data,
    Metric,
    Model,
    Samples,
    in_mode,
    model_dtype,
    named_metrics,
    outputs_of,
    samples_of,
    warn_of_pairs,
)
from tensorgraph.train.saving import Checkpoint

__all__ = ["Augment", "NonFiniteLossError", "fit"]

Augment: TypeAlias = Annotated[Callable[[Array, np.random.Generator], Array], "a function of (x, rng)"]


class NonFiniteLossError(FloatingPointError):
    """The loss became nan or infinite; the message names the step and the remedy."""


@checked
def fit(
    model: Model,
    data: Data,
    *,
    optimizer: Optimizer,
    epochs: Count,
    dev: Data | None = None,
    loss: Loss | None = None,
    metrics: Annotated[Iterable[str | Metric], Ordered] = ("accuracy",),
    batch_size: Count = 32,
    shuffle: bool = True,
    seed: Natural = 0,
    last: Last = "merge",
    normalizer: Normalizer | None = None,
    augment: Augment | None = None,
    callbacks: Annotated[Iterable[Any], Ordered] = (),
    early_stop: EarlyStop | Count | None = None,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    progress: bool = True,
) -> History:
    """Train a model by mini-batches.

    Everything random follows `seed` (the order of the samples and `augment`) and the layers' own random states, so a
    run repeats bit for bit on the same machine. Ctrl-C ends it after the present step and returns what was done.

    Parameters
    ----------
    model : Module or callable
        Takes a batch, gives one tensor. It trains in training mode and is afterwards in the mode it was in.
    data : Dataset, or pair (x, y)
        The training set: samples of shape (N, ...) and labels or target values.
    optimizer : Optimizer
        Holds the model's parameters; its learning rate may follow a schedule.
    epochs : int
        How often the training set is gone through.
    dev : Dataset, or pair (x, y), optional
        Measured after every epoch, in evaluation mode and without recording.
    loss : callable, optional
        ``loss(outputs, y)`` gives a scalar tensor; `tensorgraph.softmax_cross_entropy` of logits unless given.
    metrics : sequence of str or callable
        Names from `tensorgraph.train.metrics`, or functions of (outputs, y) as arrays.
    batch_size, shuffle, seed, last
        As for `tensorgraph.data.Loader`; a short last batch is merged into the one before unless said otherwise.
    normalizer : Normalizer, optional
        Applied to every sample, of `dev` too, after `augment`. It must be fitted.
    augment : callable, optional
        ``augment(x, rng)`` gives changed samples of a training batch, in the data's own units; `rng` is a
        `numpy.random.Generator` that depends on `seed` and the epoch.
    callbacks : sequence of callable or object
        See `tensorgraph.train.callbacks`.
    early_stop : EarlyStop or int, optional
        A number is the patience of ``EarlyStop(patience)``, which watches the loss on `dev`.
    checkpoint : path-like, optional
        A file replaced after every epoch, whole or not at all, that holds all of the run's state;
        `tensorgraph.train.load` reads the model from it too.
    resume : bool
        Whether to go on from `checkpoint` where that file is there. The rest of the run is bitwise what it would have
        been, given the same data and settings.
    progress : bool
        Whether to show a bar (on a terminal, with rich) or a line an epoch, on standard error.

    Returns
    -------
    History
        Losses and metrics an epoch, learning rates a step.

    Raises
    ------
    TypeError, ValueError
        If data, labels, metrics or settings do not fit each other or the model; before anything is changed.
    NonFiniteLossError
        If the loss of a step is nan or infinite; the update is not made.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph import nn, optim, train
    >>> x = np.random.default_rng(0).normal(size=(64, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> model = nn.Sequential(nn.Linear(2, 8, seed=0), nn.ReLU(), nn.Linear(8, 2, seed=1))
    >>> adam = optim.Adam(model.parameters(), lr=0.1)
    >>> history = train.fit(model, (x, y), optimizer=adam, epochs=20, batch_size=16, progress=False)
    >>> history["accuracy"][-1] > 0.95
    True
    """
    # The plan:
    # 1. everything is checked before anything is changed;
    # 2. the run begins, or goes on from its checkpoint;
    # 3. an epoch: batches, each a step; measures of what the steps gave, and on `dev`; callbacks; the checkpoint;
    # 4. Ctrl-C ends it after a step, and whatever happens the bar is closed.
    x, y = samples_of(data, "data")
    held = None if dev is None else samples_of(dev, "dev")
    found = named_metrics(metrics, y)
    told = check_callbacks(callbacks)
    if early_stop is not None:
        told.append(early_stop if isinstance(early_stop, EarlyStop) else EarlyStop(early_stop))
    _check_parts(model, optimizer, resume, checkpoint)
    if all(isinstance(callback, EarlyStop) for callback in told):  # others may add measures of their own
        measured = ["loss", *found]
        if held is not None:
            measured += [f"dev_{name}" for name in measured]
        for stop in told:
            stop.check(measured)
    dtype = model_dtype(model)
    if normalizer is not None and augment is None:
        x = normalizer.transform(x)
    if held is not None and normalizer is not None:
        held = (normalizer.transform(held[0]), held[1])
    kept = x.dtype if x.dtype.kind == "f" else dtype  # `augment` and the normaliser see the data's own precision
    loader = Loader(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed, last=last, dtype=kept)
    _check_fit(model, _batch_sizes(len(x), loader.batch_size, last), x, y, held, loss, found, dtype)

    shown = progress_for(progress, len(loader))
    run = Run(model, optimizer, epochs, History())
    saved = None
    if checkpoint is not None:
        names = data.class_names if isinstance(data, Dataset) else None
        settings = {"batch_size": batch_size, "shuffle": shuffle, "seed": seed, "last": last, "samples": len(x)}
        saved = Checkpoint(checkpoint, normalizer, names, settings)
    with in_mode(model, training=True), interruptible() as interrupt:
        try:
            notify(told, "on_fit_start", run)
            first = saved.resume(run, told) if saved is not None and resume else 0
            loader.epoch = run.epoch = first
            notify(shown, "on_fit_start", run)
            for epoch in range(first, epochs):
                if run.stopping:  # as the checkpoint says, or a callback at the start
                    break
                began = time.perf_counter()
                run.epoch, run.measures = epoch, {}
                optimizer.epoch = epoch  # for schedules that count epochs
                notify([*told, *shown], "on_epoch_start", run)
                rng = np.random.default_rng([seed, epoch, 1])
                batches = ((_prepare(rows, augment, normalizer, rng, dtype), labels) for rows, labels in loader)
                outputs, targets, total = [], [], 0.0
                for rows, labels in batches:
                    number, output = _step(model, optimizer, loss, rows, labels, run, len(loader))
                    total += number * len(labels)
                    outputs.append(output)
                    targets.append(labels)
                    run.measures["loss"] = total / sum(map(len, targets))
                    notify([*told, *shown], "on_step_end", run)
                    interrupt.check()
                both = np.concatenate(outputs), np.concatenate(targets)
                run.measures |= {name: float(metric(*both)) for name, metric in found.items()}
                if held is not None:
                    on_dev = measure(predict(model, held[0]), held[1], loss, found)
                    run.measures |= {f"dev_{name}": value for name, value in on_dev.items()}
                run.history.append(run.measures, time.perf_counter() - began)
                notify([*told, *shown], "on_epoch_end", run)
                if saved is not None:
                    saved.write(run, told)
                interrupt.check()
        except KeyboardInterrupt:
            run.stopping = "interrupted"
        finally:
            notify(shown, "on_fit_end", run)
        notify(told, "on_fit_end", run)
    run.history.stopped = run.stopping or "epochs"
    return run.history


def _batch_sizes(samples: int, batch_size: int, last: Last) -> list[int]:
    """The sizes of the batches that an epoch has, the usual one first."""
    whole, rest = divmod(samples, batch_size)
    if not whole:
        return [samples]
    if not rest or last == "drop":
        return [batch_size]
    if last == "merge":
        return [batch_size] * (whole > 1) + [batch_size + rest]
    return [batch_size, rest]


def _prepare(
    rows: Array, augment: Augment | None, normalizer: Normalizer | None, rng: np.random.Generator, dtype: Any
) -> Array:
    """A batch as the model takes it."""
    if augment is not None:
        changed = augment(rows, rng)
        if len(changed) != len(rows):
            raise ValueError(f"augment gave {len(changed)} samples for {len(rows)}; it must give as many as it takes")
        rows = changed if normalizer is None else normalizer.transform(changed)
    return cast_floats(rows, dtype, "x")


def _step(
    model: Any, optimizer: Any, loss: Loss | None, rows: Array, labels: Array, run: Run, batches: int
) -> tuple[float, Array]:
    """One update; gives the loss and the outputs before it."""
    optimizer.zero_grad()
    output = outputs_of(model, tensor(rows, copy=False))
    if run.step == 0:
        warn_of_pairs("fit", loss, output.aval, aval_of(targets_for(labels, output.dtype)))
    value = (loss or softmax_cross_entropy.public)(output, targets_for(labels, output.dtype))
    number = scalar(value)
    if not isinstance(value, Tensor):
        raise TypeError(f"the loss must be a tensor computed from the outputs, got {type(value).__name__}")
    if not math.isfinite(number):
        raise NonFiniteLossError(_why(number, model, rows, run, batches, float(optimizer.lr)))
    value.backward()
    optimizer.step()
    run.history.learning_rate.append(float(optimizer.lr))  # the schedule sets it as the step is made
    run.step += 1
    return number, output.numpy()


def _why(number: float, model: Any, rows: Array, run: Run, batches: int, rate: float) -> str:
    """What is known of a loss that is no number, and what to do."""
    where = f"step {run.step + 1} (epoch {run.epoch + 1}, batch {run.step % batches + 1} of {batches})"
    named = model.named_parameters() if hasattr(model, "named_parameters") else ()
    broken = [name for name, parameter in named if not np.isfinite(parameter.numpy()).all()]
    if not np.isfinite(rows).all():
        remedy = "the batch itself is not finite: check what `augment` gives"
    elif broken:
        remedy = (
            f"the parameters {', '.join(broken[:3])} are no longer finite since the update before: lower the learning "
            f"rate (now {rate:g}), or clip the gradients"
        )
    else:
        remedy = f"lower the learning rate (now {rate:g}), or find the operation with `with tensorgraph.debug_nans():`"
    return f"the loss became {number} at {where} and the update was not made; {remedy}"


def _check_parts(model: Any, optimizer: Optimizer, resume: bool, checkpoint: Any) -> None:
    """Refuse what cannot work, before anything runs."""
    if hasattr(model, "parameters"):
        own = {id(parameter) for parameter in model.parameters()}
        if not any(id(parameter) in own for parameter in optimizer.parameters()):
            raise ValueError(
                "the optimizer holds none of this model's parameters: make it after the model, with model.parameters()"
            )
    if resume and checkpoint is None:
        raise ValueError("resume=True goes on from a file: give its path as checkpoint=")


def _check_fit(
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

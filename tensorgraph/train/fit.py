"""The training run: epochs of mini-batches, measured, shown, stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from tensorgraph.arguments import Count, Natural, Ordered, PathLike, checked
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.loader import Last, Loader
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train.callbacks import EarlyStop, Training, check_callbacks
from tensorgraph.train.checks import batch_sizes, check_fit, check_parts
from tensorgraph.train.evaluate import Loss
from tensorgraph.train.history import History
from tensorgraph.train.loop import Augment, Loop
from tensorgraph.train.progress import progress_for
from tensorgraph.train.run.digest import describe_data
from tensorgraph.train.run.opening import recorder_for
from tensorgraph.train.run.run import Run
from tensorgraph.train.running import Data, Metric, Model, model_dtype, named_metrics, samples_of

__all__ = ["fit"]


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
    run: Run | PathLike | None = None,
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
    run : Run or path-like, optional
        A folder that keeps the run (`Run`): checkpoints, events, and commands to it. Where it holds one, the run goes
        on by itself, to bitwise the numbers of a run that was never interrupted; a finished one is not trained again.
    progress : bool
        Whether to show a bar (on a terminal, with rich) or a line an epoch, on standard error.

    Returns
    -------
    History
        Losses and metrics an epoch, learning rates a step.

    Raises
    ------
    TypeError, ValueError
        If data, labels, metrics or settings do not fit each other, the model, or the run that `run` holds; before
        anything is changed.
    NonFiniteLossError
        If the loss of a step is nan or infinite; the update is not made.
    RunBusyError
        If another process trains in the folder of `run`.

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
    # everything is checked before anything is changed; then the loop runs
    x, y = samples_of(data, "data")
    held = None if dev is None else samples_of(dev, "dev")
    found = named_metrics(metrics, y)
    told = check_callbacks(callbacks)
    if early_stop is not None:
        told.append(early_stop if isinstance(early_stop, EarlyStop) else EarlyStop(early_stop))
    check_parts(model, optimizer)
    if all(isinstance(callback, EarlyStop) for callback in told):  # others may add measures of their own
        measured = ["loss", *found]
        if held is not None:
            measured += [f"dev_{name}" for name in measured]
        for stop in told:
            stop.check(measured)
    dtype = model_dtype(model)
    arrays = {"x": x, "y": y} | ({} if held is None else {"dev x": held[0], "dev y": held[1]})
    described = None if run is None else describe_data(arrays, normalizer)
    if normalizer is not None and augment is None:
        x = normalizer.transform(x)
    if held is not None and normalizer is not None:
        held = (normalizer.transform(held[0]), held[1])
    kept = x.dtype if x.dtype.kind == "f" else dtype  # `augment` and the normaliser see the data's own precision
    loader = Loader(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed, last=last, dtype=kept)
    check_fit(model, batch_sizes(len(x), loader.batch_size, last), x, y, held, loss, found, dtype)

    training = Training(model, optimizer, epochs, History())
    recorder = None
    if run is not None and described is not None:
        settings = {
            "batch_size": batch_size, "shuffle": shuffle, "seed": seed, "last": last, "loss": loss,
            "metrics": list(found), "augment": augment,
        }  # fmt: skip
        recorder = recorder_for(
            run, training, loader, loss=loss, told=told, settings=settings, data=described,
            row=(x.shape[1:], dtype if x.dtype.kind == "f" else x.dtype),
            target=(y.shape[1:], dtype if y.dtype.kind == "f" else y.dtype), normalizer=normalizer,
            class_names=data.class_names if isinstance(data, Dataset) else None,
        )  # fmt: skip
    shown = progress_for(progress, len(loader))
    return Loop(training, loader, loss, found, held, augment, normalizer, seed, dtype, told, shown, recorder).run()

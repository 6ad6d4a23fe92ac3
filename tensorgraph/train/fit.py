"""The training run: epochs of mini-batches, measured, shown, stopped and resumed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np

from tensorgraph.arguments import Count, Natural, Ordered, PathLike, checked
from tensorgraph.data.arrays import Array
from tensorgraph.data.dataset import Dataset
from tensorgraph.data.loader import BatchSize, Last, Loader
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.dist.parallel import DataParallel
from tensorgraph.optim.optimizer import Optimizer, Rate
from tensorgraph.train.callbacks import EarlyStop, Training, check_callbacks
from tensorgraph.train.checks import check_fit, check_parts, weigh
from tensorgraph.train.class_weights import Weights
from tensorgraph.train.compiled import is_late
from tensorgraph.train.forward import forward_of
from tensorgraph.train.history import History
from tensorgraph.train.loop import Augment, Loop
from tensorgraph.train.losses import Loss, default_metrics, loss_of
from tensorgraph.train.optimizers import optimizer_of
from tensorgraph.train.progress import progress_for
from tensorgraph.train.run.digest import describe_data, name_of
from tensorgraph.train.run.opening import recorder_for
from tensorgraph.train.run.run import Run
from tensorgraph.train.running import Data, Metric, Model, model_dtype, named_metrics, normalised, samples_of
from tensorgraph.train.shared import SharedLoop, SharedRecorder, agree
from tensorgraph.train.streams import Batches, Stream, is_stream

__all__ = ["fit"]


@checked
def fit(
    model: Model,
    data: Data | Batches,
    *,
    optimizer: Optimizer | str,
    epochs: Count,
    lr: Rate | None = None,
    dev: Data | None = None,
    loss: str | Loss | None = None,
    metrics: Annotated[Iterable[str | Metric], Ordered] | None = None,
    class_weights: Weights | None = None,
    batch_size: BatchSize | None = None,
    accumulate: Count = 1,
    steps_per_epoch: Count | None = None,
    shuffle: bool = True,
    seed: Natural = 0,
    last: Last = "merge",
    normalizer: Normalizer | None = None,
    augment: Augment | None = None,
    callbacks: Annotated[Iterable[Any], Ordered] = (),
    early_stop: EarlyStop | Count | None = None,
    run: Run | PathLike | None = None,
    prefetch: Natural = 0,
    lint: bool = True,
    compile: bool = True,
    progress: bool = True,
) -> History:
    """Train a model by mini-batches.

    Everything random follows `seed` (the order of the samples and `augment`) and the layers' own random states, so a
    run repeats bit for bit on the same machine. Ctrl-C ends it after the present step and returns what was done.

    Parameters
    ----------
    model : Module or callable
        Takes a batch, gives one tensor. It trains in training mode and is afterwards in the mode it was in.
    data : Dataset, pair (x, y), or batches
        The training set: samples of shape (N, ...) and labels or target values. Rows in a file (`open_npy`, `open_csv`)
        are read a batch at a time. Batches of your own making, of any sizes, are pairs (x, y) from a `Loader`, an
        iterator, or a function of the epoch that gives them, which alone can begin an epoch again in another order.
    optimizer : Optimizer or str
        Holds the model's parameters; its learning rate may follow a schedule. By name, "sgd", "momentum", "rmsprop",
        "adam" or "adamw", it trains all parameters. With a `tensorgraph.dist.DataParallel` every batch is shared out
        among the ranks, to the result of one process; each calls `fit` with the same arguments, rank 0 has the folder
        of `run`, and callbacks are called on every rank.
    epochs : int
        How often the training set is gone through.
    lr : float, Schedule or callable, optional
        The learning rate of an optimiser by name; the optimiser's own default unless given.
    dev : Dataset, or pair (x, y), optional
        Measured after every epoch, in evaluation mode and without recording.
    loss : str or callable, optional
        ``loss(outputs, y)`` gives a scalar tensor. By name, a loss of `tensorgraph`'s: of labels
        "softmax_cross_entropy", which it is unless given, "nll", "multi_margin"; of numbers "mse", "mae", "huber",
        "smooth_l1", "poisson_nll",
        "sigmoid_cross_entropy", "binary_cross_entropy", "hinge". To those of numbers, outputs of shape (N, 1) and
        targets of shape (N,) are the same shape.
    metrics : sequence of str or callable, optional
        Names from `tensorgraph.train.metrics`, or functions of (outputs, y) as arrays. Unless given, accuracy of
        labels, r2 for "mse", "mae", "huber" and "smooth_l1". What they measure, an epoch's outputs and targets, is kept
        until it ends; with ``metrics=()`` nothing is.
    class_weights : "balanced", mapping, or sequence, optional
        What each class counts in a loss of labels by name, on `dev` too: by labels or class names, the others 1; or one
        number a class; or by how often each occurs (`class_weights`).
    batch_size, shuffle, seed, last
        As for `tensorgraph.data.Loader`, where a batch size may change from epoch to epoch; 32 unless given. A short
        last batch is merged into the one before unless said otherwise. Batches of your own making are as they come.
    accumulate : int
        Batches of each update. The gradients of a loss that is a mean over its samples are put together, by how many
        samples each batch has or what they weigh, to that of the one large batch; steps, schedules and callbacks count
        updates. Batch norm is not the large batch's: each batch has its own statistics, and moves the running averages.
    steps_per_epoch : int, optional
        Of batches of your own making: how many an epoch has, where they do not say it (``len``).
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
    prefetch : int
        Batches that a thread makes ahead (`tensorgraph.data.prefetch`), of rows in a file for example; the same ones.
    lint : bool
        Whether `tensorgraph.lint` looks at the first step, and likely mistakes are warned of, before it is made.
    compile : bool
        Whether steps are compiled (`tensorgraph.compile`): forward, loss, gradients and update as one function, from
        the 64th step on, so that short runs do not wait for it; measures on `dev` too, once there are many. What cannot
        be compiled, or has hooks, runs as it is. Results differ by rounding, and checkpoints do not: either goes on
        from the other's. After compiled steps ``.grad`` is None, unless there are callbacks to look at it.
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

    A regression, by names:

    >>> line = nn.Linear(2, 1, seed=0)
    >>> history = train.fit(
    ...     line, (x, x @ [2.0, -1.0]), loss="mse", optimizer="adam", lr=0.1, epochs=50, progress=False
    ... )
    >>> history["r2"][-1] > 0.99
    True
    """
    # The plan:
    # 1. what was given by name or in several forms becomes one: optimiser, data, loss, metrics, callbacks;
    # 2. all of it is tried against each other, on a trace of the model, before anything is changed;
    # 3. the data is described for the run's folder before it is normalised: as the user has it;
    # 4. the recorder takes the folder, where there is one;
    # 5. the loop runs: alone, or as one of several ranks.
    dtype, names = model_dtype(model), data.class_names if isinstance(data, Dataset) else None
    optimizer = optimizer_of(optimizer, model, lr)
    stream = _stream(data, steps_per_epoch, batch_size, dtype)
    x, y = samples_of(data, "data") if stream is None else stream.first
    held = None if dev is None else samples_of(dev, "dev")
    judged: Any = loss_of(loss)
    found = named_metrics(default_metrics(judged, y) if metrics is None else metrics, y)
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
    ranks = optimizer if isinstance(optimizer, DataParallel) and optimizer.size > 1 else None
    if isinstance(optimizer, DataParallel):
        optimizer = optimizer.optimizer  # what is kept of a run does not depend on how many ranks it had
    keeps = run is not None and (ranks is None or ranks.rank == 0)
    described = _describe(stream, x, y, held, normalizer) if keeps else None
    late = augment is not None or stream is not None  # the normaliser runs on batches, after `augment`
    x = x if late else normalised(x, normalizer)
    held = None if held is None else (normalised(held[0], normalizer), np.asarray(held[1]))
    kept = x.dtype if x.dtype.kind == "f" else dtype  # `augment` and the normaliser see the data's own precision
    loader = stream or Loader(
        x, y, batch_size=batch_size or 32, shuffle=shuffle, seed=seed, last=last, dtype=kept.newbyteorder("=")
    )
    seen = x if normalizer is None or not late else normalizer.transform(np.asarray(x[:1]))
    forward = forward_of(model) if compile and ranks is None else None
    steps = epochs * -(-len(loader) // accumulate)
    watched = forward if is_late(steps) else None  # to watch a trace takes as long as many steps of a short run
    output = check_fit(model, _sizes(loader, epochs), seen, y, held, judged, found, dtype, watched)
    if class_weights is not None:
        weigh(judged, class_weights, y if stream is None else None, output, names)

    training = Training(model, optimizer, epochs, History())
    recorder = None
    if described is not None:
        settings = dict(
            batch_size=(batch_size or 32) if stream is None else None, shuffle=shuffle, seed=seed, last=last,
            loss=judged, metrics=list(found), augment=augment, accumulate=accumulate,
            class_weights=None if class_weights is None else judged.weights.tolist(),
        )  # fmt: skip
        recorder = recorder_for(
            run, training, loader, loss=judged, told=told, settings=settings, data=described,
            row=(x.shape[1:], dtype if x.dtype.kind == "f" else x.dtype),
            target=(y.shape[1:], dtype if y.dtype.kind == "f" else y.dtype), normalizer=normalizer, class_names=names,
        )  # fmt: skip
    first = ranks is None or ranks.rank == 0
    shown = progress_for(progress and first, -(-len(loader) // accumulate))
    parts: dict[str, Any] = dict(
        training=training, loader=loader, loss=judged, metrics=found, held=held, augment=augment,
        normalizer=normalizer if late else None, seed=seed, dtype=dtype, told=told, shown=shown,
        accumulate=accumulate, ahead=prefetch, lint=lint and first,
    )  # fmt: skip
    if ranks is None:
        compiled = output.dtype if compile and output is not None else None
        return Loop(**parts, recorder=recorder, compiled=compiled, forward=None if compiled is None else forward).run()
    agree(
        ranks, model, x, y, epochs=epochs, batch_size=batch_size, shuffle=shuffle, seed=seed, last=last,
        accumulate=accumulate, class_weights=class_weights,
    )  # fmt: skip
    shared: Any = None if run is None else SharedRecorder(recorder, ranks)
    return SharedLoop(**parts, recorder=shared, parallel=ranks).run()


def _describe(stream: Stream | None, x: Array, y: Array, held: Any, normalizer: Normalizer | None) -> dict[str, Any]:
    """What a run's folder keeps of its data, to know it again."""
    if stream is not None and stream.once:
        raise ValueError(
            "run= goes on from a checkpoint, and an iterator cannot begin an epoch again: give a function of the epoch"
        )
    arrays = {"x": x, "y": y} if stream is None else {}
    order: dict[str, Any] = {}
    if stream is not None and isinstance(stream.source, Loader):  # which says what it goes through
        arrays, order = stream.source._parts()
        order = {name: name_of(value) if callable(value) else value for name, value in order.items()}
    told = describe_data(arrays | ({} if held is None else {"dev x": held[0], "dev y": held[1]}), normalizer)
    return told if stream is None else told | {"batches": name_of(stream.source), "steps": stream.steps, **order}


def _sizes(loader: Loader | Stream, epochs: int) -> list[int]:
    """The sizes of batches that the model is tried with: the first, and the least and the largest of all."""
    if isinstance(loader, Stream):
        return [loader.batch_size]
    each = {loader.size_at(epoch): epoch for epoch in range(epochs)}
    sizes = {size for epoch in each.values() for size in loader.sizes(epoch)}
    return list(dict.fromkeys([loader.sizes(0)[0], max(sizes), min(sizes)]))


def _stream(data: Any, steps: int | None, batch_size: Any, dtype: Any) -> Stream | None:
    """The batches that the user makes, where data is such."""
    if not is_stream(data):
        if steps is not None:
            raise ValueError("steps_per_epoch goes with batches of your own making; arrays say how many there are")
        return None
    if batch_size is not None:
        raise ValueError("batch_size goes with arrays; the batches given are as large as they come")
    return Stream(data, steps, dtype)

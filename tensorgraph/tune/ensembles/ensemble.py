"""`ensemble`: many networks trained at once, as one batched step. (Caviar; Andrew Ng, course 2, week 3)"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from tensorgraph import jit
from tensorgraph.arguments import Count, Name, Natural, Ordered, checked
from tensorgraph.data.arrays import Numbers, as_array, cast_floats, check_finite
from tensorgraph.data.loader import sizes_of
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.nn.module import Module
from tensorgraph.optim.optimizer import Optimizer
from tensorgraph.train.checks import check_fit
from tensorgraph.train.history import History, better_is_less
from tensorgraph.train.loop import Augment
from tensorgraph.train.losses import loss_of
from tensorgraph.train.running import Data, Metric, model_dtype, named_metrics, samples_of
from tensorgraph.tune.ensembles.lanes import Course, Shape, shapes
from tensorgraph.tune.ensembles.measuring import Outputs
from tensorgraph.tune.ensembles.members import Member, made
from tensorgraph.tune.ensembles.together import parts_of, train_together

__all__ = ["Ensemble", "ensemble"]

Array = np.ndarray[Any, Any]


class Ensemble:
    """Networks that were trained together, each as if alone.

    Attributes
    ----------
    settings : list of dict
    histories : list of History
        One a network; ``history.stopped`` says why it ended: ``"epochs"``, ``"diverged at step 12: loss inf"``,
        ``"pruned"``, ``"interrupted"``.
    shapes : list of list of int
        Which networks had one shape and were one batched step, by their numbers.
    """

    def __init__(self, members: Sequence[Member], found: Sequence[Shape], normalizer: Normalizer | None) -> None:
        self._members = list(members)
        self._normalizer = normalizer
        self._outputs = [
            (shape.members, Outputs(shape.members, model_dtype(shape.members[0].model))) for shape in found
        ]
        self.settings = [dict(member.setting) for member in members]
        self.histories = [History() for _ in members]
        self.shapes = [[member.number for member in shape.members] for shape in found]

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        stopped = sum(history.stopped not in ("", "epochs") for history in self.histories)
        told = f", {stopped} stopped early" if stopped else ""
        shapes = f" of {len(self.shapes)} shapes" if len(self.shapes) > 1 else ""
        return f"Ensemble({len(self)} networks{shapes}, {max(map(len, self.histories))} epochs{told})"

    @property
    def stopped(self) -> dict[int, str]:
        """Why networks were stopped before the last epoch, by their numbers."""
        return {k: h.stopped for k, h in enumerate(self.histories) if h.stopped not in ("", "epochs")}

    @checked
    def model(self, k: Natural) -> Module:
        """The k-th network, a Module as any other: what `fit` alone would have made of it, to rounding.

        One that diverged is as it was before the step whose loss was not finite.
        """
        return self._member(k).model

    @checked
    def optimizer(self, k: Natural) -> Optimizer:
        """The k-th network's optimiser, with its averages and counts."""
        return self._member(k).optimizer

    def _member(self, k: int) -> Member:
        if k >= len(self):
            raise IndexError(f"there are {len(self)} networks, numbered from 0; got {k}")
        return self._members[k]

    @checked
    def best(self, name: Name) -> tuple[int, float]:
        """The network whose measure was best at its end, by number, and its value.

        Losses and errors are best when small, all else when large. Networks that were stopped do not take part.

        Raises
        ------
        KeyError
            For a measure that was not taken.
        ValueError
            If no network came to its end.
        """
        values = {k: h[name][-1] for k, h in enumerate(self.histories) if h.stopped == "epochs" and len(h)}
        values = {k: value for k, value in values.items() if not math.isnan(value)}
        if not values:
            raise ValueError(f"no network came to its end with a {name}: {self.stopped}")
        k = (min if better_is_less(name) else max)(values, key=values.__getitem__)
        return k, values[k]

    @checked
    def predict(self, x: Numbers, *, average: bool = False) -> Array:
        """The outputs of all networks for samples, at test time.

        Parameters
        ----------
        x : array of shape (N, ...)
            In the units of the training data: the normaliser is applied.
        average : bool
            The mean over the networks that came to their end, in place of each one's. Outputs are what the models
            give: of logits the mean is a geometric one of probabilities.

        Returns
        -------
        ndarray
            Shape (networks, N, ...), or (N, ...).
        """
        x = as_array(x, "x")
        if x.ndim == 0 or not len(x):
            raise ValueError(
                f"x has shape {x.shape}, expected (N, ...) with N ≥ 1 samples; for one sample pass x[None]"
            )
        if self._normalizer is None:
            check_finite(x, "x")
        else:
            x = self._normalizer.transform(x)
        found: list[Any] = [None] * len(self)
        for members, outputs in self._outputs:
            for member, rows in zip(members, outputs.of(x), strict=True):
                found[member.number] = rows
        if not average:
            return np.stack(found)
        ended = [rows for rows, history in zip(found, self.histories, strict=True) if history.stopped == "epochs"]
        if not ended:
            raise ValueError(f"no network came to its end: {self.stopped}")
        mean: Array = np.mean(np.stack(ended), axis=0, dtype=np.float64).astype(ended[0].dtype)
        return mean


@checked
def ensemble(
    make: Annotated[Callable[..., Any], "a function of hyperparameters that gives a Module"],
    data: Data,
    *,
    settings: Sequence[Mapping[str, Any]],
    epochs: Count,
    optimizer: str | Callable[..., Any] = "adam",
    dev: Data | None = None,
    loss: Annotated[Callable[..., Any], "a function of (outputs, y) that gives a scalar"] | None = None,
    metrics: Annotated[Iterable[str | Metric], Ordered] = ("accuracy",),
    batch_size: Count = 32,
    shuffle: bool = True,
    seed: Natural = 0,
    last: Literal["keep", "drop", "merge"] = "merge",
    normalizer: Normalizer | None = None,
    augment: Augment | None = None,
    prune: Annotated[Callable[..., Any], "a function of (epoch, values)"] | None = None,
    threads: Count | None = None,
) -> Ensemble:
    """Train many networks at once that differ in seed, learning rate, decay, momentum, dropout: one batched step.

    Network k ends as ``fit(make(...), data, optimizer=..., seed=...)`` alone would have it, to rounding: it has its own
    first numbers, order of samples, dropout, averages and schedule. Networks whose shapes differ (other units, other
    activations, another batch size) are batched by shape. What is saved is the cost of calls, which small networks
    consist of.

    Parameters
    ----------
    make : callable
        Gives a new model, from those of a setting's entries that it has parameters for.
    data : Dataset, or pair (x, y)
    settings : sequence of dict
        One a network: hyperparameters by name. Each goes to whoever has a parameter of its name: `make`, the optimiser,
        the loss; ``seed`` is the seed of the order of samples besides, ``batch_size`` the network's own.
    epochs : int
    optimizer : str, class or callable
        ``"sgd"``, ``"momentum"``, ``"rmsprop"``, ``"adam"``, ``"adamw"``, an optimiser's class, or a function of the
        parameters and of entries of the setting: ``lambda p, lr: optim.Adam(p, lr=optim.cosine(lr, 1000))``.
    dev : Dataset, or pair (x, y), optional
        Measured after every epoch.
    loss : callable, optional
        Of outputs and targets, and of entries of the setting; `tensorgraph.softmax_cross_entropy` unless given.
    metrics, batch_size, shuffle, seed, last, normalizer, augment
        As for `tensorgraph.train.fit`; `seed` and `batch_size` are for networks whose setting has none.
    prune : callable, optional
        ``prune(epoch, values)`` is called after every epoch with the epoch, from 0, and a dict of arrays, one number a
        network (NaN for those that were stopped); gives the numbers of the networks to stop, or None.
    threads : int, optional
        How many threads share the networks; as many as kernels may use, unless given. The numbers are the same.

    Returns
    -------
    Ensemble

    Raises
    ------
    TypeError, ValueError
        If data, settings or functions do not fit; before anything is trained.
    TraceError
        If a model or a loss looks at the numbers of a batch, so that its step is no graph, or draws from a generator of
        NumPy's or Python's.

    Notes
    -----
    A network whose loss is not finite keeps the numbers that it had before that step and is trained no more; its
    history says so. The others have the same bits as without it. Ctrl-C ends all after the present step.

    Examples
    --------
    >>> import numpy as np
    >>> from tensorgraph import nn, tune
    >>> x = np.random.default_rng(0).normal(size=(64, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> def make(seed):
    ...     return nn.Sequential(nn.Linear(2, 8, seed=seed), nn.ReLU(), nn.Linear(8, 2, seed=seed + 1))
    >>> found = tune.ensemble(make, (x, y), settings=[{"seed": 0, "lr": lr} for lr in (1e-4, 0.1)], epochs=20)
    >>> found.best("accuracy")[0]
    1
    """
    # The plan:
    # 1. the networks are made, and found to be of so many shapes;
    # 2. those of a shape are cut into parts that fit the caches: each part is a batched step;
    # 3. an epoch: all parts, in threads; their measures; `prune`;
    # 4. the numbers go back to the networks.
    x, y = samples_of(data, "data")
    held = None if dev is None else samples_of(dev, "dev")
    named = named_metrics(metrics, y)
    members = made(make, settings, optimizer, loss, seed, batch_size)
    course, held = _course(members, x, y, held, shuffle, last, normalizer, augment, bool(named))
    first = members[0]
    sizes = list(dict.fromkeys(sizes_of(len(x), first.batch_size, last)))
    judged = loss_of(None if loss is None else first.loss)
    check_fit(first.model, sizes, course.x, y, held, judged, named, course.dtype)
    found = shapes(members, course)
    result = Ensemble(members, found, normalizer)
    parts = [part for shape in found for part in parts_of(shape, course, held, named)]
    train_together(parts, result.histories, epochs, prune, threads or jit.num_threads())
    return result


def _course(
    members: Sequence[Member], x: Array, y: Array, held: Any, shuffle: bool, last: Any, normalizer: Normalizer | None,
    augment: Augment | None, keeps: bool,
) -> tuple[Course, Any]:  # fmt: skip
    """The data as the models take it, as `fit` prepares it."""
    dtypes = {model_dtype(member.model) for member in members}
    if len(dtypes) > 1:
        raise ValueError(
            f"the models compute in {', '.join(sorted(map(str, dtypes)))}: train those of one dtype together"
        )
    dtype = dtypes.pop()
    prepare = None
    if augment is None:
        x = cast_floats(x if normalizer is None else normalizer.transform(x), dtype, "data's x")
    else:

        def prepare(rows: Array, rng: np.random.Generator) -> Array:
            changed = augment(rows, rng)
            if len(changed) != len(rows):
                raise ValueError(
                    f"augment gave {len(changed)} samples for {len(rows)}; it must give as many as it takes"
                )
            return cast_floats(changed if normalizer is None else normalizer.transform(changed), dtype, "x")

        x = x if x.dtype.kind == "f" else x.astype(dtype)
    if held is not None:
        rows = held[0] if normalizer is None else normalizer.transform(held[0])
        held = cast_floats(rows, dtype, "dev's x"), held[1]
    return Course(x, cast_floats(y, dtype, "data's y"), shuffle, last, prepare, dtype, keeps), held

"""The loop of a training run: epochs of steps, from any position on, told to those who listen.

A position is an epoch and how many of its batches are done. Whatever interferes with a run does so between two steps,
where the state of everything is whole: the model's and the optimiser's cells, the random states, and the `Pass`, which
is what an unfinished epoch has given so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeAlias

import numpy as np

from tensorgraph.data.arrays import Array, cast_floats
from tensorgraph.data.loader import Loader
from tensorgraph.data.normalizer import Normalizer
from tensorgraph.data.prefetching import prefetch
from tensorgraph.engine.aval import aval_of
from tensorgraph.engine.interrupts import Interrupt, interruptible
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.train.callbacks import EarlyStop, Training, notify
from tensorgraph.train.compiled import CompiledSteps, Result, is_late, scale_grads
from tensorgraph.train.evaluate import AT_ONCE, measure, predicted, scalar, targets_for
from tensorgraph.train.first_batch import warn_of_findings
from tensorgraph.train.forward import Forward
from tensorgraph.train.history import History
from tensorgraph.train.losses import Loss, mass
from tensorgraph.train.running import Metric, Samples, in_mode, outputs_of, warn_of_pairs
from tensorgraph.train.streams import Stream

__all__ = ["Augment", "Loop", "NonFiniteLossError", "Pass"]

Augment: TypeAlias = Annotated[Callable[[Array, np.random.Generator], Array], "a function of (x, rng)"]


class NonFiniteLossError(FloatingPointError):
    """The loss became nan or infinite; the message names the step and the remedy."""


class Recorder(Protocol):
    """Who keeps a run's folder (`tensorgraph.train.run`)."""

    def open(self, loop: Loop) -> None: ...
    def begin(self, loop: Loop) -> None: ...
    def boundary(self, loop: Loop) -> bool: ...
    def interrupted(self, loop: Loop) -> None: ...
    def compiled(self, loop: Loop, **told: Any) -> None: ...
    def step_done(self, loop: Loop, loss: float) -> None: ...
    def epoch_done(self, loop: Loop) -> None: ...
    def end(self, loop: Loop) -> None: ...
    def failed(self, loop: Loop, error: BaseException) -> None: ...
    def close(self) -> None: ...


@dataclass
class Pass:
    """An epoch under way: its batches, the generator that `augment` draws from, and what its steps gave."""

    batches: Iterator[tuple[Array, ...]]
    count: int  # of all its batches
    rng: np.random.Generator
    outputs: list[Array] = field(default_factory=list)
    targets: list[Array] = field(default_factory=list)
    total: float = 0.0  # of the losses, each as often as its batch has samples, or by their weights
    samples: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def close(self) -> None:
        """Leave the batches that are not done, and the thread that makes them ahead."""
        if hasattr(self.batches, "close"):
            self.batches.close()


@dataclass
class Loop:
    """A training run under way.

    Parameters
    ----------
    training : Training
        What callbacks see, and the position: `epoch`, `batch`, `step`.
    loader : Loader or Stream
    loss, metrics, held, augment, normalizer, seed
        As `fit` found them; `normalizer` only where it runs on batches, `held` the dev set, normalised.
    dtype : dtype
        Of the model.
    accumulate : int
        Batches of an update.
    ahead : int
        Batches that a thread makes ahead.
    lint : bool
        Whether the first batch is.
    compiled : dtype, optional
        That of the model's outputs, where steps are made by compiled functions from some on.
    forward : Forward, optional
        What such functions go on from.
    told, shown : list
        Callbacks of the user's, and those that draw the bar.
    recorder : Recorder, optional
        Keeps the run's folder, and goes on from it.
    done : int
        The number of whole epochs.
    current : Pass or None
        The epoch that was begun.
    """

    training: Training
    loader: Loader | Stream
    loss: Loss
    metrics: dict[str, Metric]
    held: Samples | None
    augment: Augment | None
    normalizer: Normalizer | None
    seed: int
    dtype: Any
    told: Sequence[Any]
    shown: Sequence[Any]
    recorder: Recorder | None = None
    accumulate: int = 1
    ahead: int = 0
    lint: bool = False
    compiled: np.dtype[Any] | None = None
    forward: Forward | None = None
    done: int = 0
    current: Pass | None = None
    interrupt: Interrupt = field(default_factory=Interrupt)

    def __post_init__(self) -> None:
        self.watch()
        training, dtype, forward = self.training, self.compiled, self.forward
        self.steps: CompiledSteps | None = None
        self.cleared = False  # whether there are no gradients
        if dtype is not None and forward is not None:
            leaves = not all(type(one) is EarlyStop for one in self.told)  # others may look at gradients
            self.steps = CompiledSteps(forward, self.loss, training.optimizer, dtype, leaves)

    def watch(self) -> None:
        """Look from here on at what hyperparameters are."""
        from tensorgraph.train.run.hyperparameters import Curves  # whose package needs the loop

        self.curves = Curves(self.training)

    def run(self) -> History:
        """Train to the end, or until Ctrl-C, which ends the run after the present step."""
        if self.recorder is None:
            return self._run()
        try:
            self.recorder.open(self)
            history = self._run()
            self.recorder.end(self)
            return history
        except BaseException as error:
            self.recorder.failed(self, error)
            raise
        finally:
            self.recorder.close()

    def _run(self) -> History:
        training = self.training
        with in_mode(training.model, training=True), interruptible() as self.interrupt:
            try:
                notify(self.told, "on_fit_start", training)
                if self.recorder is not None:
                    self.recorder.begin(self)
                notify(self.shown, "on_fit_start", training)
                self._train()
            except KeyboardInterrupt:
                training.stopping = "interrupted"
            finally:
                if self.current is not None:
                    self.current.close()
                notify(self.shown, "on_fit_end", training)
            notify(self.told, "on_fit_end", training)
        training.history.stopped = training.stopping or "epochs"
        return training.history

    def _train(self) -> None:
        """Step by step; between two of them everything can be saved, changed, or gone back to."""
        training, recorder = self.training, self.recorder
        while True:
            if self.current is not None and training.batch == self.current.count:
                self._end_epoch(self.current)
            self.check_interrupt()
            if recorder is not None and not recorder.boundary(self):
                return
            if self.current is None:
                if training.stopping or self.done >= training.epochs:
                    return
                self.current = self.begin_epoch()
            number = self._advance(self.current)
            notify([*self.told, *self.shown], "on_step_end", training)
            if recorder is not None:
                recorder.step_done(self, number)

    def check_interrupt(self) -> None:
        """End the run, between two steps, where Ctrl-C was pressed."""
        if self.interrupt.asked:
            if self.recorder is not None:
                self.recorder.interrupted(self)
            raise KeyboardInterrupt

    def begin_epoch(self) -> Pass:
        """A new epoch, told to those who listen."""
        training = self.training
        training.epoch, training.batch, training.measures = self.done, 0, {}
        training.optimizer.epoch = self.done  # for schedules that count epochs
        notify([*self.told, *self.shown], "on_epoch_start", training)
        self.loader.epoch = self.done
        count, batches = len(self.loader), iter(self.loader)
        if self.ahead:
            batches = prefetch(batches, self.ahead)
        return Pass(batches, count, np.random.default_rng([self.seed, self.done, 1]))

    def _advance(self, current: Pass) -> float:
        """One update, of one batch or of several, whose gradients are put together; gives the loss."""
        training, optimizer = self.training, self.training.optimizer
        if not self.cleared:
            optimizer.zero_grad()
        total, whole, unit, updated = 0.0, 0.0, 1.0, False
        several = min(self.accumulate, current.count - training.batch)
        for i in range(several):
            rows, labels = next(current.batches)
            unit = unit if i else float(len(labels))
            weight = mass(self.loss, labels)
            whole += weight
            factor = weight / unit if several > 1 else 1.0
            scale = unit / whole if several > 1 and whole else 1.0
            number, output, updated = self._backward(
                self._prepare(rows, current.rng), labels, factor, scale, i == 0, i == several - 1
            )
            total += number * weight
            if self.metrics:
                current.outputs.append(output)
                current.targets.append(labels)
            training.batch += 1
        self.cleared = updated and self.steps is not None and not self.steps.leaves
        if not updated:
            if scale != 1.0:
                scale_grads(optimizer, scale)
            self._update()
        training.history.learning_rate.append(float(optimizer.cells["lr"]._value))  # which the schedule has set
        self.curves.step()
        training.step += 1
        current.total += total
        current.samples += whole
        training.measures["loss"] = current.total / current.samples if current.samples else 0.0
        return number if several == 1 else total / whole if whole else 0.0

    def _prepare(self, rows: Array, rng: np.random.Generator) -> Array:
        """A batch as the model takes it."""
        if self.augment is not None:
            changed = self.augment(rows, rng)
            if len(changed) != len(rows):
                raise ValueError(
                    f"augment gave {len(changed)} samples for {len(rows)}; it must give as many as it takes"
                )
            rows = changed
        if self.normalizer is not None:
            rows = self.normalizer.transform(rows)
        return cast_floats(rows, self.dtype, "x")

    def _backward(self, rows: Array, labels: Array, weight: float, scale: float, first: bool, last: bool) -> Result:
        """The gradients of a batch, `weight` times, added to those there are; of a compiled one also the update by
        `scale` times all of them, where it is the last."""
        training, steps = self.training, self.steps
        if steps is not None and steps.is_due(training.step, len(rows)):
            factors = (None, None) if self.accumulate == 1 else (weight, scale)
            given = steps(rows, labels, factors, last)
            while self.recorder is not None and steps.news:
                self.recorder.compiled(self, **steps.news.pop(0))
            if given is not None:
                self._require_finite(given.number, rows)
                return given
        output = self._outputs(rows)
        if training.step == 0 and first:
            told = warn_of_pairs("fit", self.loss, output.aval, aval_of(targets_for(labels, output.dtype)))
            if self.lint:
                warn_of_findings(training.model, self.forward, self.loss, rows, labels, told)
        value = self.loss(output, targets_for(labels, output.dtype))
        number = scalar(value)
        if not isinstance(value, Tensor):
            raise TypeError(f"the loss must be a tensor computed from the outputs, got {type(value).__name__}")
        self._require_finite(number, rows)
        self._pull(value if weight == 1.0 else value * weight, output)
        return Result(number, output.detach().numpy(), False)

    def _require_finite(self, number: float, rows: Array) -> None:
        if not math.isfinite(number):
            self.training.optimizer.zero_grad()
            raise NonFiniteLossError(self._why(number, rows))

    def _outputs(self, rows: Array) -> Tensor:
        """What the model gives for a batch."""
        return outputs_of(self.training.model, tensor(rows, copy=False))

    def _pull(self, value: Tensor, output: Tensor) -> None:
        """The gradients of a loss of these outputs, added to those that there are."""
        value.backward()

    def _update(self) -> None:
        """The optimiser's step."""
        self.training.optimizer.step()

    def _on_dev(self, held: Samples) -> dict[str, float]:
        """Loss and metrics on the dev set."""
        model, forward = self.training.model, self.forward
        batches = self.done * -(-len(held[0]) // AT_ONCE)
        due = forward is not None and is_late(self.training.step) and forward.is_due(batches)
        return measure(predicted(model, held[0], forward, forward if due else None), held[1], self.loss, self.metrics)

    def _why(self, number: float, rows: Array) -> str:
        """What is known of a loss that is no number, and what to do."""
        training, rate = self.training, float(self.training.optimizer.lr)
        count = 0 if self.current is None else self.current.count
        where = f"step {training.step + 1} (epoch {training.epoch + 1}, batch {training.batch + 1} of {count})"
        named = training.model.named_parameters() if hasattr(training.model, "named_parameters") else ()
        broken = [name for name, parameter in named if not np.isfinite(parameter.numpy()).all()]
        if not np.isfinite(rows).all():
            remedy = "the batch itself is not finite: check what `augment` gives"
        elif broken:
            remedy = (
                f"the parameters {', '.join(broken[:3])} are no longer finite since the update before: lower the "
                f"learning rate (now {rate:g}), or clip the gradients"
            )
        else:
            remedy = (
                f"lower the learning rate (now {rate:g}), or find the operation with `with tensorgraph.debug_nans():`"
            )
        return f"the loss became {number} at {where} and the update was not made; {remedy}"

    def _end_epoch(self, current: Pass) -> None:
        """The measures of what the steps gave, and on the dev set; then callbacks, and the checkpoint."""
        training = self.training
        current.close()
        if self.metrics:
            both = np.concatenate(current.outputs), np.concatenate(current.targets)
            training.measures |= {name: float(metric(*both)) for name, metric in self.metrics.items()}
        if self.held is not None:
            training.measures |= {f"dev_{name}": value for name, value in self._on_dev(self.held).items()}
        training.history.append(training.measures, time.perf_counter() - current.began)
        self.done, self.current = self.done + 1, None
        notify([*self.told, *self.shown], "on_epoch_end", training)
        if self.recorder is not None:
            self.recorder.epoch_done(self)

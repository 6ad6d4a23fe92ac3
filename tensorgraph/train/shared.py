"""A training run of several ranks: each goes through the same batches, and rank 0 keeps the run's folder.

The plan:
1. A step's batch is the same on every rank, `augment` included. Each rank puts its rows through the model; the outputs
   of all are put together, and every rank computes the loss of the whole batch, whatever its formula. Its gradient by
   the own rows' outputs goes back through the model, and the optimiser's step sums over the ranks.
2. So after each step all ranks know the same: loss, outputs, measures, and whether to stop. What one rank alone may
   know (Ctrl-C, a callback that stops the run) is agreed upon between two steps.
3. Rank 0 has the run's folder. Where it goes on from a checkpoint, or a command changes something, its state between
   two steps is sent to the others, who take it as they would take a checkpoint.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from tensorgraph.data.arrays import Array
from tensorgraph.dist.parallel import DataParallel
from tensorgraph.dist.ranks import RanksError
from tensorgraph.dist.replicas import require_same
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.nn.module import Module
from tensorgraph.train.evaluate import measure, predict
from tensorgraph.train.loop import Loop, Recorder
from tensorgraph.train.run.hyperparameters import Schedules
from tensorgraph.train.run.state import capture, restore
from tensorgraph.train.running import Samples, outputs_of

__all__ = ["SharedLoop", "SharedRecorder", "agree"]

SEEN = 64  # samples that are compared
GO, STOP, CHANGED, RAISED = 1, 2, 4, 8


def agree(parallel: DataParallel, model: Any, x: Array, y: Array, **settings: Any) -> None:
    """Before a run begins: every layer knows that it is a replica, and all ranks were given the same."""
    if isinstance(model, Module):
        parallel.join(model)
    facts = {name: getattr(value, "__qualname__", None) or repr(value) for name, value in settings.items()}
    for name, array in (("x", x), ("y", y)):
        first = np.ascontiguousarray(array[:SEEN])
        facts |= {
            name: f"{array.dtype} of shape {array.shape}",
            f"the first of {name}": f"{zlib.crc32(first.data):08x}",
        }
    require_same(parallel.job, facts, "data or settings of fit", "give every rank the same")


@dataclass
class SharedLoop(Loop):
    """A `Loop` whose batches are shared out among the ranks of a job.

    Parameters
    ----------
    parallel : DataParallel
        Whose optimiser the training has.
    """

    parallel: DataParallel = field(kw_only=True)
    alone: bool = False  # whether this rank is asked something that the others are not

    def _outputs(self, rows: Array) -> Tensor:
        """The outputs of the whole batch; the own rows' history is kept aside."""
        mine = self.parallel.rows(len(rows))
        self._own = outputs_of(self.training.model, tensor(rows[mine], copy=False))
        self._mine = mine
        whole = self.parallel.whole(self._own.detach().numpy(), len(rows))
        return tensor(whole, copy=False, requires_grad=whole.dtype.kind == "f" and self._own.requires_grad)

    def _pull(self, value: Tensor, output: Tensor) -> None:
        """The gradients of the loss: of what the loss reads besides the outputs, such as a penalty's parameters, rank 0
        alone adds them, since the ranks' gradients are summed."""
        if not output.requires_grad or self.parallel.rank == 0:
            value.backward()
            slope = output.grad
        else:
            (slope,) = gradients([value], [output])
        if slope is not None:
            self._own.backward(slope[self._mine])

    def _update(self) -> None:
        self.parallel.step()

    def _on_dev(self, held: Samples) -> dict[str, float]:
        """Each rank predicts its rows of the dev set."""
        x, y = held
        if len(x) < self.parallel.size:
            return super()._on_dev(held)
        outputs = self.parallel.whole(
            predict(self.training.model, x[self.parallel.rows(len(x))], compile=False), len(x)
        )
        return measure(outputs, y, self.loss, self.metrics)

    def check_interrupt(self) -> None:
        """End the run on all ranks where Ctrl-C came to one; a callback that stops one stops all."""
        if self.alone:
            super().check_interrupt()
            return
        training = self.training
        own = [self.interrupt.asked, bool(training.stopping)]
        asked, stopping = self.parallel.job.sum(np.array(own, np.int64), "asking whether to go on")
        if stopping:
            training.stopping = next(filter(None, self.parallel.job.texts(training.stopping, "asking why to stop")))
        self.interrupt.asked = bool(asked)
        super().check_interrupt()


class SharedRecorder:
    """Keeps a run's folder on rank 0; the others follow it.

    Parameters
    ----------
    recorder : Recorder, on rank 0
    parallel : DataParallel
    """

    def __init__(self, recorder: Any, parallel: DataParallel) -> None:
        self.recorder: Recorder | None = recorder
        self.job = parallel.job

    def _together(self, call: Callable[[Recorder], Any]) -> Any:
        """What rank 0 does; where it raises, all ranks do."""
        error: BaseException | None = None
        result = None
        if self.recorder is not None:
            try:
                result = call(self.recorder)
            except BaseException as raised:
                error = raised
        self._raise_together(error)
        return result

    def _raise_together(self, error: BaseException | None) -> None:
        said = self.job.texts("" if error is None else f"{type(error).__name__}: {error}", "keeping the run's folder")
        if error is not None:
            raise error
        if said[0].startswith("KeyboardInterrupt"):
            raise KeyboardInterrupt
        if said[0]:
            raise RanksError(f"rank 0, which keeps the run's folder, cannot go on: {said[0]}")

    def open(self, loop: Loop) -> None:
        self.schedules = Schedules(loop.training.optimizer)
        self._together(lambda recorder: recorder.open(loop))

    def begin(self, loop: Loop) -> None:
        self._together(lambda recorder: recorder.begin(loop))
        self._send(loop)

    def _send(self, loop: Loop) -> None:
        """Bring the other ranks to rank 0's state between two steps."""
        arrays, described = capture(loop, self.schedules, None, None) if self.recorder is not None else ({}, {})
        arrays, described = self.job.send(arrays, described, "sending rank 0's state")
        if self.recorder is None:
            parts: dict[str, dict[str, Array]] = {}
            for name, array in arrays.items():
                part, _, rest = name.partition(".")
                parts.setdefault(part, {})[rest] = array
            restore(loop, self.schedules, parts, described)

    def boundary(self, loop: Loop) -> bool:
        """Rank 0 looks for commands, and may be paused for as long as anybody likes."""
        said, error = GO, None
        if self.recorder is not None:
            before = self._place(loop)
            cast(SharedLoop, loop).alone = True
            try:
                said = GO if self.recorder.boundary(loop) else STOP
            except BaseException as raised:
                said, error = RAISED, raised
            finally:
                cast(SharedLoop, loop).alone = False
            said |= CHANGED * (before != self._place(loop))
        said = int(self.job.gather(np.array(said, np.int64), "waiting for commands to the run", math.inf)[0])
        if said & RAISED:
            self._raise_together(error)
        if said & CHANGED:
            self._send(loop)
        return not said & STOP

    def _place(self, loop: Loop) -> Any:
        """What every command to a run changes."""
        recorder: Any = self.recorder
        return recorder.steering.applied, loop.training.stopping, loop.training.epochs

    def interrupted(self, loop: Loop) -> None:
        if self.recorder is not None:
            self.recorder.interrupted(loop)

    def compiled(self, loop: Loop, **told: Any) -> None:
        if self.recorder is not None:
            self.recorder.compiled(loop, **told)

    def step_done(self, loop: Loop, loss: float) -> None:
        if self.recorder is not None:
            self.recorder.step_done(loop, loss)

    def epoch_done(self, loop: Loop) -> None:
        self._together(lambda recorder: recorder.epoch_done(loop))

    def end(self, loop: Loop) -> None:
        self._together(lambda recorder: recorder.end(loop))

    def failed(self, loop: Loop, error: BaseException) -> None:
        if self.recorder is not None:
            self.recorder.failed(loop, error)

    def close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()

"""`DataParallel`: an optimiser that updates the replicas of all ranks by the gradient of the whole batch."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgraph.arguments import Natural, Positive, checked
from tensorgraph.data.arrays import Array, Numbers, as_array
from tensorgraph.dist.ranks import Communicator, Job, RanksError, limit_threads, world
from tensorgraph.dist.replicas import cells_of, copy_from_first, models_of, require_equal, require_same_form
from tensorgraph.engine.cells import set_grads
from tensorgraph.engine.modes import is_tracing
from tensorgraph.engine.tensor import Tensor, TraceError, wrap
from tensorgraph.nn.module import Module
from tensorgraph.ops.logic import where
from tensorgraph.optim.optimizer import Optimizer

__all__ = ["DataParallel"]

if TYPE_CHECKING:
    Base = Optimizer
else:
    Base = object  # it has no cells of its own: all is the optimiser's that it stands for

WORDS = 4  # bytes of a checksum: each is summed over the ranks, and their squares, which float32 holds for 250 ranks
OWN = ("optimizer", "job", "_summed")


class DataParallel(Base):
    """An optimiser whose step takes the gradient of the whole batch, of which every rank has computed its rows' part.

    Every process of an MPI job (a rank) has a replica of the model. At the start all of them get rank 0's numbers; then
    each step sums the gradients over the ranks in one exchange and makes the same update everywhere, so the replicas
    stay equal to the last bit. In every other respect it is the optimiser that it was made of: ``parallel.lr``,
    ``parallel.clip_norm`` (which limits the norm of the whole gradient), ``parallel.state_dict()``.

    Parameters
    ----------
    optimizer : Optimizer
        Made on every rank in the same way.
    comm : mpi4py communicator, optional
        The ranks; all of the job unless given.
    sync : bool
        Whether batch norm in training normalises with the moments of the whole batch, and its gradient flows through
        them across the ranks: then the result is that of one process. Otherwise each rank normalises with the moments
        of its own rows. The running averages are of the whole batch in both cases.
    timeout : float
        Seconds that a rank waits for the others before it raises.

    Raises
    ------
    MissingExtraError
        If `comm` is not given and mpi4py is not installed.
    RanksError
        If the ranks have models or optimisers of another form: it names the first parameter that differs. Later, where
        a rank waits for one that has ended or does not come.

    Notes
    -----
    A step adds up gradients. A loss that is a mean over the rank's rows must therefore be weighed first (`part`), since
    the ranks may have different numbers of rows; a loss that is a sum needs nothing. A rank without rows takes part all
    the same.

    Dropout draws for the whole batch on every rank, and each rank keeps its rows' numbers: a sample loses the same
    units however many ranks there are. Ranks are counted in the order of their rows.

    The processors of a machine are shared among its ranks: each limits its kernels' and NumPy's BLAS threads to its
    part.

    Run it as ``mpiexec -n 4 python -m mpi4py script.py``. The module mpi4py ends the whole job where a rank ends by an
    error.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import dist, nn, optim
    >>> class Alone:  # stands for mpi4py.MPI.COMM_WORLD
    ...     def Get_rank(self): return 0
    ...     def Get_size(self): return 1
    ...     def Dup(self): return self
    >>> model = nn.Linear(2, 1, seed=0)
    >>> parallel = dist.DataParallel(optim.SGD(model, lr=0.1), Alone())
    >>> x = parallel.share(tg.ones((4, 2)))
    >>> loss = (model(x) ** 2).mean()
    >>> parallel.minimize(parallel.part(loss, len(x)))
    >>> parallel.steps, parallel.lr
    (1, 0.1)
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        comm: Communicator | None = None,
        *,
        sync: bool = False,
        timeout: Positive = 600.0,
    ) -> None:
        if isinstance(optimizer, DataParallel):
            raise TypeError("DataParallel takes the optimiser itself, and got one that is parallel already")
        comm = world() if comm is None else comm
        self.optimizer, self.job, self._summed = optimizer, Job(comm, sync, float(timeout)), False
        if self.job.size > 1:
            cells = cells_of(optimizer)
            require_same_form(self.job, cells)
            copy_from_first(self.job, cells)
            for model in models_of(optimizer):
                self.join(model)
            limit_threads(comm)

    @checked
    def join(self, model: Module) -> None:
        """Tell the layers of a model that theirs is one of several replicas; the optimiser's own have been told."""
        if self.size == 1:
            return
        for module in model.modules():
            if module.ranks is not None and module.ranks.sync != self.job.sync:
                raise ValueError(
                    f"{module.label} was given to another DataParallel with sync={module.ranks.sync}; use the same "
                    "for all optimisers of a model"
                )
            object.__setattr__(module, "ranks", self.job)

    # in all else it is the optimiser -----------------------------------------------------------------------------

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What asks for an optimiser gets one: ``isinstance(parallel, optim.Adam)``."""
        return type(self.optimizer)

    def __getattr__(self, name: str) -> Any:
        if name in OWN or name.startswith("__"):  # not made yet
            raise AttributeError(f"DataParallel has no attribute {name!r}")
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.optimizer, name, value)

    def __dir__(self) -> list[str]:
        return sorted({*dir(DataParallel), *dir(self.optimizer)})

    def __repr__(self) -> str:
        return f"DataParallel({self.optimizer!r}, rank {self.rank} of {self.size})"

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return self.job.rank

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self.job.size

    # a step ------------------------------------------------------------------------------------------------------

    @checked
    def share(self, *arrays: Any) -> Any:
        """This rank's rows of a batch that all ranks have: as many on each, or one more.

        Parameters
        ----------
        *arrays : arrays or Tensors of shape (N, ...)
            What belongs together: samples and labels.

        Returns
        -------
        the rows of the array, or a tuple with those of each

        Examples
        --------
        ``x, y = parallel.share(x, y)``
        """
        if not arrays:
            raise ValueError("share takes the arrays of a batch: x, y = parallel.share(x, y)")
        if any(np.ndim(array) == 0 for array in arrays):
            raise ValueError("share takes arrays with a row a sample, got one without axes")
        lengths = {len(array) for array in arrays}
        if len(lengths) > 1:
            raise ValueError(f"the arrays of a batch have a row a sample, got {[len(a) for a in arrays]} rows")
        rows = self.rows(lengths.pop())
        found = tuple(array[rows] for array in arrays)
        return found[0] if len(found) == 1 else found

    @checked
    def rows(self, samples: Natural) -> slice:
        """Which rows of a batch of so many samples are this rank's."""
        return self._rows(self.rank, samples)

    def _rows(self, rank: int, samples: int) -> slice:
        return slice(rank * samples // self.size, (rank + 1) * samples // self.size)

    @checked
    def whole(self, rows: Numbers, samples: Natural) -> Array:
        """The batch of which every rank gives its rows, on all ranks: the other way of `share`.

        Parameters
        ----------
        rows : array of shape (n, ...)
            This rank's, as many as `rows` says.
        samples : int
            How many all have together.

        Returns
        -------
        numpy.ndarray of shape (samples, ...)
        """
        own = as_array(rows, "rows")
        parts = [self._rows(rank, samples) for rank in range(self.size)]
        counts = [part.stop - part.start for part in parts]
        if own.ndim == 0 or len(own) != counts[self.rank]:
            raise ValueError(
                f"rank {self.rank} of {self.size} has {counts[self.rank]} rows of a batch of {samples}, got shape "
                f"{own.shape}"
            )
        padded = np.zeros((-(-samples // self.size), *own.shape[1:]), own.dtype)
        padded[: len(own)] = own
        everyone = self.job.gather(padded, "putting a batch together")
        return np.concatenate([part[:count] for part, count in zip(everyone, counts, strict=True)])

    @checked
    def part(self, loss: Tensor, samples: Natural, total: Natural | None = None) -> Tensor:
        """This rank's part of the mean over the whole batch: the loss times ``samples / total``.

        The parts of all ranks add up to the loss of the whole batch, and their gradients to its gradient.

        Parameters
        ----------
        loss : Tensor
            One number, the mean over this rank's samples.
        samples : int
            Of how many samples; 0 where the rank has none, whatever the loss is then.
        total : int, optional
            Of the whole batch; unless given, the ranks add up theirs.

        Returns
        -------
        Tensor
        """
        if self.size == 1:
            return loss
        if total is None:
            total = int(self.job.sum(np.array(samples, np.int64), "counting the samples of a batch"))
        if total < max(samples, 1):
            raise ValueError(
                f"the whole batch must have the {samples} samples of this rank and at least one, not {total}"
            )
        if samples == 0:  # nan, or of nothing: its gradient is 0, and layers that wait for it on other ranks get that
            return where.public(np.array(False), loss, 0.0)  # type: ignore[no-any-return]
        return loss * (samples / total)

    @checked
    def total(self, number: float | Tensor) -> float:
        """The sum of a number over the ranks: of the `part` of each, the loss of the whole batch."""
        return float(self.job.sum(np.array(float(number)), "adding up a number"))

    @checked
    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        self._summed = False
        self.optimizer.zero_grad()

    minimize = Optimizer.minimize

    def step(self) -> None:
        """Sum the gradients over the ranks, where `reduce` has not, and update every parameter that has one.

        Raises
        ------
        RanksError
            If a rank has ended or does not come, is at another step, or has other settings.
        RuntimeError
            If no parameter has a gradient on any rank.
        """
        if not self._summed:
            self.reduce()
        self._summed = False
        self.optimizer.step()

    def reduce(self) -> None:
        """Sum the gradients over the ranks, so that each ``.grad`` is the whole batch's, as `step` is about to.

        Call it before reading or clipping gradients by hand; `step` then does not do it again.
        """
        # The plan: one array holds the gradients of all parameters one after another, then a 1 for each that is there
        # (what has no gradient on any rank must not get one), then the rank's position. It is summed in one exchange.
        if self._summed:
            raise RuntimeError("the gradients are summed already: call step(), or zero_grad() and backward() first")
        self._summed = True
        if self.size == 1:
            return
        if is_tracing():
            raise TraceError(
                "ranks exchange numbers, which a graph does not: call parallel.step() outside of trace and compile"
            )
        parameters = self.optimizer.parameters()
        ends = np.cumsum([p.size for p in parameters])
        count, length = len(parameters), int(ends[-1])
        dtype = np.result_type(np.float32, *{p.dtype for p in parameters})
        arena = np.zeros(length + count + 2 * WORDS, dtype)
        for i, (p, end) in enumerate(zip(parameters, ends.tolist(), strict=True)):
            if (g := p.grad) is not None:
                arena[end - p.size : end] = g.numpy().reshape(-1)
                arena[length + i] = 1
        own = self._position()
        arena[length + count :] = np.concatenate([own, own * own])
        self.job.sum_in_place(arena, f"the sum of the gradients of step {self.optimizer.steps + 1}")
        self._require_together(arena[length + count :].astype(np.float64))
        there = arena[length : length + count] > 0
        grads = [
            wrap(arena[end - p.size : end].reshape(p.shape).astype(p.dtype, copy=False)) if here else None
            for p, end, here in zip(parameters, ends.tolist(), there.tolist(), strict=True)
        ]
        set_grads(parameters, grads)

    def _position(self) -> np.ndarray[Any, Any]:
        """The number of the step and the settings, in a few small numbers."""
        inner = self.optimizer
        settings = [getattr(inner, name) for name in inner.settings]
        settings += [float(cell) for group in inner.groups for cell in group.cells.values()]
        text = repr((inner.steps, inner.epoch, settings, inner.clip_value, inner.clip_norm))
        return np.frombuffer(zlib.crc32(text.encode()).to_bytes(WORDS, "little"), np.uint8).astype(np.float64)

    def _require_together(self, sums: np.ndarray[Any, Any]) -> None:
        """Equal numbers are those whose sum squared is the sum of their squares times how many there are."""
        first, second = sums[:WORDS], sums[WORDS:]
        if (first * first == self.size * second).all():
            return
        require_equal(self.job, cells_of(self.optimizer))
        raise RanksError("the ranks are at different steps, or their optimisers have other settings")

    def verify(self) -> None:
        """Compare the replicas to the last bit: parameters, buffers, the optimiser's cells, the random state.

        Raises
        ------
        RanksError
            On all ranks, naming what differs and where.
        """
        if self.size > 1:
            require_equal(self.job, cells_of(self.optimizer))

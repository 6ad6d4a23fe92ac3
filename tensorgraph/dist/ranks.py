"""The ranks of a job and what they exchange. Where one of them does not come, the others raise; none waits for ever."""

from __future__ import annotations

import atexit
import json
import math
import os
import time
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeAlias

import numpy as np

from tensorgraph import jit
from tensorgraph.arguments import Kind
from tensorgraph.files import MissingExtraError
from tensorgraph.jit import blas

__all__ = ["Communicator", "Job", "RanksError", "limit_threads", "world"]

Array = np.ndarray[Any, Any]

GOODBYE = 1  # the tag of the message that a rank leaves behind as it ends
EAGER = 0.05  # seconds in which a rank that waits asks again at once, then at times
NAP, LONGEST_NAP = 2e-4, 0.02


def _communicator(value: Any, kind: Kind) -> Any:
    fits = all(callable(getattr(value, name, None)) for name in ("Get_rank", "Get_size", "Dup"))
    return value if fits and not isinstance(value, type) else kind.refuse(value)


Communicator: TypeAlias = Annotated[Any, Kind("a communicator such as mpi4py.MPI.COMM_WORLD", _communicator)]


class RanksError(RuntimeError):
    """The ranks of a job are not where they should be together: their models differ, or one has ended."""


def world() -> Any:
    """The communicator of all ranks of the job."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # mpi4py without an MPI library raises RuntimeError
        raise MissingExtraError(
            "training by several processes needs mpi4py and an MPI library: install both with "
            '`pip install "tensorgraph-engine[mpi]"`'
        ) from error
    return MPI.COMM_WORLD


class Job:
    """The ranks of a communicator; what each method gives is the same on all of them, to the last bit.

    MPI itself demands that of a sum over ranks (MPI 4.0, section 6.9: all processes receive identical results).

    Parameters
    ----------
    comm : communicator
        A copy of it is used, so that no message of the caller's is met.
    sync : bool
        As for `tensorgraph.nn.ranks.Ranks`.
    timeout : float
        Seconds that a rank waits for the others.
    """

    # The plan:
    # 1. every exchange is begun without waiting, and asked for until it is done;
    # 2. who waits longer looks for goodbyes: a rank that ends leaves a message for every other, with the number of the
    #    exchanges in which it took part. Where that is too small for the one that is waited for, it will never come;
    # 3. after such an error nothing can be exchanged any more. As the process ends it ends the whole job, since MPI
    #    lets no rank end while another one waits.

    def __init__(self, comm: Any, sync: bool, timeout: float) -> None:
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self.sync, self.timeout = sync, timeout
        self.exchanges = 0
        self.broken = ""
        self._left: dict[int, int] = {}
        self._process = os.getpid()
        if self.size > 1:
            self._comm = comm.Dup()
            atexit.register(self._leave)

    def gather(self, numbers: Array, what: str = "the numbers of a layer", timeout: float | None = None) -> Array:
        """What every rank gives, the same shape each, along a new first axis; `timeout` in place of the job's."""
        own = np.asarray(numbers, order="C")
        everyone = np.empty((self.size, *own.shape), own.dtype)
        if self.size == 1:
            everyone[0] = own
        else:
            sent, got = (a.reshape(-1).view(np.uint8) for a in (own, everyone))
            self._exchange(what, lambda: self._comm.Iallgather(sent, got), timeout)
        return everyone

    def sum(self, numbers: Array, what: str = "the numbers of a layer") -> Array:
        """The sum of what the ranks give."""
        total = np.array(numbers, order="C")
        self.sum_in_place(total, what)
        return total

    def sum_in_place(self, numbers: Array, what: str) -> None:
        """The same, into the array."""
        if self.size > 1:
            from mpi4py import MPI

            self._exchange(what, lambda: self._comm.Iallreduce(MPI.IN_PLACE, numbers))

    def broadcast(self, numbers: Array, what: str) -> None:
        """Rank 0's bytes into the array of every other."""
        if self.size > 1:
            self._exchange(what, lambda: self._comm.Ibcast(numbers, 0))

    def texts(self, text: str, what: str) -> list[str]:
        """The texts of all ranks."""
        own = text.encode()
        lengths = self.gather(np.array(len(own), np.int64), what)
        padded = np.zeros(max(int(lengths.max()), 1), np.uint8)
        padded[: len(own)] = np.frombuffer(own, np.uint8)
        return [row[:n].tobytes().decode() for row, n in zip(self.gather(padded, what), lengths, strict=True)]

    def send(self, arrays: dict[str, Array], described: Any, what: str) -> tuple[dict[str, Array], Any]:
        """Rank 0's arrays and what JSON can say of them, to every rank."""
        plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        header = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
        text = self.texts(json.dumps([header, described]) if self.rank == 0 else "", what)[0]
        header, described = json.loads(text)
        sizes = [np.dtype(kind).itemsize * math.prod(shape) for _, kind, shape in header]
        packed = np.zeros(max(sum(sizes), 1), np.uint8)
        if self.rank == 0:
            packed[: sum(sizes)] = np.frombuffer(b"".join(array.tobytes() for array in plain.values()), np.uint8)
        self.broadcast(packed, what)
        ends = np.cumsum([0, *sizes]).tolist()
        return {
            name: np.frombuffer(packed[start:end].tobytes(), kind).reshape(shape)
            for (name, kind, shape), start, end in zip(header, ends[:-1], ends[1:], strict=True)
        }, described

    # waiting ------------------------------------------------------------------------------------------------------

    def _exchange(self, what: str, begin: Callable[[], Any], timeout: float | None = None) -> None:
        """Run one exchange to its end."""
        from mpi4py import MPI

        if self.broken:
            raise RanksError(self.broken)
        self.exchanges += 1
        most = self.timeout if timeout is None else timeout
        try:
            request = begin()
            if request.Test():
                return
            began = time.monotonic()
            while not request.Test():
                waited = time.monotonic() - began
                if waited > EAGER:
                    self._look_for_goodbyes(what)
                    if waited > most:
                        self._stop(
                            f"rank {self.rank} of {self.size} waited {most:g} s for the others in {what}: all "
                            "ranks must make the same steps and call the model equally often in training; where one "
                            "of them rightly takes so long, pass a larger timeout="
                        )
                    time.sleep(min(NAP + waited / 1000, LONGEST_NAP))
                else:
                    time.sleep(0)
        except MPI.Exception as error:
            self._stop(
                f"rank {self.rank} of {self.size} met another exchange than its own in {what} ({error}): the ranks "
                "must run the same model and make the same calls in the same order"
            )

    def _look_for_goodbyes(self, what: str) -> None:
        from mpi4py import MPI

        status, count = MPI.Status(), np.zeros(1, np.int64)
        while self._comm.Iprobe(MPI.ANY_SOURCE, GOODBYE, status):
            self._comm.Recv(count, status.source, GOODBYE)
            self._left[status.source] = int(count[0])
        gone = [rank for rank, exchanges in self._left.items() if exchanges < self.exchanges]
        if gone:
            self._stop(
                f"rank {gone[0]} has ended, and rank {self.rank} of {self.size} waits for it in {what}: see rank "
                f"{gone[0]}'s own error; where there is none, it made fewer steps: all ranks must go through equally "
                "many batches (give each the same ones and take its rows with share())"
            )

    def _stop(self, why: str) -> NoReturn:
        self.broken = why
        raise RanksError(why)

    def _leave(self) -> None:
        """Say goodbye as the process ends; after an error end the others too."""
        from mpi4py import MPI

        if MPI.Is_finalized() or os.getpid() != self._process:
            return
        if self.broken:
            self._comm.Abort(1)
        self._farewell = np.array([self.exchanges], np.int64)  # it must live until it is sent
        for other in range(self.size):
            if other != self.rank:
                self._comm.Isend(self._farewell, other, GOODBYE).Free()


def limit_threads(comm: Any) -> None:
    """Share the processors among the ranks of this machine: no rank's kernels and products take more than its part."""
    if comm.Get_size() == 1:
        return
    from mpi4py import MPI

    beside = comm.Split_type(MPI.COMM_TYPE_SHARED)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    part = max(1, processors // beside.Get_size())
    beside.Free()
    jit.set_num_threads(min(part, jit.num_threads()))
    blas.limit_threads(part)

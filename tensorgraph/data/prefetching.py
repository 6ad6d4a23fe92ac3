"""Batches made ahead by a thread, so that reading the next ones overlaps with the step of this one."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Generator, Iterable
from typing import Annotated, Any, TypeVar

from tensorgraph.arguments import Count, Kind, checked

__all__ = ["prefetch"]

T = TypeVar("T")
END: Any = object()


def _iterable(value: Any, kind: Kind) -> Any:
    letters = isinstance(value, str | bytes | bytearray | memoryview | type)
    return value if hasattr(value, "__iter__") and not letters else kind.refuse(value)


@checked
def prefetch(
    batches: Annotated[Iterable[T], Kind("an iterable of batches", _iterable)], depth: Count = 2
) -> Generator[T, None, None]:
    """The same batches in the same order, made by a thread while the caller works on those before.

    It pays where making a batch waits for a file or runs NumPy, which lets other threads run; Python's own work it
    cannot hide.

    Parameters
    ----------
    batches : iterable
        Gone through in the thread, with the caller's context variables (such as `tensorgraph.default_dtype`).
    depth : int
        Batches that wait at most, beside the one that is made: memory is bounded by ``depth + 2`` batches.

    Yields
    ------
    object
        Each batch. What `batches` raises is raised here, after the batches before it. When the loop ends, by ``break``
        or an error too, the thread ends with it, after the batch that it is at.

    Examples
    --------
    >>> from tensorgraph.data import minibatches, prefetch
    >>> [x.tolist() for x, in prefetch(minibatches([1.0, 2.0, 3.0], batch_size=2, shuffle=False))]
    [[1.0, 2.0], [3.0]]
    """
    return _ahead(batches, depth)


def _ahead(batches: Iterable[T], depth: int) -> Generator[T, None, None]:
    # the thread waits for room, and looks every so often whether anybody still wants a batch
    room: queue.Queue[tuple[T, BaseException | None]] = queue.Queue(depth)
    over = threading.Event()

    def put(item: tuple[T, BaseException | None]) -> bool:
        while not over.is_set():
            try:
                room.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put((batch, None)):
                    return
        except BaseException as error:
            put((END, error))
        else:
            put((END, None))
        finally:
            close = getattr(batches, "close", None)  # a generator that was left in the middle is closed where it ran
            if over.is_set() and close is not None:
                close()

    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(work,), name="tensorgraph-prefetch", daemon=True
    )
    thread.start()
    try:
        while True:
            batch, error = room.get()
            if error is not None:
                raise error
            if batch is END:
                return
            yield batch
    finally:
        over.set()
        thread.join()

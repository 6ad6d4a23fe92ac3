"""What every compiled function runs is compiled while the first one is traced, which another processor does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tensorgraph.compile.attribute_words import compare_words
from tensorgraph.compile.cell_memory import bind_arrays
from tensorgraph.compile.verdicts import gather, judge
from tensorgraph.jit import threads
from tensorgraph.native import builtin, compilers, machine, objects, pool, tape, team
from tensorgraph.native.kernel import kernel

__all__ = ["early"]

_first = threading.Lock()  # taken by the first function, and kept


@contextlib.contextmanager
def early() -> Iterator[None]:
    """Have it compiled while this block runs, the first time; where it is not on disk helpers begin as well, since
    little else will be."""
    if threads.num_threads() == 1 or not _first.acquire(blocking=False):
        yield
        return
    thread = threading.Thread(target=_compile, name="tensorgraph compiles what all compiled functions run")
    thread.start()
    try:
        yield
    finally:
        thread.join()
        compilers.dismiss()


def _compile() -> None:
    with contextlib.suppress(Exception):  # whoever wants it meets that again
        if machine.reason() is None:
            kernels = [kernel(function, "float64") for function in (bind_arrays, compare_words, judge, gather)]
            units = [*map(objects.unit_of, kernels), tape.UNIT, pool.UNIT, builtin.UNIT, *team.UNITS]
            if not objects.are_kept(units):
                compilers.begin()
            objects.addresses(units)

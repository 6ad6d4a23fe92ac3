"""`Later`: a graph that runs on NumPy until its kernels are compiled, which somebody else does meanwhile."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from tensorgraph.compile.on_numpy import OnNumpy
from tensorgraph.engine.cells import Cell
from tensorgraph.graph.graph import Graph

__all__ = ["Later"]

LOGGER = logging.getLogger("tensorgraph.compile")


class Later:
    """Runs a graph on NumPy, and from the first run after a thread has made them by kernels.

    Parameters
    ----------
    graph : Graph
    cells : sequence of Cell
    make : callable
        Gives the runner with kernels.

    Attributes
    ----------
    runner : Runner
        The one that runs now.
    is_made : threading.Event
        Set when the other is there, or will never be.
    """

    gives_copies = False  # which of the two has run is not known afterwards

    def __init__(self, graph: Graph, cells: Sequence[Cell], make: Callable[[], Any]) -> None:
        self.runner: Any = OnNumpy(graph, cells, "its kernels are being compiled, as wait=False asks for")
        self.reason: str = self.runner.reason
        self.is_made = threading.Event()
        self.name, self.next = graph.name, None
        mine = weakref.ref(self)  # whoever drops the function waits for no kernels

        def prepare(made: threading.Event = self.is_made) -> None:
            found: Any = None
            try:
                found = make() if mine() is not None else None
            except Exception as error:
                LOGGER.warning(
                    "%s: its kernels cannot be compiled, and NumPy goes on running it: %s", graph.name, error
                )
            later = mine()
            if later is not None:
                later.next = found
            made.set()

        threading.Thread(target=prepare, name=f"tensorgraph compiles {graph.name}").start()

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """As `Runner.run`; whoever calls holds the lock."""
        if self.next is not None:
            self.runner, self.next = self.next, None
            self.reason = self.runner.reason
            LOGGER.info("%s: runs by kernels from now on", self.name)
        results: list[Any] = self.runner.run(arrays)
        return results

    @property
    def source(self) -> str:
        """What runs now."""
        return str(self.runner.source)

    def explain(self) -> str:
        """What runs where now."""
        return str(self.runner.explain())

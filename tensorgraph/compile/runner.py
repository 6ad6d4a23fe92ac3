"""Who runs a transformed graph, and what is agreed with it: `Runner`, and `runner_of`, which chooses one.

What comes before (signatures, guards, arguments) and after (results as the function nests them) is no runner's concern.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tensorgraph.compile.cell_memory import gradients_are_known
from tensorgraph.compile.checking import CheckedRunner
from tensorgraph.compile.explain import reason
from tensorgraph.compile.gradients import Gradient
from tensorgraph.compile.later import Later
from tensorgraph.compile.laying import Room
from tensorgraph.compile.native_runner import NativeRunner, is_light
from tensorgraph.compile.on_numpy import OnNumpy
from tensorgraph.compile.plan import Plan, plan
from tensorgraph.compile.selection import Draft, draft
from tensorgraph.engine.cells import Cell
from tensorgraph.graph.graph import Graph
from tensorgraph.native import machine

__all__ = ["Options", "Runner", "gradient_runner", "runner_of"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked of `tensorgraph.compile`.

    Attributes
    ----------
    check : bool
        Compare each kernel with NumPy on live data at its first use.
    exact : bool
        Leave no product to BLAS, whose bits depend on the machine and its threads: kernels are taken at every size.
    wait : bool
        Compile before the first run; else NumPy runs until kernels are there.
    """

    check: bool = False
    exact: bool = False
    wait: bool = True


class Runner(Protocol):
    """Runs one graph on live cells.

    Attributes
    ----------
    reason : str
        Why all or a part of it runs on NumPy, for people; empty where nothing does.
    source : str
        What runs, as text.
    gives_copies : bool
        Whether all outputs are arrays of the call's own making, each in memory of its own.
    """

    reason: str
    gives_copies: bool

    @property
    def source(self) -> str: ...

    def run(self, arrays: Sequence[np.ndarray[Any, Any] | float | int]) -> list[Any]:
        """One call.

        Parameters
        ----------
        arrays : sequence
            One an input, in the graph's order: arrays of exactly the declared shape and dtype in native byte order,
            with any strides, and a Python float or integer where the input's type is a `Number`. They are not written.

        Returns
        -------
        list
            The outputs in the graph's order: arrays that nobody writes again, the arrays that were given or read-only
            constants (or views of these), Python numbers where an output is one, what literals hold.

        The cells are read when it begins and written when it returns: all of them, or none where it raises. Whoever
        calls holds a lock of this runner.
        """
        ...

    def explain(self) -> str:
        """What runs where and why, for people."""
        ...


def runner_of(
    graph: Graph, cells: Sequence[Cell], options: Options, drafted: Draft | None = None, earlier: Sequence[Draft] = (),
    room: Room | None = None,
) -> Runner:  # fmt: skip
    """The fastest runner there is for a graph whose cells, in the order of ``graph.cells``, are these.

    The graph is transformed already: its gradients are written out. `earlier` are drafts of it at other sizes, `room`
    is the memory of all that the function runs.
    """
    problem = machine.reason()
    if problem is None and any(eq.is_gradient for eq in graph.equations):
        problem = "its gradients are not written out"
    if problem is not None:
        return OnNumpy(graph, cells, problem)
    if not options.wait:
        return Later(graph, cells, lambda: runner_of(graph, cells, replace(options, wait=True)))
    made = plan(graph, exact=options.exact, drafted=drafted or draft(graph, exact=options.exact, earlier=earlier))
    if all(step.on_host and step.turn is None for step in made.steps):
        return OnNumpy(graph, cells, reason(made) or "it computes nothing")
    return _native(made, cells, options, room)


def _native(made: Plan, cells: Sequence[Cell | Gradient], options: Options, room: Room | None) -> NativeRunner:
    return (CheckedRunner if options.check else NativeRunner)(made, cells, room=room)


def gradient_runner(
    graph: Graph,
    cells: Sequence[Cell | Gradient],
    options: Options,
    earlier: Sequence[Draft] = (),
    room: Room | None = None,
) -> tuple[NativeRunner | None, Draft | None]:
    """The runner of a graph that has places of gradients among its cells; None where it would be no short tape, and
    what was planned of it.

    While a long one runs other threads may read a gradient, and what they hold must not change.
    """
    if (
        not options.wait
        or machine.reason() is not None
        or not gradients_are_known()
        or any(eq.is_gradient for eq in graph.equations)
    ):
        return None, None
    drafted = draft(graph, exact=options.exact, earlier=earlier)
    if not is_light(drafted.steps):
        return None, drafted
    made = plan(graph, exact=options.exact, drafted=drafted)
    runner = _native(made, cells, options, room)
    return (runner, None) if runner.is_short else (None, drafted)

"""Lint: random states that are not kept, and states used twice; numbers that others drew."""

from __future__ import annotations

from collections.abc import Iterator

from tensorgraph.analysis.lint.findings import Finding, Report, rule
from tensorgraph.analysis.lint.view import View
from tensorgraph.engine.op import random
from tensorgraph.graph.graph import Equation, Var

__all__: list[str] = []


def _draws(view: View) -> list[tuple[Equation, Var]]:
    """Every draw with its state."""
    found = []
    for eq in view.equations:
        if eq.op.kind is random:
            state = view.follow(eq.inputs[0])
            if isinstance(state, Var):
                found.append((eq, state))
    return found


@rule("TG019", "random-state-not-kept")
def not_kept(view: View, report: Report) -> Iterator[Finding]:
    """A draw from a cell's state whose next state is not written back: the same numbers come at every step."""
    drawn = _draws(view)
    kept = {state for eq, state in drawn if view.readers(eq.outputs[-1]) or view.is_result(eq.outputs[-1])}
    told: set[Var] = set()
    for eq, state in drawn:
        if state in view.cells and state not in kept and state not in told:
            told.add(state)
            path = view.cells[state].path
            yield report(
                eq,
                f"{eq.op.name} draws from {path}, and the next state is dropped: every step gets the same numbers",
                f"write it back: `u, state = tg.{eq.op.name}(cell, ...)`, then `cell.assign(state)`",
            )


@rule("TG020", "random-state-used-twice")
def used_twice(view: View, report: Report) -> Iterator[Finding]:
    """Two draws from one state give the same numbers."""
    first: dict[Var, Equation] = {}
    for eq, state in _draws(view):
        if state not in first:
            first[state] = eq
            continue
        other = first[state]
        where = "" if other.source is None else f" at {other.source}"
        yield report(
            eq,
            f"{eq.op.name} draws from the state that {other.op.name}{where} has drawn from: their numbers are not "
            "independent",
            "draw the second one from the state that the first one gives",
        )


@rule("TG025", "drawn-while-traced")
def drawn_while_traced(view: View, report: Report) -> Iterator[Finding]:
    """Random numbers that NumPy or Python drew while the function was traced: the graph gives the same ones always."""
    for name in view.graph.provenance.draws:
        source = next((eq.source for eq in view.equations if eq.source is not None), None)
        yield report(
            None,
            f"the function drew from {name} while it was traced: what was drawn is part of the graph, which gives the "
            "same numbers at every call, and a branch that hangs on them is taken for good",
            "draw by tensorgraph.random, whose state is a cell, or pass the numbers as an argument",
            source=view.place or source,
        )

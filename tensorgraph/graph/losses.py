"""Where a derivative would be lost in a graph: at ops without a derivative rule for what it should flow through."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator, Sequence

from tensorgraph.engine.exits import losing, unwatched, warn_lost
from tensorgraph.engine.tape import describe_source, user_source
from tensorgraph.graph.graph import Atom, Equation, Var

__all__ = ["exits", "losses", "refuse_losses", "tell_losses"]


def losses(equations: Sequence[Equation], ends: Iterable[Atom], starts: Iterable[Atom] | None = None) -> list[Equation]:
    """The equations that lose what should flow back from `ends` to `starts`; without `starts`, to anything.

    What only goes into a detached value, a branch by integers or a written cell loses nothing.
    """
    if not any(eq.op.unruled for eq in equations):
        return []
    behind: set[Atom] | None = None
    if starts is not None:
        behind = set(starts)
        for eq in equations:
            if not behind.isdisjoint(_flowing(eq)):
                behind.update(out for out in eq.outputs if out.aval.dtype.kind == "f")
    needed = set(ends)
    found = []
    for eq in reversed(equations):
        if needed.isdisjoint(eq.outputs):
            continue
        lost = set(_floats(eq, eq.op.unruled))
        if lost and (behind is None or not behind.isdisjoint(lost)):
            found.append(eq)
        needed.update(_flowing(eq))
    return found[::-1]


def refuse_losses(equations: Sequence[Equation], ends: Iterable[Atom], starts: Iterable[Atom]) -> None:
    """Raise where an op without a derivative rule is between these."""
    for eq in losses(equations, ends, starts):
        at = eq.source
        raise losing(eq.op, describe_source(user_source() if at is None else (at.file, at.line, at.function)))


def tell_losses(equations: Sequence[Equation], ends: Iterable[Atom], starts: Iterable[Atom]) -> None:
    """The like on the tape that is traced, where it is told."""
    for eq in losses(equations, ends, starts):
        warn_lost(eq.op)


def exits(eq: Equation, losing: Container[Equation]) -> contextlib.AbstractContextManager[None]:
    """Where an equation runs again: one that loses nothing there, or that was told of, is not watched."""
    return unwatched() if eq.op.unruled and eq not in losing else contextlib.nullcontext()


def _flowing(eq: Equation) -> Iterator[Var]:
    """What a derivative of this equation should flow to."""
    op = eq.op
    every = op.joint is not None or eq.is_gradient
    return _floats(eq, [n for n in op.inputs if every or op.rules[n] is not None or n in op.unruled])


def _floats(eq: Equation, names: Sequence[str]) -> Iterator[Var]:
    for name, atom in zip(eq.op.inputs, eq.inputs, strict=True):
        if name in names:
            for a in atom if isinstance(atom, tuple) else (atom,):
                if type(a) is Var and a.aval.dtype.kind == "f":
                    yield a

"""Whether an object was made while a function was traced: then nothing outside of the trace leads to it."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from types import FrameType, ModuleType
from typing import Any

from tensorgraph.compile.structure import is_marked
from tensorgraph.engine.tape import INTERNAL
from tensorgraph.engine.tensor import Tensor

__all__ = ["is_held"]

MOST_LEVELS, MOST_HOLDERS = 30, 10_000  # beyond, an object counts as held
FROZEN = 1000  # objects of the interpreter, which some versions freeze as they begin


def is_held(value: Any, outer: Iterable[Any]) -> bool:
    """Whether a module, a class, a frame, a model or one of `outer` leads to an object.

    What this library keeps of a trace leads to much, and does not count. All objects of the process are looked through
    for each step on the way, so this is asked where a function would be refused otherwise. In a process that has frozen
    its objects (`gc.freeze`) these are not found, and everything counts as held.
    """
    ends = {*map(id, outer)}
    level: tuple[Any, ...] = (value,)  # which the call below takes as it is: another tuple would be found
    seen = {id(value), id(level)}
    for _ in range(MOST_LEVELS):
        if not ends.isdisjoint(map(id, level)):
            return True
        holders = gc.get_referrers(*level)
        seen |= {id(level), id(holders)}
        above = tuple(holder for holder in holders if id(holder) not in seen and not _is_ours(holder))
        if any(isinstance(holder, (ModuleType, type, FrameType)) or is_marked(holder) for holder in above):
            return True
        seen.update(map(id, above))
        seen.add(id(above))
        level = above
        if not level:
            return gc.get_freeze_count() > FROZEN
        if len(seen) > MOST_HOLDERS:
            return True
    return True


def _is_ours(holder: Any) -> bool:
    """Whether something is of this library: a guard, who watches, the graph; a frame of its own."""
    if isinstance(holder, FrameType):
        return holder.f_globals.get("__package__") in INTERNAL
    name = getattr(type(holder), "__module__", "")
    ours = name.partition(".")[0] == "tensorgraph"
    return ours and not is_marked(holder) and not isinstance(holder, Tensor)

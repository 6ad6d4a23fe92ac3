"""Keys whose integers grow with loops, as they read: ``x[t]``, ``x[:, 2 * t + 1]``, ``x[3 * i + j]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgraph.graph.turning import at, put

__all__ = ["Growing", "growing"]

Place = tuple[int, ...]


class Growing:
    """An integer of a key that grows with loops: ``32 * k + 1``."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


def growing(key: Any, moving: Sequence[tuple[Place, str, int]]) -> Any:
    """The key with what its integers are in each turn; `moving`: place in the key, name of the turn, step."""
    steps: dict[Place, list[tuple[str, int]]] = {}
    for place, turn, step in moving:
        steps.setdefault(place, []).append((turn, step))
    for place, own in steps.items():
        key = put(key, place, Growing(affine(int(at(key, place)), own)))
    return key


def affine(start: int, steps: Sequence[tuple[str, int]]) -> str:
    """What is `start` at first and grows by a step with each of these turns.

    Examples
    --------
    >>> affine(1, [("i", 3), ("j", 1)]), affine(0, [("t", 1)]), affine(12, [("t", -1)]), affine(-1, [("t", 2)])
    ('3 * i + j + 1', 't', '12 - t', '2 * t - 1')
    """
    times = [turn if abs(step) == 1 else f"{abs(step)} * {turn}" for turn, step in steps]
    said = " + ".join(one for one, (_, step) in zip(times, steps, strict=True) if step > 0)
    if start or not said:
        said = str(start) if not said else f"{said} {'+' if start > 0 else '-'} {abs(start)}"
    return said + "".join(f" - {one}" for one, (_, step) in zip(times, steps, strict=True) if step < 0)

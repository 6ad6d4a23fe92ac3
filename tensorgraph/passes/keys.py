"""Static indexing keys as arithmetic: what a key of integers, slices and new axes selects, and two keys as one.

A *selection* says of each axis of the result where it comes from, and of each axis of the source that has gone which
position was taken. The axes of a result always stand in the order of the source's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Selection", "compose", "key_of", "select"]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a result: positions ``start, start + step, ...`` of a source's axis, `size` of them.

    A new axis has no source: ``axis`` is None.
    """

    axis: int | None
    start: int = 0
    step: int = 1
    size: int = 1


def _axis(axis: int, start: int, step: int, size: int) -> Axis:
    return Axis(axis, start, step if size > 1 else 1, size)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a key takes of an array of `shape`: the axes of the result, and the positions of axes that have gone."""

    shape: tuple[int, ...]
    axes: tuple[Axis, ...]
    taken: tuple[tuple[int, int], ...]  # (axis of the source, position)

    @property
    def whole(self) -> bool:
        """Whether everything is selected in its place."""
        return not self.taken and all(
            a.axis == i and a.start == 0 and a.step == 1 and a.size == self.shape[i] for i, a in enumerate(self.axes)
        ) and len(self.axes) == len(self.shape)  # fmt: skip

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other in an array that is in C order."""
        strides = [1] * len(self.shape)
        for i in range(len(self.shape) - 2, -1, -1):
            strides[i] = strides[i + 1] * self.shape[i + 1]
        if any(a.size == 0 for a in self.axes):
            return True
        expected = 1
        for a in reversed(self.axes):
            if a.size != 1:
                if a.axis is None or strides[a.axis] * a.step != expected:
                    return False
                expected *= a.size
        return True


def select(key: tuple[Any, ...], shape: tuple[int, ...]) -> Selection | None:
    """What a static key selects; None where it holds index tensors. The key must be one that the shape rule takes.

    Examples
    --------
    >>> select((1, ("slice", None, None, 2)), (3, 5)).axes
    (Axis(axis=1, start=0, step=2, size=3),)
    """
    if any(isinstance(item, tuple) and item[0] == "index" for item in key):
        return None
    rest = len(shape) - sum(1 for item in key if item not in ("newaxis", "..."))
    if "..." not in key:
        key = (*key, "...")
    axes: list[Axis] = []
    taken: list[tuple[int, int]] = []
    i = 0
    for item in key:
        if item == "newaxis":
            axes.append(Axis(None))
        elif item == "...":
            axes += [Axis(k, 0, 1, shape[k]) for k in range(i, i + rest)]
            i += rest
        elif isinstance(item, tuple):
            places = range(shape[i])[slice(*item[1:])]
            axes.append(_axis(i, places.start, places.step, len(places)))
            i += 1
        else:
            taken.append((i, item % shape[i]))
            i += 1
    return Selection(shape, tuple(axes), tuple(taken))


def compose(inner: Selection, outer: Selection) -> Selection:
    """One selection for two, `outer` of what `inner` gives."""
    taken = list(inner.taken)
    for at, position in outer.taken:
        a = inner.axes[at]
        if a.axis is not None:
            taken.append((a.axis, a.start + position * a.step))
    axes = []
    for b in outer.axes:
        if b.axis is None:
            axes.append(b)
            continue
        a = inner.axes[b.axis]
        if a.axis is None:  # a new axis of size 1: all of it, or nothing of it
            axes.append(Axis(None, 0, 1, b.size))
        else:
            axes.append(_axis(a.axis, a.start + b.start * a.step, a.step * b.step, b.size))
    return Selection(inner.shape, tuple(axes), tuple(sorted(taken)))


FULL = ("slice", None, None, None)


def key_of(selection: Selection) -> tuple[Any, ...] | None:
    """The shortest key of a selection; None where no key says it: a new axis of which nothing was taken.

    Examples
    --------
    >>> key_of(select((1, "...", ("slice", 3, 0, -1)), (3, 4, 5)))
    (1, ('slice', None, None, None), ('slice', 3, 0, -1))
    """
    taken = dict(selection.taken)
    key: list[Any] = []
    at = 0
    for a in selection.axes:
        if a.axis is None:
            if a.size != 1:
                return None
            key.append("newaxis")
            continue
        key += [taken[i] for i in range(at, a.axis)]
        at = a.axis + 1
        key.append(_slice(a, selection.shape[a.axis]))
    key += [taken[i] for i in range(at, len(selection.shape))]
    while key and key[-1] == FULL:
        key.pop()
    return tuple(key)


def _slice(a: Axis, n: int) -> tuple[Any, ...]:
    if a.size == 0:
        return "slice", 0, 0, None
    if a.size == 1:
        return ("slice", a.start, a.start + 1, None) if n > 1 else FULL
    last = a.start + (a.size - 1) * a.step
    if a.step < 0:
        return "slice", None if a.start == n - 1 else a.start, None if last == 0 else last - 1, a.step
    stop = None if last + a.step >= n else last + 1
    return "slice", a.start or None, stop, None if a.step == 1 else a.step

"""Indexing keys of random programs: integers, slices with steps, new axes, ellipsis, integer and boolean arrays."""

from __future__ import annotations

import numpy as np

from tensorgraph.testing.programs.choices import Choices
from tensorgraph.testing.programs.writer import Value, Writer

__all__ = ["key_of"]


def key_of(w: Writer, value: Value, choices: Choices) -> str:
    """A key for a value, as it is written between brackets."""
    parts: list[str] = []
    axis = 0
    arrays: tuple[int, ...] | None = None  # the shape of index arrays, which must broadcast
    ellipsis = False
    wanted = choices.below(value.ndim + 1) if choices.rarely(3) else value.ndim
    while axis < wanted:
        n = value.shape[axis]
        way = choices.below(9)
        if way == 1 and n:
            parts.append(str(choices.below(2 * n) - n))
        elif way == 2:
            parts.append("None")
            continue
        elif way == 3 and not ellipsis:
            ellipsis = True
            skipped = choices.below(value.ndim - axis + 1)
            parts.append("...")
            # what comes after it counts from the end
            axis = value.ndim if not skipped else max(axis, value.ndim - skipped)
            wanted = value.ndim
            continue
        elif way == 4 and n and arrays is None:
            shape = choices.one([(2,), (3,), (2, 2), (), (0,)])
            rng = np.random.default_rng(choices.below(256))
            array = rng.integers(-n, n, shape)
            arrays = shape
            parts.append(w.constant(np.asarray(array, np.int64), choices).name)
        elif way == 5 and n and arrays is None:
            mask = np.random.default_rng(choices.below(256)).integers(0, 2, n).astype(bool)
            arrays = (int(mask.sum()),)
            parts.append(w.constant(mask, choices).name)
        elif way == 6 and n and arrays is None:
            index = w.pick(choices, lambda v: v.kind == "i" and v.ndim < 2 and not v.array)
            if index is None:
                parts.append(":")
            else:
                arrays = index.shape
                parts.append(f"{index.name} % {n}")
        elif way in (7, 8):
            start, stop = choices.one(["", "1", "-2", "0"]), choices.one(["", "2", "-1", "9"])
            parts.append(f"{start}:{stop}" + choices.one(["", ":2", ":-1", ":-2"]))
        else:
            parts.append(":")
        axis += 1
    return ", ".join(parts) or "..."

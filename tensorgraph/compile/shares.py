"""Folds in two stages: of shares to states, which are then folded, so that threads or lanes have enough to do."""

# The plan: (1) a share is a part of the first folded axis, of a length that follows from the shape alone; its kernel
# writes states, each number of a state in a row of its own; (2) where rows are shorter than vectors and lie one after
# the other, LANES of them are walked as one, and what is left over is another share; (3) the second kernel folds all
# rows of states to the results.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tensorgraph.compile.elements import CASTS
from tensorgraph.compile.loops import SIZES, Axis, Nest, Pointer
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.reductions import Fold

__all__ = ["in_shares", "side_by_side"]

SHARES = 64
"""Into how many shares a long fold is cut."""
LANES = 16
"""Lanes of the widest vectors: what one takes of an axis that is walked in vectors is a multiple of it."""
MANY = 16 * LANES
"""Rows from which it is worth another kernel to walk several as one."""


def in_shares(call: Call, nest: Nest) -> list[Nest] | None:
    """A fold of much as shares and what folds them; None where there is little to share."""
    at = next((k for k, axis in enumerate(nest.axes) if axis.folded), None)
    if at is None:
        return None
    share, count = _shares(nest.axes[at].size, LANES if at == nest.vectors else 1)
    if count < 2:
        return None
    kept = [axis for axis in nest.axes if not axis.folded]
    width = math.prod([axis.size for axis in kept])
    rows = {name: count * _parts(fold) for name, (_, fold) in nest.folds.items()}
    states = _states(call, nest, rows, width)
    return [_to_states(nest, nest.axes, nest.pointers, states, share, count), *_of_states(nest, kept, states, rows)]


def side_by_side(call: Call, nest: Nest, shared: bool) -> list[Nest] | None:
    """A fold of many short rows, which lie one after the other, as if LANES of them were one; None of another.

    Parameters
    ----------
    call : Call
    nest : Nest
    shared : bool
        Whether there is enough for several threads.
    """
    if len(nest.axes) != 2 or nest.vectors != 0 or nest.axes[0].folded:
        return None
    row, down = nest.axes
    own = [k for k, p in enumerate(nest.pointers) if p.name not in nest.folds]
    if row.size >= LANES or down.size < MANY or any(down.strides[k] != row.size * row.strides[k] for k in own):
        return None
    steps, rest = divmod(down.size, LANES)
    share, count = _shares(steps, 1) if shared else (steps, 1)
    rows = {name: (count * LANES + (rest > 0)) * _parts(fold) for name, (_, fold) in nest.folds.items()}
    states = _states(call, nest, rows, row.size)
    wide = [Axis(LANES * row.size, row.strides), Axis(steps, [LANES * n for n in down.strides], True)]
    made = [_to_states(nest, wide, nest.pointers, states, share, count)]
    if rest:
        behind = [
            p if p.name in nest.folds else Pointer(p.name, p.kind, _behind(p.address, at), p.strides)
            for p, at in zip(nest.pointers, [steps * LANES * n for n in down.strides], strict=True)
        ]
        last = {name: place.over((_parts(nest.folds[name][1]), row.size), place.strides,
                                 (place.shape[0] - _parts(nest.folds[name][1])) * place.strides[0])
                for name, place in states.items()}  # fmt: skip
        made.append(_to_states(nest, [row, Axis(rest, down.strides, True)], behind, last, rest, 1))
    return [*made, *_of_states(nest, [row], states, rows)]


def _behind(address: Address, offset: int) -> Address:
    return Address(address.buffer, address.offset + offset)


def _parts(fold: Fold) -> int:
    return 2 if fold.pair else 1


def _shares(size: int, unit: int) -> tuple[int, int]:
    """How much of an axis is a share, and how many of them there are."""
    share = -(-size // (SHARES * unit)) * unit
    return share, -(-size // share)


def _states(call: Call, nest: Nest, rows: dict[str, int], width: int) -> dict[str, Place]:
    """Memory for states: rows of numbers, of each result."""
    return {
        name: call.scratch((rows[name], width), np.dtype(fold.kind), "states of a fold")
        for name, (_, fold) in nest.folds.items()
    }


def _to_states(
    nest: Nest, axes: Sequence[Axis], pointers: Sequence[Pointer], states: dict[str, Place], share: int, count: int
) -> Nest:
    """The nest of the shares, over these axes."""
    at = next(k for k, axis in enumerate(axes) if axis.folded)
    results = math.prod([axis.size for axis in axes if not axis.folded])
    walked = [(p, [share * axes[at].strides[k], *[a.strides[k] for a in axes]])
              for k, p in enumerate(pointers) if p.name not in nest.folds]  # fmt: skip
    for name, (_, fold) in nest.folds.items():
        size, inner = SIZES[fold.kind], []
        step = size * results
        for axis in axes:
            step = step if axis.folded or not axis.size else step // axis.size
            inner.append(0 if axis.folded else step)
        for part, mark in enumerate(("", "b")[: _parts(fold)]):
            state = Pointer(f"{name}{mark}", fold.kind, states[name].address(part * results * size), ())
            walked.append((state, [_parts(fold) * results * size, *inner]))
    made = [Axis(count, [strides[0] for _, strides in walked])]
    made += [Axis(axis.size, [strides[k + 1] for _, strides in walked], axis.folded) for k, axis in enumerate(axes)]
    names = [p for p, _ in walked]
    return Nest(names, made, nest.vectors + 1, nest.lines, nest.stored, nest.folds, nest.scope, nest.count, 0, share)


def _of_states(nest: Nest, kept: Sequence[Axis], states: dict[str, Place], rows: dict[str, int]) -> list[Nest]:
    """The nests that fold rows of states, one for each result."""
    made = []
    for name, (_, fold) in nest.folds.items():
        k, own = next((k, p) for k, p in enumerate(nest.pointers) if p.name == name)
        step, loops = states[name].strides[0], []
        row = step
        for axis in kept:
            step = step // axis.size if axis.size else step
            loops.append(Axis(axis.size, [step, axis.strides[k]]))
        loops.append(Axis(rows[name], [row, 0], True))
        source = Pointer("x0", fold.kind, states[name].address(), ())
        merged = {name: ("x0", fold.merged or fold)}
        vectors = len(loops) - (2 if kept else 1)
        made.append(Nest([source, own], loops, vectors, [], [], merged, CASTS, nest.count, 0 if kept else -1))
    return made

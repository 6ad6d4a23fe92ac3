"""Rules of ops that put arrays into places of another: joined, with a border, in zeros, in a copy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.aval import canonical_axis
from tensorgraph.engine.keys import join_key
from tensorgraph.native.kernel import kernel
from tensorgraph.native.lowering import static
from tensorgraph.native.places import Call, Place, bits_of
from tensorgraph.native.words import (
    ldg,
    ldm,
    load_byte,
    real_at,
    stg,
    stm,
    store_byte,
    vset,
    word_at,
)  # fmt: skip
from tensorgraph.ops.native.moving import collapsed, copy
from tensorgraph.ops.shape import border

__all__ = ["fill", "native_concatenate", "native_pad", "native_put", "native_stack", "native_zeros_with", "place_in"]

LANES = SIZE = 0  # constants of every kernel
NUMBER, NEXT, APART = 0, 1, 2
SOURCE, TARGET = NEXT, NEXT  # of `walk`

AXES = 4  # loops of a kernel
LARGE = 1 << 18  # bytes from which a copy is shared by threads


def walk(w: Any, block: Any, blocks: Any) -> None:
    """The numbers of an array, or one number, to places of the same shape."""
    n0, n1, n2, n, source, s0, s1, s2, s, target, t0, t1, t2, t = [word_at(w, k) for k in static(14)]
    number = real_at(w, 4)
    for i in range(n0 * block // blocks, n0 * (block + 1) // blocks):
        for k in range(n1):
            for m in range(n2):
                p = source + i * s0 + k * s1 + m * s2
                q = target + i * t0 + k * t1 + m * t2
                for j in range(0, n, LANES):
                    lanes = min(n - j, LANES)
                    if SOURCE == NUMBER:
                        v = vset(number)
                    elif SOURCE == NEXT:
                        v = ldm(p + j * SIZE, lanes, 0.0)
                    else:
                        v = ldg(p + j * s, s, lanes, 0.0)
                    if TARGET == NEXT:
                        stm(q + j * SIZE, v, lanes)
                    else:
                        stg(q + j * t, t, v, lanes)


def walk_bytes(w: Any, block: Any, blocks: Any) -> None:
    """The like for truth values."""
    n0, n1, n2, n, source, s0, s1, s2, s, target, t0, t1, t2, t = [word_at(w, k) for k in static(14)]
    for i in range(n0 * block // blocks, n0 * (block + 1) // blocks):
        for k in range(n1):
            for m in range(n2):
                p = source + i * s0 + k * s1 + m * s2
                q = target + i * t0 + k * t1 + m * t2
                for j in range(n):
                    if SOURCE == NUMBER:
                        store_byte(q + j * t, source)
                    else:
                        store_byte(q + j * t, load_byte(p + j * s))


def _run(call: Call, source: Place | int, target: Place, strides: tuple[int, ...]) -> None:
    size = target.dtype.itemsize
    axes = collapsed(target.shape, strides, target.strides) or [(1, 0, size)]
    axes = [(1, 0, 0)] * (AXES - len(axes)) + axes
    _, s, t = axes[-1]
    how = {"SOURCE": NUMBER if isinstance(source, int) else NEXT if s == size else APART}
    if size == 1:
        text = kernel(walk_bytes, "float32", SOURCE=how["SOURCE"])
    else:
        text = kernel(walk, f"f{size}", **how, TARGET=NEXT if t == size else APART)
    inner = axes[-AXES:]
    blocks = 4 if target.nbytes >= LARGE and inner[0][0] >= 4 else 1
    for place in itertools.product(*(range(n) for n, _, _ in axes[:-AXES])):
        offsets = [sum(i * axis[side] for i, axis in zip(place, axes, strict=False)) for side in (1, 2)]
        begin = source if isinstance(source, int) else source.address(offsets[0])
        words = [*(axis[0] for axis in inner), begin, *(axis[1] for axis in inner)]
        words += [target.address(offsets[1]), *(axis[2] for axis in inner)]
        call.run(text, words, blocks)


def place_in(call: Call, source: Place, target: Place) -> None:
    """Copy an array, repeated where it is smaller, to places of the same type and any strides."""
    source = source.broadcast(target.shape)
    if not target.size:
        return
    size = target.dtype.itemsize
    if size > 1 and source.ndim and target.strides[-1] == size and 0 not in source.strides:
        copy(call, source, target)
    else:
        _run(call, source, target, source.strides)


def fill(call: Call, target: Place, value: Any) -> None:
    """Put a number into all places."""
    if target.size:
        word = bits_of(value, target.dtype) if target.dtype.kind == "f" else int(value)
        _run(call, word, target, (0,) * target.ndim)


def are_movable(places: Any, out: Place | None) -> bool:
    """Whether all are of the output's type, which is moved by 1, 4 or 8 bytes."""
    if out is None or not (out.dtype.kind == "b" or (out.dtype.kind in "fi" and out.dtype.itemsize in (4, 8))):
        return False
    return all(isinstance(place, Place) and place.dtype == out.dtype for place in places)


def _part(place: Place, key: tuple[Any, ...]) -> Place | None:
    """What a key of NumPy's looks at; None where it would copy."""
    stand = np.lib.stride_tricks.as_strided(np.empty((), place.dtype), place.shape, place.strides, writeable=False)
    view = stand[key if ... in key else (*key, ...)]
    if view.size and not np.may_share_memory(view, stand):
        return None
    offset = view.__array_interface__["data"][0] - stand.__array_interface__["data"][0] if view.size else 0
    return place.over(view.shape, view.strides, offset)


# rules ---------------------------------------------------------------------------------------------------------------


def native_concatenate(call: Call) -> bool:
    """Each array into its part of the axis."""
    (arrays,), (out,) = call.inputs, call.outputs
    if out is None or not are_movable(arrays, out):
        return False
    axis, start = canonical_axis(call.attrs["axis"], out.ndim), 0
    for array in arrays:
        place_in(call, array, out.over(array.shape, out.strides, start * out.strides[axis]))
        start += array.shape[axis]
    return True


def native_stack(call: Call) -> bool:
    """Each array into its place on the axis."""
    (arrays,), (out,) = call.inputs, call.outputs
    if out is None or not are_movable(arrays, out):
        return False
    axis = canonical_axis(call.attrs["axis"], out.ndim)
    strides = (*out.strides[:axis], *out.strides[axis + 1 :])
    for k, array in enumerate(arrays):
        place_in(call, array, out.over(array.shape, strides, k * out.strides[axis]))
    return True


def native_pad(call: Call) -> bool:
    """A border of one number, or of what is inside: axis by axis, of the part of the result that is there by then."""
    (x,), (out,), mode = call.inputs, call.outputs, call.attrs["mode"]
    if out is None or not are_movable([x], out):
        return False
    widths = border(call.attrs["widths"], x.ndim)
    if mode == "constant" and out.size != x.size:
        fill(call, out, call.attrs["value"])
    shape = list(x.shape)
    offset = sum(before * stride for (before, _), stride in zip(widths, out.strides, strict=True))
    place_in(call, x, out.over(shape, out.strides, offset))
    if mode == "constant" or not out.size:
        return True
    for axis, (n, pair) in enumerate(zip(x.shape, widths, strict=True)):
        stride = out.strides[axis]
        for at, source, step, count in _runs(n, pair, mode):
            part = [*shape[:axis], count, *shape[axis + 1 :]]
            walked = [*out.strides[:axis], step * stride, *out.strides[axis + 1 :]]
            place_in(
                call,
                out.over(part, walked, offset + source * stride),
                out.over(part, out.strides, offset + at * stride),
            )
        offset -= pair[0] * stride
        shape[axis] = out.shape[axis]
    return True


def _runs(n: int, pair: tuple[int, int], mode: Any) -> Iterator[tuple[int, int, int, int]]:
    """The border of an axis of n elements in runs that are evenly taken: where one begins, and what is taken there,
    both counted from the first element inside; from one to the next taken, backwards, onwards or the same; how many."""
    before, after = pair
    taken = np.pad(np.arange(n), pair, mode).tolist()
    for at, end in ((0, before), (before + n, before + n + after)):
        while at < end:
            step = taken[at + 1] - taken[at] if at + 1 < end else 1
            step = step if abs(step) <= 1 else 1
            count = 1
            while at + count < end and taken[at + count] == taken[at] + count * step:
                count += 1
            yield at - before, taken[at], step, count
            at += count


def _written(call: Call, base: Callable[[Place], None], v: Any, indices: Any) -> bool:
    (out,) = call.outputs
    if indices or out is None or not are_movable([v], out):
        return False
    target = _part(out, join_key(call.attrs["key"], []))
    if target is None or v.ndim > target.ndim:
        return False
    if target.size != out.size:
        base(out)
    place_in(call, v, target)
    return True


def native_zeros_with(call: Call) -> bool:
    """Zeros, and what is put there by a key without index tensors."""
    v, indices = call.inputs
    return _written(call, lambda out: fill(call, out, 0), v, indices)


def native_put(call: Call) -> bool:
    """A copy, and what is put there by a key without index tensors."""
    x, v, indices = call.inputs
    (out,) = call.outputs
    return are_movable([x], out) and _written(call, lambda out: place_in(call, x, out), v, indices)

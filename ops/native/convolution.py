"""Rules of convolutions over one, two and three axes, and of their gradients."""

# The plan: (1) one axis is three, of which the first two have one element, and two axes are three like that; (2)
# images are prepared once: with their border, and with pixels of each remainder of the stride together, but for the
# first axis, whose planes are walked as they lie; where that changes nothing they are used where they are; (3) the
# numbers of a transposed convolution that are as far from a multiple of the stride are a convolution of steps of one,
# with some of each window's weights; (4) what is no term of a sum, as it lies outside of an image or between two lines
# of windows, is 0 beside numbers that are finite, and left out beside others; (5) images are shared by threads, each of
# which prepares its own, so that none waits for what another has in its cache; of few images lines or planes are, and
# of a gradient of the weight that leaves lanes empty parts of it: then all images are prepared before.

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.convolution_lanes import VECS, gather, weigh_lanes
from tensorgraph.ops.native.convolution_tiles import PLACING, convolve, finite, place, table, turn, weigh, zero
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.joining import fill
from tensorgraph.ops.native.moving import collapsed, copy_of
from tensorgraph.ops.native.packing import DEPTH
from tensorgraph.ops.native.product import large_tiles
from tensorgraph.ops.windows import convolution_windows, transposed_windows, weight_windows

__all__ = ["convolution", "convolution_weight", "transposed_convolution"]

WORK = 3_000_000  # operations from which a convolution is shared by threads
FEW = 4  # images, and groups of each, of which every block of what is shared has at least one
LARGE = 1 << 15  # numbers from which what is done once for all is shared too
MOST_PHASES, MOST_LINES = 64, 1 << 20  # remainders of the strides, numbers along an axis, of a plan that is soon made
Three = tuple[int, int, int]


@dataclass(frozen=True)
class Images:
    """Images with their border, where blocks put it around one image after the other, or around all at once.

    Attributes
    ----------
    place : Place
        The images: with their border, or, where blocks put it around them, as they were given.
    strides : tuple of int
        Bytes of prepared images, of which a block may have one: (images, channels, planes, remainders, lines, pixels).
    pitch : int
        Pixels of a line.
    placing : list of int, optional
        What `place_image` reads, where blocks put the border around an image.
    """

    place: Place
    strides: tuple[int, ...]
    pitch: int
    placing: list[int] | None = None

    def of_groups(self, groups: int) -> list[int]:
        """Bytes from image to image and from group to group, where the images are."""
        return [self.place.strides[0], self.place.strides[1] * (self.place.shape[1] // groups)]

    def own(self, call: Call, blocks: int) -> list[int | Address]:
        """A place for an image with its border for each block, and how many bytes that is."""
        if self.placing is None:
            return [0, 0]
        size = self.place.dtype.itemsize
        each = -(-self.placing[0] * self.strides[1] // 64) * 64
        memory = call.scratch((blocks, each // size), self.place.dtype, "images with their border")
        return [memory.address(), each]


def _solid(x: Place) -> Place:
    """Images of three axes."""
    more = 5 - x.ndim
    return x.over((*x.shape[:2], *[1] * more, *x.shape[2:]), (*x.strides[:2], *[0] * more, *x.strides[2:]))


def _three(values: Sequence[Any], other: Any) -> tuple[Any, Any, Any]:
    """Numbers of three axes: of fewer, and `other` before them."""
    first, second, third = (*[other] * (3 - len(values)), *values)
    return first, second, third


def _fits(*arrays: Any) -> bool:
    given = [a for a in arrays if a is not None]
    if not all(isinstance(a, Place) and a.dtype == given[0].dtype and a.size for a in given):
        return False
    return given[0].dtype in SINGLE_OR_DOUBLE and given[0].ndim in (3, 4, 5)


def _has_own(units: int, products: int) -> bool:
    """Whether a block has images, or groups of them, of its own."""
    return units >= FEW or 2 * products <= WORK


def _blocks(flops: int, units: int) -> int:
    return min(units, 4 if flops < 100_000_000 else 16) if flops > WORK else 1


def _is_usual(phases: int, lines: Sequence[int]) -> bool:
    """Whether settings are such that a plan of a record a phase, and of a line at a time, is soon made; what is not is
    left to the forward, which says what is too large."""
    return phases <= MOST_PHASES and max(lines) <= MOST_LINES


def _lines(win: Any) -> Three:
    """Of prepared images the planes, and lines and pixels of a line for each remainder of the stride."""
    if not any(lo or hi for lo, hi in win.edges) and all(s == 1 for s in win.stride[-2:]):
        return _three(win.sizes, 1)
    of = zip(_three(win.outputs, 1), _three(win.kernel, 1), _three(win.dilation, 1), _three(win.stride, 1), strict=True)
    (planes, deep, apart, step), *flat = of
    down, right = (o + (k - 1) * d // s for o, k, d, s in flat)
    return (planes - 1) * step + (deep - 1) * apart + 1, down, right


def _moves(
    x: Place, before: Three, lines: Three, stride: Three, strides: Sequence[int], seen: set[int]
) -> Iterator[tuple[int, int, list[int]]]:  # fmt: skip
    """Of each remainder of the strides that windows see: where its numbers begin in an image, and in a prepared one
    whose planes, remainders, lines and pixels lie so; how many planes, lines and pixels there are."""
    for phase in sorted(seen):
        spans = []
        owns, steps = (0, *divmod(phase, stride[2])), (1, *stride[1:])
        for n, head, many, step, own in zip(x.shape[2:], before, lines, steps, owns, strict=True):
            # number i of the target is number i step + own - head of the source
            inside = [i for i in range(many) if 0 <= i * step + own - head < n]
            spans.append((inside[0], inside[0] * step + own - head, len(inside)) if inside else (0, 0, 0))
        if not all(count for _, _, count in spans):
            continue
        at = sum(first * stride for (_, first, _), stride in zip(spans, x.strides[2:], strict=True))
        of = (strides[0], *strides[2:])
        to = phase * strides[1] + sum(first * step for (first, _, _), step in zip(spans, of, strict=True))
        yield at, to, [count for _, _, count in spans]


def _images(
    call: Call, x: Place, before: Three, lines: Three, stride: Three, seen: set[int], groups: int, own: bool
) -> Images:  # fmt: skip
    """Images with `before` zeros put in (or cut off, where negative) at the head of the axes, of `lines` numbers along
    them, of the last two for each remainder of the stride that windows see. Blocks do it themselves where they may."""
    _, channels, *sizes = x.shape
    size = x.dtype.itemsize
    plain = before == (0, 0, 0) and stride[1:] == (1, 1) and tuple(sizes) == lines
    flat = collapsed(sizes, x.strides[2:])
    if plain and (not flat or (len(flat) == 1 and flat[0][1] == size)):
        plane = lines[1] * lines[2] * size
        return Images(x, (*x.strides[:2], plane, 0, lines[2] * size, size), lines[2])
    line, part = lines[2] * size, lines[1] * lines[2] * size
    strides = (part * stride[1] * stride[2], part, line, size)
    if not own:
        place = _prepared(call, x, before, lines, stride, seen)
        return Images(place, place.strides, lines[2])
    moves = [*_moves(x, before, lines, stride, strides, seen)]
    planes = moves[0][2][0] if moves else 0
    channel = lines[0] * strides[0]
    placing = [
        channels // groups, x.strides[1], channel, planes, x.strides[2], strides[0],
        x.strides[3] * stride[1], line, x.strides[4] * stride[2], len(moves),
    ]  # fmt: skip
    for at, to, (_, rows, count) in moves:
        placing += [at, to, rows, count]
    return Images(x, (0, channel, *strides), lines[2], placing)


def _prepared(
    call: Call, x: Place, before: Three, lines: Three, stride: Three = (1, 1, 1), seen: set[int] | None = None
) -> Place:  # fmt: skip
    """All images with their border, in memory for all: (images, channels, planes, remainders, lines, pixels)."""
    shape = (*x.shape[:2], lines[0], stride[1] * stride[2], *lines[1:])
    target = call.scratch(shape, x.dtype, "images with their border")
    call.run(kernel(zero, x.dtype), [target.address(), target.size])
    apart = [x.strides[2], x.strides[3] * stride[1], x.strides[4] * stride[2]]
    seen = {*range(stride[1] * stride[2])} if seen is None else seen
    for at, to, counts in _moves(x, before, lines, stride, target.strides[2:], seen):
        # images and channels are one axis where they can be, and planes are the other
        around = collapsed([*x.shape[:2], counts[0]], [*x.strides[:2], apart[0]], target.strides[:3])
        for offsets in itertools.product(*(range(axis[0]) for axis in around[:-2])):
            shifts = [sum(i * axis[side] for i, axis in zip(offsets, around, strict=False)) for side in (1, 2)]
            (n, n_from, n_to), (m, m_from, m_to) = ([(1, 0, 0), (1, 0, 0), *around])[-2:]
            words: list[int | Address] = [
                x.address(at + shifts[0]), n_from, m_from, *apart[1:],
                target.address(to + shifts[1]), n_to, m_to, *target.strides[4:], n, m, *counts[1:],
            ]  # fmt: skip
            call.run(kernel(place, x.dtype), words, 4 if target.nbytes > 1 << 18 else 1)
    return target


def _table(
    call: Call, images: Images, channels: int, window: Three, dilation: Three, stride: Three, count: int = 0
) -> Place:  # fmt: skip
    """Where a window's numbers lie, and up to `count` others that are there to be read."""
    size = channels * math.prod(window)
    offsets = call.scratch((max(size, count),), "int64", "where a window's numbers lie")
    if count > size:
        call.run(kernel(zero, np.float64), [offsets.address(8 * size), count - size])
    _, channel, plane, phase, line, _ = images.strides
    words: list[int | Address] = [offsets.address(), channels, channel, *window, dilation[0] * plane, *dilation[1:]]
    call.run(kernel(table, images.place.dtype), [*words, *stride[1:], phase, line])
    return offsets


def _rows_of(channels: int, most: int) -> int:
    """How many channels are summed at once: as many as there are, or those that leave the fewest to be done again."""
    return min(range(1, min(channels, most) + 1), key=lambda r: (-(-channels // r) * r - channels, -r))


def _odd(call: Call, images: Place, numbers: int) -> Place:
    """An int64 that is 1 where a number of (images, planes, ...) is not finite, of which so many lie together."""
    says = call.scratch((), np.int64, "whether numbers are not finite")
    call.run(kernel(zero, np.float64), [says.address(), 1])
    words: list[int | Address] = [images.address(), numbers]
    words += [w for k in (1, 0) for w in (images.strides[k], images.shape[k])]
    call.run(kernel(finite, images.dtype), [*words, says.address()], 4 if images.size > LARGE else 1)
    return says


def _ones(call: Call, like: Place, before: Three, lines: Three) -> Place:
    """An image of ones, with zeros around it where prepared images have them."""
    one = call.scratch((), like.dtype, "1")
    fill(call, one, 1.0)
    return _prepared(call, one.over((1, 1, *like.shape[2:]), (0, 0, 0, 0, 0)), before, lines)


@dataclass(frozen=True)
class Border:
    """What is known of the border of prepared images, whose numbers are no terms.

    Attributes
    ----------
    plane : Place
        1 inside, 0 at the border.
    says : Place
        Not 0 where the border matters.
    """

    plane: Place
    says: Place


def _sums(
    call: Call, images: Images, offsets: Place, weight: Address, bias: Place | None, y: Place, groups: int,
    step: int = 1, first: int = 0, taps: int = 0, border: Border | None = None,
) -> None:  # fmt: skip
    """The sums of all windows into y; the first one begins at `first`, in bytes, the next ones so many planes on."""
    count, channels = images.place.shape[0], y.shape[1] // groups
    k = offsets.size
    rows = _rows_of(channels, 8 if large_tiles() else 6)
    if rows < 4 and channels > 4:
        rows = 4
    vecs = max(2, (16 if large_tiles() else 8) // rows)
    planes, lines, columns = y.shape[2:]
    span = (lines - 1) * images.pitch + columns
    blocks = _blocks(2 * y.size * (k + 8), count * groups * planes)  # 8 for writing them
    spare = call.scratch((blocks, rows, -(-span // 64) * 64), y.dtype, "sums of windows")
    words: list[int | Address] = [
        images.place.address(0 if images.placing else first), *images.of_groups(groups), images.strides[2] * step,
        offsets.address(), k, weight, y.address(), *y.strides,
        0 if bias is None else bias.address(), count, groups, planes, channels, span, images.pitch, lines, columns,
        spare.address(), spare.strides[0],
    ]  # fmt: skip
    placed = images.placing is not None
    if border is not None:
        words += [border.plane.address(first), taps, border.says.address()]
    if images.placing is not None:
        words += [0] * (PLACING - 3 - len(words))
        words += [*images.own(call, blocks), first, *images.placing]
    constants = {"BIAS": bias is not None, "BORDERED": border is not None, "PLACED": placed}
    call.run(kernel(convolve, y.dtype, ROWS=rows, VECS=vecs, **constants), words, blocks)


def convolution(call: Call) -> bool:
    """`convolution`, over one axis, two or three."""
    x, weight, bias = (*call.inputs, None)[:3]
    (y,) = call.outputs
    if y is None or not _fits(x, weight, bias) or not y.size:
        return y is None
    win = convolution_windows(x, weight, **call.attrs)
    window, stride, dilation = _three(win.kernel, 1), _three(win.stride, 1), _three(win.dilation, 1)
    lines, groups = _lines(win), call.attrs["groups"]
    if not _is_usual(stride[1] * stride[2], lines):
        return False
    before, seen = _three([lo for lo, _ in win.edges], 0), _seen(window, dilation, stride)
    own = _has_own(x.shape[0] * groups, y.size * weight.size // weight.shape[0])
    images = _images(call, _solid(x), before, lines, stride, seen, groups, own)
    offsets = _table(call, images, weight.shape[1], window, dilation, stride)
    added = None if bias is None else _in_order(call, bias)
    _sums(call, images, offsets, _in_order(call, weight).address(), added, _solid(y), groups, stride[0])
    return True


def _seen(window: Three, dilation: Three, stride: Three) -> set[int]:
    """Which remainders of the stride windows see, of lines and pixels."""
    down, right = ({k * d % s for k in range(n)} for n, d, s in zip(window[1:], dilation[1:], stride[1:], strict=True))
    return {a * stride[2] + b for a in down for b in right}


def _in_order(call: Call, a: Place) -> Place:
    return a if a.is_contiguous else copy_of(call, a)


@dataclass(frozen=True)
class Phase:
    """The numbers of a transposed convolution along an axis that lie as far behind a multiple of the stride.

    Attributes
    ----------
    begin, count : int
        The first one, and how many there are.
    first, step, taps : int
        The first weight of a window that they see, steps to the next one, how many they see.
    start : int
        Which number of the image the first one meets by its first weight; it may lie before the first of all.
    back : int
        How many numbers of the image a weight lies before the one before it.
    """

    begin: int
    count: int
    first: int
    step: int
    taps: int
    start: int
    back: int

    @property
    def lowest(self) -> int:
        """The first number of the image that is met."""
        return self.start - (self.taps - 1) * self.back

    @property
    def end(self) -> int:
        """The number behind the last that is met."""
        return self.start + self.count


def _phases(size: int, window: int, stride: int, dilation: int, head: int) -> list[Phase]:
    """Those of an axis of so many numbers, of which `head` before the first are left out."""
    phases = []
    for begin in range(min(stride, size)):
        own = (begin + head) % stride
        taps = [k for k in range(window) if k * dilation % stride == own]
        step = taps[1] - taps[0] if len(taps) > 1 else 1
        first = taps[0] if taps else 0
        start = (begin + head - first * dilation) // stride
        count = -(-(size - begin) // stride)
        phases.append(Phase(begin, count, first, step, len(taps), start, step * dilation // stride))
    return phases


def transposed_convolution(call: Call) -> bool:
    """`transposed_convolution`, over one axis, two or three."""
    y, weight, bias = (*call.inputs, None)[:3]
    (x,) = call.outputs
    if x is None or not _fits(y, weight, bias) or not x.size:
        return x is None
    win = transposed_windows(y, weight, **call.attrs)
    groups, size = call.attrs["groups"], weight.shape[1]
    window, dilation, stride = _three(win.kernel, 1), _three(win.dilation, 1), _three(win.stride, 1)
    x, y, heads = _solid(x), _solid(y), _three([lo for lo, _ in win.edges], 0)
    if not _is_usual(math.prod(stride), x.shape[2:]):
        return False
    axes = [_phases(*of) for of in zip(x.shape[2:], window, stride, dilation, heads, strict=True)]
    seen = [[phase for phase in axis if phase.taps] for axis in axes]
    before = _three([max([0, *(-phase.lowest for phase in axis)]) for axis in seen], 0)
    of = zip(y.shape[2:], before, seen, strict=True)
    lines = _three([lead + max([n, *(phase.end for phase in axis)]) for n, lead, axis in of], 1)
    if not _is_usual(1, lines):
        return False
    own = _has_own(y.shape[0] * groups, y.size * weight.size // weight.shape[0])
    images = _images(call, y, before, lines, (1, 1, 1), {0}, groups, own)
    outer, weight = weight.shape[0] // groups, _in_order(call, weight)
    added, border = None if bias is None else _in_order(call, bias), None
    if lines != y.shape[2:]:
        plane = _ones(call, y, before, lines)
        flat = weight.over((1, 1, weight.size), (0, 0, weight.dtype.itemsize))
        border = Border(plane, _odd(call, flat, weight.size))
    steps = [step * times for step, times in zip(x.strides[2:], stride, strict=True)]
    along = (images.strides[2], *images.strides[4:])
    for phases in itertools.product(*axes):
        taps = _three([phase.taps for phase in phases], 1)
        shape = (*x.shape[:2], *(phase.count for phase in phases))
        begin = sum(phase.begin * step for phase, step in zip(phases, x.strides[2:], strict=True))
        part = x.over(shape, (*x.strides[:2], *steps), begin)
        turned = call.scratch((groups * size, outer, *taps), weight.dtype, "weights, turned round")
        words: list[int | Address] = [weight.address(), turned.address(), groups, outer, size, *window]
        words += [word for phase in phases for word in (phase.first, phase.step, phase.taps)]
        call.run(kernel(turn, weight.dtype), words, 4 if turned.size > LARGE else 1)
        offsets = _table(call, images, outer, taps, _three([-phase.back for phase in phases], 1), (1, 1, 1))
        first = sum((lead + phase.start) * step for lead, phase, step in zip(before, phases, along, strict=True))
        first = first if offsets.size else 0
        _sums(call, images, offsets, turned.address(), added, part, groups, 1, first, math.prod(taps), border)
    return True


def convolution_weight(call: Call) -> bool:
    """`convolution_weight`, over one axis, two or three."""
    x, y = call.inputs
    (weight,) = call.outputs
    if weight is None or not _fits(x, y) or not weight.size:
        return weight is None
    win = weight_windows(x, y, **call.attrs)
    outputs, window, stride = _three(win.outputs, 1), _three(win.kernel, 1), _three(win.stride, 1)
    lines, groups = _lines(win), call.attrs["groups"]
    if not _is_usual(stride[1] * stride[2], (*lines, *outputs)):
        return False
    x, y, dilation = _solid(x), _solid(y), _three(win.dilation, 1)
    lanes = y.shape[1] // groups * y.dtype.itemsize  # bytes, which are a half of whole vectors at least
    own = _has_own(x.shape[0], y.size * weight.size // weight.shape[0]) and lanes >= -(-lanes // 64) * 32
    before, seen = _three([lo for lo, _ in win.edges], 0), _seen(window, dilation, stride)
    images = _images(call, x, before, lines, stride, seen, groups, own)
    (_of_channels if own else _of_pixels)(call, images, y, weight, groups, window, dilation, stride)
    return True


def _of_pixels(
    call: Call, images: Images, y: Place, weight: Place, groups: int, window: Three, dilation: Three, stride: Three
) -> None:  # fmt: skip
    """The gradient of the weights, of which windows are lanes: blocks have parts of it."""
    outputs, channels, inputs = _three(y.shape[2:], 1), y.shape[1] // groups, weight.shape[1]
    slopes = _images(call, y, (0, 0, 0), (*outputs[:2], images.pitch), (1, 1, 1), {0}, groups, False)
    offsets = _table(call, images, inputs, window, dilation, stride)
    rows, taps = _rows_of(channels, 4 if large_tiles() else 2), _rows_of(window[2], 5)
    if rows == 1 and channels > 1:
        rows = 2
    span = (outputs[1] - 1) * images.pitch + outputs[2]
    lanes = 64 // weight.dtype.itemsize
    down = window[0] * window[1]
    units = groups * -(-channels // rows) * inputs * down * -(-window[2] // taps)
    words: list[int | Address] = [
        images.place.address(), images.strides[0], images.strides[1] * inputs, images.strides[2] * stride[0],
        offsets.address(), slopes.place.address(), *slopes.strides[:3], weight.address(), y.shape[0], outputs[0],
        groups, channels, inputs, down, window[2], span, max(1, DEPTH // -(-span // lanes)),
    ]  # fmt: skip
    hanging = images.pitch != outputs[2] and outputs[1] > 1
    if hanging:
        plane = _ones(call, y, (0, 0, 0), (*outputs[:2], images.pitch))
        together = math.prod(images.place.shape[2:])
        words += [plane.address(), _odd(call, images.place, together).address()]
    text = kernel(weigh, weight.dtype, ROWS=rows, TAPS=taps, HANGING=hanging)
    call.run(text, words, _blocks(2 * y.size * offsets.size, units))


def _of_channels(
    call: Call, images: Images, y: Place, weight: Place, groups: int, window: Three, dilation: Three, stride: Three
) -> None:  # fmt: skip
    """The gradient of the weights, of which channels are lanes: blocks have images."""
    inputs, outputs, dtype = weight.shape[1], y.shape[1] // groups, y.dtype
    wide = -(-outputs * dtype.itemsize // 64) * 64
    k, vecs = inputs * math.prod(window), 1 if wide == 64 else VECS
    # the fewest instructions: products, as many as one waits for, or what they load
    most = (12 if vecs == 1 else 8) if large_tiles() else 6
    rows = min(range(1, most + 1), key=lambda r: (-(-k // r) * max(r * vecs, 8, r + vecs), -r))
    padded = -(-k // rows) * rows
    offsets = _table(call, images, inputs, window, dilation, stride, padded)
    blocks = _blocks(2 * y.size * k, y.shape[0])
    planes, lines, columns = y.shape[2:]
    flat = (lines, columns)
    if y.strides[3] == columns * y.strides[4] or lines == 1:
        flat = (1, lines * columns)
    turned = call.scratch((blocks, lines * columns, wide // dtype.itemsize), dtype, "slopes, channels side by side")
    sums = call.scratch((blocks, 2, groups * padded, wide // dtype.itemsize), dtype, "sums of the weights' gradient")
    _, _, plane, _, line, _ = images.strides
    words: list[int | Address] = [
        images.place.address(), *images.of_groups(groups), plane * stride[0], line, offsets.address(), padded,
        y.address(), *y.strides, *flat, y.shape[0], groups, outputs, planes, lines, columns, wide, turned.address(),
        sums.address(), *images.own(call, blocks), *(images.placing or ()),
    ]  # fmt: skip
    call.run(kernel(weigh_lanes, dtype, ROWS=rows, PLACED=images.placing is not None), words, blocks)
    told: list[int | Address] = [sums.address(), blocks, groups, padded, k, wide, outputs, weight.address()]
    call.run(kernel(gather, dtype), told, 4 if weight.size * blocks > LARGE else 1)

"""Rules of convolutions over one and two axes, and of their gradients."""

# The plan: (1) one axis is two, of which the first has one element; (2) images are prepared once: with their border,
# and with pixels of each remainder of the stride together; where that changes nothing they are used as they lie; (3) a
# transposed convolution is one of an image into which zeros were put, with weights turned round; (4) images, or for the
# gradient of the weight parts of it, are shared by threads.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.convolution_tiles import convolve, place, table, turn, weigh, zero
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE
from tensorgraph.ops.native.moving import copy_of
from tensorgraph.ops.native.packing import DEPTH
from tensorgraph.ops.native.product import large_tiles
from tensorgraph.ops.windows import convolution_windows, transposed_windows, weight_windows

__all__ = ["convolution", "convolution_weight", "transposed_convolution"]

WORK = 3_000_000  # operations from which a convolution is shared by threads
Two = tuple[int, int]


@dataclass(frozen=True)
class Images:
    """Prepared images: (images, channels, remainders, lines, pixels of a line)."""

    place: Place
    pitch: int

    @property
    def strides(self) -> tuple[int, ...]:
        return self.place.strides


def _plane(x: Place) -> Place:
    """Images of two axes."""
    if x.ndim == 4:
        return x
    return x.over((*x.shape[:2], 1, x.shape[2]), (*x.strides[:2], 0, x.strides[2]))


def _two(values: Sequence[Any], other: Any) -> tuple[Any, Any]:
    """Numbers of two axes: of one, and `other` before it."""
    return (values[0], values[1]) if len(values) == 2 else (other, values[0])


def _fits(*arrays: Any) -> bool:
    given = [a for a in arrays if a is not None]
    if not all(isinstance(a, Place) and a.dtype == given[0].dtype and a.size for a in given):
        return False
    return given[0].dtype in SINGLE_OR_DOUBLE and given[0].ndim in (3, 4)


def _blocks(flops: int, units: int) -> int:
    return min(units, 4 if flops < 100_000_000 else 16) if flops > WORK else 1


def _prepared(call: Call, x: Place, before: Two, lines: Two, stride: Two = (1, 1), apart: Two = (1, 1)) -> Images:
    """Images with `before` zeros put in (or cut off, where negative) at the head of both axes, of `lines` numbers along
    them for each remainder of the stride; `apart`: how far from each other the numbers are put."""
    images, channels, *sizes = x.shape
    size = x.dtype.itemsize
    plain = before == (0, 0) and stride == apart == (1, 1) and tuple(sizes) == lines
    if plain and x.strides[3] == size and (x.strides[2] == sizes[1] * size or sizes[0] == 1):
        shape = (images, channels, 1, *lines)
        return Images(x.over(shape, (*x.strides[:2], 0, sizes[1] * size, size)), sizes[1])
    shape = (images, channels, stride[0] * stride[1], *lines)
    target = call.scratch(shape, x.dtype, "images with their border")
    call.run(kernel(zero, x.dtype), [target.address(), target.size])
    for phase in range(stride[0] * stride[1]):
        spans = []
        for n, head, many, step, gap, own in zip(
            sizes, before, lines, stride, apart, divmod(phase, stride[1]), strict=True
        ):
            # number i of the target is number (i step + own - head) / gap of the source
            inside = [
                i for i in range(many) if 0 <= i * step + own - head < n * gap and not (i * step + own - head) % gap
            ]
            spans.append((inside[0], (inside[0] * step + own - head) // gap, len(inside)) if inside else (0, 0, 0))
        (row, from_row, rows), (column, from_column, columns) = spans
        if not rows * columns:
            continue
        every = [gap if step == 1 else 1 for gap, step in zip(apart, stride, strict=True)]
        taken = [step if gap == 1 else 1 for gap, step in zip(apart, stride, strict=True)]
        words: list[int | Address] = [
            x.address(from_row * x.strides[2] + from_column * x.strides[3]), *x.strides[:2],
            x.strides[2] * taken[0], x.strides[3] * taken[1],
            target.address(phase * target.strides[2] + row * target.strides[3] + column * size), *target.strides[:2],
            target.strides[3] * every[0], size * every[1], images, channels, rows, columns,
        ]  # fmt: skip
        call.run(kernel(place, x.dtype), words, 4 if target.nbytes > 1 << 18 else 1)
    return Images(target, lines[1])


def _table(call: Call, images: Images, channels: int, window: Two, dilation: Two, stride: Two) -> Place:
    offsets = call.scratch((channels * window[0] * window[1],), "int64", "where a window's numbers lie")
    _, channel, phase, line, _ = images.strides
    words: list[int | Address] = [offsets.address(), channels, channel, *window, *dilation, *stride, phase, line]
    call.run(kernel(table, images.place.dtype), words)
    return offsets


def _rows_of(channels: int, most: int) -> int:
    """How many channels are summed at once: as many as there are, or those that leave the fewest to be done again."""
    return min(range(1, min(channels, most) + 1), key=lambda r: (-(-channels // r) * r - channels, -r))


def _sums(
    call: Call, images: Images, offsets: Place, weight: Place, bias: Place | None, y: Place, groups: int, outputs: Two
) -> None:
    """The sums of all windows into y."""
    count, channels = images.place.shape[0], y.shape[1] // groups
    k = offsets.size
    rows = _rows_of(channels, 8 if large_tiles() else 6)
    if rows < 4 and channels > 4:
        rows = 4
    vecs = max(2, (16 if large_tiles() else 8) // rows)
    span = (outputs[0] - 1) * images.pitch + outputs[1]
    blocks = _blocks(2 * y.size * k, count * groups)
    spare = call.scratch((blocks, rows, -(-span // 64) * 64), y.dtype, "sums of windows")
    words: list[int | Address] = [
        images.place.address(), images.strides[0], images.strides[1] * (images.place.shape[1] // groups),
        offsets.address(), k, weight.address(), y.address(), 0 if bias is None else bias.address(),
        count, groups, channels, span, images.pitch, *outputs, spare.address(), spare.strides[0],
    ]  # fmt: skip
    text = kernel(convolve, y.dtype, ROWS=rows, VECS=vecs, BIAS=bias is not None)
    call.run(text, words, blocks)


def convolution(call: Call) -> bool:
    """`convolution`, over one axis or two."""
    x, weight, bias = (*call.inputs, None)[:3]
    (y,) = call.outputs
    if y is None or not _fits(x, weight, bias) or not y.size:
        return y is None
    win = convolution_windows(x, weight, **call.attrs)
    groups = call.attrs["groups"]
    outputs, window, stride = _two(win.outputs, 1), _two(win.kernel, 1), _two(win.stride, 1)
    dilation = _two(win.dilation, 1)
    lead = _two([lo for lo, _ in win.edges], 0)
    lines = tuple(o + (k - 1) * d // s for o, k, d, s in zip(outputs, window, dilation, stride, strict=True))
    if stride == (1, 1) and not any(lo or hi for lo, hi in win.edges):
        lines = _two(win.sizes, 1)
    images = _prepared(call, _plane(x), lead, (lines[0], lines[1]), stride)
    offsets = _table(call, images, weight.shape[1], window, dilation, stride)
    added = None if bias is None else _in_order(call, bias)
    _sums(call, images, offsets, _in_order(call, weight), added, y, groups, outputs)
    return True


def _in_order(call: Call, a: Place) -> Place:
    return a if a.is_contiguous else copy_of(call, a)


def transposed_convolution(call: Call) -> bool:
    """`transposed_convolution`, over one axis or two."""
    y, weight, bias = (*call.inputs, None)[:3]
    (x,) = call.outputs
    if x is None or not _fits(y, weight, bias) or not x.size:
        return x is None
    win = transposed_windows(y, weight, **call.attrs)
    groups, size = call.attrs["groups"], weight.shape[1]
    window, dilation, stride = _two(win.kernel, 1), _two(win.dilation, 1), _two(win.stride, 1)
    sizes = _two(win.sizes, 1)
    lead = tuple(
        (k - 1) * d - lo for k, d, lo in zip(window, dilation, _two([lo for lo, _ in win.edges], 0), strict=True)
    )
    lines = tuple(n + (k - 1) * d for n, k, d in zip(sizes, window, dilation, strict=True))
    images = _prepared(call, _plane(y), (lead[0], lead[1]), (lines[0], lines[1]), (1, 1), stride)
    outer = weight.shape[0] // groups
    turned = call.scratch((groups * size, outer, *window), weight.dtype, "weights, turned round")
    words: list[int | Address] = [
        _in_order(call, weight).address(),
        turned.address(),
        groups,
        outer,
        size,
        window[0] * window[1],
    ]
    call.run(kernel(turn, weight.dtype), words)
    offsets = _table(call, images, outer, window, dilation, (1, 1))
    added = None if bias is None else _in_order(call, bias)
    _sums(call, images, offsets, turned, added, x, groups, sizes)
    return True


def convolution_weight(call: Call) -> bool:
    """`convolution_weight`, over one axis or two."""
    x, y = call.inputs
    (weight,) = call.outputs
    if weight is None or not _fits(x, y) or not weight.size:
        return weight is None
    win = weight_windows(x, y, **call.attrs)
    groups = call.attrs["groups"]
    outputs, window, stride = _two(win.outputs, 1), _two(win.kernel, 1), _two(win.stride, 1)
    dilation, lead = _two(win.dilation, 1), _two([lo for lo, _ in win.edges], 0)
    lines = tuple(o + (k - 1) * d // s for o, k, d, s in zip(outputs, window, dilation, stride, strict=True))
    if stride == (1, 1) and not any(lo or hi for lo, hi in win.edges):
        lines = _two(win.sizes, 1)
    images = _prepared(call, _plane(x), lead, (lines[0], lines[1]), stride)
    slopes = _prepared(call, _plane(y), (0, 0), (outputs[0], images.pitch))
    channels, inputs = y.shape[1] // groups, weight.shape[1]
    offsets = _table(call, images, inputs, window, dilation, stride)
    rows, taps = _rows_of(channels, 4 if large_tiles() else 2), _rows_of(window[1], 5)
    if rows == 1 and channels > 1:
        rows = 2
    span = (outputs[0] - 1) * images.pitch + outputs[1]
    lanes = 64 // weight.dtype.itemsize
    units = groups * -(-channels // rows) * inputs * window[0] * -(-window[1] // taps)
    words: list[int | Address] = [
        images.place.address(), images.strides[0], images.strides[1] * inputs, offsets.address(),
        slopes.place.address(), slopes.strides[0], slopes.strides[1], weight.address(),
        x.shape[0], groups, channels, inputs, *window, span, max(1, DEPTH // -(-span // lanes)),
    ]  # fmt: skip
    text = kernel(weigh, weight.dtype, ROWS=rows, TAPS=taps)
    call.run(text, words, _blocks(2 * y.size * offsets.size, units))
    return True

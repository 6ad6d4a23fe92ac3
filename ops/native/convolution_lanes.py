"""Texts of the gradient of a convolution's weights where lanes are channels of the result."""

# The plan: a block has images of its own, one after the other, so that what it makes of one is in its caches when it is
# read: (1) the images' border, in memory of the block's; (2) the slopes of a plane, turned by registers: of each window
# all channels side by side; (3) tiles of ROWS numbers of a window and VECS vectors of channels, over the windows of
# some lines: a number of the image is spread over the lanes and multiplied in, and the sums go back to memory, where
# the next lines find them; (4) after DEPTH windows these sums are added to the total, and begin anew. A second kernel
# adds the blocks' totals, in their order. No window is computed that is not there, so none has to be left out.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    fma,
    integer,
    ld,
    ldg,
    ldm,
    load,
    load_int,
    select,
    st,
    stg,
    stm,
    transposed,
    vset,
    word_at,
)
from tensorgraph.ops.native.convolution_tiles import place_image, zeros
from tensorgraph.ops.native.packing import DEPTH

__all__ = ["VECS", "gather", "weigh_lanes"]

BYTES = LANES = SIZE = 0  # constants of every kernel
ROWS, PLACED = 8, False  # of these
VECS = 2
PLACING = 26  # at which word of `weigh_lanes` what `place_image` reads begins


def turn_plane(
    source: Any, channel: Any, line: Any, step: Any, lines: Any, columns: Any, outputs: Any, target: Any, wide: Any
) -> None:
    """Windows of channels into channels of windows, `wide` bytes a window, in which the last vector may hold more."""
    for o in range(0, wide // SIZE, LANES):
        for r in range(lines):
            p, q = source + o * channel + r * line, target + r * columns * wide + o * SIZE
            if step == SIZE:
                for j in range(0, columns, LANES):
                    n = columns - j
                    a, b = p + j * SIZE, q + j * wide
                    if (n >= LANES) & (o + LANES <= outputs):
                        full = transposed([ld(a + i * channel) for i in static(LANES)])
                        for i in static(LANES):
                            st(b + i * wide, full[i])
                    else:
                        rows = [ldm(a + i * channel, select(o + i < outputs, n, 0), 0.0) for i in static(LANES)]
                        part = transposed(rows)
                        for i in static(LANES):
                            stm(b + i * wide, part[i], select(i < n, LANES, 0))
            else:
                for j in range(columns):
                    st(q + j * wide, ldg(p + j * step, channel, min(outputs - o, LANES), 0.0))


def tile(
    vecs: int, x: Any, line: Any, offsets: Any, g: Any, wide: Any, lines: Any, pitch: Any, columns: Any, now: Any
) -> None:  # fmt: skip
    """ROWS numbers of a window and `vecs` vectors of channels, over some windows of some lines."""
    apart = [load_int(offsets + 8 * i) for i in static(ROWS)]
    acc = [[ld(now + i * wide + v * BYTES) for v in static(vecs)] for i in static(ROWS)]
    for r in range(lines):
        rows = [x + r * line + apart[i] for i in static(ROWS)]
        for c in range(columns):
            slopes = [ld(g + (r * pitch + c) * wide + v * BYTES) for v in static(vecs)]
            for i in static(ROWS):
                number = vset(load(rows[i] + c * SIZE))
                for v in static(vecs):
                    acc[i][v] = fma(number, slopes[v], acc[i][v])
    for i in static(ROWS):
        for v in static(vecs):
            st(now + i * wide + v * BYTES, acc[i][v])


def weigh_lanes(w: Any, block: Any, blocks: Any) -> None:
    """Words: images, bytes from image to image, from group to group, from plane to plane and from line to line of
    windows; table, numbers of a window with those that fill its last tile; slopes, bytes from image to image, channel
    to channel, plane to plane, line to line, number to number, lines and columns of a plane that lie so; images,
    groups, channels of the result in a group; planes, lines and columns of windows; bytes of a window's channels;
    memory for turned slopes, for sums and totals, for images with their border, and how many bytes a block has of each
    of the first two; from `PLACING` on what `place_image` reads, behind how many bytes a block has of the third."""
    x, x_image, x_group, x_plane, x_line, offsets, k = [word_at(w, i) for i in static(7)]
    g, g_image, g_channel, g_plane, g_line, g_step, high, long = [word_at(w, i) for i in static(7, 15)]
    images, groups, outputs, planes, lines, columns, wide = [word_at(w, i) for i in static(15, 22)]
    turned, size = word_at(w, 22) + block * lines * columns * wide, groups * k * wide
    now = word_at(w, 23) + block * 2 * size
    own = word_at(w, 24) + block * word_at(w, 25)
    zeros(now, 2 * size // SIZE)
    if PLACED:
        zeros(own, word_at(w, 25) // SIZE)
    each = planes * lines * columns
    together = max(1, DEPTH // max(each, 1))  # images whose sums are one
    across = min(columns, DEPTH)
    down = max(1, DEPTH // max(across, 1))
    first, last = images * block // blocks, images * (block + 1) // blocks
    for image in range(first, last):
        for group in range(groups):
            source = x + image * x_image + group * x_group
            if PLACED:
                place_image(w, PLACING, source, own)
                source = own
            sums = now + group * k * wide
            for deep in range(planes):
                p = g + image * g_image + group * outputs * g_channel + deep * g_plane
                turn_plane(p, g_channel, g_line, g_step, high, long, outputs, turned, wide)
                for r in range(0, lines, down):
                    for c in range(0, columns, across):
                        a = source + deep * x_plane + r * x_line + c * SIZE
                        b = turned + (r * columns + c) * wide
                        height, width = min(down, lines - r), min(across, columns - c)
                        for i in range(0, k, ROWS):
                            p, to, v = offsets + 8 * i, sums + i * wide, integer(0)
                            while v + VECS * BYTES <= wide:
                                tile(VECS, a, x_line, p, b + v, wide, height, columns, width, to + v)
                                v += VECS * BYTES
                            while v < wide:
                                tile(1, a, x_line, p, b + v, wide, height, columns, width, to + v)
                                v += BYTES
                        over = (image - first + 1) % together == 0
                        if (each > DEPTH) | over | (image + 1 == last):
                            for j in range(0, k * wide, BYTES):
                                st(sums + size + j, ld(sums + size + j) + ld(sums + j))
                                st(sums + j, vset(0.0))


def gather(w: Any, block: Any, blocks: Any) -> None:
    """The gradient of the weights, of all blocks' totals. Words: sums and totals, of how many blocks; groups, numbers
    of a window with those that fill its last tile, and without; bytes of a window's channels; channels of the result in
    a group; gradient."""
    sums, count, groups, padded, k, wide, outputs, target = [word_at(w, i) for i in static(8)]
    size = groups * padded * wide
    for u in range(groups * k * block // blocks, groups * k * (block + 1) // blocks):
        group, i = u // k, u % k
        for o in range(0, outputs, LANES):
            at = sums + size + (group * padded + i) * wide + o * SIZE
            total = vset(0.0)
            for b in range(count):
                total = total + ld(at + b * 2 * size)
            n = min(outputs - o, LANES)
            stg(target + ((group * outputs + o) * k + i) * SIZE, k * SIZE, total, n)

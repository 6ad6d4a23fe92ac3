"""Texts of the kernels of convolutions over three axes."""

# The plan: (1) images lie prepared: their borders are there, and where windows step over several pixels the pixels of
# each remainder lie together, so that neighbouring windows read neighbouring numbers; (2) a table says how far from a
# window's first pixel each number of the window lies; (3) the sums of all windows are products through that table, rows
# being channels of the result and lanes neighbouring windows of a whole image, those that hang over a line's end too,
# which are left out when lines are copied to the result; (4) the gradient of the weight keeps one vector of sums a
# channel and number of the window while it goes over the images. Sums are made of parts of DEPTH terms.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    any_lane,
    fma,
    hsum,
    integer,
    ldg,
    ldm,
    load,
    load_int,
    select,
    stg,
    stm,
    store,
    store_int,
    vset,
    word_at,
)
from tensorgraph.ops.native.packing import DEPTH
from tensorgraph.ops.native.product_tiles import read, write

__all__ = ["PLACING", "convolve", "finite", "place", "place_image", "table", "turn", "weigh", "zero", "zeros"]

BYTES = LANES = SIZE = 0  # constants of every kernel
ROWS, VECS, TAPS, BIAS, BORDERED, HANGING, PLACED = 1, 1, 1, False, False, False, False  # of these
PLACING = 30  # at which word of `convolve` what `place_image` reads begins


def zeros(p: Any, n: Any) -> None:
    """So many zeros."""
    for j in range(0, n, LANES):
        stm(p + j * SIZE, vset(0.0), n - j)


def zero(w: Any, block: Any, blocks: Any) -> None:
    """Zeros. Words: address, count."""
    zeros(word_at(w, 0), word_at(w, 1))


def copy_lines(p: Any, s_row: Any, s_step: Any, q: Any, t_row: Any, t_step: Any, rows: Any, count: Any) -> None:
    """Rows of numbers, from strides to strides."""
    for r in range(rows):
        for j in range(0, count, LANES):
            n, a, b = min(count - j, LANES), p + r * s_row + j * s_step, q + r * t_row + j * t_step
            if s_step == SIZE:
                if t_step == SIZE:
                    stm(b, ldm(a, n, 0.0), n)
                else:
                    stg(b, t_step, ldm(a, n, 0.0), n)
            else:
                stg(b, t_step, ldg(a, s_step, n, 0.0), n)


def place(w: Any, block: Any, blocks: Any) -> None:
    """Rows of planes into other planes, with strides of all axes. Words: source, its bytes from image to image, plane
    to plane, row to row, number to number; target and its own; images, planes, rows, numbers."""
    s, s_image, s_plane, s_row, s_step, t, t_image, t_plane, t_row, t_step = [word_at(w, i) for i in static(10)]
    images, planes, rows, count = [word_at(w, i) for i in static(10, 14)]
    for u in range(images * planes * block // blocks, images * planes * (block + 1) // blocks):
        p = s + u // planes * s_image + u % planes * s_plane
        q = t + u // planes * t_image + u % planes * t_plane
        copy_lines(p, s_row, s_step, q, t_row, t_step, rows, count)


def place_image(w: Any, at: int, source: Any, target: Any) -> None:
    """An image into memory that holds zeros where it has its border. Words from `at` on: channels, bytes from channel
    to channel of the image and there; planes, and the like of these; bytes from row to row of both, from number to
    number of the image; remainders of the stride, and of each where its numbers begin in both, rows, numbers of one."""
    channels, s_channel, t_channel, planes, s_plane, t_plane = [word_at(w, at + i) for i in static(6)]
    s_row, t_row, s_step, phases = [word_at(w, at + i) for i in static(6, 10)]
    for f in range(phases):
        begin, to, rows, count = [word_at(w, at + 10 + 4 * f + i) for i in static(4)]
        for u in range(channels * planes):
            p = source + begin + u // planes * s_channel + u % planes * s_plane
            q = target + to + u // planes * t_channel + u % planes * t_plane
            copy_lines(p, s_row, s_step, q, t_row, SIZE, rows, count)


def table(w: Any, block: Any, blocks: Any) -> None:
    """Where a window's numbers lie. Words: table; channels, bytes between them; planes, lines and columns of a window;
    bytes between its planes, steps from line to line and from column to column of a window, and of windows; bytes
    between planes of remainders, and between lines."""
    p, channels, channel, planes, lines, columns, deep, down, right = [word_at(w, i) for i in static(9)]
    stride_y, stride_x, phase, line = [word_at(w, i) for i in static(9, 13)]
    k = 0
    for i in range(channels):
        for z in range(planes):
            for y in range(lines):
                for x in range(columns):
                    a, b = y * down, x * right
                    at = i * channel + z * deep + (a % stride_y * stride_x + b % stride_x) * phase
                    store_int(p + k * 8, at + a // stride_y * line + b // stride_x * SIZE)
                    k += 1


def turn(w: Any, block: Any, blocks: Any) -> None:
    """Weights of the transposed convolution: both kinds of channels change places in each group, and of each window
    some planes, lines and columns are taken. Words: weights, target, groups, channels of the one and of the other kind
    in a group, planes, lines and columns of a window; the first plane, steps to the next, how many; the like of lines
    and columns."""
    p, q, groups, outer, inner, planes, lines, columns = [word_at(w, i) for i in static(8)]
    plane, back, deep, line, down, high, column, right, wide = [word_at(w, i) for i in static(8, 17)]
    for u in range(groups * inner * block // blocks, groups * inner * (block + 1) // blocks):
        for o in range(outer):
            a = p + ((u // inner * outer + o) * inner + u % inner) * planes * lines * columns * SIZE
            b = q + (u * outer + o) * deep * high * wide * SIZE
            for r in range(deep):
                for s in range(high):
                    row = ((plane + r * back) * lines + line + s * down) * columns
                    for t in range(wide):
                        store(b + ((r * high + s) * wide + t) * SIZE, load(a + (row + column + t * right) * SIZE))


def finite(w: Any, block: Any, blocks: Any) -> None:
    """Say 1 where a number is not finite. Words: where; numbers that lie together, bytes from plane to plane, planes,
    bytes from image to image, images; what says it."""
    p, count, plane, planes, image, images = [word_at(w, i) for i in static(6)]
    for u in range(images * planes * block // blocks, images * planes * (block + 1) // blocks):
        at, odd = p + u // planes * image + u % planes * plane, vset(0.0)
        for j in range(0, count, LANES):
            odd = odd + ldm(at + j * SIZE, count - j, 0.0) * 0.0
        if any_lane(odd != odd):
            store_int(word_at(w, 6), 1)


def sums(
    vecs: int, masked: bool, inside: Any, taps: Any, weights: Any, x: Any, offsets: Any, k: Any, z: Any, z_row: Any,
    n: Any,
) -> None:  # fmt: skip
    """ROWS channels of `vecs` vectors of windows; of the last vector `n` lanes where masked. Where `inside` is not 0,
    it is the address of a plane of ones, and of zeros where the images have their border: these are no terms."""
    lines = [weights + i * k * SIZE for i in static(ROWS)]
    for k0 in range(0, max(k, 1), DEPTH):
        acc = [[vset(0.0) for v in static(vecs)] for i in static(ROWS)]
        for j in range(k0, min(k0 + DEPTH, k)):
            p = x + load_int(offsets + 8 * j)
            pixels = [read(p + v * BYTES, n, masked) for v in static(vecs)]
            if BORDERED and masked and inside != 0:
                there = ldm(inside + load_int(offsets + 8 * (j % taps)), n, 0.0) != 0.0
                for i in static(ROWS):
                    acc[i][0] = select(there, fma(vset(load(lines[i] + j * SIZE)), pixels[0], acc[i][0]), acc[i][0])
            else:
                for i in static(ROWS):
                    weight = vset(load(lines[i] + j * SIZE))
                    for v in static(vecs):
                        acc[i][v] = fma(weight, pixels[v], acc[i][v])
        for i in static(ROWS):
            for v in static(vecs):
                at = z + i * z_row + v * BYTES
                before = vset(0.0)
                if k0 > 0:
                    before = read(at, n, masked)
                write(at, before + acc[i][v], n, masked)


def convolve(w: Any, block: Any, blocks: Any) -> None:
    """Words: prepared images, bytes from image to image, from group to group, and from plane to plane of windows;
    table, numbers of a window; weights; result, bytes from image to image, channel to channel, plane to plane, line to
    line, number to number; bias; images, groups, planes, channels of the result in a group; windows of a plane, those
    that hang over too, from line to line, lines, windows of a line; memory for the sums, and how many bytes a block has
    of it; where there is a border, an image of ones inside of it, numbers of a channel of a window, and what is 1 where
    that matters, as weights are not finite; where a
    block puts borders around its images itself, memory for one, how many bytes a block has of it, where the first
    window begins in it, and what `place_image` reads."""
    x, x_image, x_group, x_plane, offsets, k, weights = [word_at(w, i) for i in static(7)]
    y, y_image, y_channel, y_plane, y_line, y_step, bias = [word_at(w, i) for i in static(7, 14)]
    images, groups, planes, outputs, span, pitch, lines, columns = [word_at(w, i) for i in static(14, 22)]
    z = word_at(w, 22) + word_at(w, 23) * block
    units, z_row, inside = images * planes * groups, word_at(w, 23) // ROWS, integer(0)
    taps = word_at(w, 25) if BORDERED else 1
    own, first = word_at(w, 27) + word_at(w, 28) * block if PLACED else 0, units * block // blocks
    if PLACED:
        zeros(own, word_at(w, 28) // SIZE)
    for v in range(first, units * (block + 1) // blocks):
        u, deep = v // planes, v % planes
        if BORDERED and load_int(word_at(w, 26)) != 0:
            inside = word_at(w, 24) + deep * x_plane
        source = x + u // groups * x_image + u % groups * x_group
        if PLACED:
            if (deep == 0) | (v == first):
                place_image(w, PLACING, source, own)
            source = own + word_at(w, 29)
        source += deep * x_plane
        for begin in range(0, outputs, ROWS):
            o = min(begin, outputs - ROWS)  # the last ones again, rather than fewer
            a = weights + (u % groups * outputs + o) * k * SIZE
            j = integer(0)
            if inside == 0:
                while j + VECS * LANES <= span:
                    sums(VECS, False, 0, taps, a, source + j * SIZE, offsets, k, z + j * SIZE, z_row, 0)
                    j += VECS * LANES
            while j < span:
                plane = inside + j * SIZE if inside != 0 else inside
                sums(1, True, plane, taps, a, source + j * SIZE, offsets, k, z + j * SIZE, z_row, min(span - j, LANES))
                j += LANES
            for i in static(ROWS):
                shift = vset(load(bias + (u % groups * outputs + o + i) * SIZE)) if BIAS else vset(0.0)
                target = y + u // groups * y_image + (u % groups * outputs + o + i) * y_channel + deep * y_plane
                for r in range(lines):
                    for c in range(0, columns, LANES):
                        n = columns - c
                        number = ldm(z + i * z_row + (r * pitch + c) * SIZE, n, 0.0)
                        number = number + shift if BIAS else number
                        if y_step == SIZE:
                            stm(target + r * y_line + c * SIZE, number, n)
                        else:
                            stg(target + r * y_line + c * y_step, y_step, number, min(n, LANES))


def weigh(w: Any, block: Any, blocks: Any) -> None:
    """Words: prepared images, bytes from image to image, from group to group, from plane to plane of windows; table;
    slopes of the result at the pitch of the images, bytes from image to image, from channel to channel, from plane to
    plane; gradient of the weight; images, planes, groups, channels of the result and of the images in a group, lines of
    all planes and columns of a window; windows of a plane; planes of a part; where windows hang over, a plane of ones
    at those that do not, and what is 1 where that matters, as numbers of the images are not finite."""
    x, x_image, x_group, x_plane, offsets, g, g_image, g_channel, g_plane, target = [word_at(w, i) for i in static(10)]
    images, planes, groups, outputs, inputs, lines, columns, span, part = [word_at(w, i) for i in static(10, 19)]
    windows, count = integer(0), images * planes
    if HANGING and load_int(word_at(w, 20)) != 0:
        windows = word_at(w, 19)
    across, along = (columns + TAPS - 1) // TAPS, (outputs + ROWS - 1) // ROWS
    units = groups * along * inputs * lines * across
    for u in range(units * block // blocks, units * (block + 1) // blocks):
        t0 = min(u % across * TAPS, columns - TAPS)
        rest = u // across
        line, rest = rest % lines, rest // lines
        i, rest = rest % inputs, rest // inputs
        o, group = min(rest % along * ROWS, outputs - ROWS), rest // along
        k = (i * lines + line) * columns + t0
        total = [[vset(0.0) for t in static(TAPS)] for r in static(ROWS)]
        for n0 in range(0, count, part):
            acc = [[vset(0.0) for t in static(TAPS)] for r in static(ROWS)]
            for n in range(n0, min(n0 + part, count)):
                image, deep = n // planes, n % planes
                source = x + image * x_image + group * x_group + deep * x_plane
                slopes = g + image * g_image + (group * outputs + o) * g_channel + deep * g_plane
                pixels = [source + load_int(offsets + 8 * (k + t)) for t in static(TAPS)]
                for j in range(0, span, LANES):
                    m = min(span - j, LANES)
                    values = [ldm(pixels[t] + j * SIZE, m, 0.0) for t in static(TAPS)]
                    for r in static(ROWS):
                        slope = ldm(slopes + r * g_channel + j * SIZE, m, 0.0)
                        if HANGING and windows != 0:
                            there = ldm(windows + j * SIZE, m, 0.0) != 0.0
                            for t in static(TAPS):
                                acc[r][t] = select(there, fma(slope, values[t], acc[r][t]), acc[r][t])
                        else:
                            for t in static(TAPS):
                                acc[r][t] = fma(slope, values[t], acc[r][t])
            for r in static(ROWS):
                for t in static(TAPS):
                    total[r][t] = total[r][t] + acc[r][t]
        for r in static(ROWS):
            for t in static(TAPS):
                at = ((group * outputs + o + r) * inputs * lines * columns + k + t) * SIZE
                store(target + at, hsum(total[r][t]))

"""Texts of the kernels of pools over two axes: lanes are neighbouring windows of a line."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    alternate,
    double,
    iota,
    ldg,
    ldm,
    most,
    narrow,
    select,
    stg,
    stm,
    vset,
    word_at,
    woven,
)
from tensorgraph.ops.native.reductions import with_loss

__all__ = ["fold", "spread", "spread_over"]

LANES = SIZE = 0  # constants of every kernel
INF = float("inf")
MAX, SIDE_BY_SIDE = True, False  # of these: maxima or sums; whether every number is in a window
LONG, LOSS = False, False  # whether sums are so long that they are in float64, and what they lose is kept
PAIRS = False  # whether a window has two numbers of a line, side by side, and begins behind the one before it


def pair(p: Any, n: Any) -> Any:
    """The first and the second numbers of n pairs."""
    low, high = ldm(p, 2 * n, 0.0), ldm(p + LANES * SIZE, 2 * n - LANES, 0.0)
    return alternate(low, high, 0), alternate(low, high, 1)


def put_pair(p: Any, left: Any, right: Any, n: Any) -> None:
    """Write what `pair` reads."""
    stm(p, woven(left, right, 0), 2 * n)
    stm(p + LANES * SIZE, woven(left, right, 1), 2 * n - LANES)


def long_sum(p: Any, n: Any, width: Any, down: Any, right: Any, step: Any, apart_y: Any, apart_x: Any) -> Any:
    """The sums of n windows of many numbers, the first of which begins at `p`."""
    total, lost = double(vset(0.0)), double(vset(0.0))
    for a in range(down):
        for b in range(right):
            v = ldg(p + (a * apart_y * width + b * apart_x) * SIZE, step * SIZE, n, 0.0)
            if LOSS:
                total, lost = with_loss(total, lost, v)
            else:
                total = total + double(v)
    # an infinite sum has lost infinity minus infinity
    return narrow(select(total - total == 0.0, total + lost, total))


def fold(w: Any, block: Any, blocks: Any) -> None:
    """The maximum or the sum of each window. Words: x, y; planes; lines and numbers of a line of x, of y; of a window;
    steps from window to window, and within one."""
    x, y, planes, height, width, lines, columns, down, right = [word_at(w, i) for i in static(9)]
    step_y, step_x, apart_y, apart_x = [word_at(w, i) for i in static(9, 13)]
    rows = planes * lines
    for u in range(rows * block // blocks, rows * (block + 1) // blocks):
        source = x + (u // lines * height + u % lines * step_y) * width * SIZE
        for c in range(0, columns, LANES):
            n, acc = min(columns - c, LANES), vset(-INF if MAX else 0.0)
            if LONG:
                acc = long_sum(source + c * step_x * SIZE, n, width, down, right, step_x, apart_y, apart_x)
            for a in range(0 if LONG else down):
                at = source + (a * apart_y * width + c * step_x) * SIZE
                if PAIRS:
                    left, other = pair(at, n)
                    acc = most(most(acc, left), other) if MAX else acc + left + other
                else:
                    for b in range(right):
                        v = ldg(at + b * apart_x * SIZE, step_x * SIZE, n, 0.0)
                        acc = most(acc, v) if MAX else acc + v
            stm(y + (u * columns + c) * SIZE, acc, n)


def tied(v: Any, best: Any) -> Any:
    """Where a number is its window's maximum; where that is no number, those that are none."""
    return (v == best) | ((v != v) & (best != best))


def spread(w: Any, block: Any, blocks: Any) -> None:
    """Each window's number to its elements, of a maximum in equal shares to those that are it. Windows have no element
    in common. Words: as of `fold`, x being what is written, y the numbers; then x and y themselves, of a maximum."""
    x, y, planes, height, width, lines, columns, down, right = [word_at(w, i) for i in static(9)]
    step_y, step_x, apart_y, apart_x, values, best = [word_at(w, i) for i in static(9, 15)]
    for u in range(planes * block // blocks, planes * (block + 1) // blocks):
        if not SIDE_BY_SIDE:
            for j in range(0, height * width, LANES):
                stm(x + (u * height * width + j) * SIZE, vset(0.0), height * width - j)
        for r in range(lines):
            for c in range(0, columns, LANES):
                n, from_y = min(columns - c, LANES), ((u * lines + r) * columns + c) * SIZE
                share = ldm(y + from_y, n, 0.0)
                top = ldm(best + from_y, n, 0.0) if MAX else share
                start = ((u * height + r * step_y) * width + c * step_x) * SIZE
                if MAX:
                    count = vset(0.0)
                    for a in range(down):
                        at = values + start + a * apart_y * width * SIZE
                        if PAIRS:
                            one, other = pair(at, n)
                            count = count + select(tied(one, top), vset(1.0), vset(0.0))
                            count = count + select(tied(other, top), vset(1.0), vset(0.0))
                        else:
                            for b in range(right):
                                hit = tied(ldg(at + b * apart_x * SIZE, step_x * SIZE, n, 0.0), top)
                                count = count + select(hit, vset(1.0), vset(0.0))
                    share = share / count
                for a in range(down):
                    at = start + a * apart_y * width * SIZE
                    if PAIRS:
                        if MAX:
                            one, other = pair(values + at, n)
                            put_pair(
                                x + at, select(tied(one, top), share, vset(0.0)),
                                select(tied(other, top), share, vset(0.0)), n,
                            )  # fmt: skip
                        else:
                            put_pair(x + at, share, share, n)
                    else:
                        for b in range(right):
                            to, from_x = x + at + b * apart_x * SIZE, values + at + b * apart_x * SIZE
                            if MAX:
                                hit = tied(ldg(from_x, step_x * SIZE, n, 0.0), top)
                                stg(to, step_x * SIZE, select(hit, share, vset(0.0)), n)
                            else:
                                stg(to, step_x * SIZE, share, n)


def inside(hit: Any, at: Any, step: Any, n: Any, inner: Any) -> Any:
    """Lanes that hit and are no border: the first of n stands at `at`, the next one `step` further."""
    if (at < 0) | (at + (n - 1) * step >= inner):
        place = iota() * step + at
        hit = hit & (place >= 0) & (place < inner)
    return hit


def spread_over(w: Any, block: Any, blocks: Any) -> None:
    """The like of `spread` where windows have numbers in common, or reach into a border, which is no maximum. Further
    words: where what is no border begins and how many lines of it there are, and the like of numbers of a line."""
    x, y, planes, height, width, lines, columns, down, right = [word_at(w, i) for i in static(9)]
    step_y, step_x, apart_y, apart_x, values, best = [word_at(w, i) for i in static(9, 15)]
    top_line, inner_lines, left, inner = [word_at(w, i) for i in static(15, 19)]
    for u in range(planes * block // blocks, planes * (block + 1) // blocks):
        for j in range(0, height * width, LANES):
            stm(x + (u * height * width + j) * SIZE, vset(0.0), height * width - j)
        for r in range(lines):
            for c in range(0, columns, LANES):
                n, from_y = min(columns - c, LANES), ((u * lines + r) * columns + c) * SIZE
                share = ldm(y + from_y, n, 0.0)
                top = ldm(best + from_y, n, 0.0) if MAX else share
                start = ((u * height + r * step_y) * width + c * step_x) * SIZE
                if MAX:
                    count = vset(0.0)
                    for a in range(down):
                        line = r * step_y + a * apart_y - top_line
                        if (line >= 0) & (line < inner_lines):
                            for b in range(right):
                                at = values + start + (a * apart_y * width + b * apart_x) * SIZE
                                hit = tied(ldg(at, step_x * SIZE, n, 0.0), top)
                                hit = inside(hit, c * step_x + b * apart_x - left, step_x, n, inner)
                                count = count + select(hit, vset(1.0), vset(0.0))
                    share = share / select(count == 0.0, vset(1.0), count)
                for a in range(down):
                    line = r * step_y + a * apart_y - top_line
                    if (line >= 0) & (line < inner_lines):
                        for b in range(right):
                            at = start + (a * apart_y * width + b * apart_x) * SIZE
                            own = share
                            if MAX:
                                ties = tied(ldg(values + at, step_x * SIZE, n, 0.0), top)
                                ties = inside(ties, c * step_x + b * apart_x - left, step_x, n, inner)
                                own = select(ties, share, vset(0.0))
                            stg(x + at, step_x * SIZE, ldg(x + at, step_x * SIZE, n, 0.0) + own, n)

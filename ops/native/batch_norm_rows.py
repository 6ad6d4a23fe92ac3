"""Texts of the kernels of batch norm over rows of channels; formulas are in `ops.kernels.batch_norm`.

Lanes are channels. Sums of eight rows at a time are added in registers, in the array's own type, for a block of rows,
whose moments are about the mean of eight of them; blocks are merged in float64 (Chan, Golub & LeVeque 1983). mu is kept
as `center`, its nearest number, and what that lacks of it, `rest`.
"""

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import (
    absolute,
    any_lane,
    double,
    first,
    fma,
    ldm,
    ldw,
    narrow,
    real_at,
    select,
    sqrt,
    stm,
    stw,
    vset,
    word_at,
)
from tensorgraph.ops.kernels.batch_norm_rows import shortfall
from tensorgraph.ops.native.edges import span_of

__all__ = ["BLOCK", "NARROW", "PANEL", "STRIP", "backward", "backward_finish", "backward_lines", "backward_rows",
           "backward_sums", "forward", "forward_finish", "forward_moments", "forward_rows", "line_of",
           "slopes_of", "through"]  # fmt: skip

LANES = SIZE = 0  # constants of kernels
RELU = NORMALISES = G_Y = G_MU = G_VAR = WANTS_X = True

INFINITY, NAN = float("inf"), float("nan")

# rows whose sums are taken together in the array's own type, rows that one sum in float64 is of, channels of a panel,
# and bytes of rows that are walked with channels outside: of wider ones, each step would be to another page of memory
BLOCK, STRIP, PANEL, NARROW = 128, 512, 64, 1024
FEW = 16  # rows that are summed in float64


# moments -------------------------------------------------------------------------------------------------------------


def sum_of(v: Any) -> Any:
    """Of eight."""
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))


def block_moments(x: Any, step: Any, rows: Any, base: Any, n: Any) -> Any:
    """Of n channels of rows from x on: the mean of x - base, what that lost by being rounded, the sum of squares about
    the mean, in float64."""
    # squares are about a number so near the mean that no digits are lost in going from the one to the other
    center = ldm(x, n, 0.0)
    if rows >= 8:
        skip = (rows >> 3) * step
        far = [ldm(x + k * skip, n, 0.0) - base for k in static(8)]
        center = base + sum_of(far) * 0.125
    s, q = vset(0.0), vset(0.0)
    p, r, each = x, rows, 1.0 / double(rows)
    while r >= 8 and rows >= FEW:
        d = [ldm(p + k * step, n, 0.0) - center for k in static(8)]
        s += sum_of(d)
        e = [fma(d[2 * k + 1], d[2 * k + 1], d[2 * k] * d[2 * k]) for k in static(4)]
        q += (e[0] + e[1]) + (e[2] + e[3])
        p += 8 * step
        r -= 8
    while r > 0 and rows >= FEW:
        h = ldm(p, n, 0.0) - center
        s += h
        q = fma(h, h, q)
        p += step
        r -= 1
    total, squares = double(s), double(q)
    # channels that are too large for the type, or not finite; of few rows all, whose mean may be small beside them
    odd = ((s - s) + (q - q) != 0.0) | first(LANES if rows < FEW else 0)
    if any_lane(odd):
        wide, own = double(vset(0.0)), double(vset(0.0))
        p = x
        for _ in range(rows):
            away = ldm(p, n, 0.0) - center
            f = select(away - away == 0.0, double(ldm(p, n, 0.0)) - double(center), double(away))
            wide += f
            own += f * f
            p += step
        total, squares = select(odd, wide, total), select(odd, own, squares)
    off = double(center) - double(base)
    t = total * each
    mean = off + t
    z = squares - t * total
    # where both overflowed, so does the sum of squares about the mean
    z = select((z != z) & (total - total == 0.0), INFINITY, z)
    z = select(z < 0.0, 0.0, z)
    return mean, shortfall(double(center), -double(base), off) + shortfall(off, t, mean), z


def merged(mean: Any, lost: Any, z: Any, n: Any, other_mean: Any, other_lost: Any, other_z: Any, more: Any) -> Any:
    """The moments of n rows and `more` others together."""
    share = more / (n + more)
    delta = other_mean - mean
    both = mean + delta * share
    lost = lost + ((other_lost - lost) * share + shortfall(mean, delta * share, both))
    return both, lost, z + (other_z + delta * (delta * (n * share)))


def strip_moments(x: Any, step: Any, rows: Any, base: Any, n: Any) -> Any:
    """The moments of at most STRIP rows from x on."""
    mean, lost, z = double(vset(0.0)), double(vset(0.0)), double(vset(0.0))
    r = 0
    while r < rows:
        more = min(rows - r, BLOCK)
        block_mean, block_lost, block_z = block_moments(x + r * step, step, more, base, n)
        if r == 0:
            mean, lost, z = block_mean, block_lost, block_z
        else:
            mean, lost, z = merged(mean, lost, z, double(r), block_mean, block_lost, block_z, double(more))
        r += more
    return mean, lost, z


def finished(mean: Any, lost: Any, z: Any, rows: Any, base: Any) -> Any:
    """mu's nearest number, what that lacks of it, and the variance; NaN in a channel that is not finite."""
    far = double(base)
    exact = far + mean
    center = narrow(exact)
    rest = (exact - double(center)) + (shortfall(far, mean, exact) + lost)
    return center, rest, narrow(select(mean - mean == 0.0, z * (1.0 / double(rows)), NAN))


def line_of(gamma: Any, beta: Any, var: Any, rest: Any, eps: Any) -> Any:
    """1 / sqrt(var + eps), and a and b of the output (x - center) a + b; a constant channel gives beta."""
    s = var + eps
    inverse = select(s == 0.0, 0.0, 1.0 / sqrt(s))
    a = gamma * inverse
    return inverse, a, select(rest != 0.0, narrow(double(beta) - rest * double(a)), beta)


def panels_of(rows: Any, channels: Any, block: Any, blocks: Any) -> Any:
    """Where the panels of a block begin and end, which are PANEL channels of a strip of rows."""
    panels = (rows + STRIP - 1) // STRIP * ((channels + PANEL - 1) // PANEL)
    step = (panels + blocks - 1) // blocks
    lo = min(block * step, panels)
    return lo, min(lo + step, panels)


# forward -------------------------------------------------------------------------------------------------------------
#
# Words: x, its row's stride, rows, channels, gamma, beta, eps, y, mu, var, center, rest, moments of the strips, which
# are three rows of float64 each, and the lines a and b. Of few rows one kernel does all, channels apart: the stages of
# all its channels one after the other, so that none waits for another's roots and divisions.


def put_moments(w: Any, strip: Any, j: Any, n: Any) -> None:
    """The moments of n channels of a strip of rows."""
    step, rows, channels, first = word_at(w, 1), word_at(w, 2), word_at(w, 3), strip * STRIP
    p = word_at(w, 0) + j * SIZE
    base = ldm(p, n, 0.0)
    mean, lost, z = strip_moments(p + first * step, step, min(STRIP, rows - first), base, n)
    at, row = word_at(w, 12) + 8 * (3 * strip * channels + j), 8 * channels
    stw(at, mean, n)
    stw(at + row, lost, n)
    stw(at + 2 * row, z, n)


def merge_strips(w: Any, j: Any, n: Any) -> None:
    """Merge the moments of all strips into those of the first, in pairs, then pairs of pairs."""
    rows, channels, work = word_at(w, 2), word_at(w, 3), word_at(w, 12) + 8 * j
    strips, row = (rows + STRIP - 1) // STRIP, 8 * channels
    step = 1
    while step < strips:
        for i in range(0, strips - step, 2 * step):
            p = work + 3 * i * row
            o = p + 3 * step * row
            mean, lost, z = merged(
                ldw(p, n, 0.0), ldw(p + row, n, 0.0), ldw(p + 2 * row, n, 0.0), double(step * STRIP),
                ldw(o, n, 0.0), ldw(o + row, n, 0.0), ldw(o + 2 * row, n, 0.0),
                double(min(step * STRIP, rows - (i + step) * STRIP)),
            )  # fmt: skip
            stw(p, mean, n)
            stw(p + row, lost, n)
            stw(p + 2 * row, z, n)
        step *= 2


def put_lines(w: Any, j: Any, n: Any) -> None:
    """mu, var, center and rest of n channels, and their lines, from merged moments."""
    channels, k = word_at(w, 3), j * SIZE
    at, row, width = word_at(w, 12) + 8 * j, 8 * channels, channels * SIZE
    center, rest, var = finished(
        ldw(at, n, 0.0), ldw(at + row, n, 0.0), ldw(at + 2 * row, n, 0.0), word_at(w, 2), ldm(word_at(w, 0) + k, n, 0.0)
    )
    stm(word_at(w, 8) + k, select(var == var, center, var), n)
    stm(word_at(w, 9) + k, var, n)
    stm(word_at(w, 10) + k, center, n)
    stw(word_at(w, 11) + j * 8, rest, n)
    gamma, beta = ldm(word_at(w, 4) + k, n, 0.0), ldm(word_at(w, 5) + k, n, 0.0)
    _, a, b = line_of(gamma, beta, var, rest, real_at(w, 6))
    stm(word_at(w, 13) + k, a, n)
    stm(word_at(w, 13) + width + k, b, n)


def line_at(w: Any, j: Any, n: Any) -> Any:
    """center, a and b of n channels."""
    lines = word_at(w, 13) + j * SIZE
    center = ldm(word_at(w, 10) + j * SIZE, n, 0.0)
    return center, ldm(lines, n, 0.0), ldm(lines + word_at(w, 3) * SIZE, n, 0.0)


def put_output(p: Any, y: Any, center: Any, a: Any, b: Any, n: Any) -> None:
    v = fma(ldm(p, n, 0.0) - center, a, b)
    stm(y, select(v < 0.0, 0.0, v) if RELU else v, n)


def put_outputs(w: Any, j: Any, n: Any) -> None:
    """The output of n channels, row after row."""
    center, a, b = line_at(w, j, n)
    p, y, width = word_at(w, 0) + j * SIZE, word_at(w, 7) + j * SIZE, word_at(w, 3) * SIZE
    for _ in range(word_at(w, 2)):
        put_output(p, y, center, a, b, n)
        p += word_at(w, 1)
        y += width


def forward(w: Any, block: Any, blocks: Any) -> None:
    """The channels of a block, of at most STRIP rows."""
    lo, hi = span_of(word_at(w, 3), block, blocks)
    full = lo + (hi - lo) // LANES * LANES
    for j in range(lo, hi, LANES):
        put_moments(w, 0, j, hi - j)
    for j in range(lo, hi, LANES):
        put_lines(w, j, hi - j)
    if NORMALISES:
        for j in range(lo, full, LANES):
            put_outputs(w, j, LANES)
        if full < hi:
            put_outputs(w, full, hi - full)


def forward_moments(w: Any, block: Any, blocks: Any) -> None:
    """The moments of the panels of a block."""
    channels = word_at(w, 3)
    lo, hi = panels_of(word_at(w, 2), channels, block, blocks)
    across = (channels + PANEL - 1) // PANEL
    for panel in range(lo, hi):
        first = panel % across * PANEL
        for j in range(first, min(first + PANEL, channels), LANES):
            put_moments(w, panel // across, j, channels - j)


def forward_finish(w: Any, block: Any, blocks: Any) -> None:
    """The strips merged, and what is made of them."""
    channels = word_at(w, 3)
    for j in range(0, channels, LANES):
        merge_strips(w, j, channels - j)
        put_lines(w, j, channels - j)


def forward_rows(w: Any, block: Any, blocks: Any) -> None:
    """The output of the rows of a block, one after the other, as memory likes it."""
    lo, hi = span_of(word_at(w, 2), block, blocks)
    channels = word_at(w, 3)
    full, width = channels // LANES * LANES, channels * SIZE
    p, y = word_at(w, 0) + lo * word_at(w, 1), word_at(w, 7) + lo * width
    for _ in range(lo, hi):
        for j in range(0, full, LANES):
            center, a, b = line_at(w, j, LANES)
            put_output(p + j * SIZE, y + j * SIZE, center, a, b, LANES)
        if full < channels:
            n = channels - full
            last, last_a, last_b = line_at(w, full, n)
            put_output(p + full * SIZE, y + full * SIZE, last, last_a, last_b, n)
        p += word_at(w, 1)
        y += width


# backward ------------------------------------------------------------------------------------------------------------
#
# Words: x, its row's stride, rows, channels, gamma, beta, eps, center, rest, var, g, its row's stride, g_mu, g_var, dx,
# dgamma, dbeta, sums of the strips, which are two rows of float64 each, and the lines: 1 / sqrt(var + eps), a, b, drop,
# slope and level, of which dx is (g - drop) a + (x - center) slope + level.


def through(g: Any, h: Any, a: Any, b: Any) -> Any:
    """A cotangent on its way through the ReLU, whose input is computed as in the forward pass; NaN passes."""
    return select(fma(h, a, b) <= 0.0, 0.0, g) if RELU else g


def block_sums(p: Any, step: Any, o: Any, up: Any, rows: Any, center: Any, a: Any, b: Any, n: Any) -> Any:
    """Sums of g and of g (x - center), in float64."""
    s, q = vset(0.0), vset(0.0)
    x, g, r = p, o, rows
    while r >= 8:
        h = [ldm(x + k * step, n, 0.0) - center for k in static(8)]
        f = [through(ldm(g + k * up, n, 0.0), h[k], a, b) for k in static(8)]
        e = [fma(f[2 * k + 1], h[2 * k + 1], f[2 * k] * h[2 * k]) for k in static(4)]
        s += sum_of(f)
        q += (e[0] + e[1]) + (e[2] + e[3])
        x += 8 * step
        g += 8 * up
        r -= 8
    while r > 0:
        d = ldm(x, n, 0.0) - center
        c = through(ldm(g, n, 0.0), d, a, b)
        s += c
        q = fma(c, d, q)
        x += step
        g += up
        r -= 1
    total, product = double(s), double(q)
    odd = (s - s) + (q - q) != 0.0  # channels that are too large for the type, or not finite
    if any_lane(odd):
        wide, own = double(vset(0.0)), double(vset(0.0))
        x, g = p, o
        for _ in range(rows):
            away = ldm(x, n, 0.0) - center
            given = double(through(ldm(g, n, 0.0), away, a, b))
            wide += given
            own += given * double(away)
            x += step
            g += up
        total, product = select(odd, wide, total), select(odd, own, product)
    return total, product


def put_sums(w: Any, strip: Any, j: Any, n: Any) -> None:
    """The sums of n channels of a strip of rows."""
    step, up, channels, k = word_at(w, 1), word_at(w, 11), word_at(w, 3), j * SIZE
    line, width = word_at(w, 18) + k, channels * SIZE
    center, a, b = ldm(word_at(w, 7) + k, n, 0.0), ldm(line + width, n, 0.0), ldm(line + 2 * width, n, 0.0)
    total, product = double(vset(0.0)), double(vset(0.0))
    if G_Y:
        r, end = strip * STRIP, min((strip + 1) * STRIP, word_at(w, 2))
        while r < end:
            more = min(end - r, BLOCK)
            x, g = word_at(w, 0) + r * step + k, word_at(w, 10) + r * up + k
            s, q = block_sums(x, step, g, up, more, center, a, b, n)
            total += s
            product += q
            r += more
    at = word_at(w, 17) + 8 * (2 * strip * channels + j)
    stw(at, total, n)
    stw(at + 8 * channels, product, n)


def add_strips(w: Any, j: Any, n: Any) -> None:
    """Add the sums of all strips to those of the first, in pairs, then pairs of pairs."""
    channels, work = word_at(w, 3), word_at(w, 17) + 8 * j
    strips, row = (word_at(w, 2) + STRIP - 1) // STRIP, 8 * channels
    step = 1
    while step < strips:
        for i in range(0, strips - step, 2 * step):
            p = work + 2 * i * row
            o = p + 2 * step * row
            stw(p, ldw(p, n, 0.0) + ldw(o, n, 0.0), n)
            stw(p + row, ldw(p + row, n, 0.0) + ldw(o + row, n, 0.0), n)
        step *= 2


def put_line(w: Any, j: Any, n: Any) -> None:
    """What `line_of` gave the forward pass."""
    k, width = j * SIZE, word_at(w, 3) * SIZE
    gamma, beta = ldm(word_at(w, 4) + k, n, 0.0), ldm(word_at(w, 5) + k, n, 0.0)
    var, rest, line = ldm(word_at(w, 9) + k, n, 0.0), ldw(word_at(w, 8) + 8 * j, n, 0.0), word_at(w, 18) + k
    inverse, a, b = line_of(gamma, beta, var, rest, real_at(w, 6))
    stm(line, inverse, n)
    stm(line + width, a, n)
    stm(line + 2 * width, b, n)


def slopes_of(
    total: Any, product: Any, gamma: Any, rest: Any, inverse: Any, g_mu: Any, g_var: Any, each: Any
) -> Any:  # fmt: skip
    """dgamma, dbeta, and drop, slope and level, from sums of g and of g (x - center); `each` is 1 / their count."""
    product = select(total - total == 0.0, product - rest * total, product)  # the mean was rounded
    r = double(inverse)
    # where the variance overflowed the output is beta, however large the product is
    product = select((r == 0.0) & (absolute(product) == INFINITY), 0.0, product)
    turn = -(double(gamma) * r * r * r * product)
    if G_VAR:
        turn = 2.0 * g_var + turn
    slope = narrow(turn * each)
    level = select(rest != 0.0, -(double(slope) * rest), 0.0)
    if G_MU:
        level = g_mu * each + level
    return narrow(product * r), narrow(total), narrow(total * each), slope, narrow(level)


def put_slopes(w: Any, j: Any, n: Any) -> None:
    """dgamma, dbeta, and what dx is made of."""
    k, width, zero = j * SIZE, word_at(w, 3) * SIZE, double(vset(0.0))
    at, line = word_at(w, 17) + 8 * j, word_at(w, 18) + k
    total, product = ldw(at, n, 0.0), ldw(at + 8 * word_at(w, 3), n, 0.0)
    gamma, rest = ldm(word_at(w, 4) + k, n, 0.0), ldw(word_at(w, 8) + 8 * j, n, 0.0)
    g_mu = double(ldm(word_at(w, 12) + k, n, 0.0)) if G_MU else zero
    g_var = double(ldm(word_at(w, 13) + k, n, 0.0)) if G_VAR else zero
    each, inverse = 1.0 / double(word_at(w, 2)), ldm(line, n, 0.0)
    made = slopes_of(total, product, gamma, rest, inverse, g_mu, g_var, each)
    stm(word_at(w, 15) + k, made[0], n)
    stm(word_at(w, 16) + k, made[1], n)
    for i in static(3):
        stm(line + (3 + i) * width, made[2 + i], n)


def lines_at(w: Any, j: Any, n: Any) -> Any:
    """center, a, b, drop, slope, level of n channels."""
    line, width = word_at(w, 18) + j * SIZE, word_at(w, 3) * SIZE
    return [ldm(word_at(w, 7) + j * SIZE, n, 0.0)] + [ldm(line + i * width, n, 0.0) for i in static(1, 6)]


def put_descent(p: Any, g: Any, dx: Any, lines: Any, n: Any) -> None:
    """dx of n channels of a row."""
    center, a, b, drop, slope, level = lines
    h = ldm(p, n, 0.0) - center
    up = through(ldm(g, n, 0.0), h, a, b) if G_Y else vset(0.0)
    stm(dx, fma(up - drop, a, fma(h, slope, level)), n)


def put_descents(w: Any, j: Any, n: Any) -> None:
    """dx of n channels, row after row."""
    lines, k = lines_at(w, j, n), j * SIZE
    p, g, dx, width = word_at(w, 0) + k, word_at(w, 10) + k, word_at(w, 14) + k, word_at(w, 3) * SIZE
    for _ in range(word_at(w, 2)):
        put_descent(p, g, dx, lines, n)
        p += word_at(w, 1)
        g += word_at(w, 11)
        dx += width


def backward(w: Any, block: Any, blocks: Any) -> None:
    """The channels of a block, of at most STRIP rows."""
    lo, hi = span_of(word_at(w, 3), block, blocks)
    full = lo + (hi - lo) // LANES * LANES
    for j in range(lo, hi, LANES):
        put_line(w, j, hi - j)
    for j in range(lo, hi, LANES):
        put_sums(w, 0, j, hi - j)
    for j in range(lo, hi, LANES):
        put_slopes(w, j, hi - j)
    if WANTS_X:
        for j in range(lo, full, LANES):
            put_descents(w, j, LANES)
        if full < hi:
            put_descents(w, full, hi - full)


def backward_lines(w: Any, block: Any, blocks: Any) -> None:
    """What `line_of` gave the forward pass, of all channels."""
    for j in range(0, word_at(w, 3), LANES):
        put_line(w, j, word_at(w, 3) - j)


def backward_sums(w: Any, block: Any, blocks: Any) -> None:
    """The sums of the panels of a block."""
    channels = word_at(w, 3)
    lo, hi = panels_of(word_at(w, 2), channels, block, blocks)
    across = (channels + PANEL - 1) // PANEL
    for panel in range(lo, hi):
        first = panel % across * PANEL
        for j in range(first, min(first + PANEL, channels), LANES):
            put_sums(w, panel // across, j, channels - j)


def backward_finish(w: Any, block: Any, blocks: Any) -> None:
    """The strips' sums together, and what is made of them."""
    for j in range(0, word_at(w, 3), LANES):
        add_strips(w, j, word_at(w, 3) - j)
        put_slopes(w, j, word_at(w, 3) - j)


def backward_rows(w: Any, block: Any, blocks: Any) -> None:
    """dx of the rows of a block."""
    lo, hi = span_of(word_at(w, 2), block, blocks)
    step, up, channels = word_at(w, 1), word_at(w, 11), word_at(w, 3)
    full, width = channels // LANES * LANES, channels * SIZE
    p, g, dx = word_at(w, 0) + lo * step, word_at(w, 10) + lo * up, word_at(w, 14) + lo * width
    for _ in range(lo, hi):
        for j in range(0, full, LANES):
            k = j * SIZE
            put_descent(p + k, g + k, dx + k, lines_at(w, j, LANES), LANES)
        if full < channels:
            k = full * SIZE
            put_descent(p + k, g + k, dx + k, lines_at(w, full, channels - full), channels - full)
        p += step
        g += up
        dx += width

"""Texts of the kernels of an LSTM: some sequences are run through all steps by one block."""

# The plan: (1) the inputs' products are in `kept` already, a row a sequence and step; (2) a block has some sequences,
# which know nothing of the others, and goes through all steps with them: the state's product is added to the sums,
# which become gates in place; (3) on the way back the gates become slopes of the sums, and the product with the
# transposed weights is what reaches the state before; (4) what sums over sequences and steps is left to products.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import ldm, stm, vset, word_at
from tensorgraph.ops.kernels.scalar import sigmoid, tanh
from tensorgraph.ops.native.rows_times import times

__all__ = ["one_number", "run_back", "run_forward"]

LANES = SIZE = 0  # constants of every kernel
ROWS = 8  # of these: sequences of a tile
STARTED = False  # whether first states are given, on the way back slopes of the last h
OF_Y, OF_C = False, False  # whether y and the last c have slopes


def one_number(w: Any, block: Any, blocks: Any) -> None:
    """The number 1 at an address."""
    stm(word_at(w, 0), vset(1.0), 1)


def copy_row(source: Any, target: Any, n: Any) -> None:
    for j in range(0, n, LANES):
        stm(target + j * SIZE, ldm(source + j * SIZE, n - j, 0.0), n - j)


def zero_row(target: Any, n: Any) -> None:
    for j in range(0, n, LANES):
        stm(target + j * SIZE, vset(0.0), n - j)


def first_row(source: Any, target: Any, n: Any) -> None:
    """A first state, or zeros."""
    if STARTED:
        copy_row(source, target, n)
    else:
        zero_row(target, n)


def cell(gates: Any, old: Any, new: Any, h: Any, y: Any, units: Any) -> None:
    """The sums of a sequence become its gates i, f, g, o; its next state is written."""
    line = units * SIZE
    for j in range(0, units, LANES):
        n, p = units - j, gates + j * SIZE
        i, f = sigmoid(ldm(p, n, 0.0)), sigmoid(ldm(p + line, n, 0.0))
        g, o = tanh(ldm(p + 2 * line, n, 0.0)), sigmoid(ldm(p + 3 * line, n, 0.0))
        c = f * ldm(old + j * SIZE, n, 0.0) + i * g
        out = o * tanh(c)
        stm(p, i, n)
        stm(p + line, f, n)
        stm(p + 2 * line, g, n)
        stm(p + 3 * line, o, n)
        stm(new + j * SIZE, c, n)
        stm(h + j * SIZE, out, n)
        stm(y + j * SIZE, out, n)


def run_forward(w: Any, block: Any, blocks: Any) -> None:
    """Words: kept; states; cells; recurrent weights; the first h and c; y, bytes from sequence to sequence, from step
    to step; the last h and c; sequences, steps, units."""
    kept, states, cells, weights, h0, c0, y, y_row, y_step, last_h, last_c = [word_at(w, i) for i in static(11)]
    batch, steps, units = word_at(w, 11), word_at(w, 12), word_at(w, 13)
    line, tiles = units * SIZE, (batch + ROWS - 1) // ROWS
    low, high = tiles * block // blocks * ROWS, min(tiles * (block + 1) // blocks * ROWS, batch)
    for r in range(low, high):
        first_row(h0 + r * line, states + r * line, units)
        first_row(c0 + r * line, cells + r * line, units)
    for t in range(steps):
        now, after = (t * batch + low) * line, ((t + 1) * batch + low) * line
        times(states + now, line, SIZE, weights, 4 * line, kept + 4 * now, 4 * line, high - low, 4 * units, units, 1)
        for r in range(high - low):
            at = r * line
            cell(
                kept + 4 * (now + at), cells + now + at, cells + after + at, states + after + at,
                y + (low + r) * y_row + t * y_step, units,
            )  # fmt: skip
    for r in range(low, high):
        end = (steps * batch + r) * line
        copy_row(states + end, last_h + r * line, units)
        copy_row(cells + end, last_c + r * line, units)


def slope(gates: Any, old: Any, new: Any, up: Any, g_y: Any, dc: Any, da: Any, units: Any) -> None:
    """The slopes of a sequence's sums at a step, and of its cell at the one before."""
    line = units * SIZE
    for j in range(0, units, LANES):
        n, p, q = units - j, gates + j * SIZE, da + j * SIZE
        i, f = ldm(p, n, 0.0), ldm(p + line, n, 0.0)
        g, o = ldm(p + 2 * line, n, 0.0), ldm(p + 3 * line, n, 0.0)
        t = tanh(ldm(new + j * SIZE, n, 0.0))
        d = ldm(up + j * SIZE, n, 0.0) + (ldm(g_y + j * SIZE, n, 0.0) if OF_Y else vset(0.0))
        e = ldm(dc + j * SIZE, n, 0.0) + d * o * (1.0 - t * t)
        stm(q, e * g * (i * (1.0 - i)), n)
        stm(q + line, e * ldm(old + j * SIZE, n, 0.0) * (f * (1.0 - f)), n)
        stm(q + 2 * line, e * i * (1.0 - g * g), n)
        stm(q + 3 * line, d * t * (o * (1.0 - o)), n)
        stm(dc + j * SIZE, e * f, n)


def run_back(w: Any, block: Any, blocks: Any) -> None:
    """Words: kept; cells; the transposed recurrent weights; the slopes of y, bytes from sequence to sequence, from step
    to step; those of the last h and of the last c; the slopes of the sums, of the first h and of the first c, which are
    written; sequences, steps, units."""
    kept, cells, turned, g_y, y_row, y_step, g_h, g_c, da, dh, dc = [word_at(w, i) for i in static(11)]
    batch, steps, units = word_at(w, 11), word_at(w, 12), word_at(w, 13)
    line, tiles = units * SIZE, (batch + ROWS - 1) // ROWS
    low, high = tiles * block // blocks * ROWS, min(tiles * (block + 1) // blocks * ROWS, batch)
    for r in range(low, high):
        first_row(g_h + r * line, dh + r * line, units)
        if OF_C:
            copy_row(g_c + r * line, dc + r * line, units)
        else:
            zero_row(dc + r * line, units)
    for s in range(steps):
        t = steps - 1 - s
        now, after = (t * batch + low) * line, ((t + 1) * batch + low) * line
        for r in range(high - low):
            at = r * line
            slope(
                kept + 4 * (now + at), cells + now + at, cells + after + at, dh + (low + r) * line,
                g_y + (low + r) * y_row + t * y_step, dc + (low + r) * line, da + 4 * (now + at), units,
            )  # fmt: skip
        times(da + 4 * now, 4 * line, SIZE, turned, line, dh + low * line, line, high - low, units, 4 * units, 0)

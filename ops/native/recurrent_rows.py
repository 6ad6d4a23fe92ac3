"""Texts of the kernels of recurrent layers: some sequences are run through all steps by one block."""

# The plan: (1) the inputs' products are there already, a row a sequence and step; (2) a block has some sequences, which
# know nothing of the others, and goes through all steps with them: the state's product is added to the sums, of which
# gates and the next state are made; (3) on the way back slopes of the sums are made of the gates, and the product with
# the transposed weights is what reaches the state before; (4) what sums over sequences and steps is left to products.
# A sequence that has ended keeps its state, and gives zeros.

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import static
from tensorgraph.native.words import ldm, load_int, select, stm, vset, word_at
from tensorgraph.ops.kernels.scalar import sigmoid, tanh
from tensorgraph.ops.native.rows_times import times

__all__ = ["GATES", "GRU", "LSTM", "RELU", "TANH", "one_number", "run_back", "run_forward"]

LANES = SIZE = 0  # constants of every kernel
LSTM, GRU, TANH, RELU = 0, 1, 2, 3
GATES = (4, 3, 1, 1)
ROWS = 8  # of these: sequences of a tile
CELL = WIDTH = 0  # which one, and its gates
STARTED = False  # whether first states are given, on the way back slopes of the last h
BIASED = False  # whether the state's products have a bias of their own
OF_Y, OF_C = False, False  # whether y and the last c have slopes
PADDED = False  # whether sequences may end before the last step


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


def lstm_cell(gates: Any, old: Any, new: Any, h: Any, y: Any, units: Any) -> None:
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


def gru_cell(a: Any, gates: Any, bias: Any, old: Any, h: Any, y: Any, units: Any) -> None:
    """The state's products become the gates r, z and n, and what r is multiplied by; the next state is written."""
    line = units * SIZE
    for j in range(0, units, LANES):
        n, p, q, b = units - j, gates + j * SIZE, a + j * SIZE, bias + j * SIZE
        u = [ldm(p + k * line, n, 0.0) for k in static(3)]
        if BIASED:
            u = [u[k] + ldm(b + k * line, n, 0.0) for k in static(3)]
        reset, update = sigmoid(ldm(q, n, 0.0) + u[0]), sigmoid(ldm(q + line, n, 0.0) + u[1])
        new = tanh(ldm(q + 2 * line, n, 0.0) + reset * u[2])
        out = new + update * (ldm(old + j * SIZE, n, 0.0) - new)
        stm(p, reset, n)
        stm(p + line, update, n)
        stm(p + 2 * line, new, n)
        stm(p + 3 * line, u[2], n)
        stm(h + j * SIZE, out, n)
        stm(y + j * SIZE, out, n)


def plain_cell(a: Any, h: Any, y: Any, units: Any) -> None:
    for j in range(0, units, LANES):
        n = units - j
        s = ldm(a + j * SIZE, n, 0.0)
        out = tanh(s) if CELL == TANH else select(s < 0.0, 0.0, s)
        stm(h + j * SIZE, out, n)
        stm(y + j * SIZE, out, n)


def span_of_tiles(batch: Any, block: Any, blocks: Any) -> Any:
    """Where the sequences of a block begin and end."""
    tiles = (batch + ROWS - 1) // ROWS
    return tiles * block // blocks * ROWS, min(tiles * (block + 1) // blocks * ROWS, batch)


def is_alive(lengths: Any, sequence: Any, t: Any, steps: Any, reverse: Any) -> Any:
    """Whether a sequence has the number that is read at step t."""
    return load_int(lengths + 8 * sequence) > select(reverse == 1, steps - 1 - t, t)


def run_forward(w: Any, block: Any, blocks: Any) -> None:
    """Words: the inputs' products, which are `kept` of an LSTM; kept; states; cells; recurrent weights, their bias; the
    first h and c; y, bytes from sequence to sequence, from step to step; the last h and c; sequences, steps, units; how
    many steps of a sequence count; whether the last comes first."""
    sums, kept, states, cells, weights, bias, h0, c0, y, y_row, y_step = [word_at(w, i) for i in static(11)]
    last_h, last_c, batch, steps, units, lengths, reverse = [word_at(w, i) for i in static(11, 18)]
    line = units * SIZE
    low, high = span_of_tiles(batch, block, blocks)
    for r in range(low, high):
        first_row(h0 + r * line, states + r * line, units)
        if CELL == LSTM:
            first_row(c0 + r * line, cells + r * line, units)
    for t in range(steps):
        now, after = (t * batch + low) * line, ((t + 1) * batch + low) * line
        if CELL == GRU:
            times(states + now, line, SIZE, weights, 3 * line, kept + 4 * now, 4 * line, high - low, 3 * units, units,
                  0)  # fmt: skip
        else:
            times(states + now, line, SIZE, weights, WIDTH * line, sums + WIDTH * now, WIDTH * line, high - low,
                  WIDTH * units, units, 1)  # fmt: skip
        for r in range(high - low):
            at, out = r * line, y + (low + r) * y_row + t * y_step
            alive = 0 == 0
            if PADDED:
                alive = is_alive(lengths, low + r, t, steps, reverse)
            if alive:
                if CELL == LSTM:
                    lstm_cell(
                        kept + 4 * (now + at), cells + now + at, cells + after + at, states + after + at, out, units
                    )  # fmt: skip
                elif CELL == GRU:
                    gru_cell(
                        sums + 3 * (now + at), kept + 4 * (now + at), bias, states + now + at, states + after + at, out,
                        units,
                    )  # fmt: skip
                else:
                    plain_cell(sums + now + at, states + after + at, out, units)
            else:
                copy_row(states + now + at, states + after + at, units)
                if CELL == LSTM:
                    copy_row(cells + now + at, cells + after + at, units)
                zero_row(out, units)
    for r in range(low, high):
        end = (steps * batch + r) * line
        copy_row(states + end, last_h + r * line, units)
        if CELL == LSTM:
            copy_row(cells + end, last_c + r * line, units)


# backward ------------------------------------------------------------------------------------------------------------


def up_of(dh: Any, g_y: Any, j: Any, n: Any) -> Any:
    """The slope of a state: what reaches it from the step after, and that of y."""
    return ldm(dh + j * SIZE, n, 0.0) + (ldm(g_y + j * SIZE, n, 0.0) if OF_Y else vset(0.0))


def lstm_slope(gates: Any, old: Any, new: Any, dh: Any, g_y: Any, dc: Any, da: Any, units: Any) -> None:
    """The slopes of a sequence's sums at a step, and of its cell at the one before."""
    line = units * SIZE
    for j in range(0, units, LANES):
        n, p, q = units - j, gates + j * SIZE, da + j * SIZE
        i, f = ldm(p, n, 0.0), ldm(p + line, n, 0.0)
        g, o = ldm(p + 2 * line, n, 0.0), ldm(p + 3 * line, n, 0.0)
        t = tanh(ldm(new + j * SIZE, n, 0.0))
        d = up_of(dh, g_y, j, n)
        e = ldm(dc + j * SIZE, n, 0.0) + d * o * (1.0 - t * t)
        stm(q, e * g * (i * (1.0 - i)), n)
        stm(q + line, e * ldm(old + j * SIZE, n, 0.0) * (f * (1.0 - f)), n)
        stm(q + 2 * line, e * i * (1.0 - g * g), n)
        stm(q + 3 * line, d * t * (o * (1.0 - o)), n)
        stm(dc + j * SIZE, e * f, n)
        if PADDED:
            stm(dh + j * SIZE, vset(0.0), n)


def gru_slope(gates: Any, old: Any, dh: Any, g_y: Any, da: Any, du: Any, units: Any) -> None:
    """The slopes of a sequence's sums of inputs and of states, and what of that of its state goes past them."""
    line = units * SIZE
    for j in range(0, units, LANES):
        n, p, q, o = units - j, gates + j * SIZE, da + j * SIZE, du + j * SIZE
        reset, update = ldm(p, n, 0.0), ldm(p + line, n, 0.0)
        new, hidden = ldm(p + 2 * line, n, 0.0), ldm(p + 3 * line, n, 0.0)
        d = up_of(dh, g_y, j, n)
        e = d * (1.0 - update) * (1.0 - new * new)
        r = e * hidden * (reset * (1.0 - reset))
        z = d * (ldm(old + j * SIZE, n, 0.0) - new) * (update * (1.0 - update))
        stm(q, r, n)
        stm(o, r, n)
        stm(q + line, z, n)
        stm(o + line, z, n)
        stm(q + 2 * line, e, n)
        stm(o + 2 * line, e * reset, n)
        stm(dh + j * SIZE, d * update, n)


def plain_slope(new: Any, dh: Any, g_y: Any, da: Any, units: Any) -> None:
    for j in range(0, units, LANES):
        n = units - j
        h, d = ldm(new + j * SIZE, n, 0.0), up_of(dh, g_y, j, n)
        stm(da + j * SIZE, d * (1.0 - h * h) if CELL == TANH else select(h == 0.0, 0.0, d), n)
        if PADDED:
            stm(dh + j * SIZE, vset(0.0), n)


def run_back(w: Any, block: Any, blocks: Any) -> None:
    """Words: kept; states; cells; the transposed recurrent weights; the slopes of y, bytes from sequence to sequence,
    from step to step; those of the last h and of the last c; the slopes of the sums, and of the state's part of them,
    which are the same but of a GRU, of the first h and of the first c, which are written; sequences, steps, units; how
    many steps of a sequence count; whether the last comes first."""
    kept, states, cells, turned, g_y, y_row, y_step, g_h, g_c, da, du, dh, dc = [word_at(w, i) for i in static(13)]
    batch, steps, units, lengths, reverse = [word_at(w, i) for i in static(13, 18)]
    line = units * SIZE
    low, high = span_of_tiles(batch, block, blocks)
    for r in range(low, high):
        first_row(g_h + r * line, dh + r * line, units)
        if CELL == LSTM:
            if OF_C:
                copy_row(g_c + r * line, dc + r * line, units)
            else:
                zero_row(dc + r * line, units)
    for s in range(steps):
        t = steps - 1 - s
        now, after = (t * batch + low) * line, ((t + 1) * batch + low) * line
        for r in range(high - low):
            at, up, own = r * line, dh + (low + r) * line, g_y + (low + r) * y_row + t * y_step
            to, side = da + WIDTH * (now + at), du + WIDTH * (now + at)
            alive = 0 == 0
            if PADDED:
                alive = is_alive(lengths, low + r, t, steps, reverse)
            if alive:
                if CELL == LSTM:
                    lstm_slope(
                        kept + 4 * (now + at), cells + now + at, cells + after + at, up, own, dc + (low + r) * line, to,
                        units,
                    )  # fmt: skip
                elif CELL == GRU:
                    gru_slope(kept + 4 * (now + at), states + now + at, up, own, to, side, units)
                else:
                    plain_slope(states + after + at, up, own, to, units)
            else:
                zero_row(to, WIDTH * units)
                if CELL == GRU:
                    zero_row(side, WIDTH * units)
        past = 1 if CELL == GRU or PADDED else 0  # whether something of a state's slope does not go through the sums
        times(du + WIDTH * now, WIDTH * line, SIZE, turned, line, dh + low * line, line, high - low, units,
              WIDTH * units, past)  # fmt: skip

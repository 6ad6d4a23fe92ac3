"""Recurrent layers over whole sequences: one product for all inputs, then a product and a fused cell a step.

Inside, time is the first axis and counts steps in the order of the recurrence, so that a step lies together in memory.
The gates are kept for the way back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.sums import total
from tensorgraph.jit import Kernel, kernel, share
from tensorgraph.ops.kernels.scalar import sigmoid, tanh

__all__ = ["GATES", "Run", "recurrent_backward", "recurrent_forward"]

Array = np.ndarray[Any, Any]

# seconds a unit and step, for the choice between one thread and several
CELL = 8e-9
# gates of a cell: products of the input and of the state; numbers a unit that are kept
GATES, KEPT = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}, {"lstm": 4, "gru": 4, "tanh": 0, "relu": 0}


@kernel(apart=True)
def _lstm(a: Any, u: Any, alive: Any, h0: Any, c0: Any, kept: Any, h: Any, c: Any, lo: int, hi: int) -> None:
    """Gates i, f, g, o; c = f c0 + i g; h = o tanh(c)."""
    n = h.shape[1]
    for r in range(lo, hi):
        if alive[r]:
            row = kept[r]  # the sums of the input are there, and become gates
            i, f, g, o = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
            iu, fu, gu, ou = u[0, r], u[1, r], u[2, r], u[3, r]
            for j in range(n):
                i[j] = sigmoid(i[j] + iu[j])
            for j in range(n):
                f[j] = sigmoid(f[j] + fu[j])
            for j in range(n):
                g[j] = tanh(g[j] + gu[j])
            for j in range(n):
                o[j] = sigmoid(o[j] + ou[j])
            new, old, out = c[r], c0[r], h[r]
            for j in range(n):
                new[j] = f[j] * old[j] + i[j] * g[j]
            for j in range(n):
                out[j] = o[j] * tanh(new[j])
        else:
            for j in range(n):
                h[r, j] = h0[r, j]
                c[r, j] = c0[r, j]


@kernel(apart=True)
def _lstm_back(
    alive: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any, gy: Any, dh: Any, dc: Any, da: Any, du: Any, lo: int,
    hi: int,
) -> None:  # fmt: skip
    n = h.shape[1]
    one = kept.dtype.type(1)
    for r in range(lo, hi):
        out = da[r]
        if alive[r]:
            row, new, old = kept[r], c[r], c0[r]
            i, f, g, o = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
            di, df, dg, do = out[:n], out[n : 2 * n], out[2 * n : 3 * n], out[3 * n :]
            up, cell, own = dh[r], dc[r], gy[r]
            for j in range(n):
                t = tanh(new[j])
                d = up[j] + own[j]
                e = cell[j] + d * o[j] * (one - t * t)
                do[j] = d * t * (o[j] * (one - o[j]))
                di[j] = e * g[j] * (i[j] * (one - i[j]))
                df[j] = e * old[j] * (f[j] * (one - f[j]))
                dg[j] = e * i[j] * (one - g[j] * g[j])
                cell[j] = e * f[j]
                up[j] = kept.dtype.type(0)
        else:
            for j in range(out.size):
                out[j] = kept.dtype.type(0)


@kernel(apart=True)
def _gru(a: Any, u: Any, alive: Any, h0: Any, c0: Any, kept: Any, h: Any, c: Any, lo: int, hi: int) -> None:
    """Gates r, z, and n = tanh(x + r u); h = n + z (h0 - n)."""
    n = h.shape[1]
    for r in range(lo, hi):
        if alive[r]:
            row, x = kept[r], a[r]
            reset, update, new, hidden = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
            xr, xz, xn, ur, uz, un = x[:n], x[n : 2 * n], x[2 * n :], u[0, r], u[1, r], u[2, r]
            for j in range(n):
                reset[j] = sigmoid(xr[j] + ur[j])
            for j in range(n):
                update[j] = sigmoid(xz[j] + uz[j])
            for j in range(n):
                hidden[j] = un[j]
                new[j] = tanh(xn[j] + reset[j] * un[j])
            out, old = h[r], h0[r]
            for j in range(n):
                out[j] = new[j] + update[j] * (old[j] - new[j])
        else:
            for j in range(n):
                h[r, j] = h0[r, j]


@kernel(apart=True)
def _gru_back(
    alive: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any, gy: Any, dh: Any, dc: Any, da: Any, du: Any, lo: int,
    hi: int,
) -> None:  # fmt: skip
    n = h.shape[1]
    one, zero = kept.dtype.type(1), kept.dtype.type(0)
    for r in range(lo, hi):
        out, side = da[r], du[r]
        if alive[r]:
            row, old = kept[r], h0[r]
            reset, update, new, hidden = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
            up, own = dh[r], gy[r]
            dr, dz, dn = out[:n], out[n : 2 * n], out[2 * n :]
            sr, sz, sn = side[:n], side[n : 2 * n], side[2 * n :]
            for j in range(n):
                d = up[j] + own[j]
                e = d * (one - update[j]) * (one - new[j] * new[j])
                q = e * hidden[j] * (reset[j] * (one - reset[j]))
                z = d * (old[j] - new[j]) * (update[j] * (one - update[j]))
                dn[j], sn[j] = e, e * reset[j]
                dr[j], sr[j] = q, q
                dz[j], sz[j] = z, z
                up[j] = d * update[j]
        else:
            for j in range(out.size):
                out[j] = zero
                side[j] = zero


@kernel(apart=True)
def _tanh(a: Any, u: Any, alive: Any, h0: Any, c0: Any, kept: Any, h: Any, c: Any, lo: int, hi: int) -> None:
    for r in range(lo, hi):
        if alive[r]:
            out, x, y = h[r], a[r], u[0, r]
            for j in range(out.size):
                out[j] = tanh(x[j] + y[j])
        else:
            for j in range(h.shape[1]):
                h[r, j] = h0[r, j]


@kernel(apart=True)
def _tanh_back(
    alive: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any, gy: Any, dh: Any, dc: Any, da: Any, du: Any, lo: int,
    hi: int,
) -> None:  # fmt: skip
    one, zero = h.dtype.type(1), h.dtype.type(0)
    for r in range(lo, hi):
        for j in range(h.shape[1]):
            if alive[r]:
                da[r, j] = (dh[r, j] + gy[r, j]) * (one - h[r, j] * h[r, j])
                dh[r, j] = zero
            else:
                da[r, j] = zero


@kernel(apart=True)
def _relu(a: Any, u: Any, alive: Any, h0: Any, c0: Any, kept: Any, h: Any, c: Any, lo: int, hi: int) -> None:
    zero = h.dtype.type(0)
    for r in range(lo, hi):
        for j in range(h.shape[1]):
            s = a[r, j] + u[0, r, j]
            h[r, j] = (zero if s < zero else s) if alive[r] else h0[r, j]


@kernel(apart=True)
def _relu_back(
    alive: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any, gy: Any, dh: Any, dc: Any, da: Any, du: Any, lo: int,
    hi: int,
) -> None:  # fmt: skip
    zero = h.dtype.type(0)
    for r in range(lo, hi):
        for j in range(h.shape[1]):
            if alive[r]:
                da[r, j] = zero if h[r, j] == zero else dh[r, j] + gy[r, j]
                dh[r, j] = zero
            else:
                da[r, j] = zero


STEPS: dict[str, tuple[Kernel, Kernel]] = {
    "lstm": (_lstm, _lstm_back), "gru": (_gru, _gru_back), "tanh": (_tanh, _tanh_back), "relu": (_relu, _relu_back),
}  # fmt: skip


class Run:
    """What one run of a layer is: its cell, inputs with time in front, and who is still in the sequence.

    Parameters
    ----------
    cell : {"lstm", "gru", "tanh", "relu"}
    x : ndarray
        (batch, time, inputs), and all others of its dtype.
    weight, recurrent : ndarray
        (inputs, gates units) and (units, gates units).
    lengths : ndarray or None
        Integers (batch,).
    reverse : bool
        From the last number of a sequence to the first.
    """

    def __init__(self, cell: str, x: Array, weight: Array, recurrent: Array, lengths: Any, reverse: bool) -> None:
        self.cell, self.reverse = cell, reverse
        self.weight, self.recurrent = weight, recurrent
        self.batch, self.time, _ = x.shape
        self.units = recurrent.shape[0]
        self.x = self.by_time(x)
        places = np.arange(self.time)[:: -1 if reverse else 1]
        self.padded = lengths is not None
        self.alive = places[:, None] < lengths if self.padded else np.ones((self.time, self.batch), bool)
        self.cost = self.batch * self.units * CELL * GATES[cell]

    def by_time(self, x: Array) -> Array:
        """(batch, time, ...) as (time, batch, ...), in the order of the steps."""
        return np.ascontiguousarray(x.swapaxes(0, 1)[:: -1 if self.reverse else 1])

    def by_example(self, x: Array) -> Array:
        return np.ascontiguousarray(x[:: -1 if self.reverse else 1].swapaxes(0, 1))


def recurrent_forward(run: Run, bias: Any, recurrent_bias: Any, h: Any, c: Any) -> tuple[Array, ...]:
    """The states of every step, time in front: outputs (batch, time, units), last states, and what was kept.

    Returns
    -------
    outputs, last_h, last_c : ndarray
    states, cells, kept : ndarray
        (time + 1, batch, units), the latter two of no steps where the cell has none; and the gates.
    """
    dtype, shape = run.x.dtype, (run.batch, run.units)
    step, width = STEPS[run.cell][0], GATES[run.cell] * run.units
    a = np.matmul(run.x.reshape(run.time * run.batch, run.x.shape[-1]), run.weight)
    if bias is not None:
        a += bias
    a = a.reshape(run.time, run.batch, width)
    states = np.empty((run.time + 1, *shape), dtype)
    cells = np.zeros((run.time + 1, *shape) if run.cell == "lstm" else (2, 1, 1), dtype)
    states[0] = 0 if h is None else h
    cells[0] = 0 if c is None else c
    if run.cell == "lstm":  # writes its gates over the sums
        kept = a
    else:
        kept = np.zeros((run.time, run.batch, KEPT[run.cell] * run.units), dtype)
    # a product a gate: one of them all steps through memory in powers of two, in which caches are slow
    gates = GATES[run.cell]
    recurrent = np.ascontiguousarray(run.recurrent.reshape(run.units, gates, run.units).swapaxes(0, 1))
    added = None if recurrent_bias is None else recurrent_bias.reshape(gates, 1, run.units)
    u = np.empty((gates, *shape), dtype)
    many = run.cell == "lstm"
    for t in range(run.time):
        np.matmul(states[t], recurrent, out=u)
        if added is not None:
            u += added
        before, after = (cells[t], cells[t + 1]) if many else (cells[0], cells[1])
        args = (u if many else a[t], u, run.alive[t], states[t], before, kept[t], states[t + 1], after)
        if run.cost < 60e-6:
            step.call(*args, 0, run.batch)
        else:
            share(step, args, run.batch, run.cost)
    outputs = np.where(run.alive[:, :, None], states[1:], 0) if run.padded else states[1:]
    return run.by_example(outputs), states[-1].copy(), cells[-1].copy(), states, cells, kept


def recurrent_backward(
    run: Run, g_y: Any, g_h: Any, g_c: Any, states: Array, cells: Array, kept: Array
) -> dict[str, Array]:
    """Gradients of `recurrent_forward`, through time: of x, weight, recurrent, bias, recurrent_bias, h and c."""
    dtype, shape = states.dtype, (run.batch, run.units)
    step, width = STEPS[run.cell][1], GATES[run.cell] * run.units
    da = np.empty((run.time, run.batch, width), dtype)
    du = np.empty_like(da) if run.cell == "gru" else da
    dh, dc = (np.zeros(shape, dtype) if g is None else np.array(g, dtype) for g in (g_h, g_c))
    gy = np.zeros((1, *shape), dtype) if g_y is None else run.by_time(g_y.astype(dtype, copy=False))
    turned, back = np.ascontiguousarray(run.recurrent.T), np.empty(shape, dtype)
    many = run.cell == "lstm"
    for t in reversed(range(run.time)):
        before, after = (cells[t], cells[t + 1]) if many else (cells[0], cells[1])
        own = gy[t] if g_y is not None else gy[0]
        args = (run.alive[t], kept[t], states[t], before, states[t + 1], after, own, dh, dc, da[t], du[t])
        if run.cost < 60e-6:
            step.call(*args, 0, run.batch)
        else:
            share(step, args, run.batch, run.cost)
        np.matmul(du[t], turned, out=back)
        dh += back
    rows = run.time * run.batch
    flat, side = da.reshape(rows, width), du.reshape(rows, width)
    past, x = states[:-1].reshape(rows, run.units), run.x.reshape(rows, run.x.shape[-1])
    dx = np.matmul(flat, run.weight.T).reshape(run.time, run.batch, run.x.shape[-1])
    return {
        "x": run.by_example(dx), "weight": np.matmul(x.T, flat), "recurrent": np.matmul(past.T, side),
        "bias": total(flat, 0), "recurrent_bias": total(side, 0), "h": dh, "c": dc,
    }  # fmt: skip

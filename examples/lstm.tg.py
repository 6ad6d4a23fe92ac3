"""Digits read by an LSTM, a row of pixels at a time: tensorgraph train lstm.tg.py --data digits"""

from __future__ import annotations

from tensorgraph.dsl import *


def Cell(x: f32[N, I], h: f32[N, H], c: f32[N, H], *, gates: Linear[I + H, 4 * H]):
    n, size = h.shape
    z = gates(concatenate([x, h], axis=1))
    i, f, g, o = [z[:, k * size : (k + 1) * size] for k in range(4)]
    c = sigmoid(f + 1.0) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def net(x: f32[N, 64], *, cell: Cell[8, 48], out: Linear[48, 10]) -> f32[N, 10]:
    n, _ = x.shape
    rows = x.reshape(n, 8, 8)
    h = c = zeros((n, 48))
    for t in range(8):
        h, c = cell(rows[:, t], h, c)
    return out(h)

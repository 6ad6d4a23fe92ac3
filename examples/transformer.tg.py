"""Digits read by a transformer, each row of pixels a token: tensorgraph train transformer.tg.py --data digits"""

from __future__ import annotations

from tensorgraph.dsl import *


def Attention(x: f32[N, T, D], heads, *, qkv: Linear[D, 3 * D], out: Linear[D, D]):
    n, t, d = x.shape
    parts = qkv(x).reshape(n, t, 3, heads, d // heads).transpose(2, 0, 3, 1, 4)
    q, k, v = parts[0], parts[1], parts[2]
    weights = softmax(q @ k.transpose(0, 1, 3, 2) * (d // heads) ** -0.5)
    return out((weights @ v).transpose(0, 2, 1, 3).reshape(n, t, d))


def Block(
    x: f32[N, T, D], *, norm1: LayerNorm[D], attention: Attention[D], norm2: LayerNorm[D],
    up: Linear[D, 2 * D], down: Linear[2 * D, D],
):
    x = x + attention(norm1(x), heads=4)
    return x + down(gelu(up(norm2(x))))


def net(
    x: f32[N, 64], *, rows: Linear[8, 32], positions: Parameter[f32[8, 32]] = normal(std=0.02),
    blocks: [Block[32]] * 2, norm: LayerNorm[32], head: Linear[32, 10],
) -> f32[N, 10]:
    h = rows(x.reshape(-1, 8, 8)) + positions
    for block in blocks:
        h = block(h)
    return head(norm(h).mean(axis=1))

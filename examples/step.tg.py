"""A whole training step: network, loss, gradients and update. Run it: tensorgraph train step.tg.py --data digits"""

from __future__ import annotations

from tensorgraph.dsl import *


def Net(x: f32[N, I], *, first: Linear[I, H], blocks: [Linear[H, H]] * 2, head: Linear[H, 10]):
    h = relu(first(x))
    for block in blocks:
        h = h + relu(block(h))
    return head(h)


def Nesterov(
    params, grads, *, v: [Buffer[like(p)] for p in params] = zeros(), lr: Buffer[f32] = constant(value=0.02),
    steps: Buffer[i64] = zeros(),
):
    rate = lr / sqrt(1.0 + 0.01 * astype(steps, "float32"))
    for p, g, v_p in zip(params, grads, v):
        fresh = 0.9 * v_p + g
        v_p.assign(fresh)
        p.assign(p - rate * (0.9 * fresh + g))
    steps.assign(steps + 1)


def predict(x: f32[N, 64], *, net: Net[64, 48]) -> f32[N, 10]:
    return net(x)


def step(x: f32[N, 64], y: i64[N], *, net: Net[64, 48], update: Nesterov) -> f32:
    loss = softmax_cross_entropy(net(x), y)
    params = parameters(net)
    *grads, norm = clip_norm(gradients(loss, params), 5.0)
    update(params, grads)
    return loss

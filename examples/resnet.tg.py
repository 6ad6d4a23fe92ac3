"""Digits read by a residual network of three stages: tensorgraph train resnet.tg.py --data digits"""

from __future__ import annotations

from tensorgraph.dsl import *


def Norm(x: f32[N, C, H, W], *, gamma: Parameter[f32[C]] = ones(), beta: Parameter[f32[C]] = zeros()):
    y, mu, var_ = layer_norm(x, axis=1)
    return y * gamma.reshape(-1, 1, 1) + beta.reshape(-1, 1, 1)


def Residual(x, *, conv1: Conv2d[3, 3, C, C], norm1: Norm[C], conv2: Conv2d[3, 3, C, C], norm2: Norm[C]):
    h = relu(norm1(conv1(x, padding=1)))
    return relu(x + norm2(conv2(h, padding=1)))


def Stage(x, stride, *, enter: Conv2d[3, 3, I, O], norm: Norm[O], blocks: [Residual[O]] * 2):
    x = relu(norm(enter(x, padding=1, stride=stride)))
    for block in blocks:
        x = block(x)
    return x


def net(x: f32[N, 64], *, stages: [Stage[1, 8], Stage[8, 16], Stage[16, 32]], head: Linear[32, 10]) -> f32[N, 10]:
    h = x.reshape(-1, 1, 8, 8)
    for stage, stride in zip(stages, [1, 2, 2]):
        h = stage(h, stride)
    return head(h.mean(axis=(2, 3)))

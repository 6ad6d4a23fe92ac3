"""Handwritten digits: one hidden layer with batch norm. Train it: tensorgraph train digits.tg.py --data digits"""

from tensorgraph.dsl import *


def net(
    x: f32[N, 64],
    *,
    hidden_weight: Parameter["hidden.weight", f32[64, 64]] = he_normal(),
    hidden_gamma: Parameter["hidden.gamma", f32[64]] = ones(),
    hidden_beta: Parameter["hidden.beta", f32[64]] = zeros(),
    hidden_mean: Buffer["hidden.running_mean", f32[64]] = zeros(),
    hidden_var: Buffer["hidden.running_var", f32[64]] = ones(),
    out_weight: Parameter["out.weight", f32[64, 10]] = he_normal(),
    out_bias: Parameter["out.bias", f32[10]] = zeros(),
) -> f32[N, 10]:
    with scope("hidden"):
        h = x @ hidden_weight
        z, mu, sigma2 = batch_norm(h, hidden_gamma, hidden_beta)
        a = relu(z)
        hidden_mean.assign(0.9 * hidden_mean + 0.1 * mu)
        hidden_var.assign(0.9 * hidden_var + 0.1 * sigma2)
    with scope("out"):
        logits = a @ out_weight + out_bias
    return logits


def predict(
    x: f32[N, 64],
    *,
    hidden_weight: Parameter["hidden.weight", f32[64, 64]],
    hidden_gamma: Parameter["hidden.gamma", f32[64]],
    hidden_beta: Parameter["hidden.beta", f32[64]],
    hidden_mean: Buffer["hidden.running_mean", f32[64]],
    hidden_var: Buffer["hidden.running_var", f32[64]],
    out_weight: Parameter["out.weight", f32[64, 10]],
    out_bias: Parameter["out.bias", f32[10]],
) -> f32[N, 10]:
    """At test time batch norm uses its running averages."""
    with scope("hidden"):
        h = x @ hidden_weight
        z = hidden_gamma * (h - hidden_mean) / sqrt(hidden_var + 1e-5) + hidden_beta
        a = relu(z)
    with scope("out"):
        logits = a @ out_weight + out_bias
    return logits

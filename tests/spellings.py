"""Ways in which people write batch norm, layer norm, softmax, log-softmax and cross-entropy, and near misses of them.

Each is (function, types of its arguments, the fused op that it is); a near miss names the ops that must not be found.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg

F = tg.f32
Y = tg.spec((6,), "int64")
NORM = (F[6, 4], F[4], F[4])
IMAGE = (F[3, 4, 5, 2], F[4], F[4])
LOGITS = (F[6, 4],)
LABELLED = (F[6, 4], Y)
SOFT = (F[6, 4], F[6, 4])

Spelling = tuple[Callable[..., Any], tuple[Any, ...], str]


# batch norm --------------------------------------------------------------------------------------------------------


def batch_norm_slides(z: Any, gamma: Any, beta: Any) -> Any:
    """Ng, course 2 week 3, a row an example."""
    mu = z.mean(axis=0)
    variance = ((z - mu) ** 2).mean(axis=0)
    z_norm = (z - mu) / tg.sqrt(variance + 1e-8)
    return gamma * z_norm + beta


def batch_norm_columns(z: Any, gamma: Any, beta: Any) -> Any:
    """The slides' own layout: a column an example, gamma and beta as columns."""
    m = z.shape[1]
    mu = tg.sum(z, axis=1, keepdims=True) / m
    variance = tg.sum(tg.square(z - mu), axis=1, keepdims=True) / m
    return gamma * ((z - mu) / tg.sqrt(variance + 1e-5)) + beta


def batch_norm_torch(x: Any, weight: Any, bias: Any) -> Any:
    """As a PyTorch module by hand: keepdim, unbiased=False, rsqrt."""
    mean = x.mean(0, keepdims=True)
    var = x.var(0, keepdims=True, correction=0)
    return (x - mean) * (1.0 / tg.sqrt(var + 1e-5)) * weight + bias


def batch_norm_jax(x: Any, scale: Any, offset: Any) -> Any:
    """As Haiku and Flax fold it: one scale, E[x²] - E[x]²."""
    mean = tg.mean(x, axis=0)
    mean2 = tg.mean(tg.square(x), axis=0)
    var = mean2 - tg.square(mean)
    inv = scale * (var + 1e-5) ** -0.5
    return x * inv + (offset - mean * inv)


def batch_norm_pytensor(x: Any, gamma: Any, beta: Any) -> Any:
    """dimshuffle and power."""
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    std = tg.power(x.var(axis=(0, 2, 3), keepdims=True) + 1e-4, 0.5)
    g = tg.reshape(gamma, shape=(1, -1, 1, 1))
    return (x - mean) * g / std + beta.reshape((1, 4, 1, 1))


def batch_norm_flattened(x: Any, gamma: Any, beta: Any) -> Any:
    """Images as rows of channels, back and forth."""
    n, c, h, w = x.shape
    rows = x.transpose((0, 2, 3, 1)).reshape((n * h * w, c))
    centred = rows - rows.mean(axis=0)
    variance = (centred * centred).sum(axis=0) / (n * h * w)
    y = centred / tg.sqrt(variance + 1e-5) * gamma + beta
    return y.reshape((n, h, w, c)).transpose((0, 3, 1, 2))


def batch_norm_by_products(x: Any, gamma: Any, beta: Any) -> Any:
    """Sums as products with a row of ones."""
    ones = tg.ones(shape=(1, 6)) / 6.0
    mu = ones @ x
    d = x - mu
    return d * (gamma / tg.sqrt(ones @ (d * d) + 0.001)) + beta


def batch_norm_plain(x: Any) -> Any:
    """Without gamma and beta."""
    return (x - x.mean(axis=0)) / tg.sqrt(x.var(axis=0) + 1e-3)


def batch_norm_two_steps(x: Any, gamma: Any, beta: Any) -> Any:
    """Two functions, as DeZero and textbooks split it; the exponential of half a logarithm for the root."""
    centred = x - x.mean(0)
    std = tg.exp(0.5 * tg.log((centred**2).mean(0) + 1e-5))
    normal = centred * tg.reciprocal(std)
    scaled = normal * gamma
    return scaled + beta


def batch_norm_moments(x: Any, gamma: Any, beta: Any) -> Any:
    """The moments are results too, as for running averages."""
    mu = x.mean(axis=0, keepdims=True)
    var = tg.mean((x - mu) ** 2, axis=0, keepdims=True)
    return (x - mu) / tg.sqrt(var + 1e-5) * gamma + beta, 0.9 * mu, 0.1 * var * (6 / 5)


def batch_norm_broadcast(x: Any, gamma: Any, beta: Any) -> Any:
    """MyGrad's and NumPy's explicit broadcasts."""
    mu = tg.broadcast_to(x.mean(axis=0), shape=x.shape)
    s = tg.broadcast_to(tg.sqrt(x.var(axis=0) + 1e-5), shape=x.shape)
    return tg.broadcast_to(gamma, shape=x.shape) * ((x - mu) / s) + tg.broadcast_to(beta, shape=x.shape)


# layer norm --------------------------------------------------------------------------------------------------------


def layer_norm_torch(x: Any, weight: Any, bias: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    var = x.var(-1, keepdims=True)
    return weight * (x - mean) / tg.sqrt(var + 1e-5) + bias


def layer_norm_jax(x: Any, scale: Any, bias: Any) -> Any:
    mean = tg.mean(x, axis=-1, keepdims=True)
    mean2 = tg.mean(x * x, axis=-1, keepdims=True)
    return (x - mean) * ((mean2 - mean * mean + 1e-6) ** -0.5 * scale) + bias


def layer_norm_annotated(x: Any, a: Any, b: Any) -> Any:
    """Over the last axis of a sequence."""
    d = x - x.sum(axis=2, keepdims=True) / x.shape[2]
    var = tg.expand_dims((d * d).mean(axis=2), axis=2)
    return a * d * tg.reciprocal(tg.sqrt(var + 1e-6)) + b


def layer_norm_images(x: Any, gamma: Any, beta: Any) -> Any:
    """Over everything but the examples."""
    flat = x.reshape((3, -1))
    h = (flat - flat.mean(axis=1)[:, None]) / tg.sqrt(flat.var(axis=1)[:, None] + 1e-5)
    return h.reshape(x.shape) * gamma + beta


def layer_norm_of_all(x: Any, gamma: Any, beta: Any) -> Any:
    """One mean over everything; the affine part fits no shape of the op's and stays."""
    return (x - x.mean()) / tg.sqrt(x.var() + 1e-5) * gamma + beta


def layer_norm_plain(x: Any) -> Any:
    d = x - x.mean(-1, keepdims=True)
    return d / tg.sqrt((d**2).mean(-1, keepdims=True) + 1e-5)


# softmax -----------------------------------------------------------------------------------------------------------


def softmax_textbook(x: Any) -> Any:
    return tg.exp(x) / tg.exp(x).sum(axis=1, keepdims=True)


def softmax_shifted(x: Any) -> Any:
    e = tg.exp(x - x.max(axis=-1, keepdims=True))
    return e / tg.sum(e, axis=-1, keepdims=True)


def softmax_detached(x: Any) -> Any:
    e = tg.exp(x - tg.max(x, axis=-1, keepdims=True).detach())
    return e * (1.0 / e.sum(-1, keepdims=True))


def softmax_of_all(x: Any) -> Any:
    """Shifted by one maximum of all."""
    e = tg.exp(x - x.max())
    return e / e.sum(axis=0)


def softmax_logsumexp(x: Any) -> Any:
    return tg.exp(x - tg.logsumexp(x, axis=-1, keepdims=True))


def softmax_columns(x: Any) -> Any:
    """The slides' t = e^z over a column, transposed about."""
    t = tg.exp(x.T)
    return (t / t.sum(axis=0)).T


def softmax_over_rows(x: Any) -> Any:
    """The shift runs along another axis than the sum, which is no error."""
    e = tg.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=0)


def softmax_of_log(x: Any) -> Any:
    return tg.exp(tg.log_softmax(x))


# log-softmax -------------------------------------------------------------------------------------------------------


def log_softmax_scipy(x: Any) -> Any:
    return x - tg.logsumexp(x, axis=1, keepdims=True)


def log_softmax_of_softmax(x: Any) -> Any:
    return tg.log(tg.softmax(x))


def log_softmax_shifted(x: Any) -> Any:
    d = x - tg.max(x, axis=-1, keepdims=True)
    return d - tg.log(tg.exp(d).sum(-1, keepdims=True))


def log_softmax_images(x: Any) -> Any:
    return x - tg.log(tg.sum(tg.exp(x), axis=1, keepdims=True))


# cross-entropy -----------------------------------------------------------------------------------------------------


def cross_entropy_autograd(z: Any, y: Any) -> Any:
    """autograd's examples: log-probabilities picked by index."""
    log_p = z - tg.logsumexp(z, axis=1, keepdims=True)
    return -tg.mean(log_p[np.arange(6), y])


def cross_entropy_torch(z: Any, y: Any) -> Any:
    """nll of log_softmax by gather."""
    log_p = tg.log_softmax(z, axis=1)
    return -tg.take_along_axis(log_p, y[:, None], axis=1).squeeze(1).mean()


def cross_entropy_cs231n(z: Any, y: Any) -> Any:
    shifted = z - z.max(axis=1, keepdims=True)
    p = tg.exp(shifted) / tg.exp(shifted).sum(axis=1, keepdims=True)
    return tg.sum(-tg.log(p[tg.arange(6), y])) / 6


def cross_entropy_jax(z: Any, y: Any) -> Any:
    """One-hot labels times log-probabilities."""
    one_hot = tg.one_hot(y, classes=4)
    return -tg.sum(one_hot * tg.log_softmax(z), axis=-1).mean()


def cross_entropy_optax(z: Any, y: Any) -> Any:
    """log-sum-exp less the label's logit."""
    label_logits = tg.take_along_axis(z, tg.expand_dims(y, axis=-1), axis=-1).squeeze(-1)
    return tg.mean(tg.logsumexp(z, axis=-1) - label_logits)


def cross_entropy_each(z: Any, y: Any) -> Any:
    return tg.logsumexp(z, axis=1) - z[np.arange(6), y]


def cross_entropy_compared(z: Any, y: Any) -> Any:
    """Labels compared with the classes."""
    hot = (y[:, None] == np.arange(4)).astype("float32")
    return (hot * -tg.log(tg.softmax(z))).sum() / z.shape[0]


def cross_entropy_sum(z: Any, y: Any) -> Any:
    return -(tg.one_hot(y, classes=4) * (z - tg.log(tg.exp(z).sum(1, keepdims=True)))).sum()


def cross_entropy_slides(z: Any, t: Any) -> Any:
    """-Σ y log ŷ, averaged."""
    p = tg.exp(z) / tg.exp(z).sum(axis=1, keepdims=True)
    return -(1 / 6) * tg.sum(t * tg.log(p))


def cross_entropy_soft(z: Any, t: Any) -> Any:
    return (-t * tg.log_softmax(z)).sum(-1).mean()


def cross_entropy_smoothed(z: Any, y: Any) -> Any:
    q = tg.one_hot(y, classes=4) * 0.9 + 0.1 / 4
    return -(q * tg.log_softmax(z)).sum(axis=1).mean()


def cross_entropy_of_parts(z: Any, y: Any) -> Any:
    return tg.softmax_cross_entropy(z, y, reduction="none").mean()


def cross_entropy_images(z: Any, y: Any) -> Any:
    """A class a pixel, flattened."""
    rows = z.transpose((0, 2, 1)).reshape((-1, 4))
    log_p = rows - tg.logsumexp(rows, axis=1, keepdims=True)
    return -log_p[np.arange(15), y.reshape((-1,))].mean()


def cross_entropy_of_neighbours(z: Any, y: Any) -> Any:
    """Each label's next class is the target: no class index says so, probabilities do."""
    hot = tg.one_hot(y, classes=4)
    return -(tg.concatenate([hot[:, 1:], hot[:, :1]], axis=1) * tg.log_softmax(z)).sum(1).mean()


def cross_entropy_weighted(z: Any, y: Any, w: Any) -> Any:
    """PyTorch's class weights."""
    losses = tg.logsumexp(z, axis=1) - z[np.arange(6), y]
    return (w[y] * losses).sum() / w[y].sum()


SPELLINGS: list[Spelling] = [
    (batch_norm_slides, NORM, "batch_norm"), (batch_norm_columns, (F[4, 6], F[4, 1], F[4, 1]), "batch_norm"),
    (batch_norm_torch, NORM, "batch_norm"), (batch_norm_jax, NORM, "batch_norm"),
    (batch_norm_pytensor, IMAGE, "batch_norm"), (batch_norm_flattened, IMAGE, "batch_norm"),
    (batch_norm_by_products, NORM, "batch_norm"), (batch_norm_plain, NORM[:1], "batch_norm"),
    (batch_norm_two_steps, NORM, "batch_norm"), (batch_norm_moments, NORM, "batch_norm"),
    (batch_norm_broadcast, NORM, "batch_norm"),
    (layer_norm_torch, NORM, "layer_norm"), (layer_norm_jax, NORM, "layer_norm"),
    (layer_norm_annotated, (F[2, 3, 5], F[5], F[5]), "layer_norm"),
    (layer_norm_images, (F[3, 2, 4], F[2, 4], F[2, 4]), "layer_norm"), (layer_norm_plain, NORM[:1], "layer_norm"),
    (layer_norm_of_all, NORM, "layer_norm"), (softmax_over_rows, LOGITS, "softmax"),
    (softmax_textbook, LOGITS, "softmax"), (softmax_shifted, LOGITS, "softmax"), (softmax_detached, LOGITS, "softmax"),
    (softmax_of_all, LOGITS, "softmax"), (softmax_logsumexp, LOGITS, "softmax"), (softmax_columns, LOGITS, "softmax"),
    (softmax_of_log, LOGITS, "softmax"),
    (log_softmax_scipy, LOGITS, "log_softmax"), (log_softmax_of_softmax, LOGITS, "log_softmax"),
    (log_softmax_shifted, LOGITS, "log_softmax"), (log_softmax_images, (F[2, 3, 4],), "log_softmax"),
    (cross_entropy_autograd, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_torch, LABELLED, "softmax_cross_entropy"), (cross_entropy_cs231n, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_jax, LABELLED, "softmax_cross_entropy"), (cross_entropy_optax, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_each, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_compared, LABELLED, "softmax_cross_entropy"), (cross_entropy_sum, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_slides, SOFT, "softmax_cross_entropy"), (cross_entropy_soft, SOFT, "softmax_cross_entropy"),
    (cross_entropy_smoothed, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_of_parts, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_images, (F[3, 4, 5], tg.spec((3, 5), "int64")), "softmax_cross_entropy"),
    (cross_entropy_of_neighbours, LABELLED, "softmax_cross_entropy"),
    (cross_entropy_weighted, (*LABELLED, F[4]), "softmax_cross_entropy"),
]  # fmt: skip


# near misses -------------------------------------------------------------------------------------------------------


def unbiased(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / tg.sqrt(x.var(0, correction=1) + 1e-5) * gamma + beta


def unbiased_by_hand(x: Any, gamma: Any, beta: Any) -> Any:
    d = x - x.mean(0)
    return d / tg.sqrt((d * d).sum(0) / (x.shape[0] - 1) + 1e-5) * gamma + beta


def eps_outside(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / (tg.sqrt(x.var(0)) + 1e-5) * gamma + beta


def eps_outside_tiny(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / (tg.sqrt(x.var(0)) + 1e-12) * gamma + beta


def detached_mean(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0).detach()) / tg.sqrt(x.var(0) + 1e-5) * gamma + beta


def detached_variance(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / tg.sqrt(x.var(0).detach() + 1e-5) * gamma + beta


def sum_for_mean(x: Any, gamma: Any, beta: Any) -> Any:
    d = x - x.mean(0)
    return d / tg.sqrt((d * d).sum(0) + 1e-5) * gamma + beta


def clipped(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / tg.sqrt(tg.clip(x.var(0), a_min=1e-30) + 1e-5) * gamma + beta


def floored(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / tg.sqrt(tg.maximum(x.var(0), 1e-30) + 1e-5) * gamma + beta


def mixed_axes(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / tg.sqrt(x.var(1, keepdims=True) + 1e-5) * gamma + beta


def no_centring(x: Any, gamma: Any, beta: Any) -> Any:
    """RMS norm."""
    return x / tg.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gamma + beta


def gamma_squared(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(0)) / tg.sqrt(x.var(0) + 1e-5) * gamma * gamma


def temperature(x: Any) -> Any:
    e = tg.exp(x)
    return e / tg.exp(x * 1.000001).sum(-1, keepdims=True)


def detached_sum(x: Any) -> Any:
    e = tg.exp(x)
    return e / e.sum(-1, keepdims=True).detach()


def shift_once(x: Any) -> Any:
    """The maximum does not cancel."""
    return tg.exp(x - x.max(-1, keepdims=True)) / tg.exp(x).sum(-1, keepdims=True)


def softmax_plus_one(x: Any) -> Any:
    e = tg.exp(x)
    return e / (1.0 + e.sum(-1, keepdims=True))


def halved_sum(z: Any) -> Any:
    return z - 0.5 * tg.logsumexp(z, axis=1, keepdims=True)


def off_by_one(z: Any, y: Any) -> Any:
    return -tg.log_softmax(z)[np.arange(6), y - 1].mean()


def clipped_probability(z: Any, y: Any) -> Any:
    return -tg.log(tg.clip(tg.softmax(z), a_min=1e-7))[np.arange(6), y].mean()


def padded_probability(z: Any, y: Any) -> Any:
    return -tg.log(tg.softmax(z) + 1e-8)[np.arange(6), y].mean()


def mean_of_everything(z: Any, y: Any) -> Any:
    return -(tg.one_hot(y, classes=4) * tg.log_softmax(z)).mean()


def detached_target_logit(z: Any, y: Any) -> Any:
    return (tg.logsumexp(z, axis=1) - z.detach()[np.arange(6), y]).mean()


def squared_error(z: Any, t: Any) -> Any:
    return ((tg.softmax(z) - t) ** 2).sum(1).mean()


NORMS = ("batch_norm", "layer_norm")
ENTROPY = ("softmax_cross_entropy",)
SOFTMAXES = ("softmax", "log_softmax")

NEAR_MISSES: list[tuple[Callable[..., Any], tuple[Any, ...], tuple[str, ...]]] = [
    *[
        (f, NORM, NORMS)
        for f in (
            unbiased, unbiased_by_hand, eps_outside, eps_outside_tiny, detached_mean, detached_variance, sum_for_mean,
            clipped, floored, mixed_axes, no_centring,
        )
    ],
    *[(f, LOGITS, SOFTMAXES) for f in (detached_sum, shift_once, softmax_plus_one, halved_sum, temperature)],
    *[
        (f, LABELLED, ENTROPY)
        for f in (
            off_by_one, clipped_probability, padded_probability, mean_of_everything,
            detached_target_logit,
        )
    ],
    (squared_error, SOFT, ENTROPY),
]  # fmt: skip

"""What each rule of lint finds, and what only looks like it."""

import functools
import random

import numpy as np
from lint_steps import gradient_step, parameter

import tensorgraph as tg
from tensorgraph import nn

RNG = np.random.default_rng(0)
F, I = "float32", "int64"
X, W, LABELS = tg.spec((8, 5)), tg.spec((5, 3)), tg.spec((8,), I)
COLUMN, ROW = tg.spec((8, 1)), tg.spec((8,))


def softmax_by_hand(x, axis=-1, shift=False):
    e = tg.exp(x - x.max(axis=axis, keepdims=True) if shift else x)
    return e / e.sum(axis=axis, keepdims=True)


def batch_norm_by_hand(y, eps=1e-5):
    centred = y - y.mean(axis=0)
    return centred / tg.sqrt(y.var(axis=0) + eps)


BIAS, GAMMA, BETA = parameter(5), tg.ones((5,)), tg.zeros((5,))
STATE = tg.Buffer(np.array([1, 2, 3], np.uint64), name="state")
FIXED = np.array([0, 3, 1, 4, 1, 2, 0, 2])
RATE = tg.Buffer(np.array(0.1), name="rate")
TARGETS = RNG.normal(size=(8, 1)).astype(F)
THREE = parameter(5, 3)
WEIGHT, EIGHT, FROZEN = parameter(5, 1), parameter(8), parameter(5, 1, requires_grad=False)
LINEAR = nn.Linear(5, 1, seed=0)


class Calling(nn.Module):
    def __init__(self, function):
        self.functions = lambda: function

    def forward(self, x):
        return self.functions()(x) + tg.random.normal(())


OWNING = Calling(lambda x: x * BIAS + LINEAR(x))
OWNING.parts = [LINEAR, {"bias": BIAS}]

OTHERS = np.random.default_rng(3)
RNG_ARRAY = RNG.normal(size=5).astype(F)
LEARNED = tg.tensor(RNG.normal(size=(5, 3)).astype(F), requires_grad=True)
AFTER = LEARNED * 2.0


def holding(generator):
    return lambda x: x * generator.uniform(0.0, 1.0)


class Noisy(nn.Module):
    def __init__(self):
        self.own = np.random.default_rng(0)

    def forward(self, x):
        return x + self.own.normal(size=5).astype(F)


def draw(write):
    def function(x):
        u, state = tg.uniform(STATE, shape=x.shape)
        if write:
            STATE.assign(state)
        return x * u

    return function


def draw_in_turn(x):
    u, state = tg.uniform(STATE, shape=x.shape)
    v, state = tg.uniform(state, shape=x.shape)
    STATE.assign(state)
    return x * u + v


def same_state(second):
    def function(state, x):
        u, after = tg.uniform(state, shape=x.shape)
        v, _ = second(state, shape=x.shape)
        return x * u + v, after

    return function


P, Q = parameter(5, 1), parameter(1)


def norm_loss(root):
    def loss(x):
        return root((x @ P) + Q)

    return gradient_step(loss, P, Q)


class Unread(nn.Module):
    """A module with a layer that its forward does not use."""

    def __init__(self, use):
        self.a, self.b, self.use = nn.Linear(5, 3, seed=0), nn.Linear(5, 3, seed=1), use

    def forward(self, x):
        return self.a(x) + self.b(x) if self.use else self.a(x)


def dead_line(keep):
    def function(x):
        y = tg.exp(x)
        z = tg.tanh(x * 2.0)
        return y + z if keep else y

    return function


def unused_gradients(x):
    loss = (x @ WEIGHT).sum()
    loss.backward()
    return loss


def argmax_of_a_parameter(x, differentiable):
    scores = x @ P
    chosen = tg.sigmoid(scores) if differentiable else (scores > 0.0).astype(F)
    return ((chosen + Q) ** 2).mean()


def count_of(mask, guard=None):
    count = mask.sum()
    return tg.maximum(count, 1) if guard == "maximum" else count + 1e-6 if guard == "add" else count


def root_before_its_condition(x):
    y = tg.sqrt(x)
    return tg.where(x > 0, y, 0.0).sum()


# the rule, what it must find (in at least two spellings), what only looks like it (at least two)
CASES = {
    "TG001": (
        [
            (lambda x, y: tg.softmax_cross_entropy(tg.softmax(x), y), X, LABELS),
            (lambda x, y: tg.softmax_cross_entropy(softmax_by_hand(x, shift=True), y), X, LABELS),
            (lambda x: tg.log_softmax(tg.exp(tg.log_softmax(x))).mean(), X),
            (lambda x, y: tg.softmax_cross_entropy(tg.exp(x - tg.logsumexp(x, axis=1)[:, None]), y), X, LABELS),
            (lambda x, y: tg.softmax_cross_entropy(tg.softmax(x).reshape(-1, 5), y), tg.spec((2, 4, 5)), LABELS),
            (lambda x: tg.log_softmax(tg.softmax(x).reshape(-1, 5), axis=1).mean(), tg.spec((2, 4, 5))),
            (lambda x, y: tg.softmax_cross_entropy(tg.clip(tg.softmax(x), 1e-7, 1.0) + 1e-8, y), X, LABELS),
        ],
        [
            (lambda x, y: tg.softmax_cross_entropy(x, tg.softmax(y)), X, X),  # a distribution as the target
            (lambda x, y: tg.softmax_cross_entropy(tg.softmax(x) @ y, tg.zeros((8,), dtype=I)), X, W),  # attention
            (lambda x: tg.softmax(tg.softmax(x, axis=0), axis=1), X),
            (lambda x: tg.softmax(tg.softmax(x).reshape(4, 10)), X),  # of other groups
            (lambda x, y: tg.softmax_cross_entropy(x - x.max(axis=1, keepdims=True), y), X, LABELS),
        ],
    ),
    "TG002": (
        [
            (lambda x: tg.batch_norm(x + BIAS, GAMMA, BETA)[0], X),
            (nn.Sequential(nn.Linear(5, 4, seed=0), nn.BatchNorm(4)), X),
            (lambda x: batch_norm_by_hand(BIAS + x), X),
            (lambda x: tg.batch_norm(x - tg.reshape(BIAS, shape=(1, 5, 1)), GAMMA, BETA)[0], tg.spec((8, 5, 3))),
            (lambda x, w: (y := x @ w + BIAS) - y.sum(axis=0, keepdims=True) / 8.0, X, tg.spec((5, 5))),
        ],
        [
            (nn.Sequential(nn.Linear(5, 4, bias=False, seed=0), nn.BatchNorm(4)), X),
            (lambda x, y: tg.batch_norm(x + y, GAMMA, BETA)[0], X, X),  # two of the same shape: a residual
            (lambda x: (y := x + BIAS) + tg.batch_norm(y, GAMMA, BETA)[0], X),  # the bias is seen beside it
            (lambda x: (y := x + BIAS) - y.mean(axis=1, keepdims=True), X),  # a layer norm: the bias differs along it
            (lambda x: tg.batch_norm(tg.relu(x + BIAS), GAMMA, BETA)[0], X),
            (nn.Sequential(nn.Linear(5, 4, seed=0), nn.BatchNorm(4)).eval(), X),  # running averages do not see it
        ],
    ),
    "TG003": (
        [
            (lambda x: tg.log(tg.softmax(x)).mean(), X),
            (lambda x: -tg.log(softmax_by_hand(x, shift=True)).sum(), X),
            (lambda x: -tg.log(tg.softmax(x)[np.arange(8), FIXED]).mean(), X),
            (lambda x: tg.log(tg.softmax(x) + 1e-8).mean(), X),
            (lambda x: tg.log(tg.clip(tg.softmax(x), a_min=1e-7)).mean(), X),
            (lambda x, y: -tg.log((tg.one_hot(y, 5) * tg.softmax(x)).sum(axis=1)).mean(), X, LABELS),
        ],
        [
            (lambda x: tg.log_softmax(x).mean(), X),
            (lambda x: tg.log(tg.softmax(x).mean(axis=0)), X),  # of a mixture
            (lambda x: tg.log((tg.tensor(TARGETS[:5, 0]) * tg.softmax(x)).sum(axis=1)), X),  # of a weighted one
            (lambda x: tg.log(1.0 - tg.softmax(x)), X),
        ],
    ),
    "TG004": (
        [
            (lambda p, y: ((p - y) ** 2).mean(), COLUMN, ROW),
            (lambda x, y: (y * tg.softplus(x @ WEIGHT)).sum(), X, ROW),
            (lambda x, y: tg.absolute(y - LINEAR(x)).mean(), X, ROW),
        ],
        [
            (lambda p, y: ((p.reshape(-1) - y) ** 2).mean(), COLUMN, ROW),
            (lambda p, y: ((p[:, None] - y) ** 2).mean(), ROW, ROW),  # all pairs, and said so
            (lambda p, y: ((p - y) ** 2).min(axis=1).mean(), COLUMN, ROW),  # a distance to the nearest
            (lambda x: (x * EIGHT + 1.0).mean(), COLUMN),  # a layer from one feature to eight
        ],
    ),
    "TG005": (
        [
            (lambda x: tg.batch_norm(x, GAMMA, BETA)[0], tg.spec((1, 5))),
            (lambda x: x - x.mean(axis=0), tg.spec((1, 5))),
            (lambda x: x.var(axis=1, correction=1), COLUMN),
            (lambda x: tg.layer_norm(x, tg.ones((1,)), tg.zeros((1,)))[0], COLUMN),
        ],
        [
            (lambda x: tg.batch_norm(x, GAMMA, BETA)[0], tg.spec((1, 5, 2))),
            (lambda x: x - x.mean(axis=1, keepdims=True), tg.spec((1, 5))),
            (lambda x: x.var(axis=0), COLUMN),
            (lambda x: tg.layer_norm(x, GAMMA, BETA)[0], tg.spec((1, 5))),
        ],
    ),
    "TG006": (
        [
            (Unread(use=False), X),
            (lambda x: (x @ WEIGHT, x.sum() + (0.0 * x[0, 0]))[1], X),
            (Unread(use=False).forward, X),
        ],
        [
            (Unread(use=True), X),
            (lambda x: x @ WEIGHT, X),
            (lambda x: (x @ FROZEN, x)[1], X),
        ],
    ),
    "TG007": (
        [
            (gradient_step(lambda x: argmax_of_a_parameter(x, False), P, Q), X),
            (gradient_step(lambda x: (x[:, :1] * Q + (P.argmax() * 1.0)).sum(), P, Q), X),
        ],
        [
            (gradient_step(lambda x: argmax_of_a_parameter(x, True), P, Q), X),
            (gradient_step(lambda x: ((x @ P).detach() * Q).sum(), P, Q), X),  # said on purpose
            (lambda x: (x @ P > 0.0).astype(F) + Q, X),  # nothing is learned here
        ],
    ),
    "TG008": (
        [
            (gradient_step(lambda x: ((x @ P + Q) ** 2).mean(), P, Q, updated=[P]), X),
            (gradient_step(lambda x: (x @ P * Q).sum(), P, Q, updated=[Q]), X),
        ],
        [
            (gradient_step(lambda x: ((x @ P + Q) ** 2).mean(), P, Q), X),
            (lambda x: tg.gradients((x @ P + Q).sum(), [P, Q]), X),  # a function that returns them
            (gradient_step(lambda x: (x @ P + Q.detach()).sum(), P), X),
        ],
    ),
    "TG009": (
        [(lambda x, y: x * 2.0, X, ROW), (lambda pair: tg.exp(pair["a"]), {"a": X, "b": ROW})],
        [(lambda x, y: (x * 2.0, y), X, ROW), (lambda x, y: x + y, X, X), (lambda x, flag: x * 2.0, X, True)],
    ),
    "TG010": (
        [(dead_line(keep=False), X), (unused_gradients, X)],
        [
            (dead_line(keep=True), X),
            (lambda x: tg.batch_norm(x, GAMMA, BETA)[0], X),  # outputs that come along
            (gradient_step(lambda x: ((x @ P + Q) ** 2).mean(), P, Q), X),
        ],
    ),
    "TG011": (
        [
            (lambda x: tg.softmax_cross_entropy(x, FIXED), X),
            (lambda x: ((x @ WEIGHT - TARGETS) ** 2).mean(), X),
            (lambda x: tg.absolute(TARGETS - x @ WEIGHT).sum(), X),
            (lambda x: (x.argmax(axis=1) == FIXED).mean(), X),
            (lambda x: -tg.log_softmax(x @ THREE)[np.arange(8), FIXED % 3].mean(), X),
        ],
        [
            (lambda x, y: tg.softmax_cross_entropy(x, y), X, LABELS),
            (lambda x: (x - np.full((8, 1), 0.5, F)).mean(), X),  # the same number everywhere
            (lambda x: (x + TARGETS) @ WEIGHT, X),  # a table of positions
            (lambda x: ((x @ WEIGHT - TARGETS[:1]) ** 2).mean(), X),
            (lambda x: tg.softmax_cross_entropy(x @ x.T, np.arange(8)), X),  # each with itself: contrastive learning
            (lambda x: tg.softmax_cross_entropy(x @ x.T, np.arange(8) ^ 1), X),  # each with its other view
            (lambda x: tg.softmax_cross_entropy(x[:, :4], np.repeat(np.arange(4), 2)), X),  # episodes, two of each
            (lambda x: tg.softmax_cross_entropy(x[:, :4], np.tile(np.arange(4), 2)), X),
            (lambda x: (x @ THREE)[np.arange(8), np.arange(8) % 2].sum(), X),
            (lambda x: ((x @ x.T - np.eye(8, dtype=F)) ** 2).mean(), X),
        ],
    ),
    "TG012": (
        [
            (lambda x: x * np.array(np.sqrt(2.0)), X),
            (lambda x, w: tg.tanh(x @ w), X, tg.spec((5, 3), "float64")),
            (lambda x: x / tg.Buffer(np.ones(5), name="std"), X),
        ],
        [
            (lambda x: x * float(np.sqrt(2.0)), X),
            (lambda x: x * np.sqrt(2.0), X),  # a number, as Python's
            (lambda x: x.astype("float64") * np.sqrt(2.0), X),  # said
            (lambda x: (x.astype("float64").sum(axis=0) + x).astype(F), X),
            (lambda x: (x * RATE).astype(F) + x, X),  # brought back at once
            (lambda x, w: x @ w, tg.spec((8, 5), "float64"), tg.spec((5, 3), "float64")),
            (lambda x: x * tg.where(x > 0.0, 1.0, 0.5) + tg.zeros(5), tg.spec((8, 5), "float64")),  # unchosen
        ],
    ),
    "TG013": (
        [
            (lambda x: tg.log(tg.exp(x).sum(axis=1)), X),
            (lambda x: tg.log(tg.sum(tg.exp(x * 2.0), axis=0, keepdims=True)), X),
            (lambda x: tg.log(tg.exp(x).mean()), X),
        ],
        [
            (lambda x: tg.log(tg.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1)), X),
            (lambda x: tg.log(tg.exp(-(x**2)).sum()), X),
            (lambda x: tg.log(tg.exp(tg.tanh(x) * 3.0).sum()), X),
            (lambda x: tg.logsumexp(x, axis=1), X),
        ],
    ),
    "TG014": (
        [
            (lambda x: softmax_by_hand(x), X),
            (lambda x: (e := tg.exp(x)) / e.sum(axis=1)[:, None], X),
            (lambda x: (e := tg.exp(x)) * tg.reciprocal(e.sum(axis=0, keepdims=True)), X),
        ],
        [
            (lambda x: softmax_by_hand(x, shift=True), X),
            (lambda x: (e := tg.exp(x)) / e.sum(), X),  # over everything, on purpose
            (lambda x: (e := tg.exp(-tg.square(x))) / e.sum(axis=1, keepdims=True), X),  # kernel weights
            (lambda x: tg.softmax(x), X),
        ],
    ),
    "TG015": (
        [
            (lambda x: tg.log(tg.sigmoid(x)).mean(), X),
            (lambda x: tg.log(1.0 - tg.sigmoid(x)).mean(), X),
            (lambda x: tg.log(1.0 / (1.0 + tg.exp(-x))), X),
            (lambda x: tg.log1p(-tg.sigmoid(x)), X),
            (lambda x: tg.log(tg.sigmoid(x) + 1e-8), X),
        ],
        [
            (lambda x: -tg.softplus(-x), X),
            (lambda x, w: tg.log(tg.sigmoid(x) @ w), X, W),
            (lambda x: tg.log(1.0 + tg.sigmoid(x)), X),
        ],
    ),
    "TG016": (
        [
            (norm_loss(lambda y: tg.sqrt((y * y).sum())), X),
            (norm_loss(lambda y: (y**2).mean() ** 0.5), X),
            (norm_loss(lambda y: tg.sqrt(y.var())), X),
            (lambda x: tg.sqrt(tg.square(x @ P).sum(axis=1)), X),
        ],
        [
            (norm_loss(lambda y: tg.sqrt((y * y).sum() + 1e-12)), X),
            (norm_loss(lambda y: tg.sqrt(tg.maximum((y * y).sum(), 1e-12))), X),
            (lambda x: tg.sqrt((x * x).sum()), X),  # no parameter, no gradient
            (norm_loss(lambda y: (y * y).sum() / tg.sqrt((y * y).sum().detach())), X),
        ],
    ),
    "TG017": (
        [
            (lambda x, y: x.sum() / count_of(y > 0), X, LABELS),
            (lambda x, m: tg.where(m, x, 0.0).sum(axis=1) / m.astype(F).sum(axis=1), X, tg.spec((8, 5), "bool")),
        ],
        [
            (lambda x, y: x.sum() / count_of(y > 0, "maximum"), X, LABELS),
            (lambda x, y: x.sum() / count_of(y > 0, "add"), X, LABELS),
            (lambda x, y: (x.argmax(axis=1) == y).sum() / 8, X, LABELS),
            (lambda x, w: x.sum() / w.sum(), X, ROW),
        ],
    ),
    "TG018": (
        [
            (lambda x: tg.sigmoid(x).astype(I), X),
            (lambda x: softmax_by_hand(x, shift=True).astype("int32"), X),
            (lambda x: (x * 2.0).astype(I).mean(), X),
        ],
        [
            (lambda x: (tg.sigmoid(x) * 10.0).astype(I), X),
            (lambda x: (tg.sigmoid(x) > 0.5).astype(I), X),
            (lambda x: (x > 0.0).astype(I).mean(), X),
        ],
    ),
    "TG019": (
        [(draw(write=False), X), (lambda x: x * tg.normal(STATE, shape=x.shape)[0], X)],
        [(draw(write=True), X), (draw_in_turn, X), (nn.Dropout(0.5, seed=0), X)],
    ),
    "TG020": (
        [
            (same_state(tg.uniform), tg.spec((3,), "uint64"), X),
            (same_state(tg.normal), tg.spec((3,), "uint64"), X),
        ],
        [
            (draw_in_turn, X),
            (nn.Sequential(nn.Dropout(0.5, seed=0), nn.Dropout(0.5, seed=0)), X),
            (lambda s, x: x * tg.uniform(s, shape=x.shape)[0], tg.spec((3,), "uint64"), X),
        ],
    ),
    "TG021": (
        [
            (lambda x: tg.softmax(x @ WEIGHT), X),
            (lambda x, y: tg.softmax_cross_entropy(x @ WEIGHT, y), X, LABELS),
        ],
        [
            (lambda x: tg.softmax(x @ WEIGHT, axis=0), X),
            (lambda x: tg.sigmoid(x @ WEIGHT), X),
            (lambda q, k: tg.softmax(q @ k.mT) @ k, tg.spec((2, 3, 1, 4)), tg.spec((2, 3, 1, 4))),  # one position
        ],
    ),
    "TG022": (
        [
            (lambda x: tg.log(1.0 + tg.exp(x)), X),
            (lambda x: tg.log1p(tg.exp(-x)), X),
        ],
        [
            (lambda x: tg.log1p(tg.exp(-tg.absolute(x))) + tg.maximum(x, 0.0), X),
            (lambda x: tg.softplus(x), X),
            (lambda x: tg.log(2.0 + tg.exp(x)), X),
        ],
    ),
    "TG023": (
        [
            (lambda x: 1.0 / (1.0 + tg.exp(-x)), X),
            (lambda x: tg.reciprocal(tg.exp(-x) + 1.0), X),
            (lambda x: (e := tg.exp(x)) / (1.0 + e), X),
        ],
        [
            (lambda x: tg.sigmoid(x), X),
            (lambda x: 1.0 / (1.0 + tg.exp(-tg.absolute(x))), X),
            (lambda x: 1.0 / (1.0 + tg.square(x)), X),
        ],
    ),
    "TG024": (
        [
            (lambda x: tg.where(x > 0, tg.sqrt(x), x).sum(), X),
            (lambda x: tg.where(x == 0, 0.0, tg.log(abs(x))).sum(), X),
            (lambda x: tg.where(x != 0, 1 / x, 0.0), X),
            (lambda x, y: tg.where(y != 0, x / y, 0.0), X, X),
            (lambda x: tg.where(x > 0, x**0.5, 0.0), X),
            (lambda x: tg.where(x > 0, x**1.5, 0.0), X),
            (lambda x: tg.where(x == 0, 0.0, x**-1), X),
            (lambda x: tg.where(x > 0, x * tg.log(x), 0.0), X),
            (lambda x: tg.where(x == 0, 1.0, tg.sin(x) / x), X),
            (lambda x: tg.where(x > 0, x, tg.exp(x) - 1), X),
            (lambda x: tg.where(x > 0, x, tg.expm1(x)), X),
            (lambda x: tg.where(x >= 1, tg.sqrt(x - 1), 0.0), X),
            (lambda x: tg.where(abs(x) < 1, tg.sqrt(1 - x * x), 0.0), X),
            (lambda x: tg.where((x > 0) & (x < 9), 3 * tg.log(x) + 1, 0.0), X),
            (lambda x: tg.where(tg.logical_not(x <= 0), tg.reciprocal(x), 0.0), X),
            (lambda x: tg.where(tg.isfinite(tg.log(x)), tg.log(x), 0.0), X),
            (lambda x, n: tg.where(n > 0, x / n, 0.0), X, COLUMN),
            (lambda x, n: tg.where((n > 0)[:, None], x / n[:, None], 0.0), X, ROW),
            (lambda x, n: tg.where((n > 0).reshape(8, 1), x / n.reshape(8, 1), 0.0), X, ROW),
            (lambda x: tg.where((x * x).sum(axis=1) > 0, tg.sqrt((x * x).sum(axis=1)), 0.0), X),
            (root_before_its_condition, X),
            (lambda x: (lambda y: tg.where(y > 0, tg.sqrt(y), 0.0).sum())(x @ P + Q), X),
            (lambda x: tg.where(x.sum() > 1, tg.sqrt(abs(x)).sum(), 0.0), X),
            (lambda x: tg.where(x.mean() <= 0, 0.0, 2 * tg.log(abs(x)).mean()), X),
            (lambda x: tg.where(tg.max(x) > 0, tg.sqrt(abs(x)).sum(axis=0).max(), 0.0), X),
            (lambda x: tg.where(x.sum() > 1, tg.concatenate([tg.sqrt(x), x]).sum(), 0.0), X),
            (lambda x: tg.where(tg.any(x > 0), (tg.sqrt(x) @ tg.ones((5, 2))).sum(), 0.0), X),
            (lambda x: tg.where((x > 0).sum(axis=1) > 0, tg.log(x).sum(axis=1), 0.0), X),
            (lambda x: tg.where(x.sum() > 0, tg.sqrt(x)[0, 0], 0.0), X),
            (lambda x: (tg.sqrt(x) * (x > 0)).sum(), X),
            (lambda x: ((x != 0).astype("float32") * (1 / x)).sum(), X),
            (lambda x: (tg.where(x <= 0, 0.0, 1.0) * tg.sqrt(x)).sum(), X),
            (lambda x, n: x / n * ((n > 0) & (n < 9)), X, COLUMN),
            (lambda x: tg.sqrt(x).sum() * (x.sum() > 0), X),
            (lambda x: (tg.sqrt(x) * (1 - 2 * (x <= 0) * 0.5)).sum(), X),
            (lambda x, y: (tg.sqrt(y) * ((x > 0) * 2.0 * (y > 0))).sum(), X, X),
        ],
        [
            (lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1.0)), x).sum(), X),
            (lambda x: tg.where(x == 0, 0.0, tg.log(tg.where(x == 0, 1.0, x))), X),
            (lambda x: tg.log(tg.where(x > 0, x, 1.0)), X),
            (lambda x: tg.where(x > 0, tg.log(tg.maximum(x, 1e-6)), 0.0), X),
            (lambda x: tg.where(x > 0, tg.log(tg.clip(x, a_min=1e-6)), 0.0), X),
            (lambda x: tg.where(x > 0, tg.sqrt(x + 1e-6), 0.0), X),
            (lambda x: tg.where(x > 0, x, tg.exp(tg.minimum(x, 0.0)) - 1), X),
            (lambda x: tg.where(abs(x) < 1, 0.5 * x**2, abs(x) - 0.5), X),
            (lambda x, y: tg.where(x > 0, x / (y * y + 1), 0.0), X, X),
            (lambda x: tg.where((x * x).sum(axis=1) > 0, tg.sqrt((x * x).sum(axis=0)[0]), 0.0), X),
            (lambda x: tg.where(x[:, :1] > 0, tg.sqrt(x[:, 1:2]), 0.0), X),
            (lambda x, n: tg.where((n > 0)[:, None], x / tg.maximum(n, 1.0)[:, None], 0.0), X, ROW),
            (lambda x: tg.where(x > 0, tg.log1p(tg.exp(-abs(x))), 0.0), X),
            (lambda x: tg.where(x > 0, tg.stop_gradient(tg.sqrt(x)), 0.0), X),
            (lambda x: tg.where(x > 0, tg.sqrt(tg.exp(-(x**2)) + 1), 1.0), X),
            (lambda x: tg.where(x >= 0, tg.log(x), 0.0), X),
            (lambda m, x: tg.where(m, tg.log(x), 0.0), tg.spec((8, 5), "bool"), X),
            (norm_loss(lambda y: tg.where(y > 0, tg.tanh(y), y).sum()), X),
            (lambda x: tg.where(x.sum() > 1, tg.sqrt(tg.where(x > 0, x, 1.0)).sum(), 0.0), X),
            (lambda x: tg.where(x.sum() > 1, tg.sqrt(x * x + 1e-6).sum(), 0.0), X),
            (lambda x: tg.where(x.sum() > 1, tg.exp(x).sum(), 0.0), X),
            (lambda x: tg.where(x.sum() >= 0, tg.log(x).sum(), 0.0), X),
            (lambda x, y: tg.where(y.sum() > 1, tg.sqrt(x).sum(), 0.0), X, X),
            (lambda x: tg.where(x[0, 0] > 0, tg.sqrt(x[1:]).sum(), 0.0), X),
            (lambda x: tg.where(x.sum() > 1, tg.stop_gradient(tg.sqrt(x)).sum(), 0.0), X),
            (lambda x: (tg.sqrt(tg.where(x > 0, x, 1.0)) * (x > 0)).sum(), X),
            (lambda x: (tg.tanh(x) * (x > 0)).sum(), X),
            (lambda m, x: tg.log(x) * m, tg.spec((8, 5), "bool"), X),
            (lambda x: (tg.log(x) * (x >= 0)).sum(), X),
            (lambda x: tg.sqrt(x) * tg.where(x > 0, 2.0, 1.0), X),
            (lambda x: tg.sqrt(x) * (x.sum() > 0.0), X),
            (lambda x: tg.sqrt(x) * (1 + (x > 0)), X),
            (lambda x: tg.sqrt(x) * x, X),
        ],
    ),
    "TG025": (
        [
            (lambda x: x * np.random.rand(5), X),  # noqa: NPY002
            (lambda x: x if np.random.randint(2) else -x, X),  # noqa: NPY002
            (lambda x: x * random.random(), X),
            (lambda x: x[np.array(random.sample(range(8), 4))], X),
            (lambda x: x * OTHERS.normal(), X),
            (holding(np.random.default_rng(1)), X),
            (holding(np.random.RandomState(1)), X),
            (functools.partial(lambda rng, x: x * rng.random(), random.Random(0)), X),
            (lambda x, rng=OTHERS: x + rng.normal(size=5), X),
            (lambda x, rng: x + rng.normal(size=5), X, np.random.default_rng(2)),
            (Noisy(), X),
        ],
        [
            (lambda x: x * tg.random.normal((5,)), X),
            (lambda x: x * RNG_ARRAY, X),
            (holding(random.SystemRandom()), X),
            (nn.Dropout(0.5), X),
            (lambda x: x * 0.5 if OTHERS is not None else x, X),
        ],
    ),
    "TG026": (
        [
            (lambda x: x @ LEARNED, X),
            (lambda x: (x @ (LEARNED * 2.0)).sum() + LEARNED.sum(), X),
            (lambda x: x @ AFTER, X),
            (lambda x: (x @ LEARNED, LEARNED.detach()), X),
        ],
        [
            (lambda x: x @ LEARNED.detach(), X),
            (lambda x: x @ THREE, X),
            (lambda x, w: x @ w, X, LEARNED),
            (lambda x: x @ tg.tensor(RNG_ARRAY[:, None]), X),
            (lambda x: x * LEARNED.shape[0], X),
        ],
    ),
    "TG027": (
        [(Calling(LINEAR), X), (Calling(lambda x: LINEAR(x)), X), (Calling(lambda x: x * BIAS), X)],
        [(Calling(lambda x: x * 2.0), X), (LINEAR, X), (lambda x: LINEAR(x), X), (OWNING, X)],
    ),
}  # fmt: skip

POSITIVE = [(id, n, case) for id, (positive, _) in CASES.items() for n, case in enumerate(positive)]
NEGATIVE = [(id, n, case) for id, (_, negative) in CASES.items() for n, case in enumerate(negative)]

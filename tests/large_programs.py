"""Programs of the size that people train: what prints, reads back and is drawn must hold for these too.

Each function builds a graph from a model as its author would write it; `PROGRAMS` has them by name.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.commands.demo.digits import network
from tensorgraph.graph.graph import Graph


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        self.first, self.norm = nn.Linear(width, width, seed=0), nn.BatchNorm(width)
        self.second = nn.Linear(width, width, seed=1)

    def forward(self, x):
        return x + self.second(tg.relu(self.norm(self.first(x))))


class Residual(nn.Module):
    def __init__(self, blocks: int, width: int = 16):
        self.stem, self.head = nn.Linear(8, width, seed=2), nn.Linear(width, 4, seed=3)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim, seed=0), nn.Linear(dim, dim, seed=1)

    def forward(self, x):
        n, t, d = x.shape
        parts = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).transpose(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        scores = q @ k.transpose(0, 1, 3, 2) * (d // self.heads) ** -0.5
        future = np.triu(np.full((t, t), -1e9, np.float32), 1)
        return self.out((tg.softmax(scores + future) @ v).transpose(0, 2, 1, 3).reshape(n, t, d))


class TransformerBlock(nn.Module):
    def __init__(self, dim: int, heads: int):
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.up, self.down = nn.Linear(dim, 4 * dim, seed=2), nn.Linear(4 * dim, dim, seed=3)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(tg.relu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    def __init__(self, words: int = 96, dim: int = 48, heads: int = 4, layers: int = 12, length: int = 16):
        self.tokens, self.positions = (
            nn.Embedding(words, dim, seed=4),
            tg.Parameter(np.zeros((length, dim), np.float32)),
        )
        self.blocks = nn.Sequential(*[TransformerBlock(dim, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, words, seed=5)

    def forward(self, ids):
        return self.head(self.norm(self.blocks(self.tokens(ids) + self.positions)))


class UNet(nn.Module):
    """Down and up again, with a skip at each size."""

    def __init__(self, widths: tuple[int, ...] = (32, 16, 8)):
        self.down = [nn.Linear(a, b, seed=i) for i, (a, b) in enumerate(itertools.pairwise(widths))]
        self.bridge = nn.Linear(widths[-1], widths[-1], seed=9)
        self.up = [nn.Linear(2 * b, a, seed=i) for i, (a, b) in enumerate(itertools.pairwise(widths))][::-1]

    def forward(self, x):
        skips = []
        for layer in self.down:
            x = tg.relu(layer(x))
            skips.append(x)
        x = tg.relu(self.bridge(x))
        for layer in self.up:
            x = tg.relu(layer(tg.concat([x, skips.pop()], axis=-1)))
        return x


class Recurrent(nn.Module):
    """An LSTM of the user's own, unrolled."""

    def __init__(self, inputs: int = 3, width: int = 8):
        self.width = width
        self.gates, self.out = nn.Linear(inputs + width, 4 * width, seed=0), nn.Linear(width, 2, seed=1)

    def forward(self, xs):
        h = c = tg.zeros((xs.shape[0], self.width))
        for t in range(xs.shape[1]):
            i, f, o, g = tg.chunk(self.gates(tg.concat([xs[:, t], h], axis=1)), 4, axis=1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
        return self.out(h)


class Autoencoder(nn.Module):
    """A variational one."""

    def __init__(self, pixels: int = 64, hidden: int = 32, latent: int = 4):
        self.encode = nn.Linear(pixels, hidden, seed=0)
        self.mean, self.log_var = nn.Linear(hidden, latent, seed=1), nn.Linear(hidden, latent, seed=2)
        self.decode, self.out = nn.Linear(latent, hidden, seed=3), nn.Linear(hidden, pixels, seed=4)

    def forward(self, x):
        h = tg.relu(self.encode(x))
        mean, log_var = self.mean(h), self.log_var(h)
        z = mean + tg.exp(0.5 * log_var) * tg.random.normal(mean.shape)
        return self.out(tg.relu(self.decode(z))), mean, log_var


class TwoInTwoOut(nn.Module):
    def __init__(self):
        self.image, self.words = nn.Linear(12, 8, seed=0), nn.Linear(6, 8, seed=1)
        self.kind, self.score = nn.Linear(8, 3, seed=2), nn.Linear(8, 1, seed=3)

    def forward(self, image, words):
        h = tg.tanh(self.image(image)) * tg.tanh(self.words(words))
        return self.kind(h), self.score(h)


def _step(model: nn.Module, optimizer: optim.Optimizer, *given) -> Graph:
    """A step of a classifier."""

    def step(x, y):
        logits = model(x)
        loss = tg.softmax_cross_entropy(logits, y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, *given)


def demo_step() -> Graph:
    tg.random.seed(0)
    model = network((32, 16), seed=0)
    return _step(model, optim.Adam(model, lr=0.01), tg.f32[64, 64], tg.i64[64])


def residual_step(blocks: int = 4) -> Graph:
    model = Residual(blocks)
    return _step(model, optim.Adam(model, lr=0.01), tg.f32[32, 8], tg.i64[32])


def residual_forward(blocks: int = 12) -> Graph:
    return tg.trace(Residual(blocks), tg.f32[32, 8])


def transformer_forward() -> Graph:
    return tg.trace(LanguageModel(), tg.i64[8, 16])


def transformer_loss() -> Graph:
    model = LanguageModel()

    def loss(ids, targets):
        logits = model(ids)
        return tg.softmax_cross_entropy(logits.reshape(-1, 96), targets.reshape(-1))

    return tg.trace(loss, tg.i64[8, 16], tg.i64[8, 16])


def transformer_step() -> Graph:
    model = LanguageModel()
    optimizer = optim.AdamW(model, lr=0.001, clip_norm=1.0)

    def step(ids, targets):
        logits = model(ids)
        loss = tg.softmax_cross_entropy(logits.reshape(-1, 96), targets.reshape(-1))
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.i64[8, 16], tg.i64[8, 16])


def unet_step() -> Graph:
    model = UNet()
    optimizer = optim.Adam(model, lr=0.01)

    def step(x, y):
        loss = tg.mean((model(x) - y) ** 2)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 32], tg.f32[4, 32])


def unet_forward() -> Graph:
    return tg.trace(UNet(), tg.f32[4, 32])


def lstm_step(length: int = 20) -> Graph:
    model = Recurrent()
    return _step(model, optim.Adam(model, lr=0.01), tg.f32[8, length, 3], tg.i64[8])


def lstm_forward(length: int = 20) -> Graph:
    return tg.trace(Recurrent(), tg.f32[8, length, 3])


def vae_step() -> Graph:
    tg.random.seed(0)
    model = Autoencoder()
    optimizer = optim.Adam(model, lr=0.001)

    def step(x):
        again, mean, log_var = model(x)
        error = tg.sigmoid_cross_entropy(again, x, reduction="sum")
        distance = -0.5 * tg.sum(1.0 + log_var - mean**2 - tg.exp(log_var))
        loss = (error + distance) / 16.0
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[16, 64])


def two_inputs() -> Graph:
    return tg.trace(TwoInTwoOut(), tg.f32[4, 12], tg.f32[4, 6])


def two_inputs_step() -> Graph:
    model = TwoInTwoOut()
    optimizer = optim.SGD(model, lr=0.1)

    def step(image, words, label, score):
        logits, guess = model(image, words)
        loss = tg.softmax_cross_entropy(logits, label) + tg.mean((guess - score) ** 2)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 12], tg.f32[4, 6], tg.i64[4], tg.f32[4, 1])


def gan_step() -> Graph:
    maker = nn.Sequential(nn.Linear(2, 16, seed=0), nn.ReLU(), nn.Linear(16, 3, seed=1))
    judge = nn.Sequential(nn.Linear(3, 16, seed=2), nn.Tanh(), nn.Linear(16, 1, seed=3))
    making, judging = optim.Adam(maker, lr=0.001), optim.Adam(judge, lr=0.001)

    def step(real, noise):
        fake = maker(noise)
        judging.minimize(tg.softplus(-judge(real)).mean() + tg.softplus(judge(fake.detach())).mean())
        loss = tg.softplus(-judge(fake)).mean()
        making.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[8, 3], tg.f32[8, 2])


def attention_forward() -> Graph:
    return tg.trace(Attention(48, 4), tg.f32[8, 16, 48])


def attention_step() -> Graph:
    model = Attention(48, 4)
    optimizer = optim.Adam(model, lr=0.001)

    def step(x, y):
        loss = tg.mean((model(x) - y) ** 2)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[8, 16, 48], tg.f32[8, 16, 48])


def maml_step(tasks: int = 4, steps: int = 3) -> Graph:
    shapes = {"w1": (1, 40), "b1": (40,), "w2": (40, 1), "b2": (1,)}
    rng = np.random.default_rng(0)
    start = {name: tg.Parameter(rng.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()}
    optimizer = optim.Adam(list(start.values()), lr=0.001)

    def loss(p, x, y):
        h = tg.tanh(x @ p["w1"] + p["b1"])
        return tg.mean((h @ p["w2"] + p["b2"] - y) ** 2)

    def adapt(p, x, y):
        for _ in range(steps):
            g = tg.grad(loss)(p, x, y)
            p = {name: p[name] - 0.1 * g[name] for name in p}
        return p

    def step(xs, ys, xt, yt):
        total = 0.0
        for i in range(tasks):
            total = total + loss(adapt(start, xs[i], ys[i]), xt[i], yt[i])
        optimizer.minimize(total / tasks)
        return total / tasks

    given = tg.f32[tasks, 10, 1]
    return tg.trace(step, given, given, given, given)


def flat(ops: int = 5000) -> Graph:
    """Many ops of no module and no pattern."""
    rng = np.random.default_rng(0)
    kinds = [tg.tanh, tg.sin, tg.sigmoid, tg.exp, tg.negative]

    def f(x):
        values = [x]
        for kind, back in zip(rng.integers(0, 7, ops), rng.integers(1, 6, ops), strict=True):
            other = values[max(0, len(values) - int(back))]
            last = values[-1]
            values.append(kinds[kind](last) if kind < 5 else last + other if kind == 5 else last * other)
        return values[-1]

    return tg.trace(f, tg.f32[4, 8])


PROGRAMS: dict[str, Callable[[], Graph]] = {
    "demo step": demo_step,
    "residual step": residual_step,
    "residual forward": residual_forward,
    "transformer forward": transformer_forward,
    "transformer loss": transformer_loss,
    "transformer step": transformer_step,
    "u-net forward": unet_forward,
    "u-net step": unet_step,
    "lstm forward": lstm_forward,
    "lstm step": lstm_step,
    "vae step": vae_step,
    "two inputs": two_inputs,
    "two inputs step": two_inputs_step,
    "gan step": gan_step,
    "attention forward": attention_forward,
    "attention step": attention_step,
    "maml step": maml_step,
    "flat": flat,
}

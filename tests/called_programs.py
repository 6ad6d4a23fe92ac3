"""Programs whose modules and functions are called in several ways: with a value twice, with a mask and without, in
training and not, one call's results used and another's not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.graph import Graph


class Cell(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        self.gates = nn.Linear(inputs + width, 4 * width, seed=0)

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        i, f, o, g = tg.chunk(self.gates(tg.concat([x, h], axis=1)), 4, axis=1)
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        return tg.sigmoid(o) * tg.tanh(c), c


class Reader(nn.Module):
    def __init__(self) -> None:
        self.cell, self.out = Cell(3, 8), nn.Linear(8, 2, seed=1)

    def forward(self, xs: Any) -> Any:
        h = c = tg.zeros((xs.shape[0], 8))
        for t in range(xs.shape[1]):
            h, c = self.cell(xs[:, t], h, c)
        return self.out(h)


def reader_step() -> Graph:
    model = Reader()
    optimizer = optim.Adam(model, lr=0.01)

    def step(xs: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(xs), y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 6, 3], tg.i64[4])


class Gru(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        self.gates = nn.Linear(inputs + width, 2 * width, seed=0)
        self.new = nn.Linear(inputs + width, width, seed=1)

    def forward(self, x: Any, h: Any = None) -> Any:
        if h is None:
            h = tg.zeros((x.shape[0], 8))
        r, z = tg.chunk(tg.sigmoid(self.gates(tg.concat([x, h], axis=1))), 2, axis=1)
        n = tg.tanh(self.new(tg.concat([x, r * h], axis=1)))
        return z * h + (1.0 - z) * n


class Translator(nn.Module):
    def __init__(self) -> None:
        self.encoder, self.decoder, self.out = Gru(3, 8), Gru(11, 8), nn.Linear(8, 5, seed=2)

    def forward(self, xs: Any, ys: Any) -> Any:
        states, h = [], None
        for t in range(xs.shape[1]):
            h = self.encoder(xs[:, t], h)
            states.append(h)
        memory = tg.stack(states, axis=1)
        said = []
        for t in range(ys.shape[1]):
            scores = tg.softmax((memory * h.reshape(-1, 1, 8)).sum(axis=2))
            context = (memory * scores.reshape(scores.shape[0], -1, 1)).sum(axis=1)
            h = self.decoder(tg.concat([ys[:, t], context], axis=1), h)
            said.append(self.out(h))
        return tg.stack(said, axis=1)


def translator_step() -> Graph:
    model = Translator()
    optimizer = optim.Adam(model, lr=0.01)

    def step(xs: Any, ys: Any, labels: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(xs, ys).reshape(-1, 5), labels.reshape(-1))
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 4, 3], tg.f32[4, 4, 3], tg.i64[4, 4])


class Embedding(nn.Module):
    def __init__(self) -> None:
        self.first, self.second, self.aux = nn.Linear(4, 8, seed=0), nn.Linear(8, 3, seed=1), nn.Linear(8, 2, seed=2)

    def forward(self, x: Any) -> Any:
        h = tg.relu(self.first(x))
        y = self.second(h)
        return y / tg.sqrt((y * y).sum(axis=1, keepdims=True) + 1e-6), self.aux(h)


def triplet_step() -> Graph:
    net = Embedding()
    optimizer = optim.SGD(net, lr=0.1)

    def step(anchor: Any, near: Any, far: Any, label: Any) -> Any:
        a, said = net(anchor)
        p, _ = net(near)
        n, _ = net(far)
        closer = ((a - p) ** 2).sum(axis=1) - ((a - n) ** 2).sum(axis=1)
        loss = tg.relu(closer + 0.2).mean() + tg.softmax_cross_entropy(said, label)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[5, 4], tg.f32[5, 4], tg.f32[5, 4], tg.i64[5])


def gan_rates() -> Graph:
    maker = nn.Sequential(nn.Linear(2, 16, seed=0), nn.ReLU(), nn.Linear(16, 3, seed=1))
    judge = nn.Sequential(nn.Linear(3, 16, seed=2), nn.Tanh(), nn.Linear(16, 1, seed=3))
    making, judging = optim.Adam(maker, lr=0.001), optim.Adam(judge, lr=0.004, beta1=0.5)

    def step(real: Any, noise: Any) -> Any:
        fake = maker(noise)
        judging.minimize(tg.softplus(-judge(real)).mean() + tg.softplus(judge(fake.detach())).mean())
        loss = tg.softplus(-judge(fake)).mean()
        making.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[8, 3], tg.f32[8, 2])


class Block(nn.Module):
    def __init__(self, seed: int) -> None:
        self.up, self.drop, self.down = nn.Linear(6, 12, seed=seed), nn.Dropout(0.5), nn.Linear(12, 6, seed=seed + 1)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Any, mask: Any = None) -> Any:
        h = self.norm(x)
        if mask is not None:
            h = h * mask
        return x + self.down(self.drop(tg.relu(self.up(h))))


class Net(nn.Module):
    def __init__(self) -> None:
        self.blocks = [Block(2 * i) for i in range(3)]
        self.head = nn.Linear(6, 2, seed=9)

    def forward(self, x: Any, mask: Any = None) -> Any:
        for block in self.blocks:
            x = block(x, mask)
        return self.head(x)


def teacher_step() -> Graph:
    """A network with dropout and without."""
    tg.random.seed(0)
    net = Net()
    optimizer = optim.SGD(net, lr=0.1)

    def step(x: Any) -> Any:
        net.eval()
        with tg.no_grad():
            wanted = net(x)
        net.train()
        loss = ((net(x) - wanted) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[4, 6])


def masked() -> Graph:
    net = Net().eval()

    def both(x: Any, mask: Any) -> Any:
        return net(x), net(x, mask)

    return tg.trace(both, tg.f32[4, 6], tg.f32[4, 6])


class Tied(nn.Module):
    def __init__(self) -> None:
        self.weight = tg.Parameter(np.full((6, 3), 0.5, "f4"))
        self.bias, self.back = tg.Parameter(np.zeros(3, "f4")), tg.Parameter(np.zeros(6, "f4"))

    def forward(self, x: Any, back: Any = False) -> Any:
        return tg.tanh(x @ self.weight.T + self.back if back else x @ self.weight + self.bias)


class TiedAutoencoder(nn.Module):
    def __init__(self) -> None:
        self.layer, self.square = Tied(), nn.Linear(3, 3, seed=0)

    def forward(self, x: Any) -> Any:
        h = self.square(self.layer(x))
        return self.layer(self.square(h), back=True)


def tied_step() -> Graph:
    model = TiedAutoencoder()
    optimizer = optim.Adam(model, lr=0.01)

    def step(x: Any) -> Any:
        loss = ((model(x) - x) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[5, 6])


class Tree(nn.Module):
    """Joins two halves until one is left."""

    def __init__(self) -> None:
        self.join, self.leaf = nn.Linear(8, 4, seed=0), nn.Linear(3, 4, seed=1)

    def forward(self, xs: Any) -> Any:
        if len(xs) == 1:
            return tg.tanh(self.leaf(xs[0]))
        half = len(xs) // 2
        return tg.tanh(self.join(tg.concat([self(xs[:half]), self(xs[half:])], axis=1)))


def tree() -> Graph:
    model = Tree()
    return tg.trace(lambda xs: model([xs[i] for i in range(4)]), tg.f32[4, 2, 3])


class Trunk(nn.Module):
    def __init__(self) -> None:
        self.enter, self.norm = nn.Linear(4, 8, seed=0), nn.BatchNorm(8)
        self.kind, self.size = nn.Linear(8, 3, seed=1), nn.Linear(8, 1, seed=2)

    def forward(self, x: Any) -> Any:
        h = tg.relu(self.norm(self.enter(x)))
        return {"kind": self.kind(h), "size": self.size(h)}


def heads_step() -> Graph:
    net = Trunk()
    optimizer = optim.Adam(net, lr=0.01)

    def step(x: Any, kind: Any, z: Any, size: Any) -> Any:
        loss = tg.softmax_cross_entropy(net(x)["kind"], kind) + ((net(z)["size"] - size) ** 2).mean()
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.f32[6, 4], tg.i64[6], tg.f32[6, 4], tg.f32[6, 1])


def checked_step() -> Graph:
    """A network in training, and as it is evaluated then."""
    net = Trunk()
    optimizer = optim.SGD(net, lr=0.1)

    def step(x: Any, kind: Any) -> Any:
        loss = tg.softmax_cross_entropy(net(x)["kind"], kind)
        optimizer.minimize(loss)
        net.eval()
        right = (net(x)["kind"].argmax(axis=1) == kind).astype("float32").mean()
        net.train()
        return loss, right

    return tg.trace(step, tg.f32[6, 4], tg.i64[6])


def scaled() -> Graph:
    """A function with a number of its own in every call."""

    def ring(x: Any, rate: Any, times: Any) -> Any:
        for _ in range(times):
            x = x + rate * tg.sin(x)
        return x * rate

    def f(x: Any) -> Any:
        return ring(ring(ring(x, 0.5, 3), 0.25, 3), 2.0, 3)

    return tg.trace(f, tg.f32[4])


def attended() -> Graph:
    """A function of which one call's weights are used."""

    def attend(q: Any, k: Any, v: Any) -> Any:
        scores = q @ k.T * 0.5
        weights = tg.softmax(scores)
        return weights @ v, weights

    def f(x: Any, y: Any) -> Any:
        a, _ = attend(x, y, y)
        b, weights = attend(y, x, x)
        c, _ = attend(a, b, a)
        return c, weights

    return tg.trace(f, tg.f32[3, 4], tg.f32[3, 4])


CALLED: dict[str, tuple[Callable[[], Graph], tuple[Any, ...]]] = {  # with the classes that are part of their source
    "cell with the same zeros": (reader_step, (Cell, Reader)),
    "encoder, decoder, attention": (translator_step, (Gru, Translator)),
    "triplet": (triplet_step, (Embedding,)),
    "gan with two rates": (gan_rates, ()),
    "with dropout and without": (teacher_step, (Block, Net)),
    "with a mask and without": (masked, (Block, Net)),
    "tied weights": (tied_step, (Tied, TiedAutoencoder)),
    "module that calls itself": (tree, (Tree,)),
    "several heads": (heads_step, (Trunk,)),
    "in training and evaluated": (checked_step, (Trunk,)),
    "numbers handed over": (scaled, ()),
    "one call's weights": (attended, ()),
}

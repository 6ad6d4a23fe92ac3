"""A normalising flow: invertible layers that turn a normal distribution into two moons, and say how likely a point is.

Affine couplings (RealNVP: Dinh, Sohl-Dickstein & Bengio 2017, arXiv 1605.08803), fitted by the likelihood of points.

python examples/flow.py [steps]        # 3,000 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
tg.random.seed(0)


def moons(n):
    angle, upper = np.pi * tg.random.uniform((n, 1)), tg.random.bernoulli(0.5, (n, 1))
    arc = tg.concat([tg.cos(angle), tg.sin(angle)], axis=1)
    return tg.where(upper, arc, tg.tensor([1.0, 0.5]) - arc) + 0.05 * tg.random.normal((n, 2))


class Coupling(nn.Module):
    def __init__(self, kept, seed):
        self.kept = kept  # the coordinate that stays as it is
        self.net = nn.Sequential(nn.Linear(1, 64, seed=seed), nn.Tanh(), nn.Linear(64, 2, weight_init="zeros"))

    def forward(self, x, inverse=False):
        a, b = x[:, self.kept], x[:, 1 - self.kept]
        scale, shift = tg.unstack(self.net(a[:, None]), axis=1)
        scale = 2.0 * tg.tanh(scale)
        b = (b - shift) * tg.exp(-scale) if inverse else b * tg.exp(scale) + shift
        return tg.stack([a, b] if self.kept == 0 else [b, a], axis=1), scale  # its logarithm


class Flow(nn.Module):
    def __init__(self):
        self.layers = [Coupling(kept=i % 2, seed=i) for i in range(8)]

    def forward(self, x):
        """The logarithm of the density at each point."""
        log_density = -np.log(2.0 * np.pi)
        for layer in self.layers:
            x, scale = layer(x)
            log_density += scale
        return log_density - (x**2).sum(axis=1) / 2.0


flow = Flow()
optimizer = optim.Adam(flow, lr=optim.exponential(0.005, rate=0.5, every=700))


def step(x):
    loss = -flow(x).mean()
    optimizer.minimize(loss)
    return loss


run = tg.trace(step, moons(256)).transform().bind(flow, optimizer)
losses = [float(run(moons(256))) for _ in range(STEPS)]
with tg.no_grad():
    x, y = tg.meshgrid(tg.linspace(-1.5, 2.5, 200), tg.linspace(-1.0, 1.5, 200))
    density = tg.exp(flow(tg.stack([x.ravel(), y.ravel()], axis=1))).reshape(x.shape)
    points, drawn = moons(2000), tg.random.normal((2000, 2))
    for layer in reversed(flow.layers):
        drawn, _ = layer(drawn, inverse=True)
    print(f"mean log-likelihood of new points: {-losses[0]:.3f} at first, {float(flow(points).mean()):.3f} at last")

figure = Figure(figsize=(11, 3.8), layout="constrained")
left, middle, right = figure.subplots(1, 3, sharex=True, sharey=True)
for panel, title, dots in ((left, "points", points), (right, "drawn from the flow", drawn)):
    panel.plot(*dots.T, ".", color="#0d8be5", markersize=2)
    panel.set(title=title, xlim=(-1.5, 2.5), ylim=(-1.0, 1.5))
middle.pcolormesh(x, y, density, cmap="magma", rasterized=True)
middle.set(title="the density that it has found")
figure.savefig("flow.png", dpi=120)

"""A physics-informed network: it learns a solution of Burgers' equation from the equation alone, shock and all.

u_t + u u_x = 0.01 u_xx for x in [-1, 1] and t in [0, 1], with u = -sin(pi x) at first and u = 0 at both ends
(Raissi, Perdikaris & Karniadakis 2019, J. Comput. Phys. 378). The exact solution is an integral (Hopf 1950, Cole 1951).

python examples/pinn.py [steps]        # 3,000 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
POINTS, NU = 500, 0.01
tg.random.seed(0)
first, second = nn.Linear(2, 32, seed=0), nn.Linear(32, 32, seed=1)
third, last = nn.Linear(32, 32, seed=2), nn.Linear(32, 1, seed=3)
model = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), third, nn.Tanh(), last)
optimizer = optim.Adam(model, lr=optim.exponential(0.01, rate=0.5, every=700))


def u(t, x):
    """The solution at one point; at the start and at the ends the network has no say."""
    return t * (1.0 - x**2) * model(tg.stack([t, x]))[0] - tg.sin(np.pi * x)


u_t, u_x = tg.grad(u, 0), tg.grad(u, 1)
u_xx = tg.grad(u_x, 1)


def residual(t, x):
    """By how much the equation fails at one point."""
    return u_t(t, x) + u(t, x) * u_x(t, x) - NU * u_xx(t, x)


def step(t, x):
    loss = (tg.vmap(residual)(t, x) ** 2).mean()
    optimizer.minimize(loss)
    return loss


def points():
    return tg.random.uniform((POINTS,)), tg.random.uniform((POINTS,), low=-1.0, high=1.0)


run = tg.trace(step, *points()).transform().bind(model, optimizer)  # third derivatives and the update as one graph
losses = [float(run(*points())) for _ in range(STEPS)]  # new points every time


def exact(t, x):
    z, weights = np.polynomial.hermite.hermgauss(100)
    y = x[..., None] - np.sqrt(4.0 * NU * t)[..., None] * z
    kernel = weights * np.exp(-np.cos(np.pi * y) / (2.0 * np.pi * NU))
    return -(np.sin(np.pi * y) * kernel).sum(-1) / kernel.sum(-1)


t, x = tg.meshgrid(tg.linspace(0.01, 1.0, 100), tg.linspace(-1.0, 1.0, 201), indexing="ij")
learnt = tg.vmap(tg.vmap(u))(t, x).numpy()
t, x = t.numpy(), x.numpy()
right = exact(t, x)
error = np.linalg.norm(learnt - right) / np.linalg.norm(right)
print(f"residual {losses[0]:.3g} at first, {np.mean(losses[-20:]):.3g} at last; relative error of u {error:.2%}")

figure = Figure(figsize=(11, 3.8), layout="constrained")
left, middle, curve = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
figure.colorbar(left.pcolormesh(t, x, learnt, cmap="RdBu_r", vmin=-1.0, vmax=1.0, rasterized=True), ax=left)
left.set(xlabel="t", ylabel="x", title="u, as the network has it")
for row, color in zip((24, 49, 99), ("#0d8be5", "#2e7d32", "#c2410c"), strict=True):
    middle.plot(x[row], learnt[row], color=color, linewidth=2, label=f"t = {t[row, 0]:.2f}")
    middle.plot(x[row], right[row], color="black", linewidth=1, linestyle=":", label="exact" if row == 99 else None)
middle.set(xlabel="x", title="u at three times")
middle.legend(frameon=False, fontsize=9)
curve.semilogy(losses, color="#6b6b6b", linewidth=0.6)
curve.set(xlabel="step", title="mean square of the residual")
figure.savefig("pinn.png", dpi=120)

"""A neural differential equation: a network sees short pieces of how a pendulum swings, and learns its law.

dy/dt = network(y), solved by Runge-Kutta steps in a loop that gradients go through (Chen, Rubanova, Bettencourt &
Duvenaud 2018, arXiv 1806.07366). It is judged by the whole path, from its start alone.

python examples/neural_ode.py [steps]        # 3,000 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
TIMES, PIECE, BATCH, DT = 500, 10, 64, 0.04
tg.random.seed(0)
model = nn.Sequential(nn.Linear(2, 50, seed=0), nn.Tanh(), nn.Linear(50, 2, seed=1))
optimizer = optim.Adam(model, lr=optim.exponential(0.01, rate=0.5, every=500))


def solve(law, y, steps):
    """The states after each of some steps of the classical Runge-Kutta method."""

    def step(y, _):
        k1 = law(y)
        k2 = law(y + DT / 2.0 * k1)
        k3 = law(y + DT / 2.0 * k2)
        k4 = law(y + DT * k3)
        y = y + DT / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        return y, y

    return tg.scan(step, y, length=steps)[1]


def pendulum(y):
    angle, speed = tg.unstack(y, axis=-1)
    return tg.stack([speed, -4.0 * tg.sin(angle) - 0.2 * speed], axis=-1)


start = tg.tensor([2.5, 0.0])
path = solve(pendulum, start, TIMES)


def pieces():
    """Where some begin, and how they go on."""
    begin = tg.random.randint(0, TIMES - PIECE, (BATCH,))
    return path[begin], path[begin + tg.arange(1, PIECE + 1)[:, None]]


def step(begin, onwards):
    loss = tg.mse(solve(model, begin, PIECE), onwards)
    optimizer.minimize(loss)
    return loss


run = tg.trace(step, *pieces()).transform().bind(model, optimizer)
losses = [float(run(*pieces())) for _ in range(STEPS)]
seconds = DT * np.arange(1, TIMES + 1)
with tg.no_grad():
    whole = solve(model, start, TIMES)
apart = tg.abs(whole - path)[:, 0]
print(
    f"loss {losses[0]:.3g} at first, {np.mean(losses[-20:]):.3g} at last; error of the angle {float(apart.mean()):.4f}"
)

figure = Figure(figsize=(11, 3.8), layout="constrained")
plane, time, curve = figure.subplots(1, 3, width_ratios=(1, 1.3, 1))
for panel, learnt, true in ((plane, whole.T, path.T), (time, (seconds, whole[:, 0]), (seconds, path[:, 0]))):
    panel.plot(*learnt, color="#0d8be5", linewidth=2, label="learnt, from the start alone")
    panel.plot(*true, color="black", linewidth=1, linestyle=":", label="true")
plane.set(xlabel="angle", ylabel="speed")
time.set(xlabel="seconds", ylabel="angle", ylim=(-3.2, 4.4))
time.legend(frameon=False, fontsize=9, loc="upper right")
curve.semilogy(losses, color="#6b6b6b", linewidth=0.6)
curve.set(xlabel="step", title="loss")
figure.savefig("neural_ode.png", dpi=120)

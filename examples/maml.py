"""Learning to learn: weights from which one step of descent on ten points fits a new sine wave.

Model-agnostic meta-learning (Finn, Abbeel & Levine 2017, arXiv 1703.03400, section 5.1). The loss after the step is
differentiated through the step: second derivatives, of all tasks at once.

python examples/maml.py [steps]        # 4,000 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
TASKS, POINTS, RATE = 25, 10, 0.02
tg.random.seed(0)
shapes = [(1, 40), (40, 40), (40, 1)]
layers = [nn.Linear(*shape, weight_init="xavier_normal", seed=i) for i, shape in enumerate(shapes)]
model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
optimizer = optim.Adam(model, lr=0.003)
f, _ = tg.functional(model)


def tasks(n):
    """Points to learn from and points to be judged by, on each of n sine waves."""
    height, phase = tg.random.uniform((n, 1, 1), low=0.1, high=5.0), tg.random.uniform((n, 1, 1), low=0.0, high=np.pi)
    x = tg.random.uniform((n, 2 * POINTS, 1), low=-5.0, high=5.0)
    y = height * tg.sin(x - phase)
    return x[:, :POINTS], y[:, :POINTS], x[:, POINTS:], y[:, POINTS:]


def error(p, x, y):
    return ((f(p, x) - y) ** 2).mean()


def adapted(p, x, y, steps=1):
    for _ in range(steps):
        p = tg.tree_map(lambda p, g: p - RATE * g, p, tg.grad(error)(p, x, y))
    return p


def after(p, x, y, x_new, y_new, steps=1):
    """The error on new points of one wave, after some steps on the others."""
    return error(adapted(p, x, y, steps), x_new, y_new)


def step(x, y, x_new, y_new):
    p = dict(model.named_parameters())
    loss = tg.vmap(after, in_axes=(None, 0, 0, 0, 0))(p, x, y, x_new, y_new).mean()
    optimizer.minimize(loss)
    return loss


run = tg.trace(step, *tasks(TASKS)).transform().bind(model, optimizer)
losses = [float(run(*tasks(TASKS))) for _ in range(STEPS)]

_, p = tg.functional(model)  # as trained
new = tasks(200)
errors = [float(tg.vmap(after, in_axes=(None, 0, 0, 0, 0, None))(p, *new, n).mean()) for n in range(6)]
print("mean square error on new waves after 0 to 5 steps:", ", ".join(f"{e:.2f}" for e in errors))

figure = Figure(figsize=(11, 3.8), layout="constrained")
*waves, curve = figure.subplots(1, 3)
line = tg.linspace(-5.0, 5.0, 200).reshape(200, 1)
for panel, height, phase in zip(waves, (1.5, 4.0), (0.5, 2.5), strict=True):
    x = tg.random.uniform((POINTS, 1), low=-5.0, high=0.0)  # all in the left half
    y = height * tg.sin(x - phase)
    panel.plot(line, height * tg.sin(line - phase), color="black", linewidth=1, linestyle=":", label="the wave")
    for steps, color in zip((0, 1, 5), ("#b0b0b0", "#0d8be5", "#c2410c"), strict=True):
        panel.plot(line, f(adapted(p, x, y, steps), line), color=color, label=f"after {steps} step{'s' * (steps != 1)}")
    panel.plot(x, y, "o", color="black", markersize=4, label="ten points")
    panel.set(xlabel="x", title=f"a new wave of height {height}", ylim=(-1.8 * height, 2.5 * height))
    panel.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
curve.semilogy(losses, color="#6b6b6b", linewidth=0.6)
curve.set(xlabel="step", title="error after one step, while training")
figure.savefig("maml.png", dpi=120)

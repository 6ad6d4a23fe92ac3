"""Learning-rate decay: at a constant rate mini-batches keep a model wandering about the minimum; decay lets it settle.

Course 2, week 2, "Learning rate decay". The minimum is known here: softmax of two features of wine is convex, so what
is drawn is the cost above the least cost there is.

python examples/course/learning_rate_decay.py [seeds]        # orders of the mini-batches: 8 unless told
"""

import sys

import numpy as np
from sklearn.datasets import load_wine

import tensorgraph as tg
from tensorgraph import nn, optim, tune
from tensorgraph.data import Normalizer
from tensorgraph.train.plots import new_figure, save_figure, tidy

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
EPOCHS, RATE, SIZE = 50, 3.0, 8
wine = load_wine()
x = Normalizer(dtype="float64").fit_transform(wine.data[:, [0, 6]])  # alcohol and flavanoids
y, steps = wine.target, -(-len(wine.target) // SIZE)


def cost(p):
    return tg.softmax_cross_entropy(x @ p["weight"] + p["bias"], y)


# the least cost there is, by Newton's method
p = {"weight": tg.zeros((2, 3), dtype="float64"), "bias": tg.zeros(3, dtype="float64")}
flat = lambda v: {"weight": v[:6].reshape((2, 3)), "bias": v[6:]}
v = tg.zeros(9, dtype="float64")
for _ in range(12):
    h, g = tg.hessian(lambda v: cost(flat(v)))(v).numpy(), tg.grad(lambda v: cost(flat(v)))(v).numpy()
    v = v - np.linalg.lstsq(h, g, rcond=1e-10)[0]  # adding one number to all z changes nothing: h is singular
least = cost(flat(v)).item()

schedules = {
    "constant": optim.constant(RATE),
    "1 / (1 + 0.2 epoch)": optim.inverse_time(RATE, decay=0.2).per_epoch(),
    "0.95^epoch": optim.exponential(RATE, rate=0.95).per_epoch(),
    "k / sqrt(epoch)": optim.inverse_sqrt(RATE).per_epoch(),
    "staircase": optim.staircase(RATE, factor=0.1, every=20).per_epoch(),
}


def sgd(parameters, schedule):
    return optim.SGD(parameters, lr=schedule)


settings = [dict(schedule=schedule, seed=seed) for schedule in schedules.values() for seed in range(SEEDS)]
runs = tune.ensemble(  # all at once, each as by itself
    lambda: nn.Linear(2, 3, weight_init="zeros", dtype="float64"), (x, y), dev=(x, y), settings=settings,
    optimizer=sgd, epochs=EPOCHS, batch_size=SIZE,
)  # fmt: skip
costs = np.reshape([history["dev_loss"] for history in runs.histories], (len(schedules), SEEDS, EPOCHS))
curves = dict(zip(schedules, costs - least, strict=True))  # of the whole training set, after every epoch
print(f"the least cost is {least:.4f}; above it, mean of the last ten epochs and of {SEEDS} runs:")
settled = {name: found[:, -10:].mean() for name, found in curves.items()}
for name, schedule in schedules.items():
    print(f"{name:>19}: {settled[name]:.6f}, rate at last {schedule(0, EPOCHS - 1):.4f}")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
epochs = np.arange(1, EPOCHS + 1)
colors = ("#2E2E2E", "#D1660A", "#0B6FB8", "#7A4FB5", "#4C9A2A")
for (name, schedule), color in zip(schedules.items(), colors, strict=True):
    left.plot(epochs, [schedule(0, epoch) for epoch in range(EPOCHS)], color=color, label=name, linewidth=2)
    right.plot(epochs, np.exp(np.log(curves[name]).mean(0)), color=color, linewidth=2)
tidy(left, "learning rate", "epoch", "")
tidy(right, "cost above the least there is", "epoch", "")
left.set_yscale("log")
right.set_yscale("log")
left.legend(frameon=False)
save_figure(figure, "learning_rate_decay.png")

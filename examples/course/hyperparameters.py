"""Hyperparameters and their order of importance: each by itself over its range, the others at their usual values.

Course 2, week 3, "Tuning process": the learning rate first; then momentum, mini-batch size and hidden units; then
layers and learning-rate decay; Adam's beta1, beta2 and eps almost never. How far each moves the dev loss is measured.

python examples/course/hyperparameters.py [seeds]        # networks a value: 3 unless told
"""

import sys
from itertools import pairwise

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS, UPDATES = int(sys.argv[1]) if len(sys.argv) > 1 else 3, 100
training, dev = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)
USUAL = {
    "rate": 0.01, "batch_size": 64, "units": 32, "layers": 2, "decay": 0.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8,
}  # fmt: skip
RANGES = {
    "rate": (0.0001, 0.001, 0.1, 1.0), "beta1": (0.0, 0.5, 0.99), "batch_size": (16, 32, 256),
    "units": (8, 16, 128), "layers": (1, 3, 5), "decay": (0.03, 0.1, 1.0),
    "beta2": (0.9, 0.99, 0.9999), "eps": (1e-10, 1e-7, 1e-6),
}  # fmt: skip
SAID = {"rate": 1, "beta1": 2, "batch_size": 2, "units": 2, "layers": 3, "decay": 3, "beta2": 4, "eps": 4}  # the slide


def network(units, layers, seed):
    tg.random.seed(seed)
    sizes = pairwise((64, *[units] * layers))
    hidden = [layer for inputs, outputs in sizes for layer in (nn.Linear(inputs, outputs), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(units, 10))


def adam(parameters, rate, decay, beta1, beta2, eps):
    rate = optim.inverse_time(rate, decay).per_epoch()
    return optim.Adam(parameters, lr=rate, beta1=beta1, beta2=beta2, eps=eps)


changes = [{}, *({name: value} for name, values in RANGES.items() for value in values)]
settings = [{**USUAL, **change, "seed": seed} for change in changes for seed in range(SEEDS)]
losses = np.empty(len(settings))
for size in (USUAL["batch_size"], *RANGES["batch_size"]):
    rows = [k for k, setting in enumerate(settings) if setting["batch_size"] == size]
    networks = tune.ensemble(  # all at once, those of one shape as one network
        network, (x, training.y), dev=(x_dev, dev.y), settings=[settings[k] for k in rows], optimizer=adam,
        epochs=round(UPDATES / (len(x) // size)),  # as many updates whatever the size
    )  # fmt: skip
    losses[rows] = [history["dev_loss"][-1] for history in networks.histories]
usual, *others = losses.reshape(len(changes), SEEDS)
found = {name: np.array([others.pop(0) for _ in values]) for name, values in RANGES.items()}
# by how much the choice matters: from the best value to the worst, in factors of e
matters = {name: np.ptp(np.log(np.append(losses.mean(1), usual.mean()))) for name, losses in found.items()}
print(f"dev loss with the usual values {usual.mean():.3f}; from the best to the worst value of one, the others usual:")
for name in sorted(matters, key=lambda name: -matters[name]):
    middle = np.append(found[name].mean(1), usual.mean())
    print(f"{name:>10}: {middle.min():7.3f} to {middle.max():7.3f}, times {np.exp(matters[name]):5.1f}; "
          f"the slide's place: {SAID[name]}")  # fmt: skip

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
for k, name in enumerate(RANGES):
    left.plot(np.linspace(k - 0.3, k + 0.3, len(RANGES[name])), found[name], "o", color=COLOURS[SAID[name] - 1],
              markersize=4, alpha=0.6)  # fmt: skip
left.axhline(usual.mean(), color="#6B6B6B", linewidth=1, linestyle=":")
left.set_xticks(range(len(RANGES)), [name.replace("_", "\n") for name in RANGES])
left.set_yscale("log")
tidy(left, "the dev loss over each one's range", "", "dev loss (dotted: the usual values)")
order = sorted(matters, key=matters.get)
right.barh(order, [np.exp(matters[name]) for name in order], color=[COLOURS[SAID[name] - 1] for name in order])
right.set_xscale("log")
for place, words in ((1, "first"), (2, "second"), (3, "third"), (4, "almost never")):
    right.barh([order[0]], [0], color=COLOURS[place - 1], label=words)
right.legend(frameon=False, title="on the slide", loc="lower right")
tidy(right, "how much the choice matters", "worst dev loss / best", "")
save_figure(figure, "hyperparameters.png")

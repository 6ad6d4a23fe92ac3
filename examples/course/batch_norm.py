"""Batch norm in a network: it learns faster, and at learning rates at which it would not learn without.

Course 2, week 3, "Fitting batch norm into a neural network": z = a W without b, then batch norm with its own gamma and
beta, then the activation, layer by layer, on every mini-batch. Two networks: four layers of sigmoids, as in the paper
(Ioffe & Szegedy 2015, arXiv 1502.03167), and eight of ReLU with He's initial weights, which learn well without, too.

python examples/course/batch_norm.py [seeds]        # networks a curve: 3 unless told
"""

import sys
from itertools import pairwise

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
EPOCHS, RATES = 6, (0.1, 0.3, 1.0, 3.0)
NETWORKS = {"4 of sigmoids": (4, nn.Sigmoid, "xavier_normal"), "8 of ReLU": (8, nn.ReLU, "he_normal")}
training, _ = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
x = Normalizer().fit_transform(training.x)


def make(network, normed, seed):
    tg.random.seed(seed)
    depth, activation, start = NETWORKS[network]
    layers = []
    for inputs, outputs in pairwise((64, *[32] * depth)):
        layers.append(nn.Linear(inputs, outputs, bias=not normed, weight_init=start))
        layers += [nn.BatchNorm(outputs), activation()] if normed else [activation()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def losses(network, normed):
    """On the training set, epoch by epoch; infinite from where it diverged."""
    settings = [dict(network=network, normed=normed, seed=seed, lr=rate) for seed in range(SEEDS) for rate in RATES]
    with np.errstate(over="ignore", invalid="ignore"):  # where the rate is too high
        found = tune.ensemble(
            make, (x, training.y), dev=(x, training.y), settings=settings, epochs=EPOCHS, batch_size=64, optimizer="sgd"
        )
    curves = np.full((len(settings), EPOCHS), np.inf)
    for curve, history in zip(curves, found.histories, strict=True):
        if len(history):
            curve[: len(history)] = history["dev_loss"]
    return curves.reshape(SEEDS, len(RATES), EPOCHS)


curves = {(name, normed): losses(name, normed) for name in NETWORKS for normed in (False, True)}
last = {key: np.median(found[:, :, -1], 0) for key, found in curves.items()}  # a number a rate
print(f"loss on the training set after {EPOCHS} epochs, median of {SEEDS}")
print("learning rate          " + "".join(f"{rate:9g}" for rate in RATES))
for (name, normed), found in last.items():
    kind = "with" if normed else "without"
    print(f"{name:>13}, {kind:>7} " + "".join(f"{loss:9.4f}" for loss in found))
for name in NETWORKS:
    without, normed = ((last[name, n] < 0.2).sum() for n in (False, True))
    print(f"{name}: a loss below 0.2 at {without} of {len(RATES)} rates without batch norm, at {normed} with it")

figure = new_figure(12, 3.8)
panels = figure.subplots(1, 3)
for panel, name in zip(panels, NETWORKS, strict=False):
    for normed, label in ((False, "without"), (True, "with batch norm")):
        for k, style in ((0, ":"), (1, "-")):
            panel.plot(range(1, EPOCHS + 1), np.median(curves[name, normed][:, k], 0), style, linewidth=2,
                       color=COLOURS[not normed], label=f"{label}, rate {RATES[k]:g}")  # fmt: skip
    tidy(panel, f"hidden layers: {name}", "epoch", "loss on the training set")
    panel.set_yscale("log")
for (name, normed), found in last.items():
    panels[2].plot(RATES, np.minimum(found, 10), "o:" if "sigmoid" in name else "o-", color=COLOURS[not normed],
                   label=f"{name}, {'with' if normed else 'without'}")  # fmt: skip
tidy(panels[2], "at more learning rates", "learning rate", f"loss after {EPOCHS} epochs (at the top: 10 and more)")
panels[2].set(xscale="log", yscale="log")
panels[0].legend(frameon=False, fontsize=8)
panels[2].legend(frameon=False, fontsize=8)
save_figure(figure, "batch_norm.png")

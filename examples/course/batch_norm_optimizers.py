"""Batch norm works with every optimiser: gradient descent, momentum, RMSprop and Adam, with and without it.

Course 2, week 3, "Fitting batch norm into a neural network": gamma and beta are updated as w is, by any optimiser.
Four hidden layers of sigmoids, as in examples/course/batch_norm.py.

python examples/course/batch_norm_optimizers.py [seeds]        # networks a curve: 3 unless told
"""

import sys
from itertools import pairwise

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS, EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3, 5
training, _ = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
x = Normalizer().fit_transform(training.x)
OPTIMIZERS = {  # each with the rates to choose from
    "gradient descent": ("sgd", (0.3, 1.0)),
    "momentum": ("momentum", (0.3, 1.0)),
    "RMSprop": ("rmsprop", (0.003, 0.01)),
    "Adam": ("adam", (0.01, 0.03)),
}


def make(normed, seed):
    tg.random.seed(seed)
    layers = []
    for inputs, outputs in pairwise((64, 32, 32, 32, 32)):
        layers.append(nn.Linear(inputs, outputs, bias=not normed, weight_init="xavier_normal"))
        layers += [nn.BatchNorm(outputs), nn.Sigmoid()] if normed else [nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


best = {}
print(f"loss on the training set after {EPOCHS} epochs, each at the best of two rates; median of {SEEDS} networks")
for name, (optimizer, rates) in OPTIMIZERS.items():
    for normed in (False, True):
        settings = [dict(normed=normed, seed=seed, lr=rate) for rate in rates for seed in range(SEEDS)]
        networks = tune.ensemble(
            make, (x, training.y), dev=(x, training.y), settings=settings, epochs=EPOCHS, batch_size=64,
            optimizer=optimizer,
        )  # fmt: skip
        losses = np.reshape([history["dev_loss"] for history in networks.histories], (len(rates), SEEDS, EPOCHS))
        best[name, normed] = min(zip(rates, np.median(losses, 1), strict=True), key=lambda found: found[1][-1])
    (rate, without), (other, normed) = best[name, False], best[name, True]
    print(f"{name:>16}: without {without[-1]:.4f} (rate {rate}), with batch norm {normed[-1]:.4f} (rate {other})")

figure = new_figure(12, 3.4)
for panel, name in zip(figure.subplots(1, 4, sharey=True), OPTIMIZERS, strict=True):
    for normed, label in ((False, "without"), (True, "batch norm")):
        rate, curve = best[name, normed]
        panel.plot(np.arange(1, EPOCHS + 1), curve, ".-", color=COLOURS[not normed], label=f"{label}, rate {rate}")
    tidy(panel, name, "epoch", "loss on the training set" if name == "gradient descent" else "")
    panel.set_yscale("log")
    panel.legend(frameon=False)
save_figure(figure, "batch_norm_optimizers.png")

"""Batch norm works with every optimiser: gradient descent, momentum, RMSprop and Adam, with and without it.

Course 2, week 3, "Fitting batch norm into a neural network": gamma and beta are updated as w is, by any optimiser.
Four hidden layers of sigmoids, as in examples/course/batch_norm.py.

python examples/course/batch_norm_optimizers.py [seeds]        # networks a curve: 3 unless told
"""

import sys
from itertools import pairwise

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS, EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 3, 5
training, _ = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
x = Normalizer().fit_transform(training.x)
OPTIMIZERS = {  # each with the rates to choose from
    "gradient descent": (optim.SGD, (0.3, 1.0)),
    "momentum": (optim.Momentum, (0.3, 1.0)),
    "RMSprop": (optim.RMSprop, (0.003, 0.01)),
    "Adam": (optim.Adam, (0.01, 0.03)),
}


def losses(make, rate, normed, seed):
    """On the training set after each epoch, in evaluation mode."""
    tg.random.seed(seed)
    layers, found = [], []
    for inputs, outputs in pairwise((64, 32, 32, 32, 32)):
        layers.append(nn.Linear(inputs, outputs, bias=not normed, weight_init="xavier_normal"))
        layers += [nn.BatchNorm(outputs), nn.Sigmoid()] if normed else [nn.Sigmoid()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    train.fit(
        model, (x, training.y), optimizer=make(model.parameters(), lr=rate), epochs=EPOCHS, batch_size=64, seed=seed,
        callbacks=[lambda run: found.append(train.evaluate(model, (x, training.y))["loss"])], progress=False,
    )  # fmt: skip
    return found


best = {}
print(f"loss on the training set after {EPOCHS} epochs, each at the best of two rates; median of {SEEDS} networks")
for name, (make, rates) in OPTIMIZERS.items():
    for normed in (False, True):
        runs = {rate: np.median([losses(make, rate, normed, seed) for seed in range(SEEDS)], 0) for rate in rates}
        rate = min(runs, key=lambda rate: runs[rate][-1])
        best[name, normed] = rate, runs[rate]
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

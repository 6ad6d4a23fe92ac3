"""Inputs that shift: a network that learnt digits as they are does not read paler ones, although the rule is the same.

Course 2, week 3, "Why does batch norm work?", where a classifier of black cats meets coloured ones. Batch norm by its
averages suffers as well. By the moments of the shifted digits themselves it reads them (Li et al. 2016, arXiv
1603.04779): this shift only scales and moves what the first layer gives, which is what normalising takes away.

python examples/course/shifting_inputs.py [seeds]        # networks of each kind: 5 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.data import load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SHIFTS = (0.0, 0.25, 0.5, 0.75)
training, test = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)


def paler(x, shift):
    """The same ink on grey paper: from 0 ... 16 to 16 · shift ... 16; and then from -1 to 1."""
    return (16 * shift + (1 - shift) * x) / 8 - 1


def read_right(model, shift):
    return (train.predict(model, paler(test.x, shift)).argmax(1) == test.y).mean()


learnt = paler(training.x, 0), training.y
found = {name: [] for name in ("without", "batch norm, its averages", "batch norm, moments of the shifted digits")}
for seed in range(SEEDS):
    for normed in (False, True):
        tg.random.seed(seed)
        first = [nn.Linear(64, 32, bias=False), nn.BatchNorm(32)] if normed else [nn.Linear(64, 32)]
        model = nn.Sequential(*first, nn.ReLU(), nn.Linear(32, 10))
        adam = optim.Adam(model.parameters(), lr=0.01)
        train.fit(model, learnt, optimizer=adam, epochs=8, batch_size=64, seed=seed, progress=False)
        name = "batch norm, its averages" if normed else "without"
        found[name].append([read_right(model, shift) for shift in SHIFTS])
        if normed:
            f, parameters, state = tg.functional(model.train(), state=True)
            guesses = [f(parameters, state, paler(test.x, shift))[0].numpy().argmax(1) for shift in SHIFTS]
            found["batch norm, moments of the shifted digits"].append([(g == test.y).mean() for g in guesses])

print(f"share of the test set that is read right, mean of {SEEDS} networks; by how grey the paper is:")
for name, shares in found.items():
    print(f"{name:>42}: " + ", ".join(f"{s:.0%}: {r:.1%}" for s, r in zip(SHIFTS, np.mean(shares, 0), strict=True)))

figure = new_figure(11, 3.8)
left, right = figure.subfigures(1, 2)
for panel, (row, shift) in zip(left.subplots(2, 4).ravel(), [(r, s) for r in (0, 1) for s in SHIFTS], strict=True):
    panel.imshow(paler(test.x[row], shift).reshape(8, 8), cmap="gray_r", vmin=-1, vmax=1)
    panel.set(xticks=[], yticks=[], title=f"{shift:.0%}" if not row else "")
left.suptitle("what it learnt, and what it is to read", fontsize=12, fontweight="bold")
axes = right.subplots()
for (name, shares), color in zip(found.items(), COLOURS, strict=False):
    middle = np.mean(shares, 0)
    axes.plot(SHIFTS, middle, ".-", color=color, label=name, linewidth=2)
    axes.fill_between(SHIFTS, np.min(shares, 0), np.max(shares, 0), color=color, alpha=0.15)
tidy(axes, "what is read right", "how grey the paper is", "share of the test set")
axes.set_ylim(0, 1.02)
axes.legend(frameon=False)
save_figure(figure, "shifting_inputs.png")

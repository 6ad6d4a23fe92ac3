"""Random values, not a grid: of 25 trials over two hyperparameters a grid tries 5 values of each, random ones 25.

Course 2, week 3, "Tuning process", with the slide's pair: the learning rate, which matters, and Adam's eps, which does
not, so that the grid tries each rate five times over. Bergstra and Bengio, Random search, 2012.

python examples/course/random_not_grid.py [trials]        # a square number: 25 unless told
"""

import math
import sys

import numpy as np

from tensorgraph import nn, optim, train, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

TRIALS, SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 25, 3
points = math.isqrt(TRIALS)
training, dev, _ = split(load_digits(), fractions=(0.3, 0.3, 0.4), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)
space = tune.Space(rate=tune.log(1e-4, 1), eps=tune.log(1e-10, 1e-5))


def dev_loss(trial):
    model = nn.Sequential(nn.Linear(64, 32, seed=0), nn.ReLU(), nn.Linear(32, 10, seed=1))
    adam = optim.Adam(model.parameters(), lr=trial["rate"], eps=trial["eps"])
    train.fit(model, (x, training.y), optimizer=adam, epochs=3, batch_size=64, progress=False)
    return train.evaluate(model, (x_dev, dev.y))["loss"]


grid = tune.grid(space, dev_loss, points=points, progress=False)
searches = [tune.random(space, dev_loss, trials=TRIALS, seed=seed, progress=False) for seed in range(SEEDS)]
distinct = {name: len({result.values["rate"] for result in study.trials})
            for name, study in (("grid", grid), ("random", searches[0]))}  # fmt: skip
print(f"of {TRIALS} trials the grid has {distinct['grid']} learning rates, the random search {distinct['random']}")
best = np.array([study.best.score for study in searches])
print(f"best dev loss: grid {grid.best.score:.4f} at {grid.best.values['rate']:.4f}; random", end=" ")
print(", ".join(f"{s.best.score:.4f} at {s.best.values['rate']:.4f}" for s in searches))
print(f"the random search is better with {(best < grid.best.score).sum()} of {SEEDS} seeds")
rates = np.array([[result.values["rate"], result.score] for s in searches for result in s.trials])
rates = rates[np.isfinite(rates[:, 1])]
by_eps = {rate: np.ptp([r.score for r in grid.trials if r.values["rate"] == rate])
          for rate in sorted({result.values["rate"] for result in grid.trials})}  # fmt: skip
of_best = by_eps[grid.best.values["rate"]]
print(f"at the grid's best rate, eps moves the dev loss by {of_best:.4f}; over the rates it goes from "
      f"{rates[:, 1].min():.2f} to {rates[:, 1].max():.2f}")  # fmt: skip

figure = new_figure(12, 3.8)
panels = figure.subplots(1, 3)
for panel, study, color, title in (
    (panels[0], grid, COLOURS[1], "grid"), (panels[1], searches[0], COLOURS[0], "random"),
):  # fmt: skip
    values = np.array([[result.values["rate"], result.values["eps"]] for result in study.trials])
    panel.scatter(*values.T, color=color, s=30)
    for rate in {*values[:, 0]}:
        panel.axvline(rate, color=color, linewidth=0.6, alpha=0.6)
    tidy(panel, f"{title}: {distinct[title]} learning rates", "learning rate", "eps")
    panel.set(xscale="log", yscale="log", xlim=(6e-5, 1.6))
for study, color, label in ((searches[0], COLOURS[0], "random"), (grid, COLOURS[1], "grid")):
    values = np.array([[result.values["rate"], result.score] for result in study.trials if result.score is not None])
    panels[2].plot(*values.T, "o", color=color, markersize=5, alpha=0.8, label=label)
panels[2].set(xscale="log", yscale="log")
tidy(panels[2], "what the rate does", "learning rate", "dev loss")
panels[2].legend(frameon=False)
save_figure(figure, "random_not_grid.png")

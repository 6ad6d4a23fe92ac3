"""Coarse to fine: 25 random trials over the whole space, then 25 where the best of them lie.

Course 2, week 3, "Tuning process". Beside it, with as many trials: 50 random ones that do not zoom.

python examples/course/coarse_to_fine.py [seeds]        # searches of each kind: 4 unless told
"""

import sys

import numpy as np

from tensorgraph import nn, optim, train, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS, TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 4, 25
training, dev, _ = split(load_digits(), fractions=(0.3, 0.3, 0.4), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)
space = tune.Space(rate=tune.log(1e-4, 10), beta=tune.ewa(0.5, 0.995), units=tune.log_int(4, 64))


def dev_loss(trial):
    model = nn.Sequential(nn.Linear(64, trial["units"], seed=0), nn.ReLU(), nn.Linear(trial["units"], 10, seed=1))
    momentum = optim.Momentum(model.parameters(), lr=trial["rate"], beta=trial["beta"])
    with np.errstate(over="ignore", invalid="ignore"):  # a rate that is too high is told as divergence
        train.fit(model, (x, training.y), optimizer=momentum, epochs=3, batch_size=64, progress=False)
    return train.evaluate(model, (x_dev, dev.y))["loss"]


def so_far(*studies):
    """The best score after each trial."""
    scores = [np.inf if result.score is None else result.score for study in studies for result in study.trials]
    return np.minimum.accumulate(scores)


zoomed, plain = [], []
for seed in range(SEEDS):
    study = tune.random(space, dev_loss, trials=TRIALS, seed=seed, progress=False)
    fine, coarse = study.zoom(trials=TRIALS, progress=False), study.best.score
    zoomed.append(so_far(study, fine))
    study.run(dev_loss, trials=2 * TRIALS, progress=False)  # the same study goes on as it began
    plain.append(so_far(study))
    print(
        f"seed {seed}: best of {TRIALS} {coarse:.4f}; of {TRIALS} more, zoomed {fine.best.score:.4f}, "
        f"random {plain[-1][-1]:.4f}"
    )
    if seed == 0:
        first, finer = study.trials[:TRIALS], fine
wins = sum(z[-1] < p[-1] for z, p in zip(zoomed, plain, strict=True))
print(f"with {2 * TRIALS} trials coarse to fine is ahead with {wins} of {SEEDS} seeds;", end=" ")
print(f"means {np.mean(zoomed, 0)[-1]:.4f} and {np.mean(plain, 0)[-1]:.4f}")
print("the space: " + ", ".join(f"{name} {space[name]}" for name in space))
zoom = {name: finer.space[name] for name in space}
print("zoomed: " + ", ".join(f"{name} from {scale.low:.4g} to {scale.high:.4g}" for name, scale in zoom.items()))

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
for trials, color, label in ((first, COLOURS[1], "coarse"), (finer.trials, COLOURS[0], "fine")):
    shown = [r for r in trials if r.score is not None]
    values = np.array([[r.values["rate"], 1 - r.values["beta"], r.score] for r in shown])
    left.scatter(values[:, 0], values[:, 1], s=10 + 15 / values[:, 2].clip(0.1), color=color, alpha=0.7, label=label)
rate, beta = finer.space["rate"], finer.space["beta"]
left.plot(
    [rate.low, rate.high, rate.high, rate.low, rate.low],
    [1 - beta.low, 1 - beta.low, 1 - beta.high, 1 - beta.high, 1 - beta.low], color=COLOURS[0], linewidth=1,
)  # fmt: skip
tidy(left, "the larger a point the better", "learning rate", "1 - beta of momentum")
left.set(xscale="log", yscale="log")
left.legend(frameon=False)
trials = np.arange(1, 2 * TRIALS + 1)
for curves, color, label in ((plain, COLOURS[2], "random"), (zoomed, COLOURS[0], "coarse to fine")):
    right.plot(trials, np.mean(curves, 0), color=color, linewidth=2, label=label)
    right.fill_between(trials, np.min(curves, 0), np.max(curves, 0), color=color, alpha=0.12)
right.axvline(TRIALS + 0.5, color="#6B6B6B", linewidth=1, linestyle=":")
tidy(right, "the best so far", "trials", "dev loss")
right.set_yscale("log")
right.legend(frameon=False)
save_figure(figure, "coarse_to_fine.png")

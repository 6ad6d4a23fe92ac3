"""The right scale: units and layers evenly, learning rates evenly in the logarithm, decays of averages as 1 - 10^r.

Course 2, week 3, "Using an appropriate scale to pick hyperparameters". Drawn evenly between 0.0001 and 1, nine of ten
learning rates are above 0.1; beta from 0.9 to 0.9005 changes nothing, from 0.999 to 0.9995 it doubles what is averaged.

python examples/course/right_scale.py [trials]        # of each search: 30 unless told
"""

import sys

import numpy as np

from tensorgraph import nn, optim, train, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
training, dev, _ = split(load_digits(), fractions=(0.3, 0.3, 0.4), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)

draws = {  # units and layers evenly; a rate and a beta on their own scales, and evenly
    "units": tune.int(50, 100), "layers": tune.int(2, 4),
    "rate": tune.log(1e-4, 1), "rate_even": tune.uniform(1e-4, 1),
    "beta": tune.ewa(0.9, 0.999), "beta_even": tune.uniform(0.9, 0.999),
}  # fmt: skip
space = tune.Space(draws)
values = [space.draw(seed=0, slot=slot) for slot in range(1000)]
drawn = {name: np.array([each[name] for each in values]) for name in draws}
for name in ("rate", "rate_even"):
    tenths = np.histogram(np.log10(drawn[name]), bins=(-4, -3, -2, -1, 0))[0] / 1000
    print(f"{draws[name]}: " + ", ".join(f"{share:.0%}" for share in tenths) + " in its four factors of ten")
for name in ("beta", "beta_even"):
    print(f"{draws[name]}: {(drawn[name] > 0.99).mean():.0%} average more than 100 steps")


def dev_loss(trial):
    model = nn.Sequential(nn.Linear(64, 32, seed=0), nn.ReLU(), nn.Linear(32, 10, seed=1))
    adam = optim.Adam(model.parameters(), lr=trial["rate"])
    train.fit(model, (x, training.y), optimizer=adam, epochs=3, batch_size=64, progress=False)
    return train.evaluate(model, (x_dev, dev.y))["loss"]


studies = {
    "log": tune.random(tune.Space(rate=tune.log(1e-4, 1)), dev_loss, trials=TRIALS, progress=False),
    "uniform": tune.random(tune.Space(rate=tune.uniform(1e-4, 1)), dev_loss, trials=TRIALS, progress=False),
}
few, best = 5, {}
rng = np.random.default_rng(0)
for name, study in studies.items():
    scores = np.array([np.inf if result.score is None else result.score for result in study.trials])
    best[name] = np.median([scores[rng.permutation(TRIALS)[:few]].min() for _ in range(2000)])
    print(f"{name}: best dev loss of {few} trials {best[name]:.3f} (median), of {TRIALS} {scores.min():.3f}")

# how many values an average is of, and what a small change of beta does to it
betas = np.array([0.9, 0.9005, 0.999, 0.9995])
print("values averaged, 1 / (1 - beta): " + ", ".join(f"{b}: {1 / (1 - b):.1f}" for b in betas))

figure = new_figure(12, 3.8)
left, middle, right = figure.subplots(1, 3)
for k, (name, color) in enumerate(zip(list(draws)[2:], (COLOURS[0], COLOURS[1]) * 2, strict=True)):
    places = np.log10(drawn[name]) / 4 + 1 if k < 2 else -np.log10(1 - drawn[name]) / 2 - 0.5
    left.plot(places[:150], 3 - k + rng.uniform(-0.3, 0.3, 150), ".", color=color, markersize=4)
left.set_yticks(range(3, -1, -1), ["rate\nlog", "rate\nuniform", "beta\newa", "beta\nuniform"])
left.set_xticks([0, 0.5, 1], ["0.0001\n0.9", "0.01\n0.99", "1\n0.999"])
tidy(left, "150 draws on each scale", "rate and beta", "")
for (name, study), color in zip(studies.items(), COLOURS, strict=False):
    values = np.array([[r.values["rate"], r.score] for r in study.trials if r.score is not None])
    middle.plot(*values.T, "o", color=color, alpha=0.7, markersize=5, label=name)
middle.set(xscale="log", yscale="log")
tidy(middle, "where the trials are", "learning rate", "dev loss")
middle.legend(frameon=False)
line = 1 - np.logspace(-1, -3.3, 200)
right.plot(line, 1 / (1 - line), color=COLOURS[2], linewidth=1)
for pair, color in ((betas[:2], COLOURS[1]), (betas[2:], COLOURS[0])):
    right.plot(pair, 1 / (1 - pair), "o-", color=color, label=f"{pair[0]} to {pair[1]}")
tidy(right, "how many values are averaged", "beta", "1 / (1 - beta)")
right.legend(frameon=False)
save_figure(figure, "right_scale.png")

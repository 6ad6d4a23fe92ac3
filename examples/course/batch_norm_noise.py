"""Batch norm as regularisation: mu and sigma² of a mini-batch are noisy, those of 64 examples more than those of 512.

Course 2, week 3, "Why does batch norm work?": every z is scaled and shifted by its mini-batch's moments, which adds
noise to the activations as dropout does; with 512 in a mini-batch there is less of it than with 64.

python examples/course/batch_norm_noise.py [seeds]        # networks of each kind: 8 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, train, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
UPDATES = 250 if SEEDS > 1 else 200  # of each network
training, dev = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)

# the noise: z of a batch by the batch's own moments, against the same z by the moments of all
rng = np.random.default_rng(0)
z = nn.Linear(64, 32, bias=False, seed=0)(x).numpy()
ones, zeros = np.ones(32, "float32"), np.zeros(32, "float32")
by_all = tg.batch_norm(z, ones, zeros)[0].numpy()
noise = {}
for size in (16, 32, 64, 128, 256, 512, 1024):
    batches = [rng.permutation(len(x))[:size] for _ in range(60)]
    noise[size] = np.sqrt(np.mean([((tg.batch_norm(z[b], ones, zeros)[0].numpy() - by_all[b]) ** 2).mean()
                                   for b in batches]))  # fmt: skip
print("noise of a normalised value:", ", ".join(f"{size}: {value:.3f}" for size, value in noise.items()))
expected = {size: noise[64] * np.sqrt((1 / size - 1 / len(x)) / (1 / 64 - 1 / len(x))) for size in noise}
print(f"at 512 it is {noise[512] / noise[64]:.2f} of that at 64; drawing without replacement has it fall to "
      f"{expected[512] / noise[64]:.2f}")  # fmt: skip


# what it does: networks that fit the training set, by equally many updates
def network(normed, seed):
    tg.random.seed(seed)
    norms = [nn.BatchNorm(128) if normed else nn.Identity() for _ in range(2)]
    return nn.Sequential(
        nn.Linear(64, 128, bias=not normed), norms[0], nn.ReLU(),
        nn.Linear(128, 128, bias=not normed), norms[1], nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def trained(normed, size):
    """Losses on the training and on the dev set, of all seeds."""
    networks = tune.ensemble(
        network, (x, training.y), settings=[dict(normed=normed, seed=seed, lr=0.003) for seed in range(SEEDS)],
        epochs=round(UPDATES / (len(x) // size)), batch_size=size,
    )  # fmt: skip
    return [[train.evaluate(networks.model(seed), data)["loss"] for data in ((x, training.y), (x_dev, dev.y))]
            for seed in range(SEEDS)]  # fmt: skip


found = {(normed, size): np.array(trained(normed, size)) for normed in (False, True) for size in (64, 512)}
print(f"after {UPDATES} updates, mean of {SEEDS} networks ± its standard error")
for (normed, size), losses in found.items():
    error = f" ± {losses[:, 1].std(ddof=1) / np.sqrt(SEEDS):.4f}" if SEEDS > 1 else ""
    told = f"{'batch norm' if normed else 'without':>10}, mini-batches of {size:3}"
    print(f"{told}: training loss {losses[:, 0].mean():.4f}, dev loss {losses[:, 1].mean():.4f}{error}")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
sizes = np.array(list(noise))
left.plot(sizes, list(noise.values()), "o-", color=COLOURS[0], label="measured")
left.plot(sizes, list(expected.values()), "--", color=COLOURS[2], label="sqrt(1 / size - 1 / all), through 64")
for size in (64, 512):
    left.annotate(f"{size}: {noise[size]:.3f}", (size, noise[size]), (6, 6), textcoords="offset points")
tidy(left, "noise of a normalised value", "digits in a mini-batch", "standard deviation")
left.set(xscale="log", yscale="log")
left.legend(frameon=False)
for k, ((normed, _), losses) in enumerate(found.items()):
    right.plot(np.full(SEEDS, k), losses[:, 1], "o", color=COLOURS[not normed], alpha=0.5)
    right.plot([k - 0.25, k + 0.25], [losses[:, 1].mean()] * 2, color=COLOURS[not normed], linewidth=3)
right.set_xticks(range(4), [f"{'batch norm' if normed else 'without'}\n{size}" for normed, size in found])
tidy(right, f"loss on the dev set after {UPDATES} updates", "", "")
save_figure(figure, "batch_norm_noise.png")

"""Batch norm at test time: averages of mu and sigma² over the mini-batches, so that one example by itself works.

Course 2, week 3, "Batch norm at test time". With a test batch's own mu and sigma² instead, what a network says of a
digit depends on the digits beside it.

python examples/course/batch_norm_test_time.py [epochs]        # 15 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 15
training, test = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_test = normalizer.transform(training.x), normalizer.transform(test.x)

tg.random.seed(0)
norm = nn.BatchNorm(32)  # decay=0.9: the weight of the average so far
model = nn.Sequential(nn.Linear(64, 32, bias=False), norm, nn.ReLU(), nn.Linear(32, 10))
averages, moments = [], []


class Watch:
    """The average of the first unit's mu as it goes on, and the batch's own, which the average can be solved for."""

    def on_step_end(self, run):
        averages.append(norm.running_mean[0].item())


adam = optim.Adam(model.parameters(), lr=0.01)
train.fit(model, (x, training.y), optimizer=adam, epochs=EPOCHS, batch_size=64, callbacks=[Watch()], progress=False)
t = np.arange(1, len(averages) + 1)
weight = 1 - (1 - 0.9) / (1 - 0.9**t)  # of the old average: corrected for the start, as Adam's are
moments = [averages[0], *(np.array(averages)[1:] - weight[1:] * averages[:-1]) / (1 - weight[1:])]

z = model[0](x).numpy()
off = abs(norm.running_mean.numpy() - z.mean(0)) / z.std(0)
ratio = norm.running_var.numpy() / z.var(0)
print(f"averages of {len(t)} mini-batches beside the training set's own moments: mu of every unit within", end=" ")
print(f"{off.max():.2f} sigma, sigma² from {ratio.min():.2f} to {ratio.max():.2f} of it")

f, parameters, state = tg.functional(model, state=True)  # so that trying leaves the averages as they are


def by_batch(order, size):
    """Predictions where every test batch is normalised by its own mu and sigma²."""
    model.train()
    parts = [f(parameters, state, x_test[order[i : i + size]])[0].numpy() for i in range(0, len(order), size)]
    found = np.empty(len(order), int)
    found[order] = np.concatenate(parts).argmax(1)
    return found


model.eval()
one_by_one = np.array([model(x_test[i : i + 1]).numpy().argmax() for i in range(len(x_test))])
by_averages = (one_by_one == test.y).mean()
print(f"by the averages, one digit at a time: {by_averages:.1%} right")
rng, sizes = np.random.default_rng(0), (3, 9, 27, 60, 135, 540)  # 540 test digits: whole batches
mixed = {size: [by_batch(rng.permutation(540), size) for _ in range(4)] for size in sizes}
by_class = {size: by_batch(np.argsort(test.y, kind="stable"), size) for size in sizes}
right = {size: np.mean([(found == test.y).mean() for found in mixed[size]]) for size in sizes}
sorted_right = {size: (by_class[size] == test.y).mean() for size in sizes}
changes = {size: np.mean(np.any([found != mixed[size][0] for found in mixed[size]], 0)) for size in sizes}
for size in (3, 9, 60, 540):
    print(
        f"by batches of {size:3}: {right[size]:.1%} right if mixed, {sorted_right[size]:.1%} if sorted by digit; "
        f"{changes[size]:.1%} of the digits are read differently in different company"
    )

figure = new_figure(11, 3.8)
left, axes = figure.subplots(1, 2)
left.plot(t, moments, ".", color=COLOURS[1], markersize=3, label="mu of the mini-batch")
left.plot(t, averages, color=COLOURS[0], linewidth=1.5, label="its average, decay 0.9")
left.axhline(z[:, 0].mean(), color=COLOURS[2], linewidth=1, linestyle="--", label="of the training set, at the end")
axes.plot(sizes, list(right.values()), ".-", color=COLOURS[1], label="by the test batch, mixed")
axes.plot(sizes, list(sorted_right.values()), ".:", color=COLOURS[1], label="by the test batch, sorted by digit")
axes.axhline(by_averages, color=COLOURS[0], label="by the averages, in any company")
tidy(left, "the first unit's mean while it trains", "mini-batch", "mu")
tidy(axes, "what is read right", "digits in a test batch", "share of the test set")
axes.set(xscale="log", ylim=(0, 1))
left.legend(frameon=True, framealpha=0.8, edgecolor="none")
axes.legend(frameon=False, loc="center left", fontsize=8)
save_figure(figure, "batch_norm_test_time.png")

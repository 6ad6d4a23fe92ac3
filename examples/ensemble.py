"""Many models at once, as caviar: a random search over 64 networks that are trained as one batched step.

Learning rate and weight decay are drawn on a logarithmic scale, beta1 of Adam as 1 - 10^r, the rate of dropout evenly;
networks that have learnt nothing after some epochs are stopped. (Andrew Ng, course 2, week 3)

python examples/ensemble.py [digits]        # how many of the 1,797 are used; all unless told
"""

import sys
import time

import numpy as np
from matplotlib.figure import Figure

from tensorgraph import nn, train, tune
from tensorgraph.data import Normalizer, load_digits, split

NETWORKS = 64
digits = load_digits()
size = int(sys.argv[1]) if len(sys.argv) > 1 else len(digits)
epochs = 30 if size == len(digits) else 6
digits = digits.take(np.random.default_rng(0).permutation(len(digits))[:size])
training, dev, test = split(digits, fractions=(0.7, 0.15, 0.15), seed=0)
normalizer = Normalizer().fit(training.x)
rng = np.random.default_rng(0)


def drawn(k):
    """The hyperparameters of a network, each on its own scale."""
    return {
        "seed": k,
        "lr": 10 ** rng.uniform(-4, 0),
        "beta1": 1 - 10 ** rng.uniform(-2, -0.5),
        "weight_decay": 10 ** rng.uniform(-5, -1),
        "dropout": rng.uniform(0.05, 0.6),
    }


def make(seed, dropout):
    return nn.Sequential(
        nn.Linear(64, 32, bias=False, seed=seed), nn.BatchNorm(32), nn.ReLU(), nn.Dropout(dropout, seed=seed),
        nn.Linear(32, 10, seed=seed),
    )  # fmt: skip


def prune(epoch, values):
    """After a third of the epochs: those with more than three times the median loss on the dev set."""
    loss = values["dev_loss"]
    return np.flatnonzero(loss > 3 * np.nanmedian(loss)) if epoch == epochs // 3 else None


began = time.perf_counter()
found = tune.ensemble(
    make, training, dev=dev, settings=[drawn(k) for k in range(NETWORKS)], optimizer="adamw", epochs=epochs,
    batch_size=64, normalizer=normalizer, prune=prune,
)  # fmt: skip
seconds = time.perf_counter() - began
k, accuracy = found.best("dev_accuracy")
best = found.settings[k]
print(found)
print(f"{NETWORKS} networks, {epochs} epochs, {seconds:.1f} s; stopped early: {len(found.stopped)}")
print("the best:", {name: f"{value:.3g}" for name, value in best.items()}, f"dev accuracy {accuracy:.1%}")
print(f"test accuracy {train.evaluate(found.model(k), test, normalizer=normalizer)['accuracy']:.1%}")

# the picture ---------------------------------------------------------------------------------------------------------

figure = Figure(figsize=(11, 4.4), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
rates = np.array([one["lr"] for one in found.settings])
reached = np.array([max(h["dev_accuracy"], default=0.0) if len(h) else 0.0 for h in found.histories])
dropped = [one["dropout"] for one in found.settings]
dots = left.scatter(rates, reached, c=dropped, cmap="viridis", s=36, edgecolor="white", linewidth=0.5)
left.scatter(rates[k], reached[k], s=140, facecolor="none", edgecolor="#c2410c", linewidth=1.8)
left.annotate("the best", (rates[k], reached[k]), (0, 12), textcoords="offset points", color="#c2410c", ha="center")
left.set(
    ylim=(-0.03, 1.12),
    xscale="log",
    xlabel="learning rate, drawn on a logarithmic scale",
    ylabel="best accuracy on the dev set",
)
figure.colorbar(dots, ax=left, label="rate of dropout")
for n, history in enumerate(found.histories):
    stopped = history.stopped != "epochs"
    colour = "#c2410c" if n == k else "#9a9a9a" if stopped else "#0d8be5"
    style = dict(alpha=1.0, linewidth=2.2, zorder=3) if n == k else dict(alpha=0.45, linewidth=1)
    right.plot(range(1, len(history) + 1), history["dev_loss"] if len(history) else [], color=colour, **style)
right.set(yscale="log", xlabel="epoch", ylabel="loss on the dev set")
for colour, label in (("#c2410c", "the best"), ("#0d8be5", "the others"), ("#9a9a9a", "stopped early")):
    right.plot([], [], color=colour, label=label)
right.legend(frameon=False, loc="upper right")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
figure.suptitle(f"{NETWORKS} networks in one batched step, {seconds:.1f} s")
figure.savefig("ensemble.png", dpi=120)

"""Caviar: many models trained side by side, each with hyperparameters of its own, and the best one taken.

Course 2, week 3, "Pandas vs caviar". Networks of one shape are one batched step (`tune.ensemble`), here of
learning rates and betas drawn at random, and each ends as it would alone; networks of many shapes go to many processes
instead (`tune.random(..., workers=2)`).

python examples/course/caviar.py [networks]        # 32 unless told
"""

import sys
import time

import numpy as np

from tensorgraph import nn, optim, train, tune
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

NETWORKS, EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 32, 8
training, dev = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)
space = tune.Space(lr=tune.log(1e-4, 1), beta1=tune.ewa(0.5, 0.99))
settings = [{"seed": slot, **space.draw(seed=0, slot=slot)} for slot in range(NETWORKS)]


def network(seed):
    return nn.Sequential(nn.Linear(64, 32, seed=seed), nn.ReLU(), nn.Linear(32, 10, seed=1000 + seed))


began = time.process_time()
many = tune.ensemble(
    network, (x, training.y), dev=(x_dev, dev.y), settings=settings, epochs=EPOCHS, batch_size=64, optimizer="adam"
)
together = time.process_time() - began
k, loss = many.best("dev_loss")
print(f"the best of {NETWORKS}: number {k}, dev loss {loss:.4f}, learning rate {settings[k]['lr']:.4f}")

# some of them alone, by fit
began, apart, learned = time.process_time(), 0.0, 0
alone = range(min(NETWORKS, 8))
for i in alone:
    model = network(settings[i]["seed"])
    adam = optim.Adam(model.parameters(), lr=settings[i]["lr"], beta1=settings[i]["beta1"])
    history = train.fit(
        model, (x, training.y), dev=(x_dev, dev.y), optimizer=adam, epochs=EPOCHS, batch_size=64,
        seed=settings[i]["seed"], progress=False,
    )  # fmt: skip
    own = np.array(many.histories[i]["dev_loss"])
    if own[-1] < np.log(10):  # of those that learn: where the rate is too large, rounding grows as all else does
        apart = max(apart, np.max(abs(own - history["dev_loss"]) / own))
        learned += 1
each = (time.process_time() - began) / len(alone)
print(f"{len(alone)} of them alone; the {learned} that learn: the same dev losses, epoch by epoch, to {apart:.0e}")
print(f"seconds of processor: {together:.2f} together, {NETWORKS * each:.2f} one after another")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
epochs = np.arange(1, EPOCHS + 1)
for i, history in enumerate(many.histories):
    left.plot(epochs[: len(history)], history["dev_loss"], color=COLOURS[1] if i == k else "#9A9A9A",
              linewidth=2.5 if i == k else 0.8, zorder=2 + (i == k))  # fmt: skip
last = [history["dev_loss"][-1] for history in many.histories]
right.scatter([s["lr"] for s in settings], last, color=COLOURS[0], s=18)
right.plot(settings[k]["lr"], loss, "o", color=COLOURS[1], markersize=9)
tidy(left, f"{NETWORKS} networks at once, the best in colour", "epoch", "dev loss")
tidy(right, "what their learning rates did", "learning rate", f"dev loss after {EPOCHS} epochs")
left.set_yscale("log")
right.set(xscale="log", yscale="log")
save_figure(figure, "caviar.png")

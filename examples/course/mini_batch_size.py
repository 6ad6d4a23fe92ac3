"""Mini-batch size: 1 is noisy and slow to compute, all at once makes few steps; in between learns most in a given time.

Course 2, week 2, "Understanding mini-batch gradient descent". Every size has the best of up to four learning rates.

python examples/course/mini_batch_size.py [epochs]        # 8 unless told
"""

import sys
import time

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Normalizer, load_digits, minibatches, split
from tensorgraph.train.plots import new_figure, save_figure, tidy

EPOCHS, RATES = int(sys.argv[1]) if len(sys.argv) > 1 else 8, (0.03, 0.1, 0.3, 1.0)
digits, _ = split(load_digits(), fractions=(0.5, 0.5), seed=0, stratify=True)
x, y = Normalizer().fit_transform(digits.x), digits.y
SIZES = (1, 8, 64, 256, len(x))


def cost(model):
    with tg.no_grad():
        return tg.softmax_cross_entropy(model(x), y).item()


def trained(size, rate):
    """Of every step: the batch's loss. Of every epoch: the cost of all, and the seconds of its steps so far."""
    tg.random.seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    sgd, losses, costs, seconds = optim.SGD(model.parameters(), lr=rate), [], [cost(model)], [0.0]
    batches = minibatches(x, y, batch_size=size)
    for _ in range(EPOCHS):
        began = time.process_time()
        for rows, labels in batches:
            loss = tg.softmax_cross_entropy(model(rows), labels)
            sgd.minimize(loss)
            losses.append(loss.item())
        seconds.append(seconds[-1] + time.process_time() - began)
        costs.append(cost(model))
    return np.array(losses), np.array(costs), np.array(seconds)


found = {}
for size in SIZES:
    rates = [rate for rate in RATES if rate <= 0.03 * size]  # a few digits a step: larger ones diverge
    runs = {rate: trained(size, rate) for rate in rates}
    best = min(runs, key=lambda rate: np.nan_to_num(runs[rate][1][-1], nan=np.inf))
    found[size] = best, *runs[best]
print(f"after {EPOCHS} epochs, each size with its best learning rate")
print("size  rate  steps  cost    microseconds a step  steps on which the batch's loss rose")
rises = {}
for size, (rate, losses, costs, seconds) in found.items():
    rises[size] = np.mean(np.diff(losses) > 0) if len(losses) > 1 else 0.0
    each = 1e6 * seconds[-1] / len(losses)
    print(f"{size:4}  {rate:4}  {len(losses):5}  {costs[-1]:.4f}  {each:19.0f}  {rises[size]:.0%}")

figure = new_figure(12, 3.8)
steps, epochs, clock = figure.subplots(1, 3)
colors = ("#2E2E2E", "#D1660A", "#0B6FB8", "#7A4FB5", "#4C9A2A")
for (size, (rate, losses, costs, seconds)), color in zip(found.items(), colors, strict=True):
    label = f"{size}, rate {rate}" if size < len(x) else f"all {size}, rate {rate}"
    if size > 1:  # whose losses are all over the panel
        steps.plot(np.linspace(0, EPOCHS, len(losses)), losses, color=color, linewidth=0.5 if size < 64 else 1.5)
    epochs.plot(costs, color=color, label=label, linewidth=2)
    clock.plot(seconds[1:], costs[1:], ".-", color=color)
tidy(steps, "loss of each mini-batch", "epoch", "")
tidy(epochs, "cost of all, by epochs", "epoch", "")
tidy(clock, "and by time on this machine", "seconds of processor", "")
steps.set(yscale="log", ylim=(1e-3, 5))
epochs.set_yscale("log")
clock.set(yscale="log", xscale="log")
epochs.legend(framealpha=0.8, edgecolor="none", title="mini-batch size", fontsize=8)
save_figure(figure, "mini_batch_size.png")

"""The bias that batch norm cancels: b moves every z by as much as it moves their mean, which is subtracted.

Course 2, week 3, "Fitting batch norm into a neural network": b is left out, and beta of batch norm takes its place.

python examples/course/batch_norm_bias.py [epochs]        # 10 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Normalizer, load_digits, minibatches
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
tg.set_default_dtype("float64")
digits = load_digits()
x, y = Normalizer().fit_transform(digits.x), digits.y


def network(bias):
    tg.random.seed(0)
    return nn.Sequential(
        nn.Linear(64, 32, bias=bias, bias_init="normal"), nn.BatchNorm(32), nn.ReLU(), nn.Linear(32, 10, seed=1)
    )


def trained(model, optimizer):
    """The loss of every step, and the largest gradients of the weights and of the bias before batch norm."""
    losses, sizes = [], []
    batches = minibatches(x, y, batch_size=64, last="merge")
    for _ in range(EPOCHS):
        for rows, labels in batches:
            loss = tg.softmax_cross_entropy(model(rows), labels)
            loss.backward()
            losses.append(loss.item())
            first = model[0]
            sizes.append([abs(p.grad.numpy()).max() for p in (first.weight, first.bias) if p is not None])
            optimizer.step()
            optimizer.zero_grad()
    return np.array(losses), np.array(sizes)


found = {}
for name, make in (("SGD", lambda p: optim.SGD(p, lr=0.1)), ("Adam", lambda p: optim.Adam(p, lr=0.01))):
    with_bias, without = network(True), network(False)
    started = with_bias[0].bias.numpy().copy()
    losses, sizes = trained(with_bias, make(with_bias.parameters()))
    others, _ = trained(without, make(without.parameters()))
    found[name] = losses, others, sizes, abs(with_bias[0].bias.numpy() - started).max()
    print(f"{name}: gradient of the bias at most {sizes[:, 1].max():.0e}, of the weights {sizes[:, 0].max():.2f}")
    print(f"{name}: the loss with and without the bias differs by at most {abs(losses - others).max():.0e}")
    print(
        f"{name}: the bias began between {started.min():.2f} and {started.max():.2f} and moved by {found[name][3]:.0e}"
    )

model = network(True)
for finding in tg.lint(tg.trace(lambda x, y: tg.softmax_cross_entropy(model(x), y), x[:64], y[:64])):
    print(f"lint finds {finding.id}: {finding.remedy}")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
losses, others, sizes, _ = found["SGD"]
steps = np.arange(1, len(losses) + 1)
left.plot(steps, losses, color=COLOURS[1], linewidth=4, alpha=0.4, label="with the bias")
left.plot(steps, others, color=COLOURS[0], linewidth=1, label="without")
right.plot(steps, sizes[:, 0], color=COLOURS[0], label="of the weights")
right.plot(steps, np.maximum(sizes[:, 1], 1e-20), color=COLOURS[1], label="of the bias: rounding")
tidy(left, "the losses are the same", "step", "loss of the mini-batch")
tidy(right, "the bias has no gradient", "step", "largest gradient of the layer before")
right.set_yscale("log")
left.legend(frameon=False)
right.legend(frameon=False)
save_figure(figure, "batch_norm_bias.png")

"""Softmax with C = 2 is logistic regression: z has one number too many, and z₁ - z₀ is all that counts.

Course 2, week 3, "Training a softmax classifier". On the breast cancer data of Wisconsin: 569 tumours, 30 features.

python examples/course/logistic.py [steps]        # of gradient descent: 400 unless told
"""

import sys

import numpy as np
from sklearn.datasets import load_breast_cancer

import tensorgraph as tg
from tensorgraph.data import Dataset, Normalizer, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

STEPS, RATE = int(sys.argv[1]) if len(sys.argv) > 1 else 400, 0.5
bunch = load_breast_cancer()
tumours = Dataset(bunch.data, bunch.target, tuple(bunch.target_names), tuple(bunch.feature_names))
training, test = split(tumours, fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_test = normalizer.transform(training.x), normalizer.transform(test.x)


def descend(cost, p, rate):
    losses = []
    for _ in range(STEPS):
        loss, gradient = tg.value_and_grad(cost)(p)
        p = tg.tree_map(lambda p, g: p - rate * g, p, gradient)
        losses.append(loss.item())
    return p, np.array(losses)


def linear(p, x):
    return x @ p["w"] + p["b"]


# two numbers an example and softmax; one number and the sigmoid. z₁ - z₀ moves by the steps of both of its parts, so
# that softmax at half the rate walks the same way
softmax, softmax_losses = descend(
    lambda p: tg.softmax_cross_entropy(linear(p, x), training.y), {"w": tg.zeros((30, 2)), "b": tg.zeros(2)}, RATE / 2
)
logistic, logistic_losses = descend(
    lambda p: tg.binary_cross_entropy_with_logits(linear(p, x)[:, 0], training.y.astype("float32")),
    {"w": tg.zeros((30, 1)), "b": tg.zeros(1)}, RATE,
)  # fmt: skip

weights = softmax["w"].numpy()
print(f"costs after {STEPS} steps: softmax {softmax_losses[-1]:.5f}, logistic {logistic_losses[-1]:.5f};", end=" ")
print(f"they differ by at most {abs(softmax_losses - logistic_losses).max():.0e} on the way")
difference = abs((weights[:, 1:] - weights[:, :1]) - logistic["w"].numpy()).max()
print(f"w₁ - w₀ is the logistic w: they differ by at most {difference:.0e} of {abs(logistic['w'].numpy()).max():.2f}")
print(f"and w₀ = -w₁ to {abs(weights.sum(1)).max():.0e}: one of the two says nothing new")
of_softmax = tg.softmax(linear(softmax, x_test)).numpy()[:, 1]
of_logistic = tg.sigmoid(linear(logistic, x_test)).numpy()[:, 0]
print(f"probabilities of the test set differ by at most {abs(of_softmax - of_logistic).max():.0e}")
print(f"{((of_softmax > 0.5) == test.y).mean():.1%} of {len(test)} tumours are told right, by either")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
left.plot(softmax_losses, color=COLOURS[1], linewidth=4, alpha=0.4, label=f"softmax of two, rate {RATE / 2}")
left.plot(logistic_losses, color=COLOURS[0], linewidth=1, label=f"sigmoid of one, rate {RATE}")
left.set_yscale("log")
z = linear(softmax, x_test).numpy()
for label, color in ((0, COLOURS[1]), (1, COLOURS[0])):
    chosen = test.y == label
    right.plot((z[:, 1] - z[:, 0])[chosen], of_softmax[chosen], "o", color=color, markersize=4, alpha=0.6,
               label=tumours.class_names[label])  # fmt: skip
line = np.linspace(*np.clip([(z[:, 1] - z[:, 0]).min(), (z[:, 1] - z[:, 0]).max()], -15, 15), 200)
right.plot(line, tg.sigmoid(line).numpy(), color=COLOURS[2], linewidth=1, label="sigmoid")
right.set_xlim(line[0], line[-1])
tidy(left, "the costs are the same", "step", "cost")
tidy(right, "softmax's second share is the sigmoid of z₁ - z₀", "z₁ - z₀", "share of class 1")
left.legend(frameon=False)
right.legend(frameon=False)
save_figure(figure, "logistic.png")

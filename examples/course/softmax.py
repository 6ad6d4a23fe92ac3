"""Softmax and hard max: the slides' four numbers, its loss, and the gradient ŷ - y, on handwritten digits.

Course 2, week 3, "Softmax regression" and "Training a softmax classifier". t = e^z, ŷ = t / sum(t), L = -sum(y log ŷ).

python examples/course/softmax.py [steps]        # of gradient descent: 300 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
z = tg.tensor([5.0, 2.0, -1.0, 3.0])
t = tg.exp(z)
print("z ", z.numpy(), " e^z", t.numpy().round(1), " sum", round(t.sum().item(), 1))
print("softmax", tg.softmax(z).numpy().round(3), " hard max", tg.hardmax(z).numpy())
sharper = {factor: tg.softmax(factor * z).numpy() for factor in (0.5, 1, 2, 4, 8)}
print("softmax of 8 z", sharper[8].round(3), "which is nearly the hard max")

# on digits: one layer, w and b, by gradient descent
training, test = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_test = normalizer.transform(training.x), normalizer.transform(test.x)
y = tg.one_hot(training.y, 10)
p = {"w": tg.zeros((64, 10)), "b": tg.zeros(10)}


def cost(p):
    return tg.softmax_cross_entropy(x @ p["w"] + p["b"], training.y)


losses, apart = [], 0.0
for _ in range(STEPS):
    loss, gradient = tg.value_and_grad(cost)(p)
    wrong = tg.softmax(x @ p["w"] + p["b"]) - y  # ŷ - y, by hand: dw = xᵀ(ŷ - y) / m, db its mean
    by_hand = {"w": x.T @ wrong / len(x), "b": wrong.mean(axis=0)}
    apart = max(apart, *(abs(gradient[name] - by_hand[name]).max().item() for name in p))
    p = tg.tree_map(lambda p, g: p - 0.5 * g, p, gradient)
    losses.append(loss.item())
print(f"the gradient is that of ŷ - y: they differ by at most {apart:.0e} in {STEPS} steps")
print(f"cost {losses[0]:.4f} at first, log 10 as every ŷ is 1/10; {losses[-1]:.4f} at last")

scores = x_test @ p["w"] + p["b"]
share = tg.softmax(scores).numpy()
each = tg.softmax_cross_entropy(scores, test.y, reduction="none").numpy()
slope = tg.grad(lambda z: tg.softmax_cross_entropy(z, test.y, reduction="sum"))(scores).numpy()
given = share[np.arange(len(test)), test.y]  # the probability of the right class
print(f"test: {(share.argmax(1) == test.y).mean():.1%} right, cost {each.mean():.3f}")

figure = new_figure(12, 3.6)
bars, curve, row = figure.subplots(1, 3)
for k, (factor, values) in enumerate(sharper.items()):
    bars.bar(np.arange(4) + 0.16 * (k - 2), values, 0.15, label=f"softmax of {factor:g} z", alpha=0.3 + 0.15 * k,
             color=COLOURS[0])  # fmt: skip
bars.hlines(tg.hardmax(z).numpy(), np.arange(4) - 0.45, np.arange(4) + 0.45, color=COLOURS[1], label="hard max")
bars.set_xticks(range(4), [f"z = {value:g}" for value in z.numpy()])
curve.plot(given, each, ".", color=COLOURS[0], markersize=4, label="a test digit's loss")
curve.plot(given, abs(slope).sum(1) / 2, ".", color=COLOURS[1], markersize=4, label="its gradient: sum |ŷ - y| / 2")
curve.set_xscale("log")
worst = int(each.argmax())
row.bar(range(10), slope[worst], color=[COLOURS[1] if k == test.y[worst] else COLOURS[0] for k in range(10)])
row.set_xticks(range(10))
tidy(bars, "softmax and hard max", "", "share")
tidy(curve, "the loss is -log ŷ of the right class", "ŷ of the right class", "")
tidy(row, f"ŷ - y of the worst digit, a {test.y[worst]}", "class", "gradient of its loss by z")
bars.legend(frameon=False, fontsize=8)
curve.legend(frameon=False)
save_figure(figure, "softmax.png")

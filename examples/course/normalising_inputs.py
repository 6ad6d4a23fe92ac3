"""Normalising inputs: (x - mu) / sigma makes the cost round, so that gradient descent goes straight to its minimum.

Course 2, "Normalizing inputs", with the slide's case: one feature from 278 to 1,680, another from 0.5 to 1.7, of 178
wines whose alcohol is to be told. The slide divides by sigma², a slip for sigma; what that would do is measured too.

python examples/course/normalising_inputs.py [steps]        # at most so many: 20,000 unless told
"""

import sys

import numpy as np
from sklearn.datasets import load_wine

import tensorgraph as tg
from tensorgraph.data import Normalizer, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
wine = load_wine()
(x, y), (x_test, y_test) = split(wine.data[:, [10, 12]], wine.data[:, 0], fractions=(0.7, 0.3), seed=0)  # hue, proline
y, y_test = y - y.mean(), y_test - y.mean()
normalizer = Normalizer(dtype="float64").fit(x)  # of the training set; the test set gets the same mu and sigma
mu, sigma = normalizer.mean, normalizer.std
inputs = {
    "as they are": x,
    "x - mu": x - mu,
    "(x - mu) / sigma²": (x - mu) / sigma**2,
    "(x - mu) / sigma": normalizer.transform(x),
}


def cost(p, x):
    """The mean squared error of x w + b over two."""
    return tg.mean((x @ p[:2] + p[2] - y) ** 2) / 2


def descend(p, x, rate):
    return p - rate * tg.grad(cost)(p, x), cost(p, x)


found = {}
print("                   curvatures from ... to      ratio   steps until the cost is within 1% of its least")
for name, x_in in inputs.items():
    start = tg.zeros(3, dtype="float64")
    curvatures = np.linalg.eigvalsh(tg.hessian(cost)(start, x_in).numpy())
    rate = 2 / (curvatures[0] + curvatures[-1])  # no other rate converges faster on this cost
    design = np.column_stack([x_in, np.ones(len(x))])
    best = np.linalg.lstsq(design, y, rcond=None)[0]
    least, first = cost(tg.tensor(best), x_in).item(), cost(start, x_in).item()
    step = tg.trace(descend, start, x_in, rate)
    p, path = start, []
    for _ in range(STEPS):
        path.append(p.numpy())
        p, value = step(p, x_in, rate)
        if value.item() - least < 0.01 * (first - least):
            break
    reached = value.item() - least < 0.01 * (first - least)
    found[name] = curvatures[-1] / curvatures[0], len(path) - 1 if reached else np.inf, best, np.array(path)
    told = f"{len(path) - 1:,}" if reached else f"not in {STEPS:,}"
    print(f"{name:>17}  {curvatures[0]:8.2g} {curvatures[-1]:12.3g}  {found[name][0]:9.2g}   {told}")
best = found["(x - mu) / sigma"][2]
error = np.mean((normalizer.transform(x_test) @ best[:2] + best[2] - y_test) ** 2)
print(f"mean squared error on the test set, by the training set's mu and sigma: {error:.3f}; of the mean alone "
      f"{np.mean(y_test**2):.3f}")  # fmt: skip

figure = new_figure(12, 3.4)
for panel, (name, x_in) in zip(figure.subplots(1, 4), inputs.items(), strict=True):
    ratio, steps, best, path = found[name]
    reach = 1.3 * max(abs(best[:2]).max(), abs(path[:, :2] - best[:2]).max())
    w = [np.linspace(centre - reach, centre + reach, 120) for centre in best[:2]]
    grid = np.stack(np.meshgrid(*w), -1)
    errors = grid @ x_in.T - y
    height = np.var(errors, axis=-1) / 2  # at the b that is best for these w
    panel.contour(*w, height, levels=np.quantile(height, np.linspace(0.002, 0.9, 12) ** 1.5), colors="#9A9A9A",
                  linewidths=0.8)  # fmt: skip
    panel.plot(path[:, 0], path[:, 1], ".-", color=COLOURS[1], markersize=4, linewidth=1)
    panel.plot(*best[:2], "*", color=COLOURS[0], markersize=11)
    tidy(panel, name, f"w of hue\nratio of curvatures {ratio:.2g}", "w of proline")
    panel.set_aspect("equal")
    panel.ticklabel_format(scilimits=(-2, 3))
save_figure(figure, "normalising_inputs.png")

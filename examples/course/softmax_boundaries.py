"""Softmax's decision boundaries in the plane: straight without a hidden layer, for 3 to 6 classes; curved with one.

Course 2, week 3, "Softmax regression". The points are handwritten digits, by their two principal components.

python examples/course/softmax_boundaries.py [steps]        # 400 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Normalizer, load_digits
from tensorgraph.train.plots import new_figure, save_figure

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 400
digits = load_digits()
edge = np.linspace(-2.6, 2.6, 240, dtype="float32")
plane = np.stack(np.meshgrid(edge, edge), -1).reshape(-1, 2)


def in_the_plane(classes):
    """The digits 0 to classes - 1, as far along the two directions in which they vary most."""
    chosen = digits.take(np.flatnonzero(digits.y < classes))
    x = chosen.x - chosen.x.mean(0)
    directions = tg.linalg.svd(x, full_matrices=False).Vh.numpy()[:2]
    return Normalizer().fit_transform(x @ directions.T), chosen.y


def bend(model):
    """How far z leaves a plane: that of the middle of two points against the middle of their z, of the range of z."""
    rng = np.random.default_rng(0)
    a, b = plane[rng.integers(len(plane), size=(2, 1000))]
    with tg.no_grad():
        off = model((a + b) / 2) - (model(a) + model(b)) / 2
        return (abs(off).max() / abs(model(plane)).max()).item()


found = {}
figure = new_figure(11, 5.8)
panels = figure.subplots(2, 4)
for column, classes in enumerate((3, 4, 5, 6)):
    x, y = in_the_plane(classes)
    for row, hidden in enumerate((0, 16)):
        tg.random.seed(0)
        layers = [nn.Linear(2, hidden), nn.Tanh()] if hidden else []
        model = nn.Sequential(*layers, nn.Linear(hidden or 2, classes))
        adam = optim.Adam(model.parameters(), lr=0.05)
        for _ in range(STEPS):
            adam.minimize(tg.softmax_cross_entropy(model(x), y))
        with tg.no_grad():
            right = (model(x).numpy().argmax(1) == y).mean()
            share = tg.softmax(model(plane)).numpy().reshape(len(edge), len(edge), classes)
        found[classes, hidden] = right, bend(model)
        panel = panels[row, column]
        panel.imshow(share.argmax(2), extent=(-2.6, 2.6) * 2, origin="lower", cmap="Set2", vmin=0, vmax=7, alpha=0.6)
        for k in range(classes):
            panel.contour(edge, edge, share.argmax(2) == k, levels=[0.5], colors="#2E2E2E", linewidths=1)
        panel.scatter(*x[::12].T, c=y[::12], s=14, cmap="Set2", vmin=0, vmax=7, edgecolors="#2E2E2E", linewidths=0.4)
        panel.set(xticks=[], yticks=[], xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
        kind = f"{hidden} hidden units" if hidden else "no hidden layer"
        panel.set_title(f"C = {classes}, {kind}: {right:.0%} right", fontsize=10)
    panels[1, column].set_xlabel("first principal component")
panels[0, 0].set_ylabel("second principal component")
panels[1, 0].set_ylabel("second principal component")
for (classes, hidden), (right, bent) in found.items():
    kind = f"{hidden} hidden units" if hidden else "no hidden layer "
    print(f"{classes} classes, {kind}: {right:.1%} right, z is bent by {bent:.0e} of its size")
save_figure(figure, "softmax_boundaries.png")

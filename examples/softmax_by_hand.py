"""The course's softmax and batch norm by hand: its formulas as on the slides, beside tensorgraph's own.

Andrew Ng, Deep Learning Specialization, course 2, week 3: "Softmax regression", "Training a softmax classifier" and
"Normalizing activations in a network". The last picture is the slide's: softmax without a hidden layer, for C classes.

python examples/softmax_by_hand.py [steps]        # 400 unless told; forty show that it learns
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 400


def softmax(z):
    t = tg.exp(z - tg.max(z, axis=-1, keepdims=True))  # the maximum leaves the value as it is, and nothing overflows
    return t / tg.sum(t, axis=-1, keepdims=True)


def cross_entropy(z, y):
    """L(ŷ, y) = -Σ y_j log ŷ_j of one-hot rows y, averaged over the examples as J is."""
    return -tg.mean(tg.sum(y * tg.log(softmax(z)), axis=-1))


def batch_norm(z, gamma, beta, eps=1e-5):
    mu = tg.mean(z, axis=0)
    variance = tg.mean((z - mu) ** 2, axis=0)
    z_norm = (z - mu) / tg.sqrt(variance + eps)
    return gamma * z_norm + beta


def same(a, b):
    return bool(tg.max(abs(a - b)) < 1e-5)


# the slide's four numbers --------------------------------------------------------------------------------------------

z, y = tg.tensor([5.0, 2.0, -1.0, 3.0]), tg.tensor([0.0, 1.0, 0.0, 0.0])
y_hat, gradient = softmax(z), tg.grad(cross_entropy)(z, y)
print("softmax", y_hat.numpy().round(3), "hard max", tg.hardmax(z).numpy())
print("dJ/dz", gradient.numpy().round(3), "is ŷ - y:", same(gradient, y_hat - y))

scores, labels = tg.random.normal((64, 4)), np.arange(64) % 4
by_hand, ours = cross_entropy(scores, tg.one_hot(labels, 4)), tg.softmax_cross_entropy(scores, labels)
print("cross-entropy by hand is softmax_cross_entropy:", same(by_hand, ours))
gamma, beta = tg.tensor([1.0, 2.0, 0.5, 3.0]), tg.tensor([0.0, -1.0, 4.0, 0.5])
normed, mean, variance = tg.batch_norm(scores, gamma, beta)
print("batch norm by hand is batch_norm:", same(batch_norm(scores, gamma, beta), normed))
print("γ = sqrt(σ² + ε), β = μ give z back:", same(batch_norm(scores, tg.sqrt(variance + 1e-5), mean), scores))

# softmax without a hidden layer, trained by gradient descent on w and b ----------------------------------------------

losses, rng = [], np.random.default_rng(0)
figure = Figure(figsize=(12, 3.6), layout="constrained")
for panel, classes in zip(figure.subplots(1, 4), (3, 4, 5, 6), strict=True):
    y = np.arange(60 * classes) % classes
    angle = 2 * np.pi * y / classes
    x = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.6 * rng.standard_normal((len(y), 2))
    x, one_hot = x.astype(tg.default_dtype()), tg.one_hot(y, classes)
    p = {"w": tg.zeros((2, classes)), "b": tg.zeros(classes)}
    cost = tg.value_and_grad(lambda p, x, y: cross_entropy(x @ p["w"] + p["b"], y))
    for _ in range(STEPS):
        loss, gradient = cost(p, x, one_hot)
        p = tg.tree_map(lambda p, g: p - 0.5 * g, p, gradient)
        losses.append(loss.item())
    right = (tg.argmax(x @ p["w"] + p["b"], axis=1).numpy() == y).mean()
    print(f"{classes} classes: cost {losses[-STEPS]:.3f} -> {losses[-1]:.3f}, {right:.1%} right")
    edge = np.linspace(-4, 4, 300, dtype=x.dtype)
    plane = softmax(np.stack(np.meshgrid(edge, edge), -1) @ p["w"] + p["b"]).numpy()
    panel.imshow(plane.argmax(2), extent=(-4, 4, -4, 4), origin="lower", cmap="Set2", vmin=0, vmax=7, alpha=0.6)
    panel.contour(edge, edge, plane.max(2), levels=[0.6, 0.9], colors="white", linewidths=(1.6, 0.8))
    panel.scatter(*x.T, c=y, s=10, cmap="Set2", vmin=0, vmax=7, edgecolors="black", linewidths=0.4)
    panel.set(title=f"C = {classes}: {right:.0%} right", xlabel="$x_1$", ylabel="$x_2$", xticks=[], yticks=[])
figure.supxlabel("white lines: where the largest probability is 60% (thick) and 90% (thin)", fontsize=9)
figure.savefig("softmax_by_hand.png", dpi=120)

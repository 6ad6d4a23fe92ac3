"""The curvature of a network's loss, before and after training, and the kernel that a network is before it learns.

Hessians have a few large eigenvalues, about one a class, and a bulk near 0: Sagun et al. (2017), arXiv 1706.04454; the
gradients of single examples span the large ones. The kernel: Jacot et al. (2018), arXiv 1806.07572.

python examples/curvature.py [digits]        # how many of the 1,797 are used; all unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.data import load_digits

digits = load_digits()
SIZE = int(sys.argv[1]) if len(sys.argv) > 1 else len(digits)
digits = digits.take(np.random.default_rng(0).permutation(len(digits))[:SIZE])
small = digits.x.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 8 - 1  # 4 x 4 pixels, for a small Hessian
f, p = tg.functional(nn.Sequential(nn.Linear(16, 10, seed=0), nn.Tanh(), nn.Linear(10, 10, seed=1)))


def loss(p, x, y):
    return tg.softmax_cross_entropy(f(p, x), y)


def rows(tree):
    return np.concatenate([part.numpy().reshape(SIZE, -1) for part in tree.values()], 1)  # a row an example


def spectrum(p):
    """Eigenvalues and eigenvectors of the Hessian, the largest first."""
    h = tg.hessian(loss)(p, small, digits.y)  # h[a][b]: the second derivatives for parameters a and b
    values, vectors = np.linalg.eigh(np.block([[h[a][b].numpy().reshape(p[a].size, p[b].size) for b in p] for a in p]))
    return values[::-1], vectors[:, ::-1]


spectra, losses = {"before training": spectrum(p)[0]}, []
for _ in range(300):
    value, slopes = tg.value_and_grad(loss)(p, small, digits.y)
    p = tg.tree_map(lambda p, g: p - g, p, slopes)  # a learning rate of 1
    losses.append(value.item())
values, vectors = spectrum(p)
spectra["after training"] = values
gradients = rows(tg.vmap(tg.grad(loss), (None, 0, 0))(p, small, digits.y))
inside = ((gradients @ vectors[:, :9]) ** 2).sum() / (gradients**2).sum()
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, a Hessian of {values.size} x {values.size}")
print("largest eigenvalues", *(f"{value:.2f}" for value in values[:10]), f"and the median {np.median(values):.4f}")
print(f"{inside:.0%} of the single examples' gradients lie in the first nine of its {values.size} directions")

# the tangent kernel of a wide network that has not been trained
wide, start = tg.functional(nn.Sequential(nn.Linear(64, 256, seed=2), nn.Tanh(), nn.Linear(256, 1, seed=3)))
tangents = rows(tg.vmap(tg.jacobian(wide), (None, 0))(start, digits.x / 16))
kernel, half = tangents @ tangents.T, SIZE // 2
weights = np.linalg.solve(kernel[:half, :half] + 0.01 * np.eye(half), np.eye(10)[digits.y[:half]] - 0.1)
right = ((kernel[half:, :half] @ weights).argmax(1) == digits.y[half:]).mean()
print(f"the kernel of its {tangents.shape[1]:,} parameters, fitted to {half} digits, reads {right:.1%} of the others")

# the picture ---------------------------------------------------------------------------------------------------------

figure = Figure(figsize=(11, 4.4), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
for (label, values), color in zip(spectra.items(), ("#6b6b6b", "#0d8be5"), strict=True):
    left.plot(np.arange(1, values.size + 1), values, ".-", color=color, markersize=4, linewidth=0.8, label=label)
left.axvline(9.5, color="#c2410c", linewidth=1, linestyle="--", label="nine: the classes less one")
left.set(xlabel="eigenvalue, the largest first", ylabel="curvature", title="spectrum of the Hessian")
left.set_yscale("symlog", linthresh=1e-3)
left.legend(frameon=False)
order = np.argsort(digits.y, kind="stable")
tangents = tangents[order] / np.linalg.norm(tangents[order], axis=1, keepdims=True)
image = right.imshow(tangents @ tangents.T, cmap="magma")
middles = [np.flatnonzero(digits.y[order] == k).mean() for k in range(10)]
right.set_xticks(middles, range(10))
right.set_yticks(middles, range(10))
right.set_title("tangent kernel of the digits, by class")
figure.colorbar(image, label="cosine of two digits' gradients", shrink=0.85)
figure.savefig("curvature.png", dpi=120)

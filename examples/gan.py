"""Two networks play against each other, until one of them draws points from eight Gaussians on a ring.

Goodfellow et al., "Generative Adversarial Nets" (2014), arXiv 1406.2661: the game of its algorithm 1, with the loss
-log D(G(z)) of its section 3 for the generator. The ring is that of Metz et al. (2017), arXiv 1611.02163.

python examples/gan.py [steps]        # 3,500 unless told; 300 show that it learns
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3500
SPREAD, LATENT, BATCH = 0.2, 8, 256
rng = np.random.default_rng(0)
angles = 2 * np.pi * np.arange(8) / 8
CENTRES = 2 * np.stack([np.cos(angles), np.sin(angles)], 1)


def ring(n):
    points = CENTRES[rng.integers(0, 8, n)] + SPREAD * rng.standard_normal((n, 2))
    return tg.tensor(points, dtype=tg.default_dtype())


def noise(n):
    return tg.random.normal((n, LATENT))


def network(inputs, outputs, width=128):
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


tg.random.seed(0)
generator, discriminator = network(LATENT, 2), network(2, 1)
adam_g = optim.Adam(generator.parameters(), lr=0.001, beta1=0.5)
adam_d = optim.Adam(discriminator.parameters(), lr=0.001, beta1=0.5)
real, fake = tg.ones((BATCH, 1)), tg.zeros((BATCH, 1))
watched = noise(2000)  # the same for every picture
losses, drawn = [], {}
shown = np.unique(np.geomspace(STEPS / 100, STEPS, 5).round().astype(int))
for step in range(1, STEPS + 1):
    # the discriminator learns to tell the points apart: of the generator it sees the points alone
    points = generator(noise(BATCH))
    loss_d = tg.sigmoid_cross_entropy(discriminator(ring(BATCH)), real)
    loss_d = loss_d + tg.sigmoid_cross_entropy(discriminator(points.detach()), fake)
    adam_d.minimize(loss_d)
    # the generator learns to be taken for real
    loss_g = tg.sigmoid_cross_entropy(discriminator(points), real)
    adam_g.minimize(loss_g)
    losses.append(loss_d.item())
    if step in shown:
        with tg.no_grad():
            drawn[step] = generator(watched).numpy()

distances = np.linalg.norm(drawn[STEPS][:, None] - CENTRES, axis=2)
near = distances.min(1) < 3 * SPREAD
shares = np.bincount(distances.argmin(1)[near], minlength=8) / 2000
print(f"{near.mean():.0%} of the points lie at one of the eight, {(shares > 0.02).sum()} of which are drawn")
print(f"loss of the discriminator {losses[0]:.2f} -> {np.mean(losses[-50:]):.2f}; of guessing, {2 * np.log(2):.2f}")

# the picture ---------------------------------------------------------------------------------------------------------

figure = Figure(figsize=(13, 3.1), layout="constrained")
for panel, (step, points) in zip(figure.subplots(1, len(drawn)), drawn.items(), strict=True):
    panel.scatter(*points.T, s=2, alpha=0.4, color="#0d8be5", linewidths=0)
    panel.scatter(*CENTRES.T, s=30, marker="+", color="#c2410c", linewidths=1)
    panel.set(title=f"after {step:,} steps", xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=[], yticks=[])
figure.suptitle("points that the generator draws (blue) and the centres of the real ones (red)", fontsize=11)
figure.savefig("gan.png", dpi=120)

"""A variational autoencoder puts digits on a plane, and draws new ones from any place of it.

Kingma & Welling, "Auto-Encoding Variational Bayes" (2014), arXiv 1312.6114: the loss is its equation 10, the term of
the divergence as in its appendix B, and the gradient goes through the random numbers.

python examples/vae.py [epochs]        # 100 unless told; ten show that it learns
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import load_digits, minibatches

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
digits = load_digits()
pixels = digits.x / 16  # from 0 to 1


class VAE(nn.Module):
    def __init__(self, width=128, latent=2):
        self.encoder = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.mean = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)
        )

    def forward(self, x):
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = tg.random.normal(loc=mean, scale=tg.exp(log_variance / 2))  # differentiable in both
        return self.decoder(z), mean, log_variance


def loss_of(x):
    logits, mean, log_variance = model(x)
    reconstruction = tg.sigmoid_cross_entropy(logits, x, reduction="sum")
    divergence = -0.5 * (1 + log_variance - mean**2 - tg.exp(log_variance)).sum()
    return (reconstruction + divergence) / len(x)


tg.random.seed(0)
model = VAE()
adam = optim.Adam(model.parameters(), lr=0.001)
batches = minibatches(pixels, batch_size=64, seed=0)
losses = []
for _ in range(EPOCHS):
    for (x,) in batches:
        loss = loss_of(x)
        adam.minimize(loss)
        losses.append(loss.item())

with tg.no_grad():
    places = model.mean(model.encoder(pixels)).numpy()
    edge = np.linspace(-2.2, 2.2, 12)
    grid = np.stack(np.meshgrid(edge, edge[::-1]), -1).reshape(-1, 2).astype(tg.default_dtype())
    drawn = tg.sigmoid(model.decoder(grid)).numpy()
centres = np.stack([places[digits.y == k].mean(0) for k in range(10)])
nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
print(f"loss {losses[0]:.2f} -> {np.mean(losses[-20:]):.2f} in {len(losses)} steps")
print(f"without labels, {(nearest == digits.y).mean():.0%} of the digits lie nearest to their own kind's mean")

# the picture ---------------------------------------------------------------------------------------------------------

figure = Figure(figsize=(11, 5), layout="constrained")
left, right = figure.subplots(1, 2)
for k in range(10):
    left.scatter(*places[digits.y == k].T, s=6, color=f"C{k}", label=str(k))
left.legend(title="digit", markerscale=3, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
left.set(title="where the encoder puts each digit", xlabel="first latent number", ylabel="second latent number")
left.set_aspect("equal", "datalim")
image = np.pad(drawn.reshape(12, 12, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1))).swapaxes(1, 2).reshape(120, 120)
right.imshow(image, cmap="gray_r", extent=(-2.4, 2.4, -2.4, 2.4))
right.set(title="what the decoder draws at each place", xlabel="first latent number", ylabel="second latent number")
figure.savefig("vae.png", dpi=120)

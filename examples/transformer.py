"""A transformer that writes licences: it reads a text letter by letter, and each letter looks at those before it.

Vaswani et al. (2017), "Attention is all you need", arXiv 1706.03762, with the normalisations first.

python examples/transformer.py [steps]        # 600 unless told
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

text = " ".join((Path(__file__).parent.parent / "LICENSE").read_text("utf-8").split())
letters = sorted(set(text))
codes = np.array([letters.index(c) for c in text])
LENGTH, BATCH, DIM, HEADS, LAYERS = 64, 16, 64, 4, 2


class Transformer(nn.Module):
    def __init__(self):
        self.letters = nn.Embedding(len(letters), DIM, seed=0)
        self.places = nn.Embedding(LENGTH, DIM, seed=1)
        self.encoder = nn.TransformerEncoder(DIM, HEADS, 4 * DIM, LAYERS, activation="gelu", norm_first=True, seed=2)
        self.out = nn.Linear(DIM, len(letters), seed=3)

    def embedded(self, x):
        return self.letters(x) + self.places(np.arange(len(x[0])))

    def forward(self, x):
        return self.out(self.encoder(self.embedded(x), causal=True))


def batch(rng):
    starts = rng.integers(len(codes) - LENGTH, size=BATCH)
    pieces = codes[starts[:, None] + np.arange(LENGTH + 1)]
    return pieces[:, :-1], pieces[:, 1:]


model = Transformer()
adam = optim.AdamW(model.parameters(), lr=0.006, weight_decay=0.01)
rng, losses = np.random.default_rng(0), []
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 600):
    x, y = batch(rng)
    loss = tg.softmax_cross_entropy(model(x), y)
    adam.zero_grad()
    loss.backward()
    adam.step()
    losses.append(float(loss))
print(f"loss a letter from {losses[0]:.3f} to {losses[-1]:.3f}, by chance {np.log(len(letters)):.3f}")

tg.random.seed(0)
sample = [letters.index(c) for c in "You may "]
with tg.no_grad():
    for _ in range(200):
        scores = model([sample[-LENGTH:]])[0, -1]
        sample.append(int(tg.random.categorical(scores / 0.3)))
print("".join(letters[i] for i in sample))

# the picture, with the head of the first layer that looks most at one letter, and the one that looks at many
piece = "terms and conditions of"
first = model.encoder.layers[0]
h = first.norm1(model.embedded([[letters.index(c) for c in piece]]))
_, weights = first.self_attn(h, causal=True, weights=True)  # example, head, from which letter, to which
sharp = weights[0].max(-1).mean(-1)
figure = Figure(figsize=(13, 4.4), layout="constrained")
left, *panels = figure.subplots(1, 3)
left.plot(losses, color="#0d8be5")
left.set(xlabel="step", ylabel="loss a letter", ylim=(0, None))
for panel, head in zip(panels, (int(sharp.argmax()), int(sharp.argmin())), strict=True):
    shown = panel.imshow(weights[0, head].numpy(), cmap="Blues", vmin=0, vmax=1)
    panel.set_xticks(range(len(piece)), piece)
    panel.set_yticks(range(len(piece)), piece)
    panel.set(title=f"head {head}", xlabel="looks at", ylabel="this letter")
figure.colorbar(shown, ax=panels, label="weight")
figure.savefig("transformer.png", dpi=120)

"""An LSTM learns a grammar of strings of different lengths, and what it must remember from their second symbol on.

The embedded Reber grammar of Hochreiter & Schmidhuber (1997), "Long short-term memory", experiment 1: a string begins
with BT or BP, goes through the graph of Reber, and ends in the same T or P again, and E.

python examples/lstm.py [steps]        # 600 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

SYMBOLS = "BTPSXVE"
GRAPH = [("T1", "P2"), ("S1", "X3"), ("T2", "V4"), ("X2", "S5"), ("P3", "V5"), ("E6",)]  # which symbol leads where


def string(rng):
    state, inner, outer = 0, "B", rng.choice(["T", "P"])
    while state < 6:
        symbol, state = GRAPH[state][rng.integers(len(GRAPH[state]))]
        inner, state = inner + symbol, int(state)
    return f"B{outer}{inner}{outer}E"


def batch(strings):
    """Codes, what follows each of them, and how many there are: the last symbol is only to be foretold."""
    lengths = np.array([len(s) - 1 for s in strings])
    codes = np.array([[SYMBOLS.index(c) for c in s.ljust(lengths.max() + 1, "E")] for s in strings])
    return codes[:, :-1], codes[:, 1:], lengths


class Reader(nn.Module):
    def __init__(self, units):
        self.lstm = nn.LSTM(len(SYMBOLS), units, seed=0)
        self.out = nn.Linear(units, len(SYMBOLS), seed=1)

    def forward(self, codes, lengths):
        h, _ = self.lstm(tg.one_hot(codes, len(SYMBOLS)), lengths=lengths)
        return self.out(h)


rng, losses = np.random.default_rng(0), []
model = Reader(24)
adam = optim.Adam(model.parameters(), lr=0.01)
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 600):
    codes, following, lengths = batch([string(rng) for _ in range(32)])
    real = np.arange(codes.shape[1]) < lengths[:, None]
    loss = tg.softmax_cross_entropy(model(codes, lengths)[real], following[real])
    adam.minimize(loss)
    losses.append(float(loss))

codes, following, lengths = batch([string(rng) for _ in range(300)])
scores = model(codes, lengths).numpy()
last = np.arange(300), lengths - 2
right = (scores[last].argmax(-1) == following[last]).mean()
least = np.log(2) * (lengths - 4).sum() / lengths.sum()  # two ways at all symbols but four, unforeseeable
print(f"loss from {losses[0]:.3f} to {losses[-1]:.3f}, at least {least:.3f}")
print(f"the last T or P, from memory: {right:.1%} right, in strings of {min(lengths) + 1} to {max(lengths) + 1}")

# the picture: what two strings leave that differ in their second symbol alone
twins = ["BTBTSSXXTVPXTTVVETE", "BPBTSSXXTVPXTTVVEPE"]
h, _ = model.lstm(tg.one_hot(batch(twins)[0], len(SYMBOLS)))
difference = (h[0] - h[1]).numpy().T
figure = Figure(figsize=(11, 4.4), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
left.plot(losses, color="#0d8be5")
left.axhline(least, color="#6b6b6b", linewidth=1, linestyle="--", label="what the grammar leaves open")
left.set(xlabel="step", ylabel="loss a symbol")
left.legend(frameon=False)
difference = difference[np.argsort(-np.abs(difference[:, 3:-1]).mean(1))]
shown = right.imshow(difference, cmap="coolwarm", vmin=-2, vmax=2, aspect="auto")
right.set_xticks(range(18), [a if a == b else f"{a}\n{b}" for a, b in zip(*twins, strict=True)][:-1])
right.set(xlabel="two strings, symbol by symbol", ylabel="units, the ones that remember best first")
figure.colorbar(shown, ax=right, label="what T and P leave: outputs of one minus the other")
figure.savefig("lstm.png", dpi=120)

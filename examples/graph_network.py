"""Who joins whom when a karate club splits: a graph network that is told two members of 34.

Two layers, h = A h W with A the normalised adjacency (Kipf & Welling 2017, arXiv 1609.02907), on the club of Zachary
(1977), "An information flow model for conflict and fission in small groups".

python examples/graph_network.py [steps]        # 300 unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim

FRIENDS = """0:1,2,3,4,5,6,7,8,10,11,12,13,17,19,21,31 1:2,3,7,13,17,19,21,30 2:3,7,8,9,13,27,28,32 3:7,12,13 4:6,10
5:6,10,16 6:16 8:30,32,33 9:33 13:33 14:32,33 15:32,33 18:32,33 19:33 20:32,33 22:32,33 23:25,27,29,32,33 24:25,27,31
25:31 26:29,33 27:33 28:31,33 29:32,33 30:32,33 31:32,33 32:33"""
edges = [(int(a), int(b)) for a, bs in (line.split(":") for line in FRIENDS.split()) for b in bs.split(",")]
joined = np.ones(34, int)  # the officers' club, with the president 33 ...
joined[[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21]] = 0  # ... or that of the instructor, 0
told = np.array([0, 33])
# both ways, and everybody to himself; each message is divided by the root of both degrees
source, target = np.array([*edges, *((b, a) for a, b in edges), *((i, i) for i in range(34))]).T
degree = np.bincount(target)
share = 1 / tg.sqrt(degree[source] * degree[target])


class GraphConvolution(nn.Module):
    def __init__(self, inputs, outputs, seed):
        self.linear = nn.Linear(inputs, outputs, bias=False, weight_init="xavier_uniform", seed=seed)

    def forward(self, h):
        messages = share[:, None] * self.linear(h)[source]
        return tg.segment_sum(messages, target, num_segments=34)


model = nn.Sequential(GraphConvolution(34, 16, seed=0), nn.Tanh(), GraphConvolution(16, 2, seed=1))
members = tg.eye(34)  # nothing is known of anybody but his friends
adam = optim.Adam(model, lr=0.01, weight_decay=5e-4)
losses = []
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 300):
    loss = tg.softmax_cross_entropy(model(members)[told], joined[told])
    adam.minimize(loss)
    losses.append(float(loss))

with tg.no_grad():
    chances = tg.softmax(model(members)).numpy()
guess = chances.argmax(1)
wrong = np.flatnonzero(guess != joined)
print(f"loss from {losses[0]:.3f} to {losses[-1]:.3f}")
print(f"right about {34 - len(wrong)} of 34 members, having been told of 2; wrong about: {wrong.tolist()}")

# the picture, on which two are as far apart as there are steps between them (Kamada & Kawai 1989)
friends = np.eye(34, dtype=int)
friends[source, target] = 1
apart = sum((np.linalg.matrix_power(friends, n) == 0).astype(float) for n in range(6)) + np.eye(34)
place = tg.Parameter(np.random.default_rng(3).normal(size=(34, 2)))
mover = optim.Adam([place], lr=0.05)
for _ in range(200):
    distance = tg.sqrt(((place[:, None] - place[None]) ** 2).sum(-1) + 1e-6)
    mover.minimize(((distance / apart - 1) ** 2).sum())

at = place.numpy()
figure = Figure(figsize=(11, 5), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(1.8, 1))
left.plot(*np.moveaxis(at[np.array(edges).T], 2, 0), color="#c9c9c9", linewidth=0.8, zorder=0)
rings = np.where(guess == joined, "#ffffff", "#111111")
points = left.scatter(*at.T, c=chances[:, 1], cmap="coolwarm", vmin=0, vmax=1, s=260, edgecolors=rings, linewidth=2)
for i, (x, y) in enumerate(at):
    left.text(x, y, str(i), ha="center", va="center", fontsize=8, fontweight="bold" if i in told else None)
left.set_title("the club: of 0 and 33 the side was told, ringed is who chose the other")
left.set_axis_off()
figure.colorbar(points, ax=left, label="chance to go with the president, 33", shrink=0.7)
right.plot(losses, color="#0d8be5")
right.set(yscale="log", xlabel="step", ylabel="loss over the two members told")
right.spines[["top", "right"]].set_visible(False)
figure.savefig("graph_network.png", dpi=120)

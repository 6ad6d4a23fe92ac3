"""A convolutional network reads handwritten digits: which it misreads, what its first filters are and what they see.

After LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), with batch norm, ReLU and dropout.

python examples/convnet.py [epochs]        # 20 unless told; one shows that it learns
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import load_digits, minibatches, split

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
training, test = split(load_digits(), fractions=(0.8, 0.2), seed=0, stratify=True)


def images(x):
    return x.reshape(-1, 1, 8, 8) / 16  # (examples, channels, height, width), from 0 to 1


tg.random.seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm(32), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm(64), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Dropout(0.5), nn.Linear(64 * 2 * 2, 10),
)  # fmt: skip
adam = optim.Adam(model.parameters(), lr=0.003)
batches = minibatches(images(training.x), training.y, batch_size=64, seed=0, last="merge")

losses = []
for _ in range(EPOCHS):
    for x, y in batches:
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())

model.eval()
with tg.no_grad():
    probabilities = tg.softmax(model(images(test.x))).numpy()
guess = probabilities.argmax(1)
wrong = np.flatnonzero(guess != test.y)
print(f"loss {losses[0]:.3f} -> {losses[-1]:.4f} in {len(losses)} steps")
print(f"test accuracy {(guess == test.y).mean():.2%}, {len(wrong)} of {len(test)} misread")

# the picture: what is misread, or read least surely, and the first layer ---------------------------------------------

least_sure = np.argsort(probabilities[np.arange(len(test)), test.y])[:10]
shown = images(test.x[test.y == 3][:1])
with tg.no_grad():
    maps = model[2](model[1](model[0](shown))).numpy()[0]
filters = model[0].weight.numpy()[:, 0]

figure = Figure(figsize=(11, 4.4), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
left.suptitle(f"least surely read of the {len(test)} tested: {len(wrong)} are misread", fontsize=11)
for panel, i in zip(left.subplots(2, 5).ravel(), least_sure, strict=True):
    panel.imshow(test.x[i].reshape(8, 8), cmap="gray_r")
    panel.set_title(f"{test.y[i]} as {guess[i]}", fontsize=10, color="#c2410c" if i in wrong else "black")
    panel.set_xlabel(f"{probabilities[i, test.y[i]]:.0%} for {test.y[i]}", fontsize=9)
right.suptitle("16 filters of the first layer (red +, blue −), each above what it sees of a 3", fontsize=11)
panel, size = right.subplots(), abs(filters).max()
for k in range(16):  # in one panel: 32 of their own would take ten times as long to lay out
    x, y = 1.15 * (k % 8), -2.5 * (k // 8)
    panel.imshow(filters[k], cmap="RdBu_r", vmin=-size, vmax=size, extent=(x, x + 1, y - 1, y))
    panel.imshow(maps[k], cmap="gray_r", vmin=0, vmax=maps.max(), extent=(x, x + 1, y - 2.15, y - 1.15))
panel.set(xlim=(-0.1, 9.15), ylim=(-4.75, 0.1), frame_on=False)
for panel in [*left.axes, *right.axes]:
    panel.set(xticks=[], yticks=[])
figure.savefig("convnet.png", dpi=120)

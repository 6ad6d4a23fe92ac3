"""Gamma and beta can undo batch norm: gamma = sqrt(sigma² + eps) and beta = mu give z back.

Course 2, week 3, "Normalizing activations in a network". So a network with batch norm can do whatever one without can.
It holds for the batch whose mu and sigma² these are, and at test time for the averages; not for another batch.

python examples/course/batch_norm_undone.py [epochs]        # how long the network is trained: 10 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim, train
from tensorgraph.data import Normalizer, load_digits, split
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
training, dev = split(load_digits(), fractions=(0.7, 0.3), seed=0, stratify=True)
normalizer = Normalizer().fit(training.x)
x, x_dev = normalizer.transform(training.x), normalizer.transform(dev.x)

plain = nn.Sequential(nn.Linear(64, 32, seed=0), nn.ReLU(), nn.Linear(32, 10, seed=1))
adam = optim.Adam(plain.parameters(), lr=0.01)
train.fit(plain, (x, training.y), optimizer=adam, epochs=EPOCHS, batch_size=64, progress=False)

# the same network with batch norm between its layers, which gamma and beta undo
norm = nn.BatchNorm(32)
z = plain[0](x)
norm.gamma.assign(tg.sqrt(tg.var(z, axis=0) + norm.eps))
norm.beta.assign(tg.mean(z, axis=0))
normed = nn.Sequential(plain[0], norm, plain[1], plain[2])


def apart(a, b):
    return float(tg.max(abs(a - b)))


with tg.no_grad():
    normalised = (z - norm.beta) / norm.gamma
    spread, then = tg.std(z, axis=0), tg.std(normalised, axis=0)
    print(
        f"the 32 units' z have standard deviations from {spread.min().item():.2f} to {spread.max().item():.2f}",
        end="; ",
    )
    print(f"normalised, from {then.min().item():.4f} to {then.max().item():.4f}")
    same = apart(normed(x), plain(x))  # in training mode: the batch is the whole training set
    print(f"undone, the outputs on the training set differ by at most {same:.0e} of {abs(plain(x)).max().item():.0f}")
    normed.eval()  # from here on by the averages: those of the one batch that it has seen
    at_test = apart(normed(x_dev), plain(x_dev))
    print(f"on the dev set, by the averages, by {at_test:.0e}")
    f, parameters, state = tg.functional(normed.train(), state=True)  # the live network keeps its averages
    by_batch = {i: f(parameters, state, x_dev[i : i + 64])[0] for i in range(0, 512, 64)}
    small = [apart(outputs, plain(x_dev[i : i + 64])) for i, outputs in by_batch.items()]
    print(f"by the moments of 64 dev digits the outputs differ by up to {max(small):.1f}: undone for one batch only")

figure = new_figure(11, 3.8)
left, right = figure.subplots(1, 2)
unit = int(spread.numpy().argmax())
bins = np.linspace(z.numpy()[:, unit].min(), max(3, z.numpy()[:, unit].max()), 60)
for values, color, label in (
    (z, COLOURS[0], "z"), (normalised, COLOURS[1], "normalised"), (norm(z), COLOURS[2], "with gamma and beta"),
):  # fmt: skip
    style = dict(histtype="step", linestyle="--") if color == COLOURS[2] else dict(alpha=0.5)
    left.hist(values.numpy()[:, unit], bins, color=color, label=label, linewidth=1.5, **style)
normed.eval()
right.scatter(plain(x_dev).numpy(), normed(x_dev).numpy(), s=3, color=COLOURS[1], label="by the averages")
worst = 64 * int(np.argmax(small))
right.scatter(plain(x_dev[worst : worst + 64]).numpy(), by_batch[worst].numpy(), s=3, color=COLOURS[0],
              label="by the moments of 64 of them")  # fmt: skip
tidy(left, f"a unit of the training set (of 32, number {unit})", "value", "digits")
tidy(right, "what the network says of the dev set", "without batch norm", "with batch norm, undone")
left.legend(frameon=False)
right.legend(frameon=False)
save_figure(figure, "batch_norm_undone.png")

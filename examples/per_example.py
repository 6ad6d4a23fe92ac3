"""What each digit asks of a network: sixteen networks trained as one, a gradient an example, and the hardest digits.

python examples/per_example.py [digits]        # how many of the 1,797 are used; all unless told
"""

import sys

import numpy as np
from matplotlib.figure import Figure

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.data import Normalizer, load_digits, split

MEMBERS, STEPS, RATE = 16, 200, 0.3
digits = load_digits()
size = int(sys.argv[1]) if len(sys.argv) > 1 else len(digits)
digits = digits.take(np.random.default_rng(0).permutation(len(digits))[:size])
training, test = split(digits, fractions=(0.7, 0.3), seed=0)
normalizer = Normalizer().fit(training.x)
x, x_test = normalizer.transform(training.x), normalizer.transform(test.x)


def network(seed):
    return nn.Sequential(nn.Linear(64, 32, seed=seed), nn.Tanh(), nn.Linear(32, 10, seed=100 + seed))


f, _ = tg.functional(network(0))


def loss(p, x, y):
    """Of one example, or of many."""
    return tg.softmax_cross_entropy(f(p, x), y)


# sixteen networks trained as one -------------------------------------------------------------------------------------


def step(p, x, y):
    value, g = tg.value_and_grad(loss)(p, x, y)
    return tg.tree_map(lambda p, g: p - RATE * g, p, g), value


first = [tg.functional(network(seed))[1] for seed in range(MEMBERS)]
ensemble = tg.tree_map(lambda *each: tg.stack(list(each)), *first)
together = tg.trace(tg.vmap(step, (0, None, None)), ensemble, x, training.y)  # one graph for all of them
for _ in range(STEPS):
    ensemble, losses = together(ensemble, x, training.y)

shares = tg.softmax(tg.vmap(f, (0, None))(ensemble, x_test)).numpy()  # member, digit, class
alone = (shares.argmax(2) == test.y).mean(1)
guess = shares.mean(0).argmax(1)
print(f"losses from {losses.numpy().min():.3f} to {losses.numpy().max():.3f}")
print(f"right: each alone {alone.min():.1%} to {alone.max():.1%}, together {(guess == test.y).mean():.1%}")

# a gradient an example -----------------------------------------------------------------------------------------------


def norm(p, x, y):
    """How far this example alone would move the parameters."""
    return tg.sqrt(sum((g * g).sum() for g in tg.grad(loss)(p, x, y).values()))


every = tg.vmap(tg.vmap(norm, (None, 0, 0)), (0, None, None))(ensemble, x_test, test.y)  # member, digit
norms = every.numpy().mean(0)
hardest = np.argsort(-norms)[:10]
print("the hardest digits:", test.y[hardest].tolist(), "taken for:", guess[hardest].tolist())

# the picture ---------------------------------------------------------------------------------------------------------

figure = Figure(figsize=(11, 4.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(1, 1.3))
axes = left.subplots()
edges = np.geomspace(norms.min(), norms.max(), 30)
groups = {f"right: {(guess == test.y).sum()}": guess == test.y, f"wrong: {(guess != test.y).sum()}": guess != test.y}
axes.hist(
    [norms[chosen] for chosen in groups.values()], edges, stacked=True, color=["#0d8be5", "#c2410c"], label=list(groups)
)
axes.axvline(norms[hardest].min(), color="#6b6b6b", linewidth=1, linestyle="--", label="the ten hardest beyond")
axes.set(xscale="log", xlabel="norm of the gradient, mean of 16 networks", ylabel="digits of the test part")
axes.legend(frameon=False, title="all networks together", loc="upper left", fontsize=9)
axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
axes.spines[["top", "right"]].set_visible(False)
for panel, i in zip(right.subplots(2, 5).ravel(), hardest, strict=True):
    panel.imshow(test.x[i].reshape(8, 8), cmap="gray_r")
    panel.set_title(
        f"{test.y[i]}, taken for {guess[i]}" if guess[i] != test.y[i] else f"{test.y[i]}, right", fontsize=10
    )
    panel.set_xlabel(f"{norms[i]:.1f}", fontsize=9)
    panel.set(xticks=[], yticks=[])
right.suptitle("the ten hardest, with the norms of their gradients", fontsize=11)
figure.savefig("per_example.png", dpi=120)

"""What a hidden layer sees while the layers before it move: with batch norm gamma and beta set its mean and spread.

Course 2, week 3, "Why does batch norm work?": it limits how much the earlier layers' updates change what a later layer
has to learn from. Whether that is why it helps is contested: Santurkar et al. (2018), arXiv 1805.11604, disturb the
normalised values at random and it still learns fast, and their measure of shift is no smaller. Both are measured here.

python examples/course/batch_norm_shift.py [seeds]        # networks of each kind: 4 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.data import Normalizer, load_digits
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

SEEDS, STEPS, RATE = int(sys.argv[1]) if len(sys.argv) > 1 else 4, 100, 0.1
KINDS, NOISE = ("without", "batch norm", "disturbed"), 0.2
digits = load_digits()
x, y = Normalizer().fit_transform(digits.x), digits.y


class Network(nn.Module):
    """Six hidden layers of 32; `watched` is what the fourth activation gets."""

    def __init__(self, kind):
        normed = kind != "without"
        self.linears = nn.ModuleList([
            nn.Linear(n, 32, bias=not normed, weight_init="xavier_normal") for n in (64, 32, 32, 32, 32, 32)
        ])  # fmt: skip
        self.norms = nn.ModuleList([nn.BatchNorm(32) if normed else nn.Identity() for _ in range(6)])
        self.last, self.noise = nn.Linear(32, 10), None

    def watched(self, a, layers=4):
        for k in range(layers):
            z = self.norms[k](self.linears[k](a))
            if self.noise is not None:
                z = z * np.exp(self.noise[k, 0]) + self.noise[k, 1]
            a = tg.tanh(z)
        return z

    def forward(self, a):
        return self.last(tg.tanh(self.watched(a, layers=6)))


def trained(kind, seed):
    """Of every step: the loss, what the fourth activation gets of 256 digits, the shift of its layer's gradient."""
    tg.random.seed(seed)
    model, rng, losses, seen, shifts = Network(kind), np.random.default_rng(seed), [], [], []
    parameters, weight = list(model.parameters()), model.linears[3].weight
    early = {id(p) for k in range(3) for p in [*model.linears[k].parameters(), *model.norms[k].parameters()]}
    for _ in range(STEPS):
        rows = rng.permutation(len(x))[:128]
        if kind == "disturbed":  # another scale and another shift of every unit in every step, for all digits alike
            model.noise = (NOISE * rng.normal(size=(6, 2, 32))).astype("float32")
        with tg.no_grad():
            seen.append(np.percentile(model.watched(x[:256]).numpy(), (5, 25, 50, 75, 95), axis=0))
        loss = tg.softmax_cross_entropy(model(x[rows]), y[rows])
        gradients = dict(zip(parameters, tg.gradients([loss], parameters), strict=True))
        losses.append(loss.item())
        for p, g in gradients.items():
            if id(p) in early:
                p.assign(p - RATE * g)
        # the same digits, after the update of the layers before it alone: what Santurkar et al. call the shift
        (now,) = tg.gradients([tg.softmax_cross_entropy(model(x[rows]), y[rows])], [weight])
        shifts.append((tg.linalg.norm(now - gradients[weight]) / tg.linalg.norm(gradients[weight])).item())
        for p, g in gradients.items():
            if id(p) not in early:
                p.assign(p - RATE * g)
    return np.array(losses), np.array(seen), np.array(shifts)


runs = {kind: [trained(kind, seed) for seed in range(SEEDS)] for kind in KINDS}
print(f"what the fourth of six activations gets while {STEPS} steps are made; medians of units and {SEEDS} networks")
print("             loss  its median moves  its spread grows  its layer's gradient shifts")
told = {}
for kind in KINDS:
    loss = np.median([losses[-20:].mean() for losses, _, _ in runs[kind]])
    seen = np.concatenate([seen for _, seen, _ in runs[kind]], 2)  # step, percentile, unit
    spread = seen[:, 3] - seen[:, 1]
    moves = np.median(abs(seen[-20:, 2] - seen[0, 2]).mean(0) / spread[0])
    grows = np.median(spread[-20:].mean(0) / spread[0])
    told[kind] = loss, moves, grows, np.median([shifts for _, _, shifts in runs[kind]])
    print(f"{kind:>10}  {loss:.3f}  {moves:8.2f} spreads  {grows:10.2f} times  {told[kind][3]:10.2f} of its size")

figure = new_figure(12, 3.8)
panels = figure.subplots(1, 4)
for kind, panel, color in zip(KINDS, panels, COLOURS, strict=False):
    losses, seen, _ = runs[kind][0]
    steps, unit = np.arange(STEPS), 0
    panel.fill_between(steps, seen[:, 0, unit], seen[:, 4, unit], color=color, alpha=0.2, label="5 to 95%")
    panel.fill_between(steps, seen[:, 1, unit], seen[:, 3, unit], color=color, alpha=0.3, label="25 to 75%")
    panel.plot(steps, seen[:, 2, unit], color=color, linewidth=1.5, label="median")
    tidy(panel, kind, "step", "what a unit's activation gets")
    panel.set_ylim(-4, 4)
    panels[3].plot(steps, np.median([run[0] for run in runs[kind]], 0), color=color, label=kind)
panels[0].legend(frameon=False, fontsize=8)
tidy(panels[3], "loss", "step", "")
panels[3].set_yscale("log")
panels[3].legend(frameon=False, fontsize=8)
save_figure(figure, "batch_norm_shift.png")

"""A network changed as a graph, each time in a few lines: another activation, fewer digits, a probe, a head less,
low-rank adapters, two halves, and batch norm folded into the layer before it.

python examples/rewriting.py [width]        # 32 unless told
"""

import sys

import numpy as np

import tensorgraph as tg
from tensorgraph import nn

width = int(sys.argv[1]) if len(sys.argv) > 1 else 32


class Reader(nn.Module):
    def __init__(self):
        self.stem, self.norm = nn.Linear(8, width, seed=0), nn.BatchNorm(width)
        self.attention = nn.MultiHeadAttention(width, heads=4, seed=1)
        self.out = nn.Linear(width, 3, seed=2)

    def forward(self, x):
        h = tg.relu(self.norm(self.stem(x.reshape(-1, 8)))).reshape(4, 6, width)
        return self.out(self.attention(h).mean(axis=1))


model = Reader()
x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
for _ in range(20):
    model(x)  # batch norm's running averages move
model.eval()
graph = tg.trace(model, x)


def told(title, changed):
    """How far a changed network is from the one that it was made of, and what was done to it."""
    with tg.no_grad():
        apart = np.abs((changed.bind()(x) - graph.bind()(x)).numpy()).max()
    print(f"{title}: the results move by up to {apart:.2g}\n{changed.explain()}\n")
    return changed


# by what it does, wherever it is done: `equal=False`, since another activation is another function
told("another activation", graph.rewrite(tg.relu, tg.gelu, equal=False))

# by its name: weights of 8 bits
small = graph
for cell in graph.cells:
    if cell.path.endswith("weight"):
        small = small.replace_at(cell.path, lambda w: tg.round(w / abs(w).max() * 127.0) * (abs(w).max() / 127.0))
told("8 bits a weight", small)

# a probe: what stands there, and a buffer that it is written to
probe = tg.Buffer(np.zeros(width, "float32"), name="probe")
stem = graph["norm"]


def probed(values):
    probe.assign(abs(stem(values)).mean(axis=0))
    return stem(values)


told("a probe", graph.replace_at("norm", probed))
print(f"mean sizes behind the norm: {probe.numpy().min():.2f} to {probe.numpy().max():.2f}\n")

# of four heads the first has nothing to say; the layer's own cells are arguments by their names
kept = np.repeat([0.0, 1.0, 1.0, 1.0], width // 4).astype("float32")
told("a head less", graph.replace_at("attention.value", lambda x, weight, bias: (x @ weight + bias) * kept))


# a low-rank adapter beside each projection of the attention, to be trained alone; `b` is 0, so nothing moves yet
rng = np.random.default_rng(1)
adapted = graph
for path, kind in graph.modules.items():
    if kind == "Linear" and path.startswith("attention."):
        a = tg.Parameter(rng.normal(0, 0.1, (width, 2)).astype("float32"), name=f"{path}.a")
        b = tg.Parameter(np.zeros((2, width), "float32"), name=f"{path}.b")
        adapted = adapted.replace_at(
            path, lambda x, weight, bias, a=a, b=b: x @ tg.stop_gradient(weight) + bias + x @ a @ b
        )
told("adapters", adapted)

# in two at a name: what a layer inside says, for another network to learn from, and what the rest makes of it
teacher, rest = graph.split("attention")
with tg.no_grad():
    inside = teacher.bind()(x)
    same = bool((rest.bind()(*inside) == graph.bind()(x)).all())
    print(f"split: {inside[0].shape} inside, the same results: {same}\n")


# batch norm at test time is a linear function: equal to rounding, or it would be refused
def apart(x, w, b):
    return model.norm(x @ w + b)


def folded(x, w, b):
    scale = model.norm.gamma / tg.sqrt(model.norm.running_var + model.norm.eps)
    return x @ (w * scale) + ((b - model.norm.running_mean) * scale + model.norm.beta)


inference = told("batch norm folded", graph.rewrite(apart, folded).simplify())
tg.draw(inference, level="module").save("rewritten.svg")

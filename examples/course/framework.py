"""What to ask of a framework: how it is to program, how fast it runs, whether it is truly open.

Course 2, week 3, "Deep learning frameworks" and its example: find the w for which w² - 10 w + 25 is least, which is 5.
The same with data in place of the coefficients; and a network's step, timed against the same step in plain NumPy.

python examples/course/framework.py [steps]        # of each of the timed loops: 2,000 unless told
"""

import re
import sys
import time
from importlib import metadata

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.data import Normalizer, load_digits
from tensorgraph.train.plots import COLOURS, new_figure, save_figure, tidy

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 2000

# ease of programming: the cost is written down, and nothing else
w, path = tg.Parameter(0.0, name="w"), []
sgd = optim.SGD([w], lr=0.1)
coefficients = np.array([1.0, -10.0, 25.0], "float32")  # the slide's x: data that come in later


def cost(x):
    return x[0] * w**2 + x[1] * w + x[2]


for _ in range(100):
    path.append(w.item())
    sgd.minimize(cost(coefficients))
print(f"w after 1 step {path[1]:.3f}, after 100 {w.item():.5f}; its cost {abs(cost(coefficients).item()):.4f}")
print("what was computed can be read:")
print(tg.trace(cost, coefficients))

# running speed: one step of 64-64-10 on 64 digits, with the gradients by hand and by the library
digits = load_digits()
x, y = Normalizer().fit_transform(digits.x)[:64], digits.y[:64]


def by_hand(p):
    a = np.maximum(x @ p[0] + p[1], 0)
    z = a @ p[2] + p[3]
    t = np.exp(z - z.max(1, keepdims=True))
    dz = t / t.sum(1, keepdims=True)
    dz[np.arange(64), y] -= 1
    dz /= 64
    da = (dz @ p[2].T) * (a > 0)
    return [q - 0.1 * g for q, g in zip(p, (x.T @ da, da.sum(0), a.T @ dz, dz.sum(0)), strict=True)]


model = nn.Sequential(nn.Linear(64, 64, seed=0), nn.ReLU(), nn.Linear(64, 10, seed=1))
sgd = optim.SGD(model.parameters(), lr=0.1)


def step(x, y):
    sgd.minimize(tg.softmax_cross_entropy(model(x), y))


compiled = tg.compile(step)
p = [q.numpy().copy() for q in model.parameters()]
for run in (step, step, compiled, compiled):
    p = by_hand(p)
    run(x, y)
apart = max(abs(q.numpy() - r).max() for q, r in zip(model.parameters(), p, strict=True))
print(f"after 4 steps, two of them compiled, the weights by hand and by the library differ by at most {apart:.0e}")
runs = {"NumPy by hand": lambda: by_hand(p), "tensorgraph": lambda: step(x, y), "compiled": lambda: compiled(x, y)}
seconds = {name: [] for name in runs}
for _ in range(50):  # in turns, of which the quickest counts: the others waited for something else
    for name, run in runs.items():
        began = time.process_time()
        for _ in range(max(1, STEPS // 50)):
            run()
        seconds[name].append((time.process_time() - began) / max(1, STEPS // 50))
print(", ".join(f"{name}: {1e6 * min(each):.0f} microseconds a step" for name, each in seconds.items()))

# truly open: what may be done with it is written down, and it is there to be read
about = metadata.metadata("tensorgraph-engine")
needs = sorted(re.match(r"[\w-]+", line)[0] for line in about.get_all("Requires-Dist") if "extra ==" not in line)
print(f"licence: {about['License-Expression']}; it needs {', '.join(needs)} and nothing else")

figure = new_figure(11, 3.6)
left, right = figure.subplots(1, 2)
line = np.linspace(-0.5, 8, 200)
left.plot(line, (line - 5) ** 2, color=COLOURS[2], linewidth=1)
left.plot(path, (np.array(path) - 5) ** 2, "o-", color=COLOURS[1], markersize=4, linewidth=1)
right.barh(list(seconds), [1e6 * min(each) for each in seconds.values()], color=[COLOURS[2], COLOURS[0], COLOURS[0]])
tidy(left, "J(w) = w² - 10 w + 25, by gradient descent", "w", "J")
tidy(right, "a step of 64-64-10 units on 64 digits", "microseconds", "")
save_figure(figure, "framework.png")

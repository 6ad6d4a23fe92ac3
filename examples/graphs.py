"""A training step as a value: printed, looked at for mistakes, made better, explained, drawn, saved and read back.

python examples/graphs.py        # the picture is step.html
"""

import numpy as np

import tensorgraph as tg
from tensorgraph import nn, optim

model = nn.Sequential(nn.Linear(16, 32, bias=False, seed=0), nn.BatchNorm(32), nn.ReLU(), nn.Linear(32, 4, seed=1))
optimizer = optim.Momentum(model.parameters(), lr=0.1)


def step(x, y):
    """The loss as a textbook writes it."""
    p = tg.softmax(model(x))
    loss = -tg.log(p[tg.arange(8), y]).mean()
    optimizer.minimize(loss)
    return loss


graph = tg.trace(step, tg.f32[8, 16], tg.i64[8])
print(graph, "\n")
print(tg.lint(graph), "\n")

better = graph.transform()  # recognise, differentiate, simplify
print(better.explain(), "\n")
print(better.cost(), "\n")
print(tg.diff(graph, graph.recognise()), "\n")

x, y = np.random.default_rng(0).normal(size=(8, 16)).astype("float32"), np.arange(8) % 4
run = better.bind(model, optimizer)  # the graph writes the live parameters
print("loss before and after ten steps:", [round(float([run(x, y) for _ in range(n)][-1]), 4) for n in (1, 10)])

graph.save("step.tg.py")
print("read back the same:", tg.load_graph("step.tg.py") == graph)
tg.draw(graph, level="training").save("step.html")

"""Drawings as they are meant to be, kept as values: boxes, rows, edges, notes, legend; not pixels. Of other levels than
the one that is chosen the text is kept.

Look at the pictures, and then renew them with ``TENSORGRAPH_GOLDEN=renew python -m pytest tests/test_viz_golden.py``.
"""

import difflib
import functools
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.commands.demo.digits import network
from tensorgraph.native import machine
from tensorgraph.viz import draw, drawing_from_json

GOLDEN = Path(__file__).parent / "golden"
RENEW = "TENSORGRAPH_GOLDEN=renew python -m pytest tests/test_viz_golden.py"


class Block(nn.Module):
    def __init__(self, width):
        self.first, self.norm = nn.Linear(width, width, seed=0), nn.BatchNorm(width)
        self.second = nn.Linear(width, width, seed=1)

    def forward(self, x):
        return x + self.second(tg.relu(self.norm(self.first(x))))


class Residual(nn.Module):
    def __init__(self, blocks):
        self.stem, self.head = nn.Linear(8, 16, seed=2), nn.Linear(16, 4, seed=3)
        self.blocks = nn.Sequential(*[Block(16) for _ in range(blocks)])

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


class Recurrent(nn.Module):
    def __init__(self):
        self.wx, self.wh = nn.Linear(3, 5, bias=False, seed=4), nn.Linear(5, 5, seed=5)

    def forward(self, x):
        h = tg.zeros((x.shape[0], 5))
        for t in range(x.shape[1]):
            h = tg.tanh(self.wx(x[:, t]) + self.wh(h))
        return h


def step_of(model, width):
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, tg.spec((64, *width)), tg.spec((64,), "int64"))


def rivals():
    """A step in which a discriminator learns, and then a generator from it."""
    maker = nn.Sequential(nn.Linear(2, 4, seed=0), nn.ReLU(), nn.Linear(4, 3, seed=1))
    judge = nn.Sequential(nn.Linear(3, 4, seed=2), nn.Tanh(), nn.Linear(4, 1, seed=3))
    making, judging = optim.SGD(maker.parameters(), lr=0.1), optim.SGD(judge.parameters(), lr=0.1)

    def step(real, noise):
        fake = maker(noise)
        judging.minimize(tg.softplus(-judge(real)).mean() + tg.softplus(judge(fake.detach())).mean())
        loss = tg.softplus(-judge(fake)).mean()
        making.minimize(loss)
        return loss

    return tg.trace(step, tg.spec((8, 3)), tg.spec((8, 2)))


def difference():
    def net(x, w, v):
        return tg.tanh(tg.relu(x @ w) @ v).sum()

    def other(x, w, v):
        return (tg.sigmoid(x @ w) @ v * 2.0).sum()

    given = (tg.spec((4, 8)), tg.spec((8, 6)), tg.spec((6, 2)))
    return tg.diff(tg.trace(net, *given), tg.trace(other, *given)).draw()


def shorter():
    """Two networks, of which one has a layer less."""
    layers = [nn.Linear(8, 16, seed=0), nn.BatchNorm(16), nn.ReLU(), nn.Linear(16, 16, seed=1), nn.ReLU(),
              nn.Linear(16, 4, seed=2)]  # fmt: skip
    before = tg.trace(nn.Sequential(*layers), tg.f32[32, 8])
    return tg.diff(before, tg.trace(nn.Sequential(*layers[:1], *layers[2:]), tg.f32[32, 8])).draw()


def fault():
    """The way of a value that is not finite to the loss."""

    def loss(x, w):
        h = tg.relu(x @ w)
        return -tg.log(h / tg.sum(h, axis=1, keepdims=True)).mean()

    x, w = np.ones((4, 3), np.float32), np.array([[1.0, -1.0]] * 3, np.float32)
    return tg.find_faults(loss, x, w).draw(0)


LOOKED_AT = (
    "demo step", "residual forward", "residual step", "transformer forward", "transformer step", "u-net step",
    "lstm forward", "lstm step", "two inputs step", "gan step", "attention forward", "attention step", "maml step",
    "flat",
)  # fmt: skip


def large(name):
    return draw(PROGRAMS[name]())


DRAWINGS = {
    "training": lambda: draw(step_of(network((256, 128), 0), (64,)), level="training"),
    "residual": lambda: draw(Residual(6), tg.spec((32, 8)), level="module"),
    "residual_training": lambda: draw(step_of(Residual(6), (8,)), level="training"),
    "recurrent_ops": lambda: draw(Recurrent(), tg.spec((2, 20, 3)), level="op"),
    "rivals": lambda: draw(rivals(), level="training"),
    "backward": lambda: draw(step_of(network((32,), 0), (64,)).transform(), level="module"),
    "flops": lambda: draw(step_of(network((32,), 0), (64,)), level="training", overlay="flops"),
    "difference": difference,
    "shorter": shorter,
    "fault": fault,
    "transformer_flops": lambda: draw(PROGRAMS["transformer forward"](), overlay="flops"),
    "maml_modules": lambda: draw(PROGRAMS["maml step"](), level="module"),
    **{name.replace(" ", "_"): functools.partial(large, name) for name in LOOKED_AT},
    **({"kernels": lambda: draw(step_of(network((32,), 0), (64,)), level="compiled")} if machine.available() else {}),
}


def settled(drawing):
    """Without line numbers, which change with the files that they are in."""
    nodes = tuple(
        replace(
            node, tip=re.sub(r"\.py:\d+", ".py", node.tip),
            rows=tuple(replace(row, text=re.sub(r"\.py:\d+", ".py", row.text)) for row in node.rows),
        )
        for node in drawing.nodes
    )  # fmt: skip
    return replace(drawing, nodes=nodes)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_as_it_was_when_somebody_looked(name):
    drawing, path = settled(DRAWINGS[name]()), GOLDEN / f"{name}.json"
    if os.environ.get("TENSORGRAPH_GOLDEN") == "renew":
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(drawing.json(indent=1) + "\n", encoding="utf-8")
    kept = drawing_from_json(path.read_text("utf-8"))
    if kept != drawing:
        lines = difflib.unified_diff(kept.json(1).splitlines(), drawing.json(1).splitlines(), "kept", "drawn", n=2)
        pytest.fail("\n".join([f"{name} is drawn otherwise; if that is meant: {RENEW}", *list(lines)[:60]]))


LEVELS = ("summary", "module", "op", "training", "compiled")
PLANNED = {  # whose kernels are kept too
    "demo step", "residual forward", "lstm forward", "attention forward", "residual step", "u-net step", "lstm step",
    "gan step", "attention step", "two inputs step", "maml step",
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKED_AT)
def test_every_level_of_a_program_is_as_it_was_when_somebody_looked(name):
    """As text: boxes, frames and rows, what each reads, notes."""
    graph, path = PROGRAMS[name](), GOLDEN / f"{name.replace(' ', '_')}.txt"
    renew = os.environ.get("TENSORGRAPH_GOLDEN") == "renew"
    levels = LEVELS if name in PLANNED and machine.available() else LEVELS[:-1]
    said = "\n".join(f"== {level} ==\n{draw(graph, level=level).text()}" for level in levels)
    said = re.sub(r"\.py:\d+", ".py", said)
    if renew:
        path.write_text(said, encoding="utf-8")
    kept = path.read_text("utf-8")
    if levels[-1] != "compiled":
        kept = kept.partition("\n== compiled ==\n")[0]
    if kept != said:
        lines = difflib.unified_diff(kept.splitlines(), said.splitlines(), "kept", "drawn", lineterm="", n=1)
        pytest.fail("\n".join([f"{name} is drawn otherwise; if that is meant: {RENEW}", *list(lines)[:60]]))


def test_no_drawing_is_kept_that_nobody_draws():
    kept = {path.name for path in GOLDEN.iterdir()} - {"torch_losses.json"}  # numbers of test_examples
    levels = {f"{name.replace(' ', '_')}.txt" for name in LOOKED_AT}
    assert kept == {*[f"{name}.json" for name in (*DRAWINGS, "kernels")], *levels}

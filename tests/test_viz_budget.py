"""Large and awkward graphs at every level: within the budget of a layout, with a note on what was left out, soon."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.viz import draw
from tensorgraph.viz.model.budget import MOST_BOXES, MOST_SPAN, span
from tensorgraph.viz.model.fold import fold
from tensorgraph.viz.model.view import by_op
from tensorgraph.viz.render.engine import find_engine

needs_engine = pytest.mark.skipif(find_engine() is None, reason="no layout engine is installed")
LEVELS = ("auto", "summary", "module", "op", "training")


def load(name: str) -> ModuleType:
    """A helper beside this file; the test folder is no package and not on the path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


hand = load("viz_graphs")


def irregular(ops: int, per_module: int = 0) -> Any:
    """A chain in which nothing repeats."""
    m = hand.Maker("irregular")
    h = m.input((8,))
    rng = np.random.default_rng(0)
    for i in range(ops):
        name = ("tanh", "exp", "sin", "cos", "sqrt")[rng.integers(5)]
        h = m.op(name, h, scope=f"stages.{i // per_module // 20}.{i // per_module}" if per_module else "")
    return m.graph(h)


def dense(ops: int) -> Any:
    """Every op reads all the earlier ones."""
    m = hand.Maker("dense")
    values = [m.input((8,))]
    for i in range(ops):
        values.append(m.op("stack" if i % 3 else "concatenate", tuple(values), shape=(9 + i,)))
    return m.graph(values[-1])


def recurrent(steps: int) -> Any:
    """An unrolled recurrence with shared weights and a step of gradient descent."""
    m = hand.Maker("recurrent")
    h, weight = m.input((4, 8)), m.cell("weight", (8, 8))
    rng = np.random.default_rng(1)
    for _ in range(steps):
        h = m.op(("tanh", "sin")[rng.integers(2)], m.op("matmul", h, weight))
    loss = m.op("mean", h, shape=())
    (grad,) = (m.op("gradients", (loss,), (weight,), shape=(8, 8)),)
    m.write(weight, m.op("subtract", weight, grad))
    return m.graph(loss)


GRAPHS = {
    "2,000 ops in modules": lambda: irregular(2_000, per_module=20),
    "10,000 ops in modules": lambda: irregular(10_000, per_module=20),
    "a chain of 5,000": lambda: irregular(5_000),
    "a chain of 300": lambda: irregular(300),
    "dense 60": lambda: dense(60),
    "dense 100": lambda: dense(100),
    "recurrent 60": lambda: recurrent(60),
    "recurrent 500": lambda: recurrent(500),
    "tangled": lambda: hand.residual(150),
}


LARGE = ("2,000 ops in modules", "10,000 ops in modules", "a chain of 5,000", "dense 60", "dense 100", "recurrent 500")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in GRAPHS])
def test_every_level_fits_the_budget(name):
    graph = GRAPHS[name]()
    for level in LEVELS:
        for expand in (False, True):
            drawing = draw(graph, level=level, expand=expand)
            assert span(drawing) <= MOST_SPAN and 0 < len(drawing.nodes) <= MOST_BOXES + 2
            covered = sorted(i for node in drawing.nodes for i in node.members)
            assert covered == list(range(len(graph.equations)))
            if any(edge.cut and edge.role != "carried" for edge in drawing.edges):
                assert any("<-" in note for note in drawing.notes)
            assert drawing.dot().count("{") == drawing.dot().count("}")


@needs_engine
@pytest.mark.parametrize("name", ["2,000 ops in modules", "dense 60", "recurrent 60"])
@pytest.mark.slow
def test_what_fits_is_laid_out(name):
    graph = GRAPHS[name]()
    for level in LEVELS:
        drawing = draw(graph, level=level, expand=True, timeout=60.0)
        assert "shown as text" not in drawing.svg()


@needs_engine
def test_a_thousand_ops_in_the_mirror_are_laid_out():
    m = hand.Maker("deep")
    h = m.input((4, 8))
    rng = np.random.default_rng(2)
    for i in range(330):
        h = m.op(("tanh", "sin", "exp")[rng.integers(3)], h, scope=f"l{i // 12}")
    loss = m.op("mean", h, shape=())
    drawing = draw(m.graph(loss), level="training", depth="op", expand=True, timeout=60.0)
    assert len([n for n in drawing.nodes if n.role == "gradient"]) == 332  # and that of x
    assert "shown as text" not in drawing.svg()


def test_steps_of_the_ladder_are_noted_in_order():
    drawing = draw(dense(60), level="op")
    notes = " ".join(drawing.notes)
    assert notes.index("named at each use") < notes.index("edges carry no labels") < notes.index("named stubs")


def test_ops_without_modules_are_joined_rather_than_one_box():
    drawing = draw(irregular(5_000), level="op")
    assert 10 < len(drawing.nodes) <= 45 and any("joined" in note for note in drawing.notes)


def test_looking_for_repeats_ends_soon():
    def f(x: Any) -> Any:  # every sum reads one term more
        terms = [x]
        for _ in range(80):
            terms.append(tg.concatenate([t.reshape((1, 8)) for t in terms], axis=0).sum(axis=0))
        return terms[-1]

    graph = tg.trace(f, tg.spec((8,), "float32"))
    boxes = by_op(graph)
    assert sum(len(box.members) for box in fold(graph, boxes)) == len(graph.equations)

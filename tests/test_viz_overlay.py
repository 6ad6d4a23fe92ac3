"""Figures on boxes: measured, counted or the user's, with a ramp, a legend and n/a where there is none."""

import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.analysis.profile import Profile, duration, gradient_norms, largest, profile
from tensorgraph.graph.graph import Provenance, Var
from tensorgraph.pages.palette import DARK, HEATS, LIGHT, contrast, heated, ink_on
from tensorgraph.viz.model import overlay
from tensorgraph.viz.model.overlay import OVERLAYS, apply, by_equation
from tensorgraph.viz.render.dot import to_dot
from tensorgraph.viz.render.svg import polish

LEVELS = ("summary", "module", "op", "training")


@pytest.fixture(scope="module")
def model():
    return nn.Sequential(nn.Linear(4, 6, seed=0), nn.BatchNorm(6), nn.ReLU(), nn.Linear(6, 3, seed=1))


@pytest.fixture(scope="module")
def step(model):
    optimizer = tg.optim.Adam(model.parameters())

    def train(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    yield tg.trace(train, tg.spec((8, 4)), tg.spec((8,), "int64"))  # the optimiser lives as long as the graph


@pytest.fixture(scope="module")
def loss(model):
    return tg.trace(lambda x, y: tg.softmax_cross_entropy(model(x), y), tg.spec((8, 4)), tg.spec((8,), "int64"))


def figures(drawing):
    return {node.path: node.metric for node in drawing.nodes if node.metric}


# ---- the profile


def test_a_profile_has_a_time_for_every_equation_and_says_where(step):
    found = profile(step, np.ones((8, 4), np.float32), np.zeros(8, np.int64), repeats=2)
    assert len(found.seconds) == len(step.equations) and all(s > 0 for s in found.seconds)
    assert found.repeats == 2 and found.made == ()
    for key in ("scope", "op", "line", "equation"):
        rows = found.by(key)
        assert math.isclose(math.fsum(s for _, s, _ in rows), found.total)
        assert sum(n for _, _, n in rows) == len(step.equations)
        assert all(a >= b for (_, a, _), (_, b, _) in pairwise(rows))
    text = str(found)
    assert (
        text.startswith(f"train: {len(step.equations)} ops, ")
        and "adam_update" in text
        and "test_viz_overlay.py" in text
    )
    assert "more" in found.table("equation", 3).splitlines()[-1] and repr(found).startswith("<Profile of train")
    with pytest.raises(ValueError, match="one of 'definition', 'scope', 'op', 'line', 'equation'"):
        found.by("color")


def test_a_profile_runs_on_random_numbers_and_leaves_cells_alone(model, step):
    before = {path: cell.numpy().copy() for path, cell in model.named_cells()}
    found = profile(step, repeats=1)
    assert found.made == ("x", "y") and "random numbers" in str(found)
    for path, cell in model.named_cells():
        np.testing.assert_array_equal(cell.numpy(), before[path])
    assert profile(lambda x: tg.tanh(x), tg.spec((2,)), repeats=1).made == ("x",)
    free = step.replace(cells=tuple(replace(c, path=c.path) for c in step.cells))
    free = free.replace(provenance=Provenance())
    assert len(profile(free, repeats=1).made) == 2 + len(step.cells)  # nobody lives: numbers are made up for cells too
    for wrong in (0, True, 1.5):
        with pytest.raises((ValueError, TypeError), match="profile: repeats must be an integer"):
            profile(step, repeats=wrong)
    with pytest.raises(TypeError, match="profile takes a graph, a model or a function"):
        profile(3)
    with pytest.raises(ValueError, match="traced for"):
        profile(step, np.ones((9, 4), np.float32), np.zeros(9, np.int64))


def test_a_profile_draws_itself(step):
    found = profile(step, repeats=1)
    drawing = found.draw(level="op")
    heats = [node.heat for node in drawing.nodes if node.role == "op"]
    assert max(heats) <= 1.0 and all(h >= 0 for h in heats)
    assert any("median of 1 runs" in note for note in drawing.notes)
    assert isinstance(found, Profile)


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2 s"), (1.234e-3, "1.23 ms"), (5e-6, "5 us"), (1e-9, "1 ns"), (0.0, "0 ns")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


# ---- what is measured is right


def test_gradient_norms_are_those_of_the_tape(model, loss):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)
    norms, made = gradient_norms(loss, (x, y))
    assert made == ()
    model.zero_grad() if hasattr(model, "zero_grad") else None
    value = tg.softmax_cross_entropy(model(tg.tensor(x)), y)
    cells = {c.path: c.var for c in loss.cells if c.kind == "parameter"}
    own = dict(model.named_parameters())
    grads = tg.gradients(value, list(own.values()))
    for (path, parameter), grad in zip(own.items(), grads, strict=True):
        expected = np.linalg.norm(grad.numpy())
        assert np.isfinite(expected)
        np.testing.assert_allclose(norms[cells[parameter.path or path]], expected, rtol=1e-4, atol=1e-7)
    assert norms[loss.outputs[0]] == 1.0
    assert set(norms) <= {*loss.inputs, *cells.values(), *loss.consts} | {
        v for eq in loss.equations for v in eq.outputs
    }


def test_no_loss_has_no_gradient_norm(model):
    forward = tg.trace(model, tg.spec((8, 4)))
    with pytest.raises(ValueError, match="gradients need a loss, a result of one float"):
        gradient_norms(forward)


def test_largest_values_are_those_of_the_values():
    def f(x):
        return tg.exp(x * 2.0).sum(), x > 0

    graph = tg.trace(f, tg.spec((3,)))
    x = np.float32([1.0, -3.0, 2.0])
    values, _ = largest(graph, (x,))
    assert values[graph.inputs[0]] == 3.0 and values[graph.equations[0].outputs[0]] == 6.0
    np.testing.assert_allclose(values[graph.equations[1].outputs[0]], np.exp(np.float32(4)), rtol=1e-6)


# ---- overlays on every level


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_on_every_level(step, overlay, level):
    plain = tg.draw(step, level=level)
    drawing = tg.draw(step, level=level, overlay=overlay)
    assert [n.path for n in drawing.nodes] == [n.path for n in plain.nodes] and drawing.edges == plain.edges
    shaded = [n for n in drawing.nodes if n.heat is not None]
    for node in shaded:
        assert node.metric and (math.isnan(node.heat) if node.metric == "n/a" else 0 <= node.heat <= 1)
        assert node.metric in drawing.text() and node.metric in drawing.dot()
    assert all(n.heat is None and not n.metric for n in drawing.nodes if n not in shaded)
    numbers = [n for n in shaded if n.metric != "n/a"]
    if not (level == "summary" and overlay == "grad_norm"):  # one box, which nothing leaves but the loss
        assert numbers
    roles = {entry.role for entry in drawing.legend}
    assert ("heat" in roles) == bool(numbers) and ("missing" in roles) == any(n.metric == "n/a" for n in shaded)


def test_flops_and_bytes_add_up_to_the_cost(step, monkeypatch):
    seen = []
    monkeypatch.setattr(overlay, "_painted", lambda drawing, look, found, note: seen.append(dict(found)) or drawing)
    cost = step.cost()
    for name, total in (("flops", cost.flops), ("bytes", cost.bytes)):
        for level in LEVELS:
            apply(tg.draw(step, level=level), step, name)
            assert math.isclose(math.fsum(f for f in seen.pop().values() if not math.isnan(f)), total), (name, level)


def test_the_gradient_norm_of_a_step_stands_on_its_gradient_boxes(step):
    drawing = tg.draw(step, level="training", overlay="grad_norm")
    shown = figures(drawing)
    assert shown["softmax_cross_entropy~grad"] == "1" and "softmax_cross_entropy" not in shown
    assert not any(node.metric for node in drawing.nodes if node.role == "update")


def test_names_with_spaces_and_measuring_on_the_users_arrays(loss):
    x, y = np.full((8, 4), 7.0, np.float32), np.zeros(8, np.int64)
    drawing = apply(tg.draw(loss, level="op"), loss, "|max|", (x, y))
    assert figures(drawing)["inputs/x"] == "7" and not any("random" in note for note in drawing.notes)
    assert apply(tg.draw(loss), loss, "gradient norm", (x, y)).legend[-2].text.startswith("gradient norm, ")
    drawing = tg.draw(lambda x: tg.exp(x).sum(), np.float32([1.0, 2.0]), overlay="max", level="op")
    assert figures(drawing)["inputs/x"] == "2"


def test_values_that_are_not_finite_are_said():
    graph = tg.trace(lambda x: tg.log(x) * 0.0, tg.spec((2,)))
    shown = figures(apply(tg.draw(graph, level="op"), graph, "max", (np.float32([0.0, 1.0]),)))
    assert shown["log"] == "not finite" and shown["multiply"] == "not finite"


# ---- the user's figures


def test_a_mapping_by_path_module_and_variable(loss):
    drawing = tg.draw(loss, level="module")
    made = apply(drawing, loss, {"0": 3, "3": np.float32(1.5), loss.inputs[0]: 9.0, "softmax_cross_entropy": math.nan})
    shown = figures(made)
    assert shown == {"inputs/x": "9", "0": "3", "1": "n/a", "2": "n/a", "3": "1.5", "softmax_cross_entropy": "n/a"}
    ops = apply(tg.draw(loss, level="op"), loss, {"0": 2.0, "0/add": 5.0, loss.equations[2].outputs[0]: 1.0})
    assert {k: v for k, v in figures(ops).items() if v != "n/a"} == {"0/matmul": "2", "0/add": "5", "1/batch_norm": "1"}
    equal = apply(drawing, loss, {"0": 0.0, "3": 0.0})
    assert [n.heat for n in equal.nodes if n.metric == "0"] == [0.0, 0.0]
    huge = apply(drawing, loss, {"0": 1.7e308, "3": -1.7e308, "2": math.inf})
    assert sorted(n.heat for n in huge.nodes if n.metric not in ("", "n/a")) == [0.0, 1.0, 1.0]
    assert apply(drawing, loss, {}).legend[-1].role == "missing"


def test_keys_and_figures_that_make_no_sense_are_refused(loss):
    drawing = tg.draw(loss, level="module")
    for given, message in (
        ({"layer0": 1.0}, "no box or module is called 'layer0'; near it are"),
        ({"0": "hot"}, "expected a number for '0', got 'hot'"),
        ({"0": True}, "expected a number for '0', got True"),
        ({"0": 1j}, "expected a number"),
        ({"0": np.ones(2)}, "expected a number"),
        ({3: 1.0}, "keys are paths of boxes or modules, or variables, got int"),
        ({Var(loss.inputs[0].aval, "stray"): 1.0}, "the variable stray: f32[8, 4] is made by no box"),
        ("heat", "overlay must be one of 'time', 'bytes', 'flops', 'grad_norm', 'max' or a mapping"),
        (7, "overlay must be one of"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            apply(drawing, loss, given)


def test_hostile_keys_are_cut(loss):
    with pytest.raises(ValueError, match="no box or module") as told:
        apply(tg.draw(loss), loss, {"x" * 10_000 + "\n\x00": 1.0})
    assert len(str(told.value)) < 500 and "\n" not in str(told.value)


# ---- how it looks


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_read_on_every_step_of_the_ramp(palette):
    for k in range(HEATS):
        on = heated(palette, (k + 0.5) / HEATS)
        assert on.box == getattr(palette, f"heat{k}")
        assert contrast(on.ink, on.box) >= 4.5 and contrast(ink_on(on.box), on.box) >= contrast(on.ink, on.box) > 4.5
    assert heated(palette, 1.0).box == palette.heat5 and heated(palette, 0.0).box == palette.heat0
    ramp = [contrast(getattr(palette, f"heat{k}"), palette.page) for k in range(HEATS)]
    assert all(b > a * 1.15 for a, b in pairwise(ramp))  # one direction, away from the page


def test_a_missing_figure_is_quiet(loss):
    drawing = apply(tg.draw(loss, level="module"), loss, {"0": 1.0, "3": 2.0})
    dot = to_dot(drawing, "light")
    quiet = [n for n in drawing.nodes if n.metric == "n/a"]
    assert quiet and "striped" not in dot
    for node in quiet:
        line = next(line for line in dot.splitlines() if line.startswith(f"{node.id} ["))
        assert f'color="{LIGHT.frame}" penwidth=0.8 peripheries=1' in line and "<b>n/a" not in line
        assert f'<font color="{LIGHT.muted}" point-size="8">n/a</font>' in line
    assert f'fillcolor="{LIGHT.heat5}"' in dot and f'color="{LIGHT.on5}"' in dot
    assert f'fillcolor="{DARK.heat5}"' in to_dot(drawing, "dark")
    assert f"fill:{DARK.heat5},color:{DARK.on5}" in drawing.mermaid("dark") and "n/a" in drawing.mermaid()


def test_the_ramp_follows_the_theme_in_svg(loss):
    drawing = apply(tg.draw(loss, level="module"), loss, {"0": 1.0, "3": 2.0})
    drawn = f'<path fill="{LIGHT.heat5.lower()}" stroke="none"/><text fill="{LIGHT.on5.lower()}">x</text>'
    raw = f'<svg width="1pt" height="1pt">{drawn}</svg>'
    made = polish(drawing, raw, "auto")
    assert 'class="f-heat5"' in made and 'class="f-on5"' in made and f"--heat5:{DARK.heat5}" in made


def test_by_equation_leaves_boxes_without_members_open(loss):
    drawing = tg.draw(loss, level="op")
    bare = replace(drawing, nodes=tuple(replace(n, members=()) for n in drawing.nodes))
    made = by_equation(bare, "flops", [1.0] * len(loss.equations), "a note")
    assert {n.metric for n in made.nodes} == {"", "n/a"} and made.notes[-1] == "a note"

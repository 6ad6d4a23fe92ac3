"""Figures of a template are those of one repeat and of all, in every format; siblings of other names keep them."""

import re
from typing import Any

import pytest
import viz_graphs as hand

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.viz import Drawing, draw

PARAMETERS = re.compile(r"([\d,]+) params?\b(?: x(\d+) = ([\d,]+)|, ([\d,]+) in all)?")


class Net(nn.Module):
    """Children of one kind under names of the test's choice, one after the other."""

    def __init__(self, names: list[str], width: int = 8, again: int = 1) -> None:
        self.names, self.again = names, again
        for i, name in enumerate(names):
            setattr(self, name, nn.Linear(width, width, seed=i))

    def forward(self, x: Any) -> Any:
        for _ in range(self.again):
            for name in self.names:
                x = getattr(self, name)(x)
        return x


class Blocks(nn.Module):
    def __init__(self, count: int) -> None:
        self.blocks = nn.Sequential(*[
            nn.Sequential(nn.Linear(4, 4, seed=i), nn.ReLU(), nn.BatchNorm(4)) for i in range(count)
        ])  # fmt: skip
        self.head = nn.Linear(4, 2, seed=9)

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(x))


def number(text: str) -> int:
    return int(text.replace(",", ""))


def total(text: str) -> int:
    """The parameters that a text tells of, in all; what is said of shared ones counts once."""
    found = 0
    for each, repeats, every, in_all in PARAMETERS.findall(text):
        assert not repeats or number(each) * int(repeats) == number(every)
        found += number(every or in_all or each)
    return found


def formats(drawing: Drawing) -> list[str]:
    return [drawing.text(), drawing.dot(), drawing.mermaid().replace("#44;", ","), drawing.json()]


def size(module: Any) -> int:
    return sum(parameter.size for parameter in module.parameters())


@pytest.mark.parametrize("names", [["encoder", "bridge", "decoder"], ["a", "b", "c", "d"], ["up", "down", "left"]])
def test_siblings_of_other_names_are_drawn_by_name(names):
    net = Net(names)
    for level in ("module", "training"):
        drawing = draw(lambda x: net(x).sum(), tg.spec((2, 8)), level=level)
        assert not drawing.groups or all(group.count == 1 for group in drawing.groups)
        assert all(any(node.title == f"Linear {name}" for node in drawing.nodes) for name in names)
        for text in formats(drawing):
            assert all(name in text for name in names)
            assert total(text) == size(net) == 72 * len(names)


@pytest.mark.parametrize("names", [["fc1", "fc2", "fc3"], ["conv_1_a", "conv_2_a", "conv_3_a", "conv_4_a"]])
def test_numbered_siblings_fold_and_count_all(names):
    net = Net(names)
    drawing = draw(net, tg.spec((2, 8)), level="module")
    assert [group.count for group in drawing.groups] == [len(names)]
    for text in formats(drawing):
        assert f"72 params x{len(names)} = {72 * len(names)}" in text and total(text) == size(net)


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("level", ["module", "training"])
@pytest.mark.parametrize("depth", [None, 1, 2])
def test_parameters_add_up_in_every_format(count, level, depth):
    net = Blocks(count)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(net(x), y)
        optimizer.minimize(loss)
        return loss

    graph = tg.trace(step, tg.spec((5, 4)), tg.spec((5,), "int64"))
    drawing = draw(graph if level == "training" else tg.trace(net, tg.spec((5, 4))), level=level, depth=depth)
    for text in formats(drawing):
        assert total(text) == size(net)
    gradients = sum(
        number(found[-1] or found[0])
        for node in drawing.nodes
        for row in node.rows
        for found in re.findall(r"([\d,]+) gradients?(?: x\d+ = ([\d,]+))?", row.text)
    )
    assert gradients == (size(net) if level == "training" else 0)


def test_what_repeats_share_is_counted_once():
    net = Net(["fc"], again=9)
    drawing = draw(net, tg.spec((2, 8)), level="module", depth=1)
    for text in formats(drawing):
        assert "72 params" in text and "x9 = 648" not in text


def test_figures_of_an_overlay_follow_the_same_convention():
    for overlay, pattern in (("flops", r"^\S+ x10 = \S+ \(\d+%\)$"), ("bytes", r"^\S+ \S+ x10 = \S+ \S+ \(\d+%\)$")):
        drawing = draw(tg.trace(Blocks(10), tg.spec((5, 4))), level="module", overlay=overlay)
        inside = [node for node in drawing.nodes if drawing.repeats[node.group] == 10]
        inside = [node for node in inside if node.id not in drawing.points]
        assert inside and all(re.match(pattern, node.metric) for node in inside)
        outside = [node for node in drawing.nodes if node.metric and drawing.repeats[node.group] == 1]
        assert outside and not any(" x" in node.metric for node in outside)
        assert sum(float(re.search(r"\((\d+)%\)", node.metric)[1]) for node in [*inside, *outside]) == pytest.approx(
            100, abs=3
        )
    most = draw(tg.trace(Blocks(10), tg.spec((5, 4))), level="module", overlay="max")
    inside = [node for node in most.nodes if most.repeats[node.group] == 10 and node.id not in most.points]
    assert all(node.metric.endswith(" of all 10") for node in inside)


def test_what_each_repeat_keeps_and_writes_is_counted():
    drawing = draw(hand.residual(10), level="training")
    saved = [row for edge in drawing.edges for row in edge.rows if row.style == "saved"]
    assert any(row.value.endswith(" KiB x10") for row in saved)
    norms = draw(Blocks(10), tg.spec((5, 4)), level="module")
    assert any(row.text == "writes 4 buffers x10 = 40" for node in norms.nodes for row in node.rows)

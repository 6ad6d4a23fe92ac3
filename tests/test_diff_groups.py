"""The edits of a difference as a person made them: one layer more or less is one, and what only moved is told so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from large_programs import LanguageModel, TransformerBlock, residual_forward, residual_step

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.testing import programs
from tensorgraph.viz.render.extent import extent

ALIVE = []  # what is in cells is known while they are there


def net(*layers):
    return nn.Sequential(*layers)


def linear(seed):
    return nn.Linear(8, 8, seed=seed)


def forward(model):
    ALIVE.append(model)
    return tg.trace(model, tg.f32[4, 8])


def step(model):
    adam = optim.Adam(model.parameters())
    ALIVE.extend((model, adam))

    def train(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    return tg.trace(train, tg.f32[4, 8], tg.i64[4])


BODIES = {
    "first": (lambda: [nn.BatchNorm(8), nn.ReLU()], 0),
    "middle": (lambda: [linear(0), nn.BatchNorm(8), nn.ReLU(), linear(1)], 1),
    "last": (lambda: [linear(0), nn.ReLU(), nn.BatchNorm(8)], 2),
    "a linear": (lambda: [linear(0), nn.ReLU(), linear(1), nn.ReLU(), linear(2)], 2),
    "an activation": (lambda: [linear(0), nn.ReLU(), nn.Tanh(), linear(1)], 2),
    "a block": (lambda: [net(linear(i), nn.ReLU()) for i in range(6)], 3),
    "layer norm": (lambda: [linear(0), nn.LayerNorm(8), linear(1)], 1),
}


@pytest.mark.parametrize("made", [forward, step])
@pytest.mark.parametrize("name", BODIES)
def test_one_layer_less_is_one_edit_and_one_more_too(name, made):
    body, at = BODIES[name]
    whole, less = body(), body()
    del less[at]
    if made is step and not nn.Sequential(*less).parameters():
        pytest.skip("nothing to train")
    for a, b, status in ((whole, less, "removed"), (less, whole, "added")):
        found = tg.diff(made(net(*a)), made(net(*b)))
        counts = {group.status for group in found.groups}
        assert counts <= {status, "moved"}, str(found)
        assert sum(group.status == status for group in found.groups) == 1, str(found)
        assert sum(group.status == "moved" for group in found.groups) <= 1
        assert found.summary() in (f"1 {status}", f"1 {status}, 1 moved")


def test_what_is_said_of_it():
    found = tg.diff(forward(net(nn.BatchNorm(8), nn.ReLU())), forward(net(nn.ReLU())))
    lines = str(found).splitlines()
    assert lines[2].startswith("- BatchNorm 0: 2 equations, 7 cells    # ") and lines[-1] == "1 removed"
    assert "relu(x): x: y (removed) -> x" in lines[3] and len(lines) == 5
    assert len(found) == 14 and len(found.groups[0].edits) == 13 and len(found.groups[0].follows) == 1


def test_cells_are_known_by_what_is_in_them():
    one, two = net(linear(0), nn.ReLU(), linear(1)), net(linear(0), linear(5), nn.ReLU(), linear(1))
    found = tg.diff(forward(one), forward(two))
    assert "> 2 is 3: 2 cells" in str(found) and found.summary() == "1 added, 1 moved"


def test_one_line_of_a_function_too():
    found = tg.diff("def f(x: f32[3]): return tanh(x).sum()", "def f(x: f32[3]): return tanh(x * 2.0).sum()")
    assert found.summary() == "1 added" and "tanh(v0): x: x -> v0 (added)" in str(found)
    # another op in a place is no splice: its reader is told
    found = tg.diff("def f(x: f32[3]): return tanh(x).sum()", "def f(x: f32[3]): return relu(x).sum()")
    assert found.summary() == "1 added, 1 removed, 1 changed"
    # nor is a reader that changed in another way as well
    found = tg.diff("def f(x: f32[3]): return x.sum()", "def f(x: f32[3]): return (x * 2.0).sum(keepdims=True)")
    assert "1 changed" in found.summary()


@given(programs(max_steps=6, state=True), programs(max_steps=6, state=True), st.booleans())
def test_every_edit_is_in_one_group_or_follows_from_one(one, two, same):
    found = tg.diff(one.graph(), two.graph())
    told = [edit for group in found.groups for edit in (*group.edits, *group.follows)]
    assert sorted(map(id, told)) == sorted(map(id, found.edits))
    assert all(group.edits for group in found.groups) and bool(found.groups) == bool(found)


# ---- in pictures, what repeats and is the same is drawn once


@pytest.mark.parametrize("before, after", [(5, 4), (4, 5), (11, 12)])
def test_blocks_that_stay_fold_and_one_that_is_gone_or_new_is_drawn(before, after):
    drawing = tg.diff(residual_forward(before), residual_forward(after)).draw()
    (template,) = [group for group in drawing.groups if group.count > 1]
    inside = [node for node in drawing.nodes if node.group == template.id]
    assert template.count >= min(before, after) - 1 and not any(node.status for node in inside)
    edited = [node for node in drawing.nodes if node.status]
    assert {node.status for node in edited} == {"removed" if before > after else "added"}
    assert len({node.path.split(".")[1].partition("/")[0] for node in edited}) == 1 and len(drawing.nodes) <= 30
    assert not any("~" in row.text for node in drawing.nodes for row in node.rows)
    assert {node.title for node in edited} == {"Linear first", "BatchNorm norm", "relu", "Linear second", "add"}
    assert len({node.group for node in edited}) == 1
    titles = {group.rows[0].text for group in drawing.groups}
    assert before < after or f"- ResidualBlock blocks.{after}" in titles
    wide, high = extent(drawing)
    assert 9 * min(1920 / wide, 1080 / high) >= 8


def test_what_an_optimiser_no_longer_does_is_one_box():
    drawing = tg.diff(residual_step(3), residual_step(2)).draw()
    (gone,) = (node for node in drawing.nodes if node.status == "removed" and "optimizer" in node.path)
    assert gone.title == "Adam optimizer" and "adam_update x6" in [row.text for row in gone.rows]
    assert [node.title for node in drawing.nodes if node.status == "removed"] == ["ResidualBlock 2", "Adam optimizer"]


def test_an_edit_in_the_middle_of_a_stack_has_a_template_on_each_side():
    class Other(TransformerBlock):
        def forward(self, x):
            x = x + self.attention(self.norm1(x))
            return x + self.down(tg.gelu(self.up(self.norm2(x))))

    model = LanguageModel(layers=9)
    ALIVE.append(model)
    graph = tg.trace(model, tg.i64[2, 16])
    model.blocks[4].__class__ = Other
    drawing = tg.diff(graph, tg.trace(model, tg.i64[2, 16])).draw()
    assert [group.count for group in drawing.groups if group.count > 1] == [4, 4]
    assert {node.title for node in drawing.nodes if node.status} == {"relu", "gelu", "matmul"}


def test_layers_that_are_gone_from_the_middle_of_a_list_of_other_sizes():
    def traced(*layers):  # of other numbers each time, so that only types and places tell
        return tg.trace(nn.Sequential(nn.Linear(4, 8), *layers, nn.Linear(8, 2)), tg.f32[3, 4])

    long = traced(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    short = traced(nn.Linear(8, 8), nn.ReLU())
    assert "- Linear 3: 2 equations, 2 cells" in str(tg.diff(long, short)).replace("  ", " ")
    assert "> 5 is 3: 2 cells" in str(tg.diff(long, short))
    assert tg.diff(long, short).summary().endswith("2 removed, 1 changed, 1 moved")
    assert tg.diff(short, long).summary().endswith("2 added, 1 changed, 1 moved")

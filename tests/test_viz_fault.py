"""Faults: the first value that goes wrong, forward and backward, with counts, line, path to the loss, and a picture."""

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.analysis.fault import find_faults
from tensorgraph.analysis.fault_report import causes, stats_of
from tensorgraph.testing import programs

f32 = np.float32


def kinds(found):
    return [(fault.kind, fault.phase) for fault in found]


def op_of(found, number=0):
    return found.graph.equations[found[number].position].op.name


def path_of(found, number=0):
    return [found.graph.equations[i].op.name for i in found[number].path]


def test_an_overflow_on_the_way_to_the_loss():
    def loss(x):
        p = tg.exp(x) / tg.exp(x).sum()
        return -tg.log(p).mean()

    found = find_faults(loss, f32([1.0, 200.0, 3.0]))
    assert kinds(found) == [("non-finite", "forward")] and found
    assert op_of(found) == "exp" and path_of(found) == ["divide", "log", "mean", "negative"]
    assert found[0].told == "1 inf of 3 from finite operands"
    text = str(found)
    assert (
        text.splitlines()[0].endswith(" backward: 1 fault") and "test_viz_fault.py:" in text and "to the loss:" in text
    )


def test_a_gradient_that_is_not_finite_though_the_loss_is():
    found = find_faults(lambda x: tg.sqrt((x * x).sum()), np.zeros(3, f32))
    assert kinds(found) == [("non-finite", "backward")] and op_of(found) == "divide"
    assert "the derivative of sqrt by x" in str(found) and "to the gradient that is wanted" in str(found)
    assert not find_faults(lambda x: tg.sqrt((x * x).sum()), np.ones(3, f32))


def test_a_value_that_harms_nothing_is_no_fault():
    # minus infinity is masked away on both ways
    def loss(x):
        scores = tg.where(x > 0, x, -np.inf)
        return tg.softmax(scores)[0]

    assert not find_faults(loss, f32([1.0, -1.0, 2.0]))


def test_numbers_that_are_wrong_to_begin_with():
    found = find_faults(lambda x: (x * 2.0).sum(), f32([1.0, np.nan, np.inf]))
    assert kinds(found)[0] == ("non-finite", "forward") and found[0].position is None
    assert "argument x: f32[3]" in str(found) and "1 nan, 1 inf of 3 to begin with" in str(found)
    w = tg.Parameter(f32([np.nan, 1.0]), name="w")
    found = find_faults(lambda x: (x * w).sum(), f32([1.0, 1.0]))
    assert "parameter w: f32[2]" in str(found) and found.draw().nodes
    found = find_faults(lambda x: (x * np.array([np.inf, 0.0], f32)).sum(), f32([1.0, 1.0]))
    assert "captured array" in str(found)
    unread = find_faults(lambda x, y: x.sum(), f32([1.0]), f32([np.nan]))
    assert not unread  # nothing comes of it


def test_dead_units_and_their_gradients():
    w = tg.Parameter(np.ones((4, 4), f32), name="w")
    found = find_faults(lambda x: tg.relu(-(x @ w)).mean(), np.ones((3, 4), f32))
    assert kinds(found) == [("dead", "forward"), ("dead", "backward")]
    assert op_of(found) == "relu" and "all 12 values are 0" in str(found)
    assert found[1].told == "1 of 1 wanted gradients are 0 everywhere" and "the derivative of relu by x" in str(found)
    assert kinds(find_faults(lambda x: tg.maximum(x @ w, 0.0).sum(), -np.ones((3, 4), f32)))[0] == ("dead", "forward")
    assert not find_faults(lambda x: tg.relu(x @ w).mean(), np.ones((3, 4), f32))


def test_an_explosion_and_its_limit():
    def f(x):
        return tg.exp(x * x).mean()

    found = find_faults(f, f32([5.0, 1.0]))
    assert ("exploding", "forward") in kinds(found) and op_of(found) == "exp"
    assert "|max| 7.2e+10, from operands of at most 25" in str(found)
    assert not find_faults(f, f32([5.0, 1.0]), limit=1e14)
    half = find_faults(lambda x: (x * 100.0).sum(), np.full(3, 200.0, np.float16))
    assert ("exploding", "forward") in kinds(half)  # a float16 has less room
    steep = find_faults(lambda x: (x * 1e-3).sum() * 1e9 * 1e-9, f32([1.0]), limit=1e3)
    assert "exploding" in {fault.kind for fault in steep}
    for wrong in (0, -1.0, True, "big"):
        with pytest.raises((TypeError, ValueError), match="limit must be a positive number"):
            find_faults(f, f32([1.0]), limit=wrong)


def test_the_number_of_a_mask_is_no_explosion():
    mask = np.tril(np.ones((4, 4), bool))
    scores = np.ones((4, 4), f32)
    for masked in (
        lambda x, m: tg.where(m, x, -1e9),
        lambda x, m: x + (1 - m.astype("float32")) * -1e9,
        lambda x, m: x + tg.where(m, 0.0, -1e9),
        lambda x, m: tg.where(m, x * 2.0, -1e9) * 0.5,
        lambda x, m: tg.where(tg.logical_not(m), tg.full((4, 4), -1e9), x),
        lambda x, m: x.at[np.triu_indices(4, 1)].set(-1e9),
        lambda x, m: tg.pad(x, ((0, 0), (0, 2)), value=-1e9),
    ):
        found = find_faults(lambda x, m: tg.softmax(masked(x, m))[0, 0], scores, mask)  # noqa: B023
        assert "exploding" not in {fault.kind for fault in found}
    given = mask.astype(f32)  # a mask of floats that the user hands in
    found = find_faults(lambda x, m: tg.softmax(x + (1.0 - m) * -1e9)[0, 0], scores, given)
    assert "exploding" not in {fault.kind for fault in found}
    assert "exploding" in {f.kind for f in find_faults(lambda x, m: ((x + m) * -1e9).sum(), scores, given)}
    assert "exploding" in {f.kind for f in find_faults(lambda x, m: tg.where(m, x, 0.0).sum() * 1e9, scores, mask)}
    assert "exploding" in {f.kind for f in find_faults(lambda x, m: (tg.where(m, x, 2.0) * 1e9).sum(), scores, mask)}


def test_several_faults_come_first_in_a_line_each_and_a_way_is_told_once():
    found = find_faults(lambda x: tg.exp(tg.exp(x) * 1e4).mean(), np.full((3, 3), 5.0, f32))
    assert kinds(found) == [("exploding", "forward"), ("non-finite", "forward")]
    lines = str(found).splitlines()
    assert lines[1].startswith("1. exploding, forward: |max| 1.48e+06, from operands of at most 148: multiply, ")
    assert lines[2].startswith("2. non-finite, forward: 9 inf of 9 from finite operands: exp, ")
    assert sum(" = mean(" in line for line in lines) == 1 and "  to the loss: as of 1." in lines


def test_a_silent_promotion():
    found = find_faults(lambda x: (x * np.ones(3)).sum(), np.ones(3, f32))
    assert kinds(found) == [("promoted", "forward")] and op_of(found) == "multiply"
    assert found[0].told == "f64[3] from f32[3] and f64[3]"
    assert not find_faults(lambda x, n: (x * n).sum(), np.ones(3, f32), np.arange(3))
    assert not find_faults(lambda x: (x.astype("float64") * np.ones(3)).sum(), np.ones(3, f32))
    assert not find_faults(lambda x: (x * 2.0 + 1).sum(), np.ones(3, f32))


def test_training_steps_of_the_library_have_no_fault():
    for make in (tg.optim.SGD, tg.optim.Adam):
        model = nn.Sequential(
            nn.Linear(4, 6, seed=0), nn.BatchNorm(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 3, seed=1)
        )
        optimizer = make(model.parameters(), lr=0.1)
        before = {path: cell.numpy().copy() for path, cell in model.named_cells()}

        def step(x, y):
            loss = tg.softmax_cross_entropy(model(x), y)  # noqa: B023
            optimizer.minimize(loss)  # noqa: B023
            return loss

        found = find_faults(step, tg.spec((8, 4)), tg.spec((8,), "int64"))
        assert not found and str(found).endswith("no fault\nnote: random numbers for x, y")
        for path, cell in model.named_cells():
            np.testing.assert_array_equal(cell.numpy(), before[path])


def test_what_has_no_loss_is_looked_at_forward():
    found = find_faults(lambda x: tg.log(x), f32([0.0, 1.0]))
    assert kinds(found) == [("non-finite", "forward")] and found[0].path == ()
    assert any("only the way forward" in note for note in found.notes)
    integers = find_faults(lambda n: (n * 2).astype("float32").sum(), np.arange(3))
    assert not integers and any("depends on nothing" in note for note in integers.notes)
    graph = tg.trace(lambda x: tg.grad(lambda v: (v * v).sum())(x), tg.spec((3,)))
    assert not find_faults(graph, f32([1.0, 2.0, 3.0])) and not find_faults(graph.differentiate(), f32([1.0, 2.0, 3.0]))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="find_faults takes a graph, a model or a function"):
        find_faults(np.ones(3))
    with pytest.raises(ValueError, match="traced for"):
        find_faults(tg.trace(lambda x: x.sum(), tg.spec((3,))), np.ones(4, f32))


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (f32([1.0, -3.0]), "|max| 3"),
        (f32([0.0, -0.0]), "all 0"),
        (f32([np.nan, np.inf, -np.inf, 2.0]), "1 nan, 2 inf of 4"),
        (f32([]), "|max| 0"),
        (np.array([2**63], np.uint64), "|max| 9.22e+18"),
        (np.array([-(2**63)], np.int64), "|max| 9.22e+18"),
        (np.array([True, False]), "|max| 1"),
        (np.float64(1e308) * np.ones(2), "|max| 1e+308"),
    ],
)
def test_what_is_seen_of_a_value(array, text):
    assert str(stats_of(array)) == text


@given(programs(differentiable=True, wild=True, max_steps=6, nested=False))
def test_whatever_is_found_is_there(program):
    with np.errstate(all="ignore"):
        found = find_faults(program.graph(), *program.tensors())
    for number, fault in enumerate(found):
        if fault.position is None:
            continue
        eq = found.graph.equations[fault.position]
        assert fault.var in eq.outputs and (eq.origin is not None) == (fault.phase == "backward")
        seen = found.stats[fault.position][eq.outputs.index(fault.var)]
        assert {
            "non-finite": not seen.finite, "dead": seen.dead, "exploding": seen.largest > 1e3, "promoted": True,
        }[fault.kind]  # fmt: skip
        values = {fault.var}
        for i in fault.path:  # each step of the path reads the one before
            step = found.graph.equations[i]
            assert values & set(step.atoms())
            values = set(step.outputs)
        drawing = found.draw(number)
        assert [node.status for node in drawing.nodes].count("fault") == 1
        assert fault.kind in str(found)


# ---- the picture


def test_the_picture_is_the_slice_from_causes_to_the_loss():
    def loss(x, y):
        h = tg.tanh(x) * 3.0
        p = tg.exp(h * 40.0)
        return (tg.log(p) - y).mean()

    found = find_faults(loss, f32([[1.0, 2.0]]), f32([[0.0, 0.0]]))
    drawing = found.draw()
    paths = [node.path for node in drawing.nodes if node.role == "op"]
    assert paths == ["multiply", "multiply#1", "exp", "log", "subtract", "mean"]  # not tanh: two hops back
    (at,) = [node for node in drawing.nodes if node.status == "fault"]
    assert at.path == "exp" and [row.text for row in at.rows if row.style == "warning"] == [
        f"non-finite: {found[0].told}"
    ]
    assert {(e.tail, e.head) for e in drawing.edges if e.status == "fault"} >= {
        (at.id, next(n.id for n in drawing.nodes if n.path == "log"))
    }
    assert "! exp" in drawing.text() and "2 inf of 2" in drawing.text() and "! exp" in drawing.dot()
    assert drawing.legend[0].role == "fault" and drawing.level == "fault" and drawing.nodes[-1].role == "output"
    deep = found.draw(0, hops=9, theme="dark")
    assert "tanh" in [node.path for node in deep.nodes] and deep.theme == "dark"
    with pytest.raises(IndexError, match="there is no fault 5: 1 found"):
        found.draw(5)
    with pytest.raises(ValueError, match="theme must be"):
        found.draw(0, theme="pink")


def test_a_long_way_to_the_loss_is_cut_in_the_middle():
    def loss(x):
        x = tg.exp(x)
        for _ in range(300):
            x = x * 1.0
        return x.sum()

    found = find_faults(loss, f32([200.0]))
    assert len(found[0].path) == 301 and "... 290 more" in str(found)
    drawing = found.draw()
    assert len(drawing.nodes) < 80 and any("in the middle of the way are left out" in note for note in drawing.notes)


def test_causes_end_where_the_graph_begins():
    graph = tg.trace(lambda x: tg.exp(tg.tanh(x) * 2.0), tg.spec((3,)))
    assert causes(graph, 2, 1) == {1, 2} and causes(graph, 2, 9) == {0, 1, 2} and causes(graph, None, 3) == set()


def test_the_slice_of_a_fault_on_the_way_forward_knows_no_gradients():
    def loss(x, w):
        h = tg.relu(x @ w)
        return -tg.log(h / tg.sum(h, axis=1, keepdims=True)).mean()

    x, w = np.ones((4, 3), np.float32), np.array([[1.0, -1.0]] * 3, np.float32)
    drawing = tg.find_faults(loss, x, w).draw(0)
    assert [row.text for node in drawing.nodes for row in node.rows if row.style == "stub"] == ["<- matmul"]

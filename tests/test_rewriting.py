"""Rewriting by users: what is found, what is put in its place, what is refused, and what is told of it."""

import numpy as np
import pytest
from effort import examples
from hypothesis import assume, given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.tree import flatten, listed
from tensorgraph.graph import Graph
from tensorgraph.graph.graph import Literal, Var
from tensorgraph.passes.recognise.view import View
from tensorgraph.testing import Program, assert_same, programs
from tensorgraph.testing.programs.program import quiet


def ops(graph):
    return [eq.op.name for eq in graph.equations]


def told(graph):
    return str(graph.explain())


def sound(graph):
    """Checked, printed and read back, and what passes make of it."""
    graph.check()
    assert tg.parse(str(graph), arrays=tg.text.arrays_of(graph)) == graph
    for other in (graph.simplify(), graph.recognise(), graph.differentiate(), graph.transform(), graph.expand()):
        other.check()
    return graph


def double(x):
    return x * 2.0


def twice(x):
    return x + x


X3 = tg.f32[3]


# what is found --------------------------------------------------------------------------------------------------------


def test_several_occurrences_and_their_lines():
    graph = tg.trace(lambda x: tg.exp(x * 2.0) + tg.sin(x * 2.0), X3)
    after = sound(graph.rewrite(double, twice))
    assert ops(after) == ["add", "exp", "add", "sin", "add"]
    assert after.explain().counts() == {("rewrite", "double → twice"): 2}
    assert told(after).count("test_rewriting.py:") == 2
    assert after.rewrite(double, twice) == after


@pytest.mark.parametrize(
    ("function", "types", "before", "found"),
    [
        (lambda a, b: b * a + 1.0, [X3, X3], lambda x, y: x * y + 1.0, 1),
        (lambda a, b: 1.0 + b * a, [X3, X3], lambda x, y: x * y + 1.0, 1),
        (lambda a, b: (a + b) * tg.exp(a), [X3, X3], lambda x, y: tg.exp(x) * (y + x), 1),
        (lambda a: a * 3.0 + a * 2.0, [X3], lambda x: x * 2.0, 1),
        (lambda a: a * 2, [X3], lambda x: x * 2.0, 1),
        (lambda a: a * -0.0, [X3], lambda x: x * 0.0, 0),
        (lambda a: a * 3.0, [X3], lambda x, c: x * c, 1),
        (lambda a, s: a * s, [X3, 0.5], lambda x, c: x * c, 1),
        (lambda a: a * tg.tensor([1.0, 2.0, 3.0]), [X3], lambda x, c: x * c, 1),
        (lambda a, b: a - b, [X3, tg.f32[2, 3]], lambda x, y: x - y, 1),
        (lambda a, b: a - b, [X3, X3], lambda x: x - x, 0),
        (lambda a: tg.concatenate([a, a, a[:1]]), [X3], lambda x, y: tg.concatenate([x, x, y]), 1),
        (lambda a: tg.concatenate([a, a]), [X3], lambda x, y, z: tg.concatenate([x, y, z]), 0),
        (lambda a: a.sum(axis=0), [tg.f32[2, 3]], lambda x: x.sum(axis=1), 0),
        (lambda a: a.sum(axis=0) / 2, [tg.f32[2, 3]], lambda x: x.sum(axis=0) / x.shape[0], 1),
        (lambda a: a[0] + a[1:], [tg.f32[2, 3]], lambda x: x[0], 1),
        (lambda a, w, b: tg.relu(a @ w + b), [tg.f32[5, 4], tg.f32[4, 3], X3], lambda x, w, b: tg.relu(x @ w + b), 1),
        (lambda a: tg.exp(a) * tg.exp(a), [X3], lambda x: tg.exp(x) * tg.exp(x), 1),
        (lambda a: a + 1, [tg.i64[3]], lambda x: x + 1.0, 0),
        (lambda a: a, [X3], lambda x: x * 2.0, 0),
        (lambda a: (), [X3], lambda x: x * 2.0, 0),
    ],
)  # fmt: skip
def test_what_stands_there_equation_by_equation(function, types, before, found):
    graph = tg.trace(function, *types)
    after = graph.rewrite(before, lambda *given: tg.alias(before(*given)), exact=True)
    assert sum(eq.op.name == "alias" for eq in after.equations) == found, str(after)
    if not found:
        assert after == graph
        assert "no occurrence" in told(after)


@pytest.mark.parametrize("after_simplify", [False, True])
def test_a_value_computed_twice_is_one_in_another_spelling_too(after_simplify):
    def swish(z):
        return z * tg.sigmoid(z)

    def spelled(x, w):
        return (x @ w) / (1.0 + tg.exp(-(x @ w))) + (x @ w).sum()

    graph = tg.trace(spelled, tg.f32[4, 3], tg.f32[3, 2])
    graph = graph.simplify() if after_simplify else graph
    x, w = tg.ones((4, 3)), tg.tensor([[1.0, -2.0], [0.5, 0.25], [3.0, 1.0]])
    after = sound(graph.rewrite(swish, lambda z: tg.sigmoid(z) * z))
    assert "by behaviour" in str(after.explain()) and not any(eq.op.name == "exp" for eq in after.equations)
    np.testing.assert_allclose(after(x, w).numpy(), graph(x, w).numpy(), rtol=1e-5)
    slope = tg.trace(tg.grad(lambda x, w: spelled(x, w).sum()), tg.f32[4, 3], tg.f32[3, 2])
    after = sound(slope.rewrite(swish, lambda z: tg.sigmoid(z) * z))
    np.testing.assert_allclose(after(x, w).numpy(), slope(x, w).numpy(), rtol=1e-5)


def test_a_value_computed_twice_is_one():
    graph = tg.trace(lambda x: tg.exp(x) / (1.0 + tg.exp(x)), X3)
    after = sound(graph.rewrite(lambda x: (e := tg.exp(x)) / (1.0 + e), tg.sigmoid, equal=False))
    assert ops(after) == ["sigmoid"]


@pytest.mark.parametrize(
    "spelling",
    [
        lambda x: tg.exp(x) / tg.exp(x).sum(axis=-1, keepdims=True),
        lambda x: tg.exp(x) * (1.0 / tg.exp(x).sum(axis=-1, keepdims=True)),
        lambda x: (lambda e: e / e.sum(axis=-1, keepdims=True))(tg.exp(x - x.max(axis=-1, keepdims=True))),
    ],
)
def test_another_spelling_behaves_alike(spelling):
    graph = tg.trace(lambda x: spelling(x) * 3.0, tg.f32[4, 5])
    after = sound(graph.rewrite(lambda x: tg.softmax(x, axis=-1), lambda x: tg.exp(tg.log_softmax(x, axis=-1))))
    assert ops(after) == ["log_softmax", "exp", "multiply"]
    assert "by behaviour" in told(after)
    assert "log_softmax" not in ops(graph.rewrite(lambda x: tg.softmax(x, axis=-1), tg.log_softmax, exact=True))


@pytest.mark.parametrize("spelling", [lambda x: x + x, lambda x: x * 4.0 - x - x, lambda x: x / 0.5])
def test_linear_spellings_too(spelling):
    graph = tg.trace(lambda x: tg.exp(spelling(x)), X3)
    after = graph.rewrite(lambda x: x * 2.0, lambda x: tg.alias(x) * 2.0)
    assert ops(after) == ["alias", "multiply", "exp"]


def test_a_number_of_another_spelling():
    graph = tg.trace(lambda x: (tg.exp(x * 0.7) + 1.0) / 1.0, X3)
    after = graph.rewrite(lambda x, k: tg.exp(k * x) + 1.0, lambda x, k: 1.0 + tg.exp(x * k), exact=False)
    assert "0.7" in str(after)


def test_what_a_function_reads_stands_for_itself():
    model = nn.Sequential(nn.Linear(3, 3, seed=0), nn.Linear(3, 3, seed=1))
    graph = tg.trace(model, tg.f32[2, 3])
    after = graph.rewrite(lambda x: x @ model[1].weight, lambda x: tg.alias(x) @ model[1].weight)
    assert ops(after) == ["matmul", "add", "alias", "matmul", "add"]
    held = tg.tensor([1.0, 2.0, 3.0])
    graph = tg.trace(lambda x: x * held + x * tg.tensor([1.0, 2.0, 4.0]), X3)
    assert ops(graph.rewrite(lambda x: x * held, lambda x: x / held, equal=False)).count("divide") == 1


@pytest.mark.parametrize("how", ["text", "graph", "template"])
def test_sides_are_texts_and_graphs_too(how):
    graph = tg.trace(lambda x: tg.exp(x) + 1.0, X3)
    size = "N" if how == "template" else "3"
    sides = [f"def old(x: f32[{size}]): return exp(x)", f"def new(x: f32[{size}]): return exp(x * 0.5) ** 2.0"]
    after = graph.rewrite(*(map(tg.parse, sides) if how == "graph" else sides))
    assert ops(after) == ["multiply", "exp", "power", "add"] or ops(after) == ["multiply", "exp", "square", "add"]
    assert "old → new" in told(after)


# what is put in -------------------------------------------------------------------------------------------------------


def test_overlapping_occurrences_take_the_first():
    graph = tg.trace(lambda x: tg.negative(-tg.negative(-tg.negative(x))), X3)
    after = sound(graph.rewrite(lambda x: tg.negative(-x), lambda x: x))
    assert ops(after) == ["negative"]
    assert "shares equations" in told(after)


def test_what_is_put_in_is_not_searched_again():
    graph = tg.trace(lambda x: tg.exp(tg.exp(x)), X3)
    after = graph.rewrite(tg.exp, lambda x: tg.exp(x) * 1.0)
    assert ops(after) == ["exp", "multiply"] * 2
    standing = graph.rewrite(tg.exp, tg.exp)
    assert standing == graph and "after stands there already" in told(standing)


def test_several_results():
    def f(x):
        return tg.sin(x) * tg.cos(x) + tg.sin(x * 2.0)

    graph = tg.trace(f, X3)
    after = sound(graph.rewrite(lambda x: (tg.sin(x), tg.cos(x)), lambda x: (tg.sin(-x) * -1.0, tg.cos(-x))))
    assert ops(after).count("cos") == 1
    x = tg.tensor([0.1, 0.2, 0.3])
    assert np.allclose(after(x), f(x))


def test_results_that_depend_on_each_other_through_others_are_refused():
    def f(x):
        s = tg.sin(x)
        return tg.cos(s * 2.0)

    with pytest.raises(ValueError, match="depends on what it gives"):
        tg.trace(f, X3).rewrite(
            lambda x, y: (tg.sin(x), tg.cos(y)), lambda x, y: (tg.sin(x) + y, tg.cos(y)), equal=False
        )


def test_one_result_of_an_op_that_gives_several():
    graph = tg.trace(lambda x, g, b: tg.batch_norm(x, g, b), tg.f32[4, 3], X3, X3)
    after = sound(
        graph.rewrite(lambda x, g, b: tg.batch_norm(x, g, b)[0], lambda x, g, b: tg.alias(tg.batch_norm(x, g, b)[0]))
    )
    args = [tg.tensor(np.random.default_rng(i).normal(size=s), "float32") for i, s in enumerate(((4, 3), 3, 3))]
    for a, b in zip(after(*args), graph(*args), strict=True):
        assert_same(a.numpy(), b.numpy())


def test_values_read_elsewhere_stay():
    def f(x):
        h = tg.exp(x)
        return tg.log(h + 1.0), h

    after = sound(tg.trace(f, X3).rewrite(lambda x: tg.log(tg.exp(x) + 1.0), tg.softplus, equal=False))
    assert sorted(ops(after)) == ["exp", "softplus"]
    assert "h is read elsewhere and stays" in told(after)


def test_a_gradient_asked_about_a_value_inside_refuses():
    def f(x):
        h = x * 3.0
        return tg.gradients(tg.exp(h).sum(), [h])[0]

    graph = tg.trace(f, tg.tensor([1.0, 2.0], requires_grad=True))
    with pytest.raises(ValueError, match="a gradient is asked with respect to h"):
        graph.rewrite(lambda x: tg.exp(x * 3.0), lambda x: tg.exp(x + x + x))


def test_gradients_go_through_what_was_put_in():
    graph = tg.trace(lambda x: tg.exp(x * 2.0).sum(), X3)
    after = graph.rewrite(double, twice)
    x = tg.tensor([0.1, 0.2, 0.3])
    assert np.allclose(after.grad()(x), graph.grad()(x))
    step = tg.trace(tg.grad(lambda x: tg.exp(x * 2.0).sum()), X3)
    assert np.allclose(sound(step.rewrite(double, twice))(x), step(x))


def test_a_training_step_keeps_its_cells_and_scopes():
    model = nn.Sequential(nn.Linear(4, 8, seed=0), nn.ReLU(), nn.Linear(8, 3, seed=1))
    adam = optim.Adam(model.parameters(), lr=0.01)

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        adam.minimize(loss)
        return loss

    graph = tg.trace(step, tg.f32[5, 4], tg.i64[5])
    after = sound(graph.rewrite(tg.relu, lambda x: tg.maximum(x, 0.0), equal=False))  # at 0 its gradient is 1/2
    assert [c.path for c in after.cells] == [c.path for c in graph.cells]
    assert len(after.writes) == len(graph.writes)
    assert next(eq.scope for eq in after.equations if eq.op.name == "maximum") == "1"
    x, y = np.ones((5, 4), np.float32), np.zeros(5, int)
    assert np.allclose(after.bind()(x, y), tg.softmax_cross_entropy(model(x), y), atol=1) and adam.steps == 1


def test_cells_of_what_is_put_in_join():
    model = nn.Sequential(nn.Linear(4, 4, seed=0), nn.ReLU())
    scale = tg.Parameter(np.full(4, 2.0, np.float32), name="scale")
    graph = tg.trace(model, tg.f32[2, 4])
    after = sound(graph.rewrite(tg.relu, lambda x: tg.relu(x) * scale, equal=False))
    assert [c.path for c in after.cells][-1] == "scale"
    x = np.ones((2, 4), np.float32)
    assert np.allclose(after.bind()(x), model(x) * 2)
    assert np.allclose(after.bind(model, scale)(x), model(x) * 2)


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (tg.relu, tg.gelu, r"differs from before: .*is -?[\d.]+ before and -?[\d.]+ after where x\[\d\] = "),
        (tg.relu, lambda x: tg.where(x > 0, x, 0.0), r"is nan before and 0 after where x\[\d\] = nan"),
        (lambda x: tg.sqrt(x * x), lambda x: x, "differs"),
        (lambda x: x / x, lambda x: 1.0, "nan before and 1 after"),
        (lambda x: tg.exp(tg.log(x)), lambda x: x, "is nan before"),
        (lambda x: tg.log(tg.exp(x)), lambda x: x, "inf before"),
        (tg.exp, lambda x: tg.exp(x).detach(), "the gradient with respect to x"),
        (tg.exp, lambda x: tg.exp(x) * 1.001, "0.1 %"),
        (tg.exp, lambda x: tg.exp(x).sum(), r"gives f32\[\] where before gives f32\[3\]"),
        (tg.exp, lambda x: tg.exp(x).astype("float64"), "gives f64"),
        (tg.exp, lambda x: (tg.exp(x), x), "where before gives"),
        (tg.exp, lambda x: 1 / 0, "ZeroDivisionError"),
        (tg.exp, lambda x: None, "gives nothing where"),
    ],
)
def test_what_differs_is_refused_with_where_and_by_how_much(before, after, words):
    graph = tg.trace(before, X3)
    with pytest.raises(ValueError, match=words):
        graph.rewrite(before, after)


def test_all_is_replaced_where_equality_is_not_asked_and_the_difference_is_told():
    graph = tg.trace(lambda x: tg.relu(x * 1.5), X3)
    after = sound(graph.rewrite(tg.relu, tg.gelu, equal=False))
    assert ops(after) == ["multiply", "gelu"]
    assert "largest difference 0.1" in told(after) and "test_rewriting.py:" in told(after)


def test_some_are_replaced_and_the_others_told():
    graph = tg.trace(lambda x, i: ((x * 2.0) / 2.0, (i * 3) // 3), X3, tg.i64[2])
    after = graph.rewrite(lambda x, c: x * c, lambda x, c: x + x if c == 2 else x, exact=True)
    assert "add" in ops(after) and "refused" in told(after)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (3, tg.exp, "before is a function"),
        (tg.exp, None, "after"),
        (lambda x: x, lambda x: x, "nothing to look for"),
        (lambda x: 1.0, lambda x: x, "nothing to look for"),
        (lambda x: (), lambda x: (), "nothing"),
        (lambda x, y: tg.exp(x), lambda x, y: x, "does not use its argument y"),
        (lambda x: tg.exp(x), lambda x, y: x, "both get the same values"),
        (lambda *a: tg.exp(a[0]), lambda x: x, "names its arguments"),
        (lambda x: undefined(x), lambda x: x, "NameError"),  # noqa: F821
        (lambda x: "text", lambda x: x, "could not be traced"),
    ],
)
def test_hostile_sides(before, after, words):
    with pytest.raises(TypeError, match=words):
        tg.trace(lambda x: tg.exp(x), X3).rewrite(before, after)


def test_hostile_patterns_end():
    chain = tg.trace(lambda x: sum((x * float(i) for i in range(40)), x), X3)

    def many(*names):
        return eval(f"lambda {', '.join(names)}: {' + '.join(names)}")

    after = chain.rewrite(many(*"abcdefgh"), many(*"hgfedcba"), equal=False)
    after.check()

    def deep(x):
        for _ in range(3000):
            x = -x
        return x

    graph = tg.trace(deep, X3)
    assert ops(graph.rewrite(deep, lambda x: x, exact=True)) == []


# on random programs ---------------------------------------------------------------------------------------------------


@given(programs() | programs(differentiable=True))
@examples(40)
def test_random_programs_keep_their_values(program: Program) -> None:
    graph = program.graph()
    with quiet():
        after = graph.rewrite(lambda x: x * 2, twice, exact=True)
        after = after.rewrite(lambda x: x + 1, lambda x: 1 + x, exact=True)
        after = sound(after.rewrite(lambda x, y: x - y, lambda x, y: -(y - x), equal=False))
        for a, b in zip(results(after, program), results(graph, program), strict=True):
            np.testing.assert_array_equal(a, b)
        assert after.rewrite(lambda x: x * 2, twice, exact=True) == after


def results(graph: Graph, program: Program):
    return [np.asarray(leaf) for leaf in flatten(graph(*program.tensors()))[0]]


@given(programs(), st.integers(0, 10**6), st.integers(1, 4))
@examples(60)
def test_any_part_of_a_program_is_found_in_it(program: Program, start: int, length: int) -> None:
    graph = program.graph()
    assume(graph.equations)
    first = start % len(graph.equations)
    last = graph.equations[min(first + length, len(graph.equations)) - 1]
    root = last.outputs[0]
    inside = cone(graph, first, root)
    made = {out for eq in inside for out in eq.outputs}
    read = list(dict.fromkeys(v for eq in inside for v in eq.variables() if v not in made and v not in graph.consts))
    assume(View(graph).live[graph.index.position[root]])
    assume(root in graph.outputs or graph.index.users.get(root))  # of several outputs, one that somebody reads
    assume(all(type(v.aval) is tg.Aval for v in read) and not any(eq.bodies() or eq.is_gradient for eq in inside))
    asked = {x for eq in graph.equations if eq.is_gradient for x in eq.variables()}
    assume(asked.isdisjoint(made - {root}))  # what a gradient is asked of cannot go
    consts = {v: a for v, a in graph.consts.items() if any(v in eq.variables() for eq in inside)}
    part = Graph(tuple(read), (), consts, tuple(inside), (), (root,), listed(len(read)), flatten(0)[1]).check()
    with quiet():
        assert graph.rewrite(part, part) == graph
        after = graph.rewrite(part, lambda *given: tg.alias(part(*given)), equal=False)
        assert "alias" in ops(after)
        for a, b in zip(results(after.check(), program), results(graph, program), strict=True):
            np.testing.assert_array_equal(a, b)


def cone(graph: Graph, first: int, root: Var):
    """The equations from a place on that a value depends on."""
    needed, inside = {root}, []
    for eq in reversed(graph.equations[first:]):
        if not needed.isdisjoint(eq.outputs):
            needed.update(v for v in eq.variables() if not isinstance(v, Literal))
            inside.append(eq)
    return inside[::-1]


def test_an_argument_or_a_cell_that_stays_as_it_is():
    model = nn.Linear(3, 2)
    graph = tg.trace(lambda x: model(x), tg.f32[4, 3])
    for name in ("x", "weight"):
        assert graph.replace_at(name, lambda value: value) == graph


def test_texts_are_read_for_the_types_of_each_place():
    graph = tg.trace(lambda x, w: tg.relu(x @ w) + tg.relu(x.sum()) * 0.5, tg.f32[4, 3], tg.f32[3, 2])
    relu, gelu = "def before(z): return relu(z)", "def after(z): return gelu(z)"
    assert sound(graph.rewrite(relu, gelu, equal=False)) == graph.rewrite(tg.relu, tg.gelu, equal=False)
    product = "def twice(x): return 2 * x\ndef after(é, w):\n    return twice(é) @ w * 0.5"
    assert "2 * x" in str(sound(graph.rewrite("def before(x, w): return x @ w", product)))
    halved = graph.rewrite("def before(z, s): return z * s", "def after(z, s): return z / (1 / s)", equal=False)
    assert "divide" in ops(sound(halved))
    assert "gelu" in ops(sound(graph.replace_at("v1", gelu)))
    for words, before, after in (
        (r"'rleu'; did you mean 'relu'", "def before(z): return rleu(z)", gelu),
        (r"after refuses .f32.4, 2..: ParseError: .*'w' is not known", relu, "def after(z): return gelu(z, w)"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            graph.rewrite(before, after, equal=False)

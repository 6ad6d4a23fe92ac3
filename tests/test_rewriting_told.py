"""What a rewriting tells: near misses where nothing is found, cells that are assigned to, lines in errors."""

import re

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim

X3, TABLE = tg.f32[3], tg.f32[4, 3]


def told(graph, before, after=tg.alias, **how):
    changed = graph.rewrite(before, after, **how)
    assert changed == graph
    return str(changed.explain())


def ops(graph):
    return [eq.op.name for eq in graph.equations]


# where nothing is found -----------------------------------------------------------------------------------------------


def test_what_nothing_depends_on_is_told_so():
    def unread(x):
        tg.relu(x)
        return x * 2.0

    words = told(tg.trace(unread, X3), tg.relu)
    assert "nothing depends on what the graph has of relu" in words and "has no relu" not in words


@pytest.mark.parametrize(
    ("function", "types", "before", "words"),
    [
        (lambda x: tg.softmax(x, axis=0), [TABLE], lambda x: tg.softmax(x), "before has axis=-1 and the graph axis=0"),
        (lambda x: tg.exp(x * 2.0), [X3], lambda x: tg.exp(x * 3.0), "before has 3.0 and the graph 2.0"),
        (lambda x: tg.exp(x), [X3], lambda x: tg.exp(tg.sin(x)), "has 2 ops one behind the other and the graph 1"),
        (lambda x: tg.exp(tg.cos(x)), [X3], lambda x: tg.exp(tg.sin(x)), r"v0 = sin\(x\) and the graph v0 = cos"),
        (lambda x, y: x - y, [X3, X3], lambda x: x - x, "one value in several places, and y is another"),
        (lambda x: x + 1, [tg.i64[3]], lambda x: x + 1.0, r"\(f32\[3\]\) and the graph v0 = x \+ 1 \(i64\[3\]\)"),
        (lambda x: tg.exp(x) + 1.0, [X3], tg.sinh, "the graph has no sinh"),
        (lambda x: tg.exp(x), [X3], lambda a: tg.softmax(a, axis=2), "no values of the types that the graph has: "),
        (lambda x: x, [X3], tg.exp, "takes no values of the types that the graph has"),
    ],
)  # fmt: skip
def test_the_nearest_miss_is_told(function, types, before, words):
    graph = tg.trace(function, *types)
    after = lambda *values: tg.alias(values[0])
    for how in ({}, {"exact": True}, {"equal": False}):
        said = told(graph, before, after, **how)
        assert "f: no change\nrewrite: no change" in said.replace(graph.name, "f", 1) and "no occurrence" in said
        assert re.search(words, said), said


def test_of_several_places_the_nearest_is_told_with_its_line():
    def f(x):
        far = tg.exp(tg.sin(x) * 2.0)
        near = tg.exp(tg.cos(x) * 2.0)
        return far + near

    said = told(tg.trace(f, X3), lambda x: tg.exp(tg.cos(x) * 3.0))
    assert "nearest is near = exp(" in said
    assert f"# test_rewriting_told.py:{f.__code__.co_firstlineno + 2}" in said


def test_what_stands_in_a_fused_op_or_a_loop_is_told():
    graph = tg.trace(tg.scaled_dot_product_attention, *[tg.f32[2, 5, 4]] * 3)
    warmer = lambda x, *, axis: tg.softmax(x, axis=axis), lambda x, *, axis: tg.softmax(x / 2.0, axis=axis)
    assert "inside scaled_dot_product_attention, a fused op: graph.expand(" in told(graph, *warmer, equal=False)
    changed = graph.expand("scaled_dot_product_attention").rewrite(*warmer, equal=False)
    assert ops(changed).count("softmax") == 1 and "largest difference" in str(changed.explain())
    graph = tg.trace(lambda x: tg.scan(lambda h, r: (tg.tanh(h * 2.0 + r), h), tg.zeros(3), x), tg.f32[5, 3])
    said = told(graph, lambda x: tg.tanh(x * 3.0), equal=False)
    assert "in the body of v1 = scan(...) nearest is" in said


def test_a_place_that_was_left_keeps_its_names():
    graph = tg.parse("def f(x: f32[3]):\n    h = exp(x)\n    return relu(h)")
    after = graph.rewrite(lambda x, y=None: tg.relu(x), lambda x: tg.relu(x))
    after = after.rewrite(tg.exp, tg.exp)
    assert after["h", 0] == graph["h"] and "no change" in str(after.explain())


def test_remedies_are_told():
    graph = tg.trace(lambda x, g, b: tg.layer_norm(x, g, b)[0], TABLE, X3, X3)
    with pytest.raises(ValueError, match=r"let before give those alone, as in before\(...\)\[0\] \(traced at"):
        graph.rewrite(lambda x, g, b: tg.layer_norm(x, g, b), lambda x, g, b: tg.rms_norm(x, g), equal=False)
    after = graph.rewrite(lambda x, g, b: tg.layer_norm(x, g, b)[0], lambda x, g, b: tg.rms_norm(x, g), equal=False)
    assert ops(after) == ["rms_norm"]
    with pytest.raises(TypeError, match=r"as random draws do.*replace_at"):
        graph.rewrite(lambda x: tg.random.dropout(x, 0.5), lambda x: x)
    said = told(tg.trace(lambda x: x * 2.0, X3), lambda x: x * 3.0, exact=True)
    assert "3.0 and the graph 2.0 in v0 = x * 2.0" in said


# cells that are assigned to -------------------------------------------------------------------------------------------


def test_one_function_that_assigns_at_several_places():
    last, total = (tg.Buffer(np.zeros((), "float32"), name=name) for name in ("last", "total"))

    def probed(x):
        y = tg.exp(x)
        last.assign(y.mean())
        total.assign(total + y.mean())
        return y

    graph = tg.trace(lambda x: tg.exp(tg.exp(x) * 0.5), X3)
    x = np.array([0.1, 0.2, 0.3], "float32")
    first = np.exp(x).mean()
    second = np.exp(np.exp(x) * 0.5).mean()
    for equal in (True, False):
        for cell in (last, total):
            cell.assign(0.0)
        after = graph.rewrite(tg.exp, probed, equal=equal).check()
        said = str(after.explain())
        assert "assigns to buffer 'last', buffer 'total'" in said, said
        assert "after 1 other place: the last one stands" in said
        np.testing.assert_allclose(after.bind()(x), graph(x), rtol=1e-6)
        np.testing.assert_allclose([last.numpy(), total.numpy()], [second, first + second], rtol=1e-6)
    assert tg.parse(str(after)) == after


def test_what_is_refused_at_one_place_leaves_nothing_of_it():
    here, there = (tg.Buffer(np.zeros((), "float32"), name=name) for name in ("here", "there"))

    def probed(x):
        (here if x.shape == (3,) else there).assign(x.mean())
        return tg.exp(x) if x.shape == (3,) else tg.exp(x).sum()

    graph = tg.trace(lambda x, y: (tg.exp(x), tg.exp(y)), X3, TABLE)
    after = graph.rewrite(tg.exp, probed)
    assert [decl.path for decl in after.cells] == ["here"] and "refused" in str(after.explain())


def test_an_assignment_that_the_graph_makes_itself_is_refused():
    count = tg.Buffer(np.zeros((), "float32"), name="count")

    def f(x):
        count.assign(x.sum())
        return tg.exp(x)

    with pytest.raises(ValueError, match="assigns to buffer 'count', and the graph does that itself"):
        tg.trace(f, X3).rewrite(tg.exp, lambda x: count.assign(x.mean()) or tg.exp(x))


# gradients that are written out ---------------------------------------------------------------------------------------


def test_a_gradient_that_stays_that_of_what_was_replaced_is_told():
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.ReLU(), nn.Linear(4, 2, seed=1))
    sgd = optim.SGD(model.parameters(), lr=0.1)

    def step(x, y):
        loss = tg.softmax_cross_entropy(model(x), y)
        sgd.minimize(loss)
        return loss

    graph = tg.trace(step, tg.f32[5, 3], tg.i64[5])
    words = "stay those of what was there: replace first, then differentiate"
    edits = lambda graph: (graph.rewrite(tg.relu, tg.gelu, equal=False), graph.replace_at("1", tg.gelu))
    assert all(words in str(after.explain()) for after in edits(graph.differentiate()))
    assert not any(words in str(after.explain()) for after in edits(graph))
    same = graph.differentiate().rewrite(tg.relu, lambda x: tg.relu(x) * 1.0)
    assert ops(same).count("relu") == 1 and words not in str(same.explain())


# what a side may take -------------------------------------------------------------------------------------------------


def test_a_function_of_many_arguments_finds_its_types():
    def old(x, w, b, m, v, g, s):
        return (tg.conv2d(x, w, b) - m.reshape(-1, 1, 1)) / tg.sqrt(v.reshape(-1, 1, 1) + 1e-5) * g + s

    def new(x, w, b, m, v, g, s):
        return old(x, w, b, m, v, tg.alias(g), s)

    types = [tg.f32[2, 3, 8, 8], tg.f32[4, 3, 3, 3], tg.f32[4], tg.f32[4], tg.f32[4], tg.f32[4, 1, 1], tg.f32[4, 1, 1]]
    graph = tg.trace(lambda x, *rest: tg.relu(old(tg.exp(x), *rest)), *types)
    assert ops(graph.rewrite(old, new, exact=True)).count("alias") == 1


def test_one_result_of_a_fused_op_whose_arguments_it_does_not_all_need():
    graph = tg.trace(lambda x, g, b: tg.batch_norm(x, g, b), TABLE, X3, X3)  # the mean is none of gamma's
    mean = lambda x, g, b: tg.batch_norm(x, g, b)[1]
    after = graph.rewrite(mean, lambda x, g, b: tg.alias(mean(x, g, b)))
    assert "alias" in ops(after) and "batch_norm" in ops(after)


def test_arrays_without_numbers_are_equal():
    graph = tg.trace(lambda x: tg.exp(x) * 2.0, tg.f32[0, 3])
    assert ops(graph.rewrite(lambda x: x * 2.0, lambda x: x + x)) == ["exp", "add"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (x * 5.0 - 2.0) * (3.0 * (y * 7.0)) + 1.0,
        lambda x, y: ((x + 5.0) - 2.0) * (3.0 * (y * -1.0)) / 4.0,
        lambda x, y: 4.0 * ((x * -1.0 - 2.0) * (3.0 * (y + 1.0))),
    ],
)
def test_a_window_between_numbers_behaves_as_it_does(function):
    graph = tg.trace(function, X3, X3)
    shifted = lambda x, y, a, b: (b * y) * (x + -a)
    assert ops(graph.rewrite(shifted, lambda x, y, a, b: tg.alias(shifted(x, y, a, b)))).count("alias") == 1


# by name --------------------------------------------------------------------------------------------------------------

TEXT = """
def f(x: f32[2, 3], w: f32[3, 4]):
    h = relu(x @ w)
    return h.sum()
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x.sum(), r"gives f32\[\] where f32\[2, 4\] stood \(traced at <text>:3\)"),
        (lambda x: x.astype("float64"), r"\.astype\('float32'\) makes it that \(traced at <text>:3\)"),
        (lambda x: (x, x), r"gives 2 values where one value stood \(traced at <text>:3\)"),
        (lambda x: "x", r"gives str where a tensor of f32\[2, 4\] stood \(traced at <text>:3\)"),
        (lambda x, y: x, r"in the place of h \(traced at <text>:3\) is called with \(v0: f32\[2, 4\]\)"),
    ],
)
def test_errors_of_a_place_have_its_line(function, words):
    with pytest.raises((TypeError, ValueError), match=words):
        tg.parse(TEXT).replace_at("h", function)
    with pytest.raises(ValueError, match=r"differs from h: .* nevertheless \(traced at <text>:3\)"):
        tg.parse(TEXT).replace_at("h", tg.gelu, equal=True)


def test_a_text_stands_in_the_place_of_a_part():
    graph = tg.parse(TEXT)
    for text in ("def g(x: f32[2, 4]): return gelu(x)", "def g(x: f32[N, M]): return gelu(x)"):
        assert ops(graph.replace_at("h", text)) == ["matmul", "gelu", "sum"]
    with pytest.raises(tg.ParseError, match="no op is called 'gelo'; did you mean 'gelu'"):
        graph.replace_at("h", "def g(x: f32[2, 4]): return gelo(x)")


TIED = """
def Tokens(ids: i64[N], *, weight: Parameter[f32[7, 3]]):
    return weight[ids]

def f(ids: i64[N], *, tokens: Tokens, head: Linear[3, 7]) -> f32[N, 7]:
    return head(tokens(ids))
"""


class Tied(nn.Module):
    def __init__(self):
        self.tokens, self.head = nn.Embedding(7, 3, seed=0), nn.Linear(3, 7, seed=1)

    def forward(self, ids):
        return self.head(self.tokens(ids))


@pytest.mark.parametrize("how", ["text", "template", "live"])
def test_any_cell_of_the_graph_is_an_argument_by_its_name(how):
    graph = {"text": tg.parse(TIED).at(N=5), "template": tg.parse(TIED), "live": tg.trace(Tied(), tg.i64[5])}[how]
    after = graph.replace_at("head", lambda x, bias, tokens_weight: x @ tokens_weight.T + bias)
    assert "largest difference" in str(after.explain())
    after = after.at(N=5) if how == "template" else after
    (tied,) = [eq for eq in after.equations if eq.op.name == "transpose"]
    assert next(decl.path for decl in after.cells if decl.var is tied.inputs[0]) == "tokens.weight"


def test_the_parts_of_a_template_are_listed():
    template = tg.parse(TIED)
    assert template.modules == {"tokens": "Tokens", "head": "Linear"}
    assert [decl.path for decl in template.cells] == ["tokens.weight", "head.weight", "head.bias"]
    for path, kind in template.modules.items():
        if kind == "Linear":
            template = template.replace_at(path, lambda x, weight, bias: x @ tg.round(weight) + bias)
    assert "round" in ops(template.at(N=2))


def test_a_part_of_a_template_is_called_in_what_stands_for_it():
    model = nn.Sequential(nn.Linear(3, 4, seed=0), nn.ReLU(), nn.Linear(4, 2, seed=1))
    graph = tg.trace(model, tg.f32["N", 3])
    for template in (graph, tg.parse(str(graph))):
        part = template["0"]
        after = template.replace_at("0", lambda x, part=part: part(x) * 1.0, equal=True)
        assert ops(after.at(N=2)) == ["matmul", "add", "multiply", "relu", "matmul", "add"]
        assert [decl.path for decl in after.at(N=2).cells] == [decl.path for decl in template.at(N=2).cells]
    with pytest.raises(TypeError, match="this graph reads 2 cells"):
        graph["0"](tg.ones((2, 3)))

"""What pictures say in the user's notation: operands that come twice, keys, marks of dtypes, names of templates."""

import re
from typing import Any

import pytest
from large_programs import PROGRAMS

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.viz import Drawing, draw


def at(drawing: Drawing, path: str) -> Any:
    return next(node for node in drawing.nodes if node.path == path)


def ends(drawing: Drawing) -> list[tuple[str, str]]:
    paths = {node.id: node.path for node in drawing.nodes}
    return [(paths[edge.tail], paths[edge.head]) for edge in drawing.edges]


def said(node: Any) -> list[str]:
    return [f"{row.text} {row.value}".strip() for row in node.rows]


# ---- the same operand twice


@pytest.mark.parametrize("op", [lambda x: x * x, lambda x: x - x, lambda x: x + x, tg.maximum, lambda x: x @ x])
def test_an_operand_that_comes_twice_has_two_lines(op):
    two = op is tg.maximum
    drawing = draw(lambda x: op(x, x) if two else op(x), tg.spec((3, 3)), level="op")
    box = next(node for node in drawing.nodes if node.members)
    assert ends(drawing).count(("inputs/x", box.path)) == 2
    assert "<- x, x" in drawing.text()
    assert drawing.dot().count("n0 -> n1") == 2 and drawing.mermaid().count("n0 --> n1") == 2


def test_two_parts_of_one_value_are_two_lines_and_a_module_has_one():
    def halves(x: Any) -> Any:
        a, b = tg.split(x, (2, 2))
        return a * b

    assert ends(draw(halves, tg.spec((4,)), level="op")).count(("split", "multiply")) == 2
    model = nn.Sequential(nn.Linear(3, 3, seed=0), nn.Linear(3, 3, seed=1))
    drawing = draw(lambda x: model(x * x), tg.spec((2, 3)), level="module")
    assert [pair for pair in ends(drawing) if pair[1] in ("0", "1")] == [("multiply", "0"), ("0", "1")]


def test_in_a_template_too_and_once_for_all_repeats():
    def f(x: Any) -> Any:
        for _ in range(12):
            x = tg.tanh(x * x)
        return x

    drawing = draw(f, tg.spec((3,)), level="op")
    assert [pair for pair in ends(drawing) if pair == ("multiply", "tanh")] == [("multiply", "tanh")]
    assert len(drawing.groups) == 1 and "multiply, tanh x12" in drawing.text() + drawing.groups[0].rows[0].text


# ---- the mark of a dtype


def marked(function: Any, *specs: Any) -> set[str]:
    drawing = draw(function, *specs, level="op")
    return {node.path for node in drawing.nodes if any(text.endswith("!") for text in node.types)}


def test_only_a_float_of_another_width_or_an_integer_that_meets_a_float_is_marked():
    x, d, n, h = tg.spec((3,)), tg.spec((3,), "float64"), tg.spec((3,), "int64"), tg.spec((3,), "float16")
    assert marked(lambda x, d: x * d, x, d) == {"multiply"}
    assert marked(lambda x, h: tg.where(x > 0, x, h), x, h) == {"where"}
    assert marked(lambda x: x.astype("float64"), x) == {"astype"} == marked(lambda d: d.astype("float16"), d)
    assert marked(lambda x, n: x * n, x, n) == {"multiply"}
    assert marked(lambda x, n: tg.concatenate([x, n]), x, n) == {"concatenate"}


def test_comparisons_places_masks_and_labels_are_not_marked():
    x, n = tg.spec((3, 4)), tg.spec((3,), "int64")
    for function in (
        lambda x, n: x > 0.0,
        lambda x, n: tg.argmax(x, axis=1),
        lambda x, n: (x > 0).astype("float32") * x,
        lambda x, n: x * (x > 0),
        lambda x, n: tg.where(x > 0, x, 0.0),
        lambda x, n: x[n],
        lambda x, n: tg.isnan(x),
        lambda x, n: (x > 0).sum(),
        lambda x, n: x.astype("int64"),
        lambda x, n: tg.softmax_cross_entropy(x, n),
        lambda x, n: n.mean(),
        lambda x, n: n.astype("float32"),
        lambda x, n: tg.one_hot(n, 4),
        lambda x, n: tg.take_along_axis(x, tg.argmax(x, axis=1, keepdims=True), axis=1),
    ):
        assert marked(function, x, n) == set()


# ---- keys


def titles(function: Any, *specs: Any) -> list[str]:
    return [node.title for node in draw(function, *specs, level="op").nodes if node.members]


def test_an_index_is_written_as_the_user_wrote_it():
    emb, x = tg.spec((5, 6)), tg.spec((4,), "int64")
    written = {
        "emb[x]": lambda emb, x: emb[x],
        "emb[0]": lambda emb, x: emb[0],
        "emb[:, 1:3]": lambda emb, x: emb[:, 1:3],
        "emb[..., None]": lambda emb, x: emb[..., None],
        "emb[1:2, x]": lambda emb, x: emb[1:2, x],
        "emb[::2]": lambda emb, x: emb[::2],
        "emb[x, x]": lambda emb, x: emb[x, x],
        "emb[-1]": lambda emb, x: emb[-1],
    }
    for text, function in written.items():
        assert titles(function, emb, x) == [text]
    drawing = draw(written["emb[x]"], emb, x, level="op")
    assert "emb[x]" in drawing.text() and "key" not in drawing.text() + drawing.dot() and "index" not in drawing.dot()
    put = draw(lambda emb, x: emb.at[x, 2:4].set(0.0), emb, x, level="op")
    assert any("at [x, 2:4]" in said(node) for node in put.nodes) and "'slice'" not in put.text()


def test_the_keys_of_repeats_have_one_letter():
    def rows(xs: Any, t: Any) -> Any:
        return tg.stack([xs[i] for i in range(20)])

    drawing = draw(rows, tg.spec((20, 3)), tg.spec((2,)), level="op")
    assert drawing.groups[0].rows[0].text == "xs[t] x20"
    assert said(at(drawing, "getitem"))[:2] == ["xs[t]", "t = 0 ... 19"]

    def windows(xs: Any) -> Any:
        return tg.stack([tg.tanh(xs[:, 2 * i : 2 * i + 3, 0]) for i in range(12)])

    drawing = draw(windows, tg.spec((4, 30, 2)), level="op")
    assert said(at(drawing, "getitem"))[:2] == ["xs[:, t:t+3, 0]", "t = 0, 2 ... 22"]
    back = draw(lambda t: tg.stack([tg.tanh(t[9 - i]) for i in range(9)]), tg.spec((20, 3)), level="op")
    assert said(at(back, "getitem"))[:2] == ["t[n]", "n = 9, 8 ... 1"]


class Again(nn.Module):
    def __init__(self) -> None:
        self.layers = nn.Sequential(nn.Linear(8, 8, seed=0), nn.ReLU())

    def forward(self, x: Any) -> Any:
        for _ in range(20):
            x = self.layers(x)
        return x


def test_calls_of_one_module_are_called_by_its_title():
    drawing = draw(Again(), tg.spec((4, 8)), level="module")
    assert [group.rows[0].text for group in drawing.groups] == ["Sequential layers x20"]


def test_turns_within_one_call_are_no_calls_of_it():
    class Alternating(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Linear(4, 4, seed=0), nn.Linear(4, 4, seed=1)

        def forward(self, x):
            for _ in range(4):
                x = tg.tanh(self.b(tg.tanh(self.a(x))))
            return x

    for level in ("module", "op"):
        (group,) = (g for g in draw(Alternating(), tg.spec((2, 4)), level=level).groups if g.count > 1)
        assert group.rows[0].text in ("for _ in range(4)", "a to b x4")


def test_ops_that_repeat_are_called_by_their_names():
    def f(x: Any) -> Any:
        for _ in range(10):
            x = tg.tanh(x) * 2.0
        return x

    assert [group.rows[0].text for group in draw(f, tg.spec((3,)), level="op").groups] == ["tanh, multiply x10"]


class Product(nn.Module):
    def __init__(self):
        self.weight = tg.Parameter(tg.ones((3, 3)))

    def forward(self, a, b, rest=()):
        return (a @ self.weight) * tg.tanh(b) * len(rest)


class Twice(nn.Module):
    def __init__(self, call):
        self.product, self.call = Product(), call

    def forward(self, x):
        return self.call(self.product, x) + 1.0


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (lambda f, x: f(x, x), 2),
        (lambda f, x: f(x, b=x), 2),
        (lambda f, x: f(x, x, rest=[x, {"again": x}]), 4),
        (lambda f, x: f(x, 2.0), 1),
        (lambda f, x: (lambda y: f(y, y))(tg.exp(x)), 2),
    ],
)
def test_a_module_that_is_handed_a_value_twice_has_two_lines(call, lines):
    for level in ("module", "training"):
        drawing = tg.draw(Twice(call), tg.spec((2, 3)), level=level)
        module = next(node.id for node in drawing.nodes if node.path == "product" and node.role == "module")
        coming = [edge for edge in drawing.edges if edge.head == module]
        assert len(coming) == lines and len({edge.tail for edge in coming}) == 1
    drawing = tg.draw(Twice(call), tg.spec((2, 3)), depth=1)
    (line,) = [line for line in drawing.text().splitlines() if line.startswith("product ")]
    tail = "exp" if "exp" in drawing.text() else "x"
    assert re.search(rf"<- {', '.join([tail] * lines)}(  |$)", line)


def test_repeats_that_are_handed_a_value_twice_have_two_lines_from_their_point():
    def run(x):
        for product in products:
            x = product(x, x)
        return x

    products = [Product() for _ in range(5)]
    drawing = tg.draw(run, tg.spec((2, 3)), level="module")
    point = next(node.id for node in drawing.nodes if node.role == "entry")
    assert len([edge for edge in drawing.edges if edge.tail == point]) == 2
    assert len([edge for edge in drawing.edges if edge.head == point]) == 2  # from outside, and back


# ---- long names


LONG = "a" * 300


def named_long(x):
    with tg.scope(LONG):
        y = tg.tanh(x) * 2
    with tg.scope(f"{LONG[:150]}b{LONG[150:]}"):
        z = tg.tanh(y)
    return tg.where(x > 0, y, z) + z


def test_columns_of_long_names_are_cut_in_the_middle():
    drawing = tg.draw(named_long, tg.spec((3,)))
    lines = drawing.text().splitlines()[2:]
    words = [word.rstrip(",") for line in lines for word in line.split() if "aaa" in word]
    assert words and all(len(word) <= 64 and "..." in word for word in words)
    names = [line.split()[0] for line in lines]
    assert len(set(names)) == len(names)  # two that are cut to the same are numbered
    operands = {word for line in lines if "<-" in line for word in re.split(r"<- |, |  +", line)[1:] if "..." in word}
    assert {word for word in operands if "/" in word} <= set(names)
    assert [line for line in lines if line.startswith("x ")] == [f"{'x':{max(map(len, names))}}  3 f32   input"]


def test_a_line_of_many_long_operands_pads_no_other():
    def call(*xs):
        return tg.concatenate(list(xs)) * 2.0

    names = [f"{letter * 50}" for letter in "abcd"]
    scope = {"call": call}
    exec(f"def f({', '.join(names)}):\n    return call({', '.join(names)})", scope)
    lines = tg.draw(scope["f"], *[tg.spec((3,))] * 4).text().splitlines()
    (joined,) = [line for line in lines if line.startswith("concatenate")]
    assert all(name in joined for name in names) and len(joined) > 200
    assert max(len(line) for line in lines if line != joined) <= 100


def test_a_setting_of_another_width_changes_no_dtype():
    def alarms(drawing: Drawing) -> list[str]:
        types = [text for node in drawing.nodes for text in node.types]
        rows = [row.text for part in (*drawing.nodes, *drawing.edges) for row in part.rows if row.style == "warning"]
        return [text for text in (*types, *rows) if text.endswith("!")]

    assert alarms(draw(PROGRAMS["transformer step"](), level="op")) == []  # gradients clipped by a norm kept as f64
    assert alarms(draw(lambda x, y: tg.tanh(x * y), tg.f32[3], tg.f64[3], level="op")) == ["3 f64 !"] * 2

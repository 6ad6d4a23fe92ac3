"""Texts written by hand: what they may hold, what they mean, and what is said of those that are wrong."""

import dataclasses
import subprocess
import sys
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.files import FileFormatError
from tensorgraph.graph import Graph


def parse_body(body: str, arguments: str = "x: f32[3], y: f32[2, 3], n: i64[3]") -> Graph:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return tg.parse(f"def f({arguments}):\n{lines}")


class Point(NamedTuple):
    x: object
    y: object


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("x * 2.0 + 1", lambda x, y, n: x * 2.0 + 1),
        ("-x - (-x) ** 2", lambda x, y, n: -x - (-x) ** 2),
        ("2 ** x / (x + 3.5) // 1.5 % 2", lambda x, y, n: 2**x / (x + 3.5) // 1.5 % 2),
        ("(x > 0) & ~(y <= x) | (x == 1.0)", lambda x, y, n: (x > 0) & ~(y <= x) | (x == 1.0)),
        ("y @ x", lambda x, y, n: y @ x),
        ("y.T @ y", lambda x, y, n: y.T @ y),
        ("y.sum(axis=0, keepdims=True)", lambda x, y, n: y.sum(axis=0, keepdims=True)),
        ("tg.relu(y).mean()", lambda x, y, n: tg.relu(y).mean()),
        ("y[0, ::-1] + y[1][None, :, None]", lambda x, y, n: y[0, ::-1] + y[1][None, :, None]),
        ("x[n] * x[..., [0, 1, 1]]", lambda x, y, n: x[n] * x[..., [0, 1, 1]]),
        ("x.at[1:].set(x[0]).at[n].add(1.0)", lambda x, y, n: x.at[1:].set(x[0]).at[n].add(1.0)),
        ("x.reshape(3, 1).reshape((1, 3))", lambda x, y, n: x.reshape(3, 1).reshape((1, 3))),
        ("stack([x, y[0]], axis=1)", lambda x, y, n: tg.stack([x, y[0]], axis=1)),
        ("concatenate([x, x[:0]])", lambda x, y, n: tg.concatenate([x, x[:0]])),
        ("softmax(y, axis=0, impl='composed')", lambda x, y, n: tg.softmax(y, axis=0, impl="composed")),
        ('x * float("-inf") + float("nan")', lambda x, y, n: x * float("-inf") + float("nan")),
        ("x * (1 / 8 - 0.5)", lambda x, y, n: x * (1 / 8 - 0.5)),
        ("x / 8 ** 0.5 * 2 ** -3", lambda x, y, n: x / 8**0.5 * 2**-3),
        ("split(x, (1, 2))[1]", lambda x, y, n: tg.split(x, (1, 2))[1]),
        ("zeros((2, 3)) + x.astype('float64')", lambda x, y, n: tg.zeros((2, 3)) + x.astype("float64")),
        ("x + tensor([1.0, -0.0, 2.5], 'float32')", lambda x, y, n: x + tg.tensor([1.0, -0.0, 2.5])),
        ("x.detach()", lambda x, y, n: x.detach()),
    ],
)
def test_an_expression_means_what_python_means(text, function):
    graph = parse_body(f"return {text}")
    assert graph == tg.trace(function, tg.f32[3], tg.f32[2, 3], tg.i64[3])
    values = tg.tensor([1.0, -2.0, 0.5]), tg.tensor(np.arange(6.0).reshape(2, 3), "float32"), tg.tensor([2, 0, 1])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(graph(*values).numpy(), function(*values).numpy())


def test_statements():
    graph = parse_body(
        '"""What it does."""\n'
        "a, b = split(y, (1, 1))\n"
        "(c,) = split(x, (3,))\n"
        "parts = split(x, (1, 2))\n"
        "d: f32[2] = parts[1]\n"
        "with scope('outer'):\n"
        "    with scope('inner', 'Inner'):\n"
        "        e = a * b\n"
        "    e = e + c\n"
        "return {'e': e, 'd': [d, 2.5, None], 'x': (x,)}"
    )
    assert [eq.scope for eq in graph.equations] == ["", "", "", "outer.inner", "outer"]
    assert graph.modules == {"outer.inner": "Inner"}
    found = graph(tg.ones(3), tg.ones((2, 3)), tg.tensor([0, 1, 2]))
    assert found["d"][1:] == [2.5, None] and found["x"][0].shape == (3,) and found["e"].shape == (1, 3)
    assert [eq.source.line for eq in graph.equations] == [3, 4, 5, 9, 10]


def test_nested_arguments_and_named_tuples():
    text = (
        "def f(p: Point(x=f32[2], y=[f32, (i64,)]), q: OrderedDict({'a': f32}), k: Literal['sum'], z: None) -> "
        "Point(x=f32[2], y=f32):\n    return Point(x=p.x * q['a'], y=p.y[0] + p.y[1][0])"
    )
    graph = tg.parse(text, types=[Point])
    point = Point(tg.tensor([1.0, 2.0]), [tg.tensor(3.0), (tg.tensor(4),)])
    found = graph(point, OrderedDict(a=tg.tensor(2.0)), "sum", None)
    assert isinstance(found, Point) and found.x.tolist() == [2.0, 4.0] and float(found.y) == 7.0
    assert tg.parse(str(graph), types=[Point]) == graph
    with pytest.raises(tg.ParseError, match="Point is no type that is known here; pass named tuples"):
        tg.parse(text)
    with pytest.raises(ValueError, match="argument 4 is static"):
        graph(point, OrderedDict(a=tg.tensor(2.0)), "mean", None)


def test_cells():
    graph = tg.parse(
        "def f(x: f32[2], *, w: Parameter['a.w', f32[2]] = normal(std=0.5), f: Frozen[i32[2]] = zeros(),\n"
        "      s: Buffer[u64[3]] = key(seed=3), c: Buffer[f32]):\n"
        "    u, after = uniform(s, (2,), dtype='float32')\n"
        "    before = c.read()\n"
        "    c.assign(c + x.sum())\n"
        "    s.assign(after)\n"
        "    return w * x + u, before"
    )
    assert [(c.path, c.kind, c.requires_grad, c.initialiser) for c in graph.cells] == [
        ("a.w", "parameter", True, "normal(std=0.5)"), ("f", "parameter", False, "zeros()"),
        ("s", "buffer", False, "key(seed=3)"), ("c", "buffer", False, None),
    ]  # fmt: skip
    assert [w.cell.name for w in graph.writes] == ["c", "s"]
    assert tg.parse(str(graph)) == graph
    state = {"a.w": tg.ones(2), "f": tg.zeros(2, dtype="int32"), "s": tg.random.key(0), "c": 5.0}
    (_, before), after = graph(tg.ones(2), state=state)
    assert (float(before), float(after["c"])) == (5.0, 7.0)


def test_a_swap_of_cells_keeps_the_values_at_entry():
    a, b = tg.Buffer([1.0], name="a"), tg.Buffer([2.0], name="b")

    def swap(x):
        first, second = a.read(), b.read()
        a.assign(second)
        b.assign(first)
        return first + x

    graph = tg.trace(swap, tg.f32[1])
    assert tg.parse(str(graph)) == graph
    space = tg.text.namespace()
    exec(str(graph), space)
    space["swap"](tg.tensor([1.0]), a=a, b=b)
    assert (a.tolist(), b.tolist()) == ([2.0], [1.0])


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ("return rleu(x)", (2, 12), "no op is called 'rleu'; did you mean 'relu'"),
        ("return relu(repeat(x, 2))", (2, 17), r"'repeat': tg.repeat\(x, repeats\) is made of ops"),
        ("return x.sun()", (2, 12), "no method 'sun' here; did you mean 'sum'"),
        ("return softmax(x, axsi=0)", (2, 23), "no argument 'axsi'; did you mean 'axis'"),
        ("return x + y[0] + zz", (2, 23), "'zz' is not known here"),
        ("return x + x[:2]", (2, 12), r"add\(a: f32\[3\], b: f32\[2\]\): shapes .* do not broadcast"),
        ("a, b = x + 1\nreturn a", (2, 5), "expected 2 values, got one"),
        ("a: f32[2] = x\nreturn a", (2, 5), r"declared f32\[2\], but x is f32\[3\]"),
        ("x.assign(x)\nreturn x", (2, 5), "only cells are assigned to"),
        ("relu(x)\nreturn x", (2, 5), "the value of relu\\(x\\) goes nowhere"),
        ("x += 1\nreturn x", (2, 5), "tensors do not change: write x = x"),
        ("if x: return x", (2, 5), "use where"),
        ("for i in x: pass\nreturn x", (2, 14), "x is a tensor: write the steps out"),
        ("return x if x else y", (2, 12), "use where"),
        ("return x and y", (2, 12), "use logical_and"),
        ("return 0 < x < 1", (2, 12), "one comparison at a time"),
        ("return x[0.5]", (2, 12), "an index holds integers"),
        ("return x[x]", (2, 12), "arrays used as indices must be of integer"),
        ("return gradients(x, x)", (2, 12), "a y of one element is needed"),
        ("return gradients(x.sum(), n)", (2, 12), "an x must be of floats"),
        ("return split(x, (1, 1))", (2, 12), "split"),
        ("return lambda: x", (2, 12), "not part of the language"),
        ("return (x", (2, 12), "not Python"),
        ("y = x * 3", (1, 1), "returns nothing"),
        ("return x\nreturn y", (3, 5), "nothing stands behind return"),
        ("return é", (2, 12), "'é' is not known here"),
        ("a = 'ö' + zz\nreturn x", (2, 15), "'zz' is not known"),
        ("return tensor(['a'])", (2, 12), "nested lists of numbers"),
        ("return array('0123', f32[3])", (2, 12), "pass it as"),
        ("return custom_vjp(forward=a, backward=b)(x)", (2, 12), "functions that stand above it"),
        ("return x ** 2 ** zz", (2, 22), "'zz' is not known"),
        ("return (2 & 3) * x", (2, 13), "arithmetic of literals knows"),
        ("return 2 ** 3000000000 * x", (2, 12), "too large"),
        ("return x * (-2) ** 0.5", (2, 16), "no real number"),
        ("return y + layer_norm(y, x, x)", (2, 12), "add takes a tensor here and got 3 values: give each a name"),
        ("return concatenate(y)", (2, 12), r"takes a list of tensors, concatenate\(\[a, b\]\), got one tensor"),
        ("return x.flatten()", (2, 12), "no method 'flatten'"),
        ("return x * (1 // 0)", (2, 17), "zero"),
    ],
)
def test_errors_say_where_and_what(body, place, message):
    with pytest.raises(tg.ParseError, match=message) as caught:
        parse_body(body)
    error = caught.value
    assert (error.line, error.column) == place
    assert not error.text or error.text in str(error) or len(error.text) > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a function"),
        ("x = 1", "expected a function"),
        ("import os\ndef f(x: f32): return x", "nothing is imported here"),
        ("@jit\ndef f(x: f32): return x", "decorators are not part"),
        ("def f(x): return x", "needs a type"),
        ("def f(x: f32, *y): return x", "cells stand behind a single"),
        ("def f(x: f32 = 1): return x", "cells stand behind a single"),
        ("def f(x: f33[2]): return x", "did you mean 'f32'"),
        ("def f(x: f32[-1]): return x", "not negative"),
        ("def f(x: f32[2.5]): return x", "expected an integer"),
        ("def f(x: Parameter[f32]): return x", "behind the \\*"),
        ("def f(x: f32, *, w: f32): return x", "behind the \\* stand cells"),
        ("def f(x: f32, *, w: Paramter[f32]): return x", "did you mean 'Parameter'"),
        ("def f(x: f32, *, w: Parameter[i64]): return x", "is trained and so of floats"),
        ("def f(x: f32, *, w: Buffer[i64] = x): return x", "starts from an initialiser"),
        ("def f(x: f32, *, w: Buffer['a', f32], v: Buffer['a', f32]): return x", "two cells have the path 'a'"),
        ("def f(x: f32, *, x: Buffer[f32]): return x", "two arguments|duplicate"),
        ("def f(x: f32) -> f32[1]: return x", "declared to return f32\\[1\\], but it returns f32"),
        ("def f(x: f32): return x\ndef f(x: f32): return x", "two functions are called 'f'"),
        ("def f(x: f32, *, w: Buffer[f32]):\n w.assign(x)\n w.assign(x)\n return x", "written twice"),
        ("def f(x: f32, *, w: Buffer[f32[2]]):\n w.assign(x)\n return x", "the cell w is f32\\[2\\], the value f32"),
        ("def f(x: f32, *, w: Buffer[f32]):\n w.assign(2.0)\n return x", "is assigned a tensor of its type"),
        ("def f(x: f32, *, w: Buffer[f32]):\n w = x\n return x", "is a cell: write it by"),
    ],
)
def test_wrong_heads(text, message):
    with pytest.raises(tg.ParseError, match=message):
        tg.parse(text)


def test_a_function_is_chosen_by_name():
    text = "def a(x: f32): return x + 1\n\n\ndef b(x: f32): return x + 2\n"
    assert float(tg.parse(text)(tg.tensor(0.0))) == 2.0
    assert float(tg.parse(text, name="a")(tg.tensor(0.0))) == 1.0
    with pytest.raises(tg.ParseError, match="no function is called 'c'; there is a, b"):
        tg.parse(text, name="c")


def test_names_that_the_text_gives_to_parts_of_arguments_stay():
    graph = tg.parse(
        "def f(batch: {'x': f32[3], 'k': [f32, f32]}):\n    a = batch['x']\n    b, c = batch['k']\n    return a * b"
    )
    assert [var.name for var in graph.inputs] == ["a", "b", "c"]
    text = graph.text(flat=True)
    assert tg.parse(text).text(flat=True) == text and 'a = batch["x"]' in text
    assert str(tg.parse(str(graph))) == str(graph) and 'return batch["x"] * batch["k"][0]' in str(graph)


def test_arguments_that_no_literal_can_say_are_objects():
    model = tg.nn.Linear(3, 2)
    for value in (model, b"ab", 2j, {1, 2}, slice(1, 2), np.dtype("f4"), len):
        graph = tg.trace(lambda x, how: x * 2.0, tg.f32[3], value)
        assert "how: object" in str(graph)
        again = tg.parse(str(graph))
        assert again == graph and hash(again) == hash(graph)
        assert again(tg.ones(3), "anything").tolist() == [2.0, 2.0, 2.0]
        with pytest.raises(ValueError, match="argument 1 is static"):
            graph(tg.ones(3), "anything")
        space = tg.text.namespace()
        exec(str(graph), space)
        assert space["f"](tg.ones(3), value).tolist() == [2.0, 2.0, 2.0]
    assert tg.trace(lambda x, how: x, tg.f32[3], "a") != tg.trace(lambda x, how: x, tg.f32[3], b"a")


def test_not_a_number_keeps_its_bits():
    odd = np.array([0x7FF8000000000ABC, 0xFFF8000000000000], np.uint64).view(np.float64)
    for array in (odd, odd[:1].reshape(()), np.array([0x7FC00001], np.uint32).view(np.float32)):
        graph = tg.trace(lambda x, array=array: x + array, tg.f64[2])
        assert tg.parse(str(graph), tg.text.arrays_of(graph)) == graph
    plain = tg.trace(lambda x: x + np.array([np.nan, 1.0]), tg.f64[2])
    assert tg.text.arrays_of(plain) == {} and tg.parse(str(plain)) == plain


def test_a_start_of_the_users_own_is_no_part_of_the_text():
    def mine(shape):
        return np.ones(shape, np.float32)

    layer = tg.nn.Linear(3, 2, weight_init=mine)
    graph = tg.trace(layer, tg.f32[4, 3])
    assert graph.cells[0].initialiser == "mine()"
    assert "mine" not in str(graph) and tg.parse(str(graph)) == graph
    exec(str(graph), tg.text.namespace())
    with pytest.raises(tg.ParseError, match=r"no initialiser is called 'he_norml'.*did you mean 'he_normal'"):
        tg.parse("def f(x: f32, *, w: Parameter[f32] = he_norml()): return x")


# templates ------------------------------------------------------------------------------------------------------------

NET = """
def net(x: f32[N, D], *, w: Parameter[f32[D, 2]] = he_normal()) -> f32[N, 2]:
    h = reshape(x, (N, D)) @ w
    return h + zeros((N, 2))
"""


def test_a_template_gives_a_graph_for_every_size():
    template = tg.parse(NET)
    assert template.dims == ("N", "D")
    for n in (0, 1, 5):
        graph = template.at(N=n, D=3)
        assert graph is template.at(N=n, D=3) and graph.outputs[0].aval == tg.f32[n, 2]
        assert graph == tg.parse(NET.replace("N", str(n)).replace("D", "3"))
        assert tg.parse(str(graph)) == graph
    outputs, _ = template(tg.ones((4, 3)), state={"w": tg.ones((3, 2))})
    assert outputs.shape == (4, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: t.at(N=2), TypeError, "the dimension D needs a size"),
        (lambda t: t.at(N=2, D=3, M=1), TypeError, "no dimension 'M'"),
        (lambda t: t.at(N=2.0, D=3), (TypeError, ValueError), "N must be a non-negative integer"),
        (lambda t: t.at(N=-1, D=3), (TypeError, ValueError), "N must be a non-negative integer"),
        (lambda t: t(tg.ones(3)), ValueError, r"declared f32\[N, D\], got shape \(3,\)"),
        (lambda t: t(), TypeError, r"takes 1 argument \(x\), got 0"),
    ],
)
def test_what_a_template_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call(tg.parse(NET))


def test_sizes_follow_arguments_in_any_order_of_their_keys():
    template = tg.parse("def f(d: {'b': f32[N], 'a': f32[M, 2]}): return d['a'].sum() + d['b'].sum()")
    assert template.sizes({"a": tg.ones((3, 2)), "b": tg.ones(5)}) == {"N": 5, "M": 3}
    assert float(template({"a": tg.ones((3, 2)), "b": tg.ones(5)})) == 11.0
    with pytest.raises(TypeError, match=r"argument d is declared \{'b': f32\[N\], .*, got \{'a': \*\}"):
        template({"a": tg.ones((3, 2))})
    with pytest.raises(TypeError, match=r"declared f32\[N, D\], got \[\*, \*\]"):
        tg.parse(NET)([1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("def f(x: f32[A], y: f32[B]): return x.reshape(2, B) + y", {"A": 6, "B": 3}),
        ("def f(x: f32[N]): return x.reshape(17, N // 17)", {"N": 34}),
        (
            "def f(x: f32[N, D], *, w: Parameter[f32[D, 3 * D]]): return split(x @ w, (D, D, D), axis=1)",
            {"N": 2, "D": 5},
        ),
        ("def f(x: f32[N], y: f32[M]): return x.reshape(5, -1) + y[:7]", {"N": 35, "M": 9}),
    ],
)
def test_sizes_that_must_go_together(text, sizes):
    template = tg.parse(text)
    found = template.fitting()
    assert set(found) == set(sizes) and template.at(**found) == template.example()
    assert [v.aval for v in template.at(**sizes).inputs]


def test_a_template_is_saved(tmp_path):
    template = tg.parse(NET)
    template.save(tmp_path / "net.tg.py")
    assert tg.load_graph(tmp_path / "net.tg.py").at(N=2, D=3) == template.at(N=2, D=3)


def test_a_template_that_is_wrong_for_every_size_is_told_of_at_once():
    with pytest.raises(tg.ParseError, match="no op is called 'rleu'"):
        tg.parse("def f(x: f32[N]): return rleu(x)")
    with pytest.raises(tg.ParseError, match="'M' is not known here"):
        tg.parse("def f(x: f32[N]): return x.reshape((M, 1))")
    even = tg.parse("def f(x: f32[N]): return x.reshape((2, N // 2))")
    assert even.at(N=4).outputs[0].aval == tg.f32[2, 2]
    with pytest.raises(tg.ParseError, match="reshape"):
        even.at(N=3)


def test_a_graph_called_with_another_shape_names_the_remedy():
    with pytest.raises(ValueError, match=r"name the dimension in its text .*\.at\(N=\.\.\.\)"):
        tg.parse(NET).at(N=2, D=3)(tg.ones((5, 3)), state={"w": tg.ones((3, 2))})


# files ----------------------------------------------------------------------------------------------------------------


def test_a_graph_as_files(tmp_path):
    pytest.importorskip("safetensors")
    table = np.random.default_rng(0).normal(size=(50, 3))
    graph = tg.trace(lambda i: tg.tensor(table)[i] * 2.0, tg.i64[4])
    path = tmp_path / "lookup.tg.py"
    graph.save(path, state={"cell": np.ones(2)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lookup.tg.py", "lookup.tg.safetensors"]
    assert tg.load_graph(path) == graph
    assert tg.text.load_state(path)["cell"].tolist() == [1.0, 1.0]
    (tmp_path / "lookup.tg.safetensors").write_bytes(b"damaged")
    with pytest.raises(FileFormatError):
        tg.load_graph(path)
    (tmp_path / "lookup.tg.safetensors").unlink()
    with pytest.raises(tg.ParseError, match="is not in the text: pass it as"):
        tg.load_graph(path)
    with pytest.raises(ValueError, match=r"a Python file such as model\.tg\.py"):
        graph.save(tmp_path / "graph.txt")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(FileFormatError, match="UTF-8"):
        tg.load_graph(path)


def test_a_saved_text_runs_as_a_python_file(tmp_path):
    path = tmp_path / "net.tg.py"
    tg.trace(tg.grad(lambda x: (x**3).sum()), tg.f32[2]).save(path)
    code = path.read_text() + "\nimport tensorgraph as tg\nprint(f(tg.tensor([1.0, 2.0])).tolist())\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout.strip() == "[3.0, 12.0]", done.stderr


def test_loading_runs_nothing(tmp_path):
    path = tmp_path / "evil.tg.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n\ndef f(x: f32): return x\n")
    with pytest.raises(tg.ParseError):
        tg.load_graph(path)
    assert not (tmp_path / "ran").exists()


def test_long_chains_are_printed_and_read():
    def chain(x):
        for _ in range(1_200):
            x = tg.tanh(x) * 1.5
        return x

    graph = tg.trace(chain, tg.f32[2])
    assert tg.parse(str(graph)) == graph


def test_names_of_users_never_break_the_text():
    graph = tg.trace(lambda x: x + 1, tg.f32[2])
    for name in ("lambda", "sum", "x\ny", "é", "", "__import__('os')", "f32", "a" * 500, "return", "True", "_"):
        graph.inputs[0].name = name
        assert tg.parse(str(graph)) == graph
        assert tg.parse(str(graph.replace(name=name))) == graph


def dataclass_called_p(*names: str) -> type:
    made = dataclasses.make_dataclass("P", names)
    assert isinstance(made, type)
    return made


def test_types_of_one_name_are_told_apart_by_their_fields():
    first, second, third = dataclass_called_p("a"), dataclass_called_p("b"), dataclass_called_p("a", "b")
    x = tg.tensor([1.0, 2.0])
    graph = tg.trace(lambda p, q, r: second(p.a * q.b + r.a), first(x), second(x), third(x, x))
    again = tg.parse(str(graph), types=[first, second, third, first])
    assert again == graph
    assert type(again(first(x), second(x), third(x, x))) is second
    twin = dataclass_called_p("a")
    with pytest.raises(tg.ParseError, match="2 of the given types are called P and have these fields") as caught:
        tg.parse(str(tg.trace(lambda p: p.a * 2.0, first(x))), types=[first, twin])
    assert (caught.value.line, caught.value.column) == (1, 10)
    with pytest.raises(tg.ParseError, match="P takes a= or b="):
        tg.parse("def f(p: P(c=f32)): return p", types=[first, second])

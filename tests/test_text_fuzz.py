"""Hostile texts: an error or a graph, never anything else, in bounded time and memory."""

import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.graph import Graph
from tensorgraph.testing import random_program
from tensorgraph.text.reading import MOST_DEPTH

WORDS = [
    ": float", ": int", ": bool", 'tensor(s, "float32")', "s * 2", ".shape", ".mT", "*x", "**k", " = 1", "\ufeff",
    "\r\n", "\x0c", "-s", "s > 0", "\u2028",
    *sorted(CATALOGUE), 'float("inf")', "-1", "0", "1e308", "2**3", "10**9", "None", "...", "True", "x", "[", "(", ")",
    "]", "{", "}", ":", ",", "=", "-", "~", "not ", "**", "@", ".T", ".sum()", "f32[3]", "f32", "i64[()]", "Parameter",
    "with", "def", "return", "lambda", "\n", "    ", '"a"', '"\\x00"', "\0", "é", "𝒳", "gradients(", "custom_vjp(",
    'tensor([1],"f32")', 'array("a",f32)', ".at[0].set(", "999999999999", "0x" + "f" * 20, "1_000", "1j", 'b"a"',
    "slice(", "*", "N", "if", "else", "for", "yield", "await", "async", "import", "global", "\t", "#", "\\", '"""', ";",
    "`", "$", "::", "__import__", "__class__", "os.system", "eval(", "exec(", "open(",
]  # fmt: skip
SIZES = ["0", "1", "2", "3", "7", "-1", "99999999", "4294967296", "9223372036854775807", "1" * 500, "1.5"]


def graph_or_error(text: str, arrays: object = None) -> None:
    try:
        found = tg.parse(text, arrays)
    except tg.ParseError as error:
        assert error.line >= 1 and error.column >= 1 and str(error)
        assert len(str(error)) < 5_000
        return
    if isinstance(found, Graph):
        assert tg.parse(str(found), tg.text.arrays_of(found)) == found


@pytest.fixture(scope="module")
def corpus() -> list[tuple[str, object]]:
    graphs = [random_program(seed, state=seed % 2 == 1).graph() for seed in range(24)]
    graphs += [  # Python numbers
        tg.trace(lambda x, s, n: (tg.where(s > n, x**n, s - x), x.at[0].set(s), -n // 2), tg.f32[3], 0.5, 2),
        tg.trace(tg.grad(lambda x, s: (tg.exp(s) * x / (s * 2)).sum()), tg.f64[3], 0.5),
    ]
    return [(str(graph), list(graph.consts.values())) for graph in graphs]


def mutated(text: str, dice: random.Random) -> str:
    for _ in range(dice.choice([1, 1, 2, 4, 8])):
        i = dice.randrange(len(text) + 1)
        j = min(len(text), i + dice.randrange(12))
        match dice.randrange(5):
            case 0:
                text = text[:i] + dice.choice(WORDS) + text[i:]
            case 1:
                text = text[:i] + text[j:]
            case 2:
                text = text[:i] + dice.choice(WORDS) + text[j:]
            case 3:
                start = dice.randrange(len(text) + 1)
                text = text[:i] + text[start : start + dice.randrange(40)] + text[i:]
            case _:
                numbers = list(re.finditer(r"\d+", text))
                if numbers:
                    found = dice.choice(numbers)
                    text = text[: found.start()] + dice.choice(SIZES) + text[found.end() :]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_damaged_texts(seed: int, corpus: list[tuple[str, object]]) -> None:
    dice = random.Random(seed)
    for _ in range(40):
        text, arrays = dice.choice(corpus)
        graph_or_error(mutated(text, dice), arrays)


@given(st.text(max_size=200))
def test_any_string(text: str) -> None:
    graph_or_error(text)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    graph_or_error(data.decode("latin-1"))


@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_any_words(words: list[str]) -> None:
    graph_or_error("def f(x: f32[3]):\n    return " + " ".join(words))


@pytest.mark.parametrize(
    "body",
    [
        "(" * 10_000 + "x" + ")" * 10_000,
        "[" * 100 + "x" + "]" * 100,
        "-" * 100_000 + "x",
        "not " * 50_000 + "x",
        "x" + " + x" * 100_000,
        "x" + ".T" * 100_000,
        "x" + "[0]" * 50_000,
        "x" + "()" * 50_000,
        "x" + " ** x" * 900,
        "-" * 900 + "x",
        "lambda: " * 10_000 + "x",
        "x if x else " * 10_000 + "x",
        "x * " + "9" * 100_000,
        "x * 0x" + "f" * 1_000_000,
        "x * 1e999999999",
        "x + " + " * ".join(["9999999999"] * 500),
        "zeros((999999999999, 999999999999, 999999999))",
        "arange(9223372036854775807)",
        "arange(0.0, 1e300, 1e-300)",
        "full((2**62,), 1)",
        "eye(999999999999)",
        "one_hot(argmax(x), 999999999999)",
        "pad(x, ((0, 9223372036854775807),))",
        "broadcast_to(x, (999999999999, 3))",
        "tensor([" + "1, " * 100_000 + "], 'f32')",
        "split(x, " + repr((0,) * 5_000) + ")",
        "'a' * 1000000000",
        "(1, 2) * 1000000000",
        "x.reshape(" + "1, " * 5_000 + "3)",
        "transpose(x, " + repr(tuple(range(2_000))) + ")",
        'astype(x, "' + "f4," * 20_000 + '")',
        "concatenate(zeros((999999999999, 2)))",
        "stack(zeros((999999999999,)))",
        "clip_norm(zeros((999999999999,)), 1.0)",
        "x[zeros((999999999999,), dtype='int64')]",
        "zeros((3, 999999999999)).at[argmax(x)].set(1.0)",
        "relu(1e300) + x",
        "2 ** 9999999999 + x",
        "(10 ** 18) ** (10 ** 18) + x",
        "f'{x}'",
    ],
)
def test_large_deep_and_hostile_expressions(body: str) -> None:
    graph_or_error(f"def f(x: f32[3]):\n    return {body}")


@pytest.mark.parametrize(
    "place",
    [
        "x: f32[{}]",
        "x: {{{}: f32}}",
        "x: Literal[{}]",
        "x: f32, *, w: Buffer[f32[{}]]",
        "x: f32, *, w: Buffer[f32] = normal(std={})",
    ],
)
def test_no_op_runs_where_a_type_is_expected(place: str) -> None:
    for value in ("zeros((99999999, 999999))", "2 * arange(9999999999999)", "sum(ones((9999999, 99999)))"):
        with pytest.raises(tg.ParseError, match=r"expected a literal|are literals"):
            tg.parse(f"def f({place.format(value)}): return x")


def test_many_cells_and_functions_in_functions_take_linear_time() -> None:
    cells = ", ".join(f"c{i}: Buffer['path.of.a.cell.{i}', f32[3]] = zeros()" for i in range(3_000))
    assert len(tg.parse(f"def f(x: f32, *, {cells}): return x").cells) == 3_000
    parts = ["def f0(x: f32[3]): return (x * 2.0, x)\ndef b0(r: f32[3], g: f32[3]): return (g * r,)\n"]
    for i in range(1, 40):  # each calls the one before it three times
        c = f"custom_vjp(forward=f{i - 1}, backward=b{i - 1})"
        parts.append(
            f"def f{i}(x: f32[3]): return ({c}({c}(x)), x)\ndef b{i}(r: f32[3], g: f32[3]): return ({c}(g),)\n"
        )
    text = "".join(parts) + "def f(x: f32[3]): return custom_vjp(forward=f39, backward=b39)(x)\n"
    graph, other = tg.parse(text), tg.parse(text)
    assert graph == other and hash(graph) == hash(other) and tg.text.arrays_of(graph) == {}
    assert tg.parse(str(graph)) == graph and str(graph).count("\ndef ") == 80
    assert graph != tg.parse(text.replace("x * 2.0", "x * 2.5"))


@pytest.mark.parametrize(
    "body",
    [
        "__import__('os').system('true')",
        "x.__class__.__mro__",
        "x.numpy().tofile('f')",
        "x.requires_grad_()",
        "x.backward()",
        "x._value",
        "relu.__globals__",
        "tg.nn",
        "tg.text.load('a')",
        "(lambda: x)()",
        "[x][0].__reduce__()",
        "x.at.tensor",
        "open('/etc/passwd')",
        "checkpoint([x], [x], block=1)",
    ],
)
def test_nothing_but_ops_is_called(body: str) -> None:
    with pytest.raises(tg.ParseError):
        tg.parse(f"def f(x: f32[3]):\n    return {body}")


@pytest.mark.parametrize(
    "text",
    [
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 200)) + " " * 200 + "pass",
        "def f(x: f32[3]):\n" + "".join(" " * n + "with scope('a'):\n" for n in range(1, MOST_DEPTH + 5)),
        "def f(" + ", ".join(f"x: f32[{n}]" for n in range(2_000)) + "): return x",
        "def f(x: f32[" + ", ".join(["1"] * 1_000) + "]): return x",
        "def f(x: " + "[" * 50 + "f32[3]" + "]" * 50 + "): return x" * 2,
        "def f(x: f32[3]): return x\n" * 2_000,
        "\f\f\f\\",
        "def f(x: f32[3]):\n\treturn x\n        return x",
        "# coding: utf-7\ndef f(x: f32[3]):\n    return +ADw-",
    ],
)
def test_large_deep_and_hostile_texts(text: str) -> None:
    with pytest.raises(tg.ParseError):
        tg.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "def f(x: f32[3]):\n    for i in range(10**4):\n        for j in range(2 * 5000): x = x + 1\n    return x",
            "stands for at least 200,010,001 statements",
        ),
        (
            "def A0(x, *, w: Parameter[f32[3]]): return x\n"
            + "".join(f"def A{i}(x, *, p: A{i - 1}, q: [A{i - 1}]): return x\n" for i in range(1, 40))
            + "def f(x: f32[3], *, a: A39): return x",
            r"line 41, column 21: f has at least about 10\*\*12 members",
        ),
        (
            "def A(x, *, m: [Linear[3, 3]] * 10**4): return x\ndef B(x, *, m: [A] * 10**4): return x\n"
            "def f(x: f32[2, 3], *, b: At['b.0', B]): return x",
            "f has at least 300,010,001 members, those of its members counted",
        ),
    ],
)
def test_counts_are_known_before_anything_is_made(text: str, words: str) -> None:
    with pytest.raises(tg.ParseError, match=words):
        tg.parse(text)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("softmax_vjp(x, None, ct, want=(True,))", None),
        ("softmax_vjp(x, None, w, want=(True,))", r"ct_out must be f32\[8, 10\], as softmax gives it, got f32\[10\]"),
        ("softmax_vjp(x, ids, ct, want=(True,))", r"out_ must be f32\[8, 10\]"),
        ("softmax_vjp(x, None, ct, want=(False,))", "asks for no gradient"),
        ("softmax_vjp(x, None, ct, want=3)", "want says of each of x"),
        ("softmax_vjp(None, x, ct, want=(True,))", "x is missing"),
        ("softmax_vjp(x, want=(True,))", "no cotangent"),
        ("softmax_vjp(ids, None, ids, want=(True,))", "x, which is no float"),
        ("layer_norm_vjp(x, w, None, None, None, None, None, None, ct, want=(True, True, True))", "beta, which is not"),
        ("batch_norm_relu_vjp(want=(True, True, True))", "x is missing"),
        ("getitem(x, [ids, ids], key=(True,))", "a key is a tuple of integers"),
        ("getitem(x, [ids], key=())", "names each of its 1 index tensors once"),
        ("scatter_add(x, [], (('slice', 0.5, None, None),), (8, 10))", "a slice in a key has integers"),
        ("linspace(start='x', stop=2)", "start must be a number"),
        ("logspace(0, 1, base=())", "base must be a number"),
        ("eye(n=2, k=False)", "k must be an integer"),
        ("nan_to_num(x, posinf=(1,))", "posinf must be a number"),
    ],
)
def test_an_op_is_called_with_values_of_its_own_or_refused(call, words):
    text = f"def f(x: f32[8, 10], ct: f32[8, 10], w: f32[10], ids: i64[8, 10]): return {call}"
    if words is None:
        x, w, ids = np.ones((8, 10), "float32"), np.ones(10, "float32"), np.ones((8, 10), int)
        assert tg.parse(text)(x, x, w, ids)[0].tolist() == (0 * x).tolist()
        return
    with pytest.raises(tg.ParseError, match=words):
        tg.parse(text)

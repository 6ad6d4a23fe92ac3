"""Hostile texts of functions, instances and loops: an error with its place or a graph, in bounded time and memory."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from test_text_calls import LAYERS, STEP
from test_text_fuzz import mutated
from test_text_library import TEXTS

import tensorgraph as tg
from tensorgraph.graph import Graph
from tensorgraph.text.definitions import LIBRARY

ROOT = Path(__file__).resolve().parent.parent
CORPUS = [path.read_text("utf-8") for path in sorted((ROOT / "examples").glob("*.tg.py"))] + [
    *TEXTS.values(), LAYERS + STEP,
    LIBRARY.read_text("utf-8") + "\n\ndef f(x: f32[2, 3], *, a: BatchNorm[3], b: Dropout):\n    return b(a(x))\n",
]  # fmt: skip
WORDS = [
    "for a in b:", "[x for x in ", "range(", "range(10**9)", "zip(", "enumerate(", "reversed(", "parameters(", "At[",
    "like(", "* 2", "*x", ".assign(", ".items()", "gradients(", "alias(", "len(", "self", "params", "grads", "Linear[",
    "Adam", "f32[N]", "...", "return", "def f(x): return f(x)", "pass", "x, y = ", "*a, b = ", ".shape", "in",
    "tensor([", "[net, net]", "[params, params]", "** 99", "predict(", "lambda x: x", "if x else",
]  # fmt: skip


def moved(text: str, dice: random.Random) -> str:
    """The text with lines in other places, and names where others stood."""
    lines = text.split("\n")
    for _ in range(dice.choice([1, 1, 2, 3])):
        i, j = dice.randrange(len(lines)), dice.randrange(len(lines))
        words = re.findall(r"\w+", lines[i])
        match dice.randrange(5):
            case 0:
                lines[i], lines[j] = lines[j], lines[i]
            case 1:
                lines.insert(i, lines[j])
            case 2 if len(lines) > 1:
                del lines[i]
            case 3:
                lines[i] += dice.choice(WORDS)
            case _ if words:
                lines[i] = lines[i].replace(dice.choice(words), dice.choice(re.findall(r"\w+", text)), 1)
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_texts(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(30):
        text = dice.choice(CORPUS)
        text = mutated(text, dice) if dice.random() < 0.4 else moved(text, dice)
        try:
            graph = tg.parse(text)
        except tg.ParseError as error:
            assert error.line >= 1 and error.column >= 1 and len(str(error)) < 6_000
            continue
        if isinstance(graph, Graph):
            assert tg.parse(graph.text(flat=True), tg.text.arrays_of(graph)) == graph


def chain(body: str, head: str = "def f0(x): return x + 1\n", count: int = 40) -> str:
    """Functions each of which calls the one above it."""
    return head + "".join(body.format(i=i, below=i - 1) for i in range(1, count))


DEEP = "def f(x: f32[3]):\n    n, = x.shape\n"
HOSTILE = {
    "long range": DEEP + "    for i in range(10**9): x = x + 1\n    return x",
    "long range of a size": DEEP + "    for i in range(n * 10**8, 0, -1): x = x + 1\n    return x",
    "long list": DEEP + "    return [x for i in range(10**9)]",
    "long zip": DEEP + "    for a, b in zip(range(10**8), range(10**8)): x = x + a\n    return x",
    "doublings": chain("def f{i}(x): return f{below}(f{below}(x))\n") + "def f(x: f32[3]): return f39(x)",
    "doublings by lists": chain("def f{i}(x):\n    for _ in [0, 1]: x = f{below}(x)\n    return x\n")
    + "def f(x: f32[3]): return f39(x)",
    "doublings by sizes": chain("def f{i}(x, n):\n    for _ in range(n): x = f{below}(x, n)\n    return x\n", count=40,
                                head="def f0(x, n): return x + 1\n") + "def f(x: f32[3]): return f39(x, 2)",
    "doublings of instances": chain("def A{i}(x, *, a: A{below}, b: A{below}): return b(a(x))\n",
                                    head="def A0(x, *, w: Parameter[f32[3]]): return x * w\n")
    + "def f(x: f32[3], *, a: A39): return a(x)",
    "loops in loops": DEEP + "".join(f"{'    ' * (i + 1)}for i{i} in range(3):\n" for i in range(50)) + " " * 204
    + "x = x + 1\n    return x",
    "loops in loops of sizes": DEEP + "".join(f"{'    ' * (i + 1)}for i{i} in range(n):\n" for i in range(50))
    + " " * 204 + "y = 1\n    return x",
    "a long chain": chain("def f{i}(x): return f{below}(x)\n", count=1_000) + "def f(x: f32[3]): return f999(x)",
    "deep in deep": chain("def f{i}(x): return " + "relu(" * 20 + "f{below}(x)" + ")" * 20 + "\n", count=49)
    + "def f(x: f32[3]): return f48(x)",
    "lists of lists": DEEP + "    a = [x, x]\n" + "    a = [a, a]\n" * 60 + "    return a",
    "tuples by calls": "def g(a): return a, a\n" + DEEP + "    for i in range(100): x = g(x)\n    return x",
    "dicts of dicts": DEEP + "    for i in range(100): x = {'a': x, 'b': x}\n    return x",
    "lists that grow": DEEP + "    a = [x]\n    for i in range(100): a = [*a, *a]\n    return a",
    "long lists to an op":
        DEEP + "    a = [x for i in range(9000)]\n    for i in range(9000): y = stack(a)\n    return y",
    "long lists taken apart":
        DEEP + "    a = [x for i in range(9000)]\n    for i in range(9000): *b, c = a\n    return c",
    "many members": "def f(x: f32[3], *, a: [Linear[3, 3]] * 10**9): return x",
    "many members in lists": "def f(x: f32[3], *, a: [[[Linear[3, 3]] * 90] * 90] * 90): return x",
    "large members": "def f(x: f32[3], *, a: Linear[10**9, 10**9]): return a(x)",
    "members of a size": "def f(x: f32[N, M], *, a: [Linear[N, M]] * 10**(9 * N)): return x",
    "many parameters":
        "def f(x: f32[3], *, a: [Linear[3, 3]] * 500):\n    for i in range(500): b = parameters(a)\n    return x",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_counts_are_known_before_anything_is_read(name: str) -> None:
    with pytest.raises(tg.ParseError, match=r"stand for|stands for|nested|holds at most|has from 0|any machine"):
        tg.parse(HOSTILE[name])


@pytest.mark.parametrize(
    "body",
    [
        "range(3)", "zip([x], [x])", "a(x).__class__", "a.definition", "a.members", "a.function", "a.w.numpy()",
        "a.w._value", "a.w.owner", "[a][0].path", "parameters(a)[0].value", "parameters", "Linear", "cells(f)",
        "like(x)", "At['a', x]", "a.w.assign(x)", "g.__globals__", "g", "[g][0](x)", "(lambda: x)()",
    ],
)  # fmt: skip
def test_nothing_else_is_reached(body: str) -> None:
    text = "def A(x, *, w: Parameter[f32[3]]): return x * w\ndef g(x): return x\n"
    with pytest.raises(tg.ParseError):
        tg.parse(text + f"def f(x: f32[3], *, a: A):\n    return {body}")


def test_a_long_text_takes_linear_time() -> None:
    calls = "".join(f"    x = g(x, {i})\n" for i in range(1_500))
    graph = tg.parse("def g(x, n): return x + n\ndef f(x: f32[3]):\n" + calls + "    return x")
    assert len(graph.equations) == 1_500
    functions = "".join(f"def g{i}(x): return x + {i}\n" for i in range(700))
    body = "".join(f"    x = g{i}(x)\n" for i in range(700))
    assert len(tg.parse(functions + "def f(x: f32[3]):\n" + body + "    return x").equations) == 700

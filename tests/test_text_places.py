"""Where errors of texts are: line and column as people count them, whatever stands before; and what texts may hold."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing import programs
from tensorgraph.testing.programs.program import quiet
from tensorgraph.text.checking import problems

HEAD = "def f(x: f32[3]):\n    return "


def refused(text: str) -> tg.ParseError:
    with pytest.raises(tg.ParseError) as caught:
        tg.parse(text)
    return caught.value


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "before",
    ["", "é = x; ", "_ = '𝒳\u2028'; ", "t = x;\t\t", "a = sum(x, # é\n  axis=0); ", "a = x + \\\n  x; ", "a = x;\x0c "],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_columns_are_of_letters(before: str, end: str, mark: str) -> None:
    text = mark + f"def f(x: f32[3]):\n\té = x\n\t{before}y = (é + zzz)\n\treturn y\n".replace("\n", end)
    error = refused(text)
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    assert "'zzz' is not known" in error.message
    assert lines[error.line - 1][error.column - 1 :].startswith("zzz)"), (error.line, error.column)
    caret = str(error).splitlines()[-1]
    shown = str(error).splitlines()[-2]
    assert shown[caret.index("^") :].startswith("zzz")


def test_a_mark_at_the_head_is_read() -> None:
    assert tg.parse("\ufeff" + HEAD + "x * 2.0") == tg.parse(HEAD + "x * 2.0")


# what is found where the second string begins, on the line that holds it
PLACES = [
    ("def f(x: f32[3], *rest): return x", "*rest", "write each of them"),
    ("def f(x: f32[3],\n      ** rest): return x", "** rest", "write each of them"),
    ("def f(é: f32[3], y: f32[3] = 1.0): return é", "y: f32[3] =", "the argument y has a default"),
    ("def f(x: f32[3] = 0.0, /, y: f32 = 1.0): return x", "x: f32[3] =", "the argument x has a default"),
    (HEAD + "sum(x, axis=0, axis=0)", "axis=0)", "'axis' is given twice"),
    (HEAD + "sum(*x)", "*x)", "write the arguments out"),
    (HEAD + "sum(x, **x)", "**x)", "write the arguments out"),
    (HEAD + "(y := x)", "y :=", "assign on a line of its own"),
    (HEAD + 'f"{x}" + x', 'f"', "write the string out"),
    (HEAD + "x + [*x]", "*x]", "is for a list, and x is none"),
    (HEAD + "x * (lambda: 1)", "lambda", "write the expression where it is used"),
    (HEAD + "'é' + '\0'", "\0", "no null characters"),
    (HEAD + "'é' + '\ud800'", "\ud800", "lone surrogates"),
    (HEAD + "x * " + "9" * 500, "9" * 500, "at most 400 digits"),
    (HEAD + "-" * 900 + "x", "return", "nested too deep"),
    ("é = 1; import os\ndef f(x: f32): return x", "é", "expected a function"),
    ("'é'; import os\ndef f(x: f32): return x", "import os", "nothing is imported"),
    ("def f(é: f32[3]):\n    éé = x ? 1", "? 1", "not Python"),
    # what is given twice
    ('def f(x: f32, y: f32):\n    return {"a": x, "a": y}', '"a": y', "the key 'a' is given twice"),
    ("def f(x: f32, y: f32):\n    return {1: x, True: y}", "True: y", "the key True is given twice"),
    ("def f(x: f32, y: f32):\n    return OrderedDict({'a': x, 'b': x, 'a': y})", "'a': y", "is given twice"),
    ('def f(d: {"a": f32[2], "a": f32[3]}):\n    return d["a"]', '"a": f32[3]', "is given twice"),
    (HEAD + "{[1]: x}", "[1]", "the keys of a dict are literals"),
    (HEAD + "{x: x}", "x: x", "the keys of a dict are literals"),
    ("def f(x: f32, *, w: Buffer[f32] = constant(value=1, value=2)): return x", "value=2", "is given twice"),
    ("def f(x: f32, *, w: Buffer[f32] = he_normal(foo=1)): return x", "foo=1", "he_normal has no argument 'foo'"),
    ("def f(x: f32, *, w: Buffer[f32] = normal(sdt=1)): return x", "sdt=1", "did you mean 'std'"),
    ("def f(x: f32, *, w: Buffer[f32] = normal(std=-1)): return x", "std=-1", "a finite number that is not negative"),
    ("def f(x: f32, *, w: Buffer[f32] = zeros(shape=1)): return x", "shape=1", "zeros has no argument 'shape'"),
    ("def f(x: f32, *, w: Buffer[u64] = key(seed=-1)): return x", "seed=-1", "a non-negative integer"),
    (
        "def a(x: f32): return x\ndef f(x: f32): return custom_vjp(forward=a, forward=a)(x)",
        "forward=a)",
        "is given twice",
    ),
    # arguments that are not there
    (HEAD + "sum(x, ax=1)", "ax=1", "sum has no argument 'ax'; did you mean 'axis'?"),
    (HEAD + "x.sum(axs=1)", "axs=1", "sum has no argument 'axs'; did you mean 'axis'?"),
    (HEAD + "gradients(x.sum(), x, grad_output=x)", "grad_output=x", "did you mean 'grad_outputs'?"),
    (HEAD + "sum()", "sum()", "sum is missing its input 'x'; it takes x, axis, keepdims"),
    (HEAD + "x.exp(0, 1)", "x.exp", "exp takes 1 argument (x), got 3"),
    (HEAD + "where(x > 0)", "where", "where is missing its input 'a'"),
    (HEAD + "x.at(N=3)", "x.at", "write x.at[key].set(value)"),
    # other libraries' names
    (HEAD + "np.sum(x)", "np.sum", "'np' is not known here; write sum(...)"),
    (HEAD + "torch.nn.functional.relu(x)", "torch", "'torch' is not known here; write relu(...)"),
    (HEAD + "x * np.pi", "np.pi", "write 3.14159"),
    (HEAD + "x * math.inf", "math.inf", 'write float("inf")'),
    (HEAD + "x.astype(np.float64)", "np.float64", 'write "float64"'),
    (HEAD + "np.frombuffer(x)", "np.from", "ops are called by their names alone"),
    (
        'def f(d: {"a": f32}): return d.a',
        "d.a",
        "d holds others and is no tensor: it has no attribute 'a'; it has d[\"a\"]",
    ),
    ("def f(d: [f32]): return d.sum", "d.sum", "take a part by its index"),
]


@pytest.mark.parametrize("what", ["x.foo", "é.foo", "x.at(N=3)", "d.a", "x.bar()", "fo(x)", "softmax(x, foo=1)"])
def test_no_name_is_guessed_that_is_far(what: str) -> None:
    said = refused(f"def f(x: f32[3], é: f32, d: {{'a': f32}}):\n    return {what}").message
    assert "did you mean" not in said


@pytest.mark.parametrize(("text", "place", "message"), PLACES)
def test_what_is_refused_is_pointed_at(text: str, place: str, message: str) -> None:
    error = refused(text)
    assert message in error.message
    assert text.split("\n")[error.line - 1][error.column - 1 :].startswith(place)


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n", "# nothing", "   ", "\x0c"])
def test_an_empty_text(text: str) -> None:
    assert "expected a function" in refused(text).message


@pytest.mark.parametrize(
    ("call", "near"),
    [("sum(x, ax=1)", "axis"), ("sum(ax=1)", "axis"), ("mean(x, dim=0)", None), ("mean(x, keep=True)", "keepdims"),
     ("softmax(x, axs=0)", "axis"), ("softmax(x, x_=0)", None)],
)  # fmt: skip
def test_the_argument_that_is_near(call: str, near: str | None) -> None:
    said = refused(HEAD + call).message
    assert ("did you mean" in said) == (near is not None)
    assert near is None or f"did you mean '{near}'" in said


def test_no_misspelled_argument_is_taken_for_one_letter() -> None:
    for op in CATALOGUE.values():
        for name in op.attrs:
            if len(name) > 2 and op.inputs and "internal" not in op.traits:
                said = refused(HEAD + f"{op.name}(x, {name[:-1]}=1)").message
                assert not re.search(r"did you mean '.'\?", said), said


# what values have ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "function"),
    [
        ("x.mT", lambda x: x.mT), ("x[0].T", lambda x: x[0].T), ("(x + x).mT @ x", lambda x: (x + x).mT @ x),
        ("reshape(x, x.shape[::-1])", lambda x: tg.reshape(x, x.shape[::-1])),
        ("x * x.shape[0] + x.ndim - x.size", lambda x: x * x.shape[0] + x.ndim - x.size),
        ("astype(x[0] == x[1], x.dtype)", lambda x: tg.astype(x[0] == x[1], x.dtype)),
    ],
)  # fmt: skip
def test_attributes_of_a_tensor(said: str, function: Any) -> None:
    text = f"def f(x: f32[2, 3, 4]):\n    return {said}\n"
    graph = tg.parse(text)
    assert graph == tg.trace(function, tg.f32[2, 3, 4])
    names = tg.text.namespace()
    exec(text, names)
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert np.array_equal(names["f"](tg.tensor(x)).numpy(), graph(x).numpy())


def test_an_attribute_that_there_is_not() -> None:
    error = refused(HEAD + "x.shap")
    assert "did you mean 'shape'" in error.message and ".mT" in error.message


# what else the library prints ----------------------------------------------------------------------------------------

EXPLAINED: list[tuple[Any, tuple[int, ...]]] = [
    (lambda x, k: (x @ k).sum(), (2, 4, 4)),
    (lambda x, k: (tg.tanh(x @ k.mT) * x).mean(), (2, 4, 4)),
    (lambda x, k: (k.T @ x).max(), (4, 4)),
    (lambda x, k: tg.where(x > 0, x * k, tg.exp(-x)).sum(), (4, 4)),
    (lambda x, k: (x[1:3, 0] * k[:2, 1]).sum() + x[0].sum(), (4, 4)),
    (lambda x, k: (x / (1 + abs(k))).reshape(-1)[3] * 2.5, (4, 4)),
    (lambda x, k: tg.concatenate([x, k, x], axis=0).transpose()[:, 2].sum(), (4, 4)),
    (lambda x, k: (tg.softmax(x * k) ** 2).sum(), (4, 4)),
    (lambda x, k: (tg.log_softmax(x) * k).sum(), (4, 4)),
    (lambda x, k: (tg.batch_norm(x, k[0], k[1])[0] ** 3).sum(), (4, 4)),
    (lambda x, k: (tg.layer_norm(x, x[0] + k[1], k[1])[0] ** 3).sum(), (4, 4)),
    (lambda x, k: (tg.sort(x) * k).sum() + tg.max(x, axis=0).sum(), (4, 4)),
    (lambda x, k: tg.softmax_cross_entropy(x * k, tg.argmax(k, axis=1)), (4, 4)),
]


@pytest.mark.parametrize(("function", "shape"), EXPLAINED)
def test_the_lines_of_an_explained_gradient_are_read(function: Any, shape: tuple[int, ...]) -> None:
    graph = tg.trace(function, tg.f32[shape], tg.f32[shape])
    steps = tg.explain_gradient(graph).steps
    lines = [line for step in steps for line in step.lines]
    last = [line.left for line in lines if line.left == "d_x" or line.left.startswith("d_x_")][-1]
    forward = [line for line in graph.text(flat=True).splitlines() if not line.startswith("    return")]
    forward[0] = forward[0].partition(" ->")[0] + ":"
    for told in (step.forward for step in steps if " = " in step.forward):  # with what is kept for the derivative
        name = told.partition(" = ")[0].split(",")[0]
        at = next(i for i, line in enumerate(forward) if line.startswith((f"    {name} =", f"    {name}, ")))
        forward[at] = f"    {told}"
    text = "\n".join([*forward, *(f"    {line.left} = {line.formula}" for line in lines), f"    return {last}"])
    rng = np.random.default_rng(0)
    x, k = rng.normal(size=(2, *shape)).astype(np.float32)
    assert np.allclose(tg.parse(text)(x, k).numpy(), tg.grad(function)(x, k).numpy(), rtol=1e-5, atol=1e-6), text


def test_a_gradient_of_some_of_the_inputs_says_of_which() -> None:
    def loss(x: Any, k: Any) -> Any:
        return (tg.batch_norm(x.detach(), k[0], k[1])[0] ** 3).sum()

    shown = str(tg.explain_gradient(tg.trace(tg.grad(loss, argnums=1), tg.f32[4, 3], tg.f32[2, 3])))
    assert "want=(False, True, True)" in shown


@given(programs())
def test_formulas_are_of_the_language(program: Any) -> None:
    """Each line of a random program's explanation, whose names stand for whatever they stand for there."""
    with quiet():
        graph = program.graph()
        floats = [out for out in graph.outputs if getattr(out, "aval", tg.i64[()]).dtype.kind == "f"]
        if len(floats) != len(graph.outputs) or graph.cells:
            return
        try:
            explained = tg.explain_gradient(
                lambda *args: sum(t.sum() for t in _leaves(graph(*args))), *program.tensors()
            )
        except (TypeError, ValueError):  # nothing to differentiate by, or a Jacobian inside, which is written out
            return
        for line in (line for step in explained.steps for line in step.lines):
            try:
                tg.parse(f"def f():\n    return {line.formula}\n")
            except tg.ParseError as error:
                assert "not part of the language" not in error.message and "not Python" not in error.message, line


def _leaves(tree: Any) -> Any:
    from tensorgraph.engine.tree import flatten

    return flatten(tree)[0]


def test_the_key_of_a_number_is_written() -> None:
    explained = tg.explain_gradient(lambda x: (x.mean().var() + x.sum())[()], tg.f64[3])
    assert "[]" not in str(explained)


WRONG = {
    "one statement": ("def f(x: f32[3]):\n    return rleu(x) + softmx(x) + x.smu()\n", [(2, 12), (2, 22), (2, 34)]),
    "a function that is called": (
        "def g(x):\n    y = rleu(x)\n    return softmx(x) + y\n\n\ndef f(x: f32[3]):\n    z = g(x)\n"
        "    return tnah(x)\n",
        [(2, 9), (3, 12), (8, 12)],
    ),
    "two functions": (
        "def g(x):\n    return rleu(x)\n\n\ndef h(x):\n    return softmx(x)\n\n\ndef f(x: f32[3]):\n"
        "    return g(x) + h(x)\n",
        [(2, 12), (6, 12)],
    ),
    "instances": (
        "def f(x: f32[8, 4], *, a: Linear[5, 4], b: Linear[6, 4]):\n    return a(x) + relu(b(x)) * b(a(x))\n",
        [(2, 12), (2, 24), (2, 34)],
    ),
    "a loop": (
        "def f(x: f32[3]):\n    for _ in range(3):\n        y = rleu(x)\n        x = softmx(x)\n    return x\n",
        [(3, 13), (4, 13)],
    ),
    "a list that is not whole": (
        "def f(x: f32[3]):\n    kept = []\n    for _ in range(3):\n        kept.append(rleu(x))\n"
        "    return kept[2] + softmx(x)\n",
        [(4, 21), (5, 22)],
    ),
    "a method that a list has not": (
        "def f(x: f32[3]):\n    kept = []\n    kept.apend(x)\n    return kept[0] + softmx(x)\n",
        [(3, 5), (4, 22)],
    ),
    "the head of what is called": (
        "def Rule(params, grads, *, m: [Buffer[lik(p)] for p in params] = zeros()):\n    return None\n\n\n"
        "def f(x: f32[3], *, w: Parameter[f32[3]], rule: Rule):\n"
        "    rule([w], [gradients(sum(x * w), w)])\n    return tna(x)\n",
        [(1, 39), (7, 12)],
    ),
    "what only follows": (
        "def f(x: f32[3]):\n    y = rleu(x)\n    return sin(y) + cos(y) + tna(x)\n",
        [(2, 9), (3, 30)],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_all_wrong_calls_are_told(name: str) -> None:
    text, places = WRONG[name]
    assert [(error.line, error.column) for error in problems(text)[1]] == places
    assert (refused(text).line, refused(text).column) in places


def test_cells_of_a_list_start_each_in_its_way() -> None:
    class Several(tg.nn.Module):
        def __init__(self) -> None:
            self.cells = [tg.Parameter(np.arange(3, dtype="f4")) for _ in range(3)]
            self.cells[0].initialiser, self.cells[1].initialiser = "constant(value=0.5)", "ones()"

        def forward(self, x: Any) -> Any:
            return x * self.cells[0] + self.cells[1] * self.cells[2]

    graph = tg.trace(Several(), tg.f32[3])
    text = graph.text()
    assert "= [constant(value=0.5), ones(), None]" in text
    again = tg.parse(text)
    assert [cell.initialiser for cell in again.cells] == ["constant(value=0.5)", "ones()", None]
    assert again == graph and again.text() == text
    names = tg.text.namespace()
    exec("from __future__ import annotations\n" + text, names)
    state = {path: np.zeros(3, "f4") for path in ("cells.2",)}
    assert names["cells"](names[graph.name], state=state)
    error = refused("def f(x: f32[3], *, w: [Buffer[f32[3]]] * 3 = [zeros(), ones()]): return x")
    assert "w has 3 members, and 2 of them start" in str(error)

"""`explain_gradient`: what it says is what is computed, and its LaTeX is LaTeX."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph.analysis.explain_gradient import GradientExplanation
from tensorgraph.analysis.latex import symbol, words
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.testing import Program, programs
from tensorgraph.testing.programs.program import quiet

HERE = re.escape("test_explain_gradient.py")

ENVIRONMENTS = {"align", "aligned", "cases"}
COMMANDS = {
    "overline", "mathrm", "mathbf", "operatorname", "text", "left", "right", "frac", "sqrt", "sum", "prod", "odot",
    "cdot", "top", "quad", "exp", "ln", "sin", "cos", "tanh", "sigma", "max", "min", "ge", "le", "ne", "wedge", "vee",
    "sim", "backslash", "infty", "times", "begin", "end", "alpha", "beta", "gamma", "mu", "rho", "lambda", "theta",
}  # fmt: skip


def check_latex(text: str, rows: bool = True) -> None:
    """Braces, delimiters and environments are balanced, commands known, every row has its columns."""
    assert text.isprintable() or not rows or text.replace("\n", "").isprintable()
    open_groups: list[str] = []
    scripts: list[set[str]] = [set()]
    in_text = False
    i = 0
    while i < len(text):
        rest = text[i:]
        if command := re.match(r"\\([A-Za-z]+)", rest):
            name = command.group(1)
            assert not in_text, f"a command in text: {rest[:20]}"
            assert name in COMMANDS, name
            i += command.end()
            if name in ("begin", "end"):
                environment = re.match(r"\{(\w+)\}", text[i:])
                assert environment is not None and environment.group(1) in ENVIRONMENTS
                if name == "begin":
                    open_groups.append(environment.group(1))
                else:
                    assert open_groups.pop() == environment.group(1)
                i += environment.end()
            elif name in ("left", "right"):
                delimiter = re.match(r"[()\[\]|]", text[i:])
                assert delimiter is not None
                if name == "left":
                    open_groups.append(delimiter.group())
                else:
                    assert open_groups.pop() == {")": "(", "]": "[", "|": "|"}[delimiter.group()]
                i += 1
            elif name == "text":
                assert text[i] == "{"
                end = text.index("}", i)
                assert not set(text[i + 1 : end]) & set("\\{$&#_%^~"), "text that every LaTeX reads"
                i = end + 1
            continue
        if rest.startswith("\\"):
            assert rest[1] in "\\{}$&#_%,", rest[:5]
            i += 2
            continue
        character = text[i]
        if character == "{":
            open_groups.append("{")
            scripts.append(set())
        elif character == "}":
            assert open_groups.pop() == "{"
            scripts.pop()
        elif character in "_^":
            assert text[i + 1] == "{" and character not in scripts[-1], (
                f"a second script: {text[max(0, i - 30) : i + 9]}"
            )
            scripts[-1].add(character)
        elif character not in "&":
            assert character not in "$#%~"
        if character not in "_^{}" or (character == "}" and text[i + 1 : i + 2] not in ("_", "^")):
            scripts[-1].clear()
        i += 1
    assert not open_groups


def of(function: Any, *examples: Any) -> GradientExplanation:
    shown = tg.explain_gradient(function, *examples)
    check_latex(shown.latex())
    check_latex(shown._repr_markdown_().strip().strip("$").strip())
    assert shown._repr_latex_() == shown.latex()
    return shown


def loss(x: Any, w: Any, b: Any) -> Any:
    h = tg.tanh(x @ w + b)
    return (h * h).sum()


def test_the_text() -> None:
    shown = of(loss, tg.spec((2, 3)), tg.spec((3, 4)), tg.spec((4,)))
    lines = [re.sub(r"\s{2,}", "  ", line.replace("test_explain_gradient.py", "")) for line in str(shown).splitlines()]
    first = loss.__code__.co_firstlineno
    assert lines[0] == "gradient of loss: d_x is the derivative of its result with respect to x"
    order = sorted(set(re.findall(r"\bv(\d+)", str(shown))), key=int)
    numbered = [re.sub(r"v(\d+)", lambda m: f"v{order.index(m[1])}", line) for line in lines[2:]]
    assert [re.sub(r"\bv\d\b", "v", line) for line in numbered] == [
        f"v = sum(v)  :{first + 2}",
        "  d_v3 = 1  where the backward pass begins",
        "  d_v2 = broadcast_to(d_v3, shape=(2, 4))  sum, x: broadcast_to(g, shape=(2, 4))",
        f"v = h * h  :{first + 2}",
        "  d_h_1 = d_v2 * h  multiply, a: g * b",
        "  d_h_2 = d_v2 * h  multiply, b: g * a",
        "  d_h = d_h_1 + d_h_2  the sum over the 2 uses of h",
        f"h = tanh(v)  :{first + 1}",
        "  d_v1 = over_cosh(d_h, v)  tanh, x: g * (1 - out * out)",
        f"v = v + b  :{first + 1}",
        "  d_v0 = d_v1  add, a: g",
        "  d_b = sum(d_v1, axis=(0,))  add, b: g, summed over what was broadcast",
        f"v = x @ w  :{first + 1}",
        "  d_x = d_v0 @ w.T  matmul, a: g @ b.T",
        "  d_w = x.T @ d_v0  matmul, b: a.T @ g",
    ]
    assert (
        rf"\overline{{x}} &= \overline{{v}}_{{{order[0]}}} \, {{w}}^{{\top}} && \text{{matmul, a}}: g \, {{b}}^{{\top}}"
        in (shown.latex())
    )
    assert tg.explain_gradient(tg.trace(loss, tg.spec((2, 3)), tg.spec((3, 4)), tg.spec((4,)))) == shown


def numbers(shown: GradientExplanation, values: dict[str, Any]) -> dict[str, Any]:
    """Run the explanation itself: its formulas are Python."""
    space = {**{name: op.public for name, op in CATALOGUE.items()}, **values}
    for step in shown.steps:
        for line in step.lines:
            space[line.left] = eval(line.formula, space)
    return space


def test_the_formulas_compute_the_gradient() -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4)), rng.standard_normal(4)
    shown = of(loss, x, w, b)
    v0 = tg.tensor(x) @ w
    v1 = v0 + b
    h = tg.tanh(v1)
    order = sorted(set(re.findall(r"\bv\d+", str(shown))), key=lambda v: int(v[1:]))
    space = {"x": tg.tensor(x), "w": tg.tensor(w), "b": tg.tensor(b), order[0]: v0, order[1]: v1, "h": h}
    found = numbers(shown, space)
    for name, expected in zip("xwb", tg.grad(loss, (0, 1, 2))(x, w, b), strict=True):
        assert np.abs(expected.numpy()).max() > 0.1
        assert np.array_equal(found[f"d_{name}"].numpy(), expected.numpy())


def test_a_training_step() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(4, 8, seed=0), tg.nn.BatchNorm(8), tg.nn.ReLU(), tg.nn.Linear(8, 3, seed=1))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    text = str(of(step, np.zeros((5, 4), "f"), np.zeros(5, int)))
    assert re.search(rf"^loss = softmax_cross_entropy\(\w+, y\)\s+{HERE}:\d+$", text, re.M)
    assert "batch_norm, gamma: sum(g_y * z), z = (x - mu) / s" in text
    assert "relu, x: where(out == 0, 0.0, g)" in text
    assert "update" not in text
    for decl in tg.trace(step, np.zeros((5, 4), "f"), np.zeros(5, int)).cells:
        if decl.kind == "parameter":
            assert f"d_{decl.path.split('.')[-1]}" in text


def test_several_passes_are_told_apart() -> None:
    def f(x: Any) -> Any:
        first = tg.grad(lambda t: (t**3).sum())
        return tg.grad(lambda t: (first(t) ** 2).sum())(x)

    shown = of(f, tg.spec((3,), "float64"))
    text = str(shown)
    assert "d1_" in text and "d2_" in text and "^{(2)}" in shown.latex()
    assert "d_" not in re.sub(r"d\d_|: d_x is", "", text)


def test_what_arrives_nowhere_or_is_given() -> None:
    def f(x: Any, y: Any, c: Any) -> Any:
        return tg.gradients(x * 2.0, [x, y], c)

    x, y = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([1.0], requires_grad=True)
    text = str(of(f, x, y, np.ones(2, "f")))
    assert re.search(r"d_v0 = c +where the backward pass begins", text)
    assert re.search(r"d_y = zeros\(shape=\(1,\), dtype='float32'\) +nothing arrives", text)


def test_a_rule_of_ones_own_is_written_in_several_lines() -> None:
    @tg.custom_vjp
    def f(x: Any) -> Any:
        return tg.exp(x)

    def backward(kept: Any, g: Any) -> Any:
        s = tg.sin(kept) * g
        for _ in range(12):
            s = tg.tanh(s) * s + 1.0
        return (s,)

    f.defvjp(lambda x: (f.function(x), x), backward)
    shown = of(lambda x: f(x).sum(), tg.spec((2,)))
    step = next(s for s in shown.steps if "custom_vjp" in s.forward)
    assert len(step.lines) > 4 and step.lines[-1].left == "d_x" and step.lines[-1].rule == "custom_vjp, args"


@given(programs(differentiable=True, max_steps=8))
def test_random_programs(program: Program) -> None:
    with quiet():
        graph = program.graph().grad(program.floats[0])
        shown = of(graph)
    assert str(shown).isprintable() or all(line.isprintable() for line in str(shown).splitlines())
    assert shown.steps
    assert all(re.search(r"<random program \w+>:\d+", str(step.source)) for step in shown.steps if step.source)


def test_every_op_has_a_formula() -> None:
    """In LaTeX that is LaTeX, also where the field has no notation."""
    from tensorgraph.testing import differentiable_places, examples_of

    for op in list(CATALOGUE.values()):
        if not op.differentiable or op.name.endswith("_vjp") or op.name in ("custom_vjp", "checkpoint", "scan"):
            continue
        for case in examples_of(op)[:3]:
            places = differentiable_places(case)
            arrays = [case.at(p) for p in places]

            def function(*xs: Any, case: Any = case, places: Any = places) -> Any:
                moved = case.put(dict(zip(places, xs, strict=True)))
                outs = case.op.public(*moved.inputs, **case.attrs)
                sums = [y.sum() for y in (outs if isinstance(outs, tuple) else (outs,)) if y.dtype.kind == "f"]
                return sum(sums[1:], sums[0])

            if arrays and all(a.size for a in arrays):
                text = str(of(function, *arrays))
                assert f"{op.name}, " in text or op.reference is not None, op.name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x", "x"), ("w_1", "w_{1}"), ("w12", "w_{12}"), ("mu", r"\mu"), ("gamma_2", r"\gamma_{2}"),
        ("layers_weight", r"\mathrm{layers\_weight}"), ("W", "W"), ("_", r"\mathrm{\_}"),
        ("a_1_2", r"\mathrm{a\_1\_2}"),
    ],
)  # fmt: skip
def test_symbols(name: str, shown: str) -> None:
    assert symbol(name) == shown
    check_latex(shown)


@pytest.mark.parametrize("text", ["\\end{align}", "a_b^c", "100%", "${x}$", "#&~", "a\nb\x00", "größe", "}{", ""])
def test_hostile_text(text: str) -> None:
    check_latex(words(text))
    check_latex(symbol(text, bar=True))
    assert "\n" not in words(text) and "\x00" not in words(text)


def test_hostile_names_and_files() -> None:
    space: dict[str, Any] = {"tg": tg}
    source = "def f(x, \u03b1\u03b2):\n    return (x * \u03b1\u03b2).sum()\n"
    exec(compile(source, "\\evil}{$%\n_file.py", "exec"), space)
    shown = of(space["f"], tg.spec((2,)), tg.spec((2,)))
    assert all(line.isprintable() for line in str(shown).splitlines())
    w = tg.Parameter([1.0], name="0.\\weight}{$%")
    of(lambda x: (x * w).sum(), tg.spec((1,)))


def test_what_cannot_be_explained_says_so() -> None:
    graph = tg.trace(tg.grad(lambda x: (x * x).sum()), tg.spec((2,)))
    with pytest.raises(ValueError, match=r"written out already: explain the graph before differentiate\(\)"):
        tg.explain_gradient(graph.differentiate())
    with pytest.raises(TypeError, match="a graph has its types already"):
        tg.explain_gradient(graph, tg.spec((2,)))
    with pytest.raises(TypeError, match="takes a graph or a function, got int"):
        tg.explain_gradient(3)
    with pytest.raises(TypeError, match="must return one float element"):
        tg.explain_gradient(lambda x: x * 2.0, tg.spec((2,)))
    with pytest.raises(ValueError, match="neither float arguments nor parameters"):
        tg.explain_gradient(lambda i: i.sum(), tg.spec((2,), "int64"))


def test_mathematics_that_another_reader_accepts() -> None:
    """Matplotlib's own reader of LaTeX formulas, for the parts that it knows."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    shown = of(loss, tg.spec((2, 3)), tg.spec((3, 4)), tg.spec((4,)))
    read = 0
    for step in shown.steps:
        for line in step.lines:
            for part in (line.left_latex, line.formula_latex, line.rule_latex):
                parser.parse(f"${part}$")
                read += 1
    assert read == 30


def test_what_is_picked_is_written_as_indexing() -> None:
    x, rows = tg.spec((4, 5), "float64"), np.array([0, 2])
    shown = of(lambda x: (x[1:3] * x[rows].sum()).sum(), x)
    formulas = [line.formula for step in shown.steps for line in step.lines]
    assert any(re.fullmatch(r"zeros\(\(4, 5\)\)\.at\[1:3\]\.add\(d_v\d+\)", formula) for formula in formulas)
    assert any(re.fullmatch(r"zeros\(\(4, 5\)\)\.at\[const0\]\.add\(d_v\d+\)", formula) for formula in formulas)
    assert any(step.forward.endswith("= x[const0]") for step in shown.steps)
    assert r"{x}_{\mathrm{const}_{0}}" in shown.latex() and "key" not in shown.latex()
    picked = str(of(lambda x: tg.sort(x, axis=0)[0].sum(), x))
    assert "d_x = add_along_axis(d_v0, order, axis=0" in picked and "add_along_axis(g, order, axis=0" in picked
    assert ".at[1].set(" in str(of(lambda x: x.at[1].set(2.0).sum(), x))


def test_nothing_is_used_before_it_is_there() -> None:
    shown = of(lambda x: x.max(), tg.spec((4,)))
    assert [line.left for line in shown.steps[0].lines][0] == "d_v0"  # where the backward pass begins
    assert r"&= \left[x = v_{0} \, \mathbf{1}\right]" in shown.latex()  # one equation, not two

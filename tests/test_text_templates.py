"""Texts of templates: functions as those of graphs, read back as equal templates, and plain Python at every size."""

from __future__ import annotations
import __future__

from collections.abc import Callable
from typing import Any

import large_programs
import numpy as np
import pytest
from test_text_folded import WIDEST, lines_of
from test_text_library import live_cells
from test_text_plain import numbers_for

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.engine.tree import flatten
from tensorgraph.text.template import Template


def step(model: nn.Module, *given: Any) -> Template:
    optimizer = optim.Adam(model, lr=0.01)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        optimizer.minimize(loss)
        return loss

    return tg.trace(step, *given)


def language_loss() -> Template:
    model = large_programs.LanguageModel(layers=2, dim=16)

    def loss(ids: Any, targets: Any) -> Any:
        return tg.softmax_cross_entropy(model(ids).reshape(-1, 96), targets.reshape(-1))

    return tg.trace(loss, tg.i64["N", 16], tg.i64["N", 16])


def centred(x: Any) -> Any:
    return x - x.sum(axis=0) / x.shape[0]


TEMPLATES: dict[str, Callable[[], Template]] = {
    "residual step": lambda: step(large_programs.Residual(3), tg.f32["N", 8], tg.i64["N"]),
    "lstm step": lambda: step(large_programs.Recurrent(), tg.f32["N", 6, 3], tg.i64["N"]),
    "language loss": language_loss,
    "u-net": lambda: tg.trace(large_programs.UNet((16, 8, 4)), tg.f32["N", 16]),
    "several sizes": lambda: tg.trace(lambda x, w: centred(centred(x) @ w), tg.f32["N", "D"], tg.f32["D", "M"]),
}


def read_back(template: Template) -> str:
    text = template.text()
    again = tg.parse(text, template.arrays)
    assert again == template and hash(again) == hash(template) and again.dims == template.dims, text
    assert str(again) == again.text() == text
    assert max(map(len, text.split("\n"))) <= WIDEST
    return text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_functions(name: str) -> None:
    template = TEMPLATES[name]()
    text = read_back(template)
    graph = str(template.at(**dict.fromkeys(template.dims, 8)))
    assert lines_of(text) <= lines_of(graph) + 8 and text.count("def ") == graph.count("def ")
    flat = template.text(flat=True)
    assert (
        flat.count("def ") == 1 and lines_of(flat) > lines_of(text) - 4 and tg.parse(flat, template.arrays) == template
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_its_text_runs_as_python_at_any_size(name: str) -> None:
    template = TEMPLATES[name]()
    names = tg.text.namespace(template.arrays)
    flags = __future__.annotations.compiler_flag
    exec(compile(template.text(), name, "exec", flags, dont_inherit=True), names)
    dice = np.random.default_rng(0)
    for size in (3, 16):
        graph = template.at(**dict.fromkeys(template.dims, size))
        state = {c.path: numbers_for(c.aval, dice) for c in graph.cells}
        members = tg.text.cells(names[template.name], state=state)
        args = [tg.tensor(numbers_for(v.aval, dice), v.aval.dtype) for v in graph.inputs]
        made = names[template.name](*args, **members)
        wanted, after = graph(*args, state=state) if graph.cells else (graph(*args), {})
        for a, b in zip(flatten(made)[0], flatten(wanted)[0], strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        now = live_cells(members)
        for path, value in after.items():
            np.testing.assert_array_equal(now[path].numpy(), np.asarray(value), err_msg=path)


@pytest.mark.parametrize("name", ["lstm step", "residual step"])
def test_what_a_pass_makes_of_it_is_functions_too(name: str) -> None:
    template = TEMPLATES[name]()
    text = read_back(template.differentiate())
    assert "_backward(" in text and text.count("def ") > template.text().count("def ")


def test_a_size_has_its_name_to_itself() -> None:
    def f(x: Any) -> Any:
        N = x * x.shape[0]
        return N + x.shape[0]

    text = read_back(tg.trace(f, tg.f32["N", 3]))
    assert text.split("\n")[1:] == ["    N = x.shape[0]", "    N_ = x * N", "    return N_ + N"]
    with pytest.raises(tg.ParseError, match="means something else"):
        tg.parse("def f(x: f32[N, 3]):\n    N = x.shape[1]\n    return x * N")


SIZED = {
    "median": lambda x: tg.median(x, axis=0), "of all": lambda x: tg.median(x),
    "upper": lambda x: (x @ x.T)[tg.triu_indices(x.shape[0])],
    "lower": lambda x: (x @ x.T)[tg.tril_indices(x.shape[0], -1)],
}  # fmt: skip


@pytest.mark.parametrize("name", SIZED)
def test_medians_and_triangles_have_any_size(name: str) -> None:
    template = tg.trace(SIZED[name], tg.f32["N", 3])
    assert tg.parse(str(template)) == template
    for n in (1, 2, 4, 5):
        x = tg.tensor(np.random.default_rng(n).normal(size=(n, 3)).round(1).astype("f4"))
        assert template(x).numpy().tobytes() == SIZED[name](x).numpy().tobytes()


def test_triangles_of_graphs_have_the_numbers_of_eager_ones() -> None:
    for n, m, k in ((0, None, 0), (3, None, -1), (3, 5, 9), (3, 2, -9), (4, 6, 2), (1, 0, 0)):
        for function in (tg.triu_indices, tg.tril_indices):
            found = tg.trace(lambda f=function, n=n, m=m, k=k: f(n, k, m))()
            assert [(t.tolist(), t.dtype) for t in found] == [(t.tolist(), t.dtype) for t in function(n, k, m)]

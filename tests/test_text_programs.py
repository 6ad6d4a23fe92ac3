"""Random programs through their text: read back they are the same graph, run as Python they give the same numbers."""

import __future__

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph.engine.tree import flatten
from tensorgraph.graph import Graph
from tensorgraph.graph.graph import digest
from tensorgraph.testing import Program, assert_same, programs
from tensorgraph.testing.programs.program import quiet
from tensorgraph.text.names import names


def read_back(graph: Graph) -> tuple[str, str]:
    """Both texts, after checking that each is read back as the same graph, which prints the same."""
    for flat in (False, True):
        text = graph.text(flat=flat)
        again = tg.parse(text, tg.text.arrays_of(graph))
        assert again == graph and hash(again) == hash(graph), text
        assert [eq.scope for eq in again.equations] == [eq.scope for eq in graph.equations], text
        assert again.text(flat=flat) == text
    return str(graph), text


def as_python(graph: Graph, text: str) -> Any:
    """The text's function, run as ordinary Python."""
    space = tg.text.namespace({digest(array): array for array in graph.consts.values()})
    exec(compile(text, "<text of a graph>", "exec", __future__.annotations.compiler_flag, dont_inherit=True), space)
    return space[re.findall(r"^def (\w+)\(", text, re.M)[-1]]


def assert_same_trees(a: Any, b: Any) -> None:
    leaves, tree = flatten(a)
    others, other = flatten(b)
    assert tree == other
    for x, y in zip(leaves, others, strict=True):
        if isinstance(x, tg.Tensor):
            assert_same(x.numpy(), y.numpy())
        else:
            assert type(x) is type(y) and (x == y or x != x)


@given(programs())
def test_a_program_comes_back_from_its_text_and_the_text_runs(program: Program) -> None:
    graph = program.graph()
    with quiet():
        for text in read_back(graph):
            assert_same_trees(graph(*program.tensors()), as_python(graph, text)(*program.tensors()))


@given(programs(wild=True))
def test_odd_numbers_come_back_too(program: Program) -> None:
    graph = program.graph()
    with quiet():
        for text in read_back(graph):
            assert_same_trees(graph(*program.tensors()), as_python(graph, text)(*program.tensors()))


@given(programs(differentiable=True))
def test_gradients_come_back_and_run(program: Program) -> None:
    with quiet():
        graph = tg.trace(tg.grad(program.function, argnums=program.floats), *program.specs)
        for text in read_back(graph):
            assert_same_trees(graph(*program.tensors()), as_python(graph, text)(*program.tensors()))
        read_back(graph.differentiate())
        read_back(graph.differentiate().simplify())


@given(programs(state=True))
def test_steps_with_state_come_back_and_run(program: Program) -> None:
    graph = program.graph()
    _, text = read_back(graph)  # whose cells are arguments of its own
    cells = program.make().cells
    state = {decl.path: np.array(cells[decl.path].read().numpy()) for decl in graph.cells}
    called = names(graph, {graph.name})
    function = as_python(graph, text)
    with quiet():
        for number in range(2):
            tensors = program.tensors(number)
            found = graph(*tensors, state=state) if graph.cells else (graph(*tensors), {})
            expected, state = found[0], {path: np.array(t.numpy()) for path, t in found[1].items()}
            assert_same_trees(expected, function(*tensors, **{called[d.var]: cells[d.path] for d in graph.cells}))
            for path, value in state.items():
                assert_same(value, cells[path].read().numpy())


@pytest.mark.parametrize("level", ["expand", "simplify", "recognise"])
def test_what_passes_make_comes_back(level: str) -> None:
    def loss(x: Any, w: Any, y: Any) -> Any:
        return tg.softmax_cross_entropy(tg.softmax(x @ w) * 2.0, y)

    graph = tg.trace(tg.grad(loss, argnums=1), tg.f32[4, 3], tg.f32[3, 5], tg.i64[4])
    read_back(getattr(graph, level)())
    read_back(getattr(graph.differentiate(), level)())

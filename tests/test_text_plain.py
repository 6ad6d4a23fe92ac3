"""What programs of the size that people train print runs as plain Python, with the same bits, cells included."""

from __future__ import annotations
import __future__

from typing import Any

import numpy as np
import pytest
from large_programs import PROGRAMS
from reread_programs import REREADS
from test_text_library import live_cells

import tensorgraph as tg
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph import Graph


def numbers_for(aval: Any, dice: np.random.Generator) -> np.ndarray:
    """Numbers of a type that any program takes: small labels, no zeros to divide by."""
    if aval.dtype == np.uint64:
        return np.asarray(tg.random.key(0))
    if aval.dtype.kind == "f":
        return np.asarray(dice.uniform(0.01, 0.1, aval.shape), aval.dtype)
    return np.asarray(dice.integers(0, 2, aval.shape), aval.dtype)


def runs_as_python(graph: Graph) -> None:
    """Run a graph and its text twice, and compare all bits of what they give and of their cells."""
    dice = np.random.default_rng(0)
    arrays = tg.text.arrays_of(graph)
    names = tg.text.namespace(arrays)
    code = compile(graph.text(), graph.name, "exec", __future__.annotations.compiler_flag, dont_inherit=True)
    exec(code, names)
    state = {c.path: numbers_for(c.aval, dice) for c in graph.cells}
    members = tg.text.cells(names[graph.name], state=state)
    for _ in range(2):
        args = unflatten(graph.in_tree, [tg.tensor(numbers_for(v.aval, dice), v.aval.dtype) for v in graph.inputs])
        made = names[graph.name](*args, **members)
        wanted, state = graph(*args, state=state) if graph.cells else (graph(*args), {})
        for a, b in zip(flatten(made)[0], flatten(wanted)[0], strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        now = live_cells(members)
        assert now.keys() >= state.keys()
        for path, value in state.items():
            np.testing.assert_array_equal(now[path].numpy(), np.asarray(value), err_msg=path)


@pytest.mark.parametrize("name", [name for name in PROGRAMS if not name.startswith(("flat", "5"))])
def test_a_printed_program_runs(name: str) -> None:
    runs_as_python(PROGRAMS[name]())


STEPS = [name for name in (*PROGRAMS, *REREADS) if name not in ("maml step", "reads in another order", "flat")]


@pytest.mark.sampled(test=23, quick=2)
@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_a_printed_program_has_all_that_it_starts_from(name: str, library: bool) -> None:
    graph = {**PROGRAMS, **REREADS}[name]()
    names = tg.text.namespace(tg.text.arrays_of(graph))
    code = compile(graph.text(library=library), name, "exec", __future__.annotations.compiler_flag, dont_inherit=True)
    exec(code, names)
    members = tg.text.cells(names[graph.name], seed=3)
    given = live_cells(members)
    told = {decl.path: decl.initialiser for decl in graph.cells}
    dice = np.random.default_rng(0)
    args = unflatten(graph.in_tree, [tg.tensor(numbers_for(v.aval, dice), v.aval.dtype) for v in graph.inputs])
    begin = {path: cell.numpy().copy() for path, cell in given.items()}
    wanted, after = graph(*args, state={**{p: np.zeros(c.aval.shape, c.aval.dtype) for p, c in _cells(graph)}, **begin})
    made = names[graph.name](*args, **members)
    for a, b in zip(flatten(made)[0], flatten(wanted)[0], strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
    for path, cell in live_cells(members).items():
        np.testing.assert_array_equal(cell.numpy(), np.asarray(after[path]), err_msg=path)
    if "optimizer.lr" in told:
        assert begin["optimizer.lr"] == float(told["optimizer.lr"].partition("=")[2].rstrip(")"))


def _cells(graph: Graph) -> list[tuple[str, Any]]:
    return [(decl.path, decl.var) for decl in graph.cells]


@pytest.mark.parametrize("name", REREADS)
def test_a_printed_program_that_reads_written_cells_runs(name: str) -> None:
    runs_as_python(REREADS[name]())

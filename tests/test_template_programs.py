"""Random programs of any size, as templates: at each size the trace, read back from their text, differentiated, run."""

from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given

import tensorgraph as tg
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.testing import Program, assert_same, programs, random_program
from tensorgraph.testing.programs.program import quiet
from tensorgraph.text import SizeError

SIZES = ((3, 4), (9, 2), (23, 6))


def template_of(program: Program, function: Any) -> Any:
    """The template; None where the function does something else at another size, and says so with its line."""
    try:
        return tg.trace(function, *program.typed())
    except SizeError as error:
        assert "random program" in str(error)
        return None


def traced(program: Program, function: Any, n: int, m: int) -> Any:
    """The graph at some sizes; None where the function refuses them."""
    try:
        return tg.trace(function, *program.typed(N=n, M=m))
    except Exception:  # of whatever the program does there
        return None


def sizes_of(template: Any, n: int, m: int) -> dict[str, int]:
    return {name: size for name, size in (("N", n), ("M", m)) if name in template.dims}


@given(programs(sized=True))
@examples(30)
def test_a_template_is_the_trace_at_every_size(program: Program) -> None:
    with quiet():
        template = template_of(program, program.function)
        if template is None:
            return
        again = tg.parse(str(template), template.arrays)
        assert again == template and str(again) == str(template)
        for n, m in SIZES:
            expected = traced(program, program.function, n, m)
            if expected is not None:
                assert template.at(**sizes_of(template, n, m)) == expected == again.at(**sizes_of(template, n, m))


@given(programs(sized=True, differentiable=True, max_steps=8))
@examples(12)
def test_its_gradient_is_the_gradient_at_every_size(program: Program) -> None:
    with quiet():
        gradient = tg.value_and_grad(program.function, program.floats)
        template = template_of(program, gradient)
        if template is None:
            return
        for method in ("differentiate", "transform"):
            lifted = getattr(template, method)()
            for n, m in SIZES[:2]:
                graph = traced(program, gradient, n, m)
                if graph is None:
                    continue
                found, expected = lifted.at(**sizes_of(template, n, m)), getattr(graph, method)()
                if found != expected:  # at some sizes a pass finds more to do, to the same bits
                    assert method == "transform"
                    values = arguments(graph)
                    for a, b in zip(flatten(found(*values))[0], flatten(expected(*values))[0], strict=True):
                        assert_same(a.numpy(), b.numpy())


def arguments(graph: Any) -> Any:
    """Numbers for a graph, nested as it takes them."""
    rng = np.random.default_rng(0)
    numbers = [rng.uniform(0.5, 1.5, size=var.aval.shape).astype(var.aval.dtype) for var in graph.inputs]
    return unflatten(graph.in_tree, list(map(tg.tensor, numbers)))


@given(programs(sized=True, max_steps=8))
@examples(8)
def test_compiled_it_runs_at_every_size(program: Program) -> None:
    with quiet():
        template = template_of(program, program.function)
        compiled = tg.compile(program.function)
        for n, m in ((7, 5), *SIZES[:2]):
            graph = traced(program, program.function, n, m)
            if template is None or graph is None:
                continue
            values = arguments(graph)
            found, expected = compiled(*values), template(*values)
            for a, b in zip(flatten(found)[0], flatten(expected)[0], strict=True):
                if isinstance(a, tg.Tensor) and a.dtype.kind == "f":
                    finite = np.isfinite(b.numpy())
                    scale = max(1.0, float(np.abs(b.numpy()[finite]).max(initial=0.0)))
                    np.testing.assert_allclose(a.numpy()[finite], b.numpy()[finite], rtol=2e-3, atol=2e-4 * scale)


def test_what_is_drawn() -> None:
    """Programs with one name and with two, with functions inside, nested arguments, and sizes in shapes."""
    drawn = [random_program(seed, 10, sized=True) for seed in range(30)]
    sources = "\n".join(program.source() for program in drawn)
    assert all(word in sources for word in ("n0 = ", "m0 = ", "def f0", "batch0", "shape=(n0", "custom_vjp", "tg.jvp"))
    dims = {template.dims for program in drawn[:6] if (template := template_of(program, program.function)) is not None}
    assert dims <= {("N",), ("M",), ("N", "M"), ("M", "N")} and dims
    with pytest.raises(ValueError, match="any size"):
        random_program(0, sized=True, state=True)

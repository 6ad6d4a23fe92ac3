"""`Program`, the one runner of graphs: step by step and as one function, on arrays and on the tape, the same bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.program import OFTEN, Program
from tensorgraph.testing import Program as Random
from tensorgraph.testing import assert_same, programs
from tensorgraph.testing.programs.program import quiet


def numbers(graph: tg.Graph, program: Random) -> list[Any]:
    values = [t._value for t in flatten(program.tensors())[0]]
    state = program.make().state()
    return [*values, *(np.asarray(state[decl.path]) for decl in graph.cells)]


@given(programs() | programs(wild=True) | programs(state=True))
def test_step_by_step_as_one_function_and_on_the_tape(program: Random) -> None:
    graph = program.graph().differentiate()
    given = numbers(graph, program)
    with quiet():
        prepared = graph.program
        steps = prepared._run_steps(given, prepared._fused)
        whole = prepared.function(*given)
        env = prepared.taped([tg.tensor(v) for v in given])
    for a, b, slot in zip(steps, whole, prepared.results, strict=True):
        assert_same(b, a, "as one function")
        taped = env[slot]
        assert_same(taped.numpy() if isinstance(taped, tg.Tensor) else taped, a, "on the tape")


@given(programs(differentiable=True, nested=False))
def test_a_graph_run_often_gives_the_same(program: Random) -> None:
    """Deferred gradients are written out at the second run, and a program becomes one function after some."""
    graph = tg.trace(tg.value_and_grad(lambda *args: sum(t.sum() for t in floats(program.function(*args))),
                                       argnums=program.floats[0]), *program.specs)  # fmt: skip
    with quiet():
        first = [t.numpy() for t in flatten(graph(*program.tensors()))[0]]
        for _ in range(OFTEN + 2):
            for got, expected in zip(flatten(graph(*program.tensors()))[0], first, strict=True):
                assert_same(got, expected, "once more")


@given(programs(differentiable=True, nested=False))
def test_a_graph_differentiated_often_gives_the_same(program: Random) -> None:
    """Recorded step by step at first, and then by one function; scopes and derivatives are the same."""
    graph = program.graph()
    (at, *_) = program.floats
    with quiet():
        for n in range(OFTEN + 2):
            tensors = program.tensors(requires_grad=True)
            results = floats(graph(*tensors))
            sums = sum((t.sum() for t in results), tg.tensor(0.0))
            grads = floats(tg.gradients(sums, tensors[at])) if sums.requires_grad else []
            numbers = [t.numpy() for t in (*results, *grads)]
            if n == 0:
                first = numbers
            for got, expected in zip(numbers, first, strict=True):
                assert_same(got, expected, "recorded once more")


def floats(tree: Any) -> list[Any]:
    return [t for t in flatten(tree)[0] if isinstance(t, tg.Tensor) and t.dtype.kind == "f"]


@pytest.mark.parametrize("number", [0.1, -0.0, 3, -1, 2**24 + 1, 1e-50, 7e4, float("inf"), float("nan")])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_weak_numbers_keep_their_bits(number: Any, dtype: str) -> None:
    x = np.array([1.5, -0.25, 3.0], dtype)
    with quiet():
        for function in (
            lambda x: x * number,
            lambda x: number - x,
            lambda x: tg.maximum(x, number),
            lambda x: x**number,
        ):
            graph = tg.trace(function, x)
            expected = function(tg.tensor(x)).numpy()
            for _ in range(OFTEN + 2):
                assert_same(graph(x), expected, f"{number} beside {dtype}")


def test_a_number_out_of_range_warns_as_eager() -> None:
    graph = tg.trace(lambda x: x * 1e300, tg.f32[2])
    for _ in range(OFTEN + 2):
        with pytest.warns(RuntimeWarning, match="overflow"):
            assert np.isinf(graph(np.ones(2, np.float32)).numpy()).all()


def test_an_error_names_the_equation_however_the_graph_runs() -> None:
    graph = tg.trace(lambda z, y: tg.softmax_cross_entropy(tg.tanh(z), y), tg.f32[2, 3], tg.i64[2])
    z = np.zeros((2, 3), np.float32)
    for labels in ([0, 1], [1, 2], [2, 2], [0, 0], [0, 1]):
        assert np.isfinite(float(graph(z, np.array(labels))))
        with pytest.raises(ValueError, match="5") as caught:
            graph(z, np.array([0, 5]))
        assert any("in the equation of softmax_cross_entropy traced at" in note for note in caught.value.__notes__)


def test_values_go_after_their_last_use_and_results_stay() -> None:
    graph = tg.trace(lambda x: (tg.exp(x) + 1.0, tg.tanh(x)), tg.f32[3])
    program = graph.program
    e, plus, tanh = program.steps
    assert e.last == () and plus.last == e.outputs and program.slots[graph.inputs[0]] in tanh.last
    assert "del v" in program.source
    kept = Program(graph, keep=True)
    assert all(not step.last for step in kept.steps)


def test_results_do_not_lie_in_the_users_memory() -> None:
    graph = tg.trace(lambda x: (x, x.reshape(4), x + 1.0), tg.f32[2, 2])
    x = np.ones((2, 2), np.float32)
    for _ in range(OFTEN + 2):
        same, flat, _ = graph(x)
        x[0, 0] += 1.0
        assert same.numpy()[0, 0] == flat.numpy()[0] == x[0, 0] - 1.0


def test_recognition_and_folding_run_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs its equations by `Program` alone, on the types that the program's own equations declare."""
    ran: list[str] = []
    steps = Program._run_steps

    def watched(self: Program, values: Any, *args: Any) -> Any:
        ran.extend(step.equation.op.name for step in self.steps)
        declared = [step.equation.outputs[0].aval for step in self.steps]
        results = steps(self, values, *args)
        if len(results) == len(declared):
            assert [(r.shape, r.dtype) for r in results] == [(a.shape, a.dtype) for a in declared]
        return results

    monkeypatch.setattr(Program, "_run_steps", watched)

    def softmax(x: tg.Tensor) -> tg.Tensor:
        e = tg.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    with quiet():
        graph = tg.trace(softmax, tg.f32[128, 300])
        assert [eq.op.name for eq in graph.recognise().equations] == ["softmax"]
    assert {"exp", "sum", "divide"} <= set(ran)
    ran.clear()
    folded = tg.trace(lambda x: x * (tg.zeros((3, 8)) - 1.5) + tg.exp(tg.arange(4.0)).sum(), tg.f32[3, 8]).simplify()
    assert {"subtract", "exp", "sum"} <= set(ran) and "exp" not in str(folded)
    sources = Path(tg.__file__).parent
    for room in ("passes", "analysis", "transforms", "train"):
        for path in (sources / room).rglob("*.py"):
            assert "array_function" not in path.read_text() or path.name == "interop.py", path


@pytest.mark.parametrize("runs", [1, OFTEN + 2])
def test_what_a_graph_records_tells_the_traced_line(runs: int) -> None:
    def f(x: Any) -> Any:
        y = tg.tanh(x)
        return y.sum()

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    graph = tg.trace(f, x)
    for _ in range(runs):
        result = graph(x)
    lines = [eq.source.line for eq in tg.graph(result).equations if eq.source is not None]
    assert lines == [f.__code__.co_firstlineno + 1, f.__code__.co_firstlineno + 2]


def test_arrays_that_were_recorded_may_be_written_to_afterwards() -> None:
    graph = tg.trace(lambda x, w: (x * w).sum(), tg.f64[3], tg.f64[3])
    w = tg.tensor(np.ones(3), requires_grad=True)
    for _ in range(OFTEN + 2):
        x = np.array([1.0, 2.0, 3.0])
        result = graph(x, w)
        x[:] = np.nan
        (gradient,) = tg.gradients([result], [w])
        assert gradient.tolist() == [1.0, 2.0, 3.0]


def test_debug_nans_looks_into_graphs_that_were_run_often() -> None:
    graph = tg.trace(lambda x: tg.log(x).sum(), tg.f64[2])
    x = tg.tensor(np.zeros(2), requires_grad=True)
    with np.errstate(divide="ignore"):
        for _ in range(OFTEN + 2):
            graph(x)
        with tg.debug_nans(), pytest.raises(FloatingPointError, match="log"):
            graph(x)

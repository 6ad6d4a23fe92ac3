"""What a compiled function raises of numbers is what the function itself raises: type, words, the function and line."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.testing import Case, examples_of


def error_of(function: Callable[..., Any], *args: Any) -> tuple[type, str] | None:
    """The type and the words of what a call raises."""
    try:
        function(*args)
    except Exception as error:
        return type(error), str(error)
    return None


X = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
TABLE = nn.Embedding(3, 4)
LABELS = np.array([0, 1, 4])
CALLS: dict[str, tuple[Callable[..., Any], Any]] = {
    "take": (lambda x, i: tg.take(x, i, 1), LABELS),
    "nll": (tg.nll, LABELS),
    "multi_margin": (tg.multi_margin, LABELS),
    "binary_cross_entropy": (tg.binary_cross_entropy, X * 2),
    "hinge": (lambda x, t: tg.hinge(x * 2.0, t - 1.0), X),
    "kl_div": (lambda x, t: tg.kl_div(x, t - 1.0), X),
    "segment_mean": (lambda x, i: tg.segment_mean(x, i, 3), LABELS),
    "indices": (lambda x, i: x[i], LABELS),
    "embedding": (lambda x, i: tg.exp(tg.embedding(x, i)).sum(), LABELS),
    "Embedding": (lambda x, i: TABLE(i) + x, LABELS),
    "cholesky": (lambda x, t: tg.linalg.cholesky(x[:, :3] - t[:, :3]), X),
    "matrix_cond": (lambda x, t: tg.matrix_cond(x[:, :3] + t[:, :3]), X * np.float32(np.nan)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("gradient", [False, True])
def test_functions_made_of_ops_are_named_compiled(name: str, gradient: bool) -> None:
    function, other = CALLS[name]
    if gradient:
        f = lambda x, t: tg.value_and_grad(lambda x: tg.exp(function(x, t)).sum())(x)
    else:
        f = function
    expected = error_of(f, tg.tensor(X), tg.tensor(other))
    assert expected is not None and "test_compile_errors.py:" in expected[1], expected
    assert error_of(tg.compile(f), tg.tensor(X), tg.tensor(other)) == expected


def cases() -> Iterator[Case]:
    """For each op that takes integers, an example in which one of them is beyond everything."""
    for declared in tg.CATALOGUE.values():
        if "internal" in declared.traits or declared.name.endswith("_vjp") or not declared.examples:
            continue
        case = examples_of(declared)[0].cast(np.float32)
        for place, array in case.places():
            if array.dtype == np.int64 and array.size:
                far = array.copy()
                far.flat[-1] = 99
                yield case.put({place: far})


def test_ops_refuse_integers_compiled_as_they_do_alone() -> None:
    refused = 0
    for case in cases():
        call = lambda *inputs, case=case: case(inputs)
        inputs, _ = case.tensors()
        expected = error_of(call, *inputs)
        assert error_of(tg.compile(call), *inputs) == expected, str(case)
        refused += expected is not None
    assert refused > 5, refused


def test_a_graph_names_function_and_line_as_well() -> None:
    function, labels = CALLS["segment_mean"]
    graph = tg.trace(function, tg.f32[3, 4], tg.i64[3])
    expected = error_of(function, tg.tensor(X), tg.tensor(labels))
    for _ in range(4):  # step by step, then as one function
        assert error_of(graph, X, labels) == expected
    assert error_of(tg.grad(lambda x: graph(x, labels)), tg.tensor(X)) == expected


@pytest.mark.parametrize("name", CALLS)
def test_what_nobody_reads_is_refused_as_well(name: str) -> None:
    """A result that is dropped, and a forward of which the gradient reads nothing: also while one looks for NaN."""
    function, other = CALLS[name]

    def dropped(x: Any, t: Any) -> Any:
        function(x, t)
        return x * 2.0

    def gradient(x: Any, t: Any) -> Any:
        return tg.grad(lambda x: function(x, t).sum() * 2.0 + x.sum())(x)

    for f in (dropped, gradient):
        expected = error_of(f, tg.tensor(X), tg.tensor(other))
        assert expected is not None
        compiled = tg.compile(f)
        assert error_of(compiled, tg.tensor(X), tg.tensor(other)) == expected
        with tg.debug_nans():
            assert error_of(compiled, tg.tensor(X), tg.tensor(other)) == error_of(f, tg.tensor(X), tg.tensor(other))
        graph = tg.trace(f, X, other)
        for g in (graph, graph.transform()) if not graph.cells else ():
            assert error_of(g, X, other) == expected


def test_what_nobody_reads_and_refuses_nothing_is_not_run() -> None:
    def f(x: Any, i: Any) -> Any:
        unread = [tg.exp(x)[1:], x**2.5, x @ x.T, tg.softmax(x), x[:, 0], i + 1]
        return tg.grad(lambda x: (x**3.0).sum() * len(unread))(x)

    left = [eq.op.name for eq in tg.trace(f, tg.f32[3, 4], tg.i64[2]).transform().equations]
    assert not {"exp", "matmul", "softmax", "getitem", "sum", "add"} & {*left} and left.count("power") == 1, left


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nan_that_nobody_reads_is_seen() -> None:
    def f(x: Any) -> Any:
        tg.log(x * 0.0 - 1.0)
        return tg.grad(lambda x: (tg.sqrt(x - 5.0) * 0.0 + x).sum())(x)

    compiled = tg.compile(f)
    compiled(X)
    with tg.debug_nans():
        expected = error_of(f, tg.tensor(X))
        assert expected is not None and error_of(compiled, tg.tensor(X)) == expected


REFUSALS: dict[str, Callable[[Any, Any], Any]] = {
    "index": lambda x, i: x[i].sum(),
    "factor": lambda x, i: tg.linalg.cholesky(x[:, :3] - 9.0).sum(),
    "label": lambda x, i: tg.nll(tg.log_softmax(x), i),  # found to be another op
    "one_hot": lambda x, i: tg.one_hot(i, 4).sum() * 1.0,
    "power": lambda x, i: ((i - 9) ** (i - 5)).sum(),
}


@pytest.mark.parametrize("first", REFUSALS)
def test_of_several_errors_the_first_is_raised_in_its_words(first: str) -> None:
    for second in REFUSALS:

        def f(x: Any, i: Any, second: str = second) -> Any:
            loss = REFUSALS[first](x, i)
            return loss + REFUSALS[second](x, i)

        expected = error_of(f, tg.tensor(X), tg.tensor(LABELS))
        compiled = tg.compile(f)
        assert expected is not None and [error_of(compiled, X, LABELS) for _ in range(2)] == [expected] * 2


def test_an_error_within_a_step_is_the_functions_and_changes_nothing() -> None:
    model = nn.Linear(4, 4, seed=0)
    sgd = optim.SGD(model, lr=0.1)

    def step(x: Any, i: Any) -> Any:
        loss = tg.nll(tg.log_softmax(model(x)), i)
        loss.backward()
        sgd.step()
        return loss

    compiled = tg.compile(step)
    good = np.array([0, 1, 3])
    compiled(X, good)
    compiled(X, good)
    before = model.weight.numpy(), model.weight.grad.numpy()
    assert error_of(compiled, X, LABELS) == error_of(step, tg.tensor(X), tg.tensor(LABELS))
    np.testing.assert_array_equal([model.weight.numpy(), model.weight.grad.numpy()], before)


def test_errors_of_the_trace_are_in_the_words_of_eager_code() -> None:
    state, fixed = tg.Buffer(np.zeros(3, np.float32)), tg.Parameter(X, requires_grad=False)

    def assigned(x: Any) -> None:
        state.assign(x[:, 0].astype("float64"))

    def shaped(x: Any) -> None:
        state.assign(x)

    for f in (assigned, shaped, lambda x: tg.gradients((x * fixed).sum(), [fixed]), lambda x: x @ x):
        expected = error_of(f, tg.tensor(X))
        assert expected is not None and error_of(tg.compile(f), tg.tensor(X)) == expected


def test_what_shapes_forbid_is_said_before_numbers_are_asked_for() -> None:
    """One number of a tensor that has several is refused in the words of the function uncompiled."""
    several = (float, int, bool, complex, round, range, "{:.2f}".format, lambda x: x.item(), lambda x: [1, 2][x])
    for f in several:
        told = error_of(f, tg.tensor([1.0, 2.0]))
        assert told is not None and error_of(tg.compile(lambda x, f=f: x * f(x)), tg.tensor([1.0, 2.0])) == told

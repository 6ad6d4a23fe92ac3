"""Residuals: what an op keeps for its derivative is an output of its equation once something needs it."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, structural
from tensorgraph.graph.graph import Literal
from tensorgraph.testing import assert_same, examples_of

KEEPING = sorted(n for n, op in CATALOGUE.items() if op.residuals and op.kind is not structural)


def abstract(value):
    if isinstance(value, list):
        return [abstract(v) for v in value]
    return Aval(value.shape, value.dtype) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", KEEPING)
def test_their_types_are_declared_right(name: str, dtype: str) -> None:
    op = CATALOGUE[name]
    for case in examples_of(op):
        inputs = [i.astype(dtype) if isinstance(i, np.ndarray) and i.dtype.kind == "f" else i for i in case.inputs]
        attrs = {**op.attrs, **case.attrs}
        given = op.forward(*inputs, **attrs)[len(op.outputs) :]
        expected = op.infer_residuals(tuple(abstract(i) for i in inputs), attrs)
        assert expected == tuple(Aval(r.shape, r.dtype) for r in given), case


def gradient_of(name: str):
    op = CATALOGUE[name]
    case = examples_of(op)[0]
    inputs = case.inputs
    wanted = tuple(i for i, v in enumerate(inputs) if isinstance(v, np.ndarray) and v.dtype.kind == "f")

    def loss(*args):
        out = op.public(*args, **case.attrs)
        floats = [y for y in (out if isinstance(out, tuple) else (out,)) if y.dtype.kind == "f"]
        return sum((tg.sin(y) * 1.5).sum() for y in floats)

    return tg.trace(tg.grad(loss, argnums=wanted), *inputs), inputs


@pytest.mark.parametrize("name", KEEPING)
def test_no_gradient_runs_a_forward_again(name: str) -> None:
    graph, inputs = gradient_of(name)
    written = graph.differentiate()
    (forward,) = [eq for eq in written.equations if eq.op.name == name]
    assert [v.aval for v in forward.residuals] == list(CATALOGUE[name].infer_residuals(forward.avals(), forward.attrs))
    readers = {eq.op.name for var in forward.residuals for eq in written.index.readers(var)}
    assert readers, "something reads them"
    for eq in written.equations:
        if eq.op.name == f"{name}_vjp":
            n = len(CATALOGUE[name].inputs)
            kept = eq.inputs[n : n + len(forward.outputs)]
            assert not any(isinstance(a, Literal) and a.value is None for a in kept)
    for got, expected in zip(written(*inputs), graph(*inputs), strict=True):
        assert_same(got, expected, name)
    # dropped again where nobody reads them
    one = tg.trace(lambda x: [x], tg.f32[1]).out_tree
    alone = written.replace(outputs=forward.outputs[:1], out_tree=one).simplify()
    assert not any(eq.residuals for eq in alone.equations)


@pytest.mark.parametrize("name", KEEPING)
def test_the_text_says_them(name: str) -> None:
    graph, inputs = gradient_of(name)
    written = graph.differentiate().simplify()
    text = str(written)
    kept = ", ".join(CATALOGUE[name].residuals)
    assert f"[{kept}] = {name}(" in text
    assert tg.parse(text, arrays=tg.text.arrays_of(written)) == written
    assert str(tg.parse(text, arrays=tg.text.arrays_of(written))) == text
    names = tg.text.namespace(tg.text.arrays_of(written))
    exec(text, names)
    arguments = [i if i is None else tg.tensor(i) for i in inputs]
    for got, expected in zip(names[written.name](*arguments), written(*inputs), strict=True):
        assert_same(got, expected, name)


def test_a_text_may_leave_the_keyword_out_and_may_not_ask_for_what_there_is_not() -> None:
    text = "def f(x: f32[3]) -> (f32[3], i64[3]):\n    y, [order] = sort(x)\n    return (y, order)"
    graph = tg.parse(text)
    assert [v.tolist() for v in graph(np.float32([3, 1, 2]))] == [[1.0, 2.0, 3.0], [1, 2, 0]]
    with pytest.raises(tg.ParseError, match="keeps nothing for its derivative"):
        tg.parse("def f(x: f32[3]) -> f32[3]:\n    y, [order] = exp(x)\n    return y")


def test_composed_graphs_have_none() -> None:
    graph, inputs = gradient_of("batch_norm")
    written = graph.differentiate()
    with tg.implementation("composed"):
        expected = [g.numpy() for g in graph(*inputs)]
        got = [g.numpy() for g in written(*inputs)]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)

"""`expand`: a fused op written out is its reference, with every output, attribute, derivative and scope."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.tree import flatten
from tensorgraph.graph import Graph
from tensorgraph.testing import Program, assert_close, assert_same, programs
from tensorgraph.testing.cases import Case, examples_of
from tensorgraph.testing.programs.program import quiet

FUSED = sorted(name for name, op in CATALOGUE.items() if op.reference is not None and op.primal is None)


def cases() -> list[Any]:
    found = []
    for name in FUSED:
        for number, case in enumerate(examples_of(CATALOGUE[name])):
            for dtype in ("float32", "float64"):
                found.append(pytest.param(case.cast(dtype), id=f"{name}-{number}-{dtype}"))
    return found


def fused_in(graph: Graph) -> list[str]:
    return [eq.op.name for eq in graph.equations if eq.op.reference is not None]


def leaves(tree: Any) -> list[tg.Tensor]:
    return [t if isinstance(t, tg.Tensor) else tg.tensor(t) for t in flatten(tree)[0]]


def assert_near(got: Any, expected: Any, order: int, what: str) -> None:
    for g, e in zip(leaves(got), leaves(expected), strict=True):
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        assert_close(g, e, order=order, what=what)


def traced(case: Case) -> tuple[Any, list[tg.Tensor]]:
    """The call as a function of its arrays, and the arrays."""
    arrays = [array for _, array in case.places()]

    def call(*tensors: tg.Tensor) -> Any:
        given = iter(tensors)
        return case.op.public(*case.map(lambda place, array: next(given)).inputs, **case.attrs)

    return call, [tg.tensor(a) for a in arrays]


@pytest.mark.parametrize("case", cases())
def test_every_fused_op_is_its_reference(case: Case) -> None:
    call, tensors = traced(case)
    graph = tg.trace(call, *tensors)
    assert fused_in(graph) == [case.op.name]
    written_out = graph.expand()
    assert not fused_in(written_out) and written_out.expand() is written_out
    assert [v.aval for v in written_out.outputs] == [v.aval for v in graph.outputs]  # type: ignore[union-attr]
    for name, g, e in zip(case.op.outputs, *map(leaves, (written_out(*tensors), graph(*tensors))), strict=True):
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        # the scale of a mean is that of what was added up
        moments = name in ("mu", "var")
        assert_close(g, e, scale=np.abs(tensors[0].numpy()).max() ** (1 + (name == "var")) if moments else None)
    (change,) = written_out.changes
    assert (change.step, change.rule) == ("expand", case.op.name)
    assert graph.expand(case.op.name).expand() == written_out  # a reference may hold other fused ops


def differentiable(case: Case) -> bool:
    return case.op.differentiable and all(a.size for _, a in case.places())


@pytest.mark.sampled(test=60, quick=30)
@pytest.mark.parametrize("case", [c for c in cases() if differentiable(c.values[0])])
def test_the_gradient_written_out_is_that_of_the_reference(case: Case) -> None:
    call, tensors = traced(case)
    wanted = tuple(i for i, t in enumerate(tensors) if t.dtype.kind == "f")
    weights = [np.cos(np.arange(float(np.prod(t.shape)))).reshape(t.shape) for t in leaves(call(*tensors))]

    def loss(*given: tg.Tensor) -> tg.Tensor:
        return sum((t * w.astype(t.dtype)).sum() for t, w in zip(leaves(call(*given)), weights, strict=True))

    graph = tg.trace(tg.grad(loss, wanted), *tensors).differentiate()
    assert fused_in(graph) if case.op.gradient is None else f"{case.op.name}_vjp" in fused_in(graph)
    written_out = graph.expand()
    assert not fused_in(written_out)
    assert all(eq.op.name != "gradients" for eq in written_out.equations)
    assert_near(written_out(*tensors), graph(*tensors), 1, str(case))
    # the order of the passes does not matter
    assert_near(tg.trace(tg.grad(loss, wanted), *tensors).expand()(*tensors), graph(*tensors), 1, str(case))
    simple = written_out.simplify()
    assert len(simple.equations) < len(written_out.equations)
    for got, expected in zip(leaves(simple(*tensors)), leaves(written_out(*tensors)), strict=True):
        assert_same(got, expected, str(case))


def test_second_derivatives() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))

    def f(x: tg.Tensor) -> tg.Tensor:
        y, mu, var = tg.batch_norm(x, np.array([1.5, 0.5, 2.0]), np.zeros(3))
        return (y**3).sum() + (mu * var).sum() + (tg.softmax(x) ** 2).sum()

    second = tg.grad(lambda x: (tg.grad(f)(x) * np.arange(3.0)).sum())
    graph = tg.trace(second, x)
    expected = second(x)
    assert np.isfinite(expected.numpy()).all() and np.abs(expected.numpy()).max() > 0.1
    for one in (graph.expand(), graph.differentiate().expand(), graph.expand().differentiate()):
        assert not fused_in(one)
        assert_close(one(x), expected, order=2)
    through = tg.grad(lambda x: (tg.grad(tg.trace(f, x).expand())(x) * np.arange(3.0)).sum())(x)
    assert_close(through, expected, order=2)


def test_the_scope_and_the_line_stay() -> None:
    tg.random.seed(0)
    model = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.BatchNorm(4))
    graph = tg.trace(lambda x: model(x), tg.f32[5, 3])
    (fused,) = [eq for eq in graph.equations if eq.op.reference is not None]
    made = [eq for eq in graph.expand().equations if eq.scope == fused.scope and eq.source == fused.source]
    assert fused.scope and len(made) > 10
    assert len(graph.expand().equations) - len(graph.equations) == len(made) - len(
        [eq for eq in graph.equations if eq.scope == fused.scope and eq.source == fused.source]
    )


def test_only_what_is_named_is_written_out() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        return (tg.softmax(x) * tg.log_softmax(x)).sum()

    graph = tg.trace(tg.grad(f), tg.f32[2, 3]).differentiate()
    some = graph.expand("softmax")
    assert fused_in(some) == ["log_softmax", "log_softmax_vjp"]
    x = np.array([[1.0, 2.0, 4.0], [0.0, -1.0, 0.5]], np.float32)
    assert_close(some(x), graph(x), order=1)
    with pytest.raises(ValueError, match=r"names of fused ops, got 'tanh'; there are .*softmax"):
        graph.expand("tanh")
    plain = tg.trace(lambda x: x * x, tg.f32[3])
    assert plain.expand() is plain and plain.expand("softmax") is plain


def test_optional_inputs_and_attributes() -> None:
    logits = np.random.default_rng(1).normal(size=(4, 3, 2))
    labels = np.array([[0, 1], [2, 2], [1, 0], [2, 1]])
    weight = np.array([0.5, 2.0, 1.0])
    options: dict[str, Any] = dict(axis=1, ignore_index=2, label_smoothing=0.25, reduction="batchmean")

    def f(z: tg.Tensor, w: tg.Tensor | None) -> tg.Tensor:
        return tg.softmax_cross_entropy(z, labels, w, **options)

    for graph, args in (
        (tg.trace(f, logits, weight), (logits, weight)), (tg.trace(lambda z: f(z, None), logits), (logits,)),
    ):  # fmt: skip
        assert_close(graph.expand()(*args), graph(*args))


def test_a_gradient_with_respect_to_one_output_stays_partial() -> None:
    """The reference computes y from mu; the fused op's y does not depend on its output mu."""

    weights = np.array([1.0, 2.0, 4.0, 8.0])

    def reference(x: tg.Tensor) -> Any:
        mu = x.mean()
        return x - mu, mu

    def backward(want: Any, g: Any, g_mu: Any, x: Any, y: Any, mu: Any) -> Any:
        through = np.zeros_like(x) if g is None else g - g.mean()
        return (through + (0.0 if g_mu is None else g_mu / x.size),)

    centred = tg.fused_op(
        "centred(x) -> y, mu",
        reference=reference,
        forward=lambda x: (x - x.mean(), np.asarray(x.mean())),
        backward=backward,
        infer_rule=lambda x: (x, tg.spec((), x.dtype)),
    )
    try:

        def f(x: tg.Tensor) -> Any:
            y, mu = centred(x)
            loss = (y * weights * mu).sum() + mu * 3.0
            return tg.gradients(loss, [y, mu, x])

        x = tg.tensor(np.array([1.0, 4.0, 7.0, -1.0]), requires_grad=True)
        graph = tg.trace(f, x)
        expected = f(x)
        assert expected[1].item() == ((x.numpy() - 2.75) * weights).sum() + 3.0
        assert_near(graph(x), expected, 0, "traced")
        assert_near(graph.expand()(x), expected, 1, "written out")
        assert_near(graph.expand().differentiate().simplify()(x), expected, 1, "and differentiated")
    finally:
        tg.remove_op("centred")


def test_a_training_step() -> None:
    tg.random.seed(3)
    nn = tg.nn
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm(8), nn.Linear(8, 3))
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)

    def step(x: tg.Tensor, labels: tg.Tensor) -> tg.Tensor:
        loss = tg.softmax_cross_entropy(model(x), labels)
        optimizer.minimize(loss)
        return loss

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(16, 6)).astype(np.float32), rng.integers(0, 3, 16)
    graph = tg.trace(step, x, labels)
    state = {decl.path: ref().numpy() for decl, ref in zip(graph.cells, graph.provenance.live, strict=True)}
    written_out = graph.expand()
    assert "adam_update" in fused_in(graph) and not fused_in(written_out)
    assert len(written_out.writes) == len(graph.writes)
    loss, after = written_out(x, labels, state=state)
    expected, expected_after = graph(x, labels, state=state)
    assert_close(loss, expected)
    for path, value in expected_after.items():
        assert_close(after[path], value, order=1, what=path)
    # an update has no derivative, which is told; written out it has that of its equations
    p = tg.trace(lambda p, g: tg.sgd_update(p, g, 0.1, 0.5), tg.f32[2], tg.f32[2])
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.warns(tg.DetachWarning, match="sgd_update"):
        assert not p(w, np.ones(2, np.float32)).requires_grad
    p.expand()(w, np.ones(2, np.float32)).sum().backward()
    assert_close(w.grad, tg.full((2,), 0.95))


def test_a_users_own_fused_op() -> None:
    norm2 = tg.fused_op(
        "norm2(x, *, scale=1.0) -> y, half",
        reference=lambda x, *, scale=1.0: ((x * x).sum() * scale, tg.softmax(x) * 0.5),
        forward=lambda x, *, scale=1.0: (np.asarray(np.vdot(x, x) * scale), np.exp(x) / np.exp(x).sum() * 0.5),
        backward=lambda want, g, gh, x, y, half, *, scale=1.0: (
            (0 if g is None else 2 * g * scale * x) + (0 if gh is None else 2 * half * (gh * 0.5 - (gh * half).sum())),
        ),
        infer_rule=lambda x, *, scale: (tg.spec((), x.dtype), x),
    )
    try:
        x = np.array([0.5, -1.0, 2.0])

        def f(x: tg.Tensor) -> tg.Tensor:
            y, half = norm2(x, scale=3.0)
            return y * (half * np.arange(3.0)).sum()

        graph = tg.trace(tg.value_and_grad(f), x)
        assert fused_in(graph) == ["norm2"]
        # the reference uses a fused op itself
        assert fused_in(graph.expand("norm2")) == ["softmax"] and not fused_in(graph.expand())
        for one in (graph.expand(), graph.expand("norm2"), graph.differentiate().expand()):
            assert_near(one(x), tg.value_and_grad(f)(x), 1, "norm2")
    finally:
        tg.remove_op("norm2")


def test_a_reference_of_other_types_is_refused() -> None:
    odd = tg.fused_op(
        "odd(x) -> y",
        reference=lambda x: x.sum(),
        forward=lambda x: x,
        backward=lambda want, g, x, y: (g,),
        infer_rule=lambda x: x,
    )
    try:
        graph = tg.trace(lambda x: odd(x), tg.f32[3])
        with pytest.raises(ValueError, match=r"the reference of odd gives f32\[\], where the op gives f32\[3\]"):
            graph.expand()
    finally:
        tg.remove_op("odd")


@given(programs() | programs(differentiable=True))
def test_a_random_program_written_out_is_the_program_composed(program: Program) -> None:
    """To the last bit: expanding is what choosing the composed implementation is, seen."""
    with quiet():
        graphs = [program.graph()]
        if program.options.differentiable:
            graphs.append(tg.trace(tg.value_and_grad(program.function, program.floats), *program.specs))
            graphs.append(graphs[-1].differentiate())
        for graph in graphs:
            written_out = graph.expand()
            assert not fused_in(written_out)
            with tg.implementation("composed"):
                expected = graph(*program.tensors())
            for got, e in zip(leaves(written_out(*program.tensors())), leaves(expected), strict=True):
                assert_same(got, e, "written out")


def test_a_rule_of_ones_own_is_written_out_inside() -> None:
    @tg.custom_vjp
    def gate(x: tg.Tensor) -> tg.Tensor:
        return tg.softmax(x)

    gate.defvjp(lambda x: (tg.softmax(x), x), lambda x, g: (g * tg.softmax(x),))
    graph = tg.trace(lambda x: (gate(x) * np.arange(3.0)).sum(), tg.f64[3])
    written_out = graph.expand()
    (held,) = [eq.attrs for eq in written_out.equations if eq.op.name == "custom_vjp"]
    assert not fused_in(held["forward"]) and not fused_in(held["backward"])
    assert [c.rule for c in written_out.changes] == ["softmax", "softmax"] and written_out.expand() is written_out
    x = np.array([0.5, -1.0, 2.0])
    for got, expected in zip(tg.value_and_grad(written_out)(x), tg.value_and_grad(graph)(x), strict=True):
        assert_close(got, expected, order=1)


def test_ops_without_a_reference_stay() -> None:
    assert CATALOGUE["clip_norm"].reference is None
    graph = tg.trace(lambda a: CATALOGUE["clip_norm"].public([a], 0.5)[0], tg.f32[3])
    assert graph.expand() is graph
    assert isinstance(CATALOGUE["softmax"], Op)


def test_a_result_without_history_is_cut_where_it_was_made() -> None:
    def reference(x: tg.Tensor) -> tg.Tensor:
        with tg.no_grad():
            return x * x

    square = tg.engine.declare.op("square_apart(x)", lambda x: x * x, tg.engine.op.fused, reference=reference,
                                  infer_rule=lambda x: x)  # fmt: skip

    def f(x: tg.Tensor) -> tg.Tensor:
        with tg.scope("update"):
            return square.public(x * 2.0)

    try:
        graph = tg.trace(f, tg.f64[3])
        written_out = graph.expand()
    finally:
        tg.remove_op("square_apart")
    cut = written_out.equations[-1]
    assert cut.op.name == "stop_gradient"
    assert (cut.scope, cut.source) == ("update", graph.equations[-1].source)

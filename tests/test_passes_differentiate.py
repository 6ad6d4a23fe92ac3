"""Gradients written out: the same bits as the engine's own backward pass."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.engine.tree import flatten
from tensorgraph.graph import Graph
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.testing import Program, assert_close, assert_same, programs
from tensorgraph.testing.programs.program import quiet

X = np.array([0.3, -0.5, 1.25])
Y = np.array([1.5, 2.0, -0.75])


def leaves(tree: Any) -> list[np.ndarray]:
    return [t.numpy() if isinstance(t, tg.Tensor) else np.asarray(t) for t in flatten(tree)[0]]


def equal(found: Any, expected: Any) -> None:
    one, other = leaves(found), leaves(expected)
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert_same(a, b)


def names(graph: Graph) -> list[str]:
    return [eq.op.name for eq in graph.equations]


def expanded(graph: Graph) -> Graph:
    """The graph differentiated, and what must hold of every such graph."""
    found = graph.differentiate().check()
    assert "gradients" not in names(found)
    assert found.inputs == graph.inputs and found.cells == graph.cells
    assert found.differentiate() is found
    assert [c.rule for c in found.changes if c.rule != "nothing reads it"] == ["chain rule"]
    forward = [eq for eq in found.equations if eq.origin is None]
    kept = [eq for eq in graph.equations if eq.op.name != "gradients" and eq.origin is None]
    assert [(e.op, e.attrs, e.scope, e.source) for e in forward] == [(e.op, e.attrs, e.scope, e.source) for e in kept]
    made = {eq.outputs[0]: eq for eq in found.equations}
    used = {a for eq in found.equations for a in eq.atoms()} | set(found.outputs) | {w.value for w in found.writes}
    seen = set()
    for eq in found.equations:
        seen.add(id(eq))
        if eq.origin is None:
            continue
        of = made.get(eq.origin.of)
        assert not used.isdisjoint(eq.outputs), f"{eq.op.name} is for nothing"
        if of is None:  # of an input or a cell, which no equation makes
            assert eq.origin.rule in ("seed", "zero")
            continue
        assert id(of) in seen, "what a derivative is of comes first"
        assert (eq.scope, eq.source) == (of.scope, of.source)
        rules = {"sum", "fit", "seed", "zero", "cut", "alias"}
        assert eq.origin.rule in rules or set(eq.origin.rule.split(", ")) <= set(of.op.inputs)
    return found


def check(function: Any, *args: Any) -> Graph:
    """The expanded trace gives the bits of the deferred one and of the eager call; gives the graph."""
    graph = tg.trace(function, *args)
    found = expanded(graph)
    result = found(*args)
    assert any(np.abs(a).max(initial=0) > 0 for a in leaves(result))
    equal(result, graph(*args))
    equal(result, function(*[tg.tensor(a) if isinstance(a, np.ndarray) else a for a in args]))
    return found


# random programs ---------------------------------------------------------------------------------------------------


def compare(program: Program, graph: Graph) -> None:
    state = {tg.random.state().path: tg.random.key(0), **program.make().state()}
    keywords = {"state": {decl.path: tg.tensor(state[decl.path]) for decl in graph.cells}} if graph.cells else {}
    args = program.tensors()
    equal(expanded(graph)(*args, **keywords), graph(*args, **keywords))


@given(programs(differentiable=True, max_steps=10))
def test_random_programs(program: Program) -> None:
    with quiet():
        graph = program.graph().grad(program.floats[0])
        compare(program, graph)
        # and the eager pass, recorded
        xs = program.tensors(requires_grad=True)
        wanted = flatten(xs[program.floats[0]])[0]
        recorded = tg.gradients(program.make().function(*xs), wanted, create_graph=True)
        if not graph.cells and "checkpoint" not in program.source():
            equal(flatten(graph.differentiate()(*program.tensors()))[0], recorded)


def test_gradients_of_what_no_equation_makes() -> None:
    p = tg.Parameter(np.array(0.5, "float32"), name="p")
    q = tg.Parameter(np.ones((2, 2), "float32"), name="q")
    found = expanded(tg.trace(lambda: tg.gradients(p, [p, q], create_graph=True)))
    assert [eq.origin.rule for eq in found.equations if eq.origin is not None] == ["seed", "zero"]


@given(programs(state=True, max_steps=10))
def test_random_programs_with_state(program: Program) -> None:
    with quiet():
        graph = program.graph()
        if "gradients" in names(graph):
            compare(program, graph)


@given(programs(differentiable=True, wild=True, max_steps=6))
def test_random_programs_on_odd_numbers(program: Program) -> None:
    with quiet():
        compare(program, program.graph().grad(program.floats[0]))


@given(programs(differentiable=True, max_steps=5))
def test_second_derivatives_of_random_programs(program: Program) -> None:
    with quiet():
        n = program.floats[0]
        first = program.graph().grad(n)
        norm = lambda *args: sum((g * g).sum() for g in flatten(first(*args))[0])
        if not first.cells:
            compare(program, tg.trace(norm, *program.specs).grad(n))


# ops ---------------------------------------------------------------------------------------------------------------


def test_several_uses_are_added_and_broadcasts_undone() -> None:
    graph = check(tg.grad(lambda x, y: (x * y + x).sum(), (0, 1)), np.ones((2, 3)), X)
    rules = [(eq.op.name, eq.origin.rule) for eq in graph.equations if eq.origin is not None]
    assert rules == [
        ("ones", "seed"), ("reshape", "x"), ("broadcast_to", "x"),
        ("multiply", "a"), ("multiply", "b"), ("add", "sum"), ("sum", "fit"),
    ]  # fmt: skip


def test_what_nobody_wants_is_not_there() -> None:
    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        dx, dy = tg.grad(lambda a, b: (tg.exp(a) * tg.sin(b)).sum(), (0, 1))(x, y)
        return dx

    assert "cos" not in names(check(f, X, Y))

    def unused(x: tg.Tensor) -> tg.Tensor:
        tg.grad(lambda a: tg.exp(a).sum())(x)
        return x * 2.0

    assert names(check(unused, X)) == ["alias", "exp", "sum", "multiply"]
    assert names(dead_code(tg.trace(unused, X))) == ["multiply"]


def test_nothing_arrives() -> None:
    graph = check(tg.grad(lambda x, y: (x * tg.floor_divide(y, 2.0)).sum(), (0, 1)), X, Y)
    zero = [eq for eq in graph.equations if eq.op.name == "zeros"]
    assert [eq.origin.rule for eq in zero] == ["zero"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: (tg.split(tg.concatenate([x, y, x]), sizes=(2, 5, 2))[1] ** 2).sum(),
        lambda x, y: (tg.stack([x, y])[:, 1:] * x[::-1][None, :2]).sum(),
        lambda x, y: (x[np.array([0, 0, 2])] * y).sum() + x[1] * y[-1],
        lambda x, y: (tg.sort(x * y)[1:] * y[:2]).sum(),
        lambda x, y: (tg.tensor(np.zeros((2, 3))).at[1].set(x * y) ** 2).sum(),
        lambda x, y: tg.take_along_axis(x * y, tg.argmax(x, keepdims=True), axis=0).sum() * tg.max(y),
        lambda x, y: tg.prod(x) * tg.var(y, correction=1) + tg.logsumexp(x - y) + (x @ y) ** 2,
        lambda x, y: (tg.where(x > y, x, 2.0) * tg.astype(tg.astype(y, "float32"), "float64")).sum(),
        lambda x, y: (abs(x) ** y).sum() + (2.0 ** (x / y)).mean(),
        lambda x, y: (tg.softmax(x) * tg.log_softmax(y)).sum(),
        lambda x, y: (x.reshape(3, 1) @ y.reshape(1, 3)).T.sum(axis=0)[0],
    ],
)
def test_forms(function: Any) -> None:
    check(tg.grad(function, (0, 1)), X, Y)
    check(tg.grad(lambda x, y: sum((g * g * x).sum() for g in tg.grad(function, (0, 1))(x, y)), (0, 1)), X, Y)


def test_every_example_of_every_op() -> None:
    """The declarations' own examples, with cotangents, and with some of them missing."""
    from tensorgraph.testing import differentiable_places, examples_of

    tried = set()
    for op in list(CATALOGUE.values()):
        if not op.differentiable or op.name.endswith("_vjp") or op.name in ("custom_vjp", "checkpoint", "scan"):
            continue
        for case in examples_of(op):
            places = differentiable_places(case)
            _, wanted = case.tensors(places)
            if not wanted:
                continue
            arrays = [case.at(p) for p in places]

            def function(*xs: Any, case: Any = case, places: Any = places) -> Any:
                moved = case.put(dict(zip(places, xs, strict=True)))
                outs = case.op.public(*moved.inputs, **case.attrs)
                outs = [y for y in (outs if isinstance(outs, tuple) else (outs,)) if y.dtype.kind == "f"]
                weights = [np.cos(np.arange(y.size, dtype=y.dtype)).reshape(y.shape) for y in outs]
                sums = [(y * w).sum() for y, w in zip(outs, weights, strict=True)]
                return [tg.gradients(ys, list(xs), create_graph=True) for ys in ([sums[-1]], sums)] if sums else []

            with np.errstate(all="ignore"):
                xs = [tg.tensor(a, requires_grad=True) for a in arrays]
                graph = tg.trace(function, *xs)
                found, args = expanded(graph), [tg.tensor(a) for a in arrays]
                equal(found(*args), graph(*args))
                equal(found(*args), function(*xs))
            tried.add(op.name)
    assert len(tried) > 50, sorted(tried)


# fused ops ---------------------------------------------------------------------------------------------------------


def test_a_fused_gradient_reads_the_residuals() -> None:
    x = np.random.default_rng(0).standard_normal((6, 3))
    gamma, beta = np.array([1.0, 0.5, 2.0]), np.array([0.1, 0.2, -0.3])

    def f(x: Any, gamma: Any, beta: Any) -> Any:
        y, mu, var = tg.batch_norm(x, gamma, beta)
        return (y**3).sum() + (mu * var).sum()

    graph = check(tg.grad(f, (0, 1, 2)), x, gamma, beta)
    vjp = next(eq for eq in graph.equations if eq.op.name == "batch_norm_vjp")
    given = dict(zip(vjp.op.inputs, vjp.inputs, strict=True))
    (forward,) = [eq for eq in graph.equations if eq.op.name == "batch_norm"]
    assert tuple(given[n] for n in ("center_", "rest_")) == forward.residuals
    assert vjp.origin.rule == "x, gamma, beta"
    one = check(tg.grad(lambda x: tg.batch_norm(x, gamma, beta)[1].sum()), x)
    vjp = next(eq for eq in one.equations if eq.op.name == "batch_norm_vjp")
    given = dict(zip(vjp.op.inputs, vjp.inputs, strict=True))
    assert given["ct_y"].value is None and given["ct_var"].value is None, "cotangents that did not arrive"
    # of second order: the reference's
    second = check(tg.grad(lambda x: (tg.grad(f)(x, tg.tensor(gamma), tg.tensor(beta)) ** 2).sum()), x)
    assert names(second).count("batch_norm_vjp") == 2, "of the first order, and behind the cotangents of that"


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1, "reduction": "sum"}, {"ignore_index": 1, "reduction": "none"}]
)
def test_cross_entropy(options: Any) -> None:
    z, labels = np.random.default_rng(1).standard_normal((4, 3)), np.array([0, 2, 1, 1])
    loss = lambda z: tg.softmax_cross_entropy(z, labels, **options).sum()
    check(tg.grad(loss), z)
    check(tg.grad(lambda z: (tg.grad(loss)(z) ** 2).sum()), z)


def test_an_empty_mean_warns_once() -> None:
    z, labels = np.zeros((2, 3)), np.array([1, 1])
    graph = tg.trace(tg.grad(lambda z: tg.softmax_cross_entropy(z, labels, ignore_index=1)), z).differentiate()
    with pytest.warns(RuntimeWarning, match="no label counts") as warned:
        found = graph(z)
    assert len(warned) == 1 and not found.numpy().any()


@pytest.mark.parametrize("chosen", ["composed", "fused"])
def test_a_fused_gradient_runs_composed_too(chosen: str) -> None:
    x = np.random.default_rng(2).standard_normal((5, 4))
    f = lambda x: (tg.softmax(x) ** 2).sum() + tg.batch_norm(x, np.ones(4), np.zeros(4))[0][0].sum()
    graph = tg.trace(tg.grad(f), x).differentiate()
    assert "softmax_vjp" in names(graph) and "batch_norm_vjp" in names(graph)
    with tg.implementation(chosen):
        found, expected = graph(x), tg.grad(f)(x)
        assert_close(found, expected, order=1, scale=np.ones(1))
        t = tg.tensor(x, requires_grad=True)
        again = tg.gradients((graph(t) ** 2).sum(), t)
        assert_close(again, tg.grad(lambda x: (tg.grad(f)(x) ** 2).sum())(x), order=2)
        with tg.no_grad():
            assert not graph(t).requires_grad
    assert np.abs(found.numpy()).max() > 1e-3


def test_residuals_of_ones_own_op() -> None:
    try:
        tg.op(
            "scaled(xs, y, *, power=2) -> out", lambda xs, y, *, power=2: (xs * y**power, y**power, np.ones(2)),
            residuals=("factor", "unused"), infer_rule=lambda xs, y, *, power: xs,
            vjp=dict(xs=lambda g, factor: g * factor, y=lambda g, xs, factor, y, power: g * xs * factor / y * power),
        )  # fmt: skip
        scaled = CATALOGUE["scaled"].public
        graph = check(tg.grad(lambda x, y: scaled(x, y, power=3).sum(), (0, 1)), X, Y)
        forward = next(eq for eq in graph.equations if eq.op.name == "scaled")
        assert [out.aval.shape for out in forward.residuals] == [(3,), (2,)]
        assert_close(graph(X, Y)[1], 3 * X * Y**2)
    finally:
        tg.remove_op("scaled")


# what the user said about derivatives ------------------------------------------------------------------------------


def test_cuts_stay_cuts() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        with tg.no_grad():
            c = x * x
        return (c * x * tg.stop_gradient(tg.exp(x)) + tg.alias(x)).sum()

    check(tg.grad(f), X)
    check(tg.grad(lambda x: (tg.grad(f)(x) * x).sum()), X)


def test_what_is_not_recorded_has_no_history() -> None:
    """A gradient taken without create_graph is a number; also where it is a value of the forward pass."""

    def f(x: tg.Tensor, c: tg.Tensor) -> Any:
        t = tg.alias(x * 1.0)
        y = tg.tanh(t) + t
        through = tg.gradients(y, t, c * x, retain_graph=True)
        plain = tg.gradients(t + 1.0, t, c, retain_graph=True)
        return (through * x * plain * c).sum()

    x, c = tg.tensor(X, requires_grad=True), tg.tensor(Y, requires_grad=True)
    graph = tg.trace(f, x, c)
    expected = tg.gradients(f(x, c), [x, c])
    assert all(np.abs(g.numpy()).max() > 0 for g in expected)
    for form in (graph, expanded(graph)):
        equal(tg.gradients(form(x, c), [x, c]), expected)
        equal(form.grad((0, 1))(X, Y), expected)
        equal(form.grad((0, 1)).differentiate()(X, Y), expected)
    outer = tg.trace(lambda x, c: tg.gradients(f(x, c), [x, c]), x, c)
    equal(expanded(outer)(X, Y), expected)
    only = tg.trace(lambda x: tg.gradients((x * x).sum(), x), x)
    assert not only(x).requires_grad and not expanded(only)(x).requires_grad
    kept = tg.trace(lambda x: tg.gradients((x * x).sum(), x, create_graph=True), x)
    assert expanded(kept)(x).requires_grad


def test_partial_and_total_derivatives() -> None:
    def f(x: tg.Tensor) -> Any:
        y = tg.alias(x * x)
        z = y * x
        partial = tg.gradients(z.sum(), [y, x], create_graph=True)
        return (partial[0] * partial[1]).sum()

    x = tg.tensor(X, requires_grad=True)
    graph = tg.trace(f, x)
    equal(expanded(graph)(X), f(x))
    equal(expanded(graph.grad())(X), tg.gradients(f(x), x))


def test_a_gradient_by_a_gradient() -> None:
    """Two gradients that are one value, and one that is constant, are asked about under names of their own."""

    def f(x: tg.Tensor, c: tg.Tensor) -> Any:
        a, b = tg.alias(x), tg.alias(x * 2.0)
        da, db = tg.gradients((a + b).sum(), [a, b], create_graph=True)
        first = tg.gradients((da * db * 3.0).sum(), [da], create_graph=True)[0]
        return first

    x, c = tg.tensor(X, requires_grad=True), tg.tensor(Y, requires_grad=True)
    graph = tg.trace(f, x, c)
    equal(expanded(graph)(X, Y), graph(X, Y))


def test_a_rule_of_ones_own() -> None:
    @tg.custom_vjp
    def slope(x: tg.Tensor, y: tg.Tensor) -> Any:
        return x * y, tg.argmax(x)

    def forward(x: tg.Tensor, y: tg.Tensor) -> Any:
        return slope.function(x, y), {"x": tg.exp(x), "y": y}

    slope.defvjp(forward, lambda kept, g: (g[0] * kept["x"] * 5.0, None))

    f = lambda x, y: (slope(x * 2.0, y)[0] ** 2).sum()
    graph = check(tg.grad(f, (0, 1)), X, Y)
    rule = [eq.op.name for eq in graph.equations if eq.origin is not None and eq.origin.rule == "args"]
    assert "exp" in rule and "custom_vjp" not in rule
    assert_close(graph(X, Y)[0], 2 * (2 * X * Y) * np.exp(2 * X) * 5 * 2, order=1)
    check(tg.grad(lambda x, y: (tg.grad(f)(x, y) ** 2).sum(), (0, 1)), X, Y)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_nested_orders(order: int) -> None:
    f: Any = lambda x: (tg.sin(x) * tg.exp(x * 0.5) * tg.sigmoid(x)).sum()
    for _ in range(order):
        f = (lambda inner: lambda x: (tg.grad(inner)(x) * x).sum())(f)
    check(f, X)


def test_transforms_inside() -> None:
    f = lambda x: tg.tanh(x) * x[::-1]
    for whole in (tg.jacobian(f), tg.hessian(lambda v: (f(v) ** 2).sum())):  # of which the batch is written out already
        graph = tg.trace(lambda x, whole=whole: whole(x), X)
        equal(graph(X), whole(tg.tensor(X)))
        assert "gradients" not in names(graph.simplify())  # one that nobody uses is all there may be
        equal(graph.differentiate()(X), graph(X))
    check(lambda x: tg.hvp(lambda v: (f(v) ** 2).sum(), (x,), (x * 2.0,)), X)
    check(lambda x: tg.jvp(f, (x,), (x,)), X)
    check(lambda x: tg.vjp(f, x)[1](x * 3.0), X)


# whole steps -------------------------------------------------------------------------------------------------------


def network() -> Any:
    return tg.nn.Sequential(
        tg.nn.Linear(4, 8, seed=1), tg.nn.BatchNorm(8), tg.nn.ReLU(), tg.nn.Dropout(0.5), tg.nn.Linear(8, 3, seed=2)
    )


@pytest.mark.parametrize("optimizer", ["Adam", "Momentum"])
def test_a_training_step_on_live_cells(optimizer: str) -> None:
    rng = np.random.default_rng(0)
    batches = [(rng.standard_normal((16, 4)).astype("float32"), rng.integers(0, 3, 16)) for _ in range(4)]

    def train(way: str) -> Any:
        tg.random.seed(0)
        model = network()
        opt = getattr(tg.optim, optimizer)(model.parameters(), lr=0.05)

        def step(x: Any, y: Any) -> Any:
            opt.zero_grad()
            loss = tg.softmax_cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            return loss

        if way == "eager":
            call = step
        else:
            graph = tg.trace(step, *batches[0])
            call = graph.bind() if way == "deferred" else expanded(graph).bind(model, opt)
        losses = [float(call(x, y)) for x, y in batches]
        return losses, [cell.numpy().copy() for _, cell in model.named_cells()]

    losses, after = train("eager")
    assert np.isfinite(losses).all() and len(set(losses)) == 4
    for way in ("deferred", "expanded"):
        found, state = train(way)
        assert found == losses
        equal(state, after)


def test_equations_know_where_they_come_from() -> None:
    model = network()
    x, y = np.zeros((16, 4), "f"), np.zeros(16, int)

    def step(x: Any, y: Any) -> Any:
        loss = tg.softmax_cross_entropy(model(x), y)
        loss.backward()
        return [p.grad for p in model.parameters()]

    graph = expanded(tg.trace(step, x, y))
    backward = [eq for eq in graph.equations if eq.origin is not None]
    made = {eq.outputs[0]: eq for eq in graph.equations}
    assert {eq.scope for eq in backward} == {eq.scope for eq in graph.equations if eq.op.differentiable} - {"3x"}
    vjp = next(eq for eq in backward if eq.op.name == "batch_norm_vjp")
    assert made[vjp.origin.of].op.name == "batch_norm" and vjp.source.file == made[vjp.origin.of].source.file


def test_changes_say_what_was_done() -> None:
    graph = tg.trace(tg.grad(lambda x: (x * x).sum()), X).differentiate()
    (change,) = graph.changes
    assert (change.step, change.rule, change.before) == ("differentiate", "chain rule", "1 gradients equation")
    assert change.after == f"{sum(eq.origin is not None for eq in graph.equations)} equations of derivative rules"
    assert change.source is not None and change.source.file == __file__
    plain = tg.trace(lambda x: x * 2.0, X)
    assert plain.differentiate() is plain


def test_long_chains() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        for _ in range(1500):
            x = tg.sin(x) * 1.0001
        return x.sum()

    deferred = tg.trace(f, X).grad()
    gradient = deferred.differentiate()
    assert len(deferred.equations) > 3_000 and len(gradient.equations) > 7_500
    equal(gradient(X), deferred(X))


def test_dead_code_keeps_writes_and_signature() -> None:
    b = tg.Buffer(np.zeros(3), name="b")
    c = np.arange(3.0)

    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        tg.exp(x * c)
        b.assign(x * 2.0)
        return y + 1.0

    graph = tg.trace(f, X, Y)
    found = dead_code(graph).check()
    assert names(found) == ["multiply", "add"] and not found.consts and len(graph.consts) == 1
    assert found.inputs == graph.inputs and found.cells == graph.cells and len(found.writes) == 1
    assert dead_code(found) is found
    equal(found(X, Y, state={"b": np.zeros(3)}), graph(X, Y, state={"b": np.zeros(3)}))


def test_a_gradient_that_is_a_constant_leaves_its_graph_as_it_was() -> None:
    c = tg.tensor(np.arange(3.0))

    def f(x: tg.Tensor) -> tg.Tensor:
        (slope,) = tg.vjp(lambda t: t + 1.0, x)[1](c)
        return slope

    graph = tg.trace(f, X)
    before = str(graph)
    found = graph.differentiate()
    assert str(graph) == before  # the constant's variable is shared, and keeps its name
    assert "slope" in before and "slope" not in str(found)
    equal(found(X), graph(X))

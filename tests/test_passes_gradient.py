"""`Graph.grad`, `Graph.jvp`, and graphs run again inside a trace."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

import tensorgraph as tg
from tensorgraph.engine.tree import flatten, tree_map
from tensorgraph.graph import Graph
from tensorgraph.graph.graph import Var
from tensorgraph.testing import Program, assert_close, assert_same, difference_jacobian, programs
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


def state_of(program: Program, graph: Graph) -> dict[str, Any]:
    """Keywords that call a graph of the program as the program is called for the first time."""
    state = {tg.random.state().path: tg.random.key(0), **program.make().state()}
    return {"state": {decl.path: tg.tensor(state[decl.path]) for decl in graph.cells}} if graph.cells else {}


def outputs(graph: Graph, result: Any) -> Any:
    return result[0] if graph.cells else result


# grad --------------------------------------------------------------------------------------------------------------


def scalar(p: Any, y: tg.Tensor, n: int = 2) -> tg.Tensor:
    h = tg.tanh(p["w"] * y) + p["b"]
    with tg.no_grad():
        cut = h * 2.0
    return (h**n * cut * tg.grad(lambda t: (t**3 * y).sum())(p["w"])).sum()


@pytest.mark.parametrize("wrt", [None, 0, 1, -1, (0,), (1, 0), np.int64(1)])
def test_the_gradient_of_a_graph_is_the_graph_of_the_gradient(wrt: Any) -> None:
    params = {"w": X, "b": np.array(0.5)}
    found = tg.trace(scalar, params, Y).grad(wrt).check()
    gradient = tg.grad(scalar, 0 if wrt is None else wrt)
    assert found == tg.trace(gradient, params, Y)
    equal(found(params, Y), gradient(params, Y))
    assert np.abs(np.concatenate([a.ravel() for a in leaves(found(params, Y))])).max() > 0.1


def test_statics_and_containers_stay() -> None:
    def f(p: Any, mode: str, y: Any) -> tg.Tensor:
        return (p[0] * y["y"]).sum() if mode == "product" else p[0].sum()

    example = ([X, None], "product", {"y": Y})
    assert tg.trace(f, *example).grad(2) == tg.trace(tg.grad(f, 2), *example)
    equal(tg.trace(f, *example).grad(2)(*example), {"y": X})


def test_again_and_again() -> None:
    f = lambda x: tg.exp(x * 2.0) * x
    graph, function = tg.trace(f, tg.spec((), "float64")), f
    for _ in range(4):
        graph, function = graph.grad(), tg.grad(function)
        assert graph == tg.trace(function, tg.spec((), "float64"))
        equal(graph(0.7), function(np.array(0.7)))


@given(programs(differentiable=True, max_steps=8))
def test_random_programs(program: Program) -> None:
    with quiet():
        n = program.floats[0]
        graph = program.graph().grad(n).check()
        assert graph == tg.trace(tg.grad(program.make().function, n), *program.specs)


@given(programs(differentiable=True, state=True, max_steps=8))
def test_random_programs_with_cells(program: Program) -> None:
    with quiet():
        n = program.floats[0]
        graph, made = program.graph().grad(n).check(), program.make()
        assert graph == tg.trace(tg.grad(made.function, n), *program.specs)
        args = program.tensors()
        keywords = state_of(program, graph)
        tg.random.seed(0)
        expected = tg.grad(made.function, n)(*args)
        if "checkpoint" in program.source():  # its eager gradient is added up in the order of the second run
            for a, b in zip(leaves(outputs(graph, graph(*args, **keywords))), leaves(expected), strict=True):
                assert_close(a, b)
        else:
            equal(outputs(graph, graph(*args, **keywords)), expected)


def test_parameters_by_path_and_inputs_by_name() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(3, 4, seed=0), tg.nn.Tanh(), tg.nn.Linear(4, 2, seed=1))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")

    def loss(x: tg.Tensor) -> tg.Tensor:
        return (model(x) ** 2).mean()

    graph = tg.trace(loss, x)
    paths = tuple(name for name, _ in model.named_parameters())
    assert set(paths) == {decl.path for decl in graph.cells} and len(paths) == 4
    loss(tg.tensor(x)).backward()
    expected = [p.grad for p in model.parameters()]
    assert all(np.abs(g.numpy()).max() > 0 for g in expected)
    equal(graph.grad(paths).bind(model)(x), expected)
    equal(graph.grad(paths[0]).bind()(x), expected[0])
    dx = tg.grad(loss)(x)
    equal(graph.grad("x").bind()(x), dx)
    equal(graph.grad(["x", paths[1]]).bind()(x), [dx, expected[1]])
    # again, and by another cell
    w, b = paths[2], paths[3]
    square = tg.trace(lambda x: (tg.gradients(loss(x), model.parameters(), create_graph=True)[2] ** 2).sum(), x)
    twice = square.grad(b)
    bound = twice.bind()(x)
    numbers = difference_jacobian(
        lambda v: square(
            x, state={d.path: v.astype("f4") if d.path == b else live(model, d.path) for d in square.cells}
        )[0].numpy(),
        [live(model, b).astype("float64")],
        step=1e-2,
    )[0]
    assert np.isfinite(numbers).all() and np.abs(numbers).max() > 1e-3
    assert np.abs(bound.numpy() - numbers[0]).max() < 1e-3 * np.abs(numbers).max()
    assert w in {decl.path for decl in twice.cells}


def live(model: Any, path: str) -> np.ndarray:
    return dict(model.named_parameters())[path].numpy().copy()


def test_a_cell_is_differentiated_at_entry() -> None:
    w = tg.Parameter(np.array(2.0), name="w")

    def f(x: tg.Tensor) -> tg.Tensor:
        y = w * w * x
        w.assign(y.detach())
        return y + w

    graph = tg.trace(f, np.array(3.0)).grad("w")
    gradient, state = graph(np.array(3.0), state={"w": np.array(2.0)})
    assert float(gradient) == 12.0 and float(state["w"]) == 12.0
    assert float(w) == 2.0


def test_what_cannot_be_differentiated_says_so() -> None:
    many = tg.trace(lambda x: x * 2.0, X)
    with pytest.raises(TypeError, match=r"must return one float element .* got f64\[3\]; reduce it with .sum\(\)"):
        many.grad()
    with pytest.raises(TypeError, match="must return a Tensor of one element"):
        tg.trace(lambda x: (x.sum(), x), X).grad()
    with pytest.raises(TypeError, match=r"f: argument 1: derivatives need float arguments, got i64\[2\]"):

        def f(x: tg.Tensor, i: tg.Tensor) -> tg.Tensor:
            return x[i].sum()

        tg.trace(f, X, np.array([0, 2])).grad(1)
    graph = tg.trace(f, X, np.array([0, 2]))
    with pytest.raises(ValueError, match="f takes 2 arguments, so there is no argument 2"):
        graph.grad(2)
    with pytest.raises(KeyError, match="f has no input or cell 'z'; it has x, i"):
        graph.grad("z")
    with pytest.raises(ValueError, match="names something twice"):
        graph.grad((0, -2))
    with pytest.raises(TypeError, match="positions of arguments, names of inputs and paths"):
        graph.grad(1.5)
    with pytest.raises(TypeError, match="positions of arguments, names of inputs and paths"):
        graph.grad([True])
    b = tg.Buffer(np.array([1, 2]), name="b")
    with pytest.raises(TypeError, match="the cell b"):
        tg.trace(lambda x: (x[b]).sum(), X).grad("b")
    w = tg.Parameter(2.0, name="w")
    with pytest.raises(ValueError, match=r"no argument 0; name a cell to differentiate by, as in wrt='w'"):
        tg.trace(lambda: w * w).grad()
    assert float(tg.trace(lambda: w * w).grad("w").bind()()) == 4.0


def test_a_frozen_parameter_may_be_asked_for() -> None:
    w = tg.Parameter(np.array([1.0, 2.0]), name="w", requires_grad=False)
    gradient, _ = tg.trace(lambda x: (x * w).sum(), X[:2]).grad("w")(X[:2], state={"w": np.zeros(2)})
    equal(gradient, X[:2])


def test_numbers_say_the_same() -> None:
    """First and second derivatives of a smooth program by differences."""

    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        h = tg.softmax(x * y[::-1]) @ y
        return tg.log1p((tg.concatenate([x, y]) ** 2).sum()) * h

    graph = tg.trace(f, X, Y)
    first = graph.grad((0, 1))
    value = lambda x, y: graph(x, y).numpy()
    for found, expected in zip(first(X, Y), difference_jacobian(value, [X, Y]), strict=True):
        assert np.abs(expected).max() > 0.1
        assert np.abs(found.numpy() - expected[0]).max() < 1e-9
    second = tg.trace(lambda x, y, v: (graph.grad(0)(x, y) * v).sum(), X, Y, X).grad((0, 1))
    slope = lambda x, y: (first(x, y)[0].numpy() * Y).sum()
    for graph_of in (second, second.differentiate()):
        for found, expected in zip(graph_of(X, Y, Y), difference_jacobian(slope, [X, Y]), strict=True):
            assert np.abs(expected).max() > 0.1
            assert np.abs(found.numpy() - expected[0]).max() < 1e-8


@given(programs(smooth=True, max_steps=5))
def test_numbers_say_the_same_of_random_programs(program: Program) -> None:
    with quiet():
        n = program.floats[0]
        graph = program.graph()
        arrays, tree = flatten(program.examples[n])
        gradient = np.concatenate([a.reshape(-1) for a in leaves(graph.grad(n).differentiate()(*program.examples))])

        def value(*moved: np.ndarray) -> np.ndarray:
            from tensorgraph.engine.tree import unflatten

            args = list(program.examples)
            args[n] = unflatten(tree, list(moved))
            return graph(*args).numpy()

        numbers, coarse = (
            np.concatenate([block.reshape(-1) for block in difference_jacobian(value, arrays, step)])
            for step in (1e-4, 4e-4)
        )
        assert np.isfinite(numbers).all() and np.isfinite(gradient).all()
        scale = max(1.0, np.abs(numbers).max(initial=0.0))
        assume(np.abs(coarse - numbers).max(initial=0.0) <= 1e-7 * scale)  # else a kink lies between the points
        assert np.abs(gradient - numbers).max(initial=0.0) < 1e-7 * scale


# jvp ---------------------------------------------------------------------------------------------------------------


@given(programs(max_steps=8))
def test_jvp_of_random_programs(program: Program) -> None:
    n = program.floats
    if not n:
        return
    with quiet():
        args = program.tensors()
        rng = np.random.default_rng(0)
        directions = [tree_map(lambda t: tg.tensor(rng.uniform(-1, 1, t.shape), dtype=t.dtype), args[i]) for i in n]

        def function(*moved: Any) -> Any:
            own = list(args)
            for i, value in zip(n, moved, strict=True):
                own[i] = value
            return program.make().function(*own)

        if not any(isinstance(out, Var) and out.aval.dtype.kind == "f" for out in program.graph().outputs):
            for call in (program.graph().jvp, lambda: tg.jvp(function, [args[i] for i in n], directions)):
                with pytest.raises(TypeError, match="must return"):
                    call()
            return
        graph = program.graph().jvp().check()
        assert not any(eq.op.name == "gradients" for eq in graph.equations)
        tg.random.seed(0)
        expected = tg.jvp(function, [args[i] for i in n], directions)
        keywords = state_of(program, graph)
        equal(outputs(graph, graph(*args, *directions, **keywords)), expected)


def test_jvp_is_forward_mode() -> None:
    """No equation of the backward pass is left, and nothing is computed that no tangent needs."""

    def f(x: tg.Tensor, y: tg.Tensor) -> Any:
        return {"a": tg.exp(x) * y, "n": tg.argmax(y)}

    graph = tg.trace(f, X, Y).jvp(0)
    names = [eq.op.name for eq in graph.equations]
    assert names == ["alias", "exp", "multiply", "argmax", "multiply", "multiply", "zeros"]
    assert [v.name for v in graph.inputs] == ["x", "y", "x_dot"]
    out, tangent = graph(X, Y, np.ones(3))
    equal((out, tangent), tg.jvp(lambda x: f(x, tg.tensor(Y)), (X,), (np.ones(3),)))
    equal(tangent["a"], np.exp(X) * Y)


def test_jvp_of_a_network_by_its_parameters() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(3, 4, seed=0), tg.nn.BatchNorm(4), tg.nn.ReLU(), tg.nn.Linear(4, 2, seed=1))
    x, labels = np.random.default_rng(1).standard_normal((6, 3)).astype("f"), np.array([0, 1, 1, 0, 1, 0])
    graph = tg.trace(lambda x: tg.softmax_cross_entropy(model(x), labels), x)
    path = next(decl.path for decl in graph.cells if decl.kind == "parameter")
    moving = graph.jvp(("x", path))
    direction = np.random.default_rng(2).standard_normal((6, 3)).astype("f")
    turn = np.random.default_rng(3).standard_normal(live(model, path).shape).astype("f")
    loss, slope = moving.bind()(x, direction, turn)
    dx, dw = graph.grad(("x", path)).bind()(x)
    expected = float((dx.numpy() * direction).sum() + (dw.numpy() * turn).sum())
    assert abs(expected) > 1e-2 and abs(float(slope) - expected) < 1e-5 * max(1.0, abs(expected))
    assert np.isfinite(float(loss))


def test_jvp_refuses_what_does_not_move() -> None:
    def f(x: tg.Tensor, i: tg.Tensor) -> tg.Tensor:
        return x[i]

    graph = tg.trace(f, X, np.array([0]))
    assert len(graph.jvp().inputs) == 3
    with pytest.raises(TypeError, match=r"derivatives need float arguments, got i64\[1\]; leave it out of wrt"):
        graph.jvp((0, 1))
    with pytest.raises(ValueError, match="takes no float arguments"):
        tg.trace(lambda i: i + 1, np.array([1])).jvp()


# inside a trace ----------------------------------------------------------------------------------------------------


def test_a_graph_is_called_inside_a_trace() -> None:
    def f(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        with tg.scope("inner"):
            return tg.tanh(x * y) * tg.stop_gradient(x)

    graph = tg.trace(f, X, Y)
    around = lambda g: lambda x, y: (g(x * 2.0, y) ** 2).sum()
    assert tg.trace(around(graph), X, Y) == tg.trace(around(f), X, Y)
    assert tg.trace(tg.grad(around(graph), (0, 1)), X, Y) == tg.trace(tg.grad(around(f), (0, 1)), X, Y)
    equal(tg.grad(around(graph))(X, Y), tg.grad(around(f))(X, Y))
    with tg.scope("outer"):
        inside = tg.trace(lambda x: graph(x, Y), X)
    assert {eq.scope for eq in inside.equations} == {"inner"}, "a trace begins outside every scope"

    def scoped(x: tg.Tensor) -> tg.Tensor:
        with tg.scope("outer"):
            return graph(x, Y)

    assert [(eq.op.name, eq.scope, eq.source.line) for eq in tg.trace(scoped, X).equations] == [
        (eq.op.name, f"outer.{eq.scope}", eq.source.line) for eq in graph.equations
    ]
    with pytest.raises(ValueError, match=r"the graph was traced for f64\[3\], got f64\[2\]"):
        tg.trace(lambda x: graph(x, Y), X[:2])


def test_a_graph_with_deferred_gradients_inside_a_trace() -> None:
    step = tg.trace(tg.grad(lambda x: (x**3).sum()), X)
    outer = tg.trace(lambda x: (step(x) ** 2).sum(), X)
    assert [eq.op.name for eq in outer.equations].count("gradients") == 1
    assert_close(outer.grad()(X), 4 * 9 * X**3)
    equal(outer.grad().differentiate()(X), tg.grad(lambda x: (tg.grad(lambda t: (t**3).sum())(x) ** 2).sum())(X))


def test_state_inside_a_trace() -> None:
    w = tg.Parameter(np.array([1.0, 2.0, 3.0]), name="w")
    count = tg.Buffer(0, name="count")

    def f(x: tg.Tensor) -> tg.Tensor:
        count.assign(count + 1)
        return (x * w).sum()

    graph = tg.trace(f, X)

    def twice(x: tg.Tensor, state: Any) -> Any:
        first, state = graph(x, state=state)
        second, state = graph(x * 2.0, state=state)
        return first + second, state

    state = {"w": Y, "count": np.array(5)}
    found, after = tg.trace(twice, X, state)(X, state)
    assert float(found) == float(3 * (X * Y).sum()) and int(after["count"]) == 7
    equal(after["w"], Y)
    assert float(tg.grad(lambda v: tg.trace(twice, X, {**state, "w": v})(X, {**state, "w": v})[0])(Y)[0]) == 3 * X[0]
    with pytest.raises(TypeError, match="pass state="):
        tg.trace(lambda x: graph(x), X)
    # bound to its cells it reads and writes those of the trace
    bound = graph.bind()
    again = tg.trace(lambda x: bound(x) + bound(x), X)
    assert [decl.path for decl in again.cells] == ["count", "w"] and len(again.writes) == 1
    assert float(again.bind()(X)) == float(2 * (X * [1.0, 2.0, 3.0]).sum()) and int(count) == 2
    assert int(tg.trace(f, X).bind()(X).size) == 1


def test_the_state_that_a_graph_leaves_keeps_its_history() -> None:
    w = tg.Parameter(np.array(2.0), name="w")
    graph = tg.trace(lambda x: x * w, np.array(1.0))
    s = tg.tensor(3.0, dtype="float64", requires_grad=True)
    _, after = graph(1.0, state={"w": s})
    assert float(tg.gradients(after["w"] * 5.0, s)) == 5.0
    _, after = graph(1.0, state={"w": w})
    w.assign(7.0)
    assert float(after["w"]) == 2.0


def test_a_captured_tensor_keeps_its_history() -> None:
    x = tg.tensor(3.0, dtype="float64", requires_grad=True)
    graph = tg.trace(lambda a: a * a * x, np.array(2.0)).grad()
    assert float(tg.gradients(graph(2.0), x)) == 4.0
    assert float(tg.gradients(graph.differentiate()(2.0), x)) == 4.0


def test_in_no_grad_a_gradient_is_still_a_gradient() -> None:
    """Without a history, but not without a value."""
    f = lambda t: tg.sin(t).sum()

    def g(x: tg.Tensor) -> tg.Tensor:
        with tg.no_grad():
            return tg.grad(f)(x)

    x = tg.tensor(X, requires_grad=True)
    equal(g(x), np.cos(X))
    assert not g(x).requires_grad
    for function in (g, tg.trace(g, X), tg.trace(g, x), tg.trace(g, X).differentiate()):
        out, tangent = tg.jvp(function, (X,), (Y,))
        equal((out, tangent), (np.cos(X), np.zeros(3)))


def test_a_gradient_by_the_result_of_a_fused_op():
    labels = np.array([0, 1])

    def program(x):
        loss = tg.softmax_cross_entropy(x, labels)
        return loss + tg.gradients(loss * loss, [loss], create_graph=True)[0]

    x = np.random.default_rng(0).normal(size=(2, 3))
    value, slope = tg.value_and_grad(lambda x: 3.0 * tg.softmax_cross_entropy(x, labels))(tg.tensor(x))
    found = tg.trace(tg.value_and_grad(program), x).differentiate()(x)
    for got, expected in zip(found, (value, slope), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)

"""Whole training steps, traced: equal to eager ones bitwise for ten steps, for programs that hypothesis writes."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.testing import assert_same

STEPS = 10
Step = Callable[..., Any]


def play(
    make: Callable[[], tuple[list[Any], Step]], batches: list[tuple[Any, ...]], traced: bool
) -> list[list[np.ndarray]]:
    """What a step gives and leaves in the cells, step after step."""
    cells, step = make()
    run = tg.trace(step, *batches[0]).check().bind(*cells) if traced else step
    history = []
    for batch in batches:
        out = run(*batch)
        history.append([np.array(out.detach()), *[np.array(c) for c in cells]])
    return history


def assert_steps_agree(make: Callable[[], tuple[list[Any], Step]], batches: list[tuple[Any, ...]]) -> None:
    for number, (eager, traced) in enumerate(
        zip(play(make, batches, False), play(make, batches, True), strict=True), 1
    ):
        for e, t in zip(eager, traced, strict=True):
            assert_same(t, e, f"step {number}")
            assert np.isfinite(e).all()


def batches(dtype: Any, n: int = STEPS) -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(8, 4)).astype(dtype), rng.integers(0, 3, 8)) for _ in range(n)]


def network(dtype: Any, **options: Any) -> Callable[[], tuple[list[Any], Step]]:
    """Two layers with batch norm, a momentum update, a decaying rate, weight decay: everything a cell."""
    how = {"impl": "fused", "create_graph": False, "habit": "backward", "accumulate": 1} | options

    def make() -> tuple[list[Any], Step]:
        rng = np.random.default_rng(1)
        new = lambda name, *shape: tg.Parameter(rng.normal(size=shape).astype(dtype) * 0.5, name=name)
        w1, w2 = new("w1", 4, 6), new("w2", 6, 3)
        gamma, beta = tg.Parameter(np.ones(6, dtype), name="gamma"), tg.Parameter(np.zeros(6, dtype), name="beta")
        parameters = [w1, w2, gamma, beta]
        speed = [tg.Buffer(np.zeros(p.shape, dtype), name=f"v_{p.name}") for p in parameters]
        count, rate = tg.Buffer(0, name="count"), tg.Buffer(dtype(0.1), name="rate")

        def loss_of(w1: Any, w2: Any, gamma: Any, beta: Any, x: Any, y: Any) -> Any:
            h, _, _ = tg.batch_norm(x @ w1, gamma, beta, impl=how["impl"])
            return tg.softmax_cross_entropy(tg.relu(h) @ w2, y, impl=how["impl"])

        def step(x: Any, y: Any) -> Any:
            if how["habit"] == "grad":
                loss, grads = tg.value_and_grad(loss_of, (0, 1, 2, 3))(*parameters, x, y)
            elif how["habit"] == "gradients":
                loss = loss_of(*parameters, x, y)
                grads = tg.gradients(loss, parameters, create_graph=how["create_graph"])
            else:
                for p in parameters:
                    p.zero_grad()
                for _ in range(how["accumulate"]):
                    loss = loss_of(*parameters, x, y)
                    loss.backward(create_graph=how["create_graph"])
                grads = [p.grad for p in parameters]
            with tg.no_grad():
                for p, v, g in zip(parameters, speed, grads, strict=True):
                    v.assign(0.9 * v + 0.1 * (g + 0.01 * p))
                    p.assign(p - rate * v)
                count.assign(count + 1)
                rate.assign(rate * 0.99)
            return loss

        return [*parameters, *speed, count, rate], step

    return make


OPTIONS = [
    {},
    {"impl": "composed"},
    {"create_graph": True},
    {"habit": "gradients"},
    {"habit": "gradients", "create_graph": True},
    {"habit": "grad"},
    {"accumulate": 2},
    {"habit": "grad", "impl": "composed"},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_network_for_ten_steps(options: dict[str, Any], dtype: Any) -> None:
    assert_steps_agree(network(dtype, **options), batches(dtype))


def test_random_draws_and_second_derivatives_in_a_step() -> None:
    def make() -> tuple[list[Any], Step]:
        generator = tg.random.Generator(5, name="dropout")
        w = tg.Parameter(np.linspace(-1, 1, 12).reshape(4, 3), name="w")

        def step(x: Any, y: Any) -> Any:
            w.zero_grad()
            keep = (generator.uniform((8, 4), "float64") > 0.3) / 0.7
            f = lambda w: tg.softmax_cross_entropy((x * keep.astype("float64")) @ w, y)
            loss = f(w)
            slope = tg.gradients(loss, w, create_graph=True)
            (loss + 0.1 * (slope * slope).sum()).backward()
            w.assign(w - 0.5 * w.grad)
            return loss

        return [w, generator.state], step

    assert_steps_agree(make, batches(np.float64))


def test_the_gradient_that_a_step_leaves_is_not_live() -> None:
    w = tg.Parameter(np.ones(2), name="w")

    def step(x: Any) -> Any:
        (w * x).sum().backward()
        return w.grad

    bound = tg.trace(step, tg.f64[2]).bind(w)
    for _ in range(2):  # each call starts from no gradient
        assert bound(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert w.grad is None


def test_what_a_step_does_with_grad() -> None:
    """Set, read, forget, add up, replace: inside a trace as outside."""

    def make() -> tuple[list[Any], Step]:
        w, u = tg.Parameter(np.ones(2), name="w"), tg.Parameter(np.ones(2), name="u")

        def step(x: Any) -> Any:
            w.zero_grad()
            u.grad = None
            assert w.grad is None
            (w * x * u).sum().backward()
            first = w.grad
            (w * w).sum().backward()
            w.grad = w.grad * 2.0 + first
            u.grad = tg.ones((2,), dtype="f64")
            (u * 3.0).sum().backward()
            w.assign(w - 0.1 * w.grad)
            u.assign(u - 0.1 * u.grad)
            return first.sum()

        return [w, u], step

    rng = np.random.default_rng(2)
    assert_steps_agree(make, [(rng.normal(size=2),) for _ in range(STEPS)])


# programs ----------------------------------------------------------------------------------------------------------

UNARY = ["tanh", "sin", "cos", "sigmoid", "softplus", "relu", "absolute", "negative", "square"]
BINARY = ["add", "subtract", "multiply", "maximum", "minimum"]
SHAPES = [(), (3,), (2, 3), (2, 1), (1, 3)]

instruction = st.one_of(
    st.tuples(st.just("unary"), st.sampled_from(UNARY), st.integers(0, 99)),
    st.tuples(st.just("binary"), st.sampled_from(BINARY), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(
        st.just("scalar"), st.sampled_from(BINARY), st.integers(0, 99), st.floats(-2, 2, width=16), st.booleans()
    ),
    st.tuples(st.just("mean"), st.integers(0, 99), st.sampled_from([None, 0, -1]), st.booleans()),
    st.tuples(st.just("detach"), st.integers(0, 99)),
    st.tuples(st.just("no_grad"), st.sampled_from(UNARY), st.integers(0, 99)),
    st.tuples(st.just("assign"), st.integers(0, 1), st.integers(0, 99)),
    st.tuples(st.just("grad of"), st.integers(0, 99), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("backward"), st.integers(0, 99)),
    st.tuples(st.just("nested"), st.sampled_from(UNARY), st.integers(0, 99)),
)


def fits(a: Any, b: Any) -> bool:
    """Whether two values broadcast: a mean without its axis may not."""
    return all(m == n or 1 in (m, n) for m, n in zip(a.shape[::-1], b.shape[::-1]))


def write(program: list[Any]) -> Callable[[], tuple[list[Any], Step]]:
    """A step that follows the instructions; values are addressed modulo how many there are."""

    def make() -> tuple[list[Any], Step]:
        cells = [tg.Parameter(np.array([0.5, -1.0, 0.25]), name="p"), tg.Parameter(np.array([[0.3], [-0.6]]), name="q")]

        def step(x: Any) -> Any:
            values: list[Any] = [tg.add(x, 0.0), cells[0] * 1.0, cells[1] * 1.0]
            pick = lambda i: values[i % len(values)]
            # so that every loss depends on both cells, in a trace (which cannot know of zero derivatives) as outside
            anchor = lambda: (cells[0] * 0.0).sum() + (cells[1] * 0.0).sum()
            for cell in cells:
                cell.zero_grad()
            for name, *rest in program:
                if name == "unary":
                    values.append(getattr(tg, rest[0])(pick(rest[1])))
                elif name == "binary":
                    a, b = pick(rest[1]), pick(rest[2])
                    values.append(getattr(tg, rest[0])(a, b if fits(a, b) else a))
                elif name == "scalar":
                    pair = (pick(rest[1]), rest[2])
                    values.append(getattr(tg, rest[0])(*(pair if rest[3] else pair[::-1])))
                elif name == "mean":
                    v = pick(rest[0])
                    values.append(v.mean(axis=rest[1] if v.ndim else None, keepdims=rest[2]))
                elif name == "detach":
                    values.append(pick(rest[0]).detach())
                elif name == "no_grad":
                    with tg.no_grad():
                        values.append(getattr(tg, rest[0])(pick(rest[1])))
                elif name == "assign":
                    cell = cells[rest[0]]
                    cell.assign(tg.tanh(tg.broadcast_to(pick(rest[1]).mean(), shape=cell.shape) + cell))
                    values.append(cell * 1.0)
                elif name == "grad of":
                    loss = pick(rest[0]).sum() + anchor()
                    values.append(tg.gradients(loss, cells[rest[1]], create_graph=True, retain_graph=True))
                elif name == "backward":
                    (pick(rest[0]).sum() + anchor()).backward(retain_graph=True)
                    values += [cell.grad for cell in cells]
                elif name == "nested":
                    v = pick(rest[1])
                    f = getattr(tg, rest[0])
                    values.append(tg.grad(lambda t, v=v, f=f: (f(t) * v * t).sum())(v))
            squash = [tg.tanh(v).sum() for v in values]
            total = squash[0]
            for s in squash[1:]:
                total = total + s
            for cell in cells:
                cell.assign(cell - 0.1 * (tg.zeros(cell.shape, "f64") if cell.grad is None else tg.tanh(cell.grad)))
            return total

        return cells, step

    return make


@given(st.lists(instruction, min_size=1, max_size=10))
@examples(120)
def test_programs_for_ten_steps(program: list[Any]) -> None:
    rng = np.random.default_rng(0)
    assert_steps_agree(write(program), [(rng.normal(size=(2, 3)),) for _ in range(STEPS)])


@given(st.lists(instruction, min_size=1, max_size=8))
@examples(60)
def test_evaluated_types_are_the_graphs_own(program: list[Any]) -> None:
    """Every value of an evaluation has the aval that the graph says, and tracing twice gives equal graphs."""
    cells, step = write(program)()
    x = np.ones((2, 3))
    graph = tg.trace(step, x)
    assert graph == tg.trace(step, x)
    seen = []

    def watch(at: int, eq: Any, operands: Any, results: Any, seconds: float) -> None:
        for var, value in zip(eq.outputs, results, strict=True):
            assert var.aval == value.aval, f"{eq.op.name}: {var.aval} in the graph, {value.aval} when evaluated"
            seen.append(var)

    by_path = {cell.path: cell for cell in cells}
    graph.program.taped([tg.tensor(x), *(by_path[decl.path].read() for decl in graph.cells)], watch=watch)
    assert len(seen) == sum(len(eq.outputs) for eq in graph.equations)


def test_a_gradient_penalty_leaves_alone_what_it_does_not_reach() -> None:
    """The derivative of the last layer does not depend on its bias: no gradient, and no decay of it, traced or not."""
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)

    def run(traced: bool) -> tuple[list[float], dict[str, Any]]:
        model = tg.nn.Sequential(tg.nn.Linear(3, 4, seed=0), tg.nn.Tanh(), tg.nn.Linear(4, 1, seed=1))
        model[2].bias.assign(np.full(1, 0.3, np.float32))
        optimizer = tg.optim.AdamW(model, lr=0.1, weight_decay=0.1)

        def step(x: Any) -> Any:
            (g,) = tg.vjp(model, x)[1](tg.ones((5, 1)))
            loss = (g * g).sum()
            optimizer.minimize(loss)
            return loss

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no gradient reached the bias is said
            call = tg.trace(step, x).bind() if traced else step
            losses = [float(call(x)) for _ in range(3)]
        return losses, {k: np.asarray(v).tolist() for k, v in model.state_dict().items()}

    eager, traced = run(False), run(True)
    assert np.isfinite(eager[0]).all() and eager == traced
    assert np.float32(traced[1]["2.bias"][0]) == np.float32(0.3)

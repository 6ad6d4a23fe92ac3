"""Python numbers as arguments of traced functions: weak in the graph as in eager code, to the last bit."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.aval import LONG, Number
from tensorgraph.engine.tree import flatten
from tensorgraph.testing.programs.program import quiet

DTYPES = tuple(LONG.values())
NUMBERS: tuple[Any, ...] = (0.1, 2.0, -0.0, 1e300, math.inf, math.nan, 0, 2, -3, 300, 2**40)

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "x * s": lambda x, s: x * s,
    "s * x": lambda x, s: s * x,
    "x + s": lambda x, s: x + s,
    "s - x": lambda x, s: s - x,
    "x / s": lambda x, s: x / s,
    "s / x": lambda x, s: s / x,
    "x // s": lambda x, s: x // s,
    "x % s": lambda x, s: x % s,
    "x ** s": lambda x, s: x**s,
    "s ** x": lambda x, s: s**x,
    "x < s": lambda x, s: x < s,
    "s >= x": lambda x, s: s >= x,
    "x == s": lambda x, s: x == s,
    "maximum": lambda x, s: tg.maximum(x, s),
    "where": lambda x, s: tg.where(x > 0, x, s),
    "chosen": lambda x, s: tg.where(s > 1, x, x + x),
    "both": lambda x, s: tg.where(x > 0, s, s * 2),
    "arithmetic": lambda x, s: x * (s * 3 + 1 - s),
    "quotient": lambda x, s: x * (s / 3),
    "negative": lambda x, s: x * -s,
    "compared": lambda x, s: ((s < 2) & (s != 3), x),
    "alone": lambda x, s: (tg.exp(s), x, s),
    "function": lambda x, s: (tg.multiply(s, 2), tg.multiply(2.0, s)),
    "joined": lambda x, s: tg.concatenate([x, tg.stack([s, 1.0])]),
    "set": lambda x, s: x.at[0].set(s),
    "added": lambda x, s: x.at[0].add(s),
    "made": lambda x, s: (tg.tensor(s), tg.tensor(s, "float64") * x),
    "bits": lambda x, s: x & s,
    "three": lambda x, s: (x * s, (x * s).sum() * s, [s, {"s": s + 1}]),
}


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What comes, as bits, or the kind of the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function(*args)
    except (TypeError, ValueError, ArithmeticError) as error:
        return "refused", str(error)
    found = []
    for leaf in flatten(result)[0]:
        if isinstance(leaf, tg.Tensor):
            array = leaf.numpy()
            plain = np.where(np.isnan(array), np.nan, array).astype(array.dtype) if array.dtype.kind == "f" else array
            found.append((str(leaf.aval), plain.tobytes()))
        else:
            found.append((type(leaf).__name__, leaf.hex() if isinstance(leaf, float) else leaf))
    return found, flatten(result)[1]


@pytest.mark.sampled(test=120, quick=40)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_eager_traced_parsed_and_as_python(name: str, dtype: str) -> None:
    function = FUNCTIONS[name]
    x = tg.tensor(np.array([0, 1, 3, 2]).astype(dtype))
    graphs: dict[type, Any] = {}
    with quiet():
        for s in NUMBERS:
            wanted = outcome(function, x, s)
            kind = type(s)
            if kind not in graphs:
                try:
                    graph = tg.trace(function, x, kind(2))
                except (TypeError, ValueError) as error:
                    assert outcome(function, x, kind(2))[0] == "refused", error
                    graphs[kind] = None
                    continue
                parsed = tg.parse(str(graph), tg.text.arrays_of(graph))
                assert parsed == graph and hash(parsed) == hash(graph) and str(parsed) == str(graph)
                assert graph.inputs[-1].aval == Number(kind)
                assert graph.simplify().outputs and graph.recognise() is not None
                names = tg.text.namespace(tg.text.arrays_of(graph))
                exec(str(graph), names)
                graphs[kind] = graph, parsed, names["f"], graph.simplify(), tg.trace(graph, x, kind(2))
            if graphs[kind] is None:
                assert wanted[0] == "refused"
                continue
            for number, again in enumerate(graphs[kind]):
                got = outcome(again, x, s)
                if wanted[0] == "refused":
                    assert got[0] == "refused", (number, s, got)
                else:
                    assert got == wanted, (number, s)


@pytest.mark.sampled(test=24, quick=8)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("bits", "compared", "function", "alone", "made")])
def test_gradients_of_what_meets_a_number(name: str, dtype: str) -> None:
    def loss(x: Any, s: Any) -> Any:
        found = [t for t in flatten(FUNCTIONS[name](x, s))[0] if isinstance(t, tg.Tensor) and t.dtype.kind == "f"]
        return sum(((t * t).sum() for t in found), start=(x * 0.0).sum())

    x = tg.tensor(np.array([0.5, 1.5, 3.0, 2.0]).astype(dtype))
    with quiet():
        for s in (0.1, 2.0, 3, 0, 1.0):
            graph = tg.trace(loss, x, s)
            of_graph, traced = graph.grad(), tg.trace(tg.grad(loss), x, s)
            assert of_graph == traced
            wanted = outcome(tg.grad(loss), x, s)
            written = traced.differentiate()
            # a graph does not know the number, which rules look at: the same to rounding where they do
            for again in (of_graph, traced, tg.parse(str(traced)), written, written.simplify()):
                got = outcome(again, x, s)
                if wanted[0] != "refused":
                    assert got[0][0][0] == wanted[0][0][0]
                    a, b = (np.frombuffer(o[0][0][1], dtype) for o in (got, wanted))
                    assert np.array_equal(a, b, equal_nan=True) or (name in ("x ** s", "s ** x") and np.allclose(
                        a, b, rtol=8 * float(np.finfo(dtype).eps), atol=0, equal_nan=True)), (s, a, b)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["x * s", "s - x", "x / s", "x ** s", "where", "arithmetic", "alone", "three", "set"])
def test_gradients_with_respect_to_a_number(name: str, dtype: str) -> None:
    """A number that is differentiated by is a tensor of the default dtype, as in eager code."""

    def loss(x: Any, s: Any) -> Any:
        found = [t for t in flatten(FUNCTIONS[name](x, s))[0] if isinstance(t, tg.Tensor)]
        return sum(((t * t).sum() for t in found), start=0.0)

    x = tg.tensor(np.array([0.5, 1.5, 3.0, 2.0]).astype(dtype))
    with quiet():
        if name == "set" and dtype == "float16":
            return
        wanted = tg.grad(loss, argnums=1)(x, 0.1)
        graph = tg.trace(loss, x, 0.1)
        traced = tg.trace(tg.grad(loss, argnums=1), x, 0.1)
        assert graph.grad(1) == traced
        for again in (graph.grad(1), graph.grad("s"), traced, tg.parse(str(traced)), traced.differentiate().simplify()):
            got = again(x, 0.1)
            assert got.aval == wanted.aval == tg.f32[()]
            assert np.array_equal(got.numpy(), wanted.numpy())
        primal, tangent = graph.jvp((0, 1))(x, 0.1, x, 1.0)
        expected = tg.jvp(loss, (x, 0.1), (x, 1.0))
        assert np.allclose(tangent.numpy(), expected[1].numpy(), rtol=1e-3 if dtype == "float16" else 1e-6)
        assert np.allclose(primal.numpy(), expected[0].numpy(), rtol=1e-3 if dtype == "float16" else 1e-6)


def test_the_text() -> None:
    graph = tg.trace(lambda x, rate, n: x * (rate / 2) + tg.exp(rate) * n, tg.f16[3], 0.1, 2)
    assert graph.text(flat=True, types=True).splitlines() == [
        "def f(x: f16[3], rate: float, n: int) -> f32[3]:",
        "    v0 = rate / 2                                     # float",
        "    v1 = x * v0                                       # f16[3]",
        '    v2 = tensor(rate, "float32")                      # f32',
        "    v3 = exp(v2)                                      # f32",
        "    v4 = v3 * n                                       # f32",
        "    v5 = v1 + v4                                      # f32[3]",
        "    return v5",
    ]
    assert graph != tg.trace(lambda x, rate, n: x * (rate / 2) + tg.exp(rate) * n, tg.f16[3], 1, 2)
    assert graph != tg.trace(lambda x, rate, n: x * (rate / 2) + tg.exp(rate) * n, tg.f16[3], tg.f32[()], 2)
    by_hand = tg.parse(
        "def f(x: i8[2], flag: bool, s: int) -> i8[2]:\n    y: int = s * 2\n    return where(flag, x, x * y)\n"
    )
    assert by_hand(tg.tensor([1, 2], "int8"), False, 3).tolist() == [6, 12]
    with pytest.raises(ValueError, match="does not fit int8"):
        by_hand(tg.tensor([1, 2], "int8"), False, 300)
    template = tg.parse("def f(x: f32[N], s: float): return x * s")
    assert template(tg.ones(4), 0.5).tolist() == [0.5] * 4


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("s.sum()", "has no methods"), ("s.T", "has no T"), ("s[0]", "cannot be indexed"), ("s @ s", "matmul"),
        ("s & 1", "unsupported operand"), ("n ** n", "a float where that is negative"),
    ],
)  # fmt: skip
def test_what_a_text_refuses_of_numbers(body: str, message: str) -> None:
    with pytest.raises(tg.ParseError, match=message) as caught:
        tg.parse(f"def f(x: f32[3], s: float, n: int):\n    return {body}\n")
    assert (caught.value.line, caught.value.column) == (2, 12)


def test_what_is_given_for_a_number() -> None:
    floats = tg.trace(lambda x, s: x * s, tg.f32[2], 0.5)
    x = tg.ones(2)
    for s in (0.25, 2, True, np.float64(0.25), np.float32(0.25), np.int8(2)):
        assert floats(x, s).numpy().tobytes() == (x * s).numpy().tobytes()
    integers = tg.trace(lambda x, s: x * s, tg.i8[2], 2)
    y = tg.tensor([1, 2], "int8")
    for wrong in (0.5, True, np.int8(2), np.float32(1.0)):
        with pytest.raises(ValueError, match="argument s: the graph was traced for a Python int"):
            integers(y, wrong)
    mixed = tg.trace(lambda x, s: x * s, tg.i8[2], 0.5)
    with pytest.raises(ValueError, match="trace again for this kind of number"):
        mixed(y, 2)  # which would be int8 in eager code
    for tensor in (tg.tensor(0.5), np.array(0.5), tg.ones(1)):
        with pytest.raises(ValueError, match="which is weak, got a tensor"):
            floats(x, tensor)
    with pytest.raises(ValueError, match="got 'a'"):
        floats(x, "a")
    inner = tg.trace(lambda x, s: floats(x, s) + floats(x, 2.0), tg.f32[2], 0.5)
    assert inner(x, 0.25).tolist() == [2.25, 2.25]
    assert "2.0" in str(inner)


def test_pythons_functions_of_traced_numbers() -> None:
    x = np.ones(2, np.float32)
    for function in (
        lambda s: divmod(s, 2), lambda s: divmod(7, s), lambda s: (sum([s, s]), math.prod([s, s]), pow(s, 2), +s),
        lambda s: (abs(s), abs(-s)),
    ):  # fmt: skip
        for number, other in ((3, 5), (-3, 4), (2.5, -1.25)):
            graph = tg.trace(lambda x, s: [x * v for v in function(s)], tg.f32[2], number)  # noqa: B023
            assert [t.tolist()[0] for t in graph(x, other)] == [float(np.float32(v)) for v in function(other)]
    for numbers in ((0.5, -2.5, -0.0, 0.0, math.inf, -math.inf, math.nan, -1e-320, 1e300), (3, 0, -7, -(2**70))):
        graph = tg.trace(lambda s: (abs(s), tg.tensor(1.0) * (abs(s) < 2)), numbers[0])
        for run in (graph, graph.simplify(), tg.parse(str(graph))):
            for number in numbers:
                found = run(number)[0]
                assert type(found) is type(abs(number))
                assert found == abs(number) or (math.isnan(number) and math.isnan(found))
                assert math.isnan(number) or math.copysign(1, found) == 1, "the zero of abs(-0.0) has no sign"
    scaled = tg.trace(lambda x, s: x * abs(s), tg.f32[()], 0.5)
    for number, slope in ((-2.5, -1.0), (0.0, 0.0), (3.0, 1.0)):
        for derivative in (scaled.grad(1), tg.trace(tg.grad(lambda x, s: x * abs(s), 1), tg.f32[()], 0.5)):
            assert derivative(np.float32(1), number).tolist() == slope
    for whole in (round, math.floor, math.ceil, math.trunc, lambda s: round(s, 1)):
        assert tg.trace(lambda x, s: x * whole(s), tg.f32[2], 3)(x, 5).tolist() == [5, 5]  # noqa: B023
    with pytest.raises(tg.TraceError, match="round before the call"):
        tg.trace(lambda s: round(s, -1), 30)


def test_what_a_traced_number_refuses() -> None:
    for function, message in [
        (lambda s: 1.0 if s > 0 else 2.0, "a branch"), (lambda s: math.sqrt(s), "float()"),
        (lambda s: round(s), "round"), (lambda s: math.floor(s), "s // 1"),
        (lambda s: tg.full((2,), s), "static Python value"), (lambda s: s & 1, "unsupported operand"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=message):
            tg.trace(function, 0.5)
    with pytest.raises(TypeError, match="numbers"):
        tg.trace(lambda n: tg.ones((n,)), 2)
    graph = tg.trace(lambda n, x: x[n], 1, tg.f32[3])
    assert graph(2, np.arange(3.0, dtype=np.float32)).tolist() == 2.0


def test_cells_and_numbers() -> None:
    class Cells(tg.nn.Module):
        def __init__(self) -> None:
            self.cell, self.count = tg.Buffer(np.zeros(2)), tg.Buffer(np.int64(0))
            self.rate = tg.Buffer(np.float64(0.0))

    own = Cells()
    cell, count, rate = own.cell, own.count, own.rate

    def step(s: Any, n: Any) -> Any:
        cell.assign(cell * s)
        count.assign(n)
        return cell + s

    graph = tg.trace(step, 0.1, 3)
    assert tg.parse(str(graph)) == graph
    result, state = graph(0.1, 3, state={"cell": np.ones(2), "count": np.int64(1)})
    assert result.tolist() == [0.1 + 0.1] * 2 and state["cell"].tolist() == [0.1, 0.1] and int(state["count"]) == 3
    graph = tg.trace(lambda s: rate.assign(s), 0.5)
    assert float(graph(0.1, state={"rate": 0.0})[1]["rate"]) == 0.1
    with pytest.raises(TypeError, match="without loss"):
        tg.trace(lambda s: count.assign(s), 0.5)


def test_everything_else_takes_them() -> None:
    def softened(x: Any, t: Any) -> Any:
        z = x / t
        e = tg.exp(z - tg.max(z, axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).sum()

    graph = tg.trace(softened, tg.f32[4, 5], 2.0)
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    assert [eq.op.name for eq in graph.recognise().equations] == ["divide", "softmax", "sum"]
    for again in (graph.transform(), graph.differentiate(), graph.expand(), graph.recognise()):
        assert np.allclose(again(x, 2.0).numpy(), graph(x, 2.0).numpy())
    assert tg.draw(graph).text() and graph.cost() and not tg.lint(graph)
    assert str(tg.profile(graph, x, 2.0)) and str(tg.profile(graph)) and not tg.find_faults(graph, x, 2.0)
    assert "float" in str(tg.diff(graph, tg.trace(softened, tg.f32[4, 5], 3)))
    many = tg.passes.batching.batched(graph, 3, (0, None))
    xs = np.stack([x, x + 1, 2 * x])
    with pytest.raises(ValueError, match="Python number, one for all examples"):
        tg.passes.batching.batched(graph, 3)
    assert np.allclose(many(xs, 2.0).numpy(), [graph(row, 2.0).numpy() for row in xs])
    bound = tg.trace(lambda x, s: tg.grad(lambda y: (y * s).sum())(x), tg.f64[2], 0.1).bind()
    for _ in range(6):
        assert bound(np.ones(2), 0.1).tolist() == [0.1, 0.1]
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    scaled = tg.trace(lambda w, s: (w * s * (s + 1)).sum(), tg.f32[2], 0.5)
    for _ in range(6):
        scaled(w, 0.25).backward()
    assert np.allclose(w.grad.numpy(), 6 * 0.25 * 1.25)


SCALAR_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    name: FUNCTIONS[name]
    for name in ("x * s", "s - x", "x / s", "s / x", "x < s", "maximum", "where", "negative", "quotient")
} | {
    "sum": lambda x, s: x * (s * 2.0 + 1),
    "two": lambda x, s: x * (s * s) + s * np.float64(2.5),
    "function": lambda x, s: (tg.exp(s), tg.stack([s, s * 2]), x),
}


@pytest.mark.parametrize(
    "scalar", [np.float64(0.1), np.float32(0.1), np.float16(3.0), np.int64(3), np.int8(2)], ids=repr
)
@pytest.mark.parametrize("name", SCALAR_FUNCTIONS)
def test_numpys_scalars_are_weak_beside_floats(name: str, scalar: Any) -> None:
    function = SCALAR_FUNCTIONS[name]
    for dtype in DTYPES:
        x = tg.tensor(np.array([0, 1, 3, 2]).astype(dtype))
        wanted = outcome(function, x, scalar)
        if wanted[0] == "refused":
            with pytest.raises((TypeError, ValueError)):
                tg.trace(function, x, scalar)
            continue
        with quiet():
            graph = tg.trace(function, x, scalar)
            assert graph.inputs[1].aval == tg.spec((), str(scalar.dtype))
            for run in (graph, tg.parse(str(graph), tg.text.arrays_of(graph)), graph.simplify()):
                assert outcome(run, x, scalar) == wanted, (dtype, str(graph))


def test_models_take_numbers() -> None:
    text = "def net(x: f32[N, 2], s: float, *, w: Parameter[f32[2, 3]] = he_normal()):\n    return x @ w * s\n"
    model = tg.nn.GraphModule(tg.parse(text))
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    wanted = (x @ model.w * 0.1).numpy()
    assert np.array_equal(model(x, 0.1).numpy(), wanted)
    graph = tg.trace(model, x, 0.1)
    assert graph.inputs[1].aval == Number(float)
    assert np.array_equal(graph.bind(model)(x, 0.1).numpy(), wanted)

    class Scaled(tg.nn.Module):
        def __init__(self) -> None:
            self.linear = tg.nn.Linear(2, 3)

        def forward(self, x: Any, s: Any) -> Any:
            return self.linear(x) * s

    module = Scaled()
    for scalar in (0.1, np.float64(0.1), 3):
        traced = tg.trace(module, x, scalar)
        assert np.array_equal(traced.bind()(x, scalar).numpy(), module(x, scalar).numpy())


@pytest.mark.parametrize("function", [
    lambda x, a: tg.einsum("i,->i", x, a), lambda x, a: tg.searchsorted(x, a), lambda x, a: tg.isin(a, x),
    lambda x, a: tg.digitize(a, x), lambda x, a: tg.outer(x, a), lambda x, a: tg.stack([x[0], a]),
])  # fmt: skip
def test_a_number_that_is_traced_has_all_its_digits_beside_float64(function) -> None:
    x = tg.tensor(np.array([0.1, 0.2, 0.3]))
    graph = tg.trace(function, x, 0.2)
    for run in (graph, tg.parse(str(graph)), tg.compile(function)):
        got, expected = run(x, 0.2), function(x, 0.2)
        assert got.dtype == expected.dtype and got.tolist() == expected.tolist()

"""Plans with every kernel there is: values, gradients and steps of training as NumPy's, up to rounding."""

from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from plan_rules import moved
from plan_training import MODELS, OPTIMISERS, training

import tensorgraph as tg
from tensorgraph.compile import selection
from tensorgraph.compile.native_runner import NativeRunner
from tensorgraph.compile.plan import plan
from tensorgraph.engine.op import CATALOGUE, Op, elementwise
from tensorgraph.engine.tree import flatten
from tensorgraph.native import machine
from tensorgraph.native.kernel import kernel
from tensorgraph.testing import Program, assert_close, programs
from tensorgraph.testing.programs.program import quiet

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))


@examples(60)
@given(programs(smooth=True))
def test_values_and_gradients_of_random_programs(program: Program) -> None:
    at = program.floats
    with quiet():
        graph = tg.trace(tg.value_and_grad(program.function, at), *program.specs).transform()
    runner = NativeRunner(plan(graph), [])
    for number in range(2):
        values = [t._value for t in flatten(program.tensors(number))[0]]
        with quiet():
            expected, got = graph.program.run(values), runner.run(values)
        for a, b in zip(got, expected, strict=True):
            if not np.isfinite(b).all():
                continue  # another batch than that which the program was drawn for
            assert np.isfinite(a).all()
            scale = max(float(np.abs(b).max(initial=0.0)), 1e-3)
            assert_close(a, b, scale=scale, ulps=1e7, reason="a random program may amplify rounding: 2e-9")


@pytest.mark.parametrize(
    ("model", "optimiser"),
    [*((m, "adam") for m in MODELS), *(("batch norm", o) for o in OPTIMISERS if o != "adam")],
)
def test_steps_of_training(model: str, optimiser: str) -> None:
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(17, 13)).astype("float32"), rng.integers(0, 5, 17)) for _ in range(8)]
    step, eager = training(MODELS[model], OPTIMISERS[optimiser])
    expected = [float(step(tg.tensor(x), tg.tensor(y))) for x, y in batches]
    step, planned = training(MODELS[model], OPTIMISERS[optimiser])
    graph = tg.trace(step, *batches[0]).transform()
    cells = graph.provenance.cells(len(graph.cells))
    runner = NativeRunner(plan(graph), cells)  # type: ignore[arg-type]
    losses = [float(runner.run(batch)[0]) for batch in batches]
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    others = dict(eager.named_cells())
    for name, cell in dict(planned.named_cells()).items():
        np.testing.assert_allclose(cell._value, others[name]._value, rtol=1e-3, atol=1e-5, err_msg=name)
    bad = batches[0][1].copy()
    bad[3] = 5
    before = {name: cell._value.copy() for name, cell in dict(planned.named_cells()).items()}
    for _ in range(2):
        with pytest.raises(ValueError, match="class index"):
            runner.run((batches[0][0], bad))
    for name, cell in dict(planned.named_cells()).items():
        np.testing.assert_array_equal(cell._value, before[name], err_msg=name)
    assert np.isfinite(runner.run(batches[0])[0])


@pytest.mark.parametrize("last", ["bias", "relu", "both"])
@pytest.mark.parametrize("read", [False, True])
def test_a_product_adds_its_bias_and_cuts_at_0(last: str, read: bool) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype("float32") for s in ((17, 8), (8, 5), (5,)))
    x[0, 0] = np.nan

    def f(x: Any, w: Any, b: Any) -> Any:
        y = z = x @ w
        if last in ("bias", "both"):
            z = b + z
        if last in ("relu", "both"):
            z = tg.relu(z)
        return (z, y) if read else z

    graph = tg.trace(f, x, w, b)
    made = plan(graph)
    if not read:
        (step,) = made.steps
        assert len(step.equations) == len(graph.equations)
    with quiet():
        for a, expected in zip(NativeRunner(made, []).run((x, w, b)), graph.program.run([x, w, b]), strict=True):
            assert_close(a, expected)


def test_an_ending_of_another_shape_is_no_ending() -> None:
    x, w, b = np.ones((3, 4), "float32"), np.ones((4, 1), "float32"), np.arange(5, dtype="float32")
    graph = tg.trace(lambda x, w, b: (x @ w + b, tg.relu((x @ w) * 2.0)), x, w, b)
    for a, expected in zip(NativeRunner(plan(graph), []).run((x, w, b)), graph.program.run([x, w, b]), strict=True):
        assert_close(a, expected)


@pytest.mark.parametrize("model", MODELS)
def test_kernels_are_held_against_numpy(model: str) -> None:
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(17, 13)).astype("float32"), rng.integers(0, 5, 17)
    step, planned = training(MODELS[model], OPTIMISERS["adam"])
    compiled = tg.compile(step, check=True)
    other, eager = training(MODELS[model], OPTIMISERS["adam"])
    for _ in range(3):
        np.testing.assert_allclose(float(compiled(*batch)), float(other(*batch)), rtol=1e-5)
    for name, cell in dict(planned.named_cells()).items():
        np.testing.assert_allclose(cell._value, dict(eager.named_cells())[name]._value, rtol=1e-3, atol=1e-5)


def test_what_ended_sequences_keep_is_not_held_against_numpy() -> None:
    rng = np.random.default_rng(0)
    x, w, u = (tg.tensor(rng.normal(size=shape)) for shape in ((2, 3, 4), (4, 8), (2, 8)))

    def slope(w: Any, lengths: Any) -> Any:
        return tg.grad(lambda w: (tg.lstm(x, w, u, lengths=lengths)[0] ** 2).sum())(w)

    for lengths in ([0, 2], [3, 1]):
        expected = slope(w, tg.tensor(lengths))
        assert_close(tg.compile(slope, check=True)(w, tg.tensor(lengths)).numpy(), expected.numpy())


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = np.ones((3, 4), "float32"), tg.Buffer(np.zeros((4, 2), "float32"), name="weight")

    def step(x: Any) -> Any:
        y = x @ weight + 1.0
        weight.assign(weight + 1.0)
        return y

    monkeypatch.setattr(selection, "regions", lambda graph, told: [selection._alone(eq) for eq in graph.equations])
    monkeypatch.setattr(Op, "native_rule", wrong_rule)
    compiled = tg.compile(step, check=True)
    with pytest.raises(RuntimeError, match=r"check: the kernel moved of add \(test_plan_steps.py:\d+\) gives 0.0 at"):
        compiled(x)
    assert not weight._value.any()


def wrong_rule(op: Any) -> Any:
    """A rule for sums that forgets the second term."""

    def rule(call: Any) -> bool:
        (x, _), (out,) = call.inputs, call.outputs
        call.run(kernel(moved, out.dtype), [x.address(), out.address(), out.size])
        return True

    return rule if op.name == "add" else None


def test_large_products_are_left_to_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorgraph.ops.native import matmul

    monkeypatch.setattr(matmul, "by_blas", lambda m, n, k, dtype, machine: m * n * k >= 8 * 4 * 3)
    x, w, b = (np.random.default_rng(0).normal(size=s).astype("float32") for s in ((8, 4), (4, 3), (3,)))
    graph = tg.trace(lambda x, w, b: ((x @ w) + b, x[:2] @ w), x, w, b)
    left, kept = plan(graph), plan(graph, exact=True)
    assert [step.why[:15] for step in left.steps if step.on_host] == ["BLAS is faster "]
    assert not any(step.on_host for step in kept.steps)
    for made in (left, kept):
        for a, expected in zip(NativeRunner(made, []).run((x, w, b)), graph.program.run([x, w, b]), strict=True):
            assert_close(a, expected)


def test_every_op_that_is_left_to_numpy_says_why() -> None:
    silent = [
        name for name, op in CATALOGUE.items()
        if op.native is None and not op.on_numpy and op.inputs
        and not op.among("view", "reshapes", "higher order", "identity")
        and not (op.kind is elementwise and (op.scalar is not None or op.dtype == "cast"))
        and op.forward.__module__.startswith("tensorgraph.")
    ]  # fmt: skip
    assert not silent

    def few(a: Any, b: Any, c: Any, u: Any) -> Any:
        return tg.linalg.solve(a, b), tg.sort(b), c * 2, u + u

    types: Any = tg.f32[4, 4], tg.f32[4], tg.f16[4], tg.tensor(np.zeros(3, np.uint8))
    why = {step.equations[0].op.name: step.why for step in plan(tg.trace(few, *types).transform()).steps}
    assert "LAPACK" in why["solve"] and "sorts" in why["sort"]
    assert "float16 is rounded after every operation" in why["multiply"] and "uint8" in why["add"]

"""Every op of the catalogue holds every property: a new op is tested by being declared."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import testing
from tensorgraph.engine.op import CATALOGUE, Op


def skipped(op: Op) -> bool:
    """Whether the op is tested elsewhere: the gradient of a fused op by the op's own derivatives, what runs functions
    or the tape in test_transforms and by every traced gradient."""
    return "higher order" in op.traits or op.primal is not None


OPS = [op for op in CATALOGUE.values() if not skipped(op)]


def by_name(op: Op) -> str:
    return op.name


@pytest.mark.parametrize("op", OPS, ids=by_name)
def test_every_op_has_cases(op: Op) -> None:
    assert testing.examples_of(op)


@pytest.mark.sampled(test=400, quick=200)
@pytest.mark.parametrize("name", list(testing.PROPERTIES))
@pytest.mark.parametrize("op", OPS, ids=by_name)
def test_property(op: Op, name: str) -> None:
    for case in testing.examples_of(op):
        testing.PROPERTIES[name](case)


@pytest.mark.parametrize("op", list(CATALOGUE.values()), ids=by_name)
def test_documented(op: Op) -> None:
    from tensorgraph.testing.properties import documented

    documented(testing.Case(op, (), {}))


@pytest.mark.parametrize("op", OPS, ids=by_name)
def test_differentiable_inputs_have_float_outputs_somewhere(op: Op) -> None:
    """A rule that nothing reaches is a mistake of the declaration."""
    if not op.differentiable:
        return
    cases = testing.examples_of(op)
    reached: set[int] = set()
    for case in cases:
        inputs, leaves = case.tensors(testing.differentiable_places(case))
        if any(t.requires_grad for t in case(inputs)):
            reached |= {place[0] for place in testing.differentiable_places(case)}
    wanted = {i for i, name in enumerate(op.inputs) if op.joint is None and op.rules[name] is not None}
    assert reached >= wanted, f"{op.name}: no case reaches the rules of {[op.inputs[i] for i in wanted - reached]}"


@pytest.mark.sampled(test=24, quick=6)
@pytest.mark.parametrize("op", [op for op in OPS if op.reference is not None], ids=by_name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fused_ops_agree_on_other_numbers(op: Op, seed: int) -> None:
    for case in testing.examples_of(op, seed):
        testing.PROPERTIES["implementations"](case)


@pytest.mark.parametrize("op", [op for op in OPS if op.reference is not None and op.differentiable], ids=by_name)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_fused_ops_agree_on_small_and_large_numbers(op: Op, scale: float) -> None:
    for case in testing.examples_of(op):
        first = case.floats()[0]
        scaled = case.put({first: case.at(first) * scale})
        for dtype in (np.float32, np.float64):
            cast = scaled.cast(dtype)
            exact = cast.cast(np.float64)
            for t, e in zip(cast(impl="fused"), exact(impl="composed"), strict=True):
                testing.assert_close(
                    t, e, ulps=16 if dtype == np.float64 else None, reason="the oracle is rounded too", what=str(cast)
                )


def test_weak_scalars_keep_the_dtype() -> None:
    """A Python scalar on either side takes the tensor's dtype, and the shape rule says so."""
    for op in OPS:
        if op.kind.name != "elementwise" or len(op.inputs) != 2 or op.attrs or op.check is not None:
            continue
        for dtype in ("float16", "float32", "float64", "int32", "int64"):
            x = tg.full(shape=(2,), value=2, dtype=dtype)
            for scalar in (3, 3.5, True):
                for args in ((x, scalar), (scalar, x)):
                    avals = tuple(a.aval if isinstance(a, tg.Tensor) else a for a in args)
                    try:
                        said = op.infer(avals, {})
                    except TypeError:
                        with pytest.raises(TypeError):
                            op.public(*args)
                        continue
                    came = op.public(*args)
                    assert (came.aval,) == said, f"{op.name}{avals}: the rule says {said}, the op gives {came.aval}"
                    assert came.dtype != np.float64 or dtype == "float64", f"{op.name}{avals} gives float64"


DTYPES = ("bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "float32", "float64")


@pytest.mark.parametrize(
    "op",
    [op for op in OPS if op.kind.name in ("elementwise", "reduction") and 1 <= len(op.inputs) <= 2 and not op.examples],
    ids=by_name,
)
def test_shape_rule_for_every_dtype(op: Op) -> None:
    """Shape rule and result agree for integers, booleans and mixtures; float64 comes only from float64."""
    for first in DTYPES:
        for second in DTYPES if len(op.inputs) == 2 else [None]:
            args = [tg.ones((2,), dtype=d) for d in (first, second) if d is not None]
            avals = tuple(a.aval for a in args)
            try:
                said = op.infer(avals, dict(op.attrs))
            except (TypeError, ValueError):
                with pytest.raises((TypeError, ValueError)):
                    op.public(*args)
                continue
            with np.errstate(all="ignore"):  # some are infinite at 1
                came = op.public(*args)
            assert (came.aval,) == said, f"{op.name}{avals}: the rule says {said[0]}, the op gives {came.aval}"
            if came.dtype == np.float64:
                assert "float64" in (first, second), f"{op.name}{avals} gives float64"
            if op.dtype == "float" and first not in ("float16", "float64"):
                assert came.dtype != np.float16 or second == "float16", f"{op.name}{avals} gives {came.dtype}"


@pytest.mark.parametrize(
    "op",
    [op for op in OPS if op.kind.name == "reduction" and {"axis", "keepdims"} <= set(op.attrs) and not op.examples],
    ids=by_name,
)
def test_reductions_over_nothing(op: Op) -> None:
    """Over no elements a reduction gives what NumPy gives, or refuses both eagerly and in a trace."""
    numpy = getattr(np, op.name, None)
    for shape, axis in (((0,), None), ((0, 3), 0), ((3, 0), 0), ((2, 0), 1)):
        x = np.zeros(shape, np.float32)
        try:
            with np.errstate(all="ignore"):
                import warnings

                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    expected = None if numpy is None else numpy(x, axis=axis)
        except ValueError:
            with pytest.raises(ValueError):
                op.public(tg.tensor(x), axis=axis)
            with pytest.raises(ValueError):
                tg.trace(lambda t, op=op, axis=axis: op.public(t, axis=axis), tg.spec(shape))
            continue
        got = op.public(tg.tensor(x), axis=axis)
        assert got.aval == op.infer((tg.spec(shape),), {**op.attrs, "axis": axis})[0]
        if expected is not None:
            testing.assert_close(got, np.asarray(expected, got.dtype))

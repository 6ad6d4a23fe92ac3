"""The generated call of an op and the general one do the same for every op and every kind of operand."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.engine.calling import call
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.operands import numbers_of
from tensorgraph.testing.cases import Case, differentiable_places, examples_of
from tensorgraph.testing.common import cotangents_of

OPS = [op for op in CATALOGUE.values() if op.primal is None]
GENERAL = {"gradients", "residuals", "checkpoint", "custom_vjp", "scan"}  # whose calls are not generated


def strided(a: Any) -> Any:
    """The same numbers, not next to each other."""
    return np.repeat(a[..., None], 3, axis=-1)[..., 1]


def first(a: Any, default: float = 1.0) -> Any:
    return a.flat[0] if a.size else default


# from the array of a case
KINDS: dict[str, Callable[[Any], Any]] = {
    "Tensor": tg.tensor,
    "leaf": lambda a: tg.tensor(a, requires_grad=a.dtype.kind == "f"),
    "Parameter": lambda a: tg.Parameter(a, requires_grad=a.dtype.kind == "f"),
    "Buffer": tg.Buffer,
    "array": np.array,
    "strided array": strided,
    "0-d array": lambda a: np.array(first(a), a.dtype),
    "np.float32": lambda a: np.float32(first(a)),
    "np.float64": lambda a: np.float64(first(a)),
    "np.int64": lambda a: np.int64(3 * first(a)),
    "np.bool_": lambda a: np.bool_(first(a) > 0),
    "int": lambda a: int(3 * first(a)),
    "float": lambda a: float(first(a)),
    "bool": lambda a: bool(first(a) > 0),
}
UNUSUAL: dict[str, Callable[[Any], Any]] = {
    "list": lambda a: a.tolist(),
    "swapped array": lambda a: a.astype(a.dtype.newbyteorder()),
    "complex array": lambda a: a + 1j,
    "np.longdouble": lambda a: np.longdouble(first(a)),
    "None": lambda a: None,
    "text": lambda a: "text",
}


def cases(op: Op) -> list[Case]:
    return [] if op.name in GENERAL else [case.cast(np.float32) for case in examples_of(op)[:2]]


def outcome(function: Callable[..., Any], case: Case, inputs: tuple[Any, ...], change: bool = False) -> Any:
    """Values and gradients of a call, bit by bit, or its error; what was given as arrays is changed in between."""
    flat = [v for item in inputs for v in (item if isinstance(item, list) else [item])]
    try:
        with np.errstate(all="ignore"):
            result = function(*inputs)
            outputs = result if isinstance(result, tuple) else (result,)
            values = [(t.dtype, t.shape, t.numpy().tobytes(), t.requires_grad, type(t)) for t in outputs]
            if change:
                for v in flat:
                    if type(v) is np.ndarray and v.flags.writeable:
                        v[...] = 1
                assert values == [(t.dtype, t.shape, t.numpy().tobytes(), t.requires_grad, type(t)) for t in outputs]
            outputs = [t for t in outputs if t.requires_grad]
            leaves = [v for v in flat if isinstance(v, tg.Tensor) and v.requires_grad]
            slopes = tg.gradients(outputs, leaves, cotangents_of(outputs, 1)) if outputs else []
    except Exception as error:
        return type(error), re.sub(r":\d+\)", ")", str(error))  # less the line, which differs
    return values, [(g.dtype, g.shape, g.numpy().tobytes()) for g in slopes]


def mixed(case: Case, place: Any, kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The case's inputs as leaves, but one of another kind."""
    wanted = differentiable_places(case)

    def make(p: Any, a: Any) -> Any:
        return kind(a) if p == place else tg.tensor(a, requires_grad=p in wanted)

    return case.map(make).inputs


@pytest.mark.sampled(test=60, quick=15)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_both_ways_agree(op: Op) -> None:
    if op.reference is not None and not jit.available():
        pytest.skip("without kernels a fused op is its reference")
    for case in cases(op):
        for place, _ in case.places():
            for name, kind in (KINDS | UNUSUAL).items():
                for change in (False, True) if "array" in name else (False,):
                    short = outcome(lambda *a: op.public(*a, **case.attrs), case, mixed(case, place, kind), change)  # noqa: B023
                    general = outcome(lambda *a: call(op, a, case.attrs), case, mixed(case, place, kind), change)  # noqa: B023
                    assert short == general, f"{case} with {name} at {place}"


@pytest.mark.sampled(test=60, quick=15)
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_no_operand_takes_a_detour(op: Op) -> None:
    """What succeeds with an ordinary operand is done by the generated function alone."""

    def detour(*args: Any) -> Any:
        raise AssertionError("the general way was taken")

    if op.reference is not None and not jit.available():
        pytest.skip("without kernels a fused op is its reference")
    names = op.public.__globals__
    for case in cases(op):
        for place, _ in case.places():
            for name, kind in KINDS.items():
                inputs = mixed(case, place, kind)
                if isinstance(outcome(lambda *a: call(op, a, case.attrs), case, inputs)[0], type):  # noqa: B023
                    continue  # refused
                if len(place) == 2 and isinstance(inputs[place[0]][place[1]], (int, float, np.generic)):
                    continue  # a number in a list, which takes the dtype of the tensors beside it
                before = {key: names[key] for key in ("_call", "_general") if key in names}
                names.update(dict.fromkeys(before, detour))
                try:
                    with np.errstate(all="ignore"):
                        op.public(*inputs, **case.attrs)
                except AssertionError:
                    raise AssertionError(f"{case} with {name} at {place} is not called directly") from None
                finally:
                    names.update(before)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_attributes_of_numpy(op: Op) -> None:
    """NumPy's integers, floats and booleans and lists are attributes like Python's, where they decide no dtype."""

    def numpy(value: Any) -> Any:
        if isinstance(value, tuple):
            return [numpy(v) for v in value]
        return value if isinstance(value, (str, type(None))) else np.asarray(value)[()]

    for case in cases(op):
        plain = outcome(lambda *a: op.public(*a, **case.attrs), case, case.tensors()[0])  # noqa: B023
        other = {k: v if k in numbers_of(op) else numpy(v) for k, v in case.attrs.items()}
        assert plain == outcome(lambda *a: op.public(*a, **other), case, case.tensors()[0]), str(case)  # noqa: B023


def test_a_comparison_can_fail() -> None:
    wrong = tg.op("wrong_again(x)", np.exp, kind="elementwise", vjp=dict(x=lambda g, out: g * out))
    try:
        (case, *_) = cases(wrong.op)
        inputs = case.tensors(differentiable_places(case))[0]
        right = outcome(lambda x: call(wrong.op, (x,), {}), case, inputs)
        wrong.__globals__["_forward"] = lambda x: np.exp(x) + x.dtype.type(1e-6)
        assert outcome(wrong, case, inputs) != right
    finally:
        tg.remove_op("wrong_again")

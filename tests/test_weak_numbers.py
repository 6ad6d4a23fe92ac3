"""NumPy's scalars beside tensors of a float dtype are weak like Python's numbers; elsewhere they keep their dtype."""

import operator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.generate import OPERATORS
from tensorgraph.engine.op import CATALOGUE, Op, elementwise

FLOATS = (np.float16, np.float32, np.float64)
NUMBERS: tuple[Any, ...] = (
    np.float64(0.1), np.float32(0.75), np.float16(-2.5), np.int64(3), np.uint8(2), np.int32(-1), np.True_,
    np.float64("nan"), np.float64(-0.0), np.float64("inf"), np.float64(1e300), np.int64(2**62),
)  # fmt: skip
ROWS = (np.array([0.5, 1.5, 2.5]), np.array([[1.0], [0.25]]), np.array(0.75))
SEVERAL = [op for op in CATALOGUE.values() if op.kind is elementwise and len(op.inputs) > 1]


def outcome(function: Any, *args: Any) -> Any:
    """Dtype, bits and gradients, or the kind of error."""
    leaves = [a for a in args if isinstance(a, tg.Tensor) and a.requires_grad]
    try:
        with np.errstate(all="ignore"):
            y = function(*args)
            slopes = tg.gradients(y, leaves, np.ones(y.shape, y.dtype)) if y.requires_grad else []
    except Exception as error:
        return type(error)
    return y.dtype, y.numpy().tobytes(), [(g.dtype, g.numpy().tobytes()) for g in slopes]


def others(op: Op, position: int, dtype: Any) -> list[Any]:
    """Operands for the other places: the condition of a choice is boolean, the rest are leaves."""
    rows = iter(ROWS)
    found = []
    for i, name in enumerate(op.inputs):
        a = next(rows)
        boolean = name == "c" or op.name.startswith("bitwise")
        found.append(tg.tensor(a > 1) if boolean else tg.tensor(a.astype(dtype), requires_grad=True))
        if i == position:
            found[-1] = None
    return found


@pytest.mark.parametrize("op", SEVERAL, ids=lambda op: op.name)
@pytest.mark.parametrize("dtype", FLOATS)
def test_as_a_python_number_in_every_place(op: Op, dtype: Any) -> None:
    for position, name in enumerate(op.inputs):
        if name == "c":
            continue
        for number in NUMBERS:
            given = others(op, position, dtype)
            if not any(t is not None and t.dtype.kind == "f" for t in given):
                continue
            weak, plain = list(given), list(given)
            weak[position], plain[position] = number, number.item()
            expected = outcome(op.public, *plain)
            assert outcome(op.public, *weak) == expected, (op.name, number)
            if isinstance(op.forward, np.ufunc):  # as NumPy calls it
                assert outcome(op.forward, *weak) == expected, (op.name, number)


BOTH_SIDES = [op for op in SEVERAL if op.infix and "bits" not in op.traits]


@pytest.mark.parametrize("op", BOTH_SIDES, ids=lambda op: op.infix)
def test_operators_of_both_sides(op: Op) -> None:
    assert op.infix is not None
    function = getattr(operator, OPERATORS[op.infix])
    for dtype in FLOATS:
        t = tg.tensor(np.array([0.5, 2.0], dtype), requires_grad=True)
        w = tg.Parameter(np.array([0.5, 2.0], dtype))
        for number in NUMBERS[:7]:
            for x in (t, w):
                assert outcome(lambda x: function(x, number), x) == outcome(lambda x: function(x, number.item()), x)  # noqa: B023
                assert outcome(lambda x: function(number, x), x) == outcome(lambda x: function(number.item(), x), x)  # noqa: B023
                assert function(x, number).dtype == (np.bool_ if "comparison" in op.traits else dtype)


def test_a_model_stays_in_its_dtype() -> None:
    w, x = tg.Parameter(np.ones((4, 4), np.float32)), tg.ones((4,))
    assert (w / np.sqrt(64)).dtype == (np.log(2 * np.pi) * x).dtype == (x - np.mean([1.0, 2.0])).dtype == np.float32
    assert tg.where(x > 0, x, np.float64(2)).dtype == tg.maximum(np.float64(0), x).dtype == np.float32
    assert x.clip(np.float64(-1), np.float64(0.1)).dtype == tg.multiply(np.float64(2), x).dtype == np.float32
    assert tg.multiply(np.ones(2, np.float32), np.float64(2)).dtype == np.float32, "an array given is a tensor"
    assert x.at[0].set(np.float64(0.1)).dtype == x.at[0].add(np.float64(0.1)).dtype == np.float32


def test_elsewhere_they_keep_their_dtype() -> None:
    integers, flags = tg.tensor([1, 2]), tg.tensor([True, False])
    assert tg.exp(np.float64(0.1)).dtype == tg.tensor(np.float64(0.1)).dtype == np.float64
    assert tg.multiply(np.float64(2), np.float32(3)).dtype == tg.multiply(np.float64(2), 3.0).dtype == np.float64
    assert (integers * np.float64(2)).dtype == np.float64 and (np.int32(2) * flags).dtype == np.int32
    assert tg.where(flags, np.float64(1), 0.0).dtype == np.float64
    assert tg.full((2,), np.float64(0.5)).dtype == np.float64 and tg.full((2,), np.int8(3)).dtype == np.int8
    assert tg.full((2,), np.float64(0.5), dtype="float32").dtype == tg.full((2,), 0.5).dtype == np.float32
    assert tg.arange(np.float64(3)).dtype == tg.arange(0, np.float64(1), 0.25).dtype == np.float64
    assert tg.arange(np.int64(0), 1.0, 0.25).dtype == np.float32 and tg.arange(np.int32(3)).dtype == np.int32
    assert tg.eye(np.int64(2)).dtype == tg.one_hot([1], np.int64(2)).dtype == tg.zeros(np.int64(2)).dtype == np.float32
    assert str(tg.trace(lambda: tg.full((2,), np.float64(0.5)))).count("float64") == 1
    zero_d = np.array(2.0)
    assert (tg.ones((2,)) * zero_d).dtype == (zero_d * tg.ones((2,))).dtype == np.float64, "an array is no scalar"
    assert tg.concatenate([tg.ones((1,)), np.ones(1)]).dtype == np.float64


def test_in_rules() -> None:
    doubled = tg.op("doubled_again(x)", lambda x: x * 2, vjp=dict(x=lambda g: np.float64(2) * g / np.sqrt(1)))
    try:
        for g in (tg.ones((2,)), np.ones(2, np.float32)):
            x = tg.tensor(np.ones(2, np.float32), requires_grad=True)
            (d,) = tg.gradients(doubled(x), [x], g, create_graph=True)
            assert d.dtype == np.float32 and d.tolist() == [2.0, 2.0]
        graph = tg.trace(tg.grad(lambda x: doubled(x).sum()), tg.f32[2]).differentiate()
        assert all(out.aval.dtype == np.float32 for eq in graph.equations for out in eq.outputs), str(graph)
    finally:
        tg.remove_op("doubled_again")


@pytest.mark.parametrize("number", NUMBERS[:7])
def test_in_a_trace_they_are_literals(number: Any) -> None:
    graph = tg.trace(lambda x: number * x / number - tg.maximum(x, number), tg.f32[2])
    plain = number.item()
    assert graph == tg.trace(lambda x: plain * x / plain - tg.maximum(x, plain), tg.f32[2])
    assert repr(plain) in str(graph) and not graph.consts
    assert tg.parse(str(graph)) == graph


@pytest.mark.parametrize("traced", [False, True])
def test_uint64_and_signed_integers_are_refused(traced: bool) -> None:
    u, i = tg.tensor(np.array([1, 2], np.uint64)), tg.tensor([1, -2])
    uses = {
        "add": lambda u, i: u + i, "power": lambda u, i: i**u, "maximum": tg.maximum, "remainder": lambda u, i: u % i,
        "where": lambda u, i: tg.where(u > 1, u, i), "matmul": lambda u, i: u @ i,
        "concatenate": lambda u, i: tg.concatenate([u, i]),
    }  # fmt: skip
    for name, use in uses.items():
        for other in (i, i.astype("int8")):
            with pytest.raises(TypeError, match=r"uint64 and int\d+ have no integer dtype in common; convert"):
                tg.trace(use, u, other) if traced else use(u, other)
            assert name
    with pytest.raises(TypeError, match="convert"):
        u + np.int64(1)
    assert (u + 1).dtype == np.uint64 and (u > i).tolist() == [False, True]
    assert (u / i).dtype == np.float32, "a float function of integers"
    assert (u.astype("int64") + i).dtype == np.int64 and (u * tg.ones((2,))).dtype == np.float32

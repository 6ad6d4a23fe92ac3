"""`tensorgraph.numpy`: the array API standard's functions, how they are called, what they give at special values."""

import copy
import inspect
import math
import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import array_api

import tensorgraph as tg
import tensorgraph.numpy as tnp
from tensorgraph.numpy.names import conforms
from tensorgraph.numpy.standard import CONSTANTS, VERSION, VERSIONS, signatures

xps = array_api.make_strategies_namespace(tnp, api_version="2021.12")  # later ones ask for complex dtypes
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float32", "float64")

METHODS = """
__abs__ __add__ __and__ __array_namespace__ __bool__ __complex__ __dlpack__ __dlpack_device__ __eq__ __float__
__floordiv__ __ge__ __getitem__ __gt__ __index__ __int__ __invert__ __le__ __lshift__ __lt__ __matmul__ __mod__ __mul__
__ne__ __neg__ __or__ __pos__ __pow__ __rshift__ __setitem__ __sub__ __truediv__ __xor__ __radd__ __rsub__ __rmul__
__rtruediv__ __rfloordiv__ __rpow__ __rmod__ __rmatmul__ __rand__ __ror__ __rxor__ __rlshift__ __rrshift__ to_device
device dtype mT ndim shape size T
"""


# names and calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", signatures())
def test_the_standard_can_call_it(name: str) -> None:
    assert conforms(inspect.signature(getattr(tnp, name)), signatures()[name])


def test_every_name_is_there() -> None:
    assert set(signatures()) | {*CONSTANTS, "linalg", "bool", *INTEGERS, *FLOATS} <= set(dir(tnp))
    for name in dir(tnp):
        assert getattr(tnp, name) is getattr(tnp, name)
    assert (tnp.pi, tnp.e, tnp.inf, tnp.newaxis) == (math.pi, math.e, math.inf, None) and math.isnan(tnp.nan)
    assert tnp.__array_api_version__ == VERSION
    for method in METHODS.split():
        assert hasattr(tg.ones((2, 2)), method), method


def test_what_is_numpys_comes_from_the_catalogue() -> None:
    """What has one name in NumPy and another here, or is declared later, is found without a list."""
    assert tnp.add is tg.add and tnp.absolute is tg.abs
    assert tnp.amax.__wrapped__ is tg.max and tnp.vstack.__wrapped__ is tg.vstack  # called in NumPy's form too
    assert tnp.linalg is tg.linalg and tnp.tri.__wrapped__ is tg.tri
    own = tg.op("hypot3(x)", lambda x: x, vjp=dict(x=lambda g: g))
    try:
        with pytest.raises(AttributeError, match=r"as NumPy has none; there is tensorgraph\.hypot3"):
            tnp.hypot3  # noqa: B018
    finally:
        tg.remove_op("hypot3")
    assert own is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fft", "complex numbers"), ("complex64", "complex numbers"), ("relu", r"there is tensorgraph\.relu"),
        ("random", r"tg\.random"), ("arangee", "did you mean 'arange'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_answered(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(tnp, name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: tg.diff(t), r"tensorgraph\.numpy\.diff"),
        (lambda t: tg.diff(t, axis=0), r"tensorgraph\.numpy\.diff"),
        (lambda t: tg.trace(t), r"tensorgraph\.numpy\.trace"),
        (lambda t: tnp.zeros(3, device="gpu"), "device must be 'cpu'"),
        (lambda t: t.to_device("gpu"), "device"),
        (lambda t: tnp.asarray(t, tg.f64, copy=False), "without a copy"),
        (lambda t: tnp.asarray(np.ones(3), copy=False), "must be copied"),
        (lambda t: tnp.from_dlpack(np.ones(3), copy=False), "must be copied"),
        (lambda t: tnp.reshape(t.T, (9,), copy=False), "needs a copy"),
        (lambda t: t.__array_namespace__(api_version="2019.01"), "api_version"),
        (lambda t: t.__dlpack__(dl_device=(2, 0)), "dl_device"),
        (lambda t: tnp.finfo(tg.int8), "iinfo is for integers"),
        (lambda t: tnp.isdtype(tg.int8, "real float"), "real floating"),
        (lambda t: tnp.result_type(), "at least one"),
        (lambda t: tnp.asarray(1j), "complex numbers"),
        (lambda t: tnp.split(t, 2), "equal parts"),
    ],
)
def test_refusals(call: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError, BufferError), match=words):
        call(tg.ones((3, 3)))


def test_it_says_what_it_can() -> None:
    t = tg.ones(3)
    assert all(t.__array_namespace__(api_version=v) is tnp for v in (None, *VERSIONS))
    info = tnp.__array_namespace_info__()
    assert info.default_device() == t.device == t.to_device("cpu").device == "cpu" and info.devices() == ("cpu",)
    assert set(info.dtypes()) == {"bool", *INTEGERS, *FLOATS}
    assert set(info.dtypes(kind="unsigned integer")) == set(INTEGERS[4:]) and info.dtypes(kind="complex floating") == {}
    assert set(info.dtypes(kind=("bool", "real floating"))) == {"bool", *FLOATS}
    assert info.dtypes()["float32"] is tg.f32 and info.default_dtypes()["real floating"] is tg.f32
    assert info.capabilities()["boolean indexing"]


# dtypes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bool", "float16", *INTEGERS, *FLOATS])
def test_dtypes_are_values(name: str) -> None:
    own = getattr(tg, name)
    theirs = np.dtype(name)
    short = getattr(tg, tnp.asarray([], dtype=name).aval.__repr__().partition("[")[0].replace("bool", "bool_"))
    assert own is short is getattr(tnp, name) and own.name == name and own.itemsize == theirs.itemsize
    assert own == theirs and theirs == own and own == theirs.type and own == name and hash(own) == hash(theirs)
    assert own != "float128" and own != getattr(tg, "int8" if name != "int8" else "int16") and own is not None
    assert pickle.loads(pickle.dumps(own)) is copy.deepcopy(own) is own and np.dtype(own) is theirs
    assert {theirs: 1}[own] == {own: 1}[theirs] == 1
    assert tg.zeros(2, own).dtype == own == np.zeros(2, own).dtype == tnp.astype(tg.ones(2), own).dtype
    assert own[2, 3] == tg.spec((2, 3), own) and str(own[2]) == str(short[2])


def test_dtype_functions() -> None:
    for name in FLOATS:
        info, theirs = tnp.finfo(getattr(tg, name)), np.finfo(name)
        assert [type(v) for v in (info.bits, info.eps, info.max, info.min, info.smallest_normal)] == [int, *[float] * 4]
        assert (info.eps, info.max, info.min) == (theirs.eps, theirs.max, theirs.min) and info.dtype == name
        assert tnp.finfo(tg.ones(1, name)) == info
    for name in INTEGERS:
        assert (tnp.iinfo(name).min, tnp.iinfo(name).max) == (np.iinfo(name).min, np.iinfo(name).max)
    kinds = ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric")
    for name, kind in product(("bool", *INTEGERS, *FLOATS), kinds):
        assert tnp.isdtype(getattr(tg, name), kind) is bool(np.isdtype(np.dtype(name), kind))
        assert tnp.isdtype(name, (kind, tg.bool)) is (name == "bool" or tnp.isdtype(name, kind))
    assert tnp.can_cast(tg.int8, tg.int16) is True and tnp.can_cast(tg.ones(1, "int16"), tg.int8) is False
    assert tnp.result_type(tg.float32, 1.5, tg.ones(1, "int8")) == tg.float32


@pytest.mark.parametrize("kinds", [INTEGERS[:4], INTEGERS[4:], INTEGERS, FLOATS])
def test_types_promote_as_the_standard_says(kinds: tuple[str, ...]) -> None:
    for a, b in product(kinds, kinds):
        if "uint64" in (a, b) and {a, b} & set(INTEGERS[:4]):
            with pytest.raises(TypeError, match="uint64"):
                tnp.result_type(a, b)
            continue
        expected = np.result_type(a, b)
        x, y = tg.ones((), a), tg.ones((), b)
        for found in (tnp.result_type(x, b), (x + y).dtype, tnp.concat([x[None], y[None]]).dtype):
            assert found == expected, (a, b)
        assert tnp.where(tg.tensor(True), x, y).dtype == expected


# memory and other libraries -------------------------------------------------------------------------------------------


def test_memory_is_shared_only_where_nobody_may_write() -> None:
    t, a = tg.tensor([1.0, 2.0]), np.array([1.0, 2.0])
    assert tnp.asarray(t) is t is tnp.asarray(t, copy=False) and tnp.asarray(t, copy=True) is not t
    for made in (tnp.asarray(a), tnp.from_dlpack(a), tnp.from_dlpack(a, copy=True, device="cpu"), tnp.array(a)):
        a[0] = 9.0
        assert made.tolist() == [1.0, 2.0]
        a[0] = 1.0
    frozen = np.from_dlpack(t)
    assert not frozen.flags.writeable and frozen.tolist() == t.tolist()
    for options in (
        {}, {"copy": True}, {"copy": False}, {"max_version": (1, 0)}, {"max_version": (1, 0), "copy": False},
        {"dl_device": (1, 0), "stream": None},
    ):  # fmt: skip
        assert type(t.__dlpack__(**options)).__name__ == "PyCapsule"
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    (tnp.asarray(x, tg.f64) * 3.0).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [3.0, 3.0]
    assert tnp.asarray([2**63 + 1, 0], dtype=tg.uint64).tolist() == [2**63 + 1, 0]
    assert tnp.array([1, 2], ndmin=2).shape == (1, 2)


@given(x=xps.arrays(xps.real_dtypes(), xps.array_shapes(min_dims=0, min_side=0, max_side=3)))
@examples(30)
def test_arrays_survive_the_way_out_and_back(x: tg.Tensor) -> None:
    for made in (tnp.from_dlpack(x.numpy()), tnp.asarray(np.asarray(x)), tnp.from_dlpack(x)):
        assert made.dtype == x.dtype and np.array_equal(made.numpy(), x.numpy(), equal_nan=x.dtype.kind == "f")


# values ---------------------------------------------------------------------------------------------------------------

NUMBERS = xps.arrays(
    xps.real_dtypes() | xps.boolean_dtypes(), xps.array_shapes(min_dims=1, min_side=0, max_side=3), elements={}
)


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for f, e in zip(found, expected, strict=True):
            same(f, e)
        return
    a, b = np.asarray(found), np.asarray(expected)
    assert a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@given(x=NUMBERS, data=st.data())
@examples(40)
def test_moves_are_numpys(x: tg.Tensor, data: Any) -> None:
    a, axis = x.numpy(), data.draw(st.integers(-x.ndim, x.ndim - 1))
    order = tuple(data.draw(st.permutations(range(x.ndim))))
    for f in (
        lambda m, v: m.flip(v, axis=axis), lambda m, v: m.permute_dims(v, order), lambda m, v: m.roll(v, 2, axis=axis),
        lambda m, v: m.concat([v, v], axis=axis), lambda m, v: m.concat([v, v], axis=None),
        lambda m, v: m.stack([v, v], axis=axis), lambda m, v: m.expand_dims(v, axis=(0, -1)),
        lambda m, v: m.repeat(v, 2, axis=axis), lambda m, v: m.tile(v, (2, 1)), lambda m, v: m.moveaxis(v, axis, 0),
        lambda m, v: m.array_split(v, 2, axis=axis), lambda m, v: m.split(v, [1, 2], axis=axis),
        lambda m, v: m.broadcast_arrays(v, v[None]), lambda m, v: m.append(v, v), lambda m, v: m.rollaxis(v, axis),
        lambda m, v: m.unique_all(v) if not np.isnan(a).any() else (), lambda m, v: m.nonzero(v),
        lambda m, v: m.zeros_like(v), lambda m, v: m.full_like(v, 1), lambda m, v: m.count_nonzero(v, axis=axis),
        lambda m, v: m.argsort(v, axis=axis, stable=True), lambda m, v: m.where(v == v, v, v),
    ):  # fmt: skip
        same(f(tnp, x), f(np, a))


def test_one_call_of_each_kind_of_signature() -> None:
    x = tnp.asarray([[3.0, 1.0], [2.0, 4.0]])
    assert tnp.clip(x, max=tnp.asarray(2.0)).tolist() == [[2.0, 1.0], [2.0, 2.0]]
    assert tnp.prod(x, dtype=tg.f64).dtype == tg.f64 and tnp.sum(x, axis=0, keepdims=True).shape == (1, 2)
    assert tnp.full((2,), fill_value=3).tolist() == [3, 3] and tnp.eye(2, 3, k=1).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert tnp.linspace(0, 1, num=3, endpoint=False, dtype=tg.f64).tolist() == [0, 1 / 3, 2 / 3]
    assert tnp.sort(x, axis=0, descending=True, stable=False).tolist() == [[3.0, 4.0], [2.0, 1.0]]
    assert tnp.cumulative_sum(x, axis=1, include_initial=True, dtype=tg.f64).tolist() == [[0, 3, 4], [0, 2, 6]]
    assert tnp.diff(x, axis=0, prepend=tnp.zeros((1, 2))).tolist() == [[3, 1], [-1, 3]]
    assert tnp.std(x, correction=1).dtype == tg.f32 and tnp.isin(x, tnp.asarray([1.0, 2.0]), invert=True)[0, 0]
    assert tnp.broadcast_shapes((2, 1), (3,)) == (2, 3)
    assert tnp.reshape(x, (4,), copy=False).shape == tnp.reshape(x, (4,), copy=True).shape == (4,)
    with pytest.raises(TypeError, match="arange"):
        tnp.arange(start=3)
    graph = tg.trace(lambda v: tnp.diff(tnp.full_like(v, 2.0) * v, n=1), tg.f32[4])
    assert tg.parse(str(graph)) == graph and graph(tnp.arange(4.0)).tolist() == [2, 2, 2]


# "name: what is given, then the result; ..." at special values, as the standard has them
SPECIAL = """
abs: nan nan; -0. 0.; -inf inf
acos: nan nan; 1.5 nan; -1.5 nan; 1 0.
acosh: nan nan; 0.5 nan; 1 0.; inf inf
add: nan 1 nan; inf -inf nan; inf inf inf; -inf -inf -inf; inf 1 inf; 1 -inf -inf; -0. -0. -0.; -0. 0. 0.; -0. 2 2; \
2 -2 0.
asin: nan nan; 1.5 nan; -1.5 nan; 0. 0.; -0. -0.
asinh: nan nan; 0. 0.; -0. -0.; inf inf; -inf -inf
atan: nan nan; 0. 0.; -0. -0.; inf pi/2; -inf -pi/2
atan2: nan 1 nan; 1 nan nan; 1 0. pi/2; 1 -0. pi/2; 0. 1 0.; 0. 0. 0.; 0. -0. pi; 0. -1 pi; -0. 1 -0.; -0. 0. -0.; \
-0. -0. -pi; -0. -1 -pi; -1 0. -pi/2; -1 -0. -pi/2; 1 inf 0.; 1 -inf pi; -1 inf -0.; -1 -inf -pi; inf 1 pi/2; \
-inf 1 -pi/2; inf inf pi/4; inf -inf 3*pi/4; -inf inf -pi/4; -inf -inf -3*pi/4
atanh: nan nan; -1.5 nan; 1.5 nan; -1 -inf; 1 inf; 0. 0.; -0. -0.
ceil: 2 2; inf inf; -inf -inf; 0. 0.; -0. -0.; nan nan; -0.5 -0.
copysign: nan 1 nan; 3 -0. -3; -3 0. 3; inf -1 -inf
cos: nan nan; 0. 1; -0. 1; inf nan; -inf nan
cosh: nan nan; 0. 1; -0. 1; inf inf; -inf inf
divide: nan 1 nan; inf inf nan; 0. 0. nan; -0. 0. nan; 0. 1 0.; 0. -1 -0.; -0. 1 -0.; 1 0. inf; 1 -0. -inf; \
-1 0. -inf; inf 1 inf; inf -1 -inf; 1 inf 0.; 1 -inf -0.; -1 inf -0.; -1 -inf 0.
exp: nan nan; 0. 1; -0. 1; inf inf; -inf 0.
expm1: nan nan; 0. 0.; -0. -0.; inf inf; -inf -1
floor: 2 2; inf inf; -inf -inf; 0. 0.; -0. -0.; nan nan
floor_divide: nan 1 nan; inf inf nan; 0. 0. nan; 0. 1 0.; 0. -1 -0.; 1 0. inf; 1 -0. -inf; -1 0. -inf; 1 inf 0.; \
-1 -inf 0.
hypot: inf nan inf; nan -inf inf; 1 nan nan; nan 2 nan; 0. -0. 0.
log: nan nan; -1 nan; 0. -inf; -0. -inf; 1 0.; inf inf
log1p: nan nan; -2 nan; -1 -inf; -0. -0.; 0. 0.; inf inf
log2: nan nan; -1 nan; 0. -inf; -0. -inf; 1 0.; inf inf
log10: nan nan; -1 nan; 0. -inf; -0. -inf; 1 0.; inf inf
logaddexp: nan 1 nan; inf 1 inf; 1 inf inf; -inf -inf -inf
maximum: nan 1 nan; 1 nan nan; inf 1 inf
minimum: nan 1 nan; 1 nan nan; -inf 1 -inf
multiply: nan 1 nan; inf 0. nan; -inf -0. nan; inf inf inf; inf -inf -inf; inf -1 -inf; 0. -1 -0.
nextafter: nan 1 nan; 1 nan nan; -0. 0. 0.; 0. -0. -0.
pow: nan 0. 1; 1 nan 1; nan 1 nan; 2 nan nan; 2 inf inf; 2 -inf 0.; 1 inf 1; 1 -inf 1; 0.5 inf 0.; 0.5 -inf inf; \
inf 1 inf; inf -1 0.; -inf 3 -inf; -inf 2 inf; -inf -3 -0.; -inf -2 0.; 0. 1 0.; 0. -1 inf; -0. 3 -0.; \
-0. 2 0.; -0. -3 -inf; -0. -2 inf; -2 0.5 nan; -1 inf 1
reciprocal: nan nan; inf 0.; -inf -0.; 0. inf; -0. -inf
remainder: nan 1 nan; inf 1 nan; 1 0. nan; 0. 1 0.; -0. 1 0.; 0. -1 -0.; 1 inf 1; 1 -inf -inf; -1 inf inf; -1 -inf -1
round: nan nan; inf inf; -inf -inf; 0. 0.; -0. -0.; 0.5 0.; 1.5 2; 2.5 2; -0.5 -0.
sign: nan nan; 2 1; -2 -1; -0. 0.; 0. 0.
signbit: 0. 0; -0. 1; inf 0; -inf 1; 2 0; -2 1
sin: nan nan; 0. 0.; -0. -0.; inf nan; -inf nan
sinh: nan nan; 0. 0.; -0. -0.; inf inf; -inf -inf
sqrt: nan nan; -1 nan; 0. 0.; -0. -0.; inf inf
tan: nan nan; 0. 0.; -0. -0.; inf nan; -inf nan
tanh: nan nan; 0. 0.; -0. -0.; inf 1; -inf -1
trunc: 2.5 2; inf inf; -inf -inf; 0. 0.; -0. -0.; -0.5 -0.; nan nan
isfinite: nan 0; inf 0; -inf 0; 1 1
isinf: nan 0; inf 1; -inf 1; 1 0
isnan: nan 1; inf 0; 1 0
equal: nan nan 0; 0. -0. 1; inf inf 1
not_equal: nan nan 1; 0. -0. 0
less: nan 1 0; -0. 0. 0; -inf inf 1
"""
ROWS = [(line.partition(": ")[0], row.split()) for line in SPECIAL.replace("\\\n", "").strip().split("\n")
        for row in line.partition(": ")[2].split("; ")]  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_values(dtype: str) -> None:
    names = dict(nan=math.nan, inf=math.inf, pi=math.pi)
    for name, row in ROWS:
        *given, expected = (eval(word, names) for word in row)
        found = getattr(tnp, name)(*[tnp.asarray(float(v), dtype=dtype) for v in given]).item()
        assert math.isclose(found, expected, rel_tol=1e-6) or (math.isnan(found) and math.isnan(expected)), (name, row)
        assert name in ("sign", "isfinite") or math.isnan(found) or (
            math.copysign(1, found) == math.copysign(1, expected)
        ), (name, row)  # fmt: skip
        many = getattr(tnp, name)(*[tnp.asarray([float(v)] * 9, dtype=dtype) for v in given])  # and in vectors
        assert np.array_equal(many.numpy(), np.full(9, found), equal_nan=many.dtype.kind == "f"), (name, row)

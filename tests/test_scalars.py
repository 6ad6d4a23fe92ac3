"""The scalar form of an op is its forward, on numbers of every kind: for floats, for arrays, and in compiled loops."""

import dis
import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import jit
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, Op, elementwise
from tensorgraph.ops.kernels import scalar
from tensorgraph.testing.compare import ULPS

# elementwise ops without a scalar form, and why
WITHOUT = {
    "astype": "it is a change of the dtype and of nothing else",
    "bessel_i": "sums as many terms as a number needs",
    "betaln": "sums as many terms as a number needs",
    "binade": "reads the exponent of a number",
    "digamma": "sums as many terms as a number needs",
    "erfinv": "goes step by step from a first guess",
    "left_shift": "machine code leaves open what a shift by more bits than there are gives",
    "right_shift": "machine code leaves open what a shift by more bits than there are gives",
    "gamma_slope": "integrates as far as a number needs",
    "gammainc": "sums as many terms as a number needs",
    "gammainc_slope": "the like",
    "gammaincc": "the like",
    "gelu": "an attribute chooses between two formulas",
    "gelu_pull": "the like",
    "lgamma": "sums as many terms as a number needs",
    "log_ndtr": "chooses between sums of as many terms as a number needs",
    "log_ndtr_slope": "the like",
    "ndtri": "goes step by step from a first guess",
    "polygamma": "sums as many terms as a number needs",
    "polygamma_gap": "the like",
    "round": "decimals are rounded by way of powers of ten",
}
# forms for machine code alone, which are tried where it is made
ELSEWHERE: dict[str, str] = {
    "fmod": "in Numba's loops, of integers it is another division",
    "logaddexp": "where it is near 0 its terms cancel, and no two formulas agree",
    "logaddexp2": "the like",
}
OPS = [op for op in CATALOGUE.values() if op.scalar is not None and op.name not in ELSEWHERE]
# attributes to try: more than one set where they change what is computed
ATTRIBUTES: dict[str, list[dict[str, Any]]] = {
    "clip": [dict(a_min=-0.5, a_max=2.0), dict(a_min=None, a_max=1.0), dict(a_min=0.0, a_max=None)],
    "celu": [dict(alpha=0.5), dict(alpha=2.0)],
    "elu": [dict(alpha=1.0), dict(alpha=0.5)],
    "hardtanh": [dict(min_val=-1.0, max_val=1.0), dict(min_val=0.25, max_val=0.75)],
    "leaky_relu": [dict(slope=0.25), dict(slope=-2.0)],
    "nan_to_num": [dict(nan=0.0, posinf=None, neginf=None), dict(nan=1.5, posinf=7.0, neginf=-9.0)],
}


def by_name(op: Op) -> str:
    return op.name


def numbers(dtype: Any) -> np.ndarray:
    """Hostile numbers and ordinary ones."""
    if dtype == np.bool_:
        return np.array([True, False])
    if dtype == np.int64:
        return np.array([0, 1, -1, 2, 3, -3, 7, 20, -1000, 2**31, -(2**40)])
    info = np.finfo(dtype)
    special = [0, 1, 0.5, 2, 3, 7.5, 20, 1000, 1e6, info.tiny, info.smallest_subnormal, 1e-20, 1e-5, info.eps]
    special += [1 - info.eps, 1 + info.eps, info.max, info.max / 3, np.inf, 88.7, 103.9, 709.7, 745.1, np.pi, np.pi / 2]
    with np.errstate(all="ignore"):
        x = np.array(special).astype(dtype)
    return np.concatenate([x, -x, np.array([np.nan], dtype), np.random.default_rng(3).normal(0, 3, 12).astype(dtype)])


def operands(op: Op, dtype: Any) -> tuple[np.ndarray, ...] | None:
    """One array an input, which together hold every combination; None where the op is not defined for the dtype."""
    n = len(op.inputs)
    x = numbers(dtype)
    columns: list[Any] = list(zip(*itertools.product(x.tolist(), repeat=min(n, 2)), strict=True))
    arrays = [np.array(c, dtype) for c in columns]
    if n == 3:
        arrays.insert(0, np.arange(arrays[0].size) % 3 > 0)
    if dtype == np.int64 and op.name in ("floor_divide", "remainder", "power"):
        # refused, or warned of: division by zero, negative powers and what overflows
        some = (arrays[1] != 0) if op.name != "power" else (arrays[1] >= 0) & (abs(arrays[0]) < 4) & (arrays[1] < 21)
        arrays = [a[some] for a in arrays]
    try:
        said = op.infer(tuple(Aval(a.shape, a.dtype) for a in arrays), ATTRIBUTES.get(op.name, [{}])[0])[0]
    except TypeError:
        return None
    # a float function of integers is one of their floats, and a number made of booleans one of integers
    return None if arrays[-1].dtype.kind in "ib" and said.dtype not in (arrays[-1].dtype, np.bool_) else tuple(arrays)


def agree(got: Any, expected: np.ndarray, what: str) -> None:
    """Every element within the tolerance, by itself, and what is not finite in the same places."""
    got = np.asarray(got)
    assert got.shape == expected.shape and got.dtype.kind == expected.dtype.kind, (what, got.dtype, expected.dtype)
    if got.dtype.kind != "f":
        assert np.array_equal(got, expected), (what, np.flatnonzero(got != expected)[:5])
        return
    for same in (np.isnan, np.isposinf, np.isneginf):
        wrong = np.flatnonzero(same(got) != same(expected))
        assert not wrong.size, (what, same.__name__, wrong[:5], got[wrong[:5]], expected[wrong[:5]])
    finite = np.isfinite(expected)
    a, b = got[finite].astype(np.longdouble), expected[finite].astype(np.longdouble)
    # half of the largest numbers: their own unit would be infinite
    error = np.abs(a - b) / np.spacing(np.minimum(np.abs(expected[finite]), np.finfo(expected.dtype).max / 2))
    assert not error.size or error.max() <= ULPS[0], (what, np.flatnonzero(finite)[error.argmax()], float(error.max()))


LOOP = """
def loop_{n}_{m}({arguments}, y):
    for i in range(y.size):
        y[i] = f({call})
"""


@cache
def loop(op: Op, file: str = __file__) -> jit.Kernel:
    """A kernel that puts the scalar form into a loop; with a file behind it, so that the machine code is kept."""
    arrays = [f"a{i}" for i in range(len(op.inputs))]
    arguments, call = [*arrays, *op.attrs], [*(f"{a}[i]" for a in arrays), *op.attrs]
    source = LOOP.format(n=op.name, m=len(arrays), arguments=", ".join(arguments), call=", ".join(call))
    scope: dict[str, Any] = {"f": jit.formula(op.scalar), "__name__": __name__}
    exec(compile(source, file, "exec"), scope)
    return jit.kernel(scope[f"loop_{op.name}_{len(arrays)}"])


def test_every_elementwise_op_has_one_or_a_reason() -> None:
    without = {op.name for op in CATALOGUE.values() if op.kind is elementwise and op.scalar is None}
    assert without == set(WITHOUT)
    assert all(op.kind is elementwise for op in OPS)


@pytest.mark.sampled(test=30, quick=10)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_], ids=lambda d: d.__name__)
@pytest.mark.parametrize("op", OPS, ids=by_name)
def test_for_arrays_and_in_compiled_loops(op: Op, dtype: Any) -> None:
    arrays = operands(op, dtype)
    if arrays is None:
        pytest.skip("not defined, or defined for the floats of these numbers")
    for attrs in ATTRIBUTES.get(op.name, [{}]):
        if dtype in (np.int64, np.bool_) and any(type(v) is float for v in attrs.values()):
            continue
        with np.errstate(all="ignore"):
            expected = np.asarray(op.forward(*arrays, **attrs))
            assert op.scalar is not None
            got = op.scalar(*arrays, *attrs.values())
        agree(got, expected, f"{op.name} of arrays")
        assert got.dtype == expected.dtype
        y = np.empty_like(expected)
        typed = [dtype(v) if type(v) is float else v for v in attrs.values()]
        some = slice(None) if jit.compiled() else slice(None, None, 41)
        loop(op)(*(a[some].copy() for a in arrays), *typed, y[some])
        agree(y[some], expected[some], f"{op.name} in a loop")


@pytest.mark.parametrize("op", OPS, ids=by_name)
def test_for_python_floats(op: Op) -> None:
    if operands(op, np.float64) is None:
        pytest.skip("not for floats")
    arrays = [a[:: 7 if len(op.inputs) > 1 else 1] for a in operands(op, np.float64) or ()]
    for attrs in ATTRIBUTES.get(op.name, [{}]):
        with np.errstate(all="ignore"):
            expected = np.asarray(op.forward(*arrays, **attrs))
        got, raised = [], 0
        for i, row in enumerate(zip(*(a.tolist() for a in arrays), strict=True)):
            try:
                with np.errstate(all="ignore"):
                    got.append(op.scalar(*row, *attrs.values()))  # type: ignore[misc]
            except (ZeroDivisionError, OverflowError):  # Python's own operators say so; NumPy gives infinity or NaN
                got.append(expected[i])
                raised += 1
        assert raised <= len(got) // 8
        agree(got, expected, f"{op.name} of floats")


def test_float16_and_integers_take_the_form_of_their_floats() -> None:
    assert scalar.tanh(np.ones(2, np.float16)).dtype == np.float32
    assert scalar.exp(np.arange(2)).dtype == np.float64
    assert scalar.exp(0) == 1.0


HIDDEN = 3.0
CASES: list[tuple[Callable[..., Any], str]] = [
    (lambda x: np.tanh(x), "'np', which is none of the words"),
    (lambda x: x if x > 0 else -x, "branches"),
    (lambda x: (x > 0) and x, "branches"),
    (lambda x: 0 < x < 1, "branches"),
    (lambda x: not x, "uses `not`"),
    (lambda x: x.real, "takes something out of"),
    (lambda x: abs(x), "'abs', which is none of the words"),
    (lambda x: HIDDEN * x, "'HIDDEN', which is none of the words"),
    (lambda x: [x], "makes a list"),
    (lambda x: (lambda y: y)(x), "makes a function"),
    ((lambda a: lambda x: a * x)(2.0), "reads a variable of the function around it"),
    (np.tanh, "is a Python function"),
    ("tanh({x})", "is a Python function"),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("function", "said"), CASES, ids=range(len(CASES)))
def test_what_is_no_scalar_form_is_refused(function: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        tg.op("refused(x)", np.tanh, kind="elementwise", scalar=function)
    assert "refused" not in CATALOGUE


def test_words_and_numbers_make_one() -> None:
    from tensorgraph.ops.kernels.scalar import exp, select

    bell: Any = eval("lambda x: select(x > 0, exp(-0.5 * x * x), 1)", {"exp": exp, "select": select})
    jit.require_formula(bell, "bell")

    f = jit.formula(bell)
    scope: dict[str, Any] = {"f": f}
    exec("def run(x, y):\n    for i in range(x.size):\n        y[i] = f(x[i])", scope)
    x = np.linspace(-2, 2, 9).astype(np.float32)
    y = np.empty_like(x)
    jit.kernel(scope["run"])(x, y)
    agree(y, np.where(x > 0, np.exp(-0.5 * x * x), np.float32(1)), "bell")


@pytest.mark.skipif("not jit.compiled()", reason="there is no machine code")
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softplus", "relu", "maximum", "where", "log1p", "sqrt", "sign"])
def test_loops_over_them_vectorise(name: str) -> None:
    op = CATALOGUE[name]
    arrays = [np.ones(64, np.bool_ if n == "c" else np.float32) for n in op.inputs]
    run = loop(op, "<nowhere>")
    run(*arrays, np.empty(64, np.float32))
    code = next(iter(run.call.inspect_llvm().values()))  # type: ignore[attr-defined]
    assert "x float>" in code and "x double>" not in code


def test_their_code_is_short_of_everything_else() -> None:
    """Once more without the check at declaration: operators, numbers, parameters and words."""
    for op in OPS:
        if isinstance(op.scalar, jit.Helper):
            assert getattr(scalar, op.scalar.name, None) is op.scalar or op.scalar in vars(scalar).values(), op.name
        else:
            names = [i for i in dis.get_instructions(op.scalar) if i.opname in ("LOAD_GLOBAL", "LOAD_ATTR")]
            assert not names, op.name


CALLS = {
    "clip: a_max": lambda x, v: tg.clip(x, 0, v),
    "leaky_relu: slope": tg.leaky_relu,
    "elu: alpha": tg.elu,
    "celu: alpha": tg.celu,
    "hardtanh: max_val": lambda x, v: tg.hardtanh(x, 0, v),
    "full: value": lambda x, v: tg.full((2,), v),
    "arange: ": lambda x, v: tg.arange(v),
    "batch_norm: eps": lambda x, v: tg.batch_norm(tg.ones((3, 2)), x, x, eps=v),
    "softmax_cross_entropy: label_smoothing": lambda x, v: tg.softmax_cross_entropy(
        tg.ones((2, 2)), np.array([0, 1]), label_smoothing=v
    ),
    "var: correction": lambda x, v: tg.var(x, correction=v),
    "nan_to_num: nan": lambda x, v: tg.nan_to_num(x, nan=v),
}


@pytest.mark.parametrize("words", CALLS)
@pytest.mark.parametrize("value", [np.longdouble(1), np.complex64(1), np.clongdouble(1), np.complex128(1), 1j])
def test_attributes_are_numbers_that_tensors_have(words, value) -> None:
    """Of a wider type they would make everything wider, and a complex one complex."""
    x = tg.tensor([1.0, 2.0])
    complaint = "write float" if type(value) is np.longdouble else "complex numbers are not supported"
    for call in (lambda: CALLS[words](x, value), lambda: tg.trace(lambda x: CALLS[words](x, value), x)):
        with pytest.raises(TypeError, match=f"{words}.*{complaint}"):
            call()

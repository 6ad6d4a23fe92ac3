"""Whether what an op's declaration says of it is true: for each trait that calls can refute, how they do.

A trait is tried on the case's own numbers and on hostile ones: NaN, infinities, zeros of both signs, the smallest and
the largest. Bits are compared but for those of a NaN, which differ from processor to processor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.backward import gradients
from tensorgraph.engine.op import elementwise
from tensorgraph.engine.tensor import Tensor
from tensorgraph.testing.cases import Case, Place
from tensorgraph.testing.common import has_gradient
from tensorgraph.testing.compare import assert_close

__all__ = ["TRUTHS", "UNTRIED", "declared_traits"]

Array = np.ndarray[Any, Any]

NODES = 65  # at which a function is looked at along a line
TAIL = 1e-6  # of an analytic function's Chebyshev coefficients the last ones, in parts of the largest
FACTOR = -2.0  # exact in floats, and of the sign that tells a linear function from an absolute value


def declared_traits(case: Case) -> None:
    """What the declaration says of every call is true of this one: see `tensorgraph.engine.traits`."""
    for trait in sorted(case.op.traits & TRUTHS.keys()):
        try:
            TRUTHS[trait](case)
        except AssertionError as error:
            raise AssertionError(f"{case}: declared {trait!r}, but {error}") from None


# numbers and calls ------------------------------------------------------------------------------------------------


def arrays_of(case: Case) -> list[Array] | None:
    """The outputs; None where the op refuses the numbers."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return [t._value for t in case()]
        except (ValueError, IndexError):
            return None


def hostile(dtype: np.dtype[Any]) -> Array:
    """Numbers of a float dtype at which functions go wrong."""
    info = np.finfo(dtype)
    ends = [info.max, info.tiny, info.smallest_subnormal, info.eps, 1.0, 1.5, 3.0, 0.1, 0.0]
    return np.array([*ends, np.inf, *[-x for x in ends], -np.inf, np.nan], dtype)


def with_floats(case: Case, function: Callable[[Place, Array], Any]) -> Case:
    """The case with other numbers for its floats, of the same dtypes."""
    with np.errstate(all="ignore"):
        return case.map(lambda p, a: np.asarray(function(p, a), a.dtype) if a.dtype.kind == "f" else a)


def with_hostile(case: Case, seed: int) -> Case:
    """The case with hostile numbers for its floats; two seeds after one another bring all of them in ten elements."""

    def numbers(place: Place, a: Array) -> Array:
        order = np.random.default_rng(place).permutation(hostile(a.dtype))
        return np.resize(np.roll(order, 10 * seed), a.shape)

    return with_floats(case, numbers)


def trials(case: Case) -> Iterator[Case]:
    """The case in single and double precision, with its own numbers and with hostile ones; those that it takes."""
    for dtype in (np.float32, np.float64):
        own = case.cast(dtype)
        for trial in (own, with_hostile(own, 1), with_hostile(own, 2)):
            if arrays_of(trial) is not None:
                yield trial


def outputs_of(case: Case) -> list[Array]:
    found = arrays_of(case)
    assert found is not None, f"{case}: refused"
    return found


def first_array(case: Case) -> Array:
    return next(array for _, array in case.places())


def bits(array: Array) -> Array:
    """The bits, those of every NaN the same."""
    plain = np.array(array, order="C")
    if plain.dtype.kind == "f":
        plain[np.isnan(plain)] = np.nan
    return plain.reshape(-1).view(f"u{plain.itemsize}") if plain.size else np.zeros(0, np.uint8)


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have the same type, and the same bits where these are no NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and bool((bits(a) == bits(b)).all())


# what becomes of elements -----------------------------------------------------------------------------------------


def _identity(case: Case) -> None:
    for trial in trials(case):
        assert same(outputs_of(trial)[0], first_array(trial)), "its first input comes out changed"


def _moves(case: Case) -> None:
    for trial in trials(case):
        there = [_own(out, trial) for out in outputs_of(trial)]
        for other in (with_hostile(trial, 3), with_hostile(trial, 4)):
            moved = arrays_of(other)
            for (out, own), again in zip(there, moved or [], strict=moved is not None):
                stays = bits(out) == bits(again)
                assert (own | stays).all(), "some element is neither one of the inputs' nor a constant"


def _own(out: Array, case: Case) -> tuple[Array, Array]:
    """An output, and which of its elements are some input's."""
    with np.errstate(all="ignore"):
        given = [bits(array.astype(out.dtype)) for _, array in case.places()]
    every = np.concatenate([np.zeros(0, f"u{out.itemsize}"), *[g.astype(f"u{out.itemsize}") for g in given]])
    return out, np.isin(bits(out), every)


def _view(case: Case) -> None:
    inputs, _ = case.tensors(copy=False)
    tensors = [t for item in inputs for t in (item if isinstance(item, list) else [item]) if isinstance(t, Tensor)]
    for out in case(inputs):
        for t in tensors[1:]:
            assert not np.shares_memory(out._value, t._value), "it shares memory with another input than the first"


def _reshapes(case: Case) -> None:
    for trial in trials(case):
        for x in (first_array(trial), np.array(first_array(trial), order="F")):
            other = trial.map(lambda _, a, x=x: x)  # type: ignore[misc]
            assert np.array_equal(bits(outputs_of(other)[0]), bits(x)), "the elements come in another order"


def _unit_axes(case: Case) -> None:
    before, after = first_array(case).shape, outputs_of(case)[0].shape
    assert [n for n in before if n != 1] == [n for n in after if n != 1], f"{before} becomes {after}"


def _gathers(case: Case) -> None:
    x = first_array(case)
    out = outputs_of(case)[0]
    if x.dtype.kind == "f":
        unread = case.put({(0,): np.where(np.isin(x, out), x, np.nan)})
        assert same(outputs_of(unread)[0], out), "elements that do not come out are read"


def _keeps_order(case: Case) -> None:
    for trial in trials(case):
        ordered = trial.map(lambda _, a: np.array(a, order="C"))
        assert all(out.flags.c_contiguous for out in outputs_of(ordered)), "a result is not in C order"


# what is computed -------------------------------------------------------------------------------------------------


def _checks(case: Case) -> None:
    def bad(number: float) -> Case:
        return case.map(lambda _, a: np.full_like(a, np.nan if a.dtype.kind == "f" and number < 0 else number))

    seen = []
    for trial in (bad(-7), bad(0)):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                trial()
            except ValueError:
                seen.append(trial)
        seen += [trial] * bool(said)
    assert seen, "it takes everything"


def _idempotent(case: Case) -> None:
    for trial in trials(case):
        (out,) = outputs_of(trial)
        again = Case(trial.op, (out,), trial.attrs)
        assert same(outputs_of(again)[0], out), "again it gives something else"
    if has_gradient(case):
        inputs, leaves = case.tensors(case.floats())
        (once,) = case(inputs)
        (twice,) = case((once,))
        first, second = (gradients([y], leaves, retain_graph=True)[0].numpy() for y in (once.sum(), twice.sum()))
        assert same(first, second), "the gradient through two is another"


def _exact(case: Case) -> None:
    for trial in trials(case):
        found = outputs_of(trial)
        if all(array.dtype == np.float32 for _, array in trial.places() if array.dtype.kind == "f"):
            for out, wide in zip(found, outputs_of(trial.cast(np.float64)), strict=True):
                with np.errstate(all="ignore"):
                    assert same(out, wide.astype(out.dtype)), "float32 is not float64 rounded"
        (out,) = found
        spread = {place: np.broadcast_to(array, out.shape) for place, array in trial.places()}
        for index in np.ndindex(out.shape):
            at = {place: np.array(array[index]) for place, array in spread.items()}
            single = trial.put(at)
            assert same(outputs_of(single)[0], np.array(out[index])), "one number gives other bits than many"


def _linear(case: Case) -> None:
    if not case.floats():
        return
    eighths = with_floats(case, lambda _, a: np.round(a * 8) / 8)
    turned = with_floats(eighths, lambda _, a: np.flip(a))
    came = arrays_of(with_floats(eighths, lambda p, a: FACTOR * a + turned.at(p)))
    if came is None:  # it refuses negative numbers
        return
    for out, one, other in zip(came, outputs_of(eighths), outputs_of(turned), strict=True):
        if out.dtype.kind == "f":
            assert_close(out, FACTOR * one + other, what=f"f({FACTOR} x + y), expected {FACTOR} f(x) + f(y)")


def _analytic(case: Case) -> None:
    """Along a line through the domain the Chebyshev coefficients vanish; they do not where there is a bend."""
    if not case.floats() or not all(array.size for _, array in case.places()):
        return
    turned = with_floats(case, lambda _, a: np.flip(a))
    nodes = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    line = [with_floats(case, lambda p, a, t=t: a + (t + 1) / 2 * (turned.at(p) - a)) for t in nodes]  # type: ignore[misc]
    rows = [outputs_of(at) for at in line]
    for k, out in enumerate(rows[0]):
        if out.dtype == np.float64 and out.size:
            values = np.array([row[k].reshape(-1) for row in rows])
            sizes = np.abs(np.polynomial.chebyshev.chebfit(nodes, values, NODES - 1))
            assert sizes[-8:].max() <= TAIL * max(sizes.max(), 1.0), "it bends somewhere in its domain"


def _commutative(case: Case) -> None:
    every = hostile(np.dtype(np.float32))
    pairs = Case(case.op, tuple(g.reshape(-1) for g in np.meshgrid(every, every)), case.attrs)
    for trial in [*trials(case), *([pairs] if case.op.kind is elementwise and case.floats() else [])]:
        a, b = trial.inputs
        (out,), (other,) = outputs_of(trial), outputs_of(Case(trial.op, (b, a), trial.attrs))
        if "exact" in trial.op.traits:
            assert same(out, other), "the inputs' order changes bits"
        assert out.dtype == other.dtype and np.array_equal(out, other, equal_nan=out.dtype.kind == "f"), (
            "the inputs' order matters"
        )


def _comparison(case: Case) -> None:
    for trial in trials(case):
        (out,) = outputs_of(trial)
        assert out.dtype == bool and len(trial.inputs) == 2, f"it gives {out.dtype} of {len(trial.inputs)} inputs"


def _extremum(case: Case) -> None:
    bounds = [0.0, *[v for v in case.full_attrs().values() if type(v) in (int, float)]]
    for trial in trials(case):
        (out,) = outputs_of(trial)
        known = np.concatenate([array.reshape(-1) for _, array in trial.places()] + [np.array(bounds, out.dtype)])
        assert (np.isin(out, known) | np.isnan(out)).all(), "some result is no element and no bound"
        (grown,) = outputs_of(with_floats(trial, lambda _, a: a + np.abs(a)))
        assert ((grown >= out) | np.isnan(grown) | np.isnan(out)).all(), "a larger element gives a smaller result"


def _positions(case: Case) -> None:
    x, out = first_array(case), outputs_of(case)[0]
    assert out.dtype.kind == "i" and (out >= 0).all() and (out < max(x.size, out.size)).all(), f"it gives {out}"


def _reduces(case: Case) -> None:
    x = first_array(case)
    out = outputs_of(case)[0]
    if x.size < 2 or not out.size or x.dtype.kind != "f":
        return
    reached = np.zeros((x.size, out.size), bool)
    for base in (x, np.zeros_like(x)):
        before = bits(outputs_of(case.put({(0,): base}))[0])
        for i in range(x.size):
            for number in (0.0, 1e3, -1e3):
                changed = base.copy()
                changed.reshape(-1)[i] = number
                after = arrays_of(case.put({(0,): changed}))
                reached[i] |= after is not None and bits(after[0]) != before
    assert reached.sum(0).max() > 1, "each result is made of one element"


def _bounded(case: Case, sign: float) -> None:
    """Nothing is far above what usual numbers give, or below for a negative `sign`."""

    def largest(scales: tuple[float, ...]) -> float:
        outs = [outputs_of(with_floats(case, lambda _, a, s=s: a * s))[0] for s in scales]  # type: ignore[misc]
        numbers = [sign * out.astype(np.float64)[~np.isnan(out)] for out in outs]
        return max((float(np.max(n, initial=-np.inf)) for n in numbers), default=-np.inf)

    usual = largest((1.0, -1.0, 1e2, -1e2, 1e6, 1e30))
    extreme = largest((1e60, 1e300, -1e300, np.inf))
    assert extreme <= max(2 * usual, 1.0), f"it reaches {sign * extreme}"


def _increasing(case: Case) -> None:
    def of(step: float) -> list[Array]:
        rng = np.random.default_rng(1)
        return arrays_of(with_floats(case, lambda _, a: a + step * rng.integers(0, 2, a.shape))) or []

    for step in (1.0, 1e-3, 1e3):
        grown = of(step)  # of an op that checks its numbers, there may be none
        for before, after in zip(of(0.0) if grown else [], grown, strict=True):
            rounding = 1e-12 * np.abs(before) if before.dtype.kind == "f" else 0
            falls = after < before - rounding if before.dtype.kind == "f" else after < before
            assert not np.any(falls), f"a result falls where inputs grow by {step}"
    zeros = arrays_of(with_floats(case, lambda _, a: np.zeros_like(a))) or []
    assert not any(np.isinf(out).any() for out in zeros), "it is infinite at 0"


def _flat(case: Case) -> None:
    assert not case.op.differentiable, "it has a derivative rule"
    before = outputs_of(case)
    for step in (1e-9, -1e-9):
        after = outputs_of(with_floats(case, lambda _, a, step=step: a + step))  # type: ignore[misc]
        assert all(same(a, b) and a.dtype.kind == "f" for a, b in zip(after, before, strict=True)), "it is not flat"


def _bits(case: Case) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        avals = tuple(Aval(array.shape, np.dtype(dtype)) for _, array in case.places())
        try:
            case.op.infer(avals, case.full_attrs())
        except TypeError:
            continue
        raise AssertionError(f"it takes {dtype.__name__}")


def _labels(case: Case) -> None:
    for out in outputs_of(case):
        with np.errstate(all="ignore"):
            known = np.isin(out, np.concatenate([np.array([0, 1]), first_array(case).reshape(-1)]))
        assert known.all(), "some element is neither a label nor 0 or 1"


def _update(case: Case) -> None:
    x, out = first_array(case), outputs_of(case)[0]
    assert (out.shape, out.dtype) == (x.shape, x.dtype), "the parameter comes out in another type"


def _normalises(case: Case) -> None:
    x = first_array(case)
    one, other = (outputs_of(case.put({(0,): s * x + c}))[0] for s, c in ((1e3, 7.0), (1e5, -3.0)))
    assert np.allclose(one, other, rtol=1e-4, atol=1e-4), "a shift and a scale of its input change the result"


TRUTHS: dict[str, Callable[[Case], None]] = {
    "identity": _identity, "moves": _moves, "view": _view, "reshapes": _reshapes, "unit axes": _unit_axes,
    "gathers": _gathers, "keeps order": _keeps_order, "checks": _checks, "idempotent": _idempotent, "exact": _exact,
    "linear": _linear, "analytic": _analytic, "commutative": _commutative, "comparison": _comparison,
    "extremum": _extremum, "positions": _positions, "reduces": _reduces, "increasing": _increasing,
    "bounded above": partial(_bounded, sign=1.0), "bounded below": partial(_bounded, sign=-1.0), "flat": _flat,
    "bits": _bits, "labels": _labels, "update": _update, "normalises": _normalises,
}  # fmt: skip
"""How a call refutes a trait."""

UNTRIED: dict[str, str] = {
    "exponential": "says of what functions an op is made, not what it gives",
    "wave": "says of what functions an op is made, not what it gives",
    "root": "says of what functions an op is made, not what it gives",
    "gates": "says what a call may do, not what it does",
    "higher order": "says what an attribute holds",
    "internal": "says who calls it",
    "refuses": "says what a call may do, not what it does",
    "refuses integers": "says what a call may do, not what it does",
}
"""Traits that no call can refute, with the reason."""

"""What holds of every op: each property is a function of one case that raises AssertionError where it does not hold."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.aval import aval_of
from tensorgraph.backward import gradients
from tensorgraph.graph.trace import trace
from tensorgraph.op import CATALOGUE
from tensorgraph.tensor import Tensor, tensor
from tensorgraph.testing.cases import Case, Place, differentiable_places, examples_of, op_of
from tensorgraph.testing.compare import DIFFERENCES, assert_close, assert_same
from tensorgraph.testing.numeric import difference_jacobian, numerical_jacobian
from tensorgraph.transforms import jvp

__all__ = ["PROPERTIES", "check"]

Array = np.ndarray[Any, Any]
FLOATS = (np.float16, np.float32, np.float64)


def _float_outputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    return [t for t in outputs if t.dtype.kind == "f"]


def _cotangents(outputs: Sequence[Tensor], seed: int) -> list[Array]:
    """Random cotangents of the float outputs, of their dtypes."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, t.shape) * rng.choice([-1, 1], t.shape), t.dtype) for t in outputs]


def _wanting(case: Case) -> tuple[tuple[Any, ...], list[Tensor], list[Tensor]]:
    """Inputs, those that want gradients, and the float outputs that depend on them."""
    inputs, leaves = case.tensors(differentiable_places(case))
    return inputs, leaves, [t for t in _float_outputs(case(inputs)) if t.requires_grad]


def _pull(case: Case, seed: int = 1, create_graph: bool = False) -> list[Tensor]:
    """Gradients of the outputs, weighted by random cotangents, at every differentiable place."""
    _, leaves, outputs = _wanting(case)
    return gradients(outputs, leaves, _cotangents(outputs, seed), create_graph=create_graph)  # type: ignore[no-any-return]


def _has_gradient(case: Case) -> bool:
    return case.op.differentiable and bool(differentiable_places(case)) and bool(_wanting(case)[2])


def _narrows(case: Case) -> bool:
    """Whether it rounds float64 away, so that numbers cannot say what its derivative is."""
    return any(t.dtype.itemsize < 8 for t in _float_outputs(case()))


def _size(arrays: Sequence[Any]) -> float:
    """The largest finite absolute value."""
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0)) for a in arrays), default=0.0)


# the forward -----------------------------------------------------------------------------------------------------


def finite(case: Case) -> None:
    """In its domain an op gives finite numbers (an op of nothing may give NaN)."""
    for t in case():
        if t.dtype.kind == "f" and all(array.size for _, array in case.places()):
            assert np.isfinite(t.numpy()).all(), f"{case}: not finite inside its domain: {t.numpy()}"


def shape_rule(case: Case) -> None:
    """The shape rule says what comes, in every float dtype."""
    for dtype in FLOATS:
        cast = case.cast(dtype)
        said = case.op.infer(cast.avals(), cast.full_attrs())
        came = tuple(aval_of(t) for t in cast())
        assert said == came, f"{cast}: the shape rule says {said}, the op gives {came}"


def tensors_come(case: Case) -> None:
    """The public function gives Tensors around plain arrays, from arrays as from Tensors."""
    outputs = case(case.inputs)
    for t, other in zip(outputs, case(), strict=True):
        assert type(t) is Tensor and type(t._value) is np.ndarray, f"{case}: expected Tensors of arrays, got {type(t)}"
        assert_same(t, other, f"{case}: called with arrays")


def unmutated(case: Case) -> None:
    """Neither forward nor backward changes an input or a cotangent, and no output changes afterwards."""
    inputs, leaves = case.tensors(differentiable_places(case), copy=False)
    before = {place: array.copy() for place, array in case.places()}
    outputs = case(inputs)
    kept = [t.numpy().copy() for t in outputs]
    wanted = [t for t in _float_outputs(outputs) if t.requires_grad]
    if wanted:
        for create_graph in (False, True):
            cotangents = _cotangents(wanted, 1)
            given = [np.array(c) for c in cotangents]
            gradients(wanted, leaves, given, create_graph=create_graph, retain_graph=True)
            for was, now in zip(cotangents, given, strict=True):
                assert_same(now, was, f"{case}: a cotangent after backward")
    case.map(lambda _, a: a + a.dtype.type(1) if a.dtype.kind == "f" else a)()
    for place, array in case.places():
        assert_same(array, before[place], f"{case}: input {place}")
    for t, was in zip(outputs, kept, strict=True):
        assert_same(t, was, f"{case}: an output after later calls")


def sharing(case: Case) -> None:
    """Only view ops share memory with their inputs; gradients share with nothing."""
    inputs, leaves = case.tensors(differentiable_places(case))
    outputs = case(inputs)
    arrays = [t.numpy() for item in inputs for t in (item if isinstance(item, list) else [item]) if isinstance(t, Tensor)]
    results = [t.numpy() for t in outputs]
    if not case.op.view:
        for i, out in enumerate(results):
            for other in (*arrays, *results[:i]):
                assert not np.shares_memory(out, other), f"{case}: shares memory but is not declared a view"
    wanted = [t for t in _float_outputs(outputs) if t.requires_grad]
    if not wanted:
        return
    cotangents = [tensor(c) for c in _cotangents(wanted, 1)]
    found = gradients(wanted, leaves, cotangents)
    others = [*arrays, *results, *[c.numpy() for c in cotangents]]
    for i, g in enumerate(found):
        for other in (*others, *[h.numpy() for h in found[:i]]):
            assert not np.shares_memory(g.numpy(), other), f"{case}: a gradient shares memory"


def _layouts(array: Array) -> list[Array]:
    """The same numbers laid out otherwise: Fortran order, every second of a larger array, backwards; read-only."""
    spread = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    spread = spread[(*[slice(None, None, 2)] * array.ndim, ...)]
    spread[...] = array
    turned = (*[slice(None, None, -1)] * array.ndim, ...)
    backwards = array[turned].copy()[turned]
    layouts = [np.array(array, order="F"), spread, backwards]
    for view in layouts:
        view.flags.writeable = False
    return layouts


def layouts(case: Case) -> None:
    """Layout in memory does not matter, nor whether an input may be written."""
    expected = case()
    pulled = _pull(case) if _has_gradient(case) else []
    for kind in range(3):
        other = case.map(lambda _, a, kind=kind: _layouts(a)[kind])  # type: ignore[misc]
        inputs, leaves = other.tensors(differentiable_places(other), copy=False)
        outputs = other(inputs)
        for t, e in zip(outputs, expected, strict=True):
            assert_close(t, e, what=f"{case} in layout {kind}")
        wanted = [t for t in _float_outputs(outputs) if t.requires_grad]
        if wanted:
            found = gradients(wanted, leaves, _cotangents(wanted, 1))
            for g, e in zip(found, pulled, strict=True):
                assert_close(g, e, order=1, scale=_size([p.numpy() for p in pulled]), what=f"{case}: gradient in layout {kind}")


# derivatives -----------------------------------------------------------------------------------------------------


def jacobian(case: Case) -> None:
    """The full Jacobian in float64 agrees with numbers: the complex step where possible, else differences."""
    if not _has_gradient(case) or _narrows(case):
        return
    places = differentiable_places(case)
    expected, exact = numerical_jacobian(case, places)
    _, leaves, outputs = _wanting(case)
    rows = []
    for number, out in enumerate(outputs):
        for k in range(out.size):
            units = [np.zeros(t.shape, t.dtype) for t in outputs]
            units[number].flat[k] = 1
            rows.append([g.numpy().reshape(-1) for g in gradients(outputs, leaves, units, retain_graph=True)])
    scale = _size(expected)
    for i, block in enumerate(expected):
        got = np.array([row[i] for row in rows]).reshape(len(rows), block.shape[1])
        what = f"{case}: derivative by {case.op.inputs[places[i][0]]}"
        if exact:
            assert_close(got, block, order=1, scale=scale, what=what)
        else:
            _assert_differences(got, block, max(scale, 1.0), what)


def _assert_differences(got: Array, expected: Array, scale: float, what: str) -> None:
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert np.isfinite(expected).all(), f"{what}: the numerical derivative is not finite; correct the op's domain"
    assert np.isfinite(got).all(), f"{what}: not finite: {got}"
    error = np.abs(got - expected)
    if error.max(initial=0) > DIFFERENCES * scale:
        worst = np.unravel_index(int(np.argmax(error)), error.shape)
        raise AssertionError(
            f"{what}: {got[worst]!r} at (output, element) {tuple(map(int, worst))}, differences give {expected[worst]!r}"
        )


def second_order(case: Case) -> None:
    """The derivative of the gradient, by inputs and by cotangents, agrees with differences of the gradient."""
    if not _has_gradient(case) or _narrows(case):
        return
    places = differentiable_places(case)
    _, leaves, outputs = _wanting(case)
    cotangents = [tensor(c, requires_grad=True) for c in _cotangents(outputs, 1)]
    first = gradients(outputs, leaves, cotangents, create_graph=True)
    weights = _cotangents(first, 2)

    def weighted(*arrays: Array) -> Array:
        moved = case.put(dict(zip(places, arrays[: len(places)], strict=True)))
        _, xs, ys = _wanting(moved)
        found = gradients(ys, xs, list(arrays[len(places) :]))
        return np.array([sum(float((g.numpy() * w).sum()) for g, w in zip(found, weights, strict=True))])

    at = [case.at(p) for p in places] + [c.numpy() for c in cotangents]
    expected = difference_jacobian(weighted, at)
    live = [(g, w) for g, w in zip(first, weights, strict=True) if g.requires_grad]
    sources = [*leaves, *cotangents]
    if live:
        found = gradients([g for g, _ in live], sources, [w for _, w in live])
        second = [g.numpy() for g in found]
    else:
        second = [np.zeros(t.shape) for t in sources]
    scale = max(_size(expected), 1.0)
    names = [case.op.inputs[p[0]] for p in places] + ["a cotangent"] * len(cotangents)
    for got, want, name in zip(second, expected, names, strict=True):
        _assert_differences(got.reshape(1, -1), want, scale, f"{case}: derivative of the gradient by {name}")


def linear_in_cotangent(case: Case) -> None:
    """Rules are linear in every cotangent, and zero at zero."""
    if not _has_gradient(case):
        return
    _, leaves, outputs = _wanting(case)
    u, v = _cotangents(outputs, 1), _cotangents(outputs, 2)

    def pull(cotangents: Sequence[Any]) -> list[Array]:
        return [g.numpy() for g in gradients(outputs, leaves, list(cotangents), retain_graph=True)]

    fu, fv = pull(u), pull(v)
    both = pull([2.0 * a - 3.0 * b for a, b in zip(u, v, strict=True)])
    zero = pull([np.zeros_like(a) for a in u])
    scale = 2 * _size(fu) + 3 * _size(fv)
    coarse = min((t.dtype for t in outputs), key=lambda d: d.itemsize)
    for a, b, c, z in zip(fu, fv, both, zero, strict=True):
        assert_close(c, 2.0 * a - 3.0 * b, order=1, scale=scale, dtype=coarse, what=f"{case}: the rule of a sum of cotangents")
        assert not z.any(), f"{case}: the gradient of a zero cotangent is {z}"


def gradient_types(case: Case) -> None:
    """A gradient has its input's shape and dtype, first and second, and agrees with float64's."""
    if not _has_gradient(case):
        return
    exact = [g.numpy() for g in _pull(case)]
    for dtype in FLOATS:
        cast = case.cast(dtype)
        _, leaves, outputs = _wanting(cast)
        cotangents = [tensor(c, requires_grad=True) for c in _cotangents(outputs, 1)]
        for create_graph in (False, True):
            found = gradients(outputs, leaves, cotangents, create_graph=create_graph, retain_graph=True)
            for g, x in zip(found, leaves, strict=True):
                assert g.aval == x.aval, f"{cast}: a gradient is {g.aval}, its input {x.aval}"
        for g, e in zip(found, exact, strict=True):
            # inputs and cotangents were rounded too: as many ulp as a second derivative may be off
            assert_close(g, e, order=2, scale=_size(exact), what=f"{cast}: gradient")
        live = [g for g in found if g.requires_grad]
        if live:
            again = gradients(live, [*leaves, *cotangents], [np.ones(g.shape, g.dtype) for g in live])
            for g, x in zip(again, [*leaves, *cotangents], strict=True):
                assert g.aval == x.aval, f"{cast}: a second gradient is {g.aval}, its input {x.aval}"


def forms_agree(case: Case) -> None:
    """A rule on arrays and the same rule recorded give the same numbers, in every float dtype."""
    if not _has_gradient(case):
        return
    for dtype in FLOATS:
        cast = case.cast(dtype)
        plain, recorded = _pull(cast), _pull(cast, create_graph=True)
        for a, b in zip(plain, recorded, strict=True):
            assert_close(a, b, what=f"{cast}: gradient on arrays, against the recorded one")


def forward_mode(case: Case) -> None:
    """The JVP is the Jacobian times the direction: v · (J u) equals (J^T v) · u."""
    if not _has_gradient(case) or _narrows(case):
        return
    places = differentiable_places(case)
    rng = np.random.default_rng(3)
    directions = [rng.uniform(-1, 1, case.at(p).shape) for p in places]

    def function(*values: Any) -> Any:
        inputs: list[Any] = [list(i) if isinstance(i, list) else i for i in case.inputs]
        for place, value in zip(places, values, strict=True):
            if len(place) == 2:
                inputs[place[0]][place[1]] = value
            else:
                inputs[place[0]] = value
        return tuple(t for t in _float_outputs(case(tuple(inputs))))

    outputs, moved = jvp(function, [case.at(p) for p in places], directions)
    cotangents = _cotangents(outputs, 4)
    _, leaves, ys = _wanting(case)
    whole = dict(zip([id(t) for t in outputs], cotangents, strict=True))
    expected, _ = numerical_jacobian(case, places)
    columns = sum(block @ u.reshape(-1) for block, u in zip(expected, directions, strict=True))
    got = np.concatenate([t.numpy().reshape(-1) for t in moved])
    assert len(whole) == len(moved) and len(ys) <= len(moved)
    _assert_differences(got, np.asarray(columns), max(_size(expected), 1.0), f"{case}: jvp")


# graphs ----------------------------------------------------------------------------------------------------------


def traced(case: Case) -> None:
    """A traced call, its gradients included, gives what the eager call gives, to the last bit."""
    places = differentiable_places(case) if _has_gradient(case) else []
    for dtype in (np.float32, np.float64):
        cast = case.cast(dtype)

        def step(*inputs: Any, places: list[Place] = places, cast: Case = cast) -> Any:
            outputs = cast(inputs)
            xs = [inputs[p[0]][p[1]] if len(p) == 2 else inputs[p[0]] for p in places]
            ys = [t for t in _float_outputs(outputs) if t.requires_grad]
            return outputs, gradients(ys, xs, _cotangents(ys, 1)) if ys and xs else []

        inputs = cast.tensors(places)[0]
        graph = trace(step, *inputs).check()
        again = trace(step, *inputs)
        assert graph == again and hash(graph) == hash(again), f"{cast}: two traces of one call differ"
        assert case.op.name in str(graph) or case.op.infix or case.op.reference is not None, f"{cast}: not in the text"
        eager, found = step(*inputs), graph(*inputs)
        for part in (0, 1):
            for got, expected in zip(found[part], eager[part], strict=True):
                assert_same(got, expected, f"{cast}: {('output', 'gradient')[part]} of the traced call")


# documentation and fused ops ----------------------------------------------------------------------------------


def documented(case: Case) -> None:
    """The op says what it does, its function is named and typed by its signature, and its examples run."""
    op = case.op
    function = op.public
    assert op.doc.strip(), f"{op.name}: no doc"
    assert function.__name__ == op.name and function.__doc__, f"{op.name}: the function is not documented"
    names = [*op.inputs, *op.attrs]
    given = [p for p in inspect.signature(function).parameters if p != "impl"]
    assert given == names, f"{op.name}: the function's signature names {given}, the declaration {names}"
    found = doctest.DocTestFinder(exclude_empty=True).find(function, op.name, globs={})
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    for test in found:
        report: list[str] = []
        doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=report.append)
        assert not report, "".join(report)


def implementations(case: Case) -> None:
    """A fused op and its reference agree within the tolerance table, in every order, against float64's reference."""
    if case.op.reference is None:
        return
    from tensorgraph import jit

    chosen = ["composed", "fused"] if jit.available() else ["composed"]
    for dtype in FLOATS:
        cast = case.cast(dtype)
        exact = cast.cast(np.float64)
        expected = [t.numpy() for t in exact(impl="composed")]
        for impl in chosen:
            for t, e in zip(cast(impl=impl), expected, strict=True):
                # two float64 evaluations may each be off by the table's bound
                assert_close(t, e, ulps=16 if dtype == np.float64 else None,
                             reason="the oracle is rounded too", what=f"{cast}, {impl}")  # fmt: skip
        if not _has_gradient(case):
            continue
        orders = _orders(exact, "composed", None)
        for impl in chosen:
            for order, (found, wanted) in enumerate(zip(_orders(cast, impl, exact), orders, strict=True), 1):
                for g, e in zip(found, wanted, strict=True):
                    assert_close(g, e, order=order, scale=max(_size(wanted), 1.0), what=f"{cast}, {impl}, order {order}")


def _orders(case: Case, impl: str, like: Case | None) -> list[list[Array]]:
    """First and second derivatives, weighted by fixed cotangents (those of `like`, cast)."""
    inputs, leaves = case.tensors(differentiable_places(case))
    outputs = [t for t in _float_outputs(case(inputs, impl=impl)) if t.requires_grad]
    source = outputs if like is None else [t for t in _float_outputs(like())]
    # cotangents that float16 holds exactly, so that every dtype is asked the same question
    rounded = [np.round(c * 8) / 8 for c in _cotangents(source, 1)]
    first = gradients(outputs, leaves, [tensor(c, t.dtype) for c, t in zip(rounded, outputs, strict=True)], create_graph=True)
    live = [g for g in first if g.requires_grad]
    second = gradients(live, leaves, [np.ones(g.shape, g.dtype) for g in live]) if live else []
    return [[g.numpy() for g in first], [g.numpy() for g in second]]


PROPERTIES: dict[str, Callable[[Case], None]] = {
    f.__name__: f
    for f in (
        finite, shape_rule, tensors_come, unmutated, sharing, layouts, jacobian, second_order, linear_in_cotangent,
        gradient_types, forms_agree, forward_mode, traced, implementations,
    )
}  # fmt: skip


def check(op: Any, properties: Sequence[str] | None = None) -> None:
    """Test everything that must hold of an op: yours as well as the library's own.

    Forward finite inside the domain; shape rule in every float dtype; inputs unmutated; memory shared by views only;
    layouts; full Jacobian and second order against numbers; linearity in the cotangent; gradients' shapes and dtypes;
    rules alike on arrays and recorded; forward mode; traced equal to eager; documentation; for fused ops both
    implementations.

    Parameters
    ----------
    op : function of an op, Op, or name
        Cases are generated for elementwise ops and reductions; others are tested with their ``examples``.
    properties : sequence of str, optional
        Only these of `tensorgraph.testing.PROPERTIES`.

    Raises
    ------
    AssertionError
        Naming the call, what was expected and what came.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph.testing import check
    >>> cube = tg.op("cube(x)", lambda x: x * x * x, kind="elementwise", vjp=dict(x=lambda g, x: g * 2 * x * x), doc="x³")
    >>> check(cube)
    Traceback (most recent call last):
        ...
    AssertionError: cube(f64[3, 4]): derivative by x: ...
    >>> tg.remove_op("cube")
    """
    declared = op_of(op)
    cases = examples_of(declared)
    for name in PROPERTIES if properties is None else properties:
        for case in cases:
            PROPERTIES[name](case)
    if properties is None:
        documented(cases[0])
    assert CATALOGUE.get(declared.name) is declared, f"{declared.name}: another op stands under this name in the catalogue"

"""Whether a region is a fused op: the same values and the same gradients on random numbers.

Two analytic functions that agree at a random point agree everywhere, and the equations of a region are analytic. What
the region takes as a mere shift (a maximum, a detached value) is drawn at random too, so that nothing depends on it.
The draws are ordinary ones, tiny ones in which an eps shows, wide ones in which a bend shows that a root of a square or
a softplus makes far out, and extreme ones, where a region that loses its digits is only held to what it keeps. Labels
are no real numbers, so each class comes up.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.graph import Literal, Var
from tensorgraph.ops.shape import broadcast_to, reshape
from tensorgraph.passes.recognise.numbers import Numbers, Sizes, leaf, pulled
from tensorgraph.passes.recognise.patterns import UNFIT
from tensorgraph.passes.recognise.regions import Region, Window, behind
from tensorgraph.passes.recognise.roles import is_shift
from tensorgraph.passes.recognise.view import Place, View

__all__ = ["Shared", "Trial", "label_counts", "unmoved"]

Array = np.ndarray[Any, Any]

Kind = str | float | tuple[str, int]  # of a draw: by name, or x of this size, or the labels from here on
Shared = tuple[dict[Any, Numbers], dict[Any, Any]]  # values and references of all regions that begin at one x

TIGHT = 1e-9, 1e-12  # of the largest value: for float32 and less, for float64
GRADIENT = 1e-7, 1e-9
NOISE = 50.0  # what rounding may do to a value, in units of what one more rounding of x does
ORDINARY = ("normal", "small", "tiny", "positive")
WIDE = {"wide": 0.0, "below": -25.0, "above": 25.0, "far below": -250.0, "far above": 250.0}  # around these
EXTREME = ("large", "flat", "wider", "huge", "steep")
KINDS = (*ORDINARY, *WIDE, *EXTREME)
FINE = 1e-9  # a number of a formula below this is looked at with an x as small


def label_counts(view: View, region: Region) -> list[int]:
    """How many labels there may be, the likeliest number first; one of no meaning where there are no labels."""
    if not any(b.aval.dtype.kind in "iu" for b in region.bases):
        return [1]
    hot = [view.equations[n].attrs["classes"] for n in region.equations if "classes" in view.equations[n].attrs]
    return list(dict.fromkeys(n for n in (*hot, *sorted(region.x.aval.shape, reverse=True)) if n > 0))


def unmoved(view: View, span: Window, sizes: Sizes) -> list[bool]:
    """For each of a window's equations whether it gives the same when a constant is added to x, or cannot be said to.

    So do softmax and the norms: all else need not be looked at closer.
    """
    labels = max(1, min((sizes(d) for d in span.x.aval.shape), default=1))
    still, moved = Numbers(view, sizes, 0, labels, True), Numbers(view, sizes, 0, labels, True)
    still.values[span.x] = np.random.default_rng(100).uniform(0.5, 2.0, sizes(span.x.aval.shape))
    with np.errstate(all="ignore"):
        _run(still, sorted((*behind(view, span), *span.numbers)))
        depends = {out for n in span.numbers if n not in view.numbers(is_shift) for out in view.equations[n].outputs}
        moved.values.update((v, value) for v, value in still.values.items() if v not in depends)
        moved.values[span.x] = still.values[span.x] + 0.7
        _run(moved, span.numbers)
    result = []
    for n in span.numbers:
        out = view.equations[n].outputs[0]
        a, b = still.values.get(out), moved.values.get(out)
        with np.errstate(all="ignore"):
            same = a is None or b is None or not np.isfinite(a).all() or _close(b, a, 1e-6)
        result.append(bool(same))
    return result


def _run(numbers: Numbers, equations: Sequence[int]) -> None:
    """Compute these equations, or those of them that can be."""
    try:
        numbers.run(equations)
    except UNFIT:
        for n in equations:
            with contextlib.suppress(*UNFIT):
                numbers.run([n])


def drawn(kind: Kind, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A random x."""
    x = rng.normal(size=shape)
    if isinstance(kind, float):
        return x * kind
    if kind in WIDE:
        return x * 8.0 if kind == "wide" else x + WIDE[str(kind)]
    if kind in ("wider", "steep", "huge"):
        return x * {"wider": 40.0, "steep": 3e3, "huge": 1e7}[str(kind)]
    if kind == "small":
        return x * 1e-3
    if kind == "tiny":
        return x * 1e-6
    if kind == "positive":
        return rng.uniform(0.5, 2.0, shape)
    if kind == "large":
        return x + 1e4 * rng.choice([-1.0, 1.0], shape)
    if kind == "flat":  # a constant row along each axis
        for axis in range(len(shape)):
            x[(slice(None),) * axis + (0,)] = 0.75
    return np.asarray(x)


class Trial:
    """A region with its values on every draw that was asked for."""

    def __init__(self, view: View, sizes: Sizes, region: Region, classes: int, shared: Shared | None) -> None:
        self.view = view
        self.sizes = sizes
        self.region = region
        self.classes = classes
        self.shared, self.references = ({}, {}) if shared is None else shared
        self.primary = "normal"
        self.wide = region.x.aval.dtype.itemsize > 4
        self.shifted = not view.numbers(is_shift).isdisjoint(region.equations)

    def start(self) -> bool:
        """Compute the region on an ordinary draw on which it is finite; False where there is none."""
        for kind in ("normal", "positive"):
            try:
                if np.isfinite(self.at(kind).values[self.region.y]).all():
                    self.primary = kind
                    return True
            except UNFIT:
                return False
        return False

    def at(self, kind: Kind) -> Numbers:
        """The region's values on one kind of draw."""
        key = kind, self.classes
        numbers = self.shared.get(key)
        if numbers is None:
            seed = KINDS.index(kind) if kind in KINDS else len(KINDS)
            numbers = self.shared[key] = Numbers(self.view, self.sizes, seed, self.classes, exact=kind == "steep")
            x = self.region.x
            numbers.values[x] = drawn(kind, np.random.default_rng(100 + seed), self.sizes(x.aval.shape))
        if isinstance(kind, tuple):
            for var in self.labels():
                shape = self.sizes(var.aval.shape)
                counted = np.arange(kind[1], kind[1] + math.prod(shape)) % self.classes
                numbers.values.setdefault(var, counted.reshape(shape).astype(var.aval.dtype))
        with np.errstate(all="ignore"):
            numbers.run(self.region.equations)
        return numbers

    # the fused op on the same numbers ---------------------------------------------------------------------------

    def reference(self, op: Op, attrs: dict[str, Any], places: tuple[Place, ...], kind: Kind) -> list[Array] | None:
        """The op's outputs by its reference."""
        key = op, kind, self.classes, places, tuple(attrs.items())
        if key not in self.references:
            numbers = self.at(kind)
            self.references[key] = None
            with np.errstate(all="ignore"), contextlib.suppress(*UNFIT):
                inputs = [None if p.var is None and p.fill is None else wrap(self._seat(p, numbers)) for p in places]
                self.references[key] = [t._value for t in _called(op, inputs, self._attrs(attrs))]
        return self.references[key]  # type: ignore[no-any-return]

    def _attrs(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """An op's attributes, in which numbers that happen to be sizes were exchanged as the region's own were."""
        return {name: self.sizes.number(v) if type(v) is float else v for name, v in attrs.items()}

    def labels(self) -> list[Var]:
        """The region's inputs that are class indices."""
        return [v for v in self.region.bases if v.aval.dtype.kind in "iu"]

    def _seat(self, place: Place, numbers: Numbers) -> Array:
        shape = self.sizes(place.shape)
        if place.var is None:
            return np.full(shape, place.fill)
        value = np.asarray(numbers.values[place.var])
        return value.reshape(shape) if value.size == np.prod(shape, dtype=int) else np.broadcast_to(value, shape).copy()

    # comparisons ------------------------------------------------------------------------------------------------

    def agrees(
        self, op: Op, attrs: dict[str, Any], places: tuple[Place, ...], outs: tuple[Aval, ...]
    ) -> tuple[tuple[Var, int], ...] | None:
        """Which outputs of the op the region's values are, if they are; None where they differ."""
        values = self.at(self.primary).values
        expected = self.reference(op, attrs, places, self.primary)
        if expected is None or not np.isfinite(expected[0]).all():
            return None
        if not _close(values[self.region.y], expected[0], TIGHT[self.wide]):
            return None
        outputs = [(self.region.y, 0)]
        for var in self.region.exposed:
            index = next(
                (
                    i for i in range(1, len(expected))
                    if outs[i].dtype == var.aval.dtype and i not in [k for _, k in outputs]
                    and _close(values[var], expected[i], TIGHT[self.wide])
                ),
                None,
            )  # fmt: skip
            if index is None:
                return None
            outputs.append((var, index))
        for kind in self._kinds(op):
            if kind != self.primary and not self._agrees_on(kind, op, attrs, places, outputs):
                return None
        return tuple(outputs) if self._same_gradients(op, attrs, places, outputs) else None

    def _kinds(self, op: Op) -> list[Kind]:
        """The draws on which a region is looked at."""
        kinds: list[Kind] = [*ORDINARY]
        if self.primary == "normal":
            kinds += [k for k in (*WIDE, *EXTREME) if k != "steep" or self.shifted]
        else:
            kinds += ["large", "flat"]
        equations = [self.view.equations[n] for n in self.region.equations]
        numbers = [a.value for eq in equations for a in eq.atoms() if type(a) is Literal]
        numbers += [v for eq in equations for v in eq.attrs.values()]
        held = self.view.graph.consts
        consts = [held[a] for eq in equations for a in eq.atoms() if type(a) is Var and a in held]
        numbers += [array.item() for array in consts if array.size == 1]
        fine = {abs(v) for v in numbers if type(v) is float and 0 < abs(v) < FINE}
        kinds += sorted({size for v in fine for size in (v, math.sqrt(v))})
        few = min((math.prod(self.sizes(v.aval.shape)) for v in self.labels()), default=0)
        kinds += [("labels", k) for k in range(0, self.classes, few)] if few else []
        return kinds

    def _agrees_on(self, kind: Kind, op: Op, attrs: dict[str, Any], places: tuple[Place, ...], outputs: Any) -> bool:
        try:
            values = self.at(kind).values
        except UNFIT:
            return False
        expected = self.reference(op, attrs, places, kind)
        if expected is None:
            return False
        if kind in WIDE:  # where nothing overflows yet, not even an exponential
            for var, i in outputs:
                if not np.isfinite(values[var].reshape(expected[i].shape)[np.isfinite(expected[i])]).all():
                    return False
        return all(
            _close(values[var], expected[i], TIGHT[self.wide]) or self._is_noise(kind, var, values[var], expected[i])
            for var, i in outputs
        )

    def _is_noise(self, kind: Kind, var: Var, value: Array, expected: Array) -> bool:
        """Whether a difference is within what the region loses by rounding: overflow, or digits that cancel."""
        expected = expected.reshape(value.shape)
        allowed = np.zeros(value.shape)
        base = self.at(kind)
        for seed in range(3):
            again = Numbers(self.view, self.sizes, seed, self.classes)
            again.values.update({v: base.values[v] for v in (*self.region.bases, *self._shifts(base))})
            x = base.values[self.region.x]
            again.values[self.region.x] = x * (1.0 + np.random.default_rng(seed).choice([-4e-16, 0.0, 4e-16], x.shape))
            with np.errstate(all="ignore"):
                again.run(self.region.equations)
                allowed = np.maximum(allowed, np.abs(again.values[var] - value))
        with np.errstate(all="ignore"):
            off = np.abs(value - expected)
            scale = np.abs(expected).max(initial=0.0)
            lost = np.max(allowed, where=np.isfinite(allowed), initial=0.0)
            return bool((~np.isfinite(value) | (off <= TIGHT[self.wide] * scale + NOISE * lost)).all())

    def _shifts(self, numbers: Numbers) -> list[Var]:
        """The values that were drawn at random inside the region."""
        return [
            out for n in self.region.equations for out in self.view.equations[n].outputs
            if n in self.view.numbers(is_shift) and out in numbers.values
        ]  # fmt: skip

    def _same_gradients(self, op: Op, attrs: dict[str, Any], places: tuple[Place, ...], outputs: Any) -> bool:
        numbers = self.at(self.primary)
        leaves = [v for v in dict.fromkeys([self.region.x, *self.region.bases]) if v.aval.dtype.kind == "f"]
        rng = np.random.default_rng(7)
        cotangents = [rng.normal(size=numbers.values[var].shape) for var, _ in outputs]
        try:
            with np.errstate(all="ignore"):
                got = numbers.gradients(self.region, leaves, [var for var, _ in outputs], cotangents)
                env = {v: leaf(numbers.values[v]) for v in leaves}
                with modes.use(grad=True):
                    inputs = [self._seat_tensor(p, env, numbers) for p in places]
                    outs = _called(op, inputs, self._attrs(attrs))
                    ys = [reshape.public(outs[i], shape=numbers.values[var].shape) for var, i in outputs]
                    wanted = pulled(ys, [env[v] for v in leaves], cotangents)
        except UNFIT:
            return False
        # what does not depend on x (a softmax over one class, a batch of one) is no evidence
        depends = any(np.abs(w).max(initial=0.0) > 1e-9 for w in wanted[:1])
        return depends and all(_close(a, b, GRADIENT[self.wide], 1e-12) for a, b in zip(got, wanted, strict=True))

    def _seat_tensor(self, place: Place, env: dict[Var, Tensor], numbers: Numbers) -> Tensor | None:
        if place.var is None and place.fill is None:
            return None
        if place.var not in env:
            return wrap(self._seat(place, numbers))
        t, shape = env[place.var], self.sizes(place.shape)
        if t.shape == shape:
            return t
        adapt = reshape if t.size == np.prod(shape, dtype=int) else broadcast_to
        return adapt.public(t, shape=shape)  # type: ignore[no-any-return]


def _called(op: Op, inputs: list[Tensor | None], attrs: dict[str, Any]) -> list[Tensor]:
    assert op.reference is not None
    outputs = op.reference(*inputs, **attrs)
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def _close(value: Array, expected: Array, relative: float, floor: float = 0.0) -> bool:
    if value.size != expected.size:
        return False
    expected = expected.reshape(value.shape)
    if value.dtype.kind != "f" or not np.isfinite(expected).all():
        return bool(np.array_equal(value, expected, equal_nan=True))
    # a value that is not finite compares as false
    return bool(np.abs(value - expected).max(initial=0.0) <= relative * np.abs(expected).max(initial=0.0) + floor)

"""The kernels of a region: what is computed of an element, put into loops over the places of its arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.elements import Element, Refusal, kind_of, require_kernel
from tensorgraph.compile.loops import SIZES, Axis, Nest, Pointer, axes_of
from tensorgraph.compile.shares import LANES, in_shares, side_by_side
from tensorgraph.engine.aval import canonical_axes
from tensorgraph.engine.op import elementwise, reduction
from tensorgraph.graph.graph import Equation, Var
from tensorgraph.native.places import Call, Place
from tensorgraph.ops.native.joining import fill, place_in
from tensorgraph.ops.native.reductions import Fold, Reduction

__all__ = ["generate", "require_generated"]

WORTH_BLOCKS = 30_000.0
"""Nanoseconds of work from which a kernel is given to several threads."""
BLOCKS = 16
NARROW = 16
"""Numbers of a row up to which many rows are folded side by side."""


def fold_of(eq: Equation) -> tuple[Fold, str]:
    """How a reduction is folded, and the type that its elements are brought to first.

    Raises
    ------
    Refusal
    """
    rule = eq.op.native_rule()
    if not isinstance(rule, Reduction):
        raise Refusal(f"{eq.op.name} has no generated kernel")
    (source,) = eq.variables()
    kind, out = kind_of(source.aval), kind_of(eq.outputs[0].aval)
    kind = "b1" if rule.truth else kind
    fold = rule.folds.get(kind)
    if fold is None or (fold.result, out) not in ((out, out), ("f8", "f4")) or (kind, out) == ("f8", "f4"):
        raise Refusal(f"{eq.op.name} of {source.aval.dtype} to {eq.outputs[0].aval.dtype} is not generated")
    return fold, kind


def require_generated(eq: Equation) -> None:
    """Refuse an equation of which no kernel is generated.

    Raises
    ------
    Refusal
    """
    if eq.op.kind is elementwise:
        require_kernel(eq)
    elif eq.op.kind is reduction:
        fold_of(eq)
    else:
        raise Refusal(f"{eq.op.name} computes no element from one of each input")


def generate(equations: Sequence[Equation], inputs: Sequence[Var], outputs: Sequence[Var], call: Call) -> bool:
    """Put the records of a region's kernels into a call; see `Region.call`."""
    body = _Body(equations, inputs)
    places = [*zip(inputs, call.inputs, strict=True)]
    written = [(var, place) for var, place in zip(outputs, call.outputs, strict=True) if place is not None]
    if any(place.dtype.str[1:] != body.element.kinds[body.element.names[var]] for var, place in (*places, *written)):
        return False
    if written and not body.folds:
        body.shape = written[0][1].shape  # lines of any length have one region
    written = [(var, place) for var, place in written if place.size]
    if not written:
        return True
    if not any(body.element.names[var] in body.folds for var, _ in written):
        body.axes = frozenset()  # nobody reads what is folded
    if 0 in body.shape:
        for var, place in written:
            fill(call, place, _of_nothing(equations, var))
        return True
    pointers = [body.pointer(var, place.broadcast(body.shape)) for var, place in places]
    for var, place in written:
        folded = body.element.names[var] in body.folds
        pointers.append(body.pointer(var, _spread(place, body.shape, body.axes) if folded else place))
    nest = _nest(pointers, body)
    apart = [k for k in range(len(places)) if not nest.has_words_for(pointers[k])]
    for k in apart:
        var, place = places[k]
        copy = call.scratch(place.shape, place.dtype, "a copy in C order")
        place_in(call, place, copy)
        pointers[k] = body.pointer(var, copy.broadcast(body.shape))
    if apart:
        nest = _nest(pointers, body)
    placed = any(fold.placed for _, fold in nest.folds.values())
    if not all(map(nest.has_words_for, pointers)) or (placed and sum(axis.folded for axis in nest.axes) > 1):
        return False
    work = _work(nest, body.flops)
    results = math.prod([axis.size for axis in nest.axes if not axis.folded])
    shares = None
    if nest.folds and not placed:
        shares = side_by_side(call, nest, work > WORTH_BLOCKS)
        if shares is None and work > WORTH_BLOCKS and results < LANES * BLOCKS:
            shares = in_shares(call, nest)
    first, *merges = shares or [nest]
    is_shared = first.shared >= 0 and work > WORTH_BLOCKS
    if is_shared:
        first.shared = _longest(first)
    call.run(first.kernel, first.words, BLOCKS if is_shared else 1)
    for merge in merges:
        call.run(merge.kernel, merge.words)
    if not nest.folds:
        _say_replacements(call, body.shape)
    return True


def _of_nothing(equations: Sequence[Equation], var: Var) -> Any:
    """What a reduction of no elements gives."""
    eq = next(eq for eq in equations if var in eq.outputs)
    (source,) = eq.variables()
    with np.errstate(invalid="ignore"):
        return eq.op.forward(np.empty(source.aval.shape, source.aval.dtype), **eq.attrs).flat[0]


class _Body:
    """What a region computes.

    Attributes
    ----------
    element : Element
    folds : dict of str to (str, Fold)
        As of `Nest`.
    shape, axes
        What it loops over, and the axes that are folded.
    flops : float
        Of one element.
    """

    def __init__(self, equations: Sequence[Equation], inputs: Sequence[Var]) -> None:
        self.element, self.flops = Element(), 0.0
        self.folds: dict[str, tuple[str, Fold]] = {}
        self.shape: tuple[int, ...] = ()
        self.axes: frozenset[int] = frozenset()
        for var in inputs:
            self.element.read(var)
        for eq in equations:
            self.flops += eq.op.flops if isinstance(eq.op.flops, (int, float)) else 1
            if eq.op.kind is reduction:
                self._fold(eq)
            else:
                self.element.add(eq)
                self.shape = eq.outputs[0].aval.shape

    def _fold(self, eq: Equation) -> None:
        (source,) = eq.variables()
        fold, kind = fold_of(eq)
        self.shape = source.aval.shape
        self.axes = frozenset(canonical_axes(eq.attrs.get("axis"), len(self.shape)))
        name = self.element.result(eq.outputs[0])
        self.folds[name] = self.element.converted(source, kind), fold

    def pointer(self, var: Var, place: Place) -> Pointer:
        name = self.element.names[var]
        return Pointer(name, self.element.kinds[name], place.address(), place.strides)


def _spread(place: Place, shape: Sequence[int], axes: frozenset[int]) -> Place:
    """The place of a reduction's result as one of the shape that is reduced, repeated along what is folded."""
    kept = place.ndim == len(shape)
    given = iter(place.strides)
    strides = []
    for k in range(len(shape)):
        stride = next(given) if kept or k not in axes else 0
        strides.append(0 if k in axes else stride)
    return place.over(shape, strides)


def _nest(pointers: list[Pointer], body: _Body) -> Nest:
    """The loops of a region; the innermost axis of its shape is walked in vectors."""
    loops = axes_of(body.shape, pointers, body.axes)
    kept = [k for k, axis in enumerate(loops) if not axis.folded]
    last = max((k for k, n in enumerate(body.shape) if n != 1), default=-1)
    vectors = len(loops) - 1 if last in body.axes or not kept else kept[-1]
    if kept and vectors != kept[-1] and _is_narrow(loops, kept[-1], pointers):
        vectors = kept[-1]
    count = math.prod([body.shape[k] for k in body.axes])
    stored = [p.name for p in pointers if p.name[0] != "x" and p.name not in body.folds]
    folds = {p.name: body.folds[p.name] for p in pointers if p.name in body.folds}
    return Nest(
        pointers, loops, vectors, body.element.lines, stored, folds, body.element.scope, count, kept[0] if kept else -1
    )


def _is_narrow(loops: list[Axis], rows: int, pointers: list[Pointer]) -> bool:
    """Whether what is folded is so little that lanes are better rows, though their numbers lie apart in memory."""
    folded = math.prod([axis.size for axis in loops if axis.folded])
    read = {p.kind for p in pointers if p.name[0] == "x"}
    written = [SIZES[p.kind] == loops[rows].strides[k] for k, p in enumerate(pointers) if p.name[0] != "x"]
    return folded <= NARROW and loops[rows].size >= LANES and read in ({"f4"}, {"f8"}) and all(written)


def _longest(nest: Nest) -> int:
    """The axis that blocks are parts of: the outermost one, unless it is short."""
    kept = [k for k, axis in enumerate(nest.axes) if not axis.folded]
    unit = {k: LANES if k == nest.vectors else 1 for k in kept}
    return (
        kept[0]
        if nest.axes[kept[0]].size >= BLOCKS * unit[kept[0]]
        else max(kept, key=lambda k: nest.axes[k].size // unit[k])
    )


def _work(nest: Nest, flops: float) -> float:
    """Nanoseconds of one thread, roughly: of memory and of what is computed."""
    size = math.prod([axis.size for axis in nest.axes])
    bytes = sum(SIZES[p.kind] for p in nest.pointers if nest.steps[p.name] != "one")
    return size * (0.04 * bytes + 0.03 * flops)


def _say_replacements(call: Call, shape: tuple[int, ...]) -> None:
    """Outputs may lie where inputs were that are walked through in the same order, and by that input alone."""
    for i, given in enumerate(call.inputs):
        if given.shape != shape or not given.is_contiguous:
            continue
        if any(other.buffer is given.buffer for k, other in enumerate(call.inputs) if k != i):
            continue
        for k, place in enumerate(call.outputs):
            if place is not None and place.dtype == given.dtype:
                call.may_replace(k, i)

"""How a fused op may fit a region: which input is which of its own, and which attributes it would have.

Everything is tried from what the region itself offers: its inputs in every order that the shape rule allows, its axes,
its numbers. What is missing (no scale, no shift) is a constant, where the op's `Recognition` has one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.engine.recognition import Recognition, every_axis
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.graph.graph import Var, typed_key
from tensorgraph.passes.recognise.patterns import UNFIT, example_types, reference_graph
from tensorgraph.passes.recognise.regions import Region
from tensorgraph.passes.recognise.roles import allowed, creates, elements, shifts
from tensorgraph.passes.recognise.view import Place, View

__all__ = ["accepts", "fits", "float_choices", "may_be_probed", "recognition"]

MOST_CHOICES = 128  # of attributes

# what sits at an input: x (-1), a base by its number, or a constant; its shape; the constant
Seat = tuple[int | None, tuple[int, ...], float | None]
X, NOTHING = -1, (None, (), None)


def recognition(op: Op) -> Recognition:
    """How an op that is probed is recognised."""
    assert op.recognise is not None
    return op.recognise


@functools.lru_cache(maxsize=64)
def may_be_probed(op: Op) -> bool:
    """Whether an op says how it is recognised, and is analytic as far as its first example shows."""
    if op.recognise is None or op.backward is None:
        return False
    return not op.examples or any(_is_analytic(op, avals, attrs) for avals, attrs in example_types(op)[:1])


def _numbers(op: Op) -> list[str]:
    """Attributes that are numbers of the formula, such as eps."""
    return [n for n, d in op.attrs.items() if isinstance(d, float) or d is REQUIRED]


def fits(op: Op, view: View, region: Region) -> Iterator[tuple[dict[str, Any], tuple[Place, ...], tuple[Aval, ...]]]:
    """Places and attributes, numbers aside, that the shape rule accepts and that give something of y's size."""
    bases = region.bases
    if len(bases) >= len(op.inputs):
        return
    main = recognition(op).main
    hints = _hints(op, view, region)
    avals = tuple(b.aval for b in bases)
    y = region.y.aval
    for start in range(len(op.inputs)) if main is None else [op.inputs.index(main)]:
        for attrs, places, outs in _assignments(op, start, region.x.aval, avals, hints):
            if outs[0].dtype == y.dtype and elements(outs[0]) == elements(y):
                named: dict[int | None, Var | None] = {None: None, X: region.x, **dict(enumerate(bases))}
                yield dict(attrs), tuple(Place(named[k], shape, fill) for k, shape, fill in places), outs


def _hints(op: Op, view: View, region: Region) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """For attributes that are no numbers: the values that are tried besides the default."""
    equations = [view.equations[n] for n in region.equations]
    values, shape = recognition(op).values, region.x.aval.shape
    result = []
    for name, default in op.attrs.items():
        if isinstance(default, float) or default is REQUIRED:
            continue
        options = values.get(name)
        if options is every_axis:  # but not the default's once more, counted from the other end
            options = tuple(k for k in every_axis([], shape) if k != default + len(shape))
        elif callable(options):
            options = tuple(options([], shape))
        elif options is None and isinstance(default, bool):
            options = (not default,)
        elif options is None:
            given = [eq.attrs[name] for eq in equations if name in eq.attrs]
            options = tuple(v for v in given if type(v) is type(default) or isinstance(v, tuple))
        result.append((name, tuple({typed_key(v): v for v in (default, *options)}.values())))
    return tuple(result)


@functools.lru_cache(maxsize=512)
def _assignments(
    op: Op, main: int, x: Aval, bases: tuple[Aval, ...], hints: tuple[tuple[str, tuple[Any, ...]], ...]
) -> list[tuple[dict[str, Any], tuple[Seat, ...], tuple[Aval, ...]]]:
    """All ways to seat x at input `main` and the bases at others, as the shape rule allows."""
    names, neutral = op.inputs, recognition(op).neutral
    choices = [dict(hints).get(name, (1.0 if default is REQUIRED else default,)) for name, default in op.attrs.items()]
    others = [i for i in range(len(names)) if i != main]
    standard = list(dict.fromkeys([*[(d,) for d in x.shape], *[x.shape[k:] for k in range(x.ndim + 1)]]))
    options: list[tuple[dict[str, Any], tuple[Seat, ...], tuple[Aval, ...]]] = []
    seen = set()
    for seats in itertools.permutations(others, len(bases)):
        empty = [i for i in others if i not in seats]
        seated = []
        for seat, base in zip(seats, bases, strict=True):
            shapes = dict.fromkeys([base.shape, (elements(base),)] if base.ndim else [base.shape])
            # one number for all; not where none need be, as weights of classes: it is a factor of the whole then
            factor = names[seat] in op.signature.optional and names[seat] not in neutral
            wider = [s for s in standard if elements(base) == 1 and len(s) >= base.ndim and not factor]
            seated.append(list(dict.fromkeys([*shapes, *wider])))
        needed = [i for i in empty if names[i] not in op.signature.optional]
        if any(names[i] not in neutral for i in needed):
            continue
        for shapes_, shape in itertools.product(itertools.product(*seated), standard if needed else [()]):
            places: list[Seat] = [NOTHING] * len(names)
            avals: list[Aval | None] = [None] * len(names)
            places[main], avals[main] = (X, x.shape, None), x
            for k, (seat, s) in enumerate(zip(seats, shapes_, strict=True)):
                places[seat], avals[seat] = (k, s, None), Aval(s, bases[k].dtype)
            for i in needed:
                places[i], avals[i] = (None, shape, neutral[names[i]]), Aval(shape, x.dtype)
            for chosen in itertools.islice(itertools.product(*choices), MOST_CHOICES):
                attrs = dict(zip(op.attrs, chosen, strict=True))
                try:
                    outs = op.infer(tuple(avals), attrs)
                except UNFIT:
                    continue
                key = (tuple(places), typed_key(attrs))
                if key not in seen and _is_analytic(op, tuple(avals), attrs):
                    seen.add(key)
                    options.append((attrs, tuple(places), outs))
    return options


def _is_analytic(op: Op, avals: tuple[Aval | None, ...], attrs: dict[str, Any]) -> bool:
    """Whether numbers can tell what the op is: not where its reference clips or chooses, unless the op says so."""
    if "analytic" in op.traits:
        return True
    graph = reference_graph(op, avals, attrs)
    return graph is not None and all(allowed(eq) or creates(eq) or shifts(eq) for eq in graph.equations)


def accepts(op: Op, attrs: dict[str, Any], places: tuple[Place, ...], x: Aval) -> bool:
    """Whether the shape rule takes these inputs and attributes, numbers among them."""
    avals = [Aval(p.shape, x.dtype if p.var is None else p.var.aval.dtype) for p in places]
    given = [None if p.var is None and p.fill is None else aval for p, aval in zip(places, avals, strict=True)]
    try:
        op.infer(tuple(given), attrs)
    except UNFIT:
        return False
    return True


def float_choices(op: Op, view: View, region: Region) -> Iterator[dict[str, Any]]:
    """Values for the attributes that are numbers: those of the region, and the defaults."""
    names, values = _numbers(op), recognition(op).values
    if not names:
        yield {}
        return
    equations, consts = [view.equations[n] for n in region.equations], view.graph.consts
    floats = []
    for eq in equations:
        for a in eq.atoms():
            array = consts.get(a) if isinstance(a, Var) else np.asarray(a.value)
            if array is not None and array.size == 1 and array.dtype.kind in "iuf":
                floats.append(float(array.item()))
    floats += [v for eq in equations for v in eq.attrs.values() if type(v) is float]
    choices = []
    for name in names:
        default = op.attrs[name]
        offered = [eq.attrs[name] for eq in equations if type(eq.attrs.get(name)) in (int, float)] + floats
        rule = values.get(name)
        options = list(rule(offered, region.x.aval.shape) if callable(rule) else offered if rule is None else rule)
        if default is not REQUIRED:
            options.append(default)
        choices.append(list({typed_key(v): v for v in options}.values()))
    for chosen in itertools.islice(itertools.product(*choices), MOST_CHOICES):
        yield dict(zip(names, chosen, strict=True))

"""How a fused op may fit a region: which input is which of its own, and which attributes it would have.

Everything is tried from what the region itself offers: its inputs in every order that the shape rule allows, its axes,
its numbers. What is missing (no scale, no shift) is a constant.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.graph.graph import Literal, Var, typed_key
from tensorgraph.passes.recognise.exact import UNFIT, example_types, reference_graph
from tensorgraph.passes.recognise.regions import ALLOWED, CAREFUL, CREATION, SHIFTS, Region
from tensorgraph.passes.recognise.view import Place, View, elements

__all__ = ["fits", "float_choices", "mains", "may_be_probed", "number_names"]

MOST_INPUTS = 4
MOST_CHOICES = 128  # of attributes
NEUTRAL = {"gamma": (1.0,), "scale": (1.0,), "weight": (1.0,), "beta": (0.0,), "bias": (0.0,), "shift": (0.0,)}

# what sits at an input: x (-1), a base by its number, or a constant; its shape; the constant
Seat = tuple[int | None, tuple[int, ...], float | None]
X, NOTHING = -1, (None, (), None)


def mains(op: Op) -> list[int]:
    """The inputs that a region's x may be."""
    return [0] if op.name in CAREFUL else list(range(len(op.inputs)))


@functools.lru_cache(maxsize=64)
def may_be_probed(op: Op) -> bool:
    """Whether an op is of a kind that probing handles: few inputs, and analytic as far as its first example shows."""
    if op.backward is None or len(op.inputs) > MOST_INPUTS or op.signature.lists:
        return False
    return not op.examples or any(_is_analytic(op, avals, attrs) for avals, attrs in example_types(op)[:1])


def number_names(op: Op) -> list[str]:
    """Attributes that are numbers of the formula, such as eps."""
    return [n for n, d in op.attrs.items() if isinstance(d, float) or d is REQUIRED]


def fits(op: Op, view: View, region: Region) -> Iterator[tuple[dict[str, Any], tuple[Place, ...], tuple[Aval, ...]]]:
    """Places and attributes, numbers aside, that the shape rule accepts and that give something of y's size."""
    bases = region.bases
    if len(bases) >= len(op.inputs) or op.signature.lists or len(op.inputs) > MOST_INPUTS:
        return
    hints = _hints(op, view, region)
    avals = tuple(b.aval for b in bases)
    y = region.y.aval
    for main in mains(op):
        for attrs, places, outs in _assignments(op, main, region.x.aval, avals, hints):
            if outs[0].dtype == y.dtype and elements(outs[0]) == elements(y):
                named: dict[int | None, Var | None] = {None: None, X: region.x, **dict(enumerate(bases))}
                yield dict(attrs), tuple(Place(named[k], shape, fill) for k, shape, fill in places), outs


def _hints(op: Op, view: View, region: Region) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """For attributes that are no floats: values that the region has, besides the default and the axes."""
    equations = [view.equations[n] for n in region.equations]
    numbers = [a.value for eq in equations for a in eq.atoms() if type(a) is Literal]
    result = []
    for name, default in op.attrs.items():
        if isinstance(default, (float, str)) or default is REQUIRED:
            continue
        given = [eq.attrs[name] for eq in equations if name in eq.attrs]
        if isinstance(default, int) and not isinstance(default, bool) and name != "axis":
            given += [v for v in numbers if type(v) is int]
        values = {typed_key(v): v for v in given if type(v) is type(default) or isinstance(v, tuple)}
        if op.name not in CAREFUL and values:
            result.append((name, tuple(values.values())))
    return tuple(result)


def _choices(op: Op, ndim: int, hints: dict[str, tuple[Any, ...]]) -> list[list[Any]]:
    """The values tried for each attribute, the default first; floats are left at a stand-in."""
    choices = []
    for name, default in op.attrs.items():
        options = [1.0] if default is REQUIRED else [default]
        if isinstance(default, bool):
            options.append(not default)
        elif isinstance(default, str):
            options += [attrs[name] for _, attrs in op.examples if name in attrs]
        elif name == "axis" and isinstance(default, int):
            options += [k for k in range(ndim) if k not in (default, default + ndim)]
        options += hints.get(name, ())
        choices.append(list({typed_key(v): v for v in options}.values()))
    return choices


@functools.lru_cache(maxsize=512)
def _assignments(
    op: Op, main: int, x: Aval, bases: tuple[Aval, ...], hints: tuple[tuple[str, tuple[Any, ...]], ...]
) -> list[tuple[dict[str, Any], tuple[Seat, ...], tuple[Aval, ...]]]:
    """All ways to seat x at input `main` and the bases at others, as the shape rule allows."""
    names = op.inputs
    others = [i for i in range(len(names)) if i != main]
    standard = list(dict.fromkeys([*[(d,) for d in x.shape], *[x.shape[k:] for k in range(x.ndim + 1)]]))
    found: list[tuple[dict[str, Any], tuple[Seat, ...], tuple[Aval, ...]]] = []
    seen = set()
    for seats in itertools.permutations(others, len(bases)):
        empty = [i for i in others if i not in seats]
        seated = []
        for base in bases:
            shapes = dict.fromkeys([base.shape, (elements(base),)] if base.ndim else [base.shape])
            wider = [s for s in standard if elements(base) == 1 and len(s) >= base.ndim]  # one number for all
            seated.append(list(dict.fromkeys([*shapes, *wider])))
        needed = [i for i in empty if names[i] not in op.signature.optional]
        fills = [NEUTRAL.get(names[i], (1.0, 0.0)) for i in needed]
        for shapes_, shape, values in itertools.product(
            itertools.product(*seated), standard if needed else [()], itertools.product(*fills)
        ):
            places: list[Seat] = [NOTHING] * len(names)
            avals: list[Aval | None] = [None] * len(names)
            places[main], avals[main] = (X, x.shape, None), x
            for k, (seat, s) in enumerate(zip(seats, shapes_, strict=True)):
                places[seat], avals[seat] = (k, s, None), Aval(s, bases[k].dtype)
            for i, value in zip(needed, values, strict=True):
                places[i], avals[i] = (None, shape, value), Aval(shape, x.dtype)
            for chosen in itertools.islice(itertools.product(*_choices(op, x.ndim, dict(hints))), MOST_CHOICES):
                attrs = dict(zip(op.attrs, chosen, strict=True))
                try:
                    outs = op.infer(tuple(avals), attrs)
                except UNFIT:
                    continue
                key = (tuple(places), typed_key(attrs))
                if key not in seen and _is_analytic(op, tuple(avals), attrs):
                    seen.add(key)
                    found.append((attrs, tuple(places), outs))
    return found


def _is_analytic(op: Op, avals: tuple[Aval | None, ...], attrs: dict[str, Any]) -> bool:
    """Whether numbers can tell what the op is: not where its reference clips or chooses."""
    if op.name in CAREFUL:
        return True
    graph = reference_graph(op, avals, attrs)
    return graph is not None and all(
        eq.op.name in ALLOWED or eq.op.name in CREATION or eq.op.name in SHIFTS for eq in graph.equations
    )


def float_choices(op: Op, view: View, region: Region) -> Iterator[dict[str, Any]]:
    """Values for the attributes that are numbers: those of the region, and the defaults."""
    names = number_names(op)
    if not names:
        yield {}
        return
    equations = [view.equations[n] for n in region.equations]
    read: dict[Var, None] = {a: None for eq in equations for a in eq.atoms() if type(a) is Var}
    numbers = [a.value for eq in equations for a in eq.atoms() if type(a) is Literal]
    numbers += [view.graph.consts[v].item() for v in read if v in view.graph.consts and view.graph.consts[v].size == 1]
    numbers += [v for eq in equations for v in eq.attrs.values() if isinstance(v, float)]
    floats = [float(v) for v in numbers if type(v) in (int, float)]
    sizes = set(region.x.aval.shape)
    choices = []
    for name in names:
        default = op.attrs[name]
        options = [eq.attrs[name] for eq in equations if type(eq.attrs.get(name)) in (int, float)]
        options += floats
        if name == "label_smoothing":
            options += [float(f"{w:.12g}") for v in floats for w in (1.0 - v, *(v * n for n in sizes))]
        if op.name in CAREFUL:
            options = [v for v in options if 0.0 <= v < 0.5]
        if default is not REQUIRED:
            options.append(default)
        choices.append(list({typed_key(v): v for v in options}.values()))
    for chosen in itertools.islice(itertools.product(*choices), MOST_CHOICES):
        yield dict(zip(names, chosen, strict=True))

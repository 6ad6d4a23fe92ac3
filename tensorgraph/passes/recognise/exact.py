"""Regions that are a fused op's reference equation by equation, as the composed implementation writes it.

What the library's own references choose by masks (the likeliest class, a NaN moment) is no analytic function, so it is
not probed but compared. First without attributes and numbers, which gives the inputs and pairs the equations; then the
reference is traced for just those inputs, and each attribute is set to what the region suggests and makes more
equations equal, until all are, to the last literal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Number
from tensorgraph.engine.op import Op
from tensorgraph.graph.graph import Equation, Literal, Var, typed_key
from tensorgraph.passes.recognise.patterns import Attributes, Pattern, forms, may_be_reduced, required, traced
from tensorgraph.passes.recognise.view import Match, Place, View

__all__ = ["apart", "exact_matches"]

MOST_TRIES = 200  # references traced to find the attributes of one region
RULES = {False: "its reference, equation by equation", True: "its reference, of which a part was recognised"}


def apart(matches: Iterable[Match]) -> list[Match]:
    """The largest matches that share no equation."""
    taken: set[int] = set()
    result = []
    for match in sorted(matches, key=lambda m: (-len(m.numbers), m.op.name, min(m.numbers))):
        if taken.isdisjoint(match.numbers):
            taken |= match.numbers
            result.append(match)
    return sorted(result, key=lambda m: min(m.numbers))


def exact_matches(view: View, ops: Iterable[Op], reduced: tuple[bool, ...] = (False, True)) -> list[Match]:
    """Every region that is the reference of one of these ops, the largest first where regions overlap.

    References are looked for as they are written, and reduced: with other fused ops recognised in them.
    """
    values = [v.aval for eq in view.equations for v in eq.outputs]
    dtypes = sorted({a.dtype.name for a in values if a.dtype.kind == "f" and a.shape})
    patterns: list[Pattern] = []
    ops_here = frozenset(view.ops)
    fused = [op for op in view.ops if op.backward is not None]
    for op, form in itertools.product(ops, reduced):
        if form and (op.backward is None or not may_be_reduced(op, fused)):
            continue
        needed = required(op, form)
        if needed is not None and needed <= view.ops:
            patterns += [p for d in dtypes for p in forms(op, d, form, ops_here)]
    roots: dict[Op, list[Pattern]] = {}
    for pattern in sorted(patterns, key=lambda p: -len(p.graph.equations)):
        roots.setdefault(pattern.graph.equations[_maker(pattern, pattern.root)].op, []).append(pattern)
    matches: list[Match] = []
    for number, eq in enumerate(view.equations):
        if not view.live[number]:
            continue
        for pattern in roots.get(eq.op, ()):
            match = _match(view, pattern, eq)
            if match is not None:
                matches.append(match)
                break
    return matches


def _maker(pattern: Pattern, var: Var) -> int:
    return next(i for i, eq in enumerate(pattern.graph.equations) if var in eq.outputs)


def _match(view: View, pattern: Pattern, eq: Equation) -> Match | None:
    """The region that ends at this equation, if it is the pattern."""
    bound = _unify(view, pattern, eq, exact=False)
    if bound is None:
        return None
    places = tuple(None if v is None else bound.get(v) for v in pattern.places)
    if any(v is not None and p is None for v, p in zip(pattern.places, places, strict=True)):
        return None
    avals = tuple(None if p is None else p.aval for p in places)
    if any(type(a) is Number for a in avals):  # fused ops take tensors
        return None
    if any(a is not None and a.dtype.kind == "f" and a.ndim and 0 in a.shape for a in avals):
        return None
    exact = _settled(view, pattern, bound, places)
    bound = None if exact is None else _unify(view, exact, eq, exact=True)
    if exact is None or bound is None:
        return None
    if tuple(None if v is None else bound.get(v) for v in exact.places) != places:
        return None
    return _finished(view, exact, bound, places)


def _unify(view: View, pattern: Pattern, eq: Equation, exact: bool) -> dict[Var, Var] | None:
    """The graph's variable for each of the pattern's, walking back from the last equation; None where they differ."""
    bound: dict[Var, Var] = {}
    makers = {out: e for e in pattern.graph.equations for out in e.outputs}
    inputs, consts = set(pattern.graph.inputs), pattern.graph.consts
    stack = [(pattern.root, eq.outputs[makers[pattern.root].outputs.index(pattern.root)])]
    while stack:
        theirs, ours = stack.pop()
        if theirs in bound:
            if bound[theirs] is not ours:
                return None
            continue
        bound[theirs] = ours
        if exact and theirs.aval != ours.aval:
            return None
        if theirs in inputs:
            continue
        if theirs in consts:
            mine = view.graph.consts.get(ours)
            if mine is None or (exact and not np.array_equal(mine, consts[theirs], equal_nan=True)):
                return None
            continue
        e, f = makers[theirs], view.maker(ours)
        pairs = None if f is None else _paired(e, f, exact)
        if pairs is None or f is None or e.outputs.index(theirs) != f.outputs.index(ours):
            return None
        stack += pairs
    return bound


def _paired(e: Equation, f: Equation, exact: bool) -> list[tuple[Var, Var]] | None:
    """The variables at the same places of two equations, if these are alike."""
    if e.op is not f.op or (exact and typed_key(dict(e.attrs)) != typed_key(dict(f.attrs))):
        return None
    pairs = []
    for i, (a, b) in enumerate(zip(e.inputs, f.inputs, strict=True)):
        several, others = e.group(i), f.group(i)
        if isinstance(a, tuple) != isinstance(b, tuple) or len(several) != len(others):
            return None
        for theirs, ours in zip(several, others, strict=True):
            if isinstance(theirs, Var) and isinstance(ours, Var):
                pairs.append((theirs, ours))
            elif (
                isinstance(theirs, Var)
                or isinstance(ours, Var)
                or (exact and typed_key(theirs.value) != typed_key(ours.value))
            ):
                return None
    return pairs


def _finished(view: View, pattern: Pattern, bound: dict[Var, Var], places: tuple[Var | None, ...]) -> Match | None:
    """The match with the pattern's other outputs found too, if nothing else of the region is used outside."""
    depends = set(pattern.graph.inputs)
    numbers = set()
    for e in pattern.graph.equations:
        known = next((out for out in e.outputs if out in bound), None)
        f = None if known is None else view.maker(bound[known])
        if f is not None:  # an op with several outputs was met by one of them
            for theirs, ours in zip(e.outputs, f.outputs, strict=True):
                bound.setdefault(theirs, ours)
        read = [a for a in e.atoms() if type(a) is Var]
        if any(a in depends for a in read):
            depends.update(e.outputs)
        if e.outputs[0] not in bound and read and all(a in bound for a in read):
            for n in view.users.get(bound[read[0]], ()):
                other = view.equations[n]
                pairs = _paired(e, other, exact=True)
                if pairs is not None and all(bound[a] is b for a, b in pairs):
                    bound.update(zip(e.outputs, other.outputs, strict=True))
                    break
        if e.outputs[0] in bound and e.outputs[0] in depends:  # what depends on no input may serve others too
            numbers.add(view.position[bound[e.outputs[0]]])
    outputs = tuple((bound[v], i) for i, v in enumerate(pattern.graph.outputs) if type(v) is Var and v in bound)
    if not view.is_closed(numbers, [var for var, _ in outputs]):
        return None
    if not pattern.op.differentiable and not all(_is_written(view, var, numbers) for var, _ in outputs):
        return None
    seats = tuple(Place(p, p.aval.shape) if p is not None else Place(None) for p in places)
    return Match(pattern.op, pattern.attrs, seats, outputs, frozenset(numbers), RULES[bool(pattern.reduced)])


def _is_written(view: View, var: Var, numbers: set[int]) -> bool:
    """Whether a value leaves its region for cells only, where no gradient follows it."""
    return var not in view.graph.outputs and all(n in numbers for n in view.users.get(var, ()))


def _settled(view: View, pattern: Pattern, bound: dict[Var, Var], places: tuple[Var | None, ...]) -> Pattern | None:
    """The pattern for a region's own types, with the attributes that make its equations those of the region.

    One attribute after another is set to what leaves fewer differences, those with the fewest candidates first.
    """
    avals = tuple(None if p is None else p.aval for p in places)
    pairs = []
    for number, e in enumerate(pattern.graph.equations):
        ours = next((bound[out] for out in e.outputs if out in bound), None)
        f = None if ours is None else view.maker(ours)
        if f is not None:
            pairs.append((number, f))
    tries = 0

    def differences(attrs: dict[str, Any]) -> tuple[float, Pattern | None]:
        nonlocal tries
        tries += 1
        exact = traced(pattern.op, avals, Attributes(attrs), pattern.reduced)
        if exact is None or exact.key != pattern.key:
            return math.inf, None
        return sum(_differences(exact.graph.equations[number], f) for number, f in pairs), exact

    attrs = dict(pattern.attrs)
    left, best = differences(attrs)
    candidates = sorted(_candidates(pattern, [f for _, f in pairs], places).items(), key=lambda item: len(item[1]))
    before = math.nan
    while left and left != before:
        before = left
        for name, options in candidates:
            for value in options:
                if tries >= MOST_TRIES or not left:
                    break
                fewer, exact = differences({**attrs, name: value})
                if fewer < left:
                    left, best, attrs = fewer, exact, {**attrs, name: value}
    return None if left else best


def _differences(e: Equation, f: Equation) -> float:
    """In how many attributes, numbers and types two equations of one op differ; inf where one has more of them."""
    theirs = [*e.attrs.values(), *(a.value for a in e.atoms() if type(a) is Literal)]
    ours = [*f.attrs.values(), *(a.value for a in f.atoms() if type(a) is Literal)]
    if len(theirs) != len(ours) or len(e.outputs) != len(f.outputs):
        return math.inf
    types: int = sum(a.aval != b.aval for a, b in zip(e.outputs, f.outputs, strict=True))
    others: int = sum(typed_key(a) != typed_key(b) for a, b in zip(theirs, ours, strict=True))
    return types + others


def _candidates(pattern: Pattern, region: list[Equation], places: tuple[Var | None, ...]) -> dict[str, list[Any]]:
    """What a region suggests for each attribute: by its name, from the numbers, from the axes that there are."""
    numbers = [a.value for e in region for a in e.atoms() if type(a) is Literal]
    every = [*numbers, *(v for e in region for v in e.attrs.values())]
    floats, integers = [v for v in every if type(v) is float], [v for v in numbers if type(v) is int]
    shapes = [p.aval.shape for p in places if p is not None]
    ndim = max(map(len, shapes), default=0)
    choices = {}
    for name, value in pattern.attrs.items():
        default = pattern.op.attrs[name]
        options = [default] if type(default) is type(value) or default is None else []
        options += [e.attrs[name] for e in region if name in e.attrs and type(e.attrs[name]) is type(value)]
        if type(value) is int:
            options += [*range(ndim), *range(-ndim, 0), *integers]
        elif default is None:  # in place of what the op chooses itself
            options += [*floats, *integers]
        elif type(value) is float:
            # a rate stands as what is left of 1 and as a part of a size, rounded
            derived = [w for v in floats for w in (1.0 - v, *(v * n for n in {n for shape in shapes for n in shape}))]
            options += [*floats, *derived, *(float(f"{w:.12g}") for w in derived)]
        choices[name] = list({typed_key(v): v for v in options}.values())
    return choices

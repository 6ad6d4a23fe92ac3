"""Regions that are a fused op's reference equation by equation, as the composed implementation writes it.

What the library's own references choose by masks (the likeliest class, a NaN moment) is no analytic function, so it is
not probed but compared. First without attributes and numbers, which gives the inputs; then the reference is traced for
just those inputs and each set of attributes that the region suggests, and must be the region to the last literal.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import CATALOGUE, Op
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, typed_key
from tensorgraph.graph.trace import trace
from tensorgraph.passes.recognise.regions import CAREFUL
from tensorgraph.passes.recognise.view import Match, Place, View
from tensorgraph.passes.rewrite import group

__all__ = ["UNFIT", "apart", "exact_matches", "example_types", "reference_graph"]

MOST_TRIES = 60
RULES = {False: "its reference, equation by equation", True: "its reference, of which a part was recognised"}
UNFIT = (Exception,)  # an op's own code, a user's among them, may refuse what it is tried on in any way


@dataclass(frozen=True, eq=False)
class Pattern:
    """A reference as a graph. `places` are its inputs' variables, None where an optional one is left out."""

    op: Op
    attrs: dict[str, Any]
    graph: Graph
    places: tuple[Var | None, ...]
    names: frozenset[str]
    key: Any
    reduced: bool

    @property
    def root(self) -> Var:
        return self.graph.outputs[0]  # type: ignore[return-value]


def reference_graph(op: Op, avals: tuple[Aval | None, ...], attrs: dict[str, Any]) -> Graph | None:
    """A fused op's reference traced for inputs of these types; None where it refuses them."""
    given = [a for a in avals if a is not None]

    def composed(*tensors: Any) -> Any:
        values = iter(tensors)
        assert op.reference is not None
        return op.reference(*[None if a is None else next(values) for a in avals], **attrs)

    with modes.use(trace=None, cells=None, quiet=True, debug_nans=False, implementation="composed"):
        try:
            return trace(composed, *given)
        except UNFIT:
            return None


@functools.lru_cache(maxsize=256)
def _traced(
    op: Op, avals: tuple[Aval | None, ...], items: tuple[tuple[str, Any], ...], reduced: bool = False
) -> Pattern | None:
    """The pattern of a reference for these types; None where there is none. `reduced`: see `_reduced`."""
    attrs = dict(items)
    graph = reference_graph(op, avals, attrs)
    if graph is not None and reduced:
        graph = _reduced(graph, op)
    if graph is None or not graph.equations or len(graph.outputs) != len(op.outputs):
        return None
    if not op.differentiable:
        graph = _without_stops(graph)
    made = {out for eq in graph.equations for out in eq.outputs}
    if graph.outputs[0] not in made:
        return None
    inputs = iter(graph.inputs)
    places = tuple(None if a is None else next(inputs) for a in avals)
    names = frozenset(eq.op.name for eq in graph.equations)
    return Pattern(op, attrs, graph, places, names, _skeleton(graph), reduced)


def _reduced(graph: Graph, op: Op) -> Graph | None:
    """A reference in which other fused ops have been recognised: a batch norm and then a ReLU, say."""
    from tensorgraph.passes.recognise.replace import replace_regions

    view = View(graph)
    found = apart(exact_matches(view, tuple(o for o in _fused() if o is not op), forms=(False,)))
    return replace_regions(graph, view, found)[0] if found else None


def _fused() -> Iterator[Op]:
    return (op for op in CATALOGUE.values() if op.backward is not None)


def apart(matches: Iterable[Match]) -> list[Match]:
    """The largest matches that share no equation."""
    taken: set[int] = set()
    result = []
    for match in sorted(matches, key=lambda m: (-len(m.numbers), m.op.name, min(m.numbers))):
        if taken.isdisjoint(match.numbers):
            taken |= match.numbers
            result.append(match)
    return sorted(result, key=lambda m: min(m.numbers))


def _without_stops(graph: Graph) -> Graph:
    """What is computed under `no_grad` and then only written to cells, as an update is, has no mark at its end."""
    stops = {eq.outputs[0]: eq for eq in graph.equations if eq.op.name == "stop_gradient"}
    ends = {out: stops[out] for out in graph.outputs if type(out) is Var and out in stops}
    return graph.replace(
        equations=tuple(eq for eq in graph.equations if eq.outputs[0] not in ends),
        outputs=tuple(ends[o].inputs[0] if type(o) is Var and o in ends else o for o in graph.outputs),
    )


def _skeleton(graph: Graph) -> Any:
    """Ops and wiring without attributes and numbers: one of each is enough."""
    number: dict[Var, int] = {v: i for i, v in enumerate((*graph.inputs, *graph.consts))}
    rows = []
    for eq in graph.equations:
        rows.append((eq.op.name, tuple(number[a] if type(a) is Var else -1 for a in eq.atoms())))
        for out in eq.outputs:
            number[out] = len(number)
    return tuple(rows), number.get(graph.outputs[0], -1)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def _variants(op: Op, dtype: str, reduced: bool) -> tuple[Pattern, ...]:
    """The forms that a reference's graph takes, one pattern each: over the op's examples and what they set."""
    seen: dict[str, list[Any]] = {name: [] for name in op.attrs}
    for _, attrs in op.examples:
        for name, default in op.attrs.items():
            for value in ([default] if default is not REQUIRED else []) + ([attrs[name]] if name in attrs else []):
                known = seen[name]
                several_floats = isinstance(value, float) and sum(isinstance(v, float) for v in known) == 2
                if not several_floats and not any(typed_key(v) == typed_key(value) for v in known):
                    known.append(value)
    found: dict[Any, Pattern] = {}
    for arguments in _kinds(op):
        avals = tuple(_aval(a, dtype) for a in arguments) + (None,) * (len(op.inputs) - len(arguments))
        for values in itertools.product(*seen.values()):
            pattern = _traced(op, avals, tuple(zip(op.attrs, values, strict=True)), reduced)
            if pattern is not None:
                found.setdefault(pattern.key, pattern)
    return tuple(sorted(found.values(), key=lambda p: -len(p.graph.equations)))


@functools.lru_cache(maxsize=64)
def _required(op: Op, reduced: bool) -> frozenset[str] | None:
    """Ops that a reference always uses, as far as the examples show: most graphs lack one, and need no variants.

    None where there is no pattern at all.
    """
    names: frozenset[str] | None = None
    for avals, values in example_types(op):
        pattern = _traced(op, avals, tuple(values.items()), reduced)
        if pattern is not None:
            names = pattern.names if names is None else names & pattern.names
    return names


def example_types(op: Op) -> list[tuple[tuple[Aval | None, ...], dict[str, Any]]]:
    """The types and attributes of an op's examples, in float32."""
    return [
        (
            tuple(_aval(a, "float32") for a in arguments) + (None,) * (len(op.inputs) - len(arguments)),
            {name: attrs.get(name, default) for name, default in op.attrs.items()},
        )
        for arguments, attrs in op.examples
    ]


def _kinds(op: Op) -> list[tuple[Any, ...]]:
    """Example inputs, one of each number of axes and kind of dtype."""
    kinds: dict[Any, tuple[Any, ...]] = {}
    for arguments, _ in op.examples:
        avals = [_aval(a, np.float32) for a in arguments]
        kinds.setdefault(tuple((a.ndim, a.dtype.kind) if a else None for a in avals), arguments)
    return list(kinds.values())


def _aval(example: Any, dtype: Any) -> Aval | None:
    if example is None:
        return None
    if isinstance(example, tuple):
        return Aval(example, np.dtype(dtype))
    array = np.asarray(example)
    return Aval(array.shape, np.dtype(dtype) if array.dtype.kind == "f" and array.ndim else array.dtype)


def exact_matches(view: View, ops: Iterable[Op], forms: tuple[bool, ...] = (False, True)) -> list[Match]:
    """Every region that is the reference of one of these ops, the largest first where regions overlap.

    `forms` are those of the references that are looked for: as they are written, and reduced.
    """
    values = [v.aval for eq in view.equations for v in eq.outputs]
    dtypes = sorted({a.dtype.name for a in values if a.dtype.kind == "f" and a.shape})
    patterns: list[Pattern] = []
    for op, reduced in itertools.product(ops, forms):
        if reduced and (op.backward is None or op.name in CAREFUL):
            continue
        required = _required(op, reduced)
        if required is not None and required <= view.names:
            patterns += [p for d in dtypes for p in _variants(op, d, reduced) if p.names <= view.names]
    roots: dict[str, list[Pattern]] = {}
    for pattern in sorted(patterns, key=lambda p: -len(p.graph.equations)):
        roots.setdefault(pattern.graph.equations[_maker(pattern, pattern.root)].op.name, []).append(pattern)
    found: list[Match] = []
    for number, eq in enumerate(view.equations):
        if not view.live[number]:
            continue
        for pattern in roots.get(eq.op.name, ()):
            match = _match(view, pattern, eq)
            if match is not None:
                found.append(match)
                break
    return found


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
    if any(a is not None and a.dtype.kind == "f" and a.ndim and 0 in a.shape for a in avals):
        return None
    equations = [view.equations[n] for n in {view.made_by[v] for v in bound.values() if v in view.made_by}]
    inputs = set(places)
    region = [e for e in equations if not any(out in inputs for out in e.outputs)]
    for attrs in itertools.islice(_suggested(pattern, region, avals), MOST_TRIES):
        exact = _traced(pattern.op, avals, tuple(attrs.items()), pattern.reduced)
        if exact is None or exact.key != pattern.key:
            continue
        bound = _unify(view, exact, eq, exact=True)
        if bound is not None and tuple(None if v is None else bound.get(v) for v in exact.places) == places:
            return _finished(view, exact, bound, places)
    return None


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
    for a, b in zip(e.inputs, f.inputs, strict=True):
        if isinstance(a, tuple) != isinstance(b, tuple) or len(group(a)) != len(group(b)):
            return None
        for theirs, ours in zip(group(a), group(b), strict=True):
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
            numbers.add(view.made_by[bound[e.outputs[0]]])
    made = tuple((bound[v], i) for i, v in enumerate(pattern.graph.outputs) if type(v) is Var and v in bound)
    if not view.is_closed(numbers, [var for var, _ in made]):
        return None
    if not pattern.op.differentiable and not all(_is_written(view, var, numbers) for var, _ in made):
        return None
    kept = tuple(Place(p, p.aval.shape) if p is not None else Place(None) for p in places)
    return Match(pattern.op, pattern.attrs, kept, made, frozenset(numbers), RULES[pattern.reduced])


def _is_written(view: View, var: Var, numbers: set[int]) -> bool:
    """Whether a value leaves its region for cells only, where no gradient follows it."""
    return var not in view.returned and all(n in numbers for n in view.users.get(var, ()))


def _suggested(pattern: Pattern, region: list[Equation], avals: tuple[Aval | None, ...]) -> Iterator[dict[str, Any]]:
    """Sets of attributes that a region suggests: by name, from its numbers, from the axes there are."""
    numbers = [a.value for e in region for a in e.atoms() if type(a) is Literal]
    values = {name: [e.attrs[name] for e in region if name in e.attrs] for name in pattern.attrs}
    every = [v for e in region for v in e.attrs.values()]
    sizes = {n for a in avals if a is not None for n in a.shape}
    choices = []
    for name, value in pattern.attrs.items():
        given = [v for v in values[name] if type(v) is type(value)]
        if isinstance(value, bool) or value is None or isinstance(value, str):
            options = [value, *(given if isinstance(value, str) else [])]
        elif isinstance(value, int):
            ndim = max((a.ndim for a in avals if a is not None), default=0)
            default = pattern.op.attrs[name]
            options = [*([default] if type(default) is int else []), *given, *range(ndim), *range(-ndim, 0)]
            options += [v for v in numbers if type(v) is int]
        elif isinstance(value, float):
            floats = [v for v in (*numbers, *every) if type(v) is float]
            more = [float(f"{w:.12g}") for v in floats for w in (1.0 - v, *(v * n for n in sizes))]
            options = [*given, *floats, *more, pattern.op.attrs[name]]
        else:
            options = [*given, value]
        choices.append(list({typed_key(v): v for v in options}.values()))
    for chosen in itertools.product(*choices):
        yield dict(zip(pattern.attrs, chosen, strict=True))

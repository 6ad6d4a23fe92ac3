"""Fused ops' references as graphs: for types and attributes that are given, and in the forms that they may take."""

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
from tensorgraph.engine.recognition import every_axis
from tensorgraph.engine.signature import REQUIRED
from tensorgraph.graph.graph import Graph, Var, typed_key
from tensorgraph.graph.trace import trace
from tensorgraph.passes.recognise.needs import kept
from tensorgraph.passes.recognise.roles import stops
from tensorgraph.passes.recognise.view import View

__all__ = [
    "UNFIT",
    "Attributes",
    "Pattern",
    "example_types",
    "forms",
    "may_be_reduced",
    "reference_graph",
    "required",
    "traced",
]

Parts = bool | frozenset[Op]  # the fused ops that are looked for in a reference: none, all, or these
UNFIT = (Exception,)  # an op's own code, a user's among them, may refuse what it is tried on in any way


@dataclass(frozen=True, eq=False)
class Pattern:
    """A reference as a graph. `places` are its inputs' variables, None where an optional one is left out."""

    op: Op
    attrs: dict[str, Any]
    graph: Graph
    places: tuple[Var | None, ...]
    ops: frozenset[Op]
    key: Any
    reduced: Parts

    @property
    def root(self) -> Var:
        return self.graph.outputs[0]  # type: ignore[return-value]


class Attributes:
    """Values of attributes, compared with type and sign: 0, 0.0 and -0.0 give different graphs."""

    __slots__ = ("key", "values")

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.key = typed_key(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def reference_graph(op: Op, avals: tuple[Aval | None, ...], attrs: dict[str, Any]) -> Graph | None:
    """A fused op's reference traced for inputs of these types; None where it or the shape rule refuses them."""
    given = [a for a in avals if a is not None]

    def composed(*tensors: Any) -> Any:
        values = iter(tensors)
        assert op.reference is not None
        return op.reference(*[None if a is None else next(values) for a in avals], **attrs)

    with modes.use(trace=None, cells=None, quiet=True, debug_nans=False, implementation="composed"):
        try:
            op.infer(avals, attrs)  # a reference need not look at its attributes
            return trace(composed, *given)
        except UNFIT:
            return None


@functools.lru_cache(maxsize=4096)
def traced(op: Op, avals: tuple[Aval | None, ...], attributes: Attributes, reduced: Parts = False) -> Pattern | None:
    """The pattern of a reference for these types; None where there is none. `reduced`: see `_reduced`."""
    attrs = attributes.values
    graph = reference_graph(op, avals, attrs)
    if graph is not None and reduced:
        graph = _reduced(graph, op, None if reduced is True else reduced)
    if graph is None or not graph.equations or len(graph.outputs) != len(op.outputs):
        return None
    if not op.differentiable:
        graph = _without_stops(graph)
    inner = {out for eq in graph.equations for out in eq.outputs}
    if graph.outputs[0] not in inner:
        return None
    inputs = iter(graph.inputs)
    places = tuple(None if a is None else next(inputs) for a in avals)
    ops = frozenset(eq.op for eq in graph.equations)
    return Pattern(op, attrs, graph, places, ops, _skeleton(graph), reduced)


def _reduced(graph: Graph, op: Op, parts: frozenset[Op] | None) -> Graph | None:
    """A reference in which other fused ops have been recognised: a batch norm and then a ReLU, say."""
    from tensorgraph.passes.recognise.exact import apart, exact_matches
    from tensorgraph.passes.recognise.replace import replace_regions

    view = View(graph)
    matches = apart(exact_matches(view, tuple(o for o in _fused(parts) if o is not op), reduced=(False,)))
    return replace_regions(graph, view, matches)[0] if matches else None


def _fused(among: Iterable[Op] | None = None) -> Iterator[Op]:
    return (op for op in (CATALOGUE.values() if among is None else among) if op.backward is not None)


def _without_stops(graph: Graph) -> Graph:
    """What is computed under `no_grad` and then only written to cells, as an update is, has no mark at its end."""
    stopped = {eq.outputs[0]: eq for eq in graph.equations if stops(eq)}
    ends = {out: stopped[out] for out in graph.outputs if type(out) is Var and out in stopped}
    return graph.replace(
        equations=tuple(eq for eq in graph.equations if eq.outputs[0] not in ends),
        outputs=tuple(ends[o].inputs[0] if type(o) is Var and o in ends else o for o in graph.outputs),
    )


def _skeleton(graph: Graph) -> Any:
    """Ops and wiring without attributes and numbers: one of each is enough."""
    number: dict[Var, int] = {v: i for i, v in enumerate((*graph.inputs, *graph.consts))}
    rows = []
    for eq in graph.equations:
        rows.append((eq.op, tuple(number[a] if type(a) is Var else -1 for a in eq.atoms())))
        for out in eq.outputs:
            number[out] = len(number)
    return tuple(rows), number.get(graph.outputs[0], -1)  # type: ignore[arg-type]


def forms(op: Op, dtype: str, reduced: bool, allowed: frozenset[Op]) -> list[Pattern]:
    """The forms that a reference's graph takes, of these ops alone, one pattern each.

    They come of the op's examples and what they set. Most graphs lack an op of most forms, and these are not traced.
    """
    examples = _variants(op, dtype)
    used = kept(f"{dtype}{' reduced' * reduced}", op, lambda: [_ops(op, *each, reduced) for each in examples])
    patterns: dict[Any, Pattern] = {}
    for (avals, attributes), ops in zip(examples, used, strict=True):
        if ops is None or not ops <= allowed:
            continue
        # which fused ops there are in it is known: nobody need look for others
        pattern = traced(op, avals, attributes, reduced and frozenset(_fused(ops)))
        if pattern is not None:
            patterns.setdefault(pattern.key, pattern)
    return sorted(patterns.values(), key=lambda p: -len(p.graph.equations))


@functools.lru_cache(maxsize=256)
def _variants(op: Op, dtype: str) -> list[tuple[tuple[Aval | None, ...], Attributes]]:
    """Types and attributes that may each give a reference another form."""
    found = []
    for arguments in _kinds(op):
        avals = tuple(_aval(a, dtype) for a in arguments) + (None,) * (len(op.inputs) - len(arguments))
        for values in itertools.product(*(_settings(op, name, avals) for name in op.attrs)):
            found.append((avals, Attributes(dict(zip(op.attrs, values, strict=True)))))
    return found


def _ops(op: Op, avals: tuple[Aval | None, ...], attributes: Attributes, reduced: bool) -> frozenset[Op] | None:
    pattern = traced(op, avals, attributes, reduced)
    return None if pattern is None else pattern.ops


def _settings(op: Op, name: str, avals: tuple[Aval | None, ...]) -> list[Any]:
    """Values of an attribute that may each give a reference another form: those of the examples, and what is tried."""
    default, recognise = op.attrs[name], op.recognise
    values = [] if default is REQUIRED else [default]
    tried = None if recognise is None else recognise.values.get(name)
    if tried is every_axis:
        first = avals[0 if recognise is None or recognise.main is None else op.inputs.index(recognise.main)]
        shape = () if first is None else first.shape
        values += [k for k in every_axis([], shape) if k - len(shape) != default]
    else:
        values += tried if isinstance(tried, tuple) else ()
        values += [attrs[name] for _, attrs in op.examples if name in attrs]
    floats = [v for v in values if type(v) is float][2:]  # a number is as good as another
    return [v for v in {typed_key(v): v for v in values}.values() if v not in floats]


@functools.lru_cache(maxsize=256)
def required(op: Op, reduced: bool) -> frozenset[Op] | None:
    """Ops that a reference always uses, as far as the examples show: most graphs lack one, and need no variants.

    None where there is no pattern at all.
    """
    found = kept(f"examples{' reduced' * reduced}", op, lambda: _of_examples(op, reduced))
    known = [ops for ops in found if ops is not None]
    return frozenset.intersection(*known) if known else None


def _of_examples(op: Op, reduced: bool) -> list[frozenset[Op] | None]:
    """The ops of a reference in each of the op's examples."""
    return [_ops(op, avals, Attributes(values), reduced) for avals, values in example_types(op)]


def may_be_reduced(op: Op, fused: Iterable[Op]) -> bool:
    """Whether one of these ops may be a part of a reference: it has all the ops that theirs needs.

    To look for them in it takes many times longer.
    """
    held = _held(op)
    needs = (required(other, False) for other in fused if other is not op)
    return any(needed is not None and needed <= held for needed in needs)


@functools.lru_cache(maxsize=256)
def _held(op: Op) -> frozenset[Op]:
    """The ops that a reference uses in one example or another."""
    return frozenset().union(*filter(None, kept("examples", op, lambda: _of_examples(op, False))))


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

"""All rows of a Jacobian by one backward pass, batched over the unit cotangents.

The backward pass is traced for one row and batched, as `vmap` does it. What such a pass computes follows from what lies
on the tape, without its numbers: which ops, with which attributes, how they hang together, the types of what they have
saved. So where all of it is known, a pass over a tape of equal form is not traced again, and its batched graph runs at
once on what this tape has saved.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, default_dtype
from tensorgraph.engine.backward import leading_to, reachable
from tensorgraph.engine.direct import can_fuse
from tensorgraph.engine.exits import TraceError, wanted, wants
from tensorgraph.engine.op import Op
from tensorgraph.engine.pull import is_ours
from tensorgraph.engine.tape import Leaf, Node, Projection, any_hooks, projection
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.graph.building import Trace
from tensorgraph.graph.evaluate import evaluate
from tensorgraph.graph.graph import Graph
from tensorgraph.ops.creation import zeros
from tensorgraph.ops.shape import concatenate, stack
from tensorgraph.transforms.lanes import Lanes
from tensorgraph.transforms.plans import Plans
from tensorgraph.transforms.pulling import pull
from tensorgraph.transforms.vmap import one_lane, plan_of, vmap

__all__ = ["rows"]

FEW = 8  # rows that are sooner pulled back one by one than traced
MOST = 1 << 22  # numbers of the results, or of the arguments, that are pulled back at once

ndarray = np.ndarray
Array = np.ndarray[Any, Any]
_plans = Plans(256)


def rows(made_in: Trace | None, ys: Sequence[Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of every element of all results: for each of `xs` as many side by side.

    Parameters
    ----------
    made_in : Trace or None
        Where `ys` were computed from `xs`; None: on the tape.
    ys, xs : sequence of Tensor
        Integers among `ys` have zeros for gradients.
    """
    count = sum([y.size for y in ys])
    if not count:
        return [zeros.public(shape=(0, *x.shape), dtype=x.dtype.name) for x in xs]
    if count > 1 and (count > FEW or modes.current().trace is not None):
        many = max(FEW, MOST // max(count, sum([x.size for x in xs])))
        try:
            blocks = [_block(made_in, ys, xs, at, min(at + many, count)) for at in range(0, count, many)]
        except (NotImplementedError, TraceError):  # an op without a batching rule, a rule that looks at numbers
            pass
        else:
            return [concatenate.public([*c]) if len(c) > 1 else c[0] for c in zip(*blocks, strict=True)]
    parts = [_pulled(made_in, ys, xs, [unit[0] for unit in _units(ys, i, i + 1)]) for i in range(count)]
    return [stack.public(list(column)) for column in zip(*parts, strict=True)]


def _pulled(made_in: Trace | None, ys: Sequence[Tensor], xs: Sequence[Tensor], gs: Sequence[Any]) -> list[Tensor]:
    pairs = [(y, g) for y, g in zip(ys, gs, strict=True) if y.dtype.kind == "f"]
    return pull(made_in, [y for y, _ in pairs], xs, [g for _, g in pairs], retain=True)


def _units(ys: Sequence[Tensor], start: int, stop: int) -> list[Array]:
    """Of the unit cotangents of all outputs, numbered through, those from `start` to below `stop`, side by side."""
    units, first = [], 0
    for y in ys:
        size = y.size
        unit = np.eye(stop - start, size, start - first, y.dtype)
        units.append(unit.reshape(stop - start, *y.shape))
        first += size
    return units


def _block(
    made_in: Trace | None, ys: Sequence[Tensor], xs: Sequence[Tensor], start: int, stop: int
) -> Sequence[Tensor]:
    """The rows from `start` to below `stop`."""
    units = _units(ys, start, stop)
    mode = modes.current()
    if made_in is None and mode.plain:
        form = _Form(ys, xs)
        if form.known:
            return _planned(form, mode, ys, xs, [wrap(unit) for unit in units])

    def pulled(*cotangents: Any) -> list[Tensor]:
        return _pulled(made_in, ys, xs, cotangents)

    return vmap(pulled)(*units)  # type: ignore[no-any-return]


# plans --------------------------------------------------------------------------------------------------------------


class _Form:
    """What a backward pass follows from, and the arrays that it may read.

    Attributes
    ----------
    known : bool
        Whether the pass follows from `key`: no hook and no function of the user's takes part in it.
    key : tuple
    order : list
        All that lies on the tape behind the results, newest first.
    saved : list of (ndarray, place on the tape or None)
        What may be read, each once, in the order in which it is met.
    """

    __slots__ = ("key", "known", "numbers", "order", "saved")

    def __init__(self, ys: Sequence[Tensor], xs: Sequence[Tensor]) -> None:
        self.key: tuple[Any, ...] = ()
        self.saved: list[tuple[Array, Any]] = []
        self.numbers: dict[tuple[int, int], int] = {}
        self.order = order = reachable([y._node for y in ys if y._node is not None])
        place = {node: i for i, node in enumerate(order)}
        needed = leading_to(order, {x._node for x in xs})
        try:
            nodes = tuple([self._of(node, place) for node in order if node in needed])
        except _Unknown:
            self.known = False
            return
        self.known = True
        ends = tuple([(place.get(y._node), y.shape, y.dtype) for y in ys])
        self.key = (nodes, ends, tuple([place.get(x._node) for x in xs]))

    def _of(self, node: Any, place: dict[Any, int]) -> Any:
        """One place on the tape."""
        kind = type(node)
        if any_hooks() and getattr(node, "hooks", None):
            raise _Unknown
        if kind is Leaf:
            return place[node], node.shape, node.dtype
        if kind is Projection:
            return place[node], place[node.parents[0]], node.index
        if kind is not Node or node.saved is None or not is_ours(node.op):
            raise _Unknown
        op, parents = node.op, node.parents
        behind = tuple([tuple([place.get(p) for p in q]) if type(q) is tuple else place.get(q) for q in parents])
        saved: list[Any] = []
        for (group, k), item in zip(_layout(op), node.saved, strict=True):
            if type(item) is ndarray:
                at: Any = None
                if group == "input":
                    at = parents[k]
                elif group == "output" and item.dtype.kind == "f":
                    at = node if op.single else projection(node, k)
                saved.append(self._array(item, at))
            elif type(item) is list and group == "input":
                at = parents[k] or (None,) * len(item)
                saved.append(tuple([self._array(i, q) for i, q in zip(item, at, strict=True)]))
            else:
                saved.append(_literal(item))
        attrs = tuple([(name, _literal(value)) for name, value in node.attrs.items()]) if node.attrs else ()
        return place[node], id(op), behind, tuple(saved), attrs, node.shape, node.dtype

    def _array(self, value: Any, at: Any) -> Any:
        """An array of those saved by its number, the same for the same array in the same place, and by its type."""
        if type(value) is not ndarray:
            return _literal(value)
        name = id(value), id(at)
        number = self.numbers.get(name)
        if number is None:
            number = self.numbers[name] = len(self.saved)
            self.saved.append((value, at))
        return number, value.shape, value.dtype


class _Unknown(Exception):
    """What a backward pass does here is not known from the tape."""


def _literal(value: Any) -> Any:
    """A key of an attribute, or of what was saved besides arrays, by its type and its value."""
    kind = type(value)
    if kind is int or kind is bool or kind is str or value is None or value is Ellipsis:
        return kind, value
    if kind is float:
        return kind, value.hex()
    if kind is tuple or kind is list:
        return kind, tuple([_literal(item) for item in value])
    if kind is Aval:
        return value
    raise _Unknown


@functools.lru_cache(maxsize=4096)
def _layout(op: Op) -> tuple[tuple[str, int], ...]:
    """Of each value that a node of this op saves: whether it is an input or an output, and which."""
    groups = {"input": op.inputs, "output": op.outputs}
    found = [
        next(((group, names.index(name)) for group, names in groups.items() if name in names), ("other", 0))
        for name in op.calls["saves"]
    ]
    return tuple(found)


class _Plan:
    """A batched backward pass, and where on the tape each of its inputs comes from."""

    __slots__ = ("graph", "ops", "sources")

    def __init__(self, graph: Graph, sources: list[tuple[bool, int]], ops: list[Op]) -> None:
        self.graph = graph
        self.sources = sources  # the number of a cotangent, or of what was saved
        self.ops = ops  # kept, so that their ids stay taken


def _planned(
    form: _Form, mode: modes.Mode, ys: Sequence[Tensor], xs: Sequence[Tensor], units: list[Tensor]
) -> Sequence[Tensor]:
    # The plan:
    # 1. a pass over a tape of this form is known: it gets its inputs from this tape;
    # 2. else it is traced on one row and batched; each thing that it has read is looked for among what was saved;
    # 3. where all is found there, which is where nothing was computed from numbers outside the trace, it is kept.
    key = form.key, len(units[0]), mode.implementation, mode.quiet, default_dtype(), can_fuse()
    plan = _plans.get(key)
    reached = [x for x, at in zip(xs, form.key[2], strict=True) if at is not None]
    if plan is None:
        lanes = Lanes("pulled", len(units[0]))
        values = [lanes.argument(unit, 0, None) for unit in units]
        results = one_lane(lanes, lambda *gs: _pulled(None, ys, reached, gs), ([values, {}]), 0, "pulled")[0]
        graph = lanes.graph(results)
        axes = tuple([axis for _, axis in lanes.given])
        many = plan_of(graph, lanes.size, axes, [0] * len(results), False)
        inputs = [value for value, _ in lanes.given]
        sources = _sources(form, lanes, units)
        if sources is not None:
            _plans.put(key, _Plan(many, sources, [node.op for node in form.order if type(node) is Node]))
    else:
        many = plan.graph
        inputs = [units[i] if unit else _placed(*form.saved[i]) for unit, i in plan.sources]
    recorded = (
        mode.grad
        and any(type(node) is Leaf and wants(node) for node in form.order)
        and any(t._node is not None and wanted(t._node) for t in inputs)
    )
    gradients = iter(evaluate(many, inputs, [], recorded)[0])
    return [
        zeros.public(shape=(len(units[0]), *x.shape), dtype=x.dtype.name) if at is None else next(gradients)
        for x, at in zip(xs, form.key[2], strict=True)
    ]


def _sources(form: _Form, lanes: Lanes, units: list[Tensor]) -> list[tuple[bool, int]] | None:
    """Where each input of a trace comes from; None where one of them is from elsewhere, or numbers were looked at."""
    if lanes.looked or lanes.states:
        return None
    given = {id(unit): i for i, unit in enumerate(units)}
    sources = []
    for value, axis in lanes.given:
        unit = axis is not None
        i = given.get(id(value)) if unit else form.numbers.get((id(value._value), id(value._node)))
        if i is None:
            return None
        sources.append((unit, i))
    return sources


def _placed(value: Array, node: Any) -> Tensor:
    t = wrap(value)
    t._node = node
    return t

"""Steps of networks as graphs, traced as a user would write them, and which networks are sure to have the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.engine import modes, random
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tensor import Tensor, TraceError
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.chance import Generators
from tensorgraph.graph.graph import CellDecl, Graph
from tensorgraph.graph.trace import trace
from tensorgraph.jit.properties import cached_property
from tensorgraph.nn.module import INTERNAL
from tensorgraph.ops.shape import astype
from tensorgraph.train.running import in_mode, outputs_of
from tensorgraph.tune.ensembles.alike import shape_of
from tensorgraph.tune.ensembles.members import Member

__all__ = ["Traced", "Tracer", "evaluation_graph", "fingerprint"]


@dataclass(eq=False)
class Traced:
    """A graph of one network's step, and where its cells are found in a network.

    Attributes
    ----------
    graph : Graph
    places : tuple of ((str, str) or None)
        For each cell of the graph who holds it and its path there; None for one that belongs to neither.
    shape : tuple
        Equal for graphs that differ in their numbers alone.
    numbers : list of float or ndarray
        These numbers: of literals, then of constants.
    """

    graph: Graph
    places: tuple[tuple[str, str] | None, ...]
    shape: tuple[Any, ...]
    numbers: list[Any]

    def literals(self) -> list[float]:
        """The numbers that are literals."""
        return self.numbers[: len(self.numbers) - len(self.graph.consts)]

    def constants(self) -> list[Any]:
        """The numbers that are arrays."""
        return self.numbers[len(self.numbers) - len(self.graph.consts) :]

    def begins_as(self, forward: Traced) -> bool:
        """Whether a graph of the outputs and the loss alone is the beginning of this one, with the same numbers."""
        own, others = self.graph.equations, forward.graph.equations
        literals, constants = forward.literals(), list(forward.graph.consts.values())
        return (
            [eq.op for eq in others] == [eq.op for eq in own[: len(others)]]
            and literals == self.literals()[: len(literals)]
            and all(map(np.array_equal, constants, self.graph.consts.values()))
        )

    def with_numbers(self, forward: Traced) -> Traced:
        """The same graph with the numbers of another one's beginning."""
        literals, constants = forward.literals(), forward.constants()
        numbers = [
            *literals, *self.literals()[len(literals) :], *constants, *self.constants()[len(constants) :],
        ]  # fmt: skip
        return Traced(self.graph, self.places, self.shape, numbers)


# traces -------------------------------------------------------------------------------------------------------------


def training_graph(member: Member, rows: Aval, labels: Aval) -> Traced:
    """One training step on a batch of this type: gives the loss and the outputs, writes all that it changes.

    The learning rate is read from its cell: schedules run outside.
    """

    def step(x: Tensor, y: Tensor) -> Any:
        member.optimizer.zero_grad()
        value, output = _loss(member, x, y)
        value.backward()
        member.optimizer.step()
        return value, output

    layers = {f"{type(m).__name__}.{name}": own for m in member.model.modules() for name, own in vars(m).items()}
    generators = Generators(member.loss, layers)
    with in_mode(member.model, training=True), _without_schedules(member.optimizer):
        graph = _traced(member, trace, step, rows, labels)
    drawn = generators.drawn()
    if drawn:
        raise TraceError(
            f"the step of network {member.number} draws from {drawn[0]}, and the batched step would get the same "
            "numbers at every turn: draw from tensorgraph.random"
        )
    return graph


def forward_graph(member: Member, rows: Aval, labels: Aval) -> Traced:
    """The beginning of a training step, without gradients and the update."""
    with in_mode(member.model, training=True):
        return _traced(member, _trace_without_lines, lambda x, y: _loss(member, x, y), rows, labels)


def evaluation_graph(member: Member, rows: Aval) -> Traced:
    """The outputs at test time."""
    with in_mode(member.model, training=False), modes.no_grad():
        return _traced(member, _trace_without_lines, lambda x: outputs_of(member.model, x), rows)


def _loss(member: Member, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    output = outputs_of(member.model, x)
    # float targets in the dtype of the outputs; labels as they are
    fits = y.dtype.kind != "f" or y.dtype == output.dtype
    value = member.loss(output, y if fits else astype.public(y, dtype=output.dtype.name))
    if not isinstance(value, Tensor) or value.shape != ():
        came = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"the loss must be one number as a tensor, got {came}; take its mean: reduction='mean'")
    return value, output


def _trace_without_lines(function: Callable[..., Any], *avals: Aval) -> Graph:
    """As `trace`, in a third of the time: nothing says where it was written."""
    building = Trace()
    building.lines = False
    inputs = [building.input(aval, None) for aval in avals]
    building.known.update(t._value for t in inputs)
    grad = modes.current().grad
    with modes.use(trace=building, grad=grad, call=building.top, cells=None):
        result = function(*inputs)
        return building.finish(inputs, result, flatten([0] * len(inputs))[1], (), ())


def _traced(member: Member, tracing: Callable[..., Graph], function: Callable[..., Any], *avals: Aval) -> Traced:
    try:
        graph = tracing(function, *avals)
    except Exception as error:
        error.add_note(f"while the step of network {member.number} was traced, with {member.setting}")
        raise
    held = {id(cell): place for place, cell in member.cells.items()}
    places = []
    for decl, cell in zip(graph.cells, graph.provenance.cells(len(graph.cells)), strict=True):
        place = held.get(id(cell))
        if place is None:
            _refuse_outside(graph, decl, cell, member)
        places.append(place)
    return Traced(graph, tuple(places), *shape_of(graph))


def _refuse_outside(graph: Graph, decl: CellDecl, cell: Any, member: Member) -> None:
    """Raise where a network changes what all of them share."""
    if cell is random.state():
        raise ValueError(
            f"network {member.number} draws from the process-wide generator, which each would find where the one "
            "before left it: give layers a seed=, or let the network keep a random state of its own in a Buffer"
        )
    if any(write.cell is decl.var for write in graph.writes):
        raise ValueError(
            f"network {member.number} writes the cell {decl.path!r}, which is no part of its model: all would share it"
        )


class Tracer:
    """The training steps of networks: of those alike, but for numbers of their modules, one is traced whole."""

    def __init__(self) -> None:
        self.known: dict[Any, dict[int, Traced]] = {}
        # by what the optimiser does: networks that were traced whole, with the beginnings once somebody asks for them
        self.families: dict[Any, list[_Whole]] = {}

    def of(self, member: Member, types: Mapping[int, tuple[Aval, Aval]]) -> dict[int, Traced]:
        """The steps of a network, one for each size of its batches."""
        mark = fingerprint(member)
        if mark not in self.known:
            self.known[mark] = self._new(member, types)
        return self.known[mark]

    def _new(self, member: Member, types: Mapping[int, tuple[Aval, Aval]]) -> dict[int, Traced]:
        family = self.families.setdefault(fingerprint(member, numbers=False), [])
        if family:
            begins = {size: forward_graph(member, *pair) for size, pair in types.items()}
            for first in family:
                if first.begins_as(begins):
                    return {size: first.steps[size].with_numbers(begin) for size, begin in begins.items()}
        steps = {size: training_graph(member, *pair) for size, pair in types.items()}
        family.append(_Whole(member, types, steps))
        return steps


@dataclass(eq=False)
class _Whole:
    """A network whose steps were traced whole."""

    member: Member
    types: Mapping[int, tuple[Aval, Aval]]
    steps: dict[int, Traced]

    @cached_property
    def begins(self) -> dict[int, Traced]:
        return {size: forward_graph(self.member, *pair) for size, pair in self.types.items()}

    def begins_as(self, others: Mapping[int, Traced]) -> bool:
        """Whether these beginnings are of the same shape as its own, from which its steps go on."""
        return all(
            self.begins[size].shape == other.shape and self.steps[size].begins_as(self.begins[size])
            for size, other in others.items()
        )


@contextmanager
def _without_schedules(optimizer: Any) -> Iterator[None]:
    owners = [optimizer, *optimizer.groups]
    kept = [owner.schedule for owner in owners]
    try:
        for owner in owners:
            owner.schedule = None
        yield
    finally:
        for owner, schedule in zip(owners, kept, strict=True):
            owner.schedule = schedule


def fingerprint(member: Member, numbers: bool = True) -> tuple[Any, ...]:
    """Equal for networks whose steps are sure to be the same graph, so that one trace does for all of them.

    Without `numbers` those of modules, such as a dropout's rate, are left out, so that it is equal for networks whose
    optimisers are sure to do the same.
    """
    parts: list[Any] = [member.loss_key, member.batch_size]
    for path, module in member.model.named_modules():
        own = [(name, _said(value, numbers)) for name, value in vars(module).items() if name not in INTERNAL]
        hooks = vars(module).get("_hooks")
        parts.append((path, type(module), module.frozen, id(hooks) if hooks else None, tuple(own)))
    optimizer = member.optimizer
    parts += [type(optimizer), tuple(sorted(optimizer.attrs.items()))]
    parts += [(place, cell.aval, cell._node is not None) for place, cell in member.cells.items()]
    parts += [tuple(sorted(group.cells)) + tuple(slot.path for slot in group.slots) for group in optimizer.groups]
    return tuple(parts)


def _said(value: Any, numbers: bool) -> Any:
    """An attribute of a module as what it says; cells and modules are looked at by themselves, the rest is itself."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, (list, tuple)):
        return type(value), tuple(_said(item, numbers) for item in value)
    if isinstance(value, dict):
        return dict, tuple((key, _said(item, numbers)) for key, item in value.items())
    if type(value) is float and not numbers:
        return float
    if value is None or isinstance(value, (bool, int, float, str)):
        return type(value), repr(value)
    return Tensor if hasattr(value, "named_cells") else ("object", id(value))

"""Steps of networks as graphs, traced as a user would write them, and which networks are sure to have the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine import modes, random
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import CellDecl, Graph
from tensorgraph.graph.trace import trace
from tensorgraph.nn.module import INTERNAL
from tensorgraph.ops.shape import astype
from tensorgraph.train.running import in_mode, outputs_of
from tensorgraph.tune.alike import shape_of
from tensorgraph.tune.members import Member

__all__ = ["Traced", "evaluation_graph", "fingerprint", "training_graph"]


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


# traces -------------------------------------------------------------------------------------------------------------


def training_graph(member: Member, rows: Aval, labels: Aval) -> Traced:
    """One training step on a batch of this type: gives the loss and the outputs, writes all that it changes.

    The learning rate is read from its cell: schedules run outside.
    """
    model, optimizer = member.model, member.optimizer

    def step(x: Tensor, y: Tensor) -> Any:
        optimizer.zero_grad()
        output = outputs_of(model, x)
        value = member.loss(output, targets(y, output))
        if not isinstance(value, Tensor) or value.shape != ():
            came = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"the loss must be one number as a tensor, got {came}; take its mean: reduction='mean'")
        value.backward()
        optimizer.step()
        return value, output

    with in_mode(model, training=True), _without_schedules(optimizer):
        return _traced(member, step, rows, labels)


def evaluation_graph(member: Member, rows: Aval) -> Traced:
    """The outputs at test time."""
    with in_mode(member.model, training=False), modes.no_grad():
        return _traced(member, lambda x: outputs_of(member.model, x), rows)


def targets(y: Tensor, output: Tensor) -> Tensor:
    """Float targets in the dtype of the outputs; labels as they are."""
    return astype.public(y, dtype=output.dtype.name) if y.dtype.kind == "f" and y.dtype != output.dtype else y


def _traced(member: Member, function: Callable[..., Any], *avals: Aval) -> Traced:
    try:
        graph = trace(function, *avals)
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


def fingerprint(member: Member) -> tuple[Any, ...]:
    """Equal for networks whose steps are sure to be the same graph, so that one trace does for all of them."""
    parts: list[Any] = [member.loss_key, member.batch_size]
    for path, module in member.model.named_modules():
        own = [(name, _said(value)) for name, value in vars(module).items() if name not in INTERNAL]
        hooks = vars(module).get("_hooks")
        parts.append((path, type(module), module.frozen, id(hooks) if hooks else None, tuple(own)))
    optimizer = member.optimizer
    parts += [type(optimizer), tuple(sorted(optimizer.attrs.items()))]
    parts += [(place, cell.aval, cell._node is not None) for place, cell in member.cells.items()]
    parts += [tuple(sorted(group.cells)) + tuple(slot.path for slot in group.slots) for group in optimizer.groups]
    return tuple(parts)


def _said(value: Any) -> Any:
    """An attribute of a module as what it says; cells and modules are looked at by themselves, the rest is itself."""
    if isinstance(value, Tensor):
        return Tensor
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_said, value))
    if isinstance(value, dict):
        return dict, tuple((key, _said(item)) for key, item in value.items())
    if value is None or isinstance(value, (bool, int, float, str)):
        return type(value), repr(value)
    return Tensor if hasattr(value, "named_cells") else ("object", id(value))

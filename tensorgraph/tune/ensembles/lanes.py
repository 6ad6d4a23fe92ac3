"""Networks of one shape that are trained side by side: their numbers, stacked, and an epoch of steps.

`Lanes` holds so many networks as fit the caches of a processor core together; they know nothing of other networks, so
that several `Lanes` may run in threads of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgraph.data.loader import Loader
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Buffer, Cell
from tensorgraph.graph.graph import Graph
from tensorgraph.native import machine
from tensorgraph.tune.ensembles.alike import common
from tensorgraph.tune.ensembles.batched import batched_step, compiled_step
from tensorgraph.tune.ensembles.members import Member
from tensorgraph.tune.ensembles.rates import Rates
from tensorgraph.tune.ensembles.steps import Traced, Tracer

__all__ = ["Course", "Lanes", "Shape", "shapes"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Course:
    """What all networks of an ensemble are trained on, and how.

    Attributes
    ----------
    x, y : ndarray
        Samples and targets, as the loader gives them.
    shuffle, last
        As for `tensorgraph.train.fit`.
    prepare : callable or None
        ``prepare(rows, rng)`` gives the rows of a batch as the model takes them; None where they are so already.
    dtype : dtype
        Of the model's floats.
    keeps : bool
        Whether the outputs of an epoch are wanted.
    """

    x: Array
    y: Array
    shuffle: bool
    last: Any
    prepare: Callable[[Array, np.random.Generator], Array] | None
    dtype: np.dtype[Any]
    keeps: bool

    def loader(self, member: Member) -> Loader:
        """The batches of a network: which order, which sizes."""
        return Loader(
            self.x, self.y, batch_size=member.batch_size, shuffle=self.shuffle, seed=member.seed, last=self.last
        )

    def types(self, size: int) -> tuple[Aval, Aval]:
        """The types of a batch of so many samples."""
        kinds = [self.dtype if array.dtype.kind == "f" else array.dtype for array in (self.x, self.y)]
        return Aval((size, *self.x.shape[1:]), kinds[0]), Aval((size, *self.y.shape[1:]), kinds[1])


@dataclass(eq=False)
class Shape:
    """Networks whose steps are one graph.

    Attributes
    ----------
    members : list of Member
    graphs : dict of int to (Graph, list)
        For a batch of each size the graph that they share, and for each of its inputs beyond the batch what it is in
        each network.
    places : dict of str to (str, str) or None
        Where the cells of these graphs are found in a network.
    outside : dict of str to ndarray
        The cells that belong to none of them.
    """

    members: list[Member]
    graphs: dict[int, tuple[Graph, list[list[Array]]]]
    places: dict[str, tuple[str, str] | None]
    outside: dict[str, Array]

    def own(self) -> set[str]:
        """The cells that each network has for itself: all but settings of optimisers that are the same in all."""
        own = set()
        for graph, _ in self.graphs.values():
            written = {write.cell for write in graph.writes}
            for decl in graph.cells:
                place = self.places[decl.path]
                if place is None:
                    continue
                varies = place[0] == "model" or decl.var in written or place[1].endswith(".lr")  # a schedule may set it
                if varies or len({float(member.cells[place]) for member in self.members}) > 1:
                    own.add(decl.path)
        return own

    def bytes(self) -> int:
        """What a step of one network holds in memory, roughly."""
        graph, _ = max(self.graphs.values(), key=lambda pair: pair[0].outputs[1].aval.size)  # type: ignore[union-attr]
        made = [var.aval for eq in graph.equations for var in eq.outputs]
        return sum(aval.nbytes for aval in (*made, *[decl.aval for decl in graph.cells]))


def shapes(members: Sequence[Member], course: Course) -> list[Shape]:
    """The members by shape, in the order of each shape's first."""
    # The plan:
    # 1. members that are sure to have the same graphs share the trace of one of them;
    # 2. members whose graphs differ in numbers alone are of one shape;
    # 3. a shape has one graph for each size of its batches, with an input for each number that differs.
    tracer = Tracer()
    alike: dict[Any, list[tuple[Member, dict[int, Traced]]]] = {}
    for member in members:
        sizes = dict.fromkeys(course.loader(member).sizes(0))
        own = tracer.of(member, {size: course.types(size) for size in sizes})
        shape = tuple((size, t.shape) for size, t in own.items())
        alike.setdefault((member.batch_size, shape), []).append((member, own))
    return [_shape([member for member, _ in pairs], [own for _, own in pairs]) for pairs in alike.values()]


def _shape(members: list[Member], traced: list[dict[int, Traced]]) -> Shape:
    graphs: dict[int, tuple[Graph, list[list[Array]]]] = {}
    places: dict[str, tuple[str, str] | None] = {}
    outside: dict[str, Array] = {}
    for size, first in traced[0].items():
        distinct = list({id(own[size]): own[size] for own in traced}.values())
        place = {id(t): i for i, t in enumerate(distinct)}
        graph, numbers = common([(t.graph, t.numbers) for t in distinct])
        graphs[size] = graph, [[column[place[id(own[size])]] for own in traced] for column in numbers]
        places |= {decl.path: where for decl, where in zip(graph.cells, first.places, strict=True)}
        live = first.graph.provenance.cells(len(first.graph.cells))
        outside |= {
            decl.path: cell.numpy()
            for decl, where, cell in zip(first.graph.cells, first.places, live, strict=True)
            if where is None and cell is not None
        }
    return Shape(members, graphs, places, outside)


@dataclass
class Epoch:
    """What an epoch of some networks gave.

    Attributes
    ----------
    total, samples, steps : ndarray, shape (networks,)
        The sum of the losses of all samples, their number, and that of the updates made.
    rates : list of ndarray
        The learning rates, a step.
    outputs, targets : list of ndarray
        Of each step, where they are wanted: of shape (networks, samples, ...), targets without the first axis where
        all have the same.
    """

    total: Array
    samples: Array
    steps: Array
    rates: list[Array]
    outputs: list[Array]
    targets: list[Array]


class Lanes:
    """Some networks of one shape, side by side.

    Attributes
    ----------
    members : list of Member
    state : dict of str to Cell
        The cells of all of them by path, those that each has for itself along the first axis.
    ended : dict of int to dict
        The numbers of networks that are trained no more: what each had in its own cells.
    alive : ndarray of bool
        Which are still trained.
    reasons : list of str
        Why those that are not were stopped.
    steps : int
        Made so far.
    begun : ndarray of int
        The last epoch that each has begun.
    """

    def __init__(self, shape: Shape, lanes: Sequence[int], own: set[str], course: Course) -> None:
        self.course, self.own = course, own
        self.members = [shape.members[lane] for lane in lanes]
        self.places = shape.places
        self.paths = {place: path for path, place in shape.places.items()}
        self.graphs = {
            size: (graph, [[column[lane] for lane in lanes] for column in numbers])
            for size, (graph, numbers) in shape.graphs.items()
        }
        self.cells = [member.cells for member in self.members]
        self.state: dict[str, Cell] = {path: Buffer(value) for path, value in shape.outside.items()}
        for path, place in self.places.items():
            if place is not None:
                given = [held[place].numpy() for held in self.cells]
                self.state[path] = Buffer(np.stack(given) if path in own else given[0])
        self.ended: dict[int, dict[str, Array]] = {}
        self.alive = np.ones(len(lanes), np.bool_)
        self.reasons = [""] * len(lanes)
        self.steps = 0
        self.begun = np.zeros(len(lanes), np.int64)
        self.known: dict[Any, Any] = {}
        self.made: dict[int, Callable[[Sequence[Array], Array], list[Array]]] = {}  # by the size of a batch
        self.rates = Rates([member.optimizer for member in self.members])
        self.loaders = [course.loader(member) for member in self.members]
        seeds = {member.seed for member in self.members}
        # networks that go through the samples in one order share the rows of each batch
        self.shared = course.prepare is None and (len(seeds) == 1 or not course.shuffle)

    # an epoch ---------------------------------------------------------------------------------------------------

    def epoch(self, epoch: int, stop: Callable[[], bool] = lambda: False) -> Epoch:
        """One pass over the samples for every network that is alive; `stop` is asked after each step."""
        size = len(self.members)
        self.begun[self.alive] = epoch
        done = Epoch(np.zeros(size), np.zeros(size, np.int64), np.zeros(size, np.int64), [], [], [])
        orders = [loader.order(epoch) for loader in self.loaders[: 1 if self.shared else None]]
        order = orders[0] if self.shared else np.stack(orders)
        draws = self.members if self.course.prepare is not None else ()
        rngs = [np.random.default_rng([member.seed, epoch, 1]) for member in draws]
        start = 0
        with np.errstate(all="ignore"), modes.use(quiet=True):  # a network that diverges is told of by its reason
            for count in self.loaders[0].sizes(epoch):
                if not self.alive.any():
                    break
                x, y = self._batch(order[..., start : start + count], rngs)
                start += count
                self._step(x, y, count, epoch, done)
                if stop():
                    break
        return done

    def _batch(self, rows: Array, rngs: list[np.random.Generator]) -> tuple[Array, Array]:
        course = self.course
        x, y = np.take(course.x, rows, axis=0), np.take(course.y, rows, axis=0)
        if course.prepare is not None:
            x = np.stack([course.prepare(own, rng) for own, rng in zip(x, rngs, strict=True)])
        return x, y

    def _step(self, x: Array, y: Array, count: int, epoch: int, done: Epoch) -> None:
        step, numbers = self.made.get(count), self.graphs[count][1]
        if step is None:
            step = self.made[count] = self._prepared(count)
        for path, rates in self.rates.at(self.steps, epoch).items():
            if ("optimizer", path) in self.paths:
                cell = self.state[self.paths["optimizer", path]]
                cell._value = np.where(self.alive, rates, cell._value)  # those that were stopped keep what they had
        moves = self.alive.copy()
        loss, output = step([x, y, *[np.stack(column) for column in numbers]], moves)
        self.steps += 1
        for lane in np.flatnonzero(self.alive & ~moves):
            self.reasons[lane] = f"diverged at step {self.steps}: loss {float(loss[lane])}"
        self.alive &= moves
        done.total += np.where(moves, loss, 0.0).astype(np.float64) * count
        done.samples += np.where(moves, count, 0)
        done.steps += moves
        done.rates.append(self.rates.now)
        if self.course.keeps:
            done.outputs.append(output)
            done.targets.append(y)

    def _prepared(self, count: int) -> Callable[[Sequence[Array], Array], list[Array]]:
        """What makes a step of batches of so many samples, and is told which networks make it."""
        graph, numbers = self.graphs[count]
        axis = None if self.shared else 0
        size, dims = len(self.members), (axis, axis, *[0] * len(numbers))
        if modes.current().implementation == "fused" and machine.reason() is None:
            return compiled_step(graph, size, dims, self.own).on(self.state, self._put_aside)
        step = batched_step(graph, size, dims, self.own)
        return lambda inputs, moves: step.run(inputs, self.state, moves, self.known)

    def _put_aside(self, lanes: Array) -> None:
        """Keep the numbers of some networks as they are now."""
        for lane in np.flatnonzero(lanes).tolist():
            self.ended[lane] = {path: self.state[path]._value[lane].copy() for path in self.own}

    def stop(self, lane: int, reason: str) -> None:
        """Train a network no more."""
        self._put_aside(np.arange(len(self.alive)) == lane)
        self.alive[lane] = False
        self.reasons[lane] = reason

    def keep(self, lanes: Array) -> None:
        """Go on with these networks alone; all have the numbers that they came to."""
        self.commit()
        self.members = [self.members[lane] for lane in lanes]
        self.graphs = {
            size: (graph, [[column[lane] for lane in lanes] for column in numbers])
            for size, (graph, numbers) in self.graphs.items()
        }
        self.cells = [member.cells for member in self.members]
        for path in self.own:
            self.state[path] = Buffer(self.state[path]._value[lanes])
        self.ended = {}
        self.alive, self.begun = self.alive[lanes], self.begun[lanes]
        self.reasons = [self.reasons[lane] for lane in lanes]
        self.known, self.made = {}, {}
        self.rates = Rates([member.optimizer for member in self.members])
        self.loaders = [self.loaders[lane] for lane in lanes]

    def commit(self, model_only: bool = False) -> None:
        """Give every network its numbers, and its optimiser."""
        for path, place in self.places.items():
            if place is not None and path in self.own and not (model_only and place[0] == "optimizer"):
                for lane, (held, value) in enumerate(zip(self.cells, self.state[path]._value, strict=True)):
                    held[place].assign(self.ended[lane][path] if lane in self.ended else value)

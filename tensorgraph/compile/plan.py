"""The plan of a graph: what runs in which order, on whose memory, and when cells are written."""

# The stages: (1) `layouts`: a place for each variable; (2) `selection`: kernels or NumPy for each equation; (3) here:
# the order, in which what only feeds cells comes last, and after the last step that may fail; (4) here: values that
# may be written straight into a cell's memory; (5) `buffers`: one stretch of memory for all others. `laying` makes a
# tape of it.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tensorgraph.compile.buffers import Arena, Span, arena
from tensorgraph.compile.layouts import Layout
from tensorgraph.compile.regions import regions
from tensorgraph.compile.selection import Draft, RuleOf, Step, buffers_read, draft, own_rule
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Graph, Var, Write
from tensorgraph.jit.properties import cached_property
from tensorgraph.native.places import Buffer, Place
from tensorgraph.transforms.scan import scan_op

__all__ = ["Plan", "plan"]

LARGE = 1 << 14  # bytes from which an array is not copied: a copy of fewer takes less than a microsecond


@dataclass(eq=False)
class Plan:
    """How a graph runs.

    Attributes
    ----------
    graph : Graph
    layout : Layout
    steps : list of Step
        In order.
    final : int
        From this step on none can end the run: only there cells are written.
    donated : dict of Buffer to Buffer
        What is written straight into a cell's memory: the value's buffer, and the cell's.
    fresh : dict of Buffer to Var
        Large outputs that kernels compute: each run has new arrays for them, which are given away.
    handed : set of Buffer
        Large results of NumPy that kernels read where they are.
    arena : Arena
        All other values of kernels, and what they read of NumPy's.
    exact : bool
        Whether it has the same bits on all machines.
    begun : Draft
        What it began with.
    """

    graph: Graph
    layout: Layout
    steps: list[Step]
    final: int = 0
    donated: dict[Buffer, Buffer] = field(default_factory=dict)
    fresh: dict[Buffer, Var] = field(default_factory=dict)
    handed: set[Buffer] = field(default_factory=set)
    arena: Arena = field(default_factory=Arena)
    exact: bool = False
    begun: Draft | None = None

    def in_arena(self, var: Var) -> bool:
        """Whether a variable lies in the arena."""
        return self.layout.places[var].buffer in self.arena.offsets

    @cached_property
    def reasons(self) -> dict[Equation, Mapping[Var, str]]:
        """Why what an equation reads of other steps is not in its own."""
        return {eq: part.reasons for part in regions(self.graph) for eq in part.equations}

    @property
    def peak(self) -> int:
        """Bytes of the arena, the cells and the inputs."""
        given = [*self.graph.inputs, *(decl.var for decl in self.graph.cells)]
        return self.arena.size + sum(var.aval.nbytes for var in given)


def plan(
    graph: Graph, rule_of: RuleOf = own_rule, grouped: bool = True, *, apart: bool = False, exact: bool = False,
    drafted: Draft | None = None,
) -> Plan:  # fmt: skip
    """The plan of a graph whose gradients are written out.

    Parameters
    ----------
    graph : Graph
    rule_of : callable, optional
        Gives the rule of an equation, or None: by default the op's own.
    grouped : bool
        Whether kernels are generated of groups of equations.
    apart : bool
        Whether every value keeps memory of its own, so that all can be looked at after a run.
    exact : bool
        Whether kernels have the same bits on all machines, and are taken also where BLAS would be faster.
    drafted : Draft, optional
        Of this graph, or of one with the same equations and results whose cells are others.
    """
    begun = draft(graph, rule_of, grouped, exact) if drafted is None else drafted
    layout = begun.layout
    if begun.graph is not graph:
        layout.serve(graph)
    for step in begun.steps:
        if step.on_host and step.equations[0].op is scan_op and step.turn is None:
            step.turn = _turn(step.equations[0], rule_of, grouped, exact)
    steps = ordered(begun.steps, layout, graph)
    final = next((n for n in range(len(steps), 0, -1) if steps[n - 1].may_fail), 0)
    made = Plan(graph, layout, steps, final, exact=exact, begun=begun)
    if apart:
        made.arena = arena(Span(span.buffer, 0, 1) for span in spans(made))
        return made
    made.donated = donations(made)
    made.fresh, made.handed = given_away(made), taken(made)
    made.arena = arena(spans(made))
    return made


def _turn(eq: Equation, rule_of: RuleOf, grouped: bool, exact: bool) -> Plan | None:
    """How a turn of a loop runs; None where NumPy would do all of it."""
    made = plan(eq.attrs["body"].transform(), rule_of, grouped, exact=exact)
    return None if all(step.on_host and step.turn is None for step in made.steps) else made


def fills(place: Place) -> bool:
    """Whether a place is all of its buffer, in C order."""
    return place.offset == 0 and place.is_contiguous and place.nbytes == place.buffer.nbytes


def sources(layout: Layout, variables: Iterable[Var]) -> set[Var]:
    """Variables, and those of which they are views."""
    found: set[Var] = set()
    waiting = list(variables)
    while waiting:
        var = waiting.pop()
        if var not in found:
            found.add(var)
            if var in layout.views:
                waiting.extend(layout.views[var].variables())
    return found


def ordered(steps: list[Step], layout: Layout, graph: Graph) -> list[Step]:
    """The steps so that those which only feed cells come last, and of these the ones that may fail first.

    What reads Python numbers alone comes before all.
    """
    needed = sources(layout, (atom for atom in graph.outputs if type(atom) is Var))
    early: set[Step] = set()
    for step in reversed(steps):
        if not needed.isdisjoint(step.outputs) or not step.outputs:
            early.add(step)
            needed |= sources(layout, step.variables())
    before: set[Var] = set()  # what those need
    failing: set[Step] = set()
    for step in reversed(steps):
        if step not in early and (step.may_fail or not before.isdisjoint(step.outputs)):
            failing.add(step)
            before |= sources(layout, step.variables())

    def rank(step: Step) -> int:
        if all(map(is_number, step.variables())) and step.on_host:
            return 0  # numbers are computed with before kernels begin
        return 1 if step in early else 2 if step in failing else 3

    return sorted(steps, key=rank)


def donations(made: Plan) -> dict[Buffer, Buffer]:
    """The values that are computed in the memory of the cells that they are assigned to.

    That is right where the value is all of its buffer and no output, the step that computes it is one of the last, and
    nobody reads what the cell held after it, that step itself only if it replaces it element by element.
    """
    graph, layout, steps = made.graph, made.layout, made.steps
    maker = {layout.places[var].buffer: (n, var) for n, step in enumerate(steps) for var in step.outputs}
    last_read: dict[Buffer, int] = {}
    for n, step in enumerate(steps):
        last_read.update(dict.fromkeys(buffers_read(step, layout), n))
    outputs = {layout.places[atom].buffer for atom in graph.outputs if type(atom) is Var}
    counts = Counter(layout.places[write.value].buffer for write in graph.writes if type(write.value) is Var)
    found: dict[Buffer, Buffer] = {}
    for write in graph.writes:
        if type(write.value) is not Var:
            continue
        place, cell = layout.places[write.value], layout.places[write.cell]
        n, value = maker.get(place.buffer, (-1, write.value))  # of which the written one may be a view, as of all
        if n < made.final:
            continue
        if not fills(place) or (place.shape, place.dtype) != (cell.shape, cell.dtype) or place.size == 0:
            continue
        if place.buffer in outputs or counts[place.buffer] > 1:  # given away, or two cells take it
            continue
        read = last_read.get(cell.buffer, -1)
        if read < n or (read == n and cell.buffer in replaceable(steps[n], layout, value)):
            found[place.buffer] = cell.buffer
    return found


def replaceable(step: Step, layout: Layout, value: Var) -> list[Buffer]:
    """The buffers over which a step may write a value: it reads all of them once, element by element."""
    if (known := step.over.get(value)) is not None:
        return known
    found = step.over[value] = list[Buffer]()
    call, place = step.call, layout.places[value]
    if call is None or not call.replaces:
        return found
    read = Counter(buffers_read(step, layout))
    for output, number in call.replaces:
        given, target = call.inputs[number], call.outputs[output]
        if target is not place or not isinstance(given, Place) or not (fills(given) and fills(place)):
            continue
        if read[given.buffer] == 1 and (given.shape, given.dtype) == (place.shape, place.dtype):
            found.append(given.buffer)
    return found


def given_away(made: Plan) -> dict[Buffer, Var]:
    """The large outputs that kernels may write straight into arrays of the caller's: NumPy reads nothing of them."""
    layout = made.layout
    results = Counter(layout.places[var].buffer for var in made.graph.results())
    # an output may be a view of what a step gives: a gradient that is cut from its history, a shape at the end
    outputs = {layout.places[var].buffer: var for var in made.graph.outputs if type(var) is Var}
    on_numpy = {b for step in made.steps if step.on_host for b in buffers_read(step, layout)}
    found = {}
    for step in made.steps:
        for var in step.outputs:
            place = layout.places[var]
            given = outputs.get(place.buffer)
            if given is None or not (fills(place) and fills(layout.places[given])):
                continue
            alone = results[place.buffer] == 1 and place.buffer not in on_numpy
            if step.call is not None and alone and place.nbytes > LARGE:
                found[place.buffer] = given
    return found


def taken(made: Plan) -> set[Buffer]:
    """The large results of NumPy that kernels read."""
    given = [var for step in made.steps if step.on_host for var in step.outputs]
    large = [made.layout.places[var].buffer for var in given if var.aval.nbytes > LARGE and not is_number(var)]
    return kernels_read(made).intersection(large) if large else set()


def kernels_read(made: Plan) -> set[Buffer]:
    """The buffers that kernels read."""
    return set().union(*[buffers_read(step, made.layout) for step in made.steps if step.call is not None])


def spans(made: Plan) -> list[Span]:
    """When what lies in the arena is needed: what kernels compute, and what they read of NumPy's results."""
    layout, end = made.layout, len(made.steps)
    by_kernels = kernels_read(made)
    elsewhere = made.donated.keys() | made.fresh.keys() | made.handed
    found: dict[Buffer, Span] = {}
    for n, step in enumerate(made.steps):
        for buffer in found.keys() & buffers_read(step, layout):
            found[buffer].last = n
        for var in step.outputs:
            buffer = layout.places[var].buffer
            if buffer not in elsewhere and (step.call is not None or buffer in by_kernels):
                found[buffer] = Span(buffer, n, n, tuple(replaceable(step, layout, var)))
        if step.call is not None:
            for place in step.call.scratch_places:
                found[place.buffer] = Span(place.buffer, n, n)
    for var in made.graph.results():
        if (buffer := layout.places[var].buffer) in found:
            found[buffer].last = end
    for var in made.graph.inputs:
        if is_number(var) and (buffer := layout.places[var].buffer) in by_kernels:
            found[buffer] = Span(buffer, 0, end)
    return list(found.values())


def writes(made: Plan) -> list[Write]:
    """The writes that are left when the steps have run: not those that a step does, nor of what a cell holds anyway."""
    return [
        write for write in made.graph.writes
        if type(write.value) is not Var
        or (made.layout.places[write.value].buffer not in made.donated and write.value is not write.cell)
    ]  # fmt: skip

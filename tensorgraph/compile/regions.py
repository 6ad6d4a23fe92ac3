"""Which equations become one kernel, and why the others do not.

A region is a group of equations whose kernel is generated: elementwise ops over one shape, and the reductions that end
them. `regions` parts a graph's equations into groups, in an order in which they can run; most are single equations,
whose kernels are the affair of their ops' rules.
"""

# The plan: (1) each equation begins as a group of its own, with the shape over which its kernel would loop; (2) it
# joins the groups of what it reads, then groups join that read the same; (3) two groups never join where a third lies
# between, which is seen from bits: of each group's equations, and of all that it waits for; (4) why an edge is left
# is said of each input; (5) groups are put in an order.

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorgraph.compile.elements import Refusal
from tensorgraph.compile.generated import generate, require_generated
from tensorgraph.compile.renaming import Renaming
from tensorgraph.engine.aval import canonical_axes
from tensorgraph.engine.op import elementwise, reduction
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.native.places import Call, Rule

__all__ = ["MOST", "Region", "regions"]

MOST, MOST_READ = 48, 24
"""Equations of a generated kernel, and arrays that it reads: registers, and the time to compile it, are bounded."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Equations that run together.

    Attributes
    ----------
    equations : tuple of Equation
        In the graph's order.
    inputs : tuple of Var
        What the equations read of others, each once; Python numbers that are not known are among them.
    outputs : tuple of Var
        What is read outside: by later regions, as the graph's output, by a write.
    is_generated : bool
        Whether `call` makes a kernel of them. It is False of a single equation only: its op's own rule is asked.
    reasons : mapping of Var to str
        For each input that another equation computes, why that equation is not in this region.
    """

    equations: tuple[Equation, ...]
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    is_generated: bool = False
    reasons: Mapping[Var, str] = field(default_factory=dict)

    def renamed(self, names: Renaming) -> Region:
        """The same region of another graph; why its inputs are others' is not said."""
        equations = tuple([names.equations[eq] for eq in self.equations])
        return Region(equations, names.all(self.inputs), names.all(self.outputs), self.is_generated)

    def call(self, call: Call) -> bool:
        """Put the records of the region's kernel into a call.

        Parameters
        ----------
        call : Call
            ``inputs``: a `Place` for each of `inputs`, with any strides; a number's is 0-d, float64, int64 or bool.
            ``outputs``: a `Place` in C order for each of `outputs`.

        Returns
        -------
        bool
            False, and nothing is put there: not for these types or strides. Then the equations run one by one.
        """
        return self.is_generated and generate(self.equations, self.inputs, self.outputs, call)


class _Group:
    """Equations on the way to a region.

    Attributes
    ----------
    members, waits : int
        Bits: the numbers of its equations, and of equations that must have run before: one at least of each group.
    shape : tuple of int or None
        Over which its kernel loops; None where none is generated, for `reason`.
    axes : tuple of int or None
        Those that its reductions fold; None: it has none.
    """

    __slots__ = ("axes", "equations", "members", "reason", "shape", "waits")

    def __init__(self, number: int, eq: Equation) -> None:
        self.equations, self.members, self.waits = [number], 1 << number, 0
        self.axes: tuple[int, ...] | None = None
        self.shape: tuple[int, ...] | None = None
        self.reason = ""
        try:
            require_generated(eq)
        except Refusal as error:
            self.reason = str(error)
            return
        if eq.op.kind is reduction:
            (source,) = eq.variables()
            self.shape = source.aval.shape
            self.axes = canonical_axes(eq.attrs.get("axis"), len(self.shape))
        else:
            self.shape = eq.outputs[0].aval.shape


class _Grouping:
    """The groups of one graph."""

    def __init__(self, equations: Sequence[Equation]) -> None:
        self.equations = equations
        self.maker = {var: k for k, eq in enumerate(equations) for var in eq.outputs}
        self.readers: list[list[int]] = [[] for _ in equations]  # of what each equation gives
        for number, eq in enumerate(equations):
            for var in eq.variables():
                if var in self.maker:
                    self.readers[self.maker[var]].append(number)
        self.of: list[_Group] = []
        self.groups: set[_Group] = set()
        self.refused: dict[tuple[int, Var], str] = {}
        self.uses = Counter(var for eq in equations for var in eq.variables())
        for number, eq in enumerate(equations):
            group = _Group(number, eq)
            self.of.append(group)
            self.groups.add(group)
            for other in self._before(group):
                group.waits |= other.members | other.waits
            if group.shape is not None and not self._is_behind_an_end(eq):
                self._join_makers(number, eq)
        self._join_readers()

    def _before(self, group: _Group) -> list[_Group]:
        """The groups whose results a group reads."""
        makers = {self.maker.get(var, -1) for k in group.equations for var in self.equations[k].variables()}
        return list({self.of[k] for k in makers if k >= 0} - {group})

    def _is_behind_an_end(self, eq: Equation) -> bool:
        """Whether an equation compares what another kernel may make at its end, as a product its ReLU: in one kernel
        with that it would keep it from there, and who wants the truth, a gradient, can compare as well."""
        found = list(dict.fromkeys(eq.variables()))
        if not eq.op.among("comparison") or len(found) != 1:
            return False
        var, links = found[0], 0
        while (maker := self.maker.get(var)) is not None:
            made = self.equations[maker]
            rule = made.op.native_rule()
            if links and isinstance(rule, Rule) and rule.with_endings is not None:
                return True
            if made.op.kind is not elementwise or len(made.outputs) != 1:
                return False
            before = [v for v in made.variables() if v in self.maker and v.aval == var.aval and self.uses[v] == 1]
            if len(before) != 1:
                return False
            var, links = before[0], links + 1
        return False

    def _join_makers(self, number: int, eq: Equation) -> None:
        for var in dict.fromkeys(eq.variables()):
            maker = self.maker.get(var)
            if maker is not None and (reason := self._join(maker, number, var)):
                self.refused[number, var] = reason

    def _join_readers(self) -> None:
        """Join groups that read the same array in full, where neither waits for the other."""
        readers: dict[Var, list[int]] = {}
        for number, eq in enumerate(self.equations):
            shape = self.of[number].shape
            if shape is not None:
                for var in dict.fromkeys(eq.variables()):
                    if var.aval.shape == shape:
                        readers.setdefault(var, []).append(number)
        for numbers in readers.values():
            for other in numbers[1:]:
                self._join(numbers[0], other, None)

    def _join(self, first: int, second: int, var: Var | None) -> str:
        """Join the groups of two equations; why not, or nothing."""
        a, b = self.of[first], self.of[second]
        if a is b:
            return ""
        reason = self._against(a, b, var)
        if reason:
            return reason
        more = (b.waits & ~(a.members | a.waits)) | (a.waits & ~(b.members | b.waits))
        b.axes = a.axes if b.axes is None else b.axes
        b.equations = sorted({*a.equations, *b.equations})
        b.members |= a.members
        b.waits = (a.waits | b.waits) & ~b.members
        for number in a.equations:
            self.of[number] = b
        self.groups.discard(a)
        if more:  # else whoever waits for one of them, as a bit of its members says, waits for all that is new
            self._tell(b)
        return ""

    def _tell(self, joined: _Group) -> None:
        """Have all that read a group's results, and what these make, wait for all that it waits for."""
        known = joined.members | joined.waits
        waiting, there = [joined], len(self.of)
        while waiting:
            for number in waiting.pop().equations:
                for reader in self.readers[number]:
                    group = self.of[reader] if reader < there else joined
                    if group is not joined and group.waits & known != known:
                        group.waits |= known
                        waiting.append(group)

    def _against(self, a: _Group, b: _Group, var: Var | None) -> str:
        if a.shape is None:
            return a.reason
        if self._reads_fold(b, a):
            return "all of a reduction comes before any of its readers"
        if a.shape != b.shape:
            return f"it is of shape {a.shape}, and what reads it of shape {b.shape}"
        if a.axes is not None and b.axes is not None and a.axes != b.axes:
            return "reductions over other axes are in its kernel"
        if len(a.equations) + len(b.equations) > MOST:
            return f"a kernel is made of at most {MOST} equations"
        if len(self._reads(a) | self._reads(b)) > MOST_READ + len(a.equations) + len(b.equations):
            return f"a kernel reads at most {MOST_READ} arrays"
        if any(other.waits & a.members for other in self._before(b) if other is not a):
            return "something else comes between that needs it first"
        if any(other.waits & b.members for other in self._before(a) if other is not b):
            return "something else comes between that is needed first"
        if var is None and (a.waits & b.members or b.waits & a.members):
            return "one of them waits for the other"
        return ""

    def _reads(self, group: _Group) -> set[Var]:
        return {var for k in group.equations for var in self.equations[k].variables()}

    def _reads_fold(self, group: _Group, of: _Group) -> bool:
        """Whether a group reads what a reduction in another gives."""
        made = (self.maker.get(var, -1) for k in group.equations for var in self.equations[k].variables())
        return any(k >= 0 and self.of[k] is of and self.equations[k].op.kind is reduction for k in made)

    def reasons(self, group: _Group) -> dict[Var, str]:
        """For each input that another group makes, why that is not in this one."""
        found: dict[Var, str] = {}
        for number in group.equations:
            for var in self.equations[number].variables():
                maker = self.maker.get(var)
                if maker is not None and self.of[maker] is not group and var not in found:
                    found[var] = group.reason or self.refused.get((number, var)) or self.of[maker].reason
        return found

    def ordered(self) -> list[_Group]:
        """The groups in an order in which they can run, near that of the graph."""
        waiting: dict[_Group, int] = {}
        after: dict[_Group, list[_Group]] = {}
        for group in self.groups:
            before = self._before(group)
            waiting[group] = len(before)
            for other in before:
                after.setdefault(other, []).append(group)
        ready = [group.equations[0] for group, count in waiting.items() if not count]
        heapq.heapify(ready)
        made = []
        while ready:
            made.append(self.of[heapq.heappop(ready)])
            for group in after.get(made[-1], ()):
                waiting[group] -= 1
                if not waiting[group]:
                    heapq.heappush(ready, group.equations[0])
        return made


def regions(graph: Graph, told: bool = True) -> list[Region]:
    """The graph's equations in groups, in an order in which they can run: each group reads what came before it.

    Of sizes it is only asked which shapes are equal. `told`: whether reasons are found.
    """
    equations = graph.equations
    grouping = _Grouping(equations)
    read: dict[Var, set[int]] = {}
    for number, eq in enumerate(equations):
        for var in eq.variables():
            read.setdefault(var, set()).add(number)
    results = {atom for atom in (*graph.outputs, *(write.value for write in graph.writes)) if isinstance(atom, Var)}
    made = []
    for group in grouping.ordered():
        own = [equations[k] for k in group.equations]
        inside = {var for eq in own for var in eq.outputs}
        members = set(group.equations)
        inputs = tuple(dict.fromkeys(var for eq in own for var in eq.variables() if var not in inside))
        outputs = tuple(
            var for eq in own for var in eq.outputs if var in results or read.get(var, set()) - members
        )  # fmt: skip
        generated = group.shape is not None
        reasons = grouping.reasons(group) if told else {}
        made.append(Region(tuple(own), inputs, outputs, generated, reasons))
    return made

"""Which equations run as kernels, and which are left to NumPy: each region and each op's rule is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tensorgraph.compile.alike import Alike, key_of_equations, places_in
from tensorgraph.compile.elements import Refusal
from tensorgraph.compile.endings import ended, with_endings
from tensorgraph.compile.generated import require_generated
from tensorgraph.compile.layouts import Layout
from tensorgraph.compile.regions import Region, regions
from tensorgraph.compile.renaming import Renaming, renaming
from tensorgraph.engine.op import elementwise, reduction
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.native.places import Address, Buffer, Call, Rule

__all__ = ["Draft", "RuleOf", "Step", "buffers_read", "draft", "no_rule", "own_rule"]

RuleOf = Callable[[Equation], Callable[[Call], bool] | None]
"""Gives the rule that makes kernels of an equation, or None."""


@dataclass(slots=True, eq=False)
class Step:
    """What runs in one go: a kernel's records, or a function of NumPy's.

    Attributes
    ----------
    equations : tuple of Equation
        One, or a region's.
    outputs : tuple of Var
        What it gives that is read elsewhere.
    call : Call or None
        None where NumPy runs it.
    why : str
        Why NumPy does.
    turn : Plan or None
        Of a loop, whose turns NumPy goes through: how each of them runs.
    may_fail : bool
        Whether it can end a run when it is reached. A kernel's checks of arguments and cells alone can be made before.
    reads : list of Buffer or None
        What `buffers_read` has found.
    over : dict of Var to list of Buffer
        What `replaceable` has found.
    """

    equations: tuple[Equation, ...]
    outputs: tuple[Var, ...]
    call: Call | None = None
    why: str = ""
    may_fail: bool = True
    turn: Any = None
    reads: list[Buffer] | None = None
    over: dict[Var, list[Buffer]] = field(default_factory=dict)

    @property
    def on_host(self) -> bool:
        return self.call is None

    def variables(self) -> Iterator[Var]:
        """What it reads of others; what is read twice comes twice."""
        own = {var for eq in self.equations for var in eq.outputs}
        for eq in self.equations:
            for var in eq.variables():
                if var not in own:
                    yield var


def own_rule(eq: Equation) -> Callable[[Call], bool] | None:
    """The rule that the op's declaration names."""
    return eq.op.native_rule()


def no_rule(eq: Equation) -> None:
    """Of no equation a kernel is made."""


class Groups(NamedTuple):
    """Which equations may be one step: a matter of which shapes are equal, whatever the sizes.

    Attributes
    ----------
    parts : list of Region
    ends : dict of Region to Equation
        The regions that may be the ends of other equations' kernels, and these.
    """

    parts: list[Region]
    ends: dict[Region, Equation]

    def renamed(self, names: Renaming) -> Groups:
        """Those of another graph."""
        parts = {part: part.renamed(names) for part in self.parts}
        return Groups([*parts.values()], {parts[part]: names.equations[eq] for part, eq in self.ends.items()})


class Draft(NamedTuple):
    """What a plan begins with, which is the same where results are cells that are written: kernels and places.

    Attributes
    ----------
    graph : Graph
        Its gradients are written out.
    layout : Layout
        Where its values lie.
    groups : Groups
    steps : list of Step
        Its equations, in an order that can run: those that compute something of something.
    """

    graph: Graph
    layout: Layout
    groups: Groups
    steps: list[Step]


def draft(
    graph: Graph, rule_of: RuleOf = own_rule, grouped: bool = True, exact: bool = False, earlier: Iterable[Draft] = ()
) -> Draft:
    """The beginning of a graph's plan; what is the same in an `earlier` one, of another size, is taken from there."""
    for known in earlier:
        names = renaming(known.graph, graph)
        if names is not None:
            layout, groups = Layout(graph, known.layout), known.groups.renamed(names)
            steps = Selection(graph, layout, rule_of, exact, known).steps(groups)
            layout.keys.forget()
            return Draft(graph, layout, groups, steps)
    layout = Layout(graph)
    parts = regions(graph, told=False) if grouped else [_alone(eq) for eq in graph.equations]
    groups = Groups(parts, ended(graph, parts, rule_of) if grouped else {})
    return Draft(graph, layout, groups, Selection(graph, layout, rule_of, exact).steps(groups))


class Selection:
    """Asks the rules of one graph; those that are asked the same as before, or as in an earlier draft, only once."""

    def __init__(
        self, graph: Graph, layout: Layout, rule_of: RuleOf, exact: bool, earlier: Draft | None = None
    ) -> None:  # fmt: skip
        self.layout, self.rule_of, self.exact = layout, rule_of, exact
        self.read = set(graph.results())
        for eq in graph.equations:
            self.read.update(eq.variables())
        self.alike = Alike(layout.keys)
        self.same: dict[Equation, Step] = {}  # by the first equation: the earlier steps that are the same here
        if earlier is not None:
            is_same, own = layout.is_as_in(earlier.layout), layout.equations
            for step in earlier.steps:
                if own.issuperset(step.equations) and all(map(is_same, [*step.variables(), *step.outputs])):
                    self.same[step.equations[0]] = step

    def steps(self, groups: Groups) -> list[Step]:
        """The steps of the groups."""
        longer = self._longer(groups.ends)
        within = {step.equations[0] for step in longer.values()}
        steps: list[Step] = []
        for region in groups.parts:
            if region.equations[0] in within:
                continue
            step = longer.get(region) or (self._of_region(region) if region.is_generated else None)
            if step is not None:
                steps.append(step)
                continue
            for eq in region.equations:
                if eq.outputs and (eq.outputs[0] in self.layout.views or eq.outputs[0] in self.layout.folded):
                    continue
                steps.append(self._of_equation(eq))
        return steps

    def _known(self, equations: tuple[Equation, ...]) -> Step | None:
        step = self.same.get(equations[0])
        return step if step is not None and step.equations == equations else None

    def _longer(self, ends: dict[Region, Equation]) -> dict[Region, Step]:
        """The regions that are the ends of other equations' kernels, with these as one step."""
        made: dict[Region, Step] = {}
        for part, maker in ends.items():
            equations = (maker, *part.equations)
            if (step := self._known(equations)) is not None:
                made[part] = step
                continue
            rule = self.rule_of(maker)
            assert isinstance(rule, Rule)
            call = with_endings(maker, part, self.layout, rule, self.alike)
            if call is not None and not self._elsewhere(rule, call):
                made[part] = Step(equations, part.outputs, call, "", fails(call, self.layout))
        return made

    def _of_region(self, region: Region) -> Step | None:
        """A region as one step; None where no kernel is made of it."""
        if (step := self._known(region.equations)) is not None and step.outputs == region.outputs:
            return step
        layout = self.layout
        if any(var in layout.views or var in layout.folded for var in region.outputs):
            return None
        inputs, outputs = ([layout.places[var] for var in some] for some in (region.inputs, region.outputs))
        call = Call(tuple(inputs), tuple(outputs), {})
        what = key_of_equations(region.equations, region.inputs, region.outputs, layout.keys)
        if not self.alike.put(call, what, region.call):
            return None
        return Step(region.equations, region.outputs, call, "", fails(call, layout))

    def _of_equation(self, eq: Equation) -> Step:
        layout, read = self.layout, self.read
        outputs = tuple(var for var in eq.outputs if var in read)
        if (step := self._known((eq,))) is not None and step.outputs == outputs:
            return step
        why = ""
        if not outputs:
            why = "nobody reads what it gives; it may refuse what it gets"
        elif eq.of_numbers:
            why = "computes with Python numbers"
        else:
            rule = self.rule_of(eq)
            if rule is None:
                why = eq.op.on_numpy or _not_generated(eq) or f"no kernel is written for {eq.op.name}"
            else:
                missing = 0 if eq.op.signature.variadic or eq.residuals else len(eq.op.residuals)
                places = [layout.places[var] if var in read else None for var in eq.outputs]
                call = Call(layout.operands(eq), (*places, *[None] * missing), eq.attrs)
                why = self._elsewhere(rule, call)
                if why:
                    return Step((eq,), outputs, None, why)
                if self.alike.put(call, rule, rule):
                    return Step((eq,), outputs, call, "", fails(call, layout))
                why = f"the kernel of {eq.op.name} is not for {', '.join(_type(a) for a in eq.variables())}"
                if eq.attrs:
                    why += f" with {', '.join(f'{k}={v!r}' for k, v in eq.attrs.items())}"
        return Step((eq,), outputs, None, why)

    def _elsewhere(self, rule: Any, call: Call) -> str:
        """Why NumPy is better for a call, where that matters; see `Rule`."""
        ask = rule.better_elsewhere if isinstance(rule, Rule) and not self.exact else None
        return "" if ask is None else ask(call)


def _alone(eq: Equation) -> Region:
    return Region((eq,), (), ())


def _not_generated(eq: Equation) -> str:
    """Why no kernel is generated of an elementwise equation or a reduction; nothing for others."""
    if eq.op.kind not in (elementwise, reduction):
        return ""
    try:
        require_generated(eq)
    except Refusal as error:
        return str(error)
    return ""


def _type(var: Var) -> str:
    return str(var.aval)


def buffers_read(step: Step, layout: Layout) -> list[Buffer]:
    """The buffers that a step reads, one that is read twice twice."""
    if step.reads is None:
        if step.call is None:
            step.reads = [layout.places[var].buffer for var in step.variables()]
        else:
            step.reads = [place.buffer for place in places_in(step.call.inputs)]
    return step.reads


def fails(call: Call, layout: Layout) -> bool:
    """Whether a call checks anything that is computed, which cannot be done before."""
    return any(
        isinstance(word, Address)
        and word.buffer is not check.code.buffer
        and not any(word.buffer in known for known in (layout.inputs, layout.cells, layout.constants))
        for check in call.checks
        for word in check.record.words
    )

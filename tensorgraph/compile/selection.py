"""Which equations run as kernels, and which are left to NumPy: each region and each op's rule is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.compile.endings import ended, with_endings
from tensorgraph.compile.layouts import Layout
from tensorgraph.compile.regions import Region, regions
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.native.places import Address, Buffer, Call, Place, Rule

__all__ = ["RuleOf", "Step", "buffers_read", "places_in", "selected"]

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
    may_fail : bool
        Whether it can end a run when it is reached. A kernel's checks of arguments and cells alone can be made before.
    reasons : dict of Var to str
        For what it reads of other steps, why these are others.
    reads : list of Buffer or None
        What `buffers_read` has found.
    """

    equations: tuple[Equation, ...]
    outputs: tuple[Var, ...]
    call: Call | None = None
    why: str = ""
    may_fail: bool = True
    reasons: dict[Var, str] = field(default_factory=dict)
    reads: list[Buffer] | None = None

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


def selected(
    graph: Graph, layout: Layout, rule_of: RuleOf = own_rule, grouped: bool = True, exact: bool = False
) -> list[Step]:
    """The graph's equations as steps, in an order that can run: those that compute something of something."""
    read = set(graph.results())
    for eq in graph.equations:
        read.update(eq.variables())
    steps: list[Step] = []
    parts = regions(graph) if grouped else [_alone(eq) for eq in graph.equations]
    longer = _longer(graph, layout, rule_of, parts, exact) if grouped else {}
    within = {step.equations[0] for step in longer.values()}
    for region in parts:
        if region.equations[0] in within:
            continue
        step = longer.get(region) or (_of_region(region, layout) if region.is_generated else None)
        if step is not None:
            steps.append(step)
            continue
        for eq in region.equations:
            if eq.outputs and (eq.outputs[0] in layout.views or eq.outputs[0] in layout.folded):
                continue
            steps.append(_of_equation(eq, layout, rule_of, read, exact))
    reasons = {eq: part.reasons for part in parts for eq in part.equations}
    for step in steps:
        step.reasons = {var: why for eq in step.equations for var, why in reasons[eq].items()}
    return steps


def _longer(graph: Graph, layout: Layout, rule_of: RuleOf, parts: list[Region], exact: bool) -> dict[Region, Step]:
    """The regions that are the ends of other equations' kernels, with these as one step."""
    made: dict[Region, Step] = {}
    for part, maker in ended(graph, parts, rule_of).items():
        rule = rule_of(maker)
        assert isinstance(rule, Rule)
        call = with_endings(maker, part, layout, rule)
        if call is not None and not _elsewhere(rule, call, exact):
            made[part] = Step((maker, *part.equations), part.outputs, call, "", fails(call, layout))
    return made


def _alone(eq: Equation) -> Region:
    return Region((eq,), (), ())


def _of_region(region: Region, layout: Layout) -> Step | None:
    """A region as one step; None where no kernel is made of it."""
    if any(var in layout.views or var in layout.folded for var in region.outputs):
        return None
    inputs, outputs = ([layout.places[var] for var in some] for some in (region.inputs, region.outputs))
    call = Call(tuple(inputs), tuple(outputs), {})
    return Step(region.equations, region.outputs, call, "", fails(call, layout)) if region.call(call) else None


def _of_equation(eq: Equation, layout: Layout, rule_of: RuleOf, read: set[Var], exact: bool) -> Step:
    outputs = tuple(var for var in eq.outputs if var in read)
    why = ""
    if not outputs:
        why = "nobody reads what it gives; it may refuse what it gets"
    elif eq.of_numbers:
        why = "computes with Python numbers"
    else:
        rule = rule_of(eq)
        if rule is None:
            why = f"no kernel is written for {eq.op.name}"
        else:
            missing = 0 if eq.op.signature.variadic or eq.residuals else len(eq.op.residuals)
            places = [layout.places[var] if var in read else None for var in eq.outputs]
            call = Call(layout.operands(eq), (*places, *[None] * missing), eq.attrs)
            why = _elsewhere(rule, call, exact)
            if why:
                return Step((eq,), outputs, None, why)
            if rule(call):
                return Step((eq,), outputs, call, "", fails(call, layout))
            why = f"the kernel of {eq.op.name} is not for {', '.join(_type(a) for a in eq.variables())}"
            if eq.attrs:
                why += f" with {', '.join(f'{k}={v!r}' for k, v in eq.attrs.items())}"
    return Step((eq,), outputs, None, why)


def _elsewhere(rule: Any, call: Call, exact: bool) -> str:
    """Why NumPy is better for a call, where that matters; see `Rule`."""
    ask = rule.better_elsewhere if isinstance(rule, Rule) and not exact else None
    return "" if ask is None else ask(call)


def _type(var: Var) -> str:
    return str(var.aval)


def places_in(operands: Sequence[Any]) -> Iterator[Place]:
    """The places among a call's inputs, those of lists too."""
    for one in operands:
        if isinstance(one, list):
            yield from places_in(one)
        elif isinstance(one, Place):
            yield one


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

"""Kernels that do at their end what the next equations do: a product that adds a bias, and cuts at 0, or a product that
is a gradient, and makes the optimiser's step with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from tensorgraph.compile.alike import Alike
from tensorgraph.compile.layouts import Layout
from tensorgraph.compile.regions import Region
from tensorgraph.graph.forms import has_weak_numbers
from tensorgraph.graph.graph import Equation, Graph
from tensorgraph.native.places import Call, Rule, Successor

__all__ = ["ended", "with_endings"]

RuleOf = Callable[[Equation], Any]


def ended(graph: Graph, parts: Sequence[Region], rule_of: RuleOf) -> dict[Region, Equation]:
    """For each region that may be the end of another equation's kernel, that equation.

    The region is a chain of equations, of which each reads the one before, all of one type, and what it goes on from
    is read by nobody else; the equation's rule says that it takes endings. The last one may give several results.
    """
    uses = Counter(var for eq in graph.equations for var in eq.variables())
    uses.update(graph.results())
    makers = {part.equations[0].outputs[0]: part.equations[0] for part in parts if len(part.equations) == 1}
    found: dict[Region, Equation] = {}
    for part in parts:
        chain = part.equations
        if any(eq.of_numbers or not eq.outputs for eq in chain) or any(len(eq.outputs) != 1 for eq in chain[:-1]):
            continue
        if len(chain) > 1 and part.outputs != chain[-1].outputs:
            continue
        links = pairwise(chain)
        if any(uses[one.outputs[0]] != 1 or one.outputs[0] not in set(other.variables()) for one, other in links):
            continue
        for var in chain[0].variables():
            maker = makers.get(var)
            if maker is None or uses[var] != 1 or len(maker.outputs) != 1:
                continue
            if all(eq.outputs[0].aval == var.aval for eq in chain) and _takes(rule_of(maker)):
                found[part] = maker
                break
    return found


def _takes(rule: Any) -> bool:
    return isinstance(rule, Rule) and rule.with_endings is not None


def with_endings(maker: Equation, part: Region, layout: Layout, rule: Rule, alike: Alike) -> Call | None:
    """One call for an equation and what follows it; None where the rule does not do that."""
    value, endings, more = maker.outputs[0], [], list[Any]()
    for eq in part.equations:
        weak = has_weak_numbers(eq)
        operands = tuple(None if atom is value else layout.operand(atom, weak) for atom in eq.inputs)
        endings.append(Successor(eq.op, operands, eq.attrs))
        more += [one for one in operands if one is not None]
        value = eq.outputs[0]
    outputs = tuple(layout.places[var] if var in part.outputs else None for var in part.equations[-1].outputs)
    call = Call((*layout.operands(maker), *more), outputs, maker.attrs)
    take = rule.with_endings
    assert take is not None
    what = [(e.op, alike.keys.of(e.attrs), tuple(one is None for one in e.operands)) for e in endings]
    return call if alike.put(call, (rule, tuple(what)), lambda call: take(call, endings)) else None

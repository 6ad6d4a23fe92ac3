"""The derivative rules of ops, shown as formulas: run on variables that are named as the declaration names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorgraph.analysis.formulas import Formula, formula_text
from tensorgraph.analysis.latex import formula_latex, symbol
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.passes.symbolic import Symbolic

__all__ = ["Rules"]

LARGEST = 16  # ops in a rule that is shown


class Rules:
    """The derivative rules of ops as their declarations have them: run on variables named as the declaration does."""

    def __init__(self) -> None:
        self.known: dict[Any, dict[str, tuple[str, str]]] = {}

    def of(self, eq: Equation) -> dict[str, tuple[str, str]]:
        """By input: the rule as text and as LaTeX; none for one too large to be read."""
        avals = tuple(tuple(map(_aval, a)) if isinstance(a, tuple) else _aval(a) for a in eq.inputs)
        key = (eq.op.name, repr(avals), repr(sorted(eq.attrs.items())))
        if key not in self.known:
            found = {} if "higher order" in eq.op.traits else _rules_of(eq)
            self.known[key] = found | {name: said for name, said in eq.op.teaches.items() if name in found}
        return self.known[key]


def _aval(atom: Any) -> Any:
    return atom.aval if isinstance(atom, Var) else atom


def _rules_of(eq: Equation) -> dict[str, tuple[str, str]]:
    # The plan:
    # 1. the equation alone, on variables that are called as the declaration calls its inputs and outputs;
    # 2. a trace that takes gradients at once runs its rules on them;
    # 3. each equation that the rules made becomes a formula of those before it, unless it grows too large;
    # 4. what arrives at an input is its rule, as text and as LaTeX, where it can be read.
    op = eq.op
    called: dict[Var, str] = {}

    def stand_in(atom: Any, name: str) -> Any:
        if isinstance(atom, tuple):
            return tuple(stand_in(a, f"{name}_{k}") for k, a in enumerate(atom, 1))
        if not isinstance(atom, Var):
            return atom
        var = Var(atom.aval, name)
        called[var] = name
        return var

    atoms = tuple(stand_in(atom, name) for name, atom in zip(op.inputs, eq.inputs, strict=True))
    inputs = tuple(called)
    outputs = tuple(Var(out.aval) for out in eq.outputs[: len(eq.outputs) - len(eq.residuals)])
    named = op.outputs if len(outputs) == len(op.outputs) else [f"{op.outputs[0]}_{k}" for k in range(len(outputs))]
    called.update(zip(outputs, named, strict=True))
    floats = [out for out in outputs if out.aval.dtype.kind == "f"]
    gs = [Var(out.aval) for out in floats]
    called.update((g, "g" if op.single else f"g_{called[out]}") for g, out in zip(gs, floats, strict=True))
    alone = Equation(op, atoms, eq.attrs, outputs)
    tree = flatten([0] * len(inputs))[1]
    building = Symbolic(Graph(inputs, (), {}, (alone,), (), (), tree, flatten([])[1]))
    with building.running():
        building.known.update(gs)
        xs = [var for var in inputs if var.aval.dtype.kind == "f"]
        for x in xs:
            building.leaf(x)
        made_here = building.apply(op, atoms, dict(eq.attrs), [out.aval for out in outputs])
        here = dict(zip(outputs, made_here, strict=True))
        building.defer(tuple(here[out] for out in floats), tuple(xs), tuple(gs), True)
    called.update((own, called[out]) for out, own in here.items())
    if made_here:
        called.update(zip(building.producer[made_here[0]].residuals, op.residuals, strict=False))
    formulas: dict[Var, Any] = {}
    for made in building.equations[1:]:
        for position, out in enumerate(made.outputs):
            formula = Formula.of(made, lambda var: formulas.get(var, var), position)
            formulas[out] = formula if formula.size <= LARGEST else out
    result: dict[str, tuple[str, str]] = {}
    for note in building.notes:
        formula = formulas.get(note.given, note.given)
        unreadable = isinstance(formula, Var) and formula not in called
        if note.name in ("seed", "zero") or note.name in result or unreadable or not _readable(formula, called):
            continue
        result[note.name] = (
            formula_text(formula, called.__getitem__),
            formula_latex(formula, lambda v: symbol(called[v])),
        )
    return result


def _readable(formula: Any, called: Mapping[Var, str]) -> bool:
    """Whether nothing in it was too large to be written out."""
    if isinstance(formula, Formula):
        return all(_readable(part, called) for part in formula.parts())
    return not isinstance(formula, Var) or formula in called

"""How a gradient is computed, step by step: for teaching."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tensorgraph.analysis.derivative_rules import Rules
from tensorgraph.analysis.describe import printable
from tensorgraph.analysis.formulas import Formula, Names, formula_text
from tensorgraph.analysis.latex import formula_latex, symbol, words
from tensorgraph.arguments import checked
from tensorgraph.engine.spec import require_sizes
from tensorgraph.graph.graph import Equation, Graph, Source, Var
from tensorgraph.graph.keywords import refuse_strangers
from tensorgraph.graph.trace import trace
from tensorgraph.ops.structure import alias
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.passes.differentiate import write_out
from tensorgraph.passes.gradient import grad
from tensorgraph.passes.symbolic import Note
from tensorgraph.text.names import names

__all__ = ["GradientExplanation", "Line", "Step", "explain_gradient"]

LARGEST = 8  # ops in a formula; what is larger is written in several lines


@dataclass(frozen=True)
class Line:
    """One equation of the backward pass, as text and as LaTeX.

    Attributes
    ----------
    left : str
        ``d_x`` for the gradient with respect to x (``d2_x`` in the second pass of several).
    formula : str
        With the names of this graph: ``d_h @ w.T``.
    rule : str
        The derivative rule that it comes from, with the names of the op's declaration: ``matmul, a: g @ b.T``. In words
        for what is no op's rule.
    left_latex, formula_latex, rule_latex : str
    """

    left: str
    formula: str
    rule: str
    left_latex: str
    formula_latex: str
    rule_latex: str


@dataclass(frozen=True)
class Step:
    """The part of the backward pass that belongs to one equation of the forward pass."""

    forward: str
    source: Source | None
    lines: tuple[Line, ...]
    latex: str


@dataclass(frozen=True)
class GradientExplanation:
    """How the gradient of a graph is computed: see `explain_gradient`.

    Attributes
    ----------
    name : str
        Of the graph.
    steps : tuple of Step
        In the order of the backward pass.
    """

    name: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        left = max((len(f"    {x.left} = {x.formula}") for s in self.steps for x in s.lines), default=0)
        column = min(max([left, *(len(s.forward) for s in self.steps)]), 60) + 3
        lines = [f"gradient of {self.name}: d_x is the derivative of its result with respect to x", ""]
        for step in self.steps:
            where = printable(str(step.source)) if step.source is not None else ""
            gap = "" if len(step.forward) < column else "   "
            lines.append(f"{step.forward:{column}}{gap}{where}".rstrip())
            for line in step.lines:
                shown = f"    {line.left} = {line.formula}"
                lines.append(f"{shown:{column}}{'' if len(shown) < column else '   '}{line.rule}".rstrip())
        return "\n".join(lines)

    def latex(self) -> str:
        """The backward pass as a LaTeX ``align`` environment; a bar marks a gradient.

        Needs the package amsmath. Each equation is followed by the rule and the forward equation that it is of.
        """
        return "\\begin{align}\n" + " \\\\\n".join(self._rows()) + "\n\\end{align}"

    def _rows(self) -> list[str]:
        rows = []
        for step in self.steps:
            where = f" \\quad {words(f'({step.source})')}" if step.source is not None else ""
            rows.append(f"& {step.latex}{where}")
            for line in step.lines:
                rule = f" && {line.rule_latex}" if line.rule_latex else ""
                rows.append(f"{line.left_latex} &= {line.formula_latex}{rule}")
        return rows

    def _repr_latex_(self) -> str:
        return self.latex()

    def _repr_markdown_(self) -> str:
        rows = " \\\\\n".join(self._rows())
        return f"$$\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n$$"


@checked
def explain_gradient(graph_or_function: Any, /, *examples: Any, **keywords: Any) -> GradientExplanation:
    """How a gradient is computed: each backward equation, the rule that it comes from, the forward equation it is of.

    Parameters
    ----------
    graph_or_function : Graph or callable
        One that takes gradients (a training step, ``tensorgraph.grad`` of something), of which these are explained; or
        one that gives one float element, of which the gradient with respect to its float arguments and its parameters
        is explained.
    *examples
        Of a function: what `tensorgraph.trace` takes.
    **keywords
        Examples of arguments that the function takes by name.

    Returns
    -------
    GradientExplanation
        Its text is for reading, ``latex()`` for a page of mathematics; a notebook shows the latter.

    Raises
    ------
    TypeError
        For a result that is not one float element, and for examples beside a graph.
    ValueError
        For a graph whose gradients are written out already, and for one with nothing to differentiate by.

    Notes
    -----
    The formulas are not kept anywhere: the derivative rules of the ops are run on variables, and what they do is shown.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> def loss(x, w):
    ...     h = x @ w
    ...     return (h * h).sum()
    >>> shown = tg.explain_gradient(loss, tg.spec((2, 3)), tg.spec((3, 4)))
    >>> print(str(shown).replace(".py", ""))  # doctest: +ELLIPSIS
    gradient of loss: d_x is the derivative of its result with respect to x
    <BLANKLINE>
    ...
    >>> print(shown.latex())  # doctest: +ELLIPSIS
    \\begin{align}
    ...
    \\end{align}
    """
    graph = _prepared(graph_or_function, examples, keywords)
    whole, notes = write_out(graph)
    return GradientExplanation(graph.name, _Telling(whole, notes).steps())


def _prepared(graph_or_function: Any, examples: tuple[Any, ...], keywords: Mapping[str, Any]) -> Graph:
    """A graph that takes gradients."""
    if isinstance(graph_or_function, Graph):
        if examples or keywords:
            raise TypeError("explain_gradient takes examples for a function; a graph has its types already")
        graph = graph_or_function
    elif callable(graph_or_function):
        refuse_strangers("explain_gradient", graph_or_function, keywords)
        require_sizes("explain_gradient", examples, keywords)
        graph = _forward(trace(graph_or_function, *examples, **keywords))
    else:
        raise TypeError(f"explain_gradient takes a graph or a function, got {type(graph_or_function).__name__}")
    if any(eq.is_gradient for eq in graph.equations):
        return graph
    if any(eq.origin is not None for eq in graph.equations):
        raise ValueError(
            "the gradients of this graph are written out already: explain the graph before differentiate()"
        )
    floats = [
        i for i, leaves in enumerate(_arguments(graph)) if leaves and all(v.aval.dtype.kind == "f" for v in leaves)
    ]
    wrt = [*floats, *(decl.path for decl in graph.cells if decl.requires_grad)]
    if not wrt:
        raise ValueError(f"{graph.name} has neither float arguments nor parameters to differentiate by")
    return grad(graph, wrt)


def _forward(graph: Graph) -> Graph:
    """The graph of a function whose result comes of derivatives that were written out on the way, as those of a
    Jacobian are: they are as much a part of it as anything else."""
    if any(eq.origin is not None for eq in graph.equations):
        graph = dead_code(graph)
        if not any(eq.is_gradient for eq in graph.equations):
            graph = graph.replace(equations=tuple([replace(eq, origin=None) for eq in graph.equations]))
    return graph


def _arguments(graph: Graph) -> list[list[Any]]:
    """The inputs of each argument; a static one is in the way of a derivative by it."""
    statics = dict.fromkeys((position for position, _ in graph.statics), True)
    variables, position, result = iter(graph.inputs), 0, []
    for child in graph.in_tree.children:
        own = [None if position + i in statics else next(variables) for i in range(child.size)]
        position += child.size
        result.append([] if None in own else own)
    return result


class _Telling:
    """The steps of an explanation, from the notes that the backward pass took."""

    def __init__(self, graph: Graph, notes: list[Note]) -> None:
        self.name = names(graph)
        for eq in graph.equations:  # a transform's own name for an argument is the argument's
            if eq.op is alias and isinstance(eq.inputs[0], Var) and eq.origin is None:
                self.name[eq.outputs[0]] = self.name[eq.inputs[0]]
        self.notes = notes
        self.several = len({note.number for note in self.notes}) > 1
        self.parts: dict[tuple[int, Var], list[Note]] = {}
        for note in self.notes:
            self.parts.setdefault((note.number, note.var), []).append(note)
        self.ours: dict[Var, list[Equation]] = {}  # the equations of the derivative of each forward equation
        for eq in graph.equations:
            if eq.origin is not None:
                self.ours.setdefault(eq.origin.of, []).append(eq)
        # what a gradient is called: with respect to what, in which pass
        self.gradient: dict[Var, tuple[str, int]] = {}
        gradients = {out for equations in self.ours.values() for eq in equations for out in eq.outputs}
        for note in self.notes:
            whole = note is self.parts[note.number, note.var][-1]
            if whole and note.total in gradients and note.total not in self.gradient:
                self.gradient[note.total] = (self.name[note.var], note.number)
                self.name[note.total] = self._text(self.name[note.var], note.number)
        made = [eq for equations in self.ours.values() for eq in equations]
        self.uses = Counter(a for eq in made for a in eq.atoms() if type(a) is Var)
        self.rules = Rules()

    def steps(self) -> tuple[Step, ...]:
        grouped: dict[tuple[int, int], list[Note]] = {}
        for note in self.notes:
            grouped.setdefault((note.number, id(note.of)), []).append(note)
        return tuple(self._step(notes[0].of, notes) for notes in grouped.values())

    # names ------------------------------------------------------------------------------------------------------

    def _text(self, name: str, number: int) -> str:
        return f"d{number if self.several else ''}_{name}"

    def _latex(self, name: str, number: int) -> str:
        return symbol(name, bar=True, mark=str(number) if self.several else "")

    def _called(self, own: Mapping[Var, tuple[str, int]]) -> tuple[Names, Names]:
        """Names as text and as LaTeX; `own` are the gradients that arrive at a step."""

        def text(var: Var) -> str:
            found = own.get(var) or self.gradient.get(var)
            return self._text(*found) if found else self.name[var]

        def latex(var: Var) -> str:
            found = own.get(var) or self.gradient.get(var)
            return self._latex(*found) if found else symbol(self.name[var])

        return text, latex

    def _part(self, note: Note) -> str:
        """The name of what one use contributes to."""
        parts = self.parts[note.number, note.var]
        name = self.name[note.var]
        return name if len(parts) == 1 else f"{name}_{1 + [id(part) for part in parts].index(id(note))}"

    # steps ------------------------------------------------------------------------------------------------------

    def _step(self, eq: Equation | None, notes: list[Note]) -> Step:
        number = notes[0].number
        arrived = {
            self.parts[number, out][-1].total: (self.name[out], number)
            for out in (() if eq is None else eq.outputs) if (number, out) in self.parts
        }  # fmt: skip
        formulas, lines = self._between(eq, notes, arrived)
        begins: list[Line] = []
        rules = self.rules.of(eq) if eq is not None else {}
        for note in notes:
            seed = note.name in ("seed", "zero")
            rule, rule_latex = ("", "") if seed or eq is None else _titled(eq, note.name, rules.get(note.name))
            note_text = _in_words(note)
            if note_text:
                rule = f"{rule}, {note_text}" if rule else note_text
                rule_latex += words(f", {note_text}" if rule_latex else note_text)
            text, latex = self._called({} if seed else arrived)
            here = note.fitted in arrived and not seed
            formula = note.fitted if here else formulas.get(note.fitted, note.fitted)
            part = self._part(note)
            (begins if note.name == "seed" else lines).append(
                Line(
                    self._text(part, number), formula_text(formula, text), rule,
                    self._latex(part, number), formula_latex(formula, latex), rule_latex,
                )
            )  # fmt: skip
            parts = self.parts[number, note.var]
            if len(parts) > 1 and note is parts[-1]:
                lines.append(self._sum(note))
        return self._told(eq, notes[0], (*begins, *lines))

    def _between(
        self, eq: Equation | None, notes: list[Note], arrived: Mapping[Var, tuple[str, int]]
    ) -> tuple[dict[Var, Any], list[Line]]:
        """Formulas for what a step computes, and lines of their own for what is too large or used again."""
        formulas: dict[Var, Any] = {}
        lines: list[Line] = []
        if eq is None:
            return formulas, lines
        text, latex = self._called(arrived)
        results = {note.fitted for note in notes}
        for own in self.ours.get(eq.outputs[0], []):
            if own.origin is not None and own.origin.rule == "sum":
                continue
            for position, out in enumerate(own.outputs):
                formula = Formula.of(own, lambda var: var if var in arrived else formulas.get(var, var), position)
                formulas[out] = formula
                if out not in results and (self.uses[out] > 1 or (self.uses[out] and formula.size > LARGEST)):
                    shown = formula_text(formula, text), "", symbol(self.name[out]), formula_latex(formula, latex), ""
                    lines.append(Line(self.name[out], *shown))
                    formulas[out] = out
        return formulas, lines

    def _sum(self, note: Note) -> Line:
        parts = self.parts[note.number, note.var]
        names = [self._part(part) for part in parts]
        why = f"the sum over the {len(parts)} uses of {self.name[note.var]}"
        name, number = self.name[note.var], note.number
        return Line(
            self._text(name, number), " + ".join(self._text(part, number) for part in names), why,
            self._latex(name, number), " + ".join(self._latex(part, number) for part in names),
            words(why),
        )  # fmt: skip

    def _told(self, eq: Equation | None, note: Note, lines: tuple[Line, ...]) -> Step:
        if eq is None:
            name = self.name[note.var]
            return Step(name, None, lines, symbol(name))
        text, latex = self._called({})
        whole = Formula.of(Equation(eq.op, eq.inputs, eq.attrs, eq.outputs[:1]))
        outs = [text(out) for out in eq.outputs]
        count = len(outs) - len(eq.residuals)  # the rest, in brackets, is kept for the derivative
        left = ", ".join([*outs[:count], *([f"[{', '.join(outs[count:])}]"] if eq.residuals else [])])
        forward = f"{left} = {formula_text(whole, text)}"
        in_latex = f"{', '.join(latex(out) for out in eq.outputs)} = {formula_latex(whole, latex)}"
        return Step(forward, eq.source, lines, in_latex)


def _titled(eq: Equation, name: str, rule: tuple[str, str] | None) -> tuple[str, str]:
    title = f"{eq.op.name}, {name}"
    latex = words(title)
    return (f"{title}: {rule[0]}", f"{latex}: {rule[1]}") if rule else (title, latex)


def _in_words(note: Note) -> str:
    """What is no op's rule."""
    if note.name == "seed":
        return "where the backward pass begins"
    if note.name == "zero":
        return "nothing arrives"
    given, wanted = note.given.aval, note.var.aval
    changes = []
    if given.shape != wanted.shape:
        grown = math.prod(given.shape) < math.prod(wanted.shape)
        changes.append("spread over its shape" if grown else "summed over what was broadcast")
    if given.dtype != wanted.dtype:
        changes.append(f"as {wanted.dtype.name}")
    return ", ".join(changes)

"""How a gradient is computed, step by step: for teaching."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tensorgraph.analysis.derivative_rules import Rules
from tensorgraph.analysis.describe import printable
from tensorgraph.analysis.formulas import Formula, formula_text
from tensorgraph.analysis.latex import escaped, formula_latex, symbol
from tensorgraph.graph.graph import Equation, Graph, Source, Var
from tensorgraph.graph.inline import inline
from tensorgraph.graph.trace import trace
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.passes.gradient import grad
from tensorgraph.passes.symbolic import Note, Symbolic
from tensorgraph.text.names import names
from tensorgraph.tree import unflatten

__all__ = ["GradientExplanation", "Line", "Step", "explain_gradient"]

LARGEST = 8  # ops in a formula; what is larger is written in several lines


@dataclass(frozen=True)
class Line:
    """One equation of the backward pass.

    Attributes
    ----------
    var : str
        What `formula` is the gradient with respect to, or the name of an intermediate value where `between`.
    formula : str
        With the names of this graph: ``d_h @ w.T``.
    rule : str
        The derivative rule that it comes from, with the names of the op's declaration: ``matmul, a: g @ b.T``. In words
        for what is no op's rule.
    latex : str
    between : bool
    """

    var: str
    formula: str
    rule: str
    latex: str
    rule_latex: str
    between: bool = False

    @property
    def left(self) -> str:
        return self.var if self.between else f"d_{self.var}"


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
        lines = [f"gradient of {self.name}; d_x stands for the derivative of its result with respect to x", ""]
        for step in self.steps:
            where = printable(str(step.source)) if step.source is not None else ""
            lines.append(f"{step.forward:{column}}{where}".rstrip())
            for line in step.lines:
                shown = f"    {line.left} = {line.formula}"
                lines.append(f"{shown:{column}}{line.rule}".rstrip())
        return "\n".join(lines)

    def latex(self) -> str:
        """The backward pass as a LaTeX ``align`` environment; a bar marks a gradient.

        Needs the package amsmath. Each equation is followed by the rule and the forward equation that it is of.
        """
        return "\\begin{align}\n" + " \\\\\n".join(self._rows()) + "\n\\end{align}"

    def _rows(self) -> list[str]:
        rows = []
        for step in self.steps:
            where = f" \\quad \\text{{({escaped(str(step.source))})}}" if step.source is not None else ""
            rows.append(f"& {step.latex}{where}")
            for line in step.lines:
                left = symbol(line.var, bar=not line.between)
                rows.append(f"{left} &= {line.latex} && {line.rule_latex}")
        return rows

    def _repr_latex_(self) -> str:
        return self.latex()

    def _repr_markdown_(self) -> str:
        rows = " \\\\\n".join(self._rows())
        return f"$$\n\\begin{{aligned}}\n{rows}\n\\end{{aligned}}\n$$"


def explain_gradient(graph_or_function: Any, *examples: Any) -> GradientExplanation:
    """How a gradient is computed: each backward equation, the rule that it comes from, the forward equation it is of.

    Parameters
    ----------
    graph_or_function : Graph or callable
        One that takes gradients (a training step, ``tensorgraph.grad`` of something), of which these are explained; or
        one that gives one float element, of which the gradient with respect to its float arguments and its parameters
        is explained.
    *examples
        Of a function: what `tensorgraph.trace` takes.

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
    gradient of loss; d_x stands for the derivative of its result with respect to x
    <BLANKLINE>
    ...
    >>> print(shown.latex())  # doctest: +ELLIPSIS
    \\begin{align}
    ...
    \\end{align}
    """
    graph = _prepared(graph_or_function, examples)
    trace_ = Symbolic(dead_code(graph, gradients_only=True))
    asked = trace_.graph
    with trace_.running():
        outputs, written = inline(asked, trace_.tensors(asked.inputs), trace_.tensors([d.var for d in asked.cells]))
        whole = trace_.result(unflatten(asked.out_tree, outputs), written)
    return GradientExplanation(graph.name, _Telling(dead_code(whole, gradients_only=True), trace_.notes).steps())


def _prepared(graph_or_function: Any, examples: tuple[Any, ...]) -> Graph:
    """A graph that takes gradients."""
    if isinstance(graph_or_function, Graph):
        if examples:
            raise TypeError("explain_gradient takes examples for a function; a graph has its types already")
        graph = graph_or_function
    elif callable(graph_or_function):
        graph = trace(graph_or_function, *examples)
    else:
        raise TypeError(f"explain_gradient takes a graph or a function, got {type(graph_or_function).__name__}")
    if any(eq.op.name == "gradients" for eq in graph.equations):
        return graph
    if any(eq.origin is not None for eq in graph.equations):
        raise ValueError("the gradients of this graph are written out already: explain the graph before differentiate()")
    floats = [i for i, leaves in enumerate(_arguments(graph)) if leaves and all(v.aval.dtype.kind == "f" for v in leaves)]
    wrt = [*floats, *(decl.path for decl in graph.cells if decl.requires_grad)]
    if not wrt:
        raise ValueError(f"{graph.name} has neither float arguments nor parameters to differentiate by")
    return grad(graph, wrt)


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
            if eq.op.name == "alias" and isinstance(eq.inputs[0], Var) and eq.origin is None:
                self.name[eq.outputs[0]] = self.name[eq.inputs[0]]
        known = {*self.name}
        self.notes = [note for note in notes if note.total in known]
        self.parts: dict[Var, list[Note]] = {}
        for note in self.notes:
            self.parts.setdefault(note.var, []).append(note)
        self.part_of: dict[int, str] = {}
        self.total: dict[Var, str] = {}
        ours: dict[Var, list[Equation]] = {}  # the equations of the derivative of each forward equation
        for eq in graph.equations:
            if eq.origin is not None:
                ours.setdefault(eq.origin.of, []).append(eq)
        self.ours = ours
        gradients = {out for equations in ours.values() for eq in equations for out in eq.outputs}
        for var, parts in self.parts.items():
            name = self.name[var]
            for k, note in enumerate(parts, 1):
                self.part_of[id(note)] = name if len(parts) == 1 else f"{name}_{k}"
                if note.total in gradients:
                    self.total.setdefault(note.total, name)
        self.uses = Counter(a for eq in graph.equations if eq.origin is not None for a in eq.atoms() if type(a) is Var)
        self.rules = Rules()

    def steps(self) -> tuple[Step, ...]:
        grouped: dict[int, tuple[Equation | None, list[Note]]] = {}
        for note in self.notes:
            grouped.setdefault(id(note.of), (note.of, []))[1].append(note)
        return tuple(self._step(eq, notes) for eq, notes in grouped.values())

    def _step(self, eq: Equation | None, notes: list[Note]) -> Step:
        outputs = () if eq is None else eq.outputs
        arrived = {self.parts[out][-1].total: self.name[out] for out in outputs if out in self.parts}
        formulas: dict[Var, Any] = {}
        lines: list[Line] = []
        results = {note.fitted for note in notes}
        for own in self.ours.get(outputs[0], []) if outputs else []:
            if own.origin is not None and own.origin.rule == "sum":
                continue
            for position, out in enumerate(own.outputs):
                formula = Formula.of(own, lambda var: formulas.get(var, var), position)
                formulas[out] = formula
                if out not in results and (self.uses[out] > 1 or formula.size > LARGEST):
                    lines.append(self._line(self.name[out], formula, arrived, "", "", between=True))
                    formulas[out] = out
        shown = self.rules.of(eq) if eq is not None else {}
        for note in notes:
            seed = note.name in ("seed", "zero")
            words = self._words(note)
            rule = rule_latex = ""
            if not seed and eq is not None:
                rule, rule_latex = shown.get(note.name, ("", ""))
                rule = f"{eq.op.name}, {note.name}{f': {rule}' if rule else ''}"
                title = f"\\text{{{escaped(f'{eq.op.name}, {note.name}')}}}"
                rule_latex = f"{title}: {rule_latex}" if rule_latex else title
            rule = ", ".join(part for part in (rule, words) if part)
            rule_latex = f"{rule_latex}\\text{{{', ' if rule_latex else ''}{escaped(words)}}}" if words else rule_latex
            formula = formulas.get(note.fitted, note.fitted)
            lines.append(self._line(self.part_of[id(note)], formula, {} if seed else arrived, rule, rule_latex))
            parts = self.parts[note.var]
            if len(parts) > 1 and note is parts[-1]:
                lines.append(self._sum(note.var, [self.part_of[id(part)] for part in parts]))
        return self._of(eq, notes, tuple(lines))

    def _of(self, eq: Equation | None, notes: list[Note], lines: tuple[Line, ...]) -> Step:
        if eq is None:
            name = self.name[notes[0].var]
            return Step(name, None, lines, symbol(name))
        whole = Formula.of(eq)
        left = ", ".join(self.name[out] for out in eq.outputs)
        whole = Formula(whole.op, whole.args, whole.attrs, eq.outputs[:1])
        right = formula_text(whole, self.name.__getitem__)
        right_latex = formula_latex(whole, lambda var: symbol(self.name[var]))
        left_latex = ", ".join(symbol(self.name[out]) for out in eq.outputs)
        return Step(f"{left} = {right}", eq.source, lines, f"{left_latex} = {right_latex}")

    def _line(
        self, var: str, formula: Any, arrived: Mapping[Var, str], rule: str, rule_latex: str, between: bool = False
    ) -> Line:
        def called(v: Var) -> str | None:
            return arrived.get(v) or self.total.get(v)

        def text(v: Var) -> str:
            gradient = called(v)
            return f"d_{gradient}" if gradient else self.name[v]

        def latex(v: Var) -> str:
            gradient = called(v)
            return symbol(gradient, bar=True) if gradient else symbol(self.name[v])

        return Line(var, formula_text(formula, text), rule, formula_latex(formula, latex), rule_latex, between)

    def _sum(self, var: Var, parts: list[str]) -> Line:
        words = f"the sum over the {len(parts)} uses of {self.name[var]}"
        latex = " + ".join(symbol(part, bar=True) for part in parts)
        return Line(
            self.name[var], " + ".join(f"d_{part}" for part in parts), words, latex, f"\\text{{{escaped(words)}}}"
        )

    def _words(self, note: Note) -> str:
        """What is no op's rule."""
        if note.name == "seed":
            return "where the backward pass begins"
        if note.name == "zero":
            return "nothing arrives"
        given, wanted = note.given.aval, note.var.aval
        words = []
        if given.shape != wanted.shape:
            grown = math.prod(given.shape) < math.prod(wanted.shape)
            words.append("spread over its shape" if grown else "summed over what was broadcast")
        if given.dtype != wanted.dtype:
            words.append(f"as {wanted.dtype.name}")
        return ", ".join(words)

"""How a gradient is computed, step by step: for teaching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tensorgraph.analysis.describe import printable
from tensorgraph.analysis.formulas import Formula, formula_text
from tensorgraph.analysis.latex import escaped, formula_latex, symbol
from tensorgraph.graph.graph import Equation, Graph, Source, Var
from tensorgraph.graph.inline import group, inline
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
        self.graph = graph
        self.name = names(graph)
        for eq in graph.equations:  # a transform's own name for an argument is the argument's
            if eq.op.name == "alias" and isinstance(eq.inputs[0], Var) and eq.origin is None:
                self.name[eq.outputs[0]] = self.name[eq.inputs[0]]
        self.made = {out: eq for eq in graph.equations for out in eq.outputs}
        known = {*self.made, *graph.inputs, *graph.consts, *(decl.var for decl in graph.cells)}
        self.notes = [note for note in notes if note.total in known]
        self.parts: dict[Var, list[Note]] = {}
        for note in self.notes:
            self.parts.setdefault(note.var, []).append(note)
        self.numbered: dict[int, str] = {}
        for var, parts in self.parts.items():
            for k, note in enumerate(parts, 1):
                self.numbered[id(note)] = self.name[var] if len(parts) == 1 else f"{self.name[var]}_{k}"
        self.total = {note.total: self.name[note.var] for note in reversed(self.notes)}
        self.between: dict[Var, str] = {}

    def steps(self) -> tuple[Step, ...]:
        grouped: dict[int, list[Note]] = {}
        equations: dict[int, Equation | None] = {}
        for note in self.notes:
            key = id(note.of)
            grouped.setdefault(key, []).append(note)
            equations[key] = note.of
        return tuple(self._step(equations[key], notes) for key, notes in grouped.items())

    def _step(self, eq: Equation | None, notes: list[Note]) -> Step:
        ...

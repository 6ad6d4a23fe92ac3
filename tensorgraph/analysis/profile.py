"""How long each equation of a graph takes, and how large what it makes is: measured by running the graph."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from tensorgraph.analysis.describe import printable
from tensorgraph.analysis.run import as_numbers, execute, given, graph_of, loss_of
from tensorgraph.arguments import Range, checked
from tensorgraph.engine.backward import pull_back
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.drawable import Drawable
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.graph.occurrences import Total, by_definition

__all__ = ["Profile", "gradient_norms", "largest", "passing_values", "profile"]

REPEATS = 7
ENOUGH = 2.0  # seconds; a slow graph is run less often
KEYS = ("definition", "scope", "op", "line", "equation")


@dataclass(frozen=True)
class Profile(Drawable):
    """Times of a graph's equations. Made by `profile`.

    Attributes
    ----------
    graph : Graph
    seconds : tuple of float
        One an equation: the median of the runs.
    repeats : int
        Runs after the first, which compiles what must be compiled.
    made : tuple of str
        Arguments and cells that had no numbers and got random ones.
    """

    graph: Graph
    seconds: tuple[float, ...]
    repeats: int
    made: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Seconds of all equations; what evaluation takes between them is left out."""
        return math.fsum(self.seconds)

    def by(self, key: str = "scope") -> list[tuple[str, float, int]]:
        """Name, seconds and number of equations, the slowest first.

        Parameters
        ----------
        key : {"definition", "scope", "op", "line", "equation"}
            The function of the text with all that it calls (``Block x12``), the module, the op, the user's line, or
            each equation alone.
        """
        if key not in KEYS:
            raise ValueError(f"a profile is sorted by one of {', '.join(map(repr, KEYS))}, got {key!r}")
        if key == "definition":
            totals = [(printable(str(one)), one.figures[0], one.equations) for one in self.by_definition()]
            return sorted(totals, key=lambda row: -row[1])
        name: Callable[[int, Equation], Hashable] = {
            "scope": lambda i, eq: printable(eq.scope) or self.graph.name,
            "op": lambda i, eq: eq.op.name,
            "line": lambda i, eq: str(eq.source or "(no line)"),
            "equation": lambda i, eq: i,
        }[key]
        found: dict[Hashable, tuple[float, int]] = {}
        for i, (eq, seconds) in enumerate(zip(self.graph.equations, self.seconds, strict=True)):
            before, number = found.get(name(i, eq), (0.0, 0))
            found[name(i, eq)] = (before + seconds, number + 1)
        rows = sorted(found.items(), key=lambda item: -item[1][0])
        return [(self._called(k) if key == "equation" else str(k), *v) for k, v in rows]

    def by_definition(self) -> tuple[Total, ...]:
        """The functions of the graph's text, each after its caller and with all that it calls; figures are seconds."""
        return by_definition(self.graph, self.seconds)

    def _called(self, position: Any) -> str:
        eq = self.graph.equations[position]
        types = ", ".join(str(v.aval) for v in eq.outputs[:2]) + (", ..." if len(eq.outputs) > 2 else "")
        return f"{printable(eq.scope)}{'/' if eq.scope else ''}{eq.op.name} -> {types}  {eq.source or ''}".rstrip()

    def table(self, key: str = "definition", most: int = 20) -> str:
        """A table as text, the slowest first; definitions below their callers."""
        rows = self.by(key)
        if key == "definition":  # in the order of the text, what is called below its caller
            rows = [(f"{'  ' * one.depth}{printable(str(one))}", one.figures[0], one.equations)
                    for one in self.by_definition()]  # fmt: skip
        total = self.total or 1.0
        heading = "module" if key == "scope" else key
        lines = [f"{'time':>10}  {'%':>5}  {'ops':>5}  {heading}"]
        lines += [f"{duration(s):>10}  {100 * s / total:5.1f}  {n:5}  {name}" for name, s, n in rows[:most]]
        if len(rows) > most and key == "definition":
            lines.append(f"{len(rows) - most} more, in those above")
        elif len(rows) > most:
            rest = math.fsum(s for _, s, _ in rows[most:])
            lines.append(f"{duration(rest):>10}  {100 * rest / total:5.1f}  {'':5}  {len(rows) - most} more")
        return "\n".join(lines)

    def __str__(self) -> str:
        n = len(self.seconds)
        made = "; random numbers for what had none" if self.made else ""
        parts = [f"{printable(self.graph.name)}: {n} ops, {duration(self.total)}, median of {self.repeats} runs{made}"]
        if len(self.by_definition()) > 1:
            parts.append(self.table("definition"))
        return "\n\n".join([*parts, self.table("op", 10), self.table("equation", 10)])

    def __repr__(self) -> str:
        return f"<Profile of {printable(self.graph.name)}: {len(self.seconds)} ops, {duration(self.total)}>"


@checked
def profile(
    target: Any, /, *args: Any, repeats: Annotated[int, Range(1, 10_000)] = REPEATS, **keywords: Any
) -> Profile:
    """Measure how long each equation takes.

    Parameters
    ----------
    target : Graph, Module or callable
        A function is traced with the arguments. Nothing that it writes is kept.
    *args : array, Tensor or spec
        Random numbers stand for a spec, and for all arguments of a graph where none are given.
    repeats : int
        Runs, after one that is not counted; fewer where the graph takes seconds.
    **keywords
        Arguments that the function takes by name.

    Returns
    -------
    Profile
        Printed: tables by definition, op and equation, with shares and the user's lines.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> p = profile(lambda x: tg.tanh(x @ x).sum(), tg.spec((8, 8)))
    >>> len(p.seconds), [name for name, _, _ in sorted(p.by("op"))]
    (3, ['matmul', 'sum', 'tanh'])
    """
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats must be a positive integer, got {repeats!r}")
    graph, args = graph_of(target, args, keywords, "profile", ("repeats",))
    values = given(graph, args)
    runs: list[list[float]] = []
    spent = 0.0
    for n in range(repeats + 1):
        run: list[float] = []
        execute(graph, values, lambda i, eq, operands, results, seconds: run.append(seconds))  # noqa: B023
        if n:
            runs.append(run)
            spent += sum(run)
            if spent > ENOUGH and n >= 3:
                break
    seconds = tuple(statistics.median(times) for times in zip(*runs, strict=True))
    return Profile(graph, seconds, len(runs), values.made)


def duration(seconds: float) -> str:
    """``1.23 ms``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def largest(graph: Graph, args: tuple[Any, ...] = ()) -> tuple[dict[Var, float], tuple[str, ...]]:
    """The largest absolute value of everything the graph computes (NaN where one is), and what was made up."""
    values = given(graph, args)
    found: dict[Var, float] = {var: magnitude(t) for var, t in values.of(graph).items()}

    def watch(i: int, eq: Equation, operands: list[Any], results: tuple[Any, ...], seconds: float) -> None:
        found.update({var: magnitude(t) for var, t in zip(eq.outputs, results, strict=True)})

    execute(graph, values, watch)
    return found, values.made


def magnitude(value: Any) -> float:
    array = value._value if isinstance(value, Tensor) else np.asarray(value)
    if array.size == 0:
        return 0.0
    if array.dtype.kind == "b":
        return float(array.any())
    return float(max(abs(float(array.max())), abs(float(array.min())))) if array.dtype.kind in "fiu" else 0.0


def gradient_norms(graph: Graph, args: tuple[Any, ...] = ()) -> tuple[dict[Var, float], tuple[str, ...]]:
    """The 2-norm of the loss's gradient with respect to every float value that leads to it, and what was made up.

    Raises
    ------
    ValueError
        Where the graph has no loss.
    """
    _, grads, made = passing_values(graph, args)
    return {v: float(np.linalg.norm(as_numbers(g).astype(np.float64).ravel())) for v, g in grads.items()}, made


def passing_values(
    graph: Graph, args: tuple[Any, ...] = ()
) -> tuple[dict[Var, Tensor], dict[Var, Tensor], tuple[str, ...]]:
    """Every value up to the loss, the loss's gradient with respect to each that leads to it, and what was made up.

    Raises
    ------
    ValueError
        Where the graph has no loss.
    """
    ys, cotangents, until = loss_of(graph)
    values = given(graph, args)
    env = execute(graph, values, lambda *_: None, keep=True, until=until, grad=True)
    xs = {var: t for var, t in env.items() if t._node is not None and t.dtype.kind == "f"}
    gs = [env[g] if isinstance(g, Var) else g.value for g in cotangents] or [None] * len(ys)
    roots = [env[y] for y in ys]
    with np.errstate(all="ignore"):
        grads = pull_back(roots, list(xs.values()), gs, False, False)
    reached = reaching(graph, ys, until)
    return env, {v: g for v, g in zip(xs, grads, strict=True) if v in reached}, values.made


def reaching(graph: Graph, ys: tuple[Any, ...], until: int) -> set[Var]:
    """Values that a gradient of the loss reaches by derivative rules, the loss included."""
    found = {y for y in ys if isinstance(y, Var)}
    for eq in reversed(graph.equations[:until]):
        if found.isdisjoint(eq.outputs):
            continue
        for name, atom in zip(eq.op.inputs, eq.inputs, strict=True):
            if eq.op.joint is not None or eq.op.rules.get(name) is not None:
                found.update(a for a in (atom if isinstance(atom, tuple) else (atom,)) if isinstance(a, Var))
    return found

"""`Graph.cost`: FLOPs, bytes and peak memory of a graph, by equation, by definition, by module, by op and in all.

Nothing is run.

The convention is that of `tensorgraph.engine.op.Op.flops`: each arithmetic operation of the formula counts one,
whatever its dtype, so a multiply-add is two and a matrix product of (m, k) and (k, n) is 2 m k n; what only moves
numbers is free.
Bytes are those of operands read and outputs written, once each, as if nothing stayed in a cache. Memory is what
evaluating the graph allocates: a view lies in its input's memory, and a value goes at its last use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorgraph.analysis.counting import Counter
from tensorgraph.analysis.memory import places, timeline
from tensorgraph.graph.drawable import Readable
from tensorgraph.graph.graph import Equation, Graph, Source, Var
from tensorgraph.graph.occurrences import Total, by_definition

__all__ = ["Cost", "EquationCost", "Held", "OpCost", "Peak", "ScopeCost", "cost"]

SHOWN = 12  # values that the text of a peak names


@dataclass(frozen=True, slots=True)
class EquationCost:
    """One equation: `live` is what is alive after it, `during` while it runs, its scratch memory included.

    `gradient` says that it belongs to a derivative.
    """

    index: int
    equation: Equation
    flops: int
    bytes_read: int
    bytes_written: int
    live: int
    during: int
    scratch: int

    @property
    def op(self) -> str:
        return self.equation.op.name

    @property
    def scope(self) -> str:
        return self.equation.scope

    @property
    def source(self) -> Source | None:
        return self.equation.source

    @property
    def gradient(self) -> bool:
        return self.equation.origin is not None or self.op == "gradients"

    @property
    def bytes(self) -> int:
        return self.bytes_read + self.bytes_written


@dataclass(frozen=True, slots=True)
class ScopeCost:
    """A module with all that is inside it; `scope` is ``""`` for the whole graph, `gradient` FLOPs of derivatives."""

    scope: str
    equations: int
    flops: int
    gradient: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class OpCost:
    """All equations of one op."""

    op: str
    equations: int
    flops: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True, slots=True)
class Held:
    """A value alive at the highest point: its variable and what made it."""

    var: Var
    nbytes: int
    index: int
    op: str
    source: Source | None


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes alive at once: while which equation runs, its scratch memory, and the values, largest first."""

    bytes: int
    equation: EquationCost | None
    scratch: int
    held: tuple[Held, ...]

    def __str__(self) -> str:
        if self.equation is None:
            return "nothing is computed"
        lines = [f"{binary(self.bytes)} while {_place(self.equation)} runs"]
        for h in self.held[:SHOWN]:
            made = f"{h.op} (equation {h.index}{_line(h.source)})"
            lines.append(f"  {binary(h.nbytes):>10}  {h.var.aval!r:<20} {made}")
        rest = self.held[SHOWN:]
        if rest:
            lines.append(f"  {binary(sum(h.nbytes for h in rest)):>10}  {len(rest)} more")
        if self.scratch:
            lines.append(f"  {binary(self.scratch):>10}  scratch memory of {self.equation.op}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Cost(Readable):
    """What a graph costs.

    Attributes
    ----------
    graph : Graph
        What was counted: the graph itself, or where it has deferred gradients, the graph with them written out.
    equations : tuple of EquationCost
        One an equation of `graph`.
    flops, bytes_read, bytes_written : int
    inputs, cells, consts : int
        Bytes of arguments, of parameters and buffers, and of captured arrays, which are there all the time.
    peak : Peak
        The most bytes of computed values at once, besides those three.
    """

    graph: Graph
    equations: tuple[EquationCost, ...]
    inputs: int
    cells: int
    consts: int
    peak: Peak

    @property
    def flops(self) -> int:
        return sum(eq.flops for eq in self.equations)

    @property
    def bytes_read(self) -> int:
        return sum(eq.bytes_read for eq in self.equations)

    @property
    def bytes_written(self) -> int:
        return sum(eq.bytes_written for eq in self.equations)

    @property
    def bytes(self) -> int:
        return self.bytes_read + self.bytes_written

    @property
    def intensity(self) -> float:
        """FLOPs a byte moved; NaN where nothing is moved."""
        return self.flops / self.bytes if self.bytes else float("nan")

    @property
    def memory(self) -> int:
        """Everything that is in memory at the highest point: arguments, cells, captured arrays and values."""
        return self.inputs + self.cells + self.consts + self.peak.bytes

    def by_scope(self) -> tuple[ScopeCost, ...]:
        """Modules, each after the one it is in, with all that is inside them; first the whole graph."""
        rows: dict[str, list[int]] = {"": [0] * 5}
        for eq in self.equations:
            for scope in _enclosing(eq.scope):
                row = rows.setdefault(scope, [0] * 5)
                for k, n in enumerate((1, eq.flops, eq.flops * eq.gradient, eq.bytes_read, eq.bytes_written)):
                    row[k] += n
        return tuple(ScopeCost(scope, *rows[scope]) for scope in _nested(rows))

    def by_definition(self) -> tuple[Total, ...]:
        """The functions of the graph's text, each after its caller and with all that it calls: ``Block x12``.

        The figures are FLOPs, those of derivatives among them, bytes read and bytes written.
        """
        every = self.equations
        gradient = [eq.flops * eq.gradient for eq in every]
        return by_definition(
            self.graph, [eq.flops for eq in every], gradient, [eq.bytes_read for eq in every],
            [eq.bytes_written for eq in every],
        )  # fmt: skip

    def by_op(self) -> tuple[OpCost, ...]:
        """Ops, the most expensive first: by FLOPs, then by bytes."""
        rows: dict[str, list[int]] = {}
        for eq in self.equations:
            row = rows.setdefault(eq.op, [0] * 4)
            for k, n in enumerate((1, eq.flops, eq.bytes_read, eq.bytes_written)):
                row[k] += n
        found = [OpCost(op, *row) for op, row in rows.items()]
        return tuple(sorted(found, key=lambda r: (-r.flops, -(r.bytes_read + r.bytes_written), r.op)))

    def table(self, depth: int | None = None) -> str:
        """The definitions as text, down to `depth` levels."""
        head = ("definition", "ops", "FLOPs", "gradient", "read", "written")
        whole, *inner = self.by_definition()
        shown = [one for one in inner if depth is None or one.depth <= depth]
        rows = [(f"{'  ' * (one.depth - 1)}{one}", *_cells(one)) for one in shown]
        return _aligned([head, *rows, ("total", *_cells(whole))])

    def __str__(self) -> str:
        at = self.peak.equation
        resident = f"arguments {binary(self.inputs)}, cells {binary(self.cells)}, constants {binary(self.consts)}"
        lines = [
            f"{self.graph.name}: {si(self.flops)}FLOPs, {binary(self.bytes)} moved"
            + (f", {self.intensity:.3g} FLOPs a byte" if self.bytes else ""),
            f"memory: {resident}, values at most {binary(self.peak.bytes)}" + (f" ({_place(at)})" if at else ""),
            "",
            self.table(),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<Cost of {self.graph.name}: {self.flops} FLOPs, {self.bytes} bytes moved, values at most "
            f"{self.peak.bytes} bytes>"
        )


def cost(graph: Graph) -> Cost:
    """FLOPs, bytes and peak memory of a graph.

    Deferred gradients are written out first (`Graph.differentiate`), and then counted as every other equation; in the
    table the derivative of ``Linear`` is ``Linear_backward``, as in the text.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Cost
        ``str()`` is a table by definition (``Block x12``); `by_definition`, `by_scope` (each module by itself),
        `by_op`, `equations` and `peak` say more.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> c = tg.trace(lambda x, w: (x @ w).sum(), tg.spec((4, 3)), tg.spec((3, 2))).cost()
    >>> c.flops  # 2 * 4 * 3 * 2, and a sum of 8
    56
    >>> c.peak.bytes, c.inputs
    (36, 72)
    """
    if any(eq.is_gradient for eq in graph.equations):
        graph = graph.differentiate()
    where = places(graph)
    counter = Counter(where)
    scratch = tuple(counter.scratch(eq) for eq in graph.equations)
    lives = timeline(graph, where, scratch)
    equations = tuple(
        EquationCost(i, eq, counter.flops(eq), *counter.traffic(eq), lives.after[i], lives.during[i], scratch[i])
        for i, eq in enumerate(graph.equations)
    )
    made = graph.index.position
    held = tuple(
        Held(var, var.aval.nbytes, made[var], equations[made[var]].op, equations[made[var]].source)
        for var in lives.held
    )
    peak = Peak(lives.peak, None if lives.at is None else equations[lives.at], lives.scratch, held)
    return Cost(
        graph, equations, sum(v.aval.nbytes for v in graph.inputs), sum(c.aval.nbytes for c in graph.cells),
        sum(a.nbytes for a in graph.consts.values()), peak,
    )  # fmt: skip


def _enclosing(scope: str) -> Iterable[str]:
    """A scope and those around it: ``a.b`` is in ``a`` and in the whole."""
    parts = scope.split(".") if scope else []
    return (".".join(parts[:n]) for n in range(len(parts) + 1))


def _nested(scopes: Iterable[str]) -> list[str]:
    """Scopes in the order of their first equations, each after the one it is in."""
    inside: dict[str, list[str]] = {}
    for scope in scopes:
        if scope:
            inside.setdefault(scope.rpartition(".")[0], []).append(scope)
    order, stack = [], [""]
    while stack:
        scope = stack.pop()
        order.append(scope)
        stack.extend(reversed(inside.get(scope, ())))
    return order


def _cells(row: Total) -> tuple[str, ...]:
    flops, gradient, read, written = row.figures
    figures = si(flops).rstrip(), si(gradient).rstrip() if gradient else "", binary(read), binary(written)
    return f"{row.equations:,}", *figures


def _aligned(rows: list[tuple[str, ...]]) -> str:
    """Columns; the first to the left, numbers to the right, a column without numbers left out."""
    columns = [c for c in zip(*rows, strict=True) if any(c[1:])]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        first = row[0].ljust(widths[0])
        lines.append("  ".join([first, *(t.rjust(w) for t, w in zip(row[1:], widths[1:], strict=True))]).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], *([rule] if len(lines) > 2 else []), lines[-1]])


def _place(eq: EquationCost) -> str:
    return f"{eq.op}, equation {eq.index}{_line(eq.source)}"


def _line(source: Source | None) -> str:
    return "" if source is None else f", {source}"


def si(number: float) -> str:
    """A count with a decimal prefix, and a space: ``1.5 M``."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.0f} " if not unit else f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} P"


def binary(nbytes: float) -> str:
    """Bytes in binary units: ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1023.5:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} TiB"

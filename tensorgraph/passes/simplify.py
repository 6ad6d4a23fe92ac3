"""`simplify`: constants, common subexpressions, exact algebra, views and dead code, until nothing changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tensorgraph.engine.keys import ALL
from tensorgraph.engine.op import Op, creation
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.ops.index import getitem
from tensorgraph.passes import algebra, views
from tensorgraph.passes.common import Common, equal_constants
from tensorgraph.passes.constants import Folding
from tensorgraph.passes.dead_code import dead_code
from tensorgraph.passes.facts import Facts, differentiated
from tensorgraph.passes.placing import before as placed
from tensorgraph.passes.rewrite import Log, nearest, rebuilt, replaced_in
from tensorgraph.passes.rules import Rule, attempt

__all__ = ["RULES", "compares_sizes", "simplify"]

RULES: Mapping[str, tuple[str, str]] = MappingProxyType({
    "constants.uniform": (
        "zeros(shape=(3,)) - 1.5 → full(shape=(3,), value=-1.5)",
        "the op itself gives the one number that all elements are; only ops that round once or not at all",
    ),
    "constants.folded": ("arange(start=3) * 2 → tensor([0, 2, 4])", "the ops themselves compute it"),
    "constants.equal": ("two captured arrays of the same numbers → one", "the same bits"),
    "common.subexpression": (
        "a = exp(x); b = exp(x) → a = exp(x), and a for b",
        "the same op, attributes and inputs; never what a deferred gradient asks about",
    ),
    **{f"algebra.{rule.name}": (rule.pattern, rule.why) for rule in algebra.RULES},
    **{f"views.{rule.name}": (rule.pattern, rule.why) for rule in views.RULES},
    "dead_code.unused": (
        "what no output and no write depends on → nothing",
        "an op has no effect but its value, unless it may refuse its numbers; inputs, cells and writes stay",
    ),
})  # fmt: skip
"""The rules by name: for each what it does, and why it is exact."""


def simplify(graph: Graph, *, without: str | Iterable[str] = ()) -> Graph:
    """A shorter graph with the same values, to the last bit.

    Parameters
    ----------
    graph : Graph
    without : str or iterable of str
        Rules to leave out, by name: one (``"algebra.multiply_by_one"``) or a subject (``"algebra"``). They are listed
        in ``tensorgraph.passes.simplify.RULES``.

    Returns
    -------
    Graph
        The graph itself where there is nothing to do. Never longer; simplified again it stays as it is.

    Raises
    ------
    ValueError
        For the name of a rule that does not exist.

    Notes
    -----
    Bits are kept for all numbers (NaN, whichever, is NaN), on tensors in C order; to keep those of sums, which depend
    on how numbers lie in memory, a rewrite keeps that too. Equations between what a deferred gradient is taken of and
    what it is taken by stay as they are: gradients would be added up in another order. `Graph.differentiate` writes
    gradients out, and then nothing is in the way. A gradient taken through the simplified graph from outside is right,
    but may round differently.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x: tg.exp(-(-x)) + tg.exp(x * 1.0), tg.f32[3])
    >>> [eq.op.name for eq in g.simplify().equations]
    ['exp', 'add']
    """
    off = switched_off(without)
    log = Log(graph, "simplify")
    rules = _Rules(off)
    shared: set[Var] = set()  # what was computed several times
    while True:
        before = len(log.changes)
        graph = _Sweep(graph, off, rules, log, shared).run()
        if "dead_code.unused" not in off:
            graph = _alive(graph, log)
        if len(log.changes) == before:
            break
    if not log.changes:
        return graph
    _, between = differentiated(graph)
    shared -= {out for eq in graph.equations if id(eq) in between for out in eq.outputs}
    return placed(graph, shared).replace(changes=(*graph.changes, *log.changes)).check()


def compares_sizes(
    graph: Graph, varying: Mapping[Var, Sequence[int]], opened: Mapping[Var, tuple[Op, Mapping[Any, Any]]]
) -> bool:
    """Whether all that `simplify` asks of a graph's sizes is which of them are equal.

    Then it does the same to the graph at another size of its batch, where the same sizes are equal.

    Parameters
    ----------
    graph : Graph
    varying : mapping of Var to sequence of int
        The variables that have other sizes there, and along which axes.
    opened : mapping of Var to (Op, mapping of str or int to object)
        Attributes, and operands by their places, that were computed with sizes, of the equations that make these.
    """
    # rules compare shapes, but for: numbers among operands, keys, and constants, which are folded up to some size
    for op, values in opened.values():
        if not all(type(key) is str for key in values) or (op.kind is creation and values.keys() != {"shape"}):
            return False
    fixed = set(graph.consts)
    for eq in graph.equations:
        read = list(eq.variables())
        is_fixed = fixed.issuperset(read)
        if is_fixed:
            fixed.update(eq.outputs)
        if any(var in varying for var in (*read, *eq.outputs)):
            if read and is_fixed:
                return False
            axes = {axis for var in read for axis in varying.get(var, ())}
            if eq.op is getitem and (eq.attrs["key"][:1] != (ALL,) or axes != {0}):  # else the others are the same
                return False
    return True


def switched_off(without: str | Iterable[str]) -> frozenset[str]:
    """The rules that these names leave out."""
    off: set[str] = set()
    for given in (without,) if isinstance(without, str) else without:
        name = given.removeprefix("simplify.")
        found = {rule for rule in RULES if rule == name or rule.startswith(f"{name}.")}
        if not found:
            subjects = list(dict.fromkeys(rule.split(".")[0] for rule in RULES))
            raise ValueError(
                f"simplify has no rule {name!r}{nearest(name, [*subjects, *RULES])} It has rules of "
                f"{', '.join(subjects)}, listed in tensorgraph.passes.simplify.RULES"
            )
        off |= found
    return frozenset(off)


class _Rules(dict[Op, list[tuple[str, Rule]]]):
    """The rules that look at an op's equations, with their names."""

    def __init__(self, off: frozenset[str]) -> None:
        super().__init__()
        subjects = (("algebra", algebra.RULES), ("views", views.RULES))
        every = [(f"{subject}.{rule.name}", rule) for subject, rules in subjects for rule in rules]
        self.every = [(name, rule) for name, rule in every if name not in off]

    def __missing__(self, op: Op) -> list[tuple[str, Rule]]:
        self[op] = [(name, rule) for name, rule in self.every if op.among(*rule.at)]
        return self[op]


class _Sweep:
    """Once over the equations, in order: each is looked at when what it reads is final."""

    def __init__(self, graph: Graph, off: frozenset[str], rules: _Rules, log: Log, shared: set[Var]) -> None:
        self.graph = graph
        self.off = off
        self.rules = rules
        self.log = log
        self.shared = shared
        self.asked, self.between = differentiated(graph)
        self.facts = Facts(graph, self.asked)
        self.folding = Folding(graph, self.facts, off)
        self.common = Common()
        self.by: dict[Var, Var] = {}

    def run(self) -> Graph:
        before = len(self.log.changes)
        if "constants.equal" not in self.off:
            apart = self.facts.varying
            for var, same in equal_constants(self.graph, apart).items():
                self.by[var] = same
                self.log.note("constants.equal", self.log.text(var), same, None)
        kept = []
        for original in self.graph.equations:
            eq: Equation | None = replaced_in(original, self.by)
            asked = any(out in self.asked for out in original.outputs)
            if not asked and id(original) not in self.between and not _is_seen_only(original):
                assert eq is not None
                eq = self.rewritten(eq)
            if eq is None:
                continue
            kept.append(eq)
            self.facts.note(eq)
            if not asked and not _is_seen_only(eq):
                self.common.add(eq)
        if len(self.log.changes) == before:
            return self.graph
        return rebuilt(self.graph, kept, self.by, {**self.graph.consts, **self.folding.made})

    def rewritten(self, eq: Equation) -> Equation | None:
        """The equation after all rules; None where its outputs are variables or constants that are there already."""
        found = self.once(eq)
        while found is not eq:
            if found is None:
                return None
            eq, found = found, self.once(found)
        if "common.subexpression" in self.off:
            return eq
        earlier = self.common.seen(eq)
        if earlier is None:
            return eq
        self.shared.update(earlier.outputs)
        self.log.note("common.subexpression", eq, ", ".join(map(self.log.text, earlier.outputs)), eq.source)
        self.by.update(zip(eq.outputs, earlier.outputs, strict=True))
        return None

    def once(self, eq: Equation) -> Equation | None:
        """The equation after the first rule that applies; itself where none does."""
        if eq.of_numbers:
            return eq  # rules know tensors
        folded = self.folding.fold(eq)
        if folded is not None:
            name, new = folded
            after = new if new is not None else f"{', '.join(map(self.log.text, eq.outputs))}: a constant"
            self.log.note(name, eq, after, eq.source)
            return new
        inner = self.inside(eq)
        if inner is not None:
            return inner
        for name, law in self.rules[eq.op]:
            found = attempt(law, eq, self.facts)
            if found is None or is_number(found):
                continue
            self.log.note(name, eq, found, eq.source)
            if isinstance(found, Equation):
                return found
            self.by[eq.outputs[0]] = found
            return None
        return eq

    def inside(self, eq: Equation) -> Equation | None:
        """The equation with the graphs that it holds simplified; None where there are none, or nothing to do."""
        attrs = {}
        for name, value in eq.attrs.items():
            if isinstance(value, Graph):
                shorter = simplify(value, without=self.off)
                if shorter is not value:
                    attrs[name] = shorter
                    self.log.changes += shorter.changes[len(value.changes) :]
        return replace(eq, attrs={**eq.attrs, **attrs}) if attrs else None


def _is_seen_only(eq: Equation) -> bool:
    """Whether the equation was read from a tape that had not kept all of its operands."""
    return any(isinstance(a, Literal) and a.value is Ellipsis for a in eq.atoms())


def _alive(graph: Graph, log: Log) -> Graph:
    """The graph without dead code; the graph itself where all of it is used."""
    result = dead_code(graph)
    if result is graph:
        return graph
    for eq in graph.equations:
        used = [kept for kept in map(result.index.maker, eq.outputs) if kept is not None]
        if not used and eq.outputs:
            log.note("dead_code.unused", eq, "nothing", eq.source)
        elif used and used[0] is not eq:  # gradients that are not asked for any more
            log.note("dead_code.unused", eq, used[0], eq.source)
    for var in graph.consts:
        if var not in result.consts:
            log.note("dead_code.unused", f"{log.text(var)}, an array {var.aval}", "nothing", None)
    return result

"""The passes in order, run by name, switched off by name; and what they changed, as a report."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from tensorgraph.graph.drawable import Readable
from tensorgraph.graph.graph import Change, Graph
from tensorgraph.graph.occurrences import names_by_path
from tensorgraph.passes.rewrite import UNCHANGED, nearest

__all__ = ["PASSES", "Explanation", "Pass", "explain", "transform"]

WITHIN = "within 8 units of the last place of the output's scale, 32 in a first and 256 in a second derivative"
RECORDED = "the bits of a recorded backward pass; one on plain arrays may round a sum otherwise"
SHOWN = 12  # changes of one rule that a report shows before it counts the rest
NUMBER = re.compile(r"(?<=[A-Za-z])_*\d+|_+\b")  # what tells names apart that are called alike
WIDTH = 100  # characters of one side of a change in it


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass from graph to graph.

    Attributes
    ----------
    name : str
        What it is called by; also the module of `tensorgraph.passes` that it lives in and the name of its function.
    keeps : str
        ``"bits"``, or how near the values stay.
    doc : str
    default : bool
        Whether `transform` runs it where no passes are named.
    """

    name: str
    keeps: str
    doc: str
    default: bool = True

    @property
    def function(self) -> Callable[..., Graph]:
        """The pass itself, loaded when it is first asked for."""
        found: Callable[..., Graph] = getattr(importlib.import_module(f"tensorgraph.passes.{self.name}"), self.name)
        return found

    @property
    def rules(self) -> Mapping[str, tuple[str, str]]:
        """What each of its rules does and why it may, by name; none where none can be switched off alone."""
        found: Mapping[str, tuple[str, str]] = getattr(
            importlib.import_module(f"tensorgraph.passes.{self.name}"), "RULES", {}
        )
        return found

    def __call__(self, graph: Graph, without: Iterable[str] = ()) -> Graph:
        off = tuple(without)
        return self.function(graph, without=off) if off else self.function(graph)


PASSES: tuple[Pass, ...] = (
    Pass("expand", WITHIN, "fused ops replaced by the composition that each is an optimisation of", default=False),
    Pass(
        "recognise",
        f"{WITHIN}; more where what was written cancels or overflows and the op does not",
        "regions that behave as a fused op replaced by it",
    ),
    Pass("differentiate", RECORDED, "deferred gradients written out by the ops' derivative rules"),
    Pass("simplify", "bits", "constants, common subexpressions, exact algebra, views, dead code"),
)
"""All passes in the order in which they run.

Fused ops are recognised before gradients are taken: afterwards the gradient reads what lies inside them.
"""


def transform(graph: Graph, *steps: str, without: str | Iterable[str] = ()) -> Graph:
    """A graph after passes; each result is checked.

    Parameters
    ----------
    graph : Graph
    *steps : str
        Names of passes, run in the order given. By default recognise, differentiate, simplify.
    without : str or iterable of str
        Passes and rules to leave out: ``"recognise"``, ``"simplify.algebra"``, ``"simplify.algebra.multiply_by_one"``.

    Raises
    ------
    ValueError
        For the name of a pass or a rule that does not exist, and for a pass that is both asked for and left out.

    See Also
    --------
    explain : what the passes changed

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(tg.grad(lambda x: (x * 1.0).sum()), tg.f32[3])
    >>> [eq.op.name for eq in g.transform().equations]
    ['ones']
    >>> g.transform(without="differentiate") == g.simplify()
    True
    """
    off = (without,) if isinstance(without, str) else tuple(without)
    known = {step.name: step for step in PASSES}
    for name in (*steps, *[name.split(".")[0] for name in off]):
        if name not in known:
            raise ValueError(f"there is no pass {name!r}{nearest(name, known)} The passes are {', '.join(known)}")
    left_out = {name for name in off if "." not in name}
    both = [name for name in steps if name in left_out]
    if both:
        raise ValueError(f"the pass {both[0]!r} is both asked for and left out; name it in one place")
    for step in PASSES:
        rules = [name.partition(".")[2] for name in off if "." in name and name.startswith(f"{step.name}.")]
        unknown = [rule for rule in rules if not any(r == rule or r.startswith(f"{rule}.") for r in step.rules)]
        if unknown:
            subjects = dict.fromkeys(rule.split(".")[0] for rule in step.rules)
            has = f"Its rules are in tensorgraph.passes.{step.name}.RULES" if step.rules else "It has none to leave out"
            raise ValueError(
                f"the pass {step.name} has no rule {unknown[0]!r}{nearest(unknown[0], [*subjects, *step.rules])} {has}"
            )
    for name in steps or [step.name for step in PASSES if step.default]:
        if name not in left_out:
            rules = [rule.partition(".")[2] for rule in off if rule.startswith(f"{name}.")]
            graph = known[name](graph, rules).check()
    return graph


@dataclass(frozen=True)
class Explanation(Readable):
    """What passes changed to make a graph: read it with ``print``.

    Attributes
    ----------
    graph : str
        The graph's name.
    changes : tuple of Change
        Oldest first.
    names : mapping of str to str
        What the graph's text calls the module at each path.
    """

    graph: str
    changes: tuple[Change, ...]
    names: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def __len__(self) -> int:
        return len(self.changes)

    def counts(self) -> dict[tuple[str, str], int]:
        """How often each rule of each pass was applied, in the order in which they first were."""
        return dict(Counter((change.step, change.rule) for change in self.changes))

    def text(self, full: bool = False) -> str:
        """The report: by pass and by rule, each change with the user's line.

        What a definition of the graph's text has in each of its calls is told once, ``Block x12``; `full`: all of them,
        however many.
        """
        if not self.changes:
            return f"{self.graph}: no pass has changed it"
        groups: dict[str, dict[str, list[Change]]] = {}
        for change in self.changes:
            groups.setdefault(change.step, {}).setdefault(change.rule, []).append(change)
        lines = [f"{self.graph}: {_times(self.changes)}"]
        for step, rules in groups.items():
            lines.append(f"{step}: {_times(change for changes in rules.values() for change in changes)}")
            for rule, changes in rules.items():
                why = _reason(step, rule)
                lines.append(f"  {rule} ({len(changes)}){f': {why}' if why else ''}")
                every = [(change, "") for change in changes] if full else self._once(changes)
                cut = len(every) if full else SHOWN
                for change, told in every[:cut]:
                    where = "" if change.source is None else f"  # {change.source}"
                    lines.append(f"    {told}{_line(change.before, full)}  →  {_line(change.after, full)}{where}")
                    if change.note:
                        lines.append(f"      {' '.join(change.note.split())}")
                if len(every) > cut:
                    lines.append(f"    and {len(every) - cut} more")
        return "\n".join(lines)

    def _once(self, changes: Iterable[Change]) -> list[tuple[Change, str]]:
        """The first of those changes that stand in calls of one definition, one in each, and differ in names alone; and
        how many these are."""
        alike: dict[Any, list[Change]] = {}
        here: Counter[Any] = Counter()
        for change in changes:
            path, name = self._place(change)
            key = (name, change.source, *[NUMBER.sub("", text) for text in (change.before, change.after, change.note)])
            alike.setdefault((*key, here[key, path]), []).append(change)
            here[key, path] += 1
        return [(found[0], f"{name} x{len(found)}: " if len(found) > 1 else "") for (name, *_), found in alike.items()]

    def _place(self, change: Change) -> tuple[str, str]:
        """The path at which all of a change's equations stood, and the definition that is called there."""
        around = [scope.split(".") for scope in change.scopes] or [[]]
        shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*around, strict=False))]
        for depth in range(len(shared), 0, -1):
            path = ".".join(shared[:depth])
            if path in self.names:
                return path, self.names[path]
        return "", self.graph


def _times(changes: Iterable[Change]) -> str:
    """How many there are, besides what was found and left."""
    count = sum(change.after != UNCHANGED for change in changes)
    return f"{count or 'no'} change{'s' if count > 1 else ''}"


def _line(text: str, full: bool) -> str:
    """One line of a report."""
    one = " ".join(text.split())
    return one if full or len(one) <= WIDTH else f"{one[: WIDTH - 1]}…"


def _reason(step: str, rule: str) -> str:
    """Why a rule may be applied, where its pass says so."""
    known = {one.name: one for one in PASSES}.get(step)
    if known is None:
        return ""
    return known.rules[rule][1] if rule in known.rules else ""


def explain(graph: Graph) -> Explanation:
    """What passes changed to make a graph, and why.

    Returns
    -------
    Explanation
        Prints as a report: by pass and by rule, with counts, and each change with the user's line.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x: tg.exp(x * 1.0), tg.f32[3]).simplify()
    >>> g.explain().counts()
    {('simplify', 'algebra.multiply_by_one'): 1}
    >>> print(g.explain())
    f: 1 change
    simplify: 1 change
      algebra.multiply_by_one (1): a product with 1 is not rounded
        v0 = x * 1.0  →  x  # ...
    """
    return Explanation(graph.name, graph.changes, names_by_path(graph) if graph.changes else {})

"""What lint found: findings, how they read, and the register of rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from tensorgraph.graph.drawable import Readable
from tensorgraph.graph.graph import Graph, Source

if TYPE_CHECKING:
    from tensorgraph.analysis.lint.view import View

__all__ = ["RULES", "Finding", "Findings", "Rewrite", "Rule", "rule"]

Rewrite = Callable[[Graph], Graph]


@dataclass(frozen=True, slots=True)
class Finding(Readable):
    """One thing that lint found.

    Attributes
    ----------
    id : str
        Stable: ``"TG001"``.
    name : str
        The rule in words: ``"softmax-before-cross-entropy"``.
    message : str
        What is there and why it is a fault.
    source : Source or None
        The user's file, line and function.
    scope : str
        The module path; empty at the top.
    remedy : str
    rewrite : callable or None
        Gives the repaired graph of the graph that was looked at, where the repair changes no value but by rounding (and
        by overflow that it avoids).
    """

    id: str
    name: str
    message: str
    source: Source | None
    scope: str
    remedy: str
    rewrite: Rewrite | None = field(default=None, repr=False)

    def text(self) -> str:
        """Two lines: where, what and why; the remedy."""
        where = "" if self.source is None else f"{printable(self.source.file)}:{self.source.line}: "
        module = f" (in {printable(self.scope)})" if self.scope else ""
        return f"{where}{self.id} {self.name}{module}: {printable(self.message)}\n    {printable(self.remedy)}"

    def __str__(self) -> str:
        return self.text()


class Findings(Readable, Sequence[Finding]):
    """Findings in the order of the graph; empty, and so false, where there are none."""

    def __init__(self, found: Iterable[Finding] = ()) -> None:
        self._found = tuple(found)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> Findings: ...
    def __getitem__(self, index: int | slice) -> Finding | Findings:
        return Findings(self._found[index]) if isinstance(index, slice) else self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (Findings, list, tuple)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(finding.id for finding in self._found)

    def text(self) -> str:
        """All of them, and how many; ``no findings`` where there are none."""
        if not self._found:
            return "no findings"
        exact = sum(finding.rewrite is not None for finding in self._found)
        count = f"{len(self._found)} finding{'s' if len(self._found) > 1 else ''}"
        if exact:
            count += f", {exact} with an exact rewrite"
        return "\n".join([*(finding.text() for finding in self._found), count])

    def json(self, indent: int | None = None) -> str:
        """A JSON list of objects: id, name, message, file, line, function, scope, remedy, rewrite (is there one?)."""
        return json.dumps([_plain(finding) for finding in self._found], indent=indent)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"Findings({', '.join(self.ids)})" if len(self) <= 12 else f"Findings({len(self)} of them)"


def _plain(finding: Finding) -> dict[str, Any]:
    source = finding.source
    return {
        "id": finding.id,
        "name": finding.name,
        "message": finding.message,
        "file": None if source is None else source.file,
        "line": None if source is None else source.line,
        "function": None if source is None else source.function,
        "scope": finding.scope,
        "remedy": finding.remedy,
        "rewrite": finding.rewrite is not None,
    }


def printable(text: str) -> str:
    """The text where it is one printable line, else with escapes."""
    return text if text.isprintable() else repr(text)[1:-1]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of lint: what it looks for, and the function that finds it."""

    id: str
    name: str
    look: Callable[[View], Iterator[Finding]]

    @property
    def doc(self) -> str:
        """What the rule is about."""
        return (self.look.__doc__ or "").strip()


RULES: dict[str, Rule] = {}
"""Every rule by its id."""


def rule(
    id: str, name: str
) -> Callable[[Callable[[View, Report], Iterator[Finding]]], Callable[[View, Report], Iterator[Finding]]]:
    """Register a rule: a generator of findings, given the view of a graph and a maker of findings of its own id."""

    def register(look: Callable[[View, Report], Iterator[Finding]]) -> Callable[[View, Report], Iterator[Finding]]:
        def run(view: View) -> Iterator[Finding]:
            return look(view, Report(id, name))

        run.__doc__ = look.__doc__
        if id in RULES:
            raise ValueError(f"two rules of lint are called {id}")
        RULES[id] = Rule(id, name, run)
        return look

    return register


@dataclass(frozen=True, slots=True)
class Report:
    """Makes the findings of one rule."""

    id: str
    name: str

    def __call__(
        self, at: Any, message: str, remedy: str, rewrite: Rewrite | None = None, source: Source | None = None
    ) -> Finding:
        """A finding at an equation, or at no equation (None) and then at `source`."""
        if at is not None:
            source = at.source
        return Finding(self.id, self.name, message, source, "" if at is None else at.scope, remedy, rewrite)

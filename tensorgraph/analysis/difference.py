"""A difference as a value: the edits that lead from one graph to another, as text and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.analysis.describe import printable
from tensorgraph.analysis.grouping import Group, groups
from tensorgraph.analysis.match import Match
from tensorgraph.graph.drawable import Drawable
from tensorgraph.graph.graph import Graph
from tensorgraph.jit.properties import cached_property

__all__ = ["Detail", "Difference", "Edit"]

SIGNS = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}


@dataclass(frozen=True, slots=True)
class Detail:
    """One thing that changed: an attribute, an operand, a type, and what it was and is.

    `wire` says that it is an operand, and that it was and is a value of the graph.
    """

    what: str
    before: str
    after: str
    wire: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Edit:
    """One difference.

    Attributes
    ----------
    status : {"added", "removed", "changed"}
    what : str
        ``"equation"``, ``"input"``, ``"cell"``, ``"constant"``, ``"write"``, ``"output"``, ``"structure"`` (how
        arguments or results nest) or ``"order"`` (the same things stand in another order).
    text : str
        The thing in one line.
    details : tuple of Detail
        Of what is changed: what it was and is.
    before, after : int or None
        Positions in the two graphs' tuples of these things.
    scope : str
    source : str
        The user's line, where known.
    follows : bool
        Only types differ, and those of the operands differ too: the cause is further up.
    """

    status: str
    what: str
    text: str
    details: tuple[Detail, ...] = ()
    before: int | None = None
    after: int | None = None
    scope: str = ""
    source: str = ""
    follows: bool = False

    def __str__(self) -> str:
        return f"{SIGNS[self.status]} {self.text}"


@dataclass(frozen=True)
class Difference(Drawable):
    """The edits that lead from one graph to another; false where the graphs are equal. Made by `diff`.

    Attributes
    ----------
    before, after : Graph
    edits : tuple of Edit
    """

    before: Graph
    after: Graph
    edits: tuple[Edit, ...]
    matched: Match = field(default_factory=Match, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Difference of {printable(self.before.name)} and {printable(self.after.name)}: {self.summary()}>"

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The edits as a person made them: a module that is gone, with all that went with it, is one."""
        return tuple(groups(self))

    def summary(self) -> str:
        """``2 added, 1 changed``: of the groups."""
        counts = Counter(group.status for group in self.groups)
        return ", ".join(f"{counts[status]} {status}" for status in SIGNS if counts[status]) or "no difference"

    def text(self, most: int | None = None) -> str:
        """One line an edit, its details below it, by module; empty where the graphs are equal.

        A module that is in one graph only is one line, and modules that only moved are one. Changes of type that follow
        from others are counted, not listed. `most` limits the lines.
        """
        if not self:
            return ""
        lines = [f"--- {_headline(self.before)}", f"+++ {_headline(self.after)}"]
        scope, following = "", 0
        for group in self.groups:
            edit = group.edits[0]
            if len(group.edits) > 1 or group.status == "moved":
                source = next((each.source for each in group.edits if each.source), "")
                lines.append(f"{SIGNS[group.status]} {group.text}{f'    # {source}' if source else ''}")
                lines += [f"      {each.text}: {detail}" for each in group.follows for detail in each.details]
                continue
            if edit.follows:
                following += 1
                continue
            if edit.what == "equation" and edit.scope != scope:
                scope = edit.scope
                lines.append(f"@@ {printable(scope or self.after.name)} @@")
            lines.append(f"{edit}{f'    # {edit.source}' if edit.source else ''}")
            lines += [f"      {detail}" for detail in edit.details]
            lines += [f"      {each.text}: {detail}" for each in group.follows for detail in each.details]
        if following:
            first = next(edit for edit in self.edits if edit.follows)
            lines.append(f"~ {following} more {'equations' if following > 1 else 'equation'} of another type, such as")
            lines.append(f"      {first.text}")
        if most is not None and len(lines) > most:
            lines = [*lines[:most], f"... {len(lines) - most} more lines"]
        return "\n".join([*lines, self.summary()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if not self:
            return {"text/plain": repr(self)}
        return {**super()._repr_mimebundle_(), "text/plain": self.text(most=400)}


def _headline(graph: Graph) -> str:
    n = len(graph.equations)
    return f"{printable(graph.name)}: {n} {'equation' if n == 1 else 'equations'}"

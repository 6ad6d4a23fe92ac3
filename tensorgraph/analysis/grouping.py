"""The edits of a difference as a person made them: a layer that is gone is one, with all that went with it.

What belongs to a module that is there in one graph only, its equations, cells, writes, and the optimiser's numbers and
updates for its parameters, is one group. Readers that now read what stood before it follow from it, and modules that
only have another path are told together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorgraph.analysis.describe import printable
from tensorgraph.graph.graph import Graph, Literal, Var

if TYPE_CHECKING:
    from tensorgraph.analysis.difference import Difference, Edit

__all__ = ["Group", "groups"]


@dataclass
class Group:
    """Edits that are one: of a module that was added, removed or moved, or one edit by itself.

    Attributes
    ----------
    status : {"added", "removed", "changed", "moved"}
    text : str
        In one line.
    edits : list of Edit
        All that belong to it.
    follows : list of Edit
        Changes elsewhere that it explains.
    """

    status: str
    text: str
    edits: list[Edit]
    follows: list[Edit] = field(default_factory=list)


def groups(difference: Difference) -> list[Group]:
    """The edits of a difference in groups, in order."""
    # The plan:
    # 1. for each graph, the modules all of whose equations are in it alone, the outermost of those in each other;
    # 2. with each go its cells and what is written to them, and cells of others that are called after them, as an
    #    optimiser's are, with the updates that read these;
    # 3. changed cells of which only the path is another one, and that are of a module that is still there, moved;
    # 4. a change that is only another operand follows from what was put before it or taken away.
    edits = list(difference.edits)
    owner: dict[int, Group] = {}
    for status, graph in (("removed", difference.before), ("added", difference.after)):
        for group, members in _modules(edits, status, graph):
            for number in members:
                owner.setdefault(number, group)
    moved = _moved(edits)
    if moved is not None:
        owner.update((number, moved[0]) for number in moved[1] if number not in owner)
    result: list[Group] = []
    for number, edit in enumerate(edits):
        group = owner.setdefault(number, Group(edit.status, str(edit)[2:], []))
        if not group.edits:
            result.append(group)
        group.edits.append(edit)
    whole = [g for g in result if g.status in ("added", "removed") and any(e.what == "equation" for e in g.edits)]
    for number, edit in enumerate(edits):
        group = owner[number]
        cause = _cause(difference, edit, whole) if whole and group not in whole else None
        if cause is not None:
            cause.follows.append(edit)
            group.edits.remove(edit)
    return [group for group in result if group.edits]


def _modules(edits: list[Edit], status: str, graph: Graph) -> Iterator[tuple[Group, list[int]]]:
    """The modules that are in one graph alone, with the numbers of the edits that belong to each."""
    own = {
        _position(edit): number
        for number, edit in enumerate(edits)
        if edit.what == "equation" and edit.status == status
    }
    scopes: dict[str, bool] = {}
    for position, eq in enumerate(graph.equations):
        for path in _around(eq.scope):
            scopes[path] = scopes.get(path, True) and position in own
    outermost: list[str] = []
    for path in sorted((path for path, alone in scopes.items() if alone), key=len):
        if not any(_is_within(path, other) for other in outermost):
            outermost.append(path)
    cells = {
        _position(edit): number for number, edit in enumerate(edits) if edit.what == "cell" and edit.status == status
    }
    for path in sorted(
        outermost, key=lambda path: min(n for n, eq in enumerate(graph.equations) if _is_within(eq.scope, path))
    ):
        declared = [n for n, decl in enumerate(graph.cells) if _is_within(decl.path, path)]
        if any(n not in cells for n in declared):
            continue  # some of it is in the other graph too
        paths = [graph.cells[n].path for n in declared]
        known = {graph.cells[n].var for n in declared}
        belonging = {n for n, decl in enumerate(graph.cells) if n in cells and _is_of(decl.path, paths)}
        known |= {graph.cells[n].var for n in belonging}
        numbers = [own[n] for n, eq in enumerate(graph.equations) if n in own and _is_within(eq.scope, path)]
        made: set[Var] = set()
        for n, eq in enumerate(graph.equations):
            if n in own and (_is_within(eq.scope, path) or not known.isdisjoint(eq.variables())):
                made.update(eq.outputs)
                numbers.append(own[n])
        written = [
            number for number, edit in enumerate(edits)
            if edit.what == "write" and edit.status == status and graph.writes[_position(edit)].cell in known
        ]  # fmt: skip
        members = sorted({*numbers, *(cells[n] for n in {*declared, *belonging}), *written})
        count = sum(_is_within(eq.scope, path) for eq in graph.equations)
        parts = [_count(count, "equation"), *([_count(len(declared), "cell")] if declared else [])]
        kind = graph.modules.get(path, "scope")
        yield Group(status, f"{kind} {printable(path)}: {', '.join(parts)}", []), members


def _moved(edits: list[Edit]) -> tuple[Group, list[int]] | None:
    """Cells of which only the path is another one, told by their modules."""
    numbers: list[int] = []
    names: dict[tuple[str, str], None] = {}
    for number, edit in enumerate(edits):
        if edit.what == "cell" and edit.status == "changed" and [d.what for d in edit.details] == ["path"]:
            detail = edit.details[0]
            old, _, leaf = detail.before.rpartition(".")
            new, _, other = detail.after.rpartition(".")
            names[(old, new) if leaf == other else (detail.before, detail.after)] = None
            numbers.append(number)
    if len(numbers) < 2:
        return None
    said = [f"{old or 'the model'} is {new or 'the model'}" for old, new in names]
    more = f" and {len(said) - 6} more" if len(said) > 6 else ""
    return Group("moved", f"{', '.join(said[:6])}{more}: {_count(len(numbers), 'cell')}", []), numbers


def _cause(difference: Difference, edit: Edit, whole: list[Group]) -> Group | None:
    """The module from which a change of operands follows, if nothing else changed there."""
    if edit.status != "changed" or edit.what not in ("equation", "output", "write") or not edit.details:
        return None
    if edit.what == "equation" and edit.before is not None and difference.before.equations[edit.before].is_gradient:
        return next((group for group in whole if _asks_less(difference, edit, group)), None)
    pairs = _operands(difference, edit)
    if pairs is None:
        return None
    causes = []
    for old, new in pairs:
        cause = next((group for group in whole if _bridges(difference, group, old, new)), None)
        if cause is None:
            return None
        causes.append(cause)
    return causes[0] if causes else None


def _asks_less(difference: Difference, edit: Edit, group: Group) -> bool:
    """Whether a deferred gradient is the same but for cells of a module that is gone, or came."""
    assert edit.before is not None and edit.after is not None
    a, b = difference.before.equations[edit.before], difference.after.equations[edit.after]
    counterpart = difference.matched.counterpart
    kept = [counterpart.get(x) if type(x) is Var else x for x in b.group(1)]
    gone = [x for x in a.group(1) if x not in kept]
    come = [x for x, old in zip(b.group(1), kept, strict=True) if old is None]
    graph, odd = (difference.before, gone) if group.status == "removed" else (difference.after, come)
    cells = {graph.cells[_position(e)].var for e in group.edits if e.what == "cell"}
    others = come if group.status == "removed" else gone
    same = [counterpart.get(y) if type(y) is Var else y for y in b.group(0)] == list(a.group(0))
    return same and not others and bool(odd) and cells.issuperset(odd)


def _operands(difference: Difference, edit: Edit) -> list[tuple[Var, Var]] | None:
    """The operands that are others now, if that is all that changed."""
    a, b = difference.before, difference.after
    if edit.before is None or edit.after is None:
        return None
    old: tuple[Var | Literal, ...]
    new: tuple[Var | Literal, ...]
    if edit.what == "output":
        old, new = (a.outputs[edit.before],), (b.outputs[edit.after],)
    elif edit.what == "write":
        old, new = (a.writes[edit.before].value,), (b.writes[edit.after].value,)
    else:
        if not all(detail.wire for detail in edit.details):
            return None
        e, f = a.equations[edit.before], b.equations[edit.after]
        if len(e.inputs) != len(f.inputs):
            return None
        old, new = tuple(e.atoms()), tuple(f.atoms())
    if len(old) != len(new):
        return None
    counterpart = difference.matched.counterpart
    pairs = []
    for p, q in zip(old, new, strict=True):
        if isinstance(p, Literal) or isinstance(q, Literal):
            if isinstance(p, Literal) and isinstance(q, Literal):
                continue
            return None
        if counterpart.get(q) is not p:
            pairs.append((p, q))
    return pairs


def _bridges(difference: Difference, group: Group, old: Var, new: Var) -> bool:
    """Whether the equations of a group lead from one operand to the other: it was put between, or taken away there."""
    counterpart = difference.matched.counterpart
    if group.status == "removed":
        graph, start, goal = difference.before, old, counterpart.get(new)
    else:
        back = {theirs: ours for ours, theirs in counterpart.items()}
        graph, start, goal = difference.after, new, back.get(old)
    inside = {_position(edit) for edit in group.edits if edit.what == "equation"}
    seen: set[Var] = set()
    stack = [start]
    while stack:
        var = stack.pop()
        number = graph.index.position.get(var)
        if var is goal and var is not start:
            return True
        if var not in seen and number in inside:
            seen.add(var)
            stack += graph.equations[number].variables()
    return False


def _position(edit: Edit) -> int:
    position = edit.after if edit.before is None else edit.before
    assert position is not None
    return position


def _around(scope: str) -> Iterator[str]:
    """A module path and those around it."""
    while scope:
        yield scope
        scope = scope.rpartition(".")[0]


def _is_within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _is_of(path: str, cells: Iterable[str]) -> bool:
    """Whether a cell is called after one of these, as an optimiser's are: ``optimizer.m.0.weight``."""
    return any(path.endswith(f".{cell}") for cell in cells)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"

"""The picture of a difference: both graphs in one drawing, what was added, removed and changed said on each box.

What is the same is drawn once, folded where there is much of it. Added boxes and edges are thick and carry ``+``,
removed ones are dashed and carry ``-``, changed ones carry ``~`` and what changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from tensorgraph.analysis.difference import Detail, Difference, Edit
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.calls import Call, scoped
from tensorgraph.graph.graph import Atom, Equation, Graph, Literal, Var
from tensorgraph.pages.palette import THEMES
from tensorgraph.viz.model.budget import mend
from tensorgraph.viz.model.build import build
from tensorgraph.viz.model.drawing import Drawing, Edge, LegendEntry, Row
from tensorgraph.viz.model.facts import GONE
from tensorgraph.viz.model.focus import within
from tensorgraph.viz.model.fold import fold
from tensorgraph.viz.model.functions import with_names
from tensorgraph.viz.model.labels import SIGNS, clean
from tensorgraph.viz.model.view import Box, depths, kind_of
from tensorgraph.viz.render.columns import SMALL
from tensorgraph.viz.render.parts import scales

__all__ = ["compare"]

READABLE = 40  # ops that are all drawn; of more, what is the same is folded
MOST = 150  # boxes; of more, only those near an edit are drawn
MOST_EDITS = 300
MOST_DETAILS = 4  # on one box
WORDS = {"added": "added", "removed": "removed", "changed": "changed", "moved": "moved"}


def compare(difference: Difference, hops: int = 1, theme: str = "auto", timeout: float = 20.0) -> Drawing:
    """Draw a difference.

    Parameters
    ----------
    difference : Difference
        Made by `tensorgraph.diff`.
    hops : int
        How far around an edit boxes are kept, where the graphs are too large to draw whole.
    theme : {"auto", "light", "dark"}
    timeout : float
        Seconds that a layout may take.

    Returns
    -------
    Drawing
        Of the second graph with what was removed put back; `Node.status` and `Edge.status` say which is which.
    """
    if theme not in THEMES:
        raise ValueError(f"theme must be one of {', '.join(map(repr, THEMES))}, got {theme!r}")
    union = _Union(difference)
    drawing = _legible(union)
    touched = [node.id for node in drawing.nodes if node.status]
    if len(drawing.nodes) > MOST and touched:
        kept = touched[:MOST_EDITS]
        drawing = within(drawing, kept, hops, "an edit")
        if len(touched) > len(kept):
            left = f"{len(touched) - len(kept):,} more boxes differ: Difference.text() lists them"
            drawing = replace(drawing, notes=(*drawing.notes, left))
    title = f"{clean(difference.before.name)} to {clean(difference.after.name)}: {difference.summary()}"
    notes = tuple(_note(edit) for edit in difference if edit.what in ("structure", "order"))
    notes += tuple(clean(group.text, 110) for group in difference.groups if group.status == "moved")
    drawing = replace(drawing, title=title, level="diff", notes=(*notes, *drawing.notes))
    return replace(mend(drawing), theme=theme, timeout=float(timeout))


def _legible(union: _Union) -> Drawing:
    """The first drawing, or the deepest by module of which the words can be read on a screen; else that with the
    largest."""
    largest, best = 0.0, None
    for depth in (None, *range(depths(union.graph), 0, -1)):
        drawing = _marked(build(union.graph, union.boxes(depth), "op"), union)
        scale, _ = scales(drawing)
        if scale > largest:
            largest, best = scale, drawing
        if scale >= SMALL:
            break
    assert best is not None
    return best


def _note(edit: Edit) -> str:
    return clean("; ".join([str(edit), *map(str, edit.details)]), 110)


class _Union:
    """The second graph with what was removed put back, and what is known of each part."""

    def __init__(self, difference: Difference) -> None:
        # The plan:
        # 1. what of the first graph has no partner is gone;
        # 2. each gone equation is put behind the last of the second graph that it follows or needs, so that the union
        #    is in an order again;
        # 3. one pass over the second graph lays both out and notes where each equation now stands;
        # 4. inputs, cells, constants, outputs and writes that are gone are appended;
        # 5. the edits and the readers are filed by their positions in the union.
        a, b, found = with_names(difference.before), with_names(difference.after), difference.matched
        self.classes = a.modules
        self.difference = difference
        self.stays = {around for i in found.equations for around in _around_scope(a.equations[i].scope)}
        self.known: dict[Var, Var] = {old: new for new, old in found.counterpart.items()}
        pairs = found.equations
        if not difference:  # equal graphs are not matched
            pairs = {}
        self.position: dict[int, int] = {}  # of the second graph's equations, here
        self.old: dict[int, int] = {}  # of the removed equations, here
        gone = [i for i in range(len(a.equations)) if i not in pairs] if difference else []
        after: dict[int, list[int]] = defaultdict(list)  # removed equations, by the equation that they follow
        place = -1
        made = dict(b.index.position)
        removed = set(gone)
        for i, eq in enumerate(a.equations):
            place = max(place, pairs.get(i, -1))
            if i not in removed:
                continue
            needs = [made.get(self.known.get(v, v), -1) for v in eq.atoms() if isinstance(v, Var)]
            made.update(dict.fromkeys(eq.outputs, max([place, *needs])))
            after[max([place, *needs])].append(i)
        equations: list[Equation] = []
        for j in range(-1, len(b.equations)):
            if j >= 0:
                self.position[j] = len(equations)
                equations.append(b.equations[j])
            for i in after[j]:
                self.old[i] = len(equations)
                equations.append(replace(self.mapped(a.equations[i]), call=self.former(a.equations[i])))
        lost = {what: [e.before for e in difference if e.what == what and e.status == "removed"] for what in _LISTS}
        self.inputs = (*b.inputs, *[a.inputs[i] for i in lost["input"] if i is not None])
        consts = dict(b.consts)
        own = list(a.consts)
        consts.update({own[i]: a.consts[own[i]] for i in lost["constant"] if i is not None})
        outputs = (*b.outputs, *[self.single(a.outputs[i]) for i in lost["output"] if i is not None])
        writes = [a.writes[i] for i in lost["write"] if i is not None]
        self.graph: Graph = b.replace(
            inputs=self.inputs,
            cells=(*b.cells, *[a.cells[i] for i in lost["cell"] if i is not None]),
            consts=consts,
            equations=tuple(equations),
            writes=(
                *b.writes,
                *[replace(w, cell=self.known.get(w.cell, w.cell), value=self.single(w.value)) for w in writes],
            ),
            outputs=outputs,
            in_tree=b.in_tree if len(self.inputs) == len(b.inputs) else flatten([*self.inputs])[1],
            out_tree=b.out_tree if len(outputs) == len(b.outputs) else flatten([*range(len(outputs))])[1],
            statics=b.statics if len(self.inputs) == len(b.inputs) else (),
            arguments=(),
        )
        self.paths = {cell.var: cell.path for cell in (*a.cells, *b.cells)}
        self.readers: dict[Var, dict[int, None]] = defaultdict(dict)  # gradients are of everything: they say nothing
        for i, eq in enumerate(equations):
            for atom in eq.atoms() if not eq.is_gradient else ():
                if isinstance(atom, Var):
                    self.readers[atom][i] = None
        moved = [group for group in difference.groups if group.status == "moved"]
        self.moved = {id(edit) for group in moved for edit in (*group.edits, *group.follows)}
        self.follows = {id(edit) for group in difference.groups for edit in group.follows}
        self.edits: dict[int, Edit] = {}  # by the position of an equation here
        for edit in difference:
            if edit.what == "equation":
                if edit.after is not None:
                    self.edits[self.position[edit.after]] = edit
                elif edit.before is not None:
                    self.edits[self.old[edit.before]] = edit

    def former(self, eq: Equation) -> Call | None:
        """The call of an equation that is gone: a module of which nothing stays is one of its own."""
        call: Call | None = None
        for path in _around_scope(eq.scope):
            name = path.rpartition(".")[2]
            gone = path not in self.stays and GONE not in (call.scope if call else "")
            new = ".".join([*([call.scope] if call else []), f"{name}{GONE}" if gone else name])
            call = scoped(new, self.classes.get(path, ""), call)
        return call

    def atom(self, atom: Atom) -> Atom:
        if isinstance(atom, tuple):
            return tuple(self.known.get(a, a) if isinstance(a, Var) else a for a in atom)
        return self.known.get(atom, atom) if isinstance(atom, Var) else atom

    def single(self, atom: Var | Literal) -> Var | Literal:
        return self.known.get(atom, atom) if isinstance(atom, Var) else atom

    def mapped(self, eq: Equation) -> Equation:
        return replace(eq, inputs=tuple(self.atom(a) for a in eq.inputs))

    def status(self, i: int) -> str:
        """What an equation is that can be joined with its like: ``added``, ``removed``, ``moved``, or the same as
        before; ``changed`` ones are drawn by themselves."""
        edit = self.edits.get(i)
        if edit is None or edit.follows or id(edit) in self.follows:
            return ""
        return "moved" if id(edit) in self.moved else edit.status

    def boxes(self, depth: int | None = None) -> list[Box]:
        """Every op of a small graph; of a large one, runs of what is the same folded by module; what repeats and is the
        same is drawn once. With a `depth`, modules at most so deep, also what is added and removed."""
        equations = self.graph.equations
        if depth is not None:
            return fold(self.graph, self.joined(depth), apart=self.edits)
        if len(equations) <= READABLE:
            boxes = [Box(kind_of(eq), eq.scope or "", (i,)) for i, eq in enumerate(equations)]
            return fold(self.graph, boxes, apart=self.edits)
        open_ = {i for i, edit in self.edits.items() if not edit.follows}
        producer = self.graph.index.position
        for i in tuple(open_):
            open_.update(producer[v] for v in equations[i].atoms() if isinstance(v, Var) and v in producer)
        boxes = []
        run: list[int] = []

        def close() -> None:
            if len(run) == 1:
                boxes.append(Box("op", equations[run[0]].scope or "", (run[0],)))
            elif run:
                scope = equations[run[0]].scope or ""
                boxes.append(Box("module" if scope else "ops", scope, tuple(run)))
            run.clear()

        for i, eq in enumerate(equations):
            if i in open_ or kind_of(eq) == "gradient":
                close()
                boxes.append(Box(kind_of(eq), eq.scope or "", (i,)))
                continue
            if run and equations[run[-1]].scope != eq.scope:
                close()
            run.append(i)
        close()
        return fold(self.graph, boxes, apart={*open_, *self.edits})

    def joined(self, depth: int) -> list[Box]:
        """Neighbours of one module, and of one status, as one box."""
        equations = self.graph.equations

        def key(i: int) -> tuple[str, str, int]:
            status = self.status(i)
            alone = i if status == "changed" or kind_of(equations[i]) == "gradient" else -1
            return ".".join(equations[i].scope.split(".")[:depth]), status, alone

        boxes = []
        for (scope, _, _), run in groupby(range(len(equations)), key):
            members = tuple(run)
            if len(members) == 1:
                eq = equations[members[0]]
                boxes.append(Box(kind_of(eq), eq.scope or "", members))
            else:
                boxes.append(Box("module" if scope else "ops", scope, members))
        return boxes


def _around_scope(scope: str | None) -> list[str]:
    """A scope and those around it, the outermost first."""
    parts = scope.split(".") if scope else []
    return [".".join(parts[: n + 1]) for n in range(len(parts))]


_LISTS = ("input", "cell", "constant", "write", "output")


def _marked(drawing: Drawing, union: _Union) -> Drawing:
    """Statuses of boxes and edges, the details of what changed, and edges that are no more."""
    difference, graph = union.difference, union.graph
    by_member = {i: node.id for node in drawing.nodes for i in node.members}
    producer = {v: by_member[i] for i, eq in enumerate(graph.equations) for v in eq.outputs if i in by_member}
    entries = [node.id for node in drawing.nodes if node.role == "input"]
    exits_ = [node.id for node in drawing.nodes if node.role == "output"]
    producer.update(zip(graph.inputs, entries, strict=False))
    status: dict[str, str] = {}
    rows: dict[str, list[Row]] = defaultdict(list)
    folded = {node.id for node in drawing.nodes if len(node.members) > 1}
    quiet: set[str] = set()  # boxes that only moved
    of_box = {node.id: {union.status(i) for i in node.members} for node in drawing.nodes}
    for i, edit in union.edits.items():
        at = by_member[i]
        if id(edit) in union.moved:
            quiet.add(at)
            continue
        if id(edit) in union.follows and not [d for d in edit.details if not _is_edge(edit, d)]:
            continue  # the edges say it
        alike = of_box[at]
        status[at] = "changed" if at in folded and len(alike) > 1 else edit.status
        if at in folded and alike != {edit.status}:  # what follows is folded with others
            rows[at].append(Row("detail", "other types"))
        else:
            rows[at] += [Row("detail", clean(str(detail))) for detail in edit.details if not _is_edge(edit, detail)]
    extra_inputs, extra_outputs = len(difference.after.inputs), len(difference.after.outputs)
    for edit in difference:
        if id(edit) in union.moved:
            for at, _ in _around(edit, union, by_member, producer, entries, exits_, extra_inputs, extra_outputs):
                quiet.add(at)
            continue
        for at, row in _around(edit, union, by_member, producer, entries, exits_, extra_inputs, extra_outputs):
            if status.setdefault(at, edit.status if row is None else "changed") == "changed" and row:
                rows[at].append(row)
    status |= dict.fromkeys(quiet - status.keys(), "moved")
    nodes = tuple(
        replace(node, status=status.get(node.id, ""), rows=(*_bare(node.rows), *_few(rows[node.id])))
        for node in drawing.nodes
    )
    wires = _old_wires(union, by_member, producer, exits_)
    new = _new_wires(union, by_member, producer, exits_)
    edges = []
    for edge in drawing.edges:
        ends = {status.get(edge.tail), status.get(edge.head)}
        ends -= {"moved"}
        own = "removed" if "removed" in ends else "added" if "added" in ends or (edge.tail, edge.head) in new else ""
        edges.append(replace(edge, status=own))
    drawn = {(edge.tail, edge.head) for edge in drawing.edges}
    edges += [
        Edge(tail, head, values=(value,), status="removed")
        for (tail, head), value in wires.items()
        if (tail, head) not in drawn and tail != head
    ]
    used = {*status.values(), *(edge.status for edge in edges)}
    legend = tuple(LegendEntry(key, f"{SIGNS[key]} {word}") for key, word in WORDS.items() if key in used)
    groups = tuple(replace(group, rows=_titled(group.rows)) for group in drawing.groups)
    taken = {node.path for node in nodes}
    bare = [node.path.replace(GONE, "") for node in nodes]
    nodes = tuple(node if path in taken else replace(node, path=path) for node, path in zip(nodes, bare, strict=True))
    return replace(drawing, nodes=nodes, groups=groups, edges=tuple(edges), legend=(*legend, *drawing.legend))


def _titled(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a frame; that of a module that is gone bears the sign."""
    if GONE not in rows[0].text:
        return rows
    return (replace(rows[0], text=f"{SIGNS['removed']} {rows[0].text.replace(GONE, '')}"), *rows[1:])


def _bare(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """The rows of a box, modules that are gone under their old names."""
    return tuple(replace(row, text=row.text.replace(GONE, "")) if GONE in row.text else row for row in rows)


def _is_edge(edit: Edit, detail: Detail) -> bool:
    """Whether the edges of the drawing say it: another value comes in."""
    return edit.what == "equation" and detail.wire


def _few(rows: list[Row]) -> list[Row]:
    rows = list(dict.fromkeys(rows))
    if len(rows) <= MOST_DETAILS:
        return rows
    return [*rows[: MOST_DETAILS - 1], Row("detail", f"and {len(rows) - MOST_DETAILS + 1} more")]


def _around(
    edit: Edit, union: _Union, by_member: Mapping[int, str], producer: Mapping[Var, str], entries: list[str],
    exits_: list[str], inputs: int, outputs: int,
) -> Iterable[tuple[str, Row | None]]:  # fmt: skip
    """The boxes that an edit outside of the equations is told on, with a row, or without where the box is it."""
    a, b = union.difference.before, union.difference.after
    at = edit.after if edit.after is not None else edit.before
    if at is None or edit.what in ("equation", "structure", "order"):
        return
    gone = edit.status == "removed"
    if edit.what == "input":
        order = [i for i, v in enumerate(union.inputs[inputs:], inputs) if gone and v is a.inputs[at]]
        node = entries[order[0] if gone else at]
        yield node, None
        for detail in edit.details:
            yield node, Row("detail", clean(str(detail)))
    elif edit.what == "output":
        lost = [e.before for e in union.difference if e.what == "output" and e.status == "removed"]
        yield exits_[outputs + lost.index(at) if gone else at], None
    elif edit.what == "write":
        write = (a if gone else b).writes[at]
        atom = union.atom(write.value)
        path = union.paths[write.cell]
        if isinstance(atom, Var) and atom in producer:
            yield producer[atom], Row("detail", clean(f"{SIGNS[edit.status]} writes {path}"))
    else:  # a cell or a constant: where it is read
        var = ((a if gone else b).cells[at].var) if edit.what == "cell" else list((a if gone else b).consts)[at]
        if edit.status == "changed":
            own = clean(var.name or edit.what)
            told = [
                f"{detail.after}, was {detail.before}" if detail.what == "path" else f"{own} {detail}"
                for detail in edit.details
            ]
            for i in union.readers.get(var, ()):
                for text in told:
                    yield by_member[i], Row("detail", clean(f"~ {text}"))


def _new_wires(
    union: _Union, by_member: Mapping[int, str], producer: Mapping[Var, str], exits_: list[str]
) -> set[tuple[str, str]]:
    """Edges of the second graph that lead into a changed operand."""
    found = set()
    for head, _, new in _rewired(union, by_member, exits_):
        if isinstance(new, Var) and new in producer:
            found.add((producer[new], head))
    return found


def _old_wires(
    union: _Union, by_member: Mapping[int, str], producer: Mapping[Var, str], exits_: list[str]
) -> dict[tuple[str, str], str]:
    """Edges of the first graph that are no more though what they lead to is."""
    found = {}
    for head, old, _ in _rewired(union, by_member, exits_):
        var = union.known.get(old, old) if isinstance(old, Var) else None
        if var is not None and var in producer:
            found[producer[var], head] = str(var.aval)
    return found


def _rewired(
    union: _Union, by_member: Mapping[int, str], exits_: list[str]
) -> Iterable[tuple[str, Atom | None, Atom | None]]:
    """Box, old operand and new one, for every operand of a changed equation and every result that changed."""
    a, b = union.difference.before, union.difference.after
    for edit in union.difference:
        if edit.status != "changed" or edit.before is None or edit.after is None:
            continue
        if edit.what == "output":
            yield exits_[edit.after], a.outputs[edit.before], b.outputs[edit.after]
        elif edit.what == "equation":
            head = by_member[union.position[edit.after]]
            olds = list(a.equations[edit.before].atoms())
            news = list(b.equations[edit.after].atoms())
            kept = {id(union.known.get(o, o)) for o in olds if isinstance(o, Var)}
            was = {id(n) for n in news}
            for old in olds:
                if isinstance(old, Var) and id(union.known.get(old, old)) not in was:
                    yield head, old, None
            for new in news:
                if isinstance(new, Var) and id(new) not in kept:
                    yield head, None, new

"""`Drawing` to plain text: one typed line a box, in order, columns aligned; ASCII but for the user's own names."""

from __future__ import annotations

from collections import Counter, defaultdict

from tensorgraph.viz.model.drawing import Drawing, Group, Node, Row
from tensorgraph.viz.model.facts import unique
from tensorgraph.viz.model.labels import LONGEST, SIGNS, cut

__all__ = ["to_text"]

OPERANDS = 4  # named on a line
WIDEST = 80  # characters of a cell to which its column is padded; longer ones push aside their own line alone
TITLED = ("module", "ops", "kernel", "kernels", "update")  # roles whose title may say more than the path
OMITTED = ("type", "warning", "stub", "operand")  # in other columns already


def to_text(drawing: Drawing) -> str:
    """Columns: path, type of what leaves the box, where its operands come from, and the rest of its label."""
    names = _names(drawing)
    entries = drawing.points
    coming: dict[str, list[str]] = defaultdict(list)
    for edge in drawing.edges:
        name = f"-{names[edge.tail]}" if edge.status == "removed" else names[edge.tail]
        if edge.role == "carried" and edge.tail not in entries:
            name = f"then {name}"
        elif edge.role == "carried":
            name = f"before {name}"
        turns = [row.text for row in edge.rows if row.style == "repeats"]
        name += f" ({turns[0]})" if turns else ""
        coming[edge.head].append(name)
    lines = []
    around = _templates(drawing)
    open_: tuple[Group, ...] = ()
    for node in drawing.nodes:
        for depth, group in enumerate(around[node.group]):
            if open_[depth : depth + 1] != (group,):
                lines.append((f"{'  ' * depth}{group.rows[0].text}", "", "", ""))
                open_ = (*open_[:depth], group)
        open_ = around[node.group]
        name = "  " * len(open_) + _sign(node) + names[node.id]
        lines.append((name, _types(node), _operands(node, coming[node.id]), _rest(node)))
    widths = [max((len(line[i]) for line in lines if len(line[i]) <= WIDEST), default=0) for i in range(3)]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0])).rstrip() for line in lines]
    if drawing.level == "summary":
        body = [f"{row.text.ljust(24)}{row.value}".rstrip() for row in drawing.nodes[0].rows[1:]]
        body += [drawing.nodes[0].metric] if drawing.nodes[0].metric else []
    notes = [f"note: {note}" for note in drawing.notes]
    return "\n".join([drawing.title, "", *body, *([""] if notes else []), *notes]) + "\n"


def _templates(drawing: Drawing) -> dict[str | None, tuple[Group, ...]]:
    """The templates around what stands in a frame, outermost first: what stands for several is said and indented."""
    found: dict[str | None, tuple[Group, ...]] = {None: ()}
    for group in drawing.groups:  # outer ones come first
        found[group.id] = (*found[group.parent], group) if group.count > 1 else found[group.parent]
    return found


def _names(drawing: Drawing) -> dict[str, str]:
    """A name a box: its path; inputs and outputs by their own names where no other box is called so.

    Long ones are cut in the middle, everywhere alike, and numbered where that leaves the same.
    """
    paths = {node.path for node in drawing.nodes}
    short = {n.id: n.path.partition("/")[2] for n in drawing.nodes if n.role in ("input", "output")}
    taken = Counter(short.values())
    found = {}
    for node in drawing.nodes:
        own = short.get(node.id)
        free = own is not None and own not in paths and (taken[own] == 1 or node.role == "input")
        found[node.id] = own if own is not None and free else node.path
    long = {id: name for id, name in found.items() if len(name) > LONGEST}
    used = {name: 1 for id, name in found.items() if id not in long}
    return found | {id: unique(used, cut(name, LONGEST)) for id, name in long.items()}


def _types(node: Node) -> str:
    shown = ", ".join(node.types[:2])
    return shown + (f" and {len(node.types) - 2} more" if len(node.types) > 2 else "")


def _operands(node: Node, coming: list[str]) -> str:
    if node.role == "input":
        return "input"
    if not coming:
        return "output" if node.role == "output" else ""
    more = f" and {len(coming) - OPERANDS} more" if len(coming) > OPERANDS else ""
    return f"{'output ' if node.role == 'output' else ''}<- {', '.join(coming[:OPERANDS])}{more}"


def _sign(node: Node) -> str:
    return f"{SIGNS[node.status]} " if node.status in SIGNS else ""


def _rest(node: Node) -> str:
    said = [*([node.metric] if node.metric else []), *_rows(node)]
    return "; ".join(said)


def _rows(node: Node) -> list[str]:
    said = [_row(row) for row in node.rows[1:] if row.style not in OMITTED]
    title = node.title.removeprefix(f"{node.path} ")  # of a kernel
    if node.role in TITLED and title != node.path and not node.path.endswith(title):
        said.insert(0, title)
    if node.role == "op" and title != node.path.rpartition("/")[2].partition("#")[0]:
        said.insert(0, title)
    return said


def _row(row: Row) -> str:
    if not row.value:
        return row.text
    return f"{row.text}={row.value}" if row.style in ("attribute", "constant") else f"{row.text} {row.value}"

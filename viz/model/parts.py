"""A module as it is made, without a call of it: its parts, their parameters, and the order where a container gives one.

Nothing of the module's `forward` runs, so this is what a notebook can show of any module at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from tensorgraph.engine.cells import Cell, Parameter
from tensorgraph.nn.containers import Sequential
from tensorgraph.nn.module import Module
from tensorgraph.viz.model.build import legend_of
from tensorgraph.viz.model.drawing import Drawing, Edge, Group, Node, Row
from tensorgraph.viz.model.fold import NUMBER
from tensorgraph.viz.model.labels import clean, count, times, type_text

__all__ = ["parts_of"]

FEWEST = 3  # equal parts in a row that are drawn as one
MOST_CELLS = 4  # of a part, named


def parts_of(module: Module) -> Drawing:
    """The drawing of a module's parts."""
    return _Parts(module).drawing()


class _Parts:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.nodes: list[Node] = []
        self.groups: list[Group] = []
        self.edges: list[Edge] = []

    def drawing(self) -> Drawing:
        name = type(self.module).__name__
        self.inside(self.module, "", None, 1)
        own = [(key, cell) for key, cell in self.module._items() if isinstance(cell, Cell)]
        if own or not self.nodes:
            self.box(name, "", None, own)
        size = sum(cell.size for cell in self.module.parameters())
        modules = sum(1 for _ in self.module.named_modules()) - 1
        said = [count(modules, "part")] if modules else []
        title = f"{clean(name)}: {', '.join([*said, count(size, 'param')])}"
        nodes, edges = tuple(self.nodes), tuple(self.edges)
        note = "the parts as they are made; tg.draw(model, x) draws what flows between them"
        return Drawing(title, "parts", nodes, edges, tuple(self.groups), legend_of(nodes, edges), (note,))

    def inside(self, module: Module, path: str, group: str | None, repeats: int) -> tuple[str | None, str | None]:
        """The boxes of a module's parts; the first and the last of them, where they are called in order."""
        ordered = isinstance(module, Sequential)
        first: str | None = None
        last: str | None = None
        items = [(key, item) for key, item in module._items() if isinstance(item, Module)]
        for run in _runs(items):
            names, key = [key for key, _ in run], run[0][0]
            here, frame = f"{path}.{key}" if path else key, group
            if len(run) >= FEWEST:
                frame = f"g{len(self.groups)}"
                title = f"{clean(names[0])} ... {clean(names[-1])} x{len(run)}"
                self.groups.append(Group(frame, f"{here}..{names[-1]}", (Row("title", title),), group, len(run)))
            for name, one in run[:1] if len(run) >= FEWEST else run:
                at = f"{path}.{name}" if path else name
                many = repeats * (len(run) if len(run) >= FEWEST else 1)
                begin, end = self.part(one, name, at, frame, many)
                if ordered and last is not None and begin is not None:
                    self.edges.append(Edge(last, begin))
                first, last = first or begin, end
                if ordered and len(run) >= FEWEST and begin is not None and end is not None:
                    self.edges.append(Edge(end, begin, "carried", (Row("detail", f"x{len(run)}"),)))
        return (first, last) if ordered else (None, None)

    def part(
        self, part: Module, name: str, path: str, group: str | None, repeats: int
    ) -> tuple[str | None, str | None]:
        """A part: a frame for what only puts others in order, else a box."""
        if isinstance(part, Sequential) and len(part):
            frame = f"g{len(self.groups)}"
            self.groups.append(Group(frame, path, (Row("title", clean(f"{type(part).__name__} {name}")),), group))
            return self.inside(part, path, frame, repeats)
        title = f"{type(part).__name__} {name}"
        box = self.box(title, path, group, list(part.named_cells()), len(part.modules()) - 1, repeats, repr(part))
        return box, box

    def box(
        self, title: str, path: str, group: str | None, cells: Sequence[tuple[str, Cell]], below: int = 0,
        repeats: int = 1, tip: str = "",
    ) -> str:  # fmt: skip
        rows = [Row("title", clean(title))]
        if below:
            rows.append(Row("detail", count(below, "part")))
        size = sum(cell.size for _, cell in cells if isinstance(cell, Parameter))
        if below or repeats > 1 or len(cells) > MOST_CELLS:
            if size:
                rows.append(Row("parameter", times(count(size, "param"), repeats, f"{repeats * size:,}")))
        else:
            for name, cell in cells:
                style = "parameter" if isinstance(cell, Parameter) else "buffer"
                rows.append(Row(style, clean(name), type_text(cell.aval)))
        id = f"n{len(self.nodes)}"
        self.nodes.append(Node(id, path or "module", "module", tuple(rows), group=group, tip=clean(tip or title, 200)))
        return id


def _runs(items: Sequence[tuple[str, Module]]) -> list[list[tuple[str, Module]]]:
    """Parts in a row that are equal but for a number in their name."""
    return [list(run) for _, run in groupby(items, lambda item: (NUMBER.sub("#", item[0]), _kind(item[1])))]


def _kind(module: Module) -> tuple[object, ...]:
    """What is equal for equal modules: classes, and cells with their types."""
    cells = tuple((name, cell.shape, str(cell.dtype)) for name, cell in module.named_cells())
    return type(module), tuple(type(part) for part in module.modules()), cells

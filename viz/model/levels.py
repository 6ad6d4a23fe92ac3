"""A level of detail: from a graph and what is asked for to a `Drawing` that a layout can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from tensorgraph.graph.graph import Graph
from tensorgraph.graph.occurrences import Occurrence
from tensorgraph.passes.rewriting import Region
from tensorgraph.viz.model.budget import MOST_BOXES, mend
from tensorgraph.viz.model.build import build, summary
from tensorgraph.viz.model.drawing import Drawing
from tensorgraph.viz.model.focus import focus_on
from tensorgraph.viz.model.fold import LEAST_SAVED, fold, loops_of
from tensorgraph.viz.model.functions import with_functions
from tensorgraph.viz.model.joins import MOST_JOINS, joined, mapped
from tensorgraph.viz.model.labels import count
from tensorgraph.viz.model.mirror import Pass, passes, pretended
from tensorgraph.viz.model.training import mirrored
from tensorgraph.viz.model.updates import apart, forward_part, sides_of, updates_of
from tensorgraph.viz.model.view import Box, by_module, by_op, depths, pack
from tensorgraph.viz.render.columns import SMALL
from tensorgraph.viz.render.parts import pixels, scales

__all__ = ["Plan", "coarser", "coarser_steps", "drawn"]

READABLE = 40  # boxes that a reader takes in; "auto" draws more only where there are no modules to fold to
FRAMED = 24  # the same where frames keep them in one column
MOST_MODULES = 120  # boxes of the module level where the depth is not given
FEWEST = 4  # boxes below which a shallower depth is not worth taking
HOPELESS = 0.55 * SMALL  # a scale from which joining ops does not lead to words that can be read
LEAST_WORDS = 8.0  # pixels
MOST_ROWS = 600  # of a mirrored drawing, where ops are drawn


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. `depth` is a depth of modules, ``"op"`` or None; `expand` holds paths, or is True."""

    level: str
    depth: int | str | None
    expand: tuple[str, ...] | bool
    focus: str | Region | None
    hops: int
    loops: tuple[Occurrence, ...] = ()  # of the text
    tight: int = 0  # how much is joined that is of no module of its own, see `joined`
    size: tuple[int, int] | None = None  # see `Drawing`

    @property
    def opened(self) -> tuple[str, ...]:
        return self.expand if isinstance(self.expand, tuple) else ()

    def turns(self, graph: Graph) -> list[int]:
        """For each equation a number that is another one in each turn of a loop that is worth a template."""
        found = [-1] * len(graph.equations)
        for loop in reversed(self.loops):  # outer ones come last
            if (loop.stop - loop.turns[1]) >= LEAST_SAVED:
                for begin, end in pairwise((*loop.turns, loop.stop)):
                    found[begin:end] = [begin] * (end - begin)
        return found

    def closed(self, graph: Graph) -> list[Occurrence]:
        """The loops that stand in nothing that is opened."""
        scopes = [graph.equations[loop.start].scope or "" for loop in self.loops]
        return [
            loop for loop, scope in zip(self.loops, scopes, strict=True)
            if not any(f"{scope}.".startswith(f"{path}.") for path in self.opened)
        ]  # fmt: skip

    @property
    def free(self) -> bool:
        """Whether nothing is said of how much is drawn."""
        return self.level == "auto" and self.depth is None and not self.expand and self.focus is None

    @property
    def whole(self) -> bool:
        """Whether every repeat is drawn by itself."""
        return self.expand is True or self.focus is not None


def drawn(graph: Graph, plan: Plan) -> Drawing:
    plan = replace(plan, loops=loops_of(graph))
    return replace(_drawn(with_functions(graph), plan), source=graph)


def _drawn(graph: Graph, plan: Plan) -> Drawing:
    if plan.level == "summary":
        return summary(graph)
    step = plan.level == "training" or (plan.level == "auto" and plan.depth is None and _is_step(graph, plan))
    drawing, notes = _training(graph, plan) if step else _flat(graph, plan)
    drawing = replace(drawing, size=plan.size)
    if plan.free:
        drawing, notes = _legible(graph, plan, drawing, notes)
    if plan.focus is not None:
        drawing = focus_on(drawing, graph, plan.focus, plan.hops)
    drawing = mend(drawing)
    return _measured(replace(drawing, notes=(*drawing.notes, *notes)))


def _measured(drawing: Drawing) -> Drawing:
    """A drawing whose words cannot be read on a screen says so."""
    if len(drawing.nodes) > MOST_BOXES or (high := pixels(drawing)) >= LEAST_WORDS:
        return drawing
    place = "on a screen of 1920 by 1080" if drawing.size is None else "in this size"
    note = f"words are {high:.0f} px high {place}: level='auto' draws less, an .html page opens part by part"
    return replace(drawing, notes=(*drawing.notes, note))


def _legible(graph: Graph, plan: Plan, drawing: Drawing, notes: list[str]) -> tuple[Drawing, list[str]]:
    """The first drawing, or the deepest whose words can be read on a screen and in a notebook; if there is none, on a
    screen; else that with the largest words."""
    joined = notes and drawing.level != "training"  # as far as it goes
    if len(drawing.nodes) > MOST_BOXES or (joined and scales(drawing)[0] >= SMALL):
        return drawing, notes
    largest, best = 0.0, (drawing, notes)
    step = drawing.level == "training"
    others = coarser_steps if step else coarser
    joins = (range(MOST_JOINS), range(MOST_JOINS, MOST_JOINS + 1))  # the last one hides how ops are connected
    ways = [] if joined else [others(graph, plan, some) for some in joins]
    for way in (*ways, packed(graph, plan, step)):
        on_screen: tuple[Drawing, list[str]] | None = None
        for other, more in chain([(drawing, notes)], way):
            screen, page = scales(other)
            if min(screen, page) >= SMALL:
                return other, more
            if screen >= SMALL and on_screen is None:
                on_screen = other, more
            if screen > largest:
                largest, best = screen, (other, more)
        if on_screen is not None:
            return on_screen
    return best


def coarser(graph: Graph, plan: Plan, joins: Sequence[int]) -> Iterator[tuple[Drawing, list[str]]]:
    """Drawings by module of fewer and fewer boxes: ops of no module are joined before modules are closed."""
    for depth in (None, *range(depths(graph) - 1, 0, -1)):
        drawn: set[int] = set()
        for tight in joins:
            boxes, notes = _modules(graph, replace(plan, depth=depth, tight=tight), FRAMED)
            if len(boxes) >= FEWEST and len(boxes) not in drawn:
                drawn.add(len(boxes))
                yield replace(build(graph, boxes, "module"), size=plan.size), notes


def packed(graph: Graph, plan: Plan, step: bool) -> Iterator[tuple[Drawing, list[str]]]:
    """Drawings of fewer and fewer boxes in which neighbours are joined, whatever they are; of no templates."""
    one = _Step.of(graph) if step else None
    plan = replace(plan, tight=MOST_JOINS, depth=1 if depths(graph, one.forward if one else None) else None)
    boxes, notes = _modules(graph, plan, FRAMED) if one is None else one.boxes(plan)
    if any(box.others for box in boxes):
        return
    number = len(boxes)
    for most in range(number - 1, FEWEST, -1):
        found = pack(graph, boxes, most)
        if len(found) < number:
            number = len(found)
            drawing = build(graph, found, "module") if one is None else one.drawing(found, True)
            yield replace(drawing, size=plan.size), [*notes, f"{count(len(boxes), 'box')} joined to stay readable"]


def coarser_steps(graph: Graph, plan: Plan, joins: Sequence[int]) -> Iterator[tuple[Drawing, list[str]]]:
    """Mirrored steps of fewer and fewer boxes: all that an optimiser does becomes one before ops are joined."""
    step = _Step.of(graph)
    deeper = [None, *range(depths(graph, step.forward) - 1, 0, -1)]
    shallowest = deeper[-1]
    for depth in deeper:
        drawn: set[int] = set()
        for tight, gathered in ((0, False), *[(n, True) for n in joins]):
            boxes, notes = step.boxes(replace(plan, depth=depth, tight=tight))
            if len(boxes) < FEWEST or (tight and len(boxes) in drawn):
                continue
            drawn.add(len(boxes))
            drawing = replace(step.drawing(boxes, gathered), size=plan.size)
            yield drawing, notes
            if depth != shallowest and scales(drawing)[0] < HOPELESS:
                break


def _is_step(graph: Graph, plan: Plan) -> bool:
    """Whether the graph takes gradients of so few boxes that a reader takes in the mirrored step."""
    found = passes(graph)
    if not found:
        return False
    forward, _ = forward_part(graph, found)
    if not depths(graph, forward):
        return len(_ops(graph, plan, forward)) <= READABLE
    return True


def _flat(graph: Graph, plan: Plan) -> tuple[Drawing, list[str]]:
    """Levels op, module and auto."""
    ops, modules = len(graph.equations), depths(graph)
    level, limit = plan.level, MOST_MODULES
    if level == "auto":
        limit = FRAMED
        level = "module"
        if plan.depth is None or plan.depth == "op":
            boxes = _ops(graph, plan)
            few = (
                len(boxes) <= (FRAMED if any(box.others for box in boxes) else READABLE)
                or plan.focus is not None
                or plan.depth == "op"
            )
            if few or (not modules and len(boxes) <= MOST_BOXES):
                level = "op"
    if plan.depth == "op":
        level = "op"
    if level == "op":
        boxes = _ops(graph, plan)
        if len(boxes) <= MOST_BOXES or plan.focus is not None:
            drawing = build(graph, boxes, "op")
            if plan.focus is None or len(focus_on(drawing, graph, plan.focus, plan.hops).nodes) <= MOST_BOXES:
                return drawing, []
    boxes, notes = _modules(graph, plan, limit)
    if level == "op":
        notes.append(
            f"{count(ops, 'op')} are more than a layout takes: drawn by module; focus= draws the ops around one"
        )
    return build(graph, boxes, "module"), notes


@dataclass(frozen=True, slots=True)
class _Step:
    """A graph with the gradients that it takes, or would take, and the positions of the equations that lead to them
    and that follow."""

    graph: Graph
    found: list[Pass]
    forward: list[int]
    after: list[int]

    @classmethod
    def of(cls, graph: Graph) -> _Step:
        found = passes(graph) or [pretended(graph)]
        return cls(graph, found, *forward_part(graph, found))

    def boxes(self, plan: Plan) -> tuple[list[Box], list[str]]:
        """Of the forward part."""
        graph, forward = self.graph, self.forward
        notes: list[str] = []
        boxes = None
        if plan.depth == "op" or (plan.depth is None and not plan.tight and not depths(graph, forward)):
            boxes = _ops(graph, plan, forward)
            if len(boxes) > MOST_ROWS:
                boxes = None
                notes.append(f"{count(len(forward), 'op')} are more than a mirrored layout takes: drawn by module")
        if boxes is None:
            limit = READABLE if plan.level == "auto" else MOST_MODULES
            boxes, more = _modules(graph, plan, limit, forward)
            if plan.level == "auto" and plan.depth is None:
                boxes, more = _without_gradients(graph, plan, limit, forward, boxes, more)
            notes += more
        if self.found[0].at is None and not self.found[0].written:
            one = self.found[0]
            notes.append(_imagined(one.xs, graph) if one.gives else "nothing here has a gradient")
        return boxes, notes

    def drawing(self, boxes: list[Box], gathered: bool = False) -> Drawing:
        """`gathered`: with what an optimiser does in one box."""
        beside: list[tuple[Box, int]] = []
        if all(box.kind == "op" for box in boxes):
            boxes, beside = apart(boxes, sides_of(self.graph, self.forward, self.found))
        updates = updates_of(self.graph, boxes, self.found, self.after)
        if gathered:
            updates.gather()
        updates.add_sides(beside)
        return mirrored(self.graph, boxes, self.found, updates, "training")


def _training(graph: Graph, plan: Plan) -> tuple[Drawing, list[str]]:
    step = _Step.of(graph)
    boxes, notes = step.boxes(plan)
    return step.drawing(boxes), notes


def _without_gradients(
    graph: Graph, plan: Plan, limit: int, forward: Sequence[int], boxes: list[Box], notes: list[str]
) -> tuple[list[Box], list[str]]:
    """The boxes of a forward part, or shallower ones if these show a gradient: whose own gradient would be a tangle."""
    for depth in range(depths(graph, forward), 0, -1):
        if not any(box.kind == "gradient" for box in boxes):
            break
        coarser, more = _modules(graph, replace(plan, depth=depth), limit, forward)
        if len(coarser) >= FEWEST and not any(box.kind == "gradient" for box in coarser):
            return coarser, more
    return boxes, notes


def _imagined(xs: Sequence[object], graph: Graph) -> str:
    parameters = {cell.var for cell in graph.cells}
    wanted = "parameters" if any(x in parameters for x in xs) else "inputs"
    return f"the graph takes no gradient; drawn is the one it would have with respect to its {wanted}"


def _ops(graph: Graph, plan: Plan, only: Sequence[int] | None = None) -> list[Box]:
    boxes = by_op(graph, only)
    return boxes if plan.whole else fold(graph, mapped(graph, boxes, plan.closed(graph)), plan.opened, plan.loops)


def _modules(graph: Graph, plan: Plan, limit: int, only: Sequence[int] | None = None) -> tuple[list[Box], list[str]]:
    """Modules at the depth asked for, or the deepest that gives at most `limit` boxes; joined if none does."""
    depth = plan.depth if isinstance(plan.depth, int) else None
    every = range(len(graph.equations)) if only is None else only

    def view(depth: int | None) -> list[Box]:
        boxes = _opened(graph, by_module(graph, depth, only), plan.opened)
        if plan.whole:
            return joined(graph, boxes, lambda boxes: boxes)
        boxes = mapped(graph, boxes, plan.closed(graph))
        return joined(
            graph, boxes, lambda boxes: fold(graph, boxes, plan.opened, plan.loops), plan.turns(graph), plan.tight
        )

    if not depths(graph, only) and len(every) <= READABLE:  # nothing to fold to
        return _ops(graph, plan, only), []
    boxes = view(depth)
    most = limit if depth is None else MOST_BOXES
    if depth is None:
        for shallower in range(depths(graph, only) - 1, 0, -1):
            if len(boxes) <= limit:
                break
            coarser = view(shallower)
            if len(coarser) < FEWEST:  # one container around everything says less than its content joined
                break
            boxes = coarser
    folded = any(box.others for box in boxes)
    if len(boxes) < FEWEST and len(every) > READABLE and not depths(graph, only) and depth is None and not folded:
        return pack(graph, by_op(graph, every), READABLE), [f"{count(len(every), 'op')} joined to stay readable"]
    if len(boxes) <= most:
        return boxes, []
    note = f"{count(len(boxes), 'box')} joined to stay readable: depth= and focus= show more"
    return pack(graph, by_module(graph, depth, only) if any(box.others for box in boxes) else boxes, most), [note]


def _opened(graph: Graph, boxes: Sequence[Box], paths: Sequence[str]) -> list[Box]:
    """Modules at or in these paths drawn by their ops."""
    found: list[Box] = []
    for box in boxes:
        if box.kind == "module" and any(box.scope == path or box.scope.startswith(f"{path}.") for path in paths):
            found += [replace(part, call=box.call) for part in by_op(graph, box.equations)]
        else:
            found.append(box)
    return found

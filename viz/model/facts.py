"""What a view needs to know of a graph, gathered once in linear time: names, producers, readers, writes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorgraph.analysis.fault import MIXING
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tree import Treedef, leaf_paths
from tensorgraph.graph.calls import Call, nest
from tensorgraph.graph.equation import is_number
from tensorgraph.graph.graph import CellDecl, Graph, Literal, Var
from tensorgraph.viz.model.functions import calls_by_path
from tensorgraph.viz.model.labels import clean, type_text
from tensorgraph.viz.model.view import Box, kind_of

__all__ = ["GONE", "Facts", "peak_bytes", "relative"]

GONE = "~before"  # in a comparison, behind the path of a module that is no more, since another may have its name now


def relative(path: str, scope: str) -> str:
    """`path` as seen from inside `scope`."""
    return path[len(scope) + 1 :] if scope and path.startswith(scope + ".") else path


def unique(taken: dict[str, int], name: str) -> str:
    """`name`, or with ``~2`` and so on behind it where it is taken; remembers the answer.

    Of each name that is taken, `taken` has the last number that was, so that a thousand alike are found in linear time.
    """
    found, n = name, taken.get(name, 1)
    while found in taken:
        n += 1
        found = f"{name}~{n}"
    taken[name], taken[found] = n, 1
    return found


def leaf_names(tree: Treedef, values: Iterable[Var | Literal], fallback: str) -> list[str]:
    """A name an input or output: the user's, else its place in the structure."""
    values = list(values)
    paths = leaf_paths(tree) if tree.size == len(values) else [str(i) for i in range(len(values))]
    names = []
    for value, path in zip(values, paths, strict=True):
        own = value.name if isinstance(value, Var) else None
        if not own:
            own = fallback if len(values) == 1 else path if not path[:1].isdigit() else f"{fallback}.{path}"
        names.append(clean(own))
    return names


@dataclass(frozen=True, slots=True)
class Facts:
    """A graph and its boxes, indexed.

    `box_of` is an equation's box (-1: none), `repeat_of` its place among the repeats of the templates that its box
    stands in (outermost first), `readers` the places at which a cell is read before any gradient.
    """

    graph: Graph
    boxes: tuple[Box, ...]
    classes: Mapping[str, str]  # class name by module path, where known
    calls: Mapping[str, Call]  # who opened each scope: a module, an optimiser, a function
    cells: Mapping[Var, CellDecl]
    box_of: tuple[int, ...]
    repeat_of: tuple[tuple[int, ...], ...]
    readers: Mapping[Var, frozenset[tuple[int, int]]]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    changed: dict[Var, bool] = field(default_factory=dict)  # what `changes_dtype` found

    @classmethod
    def of(cls, graph: Graph, boxes: Iterable[Box]) -> Facts:
        boxes = tuple(boxes)
        box_of = [-1] * len(graph.equations)
        repeat_of: list[tuple[int, ...]] = [()] * len(graph.equations)
        nth = [0] * len(graph.equations)
        for b, box in enumerate(boxes):
            counts = [fold.count for fold in box.folds]
            for n, repeat in enumerate((box.equations, *[other.equations for other in box.others])):
                place: list[int] = []
                rest = n
                for size in reversed(counts):
                    place.append(rest % size)
                    rest //= size
                for i in repeat:
                    box_of[i], nth[i], repeat_of[i] = b, n, tuple(reversed(place))
        cells = {cell.var: cell for cell in graph.cells}
        readers: dict[Var, set[tuple[int, int]]] = defaultdict(set)
        forward = True  # an update reads a parameter too, which does not make it shared
        for i, eq in enumerate(graph.equations):
            forward = forward and kind_of(eq) != "gradient" and eq.origin is None
            for atom in eq.atoms():
                if forward and isinstance(atom, Var) and atom in cells:
                    readers[atom].add((box_of[i], nth[i]))
        return cls(
            graph,
            boxes,
            graph.modules,
            calls_by_path(graph),
            cells,
            tuple(box_of),
            tuple(repeat_of),
            {var: frozenset(found) for var, found in readers.items()},
            tuple(leaf_names(graph.in_tree, graph.inputs, "x" if len(graph.inputs) == 1 else "in")),
            tuple(leaf_names(graph.out_tree, graph.outputs, "out")),
        )

    @property
    def producer(self) -> Mapping[Var, int]:
        """The number of a variable's equation."""
        return self.graph.index.position

    def cell_rows_of(self, box: Box) -> list[CellDecl]:
        """The cells that a box reads, in order, each once; not those in whose place later repeats read what is made."""
        found = {}
        later = box.others[0].equations if box.others else box.equations
        for i, j in zip(box.equations, later, strict=True):
            for atom, other in zip(self.graph.equations[i].atoms(), self.graph.equations[j].atoms(), strict=True):
                if isinstance(atom, Var) and atom in self.cells and other not in self.producer:
                    found[atom] = self.cells[atom]
        return list(found.values())

    def entering(self, box: Box) -> str:
        """The type of the first value that flows into a box; empty where none does."""
        inside = set(box.equations)
        for i in box.equations:
            for atom in self.graph.equations[i].atoms():
                if not isinstance(atom, Var) or atom in self.cells or atom in self.graph.consts:
                    continue
                if self.producer.get(atom, -1) not in inside:
                    return type_text(atom.aval)
        return ""

    def handed(self, box: Box) -> Counter[Var]:
        """How often a call of a module was handed each value, where its record is known."""
        found: Counter[Var] = Counter()

        def count(leaf: Any) -> None:
            if isinstance(leaf, Var):
                found[leaf] += 1

        for part in (box, *box.others) if box.kind == "module" else ():
            calls: set[Call | None] = set()
            for i in part.equations:
                eq = self.graph.equations[i]
                around = [] if eq.call is None or eq.origin is not None else list(eq.call.callers())
                calls.add(next((c for c in reversed(around) if c.kind == "module" and c.path == part.scope), None))
            call = calls.pop() if len(calls) == 1 else None
            if call is not None:
                nest(dict(call.arguments), count)
        return found

    def changes_dtype(self, var: Var) -> bool:
        """Whether the op that made `var` gave a float another width, or computed it from an integer and a float."""
        at = self.producer.get(var)
        if at is None or kind_of(self.graph.equations[at]) == "gradient":  # which has the dtype of what it is of
            return False
        if var in self.graph.equations[at].residuals:  # nobody computes with it but a rule, which knows
            return False
        found = self.changed.get(var)
        if found is None:
            found = self.changed[var] = self._changes_dtype(var, at)
        return found

    def _changes_dtype(self, var: Var, at: int) -> bool:
        eq, own = self.graph.equations[at], var.aval.dtype
        inputs = {a.aval.dtype for a in eq.atoms() if isinstance(a, Var) and not is_number(a)}
        floats = {d for d in inputs if d.kind == "f"}
        if own.kind != "f" or not floats:  # a comparison, a place, a count; floats made of integers alone
            return False
        if getattr(eq.op.kind, "name", eq.op.kind) in MIXING:  # others may read floats of several widths by design
            narrow = any(d.itemsize < own.itemsize for d in floats) or own not in floats  # a wider setting is no matter
            return narrow or any(d.kind in "iu" for d in inputs)
        return own not in floats

    def changes_shape(self, var: Var) -> bool:
        """Whether `var` has another shape than the first operand of the op that made it (or comes from nothing)."""
        at = self.producer.get(var)
        if at is None:
            return False
        first: Aval | None = next((a.aval for a in self.graph.equations[at].atoms() if isinstance(a, Var)), None)
        return first is None or first.shape != var.aval.shape


def peak_bytes(graph: Graph) -> int:
    """The most bytes of inputs and computed values alive at once, each freed after its last use; cells not counted."""
    users, kept = graph.index.users, graph.index.results
    counted = set(graph.inputs)
    alive = peak = sum(v.aval.nbytes for v in graph.inputs)
    for i, eq in enumerate(graph.equations):
        for out in eq.outputs:
            counted.add(out)
            alive += out.aval.nbytes
        peak = max(peak, alive)
        done = {v for v in eq.variables() if users[v][-1] == i} | {v for v in eq.outputs if v not in users}
        alive -= sum(v.aval.nbytes for v in done if v in counted and v not in kept)
    return peak

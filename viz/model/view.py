"""Graph to view: which equations stand in which box.

A box is a run of consecutive equations. Equations are in topological order, so a run can be folded without making a
cycle, and every original edge lies inside a box or on its boundary. A module called twice is two runs, two boxes.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise, takewhile

from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.graph.outline import NUMBERED
from tensorgraph.nn.registry import is_atomic

__all__ = ["Box", "by_module", "by_op", "depths", "pack"]


@dataclass(slots=True, eq=False)
class Fold:
    """A template: equal consecutive siblings drawn once.

    `scope` is the module of the first repeat (or the one around it), `title` what is written on the frame, `path` what
    names it, `around` the template that it stands in.
    """

    scope: str
    title: str
    path: str
    count: int
    around: Fold | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """Consecutive equations drawn as one.

    `kind` is ``"op"``, ``"module"``, ``"modules"`` (several siblings), ``"ops"`` or ``"gradient"``; `scope` is the
    module that the box is, or (for ops) stands in; `equations` are positions in ``graph.equations``; `last` is the
    scope of the last of several siblings. A box of a template (`fold`) stands for its like in every repeat: `others`
    are these, in order. `call` tells calls of one module apart that nothing stands between.
    """

    kind: str
    scope: str
    equations: tuple[int, ...]
    last: str = ""
    others: tuple[Box, ...] = ()
    fold: Fold | None = None  # the innermost
    frames: tuple[str | Fold, ...] | None = None  # in which it stands, outermost first; None: its modules
    call: int = 0

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The templates that the box stands in, outermost first."""
        found: list[Fold] = []
        fold = self.fold
        while fold is not None:
            found.append(fold)
            fold = fold.around
        return tuple(reversed(found))

    @property
    def members(self) -> tuple[int, ...]:
        """All the equations that the box stands for."""
        return self.equations + tuple(i for box in self.others for i in box.equations)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that the box stands in, outermost first."""
        parts = self.scope.split(".") if self.scope else []
        if self.kind == "modules":
            shared = takewhile(lambda pair: pair[0] == pair[1], zip(parts, self.last.split(".")))
            parts = [part for part, _ in shared][: len(parts) - 1]
        elif self.kind == "module":
            parts = parts[:-1]
        return tuple(accumulate(parts, lambda path, part: f"{path}.{part}"))

    def call_of(self, frame: str | Fold) -> int:
        """Which of several calls at once of a module that it stands in."""
        return self.call if frame == self.scope and self.kind != "module" else 0

    @property
    def keys(self) -> tuple[str | Fold, ...]:
        """The frames that the box stands in, outermost first: modules and templates."""
        return self.modules if self.frames is None else self.frames


def scope_of(equation: Equation) -> str:
    return equation.scope or ""


def kind_of(equation: Equation) -> str:
    return "gradient" if equation.is_gradient else "op"


def by_op(graph: Graph, only: Sequence[int] | None = None) -> list[Box]:
    """One box an equation (or of those at the positions `only`)."""
    positions = range(len(graph.equations)) if only is None else only
    boxes: list[Box] = []
    parameters = _parameters(graph)
    for run in _runs(graph, positions):
        for n, call in enumerate(calls(graph, run, parameters)):
            boxes += [Box(kind_of(eq), scope_of(eq), (i,), call=n) for i in call for eq in (graph.equations[i],)]
    return boxes


def _runs(graph: Graph, positions: Iterable[int]) -> Iterator[list[int]]:
    """Consecutive positions of one scope, those of written out gradients apart."""
    for _, run in groupby(positions, lambda i: (scope_of(graph.equations[i]), graph.equations[i].origin is None)):
        yield list(run)


def _parameters(graph: Graph) -> set[Var]:
    return {cell.var for cell in graph.cells if cell.kind == "parameter"}


def calls(graph: Graph, run: Sequence[int], parameters: Container[Var]) -> list[list[int]]:
    """A run of one scope as the calls that it is made of: a layer called again at once leaves no other trace.

    Where a layer has parameters, each of its calls begins as the first one does, reading the same ones; where it has
    none, all its calls are equal.
    """
    first = graph.equations[run[0]]
    kind = graph.modules.get(scope_of(first), "")
    atomic = is_atomic(kind) or is_atomic(NUMBERED.sub("", kind))
    if len(run) < 2 or not atomic or first.origin is not None:
        return [list(run)]
    keys = []
    for i in run:
        eq = graph.equations[i]
        keys.append((eq.op.name, tuple(a for a in eq.atoms() if isinstance(a, Var) and a in parameters)))
    if keys[0][1]:
        starts = [n for n, key in enumerate(keys) if key == keys[0]]
    elif any(read for _, read in keys):
        return [list(run)]
    else:
        size = len(run)
        period = next(p for p in range(1, size + 1) if size % p == 0 and keys[p:] == keys[:-p])
        starts = list(range(0, size, period))
    return [list(run[a:b]) for a, b in pairwise([*starts, len(run)])]


def parents(graph: Graph) -> set[str]:
    """Scopes that hold other scopes; the root is one."""
    found = {""}
    for scope in {scope_of(eq) for eq in graph.equations}:
        parts = scope.split(".")
        found.update(".".join(parts[:i]) for i in range(1, len(parts)))
    return found


def depths(graph: Graph, only: Sequence[int] | None = None) -> int:
    """The depth of the deepest module that has ops; 0 where there are no modules."""
    equations = graph.equations if only is None else [graph.equations[i] for i in only]
    return max((scope.count(".") + 1 for scope in {scope_of(eq) for eq in equations} if scope), default=0)


def by_module(graph: Graph, depth: int | None = None, only: Sequence[int] | None = None) -> list[Box]:
    """One box a call of a module at `depth` (None: innermost modules), the ops between them one by one.

    An op of a module that holds modules, such as the addition of a residual block, is between them.
    """
    containers, parameters = parents(graph), _parameters(graph)
    boxes: list[Box] = []
    run: list[int] = []
    run_key: tuple[str, str, bool] | None = None

    def close() -> None:
        nonlocal run
        if run and run_key is not None:
            kind, scope, _ = run_key
            if kind == "glue":
                boxes.extend(Box("op", scope, (i,)) for i in run)
            elif kind == "module" and all(scope_of(graph.equations[i]) == scope for i in run):
                parts = calls(graph, run, parameters)
                boxes.extend(Box(kind, scope, tuple(part), call=n) for n, part in enumerate(parts))
            else:
                boxes.append(Box(kind, scope, tuple(run)))
        run = []

    for i in range(len(graph.equations)) if only is None else only:
        eq = graph.equations[i]
        scope = scope_of(eq)
        parts = scope.split(".") if scope else []
        if depth is not None and len(parts) >= depth:
            key = ("module", ".".join(parts[:depth]), eq.origin is None)
        elif kind_of(eq) == "gradient":
            key = ("gradient", scope, True)
        else:
            key = ("glue" if scope in containers else "module", scope, eq.origin is None)
        if key != run_key or key[0] == "gradient":
            close()
        run_key = key
        run.append(i)
    close()
    return boxes


def pack(graph: Graph, boxes: Sequence[Box], most: int) -> list[Box]:
    """At most about `most` boxes: neighbours are joined, of one parent where possible, but gradients and optimisers."""
    size = -(-len(boxes) // most)
    packed: list[Box] = []
    held: list[Box] = []

    def optimises(box: Box) -> bool:
        call = graph.equations[box.equations[0]].call
        return call is not None and any(around.kind == "optimizer" for around in call.callers())

    def close() -> None:
        if len(held) == 1:
            packed.append(held[0])
        elif held:
            equations = tuple(i for box in held for i in box.equations)
            scopes = list(dict.fromkeys(box.scope for box in held if box.scope))
            kind = "modules" if len(scopes) > 1 else "module" if scopes else "ops"
            packed.append(Box(kind, scopes[0] if scopes else "", equations, scopes[-1] if len(scopes) > 1 else ""))
        held.clear()

    for box in boxes:
        if box.kind == "gradient" or optimises(box):
            close()
            packed.append(box)
            continue
        held.append(box)
        if len(held) >= size:
            close()
    close()
    return packed

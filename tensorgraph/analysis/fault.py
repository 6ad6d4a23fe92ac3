"""Where numbers go wrong: the first value that is not finite, dead, exploding or silently promoted, on the way to the
loss or back.

The graph is evaluated equation by equation, its gradients written out, and every value looked at.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np

from tensorgraph.analysis.describe import printable
from tensorgraph.analysis.fault_report import Fault, Faults, Stats, stats_of
from tensorgraph.analysis.profile import reaching
from tensorgraph.analysis.run import Given, as_numbers, execute, given, graph_of, loss_of
from tensorgraph.arguments import Range, checked
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.jit.properties import cached_property
from tensorgraph.ops.shape import astype
from tensorgraph.ops.structure import gradients_of

__all__ = ["find_faults"]

LIMIT = 1e6
MIXING = frozenset({"elementwise", "contraction", "list"})  # kinds of ops that take the wider dtype of their operands
SMALL = 8  # elements; of fewer, all may be zero by chance


@checked
def find_faults(
    target: Any,
    /,
    *args: Any,
    limit: Annotated[float, Range(0, above=True, word="a positive number")] = LIMIT,
    **keywords: Any,
) -> Faults:
    """Look for the first value that goes wrong, forward and backward.

    Parameters
    ----------
    target : Graph, Module or callable
        A loss, a model or a whole training step; a function is traced with the arguments. Its first result of one
        float is the loss where it takes no gradient itself. Nothing that it writes is kept.
    *args : array, Tensor or spec
        Random numbers stand for a spec, and for all arguments of a graph where none are given.
    limit : float
        A value with a larger magnitude explodes (float16: its own, smaller limit).
    **keywords
        Arguments that the function takes by name.

    Returns
    -------
    Faults
        True where something was found. Printed: each fault with counts, the user's line and the path to the loss.

        - non-finite: NaN or infinity made from finite operands, if it reaches a result, a cell or a gradient.
        - dead: a rectifier whose result is zero everywhere, or a gradient that is.
        - exploding: a magnitude over `limit` from operands under it.
        - promoted: a result of a wider float dtype than one of its operands.

    Examples
    --------
    >>> import numpy as np, tensorgraph as tg
    >>> def loss(x):
    ...     return tg.sqrt((x * x).sum())
    >>> found = find_faults(loss, np.zeros(3, np.float32))
    >>> [(fault.kind, fault.phase, fault.told) for fault in found]
    [('non-finite', 'backward', '1 inf of 1 from finite operands')]
    """
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise ValueError(f"limit must be a positive number, got {limit!r}")
    graph, args = graph_of(target, args, keywords, "find_faults", ("limit",))
    values = given(graph, args)
    notes = [f"random numbers for {_listed(values.made)}"] if values.made else []
    whole, wanted, losses = _with_gradients(graph, notes)
    search = _Search(whole, wanted, losses, float(limit))
    search.run(values)
    return Faults(whole, tuple(search.faults()), tuple(search.seen), tuple(notes))


def _listed(made: Sequence[str]) -> str:
    return ", ".join(map(printable, made[:3])) + (f" and {len(made) - 3} more" if len(made) > 3 else "")


def _with_gradients(graph: Graph, notes: list[str]) -> tuple[Graph, tuple[Var, ...], tuple[Var, ...]]:
    """The graph with gradients written out, the gradients that are wanted in it, and what is differentiated."""
    if any(eq.origin is not None for eq in graph.equations) and not any(eq.is_gradient for eq in graph.equations):
        return graph, (), tuple(v for v in graph.outputs if isinstance(v, Var))
    try:
        ys, _, _ = loss_of(graph)
    except ValueError:
        notes.append("no result is one float, so there is no gradient: only the way forward was looked at")
        return graph, (), tuple(v for v in graph.outputs if isinstance(v, Var))
    deferred = next((eq for eq in graph.equations if eq.is_gradient), None)
    if deferred is None:
        xs = _differentiated(graph, ys)
        if not xs:
            notes.append("the loss depends on nothing that has a gradient: only the way forward was looked at")
            return graph, (), tuple(y for y in ys if isinstance(y, Var))
        outputs = tuple(Var(x.aval, x.name and f"d_{x.name}") for x in xs)
        deferred = Equation(gradients_of, (tuple(ys), xs, ()), {"create_graph": False}, outputs)
        graph = graph.replace(equations=(*graph.equations, deferred))
    # the loss and its gradients are made results, so that they are found again
    results = list(dict.fromkeys([*graph.outputs, *(y for y in ys if isinstance(y, Var)), *deferred.outputs]))
    place = {result: n for n, result in enumerate(results)}
    named = {y: "loss" for y in ys if isinstance(y, Var)}
    for x, gradient in zip(deferred.group(1), deferred.outputs, strict=True):
        if isinstance(x, Var) and x.name:
            named[gradient] = f"d_{x.name}"
    called: dict[str, int] = {}
    for n, result in enumerate(results):
        wished = (result.name or named.get(result)) if isinstance(result, Var) else None
        wished = wished or f"out{n}"
        called[wished if wished not in called else f"{wished}_{n}"] = n
    whole = graph.replace(outputs=tuple(results), out_tree=flatten(called)[1]).differentiate()
    found = {old: whole.outputs[n] for old, n in place.items()}
    wanted = tuple(v for v in (found[g] for g in deferred.outputs) if isinstance(v, Var))
    return whole, wanted, tuple(v for v in (found[y] for y in ys if isinstance(y, Var)) if isinstance(v, Var))


def _differentiated(graph: Graph, ys: tuple[Any, ...]) -> tuple[Var, ...]:
    """What a gradient is taken of by default: the parameters that the loss depends on, else its float inputs."""
    reached = reaching(graph, ys, len(graph.equations))
    parameters = tuple(c.var for c in graph.cells if c.requires_grad and c.var in reached)
    floats = tuple(v for v in graph.inputs if v in reached and v.aval.dtype.kind == "f")
    return parameters or floats


def _is_mask(value: Any) -> bool:
    """Whether a value holds zeros, and besides ones alone."""
    array = np.asarray(value)
    return array.size > 1 and bool((array == 0).any()) and bool(((array == 0) | (array == 1)).all())


def _chooses(eq: Equation) -> bool:
    """Whether an op gives, by a condition, elements of its other operands as they are."""
    first = next(iter(eq.atoms()), None)
    condition = isinstance(first, Var) and first.aval.dtype.kind == "b"
    return condition and {"gates", "increasing"} <= eq.op.traits


class _Search:
    """One evaluation, and what is to be said of it."""

    def __init__(self, graph: Graph, wanted: tuple[Var, ...], losses: tuple[Var, ...], limit: float) -> None:
        self.graph, self.wanted, self.losses, self.limit = graph, wanted, losses, limit
        self.of: dict[Var, Stats] = {}
        self.seen: list[tuple[Stats, ...]] = []
        self.made = graph.index.position
        self.masks: set[Var] = set()  # floats that are all 0 or 1, of those that something large is made of

    def run(self, values: Given) -> None:
        for var, value in values.of(self.graph).items():
            self.of[var] = stats_of(value._value)

        def watch(i: int, eq: Equation, operands: list[Any], results: tuple[Any, ...], seconds: float) -> None:
            seen = tuple(stats_of(as_numbers(r)) for r in results)
            self.seen.append(seen)
            self.of.update(zip(eq.outputs, seen, strict=True))
            if any(s.largest > self.limit for s in seen):
                atoms = [a for atom in eq.inputs for a in (atom if isinstance(atom, tuple) else (atom,))]
                values = [v for value in operands for v in (value if isinstance(value, (tuple, list)) else (value,))]
                pairs = zip(atoms, values, strict=False)
                self.masks.update(a for a, v in pairs if isinstance(a, Var) and _is_mask(getattr(v, "_value", v)))

        execute(self.graph, values, watch)

    def operands(self, eq: Equation) -> list[Var]:
        return [a for a in eq.atoms() if isinstance(a, Var)]

    def phase(self, i: int) -> str:
        return "backward" if self.graph.equations[i].origin is not None else "forward"

    # ---- findings

    def faults(self) -> list[Fault]:
        found = [*self.roots(), *self.first(self.non_finite), *self.first(self.exploding), *self.first(self.dead)]
        found += [*self.dead_gradient(), *self.first(self.promoted)]
        order = {fault: -1 if fault.position is None else fault.position for fault in found}
        return sorted(found, key=lambda fault: order[fault])

    def roots(self) -> Iterator[Fault]:
        """Arguments, parameters and captured arrays that are not finite to begin with."""
        roots = (*self.graph.inputs, *(c.var for c in self.graph.cells), *self.graph.consts)
        for var in roots:
            if not self.of[var].finite and var in self.spread:
                told = f"{self.of[var]} to begin with"
                yield Fault("non-finite", "forward", None, var, told, self.path_from(var, None))
                return

    def first(self, look: Callable[[int, Equation], Iterable[Fault]]) -> Iterator[Fault]:
        """The first finding of a kind on the way forward, and the first on the way back."""
        done: set[str] = set()
        for i, eq in enumerate(self.graph.equations):
            phase = self.phase(i)
            if phase in done:
                continue
            for found in look(i, eq):
                done.add(phase)
                yield found
                break

    @cached_property
    def spread(self) -> set[Var]:
        """What is not finite and leads, by what is not finite, to a result, a write or a gradient."""
        bad = {v for v, s in self.of.items() if not s.finite}
        ends = (*self.graph.outputs, *(w.value for w in self.graph.writes), *self.wanted)
        found = {v for v in ends if isinstance(v, Var) and v in bad}
        if found:
            for eq in reversed(self.graph.equations):
                if not found.isdisjoint(eq.outputs):
                    found.update(v for v in self.operands(eq) if v in bad)
        return found

    def non_finite(self, i: int, eq: Equation) -> Iterator[Fault]:
        if not all(s.finite for s in self.seen[i]) and all(self.of[v].finite for v in self.operands(eq)):
            var = next(v for v in eq.outputs if not self.of[v].finite)
            if not self.spread.isdisjoint(eq.outputs):
                yield self.fault("non-finite", i, var, f"{self.of[var]} from finite operands")

    def exploding(self, i: int, eq: Equation) -> Iterator[Fault]:
        for var, seen in zip(eq.outputs, self.seen[i], strict=True):
            if var.aval.dtype.kind != "f":
                continue
            limit = min(self.limit, float(np.finfo(var.aval.dtype).max) / 8)
            before = [self.of[v] for v in self.operands(eq) if v.aval.dtype.kind == "f"]
            under = seen.finite and seen.largest > limit and all(s.finite and s.largest <= limit for s in before)
            if under and not self.is_wanted(i, eq, limit):
                most = max((s.largest for s in before), default=math.nan)
                told = f"{seen}, from operands of at most {most:.3g}" if before else f"{seen}"
                yield self.fault("exploding", i, var, told)
                return

    def is_wanted(self, i: int, eq: Equation, limit: float) -> bool:
        """Whether it is a constant over the limit, written by the user, that makes a value large.

        It is one element by element where no operand is changed (the -1e9 of ``where(mask, scores, -1e9)``), or where
        no other operand varies or each is a mask of zeros and ones (``(1 - mask) * -1e9``).
        """
        numbers = [a.value for a in eq.atoms() if isinstance(a, Literal)]
        numbers += [value for value in eq.attrs.values() if isinstance(value, (int, float))]
        numbers = [float(n) for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool)]
        constants = [self.of[v].largest for v in self.operands(eq) if v in self.graph.consts]
        if not any(abs(n) > limit for n in (*numbers, *constants)):
            return False
        copies = "moves" in eq.op.traits or "extremum" in eq.op.traits or _chooses(eq)
        return copies or self.varying.isdisjoint(v for v in self.operands(eq) if v not in self.masks)

    @cached_property
    def varying(self) -> set[Var]:
        """The floats that depend by way of floats on what is given or learned: neither masks nor constants."""
        roots = (*self.graph.inputs, *(c.var for c in self.graph.cells))
        found = {v for v in roots if v.aval.dtype.kind == "f"}
        for eq in self.graph.equations:
            if not found.isdisjoint(self.operands(eq)):
                found.update(v for v in eq.outputs if v.aval.dtype.kind == "f")
        return found

    def dead(self, i: int, eq: Equation) -> Iterator[Fault]:
        if "gates" not in eq.op.traits or self.phase(i) == "backward":
            return
        seen, before = self.seen[i][0], [self.of[v] for v in self.operands(eq) if v.aval.dtype.kind == "f"]
        if seen.dead and seen.size >= SMALL and eq.outputs[0].aval.dtype.kind == "f" and self.leads(i):
            largest = [s for s in before if s.size == seen.size]
            if largest and not any(s.dead for s in largest):
                yield self.fault("dead", i, eq.outputs[0], f"all {seen.size:,} values are 0")

    def dead_gradient(self) -> Iterator[Fault]:
        """The first equation on the way back after which a wanted gradient is zero everywhere."""
        dead = [v for v in self.wanted if self.of[v].dead and self.of[v].size > 1]
        if not dead:
            return
        leading = set(dead)
        for eq in reversed(self.graph.equations):
            if eq.origin is not None and not leading.isdisjoint(eq.outputs):
                back = (v for v in self.operands(eq) if v in self.made and self.phase(self.made[v]) == "backward")
                leading.update(v for v in back if self.of[v].dead)
        for i, eq in enumerate(self.graph.equations):
            if eq.origin is None or leading.isdisjoint(eq.outputs) or not any(s.dead for s in self.seen[i]):
                continue
            if not any(v in leading for v in self.operands(eq)):
                var = next(v for v in eq.outputs if v in leading)
                told = f"{len(dead)} of {len(self.wanted)} wanted gradients are 0 everywhere"
                yield self.fault("dead", i, var, told)
                return

    def promoted(self, i: int, eq: Equation) -> Iterator[Fault]:
        if eq.op.kind.name not in MIXING or len(eq.outputs) != 1 or eq.op is astype:
            return
        var = eq.outputs[0]
        floats = [v for v in self.operands(eq) if v.aval.dtype.kind == "f"]
        if var.aval.dtype.kind != "f" or not floats:
            return
        narrow = min(floats, key=lambda v: v.aval.dtype.itemsize)
        if var.aval.dtype.itemsize > narrow.aval.dtype.itemsize:
            wide = [v for v in self.operands(eq) if v.aval.dtype != narrow.aval.dtype and v.aval.dtype.kind in "fiu"]
            cause = f" and {wide[0].aval}" if wide else ""
            yield self.fault("promoted", i, var, f"{var.aval} from {narrow.aval}{cause}")

    # ---- paths

    def fault(self, kind: str, i: int, var: Var, told: str) -> Fault:
        return Fault(kind, self.phase(i), i, var, told, self.path_from(var, i))

    def leads(self, i: int) -> bool:
        return bool(self.path_from(self.graph.equations[i].outputs[0], i)) or not self.losses

    def path_from(self, var: Var, at: int | None) -> tuple[int, ...]:
        """The fewest equations from a value to the loss, or for a gradient to one that is wanted."""
        backward = at is not None and self.phase(at) == "backward"
        goals = set(self.wanted if backward else self.losses)
        if var in goals or not goals:
            return ()
        users = self.graph.index.users
        came: dict[Var, tuple[Var, int] | None] = {var: None}
        waiting = deque([var])
        while waiting:
            here = waiting.popleft()
            if here in goals:
                path = []
                step = came[here]
                while step is not None:
                    path.append(step[1])
                    step = came[step[0]]
                return tuple(reversed(path))
            for i in users.get(here, ()):
                eq = self.graph.equations[i]
                if (eq.origin is not None) != backward:
                    continue
                for out in eq.outputs:
                    if out not in came:
                        came[out] = (here, i)
                        waiting.append(out)
        return ()

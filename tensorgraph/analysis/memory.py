"""Where a graph's values lie and how long: views share the memory of what they look at, values go at their last use.

The evaluator's own plan says when a value goes (`graph/evaluate.py`), so this is what evaluating a graph allocates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.op import elementwise
from tensorgraph.graph.graph import Equation, Graph, Var

__all__ = ["Place", "Timeline", "places", "timeline"]

Strides = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies: the variable whose equation made the memory, and the value's strides in it, in bytes."""

    owner: Var
    strides: Strides


def packed(shape: Sequence[int], itemsize: int) -> Strides:
    """Strides of an array in C order."""
    strides = []
    step = itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def in_order(aval: Aval) -> Strides:
    return packed(aval.shape, aval.dtype.itemsize)


def reshaped(shape: tuple[int, ...], strides: Strides, new: tuple[int, ...], itemsize: int) -> Strides | None:
    """The strides of a view in another shape; None where NumPy has to copy.

    Runs of old and new axes with equal products are matched from the left; within a run the old axes must lie behind
    each other.
    """
    if 0 in shape:
        return packed(new, itemsize)
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    out: list[int] = []
    i = j = 0
    while j < len(new):
        if new[j] == 1:
            out.append(itemsize)
            j += 1
            continue
        product, have, start = new[j], old[i][0], i
        first = j
        while product != have:
            if product < have:
                j += 1
                product *= new[j]
            else:
                i += 1
                have *= old[i][0]
        if any(old[k][1] != old[k + 1][0] * old[k + 1][1] for k in range(start, i)):
            return None
        step, run = old[i][1], []
        for n in reversed(new[first : j + 1]):
            run.append(step)
            step *= n
        out += reversed(run)
        i, j = i + 1, j + 1
    return tuple(out)


def looked_at(eq: Equation, x: Var, strides: Strides) -> list[Strides] | None:
    """The strides of a view's outputs, from the op itself on an array of no memory; None where it copies.

    Besides what is looked at a view reads lists of indices only, and looks at nothing where there are any.
    """
    if any(eq.inputs[1:]):
        return None
    stand_in = np.lib.stride_tricks.as_strided(np.empty(1, x.aval.dtype), x.aval.shape, strides, writeable=False)
    made = eq.op.forward(stand_in, *([] for _ in eq.inputs[1:]), **eq.attrs)
    parts = made if isinstance(made, tuple) else (made,)
    if not all(isinstance(part, np.ndarray) for part in parts):  # a single element is a number, which is copied
        return None
    return [part.strides for part in parts]


def places(graph: Graph) -> dict[Var, Place]:
    """Where every value of the graph lies when it is evaluated on arrays in C order."""
    found: dict[Var, Place] = {}

    def own(var: Var, strides: Strides | None = None) -> None:
        found[var] = Place(var, in_order(var.aval) if strides is None else strides)

    for var in (*graph.inputs, *(decl.var for decl in graph.cells)):
        own(var)
    for var, array in graph.consts.items():
        own(var, array.strides)
    for eq in graph.equations:
        x = eq.inputs[0] if eq.inputs else None
        seen = _seen(eq, x, found[x]) if "view" in eq.op.traits and isinstance(x, Var) else None
        if seen is not None:
            assert isinstance(x, Var)
            for out, strides in zip(eq.outputs, seen, strict=True):
                found[out] = Place(found[x].owner, strides)
            continue
        for out in eq.outputs:
            own(out, _like_inputs(eq, out, found) if eq.op.kind is elementwise else None)
    return found


def _seen(eq: Equation, x: Var, place: Place) -> list[Strides] | None:
    traits = eq.op.traits
    if "reshapes" in traits:
        new = reshaped(x.aval.shape, place.strides, eq.outputs[0].aval.shape, x.aval.dtype.itemsize)
        return None if new is None else [new]
    if "identity" in traits:
        return [place.strides for _ in eq.outputs]
    if "moves" in traits and x.aval.size:
        return looked_at(eq, x, place.strides)
    # any other view may look at numbers, so it is not run
    return [in_order(out.aval) for out in eq.outputs]


def _like_inputs(eq: Equation, out: Var, found: Mapping[Var, Place]) -> Strides | None:
    """NumPy gives the result of an elementwise op the order of axes that its operands have, if they agree."""
    orders = set()
    for atom in eq.atoms():
        if isinstance(atom, Var) and atom.aval.shape == out.aval.shape:
            strides = found[atom].strides
            if 0 in strides:
                return None
            orders.add(tuple(sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))))
    if len(orders) != 1:
        return None
    (order,) = orders
    if order == tuple(range(len(order))):
        return None
    dense = packed([out.aval.shape[axis] for axis in order], out.aval.dtype.itemsize)
    strides_of = dict(zip(order, dense, strict=True))
    return tuple(strides_of[axis] for axis in range(len(order)))


@dataclass(frozen=True, slots=True)
class Timeline:
    """Bytes alive while a graph is evaluated, besides inputs, cells and constants, which are the caller's.

    `during` counts while an equation runs, its scratch memory included; `after` when its operands have gone.
    `held` lists the variables that own memory at the highest point, largest first; `at` is that equation, or None in a
    graph without equations.
    """

    during: tuple[int, ...]
    after: tuple[int, ...]
    at: int | None
    scratch: int
    held: tuple[Var, ...]

    @property
    def peak(self) -> int:
        return 0 if self.at is None else self.during[self.at]


def timeline(graph: Graph, where: Mapping[Var, Place], scratch: tuple[int, ...]) -> Timeline:
    """How much is alive at each equation. `scratch` is the temporary memory of each."""
    given = {*graph.inputs, *(decl.var for decl in graph.cells), *graph.consts}
    free = _plan(graph)
    users: dict[Var, int] = {}  # how many living values lie in an owner's memory
    alive, during, after = 0, [], []
    at: int | None = None
    for i, eq in enumerate(graph.equations):
        for out in eq.outputs:
            owner = where[out].owner
            if owner not in given:
                if owner not in users:
                    users[owner] = 0
                    alive += owner.aval.nbytes
                users[owner] += 1
        during.append(alive + scratch[i])
        if at is None or during[i] > during[at]:
            at = i
        for var in free[i]:
            owner = where[var].owner
            if owner in given:
                continue
            users[owner] -= 1
            if not users[owner]:
                del users[owner]
                alive -= owner.aval.nbytes
        after.append(alive)
    held = _held(graph, where, free, given, at)
    return Timeline(tuple(during), tuple(after), at, 0 if at is None else scratch[at], held)


def _plan(graph: Graph) -> list[list[Var]]:
    """After which equation each value goes. What a deferred gradient reads backwards stays until it."""
    program = graph.program
    deferred = [i for i, eq in enumerate(graph.equations) if eq.is_gradient]
    if not deferred:
        return program.last_uses()
    free: list[list[Var]] = [[] for _ in graph.equations]
    recorded = {out for step in program.steps if step.recorded for out in step.equation.outputs}
    for i, gone in enumerate(program.last_uses()):
        for var in gone:
            later = deferred[-1] if var in recorded and i < deferred[-1] else i
            free[later].append(var)
    return free


def _held(
    graph: Graph, where: Mapping[Var, Place], free: list[list[Var]], given: set[Var], at: int | None
) -> tuple[Var, ...]:
    if at is None:
        return ()
    gone = {var for vars in free[:at] for var in vars}
    owners: dict[Var, None] = {}
    for eq in graph.equations[: at + 1]:
        for out in eq.outputs:
            owner = where[out].owner
            if out not in gone and owner not in given:
                owners[owner] = None
    return tuple(sorted(owners, key=lambda var: -var.aval.nbytes))

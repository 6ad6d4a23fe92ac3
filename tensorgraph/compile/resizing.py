"""A traced function at another size of its batch: the same equations, typed by the shape rules again.

That is right where nobody looked at the size while the function was traced (`graph/size_reads.py`), and where no number
of the program is that size by chance, which recognition may have taken for it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import isclose, prod
from typing import Any

from tensorgraph.compile.signatures import Leaves
from tensorgraph.compile.tracing import Traced
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.equation import abstract
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, Write
from tensorgraph.graph.size_reads import SizeReads, plain

__all__ = ["Resizing"]


class Resizing:
    """Gives the graphs of a traced function at other sizes of its batch.

    Parameters
    ----------
    traced : Traced
    leaves : Leaves
        Of the call that was traced.
    recognised : Graph, optional
        After fused ops were found in it; they are looked for when it is asked for, unless given.
    """

    def __init__(self, traced: Traced, leaves: Leaves, recognised: Graph | None = None) -> None:
        self.traced, self.leaves = traced, leaves
        if recognised is not None:
            self.recognised = recognised

    @functools.cached_property
    def recognised(self) -> Graph:
        """The graph, its fused ops found."""
        return self.traced.graph.transform("recognise")

    @property
    def opens(self) -> SizeReads | None:
        """What was seen of the size while the function was traced; None where the graph is of this size alone."""
        reads = self.traced.sizes
        return reads if reads is not None and reads.clean else None

    @functools.cached_property
    def reads(self) -> SizeReads | None:
        """As `opens`; None also where recognition may have taken a number for the size."""
        reads, recognised = self.opens, self.recognised
        if reads is None:
            return None
        kept = {eq.outputs[0]: eq for eq in recognised.equations if eq.outputs}
        if any(out not in kept or kept[out].op is not op for out, (op, _) in reads.opened.items()):
            return None  # a fused op has taken it over, with what it says of the size
        graph, fused = self.traced.graph, {id(eq) for eq in recognised.equations}
        known = {id(eq) for eq in graph.equations}
        # what recognition has read, and what it has made of it
        read = [eq for eq in graph.equations if id(eq) not in fused]
        made = [eq for eq in recognised.equations if id(eq) not in known]
        return None if self._by_chance(reads, reads.size, [*read, *made], whole=True) else reads

    def holds(self) -> bool:
        """Whether nothing has changed that the trace depends on."""
        return self.traced.guards.holds() or self.traced.guards.change() is None

    def at(self, tensors: Sequence[Any]) -> tuple[Traced, Graph] | None:
        """The trace and the recognised graph for a call that differs in sizes alone; None where it is to be traced."""
        graph = self.traced.graph
        size = self._size(tensors)
        if size is None:
            return self.traced, self.recognised
        reads = self.reads
        if reads is None or not reads.least <= size:
            return None
        # recognition may find more at this size; of one row all that it may find is a mean over it
        if size > 1 and self._by_chance(reads, size, graph.equations, whole=False):
            return None
        try:
            made = _resized(graph, reads, size)
            recognised = made if self.recognised is graph else _resized(self.recognised, reads, size)
        except (TypeError, ValueError):  # the rules refuse the size: the function itself says so better
            return None
        return replace(self.traced, graph=made, sizes=None), recognised

    def within(self, tensors: Sequence[Any], outer: SizeReads | None) -> Graph | None:
        """The graph for a call in another function that is traced, whose sizes `outer` leaves open."""
        # where the open size of both is the same one it stays open, and else it is of this size
        size, reads, graph = self._size(tensors), self.opens, self.traced.graph
        if size is not None:
            if reads is None or not reads.least <= size:
                return None
            try:
                graph = _resized(graph, reads, size)
            except (TypeError, ValueError):
                return None
        opened = [var for var, t in zip(graph.inputs, tensors, strict=True) if outer and outer.is_open(t._value)]
        if outer is None or not opened:
            return graph
        if reads is None or len(opened) != len(reads.inputs) or opened[0].aval.shape[0] != outer.size:
            outer.note()
            return graph
        if reads.least > 1:
            outer.note(True)
        both = zip(self.traced.graph.equations, graph.equations, strict=True)
        return graph.replace(equations=tuple(_opened(reads, outer, eq, made) for eq, made in both))

    def _size(self, tensors: Sequence[Any]) -> int | None:
        """The size of a call's batch, where it is another one; 0 where it differs in more."""
        inputs = self.traced.graph.inputs[len(self.traced.found) :]
        shapes: list[tuple[int, ...]] = [plain(t.aval).shape if isinstance(t, Tensor) else () for t in tensors]
        pairs = [*zip(inputs, shapes, strict=True)]
        if all(shape == var.aval.shape for var, shape in pairs):
            return None
        opened: tuple[Var, ...] = () if self.opens is None else self.opens.inputs
        sizes = {shape[0] for var, shape in pairs if var in opened}
        size = sizes.pop() if len(sizes) == 1 else 0
        alike = all(shape == ((size, *var.aval.shape[1:]) if var in opened else var.aval.shape) for var, shape in pairs)
        return size if alike else 0

    def _by_chance(self, reads: SizeReads, size: int, equations: Iterable[Equation], whole: bool) -> bool:
        """Whether a number among the operands may be taken for a count of elements, or one over it.

        `whole`: also for one less and for a root, and attributes are looked at too.
        """
        taken = [float(size * count + more) for count in self._counts for more in ((0, -1) if whole else (0,))]
        for eq in equations:
            known = reads.opened.get(eq.outputs[0], (None, {}))[1] if eq.outputs else {}
            inputs = [a for k, a in enumerate(eq.inputs) if k not in known]
            for number in _numbers((inputs, [v for k, v in eq.attrs.items() if k not in known] if whole else ())):
                value = abs(float(number))
                forms = [value, 1 / value] if value else []
                forms += [form * form for form in forms] if whole else []
                if any(isclose(form, count, rel_tol=1e-6) for form in forms for count in taken):
                    return True
        return False

    @functools.cached_property
    def _counts(self) -> dict[int, None]:
        assert self.opens is not None
        return _counts(self.opens, self.traced.graph)


def _opened(reads: SizeReads, outer: SizeReads, traced: Equation, made: Equation) -> Equation:
    """An equation of another size as it is made where that is left open: with open sizes in its attributes."""
    inputs, attrs = reads.at(traced, outer.size, outer)
    if attrs is traced.attrs:
        return made
    pairs = zip(inputs, made.inputs, strict=True)
    return replace(made, attrs=attrs, inputs=tuple(a if type(a) is Literal else b for a, b in pairs))


def _resized(graph: Graph, reads: SizeReads, size: int) -> Graph:
    """A graph at another size.

    Raises
    ------
    TypeError, ValueError
        What a shape rule says of the size, and where a cell or a constant would need another shape.
    """
    made: dict[Var, Var] = {}

    def atom(old: Any) -> Any:
        return tuple(map(atom, old)) if isinstance(old, tuple) else made.get(old, old) if type(old) is Var else old

    def typed(var: Var, aval: Aval) -> Var:
        if aval != var.aval:
            made[var] = Var(aval, var.name)
        return made.get(var, var)

    for var in reads.inputs:
        typed(var, Aval((size, *var.aval.shape[1:]), var.aval.dtype))
    equations = []
    for eq in graph.equations:
        old, attrs = reads.at(eq, size)
        inputs = tuple(map(atom, old))
        if attrs is eq.attrs and inputs == eq.inputs:
            equations.append(eq)
            continue
        given = tuple(map(abstract, inputs))
        avals = eq.op.infer(given, attrs)
        if eq.residuals:
            avals += eq.op.infer_residuals(given, attrs) or ()
        outputs = tuple(typed(var, aval) for var, aval in zip(eq.outputs, avals, strict=True))
        origin = eq.origin
        if origin is not None:
            origin = replace(origin, of=made.get(origin.of, origin.of))
        equations.append(replace(eq, inputs=inputs, attrs=attrs, outputs=outputs, origin=origin))
    writes = tuple(Write(write.cell, atom(write.value), write.source) for write in graph.writes)
    for write in writes:
        if type(write.value) is Var and write.value.aval.shape != write.cell.aval.shape:
            raise ValueError("a cell has one shape")
    stands = {made.get(var, var): cell for var, cell in graph.provenance.stands.items()}
    return graph.replace(
        inputs=tuple(map(atom, graph.inputs)), equations=tuple(equations), writes=writes,
        outputs=tuple(map(atom, graph.outputs)), provenance=replace(graph.provenance, stands=stands),
    )  # fmt: skip


# numbers that are the size by chance ----------------------------------------------------------------------------------


def _counts(reads: SizeReads, graph: Graph) -> dict[int, None]:
    """What the size is multiplied by in counts of elements: the products of some of the other sizes of a value."""
    counts: dict[int, None] = {1: None}
    shapes = {var.aval.shape for eq in graph.equations for var in eq.outputs} | {v.aval.shape for v in graph.inputs}
    for shape in shapes:
        if reads.size in shape:
            rest = list(shape)
            rest.remove(reads.size)
            for many in range(1, len(rest) + 1):
                counts.update((prod(some), None) for some in combinations(rest, many))
    return counts


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, Literal):
        value = value.value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value

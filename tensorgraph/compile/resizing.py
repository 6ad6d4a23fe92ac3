"""A traced function at another size of its batch: the same equations, typed by the shape rules again.

That is right where nobody looked at the size while the function was traced (`graph/size_reads.py`), and where no number
of the program is that size by chance, which recognition may have taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import isclose, prod
from typing import Any

from tensorgraph.compile.tracing import Traced
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.equation import abstract
from tensorgraph.graph.graph import Equation, Graph, Literal, Origin, Var, Write
from tensorgraph.graph.size_reads import SizeReads

__all__ = ["Resizing"]


class Resizing:
    """Gives the graphs of a traced function at other sizes of its batch.

    Parameters
    ----------
    traced : Traced
    recognised : Graph
        After fused ops were found in it.
    """

    def __init__(self, traced: Traced, recognised: Graph) -> None:
        self.traced, self.recognised = traced, recognised
        reads = traced.sizes
        kept = {eq.outputs[0]: eq for eq in recognised.equations if eq.outputs}
        self.reads: SizeReads | None = reads
        if reads is None or not reads.clean:
            self.reads = None
        elif any(out not in kept or kept[out].op is not op for out, (op, _) in reads.opened.items()):
            self.reads = None  # a fused op has taken it over, with what it says of the size
        if self.reads is not None:
            graph, fused = traced.graph, {id(eq) for eq in recognised.equations}
            known = {id(eq) for eq in graph.equations}
            self._counts = _counts(self.reads, graph)
            # what recognition has read, and what it has made of it
            read = [eq for eq in graph.equations if id(eq) not in fused]
            made = [eq for eq in recognised.equations if id(eq) not in known]
            if self._by_chance(self.reads.size, [*read, *made], whole=True):
                self.reads = None

    def at(self, tensors: Sequence[Any]) -> tuple[Traced, Graph] | None:
        """The trace and the recognised graph for a call that differs in sizes alone; None where it is to be traced."""
        reads, graph = self.reads, self.traced.graph
        if reads is None:
            return None
        inputs = graph.inputs[len(self.traced.found) :]
        shapes = [t.shape if isinstance(t, Tensor) else () for t in tensors]
        sizes = {shape[0] for var, shape in zip(inputs, shapes, strict=True) if var in reads.inputs}
        size = sizes.pop()
        if (
            sizes
            or size < 2
            or any(
                shape != ((size, *var.aval.shape[1:]) if var in reads.inputs else var.aval.shape)
                for var, shape in zip(inputs, shapes, strict=True)
            )
        ):
            return None
        if self._by_chance(size, graph.equations, whole=False):  # recognition may find more at this size
            return None
        try:
            made = _resized(graph, reads, size)
            recognised = made if self.recognised is graph else _resized(self.recognised, reads, size)
        except (TypeError, ValueError):  # the rules refuse the size: the function itself says so better
            return None
        return replace(self.traced, graph=made, sizes=None), recognised

    def _by_chance(self, size: int, equations: Iterable[Equation], whole: bool) -> bool:
        """Whether a number among the operands may be taken for a count of elements, or one over it.

        `whole`: also for one less and for a root, and attributes are looked at too.
        """
        assert self.reads is not None
        taken = [float(size * count + more) for count in self._counts for more in ((0, -1) if whole else (0,))]
        for eq in equations:
            known = self.reads.opened.get(eq.outputs[0], (None, {}))[1] if eq.outputs else {}
            inputs = [a for k, a in enumerate(eq.inputs) if k not in known]
            for number in _numbers((inputs, [v for k, v in eq.attrs.items() if k not in known] if whole else ())):
                value = abs(float(number))
                forms = [value, 1 / value] if value else []
                forms += [form * form for form in forms] if whole else []
                if any(isclose(form, count, rel_tol=1e-6) for form in forms for count in taken):
                    return True
        return False


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
            origin = Origin(made.get(origin.of, origin.of), origin.rule)
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

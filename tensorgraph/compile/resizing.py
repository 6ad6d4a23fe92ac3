"""A traced function at another size of its batch: the same equations, typed by the shape rules again.

That is right where nobody needed the size while the function was traced and all comparisons of sizes come out the same
(`graph/size_reads.py`). Fused ops are not looked for again, but where a number of the program is that size by chance,
which recognition may have taken for it, or an open size became a part of one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import isclose, prod
from typing import Any

from tensorgraph.compile.signatures import Leaves
from tensorgraph.compile.tracing import Traced
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.open_sizes import OpenSize, Sizes, at_sizes
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.equation import abstract
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, Write
from tensorgraph.graph.size_reads import SizeReads, plain
from tensorgraph.passes.differentiate import used, write_out

__all__ = ["Resizing"]

KEPT = 4


class Resizing:
    """Gives the graphs of a traced function at other sizes of its batch.

    Parameters
    ----------
    traced : Traced
    leaves : Leaves
        Of the call that was traced.
    recognise : callable, optional
        Gives the graph after fused ops were found in it; unless given, they are looked for.
    differentiated : Graph, optional
        After its gradients were written out; they are when it is asked for, unless given.
    """

    def __init__(
        self, traced: Traced, leaves: Leaves, recognise: Callable[[], Graph] | None = None,
        differentiated: Graph | None = None,
    ) -> None:  # fmt: skip
        self.traced, self.leaves = traced, leaves
        self._recognise = recognise or functools.partial(traced.graph.transform, "recognise")
        self._known: dict[int, tuple[Graph, Sizes] | None] = {}  # what was asked for last
        if differentiated is not None:
            self.differentiated = differentiated

    @functools.cached_property
    def recognised(self) -> Graph:
        """The graph, its fused ops found."""
        return self._recognise()

    @functools.cached_property
    def differentiated(self) -> Graph:
        """The recognised graph with its gradients written out."""
        written = self._written
        return self.recognised.transform("differentiate") if written is None else used(written[0], self.recognised)

    @functools.cached_property
    def _written(self) -> tuple[Graph, SizeReads] | None:
        """The recognised graph with all that its backward passes compute, and what these have seen of the size; None
        where it has none, and where that depends on the size in another way."""
        recognised, reads = self.recognised, self.opens
        if reads is None or not any(eq.is_gradient for eq in recognised.equations) or self._again:
            return None
        batch, sizes = reads.inputs[0], SizeReads(reads.inputs)

        def open_again(number: OpenSize) -> OpenSize:
            def at(there: Sizes) -> Any:
                resized = self._resized(there(batch, 0))
                if resized is None:
                    raise ValueError("the function is another one at this size")
                return number.at(resized[1])

            return OpenSize(number.own, at, sizes)

        try:
            opened = recognised.replace(
                equations=tuple(_opened(reads, open_again, eq, eq) for eq in recognised.equations)
            )
            written, _ = write_out(opened, sizes)
        except Exception:  # an open size is no number for whoever reads it in C
            return None
        finally:
            sizes.end()
        return (written, sizes) if sizes.clean else None

    @property
    def opens(self) -> SizeReads | None:
        """What was seen of the size while the function was traced; None where the graph is of this size alone."""
        reads = self.traced.sizes
        return reads if reads is not None and reads.clean else None

    @functools.cached_property
    def _again(self) -> bool:
        """Whether fused ops are looked for at each size: one may hold a number that is the size."""
        reads, recognised = self.opens, self.recognised
        assert reads is not None
        kept = {eq.outputs[0]: eq for eq in recognised.equations if eq.outputs}
        if any(out not in kept or kept[out].op is not op for out, (op, _) in reads.opened.items()):
            return True  # a fused op has taken it over, with what it says of the size
        graph, fused = self.traced.graph, {id(eq) for eq in recognised.equations}
        known = {id(eq) for eq in graph.equations}
        # what recognition has read, and what it has made of it
        read = [eq for eq in graph.equations if id(eq) not in fused]
        made = [eq for eq in recognised.equations if id(eq) not in known]
        return self._by_chance(reads, reads.size, [*read, *made], whole=True)

    def holds(self) -> bool:
        """Whether nothing has changed that the trace depends on."""
        return self.traced.guards.holds() or self.traced.guards.change() is None

    def at(self, leaves: Leaves) -> Resizing | None:
        """The same for a call that differs in sizes alone; None where it is to be traced."""
        graph, reads = self.traced.graph, self.opens
        size = self._size(leaves.tensors)
        if size is None:
            return Resizing(self.traced, leaves, lambda: self.recognised, self.differentiated)
        found = self._resized(size)
        if found is None or reads is None:
            return None
        made, sizes = found
        traced = replace(self.traced, graph=made, sizes=None)
        # recognition may find more at this size; of one row all that it may find is a mean over it
        if self._again or (size > 1 and self._by_chance(reads, size, graph.equations, whole=False)):
            return Resizing(traced, leaves)

        def recognise() -> Graph:
            return made if self.recognised is graph else _resized(self.recognised, reads, size, sizes)[0]

        return Resizing(traced, leaves, recognise, self._differentiated(size))

    def _differentiated(self, size: int) -> Graph | None:
        """The gradients that are written out at another size; None where the rules are to be asked again."""
        if self._written is None:
            return None
        graph, reads = self._written
        try:
            written, sizes = _resized(graph, reads, size)
            if not reads.holds(sizes):
                return None
        except (TypeError, ValueError, ArithmeticError):
            return None
        return used(written, self.recognised)

    def within(self, tensors: Sequence[Any], outer: SizeReads | None) -> Graph | None:
        """The graph for a call in another function that is traced, whose sizes `outer` leaves open."""
        # where the open size of both is the same one it stays open, and else it is of this size
        reads, graph = self.opens, self.traced.graph
        size = self._size(tensors)
        if size is not None:
            found = self._resized(size)
            if found is None:
                return None
            graph = found[0]
        opened = [t._value for t in tensors if outer and isinstance(t, Tensor) and outer.is_open(t._value)]
        if outer is None or not opened:
            return graph
        if reads is None or len(opened) != len(reads.inputs) or plain(opened[0].aval).shape[0] != outer.size:
            outer.note()
            return graph
        batch = opened[0]
        outer.hold(lambda sizes: self._resized(sizes(batch, 0)) is not None, True)

        def open_again(number: OpenSize) -> OpenSize:
            def at(sizes: Sizes) -> Any:
                there = self._resized(sizes(batch, 0))
                if there is None:
                    raise ValueError("the part is another one at this size")
                return number.at(there[1])

            return OpenSize(at(_plain_size), at, outer)

        both = zip(self.traced.graph.equations, graph.equations, strict=True)
        return graph.replace(equations=tuple(_opened(reads, open_again, eq, made) for eq, made in both))

    def _resized(self, size: int) -> tuple[Graph, Sizes] | None:
        """The graph at another size of the batch, and the sizes of its variables; None where it is another one."""
        reads, graph = self.opens, self.traced.graph
        if reads is None or size < 1:
            return None
        if size not in self._known:
            try:
                found: tuple[Graph, Sizes] | None = _resized(graph, reads, size)
                self._known[size] = found if found is not None and reads.holds(found[1]) else None
            except (TypeError, ValueError, ArithmeticError):  # the rules refuse the size: the function says so better
                self._known[size] = None
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
        return self._known[size]

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


def _plain_size(var: Var, axis: int) -> int:
    return at_sizes(var.aval.shape[axis])  # type: ignore[no-any-return]


def _opened(reads: SizeReads, again: Callable[[OpenSize], OpenSize], traced: Equation, made: Equation) -> Equation:
    """An equation of another size as it is made where that is left open: with open sizes in its attributes."""
    inputs, attrs = reads.at(traced, again)
    if attrs is traced.attrs:
        return made
    pairs = zip(inputs, made.inputs, strict=True)
    return replace(made, attrs=attrs, inputs=tuple(a if type(a) is Literal else b for a, b in pairs))


def _resized(graph: Graph, reads: SizeReads, size: int, there: Sizes | None = None) -> tuple[Graph, Sizes]:
    """A graph at another size, and the sizes of its variables; those of the traced one are `there`.

    Raises
    ------
    TypeError, ValueError
        What a shape rule says of the size, and where a cell or a constant would need another shape.
    """
    made: dict[Var, Var] = {}

    def size_of(var: Var, axis: int) -> int:
        return made.get(var, var).aval.shape[axis]

    first = there is None
    sizes = there or size_of

    def atom(old: Any) -> Any:
        return tuple(map(atom, old)) if isinstance(old, tuple) else made.get(old, old) if type(old) is Var else old

    def typed(var: Var, aval: Aval) -> Var:
        if aval != var.aval:
            if first and not reads.fits(var, aval):
                raise ValueError("a size that did not seem to depend on the batch does")
            made[var] = Var(aval, var.name)
        return made.get(var, var)

    for var in reads.inputs:
        typed(var, Aval((size, *var.aval.shape[1:]), var.aval.dtype))
    equations = []
    for eq in graph.equations:
        old, attrs = reads.at(eq, lambda number: number.at(sizes))
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
        equations.append(replace(eq, inputs=inputs, attrs=attrs, outputs=outputs, origin=origin).typed())
    writes = tuple(Write(write.cell, atom(write.value), write.source) for write in graph.writes)
    for write in writes:
        if type(write.value) is Var and write.value.aval.shape != write.cell.aval.shape:
            raise ValueError("a cell has one shape")
    stands = {made.get(var, var): cell for var, cell in graph.provenance.stands.items()}
    resized = graph.replace(
        inputs=tuple(map(atom, graph.inputs)), equations=tuple(equations), writes=writes,
        outputs=tuple(map(atom, graph.outputs)), provenance=replace(graph.provenance, stands=stands),
    )  # fmt: skip
    return resized, size_of


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

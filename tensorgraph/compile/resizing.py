"""A traced function at another size of its batch: the same equations, typed by the shape rules again.

That is right where nobody needed the size while the function was traced and all comparisons of sizes come out the same
(`graph/size_reads.py`). Fused ops are not looked for again, but where a number of the program is that size by chance,
which recognition may have taken for it, or an open size became a part of one. Nor is the graph simplified again where
the same of its sizes are equal as at a size at which it was.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from math import isclose, prod
from typing import Any

from tensorgraph.compile.selection import Draft
from tensorgraph.compile.signatures import Leaves
from tensorgraph.compile.sized import SizedGraph, Types, numbers
from tensorgraph.compile.tracing import Traced
from tensorgraph.engine.open_sizes import OpenSize, Sizes
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.graph.size_reads import SizeReads, plain
from tensorgraph.jit.properties import cached_property
from tensorgraph.passes.differentiate import used, write_out
from tensorgraph.passes.simplify import compares_sizes

__all__ = ["Resizing"]

KEPT = 4  # of what was made for sizes


class Resizing:
    """Gives the graphs of a traced function at other sizes of its batch.

    Parameters
    ----------
    traced : Traced
    leaves : Leaves
        Of the call.
    recognise : callable, optional
        Gives the graph after fused ops were found in it; unless given, they are looked for.
    simplify : callable, optional
        Gives the graph after all passes; unless given, they are run.
    drafts : list of Draft, optional
        Of plans at some sizes, the last one first; one list for all sizes.

    Attributes
    ----------
    leaves : Leaves
        Without the numbers.
    shapes : list of tuple of int
        Of the arguments.
    is_asked : bool
        Whether an argument asks for gradients.
    """

    def __init__(
        self, traced: Traced, leaves: Leaves, recognise: Callable[[], Graph] | None = None,
        simplify: Callable[[], Graph] | None = None, drafts: list[Draft] | None = None,
    ) -> None:  # fmt: skip
        self.traced, self.leaves, self.shapes = traced, leaves.without_numbers(), _shapes(leaves.tensors)
        self.is_asked = any(isinstance(t, Tensor) and t._node is not None for t in leaves.tensors)
        self._recognise, self._simplify = recognise, simplify
        self.drafts = [] if drafts is None else drafts
        self._known: dict[int, Types | None] = {}  # what was asked for last
        self._shorter: list[tuple[list[int], Graph]] = []  # by sizes of `_full`, in the variables of that

    @cached_property
    def recognised(self) -> Graph:
        """The graph, its fused ops found."""
        return self.traced.graph.transform("recognise") if self._recognise is None else self._recognise()

    @cached_property
    def simplified(self) -> Graph:
        """The graph after all passes."""
        if self._simplify is not None:
            return self._simplify()
        full = self._full
        if full is None:
            return self.recognised.transform("differentiate", "simplify")
        return self._simplified(full.types(full.reads.size))

    @cached_property
    def _full(self) -> SizedGraph | None:
        """The recognised graph with all that its backward passes compute, and what these have seen of the size; None
        where that depends on the size in another way."""
        recognised, reads = self.recognised, self.opens
        if reads is None or self._again:
            return None
        if not any(eq.is_gradient for eq in recognised.equations):
            return self._trace if recognised is self.traced.original else SizedGraph(recognised, reads, seen=False)
        self._trace.types(reads.size)  # what it finds out once, before it shows open sizes
        batch, sizes = reads.inputs[0], SizeReads(reads.inputs)
        again = self._opening(batch, sizes)
        try:
            opened = recognised.replace(equations=tuple(_opened(reads, again, eq, eq) for eq in recognised.equations))
            written, _ = write_out(opened, sizes)
        except Exception:  # an open size is no number for whoever reads it in C
            return None
        finally:
            sizes.end()
        return SizedGraph(written, sizes) if sizes.clean else None

    def _opening(self, batch: Var, reads: SizeReads, here: Types | None = None) -> Callable[[OpenSize], OpenSize]:
        """What makes a number computed with sizes of this trace one of sizes that `reads` leaves open, where the batch
        is that of a variable; the types are those `here`, or of the trace."""

        def opened(number: OpenSize) -> OpenSize:
            def at(sizes: Sizes) -> Any:
                there = self._resized(sizes(batch, 0))
                if there is None:
                    raise ValueError("the function is another one at this size")
                return number.at(there.size)

            return OpenSize(number.own if here is None else number.at(here.size), at, reads)

        return opened

    @property
    def opens(self) -> SizeReads | None:
        """What was seen of the size while the function was traced; None where the graph is of this size alone."""
        reads = self.traced.sizes
        return reads if reads is not None and reads.clean else None

    @cached_property
    def _trace(self) -> SizedGraph:
        assert self.opens is not None
        return SizedGraph(self.traced.original, self.opens)

    @cached_property
    def _again(self) -> bool:
        """Whether fused ops are looked for at each size: one may hold a number that is the size."""
        reads, recognised = self.opens, self.recognised
        assert reads is not None
        kept = {eq.outputs[0]: eq for eq in recognised.equations if eq.outputs}
        if any(out not in kept or kept[out].op is not op for out, (op, _) in reads.opened.items()):
            return True  # a fused op has taken it over, with what it says of the size
        graph, fused = self.traced.original, {id(eq) for eq in recognised.equations}
        known = {id(eq) for eq in graph.equations}
        # what recognition has read, and what it has made of it
        read = [eq for eq in graph.equations if id(eq) not in fused]
        made = [eq for eq in recognised.equations if id(eq) not in known]
        forms = self._forms([*read, *made], whole=True)
        return self._by_chance(reads.size, forms, (0, -1))

    def holds(self) -> bool:
        """Whether nothing has changed that the trace depends on."""
        return self.traced.guards.holds() or self.traced.guards.change() is None

    def at(self, leaves: Leaves) -> Resizing | None:
        """The same for a call that differs in sizes alone; None where it is to be traced."""
        size = self._size(leaves.tensors)
        if size is None:
            return Resizing(self.traced, leaves, lambda: self.recognised, lambda: self.simplified, self.drafts)
        found = self._resized(size)
        if found is None:
            return None
        trace = self._trace
        traced = replace(self.traced, resize=lambda: trace.at(found), sizes=None)
        # recognition may find more at this size; of one row all that it may find is a mean over it
        if self._again or (size > 1 and self._by_chance(size, self._operands, (0,))):
            return Resizing(traced, leaves)

        def recognise() -> Graph:
            if self.recognised is trace.graph:
                return traced.graph
            some = SizedGraph(self.recognised, trace.reads, seen=False)
            return some.at(some.types(size, found.size))

        types = self._full_types(size, found)
        simplify = None if types is None else functools.partial(self._simplified, types)
        return Resizing(traced, leaves, recognise, simplify, self.drafts)

    def planned(self, draft: Draft) -> None:
        """Keep the beginning of a plan for those of other sizes."""
        self.drafts[:] = [draft, *self.drafts][:KEPT]

    def _full_types(self, size: int, found: Types) -> Types | None:
        """The types of the graph with its gradients written out; None where the rules are to be asked again."""
        full = self._full
        if full is None or full is self._trace:
            return None if full is None else found
        try:
            types = full.types(size, None if full.seen else found.size, (self._trace, found))
            return types if not full.seen or full.reads.holds(types.size) else None
        except (TypeError, ValueError, ArithmeticError):
            return None

    def _simplified(self, types: Types) -> Graph:
        """The graph after all passes where its variables have these types."""
        full = self._full
        assert full is not None
        sizes = full.sizes(types)
        for known in self._shorter:
            if full.alike(known[0], sizes):
                self._shorter = [known, *(other for other in self._shorter if other is not known)]
                return full.at(types, known[1])
        whole = full.at(types)
        shorter = whole if full.graph is self.recognised else used(whole, self.recognised)
        shorter = shorter.transform("simplify")
        if self._compares:
            found = full.before(shorter, whole)
            if found is not None:
                self._shorter = [(sizes, found), *self._shorter][:KEPT]
        return shorter

    @cached_property
    def _compares(self) -> bool:
        full = self._full
        return full is not None and compares_sizes(full.graph, full.varying, full.reads.opened)

    def within(self, tensors: Sequence[Any], outer: SizeReads | None) -> Graph | None:
        """The graph for a call in another function that is traced, whose sizes `outer` leaves open."""
        # where the open size of both is the same one it stays open, and else it is of this size
        reads, graph = self.opens, self.traced.graph
        size, found = self._size(tensors), None
        if size is not None:
            found = self._resized(size)
            if found is None:
                return None
            graph = self._trace.at(found)
        opened = [t._value for t in tensors if outer and isinstance(t, Tensor) and outer.is_open(t._value)]
        if outer is None or not opened:
            return graph
        if reads is None or len(opened) != len(reads.inputs) or plain(opened[0].aval).shape[0] != outer.size:
            outer.note()
            return graph
        batch = opened[0]
        outer.hold(lambda sizes: self._resized(sizes(batch, 0)) is not None, True)

        again = self._opening(batch, outer, found)
        both = zip(self.traced.original.equations, graph.equations, strict=True)
        return graph.replace(equations=tuple(_opened(reads, again, eq, made) for eq, made in both))

    def _resized(self, size: int) -> Types | None:
        """The types of the traced graph at another size of the batch; None where it is another one."""
        reads = self.opens
        if reads is None or size < 1:
            return None
        if size not in self._known:
            try:
                found = self._trace.types(size)
                self._known[size] = found if reads.holds(found.size) else None
            except (TypeError, ValueError, ArithmeticError):  # the rules refuse the size: the function says so better
                self._known[size] = None
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
        return self._known[size]

    def _size(self, tensors: Sequence[Any]) -> int | None:
        """The size of a call's batch, where it is another one; 0 where it differs in more."""
        shapes = _shapes(tensors)
        if shapes == self.shapes:
            return None
        if self.opens is None:
            return 0
        inputs, opened = self.traced.original.inputs[len(self.traced.found) :], self.opens.inputs
        sizes = {shape[0] for var, shape in zip(inputs, shapes, strict=True) if var in opened}
        size = sizes.pop() if len(sizes) == 1 else 0
        there = [(size, *own[1:]) if v in opened else own for v, own in zip(inputs, self.shapes, strict=True)]
        return size if shapes == there else 0

    def _by_chance(self, size: int, forms: Sequence[float], more: Iterable[int]) -> bool:
        """Whether a number among these, which are sorted, is a count of elements, or one of `more` more."""
        for count in self._counts:
            for n in more:
                taken = float(size * count + n)
                at = bisect_left(forms, taken)
                if any(isclose(form, taken, rel_tol=1e-6) for form in forms[max(at - 1, 0) : at + 1]):
                    return True
        return False

    def _forms(self, equations: Iterable[Equation], whole: bool) -> list[float]:
        """What may be taken for a count of elements: numbers among the operands, and one over each, sorted.

        `whole`: also their squares, and of attributes too.
        """
        reads, forms = self.opens, set[float]()
        assert reads is not None
        for eq in equations:
            known = reads.opened.get(eq.outputs[0], (None, {}))[1] if eq.outputs else {}
            inputs = [a for k, a in enumerate(eq.inputs) if k not in known]
            for number in numbers((inputs, [v for k, v in eq.attrs.items() if k not in known] if whole else ())):
                value = abs(float(number))
                found = [value, 1 / value] if value else []
                forms.update(found + [form * form for form in found] if whole else found)
        return sorted(form for form in forms if form == form)

    @cached_property
    def _operands(self) -> list[float]:
        return self._forms(self.traced.original.equations, whole=False)

    @cached_property
    def _counts(self) -> dict[int, None]:
        assert self.opens is not None
        return _counts(self.opens, self.traced.original)


def _shapes(tensors: Sequence[Any]) -> list[tuple[int, ...]]:
    return [plain(t.aval).shape if isinstance(t, Tensor) else () for t in tensors]


def _opened(reads: SizeReads, again: Callable[[OpenSize], OpenSize], traced: Equation, made: Equation) -> Equation:
    """An equation of another size as it is made where that is left open: with open sizes in its attributes."""
    inputs, attrs = reads.at(traced, again)
    if attrs is traced.attrs:
        return made
    pairs = zip(inputs, made.inputs, strict=True)
    return replace(made, attrs=attrs, inputs=tuple(a if type(a) is Literal else b for a, b in pairs))


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

"""A graph at other sizes of its batch: the types that its variables have there, and the graph with these types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.open_sizes import Sizes
from tensorgraph.graph.graph import Atom, Equation, Graph, Literal, Origin, Var, Write, typed_key
from tensorgraph.graph.size_reads import SizeReads
from tensorgraph.jit.properties import cached_property

__all__ = ["SizedGraph", "Types", "numbers"]


class Types(NamedTuple):
    """The types of a graph's variables at a size of its batch.

    Attributes
    ----------
    avals : dict of Var to Aval
        Of the variables that have other ones there.
    given : dict of Var to (tuple of Atom, mapping)
        Operands and attributes of the equations in which sizes were computed with, by what they give.
    """

    avals: dict[Var, Aval]
    given: dict[Var, tuple[tuple[Atom, ...], Mapping[str, Any]]]

    def of(self, var: Var) -> Aval:
        """The type of a variable."""
        return self.avals.get(var, var.aval)

    def size(self, var: Var, axis: int) -> int:
        """The size of a variable along an axis."""
        return self.avals.get(var, var.aval).shape[axis]


class SizedGraph:
    """A graph, and what was seen of the size of its batch while it was made.

    Parameters
    ----------
    graph : Graph
    reads : SizeReads
    seen : bool
        Whether all of its variables were there then.
    """

    def __init__(self, graph: Graph, reads: SizeReads, seen: bool = True) -> None:
        self.graph, self.reads, self.seen = graph, reads, seen
        self._inputs = [(var, var.aval) for var in reads.inputs]  # which are shown with open sizes at times

    def types(self, size: int, there: Sizes | None = None, begun: tuple[SizedGraph, Types] | None = None) -> Types:
        """The types at a size; `there` are the sizes with which the graph computes, unless they are its own. `begun`
        is another graph of some of its variables, and their types.

        Raises
        ------
        TypeError, ValueError
            What a shape rule says of the size, and where a cell or a constant would need another shape.
        """
        reads, graph = self.reads, self.graph
        types = Types({} if begun is None else dict(begun[1].avals), {})
        avals, given = types
        sizes = there or types.size
        for var, own in self._inputs:
            if own.shape[0] != size:
                avals[var] = Aval((size, *own.shape[1:]), own.dtype)
        changed, opened = avals.keys(), reads.opened
        known: dict[int, tuple[list[Any], tuple[Aval, ...]]] = {}
        seen = self.seen and there is None
        told = frozenset[Var]() if begun is None else begun[0].variables
        changed_to = avals.get
        for eq, like, are_tensors in self._reached:
            if told and like >= 0 and told.issuperset(eq.outputs):
                for var in eq.outputs:
                    if seen and var in avals and not reads.fits(var, avals[var]):
                        raise ValueError("a size that did not seem to depend on the batch does")
                continue
            inputs, attrs = eq.inputs, eq.attrs
            if like < 0 and eq.outputs and eq.outputs[0] in opened:
                inputs, attrs = given[eq.outputs[0]] = reads.at(eq, lambda number: number.at(sizes))
            elif changed.isdisjoint(eq.variables()):
                continue
            if are_tensors and inputs is eq.inputs:
                operands: list[Any] = [changed_to(var) or var.aval for var in eq.variables()]
            else:
                operands = [_abstract(atom, avals) for atom in inputs]
            before = known.get(like)
            if before is not None and before[0] == operands:
                found = before[1]
            else:
                found = eq.op.infer(tuple(operands), attrs)
                if eq.residuals:
                    found += eq.op.infer_residuals(tuple(operands), attrs) or ()
                if like >= 0:
                    known[like] = operands, found
            for var, aval in zip(eq.outputs, found, strict=True):
                if aval is not var.aval and aval != var.aval:
                    if seen and not reads.fits(var, aval):
                        raise ValueError("a size that did not seem to depend on the batch does")
                    avals[var] = aval
        for write in graph.writes:
            if type(write.value) is Var and types.of(write.value).shape != write.cell.aval.shape:
                raise ValueError("a cell has one shape")
        return types

    @cached_property
    def variables(self) -> frozenset[Var]:
        """All that the graph has."""
        return frozenset(self.graph.variables())

    @cached_property
    def _reached(self) -> list[tuple[Equation, int, bool]]:
        """The equations whose types may be others, with the first that is like each, and whether all operands are
        tensors."""
        reached, found, opened = set(self.reads.inputs), [], self.reads.opened
        for eq, like in zip(self.graph.equations, self._alike, strict=True):
            if not reached.isdisjoint(eq.variables()) or any(var in opened for var in eq.outputs):
                reached.update(eq.outputs)
                are_tensors = all(type(atom) is Var and type(atom.aval) is not Number for atom in eq.inputs)
                found.append((eq, like, are_tensors))
        return found

    @cached_property
    def _alike(self) -> list[int]:
        """For each equation the first of those with its op, attributes and types; -1 where that cannot be said, as of
        one that computes with sizes: in layers that are alike each shape rule is asked once."""
        first: dict[Any, int] = {}
        found = []
        for number, eq in enumerate(self.graph.equations):
            if any(var in self.reads.opened for var in eq.outputs):
                found.append(-1)
                continue
            try:
                types = tuple((a.aval if type(a) is Var else typed_key(a.value)) for a in eq.atoms())  # type: ignore[union-attr]
                shape = tuple(len(a) if type(a) is tuple else -1 for a in eq.inputs)
                key = eq.op, shape, types, typed_key(dict(eq.attrs)), len(eq.outputs)
                found.append(first.setdefault(key, number))
            except TypeError:  # no key of a dict
                found.append(-1)
        return found

    def at(self, types: Types, graph: Graph | None = None) -> Graph:
        """The graph with these types, or another one of some of its equations, whose operands are variables.

        What does not depend on the size is the same at every size: variables, and equations that read no others.
        """
        graph = graph or self.graph
        made = {var: Var(aval, var.name) for var, aval in types.avals.items()}
        changed, given = made.keys(), types.given

        new = made.get

        def atom(old: Any) -> Any:
            return tuple(map(atom, old)) if type(old) is tuple else new(old, old)

        equations = []
        for eq in graph.equations:
            known = given.get(eq.outputs[0]) if eq.outputs else None
            if known is None and changed.isdisjoint(eq.variables()):
                equations.append(eq)
                continue
            inputs, attrs = known or (eq.inputs, eq.attrs)
            if graph is not self.graph:
                inputs = eq.inputs
            origin = eq.origin
            if origin is not None and origin.of in changed:
                origin = Origin(made[origin.of], origin.rule, origin.passes)
            outputs = tuple([new(var, var) for var in eq.outputs])
            operands = tuple([new(a, a) if type(a) is Var else atom(a) for a in inputs])
            equations.append(eq.retyped(operands, attrs, outputs, origin))
        stands = {made.get(var, var): cell for var, cell in graph.provenance.stands.items()}
        every = tuple(equations)
        return graph.replace(
            inputs=tuple(map(atom, graph.inputs)), equations=every, outputs=tuple(map(atom, graph.outputs)),
            writes=tuple(Write(write.cell, atom(write.value), write.source) for write in graph.writes),
            provenance=replace(graph.provenance, stands=stands, pattern=(graph, every)),
        )  # fmt: skip

    def before(self, graph: Graph, there: Graph) -> Graph | None:
        """A graph that was made of equations of this one `there`, at a size, as one in the variables here; None where
        it has others."""
        back = dict(zip(there.variables(), self.graph.variables(), strict=True))
        places = {id(eq): n for n, eq in enumerate(there.equations)}
        places |= {id(eq.outputs[0]): n for n, eq in enumerate(there.equations) if eq.outputs}

        def atom(new: Any) -> Any:
            return tuple(map(atom, new)) if type(new) is tuple else back.get(new, new)

        equations = []
        for eq in graph.equations:
            at = places.get(id(eq), places.get(id(eq.outputs[0]), -1) if eq.outputs else -1)
            here, new = self.graph.equations[at], there.equations[at]
            same = at >= 0 and eq.op is new.op and eq.attrs is new.attrs
            if not same or eq.outputs != new.outputs[: len(eq.outputs)]:
                return None
            if eq is not new:
                origin = eq.origin and Origin(atom(eq.origin.of), eq.origin.rule, eq.origin.passes)
                here = here.retyped(tuple(map(atom, eq.inputs)), here.attrs, here.outputs[: len(eq.outputs)], origin)
            equations.append(here)
        if not graph.consts.keys() <= there.consts.keys():
            return None
        return graph.replace(
            inputs=self.graph.inputs, equations=tuple(equations), outputs=tuple(map(atom, graph.outputs)),
            writes=tuple(Write(write.cell, atom(write.value), write.source) for write in graph.writes),
            provenance=replace(graph.provenance, stands=self.graph.provenance.stands),
        )  # fmt: skip

    # sizes that are equal -------------------------------------------------------------------------------------------

    def alike(self, one: list[int], other: list[int]) -> bool:
        """Whether the same of the graph's sizes are equal, to each other and to numbers that it holds."""
        pairs = {*zip(one, other, strict=True), *self._constants}
        return len(dict(pairs)) == len(pairs) == len({there for _, there in pairs})

    def sizes(self, types: Types) -> list[int]:
        """All sizes that may be others, and what was computed with them."""
        own = types.avals.get
        found = [n for var in self.varying for n in (own(var) or var.aval).shape]
        for var, (_, opened) in self.reads.opened.items():
            if var in types.given:
                inputs, attrs = types.given[var]
                values = [attrs[key] if isinstance(key, str) else inputs[key] for key in opened]
                found += numbers(values)  # type: ignore[arg-type]
        return found

    @cached_property
    def varying(self) -> dict[Var, tuple[int, ...]]:
        """The variables whose types may be others, and along which axes."""
        changed = {*self.reads.inputs, *(var for eq, _, _ in self._reached for var in eq.outputs)}
        if self.seen:
            changed = {var for var in changed if self.reads.is_open(var)}
        return {var: self.reads.axes(var) for var in self.graph.variables() if var in changed}

    @cached_property
    def _constants(self) -> set[tuple[float, float]]:
        """The numbers that are the same at every size, twice each."""
        known = self.varying
        found: set[float] = {-1, 0, 1}
        for var in self.graph.variables():
            if var not in known:
                found.update(var.aval.shape)
        for eq in self.graph.equations:
            if not any(var in self.reads.opened for var in eq.outputs):
                found.update(numbers((eq.inputs, eq.attrs)))
        return {(n, n) for n in found}


def _abstract(atom: Any, avals: Mapping[Var, Aval]) -> Any:
    """An operand as shape rules take it, where variables have these types."""
    if type(atom) is Var:
        aval = avals.get(atom, atom.aval)
        return aval.sample if type(aval) is Number else aval
    return [_abstract(a, avals) for a in atom] if type(atom) is tuple else atom.value


def numbers(value: Any) -> Iterator[float]:
    """The numbers in operands and attributes, however they nest."""
    if type(value) is Literal:
        value = value.value
    if isinstance(value, (tuple, list)):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, (int, float)):
        if type(value) is not bool:
            yield value
    elif isinstance(value, Mapping):
        yield from numbers(tuple(value.values()))

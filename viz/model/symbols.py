"""A template's graph with its dimensions by name: ``Nx4`` in the place of the size that an instance happens to have.

An instance is made for some sizes, and one more for each dimension with another size there. Where a number is another
one in these, it is told by the dimensions that it follows: ``N``, ``2*N``, ``N+1``, ``N*M``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from math import prod
from types import SimpleNamespace
from typing import Any

from tensorgraph.engine.aval import aval_of
from tensorgraph.graph.graph import Graph, Literal, Var
from tensorgraph.text.errors import ParseError
from tensorgraph.text.template import Template

__all__ = ["Size", "symbolic"]

OTHERS = (1, 2, 3, 5, 7, 10, 12, 64)  # by which, or times which, a dimension is larger in another instance


class Size(int):
    """A size of an instance that prints as what it is in the template."""

    name: str

    def __new__(cls, value: int, name: str) -> Size:
        made = super().__new__(cls, value)
        made.name = name
        return made

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return self.name if not spec else int.__format__(int(self), spec)


Sample = tuple[Mapping[str, int], Graph]  # an instance and its sizes


def symbolic(template: Template) -> tuple[Graph, dict[str, int]]:
    """An instance of a template with a `Size` wherever one follows a dimension, and the sizes of the instance."""
    fresh = Template(
        template.text, template._syntax, template.arrays, template.node, template._types, template.dims
    )  # whose instances nobody else has: their variables are given other types here
    sizes = fresh.fitting()
    graph = fresh.at(**sizes)
    samples: list[Sample] = [(sizes, graph), *_others(fresh, sizes, graph)]
    names = _Names([given for given, _ in samples])
    every = [_variables(one) for _, one in samples]
    shapes = [[var.aval.shape for var in variables] for variables in every]
    for n, var in enumerate(every[0]):
        var.aval = aval_of(SimpleNamespace(shape=names.of([shape[n] for shape in shapes]), dtype=var.aval.dtype))
    equations = []
    for n, eq in enumerate(graph.equations):
        alike = [one.equations[n] for _, one in samples]
        attrs = {key: names.of([other.attrs[key] for other in alike]) for key in eq.attrs}
        inputs = tuple(names.atom([other.inputs[k] for other in alike]) for k in range(len(eq.inputs)))
        equations.append(replace(eq, attrs=attrs, inputs=inputs))
    return graph.replace(equations=tuple(equations)), sizes


def _variables(graph: Graph) -> list[Var]:
    """All variables, in an order that depends on the structure alone."""
    made = [out for eq in graph.equations for out in eq.outputs]
    return [*graph.inputs, *(cell.var for cell in graph.cells), *graph.consts, *made]


def _others(template: Template, sizes: Mapping[str, int], graph: Graph) -> Iterator[Sample]:
    """Instances of other sizes, two for each dimension by itself and two of all together, where there are such."""
    kinds = [eq.op.name for eq in graph.equations]
    for changed in (*[(dim,) for dim in template.dims], template.dims):
        found = 0
        for n in OTHERS:
            for times, more in ((1, n), (n + 1, 0)):
                given = {dim: size * times + more if dim in changed else size for dim, size in sizes.items()}
                try:
                    other = template.at(**given)
                except (ParseError, ValueError, TypeError):
                    continue
                if found < 2 and [eq.op.name for eq in other.equations] == kinds:
                    found += 1
                    yield given, other
            if found == 2:
                break


class _Names:
    """What numbers are in terms of dimensions, from their values in several instances."""

    def __init__(self, sizes: Sequence[Mapping[str, int]]) -> None:
        self.sizes = sizes
        self.known: dict[tuple[int, ...], int] = {}

    def of(self, values: Sequence[Any]) -> Any:
        """One value as it is, with a name for each integer that differs."""
        first = values[0]
        if all(type(value) is int for value in values):
            return self.number(tuple(values))
        sequence = isinstance(first, (tuple, list)) and not hasattr(first, "_fields")
        if sequence and all(type(value) is type(first) and len(value) == len(first) for value in values):
            return type(first)(self.of(items) for items in zip(*values, strict=True))
        return first

    def atom(self, atoms: Sequence[Any]) -> Any:
        """An operand; a number is told as in a shape."""
        first = atoms[0]
        if isinstance(first, tuple):
            return tuple(self.atom(parts) for parts in zip(*atoms, strict=True))
        if isinstance(first, Literal) and all(isinstance(atom, Literal) for atom in atoms):
            value = self.of([atom.value for atom in atoms])
            return first if value is first.value else Literal(value)
        return first

    def number(self, values: tuple[int, ...]) -> int:
        if len(set(values)) == 1:
            return values[0]
        if values not in self.known:
            name = next((name for name, given in self.terms(values) if given == list(values)), "?")
            self.known[values] = Size(values[0], name)
        return self.known[values]

    def terms(self, values: tuple[int, ...]) -> Iterator[tuple[str, list[int]]]:
        """Terms in the dimensions that may be meant, the plainest first, and their values."""
        dims = list(self.sizes[0])
        column = {dim: [sizes[dim] for sizes in self.sizes] for dim in dims}
        for dim in dims:
            yield dim, column[dim]
        for dim in dims:
            at = next((n for n, size in enumerate(column[dim]) if size != column[dim][0]), 0)
            step, rise = column[dim][at] - column[dim][0], values[at] - values[0]
            if step and rise and rise % step == 0:
                k = rise // step
                more = values[0] - k * column[dim][0]
                text = dim if k == 1 else f"{k}*{dim}"
                yield text + (f"{more:+d}" if more else ""), [k * size + more for size in column[dim]]
            for k in range(2, 9):
                yield f"{dim}//{k}", [size // k for size in column[dim]]
                yield f"({dim}+{k - 1})//{k}", [(size + k - 1) // k for size in column[dim]]
        for count in (2, 3):
            for several in combinations_with_replacement(dims, count):
                products = [prod(sizes[dim] for dim in several) for sizes in self.sizes]
                k = values[0] // products[0] if products[0] else 0
                yield (f"{k}*" if k > 1 else "") + "*".join(several), [k * product for product in products]

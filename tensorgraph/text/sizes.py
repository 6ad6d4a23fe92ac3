"""Graphs of one function at several sizes, as one graph with names in the place of the sizes: ``Nx4``, ``N + 1``.

Whatever is another number in these is told by the simplest expression of the dimensions that gives it in each. What
else differs, a captured array or the count of equations, cannot be told by a name, and is refused with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product, zip_longest
from types import SimpleNamespace
from typing import Any

from tensorgraph.engine.aval import Number, aval_of
from tensorgraph.graph.calls import Copies
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, Write, digest, typed_key
from tensorgraph.text.terms import Names
from tensorgraph.transforms.custom import Result

__all__ = [
    "OTHERS",
    "LengthError",
    "Numbers",
    "Sample",
    "Size",
    "SizeError",
    "generalised",
    "line_of",
    "others",
    "require_same_arrays",
    "require_same_cells",
    "written",
]

OTHERS = (1, 2, 3, 5, 7, 10, 12, 64)  # by which, or times which, a dimension is larger in another instance
LARGE = 100  # a function that does something else from some size on is found out where it has it

Sample = tuple[Mapping[str, int], Graph]  # an instance and its sizes


class SizeError(ValueError):
    """A function that names of sizes cannot stand for: what it does depends on a size in another way."""


class LengthError(SizeError):
    """A function that computes something else, or more, at another size."""


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

    def __reduce__(self) -> Any:
        return Size, (int(self), self.name)


class Ratio(float):
    """A number of an instance that is made of sizes, and prints so: ``1.0 / N``."""

    name: str

    def __new__(cls, value: float, name: str) -> Ratio:
        made = super().__new__(cls, value)
        made.name = name
        return made

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return Ratio, (float(self), self.name)


def others(
    make: Callable[[Mapping[str, int]], Graph], dims: Sequence[str], sizes: Mapping[str, int], unfit: tuple[Any, ...]
) -> Iterator[Sample]:
    """Instances of other sizes, where there are such.

    For each dimension by itself, and for all together, two that are near and one that is far; one of each comes first.
    """
    near = list(product(OTHERS, ((0, 1), (1, 0))))
    all_changed = list(dict.fromkeys((*[(dim,) for dim in dims], tuple(dims))))
    met: dict[tuple[str, ...], set[tuple[int, ...]]] = {changed: set() for changed in all_changed}
    rising = {changed: iter(near) for changed in all_changed}
    falling = {changed: iter(near[::-1]) for changed in all_changed}
    for orders, most in ((rising, 1), (rising, 2), (falling, 3)):  # what one number hides, another shows
        for changed, order in orders.items():
            known = met[changed]
            while len(known) < most and (step := next(order, None)) is not None:
                n, (times, more) = step
                given = {d: size * (1 + times * n) + more * n if d in changed else size for d, size in sizes.items()}
                if tuple(given.values()) in known or (most > 2 and max(given.values()) >= LARGE):
                    continue
                try:
                    other = make(given)
                except unfit:
                    continue
                known.add(tuple(given.values()))
                yield given, other


def generalised(
    samples: Sequence[Sample], lenient: bool = False, doubts: dict[tuple[int, ...], dict[str, int]] | None = None
) -> Graph:
    """The graph of the first sample, with a `Size` or a `Ratio` wherever a number follows the sizes.

    `lenient`: samples that are another program are left out, and a number that nothing tells is ``?``. `doubts` gets
    sizes at which floats may be other ones than these samples tell.

    Raises
    ------
    SizeError
        Where something else than a number differs, or a number in no way that can be told.
    """
    sizes, first = samples[0]
    every = samples
    if lenient:
        kinds = [eq.op for eq in first.equations]
        samples = [(given, graph) for given, graph in samples if [eq.op for eq in graph.equations] == kinds]
    for other_sizes, other in samples[1:]:
        _require_alike(first, other, sizes, other_sizes)
        if not lenient:
            require_same_arrays(first, other)
    terms = Names([given for given, _ in samples])
    graphs = [graph for _, graph in samples]
    made = _Copy(terms, graphs, lenient).graph(every)
    if doubts is not None:
        doubts.update(terms.doubts)
    return made


def written(sizes: Mapping[str, int]) -> str:
    """Sizes as a call says them: ``N=11, M=13``."""
    return ", ".join(f"{name}={size}" for name, size in sizes.items())


def _require_alike(a: Graph, b: Graph, at_a: Mapping[str, int], at_b: Mapping[str, int]) -> None:
    """Refuse two instances that differ in more than numbers."""
    for e, f in zip_longest(a.equations, b.equations):
        if e is None or f is None or e.op is not f.op or len(e.outputs) != len(f.outputs):
            line = next((f", in the line {eq.source}" for eq in (e, f) if eq is not None and eq.source is not None), "")
            kinds = [("nothing more" if eq is None else eq.op.name) for eq in (e, f)]
            raise LengthError(
                f"{a.name}: what is computed depends on a size{line}: {kinds[0]} at {written(at_a)}, {kinds[1]} at "
                f"{written(at_b)}, of {len(a.equations)} and {len(b.equations)} equations. A template is one list of "
                "equations for all sizes, with loops over a size that do the same in each turn: write other loops as "
                "an op, or trace each size by itself"
            )
    if a.out_tree != b.out_tree or a.in_tree != b.in_tree:
        raise SizeError(
            f"{a.name}: how results nest depends on a size: {a.out_tree} at {written(at_a)}, {b.out_tree} at "
            f"{written(at_b)}. Give one tensor for all, as tensorgraph.stack(results), or trace each size by itself"
        )
    require_same_cells(a, b, at_a, at_b, typed=False)


def require_same_cells(
    a: Graph, b: Graph, at_a: Mapping[str, int], at_b: Mapping[str, int], typed: bool = True
) -> None:
    """Refuse two instances that have other cells, or cells of other types."""
    one, other = [[(cell.path, typed and cell.aval) for cell in graph.cells] for graph in (a, b)]
    if one != other:
        raise SizeError(
            f"{a.name}: its cells depend on a size: {_cells(a)} at {written(at_a)}, {_cells(b)} at {written(at_b)}. "
            "Make modules and cells before, outside of the function"
        )


def require_same_arrays(a: Graph, b: Graph) -> None:
    """Refuse two instances that captured other arrays."""
    if [*map(digest, a.consts.values())] != [*map(digest, b.consts.values())]:
        raise SizeError(f"{a.name}: {_captured(a, b)}")


def _cells(graph: Graph) -> str:
    return ", ".join(f"{cell.path}: {cell.aval}" for cell in graph.cells) or "none"


def _captured(a: Graph, b: Graph) -> str:
    """Which captured array is another one at another size."""
    pairs = zip_longest(a.consts.items(), b.consts.items())
    one, other = next((p, q) for p, q in pairs if p is None or q is None or digest(p[1]) != digest(q[1]))
    graph, (var, _) = (a, one) if one is not None else (b, other)
    reader = next((eq for eq in graph.equations if var in eq.variables()), None)
    line = "" if reader is None or reader.source is None else f", read in the line {reader.source}"
    came = [None if each is None else each[1].shape for each in (one, other)]
    shapes = f"of shape {came[0]} at one size and {came[1]} at another" if came[0] != came[1] else "with other numbers"
    return (
        f"an array that is captured depends on a size{line}: {shapes}. Make it inside the function of ops, as "
        "tensorgraph.arange(x.shape[0]), or pass it as an argument"
    )


class Numbers:
    """Numbers of several instances, each as the one that they share: with a name where it follows the sizes.

    Parameters
    ----------
    terms : Names
    name : str
        Whose numbers they are, for errors.
    lenient : bool
        Whether a number that nothing tells is ``?``.
    """

    def __init__(self, terms: Names, name: str, lenient: bool = False) -> None:
        self.terms, self.name, self.lenient = terms, name, lenient
        self.line = ""

    def literal(self, atoms: Sequence[Any]) -> Any:
        """Operands that are numbers, in brackets where they are an expression."""
        first = atoms[0]
        value = self.value([atom.value if isinstance(atom, Literal) else atom for atom in atoms])
        if isinstance(value, (Size, Ratio)) and not value.name.isidentifier():
            value = type(value)(value, f"({value.name})")  # type: ignore[arg-type]
        return first if value is first.value else Literal(value)

    def value(self, values: Sequence[Any]) -> Any:
        """One value as it is, with a name for each number that differs."""
        first = values[0]
        if all(type(value) in (int, Size) for value in values):
            return self.number(tuple(values))
        if all(type(value) in (float, Ratio) for value in values):
            return self.ratio(tuple(values))
        if all(isinstance(value, Graph) for value in values):
            return generalised(list(zip(self.terms.sizes, values, strict=True)), self.lenient)
        if all(isinstance(value, Result) and value.treedef == first.treedef for value in values):
            made = Result()
            made.treedef, made.captured = first.treedef, first.captured
            made.avals = tuple(map(self.aval, zip(*[value.avals for value in values], strict=True)))
            return made
        sequence = isinstance(first, (tuple, list)) and not hasattr(first, "_fields")
        if sequence and all(type(value) is type(first) and len(value) == len(first) for value in values):
            return type(first)(map(self.value, zip(*values, strict=True)))
        if not self.lenient and any(typed_key(value) != typed_key(first) for value in values):
            raise self.refused(values)
        return first

    def aval(self, avals: Sequence[Any]) -> Any:
        """A type, with names in its shape."""
        first = avals[0]
        if type(first) is Number:
            return first
        shape = tuple(self.number(sizes) for sizes in zip(*[aval.shape for aval in avals], strict=True))
        named = any(type(n) is Size for n in shape)
        return aval_of(SimpleNamespace(shape=shape, dtype=first.dtype)) if named else first

    def number(self, values: tuple[int, ...]) -> int:
        if len(set(values)) == 1:
            return values[0]
        name = self.terms.of(values)
        if name is None and not self.lenient:
            raise self.refused(values)
        return Size(values[0], name or "?")

    def ratio(self, values: tuple[float, ...]) -> float:
        if len({typed_key(value) for value in values}) == 1:
            return values[0]
        name = self.terms.of_floats(values)
        if name is None and not self.lenient:
            raise self.refused(values)
        return Ratio(values[0], name or "?")

    def refused(self, values: Sequence[Any]) -> SizeError:
        at = [f"{value!r:.60} at {written(sizes)}" for value, sizes in zip(values, self.terms.sizes, strict=True)]
        dims = ", ".join(self.terms.sizes[0])
        return SizeError(
            f"{self.name}: a value{self.line} depends on a size in a way that no expression of {dims} was found for: "
            f"{'; '.join(at[:3])}. Compute it with ops or as an expression of the sizes (sums, products, // and %), "
            "pass it as an argument, or trace each size by itself"
        )


class _Copy(Numbers):
    """A graph on variables of its own, with the numbers that several instances share."""

    def __init__(self, terms: Names, graphs: Sequence[Graph], lenient: bool = False) -> None:
        super().__init__(terms, graphs[0].name, lenient)
        self.graphs = graphs
        self.made: dict[Var, Var] = {}
        self.calls = Copies()

    def graph(self, every: Sequence[Sample]) -> Graph:
        """The copy; `every` sample tells what its arguments are, also one that is another program."""
        first = self.graphs[0]
        makers = {out: eq for eq in first.equations for out in eq.outputs}
        for variables in zip(*map(_variables, self.graphs), strict=True):
            self.line = line_of(makers.get(variables[0]))
            self.var(variables)
        if len(every) > len(self.graphs):
            heads = Numbers(Names([sizes for sizes, _ in every]), self.name, self.lenient)
            for alike in zip(*[graph.inputs for _, graph in every], strict=True):
                self.var(alike, heads)
        equations = tuple(self.equation(alike) for alike in zip(*[g.equations for g in self.graphs], strict=True))
        inputs = tuple(self.made[var] for var in first.inputs)
        cells = tuple(replace(decl, var=self.made[decl.var]) for decl in first.cells)
        consts = {self.made[var]: array for var, array in first.consts.items()}
        writes = tuple(
            Write(self.made[alike[0].cell], self.atom([w.value for w in alike]), alike[0].source)
            for alike in zip(*[g.writes for g in self.graphs], strict=True)
        )
        outputs = tuple(map(self.atom, zip(*[g.outputs for g in self.graphs], strict=True)))
        self.calls.complete(self.made)
        live = first.provenance.live
        return first.replace(
            inputs=inputs, cells=cells, consts=consts, equations=equations, writes=writes, outputs=outputs,
            provenance=replace(first.provenance, captured={}, stands={}, live=live),
        )  # fmt: skip

    def var(self, variables: Sequence[Var], numbers: Numbers | None = None) -> None:
        first = variables[0]
        self.made[first] = Var((numbers or self).aval([v.aval for v in variables]), first.name)

    def equation(self, alike: Sequence[Equation]) -> Equation:
        first = alike[0]
        self.line = line_of(first)
        attrs = {key: self.value([eq.attrs.get(key) for eq in alike]) for key in first.attrs}
        inputs = tuple(self.atom([eq.inputs[k] for eq in alike]) for k in range(len(first.inputs)))
        outputs = tuple(self.made[out] for out in first.outputs)
        origin = first.origin
        if origin is not None:
            origin = replace(origin, of=self.made.get(origin.of, origin.of), passes=self.calls.passes(origin))
        call = self.calls.of(first.call)
        return replace(first, attrs=attrs, inputs=inputs, outputs=outputs, origin=origin, call=call)

    def atom(self, atoms: Sequence[Any]) -> Any:
        """An operand; a number is told as in a shape, in brackets where it is an expression."""
        first = atoms[0]
        if isinstance(first, tuple):
            return tuple(map(self.atom, zip(*atoms, strict=True)))
        if type(first) is Var:
            return self.made[first]
        return self.literal(atoms)


def line_of(eq: Equation | None) -> str:
    """Where an equation was made, in words."""
    return "" if eq is None or eq.source is None else f" in the line {eq.source}"


def _variables(graph: Graph) -> list[Var]:
    """All variables, in an order that depends on the structure alone."""
    made = [out for eq in graph.equations for out in eq.outputs]
    return [*graph.inputs, *(cell.var for cell in graph.cells), *graph.consts, *made]

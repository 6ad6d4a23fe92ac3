"""Texts with named dimensions: ``f32[N, 64]`` is a template, and ``at(N=32)`` one graph of it."""

from __future__ import annotations

import ast
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Ordered, PathLike, checked
from tensorgraph.engine.aval import Extent
from tensorgraph.engine.tree import Treedef, flatten
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.keywords import arranged
from tensorgraph.text.definitions import CELLS, DTYPES, Definition, definitions, sizes_in
from tensorgraph.text.errors import ParseError, nearest
from tensorgraph.text.parse import Syntax

__all__ = ["Template", "dimensions", "parse"]

Arrays: TypeAlias = Mapping[str, Any] | Annotated[Iterable[Any], Ordered]


@checked
def parse(
    text: str,
    arrays: Arrays | None = None,
    *,
    name: str | None = None,
    types: Iterable[type] = (),
    file: str = "<text>",
) -> Any:
    """Read a graph back from its text: ``parse(str(graph)) == graph``. Nothing of the text is executed.

    Parameters
    ----------
    text : str
        A function in the language of `Graph`'s text (docs/language.md); of several the last is taken.
    arrays : mapping or list of arrays, optional
        Captured arrays that the text names by digest.
    name : str, optional
        Which function of the text.
    types : list of named tuple classes, optional
        Those that arguments or results are made of.
    file : str
        What errors call the text.

    Returns
    -------
    Graph
        Checked. A `Template` where the text names dimensions, such as ``f32[N, 64]``.

    Raises
    ------
    ParseError
        With line, column, the offending text, what was expected, and the nearest known op.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.parse('''
    ... def norm(x: f32[N]):
    ...     return sqrt((x * x).sum())
    ... ''')
    >>> g.at(N=2)(tg.tensor([3.0, 4.0]))
    tensor(5., f32)
    """
    syntax = Syntax(definitions(text, file))
    chosen = syntax.function(name)
    names = dimensions(chosen)
    if names:
        template = Template(text, syntax, arrays, chosen.node, tuple(types), names)
        template.example()  # a text that is wrong whatever the sizes is told of now
        return template
    return syntax.graph(chosen.name, arrays, types, {})


def dimensions(definition: Definition) -> tuple[str, ...]:
    """The names of sizes in the head of a function, in order."""
    heads = [*definition.arguments, *definition.node.args.kwonlyargs]
    every = [size for arg in heads if arg.annotation is not None for size in sizes_in(arg.annotation)]
    return tuple(dict.fromkeys(size for size in every if size not in DTYPES and size not in CELLS))


class Template:
    """A function whose text names dimensions. Made by `parse`.

    Attributes
    ----------
    dims : tuple of str
    name : str

    Examples
    --------
    >>> import tensorgraph as tg
    >>> scale = tg.parse("def scale(x: f32[N, 2]): return x * 2.0")
    >>> scale.dims, scale.at(N=3).inputs[0].aval
    (('N',), f32[3, 2])
    >>> scale(tg.ones((1, 2))).tolist()
    [[2.0, 2.0]]
    """

    def __init__(
        self, text: str, syntax: Syntax, arrays: Any, node: ast.FunctionDef, types: tuple[Any, ...],
        dims: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.text = text
        self.dims = dims
        self.node = node
        self.name = node.name
        self._syntax = syntax
        self.arrays = arrays if isinstance(arrays, Mapping) else dict(enumerate(() if arrays is None else arrays))
        self._types = types
        self._instances: dict[tuple[int, ...], Graph] = {}

    @checked
    def at(self, **dims: Extent) -> Graph:
        """The graph for these sizes: every shape rule runs again.

        Raises
        ------
        TypeError
            For a dimension that is missing or unknown, or a size that is no positive integer.
        ParseError
            Where the shapes do not go together for these sizes.
        """
        for key, value in dims.items():
            if key not in self.dims:
                raise TypeError(f"{self.name} has no dimension {key!r}{nearest(key, self.dims)}; it has {self._said()}")
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise TypeError(f"the size of a dimension is an integer of at least 0, got {key}={value!r}")
        missing = [d for d in self.dims if d not in dims]
        if missing:
            raise TypeError(f"{self.name}: the dimension {missing[0]} needs a size: at({missing[0]}=...)")
        sizes = tuple(int(dims[d]) for d in self.dims)
        if sizes not in self._instances:
            given: Mapping[str, int] = dict(zip(self.dims, sizes, strict=True))
            graph = self._syntax.graph(self.name, self.arrays, self._types, given)
            if len(self._instances) >= MOST_INSTANCES:
                self._instances.pop(next(iter(self._instances)))
            self._instances[sizes] = graph
        return self._instances[sizes]

    @checked
    def example(self, **dims: Extent) -> Graph:
        """Some instance, for looking at: with these sizes, and for the other dimensions some that go together.

        Raises
        ------
        ParseError
            Where the text is wrong whatever the sizes.
        """
        return self.at(**self.fitting(**dims))

    @checked
    def fitting(self, **dims: Extent) -> dict[str, int]:
        """Sizes of all dimensions, these among them, that go together: some of those that there are.

        Raises
        ------
        ParseError
            Where none were found.
        """
        free = [d for d in self.dims if d not in dims]
        failures: list[ParseError] = []
        for probe in self._probes(len(free)):
            sizes = dims | dict(zip(free, probe, strict=True))
            try:
                self.at(**sizes)
            except ParseError as error:
                failures.append(error)
                if len(failures) == 3 and len({str(f) for f in failures}) == 1:
                    break  # it has nothing to do with the sizes
            else:
                return sizes
        raise failures[0]

    def _probes(self, count: int) -> Iterator[tuple[int, ...]]:
        """Sizes to try for so many dimensions: unlike ones first, then those that the text's own numbers suggest."""
        for probe in PROBES:
            yield tuple(probe[i % len(probe)] for i in range(count))
        numbers = {n.value for n in ast.walk(self.node) if isinstance(n, ast.Constant) and type(n.value) is int}
        used = sorted(n for n in numbers if 1 < n <= LARGEST_PROBE)[:8]
        likely = dict.fromkeys((1, 2, *used, min(math.lcm(*used), LARGEST_PROBE), *[2 * n for n in used], 3, 4))
        yield from itertools.islice(itertools.product(likely, repeat=count), MOST_PROBES)

    @checked
    def instance(self, *examples: Any) -> Graph:
        """The graph for arguments of these shapes; without any, some instance."""
        return self.at(**self.sizes(*examples)) if examples else self.example()

    @checked
    def sizes(self, *args: Any) -> dict[str, int]:
        """The sizes of the dimensions that arguments of these shapes give."""
        found: dict[str, int] = {}
        arguments = (*self.node.args.posonlyargs, *self.node.args.args)
        if len(args) != len(arguments):
            raise TypeError(f"{self.name} takes {len(arguments)} arguments, got {len(args)}")
        for declared, tree, value in zip(arguments, self._trees, args, strict=True):
            assert declared.annotation is not None
            shapes = _shapes(declared.annotation)
            leaves, got_tree = flatten(value, tree)
            if got_tree != tree:
                raise TypeError(
                    f"{self.name}: argument {declared.arg} is declared {ast.unparse(declared.annotation)}, got "
                    f"{'one value' if got_tree.kind is None else got_tree}"
                )
            for shape, leaf in zip(shapes, leaves, strict=True):
                got = leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)
                fixed = [n if isinstance(s, ast.Constant) and s.value != n else None for s, n in zip(shape, got)]
                if len(shape) != len(got) or any(n is not None for n in fixed):
                    raise ValueError(
                        f"{self.name}: argument {declared.arg} is declared {ast.unparse(declared.annotation)}, got "
                        f"shape {tuple(got)}"
                    )
                for size, n in zip(shape, got, strict=True):
                    if isinstance(size, ast.Name) and found.setdefault(size.id, int(n)) != n:
                        raise ValueError(
                            f"{self.name}: argument {declared.arg} gives {size.id} = {n}, another one {found[size.id]}"
                        )
        return found

    @functools.cached_property
    def _trees(self) -> tuple[Treedef, ...]:
        """How each argument nests."""
        return self.example().in_tree.children

    @checked
    def save(self, path: PathLike, state: Mapping[str, Any] | None = None) -> None:
        """Write the text, and the arrays that it names beside it; see `Graph.save`."""
        from tensorgraph.text.files import save

        save(self, path, state)

    def __call__(self, /, *args: Any, state: Any = None, **keywords: Any) -> Any:
        """Evaluate the instance that these arguments' shapes ask for; see `Graph`."""
        args = arranged(self.example(), args, keywords) if keywords else args
        graph = self.at(**self.sizes(*args))
        return graph(*args, state=state)

    def _said(self) -> str:
        return ", ".join(self.dims)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Template {self.name}: dimensions {self._said()}>"


MOST_INSTANCES = 64
PROBES = ((2, 3, 5, 7, 11, 13), (1,), (2,), (12,), (64,), (2520,))
MOST_PROBES, LARGEST_PROBE = 150, 10_000


def _shapes(node: ast.expr) -> list[list[ast.expr]]:
    """The sizes of each type in an annotation, in order of its leaves."""
    if isinstance(node, ast.Subscript):
        kind = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
        if kind == "Literal":
            return [[]]
        return [list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return [[]]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [shape for item in node.elts for shape in _shapes(item)]
    if isinstance(node, ast.Dict):
        return [shape for item in node.values for shape in _shapes(item)]
    if isinstance(node, ast.Call):
        return [shape for item in (*node.args, *[k.value for k in node.keywords]) for shape in _shapes(item)]
    return []

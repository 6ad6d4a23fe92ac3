"""Texts with named dimensions: ``f32[N, 64]`` is a template, and ``at(N=32)`` one graph of it."""

from __future__ import annotations

import ast
import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np

from tensorgraph.arguments import Natural, Ordered, PathLike, checked
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Extent
from tensorgraph.engine.spec import Sized
from tensorgraph.engine.tree import Treedef
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.keywords import arranged
from tensorgraph.jit.properties import cached_property
from tensorgraph.text.definitions import CELLS, DTYPES, Definition, definitions, sizes_in
from tensorgraph.text.errors import ParseError, nearest
from tensorgraph.text.exampled import Exampled
from tensorgraph.text.given import sizes_given
from tensorgraph.text.parse import Syntax
from tensorgraph.text.printing import first_difference
from tensorgraph.text.sizes import SizeError, generalised, others, written

__all__ = ["Made", "Template", "dimensions", "graph_said", "parse"]

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


def graph_said(template: Template, sizes: Mapping[str, int]) -> Graph | None:
    """The graph that a template's text is for these sizes; None where it is none."""
    try:
        return template._syntax.graph(template.name, template.arrays, template._types, sizes)
    except ParseError:
        return None


def dimensions(definition: Definition) -> tuple[str, ...]:
    """The names of sizes in the head of a function, in order."""
    heads = [*definition.arguments, *definition.node.args.kwonlyargs]
    every = [size for arg in heads if arg.annotation is not None for size in sizes_in(arg.annotation)]
    return tuple(dict.fromkeys(size for size in every if size not in DTYPES and size not in CELLS))


class Template(Exampled):
    """A function whose text names dimensions: a graph for each size. Made by `parse`, and by `tensorgraph.trace`.

    It is a value, as a graph is: equal to another that gives equal graphs, and what makes a graph of a graph
    (`differentiate`, `simplify`, `grad`, `rewrite`, ...) makes a template of a template.

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
        dims: tuple[str, ...], made: Made | None = None,
    ) -> None:  # fmt: skip
        self._lifts = False  # whether a pass makes it, which tells more than its text
        self._tell: Callable[[], Template] | None = None  # makes the one that has the text, where this has the head
        self._made = made  # what makes the graph of some sizes anew: the function traced, a pass on what it was made of
        self._text = text
        self._print: Callable[[], str | None] | None = None  # its text as functions, where it was traced
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

        Of a function that was traced, it is traced once more for each new size and compared.

        Raises
        ------
        TypeError
            For a dimension that is missing or unknown, or a size that is no positive integer.
        ParseError
            Where the shapes do not go together for these sizes.
        SizeError
            Where the function does something else at these sizes than at those that the template was made from.
        """
        for key in dims:
            if key not in self.dims:
                there = ", ".join(self.dims)
                raise TypeError(f"{self.name} has no dimension {key!r}{nearest(key, self.dims)}; it has {there}")
        for dim in self.dims:
            if dim not in dims:
                raise TypeError(f"{self.name}: the dimension {dim} needs a size: at({dim}=...)")
        sizes = tuple(int(dims[d]) for d in self.dims)
        if sizes not in self._instances:
            given: Mapping[str, int] = dict(zip(self.dims, sizes, strict=True))
            with modes.use(trace=None, grad=True, cells=None):  # it may be called where something else is traced
                graph = self._verified(given)
            if len(self._instances) >= MOST_INSTANCES:
                self._instances.pop(next(iter(self._instances)))
            self._instances[sizes] = graph
        return self._instances[sizes]

    def _verified(self, sizes: Mapping[str, int]) -> Graph:
        """The graph of the text, and where it is known what it was made of, that itself, if it is equal.

        What a pass makes is right whatever the text: a pass may find more to do at some size, as a division by 2.
        """
        if self._made is None:
            return self._syntax.graph(self.name, self.arrays, self._types, sizes)
        made = self._made(sizes)
        if self._lifts or self._tell is not None:
            return made
        said = self._said(sizes)
        if made != said:
            raise SizeError(
                f"{self.name} does something else at {written(sizes)} than at the sizes that its template was made "
                f"from: {first_difference(said, made)}. Trace it for these sizes by themselves"
            )
        return made

    def _said(self, sizes: Mapping[str, int]) -> Graph:
        """The graph that the text is for these sizes."""
        try:
            return self._syntax.graph(self.name, self.arrays, self._types, sizes)
        except ParseError as error:
            raise SizeError(f"{self.name}: the template does not hold at {written(sizes)}: {error}") from error

    @property
    def _unfit(self) -> tuple[type[Exception], ...]:
        """What says that there is no graph for some sizes: a function of the user's may raise anything."""
        return (Exception,) if self._made is not None else (ValueError, TypeError)

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
        failures: list[Exception] = []
        before = len(self._syntax.work)
        for probe in self._probes(free):
            sizes = dims | dict(zip(free, probe, strict=True))
            try:
                self.at(**sizes)
            except self._unfit as error:
                failures.append(error)
                if self._made is None and len(failures) == 3 and len({str(f) for f in failures}) == 1:
                    break  # it has nothing to do with the sizes
                if len(failures) > len(PROBES) and sum(self._syntax.work[before:]) > MOST_WORK:
                    break
            else:
                return sizes
        raise failures[0]

    def _probes(self, free: Sequence[str]) -> Iterator[tuple[int, ...]]:
        """Sizes to try: unlike ones first, those that there are graphs of, those that the text's numbers suggest."""
        count = len(free)
        yield from dict.fromkeys(tuple(probe[i % len(probe)] for i in range(count)) for probe in PROBES)
        yield from [tuple(known[self.dims.index(dim)] for dim in free) for known in self._instances]
        numbers = {n.value for n in ast.walk(self.node) if isinstance(n, ast.Constant) and type(n.value) is int}
        used = sorted(n for n in numbers if 1 < n <= LARGEST_PROBE)[:8]
        likely = dict.fromkeys((1, 2, *used, min(math.lcm(*used), LARGEST_PROBE), *[2 * n for n in used], 3, 4))
        yield from itertools.islice(itertools.product(likely, repeat=count), MOST_PROBES)

    @checked
    def instance(self, *examples: Any) -> Graph:
        """The graph for arguments of these shapes; without any, some instance."""
        return self.at(**self._given(examples)) if examples else self.example()

    @checked
    def sizes(self, *args: Any) -> dict[str, int]:
        """The sizes of the dimensions that arguments of these shapes give."""
        return self._given(args)

    def _given(self, args: Sequence[Any]) -> dict[str, int]:
        return sizes_given(self.name, self.node, self._trees, args)

    @cached_property
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
        return self.at(**self._given(args))(*args, state=state)

    @checked
    def bind(self, *owners: Any) -> Callable[..., Any]:
        """A function of the arguments that reads and writes live cells, at any sizes: see `Graph.bind`."""
        bound: dict[tuple[int, ...], Callable[..., Any]] = {}

        def run(*args: Any, **keywords: Any) -> Any:
            given = arranged(self.example(), args, keywords) if keywords else args
            sizes = self._given(given)
            key = tuple(sizes.values())
            if key not in bound:
                bound[key] = self.at(**sizes).bind(*owners)
            return bound[key](*given)

        self.example().bind(*owners)  # what is missing is told of now
        return run

    # as a value ---------------------------------------------------------------------------------------------------

    @cached_property
    def _keys(self) -> tuple[tuple[tuple[int, ...], Any], ...]:
        """The graphs at three fixed sizes, or those of them that there are: of a pass those that its text says."""
        found: list[tuple[tuple[int, ...], Any]] = []
        for probe in FIXED:
            sizes = tuple(probe[i % len(probe)] for i in range(len(self.dims)))
            with contextlib.suppress(*self._unfit):
                given = dict(zip(self.dims, sizes, strict=True))
                told = graph_said(self, given) if self._lifts and self._tell is None else self.at(**given)
                found += [] if told is None else [(sizes, told.key())]
            if len(found) == 3:
                break
        return tuple(found) or ((tuple(self.fitting().values()), self.example().key()),)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Template) and (self.dims, self._keys) == (other.dims, other._keys))

    def __hash__(self) -> int:
        return hash((self.dims, self._keys))

    @checked
    def symbolic(self, **sizes: Extent) -> tuple[Graph, dict[str, int]]:
        """An instance with names in the place of sizes, for reading and for pictures, and the sizes that it has."""
        sizes = self.fitting(**sizes)
        samples = [(sizes, self.at(**sizes)), *others(lambda given: self.at(**given), self.dims, sizes, self._unfit)]
        return generalised(samples, lenient=True), sizes

    # graph to graph -----------------------------------------------------------------------------------------------

    def _lifted(self, method: str, *args: Any, **options: Any) -> Template:
        """What a method of graphs makes of this one's graphs."""
        from tensorgraph.text.templated import lifted, untold

        try:
            return lifted(self, self._types, method, args, options)
        except SizeError as why:
            return untold(self, self._types, method, args, options, why)

    @checked
    def grad(self, wrt: Any = None) -> Template:
        """The template of the gradient: see `Graph.grad`."""
        return self._lifted("grad", wrt)

    @checked
    def jvp(self, wrt: Any = None) -> Template:
        """The template of outputs and their tangents: see `Graph.jvp`."""
        return self._lifted("jvp", wrt)

    def differentiate(self) -> Template:
        """Deferred gradients written out op by op: see `Graph.differentiate`."""
        return self._lifted("differentiate")

    @checked
    def batched(
        self, size: Natural | str, in_dims: int | Sequence[int | None] | None = 0, *,
        out_dims: int | Sequence[int | None] | None = 0, loop: bool = False, own: Collection[str] = (),
    ) -> Template:  # fmt: skip
        """The template that does for a batch what this one does for one, its size a number or a name: see
        `Graph.batched`.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> scale = tg.parse("def scale(x: f32[N, 2]): return x * 2.0")
        >>> scale.batched("B").at(B=5, N=3).inputs[0].aval
        f32[5, 3, 2]
        """
        from tensorgraph.text.templated import passed

        if isinstance(size, str) and Sized((size,), np.dtype("float32")).dims[0] in self.dims:
            raise ValueError(f"{self.name} has the dimension {size} already: call that of the batch otherwise")
        dims = (size, *self.dims) if isinstance(size, str) else self.dims

        def make(sizes: Mapping[str, int]) -> Graph:
            graph = self.at(**{dim: sizes[dim] for dim in self.dims})
            many = sizes[size] if isinstance(size, str) else size
            return graph.batched(many, in_dims, out_dims=out_dims, loop=loop, own=own)

        return passed(make, dims, self._types)

    @checked
    def simplify(self, *, without: str | Collection[str] = ()) -> Template:
        """See `Graph.simplify`; constants whose size or number follows from a name stay as they are."""
        off = (without,) if isinstance(without, str) else tuple(without)
        return self._unfolded("simplify", (), off, "")

    def _unfolded(self, method: str, steps: tuple[str, ...], off: tuple[str, ...], before: str) -> Template:
        """What a method makes, without the rules that compute constants where these are other ones at each size."""
        from tensorgraph.text.templated import unfolded

        return unfolded(self, self._types, method, steps, off, before)

    @checked
    def expand(self, *ops: str) -> Template:
        """Fused ops replaced by their references: see `Graph.expand`."""
        return self._lifted("expand", *ops)

    def recognise(self) -> Template:
        """Regions that behave as a fused op replaced by it: see `Graph.recognise`."""
        return self._lifted("recognise")

    @checked
    def transform(self, *steps: str, without: str | Collection[str] = ()) -> Template:
        """The passes of these names in their order, `simplify` as a template's: see `Graph.transform`."""
        off = (without,) if isinstance(without, str) else tuple(without)
        return self._unfolded("transform", steps, off, "simplify.")

    @checked
    def rewrite(self, before: Any, after: Any, *, exact: bool = False, equal: bool = True) -> Template:
        """Every occurrence of one function replaced by another: see `Graph.rewrite`."""
        return self._lifted("rewrite", before, after, exact=exact, equal=equal)

    @checked
    def replace_at(self, name: Any, function: Callable[..., Any] | str, *, equal: bool = False) -> Template:
        """A part, by its name, replaced by a function: see `Graph.replace_at`."""
        return self._lifted("replace_at", name, function, equal=equal)

    @checked
    def split(self, name: Any) -> tuple[Template, Template]:
        """Two templates, up to a part by its name and from there on: see `Graph.split`."""
        return self._lifted("_half", name, 0), self._lifted("_half", name, 1)

    def __getitem__(self, name: Any) -> Template:
        """The part of this name, a template of its graphs: see `Graph.__getitem__`."""
        return self._lifted("__getitem__", name)

    def check(self) -> Template:
        """Verify an instance: see `Graph.check`."""
        self.example().check()
        return self

    def cost(self) -> Any:
        """FLOPs and bytes as polynomials of the dimensions: see `Graph.cost`.

        Examples
        --------
        >>> import tensorgraph as tg
        >>> print(tg.parse("def f(x: f32[N, 3], w: f32[3, 4]): return (x @ w + 1.0).sum()").cost().flops)
        32*N
        """
        from tensorgraph.text.templated import TemplateCost

        return TemplateCost(self)

    @checked
    def text(self, *, flat: bool = False) -> str:
        """The template as Python, which `tensorgraph.parse` reads back.

        Parameters
        ----------
        flat : bool
            Of what was traced one function with one equation a line: those that errors speak of.

        Raises
        ------
        SizeError
            Where its graphs differ in more than numbers and loops that follow the sizes, as second derivatives through
            a loop do. All else there is: `at`, `bind`, calls, `cost`, pictures, what passes make.
        """
        told = self._told
        if isinstance(told, SizeError):
            raise told
        return told._text if flat else told._printed

    @cached_property
    def _told(self) -> Template | SizeError:
        """The one that has the text, or why there is none."""
        try:
            return self if self._tell is None else self._tell()
        except SizeError as why:
            return why

    @cached_property
    def _printed(self) -> str:
        return (None if self._print is None else self._print()) or self._text

    def __reduce__(self) -> Any:
        told = self._told
        if isinstance(told, SizeError):
            raise TypeError(f"a template without a text is not pickled: pickle what it was made of. {told}")
        return functools.partial(parse, types=self._types), (told._text, self.arrays), {"dims": self.dims}

    def __str__(self) -> str:
        told = self._told
        if isinstance(told, Template):
            return told._printed
        head = self._text.partition("):")[0].partition(") ->")[0]
        why = f"# {told}".replace(". ", ".\n# ")
        return f"{head}):\n    ...\n\n\n{why}\n"

    def __repr__(self) -> str:
        return f"<Template {self.name}: dimensions {', '.join(self.dims)}>"


Made = Callable[[Mapping[str, int]], Graph]
FIXED = ((5, 7, 11, 13, 17, 19), (4, 6, 8, 10, 12, 14), (12,), (64,), (1,), (2520,), (3,), (5,), (8,), (16,), (32,),
         (2, 3, 5, 7, 11, 13))  # fmt: skip
PROBES = ((2, 3, 5, 7, 11, 13), (1,), (2,), (12,), (64,), (2520,))
MOST_INSTANCES, MOST_PROBES, LARGEST_PROBE = 64, 150, 10_000
MOST_WORK = 20_000  # statements and equations that are read in looking for sizes

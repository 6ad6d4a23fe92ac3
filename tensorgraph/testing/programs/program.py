"""Random whole programs drawn from the catalogue, as Python that runs: for tests of everything that is done to graphs.

A program has inputs, steps and results, and its source. Its steps are calls of ops made from their declarations (a new
op is drawn from the day of its declaration) and forms of code that graphs are made of: indexing, scopes, functions
inside functions and their derivatives, rules of one's own, state.
"""

from __future__ import annotations

import linecache
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from tensorgraph.arguments import Natural, Range, checked
from tensorgraph.engine.aval import Aval
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.random import Draws
from tensorgraph.engine.spec import Sized
from tensorgraph.engine.tensor import tensor
from tensorgraph.engine.tree import flatten, tree_map
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.jit.properties import cached_property
from tensorgraph.testing.cases import Array
from tensorgraph.testing.programs import nested as _nested  # noqa: F401  (steps register themselves)
from tensorgraph.testing.programs import special as _special  # noqa: F401
from tensorgraph.testing.programs.choices import NAMES, OTHER, Choices, Instruction, NamedSize, Options, quiet
from tensorgraph.testing.programs.state import declare
from tensorgraph.testing.programs.steps import FORMS, drawable
from tensorgraph.testing.programs.writer import Value, Writer

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

IMPORTS = "import numpy as np\nimport tensorgraph as tg"

__all__ = ["Made", "Program", "programs", "quiet", "random_program", "write_program"]


@dataclass(frozen=True)
class Made:
    """A program with fresh state: the function, and its cells by path."""

    function: Any
    cells: dict[str, Cell]

    def state(self) -> dict[str, Array]:
        """Copies of the cells' numbers."""
        return {path: np.array(cell.read().numpy()) for path, cell in self.cells.items()}


@dataclass(frozen=True)
class Program:
    """A random program.

    Attributes
    ----------
    text : str
        The Python source: captured arrays and cells, then ``def program(...)``.
    examples : tuple
        Arrays to call it with, one an argument; an argument may be a nesting of arrays.
    options : Options
    """

    text: str
    examples: tuple[Any, ...]
    options: Options = field(default=Options(), repr=False)

    def source(self) -> str:
        """The Python of the program."""
        return self.text

    def __repr__(self) -> str:
        shown = ", ".join(str(tree_map(lambda a: Aval(a.shape, a.dtype), e)) for e in self.examples)
        return f"Program({shown}):\n{self.text}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis shows it."""
        printer.text(repr(self))

    def make(self) -> Made:
        """The function with cells of its own, as they are before its first call."""
        file = f"<random program {abs(hash(self.text)):x}>"
        linecache.cache[file] = (len(self.text), None, self.text.splitlines(keepends=True), file)
        space: dict[str, Any] = {"__name__": "random_program"}
        exec(compile(self.text, file, "exec"), space)
        cells: dict[str, Cell] = {}
        for value in space.values():
            if isinstance(value, Cell):
                cells[value.path] = value
            elif hasattr(value, "named_cells"):
                cells.update({cell.path or name: cell for name, cell in dict(value.named_cells()).items()})
            elif isinstance(value, Draws):
                cells[value.state.path] = value.state
        return Made(space["program"], cells)

    @cached_property
    def made(self) -> Made:
        """One `make` of it, kept: a program with state continues with it."""
        return self.make()

    @property
    def function(self) -> Any:
        """The function, to be called with tensors."""
        return self.made.function

    @property
    def cells(self) -> dict[str, Cell]:
        """The cells of `function` by path."""
        return self.made.cells

    @property
    def specs(self) -> tuple[Any, ...]:
        """The examples' types, for `tensorgraph.trace`."""
        return tuple(tree_map(lambda a: Aval(a.shape, a.dtype), e) for e in self.examples)

    @property
    def floats(self) -> tuple[int, ...]:
        """Positions of the arguments that a derivative may be taken by: those of floats only."""
        found = [(i, flatten(e)[0]) for i, e in enumerate(self.examples)]
        return tuple(i for i, leaves in found if leaves and all(a.dtype.kind == "f" for a in leaves))

    def tensors(self, number: int = 0, requires_grad: bool = False) -> list[Any]:
        """The examples as tensors; other batches (`number` 1, 2, ...) have the same numbers in other places."""

        def make(a: Array) -> Any:
            return tensor(np.roll(a, number), requires_grad=requires_grad and a.dtype.kind == "f")

        return [tree_map(make, e) for e in self.examples]

    def __call__(self, *arrays: Any) -> Any:
        """The function on arrays (the examples unless given), without warnings of odd numbers."""
        with quiet():
            return self.function(*([tree_map(tensor, a) for a in arrays] or self.tensors()))

    def graph(self) -> Graph:
        """The traced program."""
        with quiet():
            return trace(self.function, *self.specs)

    def typed(self, **sizes: int) -> tuple[Any, ...]:
        """The types of the arguments of a program of any size: with names for sizes, or at these."""

        def named(array: Array) -> Any:
            shape = [NAMES.get(n, n) for n in array.shape]
            if not sizes:
                return (
                    Sized(tuple(shape), array.dtype)
                    if any(isinstance(n, str) for n in shape)
                    else Aval(array.shape, array.dtype)
                )
            return Aval(tuple(sizes[n] if isinstance(n, str) else n for n in shape), array.dtype)

        return tuple(tree_map(named, e) for e in self.examples)


# writing -----------------------------------------------------------------------------------------------------------


def _shapes(choices: Choices, n: int, sized: bool) -> list[tuple[int, ...]]:
    """Shapes of inputs, most of which broadcast with each other."""
    if sized:
        base = choices.one([(7, 3), (7,), (7, 5), (5, 7), (7, 2, 3), (3, 7), (7, 7)])
        related = [base, base[-1:], (), (*base[:-1], 1), (1, *base[1:]), (7, 3), (7,)]
        return [base, *[choices.one(related) for _ in range(n - 1)]]
    base = choices.one([(3,), (2, 3), (), (2, 3, 2), (3, 3), (1, 3), (0, 3), (4, 1), (2, 2, 1, 3)])
    related = [base, base[-1:], (), tuple(1 if i == 0 else n for i, n in enumerate(base)), (2, *base)[:4]]
    related += [base[::-1], (*base[:-1], 1) if base else (1,), (2, 3), (0,)]
    return [base, *[choices.one(related) for _ in range(n - 1)]]


def _inputs(w: Writer, choices: Choices) -> tuple[list[str], list[Any]]:
    """Parameters of the function and their examples, some of them nested."""
    options = w.options
    shapes = _shapes(choices, choices.one([2, 1, 3, 4]), options.sized)
    floats = [d for d in options.dtypes if d.startswith("float")]
    first = choices.one(floats)
    dtypes = [first if options.differentiable or choices.often() else choices.one(options.dtypes) for _ in shapes]
    dtypes[0] = first
    arrays = [w.new(s, d, choices) for s, d in zip(shapes, dtypes, strict=True)]
    names = [w.fresh("x") for _ in arrays]
    for name, array in zip(names, arrays, strict=True):
        w.env[name] = tensor(array, requires_grad=options.differentiable and array.dtype.kind == "f")
        w.values.append(Value(name, w.env[name]))
    if w.others is not None:
        _open(w, names, arrays, choices)
    if len(arrays) < 2 or not choices.rarely():
        return names, list(arrays)
    way = choices.below(3)
    rest, group = names[1:], w.fresh("batch")
    nested: Any = [dict(zip(rest, arrays[1:], strict=True)), tuple(arrays[1:]), [arrays[1], tuple(arrays[2:])]][way]
    if way == 0:
        w.opening += [f"{n} = {group}[{n!r}]" for n in rest]
    elif way == 1:
        w.opening.append(f"{', '.join(rest)}{',' if len(rest) == 1 else ''} = {group}")
    else:
        inner = "".join(f"{n}, " for n in rest[1:])
        w.opening.append(f"{rest[0]}, ({inner.strip()}) = {group}" if inner else f"{rest[0]}, _ = {group}")
    return [names[0], group], [arrays[0], nested]


def _open(w: Writer, names: list[str], arrays: list[Array], choices: Choices) -> None:
    """Name the sizes of arguments, and take other ones beside them."""
    assert w.others is not None
    for name, array in zip(names, arrays, strict=True):
        for axis, n in enumerate(array.shape):
            variable = repr(NamedSize(n)) if n in NAMES else ""
            if variable and variable not in w.env:
                w.opening.append(f"{variable} = {name}.shape[{axis}]")
                w.env[variable], w.others[variable] = n, OTHER[n]
        there = w.new(tuple(OTHER.get(n, n) for n in array.shape), array.dtype, choices)
        grad = w.options.differentiable and array.dtype.kind == "f"
        w.others[name] = tensor(there, requires_grad=grad)


def _result(w: Writer, choices: Choices) -> str:
    """What the function returns: one value, or several in some structure."""
    if w.options.differentiable:
        return _loss(w)
    values = [v for v in w.values if not isinstance(v.live, Cell)]
    last = values[-1].name
    n = choices.one([1, 2, 3])
    chosen = [last, *[choices.one(values[::-1]).name for _ in range(n)]]
    a, b, rest = chosen[0], chosen[1], ", ".join(chosen[1:])
    ways = [a, f"({a}, {rest})", f"{{'a': {a}, 'b': ({rest},)}}", f"[{a}, {{'deep': {{'er': {b}}}}}]"]
    ways += [f"({a}, [], {{'n': 2, 'none': None}}, {b})", f"({a},)"]
    return str(choices.one(ways))


def _loss(w: Writer) -> str:
    """One float number that depends on everything written."""
    terms: list[str] = []
    for value in w.values:
        if value.live.dtype.kind == "f" and value.live._node is not None and not isinstance(value.live, Cell):
            terms.append(f"tg.sum(tg.tanh({value.name}))" if value.ndim else f"tg.tanh({value.name})")
    return " + ".join(terms[-6:])


def write_program(
    head: Sequence[int],
    instructions: Sequence[Instruction],
    options: Options = Options(),  # noqa: B008
) -> Program:
    """The program that these choices mean; any choices mean one."""
    choices = Choices(head)
    env: dict[str, Any] = {"__name__": "random_program"}
    exec(IMPORTS, env)
    others: dict[str, Any] | None = dict(env) if options.sized else None
    w = Writer(options, iter(instructions), env, others=others)
    names, examples = _inputs(w, choices)
    if options.state:
        declare(w, choices)
    w.steps(len(instructions))
    result = _result(w, choices)
    lines = [IMPORTS, "", *w.preamble, *([""] if w.preamble else []), f"def program({', '.join(names)}):"]
    opening = sorted(w.opening, key=lambda line: ".shape[" in line)  # after what is taken out of containers
    lines += [f"    {line}" for line in opening] + w.lines + [f"    return {result}"]
    return Program("\n".join(lines).strip() + "\n", tuple(examples), options)


def _menu(options: Options) -> list[str]:
    """What steps there are, simplest first."""
    ops = [name for name in drawable() if options.allows(name)]
    forms = [name for name, form in FORMS.items() if form.allowed(options)]
    return ops * max(1, round(len(forms) / max(len(ops), 1))) + forms * max(1, round(len(ops) / len(forms)))


def _options(
    differentiable: bool, smooth: bool, state: bool, wild: bool, nested: bool, sized: bool,
    ops: Collection[str] | None, without: Collection[str], dtypes: Sequence[str] | None,
) -> Options:  # fmt: skip
    if sized and (state or wild):
        raise ValueError("programs of any size have neither odd numbers nor state, got sized=True with wild or state")
    if smooth and (wild or state):
        raise ValueError("smooth programs have neither odd numbers nor state, got smooth=True with wild or state")
    if dtypes is None:
        dtypes = ("float64",) if smooth else Options.dtypes
    if not any(d.startswith("float") for d in dtypes):
        raise ValueError(f"a program has at least one float input, got dtypes={tuple(dtypes)}")
    known = set(drawable())
    unknown = [name for name in (*(ops or ()), *without) if name not in known]
    if unknown:
        raise ValueError(f"programs draw no op {unknown[0]!r}; they draw {', '.join(sorted(known))}")
    chosen = None if ops is None else frozenset(ops)
    return Options(
        differentiable or smooth, smooth, state, wild, nested, sized, chosen, frozenset(without), tuple(dtypes)
    )  # fmt: skip


@checked
def programs(
    *, differentiable: bool = False, smooth: bool = False, state: bool = False, wild: bool = False, nested: bool = True,
    sized: bool = False, max_steps: Annotated[int, Range(1, 10_000)] = 15, ops: Collection[str] | None = None,
    without: Collection[str] = (), dtypes: Sequence[str] | None = None,
) -> SearchStrategy[Program]:  # fmt: skip
    """Whole programs of catalogue ops, as a hypothesis strategy. Needs hypothesis.

    Parameters
    ----------
    differentiable : bool
        The result is one float number that depends on the float inputs.
    smooth : bool
        Differentiable in float64 wherever differences can tell, for derivatives by numbers.
    state : bool
        With parameters, buffers, random draws and optimisers: see `Program.make`.
    wild : bool
        NaN, infinite, huge and tiny numbers too. Otherwise all numbers stay finite on the examples.
    nested : bool
        With functions inside functions, their derivatives, and rules of their own.
    sized : bool
        Of any size: see `Program.typed`.
    max_steps : int
    ops, without : collection of str, optional
        Draw these ops only, or all but these.
    dtypes : sequence of str, optional
        Of the inputs; float32, float64, integers and booleans unless given.

    Returns
    -------
    SearchStrategy of Program

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from tensorgraph.testing import programs
    >>> @given(programs(max_steps=3))
    ... @settings(max_examples=5, deadline=None)
    ... def test(program):
    ...     program.graph().check()
    >>> test()
    """
    from hypothesis import strategies as st

    options = _options(differentiable, smooth, state, wild, nested, sized, ops, without, dtypes)
    instruction = st.tuples(st.sampled_from(_menu(options)), st.binary(min_size=14, max_size=14))
    instructions = st.lists(instruction, min_size=1, max_size=max_steps)

    def program(choose: DrawFn) -> Program:
        return write_program(choose(st.binary(min_size=20, max_size=20)), choose(instructions), options)

    return st.composite(program)()  # a draw, not a mapping: hypothesis shows the program then


@checked
def random_program(seed: Natural, steps: Annotated[int, Range(1, 10_000)] = 10, **options: Any) -> Program:
    """A program from a seed, without hypothesis; options as of `programs`.

    Examples
    --------
    >>> from tensorgraph.testing import random_program
    >>> print(random_program(1, steps=2).source())  # doctest: +ELLIPSIS
    import numpy as np
    import tensorgraph as tg
    ...def program(x0...
    """
    given: Mapping[str, Any] = dict(
        differentiable=False, smooth=False, state=False, wild=False, nested=True, sized=False, ops=None, without=(),
        dtypes=None,
    )  # fmt: skip
    unknown = set(options) - set(given)
    if unknown:
        raise TypeError(f"random_program has no option {sorted(unknown)[0]!r}; its options: {', '.join(given)}")
    chosen = _options(**{**given, **options})
    rng = np.random.default_rng(seed)
    menu = _menu(chosen)
    instructions = [(menu[rng.integers(len(menu))], list(rng.bytes(14))) for _ in range(steps)]
    return write_program(list(rng.bytes(20)), instructions, chosen)

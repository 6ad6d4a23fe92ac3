"""The two sides of a rewriting: a function, a text or a graph, as a graph for the values that it is called with.

What a function takes by name alone are values of attributes; with these bound, it is a side like another.

A function has no types of its own. Where it may occur it is called with values of the graph, so it is traced for their
types: for all that there are, until it can be traced, which leaves out what an op has refused before.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgraph.arguments import shown
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, Number
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.op import Op
from tensorgraph.engine.tensor import Tensor, wrap
from tensorgraph.engine.tree import listed, unflatten
from tensorgraph.graph.building import Trace
from tensorgraph.graph.evaluate import match_arguments
from tensorgraph.graph.graph import Graph, Literal, Var, typed_key
from tensorgraph.graph.inline import inline
from tensorgraph.graph.keywords import inner, name_of_function
from tensorgraph.passes.rewriting.texts import written
from tensorgraph.text.template import Template

__all__ = ["Argument", "Pattern", "Side", "UNFIT", "replayed"]

Argument = Aval | Literal  # what a side is called with: a value of this type, or this number
UNFIT = (Exception,)  # a user's function may refuse what it is tried on in any way
MOST_TYPES = 24  # types of a graph that a function is tried on
MOST_TRIES = 2000  # times that a function is traced to find types for it
MORE = 40  # and after it was traced once, for what else it may be
MOST_TUPLES = 100_000  # of types, those that are passed over too
FEW, LONGEST_RUN, MOST_RUNS = 3, 40, 300  # arguments, from which on runs of equations are looked at for their types


@dataclass(frozen=True, eq=False)
class Pattern:
    """A side for the values that it is called with.

    Attributes
    ----------
    graph : Graph
    places : tuple of Var or None
        The variable of each argument; None where a number was given.
    cells : dict of Var to Cell or str
        What its cells are: those that it read, or their paths.
    composed : bool
        Whether its fused ops are written out, as ``implementation("composed")`` does.
    """

    graph: Graph
    places: tuple[Var | None, ...]
    cells: Mapping[Var, Cell | str]
    composed: bool = False

    @property
    def skeleton(self) -> Any:
        """Ops and wiring without attributes, numbers and types."""
        number: dict[Var, int] = {v: i for i, v in enumerate(self.graph.variables())}
        rows = tuple(
            (eq.op, tuple(number[a] if type(a) is Var else -1 for a in eq.atoms())) for eq in self.graph.equations
        )
        return rows, tuple(number[out] for out in self.graph.results())


class Side:
    """One side of a rewriting: `what` is what errors call it, `free` the attributes that it takes by name."""

    def __init__(self, what: str, given: Any) -> None:
        self.what = what
        self.source = given
        if isinstance(given, str):
            given = written(given)
        if not isinstance(given, (Graph, Template)) and not callable(given):
            raise TypeError(
                f"{what} is a function of tensors, its text or a Graph, got {shown(given)}; write it as lambda x: x * 2"
            )
        self.given = given
        self.free: tuple[str, ...] = ()
        self.names = self._names()
        self.refusal: Exception | None = None  # what was raised last when types for it were sought
        self._patterns: dict[Any, Pattern | Exception] = {}

    def _names(self) -> tuple[str, ...]:
        """What it calls its arguments; those that have a default keep it."""
        given = self.given
        if isinstance(given, Graph):
            if not given.is_flat:
                raise TypeError(
                    f"{self.what} takes tensors, one an argument, not {given.in_tree}: a list or a dict of "
                    "values is several arguments here"
                )
            return tuple(given.arguments) or tuple(f"x{i}" for i in range(len(given.inputs)))
        if isinstance(given, Template):
            return tuple(given.example().arguments)
        try:
            parameters = list(inspect.signature(getattr(given, "forward", given)).parameters.values())
        except (TypeError, ValueError):
            raise TypeError(f"{self.what} has no signature that Python knows: wrap it in a lambda") from None
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            return ("*",)
        required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
        self.free = tuple(p.name for p in required if p.kind is p.KEYWORD_ONLY)
        return tuple(p.name for p in required if p.kind is not p.KEYWORD_ONLY)

    def bound(self, values: Mapping[str, Any]) -> Side:
        """The side with the values of attributes that it takes by name."""
        own = {name: values[name] for name in self.free}
        return Side(self.what, functools.partial(self.given, **own)) if own else self

    @property
    def label(self) -> str:
        """What a report calls it: its name, what it says where it has none."""
        if isinstance(self.given, (Graph, Template)):
            return self.given.name
        name = getattr(inner(self.given), "__name__", "")
        if name != "<lambda>":
            return name_of_function(self.given)
        known = next((p for p in self._patterns.values() if isinstance(p, Pattern)), None)
        lines = [] if known is None else known.graph.text(types=False).strip().split("\n")
        said = lines[-1].strip().removeprefix("return ") if len(lines) == 2 else ""
        return said if 0 < len(said) <= LONGEST_LABEL else self.what

    def call(self, *arguments: Any) -> Any:
        """The side on tensors of any float dtype, and numbers."""
        given = self.given
        if isinstance(given, Template):
            given = given.at(**given.sizes(*arguments))
        if isinstance(given, Graph):
            return unflatten(given.out_tree, replayed(given, arguments, ()))
        return given(*arguments)

    def given_to_trace(self, *arguments: Any) -> Any:
        """The side on values of the trace that is active."""
        given = self.given
        if isinstance(given, Template):
            given = given.at(**given.sizes(*arguments))
        if not isinstance(given, Graph):
            return given(*arguments)
        trace = modes.current().trace
        known = {} if trace is None else trace.cells_by_path
        missing = next((decl.path for decl in given.cells if decl.path not in known), None)
        if missing is not None:
            raise ValueError(f"{self.what} reads the cell {missing}, which the graph does not have")
        cells = [trace.tensor(known[decl.path]) for decl in given.cells]  # type: ignore[union-attr]
        outputs, written = inline(given, match_arguments(given, arguments), cells)
        if written:
            raise TypeError(f"{self.what} is a graph that assigns to a cell; as a function it may")
        return unflatten(given.out_tree, outputs)

    def pattern(self, arguments: Sequence[Argument], composed: bool = False) -> Pattern:
        """The graph of the side for these.

        Raises
        ------
        Exception
            Whatever it raises for them.
        """
        key = composed, *[typed_key(a.value) if isinstance(a, Literal) else a for a in arguments]
        known = self._patterns.get(key)
        if known is None:
            try:
                known = self._pattern(arguments, composed)
            except UNFIT as error:
                known = error
            self._patterns[key] = known
        if isinstance(known, Exception):
            raise known
        return known

    def _pattern(self, arguments: Sequence[Argument], composed: bool) -> Pattern:
        given = self.given
        if isinstance(given, Template):
            if any(isinstance(a, Literal) for a in arguments):
                raise TypeError(f"{given.name} is declared for tensors")
            given = given.at(**given.sizes(*arguments))
        if isinstance(given, Graph):
            expected = [var.aval for var in given.inputs]
            if list(arguments) != expected:
                raise TypeError(f"{given.name} is declared for {expected}")
            given = given.expand() if composed else given
            return Pattern(given, tuple(given.inputs), {decl.var: decl.path for decl in given.cells}, composed)
        return Tried(given, arguments, self.names, composed).pattern()

    def patterns(self, graph: Graph) -> list[Pattern]:
        """The side in each form that it takes for values of a graph, the types aside.

        Raises
        ------
        Exception
            What it raised last, where it takes none.
        """
        found: dict[Any, Pattern] = {}
        for pattern in self._forms(graph):
            found.setdefault(pattern.skeleton, pattern)
            if any(eq.op.reference is not None for eq in pattern.graph.equations):
                types = [Literal(None) if var is None else var.aval for var in pattern.places]
                with contextlib.suppress(*UNFIT):
                    written_out = self.pattern(types, composed=True)
                    found.setdefault(written_out.skeleton, written_out)
        return list(found.values())

    def _forms(self, graph: Graph) -> list[Pattern]:
        """As `patterns`, with fused ops as they are."""
        given = self.given
        if isinstance(given, Graph):
            return [self.pattern([var.aval for var in given.inputs])]
        if isinstance(given, Template):
            return [self.pattern([var.aval for var in given.example().inputs])]
        found: dict[Any, Pattern] = {}
        own: Exception | None = None  # of the function itself, where no op refused anything
        refused = False
        for result in self._tries(graph):
            if isinstance(result, Pattern):
                found.setdefault(result.skeleton, result)
            else:
                refused |= result.failed is not None
                own = self.refusal = result.error
        if not found and own is not None and not refused and not isinstance(given, functools.partial):
            raise TypeError(
                f"{self.what} could not be traced for any values of the graph: {type(own).__name__}: {own}"
            ) from own
        return list(found.values())

    def _tries(self, graph: Graph) -> Iterator[Pattern | Tried]:
        """The side traced for types of a graph."""
        # The plan:
        # 1. what runs of the graph's equations read, in order, as a function of many arguments was written for one;
        #    then tuples of types in the order of a counter, each argument of the most frequent type to begin with;
        # 2. where an op refuses, only the arguments behind its inputs are to blame: every tuple that has these types
        #    there is left out, without being traced;
        # 3. once one could be traced, others may still be another program (a function may ask for the number of axes):
        #    some more are tried, of other ranks and kinds than those before.
        count = len(self.names)
        refused: list[tuple[tuple[int, Aval], ...]] = []
        ranks: set[Any] = set()
        left = MOST_TRIES
        types = _types(graph)
        every = itertools.chain(_read_in_runs(graph, count), _counted(types, count, refused))
        for arguments in itertools.islice(every, MOST_TUPLES):
            rank = tuple((type(a) is Number, len(a.shape), a.dtype.kind) for a in arguments)
            if rank in ranks or _blamed(refused, arguments):
                continue
            left -= 1
            attempt = Tried(self.given, arguments, self.names)
            try:
                result = self._patterns[(False, *arguments)] = attempt.pattern()
                if not ranks:
                    left = min(left, MORE)
                ranks.add(rank)
                yield result
            except UNFIT as error:
                attempt.error = error
                refused.append(tuple((i, arguments[i]) for i in attempt.blamed()))
                yield attempt
            if left <= 0:
                return


LONGEST_LABEL = 60


def _types(graph: Graph) -> list[Aval]:
    """The types of the values that a graph's equations read, the frequent ones first."""
    counts = Counter(var.aval for eq in graph.equations for var in eq.variables())
    return [aval for aval, _ in counts.most_common(MOST_TYPES)]


def _read_in_runs(graph: Graph, count: int) -> Iterator[tuple[Aval, ...]]:
    """The types of as many values as runs of equations read first, from each equation on."""
    if count < FEW:
        return
    found: dict[tuple[Aval, ...], None] = {}
    for start in range(len(graph.equations)):
        made: set[Var] = set()
        read: dict[Var, None] = {}
        for eq in graph.equations[start : start + LONGEST_RUN]:
            read.update((var, None) for var in eq.variables() if var not in made)
            made.update(eq.outputs)
            if len(read) >= count:
                found[tuple(var.aval for var in [*read][:count])] = None
                break
        if len(found) == MOST_RUNS:
            break
    yield from found


def _counted(types: list[Aval], count: int, refused: list[tuple[tuple[int, Aval], ...]]) -> Iterator[tuple[Aval, ...]]:
    """Every tuple of types, but those that hold some that were refused together."""
    chosen: list[int] = []
    while types or not count:
        if len(chosen) < count and not _blamed(refused, [types[i] for i in chosen]):
            chosen.append(0)
            continue
        if len(chosen) == count:
            yield tuple(types[i] for i in chosen)
        while chosen and chosen[-1] + 1 >= len(types):
            chosen.pop()
        if not chosen:
            return
        chosen[-1] += 1


def _blamed(refused: list[tuple[tuple[int, Aval], ...]], chosen: Sequence[Aval]) -> bool:
    """Whether the types chosen so far hold some that were refused together."""
    n = len(chosen)
    return any(all(i < n and chosen[i] == aval for i, aval in each) for each in refused)


def replayed(
    graph: Graph, inputs: Sequence[Any], cells: Sequence[Any], seen: Callable[[Any], None] = lambda value: None
) -> list[Any]:
    """The results of a graph's equations called one by one, on tensors of whatever dtype; `seen` is told each value."""
    env: dict[Var, Any] = dict(zip(graph.inputs, inputs, strict=True))
    env |= zip((decl.var for decl in graph.cells), cells, strict=True)
    env |= {var: wrap(array) for var, array in graph.consts.items()}

    def use(atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [use(a) for a in atom]
        return env[atom] if type(atom) is Var else atom.value

    for eq in graph.equations:
        result = eq.op.public(*map(use, eq.inputs), **eq.attrs)
        results = result if isinstance(result, tuple) else (result,)
        for value in results:
            seen(value)
        env.update(zip(eq.outputs, results, strict=False))
    return [use(out) for out in graph.outputs]


class Tried(Trace):
    """A function traced for values of these types; where an op refuses them, it knows what that one read."""

    def __init__(
        self, function: Callable[..., Any], arguments: Sequence[Argument], names: Sequence[str], composed: bool = False
    ) -> None:
        super().__init__(name_of_function(function))
        self.names = names
        self.composed = composed
        self.function = function
        self.lines = False
        self.arguments = arguments
        self.places: list[Var | None] = []
        self.failed: list[Any] | None = None
        self.error: Exception | None = None

    def pattern(self) -> Pattern:
        values: list[Any] = []
        tensors = []
        for i, argument in enumerate(self.arguments):
            if isinstance(argument, Literal):
                self.places.append(None)
                values.append(argument.value)
                continue
            t = self.input(argument, self.names[i] if i < len(self.names) else None)
            self.known.add(t._value)
            self.places.append(t._value)
            tensors.append(t)
            values.append(t)
        with modes.use(
            trace=self, grad=True, call=None, cells=None, quiet=True, debug_nans=False, watched=None,
            implementation="composed" if self.composed else modes.current().implementation,
        ):  # fmt: skip
            result = self.function(*values)
            graph = self.finish(tensors, result, listed(len(tensors)), (), ())
        live = dict(zip((decl.var for decl in graph.cells), self.cells, strict=True))
        return Pattern(graph.check(), tuple(self.places), live, self.composed)

    def emit(self, op: Op, inputs: list[Any], attrs: dict[str, Any]) -> Any:
        try:
            return super().emit(op, inputs, attrs)
        except UNFIT:
            self.failed = self.failed or inputs
            raise

    def blamed(self) -> list[int]:
        """The arguments of which an op that refused was given something; all where it was no op."""
        if self.failed is None:
            return list(range(len(self.arguments)))
        stack = [t for item in self.failed for t in (item if isinstance(item, list) else [item])]
        variables = [t._value for t in stack if isinstance(t, Tensor) and type(t._value) is Var]
        seen: set[Var] = set()
        while variables:
            var = variables.pop()
            if var not in seen:
                seen.add(var)
                eq = self.producer.get(var)
                variables += [] if eq is None else list(eq.variables())
        return [i for i, var in enumerate(self.places) if var in seen]

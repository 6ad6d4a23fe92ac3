"""Templates made of functions: traced at a few sizes, printed with names in their place, read back and compared."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorgraph.engine.spec import Sized
from tensorgraph.engine.tree import flatten, unflatten
from tensorgraph.graph.graph import Graph
from tensorgraph.graph.trace import trace
from tensorgraph.jit.properties import cached_property
from tensorgraph.text.aligned import aligned
from tensorgraph.text.errors import ParseError
from tensorgraph.text.functions import folded
from tensorgraph.text.polynomials import FAR, Polynomial, interpolated
from tensorgraph.text.printing import to_text
from tensorgraph.text.rolling import rolled
from tensorgraph.text.sizes import (
    LengthError,
    Sample,
    SizeError,
    generalised,
    others,
    require_same_arrays,
    require_same_cells,
    written,
)
from tensorgraph.text.structure import classes_of
from tensorgraph.text.sure import arrays_of
from tensorgraph.text.template import Made, Template, graph_said, parse

__all__ = ["TemplateCost", "lifted", "passed", "templated", "traced", "unfolded", "untold"]

FOLDING = ("constants.folded", "constants.uniform")  # rules that may be left out
BY_NUMBERS = (*FOLDING, "algebra.divide_by_power_of_two")  # those that do something at some sizes alone
MOST_DOUBTS = 3  # times that more samples are taken, where floats may be told by several expressions
MOST_EQUATIONS = 3_000  # of an instance that tells what its loops are
NEAR = 30  # times a size at which a template is tried that is longer at larger sizes
SMALL = (3, 2, 1, 0)  # sizes at which loops may have no turns, or the first be the last
BASES = ((11, 13, 17, 19, 23, 29), (12, 20, 28, 36, 44, 52), (16, 32, 48, 64, 80, 96), (64,), (60,), (2520,), (8,),
         (4,), (3,), (2,), (1,), (7,), (28,), (32,), (784,))  # fmt: skip
SHORT = (5, 7, 6, 9, 8, 10)  # where the first graph is long for loops over a size
LARGER = (19, 23, 29, 31, 37, 41)  # turns of loops: sums of more than sixteen are added up in several runs
NESTED = (7, 9, 8, 10, 11, 12)  # of loops in loops, which have the product of these


def traced(function: Callable[..., Any], examples: Sequence[Any], keywords: Mapping[str, Any]) -> Template:
    """The template of a function: see `tensorgraph.trace`."""
    leaves, tree = flatten([list(examples), dict(keywords)])
    dims = tuple(dict.fromkeys(dim for leaf in leaves if isinstance(leaf, Sized) for dim in leaf.dims))

    def make(sizes: Mapping[str, int]) -> Graph:
        given, named = unflatten(tree, [leaf.at(**sizes) if isinstance(leaf, Sized) else leaf for leaf in leaves])
        graph: Graph = trace(function, *given, **named)
        return graph

    return templated(make, dims)


class TemplateCost:
    """What the graphs of a template cost, each number a polynomial of the dimensions; None where it is none.

    Attributes
    ----------
    flops, bytes_read, bytes_written, peak : Polynomial or None
    """

    def __init__(self, template: Template) -> None:
        self.template = template
        self._costs: dict[tuple[int, ...], Any] = {}

    def _cost(self, sizes: Mapping[str, int]) -> Any:
        key = tuple(sizes.values())
        if key not in self._costs:
            try:
                self._costs[key] = self.template.at(**sizes).cost()
            except Exception:  # the function may refuse these sizes in any way
                self._costs[key] = None
        return self._costs[key]

    def _of(self, number: Callable[[Any], int]) -> Polynomial | None:
        def value(sizes: Mapping[str, int]) -> int | None:
            cost = self._cost(sizes)
            return None if cost is None else number(cost)

        dims, base = self.template.dims, self.template.fitting()
        return interpolated(value, dims, base, NEAR if self._grows else FAR)

    @cached_property
    def _grows(self) -> bool:
        """Whether there are more equations at larger sizes."""
        base = self.template.fitting()
        with contextlib.suppress(Exception):
            larger = self.template.at(**{dim: 2 * size for dim, size in base.items()})
            return len(larger.equations) != len(self.template.at(**base).equations)
        return False

    @cached_property
    def flops(self) -> Polynomial | None:
        return self._of(lambda cost: cost.flops)

    @cached_property
    def bytes_read(self) -> Polynomial | None:
        return self._of(lambda cost: cost.bytes_read)

    @cached_property
    def bytes_written(self) -> Polynomial | None:
        return self._of(lambda cost: cost.bytes_written)

    @cached_property
    def peak(self) -> Polynomial | None:
        return self._of(lambda cost: cost.peak.bytes)

    def __str__(self) -> str:
        dims = ", ".join(self.template.dims)
        said = [
            f"{'no polynomial of ' + dims if number is None else number} {what}"
            for number, what in (
                (self.flops, "FLOPs"), (self.bytes_read, "bytes read"), (self.bytes_written, "bytes written"),
                (self.peak, "bytes at the peak"),
            )
        ]  # fmt: skip
        return f"{self.template.name}: {'; '.join(said)}"

    __repr__ = __str__


def lifted(template: Template, types: Iterable[Any], method: str, args: Sequence[Any], options: Any) -> Template:
    """What a method of graphs makes of the graphs of a template; of a part of one, the graph that it is.

    Raises
    ------
    SizeError
        Where no text says what it makes of all of them: see `untold`.
    """

    @contextlib.contextmanager
    def with_remedy() -> Iterator[None]:
        try:
            yield
        except SizeError as error:
            said = f"[{args[0]!r}]" if method == "__getitem__" else f".{method}()"
            raise SizeError(f"{error}. Of one size it is template.at({written(template.fitting())}){said}") from error

    with with_remedy():
        made = templated(_pointwise(template, method, args, options), template.dims, types, lifts=True)
    if made._tell is not None:
        made._tell = with_remedy()(made._tell)
    return made


def _pointwise(template: Template, method: str, args: Sequence[Any], options: Any) -> Made:
    def made(sizes: Mapping[str, int]) -> Graph:
        result = getattr(template.at(**sizes), method)(*args, **options)
        graph: Graph = result if isinstance(result, Graph) else result.graph
        return graph

    return made


def unfolded(
    template: Template, types: Iterable[Any], method: str, steps: Sequence[str], off: Sequence[str], before: str
) -> Template:
    """As `lifted`, of a method that computes constants: without those rules where these are others at each size."""

    def made(*rules: str) -> Template:
        without = (*off, *[f"{before}{rule}" for rule in rules])
        return lifted(template, types, method, steps, dict(without=without))

    try:
        return made()
    except SizeError as why:
        try:
            plain = made(*FOLDING)
        except SizeError:  # it is not for constants that no text says it
            with contextlib.suppress(SizeError):
                return made(*BY_NUMBERS)
            return untold(template, types, method, steps, dict(without=off), why)
    with contextlib.suppress(SizeError):
        return made(FOLDING[0])
    return plain


def untold(
    template: Template, types: Iterable[Any], method: str, args: Sequence[Any], options: Any, why: SizeError
) -> Template:
    """As `lifted`, without a text: of that there is the head alone, and why there is no more."""
    return _untold(_pointwise(template, method, args, options), template.dims, types, why)


def passed(make: Made, dims: Sequence[str], types: Iterable[Any]) -> Template:
    """The template of what a pass makes for each size, with a text where there is one."""
    try:
        return templated(make, dims, types, lifts=True)
    except SizeError as why:
        return _untold(make, dims, types, why)


def _untold(make: Made, dims: Sequence[str], types: Iterable[Any], why: SizeError) -> Template:
    def tell() -> Template:
        raise why

    try:
        return _headed(_first(make, dims), make, dims, types, tell)
    except SizeError:  # so do its arguments
        raise why from None


def _headed(
    sample: Sample, make: Made, dims: Sequence[str], types: Iterable[Any], tell: Callable[[], Template]
) -> Template:
    """A template with the head alone of a text; `tell` makes the one that has all of it, when it is asked for."""
    sizes, first = sample
    samples = [sample, *itertools.islice(others(make, dims, sizes, (Exception,)), len(dims))]
    empty = flatten(())[1]
    bare = dict(equations=(), writes=(), outputs=(), consts={}, out_tree=empty)
    heads = [(at, graph.replace(**bare)) for at, graph in samples]
    text = to_text(generalised(heads), taken=dims)
    made = parse(text, arrays_of(first), types=[*types, *classes_of(first.in_tree)])
    if not isinstance(made, Template):
        raise SizeError(f"{first.name}: no other sizes were found than {written(sizes)}")
    made.dims, made._made, made._tell = tuple(dims), make, tell
    made._instances = {tuple(at[dim] for dim in dims): graph for at, graph in samples}
    return made


def _later(sample: Sample, make: Made, dims: Sequence[str], types: Iterable[Any]) -> Template:
    """What a pass makes of a template with loops over a size: told when its text is asked for: that takes long."""

    def tell() -> Template:
        turns = NESTED if sum(_grows(make, *sample, (dim,)) for dim in dims) > 1 else LARGER
        larger = {dim: turns[i % len(turns)] for i, dim in enumerate(dims)}
        begin = sample
        with contextlib.suppress(Exception):  # there may be none
            begin = larger, make(larger)
        told = _from(*begin, make, dims, types, lifts=True, grows=True)
        if any(parse(text, told.arrays, types=told._types) != made for text in {told._text, told._printed}):
            raise SizeError(f"{told.name}: its text would be of other graphs at some sizes")
        return told

    made = _headed(sample, make, dims, types, tell)
    return made


def templated(make: Made, dims: Sequence[str], types: Iterable[Any] = (), lifts: bool = False) -> Template:
    """The template of what gives a graph for each size; `lifts` says that a pass makes it of another template's.

    Raises
    ------
    SizeError
        Where its graphs differ in more than numbers that follow the sizes.
    """
    # The plan:
    # 1. graphs at some sizes that go together, unlike primes if possible, and for each dimension by itself at two more;
    # 2. what is another number in these is an expression of the names; the text of that is the template;
    # 3. it is read back and compared with these graphs, and with one more that it was not made from.
    sizes, first = _first(make, dims)
    if len(first.equations) > MOST_EQUATIONS // 2:
        with contextlib.suppress(Exception):  # there may be none
            short = {dim: SHORT[i % len(SHORT)] for i, dim in enumerate(dims)}
            graph = make(short)
            if len(graph.equations) < len(first.equations):
                sizes, first = short, graph
    if lifts and _grows(make, sizes, first):
        return _later((sizes, first), make, dims, types)
    try:
        return _from(sizes, first, make, dims, types, lifts)
    except SizeError:
        for order in (dims[::-1], dims) if 1 < len(dims) < 4 else ():  # one may have to be under another
            apart = {dim: sizes[dim] * 8 ** order.index(dim) for dim in dims}
            with contextlib.suppress(Exception):
                template = _from(apart, make(apart), make, dims, types, lifts)
                for values in itertools.permutations(sizes.values()):  # it holds there too
                    given = dict(zip(dims, values, strict=True))
                    if not _unfit(make, given):
                        template.at(**given)
                return template
        raise


def _grows(make: Made, sizes: Mapping[str, int], first: Graph, dims: Iterable[str] = ()) -> bool:
    """Whether there are more equations at a larger size, of these dimensions or any.

    Raises
    ------
    SizeError
        Where there are, and other arrays are captured there.
    """
    for dim in dims or sizes:
        try:
            graph = make({**sizes, dim: sizes[dim] + 1})
        except Exception:  # there may be none
            continue
        if len(graph.equations) != len(first.equations):
            require_same_arrays(first, graph)
            return True
    return False


def _from(
    sizes: Mapping[str, int], first: Graph, make: Made, dims: Sequence[str], types: Iterable[Any], lifts: bool,
    grows: bool = False,
) -> Template:  # fmt: skip
    """The template of what gives these graphs, of which one is there; `grows`: those of larger sizes are longer."""
    failures: list[tuple[Mapping[str, int], Exception]] = []
    longer: set[str] = set()  # dimensions at whose larger sizes the graphs are longer
    most = max(MOST_EQUATIONS / len(first.equations), 3) if first.equations else 1  # times as long

    def tried(given: Mapping[str, int]) -> Graph:
        times = math.prod(given[dim] / sizes[dim] for dim in longer)
        if (grows and max(given.values()) > 2 * max(sizes.values())) or times > most:
            raise SizeError("many equations, of which no number is told by")
        try:
            graph = make(given)
        except Exception as error:
            failures.append((given, error))
            raise
        changed = [dim for dim in dims if given[dim] != sizes[dim]]
        if len(changed) == 1 and len(graph.equations) > len(first.equations):
            longer.add(changed[0])
        return graph

    samples, more = [(sizes, first)], others(tried, dims, sizes, (Exception,))
    samples += itertools.islice(more, len(dims))
    if grows:
        _text(samples, dims)  # what these few have no text for, more have none for either
    samples += more
    for dim in dims:
        if all(given[dim] == sizes[dim] for given, _ in samples):
            at, why = next(pair for pair in failures if pair[0][dim] != sizes[dim])
            raise SizeError(
                f"{first.name}: {dim} can be {sizes[dim]}, and no other size was found that it can be: at "
                f"{written(at)} {type(why).__name__}{_raised_in(why)}: {why}. Write {sizes[dim]} for {dim}"
            ) from why
    known = list(dict.fromkeys((*types, *classes_of(first.in_tree), *classes_of(first.out_tree))))
    for _ in range(MOST_DOUBTS):
        doubts: dict[tuple[int, ...], dict[str, int]] = {}
        text, is_folded = _text(samples, dims, make, known, doubts)
        told = len(samples)
        for doubted in doubts.values():
            with contextlib.suppress(Exception):  # the function may refuse these sizes in any way
                samples.append((doubted, tried(doubted)))
        if told == len(samples):
            break
    for given, graph in samples if not lifts else ():  # a text may make cells of any size
        require_same_cells(first, graph, sizes, given)
    template = parse(text, arrays_of(first), types=known)
    if not isinstance(template, Template) or set(template.dims) != set(dims):
        raise SizeError(f"{first.name}: no argument has the sizes {', '.join(dims)}")
    template.dims = tuple(dims)
    template._instances.clear()
    template._made = make
    for given, graph in samples:
        template._instances.clear()
        template._made = _constantly(graph)
        template.at(**given)
    if not is_folded:
        template._print = functools.partial(_folded, template, samples, known)
    template._instances = {tuple(given[dim] for dim in dims): graph for given, graph in samples}
    further = {dim: size + 5 if dim in longer else size * 3 for dim, size in sizes.items()}
    try:
        template._made = _constantly(tried(further))
    except Exception:  # there is none: the function may refuse these sizes in any way
        pass
    else:
        template._said(further) if lifts else template.at(**further)
    template._made, template._lifts = make, lifts
    return template


def _text(
    samples: Sequence[Sample], dims: Sequence[str], make: Made | None = None, types: Sequence[Any] = (),
    doubts: dict[tuple[int, ...], dict[str, int]] | None = None,
) -> tuple[str, bool]:  # fmt: skip
    """What these graphs share, as a text, and whether that is functions that call each other; see `generalised`."""
    try:
        return to_text(generalised(samples, doubts=doubts), taken=dims), False
    except SizeError as error:
        with contextlib.suppress(SizeError):
            text = rolled(samples, dims)
            if text is not None:
                return text, False
        if isinstance(error, LengthError):
            with contextlib.suppress(SizeError, LookupError, ParseError):
                return aligned(samples, dims) if make is None else _for_all(samples, dims, make, types), True
        raise error


def _for_all(samples: Sequence[Sample], dims: Sequence[str], make: Made, types: Sequence[Any]) -> str:
    """The functions that graphs of several lengths share, which say for which sizes they hold.

    Sums are values in them, or expressions where what a function is handed would differ otherwise.
    """
    growing = True
    try:
        text = aligned(samples, dims)
    except SizeError:
        growing, text = False, aligned(samples, dims, growing=False)
    template = parse(text, arrays_of(samples[0][1]), types=types)
    if not isinstance(template, Template) or set(template.dims) != set(dims):
        raise SizeError(f"no argument has the sizes {', '.join(dims)}")
    limits = {}
    for dim in dims:
        for size in SMALL:
            given = {**samples[0][0], dim: size}
            try:
                graph = make(given)
            except Exception:  # there is none: the function may refuse these sizes in any way
                continue
            if graph_said(template, given) != graph:
                limits[dim] = size + 1
                break
    return aligned(samples, dims, growing, limits) if limits else text


def _folded(template: Template, samples: Sequence[Sample], types: Sequence[Any]) -> str | None:
    """The template as functions that call each other, where that is read as these graphs."""
    make = template._made
    assert make is not None
    try:
        try:
            text = folded(generalised(samples), taken=template.dims)
        except LengthError:
            text = _for_all(samples, template.dims, make, types)  # that of the template is rolled
        again = parse(text, template.arrays, types=types)
        if not isinstance(again, Template) or set(again.dims) != set(template.dims):
            return None
        alike = all(again.at(**given) == graph for given, graph in samples)
        return text if alike else None
    except (SizeError, ParseError, LookupError, ValueError, TypeError):  # whatever else is no text of it
        return None


def _raised_in(error: Exception) -> str:
    """The innermost of the user's lines that an error went through."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__", "").partition(".")[0] != "tensorgraph":
            found = f" in the line {Path(frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _constantly(graph: Graph) -> Made:
    return lambda sizes: graph


def _unfit(make: Made, sizes: Mapping[str, int]) -> tuple[type[BaseException], ...]:
    """What making a graph for these sizes raises, if it does: then they are none that there are."""
    try:
        make(sizes)
    except Exception as error:
        return (type(error),)
    return ()


def _first(make: Made, dims: Sequence[str]) -> tuple[dict[str, int], Graph]:
    """Some sizes that go together, and their graph."""
    failure: Exception | None = None
    for probe in BASES:
        sizes = {dim: probe[i % len(probe)] for i, dim in enumerate(dims)}
        try:
            return sizes, make(sizes)
        except Exception as error:
            failure = failure or error
    assert failure is not None
    raise failure

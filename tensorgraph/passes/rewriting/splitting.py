"""`split`: a graph in two, before and behind a part of it that is found by its name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorgraph.engine.tree import flatten, listed
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.passes.rewriting.regions import Region, region
from tensorgraph.text.names import identifier, names

__all__ = ["split"]


def split(graph: Graph, name: Any) -> tuple[Graph, Graph]:
    """A graph as two: up to a part of it, and from there on.

    Parameters
    ----------
    graph : Graph
    name : str, (str, int) or Region
        As in ``graph[name]``: the path of a module, the name of a value.

    Returns
    -------
    first : Graph
        Of the graph's arguments. It computes the part, what that depends on and what is written of it, and gives a
        tuple: what the part gives, then whatever else it made that the second reads.
    second : Graph
        All the rest. Its arguments are what the first gives, then those of the graph that it reads; it gives what the
        graph gives.

        Each has the cells that it reads and the writes of what it computes, so that one after the other does what the
        graph does.

    Raises
    ------
    KeyError
        For a name that there is not, or that several parts have.
    ValueError
        Where a deferred gradient goes through both, which `Graph.differentiate` writes out.

    See Also
    --------
    replace_at : a function in the place of a part

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.parse('''
    ... def f(x: f32[3], y: f32[3]):
    ...     h = exp(x)
    ...     return (h * x - y).sum()
    ... ''')
    >>> first, second = g.split("h")
    >>> print(first)
    def until_h(x: f32[3], y: f32[3]) -> (f32[3],):
        h = exp(x)
        return (h,)
    >>> print(second)
    def from_h(h: f32[3], x: f32[3], y: f32[3]) -> f32:
        return sum(h * x - y)
    >>> x, y = tg.ones(3), tg.zeros(3)
    >>> second(*first(x, y), x, y) == g(x, y)
    tensor(True, bool)
    """
    part = name if isinstance(name, Region) else region(graph, name)
    if part.whole is not graph:
        part = region(graph, part.name)
    if not part.numbers or not part.outputs:
        what = "is an argument or a cell" if part.outputs else "gives nothing that anything else reads"
        raise ValueError(f"{part.name} {what}: there is nothing before it and behind it to be split")
    ours, theirs = _halves(graph, part)
    made = {out for eq in ours for out in eq.outputs}
    for eq in theirs:
        if eq.is_gradient and not made.isdisjoint(_history(graph, eq)):
            at = "" if eq.source is None else f" (traced at {eq.source})"
            raise ValueError(
                f"the gradient {names(graph)[eq.outputs[0]]} goes through both sides of {part.name}{at}: "
                "graph.differentiate() writes it out, and that can be split"
            )
    writes = tuple(write for write in graph.writes if write.value in made)
    others = tuple(write for write in graph.writes if write.value not in made)
    read = dict.fromkeys(var for eq in theirs for var in eq.variables())
    read.update(dict.fromkeys(a for a in (*graph.outputs, *[w.value for w in others]) if type(a) is Var))
    before = {write.cell for write in writes}  # a cell that the first half writes was read as it was before
    crossing = [var for var in read if (var in made or var in before) and var not in part.outputs]
    given = (*part.outputs, *crossing)
    first = _half(graph, f"until_{part.name}", ours, given).replace(writes=writes)
    first = first.replace(cells=_cells(graph, first), out_tree=flatten((0,) * len(given))[1])
    inputs = (*given, *[var for var in graph.inputs if var in read and var not in given])
    second = _half(graph, f"from_{part.name}", theirs, graph.outputs).replace(
        inputs=inputs, in_tree=listed(len(inputs)), statics=(), writes=others,
        arguments=tuple(identifier(names(graph)[var]) for var in inputs),
    )  # fmt: skip
    return first.check(), second.replace(cells=_cells(graph, second)).check()


def _halves(graph: Graph, part: Region) -> tuple[list[Equation], list[Equation]]:
    """The equations that a part depends on with its own and with those of writes that begin there; and all others."""
    first = {*part.numbers, *_behind(graph, part.outputs)}
    after = set(part.outputs)
    for eq in graph.equations:
        if not after.isdisjoint(eq.variables()):
            after.update(eq.outputs)
    for write in graph.writes:  # as running averages, which the part does not read
        if type(write.value) is Var and write.value not in after:
            own = _behind(graph, [write.value])
            first |= set() if own.isdisjoint(first) else own
    ours = [eq for number, eq in enumerate(graph.equations) if number in first]
    return ours, [eq for number, eq in enumerate(graph.equations) if number not in first]


def _behind(graph: Graph, values: Iterable[Var]) -> set[int]:
    """The numbers of the equations that values depend on."""
    found: set[int] = set()
    stack = [*values]
    while stack:
        number = graph.index.position.get(stack.pop())
        if number is not None and number not in found:
            found.add(number)
            stack += graph.equations[number].variables()
    return found


def _history(graph: Graph, gradient: Equation) -> set[Var]:
    """What a deferred gradient goes through: all between what it is taken of and what with respect to."""
    asked = {var for var in gradient.group(1) if type(var) is Var}
    behind = set(asked)
    for eq in graph.equations:
        if not behind.isdisjoint(eq.variables()):
            behind.update(eq.outputs)
    seen: set[Var] = set()
    stack = [var for var in gradient.group(0) if type(var) is Var]
    while stack:
        var = stack.pop()
        if var not in seen and var in behind:
            seen.add(var)
            maker = None if var in asked else graph.index.maker(var)
            stack += [] if maker is None else maker.variables()
    return seen


def _half(graph: Graph, name: str, equations: list[Equation], outputs: Any) -> Graph:
    read = {var for eq in equations for var in eq.variables()} | {a for a in outputs if type(a) is Var}
    consts = {var: array for var, array in graph.consts.items() if var in read}
    return graph.replace(name=identifier(name), equations=tuple(equations), outputs=outputs, consts=consts)


def _cells(graph: Graph, half: Graph) -> Any:
    """The cells that a half reads or writes."""
    read = {var for eq in half.equations for var in eq.variables()} | {*half.results(), *[w.cell for w in half.writes]}
    return tuple(decl for decl in graph.cells if decl.var in read and decl.var not in half.inputs)

"""`replace_at`: a function of the user's in the place of a part of a graph, found by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.cells import Cell
from tensorgraph.engine.tree import listed
from tensorgraph.graph.calls import Call
from tensorgraph.graph.graph import Graph, Source, Var
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rewrite import Log
from tensorgraph.passes.rewriting.comparing import Gap, gap
from tensorgraph.passes.rewriting.regions import Region, region
from tensorgraph.passes.rewriting.replacing import Replacing, further
from tensorgraph.passes.rewriting.sides import Pattern
from tensorgraph.passes.rewriting.texts import written
from tensorgraph.text.names import identifier, names
from tensorgraph.text.template import Template

__all__ = ["replace_at"]


def replace_at(graph: Graph, name: Any, function: Callable[..., Any] | str, *, equal: bool = False) -> Graph:
    """The graph with a part of it replaced by a function.

    Parameters
    ----------
    graph : Graph
    name : str, (str, int) or Region
        As in ``graph[name]``: the path of a module, the name of a value.
    function : callable or str
        Of the part's inputs, as `Region.inputs` has them: what a module is called with, what the op reads that makes a
        value. Further arguments are cells by their names: those that the part reads, by their names in it, ``def f(x,
        weight, bias)``, and any other of the graph by the printed one, ``tokens_weight``. It gives what the part gives.
        A Module brings its own parameters, which become cells of the graph below the module's path. In it
        ``part = graph[name]`` is callable. A text is read as a graph, with the types that its
        arguments get where it has none.
    equal : bool
        Refuse a function that gives other numbers, or other gradients, than the part: see `rewrite`.

    Returns
    -------
    Graph
        With the same arguments, results, cells and writes. `Graph.explain` tells the largest difference on drawn
        numbers, cells as they are, and what of the part stays since it is read elsewhere.

    Raises
    ------
    KeyError
        For a name that there is not, or that several parts have.
    TypeError, ValueError
        Where the function takes or gives other things than the part.

    See Also
    --------
    rewrite : wherever something is done

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.parse('''
    ... def f(x: f32[2, 3], w: f32[3, 4]):
    ...     h = relu(x @ w)
    ...     return h.sum()
    ... ''')
    >>> print(g.replace_at("h", tg.tanh))
    def f(x: f32[2, 3], w: f32[3, 4]) -> f32:
        h = tanh(x @ w)
        return sum(h)
    >>> print(g.replace_at("h", tg.tanh).explain())
    f: 1 change
    replace_at: 1 change
      h → tanh (1)
        h = relu(v0)  →  h = tanh(v0)  # ...
          largest difference ...
    """
    called: Callable[..., Any] = written(function) if isinstance(function, str) else function
    part = name if isinstance(name, Region) else region(graph, name)
    if part.whole is not graph:
        part = region(graph, part.name)

    if not part.outputs:
        raise ValueError(f"{part.name} gives nothing that anything else reads: there is nothing to put in its place")
    arguments = _arguments(part, called)
    with modes.use(trace=None, cells=None, quiet=True, debug_nans=False):
        return _placed(graph, part, called, arguments, equal)


def _placed(graph: Graph, part: Region, function: Callable[..., Any], arguments: list[Var], equal: bool) -> Graph:
    view = View(graph)
    numbers = frozenset(part.numbers)
    source = part.equations[-1].source if part.numbers else None
    for n in part.numbers:
        for out in graph.equations[n].outputs:
            if out in view.asked and (out not in part.outputs or any(u in numbers for u in view.users.get(out, ()))):
                raise ValueError(
                    f"a gradient is asked with respect to {names(graph)[out]}, which lies inside {part.name}"
                    f"{_traced_at(graph.equations[n].source)}"
                )
    apart = _gap(part, function, arguments, equal)
    if equal and (apart is None or not apart.is_rounding):
        why = "it could not be run on drawn numbers" if apart is None else apart.said
        raise ValueError(
            f"the function differs from {part.name}: {why}; equal=False replaces it nevertheless{_traced_at(source)}"
        )
    trace = Replacing(graph, view)
    call, behind = (part.call, None) if numbers else _reader(part)
    replacement = trace.put(function, arguments, part.outputs, numbers, _anchor(part), call, behind)
    log = Log(graph, "replace_at")
    before = "; ".join(log.text(eq) for eq in part.equations) or log.text(part.outputs[0])
    after = "; ".join(map(log.text, replacement.equations)) or ", ".join(map(log.text, replacement.by.values()))
    words = []
    if apart is not None:
        words.append(f"largest difference {apart.said}" if apart.amount else "no difference")
        if apart.signs:
            words.append(f"the sign of a zero is another: {apart.signs}")
    stays = [
        out for n in part.numbers for out in graph.equations[n].outputs
        if out not in part.outputs and view.leaves(out, numbers)
    ]  # fmt: skip
    if stays:
        words.append(f"what is read elsewhere stays: {', '.join(map(log.text, stays))}")
    words += further(view, numbers, replacement.assigned, 0, equal)
    own = function.name if isinstance(function, (Graph, Template)) else getattr(function, "__name__", "")
    called = own or type(function).__name__
    log.note(f"{part.name} → {called}", before, after, source, "; ".join(words), [eq.scope for eq in part.equations])
    result = trace.replaced([replacement], log.changes, "replace_at")
    if result is None:
        raise ValueError(
            f"what {part.name} reads depends on what it gives, through values that stay{_traced_at(source)}"
        )
    return result.check()


def _traced_at(source: Source | None) -> str:
    return "" if source is None else f" (traced at {source})"


def _reader(part: Region) -> tuple[Call | None, int]:
    """Where a function of an argument or a cell stands: in the call that first reads it, where none other does."""
    (var,) = part.outputs
    readers = [(n, eq) for n, eq in enumerate(part.whole.equations) if var in eq.variables() and not eq.is_gradient]
    calls = {eq.call for _, eq in readers}
    own = len(calls) == 1 and var not in part.whole.outputs
    return (readers[0][1].call, readers[0][0] - 1) if own else (None, -1)


def _anchor(part: Region) -> Any:
    return part.equations[-1] if part.numbers else None


def _gap(part: Region, function: Callable[..., Any], arguments: list[Var], strict: bool) -> Gap | None:
    """How far the function is from the part, on drawn numbers and cells as they are."""
    own = part.graph
    given = {*own.inputs, *[decl.var for decl in own.cells]}
    others = tuple(dict.fromkeys(a for a in arguments if a not in given))  # cells that the part does not read
    if others:
        inputs = (*own.inputs, *others)
        own = own.replace(inputs=inputs, in_tree=listed(len(inputs)), arguments=())
    trace = Replacing(own, View(own))
    replacement = trace.put(function, arguments, part.outputs, frozenset(range(len(own.equations))), _anchor(part))
    other = trace.replaced([replacement])
    if other is None:
        return None
    before, after = (Pattern(graph, tuple(graph.inputs), _cells(graph)) for graph in (own, other))
    return gap(part.whole, own.inputs, before, after, strict)


def _cells(graph: Graph) -> dict[Var, Cell | str]:
    live = graph.provenance.cells(len(graph.cells))
    return {decl.var: decl.path if cell is None else cell for decl, cell in zip(graph.cells, live, strict=True)}


def _arguments(part: Region, function: Callable[..., Any]) -> list[Var]:
    """The values that a function is called with: the part's inputs, then cells by the names of its parameters."""
    inputs = list(part.inputs)
    try:
        parameters = list(inspect.signature(getattr(function, "forward", function)).parameters.values())
    except (TypeError, ValueError):
        return inputs
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return inputs
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p.name for p in positional if p.default is p.empty]
    if len(required) <= len(inputs) <= len(positional):
        return inputs
    cells: dict[str, Var] = {}
    printed = names(part.whole)
    for decl in part.cells:
        inner = decl.path[len(part.scope) + 1 :] if decl.path.startswith(f"{part.scope}.") else decl.path
        cells |= {printed[decl.var]: decl.var, identifier(inner): decl.var}
    further = required[len(inputs) :]
    every = {printed[decl.var]: decl.var for decl in part.whole.cells} | cells
    if len(required) > len(inputs) and all(name in every for name in further):
        return inputs + [every[name] for name in further]
    named = f"; cells by their names: {', '.join(cells)}" if cells else ""
    raise TypeError(
        f"what stands in the place of {part.name}{_traced_at(part.equations[-1].source if part.numbers else None)} is "
        f"called with ({_names(part.inputs, part.whole)}){named}; the function takes "
        f"({', '.join(p.name for p in positional)})"
    )


def _names(variables: tuple[Var, ...], graph: Graph) -> str:
    printed = names(graph)
    return ", ".join(f"{printed[var]}: {var.aval}" for var in variables)

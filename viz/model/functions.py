"""Functions of the user's beside modules: what a function computes is a box or a frame too; all go by the text's names.

Of two definitions of one class the text calls the second `Linear_2`, and so does the picture.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tensorgraph.graph.calls import Call
from tensorgraph.graph.graph import Graph

__all__ = ["calls_by_path", "with_functions", "with_names"]


def with_functions(graph: Graph, compiled: bool = False) -> Graph:
    """The graph in which calls of functions are scopes: ``loss``, or ``loss.0`` and ``loss.1`` of two in one caller;
    each call has the name of its definition in the graph's text, unless it is that of a `compiled` graph, whose text
    nobody reads.

    Those that call modules or optimisers stay out, since these keep the paths by which they are known; so do functions
    without a name and those that hold most of what there is.
    """
    # The plan:
    # 1. every call, callers first; which of them are to be seen;
    # 2. by the innermost seen caller and the name, how often each is called, so whether it is numbered;
    # 3. a scope for each, below that of its caller; all other calls as they are but for their names.
    order = callers_first(graph)
    inside = Counter(around for eq in graph.equations if eq.call is not None for around in eq.call.callers())
    busy = {around for call in order if call.kind in ("module", "optimizer", "scope") for around in call.callers()}
    updates = sum(eq.call is not None and eq.call.kind == "optimizer" for eq in graph.equations)
    most = (len(graph.equations) - updates) / 2
    seen = {call for call, ops in inside.items()
            if call.kind == "function" and call.name.isidentifier() and call not in busy and ops <= most}  # fmt: skip
    said = {} if compiled else names_of(graph)
    if not seen and all(said.get(call, call.name) == call.name for call in order):
        return graph

    def caller(call: Call) -> Call | None:
        return next((around for around in [*call.callers()][1:] if around in seen or around.kind != "function"), None)

    times = Counter((caller(call), call.name) for call in order if call in seen)
    turns: Counter[tuple[Call | None, str]] = Counter()
    scope_of: dict[Call | None, Call | None] = {None: None}
    for call in order:
        above = scope_of[call.parent]
        name = said.get(call, call.name)
        if call not in seen:
            kept = call if name == call.name and above is call.parent else replace(call, name=name, parent=above)
            scope_of[call] = kept if call in busy or above is None else above
            continue
        key = (caller(call), call.name)
        last = call.name if times[key] == 1 else f"{call.name}.{turns[key]}"
        turns[key] += 1
        around = "" if above is None else above.scope
        scope_of[call] = Call("scope", name, f"{around}.{last}" if around else last, above)
    return replace(graph, equations=tuple(replace(eq, call=scope_of[eq.call]) for eq in graph.equations))


def with_names(graph: Graph) -> Graph:
    """The graph in which each call has the name of its definition in the graph's text."""
    said = names_of(graph)
    order = callers_first(graph)
    if all(said.get(call, call.name) == call.name for call in order):
        return graph
    named: dict[Call | None, Call | None] = {None: None}
    for call in order:
        named[call] = replace(call, name=said.get(call, call.name), parent=named[call.parent])
    return replace(graph, equations=tuple(replace(eq, call=named[eq.call]) for eq in graph.equations))


def callers_first(graph: Graph) -> dict[Call, None]:
    """Every call, after those around it."""
    order: dict[Call, None] = {}
    for eq in graph.equations:
        if eq.call is not None:
            order.update(dict.fromkeys(reversed([*eq.call.callers()])))
    return order


def names_of(graph: Graph) -> dict[Call, str]:
    """What the text of a graph calls the definition of each call that it says as one.

    Optimisers keep their class: those that read alike are one function of the text, whatever their cells.
    """
    found = graph.outline.calls.items()
    return {
        about.node.call: definition.name for definition, calls in found for about in calls
        if about.node.call is not None and not about.node.backward and definition.kind != "optimizer"
    }  # fmt: skip


def calls_by_path(graph: Graph) -> dict[str, Call]:
    """Who opened each scope: a module, an optimiser, or a function of the user's, which is a scope with a name."""
    found: dict[str, Call] = {}
    seen: set[Call] = set()
    for eq in graph.equations:
        for call in () if eq.call is None else eq.call.callers():
            if call in seen:
                break
            seen.add(call)
            if call.path and call.name:
                found.setdefault(call.path, call)
    return found

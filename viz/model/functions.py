"""Functions of the user's beside modules: what a function computes is a box or a frame under its name."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tensorgraph.graph.calls import Call
from tensorgraph.graph.graph import Graph

__all__ = ["with_functions"]


def with_functions(graph: Graph) -> Graph:
    """The graph in which calls of functions are scopes: ``loss``, or ``loss.0`` and ``loss.1`` of two in one caller.

    Those that call modules or optimisers stay out, since these keep the paths by which they are known; so do functions
    without a name and those that hold most of what there is.
    """
    # The plan:
    # 1. every call, callers first; which of them are to be seen;
    # 2. by the innermost seen caller and the name, how often each is called, so whether it is numbered;
    # 3. a scope for each, below that of its caller; all other calls as they are.
    order: dict[Call, None] = {}
    for eq in graph.equations:
        if eq.call is not None:
            order.update(dict.fromkeys(reversed([*eq.call.callers()])))
    inside = Counter(around for eq in graph.equations if eq.call is not None for around in eq.call.callers())
    busy = {around for call in order if call.kind in ("module", "optimizer", "scope") for around in call.callers()}
    updates = sum(eq.call is not None and eq.call.kind == "optimizer" for eq in graph.equations)
    most = (len(graph.equations) - updates) / 2
    seen = {call for call, ops in inside.items()
            if call.kind == "function" and call.name.isidentifier() and call not in busy and ops <= most}  # fmt: skip
    if not seen:
        return graph

    def caller(call: Call) -> Call | None:
        return next((around for around in [*call.callers()][1:] if around in seen or around.kind != "function"), None)

    times = Counter((caller(call), call.name) for call in order if call in seen)
    turns: Counter[tuple[Call | None, str]] = Counter()
    scope_of: dict[Call | None, Call | None] = {None: None}
    for call in order:
        above = scope_of[call.parent]
        if call not in seen:
            scope_of[call] = call if call in busy or above is None else above
            continue
        key = (caller(call), call.name)
        last = call.name if times[key] == 1 else f"{call.name}.{turns[key]}"
        turns[key] += 1
        around = "" if above is None else above.scope
        scope_of[call] = Call("scope", "", f"{around}.{last}" if around else last, above)
    return replace(graph, equations=tuple(replace(eq, call=scope_of[eq.call]) for eq in graph.equations))

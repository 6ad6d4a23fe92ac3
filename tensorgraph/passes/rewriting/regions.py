"""`Region`: a part of a graph under the name that a person has for it, as a value.

``g["blocks.3.attention"]`` is what a module did, ``g["h"]`` what made a value. The same name means the same part in the
text, in pictures, in reports, and in what a pass makes of the graph.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.engine.tree import flatten, listed
from tensorgraph.graph.calls import Call, Copies
from tensorgraph.graph.drawable import Drawable
from tensorgraph.graph.evaluate import match_arguments
from tensorgraph.graph.graph import CellDecl, Change, Equation, Graph, Var, Write
from tensorgraph.graph.inline import inline
from tensorgraph.passes.pipeline import Explanation
from tensorgraph.passes.rewrite import UNCHANGED
from tensorgraph.text.names import identifier, names

__all__ = ["Region", "region", "region_of"]

MOST_LISTED = 8


@dataclass(frozen=True, eq=False)
class Region(Drawable):
    """A part of a graph: ``graph["blocks.3.attention"]``, ``graph["h"]``.

    Attributes
    ----------
    whole : Graph
        The graph that it is a part of.
    name : str
    numbers : tuple of int
        The positions of its equations in ``whole.equations``.
    call : Call or None
        The call that it is, of a module, a function or a scope; of a value the one that made it.
    inputs : tuple of Var
        What it reads of the graph besides cells and captured arrays: a module's arguments in their order, then others.
    outputs : tuple of Var
        What it gives: what a module returned, in that order; else what is read outside of it.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> graph = tg.parse('''
    ... def f(x: f32[3]):
    ...     h = exp(x)
    ...     return h + 1.0
    ... ''')
    >>> part = graph["h"]
    >>> print(part)
    def h(x: f32[3]) -> f32[3]:
        h_ = exp(x)
        return h_
    >>> part(tg.zeros(3)).tolist(), part.cost().flops
    ([1.0, 1.0, 1.0], 3)
    """

    whole: Graph
    name: str
    numbers: tuple[int, ...]
    call: Call | None
    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]

    @property
    def scope(self) -> str:
        """The module path in which it stands."""
        return "" if self.call is None else self.call.scope

    @property
    def equations(self) -> tuple[Equation, ...]:
        return tuple(self.whole.equations[n] for n in self.numbers)

    @property
    def cells(self) -> tuple[CellDecl, ...]:
        """The cells that it reads."""
        read = {var for eq in self.equations for var in eq.variables()} | set(self.outputs)
        return tuple(decl for decl in self.whole.cells if decl.var in read and decl.var not in self.inputs)

    @property
    def writes(self) -> tuple[Write, ...]:
        """What the graph writes to cells of what is made here."""
        made = {out for eq in self.equations for out in eq.outputs}
        return tuple(write for write in self.whole.writes if write.value in made)

    @property
    def graph(self) -> Graph:
        """The part as a graph of its own: of its inputs, with the cells that it reads and without writes."""
        whole = self.whole
        known = whole._cache.setdefault("regions", {})
        key = self.numbers, self.outputs, self.inputs
        if key not in known:
            decls = self.cells
            read = {var for eq in self.equations for var in eq.variables()} | set(self.outputs)
            consts = {v: a for v, a in whole.consts.items() if v in read and v not in self.inputs}
            count = len(self.outputs)
            known[key] = whole.replace(
                inputs=self.inputs, cells=decls, consts=consts,
                equations=self.equations, writes=(), outputs=self.outputs, in_tree=listed(len(self.inputs)),
                out_tree=flatten(0)[1] if count == 1 else flatten((0,) * count)[1], statics=(),
                name=identifier(self.name), arguments=tuple(identifier(names(whole)[v]) for v in self.inputs),
                changes=self.changes(),
            ).check()  # fmt: skip
        result: Graph = known[key]
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Region) and self.graph == other.graph

    def __hash__(self) -> int:
        return hash(self.graph)

    def __str__(self) -> str:
        return str(self.graph)

    def __repr__(self) -> str:
        count = len(self.numbers)
        return f"<Region {self.name} of {self.whole.name}: {count} equation{'' if count == 1 else 's'}>"

    def __call__(self, /, *args: Any, state: Mapping[str, Any] | None = None) -> Any:
        """Compute it for these inputs: with the cells that the graph was traced from, or those of `state`.

        In a function that is put into the graph, as by `Graph.replace_at`, it becomes part of that.
        """
        graph = self.graph
        trace = modes.current().trace
        if trace is not None and all(decl.var in trace.known for decl in graph.cells):
            cells = [trace.tensor(decl.var) for decl in graph.cells]
            here = trace.here()
            inside = here is not None and self.call is not None and self.call in here.callers()
            calls = Copies(root=self.call) if inside else Copies(here)
            start = len(trace.equations)
            outputs, _ = inline(graph, match_arguments(graph, args), cells, calls)
            for eq in trace.equations[start:]:  # the names are those of what stood there
                for out in eq.outputs:
                    out.name = None
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        if state is not None:
            return graph(*args, state={decl.path: state[decl.path] for decl in graph.cells})[0]
        return graph.bind()(*args) if graph.cells else graph(*args)

    def cost(self) -> Any:
        """FLOPs, bytes and peak memory: see `tensorgraph.analysis.cost`."""
        return self.graph.cost()

    def changes(self) -> tuple[Change, ...]:
        """What passes did to this part of the graph."""
        own = {names(self.whole)[out] for eq in self.equations for out in eq.outputs}
        inside = self.call is not None and self.call.kind != "function" and self.name == self.call.path
        return tuple(
            change for change in self.whole.changes
            if not own.isdisjoint((*_assigned(change.before), *_assigned(change.after)))
            or (inside and any(_is_within(scope, self.name) for scope in change.scopes))
        )  # fmt: skip

    def explain(self) -> Explanation:
        """What passes changed in this part of the graph: see `tensorgraph.passes.pipeline`."""
        return Explanation(self.name, self.changes())


class PartError(KeyError):
    """A name that no part of a graph has, or that several have."""

    __str__ = Exception.__str__  # in words: a KeyError shows what it was given in quotes


def region(graph: Graph, key: Any) -> Region:
    """The part of a graph that has a name.

    Parameters
    ----------
    graph : Graph
    key : str, or (str, int)
        The path of a module or a named scope, the name of a function that was called, or a value's: the user's, or the
        printed one, whose number (``v4``, ``x_2``) is that of this graph's text and another after a pass; else a class
        of modules. With a number, which one of several of that name, in the graph's order.

    Raises
    ------
    PartError
        A KeyError: for a name that there is not, with the pass that removed what had it, or those that are near; and
        for one that several have, which are listed.
    """
    name, which = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
    if not isinstance(name, str) or not (which is None or (isinstance(which, int) and not isinstance(which, bool))):
        raise TypeError(
            f'graph[...] takes the name of a part, such as "blocks.3.attention" or "h", or ("h", 1) for the second of '
            f"that name, got {key!r}"
        )
    calls = [*_calls(graph, name)]
    given = {out for part in calls for out in part.outputs}  # a result that is called as its module is no other part
    values = [part for part in _values(graph, name) if given.isdisjoint(part.outputs)]
    found = [*calls, *values] or [*_calls(graph, name, of_class=True)]
    joined = _joined(graph, name) if found else ""
    if joined:
        raise PartError(f"{name!r} is no part of {graph.name} by itself any more: {joined}")
    if not found:
        raise PartError(_missing(graph, name))
    if which is None and len(found) > 1:
        listed_ = [f"{number}: {_described(graph, one)}" for number, one in enumerate(found[:MOST_LISTED])]
        more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
        raise PartError(
            f"{len(found)} parts of {graph.name} are called {name!r}: {'; '.join(listed_)}{more}. Say which by its "
            f"number, {(name, 0)!r}"
        )
    if which is not None and not -len(found) <= which < len(found):
        raise PartError(
            f"there {'is 1 part' if len(found) == 1 else f'are {len(found)} parts'} called {name!r}, no number {which}"
        )
    lost = None if which is None else _rewritten(graph, name)
    if lost:
        raise PartError(f"numbers of parts called {name!r} are not what they were: {lost}")
    return found[which or 0]


class _Called:
    """What the parts of a graph are called, by name; made once a graph.

    Attributes
    ----------
    calls : dict of str to dict of Call to list of int
        The numbers of the equations of modules and scopes by their paths, and of functions by their names; of calls of
        one name that lie in each other the outermost.
    classes : dict of str to dict of Call to list of int
        Likewise all of them, by the names of classes and functions.
    scopes : dict of str to list of int
        The numbers of the equations that stand in a scope itself.
    values : dict of str to dict of Var to None
        What users call values, in the functions around them too.
    """

    def __init__(self, graph: Graph) -> None:
        self.calls: dict[str, dict[Call | None, list[int]]] = {}
        self.classes: dict[str, dict[Call | None, list[int]]] = {}
        self.scopes: dict[str, list[int]] = {}
        self.values: dict[str, dict[Var, None]] = {}
        for var in graph.variables():
            if var.name:
                self.values.setdefault(var.name, {})[var] = None
        around: dict[Call | None, list[Call]] = {None: []}
        for number, eq in enumerate(graph.equations):
            if eq.call is not None and eq.call not in around:
                around[eq.call] = [*eq.call.callers()]
            for call in around[eq.call]:
                for out in eq.outputs:
                    if out in call.names:
                        self.values.setdefault(call.names[out], {})[out] = None
            if eq.origin is not None or eq.is_gradient:  # a gradient's equation stands in the call, and is no part
                continue
            self.scopes.setdefault(eq.scope, []).append(number)
            calls = [call for call in around[eq.call] if call.parent is not None]
            for table, named in (
                (self.calls, {call.name if call.kind == "function" else call.path: call for call in calls}),
                (self.classes, {call.name: call for call in calls}),
            ):
                for name, call in named.items():
                    table.setdefault(name, {}).setdefault(call, []).append(number)

    def below(self, path: str) -> list[int]:
        """The equations of the scopes within a path."""
        return sorted(n for scope, numbers in self.scopes.items() if _is_within(scope, path) for n in numbers)


def _called(graph: Graph) -> _Called:
    known = graph._cache.get("called")
    if known is None:
        known = graph._cache["called"] = _Called(graph)
    result: _Called = known
    return result


def _calls(graph: Graph, name: str, of_class: bool = False) -> Iterator[Region]:
    """The calls of a module, a function or a scope of this name: the outermost of those that lie in each other.

    `of_class`: of the modules of this class.
    """
    if not name:
        return
    called = _called(graph)
    members = (called.classes if of_class else called.calls).get(name, {})
    if not members and not of_class and (below := called.below(name)):
        members = {None: below}
    for call, numbers in members.items():
        yield _part(graph, name, tuple(numbers), call)


def _values(graph: Graph, name: str) -> Iterator[Region]:
    """The values of this name: what their users call them, else what they are printed as."""
    called = {**_called(graph).values.get(name, {})}
    for var in [*called]:  # one that is only another name of a value is that value
        maker = graph.index.maker(var)
        while maker is not None and "identity" in maker.op.traits:
            if maker.inputs[0] in called:
                del called[var]
                break
            maker = graph.index.maker(maker.inputs[0]) if type(maker.inputs[0]) is Var else None
    called.update((decl.var, None) for decl in graph.cells if decl.path == name)
    for var in called or [var for var, own in names(graph).items() if own == name]:
        number = graph.index.position.get(var)
        if number is None:
            yield Region(graph, name, (), None, (var,), (var,))
        else:
            yield _part(graph, name, _standing(graph, name, number), graph.equations[number].call, (var,))


def region_of(graph: Graph, number: int) -> Region:
    """One equation as a part of a graph."""
    eq = graph.equations[number]
    return _part(graph, eq.op.name, (number,), eq.call)


def _standing(graph: Graph, name: str, number: int) -> tuple[int, ...]:
    """The equations that stand for the value of this name, of which this one gives it: several where a pass put them
    in the place of one."""
    eq = graph.equations[number]
    parts = [] if eq.part is None else [part for part in eq.part.chain() if name in part.names]
    if not parts:
        return (number,)
    found, needed = [], {*eq.outputs}
    for n in range(number, -1, -1):
        eq = graph.equations[n]
        inside = eq.part is not None and parts[-1] in eq.part.chain()
        if inside and (n == number or eq.origin is None) and not needed.isdisjoint(eq.outputs):
            found.append(n)
            needed.update(eq.variables())
    return tuple(reversed(found))


def _part(
    graph: Graph, name: str, numbers: tuple[int, ...], call: Call | None, outputs: tuple[Var, ...] | None = None
) -> Region:
    """The region of some equations."""
    inside = set(numbers)
    made = {out for n in numbers for out in graph.equations[n].outputs}
    cells = {decl.var for decl in graph.cells}
    read: dict[Var, None] = {}
    if outputs is None and call is not None:
        read.update((v, None) for v in flatten(list(call.arguments.values()))[0] if type(v) is Var)
    known = graph.index.position
    given = {var for var in read if (var in known or var in graph.inputs) and var not in made}
    read = {var: None for var in read if var in given}
    for n in numbers:
        for var in graph.equations[n].variables():
            if var not in made and var not in cells and var not in graph.consts:
                read[var] = None
    if outputs is None:
        outputs = _given(graph, inside, call, made)
    return Region(graph, name, numbers, call, tuple(read), outputs)


def _given(graph: Graph, inside: set[int], call: Call | None, made: set[Var]) -> tuple[Var, ...]:
    """What a region gives to the rest of the graph."""
    results = {out for out in graph.outputs if type(out) is Var}
    exposed = []
    for n in sorted(inside):
        for out in graph.equations[n].outputs:
            readers = [graph.equations[u] for u in graph.index.users.get(out, ()) if u not in inside]
            if out in results or any(
                eq.origin is None and (not eq.is_gradient or out in (*eq.group(0), *eq.group(2))) for eq in readers
            ):
                exposed.append(out)
    returned = [] if call is None else [v for v in flatten(call.result)[0] if type(v) is Var and v in made]
    ordered = [out for out in dict.fromkeys(returned) if out in exposed]
    return (*ordered, *[out for out in exposed if out not in ordered])


def _is_within(scope: str, path: str) -> bool:
    return scope == path or scope.startswith(f"{path}.")


def _assigned(text: str) -> list[str]:
    """The names that equations, as a report has them, are assigned to."""
    sides = [part.partition(" = ")[0] for part in text.split("; ") if " = " in part]
    return [name.strip() for side in sides for name in side.split(",")]


def _described(graph: Graph, part: Region) -> str:
    """One of several parts in a few words."""
    last = part.equations[-1] if part.numbers else None
    source = "" if last is None or last.source is None else f" at {last.source}"
    if last is None or not part.outputs or (part.call is not None and len(part.numbers) != 1):
        count = len(part.numbers)
        if part.call is None and not part.numbers and part.outputs:
            (var,) = part.outputs
            kind = "argument" if var in graph.inputs else "cell"
            return f"the {kind} {names(graph)[var]}: {var.aval}"
        kind = f"{part.call.kind} {part.call.name}" if part.call is not None else "a value"
        if part.call is not None and part.call.path not in ("", part.name):
            kind += f" {part.call.path}"
        return f"{kind}, {count} equation{'' if count == 1 else 's'}{source}"
    scope = f" in {part.scope}" if part.scope else ""
    return f"{names(graph)[part.outputs[0]]} = {last.op.name}(...){scope}{source}"


def _missing(graph: Graph, name: str) -> str:
    """Why there is no part of this name."""
    lost = _rewritten(graph, name)
    if lost:
        return f"{name!r} is no part of {graph.name} any more: {lost}"
    for eq in graph.equations:
        for which, body in eq.bodies().items():
            if [*_calls(body, name), *_values(body, name)]:
                return (
                    f"{name!r} is no part of {graph.name} itself: it stands in the {which} of {eq.op.name}, which "
                    f"gives {names(graph)[eq.outputs[0]]}; rewrite(before, after) looks into it"
                )
    scopes = {call.path for eq in graph.equations if eq.call is not None for call in eq.call.callers() if call.path}
    known = [*sorted(scopes), *[decl.path for decl in graph.cells], *names(graph).values()]
    near = difflib.get_close_matches(name, known, 3, 0.5) or known[:MOST_LISTED]
    numbered = graph.changes and name.rpartition("v")[0] == "" and name[1:].isdigit()
    told = ", whose numbers a pass gives anew" if numbered else ""
    has = f"there are {', '.join(near)}" if near else "it has none"
    return f"no part of {graph.name} is called {name!r}{told}; {has}"


def _rewritten(graph: Graph, name: str) -> str:
    """The last change that took away what had this name, in words."""
    for change in reversed(graph.changes):
        if change.after == UNCHANGED:
            continue
        if name in _assigned(change.before) or any(scope and _is_within(scope, name) for scope in change.scopes):
            return _told(change)
    return ""


def _joined(graph: Graph, name: str) -> str:
    """The last change that made one of equations inside a module and outside of it, in words."""
    for change in reversed(graph.changes):
        inside = [_is_within(scope, name) for scope in change.scopes]
        if any(inside) and not all(inside):
            return _told(change)
    return ""


def _told(change: Change) -> str:
    where = "" if change.source is None else f", at {change.source}"
    return f"{change.step} ({change.rule}) rewrote it{where}: {change.before} → {change.after}"

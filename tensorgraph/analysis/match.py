"""Which equation of one graph is which of another: by structure first, then by neighbours, then by scope and op.

A *down* key says how a value is made, from the inputs on; an *up* key what becomes of it, to the outputs. Both are
numbers given to structures as they are first met, so equal structures have equal numbers, without chance. Whatever
stands between two edits is found by one of them; what is left is found from its matched neighbours. Every step is a
pass over the equations.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tensorgraph.engine.tree import Treedef, leaf_paths
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Var, digest
from tensorgraph.graph.graph import typed_key as typed

__all__ = ["Match", "match", "output_paths", "typed"]

T = TypeVar("T")


@dataclass(slots=True)
class Match:
    """Pairs of positions in the two graphs, and which value of the first a value of the second is."""

    inputs: dict[int, int] = field(default_factory=dict)  # first to second, as all of these
    cells: dict[int, int] = field(default_factory=dict)
    consts: dict[int, int] = field(default_factory=dict)
    equations: dict[int, int] = field(default_factory=dict)
    counterpart: dict[Var, Var] = field(default_factory=dict)  # of the second graph to the first


class _Side:
    """One graph, indexed."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.equations = graph.equations
        self.producer = graph.index.position
        self.users: dict[Var, list[tuple[int, Hashable]]] = defaultdict(list)
        for i, eq in enumerate(graph.equations):
            for place, atom in places(eq):
                if type(atom) is Var:
                    self.users[atom].append((i, place))
        self.seed: dict[Var, int] = {}
        self.free = set(range(len(graph.equations)))


def places(eq: Equation) -> Iterable[tuple[Hashable, Var | Literal]]:
    """Operands with their place; within a list input every place is the same, for lists grow and shrink."""
    for position, atom in enumerate(eq.inputs):
        if isinstance(atom, tuple):
            for item in atom:
                yield position, item
        else:
            yield position, atom


def output_paths(tree: Treedef, number: int) -> list[str]:
    """A name a result: its path in the structure, else its position."""
    if tree.size == number and tree.kind is not None:
        paths = leaf_paths(tree)
        if len(set(paths)) == number:
            return paths
    return [str(i) for i in range(number)]


def match(a: Graph, b: Graph) -> Match:
    """Pair what is the same in both graphs; time grows with their sizes."""
    # The plan:
    # 1. inputs, cells and constants are paired, and seed the numbers of all that is made of them;
    # 2. an equation's number downwards is that of its op and its inputs' numbers, upwards of who reads it: equal in
    #    both, then in one of the two, they are paired, first with types and then without;
    # 3. pairs spread to neighbours that fit;
    # 4. what is left is paired by scope and op, then by scope alone, spreading each time;
    # 5. values follow their equations.
    found = Match()
    one, two = _Side(a), _Side(b)
    _match_roots(one, two, found)
    numbers: dict[Any, int] = {}

    def number(key: Hashable) -> int:
        return numbers.setdefault(key, len(numbers))

    seeds: dict[Any, int] = {}
    for side, graph, name in ((one, a, "a"), (two, b, "b")):
        roots = (
            ("input", graph.inputs, found.inputs),
            ("cell", tuple(c.var for c in graph.cells), found.cells),
            ("const", tuple(graph.consts), found.consts),
        )
        for kind, variables, pairs in roots:
            back = {j: i for i, j in pairs.items()}
            for position, var in enumerate(variables):
                partner = position if name == "a" and position in pairs else back.get(position) if name == "b" else None
                key = (kind, partner) if partner is not None else (kind, name, position)
                side.seed[var] = seeds.setdefault(key, number(("root", key)))

    def pair(i: int, j: int) -> None:
        found.equations[i] = j
        one.free.discard(i)
        two.free.discard(j)

    def by(key_a: Callable[[int], Hashable], key_b: Callable[[int], Hashable]) -> None:
        """Pair what is left where keys are equal, in order; same scope first."""
        if not one.free or not two.free:
            return
        for near in (True, False):
            buckets: dict[Any, deque[int]] = defaultdict(deque)
            for j in sorted(two.free):
                buckets[(key_b(j), two.equations[j].scope) if near else key_b(j)].append(j)
            for i in sorted(one.free):
                waiting = buckets.get((key_a(i), one.equations[i].scope) if near else key_a(i))
                if waiting:
                    pair(i, waiting.popleft())

    for types in (True, False):
        down = [_down(side, number, types) for side in (one, two)]
        up = [_up(side, number, types) for side in (one, two)]
        by(lambda i: (down[0][i], up[0][i]), lambda j: (down[1][j], up[1][j]))  # noqa: B023
        by(down[0].__getitem__, down[1].__getitem__)
        by(up[0].__getitem__, up[1].__getitem__)
    _propagate(one, two, found, pair, deque(found.equations.items()))
    before = set(found.equations)  # by what becomes of them, whatever they read: something before them is another one
    up = [_up(side, number, True, rooted=False) for side in (one, two)]
    by(up[0].__getitem__, up[1].__getitem__)
    _propagate(one, two, found, pair, deque((i, j) for i, j in found.equations.items() if i not in before))
    for place in (_place_and_label, _place_of):
        before = set(found.equations)
        by(lambda i: place(one, i), lambda j: place(two, j))  # noqa: B023
        _propagate(one, two, found, pair, deque((i, j) for i, j in found.equations.items() if i not in before))
    _pair_values(one, two, found)
    return found


def _place_and_label(side: _Side, i: int) -> Hashable:
    eq = side.equations[i]
    return eq.scope, _label(eq, True)


def _place_of(side: _Side, i: int) -> Hashable:
    """Module and op; an op outside of modules, and without parameters, has no place to be known by."""
    eq = side.equations[i]
    roots = tuple(side.seed[a] for a in eq.atoms() if type(a) is Var and a in side.seed)
    if not eq.scope and not roots:
        return id(side), i
    return eq.scope, eq.op.name, roots if not eq.scope else None


# roots ----------------------------------------------------------------------------------------------------------


def _match_roots(one: _Side, two: _Side, found: Match) -> None:
    a, b = one.graph, two.graph
    if len(a.inputs) == len(b.inputs):
        found.inputs = {i: i for i in range(len(a.inputs))}
    else:
        found.inputs = _paired(
            a.inputs, b.inputs, lambda v: v.name and (v.name, v.aval), lambda v: v.name, lambda v: ("", v.aval)
        )
    content, moved = _contents(a, b)
    found.cells = _paired(
        a.cells, b.cells, content, moved, lambda c: (c.path, c.aval, c.kind), _in_its_list, lambda c: c.path,
        lambda c: (c.path.rpartition(".")[2], c.aval, c.kind),
        lambda c: (c.path.rpartition(".")[0], c.aval, c.kind),
    )  # fmt: skip
    digests = {var: digest(array) for graph in (a, b) for var, array in graph.consts.items()}
    found.consts = _paired(list(a.consts), list(b.consts), lambda v: digests[v], lambda v: v.aval)
    for i, j in found.inputs.items():
        found.counterpart[b.inputs[j]] = a.inputs[i]
    for i, j in found.cells.items():
        found.counterpart[b.cells[j].var] = a.cells[i].var
    own, other = list(a.consts), list(b.consts)
    for i, j in found.consts.items():
        found.counterpart[other[j]] = own[i]


def _in_its_list(decl: CellDecl) -> Any:
    """A cell of one of a list of modules, whose number is another one where one before it is gone."""
    parts = decl.path.split(".")
    places = [None if part.isdecimal() else part for part in parts]
    return (tuple(places), decl.aval, decl.kind) if None in places else None


def _contents(a: Graph, b: Graph) -> tuple[Callable[[CellDecl], Any], Callable[[CellDecl], Any]]:
    """Keys of cells by what is in them, where the graphs' paths differ: first of each, then of others in its module.

    An array of one number, as every bias begins, says nothing, nor does one that several cells have.
    """
    if [c.path for c in a.cells] == [c.path for c in b.cells]:
        return (lambda c: None), (lambda c: None)
    digests: dict[CellDecl, Any] = {}
    for graph in (a, b):
        for decl, cell in zip(graph.cells, graph.provenance.cells(len(graph.cells)), strict=True):
            array = None if cell is None else cell._value
            if array is not None and array.size > 1 and (array != array.flat[0]).any():
                digests[decl] = digest(array), decl.path.rpartition(".")[2], decl.kind
    for graph in (a, b):
        several = Counter(digests[c] for c in graph.cells if c in digests)
        for decl in graph.cells:
            if several[digests.get(decl)] > 1:
                digests[decl] = None
    there = {digests[c]: c for c in b.cells if digests.get(c)}
    homes: dict[str, set[str]] = defaultdict(set)
    for decl in a.cells:
        if digests.get(decl) in there:
            homes[decl.path.rpartition(".")[0]].add(there[digests[decl]].path.rpartition(".")[0])
    home = {old: next(iter(new)) for old, new in homes.items() if len(new) == 1}
    # where each cell of such a module is now, and each that is called after it, as an optimiser's are
    places: dict[str, str] = {}
    for decl in a.cells:
        module, _, leaf = decl.path.rpartition(".")
        if module in home:
            places[decl.path] = f"{home[module]}.{leaf}" if home[module] else leaf
    targets: dict[CellDecl, str] = {}
    for decl in a.cells:
        parts = decl.path.split(".")
        for k in range(len(parts)):
            place = places.get(".".join(parts[k:]))
            if place is not None:
                targets[decl] = ".".join([*parts[:k], place])
                break
    wanted = set(targets.values())
    own = set(a.cells)

    def moved(decl: CellDecl) -> Any:
        path = targets.get(decl) if decl in own else decl.path if decl.path in wanted else None
        return path and (path, decl.aval, decl.kind)

    return digests.get, moved


def _paired(a: Sequence[T], b: Sequence[T], *keys: Callable[[T], Any]) -> dict[int, int]:
    """Positions of equal keys, in order, by the first key and what that leaves by the next; no key is None."""
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for key in keys:
        waiting: dict[Any, deque[int]] = defaultdict(deque)
        for j, item in enumerate(b):
            if j not in taken and key(item) is not None:
                waiting[key(item)].append(j)
        for i, item in enumerate(a):
            if i not in pairs and key(item) is not None and waiting.get(key(item)):
                pairs[i] = waiting[key(item)].popleft()
                taken.add(pairs[i])
    return pairs


# keys -----------------------------------------------------------------------------------------------------------


def _label(eq: Equation, types: bool) -> Hashable:
    if not types:
        return eq.op.name
    attrs = tuple((k, typed(v)) for k, v in sorted(eq.attrs.items()))
    return eq.op.name, attrs, tuple(v.aval for v in eq.outputs)


def _down(side: _Side, number: Callable[[Hashable], int], types: bool) -> list[int]:
    """How each equation's values are made."""
    of = dict(side.seed)
    keys = []

    def use(atom: Any) -> Hashable:
        if isinstance(atom, tuple):
            return tuple(use(item) for item in atom)
        if type(atom) is Var:
            return of[atom]
        return ("literal", typed(atom.value)) if types else "literal"

    for eq in side.equations:
        key = number(("down", _label(eq, types), tuple(use(a) for a in eq.inputs)))
        keys.append(key)
        known_by: Iterable[Any] = eq.group(1) if eq.is_gradient else range(len(eq.outputs))
        for var, name in zip(eq.outputs, known_by, strict=False):
            of[var] = number(("value", key, use(name) if type(name) is Var else name))
    return keys


def _up(side: _Side, number: Callable[[Hashable], int], types: bool, rooted: bool = True) -> list[int]:
    """What becomes of each equation's values; `rooted`: and which inputs, cells and constants it reads."""
    graph = side.graph
    uses: dict[Var, list[Any]] = defaultdict(list)
    for path, out in zip(output_paths(graph.out_tree, len(graph.outputs)), graph.outputs, strict=True):
        if type(out) is Var:
            uses[out].append(("out", path))
    for write in graph.writes:
        if type(write.value) is Var:
            uses[write.value].append(("write", side.seed[write.cell]))
    keys = [0] * len(side.equations)
    gradients = 0
    for i in range(len(side.equations) - 1, -1, -1):
        eq = side.equations[i]
        if eq.is_gradient:  # one more parameter must not hide that all before it is the same
            keys[i] = number(("up", eq.op.name, gradients))
            gradients += 1
        else:
            ends = tuple(tuple(sorted(number(use) for use in uses.pop(v, ()))) for v in eq.outputs)
            roots = tuple(side.seed[a] for a in eq.atoms() if rooted and type(a) is Var and a in side.seed)
            keys[i] = number(("up", _label(eq, types), roots, ends))
        for place, atom in places(eq):
            if type(atom) is Var:
                uses[atom].append((keys[i], place))
    return keys


# neighbours -----------------------------------------------------------------------------------------------------


def _propagate(
    one: _Side, two: _Side, found: Match, pair: Callable[[int, int], None], queue: deque[tuple[int, int]]
) -> None:
    """From each pair to the unmatched producers and users at the same places, where the op is the same."""
    while queue and one.free and two.free:
        i, j = queue.popleft()
        eq_a, eq_b = one.equations[i], two.equations[j]
        for p, q in zip(eq_a.inputs, eq_b.inputs, strict=False):
            if type(p) is Var and type(q) is Var:
                m, n = one.producer.get(p), two.producer.get(q)
                if m in one.free and n in two.free and _alike(one.equations[m], two.equations[n]):
                    pair(m, n)
                    queue.append((m, n))
        for p, q in zip(eq_a.outputs, eq_b.outputs, strict=False):
            waiting: dict[Any, deque[int]] = defaultdict(deque)
            for n, place in two.users.get(q, ()):
                if n in two.free:
                    waiting[two.equations[n].op.name, place].append(n)
            for m, place in one.users.get(p, ()):
                there = waiting.get((one.equations[m].op.name, place))
                while there and there[0] not in two.free:
                    there.popleft()
                if m in one.free and there:
                    n = there.popleft()
                    pair(m, n)
                    queue.append((m, n))


def _alike(a: Equation, b: Equation) -> bool:
    return a.op.name == b.op.name


def _pair_values(one: _Side, two: _Side, found: Match) -> None:
    """Counterparts of the matched equations' results; a gradient's are known by what they are the gradient of."""
    for i, j in sorted(found.equations.items(), key=lambda item: item[1]):
        a, b = one.equations[i], two.equations[j]
        if a.is_gradient:
            own: dict[Any, deque[Var]] = defaultdict(deque)
            for x, var in zip(a.group(1), a.outputs, strict=True):
                own[x].append(var)
            for x, var in zip(b.group(1), b.outputs, strict=True):
                partner = own.get(found.counterpart.get(x)) if type(x) is Var else None
                if partner:
                    found.counterpart[var] = partner.popleft()
            continue
        for mine, theirs in zip(a.outputs, b.outputs, strict=False):
            found.counterpart[theirs] = mine
    known = set(found.counterpart.values())
    for var in two.producer:  # a pass that computes a value in another way keeps its variable
        if var in one.producer and var not in known:
            found.counterpart.setdefault(var, var)

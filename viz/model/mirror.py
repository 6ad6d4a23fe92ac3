"""Where gradients go: which equations have one, what each keeps for it, where it stops.

A trace holds its gradient as one deferred equation. What the backward pass will do is decided by the forward and the
derivative rules alone, so it can be drawn without being written out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tensorgraph.engine.op import saved_names
from tensorgraph.graph.graph import Atom, Equation, Graph, Var

__all__ = ["Pass", "Saved", "passes", "pretended", "seeds_of"]


@dataclass(frozen=True, slots=True)
class Saved:
    """A value that an op keeps for its gradient: an input, an output, or a residual, which is no value of the graph.

    `name` is what the op calls it; `kept` is whether the forward keeps it only for this: parameters and captured arrays
    are there anyway.
    """

    name: str
    var: Var | None
    kept: bool


@dataclass(frozen=True, slots=True)
class Pass:
    """One backward pass.

    Attributes
    ----------
    at : int or None
        The position of the deferred equation; None where the gradient is only imagined.
    ys, xs : tuple of Var
        Of what, with respect to what.
    gives : mapping of int to tuple of Var
        For each equation with a gradient, by position and in order, the inputs that it gives a gradient to.
    saves : mapping of int to tuple of Saved
    stops : mapping of int to str
        Equations at which a gradient that would flow on ends, and why.
    unasked : frozenset of Var
        Inputs of the graph that a gradient would reach if it were wanted.
    integers : frozenset of Var
        Inputs of the graph that differentiated equations read and that have no gradient by their dtype.
    written : mapping of int to tuple of int
        Of a gradient that is written out, its equations by the forward equation that they belong to.
    """

    at: int | None
    ys: tuple[Var, ...]
    xs: tuple[Var, ...]
    gives: Mapping[int, tuple[Var, ...]]
    saves: Mapping[int, tuple[Saved, ...]]
    stops: Mapping[int, str]
    unasked: frozenset[Var]
    integers: frozenset[Var]
    written: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def own(self) -> frozenset[int]:
        """The positions of the equations that are the gradient itself."""
        found = {i for part in self.written.values() for i in part}
        return frozenset(found if self.at is None else {self.at, *found})


def group(atom: Atom) -> tuple[Var, ...]:
    return tuple(a for a in (atom if isinstance(atom, tuple) else (atom,)) if isinstance(a, Var))


def differentiable(eq: Equation) -> list[tuple[str, tuple[Var, ...]]]:
    """The inputs of an equation that have a derivative rule: name and float variables."""
    op = eq.op
    if eq.is_gradient:
        names = zip(("ys", "xs", "grad_outputs"), eq.inputs) if eq.attrs.get("create_graph") else ()
        return [(name, group(atom)) for name, atom in names]
    return [
        (name, tuple(v for v in group(atom) if v.aval.dtype.kind == "f"))
        for name, atom in zip(op.inputs, eq.inputs, strict=False)
        if op.joint is not None or op.rules.get(name) is not None
    ]


def follow(
    graph: Graph, at: int | None, ys: Iterable[Var], xs: Iterable[Var], own: frozenset[int] = frozenset()
) -> Pass:
    """The backward pass from `ys` to `xs` over the equations before position `at` but for its `own`."""
    # The plan:
    # 1. forwards, what depends on an x so that a gradient could pass (`needed`), in any way (`touched`), or on anything
    #    that is learned (`learned`);
    # 2. backwards from the ys, which equations pass a gradient on, and to what, and the values where the way ends
    #    although it came from somewhere;
    # 3. backwards from these ends, the equation that stopped it;
    # 4. what each that passes keeps for its rules.
    ys, xs = tuple(ys), tuple(xs)
    before = graph.equations[:at]
    needed, touched = set(xs), set(xs)  # touched: depends on an x in any way, through what has no rule too
    learned = {cell.var for cell in graph.cells if cell.requires_grad}.union(xs)  # and all that depends on them
    passing: list[tuple[Var, ...]] = []
    for i, eq in enumerate(before):
        if i in own:
            passing.append(())
            continue
        into = tuple(dict.fromkeys(v for _, found in differentiable(eq) for v in found if v in needed))
        passing.append(into)
        if into:
            needed.update(out for out in eq.outputs if out.aval.dtype.kind == "f")
        if any(a in touched for a in eq.atoms() if isinstance(a, Var)):
            touched.update(eq.outputs)
        if any(a in learned for a in eq.atoms() if isinstance(a, Var)):
            learned.update(eq.outputs)
    reached, targets = set(ys), set(xs)
    gives: dict[int, tuple[Var, ...]] = {}
    ended: set[Var] = set()
    for i in range(len(before) - 1, -1, -1):
        if i in own:
            continue
        ends = not passing[i] and not targets.isdisjoint(before[i].outputs)  # a value in the middle, asked about
        if (passing[i] or ends) and not reached.isdisjoint(before[i].outputs):
            gives[i] = passing[i]
            reached.update(passing[i])
            if not ends:
                ended.update(v for _, found in differentiable(before[i]) for v in found if v not in needed)
    gives = dict(sorted(gives.items()))
    stops: dict[int, str] = {}
    for i in range(len(before) - 1, -1, -1):
        eq = before[i]
        if i in own or i in gives or ended.isdisjoint(eq.outputs):
            continue
        inputs = [a for a in eq.atoms() if isinstance(a, Var)]
        detached = "identity" in eq.op.traits and not eq.op.differentiable
        if any(a in (learned if detached else needed) for a in inputs):
            stops[i] = "detached" if detached else "not differentiable"
        else:
            ended.update(a for a in inputs if a in touched)
    entries = set(graph.inputs)
    there = {cell.var for cell in graph.cells}.union(graph.consts)
    read = {a for i in gives for a in before[i].atoms() if isinstance(a, Var) and a in entries}
    return Pass(
        at, ys, xs, gives, {i: saved(graph, i, gives[i], there) for i in gives}, dict(sorted(stops.items())),
        frozenset(v for v in ended if v in entries and v not in needed),
        frozenset(v for v in read if v.aval.dtype.kind != "f"),
    )  # fmt: skip


def saved(graph: Graph, at: int, gives: tuple[Var, ...], there: Container[Var]) -> tuple[Saved, ...]:
    """What the rules of an equation read besides the gradient that arrives; what is `there` anyway is not kept."""
    eq = graph.equations[at]
    op = eq.op
    if eq.is_gradient:
        return ()
    wanted = tuple(any(v in gives for v in group(atom)) for atom in eq.inputs)
    names = saved_names(op, wanted)
    found: list[Saved] = []
    for name, atom in zip(op.inputs, eq.inputs, strict=False):
        if name in names:
            several = isinstance(atom, tuple)
            found += [Saved(f"{name}.{j}" if several else name, v, v not in there) for j, v in enumerate(group(atom))]
    found += [Saved(name, var, True) for name, var in zip(op.outputs, eq.outputs, strict=False) if name in names]
    found += [Saved(name, None, True) for name in op.residuals if name in names]
    return tuple(found)


def written_out(graph: Graph) -> list[Pass]:
    """The backward pass that equations with an origin spell; of several orders, the last."""
    made = graph.index.position
    seeded = {eq.origin.of for eq in graph.equations if eq.origin is not None and eq.origin.rule == "seed"}
    inner = _leading(graph, seeded)  # the gradient of a gradient: the inner one is part of its forward

    def forward(i: int) -> bool:
        return graph.equations[i].origin is None or i in inner

    parts: dict[int, list[int]] = defaultdict(list)
    given: dict[int, set[str]] = defaultdict(set)
    seeds: dict[Var, None] = {}
    lost: list[int] = []
    for i, eq in enumerate(graph.equations):
        if eq.origin is None or forward(i):
            continue
        of = made.get(eq.origin.of)
        if of is None or not forward(of):  # of a parameter, or of a gradient
            lost.append(i)
            continue
        parts[of].append(i)
        given[of].update(eq.origin.rule.split(", "))
        if eq.origin.rule == "seed":
            seeds[eq.origin.of] = None
    if not parts:
        return []
    if not seeds:  # a pass has simplified it away: the gradient begins where nothing further down has one
        ends = {out: None for i in sorted(parts) for out in graph.equations[i].outputs}
        above = _leading(graph, ends, strictly=True)
        seeds = {out: None for out in ends if made[out] not in above}
    learned = {cell.var for cell in graph.cells if cell.requires_grad}
    wanted = [
        v for i, names in given.items() for name, found in differentiable(graph.equations[i]) for v in found
        if name in names or v in learned  # a gradient that is passed on as it is needs no equation
    ]  # fmt: skip
    xs = [v for v in dict.fromkeys(wanted) if v not in made or made[v] not in parts]
    one = follow(graph, None, seeds, xs, frozenset(i for i in range(len(graph.equations)) if not forward(i)))
    if not one.gives:
        return []
    last = max(one.gives)
    for i in lost:
        parts[last].append(i)
    for of in [of for of in parts if of not in one.gives]:
        parts[last] += parts.pop(of)
    return [replace(one, written={i: tuple(sorted(part)) for i, part in sorted(parts.items())})]


def _leading(graph: Graph, ends: Iterable[Var], strictly: bool = False) -> set[int]:
    """The equations that lead to these values, those that make them too unless `strictly`."""
    ends = set(ends)
    behind = set() if strictly else set(ends)
    found: set[int] = set()
    for i in range(len(graph.equations) - 1, -1, -1):
        eq = graph.equations[i]
        if leads := not behind.isdisjoint(eq.outputs):
            found.add(i)
        if leads or (strictly and not ends.isdisjoint(eq.outputs)):
            behind.update(a for a in eq.atoms() if isinstance(a, Var))
    return found


def passes(graph: Graph) -> list[Pass]:
    """The gradients of a graph: deferred ones that no other gradient is taken through, else what is written out.

    A gradient that another one only follows, as the generator's step follows the discriminator's, is a pass of its own.
    """
    deferred = [i for i, eq in enumerate(graph.equations) if eq.is_gradient]
    if not deferred:
        return written_out(graph)
    through: set[Var] = set()  # what a gradient is taken through
    plain = []
    for i in range(deferred[-1], -1, -1):
        eq = graph.equations[i]
        leads = not through.isdisjoint(eq.outputs)
        if eq.is_gradient and not (leads and eq.attrs.get("create_graph")):
            plain.append(i)
            through.update(group(eq.inputs[0]))
        elif leads:
            through.update(a for a in eq.atoms() if isinstance(a, Var))
    return [
        follow(graph, i, group(graph.equations[i].inputs[0]), group(graph.equations[i].inputs[1]))
        for i in reversed(plain)
    ]


def seeds_of(graph: Graph) -> tuple[Var, ...]:
    """Of what a forward graph would be differentiated: its scalar float output, or else all that are float."""
    floats = [v for v in graph.outputs if isinstance(v, Var) and v.aval.dtype.kind == "f"]
    scalars = [v for v in floats if not v.aval.shape]
    return tuple(dict.fromkeys(scalars[:1] or floats))


def pretended(graph: Graph) -> Pass:
    """The backward pass that a graph without gradients would have, with respect to its parameters, or else its
    inputs."""
    xs = [cell.var for cell in graph.cells if cell.kind == "parameter" and cell.requires_grad]
    xs = xs or [v for v in graph.inputs if v.aval.dtype.kind == "f"]
    return follow(graph, None, seeds_of(graph), xs)

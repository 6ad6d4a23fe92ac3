"""`rewrite`: what a user's function does in a graph, done in another way that the user gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.graph.graph import Equation, Graph, Literal, Var, typed_key
from tensorgraph.passes.recognise.roles import has
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rewrite import UNCHANGED, Log
from tensorgraph.passes.rewriting.attributes import Free, are_given, require_same, require_use, values_of
from tensorgraph.passes.rewriting.behaviour import BEHAVIOUR, behaving, joined
from tensorgraph.passes.rewriting.comparing import Gap, gap
from tensorgraph.passes.rewriting.near import Near, near, within_fused
from tensorgraph.passes.rewriting.replacing import Replacement, Replacing, further
from tensorgraph.passes.rewriting.sides import UNFIT, Pattern, Side
from tensorgraph.passes.rewriting.structure import Occurrence, Values, occurrences, stands_at

__all__ = ["rewrite"]


def rewrite(
    graph: Graph, before: Callable[..., Any] | Graph | str, after: Callable[..., Any] | Graph | str, *,
    exact: bool = False, equal: bool = True,
) -> Graph:  # fmt: skip
    """The graph with every occurrence of one function replaced by another.

    Parameters
    ----------
    graph : Graph
    before, after : callable, str or Graph
        Functions of the same arguments, in ordinary Python or in the language of graphs, where arguments need no types:
        ``"def before(z): return relu(z)"``. The arguments are variables:
        each stands for a value of the graph, a captured array or a number. What `before` takes by name alone stands for
        the value of an attribute, ``lambda x, *, axis: tg.softmax(x, axis=axis)``, and `after` may take it too. What a
        function reads besides its arguments, arrays and cells, stands for itself.
    exact : bool
        Take occurrences only equation by equation, operands of commutative ops in either order. Otherwise, as fused ops
        are recognised, regions in any other spelling are taken too whose values and gradients are those of `before`;
        only an analytic function can be told in that way.
    equal : bool
        Refuse an occurrence where `after` gives other numbers than `before`, or other gradients, beyond rounding; see
        Notes. False takes occurrences equation by equation, replaces them all, and tells the largest difference.

    Returns
    -------
    Graph
        With the same arguments, cells and writes. `Graph.explain` tells each replacement with the user's line, and each
        occurrence that was left and why. Where there is no occurrence, the same graph. One pass is made over the graph
        as it is: what was put in is not searched again. The graphs that equations hold, as the body of a scan, are
        searched too.

    Raises
    ------
    TypeError
        Where a side is no function, or takes or gives other things than it may.
    ValueError
        Where there are occurrences and each of them was refused: because `after` differs, with where and by how much,
        because it gives another shape or dtype, or because a gradient is asked about a value inside.

    Notes
    -----
    Equal means: for each of some hundred draws, in the dtypes and shapes of the place, every number is the same to
    rounding. These are 16 units in the last place, and what the arithmetic of `before` loses itself; of each element
    where both sides are elementwise, of the largest element of a result elsewhere. NaN and infinities stand in the same
    places. Drawn are ordinary, small and wide numbers, ties, the ends of integers, and for each argument in its turn 0,
    -0, tiny and huge numbers, infinities and NaN, while the others are ordinary. Gradients are compared where all is
    finite, at kinks and ties too. So ``x * 2 → x + x`` is equal, but none of these is: ``log(exp(x)) → x``, which
    overflows; ``x / x → 1``, at 0; ``relu(x) → maximum(x, 0)``, whose gradient at 0 is 1/2;
    ``x * y + x → x * (y + 1)``, for an infinite x and a negative y. 0 and -0 are equal as ``==`` says; where the sign
    of a zero is another, `explain` tells. What is drawn is evidence and no proof: a function that is another one
    between 1000 and 1001 may pass.

    See Also
    --------
    replace_at : by name

    Examples
    --------
    >>> import tensorgraph as tg
    >>> g = tg.trace(lambda x: tg.exp(x * 2.0) + 1.0, tg.f32[3])
    >>> h = g.rewrite(lambda x: x * 2.0, lambda x: x + x)
    >>> [eq.op.name for eq in h.equations]
    ['add', 'exp', 'add']
    >>> g.rewrite(lambda x: tg.exp(x), lambda x: 1.0 + x)
    Traceback (most recent call last):
    ValueError: Graph.rewrite: after differs from before: the result[2] is ... before and ... after where v0[2] = ...
    >>> print(g.rewrite(tg.exp, lambda x: 1.0 + x, equal=False).explain())
    f: 1 change
    rewrite: 1 change
      exp → 1.0 + x (1)
        v1 = exp(v0)  →  v1 = 1.0 + v0  # ...
          by structure; largest difference ...
    """
    first, second = Side("before", before), Side("after", after)
    if first.names == ("*",):
        raise TypeError("before names its arguments, one by one: def before(x, w), not *args")
    _require_same_arguments(first, second)
    require_same(first, second)
    with modes.use(trace=None, cells=None, quiet=True, debug_nans=False):
        return Rewriting(graph, first, second, exact, equal).graph_after()


def _require_same_arguments(first: Side, second: Side) -> None:
    if second.names != ("*",) and len(first.names) != len(second.names):
        raise TypeError(
            f"before takes {_arguments(first)} and after {_arguments(second)}: both get the same values, by position"
        )


def _arguments(side: Side) -> str:
    return f"({', '.join(side.names)})" if side.names else "nothing"


class Rewriting:
    """One rewriting of one graph."""

    def __init__(
        self, graph: Graph, first: Side, second: Side, exact: bool, equal: bool, cells: Mapping[Any, Var] | None = None
    ) -> None:
        self.graph = graph
        self.first, self.second = first, second
        self.exact, self.equal = exact, equal
        self.cells = cells  # of a graph that an equation holds: its inputs that are cells
        self.within = self.barred = ""  # where that is, and why nothing there may be replaced
        self.view = View(graph)
        self.values = Values(self.view, cells)
        self.log = Log(graph, "rewrite")
        self.refusals: list[str] = []
        self.standing = 0
        self.failure: BaseException | None = None
        self.untraced: TypeError | None = None
        self.rounding: dict[Any, Gap] = {}
        self.bound: dict[Any, tuple[Side, Side]] = {}
        self.sought: list[tuple[Side, list[Pattern]]] = []
        self.held: list[Rewriting] = []  # those of the graphs that equations hold

    def graph_after(self) -> Graph:
        result = self.changed()
        if result is not None:
            return result
        if self.untraced is not None:
            raise self.untraced
        if self.refusals and not self.standing:
            raise ValueError(f"{self.refusals[0]}") from self.failure
        if not self.standing:
            nearest = self.nearest()
            self.log.note(self.rule(), "no occurrence", UNCHANGED, nearest.source, nearest.words)
        graph, changes = self.graph, self.log.changes
        return graph.replace(changes=(*graph.changes, *changes)) if changes else graph

    def changed(self) -> Graph | None:
        """The graph with what was found replaced, in the graphs that its equations hold too; None: nothing was."""
        result = self.flat()
        inside = self.inside(self.graph if result is None else result)
        result = result if inside is None else inside
        if result is not None:
            changes, self.log.changes = self.log.changes, []
            result = result.replace(changes=(*result.changes, *changes))
        return result

    def flat(self) -> Graph | None:
        """As `changed`, among the equations themselves."""
        # The plan:
        # 1. the places where `before` stands equation by equation, the earliest of those that overlap; then those that
        #    behave as it does, among the other equations;
        # 2. one is left alone where `after` stands already, refused where its numbers differ or a gradient would;
        # 3. `after` is put into one trace that goes on from the graph, for each in turn; its results take the names of
        #    those that they stand for, and equations that nothing needs any more go.
        found = self.occurrences()
        trace = Replacing(self.graph, self.view, self.cells)
        replacements: list[Replacement] = []
        for occurrence in found:
            arguments = [a.aval if type(a) is Var else a for a in occurrence.arguments]
            try:
                first, second = self.sides(occurrence.free)
                before, after = first.pattern(arguments), self._after(second, arguments)  # type: ignore[arg-type]
                if self.stands(after, occurrence, arguments):
                    self.standing += 1
                    self.leave(occurrence, "after stands there already", "standing")
                    continue
                self.require_free(occurrence)
                note = self.note(occurrence, before, after)
                back = trace.mark()
                replacement = self.put(trace, occurrence)
                if len(occurrence.outputs) > 1 and trace.replaced([*replacements, replacement]) is None:
                    back()
                    raise Refused("what it reads depends on what it gives, through values that stay")
            except Refused as refusal:
                self.refuse(occurrence, str(refusal))
                self.failure = self.failure or refusal.__cause__
                continue
            before_it = sum(not set(replacement.assigned).isdisjoint(each.assigned) for each in replacements)
            words = further(self.view, occurrence.numbers, replacement.assigned, before_it, self.equal)
            replacements.append(replacement)
            self.tell(occurrence, replacement, "; ".join([note, *words]))
        if not replacements:
            return None
        result = trace.replaced(replacements, self.log.changes, "rewrite")
        assert result is not None
        self.log.changes = []
        return result.check()

    def inside(self, graph: Graph) -> Graph | None:
        """The graph with what was found in the graphs that its equations hold replaced, as the body of a scan."""
        own = {id(eq.attrs): n for n, eq in enumerate(self.graph.equations) if self.view.live[n]}
        equations = list(graph.equations)
        count = 0
        for n, eq in enumerate(equations):
            if id(eq.attrs) not in own or not has(eq.op, "higher order") or eq.is_gradient:
                continue  # what was put in is not searched
            if not eq.bodies():
                self.log.note(f"{self.rule()}, not looked into", eq, UNCHANGED, eq.source, "it holds a Python function")
            attrs = {}
            for name, body in eq.bodies().items():
                inner = Rewriting(body, self.first, self.second, self.exact, self.equal, _cells_in(self, eq, body))
                inner.within = f"in the {name} of {self.log.text(eq.outputs[0])} = {eq.op.name}(...)"
                if not self.equal and "backward" in eq.attrs:
                    inner.barred = "its gradient is a rule of its own, which would not be that of another function"
                result = inner.changed()
                self.held.append(inner)
                self.standing += inner.standing
                self.refusals += inner.refusals
                self.failure = self.failure or inner.failure
                self.untraced = self.untraced and inner.untraced
                self.log.changes += inner.log.changes if result is None else result.changes[len(body.changes) :]
                if result is not None:
                    attrs[name] = result
            if attrs:
                count += 1
                equations[n] = replace(eq, attrs={**eq.attrs, **attrs})
        return graph.replace(equations=tuple(equations)).check() if count else None

    def occurrences(self) -> list[Occurrence]:
        """Where `before` stands, in order."""
        taken: set[int] = set()
        result: list[Occurrence] = []
        known, traced = [], []
        for values in values_of(self.first, self.view):
            first, _ = self.sides(values)
            try:
                patterns = first.patterns(self.graph)
            except TypeError as error:  # the graphs that equations hold have other types, this attribute another kind
                self.untraced = error
                continue
            traced.append(patterns)
            patterns = [p for p in patterns if are_given(p, values) and not (p.composed and _unused(first, p))]
            for pattern in patterns:
                _require_something(first, pattern)
            known.append((values, first, patterns))
            self.sought.append((first, patterns))
            for occurrence in occurrences(self.values, first, patterns):
                if taken.isdisjoint(occurrence.numbers):
                    taken |= occurrence.numbers
                    result.append(replace(occurrence, free=values))
                else:
                    self.leave(occurrence, "it shares equations with the one before, which was taken")
        if any(patterns for _, _, patterns in known):
            self.untraced = None
        else:
            require_use(self.first, traced)
        views = [] if self.exact or not self.equal else [self.view, *filter(None, [joined(self.view)])]
        for values, first, patterns in known:
            for view in views:
                more = behaving(view, first, patterns, taken)
                taken.update(n for occurrence in more for n in occurrence.numbers)
                result += [replace(occurrence, free=values) for occurrence in more]
        return sorted(result, key=lambda o: max(o.numbers))

    def nearest(self) -> Near:
        """What comes nearest to `before`, here or in a graph that an equation holds."""
        fused = within_fused(self.values, self.stands_in)
        if fused is not None:
            return fused
        found = [near(self.values, side, patterns, self.log) for side, patterns in self.sought]
        found += [inner.nearest() for inner in self.held]
        best = max(found, key=lambda miss: miss.share, default=Near(0.0, "the graph has no equations"))
        return best if not self.within or best.share == 0.0 else replace(best, words=f"{self.within} {best.words}")

    def stands_in(self, graph: Graph) -> bool:
        """Whether `before` stands in another graph, equation by equation."""
        with contextlib.suppress(*UNFIT):
            return bool(Rewriting(graph, self.first, self.second, True, False).occurrences())
        return False

    def stands(self, after: Pattern, occurrence: Occurrence, arguments: list[Any]) -> bool:
        """Whether `after` is there already; what assigns to a cell does more than give values."""
        if after.graph.writes:
            return False
        return stands_at(self.values, after, occurrence) or self.stands_otherwise(occurrence, arguments)

    def stands_otherwise(self, occurrence: Occurrence, arguments: list[Any]) -> bool:
        """Whether `after` stands there with other attributes: axis=1 for -1, say, which behaves alike."""
        if not occurrence.free or occurrence.how != BEHAVIOUR:
            return False
        for values in values_of(self.first, self.view):
            with contextlib.suppress(Refused):
                if stands_at(self.values, self._after(self.sides(values)[1], arguments), occurrence):
                    return True
        return False

    def sides(self, values: Free) -> tuple[Side, Side]:
        """Both sides with these values of attributes."""
        key = typed_key(dict(values))
        if key not in self.bound:
            self.bound[key] = self.first.bound(dict(values)), self.second.bound(dict(values))
        return self.bound[key]

    def _after(self, second: Side, arguments: list[Any]) -> Pattern:
        try:
            return second.pattern(arguments)
        except UNFIT as error:
            given = ", ".join(str(a.value) if isinstance(a, Literal) else str(a) for a in arguments)
            raise Refused(f"after refuses ({given}): {type(error).__name__}: {error}") from error

    def require_free(self, occurrence: Occurrence) -> None:
        """Refuse where a gradient is asked about a value that would go, or lies on the way to another result."""
        for n in sorted(occurrence.numbers):
            for out in self.view.equations[n].outputs:
                inside = out not in occurrence.outputs or any(
                    u in occurrence.numbers for u in self.view.users.get(out, ())
                )
                if out in self.view.asked and inside:
                    raise Refused(f"a gradient is asked with respect to {self.log.text(out)}, which lies inside")

    def note(self, occurrence: Occurrence, before: Pattern, after: Pattern) -> str:
        """What is to be said of a replacement."""
        if self.barred:
            raise Refused(f"{self.within}: {self.barred}")
        old, new = ([getattr(out, "aval", None) for out in p.graph.outputs] for p in (before, after))
        if len(old) != len(new) or any(b not in (None, a) for a, b in zip(old, new, strict=True)):
            fewer = ": let before give those alone, as in before(...)[0]" if len(new) < len(old) else ""
            raise Refused(f"after gives {_types(new)} where before gives {_types(old)}{fewer}")
        apart = self.gap(occurrence, before, after)
        if self.equal and apart is None:
            raise Refused(
                "before refused all numbers that were drawn, so that it cannot be compared; equal=False replaces it"
            )
        if self.equal and apart is not None and not apart.is_rounding:
            raise Refused(f"after differs from before: {apart.said}; equal=False replaces it nevertheless")
        stays = self.staying(occurrence)
        words = [
            occurrence.how,
            *[f"{name}={value!r}" for name, value in occurrence.free],
            *filter(None, [self.within]),
        ]
        if not self.equal:
            words.append("no numbers to compare" if apart is None else _said(apart))
        if apart is not None and apart.signs:
            words.append(f"the sign of a zero is another: {apart.signs}")
        if stays:
            words.append(f"{', '.join(map(self.log.text, stays))} {'is' if len(stays) == 1 else 'are'} read elsewhere "
                         f"and {'stays' if len(stays) == 1 else 'stay'}")  # fmt: skip
        return "; ".join(words)

    def gap(self, occurrence: Occurrence, before: Pattern, after: Pattern) -> Gap | None:
        """How far the sides are apart; what was rounding at one place is it at another with the same types."""
        consts = self.graph.consts
        first: dict[Any, int] = {}
        for atom in occurrence.arguments:
            first.setdefault(atom, len(first))
        # the same variables in the same places, and the same captured arrays
        key = before, after, tuple((first[a], a if a in consts else None) for a in occurrence.arguments)
        if key in self.rounding:
            return self.rounding[key]
        apart = gap(self.graph, occurrence.arguments, before, after, strict=self.equal)
        if self.equal and apart is not None and apart.is_rounding:
            self.rounding[key] = apart
        return apart

    def staying(self, occurrence: Occurrence) -> list[Var]:
        """Values inside that something outside reads."""
        return [
            out for n in sorted(occurrence.numbers) for out in self.view.equations[n].outputs
            if out not in occurrence.outputs and self.view.leaves(out, occurrence.numbers)
        ]  # fmt: skip

    def put(self, trace: Replacing, occurrence: Occurrence) -> Replacement:
        last = self.view.equations[max(occurrence.numbers)]
        try:
            return trace.put(
                self.sides(occurrence.free)[1].given_to_trace,
                occurrence.arguments,
                occurrence.outputs,
                occurrence.numbers,
                last,
            )
        except UNFIT as error:
            raise Refused(f"after: {error}") from error

    # the report -----------------------------------------------------------------------------------------------

    def rule(self, values: Free = ()) -> str:
        first, second = self.sides(values) if values else (self.first, self.second)
        return f"{first.label} → {second.label}"

    def text(self, occurrence: Occurrence) -> str:
        return "; ".join(self.log.text(self.view.equations[n]) for n in sorted(occurrence.numbers))

    def last(self, occurrence: Occurrence) -> Equation:
        return self.view.equations[max(occurrence.numbers)]

    def scopes(self, occurrence: Occurrence) -> list[str]:
        return [self.view.equations[n].scope for n in sorted(occurrence.numbers)]

    def tell(self, occurrence: Occurrence, replacement: Replacement, note: str) -> None:
        last = self.last(occurrence)
        after = "; ".join(map(self.log.text, replacement.equations))
        after = after or ", ".join(map(self.log.text, replacement.by.values()))
        self.log.note(
            self.rule(occurrence.free), self.text(occurrence), after, last.source, note, self.scopes(occurrence)
        )

    def refuse(self, occurrence: Occurrence, why: str) -> None:
        source = self.last(occurrence).source
        self.refusals.append(why if source is None else f"{why} (traced at {source})")
        self.leave(occurrence, why)

    def leave(self, occurrence: Occurrence, why: str, how: str = "refused") -> None:
        last = self.last(occurrence)
        self.log.note(f"{self.rule(occurrence.free)}, {how}", self.text(occurrence), UNCHANGED, last.source, why)


class Refused(Exception):
    """Why an occurrence is not replaced."""


def _cells_in(outer: Rewriting, eq: Equation, body: Graph) -> dict[Any, Var]:
    """What the cells of a graph are in the body of one of its loops, which takes them for arguments."""
    given = [a for atom in eq.inputs for a in (atom if isinstance(atom, tuple) else (atom,))]
    own = {a: var for a, var in zip(given, body.inputs, strict=False) if type(a) is Var}
    return {cell: own[var] for cell, var in outer.values.cells.items() if var in own}


def _require_something(side: Side, pattern: Pattern) -> None:
    """Refuse what cannot be looked for."""
    made = {out for eq in pattern.graph.equations for out in eq.outputs}
    if pattern.graph.writes:
        raise TypeError(
            "before assigns to a cell, as random draws do; it is a function of values, and gives values. A part of the "
            "graph that does so is replaced by its name: graph.replace_at(name, function)"
        )
    for out in pattern.graph.outputs:
        if out not in made:
            raise TypeError("before gives an argument or a number as it is: there is nothing to look for")
    if not pattern.graph.outputs:
        raise TypeError("before gives nothing: there is nothing to look for")
    unused = _unused(side, pattern)
    if unused:
        raise TypeError(f"before does not use its argument {unused}, so that nothing says what it stands for")


def _unused(side: Side, pattern: Pattern) -> str:
    """The first argument that the results do not depend on: of a fused op written out it may be another one's alone."""
    read: set[Any] = set(pattern.graph.results())
    for eq in reversed(pattern.graph.equations):
        if not read.isdisjoint(eq.outputs):
            read.update(eq.variables())
    places = zip(side.names, pattern.places, strict=True)
    return next((name for name, var in places if var is not None and var not in read), "")


def _types(avals: list[Any]) -> str:
    return ", ".join("a number" if a is None else str(a) for a in avals) or "nothing"


def _said(apart: Gap) -> str:
    return f"largest difference {apart.said}" if apart.amount else "no difference"

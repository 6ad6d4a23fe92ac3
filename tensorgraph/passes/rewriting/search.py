"""`rewrite`: what a user's function does in a graph, done in another way that the user gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgraph.engine import modes
from tensorgraph.graph.graph import Equation, Graph, Literal, Var
from tensorgraph.passes.recognise.view import View
from tensorgraph.passes.rewrite import Log
from tensorgraph.passes.rewriting.behaviour import behaving
from tensorgraph.passes.rewriting.comparing import Gap, gap
from tensorgraph.passes.rewriting.replacing import Replacement, Replacing
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
        Functions of the same arguments, in ordinary Python or in the language of graphs. The arguments are variables:
        each stands for a value of the graph, a captured array or a number. What a function reads besides them, arrays
        and cells, stands for itself.
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
        as it is: what was put in is not searched again.

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

    def __init__(self, graph: Graph, first: Side, second: Side, exact: bool, equal: bool) -> None:
        self.graph = graph
        self.first, self.second = first, second
        self.exact, self.equal = exact, equal
        self.view = View(graph)
        self.values = Values(self.view)
        self.log = Log(graph, "rewrite")
        self.refusals: list[str] = []
        self.rounding: dict[Any, Gap] = {}

    def graph_after(self) -> Graph:
        # The plan:
        # 1. the places where `before` stands equation by equation, the earliest of those that overlap; then those that
        #    behave as it does, among the other equations;
        # 2. one is left alone where `after` stands already, refused where its numbers differ or a gradient would;
        # 3. `after` is put into one trace that goes on from the graph, for each in turn; its results take the names of
        #    those that they stand for, and equations that nothing needs any more go.
        found = self.occurrences()
        trace = Replacing(self.graph, self.view)
        replacements: list[Replacement] = []
        standing = 0
        failure: Exception | None = None
        for occurrence in found:
            arguments = [a.aval if type(a) is Var else a for a in occurrence.arguments]
            try:
                before, after = self.first.pattern(arguments), self._after(arguments)  # type: ignore[arg-type]
                if stands_at(self.values, after, occurrence):
                    standing += 1
                    continue
                self.require_free(occurrence)
                note = self.note(occurrence, before, after)
                replacement = self.put(trace, occurrence)
                if len(occurrence.outputs) > 1 and trace.replaced([*replacements, replacement], ()) is None:
                    raise Refused("what it reads depends on what it gives, through values that stay")
            except Refused as refusal:
                self.refuse(occurrence, str(refusal))
                failure = failure or refusal.__cause__  # type: ignore[assignment]
                continue
            replacements.append(replacement)
            self.tell(occurrence, replacement, note)
        if self.refusals and not replacements and not standing:
            raise ValueError(f"{self.refusals[0]}") from failure
        if not replacements:
            return self.unchanged(standing)
        result = trace.replaced(replacements, self.log.changes)
        assert result is not None
        return result.check()

    def occurrences(self) -> list[Occurrence]:
        """Where `before` stands, in order."""
        patterns = self.first.patterns(self.graph)
        for pattern in patterns:
            _require_something(self.first, pattern)
        taken: set[int] = set()
        result = []
        for occurrence in occurrences(self.values, self.first, patterns):
            if taken.isdisjoint(occurrence.numbers):
                taken |= occurrence.numbers
                result.append(occurrence)
            else:
                self.leave(occurrence, "it shares equations with the one before, which was taken")
        if not self.exact and self.equal:
            result += behaving(self.view, self.first, patterns, taken)
        return sorted(result, key=lambda o: max(o.numbers))

    def _after(self, arguments: list[Any]) -> Pattern:
        try:
            return self.second.pattern(arguments)
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
        old, new = ([getattr(out, "aval", None) for out in p.graph.outputs] for p in (before, after))
        if len(old) != len(new) or any(b not in (None, a) for a, b in zip(old, new, strict=True)):
            raise Refused(f"after gives {_types(new)} where before gives {_types(old)}")
        apart = self.gap(occurrence, before, after)
        if self.equal and apart is None:
            raise Refused(
                "before refused all numbers that were drawn, so that it cannot be compared; equal=False replaces it"
            )
        if self.equal and apart is not None and not apart.is_rounding:
            raise Refused(f"after differs from before: {apart.said}; equal=False replaces it nevertheless")
        stays = self.staying(occurrence)
        words = [occurrence.how]
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
                self.second.given_to_trace, occurrence.arguments, occurrence.outputs, occurrence.numbers, last
            )
        except UNFIT as error:
            raise Refused(f"after: {error}") from error

    # the report -----------------------------------------------------------------------------------------------

    @property
    def rule(self) -> str:
        return f"{self.first.label} → {self.second.label}"

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
        self.log.note(self.rule, self.text(occurrence), after, last.source, note, self.scopes(occurrence))

    def refuse(self, occurrence: Occurrence, why: str) -> None:
        source = self.last(occurrence).source
        self.refusals.append(why if source is None else f"{why} (traced at {source})")
        self.leave(occurrence, why)

    def leave(self, occurrence: Occurrence, why: str) -> None:
        last = self.last(occurrence)
        self.log.note(f"{self.rule}, refused", self.text(occurrence), "as it was", last.source, why)

    def unchanged(self, standing: int) -> Graph:
        if not standing:
            self.log.note(self.rule, "no occurrence", "the graph as it was", None)
        return self.graph.replace(changes=(*self.graph.changes, *self.log.changes)) if self.log.changes else self.graph


class Refused(Exception):
    """Why an occurrence is not replaced."""


def _require_something(side: Side, pattern: Pattern) -> None:
    """Refuse what cannot be looked for."""
    made = {out for eq in pattern.graph.equations for out in eq.outputs}
    if pattern.graph.writes:
        raise TypeError("before assigns to a cell; it is a function of values, and gives values")
    for out in pattern.graph.outputs:
        if out not in made:
            raise TypeError("before gives an argument or a number as it is: there is nothing to look for")
    if not pattern.graph.outputs:
        raise TypeError("before gives nothing: there is nothing to look for")
    read: set[Any] = set(pattern.graph.results())
    for eq in reversed(pattern.graph.equations):
        if not read.isdisjoint(eq.outputs):
            read.update(eq.variables())
    for name, var in zip(side.names, pattern.places, strict=True):
        if var is not None and var not in read:
            raise TypeError(f"before does not use its argument {name}, so that nothing says what it stands for")


def _types(avals: list[Any]) -> str:
    return ", ".join("a number" if a is None else str(a) for a in avals) or "nothing"


def _said(apart: Gap) -> str:
    return f"largest difference {apart.said}" if apart.amount else "no difference"

"""What differs between two graphs: matched by structure, compared thing by thing."""

from __future__ import annotations

import functools
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from tensorgraph.analysis.describe import equation_text, names, printable, value_text
from tensorgraph.analysis.difference import Detail, Difference, Edit
from tensorgraph.analysis.match import Match, match, output_paths, typed
from tensorgraph.arguments import checked
from tensorgraph.engine.tensor import Tensor
from tensorgraph.graph.graph import CellDecl, Equation, Graph, Literal, Var, digest
from tensorgraph.text.literals import shown
from tensorgraph.text.template import Template

__all__ = ["diff"]

F = TypeVar("F", bound=Callable[..., Any])


def _of_graphs(function: F) -> F:
    """Name the function that is meant where a tensor comes."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], (Tensor, np.ndarray)):
            raise TypeError(
                "diff compares two graphs, and was given a tensor; differences of neighbours along an axis are "
                "tensorgraph.numpy.diff(x), or numpy.diff(x)"
            )
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


@_of_graphs
@checked
def diff(before: Any, after: Any) -> Difference:
    """What differs between two graphs, as values: names, scopes, files and lines do not count.

    Parameters
    ----------
    before, after : Graph, str or path
        A text is parsed, the name of a file of text read; nothing in it is executed.

    Returns
    -------
    Difference
        False where ``before == after``. ``str()`` of it is a text for a terminal or a log, `Difference.draw` a picture.
        Equations are matched by structure, wherever they stand, cells by what is in them, and only then by their paths;
        the same equations in another order are one edit of kind ``"order"``. `Difference.groups` holds the edits as a
        person made them: one inserted line or layer is one, with the optimiser's numbers for it and the readers that
        follow; layers that only have another path moved.

    Raises
    ------
    TypeError
        For something that is not a graph.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.spec((3,))
    >>> old = tg.trace(lambda x: tg.tanh(x).sum(), x)
    >>> new = tg.trace(lambda x: tg.tanh(x * 2.0).mean(axis=0), x)
    >>> for edit in diff(old, new):
    ...     print(edit, *edit.details, sep="; ")
    + v0: f32[3] = x * 2.0
    ~ v1: f32[3] = tanh(v0); x: x -> v0 (added)
    - v1': f32 = sum(v1)
    + v2: f32 = mean(v1, axis=0)
    ~ result: v2; value: v1' (removed) -> v2 (added)
    >>> bool(diff(old, old))
    False
    """
    a, b = _graphs(before, after)
    if a == b:
        return Difference(a, b, ())
    found = match(a, b)
    return Difference(a, b, tuple(_Comparison(a, b, found).edits()), found)


def _graphs(before: Any, after: Any) -> tuple[Graph, Graph]:
    """The two graphs; of templates those with names in the place of sizes."""
    a, b = _read(before), _read(after)
    if isinstance(a, Template) and isinstance(b, Template):
        if a.dims != b.dims:
            names = [", ".join(one.dims) for one in (a, b)]
            raise TypeError(
                f"diff: the sizes that are named differ, {names[0]} and {names[1]}: compare graphs, .at(...)"
            )
        sizes = next((sizes for sizes in (a.fitting(), b.fitting()) if _fit(a, sizes) and _fit(b, sizes)), None)
        if sizes is None:
            raise ValueError("diff: no sizes were found that both templates can have: compare graphs, .at(...)")
        return a.symbolic(**sizes)[0], b.symbolic(**sizes)[0]
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Template):
            raise TypeError(
                f"{one.name} leaves the size {one.dims[0]} open: {other.name} does not, so compare graphs of it, such "
                f"as .at({one.dims[0]}=32)"
            )
    return a, b


def _fit(template: Template, sizes: dict[str, int]) -> bool:
    try:
        template.at(**sizes)
    except Exception:  # the function that it was traced from may refuse these sizes in any way
        return False
    return True


def _read(value: Any) -> Any:
    if isinstance(value, str) and ("\n" in value or "def " in value):
        from tensorgraph.text import parse

        value = parse(value)
    elif isinstance(value, (str, os.PathLike)):
        from tensorgraph.text import load

        value = load(value)
    if isinstance(value, (Graph, Template)):
        return value
    raise TypeError(
        f"diff compares graphs (tensorgraph.trace makes them), their texts or files of text, got {type(value).__name__}"
    )


class _Comparison:
    """Two graphs and their matching; yields every edit."""

    def __init__(self, a: Graph, b: Graph, found: Match) -> None:
        self.a, self.b, self.found = a, b, found
        # graphs before and after a pass share variables: each graph has names of its own
        self.before: dict[Var, str] = {}
        self.after: dict[Var, str] = dict(names(b))
        taken = set(self.after.values())
        known = {old: new for new, old in found.counterpart.items()}
        for var, own in names(a).items():
            partner = known.get(var)
            if partner is not None:
                self.before[var] = self.after[partner]
            else:
                while own in taken:
                    own += "'"
                taken.add(own)
                self.before[var] = own
        self.kept = set(known)  # values of the first graph that the second has too

    def edits(self) -> Iterator[Edit]:
        yield from self.structure()
        yield from self.roots()
        yield from self.equations()
        yield from self.writes()
        yield from self.outputs()

    # ---- wording

    def side(self, atom: Any, after: bool) -> str:
        """An operand as text, with whether the other graph has it."""
        if isinstance(atom, tuple):
            shown = [self.side(item, after) for item in atom[:4]]
            return f"[{', '.join([*shown, f'... {len(atom) - 4} more'] if len(atom) > 4 else shown)}]"
        if isinstance(atom, Literal):
            return value_text(atom.value)
        if after:
            return self.after[atom] + ("" if atom in self.found.counterpart else " (added)")
        return self.before[atom] + ("" if atom in self.kept else " (removed)")

    def same(self, old: Any, new: Any) -> bool:
        if isinstance(old, tuple) or isinstance(new, tuple):
            if not (isinstance(old, tuple) and isinstance(new, tuple)) or len(old) != len(new):
                return False
            return all(self.same(p, q) for p, q in zip(old, new, strict=True))
        if isinstance(old, Literal) or isinstance(new, Literal):
            both = isinstance(old, Literal) and isinstance(new, Literal)
            return both and typed(old.value) == typed(new.value)
        return self.found.counterpart.get(new) is old

    # ---- what stands around the equations

    def structure(self) -> Iterator[Edit]:
        for what, old, new in (
            ("arguments", self.a.in_tree, self.b.in_tree),
            ("results", self.a.out_tree, self.b.out_tree),
        ):
            if old != new:
                before, after = (_nested(tree) for tree in (old, new))
                yield Edit("changed", "structure", f"nesting of {what}", (Detail("structure", before, after),))
        old_statics, new_statics = dict(self.a.statics), dict(self.b.statics)
        for position in sorted(set(old_statics) | set(new_statics)):
            given = [
                value_text(statics[position]) if position in statics else "no constant"
                for statics in (old_statics, new_statics)
            ]
            both = position in old_statics and position in new_statics
            if not both or typed(old_statics[position]) != typed(new_statics[position]):
                detail = Detail("value", given[0], given[1])
                yield Edit("changed", "input", f"constant argument {position}", (detail,))

    def roots(self) -> Iterator[Edit]:
        a, b, found = self.a, self.b, self.found
        yield from self.listed("input", a.inputs, b.inputs, found.inputs, self.input_text, _input_details)
        yield from self.listed("cell", a.cells, b.cells, found.cells, _cell_text, _cell_details)

        def const_text(var: Var, names: dict[Var, str]) -> str:
            return f"constant {names[var]}: {var.aval}"

        def const_details(old: Var, new: Var) -> Iterator[Detail]:
            before, after = digest(a.consts[old]), digest(b.consts[new])
            if old.aval != new.aval:
                yield Detail("type", str(old.aval), str(new.aval))
            if before != after:
                yield Detail("values", before, after)

        yield from self.listed("constant", tuple(a.consts), tuple(b.consts), found.consts, const_text, const_details)

    def input_text(self, var: Var, names: dict[Var, str]) -> str:
        return f"input {names[var]}: {var.aval}"

    def listed(
        self, what: str, old: Sequence[Any], new: Sequence[Any], pairs: dict[int, int], text: Any, details: Any
    ) -> Iterator[Edit]:
        """Edits of a list of roots."""
        back = {j: i for i, j in pairs.items()}
        for i, item in enumerate(old):
            if i not in pairs:
                yield Edit("removed", what, text(item, self.before), before=i)
        for j, item in enumerate(new):
            if j not in back:
                yield Edit("added", what, text(item, self.after), after=j)
                continue
            found = tuple(details(old[back[j]], item))
            if found:
                yield Edit("changed", what, text(item, self.after), found, back[j], j)
        if what == "input":  # the order of cells and constants means nothing
            yield from _order(what, [back[j] for j in range(len(new)) if j in back])

    def writes(self) -> Iterator[Edit]:
        path = {c.var: printable(c.path) for graph in (self.a, self.b) for c in graph.cells}
        old = {w.cell: (i, w) for i, w in enumerate(self.a.writes)}
        for j, write in enumerate(self.b.writes):
            i, was = old.pop(self.found.counterpart.get(write.cell, write.cell), (None, None))
            source = str(write.source or "")
            value = self.side(write.value, True)
            if was is None or i is None:
                text = f"{path[write.cell]}.assign({value})"
                yield Edit("added", "write", text, after=j, source=source)
                continue
            if not self.same(was.value, write.value):
                detail = Detail("value", self.side(was.value, False), value)
                text = f"{path[write.cell]}.assign({self.label(write.value)})"
                yield Edit("changed", "write", text, (detail,), i, j, source=source)
        for i, was in old.values():
            text = f"{path[was.cell]}.assign({self.side(was.value, False)})"
            yield Edit("removed", "write", text, before=i, source=str(was.source or ""))

    def label(self, atom: Var | Literal, names: dict[Var, str] | None = None) -> str:
        return value_text(atom.value) if isinstance(atom, Literal) else (names or self.after)[atom]

    def outputs(self) -> Iterator[Edit]:
        a, b = self.a, self.b
        old = {p: i for i, p in enumerate(output_paths(a.out_tree, len(a.outputs)))}
        for j, path in enumerate(output_paths(b.out_tree, len(b.outputs))):
            i = old.pop(path, None)
            where = "result" if len(b.outputs) == 1 else f"result {printable(path)}"
            text = f"{where}: {self.label(b.outputs[j])}"
            if i is None:
                yield Edit("added", "output", text, after=j)
            elif not self.same(a.outputs[i], b.outputs[j]):
                detail = Detail("value", self.side(a.outputs[i], False), self.side(b.outputs[j], True))
                yield Edit("changed", "output", text, (detail,), i, j)
        for path, i in old.items():
            where = "result" if len(a.outputs) == 1 else f"result {printable(path)}"
            yield Edit("removed", "output", f"{where}: {self.label(a.outputs[i], self.before)}", before=i)

    # ---- equations

    def equations(self) -> Iterator[Edit]:
        """In the order of the second graph; what is removed comes where it would have been."""
        pairs = self.found.equations
        back = {j: i for i, j in pairs.items()}
        pending: dict[int, list[int]] = {}  # by the position in the second graph that they come before
        place = 0
        for i in range(len(self.a.equations)):
            if i in pairs:
                place = pairs[i] + 1
            else:
                pending.setdefault(place, []).append(i)
        for j in range(len(self.b.equations) + 1):
            for i in pending.get(j, ()):
                yield self.edit("removed", self.a.equations[i], before=i)
            if j == len(self.b.equations):
                break
            eq = self.b.equations[j]
            if j not in back:
                yield self.edit("added", eq, after=j)
                continue
            was = self.a.equations[back[j]]
            details, follows = self.details(was, eq)
            if details:
                yield self.edit("changed", eq, details, back[j], j, follows)
        yield from _order("equation", [back[j] for j in sorted(back)])

    def edit(
        self, status: str, eq: Equation, details: tuple[Detail, ...] = (), before: int | None = None,
        after: int | None = None, follows: bool = False,
    ) -> Edit:  # fmt: skip
        text = equation_text(eq, self.before if status == "removed" else self.after)
        return Edit(status, "equation", text, details, before, after, eq.scope, str(eq.source or ""), follows)

    def details(self, old: Equation, new: Equation) -> tuple[tuple[Detail, ...], bool]:
        found: list[Detail] = []
        for name, p, q in zip(new.op.inputs, old.inputs, new.inputs, strict=False):
            if not self.same(p, q):
                found += self.operand(name, p, q)
        if len(old.inputs) != len(new.inputs):
            found.append(Detail("operands", str(len(old.inputs)), str(len(new.inputs))))
        for key in sorted({*old.attrs, *new.attrs}):
            was, is_ = ((eq.attrs[key], True) if key in eq.attrs else (None, False) for eq in (old, new))
            if was[1] != is_[1] or typed(was[0]) != typed(is_[0]):
                texts = [value_text(value) if given else "not given" for value, given in (was, is_)]
                found.append(Detail(printable(key), *_told_apart(texts[0], texts[1], was[0], is_[0])))
        others = len(found)
        if len(old.outputs) != len(new.outputs):
            found.append(Detail("results", str(len(old.outputs)), str(len(new.outputs))))
        elif not old.is_gradient or not others:
            for p, q in zip(old.outputs, new.outputs, strict=True):
                if p.aval != q.aval:
                    found.append(Detail("type", str(p.aval), str(q.aval)))
        follows = not others and len(old.outputs) == len(new.outputs) and self.types_differ(old, new)
        return tuple(found), bool(found) and follows

    def types_differ(self, old: Equation, new: Equation) -> bool:
        """Whether some operand has another type than it had."""
        return any(
            type(p) is Var and type(q) is Var and p.aval != q.aval
            for p, q in zip(old.atoms(), new.atoms(), strict=False)
        )

    def operand(self, name: str, old: Any, new: Any) -> Iterator[Detail]:
        if isinstance(old, tuple) and isinstance(new, tuple):
            if len(old) == len(new):
                for k, (p, q) in enumerate(zip(old, new, strict=True)):
                    if not self.same(p, q):
                        wire = type(p) is Var and type(q) is Var
                        yield Detail(f"{name}[{k}]", self.side(p, False), self.side(q, True), wire)
                return
            gone = [p for p in old if type(p) is not Var or p not in self.kept]
            come = [q for q in new if type(q) is not Var or q not in self.found.counterpart]
            before = f"{len(old)} values{f', {self.side(tuple(gone), False)}' if gone else ''}"
            yield Detail(name, before, f"{len(new)} values{f', {self.side(tuple(come), True)}' if come else ''}")
            return
        words = _told_apart(self.side(old, False), self.side(new, True), old, new)
        yield Detail(name, *words, type(old) is Var and type(new) is Var)


def _told_apart(before: str, after: str, old: Any, new: Any) -> tuple[str, str]:
    """The same words for different things get their types, and what is only too long to differ its whole text."""
    if before != after:
        return before, after
    old, new = (v.value if isinstance(v, Literal) else v for v in (old, new))
    if type(old) is not type(new):
        return f"{before} ({type(old).__name__})", f"{after} ({type(new).__name__})"
    if isinstance(old, Graph):
        return f"{before} {_short(old)}", f"{after} {_short(new)}"
    if "..." in (shown(old), shown(new)):  # an object that prints as its address
        return before, f"another {after}"
    return printable(repr(old)), printable(repr(new))


def _short(graph: Graph) -> str:
    ops = [eq.op.name for eq in graph.equations[:3]]
    return f"({', '.join(ops)}{', ...' if len(graph.equations) > 3 else ''})"


def _nested(tree: Any) -> str:
    shown = printable(repr(tree).removeprefix("Treedef(").removesuffix(")"))
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


def _input_details(old: Var, new: Var) -> Iterator[Detail]:
    if old.aval != new.aval:
        yield Detail("type", str(old.aval), str(new.aval))


def _cell_text(cell: CellDecl, names: dict[Var, str]) -> str:
    frozen = ", frozen" if cell.kind == "parameter" and not cell.requires_grad else ""
    return f"{cell.kind} {printable(cell.path)}: {cell.aval}{frozen}"


def _cell_details(old: CellDecl, new: CellDecl) -> Iterator[Detail]:
    if old.path != new.path:
        yield Detail("path", printable(old.path), printable(new.path))
    if old.kind != new.kind:
        yield Detail("kind", old.kind, new.kind)
    if old.aval != new.aval:
        yield Detail("type", str(old.aval), str(new.aval))
    if old.requires_grad != new.requires_grad:
        yield Detail("requires_grad", str(old.requires_grad), str(new.requires_grad))


def _order(what: str, positions: Iterable[int]) -> Iterator[Edit]:
    """One edit where positions do not rise: how many things must move, the least possible."""
    rising: list[int] = []
    number = 0
    for position in positions:
        number += 1
        at = bisect_left(rising, position)
        rising[at : at + 1] = [position]
    moved = number - len(rising)
    if moved:
        what_text = f"{what}s" if moved > 1 else what
        yield Edit("changed", "order", f"{moved} {what_text} at another place in the order")

"""Whether a function that is traced looks at a size that may be another one in another call: then so may be its graph.

Shape rules look at sizes too, but they run again. Whatever else does, a number that is computed, a captured array, is
seen. A function that looks at none gives the same equations at every size at which its comparisons come out the same.
"""

# The plan:
# 1. the first axes of some inputs are open, all of one size; each variable is typed twice, at that size and at another;
# 2. where the two differ, the trace shows an `OpenSize` in place of the size;
# 3. the ops' rules get plain shapes; what else needs the number of an open size is noted, and then all is in vain;
# 4. an open size that is passed to an op is remembered: at another size the attribute is another number;
# 5. comparisons of open sizes are remembered with their answers;
# 6. when the trace ends all variables have their plain types again.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from tensorgraph.engine.aval import Aval, Number, aval_of
from tensorgraph.engine.op import Op
from tensorgraph.engine.open_sizes import OpenSize, Sizes, at_sizes, has_open, replaced
from tensorgraph.graph.equation import Equation, Literal, Var

__all__ = ["SizeReads", "plain"]


def plain(aval: Any) -> Any:
    """A type as it is, of one with open sizes; lists of them and numbers too."""
    if isinstance(aval, list):
        return [plain(one) for one in aval]
    if type(aval) is OpenSize:
        return aval.own
    if isinstance(aval, Aval) and has_open(aval.shape):
        return aval_of(SimpleNamespace(shape=at_sizes(aval.shape), dtype=aval.dtype))
    return aval


class SizeReads:
    """What is seen of sizes while a function is traced.

    Parameters
    ----------
    inputs : sequence of Var
        Those whose first axis is open: all of the same size, which is at least 2 in the trace.

    Attributes
    ----------
    inputs : tuple of Var
    size : int
    clean : bool
        Whether nobody has looked at an open size.
    opened : mapping of Var to (Op, mapping of str or int to object)
        Attributes with open sizes, and operands by their places, of the equations that make these variables.
    """

    def __init__(self, inputs: Sequence[Var]) -> None:
        self.inputs, self.size, self.clean = tuple(inputs), int(inputs[0].aval.shape[0]), True
        self.opened: dict[Var, tuple[Op, dict[str | int, Any]]] = {}
        self._held: list[tuple[Callable[[Sizes], bool], bool]] = []
        self._avals: dict[Var, Aval] = {}  # plain ones, of variables that are shown with open sizes
        self._others: dict[Var, Aval] = {}
        self._closed: dict[Var, tuple[int, list[tuple[int, int]]]] = {}  # how many axes, and those that are not open
        for var in inputs:
            self._show(var, (3 * self.size, *var.aval.shape[1:]))

    def note(self) -> None:
        """An open size was looked at."""
        self.clean = False

    def hold(self, test: Callable[[Sizes], bool], answer: bool) -> None:
        """Open sizes were compared."""
        self._held.append((test, answer))

    def is_open(self, var: Any) -> bool:
        """Whether a variable has an open size."""
        return var in self._others

    def axes(self, var: Var) -> tuple[int, ...]:
        """The axes of a variable whose sizes are open; of one that was not there while the function was traced all."""
        other = self._others.get(var)
        own = self._avals.get(var, var.aval).shape
        return tuple(k for k, n in enumerate(own) if other is None or n != other.shape[k])

    def holds(self, sizes: Sizes) -> bool:
        """Whether all comparisons come out the same elsewhere."""
        return all(test(sizes) == answer for test, answer in self._held)

    def fits(self, var: Var, aval: Aval) -> bool:
        """Whether a variable differs from what it was only where it was open."""
        known = self._closed.get(var)
        if known is None:
            own = self._avals.get(var, var.aval).shape
            other = self._others.get(var, var.aval).shape
            same = [(k, n) for k, (n, there) in enumerate(zip(own, other, strict=True)) if n == there]
            known = self._closed[var] = len(own), same
        shape = aval.shape
        return len(shape) == known[0] and not [k for k, n in known[1] if shape[k] != n]

    def infer(self, op: Op, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[Aval, ...]:
        """What an op gives, by its rule."""
        return op.infer(tuple(map(plain, avals)), at_sizes(attrs))

    def made(
        self, op: Op, atoms: tuple[Any, ...], attrs: dict[str, Any], outputs: Sequence[Var]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """An equation is made: it is typed at the other size too. Gives its inputs and attributes as they are."""
        opened: dict[str | int, Any] = {key: value for key, value in attrs.items() if has_open(value)}
        opened |= {k: a.value for k, a in enumerate(atoms) if type(a) is Literal and type(a.value) is OpenSize}
        if any(type(a) is Literal and type(a.value) is OpenSize for atom in atoms if type(atom) is tuple for a in atom):
            self.note()
            atoms = tuple(map(_plain_atom, atoms))
        if self.clean and (opened or any(a in self._others for a in _variables(atoms))):
            try:
                avals = op.infer(tuple(map(self._abstract, atoms)), at_sizes(attrs, self._size))
                if opened:
                    self.opened[outputs[0]] = op, opened
                for var, aval in zip(outputs, avals, strict=True):
                    if var.aval.shape != aval.shape:
                        self._show(var, aval.shape)
            except Exception:  # the rule refuses the size: it says what is expected of some axis
                self.clean = False
        return (tuple(map(_plain_atom, atoms)), at_sizes(attrs)) if opened else (atoms, attrs)

    def kept(self, eq: Equation, variables: Sequence[Var]) -> None:
        """What an op keeps for its derivative becomes variables: they are typed at the other size too."""
        if not self.clean or not any(a in self._others for a in eq.variables()):
            return
        opened = self.opened.get(eq.outputs[0], (eq.op, {}))[1]
        inputs = [opened.get(k, atom) for k, atom in enumerate(eq.inputs)]
        given = tuple(self._abstract(Literal(a) if k in opened else a) for k, a in enumerate(inputs))
        try:
            avals = eq.op.infer_residuals(given, at_sizes({**eq.attrs, **_named(opened)}, self._size))
            for var, aval in zip(variables, avals or (), strict=True):
                if var.aval.shape != aval.shape:
                    self._show(var, aval.shape)
        except Exception:  # the rule refuses the size
            self.clean = False

    def at(self, eq: Equation, change: Callable[[OpenSize], Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The inputs and the attributes of an equation elsewhere, where open sizes are what `change` makes of them."""
        known = self.opened.get(eq.outputs[0]) if eq.outputs else None
        if known is None:
            return eq.inputs, eq.attrs
        values = {key: replaced(value, change) for key, value in known[1].items()}
        inputs = tuple(Literal(values[k]) if k in values else a for k, a in enumerate(eq.inputs))
        return inputs, {**eq.attrs, **_named(values)}

    def _size(self, var: Var, axis: int) -> int:
        return self._others.get(var, var.aval).shape[axis]

    def _abstract(self, atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [self._abstract(a) for a in atom]
        if type(atom) is not Var:
            return at_sizes(atom.value, self._size)
        aval = self._others.get(atom, atom.aval)
        return aval.sample if isinstance(aval, Number) else aval

    def _show(self, var: Var, other: tuple[int, ...]) -> None:
        aval = var.aval
        if len(other) != len(aval.shape):
            raise ValueError("how many axes there are depends on the size")
        self._avals[var] = aval
        self._others[var] = aval_of(SimpleNamespace(shape=other, dtype=aval.dtype))
        shape = tuple(
            own if own == there else OpenSize(own, _along(var, axis), self)
            for axis, (own, there) in enumerate(zip(aval.shape, other, strict=True))
        )
        var.aval = aval_of(SimpleNamespace(shape=shape, dtype=aval.dtype))

    def end(self) -> None:
        """Give all variables their plain types."""
        for var, aval in self._avals.items():
            var.aval = aval


def _along(var: Var, axis: int) -> Callable[[Sizes], int]:
    return lambda sizes: sizes(var, axis)


def _named(opened: Mapping[str | int, Any]) -> dict[str, Any]:
    """The attributes among what is open of an equation."""
    return {key: value for key, value in opened.items() if isinstance(key, str)}


def _variables(atoms: Sequence[Any]) -> Iterator[Var]:
    for atom in atoms:
        if isinstance(atom, tuple):
            yield from _variables(atom)
        elif type(atom) is Var:
            yield atom


def _plain_atom(atom: Any) -> Any:
    """An operand without open sizes."""
    if isinstance(atom, tuple):
        return tuple(map(_plain_atom, atom))
    return Literal(atom.value.own) if type(atom) is Literal and type(atom.value) is OpenSize else atom

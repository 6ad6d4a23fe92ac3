"""Whether a function that is traced looks at a size that may be another one in another call: then so may be its graph.

Shape rules look at sizes too, but they run again. Whatever else does, an ``if``, a number that is computed, a captured
array, is seen. A function that looks at none gives the same equations at every size.
"""

# The plan:
# 1. the first axes of some inputs are open, all of one size; each variable is typed twice, at that size and at another;
# 2. where the two differ, the trace shows a `WatchedShape` in place of the shape;
# 3. the ops' rules get plain shapes; what else looks at an open size is noted, and then all is in vain;
# 4. an open size that is passed to an op is remembered: at another size the attribute is another number;
# 5. when the trace ends all variables have their plain types again.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from tensorgraph.engine.aval import Aval, Number, aval_of
from tensorgraph.engine.op import Op
from tensorgraph.engine.open_sizes import OpenSize, WatchedShape
from tensorgraph.graph.equation import Equation, Literal, Var

__all__ = ["SizeReads", "plain"]


def plain(aval: Any) -> Any:
    """A type as it is, of one whose shape is watched; lists of them and numbers too."""
    if isinstance(aval, list):
        return [plain(one) for one in aval]
    if type(aval) is OpenSize:
        return aval.own
    return aval.shape.of if isinstance(aval, Aval) and type(aval.shape) is WatchedShape else aval


class SizeReads:
    """What is seen of sizes while a function is traced.

    Parameters
    ----------
    inputs : sequence of Var
        Those whose first axis is open: all of the same size, which is at least 2.

    Attributes
    ----------
    inputs : tuple of Var
    size : int
    clean : bool
        Whether nobody has looked at an open size.
    least : int
        The least size: 2 where somebody has asked whether one is 1.
    opened : mapping of Var to (Op, mapping of str or int to object)
        Attributes with open sizes, and operands by their places, of the equations that make these variables.
    """

    def __init__(self, inputs: Sequence[Var]) -> None:
        self.inputs, self.size, self.clean = tuple(inputs), int(inputs[0].aval.shape[0]), True
        self.least = 1
        self.opened: dict[Var, tuple[Op, dict[str | int, Any]]] = {}
        self.other = 2 * self.size + 3
        self._avals: dict[Var, Aval] = {}  # plain ones, of variables that are shown with watched shapes
        self._others: dict[Var, Aval] = {}
        for var in inputs:
            self._show(var, (self.other, *var.aval.shape[1:]))

    def note(self, one: bool = False) -> None:
        """An open size was looked at; `one`: it was asked whether it is 1."""
        if one:
            self.least = 2
        else:
            self.clean = False

    def is_open(self, var: Any) -> bool:
        """Whether a variable has an open size."""
        return var in self._others

    def infer(self, op: Op, avals: tuple[Any, ...], attrs: Mapping[str, Any]) -> tuple[Aval, ...]:
        """What an op gives, by its rule."""
        return op.infer(tuple(map(plain, avals)), _at(attrs, own=True))

    def made(
        self, op: Op, atoms: tuple[Any, ...], attrs: dict[str, Any], outputs: Sequence[Var]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """An equation is made: it is typed at the other size too. Gives its inputs and attributes as they are."""
        opened: dict[str | int, Any] = {key: value for key, value in attrs.items() if _is_open(value)}
        opened |= {k: a.value for k, a in enumerate(atoms) if type(a) is Literal and type(a.value) is OpenSize}
        if self.clean and (opened or any(a in self._others for a in _variables(atoms))):
            try:
                avals = op.infer(tuple(map(self._abstract, atoms)), _at(attrs, own=False))
                if opened:
                    self.opened[outputs[0]] = op, {key: _sizes(value) for key, value in opened.items()}
                for var, aval in zip(outputs, avals, strict=True):
                    if var.aval.shape != aval.shape:
                        self._show(var, aval.shape)
            except Exception:  # the rule refuses the size: it says what is expected of some axis
                self.clean = False
        if not opened:
            return atoms, attrs
        return tuple(Literal(opened[k].own) if k in opened else a for k, a in enumerate(atoms)), _at(attrs, own=True)

    def at(self, eq: Equation, size: int, within: SizeReads | None = None) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The inputs and the attributes of an equation where the open size is this one; `within` leaves it open."""
        known = self.opened.get(eq.outputs[0]) if eq.outputs else None
        if known is None:
            return eq.inputs, eq.attrs

        def there(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(there, value))
            if type(value) is not OpenSize:
                return value
            count = value.own // self.size
            return count * size if within is None else OpenSize.made(count * size, count * within.other, within.note)

        values = {key: there(value) for key, value in known[1].items()}
        inputs = tuple(Literal(values[k]) if k in values else a for k, a in enumerate(eq.inputs))
        return inputs, {**eq.attrs, **{key: value for key, value in values.items() if isinstance(key, str)}}

    def _abstract(self, atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [self._abstract(a) for a in atom]
        if type(atom) is not Var:
            return _at(atom.value, own=False)
        aval = self._others.get(atom, atom.aval)
        return aval.sample if isinstance(aval, Number) else aval

    def _show(self, var: Var, other: tuple[int, ...]) -> None:
        aval = var.aval
        if len(other) != len(aval.shape):
            raise ValueError("how many axes there are depends on the size")
        self._avals[var] = aval
        self._others[var] = aval_of(SimpleNamespace(shape=other, dtype=aval.dtype))
        shape = WatchedShape.made(aval.shape, other, (self.size, self.other), self.note, aval)
        var.aval = aval_of(SimpleNamespace(shape=shape, dtype=aval.dtype))

    def end(self) -> None:
        """Give all variables their plain types."""
        for var, aval in self._avals.items():
            var.aval = aval


def _variables(atoms: Sequence[Any]) -> Iterator[Var]:
    for atom in atoms:
        if isinstance(atom, tuple):
            yield from _variables(atom)
        elif type(atom) is Var:
            yield atom


def _is_open(value: Any) -> bool:
    kind = type(value)
    return kind is OpenSize or kind is WatchedShape or (kind is tuple and any(map(_is_open, value)))


def _sizes(value: Any) -> Any:
    """An attribute with its open sizes one by one."""
    if isinstance(value, WatchedShape):
        return value.sizes()
    return tuple(map(_sizes, value)) if isinstance(value, tuple) else value


def _at(value: Any, own: bool) -> Any:
    """An attribute, or a table of them, at the open size or at the other one."""
    if isinstance(value, dict):
        return {key: _at(one, own) for key, one in value.items()}
    if isinstance(value, WatchedShape):
        return value.own if own else value.other
    if type(value) is tuple and _is_open(value):
        return tuple(_at(one, own) for one in value)
    return (value.own if own else value.other) if type(value) is OpenSize else value

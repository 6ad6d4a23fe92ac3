"""`direct_call`: all of a call that is like one before but for its numbers, as one generated function.

Small steps take microseconds, of which each call of a method, each loop over nothing and each list is a hundredth. So
the text says what there is to do for one entry and one way of giving arguments, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgraph.compile.entry import Entry
from tensorgraph.compile.signatures import is_huge
from tensorgraph.engine.tensor import Tensor
from tensorgraph.engine.tree import flatten
from tensorgraph.graph.graph import typed_key
from tensorgraph.graph.trace import example_aval

__all__ = ["UNLIKE", "DirectCall", "direct_call"]

ndarray = np.ndarray
UNLIKE = object()
"""What a direct call gives where a longer look is needed."""

DirectCall = Callable[[tuple[Any, ...]], Any]


class _Text:
    """Lines of a function of `args`, and what their names mean.

    Parameters
    ----------
    args : sequence
        Of a call; those of other calls are compared with them.
    fixed : frozenset of type
        Python's numbers of these types belong to what must be the same.
    looked_at : frozenset of int
        Which arrays among them are looked at by what comes after these lines.
    """

    def __init__(self, args: Sequence[Any], fixed: frozenset[type], looked_at: frozenset[int] = frozenset()) -> None:
        self.count, self.fixed, self.looked_at = len(args), fixed, looked_at
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {"ndarray": ndarray, "key": typed_key, "unlike": UNLIKE}
        self.arrays: list[str] = []
        self.fits = all(self._argument(n, leaf) for n, leaf in enumerate(args))

    @property
    def given(self) -> str:
        """The tuple of the arrays."""
        return "args" if len(self.arrays) == self.count else f"({''.join(f'{name}, ' for name in self.arrays)})"

    def unless(self, condition: str) -> None:
        """Look longer where this does not hold."""
        self.lines.append(f"if not ({condition}): return unlike")

    def _argument(self, n: int, leaf: Any) -> bool:
        """Compare an argument with this one; False where one comparison does not tell."""
        kind, name = type(leaf), f"a{n}"
        self.scope[f"t{n}"] = kind
        if kind is ndarray or kind is Tensor:
            return self._array(n, name, leaf)
        if kind in self.fixed:
            self.scope[f"x{n}"] = typed_key(leaf)
            self.unless(f"type({name}) is t{n} and key({name}) == x{n}")
        elif is_huge(leaf):
            return False
        elif kind is int or kind is float:
            self.unless(f"type({name}) is t{n}")
            if kind is int:
                self.unless(f"{-(2**63)} <= {name} < {2**63}")
            self.arrays.append(name)
        elif example_aval(leaf) is None and flatten([leaf])[1].children[0].kind is None:
            self.scope[f"x{n}"] = leaf
            self.unless(f"{name} is x{n}")
        elif leaf is None:
            self.unless(f"{name} is None")
        else:
            return False
        return True

    def _array(self, n: int, name: str, leaf: Any) -> bool:
        value = leaf if type(leaf) is ndarray else leaf._value
        aval = example_aval(leaf)
        if aval is None or aval.dtype is not value.dtype:
            return False  # it is converted, as one in another order of bytes
        if type(leaf) is Tensor and leaf._node is not None:
            return False
        if len(self.arrays) not in self.looked_at:
            self.scope |= {f"s{n}": value.shape, f"d{n}": value.dtype}
            self.unless(f"type({name}) is t{n}")
            if type(leaf) is Tensor:
                self.unless(f"{name}._node is None")
                self.lines.append(f"{name} = {name}._value")
                self.unless(f"type({name}) is ndarray")
            self.unless(f"{name}.dtype is d{n} and {name}.shape == s{n}")
        self.arrays.append(name)
        return True

    def function(self, last: Sequence[str], scope: dict[str, Any]) -> DirectCall:
        """The function of these lines and the last ones."""
        names = "".join(f"a{n}, " for n in range(self.count))
        lines = ["def call(args):", f"    if len(args) != {self.count}: return unlike"]
        lines += [f"    {names}= args"] if self.count else []
        lines += [*(f"    {line}" for line in (*self.lines, *last)), ""]
        scope = self.scope | scope | {"__name__": __name__, "__package__": __package__}  # a frame of ours, as to lines
        exec(compile("\n".join(lines), "<tensorgraph call of a compiled function>", "exec"), scope)
        call: DirectCall = scope["call"]
        return call


def direct_call(
    entry: Entry, args: Sequence[Any], fixed: frozenset[type], run: Callable[[list[Any]], Any] | None = None
) -> DirectCall | None:
    """A function of a call's arguments that runs an entry where they are as in this call, and guards hold.

    Parameters
    ----------
    entry : Entry
    args : sequence
        Of the call, none of them by keyword.
    fixed : frozenset of type
        Python's numbers of these types belong to what must be the same.
    run : callable, optional
        What takes the arrays, where it is not the entry itself.

    Returns
    -------
    callable or None
        It gives `UNLIKE` where a longer look might still find that the entry can be run. None where arguments are
        nested.
    """
    text = _Text(args, fixed)
    if not text.fits:
        return None
    text.unless("holds()")
    scope = {"holds": entry.holds, "run": run or entry.run, "statistics": entry.statistics}
    longer = text.function(["statistics.runs += 1", f"return run([{', '.join(text.arrays)}])"], scope)
    if run is not None:
        return longer
    text = _Text(args, fixed, entry.looked_at)
    body = entry.direct_text(text.arrays, text.given)
    if body is None:
        return longer
    text.unless("holds()")
    return text.function(body[0], {"longer": longer, "holds": entry.holds} | body[1])

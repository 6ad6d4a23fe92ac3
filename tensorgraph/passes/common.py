"""Common subexpressions: the same op of the same inputs is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorgraph.graph.graph import Equation, Graph, Literal, Var, digest, typed_key
from tensorgraph.transforms.checkpoint import checkpoint_op

__all__ = ["Common", "equal_constants"]

DIGESTED_UP_TO = 1 << 20  # bytes of a constant that are read to see whether it is there twice


class Common:
    """The equations met so far, by what they compute."""

    def __init__(self) -> None:
        self.first: dict[Any, Equation] = {}
        self.last: tuple[Equation | None, Any] = None, None  # what was looked for last, and its key

    def seen(self, eq: Equation) -> Equation | None:
        """The earlier equation that computes the same."""
        self.last = eq, _key(eq)
        return None if self.last[1] is None else self.first.get(self.last[1])

    def add(self, eq: Equation) -> None:
        """Let later equations be compared with this one."""
        key = self.last[1] if self.last[0] is eq else _key(eq)
        if key is not None:
            self.first.setdefault(key, eq)


def _key(eq: Equation) -> Any:
    """What an equation computes: its op, typed attributes and inputs. None: nothing is the same as this."""
    # a region that is computed again in the backward pass stays apart from what it was computed from
    if eq.op is checkpoint_op or not eq.outputs:
        return None
    key = (
        eq.op,
        tuple(tuple(map(_atom, a)) if isinstance(a, tuple) else _atom(a) for a in eq.inputs),
        tuple((name, typed_key(value)) for name, value in sorted(eq.attrs.items())),
        # a default dtype may have been another when one of them was traced
        tuple((v.aval.shape, v.aval.dtype.char) for v in eq.outputs),
    )
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _atom(atom: Var | Literal) -> Any:
    return atom if isinstance(atom, Var) else ("literal", typed_key(atom.value))


def equal_constants(graph: Graph, apart: set[Var]) -> Mapping[Var, Var]:
    """Constants that hold the same numbers as an earlier one, with that one; none of those in `apart`."""
    groups: dict[Any, list[Var]] = {}
    for var, array in graph.consts.items():
        if var not in apart and array.nbytes <= DIGESTED_UP_TO and array.flags.c_contiguous:
            groups.setdefault(var.aval, []).append(var)
    same: dict[Var, Var] = {}
    for variables in groups.values():
        if len(variables) > 1:
            first: dict[str, Var] = {}
            for var in variables:
                known = first.setdefault(digest(graph.consts[var]), var)
                if known is not var:
                    same[var] = known
    return same

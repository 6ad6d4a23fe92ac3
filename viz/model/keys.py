"""Index keys in the user's notation: ``emb[x]``, ``z[:, 4:8]``, and in a template ``xs[t]`` where ``t = 0 ... 19``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tensorgraph.graph.graph import Equation, Var

__all__ = ["Key", "key_of"]

COUNTERS = "tnkm"  # what the number of a repeat is called, unless something in the key is called so
NAMELESS = "ijkl"  # arrays of places that have no name


class Key:
    """A key as text: what is read, `inside` the brackets, and what its counter counts where repeats differ."""

    def __init__(self, base: str, inside: str, counter: str) -> None:
        self.base, self.inside, self.counter = base, inside, counter

    def __str__(self) -> str:
        return f"{self.base}[{self.inside}]"


def key_of(equations: Sequence[Equation]) -> Key | None:
    """The key of an index op, one equation for each repeat of the template that it stands in; None of another op."""
    first = equations[0]
    static = first.attrs.get("key")
    if getattr(first.op.kind, "name", first.op.kind) != "index" or not isinstance(static, tuple):
        return None
    base = next((eq.inputs[0].name for eq in equations if isinstance(eq.inputs[0], Var) and eq.inputs[0].name), None)
    base = base or ""  # a name that it has not could be that of another value
    names = _names(first)
    numbers = [_numbers(eq.attrs["key"]) for eq in equations]
    counter = next(letter for letter in (*COUNTERS, "t_") if letter not in (base, *names))
    texts: list[str] = []
    told = ""
    for series in zip(*numbers, strict=False):
        text = str(series[0])
        if len(set(series)) > 1:
            if not told:
                told, origin = _count(series), series
                text = counter
            else:
                apart = {a - b for a, b in zip(series, origin, strict=True)}
                text = "..." if len(apart) > 1 else f"{counter}{apart.pop():+d}"
                text = text.removesuffix("+0")
        texts.append(text)
    return Key(base, _text(static, names, iter(texts)), f"{counter} = {told}" if told else "")


def _names(eq: Equation) -> list[str]:
    """What the arrays of places are called, in the order of the key."""
    atoms = [a for atom in eq.inputs[1:] if isinstance(atom, tuple) for a in atom]
    spare = iter(NAMELESS * (1 + len(atoms) // len(NAMELESS)))
    return [a.name or next(spare) if isinstance(a, Var) else str(a.value) for a in atoms]


def _numbers(static: tuple[Any, ...]) -> list[int]:
    """The integers of a key that say where it looks."""
    found: list[int] = []
    for item in static:
        if type(item) is int:
            found.append(item)
        elif isinstance(item, tuple) and item[0] == "slice":
            found += [bound for bound in item[1:] if type(bound) is int]
    return found


def _count(series: Sequence[int]) -> str:
    """``0 ... 19``, ``0, 4 ... 76``; of no even steps the first and the last."""
    step = series[1] - series[0]
    even = all(b - a == step for a, b in pairwise(series))
    return f"{series[0]}{f', {series[1]}' if even and step != 1 else ''} ... {series[-1]}"


def _text(static: tuple[Any, ...], names: Sequence[str], numbers: Any) -> str:
    parts = []
    for item in static:
        if type(item) is int:
            parts.append(next(numbers))
        elif item == "newaxis":
            parts.append("None")
        elif isinstance(item, tuple) and item[0] == "slice":
            start, stop, step = (next(numbers) if type(b) is int else "" if b is None else str(b) for b in item[1:])
            parts.append(f"{start}:{stop}" + (f":{step}" if step else ""))
        elif isinstance(item, tuple) and item[0] == "index":
            parts.append(names[item[1]] if item[1] < len(names) else "...")
        else:
            parts.append(str(item))
    return ", ".join(parts) or "()"

"""A search space: hyperparameters by name, each on its scale, some of them there only where others say so."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tensorgraph.arguments import Natural, checked
from tensorgraph.arguments.near import near
from tensorgraph.tune.scales import Scale, scale_from

__all__ = ["Space", "number_of", "seed_of"]

MOST_POINTS = 1_000_000  # of a grid


def number_of(*words: Any) -> float:
    """A number in [0, 1) that depends on these words and on nothing else, on every machine the same."""
    text = "/".join(map(str, words)).encode()
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 11) / 2.0**53


def seed_of(*words: Any) -> int:
    """A seed, from 0 to 2^31 - 1, likewise."""
    return int(number_of("seed", *words) * 2**31)


class Space:
    """What a study searches: hyperparameters by name.

    Parameters
    ----------
    scales : dict of str to Scale, optional
        For names that are no keywords of Python.
    **more : Scale
        ``lr=tune.log(1e-4, 1)`` and so on. One with a condition stands after those it asks for.

    Raises
    ------
    TypeError
        Where something is not a scale.
    ValueError
        Where a condition asks for what does not stand before, or for a value that is never drawn.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> space = tune.Space(lr=tune.log(1e-4, 1), layers=tune.int(1, 4), batch=tune.pow2(16, 256))
    >>> print(space)
    lr     log(0.0001, 1.0)
    layers int(1, 4)
    batch  pow2(16, 256)
    >>> space.draw(seed=0, slot=7) == space.draw(seed=0, slot=7)
    True
    """

    @checked
    def __init__(self, scales: Mapping[str, Scale] | None = None, /, **more: Scale) -> None:
        both = [*(scales or {}).items(), *more.items()]
        self._scales: dict[str, Scale] = {}
        for name, scale in both:
            if not name or name != name.strip() or any(mark in name for mark in "/.\n\t"):
                raise ValueError(f"a hyperparameter's name has no '/', '.' or white space at its ends, got {name!r}")
            if name in self._scales:
                raise ValueError(f"the hyperparameter {name!r} is given twice")
            self._check(name, scale)
            for before, other in self._scales.items():
                if scale.name(name) == other.name(before):
                    raise ValueError(f"{name!r} and {before!r} are both kept as {scale.name(name)!r}; rename one")
            self._scales[name] = scale
        if not self._scales:
            raise ValueError("a space has at least one hyperparameter, such as Space(lr=tune.log(1e-4, 1))")

    def _check(self, name: str, scale: Scale) -> None:
        """Hold a condition to what stands before."""
        for other in scale.asks:
            if other not in self._scales:
                close = near(other, self._scales)
                known = ", ".join(self._scales) or "nothing"
                hint = f"; did you mean {close!r}?" if close else ""
                raise ValueError(f"{name} asks for {other!r}, and before it stand {known}{hint}")
            if self._scales[other].count:
                raise ValueError(f"{name} asks for {other!r}, which has several values itself")
        for other, values in scale.condition:
            never = [value for value in values if not _held(self._scales[other], value)]
            if never or not values:
                raise ValueError(f"{name} is there when {other} is {list(values)!r}; it is {self._scales[other]}")
        if scale.count and not (self._scales[scale.count].whole and self._scales[scale.count].low >= 0):
            raise ValueError(f"{name} has as many values as {scale.count} says, which must be an int of at least 0")

    def __getitem__(self, name: str) -> Scale:
        return self._scales[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scales)

    def __len__(self) -> int:
        return len(self._scales)

    def __contains__(self, name: object) -> bool:
        return name in self._scales

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self._written() == other._written()

    def __hash__(self) -> int:
        return hash(self._written())

    def _written(self) -> tuple[tuple[str, str], ...]:
        """Names and scales as they are written: choice(0, 1) is not choice(0.0, 1.0), though Python's 0 equals 0.0."""
        return tuple((name, str(scale)) for name, scale in self._scales.items())

    def __str__(self) -> str:
        width = max(map(len, self._scales))
        return "\n".join(f"{name.ljust(width)} {scale}" for name, scale in self._scales.items())

    def __repr__(self) -> str:
        return f"Space({', '.join(f'{name}={scale}' for name, scale in self._scales.items())})"

    # values ----------------------------------------------------------------------------------------------------------

    def filled(self, give: Callable[[str, str, Scale], Any]) -> dict[str, Any]:
        """A value of each hyperparameter that is there: `give` takes its name, the name of what is stored, its scale.

        Of one with a count it is asked once a value, and the values come as a tuple.
        """
        values: dict[str, Any] = {}
        for name, scale in self._scales.items():
            if not all(_among(values[other], some) if other in values else False for other, some in scale.condition):
                continue
            if scale.count:
                if scale.count in values:
                    stored = (scale.name(f"{name}.{i}") for i in range(values[scale.count]))
                    values[name] = tuple(give(f"{name}.{i}", key, scale) for i, key in enumerate(stored))
                continue
            values[name] = give(name, scale.name(name), scale)
        return values

    @checked
    def draw(self, *, seed: Natural, slot: Natural) -> dict[str, Any]:
        """The random values of a slot: of the seed, the slot and each name alone, so the same on every machine.

        Parameters
        ----------
        seed : int
            The study's.
        slot : int
            Its number, from 0.

        Returns
        -------
        dict of str to value
            Those that are there; a tuple where there are several.
        """
        return self.filled(lambda name, key, scale: scale.drawn(number_of(seed, slot, name)))

    def points(self, points: int) -> list[dict[str, Any]]:
        """The points of a grid: so many values of each hyperparameter, each with each."""
        tied = [name for name, scale in self._scales.items() if scale.condition or scale.count]
        if tied:
            raise ValueError(
                f"a grid has no hyperparameters that hang on others, and {tied[0]!r} does; use tune.random"
            )
        axes = [scale.spaced(points) for scale in self._scales.values()]
        count = math.prod(map(len, axes))
        if count > MOST_POINTS:
            raise ValueError(f"this grid has {count} points, more than the {MOST_POINTS} that one may; use tune.random")
        return [dict(zip(self._scales, values)) for values in itertools.product(*axes)]

    def shuffled(self, points: int, seed: int) -> list[dict[str, Any]]:
        """The same points in an order of the seed's."""
        grid = self.points(points)
        return [grid[i] for i in sorted(range(len(grid)), key=lambda i: seed_of(seed, "grid", i))]

    def stored(self, values: Mapping[str, Any]) -> dict[str, tuple[Any, Scale]]:
        """What a study keeps of a trial's values: by the stored name, the stored value and its scale."""
        kept: dict[str, tuple[Any, Scale]] = {}
        for name, value in values.items():
            scale = self._scales[name]
            for i, one in enumerate(value) if scale.count else [(-1, value)]:
                kept[scale.name(name if i < 0 else f"{name}.{i}")] = scale.stored(one), scale
        return kept

    def narrowed(self, best: list[dict[str, Any]]) -> Space:
        """The space about the best trials' values; what fewer than two of them have stays as it is."""
        scales: dict[str, Scale] = {}
        for name, scale in self._scales.items():
            found = [trial[name] for trial in best if name in trial]
            every = [one for value in found for one in value] if scale.count else found
            scales[name] = scale.narrowed(every) if len(every) > 1 else scale
        return Space(_possible(scales))

    # as text ---------------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values; `from_json` reads it back."""
        return {name: scale.as_json() for name, scale in self._scales.items()}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Space:
        """Make a space from what `as_json` gave."""
        return cls({str(name): scale_from(scale) for name, scale in said.items()})

    def difference(self, other: Space) -> str:
        """In what another space differs, in words; empty where it does not."""
        told = []
        for name in dict.fromkeys([*self, *other]):
            if name not in other:
                told.append(f"{name} is new, {self[name]}")
            elif name not in self:
                told.append(f"{name} is gone, {other[name]}")
            elif str(self[name]) != str(other[name]):
                told.append(f"{name} was {other[name]} and is {self[name]}")
        if not told and list(self) != list(other):
            told.append(f"the order was {', '.join(other)} and is {', '.join(self)}")
        return "; ".join(told)


def _possible(scales: dict[str, Scale]) -> dict[str, Scale]:
    """Narrowed scales without what can no longer happen: a condition's values that are not drawn any more."""
    kept: dict[str, Scale] = {}
    for name, scale in scales.items():
        condition = tuple(
            (other, tuple(value for value in values if other in kept and _held(kept[other], value)))
            for other, values in scale.condition
        )
        if all(values for _, values in condition) and (not scale.count or scale.count in kept):
            kept[name] = replace(scale, condition=condition)
    return kept


def _held(scale: Scale, value: Any) -> bool:
    try:
        return scale.holds(value)
    except TypeError:
        return False


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    return any(type(one) is type(value) and one == value for one in values) or (
        not isinstance(value, bool | str) and value in [v for v in values if not isinstance(v, bool | str)]
    )

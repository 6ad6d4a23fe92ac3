"""The scales on which hyperparameters are tried: how a value is stored, drawn, narrowed and said as JSON.

A value is drawn evenly on its stored scale: the logarithm of a learning rate, 1 - beta of an average's decay, the
exponent of a power of two. `drawn` takes a number u in [0, 1), so that whoever gives u decides what is random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from tensorgraph.arguments import Name, checked

__all__ = ["SCALES", "Choice", "Ewa", "Int", "Log", "LogInt", "Pow2", "Scale", "Uniform", "scale_from"]


@dataclass(frozen=True)
class Scale:
    """A hyperparameter's scale: its lowest and highest value, and how the ones between are spread.

    Attributes
    ----------
    low, high : number
        Both may be drawn.
    condition : tuple of (name, values)
        The hyperparameter is there only where each of these others has one of the values.
    count : str
        Name of a hyperparameter that says how many values this one has; empty where it has one.
    """

    low: float
    high: float
    condition: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    count: str = ""

    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"{self.word}: low must be at most high, got {self.low!r} and {self.high!r}")

    def when(self, **conditions: Any) -> Scale:
        """The same scale, of a hyperparameter that is there only where others have these values.

        Parameters
        ----------
        **conditions
            By name of the other hyperparameter, which must stand before this one in the space: its value, or a list of
            values.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> space = tune.Space(rule=tune.choice("sgd", "adam"), beta=tune.ewa(0.9, 0.999).when(rule="adam"))
        >>> sorted({tuple(space.draw(seed=0, slot=slot)) for slot in range(9)})
        [('rule',), ('rule', 'beta')]
        """
        if not conditions:
            raise ValueError("when: name the other hyperparameter and its values, such as when(rule='adam')")
        more = tuple((name, _several(value)) for name, value in conditions.items())
        for name, _ in self.condition:
            if name in conditions:
                raise ValueError(f"when: {name!r} is asked for twice; give all of its values at once, as a list")
        return replace(self, condition=(*self.condition, *more))

    @checked
    def each(self, count: Name) -> Scale:
        """The same scale, for as many values as another hyperparameter says: units of each layer.

        Parameters
        ----------
        count : str
            Name of the other, an `int`, which must stand before this one in the space.

        Examples
        --------
        >>> from tensorgraph import tune
        >>> space = tune.Space(layers=tune.int(1, 3), units=tune.log_int(16, 256).each("layers"))
        >>> {name: value for name, value in space.draw(seed=0, slot=0).items()}
        {'layers': 3, 'units': (97, 29, 162)}
        """
        return replace(self, count=count)

    @property
    def asks(self) -> list[str]:
        """The names of the hyperparameters that it hangs on."""
        return [*(other for other, _ in self.condition), *([self.count] if self.count else [])]

    @property
    def word(self) -> str:
        """The function by which a user writes the scale."""
        name = type(self).__name__
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")

    # one value -----------------------------------------------------------------------------------------------------

    def stored(self, value: Any) -> Any:
        """A value as the study keeps it."""
        return value

    def value(self, stored: Any) -> Any:
        """What the objective gets of a value that is kept."""
        return stored

    def place(self, value: Any) -> float:
        """Where a value stands on the scale, as a number: what is drawn evenly."""
        return float(value)

    def at(self, place: float) -> Any:
        """The value at a place of the scale; never outside of its bounds."""
        return min(max(place, self.low), self.high)

    def ends(self) -> tuple[float, float]:
        """The places of the lowest and the highest value, in rising order."""
        ends = self.place(self.low), self.place(self.high)
        return min(ends), max(ends)

    def drawn(self, u: float) -> Any:
        """The value that a number u in [0, 1) stands for."""
        low, high = self.ends()
        return self.at(low + u * (high - low))

    def spaced(self, points: int) -> list[Any]:
        """So many values with equal distances on the scale, both ends among them; fewer where there are fewer."""
        low, high = self.ends()
        middle = (low + high) / 2
        places = [middle] if points == 1 else [low + (high - low) * i / (points - 1) for i in range(points)]
        return list(dict.fromkeys(self.at(place) for place in places))

    def holds(self, value: Any) -> bool:
        """Whether the value is one of the scale's."""
        return bool(self.low <= value <= self.high)

    # the whole scale -----------------------------------------------------------------------------------------------

    def narrowed(self, values: Sequence[Any]) -> Scale:
        """The scale of what lies about the best values: their span, wider at each end by the gap expected between
        neighbours, and never wider than before.
        """
        places = [self.place(value) for value in values]
        low, high = self.ends()
        span = max(places) - min(places)
        margin = max(span / max(len(places) - 1, 1), self._least())
        narrow = self.at(max(low, min(places) - margin)), self.at(min(high, max(places) + margin))
        return replace(self, low=min(narrow), high=max(narrow))

    def _least(self) -> float:
        """What is left at each side of a single value."""
        low, high = self.ends()
        return 0.01 * (high - low)

    def name(self, name: str) -> str:
        """What the study calls the hyperparameter."""
        return name

    def distribution(self) -> Any:
        """What Optuna is told of the stored values."""
        import optuna

        return optuna.distributions.FloatDistribution(float(self.low), float(self.high))

    def as_json(self) -> dict[str, Any]:
        """Everything, for study.json; `scale_from` reads it back."""
        said: dict[str, Any] = {"scale": type(self).__name__, "low": self.low, "high": self.high}
        return said | self._further()

    def _further(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if self.condition:
            said["when"] = {name: list(values) for name, values in self.condition}
        if self.count:
            said["each"] = self.count
        return said

    def arguments(self) -> str:
        """What stands between the parentheses where a user writes the scale."""
        return f"{self.low!r}, {self.high!r}"

    def __str__(self) -> str:
        when = "".join(f".when({n}={v[0]!r})" if len(v) == 1 else f".when({n}={list(v)!r})" for n, v in self.condition)
        return f"{self.word}({self.arguments()})" + when + (f".each({self.count!r})" if self.count else "")


def _plain(value: Any) -> Any:
    """What JSON can say of one of NumPy's numbers."""
    return value.item() if isinstance(value, np.generic) else value


def _several(values: Any) -> tuple[Any, ...]:
    """The values of a condition, in an order that is the same in every process."""
    if isinstance(values, set | frozenset):
        values = sorted(values, key=repr)
    return tuple(map(_plain, values)) if isinstance(values, list | tuple | range | np.ndarray) else (_plain(values),)


@dataclass(frozen=True)
class Uniform(Scale):
    """Evenly between two numbers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.high - self.low):
            raise ValueError(f"uniform: {self.low!r} and {self.high!r} are too far apart for a float; use log")


@dataclass(frozen=True)
class Log(Scale):
    """Evenly in the logarithm."""

    def place(self, value: Any) -> float:
        return math.log10(value)

    def at(self, place: float) -> Any:
        return float(min(max(10.0**place, self.low), self.high))

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.FloatDistribution(float(self.low), float(self.high), log=True)


@dataclass(frozen=True)
class Ewa(Scale):
    """The decay of an exponentially weighted average: 1 - 10^r, evenly in r; 1 - beta is what is stored."""

    def stored(self, value: Any) -> float:
        return 1.0 - float(value)

    def value(self, stored: Any) -> float:
        return min(max(1.0 - float(stored), self.low), self.high)  # 1 - (1 - 0.1) is below 0.1

    def place(self, value: Any) -> float:
        return -math.log10(1.0 - value)

    def at(self, place: float) -> Any:
        return float(min(max(1.0 - 10.0**-place, self.low), self.high))

    def name(self, name: str) -> str:
        return f"1-{name}"

    def distribution(self) -> Any:
        import optuna

        ends = sorted((self.stored(self.low), self.stored(self.high)))
        return optuna.distributions.FloatDistribution(*ends, log=True)


@dataclass(frozen=True)
class Int(Scale):
    """Whole numbers, each as likely."""

    low: int
    high: int
    whole: ClassVar[bool] = True

    def at(self, place: float) -> Any:
        return int(min(max(math.floor(place + 0.5), self.low), self.high))

    def drawn(self, u: float) -> Any:
        return min(self.low + int(u * (self.high - self.low + 1)), self.high)

    def _least(self) -> float:
        return 1.0

    def holds(self, value: Any) -> bool:
        return bool(super().holds(value) and value == int(value))

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.IntDistribution(self.low, self.high)


@dataclass(frozen=True)
class LogInt(Int):
    """Whole numbers, evenly in the logarithm."""

    def place(self, value: Any) -> float:
        return math.log10(value)

    def at(self, place: float) -> Any:
        return int(min(max(math.floor(10.0**place + 0.5), self.low), self.high))

    def drawn(self, u: float) -> Any:
        low, high = math.log10(self.low - 0.5), math.log10(self.high + 0.5)  # so that the ends are as likely
        return self.at(low + u * (high - low))

    def _least(self) -> float:
        return 0.0

    def narrowed(self, values: Sequence[Any]) -> Scale:
        narrow = super().narrowed(values)
        low, high = min(narrow.low, max(self.low, min(values) - 1)), max(narrow.high, min(self.high, max(values) + 1))
        return replace(self, low=int(low), high=int(high))

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.IntDistribution(self.low, self.high, log=True)


@dataclass(frozen=True)
class Pow2(Int):
    """Powers of two, each as likely; the exponent is what is stored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for end in (self.low, self.high):
            if end < 1 or end & (end - 1):
                below = 1 << (max(end, 1).bit_length() - 1)
                raise ValueError(f"pow2: low and high must be powers of two, got {end}; {below} and {2 * below} are")

    def stored(self, value: Any) -> int:
        return int(value).bit_length() - 1

    def value(self, stored: Any) -> int:
        return 1 << int(stored)

    def place(self, value: Any) -> float:
        return float(self.stored(value))

    def at(self, place: float) -> Any:
        low, high = self.stored(self.low), self.stored(self.high)
        return 1 << int(min(max(math.floor(place + 0.5), low), high))

    def drawn(self, u: float) -> Any:
        low, high = self.stored(self.low), self.stored(self.high)
        return 1 << min(low + int(u * (high - low + 1)), high)

    def holds(self, value: Any) -> bool:
        return super().holds(value) and not int(value) & (int(value) - 1)

    def name(self, name: str) -> str:
        return f"log2 {name}"

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.IntDistribution(self.stored(self.low), self.stored(self.high))


@dataclass(frozen=True)
class Choice(Scale):
    """One of several values, each as likely."""

    low: float = 0.0
    high: float = 0.0
    options: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError("choice: give at least one option, such as choice('relu', 'tanh')")
        object.__setattr__(self, "options", tuple(map(_plain, self.options)))
        for option in self.options:
            if option is not None and type(option) not in (str, int, float, bool):
                raise TypeError(
                    f"choice: an option must be a str, a number, True, False or None, got {type(option).__name__}; "
                    "choose among names and look up what they stand for in the objective"
                )
            if isinstance(option, float) and not math.isfinite(option):
                raise ValueError(f"choice: an option must be finite, got {option}")
            if self.options.count(option) > 1:
                raise ValueError(
                    f"choice: the option {option!r} is given twice (Python takes 1, 1.0 and True for equal)"
                )

    @staticmethod
    def _key(option: Any) -> tuple[type, Any]:
        return type(option), option

    def place(self, value: Any) -> float:
        return float([self._key(option) for option in self.options].index(self._key(value)))

    def at(self, place: float) -> Any:
        return self.options[min(max(math.floor(place + 0.5), 0), len(self.options) - 1)]

    def ends(self) -> tuple[float, float]:
        return 0.0, float(len(self.options) - 1)

    def drawn(self, u: float) -> Any:
        return self.options[min(int(u * len(self.options)), len(self.options) - 1)]

    def spaced(self, points: int) -> list[Any]:
        return list(self.options)

    def holds(self, value: Any) -> bool:
        return self._key(value) in [self._key(option) for option in self.options]

    def narrowed(self, values: Sequence[Any]) -> Scale:
        kept = [self._key(value) for value in values]
        return replace(self, options=tuple(option for option in self.options if self._key(option) in kept))

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.CategoricalDistribution(self.options)

    def as_json(self) -> dict[str, Any]:
        return {"scale": type(self).__name__, "options": list(self.options)} | self._further()

    def arguments(self) -> str:
        return ", ".join(map(repr, self.options))


SCALES: dict[str, type[Scale]] = {cls.__name__: cls for cls in (Uniform, Log, Ewa, Int, LogInt, Pow2, Choice)}


def scale_from(said: Mapping[str, Any]) -> Scale:
    """Make a scale from what `as_json` gave; raises KeyError, TypeError or ValueError where it is something else."""
    cls = SCALES[said["scale"]]
    when = tuple((str(name), tuple(values)) for name, values in said.get("when", {}).items())
    further: dict[str, Any] = {"condition": when, "count": str(said.get("each", ""))}
    if cls is Choice:
        return Choice(options=tuple(said["options"]), **further)
    number = int if cls.whole else float
    return cls(number(said["low"]), number(said["high"]), **further)

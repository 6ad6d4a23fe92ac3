"""What may be set while a run trains, by name, and how it is put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tensorgraph.arguments import Count, Fraction, Unfit, kind_of
from tensorgraph.nn.dropout import Dropout
from tensorgraph.optim.groups import Group
from tensorgraph.optim.optimizer import LIMITS, Optimizer
from tensorgraph.train.callbacks import Training

__all__ = ["Curves", "Hyperparameters", "Schedules"]

COUNT, FRACTION = kind_of(Count), kind_of(Fraction)


class Access(NamedTuple):
    """How a hyperparameter is read and set."""

    get: Callable[[], float]
    set: Callable[[Any], None]


class Hyperparameters(Mapping[str, float]):
    """The hyperparameters of a run by name, as they are now.

    Those of the optimiser go by their own names (``"lr"``, ``"beta1"``), with several groups also ``"group1.lr"``;
    dropout rates by the layer's path (``"layers.2.rate"``); ``"epochs"`` is how many there will be.
    """

    def __init__(self, training: Training) -> None:
        self._all: dict[str, Access] = {}
        optimizer: Optimizer = training.optimizer
        for name in optimizer.settings:
            self._all[name] = _attribute(optimizer, name)
        for group in optimizer.groups if len(optimizer.groups) > 1 else ():
            for name in optimizer.settings:
                self._all[f"group{group.number}.{name}"] = _attribute(group, name)
        for name in LIMITS:
            if getattr(optimizer, name) is not None:
                self._all[name] = _attribute(optimizer, name)
        named = training.model.named_modules() if hasattr(training.model, "named_modules") else ()  # of a function none
        for path, layer in named:
            if isinstance(layer, Dropout):
                called = f"{path}.rate" if path else "rate"
                self._all[called] = _attribute(layer, "rate", FRACTION, called)
        self._all["epochs"] = _attribute(training, "epochs", COUNT, "epochs")

    def __getitem__(self, name: str) -> float:
        return self._all[name].get()

    def __iter__(self) -> Any:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def set(self, name: str, value: Any) -> None:
        """Set one.

        Raises
        ------
        ValueError
            If there is none of this name, or it may not have this value.
        """
        if name not in self._all:
            raise ValueError(f"there is no hyperparameter {name!r}; there are {', '.join(self._all)}")
        try:
            self._all[name].set(value)
        except TypeError as error:
            raise ValueError(str(error)) from error


class Curves:
    """Writes into a run's history what each hyperparameter was at every step, once it has changed.

    It is made, and made again where a run goes back, before anything can be set: what has no curve by then has been
    what it is since the first step.
    """

    def __init__(self, training: Training) -> None:
        self._training = training
        self._watched = {
            name: (access.get, access.get())
            for name, access in Hyperparameters(training)._all.items() if name not in ("lr", "epochs")
        }  # fmt: skip

    def step(self) -> None:
        """After a step, before it is counted."""
        history, before = self._training.history, self._training.step
        curves = history.hyperparameters
        for name, (get, first) in self._watched.items():
            value = get()
            if name in curves:
                curves[name].append(value)
            elif value != first:
                curves[name] = [first] * before + [value]


def _attribute(owner: Any, name: str, kind: Any = None, called: str = "") -> Access:
    def put(value: Any) -> None:
        if kind is not None:
            try:
                value = kind(value)
            except Unfit as unfit:
                raise ValueError(unfit.sentence(called)) from None
        setattr(owner, name, value)

    return Access(_reader(owner, name), put)


def _reader(owner: Any, name: str) -> Callable[[], float]:
    """What gives an attribute, at every step: a setting's number is taken where it lies."""
    if isinstance(owner, Group):
        return lambda: float(owner.cell(name)._value)
    if isinstance(owner, Optimizer) and name in owner.settings:
        return lambda: float(owner.cells[name]._value)
    return lambda: getattr(owner, name)


class Schedules:
    """The schedules that the optimiser and its groups began with: a value that is set replaces one, going back to a
    checkpoint brings it back."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._owners: list[Optimizer | Group] = [optimizer, *optimizer.groups]
        self._first = [owner.schedule for owner in self._owners]

    def followed(self) -> list[bool]:
        """Which of them are followed now."""
        return [owner.schedule is not None for owner in self._owners]

    def missing(self, followed: list[bool]) -> bool:
        """Whether one of those is gone that were followed then."""
        return len(followed) != len(self._first) or any(
            then and first is None for then, first in zip(followed, self._first, strict=True)
        )

    def put_back(self, followed: list[bool]) -> None:
        """Follow those that were followed then."""
        for owner, then, first in zip(self._owners, followed, self._first, strict=True):
            owner.schedule = first if then else None


def match_cells(optimizer: Optimizer, names: Mapping[str, Any]) -> None:
    """Give the groups the cells of their own that a saved state has, and no others."""
    for group in optimizer.groups:
        for name in optimizer.settings:
            path = f"{group.path}.{name}"
            if path in names and name not in group.cells:
                setattr(group, name, float(names[path]))
            elif path not in names:
                group.cells.pop(name, None)

"""The networks of an ensemble, each made from its setting: model, optimiser, loss, the seed of its order of samples.

A setting is a dict of hyperparameters by name. Whoever has a parameter of that name is given it: the function that
makes the model, the optimiser, the loss; ``seed`` and ``batch_size`` belong to the training itself as well.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgraph import optim
from tensorgraph.jit.properties import cached_property
from tensorgraph.nn.module import Module
from tensorgraph.ops.cross_entropy import softmax_cross_entropy
from tensorgraph.optim.optimizer import LIMITS, Optimizer

__all__ = ["Member", "made"]

OWN = ("seed", "batch_size")  # what the training itself takes from a setting
OPTIMIZERS = ("SGD", "Momentum", "RMSprop", "Adam", "AdamW")


@dataclass(eq=False)
class Member:
    """One network with all that trains it.

    Attributes
    ----------
    number : int
        Its place among the settings.
    setting : dict
    model : Module
    optimizer : Optimizer
    loss : callable
        Of outputs and targets.
    loss_key : tuple
        Equal for members whose losses are the same function with the same numbers.
    seed, batch_size : int
    """

    number: int
    setting: dict[str, Any]
    model: Module
    optimizer: Optimizer
    loss: Callable[[Any, Any], Any]
    loss_key: tuple[Any, ...]
    seed: int
    batch_size: int

    @cached_property
    def cells(self) -> dict[tuple[str, str], Any]:
        """Every cell by who holds it and its path there."""
        held = {("model", path): cell for path, cell in self.model.named_cells()}
        return held | {("optimizer", path): cell for path, cell in self.optimizer.named_cells()}


def made(
    make: Callable[..., Any], settings: Sequence[Mapping[str, Any]], optimizer: Any, loss: Callable[..., Any] | None,
    seed: int, batch_size: int,
) -> list[Member]:  # fmt: skip
    """The members, in the order of their settings.

    Raises
    ------
    ValueError
        For a name in a setting that nobody takes, and where there are no settings.
    TypeError
        Where a function does not give what it should.
    """
    if not settings:
        raise ValueError("there are no settings: give one dict a network, such as [{'lr': 0.1}, {'lr': 0.01}]")
    build = optimizer_named(optimizer)
    takers = {"make": takes(make, 0), "optimizer": _takes_of_optimizer(build), "loss": takes(loss, 2)}
    return [
        _made(number, dict(setting), make, build, loss, takers, seed, batch_size)
        for number, setting in enumerate(settings)
    ]


def _made(
    number: int, setting: dict[str, Any], make: Any, build: Any, loss: Any, takers: dict[str, Any], seed: int, size: int
) -> Member:
    unknown = [name for name in setting if name not in OWN and not any(takes(name) for takes in takers.values())]
    if unknown:
        raise ValueError(
            f"setting {number} has {unknown[0]!r}, which nobody takes: neither the function that makes the model nor "
            f"the optimizer nor the loss has a parameter of that name"
        )
    own = {name: _whole(setting, name, default, number) for name, default in (("seed", seed), ("batch_size", size))}
    given = {who: {name: v for name, v in setting.items() if takes(name)} for who, takes in takers.items()}
    try:
        model = make(**given["make"])
        if not isinstance(model, Module):
            raise TypeError(f"make must give a Module, got {type(model).__name__}")
        trainer = build(model.parameters(), **given["optimizer"])
        if not isinstance(trainer, Optimizer):
            raise TypeError(f"optimizer must give an optimizer of the parameters, got {type(trainer).__name__}")
    except Exception as error:
        error.add_note(f"while network {number} of the ensemble was made, with {setting}")
        raise
    bound = loss if loss is not None else softmax_cross_entropy.public
    key = (bound, *((name, repr(value)) for name, value in sorted(given["loss"].items())))
    if given["loss"]:
        bound = functools.partial(bound, **given["loss"])
    return Member(number, setting, model, trainer, bound, key, **own)


def _whole(setting: Mapping[str, Any], name: str, default: int, number: int) -> int:
    value = setting.get(name, default)
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < (name == "batch_size"):
        least = "of at least 1" if name == "batch_size" else "of at least 0"
        raise ValueError(f"setting {number}: {name} is a whole number {least}, got {value!r}")
    return int(value)


def optimizer_named(optimizer: Any) -> Callable[..., Any]:
    """The class of a name such as ``"adam"``; a class or a function itself."""
    if not isinstance(optimizer, str):
        if isinstance(optimizer, Optimizer):
            raise TypeError(
                "optimizer is one optimizer already, and every network needs its own: give its class or name, or a "
                "function of the parameters, lambda parameters, lr: optim.Adam(parameters, lr=lr)"
            )
        return optimizer  # type: ignore[no-any-return]
    known = {name.lower(): getattr(optim, name) for name in OPTIMIZERS}
    if optimizer.lower() not in known:
        raise ValueError(f"there is no optimizer {optimizer!r}; there are {', '.join(known)}")
    return known[optimizer.lower()]  # type: ignore[no-any-return]


def takes(function: Any, first: int) -> Callable[[str], bool]:
    """Whether a function has a parameter of a name, its first so many left out."""
    if function is None:
        return lambda name: False
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # made in C
        return lambda name: False
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return lambda name: True
    named = {p.name for p in parameters[first:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named.__contains__


def _takes_of_optimizer(build: Any) -> Callable[[str], bool]:
    """Of an optimiser's class its settings and limits, which its signature has as options."""
    if isinstance(build, type) and issubclass(build, Optimizer):
        named = {*build.settings, *LIMITS, *inspect.signature(build).parameters}
        return (named - {"parameters", "options", "name"}).__contains__
    return takes(build, 1)

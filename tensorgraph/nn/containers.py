"""Modules that arrange others or only change shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeAlias

from tensorgraph.arguments import Name, Natural, checked, shown
from tensorgraph.engine.tensor import Tensor
from tensorgraph.nn.module import Module
from tensorgraph.nn.names import input_of
from tensorgraph.ops.shape import reshape

__all__ = ["Flatten", "Identity", "Lambda", "ModuleDict", "ModuleList", "Sequential"]


Layer: TypeAlias = Callable[..., Any]


class Sequential(Module):
    """Modules applied one after the other; they are its parts ``0``, ``1``, ...

    Parameters
    ----------
    *layers : Module or callable
        A plain function becomes a `Lambda`. One list of layers is taken apart.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(4, 8, bias=False), tg.nn.BatchNorm(8), tg.nn.ReLU(), tg.nn.Linear(8, 3))
    >>> len(model), model[0], model[-1].bias.path
    (4, Linear(4, 8, bias=False), '3.bias')
    """

    @checked
    def __init__(self, *layers: Layer | Sequence[Layer]) -> None:
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            layers = tuple(layers[0])
        # all at once: an attribute at a time would walk the whole model for each
        self.__dict__.update({str(i): as_module(layer, type(self).__name__) for i, layer in enumerate(layers)})
        self.modules()
        self._forget()

    @checked
    def append(self, layer: Layer) -> Sequential:
        """Add a layer at the end; returns self."""
        setattr(self, str(len(self)), as_module(layer, f"{type(self).__name__}.append"))
        return self

    def _layers(self) -> list[Module]:
        found: list[Module] = []
        while (layer := self.__dict__.get(str(len(found)))) is not None:
            found.append(layer)
        return found

    def forward(self, x: Any) -> Any:
        own, i = self.__dict__, 0
        while (layer := own.get(NAMES[i] if i < 100 else str(i))) is not None:
            x = layer(x)
            i += 1
        return x

    def __len__(self) -> int:
        return len(self._layers())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers())

    @checked
    def __getitem__(self, index: int | slice) -> Any:
        layers = self._layers()
        if isinstance(index, slice):
            return Sequential(*layers[index])
        try:
            return layers[index]
        except IndexError:
            raise IndexError(f"{self.label} has {len(layers)} layers, got index {index}") from None

    @checked
    def __setitem__(self, index: int, layer: Any) -> None:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"{self.label} has {n} layers, got index {index}")
        setattr(self, str(index % n), as_module(layer, self.label))

    def config(self) -> dict[str, Any]:
        return {"layers": self._layers()}

    @classmethod
    @checked
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        layers = config.get("layers")
        if not isinstance(layers, list):
            raise ValueError(f"a {cls.__name__} without a list of layers")
        return cls(*layers)


class ModuleList(Sequential):
    """Modules in a list, which is not called itself: a plain list that is an attribute of a module does the same.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> layers = tg.nn.ModuleList([tg.nn.Linear(2, 2) for _ in range(3)])
    >>> len(layers), layers[-1].weight.path
    (3, '2.weight')
    """

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.label} is a list: call its layers one by one, or make it a Sequential")

    @checked
    def extend(self, layers: Sequence[Layer]) -> ModuleList:
        """Add layers at the end; returns self."""
        for layer in layers:
            self.append(layer)
        return self


class ModuleDict(Module):
    """Modules by name, which is not called itself: a plain dict that is an attribute of a module does the same.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> heads = tg.nn.ModuleDict({"digit": tg.nn.Linear(4, 10), "colour": tg.nn.Linear(4, 3)})
    >>> list(heads), heads["digit"].weight.path
    (['digit', 'colour'], 'digit.weight')
    """

    @checked
    def __init__(self, modules: Mapping[str, Layer] | None = None) -> None:
        for name, layer in (modules or {}).items():
            self[name] = layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{self.label} is a dict: call one of its layers, such as self.heads['name'](x)")

    @checked
    def __setitem__(self, name: Name, layer: Any) -> None:
        if hasattr(type(self), name):
            raise ValueError(f"{self.label}: {name!r} is what every ModuleDict has; take another name")
        setattr(self, name, as_module(layer, self.label))

    @checked
    def __getitem__(self, name: str) -> Module:
        found = self.__dict__.get(name)
        if not isinstance(found, Module):
            raise KeyError(f"{self.label} has no {name!r}; it has {', '.join(self) or 'nothing'}")
        return found

    @checked
    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(self.__dict__.get(name), Module)  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self.__dict__.items() if isinstance(value, Module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def keys(self) -> list[str]:
        """The names."""
        return list(self)

    def values(self) -> list[Module]:
        """The modules."""
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Module]]:
        """Both, in pairs."""
        return [(name, self[name]) for name in self]

    def config(self) -> dict[str, Any]:
        return {"modules": dict(self.items())}


NAMES = [str(i) for i in range(100)]


def as_module(layer: Any, where: str) -> Module:
    """A module as it is, a function as a `Lambda`."""
    if isinstance(layer, Module):
        return layer
    if isinstance(layer, type) and issubclass(layer, Module):
        raise TypeError(f"{where}: expected a layer, got the class {layer.__name__}; write {layer.__name__}()")
    if not callable(layer):
        raise TypeError(f"{where}: a layer must be a Module or a function, got {shown(layer)}")
    return Lambda(layer)


class Lambda(Module):
    """A function as a layer.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.Lambda(lambda x: x * 2)(tg.tensor(3.0))
    tensor(6., f32)
    """

    @checked
    def __init__(self, function: Callable[..., Any], name: Name | None = None) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def extra_repr(self) -> str:
        return self.name


class Identity(Module):
    """Gives what it gets."""

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """All axes but the first `keep` as one: (N, H, W) becomes (N, H·W).

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.nn.Flatten()(tg.zeros((2, 3, 4))).shape
    (2, 12)
    """

    atomic = True

    @checked
    def __init__(self, keep: Natural = 1) -> None:
        self.keep = keep

    def forward(self, x: Any) -> Tensor:
        x = input_of(self, x)
        shape = x.shape
        if len(shape) < self.keep:
            raise ValueError(f"{self.label} keeps {self.keep} axes, got shape {shape}")
        size = 1
        for n in shape[self.keep :]:
            size *= n
        return reshape.public(x, shape=shape[: self.keep] + (size,))  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        return {"keep": self.keep}

    def extra_repr(self) -> str:
        return "" if self.keep == 1 else f"keep={self.keep}"

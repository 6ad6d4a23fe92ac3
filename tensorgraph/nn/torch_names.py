"""How a layer says where PyTorch keeps its numbers.

``torch_state = {"gamma": "weight"}`` in a layer's class is a name, `From` a name or several with what to make of the
arrays, None a cell that PyTorch has not, which stays as it is. A cell that is not mentioned has the same name there. A
layer whose cells depend on what it was made with has a method of that name. `from_torch_state` reads it, and
`to_torch_state` the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["From", "itself", "key_of", "transposed", "turned", "unsaid"]


def unsaid(array: Any) -> Any:
    """The way back of a cell whose layer does not say it."""
    raise TypeError("its layer does not say how to turn it back: From(names, turned, back=...)")


def itself(array: Any) -> Any:
    return array


@dataclass(frozen=True)
class From:
    """Where a cell comes from.

    Attributes
    ----------
    names : str or tuple of str
        In the layer's own part of the state; with a ``^`` before it in that of the module around, of which it is a
        part by one name of the path, and so on.
    turned : callable
        Makes the cell's array of those.
    optional : bool
        Whether the cell stays as it is where the state has no such name.
    back : callable or None
        Makes of the cell's array what stands under the name there, which `to_torch_state` writes: rows of it, where
        several cells have the same name. None: nothing of the cell stands there. By default the array itself, unless
        `turned` is given.
    """

    names: str | tuple[str, ...]
    turned: Callable[..., Any] = itself
    optional: bool = False
    back: Callable[..., Any] | None = unsaid


def key_of(prefix: str, name: str) -> str:
    """A name in the state, as a part under this path says it.

    Examples
    --------
    >>> key_of("lstm.cells.0", "^^weight_ih_l0"), key_of("", "weight")
    ('lstm.weight_ih_l0', 'weight')
    """
    while name.startswith("^"):
        prefix, name = prefix.rpartition(".")[0], name[1:]
    return f"{prefix}.{name}" if prefix else name


def transposed(*names: str) -> From:
    """A matrix that lies there the other way round, as weights of (outputs, inputs) do."""
    return From(names, turned, back=turned)


def turned(array: Any) -> Any:
    """A matrix the other way round."""
    return array.T if array.ndim == 2 else array

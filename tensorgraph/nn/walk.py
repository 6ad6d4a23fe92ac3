"""What is below a module, and by which paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tensorgraph.arguments import checked
from tensorgraph.engine.cells import Buffer, Cell, Parameter
from tensorgraph.nn.names import require_seen

__all__ = ["Walk"]


class Walk:
    """The part of `tensorgraph.nn.Module` that finds modules, parameters and buffers."""

    if TYPE_CHECKING:

        def modules(self) -> list[Any]: ...

        def _items(self) -> Iterator[tuple[str, Any]]: ...

    @checked
    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """This module (as ``""``) and all below with their paths from here, each once."""
        modules = self.modules()
        first: dict[int, tuple[Any, str]] = {}  # where the walk meets it, for what lives outside this module
        for module in modules:
            for key, item in module._items():
                if isinstance(item, Walk):
                    first.setdefault(id(item), (module, key))
        names = {id(self): ""}
        inside = {id(module) for module in modules}

        for module in modules:
            at, way = module, []
            while id(at) not in names:
                place = at._place
                holder = place[0]() if place is not None else None
                here = place is not None and holder is not None and id(holder) in inside
                parent, key = (holder, place[1]) if here else first[id(at)]
                way.append((at, key))
                at = parent
            for below, key in reversed(way):
                base = names[id(at)]
                names[id(below)] = f"{base}.{key}" if base else key
                at = below
            yield names[id(module)], module

    @checked
    def named_cells(self) -> Iterator[tuple[str, Cell]]:
        """Parameters and buffers with their paths from here, each once, in order of assignment."""
        seen: set[int] = set()
        modules = list(self.named_modules())
        inside = {id(require_seen(module, Walk)) for _, module in modules}
        for prefix, module in modules:
            for name, cell in module._items():
                if not isinstance(cell, Cell) or id(cell) in seen:
                    continue
                holder = cell.owner[0]() if cell.owner is not None else None
                if holder is not module and id(holder) in inside:
                    continue  # shared: it is named where it lives
                if holder is module and cell.owner[1] != name:
                    continue
                seen.add(id(cell))
                yield (f"{prefix}.{name}" if prefix else name), cell

    @checked
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths from here."""
        return ((name, cell) for name, cell in self.named_cells() if isinstance(cell, Parameter))

    @checked
    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Buffers with their paths from here."""
        return ((name, cell) for name, cell in self.named_cells() if isinstance(cell, Buffer))

    @checked
    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [cell for _, cell in self.named_parameters()]

    @checked
    def buffers(self) -> list[Buffer]:
        """All buffers, each once."""
        return [cell for _, cell in self.named_buffers()]

"""What has a picture: the one door from values to the room of pictures, opened when a picture is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorgraph.engine.tensor import Tensor

if TYPE_CHECKING:
    from tensorgraph.viz.model.drawing import Drawing

__all__ = ["Drawable", "Readable", "notebook"]


class Drawable:
    """A value with the method `draw` and a picture in notebooks."""

    __slots__ = ()

    def draw(self, *args: Any, **options: Any) -> Drawing:
        """A drawing of this; see `tensorgraph.draw`."""
        from tensorgraph.viz import picture

        return picture(self, *args, **options)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from tensorgraph.viz import mimebundle

        return mimebundle(self)


class Readable:
    """A value that a notebook shows as it prints, not as its short name."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


def notebook(value: Any, include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """What a notebook shows of a value that is more than a picture: its words, and a picture where that is small."""
    from tensorgraph.viz.notebook import notebook as shown

    return shown(value)


Tensor._repr_mimebundle_ = notebook  # type: ignore[assignment, method-assign]

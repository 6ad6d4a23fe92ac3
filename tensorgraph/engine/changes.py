"""A mark that moves whenever something changes that a trace depends on and that no array holds.

Attributes of modules and optimisers, hooks, and what asks for gradients: whoever has looked at all of them keeps the
mark, and looks again only when another one is there. A mark is an object compared by identity, so that two threads that
move it at once cannot put an old one back.
"""

from __future__ import annotations

__all__ = ["MARK", "move"]

MARK: list[object] = [object()]


def move() -> None:
    """Say that something has changed."""
    MARK[0] = object()

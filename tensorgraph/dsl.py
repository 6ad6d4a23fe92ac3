"""Every name that a graph's text uses: ``from tensorgraph.dsl import *`` at its head makes it run as ordinary Python."""

from tensorgraph.text.namespace import namespace as _namespace

globals().update(_namespace())

__all__ = [name for name in _namespace()]  # noqa: PLE0604, C416

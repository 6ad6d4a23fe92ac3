"""Every name that a graph's text uses: with ``from tensorgraph.dsl import *`` at its head it runs as Python."""

from tensorgraph.text.namespace import namespace as _namespace

globals().update(_namespace())

__all__ = [name for name in _namespace()]  # noqa: C416

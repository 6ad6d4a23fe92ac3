"""The layers of `tensorgraph.nn`."""

from tensorgraph import nn


def public_layers():
    return {getattr(nn, name) for name in nn.__all__ if isinstance(getattr(nn, name), type)} - {nn.Module}

"""The way of values through a graph and of gradients back, step by step, as one page that needs nothing else."""

from tensorgraph.viz.animation.page import animated

__all__ = ["animated"]

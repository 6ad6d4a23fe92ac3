"""A drawing as one page of HTML that needs nothing else."""

from tensorgraph.viz.html.page import to_html

__all__ = ["to_html"]

"""Training: the measures of a classifier."""

from . import metrics

__all__ = ["metrics"]

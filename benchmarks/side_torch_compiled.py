"""PyTorch, with the forward and its gradient compiled by `torch.compile`."""

from __future__ import annotations

from typing import Any

from benchmarks.nets_torch import predicting, prepared
from benchmarks.problems import Prepared
from benchmarks.side_torch import describe as of_torch

__all__ = ["PROBLEMS", "describe"]


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {**of_torch(), "library": "torch.compile"}


def net(name: str) -> Prepared:
    """A training step."""
    return prepared(name, compiled=True)


def predict(name: str, count: int) -> Prepared:
    """A forward at test time."""
    return predicting(name, count, compiled=True)


PROBLEMS = {"net": net, "predict": predict}

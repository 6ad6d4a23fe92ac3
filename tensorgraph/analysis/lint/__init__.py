"""Faults of a graph that can be seen without running it: one file a subject."""

from tensorgraph.analysis.lint.rules import RULES, Finding, Findings, lint

__all__ = ["RULES", "Finding", "Findings", "lint"]

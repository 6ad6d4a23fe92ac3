"""What public functions take: kinds of arguments, their check, and other libraries' names with what to write here."""

from tensorgraph.arguments.checks import checked, refuse_keyword
from tensorgraph.arguments.kinds import (
    ClassNames,
    Count,
    Finite,
    Fraction,
    Kind,
    Name,
    Natural,
    NonNegative,
    Ordered,
    PathLike,
    Positive,
    Probability,
    Range,
    Unfit,
    kind_of,
    shown,
)

__all__ = [
    "ClassNames", "Count", "Finite", "Fraction", "Kind", "Name", "Natural", "NonNegative", "Ordered", "PathLike",
    "Positive", "Probability", "Range", "Unfit", "checked", "kind_of", "refuse_keyword", "shown",
]  # fmt: skip

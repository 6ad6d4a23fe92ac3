"""What public functions take: kinds of arguments, their check, and other libraries' names with what to write here."""

from tensorgraph.arguments.checks import checked, refuse_keyword
from tensorgraph.arguments.kinds import (
    RAW,
    AxisError,
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
    brief,
    is_raw,
    kind_of,
    shown,
)

__all__ = [
    "RAW", "ClassNames", "Count", "Finite", "Fraction", "Kind", "Name", "Natural", "NonNegative", "Ordered", "PathLike",
    "Positive", "Probability", "Range", "Unfit", "AxisError", "brief", "checked", "is_raw", "kind_of", "refuse_keyword",
    "shown",
]  # fmt: skip

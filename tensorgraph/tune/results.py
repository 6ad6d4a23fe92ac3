"""How trials ended, as the study's user sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Result", "StudyError"]


class StudyError(RuntimeError):
    """A study cannot go on; the message says what is kept and what to do."""


@dataclass(frozen=True)
class Result:
    """A trial that ended.

    Attributes
    ----------
    slot : int
        Its number.
    values : dict of str to value
        Of the hyperparameters that were there.
    state : str
        ``"complete"``, ``"diverged"``, ``"pruned"`` or ``"failed"``.
    score : float or None
        What the objective gave; of a pruned trial what it reported last.
    reason : str
        Why it is not complete.
    seconds : float
        How long its last attempt took.
    folder : pathlib.Path
        Its own.
    traceback : str
        Of an error.
    """

    slot: int
    values: dict[str, Any]
    state: str
    score: float | None
    reason: str
    seconds: float
    folder: Path
    traceback: str = field(default="", repr=False)

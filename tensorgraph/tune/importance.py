"""How much each hyperparameter matters, as the trials tell.

The plan: scores become ranks, so that trials that diverged count as the worst and no outlier rules. The trials are
put into groups of neighbours on a hyperparameter's scale. If the hyperparameter did not matter, the groups' mean ranks
would differ by chance alone; what they differ by more is its share of the whole variation (epsilon squared, the
correlation ratio without what chance gives). It sees an optimum in the middle, which a correlation does not; what two
hyperparameters do only together it does not see.

Source: Kelley, An unbiased correlation ratio measure, 1935; Kruskal and Wallis, 1952, for ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["importance", "share"]

FEWEST = 8  # trials of which something can be said


def importance(study: Any) -> dict[str, float]:
    """The share of the scores' variation that each hyperparameter explains alone, from 0 to 1, the largest first."""
    told = [result for result in study.trials if result.state in ("complete", "diverged")]
    if len(told) < FEWEST:
        raise ValueError(f"importance is told of {FEWEST} trials or more, and {len(told)} have a score or diverged")
    found: dict[str, float] = {}
    for name, scale in study.space._scales.items():
        if scale.count:  # several values a trial: which of them is there hangs on another
            continue
        with_it = [result for result in told if name in result.values]
        if len(with_it) >= FEWEST:
            places = [scale.place(result.values[name]) for result in with_it]
            found[name] = share(places, ranks([_badness(result, study.direction) for result in with_it]))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _badness(result: Any, direction: str) -> float:
    score = np.inf if result.score is None else result.score
    return float(score if direction == "minimize" or result.score is None else -score)


def ranks(scores: Any) -> np.ndarray[Any, Any]:
    """Ranks from 1, equal scores sharing theirs."""
    _, places, counts = np.unique(np.asarray(scores, np.float64), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[places]


def share(places: Sequence[float], scores: np.ndarray[Any, Any]) -> float:
    """The share of the variation of scores that groups of neighbours explain, beyond chance."""
    where = np.asarray(places, np.float64)
    values = np.unique(where)
    groups = max(2, min(5, len(where) // 4))
    if len(values) > groups:  # groups of as many trials
        group = (ranks(where) - 0.5) * groups // len(where)
    else:
        group = np.searchsorted(values, where).astype(np.float64)
    total = float(((scores - scores.mean()) ** 2).sum())
    names = np.unique(group)
    if total == 0.0 or len(names) < 2 or len(names) >= len(scores):
        return 0.0
    between = sum(float((group == g).sum() * (scores[group == g].mean() - scores.mean()) ** 2) for g in names)
    within = (total - between) / (len(scores) - len(names))
    return float(min(1.0, max(0.0, (between - (len(names) - 1) * within) / total)))

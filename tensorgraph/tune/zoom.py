"""Coarse to fine: a study of the region where the best trials of another lie.

Source: Andrew Ng, Improving Deep Neural Networks, week 3, "Tuning process".
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from tensorgraph.tune.space import seed_of

__all__ = ["child", "kept_by_zoom"]

SHARE, FEWEST = 0.2, 5  # of the trials, those about which the finer study searches


def kept_by_zoom(count: int) -> int:
    """How many of so many trials are the best ones: a fifth, and at least five.

    Examples
    --------
    >>> kept_by_zoom(25), kept_by_zoom(100)
    (5, 20)
    """
    return max(FEWEST, math.ceil(SHARE * count))


def child(study: Any, folder: Any) -> Any:
    """The finer study, which has not run; in the folder ``zoom`` of a study that is kept, unless told."""
    from tensorgraph.tune.study import Study

    ranked = study.ranked
    if len(ranked) < FEWEST:
        raise ValueError(f"zooming takes the {FEWEST} best trials, and {len(ranked)} are complete; run more first")
    best = ranked[: kept_by_zoom(len(ranked))]
    space = study.space.narrowed([result.values for result in best])
    if folder is None and study.kept:
        folder = study.folder / "zoom"
    above = os.path.relpath(study.folder, folder) if folder is not None else os.fspath(study.folder)
    parent = {"folder": above, "slots": [result.slot for result in best]}
    made = Study.__new__(Study)
    seed = seed_of(study.seed, "zoom")
    sampler = "tpe" if study.sampler == "tpe" else "random"
    made._begin(
        space, None if folder is None else Path(folder), seed, study.direction, sampler, study.pruner, 1, parent
    )
    made._objective, made.batch = study._objective, study.batch
    return made

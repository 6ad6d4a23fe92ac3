"""Searching hyperparameters: spaces in the words of the slides, random values, coarse to fine, many at once.

Source: Andrew Ng, Improving Deep Neural Networks, week 3, "Hyperparameter tuning".
"""

from tensorgraph.arguments.foreign import getter as _getter
from tensorgraph.tune.ensembles.ensemble import Ensemble, ensemble
from tensorgraph.tune.locks import LockedError
from tensorgraph.tune.results import Result, StudyError
from tensorgraph.tune.scales import Scale
from tensorgraph.tune.searches import grid, plot_coverage, random
from tensorgraph.tune.space import Space
from tensorgraph.tune.study import Study
from tensorgraph.tune.training import TrainingObjective
from tensorgraph.tune.trial import Pruned, Trial
from tensorgraph.tune.words import choice, ewa, int, log, log_int, pow2, uniform

__all__ = [
    "Ensemble",
    "LockedError",
    "Pruned",
    "Result",
    "Scale",
    "Space",
    "Study",
    "StudyError",
    "TrainingObjective",
    "Trial",
    "choice",
    "ensemble",
    "ewa",
    "grid",
    "int",
    "log",
    "log_int",
    "plot_coverage",
    "pow2",
    "random",
    "uniform",
]

__getattr__ = _getter(__name__, __all__)

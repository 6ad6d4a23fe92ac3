"""The words in which a search space is written: those of the lecture's slides.

Source: Andrew Ng, Improving Deep Neural Networks, week 3, "Using an appropriate scale to pick hyperparameters".
"""

from __future__ import annotations

import builtins
import sys
from typing import Annotated, Any, TypeAlias

from tensorgraph.arguments import Finite, Fraction, Positive, Range, checked
from tensorgraph.tune import scales
from tensorgraph.tune.scales import Scale

__all__ = ["choice", "ewa", "int", "log", "log_int", "pow2", "uniform"]

# one of these is called `int` as Python's own, which annotations name by these
Whole: TypeAlias = Annotated[builtins.int, Range(-(2**53), 2**53, word="an integer")]
Some: TypeAlias = Annotated[builtins.int, Range(1, 2**53, word="a positive integer")]


@checked
def uniform(low: Finite, high: Finite) -> Scale:
    """A number between two others, each place as likely: a dropout rate.

    Parameters
    ----------
    low, high : float
        The lowest and the highest value.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> print(tune.uniform(0.0, 0.5))
    uniform(0.0, 0.5)
    """
    return scales.Uniform(float(low), float(high))


@checked
def log(low: Positive, high: Positive) -> Scale:
    """A number between two others, evenly in its logarithm: a learning rate between 0.0001 and 1.

    Parameters
    ----------
    low, high : float
        The lowest and the highest value, above 0.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> tune.log(1e-4, 1).spaced(5)
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    if low < sys.float_info.min:
        raise ValueError(f"log: low must be at least {sys.float_info.min:.3g}, got {low!r}")
    return scales.Log(float(low), float(high))


@checked
def ewa(low: Fraction, high: Fraction) -> Scale:
    """The decay beta of an exponentially weighted average: 1 - 10^r, evenly in r.

    Between 0.9 and 0.999 an average goes over 10 to 1000 values; 0.999 and 0.9995 differ as 0.9 and 0.95 do. The study
    keeps 1 - beta, and `trial["beta"]` is beta.

    Parameters
    ----------
    low, high : float
        At least 0 and below 1.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> [round(beta, 6) for beta in tune.ewa(0.9, 0.999).spaced(3)]
    [0.9, 0.99, 0.999]
    """
    return scales.Ewa(float(low), float(high))


@checked
def int(low: Whole, high: Whole) -> Scale:
    """A whole number, each as likely: how many layers.

    Parameters
    ----------
    low, high : int
        Both may be drawn.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> tune.int(2, 4).spaced(3)
    [2, 3, 4]
    """
    return scales.Int(low, high)


@checked
def log_int(low: Some, high: Some) -> Scale:
    """A whole number, evenly in its logarithm: how many hidden units.

    Parameters
    ----------
    low, high : int
        At least 1; both may be drawn.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> tune.log_int(1, 1000).spaced(4)
    [1, 10, 100, 1000]
    """
    return scales.LogInt(low, high)


@checked
def pow2(low: Some, high: Some) -> Scale:
    """A power of two, each as likely: the size of mini-batches.

    Parameters
    ----------
    low, high : int
        Powers of two; both may be drawn.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> tune.pow2(16, 128).spaced(9)
    [16, 32, 64, 128]
    """
    return scales.Pow2(low, high)


@checked
def choice(*options: Any) -> Scale:
    """One of several values, each as likely.

    Parameters
    ----------
    *options : str, number, bool or None
        Names of functions rather than functions: a study is kept as text.

    Examples
    --------
    >>> from tensorgraph import tune
    >>> print(tune.choice("relu", "tanh"))
    choice('relu', 'tanh')
    """
    return scales.Choice(options=options)

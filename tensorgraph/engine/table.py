"""The table of a backward pass: the gradients that have arrived so far, by node, and who is next."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from tensorgraph.engine import known
from tensorgraph.engine.tape import Leaf

__all__ = ["RUN", "Table", "Total", "insert", "run_of", "whole"]

add = np.add
insert: Callable[[list[Any], Any], None] = functools.partial(bisect.insort, key=attrgetter("number"))

RUN = 16  # contributions that are added one by one: sums of so many are added to their like


class Total:
    """The sum of several contributions.

    Attributes
    ----------
    run : ndarray or Tensor
        Of the last ones, up to `RUN`; of more than one, an array is this pass's own.
    count : int
        How many these are.
    levels : list
        Sums of earlier ones, where there are more: the k-th item is a sum of up to `RUN` sums of ``RUN ** (k + 1)``
        contributions, or None, and how many they are. So the error of the sum of n grows with the logarithm of n.
    """

    __slots__ = ("count", "levels", "run")

    def __init__(self, first: Any) -> None:
        self.run = first
        self.count = 1
        self.levels: list[list[Any]] = []

    def take(self, c: Any, recorded: bool) -> None:
        """Add a further contribution; in place only into a sum that this pass made itself."""
        if self.count == RUN:
            self._put_aside(recorded)
            self.run, self.count = c, 1
            return
        if recorded:
            self.run = known.add(self.run, c)
        elif self.count == 1:
            self.run = np.asarray(self.run + c)
        else:
            add(self.run, c, self.run)
        self.count += 1

    def _put_aside(self, recorded: bool) -> None:
        """The run is complete: others go on without it."""
        rest = self.run
        for level in self.levels:
            level[0] = rest if level[0] is None else _plus(level[0], rest, recorded)
            level[1] += 1
            if level[1] < RUN:
                return
            rest, level[:] = level[0], [None, 0]
        self.levels.append([rest, 1])

    def whole(self, recorded: bool) -> Any:
        """The sum of all contributions."""
        g = self.run
        for earlier, _ in self.levels:
            if earlier is not None:
                g = _plus(earlier, g, recorded)
        return g


def _plus(own: Any, c: Any, recorded: bool) -> Any:
    """A sum, in place unless it is recorded."""
    return known.add(own, c) if recorded else add(own, c, own)


def whole(g: Any, recorded: bool) -> Any:
    """What has arrived at a node, as one gradient."""
    return g.whole(recorded) if type(g) is Total else g


def run_of(g: Any) -> Any:
    """What has arrived at a node, but for earlier ones of very many contributions."""
    return g.run if type(g) is Total else g


class Table(dict[Any, Any]):
    """Gradients by node, each as it came or a `Total`.

    Attributes
    ----------
    waiting : list
        The nodes that something has arrived at, the newest last; leaves, at which a pass ends, do not wait.
    """

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def wait(self, node: Any) -> None:
        """Something has arrived at a node for the first time."""
        if type(node) is not Leaf:
            insert(self.waiting, node)

    def accumulate(self, node: Any, c: Any, recorded: bool = False) -> None:
        """Add a further contribution."""
        total = self[node]
        if type(total) is not Total:
            total = self[node] = Total(total)
        total.take(c, recorded)

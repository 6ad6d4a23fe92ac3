"""Where a batch is shared out among processes: what layers ask of all of it. `tensorgraph.dist` answers.

The whole batch is the rows of the first process, then those of the second, and so on. Layers whose result for one row
depends on the others, or that draw numbers for every row, act on the whole of it: so the ranks together compute what
one process would.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from tensorgraph.engine.modes import current
from tensorgraph.engine.tensor import Tensor, TraceError, tensor
from tensorgraph.ops.reduction import sum
from tensorgraph.ops.shape import astype, reshape, stack
from tensorgraph.ops.structure import stop_gradient
from tensorgraph.transforms.custom import custom_vjp

__all__ = ["Moments", "Ranks", "exchanges", "gathered", "moments_of_all", "place_of"]

Array = np.ndarray[Any, Any]


class Ranks(Protocol):
    """The processes that train one model, as a layer sees them.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.
    sync : bool
        Whether batch norm normalises with the moments of the whole batch.
    """

    rank: int
    size: int
    sync: bool

    def gather(self, numbers: Array) -> Array:
        """What every rank gives, the same shape each, along a new first axis: the same on all ranks."""

    def sum(self, numbers: Array) -> Array:
        """The sum of what the ranks give: the same on all, to the last bit."""


class Moments(NamedTuple):
    """Of every channel over the whole batch, and how many values a channel has on each rank."""

    mean: Tensor
    var: Tensor
    sizes: list[int]


def exchanges(ranks: Ranks | None, label: str) -> bool:
    """Whether a layer exchanges numbers with its replicas; not in a graph, which holds what one process computes.

    Raises
    ------
    TraceError
        Where the graph is to run in place of a function, which would then compute something else.
    """
    if ranks is None:
        return False
    trace: Any = current().trace
    if trace is not None and trace.watcher is not None:
        raise TraceError(
            f"{label} is one of {ranks.size} replicas, which exchange numbers, and a compiled function does not: leave "
            "the forward uncompiled, as train.fit does by itself where there are several ranks"
        )
    return trace is None


def place_of(ranks: Ranks, rows: int) -> tuple[int, int]:
    """Where this rank's rows begin in the whole batch, and how many that has."""
    counts = ranks.gather(np.array(rows, np.int64))
    return int(counts[: ranks.rank].sum()), int(counts.sum())


def gathered(t: Tensor, ranks: Ranks) -> Tensor:
    """`Ranks.gather` of a tensor. What each rank does with any rank's numbers comes back to that rank's gradient."""
    gather = custom_vjp(
        forward=lambda t: (tensor(ranks.gather(t.numpy()), copy=False), None),
        backward=lambda kept, g: (_own_part(g, ranks),),
    )
    return gather(t)  # type: ignore[no-any-return]


def _own_part(t: Tensor, ranks: Ranks) -> Tensor:
    """The other way: of the sum over the ranks, what stands in this rank's place."""
    own_part = custom_vjp(
        forward=lambda t: (tensor(ranks.sum(t.numpy())[ranks.rank]), None),
        backward=lambda kept, g: (gathered(g, ranks),),
    )
    return own_part(t)  # type: ignore[no-any-return]


def moments_of_all(x: Tensor, axis: int, ranks: Ranks) -> Moments:
    """Mean and biased variance of each channel over the rows of all ranks, float64, with their gradients.

    Every rank finds the moments of its own rows; all are put together as Chan, Golub and LeVeque do (1983): sums of
    squares around each rank's own mean, and what the means are apart. A rank without rows takes part with weight 0.
    """
    k = axis % x.ndim
    channels = x.shape[k]
    others = tuple(i for i in range(x.ndim) if i != k)
    size = x.size // channels
    mean = sum.public(x, axis=others, keepdims=True, dtype="float64") / max(size, 1)
    near = stop_gradient.public(astype.public(mean, dtype=x.dtype.name))
    apart = mean - near  # what the mean lost by being rounded to the dtype of x
    h = x - near
    squares = sum.public(h * h, axis=others, keepdims=True, dtype="float64") - size * (apart * apart)
    own = [reshape.public(a, shape=(channels,)) for a in (mean, squares)]
    everyone = gathered(stack.public([*own, np.full(channels, float(size))], axis=0), ranks)
    means, squares = everyone[:, 0], everyone[:, 1]
    counts = everyone.detach().numpy()[:, 2, :1]
    total = max(counts.sum(), 1.0)
    weights = counts / total
    mean = sum.public(weights * means, axis=(0,))
    away = means - mean
    var = sum.public(squares, axis=(0,)) / total + sum.public(weights * (away * away), axis=(0,))
    return Moments(mean, var, [int(count) for count in counts[:, 0]])

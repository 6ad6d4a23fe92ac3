"""Gradient clipping, by value and by global norm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

from tensorgraph.arguments import Ordered, Positive, checked
from tensorgraph.engine.cells import Parameter, set_grads
from tensorgraph.engine.modes import no_grad
from tensorgraph.engine.tensor import Tensor, tensor
from tensorgraph.nn.module import Module
from tensorgraph.ops.arithmetic import maximum, minimum
from tensorgraph.ops.clipping import clip_norm as clip_norm_op
from tensorgraph.ops.shape import astype

__all__ = ["clip_grad_norm", "clip_grad_value", "clip_norm", "clip_value"]

Gradients: TypeAlias = Annotated[Iterable[Tensor], Ordered]
Trained: TypeAlias = Module | Iterable[Parameter]
Limit: TypeAlias = Positive | Tensor


def listed(parameters: Trained) -> list[Parameter]:
    """Parameters in a list, those of a module too."""
    return parameters.parameters() if isinstance(parameters, Module) else list(parameters)


@checked
def clip_value(grads: Gradients, limit: Limit) -> list[Tensor]:
    """Each number limited to [-limit, limit].

    Parameters
    ----------
    grads : iterable of Tensor
    limit : float or 0-d Tensor

    Returns
    -------
    list of Tensor
    """
    clipped = []
    limit = _limit(limit)
    for g in grads:
        high = astype.public(limit, dtype=g.dtype.name)
        clipped.append(minimum.public(maximum.public(g, -high), high))
    return clipped


@checked
def clip_norm(grads: Gradients, limit: Limit) -> tuple[list[Tensor], Tensor]:
    """All gradients scaled by one factor so that their joint Euclidean norm is at most `limit`.

    Returns
    -------
    clipped : list of Tensor
    norm : Tensor
        The norm before, 0-d float64.

    Notes
    -----
    PyTorch's ``clip_grad_norm_`` divides by ``norm + 1e-6``, so that its result stays a hair below the limit: with
    ``limit * norm / (norm + 1e-6)`` here the results agree.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> from tensorgraph import optim
    >>> clipped, norm = optim.clip_norm([tg.tensor([3.0]), tg.tensor([4.0])], 1.0)
    >>> [round(float(g[0]), 6) for g in clipped], float(norm)
    ([0.6, 0.8], 5.0)
    """
    *clipped, norm = clip_norm_op.public(list(grads), _limit(limit))
    return clipped, norm


def _limit(limit: Limit) -> Tensor:
    if isinstance(limit, Tensor):
        return limit
    return tensor(limit, "float64")


@checked
def clip_grad_value(parameters: Trained, limit: Limit) -> None:
    """Clip the ``.grad`` of parameters by value; between ``backward()`` and ``step()``."""
    have = [p for p in listed(parameters) if p.grad is not None]
    with no_grad():
        clipped = clip_value([g for p in have if (g := p.grad) is not None], limit)
    set_grads(have, clipped)


@checked
def clip_grad_norm(parameters: Trained, limit: Limit) -> Tensor:
    """Clip the ``.grad`` of parameters by their joint norm, which is returned."""
    have = [p for p in listed(parameters) if p.grad is not None]
    with no_grad():
        clipped, norm = clip_norm([g for p in have if (g := p.grad) is not None], limit)
    set_grads(have, clipped)
    return norm

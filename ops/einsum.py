"""`einsum`: products of tensors summed over axes, in NumPy's notation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgraph.engine.functions import function
from tensorgraph.engine.open_sizes import at_sizes
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops import reduction, shape
from tensorgraph.ops.contract import contract_axes, reindex
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.moving import of
from tensorgraph.ops.paths import path_of, planned, require_path
from tensorgraph.ops.subscripts import Shapes, listed, said, sizes_of, spelled

__all__: list[str] = []

TensorLike = Any
_READY = (Tensor, np.ndarray)


@function(
    computed=True, numpy=(np.einsum,), examples=(
        (("ij,jk->ik", (3, 4), (4, 2)), {}), (("ij,jk", (3, 4), (4, 2)), {}), (("ii", (3, 3)), {}), (("ij->ji", (2,
        3)), {}),
        (("...i,...i->...", (2, 3), (2, 3)), {}), (("ij->i", (2, 3)), {}), (("i,j->ij", (2,), (3,)), {}),
        ((" B A, A c -> c B", (2, 3), (3, 2)), {}), (((2, 3), [0, 1], (3, 2), [1, 2], [0, 2]), {}),
    ),
)  # fmt: skip
def einsum(subscripts: Any, *operands: TensorLike, optimize: bool | str | Sequence[Any] = True) -> Tensor:
    """Products of tensors summed over axes, in Einstein's notation as NumPy writes it.

    Parameters
    ----------
    subscripts : str
        A letter for each axis of each operand, and after ``->`` those of the result. Letters that the result has not
        are summed; a letter twice in one operand takes its diagonal; ``...`` stands for the axes without letters, which
        broadcast. Without ``->`` the result has ``...`` and the letters that stand once, in alphabetical order.
        Instead of a string ``einsum(a, [0, 1], b, [1, 2], [0, 2])``, with integers and ``Ellipsis``.
    *operands : tensors
    optimize : bool, {"optimal", "greedy"} or path, optional
        In which order several operands are multiplied, two at a time: the cheapest one (True: of up to eight operands,
        beyond by the best pair each time), as they come (False), or as `numpy.einsum_path` says. The order is found
        once for shapes. There is nothing to choose for one or two.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError, TypeError
        Quoting subscripts, shapes and the axis that does not fit.

    Notes
    -----
    It is recorded as `matmul`, `transpose` and `sum` where it is one of these, and otherwise as products of two,
    `contract_axes`, whose gradients are such products again. They are computed as products of matrices (BLAS), not by
    NumPy's loops. An axis of size 1 goes with any size of the same letter.

    References
    ----------
    `numpy.einsum <https://numpy.org/doc/stable/reference/generated/numpy.einsum.html>`_; the order is searched as by
    D. G. A. Smith and J. Gray, opt_einsum, JOSS 3 (2018) 753.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.einsum("ij,j->i", x, tg.tensor([1.0, 10.0]))
    tensor([21., 43.], f32)
    >>> print(tg.trace(lambda a, b: tg.einsum("bqd,bkd->bqk", a, b), tg.spec((2, 3, 4)), tg.spec((2, 5, 4))))
    def f(a: f32[2, 3, 4], b: f32[2, 5, 4]) -> f32[2, 3, 5]:
        return contract_axes(a, b, "bqd,bkd->bqk")
    """
    if len(operands) == 2 and type(subscripts) is str:  # the usual call, by the shortest way
        a, b = operands
        if isinstance(a, _READY) and isinstance(b, _READY):
            return _of_two(a, b, subscripts)
    if type(subscripts) is str:
        given: Sequence[Any] = operands
    else:
        subscripts, given = listed((subscripts, *operands))
    tensors = [x if isinstance(x, _READY) else of(x, "einsum: an operand", given) for x in given]
    if not tensors:
        raise ValueError(f"einsum({subscripts!r}) was given no operand")
    shapes = tuple([x.shape for x in tensors])
    if len(tensors) == 1:
        return _of_one(tensors[0], *planned(_one, subscripts, shapes))
    if len(tensors) == 2:
        return _of_two(tensors[0], tensors[1], subscripts)
    how = optimize if isinstance(optimize, (bool, str)) else _frozen(optimize)
    steps, last = planned(_several, subscripts, shapes, how)
    for places, text in steps:
        chosen = [tensors[i] for i in places]
        tensors = [x for i, x in enumerate(tensors) if i not in places]
        tensors.append(contract_axes.public(*chosen, subscripts=text))
    return _of_one(tensors[0], *last)


def _of_two(a: Any, b: Any, subscripts: str) -> Tensor:
    text = planned(_pair, subscripts, (a.shape, b.shape))
    return matmul.public(a, b) if text is None else contract_axes.public(a, b, subscripts=text)  # type: ignore[no-any-return]


def _frozen(path: Sequence[Any]) -> Any:
    return tuple(
        [step if isinstance(step, str) else tuple(step) if isinstance(step, (list, tuple)) else step for step in path]
    )


@lru_cache(maxsize=1024)
def _one(subscripts: str, shapes: Shapes) -> tuple[str, Any]:
    (term,), output = spelled(subscripts, at_sizes(shapes))
    return _plan_of_one(term, output)


def _plan_of_one(term: str, output: str) -> tuple[str, Any]:
    """How one operand becomes the output: which op, and its attribute."""
    if len(set(term)) < len(term):
        return "reindex", f"{term}->{output}"
    summed = tuple([i for i, c in enumerate(term) if c not in output])
    rest = "".join(c for c in term if c in output)
    order = None if rest == output else tuple([rest.index(c) for c in output])
    return "views", (summed, order)


def _of_one(x: Any, how: str, plan: Any) -> Tensor:
    if how == "reindex":
        return reindex.public(x, subscripts=plan)  # type: ignore[no-any-return]
    summed, order = plan
    if summed:
        kind = x.dtype
        x = reduction.sum.public(x, axis=summed, dtype=kind.name if kind.kind in "iub" else None)
    if order is not None:
        return shape.transpose.public(x, axes=order)  # type: ignore[no-any-return]
    return of(x, "einsum: an operand")


@lru_cache(maxsize=4096)
def _pair(subscripts: str, shapes: Shapes) -> str | None:
    """The subscripts of two operands for `contract_axes`; None where `matmul` is the same."""
    (a, b), output = spelled(subscripts, at_sizes(shapes))
    n = len(output)
    if len(a) == len(b) == n >= 2 and shapes[0][:-2] == shapes[1][:-2] and shapes[0][-1] == shapes[1][-2]:
        stack = output[:-2]
        if a == stack + output[-2] + b[-2] and b == stack + a[-1] + output[-1] and len({*a, *b}) == n + 1:
            return None
    return f"{a},{b}->{output}"


@lru_cache(maxsize=1024)
def _several(
    subscripts: str, shapes: Shapes, optimize: Any
) -> tuple[list[tuple[tuple[int, int], str]], tuple[str, Any]]:
    """The products of two by which several operands are multiplied, and what is left to do with the last one."""
    operands, output = spelled(subscripts, at_sizes(shapes))
    sizes = sizes_of(operands, shapes, said(subscripts, at_sizes(shapes)))
    n = len(operands)
    if isinstance(optimize, tuple) and len(optimize) == 2 and optimize[0] in ("greedy", "optimal"):
        optimize = optimize[0]  # with a limit of memory beside it, which no product of two exceeds
    if isinstance(optimize, str) and optimize not in ("greedy", "optimal"):
        raise ValueError(f"optimize must be a boolean, 'greedy', 'optimal' or a path, got {optimize!r}")
    if isinstance(optimize, tuple):
        path: Sequence[tuple[int, int]] = _by_twos(require_path(optimize, n))
    else:
        how = {True: "auto", False: "given"}.get(optimize, optimize)
        path = planned(path_of, operands, output, tuple(sizes.items()), how)
    left, steps = list(operands), []
    for i, j in path:
        a, b = left[i], left[j]
        left = [t for k, t in enumerate(left) if k not in (i, j)]
        needed = {*output}.union(*left)
        both = "".join(dict.fromkeys(a + b))
        kept = "".join(c for c in both if c in needed) if left else output
        steps.append(((i, j), f"{a},{b}->{kept}"))
        left.append(kept)
    return steps, _plan_of_one(left[0], output)


def _by_twos(path: tuple[tuple[int, ...], ...]) -> list[tuple[int, int]]:
    """A path whose steps have two operands; a step of one changes nothing but the order."""
    # the plan: names stand for operands, so that steps of several may be taken apart
    names = list(range(1 + sum(len(step) - 1 for step in path)))
    left, pairs, fresh = list(names), [], len(names)
    order = list(left)
    for step in path:
        chosen = [order[p] for p in step]
        order = [x for x in order if x not in chosen]
        product = chosen[0]
        for other in chosen[1:]:
            i, j = left.index(product), left.index(other)
            pairs.append((i, j))
            left = [x for x in left if x not in (product, other)] + [fresh]
            product, fresh = fresh, fresh + 1
        order.append(product)
    return pairs

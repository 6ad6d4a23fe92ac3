"""The ops that `einsum` is made of: a product of two tensors summed over axes, and diagonals and sums of one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import BatchCall
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Op, contraction, settle
from tensorgraph.ops.contraction import matrix_product
from tensorgraph.ops.kernels.contraction import plan, product, rearranged
from tensorgraph.ops.shape import broadcast_to, reshape
from tensorgraph.ops.subscripts import LETTERS, said, sizes_of

__all__ = ["contract_axes", "reindex"]

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def _parts(subscripts: Any, terms: int) -> tuple[list[str], str]:
    """The letters of the operands and of the output."""
    if type(subscripts) is not str or subscripts.count("->") != 1 or subscripts.count(",") != terms - 1:
        example = "'ij,jk->ik'" if terms == 2 else "'ii->i'"
        raise ValueError(
            f"subscripts must be letters for {terms} operands and an output, as {example}, got {subscripts!r}"
        )
    left, _, output = subscripts.partition("->")
    if strange := [c for c in left + output if c not in LETTERS + ","]:
        raise ValueError(f"subscripts {subscripts!r} have {strange[0]!r}; an axis is a letter, a to z or A to Z")
    return left.split(","), output


def _require_ranks(terms: list[str], shapes: Any, what: str) -> None:
    for i, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        if len(term) != len(shape):
            raise ValueError(f"{what}: operand {i} has {len(term)} letters, {term!r}, for {len(shape)} axes")


def _sizes(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[dict[str, int], str]:
    terms, output = _parts(subscripts, len(shapes))
    what = said(subscripts, shapes)
    _require_ranks(terms, shapes, what)
    sizes = sizes_of(terms, shapes, what)
    for c in output:
        if c not in sizes:
            raise ValueError(f"{what}: the output has {c!r}, which no operand has")
    return sizes, output


def _contract_infer(a: Aval, b: Aval, *, subscripts: str) -> Aval:
    sizes, output = _sizes(subscripts, (a.shape, b.shape))
    if len(set(output)) < len(output):
        raise ValueError(f"subscripts {subscripts!r}: the output has a letter twice")
    return Aval(tuple(sizes[c] for c in output), settle(np.result_type(a.dtype, b.dtype), [a.dtype, b.dtype]))


def _reindex_infer(x: Aval, *, subscripts: str) -> Aval:
    sizes, output = _sizes(subscripts, (x.shape,))
    return Aval(tuple(sizes[c] for c in output), x.dtype)


@lru_cache(maxsize=4096)
def _known(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> bool:
    """Whether these go together: looked at once."""
    infer: Any = _contract_infer if len(shapes) == 2 else _reindex_infer
    infer(*[Aval(shape, np.float32) for shape in shapes], subscripts=subscripts)
    return True


@lru_cache(maxsize=4096)
def _checked_plan(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    _known(subscripts, shapes)
    return plan(subscripts, *shapes)


def _contract(a: Any, b: Any, *, subscripts: str) -> Any:
    kind = a.dtype
    if kind is b.dtype and (kind is _SINGLE or kind is _DOUBLE):  # the usual case: one look-up
        return _checked_plan(subscripts, (a.shape, b.shape))(a, b, matrix_product)
    _known(subscripts, (a.shape, b.shape))
    return product(a, b, subscripts, matrix_product)


def _reindex(x: Any, *, subscripts: str) -> Any:
    _known(subscripts, (x.shape,))
    return rearranged(x, subscripts)


@lru_cache(maxsize=4096)
def _transposed(subscripts: str, side: int, shape: tuple[int, ...]) -> tuple[str, Any, Any, str | None]:
    """How the gradient of one operand is made of the cotangent and the other one: the subscripts of their product; of
    each letter where it stands there, or None, which is an axis of size 1; the shape without repeated letters; and the
    subscripts that put it on the diagonal."""
    terms, output = _parts(subscripts, subscripts.count(",") + 1)
    own = terms[side]
    unique = "".join(dict.fromkeys(own))
    sizes = dict(zip(own, shape, strict=True))
    others = terms[1 - side] if len(terms) == 2 else ""
    present = "".join(c for c in unique if sizes[c] != 1 and (c in output or c in others))
    text = f"{output},{others}->{present}" if len(terms) == 2 else f"{output}->{present}"
    full = tuple(sizes[c] for c in unique)
    places = tuple(present.index(c) if c in present else None for c in unique)
    return text, places if present != unique else None, full, f"{unique}->{own}" if unique != own else None


def _in_place(h: Any, places: Any, full: Any, diagonal: str | None) -> Any:
    if places is not None:  # what it has may be of size 1 too, where the other operand is
        h = reshape(h, shape=tuple([1 if i is None else h.shape[i] for i in places]))
    if diagonal is None:
        return h
    if h.shape != full:
        h = broadcast_to(h, shape=full)
    return reindex(h, subscripts=diagonal)


def _contract_back(g: Any, other: Any, subscripts: str, side: int, shape: tuple[int, ...]) -> Any:
    text, places, full, diagonal = _transposed(subscripts, side, shape)
    h = contract_axes(g, other, subscripts=text)
    return h if places is None and diagonal is None else _in_place(h, places, full, diagonal)


def _reindex_back(g: Any, x_aval: Any, subscripts: str) -> Any:
    text, places, full, diagonal = _transposed(subscripts, 0, x_aval.shape)
    return _in_place(reindex(g, subscripts=text), places, full, diagonal)


def _free_letter(subscripts: str) -> str:
    free = next((c for c in reversed(LETTERS) if c not in subscripts), None)
    if free is None:
        raise ValueError(f"subscripts {subscripts!r} leave no letter for the axis of a batch")
    return free


def _contract_batch(call: BatchCall) -> Any:
    terms, output = _parts(call.attrs["subscripts"], 2)
    c = _free_letter(call.attrs["subscripts"])
    left = ",".join([c + t if on else t for t, on in zip(terms, call.on, strict=True)])
    return call.run(*call.args, subscripts=f"{left}->{c}{output}")


def _reindex_batch(call: BatchCall) -> Any:
    (term,), output = _parts(call.attrs["subscripts"], 1)
    c = _free_letter(call.attrs["subscripts"])
    return call.run(*call.args, subscripts=f"{c}{term}->{c}{output}")


def _contract_flops(a: Aval, b: Aval, *, subscripts: str) -> int:
    sizes, output = _sizes(subscripts, (a.shape, b.shape))
    return math.prod(sizes.values()) * (1 if set(output) == set(sizes) else 2)


def _reindex_flops(x: Aval, *, subscripts: str) -> int:
    sizes, output = _sizes(subscripts, (x.shape,))
    return 0 if set(output) == set(sizes) else math.prod(sizes.values())


def _diagonals(x: Any, *, subscripts: str) -> Any:
    """By `numpy.einsum`, which knows no letter twice in its output: 0 where places of one letter differ."""
    term, _, output = subscripts.partition("->")
    once = "".join(dict.fromkeys(output))
    values = np.einsum(f"{term}->{once}", x)
    sizes = dict(zip(once, values.shape, strict=True))
    places = np.indices([sizes[c] for c in output])
    axes = [output.index(c) for c in once]
    same = np.all([places[i] == places[output.index(c)] for i, c in enumerate(output)], axis=0)
    return np.where(same, values[tuple([places[i] for i in axes])], 0)


reindex: Op = op(
    "reindex(x, *, subscripts: str)", _reindex, contraction, infer_rule=_reindex_infer, batch=_reindex_batch,
    vjp=dict(x=_reindex_back), traits=("linear", "internal"), flops=_reindex_flops, oracle=_diagonals,
    examples=(
        (((3, 3),), dict(subscripts="ii->")), (((3, 3, 2),), dict(subscripts="iij->ji")), (((3,),),
        dict(subscripts="i->ii")),
        (((2, 3, 2, 2),), dict(subscripts="ijii->ij")), (((2, 3),), dict(subscripts="ij->jii")), (((0, 0),),
        dict(subscripts="ii->")),
        (((),), dict(subscripts="->")),
    ),
    on_numpy="letters that repeat, or are summed alone, are sums of NumPy's over views",
    doc="""Diagonals, sums and another order of axes, as `einsum` writes them with a letter an axis.

    A letter that the output has not is summed; one that the output has twice stands for a diagonal, 0 beside it.

    >>> import tensorgraph as tg
    >>> tg.einsum("ii->", tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5., f32)
    """,
)  # fmt: skip

contract_axes: Op = op(
    "contract_axes(a, b, *, subscripts: str)", _contract, contraction, infer_rule=_contract_infer,
    batch=_contract_batch,
    vjp=dict(
        a=lambda g, a_aval, b, subscripts: _contract_back(g, b, subscripts, 0, a_aval.shape),
        b=lambda g, a, b_aval, subscripts: _contract_back(g, a, subscripts, 1, b_aval.shape),
    ),
    traits=("analytic", "internal"), flops=_contract_flops, native="contraction:native_contract", direct=True,
    oracle=lambda a, b, *, subscripts: np.einsum(subscripts, a, b),
    examples=(
        (((3, 4), (4, 2)), dict(subscripts="ij,jk->ik")), (((2, 3, 4), (2, 2, 4)), dict(subscripts="bqd,bkd->bqk")),
        (((3,), (4,)), dict(subscripts="i,j->ij")), (((3,), (2,)), dict(subscripts="i,j->ji")),
        (((2, 3, 4), (2, 4)), dict(subscripts="ijk,ik->ij")), (((3, 4), (3, 4)), dict(subscripts="ij,ij->")),
        (((3, 4), (3, 4)), dict(subscripts="ij,ij->j")), (((3, 4), (4, 3)), dict(subscripts="ij,ji->i")),
        (((3, 3), (3,)), dict(subscripts="ii,j->i")), (((2, 3), (4,)), dict(subscripts="ij,k->k")),
        (((2, 1), (3, 4)), dict(subscripts="ij,jk->ik")), (((1, 3), (2, 1)), dict(subscripts="ij,ij->ij")),
        (((1, 1), (2,)), dict(subscripts="ii,i->i")), (((2, 3, 2), (2, 3, 4)), dict(subscripts="iji,ijk->ki")),
        (((2, 3, 4), (3, 2, 5)), dict(subscripts="abc,bad->cd")), (((2, 3, 2), (2, 2, 4)),
        dict(subscripts="bij,bjk->ibk")),
        (((), (3,)), dict(subscripts=",i->i")), (((0, 3), (3, 2)), dict(subscripts="ij,jk->ik")),
        (((3, 0), (0, 2)), dict(subscripts="ij,jk->ik")), (((0,), (0,)), dict(subscripts="i,i->")),
        (((2, 3, 4), (5, 3)), dict(subscripts="bij,ci->bcj")), (((2, 3, 2, 2), (3, 2, 5)),
        dict(subscripts="aibj,ibk->ajk")),
    ),
    doc="""The product of two tensors summed over axes, as `einsum` writes it with a letter an axis.

    An axis of size 1 goes with any. Computed by BLAS, through products of matrices.

    >>> import tensorgraph as tg
    >>> tg.einsum("ij,kj->ik", tg.ones((2, 3)), tg.ones((4, 3))).shape
    (2, 4)
    """,
)  # fmt: skip

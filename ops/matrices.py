"""Functions of matrices that are made of factorisations, systems and products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes, canonical_axis
from tensorgraph.engine.batching import unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function
from tensorgraph.engine.op import Op, float_dtype
from tensorgraph.engine.sums import total
from tensorgraph.engine.tensor import Tensor, as_array
from tensorgraph.ops import creation, logic, reduction, shape
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.factors import PAIR, POSITIVE, TALL
from tensorgraph.ops.matrix_numbers import matrix_rank
from tensorgraph.ops.moving import of
from tensorgraph.ops.shape import concatenate, swap_last
from tensorgraph.ops.singular import require_finite, svdvals
from tensorgraph.ops.solving import (
    algebra,
    inv,
    narrow,
    require_matrix,
    require_square,
    same_kind,
    slogdet_parts,
    solve,
    solve_triangular,
    wide,
)  # fmt: skip

__all__: list[str] = []

TensorLike = Any


# determinants ---------------------------------------------------------------------------------------------------------


class SlogdetResult(NamedTuple):
    """What `slogdet` gives."""

    sign: Tensor
    logabsdet: Tensor


@function(numpy=(np.linalg.slogdet,), examples=((((3, 3),), {}), (((2, 2, 2),), {})), computed=True)
def slogdet(a: TensorLike) -> SlogdetResult:
    """The sign of the determinant and the logarithm of its magnitude, of square matrices (..., n, n).

    Returns
    -------
    SlogdetResult
        A named tuple of sign and logabsdet; 0 and -inf for a singular matrix, whose gradient raises
        `numpy.linalg.LinAlgError`.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.linalg.slogdet(tg.eye(3) * 1e-30).sign
    tensor(1., f32)
    """
    return SlogdetResult(*slogdet_parts.public(of(a, "slogdet: a")))


@function(examples=(), computed=True)
def logdet(a: TensorLike) -> Tensor:
    """The logarithm of the determinant of square matrices; NaN where that is negative.

    >>> import tensorgraph as tg
    >>> tg.linalg.logdet(tg.eye(3))
    tensor(0., f32)
    """
    sign, size = slogdet(a)
    return logic.where.public(sign >= 0, size, math.nan)  # type: ignore[no-any-return]


# inverses and systems -------------------------------------------------------------------------------------------------


def _pinv(a: Any, *, rtol: Any = None) -> Any:
    require_matrix(Aval(a.shape, a.dtype))
    require_finite(a)
    (x,) = wide(a)
    limit = max(x.shape[-2:]) * np.finfo(x.dtype).eps if rtol is None else rtol
    return narrow(np.linalg.pinv(x, rcond=limit) if x.size else np.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2])), a)


def _pinv_infer(a: Aval, *, rtol: Any) -> Aval:
    require_matrix(a)
    if rtol is not None and (isinstance(rtol, bool) or not isinstance(rtol, (int, float))):
        raise TypeError(f"rtol must be a number or None, got {rtol!r}")
    return Aval((*a.shape[:-2], a.shape[-1], a.shape[-2]), float_dtype(a.dtype))


def _pinv_back(g: Any, a: Any, out: Any) -> Any:
    p, turned = out, swap_last(out)
    back = swap_last(g)
    first = matmul(matmul(turned, g), turned)
    rows = matmul(matmul(back, p), turned)
    columns = matmul(turned, matmul(p, back))
    return rows - matmul(a, matmul(p, rows)) + columns - matmul(matmul(columns, p), a) - first


def _pinv_of_limits(a: Any, rtol: Any = None) -> Any:
    """A limit for each matrix: numbers that are known, and one inverse after the other."""
    if not isinstance(rtol, (Tensor, np.ndarray, list, tuple)):
        return NotImplemented
    x, limits = of(a, "pinv: a"), as_array(rtol)
    require_matrix(Aval(x.shape, x.dtype))
    stack = x.shape[:-2]
    if broadcast_shapes(limits.shape, stack) != stack:
        raise ValueError(f"rtol has one number or one a matrix, of the stack's shape {stack}, got shape {limits.shape}")
    if limits.ndim == 0 or 0 in stack:
        return pinv.public(x, rtol=float(limits) if limits.ndim == 0 else None)
    flat = x.reshape((math.prod(stack), *x.shape[-2:]))
    found = [pinv.public(flat[i], rtol=float(v)) for i, v in enumerate(np.broadcast_to(limits, stack).flat)]
    return shape.stack.public(found).reshape((*stack, *found[0].shape))


pinv: Op = op(
    "pinv(a, *, rtol: float | None = None)", _pinv, algebra, infer_rule=_pinv_infer, numpy=(np.linalg.pinv,),
    batch=unchanged, vjp=dict(a=_pinv_back), flops=lambda a, *, rtol: 16 * a.size * min(a.shape[-2:]),
    also=("pinverse",), synonyms={"rcond": "rtol"}, otherwise=_pinv_of_limits,
    oracle=lambda a, *, rtol=None: np.linalg.pinv(np.asarray(a, np.float64)),
    examples=(((TALL,), {}), ((PAIR,), {}), ((TALL.T,), {}), ((POSITIVE,), {}), ((TALL,), dict(rtol=0.01))),
    on_numpy="it is made of one of LAPACK's factorisations",
    doc="""The Moore-Penrose inverse (..., n, m) of matrices (..., m, n), by singular values.

    Those up to `rtol` times the largest count as 0, a number or an array with one a matrix; by default max(m, n) times
    the dtype's epsilon. The derivative is
    the one at a fixed rank: G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413.

    >>> import tensorgraph as tg
    >>> tg.linalg.pinv([[2.0], [0.0]])
    tensor([[0.5, 0. ]], f32)
    """,
)  # fmt: skip


class LstsqResult(NamedTuple):
    """What `lstsq` gives."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


@function(examples=(), computed=True, numpy=(np.linalg.lstsq,))
def lstsq(a: TensorLike, b: TensorLike, rcond: float | None = None) -> LstsqResult:
    """x that makes the sum of squares of ``a @ x - b`` least; of several the shortest.

    Parameters
    ----------
    a : tensor of shape (..., m, n)
    b : tensor of shape (m,) or (..., m, k)
    rcond : float, optional
        Singular values up to `rcond` times the largest count as 0; as in `pinv` by default, and from 1 on (so
        LAPACK).

    Returns
    -------
    LstsqResult
        A named tuple: solution (n,) or (..., n, k); residuals, the sums of squares of each column where m > n, else
        of size 0 (NumPy's are so where the rank is less than n, too); rank; singular_values.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.round(tg.linalg.lstsq([[1.0], [1.0]], [1.0, 3.0]).solution, decimals=3)
    tensor([2.], f32)
    """
    x, y = of(a, "lstsq: a", (b,)), of(b, "lstsq: b", (a,))
    vector = y.ndim == 1
    columns = shape.expand_dims.public(y, axis=-1) if vector else y
    if x.ndim < 2 or columns.ndim < 2 or x.shape[-2] != columns.shape[-2]:
        raise ValueError(f"lstsq: a needs the shape (..., m, n) and b (m,) or (..., m, k), got {x.shape} and {y.shape}")
    rcond = rcond if rcond is None or rcond < 1 else None
    found = matmul.public(pinv.public(x, rtol=rcond), columns)
    m, n = x.shape[-2:]
    off = columns - matmul.public(x, found)
    squares = reduction.sum.public(off * off, axis=-2)
    s = svdvals.public(x)
    if m <= n:
        squares = squares[..., :0]
    return LstsqResult(
        shape.squeeze.public(found, axis=-1) if vector else found, squares, matrix_rank(x, rtol=rcond), s
    )


@function(
    examples=((((3, 2), (3, 3)), {}), (((3,), (3, 3)), {}), (((3, 2), (3, 3)), dict(upper=True))), computed=True
)  # fmt: skip
def cholesky_solve(b: TensorLike, factor: TensorLike, upper: bool = False) -> Tensor:
    """x of ``a @ x == b`` by the Cholesky factor of a, L of ``L @ L.mT``, or with `upper` U of ``U.mT @ U``.

    Parameters
    ----------
    b : tensor of shape (n,) or (..., n, k)
    factor : tensor of shape (..., n, n)
    upper : bool

    Examples
    --------
    >>> import tensorgraph as tg
    >>> a = tg.tensor([[4.0, 2.0], [2.0, 5.0]])
    >>> tg.linalg.cholesky_solve(a @ tg.tensor([1.0, 2.0]), tg.linalg.cholesky(a))
    tensor([1., 2.], f32)
    """
    first, second = (1, 0) if upper else (0, 1)
    half = solve_triangular.public(factor, b, lower=not upper, trans=first)
    return solve_triangular.public(factor, half, lower=not upper, trans=second)  # type: ignore[no-any-return]


@function(numpy=(np.linalg.tensorsolve,), examples=(), computed=True)
def tensorsolve(a: TensorLike, b: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """x of ``tensordot(a, x, x.ndim) == b``; the axes of `a` named in `axes` are moved to its end first.

    >>> import tensorgraph as tg
    >>> tg.linalg.tensorsolve(tg.eye(6).reshape(2, 3, 6), tg.ones((2, 3))).shape
    (6,)
    """
    x, y = of(a, "tensorsolve: a"), of(b, "tensorsolve: b")
    if axes is not None:
        last = [canonical_axis(k, x.ndim) for k in axes]
        x = shape.transpose.public(x, axes=(*[k for k in range(x.ndim) if k not in last], *last))
    rest = x.shape[y.ndim :]
    if math.prod(rest) != y.size or x.shape[: y.ndim] != y.shape:
        raise ValueError(f"tensorsolve: a of shape {x.shape} is no square matrix over b's shape {y.shape}")
    found = solve.public(x.reshape(y.size, y.size), y.reshape(y.size))
    return found.reshape(rest)  # type: ignore[no-any-return]


@function(numpy=(np.linalg.tensorinv,), examples=(), computed=True)
def tensorinv(a: TensorLike, ind: int = 2) -> Tensor:
    """The inverse of a tensor as a matrix of its first `ind` axes and the others.

    >>> import tensorgraph as tg
    >>> tg.linalg.tensorinv(tg.eye(6).reshape(6, 2, 3), ind=1).shape
    (2, 3, 6)
    """
    x = of(a, "tensorinv: a")
    if not 0 < ind <= x.ndim:
        raise ValueError(f"tensorinv: ind must be between 1 and the {x.ndim} axes of a, got {ind}")
    before, after = x.shape[:ind], x.shape[ind:]
    if math.prod(before) != math.prod(after):
        raise ValueError(f"tensorinv: a of shape {x.shape} is no square matrix: its first {ind} axes have another size")
    n = math.prod(before)
    return inv.public(x.reshape(n, n)).reshape((*after, *before))  # type: ignore[no-any-return]


# powers and exponentials ----------------------------------------------------------------------------------------------


@function(
    numpy=(np.linalg.matrix_power,), computed=True,
    examples=((((3, 3), 3), {}), (((2, 2, 2), 2), {}), (((3, 3), -1), {}), (((3, 3), 1), {}), (((3, 3), 5), {})),
)  # fmt: skip
def matrix_power(a: TensorLike, n: int) -> Tensor:
    """Square matrices (..., m, m) times themselves n times; for negative n the inverses, for 0 the identity.

    >>> import tensorgraph as tg
    >>> tg.linalg.matrix_power([[1.0, 1.0], [0.0, 1.0]], 5)
    tensor([[1., 5.],
            [0., 1.]], f32)
    """
    x = of(a, "matrix_power: a")
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: a must be a square matrix or a batch of them, got shape {x.shape}")
    if n < 0:
        x, n = inv.public(x), -n
    if n == 0:
        eye = creation.eye.public(x.shape[-1], dtype=x.dtype.name)
        return eye if x.ndim == 2 else shape.broadcast_to.public(eye, shape=x.shape)  # type: ignore[no-any-return]
    power: Tensor | None = None
    while True:
        if n % 2:
            power = x if power is None else matmul.public(power, x)
        n //= 2
        if not n:
            assert power is not None
            return power
        x = matmul.public(x, x)


# of the Padé approximant of degree 13, and the norm up to which it is exact in float64
PADE = (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000, 10559470521600,
        670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1)  # fmt: skip
REACH = 5.371920351148152


def _expm(a: Any) -> Any:
    require_square(Aval(a.shape, a.dtype))
    (x,) = wide(a)
    x = x.astype(np.float64)
    if not x.size:
        return narrow(x, a)
    if not np.isfinite(x).all():
        return narrow(np.full_like(x, np.nan), a)
    # a matrix of norm beyond the reach is halved as often as needed, and what comes is squared as often; the norm is
    # taken of parts of 2**-64, of which no sum overflows
    parts = float(total(np.abs(np.ldexp(x, -64)), -2).max())
    halvings = max(0, math.ceil(math.log2(parts / REACH) + 64)) if parts > math.ldexp(REACH, -64) else 0
    with np.errstate(all="ignore"):
        x = np.ldexp(x, -min(halvings, 1100))
        eye = np.eye(x.shape[-1])
        x2 = x @ x
        x4 = x2 @ x2
        x6 = x2 @ x4
        c = PADE
        odd = x @ (x6 @ (c[13] * x6 + c[11] * x4 + c[9] * x2) + c[7] * x6 + c[5] * x4 + c[3] * x2 + c[1] * eye)
        even = x6 @ (c[12] * x6 + c[10] * x4 + c[8] * x2) + c[6] * x6 + c[4] * x4 + c[2] * x2 + c[0] * eye
        out = np.linalg.solve(even - odd, even + odd)
        for _ in range(halvings):
            out = out @ out
    return narrow(out, a)


def _square_infer(a: Aval) -> Aval:
    require_square(a)
    return same_kind(a)


def _expm_back(g: Any, a: Any) -> Any:
    """The derivative in the direction g at the transposed matrix, which stands in a corner of a larger exponential."""
    n = a.shape[-1]
    turned = swap_last(a)
    top = concatenate([turned, g], axis=-1)
    bottom = concatenate([creation.beside(a, creation.zeros, shape=a.shape, dtype=str(a.dtype)), turned], axis=-1)
    return expm(concatenate([top, bottom], axis=-2))[..., :n, n:]


def _expm_by_terms(a: Any) -> Any:
    a = np.asarray(a, np.longdouble)
    out = term = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape)
    for k in range(1, 60):
        term = np.matmul(term, a) / k
        out = out + term
    return out


expm: Op = op(
    "expm(a)", _expm, algebra, infer_rule=_square_infer, batch=unchanged, vjp=dict(a=_expm_back), also=("matrix_exp",),
    flops=lambda a: 30 * a.size * a.shape[-1], oracle=_expm_by_terms, domain=(-1.0, 1.0),
    examples=((((3, 3),), {}), (((2, 2, 2),), {}), ((3 * POSITIVE,), {}), (((0, 0),), {})),
    on_numpy="it is made of BLAS's products and one of LAPACK's routines",
    doc="""The exponential of square matrices (..., n, n): the sum of all powers of a over factorials.

    By the Padé approximant of degree 13 with scaling and squaring, in float64: N. J. Higham, SIAM J. Matrix Anal. Appl.
    26 (2005) 1179. The gradient is a block of the exponential of a matrix of twice the size.

    >>> import tensorgraph as tg
    >>> tg.linalg.expm([[0.0, 1.0], [0.0, 0.0]])
    tensor([[1., 1.],
            [0., 1.]], f32)
    """,
)  # fmt: skip

"""Factorisations of matrices: Cholesky, QR, eigenvalues of symmetric matrices.

Where a matrix is to be symmetric, the mean of it and its transpose is taken, so that both triangles count alike and
have the same gradient. Eigenvectors of equal eigenvalues may turn in their plane: they have no
derivative, which is an error as soon as one is asked for. The values themselves have one.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function
from tensorgraph.engine.op import Op, float_dtype
from tensorgraph.engine.sums import total
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.creation import beside, eye
from tensorgraph.ops.moving import of
from tensorgraph.ops.reduction import sum as sum_of
from tensorgraph.ops.shape import concatenate, expand_dims, swap_last
from tensorgraph.ops.solving import (
    algebra,
    narrow,
    require_matrix,
    require_square,
    same_kind,
    solve_triangular,
    triangle,
    wide,
)

__all__: list[str] = []

TensorLike = Any
POSITIVE = np.array([[2.0, 0.3, -0.4], [0.3, 1.7, 0.2], [-0.4, 0.2, 1.1]])
STACK = np.stack([POSITIVE, POSITIVE[::-1, ::-1] + np.diag([0.5, 0.0, 0.2])])
TALL = np.array([[1.0, 0.2], [-0.5, 2.0], [0.4, 0.7]])
PAIR = np.stack([TALL, TALL[::-1] * 1.3 + 0.2])


def symmetric(a: Any) -> Any:
    """The mean of matrices and their transposes."""
    return (a + swap_last(a)) * 0.5


def absent(g: Any) -> bool:
    """Whether no cotangent has come."""
    return g is None or type(g) is float


# Cholesky -------------------------------------------------------------------------------------------------------------


def _square_infer(a: Aval, **attrs: Any) -> Aval:
    require_square(a)
    return same_kind(a)


def _cholesky(a: Any, *, upper: bool = False) -> Any:
    require_square(Aval(a.shape, a.dtype))
    (x,) = wide(a)
    try:
        out = np.linalg.cholesky(symmetric(x))
    except np.linalg.LinAlgError:
        raise np.linalg.LinAlgError(
            "a is not positive definite: a matrix that should be may be made so by a small multiple of the identity, "
            "a + 1e-6 * tg.eye(n)"
        ) from None
    return narrow(swap_last(out) if upper else out, a)


def _cholesky_back(g: Any, out: Any, upper: bool) -> Any:
    lower, g = (swap_last(out), swap_last(g)) if upper else (out, g)
    n = lower.shape[-1]
    halves = 1.0 - beside(lower, eye, n=n, dtype=str(lower.dtype)) * 0.5
    middle = triangle(matmul(swap_last(lower), g), True) * halves
    half = solve_triangular(lower, middle, lower=True, trans=1)
    whole = solve_triangular(lower, swap_last(half), lower=True, trans=1)
    return symmetric(whole)


cholesky: Op = op(
    "cholesky(a, *, upper: bool = False)", _cholesky, algebra, infer_rule=_square_infer, numpy=(np.linalg.cholesky,),
    batch=unchanged, vjp=dict(a=_cholesky_back), flops=lambda a, *, upper: (a.size * a.shape[-1]) // 3,
    oracle=lambda a, *, upper=False: _cholesky_oracle(np.asarray(a, np.float64), upper),
    examples=(((POSITIVE,), {}), ((STACK,), {}), ((POSITIVE,), dict(upper=True)), ((np.zeros((0, 0)),), {})),
    on_numpy="it is one of LAPACK's routines",
    doc="""The lower triangular L of ``L @ L.mT == a``, or with `upper` U of ``U.mT @ U == a``, of (..., n, n).

    The mean of a and its transpose is factorised (NumPy reads the lower triangle alone), and the gradient is symmetric.
    A matrix that is not positive definite raises `numpy.linalg.LinAlgError`. The derivative is that of I. Murray,
    Differentiation of the Cholesky decomposition, arXiv:1602.07527.

    >>> import tensorgraph as tg
    >>> tg.linalg.cholesky([[4.0, 2.0], [2.0, 5.0]])
    tensor([[2., 0.],
            [1., 2.]], f32)
    """,
)  # fmt: skip


def _cholesky_oracle(a: Any, upper: bool) -> Any:
    out = np.zeros(a.shape)
    a = (a + np.swapaxes(a, -1, -2)) / 2
    for i in range(a.shape[-1]):
        for j in range(i + 1):
            rest = a[..., i, j] - total(out[..., i, :j] * out[..., j, :j], -1)
            out[..., i, j] = np.sqrt(rest) if i == j else rest / out[..., j, j]
    return np.swapaxes(out, -1, -2) if upper else out


# QR -------------------------------------------------------------------------------------------------------------------


def _qr_infer(a: Aval, *, mode: str) -> tuple[Aval, Aval]:
    require_matrix(a)
    m, n = a.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    kind = float_dtype(a.dtype)
    return Aval((*a.shape[:-2], m, k), kind), Aval((*a.shape[:-2], k, n), kind)


def _qr(a: Any, *, mode: Any = "reduced") -> Any:
    require_matrix(Aval(a.shape, a.dtype))
    (x,) = wide(a)
    q, r = np.linalg.qr(x, mode=mode)
    return narrow(q, a), narrow(r, a)


def _qr_back(g_q: Any, g_r: Any, q: Any, r: Any, mode: str) -> Any:
    # The plan: of a wide matrix [x y] = q [u v] the square x = q u is as below, and y = q v gives g_v, a part of g_q.
    # Of the others: with m = r g_r' - g_q' q, the gradient is (g_q + q (the lower triangle of m made symmetric)) r'^-1.
    m, n = q.shape[-2], r.shape[-1]
    if m > n and q.shape[-1] == m:
        raise ValueError(
            "qr: of more rows than columns mode='complete' has no gradient, since the columns that it adds to q are "
            "any that complete it; use mode='reduced'"
        )
    if absent(g_q) and absent(g_r):
        return None
    if m < n:
        g_v = None if absent(g_r) else g_r[..., m:]
        g_u = 0.0 if absent(g_r) else g_r[..., :m]
        if g_v is not None:
            y = matmul(q, r[..., m:])
            from_y = matmul(y, swap_last(g_v))
            g_q = from_y if absent(g_q) else g_q + from_y
        left = _qr_tall_back(g_q, g_u, q, r[..., :m])
        right = np.zeros((*q.shape[:-1], n - m), str(q.dtype)) if g_v is None else matmul(q, g_v)
        return concatenate([left, right], axis=-1)
    return _qr_tall_back(g_q, g_r, q, r)


def _qr_tall_back(g_q: Any, g_r: Any, q: Any, r: Any) -> Any:
    middle: Any = 0.0
    if not absent(g_r):
        middle = matmul(r, swap_last(g_r))
    if not absent(g_q):
        middle = middle - matmul(swap_last(g_q), q)
    below = triangle(middle, True, strictly=True)
    whole = matmul(q, triangle(middle, True) + swap_last(below))
    whole = whole if absent(g_q) else g_q + whole
    return swap_last(solve_triangular(r, swap_last(whole)))


qr_parts: Op = op(
    "qr_parts(a, *, mode: Literal['reduced', 'complete'] = 'reduced') -> q, r", _qr, algebra, infer_rule=_qr_infer,
    batch=unchanged, vjp=dict(a=_qr_back), traits=("internal",),
    flops=lambda a, *, mode: 4 * a.size * min(a.shape[-2:]),
    oracle=lambda a, *, mode="reduced": tuple(np.linalg.qr(np.asarray(a, np.float64), mode=mode)),
    examples=(
        ((TALL,), {}), ((PAIR,), {}), ((POSITIVE,), {}), ((TALL.T,), {}), ((np.swapaxes(PAIR, -1, -2),), {}),
        ((POSITIVE,), dict(mode="complete")), ((TALL.T,), dict(mode="complete")),
    ),
    on_numpy="it is one of LAPACK's routines",
    doc="""Q and R: what `qr` is made of.

    >>> import tensorgraph as tg
    >>> tg.linalg.qr([[3.0, 1.0], [4.0, 2.0]]).R.shape
    (2, 2)
    """,
)  # fmt: skip


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Tensor
    R: Tensor


@function(
    numpy=(np.linalg.qr,), computed=True,
    examples=((((3, 2),), {}), (((3, 3),), {}), (((2, 3),), dict(mode="r")), (((2, 3, 2),), {})),
)  # fmt: skip
def qr(a: TensorLike, mode: Literal["reduced", "complete", "r"] = "reduced") -> QRResult | Tensor:
    """Orthogonal columns Q and an upper triangular R with ``Q @ R == a``, of (..., m, n).

    Parameters
    ----------
    a : tensor
    mode : {"reduced", "complete", "r"}
        Q of min(m, n) columns, or of m, or R alone.

    Returns
    -------
    QRResult
        A named tuple of Q and R; with "r" the tensor R.

    Notes
    -----
    With "complete" and m > n there is no gradient: it is refused. Columns that depend on one another raise
    `numpy.linalg.LinAlgError` in the gradient.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> q, r = tg.linalg.qr(tg.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> abs(r[0, 0])
    tensor(5., f32)
    """
    q, r = qr_parts.public(of(a, "qr: a"), mode="reduced" if mode == "r" else mode)
    return r if mode == "r" else QRResult(q, r)


# eigenvalues of symmetric matrices ------------------------------------------------------------------------------------


def _gaps(w: Any, *, kind: str = "eigen") -> Any:
    x = w.astype(np.float32) if w.dtype == np.float16 else w
    n = x.shape[-1]
    off = x[..., None, :] - x[..., :, None]
    same = np.eye(n, dtype=bool)
    size = np.abs(x).max(-1, initial=0)[..., None, None]
    close = (np.abs(off) <= size * n * np.finfo(x.dtype).eps) & ~same
    if close.any():
        *stack, i, j = (int(k) for k in np.argwhere(close)[0])
        where = f" of matrix {tuple(stack)}" if stack else ""
        remedy = "eigvalsh" if kind == "eigen" else "svdvals"
        raise np.linalg.LinAlgError(
            f"{kind}values {i} and {j}{where} are equal ({x[(*stack, i)]:.6g}): their {kind}vectors may turn in their "
            f"plane and have no derivative. The values have one ({remedy}); otherwise make them differ by a small "
            "change of the matrix"
        )
    return (np.where(same, 0, 1) / np.where(same, 1, off)).astype(w.dtype)


reciprocal_gaps: Op = op(
    "reciprocal_gaps(w, *, kind: str = 'eigen')", _gaps, algebra, batch=unchanged, traits=("internal",),
    infer_rule=lambda w, *, kind: Aval((*w.shape, w.shape[-1]), w.dtype),
    vjp=dict(w=lambda g, out: sum_of(g * out * out, axis=-1) - sum_of(g * out * out, axis=-2)),
    oracle=lambda w, *, kind="eigen": np.stack(
        [np.stack([0 * x if i == j else 1 / (w[..., j] - x) for j in range(w.shape[-1])], -1)
         for i, x in enumerate(np.moveaxis(w, -1, 0))], -2),
    examples=(((np.array([0.3, 1.0, 2.5]),), {}), ((np.array([[0.3, 1.0], [-1.0, 2.0]]),), {})),
    on_numpy="it is little beside the routine of LAPACK's that it belongs to",
    doc="1 / (w[j] - w[i]) and 0 on the diagonal; equal ones raise `numpy.linalg.LinAlgError`.",
)  # fmt: skip


def _eigh_infer(a: Aval) -> tuple[Aval, Aval]:
    require_square(a)
    kind = float_dtype(a.dtype)
    return Aval(a.shape[:-1], kind), Aval(a.shape, kind)


def _eigh(a: Any) -> Any:
    require_square(Aval(a.shape, a.dtype))
    (x,) = wide(a)
    w, v = np.linalg.eigh(symmetric(x))
    return narrow(w, a), narrow(v, a)


def _eigh_back(g_w: Any, g_v: Any, w: Any, v: Any) -> Any:
    if absent(g_w) and absent(g_v):
        return None
    turned = swap_last(v)
    if absent(g_v):
        return symmetric(matmul(v * expand_dims(g_w, axis=-2), turned))
    middle = matmul(turned, g_v) * reciprocal_gaps(w)
    whole = matmul(v, matmul(middle, turned))
    return symmetric(whole if absent(g_w) else whole + matmul(v * expand_dims(g_w, axis=-2), turned))


eigh_parts: Op = op(
    "eigh_parts(a) -> w, v", _eigh, algebra, infer_rule=_eigh_infer, batch=unchanged, vjp=dict(a=_eigh_back),
    traits=("internal",), flops=lambda a: 9 * a.size * a.shape[-1],
    oracle=lambda a: tuple(np.linalg.eigh(symmetric(np.asarray(a, np.float64)))),
    examples=(((POSITIVE,), {}), ((STACK,), {}), ((np.zeros((0, 0)),), {})),
    on_numpy="it is one of LAPACK's routines",
    doc="""Eigenvalues and eigenvectors of symmetric matrices: what `eigh` is made of.

    >>> import tensorgraph as tg
    >>> tg.linalg.eigh([[2.0, 0.0], [0.0, 1.0]]).eigenvalues
    tensor([1., 2.], f32)
    """,
)  # fmt: skip


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Tensor
    eigenvectors: Tensor


@function(numpy=(np.linalg.eigh,), examples=(), computed=True)
def eigh(a: TensorLike) -> EighResult:
    """Eigenvalues in growing order, and eigenvectors as columns, of symmetric matrices (..., n, n).

    Returns
    -------
    EighResult
        A named tuple of eigenvalues (..., n) and eigenvectors (..., n, n): ``a @ v == v * w[..., None, :]``.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where they do not converge; and in the gradient through eigenvectors, where eigenvalues are equal.

    Notes
    -----
    The mean of a and its transpose is taken: NumPy's ``UPLO`` reads one triangle alone, which is
    ``tg.tril(a) + tg.tril(a, -1).mT``. A gradient through the vectors depends on their signs unless the loss does not.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> w, v = tg.linalg.eigh([[2.0, 1.0], [1.0, 2.0]])
    >>> w
    tensor([1., 3.], f32)
    """
    return EighResult(*eigh_parts.public(of(a, "eigh: a")))


def _eigvalsh(a: Any) -> Any:
    require_square(Aval(a.shape, a.dtype))
    (x,) = wide(a)
    return narrow(np.linalg.eigvalsh(symmetric(x)), a)


def _eigvalsh_back(g: Any, a: Any) -> Any:
    _, v = eigh_parts(a)
    return symmetric(matmul(v * expand_dims(g, axis=-2), swap_last(v)))


eigvalsh: Op = op(
    "eigvalsh(a)", _eigvalsh, algebra, infer_rule=lambda a: _eigh_infer(a)[0], batch=unchanged,
    numpy=(np.linalg.eigvalsh,), vjp=dict(a=_eigvalsh_back), flops=lambda a: 2 * a.size * a.shape[-1],
    oracle=lambda a: np.sort(np.linalg.eigvals(symmetric(np.asarray(a, np.float64))).real, axis=-1),
    examples=(((POSITIVE,), {}), ((STACK,), {}), ((np.zeros((0, 0)),), {})),
    on_numpy="it is one of LAPACK's routines",
    doc="""Eigenvalues of symmetric matrices (..., n, n) in growing order.

    The mean of a and its transpose is taken. The first derivative is right where eigenvalues are equal too, for what
    treats them alike, as their sum; the second raises `numpy.linalg.LinAlgError` there.

    >>> import tensorgraph as tg
    >>> tg.linalg.eigvalsh([[2.0, 1.0], [1.0, 2.0]])
    tensor([1., 3.], f32)
    """,
)  # fmt: skip

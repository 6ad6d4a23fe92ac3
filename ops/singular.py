"""Singular values and vectors of matrices.

Vectors of equal values may turn in their plane: they have no derivative, which is an error as soon as one is asked for.
The values themselves have one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tensorgraph.engine.aval import Aval
from tensorgraph.engine.batching import unchanged
from tensorgraph.engine.declare import op
from tensorgraph.engine.functions import function
from tensorgraph.engine.op import Op, float_dtype
from tensorgraph.engine.tensor import Tensor
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.creation import beside, eye
from tensorgraph.ops.factors import PAIR, POSITIVE, TALL, absent, reciprocal_gaps
from tensorgraph.ops.moving import of
from tensorgraph.ops.shape import expand_dims, swap_last
from tensorgraph.ops.solving import algebra, narrow, require_matrix, wide

__all__: list[str] = []

TensorLike = Any


def _svd_infer(a: Aval, *, full_matrices: bool) -> tuple[Aval, Aval, Aval]:
    require_matrix(a)
    m, n = a.shape[-2:]
    k, kind, stack = min(m, n), float_dtype(a.dtype), a.shape[:-2]
    rows, columns = (m, n) if full_matrices else (k, k)
    return Aval((*stack, m, rows), kind), Aval((*stack, k), kind), Aval((*stack, columns, n), kind)


def require_finite(a: Any) -> None:
    """LAPACK may not come back from infinite numbers, and NaN is no singular value."""
    if not np.isfinite(a).all():
        raise np.linalg.LinAlgError("a has NaN or infinite numbers, of which there are no singular values")


def _svd(a: Any, *, full_matrices: bool = True) -> Any:
    require_matrix(Aval(a.shape, a.dtype))
    require_finite(a)
    (x,) = wide(a)
    u, s, vh = np.linalg.svd(x, full_matrices=full_matrices)
    return narrow(u, a), narrow(s, a), narrow(vh, a)


def _svd_back(g_u: Any, g_s: Any, g_vh: Any, a: Any, u: Any, s: Any, vh: Any, full_matrices: bool) -> Any:
    # The plan: with f[i, j] = 1 / (s[j]² - s[i]²) the part within the singular vectors is u (j s + s k + diag(g_s)) vh,
    # where j = f * (u' g_u) and k = f * (vh g_vh') are made symmetric; what leads out of them is divided by s.
    m, n, k = u.shape[-2], vh.shape[-1], s.shape[-1]
    if absent(g_u) and absent(g_s) and absent(g_vh):
        return None
    vectors = not (absent(g_u) and absent(g_vh))
    if full_matrices and m != n:
        if vectors:
            raise ValueError(
                f"svd: of a matrix of {m} rows and {n} columns full_matrices=True has no gradient through its vectors, "
                "since those that it adds are any that complete them; use full_matrices=False"
            )
        if type(u) is Tensor:  # whose own derivative must not meet those that were added
            u, _, vh = svd_parts(a, full_matrices=False)
        else:
            u, vh = u[..., :k], vh[..., :k, :]
    if not vectors:
        return matmul(u * expand_dims(g_s, axis=-2), vh)
    row, column = expand_dims(s, axis=-2), expand_dims(s, axis=-1)
    one = beside(s, eye, n=k, dtype=str(s.dtype))
    f = reciprocal_gaps(s, kind="singular ") / (row + column + one)
    middle: Any = None if absent(g_s) else expand_dims(g_s, axis=-1) * one
    outside: Any = None
    if not absent(g_u):
        inner = matmul(swap_last(u), g_u)
        part = f * (inner - swap_last(inner)) * row
        middle = part if middle is None else middle + part
        if m > k:
            outside = matmul((g_u - matmul(u, inner)) * _reciprocal(row), vh)
    if not absent(g_vh):
        inner = matmul(vh, swap_last(g_vh))
        part = column * f * (inner - swap_last(inner))
        middle = part if middle is None else middle + part
        if n > k:
            rest = matmul(u, (g_vh - matmul(swap_last(inner), vh)) * _reciprocal(column))
            outside = rest if outside is None else outside + rest
    whole = matmul(u, matmul(middle, vh))
    return whole if outside is None else whole + outside


def _reciprocal(s: Any) -> Any:
    return 1.0 / not_zero(s)


def _not_zero(s: Any) -> Any:
    if s.size and (np.abs(s) <= np.abs(s).max() * np.finfo(s.dtype).tiny).any():
        raise np.linalg.LinAlgError(
            "a singular value is 0: the singular vectors of a matrix that is not square have no derivative there. The "
            "values have one (svdvals); otherwise change the matrix a little"
        )
    return np.array(s)


not_zero: Op = op(
    "not_zero(s)", _not_zero, algebra, batch=unchanged, infer_rule=lambda s: s, flops=0,
    traits=("internal", "checks", "identity"),
    vjp=dict(s=lambda g: g), oracle=lambda s: s, examples=(((np.array([1.0, 2.0]),), {}),),
    on_numpy="it is little beside the routine of LAPACK's that it belongs to",
    doc="Singular values; 0 among them raises `numpy.linalg.LinAlgError`.",
)  # fmt: skip

svd_parts: Op = op(
    "svd_parts(a, *, full_matrices: bool = True) -> u, s, vh", _svd, algebra, infer_rule=_svd_infer, batch=unchanged,
    vjp=dict(a=_svd_back), traits=("internal",), flops=lambda a, *, full_matrices: 12 * a.size * min(a.shape[-2:]),
    oracle=lambda a, *, full_matrices=True: tuple(np.linalg.svd(np.asarray(a, np.float64), full_matrices)),
    examples=(
        ((TALL,), dict(full_matrices=False)), ((PAIR,), dict(full_matrices=False)), ((POSITIVE - 0.7,), {}),
        ((TALL.T,), dict(full_matrices=False)), ((np.zeros((0, 2)),), dict(full_matrices=False)),
    ),
    on_numpy="it is one of LAPACK's routines",
    doc="""Singular vectors and values: what `svd` is made of.

    >>> import tensorgraph as tg
    >>> tg.linalg.svd([[2.0, 0.0], [0.0, 3.0]]).S
    tensor([3., 2.], f32)
    """,
)  # fmt: skip


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Tensor
    S: Tensor
    Vh: Tensor


@function(numpy=(np.linalg.svd,), examples=(), computed=True)
def svd(a: TensorLike, full_matrices: bool = True, compute_uv: bool = True) -> SVDResult | Tensor:
    """Singular values S in falling order and the vectors U and Vh: ``U * S[..., None, :] @ Vh == a``.

    Parameters
    ----------
    a : tensor of shape (..., m, n)
    full_matrices : bool
        U of shape (..., m, m) and Vh of (..., n, n), or of min(m, n) columns and rows.
    compute_uv : bool
        If False only S is given, as by `svdvals`.

    Returns
    -------
    SVDResult
        A named tuple of U, S and Vh.

    Raises
    ------
    numpy.linalg.LinAlgError
        In the gradient through vectors: where singular values are equal, or 0 and the matrix is not square.

    Notes
    -----
    A gradient through the vectors needs ``full_matrices=False``, unless the matrix is square. It depends on the signs
    of the vectors unless the loss does not.

    Examples
    --------
    >>> import tensorgraph as tg
    >>> tg.linalg.svd(tg.ones((4, 2)), full_matrices=False).U.shape
    (4, 2)
    """
    x = of(a, "svd: a")
    if not compute_uv:
        return svdvals.public(x)  # type: ignore[no-any-return]
    return SVDResult(*svd_parts.public(x, full_matrices=full_matrices))


def _svdvals(x: Any) -> Any:
    require_matrix(Aval(x.shape, x.dtype), "x")
    require_finite(x)
    return narrow(np.linalg.svd(*wide(x), compute_uv=False), x)


def _svdvals_infer(x: Aval) -> Aval:
    require_matrix(x, "x")
    return Aval((*x.shape[:-2], min(x.shape[-2:])), float_dtype(x.dtype))


def _svdvals_back(g: Any, x: Any) -> Any:
    u, _, vh = svd_parts(x, full_matrices=False)
    return matmul(u * expand_dims(g, axis=-2), vh)


svdvals: Op = op(
    "svdvals(x)", _svdvals, algebra, infer_rule=_svdvals_infer, batch=unchanged, numpy=(np.linalg.svdvals,),
    vjp=dict(x=_svdvals_back), flops=lambda x: 4 * x.size * min(x.shape[-2:]),
    oracle=lambda x: np.linalg.svd(np.asarray(x, np.float64))[1],
    examples=(((TALL,), {}), ((PAIR,), {}), ((TALL.T,), {}), ((POSITIVE,), {}), ((np.zeros((0, 2)),), {})),
    on_numpy="it is one of LAPACK's routines",
    doc="""Singular values of matrices (..., m, n) in falling order.

    The first derivative is right where they are equal too, for what treats them alike, as their sum.

    >>> import tensorgraph as tg
    >>> tg.linalg.svdvals([[0.0, 3.0], [2.0, 0.0]])
    tensor([3., 2.], f32)
    """,
)  # fmt: skip

"""Linear systems, inverses and determinants."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.batching import BatchCall, unchanged, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import Kind, Op, float_dtype, promote
from tensorgraph.engine.sums import total
from tensorgraph.ops.contraction import matmul
from tensorgraph.ops.creation import arange, beside, eye
from tensorgraph.ops.kernels.lapack import factor, kept_types, solve_kept, solve_triangle, working
from tensorgraph.ops.logic import less, less_equal, where
from tensorgraph.ops.reduction import sum as sum_of
from tensorgraph.ops.shape import broadcast_to, expand_dims, reshape, squeeze, swap_last

__all__ = [
    "algebra",
    "cofactor",
    "det",
    "inv",
    "require_matrix",
    "require_square",
    "slogdet_parts",
    "solve",
    "solve_triangular",
]

algebra = Kind("linear algebra", None, traits=("keeps order", "refuses"))
WELL = np.array([[2.0, 0.3, -0.4], [0.5, -1.7, 0.2], [-0.3, 0.6, 1.4]])
SEVERAL = np.stack([WELL, WELL.T + 0.1, np.eye(3) - 0.2 * WELL])


def require_matrix(a: Aval, what: str = "a") -> None:
    if not isinstance(a, Aval) or a.ndim < 2:
        raise ValueError(f"{what} must be a matrix or a batch of them, got shape {getattr(a, 'shape', ())}")


def require_square(a: Aval, what: str = "a") -> None:
    require_matrix(a, what)
    if a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{what} must be a square matrix or a batch of them, got shape {a.shape}")


def wide(*arrays: Any) -> tuple[Any, ...]:
    """Arrays in the dtype that LAPACK computes in."""
    kind = working(promote(*[Aval(a.shape, a.dtype) for a in arrays]))
    return tuple([a.astype(kind, copy=False) for a in arrays])


def narrow(x: Any, *given: Any) -> Any:
    """A result in the dtype that the arguments give."""
    with np.errstate(over="ignore"):
        return np.asarray(x, float_dtype(promote(*[Aval(a.shape, a.dtype) for a in given])), order="C")


def same_kind(a: Aval) -> Aval:
    return Aval(a.shape, float_dtype(a.dtype))


# inverses and systems -------------------------------------------------------------------------------------------------


def _inv(a: Any) -> Any:
    require_square(Aval(a.shape, a.dtype))
    return narrow(np.linalg.inv(*wide(a)), a)


def _square_infer(a: Aval) -> Aval:
    require_square(a)
    return same_kind(a)


def _inv_back(g: Any, out: Any) -> Any:
    turned = swap_last(out)
    return -matmul(matmul(turned, g), turned)


inv: Op = op(
    "inv(a)", _inv, algebra, infer_rule=_square_infer, numpy=(np.linalg.inv,), batch=unchanged, vjp=dict(a=_inv_back),
    also=("inverse",), flops=lambda a: 2 * a.size * a.shape[-1],
    oracle=lambda a: np.linalg.solve(np.asarray(a, np.float64), np.eye(a.shape[-1])),
    examples=(((WELL,), {}), ((SEVERAL,), {}), (((0, 0),), {}), (((0, 2, 2),), {})),
    on_numpy="it is one of LAPACK's routines",
    doc="""The inverse of a square matrix (..., n, n), or of each in a batch.

    A singular matrix raises `numpy.linalg.LinAlgError`. `solve` is faster and more exact than a product with it.

    >>> import tensorgraph as tg
    >>> tg.linalg.inv([[2.0, 0.0], [0.0, 4.0]])
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]], f32)
    """,
)  # fmt: skip


def _solve_infer(a: Aval, b: Aval) -> Aval:
    require_square(a)
    if not isinstance(b, Aval) or b.ndim == 0:
        raise ValueError("b must be a vector, a matrix or a batch of matrices")
    n = a.shape[-1]
    rows = b.shape[-1] if b.ndim == 1 else b.shape[-2]
    if rows != n:
        hint = ""
        if b.ndim > 1 and b.shape[-1] == n:
            hint = "; a batch of vectors is given as columns: b[..., None]"
        raise ValueError(f"a has {n} rows and b {rows}, of shapes {a.shape} and {b.shape}{hint}")
    kind = float_dtype(promote(a, b))
    if b.ndim == 1:
        return Aval(a.shape[:-1], kind)
    return Aval((*broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:]), kind)


def _solve(a: Any, b: Any) -> Any:
    _solve_infer(Aval(a.shape, a.dtype), Aval(b.shape, b.dtype))
    x, y = wide(a, b)
    kept = factor(x)
    columns = y[:, None] if y.ndim == 1 else y
    out = solve_kept(x, columns, *kept, False)
    return (narrow(out[..., 0] if y.ndim == 1 else out, a, b), *kept)


def _kept(a: Aval, b: Aval) -> tuple[Aval, Aval]:
    lu, pivots = kept_types(a.shape, promote(a, b))
    return Aval(*lu), Aval(*pivots)


def _solve_back(want: Any, g: Any, a: Any, out: Any, lu: Any, pivots: Any, b_aval: Any) -> Any:
    vector = len(b_aval.shape) == 1
    g, x = (expand_dims(v, axis=-1) if vector else v for v in (g, out))
    back = solve_factored(a, g, lu, pivots, transposed=True)
    ga = -matmul(back, swap_last(x)) if want[0] else None
    return ga, (squeeze(back, axis=-1) if vector else back) if want[1] else None


def _solve_batch(call: BatchCall) -> Any:
    (a, b), vector = call.args, len(call.shape(1)) == 1
    if vector:
        b = expand_dims(b, axis=-1)
    ndim = max(len(call.shape(0)), len(call.shape(1)) + vector)
    out = call.run(widened(a, ndim, call.on[0]), widened(b, ndim, call.on[1]))
    return squeeze(out, axis=-1) if vector else out


def _solve_flops(a: Aval, b: Aval) -> int:
    n = a.shape[-1]
    return (2 * a.size * n) // 3 + 2 * _solve_infer(a, b).size * n


solve: Op = op(
    "solve(a, b)", _solve, algebra, infer_rule=_solve_infer, numpy=(np.linalg.solve,), batch=_solve_batch,
    vjp=_solve_back, residuals=("lu", "pivots"), residual_types=_kept, flops=_solve_flops,
    oracle=lambda a, b: np.matmul(np.linalg.inv(np.asarray(a, np.float64)), b),
    examples=(
        ((WELL, (3, 2)), {}), ((WELL, (3,)), {}), ((SEVERAL, (3,)), {}), ((SEVERAL, (3, 2)), {}),
        ((WELL, (2, 3, 1)), {}),
        ((SEVERAL, (2, 3, 3, 1)), {}), (((0, 0), (0, 2)), {}), ((WELL, (3, 0)), {}),
    ),
    on_numpy="it is one of LAPACK's routines",
    doc="""x of ``a @ x == b``: a is a square matrix (..., n, n), b a vector (n,) or columns (..., n, k).

    Leading axes broadcast. A singular matrix raises `numpy.linalg.LinAlgError`. The LU factors of a large matrix are
    kept for the gradient where SciPy is installed.

    >>> import tensorgraph as tg
    >>> tg.linalg.solve([[2.0, 0.0], [0.0, 4.0]], [1.0, 1.0])
    tensor([0.5 , 0.25], f32)
    """,
)  # fmt: skip


def _factored(a: Any, b: Any, lu: Any, pivots: Any, *, transposed: bool = False) -> Any:
    x, y = wide(a, b)
    return narrow(solve_kept(x, y, lu, pivots, transposed), a, b)


def _factored_back(want: Any, g: Any, a: Any, lu: Any, pivots: Any, out: Any, transposed: bool) -> Any:
    back = solve_factored(a, g, lu, pivots, transposed=not transposed)
    left, right = (out, back) if transposed else (back, out)
    ga = -matmul(left, swap_last(right)) if want[0] else None
    return ga, back, None, None


def _factored_batch(call: BatchCall) -> Any:
    ndim = max(len(call.shape(0)), len(call.shape(1)))
    sizes = (ndim, ndim, ndim, ndim - 1)
    return call.run(*[widened(call.whole(i), n, True) for i, n in enumerate(sizes)])


solve_factored: Op = op(
    "solve_factored(a, b, lu, pivots, *, transposed: bool = False)", _factored, algebra, vjp=_factored_back,
    infer_rule=lambda a, b, lu, pivots, *, transposed: _solve_infer(a, b), batch=_factored_batch, traits=("internal",),
    flops=lambda a, b, lu, pivots, *, transposed: 2 * b.size * a.shape[-1],
    oracle=lambda a, b, lu, pivots, *, transposed=False: np.matmul(
        np.linalg.inv(np.asarray(np.swapaxes(a, -1, -2) if transposed else a, np.float64)), b
    ),
    examples=(
        ((WELL, (3, 2), np.zeros((3, 3)), np.full(3, -1)), {}),
        ((SEVERAL, (3, 3, 2), np.zeros((3, 3, 3)), np.full((3, 3), -1)), dict(transposed=True)),
    ),
    on_numpy="it is one of LAPACK's routines",
    doc="`solve` of columns by the factors that a call of it has kept, or with the matrix transposed.",
)  # fmt: skip


def _triangular_infer(a: Aval, b: Aval, *, lower: bool, trans: Any, unit_diagonal: bool) -> Aval:
    _transposed(trans)
    return _solve_infer(a, b)


def _transposed(trans: Any) -> bool:
    if trans in (0, 1, 2, "N", "T", "C") and not isinstance(trans, float):
        return trans not in (0, "N")
    raise ValueError(f"trans must be 0 or 'N' (a as it is), or 1 or 'T' (transposed), got {trans!r}")


def _triangular(a: Any, b: Any, *, lower: bool = False, trans: Any = 0, unit_diagonal: bool = False) -> Any:
    _solve_infer(Aval(a.shape, a.dtype), Aval(b.shape, b.dtype))
    x, y = wide(a, b)
    columns = y[:, None] if y.ndim == 1 else y
    out = solve_triangle(x, columns, lower, _transposed(trans), unit_diagonal)
    return narrow(out[..., 0] if y.ndim == 1 else out, a, b)


def _triangular_back(
    want: Any, g: Any, a: Any, out: Any, b_aval: Any, lower: bool, trans: Any, unit_diagonal: bool
) -> Any:
    vector, transposed = len(b_aval.shape) == 1, _transposed(trans)
    g, x = (expand_dims(v, axis=-1) if vector else v for v in (g, out))
    back = solve_triangular(a, g, lower=lower, trans=0 if transposed else 1, unit_diagonal=unit_diagonal)
    ga = None
    if want[0]:
        left, right = (x, back) if transposed else (back, x)
        ga = triangle(-matmul(left, swap_last(right)), lower, strictly=unit_diagonal)
    return ga, (squeeze(back, axis=-1) if vector else back) if want[1] else None


def triangle(x: Any, lower: bool, strictly: bool = False) -> Any:
    """The triangle of matrices, 0 elsewhere."""
    rows = expand_dims(beside(x, arange, start=x.shape[-2]), axis=-1)
    columns = beside(x, arange, start=x.shape[-1])
    first, last = (columns, rows) if lower else (rows, columns)
    return where(less(first, last) if strictly else less_equal(first, last), x, 0.0)


def _dense(a: Any, lower: bool, trans: Any, unit_diagonal: bool) -> Any:
    full = np.asarray(np.tril(a) if lower else np.triu(a), np.float64)
    if unit_diagonal:
        full = full - full * np.eye(full.shape[-1]) + np.eye(full.shape[-1])
    return np.swapaxes(full, -1, -2) if _transposed(trans) else full


solve_triangular: Op = op(
    "solve_triangular(a, b, *, lower: bool = False, trans: Literal[0, 1, 2, 'N', 'T', 'C'] = 0, "
    "unit_diagonal: bool = False)",
    _triangular, algebra, infer_rule=_triangular_infer, vjp=_triangular_back, batch=_solve_batch,
    oracle=lambda a, b, *, lower=False, trans=0, unit_diagonal=False: np.matmul(
        np.linalg.inv(_dense(a, lower, trans, unit_diagonal)), b
    ),
    flops=lambda a, b, *, lower, trans, unit_diagonal: _solve_infer(a, b).size * a.shape[-1],
    examples=(
        ((WELL, (3, 2)), {}), ((WELL, (3,)), dict(lower=True)), ((SEVERAL, (3,)), dict(trans=1)),
        ((SEVERAL, (3, 3, 2)), dict(lower=True, trans=1)), ((WELL, (2, 3, 1)), dict(unit_diagonal=True)),
        ((WELL, (3, 1)), dict(lower=True, trans=1, unit_diagonal=True)), (((0, 0), (0, 2)), {}),
    ),
    on_numpy="it is one of LAPACK's routines",
    doc="""x of ``a @ x == b`` where only one triangle of a counts: the upper one, or the lower if `lower`.

    With ``trans=1`` it is ``a.mT @ x == b``; with `unit_diagonal` the diagonal counts as 1. Shapes as those of
    `solve`. A 0 on the diagonal raises `numpy.linalg.LinAlgError`. Arguments as of `scipy.linalg.solve_triangular`.

    >>> import tensorgraph as tg
    >>> tg.linalg.solve_triangular([[2.0, 0.0], [1.0, 4.0]], [2.0, 5.0], lower=True)
    tensor([1., 1.], f32)
    """,
)  # fmt: skip


# determinants ---------------------------------------------------------------------------------------------------------


def _det_infer(a: Aval) -> Aval:
    require_square(a)
    return Aval(a.shape[:-2], float_dtype(a.dtype))


def _det(a: Any) -> Any:
    require_square(Aval(a.shape, a.dtype))
    with np.errstate(all="ignore"):
        return narrow(np.linalg.det(*wide(a)), a)


def _over_matrices(g: Any) -> Any:
    return reshape(g, shape=(*g.shape, 1, 1))


det: Op = op(
    "det(a)", _det, algebra, infer_rule=_det_infer, numpy=(np.linalg.det,), batch=unchanged,
    vjp=dict(a=lambda g, a: _over_matrices(g) * cofactor(a)), flops=lambda a: (2 * a.size * a.shape[-1]) // 3,
    oracle=lambda a: np.prod(np.linalg.eigvals(np.asarray(a, np.float64)), axis=-1).real,
    examples=(((WELL,), {}), ((SEVERAL,), {}), (((0, 0),), {})),
    on_numpy="it is made of one of LAPACK's factorisations",
    doc="""The determinant of a square matrix (..., n, n), or of each in a batch; of a matrix without rows it is 1.

    The first derivative is right for singular matrices as well, of which the second raises
    `numpy.linalg.LinAlgError`. `slogdet` neither overflows nor underflows.

    >>> import tensorgraph as tg
    >>> tg.linalg.det([[1.0, 2.0], [3.0, 5.0]])
    tensor(-1., f32)
    """,
)  # fmt: skip


def _cofactor(a: Any) -> Any:
    (x,) = wide(a)
    with np.errstate(all="ignore"):
        try:
            out = np.linalg.det(x)[..., None, None] * np.linalg.inv(x).swapaxes(-1, -2)
        except np.linalg.LinAlgError:
            out = _cofactor_of_singular(x)
    return narrow(out, a)


def _cofactor_of_singular(x: Any) -> Any:
    """By singular values: of u s v it is det(u) det(v) u c v, each c being the product of the other s."""
    u, s, v = np.linalg.svd(x)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(v)
    return sign[..., None, None] * np.matmul(u * others[..., None, :], v)


def _cofactor_back(g: Any, a: Any, out: Any) -> Any:
    turned = swap_last(inv(a))
    along = _over_matrices(sum_of(g * out, axis=(-2, -1)))
    return along * turned - matmul(matmul(turned, swap_last(g)), out)


def _minors(a: Any) -> Any:
    """By minors, as the word is defined."""
    a = np.asarray(a, np.float64)
    n = a.shape[-1]
    out = np.empty(a.shape)
    for i in range(n):
        for j in range(n):
            rest = np.delete(np.delete(a, i, -2), j, -1)
            out[..., i, j] = (-1) ** (i + j) * np.linalg.det(rest)
    return out


cofactor: Op = op(
    "cofactor(a)", _cofactor, algebra, infer_rule=_square_infer, batch=unchanged, vjp=dict(a=_cofactor_back),
    traits=("internal",), oracle=_minors, flops=lambda a: 3 * a.size * a.shape[-1],
    examples=(((WELL,), {}), ((SEVERAL,), {})),
    on_numpy="it is made of one of LAPACK's factorisations",
    doc="""The gradient of the determinant: of a matrix that has an inverse the determinant times its transpose.

    >>> import tensorgraph as tg
    >>> tg.grad(tg.linalg.det)(tg.tensor([[1.0, 2.0], [2.0, 4.0]])).round()
    tensor([[ 4., -2.],
            [-2.,  1.]], f32)
    """,
)  # fmt: skip


def _slogdet_infer(a: Aval) -> tuple[Aval, Aval]:
    out = _det_infer(a)
    return out, out


def _slogdet(a: Any) -> Any:
    require_square(Aval(a.shape, a.dtype))
    (x,) = wide(a)
    lu, pivots = factor(x)
    if pivots.size and pivots.flat[0] >= 0:
        diagonal = lu.diagonal()
        swaps = int(np.count_nonzero(pivots != np.arange(len(pivots))))
        with np.errstate(all="ignore"):
            sign: Any = np.prod(np.sign(diagonal)) * (-1) ** swaps
            size: Any = total(np.log(np.abs(diagonal)))
    else:
        sign, size = np.linalg.slogdet(x)
    return narrow(sign, a), narrow(size, a), lu, pivots


def _slogdet_back(g_logabsdet: Any, a: Any, lu: Any, pivots: Any) -> Any:
    if type(g_logabsdet) is float:
        return None
    n = a.shape[-1]
    one = broadcast_to(beside(a, eye, n=n, dtype=str(a.dtype)), shape=tuple(a.shape))
    return _over_matrices(g_logabsdet) * solve_factored(a, one, lu, pivots, transposed=True)


slogdet_parts: Op = op(
    "slogdet_parts(a) -> sign, logabsdet", _slogdet, algebra, infer_rule=_slogdet_infer, batch=unchanged,
    vjp=dict(a=_slogdet_back), residuals=("lu", "pivots"), residual_types=lambda a: _kept(a, a), traits=("internal",),
    flops=lambda a: (2 * a.size * a.shape[-1]) // 3,
    oracle=lambda a: (np.sign(np.linalg.det(np.asarray(a, np.float64))),
                      total(np.log(np.linalg.svd(np.asarray(a, np.float64))[1]), -1)),
    examples=(((WELL,), {}), ((SEVERAL,), {})),
    on_numpy="it is made of one of LAPACK's factorisations",
    doc="""The sign of the determinant and the logarithm of its magnitude: what `slogdet` is made of.

    >>> import tensorgraph as tg
    >>> tg.linalg.slogdet([[2.0, 0.0], [0.0, -1.0]]).sign
    tensor(-1., f32)
    """,
)  # fmt: skip

"""Linear algebra: `tensorgraph.linalg`, the standard's extension of this name."""

from __future__ import annotations

from typing import Any

from tensorgraph.arguments.foreign import absent
from tensorgraph.engine.functions import function_named
from tensorgraph.engine.op import op_named

__all__ = ["NAMES"]

# the standard's, NumPy's own, and SciPy's that models are written with
NAMES = frozenset(
    """
    block_diag cholesky cholesky_solve cond cross det diagonal eig eigh eigvals eigvalsh expm inv
    logdet lstsq matmul matrix_norm matrix_power matrix_rank
    matrix_transpose multi_dot norm outer pinv qr slogdet solve
    solve_triangular svd svdvals tensordot tensorinv tensorsolve trace
    vecdot vector_norm
    """.split()  # noqa: SIM905 (words, one by one)
)


# what is another function elsewhere: of the first two axes, or a branch
OF_MATRICES = frozenset({"cond", "diagonal", "trace"})


def __getattr__(name: str) -> Any:
    if name in NAMES:
        name = f"matrix_{name}" if name in OF_MATRICES else name
        if (declared := op_named(name)) is not None:
            return declared.public
        if (function := function_named(name)) is not None:
            return function.call
    raise absent("module 'tensorgraph.linalg'", "tensorgraph", name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(n for n in NAMES if op_named(n) is not None or function_named(n) is not None)})

"""Products that sum over axes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgraph.engine import modes
from tensorgraph.engine.aval import Aval, broadcast_shapes
from tensorgraph.engine.batching import BatchCall, reshaped, widened
from tensorgraph.engine.declare import op
from tensorgraph.engine.direct import direct_forward
from tensorgraph.engine.op import Op, contraction, settle
from tensorgraph.engine.sums import total
from tensorgraph.ops.kernels.contraction import vector_products
from tensorgraph.ops.kernels.outer import outer
from tensorgraph.ops.shape import expand_dims, reshape, swap_last
from tensorgraph.ops.subscripts import LETTERS


def _matmul_infer(a: Aval, b: Aval) -> Aval:
    if not isinstance(a, Aval) or not isinstance(b, Aval) or a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul needs at least one axis on each side; multiply scalars with *")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        hint = ""
        if b.ndim == 2 and a.shape[-1] == b.shape[-1]:
            hint = "; did you mean a @ b.T?"
        elif a.ndim == 2 and a.shape[0] == inner:
            hint = "; did you mean a.T @ b?"
        raise ValueError(
            f"the last axis of a ({a.shape[-1]}) must equal the {'second-last' if b.ndim > 1 else 'only'} axis of b "
            f"({inner}){hint}"
        )
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = batch + (a.shape[-2:-1] if a.ndim > 1 else ()) + (b.shape[-1:] if b.ndim > 1 else ())
    return Aval(shape, settle(np.result_type(a.dtype, b.dtype), [a.dtype, b.dtype]))


# numbers summed to one from which a matrix times a vector is made in parts of so many: BLAS adds one by one, some ten
# units in the last place from here on
LONG, PART = 4096, 128
# axes of small factors that `dot` takes as `matmul` does, to an array
SMALL = frozenset([(2, 2), (2, 1), (1, 2)])
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
# numbers of two stacks of matrices from which their products are made by kernels
SEVERAL = 512
# multiplications of two matrices from which their product is: what is gained below is too little for the tenth of a
# second that a process takes to have machine code
MANY = 1 << 20


def _is_thin(a: Any, b: Any) -> bool:
    """Whether it is a matrix times a vector, or times what BLAS takes for one, a row or a column, over a long axis."""
    if not (0 < a.ndim < 3 and 0 < b.ndim < 3 and a.shape[-1] >= LONG):
        return False
    return bool((a.ndim == 1 or a.shape[0] == 1) != (b.ndim == 1 or b.shape[1] == 1))


def _long_product(a: Any, b: Any) -> Any:
    """A matrix times a vector, or a vector times a matrix, over a long axis."""
    k = a.shape[-1]
    if b.shape[0] != k or a.dtype.kind != "f":  # NumPy says what does not fit, and integers are exact
        return np.matmul(a, b)
    rows, columns = (a if a.ndim == 2 else a[None]), (b if b.ndim == 2 else b[:, None])
    m, n, parts = len(rows), columns.shape[1], k // PART
    whole = parts * PART
    left = rows[:, :whole].reshape(m, parts, PART).transpose(1, 0, 2)
    out = total(np.matmul(left, columns[:whole].reshape(parts, PART, n)), 0)
    if whole < k:
        out += np.matmul(rows[:, whole:], columns[whole:])
    return out.reshape(a.shape[:-1] + b.shape[1:])


@functools.cache
def _kernel_products() -> Callable[..., Any]:
    """Products of stacks of matrices, and of two of some size, by the kernels of `matmul` where these are not so large
    that BLAS is faster: NumPy asks it for those of a stack one after the other, in one thread."""
    return direct_forward(matmul, np.matmul)


def matrix_product(a: Any, b: Any) -> Any:
    """a @ b of arrays, in one dtype."""
    if a.dtype is b.dtype or a.dtype == b.dtype:
        if a.size < LONG > b.size and (a.ndim, b.ndim) in SMALL and (a.dtype is SINGLE or a.dtype is DOUBLE):
            return a.dot(b)  # takes half of the time, and the same BLAS
        if a.ndim > 2 or b.ndim > 2:
            if a.ndim > 2 and a.shape[-1] == 1 and b.ndim > 2 and b.shape[-2] == 1:
                return outer(a, b)
            has_kernels = a.size + b.size >= SEVERAL and modes.current().implementation == "fused"
            return _kernel_products()(a, b) if has_kernels else np.matmul(a, b)
        if a.size >= LONG and _is_thin(a, b):
            return _long_product(a, b)
        if a.size >= LONG and a.ndim <= 2 >= b.ndim and a.size == a.shape[-1] == b.size == b.shape[0]:
            products = vector_products(a.reshape(-1), b.reshape(-1))
            return np.asarray(products).reshape(a.shape[:-1] + b.shape[1:])
        if a.ndim == 2 == b.ndim and a.shape[0] * b.size >= MANY and modes.current().implementation == "fused":
            return _kernel_products()(a, b)
        return np.matmul(a, b)
    kind = settle(np.result_type(a.dtype, b.dtype), [a.dtype, b.dtype])
    return np.matmul(a.astype(kind, copy=False), b.astype(kind, copy=False))


def _product(a: Any, b: Any) -> Any:
    """a @ b, of arrays as the op makes it: to the same bits as in a graph."""
    return matrix_product(a, b) if type(a) is np.ndarray else a @ b


STACK = "".join(c for c in LETTERS if c not in "mnp")  # a stack's axes, in subscripts; m, n and p are a matrix's


def _over_stack(first: Any, second: Any, axes: str, other: str, output: str) -> Any:
    """A product that is summed over a stack too: what one matrix gets that all of the stack have met, without a matrix
    for each of them, written and added up."""
    from tensorgraph.ops.contract import contract_axes

    stack = STACK[: max(first.ndim - len(axes), second.ndim - len(other))]
    return contract_axes(first, second, subscripts=f"{stack}{axes},{stack}{other}->{output}")


def _matmul_a(g: Any, a_aval: Any, b: Any) -> Any:
    ndim = len(a_aval.shape)
    if ndim < 3 and 2 < b.ndim <= len(STACK):
        return _over_stack(g, b, "mp", "np", "mn") if ndim == 2 else _over_stack(g, b, "p", "np", "n")
    if ndim > 1 and b.ndim > 1:
        return _product(g, swap_last(b))
    if b.ndim == 1:  # (..., n) @ (n,) -> (...)
        return expand_dims(g, axis=-1) * b
    return reshape(_product(expand_dims(g, axis=-2), swap_last(b)), shape=(*g.shape[:-1], a_aval.shape[0]))


def _matmul_b(g: Any, a: Any, b_aval: Any) -> Any:
    ndim = len(b_aval.shape)
    if ndim < 3 and 2 < a.ndim <= len(STACK):
        return _over_stack(a, g, "mn", "mp", "np") if ndim == 2 else _over_stack(a, g, "mn", "m", "n")
    if a.ndim > 1 and ndim > 1:
        return _product(swap_last(a), g)
    if a.ndim == 1 and ndim == 1:
        return g * a
    if a.ndim == 1:  # (n,) @ (..., n, p) -> (..., p)
        return expand_dims(a, axis=-1) @ expand_dims(g, axis=-2)
    # (..., m, n) @ (n,) -> (..., m)
    product = _product(swap_last(a), expand_dims(g, axis=-1))
    return reshape(product, shape=product.shape[:-1])


def _matmul_batch(call: BatchCall) -> Any:
    """Vectors become rows and columns, and examples get as many axes in both; the axes that are too many go again."""
    (a, b), (shape_a, shape_b) = call.args, (call.shape(0), call.shape(1))
    if call.on == (True, False) and len(shape_b) <= 2:  # one product, of all rows of all examples
        out = matmul(reshaped(a, call.size * math.prod(shape_a[:-1]), shape_a[-1]), b)
        return reshaped(out, call.size, *shape_a[:-1], *shape_b[1:])
    if call.on == (False, True) and len(shape_a) <= 2 and len(shape_b) == 1:
        return matmul(b, swap_last(a) if len(shape_a) == 2 else a)
    row, column = len(shape_a) == 1, len(shape_b) == 1
    if row and call.on[0]:
        a = expand_dims(a, axis=1)
    elif row:
        a = expand_dims(a, axis=0)
    if column:
        b = expand_dims(b, axis=-1)
    ndim = max(len(shape_a) + row, len(shape_b) + column)
    out = matmul(widened(a, ndim, call.on[0]), widened(b, ndim, call.on[1]))
    shape = out.shape
    if column:
        shape = shape[:-1]
    if row:
        shape = (*shape[: len(shape) - 2 + column], *shape[len(shape) - 1 + column :])
    return reshaped(out, *shape)


def _matmul_flops(a: Aval, b: Aval) -> int:
    return 2 * _matmul_infer(a, b).size * a.shape[-1]


matmul: Op = op(
    "matmul(a, b)", matrix_product, contraction, infer_rule=_matmul_infer, infix="@", numpy=(np.matmul,),
    flops=_matmul_flops,
    batch=_matmul_batch,
    vjp=dict(a=_matmul_a, b=_matmul_b), traits=("reduces", "analytic"), native="matmul:native_matmul",
    examples=(
        (((3, 4), (4, 2)), {}), (((4,), (4, 2)), {}), (((3, 4), (4,)), {}), (((4,), (4,)), {}),
        (((2, 3, 4), (4, 2)), {}), (((2, 1, 3, 4), (5, 4, 2)), {}), (((4,), (2, 4, 3)), {}), (((2, 3, 4), (4,)), {}),
        (((0, 4), (4, 2)), {}), (((3, 0), (0, 2)), {}),
    ),
    doc="""Matrix product, batched over leading axes as NumPy.

    >>> import tensorgraph as tg
    >>> (tg.ones((2, 3)) @ tg.ones((3,))).tolist()
    [3.0, 3.0]
    """,
)  # fmt: skip

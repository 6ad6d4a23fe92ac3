"""Careful references in long double for the semantics tests, written with NumPy alone.

Every gradient is an analytic formula that also takes complex numbers. So its derivative in a direction v, which is the
Hessian's product with v, is ``imag(gradient(x + i h v)) / h``: no difference is formed, nothing cancels, and
h may be as small as 1e-200.
"""

import numpy as np

from tensorgraph.testing.compare import ULPS

WIDE = np.longdouble
STEP = WIDE(2.0) ** -700
DTYPES = (np.float16, np.float32, np.float64)


def wide(*arrays):
    """Each array in long double (None stays None)."""
    return tuple(None if a is None else np.asarray(a).astype(WIDE) for a in arrays)


def directional(gradient, at, along):
    """Derivative of every result of `gradient` at the points `at`, in the directions `along` (None: not varied)."""
    moved = [a if v is None else a + 1j * STEP * v for a, v in zip(at, along)]
    return tuple(None if g is None else np.imag(g) / STEP for g in gradient(*moved))


def pattern(a):
    """0 where finite, 1 for NaN, 2 and 3 for the infinities."""
    a = np.asarray(a)
    return np.where(np.isnan(a), 1, np.where(a == np.inf, 2, np.where(a == -np.inf, 3, 0)))


def ulps(got, expected, scale=None, axis=None):
    """Largest error in units of the last place of the scale: the largest |expected| over `axis` unless given.

    Below the smallest normal number the unit no longer shrinks. What the dtype cannot hold is compared by its pattern.
    """
    kind = np.finfo(got.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        assert (pattern(got) == pattern(expected.astype(got.dtype))).all(), f"{got} where {expected} was expected"
    assert got.shape == expected.shape
    finite = np.isfinite(got)
    got, expected = np.where(finite, got.astype(WIDE), 0), np.where(finite, expected, 0)
    if scale is None:
        scale = np.abs(expected).max(axis=axis, keepdims=True, initial=0)
    unit = np.maximum(scale, WIDE(kind.tiny)) * WIDE(kind.eps)
    return float((np.abs(got - expected) / unit).max(initial=0))


def within(order, got, expected, scale=None, axis=None, what="", extra=0):
    """Assert the bound of SEMANTICS for a derivative of this order."""
    error = ulps(got, expected, scale, axis)
    assert error <= ULPS[order] + extra, f"{what}: off by {error:.4g} ulp, allowed {ULPS[order] + extra}"


# softmax ---------------------------------------------------------------------------------------------------------


def log_probabilities(z, axis=-1):
    """log softmax, accurate relative to itself also where one class has nearly all the probability."""
    top = np.expand_dims(np.argmax(z.real, axis), axis)
    d = z - np.take_along_axis(z, top, axis)
    rest = np.exp(d)
    np.put_along_axis(rest, top, 0, axis)
    rest = rest.sum(axis=axis, keepdims=True)
    # NumPy's complex log1p loses a small real part; the imaginary one is infinitesimal here
    log = np.log1p(rest.real) + 1j * (rest.imag / (1 + rest.real)) if np.iscomplexobj(rest) else np.log1p(rest)
    return d - log


def softmax_gradient(z, g, axis=-1):
    """p (g - sum p g); g is counted from its value at the likeliest class, so that a large common part is no matter."""
    log_p = log_probabilities(z, axis)
    p = np.exp(log_p)
    top = np.expand_dims(np.argmax(z.real, axis), axis)
    g = g - np.take_along_axis(g, top, axis)
    return p * (g - (p * g).sum(axis=axis, keepdims=True))


def log_softmax_gradient(z, g, axis=-1):
    """g - p sum g, as (g - sum g) + (1 - p) sum g where p is nearly 1."""
    log_p = log_probabilities(z, axis)
    total = g.sum(axis=axis, keepdims=True)
    return np.where(log_p.real > -0.5, (g - total) - np.expm1(log_p) * total, g - np.exp(log_p) * total)


def shift_error(z, dtype, axis=-1):
    """Ulps that the exponentials are off because the difference from the maximum is rounded, to half its last place.

    Of a row whose gradient is e^-80 it is 40: a property of max subtraction. (What underflows is no matter.)
    """
    d = np.abs(z - z.max(axis, keepdims=True))
    return float(d[d < -np.log(np.finfo(dtype).smallest_subnormal.astype(WIDE))].max(initial=0)) / 2


def terms(z, *vectors, axis=-1):
    """The largest p_j |v_j - v_top| |w_j - w_top| ... of each row: what the sums of derivatives of softmax are made of.

    The terms may cancel (with two equal classes the second derivative is exactly 0), and then an error is measured by
    them. The likeliest class, whose own part is the sum of the others', is left out: where it has nearly all the
    probability the scale is small, and what is computed must be as accurate.
    """
    log_p = log_probabilities(z, axis)
    top = np.expand_dims(np.argmax(z, axis), axis)
    size = np.exp(log_p)
    np.put_along_axis(size, top, 0, axis)
    for v in vectors:
        size = size * np.abs(v - np.take_along_axis(v, top, axis))
    return size.max(axis, keepdims=True)


# cross-entropy ---------------------------------------------------------------------------------------------------


def one_hot(index, classes):
    return (np.asarray(index)[..., None] == np.arange(classes)).astype(WIDE)


def cross_entropy(z, q, w=None, *, valid=None, smoothing=0.0, reduction="mean", g=1.0):
    """(loss,), gradients (dz, dq, dw) and a scale for each, classes last; `q` is one-hot for class indices.

    A scale is the largest of the terms of which a gradient is the sum, over its row (for dw over all).
    """
    classes = z.shape[-1]
    log_p = log_probabilities(z)
    smoothing = WIDE(smoothing)
    weighted = w is not None
    w = np.ones(classes, WIDE) if w is None else w
    valid = np.ones(z.shape[:-1], bool) if valid is None else valid
    keep = valid[..., None].astype(WIDE)
    q = q * keep
    smooth = ((1 - smoothing) * q + smoothing / classes) * keep
    k = w * smooth
    rows = -(k * log_p).sum(-1)
    count = WIDE(valid.sum())
    tied = weighted and reduction == "mean"
    divisor = WIDE(1) if reduction in ("none", "sum") else (w * q).sum() if tied else count
    loss = rows if reduction == "none" else rows.sum() / divisor
    g = np.broadcast_to(np.asarray(g, WIDE), valid.shape)[..., None]
    scale = g / divisor
    mass = k.sum(-1, keepdims=True)
    # mass p - k, as (mass - k) - mass (1 - p) where p is nearly 1
    dz = np.where(log_p.real > -0.5, (mass - k) + mass * np.expm1(log_p), mass * np.exp(log_p) - k) * scale
    whole = loss if tied else WIDE(0)
    dq = scale * w * keep * (-(1 - smoothing) * log_p - whole)
    each = scale * (-smooth * log_p - whole * q)
    rows_axes = tuple(range(z.ndim - 1))
    # a difference of equal terms (a target that is the prediction, one class alone) is no smaller than its rounding;
    # with all of the mass on one class there is no difference, and the gradient is as accurate as it is small
    far = np.maximum(np.abs(mass * np.exp(log_p)), np.abs(k))
    near = np.where(np.abs(mass - k) <= 1e-18 * mass, np.abs(mass * np.expm1(log_p)), far)
    scales = dict(
        dz=(np.where(log_p.real > -0.5, near, far) * np.abs(scale)).max(-1, keepdims=True, initial=0),
        dq=np.abs(scale * w * keep * np.maximum(np.abs(log_p), np.abs(whole))).max(-1, keepdims=True, initial=0),
        dw=np.abs(scale) * (np.abs(smooth * log_p) + np.abs(whole * q)),
    )
    scales["mass"] = np.abs(mass * scale)
    scales["dw"] = scales["dw"].sum(axis=rows_axes).max(initial=0)
    return (loss,), (dz, dq, each.sum(axis=rows_axes)), scales


# batch norm ------------------------------------------------------------------------------------------------------


def _largest(shape, *terms):
    return np.max([np.abs(np.broadcast_to(t, shape)).max(0, initial=0) for t in terms], axis=0)


def batch_norm(x, gamma, beta, eps, g_y=0.0, g_mu=0.0, g_var=0.0, relu=False):
    """Outputs y, mu, var, gradients dx, dgamma, dbeta, and a scale for each; rows of channels, shape (m, C).

    A scale is the largest absolute value over the batch: of the output, or, where it is a difference of equal terms, of
    these. (With two rows x - mu is plus or minus one deviation, and the true gradient is nearly 0 whatever g is.) The
    scale of a sum over the batch is that of the sum of absolute values.
    """
    m = len(x)
    d = x - x[0].real
    h = d - d.sum(0) / m
    h = h - h.sum(0) / m
    mu, var = x[0].real + d.sum(0) / m, (h * h).sum(0) / m
    r = 1 / np.sqrt(var + eps)
    y = h * r * gamma + beta
    g = np.broadcast_to(np.asarray(g_y, WIDE), y.shape)
    scales = dict(y=_largest(y.shape, y), mu=_largest(y.shape, x), var=_largest(y.shape, h * h))
    if relu:
        positive = y.real > 0
        g, y = np.where(positive, g, 0), np.where(positive, y, 0)
    dbeta, dgamma = g.sum(0), (g * h * r).sum(0)
    terms = gamma * r * g, -gamma * r * dbeta / m, -gamma * r * h * r * dgamma / m, g_mu / m, 2 * h * g_var / m
    dx = terms[0] + terms[1] + terms[2] + terms[3] + terms[4]
    scales.update(dx=_largest(y.shape, *terms), dgamma=np.abs(g * h * r).sum(0), dbeta=np.abs(g).sum(0))
    return (y, mu, var), (dx, dgamma, dbeta), scales


# what tensorgraph does -------------------------------------------------------------------------------------------


def derivatives(function, inputs, cotangents, along=None, traced=False):
    """Outputs, gradients and, where `along` gives directions, second derivatives, of a function of tensors.

    With `traced` all of it is one graph, evaluated at the same numbers.
    """
    import tensorgraph as tg

    xs = [tg.tensor(a, requires_grad=True) for a in inputs]

    def everything(*xs):
        ys = function(*xs)
        ys = ys if isinstance(ys, tuple) else (ys,)
        first = tg.gradients(list(ys), list(xs), list(cotangents), create_graph=along is not None)
        if along is None:
            return ys, first, []
        total = sum((tg.sum(d * v) for d, v in zip(first, along)), start=tg.tensor(0.0))
        return ys, first, tg.gradients(total, list(xs))

    run = tg.trace(everything, *xs) if traced else everything
    return tuple([t.numpy() for t in part] for part in run(*xs))


def laid_out(a, layout):
    """The same numbers in another layout: C, Fortran, every second of a larger array, or backwards."""
    if layout == "F":
        return np.asfortranarray(a)
    if layout == "strided":
        b = np.zeros(tuple(2 * n for n in a.shape), a.dtype)[tuple(slice(None, None, 2) for _ in a.shape)]
        b[...] = a
        return b
    turn = tuple(slice(None, None, -1) for _ in a.shape)
    return a[turn].copy()[turn] if layout == "backwards" else np.ascontiguousarray(a)


LAYOUTS = ("C", "F", "strided", "backwards")

"""Linear algebra beside NumPy and SciPy: values, gradients by numbers, what is refused, large matrices."""

from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

LinAlgError = np.linalg.LinAlgError
RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 4)) + 3 * np.eye(4)
MANY = RNG.standard_normal((2, 3, 4, 4)) + 3 * np.eye(4)
S = A @ A.T / 10
TALL = RNG.standard_normal((5, 3))
B = RNG.standard_normal((4, 2))
V = RNG.standard_normal(4)


def slope(f: Any, *arrays: Any, seed: int = 1) -> tuple[float, float]:
    """The derivative of f in a random direction, by gradients and by numbers."""
    rng = np.random.default_rng(seed)
    directions = [rng.standard_normal(a.shape) for a in arrays]
    places = tuple(range(len(arrays)))
    found = tg.grad(lambda *xs: f(*xs), places)(*arrays)
    step = 1e-5
    up, down = (float(f(*[a + s * d for a, d in zip(arrays, directions, strict=True)])) for s in (step, -step))
    got = sum(float((g.numpy() * d).sum()) for g, d in zip(found, directions, strict=True))
    return got, (up - down) / (2 * step)


def agree(f: Any, *arrays: Any) -> None:
    """First and second derivatives are those of differences."""
    got, expected = slope(f, *arrays)
    assert abs(got - expected) < 1e-6 * max(abs(expected), 1), (got, expected)
    rng = np.random.default_rng(3)
    weights = [rng.standard_normal(a.shape) for a in arrays]
    places = tuple(range(len(arrays)))

    def once(*xs: Any) -> Any:
        return sum((g * w).sum() for g, w in zip(tg.grad(f, places)(*xs), weights, strict=True))

    got, expected = slope(once, *arrays)
    assert abs(got - expected) < 1e-5 * max(abs(expected), 1), (got, expected)


SCALARS: dict[str, Any] = {
    "inv": (lambda a: (tg.linalg.inv(a) ** 2).sum(), A),
    "inv of many": (lambda a: (tg.linalg.inv(a) ** 2).sum(), MANY),
    "solve": (lambda a, b: (tg.linalg.solve(a, b) ** 2).sum(), A, B),
    "solve of a vector": (lambda a, b: (tg.linalg.solve(a, b) ** 2).sum(), A, V),
    "solve of many": (lambda a, b: (tg.linalg.solve(a, b) ** 2).sum(), MANY, B),
    "det": (lambda a: tg.linalg.det(a) ** 2, A),
    "slogdet": (lambda a: tg.linalg.slogdet(a).logabsdet ** 2, A),
    "logdet": (lambda a: tg.linalg.logdet(a), S),
    "cholesky": (lambda a: (tg.linalg.cholesky(a) ** 3).sum(), S),
    "cholesky_solve": (lambda a, b: (tg.linalg.cholesky_solve(b, tg.linalg.cholesky(a)) ** 2).sum(), S, B),
    "qr": (lambda a: (tg.linalg.qr(a).Q ** 3).sum() + (tg.linalg.qr(a).R ** 3).sum(), TALL),
    "qr of wide": (lambda a: (tg.linalg.qr(a).Q ** 3).sum() + (tg.linalg.qr(a)[1] ** 3).sum(), TALL.T),
    "r alone": (lambda a: (tg.linalg.qr(a, "r") ** 3).sum(), TALL),
    "svd": (lambda a: _parts(tg.linalg.svd(a, full_matrices=False)), TALL),
    "svd of wide": (lambda a: _parts(tg.linalg.svd(a, full_matrices=False)), TALL.T),
    "svd of square": (lambda a: _parts(tg.linalg.svd(a)), A),
    "svd of u alone": (lambda a: (tg.linalg.svd(a, full_matrices=False).U ** 4).sum(), TALL),
    "svd of v alone": (lambda a: (tg.linalg.svd(a, full_matrices=False).Vh ** 4).sum(), TALL.T),
    "svd of values": (lambda a: (tg.linalg.svd(a).S ** 3).sum(), TALL),
    "svdvals": (lambda a: (tg.linalg.svdvals(a) ** 3).sum(), TALL),
    "eigh": (lambda a: _parts(tg.linalg.eigh(a)), S),
    "eigh of vectors": (lambda a: (tg.linalg.eigh(a).eigenvectors ** 4).sum(), S),
    "eigvalsh": (lambda a: (tg.linalg.eigvalsh(a) ** 3).sum(), S),
    "pinv": (lambda a: (tg.linalg.pinv(a) ** 3).sum(), TALL),
    "lstsq": (lambda a, b: (tg.linalg.lstsq(a, b).solution ** 2).sum(), TALL, RNG.standard_normal((5, 2))),
    "lstsq's residuals": (lambda a, b: tg.linalg.lstsq(a, b).residuals.sum(), TALL, RNG.standard_normal(5)),
    "matrix_power": (lambda a: (tg.linalg.matrix_power(a, 3) ** 2).sum() / 1e4, A),
    "expm": (lambda a: (tg.linalg.expm(a) ** 2).sum() / 1e4, A),
    "cond": (lambda a: tg.linalg.cond(a), A),
    "cond of 1": (lambda a: tg.linalg.cond(a, 1), A),
    "nuc": (lambda a: tg.linalg.norm(a, "nuc"), TALL),
    "norm of 2": (lambda a: tg.linalg.matrix_norm(a, ord=2), TALL),
    "trace": (lambda a: tg.linalg.trace(a @ a), A),
    "tensorsolve": (lambda a, b: (tg.linalg.tensorsolve(a.reshape(2, 2, 4), b) ** 2).sum(), A, B[:2]),
    "tensorinv": (lambda a: (tg.linalg.tensorinv(a.reshape(4, 2, 2), 1) ** 2).sum(), A),
    "solve_triangular": (lambda a, b: (tg.linalg.solve_triangular(a, b, lower=True) ** 2).sum(), A, B),
}


def _parts(parts: Any) -> Any:
    """A number of all parts that does not depend on signs."""
    return sum(((i + 1) * (t * t) * (t * t) * (1 + 0 * i)).sum() for i, t in enumerate(parts))


@pytest.mark.parametrize("name", SCALARS)
def test_gradients_of_two_orders(name: str) -> None:
    f, *arrays = SCALARS[name]
    agree(f, *arrays)


@pytest.mark.parametrize("name", SCALARS)
def test_traced_and_batched(name: str) -> None:
    f, *arrays = SCALARS[name]
    graph = tg.trace(f, *arrays)
    assert np.allclose(float(graph(*arrays)), float(f(*arrays)), rtol=1e-12)
    assert tg.parse(str(graph)) == graph
    together = [np.stack([a, 1.1 * a]) for a in arrays]
    batch = tg.vmap(tg.grad(f))(*together)
    for k in range(2):
        assert np.allclose(batch.numpy()[k], tg.grad(f)(*[t[k] for t in together]).numpy(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "svdvals", "pinv", "matrix_rank", "cond", "trace",
                                  "diagonal",
                                  "matrix_transpose", "qr", "svd", "cholesky", "eigh", "eigvalsh"])  # fmt: skip
def test_numpys_values_and_its_functions_on_tensors(name: str) -> None:
    a = np.stack([S, 2 * S + np.eye(4)]) if name in ("cholesky", "eigh", "eigvalsh") else MANY
    theirs = getattr(np.linalg, name)
    expected = theirs(a)
    for found in (getattr(tg.linalg, name)(a), theirs(tg.tensor(a))):
        if isinstance(expected, tuple):
            assert type(found)._fields == type(expected)._fields
        for t, e in zip(*[x if isinstance(x, tuple) else (x,) for x in (found, expected)], strict=True):
            assert isinstance(t, tg.Tensor) and np.allclose(t.numpy(), e, rtol=1e-10, atol=1e-10)


def test_lstsq_and_systems_are_numpys() -> None:
    for b in (RNG.standard_normal(5), RNG.standard_normal((5, 2))):
        for found, e in zip(tg.linalg.lstsq(TALL, b), np.linalg.lstsq(TALL, b), strict=True):
            assert np.allclose(found.numpy(), e)
    for b in (V, B, RNG.standard_normal((3, 4, 1))):
        assert np.allclose(tg.linalg.solve(MANY, b).numpy(), np.linalg.solve(MANY, b))
    assert np.allclose(np.linalg.solve(tg.tensor(A), V).numpy(), np.linalg.solve(A, V))
    assert tg.linalg.lstsq(TALL.T, V[:3]).residuals.shape == (0,)


def test_scipys_values() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    for lower in (False, True):
        for trans in (0, 1):
            for unit in (False, True):
                found = tg.linalg.solve_triangular(A, B, lower=lower, trans=trans, unit_diagonal=unit)
                expected = linalg.solve_triangular(A, B, trans=trans, lower=lower, unit_diagonal=unit)
                assert np.allclose(found.numpy(), expected)
    for a in (A, 30 * A, np.zeros((3, 3)), 1e-9 * A, np.diag([700.0, -700.0])):
        expected = linalg.expm(a)
        assert np.allclose(tg.linalg.expm(a).numpy(), expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("large", [1e300, 1e308, np.finfo(np.float64).max])
def test_exponentials_of_matrices_whose_norm_overflows(large: float) -> None:
    assert np.array_equal(tg.linalg.expm(np.diag([-large, -large])).numpy(), np.zeros((2, 2)))
    for a in (np.full((3, 3), large), np.array([[0.0, -large], [large, large]])):
        assert not np.isfinite(tg.linalg.expm(a).numpy()).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_matrices_keep_their_factors(dtype: Any) -> None:
    pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    n = 70
    a = (rng.standard_normal((n, n)) + 9 * np.eye(n)).astype(dtype)
    b = rng.standard_normal((n, 3)).astype(dtype)
    x = tg.tensor(a, requires_grad=True)
    out = tg.linalg.solve(x, b)
    close = dict(rtol=1e-3 if dtype == np.float32 else 1e-10, atol=1e-4 if dtype == np.float32 else 1e-12)
    assert out.dtype == dtype and np.allclose(out.numpy(), np.linalg.solve(a, b), **close)
    (out**2).sum().backward()
    back = np.linalg.solve(a.T, 2 * out.detach().numpy())
    assert x.grad.dtype == dtype and np.allclose(x.grad.numpy(), -back @ out.detach().numpy().T, **close)
    sign, size = tg.linalg.slogdet(a)
    expected = np.linalg.slogdet(a)
    assert float(sign) == expected[0] and np.allclose(float(size), expected[1], rtol=1e-5)
    slope = tg.grad(lambda a: tg.linalg.slogdet(a).logabsdet)(a)
    assert np.allclose(slope.numpy(), np.linalg.inv(a).T, **close)
    for lower in (False, True):
        for trans in (0, 1):
            found = tg.linalg.solve_triangular(a, b, lower=lower, trans=trans).numpy()
            triangle = np.tril(a) if lower else np.triu(a)
            assert np.allclose((triangle.T if trans else triangle) @ found, b, rtol=1e-2, atol=1e-3)
    if dtype == np.float64:
        agree(lambda a, b: (tg.linalg.solve(a, b) ** 2).sum(), a, b)
        agree(lambda a: tg.linalg.slogdet(a).logabsdet, a)


def test_equal_values_have_a_gradient_where_there_is_one() -> None:
    eye = np.eye(3)
    assert np.allclose(tg.grad(lambda a: tg.linalg.eigvalsh(a).sum())(eye).numpy(), eye)
    assert np.allclose(tg.grad(lambda a: tg.linalg.eigh(a).eigenvalues.sum())(eye).numpy(), eye)
    assert np.allclose(tg.grad(lambda a: tg.linalg.svdvals(a).sum())(eye).numpy(), eye)
    assert np.allclose(tg.grad(lambda a: tg.linalg.norm(a, "nuc"))(2 * eye).numpy(), eye)
    for a in (np.ones((3, 3)), np.zeros((3, 3)), np.diag([1.0, 2.0, 0.0])):  # of rank 1, 0 and 2
        minors = np.array([[np.linalg.det(np.delete(np.delete(a, i, 0), j, 1)) * (-1) ** (i + j) for j in range(3)]
                           for i in range(3)])  # fmt: skip
        assert np.allclose(tg.grad(tg.linalg.det)(a).numpy(), minors, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.linalg.inv(np.ones((2, 2))), "ingular"),
        (lambda: tg.linalg.solve(np.zeros((2, 2)), np.ones(2)), "ingular"),
        (lambda: tg.linalg.solve(np.zeros((70, 70)), np.ones(70)), "ingular"),
        (lambda: tg.linalg.solve_triangular(np.diag([1.0, 0.0]), np.ones(2)), "element 1 of its diagonal is 0"),
        (lambda: tg.linalg.cholesky(-np.eye(2)), "not positive definite"),
        (lambda: tg.linalg.svd(np.full((2, 2), np.nan)), "NaN or infinite"),
        (lambda: tg.grad(lambda a: tg.linalg.slogdet(a).logabsdet)(np.ones((2, 2))), "ingular"),
        (lambda: tg.grad(lambda a: (tg.linalg.eigh(a).eigenvectors ** 3).sum())(np.eye(2)),
         "eigenvalues 0 and 1 are equal"),
        (lambda: tg.grad(lambda a: (tg.linalg.svd(a).U ** 3).sum())(np.eye(2)), "singular values 0 and 1 are equal"),
        (lambda: tg.grad(lambda a: (tg.linalg.svd(a, False).U ** 3).sum())(np.diag([1.0, 0.0])[:, :1] * 0),
         "a singular value is 0"),
        (lambda: tg.trace(tg.grad(lambda a: (tg.linalg.eigh(a).eigenvectors ** 3).sum()), np.eye(2))(np.eye(2)),
         "eigenvalues 0 and 1 are equal"),
    ],
)  # fmt: skip
def test_where_there_is_nothing_it_is_said(call: Any, words: str) -> None:
    with pytest.raises(LinAlgError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.linalg.inv(np.ones((2, 3))), "a must be a square matrix or a batch of them, got shape"),
        (lambda: tg.linalg.det(np.ones(3)), "a must be a matrix or a batch of them, got shape"),
        (lambda: tg.linalg.solve(A, np.ones((3, 4))), "a batch of vectors is given as columns"),
        (lambda: tg.linalg.solve_triangular(A, V, trans=3), "trans"),
        (lambda: tg.linalg.qr(A, "raw"), "mode"),
        (lambda: tg.grad(lambda a: tg.linalg.qr(a, "complete").Q.sum())(TALL), "use mode='reduced'"),
        (lambda: tg.grad(lambda a: tg.linalg.svd(a).U.sum())(TALL), "use full_matrices=False"),
        (lambda: tg.linalg.lstsq(TALL, V), "lstsq: a needs the shape"),
        (lambda: tg.linalg.tensorsolve(np.ones((2, 3)), np.ones(2)), "tensorsolve"),
        (lambda: tg.linalg.tensorinv(np.ones((2, 3)), 1), "tensorinv"),
        (lambda: tg.linalg.matrix_power(np.ones((2, 3)), 2), "matrix_power"),
        (lambda: tg.linalg.pinv(A, rtol="a"), "rtol"),
        (lambda: tg.tensor(A).trace(axis1=0, axis2=0), "axis1 and axis2 must differ"),
    ],
)
def test_what_does_not_fit_is_named(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_types_and_nothing() -> None:
    assert tg.linalg.inv(np.eye(2, dtype=np.int64)).dtype == np.float32
    assert tg.linalg.inv(np.eye(2, dtype=np.float16)).dtype == np.float16
    assert tg.linalg.det(np.zeros((0, 0))).tolist() == 1.0
    assert tg.linalg.matrix_rank(np.zeros((0, 2))).tolist() == 0
    several = np.stack([np.diag([1.0, 0.5, 1e-3]), np.diag([1.0, 0.5, 0.2])])
    assert tg.linalg.matrix_rank(several, rtol=[1e-2, 0.3]).tolist() == [2, 2]
    assert tg.linalg.matrix_rank(several, rtol=tg.tensor(1e-2)).tolist() == [2, 3]
    assert tg.linalg.matrix_power(A, 0).tolist() == np.eye(4).tolist()
    assert tg.linalg.eigvalsh(np.zeros((2, 0, 0))).shape == (2, 0)
    assert tg.linalg.svdvals(np.zeros((3, 0))).shape == (0,)
    assert tg.linalg.solve(np.zeros((0, 0)), np.zeros((0, 2))).shape == (0, 2)
    assert tg.linalg.pinv(np.zeros((0, 3))).shape == (3, 0)
    assert np.trace(tg.tensor(A), offset=1).tolist() == pytest.approx(np.trace(A, 1))


@pytest.mark.parametrize("p", [1, -1, 2, np.inf, -np.inf, "fro", "nuc"])
def test_the_condition_of_a_singular_matrix_is_infinite(p) -> None:
    a = np.array([[[2.0, 0.0], [0.0, 0.0]], [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 1e-300]]])
    found = tg.linalg.cond(a, p).numpy()
    assert found[0] == found[2] == np.inf and np.isclose(found[1], np.linalg.cond(a[1], p))
    if p not in (2, "nuc"):
        g = tg.grad(lambda a: tg.linalg.cond(a, p)[1])(tg.tensor(a)).numpy()
        assert np.isfinite(g).all() and not g[0].any() and g[1].any()


def test_the_least_singular_values_that_count_may_differ_between_matrices() -> None:
    many = np.stack([TALL, 2.0 * TALL[::-1]])
    limits = np.array([0.1, 0.9])
    for rtol in (limits, tg.tensor(limits), limits.tolist(), tg.tensor(0.9), np.array(0.1)):
        ours = tg.linalg.pinv(tg.tensor(many), rtol=rtol)
        np.testing.assert_allclose(ours.numpy(), np.linalg.pinv(many, rtol=np.asarray(rtol)), atol=1e-12)
    whole = tg.grad(lambda a: (tg.linalg.pinv(a, rtol=limits) ** 2).sum())(tg.tensor(many))
    single = tg.grad(lambda a: (tg.linalg.pinv(a, rtol=0.9) ** 2).sum())(tg.tensor(many[1]))
    np.testing.assert_allclose(whole[1].numpy(), single.numpy(), atol=1e-12)
    for stack in ((0, 3, 2), (2, 0, 2), (2, 3, 0)):
        assert tg.linalg.pinv(np.zeros(stack), rtol=np.zeros(stack[0])).shape == (stack[0], stack[2], stack[1])
    with pytest.raises(ValueError, match=r"pinv.*shape"):
        tg.linalg.pinv(many, rtol=[0.1, 0.2, 0.3])


@pytest.mark.parametrize("ord", [1, 2, np.inf, "fro", "nuc"])
def test_the_norm_of_a_matrix_without_elements_is_zero(ord: Any) -> None:
    for shape in ((0, 1), (1, 0), (0, 0), (2, 0, 3)):
        a = tg.zeros(shape, dtype=tg.f64)
        assert tg.linalg.matrix_norm(a, ord=ord).tolist() == np.zeros(shape[:-2]).tolist()
        assert tg.grad(lambda a: tg.linalg.matrix_norm(a, ord=ord).sum())(a).shape == shape

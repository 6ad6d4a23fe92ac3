"""Transforms of functions: JAX's semantics, nests of every kind against analytic answers, trees, custom rules."""

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

Point = namedtuple("Point", "x y")


def close(got: Any, expected: Any, rel: float = 1e-12) -> None:
    got, expected = [np.asarray(getattr(v, "detach", lambda: v)(), np.float64) for v in (got, expected)]  # noqa: B023
    assert got.shape == expected.shape
    assert np.isfinite(got).all() and np.isfinite(expected).all()
    assert np.abs(got - expected).max(initial=0) <= rel * max(1.0, np.abs(expected).max(initial=0)), (got, expected)


def f64(x: Any) -> np.ndarray:
    return np.asarray(x, np.float64)


# nests ------------------------------------------------------------------------------------------------------------


def derivative_by_grad(f: Any) -> Any:
    return tg.grad(f)


def derivative_by_vjp(f: Any) -> Any:
    def d(x: Any) -> Any:
        out, pullback = tg.vjp(f, x)
        return pullback(np.ones(out.shape, out.dtype))[0]

    return d


def derivative_by_jvp(f: Any) -> Any:
    return lambda x: tg.jvp(f, (x,), (np.ones(np.shape(x), np.float64),))[1]


def derivative_by_jacobian(f: Any) -> Any:
    return lambda x: tg.jacobian(f)(x)


def derivative_by_value_and_grad(f: Any) -> Any:
    return lambda x: tg.value_and_grad(f)(x)[1]


def derivative_by_linearize(f: Any) -> Any:
    return lambda x: tg.linearize(f, x)[1](np.ones(np.shape(x), np.float64))


def derivative_by_jacfwd(f: Any) -> Any:
    return lambda x: tg.jacfwd(f)(x)


EVERY = {
    "grad": derivative_by_grad, "vjp": derivative_by_vjp, "jvp": derivative_by_jvp, "jacobian": derivative_by_jacobian,
    "value_and_grad": derivative_by_value_and_grad, "linearize": derivative_by_linearize,
    "jacfwd": derivative_by_jacfwd,
}  # fmt: skip


@pytest.mark.parametrize("outer", list(EVERY))
@pytest.mark.parametrize("inner", list(EVERY))
def test_no_confusion_of_perturbations(outer: str, inner: str) -> None:
    """x · ∂(x·y²)/∂y at y=1 is 2x², its derivative 4x; x · ∂(x+y)/∂y is x, its derivative 1."""
    D, d = EVERY[outer], EVERY[inner]
    close(D(lambda x: x * d(lambda y: x * y**2)(f64(1.0)))(f64(3.0)), 12.0)
    close(D(lambda x: x * d(lambda y: x + y)(f64(1.0)))(f64(3.0)), 1.0)
    close(D(lambda x: d(lambda y: tg.sin(x * y))(x))(f64(0.7)), np.cos(0.49) - 2 * 0.49 * np.sin(0.49))
    close(D(lambda x: d(lambda y: y**3)(x))(f64(2.0)), 12.0)
    close(D(lambda x: d(lambda y: x * x)(x))(f64(2.0)), 0.0)


@pytest.mark.parametrize("outer", list(EVERY))
@pytest.mark.parametrize("middle", list(EVERY))
@pytest.mark.parametrize("inner", list(EVERY))
def test_third_derivatives_by_every_nest(outer: str, middle: str, inner: str) -> None:
    d = EVERY[outer](EVERY[middle](EVERY[inner](lambda x: tg.exp(x * x))))
    x = 0.3
    close(d(f64(x)), (8 * x**3 + 12 * x) * np.exp(x * x))


@pytest.mark.parametrize("outer", list(EVERY))
@pytest.mark.parametrize("inner", list(EVERY))
def test_nests_in_a_trace_equal_eager_ones(outer: str, inner: str) -> None:
    f = EVERY[outer](lambda x: tg.tanh(x) * EVERY[inner](lambda y: tg.sin(x * y) * tg.exp(y))(x * 2.0))
    graph = tg.trace(f, tg.f64[()])
    for x in (0.3, -1.1):
        assert float(graph(f64(x))) == float(f(f64(x)))


def test_fused_ops_to_the_third_order() -> None:
    """Every order of a fused op agrees with its composition."""
    x = np.random.default_rng(0).normal(size=(4, 3))

    def energy(impl: str) -> Any:
        def f(t: Any) -> Any:
            y, mu, var = tg.batch_norm(t, tg.ones((3,), dtype="f64"), tg.zeros((3,), dtype="f64"), impl=impl)
            return (tg.softmax(y, impl=impl) * t).sum() + (mu * var).sum() + (tg.log_softmax(t, impl=impl) ** 2).sum()

        third = tg.grad(lambda t: (tg.grad(lambda u: (tg.grad(f)(u) ** 2).sum())(t) ** 2).sum())
        return third(x)

    close(energy("fused"), energy("composed"), 1e-9)


def test_pullbacks_outlive_and_nest() -> None:
    out, pullback = tg.vjp(lambda x, y: (x * y, x + y), f64(3.0), f64(4.0))
    assert [float(o) for o in out] == [12.0, 7.0]
    for _ in range(2):
        close([float(g) for g in pullback((f64(1.0), f64(10.0)))], [14.0, 13.0])
    close(tg.grad(lambda c: pullback((c, c * c))[0])(f64(2.0)), 4.0 + 4.0)
    with pytest.raises(ValueError, match="structured like the output"):
        pullback(f64(1.0))
    with pytest.raises(ValueError, match="shape"):
        pullback((np.ones(3), f64(1.0)))


def test_jvp_is_linear_in_the_tangent_and_differentiable_in_it() -> None:
    f = lambda x: tg.sin(x) * x
    x = f64([0.3, 0.7])
    along = lambda v: tg.jvp(f, (x,), (v,))[1]
    close(along(f64([2.0, 0.0])).numpy() * 3, along(f64([6.0, 0.0])))
    close(tg.jacobian(along)(f64([1.0, 1.0])), np.diag(np.cos(x) * x + np.sin(x)))
    # an output that does not depend on the argument, and one of integers
    out, moved = tg.jvp(lambda t: (tg.ones((2,), dtype="f64"), t * 2, tg.argmax(t)), (x,), (x,))
    assert moved[0].tolist() == [0.0, 0.0] and np.allclose(moved[1], 2 * x) and float(moved[2]) == 0.0


def test_outer_parameters_get_total_derivatives() -> None:
    w = tg.Parameter(f64(3.0))
    x = tg.tensor(f64(2.0), requires_grad=True)
    g = tg.grad(lambda t: t**3 * w)(x)  # 3 x² w
    g.backward()
    close(x.grad, 36.0)
    close(w.grad, 12.0)
    h = tg.hessian(lambda t: t**3 * w)(x)  # 6 x w
    close(tg.gradients(h, w), 12.0)


def test_results_without_outside_interest_hold_no_graph() -> None:
    value, g = tg.value_and_grad(lambda x: (x * x).sum())(f64([1.0, 2.0]))
    assert not value.requires_grad and not g.requires_grad
    out, pullback = tg.vjp(lambda x: x * x, f64(1.0))
    assert not out.requires_grad and not pullback(f64(1.0))[0].requires_grad


def test_a_transform_inside_a_backward_step() -> None:
    w = tg.Parameter(f64(2.0))
    penalty = tg.grad(lambda x: (x * w) ** 2)(f64(3.0))  # 2 x w²
    penalty.backward()
    close(w.grad, 2 * 3 * 2 * 2.0)


# jacobians and hessians ------------------------------------------------------------------------------------------


def test_jacobian_shapes_and_structure() -> None:
    a, b = f64([1.0, 2.0]), f64([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    whole = tg.jacobian(lambda p: {"s": p["a"] @ p["b"], "t": (p["a"][0],)})({"a": a, "b": b})
    assert whole["s"]["a"].shape == (3, 2) and whole["s"]["b"].shape == (3, 2, 3)
    close(whole["s"]["a"], b.T)
    assert whole["t"][0]["a"].tolist() == [1.0, 0.0] and not whole["t"][0]["b"].numpy().any()
    by_two = tg.jacobian(lambda x, y: x * y, (0, 1))(a, a)
    close(by_two[0], np.diag(a))
    close(by_two[1], np.diag(a))
    assert tg.jacobian(lambda x: x[:0])(a).shape == (0, 2)


def test_jacobians_refuse_arguments_that_a_call_does_not_have() -> None:
    for argnums, error, words in ((3, TypeError, "argnums=3"), ((0, -1), ValueError, "twice")):
        with pytest.raises(error, match=words):
            tg.jacobian(lambda x: x * x, argnums)(tg.ones(2))


def test_hessians() -> None:
    m = np.random.default_rng(0).normal(size=(3, 3))
    x = f64([0.1, 0.2, 0.3])
    close(tg.hessian(lambda t: t @ m @ t)(x), m + m.T)
    blocks = tg.hessian(lambda a, b: (a * b * b).sum(), (0, 1))(x, x)
    close(blocks[0][0], np.zeros((3, 3)))
    close(blocks[0][1], np.diag(2 * x))
    close(blocks[1][1], np.diag(2 * x))
    g, hv = tg.hvp(lambda t: t @ m @ t, (x,), (x,))
    close(g[0], (m + m.T) @ x)
    close(hv[0], (m + m.T) @ x)


def test_against_numbers() -> None:
    """A small network's gradient and Hessian against differences."""
    from tensorgraph.testing import difference_jacobian

    rng = np.random.default_rng(1)
    w, x = rng.normal(size=(3, 2)), rng.normal(size=(4, 3))

    def loss(w: Any) -> Any:
        return tg.logsumexp(tg.tanh(tg.tensor(x) @ w), axis=1).mean()

    numbers = lambda v: np.array([float(loss(tg.tensor(v)))])
    close(tg.grad(loss)(w).numpy().reshape(1, -1), difference_jacobian(numbers, [w])[0], 1e-9)
    slope = lambda v: tg.grad(loss)(v).numpy().reshape(-1)
    close(tg.hessian(loss)(w).numpy().reshape(6, 6), difference_jacobian(slope, [w])[0], 1e-9)


# arguments ----------------------------------------------------------------------------------------------------------


def test_argnums_and_keywords() -> None:
    f = lambda x, y, *, k=1.0: x * x * y * k
    assert float(tg.grad(f, 1)(2.0, 3.0)) == 4.0
    assert [float(g) for g in tg.grad(f, (1, 0))(2.0, 3.0, k=10.0)] == [40.0, 120.0]
    assert isinstance(tg.grad(f, (0,))(2.0, 3.0), tuple)
    assert float(tg.grad(f, -1)(2.0, 3.0)) == 4.0
    with pytest.raises(TypeError, match="argnums=5"):
        tg.grad(f, 5)(2.0, 3.0)
    for twice in ((0, 0), (1, -1)):
        with pytest.raises((TypeError, ValueError), match="argnums"):
            tg.grad(f, twice)(2.0, 3.0)


def test_aux() -> None:
    f = lambda x: (x**2, {"double": x * 2, "n": 3})
    (value, aux), g = tg.value_and_grad(f, has_aux=True)(3.0)
    assert float(value) == 9.0 and float(g) == 6.0 and float(aux["double"]) == 6.0 and aux["n"] == 3
    assert not aux["double"].requires_grad
    g, aux = tg.grad(f, has_aux=True)(3.0)
    assert float(g) == 6.0
    out, pullback, aux = tg.vjp(f, 3.0, has_aux=True)
    assert float(pullback(1.0)[0]) == 6.0 and aux["n"] == 3
    out, moved, aux = tg.jvp(f, (3.0,), (1.0,), has_aux=True)
    assert float(moved) == 6.0 and aux["n"] == 3
    with pytest.raises(TypeError, match="pair"):
        tg.grad(lambda x: x, has_aux=True)(1.0)


def test_trees_keep_their_structure() -> None:
    p = {"z": f64([1.0, 2.0]), "a": [f64(3.0), (f64(4.0), Point(f64(5.0), f64([[6.0]])))], "e": [], "t": ()}
    f = lambda p: (p["z"].sum() * p["a"][0] * p["a"][1][0] * p["a"][1][1].x * p["a"][1][1].y).sum()
    g = tg.grad(f)(p)
    assert list(g) == ["z", "a", "e", "t"] and g["e"] == [] and g["t"] == ()
    assert type(g["a"][1][1]) is Point
    assert g["z"].tolist() == [360.0, 360.0] and float(g["a"][1][1].x) == 216.0 and g["a"][1][1].y.tolist() == [[180.0]]
    out, pullback = tg.vjp(lambda p: Point(p["z"] * 2, p["a"][0]), p)
    assert type(out) is Point
    (back,) = pullback(Point(np.ones(2), f64(1.0)))
    assert back["z"].tolist() == [2.0, 2.0] and float(back["a"][0]) == 1.0 and back["a"][1][1].y.tolist() == [[0.0]]


def test_containers_that_are_not_trees_say_so() -> None:
    for odd in (OrderedDict(a=f64(2.0)), {"a": f64(2.0), "b": None}, {"a": f64(2.0), "b": "text"}):
        try:
            g = tg.grad(lambda p: p["a"] ** 2)(odd)
        except TypeError as error:
            assert "argument" in str(error) or "expected" in str(error)
        else:
            assert float(g["a"]) == 4.0


def test_dtypes_of_arguments() -> None:
    square = lambda x: (x * x).sum()
    assert tg.grad(square)(2.0).dtype == np.float32
    for dtype in (np.float16, np.float32, np.float64):
        assert tg.grad(square)(dtype(2.0)).dtype == dtype
        assert tg.grad(square)(np.ones(2, dtype)).dtype == dtype
    mixed = tg.grad(lambda a, b: (a * b).sum(), (0, 1))(np.ones(2, np.float32), np.ones(2))
    assert [g.dtype for g in mixed] == [np.float32, np.float64]
    for bad in (2, np.arange(2), True):
        with pytest.raises(TypeError, match=r"float arguments.*astype"):
            tg.grad(square)(bad)


def test_results_must_be_scalars_or_say_so() -> None:
    with pytest.raises(TypeError, match=r"one float element.*sum"):
        tg.grad(lambda x: x)(np.ones(2))
    with pytest.raises(TypeError, match="Tensor"):
        tg.grad(lambda x: 3.0)(1.0)
    with pytest.raises(TypeError, match="one float element"):
        tg.grad(lambda x: tg.argmax(x))(np.ones(2))
    with pytest.raises(ValueError, match="shape"):
        tg.jvp(lambda x: x, (np.ones(2),), (np.ones(3),))
    with pytest.raises(TypeError, match="tangents"):
        tg.jvp(lambda x: x, (np.ones(2),), ())
    with pytest.raises(ValueError, match="structured like primals"):
        tg.jvp(lambda x: x, (np.ones(2),), ((np.ones(2),),))


def test_arguments_are_not_changed() -> None:
    x = np.array([1.0, 2.0])
    tg.grad(lambda t: (t * t).sum())(x)
    assert x.tolist() == [1.0, 2.0]
    out, pullback = tg.vjp(lambda t: t * t, x)
    x[:] = 9
    assert pullback(np.ones(2))[0].tolist() == [2.0, 4.0]
    t = tg.tensor([1.0, 2.0], requires_grad=True)
    tg.grad(lambda u: (u * u).sum())(t)
    assert t.grad is None


# the user's own rules ------------------------------------------------------------------------------------------


def test_custom_vjp_rules_are_followed_and_differentiated() -> None:
    @tg.custom_vjp
    def clipped(x: Any) -> Any:
        return x * x

    clipped.defvjp(lambda x: (x * x, x), lambda kept, g: (g * 10.0 * kept,))
    x = f64(3.0)
    close(tg.grad(clipped)(x), 30.0)
    close(tg.grad(tg.grad(clipped))(x), 10.0)
    close(tg.trace(tg.grad(clipped), x)(x), 30.0)


def test_checkpoint_changes_memory_not_numbers() -> None:
    w = tg.Parameter(f64([1.0, 2.0]))

    def block(x: Any) -> Any:
        return tg.tanh(x * w) * x

    x = f64([0.5, -0.5])
    plain = tg.grad(lambda t: block(block(t)).sum())(x)
    saved = tg.grad(lambda t: tg.checkpoint(block)(tg.checkpoint(block)(t)).sum())(x)
    assert plain.tolist() == saved.tolist()
    (tg.checkpoint(block)(tg.tensor(x))).sum().backward()
    with_checkpoint = w.grad.tolist()
    w.zero_grad()
    block(tg.tensor(x)).sum().backward()
    assert with_checkpoint == w.grad.tolist()
    close(tg.hessian(lambda t: tg.checkpoint(block)(t).sum())(x), tg.hessian(lambda t: block(t).sum())(x))
    frozen = tg.tensor(w.numpy())
    recomputed = tg.checkpoint(lambda t: tg.tanh(t * frozen) * t)
    graph = tg.trace(tg.grad(lambda t: recomputed(t).sum()), tg.f64[2])
    assert graph(x).tolist() == tg.grad(lambda t: recomputed(t).sum())(x).tolist()


def test_dicts_may_come_in_any_order() -> None:
    def f(p: Any) -> Any:
        return {"u": p["a"] * 2.0, "v": {"c": p["b"] * p["a"], "d": p["b"]}}

    primal = {"a": np.float64(3.0), "b": np.float64(5.0)}
    out, pullback = tg.vjp(f, primal)
    (g,) = pullback({"v": {"d": 1.0, "c": 10.0}, "u": 100.0})
    assert [float(g[k]) for k in ("a", "b")] == [250.0, 31.0]
    _, tangent = tg.jvp(f, (primal,), ({"b": np.float64(1.0), "a": np.float64(0.0)},))
    assert float(tangent["v"]["c"]) == 3.0
    graph = tg.trace(f, primal)
    assert float(graph({"b": np.float64(7.0), "a": np.float64(2.0)})["v"]["d"]) == 7.0
    with pytest.raises(ValueError, match="structured like"):
        pullback({"u": 1.0})


def test_what_a_transform_gives_in_no_grad_has_no_history_in_a_trace_either():
    x = tg.tensor([0.3, -0.5, 1.2], dtype="float64")

    def by_vjp(x):
        out, pullback = tg.vjp(lambda t: t * x, x * 2.0)
        return out * pullback(x)[0]

    functions = (
        lambda x: tg.grad(lambda t: (t * x * x).sum())(x * 0.0 + 1.0),
        lambda x: tg.value_and_grad(lambda t: (t * x * x).sum())(x)[0] * x,
        lambda x: tg.value_and_grad(lambda t: ((t * x).sum(), (t * x, np.ones(3))), has_aux=True)(x)[0][1][0] * x,
        lambda x: tg.grad(lambda t: tg.mean(tg.jvp(tg.tanh, (x,), (t,))[1]))(x),
        by_vjp,
    )
    for f in functions:

        def total(x, f=f):
            with tg.no_grad():
                y = f(x)
            return (tg.sin(y) * x).sum()

        expected = tg.grad(total)(x)
        np.testing.assert_allclose(tg.trace(tg.grad(total), x)(x).numpy(), expected.numpy())
        np.testing.assert_allclose(tg.vmap(tg.grad(total))(x[None])[0].numpy(), expected.numpy())


@pytest.mark.parametrize("transform", [tg.jvp, tg.hvp])
def test_an_array_is_no_row_of_arguments(transform):
    x = tg.ones((1, 2))
    for primals, tangents, name in ((x, x, "primals"), (x.numpy(), x, "primals"), ((x,), x, "tangents")):
        with pytest.raises(TypeError, match=rf"{name} must be a tuple or a list of all arguments, .*it is \(x,\)"):
            transform(lambda x: (x**2).sum(), primals, tangents)
    assert transform(lambda x: (x**2).sum(), [x], (x,)) is not None

"""Where numbers leave a tensor: refused inside a transform, told of on the tape, free where no derivative is lost."""

import copy
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg

EXITS: dict[str, Any] = {
    "math.sqrt": math.sqrt,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "round": round,
    "round to places": lambda x: round(x, 2),
    "math.fsum": lambda x: math.fsum([x, x]),
    "float": float,
    "int": int,
    "complex": lambda x: complex(x).real,
    "item": lambda x: x.item(),
    "numpy": lambda x: x.numpy(),
    "tolist": lambda x: x.tolist(),
    "asarray": np.asarray,
    "list in a call": lambda x: np.sum([x, x]),
    "list in an operator": lambda x: (np.zeros(1) + [x])[0],
    "array of a list": lambda x: np.array([x]).sum(),
    "a function of numpy.linalg": lambda x: np.linalg.norm([x, x]),
    "dlpack": np.from_dlpack,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "tensor": tg.tensor,
    "Parameter": tg.Parameter,
}


def transforms(f: Any) -> dict[str, Any]:
    return {
        "grad": lambda: tg.grad(f)(4.0),
        "value_and_grad": lambda: tg.value_and_grad(f)(4.0),
        "vjp": lambda: tg.vjp(f, 4.0),
        "jvp": lambda: tg.jvp(f, (4.0,), (1.0,)),
        "jacobian": lambda: tg.jacobian(f)(4.0),
        "hessian": lambda: tg.hessian(f)(4.0),
        "hvp": lambda: tg.hvp(f, (4.0,), (1.0,)),
        "checkpoint": lambda: tg.grad(tg.checkpoint(f))(4.0),
    }


@pytest.mark.parametrize("name", EXITS)
def test_an_exit_that_would_lose_a_derivative_is_refused(name: str) -> None:
    for transform in transforms(lambda x: EXITS[name](x) * x).values():
        with pytest.raises(tg.DetachError, match=r"test_exits.py:\d+.*detach\(\)"):
            transform()
    for transform in transforms(lambda x: EXITS[name](x.detach()) * x).values():
        transform()


@pytest.mark.parametrize("what", transforms(None))
def test_values_computed_of_the_argument_are_watched_too(what: str) -> None:
    with pytest.raises(tg.DetachError):
        transforms(lambda x: x * math.exp(tg.sin(x) + 1))[what]()


def test_a_list_is_told_of_stack() -> None:
    with pytest.raises(tg.DetachError, match=r"tensorgraph\.stack"):
        tg.grad(lambda x: x * np.sum([x, x]))(3.0)
    assert float(tg.grad(lambda x: x * np.sum(tg.stack([x, x])))(3.0)) == 12


def looks(x: Any) -> Any:
    """All that is free."""
    assert x > 1 and x and 2.0 in x and x == 2.0 and np.allclose(x, 2.0)
    assert np.array_str(x) and np.array2string(x) and f"{x:.2f}" == "2.00" and str(x) and repr(x) and x.shape == ()
    assert copy.copy(x) is x
    assert (x > 1).item() and np.asarray(x > 1) and int(tg.argmax(tg.stack([x, x]))) == 0
    assert float(tg.tensor(3.0) * 2) == 6 and float(x.detach()) == 2 and float(x.astype("int64")) == 2
    np.testing.assert_allclose(x, 2.0)
    with tg.no_grad():
        assert float(x * 2) == 4
    return x * x


def test_what_loses_nothing_is_free() -> None:
    results = [
        tg.grad(looks)(2.0), tg.jvp(looks, (2.0,), (1.0,))[1], tg.vjp(looks, 2.0)[1](1.0)[0], tg.jacobian(looks)(2.0),
        tg.grad(tg.checkpoint(looks))(2.0),
    ]  # fmt: skip
    assert [float(r) for r in results] == [4.0] * 5
    assert float(tg.hessian(looks)(2.0)) == 2 and float(tg.hvp(looks, (2.0,), (1.0,))[1][0]) == 2


def test_a_transform_in_a_transform_watches_for_both() -> None:
    with pytest.raises(tg.DetachError):  # the inner function's argument is another, the outer derivative would be lost
        tg.grad(lambda x: x * tg.grad(lambda y: y * math.sqrt(x))(1.0))(4.0)
    with pytest.raises(tg.DetachError):  # the inner derivative depends on the outer argument
        tg.grad(lambda x: x * float(tg.grad(lambda y: y * y)(x)))(4.0)
    assert float(tg.grad(lambda x: x * float(tg.grad(lambda y: y * y)(3.0)))(4.0)) == 6
    assert float(tg.grad(lambda x: x * x)(3.0)) == 6  # nothing is watched any more
    assert float(tg.tensor(3.0, requires_grad=True) * 2) == 6


def test_an_exit_in_a_trace_in_a_transform() -> None:
    with pytest.raises(tg.DetachError):
        tg.grad(lambda x: tg.trace(lambda y: (y * float(x)).sum(), tg.f32[3])(np.ones(3, np.float32)))(3.0)


def test_exits_in_vmap() -> None:
    xs = np.array([1.0, 4.0], np.float32)
    for name, exit in EXITS.items():
        made = name == "tensor"  # a parameter is never made there
        calls: list[Any] = [
            lambda: tg.grad(lambda v: tg.vmap(lambda x: exit(x) * x)(v).sum())(xs),  # noqa: B023
            lambda: tg.vmap(tg.grad(lambda x: exit(x) * x))(xs),  # noqa: B023
            lambda: tg.grad(lambda c: tg.vmap(lambda x: exit(x * c) * x)(xs).sum())(2.0),  # noqa: B023
        ]
        for call in calls:
            with pytest.raises(tg.DetachError if made else tg.TraceError):
                call()
        with pytest.raises(tg.TraceError if name == "Parameter" else tg.DetachError):
            tg.grad(lambda c: tg.vmap(lambda x: x * exit(c))(xs).sum())(2.0)  # noqa: B023


def test_a_traced_value_has_no_numbers_in_a_transform_either() -> None:
    for name, exit in EXITS.items():
        made = name == "tensor"  # which detaches a traced value elsewhere
        with pytest.raises(tg.DetachError if made else tg.TraceError):
            tg.trace(tg.grad(lambda x: exit(x) * x), tg.f32[()])  # noqa: B023
    tg.trace(lambda x: tg.tensor(x) * x, tg.f32[()])
    tg.trace(lambda x: tg.grad(lambda y: tg.tensor(y.detach()) * tg.tensor(x) * y)(2.0), tg.f32[()])


def sine(rule: Any) -> Any:
    f = tg.custom_vjp(lambda x: tg.tensor(math.sin(x)))
    f.defvjp(lambda x: (tg.tensor(math.sin(x)), x), rule)
    return f


def test_the_forward_of_a_rule_of_ones_own_is_free() -> None:
    f = sine(lambda x, g: (g * tg.cos(x),))
    assert float(tg.grad(f)(1.0)) == pytest.approx(math.cos(1))
    assert float(tg.hessian(f)(1.0)) == pytest.approx(-math.sin(1))
    assert float(tg.jvp(f, (1.0,), (2.0,))[1]) == pytest.approx(2 * math.cos(1))


def test_a_rule_in_numpy_serves_first_derivatives_and_refuses_to_lose_others() -> None:
    f = sine(lambda x, g: (float(g) * math.cos(x),))
    assert float(tg.grad(f)(1.0)) == pytest.approx(math.cos(1))
    for second in (tg.grad(tg.grad(f)), lambda x: tg.jvp(f, (x,), (1.0,))):
        with pytest.raises(tg.DetachError):
            second(1.0)


def test_hooks_look_at_gradients() -> None:
    seen: list[float] = []

    def inner(x: Any) -> Any:
        y = x * x
        y.register_hook(lambda g: seen.append(float(g)))
        return y * 3

    assert float(tg.grad(tg.grad(inner))(2.0)) == 6
    assert seen


# on the tape --------------------------------------------------------------------------------------------------------


def told(function: Any) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        function()
    return caught


def test_the_tape_tells_once_a_line() -> None:
    y = tg.tensor([1.0, 2.0], requires_grad=True) * 2

    def often() -> None:
        for part in (y, y[:1], y):
            np.asarray(part)
        np.sum([y[0], y[1]])

    caught = told(often)
    assert [w.category for w in caught] == [tg.DetachWarning] * 2
    assert {w.filename for w in caught} == {__file__}
    assert [w.lineno for w in caught] == [often.__code__.co_firstlineno + 2, often.__code__.co_firstlineno + 3]
    assert "tensorgraph.stack" in str(caught[0].message) and "detach()" in str(caught[0].message)


def test_the_tape_is_silent_where_nothing_is_lost() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    kept: list[Any] = []

    def quiet() -> None:
        np.asarray(x), y.numpy(), y.tolist(), float(y[0]), y[0].item(), np.asarray(y.detach()), np.asarray(y > 1)
        np.testing.assert_allclose(y, [2.0, 4.0])
        np.testing.assert_array_equal(np.array([1.0]), y[:1] / 2)
        with tg.no_grad():
            np.asarray(x * 2), np.sum([x[0], x[1]]), np.asarray(y)
        tg.grad(lambda z: kept.append(z * z) or z * z)(2.0)
        np.asarray(kept[0])  # nobody will ask for this gradient any more

    assert not told(quiet)


def test_matplotlib_is_not_told() -> None:
    code = compile("import numpy\ndef look(t): return numpy.asarray(t)", "cbook.py", "exec")
    names: dict[str, Any] = {"__name__": "matplotlib.cbook", "__package__": "matplotlib"}
    exec(code, names)
    y = tg.tensor([1.0], requires_grad=True) * 2
    assert not told(lambda: names["look"](y))
    assert len(told(lambda: np.asarray(y))) == 1


def test_another_package_is_not_the_users_line() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    a = tg.tensor([[4.0]], requires_grad=True)
    (told_of,) = told(lambda: linalg.cholesky(a * 1))
    assert told_of.filename == __file__
    with pytest.raises(tg.DetachError, match=r"test_exits.py:\d+"):
        tg.grad(lambda a: linalg.cholesky(a)[0, 0] * a.sum())([[4.0]] @ tg.ones((1, 1)))


# results and arguments that have no derivative ----------------------------------------------------------------------


def returning(value: Any) -> dict[str, Any]:
    def half(x: Any) -> Any:
        return value

    return transforms(half)


@pytest.mark.parametrize("value", [True, 1, 1.5, "a", None, np.ones(2), np.float32(2), (), {}, (None,), object, [1.0]])
def test_what_is_no_tensor_has_no_derivative(value: Any) -> None:
    calls = returning(value)
    del calls["checkpoint"]  # makes tensors of numbers
    for name, call in calls.items():
        with pytest.raises(TypeError, match="half must return"):
            call()
            raise AssertionError(name)


@pytest.mark.parametrize("value", [tg.tensor([1, 2]), tg.tensor(True), (tg.tensor(1), tg.tensor(2))])
def test_integers_alone_have_no_derivative(value: Any) -> None:
    for call in returning(value).values():
        with pytest.raises(TypeError, match=r"half must return.*got (i64|bool|tuple)"):
            call()


def test_integers_beside_floats_stay() -> None:
    (y, n), pullback = tg.vjp(lambda x: (x * x, tg.argmax(tg.stack([x, x]))), 3.0)
    assert int(n) == 0 and float(pullback((1.0, 0))[0]) == 6
    (_, n), (dy, dn) = tg.jvp(lambda x: (x * x, tg.argmax(tg.stack([x, x]))), (3.0,), (1.0,))
    assert float(dy) == 6 and float(dn) == 0


def test_a_plain_integer_beside_tensors_is_no_result_to_differentiate() -> None:
    (y, n), pullback = tg.vjp(lambda x: (x * x, 2), 3.0)
    assert n == 2 and float(pullback((1.0, 0))[0]) == 6
    with pytest.raises(TypeError, match=r"must return Tensors.*got float"):
        tg.vjp(lambda x: (x * x, 2.0), 3.0)


def model() -> Any:
    return tg.nn.Linear(2, 1, seed=0)


X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


@pytest.mark.parametrize(("traced", "frozen"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_parameter_that_is_given_and_not_used_is_refused(traced: bool, frozen: bool) -> None:
    m = model()
    if frozen:
        m.requires_grad_(False)
    many = list(m.parameters())
    v = tg.ones((2, 1))
    calls = [
        lambda: tg.grad(lambda w: m(X).sum())(m.weight),
        lambda: tg.value_and_grad(lambda x, w: m(x).sum(), argnums=(0, 1))(X, m.weight),
        lambda: tg.vjp(lambda w: m(X), m.weight)[0],
        lambda: tg.jvp(lambda w: m(X), (m.weight,), (v,)),
        lambda: tg.jacobian(lambda w: m(X))(m.weight),
        lambda: tg.hessian(lambda ps: (m(X) ** 2).sum())(many),
        lambda: tg.hessian(lambda ps: (m(X) ** 2).sum())({"a": [m.weight]}),
        lambda: tg.hvp(lambda w: (m(X) ** 2).sum(), (m.weight,), (v,)),
        lambda: tg.grad(lambda ps: (ps[0] * m.weight).sum() + m.bias.sum())(many),  # one of several
        lambda: tg.grad(lambda b: tg.grad(lambda w: m(X).sum())(m.weight).sum() * b)(2.0),
        lambda: tg.vmap(tg.grad(lambda w, x: m(x).sum()), in_axes=(None, 0))(m.weight, X),
        lambda: tg.grad(lambda w: tg.vmap(m)(X).sum())(m.weight),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"parameter '(weight|bias)'.*tensorgraph\.functional"):
            tg.trace(call) if traced else call()


@pytest.mark.parametrize("traced", [False, True])
def test_a_parameter_is_an_argument_like_any_other(traced: bool) -> None:
    m = model()
    w = m.weight
    calls: list[tuple[Any, Any]] = [
        (lambda: tg.grad(lambda w: (w * X[:, :1]).sum())(w), X[:, :1]),
        (lambda: tg.grad(lambda w, x: tg.sum(x * x))(w, X), np.zeros((2, 1))),  # constant in it, and never read
        (lambda: tg.grad(lambda a: (a * a).sum() * 0.5 + m.weight.sum())(w), w.numpy()),
        (lambda: tg.grad(lambda a: tg.grad(lambda b: (a * a).sum())(a).sum() + (a * a).sum())(w), 2 * w.numpy()),
        (lambda: tg.grad(lambda a, b: (b * b).sum(), argnums=(0, 1))(w, w)[1], 2 * w.numpy()),
        (lambda: tg.grad(lambda a: tg.grad(lambda b: (a * a).sum())(w).sum() + (a * a).sum())(w), 2 * w.numpy()),
        (lambda: tg.vmap(tg.grad(lambda w, x: (x @ w).sum()), in_axes=(None, 0))(w, X), X[:, :, None]),
        (lambda: tg.grad(lambda a: m(X).sum() * a)(2.0), m(X).sum().detach().numpy()),
        (lambda: tg.grad(lambda a: (a * m.weight.detach()).sum())(m.bias), np.array([w.numpy().sum()])),
    ]
    for call, expected in calls:
        got = tg.trace(call).bind(m)() if traced else call()
        np.testing.assert_allclose(got.detach(), expected, rtol=1e-6)


def test_a_module_is_no_argument_of_a_transform() -> None:
    with pytest.raises(TypeError, match=r"argument 0: got the module Linear.*tensorgraph\.functional"):
        tg.grad(lambda m: m(X).sum())(model())


# rules of one's own that use what they were not given ---------------------------------------------------------------


def times(a: Any, residual: bool = False) -> Any:
    """A function with a rule that multiplies by what it closes over."""
    h = tg.custom_vjp(lambda x: x * a)
    h.defvjp(lambda x: (x * (2.0 if residual else a), a * 1.0 if residual else None), lambda r, g: (g * a,))
    return h


@pytest.mark.parametrize("residual", [False, True])
def test_a_rule_that_closes_over_what_is_differentiated_is_refused(residual: bool) -> None:
    def f(a: Any) -> Any:
        return times(a, residual)(tg.tensor(3.0))

    tracked = tg.tensor(2.0, requires_grad=True)
    calls: list[Any] = [
        lambda: tg.grad(f)(2.0),
        lambda: tg.vjp(f, 2.0),
        lambda: tg.jvp(f, (2.0,), (1.0,)),
        lambda: tg.jacobian(f)(2.0),
        lambda: tg.hessian(f)(2.0),
        lambda: tg.grad(lambda a: f(a * a) * a)(2.0),
        lambda: tg.grad(lambda a: tg.grad(lambda b: f(a) * b)(1.0))(2.0),
        lambda: tg.grad(tg.checkpoint(f))(2.0),
        lambda: f(tracked),
        lambda: f(tracked * 2),
        lambda: f(tg.Parameter(2.0, name="w")),
        lambda: tg.grad(lambda x: times(tracked * 2, residual)(x))(3.0),
        lambda: tg.trace(f, tg.f32[()]),
        lambda: tg.trace(tg.grad(f), tg.f32[()]),
        lambda: tg.trace(lambda: f(tracked)),
        lambda: tg.trace(lambda: f(tracked * 2)),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"custom_vjp: <lambda> uses .* by closure.*argument"):
            call()


def test_a_rule_may_use_what_has_no_derivative() -> None:
    tracked = tg.tensor(2.0, requires_grad=True) * 1.0
    calls: list[Any] = [
        lambda: times(tg.tensor(2.0))(3.0),
        lambda: times(tracked.detach())(3.0),
        lambda: tg.grad(lambda a: times(a.detach())(a))(2.0) * 3,
        lambda: tg.grad(lambda x: times(2.0)(x))(3.0) * 3,
    ]
    with tg.no_grad():
        calls.append(lambda: times(tracked)(3.0))
        assert [float(call()) for call in calls] == [6.0] * 5

    def inner(x: Any) -> Any:  # its own tape is its own
        w = tg.tensor(2.0, requires_grad=True)
        (w * w * x).backward()
        return w.grad + tg.grad(lambda v: v * w)(1.0), None

    h = tg.custom_vjp(lambda x: inner(x)[0])
    h.defvjp(inner, lambda r, g: (g * 4.0,))
    assert float(tg.grad(h)(3.0)) == 4


def test_a_rule_may_use_detached_values_around_it_in_a_trace() -> None:
    def inside(a: Any) -> Any:
        h = tg.custom_vjp(lambda x: x * a.detach())
        h.defvjp(lambda x: (x * a.detach(), x), lambda r, g: (g * a.detach(),))
        return h(3 * a)

    def before(a: Any) -> Any:
        s = tg.stop_gradient(a)
        h = tg.custom_vjp(lambda x: x * s)
        h.defvjp(lambda x: (x * s, x), lambda r, g: (g * s,))
        return h(3 * a)

    def only_the_rule(a: Any) -> Any:
        s = a.detach() * 1.0
        h = tg.custom_vjp(lambda x: x * 2)
        h.defvjp(lambda x: (x * 2, x), lambda r, g: (g * s,))
        return h(3 * a)

    xs = tg.tensor([3.0, 4.0])
    for f, factor in ((inside, xs), (before, xs), (only_the_rule, 2.0)):
        value, slope = 3 * xs * factor, 3 * xs
        np.testing.assert_array_equal(tg.vmap(f)(xs), value)
        np.testing.assert_array_equal(tg.vmap(tg.grad(f))(xs), slope)
        np.testing.assert_array_equal(tg.grad(lambda xs: tg.vmap(f)(xs).sum())(xs), slope)  # noqa: B023
        graph = tg.trace(tg.grad(f), tg.f32[()])
        for one in (tg.grad(f), graph, graph.differentiate(), tg.parse(str(graph))):
            assert float(one(4.0)) == 12
        text = tg.parse(str(tg.trace(f, tg.f32[()])))
        assert float(tg.grad(text)(4.0)) == 12


def test_a_rule_in_a_trace_that_uses_what_is_differentiated_names_custom_vjp() -> None:
    def f(a: Any) -> Any:
        h = tg.custom_vjp(lambda x: x * 2)
        h.defvjp(lambda x: (x * 2, x), lambda r, g: (g * a,))
        return h(3 * a)

    xs = tg.tensor([3.0, 4.0])
    for call in (lambda: tg.vmap(tg.grad(f))(xs), lambda: tg.trace(tg.grad(f), tg.f32[()]), lambda: tg.vmap(f)(xs)):
        with pytest.raises(TypeError, match=r"custom_vjp: <lambda> uses a traced value by closure.*detach\(\)"):
            call()


def test_a_traced_value_is_its_own_copy() -> None:
    xs = tg.tensor([3.0, 4.0])
    for f in (lambda q: copy.copy(q) * q, lambda q: copy.copy(q.detach()) * q):
        assert tg.vmap(f)(xs).tolist() == tg.trace(f, xs)(xs).tolist() == f(xs).tolist() == [9, 16]
    assert tg.vmap(tg.grad(lambda q: copy.copy(q) * q))(xs).tolist() == [6, 8]


def test_an_op_whose_forward_closes_over_what_is_differentiated_is_refused() -> None:
    held: list[Any] = [2.0]
    scaled = tg.op("scaled(x)", lambda x: x * held[0], vjp=dict(x=lambda g: g * held[0]))
    listed = tg.op("listed([xs]) -> *ys", lambda xs: tuple(x * held[0] for x in xs), vjp=lambda want, g_ys, xs: (g_ys,),
                   infer_rule=lambda xs: tuple(xs))  # fmt: skip

    def of(op: Any) -> Any:
        def f(a: Any) -> Any:
            held[0] = a
            return op(tg.tensor(3.0)) if op is scaled else op([tg.tensor(3.0)])[0]

        return f

    try:
        for op in (scaled, listed):
            for value in (2.0, tg.tensor(2.0)):
                assert float(of(op)(value)) == 6
            for call in (
                lambda f: tg.grad(f)(2.0),
                lambda f: tg.jvp(f, (2.0,), (1.0,)),
                lambda f: f(tg.tensor(2.0, requires_grad=True)),
                lambda f: f(tg.Parameter(2.0)),
                lambda f: tg.trace(f, tg.f32[()])(2.0),
            ):
                with pytest.raises(TypeError):
                    call(of(op))
            with pytest.raises(TypeError, match=r"by closure.*input of the op"):
                tg.grad(of(op))(2.0)
    finally:
        tg.remove_op("scaled")
        tg.remove_op("listed")


def test_a_checkpoint_follows_what_it_closes_over() -> None:
    def f(a: Any) -> Any:
        return tg.checkpoint(lambda x: x * a * a)(tg.tensor(3.0))

    assert float(tg.grad(f)(2.0)) == 12 and float(tg.hessian(f)(2.0)) == 6
    assert float(tg.jvp(f, (2.0,), (1.0,))[1]) == 12 and float(tg.trace(tg.grad(f), tg.f32[()])(2.0)) == 12


def test_a_hook_may_use_what_is_differentiated() -> None:
    def f(a: Any) -> Any:
        def inner(x: Any) -> Any:
            y = x * x
            y.register_hook(lambda g: g * a)
            return y

        return tg.grad(inner)(3.0)

    assert float(f(2.0)) == 12 and float(tg.grad(f)(2.0)) == 6

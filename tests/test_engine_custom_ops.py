"""A user's own ops through the public door, and `tensorgraph.testing.check`, which must find every kind of mistake."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine.declare import op
from tensorgraph.engine.op import elementwise
from tensorgraph.testing import ULPS, assert_close, assert_same, check, examples_of


@pytest.fixture(autouse=True)
def own_ops_are_removed() -> Iterator[None]:
    before = set(tg.CATALOGUE)
    yield
    for name in set(tg.CATALOGUE) - before:
        del tg.CATALOGUE[name]


def declare(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "forward": lambda x: x * x * x,
        "kind": "elementwise",
        "vjp": dict(x=lambda g, x: g * (3 * x * x)),
        "doc": "x to the third.",
    } | changes
    forward = given.pop("forward")
    return tg.op("own_op(x)", forward, **given)


def test_a_right_op_passes() -> None:
    check(declare())


class Counter:
    """A forward that gives its one buffer away again and again."""

    buffer = np.zeros(0)

    def __call__(self, x: Any) -> Any:
        if self.buffer.shape != x.shape or self.buffer.dtype != x.dtype:
            self.buffer = np.empty_like(x)
        np.multiply(x, 2.0, out=self.buffer)
        return self.buffer


def impolite(x: Any) -> Any:
    out = x * x * x
    if isinstance(x, np.ndarray) and x.flags.writeable:
        x *= 0
    return out


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong derivative": (dict(vjp=dict(x=lambda g, x: g * (2 * x * x))), "derivative by x"),
    "a derivative that is right at first order only": (
        dict(vjp=dict(x=lambda g, x: g * (3 * x * x if isinstance(x, np.ndarray) else 3 * x.detach() * x))),
        "gradient",
    ),
    "a rule that looks at the cotangent": (
        dict(vjp=dict(x=lambda g, x: tg.CATALOGUE["absolute"](g) * 3 * x * x)),
        "derivative|cotangent",
    ),
    "a rule that adds a constant": (dict(vjp=dict(x=lambda g, x: g * (3 * x * x) + 1e-3)), "derivative|cotangent"),
    "a rule of two forms": (
        dict(vjp=dict(x=lambda g, x: g * (3 * x * x) * (1.0 if isinstance(x, np.ndarray) else 1.0 + 1e-6))),
        "gradient|derivative",
    ),
    "an input is changed": (dict(forward=impolite), "input|derivative|came|values|array|differ|called"),
    "memory of the input": (dict(forward=lambda x: x, vjp=dict(x=lambda g: g)), "shares memory"),
    "one buffer for all results": (
        dict(forward=Counter(), vjp=dict(x=lambda g: 2 * g)),
        "output|shares|differ|expected",
    ),
    "NaN in the domain": (dict(forward=np.log, vjp=dict(x=lambda g, x: g / x)), "finite"),
    "NaN in the derivative": (
        dict(vjp=dict(x=lambda g, x: g * (3 * x * x) * tg.CATALOGUE["where"](x > 0, 1.0, float("nan")))),
        "finite|nan",
    ),
    "a wrong shape rule": (dict(infer_rule=lambda x: tg.spec((*x.shape, 1), x.dtype)), "shape rule"),
    "a wrong dtype": (dict(forward=lambda x: (x * x * x).astype(np.float32)), "shape rule"),
    "no doc": (dict(doc=""), "no doc"),
    "a doctest that fails": (dict(doc="x³\n\n>>> 1 + 1\n3\n"), "Expected"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_mistakes_are_found(mistake: str) -> None:
    changes, message = MISTAKES[mistake]
    with pytest.raises((AssertionError, ValueError, RuntimeError), match=message):
        check(declare(**changes))


def test_no_cases_is_a_failure() -> None:
    with pytest.raises(AssertionError, match=r"no cases.*examples="):
        check(declare(kind="opaque", infer_rule=lambda x: x))
    check(declare_again())


def declare_again() -> Any:
    return tg.op(
        "own_two(x)",
        lambda x: x * 2.0,
        infer_rule=lambda x: x,
        vjp=dict(x=lambda g: g * 2.0),
        doc="2 x.",
        examples=((((3,),), {}), (((),), {}), (((0, 2),), {})),
    )


def test_a_wrong_fused_op_is_found() -> None:
    def fused(name: str, factor: float, slope: float) -> Any:
        return tg.fused_op(
            f"{name}(x) -> y",
            reference=lambda x: (x * x).sum(),
            forward=lambda x: np.asarray((x * x).sum() * factor, x.dtype),
            backward=lambda want, g, x, y: (slope * g * x,),
            infer_rule=lambda x: tg.spec((), x.dtype),
            examples=((((3,),), {}),),
            doc="The sum of squares.",
        )

    check(fused("squares", 1.0, 2.0))
    with pytest.raises(AssertionError, match=r"fused|derivative"):
        check(fused("squares_off", 1.0 + 1e-9, 2.0))
    with pytest.raises(AssertionError, match=r"derivative"):
        check(fused("squares_steep", 1.0, 2.1))


def test_residuals_joint_rules_lists_and_several_outputs() -> None:
    def forward(x: Any, *, k: float = 2.0) -> Any:
        e = np.exp(-np.abs(x))
        return x * e, e * k, e

    def rule(want: Any, g_a: Any, g_b: Any, x: Any, e: Any, k: float) -> Any:
        sign = tg.CATALOGUE["sign"](x)
        return (g_a * (e - x * sign * e) - g_b * (k * sign * e),)

    # a residual is a function of the input that carries no gradient of its own: first order is right
    both = tg.op(
        "own_both(x, *, k=2.0) -> a, b",
        forward,
        vjp=rule,
        residuals=("e",),
        infer_rule=lambda x, *, k: (x, x),
        kinks=(0.0,),
        examples=((((3,),), {}), (((2, 2),), dict(k=0.5))),
        doc="Two.",
    )
    check(
        both,
        ["finite", "shape_rule", "jacobian", "linear_in_cotangent", "forms_agree", "sharing", "unmutated", "traced"],
    )
    a, b = both(tg.tensor([1.0, 2.0], requires_grad=True), k=3.0)
    assert a.requires_grad and b.requires_grad
    total = tg.op(
        "own_total([xs])",
        lambda xs: sum(x.sum() for x in xs) + np.zeros((), xs[0].dtype),
        infer_rule=lambda xs: tg.spec((), np.result_type(*[x.dtype for x in xs])),
        vjp=dict(xs=lambda g, xs_aval: [tg.CATALOGUE["broadcast_to"](g, shape=a.shape) for a in xs_aval]),
        examples=((([(2,), (3,)],), {}), (([(2, 2)],), {})),
        doc="Sum of all.",
    )
    check(total)


def test_an_op_whose_rule_reads_its_inputs_type() -> None:
    mean = tg.op(
        "own_mean(x)",
        lambda x: np.asarray(x.sum() / max(x.size, 1), x.dtype),
        infer_rule=lambda x: tg.spec((), x.dtype),
        vjp=dict(
            x=lambda g, x_aval: tg.CATALOGUE["broadcast_to"](
                g / max(x_aval.size, 1) * (x_aval.ndim >= 0), shape=x_aval.shape
            )
        ),
        examples=((((3, 2),), {}),),
        doc="The mean.",
    )
    check(mean)


def test_infix_and_reflected_calls_of_own_ops_with_a_check() -> None:
    def refuse(a: Any, b: Any) -> None:
        if np.any(np.asarray(b) == 0):
            raise ZeroDivisionError("b must not be 0")

    ratio = tg.op(
        "own_ratio(a, b)",
        lambda a, b: a / b,
        kind="elementwise",
        check=refuse,
        doc="a / b",
        vjp=dict(a=lambda g, b: g / b, b=lambda g, b, out: -(g * out / b)),
        examples=((((2,), (2,)), {}),),
        domain={"b": (0.5, 2.0)},
    )
    check(ratio)
    assert ratio(1.0, tg.tensor([2.0])).tolist() == [0.5]
    with pytest.raises(ZeroDivisionError, match=r"own_ratio.*must not be 0"):
        ratio(tg.tensor([1.0]), 0.0)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: tg.op("own_op(x", lambda x: x), "signature"),
        (lambda: tg.op("own_op(a, b)", lambda a, b: a, vjp=dict(a=lambda g: g)), "'b' needs a derivative rule"),
        (lambda: tg.op("own_op(x)", lambda x: x, vjp=dict(x=lambda g, y: g)), "names 'y'"),
        (lambda: tg.op("exp(x)", np.exp), "declared twice"),
        (lambda: tg.op("own_op(x)", lambda x: x, kind="odd"), "kind must be"),
    ],
)
def test_wrong_declarations_are_refused(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declare()
    assert "own_op" not in tg.CATALOGUE


def test_a_rule_for_an_input_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError):
        tg.op("own_op(x)", lambda x: x, vjp=dict(x=lambda g: g, y=lambda g: g))


def test_comparisons_see_non_finite_values_first() -> None:
    nan, inf = float("nan"), float("inf")
    assert_close([1.0, nan, inf], [1.0, nan, inf])
    for got, expected in (([nan], [1.0]), ([1.0], [nan]), ([inf], [-inf]), ([inf], [nan]), ([1e308], [inf])):
        with pytest.raises(AssertionError):
            assert_close(got, expected)
    with pytest.raises(AssertionError, match="shape"):
        assert_close([1.0], 1.0)
    with pytest.raises(AssertionError):
        assert_close([nan, 1.0], [nan, 2.0])
    one = np.float32(1)
    assert_close(one + 7 * np.finfo(np.float32).eps, one)
    with pytest.raises(AssertionError, match="off by 9 ulp, allowed 8"):
        assert_close(one + 9 * np.finfo(np.float32).eps, one)
    assert_close(one + 30 * np.finfo(np.float32).eps, one, order=1)
    with pytest.raises(ValueError, match="reason"):
        assert_close(one, one, ulps=1000)
    with pytest.raises(AssertionError):
        assert_close([1e-30], [0.0])
    assert_same([nan, 0.0], [nan, 0.0])
    for got, expected in (([0.0], [-0.0]), ([1.0], [1]), ([1.0], [1.0 + 2e-16])):
        with pytest.raises(AssertionError):
            assert_same(got, expected)
    assert ULPS == {0: 8, 1: 32, 2: 256}


def test_the_cases_stay_away_from_kinks_and_ties() -> None:
    for name in ("relu", "absolute", "clip", "sort", "max", "maximum", "log", "leaky_relu"):
        op = tg.CATALOGUE[name]
        for case in examples_of(op):
            numbers = np.concatenate([a.reshape(-1) for _, a in case.places()])
            assert len(set(numbers.tolist())) == len(numbers)
            low, high = op.domain if isinstance(op.domain, tuple) else (-2.0, 2.0)
            assert ((numbers >= low) & (numbers <= high)).all()
            for kink in op.kinks:
                assert (np.abs(numbers - kink) > 0.01).all()


def test_a_custom_rule_is_told_what_is_wrong() -> None:
    w = tg.Parameter(2.0, name="w")
    x = tg.tensor([1.0, 2.0], requires_grad=True)

    def make(forward: Any, backward: Any) -> Any:
        f = tg.custom_vjp(lambda x: x)
        f.defvjp(forward, backward)
        return f

    with pytest.raises(TypeError, match="pair"):
        make(lambda x: x * 2.0, lambda r, g: (g,))(x)
    with pytest.raises(ValueError, match=r"shape of its argument, \(2,\), got \(\)"):
        make(lambda x: (x * 2.0, None), lambda r, g: (g.sum(),))(x).sum().backward()
    closing_over = make(lambda x: (x * w, x), lambda r, g: (g * w,))
    with pytest.raises(TypeError, match=r"'w' by closure.*argument"):
        closing_over(x)
    with pytest.raises(TypeError, match=r"'w' by closure.*argument"):
        tg.trace(closing_over, x)
    fine = make(lambda x: (x * 2.0, None), lambda r, g: (g * 2.0,))
    assert tg.trace(fine, x) == tg.trace(fine, x)


def test_forwards_that_do_not_keep_to_their_declaration() -> None:
    for signature, forward in (
        ("odd(x)", lambda x: (x, x)),
        ("odd(x) -> y, z", lambda x: np.array([1.0, 2.0])),
        ("odd(x) -> y, z", lambda x: (x, x, x)),
    ):
        odd = tg.op(signature, forward)
        try:
            with pytest.raises(TypeError, match="odd: the forward must return"):
                odd(tg.tensor([1.0, 2.0]))
        finally:
            tg.remove_op("odd")
    for signature in ("odd(x, *, x=2.0)", "odd(g)", "odd(x, *, impl=None)"):
        with pytest.raises(ValueError):
            tg.op(signature, lambda **k: 0, vjp=lambda g: g)
        assert "odd" not in tg.CATALOGUE


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(2,), ()])
def test_a_ufunc_that_widens_keeps_the_type_that_is_promised(dtype: str, shape: tuple[int, ...]) -> None:
    """NumPy's `float_power` gives float64 of everything."""
    widened = tg.op("widened(a, b)", np.float_power, kind="elementwise", vjp=dict(a=lambda g: g, b=0))
    x = tg.tensor(np.full(shape, 3.0, dtype), requires_grad=True)
    for y in (widened(x, x), widened(x, 2.0), widened(x, 2), widened(x.detach(), x)):
        assert y.dtype.name == dtype and y.shape == shape
        assert y._node is None or (y._node.dtype, y._node.shape) == (y.dtype, shape)


def test_results_have_the_type_of_parents_that_agree() -> None:
    """Where they do not, in shape, dtype or because one is a number, the type is that of the result."""
    rows, column, wide, number = (
        tg.tensor(a, requires_grad=True)
        for a in (np.ones((2, 3), "f4"), np.ones((2, 1), "f4"), np.ones((2, 3)), np.ones((), "f4"))
    )
    for a in (rows, column, wide, number, 2.0, 2):
        for b in (rows, column, wide, number, 2.0, 2):
            if isinstance(a, tg.Tensor) or isinstance(b, tg.Tensor):
                y = a * b
                expected = np.multiply(*[o.numpy() if isinstance(o, tg.Tensor) else o for o in (a, b)])
                assert (y.shape, y.dtype) == (y._node.shape, y._node.dtype) == (expected.shape, expected.dtype)
                z = tg.tanh(y)
                assert (z.shape, z.dtype) == (z._node.shape, z._node.dtype) == (y.shape, y.dtype)
                assert type(z._value) is np.ndarray and type(y._value) is np.ndarray


def test_an_error_keeps_nothing_alive() -> None:
    import gc
    import weakref

    gc.disable()
    try:
        x = tg.tensor(np.ones(3))
        seen = weakref.ref(x)
        try:
            tg.add(x, np.ones(4))
        except ValueError as error:
            assert "add" in str(error)
        del x
        assert seen() is None
    finally:
        gc.enable()


def test_the_tape_behind_a_checkpoint_can_be_looked_at() -> None:
    x = tg.tensor(np.ones(3), requires_grad=True)
    w = tg.Parameter(np.full(3, 2.0), name="w")
    inner = tg.checkpoint(lambda t: tg.sin(t) * w)
    y = tg.checkpoint(lambda t, c: inner(t * t) + tg.split(t, sizes=(1, 2))[0] * c)(x, 3.0).sum()
    assert tg.graph(y) == tg.graph((tg.sin(x * x) * w + tg.split(x, sizes=(1, 2))[0] * 3.0).sum())
    assert "checkpoint" not in str(tg.graph(y))
    assert "sin" in str(tg.draw(tg.graph(y))) and tg.parse(str(tg.graph(y))) == tg.graph(y)
    y.backward()
    assert w.grad.tolist() == np.sin(np.ones(3)).tolist()
    a, b, c = tg.checkpoint(lambda t: (t * 2.0, tg.argmax(t), w))(x)
    assert [eq.op.name for eq in tg.graph([a, b, c]).equations] == ["multiply"]


@pytest.mark.parametrize("f", [lambda x, w: (x * 2.0).sum(), lambda x, w: (x * x).sum(), lambda x, w: tg.sin(x + w)[0],
                               lambda x, w: tg.softmax(x * w)[0], lambda x, w: tg.concatenate([x, w]).sum(),
                               lambda x, w: tg.checkpoint(tg.sin)(x * w).sum()])  # fmt: skip
def test_a_tape_that_was_let_go_of_is_not_drawn(f: Any) -> None:
    x, w = tg.tensor([1.0, 2.0], requires_grad=True), tg.Parameter([3.0, 4.0], name="w")
    for let_go in (lambda y: y.backward(), lambda y: tg.gradients(y, x), lambda y: (y * 2).backward()):
        y = f(x, w)
        tg.graph(y)
        y.backward(retain_graph=True)
        assert str(tg.graph(y)) == str(tg.graph(f(x, w)))
        let_go(y)
        for look in (tg.graph, tg.draw, lambda y: tg.graph({"a": [y + 1]})):
            with pytest.raises(RuntimeError, match=r"test_engine_custom_ops.*a second time.*retain_graph=True"):
                look(y)
        with pytest.raises(RuntimeError, match=r"a second time.*retain_graph=True"):
            y.backward()


def test_a_text_shows_no_address() -> None:
    own = tg.op("applied(x, *, f)", lambda x, f: f(x), vjp=dict(x=lambda g: g))

    class Called:
        def __call__(self, x: Any) -> Any:
            return x * 2

    try:
        for f in (lambda x: x * 2, Called(), Called().__call__, functools.partial(lambda a, x: x * a, 2)):
            x = tg.tensor([1.0], requires_grad=True)
            for graph in (tg.graph(own(x, f=f)), tg.trace(lambda x: own(x, f=f), x)):  # noqa: B023
                shown = [
                    str(tg.diff(graph, tg.trace(lambda x: own(x, f=lambda x: x) + 1, x))),
                    str(graph),
                    str(tg.draw(graph)),
                    repr(graph),
                    str(graph.cost()),
                ]
                assert all("0x" not in text for text in shown), shown
    finally:
        tg.remove_op("applied")


def test_a_custom_forward_runs_once() -> None:
    count = tg.Buffer(0, name="count")

    def forward(x: tg.Tensor) -> Any:
        count.assign(count + 1)
        return x * 2.0, None

    f = tg.custom_vjp(lambda x: x * 2.0)
    f.defvjp(forward, lambda residuals, g: (g * 2.0,))
    x = tg.tensor(3.0, requires_grad=True)
    f(x).backward()
    assert count.item() == 1 and float(x.grad) == 2.0
    with pytest.raises(tg.TraceError, match=r"'count'.*state"):
        tg.trace(f, x)


def test_a_forward_that_refuses_ones_is_told_of_the_shape_rule() -> None:
    def factor(a: Any) -> Any:
        return np.linalg.cholesky(a)

    x = 4 * np.eye(2)
    specs = tg.spec((2, 2), "float64")
    refusing: dict[str, Any] = {
        "one": lambda **rule: tg.op("factor(a)", factor, vjp=dict(a=lambda g: g), **rule),
        "two": lambda **rule: tg.op("factor(a) -> l, m", lambda a: (factor(a), a), vjp=None, **rule),
        "fused": lambda **rule: tg.fused_op(
            "factor(a) -> l", reference=lambda a: a, forward=factor, backward=lambda want, g, a, l: (g,), **rule
        ),
        "lookup": lambda **rule: tg.op("factor(a)", lambda a: {4.0: a}[float(a[0, 0])], vjp=None, **rule),
    }
    for name, make in refusing.items():
        op = make()
        looks: list[Any] = [
            lambda op=op: tg.trace(op, specs),
            lambda op=op: tg.draw(op, specs),
            lambda op=op: tg.trace(lambda: op(x)),
            lambda: tg.parse("def f(a: f64[2, 2]):\n    l = factor(a)\n    return l\n"),
            lambda op=op: tg.graph(op(tg.tensor(x, requires_grad=True))) if name == "one" else tg.trace(op, specs),  # noqa: B023
        ]
        try:
            op(x)
            for look in looks:
                with pytest.raises((ValueError, tg.ParseError), match=r"of ones.*factor says.*infer_rule=lambda a"):
                    look()
            if name in ("one", "fused"):  # numbers of the user's own are another matter
                with pytest.raises(ValueError, match=r"positive definite$"):
                    op(-x)
        finally:
            tg.remove_op("factor")
    op = refusing["one"](infer_rule=lambda a: tg.spec(a.shape, a.dtype))
    try:
        assert tg.trace(op, specs)(x).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    finally:
        tg.remove_op("factor")


@pytest.mark.parametrize("names", ["x", "x, y"])
def test_the_shape_that_a_users_rule_gives_is_looked_at(names: str) -> None:
    wrong = op(
        f"wrong({names})", lambda *arrays: arrays[0] * 1.0, elementwise,
        vjp={name: lambda g: g[:2] for name in names.split(", ")}, doc="A product.",
    )  # fmt: skip
    tensors = [tg.tensor([1.0, 2.0, 3.0], requires_grad=True) for _ in names.split(", ")]
    with pytest.raises(ValueError, match=r"gave a gradient of shape \(2,\) for an input of shape \(3,\)"):
        wrong.public(*tensors).sum().backward()

"""The backward pass: accumulation, repeated passes, hooks, interior gradients, and what stays true after exceptions."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine import modes


def leaf(value: Any, dtype: Any = None) -> tg.Tensor:
    return tg.tensor(value, dtype=dtype, requires_grad=True)


@pytest.fixture(autouse=True)
def modes_are_restored() -> Iterator[None]:
    before = modes.current()
    yield
    assert modes.current() is before, "a test left a mode behind"


# accumulation -----------------------------------------------------------------------------------------------------


def test_gradients_add_up_over_passes_and_are_forgotten() -> None:
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0, 7.0]
    x.zero_grad()
    assert x.grad is None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


def test_an_earlier_gradient_keeps_its_numbers_when_another_pass_adds() -> None:
    x = leaf([1.0, 2.0])
    (x * x).sum().backward()
    first = x.grad
    view = first.numpy()
    (x * x).sum().backward()
    assert first.tolist() == view.tolist() == [2.0, 4.0]
    assert x.grad.tolist() == [4.0, 8.0]


def test_one_tensor_used_many_times() -> None:
    x = leaf([2.0, 3.0])
    y = x
    for _ in range(10):
        y = y + x
    y.sum().backward()
    assert x.grad.tolist() == [11.0, 11.0]


def test_fan_out_keeps_contributions_apart() -> None:
    """An engine that accumulated in place into a shared array would count twice."""
    a, b = leaf([1.0, 1.0]), leaf([1.0, 1.0])
    s = a + b  # one cotangent array goes to both
    (s * 2 + a * 3 + a * 5 + b * 7).sum().backward()
    assert a.grad.tolist() == [10.0, 10.0]
    assert b.grad.tolist() == [9.0, 9.0]
    a.grad, b.grad = None, None
    c = a + b
    d = c + c
    (d + c + a).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([4.0, 4.0], [3.0, 3.0])


def test_the_given_cotangent_is_not_written() -> None:
    x = leaf([1.0, 2.0])
    g = np.array([1.0, 1.0], np.float32)
    given = tg.tensor(g, copy=False)
    y = x + x
    y.backward(given)
    x2 = leaf([1.0, 2.0])
    x2.backward(g)
    assert g.tolist() == [1.0, 1.0]
    assert not np.shares_memory(x.grad.numpy(), g)
    assert not np.shares_memory(x2.grad.numpy(), g)
    g[:] = 7
    assert x2.grad.tolist() == [1.0, 1.0]


def test_gradients_share_memory_with_nothing() -> None:
    for create_graph in (False, True):
        a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])
        (a + b).sum().backward(create_graph=create_graph)
        assert not np.shares_memory(a.grad.numpy(), b.grad.numpy()), f"create_graph={create_graph}"
    x, v = leaf([1.0, 2.0]), tg.tensor([3.0, 4.0])
    x.grad = v
    assert not np.shares_memory(x.grad.numpy(), v.numpy())


def test_a_leaf_is_its_own_output() -> None:
    x = leaf(3.0)
    x.backward()
    assert float(x.grad) == 1.0
    assert float(tg.gradients(x, x)) == 1.0


def test_weights_of_several_outputs() -> None:
    x = leaf([1.0, 2.0, 3.0])
    parts = tg.split(x * 2, sizes=(1, 2))
    found = tg.gradients(list(parts), x, [np.array([10.0]), np.array([1.0, 2.0])])
    assert found.tolist() == [20.0, 2.0, 4.0]
    # an output that nobody uses has a zero cotangent
    parts = tg.split(x * x, sizes=(1, 1, 1))
    assert tg.gradients(parts[1], x).tolist() == [0.0, 4.0, 0.0]


# repeated passes ------------------------------------------------------------------------------------------------


def test_a_second_backward_raises_and_names_op_and_line() -> None:
    x = leaf(2.0)
    y = tg.exp(x)
    y.backward()
    with pytest.raises(RuntimeError, match=r"exp.*test_engine_backward.*second time.*retain_graph=True"):
        y.backward()
    assert float(x.grad) == pytest.approx(np.exp(2))


def test_a_second_backward_raises_for_ops_that_save_nothing() -> None:
    x = leaf(2.0)
    y = x + 1.0
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_retain_graph_allows_more() -> None:
    x = leaf(2.0)
    y = x * x * x
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    assert float(x.grad) == 36.0
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_create_graph_to_the_fourth_order() -> None:
    x = leaf(2.0, "float64")
    y = x**5
    for expected in (80.0, 160.0, 240.0, 240.0):
        y = tg.gradients(y, x, create_graph=True)
        assert float(y) == expected


def test_backward_with_create_graph_records_into_grad() -> None:
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    assert float(tg.gradients(x.grad, x)) == 18.0


def test_a_failed_pass_leaves_grad_alone() -> None:
    x, w = leaf(2.0), leaf(3.0)
    shared = tg.exp(w)
    (shared * 2).backward()
    before = w.grad
    with pytest.raises(RuntimeError, match="second time"):
        (x * x + shared).backward()
    assert x.grad is None
    assert w.grad is before


# interior and unused ----------------------------------------------------------------------------------------------


def test_gradients_of_interior_tensors() -> None:
    x = leaf([1.0, 2.0])
    h = x * 3
    k = h * h
    loss = (k * x).sum()
    d_k, d_h, d_x = tg.gradients(loss, [k, h, x])
    assert d_k.tolist() == [1.0, 2.0]
    assert d_h.tolist() == [6.0, 24.0]
    assert d_x.tolist() == [27.0, 108.0]
    assert x.grad is None


def test_unused_and_unreached_tensors_have_zero_gradients() -> None:
    x, z = leaf([1.0, 2.0]), leaf([[1.0]])
    later = x * 5
    d_z, d_later = tg.gradients((x * x).sum(), [z, later])
    assert d_z.tolist() == [[0.0]] and d_later.tolist() == [0.0, 0.0]


def test_one_x_asked_twice() -> None:
    x = leaf(3.0)
    first, second = tg.gradients(x * x, [x, x])
    assert float(first) == float(second) == 6.0


def test_trees_of_xs() -> None:
    p = {"a": leaf(2.0), "b": [leaf(3.0), (leaf(4.0),)]}
    found = tg.gradients(p["a"] * p["b"][0] * p["b"][1][0], p)
    assert float(found["a"]) == 12.0 and float(found["b"][0]) == 8.0 and float(found["b"][1][0]) == 6.0


def test_several_outputs_of_which_one_leads_nowhere() -> None:
    x = leaf([1.0, 2.0])
    constant = tg.tensor([1.0, 1.0])
    assert tg.gradients([(x * x).sum(), constant.sum()], x).tolist() == [2.0, 4.0]


# detach and no_grad ---------------------------------------------------------------------------------------------------


def test_detach_and_no_grad_cut() -> None:
    x = leaf(3.0)
    assert float(tg.gradients(x * x.detach(), x)) == 3.0
    with tg.no_grad():
        y = x * x
        with tg.enable_grad():
            z = x * x
    assert not y.requires_grad and z.requires_grad
    assert float(tg.gradients(x * y, x)) == 9.0

    @tg.no_grad()
    def inside(t: tg.Tensor) -> tg.Tensor:
        return t * t

    assert not inside(x).requires_grad and not inside(x).requires_grad


def test_transforms_under_no_grad_give_bare_tensors() -> None:
    w = tg.Parameter(2.0)
    with tg.no_grad():
        g = tg.grad(lambda x: x * w * x)(3.0)
    assert float(g) == 12.0 and not g.requires_grad


def test_integer_results_want_no_gradient() -> None:
    x = leaf([1.5, 2.5])
    for y in (tg.sum(x, dtype="int64"), x.astype("int32"), tg.argmax(x), x > 1, tg.sign(x)):
        assert not y.requires_grad, y


# hooks --------------------------------------------------------------------------------------------------------------


def test_hooks_see_the_whole_gradient_once_and_may_replace_it() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    seen: list[Any] = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    removed = y.register_hook(lambda g: g * 100)
    removed()
    y.register_hook(lambda g: g * 10)
    (y * 3 + y).sum().backward()
    assert seen == [[4.0, 4.0]]
    assert x.grad.tolist() == [80.0, 80.0]


def test_hooks_on_leaves_cells_and_outputs_of_several() -> None:
    w = tg.Parameter([1.0, 2.0])
    w.register_hook(lambda g: g * 2)
    (w * 3).sum().backward()
    assert w.grad.tolist() == [6.0, 6.0]
    x = leaf([1.0, 2.0, 3.0])
    first, _ = tg.split(x, sizes=(1, 2))
    first.register_hook(lambda g: g * 5)
    first.sum().backward()
    assert x.grad.tolist() == [5.0, 0.0, 0.0]


def test_a_hook_of_the_wrong_shape_raises() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(ValueError, match=r"hook.*\(\).*expected \(2,\)"):
        y.sum().backward()
    assert x.grad is None


def test_hooks_in_a_recorded_pass_are_differentiated() -> None:
    x = leaf(3.0)
    y = x * x
    y.register_hook(lambda g: g * x)
    dx = tg.gradients(y, x, create_graph=True)  # 2x * x
    assert float(dx) == 18.0
    assert float(tg.gradients(dx, x)) == 12.0


# exceptions ---------------------------------------------------------------------------------------------------------


class Deliberate(Exception):
    pass


def test_after_an_exception_in_a_hook_all_is_right() -> None:
    x = leaf([1.0, 2.0])
    y = x * x

    def fail(g: tg.Tensor) -> None:
        raise Deliberate

    remove = y.register_hook(fail)
    with pytest.raises(Deliberate):
        y.sum().backward(create_graph=True)
    remove()
    assert x.grad is None and modes.current().grad
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("where", ["forward", "rule"])
def test_after_an_exception_in_an_op_all_is_right(where: str) -> None:
    def forward(x: Any) -> Any:
        if where == "forward":
            raise ValueError("deliberately")
        return x * 2

    def rule(g: Any) -> Any:
        raise ValueError("deliberately")

    faulty = tg.op("faulty_op(x)", forward, vjp=dict(x=rule), infer_rule=lambda x: x, doc="Fails.")
    try:
        x = leaf([1.0, 2.0])
        with pytest.raises(ValueError, match="deliberately"):
            faulty(x).sum().backward()
        for create_graph in (False, True):
            with pytest.raises(ValueError, match="deliberately"):
                tg.gradients(faulty(x * 2).sum(), x, create_graph=create_graph)
        with pytest.raises(ValueError, match="deliberately"):
            tg.grad(lambda t: faulty(t).sum())(np.ones(2))
        assert x.grad is None
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0, 4.0]
    finally:
        tg.remove_op("faulty_op")


def test_after_an_exception_in_a_transform_all_is_right() -> None:
    def f(x: tg.Tensor) -> tg.Tensor:
        tg.grad(lambda y: x * y * y)(1.0)
        raise Deliberate

    for transform in (tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian):
        with pytest.raises(Deliberate):
            transform(f)(2.0)
    for run in (lambda: tg.vjp(f, 2.0), lambda: tg.jvp(f, (2.0,), (1.0,)), lambda: tg.trace(f, 2.0)):
        with pytest.raises(Deliberate):
            run()
    assert float(tg.grad(lambda x: x**3)(2.0)) == 12.0


def test_modes_come_back_after_exceptions() -> None:
    before = modes.current()
    for context in (
        tg.no_grad,
        tg.enable_grad,
        tg.debug_nans,
        lambda: tg.scope("a"),
        lambda: tg.implementation("composed"),
    ):
        with pytest.raises(Deliberate), context():
            raise Deliberate
        assert modes.current() is before


@pytest.mark.parametrize("uses", [15, 16, 17, 31, 33, 256, 272, 273, 400])
def test_a_value_that_is_used_often_has_a_gradient_to_its_last_digits(uses) -> None:
    """Contributions are summed in groups, in every form the same: the error does not grow with their number."""
    rng = np.random.default_rng(0)
    factors = [tg.tensor(rng.uniform(0.5, 1, 4).astype(np.float32)) for _ in range(uses)]

    def f(x):
        return tg.stack([(x * c).sum() for c in factors]).sum()

    x = np.ones(4, np.float32)
    expected = np.sum([c.numpy().astype(np.float64) for c in factors], axis=0)
    gradient = tg.grad(f)(x).numpy()
    assert np.abs(gradient - expected).max() <= 8 * np.spacing(np.float32(expected.max()))
    leaf = tg.tensor(x, requires_grad=True)
    f(leaf).backward()
    recorded = tg.gradients(f(leaf), leaf, create_graph=True)
    graph = tg.trace(tg.grad(f), x)
    second = tg.grad(lambda x: tg.grad(lambda x: f(x * x))(x).sum())(x).numpy()
    np.testing.assert_allclose(second, 2 * expected, rtol=1e-5)
    for other in (leaf.grad, recorded, graph(x), graph.differentiate()(x), graph.simplify()(x)):
        np.testing.assert_array_equal(other.numpy(), gradient)


@pytest.mark.parametrize("seed", range(6))
def test_a_node_waits_for_all_that_arrives_at_it(seed) -> None:
    """Parents of any age in either place, leaves made late, several outputs: as in the graph that is written out."""

    def f(*given):
        rng, values = np.random.default_rng(seed), [given[0]()]
        for late in given[1:]:
            for _ in range(6):
                a, b = (values[i] for i in rng.integers(len(values), size=2))
                kind = rng.integers(4)
                if kind == 0:
                    front, back = tg.chunk(a, 2)
                    values.append(tg.concatenate([back, front * b[:2]]))
                else:
                    values.append([a * b, tg.tanh(a) + b, a - b][kind - 1])
            values.insert(rng.integers(len(values)), late())
        return tg.stack(values).sum()

    arrays = np.random.default_rng(seed).uniform(-1, 1, (4, 4)).astype(np.float32)
    leaves = []

    def made(a):
        leaves.append(tg.tensor(a, requires_grad=True))
        return leaves[-1]

    f(*[functools.partial(made, a) for a in arrays]).backward()
    expected = tg.trace(tg.grad(lambda given: f(*[lambda t=t: t for t in given])), list(arrays))(list(arrays))
    for one, other in zip(leaves, expected, strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_an_error_does_not_grow_with_the_number_of_uses() -> None:
    factors = [tg.tensor(np.float32(0.1)) for _ in range(5000)]
    g = float(tg.grad(lambda x: tg.stack([x * c for c in factors]).sum())(np.float32(1)))
    assert abs(g - 5000 * float(np.float32(0.1))) <= 8 * np.spacing(np.float32(500))

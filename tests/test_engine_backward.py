"""The backward pass: accumulation, repeated passes, hooks, interior gradients, and what stays true after exceptions."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import modes


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
    for context in (tg.no_grad, tg.enable_grad, tg.debug_nans, lambda: tg.scope("a"), lambda: tg.implementation("composed")):
        with pytest.raises(Deliberate), context():
            raise Deliberate
        assert modes.current() is before


# long chains ----------------------------------------------------------------------------------------------------


N = 100_000


def long_chain() -> None:
    x = leaf(np.ones(2))
    y = x
    for _ in range(N):
        y = y * 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    del y
    y = x
    for _ in range(N):  # freed without a pass
        y = tg.tanh(y)
    del y
    y = x
    for _ in range(N // 10):  # recorded: the pass itself becomes a chain
        y = tg.sin(y)
    d = tg.gradients(y.sum(), x, create_graph=True)
    assert np.isfinite(d.numpy()).all()
    del y, d
    y = x
    for _ in range(N // 10):  # list inputs and several outputs
        (y,) = tg.split(tg.concatenate([y]), sizes=(2,))
    assert tg.gradients(y.sum(), x).tolist() == [1.0, 1.0]


def test_chains_of_a_hundred_thousand_ops() -> None:
    long_chain()


def test_chains_of_a_hundred_thousand_ops_on_a_small_stack() -> None:
    failure: list[BaseException] = []

    def run() -> None:
        try:
            long_chain()
        except BaseException as error:
            failure.append(error)

    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert not failure, failure


def test_a_long_trace() -> None:
    def f(x: tg.Tensor) -> Any:
        y = x
        for _ in range(5_000):
            y = y * 1.0
        return tg.gradients(y, x)

    graph = tg.trace(f, leaf(2.0))
    assert float(graph(3.0)) == 1.0
    assert hash(graph) == hash(tg.trace(f, leaf(2.0)))


# threads ------------------------------------------------------------------------------------------------------


def in_threads(work: Callable[[int], None], count: int = 4) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_threads_build_and_differentiate_their_own_graphs() -> None:
    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(30):
            a = rng.normal(size=(5, 5))
            x = leaf(a)
            h = x
            for _ in range(10):
                h = tg.tanh(h @ x)
            h.sum().backward(create_graph=bool(number % 2))
            y = leaf(a)
            k = y
            for _ in range(10):
                k = tg.tanh(k @ y)
            assert np.array_equal(tg.gradients(k.sum(), y).numpy(), x.grad.numpy())
            if number == 0:
                tg.trace(lambda t: (t @ t).sum(), tg.f64[5, 5])

    in_threads(work)


def test_threads_accumulate_into_one_parameter() -> None:
    w = tg.Parameter(np.zeros(100), name="w")

    def work(number: int) -> None:
        for _ in range(200):
            (w * 1.0).sum().backward()

    in_threads(work)
    assert w.grad.tolist() == [800.0] * 100


def test_a_mode_stays_in_its_thread() -> None:
    inside = threading.Event()
    seen: list[bool] = []

    def other() -> None:
        inside.wait()
        seen.append((leaf(2.0) * 2).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    with tg.no_grad():
        inside.set()
        thread.join()
    assert seen == [True]


# memory -------------------------------------------------------------------------------------------------------


def graph_dies(run: Callable[[tg.Tensor, tg.Tensor], Any]) -> bool:
    """Whether an interior node is freed without the garbage collector once `run` is over."""
    gc.collect()
    gc.disable()
    try:
        x = leaf(np.ones((3, 4)))
        y = x * 2
        node = weakref.ref(y._node)
        result = run(x, y)
        x.grad = None
        del y, result
        return node() is None
    finally:
        gc.enable()


RUNS: dict[str, Callable[[tg.Tensor, tg.Tensor], Any]] = {
    "no pass": lambda x, y: (y * y).sum(),
    "backward": lambda x, y: (y * y).sum().backward(),
    "backward twice": lambda x, y: (lambda z: (z.backward(retain_graph=True), z.backward()))((y * y).sum()),
    "create_graph": lambda x, y: (y * y).sum().backward(create_graph=True),
    "gradients": lambda x, y: tg.gradients((y * y).sum(), x),
    "gradients recorded": lambda x, y: tg.gradients((y * y).sum(), [x, y], create_graph=True),
    "several outputs": lambda x, y: tg.gradients(tg.split(y, sizes=(1, 2))[0].sum(), x),
    "several outputs recorded": lambda x, y: tg.gradients(tg.split(y, sizes=(1, 2))[0].sum(), x, create_graph=True),
    "list input": lambda x, y: tg.gradients(tg.concatenate([y, y]).sum(), x),
    "fused": lambda x, y: tg.gradients(tg.softmax(y).sum(), x),
    "fused recorded": lambda x, y: tg.gradients((tg.log_softmax(y) * y).sum(), x, create_graph=True),
    "fused with several outputs": lambda x, y: tg.gradients(
        tg.batch_norm(y, tg.ones((4,)), tg.zeros((4,)))[0].sum(), x, create_graph=True
    ),
    "nested grad": lambda x, y: tg.grad(lambda t: (t * tg.grad(lambda u: (u * t * y).sum())(t)).sum())(x),
    "jvp": lambda x, y: tg.jvp(lambda t: t * y * t, (y,), (x,)),
    "hook": lambda x, y: (y.register_hook(lambda g: g * 2), (y * y).sum().backward()),
    "traced": lambda x, y: tg.trace(lambda t: (t * y).sum(), y)(y),
}


@pytest.mark.parametrize("name", list(RUNS))
def test_memory_is_freed_without_the_garbage_collector(name: str) -> None:
    assert graph_dies(RUNS[name])


def test_a_hook_that_knows_its_tensor_is_collected() -> None:
    def make() -> Any:
        x = leaf([1.0, 2.0])
        y = x * 2

        def hook(g: tg.Tensor) -> tg.Tensor:
            return g * y.detach()

        y.register_hook(hook)
        y.sum().backward()
        return weakref.ref(y)

    reference = make()
    gc.collect()
    assert reference() is None


def test_evaluated_graphs_keep_nothing() -> None:
    w = tg.Parameter(np.ones(3), name="w")

    def step(x: tg.Tensor) -> tg.Tensor:
        y = x * w
        w.assign(w + tg.gradients(y.sum(), w))
        return y

    graph = tg.trace(step, tg.f64[3])
    bound = graph.bind(w)
    gc.collect()
    gc.disable()
    try:
        out = bound(np.ones(3))
        alive = weakref.ref(out._value)
        del out
        assert alive() is None
    finally:
        gc.enable()


def test_a_pass_frees_what_it_needs_no_more() -> None:
    x = leaf(np.ones(3))
    y = tg.exp(x)
    z = tg.exp(y)
    saved = weakref.ref(z._value)
    loss = z.sum()
    del z
    assert saved() is not None  # the rule of exp names its output
    loss.backward()
    assert saved() is None


def test_a_node_holds_no_output_that_no_rule_names() -> None:
    x = leaf(np.ones(3))
    y = x + 1.0
    value = weakref.ref(y._value)
    z = y + 1.0
    del y
    assert value() is None and z.requires_grad

"""Long chains, threads, and memory: nothing recurses, nothing is shared between threads, nothing is kept too long."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg


def leaf(value: Any, dtype: Any = None) -> tg.Tensor:
    return tg.tensor(value, dtype=dtype, requires_grad=True)


# long chains ----------------------------------------------------------------------------------------------------


def long_chain(n: int) -> None:
    x = leaf(np.ones(2))
    y = x
    for _ in range(n):
        y = y * 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    del y
    y = x
    for _ in range(n):  # freed without a pass
        y = tg.tanh(y)
    del y
    y = x
    for _ in range(n // 10):  # recorded: the pass itself becomes a chain
        y = tg.sin(y)
    d = tg.gradients(y.sum(), x, create_graph=True)
    assert np.isfinite(d.numpy()).all()
    del y, d
    y = x
    for _ in range(n // 20):  # list inputs and several outputs
        (y,) = tg.split(tg.concatenate([y]), sizes=(2,))
    assert tg.gradients(y.sum(), x).tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_chains_of_a_hundred_thousand_ops() -> None:
    long_chain(100_000)


def test_long_chains_on_a_small_stack() -> None:
    failure: list[BaseException] = []

    def run() -> None:
        try:
            long_chain(20_000)
        except BaseException as error:
            failure.append(error)

    # Python itself frees some hundred objects in each other before it defers, for which 3.13 takes half of this
    before = threading.stack_size(1024 * 1024)
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

"""Traces: what is recorded, what is refused and with which remedy, and that nothing live is touched."""

import contextlib
import copy
import pickle
import re
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph.engine import modes
from tensorgraph.engine.aval import Number

Pair = namedtuple("Pair", "a b")


def test_structure_of_arguments_and_results() -> None:
    def f(p: Any, q: Any) -> Any:
        return {"sum": p["w"] + q.a, "list": [q.b, (p["v"][0],)], "n": 3, "none": None, "pair": Pair(q.a, 2.5)}

    p, q = {"w": tg.ones((2,)), "v": [tg.ones(())]}, Pair(tg.ones((2,)), np.float64(2.0))
    graph = tg.trace(f, p, q)
    out = graph(p, q)
    assert out["sum"].tolist() == [2.0, 2.0] and out["n"] == 3 and out["none"] is None
    assert type(out["pair"]) is Pair and out["pair"].b == 2.5 and float(out["list"][1][0]) == 1.0
    with pytest.raises(TypeError, match="nested"):
        graph(q, p)
    with pytest.raises(TypeError, match=r"f takes 2 arguments \(p, q\), got 1"):
        graph(p)


def test_statics_are_baked_and_compared() -> None:
    def f(x: Any, mode: str, flag: bool, nothing: None) -> Any:
        assert nothing is None
        return x * (2.0 if mode == "double" else 3.0) if flag else x

    graph = tg.trace(f, 1.0, "double", True, None)
    assert float(graph(5.0, "double", True, None)) == 10.0
    for wrong in (
        ("triple", True, None),
        ("double", False, None),
        ("double", 1, None),
        ("double", True, np.ones(2)),
        ("double", True, tg.ones((2,))),
        (np.ones(2), True, None),
    ):
        with pytest.raises((ValueError, TypeError), match=r"static.*trace again|nested"):
            graph(5.0, *wrong)


def test_wrong_types_name_the_remedy() -> None:
    graph = tg.trace(lambda x, n: x * n, tg.f32[2], tg.i64[()])
    assert graph(np.ones(2, np.float32), 3).tolist() == [3.0, 3.0]
    with pytest.raises(ValueError, match=r"argument x: .*f32\[2\], got f64\[2\].*astype"):
        graph(np.ones(2), 3)
    with pytest.raises(ValueError, match=r"argument x: .*f32\[2\], got f32\[3\].*trace the function again"):
        graph(np.ones(3, np.float32), 3)
    for wrong in (2.7, np.float64(2.0), "3", None):
        with pytest.raises((ValueError, TypeError)):
            graph(np.ones(2, np.float32), wrong)


def test_state_is_checked() -> None:
    w, n = tg.Parameter(np.ones(2, np.float32), name="w"), tg.Buffer(3, name="n")
    graph = tg.trace(lambda x: x * w * n, tg.f32[2])
    x = np.ones(2, np.float32)
    good = {"w": np.ones(2, np.float32), "n": 4}
    out, state = graph(x, state=good)
    assert out.tolist() == [4.0, 4.0] and state["n"].dtype == np.int64
    for change in ({"w": np.ones(2)}, {"w": np.ones(3, np.float32)}, {"n": 2.7}, {"n": np.float64(2.0)}):
        with pytest.raises((ValueError, TypeError)):
            graph(x, state=good | change)
    with pytest.raises(KeyError, match="lacks the cell w"):
        graph(x, state={"n": 4})
    with pytest.raises(KeyError, match="no such cell: z"):
        graph(x, state=good | {"z": 1})
    with pytest.raises(TypeError, match=r"2 cells.*state=.*bind"):
        graph(x)


def line_of(marker: str) -> int:
    """The line of this file that holds a marker."""
    with open(__file__, encoding="utf-8") as file:
        return next(n for n, text in enumerate(file, 1) if f"# {marker}\n" in text and "line_of" not in text)


@pytest.mark.parametrize("traced", [lambda f: tg.trace(f, tg.f32[()]), lambda f: tg.trace(tg.grad(f), tg.f32[()])])
def test_branching_names_the_line_and_the_remedy(traced: Any) -> None:
    def f(x: Any) -> Any:
        if x > 0:  # branch
            return x
        return -x

    with pytest.raises(tg.TraceError, match=r"tensorgraph\.where") as caught:
        traced(f)
    assert f"test_trace_basics.py:{line_of('branch')}" in str(caught.value)
    assert not tg.is_tracing()


NEEDS: dict[str, Any] = {
    "float": float,
    "int": int,
    "bool": bool,
    "index": lambda x: [1, 2][x.astype("int64")],
    "item": lambda x: x.item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "asarray": np.asarray,
    "while": lambda x: 1 if x else 2,
    "and": lambda x: x and x,
    "not": lambda x: not x,
    "max": lambda x: max(x, 0.0),
    "in": lambda x: 1.0 in tg.stack([x]),
    "sorted": lambda x: sorted([x, x]),
    "range": lambda x: range(x.astype("int64")),
    "format": lambda x: f"{x:.2f}",
    "np.array": lambda x: np.array([x, x]),
    "write into array": lambda x: np.zeros(2).__setitem__(0, x),
    "dlpack": lambda x: np.from_dlpack(x),
    "pickle": lambda x: __import__("pickle").dumps(x),
    "deepcopy": copy.deepcopy,
    "attribute": lambda x: tg.leaky_relu(tg.ones(()), slope=x),
    "mask": lambda x: tg.ones((3,))[tg.stack([x, x, x]) > 0],
    "new leaf": lambda x: tg.tensor(x, requires_grad=True),
    "graph in trace": lambda x: tg.trace(lambda y: y, 1.0)(x),
    "hook": lambda x: x.register_hook(print),
    "math": lambda x: __import__("math").exp(x),
}


@pytest.mark.parametrize("name", list(NEEDS))
def test_what_needs_numbers_raises_and_leaves_no_trace_behind(name: str) -> None:
    before = modes.current()
    with pytest.raises((tg.TraceError, TypeError, ValueError)) as caught:
        tg.trace(lambda x: (NEEDS[name](x), x)[1], tg.f32[()])
    if type(caught.value) is ValueError:  # NumPy's own words, with ours as the cause
        assert isinstance(caught.value.__cause__, tg.TraceError)
    assert modes.current() is before
    assert float(tg.ones(()) + 1) == 2.0


def leaked() -> tg.Tensor:
    kept: list[tg.Tensor] = []
    tg.trace(lambda x: (kept.append(x * 2.0), x)[1], tg.f32[3])
    return kept[0]


LEAKS: dict[str, Any] = {
    "add": lambda t: t + 1.0,
    "multiply": lambda t: t * t,
    "equal": lambda t: t == tg.ones((3,)),
    "not equal": lambda t: t != 1.0,
    "logical_not": lambda t: tg.logical_not(t),
    "logical_and": lambda t: tg.logical_and(t, t),
    "logical_or": lambda t: tg.logical_or(t, True),
    "less": lambda t: t < 1,
    "exp": lambda t: tg.exp(t),
    "maximum": lambda t: tg.maximum(t, 0.0),
    "isnan": lambda t: tg.isnan(t),
    "where": lambda t: tg.where(t > 0, t, t),
    "sum": lambda t: t.sum(),
    "any": lambda t: t.any(),
    "argmax": lambda t: t.argmax(),
    "matmul": lambda t: t @ t,
    "getitem": lambda t: t[0],
    "reshape": lambda t: t.reshape(1, 3),
    "concatenate": lambda t: tg.concatenate([t, t]),
    "softmax": lambda t: tg.softmax(t),
    "numpy": lambda t: t.numpy(),
    "np.exp": np.exp,
    "np.asarray": np.asarray,
    "np.add": lambda t: np.ones(3) + t,
    "assign": lambda t: tg.Parameter(np.ones(3, np.float32)).assign(t),
    "backward": lambda t: t.sum().backward(),
    "grad": lambda t: tg.grad(lambda x: (x * t).sum())(np.ones(3, np.float32)),
    "another trace": lambda t: tg.trace(lambda x: x * t, tg.f32[3]),
    "cell": lambda t: tg.Buffer(t),
    "tensor": lambda t: tg.tensor(t),
    "as an argument": lambda t: tg.trace(lambda x: x, tg.f32[3])(t),
    "sign": lambda t: tg.sign(t),
    "clip": lambda t: t.clip(0.0, 1.0),
    "power": lambda t: t**2,
    "compare arrays": lambda t: np.ones(3) == t,
}


@pytest.mark.parametrize("name", list(LEAKS))
def test_leaked_values_raise(name: str) -> None:
    with pytest.raises(tg.TraceError, match=re.compile("trace", re.I)):
        LEAKS[name](leaked())


def test_traces_do_not_nest() -> None:
    with pytest.raises(tg.TraceError, match="call the function itself"):
        tg.trace(lambda x: tg.trace(lambda y: y, x), 1.0)


def test_live_state_is_untouched_also_after_an_exception() -> None:
    w = tg.Parameter(np.ones(2), name="w")
    b = tg.Buffer(0, name="b")
    (w * 3).sum().backward()
    grad, value, own = w.grad, w.tolist(), w._value

    def step(fail: bool) -> Any:
        w.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        w.assign(w - 0.1 * w.grad)
        b.assign(b + 1)
        w.grad = None
        if fail:
            raise KeyError("deliberately")
        return loss

    for fail in (True, False):
        if fail:
            with pytest.raises(KeyError):
                tg.trace(step, fail)
        else:
            tg.trace(step, fail)
        assert (
            w.grad is grad and grad.tolist() == [3.0, 3.0] and w.tolist() == value and w._value is own and b.item() == 0
        )
        assert not tg.is_tracing()
    tg.random.seed(0)
    state = tg.random.state().tolist()
    tg.trace(lambda: tg.random.normal((2,)))
    assert tg.random.state().tolist() == state


def test_a_failing_step_changes_nothing() -> None:
    w, log = tg.Parameter(np.ones(2), name="w"), tg.Buffer(0, name="log")

    def step(labels: Any) -> Any:
        log.assign(log + 1)
        w.assign(w * 2.0)
        return tg.softmax_cross_entropy(tg.stack([w, w]), labels)

    bound = tg.trace(step, np.array([0, 1])).bind(w, log)
    with pytest.raises((ValueError, IndexError)):
        bound(np.array([0, 7]))
    assert w.tolist() == [1.0, 1.0] and log.item() == 0
    bound(np.array([0, 1]))
    assert w.tolist() == [2.0, 2.0] and log.item() == 1


def test_writes_are_committed_together() -> None:
    a, b = tg.Buffer([1.0], name="a"), tg.Buffer([2.0], name="b")

    def swap() -> Any:
        old = a.read()
        a.assign(b)
        b.assign(old)
        return a + 0.0, b + 0.0

    bound = tg.trace(swap).bind(a, b)
    out = bound()
    assert (out[0].tolist(), out[1].tolist()) == ([2.0], [1.0])
    assert (a.tolist(), b.tolist()) == ([2.0], [1.0])
    bound()
    assert (a.tolist(), b.tolist()) == ([1.0], [2.0])


def test_what_a_graph_returns_keeps_its_numbers() -> None:
    w = tg.Parameter(np.ones(2), name="w")
    bound = tg.trace(lambda: (w.assign(w + 1.0), w.read(), w.reshape(2, 1))[1:]).bind(w)
    first = bound()
    kept = [t.tolist() for t in first]
    bound()
    assert [t.tolist() for t in first] == kept == [[2.0, 2.0], [[2.0], [2.0]]]


def test_cells_need_distinct_names_or_say_so() -> None:
    a, b = tg.Parameter(1.0, name="w"), tg.Parameter(2.0, name="w")
    nameless = tg.Parameter(3.0)
    for f, owners, expected in ((lambda: a + b * 10, (a, b), 21.0), (lambda: nameless * 2, (nameless,), 6.0)):
        try:
            result = tg.trace(f).bind(*owners)()
        except (KeyError, ValueError) as error:
            assert "name" in str(error) or "path" in str(error) or "cell" in str(error)
        else:
            assert float(result) == expected
    try:
        result = tg.trace(lambda: a * 1.0).bind(a, b)()
    except (KeyError, ValueError):
        pass
    else:
        assert float(result) == 1.0


def test_requires_grad_is_not_switched_by_a_trace() -> None:
    w = tg.Parameter(1.0, name="w")
    with contextlib.suppress(tg.TraceError):
        tg.trace(lambda x: (w.requires_grad_(False), x * w)[1], 1.0)
    assert w.requires_grad


def test_detached_and_captured_tensors_are_different_things() -> None:
    """A tensor and its detached twin hold one array."""
    x = tg.tensor(3.0, requires_grad=True)
    d = x.detach()
    for f, expected in (
        (lambda: x * d, 3.0),
        (lambda: d * x, 3.0),
        (lambda: d * d * x, 9.0),
        (lambda: tg.alias(x) * d, 3.0),
    ):
        assert float(tg.gradients(f(), x)) == expected
        assert float(tg.trace(lambda f=f: tg.gradients(f(), x))()) == expected


def test_history_from_outside_is_not_lost_silently() -> None:
    """What a captured tensor was computed from is out of a trace's reach: the same gradient as eagerly, or an error."""
    x = tg.tensor(3.0, requires_grad=True)
    h = x * x
    w = tg.Parameter(2.0, name="w")
    r = w.read()

    def by_backward() -> Any:
        x.zero_grad()
        (h * 2.0).backward(retain_graph=True)
        return x.grad

    for f, state in (
        (lambda: tg.gradients(h * h, x, retain_graph=True), None),
        (lambda: tg.gradients(h * x, x, retain_graph=True), None),
        (by_backward, None),
        (lambda: tg.gradients(w * r, w), {"w": 2.0}),
        (lambda: tg.gradients(r * r, w), {"w": 2.0}),
    ):
        expected = float(f())
        try:
            graph = tg.trace(f)
            found = graph(state=state) if graph.cells else graph()
        except (tg.TraceError, RuntimeError) as error:
            assert "trace" in str(error)
            continue
        assert float(found[0] if graph.cells else found) == expected
    # with respect to the captured tensor itself all is known
    assert float(tg.trace(lambda: tg.gradients(h * h, h))()) == 18.0


def test_no_grad_and_detach_survive_a_trace() -> None:
    w = tg.Parameter(3.0, name="w")

    def f() -> Any:
        with tg.no_grad():
            frozen = w * w
        return tg.gradients(w * frozen + w.detach() * w * w, w)

    assert float(f()) == 9.0 + 18.0
    graph = tg.trace(f)
    assert float(graph(state={"w": 3.0})[0]) == 27.0
    assert "stop_gradient" in str(graph)


def test_a_cell_read_after_its_write() -> None:
    """The step goes on with the written value; a gradient asked for the cell is of all its uses, as eagerly."""
    w = tg.Parameter(1.0, name="w")

    def f() -> Any:
        before = w * 2.0
        w.assign(w + 4.0)
        after = w * w
        return before + after, tg.gradients(before + after, w)

    value, gradient = f()
    assert float(value) == 27.0
    w.assign(1.0)
    (traced_value, traced_gradient), state = tg.trace(f)(state={"w": 1.0})
    assert float(traced_value) == 27.0 and float(state["w"]) == 5.0
    assert float(traced_gradient) == float(gradient)


def test_python_numbers_are_weak_inputs() -> None:
    graph = tg.trace(lambda x, n: x * n, 2.0, 3)
    assert [v.aval for v in graph.inputs] == [Number(float), Number(int)]
    assert graph(2.5, 4) == 10.0


def test_equality_of_graphs() -> None:
    def of(f: Any, *specs: Any) -> Any:
        return tg.trace(f, *specs)

    base = of(lambda x: x * 2.0, tg.f32[2])
    assert base == of(lambda renamed: renamed * 2.0, tg.f32[2])
    assert hash(base) == hash(of(lambda renamed: renamed * 2.0, tg.f32[2]))
    assert base == of(lambda x: x * np.float64(2.0), tg.f32[2])
    different = [
        of(lambda x: x * 2, tg.f32[2]),
        of(lambda x: x * 2.0, tg.f32[3]),
        of(lambda x: x * 2.0, tg.f64[2]),
        of(lambda x: 2.0 * x, tg.f32[2]),
        of(lambda x: (x * 2.0,), tg.f32[2]),
        of(lambda x: [x * 2.0], tg.f32[2]),
        of(lambda x: x * True, tg.f32[2]),
        of(lambda x: x * np.array(2.0, np.float32), tg.f32[2]),
        of(lambda x: x + 2.0, tg.f32[2]),
        of(lambda x: x * 0.0, tg.f32[2]),
        of(lambda x: x * -0.0, tg.f32[2]),
        of(lambda x: x * float("nan"), tg.f32[2]),
    ]
    assert len({base, *different}) == len(different) + 1
    assert of(lambda x: x * float("nan"), tg.f32[2]) == different[-1]
    assert of(lambda x: x * np.ones(2), tg.f64[2]) == of(lambda x: x * np.ones(2), tg.f64[2])
    assert of(lambda x: x * np.ones(2), tg.f64[2]) != of(lambda x: x * np.zeros(2), tg.f64[2])
    assert base != "a graph"


def test_constants_are_snapshots() -> None:
    array = np.ones(2)
    graph = tg.trace(lambda x: x * array, tg.f64[2])
    array[:] = 9
    assert graph(np.ones(2)).tolist() == [1.0, 1.0]
    for held in graph.consts.values():
        with pytest.raises(ValueError, match="read-only"):
            held[0] = 5


def test_random_draws_are_pure_and_commit_their_state() -> None:
    tg.random.seed(3)
    eager = [tg.random.normal((3,)).tolist() for _ in range(4)]
    tg.random.seed(3)
    bound = tg.trace(lambda: (tg.random.normal((3,)), tg.random.normal((3,)))).bind()
    drawn = [t.tolist() for _ in range(2) for t in bound()]
    assert drawn == eager


@pytest.mark.parametrize("cell", [tg.Buffer(0.0, name="b"), tg.Parameter(0.0, name="p", requires_grad=False)])
def test_a_value_that_went_through_a_cell_has_no_history(cell: Any) -> None:
    x = tg.tensor(3.0, requires_grad=True)

    def f(x: Any) -> Any:
        cell.assign(x * x)
        return tg.gradients(cell * x, x)

    eager = float(f(x))
    assert eager == 9.0
    found, state = tg.trace(f, x)(x, state={cell.path: 0.0})
    assert float(found) == eager and float(state[cell.path]) == 9.0


def test_a_graph_does_not_change_and_is_not_pickled() -> None:
    graph = tg.trace(lambda x: {"a": x.sum(axis=0) + np.arange(3.0)}, tg.f64[2, 3])
    with pytest.raises(TypeError):
        graph.equations[0].attrs["axis"] = 1
    with pytest.raises(TypeError):
        graph.consts[graph.inputs[0]] = np.zeros(3)
    with pytest.raises(AttributeError):
        graph.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        next(iter(graph.consts.values()))[0] = 1.0
    with pytest.raises(TypeError, match=r"not pickled: graph\.save"):
        pickle.dumps(graph)
    assert copy.deepcopy(graph) is graph and copy.copy(graph) is graph

"""Rewriting with attributes that are free: what both sides take by name alone."""

import pytest

import tensorgraph as tg


def ops(graph):
    return [eq.op.name for eq in graph.equations]


def axes(graph, name):
    return [eq.attrs["axis"] for eq in graph.equations if eq.op.name == name]


def before(x, *, axis):
    return tg.softmax(x, axis=axis)


def after(x, *, axis):
    return tg.exp(tg.log_softmax(x, axis=axis))


def both(x):
    return tg.softmax(x, axis=0) * tg.softmax(x, axis=1) + tg.softmax(x)


TABLE = tg.f32[4, 5]


@pytest.mark.parametrize("exact", [True, False])
def test_any_axis_is_met_and_passed_on(exact):
    graph = tg.trace(both, TABLE)
    changed = graph.rewrite(before, after, exact=exact).check()
    assert axes(changed, "log_softmax") == [0, 1, -1] and "softmax" not in ops(changed)
    told = str(changed.explain())
    assert all(f"axis={axis}" in told for axis in (0, 1, -1))
    assert changed.rewrite(before, after, exact=exact) == changed


def test_other_names_and_other_spellings():
    def spelled(x):
        e = tg.exp(x - x.max(axis=0, keepdims=True))
        return e / e.sum(axis=0, keepdims=True)

    graph = tg.trace(spelled, TABLE)
    changed = graph.rewrite(lambda x, *, A: tg.softmax(x, axis=A), lambda x, *, A: tg.exp(tg.log_softmax(x, axis=A)))
    assert axes(changed, "log_softmax") == [0] and "by behaviour; A=0" in str(changed.explain())


@pytest.mark.parametrize(
    ("function", "old", "new", "count"),
    [
        (
            lambda x: x.reshape(5, 4) + 1.0,
            lambda x, *, shape: x.reshape(shape), lambda x, *, shape: tg.alias(x.reshape(shape)), 1,
        ),
        (lambda x: x[1] + x[2], lambda x, *, key: x[key], lambda x, *, key: tg.alias(x[key]), 2),
        (
            lambda x: x.astype("float64"),
            lambda x, *, dtype: x.astype(dtype), lambda x, *, dtype: tg.alias(x.astype(dtype)), 1,
        ),
        (
            lambda x: x.sum() + x.sum(axis=0),
            lambda x, *, axis: x.sum(axis=axis), lambda x, *, axis: tg.alias(x.sum(axis=axis)), 2,
        ),
        (
            lambda x: x.sum(axis=0, keepdims=True) + x.sum(axis=1),
            lambda x, *, axis, keepdims: x.sum(axis=axis, keepdims=keepdims),
            lambda x, *, axis, keepdims: tg.alias(x.sum(axis=axis, keepdims=keepdims)), 2,
        ),
    ],
)  # fmt: skip
def test_attributes_of_every_kind(function, old, new, count):
    graph = tg.trace(function, tg.f32[4, 4] if count == 2 else TABLE)
    changed = graph.rewrite(old, new, exact=True).check()
    assert ops(changed).count("alias") == count


def test_a_small_number_too():
    def old(x, w, b, *, eps):
        return tg.layer_norm(x, w, b, eps=eps)[0]

    def new(x, w, b, *, eps):
        off = x - x.mean(axis=-1, keepdims=True)
        return off / tg.sqrt((off**2).mean(axis=-1, keepdims=True) + eps) * w + b

    graph = tg.trace(lambda x, w, b: old(x, w, b, eps=1e-3) + old(x, w, b, eps=1e-5), TABLE, tg.f32[5], tg.f32[5])
    changed = graph.rewrite(old, new)
    assert "layer_norm" not in ops(changed)
    assert "0.001" in str(changed) and "1e-05" in str(changed)


def test_a_side_that_fits_one_axis_only_is_refused_at_others():
    graph = tg.trace(both, TABLE)
    changed = graph.rewrite(before, lambda x: tg.exp(tg.log_softmax(x)))
    assert ops(changed).count("log_softmax") == 2 and axes(changed, "softmax") == [0]
    assert "refused" in str(changed.explain())


def test_what_has_a_default_keeps_it():
    graph = tg.trace(both, TABLE)
    changed = graph.rewrite(lambda x, *, axis=0: tg.softmax(x, axis=axis), lambda x: tg.exp(tg.log_softmax(x, axis=0)))
    assert axes(changed, "log_softmax") == [0] and axes(changed, "softmax") == [1, -1]


def test_in_a_loop():
    def f(x):
        return tg.scan(lambda h, r: (tg.softmax(h + r, axis=0), h), tg.zeros((4, 5)), x)

    graph = tg.trace(f, tg.f32[3, 4, 5])
    (loop,) = [eq for eq in graph.rewrite(before, after).equations if eq.bodies()]
    assert axes(loop.attrs["body"], "log_softmax") == [0]


def test_what_does_not_fit_is_refused():
    graph = tg.trace(both, TABLE)
    for old, new, words in [
        (lambda x: tg.softmax(x), after, "after needs axis by name, and before says nothing of it"),
        (before, lambda x, *, along: x, r"after needs along by name.*it has axis"),
        (lambda x, *, axis: tg.exp(x), lambda x: x, "before gives axis to no attribute of an op"),
        (lambda x, *, a, b, c, d, e, f: tg.softmax(x, axis=a), lambda x: x, "could be anything: call what before"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=words):
            graph.rewrite(old, new)
    assert "no occurrence" in str(graph.rewrite(lambda x, *, k: x[k], lambda x, *, k: x[k]).explain())
    assert tg.trace(lambda x: x, TABLE).rewrite(before, after).equations == ()


def test_a_template():
    changed = tg.trace(both, tg.f32["N", 5]).rewrite(before, after)
    assert axes(changed.at(N=3), "log_softmax") == [0, 1, -1]

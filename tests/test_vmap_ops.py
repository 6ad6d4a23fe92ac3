"""`tg.vmap` of ops with options, with a rule or without, equal to a loop."""

import itertools

import numpy as np
import pytest
from vmap_loops import assert_trees, loop, numbers

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.testing import assert_same

# ops without a rule ------------------------------------------------------------------------------------------------


def test_an_op_without_a_rule_raises_or_loops():
    halve = tg.op(
        "halve(x)", lambda x: x / 2, infer_rule=lambda x: x, vjp=dict(x=lambda g: halve(g)), doc="Half of x.",
        examples=((((3,),), {}),),
    )  # fmt: skip
    x, layer = numbers(3, 2), nn.Dropout(0.5, seed=0)
    try:
        with pytest.raises(NotImplementedError):
            tg.vmap(lambda x: halve(layer(x)))(x)
        assert layer.state.tolist()[2] == 0
        for f in (halve, tg.grad(lambda x: halve(x).sum())):
            with pytest.raises(NotImplementedError, match=r"halve has no batching rule.*batch=.*fallback=\"loop\""):
                tg.vmap(f)(x)
            assert_trees(tg.vmap(f, fallback="loop")(x), loop(f)(x))
            assert_trees(tg.trace(tg.vmap(f, fallback="loop"), x)(x), loop(f)(x))
    finally:
        tg.remove_op("halve")


def test_an_op_that_is_declared_again_is_another():
    x = numbers(3, 2)

    def declare(k):
        return tg.op("times(x)", lambda x: x * k, kind="elementwise", doc="k times x.")

    for k in (2.0, 3.0):
        times = declare(k)
        assert_same(tg.vmap(lambda x, times=times: times(x))(x).numpy(), x.numpy() * k)
        tg.remove_op("times")


# ops with options --------------------------------------------------------------------------------------------------

OPTIONS = [
    o for o in itertools.product(
        (False, True), ("none", "sum", "mean", "batchmean"), (None, "shared", "own"), (None, -1), (0.0, 0.1),
        ("zero", "nan"), ((0, 0), (0, None), (None, 0)), (-1, 0),
    )
    if not (o[0] and o[3] is not None)
]  # fmt: skip


@pytest.mark.sampled(quick=30, test=120)
@pytest.mark.filterwarnings("ignore:softmax_cross_entropy. no label counts")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_cross_entropy_with_every_option(options):
    soft, reduction, weights, ignored, smoothing, empty, axes, axis = options
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(3, 4, 5)), rng.integers(0, 5, (3, 4))
    if ignored is not None:
        target[rng.random((3, 4)) < 0.3] = ignored
        target[1], logits[1, 0, 0] = ignored, np.nan  # an example in which nothing counts
    if soft:
        target = rng.random((3, 4, 5))
    if axis == 0:
        logits, target = (a if a.ndim == 2 else np.swapaxes(a, 1, 2).copy() for a in (logits, target))
    args = [tg.tensor(a if k == 0 else a[0]) for a, k in zip((logits, target), axes, strict=True)]
    if weights is not None:
        weight = np.abs(rng.normal(size=(3, 5)))
        args.append(tg.tensor(weight if weights == "own" else weight[0]))
        axes = (*axes, 0 if weights == "own" else None)

    def value(*args):
        return tg.softmax_cross_entropy(
            *args, axis=axis, ignore_index=ignored, label_smoothing=smoothing, reduction=reduction, empty=empty
        )

    def gradients(*args):
        floats = [i for i, a in enumerate(args) if a.dtype.kind == "f"]
        full = dict(enumerate(args))
        out, pullback = tg.vjp(
            lambda *f: value(*(full | dict(zip(floats, f, strict=True))).values()), *[args[i] for i in floats]
        )
        return pullback(tg.ones(out.shape, dtype="float64") * 0.7)

    for f in (value, gradients):
        assert_trees(tg.vmap(f, axes)(*args), loop(f, axes)(*args), ulps=64)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("axes", [(0, None, None), (0, 0, None), (0, None, 0), (None, 0, 0), (0, 0, 0)])
@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 1, 5)])
def test_layer_norm_and_its_gradients(dtype, axes, shape):
    args = [
        numbers(*(3,) * (k == 0), *s, seed=i, dtype=dtype)
        for i, (k, s) in enumerate(zip(axes, (shape, (5,), (5,)), strict=True))
    ]

    def both(*args):
        outs, pullback = tg.vjp(tg.layer_norm, *args)
        return outs, pullback(tg.tree_map(lambda t: t * 0.5 + 1, outs))

    ulps = 64 if dtype == "f2" else 512
    assert_trees(tg.vmap(tg.layer_norm, axes)(*args), loop(tg.layer_norm, axes)(*args), ulps=4)
    assert_trees(tg.vmap(both, axes)(*args), loop(both, axes)(*args), ulps=ulps)


def test_running_averages_side_by_side_keep_out_what_is_not_finite():
    layer = nn.BatchNorm(2)
    f, parameters, state = tg.functional(layer, state=True)
    x = numbers(3, 4, 2, dtype="f4").numpy().copy()
    x[1, 0, 0] = np.inf
    with pytest.warns(RuntimeWarning, match="NaN or an infinity"):
        _, after = tg.vmap(f, (None, None, 0))(parameters, state, x)
    with pytest.warns(RuntimeWarning, match="NaN or an infinity"):
        expected = [f(parameters, state, x[i])[1] for i in range(3)]
    for path, value in after.items():
        assert_same(value.numpy(), np.stack([e[path].numpy() for e in expected]), path)

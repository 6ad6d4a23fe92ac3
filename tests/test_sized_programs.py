"""Random programs on a batch of any size: as templates, and compiled for one size and run at others."""

import numpy as np
import pytest
from effort import examples
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.text import SizeError

WEIGHT = tg.tensor(np.random.default_rng(0).normal(size=(4, 4)).astype("float32"))
LAYER = nn.Sequential(nn.Linear(4, 4, seed=1), nn.LayerNorm(4), nn.GELU(), nn.Dropout(0.3, seed=2))


def helper(a, b):
    mixed = tg.tanh(a) * b
    return {"sum": mixed + a, "both": [mixed, b]}


def turns(a):
    for i in range(3):
        a = a * 0.5 + float(i)
    return a


STATEMENTS = {  # of values of shape (N, 4)
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a * tg.sigmoid(b),
    "dense": lambda a, b: a @ WEIGHT + b,
    "layer": lambda a, b: LAYER(a),
    "centred": lambda a, b: a - b.mean(axis=0),
    "moments": lambda a, b: (a - a.mean(axis=0)) / (a.var(axis=0) + 1.0) ** 0.5,
    "softmax": lambda a, b: tg.softmax(a) - tg.logsumexp(b, axis=1, keepdims=True),
    "gram": lambda a, b: a @ (a.T @ b),
    "rows": lambda a, b: tg.where(a > b, a, b.max(axis=1, keepdims=True)),
    "shaped": lambda a, b: (a.reshape(-1, 2) * 2.0).reshape(a.shape),
    "turned": lambda a, b: tg.flip(a, axis=0) + tg.roll(b, 1, axis=1),
    "joined": lambda a, b: tg.concatenate([a, b], axis=1)[:, 1:5],
    "containers": lambda a, b: helper(a, b)["both"][0] + helper(b, a)["sum"],
    "loop": lambda a, b: turns(a) + b,
    "mapped": lambda a, b: tg.vmap(lambda row: row * row.sum())(a) + b,
    "derivative": lambda a, b: tg.grad(lambda v: (tg.tanh(v) * b).sum())(a),
    "count": lambda a, b: a / a.shape[0] + b,
    "halves": lambda a, b: a + b[: b.shape[0] // 2].sum(axis=0),
    "front": lambda a, b: tg.concatenate([a, b])[: a.shape[0]],
    "order": lambda a, b: a + tg.arange(a.shape[0])[:, None] * 0.1 + b,
    "branch": lambda a, b: a * 2.0 if a.shape[0] > 40 else b,
    "grown": lambda a, b: sum(a[i] for i in range(a.shape[0])) + b,
    "captured": lambda a, b: a + np.linspace(0.0, 1.0, a.shape[0], dtype="float32")[:, None],
}


LOOK = {"grown", "captured"}


@st.composite
def programs(choose):
    """Names of statements, each with the numbers of the values that it takes; whether there is a gradient."""
    steps = []
    for n in range(choose(st.integers(1, 6))):
        name = choose(st.sampled_from(list(STATEMENTS)))
        steps.append((name, choose(st.integers(0, n + 1)), choose(st.integers(0, n + 1))))
    return steps, choose(st.booleans())


def function_of(program):
    steps, differentiated = program

    def forward(x, y):
        values = [x, y]
        for name, a, b in steps:
            values.append(STATEMENTS[name](values[a], values[b]))
        return values[-1]

    if not differentiated:
        return forward
    return tg.value_and_grad(lambda x, y: (forward(x, y) ** 2).mean())


def batch(n):
    rng = np.random.default_rng(n)
    return [tg.tensor(rng.normal(size=(n, 4)).astype("float32")) for _ in range(2)]


@given(programs())
@examples(60)
def test_as_a_template(program):
    function = function_of(program)
    try:
        template = tg.trace(function, tg.f32["N", 4], tg.f32["N", 4])
    except SizeError as error:
        assert {name for name, _, _ in program[0]} & {"branch", "grown", "captured"}
        assert ".py:" in str(error) and any(remedy in str(error) for remedy in ("trace each size", "Make it inside"))
        return
    again = tg.parse(str(template), template.arrays)
    assert again == template and str(again) == str(template)
    for n in (3, 23, 64):
        try:
            graph = template.at(N=n)
        except SizeError as error:  # what only a larger size shows
            assert "branch" in [name for name, _, _ in program[0]] and "at N=64" in str(error)
            continue
        assert graph == tg.trace(function, tg.f32[n, 4], tg.f32[n, 4]) == again.at(N=n)
    for method in ("simplify",) if "grown" in [name for name, _, _ in program[0]] else ("differentiate", "simplify"):
        lifted = getattr(template, method)()
        assert tg.parse(str(lifted), lifted.arrays) == lifted


@given(programs())
@examples(60)
def test_compiled_and_run_at_other_sizes(program):
    function = function_of(program)
    compiled = tg.compile(function)
    names = {name for name, _, _ in program[0]}
    LAYER.eval()
    try:
        for n in (37, 23, 64):
            given, expected = (listed(f(*batch(n))) for f in (compiled, function))
            for a, b in zip(given, expected, strict=True):
                scale = max(1.0, np.abs(b.numpy()).max())
                assert np.isfinite(scale)
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3, atol=2e-4 * scale)
            fresh = tg.compile(function)
            fresh(*batch(n))
            assert compiled.graph == fresh.graph
        if not names & {"mapped", "branch"}:  # one looks where its result is used, the other may meet both sides
            assert compiled.stats.resized == (0 if names & LOOK else 2)
    finally:
        LAYER.train()


def listed(results):
    return results if isinstance(results, tuple) else (tg.tensor(results),)


def test_a_statement_is_what_it_says():
    with pytest.raises(SizeError):
        tg.trace(function_of(([("captured", 0, 1)], False)), tg.f32["N", 4], tg.f32["N", 4])

"""Loops over a size in templates: printed as loops, and equal to the function at every size."""

import numpy as np
import pytest

import tensorgraph as tg
from tensorgraph import nn, optim
from tensorgraph.text.aligned import logical_lines
from tensorgraph.text.rolling import loops_of

RNG = np.random.default_rng(0)
INPUT = tg.Parameter(RNG.normal(size=(3, 16)).astype("float32"))
HIDDEN = tg.Parameter(RNG.normal(size=(4, 16)).astype("float32"))


def lstm(x):
    h = c = tg.zeros((x.shape[0], 4))
    for t in range(x.shape[1]):
        z = x[:, t] @ INPUT + h @ HIDDEN
        i, f, g, o = (z[:, 4 * k : 4 * k + 4] for k in range(4))
        c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
        h = tg.sigmoid(o) * tg.tanh(c)
    return h


def rows(x):
    s = tg.zeros(3)
    for row in x:
        s = s + row
    return s


def both_ways(x):
    h, hs = tg.zeros(3), []
    for t in range(x.shape[0]):
        h = tg.tanh(x[t] + h)
        hs.append(h)
    g = tg.zeros(3)
    for t in reversed(range(x.shape[0])):
        g = g * 0.5 + hs[t] * (t + 1)
    return g + hs[0] + h


def differences(x):
    s = x[0] * 0.0
    for t in range(1, x.shape[0]):
        s = s + (x[t] - x[t - 1]) ** 2 / x.shape[0]
    return s


def exchanged(x):
    a, b = tg.zeros(3), tg.ones(3)
    for t in range(x.shape[0]):
        a, b = b + x[t], a * 2.0
    return a - b


def layers(x):
    hs = [x[:, t] for t in range(x.shape[1])]
    for _ in range(2):
        h, new = tg.zeros((x.shape[0], 3)), []
        for each in hs:
            h = tg.tanh(each + h * 0.5)
            new.append(h)
        hs = new
    return tg.stack(hs[::-1], axis=1)


FUNCTIONS = {
    "lstm": (lstm, [tg.f32["N", "T", 3]]),
    "sum": (lambda x: sum(x[i] for i in range(x.shape[0])), [tg.f32["N"]]),
    "rows": (rows, [tg.f32["N", 3]]),
    "stacked": (lambda x: tg.stack([x[i] * float(i) for i in range(x.shape[0])]), [tg.f32["N", 3]]),
    "both ways": (both_ways, [tg.f32["T", 3]]),
    "differences": (differences, [tg.f32["T", 3]]),
    "exchanged": (exchanged, [tg.f32["T", 3]]),
    "layers": (layers, [tg.f32["N", "T", 3]]),
    "pairs": (lambda x: sum(x[2 * i] * x[2 * i + 1] for i in range(x.shape[0] // 2)), [tg.f32["N"]]),
    "gradient": (tg.grad(lambda x: (lstm(x) ** 2).sum()), [tg.f32["N", "T", 3]]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_loop_over_a_size_is_one_in_the_text(name):
    function, types = FUNCTIONS[name]
    template = tg.trace(function, *types)
    assert ":\n        " in str(template) and "for t in range(" in str(template)
    again = tg.parse(str(template), template.arrays)
    assert again == template and hash(again) == hash(template) and str(again) == str(template)
    for n in (4, 5, 9, 30):
        sizes = {dim: n + k for k, dim in enumerate(template.dims)}
        assert template.at(**sizes) == tg.trace(function, *[t.at(**sizes) for t in types]) == again.at(**sizes), sizes
    x = RNG.normal(size=types[0].at(**sizes).shape).astype("float32")
    expected = function(tg.tensor(x)).numpy()
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(template.bind()(x).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(test=6, quick=2)
@pytest.mark.parametrize("name", ["lstm", "layers", "both ways"])
@pytest.mark.parametrize("method", ["simplify", "recognise", "expand"])
def test_passes_keep_the_loops(name, method):
    function, types = FUNCTIONS[name]
    template = tg.trace(function, *types)
    after = getattr(template, method)()
    assert "for t in range(" in str(after) and tg.parse(str(after), after.arrays) == after
    sizes = {dim: 6 + k for k, dim in enumerate(template.dims)}
    assert after.at(**sizes) == getattr(template.at(**sizes), method)()


def test_a_step_with_a_loop():
    cell, head = nn.LSTMCell(3, 4, seed=0), nn.Linear(4, 2, seed=1)
    adam = optim.Adam([*cell.parameters(), *head.parameters()], lr=0.01)

    def step(x, y):
        h = c = tg.zeros((x.shape[0], 4))
        for t in range(x.shape[1]):
            h, c = cell(x[:, t], (h, c))
        loss = tg.mse(head(h), y)
        adam.minimize(loss)
        return loss

    template = tg.trace(step, tg.f32["N", "T", 3], tg.f32["N", 2])
    text = str(template)
    assert all(f"def {name}(" in text for name in ("Linear", "Adam", "step")) and "range(T):" in text
    assert tg.parse(text) == template and str(tg.parse(text)) == text and max(map(len, text.split("\n"))) <= 110
    assert template.at(N=5, T=4) == tg.trace(step, tg.f32[5, 4, 3], tg.f32[5, 2])
    assert template.cost().flops(N=3, T=9) == template.at(N=3, T=9).cost().flops
    run = template.bind()
    losses = [run(np.ones((n, t, 3), "float32"), np.ones((n, 2), "float32")).item() for n, t in [(4, 3), (6, 9)] * 9]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    written = template.differentiate()
    assert written.at(N=2, T=3) == template.at(N=2, T=3).differentiate()


def nested(x):
    h = tg.zeros(3)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            h = tg.tanh(h * 0.5 + x[i, j])
    return h


def test_loops_over_two_sizes_stand_in_each_other():
    template = tg.trace(nested, tg.f32["N", "M", 3])
    assert "for t in range(N):\n        for k in range(M):\n            h = tanh(h * 0.5 + x[t, k])" in str(template)
    for n, m in ((4, 3), (2, 30)):  # few turns in many, and many in few
        assert template.at(N=n, M=m) == tg.trace(nested, tg.f32[n, m, 3]) == tg.parse(str(template)).at(N=n, M=m)


@pytest.mark.parametrize("shape", [(5, 4), (6, 20)])
def test_what_grows_with_several_loops(shape):
    def function(x):
        h, hs = x[0], []
        for i in range(shape[0]):
            for j in range(shape[1]):
                h = tg.sin(h + x[3 * i + j] * x[40 - j])
            hs.append(h)
        return tg.stack(hs)

    graph = tg.trace(function, tg.f32[41])
    assert "x[3 * t + k] * x[40 - k]" in str(graph) and "hs.append(h)" in str(graph)
    assert tg.parse(str(graph)) == graph


def test_what_repeats_but_not_with_a_size_stays_written_out():
    def function(x):
        for _ in range(5):
            x = tg.tanh(x * 0.5)
        return sum(x[i] for i in range(x.shape[0]))

    text = tg.trace(function, tg.f32["N"]).text(flat=True)
    assert text.count("tanh(") == 5 and text.count("for ") == 1


def test_what_is_a_number_at_first_is_a_value_afterwards():
    text = str(tg.trace(lambda x: sum(x[i] * x[i + 1] for i in range(x.shape[0] - 1)), tg.f32["N"]))
    assert " = 0\n    for t in range(N-1):\n" in text


def test_names_of_sizes_are_bound_where_a_function_reads_them():
    def total(rows):
        return sum(row * 2.0 for row in rows["x"])

    template = tg.trace(lambda given: total(given[0]) + total(given[0]), [{"x": tg.f32["N", 3]}])
    text = str(template)
    assert "def total(rows):\n    N = rows[" in text and text.count("for ") == 1 and tg.parse(text) == template
    names = tg.text.namespace()
    exec(f"from __future__ import annotations\n{text}", names)
    x = tg.tensor(RNG.normal(size=(4, 3)).astype("float32"))
    given = [{"x": x}]
    assert names[template.name](given).tolist() == template(given).tolist()


def test_lines_that_go_on_in_brackets_are_one():
    assert logical_lines('f(\n    "a(",\n    [1, 2],\n)\ny = (\n    a + b\n)') == ['f("a(", [1, 2])', "y = (a + b)"]


def test_loops_are_found_from_the_front():
    graph = tg.trace(both_ways, tg.f32[7, 3])
    assert [(loop.length, loop.turns) for loop in loops_of(graph.equations)] == [(3, 7), (3, 7)]
    assert loops_of(tg.trace(lambda x: tg.exp(tg.tanh(x)), tg.f32[3]).equations) == []
    chain = tg.trace(lambda x: tg.tanh(tg.tanh(tg.tanh(tg.tanh(x)))), tg.f32[3])
    assert [tuple(loop) for loop in loops_of(chain.equations)] == [(0, 1, 4)]

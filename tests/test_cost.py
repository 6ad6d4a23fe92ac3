"""What a graph costs: counts against those made by hand, memory against what evaluating it allocates."""

import math
import re

import numpy as np
import pytest
from cost_graphs import numbers, traced

import tensorgraph as tg
from tensorgraph import nn
from tensorgraph.analysis.cost import binary, si
from tensorgraph.engine.op import CATALOGUE

F32 = 4

# counts made by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "flops"),
    [
        ((64, 784), (784, 256), 2 * 64 * 784 * 256),
        ((3,), (3, 5), 2 * 3 * 5),
        ((4, 3), (3,), 2 * 4 * 3),
        ((7,), (7,), 2 * 7),
        ((8, 4, 3), (8, 3, 5), 8 * 2 * 4 * 3 * 5),
        ((8, 4, 3), (3, 5), 8 * 2 * 4 * 3 * 5),
        ((0, 3), (3, 5), 0),
    ],
)
def test_a_matrix_product_is_two_m_k_n(a, b, flops):
    cost = traced(lambda x, y: x @ y, a, b).cost()
    assert cost.flops == flops
    assert cost.bytes_read == F32 * (math.prod(a) + math.prod(b))


def test_a_multilayer_perceptron():
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    cost = tg.trace(model, tg.spec((8, 20))).cost()
    first, relu, second = 2 * 8 * 20 * 30 + 8 * 30, 8 * 30, 2 * 8 * 30 * 5 + 8 * 5
    assert cost.flops == first + relu + second
    rows = {row.scope: row for row in cost.by_scope()}
    assert [*rows] == ["", "0", "1", "2"]
    assert [rows[s].flops for s in ("", "0", "1", "2")] == [first + relu + second, first, relu, second]
    assert rows["0"].bytes_read == F32 * (8 * 20 + 20 * 30) + F32 * (8 * 30 + 30)
    assert rows["0"].bytes_written == 2 * F32 * 8 * 30
    assert cost.cells == F32 * (20 * 30 + 30 + 30 * 5 + 5)
    assert (cost.inputs, cost.consts) == (F32 * 8 * 20, 0)
    assert cost.intensity == cost.flops / (cost.bytes_read + cost.bytes_written)
    assert [row.op for row in cost.by_op()] == ["matmul", "add", "relu"]


def test_batch_norm_softmax_and_cross_entropy():
    n, c = 32, 10
    x, labels, q = tg.spec((n, c)), tg.spec((n,), "int64"), tg.spec((n, c))
    channel = tg.spec((c,))
    assert traced(lambda x, a, b: tg.batch_norm(x, a, b), x, channel, channel).cost().flops == 7 * n * c + 5 * c
    assert traced(tg.softmax, x).cost().flops == 5 * n * c
    assert traced(tg.log_softmax, x).cost().flops == 5 * n * c
    # maximum, difference, exponential, sum; the logarithm, lse - z at the target, the sum and the mean's
    assert traced(tg.softmax_cross_entropy, x, labels).cost().flops == 4 * n * c + 4 * n
    # every class has a share: lse - z, times q, summed
    assert traced(tg.softmax_cross_entropy, x, q).cost().flops == 7 * n * c + 2 * n


def test_reductions_count_what_they_read_and_elementwise_ops_what_they_write():
    assert traced(lambda x: x.sum(axis=0), (4, 5)).cost().flops == 20
    assert traced(lambda x: x.mean(axis=0), (4, 5)).cost().flops == 25
    assert traced(lambda x: x.max(), (4, 5)).cost().flops == 20
    assert traced(lambda x: tg.logsumexp(x, axis=1), (4, 5)).cost().flops == 4 * 20 + 2 * 4
    assert traced(lambda x, y: x + y, (4, 1), (1, 5)).cost().flops == 20
    assert traced(lambda x: tg.clip(x, a_min=0.0), (4, 5)).cost().flops == 20
    assert traced(lambda x: tg.clip(x, a_min=0.0, a_max=1.0), (4, 5)).cost().flops == 40
    assert traced(tg.sigmoid, (4, 5)).cost().flops == 4 * 20  # 1 / (1 + exp(-x))


def test_moving_numbers_costs_no_flops():
    def moves(x):
        y = tg.concatenate([x.T.reshape(-1), x.reshape(-1)])
        return tg.pad(y[::2], widths=((1, 1),)).astype("float64"), tg.zeros(shape=(3,))

    cost = traced(moves, (4, 5)).cost()
    assert cost.flops == 0
    by_op = {row.op: row for row in cost.by_op()}
    # the first reshape lies across a transposition, so it copies; the second one and every other view is free
    assert (by_op["reshape"].bytes_read, by_op["reshape"].bytes_written) == (80, 80)
    assert by_op["transpose"].bytes_read == by_op["getitem"].bytes_written == 0
    assert by_op["zeros"].bytes_written == 12
    assert math.isnan(traced(lambda x: x.T, (4, 5)).cost().intensity)


def test_a_gather_reads_what_it_gives():
    table, rows = tg.spec((1000, 8)), tg.spec((5,), "int64")
    (eq,) = tg.trace(lambda t, i: t[i], table, rows).cost().equations
    assert (eq.flops, eq.bytes_read, eq.bytes_written) == (0, 5 * 8 * 4 + 5 * 8, 5 * 8 * 4)


def test_the_same_operand_twice_is_read_once():
    (eq,) = traced(lambda x: x * x, (10,)).cost().equations
    assert eq.bytes_read == eq.bytes_written == 40


def test_a_users_fused_op_costs_what_its_reference_costs():
    twice = tg.fused_op(
        "twice_and_one(x) -> y",
        reference=lambda x: x * 2.0 + 1.0,
        forward=lambda x: x * 2 + 1,
        backward=lambda want, g, x, y: (2 * g,),
        infer_rule=lambda x: x,
    )
    try:
        assert traced(twice, (6,)).cost().flops == 12
        assert traced(lambda x: CATALOGUE["twice_and_one_vjp"].public(x, x, x, want=(True,)), (6,)).cost().flops == 24
    finally:
        tg.remove_op("twice_and_one")


def test_a_function_with_a_rule_of_its_own_costs_what_is_in_it():
    f = tg.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (tg.exp(x * 2.0), None), lambda kept, g: (g,))
    cost = traced(lambda x: f(x) + 1.0, (1000,)).cost()
    assert [eq.flops for eq in cost.equations] == [2000, 1000]
    assert cost.peak.bytes == 8000


FUSED = [op.name for op in CATALOGUE.values() if op.reference and op.examples]
# their references look at the largest element first
CAREFUL = ("softmax", "log_softmax", "softmax_cross_entropy", "scaled_dot_product_attention")


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_op_counts_what_its_reference_does_without_the_care_for_rounding(name):
    op = CATALOGUE[name]
    for shapes, attrs in op.examples:
        args = [v if v is None else tg.tensor(v) if isinstance(v, np.ndarray) else numbers(*v) for v in shapes]
        graph = tg.trace(lambda *a, attrs=attrs: op.public(*a, **attrs), *args)
        if not any(out.aval.size for out in graph.outputs):  # of nothing, only positions are computed
            continue
        fused, reference = graph.cost().flops, graph.expand().cost().flops
        assert fused <= reference <= (6.0 if name in CAREFUL else 1.5) * fused


def test_every_op_has_a_count_that_is_a_number():
    for op in CATALOGUE.values():
        assert op.flops is None or callable(op.flops) or op.flops >= 0, op
        assert callable(op.scratch) or op.scratch >= 0, op


# how it reads --------------------------------------------------------------------------------------------------------


def test_the_table_reads():
    inner = nn.Sequential(nn.Linear(10, 10, seed=0), nn.ReLU())
    model = nn.Sequential(inner, nn.Linear(10, 1000, seed=1))
    text = str(tg.trace(model, tg.spec((1000, 10))).cost())
    lines = text.splitlines()
    assert re.fullmatch(r"Sequential: 21.2 MFLOPs, [\d.]+ MiB moved, [\d.]+ FLOPs a byte", lines[0])
    assert "arguments 39.1 KiB" in lines[1] and "equation" in lines[1] and "test_cost.py:" in lines[1]
    assert [line.split()[0] for line in lines[3:] if not line.startswith("-")] == [
        "definition", "Sequential_2", "Linear", "ReLU", "Linear", "total",
    ]  # fmt: skip
    assert "  Linear" in text and "  ReLU" in text
    assert len({len(line) for line in lines[3:]}) == 1, "columns are aligned"
    assert "gradient" not in text
    shallow = tg.trace(model, tg.spec((1000, 10))).cost().table(depth=1)
    assert "  Linear" not in shallow and "Sequential_2" in shallow
    assert "matmul" in str(tg.trace(model, tg.spec((1000, 10))).cost().peak)


@pytest.mark.parametrize(
    ("number", "decimal", "power"),
    [(0, "0 ", "0 B"), (999, "999 ", "999 B"), (1000, "1 k", "1000 B"), (1024, "1.02 k", "1.0 KiB"),
     (999_700, "1 M", "976.3 KiB"), (3 << 40, "3.3 T", "3.0 TiB")],
)  # fmt: skip
def test_units(number, decimal, power):
    assert (si(number), binary(number)) == (decimal, power)


def test_a_graph_read_from_the_tape_has_a_cost_too():
    x = tg.tensor(np.ones((3, 4), np.float32), requires_grad=True)
    cost = tg.graph((x @ tg.ones((4, 2)) + 3.0).sum()).cost()
    assert [eq.flops for eq in cost.equations] == [2 * 3 * 4 * 2, 6, 6]


def test_gradients_that_nobody_reads_cost_a_recurrent_layer_nothing() -> None:
    lstm = nn.LSTM(8, 16)

    def weights(x):
        return tg.gradients(lstm(x)[0].sum(), [*lstm.parameters()])

    def inputs(x):
        return tg.grad(lambda x: lstm(x)[0].sum())(x)

    of_weights, of_inputs = (
        next(o.flops for o in tg.trace(f, tg.ones((2, 5, 8))).transform().cost().by_op() if o.op == "lstm_vjp")
        for f in (weights, inputs)
    )
    rows, width = 2 * 5, 4 * 16
    product, recurrent, gates = 2 * rows * 8 * width, 2 * rows * 16 * width, rows * 30 * 16
    assert of_weights == product + 2 * recurrent + rows * width + gates
    assert of_inputs == product + recurrent + gates

"""Values and derivatives at infinity and at the origin are limits where there is one, without NaN and warnings."""

import numpy as np
import pytest

import tensorgraph as tg

INF = np.inf
floats = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
ENDS = {
    "silu": (-0.0, INF), "gelu": (-0.0, INF), "mish": (-0.0, INF), "hardswish": (-0.0, INF), "softsign": (-1.0, 1.0),
}  # fmt: skip


@floats
@pytest.mark.parametrize("many", [1, 300])
@pytest.mark.parametrize("name", [*ENDS, "gelu tanh"])
def test_activations_at_infinity(name, many, dtype) -> None:
    function = getattr(tg, name.split()[0])
    attrs = dict(approximate="tanh") if "tanh" in name else {}
    x = tg.tensor(np.array([-INF, INF] * many, dtype), requires_grad=True)
    ends = ENDS[name.split()[0]]
    for f in (lambda x: function(x, **attrs), tg.trace(lambda x: function(x, **attrs), x)):
        y = f(x)
        assert np.array_equal(y.numpy(), np.array(ends * many, dtype))
        assert np.array_equal(np.signbit(y.numpy()), [True, False] * many)
        (slope,) = tg.gradients(y, [x], np.ones(2 * many, dtype))
        assert np.array_equal(slope.numpy(), [0, 1 if ends[1] == INF else 0] * many)
    for end in (-INF, INF):
        second = tg.hessian(lambda x: function(x, **attrs))(tg.tensor(np.array(end, dtype)))
        assert abs(second.item()) < 1e-4
    assert np.isnan(function(tg.tensor(np.array(np.nan, dtype)), **attrs).item())


@floats
@pytest.mark.parametrize(("a", "b", "angle", "length"), [
    (0.0, 0.0, (0, 0), (0, 0)), (INF, 1.0, (0, 0), (1, 0)), (-INF, 1.0, (0, 0), (-1, 0)),
    (1.0, INF, (0, 0), (0, 1)), (1.0, -INF, (0, 0), (0, -1)),
])  # fmt: skip
def test_angles_and_lengths(a, b, angle, length, dtype) -> None:
    point = tuple(tg.tensor(np.array(v, dtype)) for v in (a, b))
    for function, slopes in ((tg.atan2, angle), (tg.hypot, length)):
        assert tuple(g.item() for g in tg.grad(function, argnums=(0, 1))(*point)) == slopes
        traced = tg.trace(tg.grad(function, argnums=(0, 1)), *point)
        assert tuple(g.item() for g in traced(*point)) == slopes
        second = tg.hessian(lambda v, function=function: function(v[0], v[1]))(tg.stack(point))
        assert not second.numpy().any()

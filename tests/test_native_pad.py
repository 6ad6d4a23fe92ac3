"""Borders as kernels: every bit of NumPy's."""

import numpy as np
import pytest
from native_calls import Run, every_how

import tensorgraph as tg
from tensorgraph.engine.op import CATALOGUE
from tensorgraph.native import machine

PAD = CATALOGUE["pad"]
BORDERS = {
    "a line": ((5,), ((2, 3),)),
    "longer than the line": ((3,), ((7, 5),)),
    "one element": ((1, 2), ((2, 1), (3, 0))),
    "images": ((2, 3, 5, 4), ((0, 0), (0, 0), (2, 1), (1, 3))),
    "every axis": ((3, 2, 18), ((1, 2), (1, 0), (17, 5))),
    "none": ((2, 3), ((0, 0), (0, 0))),
    "empty": ((0, 3), ((0, 0), (1, 2))),
}


@every_how
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "edge", "wrap"])
def test_borders(mode, dtype, how):
    for name, (shape, widths) in BORDERS.items():
        x = (np.random.default_rng(0).normal(size=shape) * 9).astype(dtype)
        for given in (x, np.asfortranarray(x), np.repeat(x, 2, -1)[..., ::2], x[..., ::-1]):
            attrs = dict(widths=widths, mode=mode, value=1.0)
            want = PAD.forward(given, **attrs)
            got = Run(PAD.native_rule(), (given,), [(want.shape, dtype)], attrs, *how)
            assert got.took
            np.testing.assert_array_equal(got.outputs[0], want, err_msg=name)


@pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
@pytest.mark.parametrize("mode", ["reflect", "wrap"])
def test_gradients_of_borders_run_as_kernels(mode):
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype("float32")
    weights = np.random.default_rng(1).normal(size=(2, 3, 9, 9)).astype("float32")

    def loss(x):
        return (tg.pad(x, ((0, 0), (0, 0), (1, 2), (3, 1)), mode=mode) * weights).sum()

    compiled = tg.compile(tg.grad(loss))
    found, expected = compiled(x).numpy(), tg.grad(loss)(tg.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo("float32").eps * np.abs(expected).max())
    assert "NumPy  " not in compiled.explain()

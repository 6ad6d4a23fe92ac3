"""Random kernels leave the same bits as machine code and over NumPy: whatever stands beside and within what."""

import numpy as np
import pytest
from native_runs import WIDTHS, both
from random_kernels import TWIST, Writer

from tensorgraph.native import machine
from tensorgraph.native.kernel import from_text

pytestmark = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(40))
def test_random_kernels(seed, dtype):
    body, places = Writer(seed).body()
    width = WIDTHS[seed % len(WIDTHS)]
    x = np.random.default_rng(seed).normal(size=64).astype(dtype)
    x[seed % 5 :: 7] = [(0.0, -0.0, np.inf, np.nan, 3.0)[seed % 5]] * len(x[seed % 5 :: 7])
    y = np.zeros(places * width // x.itemsize, dtype)
    for n, m in ((5, -3), (0, 11)):
        one, two = both(body, x, y, n, m, width, dtype, twist=from_text(TWIST, {}))
        same = (one.view(f"i{x.itemsize}") == two.view(f"i{x.itemsize}")) | (np.isnan(one) & np.isnan(two))
        assert same.all(), f"{body}\nat {np.flatnonzero(~same)}: {one[~same]} and {two[~same]}"

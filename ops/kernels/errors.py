"""The error function and its complement, in loops that vectorise and on arrays.

The plan: (1) below 27/32, erf x = x + x R(x²); (2) up to 5/4, erf x = c + R(|x| - 1); (3) beyond, in two pieces,
erfc x = exp(-x² - 9/16 + R(1/x²)) / x, where x is taken apart so that the first part of x² is exact; (4) all pieces are
computed, each of numbers in which it is at home, and one is selected, of the rational functions R before they are
divided. These are those of Sun's fdlibm (freely granted), right to a unit in the last place of float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgraph.jit import Helper, formula, helper, variants
from tensorgraph.ops.kernels.bits import bits, from_bits, select, size32, size64
from tensorgraph.ops.kernels.exponentials import exp_low_sum
from tensorgraph.ops.kernels.libm import sqrt

__all__ = ["erf", "erfc", "head", "ndtr", "size"]


@helper
def _head32(x: Any) -> Any:
    """x in less than half as many digits, so that its square has some to spare, float32."""
    return from_bits(np.int32(bits(x) & np.int32(-0x2000)))


@helper
def _head64(x: Any) -> Any:
    """x in half as many digits, float64."""
    return from_bits(np.int64(bits(x) & np.int64(-0x100000000)))


size: Helper = variants("size", size32, size64)
head: Helper = variants("head", _head32, _head64)


@formula
def _quotient(a: Any, inner: Any, one: Any, outer: Any) -> Any:
    """R of the piece that a lies in, of x, of |x| - 1 or of 1/|x|, which are harmless numbers where they are not used:
    one division for all, as divisions take most of the time."""
    z = inner * inner
    p = -2.37630166566501626084e-05 * z + -5.77027029648944159157e-03
    p = p * z + -2.84817495755985104766e-02
    p = p * z + -3.25042107247001499370e-01
    p = p * z + 1.28379167095512558561e-01
    q = -3.96022827877536812320e-06 * z + 1.32494738004321644526e-04
    q = q * z + 5.08130628187576562776e-03
    q = q * z + 6.50222499887672944485e-02
    q = q * z + 3.97917223959155352819e-01
    q = q * z + 1.0
    t = -2.16637559486879084300e-03 * one + 3.54783043256182359371e-02
    t = t * one + -1.10894694282396677476e-01
    t = t * one + 3.18346619901161753674e-01
    t = t * one + -3.72207876035701323847e-01
    t = t * one + 4.14856118683748331666e-01
    t = t * one + -2.36211856075265944077e-03
    u = 1.19844998467991074170e-02 * one + 1.36370839120290507362e-02
    u = u * one + 1.26171219808761642112e-01
    u = u * one + 7.18286544141962662868e-02
    u = u * one + 5.40397917702171048937e-01
    u = u * one + 1.06420880400844228286e-01
    u = u * one + 1.0
    s = outer * outer
    v = -9.81432934416914548592e00 * s + -8.12874355063065934246e01
    v = v * s + -1.84605092906711035994e02
    v = v * s + -1.62396669462573470355e02
    v = v * s + -6.23753324503260060396e01
    v = v * s + -1.05586262253232909814e01
    v = v * s + -6.93858572707181764372e-01
    v = v * s + -9.86494403484714822705e-03
    w = -6.04244152148580987438e-02 * s + 6.57024977031928170135e00
    w = w * s + 1.08635005541779435134e02
    w = w * s + 4.29008140027567833386e02
    w = w * s + 6.45387271733267880336e02
    w = w * s + 4.34565877475229228821e02
    w = w * s + 1.37657754143519042600e02
    w = w * s + 1.96512716674392571292e01
    w = w * s + 1.0
    f = -4.83519191608651397019e02 * s + -1.02509513161107724954e03
    f = f * s + -6.37566443368389627722e02
    f = f * s + -1.60636384855821916062e02
    f = f * s + -1.77579549177547519889e01
    f = f * s + -7.99283237680523006574e-01
    f = f * s + -9.86494292470009928597e-03
    g = -2.24409524465858183362e01 * s + 4.74528541206955367215e02
    g = g * s + 2.55305040643316442583e03
    g = g * s + 3.19985821950859553908e03
    g = g * s + 1.53672958608443695994e03
    g = g * s + 3.25792512996573918826e02
    g = g * s + 3.03380607434824582924e01
    g = g * s + 1.0
    near = a < 2.857142857142857
    far, below = select(near, v, f), select(near, w, g)
    far, below = select(a < 1.25, t, far), select(a < 1.25, u, below)
    return select(a < 0.84375, p, far) / select(a < 0.84375, q, below)


@formula
def _pieces(x: Any, end: Any) -> Any:
    """|x|; x where it is near 0; R; erfc |x| where that is beyond 5/4, up to `end`."""
    a = size(x)
    inner = select(a < 0.84375, x, 0.0)
    one = select(a < 1.25, a, 1.0) - 1.0
    b = select(a > 1.25, a, 1.25)
    b = select(b < end, b, end)
    over = 1.0 / b
    r = _quotient(a, inner, one, over)
    z = head(b)
    large, small = -z * z - 0.5625, (z - b) * (z + b) + r
    exponent = large + small
    return a, inner, r, exp_low_sum(exponent, (large - exponent) + small) * over


@formula
def erf(x: Any) -> Any:
    """The error function of x."""
    a, inner, r, tail = _pieces(x, 6.0)
    y = select(a < 1.25, 0.845062911510467529297 + r, 1.0 - tail)
    y = select(x < 0.0, -y, y)
    y = select(a < 0.84375, inner + inner * r, y)
    return select(x == x, y, x)


@formula
def erfc(x: Any) -> Any:
    """1 - erf x, right also where that is tiny."""
    a, inner, r, tail = _pieces(x, 28.0)
    y = select(a < 1.25, 0.154937088489532470703 - r, tail)
    y = select(x < 0.0, select(a < 1.25, 1.845062911510467529297 + r, 2.0 - tail), y)
    part = inner * r
    small = select(x < 0.25, 1.0 - (inner + part), 0.5 - (inner - 0.5 + part))
    y = select(a < 0.84375, small, y)
    return select(x == x, y, x)


@formula
def ndtr(x: Any) -> Any:
    """The distribution function of the normal distribution, erfc(-x / √2) / 2.

    What rounding x / √2 took away is made good: far to the left every digit of it counts.
    """
    a = -0.7071067811865476 * x
    h = head(x)
    # x / √2 in parts of which the first is exact
    lost = -0.70703125 * h - a - (0.70703125 * (x - h) + 7.553118654752440084e-05 * x)
    far = size(a) > 28.0
    lost = select(far, 0.0, lost)
    b = select(far, 0.0, a)
    return 0.5 * erfc(a) * (1.0 - lost * (b + sqrt(b * b + 1.6)))

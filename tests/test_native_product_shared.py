"""Products of several matrices with one: the bits of each by itself."""

import numpy as np
import pytest
from native_calls import place_of, run_record
from native_products import DTYPES, WIDTH, address, needs_code, numbers

from tensorgraph.native.places import Call
from tensorgraph.ops.native import product_shared
from tensorgraph.ops.native.product import product_call
from tensorgraph.ops.native.product_shared import product_calls


def products(factors, b, how, rule):
    """What a rule makes of the factors, and the names of its kernels."""
    outs = [np.full((a.shape[0], b.shape[1]), np.nan, b.dtype) for a in factors]
    where, lent, places = {}, [*factors, b, *outs], []
    for array in lent:
        place, low = place_of(array)
        places.append(place)
        where[place.buffer] = low
    call = Call(tuple(places[: len(factors) + 1]), tuple(places[len(factors) + 1 :]), {})
    assert rule(call, call.inputs[:-1], call.inputs[-1], call.outputs)
    for scratch in call.scratch_places:
        lent.append(np.full(scratch.shape, np.nan, scratch.dtype))
        where[scratch.buffer] = address(lent[-1])
    for record in call.records:
        run_record(record, where, lent, how, WIDTH, -1)
    return outs, [record.kernel.name for record in call.records]


def alone(call, factors, b, outs):
    return all(product_call(call, a, b, out) for a, out in zip(factors, outs, strict=True))


def assert_the_same(factors, b, how="code"):
    outs, kernels = products(factors, b, how, product_calls)
    for a, out, other in zip(factors, outs, products(factors, b, how, alone)[0], strict=True):
        assert np.isfinite(out).all()
        np.testing.assert_array_equal(out, other)
        np.testing.assert_allclose(out, a @ b, rtol=1e-3, atol=1e-3)
    return kernels


@needs_code
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_is_what_it_is_by_itself(dtype):
    b = numbers((1100, 300), dtype)
    ones = np.broadcast_to(np.ones((1, 1), dtype), (1, 1100))
    factors = [numbers((1100, m), dtype, m).T for m in (128, 37)]
    assert assert_the_same([*factors, ones], b) == ["pack_rows"] * 3 + ["products_packed"]
    turned = numbers((1200, 300), dtype).T
    assert "products_packed" in assert_the_same([numbers((60, 300), dtype), numbers((5, 300), dtype)], turned)


@needs_code
def test_what_is_better_done_one_by_one():
    b = numbers((1100, 300), "float32")
    for factors in ([numbers((128, 1100), "float32")], [numbers((600, 1100), "float32")] * 2):
        assert "products_packed" not in assert_the_same(factors, b)
    assert "products_packed" not in assert_the_same([numbers((40, 30), "float32")] * 2, b[:30])
    turned, ones = numbers((1200, 300), "float32").T, np.ones((1, 300), "float32")
    assert "products_packed" not in assert_the_same([numbers((60, 300), "float32"), ones], turned)


def test_emulated(monkeypatch):
    monkeypatch.setattr(product_shared, "is_packed", lambda given: True)
    factors = [numbers((3, 5), "float32"), numbers((5, 14), "float32").T]
    assert "products_packed" in assert_the_same(factors, numbers((5, 35), "float32"), "emulate")

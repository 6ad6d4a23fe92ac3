"""Products run on arrays by their rule, for tests: as machine code or over the emulation, in any number of blocks."""

import dataclasses

import numpy as np
import pytest
from native_calls import place_of, run_record

from tensorgraph.native import machine
from tensorgraph.native.places import Call
from tensorgraph.ops.contraction import matmul

needs_code = pytest.mark.skipif(not machine.available(), reason=str(machine.reason()))
DTYPES = ["float32", "float64"]
WIDTH = machine.machine().width if machine.available() else 64


def address(array):
    return array.__array_interface__["data"][0]


def run(rule, arrays, out, how="code", blocks=None, width=WIDTH, **attrs):
    """Run what a rule says; scratch memory is NaN at first, and blocks run in reverse order."""
    where, places = {}, []
    for array in (*arrays, out):
        place, low = place_of(array)
        places.append(place)
        where[place.buffer] = low
    call = Call(tuple(places[:-1]), (places[-1],), attrs)
    assert rule(call)
    lent = [*arrays, out]
    for scratch in call.scratch_places:
        lent.append(np.full(scratch.shape, np.nan, scratch.dtype))
        where[scratch.buffer] = address(lent[-1])
    for record in call.records:
        record = dataclasses.replace(record, blocks=blocks or record.blocks)
        run_record(record, where, lent, "emulate" if how == "emulation" else how, width, -1)
    return call


def product_of(a, b, how="code", rule=None, **options):
    with np.errstate(invalid="ignore"):
        out = np.full(np.matmul(a, b).shape, np.nan, a.dtype)
    run(rule or matmul.native_rule(), [a, b], out, how, **options)
    return out


def assert_close(out, a, b, ulps=8):
    wide = np.float64 if a.dtype == np.float32 else np.longdouble
    exact = np.matmul(a.astype(wide), b.astype(wide))
    scale = np.maximum(np.abs(exact).max(initial=0), np.matmul(np.abs(a).astype(wide), np.abs(b).astype(wide)) / 64)
    assert np.isfinite(out).all()
    assert (np.abs(out - exact) <= ulps * np.finfo(a.dtype).eps * scale).all()


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)

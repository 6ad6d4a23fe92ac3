"""Rules of ops run on arrays: as machine code, for either width of vectors, and over the emulation."""

import numpy as np
import pytest

from tensorgraph.native import machine, objects
from tensorgraph.native.places import Address, Buffer, Call, Place

HOWS = [("emulate", 64), ("emulate", 32)] + ([("code", 64), ("code", 32)] if machine.available() else [])
"""Ways to run a kernel, with the bytes of a vector."""
if machine.available() and machine.machine().width < 64:
    HOWS.remove(("code", 64))
# what the emulation does of narrow vectors it does of wide ones, so a sample of them is enough
_sampled = pytest.mark.sampled(test=2, quick=2)
every_how = pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[_sampled] * (how == ("emulate", 32))) for how in HOWS]
)


def place_of(array):
    """The place of an array, in a buffer of its own, and where that begins."""
    low, high = np.lib.array_utils.byte_bounds(array)
    offset = array.__array_interface__["data"][0] - low
    return Place(Buffer(high - low), array.shape, array.dtype, array.strides, offset), low


def run_record(record, where, arrays, how, width, order=1):
    """Run a record's blocks, in either order."""
    words = np.array(
        [where[w.buffer] + w.offset if isinstance(w, Address) else w for w in record.words], np.int64
    )  # fmt: skip
    for block in range(record.blocks)[::order]:
        if how == "emulate":
            record.kernel.emulate(words, arrays, block, record.blocks, width)
        else:
            objects.call(objects.entries([record.kernel], width)[0], words.ctypes.data, block, record.blocks)


class Run:
    """What a rule made of inputs.

    Attributes
    ----------
    outputs : list of (ndarray or None)
    checks : list of int
        The verdicts; nothing was run where one is not 0.
    warnings : list of int
    """

    def __init__(self, rule, inputs, outputs, attrs=None, how="emulate", width=64, in_place=False, order=1):
        where, arrays, places = {}, [], []
        frozen = []
        for given in inputs:
            if not isinstance(given, np.ndarray):
                places.append(given)
                continue
            given = given.copy("K") if in_place else given.view()
            given.flags.writeable = in_place
            place, low = place_of(given)
            where[place.buffer] = low
            arrays.append(given)
            frozen.append(given)
            places.append(place)
        self.outputs, made = [], []
        for given in outputs:
            if given is None:
                made.append(None)
                self.outputs.append(None)
                continue
            place = Place.new(*given)
            made.append(place)
            array = np.full(given[0], 77, given[1])
            self.outputs.append(array)
        self.call = call = Call(tuple(places), tuple(made), attrs or {})
        self.took = rule(call)
        if not self.took:
            return
        # outputs, over inputs where the rule allows it and it is asked for
        replaced = dict(call.replaces) if in_place else {}
        given_arrays = iter(frozen)
        by_input = [next(given_arrays) if isinstance(p, Place) else None for p in places]
        for k, place in enumerate(made):
            if place is None:
                continue
            source = by_input[replaced[k]] if k in replaced else None
            if source is not None:
                assert source.shape == place.shape and source.dtype == place.dtype and source.flags.c_contiguous
                self.outputs[k] = source
            where[place.buffer] = self.outputs[k].__array_interface__["data"][0]
            arrays.append(self.outputs[k])
        rest = [*call.scratch_places, *[c.code for c in call.checks], *[p for p, _ in call.warnings]]
        held = []
        for place in rest:
            array = np.full(place.shape, 99, place.dtype)
            held.append(array)
            where[place.buffer] = array.__array_interface__["data"][0]
            arrays.append(array)
        codes = held[len(call.scratch_places) :]
        for check in call.checks:
            run_record(check.record, where, arrays, how, width)
        self.checks = [int(code) for code in codes[: len(call.checks)]]
        if any(self.checks):
            return
        for record in call.records:
            run_record(record, where, arrays, how, width, order)
        self.warnings = [int(code) for code in codes[len(call.checks) :]]

"""Regions run on arrays, as a plan would: by machine code, or by the emulation, which checks every address."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tensorgraph.compile.regions import Region, regions
from tensorgraph.graph.forms import array_function
from tensorgraph.graph.graph import Equation, Graph, Var
from tensorgraph.native.places import Address, Buffer, Call, Place

GUARD = 64  # bytes around an output, which must stay as they are


class Memory:
    """Buffers and where they are."""

    def __init__(self) -> None:
        self.starts: dict[Buffer, int] = {}
        self.arrays: list[Any] = []

    def lend(self, array: Any) -> Place:
        """The place of an array that is read."""
        low, high = np.lib.array_utils.byte_bounds(array)
        buffer = Buffer(high - low)
        self.starts[buffer] = low
        self.arrays.append(array)
        return Place(buffer, array.shape, array.dtype, array.strides, array.ctypes.data - low)

    def room(self, place: Place) -> Any:
        """An array for a place that is written, full of what it must not keep, between guards."""
        raw = np.full(place.nbytes + 2 * GUARD, 0xAB, np.uint8)
        array = raw[GUARD : GUARD + place.nbytes].view(place.dtype).reshape(place.shape)
        self.starts[place.buffer] = array.ctypes.data
        self.arrays.append(array)
        return array, raw

    def words(self, words: Any) -> Any:
        """Words with addresses in the places of `Address`."""
        known = [self.starts[x.buffer] + x.offset if isinstance(x, Address) else x for x in words]
        return np.array(known, np.int64)


def run_region(region: Region, values: Mapping[Var, Any], width: int = 0, blocks: int | None = None) -> Any:
    """The outputs of a region; None where it refuses. `width`: emulated, with vectors of so many bytes."""
    memory = Memory()
    inputs = [memory.lend(np.asarray(values[var], var.aval.dtype)) for var in region.inputs]
    return _run(memory, region.call, inputs, region.outputs, {}, width, blocks)


def run_rule(eq: Equation, values: Mapping[Var, Any], width: int = 0, blocks: int | None = None) -> Any:
    """The outputs of an equation by its op's rule; None where there is none, or it refuses.

    Raises
    ------
    ValueError
        Where a check finds something.
    """
    memory = Memory()

    def operand(atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [operand(one) for one in atom]
        return memory.lend(np.asarray(values[atom], atom.aval.dtype)) if isinstance(atom, Var) else atom.value

    rule = eq.op.native_rule()
    return None if rule is None else _run(memory, rule, map(operand, eq.inputs), eq.outputs, eq.attrs, width, blocks)


def _run(memory: Memory, rule: Any, inputs: Any, variables: Any, attrs: Any, width: int, blocks: int | None) -> Any:
    outputs = [Place.new(var.aval.shape, var.aval.dtype) for var in variables]
    rooms = [memory.room(place) for place in outputs]
    call = Call(tuple(inputs), tuple(outputs), attrs)
    if not rule(call):
        assert not call.records
        return None
    for check in call.checks:
        (code, _) = memory.room(check.code)
        _run_record(memory, check.record, width, 1)
        if code != 0:
            raise ValueError(check.error)
    rooms += [memory.room(place) for place in call.scratch_places]
    for record in call.records:
        _run_record(memory, record, width, record.blocks if blocks is None else blocks)
    for _, raw in rooms:
        assert (raw[:GUARD] == 0xAB).all()
        assert (raw[len(raw) - GUARD :] == 0xAB).all()
    return [array for array, _ in rooms[: len(outputs)]]


def _run_record(memory: Memory, record: Any, width: int, blocks: int) -> None:
    words = memory.words(record.words)
    for block in reversed(range(blocks)):
        if width:
            record.kernel.emulate(words, memory.arrays, block, blocks, width)
        else:
            record.kernel.run(words, block, blocks)


def run_graph(graph: Graph, args: Any, **how: Any) -> tuple[list[Any], int]:
    """The graph's outputs, its regions run by `run_region` and what else there is by NumPy; how many regions ran."""
    values: dict[Any, Any] = {**dict(zip(graph.inputs, args, strict=True)), **graph.consts}
    count = 0
    for region in regions(graph):
        found = run_region(region, values, **how) if region.is_generated else None
        if found is None:
            for eq in region.equations:
                values.update(zip(eq.outputs, _computed(eq, values), strict=True))
        else:
            count += 1
            values.update(zip(region.outputs, found, strict=True))
    return [values[atom] if isinstance(atom, Var) else atom.value for atom in graph.outputs], count


def _computed(eq: Equation, values: Mapping[Any, Any]) -> list[Any]:
    def value(atom: Any) -> Any:
        if isinstance(atom, tuple):
            return [value(one) for one in atom]
        return values[atom] if isinstance(atom, Var) else atom.value

    made = array_function(eq)(*map(value, eq.inputs))
    results = list(made) if isinstance(made, (tuple, list)) else [made]
    return [np.asarray(r) if isinstance(r, np.generic) else r for r in results]

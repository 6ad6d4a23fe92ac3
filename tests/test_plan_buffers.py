"""Where buffers and views lie: nothing overlaps that is needed at the same time, and views are copied by nobody."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensorgraph as tg
from tensorgraph.compile.buffers import ALIGNMENT, Span, arena
from tensorgraph.compile.layouts import Layout, Stand, address_of
from tensorgraph.native.places import Buffer, Place


@st.composite
def spans(draw: Any) -> list[Span]:
    made: list[Span] = []
    for n in range(draw(st.integers(0, 25))):
        first = draw(st.integers(0, 12))
        over = [span.buffer for span in made if span.last == first and span.first < first]
        chosen = tuple(b for b in over if draw(st.booleans()))
        made.append(Span(Buffer(draw(st.integers(0, 300)), str(n)), first, first + draw(st.integers(0, 6)), chosen))
    return made


@given(spans())
def test_what_is_needed_at_one_time_does_not_overlap(given: list[Span]) -> None:
    made = arena(given)
    for k, a in enumerate(given):
        start, end = made.offsets[a.buffer], made.offsets[a.buffer] + a.buffer.nbytes
        assert start % ALIGNMENT == 0
        assert end <= made.size
        for b in given[:k]:
            if a.first > b.last or b.first > a.last or not a.buffer.nbytes or not b.buffer.nbytes:
                continue
            apart = end <= made.offsets[b.buffer] or made.offsets[b.buffer] + b.buffer.nbytes <= start
            assert apart or made.replaced.get(a.buffer) is b.buffer or made.replaced.get(b.buffer) is a.buffer, (a, b)
    for new, old in made.replaced.items():
        assert made.offsets[new] == made.offsets[old]


def test_one_buffer_is_taken_over_once() -> None:
    old = Span(Buffer(64, "old"), 0, 1)
    new = [Span(Buffer(64, str(k)), 1, 2, (old.buffer,)) for k in range(2)]
    made = arena([old, *new])
    assert list(made.replaced.values()) == [old.buffer]
    assert made.offsets[new[0].buffer] != made.offsets[new[1].buffer]
    assert made.size == 128


def test_memory_is_used_again() -> None:
    chain = [Span(Buffer(1000, str(k)), k, k + 1) for k in range(100)]
    assert arena(chain).size == 2 * 1024


def test_the_smallest_part_that_fits_is_taken() -> None:
    sizes = [640, 64, 128, 64]
    first = [Span(Buffer(n, str(n)), 0, 0 if n in (640, 128) else 9) for n in sizes]
    made = arena([*first, Span(small := Buffer(128, "small"), 1, 2)])
    assert made.offsets[small] == made.offsets[first[2].buffer]


VIEWS = {
    "transposition": lambda x: tg.transpose(x, axes=(1, 0)),
    "slices": lambda x: x[1:, ::-2],
    "one element": lambda x: x[1, 2],
    "new axes": lambda x: x[:, None, :, None],
    "flip": lambda x: tg.flip(x, axis=1),
    "broadcast": lambda x: tg.broadcast_to(x, shape=(2, 3, 4)),
    "reshape": lambda x: x.reshape(2, 6),
    "reshape of a slice": lambda x: x[1:].reshape(-1),
    "moved": lambda x: tg.moveaxis(x, 0, 1),
    "squeeze": lambda x: tg.squeeze(x[:1]),
    "nothing": lambda x: x[5:],
    "detached": lambda x: tg.stop_gradient(x[:, 1:]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_places_in_the_same_memory(name: str) -> None:
    x = np.arange(12, dtype="float32").reshape(3, 4)
    graph = tg.trace(VIEWS[name], x)
    layout = Layout(graph)
    (var,) = graph.outputs
    place, source = layout.places[var], layout.places[graph.inputs[0]]
    assert place.buffer is source.buffer
    expected = graph.program.run([x])[0]
    assert place.shape == expected.shape
    if place.size:
        seen = np.ndarray(place.shape, place.dtype, x.reshape(-1).view(np.uint8), place.offset, place.strides)
        np.testing.assert_array_equal(seen, expected)


def test_parts_are_views() -> None:
    x = np.arange(12, dtype="float32").reshape(3, 4)
    graph = tg.trace(lambda x: tg.split(x, sizes=(1, 3), axis=1), x)
    layout = Layout(graph)
    assert [layout.places[v].offset for v in graph.outputs] == [0, 4]


@pytest.mark.parametrize("f", [lambda x: x.T.reshape(-1), lambda x: x[[0, 2]], lambda x: x + 1])
def test_what_copies_has_memory_of_its_own(f: Any) -> None:
    x = np.arange(12, dtype="float32").reshape(3, 4)
    graph = tg.trace(f, x)
    layout = Layout(graph)
    assert layout.places[graph.outputs[0]].buffer not in layout.inputs


def test_a_stand_has_any_strides() -> None:
    place = Place.new((3, 4), "float64").over((3, 4), (-32, 8), 64)
    stand = Stand(place)
    assert stand.array.strides == (-32, 8)
    view = stand.place(stand.array[1:, ::-1])
    assert view is not None
    assert (view.offset, view.strides) == (64 - 32 + 24, (-32, -8))
    assert stand.place(stand.array + 1) is None
    assert address_of(stand.array) - address_of(stand.memory) == 64


def test_a_view_that_looks_at_its_numbers_is_left_to_numpy() -> None:
    def positive(x: Any) -> Any:
        if not (x == 1.5).all():
            raise ValueError("expected 1.5")
        return x[1:]

    op = tg.op(
        "rest_of_plans(x)", positive, traits=("view",), vjp=dict(x=None), infer_rule=lambda x: tg.spec((2,), x.dtype)
    )
    tg.remove_op("rest_of_plans")
    x = np.full(3, 1.5, "float32")
    graph = tg.trace(lambda x: op(x) + 1.0, x)
    layout = Layout(graph)
    assert layout.places[graph.equations[0].outputs[0]].buffer not in layout.inputs


def test_what_is_large_and_has_no_inputs_is_made_at_each_run() -> None:
    graph = tg.trace(lambda x: (tg.zeros((3000, 3000)), tg.ones((3,)) + x), np.ones(3, "float32"))
    layout = Layout(graph)
    assert [var.aval.shape for var in layout.folded] == [(3,)]

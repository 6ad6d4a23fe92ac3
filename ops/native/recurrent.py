"""Rules of recurrent layers: one product of all inputs, and one run of the sequences."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native import recurrent_rows as texts
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, in_order, output
from tensorgraph.ops.native.joining import fill
from tensorgraph.ops.native.labels import integers_within
from tensorgraph.ops.native.moving import copy, copy_of
from tensorgraph.ops.native.product import ahead_of, product_call, tile_of
from tensorgraph.ops.native.product_shared import product_calls
from tensorgraph.ops.native.rows_times import CONSTANTS

__all__ = ["gru", "gru_vjp", "lstm", "lstm_vjp", "rnn", "rnn_vjp"]

WORK = 3_000_000  # operations of a run from which it is shared by threads
STATES = {
    texts.LSTM: ("x", "weight", "recurrent", "bias", "h", "c", "lengths"),
    texts.GRU: ("x", "weight", "recurrent", "bias", "recurrent_bias", "h", "lengths"),
    texts.TANH: ("x", "weight", "recurrent", "bias", "h", "lengths"),
}
"""The inputs of a cell's op; there are as many results as first states, and y."""


class _Layer:
    """What a call's kernels read.

    Attributes
    ----------
    given : dict of str to (Place or None)
    batch, steps, units, gates : int
    reverse : bool
    numbers : list of int or Address
        Sequences, steps, units, how many steps of a sequence count, whether the last comes first.
    constants : dict
    """

    def __init__(self, call: Call, cell: int, given: dict[str, Any]) -> None:
        self.call, self.cell, self.given = call, cell, given
        self.gates, self.reverse = texts.GATES[cell], bool(call.attrs["reverse"])
        self.batch, self.steps, self.inputs = given["x"].shape
        self.units = given["recurrent"].shape[0]
        self.dtype, lengths = given["x"].dtype, given["lengths"]
        self.numbers = [self.batch, self.steps, self.units, address(lengths), int(self.reverse)]
        self.constants: dict[str, Any] = dict(
            tile_of(min(self.batch, 8)), **CONSTANTS, AHEAD=ahead_of(self.batch), CELL=cell, WIDTH=self.gates,
            PADDED=lengths is not None,
        )  # fmt: skip

    def get(self, name: str) -> int | Address:
        """The address of an input in C order, 0 of one that is absent."""
        return address(in_order(self.call, self.given.get(name)))

    @property
    def blocks(self) -> int:
        """Sequences are shared out by tiles."""
        tiles = -(-self.batch // 8)
        return min(tiles, 8) if 2 * self.gates * self.batch * self.steps * self.units**2 > WORK else 1

    def by_step(self, x: Place) -> Place:
        """(batch, time, n) as (time, batch, n), in the order of the steps."""
        batch, time, n = x.shape
        row, step, item = x.strides
        if self.reverse:
            return x.over((time, batch, n), (-step, row, item), (time - 1) * step)
        return x.transposed((1, 0, 2))

    def room(self, k: int, *shape: int) -> Place:
        """An output, or memory in its place."""
        return output(self.call, k, Place.new(shape, self.dtype))


def address(a: Place | None) -> int | Address:
    return 0 if a is None else a.address()


def rows(x: Place) -> Place:
    """(a, b, n) in C order as (a b, n)."""
    return x.over((x.shape[0] * x.shape[1], x.shape[2]), x.strides[1:])


def _layer(call: Call, cell: int, *others: Any) -> _Layer | None:
    """None of what is left to the forward: where not all are there in one type."""
    names = STATES[min(cell, texts.TANH)]
    given = dict(zip(names, [*call.inputs, *[None] * len(names)], strict=False))
    x, lengths = given["x"], given["lengths"]
    floats = [a for name, a in given.items() if name != "lengths" and a is not None] + [a for a in others if a]
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.size:
        return None
    if not all(isinstance(a, Place) and a.dtype == x.dtype and a.size for a in floats):
        return None
    if cell == texts.LSTM and (given["h"] is None) != (given["c"] is None):
        return None
    if lengths is not None:
        given["lengths"] = integers_within(call, lengths, 0, x.shape[1] + 1, "a sequence has more steps than there are")
        if given["lengths"] is None:
            return None
    return _Layer(call, cell, given)


def _forward(call: Call, cell: int) -> bool:
    layer = _layer(call, cell)
    if layer is None:
        return False
    batch, steps, units, given, count = layer.batch, layer.steps, layer.units, layer.given, 2 + (cell == texts.LSTM)
    y, *last = layer.room(0, batch, steps, units), *(layer.room(k, batch, units) for k in range(1, count))
    states = layer.room(count, steps + 1, batch, units)
    sums = kept = call.scratch((0,), layer.dtype)
    if cell in (texts.LSTM, texts.GRU):
        kept = layer.room(count + 2, steps, batch, 4 * units)
    if cell == texts.LSTM:
        sums, cells = kept, layer.room(count + 1, steps + 1, batch, units)
    else:
        sums = call.scratch((steps, batch, layer.gates * units), layer.dtype, "products of the inputs")
        cells = layer.room(count + 1, 2, 1, 1)
        fill(call, cells, 0.0)
    if not product_call(call, layer.by_step(given["x"]), given["weight"], sums, in_order(call, given["bias"])):
        return False
    by_step = layer.by_step(y)
    words = [
        *(a.address() for a in (sums, kept, states, cells)), layer.get("recurrent"), layer.get("recurrent_bias"),
        layer.get("h"), layer.get("c"), by_step.address(), by_step.strides[1], by_step.strides[0], last[0].address(),
        last[-1].address(), *layer.numbers,
    ]  # fmt: skip
    constants = {"STARTED": given["h"] is not None, "BIASED": given.get("recurrent_bias") is not None}
    call.run(kernel(texts.run_forward, layer.dtype, **layer.constants, **constants), words, layer.blocks)
    return True


def _backward(call: Call, cell: int) -> bool:
    # The plan: (1) the run back gives the slopes of all sums, and of the first states; (2) their products with the
    # inputs and the states are the slopes of the weights, with the transposed weights those of the inputs; (3) a
    # product with ones is the slope of a bias.
    names = STATES[min(cell, texts.TANH)]
    count = 2 + (cell == texts.LSTM)
    rest = [*call.inputs[len(names) + count :], None, None, None]
    states, cells, kept, g_y, g_h, g_c = rest[:6]
    g_c = g_c if cell == texts.LSTM else None
    needed = (states, kept) if cell in (texts.LSTM, texts.GRU) else (states,)
    layer = None if any(a is None for a in needed) else _layer(call, cell, *needed, g_y, g_h, g_c)
    if layer is None:
        return False
    batch, steps, units, given = layer.batch, layer.steps, layer.units, layer.given
    targets = iter(call.outputs)
    to = {name: next(targets) for name, want in zip(names, call.attrs["want"], strict=True) if want}
    width, dtype = layer.gates * units, layer.dtype
    slopes = call.scratch((steps, batch, width), dtype, "slopes of the sums")
    side = slopes
    if cell == texts.GRU:
        side = call.scratch((steps, batch, width), dtype, "slopes of the states' products")
    dh, dc = (to.get(k) or call.scratch((batch, units), dtype, "slopes of a state") for k in ("h", "c"))
    by_step = None if g_y is None else layer.by_step(in_order(call, g_y))
    along = (0, 0, 0) if by_step is None else (by_step.address(), by_step.strides[1], by_step.strides[0])
    states = in_order(call, states)
    words = [
        address(in_order(call, kept)) if cell in (texts.LSTM, texts.GRU) else 0, states.address(),
        address(in_order(call, cells)) if cell == texts.LSTM else 0,
        copy_of(call, given["recurrent"].transposed((1, 0)), "recurrent weights, transposed").address(), *along,
        address(in_order(call, g_h)), address(in_order(call, g_c)), slopes.address(), side.address(), dh.address(),
        dc.address(), *layer.numbers,
    ]  # fmt: skip
    constants = {"OF_Y": g_y is not None, "STARTED": g_h is not None, "OF_C": g_c is not None}
    call.run(kernel(texts.run_back, dtype, **layer.constants, **constants), words, layer.blocks)
    flat = rows(slopes)
    return _gradients(layer, to, states, flat, flat if side is slopes else rows(side))


def _gradients(layer: _Layer, to: dict[str, Any], states: Place, flat: Place, side: Place) -> bool:
    """The slopes of weights, biases and inputs, from those of the sums and of the states' part of them."""
    call, given, count = layer.call, layer.given, layer.steps * layer.batch
    parts: dict[int, tuple[Place, list[Place], list[Place]]] = {}  # by slopes: what these are multiplied with

    def add(factor: Place, slopes: Place, out: Place) -> None:
        _, factors, outs = parts.setdefault(id(slopes), (slopes, [], []))
        factors.append(factor)
        outs.append(out)

    if (du := to.get("recurrent")) is not None:
        add(states.over((count, layer.units), states.strides[1:]).transposed((1, 0)), side, du)
    if (dw := to.get("weight")) is not None:
        add(rows(copy_of(call, layer.by_step(given["x"]), "the inputs by steps")).transposed((1, 0)), flat, dw)
    for name, slopes in (("bias", flat), ("recurrent_bias", side)):
        if (db := to.get(name)) is not None:
            one = call.scratch((1,), layer.dtype, "one")
            call.run(kernel(texts.one_number, layer.dtype), [one.address()])
            add(one.over((1, count), (0, 0)), slopes, db.over((1, *db.shape), (0, *db.strides)))
    made = all(product_calls(call, factors, slopes, outs) for slopes, factors, outs in parts.values())
    if (dx := to.get("x")) is not None:
        by_step = call.scratch((layer.steps, layer.batch, layer.inputs), layer.dtype, "slopes of the inputs by steps")
        made &= product_call(call, flat, given["weight"].transposed((1, 0)), rows(by_step))
        copy(call, by_step, layer.by_step(dx))
    return made


def _plain(call: Call) -> int:
    return texts.TANH if call.attrs["activation"] == "tanh" else texts.RELU


def lstm(call: Call) -> bool:
    """`lstm`."""
    return _forward(call, texts.LSTM)


def lstm_vjp(call: Call) -> bool:
    """The gradient of `lstm`."""
    return _backward(call, texts.LSTM)


def gru(call: Call) -> bool:
    """`gru`."""
    return _forward(call, texts.GRU)


def gru_vjp(call: Call) -> bool:
    """The gradient of `gru`."""
    return _backward(call, texts.GRU)


def rnn(call: Call) -> bool:
    """`rnn`."""
    return _forward(call, _plain(call))


def rnn_vjp(call: Call) -> bool:
    """The gradient of `rnn`."""
    return _backward(call, _plain(call))

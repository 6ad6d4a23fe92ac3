"""Rules of recurrent layers: an LSTM as one product of all inputs and one run of its sequences."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.kernel import kernel
from tensorgraph.native.places import Address, Call, Place
from tensorgraph.ops.native.edges import SINGLE_OR_DOUBLE, output
from tensorgraph.ops.native.moving import copy, copy_of
from tensorgraph.ops.native.product import product_call, tile_of
from tensorgraph.ops.native.recurrent_rows import one_number, run_back, run_forward
from tensorgraph.ops.native.rows_times import CONSTANTS

__all__ = ["lstm", "lstm_vjp"]

WORK = 3_000_000  # operations of a run from which it is shared by threads


def _blocks(batch: int, steps: int, units: int) -> int:
    """Sequences are shared out by tiles."""
    tiles = -(-batch // 8)
    return min(tiles, 8) if 8 * batch * steps * units * units > WORK else 1


def _rows(x: Place) -> Place:
    """(a, b, n) in C order as (a b, n)."""
    return x.over((x.shape[0] * x.shape[1], x.shape[2]), x.strides[1:])


def _fits(x: Any, *others: Any) -> bool:
    """Whether all are there in one type, the weights and states in C order."""
    if not isinstance(x, Place) or x.dtype not in SINGLE_OR_DOUBLE or not x.size:
        return False
    given = [a for a in others if a is not None]
    return all(isinstance(a, Place) and a.dtype == x.dtype and a.size for a in given)


def _in_order(call: Call, a: Place | None) -> Place | None:
    return a if a is None or a.is_contiguous else copy_of(call, a)


def _by_steps(x: Place, reverse: bool) -> Place:
    """(batch, time, n) as (time, batch, n), in the order of the steps."""
    batch, time, n = x.shape
    row, step, item = x.strides
    return x.over((time, batch, n), (-step, row, item), (time - 1) * step) if reverse else x.transposed((1, 0, 2))


def lstm(call: Call) -> bool:
    """`lstm`: sequences of equal length."""
    given: list[Any] = [*call.inputs, *[None] * (7 - len(call.inputs))]
    x, weight, recurrent, bias, h, c, lengths = given
    if lengths is not None or (h is None) != (c is None) or not _fits(x, weight, recurrent, bias, h, c):
        return False
    (batch, steps, _), units, reverse = x.shape, recurrent.shape[0], call.attrs["reverse"]
    like = Place.new((batch, units), x.dtype)
    y = output(call, 0, Place.new((batch, steps, units), x.dtype))
    last_h, last_c = (output(call, k, like) for k in (1, 2))
    states, cells = (output(call, k, Place.new((steps + 1, batch, units), x.dtype)) for k in (3, 4))
    kept = output(call, 5, Place.new((steps, batch, 4 * units), x.dtype))
    if not product_call(call, _by_steps(x, reverse), weight, kept, _in_order(call, bias)):
        return False
    by_step = _by_steps(y, reverse)
    first = [_address(_in_order(call, a)) for a in (h, c)]
    words = [
        kept.address(), states.address(), cells.address(), _address(_in_order(call, recurrent)), *first,
        by_step.address(), by_step.strides[1], by_step.strides[0], last_h.address(), last_c.address(),
        batch, steps, units,
    ]  # fmt: skip
    text = kernel(run_forward, x.dtype, **tile_of(8), **CONSTANTS, STARTED=h is not None)
    call.run(text, words, _blocks(batch, steps, units))
    return True


def _address(a: Place | None) -> int | Address:
    return 0 if a is None else a.address()


def lstm_vjp(call: Call) -> bool:
    """The gradient of `lstm`."""
    # The plan: (1) the run back gives the slopes of all sums, and of the first states; (2) their products with the
    # inputs and the states are the slopes of the weights, with the transposed weights those of the inputs; (3) a
    # product with ones is the slope of the bias.
    x, weight, recurrent, bias, h, c, lengths = call.inputs[:7]
    states, cells, kept = call.inputs[10:13]
    slopes_given: list[Any] = [*call.inputs[13:], *[None] * (16 - len(call.inputs))]
    g_y, g_h, g_c = slopes_given
    if lengths is not None or not _fits(x, weight, recurrent, bias, h, c, states, cells, kept, g_y, g_h, g_c):
        return False
    want, reverse = call.attrs["want"], call.attrs["reverse"]
    (batch, steps, inputs), units = x.shape, recurrent.shape[0]
    targets = iter(call.outputs)
    dx, dw, du, db, dh, dc, _ = (next(targets) if wanted else None for wanted in want)
    slopes = call.scratch((steps, batch, 4 * units), x.dtype, "slopes of the sums")
    dh, dc = (call.scratch((batch, units), x.dtype, "slopes of a state") if a is None else a for a in (dh, dc))
    by_step = None if g_y is None else _by_steps(_in_order(call, g_y), reverse)  # type: ignore[arg-type]
    along = (0, 0, 0) if by_step is None else (by_step.address(), by_step.strides[1], by_step.strides[0])
    words = [
        _address(_in_order(call, kept)), _address(_in_order(call, cells)),
        copy_of(call, recurrent.transposed((1, 0)), "recurrent weights, transposed").address(), *along,
        _address(_in_order(call, g_h)), _address(_in_order(call, g_c)), slopes.address(), dh.address(), dc.address(),
        batch, steps, units,
    ]  # fmt: skip
    constants = {"OF_Y": g_y is not None, "STARTED": g_h is not None, "OF_C": g_c is not None}
    text = kernel(run_back, x.dtype, **tile_of(8), **CONSTANTS, **constants)
    call.run(text, words, _blocks(batch, steps, units))
    flat = _rows(slopes)
    made = True
    if du is not None:
        before = states.over((steps * batch, units), states.strides[1:])
        made &= product_call(call, before.transposed((1, 0)), flat, du)
    if dw is not None:
        rows = _rows(copy_of(call, _by_steps(x, reverse), "the inputs by steps"))
        made &= product_call(call, rows.transposed((1, 0)), flat, dw)
    if db is not None:
        one = call.scratch((1,), x.dtype, "one")
        call.run(kernel(one_number, x.dtype), [one.address()])
        made &= product_call(call, one.over((steps * batch,), (0,)), flat, db)
    if dx is not None:
        rows = call.scratch((steps, batch, inputs), x.dtype, "slopes of the inputs by steps")
        made &= product_call(call, slopes, weight.transposed((1, 0)), rows)
        copy(call, rows, _by_steps(dx, reverse))
    return made

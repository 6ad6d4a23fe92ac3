"""Narrow rows in registers: LANES rows at a time, transposed by way of a scratch of theirs, so that lanes are rows."""

from __future__ import annotations

from typing import Any

from tensorgraph.native.lowering import routine, static
from tensorgraph.native.words import ldm, st, stm, transposed

__all__ = ["NARROW", "TILE", "load_tile", "store_tile"]

LANES = SIZE = BYTES = 0  # constants of kernels

# numbers of a row that is narrow, and bytes of the scratch for LANES rows of so many
NARROW = 128
TILE = NARROW * 64


@routine
def load_tile(p: Any, step: Any, count: Any, width: Any, tile: Any) -> None:
    """Columns of LANES rows into the tile, a vector each; the last of `count` rows stands in the lanes behind it."""
    for j in range(0, width, LANES):
        rows = [ldm(p + min(i, count - 1) * step + j * SIZE, width - j, 0.0) for i in static(LANES)]
        columns = transposed(rows)
        for i in static(LANES):
            st(tile + j * BYTES + i * BYTES, columns[i])


@routine
def store_tile(tile: Any, p: Any, step: Any, count: Any, width: Any) -> None:
    """The tile's columns back into `count` rows."""
    for j in range(0, width, LANES):
        rows = transposed([ldm(tile + j * BYTES + i * BYTES, LANES, 0.0) for i in static(LANES)])
        for i in static(LANES):
            if i < count:
                stm(p + i * step + j * SIZE, rows[i], width - j)

"""A product of some rows, inside of a kernel that does more than that."""

from __future__ import annotations

from typing import Any

from tensorgraph.ops.native.packing import DEPTH
from tensorgraph.ops.native.product_tiles import panel

__all__ = ["CONSTANTS", "times"]

SIZE = 0  # a constant of every kernel
ROWS, AHEAD = 8, 0  # of those that call this
CONSTANTS = {"PACKED": False}
"""What a kernel that calls this is given besides a tile, and how many k's ahead it asks for B."""


def times(
    a: Any, a_row: Any, a_step: Any, b: Any, b_row: Any, c: Any, c_row: Any, rows: Any, columns: Any, k: Any, added: Any
) -> None:  # fmt: skip
    """C = A B, or C + A B: `a_row` and `a_step` bytes lie from row to row and from k to k of A, rows of B and C are
    contiguous."""
    for k0 in range(0, k, DEPTH):
        panel(
            a + k0 * a_step, a_row * ROWS, a_row, a_step, b + k0 * b_row, b_row, SIZE, c, c_row, rows, columns,
            min(k - k0, DEPTH), added + k0 > 0, AHEAD * b_row, 0, c,
        )  # fmt: skip

"""How wide text is in Helvetica and the fonts made to its measure (Arial, Arimo, Liberation Sans), and in the widest
font that a picture may be shown in: where none of these is there, a system's ``sans-serif``, often DejaVu Sans."""

from __future__ import annotations

import math
import unicodedata
from functools import lru_cache

__all__ = ["room", "text_width"]

# advance widths of the printable ASCII characters, space first, in thousandths of the font size
REGULAR = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556,
    556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334,
    260, 334, 584,
)  # fmt: skip
BOLD = (
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833,
    722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611,
    556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389,
    280, 389, 584,
)  # fmt: skip
# the like of DejaVu Sans
WIDE = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656,
    557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613,
    635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818,
    592, 592, 525, 636, 337, 636, 838,
)  # fmt: skip
WIDE_BOLD = (
    348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696, 696, 696, 696,
    696, 696, 696, 696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830, 683, 683, 821, 837, 372, 372, 775,
    637, 995, 837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771, 724, 725, 457, 365, 457, 838, 500, 500, 675,
    716, 593, 716, 678, 435, 716, 712, 343, 343, 665, 343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652, 924,
    645, 652, 582, 712, 365, 712, 838,
)  # fmt: skip
FULL, OTHER = 1000, 800  # of characters of East Asian width, and of others without a known one


@lru_cache(maxsize=20_000)  # where several drawings of one graph are tried, most rows come again
def room(text: str, size: float, bold: bool = False) -> int:
    """The room that a text takes in the widest font, in whole units of `size`."""
    ours, other = (BOLD, WIDE_BOLD) if bold else (REGULAR, WIDE)
    total = 0
    for c in text:
        if " " <= c <= "~":
            total += max(ours[ord(c) - 32], other[ord(c) - 32])
        elif not unicodedata.combining(c):
            total += FULL if unicodedata.east_asian_width(c) in "WF" else OTHER
    return math.ceil(total * size / 1000)


def text_width(text: str, size: float, bold: bool = False) -> float | None:
    """Width in the unit of `size`; None for empty text and where a character has no known width."""
    if not text or not text.isascii() or not text.isprintable():
        return None
    table = BOLD if bold else REGULAR
    return sum(table[ord(c) - 32] for c in text) * size / 1000

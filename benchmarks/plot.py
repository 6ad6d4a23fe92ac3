"""The ratios as a picture: of each row how many times as long every peer takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import GROUPS, PEERS

MARKS = {"eager": "|", "torch": "o", "torch.compile": "D", "jax": "s", "pytensor": "^",
         "onnxruntime": "P", "autograd": "v", "numpy": "x", "short path": "+"}  # fmt: skip
FLAT = ("eager", "numpy", "short path")  # marks that are lines
COLOURS = dict(zip(PEERS, (
    "#6B6B6B", "#D1660A", "#A33B00", "#0B6FB8", "#7A4FB5", "#A8326E", "#2E7D4F", "#2E2E2E", "#6B6B6B",
), strict=True))  # fmt: skip
ROW = 0.23  # inches


def draw(results: dict[str, Any], path: Path, groups: Sequence[str] = tuple(GROUPS)) -> bool:
    """Draw what was measured of some groups, one beneath the other.

    A mark is the peer's median over tensorgraph's, on one logarithmic scale for all; a line through it goes from the
    lower to the upper quartile of the rounds.

    Returns
    -------
    bool
        Whether there was anything to draw.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    measured = {g: [c for c in results["cases"] if c["group"] == g and c["ratios"]] for g in groups}
    measured = {group: cases for group, cases in measured.items() if cases}
    if not measured:
        return False
    heights = [len(cases) + 2 for cases in measured.values()]
    figure = Figure(figsize=(8.6, ROW * sum(heights) + 0.9), layout="constrained", facecolor="white")
    panels = figure.subplots(len(measured), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axes, (group, cases) in zip(panels, measured.items()):
        rows(axes, cases)
        axes.set_title(GROUPS[group].partition(";")[0], loc="left", fontsize=9, fontweight="bold")
    last = panels[-1]
    last.set_xlabel("time of the peer, in that of tensorgraph (right of 1: tensorgraph is faster)", color="#6B6B6B")
    handles = {}
    for axes in panels:
        for handle, peer in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(peer, handle)
    peers = [peer for peer in PEERS if peer in handles]
    figure.legend([handles[p] for p in peers], peers, loc="outside upper left", ncols=len(peers), frameon=False,
                  fontsize=8, handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "tensorgraph", "svg.fonttype": "none"}):  # equal figures give equal files
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return True


def rows(axes: Any, cases: Sequence[dict[str, Any]]) -> None:
    """The rows of a group, the first uppermost."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.axvline(1.0, color="#2E2E2E", linewidth=0.9, zorder=1)
    for peer in PEERS:
        where = [(y, c["ratios"][peer]) for y, c in enumerate(cases) if peer in c["ratios"]]
        if not where:
            continue
        x = [1 / r["ratio"] for _, r in where]
        # the quartiles are of single rounds, so that the ratio of medians may lie a little outside
        reach = [
            [max(at - 1 / r["high"], 0.0) for at, (_, r) in zip(x, where)],
            [max(1 / r["low"] - at, 0.0) for at, (_, r) in zip(x, where)],
        ]
        colour = COLOURS[peer]
        axes.errorbar(x, [y for y, _ in where], xerr=reach, fmt="none", ecolor=colour, elinewidth=1, zorder=2)
        edge = {} if peer in FLAT else {"edgecolors": "white", "linewidths": 0.6}
        axes.scatter(x, [y for y, _ in where], marker=MARKS[peer], s=34, color=colour, label=peer, zorder=3, **edge)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(cases)), [c["label"] for c in cases], fontsize=8)
    axes.set_ylim(len(cases) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#B0B0B0")
    axes.tick_params(colors="#6B6B6B", labelcolor="#2E2E2E", length=0, axis="y")
    axes.tick_params(colors="#6B6B6B", axis="x", which="both", labelsize=8)
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
